// SPDX-License-Identifier: GPL-2.0

//! Memory for many things of one kind: nothing in it ever moves, and what is empty goes back.

use std::collections::BTreeSet;

/// How many bytes of memory are got, and given back, at a time. Such a piece is to come from the
/// system, and go there (see [`give_memory_back`](crate::give_memory_back)); what that costs grows with
/// its pages, and one operation may have to do it twice.
pub(crate) const CHUNK_BYTES: usize = 16 << 10;

/// How many empty chunks at the end are forgotten when something is removed.
const TRIM: usize = 4;

/// Lets a vector that has become short have less memory.
pub(crate) fn shrink<T>(chunks: &mut Vec<T>) {
    if chunks.len() < chunks.capacity() / 4 {
        chunks.shrink_to(2 * chunks.len());
    }
}

/// A place for a thing.
enum Slot<T> {
    Used(T),
    /// It is free, and so is that one of the same chunk.
    Free(Option<u32>),
}

struct Chunk<T> {
    slots: Vec<Slot<T>>,
    free: Option<u32>,
    used: u32,
}

/// Things, by the number that they are given.
pub(crate) struct Slab<T> {
    chunks: Vec<Chunk<T>>,
    /// The chunks that are not full. The first of them is filled first, so that the last get empty.
    room: BTreeSet<usize>,
}

impl<T> Slab<T> {
    /// How many things are in a chunk.
    const SLOTS: usize = CHUNK_BYTES / size_of::<Slot<T>>();

    pub fn new() -> Self {
        Self {
            chunks: Vec::new(),
            room: BTreeSet::new(),
        }
    }

    fn slot(&self, number: u32) -> Option<&Slot<T>> {
        let number = number as usize;
        let chunk = self.chunks.get(number / Self::SLOTS)?;
        chunk.slots.get(number % Self::SLOTS)
    }

    pub fn get(&self, number: u32) -> Option<&T> {
        match self.slot(number)? {
            Slot::Used(thing) => Some(thing),
            Slot::Free(_) => None,
        }
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let number = number as usize;
        let chunk = self.chunks.get_mut(number / Self::SLOTS)?;
        match chunk.slots.get_mut(number % Self::SLOTS)? {
            Slot::Used(thing) => Some(thing),
            Slot::Free(_) => None,
        }
    }

    /// Keeps a thing, and gives its number; `None` when all 2^32 are in use.
    pub fn add(&mut self, thing: T) -> Option<u32> {
        let at = match self.room.first() {
            Some(&at) => at,
            None => {
                self.chunks.push(Chunk {
                    slots: Vec::new(),
                    free: None,
                    used: 0,
                });
                self.room.insert(self.chunks.len() - 1);
                self.chunks.len() - 1
            }
        };
        let chunk = &mut self.chunks[at];
        if chunk.slots.capacity() == 0 {
            chunk.slots.reserve_exact(Self::SLOTS);
        }
        let within = match chunk.free {
            Some(within) => within as usize,
            None => chunk.slots.len(),
        };
        let number = u32::try_from(at * Self::SLOTS + within).ok()?;
        match chunk.slots.get_mut(within) {
            Some(slot) => {
                if let Slot::Free(next) = slot {
                    chunk.free = *next;
                }
                *slot = Slot::Used(thing);
            }
            None => chunk.slots.push(Slot::Used(thing)),
        }
        chunk.used += 1;
        if chunk.used as usize == Self::SLOTS {
            self.room.remove(&at);
        }
        Some(number)
    }

    pub fn remove(&mut self, number: u32) -> Option<T> {
        let (at, within) = (number as usize / Self::SLOTS, number as usize % Self::SLOTS);
        let chunk = self.chunks.get_mut(at)?;
        let slot = chunk.slots.get_mut(within)?;
        if let Slot::Free(_) = slot {
            return None;
        }
        let removed = std::mem::replace(slot, Slot::Free(chunk.free));
        chunk.free = Some(within as u32);
        chunk.used -= 1;
        self.room.insert(at);
        if chunk.used == 0 {
            chunk.free = None;
            chunk.slots = Vec::new();
        }
        for _ in 0..TRIM {
            if self.chunks.last().is_some_and(|last| last.used == 0) {
                self.chunks.pop();
                self.room.remove(&self.chunks.len());
                shrink(&mut self.chunks);
            }
        }
        match removed {
            Slot::Used(thing) => Some(thing),
            Slot::Free(_) => None,
        }
    }
}
