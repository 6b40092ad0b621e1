// SPDX-License-Identifier: GPL-2.0

//! `INIT`: the version, the limits and the features that kernel and daemon settle.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What the kernel offers.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct InitIn {
    /// The kernel's major version.
    pub major: u32,
    /// The kernel's minor version.
    pub minor: u32,
    /// The most it reads ahead, in bytes.
    pub max_readahead: u32,
    /// Bits 0 to 31 of the [`init_flags`] it offers.
    pub flags: u32,
    /// Bits 32 to 63 of them; valid with [`init_flags::INIT_EXT`].
    pub flags2: u32,
    /// Zero.
    pub unused: [u32; 11],
}

impl InitIn {
    /// All of the [`init_flags`] that are offered.
    pub const fn all_flags(&self) -> u64 {
        join_flags(self.flags, self.flags2)
    }
}

/// What the daemon takes, and sets.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct InitOut {
    /// The major version the daemon wants to speak.
    pub major: u32,
    /// The minor version the daemon knows.
    pub minor: u32,
    /// The most to read ahead, in bytes. From minor 6 on, as are all that follow but `flags`.
    pub max_readahead: u32,
    /// Bits 0 to 31 of the [`init_flags`] it takes. From minor 5 on.
    pub flags: u32,
    /// The most background requests at the daemon at a time; 0 for the default. From minor 13 on.
    pub max_background: u16,
    /// Background requests from which the file system counts as congested; 0 for the default.
    /// From minor 13 on.
    pub congestion_threshold: u16,
    /// The most data in one `WRITE`, in bytes. From minor 5 on.
    pub max_write: u32,
    /// The granularity of time stamps, in nanoseconds; 0 for 1 ns. From minor 23 on.
    pub time_gran: u32,
    /// The most pages in a request; valid with [`init_flags::MAX_PAGES`].
    pub max_pages: u16,
    /// The base 2 logarithm of how DAX mappings are aligned; valid with
    /// [`init_flags::MAP_ALIGNMENT`].
    pub map_alignment: u16,
    /// Bits 32 to 63 of the flags it takes; valid with [`init_flags::INIT_EXT`].
    pub flags2: u32,
    /// How deep file systems may stack on this one; valid with [`init_flags::PASSTHROUGH`].
    pub max_stack_depth: u32,
    /// Seconds after which a request counts as lost; valid with [`init_flags::REQUEST_TIMEOUT`].
    pub request_timeout: u16,
    /// Zero.
    pub unused: [u16; 11],
}

impl InitOut {
    /// All of the reply before minor 5: the two version numbers.
    pub const COMPAT_SIZE: usize = 8;
    /// All of the reply before minor 23: up to `max_write`.
    pub const COMPAT_22_SIZE: usize = 24;

    /// All of the [`init_flags`] that are taken; those above bit 31 count only with
    /// [`init_flags::INIT_EXT`].
    pub const fn all_flags(&self) -> u64 {
        join_flags(self.flags, self.flags2)
    }
}

const fn join_flags(low: u32, high: u32) -> u64 {
    let low = low as u64;
    if low & init_flags::INIT_EXT != 0 {
        low | (high as u64) << 32
    } else {
        low
    }
}

/// The features that `INIT` settles. The kernel offers, the daemon takes.
pub mod init_flags {
    /// Reads may be sent while others of the same file are under way.
    pub const ASYNC_READ: u64 = 1 << 0;
    /// POSIX locks are sent to the daemon.
    pub const POSIX_LOCKS: u64 = 1 << 1;
    /// Defined, and without any effect.
    pub const FILE_OPS: u64 = 1 << 2;
    /// `OPEN` does the truncating of `O_TRUNC`.
    pub const ATOMIC_O_TRUNC: u64 = 1 << 3;
    /// `LOOKUP` of "." and ".." works, so that the file system can be exported.
    pub const EXPORT_SUPPORT: u64 = 1 << 4;
    /// `WRITE` may carry more than 4 KiB.
    pub const BIG_WRITES: u64 = 1 << 5;
    /// The kernel leaves applying the umask to the daemon.
    pub const DONT_MASK: u64 = 1 << 6;
    /// The device can be written to by `splice(2)`.
    pub const SPLICE_WRITE: u64 = 1 << 7;
    /// The device can take over the pages that are spliced to it.
    pub const SPLICE_MOVE: u64 = 1 << 8;
    /// The device can be read from by `splice(2)`.
    pub const SPLICE_READ: u64 = 1 << 9;
    /// `flock(2)` locks are sent to the daemon.
    pub const FLOCK_LOCKS: u64 = 1 << 10;
    /// `IOCTL` works on directories.
    pub const HAS_IOCTL_DIR: u64 = 1 << 11;
    /// Cached data is dropped when a file's size or time of modification changed.
    pub const AUTO_INVAL_DATA: u64 = 1 << 12;
    /// Directories are read by `READDIRPLUS`.
    pub const DO_READDIRPLUS: u64 = 1 << 13;
    /// The kernel chooses between `READDIR` and `READDIRPLUS`.
    pub const READDIRPLUS_AUTO: u64 = 1 << 14;
    /// Direct I/O may be sent as several requests at a time.
    pub const ASYNC_DIO: u64 = 1 << 15;
    /// Buffered writes stay in the page cache, and are written back later.
    pub const WRITEBACK_CACHE: u64 = 1 << 16;
    /// `OPEN` may be answered ENOSYS: files then need no opening.
    pub const NO_OPEN_SUPPORT: u64 = 1 << 17;
    /// Several `LOOKUP` and `READDIR` of one directory may be under way.
    pub const PARALLEL_DIROPS: u64 = 1 << 18;
    /// The daemon clears the set-user-ID bits and capabilities on writes, chown and truncation.
    pub const HANDLE_KILLPRIV: u64 = 1 << 19;
    /// The file system has POSIX ACLs.
    pub const POSIX_ACL: u64 = 1 << 20;
    /// Reading the device of an aborted connection gives ECONNABORTED in place of ENODEV.
    pub const ABORT_ERROR: u64 = 1 << 21;
    /// `max_pages` of the reply is valid.
    pub const MAX_PAGES: u64 = 1 << 22;
    /// What `READLINK` gives is kept in the page cache.
    pub const CACHE_SYMLINKS: u64 = 1 << 23;
    /// `OPENDIR` may be answered ENOSYS: directories then need no opening.
    pub const NO_OPENDIR_SUPPORT: u64 = 1 << 24;
    /// Cached data is dropped when the daemon asks for it only.
    pub const EXPLICIT_INVAL_DATA: u64 = 1 << 25;
    /// `map_alignment` of the reply is valid.
    pub const MAP_ALIGNMENT: u64 = 1 << 26;
    /// Directories can be marked as roots of submounts, which the kernel then mounts.
    pub const SUBMOUNTS: u64 = 1 << 27;
    /// As `HANDLE_KILLPRIV`, with the rules that the kernel's own file systems follow.
    pub const HANDLE_KILLPRIV_V2: u64 = 1 << 28;
    /// `SETXATTR` has the long form of its argument.
    pub const SETXATTR_EXT: u64 = 1 << 29;
    /// `flags2` is valid.
    pub const INIT_EXT: u64 = 1 << 30;
    /// Not to be used.
    pub const INIT_RESERVED: u64 = 1 << 31;
    /// What makes an inode carries the security context it gets.
    pub const SECURITY_CTX: u64 = 1 << 32;
    /// DAX can be turned on for each inode.
    pub const HAS_INODE_DAX: u64 = 1 << 33;
    /// What makes an inode carries the supplementary group that matches the parent's.
    pub const CREATE_SUPP_GROUP: u64 = 1 << 34;
    /// `NOTIFY_INVAL_ENTRY` can let a name expire, without dropping it.
    pub const HAS_EXPIRE_ONLY: u64 = 1 << 35;
    /// Files with `FOPEN_DIRECT_IO` may be mapped shared.
    pub const DIRECT_IO_ALLOW_MMAP: u64 = 1 << 36;
    /// The older name of `DIRECT_IO_ALLOW_MMAP`.
    pub const DIRECT_IO_RELAX: u64 = DIRECT_IO_ALLOW_MMAP;
    /// Reads and writes of a file can be passed to another file by the kernel.
    pub const PASSTHROUGH: u64 = 1 << 37;
    /// The file system cannot be exported.
    pub const NO_EXPORT_SUPPORT: u64 = 1 << 38;
    /// `NOTIFY_RESEND` works.
    pub const HAS_RESEND: u64 = 1 << 39;
    /// The file system can be mounted with mapped IDs.
    pub const ALLOW_IDMAP: u64 = 1 << 40;
    /// Requests can be fetched through io_uring.
    pub const OVER_IO_URING: u64 = 1 << 41;
    /// `request_timeout` of the reply is valid.
    pub const REQUEST_TIMEOUT: u64 = 1 << 42;
    /// Queues in io_uring can have a pool of buffers.
    pub const HAS_IO_URING_BUFPOOL: u64 = 1 << 43;

    /// Name and value of each, from bit 0 up; aliases are left out.
    pub const NAMES: &[(&str, u64)] = &[
        ("ASYNC_READ", ASYNC_READ),
        ("POSIX_LOCKS", POSIX_LOCKS),
        ("FILE_OPS", FILE_OPS),
        ("ATOMIC_O_TRUNC", ATOMIC_O_TRUNC),
        ("EXPORT_SUPPORT", EXPORT_SUPPORT),
        ("BIG_WRITES", BIG_WRITES),
        ("DONT_MASK", DONT_MASK),
        ("SPLICE_WRITE", SPLICE_WRITE),
        ("SPLICE_MOVE", SPLICE_MOVE),
        ("SPLICE_READ", SPLICE_READ),
        ("FLOCK_LOCKS", FLOCK_LOCKS),
        ("HAS_IOCTL_DIR", HAS_IOCTL_DIR),
        ("AUTO_INVAL_DATA", AUTO_INVAL_DATA),
        ("DO_READDIRPLUS", DO_READDIRPLUS),
        ("READDIRPLUS_AUTO", READDIRPLUS_AUTO),
        ("ASYNC_DIO", ASYNC_DIO),
        ("WRITEBACK_CACHE", WRITEBACK_CACHE),
        ("NO_OPEN_SUPPORT", NO_OPEN_SUPPORT),
        ("PARALLEL_DIROPS", PARALLEL_DIROPS),
        ("HANDLE_KILLPRIV", HANDLE_KILLPRIV),
        ("POSIX_ACL", POSIX_ACL),
        ("ABORT_ERROR", ABORT_ERROR),
        ("MAX_PAGES", MAX_PAGES),
        ("CACHE_SYMLINKS", CACHE_SYMLINKS),
        ("NO_OPENDIR_SUPPORT", NO_OPENDIR_SUPPORT),
        ("EXPLICIT_INVAL_DATA", EXPLICIT_INVAL_DATA),
        ("MAP_ALIGNMENT", MAP_ALIGNMENT),
        ("SUBMOUNTS", SUBMOUNTS),
        ("HANDLE_KILLPRIV_V2", HANDLE_KILLPRIV_V2),
        ("SETXATTR_EXT", SETXATTR_EXT),
        ("INIT_EXT", INIT_EXT),
        ("INIT_RESERVED", INIT_RESERVED),
        ("SECURITY_CTX", SECURITY_CTX),
        ("HAS_INODE_DAX", HAS_INODE_DAX),
        ("CREATE_SUPP_GROUP", CREATE_SUPP_GROUP),
        ("HAS_EXPIRE_ONLY", HAS_EXPIRE_ONLY),
        ("DIRECT_IO_ALLOW_MMAP", DIRECT_IO_ALLOW_MMAP),
        ("PASSTHROUGH", PASSTHROUGH),
        ("NO_EXPORT_SUPPORT", NO_EXPORT_SUPPORT),
        ("HAS_RESEND", HAS_RESEND),
        ("ALLOW_IDMAP", ALLOW_IDMAP),
        ("OVER_IO_URING", OVER_IO_URING),
        ("REQUEST_TIMEOUT", REQUEST_TIMEOUT),
        ("HAS_IO_URING_BUFPOOL", HAS_IO_URING_BUFPOOL),
    ];
}

/// What the kernel tells a character device in user space.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CuseInitIn {
    /// The kernel's major version.
    pub major: u32,
    /// The kernel's minor version.
    pub minor: u32,
    /// Zero.
    pub unused: u32,
    /// The [`cuse_init_flags`] it offers.
    pub flags: u32,
}

/// What a character device in user space sets. Its name and value pairs follow, at most
/// [`CUSE_INIT_INFO_MAX`] bytes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CuseInitOut {
    /// The daemon's major version.
    pub major: u32,
    /// The daemon's minor version.
    pub minor: u32,
    /// Zero.
    pub unused: u32,
    /// The [`cuse_init_flags`] it takes.
    pub flags: u32,
    /// The most data in one `READ`, in bytes.
    pub max_read: u32,
    /// The most data in one `WRITE`, in bytes.
    pub max_write: u32,
    /// The major number the device is to have.
    pub dev_major: u32,
    /// The minor number the device is to have.
    pub dev_minor: u32,
    /// Zero.
    pub spare: [u32; 10],
}

/// The features that `CUSE_INIT` settles.
pub mod cuse_init_flags {
    /// `IOCTL` may ask for any range of the caller's memory.
    pub const UNRESTRICTED_IOCTL: u32 = 1 << 0;
}

/// The most bytes of name and value pairs after a [`CuseInitOut`].
pub const CUSE_INIT_INFO_MAX: usize = 4096;

assert_sizes! {
    InitIn: 64,
    InitOut: 64,
    CuseInitIn: 16,
    CuseInitOut: 72,
}
