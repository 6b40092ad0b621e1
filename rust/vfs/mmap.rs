// SPDX-License-Identifier: GPL-2.0

//! Mapping files into memory.
//!
//! C headers: [`include/linux/mm.h`](srctree/include/linux/mm.h)

use crate::bindings;
use core::marker::PhantomData;
use kernel::{error::to_result, prelude::*};

/// How a file gets into memory.
pub(crate) enum Mapping {
    /// Its folios do. Who begins to write to one waits until that is not being written back, and what
    /// was written is brought to the file when the mapping goes.
    Shared,
    /// Its folios do, and are copied before they are written to.
    Private,
}

/// A part of a task's memory into which a file is to be mapped.
///
/// # Invariants
///
/// The pointer is to an area that is being made.
pub(crate) struct Area<'a> {
    raw: *mut bindings::vm_area_struct,
    _call: PhantomData<&'a mut bindings::vm_area_struct>,
}

impl Area<'_> {
    /// # Safety
    ///
    /// `raw` must be the argument of `mmap` of `struct file_operations`, and the value must go before
    /// that returns.
    pub(super) unsafe fn from_raw(raw: *mut bindings::vm_area_struct) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            raw,
            _call: PhantomData,
        }
    }

    /// Whether the mapping is a shared one (`MAP_SHARED`).
    pub(crate) fn is_shared(&self) -> bool {
        self.has(bindings::VM_MAYSHARE)
    }

    /// Whether the file can be written to through it.
    pub(crate) fn may_write_file(&self) -> bool {
        self.has(bindings::VM_SHARED) && self.has(bindings::VM_MAYWRITE)
    }

    fn has(&self, flag: bindings::vm_flags_t) -> bool {
        // SAFETY: Valid by the type invariants.
        unsafe { bindings::vma_flags_of(self.raw) & flag != 0 }
    }

    /// Maps `file`.
    ///
    /// # Safety
    ///
    /// `file` must be the file that the area is for.
    pub(super) unsafe fn map(self, file: *mut bindings::file, mapping: Mapping) -> Result {
        match mapping {
            // SAFETY: By the function's contract and the type invariants.
            Mapping::Private => to_result(unsafe { bindings::generic_file_mmap(file, self.raw) }),
            Mapping::Shared => {
                // SAFETY: As above.
                unsafe {
                    bindings::file_accessed(file);
                    (*self.raw).vm_ops = &SHARED;
                }
                Ok(())
            }
        }
    }
}

const SHARED: bindings::vm_operations_struct = bindings::vm_operations_struct {
    close: Some(close),
    fault: Some(bindings::filemap_fault),
    map_pages: Some(bindings::filemap_map_pages),
    page_mkwrite: Some(page_mkwrite),
    ..pin_init::zeroed()
};

/// # Safety
///
/// To be called as `close` of `struct vm_operations_struct`, for a mapped file.
unsafe extern "C" fn close(area: *mut bindings::vm_area_struct) {
    // There may be no open file to write it with later.
    // SAFETY: The C side gives a valid area, which keeps its file.
    unsafe {
        let mapping = (*(*area).vm_file).f_mapping;
        let error = bindings::write_inode_now((*mapping).host, 1);
        bindings::mapping_set_error(mapping, error);
    }
}

/// # Safety
///
/// To be called as `page_mkwrite` of `struct vm_operations_struct`, for a mapped file.
unsafe extern "C" fn page_mkwrite(fault: *mut bindings::vm_fault) -> bindings::vm_fault_t {
    // SAFETY: The C side gives a fault in a valid area, and the page that it is for, with a reference.
    unsafe {
        let folio = bindings::page_folio_of((*fault).page);
        let file = (*bindings::vm_fault_area(fault)).vm_file;
        // The times are advice here.
        bindings::file_update_time(file);
        bindings::folio_lock(folio);
        if bindings::folio_mapping_of(folio) != (*(*file).f_inode).i_mapping {
            bindings::folio_unlock(folio);
            return bindings::vm_fault_reason_VM_FAULT_NOPAGE;
        }
        // Here, and not where it is written back: so a daemon that is slow holds up only those who
        // use its files.
        bindings::folio_wait_writeback(folio);
        bindings::vm_fault_reason_VM_FAULT_LOCKED
    }
}
