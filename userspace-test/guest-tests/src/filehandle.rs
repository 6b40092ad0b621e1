// SPDX-License-Identifier: GPL-2.0

//! File handles: `name_to_handle_at(2)` and `open_by_handle_at(2)`.

#![allow(unsafe_code)]

use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// `struct file_handle`, with the most room that it may have.
#[repr(C)]
struct Raw {
    bytes: u32,
    kind: i32,
    handle: [u8; 128],
}

/// A handle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHandle {
    /// How it is to be read.
    pub kind: i32,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// `name_to_handle_at(2)`: only to tell files apart.
pub const AT_HANDLE_FID: i32 = libc::AT_REMOVEDIR;
/// `name_to_handle_at(2)`: to be opened with its path known.
pub const AT_HANDLE_CONNECTABLE: i32 = 2;

/// `name_to_handle_at(2)` with room for `room` bytes. When there is too little, how much it takes.
pub fn of(path: &Path, flags: i32, room: u32) -> io::Result<Result<FileHandle, u32>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut raw = Raw {
        bytes: room,
        kind: 0,
        handle: [0; 128],
    };
    let (mut mount, cwd) = (0i32, libc::AT_FDCWD);
    // SAFETY: The path is a C string, and there is room for the handle and the mount's number.
    let result = unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            cwd,
            path.as_ptr(),
            &raw mut raw,
            &raw mut mount,
            flags,
        )
    };
    if result == 0 {
        return Ok(Ok(FileHandle {
            kind: raw.kind,
            bytes: raw.handle[..raw.bytes as usize].to_vec(),
        }));
    }
    match io::Error::last_os_error() {
        error if error.raw_os_error() == Some(libc::EOVERFLOW) => Ok(Err(raw.bytes)),
        error => Err(error),
    }
}

impl FileHandle {
    /// The handle of what is at `path`.
    pub fn of(path: &Path, flags: i32) -> io::Result<Self> {
        of(path, flags, 128)?.map_err(|_| io::ErrorKind::StorageFull.into())
    }

    /// `open_by_handle_at(2)`, on the mount that `mount` is a file of.
    pub fn open(&self, mount: &File, flags: i32) -> io::Result<File> {
        let mut raw = Raw {
            bytes: self.bytes.len() as u32,
            kind: self.kind,
            handle: [0; 128],
        };
        raw.handle[..self.bytes.len()].copy_from_slice(&self.bytes);
        let flags = flags | libc::O_CLOEXEC;
        // SAFETY: The handle has as many bytes as it says.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_open_by_handle_at,
                mount.as_raw_fd(),
                &raw mut raw,
                flags,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: This descriptor has just been made, for us.
        Ok(unsafe { File::from_raw_fd(fd as i32) })
    }
}
