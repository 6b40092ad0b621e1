// SPDX-License-Identifier: GPL-2.0

//! Counts what operations on a file system cost: caller, kernel and daemon together.
//!
//! The figures are nanoseconds of the monotonic clock. In a guest that runs with `--icount` each
//! is one instruction, and the same from run to run within a few percent. Elsewhere they are times
//! (`--timed`), which say something beside those of another module on the same machine.
//!
//! Prints a line for each: `name=stat unit=instructions value=16400`. `make bench` compares what
//! this says of `rust_fuse`, C FUSE and tmpfs.

mod daemon;
mod measure;
mod memory;
mod rows;
mod sys;
mod tree;

use clap::{Parser, ValueEnum};
use daemon::Daemon;
use measure::{cost, Batches};
use nix::{
    mount::{mount, MsFlags},
    sched::{unshare, CloneFlags},
    unistd::{pipe, read, write},
};
use rawfuse::Kind;
use rows::{Row, ROWS, TIMED};
use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitCode,
};
use sys::Child;

/// Counts what operations on a file system cost
#[derive(Parser)]
struct Cli {
    /// Which file system
    #[arg(long, value_enum, default_value = "fuse")]
    on: On,

    /// Measure what is measured in time, in nanoseconds
    #[arg(long, conflicts_with_all = ["forever", "names"])]
    timed: bool,

    /// Measure the first of them over and over, and say so each time
    #[arg(long)]
    forever: bool,

    /// Only those whose name starts with one of these
    names: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum On {
    /// The file system type fuse, whichever module has it
    Fuse,
    /// What rust_fuse has with coexist=1: type rfuse, device /dev/rfuse
    Rfuse,
    /// One without a daemon; and two processes that wake each other over pipes
    Tmpfs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: &Cli) -> io::Result<()> {
    let kind = match cli.on {
        On::Fuse => Some(Kind::FUSE),
        On::Rfuse => Some(Kind::RFUSE),
        On::Tmpfs => None,
    };
    stop_fair_server()?;
    let dir = scratch()?;
    let wanted = |name: &str| {
        cli.names.is_empty()
            || cli
                .names
                .iter()
                .any(|prefix| name.starts_with(prefix.as_str()))
    };
    if kind.is_none() {
        tree::make(&dir)?;
        if wanted(PING_PONG) {
            report(PING_PONG, "instructions", pipe_ping_pong()?);
        }
    }
    if cli.timed {
        return TIMED
            .iter()
            .try_for_each(|row| measure(row, kind, &dir, "nanoseconds"));
    }
    for row in ROWS.iter().filter(|row| wanted(row.name)) {
        loop {
            measure(row, kind, &dir, "instructions")?;
            if !cli.forever {
                break;
            }
        }
    }
    if let Some(kind) = kind.filter(|_| wanted(REQUEST)) {
        let daemon = Daemon {
            max_background: memory::REQUESTS + 1,
            ..Daemon::ONE
        };
        let bytes = served(kind, daemon, &dir, memory::per_request)?;
        report(REQUEST, "bytes", bytes);
    }
    if let Some(kind) = kind.filter(|_| wanted(INODE)) {
        let memory = served(kind, Daemon::ONE, &dir, memory::per_inode)?;
        report(INODE, "bytes", memory.held);
        report(INODE_DROPPED, "bytes", memory.kept);
    }
    Ok(())
}

fn measure(row: &Row, kind: Option<Kind>, dir: &Path, unit: &str) -> io::Result<()> {
    let result = match kind {
        Some(kind) => served(kind, row.daemon, dir, row.run),
        None => (row.run)(dir),
    };
    let named = |error| io::Error::other(format!("{}: {error}", row.name));
    report(row.name, unit, result.map_err(named)?);
    Ok(())
}

const PING_PONG: &str = "pipe-ping-pong";
const REQUEST: &str = "request-slab";
const INODE: &str = "inode-slab";
const INODE_DROPPED: &str = "inode-slab-dropped";

fn report(name: &str, unit: &str, value: u64) {
    println!("name={name} unit={unit} value={value}");
}

/// Stops what keeps real-time tasks from taking all of a processor. While it is at it, it takes more than
/// a hundred instructions of each change of tasks, and by when the guest has booted it is or it is not.
fn stop_fair_server() -> io::Result<()> {
    // Not all kernels have it.
    let Ok(processors) = fs::read_dir("/sys/kernel/debug/sched/fair_server") else {
        return Ok(());
    };
    for processor in processors {
        fs::write(processor?.path().join("runtime"), "0")?;
    }
    Ok(())
}

/// An empty tmpfs that nobody else sees, and that goes with this process.
fn scratch() -> io::Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let nothing: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(nothing, "/", nothing, private, nothing)?;
    let dir = PathBuf::from("/tmp/bench");
    fs::create_dir_all(&dir)?;
    let tmpfs = Some("tmpfs");
    mount(tmpfs, &dir, tmpfs, MsFlags::empty(), nothing)?;
    Ok(dir)
}

/// Does `action` in a file system that `daemon` serves.
fn served<T>(
    kind: Kind,
    daemon: Daemon,
    dir: &Path,
    action: impl FnOnce(&Path) -> io::Result<T>,
) -> io::Result<T> {
    let target = dir.join("mount");
    fs::create_dir_all(&target)?;
    let (channel, mount) = daemon::mount(kind, &target)?;
    let child = Child::start(|| daemon.serve(kind, &channel))?;
    drop(channel);
    let result = action(&target);
    drop(mount);
    drop(child);
    result
}

/// What two processes take that wake each other: what a request and its reply take at least.
fn pipe_ping_pong() -> io::Result<u64> {
    let (to_child, to) = pipe()?;
    let (from, from_child) = pipe()?;
    let pass = |from: &OwnedFd, to: &OwnedFd| -> nix::Result<usize> {
        let mut byte = [0];
        read(from, &mut byte)?;
        write(to, &byte)
    };
    let _child = Child::start(|| while pass(&to_child, &from_child) == Ok(1) {})?;
    let batches = Batches {
        count: 100,
        size: 50,
    };
    cost(
        batches,
        || Ok(()),
        |_| {
            write(&to, &[0])?;
            Ok(read(&from, &mut [0]).map(drop)?)
        },
    )
}
