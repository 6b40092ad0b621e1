// SPDX-License-Identifier: GPL-2.0

//! What a round is like: all of it follows from its seed, and from which module it is for.

use crate::script;
use fastrand::Rng;
use rawfuse::{
    abi::{init_flags, open_flags},
    InitConfig,
};
use std::{fmt, time::Duration};

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// What [`stackfs`] serves; a successor knows nothing of what its predecessor had open.
    Stacked,
    /// The same, with data moved by splice(2); the daemon is an honest one.
    Spliced,
    /// What [`memd`] serves: a successor goes on where its predecessor was killed.
    Kept,
}

/// What is to become of the mount when its daemon is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Another file system is mounted over it.
    Another,
    /// A successor has the same device, which somebody else has kept open.
    Successor,
    /// A successor attaches: the mount option `recover`.
    Attach,
}

/// Something that happens to a mount, its daemon, or the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The daemon is killed, and after a while somebody follows.
    Kill {
        /// How long that takes, in milliseconds.
        gap: u64,
    },
    /// The daemon is stopped for so many milliseconds.
    Freeze(u64),
    /// What was read is to be sent again, by the control file.
    Resend,
    /// The same, by a notification.
    Notify,
    /// What was read is given up.
    Flush,
    /// The connection is aborted, and another file system mounted.
    Abort,
    /// The mount is taken away beneath its callers, and another made in its place.
    Detach,
    /// The same, by force.
    Force,
    /// It is unmounted as anybody would do it, if that can be.
    Unmount,
    /// It is mounted again with other flags, which it may not like.
    Remount,
    /// Somebody who may not follows the daemon while that is alive.
    AttachTwice,
    /// Caches are dropped: pages, inodes, both.
    DropCaches(u8),
    /// The limits of background requests.
    Limits(u16, u16),
    /// Somebody reads all that tells of the queues.
    Look,
    /// Everything is to be written back.
    Sync,
}

/// A round.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What it follows from.
    pub seed: u64,
    /// Who serves.
    pub tree: Tree,
    /// What follows the daemon.
    pub after: After,
    /// On how many devices.
    pub devices: usize,
    /// By how many threads on each.
    pub threads: usize,
    /// How many processes make calls.
    pub processes: usize,
    /// By how many threads each.
    pub callers: usize,
    /// What the daemon answers to `INIT`.
    pub init: InitConfig,
    /// What opening a file gives.
    pub open_flags: u32,
    /// For how many seconds names and attributes stay valid.
    pub valid: u64,
    /// Mount options.
    pub options: String,
    /// What the daemon does wrong, as [`faultd`] has it.
    pub script: String,
    /// What happens, and when.
    pub events: Vec<(Duration, Event)>,
    /// Of so many allocations of callers, one fails; 0 for none.
    pub failures: u32,
    /// Each so many microseconds a process gets a SIGALRM.
    pub alarm: i64,
    /// How long it takes.
    pub length: Duration,
}

/// What is the same for all rounds.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// It is for this project's module, which has what Linux's has not.
    pub rust: bool,
    /// How long a round takes.
    pub length: Duration,
    /// Allocations can be made to fail.
    pub failures: bool,
}

/// Mixes numbers to a seed.
pub fn mix(numbers: &[u64]) -> u64 {
    let mut seed = 0x6877_6c61_6c65_6e73;
    for number in numbers {
        seed = Rng::with_seed(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).u64(..);
    }
    seed
}

const INIT_FLAGS: [u64; 27] = [
    init_flags::ASYNC_READ,
    init_flags::POSIX_LOCKS,
    init_flags::ATOMIC_O_TRUNC,
    init_flags::EXPORT_SUPPORT,
    init_flags::BIG_WRITES,
    init_flags::DONT_MASK,
    init_flags::SPLICE_READ,
    init_flags::FLOCK_LOCKS,
    init_flags::HAS_IOCTL_DIR,
    init_flags::AUTO_INVAL_DATA,
    init_flags::DO_READDIRPLUS,
    init_flags::READDIRPLUS_AUTO,
    init_flags::ASYNC_DIO,
    init_flags::WRITEBACK_CACHE,
    init_flags::NO_OPEN_SUPPORT,
    init_flags::PARALLEL_DIROPS,
    init_flags::HANDLE_KILLPRIV,
    init_flags::POSIX_ACL,
    init_flags::ABORT_ERROR,
    init_flags::MAX_PAGES,
    init_flags::CACHE_SYMLINKS,
    init_flags::NO_OPENDIR_SUPPORT,
    init_flags::EXPLICIT_INVAL_DATA,
    init_flags::HANDLE_KILLPRIV_V2,
    init_flags::HAS_EXPIRE_ONLY,
    init_flags::DIRECT_IO_ALLOW_MMAP,
    init_flags::CREATE_SUPP_GROUP,
];

const OPEN_FLAGS: [u32; 7] = [
    open_flags::DIRECT_IO,
    open_flags::KEEP_CACHE,
    open_flags::NONSEEKABLE,
    open_flags::CACHE_DIR,
    open_flags::STREAM,
    open_flags::NOFLUSH,
    open_flags::PARALLEL_DIRECT_WRITES,
];

fn one_of<T: Copy>(random: &mut Rng, all: &[T]) -> T {
    all[random.usize(0..all.len())]
}

fn once_in(random: &mut Rng, count: u32) -> bool {
    random.u32(0..count) == 0
}

impl Plan {
    /// The round of that seed.
    pub fn new(seed: u64, settings: &Settings) -> Self {
        let random = &mut Rng::with_seed(seed);
        let tree = match random.u32(0..10) {
            0..5 => Tree::Stacked,
            5..7 => Tree::Spliced,
            _ => Tree::Kept,
        };
        let after = match random.u32(0..5) {
            0 | 1 => After::Another,
            2 | 3 if settings.rust => After::Attach,
            _ => After::Successor,
        };
        let rare = random.bool();
        let mut flags = 0;
        for flag in INIT_FLAGS {
            if random.bool() {
                flags |= flag;
            }
        }
        let mut open = 0;
        for flag in OPEN_FLAGS {
            if once_in(random, 6) {
                open |= flag;
            }
        }
        let max_write = one_of(random, &[4 << 10, 64 << 10, 128 << 10, 1 << 20]);
        let init = InitConfig {
            flags,
            max_write,
            max_pages: (max_write >> 12) as u16,
            max_background: one_of(random, &[0, 1, 3, 12, 100]),
            max_readahead: one_of(random, &[0, 4096, 128 << 10, 1 << 20]),
            ..Default::default()
        };
        let mut options = String::from("allow_other");
        if random.bool() {
            options += ",default_permissions";
        }
        if once_in(random, 4) {
            options += one_of(
                random,
                &[",max_read=4096", ",max_read=0", ",max_read=131072"],
            );
        }
        if after == After::Attach {
            options += ",recover";
        }
        let script = match tree {
            Tree::Spliced => String::new(),
            _ => script::draw(random, rare),
        };
        Self {
            seed,
            tree,
            after,
            devices: random.usize(1..4),
            threads: random.usize(1..5),
            processes: random.usize(2..6),
            callers: random.usize(1..5),
            init,
            open_flags: open,
            valid: one_of(random, &[0, 0, 1, 60]),
            options,
            script,
            events: events(random, settings, after),
            failures: match settings.failures && random.bool() {
                true => one_of(random, &[30, 100, 300]),
                false => 0,
            },
            alarm: one_of(random, &[3_000, 10_000, 50_000]),
            length: settings.length,
        }
    }
}

/// What happens in a round: nothing much, or one thing after the other.
fn events(random: &mut Rng, settings: &Settings, after: After) -> Vec<(Duration, Event)> {
    let mut all = Vec::new();
    let busy = one_of(random, &[150, 400, 1200]);
    let mut at = Duration::from_millis(300);
    loop {
        at += Duration::from_millis(random.u64(20..busy));
        if at >= settings.length {
            return all;
        }
        let event = match random.u32(0..100) {
            0..18 => Event::Kill {
                gap: random.u64(0..200),
            },
            18..30 => Event::Freeze(random.u64(50..1500)),
            30..38 if settings.rust || after == After::Successor => Event::Resend,
            38..44 if after == After::Successor => Event::Notify,
            44..50 if settings.rust => Event::Flush,
            50..54 => Event::Abort,
            54..60 => Event::Detach,
            60..62 => Event::Force,
            62..66 => Event::Unmount,
            66..69 => Event::Remount,
            69..72 if settings.rust => Event::AttachTwice,
            72..82 => Event::DropCaches(random.u8(1..4)),
            82..88 => Event::Limits(random.u16(0..20), random.u16(0..20)),
            88..95 => Event::Look,
            _ => Event::Sync,
        };
        all.push((at, event));
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut features: Vec<_> = init_flags::NAMES
            .iter()
            .filter(|(_, flag)| self.init.flags & flag != 0)
            .map(|(name, _)| *name)
            .collect();
        features.sort_unstable();
        writeln!(
            f,
            "  {:?}, {:?} when the daemon is killed; {} devices, {} threads each",
            self.tree, self.after, self.devices, self.threads
        )?;
        writeln!(
            f,
            "  {} processes, {} threads each; SIGALRM each {} us; one allocation in {} fails",
            self.processes, self.callers, self.alarm, self.failures
        )?;
        writeln!(
            f,
            "  {}; open {:#x}, valid {} s, max_write {}, max_background {}, max_readahead {}",
            self.options,
            self.open_flags,
            self.valid,
            self.init.max_write,
            self.init.max_background,
            self.init.max_readahead
        )?;
        writeln!(f, "  {}", features.join(" "))?;
        for line in self.script.lines() {
            writeln!(f, "  {line}")?;
        }
        for (at, event) in &self.events {
            writeln!(f, "  {:5} ms {event:?}", at.as_millis())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use faultd::Script;

    const SETTINGS: Settings = Settings {
        rust: true,
        length: Duration::from_secs(5),
        failures: true,
    };

    #[test]
    fn a_seed_is_a_plan() {
        for seed in 0..200 {
            let plan = Plan::new(seed, &SETTINGS);
            let again = Plan::new(seed, &SETTINGS);
            assert_eq!(plan.to_string(), again.to_string());
            if let Err(error) = Script::parse(&plan.script) {
                panic!("{error}\n{plan}");
            }
        }
        let other = |seed| Plan::new(seed, &SETTINGS).to_string();
        assert_ne!(other(1), other(2));
    }

    #[test]
    fn c_fuse_gets_nothing_that_it_lacks() {
        let settings = Settings {
            rust: false,
            ..SETTINGS
        };
        for seed in 0..500 {
            let plan = Plan::new(seed, &settings);
            assert!(!plan.options.contains("recover"));
            let lacks = |event: &Event| matches!(event, Event::Flush | Event::AttachTwice);
            assert!(!plan.events.iter().any(|(_, event)| lacks(event)));
        }
    }
}
