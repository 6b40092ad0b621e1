// SPDX-License-Identifier: GPL-2.0

//! What a daemon had when it went away is sent again, or given up.

#[cfg_attr(not(test), kernel::prelude::kunit_tests(rust_fuse_queue_recovery))]
mod tests {
    use super::super::probe::*;
    use crate::{
        queue::{Queue, Work},
        sys::{errno, Result},
    };

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
    fn forgets_in_a_copy_are_put_back_before_others() -> Result {
        let queue: Probes<'_> = Queue::new()?;
        let device = queue.attach()?;
        queue.start(true);
        for node in 1..6 {
            forget(&queue, node)?;
        }
        let forgets = |count| match queue.read(device, false, count)? {
            Work::Forgets { forgets, .. } => Ok(forgets),
            _ => Err(errno::EINVAL),
        };
        let (first, second) = (forgets(2)?, forgets(2)?);
        queue.unread_forgets(second);
        queue.unread_forgets(first);
        forget(&queue, 6)?;
        assert_eq!(queue.counts().forgets.1, 6);
        let mut all = forgets(10)?;
        for node in 1..7 {
            assert!(all
                .pop_front()
                .is_some_and(|each| each.value.nodeid == node));
        }
        // After an abort there is nobody to tell.
        forget(&queue, 7)?;
        let last = forgets(1)?;
        queue.abort(errno::ENODEV);
        queue.unread_forgets(last);
        assert_eq!(queue.counts().forgets.1, 0);
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
}
