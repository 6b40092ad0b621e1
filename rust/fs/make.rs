// SPDX-License-Identifier: GPL-2.0

//! Making names: files, directories, links.
//!
//! What the daemon has made it names as LOOKUP does, and with it goes a reference to the node.

use super::{
    extensions,
    inode::{self, directory_changed, is_valid, Asked},
    lookup::{self, holds_until, Sighting},
    mount::Mount,
    superblock::Fuse,
    INode, OwnedINode, SuperBlock,
};
use crate::{
    abi::{EntryOut, LinkIn, MkdirIn, MknodIn, ROOT_ID},
    message::{op, Operation, Request},
    vfs::{
        dentry::{NegativeDEntry, Resolved},
        file::current_umask,
        inode::FileType,
        inode_ops::IdMap,
        stat::BASIC_STATS,
        time::Ticks,
    },
};
use kernel::prelude::*;

/// An entry to be, and what it comes to.
type New<'a> = NegativeDEntry<'a, Fuse>;
type Made<'a> = Result<Resolved<'a, Fuse>>;

/// See [`DirectoryOperations::mknod`](crate::vfs::dir_ops::DirectoryOperations::mknod).
pub(super) fn mknod<'a>(
    id_map: IdMap<'_>,
    dir: &INode,
    dentry: New<'a>,
    mode: u32,
    device: u32,
) -> Made<'a> {
    let arguments = MknodIn {
        mode: masked(dir, mode),
        rdev: device,
        umask: current_umask(),
        ..Default::default()
    };
    make(dir, dentry, mode, |dentry| {
        let request = request::<op::Mknod>(id_map, dir, &arguments)?.name(dentry.name())?;
        extensions::add(request, id_map, dir, dentry, arguments.mode)
    })
}

/// See [`DirectoryOperations::mkdir`](crate::vfs::dir_ops::DirectoryOperations::mkdir).
pub(super) fn mkdir<'a>(id_map: IdMap<'_>, dir: &INode, dentry: New<'a>, mode: u32) -> Made<'a> {
    let directory = FileType::Directory.mode();
    let arguments = MkdirIn {
        // The type has never been sent.
        mode: masked(dir, mode) & !directory,
        umask: current_umask(),
    };
    make(dir, dentry, directory, |dentry| {
        let request = request::<op::Mkdir>(id_map, dir, &arguments)?.name(dentry.name())?;
        extensions::add(request, id_map, dir, dentry, directory)
    })
}

/// See [`DirectoryOperations::symlink`](crate::vfs::dir_ops::DirectoryOperations::symlink).
pub(super) fn symlink<'a>(
    id_map: IdMap<'_>,
    dir: &INode,
    dentry: New<'a>,
    target: &CStr,
) -> Made<'a> {
    let link = FileType::Symlink.mode();
    make(dir, dentry, link, |dentry| {
        let request = request::<op::Symlink>(id_map, dir, &())?
            .name(dentry.name())?
            .name(target.to_bytes())?;
        extensions::add(request, id_map, dir, dentry, link)
    })
}

/// See [`DirectoryOperations::link`](crate::vfs::dir_ops::DirectoryOperations::link).
pub(super) fn link<'a>(inode: &INode, dir: &INode, dentry: New<'a>) -> Made<'a> {
    let Mount {
        lacks, connection, ..
    } = Mount::of(inode);
    if lacks.link.get() {
        return Err(EPERM);
    }
    let arguments = LinkIn {
        oldnodeid: inode.data().nodeid(),
    };
    let made = make(dir, dentry, inode.mode(), |dentry| {
        Request::<op::Link>::new(connection, dir.data().nodeid(), &arguments)?.name(dentry.name())
    });
    made.inspect(|_| inode::touch(inode)).map_err(|err| {
        if err == ENOSYS {
            lacks.link.set();
            return EPERM;
        }
        if err == EINTR {
            inode.data().invalidate(BASIC_STATS);
        }
        err
    })
}

/// The mode without what the caller's umask takes away, unless the daemon sees to that.
pub(super) fn masked(dir: &INode, mode: u32) -> u32 {
    if Mount::of(dir).dont_mask() {
        mode
    } else {
        mode & !current_umask()
    }
}

/// A request for a name in `dir` that leads to something new, which is to be the caller's.
pub(super) fn request<O: Operation>(
    id_map: IdMap<'_>,
    dir: &INode,
    arguments: &O::In,
) -> Result<Request<O>> {
    let connection = &Mount::of(dir).connection;
    let maker = connection.maker(id_map)?;
    Request::by(connection, maker, dir.data().nodeid(), arguments)
}

/// Sends a request that makes a name, and gives the entry the inode that comes back, which must be
/// of the type in `mode`.
///
/// # Errors
///
/// The daemon's; `EIO` when it contradicts itself; `ENOMEM`.
fn make<'a, O: Operation<Out = EntryOut>>(
    dir: &INode,
    dentry: New<'a>,
    mode: u32,
    request: impl FnOnce(&New<'a>) -> Result<Request<O>>,
) -> Made<'a> {
    dir.data().check()?;
    let (mount, sighting) = (Mount::of(dir), Sighting::of(dir));
    let replied = match mount.connection.call(request(&dentry)?) {
        Ok(replied) => replied,
        Err(err) => {
            if err == EEXIST {
                lookup::invalidate(&dentry);
            }
            return Err(err);
        }
    };
    let entry = *replied.out()?;
    if !is_new(&entry, mode) {
        return Err(EIO);
    }
    let inode = match inode_of(dir.super_block(), &entry) {
        Ok(inode) => inode,
        Err(err) => {
            mount.connection.give_back(replied);
            return Err(err);
        }
    };
    let resolved = dentry.resolve(inode)?;
    sighting.settle(dir, &resolved, holds_until(&entry));
    directory_changed(dir);
    Ok(resolved)
}

/// Whether `entry` may be what the daemon has made, of the type in `mode`.
pub(super) fn is_new(entry: &EntryOut, mode: u32) -> bool {
    entry.nodeid != 0
        && entry.nodeid != ROOT_ID
        && is_valid(&entry.attr)
        && FileType::of_mode(entry.attr.mode) == FileType::of_mode(mode)
}

/// The inode of what the daemon has made. May sleep.
///
/// # Errors
///
/// `ENOMEM`; then the reference that the daemon has counted must be given back.
pub(super) fn inode_of(sb: &SuperBlock, entry: &EntryOut) -> Result<OwnedINode> {
    let until = Ticks::after(entry.attr_valid, entry.attr_valid_nsec);
    let (nodeid, generation) = (entry.nodeid, entry.generation);
    inode::get(
        sb,
        nodeid,
        generation,
        &entry.attr,
        until,
        Asked::EXCLUSIVELY,
    )
}
