// SPDX-License-Identifier: GPL-2.0

//! What the kernel has opened.

use rawfuse::{abi, DirEntries};
use rustix::{
    fs::{seek, FileType, RawDir, RawDirEntry, SeekFrom},
    io::{Errno, Result},
};
use std::{
    collections::HashMap,
    ffi::OsStr,
    mem::MaybeUninit,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Open things, by the `fh` that the kernel has for each of them.
#[derive(Debug)]
pub struct Opened<T> {
    table: Mutex<Table<T>>,
}

#[derive(Debug)]
struct Table<T> {
    open: HashMap<u64, Arc<T>>,
    last: u64,
}

impl<T> Opened<T> {
    fn table(&self) -> MutexGuard<'_, Table<T>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps `value` until it is [`release`](Self::release)d, and gives the `fh` for it.
    pub fn keep(&self, value: T) -> u64 {
        let mut table = self.table();
        table.last += 1;
        let fh = table.last;
        table.open.insert(fh, Arc::new(value));
        fh
    }

    /// What is open as `fh`.
    pub fn get(&self, fh: u64) -> Result<Arc<T>> {
        self.table().open.get(&fh).cloned().ok_or(Errno::BADF)
    }

    /// What is open as `fh` is closed when nobody works with it any more.
    pub fn release(&self, fh: u64) {
        let gone = self.table().open.remove(&fh);
        drop(gone);
    }
}

impl<T> Default for Opened<T> {
    fn default() -> Self {
        Self {
            table: Mutex::new(Table {
                open: HashMap::new(),
                last: 0,
            }),
        }
    }
}

/// An open directory. The kernel has it read by one at a time, from any entry on.
#[derive(Debug)]
pub struct Dir {
    stream: Mutex<Stream>,
}

#[derive(Debug)]
struct Stream {
    file: OwnedFd,
    /// The `off` that reading goes on from by itself, if it is one that the kernel knows.
    position: Option<u64>,
}

impl Dir {
    /// A directory that was just opened.
    pub fn new(file: OwnedFd) -> Self {
        Self {
            stream: Mutex::new(Stream {
                file,
                position: Some(0),
            }),
        }
    }

    /// Does something with the open file.
    pub fn with<R>(&self, work: impl FnOnce(&OwnedFd) -> R) -> R {
        work(&self.stream().file)
    }

    fn stream(&self) -> MutexGuard<'_, Stream> {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The entries that a request asks for, added to the reply by `push`, which says whether there
    /// was room. An `off` is the directory's own below, and good for as long as it is there.
    pub fn read(
        &self,
        arg: &abi::ReadIn,
        mut push: impl FnMut(&mut DirEntries, &Entry<'_>) -> bool,
    ) -> Result<DirEntries> {
        let mut stream = self.stream();
        if stream.position != Some(arg.offset) {
            seek(&stream.file, SeekFrom::Start(arg.offset))?;
        }
        let mut position = Some(arg.offset);
        let mut entries = DirEntries::new(arg.size as usize);
        // What fits here takes no less room in the reply.
        let mut buffer = vec![MaybeUninit::uninit(); (arg.size as usize).clamp(1 << 10, 1 << 16)];
        let mut raw = RawDir::new(&stream.file, &mut buffer);
        while let Some(entry) = raw.next() {
            let entry = match &entry {
                Ok(entry) => Entry::new(entry),
                Err(error) if entries.bytes().is_empty() => return Err(*error),
                Err(_) => break,
            };
            if !push(&mut entries, &entry) {
                position = None;
                break;
            }
            position = Some(entry.off);
        }
        stream.position = position;
        Ok(entries)
    }
}

/// An entry of a directory.
pub struct Entry<'a> {
    /// The inode's number.
    pub ino: u64,
    /// Where reading goes on behind it.
    pub off: u64,
    /// Its type, as `DT_…`.
    pub kind: u8,
    /// Its name.
    pub name: &'a OsStr,
}

impl<'a> Entry<'a> {
    fn new(raw: &'a RawDirEntry<'_>) -> Self {
        let kind = match raw.file_type() {
            FileType::Unknown => 0,
            kind => (kind.as_raw_mode() >> 12) as u8,
        };
        Self {
            ino: raw.ino(),
            off: raw.next_entry_cookie(),
            kind,
            name: OsStr::from_bytes(raw.file_name().to_bytes()),
        }
    }

    /// Whether it is `.` or `..`.
    pub fn is_dot(&self) -> bool {
        self.name == "." || self.name == ".."
    }
}
