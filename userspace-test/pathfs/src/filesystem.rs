// SPDX-License-Identifier: GPL-2.0

//! What a file system that is written in paths has to say.

use fuser::{
    AccessFlags, Errno, FileAttr, FileType, FopenFlags, IoctlFlags, KernelConfig, PollEvents,
    PollNotifier, RenameFlags, TimeOrNow,
};
use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What an operation gives, or the error that its caller gets.
pub type Result<T> = std::result::Result<T, Errno>;

/// Who asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The user, by whose rights it is done.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The process; 0 when that is in another PID namespace.
    pub pid: u32,
}

/// An open file.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a> {
    /// Its path. There is none when it was removed meanwhile, with
    /// [`hard_remove`](crate::Config::hard_remove).
    pub path: Option<&'a Path>,
    /// What opening it gave.
    pub fh: u64,
}

impl<'a> Open<'a> {
    /// Its path.
    ///
    /// # Errors
    ///
    /// ENOENT when there is none.
    pub fn path(&self) -> Result<&'a Path> {
        self.path.ok_or(Errno::ENOENT)
    }
}

/// What opening a file gives.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    /// A number for the open file.
    pub fh: u64,
    /// How the kernel is to treat it.
    pub flags: FopenFlags,
}

impl From<u64> for Opened {
    fn from(fh: u64) -> Self {
        let flags = FopenFlags::empty();
        Self { fh, flags }
    }
}

/// Data that is read, or where it is.
#[derive(Clone, Debug)]
pub enum Data {
    /// The bytes themselves.
    Bytes(Vec<u8>),
    /// So many bytes of a file, or as many as it has from there.
    File {
        /// The file.
        file: Arc<fs::File>,
        /// Where they begin.
        offset: u64,
        /// How many.
        size: u32,
    },
}

impl Data {
    /// The bytes; those of a file are put into `buffer`.
    ///
    /// # Errors
    ///
    /// What reading the file gives.
    pub fn bytes<'a>(&'a self, buffer: &'a mut Vec<u8>) -> Result<&'a [u8]> {
        let (file, offset, size) = match self {
            Data::Bytes(bytes) => return Ok(bytes),
            Data::File { file, offset, size } => (file, *offset, *size as usize),
        };
        if buffer.len() < size {
            buffer.resize(size, 0);
        }
        let mut have = 0;
        while have < size {
            match file.read_at(&mut buffer[have..size], offset.saturating_add(have as u64)) {
                Ok(0) => break,
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(&buffer[..have])
    }
}

/// Where data is to be written.
#[derive(Clone, Debug)]
pub struct Target {
    /// To which file.
    pub file: Arc<fs::File>,
    /// From where on.
    pub offset: u64,
}

/// A name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: OsString,
    /// What it is a name of.
    pub kind: FileType,
}

impl DirEntry {
    /// An entry of that name.
    pub fn new(name: impl Into<OsString>, kind: FileType) -> Self {
        let name = name.into();
        Self { name, kind }
    }
}

/// How full a file system is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statfs {
    /// Blocks in all.
    pub blocks: u64,
    /// Those that are free.
    pub bfree: u64,
    /// Those that are free for everybody.
    pub bavail: u64,
    /// Files that there can be.
    pub files: u64,
    /// How many more there can be.
    pub ffree: u64,
    /// The size of a block, for reading and writing.
    pub bsize: u32,
    /// The longest name.
    pub namelen: u32,
    /// The size of a block, in the counts.
    pub frsize: u32,
}

/// A range of a file that is locked, or is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lock {
    /// The first byte.
    pub start: u64,
    /// The last one.
    pub end: u64,
    /// `F_RDLCK`, `F_WRLCK` or `F_UNLCK`.
    pub typ: i32,
    /// The process that has it, or wants it.
    pub pid: u32,
}

/// What is to be done about a [`Lock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockCommand {
    /// Tell which lock is in the way, if one is.
    Get,
    /// Take it, change it, or let it go; EAGAIN when one is in the way.
    Set,
    /// The same, but wait while one is in the way.
    SetWait,
}

/// A file system that is written in paths, with the operations that `libfuse` has.
///
/// Paths begin with a slash, and end with none, but for the root's. They stay what they are until
/// the operation returns: whoever wants to rename what is on the way waits. An operation that is
/// left out fails with ENOSYS, unless it says otherwise, and the kernel does what it does without it.
/// Any number of threads may be in them at a time.
///
/// The inode number in the attributes that they give is not looked at: callers see the node's.
#[allow(unused_variables)]
pub trait PathFilesystem: Send + Sync + 'static {
    /// Comes first: what the connection is to be like may be settled here.
    ///
    /// # Errors
    ///
    /// Those end the mount.
    fn init(&mut self, config: &mut KernelConfig) -> io::Result<()> {
        Ok(())
    }

    /// Comes last: the file system is unmounted.
    fn destroy(&mut self) {}

    /// The attributes of what is at `path`. This is how names are looked up, too.
    fn getattr(&self, path: &Path) -> Result<FileAttr>;

    /// The attributes of an open file. Left out: those of its path.
    fn fgetattr(&self, file: Open<'_>) -> Result<FileAttr> {
        self.getattr(file.path()?)
    }

    /// Where a symbolic link leads.
    fn readlink(&self, path: &Path) -> Result<PathBuf> {
        Err(Errno::ENOSYS)
    }

    /// Makes a file, or something special.
    fn mknod(&self, caller: Caller, path: &Path, mode: u32, rdev: u32) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Makes a directory.
    fn mkdir(&self, caller: Caller, path: &Path, mode: u32) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Removes what is no directory.
    fn unlink(&self, path: &Path) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Removes an empty directory.
    fn rmdir(&self, path: &Path) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Makes a symbolic link.
    fn symlink(&self, caller: Caller, target: &Path, path: &Path) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Renames, over what is there unless `flags` say otherwise.
    fn rename(&self, from: &Path, to: &Path, flags: RenameFlags) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Gives what is at `from` a second name.
    fn link(&self, from: &Path, to: &Path) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Sets the permissions.
    fn chmod(&self, path: &Path, mode: u32) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Sets owner and group, or one of them.
    fn chown(&self, path: &Path, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Sets the size.
    fn truncate(&self, path: &Path, size: u64) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Sets the size of an open file. Left out: that of its path.
    fn ftruncate(&self, file: Open<'_>, size: u64) -> Result<()> {
        self.truncate(file.path()?, size)
    }

    /// Sets the times of access and of modification, or one of them.
    fn utimens(
        &self,
        path: &Path,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
    ) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Says whether `caller` may do that, where `access(2)` asks.
    fn access(&self, caller: Caller, path: &Path, mask: AccessFlags) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Opens a file, and empties it if `flags` have `O_TRUNC`. Left out: that works, and all its open files have the number 0.
    fn open(&self, caller: Caller, path: &Path, flags: i32) -> Result<Opened> {
        Ok(0.into())
    }

    /// Makes a file and opens it. Left out: the kernel makes do with `mknod` and `open`.
    fn create(&self, caller: Caller, path: &Path, mode: u32, flags: i32) -> Result<Opened> {
        Err(Errno::ENOSYS)
    }

    /// Reads `size` bytes, or as many as there are.
    fn read(&self, file: Open<'_>, offset: u64, size: u32) -> Result<Vec<u8>> {
        Err(Errno::ENOSYS)
    }

    /// The same, by telling where they are. Left out: [`read`](Self::read).
    fn read_buf(&self, file: Open<'_>, offset: u64, size: u32) -> Result<Data> {
        self.read(file, offset, size).map(Data::Bytes)
    }

    /// Writes, and gives how many bytes: all, unless the file was opened for direct I/O.
    fn write(&self, file: Open<'_>, offset: u64, data: &[u8]) -> Result<u32> {
        Err(Errno::ENOSYS)
    }

    /// Where so many bytes are to be written, for a file system that keeps them in files: they are
    /// put there. Left out: nowhere, and [`write`](Self::write) gets the bytes.
    fn write_buf(&self, file: Open<'_>, offset: u64, size: u32) -> Result<Option<Target>> {
        Ok(None)
    }

    /// One descriptor of an open file was closed; `owner` gives its locks up.
    fn flush(&self, file: Open<'_>, owner: u64) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// The last one was.
    fn release(&self, file: Open<'_>, flags: i32) -> Result<()> {
        Ok(())
    }

    /// Waits until what was written is kept.
    fn fsync(&self, file: Open<'_>, datasync: bool) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// How full it is. Left out: nothing is known but that names have up to 255 bytes.
    fn statfs(&self, path: &Path) -> Result<Statfs> {
        Ok(Statfs {
            bsize: 512,
            namelen: 255,
            ..Statfs::default()
        })
    }

    /// Sets an extended attribute; `flags` are `XATTR_CREATE` or `XATTR_REPLACE`.
    fn setxattr(&self, path: &Path, name: &OsStr, value: &[u8], flags: i32) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// The value of an extended attribute.
    fn getxattr(&self, path: &Path, name: &OsStr) -> Result<Vec<u8>> {
        Err(Errno::ENOSYS)
    }

    /// The names of extended attributes.
    fn listxattr(&self, path: &Path) -> Result<Vec<OsString>> {
        Err(Errno::ENOSYS)
    }

    /// Removes an extended attribute.
    fn removexattr(&self, path: &Path, name: &OsStr) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Opens a directory. Left out: that works, and all have the number 0.
    fn opendir(&self, caller: Caller, path: &Path) -> Result<u64> {
        Ok(0)
    }

    /// All that is in a directory but `.` and `..`, when it is read from its beginning.
    fn readdir(&self, dir: Open<'_>) -> Result<Vec<DirEntry>> {
        Err(Errno::ENOSYS)
    }

    /// An open directory is closed.
    fn releasedir(&self, dir: Open<'_>) -> Result<()> {
        Ok(())
    }

    /// Waits until what was done in a directory is kept.
    fn fsyncdir(&self, dir: Open<'_>, datasync: bool) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Does something about a lock of `owner`, and gives the lock that is now there; from
    /// [`LockCommand::Get`] the one in the way, or one of type `F_UNLCK`. Called if
    /// [`Locks::Posix`](crate::Locks) are asked for; else the kernel keeps locks itself.
    fn lock(&self, file: Open<'_>, owner: u64, command: LockCommand, lock: Lock) -> Result<Lock> {
        Err(Errno::ENOSYS)
    }

    /// Does something about `owner`'s lock of the whole file: `LOCK_SH`, `LOCK_EX` or `LOCK_UN`,
    /// perhaps with `LOCK_NB`. Called if [`Locks::Flock`](crate::Locks) are asked for; else the
    /// kernel keeps locks itself.
    fn flock(&self, file: Open<'_>, owner: u64, operation: i32) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// Which block of the device has that block of the file.
    fn bmap(&self, path: &Path, block_size: u32, block: u64) -> Result<u64> {
        Err(Errno::ENOSYS)
    }

    /// Does what `command` stands for; gives the result of `ioctl(2)`, and up to `out_size` bytes
    /// for the caller.
    fn ioctl(
        &self,
        file: Open<'_>,
        flags: IoctlFlags,
        command: u32,
        data: &[u8],
        out_size: u32,
    ) -> Result<(i32, Vec<u8>)> {
        Err(Errno::ENOSYS)
    }

    /// What a file is ready for. With `notifier` the kernel wants to be told when that changes.
    fn poll(
        &self,
        file: Open<'_>,
        events: PollEvents,
        notifier: Option<PollNotifier>,
    ) -> Result<PollEvents> {
        Err(Errno::ENOSYS)
    }

    /// Sees to it that there is room for a range of the file, or none.
    fn fallocate(&self, file: Open<'_>, mode: i32, offset: u64, length: u64) -> Result<()> {
        Err(Errno::ENOSYS)
    }

    /// The next data or hole in a file, by `SEEK_DATA` or `SEEK_HOLE`.
    fn lseek(&self, file: Open<'_>, offset: i64, whence: i32) -> Result<i64> {
        Err(Errno::ENOSYS)
    }

    /// Copies between two open files, and gives how many bytes.
    fn copy_file_range(
        &self,
        from: (Open<'_>, u64),
        to: (Open<'_>, u64),
        length: u64,
    ) -> Result<u32> {
        Err(Errno::ENOSYS)
    }
}
