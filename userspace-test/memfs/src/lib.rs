// SPDX-License-Identifier: GPL-2.0

//! A file system in memory, written in paths.
//!
//! It is gone when it is unmounted. Files may have holes; the pages that they have are counted, and
//! when there are too many, writing fails with ENOSPC.

mod data;
mod state;

use data::PAGE;
use pathfs::{
    fuser::{AccessFlags, Errno, FileAttr, RenameFlags, TimeOrNow},
    Caller, DirEntry, Open, Opened, PathFilesystem, Result, Statfs,
};
use state::{Content, State, MAX_SIZE, NAME_MAX};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// The file system.
#[derive(Debug)]
pub struct MemFs {
    state: Mutex<State>,
}

impl MemFs {
    /// An empty one, that is `owner`'s and has room for so many bytes.
    pub fn new(owner: Caller, size: u64) -> Self {
        let state = State::new(owner, size.div_ceil(PAGE));
        let state = Mutex::new(state);
        Self { state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resize(state: &mut State, number: u64, size: u64) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        state.change(number, |_| 0, |data| data.set_size(size))
    }
}

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

/// Where a range ends that a file may have.
fn end(offset: u64, length: u64) -> Result<u64> {
    let end = offset.checked_add(length).filter(|&end| end <= MAX_SIZE);
    end.ok_or(Errno::EFBIG)
}

impl PathFilesystem for MemFs {
    fn getattr(&self, path: &Path) -> Result<FileAttr> {
        Ok(self.state().at(path)?.attr())
    }

    fn fgetattr(&self, file: Open<'_>) -> Result<FileAttr> {
        Ok(self.state().inode(file.fh)?.attr())
    }

    fn readlink(&self, path: &Path) -> Result<PathBuf> {
        match &self.state().at(path)?.content {
            Content::Link(target) => Ok(target.clone()),
            _ => Err(Errno::EINVAL),
        }
    }

    fn mknod(&self, caller: Caller, path: &Path, mode: u32, rdev: u32) -> Result<()> {
        let content = Content::of_mode(mode, rdev)?;
        self.state().make(caller, path, content, mode).map(drop)
    }

    fn mkdir(&self, caller: Caller, path: &Path, mode: u32) -> Result<()> {
        let content = Content::Directory(BTreeMap::new());
        self.state().make(caller, path, content, mode).map(drop)
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        self.state().remove(path, false)
    }

    fn rmdir(&self, path: &Path) -> Result<()> {
        self.state().remove(path, true)
    }

    fn symlink(&self, caller: Caller, target: &Path, path: &Path) -> Result<()> {
        let content = Content::Link(target.into());
        self.state().make(caller, path, content, 0o777).map(drop)
    }

    fn rename(&self, from: &Path, to: &Path, flags: RenameFlags) -> Result<()> {
        if !(flags - RenameFlags::RENAME_EXCHANGE - RenameFlags::RENAME_NOREPLACE).is_empty() {
            return Err(Errno::EINVAL);
        }
        self.state().rename(from, to, flags.bits())
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        self.state().link(from, to)
    }

    fn chmod(&self, path: &Path, mode: u32) -> Result<()> {
        let mut state = self.state();
        let inode = state.at_mut(path)?;
        inode.perm = (mode & 0o7777) as u16;
        inode.changed();
        Ok(())
    }

    fn chown(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        let mut state = self.state();
        let inode = state.at_mut(path)?;
        inode.uid = uid.unwrap_or(inode.uid);
        inode.gid = gid.unwrap_or(inode.gid);
        inode.changed();
        Ok(())
    }

    fn truncate(&self, path: &Path, size: u64) -> Result<()> {
        let mut state = self.state();
        let number = state.find(path)?;
        Self::resize(&mut state, number, size)
    }

    fn ftruncate(&self, file: Open<'_>, size: u64) -> Result<()> {
        Self::resize(&mut self.state(), file.fh, size)
    }

    fn utimens(
        &self,
        path: &Path,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
    ) -> Result<()> {
        let mut state = self.state();
        let inode = state.at_mut(path)?;
        inode.atime = atime.map_or(inode.atime, time);
        inode.mtime = mtime.map_or(inode.mtime, time);
        inode.changed();
        Ok(())
    }

    fn access(&self, _: Caller, path: &Path, _: AccessFlags) -> Result<()> {
        // It is for its owner, or the kernel checks permissions.
        self.state().find(path).map(drop)
    }

    fn open(&self, _: Caller, path: &Path, flags: i32) -> Result<Opened> {
        let mut state = self.state();
        let number = state.find(path)?;
        if flags & libc::O_TRUNC != 0 {
            Self::resize(&mut state, number, 0)?;
        }
        state.inode_mut(number)?.opens += 1;
        Ok(number.into())
    }

    fn create(&self, caller: Caller, path: &Path, mode: u32, _: i32) -> Result<Opened> {
        let mut state = self.state();
        let content = Content::of_mode(mode, 0)?;
        let number = state.make(caller, path, content, mode)?;
        state.inode_mut(number)?.opens += 1;
        Ok(number.into())
    }

    fn read(&self, file: Open<'_>, offset: u64, size: u32) -> Result<Vec<u8>> {
        match &self.state().inode(file.fh)?.content {
            Content::File(data) => Ok(data.read(offset, size)),
            _ => Err(Errno::EINVAL),
        }
    }

    fn write(&self, file: Open<'_>, offset: u64, bytes: &[u8]) -> Result<u32> {
        let size = u32::try_from(bytes.len()).map_err(|_| Errno::EINVAL)?;
        let end = end(offset, size.into())?;
        self.state().change(
            file.fh,
            |data| data.new_pages(offset, end),
            |data| data.write(offset, bytes),
        )?;
        Ok(size)
    }

    fn release(&self, file: Open<'_>, _: i32) -> Result<()> {
        let mut state = self.state();
        let inode = state.inode_mut(file.fh)?;
        inode.opens = inode.opens.saturating_sub(1);
        state.free(file.fh)
    }

    fn fsync(&self, _: Open<'_>, _: bool) -> Result<()> {
        Ok(())
    }

    fn fsyncdir(&self, _: Open<'_>, _: bool) -> Result<()> {
        Ok(())
    }

    fn statfs(&self, _: &Path) -> Result<Statfs> {
        let state = self.state();
        let free = state.max_pages.saturating_sub(state.pages);
        Ok(Statfs {
            blocks: state.max_pages,
            bfree: free,
            bavail: free,
            files: state.inodes(),
            ffree: u64::from(u32::MAX),
            bsize: PAGE as u32,
            frsize: PAGE as u32,
            namelen: NAME_MAX as u32,
        })
    }

    fn setxattr(&self, path: &Path, name: &OsStr, value: &[u8], flags: i32) -> Result<()> {
        let mut state = self.state();
        let inode = state.at_mut(path)?;
        match inode.xattrs.contains_key(name) {
            true if flags & libc::XATTR_CREATE != 0 => return Err(Errno::EEXIST),
            false if flags & libc::XATTR_REPLACE != 0 => return Err(Errno::ENODATA),
            _ => {}
        }
        inode.xattrs.insert(name.into(), value.into());
        inode.changed();
        Ok(())
    }

    fn getxattr(&self, path: &Path, name: &OsStr) -> Result<Vec<u8>> {
        let state = self.state();
        let value = state.at(path)?.xattrs.get(name);
        value.cloned().ok_or(Errno::ENODATA)
    }

    fn listxattr(&self, path: &Path) -> Result<Vec<OsString>> {
        Ok(self.state().at(path)?.xattrs.keys().cloned().collect())
    }

    fn removexattr(&self, path: &Path, name: &OsStr) -> Result<()> {
        let mut state = self.state();
        let inode = state.at_mut(path)?;
        inode.xattrs.remove(name).ok_or(Errno::ENODATA)?;
        inode.changed();
        Ok(())
    }

    fn readdir(&self, dir: Open<'_>) -> Result<Vec<DirEntry>> {
        let list = self.state().list(dir.path()?)?;
        let entry = |(name, kind)| DirEntry::new(name, kind);
        Ok(list.into_iter().map(entry).collect())
    }

    fn fallocate(&self, file: Open<'_>, mode: i32, offset: u64, length: u64) -> Result<()> {
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let end = end(offset, length)?;
        let mut state = self.state();
        match mode {
            // Room is not kept for anybody: zeroes take none.
            0 => state.change(file.fh, |_| 0, |data| data.set_size(data.size().max(end))),
            libc::FALLOC_FL_KEEP_SIZE => Ok(()),
            PUNCH => state.change(file.fh, |_| 0, |data| data.punch(offset, end)),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }
}
