// SPDX-License-Identifier: GPL-2.0

//! Data that moves between files and the device by way of pipes, without being copied to this
//! process.

use crate::{abi, Buffer, Channel, Request};
use rustix::{
    fd::OwnedFd,
    io::{read, retry_on_intr, write, Errno, Result},
    pipe::{fcntl_setpipe_size, pipe_with, splice, PipeFlags, SpliceFlags},
};
use std::{io, os::fd::AsFd};
use zerocopy::{FromBytes, IntoBytes};

const HEADER: usize = size_of::<abi::InHeader>();
/// What comes before the data of a `WRITE`.
const BEFORE_DATA: usize = HEADER + size_of::<abi::WriteIn>();
/// With less data than this, copying takes less time.
const WORTHWHILE: usize = 2 * 4096;

/// A request that was taken from the device.
pub enum Taken<'a> {
    /// All of it.
    Whole(Request<'a>),
    /// A `WRITE`, whose data is in the pipe.
    Write(abi::InHeader, abi::WriteIn),
}

/// A pipe with room for all of one request or reply.
struct Pipe {
    from: OwnedFd,
    into: OwnedFd,
    size: usize,
}

impl Pipe {
    fn new(size: usize) -> Result<Self> {
        let (from, into) = pipe_with(PipeFlags::CLOEXEC)?;
        let size = fcntl_setpipe_size(&into, size)?;
        Ok(Self { from, into, size })
    }

    fn read_exact(&self, buffer: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buffer.len() {
            match retry_on_intr(|| read(&self.from, &mut buffer[done..]))? {
                0 => return Err(Errno::IO),
                len => done += len,
            }
        }
        Ok(())
    }
}

/// One thread's pipes.
///
/// # Errors
///
/// What its functions give is what `splice(2)`, `read(2)` and `write(2)` say. After one, and when a
/// `WRITE` was not written as a whole, something may be left in the pipes: [`clear`](Self::clear) them.
pub struct Pipes {
    /// From the device, or from a file.
    data: Pipe,
    /// To the device: a header, and data that has been in the other.
    reply: Pipe,
}

impl Pipes {
    /// Pipes for requests and replies with up to `max_data` bytes of data, which may begin anywhere
    /// in a page.
    pub fn new(max_data: usize) -> Result<Self> {
        let size = 2 * max_data;
        Ok(Self {
            data: Pipe::new(size)?,
            reply: Pipe::new(size)?,
        })
    }

    /// Drops what is in the pipes.
    pub fn clear(&mut self) -> Result<()> {
        self.data = Pipe::new(self.data.size)?;
        self.reply = Pipe::new(self.reply.size)?;
        Ok(())
    }

    /// Waits for a request, as [`Channel::receive`]. The data of large writes stays in the pipe.
    pub fn receive<'a>(
        &self,
        channel: &Channel,
        buffer: &'a mut Buffer,
    ) -> io::Result<Option<Taken<'a>>> {
        let (pipe, none) = (&self.data, SpliceFlags::empty());
        let len = loop {
            match splice(channel, None, &pipe.into, None, pipe.size, none) {
                Ok(len) => break len,
                Err(Errno::INTR | Errno::NOENT) => {}
                Err(Errno::NODEV) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        };
        let bytes = buffer.bytes_mut();
        let mut have = BEFORE_DATA.min(len);
        pipe.read_exact(&mut bytes[..have])?;
        if let Some((header, arg)) = large_write(&bytes[..have]) {
            return Ok(Some(Taken::Write(header, arg)));
        }
        if have < len {
            pipe.read_exact(&mut bytes[have..len])?;
            have = len;
        }
        let request = Request::new(&buffer.bytes()[..have]);
        request
            .map(|request| Some(Taken::Whole(request)))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Moves the data of a `WRITE` to `file`. Gives how much of it was written.
    pub fn write(&self, arg: &abi::WriteIn, file: impl AsFd) -> Result<usize> {
        let (mut offset, mut done) = (arg.offset, 0);
        while done < arg.size as usize {
            let left = arg.size as usize - done;
            let (pipe, how) = (&self.data.from, SpliceFlags::MOVE);
            match splice(pipe, None, &file, Some(&mut offset), left, how) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(Errno::INTR) => {}
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Moves what a `READ` asks for from `file` into a pipe. Gives how much there was.
    pub fn read(&self, arg: &abi::ReadIn, file: impl AsFd) -> Result<usize> {
        let (mut offset, mut done) = (arg.offset, 0);
        while done < arg.size as usize {
            let left = arg.size as usize - done;
            let (pipe, how) = (&self.data.into, SpliceFlags::empty());
            match splice(&file, Some(&mut offset), pipe, None, left, how) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    /// Answers the request `unique` with `len` bytes that [`read`](Self::read) has moved.
    pub fn reply(&self, channel: &Channel, unique: u64, len: usize) -> Result<()> {
        let total = size_of::<abi::OutHeader>() + len;
        let header = abi::OutHeader {
            len: total as u32,
            error: 0,
            unique,
        };
        write(&self.reply.into, header.as_bytes())?;
        let (data, reply, how) = (&self.data, &self.reply, SpliceFlags::MOVE);
        let mut left = len;
        while left > 0 {
            left -= splice(&data.from, None, &reply.into, None, left, how)?;
        }
        splice(&reply.from, None, channel, None, total, how)?;
        Ok(())
    }
}

/// Whether a `READ` is worth the calls that moving takes.
pub fn is_large(arg: &abi::ReadIn) -> bool {
    arg.size as usize >= WORTHWHILE
}

/// Takes `bytes` as the start of a `WRITE` whose data is better moved than copied. That of an
/// open file that appends cannot be: `splice(2)` does not append.
fn large_write(bytes: &[u8]) -> Option<(abi::InHeader, abi::WriteIn)> {
    const APPEND: u32 = rustix::fs::OFlags::APPEND.bits();
    let (header, rest) = abi::InHeader::read_from_prefix(bytes).ok()?;
    if header.opcode != abi::Opcode::Write as u32 || header.total_extlen != 0 {
        return None;
    }
    let arg = abi::WriteIn::read_from_bytes(rest).ok()?;
    let whole = header.len as usize == BEFORE_DATA + arg.size as usize;
    (whole && arg.size as usize >= WORTHWHILE && arg.flags & APPEND == 0).then_some((header, arg))
}
