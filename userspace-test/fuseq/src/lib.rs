// SPDX-License-Identifier: GPL-2.0

//! Looks at the request queues of rust_fuse, and at what can be seen of those of C fuse.
//!
//! - [`system`]: connections, their queues, and the processes behind them
//! - [`ls`], [`stuck`], [`top`]: what they hold now
//! - [`record`], [`report`]: what happens to requests, to a file; and as a page to look at
//! - [`trace`]: the lines of the tracepoint `rust_fuse:rust_fuse_request`
//! - [`check`]: proof-reading them against the rules of the queues

pub mod check;
mod connection;
pub mod events;
pub mod life;
mod live;
pub mod ls;
#[path = "../../../rust/queue/place.rs"]
mod place;
pub mod record;
pub mod recording;
pub mod report;
pub mod stuck;
pub mod system;
pub mod top;
pub mod trace;
mod tracefs;
