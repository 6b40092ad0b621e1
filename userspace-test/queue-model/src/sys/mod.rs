// SPDX-License-Identifier: GPL-2.0

//! What the queues need of a kernel, as the module's room of this name has it, and what a test
//! needs besides: [`Task`]s that get signals, memory that runs out, a clock that is set.

mod bell;
mod error;
#[path = "../../../../rust/sys/fifo.rs"]
pub(crate) mod fifo;
mod lock;
mod memory;
mod park;
mod task;

pub(crate) use bell::Bell;
pub(crate) use error::{errno, Error, Result};
pub(crate) use lock::{Guard, Lock};
pub(crate) use memory::{boxed_array, Box, Memory, RequestBox, Vec, VecExt};
pub(crate) use park::{is_dying, park, park_from, Sleep, Thread};
pub(crate) use task::{Signal, Task};

use std::cell::Cell;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(0) };
}

/// Nanoseconds of a clock that ticks once each time it is read.
pub(crate) fn now() -> u64 {
    NOW.replace(NOW.get() + 1)
}

/// Whether this thread has failed and is being unwound.
pub(crate) fn unwinding() -> bool {
    std::thread::panicking()
}

/// Whether a scheduler of `shuttle` runs this thread.
fn scheduled() -> bool {
    shuttle::current::try_get_current_task().is_some()
}
