// SPDX-License-Identifier: GPL-2.0

//! Waiting for a reply, and signals.

use super::{
    place::Place,
    state::{Locked, Slot},
    table::{Growth, Index},
    Carried, Forget, ForgetNode, Queue, Refusable,
};
use crate::sys::{errno, park, park_from, Box, Error, RequestBox, Result, Sleep, Thread};

impl<C: Carried> Queue<C> {
    /// Sends a request and waits for its end; the request comes back with what the daemon put
    /// into it. Sleeps.
    ///
    /// The error is the daemon's, or EINTR after a fatal signal, ENOTCONN when all was aborted
    /// before, ECONNABORTED when it was meanwhile, EIO for a reply that makes no sense, ENOMEM.
    ///
    /// Any signal sends an interrupt after a request that the daemon has read. A fatal one ends
    /// the wait: the request is taken back when no daemon has seen it, and left behind otherwise
    /// ([`Carried::ended`] is told in the end). A request with `force` is made even when memory is
    /// short, does not wait for the connection to start, and is never taken back.
    pub(crate) fn call(&self, request: RequestBox<C>, force: bool) -> Result<RequestBox<C>> {
        let (mut lock, index) = match self.enter(request, false, force) {
            Ok(entered) => entered,
            Err((error, _request)) => return Err(error),
        };
        lock.slots.at(index).caller = Some(Thread::current());
        if lock.started || force {
            lock.offer(index);
        } else {
            lock.move_to(index, Place::Gate);
        }
        let ended = if lock.no_interrupt {
            park_from(Sleep::Killable, lock, || self.lock().collect(index))
        } else {
            park_from(Sleep::Interruptible, lock, || self.lock().collect(index)).or_else(|| {
                let mut lock = self.lock();
                lock.slots.at(index).interrupted = true;
                lock.interrupt(index);
                drop(lock);
                park(Sleep::Killable, || self.lock().collect(index))
            })
        };
        if let Some(ended) = ended {
            return ended.into();
        }
        let mut lock = self.lock();
        if let Some(ended) = lock.collect(index) {
            drop(lock);
            return ended.into();
        }
        let withdrawn = if force { None } else { lock.withdraw(index) };
        if withdrawn.is_none() {
            lock.abandon(index);
        }
        // What a request carries may sleep when it is freed.
        drop(lock);
        drop(withdrawn);
        Err(errno::EINTR)
    }

    /// Queues a forget. Never sleeps, never fails; after an abort there is nobody to tell.
    pub(crate) fn forget(&self, node: Box<ForgetNode>) {
        let mut lock = self.lock();
        if lock.connected {
            lock.forgets.push_back(node);
            lock.passed_forgets += 1;
            lock.call_for_reader();
        }
    }

    /// Gives a request a slot, unless the connection is gone. With `must`, waits for memory.
    #[inline]
    pub(super) fn enter(
        &self,
        request: RequestBox<C>,
        background: bool,
        must: bool,
    ) -> Refusable<(Locked<'_, C>, Index), C> {
        let refuse = |error: Error, request| Err((error, request));
        loop {
            let mut lock = self.lock();
            if !lock.connected {
                return refuse(errno::ENOTCONN, request);
            }
            if let (Some(error), false) = (lock.refusal, must) {
                return refuse(error, request);
            }
            if let Some(index) = lock.slots.claim() {
                lock.settle(index, request, background, must);
                return Ok((lock, index));
            }
            let size = lock.slots.size();
            drop(lock);
            let growth = match Growth::for_table(size, must, Slot::new) {
                Ok(growth) => growth,
                Err(error) => return refuse(error, request),
            };
            let mut lock = self.lock();
            let unused = lock.slots.grow(growth);
            drop(lock);
            drop(unused);
        }
    }
}

/// A request that has ended, for its caller. It is dropped without the lock: what it carries may
/// sleep then.
struct Ended<C> {
    request: RequestBox<C>,
    outcome: Result,
}

impl<C> From<Ended<C>> for Result<RequestBox<C>> {
    fn from(ended: Ended<C>) -> Self {
        let Ended { request, outcome } = ended;
        outcome.map(|()| request)
    }
}

impl<C: Carried> Locked<'_, C> {
    /// The caller takes its request home, if it has ended.
    #[inline]
    fn collect(&mut self, index: Index) -> Option<Ended<C>> {
        let slot = self.slots.at(index);
        if slot.place != Place::Ended {
            return None;
        }
        let request = slot.request.take()?;
        let outcome = slot.outcome;
        self.vacate(index);
        Some(Ended { request, outcome })
    }

    /// The caller leaves its request behind.
    fn abandon(&mut self, index: Index) {
        let slot = self.slots.at(index);
        slot.caller = None;
        slot.abandoned = true;
    }
}

/// A forget that has not been sent: made with the inode it will be for.
pub(crate) fn forget_node() -> ForgetNode {
    ForgetNode::new(Forget {
        nodeid: 0,
        nlookup: 0,
    })
}
