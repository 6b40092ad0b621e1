// SPDX-License-Identifier: GPL-2.0

//! Directories: what can be done in them, and reading them.

use super::{
    acl, attr,
    inode::invalidate_atime,
    ioctl, lookup, make,
    mount::Mount,
    open::{Kind, OpenFile},
    permission::permission,
    remove::remove,
    rename, setattr,
    superblock::Fuse,
    sync, xattr, DEntry, INode,
};
use crate::{
    abi::{open_flags, Dirent, ReadIn},
    message::{op, Request},
    vfs::{
        acl::{Acl, AclKind, OwnedAcl},
        dentry::{LookupFlags, NamedDEntry, NegativeDEntry, NewDEntry, Resolved},
        file::{DirEmitter, FileOperations, Fsync, NewFile},
        inode_ops::{Access, INodeOperations, IdMap, RenameFlags, Stat, StatRequest},
        ioctl::Ioctl,
        setattr::Changes,
        super_block::PAGE_SIZE,
        xattr::Destination,
    },
};
use kernel::{
    prelude::*,
    sync::{Arc, ArcBorrow},
};
use zerocopy::FromBytes;

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

    fn create<'a>(
        id_map: IdMap<'_>,
        dir: &INode,
        dentry: NegativeDEntry<'a, Fuse>,
        mode: u32,
    ) -> Result<Resolved<'a, Fuse>> {
        make::mknod(id_map, dir, dentry, mode, 0)
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

/// The operations of open directories.
pub(super) struct DirectoryFile;

#[vtable]
impl FileOperations for DirectoryFile {
    type FileSystem = Fuse;
    type Ptr = Arc<OpenFile>;

    fn open(inode: &INode, new: &NewFile<'_>) -> Result<Arc<OpenFile>> {
        inode.data().check()?;
        let file = OpenFile::open(inode, Kind::Directory, new.flags())?;
        if file.has(open_flags::STREAM | open_flags::NONSEEKABLE) {
            new.make_nonseekable();
        }
        if !file.has(open_flags::KEEP_CACHE) {
            inode.invalidate_page_cache();
        }
        Ok(file)
    }

    fn release(_inode: &INode, file: Arc<OpenFile>, flags: u32) {
        file.closing(flags);
    }

    fn fsync(inode: &INode, file: ArcBorrow<'_, OpenFile>, sync: &Fsync<'_>) -> Result {
        sync::fsync_directory(inode, &file, sync)
    }

    fn ioctl(inode: &INode, file: ArcBorrow<'_, OpenFile>, call: &Ioctl) -> Result<isize> {
        ioctl::ioctl(inode, file.into(), call)
    }

    fn iterate(
        inode: &INode,
        file: ArcBorrow<'_, OpenFile>,
        entries: &mut DirEmitter<'_>,
    ) -> Result {
        let (node, mount) = (inode.data(), Mount::of(inode));
        node.check()?;
        let most = mount.features().max_pages as usize * PAGE_SIZE;
        let size = entries.room().clamp(PAGE_SIZE, most);
        let arguments = ReadIn {
            fh: file.handle(),
            // CAST: Positions are the daemon's; the kernel only keeps them.
            offset: entries.position() as u64,
            // CAST: Less than 2^16 pages.
            size: size as u32,
            flags: file.flags(),
            ..Default::default()
        };
        let request = Request::<op::Readdir>::new(&mount.connection, node.nodeid(), &arguments)?
            .reply_bytes(size)?;
        let serial = node.serialize(mount);
        let reply = mount.connection.call(request);
        drop(serial);
        let emitted = emit(reply?.bytes(), entries);
        invalidate_atime(inode);
        emitted
    }
}

/// The longest name of an entry, in bytes.
const NAME_MAX: usize = 4095;

/// Hands the entries in `bytes` on, until there is no room or what is left is no whole entry.
///
/// # Errors
///
/// `EIO` for a name that there cannot be.
fn emit(mut bytes: &[u8], entries: &mut DirEmitter<'_>) -> Result {
    while let Ok((entry, rest)) = Dirent::read_from_prefix(bytes) {
        let len = entry.namelen as usize;
        if !(1..=NAME_MAX).contains(&len) {
            return Err(EIO);
        }
        let record = Dirent::record_size(len).and_then(|size| bytes.get(size..));
        let (Some(next), Some(name)) = (record, rest.get(..len)) else {
            break;
        };
        if name.contains(&b'/') {
            return Err(EIO);
        }
        if !entries.emit(name, entry.ino, entry.r#type) {
            break;
        }
        // CAST: Positions are the daemon's; the kernel only keeps them.
        entries.set_position(entry.off as i64);
        bytes = next;
    }
    Ok(())
}
