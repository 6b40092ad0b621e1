// SPDX-License-Identifier: GPL-2.0

//! System calls that no library has in the form that tests need: exactly one call, and nothing
//! beside it that would make requests of its own.

#![allow(unsafe_code)]

use nix::sys::stat::FileStat;
use std::{
    ffi::{CString, OsString},
    fs::File,
    io::{self, Read},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::Path,
};

fn check(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

fn c_string(path: &Path) -> io::Result<CString> {
    Ok(CString::new(path.as_os_str().as_bytes())?)
}

/// `stat(2)`, which asks for the basic attributes only. (The standard library asks for the time
/// of birth too, and with that for a `STATX` request.)
pub fn stat(path: &Path) -> io::Result<FileStat> {
    let path = c_string(path)?;
    let mut out = MaybeUninit::zeroed();
    // SAFETY: The path is a C string, and `out` has room for the structure.
    check(unsafe { libc::stat(path.as_ptr(), out.as_mut_ptr()) }.into())?;
    // SAFETY: The kernel filled it in, and zeroes are valid for all of its fields.
    Ok(unsafe { out.assume_init() })
}

/// `lstat(2)`.
pub fn lstat(path: &Path) -> io::Result<FileStat> {
    Ok(nix::sys::stat::lstat(path)?)
}

/// `fstat(2)`.
pub fn fstat(file: &File) -> io::Result<FileStat> {
    Ok(nix::sys::stat::fstat(file)?)
}

/// `open(2)` for reading, and nothing else.
pub fn open(path: &Path) -> io::Result<File> {
    open_with(path, libc::O_RDONLY)
}

/// `open(2)`.
pub fn open_with(path: &Path, flags: i32) -> io::Result<File> {
    let path = c_string(path)?;
    // SAFETY: The path is a C string.
    let fd = unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC, 0o644) };
    check(fd.into())?;
    // SAFETY: This descriptor has just been made, for us.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// All that there is from here on, by reads of `piece` bytes.
pub fn read_all(file: &mut File, piece: usize) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    let mut bytes = vec![0; piece];
    loop {
        match file.read(&mut bytes)? {
            0 => return Ok(all),
            len => all.extend_from_slice(&bytes[..len]),
        }
    }
}

/// What is in the file at `path`.
pub fn contents(path: &Path) -> io::Result<Vec<u8>> {
    read_all(&mut open(path)?, 64 * 1024)
}

/// `access(2)`.
pub fn access(path: &Path, mode: i32) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: The path is a C string.
    check(unsafe { libc::access(path.as_ptr(), mode) }.into()).map(drop)
}

/// `readlink(2)`.
pub fn readlink(path: &Path) -> io::Result<OsString> {
    let path = c_string(path)?;
    let mut bytes = vec![0u8; 8192];
    // SAFETY: The path is a C string, and `bytes` has that many bytes.
    let len = unsafe { libc::readlink(path.as_ptr(), bytes.as_mut_ptr().cast(), bytes.len()) };
    bytes.truncate(check(len as libc::c_long)?);
    Ok(OsString::from_vec(bytes))
}

/// `renameat2(2)`, with some of `RENAME_…`.
pub fn rename(from: &Path, to: &Path, flags: u32) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    let (cwd, from, to) = (libc::AT_FDCWD, from.as_ptr(), to.as_ptr());
    // SAFETY: Both paths are C strings.
    check(unsafe { libc::syscall(libc::SYS_renameat2, cwd, from, cwd, to, flags) }).map(drop)
}

/// `link(2)`.
pub fn link(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (c_string(from)?, c_string(to)?);
    // SAFETY: Both paths are C strings.
    check(unsafe { libc::link(from.as_ptr(), to.as_ptr()) }.into()).map(drop)
}

/// Gives an open file a name (`linkat(2)`).
pub fn link_file(file: &File, path: &Path) -> io::Result<()> {
    let path = c_string(path)?;
    let (cwd, flags) = (libc::AT_FDCWD, libc::AT_EMPTY_PATH);
    // SAFETY: Both paths are C strings.
    check(unsafe { libc::linkat(file.as_raw_fd(), c"".as_ptr(), cwd, path.as_ptr(), flags) }.into())
        .map(drop)
}

/// `open(2)` as a program of 32 bits makes it that knows no files of 2 GiB and more.
pub fn open_small(path: &Path, flags: i32) -> io::Result<File> {
    const OPEN: i32 = 5;
    let path = c_string(path)?;
    let bytes = path.as_bytes_with_nul();
    // SAFETY: New memory, anywhere below 2 GiB.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    assert!(bytes.len() <= 4096);
    let mut result = OPEN;
    // SAFETY: The page is there, and there is room for the path. The system call has three arguments,
    // of which the first is the page's address, and changes no register but those named.
    unsafe {
        page.cast::<u8>()
            .copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
        std::arch::asm!(
            "xchg rbx, {path}",
            "int 0x80",
            "xchg rbx, {path}",
            path = inout(reg) page => _,
            inout("eax") result,
            in("ecx") flags,
            in("edx") 0o644,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
        libc::munmap(page, 4096);
    }
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: This descriptor has just been made, for us.
    Ok(unsafe { File::from_raw_fd(result) })
}

/// `mknod(2)`, with the type in `mode`.
pub fn mknod(path: &Path, mode: u32, device: u64) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: The path is a C string.
    check(unsafe { libc::mknod(path.as_ptr(), mode, device) }.into()).map(drop)
}

/// `mkdir(2)`.
pub fn mkdir(path: &Path, mode: u32) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: The path is a C string.
    check(unsafe { libc::mkdir(path.as_ptr(), mode) }.into()).map(drop)
}

/// `symlink(2)`.
pub fn symlink(target: &str, path: &Path) -> io::Result<()> {
    let (target, path) = (CString::new(target)?, c_string(path)?);
    // SAFETY: Both are C strings.
    check(unsafe { libc::symlink(target.as_ptr(), path.as_ptr()) }.into()).map(drop)
}

/// `unlink(2)`.
pub fn unlink(path: &Path) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: The path is a C string.
    check(unsafe { libc::unlink(path.as_ptr()) }.into()).map(drop)
}

/// `rmdir(2)`.
pub fn rmdir(path: &Path) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: The path is a C string.
    check(unsafe { libc::rmdir(path.as_ptr()) }.into()).map(drop)
}

/// `fstat(2)` of what is cached, however old.
pub fn fstat_cached(file: &File) -> io::Result<libc::statx> {
    let mut out = MaybeUninit::zeroed();
    let (flags, mask) = (libc::AT_EMPTY_PATH | libc::AT_STATX_DONT_SYNC, 0x7ff);
    let fd = file.as_raw_fd();
    // SAFETY: The path is a C string, and `out` has room for the structure.
    check(unsafe { libc::statx(fd, c"".as_ptr(), flags, mask, out.as_mut_ptr()) }.into())?;
    // SAFETY: The kernel filled it in, and zeroes are valid for all of its fields.
    Ok(unsafe { out.assume_init() })
}

/// A directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The inode number.
    pub ino: u64,
    /// Where reading goes on after it.
    pub off: i64,
    /// A `DT_…` value.
    pub kind: u8,
    /// Its name.
    pub name: OsString,
}

/// One `getdents64(2)` with room for `size` bytes.
pub fn getdents(dir: &File, size: usize) -> io::Result<Vec<Entry>> {
    let mut bytes = vec![0u8; size];
    // SAFETY: `bytes` has that many bytes.
    let len = check(unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            dir.as_raw_fd(),
            bytes.as_mut_ptr(),
            bytes.len(),
        )
    })?;
    let mut rest = &bytes[..len];
    let mut entries = Vec::new();
    // Each: inode number, offset, length of the record, type, name and a zero byte.
    while let Some(head) = rest.first_chunk::<19>() {
        let record = usize::from(u16::from_ne_bytes([head[16], head[17]]));
        let name = rest[19..record].split(|&byte| byte == 0).next();
        entries.push(Entry {
            ino: u64::from_ne_bytes(head[..8].try_into().expect("8 bytes")),
            off: i64::from_ne_bytes(head[8..16].try_into().expect("8 bytes")),
            kind: head[18],
            name: OsString::from_vec(name.unwrap_or_default().to_vec()),
        });
        rest = &rest[record..];
    }
    Ok(entries)
}

/// All entries of the directory at `path`.
pub fn list(path: &Path) -> io::Result<Vec<Entry>> {
    let dir = open_with(path, libc::O_RDONLY | libc::O_DIRECTORY)?;
    let mut all = Vec::new();
    loop {
        let entries = getdents(&dir, 32 * 1024)?;
        if entries.is_empty() {
            return Ok(all);
        }
        all.extend(entries);
    }
}

/// `lseek(2)`.
pub fn lseek(fd: BorrowedFd<'_>, offset: i64, whence: i32) -> io::Result<usize> {
    // SAFETY: Has no pointers.
    check(unsafe { libc::lseek(fd.as_raw_fd(), offset, whence) } as libc::c_long)
}

/// A lock on `len` bytes from `start` on, 0 for all that follow, as `fcntl(2)` has it.
pub fn file_lock(kind: i32, start: i64, len: i64) -> libc::flock {
    libc::flock {
        l_type: kind as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: start,
        l_len: len,
        l_pid: 0,
    }
}

/// `fcntl(2)` with a lock: `F_SETLK` and the like.
pub fn fcntl_lock(file: &File, command: i32, lock: &mut libc::flock) -> io::Result<()> {
    // SAFETY: The structure is what the kernel reads and writes.
    check(unsafe { libc::fcntl(file.as_raw_fd(), command, lock as *mut libc::flock) }.into())
        .map(drop)
}

/// `fcntl(2)` with a number.
pub fn fcntl(file: &File, command: i32, arg: i32) -> io::Result<usize> {
    // SAFETY: The commands that tests use have no pointers.
    check(unsafe { libc::fcntl(file.as_raw_fd(), command, arg) }.into())
}

/// `copy_file_range(2)`: `len` bytes from a position in one file to a position in another.
pub fn copy_file_range(
    (from, mut start): (&File, i64),
    (to, mut target): (&File, i64),
    len: usize,
) -> io::Result<usize> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: The positions are there.
    let copied = unsafe { libc::copy_file_range(from, &mut start, to, &mut target, len, 0) };
    check(copied as libc::c_long)
}

/// A file in memory (`mmap(2)`), all of it from its start, or memory of no file.
pub struct Map {
    start: *mut u8,
    len: usize,
    /// How much behind it is nobody's.
    hole: usize,
}

// SAFETY: Memory belongs to no thread.
unsafe impl Send for Map {}
// SAFETY: It is only copied from and to, byte by byte; what others see meanwhile is the kernel's
// business, which is what the tests are about.
unsafe impl Sync for Map {}

impl Map {
    /// Maps the first `len` bytes of `file`; `kind` is `MAP_SHARED` or `MAP_PRIVATE`.
    pub fn new(file: &File, len: usize, writable: bool, kind: i32) -> io::Result<Self> {
        let write = if writable { libc::PROT_WRITE } else { 0 };
        let protection = libc::PROT_READ | write;
        let anywhere = std::ptr::null_mut();
        // SAFETY: New memory, anywhere.
        let start = unsafe { libc::mmap(anywhere, len, protection, kind, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self {
            start: start.cast(),
            len,
            hole: 0,
        })
    }

    /// Memory of no file, in whole pages, with `hole` bytes behind it that are not there.
    pub fn anonymous(len: usize, hole: usize) -> Self {
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let anywhere = std::ptr::null_mut();
        // SAFETY: New memory, anywhere, which then is made accessible in part.
        let start = unsafe { libc::mmap(anywhere, len + hole, libc::PROT_NONE, kind, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED, "mmap");
        // SAFETY: As above.
        let result = unsafe { libc::mprotect(start, len, libc::PROT_READ | libc::PROT_WRITE) };
        assert_eq!(result, 0, "mprotect");
        Self {
            start: start.cast(),
            len,
            hole,
        }
    }

    /// Has it made of pages of the smallest size.
    pub fn use_small_pages(&self) {
        // SAFETY: It is mapped.
        let result = unsafe { libc::madvise(self.start.cast(), self.len, libc::MADV_NOHUGEPAGE) };
        assert_eq!(result, 0, "madvise");
    }

    /// Gives memory of no file back, whole pages of it: it is zeroes from then on.
    pub fn give_back(&self, offset: usize, len: usize) {
        // SAFETY: The kernel finds out what is mapped there; what was in it, tests do not need.
        let result =
            unsafe { libc::madvise(self.address(offset, len).cast(), len, libc::MADV_DONTNEED) };
        assert_eq!(result, 0, "madvise");
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Where the `len` bytes at `offset` are, for the kernel, which finds out where they end.
    pub fn address(&self, offset: usize, len: usize) -> *mut u8 {
        assert!(offset + len <= self.len + self.hole);
        self.start.wrapping_add(offset)
    }

    /// The `len` bytes at `offset`.
    pub fn get(&self, offset: usize, len: usize) -> Vec<u8> {
        assert!(offset + len <= self.len);
        // SAFETY: It is mapped.
        (offset..offset + len)
            .map(|at| unsafe { self.start.add(at).read_volatile() })
            .collect()
    }

    /// Sets the bytes at `offset`.
    pub fn set(&self, offset: usize, bytes: &[u8]) {
        assert!(offset + bytes.len() <= self.len);
        for (at, byte) in (offset..).zip(bytes) {
            // SAFETY: It is mapped, and writable where tests do this.
            unsafe { self.start.add(at).write_volatile(*byte) };
        }
    }

    /// `msync(2)`.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: It is mapped.
        let result = unsafe { libc::msync(self.start.cast(), self.len, libc::MS_SYNC) };
        check(result.into()).map(drop)
    }
}

/// `pread(2)` to `len` bytes at `at` in memory, from `offset` on.
pub fn read_to(file: &File, map: &Map, at: usize, len: usize, offset: i64) -> io::Result<usize> {
    let memory = map.address(at, len).cast();
    // SAFETY: It is mapped, or the kernel finds out.
    check(unsafe { libc::pread(file.as_raw_fd(), memory, len, offset) } as libc::c_long)
}

/// `pwrite(2)` from `len` bytes at `at` in memory, from `offset` on.
pub fn write_from(file: &File, map: &Map, at: usize, len: usize, offset: i64) -> io::Result<usize> {
    let memory = map.address(at, len).cast();
    // SAFETY: It is mapped, or the kernel finds out.
    check(unsafe { libc::pwrite(file.as_raw_fd(), memory, len, offset) } as libc::c_long)
}

impl Drop for Map {
    fn drop(&mut self) {
        // munmap(2) keeps all of the process from getting memory while it waits for the daemon, which
        // must not be a part of it then. So it finds nothing left to wait for.
        let _ = self.sync();
        // SAFETY: Nobody uses it any more.
        unsafe { libc::munmap(self.start.cast(), self.len + self.hole) };
    }
}

/// `flock(2)`.
pub fn flock(file: &File, operation: i32) -> io::Result<()> {
    // SAFETY: Has no pointers.
    check(unsafe { libc::flock(file.as_raw_fd(), operation) }.into()).map(drop)
}

/// `ioctl(2)` with a pointer to `arg`.
pub fn ioctl(fd: BorrowedFd<'_>, command: u32, arg: &mut u64) -> io::Result<usize> {
    // SAFETY: The commands that tests use read and write 8 bytes at most.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), command.into(), arg as *mut u64) };
    check(result.into())
}

/// `read(2)` into memory that is not there.
pub fn read_to_nowhere(fd: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    // SAFETY: Nothing is mapped at this address, and the kernel checks.
    check(unsafe { libc::syscall(libc::SYS_read, fd.as_raw_fd(), NOWHERE, len) })
}

/// `write(2)` from memory that is not there.
pub fn write_from_nowhere(fd: BorrowedFd<'_>, len: usize) -> io::Result<usize> {
    // SAFETY: Nothing is mapped at this address, and the kernel checks.
    check(unsafe { libc::syscall(libc::SYS_write, fd.as_raw_fd(), NOWHERE, len) })
}

/// `writev(2)` of `bytes`, and of `len` bytes that are not there.
pub fn writev_into_nowhere(fd: BorrowedFd<'_>, bytes: &[u8], len: usize) -> io::Result<usize> {
    let parts = [
        libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        },
        libc::iovec {
            iov_base: std::ptr::without_provenance_mut(NOWHERE),
            iov_len: len,
        },
    ];
    // SAFETY: The first part is memory that is there; nothing is mapped where the second is, and
    // the kernel checks.
    let written = unsafe { libc::writev(fd.as_raw_fd(), parts.as_ptr(), 2) };
    check(written as libc::c_long)
}

/// The first page: never mapped.
const NOWHERE: usize = 8;

/// Opens the file system that is mounted on `path`, to be changed (`fspick(2)`).
pub fn fspick(path: &Path) -> io::Result<OwnedFd> {
    let path = c_string(path)?;
    // SAFETY: The path is a C string.
    let fd = check(unsafe { libc::syscall(libc::SYS_fspick, libc::AT_FDCWD, path.as_ptr(), 1) })?;
    // SAFETY: This descriptor has just been made, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Opens a file system type, to be mounted (`fsopen(2)`).
pub fn fsopen(fs_type: &str) -> io::Result<OwnedFd> {
    let fs_type = CString::new(fs_type)?;
    // SAFETY: The type is a C string.
    let fd = check(unsafe { libc::syscall(libc::SYS_fsopen, fs_type.as_ptr(), 1) })?;
    // SAFETY: This descriptor has just been made, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Sets an option with a value, or without one, of what [`fspick`] or [`fsopen`] opened.
pub fn fsconfig_set(context: &OwnedFd, key: &str, value: Option<&str>) -> io::Result<()> {
    const SET_FLAG: u32 = 0;
    const SET_STRING: u32 = 1;
    let key = CString::new(key)?;
    let value = value.map(CString::new).transpose()?;
    let (command, value) = match &value {
        None => (SET_FLAG, std::ptr::null()),
        Some(value) => (SET_STRING, value.as_ptr()),
    };
    let fd = context.as_raw_fd();
    // SAFETY: Key and value are C strings, or there is no value.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, command, key.as_ptr(), value, 0) })
        .map(drop)
}

/// Sets an option to an open file, of what [`fsopen`] opened.
pub fn fsconfig_set_fd(context: &OwnedFd, key: &str, value: BorrowedFd<'_>) -> io::Result<()> {
    const SET_FD: u32 = 5;
    let key = CString::new(key)?;
    let nothing = std::ptr::null::<u8>();
    let (fd, value) = (context.as_raw_fd(), value.as_raw_fd());
    // SAFETY: The key is a C string.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, SET_FD, key.as_ptr(), nothing, value) })
        .map(drop)
}

/// Makes the superblock of what [`fsopen`] opened.
pub fn fsconfig_create(context: &OwnedFd) -> io::Result<()> {
    const CREATE: u32 = 6;
    let nothing = std::ptr::null::<u8>();
    let fd = context.as_raw_fd();
    // SAFETY: There are no strings to be read.
    check(unsafe { libc::syscall(libc::SYS_fsconfig, fd, CREATE, nothing, nothing, 0) }).map(drop)
}

/// Mounts what [`fsopen`] opened and [`fsconfig_create`] made on `path`.
pub fn mount_context(context: &OwnedFd, path: &Path) -> io::Result<()> {
    let path = c_string(path)?;
    // SAFETY: Has no pointers.
    let tree =
        check(unsafe { libc::syscall(libc::SYS_fsmount, context.as_raw_fd(), 1, 0) })? as i32;
    // SAFETY: This descriptor has just been made, for us.
    let tree = unsafe { OwnedFd::from_raw_fd(tree) };
    const EMPTY_PATH: u32 = 4;
    // SAFETY: Both paths are C strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            EMPTY_PATH,
        )
    })
    .map(drop)
}

/// `statx(2)`.
pub fn statx(path: &Path, flags: i32, mask: u32) -> io::Result<libc::statx> {
    let path = c_string(path)?;
    let mut out = MaybeUninit::zeroed();
    // SAFETY: The path is a C string, and `out` has room for the structure.
    check(
        unsafe { libc::statx(libc::AT_FDCWD, path.as_ptr(), flags, mask, out.as_mut_ptr()) }.into(),
    )?;
    // SAFETY: The kernel filled it in, and zeroes are valid for all of its fields.
    Ok(unsafe { out.assume_init() })
}

/// `struct file_attr`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FileAttr {
    /// `FS_XFLAG_…`.
    pub xflags: u64,
    /// In which pieces to allocate, in bytes.
    pub extsize: u32,
    /// How many extents there are.
    pub nextents: u32,
    /// The project that it counts for.
    pub projid: u32,
    /// In which pieces to allocate what is copied when it is written to, in bytes.
    pub cowextsize: u32,
}

/// `file_getattr(2)`.
pub fn file_getattr(path: &Path, flags: i32) -> io::Result<FileAttr> {
    const FILE_GETATTR: libc::c_long = 468;
    let path = c_string(path)?;
    let mut out = FileAttr::default();
    let (cwd, size) = (libc::AT_FDCWD, size_of::<FileAttr>());
    // SAFETY: The path is a C string, and the structure has that size.
    check(unsafe { libc::syscall(FILE_GETATTR, cwd, path.as_ptr(), &raw mut out, size, flags) })?;
    Ok(out)
}

/// `file_setattr(2)`.
pub fn file_setattr(path: &Path, flags: i32, attr: &FileAttr) -> io::Result<()> {
    const FILE_SETATTR: libc::c_long = 469;
    let path = c_string(path)?;
    let (cwd, size) = (libc::AT_FDCWD, size_of::<FileAttr>());
    let attr = std::ptr::from_ref(attr);
    // SAFETY: The path is a C string, and the structure has that size.
    check(unsafe { libc::syscall(FILE_SETATTR, cwd, path.as_ptr(), attr, size, flags) }).map(drop)
}

/// `ioctl(2)` with a pointer to `memory`, of which the kernel may read and write all.
pub fn ioctl_bytes(file: &File, command: u32, memory: &mut [u8]) -> io::Result<usize> {
    // SAFETY: The commands that tests use read and write no more than their size, and the tests
    // give as much.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), command.into(), memory.as_mut_ptr()) };
    check(result.into())
}

/// `ioctl(2)` with a number.
pub fn ioctl_number(file: &File, command: u32, number: u64) -> io::Result<usize> {
    // SAFETY: Where it is taken for an address, the kernel checks.
    check(unsafe { libc::ioctl(file.as_raw_fd(), command.into(), number) }.into())
}

/// `ioctl(2)` with a pointer to memory that is not there.
pub fn ioctl_nowhere(fd: BorrowedFd<'_>, command: u32) -> io::Result<usize> {
    // SAFETY: Nothing is mapped at this address, and the kernel checks.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), command.into(), NOWHERE) }.into())
}

/// `ioctl(2)` with a pointer to `arg`, as a program of 32 bits makes it.
pub fn ioctl_32(fd: BorrowedFd<'_>, command: u32, arg: u32) -> io::Result<usize> {
    const IOCTL: i32 = 54;
    // SAFETY: New memory, anywhere below 2 GiB.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut result = IOCTL;
    // SAFETY: The page is there, and there is room for the argument. The system call has three
    // arguments, of which the last is the page's address, and changes no register but those named.
    unsafe {
        page.cast::<u32>().write(arg);
        std::arch::asm!(
            "xchg rbx, {fd}",
            "int 0x80",
            "xchg rbx, {fd}",
            fd = inout(reg) u64::from(fd.as_raw_fd() as u32) => _,
            inout("eax") result,
            in("ecx") command,
            in("rdx") page,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
        libc::munmap(page, 4096);
    }
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    Ok(result as usize)
}

/// Lets a signal do nothing but end what it interrupts.
pub fn ignore_by_handler(signal: nix::sys::signal::Signal) {
    use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet};

    extern "C" fn nothing(_: i32) {}
    let handler = SigHandler::Handler(nothing);
    let action = SigAction::new(handler, SaFlags::empty(), SigSet::empty());
    // SAFETY: The handler does nothing.
    unsafe { sigaction(signal, &action) }.expect("sigaction");
}

/// Has a signal ignored.
pub fn ignore(signal: nix::sys::signal::Signal) {
    // SAFETY: Ignoring a signal runs no code.
    unsafe { nix::sys::signal::signal(signal, nix::sys::signal::SigHandler::SigIgn) }
        .expect("signal");
}

/// `si_code` of a signal for something to read.
pub const POLL_IN: i32 = 1;

/// Keeps the signals for I/O for [`wait_for_signal`], in this thread and those that it starts.
pub fn block_sigio() {
    let mut set = MaybeUninit::uninit();
    // SAFETY: The set is initialised before it is used.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), libc::SIGIO);
        libc::sigaddset(set.as_mut_ptr(), libc::SIGRTMIN() + 1);
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}

/// Has the signals for I/O on `fd` sent to this thread; with 0, the usual one without particulars.
pub fn own_signals(fd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    #[repr(C)]
    struct Owner {
        kind: i32,
        pid: i32,
    }
    const F_SETOWN_EX: i32 = 15;
    const F_SETSIG: i32 = 10;
    const F_OWNER_TID: i32 = 0;
    let owner = Owner {
        kind: F_OWNER_TID,
        pid: nix::unistd::gettid().as_raw(),
    };
    // SAFETY: The structure is what the kernel reads.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), F_SETOWN_EX, &raw const owner) }.into())?;
    // SAFETY: Has no pointers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), F_SETSIG, signal) }.into()).map(drop)
}

/// Takes a signal that was sent to this thread: its code, the descriptor and the events that it is
/// for (0 when they were not asked for).
pub fn wait_for_signal(signal: i32, within: std::time::Duration) -> Option<(i32, i32, i64)> {
    /// The beginning of `siginfo_t` for I/O.
    #[repr(C)]
    struct Info {
        number: i32,
        errno: i32,
        code: i32,
        padding: i32,
        band: i64,
        fd: i32,
        rest: [u8; 100],
    }
    let mut set = MaybeUninit::uninit();
    let mut info = MaybeUninit::<Info>::zeroed();
    let timeout = libc::timespec {
        tv_sec: within.as_secs() as i64,
        tv_nsec: within.subsec_nanos().into(),
    };
    // SAFETY: The set is initialised before it is used, and `info` is as large as the kernel's.
    let got = unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        libc::sigaddset(set.as_mut_ptr(), signal);
        libc::sigtimedwait(set.as_ptr(), info.as_mut_ptr().cast(), &timeout)
    };
    if got != signal {
        return None;
    }
    // SAFETY: The kernel filled it in, and zeroes are valid for all of its fields.
    let info = unsafe { info.assume_init() };
    Some((info.code, info.fd, info.band))
}
