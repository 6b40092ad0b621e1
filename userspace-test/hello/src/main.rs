// SPDX-License-Identifier: GPL-2.0

//! A file system with one file in it, `hello`, which says `Hello World!`.
//!
//! It behaves as the example of that name that comes with `libfuse`, and is all of a daemon that
//! there has to be: mount, settle the version, and answer one request after the other.

mod fs;

use anyhow::{Context, Result};
use clap::Parser;
use fs::Hello;
use nix::unistd::daemon;
use rawfuse::{abi::init_flags, handshake, Buffer, Channel, InitConfig, Kind, Mounted};
use std::path::PathBuf;

/// Mounts a file system with one file in it
#[derive(Parser)]
struct Cli {
    /// Where to mount it
    mountpoint: PathBuf,

    /// Mount options, separated by commas: allow_other, default_permissions, max_read=N, fsname=X
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<String>,

    /// Stay in the foreground
    #[arg(short)]
    foreground: bool,

    /// Print each request and what it is answered; stay in the foreground
    #[arg(short)]
    debug: bool,

    /// The file's name
    #[arg(long, default_value = "hello")]
    name: String,

    /// What is in it
    #[arg(long, default_value = "Hello World!\n")]
    contents: String,

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
    let hello = Hello::new(cli.name.clone(), cli.contents.clone().into_bytes());
    let kind = match cli.coexist {
        true => Kind::RFUSE,
        false => Kind::FUSE,
    };
    let mounted = Mounted::new(kind, "hello", &cli.options, &target)
        .with_context(|| format!("cannot mount on {}", target.display()))?;
    if !cli.foreground && !cli.debug {
        // This is another process from here on; the first one ends.
        daemon(false, false)?;
    }
    serve(mounted.channel(), &hello, cli.debug)
}

/// Answers requests until the file system is unmounted.
fn serve(channel: &Channel, hello: &Hello, debug: bool) -> Result<()> {
    let mut buffer = Buffer::new(Buffer::DEFAULT_SIZE);
    let config = InitConfig {
        flags: init_flags::ASYNC_READ | init_flags::PARALLEL_DIROPS,
        ..Default::default()
    };
    let session = handshake(channel, &mut buffer, &config)?;
    if debug {
        eprintln!(
            "INIT: kernel {}.{} offers {}, taken {}",
            session.offer.major,
            session.offer.minor,
            names(session.offer.all_flags()),
            names(session.flags)
        );
    }
    while let Some(request) = channel.receive(&mut buffer)? {
        let answer = hello.answer(&request);
        if debug {
            match &answer {
                Ok(bytes) if request.has_reply() => eprintln!("{request:?}: {} bytes", bytes.len()),
                Ok(_) => eprintln!("{request:?}"),
                Err(error) => eprintln!("{request:?}: {}", error.desc()),
            }
        }
        if !request.has_reply() {
            continue;
        }
        let sent = match answer {
            Ok(bytes) => channel.reply_bytes(request.unique(), &[&bytes]),
            Err(error) => channel.reply_error(request.unique(), error),
        };
        match sent {
            // The caller was killed in the meantime.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

fn names(flags: u64) -> String {
    let names: Vec<&str> = init_flags::NAMES
        .iter()
        .filter(|(_, bit)| flags & bit != 0)
        .map(|&(name, _)| name)
        .collect();
    names.join(" ")
}
