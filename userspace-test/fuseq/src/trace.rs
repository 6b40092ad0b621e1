// SPDX-License-Identifier: GPL-2.0

//! The text of a trace, as tracefs prints it in `trace` and `trace_pipe`.

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
}

/// What a line of a trace says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing about requests.
    Other,
    /// A request has moved.
    Move(Move),
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

/// From the fields `name=value`, of which there may be more than are known here.
impl FromStr for Move {
    type Err = Malformed;

    fn from_str(fields: &str) -> Result<Self, Malformed> {
        let field = |wanted: &str| {
            fields
                .split_ascii_whitespace()
                .filter_map(|field| field.split_once('='))
                .find(|(name, _)| *name == wanted)
                .map(|(_, value)| value)
                .ok_or(Malformed("a field is missing"))
        };
        fn number<T: FromStr>(value: &str) -> Result<T, Malformed> {
            value.parse().map_err(|_| Malformed("not a number"))
        }
        let place = |value: &str| {
            let named = |place: &Place| place.name() == value;
            Place::ALL
                .into_iter()
                .find(named)
                .ok_or(Malformed("no such place"))
        };
        Ok(Move {
            connection: number(field("connection")?)?,
            unique: number(field("unique")?)?,
            opcode: number(field("opcode")?)?,
            nodeid: number(field("nodeid")?)?,
            pid: number(field("pid")?)?,
            from: place(field("from")?)?,
            to: place(field("to")?)?,
            depth: number(field("depth")?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "  a b: [x]=-71      [001] ...1.   312.200511: rust_fuse_request: \
        connection=43 unique=4 opcode=3 nodeid=1 pid=71 from=none to=pending depth=1";

    #[test]
    fn the_kernel_and_this_call_places_by_the_same_names() {
        let format = include_str!("../../../rust/bindings/trace.h");
        let (_, names) = format.split_once("__print_symbolic(place,").unwrap();
        let (names, _) = names.split_once("})").unwrap();
        let names: Vec<_> = names
            .split('{')
            .skip(1)
            .map(|pair| pair.split(['"', ',']).map(str::trim).collect::<Vec<_>>())
            .map(|pair| (pair[0].parse().unwrap(), pair[2]))
            .collect();
        let places: Vec<_> = Place::ALL.map(|place| (place as u8, place.name())).into();
        assert_eq!(names, places);
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
        };
        assert_eq!(Line::parse(LINE), Ok(Line::Move(expected)));
        let longer = format!("{LINE} more=x");
        assert_eq!(Line::parse(&longer), Ok(Line::Move(expected)));
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
