// SPDX-License-Identifier: GPL-2.0

//! The text of symbolic links: in memory of its own, or in the page cache.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use crate::{
    bindings,
    vfs::{filesystem::FileSystem, inode::INode},
};
use core::{mem::ManuallyDrop, ptr::NonNull};
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
};

/// The text of a symbolic link, which ends with its first zero byte.
pub(crate) enum Link {
    /// In memory of its own.
    Owned(KVec<u8>),
    /// In the page cache.
    Cached(LinkPage),
}

impl Link {
    /// Gives it to the C side, which calls `done` when it does not need it any more. `ENOMEM`.
    ///
    /// # Safety
    ///
    /// `done` must be the caller's to set.
    pub(super) unsafe fn into_raw(
        self,
        done: *mut bindings::delayed_call,
    ) -> Result<*const c_char> {
        match self {
            Self::Owned(mut text) => {
                text.push(0, GFP_KERNEL)?;
                let (text, _, _) = text.into_raw_parts();
                // SAFETY: By the function's contract; the memory is `kfree`'s.
                unsafe {
                    bindings::set_delayed_call(done, Some(bindings::kfree_link), text.cast());
                }
                Ok(text.cast())
            }
            Self::Cached(page) => {
                let folio = ManuallyDrop::new(page).0.as_ptr();
                // SAFETY: By the function's contract, and `page_put_link` gives up the reference that
                // was the page's. Its memory is mapped: `NewINode::set_symlink` sees to that.
                unsafe {
                    bindings::set_delayed_call(done, Some(bindings::page_put_link), folio.cast());
                    Ok(bindings::folio_address(folio).cast())
                }
            }
        }
    }
}

/// A page with the text of a symbolic link. It may be in the page cache no longer.
///
/// # Invariants
///
/// This value owns a reference to a folio that is up to date, that was in the page cache of a symbolic
/// link, and whose last byte is zero. Nobody writes to it any more.
pub(crate) struct LinkPage(NonNull<bindings::folio>);

impl Drop for LinkPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there is a reference to give up.
        unsafe { bindings::folio_put(self.0.as_ptr()) };
    }
}

/// A page that is to have the text of a symbolic link, locked.
///
/// # Invariants
///
/// The folio is in the page cache of a symbolic link and locked on behalf of this value, which owns a
/// reference to it.
struct LockedLink(NonNull<bindings::folio>);

impl LockedLink {
    fn is_filled(&self) -> bool {
        // SAFETY: The folio is valid by the type invariants.
        unsafe { bindings::folio_test_uptodate(self.0.as_ptr()) }
    }

    /// Fills it, if it is not filled yet. `EINVAL` when there is no room for a zero byte at the end.
    fn fill(&mut self, text: &[u8]) -> Result {
        let folio = self.0.as_ptr();
        // SAFETY: The folio is valid by the type invariants, and ours to write while it is locked and not
        // up to date; the ranges are within it.
        unsafe {
            let size = bindings::folio_size(folio);
            if text.len() >= size {
                return Err(EINVAL);
            }
            if !bindings::folio_test_uptodate(folio) {
                bindings::memcpy_to_folio(folio, 0, text.as_ptr().cast(), text.len());
                bindings::folio_zero_range(folio, text.len(), size - text.len());
                bindings::folio_mark_uptodate(folio);
            }
        }
        Ok(())
    }

    /// Unlocks it. `EIO` when it is not filled.
    fn into_page(self) -> Result<LinkPage> {
        if !self.is_filled() {
            return Err(EIO);
        }
        // SAFETY: By the type invariants there is a reference to the folio.
        unsafe { bindings::folio_get(self.0.as_ptr()) };
        // INVARIANT: The reference is the page's. Only `fill` writes to what is in the page cache of a
        // symbolic link, before that is up to date, and the last byte that it writes is zero.
        Ok(LinkPage(self.0))
    }
}

impl Drop for LockedLink {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there are both to give up.
        unsafe {
            bindings::folio_unlock(self.0.as_ptr());
            bindings::folio_put(self.0.as_ptr());
        }
    }
}

impl<T: FileSystem> INode<T> {
    /// The text of this symbolic link, if it is in the page cache. Does not sleep.
    pub(crate) fn cached_link(&self) -> Option<LinkPage> {
        if !self.is_symlink() {
            return None;
        }
        // SAFETY: The inode and its mapping are valid.
        let folio = unsafe { bindings::filemap_get_folio((*self.as_ptr()).i_mapping, 0) };
        let folio = NonNull::new(from_err_ptr(folio).ok()?)?;
        // SAFETY: There is a reference to the folio.
        unsafe {
            if !bindings::folio_test_uptodate(folio.as_ptr()) {
                bindings::folio_put(folio.as_ptr());
                return None;
            }
        }
        // INVARIANT: As in `LockedLink::into_page`.
        Some(LinkPage(folio))
    }

    /// The text of this symbolic link, which is what `read` gives where it is not in the page cache yet:
    /// then it is from now on, and who wants it meanwhile waits. Sleeps.
    ///
    /// # Errors
    ///
    /// Those of `read`; `EINTR` on a fatal signal, `ENOMEM`; `EINVAL` when the text is longer than a page
    /// less one byte, or when this is no symbolic link.
    pub(crate) fn link_through_page_cache(
        &self,
        read: impl FnOnce() -> Result<KVVec<u8>>,
    ) -> Result<LinkPage> {
        let mut link = self.lock_link()?;
        if !link.is_filled() {
            link.fill(&read()?)?;
        }
        link.into_page()
    }

    fn lock_link(&self) -> Result<LockedLink> {
        if !self.is_symlink() {
            return Err(EINVAL);
        }
        loop {
            // SAFETY: The inode and its mapping are valid. There is a reference to what is found, which
            // is given up where it cannot be locked, or is not in the page cache any more.
            unsafe {
                let mapping = (*self.as_ptr()).i_mapping;
                let folio = from_err_ptr(bindings::filemap_get_folio_to_lock(mapping, 0))?;
                let folio = NonNull::new(folio).ok_or(ENOMEM)?;
                if let Err(err) = to_result(bindings::folio_lock_killable(folio.as_ptr())) {
                    bindings::folio_put(folio.as_ptr());
                    return Err(err);
                }
                if bindings::folio_mapping_of(folio.as_ptr()) == mapping {
                    // INVARIANT: It is in that page cache, and the lock and the reference are ours.
                    return Ok(LockedLink(folio));
                }
                bindings::folio_unlock(folio.as_ptr());
                bindings::folio_put(folio.as_ptr());
            }
        }
    }
}
