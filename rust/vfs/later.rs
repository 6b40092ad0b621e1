// SPDX-License-Identifier: GPL-2.0

//! Reads and writes that end after the call that began them: asynchronous ones.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::{
    bindings,
    vfs::file::{Ended, Io},
};
use core::ptr;
use kernel::{
    error::to_result,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, UniqueArc,
    },
    workqueue::{impl_has_work, new_work, Queue, Work, WorkItem},
};

/// A read or write that has begun. It ends when this goes, as [`end`](Self::end) has said.
///
/// # Invariants
///
/// `whole` is what was begun, whose end nobody else tells.
pub(crate) struct Later {
    whole: Begun,
    /// Bytes, or an error.
    outcome: Atomic<isize>,
    /// Of a write.
    cleaner: Option<Pin<KBox<Cleaner>>>,
}

impl<'a> Io<'a> {
    /// Whether whoever asked for it goes on meanwhile, and is told of the end.
    pub(crate) fn may_end_later(&self) -> bool {
        // SAFETY: The structure is valid for the call.
        unsafe { (*self.raw()).ki_complete.is_some() }
    }

    /// Lets a read end later; when there is no memory for that, it has ended. It must be one that
    /// [may](Self::may_end_later).
    pub(crate) fn read_later(self) -> core::result::Result<(Arc<Later>, Ended<'a>), Ended<'a>> {
        self.later(|_| Ok(None))
    }

    /// Lets a write end later, as [`read_later`](Self::read_later) does a read. What the page cache
    /// then holds of the range goes first: somebody may have read it meanwhile.
    pub(crate) fn write_later(self) -> core::result::Result<(Arc<Later>, Ended<'a>), Ended<'a>> {
        self.later(|begun| Cleaner::new(begun).map(Some))
    }

    fn later(
        self,
        cleaner: impl FnOnce(Begun) -> Result<Option<Pin<KBox<Cleaner>>>>,
    ) -> core::result::Result<(Arc<Later>, Ended<'a>), Ended<'a>> {
        if !self.may_end_later() {
            return Err(self.end(Err(EINVAL)));
        }
        // INVARIANT: It is valid now, and stays so since the end is told by what is made of this only:
        // `self` goes.
        let begun = Begun(self.raw());
        let made = cleaner(begun).and_then(|cleaner| {
            let room = UniqueArc::new_uninit(GFP_KERNEL)?;
            Ok((cleaner, room))
        });
        match made {
            Err(err) => Err(self.end(Err(err))),
            Ok((cleaner, room)) => {
                // INVARIANT: This is the only one made of `self`.
                let later = room.write(Later {
                    whole: begun,
                    outcome: Atomic::new(EIO.to_errno() as isize),
                    cleaner,
                });
                Ok((later.into(), self.queued()))
            }
        }
    }
}

impl Later {
    /// Says how it ends: so many bytes were moved. Without a word it is `EIO`.
    pub(crate) fn end(&self, outcome: Result<usize>) {
        let outcome = match outcome {
            // CAST: No larger than MAX_RW_COUNT.
            Ok(moved) => moved as isize,
            Err(err) => err.to_errno() as isize,
        };
        self.outcome.store(outcome, Relaxed);
    }
}

impl Drop for Later {
    fn drop(&mut self) {
        let outcome = self.outcome.load(Relaxed);
        match self.cleaner.take() {
            Some(cleaner) if outcome > 0 && self.whole.has_pages() => {
                // SAFETY: The file system stays until the end is told, and its queue with it.
                let queue = unsafe { Queue::from_raw((*self.whole.super_block()).s_dio_done_wq) };
                cleaner.outcome.store(outcome, Relaxed);
                queue.enqueue(cleaner);
            }
            // SAFETY: By the type invariant.
            _ => unsafe { self.whole.tell(outcome) },
        }
    }
}

/// A read or write that has begun, and of whose end nobody has been told.
///
/// # Invariants
///
/// The structure is valid, with its file, until [`tell`](Self::tell) is called.
#[derive(Clone, Copy)]
struct Begun(*mut bindings::kiocb);

// SAFETY: The end may be told by any thread.
unsafe impl Send for Begun {}
// SAFETY: As above; nothing of it is changed.
unsafe impl Sync for Begun {}

impl Begun {
    fn mapping(self) -> *mut bindings::address_space {
        // SAFETY: By the type invariant.
        unsafe { (*(*self.0).ki_filp).f_mapping }
    }

    fn super_block(self) -> *mut bindings::super_block {
        // SAFETY: By the type invariant; the file has its inode.
        unsafe { (*(*(*self.0).ki_filp).f_inode).i_sb }
    }

    /// Whether anything of the file is in the page cache, as far as can be told.
    fn has_pages(self) -> bool {
        // SAFETY: The mapping is valid; the count may change any time.
        unsafe { ptr::read_volatile(&raw const (*self.mapping()).nrpages) != 0 }
    }

    /// Tells that it has ended.
    ///
    /// # Safety
    ///
    /// Nobody else may tell that, and this not be used afterwards.
    unsafe fn tell(self, outcome: isize) {
        // SAFETY: By the type invariant, and the function's contract.
        unsafe {
            if let Some(complete) = (*self.0).ki_complete {
                complete(self.0, outcome as c_long);
            }
        }
    }
}

/// Drops from the page cache what was written past it, and tells of the end of the write. That may have
/// to wait for a daemon, and so must not be done by its thread.
#[pin_data]
struct Cleaner {
    whole: Begun,
    outcome: Atomic<isize>,
    #[pin]
    work: Work<Cleaner>,
}

impl_has_work! {
    impl HasWork<Self> for Cleaner { self.work }
}

impl Cleaner {
    /// One for a write that has begun, and the queue that it will need. `ENOMEM`.
    fn new(whole: Begun) -> Result<Pin<KBox<Self>>> {
        let super_block = whole.super_block();
        // SAFETY: The superblock is valid; its queue goes with it, and is made once whoever else tries.
        unsafe {
            if ptr::read_volatile(&raw const (*super_block).s_dio_done_wq).is_null() {
                to_result(bindings::sb_init_dio_done_wq(super_block))?;
            }
        }
        KBox::pin_init(
            pin_init!(Self {
                whole,
                outcome: Atomic::new(0),
                work <- new_work!("vfs::Cleaner"),
            }),
            GFP_KERNEL,
        )
    }
}

impl WorkItem for Cleaner {
    type Pointer = Pin<KBox<Self>>;

    fn run(this: Pin<KBox<Self>>) {
        let outcome = this.outcome.load(Relaxed);
        // SAFETY: The write has not ended; its position is where it began. Who dropped the `Later` has
        // left it to this to tell of the end, and does so only if something was written.
        unsafe {
            let start = (*this.whole.0).ki_pos;
            let last = start + outcome as i64 - 1;
            // CAST: Positions in a file are not negative.
            bindings::invalidate_inode_pages2_range(
                this.whole.mapping(),
                (start >> bindings::PAGE_SHIFT) as usize,
                (last >> bindings::PAGE_SHIFT) as usize,
            );
            this.whole.tell(outcome);
        }
    }
}
