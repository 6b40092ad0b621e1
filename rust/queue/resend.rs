// SPDX-License-Identifier: GPL-2.0

//! Surviving the daemon: what it has read and not answered is sent again, or given up.

use super::{
    lifecycle::DeviceId,
    place::Place,
    state::{Locked, State},
    table::Index,
    Carried, Forget, InterruptStep, Queue,
};
use crate::sys::{errno, fifo::Fifo, RequestBox};

impl<C: Carried> Queue<C> {
    /// Sends again, before all that is pending and in the order in which they were first read, the
    /// requests that were read and not answered. They are marked in their `unique`, by which alone
    /// they can be answered from now on. Does nothing after an abort.
    pub(crate) fn resend(&self) {
        let mut lock = self.lock();
        if lock.connected {
            lock.put_back(|_| true);
        }
    }

    /// Ends with EIO the requests that were read and not answered.
    pub(crate) fn flush(&self) {
        let mut lock = self.lock();
        lock.condemn_processing(errno::EIO);
        drop(lock);
        self.end_aborted();
    }

    /// The thread that was reading these forgets is being killed: others will read them, before what
    /// has come since. Never sleeps, unless all was aborted.
    pub(crate) fn unread_forgets(&self, forgets: Fifo<Forget>) {
        let mut lock = self.lock();
        if lock.connected {
            lock.forgets.prepend(forgets);
            lock.call_for_reader();
        }
    }

    /// The thread that was reading the interrupt of the request with this `unique` is being killed:
    /// another will read it, if the request is still with a daemon.
    pub(crate) fn unread_interrupt(&self, of: u64) {
        let mut lock = self.lock();
        if let Some(index) = lock.find(of) {
            lock.interrupt(index);
        }
    }

    /// From now on the connection outlives its last device: what a device that is closed was
    /// processing is sent again, and requests wait for a device to be attached.
    pub(crate) fn recover(&self) {
        self.lock().recover = true;
    }

    /// Whether [`recover`](Queue::recover) was called.
    pub(crate) fn recovers(&self) -> bool {
        self.lock().recover
    }
}

impl<C: Carried> Locked<'_, C> {
    /// Puts back what that device was processing.
    pub(super) fn put_back_from(&mut self, device: DeviceId) {
        self.put_back(|each| each == device.index());
    }

    /// Puts back what those devices were processing, marked: the daemon may have acted on it.
    fn put_back(&mut self, mut from: impl FnMut(Index) -> bool) {
        // The latest first, which saves looking for its place.
        while let Some(index) = self.last_taken(&mut from) {
            self.uninterrupt(index, InterruptStep::Dropped);
            self.slots.at(index).resent = true;
            self.pend_again(index);
        }
        self.offer_again();
    }

    /// The request that was taken last of what those devices are processing.
    fn last_taken(&mut self, from: &mut impl FnMut(Index) -> bool) -> Option<Index> {
        let mut last: Option<(u64, Index)> = None;
        let mut device = 0;
        while let Some(each) = self.lists.devices.get(device) {
            if let Some(index) = each.processing.back().filter(|_| from(device)) {
                let taken = self.slots.at(index).taken;
                last = last.max(Some((taken, index)));
            }
            device += 1;
        }
        last.map(|(_, index)| index)
    }

    /// Moves a request back to pending: before all that no reader has taken yet, and in the order
    /// of those that one had.
    fn pend_again(&mut self, index: Index) {
        self.move_to(index, Place::Pending);
        let State { lists, slots, .. } = &mut **self;
        let taken = slots.at(index).taken;
        lists.pending.remove(slots, index);
        let mut behind = lists.pending.front();
        while let Some(other) = behind.filter(|other| (1..taken).contains(&slots.at(*other).taken))
        {
            behind = lists.pending.after(slots, other);
        }
        lists.pending.insert(slots, index, behind);
    }

    /// Readers idle only while nothing is pending.
    fn offer_again(&mut self) {
        while let (false, Some(index)) = (self.idle.is_empty(), self.lists.pending.front()) {
            self.offer(index);
        }
        if !self.lists.pending.is_empty() {
            self.ring();
        }
    }
}

impl<C: Carried> Locked<'_, C> {
    /// The thread that was reading a request is being killed: another will read it. It is not marked
    /// as one that is sent again, for it was never sent: read(2) does not return to that thread, so no
    /// daemon can have acted on what was copied. So it may also be taken back by its caller.
    pub(super) fn unread(mut self, index: Index, request: RequestBox<C>) {
        let slot = self.slots.at(index);
        if slot.doomed {
            return self.end(index, request, Err(errno::ECONNABORTED));
        }
        slot.request = Some(request);
        self.pend_again(index);
        self.offer_again();
    }

    /// The thread that was answering a request is being killed: it is not answered, as if that thread
    /// had not begun. Whoever has the device next sends it again, answers it, or closes the device.
    pub(super) fn unanswered(mut self, index: Index, request: RequestBox<C>) {
        let slot = self.slots.at(index);
        if slot.doomed {
            return self.end(index, request, Err(errno::ECONNABORTED));
        }
        slot.request = Some(request);
        let interrupted = slot.interrupted;
        self.move_to(index, Place::Processing);
        // A signal may have come meanwhile; and whoever was told of an earlier one is dying.
        if interrupted {
            self.interrupt(index);
        }
    }
}
