// SPDX-License-Identifier: GPL-2.0

//! Counts the instructions of a `stat()` whose attributes a daemon has to be asked for: one
//! request to another process, and one reply.
//!
//! The figures are nanoseconds of the monotonic clock. In a guest that runs with `--icount` each
//! is one instruction, of caller, kernel and daemon together, and the same from run to run within
//! a few percent. Elsewhere they are times, and worth little.
//!
//! One line each: `stat threads=N instructions=MEDIAN mean=MEAN`, for each number of daemon
//! threads; and for comparison what two processes that wake each other over pipes take
//! (`pipe-ping-pong`), and a `stat()` that asks no daemon (`stat-tmpfs`).

mod daemon;

use clap::Parser;
use nix::{
    mount::{mount, MsFlags},
    sched::{unshare, CloneFlags},
    sys::{
        signal::{kill, Signal},
        stat::stat,
        wait::waitpid,
    },
    time::{clock_gettime, ClockId},
    unistd::{fork, pipe, read, write, ForkResult, Pid},
};
use rawfuse::Kind;
use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{exit, ExitCode},
};

/// Counts the instructions of a stat() that goes through a daemon
#[derive(Parser)]
struct Cli {
    /// How many threads the daemon has, one measurement each
    #[arg(long, value_delimiter = ',', default_value = "1,10")]
    threads: Vec<usize>,

    /// How many stat() calls to measure
    #[arg(long, default_value_t = 5000)]
    count: usize,

    /// Use the names that rust_fuse has with coexist=1: type rfuse, device /dev/rfuse
    #[arg(long)]
    coexist: bool,
}

/// Calls between two looks at the clock, which has a price too.
const BATCH: usize = 50;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stat-cost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> std::io::Result<()> {
    let kind = match cli.coexist {
        true => Kind::RFUSE,
        false => Kind::FUSE,
    };
    // What is mounted here is nobody else's to see, and goes with this process.
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    let dir = PathBuf::from("/tmp/stat-cost");
    fs::create_dir_all(&dir)?;
    mount(
        Some("tmpfs"),
        &dir,
        Some("tmpfs"),
        MsFlags::empty(),
        nothing,
    )?;

    pipe_ping_pong(cli.count)?;
    let file = dir.join("file");
    fs::write(&file, "")?;
    report("stat-tmpfs", cli.count, || stat(&file).map(drop))?;
    for &threads in &cli.threads {
        stat_by_daemon(kind, &dir, threads, cli.count)?;
    }
    Ok(())
}

fn now() -> nix::Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}

/// Measures `operation`, after as many calls that are not measured, and prints a line.
fn report(
    what: &str,
    count: usize,
    mut operation: impl FnMut() -> nix::Result<()>,
) -> std::io::Result<()> {
    for _ in 0..count {
        operation()?;
    }
    let mut costs = Vec::new();
    for _ in 0..count.div_ceil(BATCH) {
        let start = now()?;
        for _ in 0..BATCH {
            operation()?;
        }
        costs.push((now()? - start) / BATCH as u64);
    }
    costs.sort_unstable();
    let median = costs[costs.len() / 2];
    let mean = costs.iter().sum::<u64>() / costs.len() as u64;
    println!("{what} instructions={median} mean={mean}");
    Ok(())
}

/// A process that is killed when this value goes.
struct Child(Pid);

impl Child {
    /// Starts a process that does `action`. To be called while this one has one thread.
    #[allow(unsafe_code)]
    fn start(action: impl FnOnce()) -> nix::Result<Self> {
        // SAFETY: This process has one thread: the child finds nothing half done.
        match unsafe { fork() }? {
            ForkResult::Child => {
                action();
                exit(0)
            }
            ForkResult::Parent { child } => Ok(Child(child)),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended.
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

fn pipe_ping_pong(count: usize) -> std::io::Result<()> {
    let (to_child, to) = pipe()?;
    let (from, from_child) = pipe()?;
    let pass = |from: &OwnedFd, to: &OwnedFd| -> nix::Result<usize> {
        let mut byte = [0];
        read(from, &mut byte)?;
        write(to, &byte)
    };
    let _child = Child::start(|| while pass(&to_child, &from_child) == Ok(1) {})?;
    report("pipe-ping-pong", count, || {
        write(&to, &[0])?;
        read(&from, &mut [0]).map(drop)
    })
}

fn stat_by_daemon(kind: Kind, dir: &Path, threads: usize, count: usize) -> std::io::Result<()> {
    let target = dir.join(format!("by-{threads}"));
    fs::create_dir_all(&target)?;
    let (channel, mount) = daemon::mount(kind, &target)?;
    let child = Child::start(|| daemon::serve(&channel, threads))?;
    drop(channel);
    let file = target.join("file");
    let result = report(&format!("stat threads={threads}"), count, || {
        stat(&file).map(drop)
    });
    drop(mount);
    drop(child);
    result
}
