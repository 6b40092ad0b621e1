// SPDX-License-Identifier: GPL-2.0

//! Waiting for open files to become ready: poll(2), select(2) and epoll(7).
//!
//! [`kernel::sync::poll`] neither says which events are wanted nor whether anybody waits.
//!
//! C headers: [`include/linux/poll.h`](srctree/include/linux/poll.h)

use crate::{
    bindings,
    vfs::file::{Callbacks, FileOperations},
};
use core::{marker::PhantomData, mem::ManuallyDrop, pin::Pin, ptr};
use kernel::{prelude::*, types::Opaque};

/// Someone who wants to know what a file is ready for, and perhaps to wait for it.
///
/// # Invariants
///
/// `file` is open during the call; `table` is null, or valid during the call.
pub(crate) struct Poll<'a> {
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
    _call: PhantomData<&'a bindings::poll_table_struct>,
}

impl Poll<'_> {
    /// The events that are wanted (`POLL*`, as user space has them).
    pub(crate) fn wanted(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { bindings::mangle_poll(bindings::poll_requested_events(self.table)) }.into()
    }

    /// Has them wait on `queue`, if they mean to wait.
    pub(crate) fn wait_on(&self, queue: &WaitQueue) {
        // SAFETY: By the type invariant. The queue stays until an RCU grace period after it has sent
        // away all who wait on it.
        unsafe { bindings::poll_wait(self.file, queue.head(), self.table) };
    }
}

/// What a file is ready for.
#[derive(Clone, Copy)]
pub(crate) struct Events(bindings::__poll_t);

impl Events {
    /// Reading and writing: what the VFS takes for granted of a file that cannot be polled.
    pub(crate) const ALWAYS: Self = Self(bindings::DEFAULT_POLLMASK);
    /// Something is wrong.
    pub(crate) const ERROR: Self = Self(bindings::EPOLLERR);

    /// The events `POLL*`, as user space has them; others are left out.
    pub(crate) fn of_user(events: u32) -> Self {
        // SAFETY: Has no requirements. CAST: There are 16 bits of events.
        Self(unsafe { bindings::demangle_poll(events as u16) })
    }
}

/// Where those wait who poll.
pub(crate) struct WaitQueue(ManuallyDrop<Pin<KBox<Inner>>>);

/// # Invariants
///
/// `head` is initialised.
#[pin_data]
struct Inner {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
    rcu: Opaque<bindings::kvfree_rcu_head>,
}

// SAFETY: A wait queue belongs to no thread.
unsafe impl Send for WaitQueue {}
// SAFETY: It has a lock of its own.
unsafe impl Sync for WaitQueue {}

impl WaitQueue {
    /// One on which nobody waits. `ENOMEM`.
    pub(crate) fn new() -> Result<Self> {
        let inner = KBox::pin_init(
            pin_init!(Inner {
                // SAFETY: `head` is to be initialised, and pinned from now on.
                // INVARIANT: This does it.
                head <- Opaque::ffi_init(|head| unsafe { bindings::init_waitqueue_head(head) }),
                rcu: Opaque::uninit(),
            }),
            GFP_KERNEL,
        )?;
        Ok(Self(ManuallyDrop::new(inner)))
    }

    fn head(&self) -> *mut bindings::wait_queue_head {
        self.0.head.get()
    }

    /// Whether anybody waits.
    pub(crate) fn is_waited_on(&self) -> bool {
        // SAFETY: The queue is initialised. Who began to wait in this thread is seen.
        unsafe { bindings::waitqueue_active(self.head()) }
    }

    /// Wakes those who wait, to look again; of those who asked to be woken one at a time, one. Does
    /// not sleep.
    pub(crate) fn wake(&self) {
        // SAFETY: The queue is initialised.
        unsafe { bindings::__wake_up_sync(self.head(), bindings::TASK_INTERRUPTIBLE) };
    }

    /// Wakes all who wait, to look again. Does not sleep.
    pub(crate) fn wake_all(&self) {
        // SAFETY: The queue is initialised.
        unsafe {
            bindings::__wake_up(
                self.head(),
                bindings::TASK_INTERRUPTIBLE,
                0,
                ptr::null_mut(),
            )
        };
    }
}

impl Drop for WaitQueue {
    fn drop(&mut self) {
        // SAFETY: The queue is initialised. An epoll file that waits on it lets go of it.
        unsafe { bindings::__wake_up_pollfree(self.head()) };
        // SAFETY: Nobody uses the field after this.
        let inner = unsafe { ManuallyDrop::take(&mut self.0) };
        // SAFETY: The value stays where it is until its memory is freed.
        let inner = KBox::into_raw(unsafe { Pin::into_inner_unchecked(inner) });
        // SAFETY: It is from `KBox`, and has nothing else to be dropped. Those who were let go of may
        // still look at the queue under RCU.
        unsafe { bindings::kvfree_call_rcu((*inner).rcu.get(), inner.cast()) };
    }
}

/// # Safety
///
/// To be called as `poll` of `struct file_operations`, for files of `F`.
pub(super) unsafe extern "C" fn poll<F: FileOperations>(
    file: *mut bindings::file,
    table: *mut bindings::poll_table_struct,
) -> bindings::__poll_t {
    // SAFETY: The C side gives an open file.
    let (inode, data) = unsafe { Callbacks::<F>::parts(file) };
    // INVARIANT: The C side gives a table that is null, or valid during the call.
    let poll = Poll {
        file,
        table,
        _call: PhantomData,
    };
    F::poll(inode, data, &poll).0
}
