// SPDX-License-Identifier: GPL-2.0

//! Making the replies to `READDIR` and `READDIRPLUS`.

use crate::abi;
use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
use zerocopy::IntoBytes;

/// Directory entries for one reply.
///
/// The kernel asks for entries from an offset on: 0 at first, and then the `off` of the last entry
/// it took. An empty reply is the end of the directory.
#[derive(Debug)]
pub struct DirEntries {
    bytes: Vec<u8>,
    limit: usize,
}

impl DirEntries {
    /// No entries, with room for `limit` bytes: the `size` of the request.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
        }
    }

    /// Adds an entry. `off` is where reading goes on after it, `kind` a `DT_…` value.
    /// `false`, and nothing added, when there is no room left.
    #[must_use]
    pub fn push(&mut self, ino: u64, off: u64, kind: u8, name: &OsStr) -> bool {
        let Some(end) = self.end(abi::Dirent::record_size(name.len())) else {
            return false;
        };
        self.append(dirent(ino, off, kind, name).as_bytes(), name, end);
        true
    }

    /// Adds an entry that is looked up as well, for `READDIRPLUS`: by `look_up`, which is called when
    /// there is room for it, since what it gives is a reference for the kernel. Arguments and result
    /// are those of [`push`](Self::push).
    #[must_use]
    pub fn push_plus(
        &mut self,
        ino: u64,
        off: u64,
        kind: u8,
        name: &OsStr,
        look_up: impl FnOnce() -> abi::EntryOut,
    ) -> bool {
        let Some(end) = self.end(abi::Direntplus::record_size(name.len())) else {
            return false;
        };
        let head = abi::Direntplus {
            entry_out: look_up(),
            dirent: dirent(ino, off, kind, name),
        };
        self.append(head.as_bytes(), name, end);
        true
    }

    /// Where a record of `size` bytes would end, if there is room for it.
    fn end(&self, size: Option<usize>) -> Option<usize> {
        let end = self.bytes.len().checked_add(size?)?;
        (end <= self.limit).then_some(end)
    }

    fn append(&mut self, head: &[u8], name: &OsStr, end: usize) {
        self.bytes.extend_from_slice(head);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.resize(end, 0);
    }

    /// The reply.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The reply.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn dirent(ino: u64, off: u64, kind: u8, name: &OsStr) -> abi::Dirent {
    abi::Dirent {
        ino,
        off,
        namelen: name.len() as u32,
        r#type: kind.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_padded_and_stop_at_the_limit() {
        let mut entries = DirEntries::new(64);
        assert!(entries.push(1, 1, 4, "abc".as_ref()));
        assert_eq!(entries.bytes().len(), 32);
        assert!(entries.push(2, 2, 8, "12345678".as_ref()));
        assert_eq!(entries.bytes().len(), 64);
        assert!(!entries.push(3, 3, 8, "x".as_ref()));
        assert_eq!(entries.bytes().len(), 64);
        assert_eq!(&entries.bytes()[24..32], b"abc\0\0\0\0\0");
    }

    #[test]
    fn what_has_no_room_is_not_looked_up() {
        let entry = || abi::EntryOut {
            nodeid: 7,
            ..Default::default()
        };
        let mut entries = DirEntries::new(160);
        assert!(entries.push_plus(7, 1, 8, "name".as_ref(), entry));
        assert_eq!(entries.bytes().len(), 160);
        assert_eq!(entries.bytes()[0], 7);
        assert_eq!(&entries.bytes()[152..], b"name\0\0\0\0");
        let never = || unreachable!("there is no room");
        assert!(!entries.push_plus(8, 2, 8, "x".as_ref(), never));
    }
}
