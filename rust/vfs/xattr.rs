// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.
//!
//! C headers: [`include/linux/xattr.h`](srctree/include/linux/xattr.h)

use crate::{
    bindings,
    vfs::{filesystem::FileSystem, inode::INode},
};
use core::{marker::PhantomData, mem::MaybeUninit, ptr, slice};
use kernel::{error::from_result, prelude::*, str::CStrExt};

/// The longest value that there can be, in bytes.
pub(crate) const MAX_VALUE: usize = bindings::XATTR_SIZE_MAX as usize;

/// The longest list of names that there can be, in bytes.
pub(crate) const MAX_LIST: usize = bindings::XATTR_LIST_MAX as usize;

/// What a file system does with extended attributes of all names. The VFS has checked who may, as far
/// as that depends on the name and the inode. All methods may sleep.
pub(crate) trait XAttrOperations: 'static {
    /// The file system.
    type FileSystem: FileSystem;

    /// Gets the value of an attribute; returns its length in bytes. `ENODATA` when it is not there.
    fn get(inode: &INode<Self::FileSystem>, name: &CStr, to: Destination<'_>) -> Result<usize>;

    /// Sets the value of an attribute; `flags` are those of setxattr(2). The inode is locked.
    fn set(inode: &INode<Self::FileSystem>, name: &CStr, value: &[u8], flags: u32) -> Result;

    /// Removes an attribute. The inode is locked.
    fn remove(inode: &INode<Self::FileSystem>, name: &CStr) -> Result;
}

/// Where a value or a list of names goes.
pub(crate) struct Destination<'a>(&'a mut [MaybeUninit<u8>]);

impl Destination<'_> {
    /// # Safety
    ///
    /// When `size` is not 0, `ptr` must be to that many bytes that are the caller's to fill for as long
    /// as the value is used.
    pub(super) unsafe fn from_raw(ptr: *mut c_void, size: usize) -> Self {
        if size == 0 {
            return Self(&mut []);
        }
        // SAFETY: By the function's contract.
        Self(unsafe { slice::from_raw_parts_mut(ptr.cast(), size) })
    }

    /// How many bytes there is room for; with 0, only the length is asked for.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Puts `bytes` there; returns how many these are.
    ///
    /// # Errors
    ///
    /// `ERANGE` when they are too many.
    pub(crate) fn fill(self, bytes: &[u8]) -> Result<usize> {
        let room = self.0.get_mut(..bytes.len()).ok_or(ERANGE)?;
        for (to, from) in room.iter_mut().zip(bytes) {
            to.write(*from);
        }
        Ok(bytes.len())
    }
}

/// The handlers for the attributes of `X`.
pub(super) fn handlers<X: XAttrOperations>() -> *const *const bindings::xattr_handler {
    let handlers: &'static [_; 2] = &Callbacks::<X>::HANDLERS;
    handlers.as_ptr()
}

/// What the C side calls.
struct Callbacks<X: XAttrOperations>(PhantomData<X>);

impl<X: XAttrOperations> Callbacks<X> {
    const HANDLERS: [*const bindings::xattr_handler; 2] = [&Self::HANDLER, ptr::null()];

    const HANDLER: bindings::xattr_handler = bindings::xattr_handler {
        // All names begin with this.
        prefix: c"".to_bytes_with_nul().as_ptr(),
        get: Some(Self::get),
        set: Some(Self::set),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// To be called as `get` of `struct xattr_handler`, for this type.
    unsafe extern "C" fn get(
        _handler: *const bindings::xattr_handler,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        value: *mut c_void,
        size: usize,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives an inode of this file system, and a name and room for the call.
            let (inode, name, to) = unsafe {
                (
                    INode::from_raw(inode),
                    CStr::from_char_ptr(name),
                    Destination::from_raw(value, size),
                )
            };
            X::get(inode, name, to).map(length)
        })
    }

    /// # Safety
    ///
    /// To be called as `set` of `struct xattr_handler`, for this type.
    unsafe extern "C" fn set(
        _handler: *const bindings::xattr_handler,
        _idmap: *mut bindings::mnt_idmap,
        _dentry: *mut bindings::dentry,
        inode: *mut bindings::inode,
        name: *const c_char,
        value: *const c_void,
        size: usize,
        flags: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives an inode of this file system and a name for the call.
            let (inode, name) = unsafe { (INode::from_raw(inode), CStr::from_char_ptr(name)) };
            if value.is_null() {
                return X::remove(inode, name).map(|()| 0);
            }
            // SAFETY: The C side gives that many bytes for the call.
            let value = unsafe { slice::from_raw_parts(value.cast(), size) };
            X::set(inode, name, value, flags as u32).map(|()| 0)
        })
    }
}

/// A length as the C side wants it.
pub(super) fn length(bytes: usize) -> c_int {
    // CAST: At most what there is room for, or the largest there can be: 64 KiB.
    bytes as c_int
}
