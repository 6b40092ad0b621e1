// SPDX-License-Identifier: GPL-2.0

//! Requests that nobody waits for, and their limits.
//!
//! Readahead and writeback come in bursts. At most `max_background` of them are with the daemon
//! ("active") at once, so that a burst never keeps a caller's own request from being read; the
//! rest wait in the background queue. Who makes more than `max_background` of them waits at the
//! gate until there are fewer.

use super::{place::Place, state::Locked, table::Index, Carried, Queue, Refusable};
use crate::sys::{errno, park, RequestBox, Sleep, Thread};

/// `max_background` unless the daemon or an administrator says otherwise.
pub(crate) const DEFAULT_MAX_BACKGROUND: u32 = 12;
/// `congestion_threshold` likewise: readahead that can wait does, above it.
pub(crate) const DEFAULT_CONGESTION_THRESHOLD: u32 = DEFAULT_MAX_BACKGROUND * 3 / 4;

/// Limits and counts of background requests.
pub(super) struct Limits {
    /// How many may be active.
    pub(super) max: u32,
    pub(super) congestion_threshold: u32,
    /// How many there are: queued or active.
    pub(super) count: u32,
    /// How many are pending or with the daemon.
    pub(super) active: u32,
}

impl Limits {
    pub(super) fn new() -> Self {
        Limits {
            max: DEFAULT_MAX_BACKGROUND,
            congestion_threshold: DEFAULT_CONGESTION_THRESHOLD,
            count: 0,
            active: 0,
        }
    }
}

impl<C: Carried> Locked<'_, C> {
    /// Queues a background request, and offers as many as the limit allows.
    fn enqueue(&mut self, index: Index) {
        self.background.count += 1;
        self.slots.at(index).counted = true;
        self.move_to(index, Place::Background);
        self.promote();
    }

    fn promote(&mut self) {
        while self.background.active < self.background.max {
            let Some(index) = self.lists.background.front() else {
                return;
            };
            self.background.active += 1;
            self.slots.at(index).active = true;
            self.offer(index);
        }
    }

    /// Lets requests through the gate, in their order, as long as there is room.
    fn admit(&mut self) {
        while self.started && self.background.count < self.background.max {
            let Some(index) = self.lists.background_gate.front() else {
                return;
            };
            let caller = self.slots.at(index).caller.take();
            self.wake(caller);
            self.enqueue(index);
        }
    }

    /// More may pass and more be offered: one has ended, the limits or the connection's state
    /// have changed.
    pub(super) fn refill(&mut self) {
        self.promote();
        self.admit();
    }

    /// A request no longer counts against the limits, if it did.
    pub(super) fn discount(&mut self, index: Index) {
        let slot = self.slots.at(index);
        if !core::mem::replace(&mut slot.counted, false) {
            return;
        }
        let active = core::mem::replace(&mut slot.active, false);
        self.background.count -= 1;
        self.background.active -= u32::from(active);
        self.refill();
    }
}

impl<C: Carried> Queue<C> {
    /// Sends a request that nobody waits for; [`Carried::ended`] is told of its end.
    ///
    /// Waits at the gate while the connection has not started, or `max_background` of them are
    /// under way: EINTR on a fatal signal, ENOTCONN after an abort, ENOMEM; the request comes back
    /// with the error. With `force` it passes the gate at once, and waits for memory: for INIT,
    /// and for what must not get lost.
    pub(crate) fn submit(&self, request: RequestBox<C>, force: bool) -> Refusable<(), C> {
        let (mut lock, index) = self.enter(request, true, force)?;
        if force || (lock.started && lock.background.count < lock.background.max) {
            lock.enqueue(index);
            return Ok(());
        }
        let slot = lock.slots.at(index);
        let generation = slot.generation;
        slot.caller = Some(Thread::current());
        lock.move_to(index, Place::Gate);
        drop(lock);

        // The slot is somebody else's as soon as the request has passed and ended.
        let passed = |lock: &mut Locked<'_, C>| {
            let slot = lock.slots.at(index);
            slot.generation != generation || slot.place != Place::Gate
        };
        if park(Sleep::Killable, || passed(&mut self.lock()).then_some(())).is_some() {
            return Ok(());
        }
        let mut lock = self.lock();
        if passed(&mut lock) {
            return Ok(());
        }
        match lock.withdraw(index) {
            Some(request) => Err((errno::EINTR, request)),
            None => Ok(()),
        }
    }

    /// Sends a request that nobody waits for, and that the limits are not for: the daemon has asked for
    /// it. [`Carried::ended`] is told of its end. ENOTCONN after an abort, ENOMEM; the request comes
    /// back with the error. The connection must have started.
    pub(crate) fn post(&self, request: RequestBox<C>) -> Refusable<(), C> {
        let (mut lock, index) = self.enter(request, false, false)?;
        lock.offer(index);
        Ok(())
    }

    /// Sets how many background requests may be active at once.
    pub(crate) fn set_max_background(&self, max: u32) {
        let mut lock = self.lock();
        lock.background.max = max;
        lock.refill();
    }

    /// Sets the number of background requests from which on the connection is congested.
    pub(crate) fn set_congestion_threshold(&self, threshold: u32) {
        self.lock().background.congestion_threshold = threshold;
    }

    /// Whether readahead that can wait should.
    pub(crate) fn is_congested(&self) -> bool {
        let lock = self.lock();
        lock.background.count >= lock.background.congestion_threshold
    }
}
