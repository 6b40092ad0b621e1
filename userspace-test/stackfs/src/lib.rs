// SPDX-License-Identifier: GPL-2.0

//! A file system that is stacked on a directory: what is in that is seen here, and what is done
//! here is done there.

mod attr;
mod data;
mod fs;
mod names;
mod nodes;
mod open;
mod serve;
mod xattr;

pub use fs::{Config, Stack};
pub use serve::Server;
