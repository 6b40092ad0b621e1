// SPDX-License-Identifier: GPL-2.0

//! Who clears the set-user-ID and set-group-ID bits: the kernel, or the daemon by itself
//! (`HANDLE_KILLPRIV`), or the daemon when it is told to (`HANDLE_KILLPRIV_V2`).

use crate::{
    env::Env,
    fs::Fs,
    model::{args, Model, Served, CONTENTS, DIR, FILE},
    sys,
    tests::tests,
};
use nix::unistd::{chown, setfsuid, truncate, Uid};
use rawfuse::abi::{
    self, fattr, init_flags, open_flags, open_in_flags, write_flags, Opcode, SetattrIn, WriteIn,
};
use std::{fs::File, os::unix::fs::FileExt};

tests![
    chown_clears_them,
    chown_of_a_directory_leaves_them,
    truncation_clears_them,
    truncation_by_open_clears_them,
    writing_through_clears_them,
    direct_writing_clears_them,
    writing_back_does_not_delay_it,
];

const NOBODY_DOES: u64 = 0;
const V1: u64 = init_flags::HANDLE_KILLPRIV;
const V2: u64 = init_flags::HANDLE_KILLPRIV_V2;

/// A file with both bits, for all to write.
fn served(env: &Env, flags: u64, open_flags: u32) -> Served {
    let mut model = Model::cached();
    model.open_flags = open_flags;
    model.add(FILE, libc::S_IFREG | 0o6777, CONTENTS);
    Served::new(Fs::with_flags(env, flags), model)
}

/// Does something as that user: any but 0 has no `CAP_FSETID`.
fn as_user<T>(uid: u32, action: impl FnOnce() -> T) -> T {
    setfsuid(Uid::from_raw(uid));
    let result = action();
    setfsuid(Uid::from_raw(0));
    result
}

/// What each `SETATTR` so far was to change.
fn changes(served: &Served) -> Vec<u32> {
    let asked = args::<SetattrIn>(served, Opcode::Setattr);
    asked.iter().map(|arg| arg.valid).collect()
}

/// Closes the file, and ends the daemon.
#[track_caller]
fn finish(mut served: Served, file: File) {
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn chown_clears_them(env: &Env) {
    for (flags, expected) in [
        (NOBODY_DOES, fattr::UID | fattr::MODE),
        (V1, fattr::UID),
        (V2, fattr::UID | fattr::KILL_SUIDGID),
        (V1 | V2, fattr::UID | fattr::KILL_SUIDGID),
    ] {
        let mut served = served(env, flags, 0);
        chown(&served.path("file"), Some(Uid::from_raw(7)), None).unwrap();
        assert_eq!(changes(&served), [expected], "{flags:#x}");
        if flags == NOBODY_DOES {
            let arg = &args::<SetattrIn>(&served, Opcode::Setattr)[0];
            assert_eq!(arg.mode, libc::S_IFREG | 0o777);
        }
        served.finish();
    }
}

fn chown_of_a_directory_leaves_them(env: &Env) {
    for flags in [NOBODY_DOES, V1, V2] {
        let mut served = served(env, flags, 0);
        served.model().node(DIR).attr.mode |= 0o6000;
        chown(&served.path("dir"), Some(Uid::from_raw(7)), None).unwrap();
        assert_eq!(changes(&served), [fattr::UID], "{flags:#x}");
        served.finish();
    }
}

fn truncation_clears_them(env: &Env) {
    let size = fattr::SIZE | fattr::LOCKOWNER;
    for (flags, uid, expected) in [
        (NOBODY_DOES, 0, size),
        (NOBODY_DOES, 1000, size | fattr::MODE),
        (V1, 1000, size),
        (V2, 0, size),
        (V2, 1000, size | fattr::KILL_SUIDGID),
    ] {
        let mut served = served(env, flags, 0);
        let path = served.path("file");
        as_user(uid, || truncate(&path, 5)).unwrap();
        assert_eq!(changes(&served), [expected], "{flags:#x}, user {uid}");
        served.finish();
    }
}

fn truncation_by_open_clears_them(env: &Env) {
    for (flags, uid, how, expected) in [
        (V1, 1000, libc::O_TRUNC, 0),
        (V2, 0, libc::O_TRUNC, 0),
        (V2, 1000, 0, 0),
        (V2, 1000, libc::O_TRUNC, open_in_flags::KILL_SUIDGID),
    ] {
        let served = served(env, flags | init_flags::ATOMIC_O_TRUNC, 0);
        let path = served.path("file");
        let file = as_user(uid, || sys::open_with(&path, libc::O_WRONLY | how)).unwrap();
        let opened = &args::<abi::OpenIn>(&served, Opcode::Open)[0];
        assert_eq!(opened.open_flags, expected, "{flags:#x}, user {uid}");
        finish(served, file);
    }
}

/// Writes as that user: the flags of the `WRITE`, and what a `SETATTR` before it was to change.
#[track_caller]
fn write(env: &Env, flags: u64, open_flags: u32, uid: u32) -> (u32, Vec<u32>) {
    let served = served(env, flags, open_flags);
    let file = sys::open_with(&served.path("file"), libc::O_WRONLY).unwrap();
    as_user(uid, || file.write_all_at(b"When", 0)).unwrap();
    let written = args::<WriteIn>(&served, Opcode::Write);
    assert_eq!(written.len(), 1);
    let outcome = (
        written[0].write_flags & write_flags::KILL_SUIDGID,
        changes(&served),
    );
    finish(served, file);
    outcome
}

fn writing_through_clears_them(env: &Env) {
    let told = write_flags::KILL_SUIDGID;
    for (flags, uid, expected) in [
        (NOBODY_DOES, 0, (0, vec![])),
        (NOBODY_DOES, 1000, (0, vec![fattr::MODE])),
        // What the kernel would change is left to the daemon, and a SETATTR of nothing remains.
        (V1, 1000, (0, vec![0])),
        (V2, 0, (0, vec![])),
        (V2, 1000, (told, vec![0])),
    ] {
        let outcome = write(env, flags, 0, uid);
        assert_eq!(outcome, expected, "{flags:#x}, user {uid}");
    }
}

fn direct_writing_clears_them(env: &Env) {
    // The daemon is told whatever was agreed on.
    for flags in [NOBODY_DOES, V1, V2] {
        for (uid, expected) in [(0, 0), (1000, write_flags::KILL_SUIDGID)] {
            let outcome = write(env, flags, open_flags::DIRECT_IO, uid);
            assert_eq!(outcome, (expected, vec![]), "{flags:#x}, user {uid}");
        }
    }
}

fn writing_back_does_not_delay_it(env: &Env) {
    for (flags, uid, mode, at_once) in [
        (V1, 1000, 0o6777, false),
        (V2, 0, 0o6777, false),
        (V2, 1000, 0o777, false),
        (V2, 1000, 0o6777, true),
    ] {
        let served = served(env, flags | init_flags::WRITEBACK_CACHE, 0);
        served.model().node(FILE).attr.mode = libc::S_IFREG | mode;
        let file = sys::open_with(&served.path("file"), libc::O_RDWR).unwrap();
        as_user(uid, || file.write_all_at(b"When", 0)).unwrap();
        let written = args::<WriteIn>(&served, Opcode::Write);
        let told: Vec<_> = written.iter().map(|arg| arg.write_flags).collect();
        let expected: &[u32] = if at_once {
            &[write_flags::KILL_SUIDGID]
        } else {
            &[]
        };
        assert_eq!(told, expected, "{flags:#x}, user {uid}, {mode:o}");
        finish(served, file);
    }
}
