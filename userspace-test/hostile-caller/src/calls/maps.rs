// SPDX-License-Identifier: GPL-2.0

//! Calls about files in memory, and touching that.

use crate::{
    arguments::Caller,
    calls::kinds,
    sys::{
        memory::{SLOT, SLOTS},
        Said,
    },
};
use libc::{MAP_NONBLOCK, MAP_POPULATE, MAP_PRIVATE, MAP_SHARED, PROT_EXEC, PROT_READ, PROT_WRITE};

kinds![15 mmap, 4 munmap, 60 touch, 6 msync, 6 madvise, 3 mprotect, 2 mlock];

fn mmap(caller: &mut Caller<'_>) -> Said {
    let (span, fd) = (caller.span(), caller.fd());
    let protection = caller.one_of(&[
        PROT_READ,
        PROT_READ | PROT_WRITE,
        PROT_READ | PROT_WRITE,
        PROT_READ | PROT_EXEC,
        PROT_WRITE,
        0,
    ]);
    let kind = caller.one_of(&[MAP_SHARED, MAP_SHARED, MAP_PRIVATE]);
    let more = caller.one_of(&[0, 0, 0, MAP_POPULATE, MAP_POPULATE | MAP_NONBLOCK]);
    let offset = match caller.once_in(10) {
        true => caller.offset(),
        false => caller.random.i64(0..16) << 12,
    };
    let memory = &caller.process.memory;
    memory.map(span, protection, kind | more, fd, offset)
}

fn munmap(caller: &mut Caller<'_>) -> Said {
    let span = caller.span();
    caller.process.memory.unmap(span)
}

/// Reads or writes what is mapped, some pages of it.
fn touch(caller: &mut Caller<'_>) -> Said {
    let slot = caller.random.usize(0..SLOTS);
    let mut touched = 0;
    for _ in 0..caller.random.u32(1..6) {
        let offset = caller.random.usize(0..SLOT);
        let write = caller.random.bool();
        touched += caller.process.memory.touch(slot, offset, write)?;
    }
    Ok(touched)
}

fn msync(caller: &mut Caller<'_>) -> Said {
    let span = caller.span();
    let flags = caller.random.i32(0..8);
    caller.process.memory.sync(span, flags)
}

fn madvise(caller: &mut Caller<'_>) -> Said {
    let span = caller.span();
    let advice = caller.one_of(&[0, 1, 2, 3, 4, 8, 9, 14, 15, 18, 19, 20, 21, 22, 23, 25]);
    caller.process.memory.advise(span, advice)
}

fn mprotect(caller: &mut Caller<'_>) -> Said {
    let span = caller.span();
    let protection = caller.random.i32(0..8);
    caller.process.memory.protect(span, protection)
}

fn mlock(caller: &mut Caller<'_>) -> Said {
    let span = caller.span();
    caller.process.memory.lock(span)
}
