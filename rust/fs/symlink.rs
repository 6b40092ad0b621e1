// SPDX-License-Identifier: GPL-2.0

//! Symbolic links.

use super::{
    attr, inode::invalidate_atime, setattr, superblock::Fuse, xattr, DEntry, INode, Mount,
};
use crate::{
    message::{op, Data, Request},
    vfs::{
        inode_ops::{INodeOperations, IdMap},
        setattr::Changes,
        stat::{Stat, StatRequest},
        super_block::PAGE_SIZE,
        symlink::Link,
        xattr::Destination,
    },
};
use kernel::prelude::*;

/// The operations of symbolic links.
pub(super) struct Symlink;

#[vtable]
impl INodeOperations for Symlink {
    type FileSystem = Fuse;

    fn get_link(dentry: Option<&DEntry>, inode: &INode) -> Result<Link> {
        inode.data().check()?;
        let caches = Mount::of(inode).features().cache_symlinks;
        if caches {
            if let Some(link) = inode.cached_link() {
                return Ok(Link::Cached(link));
            }
        }
        if dentry.is_none() {
            return Err(ECHILD);
        }
        if caches {
            let link = inode.link_through_page_cache(|| readlink(inode))?;
            return Ok(Link::Cached(link));
        }
        let mut link = KVec::new();
        link.extend_from_slice(&readlink(inode)?, GFP_KERNEL)?;
        Ok(Link::Owned(link))
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

/// Asks the daemon for the text, which has less than a page. Errors are the daemon's; `ENOMEM`.
fn readlink(inode: &INode) -> Result<KVVec<u8>> {
    let connection = &Mount::of(inode).connection;
    let request = Request::<op::Readlink>::new(connection, inode.data().nodeid(), &())?
        .reply_bytes(PAGE_SIZE - 1)?;
    let reply = connection.call(request);
    invalidate_atime(inode);
    match reply?.reply().take_data() {
        Data::Bytes(link) => Ok(link),
        _ => Err(EIO),
    }
}
