// SPDX-License-Identifier: GPL-2.0

//! ioctl(2) on files and directories.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::{
    bindings,
    vfs::file::{Callbacks, FileOperations},
};
use kernel::prelude::*;

/// An ioctl(2).
pub(crate) struct Ioctl {
    /// What is to be done: most often a number that the macros of `ioctl.h` have made.
    pub(crate) command: u32,
    /// What with: most often the address of something in the caller's memory.
    pub(crate) argument: usize,
    /// How the caller lays out its memory.
    pub(crate) layout: Layout,
}

/// How a program lays out its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As the kernel does.
    Native,
    /// As 32-bit programs do, on a 64-bit kernel.
    Compat,
    /// As x32 programs do: pointers have 32 bits, times 64.
    X32,
}

/// # Safety
///
/// To be called as `unlocked_ioctl` of `struct file_operations`, for files of `F`.
pub(super) unsafe extern "C" fn native<F: FileOperations>(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
) -> c_long {
    // SAFETY: The C side gives an open file.
    unsafe { ioctl::<F>(file, command, argument, Layout::Native) }
}

/// # Safety
///
/// To be called as `compat_ioctl` of `struct file_operations`, for files of `F`.
#[cfg(CONFIG_COMPAT)]
pub(super) unsafe extern "C" fn compat<F: FileOperations>(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
) -> c_long {
    // SAFETY: Looks at the running task only.
    let layout = if unsafe { bindings::in_x32_syscall() } {
        Layout::X32
    } else {
        Layout::Compat
    };
    // SAFETY: The C side gives an open file.
    unsafe { ioctl::<F>(file, command, argument, layout) }
}

/// # Safety
///
/// `file` must be an open file of `F`.
unsafe fn ioctl<F: FileOperations>(
    file: *mut bindings::file,
    command: c_uint,
    argument: c_ulong,
    layout: Layout,
) -> c_long {
    // SAFETY: By the function's contract.
    let (inode, data) = unsafe { Callbacks::<F>::parts(file) };
    let ioctl = Ioctl {
        command,
        argument,
        layout,
    };
    match F::ioctl(inode, data, &ioctl) {
        Ok(value) => value as c_long,
        Err(err) => err.to_errno() as c_long,
    }
}
