// SPDX-License-Identifier: GPL-2.0

//! Callers, readers and signals in many orders.
//!
//! What each run shows beside its own assertions, here and in its neighbours: no thread sleeps for
//! ever (the scheduler finds a deadlock), the invariants hold whenever the lock is free, every
//! request ends once in a way that fits its story and is freed once, without the lock
//! ([`close`](super::close)).

use super::{
    books, call, close,
    daemon::{next, reply, take, Manner},
    explore, forget, submit,
    threads::{
        assert_forgets_are_read, callers, finish, go, join_all, made, servers, settle, started,
    },
    Probe,
};
use crate::{
    queue::{Place, Queue, Work},
    sys::{errno, Result, Signal},
};

#[test]
fn calls_are_answered() {
    explore(2200, || {
        let (queue, device) = started();
        let servers = servers(&queue, device, &[Manner::CORRECT; 2]);
        let twice = |first| {
            move |queue: &Queue<Probe>| {
                call(queue, first, false)?;
                call(queue, first + 1, false)
            }
        };
        let callers = vec![
            go(&queue, twice(1)),
            go(&queue, twice(3)),
            go(&queue, twice(5)),
        ];
        assert!(join_all(callers).iter().all(Result::is_ok));
        finish(&queue, servers);
    });
}

#[test]
fn daemons_that_poll_miss_nothing() {
    explore(2200, || {
        let (queue, device) = started();
        let servers = servers(&queue, device, &[Manner::POLLING, Manner::POLLING]);
        let callers = callers(&queue, 1..4);
        forget(&queue, 100);
        forget(&queue, 101);
        assert!(join_all(callers).iter().all(Result::is_ok));
        settle(&queue);
        finish(&queue, servers);
        assert_forgets_are_read();
    });
}

#[test]
fn daemons_that_poll_and_that_sleep_miss_nothing() {
    explore(2200, || {
        let (queue, device) = started();
        let servers = servers(&queue, device, &[Manner::POLLING, Manner::CORRECT]);
        let callers = callers(&queue, 1..4);
        let forgetter = go(&queue, |queue| {
            (100..104).for_each(|node| forget(queue, node))
        });
        assert!(join_all(callers).iter().all(Result::is_ok));
        forgetter.join();
        settle(&queue);
        finish(&queue, servers);
        assert_forgets_are_read();
    });
}

#[test]
fn careless_daemons_hang_nobody() {
    explore(3300, || {
        let (queue, device) = started();
        let servers = servers(&queue, device, &[Manner::CARELESS; 2]);
        let mut calls = callers(&queue, 1..4);
        calls.push(go(&queue, |queue| submit(queue, 4, false)));
        for each in &calls {
            each.task.signal(Signal::Ordinary);
        }
        for outcome in join_all(calls) {
            use errno::*;
            assert!(
                matches!(outcome, Ok(()) | Err(EAGAIN | EINVAL | EIO)),
                "{outcome:?}"
            );
        }
        settle(&queue);
        finish(&queue, servers);
    });
}

#[test]
fn forgets_are_read_once() {
    explore(2200, || {
        let (queue, device) = started();
        let three = Manner {
            max_forgets: 3,
            ..Manner::CORRECT
        };
        let servers = servers(&queue, device, &[three, Manner::CORRECT, three]);
        let forgetters = [100, 200].map(|first| {
            go(&queue, move |queue| {
                (first..first + 4).for_each(|node| forget(queue, node))
            })
        });
        let callers = callers(&queue, 1..3);
        join_all(forgetters.into());
        assert!(join_all(callers).iter().all(Result::is_ok));
        settle(&queue);
        finish(&queue, servers);
        assert_forgets_are_read();
    });
}

#[test]
fn a_signal_interrupts_what_was_sent() {
    explore(2200, || {
        let (queue, device) = started();
        let caller = go(&queue, |queue| call(queue, 1, false));
        let daemon = go(&queue, move |queue| {
            let Ok(work @ Work::Request(_)) = queue.read(device, true, 1) else {
                panic!("a request comes first");
            };
            let unique = take(queue, work, Manner::CORRECT).expect("it is sent");
            // It is answered only after the interrupt has come: which it must.
            match queue.read(device, true, 1) {
                Ok(Work::Interrupt { of }) => assert_eq!(of, unique),
                _ => panic!("an interrupt comes next"),
            }
            reply(queue, device, unique, Manner::CORRECT);
        });
        caller.task.signal(Signal::Ordinary);
        daemon.join();
        assert_eq!(caller.join(), Ok(()));
        finish(&queue, Vec::new());
    });
}

#[test]
fn signals_interrupt_once() {
    explore(2200, || {
        let (queue, device) = started();
        let servers = servers(&queue, device, &[Manner::CORRECT; 2]);
        let callers = callers(&queue, 1..4);
        for _ in 0..2 {
            for caller in &callers {
                caller.task.signal(Signal::Ordinary);
            }
        }
        assert!(join_all(callers).iter().all(Result::is_ok));
        finish(&queue, servers);
        books(|books| assert!(books.interrupts_read.values().all(|times| *times == 1)));
    });
}

#[test]
fn killed_callers_leave() {
    explore(4400, || {
        let (queue, device) = started();
        let servers = servers(&queue, device, &[Manner::CORRECT; 2]);
        let callers = callers(&queue, 1..5);
        for caller in callers.iter().take(3) {
            caller.task.signal(Signal::Fatal);
        }
        for (outcome, killed) in join_all(callers).into_iter().zip([true, true, true, false]) {
            assert!(outcome == Ok(()) || killed && outcome == Err(errno::EINTR));
        }
        settle(&queue);
        finish(&queue, servers);
        // What the daemon granted to those who left was given back.
        assert_forgets_are_read();
        books(|books| {
            let orphans = books
                .all()
                .filter(|(_, record)| record.ended == Some((Ok(()), true)));
            assert_eq!(orphans.count(), books.forgets_read.len());
        });
    });
}

#[test]
fn a_killed_caller_does_not_wait_for_the_daemon() {
    explore(2200, || {
        let (queue, device) = started();
        let caller = go(&queue, |queue| call(queue, 1, false));
        let daemon = go(&queue, move |queue| {
            next(queue, device, Manner::CORRECT).map(|work| take(queue, work, Manner::CORRECT))
        });
        let unique = daemon.join().expect("a request comes").expect("it is sent");
        caller.task.signal(Signal::Fatal);
        // The daemon says nothing until the caller has gone.
        assert_eq!(caller.join(), Err(errno::EINTR));
        assert!(queue.snapshot().is_ok_and(|all| matches!(
            &all.entries[..],
            [entry] if entry.abandoned && entry.place == Place::Processing
        )));
        reply(&queue, device, unique, Manner::CORRECT);
        books(|books| assert_eq!(books.record(1).ended, Some((Ok(()), true))));
        finish(&queue, Vec::new());
    });
}

#[test]
fn a_killed_caller_takes_back_what_nobody_has_read() {
    explore(2200, || {
        let (queue, device) = started();
        let victim = go(&queue, |queue| call(queue, 1, false));
        let other = go(&queue, |queue| call(queue, 2, false));
        victim.task.signal(Signal::Fatal);
        assert_eq!(victim.join(), Err(errno::EINTR));
        books(|books| assert_eq!(books.record(1).ended, None));
        let servers = servers(&queue, device, &[Manner::CORRECT]);
        assert_eq!(other.join(), Ok(()));
        finish(&queue, servers);
    });
}

#[test]
fn what_is_forced_is_sent_without_its_caller() {
    explore(2200, || {
        let (queue, device) = made();
        let victim = go(&queue, |queue| call(queue, 1, true));
        victim.task.signal(Signal::Fatal);
        let servers = servers(&queue, device, &[Manner::CORRECT]);
        let outcome = victim.join();
        settle(&queue);
        finish(&queue, servers);
        books(|books| {
            assert_eq!(books.record(1).readings, 1);
            assert_eq!(
                outcome.is_err(),
                books.record(1).ended == Some((Ok(()), true))
            );
        });
    });
}

#[test]
fn readers_with_signals_lose_nothing() {
    explore(3300, || {
        let (queue, device) = started();
        let servers = servers(&queue, device, &[Manner::CORRECT; 3]);
        let callers = callers(&queue, 1..4);
        forget(&queue, 100);
        servers[0].task.signal(Signal::Fatal);
        servers[1].task.signal(Signal::Ordinary);
        servers[1].task.signal(Signal::Ordinary);
        assert!(join_all(callers).iter().all(Result::is_ok));
        settle(&queue);
        queue.abort(errno::ENODEV);
        for (end, killed) in join_all(servers).into_iter().zip([true, false, false]) {
            assert!(end == errno::ENODEV || killed && end == errno::ERESTARTSYS);
        }
        close(&queue);
        assert_forgets_are_read();
    });
}

#[test]
fn killed_callers_and_readers_with_signals_lose_nothing() {
    explore(4400, || {
        let (queue, device) = started();
        let servers = servers(&queue, device, &[Manner::CORRECT; 2]);
        let callers = callers(&queue, 1..5);
        for each in 0..2 {
            callers[each].task.signal(Signal::Fatal);
            servers[each].task.signal(Signal::Ordinary);
        }
        for (outcome, killed) in join_all(callers)
            .into_iter()
            .zip([true, true, false, false])
        {
            assert!(outcome == Ok(()) || killed && outcome == Err(errno::EINTR));
        }
        settle(&queue);
        finish(&queue, servers);
        assert_forgets_are_read();
    });
}

#[test]
fn one_of_two_answers_is_accepted() {
    explore(2200, || {
        let (queue, device) = started();
        let caller = go(&queue, |queue| call(queue, 1, false));
        let work = queue.read(device, true, 1).expect("a request comes");
        let unique = take(&queue, work, Manner::CORRECT).expect("it is sent");
        let answers = [(); 2].map(|()| {
            go(&queue, move |queue| {
                reply(queue, device, unique, Manner::CORRECT)
            })
        });
        // The slot may be in use again by now: its generation tells.
        let next = go(&queue, move |queue| call(queue, 2, false));
        join_all(answers.into());
        assert_eq!(caller.join(), Ok(()));
        let work = queue.read(device, true, 1).expect("a request comes");
        let second = take(&queue, work, Manner::CORRECT).expect("it is sent");
        assert!(queue.answer(device, unique).is_err() && second != unique);
        reply(&queue, device, second, Manner::CORRECT);
        assert_eq!(next.join(), Ok(()));
        finish(&queue, Vec::new());
    });
}
