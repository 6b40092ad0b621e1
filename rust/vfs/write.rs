// SPDX-License-Identifier: GPL-2.0

//! Writing to files: what goes before and after, and the way through the page cache.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use crate::{
    bindings,
    vfs::{
        address_space::page_index,
        file::{count, Ended, Io},
        filesystem::FileSystem,
        folio::{offset_within, FolioPart, Hold},
        inode::INode,
        super_block::PAGE_SIZE,
    },
};
use core::ptr::NonNull;
use kernel::{
    error::{from_err_ptr, to_result},
    iov::IovIterSource,
    prelude::*,
};

impl Io<'_> {
    /// Does what must be done before a write: moves the position to the end of a file that is only
    /// appended to, and cuts `iov` to what the limits allow. Returns how many bytes are to be
    /// written. The contents must be locked.
    ///
    /// # Errors
    ///
    /// `EFBIG`, with a signal where the task's own limit is reached; `EINVAL`, `ETXTBSY`.
    pub(crate) fn check_write(&mut self, iov: &mut IovIterSource<'_>) -> Result<usize> {
        // SAFETY: The structure is valid for the call and ours, and so is the iterator.
        let len = count(unsafe { bindings::generic_write_checks(self.as_ptr(), iov.as_raw()) })?;
        // SAFETY: The running task may be charged.
        unsafe { bindings::task_io_account_write(len) };
        Ok(len)
    }

    /// Whether writing takes the set-user-ID or set-group-ID bit from the file.
    pub(crate) fn takes_set_ids(&self) -> bool {
        // SAFETY: The structure and its file are valid for the call.
        unsafe { bindings::write_takes_set_ids(self.file()) }
    }

    /// Takes privileges from a file that is going to be written to, and sets its times where the VFS
    /// is to do that. The contents must be locked exclusively. Errors are those of setting attributes.
    pub(crate) fn modify(&mut self) -> Result {
        // SAFETY: The structure is valid for the call and ours.
        to_result(unsafe { bindings::kiocb_modified(self.as_ptr()) })
    }

    /// Brings the last `written` bytes before the position to what keeps them, where `O_SYNC` or
    /// the like asks for that; returns `written`. The contents must not be locked. Errors are those
    /// of fsync(2).
    pub(crate) fn sync_written(&mut self, written: usize) -> Result<usize> {
        // CAST: A count of bytes in memory.
        // SAFETY: The structure is valid for the call and ours.
        count(unsafe { bindings::generic_write_sync(self.as_ptr(), written as isize) })
    }
}

impl<'a> Io<'a> {
    /// Writes past the page cache by [`direct_write`], and what that leaves by `buffered`, which moves
    /// the position on as this does; that is then written back, too. What the page cache holds of
    /// the range goes. Returns how many bytes were written, unless it has failed or will end later. The
    /// contents must be locked exclusively.
    ///
    /// # Errors
    ///
    /// Those of writing back, of `direct_write` and `buffered`.
    ///
    /// [`direct_write`]: super::address_space::AddressSpaceOperations::direct_write
    pub(crate) fn write_direct(
        mut self,
        iov: &mut IovIterSource<'_>,
        buffered: impl FnOnce(&mut Self, &mut IovIterSource<'_>) -> Result<usize>,
    ) -> core::result::Result<(Self, usize), Ended<'a>> {
        // SAFETY: The structure is valid for the call and ours, and so is the iterator.
        let mut code = unsafe { bindings::generic_file_direct_write(self.as_ptr(), iov.as_raw()) };
        if code >= 0 && !iov.is_empty() {
            let buffered = match buffered(&mut self, iov) {
                // CAST: A count of bytes in memory.
                Ok(written) => written as isize,
                Err(err) => err.to_errno() as isize,
            };
            // SAFETY: As above; the position is behind what was written.
            code = unsafe {
                bindings::direct_write_fallback(self.as_ptr(), iov.as_raw(), code, buffered)
            };
        }
        match usize::try_from(code) {
            Ok(written) => Ok((self, written)),
            // It is nobody's any more when it will end later.
            Err(_) => Err(self.ended(code)),
        }
    }
}

/// How much may be taken in one go by [`INode::copy_to_page_cache`].
pub(crate) struct Room {
    /// In bytes.
    pub(crate) bytes: usize,
    /// In folios.
    pub(crate) folios: usize,
}

impl<T: FileSystem> INode<T> {
    /// Copies bytes of `iov` to the page cache, for the file from `position` on, and returns the
    /// parts of folios that now hold them, of which there is one or more. What they held before is
    /// not under way any more. Reading them from the page cache gives the new bytes at once; a folio
    /// that has not been read and is not filled can be used only when its part is dropped. The
    /// contents must be locked exclusively. Sleeps, also for folios that are being read.
    ///
    /// # Errors
    ///
    /// `EFAULT`, `ENOMEM`; then nothing has been copied.
    pub(crate) fn copy_to_page_cache(
        &self,
        mut position: u64,
        iov: &mut IovIterSource<'_>,
        room: Room,
    ) -> Result<KVec<FolioPart>> {
        let mut left = iov.len().min(room.bytes);
        let pages = (position as usize % PAGE_SIZE + left).div_ceil(PAGE_SIZE);
        let mut parts = KVec::with_capacity(pages.min(room.folios), GFP_KERNEL)?;
        while left > 0 && parts.len() < room.folios {
            let part = match self.copy_to_folio(position, iov, left) {
                Err(err) if parts.is_empty() => return Err(err),
                Err(_) => break,
                Ok(part) => part,
            };
            let (len, is_last) = (part.len(), part.is_locked() || !part.is_at_end());
            // There is room for it: folios are not smaller than pages.
            parts.push_within_capacity(part)?;
            position += len as u64;
            left -= len;
            if is_last {
                break;
            }
        }
        for part in &parts {
            part.wait_for_writeback();
        }
        Ok(parts)
    }

    /// Copies up to `most` bytes of `iov` to the folio at `position`.
    fn copy_to_folio(
        &self,
        position: u64,
        iov: &mut IovIterSource<'_>,
        most: usize,
    ) -> Result<FolioPart> {
        loop {
            // SAFETY: The inode and its mapping are valid.
            let folio = from_err_ptr(unsafe {
                bindings::filemap_get_folio_to_write(
                    (*self.as_ptr()).i_mapping,
                    page_index(position),
                )
            })?;
            // SAFETY: The folio is valid: we have a reference to it, and its lock.
            let size = unsafe { bindings::folio_size(folio) };
            let offset = offset_within(size, position);
            let want = most.min(size - offset);
            // SAFETY: As above, and the range is within the folio. What was copied is there for good,
            // so a folio that is filled is up to date; one that is can do without the lock.
            let (copied, hold) = unsafe {
                let copied =
                    bindings::copy_folio_from_iter_atomic(folio, offset, want, iov.as_raw());
                bindings::flush_dcache_folio(folio);
                if copied == size {
                    bindings::iomap_folio_mark_uptodate(folio);
                }
                if copied > 0 && !bindings::folio_test_uptodate(folio) {
                    (copied, Hold::Lock)
                } else {
                    bindings::folio_unlock(folio);
                    (copied, Hold::Reference)
                }
            };
            // SAFETY: The reference is handed over, and the lock where it is still held.
            let part = unsafe {
                let folio = NonNull::new_unchecked(folio);
                FolioPart::from_raw(folio, offset, copied, hold)
            };
            if copied > 0 {
                return Ok(part);
            }
            drop(part);
            // Memory can be got only while no folio is locked: it may be a mapping of that one.
            // SAFETY: The iterator is valid.
            if unsafe { bindings::fault_in_iov_iter_readable(iov.as_raw(), want) } != 0 {
                return Err(EFAULT);
            }
        }
    }
}
