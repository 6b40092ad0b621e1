// SPDX-License-Identifier: GPL-2.0

//! What a daemon tells the kernel without being asked, and `INTERRUPT`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The caller of a request got a signal: `INTERRUPT`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct InterruptIn {
    /// That of the request.
    pub unique: u64,
}

/// A file that was polled is ready: `NOTIFY_POLL`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NotifyPollWakeupOut {
    /// That of the `POLL` request.
    pub kh: u64,
}

/// Drop what is cached of an inode: `NOTIFY_INVAL_INODE`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NotifyInvalInodeOut {
    /// The node ID of the inode.
    pub ino: u64,
    /// Where the data to drop starts; below zero to drop attributes only.
    pub off: i64,
    /// How many bytes to drop; 0 or less for all that follow.
    pub len: i64,
}

/// Drop a cached name: `NOTIFY_INVAL_ENTRY`. The name and a zero byte follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NotifyInvalEntryOut {
    /// The node ID of the directory.
    pub parent: u64,
    /// The length of the name, the zero byte not included.
    pub namelen: u32,
    /// Some of [`notify_inval_entry_flags`].
    pub flags: u32,
}

/// Values of [`NotifyInvalEntryOut::flags`].
pub mod notify_inval_entry_flags {
    /// Let the name expire, without dropping it.
    pub const EXPIRE_ONLY: u32 = 1 << 0;
}

/// A name was removed: `NOTIFY_DELETE`. The name and a zero byte follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NotifyDeleteOut {
    /// The node ID of the directory.
    pub parent: u64,
    /// The node ID that the name had.
    pub child: u64,
    /// The length of the name, the zero byte not included.
    pub namelen: u32,
    /// Zero.
    pub padding: u32,
}

/// Put data into an inode's page cache: `NOTIFY_STORE`. The data follows.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NotifyStoreOut {
    /// The inode.
    pub nodeid: u64,
    /// Where the data goes.
    pub offset: u64,
    /// How many bytes.
    pub size: u32,
    /// Zero.
    pub padding: u32,
}

/// Read data from an inode's page cache: `NOTIFY_RETRIEVE`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NotifyRetrieveOut {
    /// The `unique` that the `NOTIFY_REPLY` is to have.
    pub notify_unique: u64,
    /// The inode.
    pub nodeid: u64,
    /// Where the data starts.
    pub offset: u64,
    /// How many bytes.
    pub size: u32,
    /// Zero.
    pub padding: u32,
}

/// The data that was asked for: `NOTIFY_REPLY`. As long as [`WriteIn`](super::WriteIn); the data
/// follows.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NotifyRetrieveIn {
    /// Zero.
    pub dummy1: u64,
    /// Where the data starts.
    pub offset: u64,
    /// How many bytes follow.
    pub size: u32,
    /// Zero.
    pub dummy2: u32,
    /// Zero.
    pub dummy3: u64,
    /// Zero.
    pub dummy4: u64,
}

/// Forget inodes that are not in use: `NOTIFY_PRUNE`. `count` node IDs of 8 bytes follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NotifyPruneOut {
    /// How many inodes.
    pub count: u32,
    /// Zero.
    pub padding: u32,
    /// Zero.
    pub spare: u64,
}

assert_sizes! {
    InterruptIn: 8,
    NotifyPollWakeupOut: 8,
    NotifyInvalInodeOut: 24,
    NotifyInvalEntryOut: 16,
    NotifyDeleteOut: 24,
    NotifyStoreOut: 24,
    NotifyRetrieveOut: 32,
    NotifyRetrieveIn: 40,
    NotifyPruneOut: 16,
}
