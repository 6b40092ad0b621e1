// SPDX-License-Identifier: GPL-2.0

//! The rules of the queues, in tests.
//!
//! In the module these are KUnit tests, on the host ordinary ones but for `threads`: there what takes more
//! than one thread to show (signals, hand-over, waiting at the gate) is shown by the model. The crate's
//! root declares this module, for the macro that makes KUnit tests writes `unsafe`; it wants the
//! tests of a suite in a module inside a file.

mod limits;
mod probe;
mod recovery;
mod rules;
#[cfg(not(test))]
mod threads;
