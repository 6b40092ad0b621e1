// SPDX-License-Identifier: GPL-2.0

//! The connection starts, devices come and go, all is aborted.

use super::{
    place::Place,
    reader::Given,
    state::{Locked, State, PLACE},
    table::{Growth, Index, Linked, Links, List},
    Carried, Queue,
};
use crate::sys::{self, errno, park, Error, Result, Sleep, Thread};

/// An open device, as the queues know it.
pub(super) struct Device {
    links: Links,
    /// What was read from it and not yet answered.
    pub(super) processing: List<PLACE>,
}

impl Device {
    fn new() -> Self {
        Device {
            links: Links::NEW,
            processing: List::new(),
        }
    }
}

impl Linked<PLACE> for Device {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// Names a device that was attached.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceId(Index);

impl DeviceId {
    pub(super) fn index(self) -> Index {
        self.0
    }
}

impl<C: Carried> Queue<C> {
    /// The daemon has answered INIT: what waits at the gate goes on. Without `batch_forgets`, a
    /// daemon of old, readers get one forget at a time.
    pub(crate) fn start(&self, batch_forgets: bool) {
        let mut lock = self.lock();
        lock.started = true;
        lock.batch_forgets = batch_forgets;
        while let Some(index) = lock.lists.gate.front() {
            lock.offer(index);
        }
        lock.refill();
    }

    /// The daemon has refused: what waits at the gate, and what comes later, ends with that error.
    /// What is forced is sent all the same, and readers go on waiting.
    pub(crate) fn refuse(&self, error: Error) {
        let mut lock = self.lock();
        lock.refusal = Some(error);
        lock.clear_gate(error);
        drop(lock);
        self.end_aborted();
    }

    /// Whether [`start`](Queue::start) was called, and nothing has been aborted since.
    pub(crate) fn is_started(&self) -> bool {
        let lock = self.lock();
        lock.started && lock.connected
    }

    /// Whether nothing was aborted yet.
    pub(crate) fn is_connected(&self) -> bool {
        self.lock().connected
    }

    /// Adds a device; after an abort, one that says so to who reads. ENOMEM; may sleep.
    pub(crate) fn attach(&self) -> Result<DeviceId> {
        loop {
            let mut lock = self.lock();
            if let Some(index) = lock.lists.devices.claim() {
                return Ok(DeviceId(index));
            }
            let size = lock.lists.devices.size();
            drop(lock);
            let growth = Growth::for_table(size, false, Device::new)?;
            let mut lock = self.lock();
            let unused = lock.lists.devices.grow(growth);
            drop(lock);
            drop(unused);
        }
    }

    /// Removes a device that nobody reads or writes any more. What it was processing ends with
    /// ECONNABORTED; with the last device, everything does. If the connection is to
    /// [`recover`](Queue::recover), nothing ends, and what it was processing is sent again.
    pub(crate) fn detach(&self, device: DeviceId) {
        let mut lock = self.lock();
        if lock.recover && lock.connected {
            lock.put_back_from(device);
            lock.lists.devices.release(device.index());
            return;
        }
        while let Some(index) = lock.lists.devices.at(device.index()).processing.front() {
            lock.condemn(index, errno::ECONNABORTED);
        }
        lock.lists.devices.release(device.index());
        let last = lock.lists.devices.used() == 0;
        drop(lock);
        self.end_aborted();
        if last {
            self.abort(errno::ENODEV);
        }
    }

    /// Aborts everything: what waits ends with ECONNABORTED (what was still held back, with
    /// ENOTCONN), what is being copied ends when the copy does or waits for memory, and what comes later gets
    /// ENOTCONN. Readers get `reader_error`. Does nothing the second time, but for that error.
    pub(crate) fn abort(&self, reader_error: Error) {
        self.abort_locked(self.lock(), reader_error);
    }

    /// Aborts everything if a request is `limit` nanoseconds old that the daemon was to read or to
    /// answer. Whether there is reason to look again later: not after an abort.
    pub(crate) fn expire(&self, limit: u64) -> bool {
        let mut lock = self.lock();
        let now = sys::now();
        match lock.oldest() {
            Some(born) if now.saturating_sub(born) >= limit => {
                self.abort_locked(lock, errno::ENODEV);
                false
            }
            _ => lock.connected,
        }
    }

    fn abort_locked(&self, mut lock: Locked<'_, C>, reader_error: Error) {
        lock.reader_error = reader_error;
        if !lock.connected {
            return;
        }
        lock.connected = false;
        lock.doom();
        let forgets = lock.forgets.split_front(usize::MAX);
        lock.dismiss_readers();
        lock.ring();
        drop(lock);
        drop(forgets);
        self.end_aborted();
        self.bell.toll();
    }

    /// Waits, after an abort, until the last request has ended and whoever is told of its end has
    /// been told. Sleeps, deaf to signals; for one thread at a time.
    pub(crate) fn wait_drained(&self) {
        park(Sleep::Uninterruptible, || {
            let mut lock = self.lock();
            let drained = lock.slots.used() == 0;
            lock.drain = if drained {
                None
            } else {
                Some(Thread::current())
            };
            drained.then_some(())
        });
    }

    pub(super) fn end_aborted(&self) {
        loop {
            let mut lock = self.lock();
            let Some(index) = lock.lists.aborting.front() else {
                return;
            };
            let slot = lock.slots.at(index);
            let outcome = slot.outcome;
            let Some(request) = slot.request.take() else {
                return;
            };
            // Whoever else is here takes the next one.
            lock.end(index, request, outcome);
        }
    }
}

impl<C: Carried> Locked<'_, C> {
    /// When the oldest of the requests was made that have passed the gate and not ended. Looks at all
    /// of them: those that are sent again, and background ones, are in no list by their age.
    fn oldest(&mut self) -> Option<u64> {
        let mut oldest = None;
        let mut index = 0;
        while let Some(slot) = self.slots.get(index) {
            if !matches!(
                slot.place,
                Place::None | Place::Gate | Place::Aborting | Place::Ended
            ) {
                oldest = Some(oldest.map_or(slot.born, |born: u64| born.min(slot.born)));
            }
            index += 1;
        }
        oldest
    }

    /// Moves all requests that wait to [`Place::Aborting`], and marks those that are being copied.
    fn doom(&mut self) {
        let mut index = 0;
        while let Some(slot) = self.slots.get(index) {
            match slot.place {
                Place::Handed => self.condemn(index, errno::ECONNABORTED),
                // One whose copy waits for memory is in its slot.
                Place::Reading | Place::Writing if slot.request.is_some() => {
                    self.condemn(index, errno::ECONNABORTED);
                }
                Place::Reading | Place::Writing => slot.doomed = true,
                _ => {}
            }
            index += 1;
        }
        self.condemn_processing(errno::ECONNABORTED);
        while let Some(index) = self.lists.pending.front() {
            self.condemn(index, errno::ECONNABORTED);
        }
        while let Some(index) = self.lists.background.front() {
            self.condemn(index, errno::ECONNABORTED);
        }
        // What had not passed the gate ends as if it had come after the abort.
        self.clear_gate(errno::ENOTCONN);
    }

    /// Turns away all that waits at the gate.
    fn clear_gate(&mut self, error: Error) {
        while let Some(index) = self.lists.gate.front() {
            self.condemn(index, error);
        }
        while let Some(index) = self.lists.background_gate.front() {
            let caller = self.slots.at(index).caller.take();
            self.wake(caller);
            self.condemn(index, error);
        }
    }

    /// Condemns all that was read and not answered, on every device.
    pub(super) fn condemn_processing(&mut self, error: Error) {
        let mut device = 0;
        while let Some(each) = self.lists.devices.get(device) {
            match each.processing.front() {
                Some(index) => self.condemn(index, error),
                None => device += 1,
            }
        }
    }

    /// Moves a request to [`Place::Aborting`], to end with that error.
    pub(super) fn condemn(&mut self, index: Index, error: Error) {
        self.unhand(index);
        self.slots.at(index).outcome = Err(error);
        self.move_to(index, Place::Aborting);
    }

    fn dismiss_readers(&mut self) {
        loop {
            let State { idle, seats, .. } = &mut **self;
            let Some(seat) = idle.pop_front(seats) else {
                return;
            };
            let seat = seats.at(seat);
            seat.given = Given::Look;
            let thread = seat.thread.take();
            self.looking += 1;
            self.wake(thread);
        }
    }
}
