// SPDX-License-Identifier: GPL-2.0

//! Attributes, as stat(2) and statx(2) want them.
//!
//! C header: [`include/linux/stat.h`](srctree/include/linux/stat.h)

use super::{
    filesystem::FileSystem,
    inode::{INode, Time},
    inode_ops::IdMap,
    ns::{Gid, Uid},
};
use crate::bindings;

/// What somebody wants to know of an inode.
#[derive(Clone, Copy)]
pub(crate) struct StatRequest<'a> {
    id_map: IdMap<'a>,
    mask: u32,
    flags: u32,
}

impl<'a> StatRequest<'a> {
    /// Some of `STATX_*`, and of `AT_STATX_*`.
    pub(super) fn new(id_map: IdMap<'a>, mask: u32, flags: u32) -> Self {
        Self {
            id_map,
            mask,
            flags,
        }
    }

    /// Which fields are asked for: `STATX_*`.
    pub(crate) fn mask(&self) -> u32 {
        self.mask
    }

    /// Whether what is cached will not do (`AT_STATX_FORCE_SYNC`).
    pub(crate) fn wants_fresh(&self) -> bool {
        self.flags & bindings::AT_STATX_FORCE_SYNC != 0
    }

    /// Whether what is cached will do, however old (`AT_STATX_DONT_SYNC`).
    pub(crate) fn accepts_stale(&self) -> bool {
        self.flags & bindings::AT_STATX_DONT_SYNC != 0
    }
}

/// The fields that every file system has: `STATX_BASIC_STATS`.
pub(crate) const BASIC_STATS: u32 = bindings::STATX_BASIC_STATS;

/// When the file was made.
pub(crate) const BIRTH_STAT: u32 = bindings::STATX_BTIME;

/// When the contents were last changed.
pub(crate) const MTIME_STAT: u32 = bindings::STATX_MTIME;

/// The type.
pub(crate) const TYPE_STAT: u32 = bindings::STATX_TYPE;

/// The fields that permissions depend on.
pub(crate) const PERMISSION_STATS: u32 =
    bindings::STATX_MODE | bindings::STATX_UID | bindings::STATX_GID;

/// The time of the last read.
pub(crate) const ATIME_STAT: u32 = bindings::STATX_ATIME;

/// What a write changes beside the size.
pub(crate) const MODIFY_STATS: u32 =
    bindings::STATX_MTIME | bindings::STATX_CTIME | bindings::STATX_BLOCKS;

/// What changes with the entries of a directory.
pub(crate) const DIRECTORY_STATS: u32 = MODIFY_STATS | bindings::STATX_SIZE | bindings::STATX_NLINK;

/// The time of the last change of the inode.
pub(crate) const CTIME_STAT: u32 = bindings::STATX_CTIME;

/// The type and the permissions.
pub(crate) const MODE_STAT: u32 = bindings::STATX_MODE;

/// The space it takes.
pub(crate) const BLOCKS_STAT: u32 = bindings::STATX_BLOCKS;

/// The size.
pub(crate) const SIZE_STAT: u32 = bindings::STATX_SIZE;

/// Attributes of an inode, for stat(2).
#[repr(transparent)]
pub(crate) struct Stat(bindings::kstat);

/// The attributes that a file system has of an inode.
pub(crate) struct Attributes {
    /// The number that user space knows the file by.
    pub(crate) number: u64,
    /// Permissions.
    pub(crate) permissions: u32,
    /// How many names it has.
    pub(crate) link_count: u32,
    /// Who owns it.
    pub(crate) uid: Uid,
    /// Which group does.
    pub(crate) gid: Gid,
    /// The size in bytes.
    pub(crate) size: u64,
    /// The space it takes, in units of 512 bytes.
    pub(crate) blocks: u64,
    /// The size of a block, as a power of two.
    pub(crate) block_bits: u8,
    /// When it was last read.
    pub(crate) atime: Time,
    /// When it was last modified.
    pub(crate) mtime: Time,
    /// When the inode was last changed.
    pub(crate) ctime: Time,
}

impl Stat {
    /// Says nothing but which superblock the inode is on.
    pub(crate) fn fill_device_only<T: FileSystem>(&mut self, inode: &INode<T>) {
        self.0.result_mask = 0;
        self.0.dev = inode.super_block().device();
    }

    /// Takes all from the inode.
    pub(crate) fn fill_cached<T: FileSystem>(
        &mut self,
        request: StatRequest<'_>,
        inode: &INode<T>,
    ) {
        // SAFETY: The arguments are valid.
        unsafe {
            bindings::generic_fillattr(
                request.id_map.as_ptr(),
                request.mask,
                inode.as_ptr(),
                &mut self.0,
            )
        };
    }

    /// Says which fields are valid, beside the type.
    pub(crate) fn set_mask(&mut self, mask: u32) {
        self.0.result_mask = mask | bindings::STATX_TYPE;
    }

    /// Says when the file was made.
    pub(crate) fn set_birth(&mut self, time: Time) {
        self.0.result_mask |= bindings::STATX_BTIME;
        self.0.btime = time.to_raw();
    }

    /// Corrects what [`Self::fill_cached`] took from the inode.
    pub(crate) fn correct(&mut self, number: u64, permissions: u32, block_bits: u8) {
        self.0.ino = number;
        self.0.mode = self.0.mode & bindings::S_IFMT as u16 | (permissions & 0o7777) as u16;
        self.0.blksize = 1 << block_bits.min(31);
    }

    /// Takes all from `attributes`, but the type and the device from the inode.
    pub(crate) fn fill<T: FileSystem>(
        &mut self,
        request: StatRequest<'_>,
        inode: &INode<T>,
        attributes: &Attributes,
    ) {
        // SAFETY: The namespace and the map are valid.
        let (uid, gid) = unsafe {
            let ns = inode.super_block().user_ns().as_ptr();
            (
                bindings::mapped_kuid(request.id_map.as_ptr(), ns, attributes.uid.0),
                bindings::mapped_kgid(request.id_map.as_ptr(), ns, attributes.gid.0),
            )
        };
        let stat = &mut self.0;
        stat.dev = inode.super_block().device();
        stat.ino = attributes.number;
        stat.mode = (inode.mode() & bindings::S_IFMT | attributes.permissions & 0o7777) as u16;
        stat.nlink = attributes.link_count;
        stat.uid = uid;
        stat.gid = gid;
        // SAFETY: The inode is valid, and the field constant.
        stat.rdev = unsafe { (*inode.as_ptr()).i_rdev };
        stat.atime = attributes.atime.to_raw();
        stat.mtime = attributes.mtime.to_raw();
        stat.ctime = attributes.ctime.to_raw();
        stat.size = i64::try_from(attributes.size).unwrap_or(i64::MAX);
        stat.blocks = attributes.blocks;
        stat.blksize = 1 << attributes.block_bits.min(31);
    }
}
