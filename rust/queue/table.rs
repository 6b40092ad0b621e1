// SPDX-License-Identifier: GPL-2.0

//! Slots and the lists that run through them.
//!
//! Everything that can be in a queue sits in a slot of a [`Table`], and a queue is a [`List`]: a
//! head, a tail, and links kept inside the slots, by index. So a move from one queue to another
//! allocates nothing and takes a few stores, a slot is found in O(1) by its index, and none of it
//! needs a raw pointer.

use crate::sys::{self, Box, Result, Vec, VecExt};
use core::ops::{Deref, DerefMut};

/// The index of a slot.
pub(super) type Index = u32;

/// No slot.
const NONE: Index = Index::MAX;

/// Slots a chunk. A chunk of requests stays below two pages, the most that an allocation may
/// span that must not fail. Tests on the host see tables grow sooner.
const CHUNK: usize = if cfg!(test) { 2 } else { 32 };

/// A table has fewer slots than this: the slot's index has to fit into a `unique`, and the last
/// number is not for slots.
pub(super) const MAX_SLOTS: usize = 1 << 24;

/// Where a slot's neighbours in a list are.
#[derive(Clone, Copy)]
pub(super) struct Links {
    prev: Index,
    next: Index,
}

impl Links {
    pub(super) const NEW: Links = Links {
        prev: NONE,
        next: NONE,
    };
}

/// What a slot holds: anything with one pair of links for each kind of list it can be in.
///
/// `KIND` tells the lists apart that one slot can be in at the same time.
pub(super) trait Linked<const KIND: usize> {
    fn links(&mut self) -> &mut Links;
}

/// Slots that grow in number, in chunks.
pub(super) struct Slots<T> {
    chunks: Vec<Chunk<T>>,
}

type Chunk<T> = Box<[T; CHUNK]>;

impl<T> Slots<T> {
    /// The slot of that index, where there is one: the index may come from user space.
    pub(super) fn get(&mut self, index: Index) -> Option<&mut T> {
        let index = index as usize;
        let chunk = self.chunks.get_mut(index / CHUNK)?;
        Some(&mut chunk[index % CHUNK])
    }

    /// The slot of an index that this table gave out.
    pub(super) fn at(&mut self, index: Index) -> &mut T {
        let index = index as usize;
        &mut self.chunks[index / CHUNK][index % CHUNK]
    }
}

/// Slots, and which of them are free. They are reused last-in first-out, while their memory is
/// warm.
pub(super) struct Table<T> {
    slots: Slots<T>,
    /// The first of the free slots, from which the links lead on to the others.
    free: Index,
    used: usize,
}

impl<T> Deref for Table<T> {
    type Target = Slots<T>;

    fn deref(&self) -> &Slots<T> {
        &self.slots
    }
}

impl<T> DerefMut for Table<T> {
    fn deref_mut(&mut self) -> &mut Slots<T> {
        &mut self.slots
    }
}

/// Memory for a table to grow into, got before the table's lock is taken.
pub(super) struct Growth<T> {
    chunk: Option<Chunk<T>>,
    /// A wider directory of chunks; without room where none is needed.
    directory: Vec<Chunk<T>>,
}

/// What a table needs to know of itself to be grown without its lock.
#[derive(Clone, Copy)]
pub(super) struct Size {
    chunks: usize,
    directory: usize,
}

impl<T: Linked<0>> Table<T> {
    pub(super) fn new() -> Self {
        Table {
            slots: Slots { chunks: Vec::new() },
            free: NONE,
            used: 0,
        }
    }

    /// How many slots are in use.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// The free slots.
    #[cfg(test)]
    pub(super) fn free_slots(&mut self) -> Vec<Index> {
        let mut free = Vec::new();
        let mut next = self.free;
        while next != NONE {
            free.push(next);
            assert!(
                free.len() <= self.slots.chunks.len() * CHUNK,
                "the free slots lead around in a circle"
            );
            next = self.slots.at(next).links().next;
        }
        free
    }

    pub(super) fn size(&self) -> Size {
        Size {
            chunks: self.slots.chunks.len(),
            directory: self.slots.chunks.capacity(),
        }
    }

    /// Takes a free slot, its contents as they were left; none when the table has to grow first.
    pub(super) fn claim(&mut self) -> Option<Index> {
        let index = self.free;
        if index == NONE {
            return None;
        }
        self.free = self.slots.at(index).links().next;
        self.used += 1;
        Some(index)
    }

    /// Gives a slot back that is in no list.
    pub(super) fn release(&mut self, index: Index) {
        self.add_free(index);
        self.used -= 1;
    }

    fn add_free(&mut self, index: Index) {
        self.slots.at(index).links().next = self.free;
        self.free = index;
    }

    /// Adds what was allocated. Returns what it could not use, to be dropped without the lock:
    /// another thread may have grown the table in the meantime.
    pub(super) fn grow(&mut self, growth: Growth<T>) -> Growth<T> {
        let Growth {
            mut chunk,
            mut directory,
        } = growth;
        let chunks = &mut self.slots.chunks;
        if directory.capacity() > chunks.capacity() {
            for chunk in chunks.drain_all() {
                directory.put(chunk);
            }
            core::mem::swap(chunks, &mut directory);
        }
        if chunks.len() < chunks.capacity() {
            let first = chunks.len() * CHUNK;
            if let Some(chunk) = chunk.take() {
                chunks.put(chunk);
                for index in (first..first + CHUNK).rev() {
                    self.add_free(index as Index);
                }
            }
        }
        Growth { chunk, directory }
    }
}

impl<T> Growth<T> {
    /// Allocates a chunk of new slots for a table of that size; may sleep. With `must`, it waits
    /// for memory rather than fail.
    pub(super) fn for_table(size: Size, must: bool, new: impl Fn() -> T) -> Result<Self> {
        if (size.chunks + 1) * CHUNK >= MAX_SLOTS {
            return Err(sys::errno::ENOMEM);
        }
        let chunk = sys::boxed_array(new, must)?;
        let directory = if size.chunks == size.directory {
            Vec::allocate((size.chunks * 2).max(4), must)?
        } else {
            Vec::new()
        };
        Ok(Growth {
            chunk: Some(chunk),
            directory,
        })
    }
}

/// A queue through the slots of a [`Table`]; first in, first out by [`push_back`](List::push_back)
/// and [`pop_front`](List::pop_front).
pub(super) struct List<const KIND: usize> {
    head: Index,
    tail: Index,
    len: usize,
}

impl<const KIND: usize> List<KIND> {
    pub(super) const fn new() -> Self {
        List {
            head: NONE,
            tail: NONE,
            len: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn front(&self) -> Option<Index> {
        (self.head != NONE).then_some(self.head)
    }

    /// The slot behind that one.
    pub(super) fn after<T: Linked<KIND>>(
        &self,
        slots: &mut Slots<T>,
        index: Index,
    ) -> Option<Index> {
        let next = Self::links(slots, index).next;
        (next != NONE).then_some(next)
    }

    #[cfg(test)]
    pub(super) fn before<T: Linked<KIND>>(
        &self,
        slots: &mut Slots<T>,
        index: Index,
    ) -> Option<Index> {
        let prev = Self::links(slots, index).prev;
        (prev != NONE).then_some(prev)
    }

    pub(super) fn back(&self) -> Option<Index> {
        (self.tail != NONE).then_some(self.tail)
    }

    fn links<T: Linked<KIND>>(slots: &mut Slots<T>, index: Index) -> &mut Links {
        slots.at(index).links()
    }

    pub(super) fn push_back<T: Linked<KIND>>(&mut self, slots: &mut Slots<T>, index: Index) {
        *Self::links(slots, index) = Links {
            prev: self.tail,
            next: NONE,
        };
        if self.tail == NONE {
            self.head = index;
        } else {
            Self::links(slots, self.tail).next = index;
        }
        self.tail = index;
        self.len += 1;
    }

    pub(super) fn push_front<T: Linked<KIND>>(&mut self, slots: &mut Slots<T>, index: Index) {
        let next = core::mem::replace(&mut self.head, index);
        *Self::links(slots, index) = Links { prev: NONE, next };
        if next == NONE {
            self.tail = index;
        } else {
            Self::links(slots, next).prev = index;
        }
        self.len += 1;
    }

    /// Puts a slot in front of another in this list, or at the end.
    pub(super) fn insert<T: Linked<KIND>>(
        &mut self,
        slots: &mut Slots<T>,
        index: Index,
        behind: Option<Index>,
    ) {
        let Some(next) = behind else {
            return self.push_back(slots, index);
        };
        let prev = core::mem::replace(&mut Self::links(slots, next).prev, index);
        *Self::links(slots, index) = Links { prev, next };
        if prev == NONE {
            self.head = index;
        } else {
            Self::links(slots, prev).next = index;
        }
        self.len += 1;
    }

    pub(super) fn pop_front<T: Linked<KIND>>(&mut self, slots: &mut Slots<T>) -> Option<Index> {
        let index = self.front()?;
        self.head = Self::links(slots, index).next;
        if self.head == NONE {
            self.tail = NONE;
        } else {
            Self::links(slots, self.head).prev = NONE;
        }
        self.len -= 1;
        Some(index)
    }

    /// Takes a slot out that is in this list.
    pub(super) fn remove<T: Linked<KIND>>(&mut self, slots: &mut Slots<T>, index: Index) {
        let Links { prev, next } = *Self::links(slots, index);
        if prev == NONE {
            self.head = next;
        } else {
            Self::links(slots, prev).next = next;
        }
        if next == NONE {
            self.tail = prev;
        } else {
            Self::links(slots, next).prev = prev;
        }
        self.len -= 1;
    }
}
