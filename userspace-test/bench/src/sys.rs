// SPDX-License-Identifier: GPL-2.0

//! System calls that need `unsafe`, and processes.

#![allow(unsafe_code)]

use io_uring::{opcode, types::Fd, IoUring};
use nix::{
    sys::{
        signal::{kill, Signal},
        wait::waitpid,
    },
    unistd::{fork, ForkResult, Pid},
};
use std::{fs::File, io, mem, os::fd::AsRawFd, process::exit, ptr};

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

/// Reads of a page each that are under way, of one file.
pub struct Reads<'a> {
    ring: IoUring,
    file: &'a File,
    /// Where each of them reads to, page by page.
    map: Map,
    /// The pages that none reads to.
    free: Vec<usize>,
}

impl<'a> Reads<'a> {
    /// None, and up to `depth` at once.
    pub fn new(file: &'a File, depth: u32) -> io::Result<Self> {
        let map = Map::anonymous(depth as usize * PAGE)?;
        map.write(0, map.len);
        Ok(Self {
            ring: IoUring::new(depth)?,
            file,
            map,
            free: (0..depth as usize).collect(),
        })
    }

    /// Begins one at `offset`, if there are fewer than there may be.
    pub fn begin(&mut self, offset: u64) -> io::Result<bool> {
        let Some(page) = self.free.pop() else {
            return Ok(false);
        };
        let place = self.map.start.wrapping_add(page * PAGE);
        let entry = opcode::Read::new(Fd(self.file.as_raw_fd()), place, PAGE as u32)
            .offset(offset)
            .build()
            .user_data(page as u64);
        // SAFETY: The memory stays until all has been waited for, or else (see `drop`) for good.
        unsafe { self.ring.submission().push(&entry) }.map_err(io::Error::other)?;
        self.ring.submit()?;
        Ok(true)
    }

    /// Waits until one has ended, or more.
    pub fn end_some(&mut self) -> io::Result<()> {
        self.ring.submit_and_wait(1)?;
        for entry in self.ring.completion() {
            if entry.result() < 0 {
                return Err(io::Error::from_raw_os_error(-entry.result()));
            }
            self.free.push(entry.user_data() as usize);
        }
        Ok(())
    }

    /// Waits until all have ended.
    pub fn end_all(&mut self) -> io::Result<()> {
        while self.free.len() * PAGE < self.map.len {
            self.end_some()?;
        }
        Ok(())
    }
}

impl Drop for Reads<'_> {
    fn drop(&mut self) {
        if self.free.len() * PAGE < self.map.len {
            // The kernel still writes there.
            mem::forget(mem::replace(&mut self.map, Map::EMPTY));
        }
    }
}

/// Memory, shared and writable: a file's from its start, or nobody's.
pub struct Map {
    start: *mut u8,
    len: usize,
}

impl Map {
    const EMPTY: Self = Self {
        start: ptr::null_mut(),
        len: 0,
    };

    /// Maps the first `len` bytes of `file`.
    pub fn new(file: &File, len: usize) -> io::Result<Self> {
        Self::with(libc::MAP_SHARED, file.as_raw_fd(), len)
    }

    /// `len` bytes of memory.
    fn anonymous(len: usize) -> io::Result<Self> {
        Self::with(libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, len)
    }

    fn with(kind: libc::c_int, fd: libc::c_int, len: usize) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let anywhere = ptr::null_mut();
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
        // SAFETY: Nobody uses it any more. Of an empty one there is nothing to unmap.
        unsafe { libc::munmap(self.start.cast(), self.len) };
    }
}
