// SPDX-License-Identifier: GPL-2.0

//! What all processes of all rounds count together: calls, and the code that they have run.

use crate::{
    calls::Calls,
    sys::{shared, Said},
};
use kcov::Coverage;
use nix::errno::Errno;
use std::{
    cell::RefCell,
    collections::HashSet,
    io,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// For how many addresses there is room; a power of two.
const ADDRESSES: usize = 1 << 16;
/// How many addresses a thread may come to before they are looked at.
const AREA: usize = 1 << 16;
/// No errno is that large; what is, is the last.
const ERRORS: usize = 140;

/// The counts.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// For each kind of call, how many were made, and how many worked.
    counts: &'static [AtomicU64],
    /// How many ended with each errno; those that worked, with 0.
    errors: &'static [AtomicU64],
    /// The addresses, each where its hash is or behind; none where there is no KCOV.
    addresses: &'static [AtomicU64],
}

impl Seen {
    /// Nothing yet.
    pub fn new() -> io::Result<Self> {
        let covered = Coverage::new(AREA).is_ok();
        Ok(Self {
            counts: shared::words(2 * Calls::new().kinds().len())?,
            errors: shared::words(ERRORS)?,
            addresses: match covered {
                true => shared::words(ADDRESSES)?,
                false => &[],
            },
        })
    }

    /// A call of that kind begins.
    pub fn begins(&self, kind: usize) {
        self.counts[2 * kind].fetch_add(1, Relaxed);
    }

    /// It ended so.
    pub fn ends(&self, kind: usize, said: Said) {
        self.counts[2 * kind + 1].fetch_add(u64::from(said.is_ok()), Relaxed);
        let error = said.err().unwrap_or(0) as usize;
        self.errors[error.min(ERRORS - 1)].fetch_add(1, Relaxed);
    }

    /// The errnos that calls ended with, and how many, the most frequent first.
    pub fn errors(&self) -> Vec<(Errno, u64)> {
        let all = (0..).zip(self.errors).skip(1);
        let all = all.map(|(error, count)| (Errno::from_raw(error), count.load(Relaxed)));
        let mut all: Vec<_> = all.filter(|(_, count)| *count > 0).collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        all
    }

    /// How many calls of that kind were made, and how many worked.
    pub fn of(&self, kind: usize) -> (u64, u64) {
        let count = |at: usize| self.counts[at].load(Relaxed);
        (count(2 * kind), count(2 * kind + 1))
    }

    /// How many calls were made.
    pub fn calls(&self) -> u64 {
        let made = self.counts.iter().step_by(2);
        made.map(|count| count.load(Relaxed)).sum()
    }

    /// Notes what one thread runs, if that can be.
    pub fn coverage(&self) -> Option<Coverage> {
        match self.addresses {
            [] => None,
            _ => Coverage::new(AREA).ok(),
        }
    }

    /// Takes over what the calling thread has come to.
    pub fn note(&self, coverage: &Coverage) {
        thread_local! {
            static KNOWN: RefCell<HashSet<u64>> = RefCell::default();
        }
        KNOWN.with_borrow_mut(|known| {
            for address in coverage.addresses() {
                if address != 0 && known.insert(address) {
                    self.insert(address);
                }
            }
        });
        coverage.clear();
    }

    fn insert(&self, address: u64) {
        let start = (address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as usize;
        for step in 0..ADDRESSES {
            let place = &self.addresses[(start + step) % ADDRESSES];
            match place.compare_exchange(0, address, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(there) if there == address => return,
                Err(_) => {}
            }
        }
    }

    /// All addresses that were come to, in their order.
    pub fn addresses(&self) -> Vec<u64> {
        let all = self.addresses.iter().map(|word| word.load(Relaxed));
        let mut all: Vec<_> = all.filter(|address| *address != 0).collect();
        all.sort_unstable();
        all
    }
}
