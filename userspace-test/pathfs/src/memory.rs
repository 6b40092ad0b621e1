// SPDX-License-Identifier: GPL-2.0

//! Memory that comes from the system a page at a time, and goes back there.

#![allow(unsafe_code)]

use std::{
    alloc::{handle_alloc_error, Layout},
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{self, NonNull},
    slice,
};

/// How many bytes are got, and given back, at a time: a page of the processor's. To get or to give
/// back that much is the most that one operation should have to do.
const PAGE: usize = 4096;

/// How many pages the first region has. Each of the others has twice as many as the one before.
const FIRST: usize = 1024;

/// How many regions there are at the most.
const REGIONS: usize = 24;

/// What a page begins with. What the system gives is all zeroes, which says that nothing is there.
#[repr(C)]
struct Head<H> {
    there: usize,
    value: MaybeUninit<H>,
}

/// Numbered pages, each with a value of its own and as many things as there is room for.
///
/// They are in regions of addresses, which are reserved as a whole and cost nothing before they are
/// used: so nothing ever moves, and a page can be given back wherever it is. What the system has to
/// remember of a region, some 8 bytes a page, stays.
///
/// # Invariants
///
/// A region is a mapping of [`pages_of`] pages which nobody else uses. Where `there` of a page is not
/// 0, its value and all its things are initialised.
pub(crate) struct Pages<H, T> {
    regions: [Option<NonNull<u8>>; REGIONS],
    /// What comes after the last page that there ever was.
    end: usize,
    owned: PhantomData<(H, T)>,
}

/// In which region a page is, and the how manyth there.
fn region_of(page: usize) -> (usize, usize) {
    let region = (page / FIRST + 1).ilog2() as usize;
    (region, page - FIRST * ((1 << region) - 1))
}

fn pages_of(region: usize) -> usize {
    FIRST << region
}

impl<H, T> Pages<H, T> {
    /// Where in a page its things begin.
    const THINGS: usize = size_of::<Head<H>>().next_multiple_of(align_of::<T>());

    /// How many things are in a page.
    pub const EACH: usize = (PAGE - Self::THINGS) / size_of::<T>();

    /// No page at all.
    pub const fn new() -> Self {
        const { assert!(Self::EACH > 0 && align_of::<T>() <= PAGE && align_of::<H>() <= PAGE) };
        Self {
            regions: [None; REGIONS],
            end: 0,
            owned: PhantomData,
        }
    }

    /// Where a page is, or would be.
    fn address(&self, page: usize) -> Option<NonNull<u8>> {
        let (region, within) = region_of(page);
        let start = (*self.regions.get(region)?)?;
        // SAFETY: By the invariant the region is a mapping, in which there is such a page.
        Some(unsafe { start.add(within * PAGE) })
    }

    /// Where a page is, if it is there: its value, and the first of its things.
    fn parts(&self, page: usize) -> Option<(NonNull<H>, NonNull<T>)> {
        let address = self.address(page)?;
        let head = address.cast::<Head<H>>().as_ptr();
        // SAFETY: It is mapped, and begins with zeroes or with what `put` has written.
        if unsafe { (*head).there } == 0 {
            return None;
        }
        // SAFETY: These are within the page.
        let (value, things) = unsafe { (&raw mut (*head).value, address.add(Self::THINGS)) };
        Some((NonNull::new(value.cast())?, things.cast()))
    }

    /// What is in a page, if it is there.
    pub fn get(&self, page: usize) -> Option<(&H, &[T])> {
        let (value, things) = self.parts(page)?;
        // SAFETY: By the invariant these are initialised, and nobody changes them meanwhile.
        Some(unsafe {
            let things = slice::from_raw_parts(things.as_ptr(), Self::EACH);
            (value.as_ref(), things)
        })
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, page: usize) -> Option<(&mut H, &mut [T])> {
        let (mut value, things) = self.parts(page)?;
        // SAFETY: By the invariant these are initialised, and nobody else has them.
        Some(unsafe {
            let things = slice::from_raw_parts_mut(things.as_ptr(), Self::EACH);
            (value.as_mut(), things)
        })
    }

    /// Gets a page, with a value and with what `fill` gives for each of its things. What was there is
    /// gone. Where there is no memory this ends the program, as a vector does.
    pub fn put(&mut self, page: usize, value: H, mut fill: impl FnMut(usize) -> T) {
        self.take(page);
        let (at, _) = region_of(page);
        if let Some(region @ None) = self.regions.get_mut(at) {
            *region = reserve(pages_of(at));
        }
        let Some(address) = self.address(page) else {
            handle_alloc_error(Layout::new::<[u8; PAGE]>());
        };
        // SAFETY: It is a page of memory, which is aligned for both types, has room for all this, and
        // which only `self` knows of. It is there once everything in it is.
        unsafe {
            let things = address.add(Self::THINGS).cast::<T>();
            for at in 0..Self::EACH {
                things.add(at).write(fill(at));
            }
            address.cast::<Head<H>>().write(Head {
                there: 1,
                value: MaybeUninit::new(value),
            });
        }
        self.end = self.end.max(page + 1);
    }

    /// Gives a page back, if it is there.
    pub fn take(&mut self, page: usize) {
        let Some((value, things)) = self.parts(page) else {
            return;
        };
        let Some(address) = self.address(page) else {
            return;
        };
        // SAFETY: `parts` says that it is there. From now on it is not, whatever may panic.
        unsafe {
            (*address.cast::<Head<H>>().as_ptr()).there = 0;
            value.drop_in_place();
            ptr::slice_from_raw_parts_mut(things.as_ptr(), Self::EACH).drop_in_place();
        }
        give_back(address);
    }
}

impl<H, T> Drop for Pages<H, T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<(H, T)>() {
            (0..self.end).for_each(|page| self.take(page));
        }
        for (at, region) in self.regions.iter().enumerate() {
            if let Some(start) = region {
                // SAFETY: By the invariant it is such a mapping, and nobody uses it any more.
                unsafe { libc::munmap(start.as_ptr().cast(), pages_of(at) * PAGE) };
            }
        }
    }
}

// SAFETY: It owns what is in it, and nothing but that.
unsafe impl<H: Send, T: Send> Send for Pages<H, T> {}
// SAFETY: As above: who shares it can but look.
unsafe impl<H: Sync, T: Sync> Sync for Pages<H, T> {}

/// Reserves addresses for some pages.
fn reserve(pages: usize) -> Option<NonNull<u8>> {
    let access = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: The system chooses where, so nothing that is there already is replaced.
    let start = unsafe { libc::mmap(ptr::null_mut(), pages * PAGE, access, flags, -1, 0) };
    if start == libc::MAP_FAILED {
        return None;
    }
    // In large pages it would be got, and cleared, in pieces of 2 MiB. Where the kernel has none this
    // fails, and need not be.
    // SAFETY: It is the mapping that was just made.
    unsafe { libc::madvise(start, pages * PAGE, libc::MADV_NOHUGEPAGE) };
    NonNull::new(start.cast())
}

/// Gives a page of a region back, of which nothing is needed any more.
fn give_back(page: NonNull<u8>) {
    // Where pages are larger, it is not for itself.
    // SAFETY: This looks a number up.
    if unsafe { libc::sysconf(libc::_SC_PAGESIZE) } == PAGE as libc::c_long {
        // SAFETY: The page is mapped, and only the caller knows of it. It is all zeroes after that.
        unsafe { libc::madvise(page.as_ptr().cast(), PAGE, libc::MADV_DONTNEED) };
    }
}
