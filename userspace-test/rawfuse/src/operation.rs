// SPDX-License-Identifier: GPL-2.0

//! What a request asks for, with its arguments.

use crate::{abi, abi::Opcode, Malformed, Request};
use std::ffi::OsStr;

/// A request's arguments, as protocol 7.46 lays them out.
///
/// Structures are where they were read to; names are without their zero byte. A daemon that
/// settles for a minor version below 12 reads shorter structures in places, and has to take
/// [`Request::args`] apart itself.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub enum Operation<'a> {
    Init(&'a abi::InitIn),
    Destroy,
    Lookup {
        name: &'a OsStr,
    },
    Forget(&'a abi::ForgetIn),
    BatchForget(&'a [abi::ForgetOne]),
    Getattr(&'a abi::GetattrIn),
    Setattr(&'a abi::SetattrIn),
    Statx(&'a abi::StatxIn),
    Access(&'a abi::AccessIn),
    Readlink,
    Statfs,
    Symlink {
        name: &'a OsStr,
        target: &'a OsStr,
    },
    Mknod {
        arg: &'a abi::MknodIn,
        name: &'a OsStr,
    },
    Mkdir {
        arg: &'a abi::MkdirIn,
        name: &'a OsStr,
    },
    Create {
        arg: &'a abi::CreateIn,
        name: &'a OsStr,
    },
    Tmpfile {
        arg: &'a abi::CreateIn,
        name: &'a OsStr,
    },
    Unlink {
        name: &'a OsStr,
    },
    Rmdir {
        name: &'a OsStr,
    },
    Link {
        arg: &'a abi::LinkIn,
        name: &'a OsStr,
    },
    Rename {
        arg: &'a abi::RenameIn,
        name: &'a OsStr,
        newname: &'a OsStr,
    },
    Rename2 {
        arg: &'a abi::Rename2In,
        name: &'a OsStr,
        newname: &'a OsStr,
    },
    Open(&'a abi::OpenIn),
    Opendir(&'a abi::OpenIn),
    Read(&'a abi::ReadIn),
    Readdir(&'a abi::ReadIn),
    Readdirplus(&'a abi::ReadIn),
    Write {
        arg: &'a abi::WriteIn,
        data: &'a [u8],
    },
    Flush(&'a abi::FlushIn),
    Release(&'a abi::ReleaseIn),
    Releasedir(&'a abi::ReleaseIn),
    Fsync(&'a abi::FsyncIn),
    Fsyncdir(&'a abi::FsyncIn),
    Syncfs(&'a abi::SyncfsIn),
    /// The long form of the argument is there with `SETXATTR_EXT` only, and then its last 8
    /// bytes are at the start of `rest`.
    Setxattr {
        size: u32,
        flags: u32,
        rest: &'a [u8],
    },
    Getxattr {
        arg: &'a abi::GetxattrIn,
        name: &'a OsStr,
    },
    Listxattr(&'a abi::GetxattrIn),
    Removexattr {
        name: &'a OsStr,
    },
    Getlk(&'a abi::LkIn),
    Setlk(&'a abi::LkIn),
    Setlkw(&'a abi::LkIn),
    Bmap(&'a abi::BmapIn),
    Ioctl {
        arg: &'a abi::IoctlIn,
        data: &'a [u8],
    },
    Poll(&'a abi::PollIn),
    Fallocate(&'a abi::FallocateIn),
    Lseek(&'a abi::LseekIn),
    CopyFileRange(&'a abi::CopyFileRangeIn),
    CopyFileRange64(&'a abi::CopyFileRangeIn),
    Interrupt(&'a abi::InterruptIn),
    NotifyReply {
        arg: &'a abi::NotifyRetrieveIn,
        data: &'a [u8],
    },
    /// One that this crate does not take apart: DAX, CUSE, and those newer than it.
    Other {
        opcode: u32,
        body: &'a [u8],
    },
}

impl<'a> Operation<'a> {
    pub(crate) fn parse(request: &Request<'a>) -> Result<Self, Malformed> {
        let mut args = request.args();
        let other = Operation::Other {
            opcode: request.header().opcode,
            body: request.body(),
        };
        let Some(opcode) = request.opcode() else {
            return Ok(other);
        };
        let operation = match opcode {
            Opcode::Init => Operation::Init(args.structure()?),
            Opcode::Destroy => Operation::Destroy,
            Opcode::Lookup => Operation::Lookup { name: args.name()? },
            Opcode::Forget => Operation::Forget(args.structure()?),
            Opcode::BatchForget => {
                let head: &abi::BatchForgetIn = args.structure()?;
                Operation::BatchForget(args.structures(head.count as usize)?)
            }
            Opcode::Getattr => Operation::Getattr(args.structure()?),
            Opcode::Setattr => Operation::Setattr(args.structure()?),
            Opcode::Statx => Operation::Statx(args.structure()?),
            Opcode::Access => Operation::Access(args.structure()?),
            Opcode::Readlink => Operation::Readlink,
            Opcode::Statfs => Operation::Statfs,
            Opcode::Symlink => Operation::Symlink {
                name: args.name()?,
                target: args.name()?,
            },
            Opcode::Mknod => Operation::Mknod {
                arg: args.structure()?,
                name: args.name()?,
            },
            Opcode::Mkdir => Operation::Mkdir {
                arg: args.structure()?,
                name: args.name()?,
            },
            Opcode::Create => Operation::Create {
                arg: args.structure()?,
                name: args.name()?,
            },
            Opcode::Tmpfile => Operation::Tmpfile {
                arg: args.structure()?,
                name: args.name()?,
            },
            Opcode::Unlink => Operation::Unlink { name: args.name()? },
            Opcode::Rmdir => Operation::Rmdir { name: args.name()? },
            Opcode::Link => Operation::Link {
                arg: args.structure()?,
                name: args.name()?,
            },
            Opcode::Rename => Operation::Rename {
                arg: args.structure()?,
                name: args.name()?,
                newname: args.name()?,
            },
            Opcode::Rename2 => Operation::Rename2 {
                arg: args.structure()?,
                name: args.name()?,
                newname: args.name()?,
            },
            Opcode::Open => Operation::Open(args.structure()?),
            Opcode::Opendir => Operation::Opendir(args.structure()?),
            Opcode::Read => Operation::Read(args.structure()?),
            Opcode::Readdir => Operation::Readdir(args.structure()?),
            Opcode::Readdirplus => Operation::Readdirplus(args.structure()?),
            Opcode::Write => {
                let arg: &abi::WriteIn = args.structure()?;
                Operation::Write {
                    arg,
                    data: args.data(arg.size as usize)?,
                }
            }
            Opcode::Flush => Operation::Flush(args.structure()?),
            Opcode::Release => Operation::Release(args.structure()?),
            Opcode::Releasedir => Operation::Releasedir(args.structure()?),
            Opcode::Fsync => Operation::Fsync(args.structure()?),
            Opcode::Fsyncdir => Operation::Fsyncdir(args.structure()?),
            Opcode::Syncfs => Operation::Syncfs(args.structure()?),
            Opcode::Setxattr => {
                // Both forms start with these two.
                let head: &[u32; 2] = args.structure()?;
                return Ok(Operation::Setxattr {
                    size: head[0],
                    flags: head[1],
                    rest: &request.body()[size_of::<[u32; 2]>()..],
                });
            }
            Opcode::Getxattr => Operation::Getxattr {
                arg: args.structure()?,
                name: args.name()?,
            },
            Opcode::Listxattr => Operation::Listxattr(args.structure()?),
            Opcode::Removexattr => Operation::Removexattr { name: args.name()? },
            Opcode::Getlk => Operation::Getlk(args.structure()?),
            Opcode::Setlk => Operation::Setlk(args.structure()?),
            Opcode::Setlkw => Operation::Setlkw(args.structure()?),
            Opcode::Bmap => Operation::Bmap(args.structure()?),
            Opcode::Ioctl => {
                let arg: &abi::IoctlIn = args.structure()?;
                Operation::Ioctl {
                    arg,
                    data: args.data(arg.in_size as usize)?,
                }
            }
            Opcode::Poll => Operation::Poll(args.structure()?),
            Opcode::Fallocate => Operation::Fallocate(args.structure()?),
            Opcode::Lseek => Operation::Lseek(args.structure()?),
            Opcode::CopyFileRange => Operation::CopyFileRange(args.structure()?),
            Opcode::CopyFileRange64 => Operation::CopyFileRange64(args.structure()?),
            Opcode::Interrupt => Operation::Interrupt(args.structure()?),
            Opcode::NotifyReply => {
                let arg: &abi::NotifyRetrieveIn = args.structure()?;
                Operation::NotifyReply {
                    arg,
                    data: args.data(arg.size as usize)?,
                }
            }
            Opcode::Setupmapping | Opcode::Removemapping | Opcode::CuseInit => return Ok(other),
        };
        args.end()?;
        Ok(operation)
    }
}
