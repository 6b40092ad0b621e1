// SPDX-License-Identifier: GPL-2.0

//! The device: requests come in, replies and notifications go out.

use crate::{abi, Buffer, Errno, Kind, Request};
use nix::poll::{poll, PollFd, PollFlags, PollTimeout};
use std::{
    fs::{File, OpenOptions},
    io::{self, IoSlice, Read, Write},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
    time::Duration,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What is sent in one piece, in bytes: all replies that are a structure. Putting it together costs less
/// than having the kernel gather it.
const SHORT: usize = 512;

/// An open `/dev/fuse`.
#[derive(Debug)]
pub struct Channel {
    file: File,
}

impl Channel {
    /// Opens the device of `kind`, for reading and writing.
    pub fn open(kind: &Kind) -> io::Result<Self> {
        Self::open_path(kind.device.as_ref())
    }

    /// Opens the device at `path`.
    pub fn open_path(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file })
    }

    /// Reads one request as the kernel gives it, with no regard to what is in it: one `read(2)`.
    ///
    /// The kernel's errors: EPERM before mounting; EINVAL when `buffer` is too short, which loses
    /// nothing; ENODEV after unmounting (ECONNABORTED after an abort, when `ABORT_ERROR` was
    /// taken); EAGAIN when there is no request and the descriptor is non-blocking; ENOENT when
    /// the request was called off while it was copied; EINTR.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Waits for a request. `None` when the file system is gone.
    ///
    /// # Errors
    ///
    /// Those of [`read`](Self::read), less EINTR and ENOENT, which mean to try again. A request
    /// that does not hold together is `InvalidData`: the kernel does not send any.
    pub fn receive<'a>(&self, buffer: &'a mut Buffer) -> io::Result<Option<Request<'a>>> {
        let len = loop {
            match self.read(buffer.bytes_mut()) {
                Ok(len) => break len,
                Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                    Errno::EINTR | Errno::ENOENT => continue,
                    Errno::ENODEV => return Ok(None),
                    _ => return Err(error),
                },
            }
        };
        match Request::new(&buffer.bytes()[..len]) {
            Ok(request) => Ok(Some(request)),
            Err(error) => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }

    /// Reads one request, and gives its header and what follows as owned values.
    pub fn read_owned(&self, size: usize) -> io::Result<(abi::InHeader, Vec<u8>)> {
        let mut bytes = vec![0; size];
        let len = self.read(&mut bytes)?;
        bytes.truncate(len);
        match abi::InHeader::read_from_prefix(&bytes) {
            Ok((header, body)) => Ok((header, body.to_vec())),
            Err(_) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// Writes `parts`, one after the other, in one `writev(2)`: this is how replies reach the
    /// kernel, and the way to send it something that is no reply.
    ///
    /// The kernel's errors: EPERM before mounting; EINVAL for what is no reply (too short, a
    /// `len` that is not the length, an `error` above 0 or below -511, an `error` and data) or
    /// does not fit the request; ENOENT when no request of that `unique` waits for a reply, as
    /// none does after unmounting.
    pub fn write(&self, parts: &[&[u8]]) -> io::Result<usize> {
        let parts: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        (&self.file).write_vectored(&parts)
    }

    /// Answers the request `unique` with a structure.
    pub fn reply<T: IntoBytes + Immutable>(&self, unique: u64, out: &T) -> io::Result<()> {
        self.reply_bytes(unique, &[out.as_bytes()])
    }

    /// Answers the request `unique` with `parts`, one after the other; with none, when all went
    /// well and the operation gives nothing back.
    pub fn reply_bytes(&self, unique: u64, parts: &[&[u8]]) -> io::Result<()> {
        self.send(unique, 0, parts)
    }

    /// Answers the request `unique` with an error.
    pub fn reply_error(&self, unique: u64, error: Errno) -> io::Result<()> {
        self.send(unique, -(error as i32), &[])
    }

    /// Tells the kernel something it did not ask for: the structure that belongs to `code`, and
    /// what follows it.
    pub fn notify(&self, code: abi::NotifyCode, parts: &[&[u8]]) -> io::Result<()> {
        self.send(0, code as i32, parts)
    }

    fn send(&self, unique: u64, error: i32, parts: &[&[u8]]) -> io::Result<()> {
        let len = size_of::<abi::OutHeader>() + parts.iter().map(|part| part.len()).sum::<usize>();
        let header = abi::OutHeader {
            len: u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?,
            error,
            unique,
        };
        let written = if len <= SHORT {
            let mut all = [0; SHORT];
            let mut rest = &mut all[..];
            rest.write_all(header.as_bytes())?;
            for part in parts {
                rest.write_all(part)?;
            }
            (&self.file).write(&all[..len])?
        } else {
            let mut all = vec![header.as_bytes()];
            all.extend_from_slice(parts);
            self.write(&all)?
        };
        if written != len {
            return Err(io::ErrorKind::WriteZero.into());
        }
        Ok(())
    }

    /// What the device is ready for: `POLLIN` when there is a request, `POLLERR` when the file
    /// system is gone. Waits up to `timeout` for something to come up.
    pub fn poll(&self, timeout: Duration) -> io::Result<PollFlags> {
        let mut fds = [PollFd::new(
            self.as_fd(),
            PollFlags::POLLIN | PollFlags::POLLOUT | PollFlags::POLLRDNORM,
        )];
        poll_retrying(&mut fds, timeout)?;
        Ok(fds[0].revents().unwrap_or(PollFlags::empty()))
    }

    /// Whether a request is there to be read, or none will ever be. Waits up to `timeout` for it.
    pub fn wait_readable(&self, timeout: Duration) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.as_fd(), PollFlags::POLLIN)];
        poll_retrying(&mut fds, timeout)?;
        Ok(fds[0].any().unwrap_or(false))
    }

    /// Another descriptor for the same open device.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            file: self.file.try_clone()?,
        })
    }

    /// Ties this device, which is fresh, to the connection that `other` is tied to: each of them has
    /// requests of its own to answer, which both find in the same queues (`FUSE_DEV_IOC_CLONE`).
    ///
    /// # Errors
    ///
    /// EINVAL when it is tied to one already, or `other` is not.
    #[allow(unsafe_code)]
    pub fn clone_of(&self, other: &Channel) -> io::Result<()> {
        nix::ioctl_read!(clone, abi::DEV_IOC_MAGIC, 0, u32);
        let mut fd = other.number() as u32;
        // SAFETY: The argument is the number that the command reads.
        unsafe { clone(self.file.as_raw_fd(), &mut fd) }?;
        Ok(())
    }

    /// Ties this device, which is fresh, to the connection of a mount that was made with the option
    /// `recover`, by its number: to the last one that was closed, it is the successor. Not in Linux.
    ///
    /// # Errors
    ///
    /// EPERM for who could not have mounted it; ENOENT without such a connection; EINVAL when it
    /// does not recover, or the device is tied to one already.
    #[allow(unsafe_code)]
    pub fn attach(&self, connection: u32) -> io::Result<()> {
        nix::ioctl_write_ptr!(attach, abi::DEV_IOC_MAGIC, 128, u32);
        // SAFETY: The argument is the number that the command reads.
        unsafe { attach(self.file.as_raw_fd(), &connection) }?;
        Ok(())
    }

    /// The number that `fd=` of the mount options takes.
    pub fn number(&self) -> i32 {
        self.file.as_raw_fd()
    }
}

fn poll_retrying(fds: &mut [PollFd<'_>], timeout: Duration) -> io::Result<()> {
    let timeout = PollTimeout::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
    loop {
        match poll(fds, timeout) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl From<OwnedFd> for Channel {
    fn from(fd: OwnedFd) -> Self {
        Self { file: fd.into() }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
