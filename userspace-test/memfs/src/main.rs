// SPDX-License-Identifier: GPL-2.0

//! Mounts a file system that is kept in memory, and gone when it is unmounted.

use anyhow::Result;
use clap::Parser;
use memfs::MemFs;
use pathfs::{serve, Caller, Config, Mounting};
use std::path::PathBuf;

/// Mounts a file system that is kept in memory
#[derive(Parser)]
struct Cli {
    /// Where to mount it
    mountpoint: PathBuf,

    /// For how many bytes there is room
    #[arg(long, default_value_t = 1 << 30)]
    size: u64,

    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<String>,

    /// Stay in the foreground
    #[arg(short)]
    foreground: bool,

    /// How many threads serve
    #[arg(long, default_value_t = 4)]
    threads: usize,

    /// Remove files at once, although they are open
    #[arg(long)]
    hard_remove: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let fs = MemFs::new(Caller::default(), cli.size);
    let config = Config {
        hard_remove: cli.hard_remove,
        ..Config::default()
    };
    let mounting = Mounting {
        name: "memfs".into(),
        mountpoint: cli.mountpoint,
        options: cli.options,
        foreground: cli.foreground,
        threads: cli.threads,
    };
    serve(fs, config, &mounting)
}
