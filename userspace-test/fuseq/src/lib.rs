// SPDX-License-Identifier: GPL-2.0

//! Looks at the request queues of rust_fuse.
//!
//! - [`trace`]: the lines of the tracepoint `rust_fuse:rust_fuse_request`
//! - [`check`]: proof-reading them against the rules of the queues

pub mod check;
mod connection;
#[path = "../../../rust/queue/place.rs"]
mod place;
pub mod trace;
