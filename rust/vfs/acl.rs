// SPDX-License-Identifier: GPL-2.0

//! POSIX access control lists.
//!
//! C headers: [`include/linux/posix_acl.h`](srctree/include/linux/posix_acl.h)

use crate::{bindings, vfs::ns::UserNamespace};
use core::{marker::PhantomData, ptr::NonNull, slice};
use kernel::{error::from_err_ptr, prelude::*};

/// Which of an inode's lists.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AclKind {
    /// Who may do what with it.
    Access,
    /// What is given to what is made in it.
    Default,
}

impl AclKind {
    /// That of the C side, where it is one.
    pub(super) fn from_raw(kind: c_int) -> Option<Self> {
        match kind as u32 {
            bindings::ACL_TYPE_ACCESS => Some(Self::Access),
            bindings::ACL_TYPE_DEFAULT => Some(Self::Default),
            _ => None,
        }
    }

    /// The extended attribute that holds it.
    pub(crate) fn xattr_name(self) -> &'static CStr {
        match self {
            Self::Access => c"system.posix_acl_access",
            Self::Default => c"system.posix_acl_default",
        }
    }
}

/// An access control list that somebody else keeps.
#[derive(Clone, Copy)]
pub(crate) struct Acl<'a>(NonNull<bindings::posix_acl>, PhantomData<&'a ()>);

impl Acl<'_> {
    /// The list behind a C pointer; `None` when that is null.
    ///
    /// # Safety
    ///
    /// Unless it is null, `ptr` must be to a list that stays for as long as the value is used.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::posix_acl) -> Option<Self> {
        NonNull::new(ptr).map(|acl| Self(acl, PhantomData))
    }

    /// The value of an extended attribute that holds the list, with the numbers of `ns`. ENOMEM.
    pub(crate) fn to_xattr(self, ns: &UserNamespace) -> Result<KVVec<u8>> {
        let mut size = 0;
        // SAFETY: The arguments are valid.
        let value = NonNull::new(unsafe {
            bindings::posix_acl_to_xattr(
                ns.as_ptr(),
                self.0.as_ptr(),
                &mut size,
                bindings::GFP_KERNEL,
            )
        })
        .ok_or(ENOMEM)?;
        let mut bytes = KVVec::new();
        // SAFETY: The value has that many bytes.
        let value_bytes = unsafe { slice::from_raw_parts(value.as_ptr().cast(), size) };
        let copied = bytes.extend_from_slice(value_bytes, GFP_KERNEL);
        // SAFETY: It was allocated for us.
        unsafe { bindings::kfree(value.as_ptr()) };
        copied?;
        Ok(bytes)
    }
}

/// A reference to an access control list that keeps it.
///
/// # Invariants
///
/// Owns a reference count.
pub(crate) struct OwnedAcl(NonNull<bindings::posix_acl>);

impl OwnedAcl {
    /// The list in the value of an extended attribute, with the numbers of `ns`; `None` when it says
    /// nothing.
    ///
    /// # Errors
    ///
    /// `EINVAL` or `EOPNOTSUPP` when it makes no sense; `ENOMEM`.
    pub(crate) fn from_xattr(ns: &UserNamespace, value: &[u8]) -> Result<Option<Self>> {
        // SAFETY: The arguments are valid.
        let acl = from_err_ptr(unsafe {
            bindings::posix_acl_from_xattr(ns.as_ptr(), value.as_ptr().cast(), value.len())
        })?;
        // INVARIANT: It was made for us.
        Ok(NonNull::new(acl).map(Self))
    }

    /// Gives the reference to the C side.
    pub(super) fn into_raw(self) -> *mut bindings::posix_acl {
        core::mem::ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for OwnedAcl {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to give up.
        unsafe { bindings::posix_acl_release(self.0.as_ptr()) };
    }
}
