// SPDX-License-Identifier: GPL-2.0

//! Memory that this process shares with those that it forks.

use std::{io, ptr, slice, sync::atomic::AtomicU64};

/// So many words of it, which stay to the end.
pub fn words(count: usize) -> io::Result<&'static [AtomicU64]> {
    let len = count * size_of::<AtomicU64>();
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let kind = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: A new mapping, wherever the kernel likes.
    let start = unsafe { libc::mmap(ptr::null_mut(), len, access, kind, -1, 0) };
    if start == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: It is mapped, zeroes, and never unmapped; all who know of it use these atomics.
    Ok(unsafe { slice::from_raw_parts(start.cast(), count) })
}
