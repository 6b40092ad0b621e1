// SPDX-License-Identifier: GPL-2.0

//! The FUSE protocol, without anything in between.
//!
//! Where `libfuse` gives a program callbacks, this crate gives it what travels over the device:
//! one request at a time, as the kernel wrote it, and the write that answers it. It is for
//! learning the protocol, for testing the kernel's side of it (it lets a program send replies
//! that are wrong), and for daemons that want nothing hidden from them.
//!
//! # A daemon, from mount to unmount
//!
//! 1. Open the device: [`Channel::open`]. The open file is not yet part of any file system.
//! 2. Mount ([`MountOptions::mount`]): `mount(2)` with the descriptor's number in its options
//!    ties the two together. The kernel queues the first request, `INIT`.
//! 3. Answer it: [`handshake`] settles the version, the limits and the features.
//! 4. Read a request, answer it, and so on: [`Channel::receive`] gives a [`Request`];
//!    [`Request::operation`] takes it apart without copying; [`Channel::reply`],
//!    [`Channel::reply_bytes`] and [`Channel::reply_error`] answer it. `FORGET` and
//!    `BATCH_FORGET` have no answer.
//! 5. [`Channel::receive`] gives `None` when the file system is gone. Dropping the [`Mount`]
//!    unmounts it.
//!
//! ```no_run
//! use rawfuse::{handshake, Buffer, Channel, Errno, InitConfig, Kind, MountOptions};
//!
//! # fn main() -> std::io::Result<()> {
//! let channel = Channel::open(&Kind::FUSE)?;
//! let mount = MountOptions::new(Kind::FUSE).mount(&channel, "/mnt".as_ref())?;
//! let mut buffer = Buffer::new(Buffer::DEFAULT_SIZE);
//! handshake(&channel, &mut buffer, &InitConfig::default())?;
//! while let Some(request) = channel.receive(&mut buffer)? {
//!     if request.has_reply() {
//!         channel.reply_error(request.unique(), Errno::ENOSYS)?;
//!     }
//! }
//! # drop(mount); Ok(()) }
//! ```
//!
//! # Threads
//!
//! Any number of threads may read and write one [`Channel`]: each read gives a whole request, to
//! one of them, and each write is one whole reply: [`in_threads`].

pub use fuse_abi as abi;
pub use nix::errno::Errno;

mod buffer;
mod channel;
mod direntries;
pub mod fault;
mod fusermount;
mod init;
mod mount;
mod mounted;
mod operation;
mod pipes;
mod request;
mod threads;

pub use buffer::Buffer;
pub use channel::Channel;
pub use direntries::DirEntries;
pub use fusermount::{fusermount, fusermount_unmount};
pub use init::{answer_init, handshake, settle, InitConfig, Session};
pub use mount::{Kind, Mount, MountOptions};
pub use mounted::Mounted;
pub use operation::Operation;
pub use pipes::{is_large, Pipes, Taken};
pub use request::{Args, Malformed, Request};
pub use threads::in_threads;
