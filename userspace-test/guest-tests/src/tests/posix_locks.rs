// SPDX-License-Identifier: GPL-2.0

//! Locks of `fcntl(2)`, and leases.

use crate::{
    caller::{call, call_on, process, process_with_our_files, Process, PATIENCE},
    env::Env,
    fs::{Fs, Req, OPENED},
    sys::{self, fcntl_lock, file_lock},
    system,
    tests::tests,
};
use libc::{F_GETLK, F_OFD_GETLK, F_OFD_SETLK, F_OFD_SETLKW, F_SETLK, F_SETLKW};
use libc::{F_RDLCK, F_UNLCK, F_WRLCK, O_RDWR};
use nix::sys::{
    signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal},
    wait::WaitStatus,
};
use rawfuse::{
    abi::{self, init_flags, open_flags, Opcode},
    Errno,
};
use std::{fs::File, io, time::Duration};

tests![
    getlk_on_the_wire,
    getlk_finds_nothing,
    getlk_of_an_open_file,
    getlk_of_an_unknown_process,
    getlk_replies_that_make_no_sense,
    setlk_on_the_wire,
    setlkw_waits,
    errors_reach_the_caller,
    flush_names_the_owner,
    owners,
    interrupted,
    restarted,
    killed_after_it_was_read,
    killed_and_not_granted,
    killed_and_granted_before_the_files_are_closed,
    killed_waiting_for_a_lock_of_the_open_file,
    killed_before_it_is_read,
    kept_by_the_kernel,
    kept_by_the_kernel_for_open_files,
    kept_by_the_kernel_until_they_are_given_up,
    leases,
];

const HANDLE: u64 = 0xfeed_f00d_0123_4567;
const OFFSET_MAX: u64 = i64::MAX as u64;
const SHORT: Duration = Duration::from_millis(150);

/// A file system whose daemon keeps locks.
fn locking(env: &Env) -> Fs {
    Fs::with_flags(env, init_flags::POSIX_LOCKS)
}

fn set(file: &File, command: i32, kind: i32, start: i64, len: i64) -> io::Result<()> {
    fcntl_lock(file, command, &mut file_lock(kind, start, len))
}

/// Asks for a lock in the way, and answers; gives what was asked, and what came back.
#[track_caller]
fn getlk(fs: &Fs, file: &File, command: i32, out: abi::FileLock) -> (Req, io::Result<libc::flock>) {
    let asker = call_on(file, move |file| {
        let mut lock = file_lock(F_WRLCK, 10, 20);
        fcntl_lock(file, command, &mut lock).map(|()| lock)
    });
    let request = fs.expect(Opcode::Getlk);
    fs.reply(&request, &abi::LkOut { lk: out });
    (request, asker.result())
}

fn getlk_on_the_wire(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let out = abi::FileLock {
        start: 5,
        end: OFFSET_MAX,
        r#type: F_RDLCK as u32,
        pid: std::process::id(),
    };
    let (request, found) = getlk(&fs, &file, F_GETLK, out);
    assert_eq!((request.header().len, request.nodeid()), (88, OPENED));
    let arg: abi::LkIn = request.arg();
    assert_eq!((arg.fh, arg.lk_flags, arg.padding), (HANDLE, 0, 0));
    assert_ne!(arg.owner, 0);
    let lk = arg.lk;
    assert_eq!((lk.start, lk.end), (10, 29));
    assert_eq!((lk.r#type, lk.pid), (F_WRLCK as u32, 0));
    let found = found.unwrap();
    assert_eq!((found.l_start, found.l_len), (5, 0));
    assert_eq!(i32::from(found.l_type), F_RDLCK);
    assert_eq!(found.l_pid as u32, std::process::id());
    fs.close_file(file);
}

fn getlk_finds_nothing(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    // What else is in the reply means nothing.
    let out = abi::FileLock {
        start: u64::MAX,
        end: 3,
        r#type: F_UNLCK as u32,
        pid: 1,
    };
    let (_, found) = getlk(&fs, &file, F_GETLK, out);
    let found = found.unwrap();
    assert_eq!(i32::from(found.l_type), F_UNLCK);
    assert_eq!((found.l_start, found.l_len, found.l_pid), (10, 20, 0));
    fs.close_file(file);
}

fn getlk_of_an_open_file(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let out = abi::FileLock {
        start: 7,
        end: 7,
        r#type: F_WRLCK as u32,
        pid: std::process::id(),
    };
    let (_, found) = getlk(&fs, &file, F_OFD_GETLK, out);
    let found = found.unwrap();
    // Nobody in particular has it.
    assert_eq!((found.l_start, found.l_len, found.l_pid), (7, 1, -1));
    fs.close_file(file);
}

fn getlk_of_an_unknown_process(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    for pid in [0, 4_000_000, u32::MAX] {
        let out = abi::FileLock {
            start: 0,
            end: OFFSET_MAX,
            r#type: F_WRLCK as u32,
            pid,
        };
        let (_, found) = getlk(&fs, &file, F_GETLK, out);
        assert_eq!(found.unwrap().l_pid, 0, "{pid}");
    }
    fs.close_file(file);
}

fn getlk_replies_that_make_no_sense(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let good = abi::FileLock {
        start: 0,
        end: 9,
        r#type: F_RDLCK as u32,
        pid: 1,
    };
    for wrong in [
        abi::FileLock { r#type: 3, ..good },
        abi::FileLock {
            r#type: u32::MAX,
            ..good
        },
        abi::FileLock {
            start: OFFSET_MAX + 1,
            end: OFFSET_MAX + 2,
            ..good
        },
        abi::FileLock {
            end: u64::MAX,
            ..good
        },
        abi::FileLock {
            start: 10,
            end: 9,
            ..good
        },
    ] {
        let (_, found) = getlk(&fs, &file, F_GETLK, wrong);
        system::assert_errno(found, Errno::EIO);
    }
    fs.close_file(file);
}

/// Does something with a file, and gives the request that comes of it.
#[track_caller]
fn asked(
    fs: &Fs,
    file: &File,
    opcode: Opcode,
    action: impl FnOnce(&File) -> io::Result<()> + Send + 'static,
) -> abi::LkIn {
    let caller = call_on(file, action);
    let request = fs.expect(opcode);
    assert_eq!((request.header().len, request.nodeid()), (88, OPENED));
    fs.reply_bytes(&request, &[]);
    caller.result().expect("the lock");
    request.arg()
}

fn setlk_on_the_wire(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let pid = std::process::id();
    for (kind, start, len, end, pid) in [
        (F_WRLCK, 0, 0, OFFSET_MAX, pid),
        (F_RDLCK, 3, 1, 3, pid),
        (F_RDLCK, i64::MAX, 1, OFFSET_MAX, pid),
        (F_UNLCK, 5, -2, 4, 0),
    ] {
        let action = move |file: &File| set(file, F_SETLK, kind, start, len);
        let arg = asked(&fs, &file, Opcode::Setlk, action);
        assert_eq!((arg.fh, arg.lk_flags), (HANDLE, 0));
        let start = if len < 0 { start + len } else { start } as u64;
        assert_eq!((arg.lk.start, arg.lk.end), (start, end));
        assert_eq!((arg.lk.r#type, arg.lk.pid), (kind as u32, pid));
    }
    // It is not asked for what it cannot be.
    system::assert_errno(set(&file, F_SETLK, F_RDLCK, -1, 1), Errno::EINVAL);
    fs.close_file(file);
}

fn setlkw_waits(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let taker = call_on(&file, move |file| set(file, F_SETLKW, F_WRLCK, 0, 10));
    let request = fs.expect(Opcode::Setlkw);
    assert!(taker.still_waits(SHORT));
    let arg: abi::LkIn = request.arg();
    assert_eq!((arg.lk.start, arg.lk.end, arg.lk_flags), (0, 9, 0));
    fs.reply_bytes(&request, &[]);
    taker.result().unwrap();
    fs.close_file(file);
}

fn errors_reach_the_caller(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    for (command, opcode, errors) in [
        (
            F_SETLK,
            Opcode::Setlk,
            // That the daemon has none is not remembered.
            [Errno::EAGAIN, Errno::ENOSYS, Errno::ENOSYS],
        ),
        (
            F_SETLKW,
            Opcode::Setlkw,
            [Errno::EDEADLK, Errno::ENOLCK, Errno::ENOSYS],
        ),
        (
            F_GETLK,
            Opcode::Getlk,
            [Errno::EINVAL, Errno::ENOSYS, Errno::ENOSYS],
        ),
    ] {
        for error in errors {
            let taker = call_on(&file, move |file| set(file, command, F_WRLCK, 0, 10));
            let request = fs.expect(opcode);
            fs.reply_error(&request, error);
            system::assert_errno(taker.result(), error);
        }
    }
    fs.close_file(file);
}

fn flush_names_the_owner(env: &Env) {
    let fs = locking(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let arg = asked(&fs, &file, Opcode::Setlk, |file| {
        set(file, F_SETLK, F_WRLCK, 0, 10)
    });
    // The kernel asks for nothing but this.
    let (flush, release) = fs.close_file(file);
    assert_eq!((flush.fh, flush.lock_owner), (HANDLE, arg.owner));
    assert_eq!((release.release_flags, release.lock_owner), (0, 0));
}

fn owners(env: &Env) {
    let fs = locking(env);
    let path = fs.path("x");
    // The first is another process.
    let other = process(|| {
        let file = sys::open_with(&path, O_RDWR).expect("open");
        system::errno(set(&file, F_SETLK, F_WRLCK, 0, 10))
    });
    answer_open(&fs);
    let request = fs.expect(Opcode::Setlk);
    let theirs: abi::LkIn = request.arg();
    assert_eq!(theirs.lk.pid as i32, other.pid().as_raw());
    fs.reply_bytes(&request, &[]);
    answer_close(&fs);
    assert_eq!(other.code(), 0);

    let (a, b) = (fs.open_file(O_RDWR, 1), fs.open_file(O_RDWR, 2));
    let process = |file| {
        let lock = |file: &File| set(file, F_SETLK, F_WRLCK, 0, 10);
        asked(&fs, file, Opcode::Setlk, lock).owner
    };
    let open_file = |file| {
        let lock = |file: &File| set(file, F_OFD_SETLK, F_WRLCK, 0, 10);
        asked(&fs, file, Opcode::Setlk, lock).owner
    };
    assert_eq!(process(&a), process(&b));
    assert_ne!(process(&a), theirs.owner);
    let (of_a, of_b) = (open_file(&a), open_file(&b));
    assert_eq!(of_a, open_file(&a));
    assert_ne!(of_a, of_b);
    assert_ne!(of_a, process(&a));
    fs.close_file(a);
    fs.close_file(b);
}

/// Answers `LOOKUP` and `OPEN`.
#[track_caller]
pub(super) fn answer_open(fs: &Fs) {
    answer_open_with(fs, 0);
}

/// Like `answer_open`, with `open_flags`.
#[track_caller]
fn answer_open_with(fs: &Fs, open_flags: u32) {
    let lookup = fs.expect(Opcode::Lookup);
    let entry = abi::EntryOut {
        nodeid: OPENED,
        attr: abi::Attr {
            ino: OPENED,
            mode: libc::S_IFREG | 0o644,
            nlink: 1,
            ..Default::default()
        },
        ..Default::default()
    };
    fs.reply(&lookup, &entry);
    let open = fs.expect(Opcode::Open);
    let out = abi::OpenOut {
        fh: HANDLE,
        open_flags,
        ..Default::default()
    };
    fs.reply(&open, &out);
}

/// Answers `FLUSH` and `RELEASE`, and gives the latter.
#[track_caller]
pub(super) fn answer_close(fs: &Fs) -> abi::ReleaseIn {
    let flush = fs.expect(Opcode::Flush);
    fs.reply_bytes(&flush, &[]);
    let release = fs.expect(Opcode::Release);
    fs.reply_bytes(&release, &[]);
    release.arg()
}

/// Lets a signal do nothing but end what it interrupts, or make it begin again.
#[allow(unsafe_code)]
fn handle(signal: Signal, flags: SaFlags) {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(SigHandler::Handler(nothing), flags, SigSet::empty());
    // SAFETY: The handler does nothing.
    unsafe { sigaction(signal, &action) }.expect("sigaction");
}

/// A process that waits for a lock on bytes 3 to 12, and its request at the daemon.
#[track_caller]
fn waiting(fs: &Fs, command: i32, flags: SaFlags) -> (Process, Req) {
    let path = fs.path("x");
    let caller = process(|| {
        handle(Signal::SIGUSR1, flags);
        let file = sys::open_with(&path, O_RDWR).expect("open");
        system::errno(set(&file, command, F_WRLCK, 3, 10))
    });
    answer_open(fs);
    let request = fs.expect(Opcode::Setlkw);
    (caller, request)
}

fn interrupted(env: &Env) {
    let fs = locking(env);
    let (caller, request) = waiting(&fs, F_SETLKW, SaFlags::empty());
    caller.signal(Signal::SIGUSR1);
    let interrupt = fs.expect(Opcode::Interrupt);
    assert_eq!(interrupt.arg::<abi::InterruptIn>().unique, request.unique());
    assert!(caller.ended_within(SHORT).is_none());
    fs.reply_error(&request, Errno::EINTR);
    answer_close(&fs);
    assert_eq!(caller.code(), libc::EINTR);
}

fn restarted(env: &Env) {
    let fs = locking(env);
    let (caller, mut request) = waiting(&fs, F_SETLKW, SaFlags::SA_RESTART);
    for _ in 0..3 {
        caller.signal(Signal::SIGUSR1);
        fs.expect(Opcode::Interrupt);
        fs.reply_error(&request, Errno::EINTR);
        let again = fs.expect(Opcode::Setlkw);
        assert_ne!(again.unique(), request.unique());
        request = again;
    }
    fs.reply_bytes(&request, &[]);
    answer_close(&fs);
    assert_eq!(caller.code(), 0);
}

#[track_caller]
fn assert_killed(caller: &Process) {
    let status = caller.ended_within(PATIENCE);
    assert!(
        matches!(status, Some(WaitStatus::Signaled(_, Signal::SIGKILL, _))),
        "{status:?}"
    );
}

fn killed_after_it_was_read(env: &Env) {
    let fs = locking(env);
    let (caller, request) = waiting(&fs, F_SETLKW, SaFlags::empty());
    let arg: abi::LkIn = request.arg();
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if !env.is_rust() {
        // The files are closed after the reply, and the lock goes by FLUSH.
        assert!(caller.ended_within(SHORT).is_none());
        fs.reply_bytes(&request, &[]);
        answer_close(&fs);
        assert_killed(&caller);
        return;
    }
    // FLUSH comes before anything is granted.
    let flush = fs.expect(Opcode::Flush);
    assert_eq!(flush.arg::<abi::FlushIn>().lock_owner, arg.owner);
    fs.reply_bytes(&flush, &[]);
    assert_killed(&caller);
    fs.expect_silence(SHORT);
    // The daemon grants it all the same: it must not keep it for the dead.
    fs.reply_bytes(&request, &[]);
    let unlock = fs.expect(Opcode::Setlk);
    assert_eq!(unlock.nodeid(), OPENED);
    let given_up: abi::LkIn = unlock.arg();
    assert_eq!((given_up.fh, given_up.owner), (arg.fh, arg.owner));
    assert_eq!((given_up.lk.start, given_up.lk.end), (3, 12));
    assert_eq!((given_up.lk.r#type, given_up.lk.pid), (F_UNLCK as u32, 0));
    assert_eq!(given_up.lk_flags, 0);
    // The handle is the daemon's until all is settled.
    fs.expect_silence(SHORT);
    fs.reply_bytes(&unlock, &[]);
    let release = fs.expect(Opcode::Release);
    fs.reply_bytes(&release, &[]);
}

fn killed_and_not_granted(env: &Env) {
    let fs = locking(env);
    let (caller, request) = waiting(&fs, F_SETLKW, SaFlags::empty());
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if env.is_rust() {
        let flush = fs.expect(Opcode::Flush);
        fs.reply_bytes(&flush, &[]);
        fs.expect_silence(SHORT);
        fs.reply_error(&request, Errno::EINTR);
        let release = fs.expect(Opcode::Release);
        fs.reply_bytes(&release, &[]);
    } else {
        fs.reply_error(&request, Errno::EINTR);
        answer_close(&fs);
    }
    assert_killed(&caller);
}

fn killed_and_granted_before_the_files_are_closed(env: &Env) {
    let fs = locking(env);
    let path = fs.path("x");
    // Two processes share one table of descriptors: it stays when one of them is killed, and with
    // it what it has locked.
    let caller = process(|| {
        let file = sys::open_with(&path, O_RDWR).expect("open");
        let waiter = process_with_our_files(|| system::errno(set(&file, F_SETLKW, F_WRLCK, 3, 10)));
        let status = waiter.ended_within(PATIENCE);
        let killed = matches!(status, Some(WaitStatus::Signaled(_, Signal::SIGKILL, _)));
        let result = system::errno(set(&file, F_SETLK, F_RDLCK, 0, 1));
        i32::from(!killed) + 2 * result
    });
    answer_open(&fs);
    let request = fs.expect(Opcode::Setlkw);
    let waiter = nix::unistd::Pid::from_raw(request.header().pid as i32);
    assert_ne!(waiter, caller.pid());
    nix::sys::signal::kill(waiter, Signal::SIGKILL).unwrap();
    fs.expect(Opcode::Interrupt);
    // Its owner is still there, and goes on when the waiter is gone.
    let next = if env.is_rust() {
        let next = fs.expect(Opcode::Setlk);
        fs.reply_bytes(&request, &[]);
        fs.expect_silence(SHORT);
        next
    } else {
        fs.expect_silence(SHORT);
        fs.reply_bytes(&request, &[]);
        fs.expect(Opcode::Setlk)
    };
    let (theirs, ours) = (request.arg::<abi::LkIn>(), next.arg::<abi::LkIn>());
    assert_eq!(ours.owner, theirs.owner);
    assert_eq!(ours.lk.r#type, F_RDLCK as u32);
    fs.reply_bytes(&next, &[]);
    answer_close(&fs);
    assert_eq!(caller.code(), 0);
}

fn killed_waiting_for_a_lock_of_the_open_file(env: &Env) {
    let fs = locking(env);
    let (caller, request) = waiting(&fs, F_OFD_SETLKW, SaFlags::empty());
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if env.is_rust() {
        let flush = fs.expect(Opcode::Flush);
        fs.reply_bytes(&flush, &[]);
        assert_killed(&caller);
        fs.expect_silence(SHORT);
        fs.reply_bytes(&request, &[]);
        // It goes with the open file.
        let release = fs.expect(Opcode::Release);
        fs.reply_bytes(&release, &[]);
    } else {
        fs.reply_bytes(&request, &[]);
        answer_close(&fs);
        assert_killed(&caller);
    }
    fs.expect_silence(SHORT);
}

fn killed_before_it_is_read(env: &Env) {
    let fs = locking(env);
    let path = fs.path("x");
    let caller = process(|| {
        let file = sys::open_with(&path, O_RDWR).expect("open");
        system::errno(set(&file, F_SETLKW, F_WRLCK, 3, 10))
    });
    // A caller that asks nothing when it closes can be waited for before the daemon reads again.
    answer_open_with(&fs, open_flags::NOFLUSH);
    assert!(fs.channel.wait_readable(PATIENCE).unwrap());
    caller.signal(Signal::SIGKILL);
    assert_killed(&caller);
    // The daemon never sees it.
    let release = fs.expect(Opcode::Release);
    fs.reply_bytes(&release, &[]);
}

fn kept_by_the_kernel(env: &Env) {
    // The daemon does not take the flag.
    let fs = Fs::new(env);
    let path = fs.path("x");
    let (mut from_child, mut to_parent) = io::pipe().unwrap();
    let (mut from_parent, mut to_child) = io::pipe().unwrap();
    use io::{Read, Write};
    let other = process(|| {
        let file = sys::open_with(&path, O_RDWR).expect("open");
        let result = system::errno(set(&file, F_SETLK, F_WRLCK, 5, 10));
        to_parent.write_all(&[result as u8]).unwrap();
        from_parent.read_exact(&mut [0]).unwrap();
        0
    });
    answer_open(&fs);
    let mut result = [1];
    from_child.read_exact(&mut result).unwrap();
    assert_eq!(result, [0]);
    let file = fs.open_file(O_RDWR, 2);
    system::assert_errno(set(&file, F_SETLK, F_RDLCK, 14, 1), Errno::EAGAIN);
    set(&file, F_SETLK, F_RDLCK, 15, 1).unwrap();
    let mut lock = file_lock(F_RDLCK, 0, 0);
    fcntl_lock(&file, F_GETLK, &mut lock).unwrap();
    assert_eq!((lock.l_start, lock.l_len), (5, 10));
    assert_eq!(lock.l_pid, other.pid().as_raw());
    fs.expect_silence(SHORT);
    let waiter = call_on(&file, move |file| set(file, F_SETLKW, F_WRLCK, 0, 0));
    assert!(waiter.still_waits(SHORT));
    // Closing gives it up, after FLUSH.
    to_child.write_all(&[0]).unwrap();
    let flush = fs.expect(Opcode::Flush);
    assert!(waiter.still_waits(SHORT));
    fs.reply_bytes(&flush, &[]);
    waiter.result().unwrap();
    let release = fs.expect(Opcode::Release);
    fs.reply_bytes(&release, &[]);
    assert_eq!(other.code(), 0);
    fs.close_file(file);
}

fn kept_by_the_kernel_for_open_files(env: &Env) {
    // The flag is for flock() alone.
    let fs = Fs::with_flags(env, init_flags::FLOCK_LOCKS);
    let (a, b) = (fs.open_file(O_RDWR, 1), fs.open_file(O_RDWR, 2));
    set(&a, F_OFD_SETLK, F_WRLCK, 0, 10).unwrap();
    system::assert_errno(set(&b, F_OFD_SETLK, F_RDLCK, 0, 1), Errno::EAGAIN);
    let mut lock = file_lock(F_RDLCK, 0, 0);
    fcntl_lock(&b, F_OFD_GETLK, &mut lock).unwrap();
    assert_eq!((lock.l_start, lock.l_len, lock.l_pid), (0, 10, -1));
    assert_eq!(i32::from(lock.l_type), F_WRLCK);
    fs.expect_silence(SHORT);
    fs.close_file(a);
    set(&b, F_OFD_SETLK, F_WRLCK, 0, 10).unwrap();
    fs.close_file(b);
}

fn kept_by_the_kernel_until_they_are_given_up(env: &Env) {
    let fs = Fs::new(env);
    let (a, b) = (fs.open_file(O_RDWR, 1), fs.open_file(O_RDWR, 2));
    set(&a, F_OFD_SETLK, F_WRLCK, 0, 10).unwrap();
    let waiter = call_on(&b, move |file| set(file, F_OFD_SETLKW, F_WRLCK, 0, 1));
    assert!(waiter.still_waits(SHORT));
    set(&a, F_OFD_SETLK, F_UNLCK, 0, 1).unwrap();
    waiter.result().unwrap();
    fs.expect_silence(Duration::from_millis(20));
    fs.close_file(a);
    fs.close_file(b);
}

fn leases(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(libc::O_RDONLY, 1);
    sys::ignore_by_handler(Signal::SIGIO);
    sys::fcntl(&file, libc::F_SETLEASE, F_RDLCK).unwrap();
    assert_eq!(
        sys::fcntl(&file, libc::F_GETLEASE, 0).unwrap() as i32,
        F_RDLCK
    );
    // Who would write has to wait until it is given up, and the daemon does not hear of it.
    let path = fs.path("x");
    let writer = call(move || sys::open_with(&path, O_RDWR | libc::O_NONBLOCK));
    system::assert_errno(writer.result(), Errno::EAGAIN);
    fs.expect_silence(SHORT);
    sys::fcntl(&file, libc::F_SETLEASE, F_UNLCK).unwrap();
    let other = fs.open_file(O_RDWR, 2);
    system::assert_errno(sys::fcntl(&file, libc::F_SETLEASE, F_RDLCK), Errno::EAGAIN);
    fs.close_file(other);
    fs.close_file(file);
    // Directories have none.
    let root = fs.dir.clone();
    let opener = call(move || sys::open_with(&root, libc::O_RDONLY | libc::O_DIRECTORY));
    let opendir = fs.expect(Opcode::Opendir);
    fs.reply(&opendir, &abi::OpenOut::default());
    let dir = opener.result().unwrap();
    system::assert_errno(sys::fcntl(&dir, libc::F_SETLEASE, F_RDLCK), Errno::EINVAL);
    drop(dir);
    let release = fs.expect(Opcode::Releasedir);
    fs.reply_bytes(&release, &[]);
}
