// SPDX-License-Identifier: GPL-2.0

//! Random operations, one after the other, against the plain model of the rules.
//!
//! Callers and readers are threads, for they sleep; before the next operation each has done all
//! that it can, so that what must have happened is known.

use super::{
    books, call, close, forget, iterations,
    plain::{Copied, Got, Plain},
    reply_to, run, submit,
    threads::{go, Running},
    Probe, Progress, RESEND_BIT,
};
use crate::{
    queue::{Delivery, DeviceId, InterruptAnswer, Place, Queue, Work, INTERRUPT_BIT},
    sys::{errno, park, Error, Result, Signal, Sleep, Task},
};
use proptest::{collection::vec, prelude::*, test_runner::TestRunner};
use shuttle::scheduler::RandomScheduler;
use std::sync::{Arc, Mutex};

/// An operation. Numbers choose among what there is.
#[derive(Clone, Copy, Debug)]
enum Op {
    Start {
        batch: bool,
    },
    Call {
        forced: bool,
    },
    Submit {
        forced: bool,
    },
    Forgets {
        count: usize,
    },
    Read {
        device: usize,
        max_forgets: usize,
    },
    Reader {
        device: usize,
        max_forgets: usize,
    },
    Copied {
        which: usize,
        how: usize,
    },
    Answer {
        which: usize,
        device: usize,
    },
    Finish {
        which: usize,
        how: usize,
    },
    AnswerInterrupt {
        which: usize,
        device: usize,
        answer: InterruptAnswer,
    },
    Signal {
        which: usize,
        signal: Signal,
    },
    SignalReader {
        which: usize,
    },
    SetMax {
        max: u32,
    },
    SetThreshold {
        threshold: u32,
    },
    Attach,
    Detach {
        which: usize,
    },
    Resend,
    Flush,
    Recover,
    Refuse,
    Abort {
        error: Error,
    },
}

impl std::fmt::Debug for InterruptAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            InterruptAnswer::Understood => "Understood",
            InterruptAnswer::NotSupported => "NotSupported",
            InterruptAnswer::Again => "Again",
            InterruptAnswer::Malformed => "Malformed",
        })
    }
}

fn op() -> impl Strategy<Value = Op> {
    let which = 0..64_usize;
    let device = 0..3_usize;
    let max_forgets = 1..5_usize;
    let answer = prop_oneof![
        4 => Just(InterruptAnswer::Again),
        2 => Just(InterruptAnswer::Understood),
        1 => Just(InterruptAnswer::Malformed),
        1 => Just(InterruptAnswer::NotSupported),
    ];
    let signal = prop_oneof![Just(Signal::Ordinary), Just(Signal::Fatal)];
    let error = prop_oneof![Just(errno::ENODEV), Just(errno::ECONNABORTED)];
    prop_oneof![
        2 => any::<bool>().prop_map(|batch| Op::Start { batch }),
        16 => prop::bool::weighted(0.2).prop_map(|forced| Op::Call { forced }),
        10 => prop::bool::weighted(0.4).prop_map(|forced| Op::Submit { forced }),
        6 => (1..24_usize).prop_map(|count| Op::Forgets { count }),
        16 => (device.clone(), max_forgets.clone())
            .prop_map(|(device, max_forgets)| Op::Read { device, max_forgets }),
        10 => (device.clone(), max_forgets)
            .prop_map(|(device, max_forgets)| Op::Reader { device, max_forgets }),
        24 => (which.clone(), 0..12_usize).prop_map(|(which, how)| Op::Copied { which, how }),
        12 => (which.clone(), device.clone())
            .prop_map(|(which, device)| Op::Answer { which, device }),
        12 => (which.clone(), 0..10_usize).prop_map(|(which, how)| Op::Finish { which, how }),
        6 => (which.clone(), device, answer).prop_map(|(which, device, answer)| {
            Op::AnswerInterrupt { which, device, answer }
        }),
        12 => (which.clone(), signal).prop_map(|(which, signal)| Op::Signal { which, signal }),
        3 => which.clone().prop_map(|which| Op::SignalReader { which }),
        3 => (0..5_u32).prop_map(|max| Op::SetMax { max }),
        1 => (0..5_u32).prop_map(|threshold| Op::SetThreshold { threshold }),
        2 => Just(Op::Attach),
        1 => which.prop_map(|which| Op::Detach { which }),
        4 => Just(Op::Resend),
        1 => Just(Op::Flush),
        1 => Just(Op::Recover),
        1 => Just(Op::Refuse),
        1 => error.prop_map(|error| Op::Abort { error }),
    ]
}

/// What is told between a reader's thread and the one that runs the operations.
#[derive(Default)]
struct Letters {
    got: Mutex<Option<Got>>,
    /// How the copy ends.
    copied: Mutex<Option<Copied>>,
    result: Mutex<Option<Result>>,
}

struct Reader {
    thread: Running<()>,
    letters: Arc<Letters>,
}

/// What ends a reply that has begun.
type Ending<'q> = Box<dyn FnOnce(Option<Result>) -> Result + 'q>;

/// Who copies a request.
enum Copier<'q> {
    This(Delivery<'q, Probe>),
    Reader(usize),
}

struct World<'q> {
    shared: Arc<Queue<Probe>>,
    queue: &'q Queue<Probe>,
    plain: Plain,
    /// The requests' `unique`s, as far as they have been seen.
    uniques: Vec<Option<u64>>,
    devices: Vec<DeviceId>,
    callers: Vec<Running<Result>>,
    readers: Vec<Reader>,
    copies: Vec<(usize, Copier<'q>)>,
    answers: Vec<(usize, Ending<'q>)>,
    forgotten: u64,
}

/// What was read, in the words of the plain model; a delivery besides.
fn translate(work: Result<Work<'_, Probe>>) -> (Got, Option<Delivery<'_, Probe>>) {
    let got = match work {
        Err(error) => Got::Error(error),
        Ok(Work::Request(mut delivery)) => {
            return (Got::Request(delivery.request().id as usize), Some(delivery));
        }
        Ok(Work::Interrupt { of }) => {
            let id = books(|books| books.by_unique[&(of & !RESEND_BIT)]);
            Got::Interrupt(id as usize)
        }
        Ok(Work::Forgets { mut forgets, .. }) => {
            let mut nodes = Vec::new();
            while let Some(node) = forgets.pop_front() {
                nodes.push(node.value.nodeid);
            }
            Got::Forgets(nodes)
        }
    };
    (got, None)
}

/// A reader's thread: reads once, and copies what it has got as it is told.
fn read_once(queue: &Queue<Probe>, device: DeviceId, max_forgets: usize, letters: &Letters) {
    let (got, delivery) = translate(queue.read(device, true, max_forgets));
    *letters.got.lock().unwrap() = Some(got);
    if let Some(delivery) = delivery {
        let copied = park(Sleep::Uninterruptible, || {
            letters.copied.lock().unwrap().take()
        });
        let result = end_copy(delivery, copied.expect("nothing else ends this sleep"));
        *letters.result.lock().unwrap() = Some(result);
    }
}

/// Only who has sent it all is told what came of it.
fn end_copy(delivery: Delivery<'_, Probe>, copied: Copied) -> Result {
    match copied {
        Copied::Whole => return delivery.sent(),
        Copied::KilledAtTheEnd => return Task::dying(|| delivery.sent()),
        Copied::Killed => Task::dying(|| drop(delivery)),
        Copied::Failed(errno::EIO) => drop(delivery),
        Copied::Failed(error) => delivery.fail(error),
    }
    Ok(())
}

impl World<'_> {
    /// The device of that number, if it is attached.
    fn device(&self, number: usize) -> Option<(usize, DeviceId)> {
        let number = number % self.devices.len();
        self.plain.devices[number].then(|| (number, self.devices[number]))
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Start { batch } => {
                self.plain.start(batch);
                self.queue.start(batch);
            }
            Op::Call { forced } => self.enter(false, forced),
            Op::Submit { forced } => self.enter(true, forced),
            Op::Forgets { count } => {
                for _ in 0..count {
                    self.forgotten += 1;
                    self.plain.forget(self.forgotten);
                    forget(self.queue, self.forgotten);
                    // Who looks is through before the next one comes.
                    self.settle();
                }
            }
            Op::Read {
                device,
                max_forgets,
            } => {
                if let Some((number, device)) = self.device(device) {
                    let expected = self.plain.read(number, max_forgets);
                    let expected = expected.unwrap_or(Got::Error(errno::EAGAIN));
                    let work = self.queue.read(device, false, max_forgets);
                    let (got, delivery) = translate(work);
                    assert_eq!(got, expected);
                    if let (Got::Request(id), Some(delivery)) = (got, delivery) {
                        self.copies.push((id, Copier::This(delivery)));
                    }
                }
            }
            Op::Reader {
                device,
                max_forgets,
            } => {
                if let Some((number, device)) = self.device(device) {
                    self.plain.read_or_wait(number, max_forgets);
                    let letters = Arc::new(Letters::default());
                    let own = letters.clone();
                    let thread = go(&self.shared, move |queue| {
                        read_once(queue, device, max_forgets, &own)
                    });
                    self.readers.push(Reader { thread, letters });
                }
            }
            Op::Copied { which, how } => {
                if !self.copies.is_empty() {
                    let copied = match how {
                        0 => Copied::Failed(errno::EIO),
                        1 => Copied::Failed(errno::EINVAL),
                        2 => Copied::Killed,
                        3 => Copied::KilledAtTheEnd,
                        _ => Copied::Whole,
                    };
                    self.end_copy(which % self.copies.len(), copied);
                }
            }
            Op::Answer { which, device } => {
                let Some((id, unique)) = self.choose(which) else {
                    return;
                };
                if let Some((number, device)) = self.device(device) {
                    // By its mark alone.
                    let other = self.queue.answer(device, unique ^ RESEND_BIT);
                    assert!(other.is_err_and(|error| error == errno::ENOENT));
                    let expected = self.plain.answer(id, number);
                    match self.queue.answer(device, unique) {
                        Ok(mut answer) => {
                            assert_eq!(expected, Ok(()));
                            answer.request().reply = Some(reply_to(id as u64));
                            let end = |outcome| match outcome {
                                None => {
                                    Task::dying(|| drop(answer));
                                    Ok(())
                                }
                                // A reply that is not there.
                                Some(Err(errno::EIO)) => {
                                    drop(answer);
                                    Ok(())
                                }
                                Some(outcome) => answer.finish(outcome),
                            };
                            self.answers.push((id, Box::new(end)));
                        }
                        Err(error) => assert_eq!(expected, Err(error)),
                    }
                }
            }
            Op::Finish { which, how } => {
                if !self.answers.is_empty() {
                    let outcome = match how {
                        0 => Some(Err(errno::EIO)),
                        1 => Some(Err(errno::EAGAIN)),
                        2 | 3 => None,
                        _ => Some(Ok(())),
                    };
                    self.finish(which % self.answers.len(), outcome);
                }
            }
            Op::AnswerInterrupt {
                which,
                device,
                answer,
            } => {
                let Some((id, unique)) = self.choose(which) else {
                    return;
                };
                if let Some((number, device)) = self.device(device) {
                    let expected = self.plain.answer_interrupt(id, number, answer);
                    let unique = unique | INTERRUPT_BIT;
                    assert_eq!(
                        self.queue.answer_interrupt(device, unique, answer),
                        expected
                    );
                }
            }
            Op::Signal { which, signal } => {
                let waiting: Vec<usize> = (0..self.callers.len())
                    .filter(|id| self.plain.requests[*id].waited_for)
                    .collect();
                if !waiting.is_empty() {
                    let id = waiting[which % waiting.len()];
                    self.plain.signal(id, signal);
                    self.callers[id].task.signal(signal);
                }
            }
            Op::SignalReader { which } => {
                if !self.plain.idle.is_empty() {
                    let reader = self.plain.idle[which % self.plain.idle.len()];
                    self.plain.signal_reader(reader);
                    self.readers[reader].thread.task.signal(Signal::Ordinary);
                }
            }
            Op::SetMax { max } => {
                self.plain.set_max(max);
                self.queue.set_max_background(max);
            }
            Op::SetThreshold { threshold } => {
                self.plain.threshold = threshold;
                self.queue.set_congestion_threshold(threshold);
            }
            Op::Attach => {
                let device = self.queue.attach().expect("there is memory");
                self.devices.push(device);
                self.plain.devices.push(true);
            }
            Op::Detach { which } => {
                if let Some((number, device)) = self.device(which) {
                    if self.is_unused(number) {
                        books(|books| self.plain.detach(number, &books.taken));
                        self.queue.detach(device);
                    }
                }
            }
            Op::Resend => {
                books(|books| self.plain.resend(&books.taken));
                self.queue.resend();
            }
            Op::Flush => {
                self.plain.flush();
                self.queue.flush();
            }
            Op::Recover => {
                self.plain.recover();
                self.queue.recover();
            }
            Op::Refuse => {
                self.plain.refuse(errno::EIO);
                self.queue.refuse(errno::EIO);
            }
            Op::Abort { error } => {
                self.plain.abort(error);
                self.queue.abort(error);
            }
        }
    }

    /// Whether nobody reads from or writes to a device.
    fn is_unused(&self, device: usize) -> bool {
        let copied = self.copies.iter().map(|(id, _)| id);
        let mut busy = copied.chain(self.answers.iter().map(|(id, _)| id));
        let mut idle = self.plain.idle.iter();
        busy.all(|id| self.plain.requests[*id].device != device)
            && idle.all(|reader| self.plain.readers[*reader].device != device)
    }

    fn enter(&mut self, background: bool, forced: bool) {
        let id = self.callers.len() as u64;
        self.plain.enter(background, forced);
        self.uniques.push(None);
        self.callers
            .push(go(&self.shared, move |queue| match background {
                true => submit(queue, id, forced),
                false => call(queue, id, forced),
            }));
    }

    /// A request whose `unique` is known, ended or not.
    fn choose(&self, which: usize) -> Option<(usize, u64)> {
        // Most of the time one that the daemon has.
        let processing: Vec<usize> = (0..self.uniques.len())
            .filter(|id| self.plain.requests[*id].place == Place::Processing)
            .collect();
        let id = if processing.is_empty() || which.is_multiple_of(8) {
            which.checked_rem(self.uniques.len())?
        } else {
            processing[which % processing.len()]
        };
        let mark = if self.plain.requests[id].resent {
            RESEND_BIT
        } else {
            0
        };
        Some((id, self.uniques[id]? | mark))
    }

    fn end_copy(&mut self, at: usize, copied: Copied) {
        let (id, copier) = self.copies.remove(at);
        let expected = books(|books| self.plain.copied(id, copied, &books.taken));
        let expected = match copied {
            Copied::Whole | Copied::KilledAtTheEnd => expected,
            Copied::Killed | Copied::Failed(_) => Ok(()),
        };
        let result = match copier {
            Copier::This(delivery) => end_copy(delivery, copied),
            Copier::Reader(reader) => {
                let Reader { thread, letters } = &self.readers[reader];
                *letters.copied.lock().unwrap() = Some(copied);
                thread.task.wake_up();
                self.wait();
                let result = self.readers[reader].letters.result.lock().unwrap().take();
                result.expect("the reader has heard of it")
            }
        };
        assert_eq!(result, expected);
    }

    fn finish(&mut self, at: usize, outcome: Option<Result>) {
        let (id, end) = self.answers.remove(at);
        let expected = self.plain.finish(id, outcome);
        let result = end(outcome);
        let Some(outcome) = outcome.filter(|outcome| *outcome != Err(errno::EIO)) else {
            return;
        };
        assert_eq!(result, expected);
        if result.is_ok() {
            books(|books| books.record(id as u64).answers.push(outcome));
        }
    }

    /// Waits until every thread has done what it can.
    fn wait(&self) {
        let quiet = |thread: &Task| thread.is_asleep() || thread.is_over();
        while !(self.callers.iter().all(|caller| quiet(&caller.task))
            && self.readers.iter().all(|reader| quiet(&reader.thread.task)))
        {
            shuttle::thread::yield_now();
        }
    }

    /// Waits, and takes note of the readers that have got something.
    fn settle(&mut self) {
        self.wait();
        for (number, reader) in self.readers.iter().enumerate() {
            let got = reader.letters.got.lock().unwrap().take();
            if let Some(got) = got {
                assert_eq!(Some(&got), self.plain.readers[number].got.as_ref());
                if let Got::Request(id) = got {
                    self.copies.push((id, Copier::Reader(number)));
                }
            } else {
                let waits = self.plain.idle.contains(&number);
                assert_eq!(waits, self.plain.readers[number].got.is_none());
                assert!(!waits || !reader.thread.task.is_over());
            }
        }
    }

    /// Compares all that can be seen.
    fn compare(&mut self) {
        let (queue, plain) = (self.queue, &self.plain);
        let counts = queue.counts();
        let there = plain.requests.iter();
        let there = there.filter(|request| request.place != Place::None).count();
        assert_eq!(counts.waiting, there);
        assert_eq!(counts.interrupts.1, plain.interrupts.len());
        assert_eq!(counts.forgets.1, plain.forgets.len());
        assert_eq!(
            (counts.background, counts.active_background),
            (plain.count, plain.active)
        );
        assert_eq!(counts.max_background, plain.max);
        assert_eq!(counts.congestion_threshold, plain.threshold);
        assert_eq!(queue.poll(), plain.poll());
        assert_eq!(queue.is_connected(), plain.connected);
        assert_eq!(queue.is_started(), plain.started && plain.connected);
        assert_eq!(queue.is_congested(), plain.count >= plain.threshold);

        let entries = queue.snapshot().expect("there is memory").entries;
        assert_eq!(entries.len(), there);
        for entry in entries {
            let id = entry.facts.nodeid as usize;
            let request = &plain.requests[id];
            assert_eq!(entry.place, request.place, "request {id}");
            assert_eq!(entry.background, request.background);
            assert_eq!(entry.abandoned, request.abandoned);
            assert_eq!(entry.interrupted, request.interrupted);
            let mark = if request.resent { RESEND_BIT } else { 0 };
            assert_eq!(entry.unique & RESEND_BIT, mark);
            let unique = self.uniques[id].get_or_insert(entry.unique & !RESEND_BIT);
            assert_eq!(*unique | mark, entry.unique);
        }
        for (id, request) in plain.requests.iter().enumerate() {
            let (returned, ended) = books(|books| {
                let record = books.record(id as u64);
                (record.returned, record.ended)
            });
            assert_eq!(returned, request.returned, "request {id}: {request:?}");
            assert_eq!(ended, request.ended, "request {id}: {request:?}");
        }
    }
}

fn play(ops: &[Op]) {
    let shared = Arc::new(Queue::new().expect("there is memory"));
    let queue = &*shared;
    let mut world = World {
        shared: shared.clone(),
        queue,
        plain: Plain::new(),
        uniques: Vec::new(),
        devices: Vec::new(),
        callers: Vec::new(),
        readers: Vec::new(),
        copies: Vec::new(),
        answers: Vec::new(),
        forgotten: 1 << 32,
    };
    world.apply(Op::Attach);
    for op in ops {
        world.apply(*op);
        world.settle();
        world.compare();
    }
    // The end of one may hand over another.
    while !(world.copies.is_empty() && world.answers.is_empty()) {
        if world.copies.is_empty() {
            world.finish(0, Some(Ok(())));
        } else {
            world.end_copy(0, Copied::Whole);
        }
        world.settle();
    }
    world.apply(Op::Abort {
        error: errno::ENODEV,
    });
    world.settle();
    world.compare();
    for caller in world.callers {
        let _ = caller.join();
    }
    for reader in world.readers {
        reader.thread.join();
    }
    queue.wait_drained();
    close(queue);
}

#[test]
fn operations_do_what_the_rules_say() {
    let count = iterations(400);
    let progress = Progress::new(count);
    let config = ProptestConfig {
        cases: count as u32,
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..ProptestConfig::default()
    };
    let sequences = (any::<u64>(), any::<bool>(), vec(op(), 1..80));
    let outcome = TestRunner::new(config).run(&sequences, |(seed, started, mut ops)| {
        if started {
            ops.insert(0, Op::Start { batch: true });
        }
        run(RandomScheduler::new_from_seed(seed, 1), move || play(&ops));
        progress.step();
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}
