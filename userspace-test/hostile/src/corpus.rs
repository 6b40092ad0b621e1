// SPDX-License-Identifier: GPL-2.0

//! The inputs worth keeping, and the code that they have come to.

use crate::input::Input;
use fastrand::Rng;

/// One that came to new code.
pub struct Entry {
    /// It.
    pub input: Input,
    /// What it led callers to ask for.
    pub opcodes: Vec<u32>,
}

/// All that were kept.
pub struct Corpus {
    entries: Vec<Entry>,
    /// A bit for each byte of the module's code.
    seen: Vec<u64>,
    points: usize,
    start: u64,
}

/// The latest ones are mutated as often as all others together.
const LATEST: usize = 24;
/// The most code that a module has, in bytes.
const MOST_CODE: usize = 16 << 20;

impl Corpus {
    /// None yet; of a module whose code begins there.
    pub fn new(start: u64) -> Self {
        Self {
            entries: Vec::new(),
            seen: Vec::new(),
            points: 0,
            start,
        }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many points of the module's code have been come to.
    pub fn points(&self) -> usize {
        self.points
    }

    /// Notes what was come to. How much of it is new.
    pub fn note(&mut self, addresses: impl Iterator<Item = u64>) -> usize {
        let before = self.points;
        for address in addresses {
            let at = address.wrapping_sub(self.start) as usize;
            // What ran while the module was loaded has been elsewhere.
            if at >= MOST_CODE {
                continue;
            }
            let (word, bit) = (at / 64, 1 << (at % 64));
            if word >= self.seen.len() {
                self.seen.resize(word + 1, 0);
            }
            if self.seen[word] & bit == 0 {
                self.seen[word] |= bit;
                self.points += 1;
            }
        }
        self.points - before
    }

    /// Keeps one.
    pub fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
    }

    /// One to make others of.
    pub fn choose(&self, rng: &mut Rng) -> &Entry {
        let all = self.entries.len();
        let first = match rng.bool() {
            true => all.saturating_sub(LATEST),
            false => 0,
        };
        &self.entries[rng.usize(first..all)]
    }

    /// The points that were come to, a line each: the section, and where in it.
    pub fn reached(&self) -> String {
        let mut text = String::new();
        for (number, word) in self.seen.iter().enumerate() {
            for bit in (0..64).filter(|bit| word >> bit & 1 != 0) {
                text += &format!(".text {:#x}\n", number * 64 + bit);
            }
        }
        text
    }
}
