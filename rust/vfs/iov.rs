// SPDX-License-Identifier: GPL-2.0

//! Bytes that a task writes to a file, wherever they are: in its memory, or in buffers of a pipe.
//!
//! C headers: [`include/linux/uio.h`](srctree/include/linux/uio.h)

use crate::{
    bindings,
    vfs::{
        folio::{FolioPart, LockedFolio},
        pages::Pages,
        pipe::Spliced,
    },
};
use kernel::{
    iov::{IovIterDest, IovIterSource},
    prelude::*,
};

/// Where the bytes of an iterator are.
pub(crate) trait UserBacked {
    /// Whether they are in the memory of a task. Others, such as the buffers that io_uring keeps
    /// registered, are pages of the kernel or pinned ones.
    fn is_user_backed(&mut self) -> bool;
}

impl UserBacked for IovIterSource<'_> {
    fn is_user_backed(&mut self) -> bool {
        // SAFETY: The iterator is valid by its invariants.
        is_user_backed(unsafe { (*self.as_raw()).iter_type })
    }
}

impl UserBacked for IovIterDest<'_> {
    fn is_user_backed(&mut self) -> bool {
        // SAFETY: The iterator is valid by its invariants.
        is_user_backed(unsafe { (*self.as_raw()).iter_type })
    }
}

/// Copying bytes for somebody who will keep them.
pub(crate) trait PeekBytes {
    /// The next bytes, as many as there are but `most`; who has used them must
    /// [advance](IovIterSource::advance) past them. Fewer when the memory of a task is not there
    /// beyond them. May sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT` when there are none but should be, `ENOMEM`.
    fn peek_bytes(&mut self, most: usize) -> Result<KVVec<u8>>;
}

impl PeekBytes for IovIterSource<'_> {
    fn peek_bytes(&mut self, most: usize) -> Result<KVVec<u8>> {
        let len = self.len().min(most);
        let mut bytes = KVVec::with_capacity(len, GFP_KERNEL_ACCOUNT)?;
        let room = bytes.spare_capacity_mut().get_mut(..len).ok_or(ENOMEM)?;
        let copied = self.copy_from_iter_raw(room).len();
        // SAFETY: So many bytes of the room, which is that large, have been filled, by reading as many
        // from the iterator.
        unsafe {
            bytes.inc_len(copied);
            self.revert(copied);
        }
        if copied == 0 && len > 0 {
            return Err(EFAULT);
        }
        Ok(bytes)
    }
}

fn is_user_backed(kind: u8) -> bool {
    let kind = u32::from(kind);
    kind == bindings::iter_type_ITER_UBUF || kind == bindings::iter_type_ITER_IOVEC
}

/// Does something with page faults off: bytes of a task's memory that are not there are not brought
/// in, but end the copy.
pub(crate) fn without_faults<R>(act: impl FnOnce() -> R) -> R {
    // SAFETY: Faults are on again below; `act` does not return otherwise than to here.
    unsafe { bindings::pagefault_disable() };
    let result = act();
    // SAFETY: Turned off above.
    unsafe { bindings::pagefault_enable() };
    result
}

/// Where a task reads to: an iterator over its memory.
///
/// # Invariants
///
/// `iter` has advanced by `total` less what is left of it, since this was made.
pub(crate) struct Dest<'a, 'data> {
    iter: &'a mut IovIterDest<'data>,
    total: usize,
}

impl<'a, 'data> Dest<'a, 'data> {
    /// What read(2) gives.
    pub(crate) fn new(iter: &'a mut IovIterDest<'data>) -> Self {
        let total = iter.len();
        // INVARIANT: It has not advanced yet.
        Dest { iter, total }
    }

    /// How many bytes there is room for.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.iter.len()
    }

    /// Copies all of `bytes`. May sleep, unless faults are [off](without_faults). `EFAULT` when the
    /// memory is not there.
    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result {
        match self.iter.copy_to_iter(bytes) == bytes.len() {
            true => Ok(()),
            false => Err(EFAULT),
        }
    }

    /// Copies the first `len` bytes of a part of a folio. As [`put`](Self::put); `EINVAL` when there
    /// are not so many.
    pub(crate) fn put_folio(&mut self, part: &FolioPart, len: usize) -> Result {
        match part.copy_to_iter(self.iter, len)? == len {
            true => Ok(()),
            false => Err(EFAULT),
        }
    }

    /// Begins again from the first of `len` bytes, after a copy of them has ended early: makes sure
    /// that the rest of the memory is there, for now. Sleeps. `EFAULT` when it cannot be had.
    pub(crate) fn again(&mut self, len: usize) -> Result {
        let done = self.total - self.iter.len();
        let rest = len.saturating_sub(done);
        // SAFETY: The iterator is valid.
        if unsafe { bindings::fault_in_iov_iter_writeable(self.iter.as_raw(), rest) } != 0 {
            return Err(EFAULT);
        }
        // SAFETY: By the type invariant, this goes back to where it was at first.
        unsafe { self.iter.revert(done) };
        Ok(())
    }
}

/// What a task writes: an iterator, and the pipe's buffers when that is what it runs over.
///
/// # Invariants
///
/// `iter` has advanced by `total` less what is left of it, since this was made.
pub(crate) struct Source<'a, 'data> {
    iter: &'a mut IovIterSource<'data>,
    total: usize,
    spliced: Option<&'a mut Spliced<'data>>,
}

impl<'a, 'data> Source<'a, 'data> {
    /// What write(2) gives.
    pub(crate) fn new(iter: &'a mut IovIterSource<'data>) -> Self {
        // INVARIANT: It has not advanced yet.
        Source {
            total: iter.len(),
            iter,
            spliced: None,
        }
    }

    /// What splice(2) gives: `iter` runs over the good ones of these buffers, and has not begun.
    pub(super) fn over(
        iter: &'a mut IovIterSource<'data>,
        spliced: &'a mut Spliced<'data>,
    ) -> Self {
        // INVARIANT: It has not advanced yet.
        Source {
            total: iter.len(),
            iter,
            spliced: Some(spliced),
        }
    }

    /// How many bytes there are left, though not all of them need turn out to be readable.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        let bad = self.spliced.as_ref().map_or(0, |spliced| spliced.bad());
        self.iter.len() + bad
    }

    /// Copies the next bytes, as many as `to` has. May sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT` when there are fewer or the memory is not there; for a pipe's buffer whose contents
    /// are not there, what the pipe says, most often `EIO` or `ENODATA`.
    #[inline]
    pub(crate) fn copy(&mut self, to: &mut [u8]) -> Result {
        let copied = self.iter.copy_from_iter(to);
        self.check(copied, to.len())
    }

    /// Appends all that is left to `to`. May sleep. Errors as [`copy`](Self::copy), and `ENOMEM`.
    pub(crate) fn append_to(&mut self, to: &mut KVVec<u8>) -> Result {
        let len = self.len();
        let copied = self.iter.copy_from_iter_vec(to, GFP_KERNEL)?;
        self.check(copied, len)
    }

    /// Fills the first `len` bytes of `folio` with the next bytes: by putting the page of the pipe in
    /// its place where that can be done, else by copying. May sleep. Errors as [`copy`](Self::copy),
    /// and `EINVAL` when the folio is not so large.
    pub(crate) fn fill(&mut self, folio: &mut LockedFolio, len: usize) -> Result {
        if let Some(spliced) = &mut self.spliced {
            if len == folio.size() && spliced.try_move(self.iter.len(), folio) {
                self.iter.advance(len);
                return Ok(());
            }
        }
        let copied = folio.copy_from_iter(0, self.iter, len)?;
        self.check(copied, len)
    }

    /// Fills the first `len` bytes of `pages` with the next bytes. May sleep. Errors as
    /// [`copy`](Self::copy).
    pub(crate) fn fill_pages(&mut self, pages: &mut Pages, len: usize) -> Result {
        let copied = pages.copy_from_iter(self.iter, len);
        self.check(copied, len)
    }

    /// Copies the next bytes to the `len` bytes at `offset` in a folio of the page cache, all of them;
    /// whether that could be done. It cannot where the memory is not there yet. Does not sleep.
    ///
    /// # Safety
    ///
    /// The folio must be valid and locked by the caller, and the range within it.
    pub(super) unsafe fn copy_to_folio(
        &mut self,
        folio: *mut bindings::folio,
        offset: usize,
        len: usize,
    ) -> bool {
        // SAFETY: By the function's contract; the iterator is valid, and goes back no further than
        // it came.
        unsafe {
            let copied =
                bindings::copy_folio_from_iter_atomic(folio, offset, len, self.iter.as_raw());
            if copied < len {
                self.iter.revert(copied);
            }
            copied == len
        }
    }

    /// Makes sure that the next `len` bytes can be copied without sleeping, for now. Sleeps. Errors as
    /// [`copy`](Self::copy).
    pub(super) fn fault_in(&mut self, len: usize) -> Result {
        // SAFETY: The iterator is valid.
        let missing = unsafe { bindings::fault_in_iov_iter_readable(self.iter.as_raw(), len) };
        let there = if missing == 0 { self.iter.len() } else { 0 };
        self.check(there.min(len), len)
    }

    /// Begins again from where `len` bytes were left, after a copy of them has ended early: makes sure
    /// that the rest of them can be had, for now. Sleeps. Errors as [`copy`](Self::copy).
    pub(crate) fn again(&mut self, len: usize) -> Result {
        if let Some(spliced) = &self.spliced {
            return Err(spliced.error());
        }
        let left = self.iter.len();
        self.fault_in(left)?;
        // SAFETY: By the type invariant, this goes back no further than it has come.
        unsafe { self.iter.revert(len.min(self.total).saturating_sub(left)) };
        Ok(())
    }

    fn check(&self, copied: usize, wanted: usize) -> Result {
        if copied == wanted {
            return Ok(());
        }
        Err(match &self.spliced {
            Some(spliced) => spliced.error(),
            None => EFAULT,
        })
    }
}
