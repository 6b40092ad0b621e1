// SPDX-License-Identifier: GPL-2.0

//! The page cache of a file: how its folios are filled and written back.
//!
//! C headers: [`include/linux/pagemap.h`](srctree/include/linux/pagemap.h)

use crate::{
    bindings,
    vfs::{
        file::{Borrowed, Ended, FileOperations, Io},
        inode::INode,
        iomap::{self, Readahead, Unread, Writeback},
    },
};
use core::marker::PhantomData;
use kernel::{
    error::{from_result, VTABLE_DEFAULT_ERROR},
    iov::{IovIterDest, IovIterSource},
    prelude::*,
    types::{ForeignOwnable, NotThreadSafe},
};

/// The file system of the files that fill the folios of `A`.
type FileSystemOf<A> = <<A as AddressSpaceOperations>::File as FileOperations>::FileSystem;

/// How folios are filled and written back. All methods run in the context of a task and may sleep.
#[vtable]
pub(crate) trait AddressSpaceOperations: Sized + 'static {
    /// The open files through which folios are read.
    type File: FileOperations;

    /// Fills a part of a folio, if it can, which it then [takes](Unread::take).
    fn read_folio(
        inode: &INode<FileSystemOf<Self>>,
        file: Borrowed<'_, Self::File>,
        part: Unread<'_>,
    ) -> Result;

    /// Begins to fill folios that will be wanted soon.
    fn readahead(
        _inode: &INode<FileSystemOf<Self>>,
        _file: Borrowed<'_, Self::File>,
        _folios: Readahead<'_>,
    ) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes folios back, which it [takes](super::iomap::Dirty::take). A file system that has this
    /// lets the page cache hold what was written.
    fn writepages(_inode: &INode<FileSystemOf<Self>>, _what: Writeback<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The block of the block device that holds a block of the file; 0 when there is none.
    fn bmap(_inode: &INode<FileSystemOf<Self>>, _block: u64) -> u64 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads past the page cache, from the position of `io` on, and leaves that where it is. A file
    /// system that has this lets files be opened with `O_DIRECT`.
    fn direct_read<'a>(
        _inode: &INode<FileSystemOf<Self>>,
        _file: Borrowed<'_, Self::File>,
        _io: Io<'a>,
        _iov: &mut IovIterDest<'_>,
    ) -> Ended<'a> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes past the page cache, from the position of `io` on, and leaves that where it is. The
    /// contents are locked exclusively.
    fn direct_write<'a>(
        _inode: &INode<FileSystemOf<Self>>,
        _file: Borrowed<'_, Self::File>,
        _io: Io<'a>,
        _iov: &mut IovIterSource<'_>,
    ) -> Ended<'a> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The number of the page that holds the byte at `position` of a file.
pub(super) fn page_index(position: u64) -> usize {
    // CAST: `usize` has 64 bits.
    (position >> bindings::PAGE_SHIFT) as usize
}

/// The table of operations of `A`.
pub(super) fn table<A: AddressSpaceOperations>() -> &'static bindings::address_space_operations {
    &Callbacks::<A>::OPERATIONS
}

/// What the C side calls.
struct Callbacks<A: AddressSpaceOperations>(PhantomData<A>);

impl<A: AddressSpaceOperations> Callbacks<A> {
    const OPERATIONS: bindings::address_space_operations = bindings::address_space_operations {
        read_folio: Some(Self::read_folio),
        readahead: if A::HAS_READAHEAD {
            Some(Self::readahead)
        } else {
            None
        },
        bmap: if A::HAS_BMAP { Some(Self::bmap) } else { None },
        direct_IO: if A::HAS_DIRECT_READ && A::HAS_DIRECT_WRITE {
            Some(Self::direct_io)
        } else {
            None
        },
        writepages: if A::HAS_WRITEPAGES {
            Some(Self::writepages)
        } else {
            None
        },
        launder_folio: if A::HAS_WRITEPAGES {
            Some(Self::launder_folio)
        } else {
            None
        },
        dirty_folio: if A::HAS_WRITEPAGES {
            Some(bindings::iomap_dirty_folio)
        } else {
            // There is no way to write to a folio but through a pointer that was pinned to read it.
            Some(bindings::noop_dirty_folio)
        },
        release_folio: Some(bindings::iomap_release_folio),
        invalidate_folio: Some(bindings::iomap_invalidate_folio),
        is_partially_uptodate: Some(bindings::iomap_is_partially_uptodate),
        migrate_folio: Some(bindings::filemap_migrate_folio),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// To be called as `read_folio` of `struct address_space_operations`, for this type.
    unsafe extern "C" fn read_folio(
        file: *mut bindings::file,
        folio: *mut bindings::folio,
    ) -> c_int {
        // SAFETY: The C side gives a folio that is to be read, whose lock is ours, and a file that is
        // open on the inode, or none when somebody wants the folio without having opened one. Its data
        // is what `open` of `A::File` made: `NewINode::set_regular` pairs the tables.
        unsafe {
            let inode = INode::from_raw((*bindings::folio_mapping_of(folio)).host);
            iomap::read_folio(folio, |part| {
                if file.is_null() {
                    return Err(EIO);
                }
                let data = <A::File as FileOperations>::Ptr::borrow((*file).private_data);
                A::read_folio(inode, data, part)
            });
        }
        0
    }

    /// # Safety
    ///
    /// To be called as `readahead` of `struct address_space_operations`, for this type.
    unsafe extern "C" fn readahead(control: *mut bindings::readahead_control) {
        // SAFETY: The C side gives a valid structure.
        let (file, inode) = unsafe { ((*control).file, (*(*control).mapping).host) };
        if file.is_null() {
            return;
        }
        // SAFETY: As in `read_folio`.
        let (inode, data, folios) = unsafe {
            (
                INode::from_raw(inode),
                <A::File as FileOperations>::Ptr::borrow((*file).private_data),
                Readahead::from_raw(control),
            )
        };
        A::readahead(inode, data, folios);
    }

    /// # Safety
    ///
    /// To be called as `writepages` of `struct address_space_operations`, for this type.
    unsafe extern "C" fn writepages(
        mapping: *mut bindings::address_space,
        control: *mut bindings::writeback_control,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives the mapping of an inode of this kind.
            let (inode, what) = unsafe {
                let inode = (*mapping).host;
                (
                    INode::from_raw(inode),
                    Writeback::from_control(inode, control),
                )
            };
            // Memory must not be got by waiting for this file system.
            let _no_fs = NoFs::new();
            A::writepages(inode, what).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// To be called as `launder_folio` of `struct address_space_operations`, for this type.
    unsafe extern "C" fn launder_folio(folio: *mut bindings::folio) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives a locked folio of an inode of this kind.
            let (inode, what) = unsafe {
                if !bindings::folio_clear_dirty_for_io(folio) {
                    return Ok(0);
                }
                let inode = (*bindings::folio_mapping_of(folio)).host;
                (INode::from_raw(inode), Writeback::of_folio(inode, folio))
            };
            let no_fs = NoFs::new();
            A::writepages(inode, what)?;
            drop(no_fs);
            // SAFETY: As above.
            unsafe { bindings::folio_wait_writeback(folio) };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called as `bmap` of `struct address_space_operations`, for this type.
    unsafe extern "C" fn bmap(
        mapping: *mut bindings::address_space,
        block: bindings::sector_t,
    ) -> bindings::sector_t {
        // SAFETY: The C side gives the mapping of an inode of this kind.
        A::bmap(unsafe { INode::from_raw((*mapping).host) }, block)
    }

    /// # Safety
    ///
    /// To be called as `direct_IO` of `struct address_space_operations`, for this type.
    unsafe extern "C" fn direct_io(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The C side gives an open file of this kind, as in `read_folio`, with what is to be
        // done with it.
        let (inode, data, io, is_write) = unsafe {
            let file = (*kiocb).ki_filp;
            (
                INode::from_raw((*file).f_inode),
                <A::File as FileOperations>::Ptr::borrow((*file).private_data),
                Io::from_raw(kiocb),
                (*iter).data_source,
            )
        };
        let ended = if is_write {
            // SAFETY: The iterator is ours for the duration of the call, and one to read from.
            A::direct_write(inode, data, io, unsafe { IovIterSource::from_raw(iter) })
        } else {
            // SAFETY: The iterator is ours for the duration of the call, and one to write to.
            A::direct_read(inode, data, io, unsafe { IovIterDest::from_raw(iter) })
        };
        ended.code()
    }
}

/// While this lives, the running task gets no memory by way of a file system.
struct NoFs(c_uint, NotThreadSafe);

impl NoFs {
    fn new() -> Self {
        // SAFETY: `drop` gives back what this returns, in the same task.
        Self(unsafe { bindings::memalloc_nofs_save() }, NotThreadSafe)
    }
}

impl Drop for NoFs {
    fn drop(&mut self) {
        // SAFETY: That is what `new` was given.
        unsafe { bindings::memalloc_nofs_restore(self.0) };
    }
}
