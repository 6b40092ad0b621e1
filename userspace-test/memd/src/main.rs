// SPDX-License-Identifier: GPL-2.0

//! Serves a file system that is kept in a directory, so that another can go on serving it.
//!
//! Mount it with the option `recover`, kill its daemon, and start another with `--attach`: whoever
//! uses the file system only waits.

use anyhow::{Context, Result};
use clap::Parser;
use memd::{Config, Daemon, Store};
use rawfuse::{abi::init_flags, Channel, Kind, MountOptions};
use std::path::PathBuf;

/// Serves a file system that is kept in a directory
#[derive(Parser)]
struct Cli {
    /// The directory that it is kept in: empty, unless it is served already
    store: PathBuf,

    /// Where to mount it
    #[arg(required_unless_present = "attach")]
    mountpoint: Option<PathBuf>,

    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<String>,

    /// Go on with the mount of that connection, whose daemon is gone; it has the option recover
    #[arg(long, value_name = "CONNECTION", conflicts_with = "mountpoint")]
    attach: Option<u32>,

    /// How many threads serve
    #[arg(long, default_value_t = 4)]
    threads: usize,

    /// For how many seconds names and attributes stay valid
    #[arg(long, default_value_t = 1)]
    valid: u64,

    /// Let the kernel keep what is written, and write it back later
    #[arg(long)]
    writeback: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let mut config = Config {
        threads: cli.threads,
        valid: cli.valid,
        ..Default::default()
    };
    if cli.writeback {
        config.init_flags |= init_flags::WRITEBACK_CACHE;
    }
    let channel = Channel::open(&Kind::FUSE).context(Kind::FUSE.device)?;
    let kept = || cli.store.display().to_string();
    let store = match (&cli.mountpoint, cli.attach) {
        (Some(mountpoint), _) => {
            let store = Store::create(&cli.store).with_context(kept)?;
            let mut options = MountOptions::new(Kind::FUSE);
            options.subtype = Some("memd".into());
            options.source = "memd".into();
            let options = cli.options.iter().fold(options, |all, one| all.option(one));
            // It outlives this process, which may be killed.
            options
                .mount(&channel, mountpoint)
                .with_context(|| format!("cannot mount on {}", mountpoint.display()))?
                .leave();
            store
        }
        (None, connection) => {
            channel
                .attach(connection.unwrap_or_default())
                .context("cannot attach")?;
            Store::open(&cli.store).with_context(kept)?
        }
    };
    Daemon::new(store, config).serve(&channel)?;
    Ok(())
}
