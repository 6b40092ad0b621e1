// SPDX-License-Identifier: GPL-2.0

//! For file systems that show another one.

use fuser::{FileAttr, FileType, INodeNo};
use std::{
    fs::Metadata,
    os::unix::fs::{FileTypeExt, MetadataExt},
    time::{Duration, SystemTime},
};

/// What a file of this machine's is.
pub fn file_type(kind: std::fs::FileType) -> FileType {
    match () {
        () if kind.is_dir() => FileType::Directory,
        () if kind.is_symlink() => FileType::Symlink,
        () if kind.is_fifo() => FileType::NamedPipe,
        () if kind.is_socket() => FileType::Socket,
        () if kind.is_char_device() => FileType::CharDevice,
        () if kind.is_block_device() => FileType::BlockDevice,
        () => FileType::RegularFile,
    }
}

fn time(seconds: i64, nanoseconds: i64) -> SystemTime {
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let epoch = SystemTime::UNIX_EPOCH;
    let whole = match seconds < 0 {
        true => epoch.checked_sub(whole),
        false => epoch.checked_add(whole),
    };
    let part = Duration::from_nanos(nanoseconds.unsigned_abs());
    whole
        .and_then(|time| time.checked_add(part))
        .unwrap_or(epoch)
}

/// The attributes of a file of this machine's.
pub fn file_attr(data: &Metadata) -> FileAttr {
    let ctime = time(data.ctime(), data.ctime_nsec());
    FileAttr {
        ino: INodeNo(data.ino()),
        size: data.size(),
        blocks: data.blocks(),
        atime: time(data.atime(), data.atime_nsec()),
        mtime: time(data.mtime(), data.mtime_nsec()),
        ctime,
        crtime: ctime,
        kind: file_type(data.file_type()),
        perm: (data.mode() & 0o7777) as u16,
        nlink: u32::try_from(data.nlink()).unwrap_or(u32::MAX),
        uid: data.uid(),
        gid: data.gid(),
        // Device numbers have 12 and 20 bits on the wire, as in the kernel.
        rdev: data.rdev() as u32,
        blksize: u32::try_from(data.blksize()).unwrap_or(4096),
        flags: 0,
    }
}
