// SPDX-License-Identifier: GPL-2.0

//! Sleeping until somebody else says so.

use super::{scheduled, Task};

/// A thread that can be woken.
pub(crate) struct Thread(Task);

impl Thread {
    /// The thread that calls.
    pub(crate) fn current() -> Self {
        Thread(Task::current())
    }

    /// Wakes the thread if it sleeps, for whatever reason.
    pub(crate) fn unpark(self) {
        self.0.wake();
    }
}

/// What ends a sleep besides being woken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// Any signal.
    Interruptible,
    /// A fatal signal.
    Killable,
    /// Nothing.
    Uninterruptible,
}

/// Whether the thread that calls is being killed.
pub(crate) fn is_dying() -> bool {
    Task::current().signal_pending(Sleep::Killable)
}

/// Sleeps until `ready` gives something; nothing when a signal came first. In the order of the
/// module's own: `ready` is asked before the first sleep and after each waking, also when a signal
/// has come.
pub(crate) fn park<R>(sleep: Sleep, mut ready: impl FnMut() -> Option<R>) -> Option<R> {
    let task = Task::current();
    task.assert_may_sleep();
    loop {
        task.set_out_to_sleep();
        let got = ready();
        if got.is_some() || task.signal_pending(sleep) {
            return got;
        }
        task.sleep(sleep);
    }
}

/// Like [`park`], for who holds the lock under which it would be woken, and has seen that there is
/// nothing yet. Others may run before it goes to sleep.
pub(crate) fn park_from<L, R>(
    sleep: Sleep,
    held: L,
    ready: impl FnMut() -> Option<R>,
) -> Option<R> {
    drop(held);
    Task::current().assert_may_sleep();
    if scheduled() {
        shuttle::thread::yield_now();
    }
    park(sleep, ready)
}
