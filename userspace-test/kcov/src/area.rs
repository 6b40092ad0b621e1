// SPDX-License-Identifier: GPL-2.0

//! The memory that the kernel notes addresses in.

#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    ptr::{self, NonNull},
    slice,
    sync::atomic::{AtomicU64, Ordering},
};

/// The first word says how many of the words behind it are used. It is shared with the kernel, and
/// with the processes that are forked.
///
/// # Invariants
///
/// `start` is a mapping of `words` words, at least two, that nothing else unmaps.
#[derive(Debug)]
pub struct Area {
    start: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: It is memory, which belongs to no thread, and is used by atomic accesses only.
unsafe impl Send for Area {}
// SAFETY: As above.
unsafe impl Sync for Area {}

impl Area {
    /// Maps the start of `file`.
    pub fn map(file: &File, words: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let fd = file.as_raw_fd();
        let len = words.checked_mul(size_of::<u64>());
        let (Some(len), true) = (len, words >= 2) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // SAFETY: A new mapping, wherever the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, libc::MAP_SHARED, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { start, words })
    }

    fn words(&self) -> &[AtomicU64] {
        // SAFETY: By the invariants the words are there; all who know of them, the kernel
        // included, store and load whole words.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.words) }
    }

    pub fn clear(&self) {
        self.words()[0].store(0, Ordering::Relaxed);
    }

    pub fn len(&self) -> usize {
        let noted = self.words()[0].load(Ordering::Acquire) as usize;
        noted.min(self.words - 1)
    }

    pub fn is_full(&self) -> bool {
        self.len() == self.words - 1
    }

    pub fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        let noted = &self.words()[1..][..self.len()];
        noted.iter().map(|word| word.load(Ordering::Relaxed))
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: By the invariants it is ours; nothing borrows it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.words * size_of::<u64>()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::{FromRawFd, OwnedFd};

    fn memory() -> File {
        // SAFETY: The name is a string; the descriptor is new, and ours.
        let fd = unsafe {
            let fd = libc::memfd_create(c"area".as_ptr(), 0);
            assert!(fd >= 0);
            OwnedFd::from_raw_fd(fd)
        };
        let file = File::from(fd);
        file.set_len(4096).unwrap();
        file
    }

    #[test]
    fn as_many_words_are_read_as_the_first_says() {
        let area = Area::map(&memory(), 4).unwrap();
        assert_eq!((area.len(), area.is_full()), (0, false));
        for (word, value) in area.words().iter().zip([2, 10, 11, 12]) {
            word.store(value, Ordering::Relaxed);
        }
        assert_eq!(area.addresses().collect::<Vec<_>>(), [10, 11]);
        area.clear();
        assert_eq!(area.addresses().count(), 0);
    }

    #[test]
    fn no_more_words_are_read_than_there_are() {
        let area = Area::map(&memory(), 4).unwrap();
        area.words()[0].store(1000, Ordering::Relaxed);
        assert!(area.is_full());
        assert_eq!(area.addresses().count(), 3);
        assert!(Area::map(&memory(), 1).is_err());
    }
}
