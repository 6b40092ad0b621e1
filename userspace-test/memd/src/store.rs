// SPDX-License-Identifier: GPL-2.0

//! Where the file system is kept.

use nix::sys::{
    stat::{mknod, utimensat, Mode, SFlag, UtimensatFlags},
    time::TimeSpec,
};
use rawfuse::{
    abi::{self, fattr},
    Errno,
};
use std::{
    ffi::OsStr,
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{symlink, FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A directory with a file for each inode, named by its node ID. An inode that is a directory is a
/// directory, with a symbolic link for each name in it, to the node ID.
///
/// Every change is one system call that all others lead up to, so that one who looks sees all of
/// it or nothing. What is removed stays as an inode without a name: how long the kernel knows of it
/// is what no successor can tell.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// Set in the `unique` of requests that may have been carried out.
const RESENT: u64 = abi::UNIQUE_RESEND;

/// What is to be made, and for whom.
pub(crate) struct New {
    pub mode: u32,
    pub rdev: u32,
    pub uid: u32,
    pub gid: u32,
}

impl Store {
    /// A file system with nothing but its root, in `dir`, which has to be empty.
    pub fn create(dir: &Path) -> io::Result<Self> {
        if fs::read_dir(dir)?.next().is_some() {
            return Err(Errno::ENOTEMPTY.into());
        }
        let store = Self { dir: dir.into() };
        fs::create_dir(store.path(abi::ROOT_ID))?;
        Ok(store)
    }

    /// The file system that is in `dir`.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let store = Self { dir: dir.into() };
        store.attr(abi::ROOT_ID)?;
        Ok(store)
    }

    /// The file that holds what is in the inode.
    pub fn path(&self, nodeid: u64) -> PathBuf {
        self.dir.join(nodeid.to_string())
    }

    /// Adds a file to the root, of an odd node ID: even ones are for what callers make.
    pub fn add(&self, nodeid: u64, name: &str, data: &[u8]) -> io::Result<()> {
        assert!(nodeid > abi::ROOT_ID && nodeid % 2 == 1);
        fs::write(self.path(nodeid), data)?;
        symlink(nodeid.to_string(), self.path(abi::ROOT_ID).join(name))
    }

    /// Adds a directory to the root, as [`add`](Self::add).
    pub fn add_dir(&self, nodeid: u64, name: &str) -> io::Result<()> {
        assert!(nodeid > abi::ROOT_ID && nodeid % 2 == 1);
        fs::create_dir(self.path(nodeid))?;
        symlink(nodeid.to_string(), self.path(abi::ROOT_ID).join(name))
    }

    fn name(&self, dir: u64, name: &OsStr) -> PathBuf {
        self.path(dir).join(name)
    }

    /// The inode of that name.
    pub(crate) fn lookup(&self, dir: u64, name: &OsStr) -> io::Result<u64> {
        let target = fs::read_link(self.name(dir, name))?;
        let nodeid = target.to_str().and_then(|target| target.parse().ok());
        nodeid.ok_or_else(|| Errno::EIO.into())
    }

    /// The names in a directory, and their inodes.
    pub(crate) fn names(&self, dir: u64) -> io::Result<Vec<(std::ffi::OsString, u64)>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.path(dir))? {
            let name = entry?.file_name();
            // It may be gone by now.
            if let Ok(nodeid) = self.lookup(dir, &name) {
                names.push((name, nodeid));
            }
        }
        Ok(names)
    }

    pub(crate) fn metadata(&self, nodeid: u64) -> io::Result<Metadata> {
        fs::symlink_metadata(self.path(nodeid))
    }

    /// The attributes of an inode.
    pub(crate) fn attr(&self, nodeid: u64) -> io::Result<abi::Attr> {
        let data = self.metadata(nodeid)?;
        Ok(abi::Attr {
            ino: nodeid,
            size: data.size(),
            blocks: data.blocks(),
            atime: data.atime() as u64,
            mtime: data.mtime() as u64,
            ctime: data.ctime() as u64,
            atimensec: data.atime_nsec() as u32,
            mtimensec: data.mtime_nsec() as u32,
            ctimensec: data.ctime_nsec() as u32,
            mode: data.mode(),
            nlink: data.nlink() as u32,
            uid: data.uid(),
            gid: data.gid(),
            rdev: data.rdev() as u32,
            blksize: data.blksize() as u32,
            flags: 0,
        })
    }

    pub(crate) fn set_attr(&self, nodeid: u64, arg: &abi::SetattrIn) -> io::Result<()> {
        let path = self.path(nodeid);
        let has = |flag| arg.valid & flag != 0;
        if has(fattr::SIZE) {
            OpenOptions::new()
                .write(true)
                .open(&path)?
                .set_len(arg.size)?;
        }
        if has(fattr::UID | fattr::GID) {
            let uid = has(fattr::UID).then_some(arg.uid);
            let gid = has(fattr::GID).then_some(arg.gid);
            std::os::unix::fs::lchown(&path, uid, gid)?;
        }
        if has(fattr::MODE) {
            fs::set_permissions(&path, Permissions::from_mode(arg.mode & 0o7777))?;
        }
        let time = |set, now, seconds: u64, nanoseconds: u32| match () {
            () if has(now) => TimeSpec::UTIME_NOW,
            () if has(set) => TimeSpec::new(seconds as i64, nanoseconds.into()),
            () => TimeSpec::UTIME_OMIT,
        };
        let atime = time(fattr::ATIME, fattr::ATIME_NOW, arg.atime, arg.atimensec);
        let mtime = time(fattr::MTIME, fattr::MTIME_NOW, arg.mtime, arg.mtimensec);
        if has(fattr::ATIME | fattr::MTIME) {
            let how = UtimensatFlags::NoFollowSymlink;
            utimensat(nix::fcntl::AT_FDCWD, &path, &atime, &mtime, how)?;
        }
        Ok(())
    }

    /// Reads into `data`, and gives how much there was.
    pub(crate) fn read(&self, nodeid: u64, offset: u64, data: &mut [u8]) -> io::Result<usize> {
        File::open(self.path(nodeid))?.read_at(data, offset)
    }

    /// Writes all of `data`.
    pub(crate) fn write(&self, nodeid: u64, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writable(nodeid)?.write_all_at(data, offset)
    }

    pub(crate) fn writable(&self, nodeid: u64) -> io::Result<File> {
        OpenOptions::new().write(true).open(self.path(nodeid))
    }

    /// Where a symbolic link points.
    pub(crate) fn target(&self, nodeid: u64) -> io::Result<PathBuf> {
        fs::read_link(self.path(nodeid))
    }

    /// Makes an inode for the request `unique`, whose node ID is the request's number.
    pub(crate) fn make(
        &self,
        unique: u64,
        dir: u64,
        name: &OsStr,
        new: &New,
        target: &OsStr,
    ) -> io::Result<u64> {
        let nodeid = unique & !RESENT;
        let path = self.path(nodeid);
        let kind = SFlag::from_bits_truncate(new.mode & libc::S_IFMT);
        let made = match kind {
            SFlag::S_IFDIR => fs::create_dir(&path),
            SFlag::S_IFLNK => symlink(target, &path),
            _ => mknod(&path, kind, Mode::empty(), new.rdev.into()).map_err(Into::into),
        };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
        std::os::unix::fs::lchown(&path, Some(new.uid), Some(new.gid))?;
        if kind != SFlag::S_IFLNK {
            fs::set_permissions(&path, Permissions::from_mode(new.mode & 0o7777))?;
        }
        match symlink(nodeid.to_string(), self.name(dir, name)) {
            Ok(()) => Ok(nodeid),
            // It was made by this very request.
            Err(_) if self.lookup(dir, name).is_ok_and(|found| found == nodeid) => Ok(nodeid),
            Err(error) => {
                self.drop_node(nodeid)?;
                Err(error)
            }
        }
    }

    /// That nothing is in a directory. Nothing comes into it meanwhile: the kernel has it locked.
    fn is_empty(&self, nodeid: u64) -> io::Result<()> {
        if !self.metadata(nodeid)?.is_dir() {
            return Err(Errno::ENOTDIR.into());
        }
        match fs::read_dir(self.path(nodeid))?.next() {
            Some(_) => Err(Errno::ENOTEMPTY.into()),
            None => Ok(()),
        }
    }

    fn drop_node(&self, nodeid: u64) -> io::Result<()> {
        let path = self.path(nodeid);
        match self.metadata(nodeid)?.is_dir() {
            true => fs::remove_dir(path),
            false => fs::remove_file(path),
        }
    }

    pub(crate) fn unlink(&self, unique: u64, dir: u64, name: &OsStr) -> io::Result<()> {
        if self.is_dir(dir, name) {
            return Err(Errno::EISDIR.into());
        }
        done_before(unique, fs::remove_file(self.name(dir, name)))
    }

    pub(crate) fn rmdir(&self, unique: u64, dir: u64, name: &OsStr) -> io::Result<()> {
        match self.lookup(dir, name) {
            Ok(nodeid) => self.is_empty(nodeid)?,
            Err(error) => return done_before(unique, Err(error)),
        }
        fs::remove_file(self.name(dir, name))
    }

    /// Renames, over what has the new name. Flags are not for a file system that may have to do
    /// things twice.
    pub(crate) fn rename(
        &self,
        unique: u64,
        from: (u64, &OsStr),
        to: (u64, &OsStr),
    ) -> io::Result<()> {
        let (old, new) = (self.name(from.0, from.1), self.name(to.0, to.1));
        let moved = match self.lookup(from.0, from.1) {
            Ok(nodeid) => nodeid,
            Err(error) => return done_before(unique, Err(error)),
        };
        if let Ok(replaced) = self.lookup(to.0, to.1) {
            let is_dir = |nodeid| self.metadata(nodeid).is_ok_and(|data| data.is_dir());
            match (is_dir(moved), is_dir(replaced)) {
                (true, true) if moved != replaced => self.is_empty(replaced)?,
                (true, false) => return Err(Errno::ENOTDIR.into()),
                (false, true) => return Err(Errno::EISDIR.into()),
                _ => {}
            }
        }
        fs::rename(old, new)
    }

    fn is_dir(&self, dir: u64, name: &OsStr) -> bool {
        let found = self
            .lookup(dir, name)
            .and_then(|nodeid| self.metadata(nodeid));
        found.is_ok_and(|data| data.is_dir())
    }

    pub(crate) fn statfs(&self) -> io::Result<abi::Kstatfs> {
        let data = nix::sys::statfs::statfs(&self.dir)?;
        Ok(abi::Kstatfs {
            blocks: data.blocks(),
            bfree: data.blocks_free(),
            bavail: data.blocks_available(),
            files: data.files(),
            ffree: data.files_free(),
            bsize: data.block_size() as u32,
            frsize: data.block_size() as u32,
            namelen: 255,
            ..Default::default()
        })
    }
}

/// A request that comes again finds that what it is to remove is gone.
fn done_before(unique: u64, result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if unique & RESENT != 0 && error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests;
