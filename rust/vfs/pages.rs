// SPDX-License-Identifier: GPL-2.0

//! Memory that bytes are read to by somebody else than who asked for them.
//!
//! C headers: [`include/linux/uio.h`](srctree/include/linux/uio.h),
//! [`include/linux/mm.h`](srctree/include/linux/mm.h)

use crate::{
    bindings,
    vfs::{iov::UserBacked, later::Later, super_block::PAGE_SIZE},
};
use core::ptr;
use kernel::{
    iov::{IovIterDest, IovIterSource},
    prelude::*,
    sync::Arc,
};

/// How many pages are dealt with in one go.
const BATCH: usize = 32;

/// Pages to which bytes are read: a task's memory, which is pinned, or what the kernel gave.
///
/// # Invariants
///
/// Each part is a range within a page, which may be written to as long as this lives: the page is
/// pinned when `lender` is `None`, and else stays until the read that `lender` stands for ends.
pub(crate) struct Pages {
    parts: KVVec<Part>,
    len: usize,
    lender: Option<Arc<Later>>,
}

struct Part {
    page: *mut bindings::page,
    offset: u32,
    len: u32,
}

// SAFETY: Pages belong to no thread.
unsafe impl Send for Pages {}
// SAFETY: The contents change only through `&mut self`.
unsafe impl Sync for Pages {}

impl Pages {
    /// The next of the pages that `iov` runs over, which advances past them: up to `max_pages` for up to
    /// `most` bytes. There are fewer when a task's memory is not there beyond them. Memory that is no
    /// task's stays until the read that `later` stands for ends, and must be what that is to read to.
    /// May sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT` when there are none but should be; `EINVAL` when it is no task's memory, and nobody
    /// keeps it; `ENOMEM`.
    pub(crate) fn next(
        iov: &mut IovIterDest<'_>,
        most: usize,
        max_pages: usize,
        later: Option<&Arc<Later>>,
    ) -> Result<Self> {
        let lender = match later {
            _ if iov.is_user_backed() => None,
            Some(later) => Some(later.clone()),
            None => return Err(EINVAL),
        };
        let most_pages = c_int::try_from(max_pages).unwrap_or(c_int::MAX);
        // SAFETY: The iterator is valid.
        let room = unsafe { bindings::iov_iter_npages(iov.as_raw(), most_pages) };
        // INVARIANT: There are none yet.
        let mut pages = Self {
            parts: KVVec::with_capacity(room as usize, GFP_KERNEL)?,
            len: 0,
            lender,
        };
        while pages.len < most && pages.parts.len() < room as usize {
            let batch = BATCH.min(room as usize - pages.parts.len());
            match pages.extract(iov, most - pages.len, batch) {
                Err(err) if pages.len == 0 => return Err(err),
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        if pages.len == 0 {
            return Err(EFAULT);
        }
        Ok(pages)
    }

    /// Adds up to `batch` pages, no more than [`BATCH`], for which there is room; returns how many bytes.
    fn extract(&mut self, iov: &mut IovIterDest<'_>, most: usize, batch: usize) -> Result<usize> {
        let mut found = [ptr::null_mut(); BATCH];
        let mut found_at = found.as_mut_ptr();
        let mut offset = 0;
        // SAFETY: The iterator is valid, and there is room for as many pages.
        let got = unsafe {
            bindings::iov_iter_extract_pages(
                iov.as_raw(),
                &mut found_at,
                most,
                batch as c_uint,
                0,
                &mut offset,
            )
        };
        let got = usize::try_from(got).map_err(|_| Error::from_errno(got as c_int))?;
        let mut left = got;
        for page in found {
            if left == 0 {
                break;
            }
            let len = left.min(PAGE_SIZE - offset);
            // INVARIANT: Task's memory has been pinned just now. Other memory stays as long as the
            // iterator is used, which is until the read ends: `next` has no other.
            // CAST: Within a page.
            let part = Part {
                page,
                offset: offset as u32,
                len: len as u32,
            };
            // There is room for it.
            self.parts.push(part, GFP_KERNEL)?;
            self.len += len;
            left -= len;
            offset = 0;
        }
        Ok(got)
    }

    /// How many bytes there is room for.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Copies up to `len` bytes of `iter` there, from the first on; returns how many there were. It is
    /// fewer than `len` only when `iter` ends or, being user memory, faults. May sleep.
    pub(super) fn copy_from_iter(&mut self, iter: &mut IovIterSource<'_>, len: usize) -> usize {
        let mut copied = 0;
        for part in &self.parts {
            let want = (part.len as usize).min(len - copied);
            if want == 0 {
                break;
            }
            // SAFETY: By the type invariant the range is within the page and ours to write.
            let done = unsafe {
                let done = bindings::copy_page_from_iter(
                    part.page,
                    part.offset as usize,
                    want,
                    iter.as_raw(),
                );
                bindings::flush_dcache_page(part.page);
                done
            };
            copied += done;
            if done < want {
                break;
            }
        }
        copied
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if self.lender.is_some() {
            return;
        }
        for parts in self.parts.chunks(BATCH) {
            let mut pages = [ptr::null_mut(); BATCH];
            for (page, part) in pages.iter_mut().zip(parts) {
                *page = part.page;
            }
            // SAFETY: By the type invariant they are pinned, and nobody else gives them up.
            unsafe {
                bindings::unpin_user_pages_dirty_lock(pages.as_mut_ptr(), parts.len(), true);
            }
        }
    }
}
