// SPDX-License-Identifier: GPL-2.0

//! A layer for file systems that are written in paths.
//!
//! The kernel asks about *nodes*: numbers, that a look-up gave it for a name in another node. Many
//! file systems rather know *paths*. This crate lies between the two, as the high-level interface of
//! `libfuse` does: [`PathFilesystem`] is what such a file system says, and [`Layer`] makes of it what
//! the crate `fuser` serves.
//!
//! # What it takes
//!
//! - A [`Table`] of names and nodes, in both directions. It grows and shrinks a few buckets at a
//!   time: no request has to wait until a million names are rehashed.
//! - Paths that hold: an operation's path stays what it is until the operation is over, and whoever
//!   wants to rename what is on the way waits for it (`tree`). Nodes are renamed, not paths, so that
//!   what is open in a directory stays open when the directory moves.
//! - Names for what has none: a file that is removed while it is open gets a name that begins with
//!   `.fuse_hidden`, and loses it when it is closed. With [`Config::hard_remove`] it is removed at
//!   once, and the file system has to know open files by their number.
//! - Memory that comes back: a node goes with the last thing that needs it, most often when the
//!   kernel sends FORGET.
//!
//! # Where it is not `libfuse`
//!
//! - A file that `link` gave a second name stays one node, so that one name shows at once what was
//!   written by the other. (In `libfuse` it becomes two, with a cache each.)
//! - A rename that fails brings back the open file that it would have replaced. (In `libfuse` that
//!   stays hidden.)
//! - Waiting for a lock holds no path: a rename does not have to wait for it.
//! - The number of a node is not used again for another one.

mod buckets;
mod filesystem;
mod handles;
mod host;
mod layer;
mod memory;
mod mount;
mod serve;
mod slab;
mod table;
mod tree;

pub use filesystem::{
    Caller, Data, DirEntry, Lock, LockCommand, Open, Opened, PathFilesystem, Result, Statfs, Target,
};
pub use fuser;
pub use handles::Handles;
pub use host::{file_attr, file_type};
pub use layer::{AddEntry, AddEntryPlus, Changes, Entry, Layer};
pub use mount::{serve, Mounting};
pub use table::{NodeId, Table, ROOT};
pub use tree::Place;

use std::time::Duration;

/// How a file system is served.
#[derive(Clone, Debug)]
pub struct Config {
    /// Remove files at once, although they are open.
    pub hard_remove: bool,
    /// For how long the kernel may take a name for what it is.
    pub entry_timeout: Duration,
    /// For how long it may take attributes for what they are.
    pub attr_timeout: Duration,
    /// Which locks the file system keeps.
    pub locks: Locks,
}

impl Default for Config {
    /// As in `libfuse`.
    fn default() -> Self {
        Self {
            hard_remove: false,
            entry_timeout: Duration::from_secs(1),
            attr_timeout: Duration::from_secs(1),
            locks: Locks::Kernel,
        }
    }
}

/// Who keeps which locks. `fuser` does not say of which kind a lock is that it is asked for, so a
/// file system keeps one kind, and the kernel the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Locks {
    /// The kernel keeps them all.
    #[default]
    Kernel,
    /// The file system keeps those of `fcntl`: [`PathFilesystem::lock`].
    Posix,
    /// The file system keeps those of `flock`: [`PathFilesystem::flock`].
    Flock,
}
