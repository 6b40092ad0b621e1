// SPDX-License-Identifier: GPL-2.0

//! Memory for the queues: as much as a test says.

use super::{errno, Result, Task};
use std::cell::Cell;

/// One thing on the heap.
pub(crate) type Box<T> = std::boxed::Box<T>;

/// A request on the heap.
pub(crate) type RequestBox<T> = Box<T>;

/// Many things on the heap.
pub(crate) type Vec<T> = std::vec::Vec<T>;

thread_local! {
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// How much memory is left.
pub(crate) struct Memory;

impl Memory {
    /// As many allocations succeed from now on as that; or all.
    pub(crate) fn leave(allocations: Option<u32>) {
        LEFT.set(allocations);
    }
}

/// What every allocation begins with.
pub(super) fn take() -> Result {
    Task::current().assert_may_sleep();
    match LEFT.get() {
        None => Ok(()),
        Some(0) => Err(errno::ENOMEM),
        Some(left) => {
            LEFT.set(Some(left - 1));
            Ok(())
        }
    }
}

/// A vector whose memory is got first and filled later, under a lock.
pub(crate) trait VecExt<T>: Sized {
    /// A vector with room for `n`; may sleep. With `must`, it waits for memory rather than fail.
    fn allocate(n: usize, must: bool) -> Result<Self>;

    /// Adds to a vector that has room.
    fn put(&mut self, value: T);

    /// Takes all out, as the kernel's vectors do by this name.
    fn drain_all(&mut self) -> std::vec::Drain<'_, T>;
}

impl<T> VecExt<T> for Vec<T> {
    fn allocate(n: usize, must: bool) -> Result<Self> {
        match take() {
            Err(error) if !must => Err(error),
            _ => Ok(Vec::with_capacity(n)),
        }
    }

    fn put(&mut self, value: T) {
        assert!(self.len() < self.capacity(), "there is no room");
        self.push(value);
    }

    fn drain_all(&mut self) -> std::vec::Drain<'_, T> {
        self.drain(..)
    }
}

/// An array on the heap, of values made one by one. With `must`, it waits for memory rather than
/// fail.
pub(crate) fn boxed_array<T, const N: usize>(
    new: impl Fn() -> T,
    must: bool,
) -> Result<Box<[T; N]>> {
    match take() {
        Err(error) if !must => Err(error),
        _ => Ok(Box::new(std::array::from_fn(|_| new()))),
    }
}
