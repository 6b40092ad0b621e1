// SPDX-License-Identifier: GPL-2.0

//! What a daemon gets to read next, and readers that wait for it.
//!
//! A reader that finds nothing sits down on a seat, on top of a stack. A request that comes is
//! handed straight to the reader on top: the one whose memory is warmest, however many threads
//! the daemon keeps below it, and without a queue in between.

use super::{
    lifecycle::DeviceId,
    place::Place,
    state::{unique, Locked, State, PLACE},
    table::{Growth, Index, Linked, Links},
    Carried, Forget, InterruptStep, Queue,
};
use crate::sys::{self, errno, fifo::Fifo, park_from, Error, RequestBox, Result, Sleep, Thread};

/// Where a reader waits.
pub(super) struct Seat {
    links: Links,
    pub(super) thread: Option<Thread>,
    pub(super) given: Given,
}

impl Seat {
    fn new() -> Self {
        Seat {
            links: Links::NEW,
            thread: None,
            given: Given::Nothing,
        }
    }
}

impl Linked<PLACE> for Seat {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// What a reader was woken with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Given {
    Nothing,
    /// There is something in the queues, or an end to everything.
    Look,
    /// That request.
    Request(Index),
}

/// Takes turns between forgets and requests when both wait, so that neither starves: up to 16
/// forgets, then up to 8 requests.
pub(super) struct ForgetTurn(i32);

impl ForgetTurn {
    const FORGETS: i32 = 16;
    const REQUESTS: i32 = 8;

    pub(super) fn new() -> Self {
        ForgetTurn(0)
    }

    /// Whether a forget is next.
    fn next_is_forget(&mut self) -> bool {
        let forget = self.0 > 0;
        self.0 -= 1;
        if !forget && self.0 <= -Self::REQUESTS {
            self.0 = Self::FORGETS;
        }
        forget
    }
}

/// What there is for a daemon to read.
pub(crate) enum Work<'q, C: Carried> {
    /// The caller of the request with this `unique` got a signal.
    Interrupt { of: u64 },
    /// Nodes that are no longer referred to; no reply.
    Forgets { unique: u64, forgets: Fifo<Forget> },
    /// A request.
    Request(Delivery<'q, C>),
}

/// A request that is being copied to a daemon. When it is dropped, for the copy broke off, the request
/// ends with EIO; but when it broke off because the daemon's thread is being killed, the request is
/// put back for another to read.
pub(crate) struct Delivery<'q, C: Carried> {
    queue: &'q Queue<C>,
    index: Index,
    unique: u64,
    request: Option<RequestBox<C>>,
}

impl<C: Carried> Queue<C> {
    /// Gets the next thing for a daemon to read: an interrupt; else forgets or a request, by
    /// turns; at most `max_forgets` (at least 1) at a time.
    ///
    /// With nothing there, waits when `wait` is set (ERESTARTSYS on a signal), else EAGAIN. After
    /// an abort ENODEV, or ECONNABORTED where asked for. A thread that is being killed gets
    /// ERESTARTSYS: what it took would be lost with it.
    pub(crate) fn read(
        &self,
        device: DeviceId,
        wait: bool,
        max_forgets: usize,
    ) -> Result<Work<'_, C>> {
        let mut lock = self.lock();
        if let Some(taken) = lock.take_next(device, max_forgets) {
            drop(lock);
            return self.work(taken?);
        }
        if !wait {
            return Err(errno::EAGAIN);
        }
        let seat = loop {
            if let Some(seat) = lock.seats.claim() {
                break seat;
            }
            let size = lock.seats.size();
            drop(lock);
            let growth = Growth::for_table(size, false, Seat::new)?;
            lock = self.lock();
            let unused = lock.seats.grow(growth);
            drop(lock);
            drop(unused);
            lock = self.lock();
            // Something may have come while the lock was not held.
            if let Some(taken) = lock.take_next(device, max_forgets) {
                drop(lock);
                return self.work(taken?);
            }
        };
        lock.sit(seat);
        let taken = park_from(Sleep::Interruptible, lock, || {
            self.lock().take_given(seat, device, max_forgets)
        });
        if let Some(taken) = taken {
            return self.work(taken?);
        }
        let mut lock = self.lock();
        if let Some(taken) = lock.take_given(seat, device, max_forgets) {
            drop(lock);
            return self.work(taken?);
        }
        // Nothing was given: the seat is still in the stack.
        let State { idle, seats, .. } = &mut *lock;
        idle.remove(seats, seat);
        lock.stand_up(seat);
        Err(errno::ERESTARTSYS)
    }

    /// Whether a reader would find something, and whether the connection is alive.
    pub(crate) fn poll(&self) -> Result<bool> {
        let lock = self.lock();
        if !lock.connected {
            return Err(lock.reader_error);
        }
        Ok(lock.has_work())
    }

    fn work(&self, taken: Taken<C>) -> Result<Work<'_, C>> {
        Ok(match taken {
            Taken::Interrupt { of } => Work::Interrupt { of },
            Taken::Forgets { unique, forgets } => Work::Forgets { unique, forgets },
            Taken::Request {
                index,
                unique,
                request,
            } => Work::Request(Delivery {
                queue: self,
                index,
                unique,
                request: Some(request),
            }),
        })
    }
}

/// [`Work`], before the lock is released.
enum Taken<C> {
    Interrupt {
        of: u64,
    },
    Forgets {
        unique: u64,
        forgets: Fifo<Forget>,
    },
    Request {
        index: Index,
        unique: u64,
        request: RequestBox<C>,
    },
}

impl<C: Carried> Locked<'_, C> {
    /// Whether there is anything to be read.
    fn has_work(&self) -> bool {
        !self.lists.pending.is_empty() || !self.interrupts.is_empty() || !self.forgets.is_empty()
    }

    /// Takes what is next out of the queues; none when there is nothing.
    #[inline]
    fn take_next(&mut self, device: DeviceId, max_forgets: usize) -> Option<Result<Taken<C>>> {
        if !self.connected {
            return Some(Err(self.reader_error));
        }
        if !self.has_work() {
            return None;
        }
        if sys::is_dying() {
            self.call_for_another();
            return Some(Err(errno::ERESTARTSYS));
        }
        let taken = self.take_queued(device, max_forgets)?;
        self.call_for_another();
        Some(Ok(taken))
    }

    /// Sends another reader to what there is beside requests, when nobody is on the way to it.
    fn call_for_another(&mut self) {
        if !self.interrupts.is_empty() || !self.forgets.is_empty() {
            self.call_for_reader();
        }
    }

    fn take_queued(&mut self, device: DeviceId, max_forgets: usize) -> Option<Taken<C>> {
        if let Some(index) = self.interrupts.front() {
            self.uninterrupt(index, InterruptStep::Read);
            let of = self.slots.at(index).unique(index);
            return Some(Taken::Interrupt { of });
        }
        if !self.forgets.is_empty()
            && (self.lists.pending.is_empty() || self.forget_turn.next_is_forget())
        {
            self.forget_generation = unique::next_generation(self.forget_generation);
            let count = if self.batch_forgets { max_forgets } else { 1 };
            return Some(Taken::Forgets {
                unique: unique::encode(unique::NO_SLOT, self.forget_generation),
                forgets: self.forgets.split_front(count),
            });
        }
        let index = self.lists.pending.front()?;
        self.deliver(index, device)
    }

    #[inline]
    fn deliver(&mut self, index: Index, device: DeviceId) -> Option<Taken<C>> {
        let State { slots, takings, .. } = &mut **self;
        let slot = slots.at(index);
        slot.device = device.index();
        if slot.taken == 0 {
            *takings += 1;
            slot.taken = *takings;
        }
        let unique = slot.unique(index);
        let request = slot.request.take()?;
        self.move_and_tell(index, Place::Reading, Some(&request), Ok(()));
        Some(Taken::Request {
            index,
            unique,
            request,
        })
    }

    /// Takes what a waiting reader was given; none, and the reader waits on, when it was nothing.
    fn take_given(
        &mut self,
        seat: Index,
        device: DeviceId,
        max_forgets: usize,
    ) -> Option<Result<Taken<C>>> {
        let given = core::mem::replace(&mut self.seats.at(seat).given, Given::Nothing);
        let taken = match given {
            Given::Nothing => return None,
            Given::Request(index) => self.deliver(index, device).map(Ok),
            Given::Look => {
                self.looking -= 1;
                self.take_next(device, max_forgets)
            }
        };
        match taken {
            Some(taken) => {
                self.stand_up(seat);
                Some(taken)
            }
            None => {
                self.sit(seat);
                None
            }
        }
    }

    #[inline]
    fn sit(&mut self, seat: Index) {
        self.seats.at(seat).thread = Some(Thread::current());
        let State { idle, seats, .. } = &mut **self;
        idle.push_front(seats, seat);
    }

    #[inline]
    fn stand_up(&mut self, seat: Index) {
        self.seats.at(seat).thread = None;
        self.seats.release(seat);
    }
}

impl<C: Carried> Delivery<'_, C> {
    /// The `unique` that the daemon will answer with.
    pub(crate) fn unique(&self) -> u64 {
        self.unique
    }

    /// What is to be copied.
    pub(crate) fn request(&mut self) -> &mut C {
        match &mut self.request {
            Some(request) => request,
            // It is taken out only by what consumes `self`.
            None => unreachable!(),
        }
    }

    /// Waits for the daemon's memory, and then goes on, or breaks off with the error of `wait`. An
    /// abort ends the request meanwhile; then the error is what readers get.
    pub(crate) fn aside(mut self, wait: impl FnOnce() -> Result) -> Result<Self> {
        let request = self.request.take().ok_or(errno::ENODEV)?;
        match self.queue.aside(self.index, request, wait) {
            Some((request, waited)) => {
                self.request = Some(request);
                waited.map(|()| self)
            }
            None => Err(self.queue.lock().reader_error),
        }
    }

    /// The daemon has it all. Returns what the reader gets instead when all was aborted meanwhile,
    /// or when its thread is being killed and never gets to know of the request.
    pub(crate) fn sent(mut self) -> Result {
        let Some(request) = self.request.take() else {
            return Ok(());
        };
        let mut lock = self.queue.lock();
        let slot = lock.slots.at(self.index);
        if slot.doomed {
            let error = lock.reader_error;
            lock.end(self.index, request, Err(errno::ECONNABORTED));
            return Err(error);
        }
        if sys::is_dying() {
            lock.unread(self.index, request);
            return Err(errno::ERESTARTSYS);
        }
        if !request.has_reply() {
            lock.end(self.index, request, Ok(()));
            return Ok(());
        }
        slot.request = Some(request);
        let interrupted = slot.interrupted;
        lock.move_to(self.index, Place::Processing);
        if interrupted {
            lock.interrupt(self.index);
        }
        Ok(())
    }

    /// It cannot be sent, and ends with that error.
    pub(crate) fn fail(mut self, error: Error) {
        if let Some(request) = self.request.take() {
            self.end(request, error);
        }
    }

    fn end(&self, request: RequestBox<C>, error: Error) {
        let mut lock = self.queue.lock();
        let doomed = lock.slots.at(self.index).doomed;
        let error = if doomed { errno::ECONNABORTED } else { error };
        lock.end(self.index, request, Err(error));
    }
}

impl<C: Carried> Drop for Delivery<'_, C> {
    fn drop(&mut self) {
        match self.request.take() {
            None => {}
            Some(request) if sys::is_dying() => self.queue.lock().unread(self.index, request),
            Some(request) => self.end(request, errno::EIO),
        }
    }
}
