// SPDX-License-Identifier: GPL-2.0

//! The mounted file system: turns what the VFS wants into requests.
//!
//! - [`options`]: the parameters of a mount, and who may mount
//! - [`superblock`]: a mounted file system, from mount(2) to umount(2)
//! - [`mount`]: what the other files need of it: the connection, what was agreed on, counters
//! - [`mod@init`]: INIT, in which daemon and kernel agree
//! - [`inode`]: inodes, their attributes and how long these hold, and forgetting them
//! - [`lookup`]: names in directories, and how long these hold
//! - [`mod@export`]: file handles, by which files are found again
//! - [`attr`]: what stat(2) says
//! - [`mod@setattr`]: changing attributes
//! - [`mod@xattr`], [`acl`]: extended attributes, and access control lists
//! - [`permission`]: who may do what
//! - [`notify`]: what the daemon says unasked: that something is not as it was
//! - [`open`]: opening and closing files and directories
//! - [`locks`]: locks on files
//! - [`ioctl`]: what has no operation of its own, and [`fileattr`] what the kernel does by that
//! - [`poll`]: waiting until a file is ready
//! - [`dir`]: what can be done in directories
//! - [`readdir`]: reading directories, and looking up what is in them on the way
//! - [`readdir_cache`]: what was read of directories, in the page cache
//! - [`read`], [`mod@write`]: reading and writing files through the page cache
//! - [`direct`]: reading and writing them past it, and [`transfer`] doing so by many requests at once
//! - [`range`]: ranges of files that the daemon allocates, finds or copies by itself
//! - [`writeback`]: writing back what stayed in the page cache, and [`sync`] waiting for that
//! - [`io_mode`]: which of the two a file is open for
//! - [`timeout`]: aborting the connection when a request takes too long
//! - [`symlink`]: reading symbolic links
//! - [`make`]: making files, directories and links
//! - [`create`]: making files and opening them
//! - [`extensions`]: what requests that make something say beside their arguments
//! - [`remove`]: removing names
//! - [`mod@rename`]: giving what has a name another one
//!
//! The behaviour is that of Linux's own FUSE file system. This floor meets the device only in a
//! [`Connection`](crate::message::Connection).

#![deny(unsafe_code)]

mod acl;
mod attr;
mod create;
mod dir;
mod direct;
mod export;
mod extensions;
mod fileattr;
mod init;
mod inode;
mod io_mode;
mod ioctl;
mod locks;
mod lookup;
mod make;
mod mount;
mod notify;
mod open;
mod options;
mod permission;
mod poll;
mod range;
mod read;
mod readdir;
mod readdir_cache;
mod remove;
mod rename;
mod setattr;
mod superblock;
mod symlink;
mod sync;
mod timeout;
mod transfer;
mod write;
mod writeback;
mod xattr;

pub(crate) use lookup::INVAL_WQ;
pub(crate) use mount::Mount;
pub(crate) use superblock::Fuse;

use crate::{
    message::{Endpoint, Registry},
    vfs::{
        self,
        filesystem::{Properties, Registration},
        inode_cache::INodeCache,
    },
};
use kernel::{fs::File, prelude::*, sync::Arc};

/// An inode of a FUSE file system.
type INode = vfs::inode::INode<Fuse>;
/// One that is counted.
type OwnedINode = vfs::inode::OwnedINode<Fuse>;
/// A directory entry of a FUSE file system.
type DEntry = vfs::dentry::DEntry<Fuse>;
/// A superblock of a FUSE file system.
type SuperBlock = vfs::super_block::SuperBlock<Fuse>;

/// What all mounts share.
pub(crate) struct Settings {
    /// Finds the daemon's end of a connection behind an open file, if that is a FUSE device.
    pub(crate) endpoint: fn(&File) -> Option<Arc<Endpoint>>,
    /// Administrators of the system may enter every mount.
    pub(crate) allow_sys_admin_access: bool,
    /// The connections of all mounts.
    pub(crate) registry: Arc<Registry>,
}

/// The file system types, while they are registered. They must be in the memory of the module: see
/// [`Registration`].
#[pin_data]
pub(crate) struct FileSystems {
    // The order in which they go is that in which Linux takes them down.
    #[pin]
    fuse: Registration<Fuse>,
    #[pin]
    fuseblk: Registration<Fuse>,
}

impl FileSystems {
    /// Registers the types `fuse` and `fuseblk`, or `rfuse` and `rfuseblk` beside another FUSE.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is a type of that name, `ENOMEM`.
    pub(crate) fn register(settings: Settings, coexist: bool) -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(move || {
            let settings = Arc::new(settings, GFP_KERNEL)?;
            let cache = INodeCache::new(c"rust_fuse_inode")?;
            let properties = |name, requires_device| Properties {
                name,
                requires_device,
                has_subtype: true,
                user_ns_mount: !requires_device,
                id_maps: true,
            };
            let (fuse, fuseblk) = if coexist {
                (c"rfuse", c"rfuseblk")
            } else {
                (c"fuse", c"fuseblk")
            };
            Ok(try_pin_init!(Self {
                fuseblk <- Registration::new(
                    properties(fuseblk, true),
                    cache.clone(),
                    settings.clone(),
                ),
                fuse <- Registration::new(properties(fuse, false), cache, settings),
            }))
        })
    }
}
