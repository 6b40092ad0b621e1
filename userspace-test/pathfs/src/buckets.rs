// SPDX-License-Identifier: GPL-2.0

//! The buckets of a hash table that is never rehashed as a whole: linear hashing.
//!
//! There are always some number `n` of buckets, not just powers of two. Growing by one splits one
//! bucket: what is in it stays, or goes to the new last one. Shrinking by one takes that back. So
//! there is no moment in which everything has to move, and nobody waits for one.

use crate::slab::shrink;

/// How many buckets there are at the least, as in `libfuse`.
pub(crate) const MIN_BUCKETS: usize = 8192;

/// Buckets of one piece of memory: a page, less what `malloc` puts in front.
const CHUNK: usize = 4080 / size_of::<u32>();

/// Where lists begin: for each bucket a number, and 0 for an empty one.
pub(crate) struct Buckets {
    chunks: Vec<Vec<u32>>,
    len: usize,
}

/// What a bucket was split into, or merged from: one of before, and the last one.
pub(crate) struct Pair {
    pub old: usize,
    pub last: usize,
    /// What is set in the hash of what belongs into the last one.
    pub bit: u32,
}

impl Buckets {
    pub fn new() -> Self {
        Self {
            chunks: vec![vec![0; CHUNK]; MIN_BUCKETS.div_ceil(CHUNK)],
            len: MIN_BUCKETS,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The bucket for what has that hash.
    pub fn of(&self, hash: u32) -> usize {
        let level = 1 << self.len.ilog2();
        let index = hash as usize & (2 * level - 1);
        match index < self.len {
            true => index,
            false => index & (level - 1),
        }
    }

    /// The first in a bucket.
    pub fn get(&self, bucket: usize) -> u32 {
        self.chunks[bucket / CHUNK][bucket % CHUNK]
    }

    pub fn set(&mut self, bucket: usize, first: u32) {
        self.chunks[bucket / CHUNK][bucket % CHUNK] = first;
    }

    fn pair(&self, last: usize) -> Pair {
        let level = 1 << last.ilog2();
        Pair {
            old: last - level,
            last,
            bit: level as u32,
        }
    }

    /// Gets memory for the next bucket, if there is none; says whether there was anything to do.
    pub fn make_room(&mut self) -> bool {
        let full = self.len == CHUNK * self.chunks.len();
        if full {
            // Zeroes that nobody has looked at take no time, and no memory.
            self.chunks.push(vec![0; CHUNK]);
        }
        full
    }

    /// Adds an empty bucket at the end; gives it, and the one that it shares with. There is room.
    pub fn grow(&mut self) -> Pair {
        self.len += 1;
        if self.len % CHUNK == CHUNK / 2 {
            // Not at the moment when a chunk has to be got as well.
            self.chunks.reserve(1);
        }
        self.pair(self.len - 1)
    }

    /// What has to be emptied into what before the last one can go.
    pub fn last_pair(&self) -> Pair {
        self.pair(self.len - 1)
    }

    /// Takes the last bucket away.
    pub fn shrink(&mut self) {
        self.len -= 1;
        if self.len % CHUNK == CHUNK / 2 {
            shrink(&mut self.chunks);
        }
    }

    /// Gives memory back that is for no bucket; says whether there was anything to do.
    pub fn give_back(&mut self) -> bool {
        let unused = self.len <= CHUNK * (self.chunks.len() - 1);
        if unused {
            self.chunks.pop();
        }
        unused
    }
}
