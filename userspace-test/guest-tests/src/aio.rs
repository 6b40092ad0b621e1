// SPDX-License-Identifier: GPL-2.0

//! Reading and writing without waiting: `io_submit(2)` and io_uring.

#![allow(unsafe_code)]

use crate::sys::Map;
use io_uring::{opcode, squeue, types::Fd, IoUring};
use std::{
    fs::File,
    io::{self, Error},
    mem::MaybeUninit,
    os::fd::AsRawFd,
    sync::Arc,
    time::{Duration, Instant},
};

/// What is to be done with memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Read to it.
    Read,
    /// Write from it.
    Write,
}

/// Somewhere in memory. It may reach into the hole behind the mapping.
#[derive(Clone)]
pub struct Place {
    /// The memory.
    pub map: Arc<Map>,
    /// Where it begins there.
    pub at: usize,
    /// How many bytes.
    pub len: usize,
}

impl Place {
    /// All of `map`.
    pub fn all(map: &Arc<Map>) -> Self {
        Self {
            map: map.clone(),
            at: 0,
            len: map.len(),
        }
    }
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

/// What `io_getevents(2)` writes (`struct io_event`).
#[repr(C)]
struct Event {
    data: u64,
    iocb: u64,
    result: i64,
    result2: i64,
}

/// A context of `io_setup(2)`. Dropping it waits for what has begun.
pub struct Aio {
    context: libc::c_ulong,
    // The kernel uses it as long as the context is there.
    places: Vec<Place>,
}

fn check(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}

impl Aio {
    /// One for up to 64 operations at once.
    pub fn new() -> Self {
        let mut context: libc::c_ulong = 0;
        // SAFETY: There is room for its number.
        check(unsafe { libc::syscall(libc::SYS_io_setup, 64, &mut context) }).expect("io_setup");
        Self {
            context,
            places: Vec::new(),
        }
    }

    /// Begins an operation at `offset` of a file, which is called `tag`.
    pub fn submit(
        &mut self,
        tag: u64,
        file: &File,
        way: Way,
        place: &Place,
        offset: i64,
    ) -> io::Result<()> {
        self.places.push(place.clone());
        let iocb = Iocb {
            data: tag,
            opcode: way as u16,
            fd: file.as_raw_fd() as u32,
            buffer: place.map.address(place.at, place.len) as u64,
            len: place.len as u64,
            offset,
            ..Default::default()
        };
        // SAFETY: The structure is what the kernel reads, and the memory stays until all has ended.
        check(unsafe { libc::syscall(libc::SYS_io_submit, self.context, 1, &mut &raw const iocb) })
            .map(drop)
    }

    /// Something that has ended, within `limit`: its tag, and bytes or a negative errno.
    pub fn ended_within(&self, limit: Duration) -> Option<(u64, i64)> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let timeout = libc::timespec {
                tv_sec: left.as_secs() as i64,
                tv_nsec: left.subsec_nanos().into(),
            };
            let mut event = MaybeUninit::<Event>::zeroed();
            // SAFETY: There is room for an event.
            let got = check(unsafe {
                let events = event.as_mut_ptr();
                libc::syscall(libc::SYS_io_getevents, self.context, 1, 1, events, &timeout)
            });
            match got {
                Ok(0) => return None,
                Ok(_) => {
                    // SAFETY: The kernel filled it in, and zeroes are valid for all of its fields.
                    let event = unsafe { event.assume_init() };
                    return Some((event.data, event.result));
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => panic!("io_getevents: {error}"),
            }
        }
    }
}

impl Drop for Aio {
    fn drop(&mut self) {
        // SAFETY: Has no pointers.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.context) };
    }
}

/// An io_uring, with memory that is registered with it.
pub struct Ring {
    ring: IoUring,
    registered: Option<Place>,
    places: Vec<Place>,
}

impl Ring {
    /// One with nothing registered.
    pub fn new() -> Self {
        Self {
            ring: IoUring::new(8).expect("io_uring_setup"),
            registered: None,
            places: Vec::new(),
        }
    }

    /// One with that memory registered, in which operations then take place.
    pub fn with_registered(place: &Place) -> Self {
        let ring = Self {
            registered: Some(place.clone()),
            ..Self::new()
        };
        let buffer = libc::iovec {
            iov_base: place.map.address(place.at, place.len).cast(),
            iov_len: place.len,
        };
        // SAFETY: The memory stays as long as the ring.
        unsafe { ring.ring.submitter().register_buffers(&[buffer]) }.expect("register");
        ring
    }

    /// Begins an operation at `offset` of a file, which is called `tag`.
    pub fn submit(&mut self, tag: u64, file: &File, way: Way, place: &Place, offset: u64) {
        self.places.push(place.clone());
        let (fd, len) = (Fd(file.as_raw_fd()), place.len as u32);
        let start = place.map.address(place.at, place.len);
        let entry: squeue::Entry = match (way, self.registered.is_some()) {
            (Way::Read, false) => opcode::Read::new(fd, start, len).offset(offset).build(),
            (Way::Write, false) => opcode::Write::new(fd, start, len).offset(offset).build(),
            (Way::Read, true) => opcode::ReadFixed::new(fd, start, len, 0)
                .offset(offset)
                .build(),
            (Way::Write, true) => opcode::WriteFixed::new(fd, start, len, 0)
                .offset(offset)
                .build(),
        };
        // SAFETY: The memory stays as long as the ring.
        unsafe { self.ring.submission().push(&entry.user_data(tag)) }.expect("room in the ring");
        self.ring.submit().expect("io_uring_enter");
    }

    /// Something that has ended, within `limit`: its tag, and bytes or a negative errno.
    pub fn ended_within(&mut self, limit: Duration) -> Option<(u64, i64)> {
        let end = Instant::now() + limit;
        loop {
            if let Some(entry) = self.ring.completion().next() {
                return Some((entry.user_data(), entry.result().into()));
            }
            if Instant::now() >= end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
