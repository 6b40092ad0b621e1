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
mod ctl;
mod dev;
mod fs;
mod message;
mod queue;
#[cfg(CONFIG_KUNIT = "y")]
#[path = "queue/tests/mod.rs"]
mod queue_tests;
mod sys;
mod trace;
mod vfs;

use ctl::fusectl::FuseCtl;
use dev::FuseDevice;
use fs::{FileSystems, Settings};
use message::{limits, Registry};
use sys::RequestCache;
use vfs::{
    chardev, filesystem::Registration, module_param::register_parameter, sysctl, sysfs::MountPoint,
};

module! {
    type: RustFuse,
    name: "rust_fuse",
    authors: ["rust_fuse contributors"],
    description: "Filesystem in Userspace, in Rust",
    license: "GPL v2",
    alias: ["fs-fuse", "fs-fuseblk", "fs-fusectl", "char-major-10-229", "devname:fuse"],
    params: {
        coexist: bool {
            default: false,
            description: "Register as rfuse, rfuseblk, rfusectl and /dev/rfuse, beside another FUSE",
        },
        allow_sys_admin_access: bool {
            default: false,
            description: "Let those with CAP_SYS_ADMIN in the initial user namespace enter every mount",
        },
    },
}

// Those that can be changed while the module is loaded.
register_parameter!(
    "max_user_bgreq",
    "Global limit for the maximum number of backgrounded requests an unprivileged user can set",
    limits::MAX_USER_BGREQ
);
register_parameter!(
    "max_user_congthresh",
    "Global limit for the maximum congestion threshold an unprivileged user can set",
    limits::MAX_USER_CONGTHRESH
);
register_parameter!(
    "inval_wq",
    "Dentries invalidation work queue period in secs (>= 5).",
    fs::INVAL_WQ
);

/// What is there while the module is loaded. The fields go down in their order, which is the reverse
/// of the one they come up in.
#[pin_data]
struct RustFuse {
    #[pin]
    ctl: Registration<FuseCtl>,
    sysfs: MountPoint,
    sysctl: sysctl::Registration,
    #[pin]
    dev: chardev::Registration<FuseDevice>,
    #[pin]
    fs: FileSystems,
    requests: RequestCache,
}

impl kernel::InPlaceModule for RustFuse {
    fn init(_module: &'static ThisModule) -> impl PinInit<Self, Error> {
        let coexist = module_parameters::coexist.value();
        pin_init::pin_init_scope(move || {
            #[cfg(CONFIG_DEBUG_FS)]
            let gallery = Some(ctl::debugfs::gallery()?);
            #[cfg(not(CONFIG_DEBUG_FS))]
            let gallery = None;
            let registry = Registry::new(gallery)?;
            let ctl_inodes = ctl::fusectl::inode_cache()?;
            let settings = Settings {
                endpoint: dev::endpoint,
                allow_sys_admin_access: module_parameters::allow_sys_admin_access.value(),
                registry: registry.clone(),
            };
            Ok(try_pin_init!(Self {
                requests: message::request_cache()?,
                fs <- FileSystems::register(settings, coexist),
                dev <- dev::register(coexist, registry.clone()),
                sysctl: ctl::sysctl::register(coexist)?,
                sysfs: ctl::sysfs::register(coexist)?,
                ctl <- ctl::fusectl::register(coexist, ctl_inodes, registry),
            }? Error))
        })
    }
}
