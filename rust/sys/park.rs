// SPDX-License-Identifier: GPL-2.0

//! Sleeping until somebody else says so.

use crate::bindings;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use kernel::{
    current,
    sync::{
        aref::ARef,
        barrier::{smp_mb, Full},
    },
    task::Task,
};

/// A thread that can be woken.
pub(crate) struct Thread(ARef<Task>);

impl Thread {
    /// The thread that calls.
    pub(crate) fn current() -> Self {
        Thread(ARef::from(&**current!()))
    }

    /// Wakes the thread if it sleeps. It may have gone on to sleep for another reason by now: like
    /// everything in the kernel it then looks, and sleeps again.
    ///
    /// Not inlined, so that a lock that is released with nobody to wake costs a look and no more.
    #[inline(never)]
    pub(crate) fn unpark(self) {
        // Pairs with the barrier of `set_current_state`: whoever is not set to sleep yet will see what
        // it was to be woken for, and need not be.
        smp_mb(Full);
        let state = {
            let task = self.0.as_ptr();
            // SAFETY: The task is valid, for `self` has a reference to it; the field is aligned, and
            // may change at any time.
            unsafe { AtomicU32::from_ptr(&raw mut (*task).__state) }
        };
        if state.load(Relaxed) != bindings::TASK_RUNNING {
            self.0.wake_up();
        }
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

impl Sleep {
    /// The task's state. It may be frozen as it sleeps when the machine is suspended: its daemon,
    /// which would have to wake it, is frozen too. Callers hold locks of the VFS meanwhile, hence
    /// "unsafe": who waits for one of those is not frozen, and keeps the machine awake as ever.
    fn state(self) -> u32 {
        bindings::TASK_FREEZABLE_UNSAFE
            | match self {
                Sleep::Interruptible => bindings::TASK_INTERRUPTIBLE,
                Sleep::Killable => bindings::TASK_WAKEKILL | bindings::TASK_UNINTERRUPTIBLE,
                Sleep::Uninterruptible => bindings::TASK_UNINTERRUPTIBLE,
            }
    }
}

/// Whether the thread that calls is being killed, or exits: it does not return to user space.
pub(crate) fn is_dying() -> bool {
    // SAFETY: Looks at the current task only.
    let is_killed = unsafe { bindings::signal_pending_state(Sleep::Killable.state()) };
    // SAFETY: The current task is valid, and changes this flag of its own itself.
    is_killed || unsafe { (*current!().as_ptr()).flags } & bindings::PF_EXITING != 0
}

/// Sleeps until `ready` gives something; nothing when a signal came first.
///
/// `ready` is asked before the first sleep and after each waking, also when a signal has come, so
/// that what a waker did is never missed. It runs with the task set to sleep: it must not sleep
/// itself, but may take a spinlock.
pub(crate) fn park<R>(sleep: Sleep, mut ready: impl FnMut() -> Option<R>) -> Option<R> {
    let state = sleep.state();
    let result = loop {
        // SAFETY: Any of the sleeping states may be set for the current task; it is set back below.
        unsafe { bindings::set_current_state(state) };
        let got = ready();
        // SAFETY: Looks at the current task only.
        if got.is_some() || unsafe { bindings::signal_pending_state(state) } {
            break got;
        }
        // SAFETY: The current task is in process context and holds no spinlock: those of this
        // module are released before anything parks.
        unsafe { bindings::schedule() };
    };
    // SAFETY: The current task runs.
    unsafe { bindings::set_current_state(bindings::TASK_RUNNING) };
    result
}

/// Like [`park`], for who holds the lock under which it would be woken, and has seen that there is
/// nothing yet: `held` is released first.
///
/// When a thread waits for this processor, it is most likely the one that will wake this one. So it is
/// let through before this one is put to sleep, if it is its turn; and when it has done its part by the
/// time that this one is back, then nobody was put to sleep, and nobody woken. Where it is not its
/// turn, or it has to do with something else, this costs a look at the run queue. It is fair: this
/// thread stays runnable and gives nothing away, and the scheduler would let one that has run ahead
/// of the others stay on the run queue as well (`DELAY_DEQUEUE`).
pub(crate) fn park_from<L, R>(
    sleep: Sleep,
    held: L,
    mut ready: impl FnMut() -> Option<R>,
) -> Option<R> {
    // SAFETY: Looks at the run queue of this processor, or of one that the task has just left.
    if unsafe { bindings::single_task_running() } {
        // So that the first look is saved.
        // SAFETY: Any of the sleeping states may be set for the current task; `schedule` sets it back.
        unsafe { bindings::set_current_state(sleep.state()) };
    }
    drop(held);
    // SAFETY: The current task is in process context, and the lock is released. If it is not set to
    // sleep, has a signal pending, or was woken since, this returns when it is its turn again.
    unsafe { bindings::schedule() };
    ready().or_else(|| park(sleep, ready))
}
