// SPDX-License-Identifier: GPL-2.0

//! Mounts that map ids.

#![allow(unsafe_code)]

use crate::caller::{eventually, process, Process};
use nix::sched::{unshare, CloneFlags};
use std::{
    ffi::CString,
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// A user namespace, and a process that keeps it.
pub struct UserNamespace {
    file: File,
    _keeper: Process,
}

impl UserNamespace {
    /// One with `count` users and groups: 0 is `first` outside, and so on. To be called while this
    /// process has one thread.
    #[track_caller]
    pub fn new(first: u32, count: u32) -> Self {
        let keeper = process(|| {
            unshare(CloneFlags::CLONE_NEWUSER).expect("unshare");
            loop {
                nix::unistd::pause();
            }
        });
        let path = |name: &str| format!("/proc/{}/{name}", keeper.pid());
        let own = fs::read_link("/proc/self/ns/user").expect("this namespace");
        eventually("it has a namespace of its own", || {
            fs::read_link(path("ns/user")).is_ok_and(|namespace| namespace != own)
        });
        for map in ["uid_map", "gid_map"] {
            fs::write(path(map), format!("0 {first} {count}")).expect(map);
        }
        Self {
            file: File::open(path("ns/user")).expect("the namespace"),
            _keeper: keeper,
        }
    }
}

/// `struct mount_attr`.
#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

const MOUNT_ATTR_IDMAP: u64 = 0x0010_0000;
const OPEN_TREE_CLONE: libc::c_long = 1;
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_long = 4;

fn check(result: libc::c_long) -> io::Result<i32> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // CAST: It is a descriptor, or 0.
    Ok(result as i32)
}

/// Mounts what is mounted on `from` on `to` as well, where the users and groups of the file system
/// are those that the namespace makes of them.
pub fn mount(from: &Path, to: &Path, users: &UserNamespace) -> io::Result<()> {
    let from = CString::new(from.as_os_str().as_bytes())?;
    let to = CString::new(to.as_os_str().as_bytes())?;
    let cwd = libc::AT_FDCWD;
    let attr = MountAttr {
        set: MOUNT_ATTR_IDMAP,
        clear: 0,
        propagation: 0,
        user_namespace: users.file.as_raw_fd() as u64,
    };
    // SAFETY: The path is a C string.
    let tree =
        check(unsafe { libc::syscall(libc::SYS_open_tree, cwd, from.as_ptr(), OPEN_TREE_CLONE) })?;
    // SAFETY: This descriptor has just been made, for us.
    let tree = unsafe { OwnedFd::from_raw_fd(tree) };
    // SAFETY: The path is a C string, and the structure as long as is said.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    })?;
    // SAFETY: Both paths are C strings.
    check(unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            cwd,
            to.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    })
    .map(drop)
}
