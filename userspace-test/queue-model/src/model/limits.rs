// SPDX-License-Identifier: GPL-2.0

//! The limits of background requests, the gate, and memory that runs out, in many orders.

use super::{
    books, call,
    daemon::{serve, Manner},
    explore, forget, submit,
    threads::{
        assert_forgets_are_read, callers, finish, go, join_all, made, servers, settle, started,
    },
    INIT,
};
use crate::sys::{errno, Memory, Result, Signal};
use shuttle::rand::{thread_rng, Rng};

#[test]
fn no_more_background_requests_are_active_than_may_be() {
    explore(3300, || {
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
    explore(3300, || {
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
    explore(3300, || {
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
fn memory_runs_out() {
    explore(3300, || {
        let (queue, device) = started();
        Memory::leave(Some(thread_rng().gen_range(0..6)));
        let mut calls = callers(&queue, 1..4);
        calls.push(go(&queue, |queue| submit(queue, 4, false)));
        calls.push(go(&queue, |queue| submit(queue, 5, true)));
        calls.push(go(&queue, |queue| call(queue, 6, true)));
        let forgetter = go(&queue, |queue| {
            (100..103).for_each(|node| forget(queue, node))
        });
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
        forgetter.join();
        settle(&queue);
        Memory::leave(None);
        finish(&queue, vec![daemon]);
        assert_forgets_are_read();
    });
}

#[test]
fn a_refused_connection_hangs_nobody() {
    explore(2200, || {
        let (queue, device) = made();
        books(|books| books.gate_is_shut = true);
        let servers = servers(&queue, device, &[Manner::CORRECT; 2]);
        let calls = callers(&queue, 1..4);
        let submits = [4, 5].map(|id| go(&queue, move |queue| submit(queue, id, false)));
        calls[0].task.signal(Signal::Fatal);
        submits[0].task.signal(Signal::Fatal);
        let forced = go(&queue, |queue| call(queue, 6, true));
        queue.refuse(errno::EIO);
        for outcome in join_all(calls) {
            assert!(matches!(outcome, Err(errno::EIO | errno::EINTR)));
        }
        for outcome in join_all(submits.into()) {
            assert!(matches!(outcome, Ok(()) | Err(errno::EIO | errno::EINTR)));
        }
        assert_eq!(forced.join(), Ok(()), "what is forced is sent all the same");
        books(|books| {
            for (_, record) in books.all() {
                let told = record.ended.map_or(Err(errno::EIO), |(outcome, _)| outcome);
                assert_eq!(told, Err(errno::EIO));
            }
        });
        finish(&queue, servers);
    });
}
