// SPDX-License-Identifier: GPL-2.0

//! Directories: what can be done in them.

use super::{
    acl, attr, create, fileattr, lookup, make, permission::permission, remove::remove, rename,
    setattr, superblock::Fuse, xattr, DEntry, INode,
};
use crate::{
    message::op,
    vfs::{
        acl::{Acl, AclKind, OwnedAcl},
        dentry::{LookupFlags, NamedDEntry, NegativeDEntry, NewDEntry, Resolved},
        file::NewFile,
        fileattr::FileAttr,
        inode_ops::{self, Access, INodeOperations, IdMap, Opened, RenameFlags, Stat, StatRequest},
        setattr::Changes,
        xattr::Destination,
    },
};
use kernel::prelude::*;

/// The operations of directories.
pub(super) struct Directory;

#[vtable]
impl INodeOperations for Directory {
    type FileSystem = Fuse;

    fn lookup<'a>(
        dir: &INode,
        dentry: NewDEntry<'a, Fuse>,
        _flags: LookupFlags,
    ) -> Result<Resolved<'a, Fuse>> {
        lookup::lookup(dir, dentry)
    }

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

    fn create<'a>(
        id_map: IdMap<'_>,
        dir: &INode,
        dentry: NegativeDEntry<'a, Fuse>,
        mode: u32,
    ) -> Result<Resolved<'a, Fuse>> {
        make::mknod(id_map, dir, dentry, mode, 0)
    }

    fn atomic_open<'a>(
        id_map: IdMap<'_>,
        dir: &INode,
        dentry: NegativeDEntry<'a, Fuse>,
        file: NewFile<'a>,
        flags: u32,
        mode: u32,
    ) -> Result<Opened<'a, Fuse>> {
        create::atomic_open(id_map, dir, dentry, file, flags, mode)
    }

    fn tmpfile<'a>(
        id_map: IdMap<'_>,
        dir: &INode,
        dentry: NegativeDEntry<'a, Fuse>,
        file: NewFile<'a>,
        flags: u32,
        mode: u32,
    ) -> Result<inode_ops::OpenFile<'a>> {
        create::tmpfile(id_map, dir, dentry, file, flags, mode)
    }

    fn mknod<'a>(
        id_map: IdMap<'_>,
        dir: &INode,
        dentry: NegativeDEntry<'a, Fuse>,
        mode: u32,
        device: u32,
    ) -> Result<Resolved<'a, Fuse>> {
        make::mknod(id_map, dir, dentry, mode, device)
    }

    fn mkdir<'a>(
        id_map: IdMap<'_>,
        dir: &INode,
        dentry: NegativeDEntry<'a, Fuse>,
        mode: u32,
    ) -> Result<Resolved<'a, Fuse>> {
        make::mkdir(id_map, dir, dentry, mode)
    }

    fn symlink<'a>(
        id_map: IdMap<'_>,
        dir: &INode,
        dentry: NegativeDEntry<'a, Fuse>,
        target: &CStr,
    ) -> Result<Resolved<'a, Fuse>> {
        make::symlink(id_map, dir, dentry, target)
    }

    fn link<'a>(
        inode: &INode,
        dir: &INode,
        dentry: NegativeDEntry<'a, Fuse>,
    ) -> Result<Resolved<'a, Fuse>> {
        make::link(inode, dir, dentry)
    }

    fn unlink(dir: &INode, dentry: NamedDEntry<'_, Fuse>) -> Result {
        remove::<op::Unlink>(dir, &dentry)
    }

    fn rmdir(dir: &INode, dentry: NamedDEntry<'_, Fuse>) -> Result {
        remove::<op::Rmdir>(dir, &dentry)
    }

    fn rename(
        id_map: IdMap<'_>,
        from: (&INode, NamedDEntry<'_, Fuse>),
        to: (&INode, NamedDEntry<'_, Fuse>),
        flags: RenameFlags,
    ) -> Result {
        rename::rename(id_map, from, to, flags)
    }
}
