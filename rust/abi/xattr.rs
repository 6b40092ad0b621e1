// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Sets an extended attribute: `SETXATTR`. The name and then `size` bytes of value follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SetxattrIn {
    /// Bytes in the value.
    pub size: u32,
    /// The `XATTR_…` flags of `setxattr(2)`.
    pub flags: u32,
    /// Some of [`setxattr_flags`].
    pub setxattr_flags: u32,
    /// Zero.
    pub padding: u32,
}

impl SetxattrIn {
    /// Its size without `SETXATTR_EXT`: up to `flags`.
    pub const COMPAT_SIZE: usize = 8;
}

/// Values of [`SetxattrIn::setxattr_flags`].
pub mod setxattr_flags {
    /// Setting this ACL is to clear the set-group-ID bit.
    pub const ACL_KILL_SGID: u32 = 1 << 0;
}

/// Reads an extended attribute, or the list of names: `GETXATTR`, whose name follows, and
/// `LISTXATTR`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct GetxattrIn {
    /// Bytes that the caller has room for; 0 asks for the size only.
    pub size: u32,
    /// Zero.
    pub padding: u32,
}

/// The reply to `GETXATTR` and `LISTXATTR` with a `size` of 0. To others it is the value itself.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct GetxattrOut {
    /// Bytes in the value.
    pub size: u32,
    /// Zero.
    pub padding: u32,
}

assert_sizes! {
    SetxattrIn: 16,
    GetxattrIn: 8,
    GetxattrOut: 8,
}
