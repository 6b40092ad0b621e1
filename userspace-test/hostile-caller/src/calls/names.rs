// SPDX-License-Identifier: GPL-2.0

//! Calls that make, find, change and take away names.

use crate::{
    arguments::Caller,
    call,
    calls::kinds,
    names::PROGRAM_NAME,
    sys::{process, Said},
};
use libc::{S_IFBLK, S_IFCHR, S_IFDIR, S_IFIFO, S_IFREG, S_IFSOCK};

kinds![
    60 open, 15 create, 4 tmpfile, 6 mkdir, 8 unlink, 3 rmdir, 10 rename, 5 link, 5 symlink, 4 mknod,
    5 readlink, 20 getdents, 4 chdir, 2 fchdir, 3 getcwd, 2 umask, 2 execute, 4 handle,
];

const OPEN_FLAGS: [i32; 15] = [
    libc::O_APPEND,
    libc::O_ASYNC,
    libc::O_CLOEXEC,
    libc::O_DIRECT,
    libc::O_DIRECTORY,
    libc::O_DSYNC,
    libc::O_EXCL,
    libc::O_LARGEFILE,
    libc::O_NOATIME,
    libc::O_NOCTTY,
    libc::O_NOFOLLOW,
    libc::O_NONBLOCK,
    libc::O_PATH,
    libc::O_SYNC,
    libc::O_TRUNC,
];

/// Most of the time flags with which it works. There are pipes with names, and nobody may be at their
/// other end: nobody waits for that.
fn flags(caller: &mut Caller<'_>) -> i32 {
    let access = caller.one_of(&[libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR, libc::O_RDWR]);
    let more = match caller.random.u32(0..10) {
        0..5 => caller.one_of(&[
            0,
            libc::O_DIRECT,
            libc::O_APPEND,
            libc::O_TRUNC,
            libc::O_DIRECTORY,
            libc::O_SYNC,
        ]),
        5..8 => 0,
        _ => caller.bits(&OPEN_FLAGS),
    };
    access | more | libc::O_NONBLOCK
}

fn open(caller: &mut Caller<'_>) -> Said {
    let (dir, path, flags) = (caller.dir(), caller.path(), flags(caller));
    let opened = call!(OPEN, dir, &*path, flags, 0);
    caller.keep(opened)
}

fn create(caller: &mut Caller<'_>) -> Said {
    let (dir, path, mode) = (caller.dir(), caller.path(), caller.mode());
    let flags = flags(caller) | libc::O_CREAT;
    let opened = call!(OPEN, dir, &*path, flags, mode);
    caller.keep(opened)
}

fn tmpfile(caller: &mut Caller<'_>) -> Said {
    let (dir, path, mode) = (caller.dir(), caller.dir_path(), caller.mode());
    let opened = call!(OPEN, dir, &*path, libc::O_TMPFILE | libc::O_RDWR, mode);
    caller.keep(opened)
}

fn mkdir(caller: &mut Caller<'_>) -> Said {
    let (dir, path, mode) = (caller.dir(), caller.path(), caller.mode());
    call!(MKDIR, dir, &*path, mode)
}

fn unlink(caller: &mut Caller<'_>) -> Said {
    let (dir, path) = (caller.dir(), caller.path());
    call!(UNLINK, dir, &*path, 0)
}

fn rmdir(caller: &mut Caller<'_>) -> Said {
    let (dir, path) = (caller.dir(), caller.path());
    call!(UNLINK, dir, &*path, libc::AT_REMOVEDIR)
}

fn rename(caller: &mut Caller<'_>) -> Said {
    let (old_dir, old) = (caller.dir(), caller.path());
    let (new_dir, new) = (caller.dir(), caller.path());
    let flags = match caller.random.u32(0..10) {
        0..6 => 0,
        6 => libc::RENAME_NOREPLACE,
        7 => libc::RENAME_EXCHANGE,
        8 => libc::RENAME_WHITEOUT,
        _ => caller.random.u32(0..16),
    };
    call!(RENAME, old_dir, &*old, new_dir, &*new, flags)
}

fn link(caller: &mut Caller<'_>) -> Said {
    let (old_dir, new_dir, new) = (caller.dir(), caller.dir(), caller.path());
    if caller.once_in(3) {
        let fd = caller.fd();
        return call!(LINK, fd, c"", new_dir, &*new, libc::AT_EMPTY_PATH);
    }
    let old = caller.path();
    let flags = caller.one_of(&[0, 0, libc::AT_SYMLINK_FOLLOW]);
    call!(LINK, old_dir, &*old, new_dir, &*new, flags)
}

fn symlink(caller: &mut Caller<'_>) -> Said {
    let (target, dir, path) = (caller.path(), caller.dir(), caller.path());
    call!(SYMLINK, &*target, dir, &*path)
}

fn mknod(caller: &mut Caller<'_>) -> Said {
    let (dir, path, mode) = (caller.dir(), caller.path(), caller.mode());
    let kind = caller.one_of(&[S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFDIR, 0]);
    // Of devices, /dev/null, or one that there is not: others might be somebody's.
    let device = caller.one_of(&[0x103, 0]);
    call!(MKNOD, dir, &*path, kind | mode & 0o7777, device)
}

fn readlink(caller: &mut Caller<'_>) -> Said {
    let (dir, path, at, len) = (caller.dir(), caller.path(), caller.at(), caller.len());
    call!(READLINK, dir, &*path, at, len)
}

fn getdents(caller: &mut Caller<'_>) -> Said {
    let fd = match caller.once_in(2) {
        true => {
            let path = caller.dir_path();
            let opened = call!(OPEN, libc::AT_FDCWD, &*path, libc::O_DIRECTORY);
            caller.keep(opened)? as i32
        }
        false => caller.fd(),
    };
    if caller.once_in(4) {
        let offset = caller.offset();
        call!(LSEEK, fd, offset, libc::SEEK_SET)?;
    }
    let at = caller.at();
    let len = match caller.once_in(2) {
        true => caller.one_of(&[0, 1, 23, 24, 25, 31, 32, 33, 48, 56, 280, 4096, 32768]),
        false => caller.len(),
    };
    call!(GETDENTS, fd, at, len)
}

fn chdir(caller: &mut Caller<'_>) -> Said {
    let path = caller.dir_path();
    call!(CHDIR, &*path)
}

fn fchdir(caller: &mut Caller<'_>) -> Said {
    let fd = caller.fd();
    call!(FCHDIR, fd)
}

fn getcwd(caller: &mut Caller<'_>) -> Said {
    let (at, len) = (caller.at(), caller.len());
    call!(GETCWD, at, len)
}

fn umask(caller: &mut Caller<'_>) -> Said {
    let mask = caller.one_of(&[0, 0o22, 0o77, 0o777]);
    call!(UMASK, mask)
}

fn execute(caller: &mut Caller<'_>) -> Said {
    let path = match caller.once_in(3) {
        true => caller.path(),
        false => caller.process.names.program(),
    };
    process::execute(&path, PROGRAM_NAME)
}

/// A file by its handle, which may be any.
fn handle(caller: &mut Caller<'_>) -> Said {
    let (mut handle, mut mount) = ([0; 32], [0; 32]);
    let fd = caller.fd();
    if caller.once_in(4) {
        let kind = u64::from(caller.random.u8(..)) << 32;
        handle[0] = caller.one_of(&[12, 24, 16]) | kind;
        handle[1] = caller.random.u64(0..12);
        handle[2] = caller.random.u64(0..3) << 32;
    } else {
        // The first word says for how many bytes there is room.
        handle[0] = caller.one_of(&[0, 8, 12, 16, 24, 128]);
        let (dir, path) = (caller.dir(), caller.path());
        let flags = caller.one_of(&[0, libc::AT_SYMLINK_FOLLOW, libc::AT_EMPTY_PATH, 0x200, 1]);
        call!(NAME_TO_HANDLE, dir, &*path, &mut handle, &mut mount, flags)?;
    }
    let flags = flags(caller);
    let opened = call!(OPEN_BY_HANDLE, fd, &mut handle, flags);
    caller.keep(opened)
}
