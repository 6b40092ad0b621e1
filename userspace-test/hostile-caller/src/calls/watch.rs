// SPDX-License-Identifier: GPL-2.0

//! Waiting for files to be ready or to change.

use crate::{arguments::Caller, call, calls::kinds, sys::Said};

kinds![6 poll, 3 epoll, 2 epoll_wait, 3 inotify, 2 fanotify];

/// Of some descriptors, each with what to wait for in one word.
fn poll(caller: &mut Caller<'_>) -> Said {
    let mut fds = [0; 32];
    let count = caller.random.usize(0..8);
    for word in fds.iter_mut().take(count) {
        let events = u64::from(caller.random.u16(..));
        *word = u64::from(caller.fd() as u32) | events << 32;
    }
    let mut within = [0; 32];
    within[1] = caller.one_of(&[0, 1_000, 5_000_000]);
    call!(POLL, &mut fds, count, &mut within, 0, 8)
}

fn epoll(caller: &mut Caller<'_>) -> Said {
    let epoll = match caller.once_in(2) {
        true => {
            let made = call!(EPOLL_CREATE, 0);
            caller.keep(made)? as i32
        }
        false => caller.fd(),
    };
    let fd = caller.fd();
    let mut event = [0; 32];
    // As it is or edge-triggered, once or always.
    event[0] = caller.one_of(&[5, 5 | 1 << 31, 5 | 1 << 30, 5 | 1 << 28]);
    let command = caller.random.i32(1..4);
    call!(EPOLL_CTL, epoll, command, fd, &mut event)
}

fn epoll_wait(caller: &mut Caller<'_>) -> Said {
    let (fd, room, within) = (caller.fd(), caller.room(), caller.one_of(&[0, 1, 5]));
    call!(EPOLL_WAIT, fd, room, 8, within, 0, 8)
}

fn inotify(caller: &mut Caller<'_>) -> Said {
    let fd = match caller.once_in(2) {
        true => {
            let made = call!(INOTIFY_INIT, libc::IN_NONBLOCK);
            caller.keep(made)? as i32
        }
        false => caller.fd(),
    };
    let (path, mask) = (caller.path(), caller.random.u32(1..0x1000));
    call!(INOTIFY_ADD, fd, &*path, mask)
}

/// By descriptors, or by handles. Nobody is asked for permission, who would have to answer.
fn fanotify(caller: &mut Caller<'_>) -> Said {
    let flags = caller.one_of(&[2, 2 | 0x200, 2 | 0xe00]);
    let made = call!(FANOTIFY_INIT, flags, libc::O_RDONLY);
    let fd = caller.keep(made)? as i32;
    let path = caller.path();
    let mask = caller.one_of(&[0x3b, 0x0800_003b, 0xfc0]);
    call!(FANOTIFY_MARK, fd, 1, mask, libc::AT_FDCWD, &*path)
}
