// SPDX-License-Identifier: GPL-2.0

//! What every request and reply starts with, and the extensions a request may end with.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The head of every request.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct InHeader {
    /// Bytes in the whole request, this header included.
    pub len: u32,
    /// What is asked for: an [`Opcode`](super::Opcode).
    pub opcode: u32,
    /// Names the request in the reply. Even; an `INTERRUPT` has that of its request, plus one.
    pub unique: u64,
    /// The inode that the operation is on.
    pub nodeid: u64,
    /// The caller's file system user ID, as the daemon's user namespace has it.
    pub uid: u32,
    /// The caller's file system group ID, as the daemon's user namespace has it.
    pub gid: u32,
    /// The calling thread, as the daemon's PID namespace has it; 0 when it is not in there.
    pub pid: u32,
    /// Length of the extensions at the end of the request, in units of 8 bytes.
    pub total_extlen: u16,
    /// Zero.
    pub padding: u16,
}

/// The head of every reply and notification.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct OutHeader {
    /// Bytes in the whole reply, this header included: exactly what is written.
    pub len: u32,
    /// 0, or a negated errno above -512. In a notification, its [`NotifyCode`](super::NotifyCode).
    pub error: i32,
    /// That of the request; 0 for a notification.
    pub unique: u64,
}

/// Set in the `unique` of a request that is handed out once more, after `NOTIFY_RESEND`.
pub const UNIQUE_RESEND: u64 = 1 << 63;

/// Set in the `unique` of an `INTERRUPT`: the rest is the request to be interrupted.
pub const UNIQUE_INTERRUPT: u64 = 1;

/// Stands in [`InHeader::uid`] and [`InHeader::gid`] when `ALLOW_IDMAP` is on and the operation
/// has no mapping for the caller's IDs.
pub const INVALID_UIDGID: u32 = u32::MAX;

/// The head of an extension.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ExtHeader {
    /// Bytes in the extension, this header included.
    pub size: u32,
    /// One of [`ext_type`]; up to [`ext_type::MAX_NR_SECCTX`] this is a [`SecctxHeader`].
    pub r#type: u32,
}

/// Values of [`ExtHeader::type`](ExtHeader).
pub mod ext_type {
    /// Values up to this one count the contexts that follow a [`SecctxHeader`](super::SecctxHeader).
    pub const MAX_NR_SECCTX: u32 = 31;
    /// A [`SuppGroups`](super::SuppGroups).
    pub const EXT_GROUPS: u32 = 32;
}

/// The head of the supplementary groups extension; `nr_groups` group IDs of 4 bytes follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SuppGroups {
    /// How many group IDs follow.
    pub nr_groups: u32,
}

/// The head of the security contexts that a new inode gets; `nr_secctx` of [`Secctx`] follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SecctxHeader {
    /// Bytes in all of the contexts, this header included.
    pub size: u32,
    /// How many contexts follow.
    pub nr_secctx: u32,
}

/// One security context; its name, ended by a zero byte, and `size` bytes of label follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Secctx {
    /// Bytes in the label.
    pub size: u32,
    /// Zero.
    pub padding: u32,
}

assert_sizes! {
    InHeader: 40,
    OutHeader: 16,
    ExtHeader: 8,
    SuppGroups: 4,
    SecctxHeader: 8,
    Secctx: 8,
}
