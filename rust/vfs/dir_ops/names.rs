// SPDX-License-Identifier: GPL-2.0

//! What the C side calls to change the names in a directory.

use super::{DirectoryOperations, IdMap, Names, RenameFlags};
use crate::{
    bindings,
    vfs::{
        dentry::{NamedDEntry, NegativeDEntry, Resolved},
        inode::INode,
    },
};
use kernel::{error::from_result, prelude::*};

/// A callback that makes something which is no directory. After the directory and the entry come
/// the arguments in the brackets, with their types on the C side.
macro_rules! make_callback {
    ($name:ident, [$($argument:ident: $type:ty = $value:expr),*]) => {
        /// # Safety
        ///
        /// To be called as the operation of that name in `struct inode_operations`, for this type.
        pub(super) unsafe extern "C" fn $name(
            idmap: *mut bindings::mnt_idmap,
            dir: *mut bindings::inode,
            dentry: *mut bindings::dentry,
            $($argument: $type),*
        ) -> c_int {
            from_result(|| {
                // SAFETY: The C side gives a locked directory of this file system, an entry for a
                // name that is not in it, a map for the call, and arguments that fit the name.
                let made = unsafe {
                    D::$name(
                        IdMap::from_raw(idmap),
                        INode::from_raw(dir),
                        NegativeDEntry::from_raw(dentry),
                        $($value),*
                    )
                };
                // Only a directory may have got another entry.
                made.map(|_| 0)
            })
        }
    };
}

/// A callback that takes a name away.
macro_rules! remove_callback {
    ($name:ident) => {
        /// # Safety
        ///
        /// To be called as the operation of that name in `struct inode_operations`, for this type.
        pub(super) unsafe extern "C" fn $name(
            dir: *mut bindings::inode,
            dentry: *mut bindings::dentry,
        ) -> c_int {
            // SAFETY: The C side gives a locked directory of this file system, and an entry in it.
            from_result(|| unsafe {
                D::$name(INode::from_raw(dir), NamedDEntry::from_raw(dentry)).map(|()| 0)
            })
        }
    };
}

impl<D: DirectoryOperations> Names<D> {
    make_callback!(create, [mode: bindings::umode_t = mode.into()]);
    make_callback!(mknod, [
        mode: bindings::umode_t = mode.into(),
        device: bindings::dev_t = bindings::new_encode_dev(device)
    ]);
    make_callback!(symlink, [target: *const c_char = CStr::from_char_ptr(target)]);
    remove_callback!(unlink);
    remove_callback!(rmdir);

    /// # Safety
    ///
    /// To be called as `mkdir` of `struct inode_operations`, for this type.
    pub(super) unsafe extern "C" fn mkdir(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        mode: bindings::umode_t,
    ) -> *mut bindings::dentry {
        // SAFETY: The C side gives a locked directory of this file system, an entry for a name that
        // is not in it, and a map for the call.
        let made = unsafe {
            D::mkdir(
                IdMap::from_raw(idmap),
                INode::from_raw(dir),
                NegativeDEntry::from_raw(dentry),
                mode.into(),
            )
        };
        made.map_or_else(Error::to_ptr, Resolved::into_raw)
    }

    /// # Safety
    ///
    /// To be called as `link` of `struct inode_operations`, for this type.
    pub(super) unsafe extern "C" fn link(
        old: *mut bindings::dentry,
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
    ) -> c_int {
        // SAFETY: The C side gives an entry with an inode of this file system, a locked directory
        // of it, and an entry for a name that is not in that.
        from_result(|| unsafe {
            D::link(
                INode::from_raw(bindings::d_inode(old)),
                INode::from_raw(dir),
                NegativeDEntry::from_raw(dentry),
            )
            .map(|_| 0)
        })
    }

    /// # Safety
    ///
    /// To be called as `rename` of `struct inode_operations`, for this type.
    pub(super) unsafe extern "C" fn rename(
        idmap: *mut bindings::mnt_idmap,
        old_dir: *mut bindings::inode,
        old: *mut bindings::dentry,
        new_dir: *mut bindings::inode,
        new: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        // SAFETY: The C side gives locked directories of this file system, an entry in each, and a
        // map for the call.
        from_result(|| unsafe {
            D::rename(
                IdMap::from_raw(idmap),
                (INode::from_raw(old_dir), NamedDEntry::from_raw(old)),
                (INode::from_raw(new_dir), NamedDEntry::from_raw(new)),
                RenameFlags(flags),
            )
            .map(|()| 0)
        })
    }
}
