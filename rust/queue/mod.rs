// SPDX-License-Identifier: GPL-2.0

//! The request queues: a request's life from the caller that makes it to the reply that ends it.
//!
//! ```text
//!  caller                                      daemon
//!  ------                                      ------
//!    call()  ──────────────┐
//!                          ▼
//!    submit() ─► background ─► pending ─► read() ─► processing ─► answer()
//!                                ▲          ▲            │            │
//!    forget() ─► forgets ────────┼──────────┤            │            ▼
//!    a signal ─► interrupts ─────┼──────────┘            │     the caller wakes, or
//!                                └───────── resend ──────┘     `Carried::ended` is told
//! ```
//!
//! A request is in one [`Place`] at a time, and whoever holds the box it lives in says where: a
//! slot of a queue, the [`Delivery`] that copies it to a daemon, the [`Answer`](answer::Answer) that copies the
//! reply back, or the caller that takes it home. A caller that is killed while the daemon has its
//! request goes at once and leaves the request behind, for it owns all that it carries.
//!
//! - [`place`]: where a request can be
//! - [`table`]: slots, and the lists that run through them
//! - [`state`]: what the lock protects, and the one function that moves a request
//! - [`caller`]: waiting for a reply, and signals
//! - [`background`]: requests that nobody waits for, and their limits
//! - [`reader`]: what a daemon gets to read next, and readers that wait for it
//! - [`answer`]: taking replies
//! - [`aside`]: copies that wait for the daemon's memory
//! - [`lifecycle`]: the connection starts, devices come and go, all is aborted
//! - [`resend`]: what a dead daemon had is sent again, or given up
//! - [`snapshot`], [`latency`]: looking in
//! - `invariants`: what holds whenever the lock is free, for tests
//!
//! This floor knows neither VFS nor device nor wire format: what a request carries is a type
//! parameter. It stands on `sys/` alone, and is compiled for the host as well, where a test
//! schedules its threads.
//!
//! Locking: one spinlock a connection, under which nothing sleeps, allocates, or takes another
//! lock; threads are woken and requests ended after it is released.

#![deny(unsafe_code)]

mod answer;
mod aside;
mod background;
mod caller;
#[cfg(test)]
mod invariants;
mod latency;
mod lifecycle;
mod place;
mod reader;
mod resend;
mod snapshot;
mod state;
mod table;

#[cfg(test)]
pub(crate) use answer::Answer;
pub(crate) use answer::InterruptAnswer;
pub(crate) use background::{DEFAULT_CONGESTION_THRESHOLD, DEFAULT_MAX_BACKGROUND};
pub(crate) use caller::forget_node;
pub(crate) use lifecycle::DeviceId;
pub(crate) use place::Place;
pub(crate) use reader::{Delivery, Work};
pub(crate) use snapshot::{Entry, Snapshot};
pub(crate) use state::Facts;

use crate::sys::{fifo, Bell, Error, Lock, RequestBox, Result};
use state::{Locked, State};

/// What came of something that may refuse a request: then the request comes back, with the error.
pub(crate) type Refusable<T, C> = core::result::Result<T, (Error, RequestBox<C>)>;

/// Set in the `unique` of the INTERRUPT for a request (FUSE_INT_REQ_BIT).
pub(crate) const INTERRUPT_BIT: u64 = 1;

/// Set in the `unique` of a request that is sent again (FUSE_UNIQUE_RESEND).
const RESEND_BIT: u64 = 1 << 63;

/// A thread's name, as `ps` shows it: up to the first zero byte.
pub(crate) type Comm = [u8; 16];

/// What a request carries, as far as the queues have to know.
pub(crate) trait Carried: Sized + Send {
    /// How many classes of requests there are, whose latencies are told apart.
    const CLASSES: usize = 1;

    /// The class of a request, below [`CLASSES`](Carried::CLASSES).
    fn class(_facts: &Facts) -> usize {
        0
    }

    /// Whether the daemon replies to it; what it does not reply to has ended once it is read.
    fn has_reply(&self) -> bool {
        true
    }

    /// What to call the request in a trace or a snapshot.
    fn facts(&self) -> Facts;

    /// The name of the thread that makes the request, which is the one that calls. Called under the
    /// lock of the queues.
    fn comm(&self) -> Comm {
        Comm::default()
    }

    /// A request has ended for which no caller waits: a background one, or one whose caller was
    /// killed (`abandoned`). Called without locks, in whatever thread ended it; may sleep.
    fn ended(request: RequestBox<Self>, queue: &Queue<Self>, outcome: Result, abandoned: bool);

    /// Whether anybody wants to hear of moves.
    fn is_watched() -> bool {
        true
    }

    /// A request has moved. Called under the lock of the queues, while somebody wants to hear of it.
    fn moved(facts: &Facts, step: &Step);

    /// How many bytes the daemon gets to read of it; 0 while that is not known.
    fn len(&self) -> u32 {
        0
    }

    /// Whether anybody wants to hear of interrupts.
    fn are_interrupts_watched() -> bool {
        false
    }

    /// Something has happened to the interrupt of the request with this `unique`; `depth` of them wait
    /// now. Called under the lock of the queues, while somebody wants to hear of it.
    fn interrupt(_facts: &Facts, _unique: u64, _step: InterruptStep, _depth: u64) {}
}

/// A move of a request.
pub(crate) struct Step {
    pub(crate) unique: u64,
    pub(crate) from: Place,
    pub(crate) to: Place,
    /// How many requests are in that place now.
    pub(crate) depth: u64,
    /// [`Carried::len`] of the request; 0 where it has gone already.
    pub(crate) len: u32,
    /// How it has ended, if that is where it moves to.
    pub(crate) outcome: Result,
}

/// What happens to the interrupt of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum InterruptStep {
    /// It waits for a daemon to read it.
    Queued,
    /// One does.
    Read,
    /// There is no reason for it any more.
    Dropped,
}

/// A reference to a node that the kernel has dropped: `nlookup` lookups of `nodeid`.
#[derive(Clone, Copy)]
pub(crate) struct Forget {
    pub(crate) nodeid: u64,
    pub(crate) nlookup: u64,
}

/// A forget with the link that puts it into its queue: allocated with the inode, so that
/// forgetting needs no memory.
pub(crate) type ForgetNode = fifo::Node<Forget>;

/// The queues of one connection.
pub(crate) struct Queue<C: Carried> {
    state: Lock<State<C>>,
    bell: Bell,
}

impl<C: Carried> Queue<C> {
    /// Queues that hold all requests back until [`Queue::start`]. May sleep; ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        Ok(Queue {
            state: Lock::new(State::new(latency::none::<C>()?))?,
            bell: Bell::new()?,
        })
    }

    /// What poll(2) on the device waits on.
    pub(crate) fn bell(&self) -> &Bell {
        &self.bell
    }

    fn lock(&self) -> Locked<'_, C> {
        Locked::new(self)
    }
}
