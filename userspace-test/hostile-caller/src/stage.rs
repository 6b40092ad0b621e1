// SPDX-License-Identifier: GPL-2.0

//! A mount with its daemon: it is there until another takes its place.

use crate::{
    daemon,
    health::{control, has_ended},
    names,
    plan::{After, Plan, Tree},
    sys::process,
};
use anyhow::{Context, Result};
use memd::Store;
use nix::{
    mount::{mount, umount2, MntFlags, MsFlags},
    poll::PollFlags,
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use rawfuse::{Channel, Kind, MountOptions};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How large what is served may become, for all of a round's stages.
const SIZE: &str = "size=96m";

/// Where a round takes place.
#[derive(Debug)]
pub struct Place {
    /// Where file systems are mounted, one after the other.
    pub mountpoint: PathBuf,
    /// What is below them.
    below: PathBuf,
    /// How many there have been.
    count: u32,
}

impl Place {
    /// Makes it.
    pub fn new(base: &Path) -> Result<Self> {
        let (root, below) = (base.join("root"), base.join("below"));
        // Callers may have left anything there while nothing was mounted, even in place of a directory.
        if root.exists() {
            fs::remove_dir_all(&root).context("what callers have left")?;
        }
        let mountpoint = root.join("mnt");
        fs::create_dir_all(&mountpoint).context("a directory to mount on")?;
        fs::create_dir_all(&below).context("a directory to serve")?;
        let (kind, flags) = (Some("tmpfs"), MsFlags::empty());
        mount(kind, &below, kind, flags, Some(SIZE)).context("a file system to serve")?;
        Ok(Self {
            mountpoint,
            below,
            count: 0,
        })
    }

    /// Another directory with what is there to begin with.
    fn fresh(&mut self, tree: Tree) -> Result<PathBuf> {
        self.count += 1;
        let dir = self.below.join(self.count.to_string());
        fs::create_dir_all(&dir)?;
        match tree {
            Tree::Stacked | Tree::Spliced => names::fill(&dir)?,
            Tree::Kept => {
                let store = Store::create(&dir)?;
                for (number, name) in (3..).step_by(2).zip(["a", "b", "c", "i", "j", "hello"]) {
                    store.add(number, name, &vec![b'x'; number as usize * 5_000])?;
                }
                for (number, name) in [(31, "d"), (33, "e")] {
                    store.add_dir(number, name)?;
                }
            }
        }
        Ok(dir)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left of it is of no use to anybody.
        let _ = umount2(&self.below, MntFlags::MNT_DETACH);
    }
}

/// The number of what is mounted there, without asking it.
pub fn mounted(mountpoint: &Path) -> Option<String> {
    let all = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut found = None;
    for line in all.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        if fields.get(4).map(Path::new) == Some(mountpoint) {
            found = fields
                .get(2)?
                .split_once(':')
                .map(|(_, minor)| minor.into());
        }
    }
    found
}

/// A mount with its daemon.
#[derive(Debug)]
pub struct Stage {
    /// The number of its connection.
    pub connection: String,
    /// What is served.
    dir: PathBuf,
    /// The process that serves.
    daemon: Option<Pid>,
    /// The device, where somebody keeps it for successors.
    pub kept: Option<Channel>,
    /// When it goes on, if it is stopped.
    pub frozen: Option<Instant>,
    /// When somebody follows, if it was killed.
    pub follows: Option<Instant>,
}

impl Stage {
    /// Mounts a file system, and starts its daemon. The devices of `others` are not for that one.
    pub fn new(plan: &Plan, place: &mut Place, others: &mut [Stage]) -> Result<Self> {
        let dir = place.fresh(plan.tree).context("what is to be served")?;
        let channel = Channel::open(&Kind::FUSE).context(Kind::FUSE.device)?;
        MountOptions::new(Kind::FUSE)
            .option(&plan.options)
            .mount(&channel, &place.mountpoint)
            .context("cannot mount")?
            .leave();
        let connection = mounted(&place.mountpoint).context("it is not mounted")?;
        let mut stage = Self {
            connection,
            dir,
            daemon: None,
            kept: None,
            frozen: None,
            follows: None,
        };
        stage.start(plan, &channel, true, others)?;
        if plan.after == After::Successor {
            stage.kept = Some(channel);
        }
        Ok(stage)
    }

    fn start(
        &mut self,
        plan: &Plan,
        channel: &Channel,
        first: bool,
        others: &mut [Stage],
    ) -> Result<()> {
        let kept = &mut self.kept;
        let dir = &self.dir;
        let daemon = process::start(|| {
            // In the daemon, these are copies.
            *kept = None;
            others.iter_mut().for_each(|other| other.kept = None);
            daemon::run(plan, dir, channel, first)
        });
        self.daemon = Some(daemon.context("a daemon")?);
        Ok(())
    }

    /// Whether there is a daemon; one that has died counts no more.
    pub fn is_served(&mut self) -> bool {
        if self.daemon.is_some_and(has_ended) {
            self.daemon = None;
            self.frozen = None;
        }
        self.daemon.is_some()
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(daemon) = self.daemon {
            // It may have died.
            let _ = kill(daemon, signal);
        }
    }

    /// Starts a successor.
    pub fn follow(&mut self, plan: &Plan, others: &mut [Stage]) -> Result<()> {
        let channel = match &self.kept {
            Some(kept) => {
                // What its predecessor had read is for it; there may be no connection any more.
                let _ = kept.notify(rawfuse::abi::NotifyCode::Resend, &[]);
                kept.try_clone()?
            }
            None => {
                let channel = Channel::open(&Kind::FUSE)?;
                channel.attach(self.connection.parse()?)?;
                channel
            }
        };
        self.start(plan, &channel, false, others)
    }

    /// Whether its connection is not over: then requests can wait for a successor.
    pub fn is_alive(&self) -> bool {
        let Some(kept) = &self.kept else {
            return true;
        };
        let ready = kept.poll(Duration::ZERO);
        !ready.is_ok_and(|ready| ready.contains(PollFlags::POLLERR))
    }

    /// A file of its connection.
    pub fn control(&self, name: &str) -> PathBuf {
        control(&self.connection).join(name)
    }

    /// Kills the daemon, for good.
    pub fn end(&mut self) {
        self.signal(Signal::SIGKILL);
        self.kept = None;
    }
}
