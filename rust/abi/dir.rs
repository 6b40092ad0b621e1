// SPDX-License-Identifier: GPL-2.0

//! Entries of a directory, as `READDIR` and `READDIRPLUS` give them.

use super::EntryOut;
use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The head of a directory entry. Its name follows, without a zero byte, and then zeroes up to
/// the next multiple of 8 bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Dirent {
    /// The inode number that callers see.
    pub ino: u64,
    /// Where reading goes on after this entry.
    pub off: u64,
    /// The length of the name, in bytes.
    pub namelen: u32,
    /// The type of the file: a `DT_…` value.
    pub r#type: u32,
}

impl Dirent {
    /// Bytes that the entry takes up, its name and what fills it up included.
    /// `None` when that does not fit the machine.
    pub const fn record_size(namelen: usize) -> Option<usize> {
        record_size(size_of::<Dirent>(), namelen)
    }
}

/// The head of an entry of `READDIRPLUS`: what a `LOOKUP` of it would give as well. A `nodeid` of
/// 0 means that there was no lookup.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Direntplus {
    /// What was found.
    pub entry_out: EntryOut,
    /// The entry.
    pub dirent: Dirent,
}

impl Direntplus {
    /// Bytes that the entry takes up, its name and what fills it up included.
    /// `None` when that does not fit the machine.
    pub const fn record_size(namelen: usize) -> Option<usize> {
        record_size(size_of::<Direntplus>(), namelen)
    }
}

const fn record_size(head: usize, namelen: usize) -> Option<usize> {
    match head.checked_add(namelen) {
        Some(size) => rec_align(size),
        None => None,
    }
}

/// Rounds the size of a record of variable length up to the next multiple of 8 bytes.
/// `None` when that does not fit the machine.
pub const fn rec_align(size: usize) -> Option<usize> {
    size.checked_next_multiple_of(size_of::<u64>())
}

assert_sizes! {
    Dirent: 24,
    Direntplus: 152,
}
