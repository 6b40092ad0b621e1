// SPDX-License-Identifier: GPL-2.0

//! Looking in.

use super::{
    place::Place,
    state::{Facts, State, Traffic},
    Carried, Comm, Queue,
};
use crate::sys::{self, Result, Vec, VecExt};

/// A request, as it was when the lock was held.
pub(crate) struct Entry {
    pub(crate) unique: u64,
    pub(crate) place: Place,
    pub(crate) facts: Facts,
    /// Nanoseconds since it was made.
    pub(crate) age: u64,
    /// The thread that made it, by its name at that time.
    pub(crate) comm: Comm,
    /// It is never taken back.
    pub(crate) force: bool,
    /// Nobody waits for its end by design.
    pub(crate) background: bool,
    /// Its caller was killed.
    pub(crate) abandoned: bool,
    /// Its caller got a signal.
    pub(crate) interrupted: bool,
    /// A daemon had read it, and it was put back.
    pub(crate) resent: bool,
}

/// How many requests there are, and have been.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    /// All that has not ended, or whose end its caller has not seen.
    pub(crate) waiting: usize,
    /// By [`Place`], but [`Place::None`].
    pub(crate) traffic: [Traffic; Place::COUNT],
    /// Interrupts queued since the beginning, and now.
    pub(crate) interrupts: (u64, usize),
    /// Forgets queued since the beginning, and now.
    pub(crate) forgets: (u64, usize),
    /// Background requests that may be active, from which number on there is congestion, that there
    /// are, and that are active.
    pub(crate) max_background: u32,
    pub(crate) congestion_threshold: u32,
    pub(crate) background: u32,
    pub(crate) active_background: u32,
}

/// Everything, as it was when the lock was held.
pub(crate) struct Snapshot {
    pub(crate) counts: Counts,
    /// Every request, by slot.
    pub(crate) entries: Vec<Entry>,
}

impl<C: Carried> Queue<C> {
    /// The counts of one moment.
    pub(crate) fn counts(&self) -> Counts {
        self.lock().counts()
    }

    /// All of one moment. May sleep; ENOMEM.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        let mut entries = Vec::new();
        loop {
            let mut lock = self.lock();
            let used = lock.slots.used();
            if used <= entries.capacity() {
                let now = sys::now();
                let mut index = 0;
                while let Some(slot) = lock.slots.get(index) {
                    if slot.place != Place::None {
                        entries.put(Entry {
                            unique: slot.unique(index),
                            place: slot.place,
                            facts: slot.facts,
                            age: now.saturating_sub(slot.born),
                            comm: slot.comm,
                            force: slot.force,
                            background: slot.background,
                            abandoned: slot.abandoned,
                            interrupted: slot.interrupted,
                            resent: slot.resent,
                        });
                    }
                    index += 1;
                }
                let counts = lock.counts();
                return Ok(Snapshot { counts, entries });
            }
            drop(lock);
            entries = Vec::allocate(used + used / 4, false)?;
        }
    }
}

impl<C: Carried> State<C> {
    fn counts(&self) -> Counts {
        Counts {
            waiting: self.slots.used(),
            traffic: self.traffic,
            interrupts: (self.passed_interrupts, self.interrupts.len()),
            forgets: (self.passed_forgets, self.forgets.len()),
            max_background: self.background.max,
            congestion_threshold: self.background.congestion_threshold,
            background: self.background.count,
            active_background: self.background.active,
        }
    }
}
