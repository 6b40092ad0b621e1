// SPDX-License-Identifier: GPL-2.0

//! Renaming.

use super::{
    inode::{ctime_changed, directory_changed},
    lookup, make,
    mount::Mount,
    remove::removed,
    superblock::Fuse,
    INode,
};
use crate::{
    abi::{Rename2In, RenameIn},
    message::{op, Operation, Request},
    vfs::{dentry::NamedDEntry, dir_ops::RenameFlags, inode_ops::IdMap},
};
use kernel::prelude::*;

/// A directory, and an entry in it.
type Name<'a> = (&'a INode, NamedDEntry<'a, Fuse>);

/// The first minor version with RENAME2.
const RENAME2_SINCE: u32 = 23;

/// See [`DirectoryOperations::rename`](crate::vfs::dir_ops::DirectoryOperations::rename).
///
/// # Errors
///
/// The daemon's; `EINVAL` for flags that nobody knows, or that the daemon does not.
pub(super) fn rename(
    id_map: IdMap<'_>,
    from: Name<'_>,
    to: Name<'_>,
    flags: RenameFlags,
) -> Result {
    let (old_dir, new_dir) = (from.0, to.0);
    let mount = Mount::of(old_dir);
    old_dir.data().check()?;
    if flags.has_unknown() {
        return Err(EINVAL);
    }
    let (nodeid, newdir) = (old_dir.data().nodeid(), new_dir.data().nodeid());
    if flags.is_empty() {
        let request = Request::<op::Rename>::new(&mount.connection, nodeid, &RenameIn { newdir })?;
        return send(&from, &to, flags, request);
    }
    if mount.lacks.rename2.get() || mount.connection.terms().minor < RENAME2_SINCE {
        return Err(EINVAL);
    }
    let arguments = Rename2In {
        newdir,
        flags: flags.bits(),
        ..Default::default()
    };
    let request = if flags.leaves_whiteout() {
        make::request(id_map, old_dir, &arguments)?
    } else {
        Request::<op::Rename2>::new(&mount.connection, nodeid, &arguments)?
    };
    match send(&from, &to, flags, request) {
        Err(err) if err == ENOSYS => {
            mount.lacks.rename2.set();
            Err(EINVAL)
        }
        result => result,
    }
}

fn send<O: Operation>(
    from: &Name<'_>,
    to: &Name<'_>,
    flags: RenameFlags,
    request: Request<O>,
) -> Result {
    let ((old_dir, old), (new_dir, new)) = (from, to);
    let request = request.name(old.name())?.name(new.name())?;
    match Mount::of(old_dir).connection.call(request) {
        Ok(_) => {
            old.inode().inspect(|inode| ctime_changed(inode));
            directory_changed(old_dir);
            directory_changed(new_dir);
            if flags.exchanges() {
                new.inode().inspect(|inode| ctime_changed(inode));
            } else {
                removed(new);
            }
            Ok(())
        }
        Err(err) => {
            if err == EINTR || err == ENOENT {
                // Whether it has been renamed only the daemon knows.
                lookup::invalidate(old);
                if new.inode().is_some() {
                    lookup::invalidate(new);
                }
            }
            Err(err)
        }
    }
}
