// SPDX-License-Identifier: GPL-2.0

//! Who may do what.
//!
//! A daemon can watch and delay whoever uses its file system, so that only those may enter whom the
//! one who mounted it could watch and delay anyway: himself. `allow_other` opens it to all of the
//! user namespace.
//!
//! Inside, either the kernel judges by owner and mode (`default_permissions`), or the daemon does, in
//! each operation; ACCESS asks it only for those who want to know and do nothing.

use super::{
    acl,
    attr::{self, is_outdated},
    fileattr, setattr,
    superblock::Fuse,
    xattr, DEntry, INode, Mount,
};
use crate::{
    abi::AccessIn,
    message::{op, Request},
    vfs::{
        acl::{Acl, AclKind, OwnedAcl},
        fileattr::FileAttr,
        inode_ops::{Access, INodeOperations, IdMap},
        ns::{current_is_wholly, Capability},
        setattr::Changes,
        stat::{Stat, StatRequest, PERMISSION_STATS},
        xattr::Destination,
    },
};
use kernel::prelude::*;

/// Whether the running task may enter the mount.
pub(super) fn allow_current_process(mount: &Mount) -> bool {
    let options = &mount.options;
    let allowed = if options.allow_other {
        mount.connection.users().contains_current()
    } else {
        current_is_wholly(options.user_id, options.group_id)
    };
    allowed || options.allow_sys_admin && Capability::SYS_ADMIN.held()
}

/// See [`INodeOperations::permission`].
pub(super) fn permission(id_map: IdMap<'_>, inode: &INode, access: Access) -> Result {
    let mount = Mount::of(inode);
    inode.data().check()?;
    if !allow_current_process(mount) {
        return Err(EACCES);
    }
    let checks_mode = mount.default_permissions();
    let executes_file = access.executes() && inode.is_regular();
    let refreshed = (checks_mode || executes_file) && is_outdated(inode, PERMISSION_STATS);
    if refreshed {
        refresh(inode, access)?;
    }

    if checks_mode {
        let result = access.check(id_map, inode);
        if result != Err(EACCES) || refreshed {
            return result;
        }
        // The mode may have changed; that of the root is not known at first.
        refresh(inode, access)?;
        access.check(id_map, inode)
    } else if access.only_asks() {
        ask(inode, access)
    } else if executes_file && !is_executable(inode) {
        if refreshed {
            return Err(EACCES);
        }
        refresh(inode, access)?;
        if is_executable(inode) {
            Ok(())
        } else {
            Err(EACCES)
        }
    } else {
        Ok(())
    }
}

fn is_executable(inode: &INode) -> bool {
    inode.mode() & 0o111 != 0
}

/// Gets the attributes anew. `ECHILD` where that must wait.
fn refresh(inode: &INode, access: Access) -> Result {
    if access.must_not_block() {
        return Err(ECHILD);
    }
    inode.forget_acls();
    attr::fetch(inode, None, |_| ())
}

/// Asks the daemon, if it has an opinion.
fn ask(inode: &INode, access: Access) -> Result {
    let mount = Mount::of(inode);
    if access.must_not_block() {
        return Err(ECHILD);
    }
    if mount.lacks.access.get() {
        return Ok(());
    }
    let arguments = AccessIn {
        mask: access.mode(),
        ..Default::default()
    };
    let nodeid = inode.data().nodeid();
    let request = Request::<op::Access>::new(&mount.connection, nodeid, &arguments)?;
    match mount.connection.call(request) {
        Err(err) if err == ENOSYS => {
            mount.lacks.access.set();
            Ok(())
        }
        reply => reply.map(|_| ()),
    }
}

/// The operations of inodes that are neither directories nor symbolic links.
pub(super) struct Common;

#[vtable]
impl INodeOperations for Common {
    type FileSystem = Fuse;

    fn permission(id_map: IdMap<'_>, inode: &INode, access: Access) -> Result {
        permission(id_map, inode, access)
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

    fn get_inode_acl(
        inode: &INode,
        kind: AclKind,
        must_not_block: bool,
    ) -> Result<Option<OwnedAcl>> {
        acl::get_inode_acl(inode, kind, must_not_block)
    }

    fn get_acl(dentry: &DEntry, kind: AclKind) -> Result<Option<OwnedAcl>> {
        acl::get_acl(dentry, kind)
    }

    fn set_acl(id_map: IdMap<'_>, dentry: &DEntry, acl: Option<Acl<'_>>, kind: AclKind) -> Result {
        acl::set_acl(id_map, dentry, acl, kind)
    }

    fn fileattr_get(inode: &INode, attributes: &mut FileAttr) -> Result {
        fileattr::get(inode, attributes)
    }

    fn fileattr_set(inode: &INode, attributes: &FileAttr) -> Result {
        fileattr::set(inode, attributes)
    }
}
