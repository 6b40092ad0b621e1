// SPDX-License-Identifier: GPL-2.0

//! Mounting as programs do it: by system call when that is allowed, else by the helper program.

use crate::{fusermount, fusermount_unmount, Channel, Errno, Kind, Mount, MountOptions};
use nix::unistd::geteuid;
use std::{
    io,
    path::{Path, PathBuf},
};

/// A file system that is mounted, and the device that it is served by. Dropping it unmounts it.
#[derive(Debug)]
pub struct Mounted {
    channel: Channel,
    how: How,
}

#[derive(Debug)]
enum How {
    BySyscall {
        // It is dropped.
        _mount: Mount,
    },
    ByHelper {
        target: PathBuf,
    },
}

impl Mounted {
    /// Mounts a file system of that subtype on `target`, whose path is absolute. `options` are lists
    /// of mount options, separated by commas; `fsname=` among them is the source.
    ///
    /// # Errors
    ///
    /// What opening the device, mounting and the helper program give; EPERM for who is not root and
    /// wants another kind than [`Kind::FUSE`], which is all that the helper knows.
    pub fn new(kind: Kind, subtype: &str, options: &[String], target: &Path) -> io::Result<Self> {
        let mut mount = MountOptions::new(kind);
        mount.subtype = Some(subtype.into());
        mount.source = subtype.into();
        for option in options.iter().flat_map(|list| list.split(',')) {
            match option.split_once('=') {
                Some(("fsname", name)) => mount.source = name.into(),
                _ => mount = mount.option(option),
            }
        }
        if geteuid().is_root() {
            let channel = Channel::open(&kind)?;
            let mount = mount.mount(&channel, target)?;
            let how = How::BySyscall { _mount: mount };
            return Ok(Self { channel, how });
        }
        if kind != Kind::FUSE {
            return Err(Errno::EPERM.into());
        }
        let mut list = format!("subtype={subtype},fsname={}", mount.source);
        if !mount.extra.is_empty() {
            list = format!("{list},{}", mount.extra);
        }
        let channel = fusermount(target, &list)?;
        let target = target.into();
        let how = How::ByHelper { target };
        Ok(Self { channel, how })
    }

    /// The device.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let How::ByHelper { target } = &self.how {
            // That fails when someone else unmounted it, which is how this usually ends.
            let _ = fusermount_unmount(target);
        }
    }
}
