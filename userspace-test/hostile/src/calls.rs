// SPDX-License-Identifier: GPL-2.0

//! What callers do. What comes of it is nobody's concern here.

use crate::{
    input::{Call, What},
    pieces, sys,
};
use nix::{
    fcntl::{fallocate, FallocateFlags, FcntlArg},
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::{signal, stat},
};
use rustix::fs as rfs;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::fs::{symlink, FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

/// How many files a caller can have open.
pub const FILES: usize = 4;
/// The most that is read or written at a time.
const MOST: usize = 1 << 20;

/// A process that makes system calls.
pub struct Caller<'a> {
    dir: &'a Path,
    files: [Option<File>; FILES],
}

impl<'a> Caller<'a> {
    /// One that uses what is mounted there.
    pub fn new(dir: &'a Path) -> Self {
        Self {
            dir,
            files: Default::default(),
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        match path {
            "" => self.dir.into(),
            path => self.dir.join(path),
        }
    }

    /// The open file that a call is for. One that uses a file is given one.
    fn file(&mut self, call: &Call) -> io::Result<&mut File> {
        let path = self.path(&call.path);
        let place = &mut self.files[usize::from(call.file) % FILES];
        if place.is_none() {
            let mut options = OpenOptions::new();
            let opened = options.read(true).write(true).open(&path);
            *place = Some(opened.or_else(|_| File::open(&path))?);
        }
        place.as_mut().ok_or(io::ErrorKind::NotFound.into())
    }

    fn open(&mut self, call: &Call, flags: i32) -> io::Result<()> {
        let file = OpenOptions::new()
            .read(true)
            .write(flags & libc::O_ACCMODE != 0)
            .custom_flags(flags & !libc::O_ACCMODE)
            .mode(0o644)
            .open(self.path(&call.path))?;
        self.files[usize::from(call.file) % FILES] = Some(file);
        Ok(())
    }

    /// Does it.
    ///
    /// # Errors
    ///
    /// The call's.
    pub fn make(&mut self, call: &Call) -> io::Result<()> {
        use What::*;
        let (path, other) = (self.path(&call.path), self.path(&call.to));
        let size = (call.size as usize).min(MOST);
        let mode = rfs::Mode::from_raw_mode(call.flags & 0o7777);
        match call.what {
            Stat => fs::metadata(&path).map(drop),
            Lstat => fs::symlink_metadata(&path).map(drop),
            Statx => {
                let mask = rfs::StatxFlags::from_bits_retain(call.size);
                let flags = rfs::AtFlags::from_bits_retain(call.flags);
                Ok(rfs::statx(rfs::CWD, &path, flags, mask).map(drop)?)
            }
            Access => {
                let access = rfs::Access::from_bits_retain(call.flags & 7);
                Ok(rfs::access(&path, access)?)
            }
            Readlink => fs::read_link(&path).map(drop),
            Statfs => Ok(rfs::statfs(&path).map(drop)?),
            Mknod => {
                let kind = stat::SFlag::from_bits_truncate(call.flags & libc::S_IFMT);
                let mode = stat::Mode::from_bits_truncate(call.flags);
                Ok(stat::mknod(&path, kind, mode, call.at)?)
            }
            Mkdir => Ok(rfs::mkdir(&path, mode)?),
            Symlink => symlink(&call.to, &path),
            Link => fs::hard_link(&path, &other),
            Unlink => fs::remove_file(&path),
            Rmdir => fs::remove_dir(&path),
            Rename => {
                let flags = rfs::RenameFlags::from_bits_retain(call.flags & 7);
                Ok(rfs::renameat_with(
                    rfs::CWD,
                    &path,
                    rfs::CWD,
                    &other,
                    flags,
                )?)
            }
            Chmod => Ok(rfs::chmod(&path, mode)?),
            Chown => std::os::unix::fs::lchown(&path, Some(call.flags), Some(call.size)),
            Utimens => {
                let time = |tv_sec| nix::sys::time::TimeSpec::new(tv_sec, 5);
                let at = time(call.at as i64);
                let flag = stat::UtimensatFlags::NoFollowSymlink;
                Ok(stat::utimensat(
                    nix::fcntl::AT_FDCWD,
                    &path,
                    &at,
                    &at,
                    flag,
                )?)
            }
            Truncate => Ok(nix::unistd::truncate(&path, call.at as i64)?),
            Open => self.open(call, call.flags as i32),
            Tmpfile => self.open(call, libc::O_TMPFILE | libc::O_RDWR),
            Close => {
                self.files[usize::from(call.file) % FILES] = None;
                Ok(())
            }
            Handle => {
                let dir = File::open(self.dir)?;
                let handle = sys::Handle::of(&path)?;
                if call.at != 0 {
                    drop_caches()?;
                }
                let file = handle.open(&dir, call.flags as i32)?;
                self.files[usize::from(call.file) % FILES] = Some(file);
                Ok(())
            }
            DropCaches => drop_caches(),
            Signal => {
                let myself = nix::unistd::getpid();
                Ok(signal::kill(myself, signal::Signal::SIGCONT)?)
            }
            _ => self.with_file(call, size),
        }
    }

    fn with_file(&mut self, call: &Call, size: usize) -> io::Result<()> {
        use What::*;
        let other = self.path(&call.to);
        let file = self.file(call)?;
        let mut memory = vec![b'*'; size];
        let (mut at, mut to) = (call.at, call.at);
        match call.what {
            Fstat => file.metadata().map(drop),
            Read => file.read(&mut memory).map(drop),
            Pread => file.read_at(&mut memory, call.at).map(drop),
            Write => file.write(&memory).map(drop),
            Pwrite => file.write_at(&memory, call.at).map(drop),
            Lseek => {
                let whence = match call.flags % 5 {
                    0 => nix::unistd::Whence::SeekSet,
                    1 => nix::unistd::Whence::SeekCur,
                    2 => nix::unistd::Whence::SeekEnd,
                    3 => nix::unistd::Whence::SeekData,
                    _ => nix::unistd::Whence::SeekHole,
                };
                Ok(nix::unistd::lseek(file, call.at as i64, whence).map(drop)?)
            }
            Getdents => {
                let mut room = Vec::with_capacity(size.max(64));
                let mut dir = rfs::RawDir::new(&*file, room.spare_capacity_mut());
                while let Some(entry) = dir.next() {
                    entry?;
                }
                Ok(())
            }
            Fsync => file.sync_all(),
            Fdatasync => file.sync_data(),
            Syncfs => Ok(nix::unistd::syncfs(file)?),
            Fallocate => {
                let mode = FallocateFlags::from_bits_retain(call.flags as i32);
                Ok(fallocate(file, mode, call.at as i64, call.size.into())?)
            }
            Ftruncate => file.set_len(call.at),
            Fadvise => {
                let advice = match call.flags % 3 {
                    0 => rfs::Advice::WillNeed,
                    1 => rfs::Advice::DontNeed,
                    _ => rfs::Advice::Sequential,
                };
                let len = std::num::NonZeroU64::new(call.size.into());
                Ok(rfs::fadvise(file, call.at, len, advice)?)
            }
            CopyFileRange => {
                let to_file = OpenOptions::new().write(true).open(other)?;
                Ok(
                    rfs::copy_file_range(file, Some(&mut at), to_file, Some(&mut to), size)
                        .map(drop)?,
                )
            }
            Sendfile => {
                let null = OpenOptions::new().write(true).open("/dev/null")?;
                Ok(rfs::sendfile(null, file, Some(&mut at), size).map(drop)?)
            }
            SpliceRead => {
                let (_read, write) = rustix::pipe::pipe()?;
                let flags = rustix::pipe::SpliceFlags::NONBLOCK;
                let size = size.min(64 << 10);
                Ok(
                    rustix::pipe::splice(file, Some(&mut at), write, None, size, flags)
                        .map(drop)?,
                )
            }
            SpliceWrite => {
                let (read, write) = rustix::pipe::pipe()?;
                memory.truncate(64 << 10);
                rustix::io::write(&write, &memory)?;
                let flags = rustix::pipe::SpliceFlags::NONBLOCK;
                let len = memory.len();
                Ok(rustix::pipe::splice(read, None, file, Some(&mut at), len, flags).map(drop)?)
            }
            MapRead => sys::touch(file, call.at as i64, size.max(1), false),
            MapWrite => sys::touch(file, call.at as i64, size.max(1), true),
            Getxattr => Ok(rfs::fgetxattr(file, &*call.to, &mut memory).map(drop)?),
            Setxattr => {
                let flags = rfs::XattrFlags::from_bits_retain(call.flags & 3);
                let value = match pieces::is_acl(call.to.as_bytes()) {
                    true => pieces::acl(),
                    false => memory,
                };
                Ok(rfs::fsetxattr(file, &*call.to, &value, flags)?)
            }
            Listxattr => Ok(rfs::flistxattr(file, &mut memory).map(drop)?),
            Removexattr => Ok(rfs::fremovexattr(file, &*call.to)?),
            Getlk | Setlk | Setlkw => {
                let mut lock = libc::flock {
                    l_type: (call.flags % 3) as i16,
                    l_whence: libc::SEEK_SET as i16,
                    l_start: call.at as i64,
                    l_len: call.size.into(),
                    l_pid: 0,
                };
                let command = match call.what {
                    Getlk => FcntlArg::F_GETLK(&mut lock),
                    Setlk => FcntlArg::F_SETLK(&lock),
                    _ => FcntlArg::F_SETLKW(&lock),
                };
                Ok(nix::fcntl::fcntl(file, command).map(drop)?)
            }
            Flock => {
                let command = match call.flags % 3 {
                    0 => rfs::FlockOperation::LockExclusive,
                    1 => rfs::FlockOperation::NonBlockingLockShared,
                    _ => rfs::FlockOperation::Unlock,
                };
                Ok(rfs::flock(file, command)?)
            }
            Ioctl => sys::ioctl(file, call.flags).map(drop),
            Poll => {
                let wanted = PollFlags::from_bits_truncate(call.flags as i16);
                let mut fds = [PollFd::new(file.as_fd(), wanted)];
                let wait = PollTimeout::from((call.size % 20) as u8);
                Ok(poll(&mut fds, wait).map(drop)?)
            }
            _ => Ok(()),
        }
    }
}

/// Lets the kernel forget what nobody uses.
fn drop_caches() -> io::Result<()> {
    // Not a word about it in the kernel's log (4).
    fs::write("/proc/sys/vm/drop_caches", "6")
}
