// SPDX-License-Identifier: GPL-2.0

//! How people look in and steer.
//!
//! - [`sysfs`]: `/sys/fs/fuse/connections`, the place to mount the control file system
//! - [`fusectl`]: the control file system, a directory for each connection
//! - [`sysctl`]: limits for all connections
//! - `debugfs`: the same for root, in debugfs
//! - [`text`]: what their files say

#![deny(unsafe_code)]

#[cfg(CONFIG_DEBUG_FS)]
pub(crate) mod debugfs;
pub(crate) mod fusectl;
pub(crate) mod sysctl;
pub(crate) mod sysfs;
mod text;
