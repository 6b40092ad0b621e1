// SPDX-License-Identifier: GPL-2.0

//! Memory that is not there until someone provides it, and nobody does: who touches it stays
//! where they are. This holds the kernel in the middle of a copy. And memory that a file provides.

#![allow(unsafe_code)]

use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::{
    fs::File,
    io,
    ops::Deref,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

/// `struct uffdio_api` of `linux/userfaultfd.h`.
#[repr(C)]
struct Api {
    api: u64,
    features: u64,
    ioctls: u64,
}

/// `struct uffdio_register`, with the range in it.
#[repr(C)]
struct Register {
    start: u64,
    len: u64,
    mode: u64,
    ioctls: u64,
}

const API: u64 = 0xaa;
const MODE_MISSING: u64 = 1;

/// `_IOWR(0xaa, number, struct of size bytes)`.
const fn iowr(number: u64, size: usize) -> u64 {
    3 << 30 | (size as u64) << 16 | API << 8 | number
}

const UFFDIO_API: u64 = iowr(0x3f, size_of::<Api>());
const UFFDIO_REGISTER: u64 = iowr(0, size_of::<Register>());

/// A piece of memory that is mapped, to the end of the process, and not touched yet.
pub struct Mapped {
    start: usize,
    len: usize,
}

impl Mapped {
    /// The first `len` bytes of a file, a multiple of the page size; what is written there goes to
    /// nobody else.
    pub fn new(file: &File, len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_PRIVATE, file.as_raw_fd())
    }

    fn map(len: usize, flags: i32, fd: i32) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: A new mapping, wherever the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = start.expose_provenance();
        Ok(Self { start, len })
    }

    /// What is there now.
    pub fn bytes(&self) -> Vec<u8> {
        let start = ptr::with_exposed_provenance(self.start);
        // SAFETY: The memory is mapped, readable and nobody writes to it meanwhile.
        unsafe { std::slice::from_raw_parts(start, self.len) }.to_vec()
    }

    /// `read(2)` into it.
    pub fn read(&self, file: impl AsFd) -> io::Result<usize> {
        // SAFETY: The memory is mapped, and nothing else uses it.
        let len = unsafe {
            libc::syscall(
                libc::SYS_read,
                file.as_fd().as_raw_fd(),
                self.start,
                self.len,
            )
        };
        usize::try_from(len).map_err(|_| io::Error::last_os_error())
    }

    /// `writev(2)` of `bytes`, and of `len` bytes from it.
    pub fn write(&self, file: impl AsFd, bytes: &[u8], len: usize) -> io::Result<usize> {
        assert!(len <= self.len);
        let parts = [
            libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            },
            libc::iovec {
                iov_base: ptr::with_exposed_provenance_mut(self.start),
                iov_len: len,
            },
        ];
        // SAFETY: The first part is memory that is there, the second is mapped and is ours.
        let written = unsafe { libc::writev(file.as_fd().as_raw_fd(), parts.as_ptr(), 2) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }
}

/// A piece of memory that is not there.
pub struct Hole {
    memory: Mapped,
    faults: OwnedFd,
}

impl Deref for Hole {
    type Target = Mapped;

    fn deref(&self) -> &Mapped {
        &self.memory
    }
}

impl Hole {
    /// `len` bytes, a multiple of the page size. EPERM without privileges; ENOSYS on a kernel
    /// without userfaultfd(2).
    pub fn new(len: usize) -> io::Result<Self> {
        // Only one that does not block can be polled.
        let flags = libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: Has no pointers.
        let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: This descriptor has just been made, for us.
        let faults = unsafe { OwnedFd::from_raw_fd(fd as i32) };
        let memory = Mapped::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
        let hole = Self { memory, faults };
        hole.ioctl(
            UFFDIO_API,
            &mut Api {
                api: API,
                features: 0,
                ioctls: 0,
            },
        )?;
        hole.ioctl(
            UFFDIO_REGISTER,
            &mut Register {
                start: hole.start as u64,
                len: len as u64,
                mode: MODE_MISSING,
                ioctls: 0,
            },
        )?;
        Ok(hole)
    }

    fn ioctl<T>(&self, command: u64, arg: &mut T) -> io::Result<()> {
        // SAFETY: Called above only, each command with the structure that belongs to it.
        match unsafe { libc::ioctl(self.faults.as_raw_fd(), command, arg as *mut T) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// What tells of the first touch: readable from then on.
    pub fn watch(&self) -> io::Result<Watch> {
        Ok(Watch(self.faults.try_clone()?))
    }
}

/// Tells when a [`Hole`] is touched.
pub struct Watch(OwnedFd);

impl Watch {
    /// Waits until it is.
    pub fn wait(&self) -> io::Result<()> {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::NONE)?;
        match fds[0].revents() {
            Some(PollFlags::POLLIN) => Ok(()),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }
}
