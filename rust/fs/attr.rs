// SPDX-License-Identifier: GPL-2.0

//! stat(2): attributes from the cache while they hold, else from the daemon.

use super::{
    inode::{change_attributes, has_wrong_type, is_ahead, is_for, own_stats, Asked},
    open::OpenFile,
    permission::allow_current_process,
    INode, Mount, SuperBlock,
};
use crate::{
    abi::{getattr_flags, Attr, GetattrIn, Statx, StatxIn, StatxOut},
    message::{op, Request},
    vfs::{
        inode::Time,
        stat::{Attributes, Stat, StatRequest, BASIC_STATS, BIRTH_STAT, SIZE_STAT, TYPE_STAT},
        time::Ticks,
    },
};
use kernel::{
    prelude::*,
    sync::{Arc, ArcBorrow},
};
use zerocopy::FromBytes;

/// When the daemon says that a file was last read, modified and changed.
pub(super) fn times(attr: &Attr) -> [Time; 3] {
    let time = |seconds: u64, nanoseconds: u32| Time {
        // CAST: The wire has it unsigned, but means signed.
        seconds: seconds as i64,
        nanoseconds: nanoseconds.min(999_999_999),
    };
    [
        time(attr.atime, attr.atimensec),
        time(attr.mtime, attr.mtimensec),
        time(attr.ctime, attr.ctimensec),
    ]
}

/// What the daemon sent, as the kernel has it.
pub(super) fn attributes(sb: &SuperBlock, attr: &Attr) -> Attributes {
    let users = sb.data().connection.users();
    let [atime, mtime, ctime] = times(attr);
    Attributes {
        number: attr.ino,
        permissions: attr.mode & 0o7777,
        link_count: attr.nlink,
        uid: users.uid(attr.uid),
        gid: users.gid(attr.gid),
        size: attr.size,
        blocks: attr.blocks,
        block_bits: block_bits(sb, attr),
        atime,
        mtime,
        ctime,
    }
}

/// The size of a block as a power of two: the daemon's, or the superblock's.
fn block_bits(sb: &SuperBlock, attr: &Attr) -> u8 {
    let bits = attr.blksize.checked_ilog2();
    // CAST: At most 63.
    bits.or(sb.block_size().checked_ilog2()).unwrap_or(0) as u8
}

/// Asks the daemon for attributes. A file may be given that is open on the inode. Those that have
/// crossed newer ones, and are not kept, are shown to `crossed`.
///
/// # Errors
///
/// The daemon's; `EIO` when it contradicts itself, and then the inode is bad.
pub(super) fn fetch(
    inode: &INode,
    file: Option<ArcBorrow<'_, OpenFile>>,
    crossed: impl FnOnce(&Attr),
) -> Result {
    let mount = Mount::of(inode);
    let mut arguments = GetattrIn::default();
    let file = file.filter(|_| inode.is_regular());
    if let Some(file) = file {
        arguments.getattr_flags = getattr_flags::FH;
        arguments.fh = file.handle();
    }
    let asked = Asked::known(mount);
    let nodeid = inode.data().nodeid();
    let mut request = Request::<op::Getattr>::new(&mount.connection, nodeid, &arguments)?;
    if let Some(file) = file {
        request = request.then(Arc::from(file));
    }
    let replied = mount.connection.call(request)?;
    let out = replied.out()?;
    if !is_for(inode, &out.attr) {
        inode.data().make_bad();
        return Err(EIO);
    }
    let until = Ticks::after(out.attr_valid, out.attr_valid_nsec);
    if !change_attributes(inode, &out.attr, until, asked) {
        crossed(&out.attr);
    }
    Ok(())
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
pub(super) fn update(inode: &INode, file: Option<ArcBorrow<'_, OpenFile>>, mask: u32) -> Result {
    if is_outdated(inode, mask) {
        inode.forget_acls();
        fetch(inode, file, |_| ())?;
    }
    Ok(())
}

/// Whether any of the attributes in `mask` do not hold any more.
pub(super) fn is_outdated(inode: &INode, mask: u32) -> bool {
    let node = inode.data();
    node.is_invalid(mask & !own_stats(inode)) || node.expiry.is_past()
}

/// Asks the daemon for all that statx(2) can say, and fills `stat` with it.
///
/// # Errors
///
/// The daemon's; `EIO` when it contradicts itself, and then the inode is bad.
fn fill_extended(inode: &INode, request: StatRequest<'_>, stat: &mut Stat) -> Result {
    let mount = Mount::of(inode);
    let arguments = StatxIn {
        sx_mask: BASIC_STATS | BIRTH_STAT,
        ..Default::default()
    };
    let asked = Asked::known(mount);
    let nodeid = inode.data().nodeid();
    let statx = Request::<op::Statx>::new(&mount.connection, nodeid, &arguments)?
        .reply_exactly(size_of::<StatxOut>())?;
    let replied = mount.connection.call(statx)?;
    let out = StatxOut::read_from_bytes(replied.bytes()).map_err(|_| EIO)?;
    let answered = out.stat;
    let has = |flag| answered.mask & flag != 0;
    let attr = basic(&answered);
    let bad_size = has(SIZE_STAT) && i64::try_from(attr.size).is_err();
    if bad_size || has(TYPE_STAT) && has_wrong_type(inode, &attr) {
        inode.data().make_bad();
        return Err(EIO);
    }
    let birth = has(BIRTH_STAT).then_some(Time {
        seconds: answered.btime.tv_sec,
        nanoseconds: answered.btime.tv_nsec.min(999_999_999),
    });
    let is_whole = answered.mask & BASIC_STATS == BASIC_STATS;
    if is_whole {
        let until = Ticks::after(out.attr_valid, out.attr_valid_nsec);
        change_attributes(inode, &attr, until, asked);
        inode.data().set_birth(birth);
    }
    let attr = if is_whole { best(inode, attr) } else { attr };
    stat.set_mask(answered.mask & (BASIC_STATS | BIRTH_STAT));
    if let Some(birth) = birth {
        stat.set_birth(birth);
    }
    stat.fill(request, inode, &attributes(inode.super_block(), &attr));
    Ok(())
}

/// What of an answer to STATX is in one to GETATTR too.
fn basic(stat: &Statx) -> Attr {
    // CAST: The wire has seconds unsigned here, but means signed.
    Attr {
        ino: stat.ino,
        size: stat.size,
        blocks: stat.blocks,
        atime: stat.atime.tv_sec as u64,
        mtime: stat.mtime.tv_sec as u64,
        ctime: stat.ctime.tv_sec as u64,
        atimensec: stat.atime.tv_nsec,
        mtimensec: stat.mtime.tv_nsec,
        ctimensec: stat.ctime.tv_nsec,
        mode: stat.mode.into(),
        nlink: stat.nlink,
        uid: stat.uid,
        gid: stat.gid,
        blksize: stat.blksize,
        ..Default::default()
    }
}

/// See [`INodeOperations::getattr`](crate::vfs::inode_ops::INodeOperations::getattr).
pub(super) fn getattr(inode: &INode, request: StatRequest<'_>, stat: &mut Stat) -> Result {
    let mount = Mount::of(inode);
    inode.data().check()?;
    if !allow_current_process(mount) {
        if request.mask() == 0 {
            // Who asks for nothing gets that, and the device.
            stat.fill_device_only(inode);
            return Ok(());
        }
        return Err(EACCES);
    }
    if !mount.lacks.statx.get() && request.mask() & BIRTH_STAT != 0 {
        let mask = request.mask() & (BASIC_STATS | BIRTH_STAT);
        if !must_ask(inode, request, mask) {
            fill_cached(inode, request, stat);
            return Ok(());
        }
        inode.forget_acls();
        match fill_extended(inode, request, stat) {
            Err(err) if err == ENOSYS => mount.lacks.statx.set(),
            result => return result,
        }
    }
    if must_ask(inode, request, request.mask() & BASIC_STATS) {
        inode.forget_acls();
        let mut crossed = None;
        fetch(inode, None, |attr| crossed = Some(best(inode, *attr)))?;
        if let Some(attr) = crossed {
            stat.fill(request, inode, &attributes(inode.super_block(), &attr));
            return Ok(());
        }
    }
    fill_cached(inode, request, stat);
    Ok(())
}

/// Whether what is cached of the attributes in `mask` does not do.
fn must_ask(inode: &INode, request: StatRequest<'_>, mask: u32) -> bool {
    mask != 0 && (request.wants_fresh() || !request.accepts_stale() && is_outdated(inode, mask))
}

/// Fills `stat` with what is cached.
fn fill_cached(inode: &INode, request: StatRequest<'_>, stat: &mut Stat) {
    stat.fill_cached(request, inode);
    let cached = inode.data().cached();
    stat.correct(cached.number, cached.permissions, cached.block_bits);
    if let Some(birth) = cached.birth {
        stat.set_birth(birth);
    }
}
