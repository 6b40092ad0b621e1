// SPDX-License-Identifier: GPL-2.0

//! What is in the directory, and two files more.

use crate::usage::{size, Usage};
use nix::{
    fcntl::{fallocate, renameat2, FallocateFlags, AT_FDCWD},
    sys::{
        stat::{mknod, utimensat, Mode, SFlag, UtimensatFlags},
        statvfs::statvfs,
        time::TimeSpec,
    },
    unistd::geteuid,
};
use pathfs::{
    file_attr, file_type,
    fuser::{Errno, FileAttr, FileType, FopenFlags, RenameFlags, TimeOrNow},
    Caller, Data, DirEntry, Handles, Open, Opened, PathFilesystem, Result, Statfs,
};
use std::{
    fs::{self, File, Metadata, OpenOptions, Permissions},
    io,
    os::unix::fs::{lchown, symlink, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

/// The block that sizes are counted in.
const BLOCK: u64 = 512;

/// A file that is not in the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    TotalSize,
    UsedSize,
}

const OWN: [(&str, Own); 2] = [("total_size", Own::TotalSize), ("used_size", Own::UsedSize)];

/// Which of them is at a path, if one is.
fn own(path: &Path) -> Option<Own> {
    let name = path.strip_prefix("/").ok()?;
    let mut all = OWN.into_iter();
    all.find_map(|(own, which)| (name == Path::new(own)).then_some(which))
}

/// What is open.
#[derive(Clone)]
enum Handle {
    File(Arc<File>),
    /// What was in one of our own files when it was opened.
    Text(Arc<str>),
}

/// The file system.
pub struct QuotaFs {
    source: PathBuf,
    usage: Mutex<Usage>,
    handles: Handles<Handle>,
    started: SystemTime,
}

fn errno(error: nix::errno::Errno) -> Errno {
    Errno::from_i32(error as i32)
}

impl QuotaFs {
    /// Shows the directory `source`, in which there may be `total` bytes.
    ///
    /// # Errors
    ///
    /// What looking at all that is there already gives.
    pub fn new(source: &Path, total: u64) -> io::Result<Self> {
        Ok(Self {
            source: source.canonicalize()?,
            usage: Mutex::new(Usage::of(source, total)?),
            handles: Handles::new(),
            started: SystemTime::now(),
        })
    }

    /// Where that is in the directory.
    fn at(&self, path: &Path) -> PathBuf {
        self.source.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The same of what is to be changed, which our own files are not.
    fn changeable(&self, path: &Path) -> Result<PathBuf> {
        match own(path) {
            None => Ok(self.at(path)),
            Some(_) => Err(Errno::EPERM),
        }
    }

    /// What is used. It is locked for as long as a size changes.
    fn usage(&self) -> MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn text(&self, own: Own) -> String {
        let usage = self.usage();
        match own {
            Own::TotalSize => format!("{}\n", usage.total),
            Own::UsedSize => format!("{}\n", usage.used),
        }
    }

    fn own_attr(&self, own: Own) -> FileAttr {
        let size = self.text(own).len() as u64;
        FileAttr {
            ino: pathfs::fuser::INodeNo(0),
            size,
            blocks: size.div_ceil(BLOCK),
            atime: self.started,
            mtime: self.started,
            ctime: self.started,
            crtime: self.started,
            kind: FileType::RegularFile,
            perm: 0o444,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    fn file(&self, file: Open<'_>) -> Result<Arc<File>> {
        match &self.handles.get(file.fh)? {
            Handle::File(file) => Ok(file.clone()),
            Handle::Text(_) => Err(Errno::EACCES),
        }
    }

    /// Does something to a file that is to make it so large, if it may be. What counts is how large
    /// it is then, whatever was said and done.
    fn resize(
        &self,
        file: &File,
        new_size: impl FnOnce(u64) -> u64,
        change: impl FnOnce() -> io::Result<()>,
    ) -> Result<()> {
        let mut usage = self.usage();
        let before = size(&file.metadata()?);
        usage.check(before, new_size(before))?;
        let done = change();
        usage.change(before, size(&file.metadata()?));
        Ok(done?)
    }

    /// Removes a name by `remove`; what had no other is used no longer.
    fn unlinking(&self, path: &Path, remove: impl FnOnce() -> io::Result<()>) -> Result<()> {
        let mut usage = self.usage();
        let last = |data: &Metadata| data.nlink() == 1;
        let gone = fs::symlink_metadata(path).ok().filter(last);
        remove()?;
        usage.change(gone.as_ref().map_or(0, size), 0);
        Ok(())
    }

    /// Makes what has just been made the caller's.
    fn give(&self, caller: Caller, path: &Path) -> Result<()> {
        if geteuid().is_root() {
            lchown(path, Some(caller.uid), Some(caller.gid))?;
        }
        Ok(())
    }

    fn open_at(&self, path: &Path, flags: i32, mode: u32) -> Result<File> {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        // Where data goes, the kernel says; and it reads what it writes a part of.
        let ours = libc::O_ACCMODE
            | libc::O_CREAT
            | libc::O_EXCL
            | libc::O_TRUNC
            | libc::O_APPEND
            | libc::O_DIRECT;
        let mut options = OpenOptions::new();
        options
            .read(flags & libc::O_ACCMODE != libc::O_WRONLY)
            .write(writes)
            .create_new(flags & libc::O_CREAT != 0)
            .mode(mode & 0o7777)
            .custom_flags(flags & !ours | libc::O_NOFOLLOW);
        let file = options.open(path)?;
        if writes && flags & libc::O_TRUNC != 0 {
            self.resize(&file, |_| 0, || file.set_len(0))?;
        }
        Ok(file)
    }
}

fn time_spec(time: Option<TimeOrNow>) -> TimeSpec {
    match time {
        None => TimeSpec::UTIME_OMIT,
        Some(TimeOrNow::Now) => TimeSpec::UTIME_NOW,
        Some(TimeOrNow::SpecificTime(time)) => match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => TimeSpec::from_duration(since),
            Err(before) => {
                let before = before.duration();
                let (seconds, part) = (before.as_secs() as i64, i64::from(before.subsec_nanos()));
                match part {
                    0 => TimeSpec::new(-seconds, 0),
                    part => TimeSpec::new(-seconds - 1, 1_000_000_000 - part),
                }
            }
        },
    }
}

impl PathFilesystem for QuotaFs {
    fn getattr(&self, path: &Path) -> Result<FileAttr> {
        match own(path) {
            Some(own) => Ok(self.own_attr(own)),
            None => Ok(file_attr(&fs::symlink_metadata(self.at(path))?)),
        }
    }

    fn fgetattr(&self, file: Open<'_>) -> Result<FileAttr> {
        match &self.handles.get(file.fh)? {
            Handle::File(file) => Ok(file_attr(&file.metadata()?)),
            Handle::Text(_) => self.getattr(file.path()?),
        }
    }

    fn readlink(&self, path: &Path) -> Result<PathBuf> {
        Ok(fs::read_link(self.at(path))?)
    }

    fn mknod(&self, caller: Caller, path: &Path, mode: u32, rdev: u32) -> Result<()> {
        let path = self.changeable(path)?;
        let kind = SFlag::from_bits_truncate(mode & libc::S_IFMT);
        let mode = Mode::from_bits_truncate(mode & 0o7777);
        mknod(&path, kind, mode, rdev.into()).map_err(errno)?;
        self.give(caller, &path)
    }

    fn mkdir(&self, caller: Caller, path: &Path, mode: u32) -> Result<()> {
        let path = self.changeable(path)?;
        fs::create_dir(&path)?;
        self.give(caller, &path)?;
        Ok(fs::set_permissions(
            &path,
            Permissions::from_mode(mode & 0o7777),
        )?)
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        let path = self.changeable(path)?;
        self.unlinking(&path, || fs::remove_file(&path))
    }

    fn rmdir(&self, path: &Path) -> Result<()> {
        Ok(fs::remove_dir(self.changeable(path)?)?)
    }

    fn symlink(&self, caller: Caller, target: &Path, path: &Path) -> Result<()> {
        let path = self.changeable(path)?;
        symlink(target, &path)?;
        self.give(caller, &path)
    }

    fn rename(&self, from: &Path, to: &Path, flags: RenameFlags) -> Result<()> {
        let (from, to) = (self.changeable(from)?, self.changeable(to)?);
        let flags = nix::fcntl::RenameFlags::from_bits(flags.bits()).ok_or(Errno::EINVAL)?;
        let rename = || Ok(renameat2(AT_FDCWD, &from, AT_FDCWD, &to, flags)?);
        match flags.is_empty() {
            true => self.unlinking(&to, rename),
            false => Ok(rename().map_err(|error: io::Error| Errno::from(error))?),
        }
    }

    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        Ok(fs::hard_link(self.changeable(from)?, self.changeable(to)?)?)
    }

    fn chmod(&self, path: &Path, mode: u32) -> Result<()> {
        let path = self.changeable(path)?;
        Ok(fs::set_permissions(
            path,
            Permissions::from_mode(mode & 0o7777),
        )?)
    }

    fn chown(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        Ok(lchown(self.changeable(path)?, uid, gid)?)
    }

    fn truncate(&self, path: &Path, size: u64) -> Result<()> {
        if own(path).is_some() {
            return Err(Errno::EACCES);
        }
        let file = self.open_at(&self.at(path), libc::O_WRONLY, 0)?;
        self.resize(&file, |_| size, || file.set_len(size))
    }

    fn ftruncate(&self, file: Open<'_>, size: u64) -> Result<()> {
        let file = self.file(file)?;
        self.resize(&file, |_| size, || file.set_len(size))
    }

    fn utimens(
        &self,
        path: &Path,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
    ) -> Result<()> {
        let path = self.changeable(path)?;
        let how = UtimensatFlags::NoFollowSymlink;
        let (atime, mtime) = (time_spec(atime), time_spec(mtime));
        utimensat(AT_FDCWD, &path, &atime, &mtime, how).map_err(errno)
    }

    fn open(&self, _: Caller, path: &Path, flags: i32) -> Result<Opened> {
        let Some(own) = own(path) else {
            let file = self.open_at(&self.at(path), flags & !libc::O_CREAT, 0)?;
            return Ok(self.handles.add(Handle::File(file.into()))?.into());
        };
        if flags & (libc::O_ACCMODE | libc::O_TRUNC) != libc::O_RDONLY {
            return Err(Errno::EACCES);
        }
        Ok(Opened {
            fh: self.handles.add(Handle::Text(self.text(own).into()))?,
            // Its size may be another one by the time it is read.
            flags: FopenFlags::FOPEN_DIRECT_IO,
        })
    }

    fn create(&self, caller: Caller, path: &Path, mode: u32, flags: i32) -> Result<Opened> {
        let path = self.changeable(path)?;
        let file = self.open_at(&path, flags | libc::O_CREAT, mode)?;
        self.give(caller, &path)?;
        Ok(self.handles.add(Handle::File(file.into()))?.into())
    }

    fn read_buf(&self, file: Open<'_>, offset: u64, size: u32) -> Result<Data> {
        match &self.handles.get(file.fh)? {
            Handle::File(file) => Ok(Data::File {
                file: file.clone(),
                offset,
                size,
            }),
            Handle::Text(text) => {
                let rest = text
                    .bytes()
                    .skip(usize::try_from(offset).unwrap_or(usize::MAX));
                Ok(Data::Bytes(rest.take(size as usize).collect()))
            }
        }
    }

    /// All of it or nothing.
    fn write(&self, file: Open<'_>, offset: u64, data: &[u8]) -> Result<u32> {
        let file = self.file(file)?;
        let length = u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?;
        let end = offset.checked_add(length.into()).ok_or(Errno::EFBIG)?;
        self.resize(
            &file,
            |size| size.max(end),
            || file.write_all_at(data, offset),
        )?;
        Ok(length)
    }

    fn release(&self, file: Open<'_>, _: i32) -> Result<()> {
        self.handles.remove(file.fh).map(drop).ok_or(Errno::EBADF)
    }

    fn fsync(&self, file: Open<'_>, datasync: bool) -> Result<()> {
        match (&self.handles.get(file.fh)?, datasync) {
            (Handle::File(file), true) => Ok(file.sync_data()?),
            (Handle::File(file), false) => Ok(file.sync_all()?),
            (Handle::Text(_), _) => Ok(()),
        }
    }

    fn statfs(&self, path: &Path) -> Result<Statfs> {
        let path = own(path).map_or_else(|| self.at(path), |_| self.source.clone());
        let below = statvfs(&path).map_err(errno)?;
        let usage = self.usage();
        let room = below
            .blocks_available()
            .saturating_mul(below.fragment_size());
        let free = usage.total.saturating_sub(usage.used).min(room) / BLOCK;
        Ok(Statfs {
            blocks: usage.total / BLOCK,
            bfree: free,
            bavail: free,
            files: below.files(),
            ffree: below.files_free(),
            bsize: 4096,
            frsize: BLOCK as u32,
            namelen: u32::try_from(below.name_max()).unwrap_or(255),
        })
    }

    fn readdir(&self, dir: Open<'_>) -> Result<Vec<DirEntry>> {
        let path = dir.path()?;
        let mut entries = Vec::new();
        if path == Path::new("/") {
            let own = OWN.map(|(name, _)| DirEntry::new(name, FileType::RegularFile));
            entries.extend(own);
        }
        for entry in fs::read_dir(self.at(path))? {
            let entry = entry?;
            // One of that name in the directory is not seen.
            if own(&path.join(entry.file_name())).is_none() {
                let kind = file_type(entry.file_type()?);
                entries.push(DirEntry::new(entry.file_name(), kind));
            }
        }
        Ok(entries)
    }

    fn fallocate(&self, file: Open<'_>, mode: i32, offset: u64, length: u64) -> Result<()> {
        let file = self.file(file)?;
        let flags = FallocateFlags::from_bits(mode).ok_or(Errno::EOPNOTSUPP)?;
        let keep = flags.contains(FallocateFlags::FALLOC_FL_KEEP_SIZE);
        if keep && !flags.contains(FallocateFlags::FALLOC_FL_PUNCH_HOLE) {
            // It would use what nothing counts.
            return Err(Errno::EOPNOTSUPP);
        }
        let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
        let range =
            || -> Option<(i64, i64)> { Some((offset.try_into().ok()?, length.try_into().ok()?)) };
        let (offset, length) = range().ok_or(Errno::EFBIG)?;
        self.resize(
            &file,
            |size| if keep { size } else { size.max(end) },
            || Ok(fallocate(&*file, flags, offset, length)?),
        )
    }
}
