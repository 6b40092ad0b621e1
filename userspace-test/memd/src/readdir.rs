// SPDX-License-Identifier: GPL-2.0

//! Reading directories.

use crate::Store;
use libc::{DT_DIR, DT_LNK, DT_REG, DT_UNKNOWN};
use rawfuse::{abi, DirEntries};
use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt};

/// The entries that a `READDIR` asks for. They are in the order of a number that is made of the
/// name, and where reading goes on is that number: names that come and go meanwhile change nothing
/// for others.
pub(crate) fn entries(store: &Store, dir: u64, arg: &abi::ReadIn) -> io::Result<DirEntries> {
    let mut names: Vec<_> = store
        .names(dir)?
        .into_iter()
        .map(|(name, nodeid)| (place(&name), name, nodeid))
        .collect();
    names.sort();
    let dots = [(1, ".".into(), dir), (2, "..".into(), abi::ROOT_ID)];
    let mut entries = DirEntries::new(arg.size as usize);
    for (off, name, nodeid) in dots.into_iter().chain(names) {
        if off > arg.offset && !entries.push(nodeid, off, kind(store, nodeid), &name) {
            break;
        }
    }
    Ok(entries)
}

fn kind(store: &Store, nodeid: u64) -> u8 {
    match store.metadata(nodeid).map(|data| data.file_type()) {
        Ok(kind) if kind.is_dir() => DT_DIR,
        Ok(kind) if kind.is_symlink() => DT_LNK,
        Ok(kind) if kind.is_file() => DT_REG,
        _ => DT_UNKNOWN,
    }
}

/// FNV-1a, less what would make it negative and what the dots have.
fn place(name: &OsStr) -> u64 {
    let hash = name
        .as_bytes()
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    (hash >> 1).max(3)
}
