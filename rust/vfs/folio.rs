// SPDX-License-Identifier: GPL-2.0

//! Parts of folios of the page cache: while they are being read, and while their contents are sent
//! somewhere.
//!
//! C headers: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use crate::bindings;
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    iov::{IovIterDest, IovIterSource},
    page::PAGE_SIZE,
    prelude::*,
};

/// Where in a folio the byte at `position` of the file is, which it holds.
///
/// # Safety
///
/// `folio` must be valid.
pub(super) unsafe fn offset_in(folio: *mut bindings::folio, position: u64) -> usize {
    // SAFETY: By the function's contract.
    offset_within(unsafe { bindings::folio_size(folio) }, position)
}

/// The same, of a folio of that size, in bytes.
pub(super) fn offset_within(size: usize, position: u64) -> usize {
    // CAST: `usize` has 64 bits. Sizes of folios are powers of two.
    position as usize & (size - 1)
}

/// A part of a folio of the page cache, most often all of it, that waits for its contents: locked, not
/// up to date, and owned, so it may travel in a request and be filled by another task than the one
/// that asked for it.
///
/// It ends with [`end_read`](Self::end_read), which says whether the contents are there; when
/// dropped, they are not, and who waits for them gets `EIO` or tries again.
///
/// # Invariants
///
/// The folio is in the page cache, locked until this value and those for its other parts have ended,
/// and this value owns a reference to it. `offset` and `len` are a range within the folio, which is
/// not up to date, and in no other value.
pub(crate) struct LockedFolio {
    folio: NonNull<bindings::folio>,
    offset: usize,
    len: usize,
}

// SAFETY: A folio's lock and references belong to no thread.
unsafe impl Send for LockedFolio {}
// SAFETY: The contents change only through `&mut self`.
unsafe impl Sync for LockedFolio {}

impl LockedFolio {
    /// Takes over a part of a folio from the C side.
    ///
    /// # Safety
    ///
    /// The folio must be in the page cache and locked, and the range be within it and not up to date;
    /// the caller leaves it to this value to end reading it.
    pub(super) unsafe fn part_of(
        folio: NonNull<bindings::folio>,
        offset: usize,
        len: usize,
    ) -> Self {
        // SAFETY: The caller has the folio.
        unsafe { bindings::folio_get(folio.as_ptr()) };
        // INVARIANT: By the function's contract; the reference has just been taken.
        Self { folio, offset, len }
    }

    /// Where in the file it begins, in bytes.
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: The folio is valid by the type invariant, and its place is constant while locked.
        // CAST: A position in a file is not negative.
        unsafe { bindings::folio_pos(self.folio.as_ptr()) as u64 + self.offset as u64 }
    }

    /// How many bytes it holds.
    pub(crate) fn size(&self) -> usize {
        self.len
    }

    /// Copies up to `len` bytes of `iter` to `offset` in it; returns how many there were. It
    /// is fewer than `len` only when `iter` ends or, being user memory, faults. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the range is not within it.
    pub(crate) fn copy_from_iter(
        &mut self,
        offset: usize,
        iter: &mut IovIterSource<'_>,
        len: usize,
    ) -> Result<usize> {
        self.check_range(offset, len)?;
        // SAFETY: The range is within the part, which is ours to write until it is up to date.
        Ok(unsafe {
            bindings::copy_folio_from_iter(
                self.folio.as_ptr(),
                self.offset + offset,
                len,
                iter.as_raw(),
            )
        })
    }

    /// Fills a range with zeroes.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the range is not within it.
    pub(crate) fn zero_range(&mut self, offset: usize, len: usize) -> Result {
        self.check_range(offset, len)?;
        if len > 0 {
            // SAFETY: The range is within the part, which is ours to write until it is up to date.
            unsafe { bindings::folio_zero_range(self.folio.as_ptr(), self.offset + offset, len) };
        }
        Ok(())
    }

    /// Whether it is a whole folio, whose place another could take.
    pub(super) fn may_be_replaced(&self) -> bool {
        let folio = self.folio.as_ptr();
        // SAFETY: The folio is valid by the type invariant.
        unsafe {
            self.len == bindings::folio_size(folio)
                && !bindings::folio_mapped(folio)
                && bindings::folio_flags_of(folio) & bindings::FOLIO_FLAGS_IN_USE == 0
        }
    }

    /// Puts `new` into the page cache in place of this folio; whether that could be done. It cannot
    /// when `new` is of another size or is still used for something.
    ///
    /// # Safety
    ///
    /// `new` must be a valid folio that the caller has locked and to which nobody else has a reference,
    /// and `on_lru` must say whether it is in a list of the page reclaim. [`may_be_replaced`] must have
    /// said that this one may. On success the lock is no longer the caller's, the reference still is.
    ///
    /// [`may_be_replaced`]: Self::may_be_replaced
    pub(super) unsafe fn replace(&mut self, new: NonNull<bindings::folio>, on_lru: bool) -> bool {
        let (old, new) = (self.folio.as_ptr(), new.as_ptr());
        // SAFETY: Both folios are valid.
        let fits = unsafe {
            bindings::folio_size(old) == PAGE_SIZE
                && bindings::folio_size(new) == PAGE_SIZE
                && !bindings::folio_mapped(new)
                && bindings::folio_mapping_of(new).is_null()
                && bindings::folio_flags_of(new) & bindings::FOLIO_FLAGS_NOT_FREE == 0
        };
        if !fits {
            return false;
        }
        // SAFETY: Both folios are valid and locked, the old one is in the page cache, the new one in
        // none and unused. The page cache takes a reference to the new folio, drops its own to the old
        // one, and this value does likewise.
        unsafe {
            bindings::folio_clear_uptodate(new);
            bindings::folio_clear_mappedtodisk(new);
            bindings::replace_page_cache_folio(old, new);
            bindings::folio_get(new);
            if !on_lru {
                bindings::folio_add_lru(new);
            }
            bindings::folio_unlock(old);
            bindings::folio_put(old);
        }
        // INVARIANT: The new folio is in the page cache, locked, not up to date, and the reference that
        // was just taken is ours.
        // SAFETY: It came from a `NonNull`.
        self.folio = unsafe { NonNull::new_unchecked(new) };
        true
    }

    /// Ends reading it: the contents are what was copied there if `success`, else not valid. With its
    /// last part the folio is unlocked.
    pub(crate) fn end_read(self, success: bool) {
        ManuallyDrop::new(self).finish(success);
    }

    /// `EINVAL` unless the range is within it.
    fn check_range(&self, offset: usize, len: usize) -> Result {
        match offset.checked_add(len) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(EINVAL),
        }
    }

    /// Ends the read. Nothing may be done with the value afterwards.
    fn finish(&mut self, success: bool) {
        let folio = self.folio.as_ptr();
        let error = if success { 0 } else { EIO.to_errno() };
        // SAFETY: By the type invariant the folio is locked and the range not up to date, and there is
        // a reference to give up; the callers make sure that this happens once.
        unsafe {
            if success {
                bindings::flush_dcache_folio(folio);
            }
            bindings::iomap_finish_folio_read(folio, self.offset, self.len, error);
            bindings::folio_put(folio);
        }
    }
}

impl Drop for LockedFolio {
    fn drop(&mut self) {
        self.finish(false);
    }
}

/// A part of a folio of the page cache whose contents are sent somewhere. It owns what is held of the
/// folio meanwhile, so it may travel in a request; who has the file mapped may change the contents
/// still.
///
/// # Invariants
///
/// This value owns a reference to the folio, and what `hold` says. `offset` and `len` are a range
/// within the folio.
pub(crate) struct FolioPart {
    folio: NonNull<bindings::folio>,
    offset: usize,
    len: usize,
    hold: Hold,
}

/// What is held of a folio, beside a reference to it.
pub(super) enum Hold {
    /// Nothing: all of it can be used.
    Reference,
    /// The lock: what is not sent of it has not been read yet.
    Lock,
    /// The part is being written back.
    Writeback,
}

// SAFETY: A folio's lock and references belong to no thread.
unsafe impl Send for FolioPart {}
// SAFETY: The contents are only copied by the C side, which may be done by several at once.
unsafe impl Sync for FolioPart {}

impl FolioPart {
    /// Takes over a folio from the C side.
    ///
    /// # Safety
    ///
    /// The caller hands over a reference to the folio, and what `hold` says; the range must be within
    /// the folio.
    pub(super) unsafe fn from_raw(
        folio: NonNull<bindings::folio>,
        offset: usize,
        len: usize,
        hold: Hold,
    ) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            folio,
            offset,
            len,
            hold,
        }
    }

    /// How many bytes it is.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Whether the folio is locked for as long as this lives.
    pub(super) fn is_locked(&self) -> bool {
        matches!(self.hold, Hold::Lock)
    }

    /// Whether the folio ends where the part does.
    pub(super) fn is_at_end(&self) -> bool {
        // SAFETY: The folio is valid by the type invariants.
        self.offset + self.len == unsafe { bindings::folio_size(self.folio.as_ptr()) }
    }

    /// Waits until what the folio held earlier has been written. Sleeps.
    pub(super) fn wait_for_writeback(&self) {
        // SAFETY: The folio is valid by the type invariants.
        unsafe { bindings::folio_wait_writeback(self.folio.as_ptr()) };
    }

    /// Copies the first `len` bytes to `iter`; returns how many. It is fewer than `len` only when
    /// `iter` ends or, being user memory, faults. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there are not so many.
    pub(crate) fn copy_to_iter(&self, iter: &mut IovIterDest<'_>, len: usize) -> Result<usize> {
        if len > self.len {
            return Err(EINVAL);
        }
        // SAFETY: The range is within the folio by the type invariants.
        Ok(unsafe {
            bindings::copy_folio_to_iter(self.folio.as_ptr(), self.offset, len, iter.as_raw())
        })
    }

    /// The pages that the first `len` bytes lie in, with a reference to each.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the part is not that long.
    pub(super) fn pages(&self, len: usize) -> Result<impl Iterator<Item = PagePart> + '_> {
        if len > self.len {
            return Err(EINVAL);
        }
        let (mut at, end) = (self.offset, self.offset + len);
        Ok(core::iter::from_fn(move || {
            let (number, offset) = (at / PAGE_SIZE, at % PAGE_SIZE);
            let len = (end - at).min(PAGE_SIZE - offset);
            at += len;
            // SAFETY: The folio is valid, and long enough to have such a page.
            let page = || unsafe { bindings::folio_get_page(self.folio.as_ptr(), number) };
            // INVARIANT: This is the reference that was just taken.
            (len > 0).then(|| PagePart {
                page: page(),
                offset,
                len,
            })
        }))
    }
}

impl Drop for FolioPart {
    fn drop(&mut self) {
        let folio = self.folio.as_ptr();
        // SAFETY: By the type invariants there is all of that to give up. A folio stays in the page
        // cache, and its inode with it, while it is being written back.
        unsafe {
            match self.hold {
                Hold::Reference => {}
                Hold::Lock => bindings::folio_unlock(folio),
                Hold::Writeback => {
                    let mapping = bindings::folio_mapping_of(folio);
                    bindings::iomap_finish_folio_write((*mapping).host, folio, self.len);
                }
            }
            bindings::folio_put(folio);
        }
    }
}

/// A part of a page that is in a folio.
///
/// # Invariants
///
/// This value owns a reference to the page, and the range is within it.
pub(super) struct PagePart {
    page: *mut bindings::page,
    pub(super) offset: usize,
    pub(super) len: usize,
}

// SAFETY: A reference to a page belongs to no thread.
unsafe impl Send for PagePart {}

impl PagePart {
    /// Gives the page, with the reference.
    pub(super) fn into_page(self) -> *mut bindings::page {
        ManuallyDrop::new(self).page
    }
}

impl Drop for PagePart {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is such a reference.
        unsafe { bindings::put_page(self.page) };
    }
}
