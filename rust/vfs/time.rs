// SPDX-License-Identifier: GPL-2.0

//! Time-outs of what is cached.
//!
//! C headers: [`include/linux/jiffies.h`](srctree/include/linux/jiffies.h)

use crate::bindings;
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Full, Relaxed},
};

/// Until when something holds; at first it does not. Others may read it while it is set.
#[repr(transparent)]
pub(crate) struct Expiry(Atomic<u64>);

// SAFETY: All zeroes is an `Expiry` that is past.
unsafe impl Zeroable for Expiry {}

/// A number that only ever grows, and tells the states of something apart; 0 at first. Others may
/// read it while it changes.
#[repr(transparent)]
pub(crate) struct Version(Atomic<u64>);

// SAFETY: All zeroes is a `Version` of 0.
unsafe impl Zeroable for Version {}

impl Version {
    /// The first but one.
    pub(crate) fn first() -> Self {
        Self(Atomic::new(1))
    }

    /// The version now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Makes it that one.
    pub(crate) fn set(&self, version: u64) {
        self.0.store(version, Relaxed);
    }

    /// Begins the next. What was done before is seen by whoever sees it.
    pub(crate) fn advance(&self) {
        self.0.fetch_add(1, Full);
    }

    /// The version now, after all that this thread has done before is to be seen by others: either it
    /// is the one that another thread has [begun](Self::advance), or that thread sees what was done.
    pub(crate) fn get_after(&self) -> u64 {
        self.0.fetch_add(0, Full)
    }
}

/// Until when something holds that may be tracked; at first it does not hold, and is not tracked.
/// Whoever tracks it, or stops to, has a lock for that.
#[repr(transparent)]
pub(super) struct Holds(Atomic<u64>);

// SAFETY: All zeroes is a `Holds` that is past.
unsafe impl Zeroable for Holds {}

impl Holds {
    /// Beside the time: it is tracked.
    const TRACKED: u64 = 1 << 63;

    /// Whether the time is over.
    pub(super) fn is_past(&self) -> bool {
        self.0.load(Relaxed) & !Self::TRACKED < Ticks::now().0
    }

    /// Until when, if it is tracked.
    pub(super) fn tracked_until(&self) -> Option<Ticks> {
        let value = self.0.load(Relaxed);
        (value & Self::TRACKED != 0).then_some(Ticks(value & !Self::TRACKED))
    }

    /// Sets the time, unless it is tracked; returns whether it is not.
    pub(super) fn set_untracked(&self, until: Ticks) -> bool {
        let mut old = self.0.load(Relaxed);
        while old & Self::TRACKED == 0 {
            match self.0.cmpxchg(old, until.0, Relaxed) {
                Ok(_) => return true,
                Err(now) => old = now,
            }
        }
        false
    }

    /// Sets the time, and that it is tracked. With the lock.
    pub(super) fn set_tracked(&self, until: Ticks) {
        self.0.store(until.0 | Self::TRACKED, Relaxed);
    }

    /// Sets the time, and that it is not tracked. With the lock.
    pub(super) fn end_tracking(&self, until: Ticks) {
        self.0.store(until.0, Relaxed);
    }
}

/// A point in time, in ticks since boot; 0 is always past.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticks(u64);

impl Ticks {
    /// Always past.
    pub(crate) const PAST: Self = Self(0);

    /// So long from now. Nothing at all is always past; what is too long for the clock is for ever.
    pub(crate) fn after(seconds: u64, nanoseconds: u32) -> Self {
        if seconds == 0 && nanoseconds == 0 {
            return Self::PAST;
        }
        let time = bindings::timespec64 {
            tv_sec: i64::try_from(seconds).unwrap_or(i64::MAX),
            tv_nsec: nanoseconds.min(999_999_999) as c_long,
        };
        // SAFETY: The time is valid.
        let ticks = unsafe { bindings::timespec64_to_jiffies(&time) };
        Self(Self::now().0.saturating_add(ticks as u64))
    }

    /// Now.
    pub(crate) fn now() -> Self {
        // SAFETY: Reads a counter.
        Self(unsafe { bindings::get_jiffies_64() })
    }
}

impl Expiry {
    /// One that is past.
    pub(crate) fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Holds until then.
    pub(crate) fn set(&self, until: Ticks) {
        self.0.store(until.0, Relaxed);
    }

    /// Whether the time is over.
    pub(crate) fn is_past(&self) -> bool {
        self.0.load(Relaxed) < Ticks::now().0
    }
}
