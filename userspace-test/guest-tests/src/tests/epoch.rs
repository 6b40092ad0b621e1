// SPDX-License-Identifier: GPL-2.0

//! Epochs: a daemon says that no name that was looked up before holds any more (`INC_EPOCH`).

use crate::{
    caller::call,
    env::Env,
    fs::Fs,
    model::{answer, Model, Served, FILE},
    sys, system,
    tests::tests,
};
use rawfuse::abi::{self, NotifyCode, Opcode};
use std::{os::fd::AsRawFd, path::PathBuf};

tests![
    all_names_are_looked_up_again,
    that_there_is_none_too,
    open_files_stay,
    attributes_stay,
    what_follows_does_not_matter,
    lookup_of_an_earlier_epoch,
];

#[track_caller]
fn next_epoch(fs: &Fs) {
    fs.channel.notify(NotifyCode::IncEpoch, &[]).unwrap();
}

/// How many LOOKUPs it takes to look at all that there is.
#[track_caller]
fn lookups(served: &Served) -> usize {
    let before = served.count(Opcode::Lookup);
    for path in ["file", "dir/inner", "link", "dir"] {
        sys::lstat(&served.path(path)).unwrap();
    }
    served.count(Opcode::Lookup) - before
}

fn all_names_are_looked_up_again(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for _ in 0..3 {
        assert_eq!(lookups(&served), 4);
        assert_eq!(lookups(&served), 0);
        next_epoch(&served);
    }
    // Two at once are as one.
    next_epoch(&served);
    assert_eq!(lookups(&served), 4);
    served.finish();
}

fn that_there_is_none_too(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| {
        (req.opcode() == Opcode::Lookup).then(|| {
            answer(&abi::EntryOut {
                entry_valid: 3600,
                ..Default::default()
            })
        })
    });
    for _ in 0..2 {
        system::errno(sys::stat(&served.path("none")));
    }
    assert_eq!(served.count(Opcode::Lookup), 1);
    next_epoch(&served);
    for _ in 0..2 {
        system::errno(sys::stat(&served.path("none")));
    }
    assert_eq!(served.count(Opcode::Lookup), 2);
    served.finish();
}

fn open_files_stay(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("dir/inner")).unwrap();
    let dir = sys::open(&served.path("dir")).unwrap();
    let below = |name| PathBuf::from(format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()));
    next_epoch(&served);
    assert_eq!(sys::fstat(&file).unwrap().st_ino, crate::model::INNER);
    // A directory that one is in need not be looked up; what is in it does.
    served.clear_log();
    sys::stat(&below("inner")).unwrap();
    assert_eq!(served.model().opcodes(), [Opcode::Lookup]);
    drop((file, dir));
    served.wait_for(Opcode::Release, 1);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn attributes_stay(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("file")).unwrap();
    sys::fstat(&file).unwrap();
    served.clear_log();
    next_epoch(&served);
    sys::fstat(&file).unwrap();
    assert_eq!(served.model().opcodes(), []);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn what_follows_does_not_matter(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    assert_eq!(lookups(&served), 4);
    served
        .channel
        .notify(NotifyCode::IncEpoch, &[&[1, 2, 3]])
        .unwrap();
    assert_eq!(lookups(&served), 4);
    served.finish();
}

fn lookup_of_an_earlier_epoch(env: &Env) {
    // What was asked for before the new epoch is of the old one.
    let fs = Fs::new(env);
    let stat = |path: PathBuf| call(move || sys::stat(&path).map(drop));
    let first = stat(fs.path("file"));
    let lookup = fs.expect(Opcode::Lookup);
    next_epoch(&fs);
    fs.reply(&lookup, &Model::cached().entry(FILE));
    first.result().unwrap();
    let again = stat(fs.path("file"));
    fs.reply(&fs.expect(Opcode::Lookup), &Model::cached().entry(FILE));
    again.result().unwrap();
    stat(fs.path("file")).result().unwrap();
}
