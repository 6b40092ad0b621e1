// SPDX-License-Identifier: GPL-2.0

//! The process that serves, until it is killed or the file system is gone.

use crate::{
    files::{Everything, Source},
    plan::{Plan, Tree},
};
use anyhow::{anyhow, Result};
use faultd::{Daemon, Script};
use memd::Store;
use nix::sys::{
    resource::{getrlimit, setrlimit, Resource},
    stat::{umask, Mode},
};
use rawfuse::{handshake, Buffer, Channel, Kind};
use stackfs::{Server, Stack};
use std::{path::Path, sync::Arc, thread};

/// Serves what is in `dir` as the plan has it; `first` is the one who gets to answer `INIT`.
pub fn run(plan: &Plan, dir: &Path, channel: &Channel, first: bool) -> i32 {
    match serve(plan, dir, channel, first) {
        Ok(()) => 0,
        // A daemon that fails is one of the things that happen.
        Err(_) => 1,
    }
}

fn serve(plan: &Plan, dir: &Path, channel: &Channel, first: bool) -> Result<()> {
    // Modes come with the caller's umask applied.
    umask(Mode::empty());
    // Each inode that the kernel knows of takes a descriptor.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    let source = match plan.tree {
        Tree::Kept => Source::Kept(memd::Daemon::new(
            Store::open(dir)?,
            memd::Config {
                valid: plan.valid,
                open_flags: plan.open_flags,
                ..Default::default()
            },
        )),
        Tree::Stacked => Source::Stack(Box::new(stack(plan, dir)?)),
        Tree::Spliced => return splice(plan, &stack(plan, dir)?, channel, first),
    };
    let files = Arc::new(Everything::new(source, plan.seed));
    let mut serving = Vec::new();
    for number in 0..plan.devices {
        let channel = match number {
            0 => channel.try_clone()?,
            _ => {
                let clone = Channel::open(&Kind::FUSE)?;
                clone.clone_of(channel)?;
                clone
            }
        };
        let script = Script::parse(&plan.script).map_err(|error| anyhow!("{error}"))?;
        let daemon = Daemon::new(channel, script, files.clone(), plan.init, false);
        let daemon = Arc::new(daemon);
        for _ in 0..plan.threads {
            let daemon = daemon.clone();
            serving.push(thread::Builder::new().spawn(move || daemon.serve())?);
        }
    }
    for thread in serving {
        thread.join().map_err(|_| anyhow!("a thread panicked"))??;
    }
    Ok(())
}

fn stack(plan: &Plan, dir: &Path) -> Result<Stack> {
    let config = stackfs::Config {
        valid: plan.valid,
        writeback: plan.init.flags & rawfuse::abi::init_flags::WRITEBACK_CACHE != 0,
        open_flags: plan.open_flags,
    };
    Ok(Stack::new(dir.as_os_str(), config)?)
}

fn splice(plan: &Plan, stack: &Stack, channel: &Channel, first: bool) -> Result<()> {
    let max_data = (plan.init.max_write as usize).max(128 << 10);
    if first {
        let mut buffer = Buffer::for_max_write(max_data);
        handshake(channel, &mut buffer, &plan.init)?;
    }
    let server = Server {
        channel,
        stack,
        threads: plan.threads,
        splice: true,
        max_data,
    };
    Ok(server.run()?)
}
