// SPDX-License-Identifier: GPL-2.0

//! The page cache, seen from outside of reads and writes: what is in it, and putting something there.
//!
//! C headers: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use crate::{
    bindings,
    vfs::{
        address_space::page_index,
        filesystem::FileSystem,
        folio::{FolioPart, Hold},
        inode::INode,
        iov::Source,
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
            let size = unsafe { bindings::folio_size(folio) };
            // CAST: What is left of it is less than the size of a folio.
            let offset = (position % size as u64) as usize;
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
            let (size, is_there) = unsafe {
                (
                    bindings::folio_size(folio.as_ptr()),
                    bindings::folio_test_uptodate(folio.as_ptr()),
                )
            };
            // CAST: What is left of it is less than the size of a folio.
            let offset = (position % size as u64) as usize;
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
