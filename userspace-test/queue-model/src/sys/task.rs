// SPDX-License-Identifier: GPL-2.0

//! A thread, as a kernel sees it: asleep or not, with a signal or without.

use super::{scheduled, Sleep};
use shuttle::future::batch_semaphore::{BatchSemaphore, Fairness};
use std::{
    cell::OnceCell,
    sync::{
        atomic::{AtomicBool, AtomicU32, AtomicU8, Ordering::SeqCst},
        Arc,
    },
};

/// A signal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub(crate) enum Signal {
    /// One that the thread will handle.
    Ordinary = 1,
    /// One that ends it.
    Fatal = 2,
}

/// A thread. The scheduler switches threads at its own primitives only: what is done to these
/// fields in between happens at once.
#[derive(Clone)]
pub(crate) struct Task(Arc<Inner>);

struct Inner {
    /// Woken since it last set out to sleep.
    woken: AtomicBool,
    /// Asleep, whatever is there to wake it.
    asleep: AtomicBool,
    over: AtomicBool,
    signal: AtomicU8,
    /// How many spinlocks it holds.
    locks: AtomicU32,
    /// What it waits on when it sleeps; there is none where nobody schedules.
    wakings: Option<BatchSemaphore>,
}

shuttle::thread_local! {
    static SCHEDULED: OnceCell<Task> = OnceCell::new();
}
thread_local! {
    static PLAIN: Task = Task::new();
}

impl Task {
    fn new() -> Self {
        Task(Arc::new(Inner {
            woken: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            over: AtomicBool::new(false),
            signal: AtomicU8::new(0),
            locks: AtomicU32::new(0),
            wakings: scheduled().then(|| BatchSemaphore::new(0, Fairness::Unfair)),
        }))
    }

    /// The thread that calls.
    pub(crate) fn current() -> Task {
        if scheduled() {
            SCHEDULED.with(|task| task.get_or_init(Task::new).clone())
        } else {
            PLAIN.with(Task::clone)
        }
    }

    /// Starts a thread, which can be sent signals from the beginning.
    pub(crate) fn spawn<T: Send + 'static>(
        run: impl FnOnce() -> T + Send + 'static,
    ) -> (Task, shuttle::thread::JoinHandle<T>) {
        let task = Task::new();
        let own = task.clone();
        let thread = shuttle::thread::spawn(move || {
            SCHEDULED.with(|current| assert!(current.set(own.clone()).is_ok()));
            let result = run();
            own.0.over.store(true, SeqCst);
            result
        });
        (task, thread)
    }

    /// Whether this is that thread.
    pub(super) fn is(&self, other: &Task) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Sends it a signal; a fatal one stays fatal.
    pub(crate) fn signal(&self, signal: Signal) {
        self.0.signal.fetch_max(signal as u8, SeqCst);
        self.rouse();
    }

    /// Takes the signal that it has; a fatal one stays.
    pub(crate) fn handle_signal(&self) -> Option<Signal> {
        match self.0.signal.load(SeqCst) {
            0 => None,
            1 => {
                self.0.signal.store(0, SeqCst);
                Some(Signal::Ordinary)
            }
            _ => Some(Signal::Fatal),
        }
    }

    /// Does something as a thread that is being killed.
    pub(crate) fn dying<R>(act: impl FnOnce() -> R) -> R {
        let task = Task::current();
        let before = task.0.signal.swap(Signal::Fatal as u8, SeqCst);
        let result = act();
        task.0.signal.store(before, SeqCst);
        result
    }

    /// Whether it has a signal that ends such a sleep.
    pub(super) fn signal_pending(&self, sleep: Sleep) -> bool {
        let least = match sleep {
            Sleep::Interruptible => Signal::Ordinary,
            Sleep::Killable => Signal::Fatal,
            Sleep::Uninterruptible => return false,
        };
        self.0.signal.load(SeqCst) >= least as u8
    }

    /// Whether it sleeps and nothing has come to wake it.
    pub(crate) fn is_asleep(&self) -> bool {
        self.0.asleep.load(SeqCst)
    }

    /// Whether it has done what it was started for.
    pub(crate) fn is_over(&self) -> bool {
        self.0.over.load(SeqCst)
    }

    /// Wakes it, to look at what a test has left for it.
    pub(crate) fn wake_up(&self) {
        self.wake();
    }

    /// From here on a waking counts.
    pub(super) fn set_out_to_sleep(&self) {
        self.0.woken.store(false, SeqCst);
    }

    /// Sleeps, unless woken already since [`set_out_to_sleep`](Task::set_out_to_sleep).
    pub(super) fn sleep(&self, sleep: Sleep) {
        self.assert_may_sleep();
        while !self.0.woken.load(SeqCst) && !self.signal_pending(sleep) {
            let Some(wakings) = &self.0.wakings else {
                panic!("the only thread there is sleeps for ever");
            };
            self.0.asleep.store(true, SeqCst);
            // Is never closed. One that is left over from before is used up by this loop.
            let _ = wakings.acquire_blocking(1);
            self.0.asleep.store(false, SeqCst);
        }
    }

    /// Wakes it.
    pub(super) fn wake(&self) {
        self.rouse();
        self.0.woken.store(true, SeqCst);
    }

    fn rouse(&self) {
        if let Some(wakings) = &self.0.wakings {
            if scheduled() {
                wakings.release(1);
            }
        }
        self.0.asleep.store(false, SeqCst);
    }

    pub(super) fn lock_taken(&self) {
        self.0.locks.fetch_add(1, SeqCst);
    }

    pub(super) fn lock_released(&self) {
        self.0.locks.fetch_sub(1, SeqCst);
    }

    /// Fails when the thread holds a spinlock.
    pub(crate) fn assert_may_sleep(&self) {
        let locks = self.0.locks.load(SeqCst);
        assert!(
            locks == 0 || std::thread::panicking(),
            "sleeps with a lock held"
        );
    }
}
