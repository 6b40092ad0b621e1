// SPDX-License-Identifier: GPL-2.0

//! The rules, each in tests of its number.

#[cfg_attr(not(test), kernel::prelude::kunit_tests(rust_fuse_queue))]
mod tests {
    use super::super::probe::*;
    use crate::{
        queue::{InterruptAnswer, Place, Queue, Work},
        sys::{errno, Result},
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
        assert!(queue.snapshot()?.entries.is_empty());
        let counts = queue.counts();
        assert_eq!(counts.waiting, 0);
        for place in Place::ALL {
            let expected = match place {
                Place::Gate | Place::Handed | Place::Aborting => 0,
                _ => 1,
            };
            assert!(counts.traffic[place as usize].came == expected);
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

        let entries = queue.snapshot()?.entries;
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
        let passed = |place: Place| counts.traffic[place as usize].came;
        assert!(passed(Place::Pending) == 4 && passed(Place::Reading) == 3);

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
        let request = Probe::request(7, &log)?;
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
}
