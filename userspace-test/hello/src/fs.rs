// SPDX-License-Identifier: GPL-2.0

//! What is in the file system, and the answer to each request about it.

use libc::{DT_DIR, DT_REG, O_ACCMODE, S_IFDIR, S_IFREG};
use rawfuse::{
    abi::{self, open_flags},
    DirEntries, Errno, Operation, Request,
};
use std::ffi::OsStr;

const ROOT: u64 = abi::ROOT_ID;
const FILE: u64 = 2;

/// For how long the kernel may use names and attributes, in seconds.
const VALID: u64 = 1;

/// A directory with one file in it.
pub struct Hello {
    name: String,
    contents: Vec<u8>,
}

impl Hello {
    /// The file's name, and what is in it.
    pub fn new(name: String, contents: Vec<u8>) -> Self {
        Self { name, contents }
    }

    /// The bytes that answer `request`, or the error that does.
    ///
    /// References need no counting here: both inodes are there for good.
    pub fn answer(&self, request: &Request<'_>) -> Result<Vec<u8>, Errno> {
        let nodeid = request.nodeid();
        match request.operation().map_err(|_| Errno::EIO)? {
            Operation::Lookup { name } => self.lookup(nodeid, name),
            Operation::Getattr(_) => {
                let out = abi::AttrOut {
                    attr_valid: VALID,
                    attr: self.attr(nodeid)?,
                    ..Default::default()
                };
                Ok(bytes(&out))
            }
            Operation::Opendir(_) => Ok(bytes(&abi::OpenOut::default())),
            Operation::Readdir(arg) => Ok(self.readdir(arg)),
            Operation::Open(arg) => {
                if arg.flags & O_ACCMODE as u32 != libc::O_RDONLY as u32 {
                    return Err(Errno::EACCES);
                }
                let out = abi::OpenOut {
                    open_flags: open_flags::KEEP_CACHE,
                    ..Default::default()
                };
                Ok(bytes(&out))
            }
            Operation::Read(arg) => {
                let start = usize::try_from(arg.offset).unwrap_or(usize::MAX);
                let rest = self.contents.get(start..).unwrap_or_default();
                Ok(rest[..rest.len().min(arg.size as usize)].to_vec())
            }
            Operation::Statfs => {
                let out = abi::StatfsOut {
                    st: abi::Kstatfs {
                        namelen: 255,
                        bsize: 512,
                        ..Default::default()
                    },
                };
                Ok(bytes(&out))
            }
            Operation::Release(_)
            | Operation::Releasedir(_)
            | Operation::Forget(_)
            | Operation::BatchForget(_)
            | Operation::Destroy => Ok(Vec::new()),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn lookup(&self, parent: u64, name: &OsStr) -> Result<Vec<u8>, Errno> {
        if parent != ROOT || name != self.name.as_str() {
            return Err(Errno::ENOENT);
        }
        let out = abi::EntryOut {
            nodeid: FILE,
            entry_valid: VALID,
            attr_valid: VALID,
            attr: self.attr(FILE)?,
            ..Default::default()
        };
        Ok(bytes(&out))
    }

    fn attr(&self, nodeid: u64) -> Result<abi::Attr, Errno> {
        let attr = abi::Attr {
            ino: nodeid,
            ..Default::default()
        };
        match nodeid {
            ROOT => Ok(abi::Attr {
                mode: S_IFDIR | 0o755,
                nlink: 2,
                ..attr
            }),
            FILE => Ok(abi::Attr {
                mode: S_IFREG | 0o444,
                nlink: 1,
                size: self.contents.len() as u64,
                ..attr
            }),
            _ => Err(Errno::ENOENT),
        }
    }

    fn readdir(&self, arg: &abi::ReadIn) -> Vec<u8> {
        let all = [
            (ROOT, DT_DIR, "."),
            (ROOT, DT_DIR, ".."),
            (FILE, DT_REG, self.name.as_str()),
        ];
        let mut entries = DirEntries::new(arg.size as usize);
        for (off, (ino, kind, name)) in (1..).zip(all) {
            if off > arg.offset && !entries.push(ino, off, kind, name.as_ref()) {
                break;
            }
        }
        entries.bytes().to_vec()
    }
}

fn bytes<T: zerocopy::IntoBytes + zerocopy::Immutable>(out: &T) -> Vec<u8> {
    out.as_bytes().to_vec()
}
