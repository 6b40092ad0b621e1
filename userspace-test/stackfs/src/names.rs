// SPDX-License-Identifier: GPL-2.0

//! Names: looking them up, making, moving and removing them, and listing them.

use crate::{
    fs::{handle, reopen, Stack},
    nodes::{self, Node},
};
use rawfuse::{abi, Request};
use rustix::{
    fd::OwnedFd,
    fs::{
        chmodat, chownat, linkat, mkdirat, mknodat, openat, renameat_with, symlinkat, unlinkat,
        AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Uid, CWD,
    },
    io::{Errno, Result},
};
use std::{ffi::OsStr, os::fd::AsFd};

/// Bits of a mode that a new owner costs.
const SET_ID: u32 = 0o6000;

impl Stack {
    pub(crate) fn lookup(&self, dir: u64, name: &OsStr) -> Result<abi::EntryOut> {
        let dir = self.nodes.get(dir)?;
        Ok(self.entry(handle(&dir, name)?)?.0)
    }

    pub(crate) fn symlink(
        &self,
        request: &Request<'_>,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<abi::EntryOut> {
        let dir = self.nodes.get(request.nodeid())?;
        symlinkat(target, &dir, name)?;
        self.made(request, &dir, name, 0, AtFlags::empty())
    }

    pub(crate) fn mknod(
        &self,
        request: &Request<'_>,
        name: &OsStr,
        arg: &abi::MknodIn,
    ) -> Result<abi::EntryOut> {
        let dir = self.nodes.get(request.nodeid())?;
        let kind = FileType::from_raw_mode(arg.mode);
        let mode = Mode::from_raw_mode(arg.mode & 0o7777);
        mknodat(&dir, name, kind, mode, arg.rdev.into())?;
        self.made(request, &dir, name, arg.mode, AtFlags::empty())
    }

    pub(crate) fn mkdir(
        &self,
        request: &Request<'_>,
        name: &OsStr,
        mode: u32,
    ) -> Result<abi::EntryOut> {
        let dir = self.nodes.get(request.nodeid())?;
        mkdirat(&dir, name, Mode::from_raw_mode(mode & 0o7777))?;
        self.made(request, &dir, name, 0, AtFlags::REMOVEDIR)
    }

    /// Finishes what was just made: it belongs to the caller. If that fails it is removed again.
    fn made(
        &self,
        request: &Request<'_>,
        dir: &Node,
        name: &OsStr,
        mode: u32,
        how_removed: AtFlags,
    ) -> Result<abi::EntryOut> {
        let finish = || {
            let handle = handle(dir, name)?;
            self.give(request, dir, &handle, mode)?;
            Ok(self.entry(handle)?.0)
        };
        finish().inspect_err(|_| {
            // The caller is told why it was not made, whether or not something stays behind.
            let _ = unlinkat(dir, name, how_removed);
        })
    }

    /// Gives what this process has made in `dir` to the caller, as if it had made it.
    fn give(&self, request: &Request<'_>, dir: &Node, new: impl AsFd, mode: u32) -> Result<()> {
        let (uid, gid) = (request.header().uid, request.header().gid);
        if (uid, gid) == self.identity {
            return Ok(());
        }
        let inherits_group = dir.stat()?.st_mode & Mode::SGID.as_raw_mode() != 0;
        let user = Some(Uid::from_raw(uid));
        let group = (!inherits_group).then(|| Gid::from_raw(gid));
        chownat(&new, "", user, group, AtFlags::EMPTY_PATH)?;
        if mode & SET_ID != 0 {
            let mode = Mode::from_raw_mode(mode & 0o7777);
            chmodat(CWD, nodes::path(&new), mode, AtFlags::empty())?;
        }
        Ok(())
    }

    pub(crate) fn link(&self, dir: u64, name: &OsStr, old: u64) -> Result<abi::EntryOut> {
        let (dir, old) = (self.nodes.get(dir)?, self.nodes.get(old)?);
        linkat(CWD, old.path(), &dir, name, AtFlags::SYMLINK_FOLLOW)?;
        Ok(self.entry(handle(&dir, name)?)?.0)
    }

    pub(crate) fn unlink(&self, dir: u64, name: &OsStr) -> Result<()> {
        unlinkat(self.nodes.get(dir)?, name, AtFlags::empty())
    }

    pub(crate) fn rmdir(&self, dir: u64, name: &OsStr) -> Result<()> {
        unlinkat(self.nodes.get(dir)?, name, AtFlags::REMOVEDIR)
    }

    pub(crate) fn rename(&self, from: (u64, &OsStr), to: (u64, &OsStr), flags: u32) -> Result<()> {
        let (old, new) = (self.nodes.get(from.0)?, self.nodes.get(to.0)?);
        let flags = RenameFlags::from_bits_retain(flags);
        renameat_with(old, from.1, new, to.1, flags)
    }

    /// Makes a file and opens it; one that has come to be there meanwhile is opened.
    pub(crate) fn create(
        &self,
        request: &Request<'_>,
        name: &OsStr,
        arg: &abi::CreateIn,
    ) -> Result<(abi::EntryOut, OwnedFd)> {
        let dir = self.nodes.get(request.nodeid())?;
        let flags = self.flags(arg.flags);
        let exclusive = OFlags::from_bits_retain(arg.flags).contains(OFlags::EXCL);
        let mode = Mode::from_raw_mode(arg.mode & 0o7777);
        match openat(&dir, name, flags | OFlags::CREATE | OFlags::EXCL, mode) {
            Ok(file) => {
                let finish = || {
                    self.give(request, &dir, &file, arg.mode)?;
                    self.entry_of(&file)
                };
                let entry = finish().inspect_err(|_| {
                    // As in made().
                    let _ = unlinkat(&dir, name, AtFlags::empty());
                })?;
                Ok((entry, file))
            }
            Err(Errno::EXIST) if !exclusive => {
                let file = openat(&dir, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
                Ok((self.entry_of(&file)?, file))
            }
            Err(error) => Err(error),
        }
    }

    /// Makes a file without a name.
    pub(crate) fn tmpfile(
        &self,
        request: &Request<'_>,
        arg: &abi::CreateIn,
    ) -> Result<(abi::EntryOut, OwnedFd)> {
        let dir = self.nodes.get(request.nodeid())?;
        let exclusive = OFlags::from_bits_retain(arg.flags) & OFlags::EXCL;
        let flags = self.flags(arg.flags) | OFlags::TMPFILE | exclusive;
        let file = openat(&dir, ".", flags, Mode::from_raw_mode(arg.mode & 0o7777))?;
        self.give(request, &dir, &file, arg.mode)?;
        Ok((self.entry_of(&file)?, file))
    }

    fn entry_of(&self, file: &OwnedFd) -> Result<abi::EntryOut> {
        let handle = reopen(&nodes::path(file), OFlags::PATH)?;
        Ok(self.entry(handle)?.0)
    }

    pub(crate) fn readdir(&self, arg: &abi::ReadIn) -> Result<Vec<u8>> {
        let dir = self.dirs.get(arg.fh)?;
        let entries = dir.read(arg, |entries, entry| {
            entries.push(entry.ino, entry.off, entry.kind, entry.name)
        })?;
        Ok(entries.into_bytes())
    }

    pub(crate) fn readdirplus(&self, nodeid: u64, arg: &abi::ReadIn) -> Result<Vec<u8>> {
        let (node, dir) = (self.nodes.get(nodeid)?, self.dirs.get(arg.fh)?);
        let entries = dir.read(arg, |entries, entry| {
            let look_up = || {
                // What has been removed by now, or is not to be counted, is listed by its name only.
                let found = (!entry.is_dot()).then(|| self.entry(handle(&node, entry.name)?));
                found.and_then(Result::ok).map_or_else(
                    || abi::EntryOut {
                        attr: abi::Attr {
                            ino: entry.ino,
                            mode: u32::from(entry.kind) << 12,
                            ..Default::default()
                        },
                        ..Default::default()
                    },
                    |(found, _)| found,
                )
            };
            entries.push_plus(entry.ino, entry.off, entry.kind, entry.name, look_up)
        })?;
        Ok(entries.into_bytes())
    }
}
