// SPDX-License-Identifier: GPL-2.0

//! A file system that answers everything at once, and keeps nothing: what is measured on it is the
//! way to a daemon and back.
//!
//! Every name is there. One that begins with `d` is a directory's, one with `n` is nobody's until it
//! is made, and all others are files': of a terabyte of zeroes, to read; what is written to them is
//! gone. Whatever is made, removed or renamed, that works, and changes nothing. Directories are empty.

mod fs;

use anyhow::{Context, Result};
use clap::Parser;
use nix::unistd::daemon;
use rawfuse::{abi::init_flags, handshake, Buffer, Channel, InitConfig, Kind, Mounted};
use std::{io, path::PathBuf, thread};

/// Mounts a file system that answers everything at once
#[derive(Parser)]
struct Cli {
    /// Where to mount it
    mountpoint: PathBuf,

    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<String>,

    /// Stay in the foreground
    #[arg(short)]
    foreground: bool,

    /// How many threads serve
    #[arg(long, default_value_t = 1)]
    threads: usize,

    /// For how many seconds names and attributes stay valid
    #[arg(long, default_value_t = 0)]
    valid: u64,

    /// Use the names that rust_fuse has with coexist=1: type rfuse, device /dev/rfuse
    #[arg(long)]
    coexist: bool,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let target = cli
        .mountpoint
        .canonicalize()
        .with_context(|| cli.mountpoint.display().to_string())?;
    let kind = match cli.coexist {
        true => Kind::RFUSE,
        false => Kind::FUSE,
    };
    let mounted = Mounted::new(kind, "nullfs", &cli.options, &target)
        .with_context(|| format!("cannot mount on {}", target.display()))?;
    if !cli.foreground {
        daemon(false, false)?;
    }
    let channel = mounted.channel();
    let mut buffer = Buffer::new(Buffer::DEFAULT_SIZE);
    let config = InitConfig {
        flags: init_flags::ASYNC_READ | init_flags::BIG_WRITES | init_flags::PARALLEL_DIROPS,
        ..Default::default()
    };
    handshake(channel, &mut buffer, &config)?;
    thread::scope(|scope| {
        let serve = || serve(channel, cli.valid);
        let others: Vec<_> = (1..cli.threads).map(|_| scope.spawn(serve)).collect();
        let mut result = serve();
        for other in others {
            let other = other.join();
            result =
                result.and(other.unwrap_or_else(|_| Err(io::Error::other("a thread panicked"))));
        }
        result
    })?;
    Ok(())
}

/// Answers requests until the file system is unmounted.
fn serve(channel: &Channel, valid: u64) -> io::Result<()> {
    let mut buffer = Buffer::new(Buffer::DEFAULT_SIZE);
    while let Some(request) = channel.receive(&mut buffer)? {
        let answer = fs::answer(&request, valid);
        if !request.has_reply() {
            continue;
        }
        let sent = match answer {
            Ok(answer) => channel.reply_bytes(request.unique(), &[answer.bytes()]),
            Err(error) => channel.reply_error(request.unique(), error),
        };
        match sent {
            // The caller was killed in the meantime.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}
