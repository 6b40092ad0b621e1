// SPDX-License-Identifier: GPL-2.0

//! What holds whenever the lock is free. Compiled for the tests on the host only, where it is
//! checked each time the lock is released.

use super::{
    place::Place,
    reader::Given,
    state::{Slot, State, INTERRUPT, PLACE},
    table::{Index, Linked, List, Slots},
    Carried,
};
use crate::sys::Vec;

/// The slots of a list, whose links are checked on the way.
fn members<T: Linked<KIND>, const KIND: usize>(
    list: &List<KIND>,
    slots: &mut Slots<T>,
) -> Vec<Index> {
    let mut members = Vec::new();
    let mut next = list.front();
    while let Some(index) = next {
        assert!(members.len() < list.len(), "a list is longer than it says");
        assert!(
            list.before(slots, index) == members.last().copied(),
            "a list's links back are not those ahead"
        );
        members.push(index);
        next = list.after(slots, index);
    }
    assert!(
        members.len() == list.len(),
        "a list is shorter than it says"
    );
    assert!(
        list.back() == members.last().copied(),
        "a list's tail is not its last slot"
    );
    members
}

/// The number of slots for which `wanted` holds.
fn count<T>(slots: &mut Slots<T>, mut wanted: impl FnMut(&mut T) -> bool) -> usize {
    let mut count = 0;
    let mut index = 0;
    while let Some(slot) = slots.get(index) {
        count += usize::from(wanted(slot));
        index += 1;
    }
    count
}

impl<C: Carried> State<C> {
    /// Fails when something does not hold.
    pub(super) fn check(&mut self) {
        self.check_places();
        self.check_order();
        self.check_requests();
        self.check_limits();
        self.check_interrupts();
        self.check_readers();
    }

    /// Every slot is in the one list of its place, if that has one, and in no other; and the counts are
    /// right.
    fn check_places(&mut self) {
        let State {
            lists,
            slots,
            traffic,
            ..
        } = self;
        let mut listed = slots.free_slots();
        let free = listed.len();
        for index in &listed {
            assert!(
                slots.at(*index).place == Place::None,
                "a free slot is in use"
            );
        }
        let mut each = |list: &List<PLACE>, of: &[Place], wanted: fn(&Slot<C>) -> bool| {
            for index in members(list, slots) {
                let slot = slots.at(index);
                assert!(
                    of.contains(&slot.place),
                    "{:?} in the wrong list",
                    slot.place
                );
                assert!(wanted(slot), "{:?} in another's list", slot.place);
                listed.push(index);
            }
        };
        each(&lists.gate, &[Place::Gate], |slot| !slot.background);
        each(&lists.background_gate, &[Place::Gate], |slot| {
            slot.background
        });
        each(&lists.background, &[Place::Background], |slot| {
            slot.background
        });
        each(&lists.pending, &[Place::Pending], |_| true);
        each(&lists.aborting, &[Place::Aborting], |_| true);
        let mut device = 0;
        while let Some(each_device) = lists.devices.get(device) {
            for index in members(&each_device.processing, slots) {
                let slot = slots.at(index);
                assert!(slot.place == Place::Processing && slot.device == device);
                listed.push(index);
            }
            device += 1;
        }
        let unlisted = count(slots, |slot| {
            matches!(
                slot.place,
                Place::Handed | Place::Reading | Place::Writing | Place::Ended
            )
        });
        let total = count(slots, |_| true);
        assert!(
            slots.used() == total - free,
            "the number of requests is wrong"
        );
        for place in Place::ALL.into_iter().filter(|place| *place != Place::None) {
            let now = count(slots, |slot| slot.place == place);
            assert!(
                traffic[place as usize].now() == now as u64,
                "{place:?} is counted wrong"
            );
        }
        listed.sort_unstable();
        listed.dedup();
        assert!(
            listed.len() + unlisted == total,
            "a slot is in no list, or in two"
        );
    }

    /// What a reader has taken before is in front of what none has, in the order in which it was
    /// taken first.
    fn check_order(&mut self) {
        let mut before = 1;
        for index in members(&self.lists.pending, &mut self.slots) {
            let taken = match self.slots.at(index).taken {
                0 => u64::MAX,
                taken => taken,
            };
            assert!(before <= taken, "put back out of order");
            before = taken;
        }
    }

    /// A request has what its place asks for.
    fn check_requests(&mut self) {
        let (connected, started) = (self.connected, self.started);
        let mut index = 0;
        while let Some(slot) = self.slots.get(index) {
            let place = slot.place;
            match place {
                // Whoever copies a request has it, unless the copy waits for memory.
                Place::None | Place::Ended | Place::Reading | Place::Writing => {}
                _ => assert!(slot.request.is_some(), "{place:?} has no request"),
            }
            if matches!(
                place,
                Place::Gate
                    | Place::Background
                    | Place::Pending
                    | Place::Handed
                    | Place::Processing
            ) {
                assert!(connected, "{place:?} after an abort");
            }
            if matches!(place, Place::Reading | Place::Writing) {
                assert!(slot.doomed != connected, "being copied, and doomed or not");
            }
            if place == Place::Gate && !slot.background {
                assert!(!started, "a call at the gate after the start");
            }
            if !matches!(place, Place::None | Place::Ended) {
                let waits = slot.caller.is_some();
                if slot.background {
                    assert!(waits == (place == Place::Gate) && !slot.abandoned);
                } else {
                    assert!(
                        waits != slot.abandoned,
                        "a call with nobody, or nobody's with one"
                    );
                }
            }
            if place == Place::Handed {
                let seat = slot.seat;
                let given = self.seats.at(seat).given;
                assert!(given == Given::Request(index), "handed to nobody");
            }
            index += 1;
        }
    }

    /// The limits for background requests hold, and their counts are right.
    fn check_limits(&mut self) {
        let counted = count(&mut self.slots, |slot| slot.counted);
        let active = count(&mut self.slots, |slot| slot.active);
        assert!(
            counted == self.background.count as usize,
            "background: count"
        );
        assert!(
            active == self.background.active as usize,
            "background: active"
        );
        let astray = count(&mut self.slots, |slot| {
            let (counted, active) = match slot.place {
                Place::None | Place::Gate | Place::Ended => (false, false),
                Place::Background => (true, false),
                // Aborted out of the background queue, or later.
                Place::Aborting => (slot.counted, slot.active),
                _ => (slot.background, slot.background),
            };
            slot.counted != counted || slot.active != active
        });
        assert!(astray == 0, "background: not counted as it should be");
        if !self.lists.background.is_empty() {
            assert!(
                self.background.active >= self.background.max,
                "background, and could be active"
            );
        }
        if !self.lists.background_gate.is_empty() {
            assert!(
                !self.started || self.background.count >= self.background.max,
                "at the gate, and could pass"
            );
        }
    }

    /// The interrupts queue holds sent requests that know that they are in it.
    fn check_interrupts(&mut self) {
        let queued = members::<_, INTERRUPT>(&self.interrupts, &mut self.slots);
        for index in &queued {
            let slot = self.slots.at(*index);
            assert!(slot.interrupt_queued && slot.interrupted);
            assert!(
                matches!(
                    slot.place,
                    Place::Processing | Place::Writing | Place::Aborting
                ),
                "an interrupt for a request that is {:?}",
                slot.place
            );
        }
        let marked = count(&mut self.slots, |slot| {
            slot.interrupt_queued && slot.place != Place::None
        });
        assert!(marked == queued.len());
    }

    /// No reader waits while there is something for it, or after the end.
    fn check_readers(&mut self) {
        let idle = members(&self.idle, &mut self.seats);
        for index in &idle {
            let seat = self.seats.at(*index);
            assert!(seat.given == Given::Nothing && seat.thread.is_some());
        }
        let free = self.seats.free_slots();
        for index in &free {
            let seat = self.seats.at(*index);
            assert!(seat.given == Given::Nothing && seat.thread.is_none());
        }
        let looking = count(&mut self.seats, |seat| seat.given == Given::Look);
        assert!(
            looking == self.looking,
            "looking: {looking}, not {}",
            self.looking
        );
        let handed = count(&mut self.seats, |seat| {
            matches!(seat.given, Given::Request(_))
        });
        let handed_slots = count(&mut self.slots, |slot| slot.place == Place::Handed);
        assert!(
            handed == handed_slots,
            "a reader with a request that is not its own"
        );
        let total = count(&mut self.seats, |_| true);
        assert!(
            idle.len() + free.len() + looking + handed == total,
            "a seat is neither free nor waited on"
        );
        if !idle.is_empty() {
            assert!(self.connected, "a reader waits after an abort");
            assert!(
                self.lists.pending.is_empty(),
                "a reader waits beside pending requests"
            );
            assert!(
                looking > 0 || self.forgets.is_empty() && self.interrupts.is_empty(),
                "a reader waits beside forgets or interrupts, and nobody looks"
            );
        }
    }
}
