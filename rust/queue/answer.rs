// SPDX-License-Identifier: GPL-2.0

//! Replies.

use super::{lifecycle::DeviceId, place::Place, table::Index, Carried, Queue, INTERRUPT_BIT};
use crate::sys::{self, errno, RequestBox, Result};

/// A request whose reply is being copied. When it is dropped, for the copy broke off, the request
/// ends with EIO; but when it broke off because the daemon's thread is being killed, the request is
/// put back as one that is not answered.
pub(crate) struct Answer<'q, C: Carried> {
    queue: &'q Queue<C>,
    index: Index,
    request: Option<RequestBox<C>>,
}

impl<C: Carried> Queue<C> {
    /// Begins to answer the request with that `unique`: found by its slot, checked by its
    /// generation. ENOENT when this device is not processing it.
    pub(crate) fn answer(&self, device: DeviceId, unique: u64) -> Result<Answer<'_, C>> {
        let mut lock = self.lock();
        let index = lock.processed_by(device, unique)?;
        let request = lock.slots.at(index).request.take();
        lock.move_and_tell(index, Place::Writing, request.as_deref(), Ok(()));
        Ok(Answer {
            queue: self,
            index,
            request,
        })
    }

    /// The daemon answers an interrupt; `unique` is that of the interrupt. ENOENT when this device
    /// is not processing the request.
    pub(crate) fn answer_interrupt(
        &self,
        device: DeviceId,
        unique: u64,
        answer: InterruptAnswer,
    ) -> Result {
        let mut lock = self.lock();
        let index = lock.processed_by(device, unique & !INTERRUPT_BIT)?;
        match answer {
            InterruptAnswer::Understood => {}
            InterruptAnswer::Malformed => return Err(errno::EINVAL),
            InterruptAnswer::NotSupported => lock.no_interrupt = true,
            InterruptAnswer::Again => {
                if !lock.slots.at(index).interrupted {
                    return Err(errno::EINVAL);
                }
                lock.interrupt(index);
            }
        }
        Ok(())
    }
}

/// What a daemon says to an interrupt.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum InterruptAnswer {
    /// Any other answer: it will see to it.
    Understood,
    /// ENOSYS.
    NotSupported,
    /// EAGAIN.
    Again,
    /// More than a header: EINVAL.
    Malformed,
}

impl<C: Carried> super::state::State<C> {
    fn processed_by(&mut self, device: DeviceId, unique: u64) -> Result<Index> {
        let index = self.find(unique).ok_or(errno::ENOENT)?;
        let slot = self.slots.at(index);
        if self.connected && slot.place == Place::Processing && slot.device == device.index() {
            Ok(index)
        } else {
            Err(errno::ENOENT)
        }
    }
}

impl<C: Carried> Answer<'_, C> {
    /// Where the reply is to be copied to.
    pub(crate) fn request(&mut self) -> &mut C {
        match &mut self.request {
            Some(request) => request,
            // It is taken out only by what consumes `self`.
            None => unreachable!(),
        }
    }

    /// Waits for the daemon's memory, and then goes on, or breaks off with the error of `wait`. An
    /// abort ends the request meanwhile: ENOENT.
    pub(crate) fn aside(mut self, wait: impl FnOnce() -> Result) -> Result<Self> {
        let request = self.request.take().ok_or(errno::ENOENT)?;
        let aside = self.queue.aside(self.index, request, wait);
        let (request, waited) = aside.ok_or(errno::ENOENT)?;
        self.request = Some(request);
        waited.map(|()| self)
    }

    /// The reply is there. ENOENT when all was aborted meanwhile.
    pub(crate) fn finish(mut self, outcome: Result) -> Result {
        match self.request.take() {
            Some(request) => self.end(request, outcome),
            None => Ok(()),
        }
    }

    fn end(&self, request: RequestBox<C>, outcome: Result) -> Result {
        let mut lock = self.queue.lock();
        if lock.slots.at(self.index).doomed {
            lock.end(self.index, request, Err(errno::ECONNABORTED));
            return Err(errno::ENOENT);
        }
        lock.end(self.index, request, outcome);
        Ok(())
    }
}

impl<C: Carried> Drop for Answer<'_, C> {
    fn drop(&mut self) {
        match self.request.take() {
            None => {}
            Some(request) if sys::is_dying() => self.queue.lock().unanswered(self.index, request),
            Some(request) => drop(self.end(request, Err(errno::EIO))),
        }
    }
}
