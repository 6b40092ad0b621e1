// SPDX-License-Identifier: GPL-2.0

//! Names and attributes.

use super::each;
use crate::{
    measure::{cost, Batches},
    memory::drop_unused,
    sys::getdents,
    tree,
};
use nix::{errno::Errno, sys::stat::stat, unistd::unlink};
use std::{fs::File, io, path::Path};

pub fn stat_uncached(dir: &Path) -> io::Result<u64> {
    let path = dir.join(tree::FILE);
    each(|| Ok(stat(&path).map(drop)?))
}

pub fn stat_cached(dir: &Path) -> io::Result<u64> {
    let path = dir.join(tree::CACHED);
    each(|| Ok(stat(&path).map(drop)?))
}

pub fn lookup_missing(dir: &Path) -> io::Result<u64> {
    let path = dir.join(tree::MISSING);
    each(|| match stat(&path) {
        Err(Errno::ENOENT) => Ok(()),
        other => Err(io::Error::other(format!("{other:?}"))),
    })
}

pub fn open_close(dir: &Path) -> io::Result<u64> {
    let path = dir.join(tree::CACHED);
    each(|| File::open(&path).map(drop))
}

pub fn create_unlink(dir: &Path) -> io::Result<u64> {
    let path = dir.join(tree::NEW);
    each(|| {
        File::create_new(&path)?;
        Ok(unlink(&path)?)
    })
}

/// Reads a directory from its start to its end.
fn list(dir: &Path) -> io::Result<()> {
    let dir = File::open(dir)?;
    let mut entries = vec![0; 32 << 10];
    while getdents(&dir, &mut entries)? > 0 {}
    Ok(())
}

/// Lists a directory with 10,000 files, nothing of which is in the cache.
pub fn list_forgotten(dir: &Path) -> io::Result<u64> {
    let many = dir.join(tree::MANY);
    let batches = Batches { count: 5, size: 1 };
    cost(batches, drop_unused, |_| list(&many))
}

/// Lists a directory with 10,000 files, all of which are in the cache.
pub fn list_known(dir: &Path) -> io::Result<u64> {
    let many = dir.join(tree::MANY);
    let batches = Batches { count: 5, size: 2 };
    cost(batches, || Ok(()), |_| list(&many))
}
