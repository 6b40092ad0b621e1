// SPDX-License-Identifier: GPL-2.0

//! Size and times with `WRITEBACK_CACHE`: the kernel is ahead of the daemon, and tells it.

use crate::{
    env::Env,
    fs::Fs,
    model::{Model, Served, CONTENTS, FILE},
    sys,
    tests::tests,
    xattrs::{self, Store},
};
use nix::{
    fcntl::AT_FDCWD,
    sys::{
        stat::{utimensat, UtimensatFlags},
        time::TimeSpec,
    },
    unistd::truncate,
};
use rawfuse::{
    abi::{fattr, init_flags, Opcode, SetattrIn},
    InitConfig,
};
use std::{fs, io::Write, os::unix::fs::PermissionsExt};
use zerocopy::FromBytes;

tests![
    written_file_s_times_are_flushed,
    size_and_times_are_the_kernel_s,
    chosen_times_are_sent_and_kept,
    truncation_sends_the_times,
    chmod_sends_the_time_of_change,
    changed_xattrs_flush_the_time_of_change,
    directories_are_the_daemon_s,
    granularity_is_the_daemon_s,
    granularities_that_cannot_be,
];

fn served(env: &Env) -> Served {
    let fs = Fs::with_flags(env, init_flags::WRITEBACK_CACHE | init_flags::BIG_WRITES);
    Served::new(fs, Model::cached())
}

/// What the daemon was asked to change of the file, one after another.
#[track_caller]
fn asked(served: &Served) -> Vec<SetattrIn> {
    let model = served.model();
    let bodies = model.log.iter().filter(|a| a.opcode == Opcode::Setattr);
    bodies
        .map(|asked| *SetattrIn::ref_from_bytes(&asked.body).expect("a structure and no more"))
        .collect()
}

fn written_file_s_times_are_flushed(env: &Env) {
    let mut served = served(env);
    let path = served.path("file");
    let mut file = sys::open_with(&path, libc::O_RDWR).unwrap();
    file.write_all(b"new").unwrap();
    let stat = sys::fstat(&file).unwrap();
    assert!(stat.st_mtime > 1_000_000, "it is not 1970");
    assert_eq!(asked(&served).len(), 0);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    let asked = asked(&served);
    let arg = asked.last().expect("the times are flushed");
    assert_eq!(arg.valid, fattr::MTIME | fattr::CTIME | fattr::FH);
    assert_eq!(
        (arg.mtime, arg.mtimensec),
        (stat.st_mtime as u64, stat.st_mtime_nsec as u32)
    );
    assert_eq!(
        (arg.ctime, arg.ctimensec),
        (stat.st_ctime as u64, stat.st_ctime_nsec as u32)
    );
    assert_eq!(arg.fh, FILE + 1000);
    served.finish();
}

fn size_and_times_are_the_kernel_s(env: &Env) {
    let mut served = served(env);
    let path = served.path("file");
    sys::stat(&path).unwrap();
    {
        let mut model = served.model();
        model.node(FILE).attr.size = 3;
        model.node(FILE).attr.mtime = 77;
        model.node(FILE).attr.ctime = 88;
        model.node(FILE).attr.atime = 99;
        model.node(FILE).attr.uid = 5;
    }
    let flags = libc::AT_STATX_FORCE_SYNC;
    let stat = sys::statx(&path, flags, libc::STATX_BASIC_STATS).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 1);
    assert_eq!(stat.stx_size, CONTENTS.len() as u64);
    assert_eq!((stat.stx_mtime.tv_sec, stat.stx_ctime.tv_sec), (0, 0));
    assert_eq!((stat.stx_atime.tv_sec, stat.stx_uid), (99, 5));
    let stat = sys::stat(&path).unwrap();
    assert_eq!((stat.st_size as usize, stat.st_mtime), (CONTENTS.len(), 0));
    served.finish();
}

fn chosen_times_are_sent_and_kept(env: &Env) {
    let mut served = served(env);
    let path = served.path("file");
    let set = |atime, mtime| {
        utimensat(
            AT_FDCWD,
            &path,
            &atime,
            &mtime,
            UtimensatFlags::FollowSymlink,
        )
        .unwrap();
    };
    set(TimeSpec::new(1, 2), TimeSpec::new(3, 4));
    let arg = asked(&served)[0];
    assert_eq!(arg.valid, fattr::ATIME | fattr::MTIME | fattr::CTIME);
    assert_eq!((arg.mtime, arg.mtimensec), (3, 4));
    assert!(arg.ctime > 1_000_000);
    // The present time is the kernel's.
    served.clear_log();
    set(TimeSpec::UTIME_NOW, TimeSpec::UTIME_NOW);
    let arg = asked(&served)[0];
    let times = fattr::ATIME | fattr::ATIME_NOW | fattr::MTIME | fattr::CTIME;
    assert_eq!(arg.valid, times);
    let stat = sys::stat(&path).unwrap();
    assert_eq!(
        (stat.st_mtime as u64, stat.st_mtime_nsec as u32),
        (arg.mtime, arg.mtimensec)
    );
    served.finish();
}

fn truncation_sends_the_times(env: &Env) {
    let mut served = served(env);
    let path = served.path("file");
    truncate(&path, 4).unwrap();
    let arg = asked(&served)[0];
    let valid = fattr::SIZE | fattr::LOCKOWNER | fattr::MTIME | fattr::CTIME;
    assert_eq!(arg.valid, valid);
    let stat = sys::stat(&path).unwrap();
    assert_eq!((stat.st_size, stat.st_mtime as u64), (4, arg.mtime));
    served.finish();
}

fn chmod_sends_the_time_of_change(env: &Env) {
    let mut served = served(env);
    let path = served.path("file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let arg = asked(&served)[0];
    assert_eq!(arg.valid, fattr::MODE | fattr::CTIME);
    let stat = sys::stat(&path).unwrap();
    assert_eq!(
        (stat.st_ctime as u64, stat.st_ctime_nsec as u32),
        (arg.ctime, arg.ctimensec)
    );
    served.finish();
}

fn changed_xattrs_flush_the_time_of_change(env: &Env) {
    let mut served = served(env);
    Store::default().serve(&mut served.model());
    let path = served.path("file");
    xattrs::set(&path, "user.a", b"1", 0).unwrap();
    let arg = asked(&served)[0];
    assert_eq!(arg.valid, fattr::MTIME | fattr::CTIME);
    assert_eq!(arg.mtime, 0);
    assert_eq!(sys::stat(&path).unwrap().st_ctime as u64, arg.ctime);
    served.finish();
}

fn directories_are_the_daemon_s(env: &Env) {
    let mut served = served(env);
    Store::default().serve(&mut served.model());
    let path = served.path("dir");
    xattrs::set(&path, "user.a", b"1", 0).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let asked = asked(&served);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].valid, fattr::MODE);
    served.finish();
}

/// The nanoseconds that the daemon is sent when somebody sets a time with 123,456,789 of them, where
/// it keeps times in units of `time_gran`; and those of a time that the kernel sets.
#[track_caller]
fn nanoseconds(env: &Env, time_gran: u32) -> (u32, i64) {
    let config = InitConfig {
        flags: init_flags::WRITEBACK_CACHE | init_flags::BIG_WRITES,
        time_gran,
        ..Default::default()
    };
    let mut served = Served::new(Fs::with(env, |options| options, &config), Model::cached());
    let path = served.path("file");
    let mut file = sys::open_with(&path, libc::O_RDWR).unwrap();
    file.write_all(b"new").unwrap();
    let written = sys::fstat(&file).unwrap().st_mtime_nsec;
    let time = TimeSpec::new(1000, 123_456_789);
    utimensat(AT_FDCWD, &path, &time, &time, UtimensatFlags::FollowSymlink).unwrap();
    // What was written had its own times, which are sent first.
    let asked = asked(&served);
    let mut chosen = asked.iter().filter(|sent| sent.valid & fattr::ATIME != 0);
    let sent = *chosen.next().expect("a SETATTR of the time");
    assert_eq!((sent.atime, sent.mtime), (1000, 1000));
    assert_eq!(sent.atimensec, sent.mtimensec);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
    (sent.mtimensec, written)
}

fn granularity_is_the_daemon_s(env: &Env) {
    for (time_gran, expected) in [
        (1, 123_456_789),
        (100, 123_456_700),
        (1_000_000, 123_000_000),
        (1_000_000_000, 0),
    ] {
        let (sent, written) = nanoseconds(env, time_gran);
        assert_eq!(sent, expected, "{time_gran}");
        assert_eq!(written % i64::from(time_gran), 0, "{time_gran}");
    }
}

fn granularities_that_cannot_be(env: &Env) {
    for time_gran in [0, 1_000_000_001, u32::MAX] {
        assert_eq!(nanoseconds(env, time_gran).0, 123_456_789, "{time_gran}");
    }
}
