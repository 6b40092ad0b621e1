// SPDX-License-Identifier: GPL-2.0

//! A file system whose daemon fails as a script says: it is late, forgets, answers wrongly, twice or
//! not at all, or dies. It is for finding out what the kernel, and programs, make of that.
//!
//! The language of scripts is told of in `docs/FAULTD.md` and, in short, by `faultd --help`; the files
//! that are served are told of in [`Tree`].

use anyhow::{anyhow, bail, Context, Result};
use clap::Parser;
use faultd::{Daemon, Script, Tree};
use rawfuse::{abi::init_flags, in_threads, Channel, InitConfig, Kind, Mounted};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

/// What `--help` says of scripts.
const LANGUAGE: &str = "\
A script has a rule a line; # begins a comment. The first rule that is for a request says what is done
to it, one step after the other. Where no step answers, drops or crashes, the right answer follows. What
is asked for is done when the right answer is first needed.

  on WHICH [node N] [name \"NAME\"] [nth N | first N | from N | every N]: STEP, STEP...

  WHICH            any, or operations as fuse.h calls them: READ, LOOKUP|GETATTR
  node N           of this node; of a LOOKUP it is the directory's
  name \"NAME\"      about this name
  nth 3            the third such request; first 3, from 3 on, every 3rd

  answer           answer as one should
  twice            the same, twice
  error EIO        answer with an error, by name or number (which may be one that is not allowed)
  garbage [N]      answer with N bytes of rubbish; as many as there should be
  bytes 00ff12     answer with these bytes
  short N          answer as one should, less the last N bytes
  drop             do not answer
  delay 200ms      go on later (us, ms, s, forever) and serve others meanwhile; an interrupt ends it
  stall 200ms      the same, but this thread serves nobody meanwhile, and cannot be interrupted
  reorder N [1s]   keep it until there are N of them, or for a second: the last one goes on first
  crash before     die, as if killed, before anything is done
  crash in         ... while the kernel copies the answer
  crash after      ... when it is answered
  notify CODE ...  tell the kernel: POLL KH, INVAL_INODE NODE [OFFSET LENGTH], STORE NODE OFFSET \"DATA\",
                   INVAL_ENTRY DIR \"NAME\" [expire], DELETE DIR NODE \"NAME\", INC_EPOCH, RESEND,
                   RETRIEVE NODE OFFSET SIZE, PRUNE NODE..., raw NUMBER [BYTES]

  on INTERRUPT: drop     ignores interrupts, which otherwise end a delay with EINTR

Files: 1 /   2 hello   3 big (1 MiB)   4 dir   5 dir/a   6 dir/b   7 dir/c   (by node; new ones follow)

  faultd /mnt -f -d -e 'on READ: delay 2s' -e 'on LOOKUP name \"lost\" every 2: error EIO'";

/// Mounts a file system whose daemon fails as a script says
#[derive(Parser)]
#[command(after_help = LANGUAGE)]
struct Cli {
    /// Where to mount it
    #[arg(required_unless_present_any = ["check", "attach"])]
    mountpoint: Option<PathBuf>,

    /// The script, in a file
    #[arg(short, long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// A rule; those of the script come first
    #[arg(short = 'e', long = "rule", value_name = "RULE")]
    rules: Vec<String>,

    /// Only see whether the script makes sense
    #[arg(long, conflicts_with_all = ["mountpoint", "attach"])]
    check: bool,

    /// Mount options, separated by commas
    #[arg(short, value_name = "OPTIONS")]
    options: Vec<String>,

    /// Go on with the mount of that connection, whose daemon is gone; it has the option recover
    #[arg(long, value_name = "CONNECTION", conflicts_with = "mountpoint")]
    attach: Option<u32>,

    /// Stay in the foreground
    #[arg(short)]
    foreground: bool,

    /// Print what is done to each request, and what the kernel says; stay in the foreground
    #[arg(short)]
    debug: bool,

    /// How many threads read requests
    #[arg(long, default_value_t = 1)]
    threads: usize,

    /// For how many seconds names and attributes stay valid
    #[arg(long, default_value_t = 0)]
    valid: u64,

    /// Let the kernel keep what is written, and write it back later
    #[arg(long)]
    writeback: bool,

    /// The most background requests at a time, of which three quarters are congestion; 0 for the
    /// kernel's default
    #[arg(long, default_value_t = 0)]
    max_background: u16,

    /// Use the names that rust_fuse has with coexist=1: type rfuse, device /dev/rfuse
    #[arg(long)]
    coexist: bool,
}

impl Cli {
    fn script(&self) -> Result<Script> {
        let mut script = match &self.script {
            Some(path) => {
                let name = path.display();
                let text = fs::read_to_string(path).with_context(|| name.to_string())?;
                Script::parse(&text).map_err(|error| anyhow!("{name}: {error}"))?
            }
            None => Script::default(),
        };
        for rule in &self.rules {
            let more = Script::parse(rule).map_err(|error| anyhow!("--rule: {error}"))?;
            script.append(more);
        }
        Ok(script)
    }

    fn kind(&self) -> Kind {
        match self.coexist {
            true => Kind::RFUSE,
            false => Kind::FUSE,
        }
    }

    fn config(&self) -> InitConfig {
        let mut flags =
            init_flags::ASYNC_READ | init_flags::BIG_WRITES | init_flags::PARALLEL_DIROPS;
        if self.writeback {
            flags |= init_flags::WRITEBACK_CACHE;
        }
        InitConfig {
            flags,
            max_background: self.max_background,
            // As libfuse has it.
            congestion_threshold: self.max_background - self.max_background / 4,
            ..Default::default()
        }
    }

    /// Takes the device: of a new mount, or of one that is there.
    fn device(&self) -> Result<(Channel, Option<Mounted>)> {
        let kind = self.kind();
        if let Some(connection) = self.attach {
            let channel = Channel::open(&kind).context(kind.device)?;
            channel.attach(connection).context("cannot attach")?;
            return Ok((channel, None));
        }
        let target: &Path = self.mountpoint.as_deref().unwrap_or(Path::new(""));
        let name = || target.display().to_string();
        let target = target.canonicalize().with_context(name)?;
        let mounted = Mounted::new(kind, "faultd", &self.options, &target)
            .with_context(|| format!("cannot mount on {}", target.display()))?;
        let channel = mounted.channel().try_clone()?;
        Ok((channel, Some(mounted)))
    }
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let script = cli.script()?;
    if cli.check {
        println!("{} rules", script.rules().len());
        return Ok(());
    }
    if cli.threads == 0 {
        bail!("somebody has to serve: --threads 1, or more");
    }
    let (channel, mounted) = cli.device()?;
    if !cli.foreground && !cli.debug {
        // This is another process from here on; the first one ends.
        nix::unistd::daemon(false, false)?;
    }
    let tree = Arc::new(Mutex::new(Tree::new(cli.valid)));
    let daemon = Arc::new(Daemon::new(channel, script, tree, cli.config(), cli.debug));
    in_threads(cli.threads, || daemon.serve())?;
    drop(mounted);
    Ok(())
}
