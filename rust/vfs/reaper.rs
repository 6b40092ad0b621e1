// SPDX-License-Identifier: GPL-2.0

//! Dropping directory entries that have stopped to hold, where nobody wants to wait until memory is
//! short.
//!
//! An entry is tracked, in the order in which they stop to hold, from the first time that it is said
//! [until when it holds](DEntry::hold_until) while [`FileSystem::reap_period`] is not 0.

use super::{
    dentry::DEntry,
    filesystem::FileSystem,
    periodic::{Chore, Periodic},
    time::{Holds, Ticks},
};
use crate::bindings;
use core::{marker::PhantomData, mem::MaybeUninit, ptr::NonNull};
use kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{RBTree, RBTreeNodeReservation},
    sync::SpinLock,
    time::Msecs,
};

/// How many entries are looked at before others get the lock.
const BATCH: usize = 64;

/// An entry, and until when it holds.
///
/// # Invariants
///
/// The entry has not been released.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Tracked {
    until: Ticks,
    dentry: NonNull<bindings::dentry>,
}

// SAFETY: Entries belong to no thread.
unsafe impl Send for Tracked {}

/// The entries of a superblock that are tracked.
#[pin_data]
pub(super) struct Reaper<T: FileSystem> {
    #[pin]
    tracked: SpinLock<RBTree<Tracked, ()>>,
    _file_system: PhantomData<fn(T)>,
}

impl<T: FileSystem> Reaper<T> {
    /// One that tracks none.
    pub(super) fn new() -> impl PinInit<Periodic<Self>> {
        Periodic::new(pin_init!(Self {
            tracked <- new_spinlock!(RBTree::new(), "vfs::Reaper"),
            _file_system: PhantomData,
        }))
    }

    /// Says until when an entry holds, and tracks it. May sleep.
    pub(super) fn hold(reaper: &Periodic<Self>, dentry: &DEntry<T>, holds: &Holds, until: Ticks) {
        // Without memory the entry stays until there is too little of it for others as well.
        let room = match T::reap_period() {
            0 => None,
            _ => RBTreeNodeReservation::new(GFP_KERNEL).ok(),
        };
        if room.is_none() && holds.set_untracked(until) {
            return;
        }
        let tracks = room.is_some();
        let key = |until| Tracked {
            until,
            dentry: NonNull::from(dentry).cast(),
        };
        let mut tracked = reaper.chore().tracked.lock();
        let old = holds.tracked_until();
        let old = old.and_then(|old| tracked.remove_node(&key(old)));
        match room.or(old.map(|node| node.into_reservation())) {
            Some(room) => {
                holds.set_tracked(until);
                // INVARIANT: `release` stops the tracking.
                tracked.insert(room.into_node(key(until), ()));
            }
            // Nor was it tracked before, or somebody has just ended that.
            None => holds.end_tracking(until),
        }
        drop(tracked);
        if tracks {
            reaper.start();
        }
    }

    /// The entry is released.
    pub(super) fn release(&self, dentry: NonNull<bindings::dentry>, holds: &Holds) {
        let mut tracked = self.tracked.lock();
        if let Some(until) = holds.tracked_until() {
            tracked.remove(&Tracked { until, dentry });
        }
    }

    /// Moves some of the entries that held until before `now` to the list `dispose`, and returns
    /// whether there may be more of them. Those that are in use go when they are no longer.
    ///
    /// # Safety
    ///
    /// `dispose` must be a list, to be given to `shrink_dentry_list`.
    unsafe fn collect(&self, now: Ticks, dispose: *mut bindings::list_head) -> bool {
        let mut tracked = self.tracked.lock();
        for _ in 0..BATCH {
            let Some(first) = tracked.cursor_front_mut() else {
                return false;
            };
            let (&Tracked { until, dentry }, ()) = first.current();
            if until >= now {
                return false;
            }
            drop(first.remove_current());
            // SAFETY: By the type invariant the entry has not been released, which takes the lock that
            // is held here, and which keeps RCU from freeing it. One that is tracked has data.
            unsafe {
                DEntry::<T>::from_raw(dentry.as_ptr())
                    .holding()
                    .end_tracking(until);
                let lock = bindings::d_lock_of(dentry.as_ptr());
                bindings::spin_lock(lock);
                (*dentry.as_ptr()).d_flags |= bindings::dentry_flags_DCACHE_OP_DELETE;
                bindings::__move_to_shrink_list(dentry.as_ptr(), dispose);
                bindings::spin_unlock(lock);
            }
        }
        true
    }
}

impl<T: FileSystem> Chore for Reaper<T> {
    fn period(&self) -> Msecs {
        T::reap_period().saturating_mul(1000)
    }

    fn run(&self) -> bool {
        if T::reap_period() == 0 {
            return false;
        }
        let now = Ticks::now();
        loop {
            let mut dispose = MaybeUninit::<bindings::list_head>::uninit();
            let dispose = dispose.as_mut_ptr();
            // SAFETY: The list is empty at first, is not moved, and is emptied before it goes. No lock is
            // held when entries are.
            let more = unsafe {
                (*dispose).next = dispose;
                (*dispose).prev = dispose;
                let more = self.collect(now, dispose);
                bindings::shrink_dentry_list(dispose);
                more
            };
            if !more {
                break;
            }
        }
        !self.tracked.lock().is_empty()
    }
}
