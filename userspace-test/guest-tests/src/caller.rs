// SPDX-License-Identifier: GPL-2.0

//! Those who use the file system while a test plays its daemon: threads and processes.

use nix::{
    sys::{
        signal::{kill, Signal},
        wait::{waitpid, WaitPidFlag, WaitStatus},
    },
    unistd::{fork, ForkResult, Pid},
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    mem::ManuallyDrop,
    os::fd::{AsRawFd, FromRawFd},
    panic::{catch_unwind, AssertUnwindSafe},
    process::exit,
    sync::mpsc::{channel, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

/// How long anything in a test may take before it counts as hung: a test that passes is not slower
/// for it, and the debug kernel takes its time, more so where guests share a processor.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A thread that does something which may have to wait for the daemon.
pub struct Caller<T>(Receiver<T>);

/// Starts a thread.
pub fn call<T: Send + 'static>(action: impl FnOnce() -> T + Send + 'static) -> Caller<T> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        // The test may have ended by now.
        let _ = sender.send(action());
    });
    Caller(receiver)
}

/// Starts a thread that does something with an open file, which stays open until it is done: it has
/// no descriptor of its own, as closing that would be a request.
#[allow(unsafe_code)]
pub fn call_on<T: Send + 'static>(
    file: &File,
    action: impl FnOnce(&File) -> T + Send + 'static,
) -> Caller<T> {
    let fd = file.as_raw_fd();
    call(move || {
        // SAFETY: The test keeps the file open, and this does not close it.
        let file = ManuallyDrop::new(unsafe { File::from_raw_fd(fd) });
        action(&file)
    })
}

impl<T> Caller<T> {
    /// What came out of it. Fails the test when it does not come.
    #[track_caller]
    pub fn result(&self) -> T {
        let result = self.result_within(PATIENCE);
        result.expect("the caller does not come back")
    }

    /// What came out of it, if it does within `limit`.
    #[track_caller]
    pub fn result_within(&self, limit: Duration) -> Option<T> {
        match self.0.recv_timeout(limit) {
            Ok(value) => Some(value),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => panic!("the caller died"),
        }
    }

    /// Whether it is still at it, after `pause`.
    pub fn still_waits(&self, pause: Duration) -> bool {
        matches!(self.0.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
    }
}

/// A process that does something, and says how it went by its exit status.
pub struct Process(Pid);

/// Starts a process. It ends with what `action` gives, a number below 256: most often an errno, or
/// 0. To be called while this process has one thread.
#[allow(unsafe_code)]
pub fn process(action: impl FnOnce() -> i32) -> Process {
    // SAFETY: This process has one thread, as the tests that start processes do it first: the
    // child finds no lock taken that nobody is there to release.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => leave(action),
        Ok(ForkResult::Parent { child }) => Process(child),
        Err(error) => panic!("cannot fork: {error}"),
    }
}

/// Tells a process that waits to begin.
pub struct Start(File);

impl Start {
    /// To be called once the process is to do something.
    pub fn now(mut self) {
        self.0.write_all(&[0]).expect("the process waits");
    }
}

/// Starts a process, as [`process`] does, that does something when it is told to: by then, this one may
/// have more threads.
pub fn process_that_waits(action: impl FnOnce() -> i32) -> (Process, Start) {
    let (begin, start) = nix::unistd::pipe().expect("pipe");
    let process = process(|| {
        File::from(begin).read_exact(&mut [0]).expect("told");
        action()
    });
    (process, Start(File::from(start)))
}

/// Starts a process that shares this one's table of descriptors, as [`process`] does.
#[allow(unsafe_code)]
pub fn process_with_our_files(action: impl FnOnce() -> i32) -> Process {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    // SAFETY: As for `process`: but for the descriptors, this is fork().
    match unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) } {
        0 => leave(action),
        // CAST: It is a process ID.
        child @ 1.. => Process(Pid::from_raw(child as i32)),
        _ => panic!("cannot clone: {}", std::io::Error::last_os_error()),
    }
}

/// Ends a new process with what `action` gives. Where that panics, what it was forked with is not its
/// to clean up.
fn leave(action: impl FnOnce() -> i32) -> ! {
    exit(catch_unwind(AssertUnwindSafe(action)).unwrap_or(PANICKED))
}

/// How a process ends that has panicked: as others in Rust do.
const PANICKED: i32 = 101;

impl Process {
    /// Its process ID.
    pub fn pid(&self) -> Pid {
        self.0
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.0, signal).expect("kill");
    }

    /// Waits until it sleeps, and no signal but a fatal one wakes it.
    #[track_caller]
    pub fn sleeps_killably(&self) {
        eventually("a sleep that only a fatal signal ends", || {
            let stat = fs::read_to_string(format!("/proc/{}/stat", self.0)).expect("its state");
            stat.rsplit(") ")
                .next()
                .is_some_and(|state| state.starts_with('D'))
        });
    }

    /// How it ended, if it does so within `limit`.
    pub fn ended_within(&self, limit: Duration) -> Option<WaitStatus> {
        let end = Instant::now() + limit;
        loop {
            match waitpid(self.0, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => {}
                Ok(status) => return Some(status),
                Err(error) => panic!("waitpid: {error}"),
            }
            if Instant::now() >= end {
                return None;
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Its exit status. Fails the test when it does not end, or not by itself.
    #[track_caller]
    pub fn code(&self) -> i32 {
        code(
            self.ended_within(PATIENCE)
                .expect("the process does not end"),
        )
    }

    /// Its exit status, where it ends by a signal that interrupts what it waits for: one that comes before
    /// it waits does nothing, so it gets some.
    #[track_caller]
    pub fn interrupted_code(&self, signal: Signal) -> i32 {
        let mut status = None;
        eventually("the end of a process", || {
            self.signal(signal);
            status = self.ended_within(Duration::from_millis(50));
            status.is_some()
        });
        code(status.expect("it has ended"))
    }
}

#[track_caller]
fn code(status: WaitStatus) -> i32 {
    match status {
        WaitStatus::Exited(_, code) => code,
        other => panic!("the process ended otherwise: {other:?}"),
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended, most often.
        let _ = kill(self.0, Signal::SIGKILL);
    }
}

/// Tries until `condition` holds. Fails the test when it does not come to that.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "never happened: {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
