// SPDX-License-Identifier: GPL-2.0

//! Operations on inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

mod create;
mod names;

pub(crate) use create::{OpenFile, Opened};

use crate::{
    bindings,
    vfs::{
        acl::{Acl, AclKind, OwnedAcl},
        dentry::{self, DEntry, LookupFlags, NamedDEntry, NegativeDEntry, NewDEntry, Resolved},
        file::NewFile,
        fileattr::FileAttr,
        filesystem::FileSystem,
        inode::{INode, Time},
        ns::{Gid, Uid, UserNamespace},
        setattr::Changes,
        symlink::Link,
        xattr::{self, Destination},
    },
};
use core::{marker::PhantomData, ptr};
use kernel::{
    error::{from_result, to_result, VTABLE_DEFAULT_ERROR},
    prelude::*,
};

/// What can be done with an inode. What an implementation leaves out, the VFS does by itself or
/// refuses.
///
/// Unless said otherwise the methods run in the context of a task and may sleep.
#[vtable]
pub(crate) trait INodeOperations: Sized + 'static {
    /// The file system.
    type FileSystem: FileSystem;

    /// Finds out what a name in a directory stands for. The directory is locked.
    fn lookup<'a>(
        _dir: &INode<Self::FileSystem>,
        _dentry: NewDEntry<'a, Self::FileSystem>,
        _flags: LookupFlags,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The text of a symbolic link. `dentry` is `None` in a path walk under RCU: then what would
    /// sleep returns `ECHILD`.
    fn get_link(
        _dentry: Option<&DEntry<Self::FileSystem>>,
        _inode: &INode<Self::FileSystem>,
    ) -> Result<Link> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Whether the running task may do what `access` says. Must not sleep when
    /// `access.must_not_block()`: then what would sleep returns `ECHILD`.
    fn permission(_id_map: IdMap<'_>, _inode: &INode<Self::FileSystem>, _access: Access) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Fills `stat` with what is asked for.
    fn getattr(
        _inode: &INode<Self::FileSystem>,
        _request: StatRequest<'_>,
        _stat: &mut Stat,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Changes attributes. The inode is locked.
    fn setattr(
        _id_map: IdMap<'_>,
        _dentry: &DEntry<Self::FileSystem>,
        _changes: &mut Changes,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The names of all extended attributes, each with a zero byte at its end; returns how many bytes
    /// these are.
    fn listxattr(_inode: &INode<Self::FileSystem>, _to: Destination<'_>) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An access control list to judge by. Must not sleep when `must_not_block`: then what would
    /// sleep returns `ECHILD`.
    fn get_inode_acl(
        _inode: &INode<Self::FileSystem>,
        _kind: AclKind,
        _must_not_block: bool,
    ) -> Result<Option<OwnedAcl>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An access control list, for user space to see.
    fn get_acl(_dentry: &DEntry<Self::FileSystem>, _kind: AclKind) -> Result<Option<OwnedAcl>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets an access control list, or removes it. The inode is locked.
    fn set_acl(
        _id_map: IdMap<'_>,
        _dentry: &DEntry<Self::FileSystem>,
        _acl: Option<Acl<'_>>,
        _kind: AclKind,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Fills in attributes that have no place in stat(2), in one of the two forms; which is wanted is
    /// advice. `ENOTTY` when there are none.
    fn fileattr_get(_inode: &INode<Self::FileSystem>, _attributes: &mut FileAttr) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets them. The VFS has checked them against what [`Self::fileattr_get`] says, and the inode is
    /// locked.
    fn fileattr_set(_inode: &INode<Self::FileSystem>, _attributes: &FileAttr) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file. The directory is locked, as it is for the methods below; `mode` has the
    /// type and the permissions that are wanted.
    fn create<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _mode: u32,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file and opens it, where a lookup has found no such name; `flags` are those of
    /// open(2), with `O_CREAT` among them. Without this, the VFS calls [`Self::create`] and then
    /// [`FileOperations::open`](super::file::FileOperations::open).
    fn atomic_open<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _file: NewFile<'a>,
        _flags: u32,
        _mode: u32,
    ) -> Result<Opened<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file without a name and opens it. The directory is not locked; the entry is
    /// to get its inode where it is.
    fn tmpfile<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _file: NewFile<'a>,
        _flags: u32,
        _mode: u32,
    ) -> Result<OpenFile<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a special file, or a regular one. `device` is the number it stands for, as user space
    /// has it.
    fn mknod<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _mode: u32,
        _device: u32,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a directory.
    fn mkdir<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _mode: u32,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a symbolic link to `target`.
    fn symlink<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _target: &CStr,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Gives `inode`, which is no directory, one more name.
    fn link<'a>(
        _inode: &INode<Self::FileSystem>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes a name from what is not a directory.
    fn unlink(
        _dir: &INode<Self::FileSystem>,
        _dentry: NamedDEntry<'_, Self::FileSystem>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes the name from an empty directory.
    fn rmdir(_dir: &INode<Self::FileSystem>, _dentry: NamedDEntry<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Gives what is at `from` the name `to`, each a directory and an entry in it. Both directories
    /// are locked, and no directory comes to be in itself.
    fn rename(
        _id_map: IdMap<'_>,
        _from: (&INode<Self::FileSystem>, NamedDEntry<'_, Self::FileSystem>),
        _to: (&INode<Self::FileSystem>, NamedDEntry<'_, Self::FileSystem>),
        _flags: RenameFlags,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What renameat2(2) is to do beside renaming: `RENAME_*`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RenameFlags(u32);

impl RenameFlags {
    const KNOWN: u32 =
        bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE | bindings::RENAME_WHITEOUT;

    /// The flags as user space has them.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// Whether there are none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether there are others than those of Linux 7.3.
    pub(crate) fn has_unknown(self) -> bool {
        self.0 & !Self::KNOWN != 0
    }

    /// The two names change places.
    pub(crate) fn exchanges(self) -> bool {
        self.0 & bindings::RENAME_EXCHANGE != 0
    }

    /// Whether a device is to be made where the file was.
    pub(crate) fn leaves_whiteout(self) -> bool {
        self.0 & bindings::RENAME_WHITEOUT != 0
    }
}

/// How the ids of a mount map to those of the file system.
///
/// # Invariants
///
/// The pointer is valid for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct IdMap<'a>(*mut bindings::mnt_idmap, PhantomData<&'a ()>);

impl IdMap<'_> {
    /// # Safety
    ///
    /// `ptr` must be valid for as long as the value is used.
    unsafe fn from_raw(ptr: *mut bindings::mnt_idmap) -> Self {
        // INVARIANT: By the function's contract.
        Self(ptr, PhantomData)
    }

    /// The map that leaves ids as they are.
    pub(crate) fn none() -> Self {
        // INVARIANT: It is there for good.
        Self(&raw mut bindings::nop_mnt_idmap, PhantomData)
    }

    /// The C pointer.
    pub(super) fn as_ptr(self) -> *mut bindings::mnt_idmap {
        self.0
    }

    /// The file system user and group of the running task, as a file system in `ns` has them; nobody
    /// where the map has none.
    pub(crate) fn current(self, ns: &UserNamespace) -> (Uid, Gid) {
        // SAFETY: The arguments are valid.
        unsafe {
            (
                Uid(bindings::mapped_fsuid(self.0, ns.as_ptr())),
                Gid(bindings::mapped_fsgid(self.0, ns.as_ptr())),
            )
        }
    }

    /// Whether the running task is in the group of `inode` by a supplementary group, and has another
    /// one for making files.
    pub(crate) fn in_group_as_supplementary<T: FileSystem>(self, inode: &INode<T>) -> bool {
        // SAFETY: The arguments are valid.
        unsafe {
            let group = bindings::i_gid_into_vfsgid(self.0, inode.as_ptr());
            !bindings::vfsgid_eq_kgid(group, bindings::current_fsgid())
                && bindings::vfsgid_in_group_p(group) != 0
        }
    }

    /// Whether the running task is in the group of `inode`, or has the capability to do as if it were
    /// (`CAP_FSETID`).
    pub(crate) fn in_group_or_capable<T: FileSystem>(self, inode: &INode<T>) -> bool {
        // SAFETY: The arguments are valid.
        unsafe { bindings::inode_in_group_or_capable(self.0, inode.as_ptr()) }
    }
}

/// What somebody wants to do with an inode: `MAY_*`.
#[derive(Clone, Copy)]
pub(crate) struct Access(u32);

impl Access {
    /// Whether `permission` must not sleep.
    pub(crate) fn must_not_block(self) -> bool {
        self.0 & bindings::MAY_NOT_BLOCK != 0
    }

    /// Whether it is to execute a file or to pass through a directory.
    pub(crate) fn executes(self) -> bool {
        self.0 & bindings::MAY_EXEC != 0
    }

    /// Whether it is access(2), chdir(2) or chroot(2) that asks: nothing may follow.
    pub(crate) fn only_asks(self) -> bool {
        self.0 & (bindings::MAY_ACCESS | bindings::MAY_CHDIR) != 0
    }

    /// What is wanted, as access(2) has it: a sum of `R_OK` (4), `W_OK` (2), `X_OK` (1).
    pub(crate) fn mode(self) -> u32 {
        self.0 & (bindings::MAY_READ | bindings::MAY_WRITE | bindings::MAY_EXEC)
    }

    /// Checks the access by the inode's owner and permissions. May sleep unless
    /// `must_not_block()`.
    ///
    /// # Errors
    ///
    /// `EACCES`, `EPERM`, `ECHILD`.
    pub(crate) fn check<T: FileSystem>(self, id_map: IdMap<'_>, inode: &INode<T>) -> Result {
        // SAFETY: The arguments are valid.
        to_result(unsafe {
            bindings::generic_permission(id_map.0, inode.as_ptr(), self.0 as c_int)
        })
    }
}

/// What somebody wants to know of an inode.
#[derive(Clone, Copy)]
pub(crate) struct StatRequest<'a> {
    id_map: IdMap<'a>,
    mask: u32,
    flags: u32,
}

impl StatRequest<'_> {
    /// Which fields are asked for: `STATX_*`.
    pub(crate) fn mask(&self) -> u32 {
        self.mask
    }

    /// Whether what is cached will not do (`AT_STATX_FORCE_SYNC`).
    pub(crate) fn wants_fresh(&self) -> bool {
        self.flags & bindings::AT_STATX_FORCE_SYNC != 0
    }

    /// Whether what is cached will do, however old (`AT_STATX_DONT_SYNC`).
    pub(crate) fn accepts_stale(&self) -> bool {
        self.flags & bindings::AT_STATX_DONT_SYNC != 0
    }
}

/// The fields that every file system has: `STATX_BASIC_STATS`.
pub(crate) const BASIC_STATS: u32 = bindings::STATX_BASIC_STATS;

/// When the file was made.
pub(crate) const BIRTH_STAT: u32 = bindings::STATX_BTIME;

/// When the contents were last changed.
pub(crate) const MTIME_STAT: u32 = bindings::STATX_MTIME;

/// The type.
pub(crate) const TYPE_STAT: u32 = bindings::STATX_TYPE;

/// The fields that permissions depend on.
pub(crate) const PERMISSION_STATS: u32 =
    bindings::STATX_MODE | bindings::STATX_UID | bindings::STATX_GID;

/// The time of the last read.
pub(crate) const ATIME_STAT: u32 = bindings::STATX_ATIME;

/// What a write changes beside the size.
pub(crate) const MODIFY_STATS: u32 =
    bindings::STATX_MTIME | bindings::STATX_CTIME | bindings::STATX_BLOCKS;

/// What changes with the entries of a directory.
pub(crate) const DIRECTORY_STATS: u32 = MODIFY_STATS | bindings::STATX_SIZE | bindings::STATX_NLINK;

/// The time of the last change of the inode.
pub(crate) const CTIME_STAT: u32 = bindings::STATX_CTIME;

/// The type and the permissions.
pub(crate) const MODE_STAT: u32 = bindings::STATX_MODE;

/// The space it takes.
pub(crate) const BLOCKS_STAT: u32 = bindings::STATX_BLOCKS;

/// The size.
pub(crate) const SIZE_STAT: u32 = bindings::STATX_SIZE;

/// Attributes of an inode, for stat(2).
#[repr(transparent)]
pub(crate) struct Stat(bindings::kstat);

/// The attributes that a file system has of an inode.
pub(crate) struct Attributes {
    /// The number that user space knows the file by.
    pub(crate) number: u64,
    /// Permissions.
    pub(crate) permissions: u32,
    /// How many names it has.
    pub(crate) link_count: u32,
    /// Who owns it.
    pub(crate) uid: Uid,
    /// Which group does.
    pub(crate) gid: Gid,
    /// The size in bytes.
    pub(crate) size: u64,
    /// The space it takes, in units of 512 bytes.
    pub(crate) blocks: u64,
    /// The size of a block, as a power of two.
    pub(crate) block_bits: u8,
    /// When it was last read.
    pub(crate) atime: Time,
    /// When it was last modified.
    pub(crate) mtime: Time,
    /// When the inode was last changed.
    pub(crate) ctime: Time,
}

impl Stat {
    /// Says nothing but which superblock the inode is on.
    pub(crate) fn fill_device_only<T: FileSystem>(&mut self, inode: &INode<T>) {
        self.0.result_mask = 0;
        self.0.dev = inode.super_block().device();
    }

    /// Takes all from the inode.
    pub(crate) fn fill_cached<T: FileSystem>(
        &mut self,
        request: StatRequest<'_>,
        inode: &INode<T>,
    ) {
        // SAFETY: The arguments are valid.
        unsafe {
            bindings::generic_fillattr(request.id_map.0, request.mask, inode.as_ptr(), &mut self.0)
        };
    }

    /// Says which fields are valid, beside the type.
    pub(crate) fn set_mask(&mut self, mask: u32) {
        self.0.result_mask = mask | bindings::STATX_TYPE;
    }

    /// Says when the file was made.
    pub(crate) fn set_birth(&mut self, time: Time) {
        self.0.result_mask |= bindings::STATX_BTIME;
        self.0.btime = time.to_raw();
    }

    /// Corrects what [`Self::fill_cached`] took from the inode.
    pub(crate) fn correct(&mut self, number: u64, permissions: u32, block_bits: u8) {
        self.0.ino = number;
        self.0.mode = self.0.mode & bindings::S_IFMT as u16 | (permissions & 0o7777) as u16;
        self.0.blksize = 1 << block_bits.min(31);
    }

    /// Takes all from `attributes`, but the type and the device from the inode.
    pub(crate) fn fill<T: FileSystem>(
        &mut self,
        request: StatRequest<'_>,
        inode: &INode<T>,
        attributes: &Attributes,
    ) {
        // SAFETY: The namespace and the map are valid.
        let (uid, gid) = unsafe {
            let ns = inode.super_block().user_ns().as_ptr();
            (
                bindings::mapped_kuid(request.id_map.0, ns, attributes.uid.0),
                bindings::mapped_kgid(request.id_map.0, ns, attributes.gid.0),
            )
        };
        let stat = &mut self.0;
        stat.dev = inode.super_block().device();
        stat.ino = attributes.number;
        stat.mode = (inode.mode() & bindings::S_IFMT | attributes.permissions & 0o7777) as u16;
        stat.nlink = attributes.link_count;
        stat.uid = uid;
        stat.gid = gid;
        // SAFETY: The inode is valid, and the field constant.
        stat.rdev = unsafe { (*inode.as_ptr()).i_rdev };
        stat.atime = attributes.atime.to_raw();
        stat.mtime = attributes.mtime.to_raw();
        stat.ctime = attributes.ctime.to_raw();
        stat.size = i64::try_from(attributes.size).unwrap_or(i64::MAX);
        stat.blocks = attributes.blocks;
        stat.blksize = 1 << attributes.block_bits.min(31);
    }
}

/// The table of operations of `O`.
pub(super) fn table<O: INodeOperations>() -> &'static bindings::inode_operations {
    &Callbacks::<O>::OPERATIONS
}

/// The list that `get` finds, as the C side wants it.
fn give_acl(
    kind: c_int,
    get: impl FnOnce(AclKind) -> Result<Option<OwnedAcl>>,
) -> *mut bindings::posix_acl {
    match AclKind::from_raw(kind).ok_or(EOPNOTSUPP).and_then(get) {
        Ok(acl) => acl.map_or(ptr::null_mut(), OwnedAcl::into_raw),
        Err(err) => err.to_ptr(),
    }
}

/// What the C side calls.
struct Callbacks<O: INodeOperations>(PhantomData<O>);

impl<O: INodeOperations> Callbacks<O> {
    const OPERATIONS: bindings::inode_operations = bindings::inode_operations {
        lookup: if O::HAS_LOOKUP {
            Some(Self::lookup)
        } else {
            None
        },
        get_link: if O::HAS_GET_LINK {
            Some(Self::get_link)
        } else {
            None
        },
        permission: if O::HAS_PERMISSION {
            Some(Self::permission)
        } else {
            None
        },
        getattr: if O::HAS_GETATTR {
            Some(Self::getattr)
        } else {
            None
        },
        setattr: if O::HAS_SETATTR {
            Some(Self::setattr)
        } else {
            None
        },
        listxattr: if O::HAS_LISTXATTR {
            Some(Self::listxattr)
        } else {
            None
        },
        get_inode_acl: if O::HAS_GET_INODE_ACL {
            Some(Self::get_inode_acl)
        } else {
            None
        },
        get_acl: if O::HAS_GET_ACL {
            Some(Self::get_acl)
        } else {
            None
        },
        set_acl: if O::HAS_SET_ACL {
            Some(Self::set_acl)
        } else {
            None
        },
        fileattr_get: if O::HAS_FILEATTR_GET {
            Some(Self::fileattr_get)
        } else {
            None
        },
        fileattr_set: if O::HAS_FILEATTR_SET {
            Some(Self::fileattr_set)
        } else {
            None
        },
        create: if O::HAS_CREATE {
            Some(Self::create)
        } else {
            None
        },
        atomic_open: if O::HAS_ATOMIC_OPEN {
            Some(Self::atomic_open)
        } else {
            None
        },
        tmpfile: if O::HAS_TMPFILE {
            Some(Self::tmpfile)
        } else {
            None
        },
        mknod: if O::HAS_MKNOD {
            Some(Self::mknod)
        } else {
            None
        },
        mkdir: if O::HAS_MKDIR {
            Some(Self::mkdir)
        } else {
            None
        },
        symlink: if O::HAS_SYMLINK {
            Some(Self::symlink)
        } else {
            None
        },
        link: if O::HAS_LINK { Some(Self::link) } else { None },
        unlink: if O::HAS_UNLINK {
            Some(Self::unlink)
        } else {
            None
        },
        rmdir: if O::HAS_RMDIR {
            Some(Self::rmdir)
        } else {
            None
        },
        rename: if O::HAS_RENAME {
            Some(Self::rename)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// To be called as `lookup` of `struct inode_operations`, for this type.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: The C side gives a directory of this file system, and an entry to look up.
        unsafe {
            let dir = INode::from_raw(dir);
            dentry::lookup(dentry, |dentry| O::lookup(dir, dentry, LookupFlags(flags)))
        }
    }

    /// # Safety
    ///
    /// To be called as `get_link` of `struct inode_operations`, for this type.
    unsafe extern "C" fn get_link(
        dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        done: *mut bindings::delayed_call,
    ) -> *const c_char {
        // SAFETY: The C side gives an inode of this file system, and an entry for it or null.
        let (dentry, inode) = unsafe {
            let dentry = (!dentry.is_null()).then(|| DEntry::from_raw(dentry));
            (dentry, INode::from_raw(inode))
        };
        // SAFETY: `done` is ours to set.
        let text = O::get_link(dentry, inode).and_then(|link| unsafe { link.into_raw(done) });
        text.unwrap_or_else(|err| err.to_ptr())
    }

    /// # Safety
    ///
    /// To be called as `permission` of `struct inode_operations`, for this type.
    unsafe extern "C" fn permission(
        idmap: *mut bindings::mnt_idmap,
        inode: *mut bindings::inode,
        mask: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives an inode of this file system, and a map for the call.
            let (id_map, inode) = unsafe { (IdMap::from_raw(idmap), INode::from_raw(inode)) };
            O::permission(id_map, inode, Access(mask as u32)).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// To be called as `getattr` of `struct inode_operations`, for this type.
    unsafe extern "C" fn getattr(
        idmap: *mut bindings::mnt_idmap,
        path: *const bindings::path,
        stat: *mut bindings::kstat,
        mask: u32,
        flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives a path in this file system, a map for the call, and a
            // structure that is ours.
            let (id_map, inode, stat) = unsafe {
                (
                    IdMap::from_raw(idmap),
                    INode::from_raw(bindings::d_inode((*path).dentry)),
                    &mut *stat.cast::<Stat>(),
                )
            };
            let request = StatRequest {
                id_map,
                mask,
                flags,
            };
            O::getattr(inode, request, stat).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// To be called as `setattr` of `struct inode_operations`, for this type.
    unsafe extern "C" fn setattr(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attr: *mut bindings::iattr,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives an entry of this file system, and a map and a structure for
            // the call.
            let (id_map, dentry, changes) = unsafe {
                (
                    IdMap::from_raw(idmap),
                    DEntry::from_raw(dentry),
                    Changes::from_raw(attr),
                )
            };
            O::setattr(id_map, dentry, changes).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// To be called as `listxattr` of `struct inode_operations`, for this type.
    unsafe extern "C" fn listxattr(
        dentry: *mut bindings::dentry,
        list: *mut c_char,
        size: usize,
    ) -> isize {
        // SAFETY: The C side gives an entry of this file system that has an inode, and room for the
        // call.
        let (inode, to) = unsafe {
            (
                INode::from_raw(bindings::d_inode(dentry)),
                Destination::from_raw(list.cast(), size),
            )
        };
        match O::listxattr(inode, to) {
            Ok(bytes) => xattr::length(bytes) as isize,
            Err(err) => err.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// To be called as `get_inode_acl` of `struct inode_operations`, for this type.
    unsafe extern "C" fn get_inode_acl(
        inode: *mut bindings::inode,
        kind: c_int,
        rcu: bool,
    ) -> *mut bindings::posix_acl {
        // SAFETY: The C side gives an inode of this file system.
        let inode = unsafe { INode::from_raw(inode) };
        give_acl(kind, |kind| O::get_inode_acl(inode, kind, rcu))
    }

    /// # Safety
    ///
    /// To be called as `get_acl` of `struct inode_operations`, for this type.
    unsafe extern "C" fn get_acl(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        kind: c_int,
    ) -> *mut bindings::posix_acl {
        // SAFETY: The C side gives an entry of this file system.
        let dentry = unsafe { DEntry::from_raw(dentry) };
        give_acl(kind, |kind| O::get_acl(dentry, kind))
    }

    /// # Safety
    ///
    /// To be called as `set_acl` of `struct inode_operations`, for this type.
    unsafe extern "C" fn set_acl(
        idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        acl: *mut bindings::posix_acl,
        kind: c_int,
    ) -> c_int {
        from_result(|| {
            let kind = AclKind::from_raw(kind).ok_or(EINVAL)?;
            // SAFETY: The C side gives an entry of this file system, and a map and a list or null for
            // the call.
            let (id_map, dentry, acl) = unsafe {
                (
                    IdMap::from_raw(idmap),
                    DEntry::from_raw(dentry),
                    Acl::from_raw(acl),
                )
            };
            O::set_acl(id_map, dentry, acl, kind).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// To be called as `fileattr_get` of `struct inode_operations`, for this type.
    unsafe extern "C" fn fileattr_get(
        dentry: *mut bindings::dentry,
        attributes: *mut kernel::bindings::file_kattr,
    ) -> c_int {
        // SAFETY: The C side gives an entry of this file system that has an inode, and a structure for
        // the call.
        unsafe { Self::with_fileattr(dentry, attributes, O::fileattr_get) }
    }

    /// # Safety
    ///
    /// To be called as `fileattr_set` of `struct inode_operations`, for this type.
    unsafe extern "C" fn fileattr_set(
        _idmap: *mut bindings::mnt_idmap,
        dentry: *mut bindings::dentry,
        attributes: *mut kernel::bindings::file_kattr,
    ) -> c_int {
        // SAFETY: As for `fileattr_get`.
        unsafe {
            Self::with_fileattr(dentry, attributes, |inode, attr| {
                O::fileattr_set(inode, attr)
            })
        }
    }

    /// # Safety
    ///
    /// `dentry` must be an entry of this file system that has an inode, and `attributes` valid for the
    /// call and used by nobody else.
    unsafe fn with_fileattr(
        dentry: *mut bindings::dentry,
        attributes: *mut kernel::bindings::file_kattr,
        act: impl FnOnce(&INode<O::FileSystem>, &mut FileAttr) -> Result,
    ) -> c_int {
        // SAFETY: By the function's contract.
        let (inode, attributes) = unsafe {
            (
                INode::from_raw(bindings::d_inode(dentry)),
                FileAttr::from_raw(attributes),
            )
        };
        from_result(|| act(inode, attributes).map(|()| 0))
    }
}
