// SPDX-License-Identifier: GPL-2.0

//! Copies that wait for the daemon's memory.
//!
//! To bring memory in may take for ever: it may be a mapping of the very folio that the reply is to
//! fill, or the daemon may decide itself when it comes. A request must not be stuck in that with
//! whoever copies it, for an abort is the way out. So it is put down in its slot while its copy waits,
//! where an abort finds it and ends it.

use super::{table::Index, Carried, Queue};
use crate::sys::{errno, RequestBox};

impl<C: Carried> Queue<C> {
    /// Puts a request that is being copied down while `wait` waits, and picks it up again; none when
    /// all was aborted by then: it has ended.
    pub(super) fn aside<R>(
        &self,
        index: Index,
        request: RequestBox<C>,
        wait: impl FnOnce() -> R,
    ) -> Option<(RequestBox<C>, R)> {
        let mut lock = self.lock();
        let slot = lock.slots.at(index);
        if slot.doomed {
            lock.end(index, request, Err(errno::ECONNABORTED));
            return None;
        }
        slot.request = Some(request);
        let (place, generation) = (slot.place, slot.generation);
        drop(lock);
        let waited = wait();
        let mut lock = self.lock();
        let slot = lock.slots.at(index);
        // The slot may be another request's by now.
        if (slot.place, slot.generation) != (place, generation) {
            return None;
        }
        slot.request.take().map(|request| (request, waited))
    }
}
