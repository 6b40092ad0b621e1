// SPDX-License-Identifier: GPL-2.0

//! The file system, and the answer to each request.

use crate::{
    nodes::{Node, Nodes},
    open::{Dir, Opened},
};
use rawfuse::{abi, Operation, Request};
use rustix::{
    fd::OwnedFd,
    fs::{fstat, fstatfs, openat, Mode, OFlags, Stat},
    io::{Errno, Result},
    process::{getegid, geteuid},
};
use std::{ffi::OsStr, os::fd::AsFd, sync::Arc};
use zerocopy::{Immutable, IntoBytes};

/// How the file system is served.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// For how many seconds names and attributes stay valid.
    pub valid: u64,
    /// Whether the kernel writes back what is written: it then reads what is open for writing only,
    /// and knows itself where the end is that is appended to.
    pub writeback: bool,
    /// What opening a file gives: some of [`open_flags`](abi::open_flags).
    pub open_flags: u32,
}

/// A directory, as a file system of its own.
///
/// All is done with the rights of this process: who may do what is for the kernel to judge
/// (`default_permissions`), or all who are let in may do what this process may.
pub struct Stack {
    pub(crate) config: Config,
    pub(crate) nodes: Nodes,
    pub(crate) files: Opened<OwnedFd>,
    pub(crate) dirs: Opened<Dir>,
    /// Whose files are that nobody gives to somebody else.
    pub(crate) identity: (u32, u32),
}

impl Stack {
    /// The file system whose root is `source`.
    pub fn new(source: &OsStr, config: Config) -> Result<Self> {
        let root = rustix::fs::open(
            source,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self {
            config,
            nodes: Nodes::new(root)?,
            files: Opened::default(),
            dirs: Opened::default(),
            identity: (geteuid().as_raw(), getegid().as_raw()),
        })
    }

    /// Does what is asked, and adds to `reply` what it gives back.
    pub fn answer(&self, request: &Request<'_>, reply: &mut Vec<u8>) -> Result<()> {
        let nodeid = request.nodeid();
        let operation = request.operation().map_err(|_| Errno::INVAL)?;
        match operation {
            Operation::Lookup { name } => put(reply, &self.lookup(nodeid, name)?),
            Operation::Forget(arg) => self.nodes.forget(nodeid, arg.nlookup),
            Operation::BatchForget(all) => {
                for one in all {
                    self.nodes.forget(one.nodeid, one.nlookup);
                }
            }
            Operation::Getattr(_) => put(reply, &self.getattr(nodeid)?),
            Operation::Setattr(arg) => put(reply, &self.setattr(nodeid, arg)?),
            Operation::Access(arg) => self.access(nodeid, arg.mask)?,
            Operation::Readlink => *reply = self.readlink(nodeid)?,
            Operation::Symlink { name, target } => {
                put(reply, &self.symlink(request, name, target)?);
            }
            Operation::Mknod { arg, name } => {
                put(reply, &self.mknod(request, name, arg)?);
            }
            Operation::Mkdir { arg, name } => put(reply, &self.mkdir(request, name, arg.mode)?),
            Operation::Link { arg, name } => put(reply, &self.link(nodeid, name, arg.oldnodeid)?),
            Operation::Unlink { name } => self.unlink(nodeid, name)?,
            Operation::Rmdir { name } => self.rmdir(nodeid, name)?,
            Operation::Rename { arg, name, newname } => {
                self.rename((nodeid, name), (arg.newdir, newname), 0)?;
            }
            Operation::Rename2 { arg, name, newname } => {
                self.rename((nodeid, name), (arg.newdir, newname), arg.flags)?;
            }
            Operation::Create { arg, name } => {
                let (entry, file) = self.create(request, name, arg)?;
                put(reply, &entry);
                put(reply, &self.opened(file));
            }
            Operation::Tmpfile { arg, .. } => {
                let (entry, file) = self.tmpfile(request, arg)?;
                put(reply, &entry);
                put(reply, &self.opened(file));
            }
            Operation::Open(arg) => {
                let node = self.nodes.get(nodeid)?;
                let file = reopen(&node.path(), self.flags(arg.flags))?;
                put(reply, &self.opened(file));
            }
            Operation::Read(arg) => self.read(arg, reply)?,
            Operation::Write { arg, data } => put(reply, &self.write(arg, data)?),
            // Nothing waits here for a file to be closed: the kernel need not tell.
            Operation::Flush(_) => return Err(Errno::NOSYS),
            Operation::Release(arg) => self.files.release(arg.fh),
            Operation::Fsync(arg) => self.fsync(arg)?,
            Operation::Fallocate(arg) => self.fallocate(arg)?,
            Operation::Lseek(arg) => put(reply, &self.lseek(arg)?),
            Operation::CopyFileRange(arg) => {
                let size = self.copy_file_range(arg)? as u32;
                put(reply, &abi::WriteOut { size, padding: 0 });
            }
            Operation::CopyFileRange64(arg) => {
                let bytes_copied = self.copy_file_range(arg)?;
                put(reply, &abi::CopyFileRangeOut { bytes_copied });
            }
            Operation::Opendir(_) => {
                let node = self.nodes.get(nodeid)?;
                let file = reopen(&node.path(), OFlags::RDONLY | OFlags::DIRECTORY)?;
                let fh = self.dirs.keep(Dir::new(file));
                put(reply, &opened(fh, 0));
            }
            Operation::Readdir(arg) => *reply = self.readdir(arg)?,
            Operation::Readdirplus(arg) => *reply = self.readdirplus(nodeid, arg)?,
            Operation::Releasedir(arg) => self.dirs.release(arg.fh),
            Operation::Fsyncdir(arg) => self.fsyncdir(arg)?,
            Operation::Statfs => put(reply, &self.statfs(nodeid)?),
            Operation::Setxattr { size, flags, rest } => {
                self.setxattr(nodeid, size, flags, rest)?;
            }
            Operation::Getxattr { arg, name } => self.getxattr(nodeid, name, arg.size, reply)?,
            Operation::Listxattr(arg) => self.listxattr(nodeid, arg.size, reply)?,
            Operation::Removexattr { name } => self.removexattr(nodeid, name)?,
            Operation::Destroy => {}
            // Locks, ioctl, poll and the like: the kernel then does without.
            _ => return Err(Errno::NOSYS),
        }
        Ok(())
    }

    /// The entry of the inode that `handle` is of, which the kernel is told of by it.
    pub(crate) fn entry(&self, handle: OwnedFd) -> Result<(abi::EntryOut, Arc<Node>)> {
        let stat = fstat(&handle)?;
        let node = self.nodes.look_up(handle, &stat);
        let entry = abi::EntryOut {
            nodeid: node.id(),
            entry_valid: self.config.valid,
            attr_valid: self.config.valid,
            attr: attr(&stat),
            ..Default::default()
        };
        Ok((entry, node))
    }

    pub(crate) fn attr_out(&self, stat: &Stat) -> abi::AttrOut {
        abi::AttrOut {
            attr_valid: self.config.valid,
            attr: attr(stat),
            ..Default::default()
        }
    }

    /// The flags to open a file with below, when it is opened with `flags` here. What is about names
    /// has been done by the kernel; and it may ask for any bytes, which direct I/O would not do.
    pub(crate) fn flags(&self, flags: u32) -> OFlags {
        let mut flags = OFlags::from_bits_retain(flags)
            & (OFlags::ACCMODE | OFlags::TRUNC | OFlags::APPEND | OFlags::DSYNC | OFlags::SYNC);
        if self.config.writeback {
            if flags & OFlags::ACCMODE == OFlags::WRONLY {
                flags = (flags - OFlags::ACCMODE) | OFlags::RDWR;
            }
            flags -= OFlags::APPEND;
        }
        flags | OFlags::CLOEXEC
    }

    fn opened(&self, file: OwnedFd) -> abi::OpenOut {
        opened(self.files.keep(file), self.config.open_flags)
    }

    fn statfs(&self, nodeid: u64) -> Result<abi::StatfsOut> {
        let data = fstatfs(self.nodes.get(nodeid)?)?;
        Ok(abi::StatfsOut {
            st: abi::Kstatfs {
                blocks: data.f_blocks,
                bfree: data.f_bfree,
                bavail: data.f_bavail,
                files: data.f_files,
                ffree: data.f_ffree,
                bsize: data.f_bsize as u32,
                namelen: data.f_namelen as u32,
                frsize: data.f_frsize as u32,
                ..Default::default()
            },
        })
    }
}

/// Adds a structure to the reply.
pub(crate) fn put<T: IntoBytes + Immutable>(reply: &mut Vec<u8>, out: &T) {
    reply.extend_from_slice(out.as_bytes());
}

/// Opens what is at `path`, one that [`Node::path`] gave.
pub(crate) fn reopen(path: &str, flags: OFlags) -> Result<OwnedFd> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
}

/// A handle for what has that name, without following it.
pub(crate) fn handle(dir: impl AsFd, name: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

fn opened(fh: u64, flags: u32) -> abi::OpenOut {
    abi::OpenOut {
        fh,
        open_flags: flags,
        ..Default::default()
    }
}

fn attr(stat: &Stat) -> abi::Attr {
    abi::Attr {
        ino: stat.st_ino,
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: stat.st_atime as u64,
        mtime: stat.st_mtime as u64,
        ctime: stat.st_ctime as u64,
        atimensec: stat.st_atime_nsec as u32,
        mtimensec: stat.st_mtime_nsec as u32,
        ctimensec: stat.st_ctime_nsec as u32,
        mode: stat.st_mode,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: stat.st_rdev as u32,
        blksize: stat.st_blksize as u32,
        flags: 0,
    }
}
