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

/// The longest name of an entry, in bytes: that of a path without its end.
const NAME_MAX: usize = 4095;

/// What is next in the reply to `READDIR` or `READDIRPLUS`.
pub enum NextEntry<'a, T> {
    /// An entry: its head, its name, and what follows it.
    Entry(&'a T, &'a [u8], &'a [u8]),
    /// Nothing, or an entry that is cut off.
    End,
    /// A name that there cannot be.
    Malformed,
}

/// What an entry of a directory begins with.
pub trait EntryHead: FromBytes + Immutable + KnownLayout + Sized {
    /// The length of the name that follows.
    fn namelen(&self) -> u32;

    /// The first entry in `bytes`, which may come from anybody, and start where an entry does: at a
    /// multiple of 8 bytes in memory.
    fn next(bytes: &[u8]) -> NextEntry<'_, Self> {
        let Ok((head, rest)) = Self::ref_from_prefix(bytes) else {
            return NextEntry::End;
        };
        let len = head.namelen() as usize;
        if len == 0 || len > NAME_MAX {
            return NextEntry::Malformed;
        }
        let after = record_size(size_of::<Self>(), len).and_then(|size| bytes.get(size..));
        match (rest.get(..len), after) {
            (Some(name), Some(_)) if name.contains(&b'/') => NextEntry::Malformed,
            (Some(name), Some(after)) => NextEntry::Entry(head, name, after),
            _ => NextEntry::End,
        }
    }
}

impl EntryHead for Dirent {
    fn namelen(&self) -> u32 {
        self.namelen
    }
}

impl EntryHead for Direntplus {
    fn namelen(&self) -> u32 {
        self.dirent.namelen
    }
}

impl Direntplus {
    /// The node that the entry of that name refers to, with one reference that the kernel must give
    /// back: none for entries that were not looked up, and for `.` and `..`.
    pub fn granted(&self, name: &[u8]) -> Option<u64> {
        match self.entry_out.nodeid {
            0 => None,
            _ if name == b"." || name == b".." => None,
            nodeid => Some(nodeid),
        }
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
