// SPDX-License-Identifier: GPL-2.0

//! What a script says: one rule a line, which requests it is for, and what is done to them.

mod error;
mod line;
mod notification;
mod rule;
#[cfg(test)]
mod tests;

pub use error::ScriptError;
pub use notification::Notification;

use rawfuse::{abi::Opcode, Operation, Request};
use std::{
    ffi::{OsStr, OsString},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// All that a daemon does wrong.
#[derive(Debug, Default)]
pub struct Script {
    rules: Vec<Rule>,
}

/// A line of it.
#[derive(Debug)]
pub struct Rule {
    /// What is done to a request, one after the other.
    pub steps: Vec<Step>,
    matcher: Matcher,
    /// How many requests were of these operations, this node and this name.
    seen: AtomicU64,
}

/// Which requests a rule is for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Matcher {
    /// Of these operations; of all, without any.
    opcodes: Vec<Opcode>,
    node: Option<u64>,
    name: Option<OsString>,
    count: Count,
}

/// Which of those that are of the right kind.
#[derive(Debug, Default, PartialEq, Eq)]
enum Count {
    #[default]
    All,
    Nth(u64),
    First(u64),
    From(u64),
    Every(u64),
}

/// Something that is done to a request, and how the script calls it.
#[derive(Debug, PartialEq, Eq)]
pub struct Step {
    /// As it is written.
    pub text: String,
    /// What it is.
    pub action: Action,
}

/// For how long; for ever, if nothing is said.
pub type Pause = Option<Duration>;

/// What is done to a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Go on later, while the thread serves others.
    Delay(Pause),
    /// Go on later, and have the thread serve nobody meanwhile.
    Stall(Pause),
    /// Keep it until there are so many, or for so long: then go on with the last one first.
    Reorder(usize, Pause),
    /// Answer as one should.
    Answer,
    /// Do it twice.
    Twice,
    /// Answer with this in the header; an errno is below 0.
    Error(i32),
    /// Answer with so many bytes of rubbish; as many as there should be, if nothing is said.
    Garbage(Option<usize>),
    /// Answer with these bytes.
    Bytes(Vec<u8>),
    /// Answer as one should, less the last so many bytes.
    Short(usize),
    /// Die, as one who is killed.
    Crash(Moment),
    /// Forget about it.
    Drop,
    /// Tell the kernel something.
    Notify(Notification),
}

/// When to die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before anything was done.
    Before,
    /// While the kernel copies the answer.
    In,
    /// When it is answered.
    After,
}

impl Script {
    /// Understands a script.
    ///
    /// # Errors
    ///
    /// The first thing that makes no sense, and where it is.
    pub fn parse(text: &str) -> Result<Self, ScriptError> {
        let mut rules = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            rules.extend(rule::parse(number, line)?);
        }
        Ok(Self { rules })
    }

    /// Has the rules of another follow.
    pub fn append(&mut self, mut other: Self) {
        self.rules.append(&mut other.rules);
    }

    /// The rule for a request, by its number from 0 on: the first that is for it. Each rule counts what
    /// is of its kind, whether it is the one or not.
    pub fn rule(&self, request: &Request<'_>) -> Option<usize> {
        let mut found = None;
        for (number, rule) in self.rules.iter().enumerate() {
            if rule.is_for(request) && found.is_none() {
                found = Some(number);
            }
        }
        found
    }

    /// All rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

impl Rule {
    fn is_for(&self, request: &Request<'_>) -> bool {
        let Matcher {
            opcodes,
            node,
            name,
            count,
        } = &self.matcher;
        let opcode = request.opcode();
        if !(opcodes.is_empty() || opcode.is_some_and(|opcode| opcodes.contains(&opcode)))
            || node.is_some_and(|node| node != request.nodeid())
            || name.as_deref().is_some_and(|name| !has_name(request, name))
        {
            return false;
        }
        count.includes(self.seen.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Count {
    fn includes(&self, number: u64) -> bool {
        match *self {
            Count::All => true,
            Count::Nth(nth) => number == nth,
            Count::First(last) => number <= last,
            Count::From(first) => number >= first,
            Count::Every(every) => number.is_multiple_of(every),
        }
    }
}

/// Whether a request is about a name.
fn has_name(request: &Request<'_>, wanted: &OsStr) -> bool {
    match request.operation() {
        Ok(
            Operation::Lookup { name }
            | Operation::Symlink { name, .. }
            | Operation::Mknod { name, .. }
            | Operation::Mkdir { name, .. }
            | Operation::Create { name, .. }
            | Operation::Tmpfile { name, .. }
            | Operation::Unlink { name }
            | Operation::Rmdir { name }
            | Operation::Link { name, .. }
            | Operation::Getxattr { name, .. }
            | Operation::Removexattr { name },
        ) => name == wanted,
        Ok(Operation::Rename { name, newname, .. } | Operation::Rename2 { name, newname, .. }) => {
            name == wanted || newname == wanted
        }
        _ => false,
    }
}
