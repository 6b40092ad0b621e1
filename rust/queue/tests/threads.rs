// SPDX-License-Identifier: GPL-2.0

//! What takes more than one thread: callers that get signals, and that wait at the gate.

#[kernel::prelude::kunit_tests(rust_fuse_queue_threads)]
mod tests {
    use super::super::probe::*;
    use crate::{
        queue::{DeviceId, Place, Queue, Work},
        sys::{
            errno,
            kunit::{beside, Signal, Target},
            Result,
        },
    };
    use kernel::{
        sync::Arc,
        time::{delay::fsleep, Delta},
    };

    type Shared = Arc<Probes<'static>>;

    /// Queues that have started, and a device.
    fn started() -> Result<(Shared, DeviceId)> {
        let queue = Arc::new(Queue::new()?, kernel::alloc::flags::GFP_KERNEL)?;
        let device = queue.attach()?;
        queue.start(true);
        Ok((queue, device))
    }

    /// Waits for the request of that number and reads it to its end; its `unique`.
    fn wait_for(queue: &Shared, device: DeviceId, id: usize) -> Result<u64> {
        let Work::Request(mut delivery) = queue.read(device, true, 1)? else {
            return Err(errno::ENOENT);
        };
        if delivery.request().id != id {
            return Err(errno::EINVAL);
        }
        let unique = delivery.unique();
        delivery.sent().map(|()| unique)
    }

    /// Makes request 1 and waits for its end, and lets another thread do something meanwhile that
    /// may send signals; what comes back to the caller. (That thread is no test's: an assertion in it
    /// would fail nothing, so it gives an error.)
    fn call(
        queue: &Shared,
        log: &'static Log,
        daemon: impl FnOnce(&Shared, &Target) -> Result + Send + 'static,
    ) -> Result {
        Target::act(|caller| {
            let (theirs, caller) = (queue.clone(), caller.clone());
            let daemon = beside(move || daemon(&theirs, &caller))?;
            let outcome = queue.call(Probe::request(1, log)?, false).map(drop);
            daemon.join()?;
            outcome
        })
    }

    /// The same of who has a signal already, and no daemon.
    fn call_killed(queue: &Shared, log: &'static Log, force: bool) -> Result {
        Target::act(|caller| {
            caller.signal(Signal::Fatal);
            queue.call(Probe::request(1, log)?, force).map(drop)
        })
    }

    #[test]
    fn rule6_a_signal_interrupts_what_was_sent() -> Result {
        static LOG: Log = Log::new();
        let (queue, device) = started()?;
        let outcome = call(&queue, &LOG, move |queue, caller| {
            let unique = wait_for(queue, device, 1)?;
            caller.signal(Signal::Ordinary);
            match queue.read(device, true, 1)? {
                Work::Interrupt { of } if of == unique => {}
                _ => return Err(errno::ENOENT),
            }
            // It waits on, and is not told twice.
            caller.signal(Signal::Ordinary);
            let Err(errno::EAGAIN) = queue.read(device, false, 1) else {
                return Err(errno::EINVAL);
            };
            queue.answer(device, unique)?.finish(Ok(()))
        });
        assert!(outcome.is_ok());
        assert_eq!(queue.counts().waiting, 0);
        Ok(())
    }

    #[test]
    fn rule6_a_killed_caller_leaves_what_was_sent_behind() -> Result {
        static LOG: Log = Log::new();
        let (queue, device) = started()?;
        let outcome = call(&queue, &LOG, move |queue, caller| {
            wait_for(queue, device, 1)?;
            caller.signal(Signal::Fatal);
            Ok(())
        });
        assert!(matches!(outcome, Err(errno::EINTR)));
        let left = only(&queue)?;
        assert!(left.place == Place::Processing && left.abandoned && left.interrupted);
        assert!(LOG.has_not_ended(1));
        // Its reply is taken all the same, and whoever gives back what it grants is told.
        queue.answer(device, left.unique)?.finish(Ok(()))?;
        assert!(LOG.ended_with(1, Ok(())) && LOG.all_ended(1));
        assert_eq!(queue.counts().waiting, 0);
        Ok(())
    }

    #[test]
    fn rule6_a_killed_caller_takes_back_what_nobody_has_read() -> Result {
        static LOG: Log = Log::new();
        let (queue, device) = started()?;
        let outcome = call_killed(&queue, &LOG, false);
        assert!(matches!(outcome, Err(errno::EINTR)));
        assert!(queue.snapshot()?.entries.is_empty() && LOG.has_not_ended(1));
        assert!(matches!(queue.read(device, false, 1), Err(errno::EAGAIN)));
        Ok(())
    }

    #[test]
    fn rule6_what_is_forced_is_sent_without_its_caller() -> Result {
        static LOG: Log = Log::new();
        let (queue, device) = started()?;
        let outcome = call_killed(&queue, &LOG, true);
        assert!(matches!(outcome, Err(errno::EINTR)));
        let left = only(&queue)?;
        assert!(left.place == Place::Pending && left.abandoned && left.force);
        let unique = take(&queue, device, 1)?;
        // The daemon is told that nobody waits.
        assert!(matches!(
            queue.read(device, false, 1)?,
            Work::Interrupt { of } if of == unique
        ));
        queue.answer(device, unique)?.finish(Err(errno::EIO))?;
        assert!(LOG.ended_with(1, Err(errno::EIO)) && LOG.all_ended(1));
        Ok(())
    }

    #[test]
    fn rule6_what_is_sent_again_is_not_taken_back() -> Result {
        static LOG: Log = Log::new();
        let (queue, device) = started()?;
        let outcome = call(&queue, &LOG, move |queue, caller| {
            wait_for(queue, device, 1)?;
            queue.resend();
            caller.signal(Signal::Fatal);
            Ok(())
        });
        assert!(matches!(outcome, Err(errno::EINTR)));
        let left = only(&queue)?;
        assert!(left.place == Place::Pending && left.abandoned && left.resent);
        let unique = take(&queue, device, 1)?;
        queue.answer(device, unique)?.finish(Ok(()))?;
        assert!(LOG.ended_with(1, Ok(())));
        Ok(())
    }

    #[test]
    fn rule6_a_reader_that_is_killed_takes_nothing() -> Result {
        static LOG: Log = Log::new();
        let (queue, device) = started()?;
        submit(&queue, &LOG, 1, 1)?;
        forget(&queue, 7)?;
        Target::act(|reader| {
            let delivery = read(&queue, device);
            reader.signal(Signal::Fatal);
            // What it was reading is put back, and was never sent.
            drop(delivery);
            let more = queue.read(device, false, 1);
            assert!(matches!(more, Err(errno::ERESTARTSYS)));
        });
        let left = only(&queue)?;
        assert!(left.place == Place::Pending && !left.resent);
        assert_eq!(queue.counts().forgets.1, 1);
        Ok(())
    }

    #[test]
    fn who_waits_at_the_gate_passes_in_turn() -> Result {
        static LOG: Log = Log::new();
        let (queue, device) = started()?;
        queue.set_max_background(1);
        submit(&queue, &LOG, 0, 1)?;
        let mut waiting = [None, None, None];
        for (at, waiter) in waiting.iter_mut().enumerate() {
            let theirs = queue.clone();
            *waiter = Some(beside(move || {
                let request = Probe::request(at + 1, &LOG)?;
                theirs.submit(request, false).map_err(|(error, _)| error)
            })?);
            while queue.counts().traffic[Place::Gate as usize].now() <= at as u64 {
                fsleep(Delta::from_millis(1));
            }
        }
        // One ends, one passes: who came first.
        for id in 0..3 {
            let unique = take(&queue, device, id)?;
            queue.answer(device, unique)?.finish(Ok(()))?;
            let left = queue.counts().traffic[Place::Gate as usize].now();
            assert_eq!(left, 2 - id as u64);
        }
        take(&queue, device, 3)?;
        for waiter in waiting.into_iter().flatten() {
            waiter.join()?;
        }
        Ok(())
    }
}
