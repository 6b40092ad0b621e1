// SPDX-License-Identifier: GPL-2.0

//! Callers, readers, signals and aborts in many orders.
//!
//! What each run shows beside its own assertions: no thread sleeps for ever (the scheduler finds
//! a deadlock), the invariants hold whenever the lock is free, every request ends once in a way
//! that fits its story and is freed once, without the lock ([`close`]).

use super::{
    books, call, close,
    daemon::{next, reply, serve, take, Manner},
    explore, forget, submit, Probe, INIT,
};
use crate::{
    queue::{DeviceId, Place, Queue, Work},
    sys::{errno, Error, Memory, Result, Signal, Task},
};
use shuttle::{
    rand::{thread_rng, Rng},
    thread::JoinHandle,
};
use std::sync::Arc;

type Shared = Arc<Queue<Probe>>;

/// A thread of a run.
pub(super) struct Running<T> {
    pub(super) task: Task,
    thread: JoinHandle<T>,
}

impl<T> Running<T> {
    /// Waits for its end.
    pub(super) fn join(self) -> T {
        self.thread.join().expect("the thread does not fail")
    }
}

/// Starts a thread.
pub(super) fn go<T: Send + 'static>(
    queue: &Shared,
    run: impl FnOnce(&Queue<Probe>) -> T + Send + 'static,
) -> Running<T> {
    let queue = queue.clone();
    let (task, thread) = Task::spawn(move || run(&queue));
    Running { task, thread }
}

/// Queues that have started, and a device.
pub(super) fn started() -> (Shared, DeviceId) {
    let (queue, device) = made();
    queue.start(true);
    (queue, device)
}

/// Queues that have not started yet, and a device.
fn made() -> (Shared, DeviceId) {
    let queue = Arc::new(Queue::new().expect("there is memory"));
    let device = queue.attach().expect("it is connected");
    (queue, device)
}

fn servers(queue: &Shared, device: DeviceId, manners: &[Manner]) -> Vec<Running<Error>> {
    manners
        .iter()
        .map(|manner| {
            let manner = *manner;
            go(queue, move |queue| serve(queue, device, manner))
        })
        .collect()
}

fn callers(queue: &Shared, ids: impl IntoIterator<Item = u64>) -> Vec<Running<Result>> {
    ids.into_iter()
        .map(|id| go(queue, move |queue| call(queue, id, false)))
        .collect()
}

fn join_all<T>(threads: Vec<Running<T>>) -> Vec<T> {
    threads.into_iter().map(Running::join).collect()
}

/// The daemon ends with the connection, which is over.
fn finish(queue: &Shared, servers: Vec<Running<Error>>) {
    queue.abort(errno::ECONNABORTED);
    for end in join_all(servers) {
        assert_eq!(end, errno::ECONNABORTED);
    }
    queue.wait_drained();
    close(queue);
}

/// Waits until the daemon has nothing left to do.
fn settle(queue: &Shared) {
    queue.wait_drained();
    while queue.counts().forgets.1 > 0 {
        shuttle::thread::yield_now();
    }
}

fn assert_forgets_are_read() {
    books(|books| {
        books.forgets_queued.sort_unstable();
        books.forgets_read.sort_unstable();
        assert_eq!(books.forgets_read, books.forgets_queued);
    });
}

#[test]
fn calls_are_answered() {
    explore(1000, || {
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
    explore(1000, || {
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
    explore(1000, || {
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
    explore(1500, || {
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
    explore(1000, || {
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
    explore(1000, || {
        let (queue, device) = started();
        let caller = go(&queue, |queue| call(queue, 1, false));
        let daemon = go(&queue, move |queue| {
            let Ok(work @ Work::Request(_)) = queue.read(device, true, 1) else {
                panic!("a request comes first");
            };
            let unique = take(work, Manner::CORRECT).expect("it is sent");
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
    explore(1000, || {
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
    explore(2000, || {
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
    explore(1000, || {
        let (queue, device) = started();
        let caller = go(&queue, |queue| call(queue, 1, false));
        let daemon = go(&queue, move |queue| {
            next(queue, device, Manner::CORRECT).map(|work| take(work, Manner::CORRECT))
        });
        let unique = daemon.join().expect("a request comes").expect("it is sent");
        caller.task.signal(Signal::Fatal);
        // The daemon says nothing until the caller has gone.
        assert_eq!(caller.join(), Err(errno::EINTR));
        assert!(queue.snapshot().is_ok_and(|entries| matches!(
            &entries[..],
            [entry] if entry.abandoned && entry.place == Place::Processing
        )));
        reply(&queue, device, unique, Manner::CORRECT);
        books(|books| assert_eq!(books.record(1).ended, Some((Ok(()), true))));
        finish(&queue, Vec::new());
    });
}

#[test]
fn a_killed_caller_takes_back_what_nobody_has_read() {
    explore(1000, || {
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
    explore(1000, || {
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
    explore(1500, || {
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
    explore(2000, || {
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
fn an_abort_ends_everything() {
    explore(2000, || {
        let (queue, device) = started();
        queue.set_max_background(1);
        let manner = if thread_rng().gen() {
            Manner::CORRECT
        } else {
            Manner::POLLING
        };
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
        assert_eq!(queue.attach().err(), Some(errno::ENOTCONN));
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
fn two_aborts_at_once_end_everything_once() {
    explore(1000, || {
        let (queue, device) = started();
        let calls = callers(&queue, 1..4);
        let reader = go(&queue, move |queue| {
            let work = next(queue, device, Manner::CORRECT)?;
            Ok::<_, Error>(take(work, Manner::CORRECT))
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
    explore(1500, || {
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
                let told = record.ended.is_some() || record.drops == 0;
                let refused = matches!(record.returned, Some(Err(_)));
                assert!(
                    told || refused || record.returned.is_none(),
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
    explore(1500, || {
        let (queue, device) = started();
        let second = queue.attach().expect("it is connected");
        let servers = servers(&queue, second, &[Manner::CORRECT]);
        let callers = callers(&queue, 1..4);
        let background = go(&queue, |queue| submit(queue, 4, false));
        let leaver = go(&queue, move |queue| {
            if let Ok(work) = queue.read(device, thread_rng().gen(), 1) {
                if let Some(unique) = take(work, Manner::CORRECT) {
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
    explore(1500, || {
        let (queue, device) = started();
        let second = queue.attach().expect("it is connected");
        let leavers = [device, second].map(|device| {
            go(&queue, move |queue| {
                if let Ok(work) = queue.read(device, thread_rng().gen(), 2) {
                    take(work, Manner::CORRECT);
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
fn no_more_background_requests_are_active_than_may_be() {
    explore(1500, || {
        let (queue, device) = started();
        let max = thread_rng().gen_range(1..4);
        queue.set_max_background(max);
        books(|books| books.max_active = Some(max as usize));
        let servers = servers(&queue, device, &[Manner::CORRECT; 2]);
        let submits: Vec<_> = [1, 3, 5]
            .into_iter()
            .map(|first| {
                go(&queue, move |queue| {
                    submit(queue, first, first == 5)?;
                    submit(queue, first + 1, false)
                })
            })
            .collect();
        let caller = go(&queue, |queue| call(queue, 7, false));
        assert_eq!(caller.join(), Ok(()));
        assert!(join_all(submits).iter().all(Result::is_ok));
        settle(&queue);
        finish(&queue, servers);
        books(|books| {
            let ended = books
                .all()
                .filter(|(_, record)| record.ended == Some((Ok(()), false)));
            assert_eq!(ended.count(), 6);
        });
    });
}

#[test]
fn limits_change_under_load() {
    explore(1500, || {
        let (queue, device) = started();
        queue.set_max_background(0);
        let servers = servers(&queue, device, &[Manner::CARELESS; 2]);
        let submits: Vec<_> = (1..6)
            .map(|id| go(&queue, move |queue| submit(queue, id, id == 5)))
            .collect();
        submits[0].task.signal(Signal::Fatal);
        for max in [2, 0, 1] {
            queue.set_max_background(max);
            queue.set_congestion_threshold(max);
        }
        let outcomes = join_all(submits);
        assert!(outcomes.iter().skip(1).all(Result::is_ok));
        settle(&queue);
        finish(&queue, servers);
    });
}

#[test]
fn nothing_passes_the_gate_before_init() {
    explore(1500, || {
        let (queue, device) = made();
        books(|books| books.gate_is_shut = true);
        let servers = servers(&queue, device, &[Manner::CORRECT; 2]);
        let mut calls = callers(&queue, 1..4);
        for id in 11..14 {
            calls.push(go(&queue, move |queue| submit(queue, id, false)));
        }
        calls[0].task.signal(Signal::Fatal);
        calls[3].task.signal(Signal::Fatal);
        calls[1].task.signal(Signal::Ordinary);
        assert_eq!(submit(&queue, INIT, true), Ok(()));
        for (at, outcome) in join_all(calls).into_iter().enumerate() {
            assert!(outcome == Ok(()) || at % 3 == 0 && outcome == Err(errno::EINTR));
        }
        settle(&queue);
        finish(&queue, servers);
    });
}

#[test]
fn an_abort_opens_the_gate_for_nobody() {
    explore(1000, || {
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
fn one_of_two_answers_is_accepted() {
    explore(1000, || {
        let (queue, device) = started();
        let caller = go(&queue, |queue| call(queue, 1, false));
        let work = queue.read(device, true, 1).expect("a request comes");
        let unique = take(work, Manner::CORRECT).expect("it is sent");
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
        let second = take(work, Manner::CORRECT).expect("it is sent");
        assert!(queue.answer(device, unique).is_err() && second != unique);
        reply(&queue, device, second, Manner::CORRECT);
        assert_eq!(next.join(), Ok(()));
        finish(&queue, Vec::new());
    });
}

#[test]
fn memory_runs_out() {
    explore(1500, || {
        let (queue, device) = started();
        Memory::leave(Some(thread_rng().gen_range(0..6)));
        let mut calls = callers(&queue, 1..4);
        calls.push(go(&queue, |queue| submit(queue, 4, false)));
        calls.push(go(&queue, |queue| submit(queue, 5, true)));
        calls.push(go(&queue, |queue| call(queue, 6, true)));
        let daemon = go(&queue, move |queue| loop {
            match serve(queue, device, Manner::CORRECT) {
                errno::ENOMEM => Memory::leave(Some(2)),
                error => return error,
            }
        });
        let outcomes = join_all(calls);
        assert!(outcomes
            .iter()
            .all(|end| matches!(end, Ok(()) | Err(errno::ENOMEM))));
        assert_eq!(
            outcomes[4..],
            [Ok(()), Ok(())],
            "what is forced does not fail"
        );
        queue.wait_drained();
        Memory::leave(None);
        finish(&queue, vec![daemon]);
    });
}

#[test]
fn everything_at_once() {
    explore(3000, || {
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
                    take(work, Manner::CARELESS);
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
