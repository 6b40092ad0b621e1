// SPDX-License-Identifier: GPL-2.0

//! The honest answer to each kind of request: what the files of `faultd` say, and what they have no
//! opinion on.

use crate::{
    input::{Init, Setup},
    pieces,
};
use faultd::Tree;
use nix::poll::PollFlags;
use rawfuse::{
    abi::{self, init_flags},
    Errno, Operation, Request,
};
use std::os::unix::ffi::OsStrExt;
use zerocopy::{Immutable, IntoBytes};

/// An honest file system.
pub struct Honest {
    tree: Tree,
    init: Init,
    open: u32,
}

type Answer = Result<Vec<u8>, Errno>;

fn bytes<T: IntoBytes + Immutable>(out: &T) -> Answer {
    Ok(out.as_bytes().to_vec())
}

impl Honest {
    /// One with these files.
    pub fn new(tree: Tree, setup: &Setup) -> Self {
        Self {
            tree,
            init: setup.init.clone(),
            open: setup.open,
        }
    }

    /// What belongs into the answer.
    ///
    /// # Errors
    ///
    /// What belongs into it, too.
    pub fn answer(&mut self, request: &Request<'_>) -> Answer {
        match request.operation().map_err(|_| Errno::EIO)? {
            Operation::Init(_) => bytes(&self.init()),
            Operation::Open(_) | Operation::Opendir(_) => bytes(&self.open_out()),
            Operation::Create { .. } | Operation::Tmpfile { .. } => {
                let mut out = self.tree.answer(request)?;
                out.truncate(size_of::<abi::EntryOut>());
                out.extend(self.open_out().as_bytes());
                Ok(out)
            }
            Operation::Access(_)
            | Operation::Fallocate(_)
            | Operation::Syncfs(_)
            | Operation::Setxattr { .. }
            | Operation::Removexattr { .. }
            | Operation::Setlk(_)
            | Operation::Setlkw(_) => Ok(Vec::new()),
            Operation::Lseek(arg) => bytes(&abi::LseekOut { offset: arg.offset }),
            Operation::Getxattr { arg, name } => match pieces::is_acl(name.as_bytes()) {
                true => sized(arg.size, &pieces::acl()),
                false => sized(arg.size, b"value"),
            },
            Operation::Listxattr(arg) => sized(arg.size, b"user.name\0user.other\0"),
            Operation::Getlk(arg) => bytes(&abi::LkOut {
                lk: abi::FileLock {
                    r#type: libc::F_UNLCK as u32,
                    ..arg.lk
                },
            }),
            Operation::Ioctl { arg, .. } => {
                let head = abi::IoctlOut::default();
                let data = vec![1; (arg.out_size as usize).min(4096)];
                Ok([head.as_bytes(), &data].concat())
            }
            Operation::Poll(_) => bytes(&abi::PollOut {
                revents: PollFlags::POLLIN.bits() as u32,
                padding: 0,
            }),
            Operation::CopyFileRange64(arg) => bytes(&abi::CopyFileRangeOut {
                bytes_copied: arg.len,
            }),
            Operation::CopyFileRange(arg) => bytes(&abi::WriteOut {
                size: arg.len as u32,
                padding: 0,
            }),
            Operation::Bmap(arg) => bytes(&abi::BmapOut { block: arg.block }),
            Operation::Statx(_) => self.statx(request.nodeid()),
            _ => self.tree.answer(request),
        }
    }

    fn statx(&self, nodeid: u64) -> Answer {
        let attr = self.tree.attr_out(nodeid)?.attr;
        bytes(&abi::StatxOut {
            stat: abi::Statx {
                mask: libc::STATX_BASIC_STATS | libc::STATX_BTIME,
                mode: attr.mode as u16,
                nlink: attr.nlink,
                ino: attr.ino,
                size: attr.size,
                ..Default::default()
            },
            ..Default::default()
        })
    }

    fn open_out(&self) -> abi::OpenOut {
        abi::OpenOut {
            fh: 1,
            open_flags: self.open,
            ..Default::default()
        }
    }

    fn init(&self) -> abi::InitOut {
        let init = &self.init;
        // The upper half counts only with INIT_EXT.
        let flags = match init.flags.0 >> 32 {
            0 => init.flags.0,
            _ => init.flags.0 | init_flags::INIT_EXT,
        };
        abi::InitOut {
            major: abi::KERNEL_VERSION,
            minor: init.minor,
            max_readahead: init.max_readahead,
            flags: flags as u32,
            flags2: (flags >> 32) as u32,
            max_background: init.max_background,
            congestion_threshold: init.congestion_threshold,
            max_write: init.max_write,
            time_gran: init.time_gran,
            max_pages: init.max_pages,
            map_alignment: init.map_alignment,
            max_stack_depth: init.max_stack_depth,
            request_timeout: init.request_timeout,
            ..Default::default()
        }
    }
}

/// A value, or how long it is when nobody has room for it.
fn sized(room: u32, value: &[u8]) -> Answer {
    match room as usize {
        0 => bytes(&abi::GetxattrOut {
            size: value.len() as u32,
            padding: 0,
        }),
        room if room < value.len() => Err(Errno::ERANGE),
        _ => Ok(value.to_vec()),
    }
}
