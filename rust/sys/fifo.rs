// SPDX-License-Identifier: GPL-2.0

//! A queue of boxes that are linked to each other, so that adding one needs no memory.

use super::Box;
use core::ptr;

/// Something that can stand in a [`Fifo`].
pub(crate) struct Node<T> {
    pub(crate) value: T,
    next: *mut Node<T>,
}

// SAFETY: `next` is only used by the `Fifo` that owns the node and the node behind it.
unsafe impl<T: Send> Send for Node<T> {}

impl<T> Node<T> {
    pub(crate) const fn new(value: T) -> Self {
        Node {
            value,
            next: ptr::null_mut(),
        }
    }
}

/// First in, first out.
///
/// # Invariants
///
/// `head` and what follows it by `next` are `len` nodes that came from [`Box::into_raw`] and that
/// this `Fifo` owns. `tail` is the last of them; both are null when there is none.
pub(crate) struct Fifo<T> {
    head: *mut Node<T>,
    tail: *mut Node<T>,
    len: usize,
}

// SAFETY: A `Fifo` owns its nodes, as a vector of boxes would.
unsafe impl<T: Send> Send for Fifo<T> {}

impl<T> Fifo<T> {
    pub(crate) const fn new() -> Self {
        // INVARIANT: Empty.
        Fifo {
            head: ptr::null_mut(),
            tail: ptr::null_mut(),
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is in it, the first one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let mut next = self.head;
        core::iter::from_fn(move || {
            // SAFETY: By the invariants, this is null or one of the nodes that `self` owns, and what
            // is borrowed has the same ones for as long.
            let node = unsafe { next.as_ref() }?;
            next = node.next;
            Some(&node.value)
        })
    }

    /// Adds a node at the end.
    pub(crate) fn push_back(&mut self, mut node: Box<Node<T>>) {
        node.next = ptr::null_mut();
        let node = Box::into_raw(node);
        if self.tail.is_null() {
            self.head = node;
        } else {
            // SAFETY: By the invariants, `tail` is a node that this `Fifo` owns.
            unsafe { (*self.tail).next = node };
        }
        // INVARIANT: The new node follows what was the last one, and is owned by `self` now.
        self.tail = node;
        self.len += 1;
    }

    /// Adds all nodes of `others` in front, in their order.
    pub(crate) fn prepend(&mut self, mut others: Fifo<T>) {
        if others.tail.is_null() {
            return;
        }
        // The two change places, so that what is to be taken over is what follows.
        core::mem::swap(self, &mut others);
        if others.head.is_null() {
            return;
        }
        // SAFETY: By the invariants, `tail` is the last of the nodes that this `Fifo` owns; there
        // is one, as was looked at above.
        unsafe { (*self.tail).next = others.head };
        // INVARIANT: The nodes of `others` follow its own, and are owned by `self` now.
        self.tail = others.tail;
        self.len += others.len;
        core::mem::forget(others);
    }

    /// Takes the first node.
    pub(crate) fn pop_front(&mut self) -> Option<Box<Node<T>>> {
        if self.head.is_null() {
            return None;
        }
        // SAFETY: By the invariants, `head` came from `Box::into_raw` and is owned by `self`; it
        // leaves the list in the lines below.
        let node = unsafe { Box::from_raw(self.head) };
        self.head = node.next;
        if self.head.is_null() {
            self.tail = ptr::null_mut();
        }
        self.len -= 1;
        Some(node)
    }

    /// Takes the first `n` nodes, or all when there are fewer.
    pub(crate) fn split_front(&mut self, n: usize) -> Fifo<T> {
        if n >= self.len {
            return core::mem::replace(self, Fifo::new());
        }
        let mut front = Fifo::new();
        if n == 0 {
            return front;
        }
        let mut last = self.head;
        for _ in 1..n {
            // SAFETY: `last` is one of the first `n - 1` of more than `n` nodes, all owned by
            // `self`.
            last = unsafe { (*last).next };
        }
        front.head = self.head;
        front.tail = last;
        front.len = n;
        // SAFETY: `last` is a node of `self`, and not the last one.
        self.head = unsafe { core::mem::replace(&mut (*last).next, ptr::null_mut()) };
        // INVARIANT: `front` owns the nodes up to `last`, `self` those from the next one on.
        self.len -= n;
        front
    }
}

impl<T> Drop for Fifo<T> {
    fn drop(&mut self) {
        while self.pop_front().is_some() {}
    }
}
