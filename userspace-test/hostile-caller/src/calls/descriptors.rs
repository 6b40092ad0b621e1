// SPDX-License-Identifier: GPL-2.0

//! Descriptors that are closed, copied and passed on at odd times; `ioctl(2)`.

use crate::{
    arguments::Caller,
    call,
    calls::kinds,
    sys::{socket, Said},
};

kinds![30 close, 5 dup, 4 dup3, 3 pass, 12 ioctl, 2 pipe];

/// Of one that others may be using.
fn close(caller: &mut Caller<'_>) -> Said {
    let fd = caller.fd_to_close();
    call!(CLOSE, fd)
}

fn dup(caller: &mut Caller<'_>) -> Said {
    let fd = caller.fd();
    let new = call!(DUP, fd);
    caller.keep(new)
}

fn dup3(caller: &mut Caller<'_>) -> Said {
    let (fd, new) = (caller.fd(), caller.any_fd());
    let flags = caller.one_of(&[0, libc::O_CLOEXEC]);
    call!(DUP3, fd, new, flags)
}

fn pass(caller: &mut Caller<'_>) -> Said {
    let [to, from] = socket::pair()?;
    let fd = caller.fd();
    let passed = match caller.once_in(4) {
        // It goes on its way, and perhaps nobody ever takes it.
        true => socket::pass(to, fd, to),
        false => socket::pass(to, fd, from),
    };
    let passed = caller.keep(passed);
    for end in [to, from] {
        if !caller.once_in(10) {
            call!(CLOSE, end)?;
        }
    }
    passed
}

/// Freezes what is mounted, which is for who thaws it.
const FREEZE: u32 = 0xc004_5877;

const COMMANDS: [u32; 17] = [
    // FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR
    0x8008_6601,
    0x4008_6602,
    0x801c_581f,
    0x401c_5820,
    // FIBMAP, FIONREAD, FICLONE, FICLONERANGE, FIDEDUPERANGE
    1,
    0x541b,
    0x4004_9409,
    0x4020_940d,
    0xc018_9436,
    // FS_IOC_GETVERSION, FS_IOC_ENABLE_VERITY, FS_IOC_MEASURE_VERITY, FS_IOC_FIEMAP
    0x8008_7601,
    0x4080_6685,
    0xc004_6686,
    0xc020_660b,
    // As daemons may have them: to read, to write, both, and nothing.
    0x8010_4500,
    0x4010_4501,
    0xffff_4502,
    0x4503,
];

/// With commands that file systems know, and any others.
fn ioctl(caller: &mut Caller<'_>) -> Said {
    let (fd, at) = (caller.fd(), caller.at());
    let command = match caller.once_in(3) {
        true => caller.random.u32(..),
        false => caller.one_of(&COMMANDS),
    };
    call!(IOCTL, fd, if command == FREEZE { 0 } else { command }, at)
}

fn pipe(caller: &mut Caller<'_>) -> Said {
    let mut ends = [0; 32];
    call!(PIPE, &mut ends, libc::O_NONBLOCK)?;
    caller.keep(Ok((ends[0] & 0xffff_ffff) as usize))?;
    caller.keep(Ok((ends[0] >> 32) as usize))
}
