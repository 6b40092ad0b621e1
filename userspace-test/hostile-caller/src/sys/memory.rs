// SPDX-License-Identifier: GPL-2.0

//! Memory for callers: bytes to read to and write from, files that are mapped, and places where
//! nothing is.

use super::{said, Said};
use crate::failures::spared;
use std::{
    ops::Range,
    ptr,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The size of a page.
pub const PAGE: usize = 4096;

/// How much there is of bytes.
const BYTES: usize = 1 << 20;
/// How much of a file is mapped at the most, and in how many places.
pub const SLOT: usize = 256 << 10;
/// In how many places files are mapped.
pub const SLOTS: usize = 6;
/// Between all these nothing is mapped, so that whoever goes on too far gets nowhere.
const HOLE: usize = 64 << 20;
const SIZE: usize = HOLE + BYTES + HOLE + SLOTS * (SLOT + HOLE);

/// The region, for the handler of signals.
static START: AtomicUsize = AtomicUsize::new(0);

/// Somewhere in memory.
///
/// # Invariants
///
/// It is in the region, or where no process has memory of its own.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Address(usize);

impl Address {
    /// Where nothing is.
    pub const NOWHERE: [Address; 4] = [
        Address(0),
        Address(8),
        // The kernel's, and nobody's.
        Address(0xffff_8880_0000_0000),
        Address(0x8000_0000_0000),
    ];

    pub(super) fn number(self) -> usize {
        self.0
    }
}

/// A part of one of the slots.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// Of which one.
    pub slot: usize,
    /// From which byte on.
    pub offset: usize,
    /// How many bytes.
    pub len: usize,
}

/// The region of this process.
///
/// # Invariants
///
/// `start` is the first of `SIZE` bytes that were mapped for this, and nothing refers to them.
#[derive(Debug)]
pub struct Memory {
    start: usize,
}

const NOTHING: i32 = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
const READ_WRITE: i32 = libc::PROT_READ | libc::PROT_WRITE;

impl Memory {
    /// Makes it: once in a process.
    pub fn new() -> Option<Self> {
        // SAFETY: A new mapping, wherever the kernel likes.
        let start = unsafe { libc::mmap(ptr::null_mut(), SIZE, libc::PROT_NONE, NOTHING, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        let start = start.expose_provenance();
        let memory = Self { start };
        let bytes = ptr::with_exposed_provenance_mut(memory.bytes().start);
        // SAFETY: That is within the region.
        if unsafe { libc::mprotect(bytes, BYTES, READ_WRITE) } != 0 {
            return None;
        }
        START.store(start, Ordering::Relaxed);
        Some(memory)
    }

    fn bytes(&self) -> Range<usize> {
        let start = self.start + HOLE;
        start..start + BYTES
    }

    fn slot(&self, slot: usize) -> Range<usize> {
        assert!(slot < SLOTS);
        let start = self.bytes().end + HOLE + slot * (SLOT + HOLE);
        start..start + SLOT
    }

    /// The byte with that number, of those that are always there, or behind them.
    pub fn byte(&self, number: usize) -> Address {
        Address(self.bytes().start + number % (BYTES + PAGE))
    }

    /// The last `count` of these bytes.
    pub fn last(&self, count: usize) -> Address {
        Address(self.bytes().end - count.min(BYTES))
    }

    /// A byte of a slot, or behind it.
    pub fn mapped(&self, slot: usize, offset: usize) -> Address {
        Address(self.slot(slot).start + offset % (SLOT + PAGE))
    }

    fn span(&self, span: Span) -> (*mut libc::c_void, usize) {
        let slot = self.slot(span.slot);
        let offset = span.offset.min(SLOT) / PAGE * PAGE;
        let len = span.len.min(SLOT - offset);
        (ptr::with_exposed_provenance_mut(slot.start + offset), len)
    }

    /// Maps a file there, with some of `PROT_…` and `MAP_…`.
    pub fn map(&self, span: Span, protection: i32, flags: i32, fd: i32, offset: i64) -> Said {
        let (start, len) = self.span(span);
        let kind = flags & !(libc::MAP_GROWSDOWN | libc::MAP_HUGETLB) | libc::MAP_FIXED;
        // SAFETY: That replaces a part of the region.
        let mapped = spared(|| unsafe { libc::mmap(start, len, protection, kind, fd, offset) });
        let said = said(mapped as libc::c_long);
        if said.is_err() && len > 0 {
            // What was there may be gone, and is not to be taken by somebody else.
            let kind = NOTHING | libc::MAP_FIXED_NOREPLACE;
            // SAFETY: That replaces nothing.
            spared(|| unsafe { libc::mmap(start, len, libc::PROT_NONE, kind, -1, 0) });
        }
        said
    }

    /// Unmaps what is there.
    pub fn unmap(&self, span: Span) -> Said {
        self.map(span, libc::PROT_NONE, NOTHING, -1, 0)
    }

    /// `msync(2)`.
    pub fn sync(&self, span: Span, flags: i32) -> Said {
        let (start, len) = self.span(span);
        // SAFETY: It changes nothing here.
        said(unsafe { libc::msync(start, len, flags) }.into())
    }

    /// `madvise(2)`, but that which breaks the machine's memory.
    pub fn advise(&self, span: Span, advice: i32) -> Said {
        const BREAKS: [i32; 2] = [libc::MADV_HWPOISON, libc::MADV_SOFT_OFFLINE];
        if BREAKS.contains(&advice) {
            return Err(libc::EPERM);
        }
        let (start, len) = self.span(span);
        // SAFETY: It is about a part of the region.
        said(unsafe { libc::madvise(start, len, advice) }.into())
    }

    /// `mprotect(2)`.
    pub fn protect(&self, span: Span, protection: i32) -> Said {
        let (start, len) = self.span(span);
        // SAFETY: It is about a part of the region.
        said(spared(|| unsafe { libc::mprotect(start, len, protection) }).into())
    }

    /// `mlock(2)` and, at once, `munlock(2)`: it reads all that is mapped.
    pub fn lock(&self, span: Span) -> Said {
        let (start, len) = self.span(span);
        // SAFETY: It is about a part of the region.
        let locked = said(unsafe { libc::mlock(start, len) }.into());
        // SAFETY: As above.
        unsafe { libc::munlock(start, len) };
        locked
    }

    /// Reads a byte of what is mapped, and writes it back if that is wanted.
    pub fn touch(&self, slot: usize, offset: usize, write: bool) -> Said {
        let byte = self.slot(slot).start + offset % SLOT;
        let byte: *mut u8 = ptr::with_exposed_provenance_mut(byte);
        // SAFETY: It is in the region, which nothing refers to. Where nothing is mapped, the handler
        // maps something.
        unsafe {
            let value = byte.read_volatile();
            if write {
                byte.write_volatile(value.wrapping_add(1));
            }
        }
        Ok(1)
    }
}

/// Maps zeroes where somebody has touched what is not there, if that is in the region.
pub(super) fn mend(address: usize) -> bool {
    let start = START.load(Ordering::Relaxed);
    if start == 0 || !(start..start + SIZE).contains(&address) {
        return false;
    }
    let page = ptr::with_exposed_provenance_mut(address / PAGE * PAGE);
    // SAFETY: That replaces a page of the region. Where there is no memory for it, it is touched again.
    spared(|| unsafe { libc::mmap(page, PAGE, READ_WRITE, NOTHING | libc::MAP_FIXED, -1, 0) });
    true
}
