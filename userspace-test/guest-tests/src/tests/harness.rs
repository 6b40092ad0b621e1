// SPDX-License-Identifier: GPL-2.0

//! The tests' own test: one that is broken on purpose has to be found.

use crate::{
    env::{slowness, Env},
    fs::Fs,
    runner::{self, Outcome, Test},
    sys,
    tests::tests,
};
use nix::sys::signal::{raise, Signal};
use std::time::Duration;

tests![
    what_passes_passes,
    a_panic_is_found,
    a_death_is_found,
    a_skipped_test_says_why,
    a_hang_is_found_and_ended,
    a_hang_in_the_kernel_is_found_and_ended => 40,
];

/// How long those that are broken may take.
fn limit() -> Duration {
    Duration::from_secs(3) * slowness()
}

/// Tests that are broken, for those here: they are run when they are named, and not otherwise.
pub fn broken() -> Vec<Test> {
    let test = |name: &str, run: fn(&Env)| Test {
        name: format!("broken::{name}"),
        run,
        limit: limit(),
    };
    vec![
        test("passes", |_| {}),
        test("panics", |_| panic!("as it was told to")),
        test("dies", |_| raise(Signal::SIGKILL).expect("raise")),
        test("skips", |_| runner::skip("no reason")),
        // Asleep all the while: whoever looks sees where.
        test("hangs", |_| std::thread::sleep(Duration::MAX)),
        test("hangs_in_the_kernel", |env| {
            // It waits for itself, as a daemon that uses its own file system.
            let fs = Fs::new(env);
            let result = sys::stat(&fs.dir);
            panic!("it came back: {:?}", result.map(drop));
        }),
    ]
}

#[track_caller]
fn outcome(env: &Env, name: &str) -> Outcome {
    let name = format!("broken::{name}");
    let test = broken().into_iter().find(|test| test.name == name);
    runner::run_one(&test.expect("a test of that name"), env)
}

#[track_caller]
fn details(env: &Env, name: &str) -> String {
    match outcome(env, name) {
        Outcome::Failed(details) => details,
        Outcome::Ok => panic!("{name} passes"),
        Outcome::Skipped(reason) => panic!("{name} is skipped: {reason}"),
    }
}

fn what_passes_passes(env: &Env) {
    assert!(matches!(outcome(env, "passes"), Outcome::Ok));
}

fn a_panic_is_found(env: &Env) {
    let details = details(env, "panics");
    assert!(details.contains("as it was told to"), "{details}");
}

fn a_death_is_found(env: &Env) {
    let details = details(env, "dies");
    assert!(details.contains("signal: 9"), "{details}");
}

fn a_skipped_test_says_why(env: &Env) {
    assert!(matches!(outcome(env, "skips"), Outcome::Skipped(reason) if reason == "no reason"));
}

fn a_hang_is_found_and_ended(env: &Env) {
    let details = details(env, "hangs");
    let running = format!("still running after {} s", limit().as_secs());
    assert!(details.contains(&running), "{details}");
    assert!(details.contains("nanosleep"), "{details}");
}

fn a_hang_in_the_kernel_is_found_and_ended(env: &Env) {
    let details = details(env, "hangs_in_the_kernel");
    let running = format!("still running after {} s", limit().as_secs());
    assert!(details.contains(&running), "{details}");
    assert!(!details.contains("that did not help"), "{details}");
    // Its mount went with it.
    let connections = || std::fs::read_dir(env.kind.control_dir).map(Iterator::count);
    crate::caller::eventually("its connection is gone", || connections().unwrap_or(1) == 0);
}
