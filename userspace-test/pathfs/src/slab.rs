// SPDX-License-Identifier: GPL-2.0

//! Memory for many things of one kind: nothing in it ever moves, and what is empty goes back, a piece at
//! a time.

/// How many bytes of memory are got, and given back, at a time. Such a piece is to come from the
/// system, and go there (see [`give_memory_back`](crate::give_memory_back)), which is the most that one
/// operation has to do; what it costs grows with the pages. These are two, less what `malloc` puts in
/// front.
pub(crate) const CHUNK_BYTES: usize = (8 << 10) - 16;

/// How many empty chunks at the end are forgotten at a time.
const TRIM: usize = 8;

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

/// The chunks that are not full, a bit each. The first of them is filled first, so that the last get
/// empty. (A tree would have to be allocated piece by piece, between what is to go back.)
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
    chunks: Vec<Chunk<T>>,
    room: Room,
    /// The chunks that have become empty, some of which may be in use again.
    empty: Vec<usize>,
    /// Whether what was added last needed a chunk of its own.
    got: bool,
}

impl<T> Slab<T> {
    /// How many things are in a chunk.
    const SLOTS: usize = CHUNK_BYTES / size_of::<Slot<T>>();

    pub fn new() -> Self {
        Self {
            chunks: Vec::new(),
            room: Room::default(),
            // There from the beginning, not to end up behind what is to go back.
            empty: Vec::with_capacity(16),
            got: false,
        }
    }

    /// Whether memory was got for what was added last; tells it once.
    pub fn got_memory(&mut self) -> bool {
        std::mem::take(&mut self.got)
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
            Some(at) => at,
            None => {
                self.chunks.push(Chunk {
                    slots: Vec::new(),
                    free: None,
                    used: 0,
                });
                let at = self.chunks.len() - 1;
                self.room.insert(at);
                at
            }
        };
        let chunk = &mut self.chunks[at];
        self.got = chunk.slots.capacity() == 0;
        if self.got {
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
            self.room.remove(at);
        }
        if within == Self::SLOTS / 2 {
            // Not at the moment when a chunk has to be got as well.
            self.chunks.reserve(1);
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
            self.empty.push(at);
        }
        match removed {
            Slot::Used(thing) => Some(thing),
            Slot::Free(_) => None,
        }
    }

    /// Gives one empty chunk back, or forgets a few at the end that were given back; says whether there
    /// was anything to do. To be called from time to time, when things were removed.
    pub fn give_back(&mut self) -> bool {
        while let Some(at) = self.empty.pop() {
            if let Some(chunk) = self.chunks.get_mut(at).filter(|chunk| chunk.used == 0) {
                chunk.free = None;
                chunk.slots = Vec::new();
                return true;
            }
        }
        let before = self.chunks.len();
        for _ in 0..TRIM {
            if self.chunks.last().is_some_and(|last| last.used == 0) {
                self.chunks.pop();
                self.room.remove(self.chunks.len());
            }
        }
        shrink(&mut self.chunks);
        self.chunks.len() < before
    }
}
