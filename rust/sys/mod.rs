// SPDX-License-Identifier: GPL-2.0

//! What the queues need of a kernel: memory, a lock, sleeping and waking, the time.
//!
//! `queue/` names nothing of the kernel but this room. The host model of the queues
//! (`userspace-test/queue-model`) has a room of the same name and shape over threads that a test
//! schedules, so that the very same queue sources run in both worlds.

mod bell;
pub(crate) mod fifo;
#[cfg(CONFIG_KUNIT = "y")]
pub(crate) mod kunit;
mod lock;
mod memory;
mod park;
mod request_memory;

pub(crate) use bell::{Bell, Listener};
pub(crate) use kernel::error::{Error, Result};
pub(crate) use lock::{Guard, Lock};
pub(crate) use memory::{boxed_array, insist, total as total_memory, Box, Vec, VecExt};
pub(crate) use park::{is_dying, park, park_from, Sleep, Thread};
pub(crate) use request_memory::{RequestBox, RequestCache};

/// The errors that the queues give, by their names in `errno.h`.
pub(crate) mod errno {
    use kernel::error::{code, Error};

    pub(crate) const EAGAIN: Error = code::EAGAIN;
    pub(crate) const ECONNABORTED: Error = code::ECONNABORTED;
    pub(crate) const EINTR: Error = code::EINTR;
    pub(crate) const EINVAL: Error = code::EINVAL;
    pub(crate) const EIO: Error = code::EIO;
    pub(crate) const ENODEV: Error = code::ENODEV;
    pub(crate) const ENOENT: Error = code::ENOENT;
    pub(crate) const ENOMEM: Error = code::ENOMEM;
    pub(crate) const ENOTCONN: Error = code::ENOTCONN;
    pub(crate) const ERESTARTSYS: Error = code::ERESTARTSYS;
}

/// The name of the current thread, as `ps` shows it: up to the first zero byte.
pub(crate) fn comm() -> [u8; 16] {
    let task = kernel::current!().as_ptr();
    // SAFETY: The current thread is there. Its name may change while it is read, as everybody who reads
    // it puts up with; of any bytes there are this makes bytes.
    let mut comm: [u8; 16] = unsafe { core::ptr::read(&raw const (*task).comm) };
    comm[15] = 0;
    comm
}

/// Nanoseconds of the monotonic clock.
pub(crate) fn now() -> u64 {
    // SAFETY: Reading the clock has no preconditions outside of an NMI.
    unsafe { kernel::bindings::ktime_get() as u64 }
}
