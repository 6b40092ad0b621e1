// SPDX-License-Identifier: GPL-2.0

//! Symbolic links.

use crate::{
    caller::{call, process, Process, PATIENCE},
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, CONTENTS, LINK},
    sys, system,
    tests::tests,
};
use nix::sys::{signal::Signal, wait::WaitStatus};
use rawfuse::{
    abi::{init_flags, NotifyCode, NotifyInvalInodeOut, Opcode},
    Errno,
};
use std::{ffi::OsString, os::unix::ffi::OsStrExt, time::Duration};
use zerocopy::IntoBytes;

tests![
    what_is_on_the_wire,
    is_followed,
    is_read_each_time,
    may_be_long,
    too_long_a_target,
    empty_target,
    zero_byte_ends_it,
    error_reaches_the_caller,
    loop_is_found,
    leads_out_of_the_file_system,
    cached_text_is_read_once,
    cached_text_is_followed_without_requests,
    cached_text_is_invalidated,
    cached_text_is_reclaimed,
    cached_texts_of_every_length,
    errors_are_not_cached,
    readers_wait_for_one_answer,
    killed_reader_leaves_it_to_others,
    reading_changes_the_time_of_access,
];

const SHORT: Duration = Duration::from_millis(150);

fn served(env: &Env, target: &[u8]) -> Served {
    let mut model = Model::cached();
    model.add(LINK, libc::S_IFLNK | 0o777, target);
    Served::new(Fs::new(env), model)
}

/// The same, where what links say is cached.
fn cached(env: &Env, target: &[u8]) -> Served {
    let mut model = Model::cached();
    model.add(LINK, libc::S_IFLNK | 0o777, target);
    Served::new(Fs::with_flags(env, init_flags::CACHE_SYMLINKS), model)
}

/// What the link says.
#[track_caller]
fn text(served: &Served) -> OsString {
    sys::readlink(&served.path("link")).unwrap()
}

fn what_is_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("l");
    let reader = call(move || sys::readlink(&path));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(LINK));
    let readlink = fs.expect(Opcode::Readlink);
    assert_eq!((readlink.header().len, readlink.nodeid()), (40, LINK));
    fs.reply_bytes(&readlink, b"some/where");
    assert_eq!(reader.result().unwrap(), "some/where");
}

fn is_followed(env: &Env) {
    let mut served = served(env, b"file");
    assert_eq!(sys::contents(&served.path("link")).unwrap(), CONTENTS);
    assert_eq!(sys::lstat(&served.path("link")).unwrap().st_ino, LINK);
    served.finish();
}

fn is_read_each_time(env: &Env) {
    let mut served = served(env, b"file");
    for round in 1..=3 {
        sys::readlink(&served.path("link")).unwrap();
        assert_eq!(served.count(Opcode::Readlink), round);
    }
    served.finish();
}

fn may_be_long(env: &Env) {
    for len in [1, 4094, 4095] {
        let target = vec![b't'; len];
        let mut served = served(env, &target);
        let read = sys::readlink(&served.path("link")).unwrap();
        assert_eq!(read.as_bytes(), target, "{len} bytes");
        served.finish();
    }
}

fn too_long_a_target(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("l");
    let reader = call(move || sys::readlink(&path));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(LINK));
    let readlink = fs.expect(Opcode::Readlink);
    system::assert_errno(
        fs.channel.reply_bytes(readlink.unique(), &[&[b't'; 4096]]),
        Errno::EINVAL,
    );
    system::assert_errno(reader.result(), Errno::EIO);
}

fn empty_target(env: &Env) {
    let mut served = served(env, b"");
    assert_eq!(sys::readlink(&served.path("link")).unwrap(), "");
    served.finish();
}

fn zero_byte_ends_it(env: &Env) {
    let mut served = served(env, b"file\0nonsense");
    assert_eq!(sys::readlink(&served.path("link")).unwrap(), "file");
    assert_eq!(sys::contents(&served.path("link")).unwrap(), CONTENTS);
    served.finish();
}

fn error_reaches_the_caller(env: &Env) {
    let mut served = served(env, b"file");
    served.hook(|req| (req.opcode() == Opcode::Readlink).then_some(Answer::Error(Errno::EDOM)));
    system::assert_errno(sys::readlink(&served.path("link")), Errno::EDOM);
    system::assert_errno(sys::stat(&served.path("link")), Errno::EDOM);
    served.finish();
}

fn loop_is_found(env: &Env) {
    let mut served = served(env, b"link");
    system::assert_errno(sys::stat(&served.path("link")), Errno::ELOOP);
    served.finish();
}

fn leads_out_of_the_file_system(env: &Env) {
    let mut served = served(env, b"/proc/self/stat");
    assert_eq!(
        sys::stat(&served.path("link")).unwrap().st_dev,
        sys::stat("/proc".as_ref()).unwrap().st_dev
    );
    served.finish();
}

fn cached_text_is_read_once(env: &Env) {
    let mut served = cached(env, b"file");
    for _ in 1..=3 {
        assert_eq!(text(&served), "file");
        assert_eq!(sys::contents(&served.path("link")).unwrap(), CONTENTS);
    }
    assert_eq!(served.count(Opcode::Readlink), 1);
    served.finish();
}

fn cached_text_is_followed_without_requests(env: &Env) {
    let mut served = cached(env, b"dir");
    let inner = served.path("link/inner");
    sys::stat(&inner).unwrap();
    served.clear_log();
    for _ in 1..=100 {
        sys::stat(&inner).unwrap();
    }
    assert_eq!(served.model().opcodes(), []);
    served.finish();
}

fn inval_inode(fs: &Fs, off: i64) {
    let out = NotifyInvalInodeOut {
        ino: LINK,
        off,
        len: 0,
    };
    fs.channel
        .notify(NotifyCode::InvalInode, &[out.as_bytes()])
        .expect("the notification");
}

fn cached_text_is_invalidated(env: &Env) {
    let mut served = cached(env, b"before");
    assert_eq!(text(&served), "before");
    served.model().node(LINK).data = b"after".to_vec();
    assert_eq!(text(&served), "before");
    // This is for the attributes.
    inval_inode(&served, -1);
    assert_eq!(text(&served), "before");
    assert_eq!(served.count(Opcode::Readlink), 1);
    inval_inode(&served, 0);
    assert_eq!(text(&served), "after");
    assert_eq!(text(&served), "after");
    assert_eq!(served.count(Opcode::Readlink), 2);
    served.finish();
}

fn cached_text_is_reclaimed(env: &Env) {
    let mut served = cached(env, b"before");
    assert_eq!(text(&served), "before");
    served.model().node(LINK).data = b"after".to_vec();
    system::drop_caches(1);
    assert_eq!(text(&served), "after");
    served.finish();
}

fn cached_texts_of_every_length(env: &Env) {
    let long = [b't'; 4095];
    for (target, read) in [
        (&b""[..], &b""[..]),
        (b"\0", b""),
        (b"t", b"t"),
        (b"file\0nonsense", b"file"),
        (&long[1..], &long[1..]),
        (&long, &long),
    ] {
        let mut served = cached(env, target);
        for _ in 1..=2 {
            assert_eq!(text(&served).as_bytes(), read, "{} bytes", target.len());
        }
        assert_eq!(served.count(Opcode::Readlink), 1);
        served.finish();
    }
}

fn errors_are_not_cached(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::CACHE_SYMLINKS);
    let path = fs.path("l");
    let read = move || {
        let path = path.clone();
        call(move || sys::readlink(&path))
    };
    let reader = read();
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(LINK));
    fs.reply_error(&fs.expect(Opcode::Readlink), Errno::EDOM);
    system::assert_errno(reader.result(), Errno::EDOM);
    // One that is too long is none.
    let reader = read();
    let readlink = fs.expect(Opcode::Readlink);
    let replied = fs.channel.reply_bytes(readlink.unique(), &[&[b't'; 4096]]);
    system::assert_errno(replied, Errno::EINVAL);
    system::assert_errno(reader.result(), Errno::EIO);
    let reader = read();
    fs.reply_bytes(&fs.expect(Opcode::Readlink), b"at last");
    assert_eq!(reader.result().unwrap(), "at last");
    assert_eq!(read().result().unwrap(), "at last");
}

fn readers_wait_for_one_answer(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::CACHE_SYMLINKS);
    let path = fs.path("l");
    let read = move || {
        let path = path.clone();
        call(move || sys::readlink(&path))
    };
    let first = read();
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(LINK));
    let readlink = fs.expect(Opcode::Readlink);
    let second = read();
    fs.expect_silence(SHORT);
    assert!(second.still_waits(SHORT));
    fs.reply_bytes(&readlink, b"file");
    assert_eq!(first.result().unwrap(), "file");
    assert_eq!(second.result().unwrap(), "file");
}

fn killed_reader_leaves_it_to_others(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::CACHE_SYMLINKS);
    let (path, same) = (fs.path("l"), fs.path("l"));
    let killed = process(|| system::errno(sys::readlink(&path)));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(LINK));
    let readlink = fs.expect(Opcode::Readlink);
    let other = process(|| system::errno(sys::readlink(&same)));
    fs.expect_silence(SHORT);
    killed.signal(Signal::SIGKILL);
    if env.is_rust() {
        // The request is the killed reader's alone.
        assert_eq!(signal_that_ended(&killed), Some(Signal::SIGKILL));
        fs.expect(Opcode::Interrupt);
        let again = fs.expect(Opcode::Readlink);
        fs.reply_bytes(&readlink, b"too late");
        // Who only waits can be killed as well.
        let third = process(|| system::errno(sys::readlink(&same)));
        fs.expect_silence(SHORT);
        third.signal(Signal::SIGKILL);
        assert_eq!(signal_that_ended(&third), Some(Signal::SIGKILL));
        fs.reply_bytes(&again, b"file");
    } else {
        fs.expect(Opcode::Interrupt);
        assert_eq!(killed.ended_within(SHORT), None);
        fs.reply_bytes(&readlink, b"file");
    }
    assert_eq!(other.code(), 0);
    assert_eq!(call(move || sys::readlink(&path)).result().unwrap(), "file");
}

fn signal_that_ended(process: &Process) -> Option<Signal> {
    match process.ended_within(PATIENCE) {
        Some(WaitStatus::Signaled(_, signal, _)) => Some(signal),
        _ => None,
    }
}

fn reading_changes_the_time_of_access(env: &Env) {
    let mut served = cached(env, b"file");
    let getattrs = || {
        sys::lstat(&served.path("link")).unwrap();
        served.count(Opcode::Getattr)
    };
    assert_eq!(getattrs(), 0);
    text(&served);
    assert_eq!(getattrs(), 1);
    // That was the daemon's doing; it does not know of this.
    text(&served);
    assert_eq!(getattrs(), 1);
    served.finish();
}
