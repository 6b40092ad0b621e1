// SPDX-License-Identifier: GPL-2.0

//! A connection, looked at again and again: by what rust_fuse tells of it; on C fuse, by its
//! tracepoints from now on.

use crate::{
    events::{opcode_name, Event, What},
    system::{
        queues::{Latency, Queue, Snapshot, Waiting},
        Connection,
    },
    tracefs::Instance,
};
use anyhow::Result;
use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::Read,
    time::{Duration, Instant},
};

/// How much the kernel keeps for each processor between two looks, in KiB.
const BUFFER_KIB: u32 = 4096;

/// A connection at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    /// When.
    pub(crate) at: Instant,
    /// How many requests have not ended.
    pub(crate) waiting: u64,
    /// The queues, and what is in them.
    pub(crate) snapshot: Snapshot,
    /// How long requests took, since the mount or, on C fuse, since the first look.
    pub(crate) latencies: Vec<Latency>,
    /// What cannot be known here.
    pub(crate) missing: Option<String>,
}

/// How a connection is looked at.
pub(crate) struct Eye {
    connection: Connection,
    /// On C fuse: what its tracepoints tell, or why they do not.
    traced: Option<Result<Traced, String>>,
}

impl Eye {
    pub(crate) fn new(connection: &Connection) -> Self {
        Self {
            connection: connection.clone(),
            traced: None,
        }
    }

    /// Looks at it now.
    ///
    /// # Errors
    ///
    /// It is gone, or not for us to look at.
    pub(crate) fn look(&mut self) -> Result<Look> {
        let at = Instant::now();
        if let Some(snapshot) = self.connection.snapshot()? {
            return Ok(Look {
                at,
                waiting: snapshot.requests.len() as u64,
                snapshot,
                latencies: self.connection.latencies()?.unwrap_or_default(),
                missing: None,
            });
        }
        let waiting = self.connection.waiting()?;
        let number = self.connection.number;
        let begin = || Traced::begin(number).map_err(|error| format!("{error:#}"));
        let (snapshot, latencies, missing) = match self.traced.get_or_insert_with(begin) {
            Ok(traced) => {
                traced.read()?;
                let missing = "C fuse: by its tracepoints, from now on. Not to be seen: background and the gate, \
                    the copies, forgets, interrupts, nodes.";
                (traced.snapshot(), traced.latencies(), missing.into())
            }
            Err(why) => {
                let missing = format!(
                    "C fuse tells only how many requests wait. Its tracepoints would tell more, but: {why}"
                );
                (Snapshot::default(), Vec::new(), missing)
            }
        };
        Ok(Look {
            at,
            waiting,
            snapshot,
            latencies,
            missing: Some(missing),
        })
    }
}

/// A request that C fuse's tracepoints have told of.
struct Seen {
    opcode: String,
    task: (String, u32),
    sent: bool,
    /// By the trace's clock.
    at: u64,
    since: Instant,
}

/// What the tracepoints have told since they were turned on.
struct Traced {
    pipe: File,
    /// The beginning of a line, whose end is yet to come.
    rest: Vec<u8>,
    counts: Counts,
    /// Gone last, as the pipe is one of its files.
    _instance: Instance,
}

#[derive(Default)]
struct Counts {
    alive: HashMap<u64, Seen>,
    latencies: BTreeMap<String, Latency>,
    pending: u64,
    processing: u64,
}

impl Traced {
    fn begin(connection: u32) -> Result<Self> {
        let instance = Instance::new(BUFFER_KIB, Some(connection))?;
        let pipe = instance.pipe()?;
        instance.enable(true)?;
        Ok(Self {
            pipe,
            rest: Vec::new(),
            counts: Counts::default(),
            _instance: instance,
        })
    }

    fn read(&mut self) -> Result<()> {
        let mut bytes = vec![0; 64 << 10];
        // An error is that there is no more, most often; the next look tells.
        while let Ok(len @ 1..) = self.pipe.read(&mut bytes) {
            self.rest.extend_from_slice(&bytes[..len]);
        }
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n');
        let lines: Vec<u8> = self.rest.drain(..whole.map_or(0, |end| end + 1)).collect();
        for line in String::from_utf8_lossy(&lines).lines() {
            if let Ok(Some(event)) = Event::parse(line) {
                self.counts.event(event);
            }
        }
        Ok(())
    }

    fn snapshot(&self) -> Snapshot {
        self.counts.snapshot()
    }

    fn latencies(&self) -> Vec<Latency> {
        self.counts.latencies.values().cloned().collect()
    }
}

impl Counts {
    fn event(&mut self, event: Event) {
        match event.what {
            What::Send { opcode, .. } => {
                self.pending += 1;
                let seen = Seen {
                    opcode: opcode_name(opcode),
                    task: event.task,
                    sent: false,
                    at: event.at,
                    since: Instant::now(),
                };
                self.alive.insert(event.unique, seen);
            }
            What::Sent => {
                self.processing += 1;
                if let Some(seen) = self.alive.get_mut(&event.unique) {
                    seen.sent = true;
                }
            }
            What::End { error } => {
                if let Some(seen) = self.alive.remove(&event.unique) {
                    let latency = self.latencies.entry(seen.opcode.clone()).or_default();
                    latency.opcode = seen.opcode;
                    latency.add(event.at.saturating_sub(seen.at), error != 0);
                }
            }
            What::Move(_) | What::Interrupt(_) | What::Forgets(_) => {}
        }
    }

    fn snapshot(&self) -> Snapshot {
        let queue = |name: &str, sent: bool, passed| Queue {
            name: name.into(),
            now: self.alive.values().filter(|seen| seen.sent == sent).count() as u64,
            passed,
        };
        let requests = self.alive.iter().map(|(unique, seen)| Waiting {
            unique: *unique,
            queue: if seen.sent { "processing" } else { "pending" }.into(),
            opcode: seen.opcode.clone(),
            nodeid: 0,
            pid: seen.task.1,
            age: seen.since.elapsed(),
            background: false,
            abandoned: false,
            comm: seen.task.0.clone(),
        });
        Snapshot {
            queues: vec![
                queue("pending", false, self.pending),
                queue("processing", true, self.processing),
            ],
            requests: requests.collect(),
        }
    }
}

impl Latency {
    /// One more has ended.
    fn add(&mut self, us: u64, failed: bool) {
        self.requests += 1;
        self.errors += u64::from(failed);
        self.total_us += us;
        let bucket = (u64::BITS - us.leading_zeros()) as usize;
        if self.log2_us.len() <= bucket {
            self.log2_us.resize(bucket + 1, 0);
        }
        self.log2_us[bucket] += 1;
    }
}

/// How much came between two looks: by queue, and by opcode.
pub(crate) struct Change {
    /// Between them.
    pub(crate) took: Duration,
    /// How many came to each queue.
    pub(crate) passed: HashMap<String, u64>,
    /// What ended.
    pub(crate) latencies: HashMap<String, Latency>,
}

impl Change {
    pub(crate) fn between(earlier: &Look, later: &Look) -> Self {
        let before = |name: &str| {
            let mut queues = earlier.snapshot.queues.iter();
            queues
                .find(|queue| queue.name == name)
                .map_or(0, |queue| queue.passed)
        };
        let queues = later.snapshot.queues.iter();
        let passed = queues.map(|queue| {
            let new = queue.passed.saturating_sub(before(&queue.name));
            (queue.name.clone(), new)
        });
        let latencies = later.latencies.iter().map(|latency| {
            let mut all = earlier.latencies.iter();
            let before = all.find(|before| before.opcode == latency.opcode);
            (latency.opcode.clone(), latency.since(before))
        });
        Self {
            took: later.at.duration_since(earlier.at),
            passed: passed.collect(),
            latencies: latencies.collect(),
        }
    }

    /// So many a second.
    pub(crate) fn rate(&self, count: u64) -> f64 {
        count as f64 / self.took.as_secs_f64().max(1e-3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracepoints_of_c_fuse_make_queues_and_latencies() {
        let mut counts = Counts::default();
        let mut event = |unique, at, what| {
            counts.event(Event {
                at,
                task: ("cat".into(), 71),
                connection: 5,
                unique,
                what,
            })
        };
        event(
            2,
            10,
            What::Send {
                opcode: 3,
                len: None,
            },
        );
        event(
            4,
            11,
            What::Send {
                opcode: 3,
                len: None,
            },
        );
        event(
            6,
            12,
            What::Send {
                opcode: 1,
                len: None,
            },
        );
        event(2, 20, What::Sent);
        event(4, 21, What::Sent);
        event(2, 110, What::End { error: -2 });
        // One that was there before.
        event(8, 200, What::End { error: 0 });
        let snapshot = counts.snapshot();
        let queues: Vec<_> = snapshot
            .queues
            .iter()
            .map(|queue| (queue.now, queue.passed))
            .collect();
        assert_eq!(queues, [(1, 3), (1, 2)]);
        assert_eq!(snapshot.requests.len(), 2);
        let latency = &counts.latencies["GETATTR"];
        assert_eq!(
            (latency.requests, latency.errors, latency.total_us),
            (1, 1, 100)
        );
        // 64 to 128 microseconds.
        assert_eq!(latency.log2_us, [0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(latency.quantile(0.5), Some(Duration::from_micros(128)));
    }
}
