// SPDX-License-Identifier: GPL-2.0

//! Pipes, as splice(2) gives them to a file: one to be filled, or buffers that were taken out of
//! one.
//!
//! C headers: [`include/linux/pipe_fs_i.h`](srctree/include/linux/pipe_fs_i.h),
//! [`include/linux/splice.h`](srctree/include/linux/splice.h)

use crate::{
    bindings,
    vfs::{
        folio::{FolioPart, LockedFolio, PagePart},
        iov::Source,
    },
};
use core::{
    marker::PhantomData,
    mem::{ManuallyDrop, MaybeUninit},
    ptr::{self, NonNull},
};
use kernel::{
    alloc::flags::__GFP_HIGHMEM,
    current,
    error::to_result,
    iov::IovIterSource,
    page::{Page, PAGE_SIZE},
    prelude::*,
};

/// A pipe that waits for what is read from a file.
///
/// What is [`put`](Self::put) is kept aside, in pages of its own, as are references to
/// [folios](Self::put_folio), until [`commit`](Self::commit) passes them to the pipe all at once; when
/// the value is dropped instead, the pipe stays as it was.
///
/// # Invariants
///
/// The pipe is valid and locked on behalf of this value, or nobody else has it. It has `room` free
/// slots, and `contents` are no more than that.
pub(crate) struct PipeDest<'a> {
    pipe: NonNull<bindings::pipe_inode_info>,
    room: usize,
    wanted: usize,
    contents: KVec<Content>,
    _call: PhantomData<&'a mut bindings::pipe_inode_info>,
}

/// What goes into a slot.
enum Content {
    /// So many bytes of a page that is nobody else's, from its beginning on.
    Bytes(Page, usize),
    /// What a folio has.
    Folio(PagePart),
}

impl PipeDest<'_> {
    /// The pipe that `splice_read` is given, and how many bytes it is to get.
    ///
    /// # Safety
    ///
    /// `pipe` must be the argument of `splice_read`: locked, or private to the calling task. It must
    /// not be used but through the returned value while that lives.
    pub(super) unsafe fn from_raw(
        pipe: *mut bindings::pipe_inode_info,
        wanted: usize,
    ) -> Result<Self> {
        // SAFETY: By the function's contract, the pipe is valid, and does not change.
        let (max, used) = unsafe {
            (
                bindings::pipe_max_usage(pipe),
                bindings::pipe_buf_usage(pipe),
            )
        };
        // CAST: A count of slots.
        let room = max.saturating_sub(used) as usize;
        Ok(Self {
            // INVARIANT: By the function's contract.
            pipe: NonNull::new(pipe).ok_or(EINVAL)?,
            room,
            wanted,
            // Most that is long begins with a page of its own.
            contents: KVec::with_capacity(room.min(wanted / PAGE_SIZE + 2), GFP_KERNEL)?,
            _call: PhantomData,
        })
    }

    /// How many bytes the caller of splice(2) asks for, at most.
    pub(crate) fn len(&self) -> usize {
        self.wanted
    }

    /// Adds bytes. May sleep.
    ///
    /// # Errors
    ///
    /// `EIO` when the pipe has no slots for so much; `EPIPE`, with a signal, when nobody has the pipe
    /// open for reading; `ENOMEM`.
    pub(crate) fn put(&mut self, mut bytes: &[u8]) -> Result {
        self.check_readers()?;
        while !bytes.is_empty() {
            let (page, len) = self.last_page()?;
            let (some, rest) = bytes.split_at(bytes.len().min(PAGE_SIZE - *len));
            // SAFETY: The source is that long. Nobody else has the page yet.
            unsafe { page.write_raw(some.as_ptr(), *len, some.len())? };
            *len += some.len();
            bytes = rest;
        }
        Ok(())
    }

    /// Adds the first `len` bytes of a part of a folio: not a copy, but what the folio holds when the
    /// pipe is read. May sleep. Errors as [`put`](Self::put), and `EINVAL` when the part is not that
    /// long.
    pub(crate) fn put_folio(&mut self, part: &FolioPart, len: usize) -> Result {
        self.check_readers()?;
        part.pages(len)?
            .try_for_each(|page| self.add(Content::Folio(page)))
    }

    fn check_readers(&self) -> Result {
        // SAFETY: The pipe is valid and locked by the type invariant.
        if unsafe { bindings::pipe_readers(self.pipe.as_ptr()) } == 0 {
            // SAFETY: SIGPIPE is a signal, and the current task is one.
            unsafe { bindings::send_sig(bindings::SIGPIPE as c_int, current!().as_ptr(), 0) };
            return Err(EPIPE);
        }
        Ok(())
    }

    #[inline(always)]
    fn add(&mut self, content: Content) -> Result {
        // INVARIANT: One more is no more than there is room for.
        if self.contents.len() >= self.room {
            return Err(EIO);
        }
        Ok(self.contents.push(content, GFP_KERNEL)?)
    }

    /// The page that bytes are put to, and how many are there.
    fn last_page(&mut self) -> Result<(&Page, &mut usize)> {
        let last = self.contents.last();
        if !matches!(last, Some(Content::Bytes(_, len)) if *len < PAGE_SIZE) {
            let page = Page::alloc_page(GFP_KERNEL | __GFP_HIGHMEM)?;
            self.add(Content::Bytes(page, 0))?;
        }
        match self.contents.last_mut() {
            Some(Content::Bytes(page, len)) => Ok((page, len)),
            _ => Err(ENOMEM),
        }
    }

    /// Passes all that was put to the pipe; returns how many bytes that is.
    pub(crate) fn commit(self) -> usize {
        let mut total = 0;
        for content in self.contents {
            let (page, offset, len) = match content {
                Content::Bytes(page, len) => (ManuallyDrop::new(page).as_ptr(), 0, len),
                Content::Folio(part) => {
                    let (offset, len) = (part.offset, part.len);
                    (part.into_page(), offset, len)
                }
            };
            let mut buffer = bindings::pipe_buffer {
                page,
                // CAST: Within a page, as `len`.
                offset: offset as u32,
                len: len as u32,
                // These are the kernel's own, for the buffer may be there longer than this module, and
                // let nobody have the page for something else.
                ops: &raw const bindings::nosteal_pipe_buf_ops,
                flags: 0,
                private: 0,
            };
            // SAFETY: The pipe is valid and locked by the type invariant, and the buffer has a page
            // and operations that free it. Whatever comes of it, the page is no longer ours.
            let added = unsafe { bindings::add_to_pipe(self.pipe.as_ptr(), &mut buffer) };
            // There was room for it, and somebody who reads, and the pipe is still locked.
            if added < 0 {
                break;
            }
            total += len;
        }
        total
    }
}

/// A pipe from which a file is to be written.
///
/// # Invariants
///
/// The pipe is valid, and not locked by the calling task.
pub(crate) struct PipeSource<'a> {
    pipe: NonNull<bindings::pipe_inode_info>,
    len: usize,
    may_move: bool,
    _call: PhantomData<&'a mut bindings::pipe_inode_info>,
}

impl<'a> PipeSource<'a> {
    /// The pipe that `splice_write` is given.
    ///
    /// # Safety
    ///
    /// The arguments must be those of `splice_write`, and the returned value must go before that
    /// returns.
    pub(super) unsafe fn from_raw(
        pipe: *mut bindings::pipe_inode_info,
        len: usize,
        flags: u32,
    ) -> Result<Self> {
        Ok(Self {
            // INVARIANT: By the function's contract.
            pipe: NonNull::new(pipe).ok_or(EINVAL)?,
            len,
            may_move: flags & bindings::SPLICE_F_MOVE != 0,
            _call: PhantomData,
        })
    }

    /// Takes as many bytes out of the pipe as are to be written. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there are not so many, `ENOMEM`: then nothing is taken.
    pub(crate) fn take(self) -> Result<Spliced<'a>> {
        let pipe = self.pipe.as_ptr();
        // SAFETY: The pipe is valid by the type invariant, and unlocked below.
        unsafe { bindings::pipe_lock(pipe) };
        // SAFETY: The pipe is valid and locked.
        let taken = unsafe { take_locked(pipe, self.len) };
        // SAFETY: Locked above. A writer may wait for the slots that are free now.
        unsafe {
            if taken.is_ok() {
                bindings::pipe_wake_writers(pipe);
            }
            bindings::pipe_unlock(pipe);
        }
        // INVARIANT: The buffers are ours, and `vecs` say nothing yet.
        let mut spliced = Spliced {
            pipe: self.pipe,
            buffers: taken?,
            vecs: KVVec::new(),
            good: 0,
            bad: self.len,
            error: EFAULT,
            may_move: self.may_move,
            next: 0,
            before: 0,
            _call: PhantomData,
        };
        spliced.confirm()?;
        Ok(spliced)
    }
}

/// Buffers that were taken out of a pipe, to be written to a file as one piece.
///
/// # Invariants
///
/// `pipe` is valid, and not locked by the calling task.
/// `buffers` are no longer in the pipe; this value owns those of them that have operations. `vecs`
/// say where the contents of the buffers are, up to the first that is bad.
pub(crate) struct Spliced<'a> {
    pipe: NonNull<bindings::pipe_inode_info>,
    buffers: KVVec<bindings::pipe_buffer>,
    vecs: KVVec<bindings::bio_vec>,
    /// How many bytes the good buffers hold.
    good: usize,
    /// How many bytes there are behind them, and what is wrong with the first of those.
    bad: usize,
    error: Error,
    /// The caller asks for pages to be moved.
    may_move: bool,
    /// The first buffer that has not been passed, and how many bytes are before it.
    next: usize,
    before: usize,
    _call: PhantomData<&'a mut bindings::pipe_inode_info>,
}

impl Spliced<'_> {
    /// Finds the contents of the buffers, up to the first that has none.
    fn confirm(&mut self) -> Result {
        self.vecs.reserve(self.buffers.len(), GFP_KERNEL)?;
        for buffer in &mut self.buffers {
            // SAFETY: The pipe is valid, and the buffer is one that was in it.
            let confirmed = unsafe { bindings::pipe_buf_confirm(self.pipe.as_ptr(), buffer) };
            if let Err(error) = to_result(confirmed) {
                self.error = error;
                break;
            }
            let vec = bindings::bio_vec {
                bv_page: buffer.page,
                bv_len: buffer.len,
                bv_offset: buffer.offset,
            };
            // INVARIANT: That is where the buffer's contents are.
            self.vecs.push_within_capacity(vec)?;
            // CAST: A length in memory.
            self.good += buffer.len as usize;
            self.bad -= buffer.len as usize;
        }
        Ok(())
    }

    /// How many bytes are not there.
    pub(super) fn bad(&self) -> usize {
        self.bad
    }

    /// Why they are not.
    pub(super) fn error(&self) -> Error {
        self.error
    }

    /// Calls `f` with all of it.
    pub(crate) fn with<R>(&mut self, f: impl FnOnce(Source<'_, '_>) -> R) -> R {
        let mut iter = MaybeUninit::uninit();
        // SAFETY: `vecs` are `good` bytes of pages that the buffers keep. Moving one of the pages away
        // leaves its buffer empty, and the iterator past it.
        let iter = unsafe {
            bindings::iov_iter_bvec(
                iter.as_mut_ptr(),
                bindings::ITER_SOURCE,
                self.vecs.as_ptr(),
                self.vecs.len(),
                self.good,
            );
            IovIterSource::from_raw(iter.as_mut_ptr())
        };
        f(Source::over(iter, self))
    }

    /// Puts the page of the next buffer into the page cache in place of `folio`, which is filled by
    /// that, and may be a different folio of the same file and place from then on; whether that could
    /// be done. `left` is how many of the good bytes are left. May sleep.
    ///
    /// It can be done when the caller has asked for it, the buffer is just as large, and nobody else
    /// has the page.
    pub(super) fn try_move(&mut self, left: usize, folio: &mut LockedFolio) -> bool {
        if !self.may_move || !folio.may_be_replaced() {
            return false;
        }
        let position = self.good.saturating_sub(left);
        while let Some(buffer) = self.buffers.get_mut(self.next) {
            // CAST: A length in memory.
            let len = buffer.len as usize;
            if self.before + len <= position {
                self.before += len;
                self.next += 1;
                continue;
            }
            if self.before != position || len != folio.size() {
                return false;
            }
            // SAFETY: The pipe is valid, the buffer was in it, is ours, and has been confirmed.
            return unsafe { move_page(self.pipe.as_ptr(), buffer, folio) };
        }
        false
    }
}

impl Drop for Spliced<'_> {
    fn drop(&mut self) {
        let pipe = self.pipe.as_ptr();
        // SAFETY: The pipe is valid by the type invariant, and so are the buffers that have
        // operations; releasing them gives pages back to the pipe, under its lock.
        unsafe {
            bindings::pipe_lock(pipe);
            release(pipe, &mut self.buffers);
            bindings::pipe_unlock(pipe);
        }
    }
}

/// Takes buffers of `len` bytes out of the pipe; the last may be a part of one.
///
/// # Safety
///
/// The pipe must be valid and locked.
unsafe fn take_locked(
    pipe: *mut bindings::pipe_inode_info,
    len: usize,
) -> Result<KVVec<bindings::pipe_buffer>> {
    // SAFETY: By the function's contract; this goes for all of the pipe below.
    let used = unsafe { bindings::pipe_buf_usage(pipe) };
    // SAFETY: As above.
    let tail = unsafe { bindings::pipe_tail(pipe) };
    // SAFETY: As above; the slots are `used` from `tail` on.
    let slot = |index: u32| unsafe { bindings::pipe_buf(pipe, tail.wrapping_add(index)) };

    // CAST: A count of slots.
    let mut taken = KVVec::with_capacity(used as usize, GFP_KERNEL)?;
    let mut there = 0;
    for index in 0..used {
        if there >= len {
            break;
        }
        // SAFETY: As above.
        there += unsafe { (*slot(index)).len } as usize;
    }
    if there < len {
        return Err(EINVAL);
    }
    let mut left = len;
    for index in 0..used {
        if left == 0 {
            break;
        }
        // SAFETY: As above; while the pipe is locked the buffer is nobody else's.
        let buffer = unsafe { &mut *slot(index) };
        // CAST: `u32` to `usize`.
        let size = buffer.len as usize;
        if size <= left {
            taken.push_within_capacity(*buffer)?;
            // The slot is free, and the buffer is ours.
            buffer.ops = ptr::null();
            // SAFETY: As above.
            unsafe { bindings::pipe_set_tail(pipe, tail.wrapping_add(index + 1)) };
            left -= size;
        } else {
            // SAFETY: As above, and the buffer is in the pipe.
            if !unsafe { bindings::pipe_buf_get(pipe, buffer) } {
                // SAFETY: The buffers are ours, and the pipe is locked.
                unsafe { release(pipe, &mut taken) };
                return Err(EINVAL);
            }
            let mut first = *buffer;
            // Its page is in the pipe still.
            first.flags &= !bindings::PIPE_BUF_FLAG_GIFT;
            // CAST: Less than `size`.
            first.len = left as u32;
            buffer.offset += first.len;
            buffer.len -= first.len;
            taken.push_within_capacity(first)?;
            left = 0;
        }
    }
    Ok(taken)
}

/// Lets go of those of the buffers that have operations.
///
/// # Safety
///
/// The buffers must have been taken out of the pipe, which must be valid and locked.
unsafe fn release(pipe: *mut bindings::pipe_inode_info, buffers: &mut [bindings::pipe_buffer]) {
    for buffer in buffers {
        if !buffer.ops.is_null() {
            // SAFETY: By the function's contract. This takes the operations away.
            unsafe { bindings::pipe_buf_release(pipe, buffer) };
        }
    }
}

/// Puts the page of a buffer in place of `folio`, which is as large; whether that could be done.
///
/// # Safety
///
/// The buffer must have been taken out of the pipe, have operations, and have been confirmed.
unsafe fn move_page(
    pipe: *mut bindings::pipe_inode_info,
    buffer: &mut bindings::pipe_buffer,
    folio: &mut LockedFolio,
) -> bool {
    // SAFETY: By the function's contract.
    if !unsafe { bindings::pipe_buf_try_steal(pipe, buffer) } {
        return false;
    }
    // SAFETY: The buffer has a page, which is locked now, and nobody's but ours.
    let Some(page) = NonNull::new(unsafe { bindings::page_folio_of(buffer.page) }) else {
        return false;
    };
    let on_lru = buffer.flags & bindings::PIPE_BUF_FLAG_LRU != 0;
    // SAFETY: The folio is locked and ours. The buffer's reference to it goes only after `replace` has
    // taken others, so that the pipe does not take the page for one that it may use again.
    unsafe {
        if !folio.replace(page, on_lru) {
            bindings::folio_unlock(page.as_ptr());
            return false;
        }
        bindings::pipe_buf_release(pipe, buffer);
    }
    true
}
