// SPDX-License-Identifier: GPL-2.0

//! System calls that need `unsafe`, and processes.

#![allow(unsafe_code)]

use nix::{
    sys::{
        signal::{kill, Signal},
        wait::waitpid,
    },
    unistd::{fork, ForkResult, Pid},
};
use std::{fs::File, io, os::fd::AsRawFd, process::exit, ptr};

/// The size of a page.
pub const PAGE: usize = 4096;

fn check(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A process that is killed when this value goes.
pub struct Child(Pid);

impl Child {
    /// Starts a process that does `action`. To be called while this one has one thread.
    pub fn start(action: impl FnOnce()) -> nix::Result<Self> {
        // SAFETY: This process has one thread: the child finds nothing half done.
        match unsafe { fork() }? {
            ForkResult::Child => {
                action();
                exit(0)
            }
            ForkResult::Parent { child } => Ok(Child(child)),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended.
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }
}

/// The next entries of an open directory (`getdents64(2)`), as bytes; 0 when there are no more.
pub fn getdents(dir: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let (start, len) = (buffer.as_mut_ptr(), buffer.len());
    // SAFETY: The buffer is as long as is said.
    check(unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), start, len) })
}

/// A file in memory, shared and writable, all of it from its start.
pub struct Map {
    start: *mut u8,
    len: usize,
}

impl Map {
    /// Maps the first `len` bytes of `file`.
    pub fn new(file: &File, len: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let (anywhere, kind, fd) = (ptr::null_mut(), libc::MAP_SHARED, file.as_raw_fd());
        // SAFETY: New memory, anywhere.
        let start = unsafe { libc::mmap(anywhere, len, access, kind, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.cast();
        Ok(Self { start, len })
    }

    /// `madvise(2)` for all of it.
    pub fn advise(&self, advice: libc::c_int) -> io::Result<()> {
        // SAFETY: It is mapped, from a file: no advice loses anything.
        check(unsafe { libc::madvise(self.start.cast(), self.len, advice) }.into()).map(drop)
    }

    /// Reads a byte of each page of the `len` bytes at `offset`.
    pub fn read(&self, offset: usize, len: usize) {
        assert!(offset + len <= self.len);
        for at in (offset..offset + len).step_by(PAGE) {
            // SAFETY: It is mapped.
            unsafe { self.start.add(at).read_volatile() };
        }
    }

    /// Writes a byte of each page of the `len` bytes at `offset`.
    pub fn write(&self, offset: usize, len: usize) {
        assert!(offset + len <= self.len);
        for at in (offset..offset + len).step_by(PAGE) {
            // SAFETY: It is mapped, and writable.
            unsafe { self.start.add(at).write_volatile(1) };
        }
    }

    /// Brings the `len` bytes at `offset` to the file (`msync(2)`).
    pub fn sync(&self, offset: usize, len: usize) -> io::Result<()> {
        assert!(offset + len <= self.len);
        // SAFETY: It is mapped.
        let result = unsafe { libc::msync(self.start.add(offset).cast(), len, libc::MS_SYNC) };
        check(result.into()).map(drop)
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: Nobody uses it any more.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}
