// SPDX-License-Identifier: GPL-2.0

//! Reading and writing without waiting: `io_submit(2)` and io_uring. What has begun goes on when its
//! thread has long gone on to something else; the memory stays.

use super::{memory::Memory, said, Address, Said};
use io_uring::{opcode, squeue, types::Fd, IoUring};
use std::ptr;

/// What to begin.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    /// Of which file.
    pub fd: i32,
    /// What, of as many as there are.
    pub what: u16,
    /// From which byte of it on.
    pub offset: i64,
    /// How many bytes.
    pub len: u32,
}

/// What `io_submit(2)` reads (`struct iocb`).
#[repr(C)]
#[derive(Default)]
struct Iocb {
    data: u64,
    key: u32,
    rw_flags: i32,
    opcode: u16,
    priority: i16,
    fd: u32,
    buffer: u64,
    len: u64,
    offset: i64,
    reserved: u64,
    flags: u32,
    event_fd: u32,
}

/// A context of `io_setup(2)`, to the end of the process.
#[derive(Debug)]
pub struct Aio(libc::c_ulong);

impl Aio {
    /// One for up to 32 operations at once; of none, if there can be none.
    pub fn new() -> Self {
        let mut context: libc::c_ulong = 0;
        // SAFETY: There is room for its number. What it maps is its own.
        unsafe { libc::syscall(libc::SYS_io_setup, 32, &mut context) };
        Self(context)
    }

    /// Begins an operation, and takes what has ended.
    pub fn submit(&self, wish: Wish, at: Address) -> Said {
        const COMMANDS: [u16; 6] = [0, 1, 2, 3, 5, 99];
        let iocb = Iocb {
            opcode: COMMANDS[usize::from(wish.what) % COMMANDS.len()],
            fd: wish.fd as u32,
            buffer: at.number() as u64,
            len: wish.len.into(),
            offset: wish.offset,
            ..Default::default()
        };
        let mut events = [[0u64; 4]; 32];
        let now = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: There is room for so many events.
        unsafe {
            let (events, now) = (events.as_mut_ptr(), &raw const now);
            libc::syscall(libc::SYS_io_getevents, self.0, 0, 32, events, now)
        };
        // SAFETY: The structure is what the kernel reads; the address is one of a caller's.
        said(unsafe { libc::syscall(libc::SYS_io_submit, self.0, 1, &mut &raw const iocb) })
    }

    /// Gives up what has begun, and begins anew.
    pub fn renew(&mut self) -> Said {
        // SAFETY: Has no pointers.
        let said = said(unsafe { libc::syscall(libc::SYS_io_destroy, self.0) });
        *self = Self::new();
        said
    }
}

/// An io_uring, to the end of its thread.
pub struct Ring(Option<IoUring>);

impl Ring {
    /// One, if there can be one.
    pub fn new() -> Self {
        Self(IoUring::new(8).ok())
    }

    /// Begins an operation, and takes what has ended.
    pub fn submit(&mut self, wish: Wish, at: Address, memory: &Memory) -> Said {
        let Some(ring) = &mut self.0 else {
            return Err(libc::ENOSYS);
        };
        while ring.completion().next().is_some() {}
        let (fd, offset, len) = (Fd(wish.fd), wish.offset as u64, wish.len);
        let start: *mut u8 = ptr::with_exposed_provenance_mut(at.number());
        let path = memory.byte(0).number();
        let path: *const libc::c_char = ptr::with_exposed_provenance(path);
        let entry: squeue::Entry = match wish.what % 8 {
            0 => opcode::Read::new(fd, start, len).offset(offset).build(),
            1 => opcode::Write::new(fd, start, len).offset(offset).build(),
            2 => opcode::Fsync::new(fd).build(),
            3 => opcode::Fallocate::new(fd, len.into())
                .offset(offset)
                .build(),
            4 => opcode::PollAdd::new(fd, 5).build(),
            5 => opcode::OpenAt::new(Fd(libc::AT_FDCWD), path).build(),
            6 => opcode::Statx::new(fd, path, start.cast()).build(),
            _ => opcode::AsyncCancel::new(0).build(),
        };
        // SAFETY: The addresses are a caller's: the kernel finds out what is there.
        let pushed = unsafe { ring.submission().push(&entry) };
        if pushed.is_err() {
            return Err(libc::EBUSY);
        }
        ring.submit()
            .map_err(|error| error.raw_os_error().unwrap_or(0))
    }
}
