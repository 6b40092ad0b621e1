// SPDX-License-Identifier: GPL-2.0

//! The rules of the queues, each in a test that needs one thread.
//!
//! In the module these are KUnit tests, on the host ordinary ones; there the rules that take more
//! than one thread to show (signals, hand-over, waiting at the gate) have theirs too. The crate's
//! root declares this file, for the macro that makes KUnit tests writes `unsafe`.

use crate::{
    queue::{forget_node, Carried, Delivery, DeviceId, Entry, Facts, Place, Queue, Work},
    sys::{errno, Box, Error, Result},
};
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

/// The most requests in one test.
const REQUESTS: usize = 64;

/// What became of the requests of a test.
struct Log {
    outcomes: [AtomicI32; REQUESTS],
    ended: AtomicUsize,
    freed: AtomicUsize,
}

/// Not an errno.
const NOT_ENDED: i32 = 1;

impl Log {
    fn new() -> Self {
        Log {
            outcomes: [const { AtomicI32::new(NOT_ENDED) }; REQUESTS],
            ended: AtomicUsize::new(0),
            freed: AtomicUsize::new(0),
        }
    }

    /// Whether a request has ended in this way.
    fn ended_with(&self, id: usize, outcome: Result) -> bool {
        let errno = outcome.map_or_else(Error::to_errno, |()| 0);
        self.outcomes[id].load(Relaxed) == errno
    }

    fn has_not_ended(&self, id: usize) -> bool {
        self.outcomes[id].load(Relaxed) == NOT_ENDED
    }

    /// Whether so many requests have ended, once each, and all of them are freed.
    fn all_ended(&self, count: usize) -> bool {
        self.ended.load(Relaxed) == count && self.freed.load(Relaxed) == count
    }
}

/// A request.
struct Probe<'l> {
    id: usize,
    log: &'l Log,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.log.freed.fetch_add(1, Relaxed);
    }
}

impl Carried for Probe<'_> {
    const CLASSES: usize = 2;

    fn class(facts: &Facts) -> usize {
        facts.nodeid as usize % Self::CLASSES
    }

    fn facts(&self) -> Facts {
        Facts {
            nodeid: self.id as u64,
            ..Facts::default()
        }
    }

    fn ended(request: Box<Self>, _queue: &Queue<Self>, outcome: Result, _abandoned: bool) {
        let errno = outcome.map_or_else(Error::to_errno, |()| 0);
        request.log.outcomes[request.id].store(errno, Relaxed);
        request.log.ended.fetch_add(1, Relaxed);
    }

    fn moved(_facts: &Facts, _unique: u64, _from: Place, _to: Place, _depth: usize) {}
}

type Probes<'l> = Queue<Probe<'l>>;

#[cfg(not(test))]
fn boxed<T>(value: T) -> Result<Box<T>> {
    Ok(Box::new(value, kernel::alloc::flags::GFP_KERNEL)?)
}

#[cfg(test)]
fn boxed<T>(value: T) -> Result<Box<T>> {
    Ok(Box::new(value))
}

/// Sends requests with the numbers from `first` on that nobody waits for, and that pass the gate.
fn submit<'l>(queue: &Probes<'l>, log: &'l Log, first: usize, count: usize) -> Result {
    for id in first..first + count {
        let request = boxed(Probe { id, log })?;
        queue.submit(request, true).map_err(|(error, _)| error)?;
    }
    Ok(())
}

fn forget(queue: &Probes<'_>, nodeid: u64) -> Result {
    let mut node = boxed(forget_node())?;
    node.value.nodeid = nodeid;
    node.value.nlookup = 1;
    queue.forget(node);
    Ok(())
}

/// Reads a request; ENOENT when something else comes.
fn read<'q, 'l>(queue: &'q Probes<'l>, device: DeviceId) -> Result<Delivery<'q, Probe<'l>>> {
    match queue.read(device, false, 1)? {
        Work::Request(delivery) => Ok(delivery),
        _ => Err(errno::ENOENT),
    }
}

/// Reads a request, the one of that number, to its end; its `unique`.
fn take(queue: &Probes<'_>, device: DeviceId, id: usize) -> Result<u64> {
    let mut delivery = read(queue, device)?;
    let unique = delivery.unique();
    if delivery.request().id != id {
        return Err(errno::EINVAL);
    }
    delivery.sent()?;
    Ok(unique)
}

/// The only request there is.
fn only(queue: &Probes<'_>) -> Result<Entry> {
    let mut entries = queue.snapshot()?;
    match (entries.pop(), entries.is_empty()) {
        (Some(entry), true) => Ok(entry),
        _ => Err(errno::ENOENT),
    }
}

/// The only request at a place.
fn only_at(queue: &Probes<'_>, place: Place) -> Result<Entry> {
    let mut found = Err(errno::ENOENT);
    for entry in queue.snapshot()? {
        if entry.place == place {
            found = match found {
                Ok(_) => return Err(errno::EINVAL),
                Err(_) => Ok(entry),
            };
        }
    }
    found
}

#[cfg_attr(not(test), kernel::prelude::kunit_tests(rust_fuse_queue))]
mod tests {
    use super::*;
    use crate::{
        queue::{InterruptAnswer, DEFAULT_CONGESTION_THRESHOLD, DEFAULT_MAX_BACKGROUND},
        sys::fifo::{Fifo, Node},
    };

    #[test]
    fn rule1_one_place_at_a_time() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);

        submit(&queue, &log, 7, 1)?;
        let entry = only(&queue)?;
        assert!(entry.place == Place::Pending && entry.facts.nodeid == 7 && entry.background);
        let delivery = read(&queue, device)?;
        let unique = delivery.unique();
        let entry = only(&queue)?;
        assert!(entry.place == Place::Reading && entry.unique == unique);
        delivery.sent()?;
        assert!(only(&queue)?.place == Place::Processing);
        assert_eq!(queue.counts().waiting, 1);
        let answer = queue.answer(device, unique)?;
        assert!(only(&queue)?.place == Place::Writing);
        assert!(log.has_not_ended(7));
        answer.finish(Ok(()))?;

        assert!(log.ended_with(7, Ok(())));
        assert!(queue.snapshot()?.is_empty());
        let counts = queue.counts();
        assert_eq!(counts.waiting, 0);
        for place in Place::ALL {
            let expected = match place {
                Place::Gate | Place::Handed | Place::Aborting => 0,
                _ => 1,
            };
            assert!(counts.passed[place as usize] == expected);
        }
        Ok(())
    }

    #[test]
    fn rule1_counters_add_up() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);
        queue.set_max_background(4);

        submit(&queue, &log, 0, 6)?;
        let reading = read(&queue, device)?;
        let processing = take(&queue, device, 1)?;
        let answered = take(&queue, device, 2)?;
        let writing = queue.answer(device, answered)?;

        let entries = queue.snapshot()?;
        assert_eq!(entries.len(), 6);
        assert_eq!(queue.counts().waiting, 6);
        for (place, expected) in [
            (Place::Reading, 1),
            (Place::Processing, 1),
            (Place::Writing, 1),
            (Place::Pending, 1),
            (Place::Background, 2),
        ] {
            assert!(entries.iter().filter(|entry| entry.place == place).count() == expected);
        }
        let counts = queue.counts();
        assert!(counts.background == 6 && counts.active_background == 4);

        writing.finish(Ok(()))?;
        reading.sent()?;
        queue.answer(device, processing)?.finish(Err(errno::EIO))?;
        let counts = queue.counts();
        assert!(counts.waiting == 4 && counts.background == 4 && counts.active_background == 4);
        queue.abort(errno::ENODEV);
        let counts = queue.counts();
        assert!(counts.waiting == 0 && counts.background == 0 && counts.active_background == 0);
        assert!(log.all_ended(6));
        Ok(())
    }

    #[test]
    fn rule2_uniques() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);
        queue.set_max_background(REQUESTS as u32);
        let mut uniques = [0; 2 * REQUESTS];

        // As many as make the table grow; then again, in slots that were used before.
        for round in 0..2 {
            submit(&queue, &log, 0, REQUESTS)?;
            for id in 0..REQUESTS {
                uniques[round * REQUESTS + id] = take(&queue, device, id)?;
            }
            for unique in &uniques[round * REQUESTS..][..REQUESTS] {
                queue.answer(device, *unique)?.finish(Ok(()))?;
            }
        }
        for (at, unique) in uniques.iter().enumerate() {
            assert!(*unique != 0 && unique & 1 == 0 && unique >> 63 == 0);
            assert!(!uniques[..at].contains(unique));
        }
        // A forget's is none of them.
        forget(&queue, 1)?;
        let Work::Forgets { unique, .. } = queue.read(device, false, 1)? else {
            return Err(errno::EINVAL);
        };
        assert!(unique != 0 && unique & 1 == 0 && unique >> 63 == 0);
        assert!(!uniques.contains(&unique));
        Ok(())
    }

    #[test]
    fn rule2_a_slot_used_again_has_another_unique() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);

        submit(&queue, &log, 0, 1)?;
        let first = take(&queue, device, 0)?;
        queue.answer(device, first)?.finish(Ok(()))?;
        submit(&queue, &log, 1, 1)?;
        let second = take(&queue, device, 1)?;
        assert!(first != second);
        assert!(matches!(queue.answer(device, first), Err(errno::ENOENT)));
        assert!(log.has_not_ended(1));
        queue.answer(device, second)?.finish(Ok(()))?;
        assert!(log.all_ended(2));
        Ok(())
    }

    #[test]
    fn rule3_requests_are_read_in_their_order() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);
        queue.set_max_background(2);

        assert!(matches!(queue.read(device, false, 1), Err(errno::EAGAIN)));
        assert!(queue.poll() == Ok(false));
        submit(&queue, &log, 0, 5)?;
        assert!(queue.poll() == Ok(true));
        for id in 0..5 {
            let unique = take(&queue, device, id)?;
            queue.answer(device, unique)?.finish(Ok(()))?;
        }
        assert!(queue.poll() == Ok(false));
        assert!(log.all_ended(5));
        Ok(())
    }

    #[test]
    fn rule3_forgets_and_requests_take_turns() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(false);
        queue.set_max_background(REQUESTS as u32);

        // Eight requests, sixteen forgets, and so on; forgets alone in the end.
        submit(&queue, &log, 0, 20)?;
        for nodeid in 0..40 {
            forget(&queue, nodeid)?;
        }
        let (mut requests, mut forgets) = (0, 0);
        for (expected_requests, expected_forgets) in
            [(8, 0), (8, 16), (16, 16), (16, 32), (20, 32), (20, 40)]
        {
            while (requests, forgets) != (expected_requests, expected_forgets) {
                match queue.read(device, false, 1)? {
                    Work::Request(mut delivery) => {
                        assert!(delivery.request().id == requests);
                        delivery.sent()?;
                        requests += 1;
                    }
                    Work::Forgets { forgets: read, .. } => {
                        assert!(read.len() == 1);
                        forgets += 1;
                    }
                    Work::Interrupt { .. } => return Err(errno::EINVAL),
                }
                assert!(requests <= expected_requests && forgets <= expected_forgets);
            }
        }
        assert!(matches!(queue.read(device, false, 1), Err(errno::EAGAIN)));
        Ok(())
    }

    #[test]
    fn rule3_forgets_come_in_batches() -> Result {
        let queue = Probes::new()?;
        let device = queue.attach()?;
        queue.start(true);
        for nodeid in 0..5 {
            forget(&queue, nodeid)?;
        }
        assert_eq!(queue.counts().forgets, (5, 5));
        let mut expected = 0;
        for len in [3, 2] {
            let Work::Forgets { mut forgets, .. } = queue.read(device, false, 3)? else {
                return Err(errno::EINVAL);
            };
            assert!(forgets.len() == len);
            while let Some(node) = forgets.pop_front() {
                assert!(node.value.nodeid == expected && node.value.nlookup == 1);
                expected += 1;
            }
        }
        assert_eq!(queue.counts().forgets, (5, 0));

        // A daemon of old gets one at a time, whatever it has room for.
        queue.start(false);
        forget(&queue, 6)?;
        forget(&queue, 7)?;
        assert!(matches!(
            queue.read(device, false, 3)?,
            Work::Forgets { forgets, .. } if forgets.len() == 1
        ));
        Ok(())
    }

    #[test]
    fn rule4_what_cannot_be_sent_ends_and_the_next_one_is_read() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);

        submit(&queue, &log, 0, 3)?;
        read(&queue, device)?.fail(errno::EINVAL);
        assert!(log.ended_with(0, Err(errno::EINVAL)));
        // A buffer that is not there.
        drop(read(&queue, device)?);
        assert!(log.ended_with(1, Err(errno::EIO)));
        take(&queue, device, 2)?;
        assert_eq!(queue.counts().waiting, 1);
        Ok(())
    }

    #[test]
    fn rule5_a_reply_is_for_one_request_of_one_device() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        let other = queue.attach()?;
        queue.start(true);

        submit(&queue, &log, 0, 2)?;
        let delivery = read(&queue, device)?;
        let unique = delivery.unique();
        // It has not all been read.
        assert!(matches!(queue.answer(device, unique), Err(errno::ENOENT)));
        delivery.sent()?;
        for wrong in [
            0,
            2,
            unique + 2,
            unique ^ (1 << 40),
            unique | 1 << 63,
            u64::MAX,
        ] {
            assert!(matches!(queue.answer(device, wrong), Err(errno::ENOENT)));
        }
        assert!(matches!(queue.answer(other, unique), Err(errno::ENOENT)));
        let answer = queue.answer(device, unique)?;
        // It is being answered.
        assert!(matches!(queue.answer(device, unique), Err(errno::ENOENT)));
        answer.finish(Err(errno::EAGAIN))?;
        assert!(matches!(queue.answer(device, unique), Err(errno::ENOENT)));
        assert!(log.ended_with(0, Err(errno::EAGAIN)));

        // A reply that makes no sense.
        let unique = take(&queue, other, 1)?;
        drop(queue.answer(other, unique)?);
        assert!(log.ended_with(1, Err(errno::EIO)));
        assert!(log.all_ended(2));
        Ok(())
    }

    #[test]
    fn rule5_answers_to_interrupts() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        let other = queue.attach()?;
        queue.start(true);

        submit(&queue, &log, 0, 1)?;
        let unique = take(&queue, device, 0)?;
        let interrupt = |device, answer| queue.answer_interrupt(device, unique | 1, answer);
        assert!(interrupt(device, InterruptAnswer::Malformed) == Err(errno::EINVAL));
        assert!(interrupt(device, InterruptAnswer::Understood) == Ok(()));
        assert!(interrupt(device, InterruptAnswer::NotSupported) == Ok(()));
        // It has not got a signal.
        assert!(interrupt(device, InterruptAnswer::Again) == Err(errno::EINVAL));
        assert!(interrupt(other, InterruptAnswer::Again) == Err(errno::ENOENT));
        queue.answer(device, unique)?.finish(Ok(()))?;
        assert!(interrupt(device, InterruptAnswer::Understood) == Err(errno::ENOENT));
        assert_eq!(queue.counts().interrupts, (0, 0));
        Ok(())
    }

    #[test]
    fn rule7_an_abort_ends_all_that_waits() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);
        queue.set_max_background(4);

        submit(&queue, &log, 0, 6)?;
        forget(&queue, 1)?;
        let reading = read(&queue, device)?;
        take(&queue, device, 1)?;
        let unique = take(&queue, device, 2)?;
        let writing = queue.answer(device, unique)?;
        queue.abort(errno::ECONNABORTED);

        for id in [1, 3, 4, 5] {
            assert!(log.ended_with(id, Err(errno::ECONNABORTED)));
        }
        // What is being copied ends when the copy does.
        assert!(log.has_not_ended(0) && log.has_not_ended(2));
        assert_eq!(queue.counts().waiting, 2);
        assert!(reading.sent() == Err(errno::ECONNABORTED));
        assert!(writing.finish(Ok(())) == Err(errno::ENOENT));
        for id in [0, 2] {
            assert!(log.ended_with(id, Err(errno::ECONNABORTED)));
        }
        assert!(log.all_ended(6));

        assert!(!queue.is_connected() && !queue.is_started());
        assert!(submit(&queue, &log, 6, 1) == Err(errno::ENOTCONN));
        let request = boxed(Probe { id: 7, log: &log })?;
        assert!(matches!(queue.call(request, false), Err(errno::ENOTCONN)));
        forget(&queue, 2)?;
        // A device that comes now is as dead as the others.
        let late = queue.attach()?;
        assert!(matches!(
            queue.read(late, true, 1),
            Err(errno::ECONNABORTED)
        ));
        assert!(matches!(queue.answer(late, unique), Err(errno::ENOENT)));
        queue.detach(late);
        assert!(queue.poll() == Err(errno::ECONNABORTED));
        assert!(matches!(
            queue.read(device, true, 1),
            Err(errno::ECONNABORTED)
        ));
        let counts = queue.counts();
        assert!(counts.waiting == 0 && counts.forgets == (1, 0));
        queue.wait_drained();
        Ok(())
    }

    #[test]
    fn rule7_a_copy_that_waits_for_memory_ends_at_once() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);
        submit(&queue, &log, 0, 4)?;
        let unique = take(&queue, device, 0)?;

        // The memory comes, or it does not.
        let reading = read(&queue, device)?.aside(|| Ok(()))?;
        let waiting = read(&queue, device)?;
        assert!(waiting.aside(|| Err(errno::EINVAL)).is_err());
        assert!(log.has_not_ended(1) && log.ended_with(2, Err(errno::EIO)));
        assert_eq!(only_at(&queue, Place::Reading)?.unique, reading.unique());

        let answer = queue.answer(device, unique)?;
        let reading = reading.aside(|| {
            let answer = answer.aside(|| {
                queue.abort(errno::ECONNABORTED);
                assert!(log.all_ended(4));
                for id in [0, 1, 3] {
                    assert!(log.ended_with(id, Err(errno::ECONNABORTED)));
                }
                Ok(())
            });
            assert!(matches!(answer, Err(errno::ENOENT)));
            Ok(())
        });
        assert!(matches!(reading, Err(errno::ECONNABORTED)));
        assert_eq!(queue.counts().waiting, 0);
        Ok(())
    }

    #[test]
    fn rule7_what_is_dropped_after_an_abort_was_aborted() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);

        submit(&queue, &log, 0, 2)?;
        let unique = take(&queue, device, 0)?;
        let writing = queue.answer(device, unique)?;
        let reading = read(&queue, device)?;
        queue.abort(errno::ENODEV);
        // The second time it does nothing, but for what readers get.
        queue.abort(errno::ECONNABORTED);
        assert!(queue.poll() == Err(errno::ECONNABORTED));
        drop(writing);
        reading.fail(errno::EIO);
        for id in 0..2 {
            assert!(log.ended_with(id, Err(errno::ECONNABORTED)));
        }
        assert!(log.all_ended(2));
        Ok(())
    }

    #[test]
    fn rule7_a_closed_device_aborts_what_it_was_processing() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        let other = queue.attach()?;
        queue.start(true);

        submit(&queue, &log, 0, 4)?;
        take(&queue, device, 0)?;
        let unique = take(&queue, other, 1)?;
        take(&queue, device, 2)?;
        queue.detach(device);
        assert!(log.ended_with(0, Err(errno::ECONNABORTED)));
        assert!(log.ended_with(2, Err(errno::ECONNABORTED)));
        assert!(log.has_not_ended(1) && log.has_not_ended(3));
        assert!(queue.is_connected());

        // A new device has nothing to do with the one before.
        let again = queue.attach()?;
        assert!(matches!(queue.answer(again, unique), Err(errno::ENOENT)));
        queue.answer(other, unique)?.finish(Ok(()))?;
        queue.detach(other);
        assert!(log.has_not_ended(3) && queue.is_connected());
        // The last one takes everything with it.
        queue.detach(again);
        assert!(log.ended_with(3, Err(errno::ECONNABORTED)));
        assert!(!queue.is_connected());
        assert!(queue.poll() == Err(errno::ENODEV));
        assert!(log.all_ended(4));
        Ok(())
    }

    #[test]
    fn rule7_what_takes_too_long_aborts_everything() -> Result {
        // Where the request is when its time is over.
        for place in [
            Place::Pending,
            Place::Background,
            Place::Reading,
            Place::Processing,
            Place::Writing,
        ] {
            let log = Log::new();
            let queue = Queue::new()?;
            let device = queue.attach()?;
            queue.start(true);
            queue.set_max_background(if place == Place::Background { 0 } else { 1 });
            assert!(queue.expire(0));

            submit(&queue, &log, 0, 1)?;
            let (mut reading, mut writing) = (None, None);
            match place {
                Place::Reading => reading = Some(read(&queue, device)?),
                Place::Processing => {
                    take(&queue, device, 0)?;
                }
                Place::Writing => {
                    let unique = take(&queue, device, 0)?;
                    writing = Some(queue.answer(device, unique)?);
                }
                _ => {}
            }
            assert!(only(&queue)?.place == place);
            assert!(queue.expire(u64::MAX) && queue.is_connected());
            assert!(!queue.expire(0) && !queue.is_connected());
            assert!(queue.poll() == Err(errno::ENODEV));
            drop((reading, writing));
            assert!(log.ended_with(0, Err(errno::ECONNABORTED)));
            assert!(log.all_ended(1));
            assert!(!queue.expire(0));
        }
        Ok(())
    }

    #[test]
    fn rule7_what_has_ended_takes_no_time() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);
        submit(&queue, &log, 0, 1)?;
        let unique = take(&queue, device, 0)?;
        queue.answer(device, unique)?.finish(Ok(()))?;
        assert!(queue.expire(0) && queue.is_connected());
        Ok(())
    }

    #[test]
    fn background_requests_have_limits() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);
        let max = DEFAULT_MAX_BACKGROUND as usize;
        let congested = DEFAULT_CONGESTION_THRESHOLD as usize;

        submit(&queue, &log, 0, congested - 1)?;
        assert!(!queue.is_congested());
        submit(&queue, &log, congested - 1, max + 3 - congested)?;
        assert!(queue.is_congested());
        let counts = queue.counts();
        assert!(counts.background as usize == max + 2);
        assert!(counts.active_background as usize == max);

        // One ends, one becomes active.
        let unique = take(&queue, device, 0)?;
        queue.answer(device, unique)?.finish(Ok(()))?;
        let counts = queue.counts();
        assert!(counts.background as usize == max + 1);
        assert!(counts.active_background as usize == max);

        // Fewer may be active: those that are go on.
        queue.set_max_background(2);
        assert_eq!(queue.counts().active_background as usize, max);
        for id in 1..max {
            let unique = take(&queue, device, id)?;
            queue.answer(device, unique)?.finish(Ok(()))?;
        }
        let counts = queue.counts();
        assert!(counts.background == 2 && counts.active_background == 2);
        submit(&queue, &log, max + 2, 1)?;
        assert_eq!(queue.counts().active_background, 2);
        queue.set_max_background(3);
        assert_eq!(queue.counts().active_background, 3);
        queue.set_congestion_threshold(4);
        assert!(!queue.is_congested());
        queue.set_congestion_threshold(3);
        assert!(queue.is_congested());
        Ok(())
    }

    #[test]
    fn what_is_forced_passes_the_gate() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        assert!(queue.is_connected() && !queue.is_started());
        submit(&queue, &log, 0, 1)?;
        let unique = take(&queue, device, 0)?;
        queue.answer(device, unique)?.finish(Ok(()))?;
        queue.start(true);
        assert!(queue.is_started());
        let request = boxed(Probe { id: 1, log: &log })?;
        assert!(queue.submit(request, false).is_ok());
        take(&queue, device, 1)?;
        Ok(())
    }

    #[test]
    fn a_daemon_that_refuses_is_sent_only_what_is_forced() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.refuse(errno::EINVAL);
        let request = boxed(Probe { id: 0, log: &log })?;
        assert!(matches!(queue.call(request, false), Err(errno::EINVAL)));
        let request = boxed(Probe { id: 1, log: &log })?;
        assert!(matches!(
            queue.submit(request, false),
            Err((errno::EINVAL, request)) if request.id == 1
        ));
        assert!(queue.is_connected());
        assert_eq!(queue.counts().waiting, 0);
        submit(&queue, &log, 2, 1)?;
        let unique = take(&queue, device, 2)?;
        queue.answer(device, unique)?.finish(Ok(()))?;
        assert!(log.ended_with(2, Ok(())) && log.has_not_ended(1));
        // Aborted is aborted.
        queue.abort(errno::ENODEV);
        let request = boxed(Probe { id: 3, log: &log })?;
        assert!(matches!(queue.call(request, false), Err(errno::ENOTCONN)));
        Ok(())
    }

    #[test]
    fn resent_requests_come_first_marked_in_their_old_order() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let (first, second) = (queue.attach()?, queue.attach()?);
        queue.start(true);
        queue.set_max_background(REQUESTS as u32);
        submit(&queue, &log, 0, 6)?;
        let mut uniques = [0; 4];
        for (id, device) in [first, second, second, first].into_iter().enumerate() {
            uniques[id] = take(&queue, device, id)?;
        }
        queue.resend();
        assert_eq!(queue.counts().waiting, 6);
        for id in 0..6 {
            let resent = take(&queue, second, id)?;
            match uniques.get(id) {
                Some(unique) => {
                    assert_eq!(resent, unique | 1 << 63);
                    // The old name is nobody's any more.
                    assert!(matches!(queue.answer(second, *unique), Err(errno::ENOENT)));
                }
                None => assert_eq!(resent >> 63, 0),
            }
            queue.answer(second, resent)?.finish(Ok(()))?;
            assert!(log.ended_with(id, Ok(())));
        }
        // Nothing is left to be sent again, and after an abort nothing is.
        queue.resend();
        assert!(matches!(queue.read(first, false, 1), Err(errno::EAGAIN)));
        submit(&queue, &log, 6, 1)?;
        take(&queue, first, 6)?;
        queue.abort(errno::ENODEV);
        queue.resend();
        assert!(log.ended_with(6, Err(errno::ECONNABORTED)));
        assert_eq!(queue.counts().waiting, 0);
        Ok(())
    }

    #[test]
    fn a_flush_ends_what_was_read_and_nothing_else() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let (first, second) = (queue.attach()?, queue.attach()?);
        queue.start(true);
        submit(&queue, &log, 0, 5)?;
        let read_first = take(&queue, first, 0)?;
        take(&queue, second, 1)?;
        let answered = take(&queue, first, 2)?;
        let writing = queue.answer(first, answered)?;
        let reading = read(&queue, second)?;
        queue.flush();
        for id in 0..2 {
            assert!(log.ended_with(id, Err(errno::EIO)));
        }
        for id in 2..5 {
            assert!(log.has_not_ended(id));
        }
        assert!(matches!(
            queue.answer(first, read_first),
            Err(errno::ENOENT)
        ));
        writing.finish(Ok(()))?;
        reading.sent()?;
        take(&queue, first, 4)?;
        assert!(queue.is_connected());
        queue.abort(errno::ENODEV);
        assert!(log.all_ended(5));
        Ok(())
    }

    #[test]
    fn a_connection_that_recovers_outlives_its_last_device() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let dead = queue.attach()?;
        queue.start(true);
        queue.recover();
        submit(&queue, &log, 0, 3)?;
        let unique = take(&queue, dead, 0)?;
        take(&queue, dead, 1)?;
        queue.detach(dead);
        assert!(queue.is_connected());
        for id in 0..3 {
            assert!(log.has_not_ended(id));
        }
        let successor = queue.attach()?;
        assert_eq!(take(&queue, successor, 0)?, unique | 1 << 63);
        let second = take(&queue, successor, 1)?;
        queue.answer(successor, second)?.finish(Ok(()))?;
        assert!(log.ended_with(1, Ok(())));
        // Aborted is aborted, and then the last device is like any other.
        queue.abort(errno::ENODEV);
        queue.detach(successor);
        assert!(log.all_ended(3));
        Ok(())
    }

    #[test]
    fn devices_that_are_closed_one_after_another_put_back_in_one_order() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let (first, second) = (queue.attach()?, queue.attach()?);
        queue.start(true);
        queue.recover();
        queue.set_max_background(REQUESTS as u32);
        submit(&queue, &log, 0, 7)?;
        for (id, device) in [second, first, second, first, second]
            .into_iter()
            .enumerate()
        {
            take(&queue, device, id)?;
        }
        // Read in part when the first device was closed, and to the end after that.
        let slow = read(&queue, second)?;
        queue.detach(first);
        slow.sent()?;
        queue.detach(second);
        let successor = queue.attach()?;
        for id in 0..7 {
            let unique = take(&queue, successor, id)?;
            assert_eq!(unique >> 63, u64::from(id < 6));
        }
        // The first reading counts, whoever reads it again.
        let other = queue.attach()?;
        queue.resend();
        for (id, device) in [other, successor, other].into_iter().enumerate() {
            take(&queue, device, id)?;
        }
        queue.detach(successor);
        queue.detach(other);
        let last = queue.attach()?;
        for id in 0..7 {
            take(&queue, last, id)?;
        }
        queue.abort(errno::ENODEV);
        assert!(log.all_ended(7));
        Ok(())
    }

    #[test]
    fn latencies_count_what_has_ended_by_class() -> Result {
        let log = Log::new();
        let queue = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);
        submit(&queue, &log, 0, 5)?;
        for id in 0..4 {
            let unique = take(&queue, device, id)?;
            let outcome = if id == 3 { Err(errno::EIO) } else { Ok(()) };
            queue.answer(device, unique)?.finish(outcome)?;
        }
        let latencies = queue.latencies()?;
        assert_eq!(latencies.len(), 2);
        for (class, latency) in latencies.iter().enumerate() {
            assert!(latency.requests == 2 && latency.errors == class as u64);
            assert_eq!(latency.buckets.iter().sum::<u64>(), 2);
        }
        queue.abort(errno::ENODEV);
        let latencies = queue.latencies()?;
        assert!(latencies[0].requests == 3 && latencies[0].errors == 1);
        Ok(())
    }

    #[test]
    fn a_fifo_keeps_its_order() -> Result {
        let mut fifo = Fifo::new();
        assert!(fifo.is_empty() && fifo.pop_front().is_none());
        for value in 0..10 {
            fifo.push_back(boxed(Node::new(value))?);
        }
        assert!(fifo.split_front(0).is_empty());
        let mut front = fifo.split_front(3);
        assert!(front.len() == 3 && fifo.len() == 7);
        for value in 0..3 {
            assert!(front.pop_front().is_some_and(|node| node.value == value));
        }
        assert!(front.pop_front().is_none());
        front.push_back(boxed(Node::new(10))?);
        assert!(front.pop_front().is_some_and(|node| node.value == 10));

        // The rest is one short of all, and then all.
        let mut middle = fifo.split_front(6);
        fifo.push_back(boxed(Node::new(11))?);
        assert!(middle.len() == 6 && fifo.len() == 2);
        let mut end = fifo.split_front(usize::MAX);
        assert!(fifo.is_empty() && fifo.pop_front().is_none());
        fifo.push_back(boxed(Node::new(12))?);
        assert!(fifo.pop_front().is_some_and(|node| node.value == 12));
        for value in 3..9 {
            assert!(middle.pop_front().is_some_and(|node| node.value == value));
        }
        for value in [9, 11] {
            assert!(end.pop_front().is_some_and(|node| node.value == value));
        }
        assert!(middle.is_empty() && end.is_empty());
        // What is left in one is freed with it.
        end.push_back(boxed(Node::new(13))?);
        Ok(())
    }
}
