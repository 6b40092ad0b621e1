// SPDX-License-Identifier: GPL-2.0

//! Attributes of inodes and of the file system.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An inode's attributes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Attr {
    /// The inode number that callers see. Not the node ID.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Space in use, in units of 512 bytes.
    pub blocks: u64,
    /// Time of the last access, in seconds since 1970. Signed, as the other times.
    pub atime: u64,
    /// Time of the last change of contents, in seconds.
    pub mtime: u64,
    /// Time of the last change of attributes, in seconds.
    pub ctime: u64,
    /// The nanoseconds of `atime`.
    pub atimensec: u32,
    /// The nanoseconds of `mtime`.
    pub mtimensec: u32,
    /// The nanoseconds of `ctime`.
    pub ctimensec: u32,
    /// File type and permissions.
    pub mode: u32,
    /// How many names it has.
    pub nlink: u32,
    /// The user it belongs to.
    pub uid: u32,
    /// The group it belongs to.
    pub gid: u32,
    /// The number of a device file, in the kernel's encoding of 32 bits.
    pub rdev: u32,
    /// The size of I/O that suits the file best, in bytes.
    pub blksize: u32,
    /// Some of [`attr_flags`]. From minor 32 on.
    pub flags: u32,
}

/// Values of [`Attr::flags`].
pub mod attr_flags {
    /// The directory is the root of a submount.
    pub const SUBMOUNT: u32 = 1 << 0;
    /// The file is to use DAX.
    pub const DAX: u32 = 1 << 1;
}

/// Asks for attributes: `GETATTR`. Before minor 9 the request has no argument.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct GetattrIn {
    /// Some of [`getattr_flags`].
    pub getattr_flags: u32,
    /// Zero.
    pub dummy: u32,
    /// The open file, with [`getattr_flags::FH`].
    pub fh: u64,
}

/// Values of [`GetattrIn::getattr_flags`] and [`StatxIn::getattr_flags`].
pub mod getattr_flags {
    /// `fh` is valid.
    pub const FH: u32 = 1 << 0;
}

/// Gives attributes: the reply to `GETATTR` and `SETATTR`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct AttrOut {
    /// Seconds for which the kernel may use the attributes without asking again.
    pub attr_valid: u64,
    /// The nanoseconds of `attr_valid`.
    pub attr_valid_nsec: u32,
    /// Zero.
    pub dummy: u32,
    /// The attributes.
    pub attr: Attr,
}

impl AttrOut {
    /// Its size before minor 9, when [`Attr`] ended with `rdev`.
    pub const COMPAT_SIZE: usize = 96;
}

/// Changes attributes: `SETATTR`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SetattrIn {
    /// Which to change, or which fields are valid: some of [`fattr`].
    pub valid: u32,
    /// Zero.
    pub padding: u32,
    /// The open file, with [`fattr::FH`].
    pub fh: u64,
    /// The new size, in bytes.
    pub size: u64,
    /// Who asks, for the daemon's locks; with [`fattr::LOCKOWNER`].
    pub lock_owner: u64,
    /// The new time of access, in seconds since 1970.
    pub atime: u64,
    /// The new time of modification, in seconds.
    pub mtime: u64,
    /// The new time of change, in seconds.
    pub ctime: u64,
    /// The nanoseconds of `atime`.
    pub atimensec: u32,
    /// The nanoseconds of `mtime`.
    pub mtimensec: u32,
    /// The nanoseconds of `ctime`.
    pub ctimensec: u32,
    /// The new mode.
    pub mode: u32,
    /// Zero.
    pub unused4: u32,
    /// The new user.
    pub uid: u32,
    /// The new group.
    pub gid: u32,
    /// Zero.
    pub unused5: u32,
}

/// Values of [`SetattrIn::valid`].
pub mod fattr {
    /// Change the mode.
    pub const MODE: u32 = 1 << 0;
    /// Change the user.
    pub const UID: u32 = 1 << 1;
    /// Change the group.
    pub const GID: u32 = 1 << 2;
    /// Change the size.
    pub const SIZE: u32 = 1 << 3;
    /// Change the time of access.
    pub const ATIME: u32 = 1 << 4;
    /// Change the time of modification.
    pub const MTIME: u32 = 1 << 5;
    /// `fh` is valid.
    pub const FH: u32 = 1 << 6;
    /// The time of access becomes the present time, as the daemon has it.
    pub const ATIME_NOW: u32 = 1 << 7;
    /// The time of modification becomes the present time, as the daemon has it.
    pub const MTIME_NOW: u32 = 1 << 8;
    /// `lock_owner` is valid.
    pub const LOCKOWNER: u32 = 1 << 9;
    /// Change the time of change.
    pub const CTIME: u32 = 1 << 10;
    /// Clear the set-user-ID and set-group-ID bits.
    pub const KILL_SUIDGID: u32 = 1 << 11;
}

/// A time as `statx(2)` has it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SxTime {
    /// Seconds since 1970.
    pub tv_sec: i64,
    /// Nanoseconds.
    pub tv_nsec: u32,
    /// Zero.
    pub __reserved: i32,
}

/// An inode's attributes as `statx(2)` has them.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Statx {
    /// Which of the fields are valid: `STATX_…` bits.
    pub mask: u32,
    /// The size of I/O that suits the file best, in bytes.
    pub blksize: u32,
    /// `STATX_ATTR_…` bits.
    pub attributes: u64,
    /// How many names it has.
    pub nlink: u32,
    /// The user it belongs to.
    pub uid: u32,
    /// The group it belongs to.
    pub gid: u32,
    /// File type and permissions.
    pub mode: u16,
    /// Zero.
    pub __spare0: [u16; 1],
    /// The inode number that callers see.
    pub ino: u64,
    /// Size in bytes.
    pub size: u64,
    /// Space in use, in units of 512 bytes.
    pub blocks: u64,
    /// Which of `attributes` the file system knows.
    pub attributes_mask: u64,
    /// Time of the last access.
    pub atime: SxTime,
    /// Time of birth.
    pub btime: SxTime,
    /// Time of the last change of attributes.
    pub ctime: SxTime,
    /// Time of the last change of contents.
    pub mtime: SxTime,
    /// The major number of a device file.
    pub rdev_major: u32,
    /// The minor number of a device file.
    pub rdev_minor: u32,
    /// The major number of the file system's device.
    pub dev_major: u32,
    /// The minor number of the file system's device.
    pub dev_minor: u32,
    /// Zero.
    pub __spare2: [u64; 14],
}

/// Asks for attributes that only `statx(2)` gives: `STATX`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct StatxIn {
    /// Some of [`getattr_flags`].
    pub getattr_flags: u32,
    /// Zero.
    pub reserved: u32,
    /// The open file, with [`getattr_flags::FH`].
    pub fh: u64,
    /// `AT_STATX_…` flags.
    pub sx_flags: u32,
    /// The `STATX_…` bits that are wanted.
    pub sx_mask: u32,
}

/// The reply to `STATX`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct StatxOut {
    /// Seconds for which the kernel may use the attributes without asking again.
    pub attr_valid: u64,
    /// The nanoseconds of `attr_valid`.
    pub attr_valid_nsec: u32,
    /// Some of [`attr_flags`].
    pub flags: u32,
    /// Zero.
    pub spare: [u64; 2],
    /// The attributes.
    pub stat: Statx,
}

/// The size and use of the file system.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Kstatfs {
    /// Its size, in units of `frsize`.
    pub blocks: u64,
    /// What is free, in units of `frsize`.
    pub bfree: u64,
    /// What is free for ordinary users, in units of `frsize`.
    pub bavail: u64,
    /// How many inodes it can hold.
    pub files: u64,
    /// How many of them are free.
    pub ffree: u64,
    /// The size of I/O that suits it best, in bytes.
    pub bsize: u32,
    /// The longest name, in bytes.
    pub namelen: u32,
    /// The size of a block, in bytes. From minor 4 on.
    pub frsize: u32,
    /// Zero.
    pub padding: u32,
    /// Zero.
    pub spare: [u32; 6],
}

/// The reply to `STATFS`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct StatfsOut {
    /// The file system's size and use.
    pub st: Kstatfs,
}

impl StatfsOut {
    /// Its size before minor 4, when [`Kstatfs`] ended with `namelen`.
    pub const COMPAT_SIZE: usize = 48;
}

/// Asks whether the caller may: `ACCESS`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct AccessIn {
    /// Some of `R_OK`, `W_OK` and `X_OK`.
    pub mask: u32,
    /// Zero.
    pub padding: u32,
}

assert_sizes! {
    Attr: 88,
    GetattrIn: 16,
    AttrOut: 104,
    SetattrIn: 88,
    SxTime: 16,
    Statx: 256,
    StatxIn: 24,
    StatxOut: 288,
    Kstatfs: 80,
    StatfsOut: 80,
    AccessIn: 8,
}
