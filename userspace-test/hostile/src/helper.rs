// SPDX-License-Identifier: GPL-2.0

//! A thread that does what cannot be done by who serves: to mount where that waits for INIT, and to
//! unmount.

use kcov::Coverage;
use nix::sys::signal::{SigSet, Signal};
use std::{
    io,
    sync::{
        mpsc::{channel, Receiver, Sender, TryRecvError},
        Arc,
    },
    thread,
};

type Job = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// That thread.
pub struct Helper {
    jobs: Sender<Job>,
    results: Receiver<io::Result<()>>,
}

/// SIGALRM is for the one who serves.
pub fn block_alarms() {
    let mut set = SigSet::empty();
    set.add(Signal::SIGALRM);
    // It cannot fail with a set that is one.
    let _ = set.thread_block();
}

impl Helper {
    /// Starts it; what it does is noted.
    pub fn start(coverage: Option<Arc<Coverage>>) -> io::Result<Self> {
        let (jobs, todo) = channel::<Job>();
        let (done, results) = channel();
        let started = done.clone();
        thread::spawn(move || {
            block_alarms();
            let noted = coverage.as_ref().map(|coverage| coverage.start());
            let _ = started.send(noted.unwrap_or(Ok(())));
            for job in todo {
                let _ = done.send(job());
            }
        });
        match results.recv() {
            Ok(result) => result?,
            Err(_) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        Ok(Self { jobs, results })
    }

    /// Has it do something. There is one job at a time.
    pub fn begin(&self, job: impl FnOnce() -> io::Result<()> + Send + 'static) {
        // The thread ends with this value.
        let _ = self.jobs.send(Box::new(job));
    }

    /// What came of it, if it is done.
    pub fn result(&self) -> Option<io::Result<()>> {
        match self.results.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}
