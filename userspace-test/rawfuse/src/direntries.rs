// SPDX-License-Identifier: GPL-2.0

//! Making the reply to `READDIR`.

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
        let Some(size) = abi::Dirent::record_size(name.len()) else {
            return false;
        };
        let end = self.bytes.len() + size;
        if end > self.limit {
            return false;
        }
        let head = abi::Dirent {
            ino,
            off,
            namelen: name.len() as u32,
            r#type: kind.into(),
        };
        self.bytes.extend_from_slice(head.as_bytes());
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.resize(end, 0);
        true
    }

    /// The reply.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
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
}
