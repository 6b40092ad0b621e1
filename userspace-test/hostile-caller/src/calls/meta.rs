// SPDX-License-Identifier: GPL-2.0

//! Calls about what is known of a file: its attributes, its extended attributes, its lists of access.

use crate::{arguments::Caller, call, calls::kinds, sys::Said};
use std::ffi::{CStr, CString};

kinds![
    20 stat, 10 statx, 6 chmod, 5 chown, 2 fchmod, 2 fchown, 6 utimensat, 8 access, 3 statfs, 2 fstatfs,
    6 setxattr, 8 getxattr, 5 listxattr, 3 removexattr, 3 fsetxattr, 4 fgetxattr, 3 flistxattr,
    2 fremovexattr, 4 setacl, 4 getacl,
];

/// How a file is named: by its path, or, with an empty one, by its descriptor.
const HOW: [i32; 6] = [
    0,
    0,
    libc::AT_SYMLINK_NOFOLLOW,
    libc::AT_EMPTY_PATH,
    libc::AT_NO_AUTOMOUNT,
    0x8000,
];

fn stat(caller: &mut Caller<'_>) -> Said {
    let (dir, path, room) = (caller.dir(), caller.path(), caller.room());
    let how = caller.one_of(&HOW);
    match caller.once_in(3) {
        true => call!(FSTATAT, dir, c"", room, libc::AT_EMPTY_PATH),
        false => call!(FSTATAT, dir, &*path, room, how),
    }
}

fn statx(caller: &mut Caller<'_>) -> Said {
    let (dir, path, room) = (caller.dir(), caller.path(), caller.room());
    let how = caller.one_of(&HOW) | caller.one_of(&[0, 0, 0x2000, 0x4000, 0x6000]);
    let mask = caller.one_of(&[0x7ff, 0xfff, 0, 1, 0x800, u32::MAX, 0x8000_0000]);
    call!(STATX, dir, &*path, how, mask, room)
}

fn chmod(caller: &mut Caller<'_>) -> Said {
    let (dir, path, mode) = (caller.dir(), caller.path(), caller.mode());
    call!(CHMOD, dir, &*path, mode)
}

fn chown(caller: &mut Caller<'_>) -> Said {
    let (dir, path, how) = (caller.dir(), caller.path(), caller.one_of(&HOW));
    let (user, group) = (caller.owner(), caller.owner());
    call!(CHOWN, dir, &*path, user, group, how)
}

fn fchmod(caller: &mut Caller<'_>) -> Said {
    let (fd, mode) = (caller.fd(), caller.mode());
    call!(FCHMOD, fd, mode)
}

fn fchown(caller: &mut Caller<'_>) -> Said {
    let (fd, user, group) = (caller.fd(), caller.owner(), caller.owner());
    call!(FCHOWN, fd, user, group)
}

fn utimensat(caller: &mut Caller<'_>) -> Said {
    let (dir, path, how) = (caller.dir(), caller.path(), caller.one_of(&HOW));
    if caller.once_in(3) {
        return call!(UTIMENSAT, dir, &*path, 0, how);
    }
    let mut times = [0; 32];
    for pair in times.chunks_mut(2).take(2) {
        pair[0] = caller.one_of(&[0, 1, u64::MAX, 1 << 33, i64::MAX as u64, i64::MIN as u64]);
        pair[1] = caller.one_of(&[0, 999_999_999, 1_000_000_000, 0x3fff_ffff, 0x3fff_fffe]);
    }
    call!(UTIMENSAT, dir, &*path, &mut times, how)
}

fn access(caller: &mut Caller<'_>) -> Said {
    let (dir, path, mode) = (caller.dir(), caller.path(), caller.random.i32(0..9));
    let how = caller.one_of(&[0, libc::AT_EACCESS, libc::AT_SYMLINK_NOFOLLOW]);
    call!(ACCESS, dir, &*path, mode, how)
}

fn statfs(caller: &mut Caller<'_>) -> Said {
    let (path, room) = (caller.path(), caller.room());
    call!(STATFS, &*path, room)
}

fn fstatfs(caller: &mut Caller<'_>) -> Said {
    let (fd, room) = (caller.fd(), caller.room());
    call!(FSTATFS, fd, room)
}

/// The name of an extended attribute.
fn name(caller: &mut Caller<'_>) -> CString {
    if caller.once_in(20) {
        // The longest that there may be has 255 bytes.
        let len = caller.one_of(&[249, 250, 251, 252]);
        let name = [b"user.", &vec![b'n'; len][..]].concat();
        return CString::new(name).unwrap_or_default();
    }
    let known = [
        c"user.a",
        c"user.a",
        c"user.b",
        c"user.",
        c"user",
        c"",
        c"trusted.t",
        c"security.capability",
        c"security.s",
        c"system.posix_acl_access",
        c"system.nothing",
    ];
    caller.one_of(&known).into()
}

/// How large its value is, or how much room there is for it.
fn size(caller: &mut Caller<'_>) -> usize {
    match caller.once_in(2) {
        true => caller.random.usize(0..300),
        false => caller.one_of(&[
            0,
            1,
            4095,
            4096,
            4097,
            65535,
            65536,
            65537,
            1 << 20,
            usize::MAX,
        ]),
    }
}

fn setxattr(caller: &mut Caller<'_>) -> Said {
    let (path, name, at, size) = (caller.path(), name(caller), caller.at(), size(caller));
    let flags = caller.random.i32(0..4);
    call!(SETXATTR, &*path, &*name, at, size, flags)
}

fn getxattr(caller: &mut Caller<'_>) -> Said {
    let (path, name, at, size) = (caller.path(), name(caller), caller.at(), size(caller));
    call!(GETXATTR, &*path, &*name, at, size)
}

fn listxattr(caller: &mut Caller<'_>) -> Said {
    let (path, at, size) = (caller.path(), caller.at(), size(caller));
    call!(LISTXATTR, &*path, at, size)
}

fn removexattr(caller: &mut Caller<'_>) -> Said {
    let (path, name) = (caller.path(), name(caller));
    call!(REMOVEXATTR, &*path, &*name)
}

fn fsetxattr(caller: &mut Caller<'_>) -> Said {
    let (fd, name, at, size) = (caller.fd(), name(caller), caller.at(), size(caller));
    call!(FSETXATTR, fd, &*name, at, size, 0)
}

fn fgetxattr(caller: &mut Caller<'_>) -> Said {
    let (fd, name, at, size) = (caller.fd(), name(caller), caller.at(), size(caller));
    call!(FGETXATTR, fd, &*name, at, size)
}

fn flistxattr(caller: &mut Caller<'_>) -> Said {
    let (fd, at, size) = (caller.fd(), caller.at(), size(caller));
    call!(FLISTXATTR, fd, at, size)
}

fn fremovexattr(caller: &mut Caller<'_>) -> Said {
    let (fd, name) = (caller.fd(), name(caller));
    call!(FREMOVEXATTR, fd, &*name)
}

const LISTS: [&CStr; 2] = [c"system.posix_acl_access", c"system.posix_acl_default"];

/// A list of access as system calls have it, which may make sense or not.
fn setacl(caller: &mut Caller<'_>) -> Said {
    let (path, name) = (caller.path(), caller.one_of(&LISTS));
    let mut list = 2u32.to_le_bytes().to_vec();
    // The owner, a user, the group, the mask, others: a tag, rights, an ID.
    for tag in [1u16, 2, 4, 0x10, 0x20] {
        if caller.once_in(10) {
            continue;
        }
        let rights = caller.random.u16(0..9);
        let id = if tag == 2 { caller.owner() } else { u32::MAX };
        list.extend_from_slice(&tag.to_le_bytes());
        list.extend_from_slice(&rights.to_le_bytes());
        list.extend_from_slice(&id.to_le_bytes());
    }
    if caller.once_in(10) {
        list.truncate(caller.random.usize(0..list.len()));
    }
    call!(SETXATTR, &*path, name, &list[..], list.len(), 0)
}

fn getacl(caller: &mut Caller<'_>) -> Said {
    let (path, name) = (caller.path(), caller.one_of(&LISTS));
    let (at, size) = (caller.at(), size(caller));
    call!(GETXATTR, &*path, name, at, size)
}
