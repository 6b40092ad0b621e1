// SPDX-License-Identifier: GPL-2.0

//! A file system whose daemon can be killed and replaced at any instant.
//!
//! All that it knows is in a directory of another file system, the [`Store`], under names that
//! follow from the requests. So a successor needs to be told nothing, and what a request does is
//! the same when it is done twice: requests that were read by a daemon which died come again,
//! with bit 63 of their `unique` set, and may have been carried out, in part or in whole.
//!
//! There is one thing that a daemon has to care for. A copy between it and the kernel that is cut
//! short ends the request with an error, and a process that is being killed gets no more memory:
//! so whatever is copied to or from is there before.

mod daemon;
mod readdir;
mod store;

pub use daemon::{Config, Daemon};
pub use store::Store;
