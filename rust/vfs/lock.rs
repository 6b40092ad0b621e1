// SPDX-License-Identifier: GPL-2.0

//! Locks on files: those of fcntl(2), which have a range, and those of flock(2), which do not.
//!
//! C headers: [`include/linux/filelock.h`](srctree/include/linux/filelock.h)

use crate::{
    bindings,
    vfs::file::{Callbacks, FileOperations, LockOwner},
};
use core::{marker::PhantomData, ptr};
use kernel::{
    error::{from_result, to_result},
    prelude::*,
};

/// What a lock keeps others from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockType {
    /// Writing.
    Read,
    /// Reading and writing.
    Write,
    /// Nothing: there is no lock, or it is to be given up.
    Unlock,
}

impl LockType {
    /// The type with that number in `fcntl.h`; `None` when none has.
    pub(crate) fn of_number(number: u32) -> Option<Self> {
        Some(match number {
            bindings::F_RDLCK => Self::Read,
            bindings::F_WRLCK => Self::Write,
            bindings::F_UNLCK => Self::Unlock,
            _ => return None,
        })
    }

    /// Its number.
    pub(crate) fn number(self) -> u32 {
        match self {
            Self::Read => bindings::F_RDLCK,
            Self::Write => bindings::F_WRLCK,
            Self::Unlock => bindings::F_UNLCK,
        }
    }
}

/// What has come of a lock on a range.
pub(crate) enum Outcome {
    /// It has been taken or given up.
    Done,
    /// Others are in the way: the VFS waits, and asks again.
    Deferred,
}

/// A lock that is to be tested for, taken, or given up.
///
/// # Invariants
///
/// `raw` is valid during the call, and a lock on `file`.
pub(crate) struct FileLock<'a> {
    file: *mut bindings::file,
    raw: *mut bindings::file_lock,
    _call: PhantomData<&'a mut bindings::file_lock>,
}

impl FileLock<'_> {
    /// What it is to keep others from.
    pub(crate) fn lock_type(&self) -> LockType {
        // SAFETY: By the type invariant.
        let number = unsafe { bindings::lock_type(self.raw) };
        LockType::of_number(number).unwrap_or(LockType::Unlock)
    }

    /// The first byte.
    pub(crate) fn start(&self) -> u64 {
        // SAFETY: By the type invariant. CAST: Positions are not negative.
        unsafe { bindings::lock_start(self.raw) as u64 }
    }

    /// The last byte.
    pub(crate) fn end(&self) -> u64 {
        // SAFETY: By the type invariant. CAST: Positions are not negative.
        unsafe { bindings::lock_end(self.raw) as u64 }
    }

    /// Whose it is.
    pub(crate) fn owner(&self) -> LockOwner {
        // SAFETY: By the type invariant; only an address is taken.
        LockOwner(unsafe { bindings::lock_owner(self.raw) }.addr())
    }

    /// Whether it goes with the first descriptor that its owner closes, as the old locks of fcntl(2)
    /// do. The others are the open file's.
    pub(crate) fn is_of_process(&self) -> bool {
        self.flags() & (bindings::FL_FLOCK | bindings::FL_OFDLCK) == 0
    }

    /// Whether the caller waits until it can have it.
    pub(crate) fn waits(&self) -> bool {
        self.flags() & bindings::FL_SLEEP != 0
    }

    /// Whether the caller goes on at once, and wants to be told when it has it.
    pub(crate) fn is_asynchronous(&self) -> bool {
        // SAFETY: By the type invariant.
        unsafe { bindings::lock_wants_grant(self.raw) }
    }

    fn flags(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { bindings::lock_flags(self.raw) }
    }

    /// Says that nothing is in its way.
    pub(crate) fn set_free(&mut self) {
        // SAFETY: By the type invariant; the lock is ours for the call.
        unsafe { bindings::lock_set_type(self.raw, bindings::F_UNLCK) };
    }

    /// Says which lock is in its way: of that process, by its number in the initial namespace.
    pub(crate) fn set_conflict(&mut self, lock_type: LockType, start: i64, end: i64, pid: i32) {
        // SAFETY: As above.
        unsafe {
            bindings::lock_set_type(self.raw, lock_type.number());
            bindings::lock_set_pid(self.raw, pid);
            bindings::lock_set_range(self.raw, start, end);
        }
    }

    /// Tests for it among the locks that the VFS keeps.
    pub(crate) fn test_locally(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::posix_test_lock(self.file, self.raw) };
    }

    /// Has the VFS take it or give it up, where it has a range.
    ///
    /// # Errors
    ///
    /// `EAGAIN` when others are in the way and the caller does not wait; `EDEADLK`, `ENOLCK`.
    pub(crate) fn set_locally(&mut self) -> Result<Outcome> {
        // SAFETY: By the type invariant. What is in its way is not asked for.
        let ret = unsafe { bindings::posix_lock_file(self.file, self.raw, ptr::null_mut()) };
        if ret == bindings::FILE_LOCK_DEFERRED {
            return Ok(Outcome::Deferred);
        }
        to_result(ret).map(|()| Outcome::Done)
    }

    /// Has the VFS take it or give it up, where it has none. May wait for others.
    ///
    /// # Errors
    ///
    /// `EWOULDBLOCK` when others are in the way and the caller does not wait; `ERESTARTSYS` on a
    /// signal; `ENOMEM`.
    pub(crate) fn flock_locally(&mut self) -> Result {
        // SAFETY: By the type invariant.
        to_result(unsafe { bindings::locks_lock_file_wait(self.file, self.raw) })
    }
}

/// # Safety
///
/// To be called as `lock` of `struct file_operations`, for files of `F`.
pub(super) unsafe extern "C" fn lock<F: FileOperations>(
    file: *mut bindings::file,
    command: c_int,
    raw: *mut bindings::file_lock,
) -> c_int {
    from_result(|| {
        // SAFETY: The C side gives an open file.
        let (inode, data) = unsafe { Callbacks::<F>::parts(file) };
        // INVARIANT: The C side gives a lock of this file that is ours for the call.
        let mut lock = FileLock {
            file,
            raw,
            _call: PhantomData,
        };
        match command as u32 {
            // Nothing is under way when this is called.
            bindings::F_CANCELLK => Ok(0),
            bindings::F_GETLK => F::test_lock(inode, data, &mut lock).map(|()| 0),
            _ => Ok(match F::lock(inode, data, &mut lock)? {
                Outcome::Done => 0,
                Outcome::Deferred => bindings::FILE_LOCK_DEFERRED,
            }),
        }
    })
}

/// # Safety
///
/// To be called as `flock` of `struct file_operations`, for files of `F`.
pub(super) unsafe extern "C" fn flock<F: FileOperations>(
    file: *mut bindings::file,
    _command: c_int,
    raw: *mut bindings::file_lock,
) -> c_int {
    from_result(|| {
        // SAFETY: The C side gives an open file.
        let (inode, data) = unsafe { Callbacks::<F>::parts(file) };
        // INVARIANT: As above.
        let mut lock = FileLock {
            file,
            raw,
            _call: PhantomData,
        };
        F::flock(inode, data, &mut lock).map(|()| 0)
    })
}
