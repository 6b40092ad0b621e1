// SPDX-License-Identifier: GPL-2.0

//! The operations that are measured, each in a directory that holds the [`tree`].

use crate::{
    daemon::Daemon,
    measure::{cost, Batches, MIB},
    memory::drop_unused,
    sys::{getdents, Map, PAGE},
    tree,
};
use nix::{
    errno::Errno,
    fcntl::{posix_fadvise, PosixFadviseAdvice},
    sys::stat::stat,
    unistd::unlink,
};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

/// One operation.
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// Who serves it, where that is FUSE.
    pub daemon: Daemon,
    /// Measures it in a directory: instructions of one.
    pub run: fn(&Path) -> io::Result<u64>,
}

const fn row(name: &'static str, run: fn(&Path) -> io::Result<u64>) -> Row {
    let daemon = Daemon::ONE;
    Row { name, daemon, run }
}

const fn by_threads(threads: usize, mut row: Row) -> Row {
    row.daemon.threads = threads;
    row
}

const fn writing_back(mut row: Row) -> Row {
    row.daemon.writeback = true;
    row
}

/// All of them.
pub const ROWS: &[Row] = &[
    row("stat", stat_uncached),
    by_threads(10, row("stat-10-threads", stat_uncached)),
    by_threads(64, row("stat-64-threads", stat_uncached)),
    row("lookup-missing", lookup_missing),
    row("open-close", open_close),
    row("create-unlink", create_unlink),
    row("readdirplus-10000", readdirplus),
    row("readdirplus-10000-known", readdirplus_known),
    row("stat-cached", stat_cached),
    row("read-4k-cached", read_cached),
    row("read-4k-buffered", read_buffered::<PAGE>),
    row("read-4k-direct", read_direct::<PAGE>),
    row("read-4k-mmap", read_mapped::<PAGE>),
    row("read-1m-buffered", read_buffered::<MIB>),
    row("read-1m-direct", read_direct::<MIB>),
    row("read-1m-mmap", read_mapped::<MIB>),
    row("write-4k-buffered", write_buffered::<PAGE>),
    row("write-4k-direct", write_direct::<PAGE>),
    row("write-4k-mmap", write_mapped::<PAGE>),
    writing_back(row("write-4k-writeback", write_back::<PAGE>)),
    row("write-1m-buffered", write_buffered::<MIB>),
    row("write-1m-direct", write_direct::<MIB>),
    row("write-1m-mmap", write_mapped::<MIB>),
    writing_back(row("write-1m-writeback", write_back::<MIB>)),
];

/// Batches of something short.
const SHORT: Batches = Batches {
    count: 100,
    size: 50,
};

/// The cost of something short for which nothing needs to be prepared.
fn each(operation: impl Fn() -> io::Result<()>) -> io::Result<u64> {
    cost(SHORT, || Ok(()), |_| operation())
}

fn stat_uncached(dir: &Path) -> io::Result<u64> {
    let path = dir.join(tree::FILE);
    each(|| Ok(stat(&path).map(drop)?))
}

fn stat_cached(dir: &Path) -> io::Result<u64> {
    let path = dir.join(tree::CACHED);
    each(|| Ok(stat(&path).map(drop)?))
}

fn lookup_missing(dir: &Path) -> io::Result<u64> {
    let path = dir.join(tree::MISSING);
    each(|| match stat(&path) {
        Err(Errno::ENOENT) => Ok(()),
        other => Err(io::Error::other(format!("{other:?}"))),
    })
}

fn open_close(dir: &Path) -> io::Result<u64> {
    let path = dir.join(tree::CACHED);
    each(|| File::open(&path).map(drop))
}

fn create_unlink(dir: &Path) -> io::Result<u64> {
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
fn readdirplus(dir: &Path) -> io::Result<u64> {
    let many = dir.join(tree::MANY);
    let batches = Batches { count: 5, size: 1 };
    cost(batches, drop_unused, |_| list(&many))
}

/// Lists a directory with 10,000 files, all of which are in the cache.
fn readdirplus_known(dir: &Path) -> io::Result<u64> {
    let many = dir.join(tree::MANY);
    let batches = Batches { count: 5, size: 2 };
    cost(batches, || Ok(()), |_| list(&many))
}

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
fn read_cached(dir: &Path) -> io::Result<u64> {
    let (file, mut buffer) = (open(dir, tree::DATA)?, vec![0; PAGE]);
    cost(SHORT, || Ok(()), |_| file.read_exact_at(&mut buffer, 0))
}

fn read_buffered<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
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

fn read_direct<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
    let (file, mut buffer) = (open(dir, tree::DIRECT)?, vec![0; SIZE]);
    cost(
        data_batches::<SIZE>(),
        || Ok(()),
        |index| file.read_exact_at(&mut buffer, offset::<SIZE>(index) as u64),
    )
}

/// Touches pages of a mapping that are not in the page cache.
fn read_mapped<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
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
fn write_buffered<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
    let (file, buffer) = (open(dir, tree::DATA)?, vec![1; SIZE]);
    cost(
        data_batches::<SIZE>(),
        || Ok(()),
        |index| file.write_all_at(&buffer, offset::<SIZE>(index) as u64),
    )
}

fn write_direct<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
    let (file, buffer) = (open(dir, tree::DIRECT)?, vec![1; SIZE]);
    cost(
        data_batches::<SIZE>(),
        || Ok(()),
        |index| file.write_all_at(&buffer, offset::<SIZE>(index) as u64),
    )
}

/// Changes pages of a mapping, and has them written back.
fn write_mapped<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
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
fn write_back<const SIZE: usize>(dir: &Path) -> io::Result<u64> {
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
