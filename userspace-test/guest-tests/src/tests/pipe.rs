// SPDX-License-Identifier: GPL-2.0

//! Pipes, and what is spliced through them between a device and a test.

#![allow(unsafe_code)]

use rawfuse::abi;
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd},
};
use zerocopy::IntoBytes;

/// A pipe whose ends do not block.
pub struct Pipe {
    /// Where it is read.
    pub read: File,
    /// Where it is written.
    pub write: File,
}

fn check(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

impl Pipe {
    /// A pipe of the usual 16 pages. What is written to it shares pages where it can.
    #[track_caller]
    pub fn new() -> Self {
        Self::with_flags(0)
    }

    /// A pipe in which each write has pages of its own (`O_DIRECT`).
    #[track_caller]
    pub fn of_packets() -> Self {
        Self::with_flags(libc::O_DIRECT)
    }

    #[track_caller]
    fn with_flags(flags: i32) -> Self {
        let mut fds = [0; 2];
        let flags = flags | libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: There is room for the two descriptors.
        check(unsafe { libc::pipe2(fds.as_mut_ptr(), flags) } as isize).expect("pipe2");
        // SAFETY: They have just been made, for us.
        let [read, write] = fds.map(|fd| unsafe { File::from_raw_fd(fd) });
        Self { read, write }
    }

    /// Makes it one of so many pages.
    #[track_caller]
    pub fn resize(self, pages: usize) -> Self {
        let len = (pages * PAGE) as i32;
        // SAFETY: Has no pointers.
        let size = unsafe { libc::fcntl(self.write.as_raw_fd(), libc::F_SETPIPE_SZ, len) };
        assert_eq!(size, len, "F_SETPIPE_SZ");
        self
    }

    /// Writes all of `bytes`.
    #[track_caller]
    pub fn put(&self, bytes: &[u8]) {
        let len = (&self.write).write(bytes).expect("writing to the pipe");
        assert_eq!(len, bytes.len(), "there is room in the pipe");
    }

    /// All that is in it.
    #[track_caller]
    pub fn drain(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut bytes = vec![0; 1 << 16];
        loop {
            match (&self.read).read(&mut bytes) {
                Ok(0) => return all,
                Ok(len) => all.extend_from_slice(&bytes[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return all,
                Err(error) => panic!("reading from the pipe: {error}"),
            }
        }
    }

    /// Splices up to `len` bytes of `from` into it.
    pub fn splice_from(&self, from: BorrowedFd<'_>, len: usize, flags: u32) -> io::Result<usize> {
        splice(from, self.write.as_fd(), len, flags)
    }

    /// Splices up to `len` bytes of it into `to`.
    pub fn splice_to(&self, to: BorrowedFd<'_>, len: usize, flags: u32) -> io::Result<usize> {
        splice(self.read.as_fd(), to, len, flags)
    }

    /// Puts what is in it into another pipe too, by reference.
    #[track_caller]
    pub fn tee(&self, to: &Pipe) -> usize {
        let (from, to) = (self.read.as_raw_fd(), to.write.as_raw_fd());
        // SAFETY: Has no pointers.
        check(unsafe { libc::tee(from, to, 1 << 20, libc::SPLICE_F_NONBLOCK) }).expect("tee")
    }
}

fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, len: usize, flags: u32) -> io::Result<usize> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    let (null_in, null_out) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: There are no offsets.
    check(unsafe { libc::splice(from, null_in, to, null_out, len, flags) })
}

/// The size of a page.
pub const PAGE: usize = 4096;

/// A reply as it is written.
pub fn reply(unique: u64, error: i32, data: &[u8]) -> Vec<u8> {
    let header = abi::OutHeader {
        len: (size_of::<abi::OutHeader>() + data.len()) as u32,
        error,
        unique,
    };
    [header.as_bytes(), data].concat()
}
