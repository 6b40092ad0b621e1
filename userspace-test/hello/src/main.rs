// SPDX-License-Identifier: GPL-2.0

//! A file system with one file in it, `hello`, which says `Hello World!`.
//!
//! It behaves as the example of that name that comes with `libfuse`, and is all of a daemon that
//! there has to be: mount, settle the version, and answer one request after the other.

mod fs;

use anyhow::{bail, Context, Result};
use clap::Parser;
use fs::Hello;
use nix::unistd::{chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, geteuid, setsid, ForkResult};
use rawfuse::{
    abi::init_flags, fusermount, fusermount_unmount, handshake, Buffer, Channel, InitConfig, Kind,
    Mount, MountOptions,
};
use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
};

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
    let mounted = Mounted::new(&cli, &target)?;
    if !cli.foreground && !cli.debug {
        detach()?;
    }
    serve(mounted.channel(), &hello, cli.debug)
}

/// The file system, mounted by system call when that is allowed, else by the helper program.
enum Mounted {
    BySyscall { channel: Channel, mount: Mount },
    ByHelper { channel: Channel, target: PathBuf },
}

impl Mounted {
    fn new(cli: &Cli, target: &Path) -> Result<Self> {
        let kind = match cli.coexist {
            true => Kind::RFUSE,
            false => Kind::FUSE,
        };
        let mut options = MountOptions::new(kind);
        options.subtype = Some("hello".into());
        options.source = "hello".into();
        for option in cli.options.iter().flat_map(|list| list.split(',')) {
            match option.split_once('=') {
                Some(("fsname", name)) => options.source = name.into(),
                _ => options = options.option(option),
            }
        }
        if geteuid().is_root() {
            let channel = Channel::open(&kind).context(kind.device)?;
            let mount = options
                .mount(&channel, target)
                .with_context(|| format!("cannot mount on {}", target.display()))?;
            return Ok(Mounted::BySyscall { channel, mount });
        }
        if cli.coexist {
            bail!(
                "only root can mount {}: fusermount3 knows fuse only",
                kind.fs_type
            );
        }
        let mut list = format!("subtype=hello,fsname={}", options.source);
        if !options.extra.is_empty() {
            list = format!("{list},{}", options.extra);
        }
        Ok(Mounted::ByHelper {
            channel: fusermount(target, &list)?,
            target: target.into(),
        })
    }

    fn channel(&self) -> &Channel {
        match self {
            Mounted::BySyscall { channel, .. } | Mounted::ByHelper { channel, .. } => channel,
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        match self {
            // It drops itself.
            Mounted::BySyscall { mount, .. } => _ = mount,
            // That fails when someone else unmounted it, which is how this usually ends.
            Mounted::ByHelper { target, .. } => _ = fusermount_unmount(target),
        }
    }
}

/// Goes to the background: the parent ends when the child is ready to serve.
fn detach() -> Result<()> {
    // The mount belongs to the child from here on: the parent must not take it down.
    if let ForkResult::Parent { .. } = fork_alone()? {
        std::process::exit(0);
    }
    setsid()?;
    chdir("/")?;
    let null = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

#[allow(unsafe_code)]
fn fork_alone() -> nix::Result<ForkResult> {
    // SAFETY: This process has one thread, so the child may go on as if nothing had happened.
    unsafe { fork() }
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
