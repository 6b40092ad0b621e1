// SPDX-License-Identifier: GPL-2.0

//! A million files: nobody waits for all of them, and what they took comes back.

use pathfs::{
    fuser::{Errno, FileAttr, FileType, INodeNo},
    Config, Layer, PathFilesystem, Result, ROOT,
};
use std::{ffi::OsString, fs, path::Path, time::SystemTime};

const FILES: usize = 1_000_000;

/// How many KiB of memory this process has.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words.unwrap().parse().unwrap()
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
fn count(layer: &Layer<Everything>, steps: &mut [u64], mut operation: impl FnMut(usize)) {
    let work = || layer.with_table(|table| table.work());
    for (number, steps) in steps.iter_mut().enumerate() {
        let before = work();
        operation(number);
        *steps = 1 + work() - before;
    }
}

/// That none is above twenty times the median.
fn check(what: &str, steps: &mut [u64]) {
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
    let mut nodes = vec![u64::MAX; FILES];
    let mut steps = vec![u64::MAX; FILES];
    let start = resident();

    count(&layer, &mut steps, |number| {
        let name = OsString::from(format!("file-{number}"));
        nodes[number] = layer.lookup((ROOT, &name)).expect("lookup").0;
    });
    check("lookup", &mut steps);
    assert_eq!(layer.with_table(|table| table.nodes()), 1 + FILES);
    assert!(layer.with_table(|table| table.buckets()) >= 2 * FILES);
    let full = resident();
    assert!(full > start + FILES / 20, "nothing was counted");

    count(&layer, &mut steps, |number| layer.forget(nodes[number], 1));
    check("forget", &mut steps);
    assert_eq!(layer.with_table(|table| table.nodes()), 1);
    assert_eq!(layer.with_table(|table| table.buckets()), buckets);
    // What these two keep is not the layer's.
    let end = resident();
    let ours = 2 * FILES * size_of::<u64>() / 1024;
    let (start, end) = (start - ours, end - ours);
    println!("KiB: {start}, with a million files {full}, and without {end}");
    assert!(end <= start + start / 10, "{end} KiB, where {start} were");
}
