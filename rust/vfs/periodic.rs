// SPDX-License-Identifier: GPL-2.0

//! What is done again and again, in a thread of the kernel.
//!
//! [`kernel::workqueue`] has work that cannot be called off.
//!
//! C headers: [`include/linux/workqueue.h`](srctree/include/linux/workqueue.h)

use crate::bindings;
use kernel::{
    container_of,
    prelude::*,
    time::{msecs_to_jiffies, Msecs},
    types::Opaque,
};

/// What is done.
pub(crate) trait Chore: Send + Sync + 'static {
    /// How much time there is between one time and the next, in milliseconds.
    fn period(&self) -> Msecs;

    /// Does it, and says whether it is to be done again. May sleep; must not drop the [`Periodic`] it
    /// is in.
    fn run(&self) -> bool;
}

/// A chore, and when it is done.
///
/// # Invariants
///
/// `work` is initialised, with `run` as its function.
#[pin_data(PinnedDrop)]
pub(crate) struct Periodic<T: Chore> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    #[pin]
    chore: T,
}

// SAFETY: Work belongs to no thread.
unsafe impl<T: Chore> Send for Periodic<T> {}
// SAFETY: The functions for work may be called by several threads at once; the chore is `Sync`.
unsafe impl<T: Chore> Sync for Periodic<T> {}

impl<T: Chore> Periodic<T> {
    /// A chore that is not done before [`start`](Self::start).
    pub(crate) fn new(chore: impl PinInit<T>) -> impl PinInit<Self> {
        // INVARIANT: Initialised here.
        pin_init!(Self {
            work <- Opaque::ffi_init(|slot| {
                // SAFETY: There is room for it, that is pinned. `run` may be called with it, since all
                // fields are there before anybody can call `start`.
                unsafe { bindings::init_delayed_work(slot, Some(run::<T>)) }
            }),
            chore <- chore,
        })
    }

    /// The chore.
    pub(crate) fn chore(&self) -> &T {
        &self.chore
    }

    /// Has it done from now on, the first time after a period, until it says that it is over or this
    /// is dropped. Does nothing when it is on its way.
    pub(crate) fn start(&self) {
        // SAFETY: The work is initialised by the type invariant, and called off before it goes. The
        // queue is there from boot on.
        unsafe {
            bindings::queue_delayed_work_on(
                bindings::wq_misc_consts_WORK_CPU_UNBOUND as c_int,
                bindings::system_percpu_wq,
                self.work.get(),
                msecs_to_jiffies(self.chore.period()),
            )
        };
    }

    /// Has it done no more, until it is started again; waits for who is at it. Sleeps.
    pub(crate) fn stop(&self) {
        // SAFETY: The work is initialised by the type invariant.
        unsafe { bindings::cancel_delayed_work_sync(self.work.get()) };
    }
}

/// # Safety
///
/// `work` must be in the `work` of a `Periodic<T>`.
unsafe extern "C" fn run<T: Chore>(work: *mut bindings::work_struct) {
    // SAFETY: By the function's contract.
    let work = unsafe { container_of!(work, bindings::delayed_work, work) };
    let work: *mut Opaque<bindings::delayed_work> = work.cast();
    // SAFETY: As above. Dropping it waits for the end of this function.
    let periodic = unsafe { &*container_of!(work, Periodic<T>, work) };
    if periodic.chore.run() {
        periodic.start();
    }
}

#[pinned_drop]
impl<T: Chore> PinnedDrop for Periodic<T> {
    fn drop(self: Pin<&mut Self>) {
        self.stop();
    }
}
