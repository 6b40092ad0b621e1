// SPDX-License-Identifier: GPL-2.0

//! Signal-driven I/O: who gets SIGIO when a file becomes readable.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::bindings;
use core::cell::UnsafeCell;
use kernel::{error::to_result, fs::File, prelude::*};

/// A request of `fcntl(F_SETFL)` or of the last close to begin or end sending signals for a file.
pub(crate) struct FasyncRequest<'a> {
    fd: c_int,
    file: &'a File,
    on: c_int,
}

impl<'a> FasyncRequest<'a> {
    /// Whether signals are to be sent from now on.
    pub(crate) fn is_on(&self) -> bool {
        self.on != 0
    }

    /// The request that the arguments of `fasync` in `struct file_operations` stand for.
    pub(super) fn new(fd: c_int, file: &'a File, on: c_int) -> Self {
        Self { fd, file, on }
    }
}

/// The files that have asked for signals. A file that is closed leaves by itself, through a last
/// [`FasyncRequest`], which must go to the same list.
pub(crate) struct FasyncList(UnsafeCell<*mut bindings::fasync_struct>);

// SAFETY: The entries belong to no thread.
unsafe impl Send for FasyncList {}
// SAFETY: The C side changes the list under a lock of its own and walks it under RCU.
unsafe impl Sync for FasyncList {}

impl FasyncList {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self(UnsafeCell::new(core::ptr::null_mut()))
    }

    /// Does what `request` asks for. May sleep. `ENOMEM` when memory runs out.
    pub(crate) fn apply(&self, request: FasyncRequest<'_>) -> Result {
        // SAFETY: The file is open, and the list is one that only these functions use.
        let ret = unsafe {
            bindings::fasync_helper(request.fd, request.file.as_ptr(), request.on, self.0.get())
        };
        // Positive: an entry was added or removed.
        to_result(ret.min(0))
    }

    /// Tells all files in the list that there is something to read. Does not sleep.
    pub(crate) fn notify_readable(&self) {
        // SAFETY: The list is one that only these functions use; the C side reads it under RCU.
        unsafe {
            bindings::kill_fasync(
                self.0.get(),
                bindings::SIGIO as c_int,
                bindings::POLL_IN as c_int,
            )
        };
    }
}
