// SPDX-License-Identifier: GPL-2.0

//! The buckets of a hash table that is never rehashed as a whole: linear hashing.
//!
//! There are always some number `n` of buckets, not just powers of two. Growing by one splits one
//! bucket: what is in it stays, or goes to the new last one. Shrinking by one takes that back. So
//! there is no moment in which everything has to move, and nobody waits for one.

use crate::memory::Pages;

/// How many buckets there are at the least, as in `libfuse`.
pub(crate) const MIN_BUCKETS: usize = 8192;

type First = Pages<(), u32>;

/// Where lists begin: for each bucket a number, and 0 for an empty one.
pub(crate) struct Buckets {
    first: First,
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
        let mut first = First::new();
        for page in 0..MIN_BUCKETS.div_ceil(First::EACH) {
            first.put(page, (), |_| 0);
        }
        let len = MIN_BUCKETS;
        Self { first, len }
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
        let page = self.first.get(bucket / First::EACH);
        page.map_or(0, |(_, first)| first[bucket % First::EACH])
    }

    pub fn set(&mut self, bucket: usize, number: u32) {
        if let Some((_, first)) = self.first.get_mut(bucket / First::EACH) {
            first[bucket % First::EACH] = number;
        }
    }

    fn pair(&self, last: usize) -> Pair {
        let level = 1 << last.ilog2();
        Pair {
            old: last - level,
            last,
            bit: level as u32,
        }
    }

    /// Adds an empty bucket at the end; gives it, and the one that it shares with.
    pub fn grow(&mut self) -> Pair {
        let page = self.len / First::EACH;
        // One that is there has not been used since its buckets were emptied.
        if self.len.is_multiple_of(First::EACH) && self.first.get(page).is_none() {
            self.first.put(page, (), |_| 0);
        }
        self.len += 1;
        self.pair(self.len - 1)
    }

    /// What has to be emptied into what before the last one can go.
    pub fn last_pair(&self) -> Pair {
        self.pair(self.len - 1)
    }

    /// Takes the last bucket away, which is empty.
    pub fn shrink(&mut self) {
        self.len -= 1;
        // Half a page later than could be, not to get it again at once.
        if self.len % First::EACH == First::EACH / 2 {
            self.first.take(self.len / First::EACH + 1);
        }
    }
}
