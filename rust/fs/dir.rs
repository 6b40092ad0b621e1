// SPDX-License-Identifier: GPL-2.0

//! Directories: what can be done in them. For themselves they are as other inodes.

use super::{create, lookup, make, remove::remove, rename, superblock::Fuse, INode};
use crate::{
    message::op,
    vfs::{
        dentry::{LookupFlags, NamedDEntry, NegativeDEntry, NewDEntry, Resolved},
        dir_ops::{DirectoryOperations, OpenFile, Opened, RenameFlags},
        file::NewFile,
        inode_ops::IdMap,
    },
};
use kernel::prelude::*;

/// The operations on names.
pub(super) struct Directory;

#[vtable]
impl DirectoryOperations for Directory {
    type FileSystem = Fuse;

    fn lookup<'a>(
        dir: &INode,
        dentry: NewDEntry<'a, Fuse>,
        _flags: LookupFlags,
    ) -> Result<Resolved<'a, Fuse>> {
        lookup::lookup(dir, dentry)
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
    ) -> Result<OpenFile<'a>> {
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
