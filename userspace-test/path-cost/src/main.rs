// SPDX-License-Identifier: GPL-2.0

//! Counts the instructions of looking names up and forgetting them, while there come to be a million
//! of them and go again: in the table of `pathfs`, and in one that is rehashed at once.
//!
//! The figures are nanoseconds of the monotonic clock. In a guest that runs with `--icount` each
//! is one instruction; elsewhere they are times, and worth little:
//!
//!     qemu-scripts/guest --icount --mem 2048 --timeout 3000 --module none -- path-cost
//!
//! Everything is done several times over, and of each operation the least counts: a timer's tick
//! does not come at the same one again, a rehash does. One line for each table and operation:
//! `TABLE OPERATION median=N p99.99=N worst=N ratio=N`, the last being how many times the median the
//! worst one took; and how many KiB of memory the process has before and after. Ends with status 1
//! when one operation on the first table took more than `--limit` times the median.

use clap::Parser;
use nix::time::{clock_gettime, ClockId};
use pathfs::{give_memory_back, NodeId, Table, ROOT};
use std::{
    collections::HashMap,
    error::Error,
    ffi::{OsStr, OsString},
    fs,
    process::ExitCode,
};

/// Counts the instructions of looking names up while there come to be a million
#[derive(Parser)]
struct Cli {
    /// How many names
    #[arg(long, default_value_t = 1_000_000)]
    count: usize,

    /// How many times to do it all
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// How many times the median any operation may take
    #[arg(long, default_value_t = 20)]
    limit: u64,
}

/// What can be done with either table.
trait Names: Default {
    fn look_up(&mut self, name: &OsStr) -> NodeId;
    fn forget(&mut self, id: NodeId);
}

impl Names for Table {
    fn look_up(&mut self, name: &OsStr) -> NodeId {
        Table::look_up(self, ROOT, name).unwrap_or_default()
    }

    fn forget(&mut self, id: NodeId) {
        Table::forget(self, id, 1);
    }
}

/// The same with the hash tables that come with Rust. They double when they are full, and then
/// everything in them moves; they get no smaller, unless they are told, and then it moves again.
#[derive(Default)]
struct AtOnce {
    nodes: HashMap<NodeId, (NodeId, OsString)>,
    names: HashMap<(NodeId, OsString), NodeId>,
    last: NodeId,
}

impl Names for AtOnce {
    fn look_up(&mut self, name: &OsStr) -> NodeId {
        let key = (ROOT, name.to_os_string());
        if let Some(&id) = self.names.get(&key) {
            return id;
        }
        self.last += 1;
        self.nodes.insert(self.last, key.clone());
        self.names.insert(key, self.last);
        self.last
    }

    fn forget(&mut self, id: NodeId) {
        if let Some(key) = self.nodes.remove(&id) {
            self.names.remove(&key);
        }
        if self.nodes.len() < self.nodes.capacity() / 8 {
            self.nodes.shrink_to(2 * self.nodes.len());
            self.names.shrink_to(2 * self.names.len());
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("path-cost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> Result<bool, Box<dyn Error>> {
    give_memory_back();
    let good = measure::<Table>("pathfs", cli)?;
    measure::<AtOnce>("at-once", cli)?;
    Ok(good)
}

fn now() -> nix::Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// How many KiB of memory this process has.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    Ok(words.ok_or("no VmRSS")?.parse()?)
}

/// The least that each operation took.
struct Costs(Vec<u32>);

impl Costs {
    /// Its memory is there from the beginning, not to come in between.
    fn new(count: usize) -> Self {
        Self(vec![u32::MAX; count])
    }

    fn note(&mut self, at: usize, cost: u64) {
        let cost = u32::try_from(cost).unwrap_or(u32::MAX);
        self.0[at] = cost.min(self.0[at]);
    }

    /// Prints a line; gives how many times the median the worst one took.
    fn report(mut self, table: &str, operation: &str) -> u64 {
        self.0.sort_unstable();
        let at = |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize];
        let (median, rare, worst) = (at(0.5).max(1), at(0.9999), at(1.0));
        let ratio = worst.div_ceil(median);
        println!("{table} {operation} median={median} p99.99={rare} worst={worst} ratio={ratio}");
        ratio.into()
    }
}

fn measure<T: Names>(what: &str, cli: &Cli) -> Result<bool, Box<dyn Error>> {
    let (mut look_ups, mut forgets) = (Costs::new(cli.count), Costs::new(cli.count));
    let mut nodes = vec![NodeId::MAX; cli.count];
    let mut memory = (0, 0, 0);
    for round in 0..cli.rounds.max(1) {
        let mut table = T::default();
        let mut name = OsString::new();
        let start = resident()?;
        for (number, node) in nodes.iter_mut().enumerate() {
            name.clear();
            name.push(format!("file-{number}"));
            let before = now()?;
            *node = table.look_up(&name);
            look_ups.note(number, now()? - before);
        }
        let full = resident()?;
        for (number, &node) in nodes.iter().enumerate() {
            let before = now()?;
            table.forget(node);
            forgets.note(number, now()? - before);
        }
        if round == 0 {
            memory = (start, full, resident()?);
        }
    }
    let worst = look_ups
        .report(what, "look-up")
        .max(forgets.report(what, "forget"));
    let (start, full, end) = memory;
    println!("{what} memory start={start} full={full} end={end}");
    Ok(worst <= cli.limit)
}
