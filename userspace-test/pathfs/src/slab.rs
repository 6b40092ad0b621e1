// SPDX-License-Identifier: GPL-2.0

//! Memory for many things of one kind: nothing in it ever moves, and what is empty goes back, a page at
//! a time.

use crate::memory::Pages;

/// A place for a thing.
enum Slot<T> {
    Used(T),
    /// It is free, and so is that one of the same page.
    Free(Option<u32>),
}

/// What is known of a page.
struct Chunk {
    used: usize,
    free: Option<u32>,
}

/// The pages that are not full, a bit each. The first of them is filled first, so that the last get
/// empty.
#[derive(Default)]
struct Room {
    words: Vec<u64>,
    /// What comes before these is all zeroes.
    first: usize,
}

impl Room {
    fn insert(&mut self, at: usize) {
        if self.words.len() <= at / 64 {
            self.words.resize(at / 64 + 1, 0);
        }
        self.words[at / 64] |= 1 << (at % 64);
        self.first = self.first.min(at / 64);
    }

    fn remove(&mut self, at: usize) {
        self.words[at / 64] &= !(1 << (at % 64));
    }

    fn first(&mut self) -> Option<usize> {
        while *self.words.get(self.first)? == 0 {
            self.first += 1;
        }
        Some(64 * self.first + self.words[self.first].trailing_zeros() as usize)
    }
}

/// Things, by the number that they are given.
pub(crate) struct Slab<T> {
    pages: Pages<Chunk, Slot<T>>,
    /// How many pages there have been.
    len: usize,
    room: Room,
    /// The page that became empty last. It is kept, not to be got again at once.
    spare: Option<usize>,
}

impl<T> Slab<T> {
    /// How many things are in a page.
    const SLOTS: usize = Pages::<Chunk, Slot<T>>::EACH;

    pub fn new() -> Self {
        Self {
            pages: Pages::new(),
            len: 0,
            room: Room::default(),
            spare: None,
        }
    }

    pub fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        match &self.pages.get(number / Self::SLOTS)?.1[number % Self::SLOTS] {
            Slot::Used(thing) => Some(thing),
            Slot::Free(_) => None,
        }
    }

    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let number = number as usize;
        match &mut self.pages.get_mut(number / Self::SLOTS)?.1[number % Self::SLOTS] {
            Slot::Used(thing) => Some(thing),
            Slot::Free(_) => None,
        }
    }

    /// A page that has room.
    fn with_room(&mut self) -> usize {
        let at = self.room.first().unwrap_or_else(|| {
            self.len += 1;
            self.room.insert(self.len - 1);
            self.len - 1
        });
        if self.pages.get(at).is_none() {
            let chunk = Chunk {
                used: 0,
                free: Some(0),
            };
            let next = |within| (within + 1 < Self::SLOTS).then_some(within as u32 + 1);
            self.pages.put(at, chunk, |within| Slot::Free(next(within)));
        }
        at
    }

    /// Keeps a thing, and gives its number; `None` when all 2^32 are in use.
    pub fn add(&mut self, thing: T) -> Option<u32> {
        let at = self.with_room();
        let (chunk, slots) = self.pages.get_mut(at)?;
        let within = chunk.free?;
        let number = u32::try_from(at * Self::SLOTS + within as usize).ok()?;
        let slot = &mut slots[within as usize];
        if let Slot::Free(next) = slot {
            chunk.free = *next;
        }
        *slot = Slot::Used(thing);
        chunk.used += 1;
        if chunk.used == Self::SLOTS {
            self.room.remove(at);
        }
        Some(number)
    }

    pub fn remove(&mut self, number: u32) -> Option<T> {
        let (at, within) = (number as usize / Self::SLOTS, number as usize % Self::SLOTS);
        let (chunk, slots) = self.pages.get_mut(at)?;
        let slot = &mut slots[within];
        if let Slot::Free(_) = slot {
            return None;
        }
        let removed = std::mem::replace(slot, Slot::Free(chunk.free));
        chunk.free = Some(within as u32);
        chunk.used -= 1;
        let empty = chunk.used == 0;
        self.room.insert(at);
        if empty {
            self.keep(at);
        }
        match removed {
            Slot::Used(thing) => Some(thing),
            Slot::Free(_) => None,
        }
    }

    /// Keeps a page that has become empty, and gives the one back that was kept for that.
    fn keep(&mut self, at: usize) {
        let spare = self.spare.replace(at).filter(|&spare| spare != at);
        let unused = |(chunk, _): (&Chunk, _)| chunk.used == 0;
        if let Some(spare) = spare.filter(|&spare| self.pages.get(spare).is_some_and(unused)) {
            self.pages.take(spare);
        }
    }
}
