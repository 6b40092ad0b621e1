// SPDX-License-Identifier: GPL-2.0

//! What the lock protects, and the one function that moves a request.

use super::{
    background::Limits,
    latency::Latency,
    lifecycle::Device,
    place::Place,
    reader::{ForgetTurn, Given, Seat},
    table::{Index, Linked, Links, List, Table},
    Carried, Comm, Forget, InterruptStep, Queue, Step, INTERRUPT_BIT, RESEND_BIT,
};
use crate::sys::{self, fifo::Fifo, Bell, Error, Guard, RequestBox, Result, Thread, Vec};
use core::ops::{Deref, DerefMut};

/// What to call a request in a trace or a snapshot.
#[derive(Clone, Copy, Default)]
pub(crate) struct Facts {
    /// The connection it belongs to.
    pub(crate) connection: u32,
    /// What is asked for, as on the wire.
    pub(crate) opcode: u32,
    /// Of which node.
    pub(crate) nodeid: u64,
    /// By whom: the process in the initial pid namespace.
    pub(crate) pid: u32,
}

/// A request's place in the table. Its contents are those of the last request until it is claimed
/// for a new one.
pub(super) struct Slot<C> {
    links: [Links; 2],
    /// Tells this use of the slot from those before; in `unique`.
    pub(super) generation: u64,
    pub(super) place: Place,
    /// The request, unless a copy has it.
    pub(super) request: Option<RequestBox<C>>,
    /// The thread that waits for it: for its end, or, at the gate, for it to pass.
    pub(super) caller: Option<Thread>,
    pub(super) outcome: Result,
    /// Made even when memory is short, before the connection has started, and never taken back.
    pub(super) force: bool,
    /// Nobody waits for its end: the limits for background requests hold for it.
    pub(super) background: bool,
    /// It counts against the limits as one that there is, and as one that is active.
    pub(super) counted: bool,
    pub(super) active: bool,
    /// Its caller was killed.
    pub(super) abandoned: bool,
    /// Its caller got a signal.
    pub(super) interrupted: bool,
    /// It is in the interrupts queue.
    pub(super) interrupt_queued: bool,
    /// The connection was aborted while it was being copied.
    pub(super) doomed: bool,
    /// It is sent again.
    pub(super) resent: bool,
    /// How many requests had been taken by a reader when it first was, itself counted; 0 when it has
    /// not been. What is put back is in this order.
    pub(super) taken: u64,
    /// The device that read it.
    pub(super) device: Index,
    /// The reader it was handed to.
    pub(super) seat: Index,
    pub(super) facts: Facts,
    /// The thread that made it.
    pub(super) comm: Comm,
    /// When it was made, in [`sys::now`] nanoseconds.
    pub(super) born: u64,
}

impl<C> Slot<C> {
    pub(super) fn new() -> Self {
        Slot {
            links: [Links::NEW; 2],
            generation: 0,
            place: Place::None,
            request: None,
            caller: None,
            outcome: Ok(()),
            force: false,
            background: false,
            counted: false,
            active: false,
            abandoned: false,
            interrupted: false,
            interrupt_queued: false,
            doomed: false,
            resent: false,
            taken: 0,
            device: 0,
            seat: 0,
            facts: Facts::default(),
            comm: Comm::default(),
            born: 0,
        }
    }
}

impl<C> Slot<C> {
    /// What the request in the slot of that index is called on the wire.
    pub(super) fn unique(&self, index: Index) -> u64 {
        let resend = if self.resent { RESEND_BIT } else { 0 };
        unique::encode(index, self.generation) | resend
    }
}

/// The kind of the lists of [`Place`]s.
pub(super) const PLACE: usize = 0;
/// The kind of the interrupts queue.
pub(super) const INTERRUPT: usize = 1;

impl<C> Linked<PLACE> for Slot<C> {
    fn links(&mut self) -> &mut Links {
        &mut self.links[PLACE]
    }
}

impl<C> Linked<INTERRUPT> for Slot<C> {
    fn links(&mut self) -> &mut Links {
        &mut self.links[INTERRUPT]
    }
}

/// How a `unique` is put together: bit 0 is for interrupts, then the slot, then its generation,
/// and bit 63 marks a request that is sent again.
pub(super) mod unique {
    use super::Index;
    use crate::queue::table::MAX_SLOTS;

    const SLOT_BITS: u32 = MAX_SLOTS.trailing_zeros();
    const GENERATION_BITS: u32 = 62 - SLOT_BITS;
    /// Generations are counted modulo this, and are never 0.
    const GENERATIONS: u64 = 1 << GENERATION_BITS;

    pub(crate) fn encode(slot: Index, generation: u64) -> u64 {
        (generation << SLOT_BITS | u64::from(slot)) << 1
    }

    /// The slot of a `unique` that may come from user space.
    pub(crate) fn slot(unique: u64) -> Index {
        ((unique >> 1) as usize % MAX_SLOTS) as Index
    }

    pub(crate) fn next_generation(generation: u64) -> u64 {
        match (generation + 1) % GENERATIONS {
            0 => 1,
            next => next,
        }
    }

    /// The slot number that forgets, which are in no slot, have in their `unique`: no table grows
    /// so far.
    pub(crate) const NO_SLOT: Index = (MAX_SLOTS - 1) as Index;

    #[cfg(test)]
    #[test]
    fn uniques_leave_the_first_and_the_last_bit_alone() {
        let last = GENERATIONS - 1;
        for (slot, generation) in [(0, 1), (5, 77), (NO_SLOT - 1, last), (NO_SLOT, last)] {
            let unique = encode(slot, generation);
            assert_eq!(unique & 1, 0);
            assert_eq!(unique >> 63, 0);
            assert_eq!(self::slot(unique), slot);
            assert_eq!(self::slot(unique | 1 << 63 | 1), slot);
            assert_ne!(unique, encode(slot, next_generation(generation)));
        }
        assert_eq!(next_generation(last), 1, "generation 0 is left out");
        assert_eq!(next_generation(1), 2);
    }
}

/// The lists that keep the requests of each [`Place`].
pub(super) struct Lists {
    /// Requests with a caller that wait for the connection to start.
    pub(super) gate: List<PLACE>,
    /// Background requests that wait for the connection to start, or for fewer of them.
    pub(super) background_gate: List<PLACE>,
    pub(super) background: List<PLACE>,
    pub(super) pending: List<PLACE>,
    pub(super) aborting: List<PLACE>,
    /// The open devices, each with the list of what it is processing.
    pub(super) devices: Table<Device>,
}

impl Lists {
    fn new() -> Self {
        Lists {
            gate: List::new(),
            background_gate: List::new(),
            background: List::new(),
            pending: List::new(),
            aborting: List::new(),
            devices: Table::new(),
        }
    }

    /// The list for a place, of a background request or not, read by that device. What is being copied,
    /// or has ended, is in none: whoever has it, or waits for it, knows where it is.
    #[inline(always)]
    fn of(&mut self, place: Place, background: bool, device: Index) -> Option<&mut List<PLACE>> {
        Some(match place {
            Place::None | Place::Handed | Place::Reading | Place::Writing | Place::Ended => {
                return None
            }
            Place::Gate if background => &mut self.background_gate,
            Place::Gate => &mut self.gate,
            Place::Background => &mut self.background,
            Place::Pending => &mut self.pending,
            Place::Processing => &mut self.devices.at(device).processing,
            Place::Aborting => &mut self.aborting,
        })
    }
}

/// How many requests have come to a place, and have left it, since the beginning.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) came: u64,
    left: u64,
}

impl Traffic {
    fn come(&mut self) {
        self.came = self.came.wrapping_add(1);
    }

    fn go(&mut self) {
        self.left = self.left.wrapping_add(1);
    }

    /// How many are there now.
    pub(crate) fn now(self) -> u64 {
        self.came.wrapping_sub(self.left)
    }
}

/// Everything the lock protects.
pub(super) struct State<C: Carried> {
    pub(super) slots: Table<Slot<C>>,
    pub(super) seats: Table<Seat>,
    pub(super) lists: Lists,
    pub(super) background: Limits,
    pub(super) interrupts: List<INTERRUPT>,
    pub(super) forgets: Fifo<Forget>,
    pub(super) forget_turn: ForgetTurn,
    /// The daemon understands more than one forget at a time.
    pub(super) batch_forgets: bool,
    /// The generation in the `unique` of the last FORGET.
    pub(super) forget_generation: u64,

    /// Readers that wait, the last to come first. While there are any, nothing is pending.
    pub(super) idle: List<PLACE>,
    /// Readers that were woken to look at the queues and have not come yet.
    pub(super) looking: usize,

    /// INIT was answered.
    pub(super) started: bool,
    pub(super) connected: bool,
    /// What callers get instead of an answer: INIT was answered badly.
    pub(super) refusal: Option<Error>,
    /// What readers get once all is aborted.
    pub(super) reader_error: Error,
    /// The daemon has said that it does not do interrupts.
    pub(super) no_interrupt: bool,
    /// The connection outlives its last device.
    pub(super) recover: bool,
    /// How many requests have been taken by a reader.
    pub(super) takings: u64,
    /// Waits until no request is left.
    pub(super) drain: Option<Thread>,

    /// By [`Place`].
    pub(super) traffic: [Traffic; Place::COUNT],
    pub(super) passed_interrupts: u64,
    pub(super) passed_forgets: u64,
    /// By class.
    pub(super) latencies: Vec<Latency>,
}

impl<C: Carried> State<C> {
    pub(super) fn new(latencies: Vec<Latency>) -> Self {
        State {
            latencies,
            slots: Table::new(),
            seats: Table::new(),
            lists: Lists::new(),
            background: Limits::new(),
            interrupts: List::new(),
            forgets: Fifo::new(),
            forget_turn: ForgetTurn::new(),
            batch_forgets: false,
            forget_generation: 0,
            idle: List::new(),
            looking: 0,
            started: false,
            connected: true,
            refusal: None,
            reader_error: sys::errno::ENODEV,
            no_interrupt: false,
            recover: false,
            takings: 0,
            drain: None,
            traffic: [Traffic::default(); Place::COUNT],
            passed_interrupts: 0,
            passed_forgets: 0,
        }
    }

    /// Puts a new request into a claimed slot, at no [`Place`] yet.
    pub(super) fn settle(
        &mut self,
        index: Index,
        request: RequestBox<C>,
        background: bool,
        force: bool,
    ) {
        let slot = self.slots.at(index);
        slot.generation = unique::next_generation(slot.generation);
        slot.facts = request.facts();
        slot.comm = request.comm();
        slot.request = Some(request);
        slot.caller = None;
        slot.outcome = Ok(());
        slot.force = force;
        slot.background = background;
        slot.abandoned = false;
        slot.interrupted = false;
        slot.interrupt_queued = false;
        slot.doomed = false;
        slot.resent = false;
        slot.taken = 0;
        slot.born = sys::now();
    }

    /// Moves a request. All moves are made here, so that a request is in one place at a time.
    ///
    /// Inlined, since each call names its place, and most places have no list.
    #[inline(always)]
    pub(super) fn move_to(&mut self, index: Index, to: Place) {
        self.move_and_tell(index, to, None, Ok(()));
    }

    /// The same, with what is to be told of a request that is not in its slot.
    #[inline(always)]
    pub(super) fn move_and_tell(
        &mut self,
        index: Index,
        to: Place,
        request: Option<&C>,
        outcome: Result,
    ) {
        let State { slots, lists, .. } = self;
        let slot = slots.at(index);
        let (background, device) = (slot.background, slot.device);
        let from = core::mem::replace(&mut slot.place, to);
        if let Some(list) = lists.of(from, background, device) {
            list.remove(slots, index);
        }
        if let Some(list) = lists.of(to, background, device) {
            list.push_back(slots, index);
        }
        self.traffic[from as usize].go();
        self.traffic[to as usize].come();
        if C::is_watched() {
            self.tell(index, from, to, request, outcome);
        }
    }

    #[cold]
    fn tell(&mut self, index: Index, from: Place, to: Place, request: Option<&C>, outcome: Result) {
        let slot = self.slots.at(index);
        let depth = match to {
            Place::None => 0,
            _ => self.traffic[to as usize].now(),
        };
        let step = Step {
            unique: slot.unique(index),
            from,
            to,
            depth,
            len: request.or(slot.request.as_deref()).map_or(0, C::len),
            outcome,
        };
        C::moved(&slot.facts, &step);
    }

    /// A request that was handed to a reader goes elsewhere before the reader has come for it: the
    /// reader looks into the queues instead, where more may have come in the meantime.
    pub(super) fn unhand(&mut self, index: Index) {
        let slot = self.slots.at(index);
        if slot.place == Place::Handed {
            self.seats.at(slot.seat).given = Given::Look;
            self.looking += 1;
        }
    }

    /// Takes a request out of the interrupts queue, if it is there, for that reason.
    #[inline]
    pub(super) fn uninterrupt(&mut self, index: Index, step: InterruptStep) {
        let slot = self.slots.at(index);
        if core::mem::replace(&mut slot.interrupt_queued, false) {
            self.interrupts.remove(&mut self.slots, index);
            self.tell_interrupt(index, step);
        }
    }

    fn tell_interrupt(&mut self, index: Index, step: InterruptStep) {
        if C::are_interrupts_watched() {
            let slot = self.slots.at(index);
            let depth = self.interrupts.len() as u64;
            C::interrupt(&slot.facts, slot.unique(index), step, depth);
        }
    }

    /// The slot that a `unique` from user space names, when it is one in use.
    pub(super) fn find(&mut self, unique: u64) -> Option<Index> {
        let unique = unique & !INTERRUPT_BIT;
        let index = unique::slot(unique);
        let slot = self.slots.get(index)?;
        (slot.unique(index) == unique && slot.place != Place::None).then_some(index)
    }
}

/// The state, with its lock held. Threads are woken when this is dropped, after the lock is: fields are
/// dropped in their order.
pub(super) struct Locked<'q, C: Carried> {
    guard: Guard<'q, State<C>>,
    after: After<'q>,
    queue: &'q Queue<C>,
}

/// What is left to do when the lock is released, done when this is dropped.
#[derive(Default)]
struct After<'q> {
    thread: Option<Thread>,
    bell: Option<&'q Bell>,
}

impl Drop for After<'_> {
    #[inline]
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.unpark();
        }
        if let Some(bell) = self.bell {
            bell.ring();
        }
    }
}

impl<'q, C: Carried> Locked<'q, C> {
    pub(super) fn new(queue: &'q Queue<C>) -> Self {
        Locked {
            guard: queue.state.lock(),
            after: After::default(),
            queue,
        }
    }

    /// A request is ready for the daemon: straight to the reader that went to sleep last, whose
    /// memory is warm, or to pending when none waits.
    #[inline]
    pub(super) fn offer(&mut self, index: Index) {
        let State { idle, seats, .. } = &mut **self;
        match idle.pop_front(seats) {
            Some(seat) => {
                self.slots.at(index).seat = seat;
                self.move_to(index, Place::Handed);
                let seat = self.seats.at(seat);
                seat.given = Given::Request(index);
                let thread = seat.thread.take();
                self.wake(thread);
            }
            None => {
                self.move_to(index, Place::Pending);
                self.ring();
            }
        }
    }

    /// There is an interrupt or a forget: somebody has to look, unless somebody is about to.
    pub(super) fn call_for_reader(&mut self) {
        if self.looking > 0 {
            return;
        }
        let State { idle, seats, .. } = &mut **self;
        match idle.pop_front(seats) {
            Some(seat) => {
                let seat = self.seats.at(seat);
                seat.given = Given::Look;
                let thread = seat.thread.take();
                self.looking += 1;
                self.wake(thread);
            }
            None => self.ring(),
        }
    }

    /// Puts a sent request into the interrupts queue; at most once until it is answered.
    pub(super) fn interrupt(&mut self, index: Index) {
        let slot = self.slots.at(index);
        if slot.interrupt_queued || slot.place != Place::Processing {
            return;
        }
        slot.interrupt_queued = true;
        let State {
            interrupts, slots, ..
        } = &mut **self;
        interrupts.push_back(slots, index);
        self.passed_interrupts += 1;
        self.tell_interrupt(index, InterruptStep::Queued);
        self.call_for_reader();
    }

    /// Frees the slot of a request that has come to its end.
    #[inline]
    pub(super) fn vacate(&mut self, index: Index) {
        self.move_to(index, Place::None);
        self.slots.release(index);
        if self.slots.used() == 0 && self.drain.is_some() {
            let drain = self.drain.take();
            self.wake(drain);
        }
    }

    /// Takes a request back, for a caller, that no daemon has seen; none when one may have.
    pub(super) fn withdraw(&mut self, index: Index) -> Option<RequestBox<C>> {
        let slot = self.slots.at(index);
        match slot.place {
            // A daemon that has died may have acted on what is sent again.
            Place::Pending | Place::Handed if slot.resent => return None,
            Place::Gate | Place::Pending | Place::Handed => {}
            _ => return None,
        }
        slot.caller = None;
        let request = slot.request.take();
        self.unhand(index);
        self.vacate(index);
        request
    }

    /// Wakes a thread once the lock is released.
    pub(super) fn wake(&mut self, thread: Option<Thread>) {
        match (&self.after.thread, thread) {
            (None, thread) => self.after.thread = thread,
            // More than one at a time is rare, and waking under the lock is merely slow.
            (Some(_), Some(thread)) => thread.unpark(),
            (Some(_), None) => {}
        }
    }

    /// Rings the bell once the lock is released.
    pub(super) fn ring(&mut self) {
        self.after.bell = Some(self.queue.bell());
    }

    /// Ends a request: its caller is woken with the outcome, or [`Carried::ended`] is told, without
    /// the lock.
    pub(super) fn end(mut self, index: Index, request: RequestBox<C>, outcome: Result) {
        self.uninterrupt(index, InterruptStep::Dropped);
        self.record(index, outcome);
        self.move_and_tell(index, Place::Ended, Some(&request), outcome);
        // Not before, for another may become active in its place.
        self.discount(index);
        let slot = self.slots.at(index);
        let caller = slot.caller.take();
        if caller.is_some() {
            slot.request = Some(request);
            slot.outcome = outcome;
            self.wake(caller);
        } else {
            let abandoned = slot.abandoned;
            let queue = self.queue;
            drop(self);
            C::ended(request, queue, outcome, abandoned);
            // Only now, so that who waits until all has ended finds it so.
            queue.lock().vacate(index);
        }
    }
}

impl<C: Carried> Deref for Locked<'_, C> {
    type Target = State<C>;

    fn deref(&self) -> &State<C> {
        &self.guard
    }
}

impl<C: Carried> DerefMut for Locked<'_, C> {
    fn deref_mut(&mut self) -> &mut State<C> {
        &mut self.guard
    }
}

#[cfg(test)]
impl<C: Carried> Drop for Locked<'_, C> {
    fn drop(&mut self) {
        if !sys::unwinding() {
            self.check();
        }
    }
}
