// SPDX-License-Identifier: GPL-2.0

//! Locks of `flock(2)`.

use super::posix_locks::{answer_close, answer_open};
use crate::{
    caller::{call, call_on, process, PATIENCE},
    env::Env,
    fs::{Fs, OPENED},
    sys, system,
    tests::tests,
};
use libc::{F_RDLCK, F_UNLCK, F_WRLCK, LOCK_EX, LOCK_NB, LOCK_SH, LOCK_UN, O_RDONLY, O_RDWR};
use nix::sys::{signal::Signal, wait::WaitStatus};
use rawfuse::{
    abi::{self, init_flags, lk_flags, release_flags, Opcode},
    Errno,
};
use std::{fs::File, io, time::Duration};

tests![
    what_is_on_the_wire,
    owner_is_the_open_file,
    release_gives_it_up,
    release_says_nothing_of_what_was_refused,
    errors_reach_the_caller,
    interrupted,
    killed_and_granted,
    kept_by_the_kernel,
    of_directories_kept_by_the_kernel,
    old_daemons_have_one_flag_for_all,
];

const HANDLE: u64 = 0x1122_3344_5566_7788;
const SHORT: Duration = Duration::from_millis(150);

/// A file system whose daemon keeps locks.
fn locking(env: &Env) -> Fs {
    Fs::with_flags(env, init_flags::FLOCK_LOCKS)
}

/// Calls `flock()`, and gives the request and what it came to.
#[track_caller]
fn flock(
    fs: &Fs,
    file: &File,
    operation: i32,
    answer: Result<(), Errno>,
) -> (Opcode, abi::LkIn, io::Result<()>) {
    let caller = call_on(file, move |file| sys::flock(file, operation));
    let request = fs.next();
    assert_eq!((request.header().len, request.nodeid()), (88, OPENED));
    match answer {
        Ok(()) => fs.reply_bytes(&request, &[]),
        Err(error) => fs.reply_error(&request, error),
    }
    (request.opcode(), request.arg(), caller.result())
}

fn what_is_on_the_wire(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let pid = std::process::id();
    for (operation, opcode, kind, pid) in [
        (LOCK_EX, Opcode::Setlkw, F_WRLCK, pid),
        (LOCK_SH, Opcode::Setlkw, F_RDLCK, pid),
        (LOCK_EX | LOCK_NB, Opcode::Setlk, F_WRLCK, pid),
        (LOCK_UN, Opcode::Setlkw, F_UNLCK, 0),
        (LOCK_UN | LOCK_NB, Opcode::Setlk, F_UNLCK, 0),
    ] {
        let (asked, arg, result) = flock(&fs, &file, operation, Ok(()));
        result.unwrap();
        assert_eq!((asked, arg.fh), (opcode, HANDLE));
        assert_eq!((arg.lk_flags, arg.padding), (lk_flags::FLOCK, 0));
        assert_eq!((arg.lk.start, arg.lk.end), (0, i64::MAX as u64));
        assert_eq!((arg.lk.r#type, arg.lk.pid), (kind as u32, pid));
    }
    fs.close_file(file);
}

fn owner_is_the_open_file(env: &Env) {
    let fs = locking(env);
    let (a, b) = (fs.open_file(O_RDONLY, 1), fs.open_file(O_RDONLY, 2));
    let owner = |file| flock(&fs, file, LOCK_SH, Ok(())).1.owner;
    let (of_a, of_b) = (owner(&a), owner(&b));
    assert_ne!(of_a, 0);
    assert_ne!(of_a, of_b);
    let again = a.try_clone().unwrap();
    assert_eq!(of_a, owner(&again));
    let (flush, release) = fs.close_file(b);
    assert_ne!(flush.lock_owner, of_b);
    assert_eq!(release.lock_owner, of_b);
    // It is the last descriptor that counts.
    let closer = call(move || drop(again));
    let flush = fs.expect(Opcode::Flush);
    fs.reply_bytes(&flush, &[]);
    closer.result();
    let (_, release) = fs.close_file(a);
    assert_eq!(release.lock_owner, of_a);
}

fn release_gives_it_up(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let (_, arg, result) = flock(&fs, &file, LOCK_EX, Ok(()));
    result.unwrap();
    let (_, release) = fs.close_file(file);
    assert_eq!(release.release_flags, release_flags::FLOCK_UNLOCK);
    assert_eq!((release.fh, release.lock_owner), (HANDLE, arg.owner));
    // Even if it was given up before.
    let file = fs.open_file(O_RDONLY, HANDLE);
    let (_, arg, result) = flock(&fs, &file, LOCK_UN, Ok(()));
    result.unwrap();
    let (_, release) = fs.close_file(file);
    assert_eq!(release.release_flags, release_flags::FLOCK_UNLOCK);
    assert_eq!(release.lock_owner, arg.owner);
}

fn release_says_nothing_of_what_was_refused(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let (_, _, result) = flock(&fs, &file, LOCK_EX, Err(Errno::EAGAIN));
    system::assert_errno(result, Errno::EAGAIN);
    let (_, release) = fs.close_file(file);
    assert_eq!((release.release_flags, release.lock_owner), (0, 0));
}

fn errors_reach_the_caller(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    // That the daemon has none is not remembered.
    for error in [Errno::ENOSYS, Errno::ENOLCK, Errno::ENOSYS] {
        let (_, _, result) = flock(&fs, &file, LOCK_SH, Err(error));
        system::assert_errno(result, error);
    }
    fs.close_file(file);
}

fn interrupted(env: &Env) {
    let fs = locking(env);
    let path = fs.path("x");
    let caller = process(|| {
        sys::ignore_by_handler(Signal::SIGUSR1);
        let file = sys::open(&path).expect("open");
        system::errno(sys::flock(&file, LOCK_EX))
    });
    answer_open(&fs);
    let request = fs.expect(Opcode::Setlkw);
    caller.signal(Signal::SIGUSR1);
    fs.expect(Opcode::Interrupt);
    fs.reply_error(&request, Errno::EINTR);
    let release = answer_close(&fs);
    assert_eq!(release.release_flags, 0);
    assert_eq!(caller.code(), libc::EINTR);
}

fn killed_and_granted(env: &Env) {
    let fs = locking(env);
    let path = fs.path("x");
    let caller = process(|| {
        let file = sys::open(&path).expect("open");
        system::errno(sys::flock(&file, LOCK_EX))
    });
    answer_open(&fs);
    let request = fs.expect(Opcode::Setlkw);
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    let killed = || {
        let status = caller.ended_within(PATIENCE);
        assert!(
            matches!(status, Some(WaitStatus::Signaled(_, Signal::SIGKILL, _))),
            "{status:?}"
        );
    };
    let release = if env.is_rust() {
        // Linux keeps the caller until the reply comes. Here it goes at once, and RELEASE comes
        // when it would have.
        let flush = fs.expect(Opcode::Flush);
        fs.reply_bytes(&flush, &[]);
        killed();
        fs.expect_silence(SHORT);
        fs.reply_bytes(&request, &[]);
        let release = fs.expect(Opcode::Release);
        fs.reply_bytes(&release, &[]);
        release.arg()
    } else {
        fs.reply_bytes(&request, &[]);
        let release = answer_close(&fs);
        killed();
        release
    };
    assert_eq!(release.release_flags, release_flags::FLOCK_UNLOCK);
    assert_eq!(release.lock_owner, request.arg::<abi::LkIn>().owner);
    fs.expect_silence(SHORT);
}

/// That locks conflict, and nobody is asked.
#[track_caller]
fn conflict(fs: &Fs, a: &File, b: &File) {
    sys::flock(a, LOCK_EX).unwrap();
    system::assert_errno(sys::flock(b, LOCK_SH | LOCK_NB), Errno::EAGAIN);
    let waiter = call_on(b, move |file| sys::flock(file, LOCK_SH));
    assert!(waiter.still_waits(SHORT));
    sys::flock(a, LOCK_UN).unwrap();
    waiter.result().unwrap();
    system::assert_errno(sys::flock(a, LOCK_EX | LOCK_NB), Errno::EAGAIN);
    sys::flock(a, LOCK_SH).unwrap();
    fs.expect_silence(Duration::from_millis(20));
}

fn kept_by_the_kernel(env: &Env) {
    // The flag is for fcntl() alone.
    let fs = Fs::with_flags(env, init_flags::POSIX_LOCKS);
    let (a, b) = (fs.open_file(O_RDWR, 1), fs.open_file(O_RDWR, 2));
    conflict(&fs, &a, &b);
    let c = fs.open_file(O_RDWR, 3);
    let (_, release) = fs.close_file(a);
    assert_eq!(release.release_flags, 0);
    // The other one is still there.
    system::assert_errno(sys::flock(&c, LOCK_EX | LOCK_NB), Errno::EAGAIN);
    fs.close_file(b);
    sys::flock(&c, LOCK_EX | LOCK_NB).unwrap();
    fs.close_file(c);
}

fn of_directories_kept_by_the_kernel(env: &Env) {
    let fs = locking(env);
    let open = || {
        let root = fs.dir.clone();
        let opener = call(move || sys::open_with(&root, O_RDONLY | libc::O_DIRECTORY));
        let opendir = fs.expect(Opcode::Opendir);
        fs.reply(&opendir, &abi::OpenOut::default());
        opener.result().unwrap()
    };
    conflict(&fs, &open(), &open());
    let release = fs.expect(Opcode::Releasedir);
    assert_eq!(release.arg::<abi::ReleaseIn>().release_flags, 0);
    fs.reply_bytes(&release, &[]);
}

fn old_daemons_have_one_flag_for_all(env: &Env) {
    for (flags, asked) in [
        (init_flags::POSIX_LOCKS, true),
        (init_flags::FLOCK_LOCKS, false),
    ] {
        let fs = Fs::with_minor(env, 16, flags);
        let file = fs.open_file(O_RDONLY, HANDLE);
        if asked {
            flock(&fs, &file, LOCK_EX, Ok(())).2.unwrap();
        } else {
            sys::flock(&file, LOCK_EX).unwrap();
        }
        fs.close_file(file);
    }
}
