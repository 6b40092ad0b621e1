// SPDX-License-Identifier: GPL-2.0

//! The callers: processes of several threads each, which one process starts, sends signals to, and
//! starts again when they have died. They are in a PID namespace of their own: when that process is
//! killed, all of them are.

use crate::{
    arguments::{Caller, Process, DESCRIPTORS},
    calls::Calls,
    failures,
    names::Names,
    plan::{mix, Plan},
    seen::Seen,
    sys::{
        aio::Ring,
        process,
        signals::{self, alarm_each},
        Memory,
    },
};
use fastrand::Rng;
use kcov::Coverage;
use nix::{
    sys::{
        resource::{setrlimit, Resource},
        signal::{kill, Signal},
        wait::{waitpid, WaitPidFlag},
    },
    unistd::Pid,
};
use std::{path::Path, thread, time::Duration};

/// Runs until it is killed.
pub fn run(plan: &Plan, mountpoint: &Path, seen: &Seen) -> i32 {
    process::close_from(3);
    if let Some(parent) = mountpoint.parent() {
        // Names without a slash in front begin there.
        let _ = nix::unistd::chdir(parent);
    }
    let mut random = Rng::with_seed(mix(&[plan.seed, 1]));
    let mut callers: Vec<Option<Pid>> = vec![None; plan.processes];
    let mut lives = 0;
    loop {
        for (number, caller) in callers.iter_mut().enumerate() {
            if caller.is_none() {
                lives += 1;
                let seed = mix(&[plan.seed, 2, number as u64, lives]);
                *caller = process::start(|| live(plan, mountpoint, seen, seed)).ok();
            }
        }
        thread::sleep(Duration::from_micros(random.u64(500..15_000)));
        if let Some(caller) = callers[random.usize(0..callers.len())] {
            disturb(&mut random, caller);
        }
        // Also of children that others have left behind.
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let Some(pid) = status.pid() else {
                break;
            };
            for caller in callers.iter_mut().filter(|caller| **caller == Some(pid)) {
                *caller = None;
            }
        }
    }
}

/// Sends a process some signal. It may be gone, which is no error.
fn disturb(random: &mut Rng, caller: Pid) {
    let signals = match random.u32(0..60) {
        0 => &[Signal::SIGKILL][..],
        1..4 => &[Signal::SIGSTOP, Signal::SIGCONT],
        4..40 => &[Signal::SIGUSR1],
        _ => &[],
    };
    for signal in signals {
        let _ = kill(caller, *signal);
        if *signal == Signal::SIGSTOP {
            thread::sleep(Duration::from_millis(random.u64(0..30)));
        }
    }
}

/// The lowest descriptor that is anybody's, in a process of so many threads.
fn first(threads: usize) -> i32 {
    // Two for each thread, and those that every process has.
    16 + 2 * threads as i32
}

/// The life of one process.
fn live(plan: &Plan, mountpoint: &Path, seen: &Seen, seed: u64) -> i32 {
    let mut random = Rng::with_seed(seed);
    signals::set_up(random.bool());
    let Some(memory) = Memory::new() else {
        return 1;
    };
    let first = first(plan.callers);
    let limit = (first + DESCRIPTORS) as u64;
    if setrlimit(Resource::RLIMIT_NOFILE, limit, limit).is_err()
        || setrlimit(Resource::RLIMIT_CORE, 0, 0).is_err()
    {
        return 1;
    }
    let process = Process::new(memory, Names::new(mountpoint), first);
    let tools: Vec<_> = (0..plan.callers)
        .map(|_| (Ring::new(), seen.coverage()))
        .collect();
    while process::lowest_free() < first - 1 {}
    process::close_from(first);
    if random.u32(0..3) == 0 {
        process::become_user(1000);
    }
    alarm_each(plan.alarm);
    let (calls, process) = (&Calls::new(), &process);
    thread::scope(|scope| {
        for (ring, coverage) in tools {
            let random = random.fork();
            let caller = Caller {
                random,
                process,
                ring,
            };
            let work = move || work(plan, caller, calls, seen, coverage);
            // Where there is no memory for it, there are fewer.
            let _ = thread::Builder::new()
                .stack_size(256 << 10)
                .spawn_scoped(scope, work);
        }
    });
    0
}

/// What a thread does to its end: one call after the other.
fn work(plan: &Plan, mut caller: Caller<'_>, calls: &Calls, seen: &Seen, cover: Option<Coverage>) {
    if let Some(cover) = &cover {
        // Without it, less is known.
        let _ = cover.start();
    }
    if plan.failures > 0 {
        failures::fail_in_this_thread();
    }
    for number in 0u64.. {
        let (kind, call) = calls.draw(&mut caller.random);
        seen.begins(kind);
        let said = (call.call)(&mut caller);
        seen.ends(kind, said);
        if let (Some(cover), true) = (&cover, number % 16 == 0) {
            seen.note(cover);
        }
    }
}
