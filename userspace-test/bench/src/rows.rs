// SPDX-License-Identifier: GPL-2.0

//! The operations that are measured, each in a directory that holds the [`tree`](crate::tree).

mod data;
mod many;
mod names;

use crate::{
    daemon::Daemon,
    measure::{cost, Batches, MIB},
    sys::PAGE,
};
use data::*;
use many::*;
use names::*;
use std::{io, path::Path};

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

const fn plain(mut row: Row) -> Row {
    row.daemon.plain = true;
    row
}

const fn splicing(mut row: Row) -> Row {
    row.daemon.splice = true;
    row
}

const fn cloned(mut row: Row) -> Row {
    row.daemon.cloned = true;
    row
}

/// What is measured in time, on as many processors as there are.
pub const TIMED: &[Row] = &[
    by_threads(CALLERS, row("stat-8-callers", stat_by_many)),
    cloned(by_threads(
        CALLERS,
        row("stat-8-callers-cloned", stat_by_many),
    )),
];

const LARGE: usize = 128 << 10;

/// All of them.
pub const ROWS: &[Row] = &[
    row("stat", stat_uncached),
    by_threads(10, row("stat-10-threads", stat_uncached)),
    by_threads(64, row("stat-64-threads", stat_uncached)),
    by_threads(CALLERS, row("stat-8-callers", stat_by_many)),
    cloned(by_threads(
        CALLERS,
        row("stat-8-callers-cloned", stat_by_many),
    )),
    row("lookup-missing", lookup_missing),
    by_threads(10, row("lookup-missing-10-threads", lookup_missing)),
    by_threads(64, row("lookup-missing-64-threads", lookup_missing)),
    row("open-close", open_close),
    row("create-unlink", create_unlink),
    by_threads(10, row("create-unlink-10-threads", create_unlink)),
    by_threads(64, row("create-unlink-64-threads", create_unlink)),
    plain(row("readdir-10000", list_known)),
    plain(by_threads(10, row("readdir-10000-10-threads", list_known))),
    plain(by_threads(64, row("readdir-10000-64-threads", list_known))),
    row("readdirplus-10000", list_forgotten),
    row("readdirplus-10000-known", list_known),
    row("stat-cached", stat_cached),
    row("read-4k-cached", read_cached),
    row("read-4k-buffered", read_buffered::<PAGE>),
    row("read-4k-direct", read_direct::<PAGE>),
    row("read-4k-mmap", read_mapped::<PAGE>),
    by_threads(4, row("read-4k-random-depth-1", read_at_depth::<1>)),
    by_threads(4, row("read-4k-random-depth-4", read_at_depth::<4>)),
    by_threads(4, row("read-4k-random-depth-32", read_at_depth::<32>)),
    row("read-128k-buffered", read_buffered::<LARGE>),
    row("read-128k-direct", read_direct::<LARGE>),
    row("read-128k-mmap", read_mapped::<LARGE>),
    splicing(row("read-128k-splice", read_buffered::<LARGE>)),
    row("read-1m-buffered", read_buffered::<MIB>),
    row("read-1m-direct", read_direct::<MIB>),
    row("read-1m-mmap", read_mapped::<MIB>),
    splicing(row("read-1m-splice", read_buffered::<MIB>)),
    row("write-4k-buffered", write_buffered::<PAGE>),
    row("write-4k-direct", write_direct::<PAGE>),
    row("write-4k-mmap", write_mapped::<PAGE>),
    writing_back(row("write-4k-writeback", write_back::<PAGE>)),
    row("write-128k-buffered", write_buffered::<LARGE>),
    row("write-128k-direct", write_direct::<LARGE>),
    row("write-128k-mmap", write_mapped::<LARGE>),
    writing_back(row("write-128k-writeback", write_back::<LARGE>)),
    splicing(row("write-128k-splice", write_buffered::<LARGE>)),
    row("write-1m-buffered", write_buffered::<MIB>),
    row("write-1m-direct", write_direct::<MIB>),
    row("write-1m-mmap", write_mapped::<MIB>),
    writing_back(row("write-1m-writeback", write_back::<MIB>)),
    splicing(row("write-1m-splice", write_buffered::<MIB>)),
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
