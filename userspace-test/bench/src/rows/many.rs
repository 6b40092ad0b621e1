// SPDX-License-Identifier: GPL-2.0

//! Several operations at once.

use crate::{
    measure::{cost, Batches},
    sys::{Reads, PAGE},
    tree,
};
use nix::sys::stat::stat;
use rawfuse::in_threads;
use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path};

/// How many threads ask at once.
pub const CALLERS: usize = 8;

/// How often each of them does.
const TIMES: usize = 100;

/// `stat(2)` by [`CALLERS`] threads at once.
pub fn stat_by_many(dir: &Path) -> io::Result<u64> {
    let path = dir.join(tree::FILE);
    let ask = || (0..TIMES).try_for_each(|_| Ok(stat(&path).map(drop)?));
    let batches = Batches { count: 10, size: 1 };
    let all = cost(batches, || Ok(()), |_| in_threads(CALLERS, ask))?;
    // CAST: `usize` to `u64` on a 64-bit machine.
    Ok(all / (CALLERS * TIMES) as u64)
}

/// Reads of a page past the page cache, with that many under way at any time.
pub fn read_at_depth<const DEPTH: usize>(dir: &Path) -> io::Result<u64> {
    const COUNT: u64 = 512;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(dir.join(tree::DATA))?;
    let mut reads = Reads::new(&file, DEPTH as u32)?;
    let batches = Batches { count: 10, size: 1 };
    let pages = (tree::DATA_SIZE / PAGE) as u64;
    let all = cost(
        batches,
        || Ok(()),
        |_| {
            for index in 0..COUNT {
                // Here and there, and each page once.
                let page = index * 1021 % pages;
                while !reads.begin(page * PAGE as u64)? {
                    reads.end_some()?;
                }
            }
            reads.end_all()
        },
    )?;
    Ok(all / COUNT)
}
