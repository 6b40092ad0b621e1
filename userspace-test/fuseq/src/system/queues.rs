// SPDX-License-Identifier: GPL-2.0

//! The texts of rust_fuse's files `queues` and `latency`.

use super::text::{field, plain, unescape_bytes};
use std::time::Duration;

/// How a queue is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// How many it holds.
    pub now: u64,
    /// How many have come to it since the mount.
    pub passed: u64,
}

/// A request that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The request's name on the wire.
    pub unique: u64,
    /// Where it is.
    pub queue: String,
    /// What is asked for.
    pub opcode: String,
    /// Of which node.
    pub nodeid: u64,
    /// The calling thread; 0 for the kernel itself.
    pub pid: u32,
    /// Since it was made.
    pub age: Duration,
    /// Nobody waits for it by design.
    pub background: bool,
    /// Its caller was killed.
    pub abandoned: bool,
    /// The calling thread's name.
    pub comm: String,
}

/// What `queues` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// All queues.
    pub queues: Vec<Queue>,
    /// All requests.
    pub requests: Vec<Waiting>,
}

impl Snapshot {
    /// Understands the text; lines that make no sense are left out.
    pub fn parse(text: &str) -> Self {
        Self {
            queues: text.lines().filter_map(Queue::parse).collect(),
            requests: text.lines().filter_map(Waiting::parse).collect(),
        }
    }

    /// How many are in the queue of that name.
    pub fn now(&self, queue: &str) -> u64 {
        let found = self.queues.iter().find(|found| found.name == queue);
        found.map_or(0, |queue| queue.now)
    }

    /// How many are in a copy, from or to a daemon, or on the way to one.
    pub fn copying(&self) -> u64 {
        ["handed", "reading", "writing"]
            .map(|queue| self.now(queue))
            .iter()
            .sum()
    }
}

impl Queue {
    fn parse(line: &str) -> Option<Self> {
        line.starts_with("queue=").then_some(())?;
        Some(Self {
            name: field(line, "queue")?.into(),
            now: field(line, "now")?.parse().ok()?,
            passed: field(line, "passed")?.parse().ok()?,
        })
    }
}

impl Waiting {
    /// From its line.
    pub fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix("request ")?;
        let number = |name| field(line, name)?.parse::<u64>().ok();
        let comm = unescape_bytes(field(line, "comm").unwrap_or_default());
        Some(Self {
            unique: number("unique")?,
            queue: field(line, "queue")?.into(),
            opcode: field(line, "opcode")?.into(),
            nodeid: number("nodeid")?,
            pid: number("pid")?.try_into().ok()?,
            age: Duration::from_micros(number("age_us")?),
            background: number("background")? == 1,
            abandoned: number("abandoned")? == 1,
            comm: plain(&String::from_utf8_lossy(&comm)),
        })
    }
}

/// How long the requests for one operation took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// The operation.
    pub opcode: String,
    /// How many have ended.
    pub requests: u64,
    /// How many of them with an error.
    pub errors: u64,
    /// How long all of them took, in microseconds.
    pub total_us: u64,
    /// How many took less than 1, 2, 4, 8, ... microseconds but not less than half of it.
    pub log2_us: Vec<u64>,
}

impl Latency {
    /// All in the text of `latency`; lines that make no sense are left out.
    pub fn parse_all(text: &str) -> Vec<Self> {
        text.lines().filter_map(Self::parse).collect()
    }

    fn parse(line: &str) -> Option<Self> {
        let number = |name| field(line, name)?.parse::<u64>().ok();
        let counts = field(line, "log2_us")?.split(',').map(str::parse);
        Some(Self {
            opcode: field(line, "opcode")?.into(),
            requests: number("requests")?,
            errors: number("errors")?,
            total_us: number("total_us")?,
            log2_us: counts.collect::<Result<_, _>>().ok()?,
        })
    }

    /// What came to it since `earlier`.
    pub fn since(&self, earlier: Option<&Self>) -> Self {
        let Some(earlier) = earlier else {
            return self.clone();
        };
        let before = earlier.log2_us.iter().copied().chain(std::iter::repeat(0));
        let counts = self.log2_us.iter().zip(before);
        Self {
            opcode: self.opcode.clone(),
            requests: self.requests.saturating_sub(earlier.requests),
            errors: self.errors.saturating_sub(earlier.errors),
            total_us: self.total_us.saturating_sub(earlier.total_us),
            log2_us: counts
                .map(|(now, before)| now.saturating_sub(before))
                .collect(),
        }
    }

    /// The mean; none of nothing.
    pub fn mean(&self) -> Option<Duration> {
        let mean = self.total_us.checked_div(self.requests)?;
        Some(Duration::from_micros(mean))
    }

    /// What that part of them (0.99) took no longer than, to the next power of two.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let all: u64 = self.log2_us.iter().sum();
        let wanted = (all as f64 * part).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.log2_us.iter().position(|count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Duration::from_micros(1 << bucket.min(62)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUES: &str = "\
        queue=pending now=1 passed=412\n\
        queue=reading now=1 passed=400\n\
        queue=writing now=2 passed=400\n\
        queue=forgets now=3 passed=7\n\
        request unique=34359738370 queue=processing opcode=GETATTR nodeid=2 pid=71 age_us=5021 \
        background=0 interrupted=0 abandoned=1 force=0 resent=0 comm=a\\040b\\033[1m new=1\n\
        request unique=x\n";

    #[test]
    fn queues_are_understood() {
        let snapshot = Snapshot::parse(QUEUES);
        assert_eq!(snapshot.queues.len(), 4);
        assert_eq!(snapshot.now("pending"), 1);
        assert_eq!(snapshot.now("forgets"), 3);
        assert_eq!(snapshot.now("none"), 0);
        assert_eq!(snapshot.copying(), 3);
        let [request] = &snapshot.requests[..] else {
            panic!("{snapshot:?}");
        };
        assert_eq!(request.age, Duration::from_micros(5021));
        assert_eq!((request.pid, request.nodeid), (71, 2));
        assert!(request.abandoned && !request.background);
        assert_eq!(request.comm, "a b\u{fffd}[1m");
    }

    #[test]
    fn latencies_are_understood() {
        let text =
            "opcode=GETATTR requests=412 errors=1 total_us=90210 log2_us=0,0,0,12,300,99,1\n";
        let latencies = Latency::parse_all(text);
        let [latency] = &latencies[..] else {
            panic!("{latencies:?}");
        };
        assert_eq!(latency.mean(), Some(Duration::from_micros(218)));
        assert_eq!(latency.quantile(0.5), Some(Duration::from_micros(16)));
        assert_eq!(latency.quantile(0.99), Some(Duration::from_micros(32)));
        assert_eq!(latency.quantile(1.0), Some(Duration::from_micros(64)));
        let later = Latency {
            requests: 414,
            total_us: 90_240,
            log2_us: vec![0, 0, 0, 12, 302, 99, 1],
            ..latency.clone()
        };
        let new = later.since(Some(latency));
        assert_eq!((new.requests, new.errors, new.total_us), (2, 0, 30));
        assert_eq!(new.log2_us, [0, 0, 0, 0, 2, 0, 0]);
        assert_eq!(Latency::default().mean(), None);
        assert_eq!(Latency::default().quantile(0.5), None);
    }
}
