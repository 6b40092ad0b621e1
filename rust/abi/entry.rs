// SPDX-License-Identifier: GPL-2.0

//! Names in directories: finding, making, linking and renaming them, and forgetting inodes.

use super::Attr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An inode that was found or made: the reply to `LOOKUP`, `MKNOD`, `MKDIR`, `SYMLINK` and
/// `LINK`, and the first part of that to `CREATE` and `TMPFILE`. With it the kernel holds one
/// reference more on the inode, until it sends a `FORGET`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct EntryOut {
    /// Names the inode from now on. 0 from `LOOKUP`: there is no such name, for `entry_valid`.
    pub nodeid: u64,
    /// Tells apart inodes that had the same node ID one after the other.
    pub generation: u64,
    /// Seconds for which the kernel may use the name without asking again.
    pub entry_valid: u64,
    /// Seconds for which the kernel may use the attributes without asking again.
    pub attr_valid: u64,
    /// The nanoseconds of `entry_valid`.
    pub entry_valid_nsec: u32,
    /// The nanoseconds of `attr_valid`.
    pub attr_valid_nsec: u32,
    /// The inode's attributes.
    pub attr: Attr,
}

impl EntryOut {
    /// Its size before minor 9, when [`Attr`] ended with `rdev`.
    pub const COMPAT_SIZE: usize = 120;
}

/// Drops references on the inode in the header: `FORGET`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ForgetIn {
    /// How many references.
    pub nlookup: u64,
}

/// One inode of a `BATCH_FORGET`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ForgetOne {
    /// The inode.
    pub nodeid: u64,
    /// How many references.
    pub nlookup: u64,
}

/// Drops references on many inodes: `BATCH_FORGET`. `count` of [`ForgetOne`] follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct BatchForgetIn {
    /// How many inodes.
    pub count: u32,
    /// Zero.
    pub dummy: u32,
}

/// Makes a file of any type: `MKNOD`. The name follows.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MknodIn {
    /// File type and permissions.
    pub mode: u32,
    /// The number of a device file.
    pub rdev: u32,
    /// The caller's umask. From minor 12 on.
    pub umask: u32,
    /// Zero.
    pub padding: u32,
}

impl MknodIn {
    /// Its size before minor 12: up to `rdev`.
    pub const COMPAT_SIZE: usize = 8;
}

/// Makes a directory: `MKDIR`. The name follows.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct MkdirIn {
    /// Permissions.
    pub mode: u32,
    /// The caller's umask. From minor 12 on.
    pub umask: u32,
}

/// Renames: `RENAME`. The old name and the new one follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct RenameIn {
    /// The directory of the new name.
    pub newdir: u64,
}

/// Renames with flags: `RENAME2`. The old name and the new one follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Rename2In {
    /// The directory of the new name.
    pub newdir: u64,
    /// `RENAME_…` flags of `renameat2(2)`.
    pub flags: u32,
    /// Zero.
    pub padding: u32,
}

/// Makes a hard link: `LINK`. The new name follows.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct LinkIn {
    /// The inode that gets another name.
    pub oldnodeid: u64,
}

/// Makes a file and opens it: `CREATE`, and `TMPFILE`. The name follows.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CreateIn {
    /// The flags of `open(2)`.
    pub flags: u32,
    /// File type and permissions.
    pub mode: u32,
    /// The caller's umask. From minor 12 on.
    pub umask: u32,
    /// Some of [`open_in_flags`](super::open_in_flags).
    pub open_flags: u32,
}

assert_sizes! {
    EntryOut: 128,
    ForgetIn: 8,
    ForgetOne: 16,
    BatchForgetIn: 8,
    MknodIn: 16,
    MkdirIn: 8,
    RenameIn: 8,
    Rename2In: 16,
    LinkIn: 8,
    CreateIn: 16,
}
