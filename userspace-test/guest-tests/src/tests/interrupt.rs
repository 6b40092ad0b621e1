// SPDX-License-Identifier: GPL-2.0

//! Signals to callers that wait.

use crate::{
    caller::{eventually, process, Process, PATIENCE},
    env::Env,
    fs::{Fs, Req},
    model::{Model, FILE},
    sys, system,
    tests::tests,
};
use nix::sys::{
    signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal},
    wait::WaitStatus,
};
use rawfuse::{
    abi::{self, Opcode, OutHeader},
    Errno,
};
use std::{path::Path, time::Duration};
use zerocopy::IntoBytes;

tests![
    interrupt_on_the_wire,
    interrupted_before_it_is_read,
    comes_before_other_requests,
    comes_once,
    answered_eagain_comes_again,
    answered_enosys_comes_never_again,
    answered_with_nonsense,
    may_be_ignored,
    after_the_reply_it_is_gone,
    killed_before_it_is_read,
    killed_after_it_was_read,
    killed_lookup_is_forgotten,
    killed_open_is_released,
    killed_while_another_waits,
];

const SHORT: Duration = Duration::from_millis(150);

/// A process that stats, and that a `SIGUSR1` does not kill.
fn stat_process(path: &Path) -> Process {
    extern "C" fn nothing(_: i32) {}
    process(|| {
        let action = SigAction::new(
            SigHandler::Handler(nothing),
            SaFlags::empty(),
            SigSet::empty(),
        );
        #[allow(unsafe_code)]
        // SAFETY: The handler does nothing.
        unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("sigaction");
        system::errno(sys::stat(path))
    })
}

/// A file system, a process that looks a name up in it, and its request at the daemon.
struct Waiting {
    fs: Fs,
    caller: Process,
    lookup: Req,
}

impl Waiting {
    #[track_caller]
    fn new(env: &Env) -> Self {
        let fs = Fs::new(env);
        let caller = stat_process(&fs.path("x"));
        let lookup = fs.expect(Opcode::Lookup);
        Self { fs, caller, lookup }
    }

    #[track_caller]
    fn interrupted(env: &Env) -> (Self, Req) {
        let waiting = Self::new(env);
        waiting.caller.signal(Signal::SIGUSR1);
        let interrupt = waiting.fs.expect(Opcode::Interrupt);
        (waiting, interrupt)
    }

    /// Answers an `INTERRUPT`.
    fn answer(&self, interrupt: &Req, error: i32) -> std::io::Result<usize> {
        let header = OutHeader {
            len: 16,
            error,
            unique: interrupt.unique(),
        };
        self.fs.channel.write(&[header.as_bytes()])
    }

    #[track_caller]
    fn end(self) {
        self.fs.reply_error(&self.lookup, Errno::EINTR);
        assert_eq!(self.caller.code(), libc::EINTR);
    }
}

fn interrupt_on_the_wire(env: &Env) {
    let (waiting, interrupt) = Waiting::interrupted(env);
    let header = interrupt.header();
    let unique = waiting.lookup.unique();
    assert_eq!(header.len, 48);
    assert_eq!(header.unique, unique | abi::UNIQUE_INTERRUPT);
    assert_eq!(
        (header.nodeid, header.uid, header.gid, header.pid),
        (0, 0, 0, 0)
    );
    assert_eq!(interrupt.arg::<abi::InterruptIn>().unique, unique);
    // The caller waits on: it is for the daemon to end the request.
    assert!(waiting.caller.ended_within(SHORT).is_none());
    waiting.end();
}

fn interrupted_before_it_is_read(env: &Env) {
    let fs = Fs::new(env);
    let caller = stat_process(&fs.path("x"));
    assert!(fs.channel.wait_readable(PATIENCE).unwrap());
    caller.signal(Signal::SIGUSR1);
    std::thread::sleep(SHORT);
    // What nobody has seen needs no interrupt: the request comes first, and then that.
    let lookup = fs.expect(Opcode::Lookup);
    let interrupt = fs.expect(Opcode::Interrupt);
    assert_eq!(interrupt.unique(), lookup.unique() | 1);
    fs.reply_error(&lookup, Errno::EINTR);
    assert_eq!(caller.code(), libc::EINTR);
}

fn comes_before_other_requests(env: &Env) {
    let fs = Fs::with_flags(env, abi::init_flags::PARALLEL_DIROPS);
    let first = stat_process(&fs.path("x"));
    let lookup = fs.expect(Opcode::Lookup);
    let second = stat_process(&fs.path("y"));
    assert!(fs.channel.wait_readable(PATIENCE).unwrap());
    first.signal(Signal::SIGUSR1);
    // It does so when it has sent the interrupt.
    first.sleeps_killably();
    let interrupt = fs.expect(Opcode::Interrupt);
    assert_eq!(interrupt.unique(), lookup.unique() | 1);
    let other = fs.expect(Opcode::Lookup);
    fs.reply_error(&lookup, Errno::EINTR);
    fs.reply_error(&other, Errno::ENOENT);
    assert_eq!((first.code(), second.code()), (libc::EINTR, libc::ENOENT));
}

fn comes_once(env: &Env) {
    let (waiting, _interrupt) = Waiting::interrupted(env);
    for _ in 0..3 {
        waiting.caller.signal(Signal::SIGUSR1);
        waiting.fs.expect_silence(Duration::from_millis(50));
    }
    waiting.end();
}

fn answered_eagain_comes_again(env: &Env) {
    let (waiting, mut interrupt) = Waiting::interrupted(env);
    for _ in 0..3 {
        waiting
            .answer(&interrupt, -libc::EAGAIN)
            .expect("the answer");
        let again = waiting.fs.expect(Opcode::Interrupt);
        assert_eq!(again.unique(), interrupt.unique());
        interrupt = again;
    }
    waiting.end();
}

fn answered_enosys_comes_never_again(env: &Env) {
    let (waiting, interrupt) = Waiting::interrupted(env);
    waiting
        .answer(&interrupt, -libc::ENOSYS)
        .expect("the answer");
    waiting.fs.reply_error(&waiting.lookup, Errno::EINTR);
    assert_eq!(waiting.caller.code(), libc::EINTR);
    let fs = waiting.fs;
    let caller = stat_process(&fs.path("x"));
    let lookup = fs.expect(Opcode::Lookup);
    caller.signal(Signal::SIGUSR1);
    fs.expect_silence(SHORT);
    fs.reply_error(&lookup, Errno::ENOENT);
    assert_eq!(caller.code(), libc::ENOENT);
}

fn answered_with_nonsense(env: &Env) {
    let (waiting, interrupt) = Waiting::interrupted(env);
    // Other errors, and none, mean nothing.
    for error in [0, -libc::EIO, -libc::EINTR] {
        waiting.answer(&interrupt, error).expect("the answer");
    }
    for error in [1, -512] {
        system::assert_errno(waiting.answer(&interrupt, error), Errno::EINVAL);
    }
    let header = OutHeader {
        len: 24,
        error: 0,
        unique: interrupt.unique(),
    };
    system::assert_errno(
        waiting.fs.channel.write(&[header.as_bytes(), &[0; 8]]),
        Errno::EINVAL,
    );
    let header = OutHeader {
        len: 16,
        error: -libc::EAGAIN,
        unique: interrupt.unique() + 2,
    };
    system::assert_errno(
        waiting.fs.channel.write(&[header.as_bytes()]),
        Errno::ENOENT,
    );
    waiting.fs.expect_silence(SHORT);
    waiting.end();
}

fn may_be_ignored(env: &Env) {
    let (waiting, _interrupt) = Waiting::interrupted(env);
    let entry = Model::cached().entry(FILE);
    waiting.fs.reply(&waiting.lookup, &entry);
    assert_eq!(waiting.caller.code(), 0);
}

fn after_the_reply_it_is_gone(env: &Env) {
    let waiting = Waiting::new(env);
    waiting.caller.signal(Signal::SIGUSR1);
    assert!(waiting.fs.channel.wait_readable(PATIENCE).unwrap());
    // The reply comes before the interrupt was read: there is nothing left to interrupt.
    waiting.fs.reply_error(&waiting.lookup, Errno::ENOENT);
    assert_eq!(waiting.caller.code(), libc::ENOENT);
    waiting.fs.expect_silence(SHORT);
    let unique = waiting.lookup.unique() | 1;
    system::assert_errno(
        waiting.fs.channel.reply_error(unique, Errno::EAGAIN),
        Errno::ENOENT,
    );
}

fn killed(status: Option<WaitStatus>) -> bool {
    matches!(status, Some(WaitStatus::Signaled(_, Signal::SIGKILL, _)))
}

fn killed_before_it_is_read(env: &Env) {
    let fs = Fs::new(env);
    let caller = stat_process(&fs.path("x"));
    assert!(fs.channel.wait_readable(PATIENCE).unwrap());
    caller.signal(Signal::SIGKILL);
    assert!(killed(caller.ended_within(PATIENCE)));
    // The daemon never sees it.
    fs.expect_silence(SHORT);
    let waiting = fs.control(env).join("waiting");
    assert_eq!(std::fs::read_to_string(waiting).unwrap(), "0\n");
}

fn killed_after_it_was_read(env: &Env) {
    let waiting = Waiting::new(env);
    waiting.caller.signal(Signal::SIGKILL);
    let interrupt = waiting.fs.expect(Opcode::Interrupt);
    assert_eq!(interrupt.unique(), waiting.lookup.unique() | 1);
    if env.is_rust() {
        // Linux keeps the caller until the reply comes. Here it goes at once.
        assert!(killed(waiting.caller.ended_within(PATIENCE)));
    } else {
        assert!(waiting.caller.ended_within(2 * SHORT).is_none());
    }
    // The request is still there, and takes its reply, once.
    waiting.fs.reply_error(&waiting.lookup, Errno::ENOENT);
    let unique = waiting.lookup.unique();
    system::assert_errno(
        waiting.fs.channel.reply_error(unique, Errno::ENOENT),
        Errno::ENOENT,
    );
    if !env.is_rust() {
        assert!(killed(waiting.caller.ended_within(PATIENCE)));
    }
}

fn killed_lookup_is_forgotten(env: &Env) {
    let waiting = Waiting::new(env);
    waiting.caller.signal(Signal::SIGKILL);
    waiting.fs.expect(Opcode::Interrupt);
    let gone = || killed(waiting.caller.ended_within(PATIENCE));
    // Ours goes at once, and must have gone, not to take the reply after all.
    assert!(!env.is_rust() || gone());
    let entry = Model::new().entry(FILE);
    waiting.fs.reply(&waiting.lookup, &entry);
    assert!(env.is_rust() || gone());
    // The reference that the reply gave comes back: by itself where nobody was there to take
    // it, else with the inode.
    if !env.is_rust() {
        crate::caller::call(|| system::drop_caches(2)).result();
    }
    let forget = waiting.fs.expect(Opcode::Forget);
    assert_eq!(forget.nodeid(), FILE);
    assert_eq!(forget.arg::<abi::ForgetIn>().nlookup, 1);
}

fn killed_open_is_released(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = process(|| system::errno(sys::open(&path)));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(FILE));
    let open = fs.expect(Opcode::Open);
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if env.is_rust() {
        assert!(killed(caller.ended_within(PATIENCE)));
    }
    let out = abi::OpenOut {
        fh: 0x1234,
        ..Default::default()
    };
    fs.reply(&open, &out);
    let mut release = fs.next();
    if release.opcode() == Opcode::Flush {
        // The caller got its file before it died.
        assert!(!env.is_rust());
        fs.reply_bytes(&release, &[]);
        release = fs.next();
    }
    assert_eq!(
        (release.opcode(), release.nodeid()),
        (Opcode::Release, FILE)
    );
    assert_eq!(release.arg::<abi::ReleaseIn>().fh, 0x1234);
    fs.reply_bytes(&release, &[]);
    assert!(env.is_rust() || killed(caller.ended_within(PATIENCE)));
}

fn killed_while_another_waits(env: &Env) {
    let fs = Fs::with_flags(env, abi::init_flags::PARALLEL_DIROPS);
    let first = stat_process(&fs.path("x"));
    let lookup = fs.expect(Opcode::Lookup);
    let second = stat_process(&fs.path("y"));
    let waiting = || std::fs::read_to_string(fs.control(env).join("waiting")).unwrap();
    eventually("both wait", || waiting() == "2\n");
    second.signal(Signal::SIGKILL);
    assert!(killed(second.ended_within(PATIENCE)));
    assert_eq!(waiting(), "1\n");
    fs.expect_silence(SHORT);
    fs.reply_error(&lookup, Errno::ENOENT);
    assert_eq!(first.code(), libc::ENOENT);
}
