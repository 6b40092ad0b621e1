// SPDX-License-Identifier: GPL-2.0

//! The page cache, seen from outside of reads and writes: what is in it, and putting something there.
//!
//! C headers: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use crate::{
    bindings,
    vfs::{
        address_space::page_index,
        filesystem::FileSystem,
        folio::{offset_in, FolioPart, Hold},
        inode::INode,
        iov::Source,
        super_block::PAGE_SIZE,
    },
};
use core::ptr::NonNull;
use kernel::{error::from_err_ptr, prelude::*};

impl<T: FileSystem> INode<T> {
    /// Puts the next `len` bytes of `from` into the page cache, at `position` in the file. A folio
    /// that was not there can be used afterwards if it has been filled, or filled from its beginning to
    /// `end`, which is where the file ends. Sleeps, also for folios that are being read.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `EFAULT`, or what a pipe says of its contents; what comes before them is there.
    pub(crate) fn store_in_page_cache(
        &self,
        mut position: u64,
        from: &mut Source<'_, '_>,
        mut len: usize,
        end: u64,
    ) -> Result {
        while len > 0 {
            // SAFETY: The inode and its mapping are valid.
            let folio = from_err_ptr(unsafe {
                bindings::filemap_get_folio_to_write(
                    (*self.as_ptr()).i_mapping,
                    page_index(position),
                )
            })?;
            // SAFETY: The folio is valid: we have a reference to it, and its lock.
            let (size, offset) =
                unsafe { (bindings::folio_size(folio), offset_in(folio, position)) };
            let want = len.min(size - offset);
            // SAFETY: As above, and the ranges are within the folio.
            let copied = unsafe {
                let copied = from.copy_to_folio(folio, offset, want);
                let is_filled = want == size || position + want as u64 == end;
                if copied && offset == 0 && is_filled && !bindings::folio_test_uptodate(folio) {
                    bindings::folio_zero_range(folio, want, size - want);
                    bindings::iomap_folio_mark_uptodate(folio);
                }
                bindings::flush_dcache_folio(folio);
                bindings::folio_unlock(folio);
                bindings::folio_put(folio);
                copied
            };
            if !copied {
                // Memory can be got only while no folio is locked: it may be a mapping of that one.
                from.fault_in(want)?;
                continue;
            }
            position += want as u64;
            len -= want;
        }
        Ok(())
    }

    /// What the page cache holds of the `len` bytes from `position` on, up to the first that it does
    /// not hold; at most `folios` folios. `ENOMEM`.
    pub(crate) fn cached_parts(
        &self,
        mut position: u64,
        mut len: usize,
        folios: usize,
    ) -> Result<KVec<FolioPart>> {
        let mut parts = KVec::new();
        while len > 0 && parts.len() < folios {
            // SAFETY: The inode and its mapping are valid.
            let folio = unsafe {
                bindings::filemap_get_folio((*self.as_ptr()).i_mapping, page_index(position))
            };
            let Some(folio) = from_err_ptr(folio).ok().and_then(NonNull::new) else {
                break;
            };
            // SAFETY: The folio is valid: we have a reference to it.
            let (size, offset, is_there) = unsafe {
                (
                    bindings::folio_size(folio.as_ptr()),
                    offset_in(folio.as_ptr(), position),
                    bindings::folio_test_uptodate(folio.as_ptr()),
                )
            };
            let part_len = len.min(size - offset);
            // SAFETY: The reference is handed over, and the range is within the folio.
            let part = unsafe { FolioPart::from_raw(folio, offset, part_len, Hold::Reference) };
            if !is_there {
                break;
            }
            parts.push(part, GFP_KERNEL)?;
            position += part_len as u64;
            len -= part_len;
        }
        Ok(parts)
    }
}

/// A page of a page cache that the file system fills by itself, locked.
///
/// # Invariants
///
/// The folio is in the page cache and locked on behalf of this value, which owns a reference to it;
/// `offset` is that of a page within it, in bytes.
pub(crate) struct LockedPage {
    folio: NonNull<bindings::folio>,
    offset: usize,
}

impl<T: FileSystem> INode<T> {
    /// The page of that index, if it is in the page cache. Sleeps.
    pub(crate) fn cached_page(&self, index: u64) -> Option<LockedPage> {
        // CAST: `u64` to `usize` on a 64-bit machine.
        // SAFETY: The inode and its mapping are valid.
        let folio =
            unsafe { bindings::filemap_lock_folio((*self.as_ptr()).i_mapping, index as usize) };
        let folio = from_err_ptr(folio).ok()?;
        // SAFETY: The folio is locked, and there is a reference to it.
        unsafe { LockedPage::from_raw(folio, index) }
    }

    /// The page of that index, new if it is not in the page cache. Sleeps. `ENOMEM`.
    pub(crate) fn make_page(&self, index: u64) -> Result<LockedPage> {
        // CAST: `u64` to `usize` on a 64-bit machine.
        // SAFETY: The inode and its mapping are valid.
        let folio = from_err_ptr(unsafe {
            bindings::filemap_get_folio_to_write((*self.as_ptr()).i_mapping, index as usize)
        })?;
        // SAFETY: The folio is locked, and there is a reference to it.
        unsafe { LockedPage::from_raw(folio, index) }.ok_or(ENOMEM)
    }
}

impl LockedPage {
    /// Takes over a folio from the C side.
    ///
    /// # Safety
    ///
    /// A folio that is not null must be in the page cache and have that page, and the caller hands
    /// over a reference to it, and its lock.
    unsafe fn from_raw(folio: *mut bindings::folio, index: u64) -> Option<Self> {
        let folio = NonNull::new(folio)?;
        // SAFETY: The folio is valid by the function's contract.
        let pos = unsafe { bindings::folio_pos(folio.as_ptr()) };
        // CAST: Within the folio.
        // INVARIANT: By the function's contract.
        Some(Self {
            folio,
            offset: (index * PAGE_SIZE as u64 - pos as u64) as usize,
        })
    }

    /// Whether there is something in it.
    pub(crate) fn is_uptodate(&self) -> bool {
        // SAFETY: The folio is valid by the type invariants.
        unsafe { bindings::folio_test_uptodate(self.folio.as_ptr()) }
    }

    /// Fills it with zeroes; then there is something in it. A folio of more than one page is filled
    /// as a whole.
    pub(crate) fn clear(&mut self) {
        let folio = self.folio.as_ptr();
        // SAFETY: The folio is valid by the type invariants, and all of it is ours to write.
        unsafe {
            bindings::folio_zero_range(folio, 0, bindings::folio_size(folio));
            bindings::folio_mark_uptodate(folio);
        }
    }

    /// Copies `bytes` to `offset` in it. `EINVAL` when they do not fit.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) -> Result {
        check_page_range(offset, bytes.len())?;
        // SAFETY: The range is within the page, and that in the folio, which is ours to write.
        unsafe {
            bindings::memcpy_to_folio(
                self.folio.as_ptr(),
                self.offset + offset,
                bytes.as_ptr().cast(),
                bytes.len(),
            );
        }
        Ok(())
    }

    /// Copies what is at `offset` in it. `EINVAL` when there is not so much.
    pub(crate) fn read(&self, offset: usize, to: &mut [u8]) -> Result {
        check_page_range(offset, to.len())?;
        // SAFETY: The range is within the page, and that in the folio.
        unsafe {
            bindings::memcpy_from_folio(
                to.as_mut_ptr().cast(),
                self.folio.as_ptr(),
                self.offset + offset,
                to.len(),
            );
        }
        Ok(())
    }
}

/// `EINVAL` unless the range is within a page.
fn check_page_range(offset: usize, len: usize) -> Result {
    match offset.checked_add(len) {
        Some(end) if end <= PAGE_SIZE => Ok(()),
        _ => Err(EINVAL),
    }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        // SAFETY: By the type invariants there are both to give up.
        unsafe {
            bindings::folio_unlock(self.folio.as_ptr());
            bindings::folio_put(self.folio.as_ptr());
        }
    }
}
