// SPDX-License-Identifier: GPL-2.0

//! Mounting and unmounting by system call.

use crate::Channel;
use nix::mount::{mount, umount2, MntFlags, MsFlags};
use rustix::fs::{statx, AtFlags, StatxFlags, CWD};
use std::{
    fmt::Write,
    io,
    path::{Path, PathBuf},
};

/// Which of the file systems of this family, by the names under which the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The file system type.
    pub fs_type: &'static str,
    /// The path of the device.
    pub device: &'static str,
    /// The type of the control file system.
    pub control_type: &'static str,
    /// Where the control file system is mounted.
    pub control_dir: &'static str,
}

impl Kind {
    /// The usual names.
    pub const FUSE: Kind = Kind {
        fs_type: "fuse",
        device: "/dev/fuse",
        control_type: "fusectl",
        control_dir: "/sys/fs/fuse/connections",
    };

    /// The names of `rust_fuse` with `coexist=1`.
    pub const RFUSE: Kind = Kind {
        fs_type: "rfuse",
        device: "/dev/rfuse",
        control_type: "rfusectl",
        control_dir: "/sys/fs/rfuse/connections",
    };
}

/// What to mount, and how.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// The file system.
    pub kind: Kind,
    /// What comes after the dot in the type that `/proc/mounts` shows.
    pub subtype: Option<String>,
    /// What stands in the first column of `/proc/mounts`.
    pub source: String,
    /// The mount's flags.
    pub flags: MsFlags,
    /// The file type of the root.
    pub rootmode: u32,
    /// Who mounts: others are kept out, unless `allow_other` is among the options.
    pub user_id: u32,
    /// The group of who mounts.
    pub group_id: u32,
    /// Options beside these, separated by commas.
    pub extra: String,
}

impl MountOptions {
    /// A file system of root's, that has a directory as its root, with nothing out of the
    /// ordinary.
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            subtype: None,
            source: kind.fs_type.into(),
            flags: MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
            rootmode: 0o40000,
            user_id: 0,
            group_id: 0,
            extra: String::new(),
        }
    }

    /// Adds options, separated by commas.
    pub fn option(mut self, option: &str) -> Self {
        if !self.extra.is_empty() {
            self.extra.push(',');
        }
        self.extra.push_str(option);
        self
    }

    /// What `mount(2)` gets as its data.
    pub fn data(&self, channel: &Channel) -> String {
        let mut data = format!(
            "fd={},rootmode={:o},user_id={},group_id={}",
            channel.number(),
            self.rootmode,
            self.user_id,
            self.group_id
        );
        if !self.extra.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(data, ",{}", self.extra);
        }
        data
    }

    /// Mounts on `target` by `mount(2)`, which takes `CAP_SYS_ADMIN` in the user namespace that
    /// the device was opened in.
    ///
    /// # Errors
    ///
    /// EINVAL for options that are unknown, missing or wrong, and for a descriptor that is no
    /// FUSE device; EBADF for one that is not open; EPERM, ENOENT and so on as for any mount.
    pub fn mount(&self, channel: &Channel, target: &Path) -> io::Result<Mount> {
        let fs_type = match &self.subtype {
            Some(subtype) => format!("{}.{subtype}", self.kind.fs_type),
            None => self.kind.fs_type.into(),
        };
        mount(
            Some(self.source.as_str()),
            target,
            Some(fs_type.as_str()),
            self.flags,
            Some(self.data(channel).as_str()),
        )?;
        Ok(Mount {
            target: Some(target.into()),
            id: unique_id(target),
        })
    }
}

/// A file system that is mounted. Dropping it unmounts it, now or when it is no longer in use,
/// and ends the requests that wait.
#[derive(Debug)]
pub struct Mount {
    target: Option<PathBuf>,
    /// What [`unique_id`] has said of it.
    id: Option<u64>,
}

/// The number of what is mounted on `target`, which no other mount gets before the machine starts anew.
/// Asks the kernel alone, not who serves it. Linux has it since 6.8.
fn unique_id(target: &Path) -> Option<u64> {
    /// `STATX_MNT_ID_UNIQUE`.
    const UNIQUE: u32 = 0x4000;
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
    let seen = statx(CWD, target, flags, StatxFlags::from_bits_retain(UNIQUE)).ok()?;
    (seen.stx_mask & UNIQUE != 0).then_some(seen.stx_mnt_id)
}

impl Mount {
    /// Where it is mounted.
    pub fn target(&self) -> &Path {
        self.target.as_deref().unwrap_or(Path::new(""))
    }

    /// Unmounts it, as `umount` does.
    ///
    /// # Errors
    ///
    /// EBUSY when it is in use; it then stays mounted, and is given back.
    pub fn unmount(mut self) -> Result<(), (Mount, io::Error)> {
        match umount2(self.target(), MntFlags::empty()) {
            Ok(()) => {
                self.target = None;
                Ok(())
            }
            Err(error) => Err((self, error.into())),
        }
    }

    /// Leaves it mounted.
    pub fn leave(mut self) {
        self.target = None;
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Some(target) = &self.target {
            // It may be unmounted already. Then another one's mount may be in its place ...
            match (self.id, unique_id(target)) {
                (Some(own), Some(there)) if own != there => return,
                _ => {}
            }
            // ... or none, and nothing is left to do when this fails.
            let _ = umount2(target, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        }
    }
}
