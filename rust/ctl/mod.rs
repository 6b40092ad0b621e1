// SPDX-License-Identifier: GPL-2.0

//! How people look in and steer.
//!
//! - [`sysfs`]: `/sys/fs/fuse/connections`, the place to mount the control file system
//! - [`fusectl`]: the control file system, a directory for each connection
//! - [`sysctl`]: limits for all connections
//! - [`text`]: what its files say

#![deny(unsafe_code)]

pub(crate) mod fusectl;
pub(crate) mod sysctl;
pub(crate) mod sysfs;
mod text;
