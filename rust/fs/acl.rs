// SPDX-License-Identifier: GPL-2.0

//! POSIX access control lists, which the daemon keeps as extended attributes.
//!
//! With `FUSE_POSIX_ACL` the kernel caches them and judges by them. A daemon without it has them
//! passed through as they are, unseen by the kernel: it may judge by itself. Where it serves a mount
//! of an unprivileged user, there are none then.

use super::{xattr, DEntry, INode, Mount};
use crate::{
    abi::setxattr_flags,
    vfs::{
        acl::{Acl, AclKind, OwnedAcl},
        inode_ops::IdMap,
        stat::BASIC_STATS,
        super_block::PAGE_SIZE,
    },
};
use kernel::prelude::*;

/// Whether a daemon is to see nothing of lists.
fn has_none(inode: &INode) -> bool {
    let sb = inode.super_block();
    !sb.data().features().posix_acl && !sb.user_ns().is_initial()
}

/// Asks the daemon for a list.
fn ask(inode: &INode, kind: AclKind) -> Result<Option<OwnedAcl>> {
    let mount = Mount::of(inode);
    inode.data().check()?;
    if mount.lacks.getxattr.get() {
        return Ok(None);
    }
    match xattr::value(inode, kind.xattr_name(), PAGE_SIZE) {
        Ok(value) if value.bytes().is_empty() => Ok(None),
        Ok(value) => OwnedAcl::from_xattr(mount.connection.users(), value.bytes()),
        Err(err) if err == ENODATA => Ok(None),
        Err(err) if err == EOPNOTSUPP && mount.lacks.getxattr.get() => Ok(None),
        Err(err) if err == ERANGE => Err(E2BIG),
        Err(err) => Err(err),
    }
}

/// See [`INodeOperations::get_inode_acl`](crate::vfs::inode_ops::INodeOperations::get_inode_acl).
pub(super) fn get_inode_acl(
    inode: &INode,
    kind: AclKind,
    must_not_block: bool,
) -> Result<Option<OwnedAcl>> {
    if !Mount::of(inode).features().posix_acl {
        return Ok(None);
    }
    if must_not_block {
        return Err(ECHILD);
    }
    ask(inode, kind)
}

/// See [`INodeOperations::get_acl`](crate::vfs::inode_ops::INodeOperations::get_acl).
pub(super) fn get_acl(dentry: &DEntry, kind: AclKind) -> Result<Option<OwnedAcl>> {
    let inode = dentry.inode().ok_or(ENOENT)?;
    if has_none(inode) {
        return Err(EOPNOTSUPP);
    }
    ask(inode, kind)
}

/// See [`INodeOperations::set_acl`](crate::vfs::inode_ops::INodeOperations::set_acl).
pub(super) fn set_acl(
    id_map: IdMap<'_>,
    dentry: &DEntry,
    acl: Option<Acl<'_>>,
    kind: AclKind,
) -> Result {
    let inode = dentry.inode().ok_or(ENOENT)?;
    let mount = Mount::of(inode);
    let posix_acl = mount.features().posix_acl;
    inode.data().check()?;
    if mount.lacks.setxattr.get() || has_none(inode) {
        return Err(EOPNOTSUPP);
    }
    let result = match acl {
        Some(acl) => {
            let value = acl.to_xattr(mount.connection.users())?;
            if value.len() > PAGE_SIZE {
                return Err(E2BIG);
            }
            // The daemon changes the mode as the list says, and the set-group-ID bit where it must.
            let flags = if posix_acl && !id_map.in_group_or_capable(inode) {
                setxattr_flags::ACL_KILL_SGID
            } else {
                0
            };
            xattr::set(inode, kind.xattr_name(), value, 0, flags)
        }
        None => xattr::remove(inode, kind.xattr_name()),
    };
    if posix_acl {
        inode.forget_acls();
        inode.data().invalidate(BASIC_STATS);
    }
    result
}
