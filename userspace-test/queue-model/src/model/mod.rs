// SPDX-License-Identifier: GPL-2.0

//! What the tests share: requests that remember what became of them, and the books of a run.

mod daemon;
mod ends;
mod interleavings;
mod limits;
mod plain;
mod sequences;
mod threads;

use crate::{
    queue::{forget_node, Carried, Facts, Place, Queue, Step},
    sys::{errno, Error, Result, Task},
};
use shuttle::{
    scheduler::{PctScheduler, RandomScheduler, Scheduler},
    Config, MaxSteps, Runner,
};
use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap, HashSet},
    io::{stderr, stdout, Write},
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        Arc,
    },
    time::Duration,
};

/// Set in the `unique` of a request that is sent again.
pub(crate) const RESEND_BIT: u64 = 1 << 63;

/// What became of a request.
#[derive(Default, Clone, Debug)]
pub(crate) struct Record {
    pub(crate) background: bool,
    pub(crate) forced: bool,
    place: Option<Place>,
    unique: Option<u64>,
    /// What its caller was told, or whoever submitted it when it was refused.
    pub(crate) returned: Option<Result<(), Error>>,
    /// What [`Carried::ended`] was told.
    pub(crate) ended: Option<(Result<(), Error>, bool)>,
    /// Replies that were accepted.
    pub(crate) answers: Vec<Result<(), Error>>,
    pub(crate) drops: u32,
    /// It has been read, sent again, and put back by a reader that was killed, as often as this.
    pub(crate) readings: u32,
    pub(crate) resends: u32,
    pub(crate) unread: u32,
}

/// The books of a run: everything that happens in it happens in one thread of the machine.
#[derive(Default)]
pub(crate) struct Books {
    records: BTreeMap<u64, Record>,
    uniques: HashSet<u64>,
    by_unique: HashMap<u64, u64>,
    /// Background requests that are active may be as many as this.
    pub(crate) max_active: Option<usize>,
    /// FORGETs that were queued and read, by node.
    pub(crate) forgets_queued: Vec<u64>,
    pub(crate) forgets_read: Vec<u64>,
    /// Interrupts that were read, by the `unique` of their requests.
    pub(crate) interrupts_read: HashMap<u64, u32>,
    /// Requests in the order in which a reader first took them.
    pub(crate) taken: Vec<u64>,
    /// Nothing but what is forced may be read.
    pub(crate) gate_is_shut: bool,
    moves: [u64; Place::COUNT],
}

thread_local! {
    static BOOKS: RefCell<Books> = RefCell::default();
}

/// Does something with the books. Not to be called from inside.
pub(crate) fn books<R>(act: impl FnOnce(&mut Books) -> R) -> R {
    BOOKS.with_borrow_mut(act)
}

impl Books {
    pub(crate) fn record(&mut self, id: u64) -> &mut Record {
        self.records.entry(id).or_default()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&u64, &Record)> {
        self.records.iter()
    }

    /// Every transition is one of a request's life, and starts where the last one ended.
    fn moved(&mut self, facts: &Facts, unique: u64, from: Place, to: Place) {
        use Place::*;
        let possible = match from {
            None => matches!(to, Gate | Background | Pending | Handed),
            Gate => matches!(to, Background | Pending | Handed | Aborting | None),
            Background => matches!(to, Pending | Handed | Aborting),
            Pending => matches!(to, Handed | Reading | Aborting | None),
            Handed => matches!(to, Reading | Aborting | None),
            Reading => matches!(to, Processing | Ended | Pending | Aborting),
            Processing => matches!(to, Pending | Writing | Aborting),
            Writing => matches!(to, Ended | Processing | Aborting),
            Aborting => to == Ended,
            Ended => to == None,
        };
        assert!(possible, "a request goes from {from:?} to {to:?}");
        let resent = unique & RESEND_BIT != 0;
        let unique = unique & !RESEND_BIT;
        assert!(unique & 1 == 0 && unique != 0, "unique {unique:#x}");
        let id = facts.nodeid;
        self.moves[to as usize] += 1;
        if from == None {
            assert!(self.uniques.insert(unique), "unique {unique:#x} again");
            self.by_unique.insert(unique, id);
        }
        assert_eq!(
            self.by_unique.get(&unique),
            Some(&id),
            "another request's unique"
        );
        let gate_is_shut = self.gate_is_shut;
        let Books { records, taken, .. } = self;
        let record = records.entry(id).or_default();
        let was = record.place.replace(to).unwrap_or(None);
        assert_eq!(was, from, "request {id} is elsewhere");
        if from == None {
            record.unique = Some(unique);
        }
        record.resends += u32::from((from, to) == (Processing, Pending));
        record.unread += u32::from((from, to) == (Reading, Pending));
        assert_eq!(resent, record.resends > 0, "marked as sent again, or not");
        assert_eq!(record.unique, Some(unique));
        if to == Reading {
            assert!(
                !gate_is_shut || record.forced,
                "request {id} went past the gate"
            );
            record.readings += 1;
            if record.readings == 1 {
                taken.push(id);
            }
            assert!(
                record.readings == 1 + record.resends + record.unread,
                "request {id} is read again"
            );
        }
        if let Some(max) = self.max_active {
            let active = self.records.values().filter(|record| {
                record.background
                    && matches!(
                        record.place,
                        Some(Pending | Handed | Reading | Processing | Writing)
                    )
            });
            assert!(
                active.count() <= max,
                "too many background requests are active"
            );
        }
    }

    /// A run is over: every request has ended, once, in a way that fits what happened to it.
    fn close(&self) {
        for (id, record) in &self.records {
            let what = format!("request {id}: {record:?}");
            assert_eq!(record.drops, 1, "freed as often: {what}");
            assert!(
                matches!(record.place, None | Some(Place::None)),
                "still there: {what}"
            );
            assert!(record.answers.len() <= 1, "answered twice: {what}");
            match (record.returned, record.ended) {
                (Some(Ok(())), None) if !record.background => {
                    assert_eq!(record.answers, [Ok(())], "{what}");
                }
                // Taken back, refused, aborted, answered with an error, or not to be copied.
                (Some(Err(error)), None) => {
                    let answered = record.answers.iter().all(|answer| *answer == Err(error));
                    assert!(answered, "{what}");
                }
                // Left behind.
                (Some(Err(errno::EINTR)), Some((outcome, true))) => {
                    assert!(
                        record.answers.iter().all(|answer| *answer == outcome),
                        "{what}"
                    );
                }
                (Some(Ok(())), Some((outcome, false))) if record.background => {
                    assert!(
                        record.answers.iter().all(|answer| *answer == outcome),
                        "{what}"
                    );
                    assert!(outcome.is_err() || record.answers.len() == 1, "{what}");
                }
                _ => panic!("no end, or more than one: {what}"),
            }
        }
    }
}

/// A request: knows its number, and carries the number that the daemon answers with.
pub(crate) struct Probe {
    pub(crate) id: u64,
    pub(crate) reply: Option<u64>,
    /// Grants a node, which is to be given back when nobody takes it.
    grants: bool,
}

impl Probe {
    /// A request of that number, which must be a new one.
    pub(crate) fn new(id: u64, background: bool, forced: bool) -> Box<Probe> {
        books(|books| {
            assert!(
                !books.records.contains_key(&id),
                "two requests of one number"
            );
            let record = books.record(id);
            (record.background, record.forced) = (background, forced);
        });
        Box::new(Probe {
            id,
            reply: None,
            grants: !background,
        })
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        // What it carries may sleep when it is freed.
        Task::current().assert_may_sleep();
        if !std::thread::panicking() {
            books(|books| books.record(self.id).drops += 1);
        }
    }
}

/// The request whose end starts the connection, as that of FUSE's INIT does.
pub(crate) const INIT: u64 = 999;

/// The number that a request is answered with.
pub(crate) fn reply_to(id: u64) -> u64 {
    id * 1000 + 1
}

/// What every request says of its length.
const LEN: u32 = 40;

impl Carried for Probe {
    fn len(&self) -> u32 {
        LEN
    }

    fn facts(&self) -> Facts {
        Facts {
            nodeid: self.id,
            ..Facts::default()
        }
    }

    fn ended(request: Box<Self>, queue: &Queue<Self>, outcome: Result, abandoned: bool) {
        Task::current().assert_may_sleep();
        // Another thread may run in between.
        shuttle::thread::sleep(Duration::ZERO);
        books(|books| {
            let record = books.record(request.id);
            let before = record.ended.replace((outcome, abandoned));
            assert_eq!(before, None, "request {} has ended twice", request.id);
        });
        if request.id == INIT {
            books(|books| books.gate_is_shut = false);
            queue.start(true);
        }
        if outcome.is_ok() {
            assert_eq!(request.reply, Some(reply_to(request.id)));
            if abandoned && request.grants {
                forget(queue, reply_to(request.id));
            }
        }
    }

    fn moved(facts: &Facts, step: &Step) {
        if !std::thread::panicking() {
            let is_told = step.len == LEN || step.to == Place::None;
            assert!(is_told, "a request of no length is {:?}", step.to);
            assert!(step.outcome.is_ok() || step.to == Place::Ended);
            books(|books| books.moved(facts, step.unique, step.from, step.to));
        }
    }
}

/// Queues a forget.
pub(crate) fn forget(queue: &Queue<Probe>, nodeid: u64) {
    let mut node = Box::new(forget_node());
    node.value.nodeid = nodeid;
    node.value.nlookup = 1;
    if queue.is_connected() {
        books(|books| books.forgets_queued.push(nodeid));
    }
    queue.forget(node);
}

/// Makes a request and waits for its end, as a thread of the file system does.
pub(crate) fn call(queue: &Queue<Probe>, id: u64, force: bool) -> Result {
    let outcome = queue
        .call(Probe::new(id, false, force), force)
        .map(|probe| {
            assert_eq!(probe.id, id, "another's request comes back");
            assert_eq!(probe.reply, Some(reply_to(id)), "a reply that nobody sent");
        });
    books(|books| books.record(id).returned = Some(outcome));
    outcome
}

/// Makes a request that nobody waits for.
pub(crate) fn submit(queue: &Queue<Probe>, id: u64, force: bool) -> Result {
    let outcome = queue
        .submit(Probe::new(id, true, force), force)
        .map_err(|(error, probe)| {
            assert_eq!(probe.id, id, "another's request comes back");
            error
        });
    books(|books| books.record(id).returned = Some(outcome));
    outcome
}

/// The end of a run: nothing is left in the queues, and the books can be closed.
pub(crate) fn close(queue: &Queue<Probe>) {
    let counts = queue.counts();
    assert_eq!(counts.waiting, 0, "requests wait at the end");
    assert_eq!((counts.background, counts.active_background), (0, 0));
    assert_eq!(counts.interrupts.1, 0);
    assert!(queue.snapshot().is_ok_and(|all| all.entries.is_empty()));
    books(|books| {
        assert_eq!(counts.traffic.map(|place| place.came), books.moves);
        books.close();
    });
}

/// The environment's word for how many schedules, or sequences, each test runs.
fn wanted() -> Option<usize> {
    let wanted = std::env::var("QUEUE_MODEL_ITERATIONS").ok()?;
    Some(wanted.parse().expect("QUEUE_MODEL_ITERATIONS is a number"))
}

/// How many schedules, or sequences, a test runs: `usual` unless the environment says otherwise.
pub(crate) fn iterations(usual: usize) -> usize {
    wanted().unwrap_or(usual)
}

/// How far a test has come. Told a tenth at a time, when the environment says how far to go.
pub(crate) struct Progress {
    test: String,
    of: usize,
    done: AtomicUsize,
    is_told: bool,
}

impl Progress {
    /// Of the test that runs in this thread.
    pub(crate) fn new(of: usize) -> Self {
        Progress {
            test: std::thread::current().name().unwrap_or("?").to_owned(),
            of,
            done: AtomicUsize::new(0),
            is_told: wanted().is_some(),
        }
    }

    pub(crate) fn step(&self) {
        let done = self.done.fetch_add(1, Relaxed) + 1;
        let tenths = |done| done * 10 / self.of;
        if self.is_told && tenths(done) != tenths(done - 1) {
            // Not by a macro, whose output the test harness would keep until the end.
            let _ = writeln!(stderr(), "{}: {done} of {}", self.test, self.of);
        }
    }
}

/// Runs `scenario` under schedulers that choose at random, and that choose a few bad moments to
/// switch (PCT).
pub(crate) fn explore(usual: usize, scenario: fn()) {
    let n = iterations(usual);
    let (half, quarter) = (n.div_ceil(2), n.div_ceil(4));
    let progress = Arc::new(Progress::new(half + 2 * quarter));
    let counted = || {
        let progress = progress.clone();
        move || {
            scenario();
            progress.step();
        }
    };
    run(RandomScheduler::new(half), counted());
    run(PctScheduler::new(3, quarter), counted());
    run(PctScheduler::new(6, quarter), counted());
}

/// How many schedules were run, of all tests.
static SCHEDULES: AtomicUsize = AtomicUsize::new(0);

fn run(scheduler: impl Scheduler + 'static, scenario: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = 0x10000;
    config.max_steps = MaxSteps::FailAfter(100_000);
    Runner::new(scheduler, config).run(move || {
        crate::sys::Memory::leave(None);
        BOOKS.take();
        scenario();
        let schedules = SCHEDULES.fetch_add(1, Relaxed) + 1;
        if schedules.is_multiple_of(50_000) {
            // Read by `make test`, which wants to see 100,000 of them.
            let _ = writeln!(stdout(), "queue model: {schedules} schedules");
        }
    });
}
