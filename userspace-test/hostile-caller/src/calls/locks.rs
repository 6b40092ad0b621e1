// SPDX-License-Identifier: GPL-2.0

//! Locks of all kinds, and the other commands of `fcntl(2)`.

use crate::{arguments::Caller, call, calls::kinds, sys::Said};

kinds![12 posix, 6 open_file, 3 waits, 5 flock, 3 commands];

/// One command with its structure: the kind and from where it counts, where it begins, how long it is.
fn lock(caller: &mut Caller<'_>, command: i32) -> Said {
    let fd = caller.fd();
    let kind = caller.one_of(&[0, 1, 2, 2, 3]);
    let whence = caller.one_of(&[0, 0, 0, 1, 2, 3]);
    let mut lock = [0; 32];
    lock[0] = kind | whence << 16;
    for place in &mut lock[1..3] {
        *place = match caller.once_in(3) {
            true => caller.offset() as u64,
            false => caller.random.u64(0..4),
        };
    }
    call!(FCNTL, fd, command, &mut lock)
}

fn posix(caller: &mut Caller<'_>) -> Said {
    let command = caller.one_of(&[libc::F_GETLK, libc::F_SETLK, libc::F_SETLK]);
    lock(caller, command)
}

fn open_file(caller: &mut Caller<'_>) -> Said {
    let command = caller.one_of(&[libc::F_OFD_GETLK, libc::F_OFD_SETLK]);
    lock(caller, command)
}

/// Until a signal comes, if nobody lets it go.
fn waits(caller: &mut Caller<'_>) -> Said {
    let command = caller.one_of(&[libc::F_SETLKW, libc::F_OFD_SETLKW]);
    lock(caller, command)
}

fn flock(caller: &mut Caller<'_>) -> Said {
    let fd = caller.fd();
    let operation = caller.one_of(&[
        libc::LOCK_SH | libc::LOCK_NB,
        libc::LOCK_EX | libc::LOCK_NB,
        libc::LOCK_EX,
        libc::LOCK_UN,
        libc::LOCK_UN,
        0,
    ]);
    call!(FLOCK, fd, operation)
}

fn commands(caller: &mut Caller<'_>) -> Said {
    let fd = caller.fd();
    let command = caller.one_of(&[
        libc::F_GETFL,
        libc::F_GETFD,
        libc::F_SETLEASE,
        libc::F_GETLEASE,
        libc::F_NOTIFY,
        libc::F_GETPIPE_SZ,
        libc::F_ADD_SEALS,
        libc::F_SETFL,
    ]);
    let argument = match command {
        libc::F_SETFL => libc::O_NONBLOCK | caller.bits(&[libc::O_APPEND, libc::O_DIRECT]),
        _ => caller.random.i32(0..5),
    };
    call!(FCNTL, fd, command, argument)
}
