// SPDX-License-Identifier: GPL-2.0

//! System calls that need `unsafe`.

#![allow(unsafe_code)]

use nix::{
    libc,
    sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal},
    unistd::{fork, ForkResult, Pid},
};
use std::{
    ffi::CString,
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, FromRawFd},
        unix::ffi::OsStrExt,
    },
    panic::{catch_unwind, AssertUnwindSafe},
    path::Path,
    ptr,
    time::Duration,
};

/// A process that runs `action`, ends then, and ends when this one does.
pub fn process(action: impl FnOnce()) -> io::Result<Pid> {
    // SAFETY: The child allocates, which glibc's fork allows for, and uses no other lock that a thread
    // here may have: it leaves by _exit, and prints nothing.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _ = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL);
            let ended = catch_unwind(AssertUnwindSafe(action));
            // SAFETY: Always is.
            unsafe { libc::_exit(i32::from(ended.is_err())) }
        }
    }
}

/// SIGALRM interrupts system calls and does nothing else.
pub fn let_alarms_interrupt() -> io::Result<()> {
    extern "C" fn nothing(_: i32) {}
    let action = SigAction::new(
        SigHandler::Handler(nothing),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: The handler does nothing.
    unsafe { sigaction(Signal::SIGALRM, &action) }?;
    Ok(())
}

/// SIGALRM comes that often from here on; never, if it is zero.
pub fn alarm(every: Duration) -> io::Result<()> {
    let interval = libc::timeval {
        tv_sec: every.as_secs() as libc::time_t,
        tv_usec: every.subsec_micros().into(),
    };
    let timer = libc::itimerval {
        it_interval: interval,
        it_value: interval,
    };
    // SAFETY: It reads the structure, and gives nothing back.
    match unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The most that a command of `ioctl(2)` may want of its argument.
const ROOM: usize = 64 << 10;

/// Any command; its argument is memory.
pub fn ioctl(file: impl AsFd, command: u32) -> io::Result<i32> {
    let mut memory = vec![0_u64; ROOM / size_of::<u64>()];
    let fd = file.as_fd().as_raw_fd();
    // SAFETY: The size in a command has 14 bits, and those without one that files here know take
    // less: there is more memory than that, twice. It holds no addresses.
    let result = unsafe { libc::ioctl(fd, command.into(), memory.as_mut_ptr()) };
    match result {
        0.. => Ok(result),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Touches the first `len` bytes of a shared mapping of a file, page by page; a write when it is one.
/// The process dies by SIGBUS where there is nothing.
pub fn touch(file: &File, offset: i64, len: usize, write: bool) -> io::Result<()> {
    let fd = file.as_raw_fd();
    let access = match write {
        true => libc::PROT_READ | libc::PROT_WRITE,
        false => libc::PROT_READ,
    };
    // SAFETY: A new mapping, wherever the kernel likes.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            access,
            libc::MAP_SHARED,
            fd,
            offset & !4095,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    for at in (0..len).step_by(4096) {
        // SAFETY: It is mapped, for writing if that is asked for, and nobody else knows of it.
        unsafe {
            let byte = start.cast::<u8>().add(at);
            match write {
                true => byte.write_volatile(1),
                false => drop(byte.read_volatile()),
            }
        }
    }
    // SAFETY: Mapped above, and not used any more.
    unsafe {
        if write {
            libc::msync(start, len, libc::MS_SYNC);
        }
        libc::munmap(start, len);
    }
    Ok(())
}

/// What stands for a file, whatever becomes of its name.
pub struct Handle {
    /// The size and type of the handle, and 128 bytes for it.
    words: [u32; 2 + 32],
}

impl Handle {
    /// `name_to_handle_at(2)`.
    pub fn of(path: &Path) -> io::Result<Self> {
        let mut words = [0; 2 + 32];
        words[0] = 128;
        let path = CString::new(path.as_os_str().as_bytes())?;
        let mut mount = 0_i32;
        let (name, made, id) = (path.as_ptr(), words.as_mut_ptr(), &raw mut mount);
        let at = libc::AT_FDCWD;
        // SAFETY: The path is a string, the handle has the room that it says.
        let result = unsafe { libc::syscall(libc::SYS_name_to_handle_at, at, name, made, id, 0) };
        match result {
            0 => Ok(Self { words }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// `open_by_handle_at(2)`, in the file system of `dir`.
    pub fn open(&self, dir: &File, flags: i32) -> io::Result<File> {
        let (dir, handle) = (dir.as_raw_fd(), self.words.as_ptr());
        // SAFETY: The handle was made by `of`.
        let fd = unsafe { libc::syscall(libc::SYS_open_by_handle_at, dir, handle, flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: This descriptor has just been made, for us.
        Ok(unsafe { File::from_raw_fd(fd as i32) })
    }
}

/// Writes a message out of memory that was not touched before; the last `missing` bytes of it are not
/// there.
pub fn write_untouched(file: impl AsFd, message: &[u8], missing: usize) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let memory = nix::sys::memfd::memfd_create(c"message", nix::sys::memfd::MFdFlags::empty())?;
    let memory = File::from(memory);
    memory.write_all_at(message, 0)?;
    let there = message.len().saturating_sub(missing);
    // Where a page begins that has nothing of it, there is no memory.
    memory.set_len(there as u64)?;
    let (len, fd) = (message.len().max(1), memory.as_raw_fd());
    // SAFETY: A new mapping, wherever the kernel likes.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ,
            libc::MAP_PRIVATE,
            fd,
            0,
        )
    };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: The kernel reads what is mapped; of what is not there it says EFAULT.
    let written = unsafe { libc::write(file.as_fd().as_raw_fd(), start, message.len()) };
    let result = io::Error::last_os_error();
    // SAFETY: Mapped above, and not used any more.
    unsafe { libc::munmap(start, len) };
    match written {
        0.. => Ok(()),
        _ => Err(result),
    }
}
