// SPDX-License-Identifier: GPL-2.0

//! Attributes, permissions and links' targets.

use crate::fs::{reopen, Stack};
use rawfuse::abi::{self, fattr};
use rustix::{
    fs::{
        accessat, chmodat, chownat, ftruncate, readlinkat, utimensat, Access, AtFlags, Gid, Mode,
        OFlags, Timespec, Timestamps, Uid, CWD, UTIME_NOW, UTIME_OMIT,
    },
    io::Result,
};

impl Stack {
    pub(crate) fn getattr(&self, nodeid: u64) -> Result<abi::AttrOut> {
        Ok(self.attr_out(&self.nodes.get(nodeid)?.stat()?))
    }

    pub(crate) fn setattr(&self, nodeid: u64, arg: &abi::SetattrIn) -> Result<abi::AttrOut> {
        let node = self.nodes.get(nodeid)?;
        let has = |flag| arg.valid & flag != 0;
        // A new owner costs the set-user-ID bit, unless the mode is given as well: that comes second.
        if has(fattr::UID | fattr::GID) {
            let uid = has(fattr::UID).then(|| Uid::from_raw(arg.uid));
            let gid = has(fattr::GID).then(|| Gid::from_raw(arg.gid));
            chownat(&node, "", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if has(fattr::MODE) {
            let mode = Mode::from_raw_mode(arg.mode & 0o7777);
            chmodat(CWD, node.path(), mode, AtFlags::empty())?;
        }
        if has(fattr::SIZE) {
            match has(fattr::FH) {
                true => ftruncate(&*self.files.get(arg.fh)?, arg.size)?,
                false => ftruncate(reopen(&node.path(), OFlags::WRONLY)?, arg.size)?,
            }
        }
        let time = |set, now, seconds: u64, nanoseconds: u32| Timespec {
            tv_sec: seconds as i64,
            tv_nsec: match () {
                () if has(now) => UTIME_NOW,
                () if has(set) => nanoseconds.into(),
                () => UTIME_OMIT,
            },
        };
        if has(fattr::ATIME | fattr::MTIME) {
            let times = Timestamps {
                last_access: time(fattr::ATIME, fattr::ATIME_NOW, arg.atime, arg.atimensec),
                last_modification: time(fattr::MTIME, fattr::MTIME_NOW, arg.mtime, arg.mtimensec),
            };
            utimensat(&node, "", &times, AtFlags::EMPTY_PATH)?;
        }
        Ok(self.attr_out(&node.stat()?))
    }

    /// Whether this process may: only asked when the kernel does not judge by itself.
    pub(crate) fn access(&self, nodeid: u64, mask: u32) -> Result<()> {
        let node = self.nodes.get(nodeid)?;
        let mode = Access::from_bits_truncate(mask);
        accessat(CWD, node.path(), mode, AtFlags::EACCESS)
    }

    pub(crate) fn readlink(&self, nodeid: u64) -> Result<Vec<u8>> {
        Ok(readlinkat(self.nodes.get(nodeid)?, "", Vec::new())?.into_bytes())
    }
}
