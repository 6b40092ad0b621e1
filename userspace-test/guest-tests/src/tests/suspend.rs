// SPDX-License-Identifier: GPL-2.0

//! The machine is suspended while somebody waits for a daemon.

use crate::{
    caller::call,
    env::Env,
    fs::Fs,
    model::{Model, FILE},
    runner, sys,
    tests::tests,
};
use rawfuse::abi::Opcode;
use std::{fs, io};

tests![freezes_while_a_caller_waits, freezing_interrupts_nobody,];

/// How long the kernel tries to freeze all tasks, in milliseconds.
const TRY: &str = "1500";

/// Suspends the machine as far as freezing all tasks, and wakes it again.
fn freeze() -> io::Result<()> {
    fs::write("/sys/power/pm_freeze_timeout", TRY)?;
    fs::write("/sys/power/pm_test", "freezer")?;
    fs::write("/sys/power/state", "mem")
}

fn freezes_while_a_caller_waits(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("file");
    let caller = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    let frozen = freeze();
    // In Linux a caller that waits for a daemon cannot be frozen, and keeps the machine awake.
    assert_eq!(frozen.is_ok(), env.is_rust(), "{frozen:?}");
    fs.reply(&lookup, &Model::cached().entry(FILE));
    assert_eq!(caller.result().unwrap().st_ino, FILE);
}

fn freezing_interrupts_nobody(env: &Env) {
    if !env.is_rust() {
        runner::skip("Linux wakes the caller as by a signal, and the daemon gets an INTERRUPT");
    }
    let fs = Fs::new(env);
    let path = fs.path("file");
    let caller = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    freeze().expect("nothing keeps the machine awake");
    fs.expect_silence(std::time::Duration::from_millis(200));
    fs.reply(&lookup, &Model::cached().entry(FILE));
    assert_eq!(caller.result().unwrap().st_ino, FILE);
}
