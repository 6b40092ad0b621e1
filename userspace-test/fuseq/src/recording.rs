// SPDX-License-Identifier: GPL-2.0

//! What a recording has beside the lines of the trace: facts, in lines that other readers of traces
//! take for comments.

use crate::system::{
    queues::Waiting,
    text::{escape, field, unescape_bytes},
};
use std::fmt;

/// What such a line begins with.
pub const HEADER: &str = "# fuseq: ";

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// When the recording began, in microseconds of its clock.
    Start(u64),
    /// When it ended.
    End(u64),
    /// A connection.
    Connection {
        /// Its number.
        number: u32,
        /// Where it is mounted.
        mount: String,
        /// Who serves it.
        daemon: String,
    },
    /// A file that was open.
    Path {
        /// Its connection.
        connection: u32,
        /// Its node.
        nodeid: u64,
        /// Its path.
        path: String,
    },
    /// A request that was there when the recording began.
    Waits(u32, Waiting),
    /// How full a queue was that holds no requests, and is in no trace.
    Sampled(Sample),
}

/// How full a queue was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Its name.
    pub queue: String,
    /// Its connection.
    pub connection: u32,
    /// When, in microseconds.
    pub at: u64,
    /// How much it held.
    pub now: u64,
}

/// The queues of which [`Sample`]s are taken.
pub const SAMPLED: [&str; 2] = ["interrupts", "forgets"];

impl Fact {
    /// Understands a line, less its beginning. None of what is not known here.
    pub fn parse(line: &str) -> Option<Self> {
        let number = |name| field(line, name)?.parse::<u64>().ok();
        let word = |name| {
            let bytes = unescape_bytes(field(line, name)?);
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (name, _) = line.split_once('=')?;
        match name {
            "start" => Some(Fact::Start(micros(field(line, "start")?)?)),
            "end" => Some(Fact::End(micros(field(line, "end")?)?)),
            "connection" => Some(Fact::Connection {
                number: number("connection")?.try_into().ok()?,
                mount: word("mount")?,
                daemon: word("daemon")?,
            }),
            "path" => Some(Fact::Path {
                path: word("path")?,
                connection: number("of")?.try_into().ok()?,
                nodeid: number("nodeid")?,
            }),
            "sampled" => Some(Fact::Sampled(Sample {
                queue: word("sampled")?,
                connection: number("of")?.try_into().ok()?,
                at: micros(field(line, "at")?)?,
                now: number("now")?,
            })),
            "waits" => {
                let (connection, request) = line.split_once(' ')?;
                let connection = field(connection, "waits")?.parse().ok()?;
                Some(Fact::Waits(connection, Waiting::parse(request)?))
            }
            _ => None,
        }
    }
}

/// Seconds with a fraction as tracefs prints them, in microseconds.
fn micros(text: &str) -> Option<u64> {
    let seconds: f64 = text.parse().ok()?;
    // CAST: It is no less than 0, and saturates.
    (seconds >= 0.0).then_some((seconds * 1e6).round() as u64)
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |us: &u64| format!("{}.{:06}", us / 1_000_000, us % 1_000_000);
        f.write_str(HEADER)?;
        match self {
            Fact::Start(at) => write!(f, "start={}", seconds(at)),
            Fact::End(at) => write!(f, "end={}", seconds(at)),
            Fact::Connection {
                number,
                mount,
                daemon,
            } => write!(
                f,
                "connection={number} mount={} daemon={}",
                escape(mount),
                escape(daemon)
            ),
            Fact::Path {
                connection,
                nodeid,
                path,
            } => write!(f, "path={} of={connection} nodeid={nodeid}", escape(path)),
            Fact::Sampled(sample) => write!(
                f,
                "sampled={} of={} at={} now={}",
                escape(&sample.queue),
                sample.connection,
                seconds(&sample.at),
                sample.now
            ),
            Fact::Waits(connection, request) => write!(
                f,
                "waits={connection} request unique={} queue={} opcode={} nodeid={} pid={} age_us={} \
                 background={} abandoned={} comm={}",
                request.unique,
                request.queue,
                request.opcode,
                request.nodeid,
                request.pid,
                request.age.as_micros(),
                u8::from(request.background),
                u8::from(request.abandoned),
                escape(&request.comm),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn facts_come_back() {
        for fact in [
            Fact::Start(12_000_345),
            Fact::End(13_000_000),
            Fact::Connection {
                number: 43,
                mount: "/mnt/a b".into(),
                daemon: "d[80]".into(),
            },
            Fact::Path {
                connection: 43,
                nodeid: 1 << 63,
                path: "/mnt/a b/\n".into(),
            },
            Fact::Sampled(Sample {
                queue: "forgets".into(),
                connection: 43,
                at: 12_000_345,
                now: 1_000_000,
            }),
            Fact::Waits(
                43,
                Waiting {
                    unique: 4,
                    queue: "pending".into(),
                    opcode: "READ".into(),
                    nodeid: 2,
                    pid: 71,
                    age: Duration::from_micros(5),
                    background: true,
                    abandoned: false,
                    comm: "a b".into(),
                },
            ),
        ] {
            let line = fact.to_string();
            assert_eq!(Fact::parse(line.strip_prefix(HEADER).unwrap()), Some(fact));
        }
        for line in [
            "",
            "start=x",
            "start=-1",
            "connection=1",
            "new=3",
            "waits=1 request",
        ] {
            assert_eq!(Fact::parse(line), None, "{line}");
        }
    }
}
