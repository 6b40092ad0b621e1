// SPDX-License-Identifier: GPL-2.0

//! Linux's FUSE, kernel side, in Rust.
//!
//! This is the top floor: what comes up in which order, and goes down in reverse. A floor may use
//! those below it, and rooms on the same floor do not know each other:
//!
//! ```text
//! 5  ctl       how people look in and steer
//! 4  fs        the mounted file system: turns VFS calls into requests
//! 4  dev       /dev/fuse: carries requests to daemons and replies back
//! 3  message   what a request carries
//! 2  queue     the heart: a request's life
//! 1  abi, vfs, sys, trace    the wire format; safe Rust over the kernel
//! 0  bindings  the C interface
//! ```

#![allow(dead_code)]

use kernel::prelude::*;

mod abi;
mod bindings;
mod dev;
mod message;
mod queue;
mod sys;
mod trace;
mod vfs;

module! {
    type: RustFuse,
    name: "rust_fuse",
    authors: ["rust_fuse contributors"],
    description: "Filesystem in Userspace, in Rust",
    license: "GPL v2",
    params: {
        coexist: bool {
            default: false,
            description: "Register as rfuse, rfuseblk, rfusectl and /dev/rfuse, beside another FUSE",
        },
    },
}

/// What is there while the module is loaded. The fields go down in their order.
struct RustFuse {
    _device: Pin<KBox<vfs::chardev::Registration<dev::FuseDevice>>>,
}

impl kernel::Module for RustFuse {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let coexist = module_parameters::coexist.value();
        let device = KBox::try_pin_init(dev::register(coexist), GFP_KERNEL)?;
        Ok(RustFuse { _device: device })
    }
}
