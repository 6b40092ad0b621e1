// SPDX-License-Identifier: GPL-2.0

//! Open files and directories: what is done with them between `OPEN` and `RELEASE`.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Opens: `OPEN` and `OPENDIR`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct OpenIn {
    /// The flags of `open(2)`.
    pub flags: u32,
    /// Some of [`open_in_flags`].
    pub open_flags: u32,
}

/// Values of [`OpenIn::open_flags`] and [`CreateIn::open_flags`](super::CreateIn).
pub mod open_in_flags {
    /// Clear the set-user-ID and set-group-ID bits, if the file can be executed.
    pub const KILL_SUIDGID: u32 = 1 << 0;
}

/// What was opened: the reply to `OPEN` and `OPENDIR`, and the second part of that to `CREATE`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct OpenOut {
    /// Names the open file from now on.
    pub fh: u64,
    /// Some of [`open_flags`].
    pub open_flags: u32,
    /// The file that reads and writes are passed to, with [`open_flags::PASSTHROUGH`].
    pub backing_id: i32,
}

/// Values of [`OpenOut::open_flags`]: those that C calls `FOPEN_…`.
pub mod open_flags {
    /// Reads and writes go past the page cache.
    pub const DIRECT_IO: u32 = 1 << 0;
    /// What the page cache holds of the file stays valid.
    pub const KEEP_CACHE: u32 = 1 << 1;
    /// The file cannot be seeked in.
    pub const NONSEEKABLE: u32 = 1 << 2;
    /// The directory's entries may be kept in the page cache.
    pub const CACHE_DIR: u32 = 1 << 3;
    /// The file has no position at all.
    pub const STREAM: u32 = 1 << 4;
    /// Closing neither writes back what is cached nor sends `FLUSH`.
    pub const NOFLUSH: u32 = 1 << 5;
    /// Several direct writes may be under way.
    pub const PARALLEL_DIRECT_WRITES: u32 = 1 << 6;
    /// Reads and writes are passed to `backing_id`.
    pub const PASSTHROUGH: u32 = 1 << 7;
    /// Reads and writes are handed to io_uring without copying.
    pub const IO_URING_ZERO_COPY: u32 = 1 << 8;
}

/// The last reference is gone: `RELEASE` and `RELEASEDIR`. Before minor 8 it ends after `flags`
/// and what fills it up.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ReleaseIn {
    /// The open file.
    pub fh: u64,
    /// The flags it was opened with.
    pub flags: u32,
    /// Some of [`release_flags`].
    pub release_flags: u32,
    /// Who closed it, for the daemon's locks.
    pub lock_owner: u64,
}

/// Values of [`ReleaseIn::release_flags`].
pub mod release_flags {
    /// Do what `FLUSH` does.
    pub const FLUSH: u32 = 1 << 0;
    /// Drop the `flock(2)` locks of `lock_owner`.
    pub const FLOCK_UNLOCK: u32 = 1 << 1;
}

/// A descriptor is closed: `FLUSH`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FlushIn {
    /// The open file.
    pub fh: u64,
    /// Zero.
    pub unused: u32,
    /// Zero.
    pub padding: u32,
    /// Who closed it: its POSIX locks go.
    pub lock_owner: u64,
}

/// Reads: `READ`, `READDIR` and `READDIRPLUS`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ReadIn {
    /// The open file.
    pub fh: u64,
    /// Where to start: bytes in a file, the `off` of an entry in a directory.
    pub offset: u64,
    /// The most bytes wanted.
    pub size: u32,
    /// Some of [`read_flags`]. From minor 9 on, as all that follows.
    pub read_flags: u32,
    /// Who reads, for the daemon's locks; with [`read_flags::LOCKOWNER`].
    pub lock_owner: u64,
    /// The flags of the open file.
    pub flags: u32,
    /// Zero.
    pub padding: u32,
}

/// Values of [`ReadIn::read_flags`].
pub mod read_flags {
    /// `lock_owner` is valid.
    pub const LOCKOWNER: u32 = 1 << 1;
}

/// Writes: `WRITE`. The data follows.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct WriteIn {
    /// The open file.
    pub fh: u64,
    /// Where to start, in bytes.
    pub offset: u64,
    /// Bytes of data.
    pub size: u32,
    /// Some of [`write_flags`].
    pub write_flags: u32,
    /// Who writes, for the daemon's locks; with [`write_flags::LOCKOWNER`]. From minor 9 on, as
    /// all that follows.
    pub lock_owner: u64,
    /// The flags of the open file.
    pub flags: u32,
    /// Zero.
    pub padding: u32,
}

impl WriteIn {
    /// Its size before minor 9: up to `write_flags`.
    pub const COMPAT_SIZE: usize = 24;
}

/// Values of [`WriteIn::write_flags`].
pub mod write_flags {
    /// The data comes from the page cache, and `fh` may be another open file of the inode.
    pub const CACHE: u32 = 1 << 0;
    /// `lock_owner` is valid.
    pub const LOCKOWNER: u32 = 1 << 1;
    /// Clear the set-user-ID and set-group-ID bits.
    pub const KILL_SUIDGID: u32 = 1 << 2;
    /// The older name of `KILL_SUIDGID`.
    pub const KILL_PRIV: u32 = KILL_SUIDGID;
}

/// The reply to `WRITE` and `COPY_FILE_RANGE`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct WriteOut {
    /// Bytes that were written.
    pub size: u32,
    /// Zero.
    pub padding: u32,
}

/// Brings to stable storage: `FSYNC` and `FSYNCDIR`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FsyncIn {
    /// The open file.
    pub fh: u64,
    /// Some of [`fsync_flags`].
    pub fsync_flags: u32,
    /// Zero.
    pub padding: u32,
}

/// Values of [`FsyncIn::fsync_flags`].
pub mod fsync_flags {
    /// The data only, as for `fdatasync(2)`.
    pub const FDATASYNC: u32 = 1 << 0;
}

/// Brings all of the file system to stable storage: `SYNCFS`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SyncfsIn {
    /// Zero.
    pub padding: u64,
}

/// A lock on a range of a file.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FileLock {
    /// The first byte.
    pub start: u64,
    /// The last byte.
    pub end: u64,
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub r#type: u32,
    /// The process, as the daemon's PID namespace has it.
    pub pid: u32,
}

/// Tests for, takes or drops a lock: `GETLK`, `SETLK` and `SETLKW`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct LkIn {
    /// The open file.
    pub fh: u64,
    /// Whose lock it is.
    pub owner: u64,
    /// The lock.
    pub lk: FileLock,
    /// Some of [`lk_flags`]. From minor 9 on.
    pub lk_flags: u32,
    /// Zero.
    pub padding: u32,
}

/// Values of [`LkIn::lk_flags`].
pub mod lk_flags {
    /// It is a lock of `flock(2)`, on the whole file.
    pub const FLOCK: u32 = 1 << 0;
}

/// The reply to `GETLK`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct LkOut {
    /// A lock in the way, or one of type `F_UNLCK`.
    pub lk: FileLock,
}

/// Maps a block of a file: `BMAP`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct BmapIn {
    /// The number of the block in the file.
    pub block: u64,
    /// The size of a block, in bytes.
    pub blocksize: u32,
    /// Zero.
    pub padding: u32,
}

/// The reply to `BMAP`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct BmapOut {
    /// The number of the block on the device; 0 for a hole.
    pub block: u64,
}

/// An `ioctl(2)`: `IOCTL`. `in_size` bytes of data follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct IoctlIn {
    /// The open file.
    pub fh: u64,
    /// Some of [`ioctl_flags`].
    pub flags: u32,
    /// The command.
    pub cmd: u32,
    /// The caller's argument: a number, or an address in its memory.
    pub arg: u64,
    /// Bytes of data that follow.
    pub in_size: u32,
    /// The most bytes of data in the reply.
    pub out_size: u32,
}

/// Values of [`IoctlIn::flags`] and [`IoctlOut::flags`].
pub mod ioctl_flags {
    /// The caller is a 32-bit process on a 64-bit kernel.
    pub const COMPAT: u32 = 1 << 0;
    /// The daemon may ask for any range of the caller's memory.
    pub const UNRESTRICTED: u32 = 1 << 1;
    /// The daemon wants the ranges that follow its reply.
    pub const RETRY: u32 = 1 << 2;
    /// The argument is laid out for a 32-bit process.
    pub const IS_32BIT: u32 = 1 << 3;
    /// It is on a directory.
    pub const DIR: u32 = 1 << 4;
    /// The caller is an x32 process, with times of 64 bits.
    pub const COMPAT_X32: u32 = 1 << 5;
}

/// The most ranges that a daemon may ask for, in and out together.
pub const IOCTL_MAX_IOV: usize = 256;

/// A range of the caller's memory.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct IoctlIovec {
    /// Its address.
    pub base: u64,
    /// Its length, in bytes.
    pub len: u64,
}

/// The reply to `IOCTL`. Data for the caller follows, or, with [`ioctl_flags::RETRY`], `in_iovs`
/// and then `out_iovs` of [`IoctlIovec`].
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct IoctlOut {
    /// What `ioctl(2)` gives back.
    pub result: i32,
    /// Some of [`ioctl_flags`].
    pub flags: u32,
    /// Ranges to send along.
    pub in_iovs: u32,
    /// Ranges to be written to.
    pub out_iovs: u32,
}

/// Asks what a file is ready for: `POLL`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct PollIn {
    /// The open file.
    pub fh: u64,
    /// Names the file in a `NOTIFY_POLL`.
    pub kh: u64,
    /// Some of [`poll_flags`].
    pub flags: u32,
    /// The `POLL…` events that are wanted. From minor 21 on.
    pub events: u32,
}

/// Values of [`PollIn::flags`].
pub mod poll_flags {
    /// Send a `NOTIFY_POLL` when the file becomes ready.
    pub const SCHEDULE_NOTIFY: u32 = 1 << 0;
}

/// The reply to `POLL`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct PollOut {
    /// The `POLL…` events that the file is ready for.
    pub revents: u32,
    /// Zero.
    pub padding: u32,
}

/// Allocates or frees a range: `FALLOCATE`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FallocateIn {
    /// The open file.
    pub fh: u64,
    /// Where the range starts, in bytes.
    pub offset: u64,
    /// Its length, in bytes.
    pub length: u64,
    /// `FALLOC_FL_…` flags.
    pub mode: u32,
    /// Zero.
    pub padding: u32,
}

/// Finds data or holes: `LSEEK`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct LseekIn {
    /// The open file.
    pub fh: u64,
    /// Where to start, in bytes.
    pub offset: u64,
    /// `SEEK_DATA` or `SEEK_HOLE`.
    pub whence: u32,
    /// Zero.
    pub padding: u32,
}

/// The reply to `LSEEK`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct LseekOut {
    /// What was found, in bytes from the start.
    pub offset: u64,
}

/// Copies a range: `COPY_FILE_RANGE` and `COPY_FILE_RANGE_64`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CopyFileRangeIn {
    /// The open file to copy from.
    pub fh_in: u64,
    /// Where to start in it.
    pub off_in: u64,
    /// The inode to copy to.
    pub nodeid_out: u64,
    /// The open file to copy to.
    pub fh_out: u64,
    /// Where to start in it.
    pub off_out: u64,
    /// The most bytes to copy.
    pub len: u64,
    /// The flags of `copy_file_range(2)`.
    pub flags: u64,
}

/// The reply to `COPY_FILE_RANGE_64`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CopyFileRangeOut {
    /// Bytes that were copied.
    pub bytes_copied: u64,
}

/// Maps a range into the DAX window: `SETUPMAPPING`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct SetupmappingIn {
    /// The open file.
    pub fh: u64,
    /// Where the range starts in the file.
    pub foffset: u64,
    /// Its length, in bytes.
    pub len: u64,
    /// Some of [`setupmapping_flags`].
    pub flags: u64,
    /// Where it goes in the window.
    pub moffset: u64,
}

/// Values of [`SetupmappingIn::flags`].
pub mod setupmapping_flags {
    /// For writing.
    pub const WRITE: u64 = 1 << 0;
    /// For reading.
    pub const READ: u64 = 1 << 1;
}

/// Unmaps ranges of the DAX window: `REMOVEMAPPING`. `count` of [`RemovemappingOne`] follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct RemovemappingIn {
    /// How many ranges.
    pub count: u32,
}

/// One range of a `REMOVEMAPPING`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct RemovemappingOne {
    /// Where it starts in the window.
    pub moffset: u64,
    /// Its length, in bytes.
    pub len: u64,
}

assert_sizes! {
    OpenIn: 8,
    OpenOut: 16,
    ReleaseIn: 24,
    FlushIn: 24,
    ReadIn: 40,
    WriteIn: 40,
    WriteOut: 8,
    FsyncIn: 16,
    SyncfsIn: 8,
    FileLock: 24,
    LkIn: 48,
    LkOut: 24,
    BmapIn: 16,
    BmapOut: 8,
    IoctlIn: 32,
    IoctlIovec: 16,
    IoctlOut: 16,
    PollIn: 24,
    PollOut: 8,
    FallocateIn: 32,
    LseekIn: 24,
    LseekOut: 8,
    CopyFileRangeIn: 56,
    CopyFileRangeOut: 8,
    SetupmappingIn: 40,
    RemovemappingIn: 4,
    RemovemappingOne: 16,
}
