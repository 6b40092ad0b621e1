// SPDX-License-Identifier: GPL-2.0

//! Safe Rust over the kernel's virtual file system: what `rust/kernel` does not have yet.
//!
//! Nothing here knows of FUSE; another file system in Rust could be written on it. The shape is that
//! of `rust/kernel`: a `#[vtable]` trait for each C table of operations, typed handles for the
//! kernel's objects, lifetimes where C has a comment about who must hold what.

pub(crate) mod chardev;
pub(crate) mod fasync;
pub(crate) mod folio;
pub(crate) mod ns;
pub(crate) mod sysfs;
