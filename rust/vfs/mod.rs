// SPDX-License-Identifier: GPL-2.0

//! Safe Rust over the kernel's virtual file system: what `rust/kernel` does not have yet.
//!
//! Nothing here knows of FUSE; another file system in Rust could be written on it. The shape is that
//! of `rust/kernel`: a `#[vtable]` trait for each C table of operations, typed handles for the
//! kernel's objects, lifetimes where C has a comment about who must hold what.
//!
//! A file system implements [`filesystem::FileSystem`], and [`inode_ops::INodeOperations`],
//! [`file::FileOperations`] and [`address_space::AddressSpaceOperations`] for each kind of file.

pub(crate) mod acl;
pub(crate) mod address_space;
pub(crate) mod chardev;
pub(crate) mod context;
#[cfg(CONFIG_DEBUG_FS)]
pub(crate) mod debugfs;
pub(crate) mod dentry;
pub(crate) mod dir_ops;
pub(crate) mod export;
pub(crate) mod fasync;
pub(crate) mod file;
pub(crate) mod fileattr;
pub(crate) mod filesystem;
pub(crate) mod folio;
pub(crate) mod inode;
pub(crate) mod inode_cache;
pub(crate) mod inode_ops;
pub(crate) mod ioctl;
pub(crate) mod iomap;
pub(crate) mod iov;
pub(crate) mod later;
pub(crate) mod lock;
pub(crate) mod mmap;
pub(crate) mod module_param;
pub(crate) mod ns;
pub(crate) mod number;
mod page_cache;
pub(crate) mod pages;
pub(crate) mod periodic;
pub(crate) mod pipe;
pub(crate) mod poll;
pub(crate) mod random;
mod reaper;
pub(crate) mod security;
pub(crate) mod setattr;
pub(crate) mod stat;
pub(crate) mod super_block;
pub(crate) mod symlink;
pub(crate) mod sysctl;
pub(crate) mod sysfs;
pub(crate) mod time;
pub(crate) mod write;
pub(crate) mod xattr;
