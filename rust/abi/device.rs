// SPDX-License-Identifier: GPL-2.0

//! The device beside reading and writing: its `ioctl(2)` commands, and requests by io_uring.

use core::mem::size_of;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The "type" of all `ioctl(2)` commands of the device.
pub const DEV_IOC_MAGIC: u32 = 229;

/// Ties a freshly opened device to the connection of another, whose descriptor the `u32` that the
/// argument points to holds.
pub const DEV_IOC_CLONE: u32 = ioc(IOC_READ, 0, size_of::<u32>());

/// Registers a file that reads and writes can be passed to; the argument points to a
/// [`BackingMap`].
pub const DEV_IOC_BACKING_OPEN: u32 = ioc(IOC_WRITE, 1, size_of::<BackingMap>());

/// Drops a registered file; the argument points to its `u32` number.
pub const DEV_IOC_BACKING_CLOSE: u32 = ioc(IOC_WRITE, 2, size_of::<u32>());

/// Makes `mount(2)` wait for the reply to `INIT`. Before mounting only; has no argument.
pub const DEV_IOC_SYNC_INIT: u32 = ioc(IOC_NONE, 3, 0);

/// Ties a freshly opened device to the connection of a mount that was made with the option
/// `recover`, whose number the `u32` that the argument points to holds. Not in Linux; the number is
/// far from those that Linux counts up.
pub const DEV_IOC_ATTACH: u32 = ioc(IOC_WRITE, 128, size_of::<u32>());

const IOC_NONE: u32 = 0;
const IOC_WRITE: u32 = 1;
const IOC_READ: u32 = 2;

/// The number of an `ioctl(2)` command, as all architectures but a few old ones make it: `dir` is
/// seen from user space.
const fn ioc(dir: u32, nr: u32, size: usize) -> u32 {
    dir << 30 | (size as u32) << 16 | DEV_IOC_MAGIC << 8 | nr
}

/// A file that reads and writes can be passed to.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct BackingMap {
    /// Its descriptor in the daemon.
    pub fd: i32,
    /// Zero.
    pub flags: u32,
    /// Zero.
    pub padding: u64,
}

/// Bytes at the start of an entry's buffer for an [`InHeader`](super::InHeader) or
/// [`OutHeader`](super::OutHeader).
pub const URING_IN_OUT_HEADER_SZ: usize = 128;

/// Bytes in an entry's buffer for the structure of the operation.
pub const URING_OP_IN_OUT_SZ: usize = 128;

/// Values of [`UringEntInOut::flags`].
pub mod uring_ent_flags {
    /// The data was not copied.
    pub const ZERO_COPY: u64 = 1 << 0;
}

/// What only requests by io_uring need to know.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct UringEntInOut {
    /// Some of [`uring_ent_flags`].
    pub flags: u64,
    /// Names the request in [`UringCmdReq::commit_id`].
    pub commit_id: u64,
    /// Bytes of data.
    pub payload_sz: u32,
    /// Where they are in the pool of buffers, if there is one.
    pub offset: u32,
    /// Zero.
    pub reserved: u64,
}

/// The buffer of an entry, before its data.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug)]
#[repr(C)]
pub struct UringReqHeader {
    /// The header of the request or the reply.
    pub in_out: [u8; URING_IN_OUT_HEADER_SZ],
    /// The structure of the operation.
    pub op_in: [u8; URING_OP_IN_OUT_SZ],
    /// The rest.
    pub ring_ent_in_out: UringEntInOut,
}

impl Default for UringReqHeader {
    fn default() -> Self {
        Self {
            in_out: [0; URING_IN_OUT_HEADER_SZ],
            op_in: [0; URING_OP_IN_OUT_SZ],
            ring_ent_in_out: UringEntInOut::default(),
        }
    }
}

/// The commands of a submission queue entry.
pub mod uring_cmd {
    /// Not a command.
    pub const INVALID: u32 = 0;
    /// Register a buffer, and fetch a request into it.
    pub const REGISTER: u32 = 1;
    /// Give the result of a request, and fetch the next one.
    pub const COMMIT_AND_FETCH: u32 = 2;
    /// Add a queue.
    pub const ADD_QUEUE: u32 = 3;
    /// Add a pool of buffers to a queue.
    pub const ADD_BUFPOOL: u32 = 4;
}

/// Values of [`UringCmdReq::flags`] with [`uring_cmd::ADD_QUEUE`].
pub mod uring_queue_flags {
    /// Data of this queue's requests is not to be copied.
    pub const ZERO_COPY: u64 = 1 << 0;
}

/// What a submission queue entry carries in its command area.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct UringCmdReq {
    /// Depends on the command.
    pub flags: u64,
    /// The request that is answered.
    pub commit_id: u64,
    /// The queue.
    pub qid: u16,
    /// Zero.
    pub padding: [u8; 6],
    /// What the command needs. With [`uring_cmd::ADD_BUFPOOL`], the pool of buffers. With
    /// [`uring_cmd::REGISTER`] on a queue that does not copy, the first 2 bytes are the number
    /// of the buffer in the daemon's table of registered buffers.
    pub bufpool: UringBufpool,
}

/// A pool of buffers.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct UringBufpool {
    /// Its address in the daemon.
    pub uaddr: u64,
    /// Its size, in bytes.
    pub len: u32,
    /// Zero.
    pub reserved: u32,
}

assert_sizes! {
    BackingMap: 16,
    UringEntInOut: 32,
    UringReqHeader: 288,
    UringCmdReq: 40,
    UringBufpool: 16,
}
