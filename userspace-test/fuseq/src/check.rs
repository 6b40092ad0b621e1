// SPDX-License-Identifier: GPL-2.0

//! Proof-reading a trace against the rules of the queues.
//!
//! A trace tells all about a connection only when it has the connection's first request, `INIT`.
//! Of other connections, only what a request's own lines show is checked.
//!
//! The lines have to be in the order in which the moves were made: on several processors that
//! takes a trace clock which is the same on all of them (`echo counter > trace_clock`).

use crate::{
    connection::{Connection, Request},
    trace::{Line, Malformed, Move},
};
use std::{
    collections::HashMap,
    fmt,
    io::{self, BufRead},
    rc::Rc,
};

/// The rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Requests move along certain ways only.
    LegalMove,
    /// A request is in one place at a time, and leaves from there.
    OnePlace,
    /// A request has one operation, node and caller.
    SameRequest,
    /// A `unique` is even, and has bit 63 from the time on when the request was sent again.
    Unique,
    /// A request ends once, and no other gets its `unique`.
    EndsOnce,
    /// Depths are the sum of the moves.
    Depth,
    /// What has waited longest goes first.
    Fifo,
    /// What was put back goes before all else, in the order in which it was first read.
    PutBack,
    /// Requests are handed straight to a reader only while nothing is pending.
    HandOver,
    /// No more background requests are active than may be.
    MaxBackground,
    /// A request is of one length, and only what has ended has an error.
    Told,
    /// An interrupt is of a request that the daemon has, and is queued once until it is read.
    Interrupts,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::LegalMove => "requests move along certain ways only",
            Rule::OnePlace => "a request is in one place at a time",
            Rule::SameRequest => "a request stays the same",
            Rule::Unique => "a unique is even, and has bit 63 once it was sent again",
            Rule::EndsOnce => "a request ends once, and its unique is not used again",
            Rule::Depth => "depths are the sum of the moves",
            Rule::Fifo => "what has waited longest goes first",
            Rule::PutBack => "what was put back goes first, in the order in which it was read",
            Rule::HandOver => "requests are handed over only while none is pending",
            Rule::MaxBackground => "at most max_background requests are active",
            Rule::Told => "a request has one length, and ends with one outcome",
            Rule::Interrupts => "an interrupt is queued once, for a request that is processed",
        })
    }
}

/// A line of the trace, kept to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    /// Its number; the first is 1.
    pub number: u64,
    /// What it says.
    pub text: Rc<str>,
}

impl fmt::Display for Quote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.number, self.text.trim())
    }
}

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub rule: Rule,
    /// How.
    pub what: String,
    /// The lines that show it, the one that broke the rule last.
    pub lines: Vec<Quote>,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "broken rule: {}\n{}", self.rule, self.what)?;
        self.lines
            .iter()
            .try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Why a trace was not found to be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// A rule was broken.
    Broken(Broken),
    /// Cannot tell: events were lost, so many, or 0 when the kernel does not know how many.
    Lost(u64),
    /// Cannot tell: a line cannot be understood.
    Malformed(Quote, Malformed),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Broken(broken) => broken.fmt(f),
            Trouble::Lost(0) => f.write_str("cannot tell: events were lost"),
            Trouble::Lost(count) => write!(f, "cannot tell: {count} events were lost"),
            Trouble::Malformed(line, error) => write!(f, "cannot tell: {error}\n  {line}"),
        }
    }
}

/// What is known beside the trace.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// How many background requests of a connection may be active, if that is known.
    pub max_background: Option<u64>,
}

/// What a trace that keeps the rules was about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many connections it shows.
    pub connections: u64,
    /// How many of them from their first request on.
    pub whole: u64,
    /// How many requests.
    pub requests: u64,
    /// How many moves.
    pub moves: u64,
    /// How many requests had not ended.
    pub unfinished: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connections={} whole={} requests={} moves={} unfinished={}",
            self.connections, self.whole, self.requests, self.moves, self.unfinished
        )
    }
}

/// Reads a trace line by line.
#[derive(Default)]
pub struct Checker {
    options: Options,
    lines: u64,
    connections: HashMap<u32, Connection>,
    summary: Summary,
}

impl Checker {
    /// Has seen nothing yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Takes the next line. After an error, what follows means nothing.
    pub fn line(&mut self, text: &str) -> Result<(), Trouble> {
        self.lines += 1;
        let quote = || Quote {
            number: self.lines,
            text: text.into(),
        };
        match Line::parse(text) {
            Ok(Line::Other) => Ok(()),
            Ok(Line::Lost(count)) => Err(Trouble::Lost(count)),
            // Forgets are counted by nobody else.
            Ok(Line::Forgets(_)) => Ok(()),
            Ok(Line::Interrupt(interrupt)) => {
                let connection = self.connections.get_mut(&interrupt.connection);
                let checked = connection.map(|it| it.interrupt(interrupt, quote()));
                checked.unwrap_or(Ok(())).map_err(Trouble::Broken)
            }
            Ok(Line::Move(step)) => {
                let quote = quote();
                self.step(step, quote).map_err(Trouble::Broken)
            }
            Err(error) => Err(Trouble::Malformed(quote(), error)),
        }
    }

    fn step(&mut self, step: Move, quote: Quote) -> Result<(), Broken> {
        self.summary.moves += 1;
        let begins = step.is_first_request();
        let connection = self.connections.entry(step.connection).or_insert_with(|| {
            self.summary.connections += 1;
            self.summary.whole += u64::from(begins);
            Connection::new(begins)
        });
        // The kernel uses the numbers of connections again.
        if begins && connection.moves > 0 && connection.is_idle() {
            self.summary.connections += 1;
            self.summary.whole += 1;
            *connection = Connection::new(true);
        }
        let known = connection.requests;
        let result = connection.step(step, quote, &self.options);
        self.summary.requests += connection.requests - known;
        result
    }

    /// What it was about so far.
    pub fn summary(&self) -> Summary {
        Summary {
            unfinished: self.connections.values().map(Connection::alive).sum(),
            ..self.summary
        }
    }
}

/// Reads a whole trace.
///
/// # Errors
///
/// Those of reading. What is wrong with the trace is the inner result.
pub fn check(trace: impl BufRead, options: Options) -> io::Result<Result<Summary, Trouble>> {
    let mut checker = Checker::new(options);
    for line in trace.split(b'\n') {
        // The names of commands are any bytes.
        if let Err(trouble) = checker.line(&String::from_utf8_lossy(&line?)) {
            return Ok(Err(trouble));
        }
    }
    Ok(Ok(checker.summary()))
}

impl Request {
    pub(crate) fn broken(&self, rule: Rule, what: String) -> Broken {
        Broken {
            rule,
            what,
            lines: self.lines.clone(),
        }
    }
}
