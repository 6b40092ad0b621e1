// SPDX-License-Identifier: GPL-2.0

//! A round: a mount, its callers and what happens to them, and the end, after which all has to be as
//! it was.

use crate::{
    family,
    health::{self, has_ended, slowness, within, Health},
    plan::{After, Event, Plan},
    seen::Seen,
    stage::{mounted, Place, Stage},
    sys::process,
};
use anyhow::Result;
use nix::{
    mount::{mount, umount2, MntFlags, MsFlags},
    sched::{setns, unshare, CloneFlags},
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use rawfuse::{abi::NotifyCode, Channel, Kind};
use std::{
    fmt, fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How many file systems there are at a time that callers may still hold.
const STAGES: usize = 4;

/// How a round went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How many file systems were mounted.
    pub mounts: u32,
    /// How many daemons served.
    pub daemons: u32,
    /// How long the end took, with all that was looked at.
    pub end: Duration,
    /// How long the callers took to go when they were killed; none, if something had to be aborted for
    /// that.
    pub gone: Option<Duration>,
    /// Where callers were then, who could not be killed.
    pub held: Vec<String>,
}

/// Something is not as it has to be.
#[derive(Clone, Debug)]
pub struct Find(pub String);

impl fmt::Display for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A round that is under way.
struct Round<'a> {
    plan: &'a Plan,
    place: Place,
    family: Pid,
    /// The last one is where callers get to.
    stages: Vec<Stage>,
    /// Processes that do something which may take longer.
    chores: Vec<Pid>,
    /// When it was seen last whether anything is mounted.
    looked: Instant,
    outcome: Outcome,
}

/// Plays a round. A find is in the error of what is right.
pub fn play(
    plan: &Plan,
    base: &Path,
    seen: &Seen,
    health: &Health,
) -> Result<Result<Outcome, Find>> {
    let mut place = Place::new(base)?;
    let stage = Stage::new(plan, &mut place, &mut [])?;
    let family = in_new_namespace(|| family::run(plan, &place.mountpoint, seen))?;
    let mut round = Round {
        plan,
        place,
        family,
        stages: vec![stage],
        chores: Vec::new(),
        looked: Instant::now(),
        outcome: Outcome {
            mounts: 1,
            daemons: 1,
            end: Duration::ZERO,
            gone: None,
            held: Vec::new(),
        },
    };
    let begun = Instant::now();
    for (at, event) in &plan.events {
        while begun.elapsed() < *at {
            round.tend();
            thread::sleep(Duration::from_millis(2));
        }
        if begun.elapsed() >= plan.length {
            // Here things take longer than it was thought.
            break;
        }
        round.happen(*event);
    }
    thread::sleep(plan.length.saturating_sub(begun.elapsed()));
    Ok(round.end(health))
}

/// Starts a process that is the first of a PID namespace.
fn in_new_namespace(action: impl FnOnce() -> i32) -> Result<Pid> {
    let own = fs::File::open("/proc/self/ns/pid")?;
    unshare(CloneFlags::CLONE_NEWPID)?;
    let first = process::start(action);
    setns(&own, CloneFlags::CLONE_NEWPID)?;
    Ok(first?)
}

/// Writes to a file of the kernel's, which may refuse it or be gone.
fn tell(path: &Path, text: &str) {
    let _ = fs::write(path, text);
}

/// Unmounts what may be in use, or not be mounted.
fn unmount(target: &Path, flags: MntFlags) {
    let _ = umount2(target, flags);
}

impl Round<'_> {
    /// Has another process do something which may take longer.
    fn chore(&mut self, action: impl FnOnce(Option<&Channel>)) {
        let stages = &mut self.stages;
        let chore = process::start(|| {
            let kept = stages.last_mut().and_then(|stage| stage.kept.take());
            stages.iter_mut().for_each(|stage| stage.kept = None);
            action(kept.as_ref());
            0
        });
        self.chores.extend(chore);
    }

    /// Sees to what is due: daemons that go on, daemons that follow.
    fn tend(&mut self) {
        self.chores.retain(|chore| !has_ended(*chore));
        let now = Instant::now();
        let is_due = |time: Option<Instant>| time.is_some_and(|time| time <= now);
        for stage in &mut self.stages {
            if is_due(stage.frozen) {
                stage.signal(Signal::SIGCONT);
                stage.frozen = None;
            }
        }
        // Those that callers have left are nobody's business any more.
        let Some(mut last) = self.stages.pop() else {
            return;
        };
        let served = last.is_served();
        if !served && last.follows.is_none() {
            last.follows = Some(now);
        }
        let mut replace = false;
        if self.looked.elapsed() > Duration::from_millis(100) {
            self.looked = now;
            // It may have been unmounted.
            replace = mounted(&self.place.mountpoint).as_ref() != Some(&last.connection);
        }
        if !served && is_due(last.follows) {
            last.follows = None;
            let follows = last.follow(self.plan, &mut self.stages);
            match self.plan.after {
                After::Another => replace = true,
                // It may have been aborted.
                After::Attach => replace |= follows.is_err(),
                After::Successor => replace |= !last.is_alive(),
            }
            self.outcome.daemons += u32::from(!replace);
        }
        self.stages.push(last);
        if replace {
            self.another(MntFlags::MNT_DETACH);
        }
    }

    /// Takes the mount away beneath its callers, and makes another.
    fn another(&mut self, flags: MntFlags) {
        let target = self.place.mountpoint.clone();
        let before = mounted(&target);
        self.chore(|_| unmount(&target, flags));
        // By then it is out of sight, though perhaps not gone.
        within(Duration::from_secs(1) * slowness(), || {
            mounted(&target) != before
        });
        if self.stages.len() >= STAGES {
            let mut oldest = self.stages.remove(0);
            oldest.end();
            let connection = oldest.control("abort");
            self.chore(|_| tell(&connection, "1"));
        }
        if let Ok(stage) = Stage::new(self.plan, &mut self.place, &mut self.stages) {
            self.outcome.mounts += 1;
            self.outcome.daemons += 1;
            self.stages.push(stage);
        }
    }

    fn happen(&mut self, event: Event) {
        self.tend();
        let target = self.place.mountpoint.clone();
        let Some(stage) = self.stages.last_mut() else {
            return;
        };
        let control = |name| stage.control(name);
        match event {
            Event::Kill { gap } => {
                stage.signal(Signal::SIGKILL);
                stage.follows = Some(Instant::now() + Duration::from_millis(gap));
            }
            Event::Freeze(time) => {
                stage.signal(Signal::SIGSTOP);
                stage.frozen = Some(Instant::now() + Duration::from_millis(time));
            }
            Event::Resend => {
                let file = control("resend");
                self.chore(|_| tell(&file, "1"));
            }
            Event::Flush => {
                let file = control("flush");
                self.chore(|_| tell(&file, "1"));
            }
            Event::Notify => self.chore(|kept| {
                if let Some(kept) = kept {
                    let _ = kept.notify(NotifyCode::Resend, &[]);
                }
            }),
            Event::Abort => {
                let file = control("abort");
                self.chore(|_| tell(&file, "1"));
                self.another(MntFlags::MNT_DETACH);
            }
            Event::Detach => self.another(MntFlags::MNT_DETACH),
            Event::Force => self.another(MntFlags::MNT_DETACH | MntFlags::MNT_FORCE),
            Event::Unmount => self.chore(|_| unmount(&target, MntFlags::empty())),
            Event::Remount => self.chore(|_| {
                let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID;
                let nothing: Option<&str> = None;
                let _ = mount(nothing, &target, nothing, flags, Some("max_read=4096"));
                let _ = mount(nothing, &target, nothing, flags, nothing);
            }),
            Event::AttachTwice => {
                let connection = stage.connection.parse().unwrap_or(0);
                self.chore(|_| {
                    if let Ok(channel) = Channel::open(&Kind::FUSE) {
                        let _ = channel.attach(connection);
                    }
                });
            }
            Event::DropCaches(what) => self.chore(|_| {
                tell(Path::new("/proc/sys/vm/drop_caches"), "4");
                tell(Path::new("/proc/sys/vm/drop_caches"), &what.to_string());
            }),
            Event::Limits(most, congested) => {
                let files = [control("max_background"), control("congestion_threshold")];
                self.chore(|_| {
                    tell(&files[0], &most.to_string());
                    tell(&files[1], &congested.to_string());
                });
            }
            Event::Look => {
                let mut files = ["waiting", "queues", "latency", "max_background"].map(control);
                let debug = Path::new("/sys/kernel/debug/rust_fuse").join(&stage.connection);
                files[3] = debug.join("queues");
                self.chore(|_| {
                    for file in files {
                        let _ = fs::read_to_string(file);
                    }
                });
            }
            Event::Sync => self.chore(|_| nix::unistd::sync()),
        }
    }

    /// Ends it, and sees to it that nothing is left.
    fn end(mut self, health: &Health) -> Result<Outcome, Find> {
        let patience = Duration::from_secs(20) * slowness();
        let killed = Instant::now();
        let family = self.family;
        // It may not die but by this.
        let _ = kill(family, Signal::SIGKILL);
        let mut gone = within(Duration::from_secs(2) * slowness(), || has_ended(family));
        if gone {
            self.outcome.gone = Some(killed.elapsed());
        }
        if !gone {
            self.outcome.held = health::held();
        }
        for stage in &mut self.stages {
            stage.end();
        }
        if !gone {
            let connections = health.new_connections();
            self.chore(|_| {
                for connection in connections {
                    tell(&health::control(&connection).join("abort"), "1");
                }
            });
            gone = within(patience, || has_ended(family));
        }
        if !gone {
            return Err(self.find(health, "callers are left that were killed"));
        }
        for chore in &self.chores {
            // It may have ended.
            let _ = kill(*chore, Signal::SIGKILL);
        }
        let target = self.place.mountpoint.clone();
        let unmounted = within(patience, || {
            self.chores.retain(|chore| !has_ended(*chore));
            if mounted(&target).is_some() && self.chores.is_empty() {
                self.chore(|_| unmount(&target, MntFlags::MNT_DETACH));
            }
            mounted(&target).is_none() && self.chores.is_empty()
        });
        if !unmounted {
            return Err(self.find(health, "unmounting does not come to an end"));
        }
        let stages = &mut self.stages;
        let served = within(patience, || {
            stages.iter_mut().all(|stage| !stage.is_served())
        });
        if !served {
            return Err(self.find(health, "daemons are left that were killed"));
        }
        match health.check() {
            Ok(()) => {
                self.outcome.end = killed.elapsed();
                Ok(self.outcome)
            }
            Err(what) => Err(self.find(health, &what)),
        }
    }

    /// What is known of it.
    fn find(&self, health: &Health, what: &str) -> Find {
        // To the kernel's log.
        tell(Path::new("/proc/sysrq-trigger"), "w");
        let report = health::report(&health.new_connections());
        Find(format!("{what}\n{report}"))
    }
}
