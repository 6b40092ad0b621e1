// SPDX-License-Identifier: GPL-2.0

//! What waits longest, and what to do about it.

mod advice;
mod sleepers;

use crate::{
    ls::{lines, notes, plain_table},
    system::{
        caller::{self, Call, OpenFiles},
        mounts::{mount_of, MountPoint},
        process::{self, Task},
        queues::Waiting,
        stack::{self, Sleep},
        text, Connection, System,
    },
};
use anyhow::{bail, Result};
use sleepers::{Place, Sleeper, Until};
use std::{path::Path, time::Duration};

/// The node of a file system's root.
const ROOT: u64 = 1;

/// What to look for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The connection, by a name that people have for it; else all.
    pub which: Option<String>,
    /// How old a request has to be.
    pub older: Duration,
    /// How many of a connection's requests are shown.
    pub most: usize,
}

/// For how long a request has waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    /// Not longer than that: its caller is not older.
    AtMost(Duration),
    Exactly(Duration),
    Unknown,
}

/// A request that has not ended, as far as it is known.
#[derive(Clone, Debug)]
struct Stuck {
    age: Age,
    /// Who made it; nobody where the kernel itself did, or who did is gone.
    task: Option<Task>,
    who: String,
    opcode: String,
    queue: String,
    file: String,
    /// C fuse: it sleeps on a folio, until then.
    until: Option<Until>,
    background: bool,
    abandoned: bool,
}

/// A connection, and what waits in it.
struct Scene<'a> {
    connection: &'a Connection,
    /// The oldest first.
    stuck: Vec<Stuck>,
    /// Who waits for them beside their callers.
    sleepers: Vec<Sleeper>,
    /// How many requests have not ended, old or new.
    waiting: u64,
    /// It is one of C fuse.
    is_c: bool,
}

/// What is stuck, as text; and whether anything is.
///
/// # Errors
///
/// There is no such connection, or its queues are not for us to read.
pub fn report(system: &System, options: &Options) -> Result<(String, bool)> {
    let files = OpenFiles::look();
    let mut waiters = None;
    let mut hints = system.hints();
    let mut out = String::new();
    let (mut on_the_way, mut unseen) = (0, false);
    for connection in system.chosen(options.which.as_deref())? {
        let scene = match connection.snapshot() {
            Ok(Some(snapshot)) => {
                let mut scene = of_rust(connection, &snapshot.requests, &files, options.older);
                if !scene.stuck.is_empty() {
                    let waiters = waiters.get_or_insert_with(stack::waiters);
                    let old = old(&snapshot.requests, options.older);
                    scene.sleepers = sleepers::of_rust(connection, &old, waiters, &files);
                }
                scene
            }
            Ok(None) => match connection.waiting() {
                Ok(waiting) => {
                    let waiters = waiters.get_or_insert_with(stack::waiters);
                    of_c(connection, waiting, waiters, &files)
                }
                Err(error) => {
                    hints.push(format!("{}: {error:#}", connection.title()));
                    unseen = true;
                    continue;
                }
            },
            Err(error) => {
                hints.push(format!("{}: queues: {error}", connection.title()));
                unseen = true;
                continue;
            }
        };
        on_the_way += scene.waiting;
        if !scene.stuck.is_empty() || (scene.is_c && scene.waiting > 0) {
            if !out.is_empty() {
                out.push('\n');
            }
            out += &scene.text(options.most);
        }
    }
    let is_stuck = !out.is_empty();
    if !is_stuck && unseen {
        bail!("there is no telling: {}", hints.join("; "));
    }
    if !is_stuck {
        let more = match on_the_way {
            0 => String::new(),
            some => format!(" ({some} on the way)"),
        };
        let limit = text::duration(options.older);
        out = format!("Nothing is stuck: no request has waited for {limit}{more}.\n");
    }
    Ok((notes(out, &hints), is_stuck))
}

/// The requests of that age, the oldest first.
fn old(requests: &[Waiting], older: Duration) -> Vec<&Waiting> {
    let mut old: Vec<_> = requests.iter().filter(|it| it.age >= older).collect();
    old.sort_by_key(|request| std::cmp::Reverse(request.age));
    old
}

fn of_rust<'a>(
    connection: &'a Connection,
    requests: &[Waiting],
    files: &OpenFiles,
    older: Duration,
) -> Scene<'a> {
    let stuck = |request: &&Waiting| {
        let task = Task::of(request.pid).filter(|_| !request.abandoned);
        let call = task.as_ref().and_then(|task| caller::call_of(task.pid));
        let who = match (request.pid, &task) {
            (0, _) => String::from("the kernel"),
            (pid, Some(_)) => format!("{}[{pid}]", request.comm),
            (pid, None) => format!("{}[{pid}], gone", request.comm),
        };
        Stuck {
            age: Age::Exactly(request.age),
            task,
            who,
            opcode: request.opcode.clone(),
            queue: request.queue.clone(),
            file: file(connection, call.as_ref(), Some(request), files),
            until: None,
            background: request.background,
            abandoned: request.abandoned,
        }
    };
    Scene {
        connection,
        stuck: old(requests, older).iter().map(stuck).collect(),
        sleepers: Vec::new(),
        waiting: requests.len() as u64,
        is_c: false,
    }
}

fn of_c<'a>(
    connection: &'a Connection,
    waiting: u64,
    waiters: &[stack::Waiter],
    files: &OpenFiles,
) -> Scene<'a> {
    let mut found = Vec::new();
    for waiter in waiters.iter().filter(|_| waiting > 0) {
        let (opcode, file) = match waiter.sleep {
            Sleep::Module => continue,
            Sleep::Answer(opcode) => match asks(connection, waiter.task.pid) {
                Some(file) => (opcode.unwrap_or("?"), file),
                None => continue,
            },
            Sleep::Folio { written, .. } => match Place::of(connection, waiter, files) {
                Some(place) => {
                    let opcode = if written { "WRITE" } else { "READ" };
                    (opcode, place.text(|_| false, ", on a folio"))
                }
                None => continue,
            },
        };
        found.push(Stuck {
            age: process::lifetime(waiter.task.pid).map_or(Age::Unknown, Age::AtMost),
            who: waiter.task.label(),
            opcode: opcode.into(),
            queue: String::from("?"),
            file,
            task: Some(waiter.task.clone()),
            until: Until::of(waiter.sleep),
            background: false,
            abandoned: false,
        });
    }
    found.sort_by_key(|stuck| std::cmp::Reverse(stuck.age));
    Scene {
        connection,
        stuck: found,
        sleepers: Vec::new(),
        waiting,
        is_c: true,
    }
}

/// What is known of the file that a task on C fuse asks for; none if it is one of another connection.
fn asks(connection: &Connection, pid: u32) -> Option<String> {
    let call = caller::call_of(pid);
    let path = call.as_ref().and_then(|call| call.file.as_deref());
    let mounts = MountPoint::of_process(&pid.to_string());
    let on = path.and_then(|path| mount_of(&mounts, path));
    // Whose file is not known may belong here.
    let is_other = on.is_some_and(|mount| mount.is_fuse() && mount.device != connection.number);
    (!is_other).then(|| file(connection, call.as_ref(), None, &OpenFiles::default()))
}

fn shown(path: &Path) -> String {
    text::plain(&path.to_string_lossy())
}

/// What is known of the file that a request is about.
fn file(
    connection: &Connection,
    call: Option<&Call>,
    request: Option<&Waiting>,
    files: &OpenFiles,
) -> String {
    let mut known: Vec<String> = Vec::new();
    let by_call = call.and_then(|call| call.file.as_deref());
    let by_node = || files.find(connection.number, request?.nodeid).map(shown);
    let is_root = request.is_some_and(|request| request.nodeid == ROOT);
    let path = match (by_call, call.and_then(|call| call.other.as_deref())) {
        (Some(from), Some(to)) => Some(format!("{} -> {}", shown(from), shown(to))),
        (Some(path), None) => Some(shown(path)),
        (None, _) => by_node().or_else(|| is_root.then(|| connection.place())),
    };
    known.extend(request.map(|request| format!("node {}", request.nodeid)));
    known.extend(call.map(|call| format!("in {}", call.name)));
    match (path, known.join(", ")) {
        (Some(path), known) => format!("{path} ({known})"),
        (None, known) if known.is_empty() => String::from("?"),
        (None, known) => format!("? ({known})"),
    }
}

impl Age {
    fn text(self) -> String {
        match self {
            Age::Exactly(age) => text::duration(age),
            Age::AtMost(age) => format!("up to {}", text::duration(age)),
            Age::Unknown => String::from("?"),
        }
    }
}

impl Scene<'_> {
    fn text(&self, most: usize) -> String {
        let oldest = match self.stuck.first().map(|stuck| stuck.age) {
            Some(age) if !self.is_c => format!(", the longest for {}", age.text()),
            _ => String::new(),
        };
        let plural = match self.waiting {
            1 => "1 request waits",
            several => &format!("{several} requests wait"),
        };
        let title = self.connection.title();
        let daemon = self.connection.daemon();
        let mut out = format!("{title}, served by {daemon}: {plural}{oldest}\n\n");
        let mut table = plain_table();
        table.set_header(["AGE", "WHO", "OPCODE", "QUEUE", "FILE"]);
        for stuck in self.stuck.iter().take(most) {
            table.add_row([
                stuck.age.text(),
                stuck.who.clone(),
                stuck.opcode.clone(),
                stuck.queue.clone(),
                stuck.file.clone(),
            ]);
        }
        if !self.stuck.is_empty() {
            out += &lines(&table, "  ");
        }
        if let Some(more @ 1..) = self.stuck.len().checked_sub(most) {
            out += &format!("  and {more} more (--most)\n");
        }
        out += &self.sleepers(most);
        if self.is_c {
            out += &self.missing();
        }
        out += "\n  What to do:\n";
        for advice in self.advice() {
            out += &format!("  * {}\n", advice.replace('\n', "\n    "));
        }
        out
    }

    /// What C fuse does not tell.
    fn missing(&self) -> String {
        let seen = self.stuck.len() as u64;
        let mut out = String::from(
            "\n  C fuse tells how many requests wait, not which: callers and opcodes are by their kernel\n  \
             stacks, ages by when the callers began; queue and node are not to be had.\n",
        );
        if self.stuck.iter().any(|stuck| stuck.until.is_some()) {
            out += "  Known, by their stacks, is that some sleep on a folio of the page cache, and in which call or\n  \
                mapping; that a request of theirs, or of another's, is to end it is a guess, by the file.\n";
        }
        if let Some(more @ 1..) = self.waiting.checked_sub(seen) {
            out += &format!(
                "  {more} more have no caller that waits (readahead, writeback, RELEASE), or one that\n  \
                 only root sees.\n"
            );
        }
        out
    }
}

#[cfg(test)]
mod tests;
