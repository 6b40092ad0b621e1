// SPDX-License-Identifier: GPL-2.0

//! The lines of a trace with all that is in them: when, by whom, and what; those of rust_fuse's
//! tracepoint and of C fuse's.

use crate::trace::{Forgets, Interrupt, Line, Malformed, Move};
use fuse_abi::Opcode;

/// What happened to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// rust_fuse: it has moved.
    Move(Move),
    /// rust_fuse: of its interrupt.
    Interrupt(Interrupt),
    /// rust_fuse: no request, but forgets that were read.
    Forgets(Forgets),
    /// C fuse: it is there for the daemon to read.
    Send {
        /// What it asks for, by number.
        opcode: u32,
        /// Its length in bytes, if that is told.
        len: Option<u32>,
    },
    /// C fuse: the daemon has read it.
    Sent,
    /// C fuse: it has ended.
    End {
        /// With an errno, negative; 0 if all went well.
        error: i32,
    },
}

/// One line of a tracepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in microseconds of the trace's clock.
    pub at: u64,
    /// The task that was running, by its name and number.
    pub task: (String, u32),
    /// The connection.
    pub connection: u32,
    /// The request, less what marks one that was sent again.
    pub unique: u64,
    /// What happened.
    pub what: What,
}

/// The tracepoints of rust_fuse.
const REQUEST: &str = "rust_fuse_request";
const INTERRUPT: &str = "rust_fuse_interrupt";
const FORGETS: &str = "rust_fuse_forgets";

/// The bit that marks what was sent again.
const RESENT: u64 = 1 << 63;

impl Event {
    /// Understands a line; none if it is of something else.
    ///
    /// # Errors
    ///
    /// It is of one of the tracepoints, and makes no sense.
    pub fn parse(line: &str) -> Result<Option<Self>, Malformed> {
        let ours = match Line::parse(line)? {
            Line::Move(it) => Some((REQUEST, it.connection, it.unique, What::Move(it))),
            Line::Interrupt(it) => Some((INTERRUPT, it.connection, it.unique, What::Interrupt(it))),
            Line::Forgets(it) => Some((FORGETS, it.connection, it.unique, What::Forgets(it))),
            Line::Other | Line::Lost(_) => None,
        };
        if let Some((name, connection, unique, what)) = ours {
            let (head, _) = split(line, name).ok_or(Malformed("no time"))?;
            let (at, task) = parse_head(head).ok_or(Malformed("no time"))?;
            return Ok(Some(Self {
                at,
                task,
                connection,
                unique: unique & !RESENT,
                what,
            }));
        }
        for (name, kind) in [
            ("fuse_request_send", Kind::Send),
            ("fuse_request_sent", Kind::Sent),
            ("fuse_request_end", Kind::End),
        ] {
            if let Some((head, fields)) = split(line, name) {
                let event = parse_c(head, fields, kind);
                return event.map(Some).ok_or(Malformed("a field is missing"));
            }
        }
        Ok(None)
    }
}

enum Kind {
    Send,
    Sent,
    End,
}

/// What is before and behind the name of an event. (No command's name is long enough to hold one.)
fn split<'a>(line: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let at = line.find(&format!(" {name}: "))?;
    let (head, rest) = line.split_at(at);
    Some((head, &rest[name.len() + 3..]))
}

/// `COMMAND-PID  [CPU] FLAGS SECONDS.MICROSECONDS:`, where the command's name may hold anything.
fn parse_head(head: &str) -> Option<(u64, (String, u32))> {
    let (rest, time) = head.trim_end().rsplit_once(' ')?;
    let (seconds, micros) = time.strip_suffix(':')?.split_once('.')?;
    let seconds: u64 = seconds.parse().ok()?;
    let at = seconds.checked_mul(1_000_000)? + micros.parse::<u64>().ok()?;
    let (task, _) = rest.rsplit_once(" [")?;
    let (comm, pid) = task.trim().rsplit_once('-')?;
    Some((at, (comm.into(), pid.trim().parse().ok()?)))
}

/// `connection 43 req 4 opcode 3 (FUSE_GETATTR) len 56`, of which each event has some.
fn parse_c(head: &str, fields: &str, kind: Kind) -> Option<Event> {
    let (at, task) = parse_head(head)?;
    let words: Vec<_> = fields.split_ascii_whitespace().collect();
    let value = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)
    };
    let what = match kind {
        Kind::Send => What::Send {
            opcode: value("opcode")?.parse().ok()?,
            len: value("len").and_then(|len| len.parse().ok()),
        },
        Kind::Sent => What::Sent,
        Kind::End => What::End {
            error: value("error")?.parse().ok()?,
        },
    };
    Some(Event {
        at,
        task,
        connection: value("connection")?.parse().ok()?,
        unique: value("req")?.parse::<u64>().ok()? & !RESENT,
        what,
    })
}

/// What an operation is called.
pub fn opcode_name(opcode: u32) -> String {
    match Opcode::from_u32(opcode) {
        Some(opcode) => opcode.name().into(),
        None => format!("opcode {opcode}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Place;

    #[test]
    fn lines_of_rust_fuse_are_understood() {
        let line = "  a b: [x]=-71      [001] ...1.   312.200511: rust_fuse_request: \
            connection=43 unique=9223372036854775812 opcode=3 nodeid=1 pid=71 from=none to=pending depth=1";
        let event = Event::parse(line).unwrap().unwrap();
        assert_eq!(event.at, 312_200_511);
        assert_eq!(event.task, ("a b: [x]=".into(), 71));
        assert_eq!((event.connection, event.unique), (43, 4));
        let What::Move(step) = event.what else {
            panic!("{event:?}");
        };
        assert_eq!((step.from, step.to), (Place::None, Place::Pending));
        assert!(Event::parse(&line.replace("depth=1", "")).is_err());
        assert!(Event::parse(&line.replace("312.", "312")).is_err());
    }

    #[test]
    fn lines_of_c_fuse_are_understood() {
        let head = "             cat-71      [000] .....    12.000345: ";
        for (fields, what) in [
            (
                "fuse_request_send: connection 43 req 4 opcode 3 (FUSE_GETATTR) len 56 ",
                What::Send {
                    opcode: 3,
                    len: Some(56),
                },
            ),
            (
                "fuse_request_sent: connection 43 req 4 opcode 3 (FUSE_GETATTR)",
                What::Sent,
            ),
            (
                "fuse_request_end: connection 43 req 4 len 16 error -2",
                What::End { error: -2 },
            ),
        ] {
            let expected = Event {
                at: 12_000_345,
                task: ("cat".into(), 71),
                connection: 43,
                unique: 4,
                what,
            };
            assert_eq!(Event::parse(&format!("{head}{fields}")), Ok(Some(expected)));
        }
        assert!(Event::parse(&format!("{head}fuse_request_end: connection 43")).is_err());
    }

    #[test]
    fn other_lines_are_nothing() {
        for line in [
            "",
            "# tracer: nop",
            "   sh-1  [000] ..... 5.2: sched_switch: prev_comm=sh",
        ] {
            assert_eq!(Event::parse(line), Ok(None));
        }
    }
}
