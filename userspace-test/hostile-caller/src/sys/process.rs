// SPDX-License-Identifier: GPL-2.0

//! Processes, and what they may use.

use super::{said, Said};
use nix::unistd::{fork, ForkResult, Pid};
use std::{
    ffi::CStr,
    panic::{catch_unwind, AssertUnwindSafe},
    ptr,
};

/// Starts a process that ends with what `action` gives. To be called while this one has one thread.
pub fn start(action: impl FnOnce() -> i32) -> nix::Result<Pid> {
    // SAFETY: This process has one thread: the child finds nothing half done.
    match unsafe { fork() }? {
        ForkResult::Child => {
            let code = catch_unwind(AssertUnwindSafe(action)).unwrap_or(101);
            // SAFETY: Nothing of its parent is cleaned up by this.
            unsafe { libc::_exit(code) }
        }
        ForkResult::Parent { child } => Ok(child),
    }
}

/// Starts a process out of one with any number of threads, which executes a program and is waited for.
pub fn execute(path: &CStr, name: &CStr) -> Said {
    let arguments = [name.as_ptr(), ptr::null()];
    // SAFETY: The child makes nothing but system calls, with what was there before.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::execve(path.as_ptr(), arguments.as_ptr(), [ptr::null()].as_ptr());
            libc::_exit(1);
        }
        said(child.into())?;
        let mut status = 0;
        said(libc::waitpid(child, &mut status, 0).into())
    }
}

/// Closes all descriptors from `first` on.
pub fn close_from(first: i32) {
    // SAFETY: Whoever calls this has nothing open there.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// A copy of the descriptor 2, which is never closed: its number is the lowest that is free.
pub fn lowest_free() -> i32 {
    // SAFETY: Has no pointers.
    unsafe { libc::dup(2) }
}

/// Becomes another user and group for good, all threads.
pub fn become_user(id: u32) {
    // SAFETY: Have no pointers, or none that is followed.
    unsafe {
        libc::setgroups(0, ptr::null());
        libc::setresgid(id, id, id);
        libc::setresuid(id, id, id);
    }
}
