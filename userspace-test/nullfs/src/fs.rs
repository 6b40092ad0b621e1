// SPDX-License-Identifier: GPL-2.0

//! The answer to each request.

use libc::{S_IFDIR, S_IFREG};
use rawfuse::{abi, Errno, Operation, Request};
use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
use zerocopy::{Immutable, IntoBytes};

/// How large a file is.
const SIZE: u64 = 1 << 40;

/// The most that is read at a time.
static ZEROES: [u8; 1 << 20] = [0; 1 << 20];

/// Set in the node IDs of directories.
const DIR: u64 = 1;

/// What is to be sent.
pub enum Answer {
    Made(Vec<u8>),
    Zeroes(usize),
}

impl Answer {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Answer::Made(bytes) => bytes,
            Answer::Zeroes(size) => &ZEROES[..ZEROES.len().min(*size)],
        }
    }
}

fn made<T: IntoBytes + Immutable>(out: &T) -> Result<Answer, Errno> {
    Ok(Answer::Made(out.as_bytes().to_vec()))
}

fn nothing() -> Result<Answer, Errno> {
    Ok(Answer::Made(Vec::new()))
}

/// The answer to `request`; names and attributes are valid for so many seconds.
pub fn answer(request: &Request<'_>, valid: u64) -> Result<Answer, Errno> {
    let nodeid = request.nodeid();
    let entry = |name, is_dir| entry(node(nodeid, name, is_dir), valid);
    match request.operation().map_err(|_| Errno::EIO)? {
        Operation::Lookup { name } => match name.as_bytes().first() {
            Some(b'n') => Err(Errno::ENOENT),
            first => made(&entry(name, first == Some(&b'd'))),
        },
        Operation::Getattr(_) | Operation::Setattr(_) => made(&abi::AttrOut {
            attr_valid: valid,
            attr: attr(nodeid),
            ..Default::default()
        }),
        Operation::Mkdir { name, .. } => made(&entry(name, true)),
        Operation::Mknod { name, .. } => made(&entry(name, false)),
        Operation::Create { name, .. } => {
            let open = abi::OpenOut::default();
            let bytes = [entry(name, false).as_bytes(), open.as_bytes()].concat();
            Ok(Answer::Made(bytes))
        }
        Operation::Open(_) | Operation::Opendir(_) => made(&abi::OpenOut::default()),
        Operation::Read(arg) => Ok(Answer::Zeroes(arg.size as usize)),
        Operation::Write { arg, .. } => made(&abi::WriteOut {
            size: arg.size,
            ..Default::default()
        }),
        Operation::Statfs => made(&abi::StatfsOut {
            st: abi::Kstatfs {
                namelen: 255,
                bsize: 4096,
                ..Default::default()
            },
        }),
        Operation::Unlink { .. }
        | Operation::Rmdir { .. }
        | Operation::Rename { .. }
        | Operation::Rename2 { .. }
        | Operation::Readdir(_)
        | Operation::Flush(_)
        | Operation::Release(_)
        | Operation::Releasedir(_)
        | Operation::Fsync(_)
        | Operation::Fsyncdir(_)
        | Operation::Access(_)
        | Operation::Forget(_)
        | Operation::BatchForget(_)
        | Operation::Destroy => nothing(),
        _ => Err(Errno::ENOSYS),
    }
}

/// The node ID of a name: FNV-1a, with what it is in its last bit. Nothing has to be remembered.
fn node(dir: u64, name: &OsStr, is_dir: bool) -> u64 {
    let bytes = dir
        .to_le_bytes()
        .into_iter()
        .chain(name.as_bytes().iter().copied());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    // Less what the root has.
    (hash & !DIR).max(4) | u64::from(is_dir)
}

fn entry(nodeid: u64, valid: u64) -> abi::EntryOut {
    abi::EntryOut {
        nodeid,
        entry_valid: valid,
        attr_valid: valid,
        attr: attr(nodeid),
        ..Default::default()
    }
}

fn attr(nodeid: u64) -> abi::Attr {
    let is_dir = nodeid & DIR != 0;
    abi::Attr {
        ino: nodeid,
        size: if is_dir { 0 } else { SIZE },
        mode: if is_dir {
            S_IFDIR | 0o755
        } else {
            S_IFREG | 0o644
        },
        nlink: if is_dir { 2 } else { 1 },
        blksize: 4096,
        ..Default::default()
    }
}
