// SPDX-License-Identifier: GPL-2.0

//! Symbolic links.

use super::{
    attr, inode::invalidate_atime, setattr, superblock::Fuse, xattr, DEntry, INode, Mount,
};
use crate::{
    message::{op, Request},
    vfs::{
        inode_ops::{INodeOperations, IdMap, Stat, StatRequest},
        setattr::Changes,
        super_block::PAGE_SIZE,
        xattr::Destination,
    },
};
use kernel::prelude::*;

/// The operations of symbolic links.
pub(super) struct Symlink;

#[vtable]
impl INodeOperations for Symlink {
    type FileSystem = Fuse;

    fn get_link(dentry: Option<&DEntry>, inode: &INode) -> Result<KVec<u8>> {
        inode.data().check()?;
        if dentry.is_none() {
            return Err(ECHILD);
        }
        let mount = Mount::of(inode);
        let nodeid = inode.data().nodeid();
        let request = Request::<op::Readlink>::new(&mount.connection, nodeid, &())?
            .reply_bytes(PAGE_SIZE - 1)?;
        let reply = mount.connection.call(request);
        invalidate_atime(inode);
        let mut link = KVec::new();
        link.extend_from_slice(reply?.bytes(), GFP_KERNEL)?;
        Ok(link)
    }

    fn getattr(inode: &INode, request: StatRequest<'_>, stat: &mut Stat) -> Result {
        attr::getattr(inode, request, stat)
    }

    fn setattr(id_map: IdMap<'_>, dentry: &DEntry, changes: &mut Changes) -> Result {
        setattr::setattr(id_map, dentry, changes)
    }

    fn listxattr(inode: &INode, to: Destination<'_>) -> Result<usize> {
        xattr::list(inode, to)
    }
}
