// SPDX-License-Identifier: GPL-2.0

//! What the kernel keeps of files that were looked up, and of requests.

use crate::{
    sys::{getdents, Reads, PAGE},
    tree,
};
use nix::sys::statvfs::statvfs;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread::sleep,
    time::Duration,
};

/// What a file takes, and what is left of that when it is forgotten: bytes of slab.
pub struct PerInode {
    /// While it is in the cache.
    pub held: u64,
    /// When all were dropped from it, and the daemon has been told.
    pub kept: u64,
}

/// Looks [`tree::MILLION_FILES`] files up.
pub fn per_inode(dir: &Path) -> io::Result<PerInode> {
    drop_unused()?;
    let (files, before) = (statvfs(dir)?.files(), slab()?);
    let mut entries = vec![0; 32 << 10];
    let million = File::open(dir.join(tree::MILLION))?;
    while getdents(&million, &mut entries)? > 0 {}
    drop(million);
    let held = slab()? - before;
    let found = statvfs(dir)?.files() - files;
    if found < tree::MILLION_FILES {
        return Err(io::Error::other(format!("only {found} files were found")));
    }
    // The directory itself may stay.
    let mut tries = 100;
    while statvfs(dir)?.files() > files + 1 {
        if tries == 0 {
            let left = statvfs(dir)?.files() - files;
            return Err(io::Error::other(format!("{left} files are not forgotten")));
        }
        tries -= 1;
        drop_unused()?;
    }
    let kept = slab()?.saturating_sub(before);
    Ok(PerInode {
        held: held / tree::MILLION_FILES,
        kept: kept / tree::MILLION_FILES,
    })
}

/// How many requests there are at once.
pub const REQUESTS: u16 = 4096;

/// What a request takes, bytes of slab: a READ of a page that nobody waits for, from its making to its
/// reply.
pub fn per_request(dir: &Path) -> io::Result<u64> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(dir.join(tree::HELD))?;
    let mut reads = Reads::new(&file, REQUESTS.into())?;
    drop_unused()?;
    let before = slab()?;
    for index in 0..u64::from(REQUESTS) {
        reads.begin(index % (tree::DATA_SIZE / PAGE) as u64 * PAGE as u64)?;
    }
    let held = slab()?.saturating_sub(before);
    // Now the daemon answers them.
    statvfs(dir)?;
    reads.end_all()?;
    Ok(held / u64::from(REQUESTS))
}

/// Drops what is in caches and not in use, and gives daemons the time to hear of it.
pub fn drop_unused() -> io::Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "2")?;
    sleep(Duration::from_secs(1));
    Ok(())
}

/// All slab of the kernel, in bytes.
fn slab() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    text.lines()
        .find_map(|line| line.strip_prefix("Slab:")?.trim().strip_suffix(" kB"))
        .and_then(|kib| kib.parse::<u64>().ok())
        .map(|kib| kib << 10)
        .ok_or_else(|| io::Error::other("/proc/meminfo does not say how much slab there is"))
}
