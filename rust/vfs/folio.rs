// SPDX-License-Identifier: GPL-2.0

//! Folios of the page cache: while they are being read, and while their contents are sent somewhere.
//!
//! C headers: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use crate::bindings;
use core::{marker::PhantomData, mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    iov::{IovIterDest, IovIterSource},
    page::{Page, PAGE_SIZE},
    prelude::*,
};

/// A folio of the page cache that waits for its contents: locked, not up to date, and owned, so it
/// may travel in a request and be filled by another task than the one that asked for it.
///
/// It ends with [`end_read`](Self::end_read), which says whether the contents are there; when
/// dropped, they are not, and who waits for them gets `EIO` or tries again.
///
/// # Invariants
///
/// The folio is in the page cache, locked on behalf of this value, not up to date, and this value
/// owns a reference to it.
pub(crate) struct LockedFolio(NonNull<bindings::folio>);

// SAFETY: A folio's lock and references belong to no thread.
unsafe impl Send for LockedFolio {}
// SAFETY: The contents change only through `&mut self`.
unsafe impl Sync for LockedFolio {}

impl LockedFolio {
    /// Takes over a folio from the C side.
    ///
    /// # Safety
    ///
    /// The folio must be in the page cache, locked, and not up to date; the caller hands the lock and
    /// one reference over.
    unsafe fn from_raw(folio: NonNull<bindings::folio>) -> Self {
        // INVARIANT: By the function's contract.
        Self(folio)
    }

    /// Takes over the lock of the folio that `read_folio` is given, which holds a reference for the
    /// caller only until the lock is released.
    ///
    /// # Safety
    ///
    /// The folio must be the argument of `read_folio`, and nobody else must end the read.
    pub(super) unsafe fn from_read_folio(folio: *mut bindings::folio) -> Self {
        // SAFETY: The caller of `read_folio` holds a reference, to which this adds one.
        unsafe { bindings::folio_get(folio) };
        // SAFETY: `read_folio` gets a valid folio, so it is not null, locked and not up to date.
        unsafe { Self::from_raw(NonNull::new_unchecked(folio)) }
    }

    /// Where in the file the folio begins, in bytes.
    pub(crate) fn pos(&self) -> u64 {
        // SAFETY: The folio is valid by the type invariant, and its place is constant while locked.
        // CAST: A position in a file is not negative.
        unsafe { bindings::folio_pos(self.0.as_ptr()) as u64 }
    }

    /// How many bytes it holds: a power of two of pages.
    pub(crate) fn size(&self) -> usize {
        // SAFETY: The folio is valid by the type invariant.
        unsafe { bindings::folio_size(self.0.as_ptr()) }
    }

    /// Copies up to `len` bytes of `iter` to `offset` in the folio; returns how many there were. It
    /// is fewer than `len` only when `iter` ends or, being user memory, faults. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the range is not within the folio.
    pub(crate) fn copy_from_iter(
        &mut self,
        offset: usize,
        iter: &mut IovIterSource<'_>,
        len: usize,
    ) -> Result<usize> {
        self.check_range(offset, len)?;
        // SAFETY: The range is within the folio, which is ours to write until it is up to date.
        Ok(unsafe { bindings::copy_folio_from_iter(self.0.as_ptr(), offset, len, iter.as_raw()) })
    }

    /// Fills a range with zeroes.
    ///
    /// # Errors
    ///
    /// `EINVAL` when the range is not within the folio.
    pub(crate) fn zero_range(&mut self, offset: usize, len: usize) -> Result {
        self.check_range(offset, len)?;
        // SAFETY: The range is within the folio, which is ours to write until it is up to date.
        unsafe { bindings::folio_zero_range(self.0.as_ptr(), offset, len) };
        Ok(())
    }

    /// Whether another folio could take this one's place.
    pub(super) fn may_be_replaced(&self) -> bool {
        let folio = self.0.as_ptr();
        // SAFETY: The folio is valid by the type invariant.
        unsafe {
            !bindings::folio_mapped(folio)
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
        let (old, new) = (self.0.as_ptr(), new.as_ptr());
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
        self.0 = unsafe { NonNull::new_unchecked(new) };
        true
    }

    /// Unlocks the folio; its contents are what was copied there if `success`, else not valid.
    pub(crate) fn end_read(self, success: bool) {
        ManuallyDrop::new(self).finish(success);
    }

    /// `EINVAL` unless the range is within the folio.
    fn check_range(&self, offset: usize, len: usize) -> Result {
        match offset.checked_add(len) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(EINVAL),
        }
    }

    /// Ends the read. Nothing may be done with the value afterwards.
    fn finish(&mut self, success: bool) {
        if success {
            // SAFETY: The folio is valid by the type invariant.
            unsafe { bindings::flush_dcache_folio(self.0.as_ptr()) };
        }
        // SAFETY: By the type invariant the folio is locked by us and not up to date, and there is a
        // reference to give up; the callers make sure that this happens once.
        unsafe {
            bindings::folio_end_read(self.0.as_ptr(), success);
            bindings::folio_put(self.0.as_ptr());
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

    /// Copies the `len` bytes from the offset `from` on to the offset `at` in `page`.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there are not so many in one of them.
    ///
    /// # Safety
    ///
    /// Nobody else may use that range of the page at the same time.
    pub(super) unsafe fn copy_to_page(
        &self,
        from: usize,
        page: &Page,
        at: usize,
        len: usize,
    ) -> Result {
        let fits = |offset: usize, size| offset.checked_add(len).is_some_and(|end| end <= size);
        if !fits(from, self.len) || !fits(at, PAGE_SIZE) {
            return Err(EINVAL);
        }
        // SAFETY: Both ranges are within their folios, of which a page that was allocated is one.
        unsafe {
            bindings::memcpy_folio(
                bindings::page_folio_of(page.as_ptr()),
                at,
                self.folio.as_ptr(),
                self.offset + from,
                len,
            );
        }
        Ok(())
    }
}

impl Drop for FolioPart {
    fn drop(&mut self) {
        let folio = self.folio.as_ptr();
        // SAFETY: By the type invariants there is all of that to give up.
        unsafe {
            match self.hold {
                Hold::Reference => {}
                Hold::Lock => bindings::folio_unlock(folio),
            }
            bindings::folio_put(folio);
        }
    }
}

/// The part of a file that the page cache wants read ahead, one folio at a time. Folios that are
/// left when this goes are given back unread.
///
/// # Invariants
///
/// The pointer is to the control structure of a running readahead.
pub(crate) struct Readahead<'a> {
    control: NonNull<bindings::readahead_control>,
    _call: PhantomData<&'a mut bindings::readahead_control>,
}

impl Readahead<'_> {
    /// The readahead that the C side asks for.
    ///
    /// # Safety
    ///
    /// `control` must be the argument of `readahead`, used through the returned value only, and not
    /// after the call.
    pub(super) unsafe fn from_raw(control: *mut bindings::readahead_control) -> Self {
        Self {
            // INVARIANT: By the function's contract.
            // SAFETY: `readahead` gets a valid pointer.
            control: unsafe { NonNull::new_unchecked(control) },
            _call: PhantomData,
        }
    }

    /// Whether nobody waits for any of the folios yet.
    pub(crate) fn is_speculative(&self) -> bool {
        // SAFETY: Valid by the type invariant.
        unsafe { bindings::readahead_is_speculative(self.control.as_ptr()) }
    }
}

impl Iterator for Readahead<'_> {
    type Item = LockedFolio;

    fn next(&mut self) -> Option<LockedFolio> {
        // SAFETY: Valid by the type invariant.
        let folio = unsafe { bindings::readahead_folio_locked(self.control.as_ptr()) };
        // SAFETY: The C side hands over folios that it has just put into the page cache, locked,
        // with a reference.
        NonNull::new(folio).map(|folio| unsafe { LockedFolio::from_raw(folio) })
    }
}
