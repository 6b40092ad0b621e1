// SPDX-License-Identifier: GPL-2.0

//! What is mounted, by `/proc/PID/mountinfo`: looking there asks no daemon.

use super::text;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Its number, as `/proc/PID/fdinfo` has it.
    pub id: u64,
    /// The number of its device: for FUSE, that of the connection.
    pub device: u32,
    /// Where it is.
    pub path: PathBuf,
    /// The file system's type, with its subtype: `fuse.sshfs`.
    pub fs_type: String,
    /// What is mounted, as the daemon calls it.
    pub source: String,
}

/// A device by its numbers, in the kernel's own encoding: 20 bits of minor number.
pub(super) fn device(major: u32, minor: u32) -> u32 {
    major << 20 | minor
}

impl MountPoint {
    /// All in the text of a `mountinfo`; lines that make no sense are left out.
    pub fn parse_all(mountinfo: &str) -> Vec<Self> {
        mountinfo.lines().filter_map(Self::parse).collect()
    }

    /// `ID PARENT MAJOR:MINOR ROOT WHERE OPTIONS [TAG...] - TYPE SOURCE SUPER-OPTIONS`.
    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ');
        let id = mount.next()?.parse().ok()?;
        let (major, minor) = mount.nth(1)?.split_once(':')?;
        let (major, minor): (u32, u32) = (major.parse().ok()?, minor.parse().ok()?);
        let path = text::unescape(mount.nth(1)?);
        let mut file_system = file_system.split(' ');
        let name = |word: &str| String::from_utf8_lossy(&text::unescape_bytes(word)).into_owned();
        Some(Self {
            id,
            device: device(major, minor),
            path: path.into(),
            fs_type: name(file_system.next()?),
            source: name(file_system.next().unwrap_or_default()),
        })
    }

    /// Those of a process, or of this one, which is called `self`; none if that cannot be read.
    pub fn of_process(pid: &str) -> Vec<Self> {
        let mountinfo = std::fs::read(Path::new("/proc").join(pid).join("mountinfo"));
        Self::parse_all(&String::from_utf8_lossy(&mountinfo.unwrap_or_default()))
    }

    /// Whether it is a FUSE file system.
    pub fn is_fuse(&self) -> bool {
        let base = self.fs_type.split('.').next().unwrap_or_default();
        matches!(base, "fuse" | "fuseblk" | "rfuse" | "rfuseblk")
    }

    /// Whether it is a control file system.
    pub fn is_control(&self) -> bool {
        matches!(self.fs_type.as_str(), "fusectl" | "rfusectl")
    }
}

/// The mount that `path` is on, as far as its text tells; the last one of those that hide another.
pub fn mount_of<'a>(mounts: &'a [MountPoint], path: &Path) -> Option<&'a MountPoint> {
    let on = mounts.iter().filter(|mount| path.starts_with(&mount.path));
    on.max_by_key(|mount| mount.path.as_os_str().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTINFO: &str = "\
        22 1 0:21 / / rw,relatime shared:1 - tmpfs rootfs rw\n\
        44 22 0:43 / /mnt/a\\040b rw,nosuid - fuse.sshfs me@host: rw,user_id=0\n\
        45 22 7:0 / /mnt/block ro master:3 propagate_from:2 - fuseblk /dev/loop0 ro\n\
        46 22 0:30 / /sys/fs/fuse/connections rw - fusectl fusectl rw\n\
        nonsense\n";

    #[test]
    fn mounts_are_taken_apart() {
        let mounts = MountPoint::parse_all(MOUNTINFO);
        assert_eq!(mounts.len(), 4);
        assert_eq!(
            mounts[1],
            MountPoint {
                id: 44,
                device: 43,
                path: "/mnt/a b".into(),
                fs_type: "fuse.sshfs".into(),
                source: "me@host:".into(),
            }
        );
        assert_eq!(mounts[2].device, 7 << 20);
        let fuse: Vec<_> = mounts.iter().map(MountPoint::is_fuse).collect();
        assert_eq!(fuse, [false, true, true, false]);
        assert!(mounts[3].is_control());
    }

    #[test]
    fn a_path_is_on_the_innermost_mount() {
        let mounts = MountPoint::parse_all(MOUNTINFO);
        let on = |path: &str| mount_of(&mounts, Path::new(path)).unwrap().id;
        assert_eq!(on("/mnt/a b/c"), 44);
        assert_eq!(on("/mnt/a b"), 44);
        assert_eq!(on("/mnt/a bc"), 22);
    }
}
