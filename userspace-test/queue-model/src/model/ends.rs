// SPDX-License-Identifier: GPL-2.0

//! Aborts and devices that are closed, in many orders with all the rest.

use super::{
    books, call, close,
    daemon::{next, reply, take, Manner},
    explore, forget, iterations, run, submit,
    threads::{
        assert_forgets_are_read, callers, finish, go, join_all, made, servers, settle, started,
        Running,
    },
    Probe, INIT, RESEND_BIT,
};
use crate::{
    queue::{Place, Queue, Work},
    sys::{errno, park, Error, Result, Signal, Sleep, Task},
};
use shuttle::{
    rand::{thread_rng, Rng},
    scheduler::RandomScheduler,
};
use std::sync::{
    atomic::{AtomicBool, Ordering::SeqCst},
    Arc,
};

#[test]
fn an_abort_ends_everything() {
    explore(4400, || {
        let (queue, device) = started();
        queue.set_max_background(1);
        let manners = [Manner::CORRECT, Manner::POLLING, Manner::MORTAL];
        let manner = manners[thread_rng().gen_range(0..3)];
        let servers = servers(&queue, device, &[manner; 2]);
        let mut calls = callers(&queue, 1..4);
        for id in 11..14 {
            calls.push(go(&queue, move |queue| submit(queue, id, id == 13)));
        }
        let forgetter = go(&queue, |queue| forget(queue, 100));
        let killed = thread_rng().gen_range(0..calls.len());
        if thread_rng().gen() {
            calls[killed].task.signal(Signal::Fatal);
        }
        queue.abort(errno::ECONNABORTED);
        assert!(!queue.is_connected() && !queue.is_started());
        for outcome in join_all(calls) {
            use errno::*;
            assert!(
                matches!(outcome, Ok(()) | Err(EINTR | ENOTCONN | ECONNABORTED)),
                "{outcome:?}"
            );
        }
        forgetter.join();
        assert_eq!(call(&queue, 20, false), Err(errno::ENOTCONN));
        assert_eq!(submit(&queue, 21, true), Err(errno::ENOTCONN));
        finish(&queue, servers);
    });
}

#[test]
fn a_time_out_aborts_everything_or_nothing() {
    explore(3300, || {
        let (queue, device) = started();
        queue.set_max_background(1);
        let servers = servers(&queue, device, &[Manner::CORRECT; 2]);
        let mut calls = callers(&queue, 1..4);
        calls.push(go(&queue, |queue| submit(queue, 11, false)));
        if thread_rng().gen() {
            calls[0].task.signal(Signal::Fatal);
        }
        // The clock ticks each time somebody looks at it.
        let limit = thread_rng().gen_range(0..20);
        let watchdog = go(&queue, move |queue| (0..3).all(|_| queue.expire(limit)));
        let in_time = watchdog.join();
        assert_eq!(in_time, queue.is_connected());
        for outcome in join_all(calls) {
            use errno::*;
            match outcome {
                Ok(()) | Err(EINTR) => {}
                Err(ECONNABORTED | ENOTCONN) if !in_time => {}
                _ => panic!("{outcome:?}"),
            }
        }
        if in_time {
            settle(&queue);
            finish(&queue, servers);
        } else {
            for end in join_all(servers) {
                assert_eq!(end, errno::ENODEV);
            }
            queue.wait_drained();
            close(&queue);
        }
    });
}

#[test]
fn two_aborts_at_once_end_everything_once() {
    explore(2200, || {
        let (queue, device) = started();
        let calls = callers(&queue, 1..4);
        let reader = go(&queue, move |queue| {
            let work = next(queue, device, Manner::CORRECT)?;
            Ok::<_, Error>(take(queue, work, Manner::CORRECT))
        });
        let aborts = [(); 2].map(|()| go(&queue, |queue| queue.abort(errno::ENODEV)));
        join_all(aborts.into());
        reader.join().unwrap_or(None);
        join_all(calls);
        queue.wait_drained();
        close(&queue);
    });
}

#[test]
fn drained_means_that_all_ends_were_told() {
    explore(3300, || {
        let (queue, device) = started();
        queue.set_max_background(2);
        let servers = servers(&queue, device, &[Manner::CORRECT; 2]);
        let submits: Vec<_> = (1..4)
            .map(|id| go(&queue, move |queue| submit(queue, id, true)))
            .collect();
        let aborter = go(&queue, |queue| queue.abort(errno::ECONNABORTED));
        queue.abort(errno::ECONNABORTED);
        queue.wait_drained();
        books(|books| {
            for (id, record) in books.all() {
                let was_there = record.unique.is_some();
                assert!(
                    !was_there || record.ended.is_some(),
                    "request {id}: {record:?}"
                );
            }
        });
        join_all(submits);
        aborter.join();
        finish(&queue, servers);
    });
}

#[test]
fn a_closed_device_aborts_what_it_was_processing() {
    explore(3300, || {
        let (queue, device) = started();
        let second = queue.attach().expect("it is connected");
        let servers = servers(&queue, second, &[Manner::CORRECT]);
        let callers = callers(&queue, 1..4);
        let background = go(&queue, |queue| submit(queue, 4, false));
        let leaver = go(&queue, move |queue| {
            if let Ok(work) = queue.read(device, thread_rng().gen(), 1) {
                if let Some(unique) = take(queue, work, Manner::CORRECT) {
                    // The other device does not answer for this one.
                    assert!(queue.answer(second, unique).is_err());
                }
            }
            queue.detach(device);
        });
        // The leaver waits for something to come.
        forget(&queue, 100);
        let aborted = |outcome: &Result| *outcome == Err(errno::ECONNABORTED);
        for caller in &callers {
            if thread_rng().gen_range(0..4) == 0 {
                caller.task.signal(Signal::Fatal);
            }
        }
        let outcomes = join_all(callers);
        assert!(outcomes.iter().filter(|outcome| aborted(outcome)).count() <= 1);
        assert_eq!(background.join(), Ok(()));
        // It may sleep in read, when all that came went to the other device.
        leaver.task.signal(Signal::Ordinary);
        leaver.join();
        assert!(queue.is_connected());
        settle(&queue);
        finish(&queue, servers);
    });
}

#[test]
fn closing_the_last_device_aborts_everything() {
    explore(3300, || {
        let (queue, device) = started();
        let second = queue.attach().expect("it is connected");
        let leavers = [device, second].map(|device| {
            go(&queue, move |queue| {
                if let Ok(work) = queue.read(device, thread_rng().gen(), 2) {
                    take(queue, work, Manner::CORRECT);
                }
                queue.detach(device);
            })
        });
        let calls = callers(&queue, 1..4);
        let background = go(&queue, |queue| submit(queue, 4, false));
        join_all(leavers.into());
        assert!(!queue.is_connected());
        for outcome in join_all(calls) {
            assert!(matches!(
                outcome,
                Err(errno::ECONNABORTED | errno::ENOTCONN)
            ));
        }
        let _ = background.join();
        assert_eq!(queue.poll(), Err(errno::ENODEV));
        close(&queue);
    });
}

#[test]
fn an_abort_opens_the_gate_for_nobody() {
    explore(2200, || {
        let (queue, device) = made();
        books(|books| books.gate_is_shut = true);
        let servers = servers(&queue, device, &[Manner::CORRECT]);
        let calls = callers(&queue, 1..3);
        let submits = [3, 4].map(|id| go(&queue, move |queue| submit(queue, id, false)));
        let killed = thread_rng().gen_range(0..2);
        submits[killed].task.signal(Signal::Fatal);
        queue.abort(errno::ECONNABORTED);
        for outcome in join_all(calls) {
            assert_eq!(outcome, Err(errno::ENOTCONN));
        }
        submits.map(Running::join).iter().for_each(|outcome| {
            assert!(matches!(
                outcome,
                Ok(()) | Err(errno::ENOTCONN | errno::EINTR)
            ));
        });
        finish(&queue, servers);
        books(|books| {
            let told = |id| books.record(id).ended;
            for end in [3, 4].map(told).into_iter().flatten() {
                assert_eq!(end, (Err(errno::ENOTCONN), false));
            }
        });
    });
}

#[test]
fn everything_at_once() {
    explore(8800, || {
        let (queue, device) = made();
        let second = queue.attach().expect("it is connected");
        let mut rng = thread_rng();
        books(|books| books.gate_is_shut = true);
        queue.set_max_background(rng.gen_range(1..3));
        let manners = [Manner::CORRECT, Manner::CARELESS, Manner::POLLING];
        let servers = servers(&queue, device, &manners[..rng.gen_range(1..4)]);
        let leaver = go(&queue, move |queue| {
            for _ in 0..thread_rng().gen_range(0..3) {
                if let Ok(work) = queue.read(second, false, 2) {
                    take(queue, work, Manner::CARELESS);
                }
            }
            queue.detach(second);
        });
        let mut calls = callers(&queue, 1..5);
        for id in 11..14 {
            calls.push(go(&queue, move |queue| submit(queue, id, id == 11)));
        }
        calls.push(go(&queue, |queue| call(queue, 21, true)));
        calls.push(go(&queue, |queue| submit(queue, INIT, true)));
        let forgetter = go(&queue, |queue| {
            (100..103).for_each(|node| forget(queue, node))
        });
        for _ in 0..rng.gen_range(0..4) {
            let caller = rng.gen_range(0..calls.len());
            let signal = [Signal::Ordinary, Signal::Fatal][rng.gen_range(0..2)];
            calls[caller].task.signal(signal);
            if rng.gen() {
                queue.resend();
            }
            let server = rng.gen_range(0..servers.len());
            servers[server].task.signal(Signal::Ordinary);
        }
        let early = rng.gen_range(0..3) == 0;
        if early {
            queue.abort(errno::ECONNABORTED);
        }
        join_all(calls);
        forgetter.join();
        leaver.join();
        if !early {
            settle(&queue);
        }
        finish(&queue, servers);
        if !early {
            assert_forgets_are_read();
        }
    });
}

#[test]
fn what_is_sent_again_is_answered_once() {
    explore(4400, || {
        let (queue, device) = started();
        let second = queue.attach().expect("it is connected");
        queue.set_max_background(1);
        let mut daemons = servers(&queue, device, &[Manner::CORRECT; 2]);
        daemons.extend(servers(&queue, second, &[Manner::POLLING]));
        let mut calls = callers(&queue, 1..5);
        calls.push(go(&queue, |queue| submit(queue, 5, false)));
        calls.push(go(&queue, |queue| submit(queue, 6, false)));
        calls[0].task.signal(Signal::Fatal);
        calls[1].task.signal(Signal::Ordinary);
        let flushes = thread_rng().gen();
        for _ in 0..2 {
            queue.resend();
        }
        if flushes {
            queue.flush();
        }
        for (at, outcome) in join_all(calls).into_iter().enumerate() {
            let killed = at == 0 && outcome == Err(errno::EINTR);
            let given_up = flushes && outcome == Err(errno::EIO);
            assert!(outcome == Ok(()) || killed || given_up, "{outcome:?}");
        }
        settle(&queue);
        finish(&queue, daemons);
    });
}

#[test]
fn a_successor_answers_what_a_dead_daemon_had() {
    explore(4400, || {
        let (queue, device) = started();
        queue.recover();
        let calls = callers(&queue, 1..4);
        let background = go(&queue, |queue| submit(queue, 4, false));
        let dead = go(&queue, move |queue| {
            for _ in 0..thread_rng().gen_range(0..3) {
                if let Ok(work) = queue.read(device, false, 2) {
                    take(queue, work, Manner::CORRECT);
                }
            }
            queue.detach(device);
        });
        if thread_rng().gen() {
            dead.join();
            assert!(queue.is_connected(), "the connection outlives its device");
        }
        let device = queue.attach().expect("it is connected");
        let servers = servers(&queue, device, &[Manner::CORRECT; 2]);
        assert!(join_all(calls).iter().all(Result::is_ok));
        assert_eq!(background.join(), Ok(()));
        settle(&queue);
        finish(&queue, servers);
    });
}

/// Reads and answers until it is killed, in the midst of which it may be: what is left of that is
/// for the other device, which is kept open.
#[test]
fn a_daemon_killed_in_a_copy_leaves_its_request_to_another() {
    explore(4400, || {
        let (queue, device) = started();
        queue.set_max_background(1);
        let kept = queue.attach().expect("it is connected");
        let dying = servers(&queue, device, &[Manner::MORTAL; 2]);
        let mut calls = callers(&queue, 1..4);
        calls.push(go(&queue, |queue| submit(queue, 4, false)));
        calls.push(go(&queue, |queue| submit(queue, 5, false)));
        for node in 100..103 {
            forget(&queue, node);
        }
        calls[0].task.signal(Signal::Ordinary);
        for each in &dying {
            each.task.signal(Signal::Fatal);
        }
        for end in join_all(dying) {
            assert_eq!(end, errno::ERESTARTSYS);
        }
        // Nothing is in a copy by now, nor has any of it ended.
        let entries = queue.snapshot().expect("there is memory").entries;
        assert!(entries
            .iter()
            .all(|entry| !matches!(entry.place, Place::Handed | Place::Reading | Place::Writing)));
        queue.resend();
        let servers = servers(&queue, kept, &[Manner::CORRECT; 2]);
        assert!(join_all(calls).iter().all(Result::is_ok));
        settle(&queue);
        finish(&queue, servers);
        assert_forgets_are_read();
    });
}

#[test]
fn what_was_in_a_copy_is_put_back_in_its_order() {
    // There is one thread only.
    run(RandomScheduler::new(iterations(200)), || {
        let (queue, device) = started();
        queue.set_max_background(6);
        for id in 1..6 {
            submit(&queue, id, false).expect("it is queued");
        }
        // Each is taken before the next one, and they are put back as it comes.
        let mut readers = Vec::new();
        for id in 1..5 {
            let Ok(Work::Request(mut delivery)) = queue.read(device, false, 1) else {
                panic!("a request comes");
            };
            assert_eq!(delivery.request().id, id);
            let unique = delivery.unique();
            // The third one is sent to the end, and answered in part.
            if id == 3 {
                delivery.sent().expect("it is sent");
            } else {
                readers.push(delivery);
            }
            books(|books| assert_eq!(books.record(id).unique, Some(unique)));
        }
        while !readers.is_empty() {
            let delivery = readers.swap_remove(thread_rng().gen_range(0..readers.len()));
            if thread_rng().gen() {
                Task::dying(|| drop(delivery));
            } else {
                let sent = Task::dying(|| delivery.sent());
                assert_eq!(sent, Err(errno::ERESTARTSYS));
            }
            if thread_rng().gen_range(0..3) == 0 {
                queue.resend();
            }
        }
        queue.resend();
        for id in 1..6 {
            let Ok(Work::Request(mut delivery)) = queue.read(device, false, 1) else {
                panic!("a request comes");
            };
            assert_eq!(delivery.request().id, id);
            // Only what a daemon has had is marked.
            assert_eq!(delivery.unique() & RESEND_BIT != 0, id == 3);
            let unique = delivery.unique();
            delivery.sent().expect("it is sent");
            reply(&queue, device, unique, Manner::CORRECT);
        }
        finish(&queue, Vec::new());
    });
}

#[test]
fn a_reply_cut_short_by_a_kill_does_not_answer() {
    explore(2200, || {
        let (queue, device) = started();
        let caller = go(&queue, |queue| call(queue, 1, false));
        let work = queue.read(device, true, 1).expect("a request comes");
        let unique = take(&queue, work, Manner::CORRECT).expect("it is sent");
        let signals = thread_rng().gen();
        let aborts = thread_rng().gen_range(0..4) == 0;
        let dying = go(&queue, move |queue| {
            let answer = queue.answer(device, unique);
            assert!(answer.is_ok() || aborts);
            Task::dying(|| drop(answer));
        });
        if signals {
            caller.task.signal(Signal::Ordinary);
        }
        if aborts {
            queue.abort(errno::ENODEV);
        }
        dying.join();
        if aborts {
            assert_eq!(caller.join(), Err(errno::ECONNABORTED));
            return finish(&queue, Vec::new());
        }
        if signals {
            // It is told, whenever the signal came.
            match queue.read(device, true, 1) {
                Ok(Work::Interrupt { of }) => assert_eq!(of, unique),
                _ => panic!("an interrupt comes"),
            }
        }
        reply(&queue, device, unique, Manner::CORRECT);
        assert_eq!(caller.join(), Ok(()));
        finish(&queue, Vec::new());
    });
}

/// The daemon waits for memory that comes when all is aborted, and not before.
#[test]
fn an_abort_breaks_a_copy_that_waits_for_memory() {
    explore(2200, || {
        let (queue, device) = started();
        let answers = thread_rng().gen::<bool>();
        let aborted = Arc::new(AtomicBool::new(false));
        let memory = aborted.clone();
        let calls = callers(&queue, 1..3);
        let daemon = go(&queue, move |queue| {
            let wait = || {
                park(Sleep::Uninterruptible, || memory.load(SeqCst).then_some(()));
                Ok(())
            };
            let Ok(Work::Request(delivery)) = queue.read(device, true, 1) else {
                panic!("a request comes");
            };
            if !answers {
                return delivery.aside(wait).map(drop);
            }
            let unique = delivery.unique();
            delivery.sent().expect("it is sent");
            let answer = queue.answer(device, unique).expect("it is processed");
            answer.aside(wait).map(drop)
        });
        let place = if answers {
            Place::Writing
        } else {
            Place::Reading
        };
        loop {
            let entries = queue.snapshot().expect("there is memory").entries;
            let is_copied = entries.iter().any(|entry| entry.place == place);
            if is_copied && entries.len() == 2 && daemon.task.is_asleep() {
                break;
            }
            shuttle::thread::yield_now();
        }
        let killed = thread_rng().gen_range(0..4) == 0;
        if killed {
            calls[0].task.signal(Signal::Fatal);
        }
        queue.abort(errno::ENODEV);
        // Those who wait are gone before the memory comes.
        for outcome in join_all(calls) {
            assert!(outcome == Err(errno::ECONNABORTED) || killed);
        }
        queue.wait_drained();
        aborted.store(true, SeqCst);
        daemon.task.wake_up();
        let error = if answers {
            errno::ENOENT
        } else {
            errno::ENODEV
        };
        assert_eq!(daemon.join(), Err(error));
        finish(&queue, Vec::new());
    });
}

#[test]
fn an_interrupt_cut_short_by_a_kill_comes_again() {
    explore(2200, || {
        let (queue, device) = started();
        let caller = go(&queue, |queue| call(queue, 1, false));
        let work = queue.read(device, true, 1).expect("a request comes");
        let unique = take(&queue, work, Manner::CORRECT).expect("it is sent");
        caller.task.signal(Signal::Ordinary);
        let read = move |queue: &Queue<Probe>| match queue.read(device, true, 1) {
            Ok(Work::Interrupt { of }) => of,
            _ => panic!("an interrupt comes"),
        };
        let of = read(&queue);
        let another = go(&queue, read);
        queue.unread_interrupt(of);
        assert_eq!((of, another.join()), (unique, unique));
        reply(&queue, device, unique, Manner::CORRECT);
        assert_eq!(caller.join(), Ok(()));
        // It has ended: there is nothing left to interrupt.
        queue.unread_interrupt(of);
        finish(&queue, Vec::new());
    });
}
