// SPDX-License-Identifier: GPL-2.0

//! Whether a file is used through the page cache, or by several writers at once past it.
//!
//! The two exclude each other: a write in parallel with others holds the lock of the contents
//! together with them, and so could not keep them away from folios that it is to invalidate.

use kernel::{
    new_condvar, new_spinlock,
    prelude::*,
    sync::{CondVar, SpinLock},
};

/// Who uses the contents of an inode, and how.
#[pin_data]
pub(super) struct IoMode {
    #[pin]
    users: SpinLock<Users>,
    #[pin]
    changed: CondVar,
}

#[derive(Default)]
struct Users {
    /// Open files that use the page cache.
    cached: u32,
    /// Those of them that wait for the writers to end.
    waiting: u32,
    /// Writes in parallel.
    parallel: u32,
}

impl IoMode {
    /// Used by nobody.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            users <- new_spinlock!(Users::default(), "fuse::IoMode"),
            changed <- new_condvar!("fuse::IoMode"),
        })
    }

    /// One more open file uses the page cache. Waits until no writes in parallel are under way, deaf
    /// to signals; new ones do not begin meanwhile.
    pub(super) fn begin_cached(&self) {
        let mut users = self.users.lock();
        users.waiting += 1;
        while users.parallel > 0 {
            self.changed.wait(&mut users);
        }
        users.waiting -= 1;
        users.cached += 1;
    }

    /// One fewer does.
    pub(super) fn end_cached(&self) {
        self.users.lock().cached -= 1;
    }

    /// Whether an open file uses the page cache, or is about to.
    pub(super) fn wants_cache(&self) -> bool {
        let users = self.users.lock();
        users.cached > 0 || users.waiting > 0
    }

    /// Begins a write in parallel with others, unless an open file uses the page cache.
    pub(super) fn begin_parallel(&self) -> Option<Parallel<'_>> {
        let mut users = self.users.lock();
        if users.cached > 0 {
            return None;
        }
        users.parallel += 1;
        Some(Parallel(self))
    }
}

/// A write in parallel with others, until it is dropped.
pub(super) struct Parallel<'a>(&'a IoMode);

impl Drop for Parallel<'_> {
    fn drop(&mut self) {
        let mut users = self.0.users.lock();
        users.parallel -= 1;
        if users.parallel == 0 {
            self.0.changed.notify_all();
        }
    }
}
