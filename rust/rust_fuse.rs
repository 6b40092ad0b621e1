// SPDX-License-Identifier: GPL-2.0

//! The module's entry: what comes up in which order, and goes down in reverse.

use kernel::prelude::*;

mod bindings;
#[allow(dead_code)]
mod vfs;

module! {
    type: RustFuse,
    name: "rust_fuse",
    authors: ["rust_fuse contributors"],
    description: "Filesystem in Userspace, in Rust",
    license: "GPL v2",
}

struct RustFuse;

impl kernel::Module for RustFuse {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        Ok(RustFuse)
    }
}
