// SPDX-License-Identifier: GPL-2.0

//! Surviving the daemon: what it has read and not answered is sent again, or given up.

use super::{
    lifecycle::DeviceId,
    state::{Place, State},
    table::Index,
    Carried, Queue,
};
use crate::sys::errno;

impl<C: Carried> Queue<C> {
    /// Sends again, before all that is pending and in the order in which they were read, the
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

impl<C: Carried> State<C> {
    /// Puts back what that device was processing.
    pub(super) fn put_back_from(&mut self, device: DeviceId) {
        self.put_back(|each| each == device.index());
    }

    /// Puts back what those devices were processing.
    fn put_back(&mut self, mut from: impl FnMut(Index) -> bool) {
        // The latest first, each in front of those before.
        while let Some(index) = self.last_read(&mut from) {
            self.uninterrupt(index);
            self.slots.at(index).resent = true;
            self.move_to_front(index);
        }
        // Readers idle only while nothing is pending.
        while let (false, Some(index)) = (self.idle.is_empty(), self.lists.pending.front()) {
            self.offer(index);
        }
        if !self.lists.pending.is_empty() {
            self.ring();
        }
    }

    /// The request that was read last of what those devices are processing.
    fn last_read(&mut self, from: &mut impl FnMut(Index) -> bool) -> Option<Index> {
        let mut last: Option<(u64, Index)> = None;
        let mut device = 0;
        while let Some(each) = self.lists.devices.get(device) {
            if let Some(index) = each.processing.back().filter(|_| from(device)) {
                let read = self.slots.at(index).read;
                last = last.max(Some((read, index)));
            }
            device += 1;
        }
        last.map(|(_, index)| index)
    }

    fn move_to_front(&mut self, index: Index) {
        self.move_to(index, Place::Pending);
        self.lists.pending.remove(&mut self.slots, index);
        self.lists.pending.push_front(&mut self.slots, index);
    }
}
