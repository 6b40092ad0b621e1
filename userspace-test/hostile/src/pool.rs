// SPDX-License-Identifier: GPL-2.0

//! The processes that make calls. One that has made all its calls is used again for the next input: to
//! fork takes longer than most of what is played.

use crate::{
    calls::Caller,
    input::{Call, Input, CALLERS},
    sys,
};
use kcov::Coverage;
use nix::{
    sys::{
        signal::{kill, Signal},
        wait::{waitpid, WaitPidFlag, WaitStatus},
    },
    unistd::Pid,
};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, PipeReader, PipeWriter, Read, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::Arc,
};

/// A process that makes calls.
pub struct Process {
    pid: Pid,
    /// It gets its calls there: a line of JSON.
    calls: PipeWriter,
    /// And says a byte there when it has made them. Does not block.
    done: File,
    /// It makes calls.
    busy: bool,
    /// It was sent a SIGKILL.
    killed: bool,
    /// It is gone.
    ended: bool,
}

impl Process {
    /// Forks one that uses what will be mounted on `dir`. There must be no device that it would inherit.
    pub fn new(dir: &Path, coverage: Option<&Arc<Coverage>>) -> io::Result<Self> {
        let (todo, calls) = io::pipe()?;
        let (done, says) = io::pipe()?;
        let pid = sys::process(|| {
            if let Some(coverage) = coverage {
                let _ = coverage.start();
            }
            let _ = serve(dir, todo, says);
        })?;
        let done = File::from(OwnedFd::from(done));
        nix::fcntl::fcntl(
            &done,
            nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK),
        )?;
        Ok(Self {
            pid,
            calls,
            done,
            busy: false,
            killed: false,
            ended: false,
        })
    }

    /// Lets it make those calls of an input that are the caller's of this number.
    pub fn begin(&mut self, input: &Input, number: usize) -> io::Result<()> {
        let is_its = |call: &&Call| usize::from(call.caller) % CALLERS == number;
        let calls: Vec<_> = input.calls.iter().filter(is_its).collect();
        if calls.is_empty() {
            return Ok(());
        }
        self.busy = true;
        let mut line = serde_json::to_vec(&calls)?;
        line.push(b'\n');
        self.calls.write_all(&line)
    }

    /// Whether it has made its calls and can make others, or is gone.
    pub fn is_done(&mut self) -> bool {
        if self.killed {
            return self.has_ended();
        }
        if self.busy {
            // Nothing is read of one that has died.
            match self.done.read(&mut [0]) {
                Ok(1) => self.busy = false,
                Ok(_) => drop(self.has_ended()),
                Err(_) => {}
            }
        }
        !self.busy
    }

    /// Whether it makes calls and waits for nobody: on a busy machine that may take a while.
    pub fn runs(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap_or_default();
        // The state stands behind the name, which may have anything in it.
        self.busy
            && stat
                .rsplit(") ")
                .next()
                .is_some_and(|rest| rest.starts_with('R'))
    }

    /// Whether it is gone.
    pub fn has_ended(&mut self) -> bool {
        if !self.ended {
            let status = waitpid(self.pid, Some(WaitPidFlag::WNOHANG));
            self.ended = !matches!(status, Ok(WaitStatus::StillAlive));
            self.busy &= !self.ended;
        }
        self.ended
    }

    /// Sends it a signal, unless it is gone.
    pub fn signal(&mut self, signal: Signal) {
        if !self.ended {
            self.killed |= signal == Signal::SIGKILL;
            let _ = kill(self.pid, signal);
        }
    }

    /// Readable when it may be done.
    pub fn done(&self) -> BorrowedFd<'_> {
        self.done.as_fd()
    }
}

/// What such a process does.
fn serve(dir: &Path, todo: PipeReader, mut says: PipeWriter) -> io::Result<()> {
    for line in BufReader::new(todo).lines() {
        let calls: Vec<Call> = serde_json::from_str(&line?)?;
        let mut caller = Caller::new(dir);
        for call in calls {
            let _ = caller.make(&call);
        }
        drop(caller);
        says.write_all(b".")?;
    }
    Ok(())
}
