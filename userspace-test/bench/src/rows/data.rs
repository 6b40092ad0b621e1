// SPDX-License-Identifier: GPL-2.0

//! Reading and writing, one at a time.

use super::SHORT;
use crate::{
    measure::{cost, Batches},
    sys::{Map, PAGE},
    tree,
};
use nix::fcntl::{posix_fadvise, PosixFadviseAdvice};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

fn open(dir: &Path, name: &str) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(dir.join(name))
}

/// The pages of `file` go out of the cache.
fn forget_pages(file: &File) -> io::Result<()> {
    let everything = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
    Ok(posix_fadvise(file, 0, 0, everything)?)
}

/// Each operation of a batch has a part of the file to itself. Short ones are apart from each other,
/// so that there is nothing to read ahead.
fn data_batches<const SIZE: usize>() -> Batches {
    match SIZE {
        PAGE => SHORT,
        _ => Batches {
            count: 10,
            size: tree::DATA_SIZE / SIZE,
        },
    }
}

fn offset<const SIZE: usize>(index: usize) -> usize {
    match SIZE {
        PAGE => (index * 64 + 7) * PAGE,
        _ => index * SIZE,
    }
}

/// `pread(2)` of one page that is in the page cache.
pub fn read_cached(dir: &Path) -> io::Result<u64> {
    let (file, mut buffer) = (open(dir, tree::DATA)?, vec![0; PAGE]);
    cost(SHORT, || Ok(()), |_| file.read_exact_at(&mut buffer, 0))
}

pub fn read_buffered<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
    let (file, mut buffer) = (open(dir, tree::DATA)?, vec![0; SIZE]);
    if SIZE == PAGE {
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM)?;
    }
    cost(
        data_batches::<SIZE>(),
        || forget_pages(&file),
        |index| file.read_exact_at(&mut buffer, offset::<SIZE>(index) as u64),
    )
}

pub fn read_direct<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
    let (file, mut buffer) = (open(dir, tree::DIRECT)?, vec![0; SIZE]);
    cost(
        data_batches::<SIZE>(),
        || Ok(()),
        |index| file.read_exact_at(&mut buffer, offset::<SIZE>(index) as u64),
    )
}

/// Touches pages of a mapping that are not in the page cache.
pub fn read_mapped<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
    let file = open(dir, tree::DATA)?;
    let map = Map::new(&file, tree::DATA_SIZE)?;
    if SIZE == PAGE {
        map.advise(libc::MADV_RANDOM)?;
    }
    cost(
        data_batches::<SIZE>(),
        || {
            map.advise(libc::MADV_DONTNEED)?;
            forget_pages(&file)
        },
        |index| {
            map.read(offset::<SIZE>(index), SIZE);
            Ok(())
        },
    )
}

/// Writes into pages that are in the page cache, and from there to the daemon.
pub fn write_buffered<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
    let (file, buffer) = (open(dir, tree::DATA)?, vec![1; SIZE]);
    cost(
        data_batches::<SIZE>(),
        || Ok(()),
        |index| file.write_all_at(&buffer, offset::<SIZE>(index) as u64),
    )
}

pub fn write_direct<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
    let (file, buffer) = (open(dir, tree::DIRECT)?, vec![1; SIZE]);
    cost(
        data_batches::<SIZE>(),
        || Ok(()),
        |index| file.write_all_at(&buffer, offset::<SIZE>(index) as u64),
    )
}

/// Changes pages of a mapping, and has them written back.
pub fn write_mapped<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
    let file = open(dir, tree::DATA)?;
    let map = Map::new(&file, tree::DATA_SIZE)?;
    cost(
        data_batches::<SIZE>(),
        || Ok(()),
        |index| {
            map.write(offset::<SIZE>(index), SIZE);
            map.sync(offset::<SIZE>(index), SIZE)
        },
    )
}

/// Writes into pages that are in the page cache; those of a batch are written back at the end of it.
pub fn write_back<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
    let (file, buffer) = (open(dir, tree::DATA)?, vec![1; SIZE]);
    let batches = data_batches::<SIZE>();
    cost(
        batches,
        || Ok(()),
        |index| {
            file.write_all_at(&buffer, offset::<SIZE>(index) as u64)?;
            match index + 1 == batches.size {
                true => file.sync_data(),
                false => Ok(()),
            }
        },
    )
}
