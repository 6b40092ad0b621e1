// SPDX-License-Identifier: GPL-2.0

//! The module's request queues, on threads that a test schedules.
//!
//! `queue` is the module's own code, compiled from where it stands. What it needs of a kernel is
//! in [`sys`]: a stand-in of the same name and shape as the module's room, whose threads, lock and
//! sleeps belong to the scheduler of the crate [`shuttle`], so that a test runs them in thousands
//! of orders and finds every thread that sleeps for ever; where signals come and memory runs out
//! when a test says so; and which sees to it that nothing sleeps, allocates or frees a request
//! under the lock.
//!
//! - `queue_tests`: one test a rule, the same that run as KUnit tests in the module
//! - `model::interleavings`, `model::ends`, `model::limits`: threads in many orders
//! - `model::sequences`: operations one after the other, against a plain model of the rules
//!
//! `QUEUE_MODEL_ITERATIONS` is the number of schedules that each test of the second kind, and of
//! sequences that each of the third, runs. `tests/planted.rs` shows that bugs are found.

// Without the tests, nothing is used.
#![cfg_attr(not(test), allow(dead_code, unused_imports))]

#[cfg(test)]
mod model;
// The module's own lints hold for these: what one world does not use, the other may.
#[allow(dead_code, unused_imports, clippy::all)]
#[path = "../../../rust/queue/mod.rs"]
mod queue;
#[cfg(test)]
#[path = "../../../rust/queue/tests/mod.rs"]
mod queue_tests;
mod sys;
