// SPDX-License-Identifier: GPL-2.0

//! Memory that goes back to the system.

use crate::slab::CHUNK_BYTES;

/// Lets pieces of memory of some pages come from the system, and go back there. By itself, glibc's
/// `malloc` sees that they are freed and decides to keep the next ones: a million forgotten nodes would
/// stay this process's memory. Who needs such a piece again and again should keep it, after that. To be
/// called before any other thread is there.
#[allow(unsafe_code)]
pub fn give_memory_back() {
    let large = CHUNK_BYTES as i32 / 4;
    // SAFETY: It changes a setting of the allocator, which no other thread uses meanwhile.
    // A failure means that the setting is not known here: nothing is lost but memory.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, large) };
}
