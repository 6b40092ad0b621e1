// SPDX-License-Identifier: GPL-2.0

//! The wire format of FUSE, for user space: the very files that the kernel module is built from.

#![no_std]

#[path = "../../../rust/abi/mod.rs"]
mod abi;

pub use abi::*;
