// SPDX-License-Identifier: GPL-2.0

//! The gate, the limits of background requests, and what is counted.

#[cfg_attr(not(test), kernel::prelude::kunit_tests(rust_fuse_queue_limits))]
mod tests {
    use super::super::probe::*;
    use crate::{
        queue::{Queue, DEFAULT_CONGESTION_THRESHOLD, DEFAULT_MAX_BACKGROUND},
        sys::{
            errno,
            fifo::{Fifo, Node},
            Result,
        },
    };

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
        let request = Probe::request(1, &log)?;
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
        let request = Probe::request(0, &log)?;
        assert!(matches!(queue.call(request, false), Err(errno::EINVAL)));
        let request = Probe::request(1, &log)?;
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
        let request = Probe::request(3, &log)?;
        assert!(matches!(queue.call(request, false), Err(errno::ENOTCONN)));
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
        assert!(front.iter().eq(&[0, 1, 2]) && fifo.iter().eq(&[3, 4, 5, 6, 7, 8, 9]));
        for value in 0..3 {
            assert!(front.pop_front().is_some_and(|node| node.value == value));
        }
        assert!(front.pop_front().is_none() && front.iter().next().is_none());
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

        // Those in front stay in their order, and so do those behind.
        end.prepend(Fifo::new());
        for value in [15, 16] {
            end.push_back(boxed(Node::new(value))?);
        }
        middle.prepend(end);
        let mut front = Fifo::new();
        for value in [13, 14] {
            front.push_back(boxed(Node::new(value))?);
        }
        middle.prepend(front);
        middle.push_back(boxed(Node::new(17))?);
        assert_eq!(middle.len(), 5);
        for value in 13..17 {
            assert!(middle.pop_front().is_some_and(|node| node.value == value));
        }
        // What is left in one is freed with it.
        assert_eq!(middle.len(), 1);
        Ok(())
    }
}
