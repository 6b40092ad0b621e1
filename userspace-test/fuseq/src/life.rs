// SPDX-License-Identifier: GPL-2.0

//! The lives of requests, put together from a recording: where each was, from when to when.

use crate::{
    events::{opcode_name, Event, What},
    recording::{Fact, Sample, HEADER},
    system::queues::Waiting,
    trace::{Line, Malformed, Place, Step},
};
use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufRead},
};

/// A stay of a request in one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stay {
    /// Where.
    pub place: Place,
    /// From when on, in microseconds.
    pub from: u64,
}

/// The life of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// Of which connection.
    pub connection: u32,
    /// Its name on the wire.
    pub unique: u64,
    /// What it asks for.
    pub opcode: String,
    /// Of which node; C fuse does not tell.
    pub nodeid: Option<u64>,
    /// Who made it; 0 for the kernel itself.
    pub pid: u32,
    /// Its caller's name, where it is known.
    pub comm: String,
    /// Where it was.
    pub stays: Vec<Stay>,
    /// When it was gone, in microseconds; none if it was still there at the end.
    pub end: Option<u64>,
    /// It was there before the recording began.
    pub began_before: bool,
    /// How it ended, an errno, negative, or 0.
    pub error: Option<i32>,
    /// Its length in bytes, where it is known.
    pub len: Option<u32>,
    /// What happened to its interrupts, and when; C fuse does not tell.
    pub interrupts: Vec<(u64, Step)>,
}

/// Forgets that a daemon has read in one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Of which connection.
    pub connection: u32,
    /// When, in microseconds.
    pub at: u64,
    /// How many.
    pub count: u64,
    /// The message's length in bytes.
    pub len: u32,
}

/// All that a recording tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Story {
    /// When it begins and ends, in microseconds.
    pub from: u64,
    /// See `from`.
    pub to: u64,
    /// The requests, by when they began.
    pub lives: Vec<Life>,
    /// What is known of connections beside: number, mount point, daemon.
    pub connections: BTreeMap<u32, (String, String)>,
    /// Files that were open, by connection and node.
    pub paths: BTreeMap<(u32, u64), String>,
    /// How full the queues were that hold no requests, where that has changed.
    pub samples: Vec<Sample>,
    /// The forgets that were read; C fuse does not tell.
    pub forgets: Vec<Batch>,
    /// How many events are missing.
    pub lost: u64,
    /// There are lines of C fuse.
    pub has_c: bool,
    /// There are lines of rust_fuse.
    pub has_rust: bool,
}

#[derive(Default)]
struct Builder {
    story: Story,
    alive: HashMap<(u32, u64), Life>,
    names: HashMap<u32, String>,
    /// When the recording was begun and ended, as it says itself.
    said: (Option<u64>, Option<u64>),
    seen: Option<(u64, u64)>,
}

impl Story {
    /// Reads a recording, or a trace as tracefs prints it.
    ///
    /// # Errors
    ///
    /// It cannot be read, or has a line that makes no sense: that with its number.
    pub fn read(mut trace: impl BufRead) -> io::Result<Self> {
        let mut builder = Builder::default();
        let mut events = Vec::new();
        let mut bytes = Vec::new();
        for number in 1.. {
            bytes.clear();
            if trace.read_until(b'\n', &mut bytes)? == 0 {
                break;
            }
            let line = String::from_utf8_lossy(&bytes);
            let line = line.trim_end_matches('\n');
            let event = builder.line(line).map_err(|malformed| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("line {number}: {malformed}"),
                )
            })?;
            events.extend(event);
        }
        // Each processor's are in order; of several, not quite.
        events.sort_by_key(|event| event.at);
        for event in events {
            builder.event(event);
        }
        Ok(builder.end())
    }
}

impl Builder {
    fn line(&mut self, line: &str) -> Result<Option<Event>, Malformed> {
        if let Some(fact) = line.strip_prefix(HEADER) {
            self.fact(Fact::parse(fact));
            return Ok(None);
        }
        if let Some(event) = Event::parse(line)? {
            return Ok(Some(event));
        }
        if let Line::Lost(lost) = Line::parse(line)? {
            // The kernel does not always know how many: then there is one at least.
            self.story.lost += lost.max(1);
        }
        Ok(None)
    }

    fn fact(&mut self, fact: Option<Fact>) {
        match fact {
            Some(Fact::Start(at)) => self.said.0 = Some(at),
            Some(Fact::End(at)) => self.said.1 = Some(at),
            Some(Fact::Connection {
                number,
                mount,
                daemon,
            }) => drop(self.story.connections.insert(number, (mount, daemon))),
            Some(Fact::Path {
                connection,
                nodeid,
                path,
            }) => drop(self.story.paths.insert((connection, nodeid), path)),
            Some(Fact::Waits(connection, request)) => self.waits(connection, request),
            Some(Fact::Sampled(sample)) => self.story.samples.push(sample),
            None => {}
        }
    }

    /// A request that was there when the recording began.
    fn waits(&mut self, connection: u32, request: Waiting) {
        let places = Place::ALL.into_iter();
        let place = places.clone().find(|place| place.name() == request.queue);
        let from = self.said.0.unwrap_or_default();
        let life = Life {
            connection,
            unique: request.unique,
            opcode: request.opcode,
            nodeid: Some(request.nodeid),
            pid: request.pid,
            comm: request.comm,
            stays: place
                .map(|place| Stay { place, from })
                .into_iter()
                .collect(),
            began_before: true,
            ..Life::default()
        };
        self.alive
            .insert((connection, request.unique & (u64::MAX >> 1)), life);
    }

    fn event(&mut self, event: Event) {
        let (first, _) = self.seen.unwrap_or((event.at, event.at));
        self.seen = Some((first, event.at));
        let (comm, pid) = event.task;
        if comm != "<...>" {
            self.names.insert(pid, comm);
        }
        let key = (event.connection, event.unique);
        let new = || Life {
            connection: event.connection,
            unique: event.unique,
            ..Life::default()
        };
        let at = event.at;
        match event.what {
            What::Move(step) => {
                self.story.has_rust = true;
                let life = self.alive.entry(key).or_insert_with(|| Life {
                    opcode: opcode_name(step.opcode),
                    nodeid: Some(step.nodeid),
                    pid: step.pid,
                    began_before: step.from != Place::None,
                    stays: match step.from {
                        Place::None => Vec::new(),
                        place => vec![Stay { place, from: first }],
                    },
                    ..new()
                });
                life.len = step.len.or(life.len);
                life.error = step.error.or(life.error);
                if step.to != Place::None {
                    life.go(step.to, at);
                    return;
                }
            }
            What::Interrupt(interrupt) => {
                // One whose request has never been seen tells nothing.
                if let Some(life) = self.alive.get_mut(&key) {
                    life.interrupts.push((at, interrupt.step));
                }
                return;
            }
            What::Forgets(forgets) => {
                self.story.has_rust = true;
                self.story.forgets.push(Batch {
                    connection: forgets.connection,
                    at,
                    count: forgets.count,
                    len: forgets.len,
                });
                return;
            }
            What::Send { opcode, len } => {
                self.story.has_c = true;
                let life = Life {
                    opcode: opcode_name(opcode),
                    pid,
                    len,
                    ..new()
                };
                self.alive.entry(key).or_insert(life).go(Place::Pending, at);
                return;
            }
            What::Sent => {
                self.story.has_c = true;
                let life = self.alive.entry(key).or_insert_with(|| Life {
                    began_before: true,
                    opcode: String::from("?"),
                    stays: vec![Stay {
                        place: Place::Pending,
                        from: first,
                    }],
                    ..new()
                });
                life.go(Place::Processing, at);
                return;
            }
            What::End { error } => {
                self.story.has_c = true;
                let life = self.alive.entry(key).or_insert_with(|| Life {
                    began_before: true,
                    opcode: String::from("?"),
                    stays: vec![Stay {
                        place: Place::Processing,
                        from: first,
                    }],
                    ..new()
                });
                life.error = Some(error);
            }
        }
        if let Some(mut life) = self.alive.remove(&key) {
            life.end = Some(at);
            self.story.lives.push(life);
        }
    }

    fn end(mut self) -> Story {
        let (first, last) = self.seen.unwrap_or_default();
        let story = &mut self.story;
        story.from = self.said.0.map_or(first, |said| {
            said.min(if self.seen.is_some() { first } else { said })
        });
        story.to = self.said.1.unwrap_or(last).max(last);
        story.lives.extend(self.alive.into_values());
        for life in &mut story.lives {
            if life.comm.is_empty() {
                life.comm = self.names.get(&life.pid).cloned().unwrap_or_default();
            }
            for stay in &mut life.stays {
                stay.from = stay.from.max(story.from);
            }
        }
        story.lives.retain(|life| !life.stays.is_empty());
        story
            .lives
            .sort_by_key(|life| (life.began(), life.connection, life.unique));
        self.story
    }
}

impl Life {
    fn go(&mut self, place: Place, at: u64) {
        self.stays.push(Stay { place, from: at });
    }

    /// When it began, in microseconds, or when it was first seen.
    pub fn began(&self) -> u64 {
        self.stays.first().map_or(0, |stay| stay.from)
    }

    /// Its stays, each with its end; what has none ends at `last`.
    pub fn spans(&self, last: u64) -> impl Iterator<Item = (Place, u64, u64)> + '_ {
        let ends = self.stays.iter().skip(1).map(|stay| stay.from);
        let ends = ends.chain([self.end.unwrap_or(last)]);
        let stays = self.stays.iter().zip(ends);
        stays.map(|(stay, end)| (stay.place, stay.from, end.max(stay.from)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(task: &str, us: u64, unique: u64, from: &str, to: &str) -> String {
        format!(
            "  {task} [000] ...1. 12.{us:06}: rust_fuse_request: connection=5 unique={unique} opcode=3 \
             nodeid=9 pid=71 from={from} to={to} depth=1\n"
        )
    }

    #[test]
    fn a_life_is_put_together() {
        let trace = [
            step("cat-71", 100, 4, "none", "pending"),
            // Another processor's.
            step("d-80", 130, 4, "reading", "processing"),
            step("d-80", 110, 4, "pending", "reading"),
            step("d-80", 150, 4, "processing", "ended"),
            step("cat-71", 160, 4, "ended", "none"),
        ]
        .concat();
        let story = Story::read(trace.as_bytes()).unwrap();
        let [life] = &story.lives[..] else {
            panic!("{story:?}");
        };
        assert_eq!(
            (&life.comm[..], life.pid, &life.opcode[..]),
            ("cat", 71, "GETATTR")
        );
        assert!(!life.began_before);
        let spans: Vec<_> = life.spans(story.to).collect();
        let at = 12_000_000;
        assert_eq!(
            spans,
            [
                (Place::Pending, at + 100, at + 110),
                (Place::Reading, at + 110, at + 130),
                (Place::Processing, at + 130, at + 150),
                (Place::Ended, at + 150, at + 160),
            ]
        );
        assert_eq!((story.from, story.to), (at + 100, at + 160));
    }

    #[test]
    fn what_has_no_beginning_or_no_end_is_there_all_the_time() {
        let trace = [
            "# fuseq: start=11.5\n",
            "# fuseq: connection=5 mount=/mnt/a\\040b daemon=d[80]\n",
            "# fuseq: waits=5 request unique=8 queue=processing opcode=READ nodeid=2 pid=7 age_us=9 \
             background=0 interrupted=0 abandoned=0 force=0 resent=0 comm=old\n",
            &step("d-80", 100, 4, "processing", "writing"),
            &step("cat-71", 200, 6, "none", "gate"),
            "CPU:1 [LOST 7 EVENTS]\n",
            "# fuseq: end=13.0\n",
        ]
        .concat();
        let story = Story::read(trace.as_bytes()).unwrap();
        assert_eq!(
            (story.from, story.to, story.lost),
            (11_500_000, 13_000_000, 7)
        );
        assert_eq!(story.connections[&5], ("/mnt/a b".into(), "d[80]".into()));
        let lives: Vec<_> = story
            .lives
            .iter()
            .map(|life| (life.unique, life.began_before, life.began(), life.end))
            .collect();
        assert_eq!(
            lives,
            [
                (8, true, 11_500_000, None),
                (4, true, 12_000_100, None),
                (6, false, 12_000_200, None)
            ]
        );
    }

    #[test]
    fn lengths_errors_interrupts_and_forgets_are_kept() {
        let with = |line: String, more: &str| line.replace('\n', &format!(" {more}\n"));
        let event = |us: u64, what: &str| format!(" d-80 [000] ...1. 12.{us:06}: {what}\n");
        let of = "connection=5 unique=4 opcode=3 nodeid=9 pid=71";
        let trace = [
            with(step("cat-71", 100, 4, "none", "pending"), "len=0 error=0"),
            with(
                step("d-80", 110, 4, "reading", "processing"),
                "len=56 error=0",
            ),
            event(
                120,
                &format!("rust_fuse_interrupt: {of} step=queued depth=1"),
            ),
            event(130, &format!("rust_fuse_interrupt: {of} step=read depth=0")),
            with(step("d-80", 150, 4, "writing", "ended"), "len=56 error=-4"),
            with(step("cat-71", 160, 4, "ended", "none"), "len=0 error=0"),
            event(
                170,
                "rust_fuse_forgets: connection=5 unique=8 count=300 len=4848",
            ),
        ]
        .concat();
        let story = Story::read(trace.as_bytes()).unwrap();
        let life = &story.lives[0];
        assert_eq!((life.len, life.error), (Some(56), Some(-4)));
        let at = 12_000_000;
        assert_eq!(
            life.interrupts,
            [(at + 120, Step::Queued), (at + 130, Step::Read)]
        );
        let batch = Batch {
            connection: 5,
            at: at + 170,
            count: 300,
            len: 4848,
        };
        assert_eq!(story.forgets, [batch]);
    }

    #[test]
    fn lives_of_c_fuse_have_two_stays() {
        let line = |us: u64, what: &str| format!(" cat-71 [000] ..... 1.{us:06}: {what}\n");
        let trace = [
            line(
                10,
                "fuse_request_send: connection 5 req 4 opcode 3 (FUSE_GETATTR) len 56 ",
            ),
            line(
                20,
                "fuse_request_sent: connection 5 req 4 opcode 3 (FUSE_GETATTR)",
            ),
            line(50, "fuse_request_end: connection 5 req 4 len 16 error -2"),
            line(60, "fuse_request_end: connection 5 req 6 len 16 error 0"),
        ]
        .concat();
        let story = Story::read(trace.as_bytes()).unwrap();
        assert!(story.has_c && !story.has_rust);
        let life = story.lives.iter().find(|life| life.unique == 4).unwrap();
        assert_eq!((life.error, life.len), (Some(-2), Some(56)));
        let spans: Vec<_> = life.spans(story.to).collect();
        assert_eq!(
            spans,
            [
                (Place::Pending, 1_000_010, 1_000_020),
                (Place::Processing, 1_000_020, 1_000_050)
            ]
        );
        let other = story.lives.iter().find(|life| life.unique == 6).unwrap();
        assert!(other.began_before && other.opcode == "?");
    }

    #[test]
    fn nonsense_is_refused_with_its_line() {
        let trace = format!("# x\n{}", step("d-80", 1, 4, "nowhere", "writing"));
        let error = Story::read(trace.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "line 2: malformed line: no such place");
        assert_eq!(Story::read(&b""[..]).unwrap(), Story::default());
    }
}
