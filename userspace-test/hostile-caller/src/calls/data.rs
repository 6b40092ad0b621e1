// SPDX-License-Identifier: GPL-2.0

//! Calls about what is in files.

use crate::{
    arguments::Caller,
    call,
    calls::kinds,
    sys::{aio::Wish, Said, Words},
};

kinds![
    25 read, 20 pread, 10 readv, 8 preadv, 30 write, 25 pwrite, 8 writev, 8 pwritev, 12 splice, 2 tee,
    3 vmsplice, 5 sendfile, 6 copy_file_range, 8 fallocate, 10 lseek, 8 ftruncate, 5 truncate, 6 fsync,
    2 fdatasync, 2 sync_file_range, 2 syncfs, 3 readahead, 3 fadvise, 8 aio, 1 aio_renewed, 8 ring,
];

fn read(caller: &mut Caller<'_>) -> Said {
    let (fd, at, len) = (caller.fd(), caller.at(), caller.len());
    call!(READ, fd, at, len)
}

fn pread(caller: &mut Caller<'_>) -> Said {
    let (fd, at, len, offset) = (caller.fd(), caller.at(), caller.len(), caller.offset());
    call!(PREAD, fd, at, len, offset)
}

fn readv(caller: &mut Caller<'_>) -> Said {
    let (fd, parts) = (caller.fd(), caller.parts());
    call!(READV, fd, &parts[..], parts.len())
}

/// Flags as `RWF_…` has them.
fn rwf(caller: &mut Caller<'_>) -> u32 {
    match caller.once_in(3) {
        true => caller.random.u32(0..0x100),
        false => 0,
    }
}

fn preadv(caller: &mut Caller<'_>) -> Said {
    let (fd, parts, offset) = (caller.fd(), caller.parts(), caller.offset());
    let flags = rwf(caller);
    call!(PREADV, fd, &parts[..], parts.len(), offset, 0, flags)
}

fn write(caller: &mut Caller<'_>) -> Said {
    let (fd, at, len) = (caller.fd(), caller.at(), caller.len());
    call!(WRITE, fd, at, len)
}

fn pwrite(caller: &mut Caller<'_>) -> Said {
    let (fd, at, len, offset) = (caller.fd(), caller.at(), caller.len(), caller.offset());
    call!(PWRITE, fd, at, len, offset)
}

fn writev(caller: &mut Caller<'_>) -> Said {
    let (fd, parts) = (caller.fd(), caller.parts());
    call!(WRITEV, fd, &parts[..], parts.len())
}

fn pwritev(caller: &mut Caller<'_>) -> Said {
    let (fd, parts, offset) = (caller.fd(), caller.parts(), caller.offset());
    let flags = rwf(caller);
    call!(PWRITEV, fd, &parts[..], parts.len(), offset, 0, flags)
}

/// From a file into a new pipe, and from there to another.
fn splice(caller: &mut Caller<'_>) -> Said {
    let mut ends: Words = [0; 32];
    call!(PIPE, &mut ends, libc::O_NONBLOCK)?;
    let (from, into) = (ends[0] as i32, (ends[0] >> 32) as i32);
    let (file, other, len) = (caller.fd(), caller.fd(), caller.len());
    let mut offset: Words = [0; 32];
    offset[0] = caller.offset() as u64;
    let flags = libc::SPLICE_F_NONBLOCK | caller.one_of(&[0, 1, 4, 5, 8]);
    let filled = match caller.once_in(3) {
        true => call!(SPLICE, file, 0, into, 0, len, flags),
        false => call!(SPLICE, file, &mut offset, into, 0, len, flags),
    };
    let moved = filled.and_then(|_| call!(SPLICE, from, 0, other, 0, len, flags));
    for end in [from, into] {
        match caller.once_in(20) {
            true => caller.keep(Ok(end as usize))?,
            false => call!(CLOSE, end)?,
        };
    }
    moved
}

fn tee(caller: &mut Caller<'_>) -> Said {
    let (from, into, len) = (caller.fd(), caller.fd(), caller.len());
    call!(TEE, from, into, len, libc::SPLICE_F_NONBLOCK)
}

fn vmsplice(caller: &mut Caller<'_>) -> Said {
    let (fd, parts) = (caller.fd(), caller.parts());
    let flags = caller.one_of(&[2, 3, 10]);
    call!(VMSPLICE, fd, &parts[..], parts.len(), flags)
}

fn sendfile(caller: &mut Caller<'_>) -> Said {
    let (to, from, len) = (caller.fd(), caller.fd(), caller.len());
    let mut offset: Words = [0; 32];
    offset[0] = caller.offset() as u64;
    match caller.once_in(2) {
        true => call!(SENDFILE, to, from, 0, len),
        false => call!(SENDFILE, to, from, &mut offset, len),
    }
}

fn copy_file_range(caller: &mut Caller<'_>) -> Said {
    let (from, to, len) = (caller.fd(), caller.fd(), caller.len());
    let (mut start, mut target): (Words, Words) = ([0; 32], [0; 32]);
    start[0] = caller.offset() as u64;
    target[0] = caller.offset() as u64;
    let flags = u32::from(caller.once_in(50));
    call!(
        COPY_FILE_RANGE,
        from,
        &mut start,
        to,
        &mut target,
        len,
        flags
    )
}

fn fallocate(caller: &mut Caller<'_>) -> Said {
    let (fd, offset) = (caller.fd(), caller.offset());
    let mode = match caller.once_in(4) {
        true => caller.random.i32(0..0x100),
        false => caller.one_of(&[0, 1, 2, 3, 0x10, 0x11, 8, 0x20]),
    };
    let len = match caller.once_in(3) {
        true => caller.offset(),
        false => caller.random.i64(0..1 << 19),
    };
    call!(FALLOCATE, fd, mode, offset, len)
}

fn lseek(caller: &mut Caller<'_>) -> Said {
    let (fd, offset) = (caller.fd(), caller.offset());
    let whence = caller.one_of(&[0, 0, 1, 2, 3, 3, 4, 4, 5]);
    call!(LSEEK, fd, offset, whence)
}

/// How large a file is to be: not so large that nothing fits any more, most of the time.
fn size(caller: &mut Caller<'_>) -> i64 {
    match caller.once_in(8) {
        true => caller.offset(),
        false => caller.random.i64(0..1 << 19),
    }
}

fn ftruncate(caller: &mut Caller<'_>) -> Said {
    let (fd, size) = (caller.fd(), size(caller));
    call!(FTRUNCATE, fd, size)
}

fn truncate(caller: &mut Caller<'_>) -> Said {
    let (path, size) = (caller.path(), size(caller));
    call!(TRUNCATE, &*path, size)
}

fn fsync(caller: &mut Caller<'_>) -> Said {
    let fd = caller.fd();
    call!(FSYNC, fd)
}

fn fdatasync(caller: &mut Caller<'_>) -> Said {
    let fd = caller.fd();
    call!(FDATASYNC, fd)
}

fn sync_file_range(caller: &mut Caller<'_>) -> Said {
    let (fd, offset, len) = (caller.fd(), caller.offset(), caller.offset());
    let flags = caller.random.u32(0..9);
    call!(SYNC_FILE_RANGE, fd, offset, len, flags)
}

fn syncfs(caller: &mut Caller<'_>) -> Said {
    let fd = caller.fd();
    call!(SYNCFS, fd)
}

fn readahead(caller: &mut Caller<'_>) -> Said {
    let (fd, offset, len) = (caller.fd(), caller.offset(), caller.len());
    call!(READAHEAD, fd, offset, len)
}

fn fadvise(caller: &mut Caller<'_>) -> Said {
    let (fd, offset, len) = (caller.fd(), caller.offset(), caller.offset());
    let advice = caller.random.i32(0..7);
    call!(FADVISE, fd, offset, len, advice)
}

fn wish(caller: &mut Caller<'_>) -> Wish {
    Wish {
        fd: caller.fd(),
        what: caller.random.u16(0..64),
        offset: caller.offset(),
        len: caller.len() as u32,
    }
}

fn aio(caller: &mut Caller<'_>) -> Said {
    let (wish, at) = (wish(caller), caller.at());
    match caller.process.aio.try_lock() {
        Ok(aio) => aio.submit(wish, at),
        Err(_) => Err(libc::EBUSY),
    }
}

/// Waits for what has begun: it may take long.
fn aio_renewed(caller: &mut Caller<'_>) -> Said {
    match caller.process.aio.try_lock() {
        Ok(mut aio) => aio.renew(),
        Err(_) => Err(libc::EBUSY),
    }
}

fn ring(caller: &mut Caller<'_>) -> Said {
    let (wish, at) = (wish(caller), caller.at());
    let memory = &caller.process.memory;
    caller.ring.submit(wish, at, memory)
}
