// SPDX-License-Identifier: GPL-2.0

//! Mounts a file system that is stacked on a directory.
//!
//! It is the one that "To FUSE or Not to FUSE" measures (Vangoor et al., FAST 2017), with its two
//! sets of options: none, which is what FUSE was at first, a page at a time by one thread; and
//! `--optimised`, which is all that makes it faster.

use anyhow::{Context, Result};
use clap::Parser;
use rawfuse::{
    abi::{init_flags, open_flags},
    handshake, Buffer, Channel, InitConfig, Kind, MountOptions,
};
use rustix::{
    fs::Mode,
    process::{getrlimit, setrlimit, umask, Resource, Rlimit},
};
use stackfs::{Config, Server, Stack};
use std::path::PathBuf;

/// The most data in one request: a page, as in the beginning, or large.
const PAGE: usize = 4 << 10;
const LARGE: usize = 1 << 20;
/// What pages are read ahead and answered in.
const READ: usize = 128 << 10;

/// Mounts a file system that is stacked on a directory
#[derive(Parser)]
struct Cli {
    /// The directory
    source: PathBuf,

    /// Where to mount it
    mountpoint: PathBuf,

    /// Mount options, separated by commas: allow_other, default_permissions, max_read=N
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<String>,

    /// All that makes it fast: writeback, large-writes, splice, readdirplus, 10 threads
    #[arg(long)]
    optimised: bool,

    /// Let the kernel keep what is written, and write it back later
    #[arg(long)]
    writeback: bool,

    /// Take up to 1 MiB in a request, not 4 KiB
    #[arg(long)]
    large_writes: bool,

    /// Move data by splice(2), without copying it to this process
    #[arg(long)]
    splice: bool,

    /// Look entries up while a directory is read
    #[arg(long)]
    readdirplus: bool,

    /// How many threads serve [default: 1, optimised 10]
    #[arg(long)]
    threads: Option<usize>,

    /// Read and write past the page cache, which then is used for mappings only
    #[arg(long)]
    direct_io: bool,

    /// Keep what the page cache has of a file when it is opened again
    #[arg(long)]
    keep_cache: bool,

    /// For how many seconds names and attributes stay valid
    #[arg(long, default_value_t = 1)]
    valid: u64,
}

impl Cli {
    fn has(&self, option: bool) -> bool {
        option || self.optimised
    }

    fn config(&self) -> Config {
        let flag = |option, flag| if option { flag } else { 0 };
        Config {
            valid: self.valid,
            writeback: self.has(self.writeback),
            open_flags: flag(self.direct_io, open_flags::DIRECT_IO)
                | flag(self.keep_cache, open_flags::KEEP_CACHE),
        }
    }

    fn init(&self) -> InitConfig {
        let flag = |option, flag| if option { flag } else { 0 };
        InitConfig {
            // Without ATOMIC_O_TRUNC: the kernel would find out that a program runs, and must not be
            // cut, when it has been.
            flags: init_flags::ASYNC_READ
                | init_flags::AUTO_INVAL_DATA
                | init_flags::PARALLEL_DIROPS
                | flag(self.has(self.writeback), init_flags::WRITEBACK_CACHE)
                | flag(
                    self.has(self.large_writes),
                    init_flags::BIG_WRITES | init_flags::MAX_PAGES | init_flags::ASYNC_DIO,
                )
                | flag(
                    self.has(self.splice),
                    init_flags::SPLICE_READ | init_flags::SPLICE_WRITE | init_flags::SPLICE_MOVE,
                )
                | flag(
                    self.has(self.readdirplus),
                    init_flags::DO_READDIRPLUS | init_flags::READDIRPLUS_AUTO,
                )
                | flag(self.direct_io, init_flags::DIRECT_IO_ALLOW_MMAP),
            max_write: self.max_write() as u32,
            max_pages: (self.max_write() / PAGE) as u16,
            max_readahead: self.max_data() as u32,
            ..Default::default()
        }
    }

    fn max_write(&self) -> usize {
        match self.has(self.large_writes) {
            true => LARGE,
            false => PAGE,
        }
    }

    fn max_data(&self) -> usize {
        self.max_write().max(READ)
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    // Modes come with the caller's umask applied.
    umask(Mode::empty());
    hold_many_handles()?;
    let source = || cli.source.display().to_string();
    let stack = Stack::new(cli.source.as_os_str(), cli.config()).with_context(source)?;
    let channel = Channel::open(&Kind::FUSE).context(Kind::FUSE.device)?;
    let mut options = MountOptions::new(Kind::FUSE);
    options.subtype = Some("stackfs".into());
    options.source = source();
    let options = cli.options.iter().fold(options, |all, one| all.option(one));
    let _mount = options
        .mount(&channel, &cli.mountpoint)
        .with_context(|| format!("cannot mount on {}", cli.mountpoint.display()))?;
    let mut buffer = Buffer::for_max_write(cli.max_data());
    handshake(&channel, &mut buffer, &cli.init())?;
    let server = Server {
        channel: &channel,
        stack: &stack,
        threads: cli.threads.unwrap_or(if cli.optimised { 10 } else { 1 }),
        splice: cli.has(cli.splice),
        max_data: cli.max_data(),
    };
    server.run().context("cannot serve")
}

/// Each inode that the kernel knows of takes a file descriptor.
fn hold_many_handles() -> Result<()> {
    let most: u64 = std::fs::read_to_string("/proc/sys/fs/nr_open")?
        .trim()
        .parse()?;
    let all = |limit| Rlimit {
        current: Some(limit),
        maximum: Some(limit),
    };
    // Who is not root does with what is allowed.
    if setrlimit(Resource::Nofile, all(most)).is_err() {
        if let Some(allowed) = getrlimit(Resource::Nofile).maximum {
            setrlimit(Resource::Nofile, all(allowed))?;
        }
    }
    Ok(())
}
