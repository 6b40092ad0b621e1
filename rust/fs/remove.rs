// SPDX-License-Identifier: GPL-2.0

//! Removing names.

use super::{
    inode::{directory_changed, unlinked},
    lookup,
    mount::Mount,
    superblock::Fuse,
    INode,
};
use crate::{
    message::{Operation, Request},
    vfs::dentry::NamedDEntry,
};
use kernel::prelude::*;

/// Sends UNLINK or RMDIR.
///
/// # Errors
///
/// The daemon's. After `ENOENT` the VFS must look the name up anew, and after `EINTR`, too: whether
/// it is there only the daemon knows.
pub(super) fn remove<O: Operation<In = ()>>(dir: &INode, dentry: &NamedDEntry<'_, Fuse>) -> Result {
    dir.data().check()?;
    let connection = &Mount::of(dir).connection;
    let request = Request::<O>::new(connection, dir.data().nodeid(), &())?.name(dentry.name())?;
    match connection.call(request) {
        Ok(_) => {
            directory_changed(dir);
            removed(dentry);
            Ok(())
        }
        Err(err) => {
            if err == EINTR || err == ENOENT {
                lookup::invalidate(dentry);
            }
            Err(err)
        }
    }
}

/// What the entry names has lost this name.
pub(super) fn removed(dentry: &NamedDEntry<'_, Fuse>) {
    // There is no such name from now on, but for how long nobody has said.
    dentry.expire();
    if let Some(inode) = dentry.inode() {
        unlinked(inode);
    }
}
