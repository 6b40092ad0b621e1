// SPDX-License-Identifier: GPL-2.0

//! Buffers that are no memory of a task: those that io_uring keeps registered. The device takes and
//! gives none.

#![allow(unsafe_code)]

use crate::{caller::call, env::Env, fs::Fs, sys, system, tests::tests};
use rawfuse::{abi::Opcode, Errno};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
    ptr,
    time::Duration,
};

tests![registered_buffers];

const READ_FIXED: u8 = 4;
const WRITE_FIXED: u8 = 5;

/// Does one read or write of `buffer` at `fd`, by a ring of one entry that has it registered.
fn transfer(opcode: u8, fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    const SETUP: usize = 30;
    const ENTRIES: u64 = 0x1000_0000;
    const REGISTER_BUFFERS: u32 = 0;
    const GETEVENTS: u32 = 1;
    let check =
        |result: libc::c_long| usize::try_from(result).map_err(|_| io::Error::last_os_error());
    let map = |fd: &OwnedFd, offset: u64| {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let (fd, offset) = (fd.as_raw_fd(), offset as i64);
        // SAFETY: New memory.
        let at = unsafe { libc::mmap(ptr::null_mut(), 4096, protection, flags, fd, offset) };
        assert_ne!(at, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        at.cast::<u8>()
    };
    // The parameters: 10 words, then the offsets of what is in the rings, 10 words each.
    let mut parameters = [0u32; SETUP];
    // SAFETY: There is room for the parameters.
    let ring = check(unsafe { libc::syscall(libc::SYS_io_uring_setup, 1, &mut parameters) })?;
    // SAFETY: This descriptor has just been made, for us.
    let ring = unsafe { OwnedFd::from_raw_fd(ring as i32) };
    let (submissions, completions) = (&parameters[10..20], &parameters[20..30]);
    let (rings, entry) = (map(&ring, 0), map(&ring, ENTRIES));
    let part = libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    // SAFETY: The buffer outlives the ring.
    check(unsafe {
        let fd = ring.as_raw_fd();
        libc::syscall(libc::SYS_io_uring_register, fd, REGISTER_BUFFERS, &part, 1)
    })?;
    // SAFETY: An entry has 64 bytes, and rings of one entry fit into a page. Nobody else uses them.
    let result = unsafe {
        entry.write(opcode);
        entry.add(4).cast::<i32>().write(fd.as_raw_fd());
        entry.add(8).cast::<u64>().write(0);
        entry.add(16).cast::<u64>().write(buffer.as_ptr() as u64);
        entry.add(24).cast::<u32>().write(buffer.len() as u32);
        rings.add(submissions[6] as usize).cast::<u32>().write(0);
        let tail = rings.add(submissions[1] as usize).cast::<u32>();
        tail.write_volatile(1);
        let fd = ring.as_raw_fd();
        let nothing = ptr::null::<u8>();
        check(libc::syscall(
            libc::SYS_io_uring_enter,
            fd,
            1,
            1,
            GETEVENTS,
            nothing,
            0,
        ))?;
        let completion = rings.add(completions[5] as usize);
        let result = completion.add(8).cast::<i32>().read_volatile();
        libc::munmap(rings.cast(), 4096);
        libc::munmap(entry.cast(), 4096);
        result
    };
    usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result))
}

fn registered_buffers(env: &Env) {
    let mut buffer = vec![0; 1 << 18];
    // This is how it is done.
    let zero = std::fs::File::open("/dev/zero").unwrap();
    buffer[7] = 1;
    assert_eq!(
        transfer(READ_FIXED, zero.as_fd(), &mut buffer).unwrap(),
        1 << 18
    );
    assert_eq!(buffer[7], 0);

    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
    let read = transfer(READ_FIXED, fs.channel.as_fd(), &mut buffer);
    system::assert_errno(read, Errno::EINVAL);
    let req = fs.expect(Opcode::Lookup);
    let mut reply = super::pipe::reply(req.unique(), -libc::ENOENT, &[]);
    let written = transfer(WRITE_FIXED, fs.channel.as_fd(), &mut reply);
    system::assert_errno(written, Errno::EINVAL);
    assert!(caller.still_waits(Duration::from_millis(150)));
    fs.channel.write(&[&reply]).unwrap();
    system::assert_errno(caller.result(), Errno::ENOENT);
}
