// SPDX-License-Identifier: GPL-2.0

//! Answering requests.

use crate::{
    readdir,
    store::{New, Store},
};
use nix::{
    fcntl::{fallocate, fcntl, FallocateFlags, FcntlArg, OFlag},
    poll::{poll, PollFd, PollFlags, PollTimeout},
    unistd::{lseek, Whence},
};
use rawfuse::{
    abi::{self, init_flags, Opcode},
    answer_init, in_threads, Buffer, Channel, Errno, InitConfig, Operation, Request,
};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// The most data in one request.
const MAX_DATA: u32 = 128 << 10;

/// How the file system is served.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// By how many threads.
    pub threads: usize,
    /// For how many seconds names and attributes stay valid.
    pub valid: u64,
    /// What opening a file gives: some of [`open_flags`](abi::open_flags).
    pub open_flags: u32,
    /// The features to take, of those that are offered: some of [`init_flags`].
    pub init_flags: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 4,
            valid: 0,
            open_flags: 0,
            init_flags: init_flags::ASYNC_READ
                | init_flags::BIG_WRITES
                | init_flags::PARALLEL_DIROPS
                | init_flags::ATOMIC_O_TRUNC,
        }
    }
}

/// Who serves.
#[derive(Clone, Debug)]
pub struct Daemon {
    store: Store,
    config: Config,
}

/// Why a thread stops.
enum Stop {
    /// The file system is gone.
    Gone,
    /// It is asked to.
    Asked,
}

impl Daemon {
    /// A daemon for what is in `store`.
    pub fn new(store: Store, config: Config) -> Self {
        Self { store, config }
    }

    /// Serves until the file system is gone.
    ///
    /// # Errors
    ///
    /// What reading requests and writing replies gives, other than that the file system, the
    /// request or its caller is gone.
    pub fn serve(&self, channel: &Channel) -> io::Result<()> {
        in_threads(self.config.threads, || self.thread(channel, || Ok(None)))
    }

    /// Serves until the file system is gone, or `stop` becomes readable or is hung up. All that was
    /// read has been answered then. Makes the open device one that does not block.
    ///
    /// # Errors
    ///
    /// As [`serve`](Self::serve).
    pub fn serve_until(&self, channel: &Channel, stop: BorrowedFd<'_>) -> io::Result<()> {
        fcntl(
            channel,
            FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK),
        )?;
        in_threads(self.config.threads, || {
            self.thread(channel, || {
                let mut fds = [
                    PollFd::new(stop, PollFlags::POLLIN),
                    PollFd::new(channel.as_fd(), PollFlags::POLLIN),
                ];
                match poll(&mut fds, PollTimeout::NONE) {
                    Ok(_) | Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
                Ok(fds[0].any().unwrap_or(false).then_some(Stop::Asked))
            })
        })
    }

    /// Answers requests, each after `wait` has said that there may be one.
    fn thread(
        &self,
        channel: &Channel,
        wait: impl Fn() -> io::Result<Option<Stop>>,
    ) -> io::Result<Stop> {
        // Memory that is touched is there; see the crate.
        let mut buffer = Buffer::for_max_write(MAX_DATA as usize);
        buffer.bytes_mut().fill(1);
        let mut reply = Vec::from([1; MAX_DATA as usize]);
        loop {
            if let Some(stop) = wait()? {
                return Ok(stop);
            }
            let request = match channel.receive(&mut buffer) {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(Stop::Gone),
                Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                    Errno::EAGAIN => continue,
                    Errno::ECONNABORTED => return Ok(Stop::Gone),
                    _ => return Err(error),
                },
            };
            let sent = match request.opcode() {
                Some(Opcode::Init) => self.init(channel, &request),
                _ if !request.has_reply() => continue,
                _ => {
                    reply.clear();
                    match self.answer(&request, &mut reply) {
                        Ok(()) => channel.reply_bytes(request.unique(), &[&reply]),
                        Err(error) => channel.reply_error(request.unique(), errno(&error)),
                    }
                }
            };
            match sent.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))) {
                // Its caller was killed, or it was sent again.
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(Errno::ENODEV | Errno::ECONNABORTED) => return Ok(Stop::Gone),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Answers `INIT`, which [`serve`](Self::serve) does too: for one who is to see to it that this
    /// has been done.
    ///
    /// # Errors
    ///
    /// Those of [`answer_init`].
    pub fn init(&self, channel: &Channel, request: &Request<'_>) -> io::Result<()> {
        let config = InitConfig {
            flags: self.config.init_flags,
            max_write: MAX_DATA,
            ..Default::default()
        };
        answer_init(channel, request, &config).map(drop)
    }

    /// Does what is asked, and puts together what it gives back: for one who serves in a way of their
    /// own.
    ///
    /// # Errors
    ///
    /// What belongs into the answer.
    pub fn answer(&self, request: &Request<'_>, reply: &mut Vec<u8>) -> io::Result<()> {
        let (nodeid, unique, store) = (request.nodeid(), request.unique(), &self.store);
        let Ok(operation) = request.operation() else {
            return Err(Errno::EINVAL.into());
        };
        match operation {
            Operation::Lookup { name } => put(reply, &self.entry(store.lookup(nodeid, name)?)?),
            Operation::Getattr(_) => put(reply, &self.attr(nodeid)?),
            Operation::Setattr(arg) => {
                store.set_attr(nodeid, arg)?;
                put(reply, &self.attr(nodeid)?);
            }
            Operation::Readlink => {
                reply.extend_from_slice(store.target(nodeid)?.as_os_str().as_bytes());
            }
            Operation::Open(arg) => {
                store.metadata(nodeid)?;
                if arg.flags as i32 & libc::O_TRUNC != 0 {
                    store.writable(nodeid)?.set_len(0)?;
                }
                put(reply, &self.opened());
            }
            Operation::Opendir(_) => {
                store.metadata(nodeid)?;
                put(reply, &abi::OpenOut::default());
            }
            Operation::Read(arg) => {
                reply.resize(arg.size.min(MAX_DATA) as usize, 0);
                let len = store.read(nodeid, arg.offset, reply)?;
                reply.truncate(len);
            }
            Operation::Readdir(arg) => {
                reply.extend_from_slice(readdir::entries(store, nodeid, arg)?.bytes());
            }
            Operation::Write { arg, data } => {
                store.write(nodeid, arg.offset, data)?;
                put(reply, &written(data.len()));
            }
            Operation::Create { arg, name } => {
                let new = new(request, arg.mode, 0);
                let made = store.make(unique, nodeid, name, &new, OsStr::new(""))?;
                put(reply, &self.entry(made)?);
                put(reply, &self.opened());
            }
            Operation::Mknod { arg, name } => {
                let new = new(request, arg.mode, arg.rdev);
                let made = store.make(unique, nodeid, name, &new, OsStr::new(""))?;
                put(reply, &self.entry(made)?);
            }
            Operation::Mkdir { arg, name } => {
                let new = new(request, arg.mode & 0o7777 | libc::S_IFDIR, 0);
                let made = store.make(unique, nodeid, name, &new, OsStr::new(""))?;
                put(reply, &self.entry(made)?);
            }
            Operation::Symlink { name, target } => {
                let new = new(request, libc::S_IFLNK | 0o777, 0);
                let made = store.make(unique, nodeid, name, &new, target)?;
                put(reply, &self.entry(made)?);
            }
            // An inode has one name, or none.
            Operation::Link { .. } => return Err(Errno::EPERM.into()),
            Operation::Unlink { name } => store.unlink(unique, nodeid, name)?,
            Operation::Rmdir { name } => store.rmdir(unique, nodeid, name)?,
            Operation::Rename { arg, name, newname } => {
                store.rename(unique, (nodeid, name), (arg.newdir, newname))?;
            }
            Operation::Statfs => put(reply, &store.statfs()?),
            Operation::Fallocate(arg) => {
                let mode = FallocateFlags::from_bits_truncate(arg.mode as i32);
                let (offset, length) = (arg.offset as i64, arg.length as i64);
                fallocate(store.writable(nodeid)?, mode, offset, length)?;
            }
            Operation::Lseek(arg) => {
                let whence = match arg.whence as i32 {
                    libc::SEEK_DATA => Whence::SeekData,
                    libc::SEEK_HOLE => Whence::SeekHole,
                    _ => return Err(Errno::EINVAL.into()),
                };
                let file = File::open(store.path(nodeid))?;
                let offset = lseek(file, arg.offset as i64, whence)? as u64;
                put(reply, &abi::LseekOut { offset });
            }
            Operation::Flush(_)
            | Operation::Release(_)
            | Operation::Releasedir(_)
            | Operation::Fsync(_)
            | Operation::Fsyncdir(_)
            | Operation::Syncfs(_)
            | Operation::Destroy => {}
            _ => return Err(Errno::ENOSYS.into()),
        }
        Ok(())
    }

    fn entry(&self, nodeid: u64) -> io::Result<abi::EntryOut> {
        Ok(abi::EntryOut {
            nodeid,
            entry_valid: self.config.valid,
            attr_valid: self.config.valid,
            attr: self.store.attr(nodeid)?,
            ..Default::default()
        })
    }

    fn attr(&self, nodeid: u64) -> io::Result<abi::AttrOut> {
        Ok(abi::AttrOut {
            attr_valid: self.config.valid,
            attr: self.store.attr(nodeid)?,
            ..Default::default()
        })
    }

    /// The reply to opening. There is nothing to be known of an open file but its inode.
    fn opened(&self) -> abi::OpenOut {
        abi::OpenOut {
            open_flags: self.config.open_flags,
            ..FromZeros::new_zeroed()
        }
    }
}

fn put<T: IntoBytes + Immutable>(reply: &mut Vec<u8>, out: &T) {
    reply.extend_from_slice(out.as_bytes());
}

fn written(len: usize) -> abi::WriteOut {
    abi::WriteOut {
        size: len as u32,
        padding: 0,
    }
}

fn new(request: &Request<'_>, mode: u32, rdev: u32) -> New {
    let header = request.header();
    New {
        mode,
        rdev,
        uid: header.uid,
        gid: header.gid,
    }
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
