// SPDX-License-Identifier: GPL-2.0

//! The text of a trace, as tracefs prints it in `trace` and `trace_pipe`: the lines of rust_fuse's
//! tracepoints.

pub use crate::place::Place;
use std::{fmt, str::FromStr};

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One line of the tracepoint: a request has moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// The connection, by the number of its directory in the control file system.
    pub connection: u32,
    /// The request, as the daemon knows it.
    pub unique: u64,
    /// What it asks for, by number.
    pub opcode: u32,
    /// The node it is on.
    pub nodeid: u64,
    /// Who made it.
    pub pid: u32,
    /// Where it was.
    pub from: Place,
    /// Where it is now.
    pub to: Place,
    /// How many requests are there now.
    pub depth: u64,
    /// How many bytes the daemon gets to read of it, once that is known; traces of old have none.
    pub len: Option<u32>,
    /// How it has ended, an errno, negative, or 0; of those that move to their end.
    pub error: Option<i32>,
}

/// What happens to an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It waits for a daemon to read it.
    Queued,
    /// One does.
    Read,
    /// There is no reason for it any more.
    Dropped,
}

impl Step {
    /// All of them, by their numbers.
    pub const ALL: [Step; 3] = [Step::Queued, Step::Read, Step::Dropped];

    /// The name as it stands in traces.
    pub fn name(self) -> &'static str {
        match self {
            Step::Queued => "queued",
            Step::Read => "read",
            Step::Dropped => "dropped",
        }
    }
}

/// Something has happened to the interrupt of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupt {
    /// The connection.
    pub connection: u32,
    /// The request.
    pub unique: u64,
    /// What.
    pub step: Step,
    /// How many interrupts wait now.
    pub depth: u64,
}

/// A daemon has read forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forgets {
    /// The connection.
    pub connection: u32,
    /// The message, as the daemon knows it.
    pub unique: u64,
    /// How many.
    pub count: u64,
    /// Its length in bytes.
    pub len: u32,
}

/// What a line of a trace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing about requests.
    Other,
    /// A request has moved.
    Move(Move),
    /// Something has happened to its interrupt.
    Interrupt(Interrupt),
    /// Forgets were read.
    Forgets(Forgets),
    /// So many events are missing; 0 when the kernel does not know how many.
    Lost(u64),
}

/// A line of the tracepoint that cannot be understood, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed line: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

impl Line {
    /// Understands one line.
    ///
    /// # Errors
    ///
    /// A line of the tracepoint that lacks a field, or has one that makes no sense.
    pub fn parse(line: &str) -> Result<Self, Malformed> {
        if let Some(header) = line.strip_prefix('#') {
            return Ok(overwritten(header).map_or(Line::Other, Line::Lost));
        }
        // No command has a name as long as that, which may hold anything else.
        if let Some((_, fields)) = line.split_once(" rust_fuse_request: ") {
            return fields.parse().map(Line::Move);
        }
        if let Some((_, fields)) = line.split_once(" rust_fuse_interrupt: ") {
            return Interrupt::parse(Fields(fields)).map(Line::Interrupt);
        }
        if let Some((_, fields)) = line.split_once(" rust_fuse_forgets: ") {
            return Forgets::parse(Fields(fields)).map(Line::Forgets);
        }
        if line.starts_with("CPU:") && line.contains("[LOST ") {
            let count = line.split("[LOST ").nth(1).and_then(|rest| {
                let (count, _) = rest.split_once(" EVENTS]")?;
                count.parse().ok()
            });
            return Ok(Line::Lost(count.unwrap_or(0)));
        }
        Ok(Line::Other)
    }
}

/// How many events the buffer no longer holds, by the header
/// `entries-in-buffer/entries-written: 10/12   #P:2`; none when it holds all.
fn overwritten(header: &str) -> Option<u64> {
    let counts = header
        .trim()
        .strip_prefix("entries-in-buffer/entries-written: ")?;
    let (held, written) = counts.split(' ').next()?.split_once('/')?;
    let (held, written): (u64, u64) = (held.parse().ok()?, written.parse().ok()?);
    (held < written).then(|| written - held)
}

/// The fields `name=value` of a line, of which there may be more than are known here.
struct Fields<'a>(&'a str);

impl Fields<'_> {
    fn find(&self, wanted: &str) -> Option<&str> {
        let words = self.0.split_ascii_whitespace();
        let mut fields = words.filter_map(|field| field.split_once('='));
        let found = fields.find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value)
    }

    fn text(&self, wanted: &str) -> Result<&str, Malformed> {
        self.find(wanted).ok_or(Malformed("a field is missing"))
    }

    fn number<T: FromStr>(&self, wanted: &str) -> Result<T, Malformed> {
        let value = self.text(wanted)?.parse();
        value.map_err(|_| Malformed("not a number"))
    }

    /// One that traces of old do not have.
    fn newer<T: FromStr>(&self, wanted: &str) -> Result<Option<T>, Malformed> {
        self.find(wanted).map(|_| self.number(wanted)).transpose()
    }

    fn place(&self, wanted: &str) -> Result<Place, Malformed> {
        let value = self.text(wanted)?;
        let mut places = Place::ALL.into_iter();
        let found = places.find(|place| place.name() == value);
        found.ok_or(Malformed("no such place"))
    }
}

impl FromStr for Move {
    type Err = Malformed;

    fn from_str(fields: &str) -> Result<Self, Malformed> {
        let fields = Fields(fields);
        let to = fields.place("to")?;
        Ok(Move {
            connection: fields.number("connection")?,
            unique: fields.number("unique")?,
            opcode: fields.number("opcode")?,
            nodeid: fields.number("nodeid")?,
            pid: fields.number("pid")?,
            from: fields.place("from")?,
            to,
            depth: fields.number("depth")?,
            len: fields.newer("len")?.filter(|len| *len > 0),
            error: fields.newer("error")?.filter(|_| to == Place::Ended),
        })
    }
}

impl Interrupt {
    fn parse(fields: Fields<'_>) -> Result<Self, Malformed> {
        let value = fields.text("step")?;
        let step = Step::ALL.into_iter().find(|step| step.name() == value);
        Ok(Self {
            connection: fields.number("connection")?,
            unique: fields.number("unique")?,
            step: step.ok_or(Malformed("no such step"))?,
            depth: fields.number("depth")?,
        })
    }
}

impl Forgets {
    fn parse(fields: Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            connection: fields.number("connection")?,
            unique: fields.number("unique")?,
            count: fields.number("count")?,
            len: fields.number("len")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "  a b: [x]=-71      [001] ...1.   312.200511: rust_fuse_request: \
        connection=43 unique=4 opcode=3 nodeid=1 pid=71 from=none to=pending depth=1";

    /// The names by number that the kernel prints for a macro's argument of that name.
    fn symbols(argument: &str) -> Vec<(u8, &'static str)> {
        let format = include_str!("../../../rust/bindings/trace.h");
        let start = format!("__print_symbolic({argument},");
        let (_, names) = format.split_once(&start).unwrap();
        let (names, _) = names.split_once("})").unwrap();
        let pairs = names.split('{').skip(1);
        let words = |pair: &'static str| pair.split(['"', ',']).map(str::trim).collect::<Vec<_>>();
        pairs
            .map(words)
            .map(|pair| (pair[0].parse().unwrap(), pair[2]))
            .collect()
    }

    #[test]
    fn the_kernel_and_this_call_things_by_the_same_names() {
        let places = Place::ALL.map(|place| (place as u8, place.name()));
        assert_eq!(symbols("place"), places);
        let steps = Step::ALL.map(|step| (step as u8, step.name()));
        assert_eq!(symbols("step"), steps);
    }

    #[test]
    fn a_line_is_taken_apart() {
        let expected = Move {
            connection: 43,
            unique: 4,
            opcode: 3,
            nodeid: 1,
            pid: 71,
            from: Place::None,
            to: Place::Pending,
            depth: 1,
            len: None,
            error: None,
        };
        assert_eq!(Line::parse(LINE), Ok(Line::Move(expected)));
        let longer = format!("{LINE} len=56 error=0 more=x");
        let len = Some(56);
        assert_eq!(
            Line::parse(&longer),
            Ok(Line::Move(Move { len, ..expected }))
        );
        let ended = longer
            .replace("to=pending", "to=ended")
            .replace("error=0", "error=-2");
        let Ok(Line::Move(ended)) = Line::parse(&ended) else {
            panic!("{ended}");
        };
        assert_eq!(ended.error, Some(-2));
    }

    #[test]
    fn what_is_no_request_is_taken_apart() {
        let head = "  a-71      [001] ...1.   312.200511:";
        let interrupt = format!(
            "{head} rust_fuse_interrupt: connection=43 unique=4 opcode=3 nodeid=1 pid=71 step=read depth=2"
        );
        let expected = Interrupt {
            connection: 43,
            unique: 4,
            step: Step::Read,
            depth: 2,
        };
        assert_eq!(Line::parse(&interrupt), Ok(Line::Interrupt(expected)));
        let forgets = format!("{head} rust_fuse_forgets: connection=43 unique=6 count=9 len=184");
        let expected = Forgets {
            connection: 43,
            unique: 6,
            count: 9,
            len: 184,
        };
        assert_eq!(Line::parse(&forgets), Ok(Line::Forgets(expected)));
        for line in [
            interrupt.replace("step=read", "step=x"),
            forgets.replace("count=9", ""),
        ] {
            assert!(Line::parse(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (right, wrong) in [
            ("to=pending", "to=0x63"),
            ("depth=1", ""),
            ("unique=4", "unique=18446744073709551616"),
            ("pid=71", "pid="),
        ] {
            let line = LINE.replace(right, wrong);
            assert!(Line::parse(&line).is_err(), "{line}");
        }
    }

    #[test]
    fn other_lines_are_nothing() {
        for line in [
            "",
            "# tracer: nop",
            "# entries-in-buffer/entries-written: 10/10   #P:2",
            "   sh-1  [000] ..... 5.2: sched_switch: prev_comm=sh",
        ] {
            assert_eq!(Line::parse(line), Ok(Line::Other), "{line}");
        }
    }

    #[test]
    fn lost_events_are_seen() {
        let header = "# entries-in-buffer/entries-written: 10/12   #P:2";
        assert_eq!(Line::parse(header), Ok(Line::Lost(2)));
        assert_eq!(Line::parse("CPU:1 [LOST 7 EVENTS]"), Ok(Line::Lost(7)));
        assert_eq!(Line::parse("CPU:1 [LOST EVENTS]"), Ok(Line::Lost(0)));
    }
}
