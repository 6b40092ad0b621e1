// SPDX-License-Identifier: GPL-2.0

//! How long requests take, by what they ask for.

use super::{
    state::{Slot, State},
    Carried, Queue,
};
use crate::sys::{self, Result, Vec, VecExt};

/// Powers of two of microseconds that are told apart: up to half an hour.
pub(crate) const BUCKETS: usize = 32;

/// What is known of the requests of one class that have ended.
#[derive(Clone, Copy)]
pub(crate) struct Latency {
    /// How many there were.
    pub(crate) requests: u64,
    /// How many of them ended with an error.
    pub(crate) errors: u64,
    /// How long all of them took, from being made to their end, in nanoseconds.
    pub(crate) total: u64,
    /// How many of them took less than 2^n microseconds, but not less than half of it.
    pub(crate) buckets: [u64; BUCKETS],
}

impl Latency {
    const NONE: Latency = Latency {
        requests: 0,
        errors: 0,
        total: 0,
        buckets: [0; BUCKETS],
    };

    #[inline]
    fn record(&mut self, nanoseconds: u64, outcome: Result) {
        self.requests += 1;
        self.errors += u64::from(outcome.is_err());
        self.total = self.total.saturating_add(nanoseconds);
        let microseconds = nanoseconds / 1000;
        let bucket = (u64::BITS - microseconds.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
    }
}

/// The latencies of every class, before any request. ENOMEM; may sleep.
pub(super) fn none<C: Carried>() -> Result<Vec<Latency>> {
    let mut latencies = Vec::allocate(C::CLASSES, false)?;
    for _ in 0..C::CLASSES {
        latencies.put(Latency::NONE);
    }
    Ok(latencies)
}

impl<C: Carried> State<C> {
    /// A request ends now.
    pub(super) fn record(&mut self, index: super::table::Index, outcome: Result) {
        let Slot { facts, born, .. } = self.slots.at(index);
        let (class, born) = (C::class(facts), *born);
        if let Some(latency) = self.latencies.get_mut(class) {
            latency.record(sys::now().saturating_sub(born), outcome);
        }
    }
}

impl<C: Carried> Queue<C> {
    /// The latencies of every class at one moment. May sleep; ENOMEM.
    pub(crate) fn latencies(&self) -> Result<Vec<Latency>> {
        let mut copy = none::<C>()?;
        let lock = self.lock();
        for (to, from) in copy.iter_mut().zip(lock.latencies.iter()) {
            *to = *from;
        }
        drop(lock);
        Ok(copy)
    }
}
