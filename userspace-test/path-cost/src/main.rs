// SPDX-License-Identifier: GPL-2.0

//! Counts the instructions of what is done with names while there come to be a million of them and go
//! again: with the table of `pathfs`, with the whole of its layer, and to compare with in a table that
//! is rehashed at once.
//!
//! The figures are nanoseconds of the monotonic clock. In a guest that runs with `--icount` each
//! is one instruction; elsewhere they are times, and worth little:
//!
//!     qemu-scripts/guest --icount --mem 3072 --timeout 3000 --module none -- path-cost --compare
//!
//! Each operation is done with all the names before the next one is. All of it is done several times
//! over, and of each operation the least counts: a timer's tick, or the moment at which the kernel moves
//! pages between its own lists by the thousand, does not come at the same one again (what [`Ballast`]
//! holds sees to that), a rehash does.
//! One line for each: `WHAT OPERATION median=N p99.99=N worst=N ratio=N`, the last being how many times
//! the median the worst one took; and how many KiB of memory the process has, besides what this program
//! keeps, before, with all of them, and after. Ends with status 1 when an operation of `pathfs` took more
//! than `--limit` times the median, or when a tenth more memory is there in the end than at the start.

mod subjects;

use clap::Parser;
use nix::{
    sys::memfd::{memfd_create, MFdFlags},
    time::{clock_gettime, ClockId},
};
use std::{
    error::Error,
    ffi::OsString,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    process::ExitCode,
};
use subjects::{AtOnce, Kept, Names, Subject, Whole};

/// Counts the instructions of what is done with names while there come to be a million
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

    /// How many letters to put behind each name
    #[arg(long, default_value_t = 0)]
    letters: usize,

    /// Count a table that is rehashed at once, too
    #[arg(long)]
    compare: bool,
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
    let table = measure::<pathfs::Table>("table", cli)?;
    let layer = measure::<Whole>("layer", cli)?;
    if cli.compare {
        measure::<AtOnce>("at-once", cli)?;
    }
    Ok(table && layer)
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
    fn report(mut self, what: &str, operation: &str) -> u64 {
        self.0.sort_unstable();
        let at = |share: f64| self.0[((self.0.len() - 1) as f64 * share) as usize];
        let (median, rare, worst) = (at(0.5).max(1), at(0.9999), at(1.0));
        let ratio = worst.div_ceil(median);
        println!("{what} {operation} median={median} p99.99={rare} worst={worst} ratio={ratio}");
        ratio.into()
    }
}

/// Memory that is held while others are measured, a page at a time.
///
/// The kernel has lists of free pages, and evens them out when they are too long, a thousand pages at
/// once: always at the same operation of ours, if nothing but our operations took pages and gave them
/// back.
struct Ballast(File);

impl Ballast {
    fn new() -> nix::Result<Self> {
        Ok(Self(
            memfd_create(c"ballast", MFdFlags::MFD_CLOEXEC)?.into(),
        ))
    }

    fn hold(&self, pages: u64) -> io::Result<()> {
        self.0.set_len(0)?;
        (0..pages).try_for_each(|page| self.0.write_all_at(&[1], page * 4096))
    }
}

fn measure<T: Subject>(what: &str, cli: &Cli) -> Result<bool, Box<dyn Error>> {
    let before = resident()?;
    let mut costs: Vec<_> = T::OPERATIONS
        .iter()
        .map(|_| Costs::new(cli.count))
        .collect();
    let mut kept = vec![Kept::NONE; cli.count];
    let ours = resident()? - before;
    let mut memory = [0; 3];
    let tail = "x".repeat(cli.letters);
    let mut names: Names = std::array::from_fn(|_| OsString::new());
    let ballast = Ballast::new()?;
    for round in 0..cli.rounds.max(1) {
        let mut subject = T::default();
        let mut seen = [resident()? - ours, 0, 0];
        for (at, ((name, operation), costs)) in T::OPERATIONS.iter().zip(&mut costs).enumerate() {
            // Neither in two rounds nor before two operations is it as much.
            ballast.hold((617 * round + 271 * at) as u64 % 2000)?;
            for (number, kept) in kept.iter_mut().enumerate() {
                for (which, text) in ["file", "link", "moved"].iter().zip(&mut names) {
                    text.clear();
                    text.push(format!("{which}-{number}{tail}"));
                }
                let before = now()?;
                operation(&mut subject, &names, kept)
                    .map_err(|error| format!("{name}: {error:?}"))?;
                costs.note(number, now()? - before);
            }
            seen[2] = resident()? - ours;
            seen[1] = seen[1].max(seen[2]);
        }
        if round == 0 {
            memory = seen;
        }
    }
    let ratios = costs.into_iter().zip(T::OPERATIONS);
    let ratios = ratios.map(|(costs, (name, _))| costs.report(what, name));
    let worst = ratios.max().unwrap_or(0);
    let [start, full, end] = memory;
    println!("{what} memory start={start} full={full} end={end}");
    Ok(worst <= cli.limit && end <= start + start / 10)
}
