// SPDX-License-Identifier: GPL-2.0

//! A million files: nobody waits for all of them, and what they took comes back.

use pathfs::{
    fuser::{Errno, FileAttr, FileType, INodeNo},
    Config, Layer, PathFilesystem, Result, ROOT,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    ffi::OsString,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::SystemTime,
};

const FILES: usize = 1_000_000;

/// Counts the bytes that are allocated.
struct Counting(AtomicUsize);

#[global_allocator]
static ALLOCATOR: Counting = Counting(AtomicUsize::new(0));

#[allow(unsafe_code)]
// SAFETY: It is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(layout.size(), Relaxed);
        // SAFETY: The caller says so.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.0.fetch_sub(layout.size(), Relaxed);
        // SAFETY: The caller says so.
        unsafe { System.dealloc(memory, layout) }
    }
}

fn allocated() -> usize {
    ALLOCATOR.0.load(Relaxed)
}

/// Every name is that of an empty file.
struct Everything;

impl PathFilesystem for Everything {
    fn getattr(&self, path: &Path) -> Result<FileAttr> {
        let never = SystemTime::UNIX_EPOCH;
        path.file_name().ok_or(Errno::ENOENT)?;
        Ok(FileAttr {
            ino: INodeNo(0),
            size: 0,
            blocks: 0,
            atime: never,
            mtime: never,
            ctime: never,
            crtime: never,
            kind: FileType::RegularFile,
            perm: 0o644,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

/// How much each operation has to look at: itself, and what it rehashes for others. It is counted
/// in a guest in instructions, by `path-cost`.
fn steps(layer: &Layer<Everything>, mut operation: impl FnMut(usize)) -> Vec<u64> {
    let work = || layer.with_table(|table| table.work());
    let mut steps = Vec::with_capacity(FILES);
    for number in 0..FILES {
        let before = work();
        operation(number);
        steps.push(1 + work() - before);
    }
    steps
}

/// That none is above twenty times the median.
fn check(what: &str, mut steps: Vec<u64>) {
    steps.sort_unstable();
    let (median, most) = (steps[FILES / 2], steps[FILES - 1]);
    println!("{what}: median {median}, most {most}");
    assert!(
        most <= 20 * median,
        "{what}: {most} where {median} is usual"
    );
}

#[test]
fn a_million_files() {
    let layer = Layer::new(Everything, Config::default());
    let buckets = layer.with_table(|table| table.buckets());
    let start = allocated();
    let mut nodes = vec![0; FILES];

    let seen = steps(&layer, |number| {
        let name = OsString::from(format!("file-{number}"));
        nodes[number] = layer.lookup((ROOT, &name)).expect("lookup").0;
    });
    check("lookup", seen);
    assert_eq!(layer.with_table(|table| table.nodes()), 1 + FILES);
    assert!(layer.with_table(|table| table.buckets()) >= 2 * FILES);
    let full = allocated();
    assert!(full > start + 50 * FILES, "nothing was counted");

    check(
        "forget",
        steps(&layer, |number| layer.forget(nodes[number], 1)),
    );
    drop(nodes);
    // What is left of it goes while others come and go, a few pieces of memory each time.
    for number in 0..2000 {
        let name = OsString::from(format!("file-{number}"));
        let (id, _) = layer.lookup((ROOT, &name)).expect("lookup");
        layer.forget(id, 1);
    }
    assert_eq!(layer.with_table(|table| table.nodes()), 1);
    assert_eq!(layer.with_table(|table| table.buckets()), buckets);
    let end = allocated();
    println!("bytes: {start}, with a million files {full}, and without {end}");
    assert!(end <= start + start / 10, "{end} bytes, where {start} were");
}
