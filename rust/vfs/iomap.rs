// SPDX-License-Identifier: GPL-2.0

//! The page cache of a file, block by block: which parts of folios have been read, and which are to
//! be written back.
//!
//! The file system says only how a range gets into folios, and out of them; all of a file counts as
//! there, for it is not this kernel that knows where it is.
//!
//! C headers: [`include/linux/iomap.h`](srctree/include/linux/iomap.h)

use crate::{
    bindings,
    vfs::{
        file::{count, Io},
        folio::{offset_in, FolioPart, Hold, LockedFolio},
    },
};
use core::{
    cell::Cell,
    marker::PhantomData,
    ptr::{self, NonNull},
};
use kernel::{
    error::{from_result, to_result},
    iov::IovIterSource,
    prelude::*,
};

static OPERATIONS: bindings::iomap_ops = bindings::iomap_ops {
    iomap_begin: Some(begin),
    iomap_end: None,
    iomap_next: None,
};

/// # Safety
///
/// To be called as `iomap_begin` of `struct iomap_ops`.
unsafe extern "C" fn begin(
    _inode: *mut bindings::inode,
    position: bindings::loff_t,
    len: bindings::loff_t,
    _flags: c_uint,
    map: *mut bindings::iomap,
    _source: *mut bindings::iomap,
) -> c_int {
    // SAFETY: The C side gives a map to fill.
    let map = unsafe { &mut *map };
    map.type_ = bindings::IOMAP_MAPPED;
    map.offset = position;
    // CAST: Lengths are not negative.
    map.length = len as u64;
    0
}

/// A part of a folio that could be read now.
pub(crate) struct Unread<'a> {
    folio: NonNull<bindings::folio>,
    position: u64,
    len: usize,
    readahead: *mut bindings::readahead_control,
    taken: &'a Cell<bool>,
}

impl Unread<'_> {
    /// Where in the file it begins, in bytes.
    pub(crate) fn pos(&self) -> u64 {
        self.position
    }

    /// How many bytes it is.
    pub(crate) fn size(&self) -> usize {
        self.len
    }

    /// Whether nobody waits for it yet, nor for what follows.
    pub(crate) fn is_speculative(&self) -> bool {
        // SAFETY: The control structure is valid while the C side runs, which this does not outlive.
        !self.readahead.is_null() && unsafe { bindings::readahead_is_speculative(self.readahead) }
    }

    /// Takes it, to be read.
    pub(crate) fn take(self) -> LockedFolio {
        self.taken.set(true);
        // SAFETY: The C side gives a part of a locked folio that is not up to date, and of which it
        // leaves the part to us once we say that we have it.
        unsafe {
            let offset = offset_in(self.folio.as_ptr(), self.position);
            LockedFolio::part_of(self.folio, offset, self.len)
        }
    }
}

/// Calls `f` for each part of `folio` that is to be read. Those that it does not take are not read.
///
/// # Safety
///
/// `folio` must be the argument of `read_folio`, and not be used afterwards.
pub(super) unsafe fn read_folio<F: FnMut(Unread<'_>) -> Result>(
    folio: *mut bindings::folio,
    mut f: F,
) {
    // SAFETY: By the function's contract.
    unsafe { read(folio, ptr::null_mut(), &mut f) };
}

/// # Safety
///
/// One of the first two arguments must be that of `read_folio` or `readahead`, and not be used
/// afterwards; the other is null.
unsafe fn read<F: FnMut(Unread<'_>) -> Result>(
    folio: *mut bindings::folio,
    control: *mut bindings::readahead_control,
    f: &mut F,
) {
    let operations = bindings::iomap_read_ops {
        read_folio_range: Some(read_range::<F>),
        ..pin_init::zeroed()
    };
    let mut context = bindings::iomap_read_folio_ctx {
        ops: &raw const operations,
        cur_folio: folio,
        rac: control,
        read_ctx: ptr::from_mut(f).cast(),
        ..pin_init::zeroed()
    };
    // SAFETY: By the function's contract; the operations are for a closure of this type.
    unsafe {
        if control.is_null() {
            bindings::iomap_read_folio(&OPERATIONS, &mut context, ptr::null_mut());
        } else {
            bindings::iomap_readahead(&OPERATIONS, &mut context, ptr::null_mut());
        }
    }
}

/// # Safety
///
/// To be called as `read_folio_range` of `struct iomap_read_ops`, with an `F` as the context.
unsafe extern "C" fn read_range<F: FnMut(Unread<'_>) -> Result>(
    iter: *const bindings::iomap_iter,
    context: *mut bindings::iomap_read_folio_ctx,
    len: usize,
) -> c_int {
    let taken = Cell::new(false);
    // SAFETY: The C side gives a folio, and the closure that it was given.
    let (f, unread) = unsafe {
        let unread = Unread {
            folio: NonNull::new_unchecked((*context).cur_folio),
            // CAST: A position in a file is not negative.
            position: (*iter).pos as u64,
            len,
            readahead: (*context).rac,
            taken: &taken,
        };
        (&mut *(*context).read_ctx.cast::<F>(), unread)
    };
    match f(unread) {
        // Whoever has it ends it, well or not.
        _ if taken.get() => 0,
        Ok(()) => EAGAIN.to_errno(),
        Err(err) => err.to_errno(),
    }
}

/// The part of a file that the page cache wants read ahead. Folios that are left are given back unread.
///
/// # Invariants
///
/// The pointer is to the control structure of a running readahead.
pub(crate) struct Readahead<'a> {
    control: *mut bindings::readahead_control,
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
        // INVARIANT: By the function's contract.
        Self {
            control,
            _call: PhantomData,
        }
    }

    /// Calls `f` for one part of a folio after another, until it does not take one.
    pub(crate) fn for_each(self, mut f: impl FnMut(Unread<'_>) -> Result) {
        // SAFETY: By the type invariants.
        unsafe { read(ptr::null_mut(), self.control, &mut f) };
    }
}

impl Io<'_> {
    /// Writes to the page cache, where it stays until it is written back, and moves the position on.
    /// Where a block is not filled, `read(position, len)` gets the bytes that are there so far, or
    /// those of them that there are. The contents must be locked exclusively.
    ///
    /// # Errors
    ///
    /// Those of `read`; `EFAULT`, `ENOMEM`, `EINTR` on a fatal signal.
    pub(crate) fn write_cached<F>(
        &mut self,
        iov: &mut IovIterSource<'_>,
        mut read: F,
    ) -> Result<usize>
    where
        F: FnMut(u64, usize) -> Result<KVVec<u8>>,
    {
        let operations = bindings::iomap_write_ops {
            read_folio_range: Some(read_for_write::<F>),
            ..pin_init::zeroed()
        };
        // SAFETY: The structure is valid for the call and ours, and so is the iterator; the operations
        // are for a closure of this type.
        count(unsafe {
            bindings::iomap_file_buffered_write(
                self.as_ptr(),
                iov.as_raw(),
                &OPERATIONS,
                &operations,
                (&raw mut read).cast(),
            )
        })
    }
}

/// # Safety
///
/// To be called as `read_folio_range` of `struct iomap_write_ops`, with an `F` as what is private.
unsafe extern "C" fn read_for_write<F: FnMut(u64, usize) -> Result<KVVec<u8>>>(
    iter: *const bindings::iomap_iter,
    folio: *mut bindings::folio,
    position: bindings::loff_t,
    len: usize,
) -> c_int {
    from_result(|| {
        let folio = NonNull::new(folio).ok_or(EIO)?;
        // CAST: A position in a file is not negative.
        let position = position as u64;
        // SAFETY: The C side gives what it was given.
        let read = unsafe { &mut *(*iter).private.cast::<F>() };
        let bytes = read(position, len)?;
        let there = bytes.len().min(len);
        // SAFETY: The C side gives a locked folio, and a part of it that is not up to date.
        unsafe {
            let offset = offset_in(folio.as_ptr(), position);
            bindings::memcpy_to_folio(folio.as_ptr(), offset, bytes.as_ptr().cast(), there);
            bindings::folio_zero_range(folio.as_ptr(), offset + there, len - there);
        }
        Ok(0)
    })
}

/// What of a file is to be written back.
///
/// # Invariants
///
/// The pointers are what the C side has given for a call that runs.
pub(crate) struct Writeback<'a> {
    inode: *mut bindings::inode,
    what: What,
    _call: PhantomData<&'a mut bindings::writeback_control>,
}

enum What {
    /// All that the structure says.
    Range(*mut bindings::writeback_control),
    /// A folio that is locked, and about to be dropped.
    Folio(*mut bindings::folio),
}

impl Writeback<'_> {
    /// # Safety
    ///
    /// The arguments must be those of `writepages`, and not used afterwards.
    pub(super) unsafe fn from_control(
        inode: *mut bindings::inode,
        control: *mut bindings::writeback_control,
    ) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            inode,
            what: What::Range(control),
            _call: PhantomData,
        }
    }

    /// # Safety
    ///
    /// The folio must be one that the C side has locked, of that inode, and that was dirty until now.
    pub(super) unsafe fn of_folio(
        inode: *mut bindings::inode,
        folio: *mut bindings::folio,
    ) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            inode,
            what: What::Folio(folio),
            _call: PhantomData,
        }
    }

    /// Whether somebody waits for the end of it.
    pub(crate) fn is_waited_for(&self) -> bool {
        match self.what {
            // SAFETY: Valid by the type invariants.
            What::Range(control) => unsafe { bindings::writeback_is_waited_for(control) },
            What::Folio(_) => true,
        }
    }

    /// Calls `f` for each part of a folio that is to be written back, from the beginning of the file
    /// to its end. Those that it does not take are lost.
    ///
    /// # Errors
    ///
    /// Those of `f` for parts that it did not take.
    pub(crate) fn for_each<F: FnMut(Dirty<'_>) -> Result>(self, mut f: F) -> Result {
        let operations = bindings::iomap_writeback_ops {
            writeback_range: Some(write_range::<F>),
            writeback_submit: Some(submit),
        };
        let mut context = bindings::iomap_writepage_ctx {
            inode: self.inode,
            ops: &raw const operations,
            wb_ctx: (&raw mut f).cast(),
            ..pin_init::zeroed()
        };
        context.iomap.type_ = bindings::IOMAP_MAPPED;
        match self.what {
            What::Range(control) => {
                context.wbc = control;
                // SAFETY: Valid by the type invariants; the operations are for a closure of this type.
                to_result(unsafe { bindings::iomap_writepages(&mut context) })
            }
            What::Folio(folio) => {
                // SAFETY: As above.
                to_result(unsafe { bindings::iomap_writeback_folio(&mut context, folio) })
            }
        }
    }
}

/// A part of a folio that is to be written back.
pub(crate) struct Dirty<'a> {
    folio: NonNull<bindings::folio>,
    position: u64,
    len: usize,
    taken: &'a Cell<bool>,
}

impl Dirty<'_> {
    /// Where in the file it begins, in bytes.
    pub(crate) fn pos(&self) -> u64 {
        self.position
    }

    /// How many bytes it is.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes it. It has been written back when the part goes.
    pub(crate) fn take(self) -> FolioPart {
        self.taken.set(true);
        // SAFETY: The C side gives a part of a folio that it has, and leaves it to us to end writing
        // it back once we say that we have it.
        unsafe {
            let offset = offset_in(self.folio.as_ptr(), self.position);
            bindings::folio_get(self.folio.as_ptr());
            FolioPart::from_raw(self.folio, offset, self.len, Hold::Writeback)
        }
    }
}

/// # Safety
///
/// To be called as `writeback_range` of `struct iomap_writeback_ops`, with an `F` as the context.
unsafe extern "C" fn write_range<F: FnMut(Dirty<'_>) -> Result>(
    context: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
    position: u64,
    len: c_uint,
    _end: u64,
) -> isize {
    let taken = Cell::new(false);
    // SAFETY: The C side gives a folio, and the closure that it was given.
    let (f, dirty) = unsafe {
        let dirty = Dirty {
            folio: NonNull::new_unchecked(folio),
            position,
            // CAST: `u32` to `usize` on a 64-bit machine.
            len: len as usize,
            taken: &taken,
        };
        (&mut *(*context).wb_ctx.cast::<F>(), dirty)
    };
    match f(dirty) {
        // Whoever has it ends it, well or not.
        _ if taken.get() => len as isize,
        Ok(()) => EIO.to_errno() as isize,
        Err(err) => err.to_errno() as isize,
    }
}

/// # Safety
///
/// To be called as `writeback_submit` of `struct iomap_writeback_ops`.
unsafe extern "C" fn submit(_: *mut bindings::iomap_writepage_ctx, error: c_int) -> c_int {
    // Who takes parts sends them.
    error
}
