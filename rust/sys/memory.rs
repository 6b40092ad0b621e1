// SPDX-License-Identifier: GPL-2.0

//! Memory for the queues.

use crate::bindings;
use kernel::{
    alloc::AllocError,
    prelude::*,
    time::{delay::fsleep, Delta},
};

/// One thing on the heap.
pub(crate) type Box<T> = KBox<T>;

/// Many things on the heap.
pub(crate) type Vec<T> = KVVec<T>;

/// A vector whose memory is got first and filled later, under a lock.
pub(crate) trait VecExt<T>: Sized {
    /// A vector with room for `n`; may sleep. With `must`, it waits for memory rather than fail.
    fn allocate(n: usize, must: bool) -> Result<Self>;

    /// Adds to a vector that has room; with none, `value` is dropped, which is a bug of the caller.
    fn put(&mut self, value: T);
}

impl<T> VecExt<T> for Vec<T> {
    fn allocate(n: usize, must: bool) -> Result<Self> {
        if must {
            Ok(insist(|| Vec::with_capacity(n, GFP_KERNEL)))
        } else {
            Ok(Vec::with_capacity(n, GFP_KERNEL)?)
        }
    }

    fn put(&mut self, value: T) {
        debug_assert!(self.len() < self.capacity());
        let _ = self.push_within_capacity(value);
    }
}

/// An array on the heap, of values made one by one; may sleep. With `must`, it waits for memory
/// rather than fail.
pub(crate) fn boxed_array<T, const N: usize>(
    new: impl Fn() -> T,
    must: bool,
) -> Result<Box<[T; N]>> {
    let array = || KBox::init(pin_init::init_array_from_fn(|_| new()), GFP_KERNEL);
    if must {
        Ok(insist(|| array().map_err(|_| AllocError)))
    } else {
        array()
    }
}

/// Allocates until it succeeds, for what must not get lost; sleeps.
///
/// `__GFP_NOFAIL` is not to be had in Rust. What is allocated so is a few pages at most, which the
/// kernel does not refuse before it has nothing left to reclaim or to kill.
pub(crate) fn insist<T>(mut allocate: impl FnMut() -> core::result::Result<T, AllocError>) -> T {
    loop {
        match allocate() {
            Ok(memory) => return memory,
            Err(AllocError) => fsleep(Delta::from_millis(1)),
        }
    }
}

/// How much memory the machine has, in bytes.
pub(crate) fn total() -> u64 {
    // SAFETY: Reads a counter.
    unsafe { bindings::totalram_bytes() }
}
