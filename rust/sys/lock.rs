// SPDX-License-Identifier: GPL-2.0

//! The lock of the queues.

use kernel::{
    alloc::AllocError,
    new_spinlock,
    prelude::*,
    sync::{
        lock::{self, spinlock::SpinLockBackend},
        SpinLock,
    },
};

/// A spinlock: nothing sleeps and nothing is allocated while it is held. Its lockdep class is its
/// own, and no other lock of the module is taken under it.
pub(crate) struct Lock<T>(Pin<KBox<SpinLock<T>>>);

/// The lock, held.
pub(crate) type Guard<'a, T> = lock::Guard<'a, T, SpinLockBackend>;

impl<T> Lock<T> {
    /// A lock around `value`; may sleep.
    pub(crate) fn new(value: T) -> Result<Self> {
        let lock = KBox::pin_init(new_spinlock!(value, "rust_fuse_queue"), GFP_KERNEL)
            .map_err(|_| Error::from(AllocError))?;
        Ok(Lock(lock))
    }

    /// Takes the lock.
    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.0.lock()
    }
}
