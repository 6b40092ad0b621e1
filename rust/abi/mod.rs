// SPDX-License-Identifier: GPL-2.0

//! The wire format of FUSE: what a request and its reply look like in a daemon's buffer.
//!
//! This is protocol 7.46, that of Linux 7.3; `include/uapi/linux/fuse.h` of the kernel is its
//! specification. Everything here is plain data, in the byte order of the machine: no kernel
//! calls, no allocation, `core` and `zerocopy` only. The same files are compiled twice: into the
//! module, and into the crate `fuse-abi` that the daemons and tests in user space use.
//!
//! # A request
//!
//! A daemon reads one request a `read(2)`. It starts with an [`InHeader`], whose `opcode` (an
//! [`Opcode`]) says what follows: a fixed structure named after the operation (`GetattrIn` for
//! `GETATTR`), names that end in a zero byte, data, in the order that the operation prescribes.
//! When the header's `total_extlen` is not zero, extensions ([`ExtHeader`], [`SecctxHeader`])
//! take up that many units of 8 bytes at the end.
//!
//! # A reply
//!
//! A daemon answers by one `write(2)` of an [`OutHeader`] with the `unique` of the request and
//! what the operation gives back (`AttrOut` for `GETATTR`), or with an `error` and nothing after
//! it. A `unique` of zero makes it a notification, of the kind that `error` then names (a
//! [`NotifyCode`]).
//!
//! # Layout
//!
//! Structures and fields carry the names they have in C, without the `fuse_` in front. All of
//! them are padded to 8 bytes where a 32-bit daemon on a 64-bit kernel would otherwise see
//! something else, so none has a hidden gap: each can be read from, and turned into, bytes
//! safely (`zerocopy`'s `FromBytes` and `IntoBytes`). Their sizes are checked when this compiles.
//! Structures that grew over time list their old sizes as `COMPAT_…_SIZE`.

#![deny(unsafe_code)]
// The crate for user space makes everything here public.
#![allow(unreachable_pub)]
// A wire format is complete, whether or not the module acts on all of it.
#![allow(dead_code, unused_imports)]

/// Checks the size of structures, in bytes, when compiling.
macro_rules! assert_sizes {
    ($($name:ident: $size:literal,)*) => {
        $(const _: () = assert!(core::mem::size_of::<$name>() == $size);)*
    };
}

mod attr;
mod device;
mod dir;
mod entry;
mod file;
mod header;
mod init;
mod notify;
mod opcode;
mod xattr;

pub use self::{
    attr::*, device::*, dir::*, entry::*, file::*, header::*, init::*, notify::*, opcode::*,
    xattr::*,
};

/// The major number of the protocol. Peers with different ones cannot talk.
pub const KERNEL_VERSION: u32 = 7;

/// The minor number of the protocol. Peers use the smaller of their two.
pub const KERNEL_MINOR_VERSION: u32 = 46;

/// The node ID of the root directory, which needs no `LOOKUP`.
pub const ROOT_ID: u64 = 1;

/// The least that a daemon's read buffer must hold, in bytes. With a large `max_write` it must
/// hold more: the headers of a `WRITE` and that much data.
pub const MIN_READ_BUFFER: usize = 8192;
