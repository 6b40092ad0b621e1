// SPDX-License-Identifier: GPL-2.0

//! Operations on inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::{
    bindings,
    vfs::{
        acl::{Acl, AclKind, OwnedAcl},
        dentry::DEntry,
        fileattr::FileAttr,
        filesystem::FileSystem,
        inode::INode,
        ns::{Gid, Uid, UserNamespace},
        setattr::Changes,
        stat::{Stat, StatRequest},
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
    pub(super) unsafe fn from_raw(ptr: *mut bindings::mnt_idmap) -> Self {
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

/// The table of operations of `O`.
pub(super) const fn table<O: INodeOperations>() -> &'static bindings::inode_operations {
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
        ..pin_init::zeroed()
    };

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
            let request = StatRequest::new(id_map, mask, flags);
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
