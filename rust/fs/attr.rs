// SPDX-License-Identifier: GPL-2.0

//! stat(2): attributes from the cache while they hold, else from the daemon.

use super::{
    inode::{change_attributes, is_ahead, is_for, Asked},
    open::OpenFile,
    permission::allow_current_process,
    INode, Mount, SuperBlock,
};
use crate::{
    abi::{getattr_flags, Attr, GetattrIn},
    message::{op, Request},
    vfs::{
        inode::Time,
        inode_ops::{Attributes, Stat, StatRequest, BASIC_STATS},
        time::Ticks,
    },
};
use kernel::prelude::*;

/// What the daemon sent, as the kernel has it.
pub(super) fn attributes(sb: &SuperBlock, attr: &Attr) -> Attributes {
    let users = sb.data().connection.users();
    let time = |seconds: u64, nanoseconds: u32| Time {
        // CAST: The wire has it unsigned, but means signed.
        seconds: seconds as i64,
        nanoseconds: nanoseconds.min(999_999_999),
    };
    Attributes {
        number: attr.ino,
        permissions: attr.mode & 0o7777,
        link_count: attr.nlink,
        uid: users.uid(attr.uid),
        gid: users.gid(attr.gid),
        size: attr.size,
        blocks: attr.blocks,
        block_bits: block_bits(sb, attr),
        atime: time(attr.atime, attr.atimensec),
        mtime: time(attr.mtime, attr.mtimensec),
        ctime: time(attr.ctime, attr.ctimensec),
    }
}

/// The size of a block as a power of two: the daemon's, or the superblock's.
pub(super) fn block_bits(sb: &SuperBlock, attr: &Attr) -> u8 {
    let bits = attr.blksize.checked_ilog2();
    // CAST: At most 63.
    bits.or(sb.block_size().checked_ilog2()).unwrap_or(0) as u8
}

/// Asks the daemon for attributes. A file may be given that is open on the inode.
///
/// # Errors
///
/// The daemon's; `EIO` when it contradicts itself, and then the inode is bad.
pub(super) fn fetch(inode: &INode, file: Option<&OpenFile>) -> Result<Attr> {
    let mount = Mount::of(inode);
    let mut arguments = GetattrIn::default();
    if let (Some(file), true) = (file, inode.is_regular()) {
        arguments.getattr_flags = getattr_flags::FH;
        arguments.fh = file.handle();
    }
    let asked = Asked::known(mount);
    let nodeid = inode.data().nodeid();
    let request = Request::<op::Getattr>::new(&mount.connection, nodeid, &arguments)?;
    let out = mount.connection.call(request)?.out()?;
    if !is_for(inode, &out.attr) {
        inode.data().make_bad();
        return Err(EIO);
    }
    let until = Ticks::after(out.attr_valid, out.attr_valid_nsec);
    change_attributes(inode, &out.attr, until, asked);
    Ok(best(inode, out.attr))
}

/// Puts what the kernel knows better in place of what the daemon sent.
fn best(inode: &INode, attr: Attr) -> Attr {
    if !is_ahead(inode) {
        return attr;
    }
    let (mtime, ctime) = (inode.mtime(), inode.ctime());
    Attr {
        size: inode.size(),
        // CAST: The wire has it unsigned, but means signed.
        mtime: mtime.seconds as u64,
        mtimensec: mtime.nanoseconds,
        ctime: ctime.seconds as u64,
        ctimensec: ctime.nanoseconds,
        ..attr
    }
}

/// Asks the daemon for attributes if those in `mask` do not hold any more. Errors as [`fetch`].
pub(super) fn update(inode: &INode, file: Option<&OpenFile>, mask: u32) -> Result {
    if is_outdated(inode, mask) {
        fetch(inode, file)?;
    }
    Ok(())
}

/// Whether any of the attributes in `mask` do not hold any more.
pub(super) fn is_outdated(inode: &INode, mask: u32) -> bool {
    let node = inode.data();
    node.is_invalid(mask) || node.expiry.is_past()
}

/// See [`INodeOperations::getattr`](crate::vfs::inode_ops::INodeOperations::getattr).
pub(super) fn getattr(inode: &INode, request: StatRequest<'_>, stat: &mut Stat) -> Result {
    inode.data().check()?;
    if !allow_current_process(Mount::of(inode)) {
        if request.mask() == 0 {
            // Who asks for nothing gets that, and the device.
            stat.fill_device_only(inode);
            return Ok(());
        }
        return Err(EACCES);
    }
    let mask = request.mask() & BASIC_STATS;
    let ask = mask != 0
        && (request.wants_fresh() || !request.accepts_stale() && is_outdated(inode, mask));
    if ask {
        let attr = fetch(inode, None)?;
        stat.fill(request, inode, &attributes(inode.super_block(), &attr));
    } else {
        stat.fill_cached(request, inode);
        let cached = inode.data().cached();
        stat.correct(cached.number, cached.permissions, cached.block_bits);
    }
    Ok(())
}
