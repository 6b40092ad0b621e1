// SPDX-License-Identifier: GPL-2.0

//! Operations on open files and directories.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

mod callbacks;

pub(super) use callbacks::Callbacks;

use crate::{
    bindings,
    vfs::{
        dentry::{self, Child, DEntry},
        filesystem::FileSystem,
        inode::{FileType, INode},
        ioctl::{self, Ioctl},
        lock::{self, FileLock, Outcome},
        mmap::{Area, Mapping},
        poll::{self, Events, Poll},
    },
};
use core::{marker::PhantomData, ops::Deref, ptr};
use kernel::{
    current,
    error::{from_result, to_result, VTABLE_DEFAULT_ERROR},
    fs::{file::flags, File},
    iov::{IovIterDest, IovIterSource},
    prelude::*,
    types::ForeignOwnable,
};

/// What a method of `F` gets of the open file's data.
pub(crate) type Borrowed<'a, F> = <<F as FileOperations>::Ptr as ForeignOwnable>::Borrowed<'a>;

/// What can be done with an open file. All methods run in the context of a task and may sleep.
#[vtable]
pub(crate) trait FileOperations: Sized + 'static {
    /// The file system.
    type FileSystem: FileSystem;

    /// Whether its contents are in the page cache, from where splice(2) may take pages.
    const USES_PAGE_CACHE: bool = true;

    /// The file system's part of an open file.
    type Ptr: ForeignOwnable + Send + Sync;

    /// Opens the file.
    fn open(inode: &INode<Self::FileSystem>, file: &NewFile<'_>) -> Result<Self::Ptr>;

    /// Completes the opening of a file that was made and opened in one go
    /// ([`DirectoryOperations::atomic_open`](super::dir_ops::DirectoryOperations::atomic_open)).
    fn finish_open(
        _inode: &INode<Self::FileSystem>,
        _data: Borrowed<'_, Self>,
        _file: &NewFile<'_>,
    ) -> Result {
        Ok(())
    }

    /// The last reference to the open file is gone.
    fn release(_inode: &INode<Self::FileSystem>, file: Self::Ptr, _flags: u32) {
        drop(file);
    }

    /// A descriptor of the open file is being closed.
    fn flush(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _owner: LockOwner,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads from the file into `iov`.
    fn read_iter<'a>(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _io: Io<'a>,
        _iov: &mut IovIterDest<'_>,
    ) -> Ended<'a> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes to the file from `iov`.
    fn write_iter<'a>(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _io: Io<'a>,
        _iov: &mut IovIterSource<'_>,
    ) -> Ended<'a> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes sure that what was written reaches what keeps it.
    fn fsync(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _sync: &Fsync<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Says how the file is mapped into memory.
    fn mmap(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _area: &Area<'_>,
    ) -> Result<Mapping> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Allocates or frees a range of the file.
    fn fallocate(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _what: &Allocation<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Copies a range from one file of the superblock to another, or to the same; returns how many
    /// bytes. Where that is not to be had (`EOPNOTSUPP`), the VFS reads and writes.
    fn copy_range(
        _from: OpenRef<'_, Self>,
        _to: OpenRef<'_, Self>,
        _range: &CopyRange,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Moves the position; returns the new one. `None` leaves it to the VFS.
    fn llseek(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _seek: &Seek<'_>,
    ) -> Result<i64> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Tests whether others have a lock on the file that is in the way of `lock`, and says so there.
    fn test_lock(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _lock: &mut FileLock<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes or gives up a lock on a range of the file. Without this, the VFS does.
    fn lock(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _lock: &mut FileLock<'_>,
    ) -> Result<Outcome> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes or gives up a lock of flock(2). Without this, the VFS does.
    fn flock(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _lock: &mut FileLock<'_>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An ioctl that the VFS does not do by itself. Programs of all layouts make it.
    fn ioctl(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _ioctl: &Ioctl,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// What the file is ready for, and waiting for more. Without this, it is always ready.
    fn poll(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _poll: &Poll<'_>,
    ) -> Events {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Hands the entries of a directory from `entries.position()` on to `entries`. The directory is
    /// locked for reading.
    fn iterate(
        _inode: &INode<Self::FileSystem>,
        _file: Borrowed<'_, Self>,
        _entries: &mut DirEmitter<'_, Self::FileSystem>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// A file that is being opened.
pub(crate) struct NewFile<'a>(&'a File);

impl Deref for NewFile<'_> {
    type Target = File;

    fn deref(&self) -> &File {
        self.0
    }
}

impl NewFile<'_> {
    /// # Safety
    ///
    /// `file` must be a file that is being opened, and nobody else's, for as long as the value is
    /// used.
    pub(super) unsafe fn from_raw(file: *mut bindings::file) -> Self {
        // SAFETY: By the function's contract.
        Self(unsafe { File::from_raw_file(file) })
    }

    /// Makes it a stream: it has no position, and reading and writing do not exclude each other.
    pub(crate) fn make_stream(&self) {
        // SAFETY: The file is being opened, so its mode is ours. The call cannot fail.
        unsafe { bindings::stream_open((*self.as_ptr()).f_inode, self.as_ptr()) };
    }

    /// Sets the times of the file, where the VFS is to do that: it is being modified. Errors are those
    /// of setting attributes.
    pub(crate) fn update_time(&self) -> Result {
        // SAFETY: As above.
        to_result(unsafe { bindings::file_update_time(self.as_ptr()) })
    }

    /// Whether it can be written to.
    pub(crate) fn is_writable(&self) -> bool {
        // SAFETY: As above.
        unsafe { (*self.as_ptr()).f_mode & bindings::FMODE_WRITE != 0 }
    }

    /// Forbids seeking.
    pub(crate) fn make_nonseekable(&self) {
        // SAFETY: As above.
        unsafe { bindings::nonseekable_open((*self.as_ptr()).f_inode, self.as_ptr()) };
    }
}

/// Whether the running task is on its way out by a fatal signal, and closes its files.
pub(crate) fn is_being_killed() -> bool {
    // SAFETY: The running task is valid, and its flags are changed by nobody else.
    unsafe { (*current!().as_ptr()).flags & bindings::PF_SIGNALED != 0 }
}

/// The permissions that the running task does not want new files to have.
pub(crate) fn current_umask() -> u32 {
    // SAFETY: Reads what the running task alone changes.
    unsafe { bindings::current_umask() as u32 }
}

/// Who holds locks on a file: all that share a table of descriptors, or an open file.
#[derive(Clone, Copy)]
pub(crate) struct LockOwner(pub(super) usize);

impl LockOwner {
    /// The running task's.
    pub(crate) fn current() -> Self {
        // SAFETY: The running task is valid; only the address of its table is taken.
        Self(unsafe { (*current!().as_ptr()).files }.addr())
    }

    /// A number that stands for the owner. It is a kernel address, which nobody must see.
    pub(crate) fn secret(self) -> u64 {
        self.0 as u64
    }
}

/// A read or write that is being done, until it [ends](Self::end).
///
/// # Invariants
///
/// The structure is valid, and nobody else's.
pub(crate) struct Io<'a> {
    kiocb: *mut bindings::kiocb,
    _call: PhantomData<&'a mut bindings::kiocb>,
}

/// How a read or write has ended, or that it will end later.
///
/// # Invariants
///
/// What the C side is to be told, which no longer is an [`Io`] of anybody's.
pub(crate) struct Ended<'a> {
    code: isize,
    _call: PhantomData<&'a mut bindings::kiocb>,
}

impl Ended<'_> {
    /// How many bytes were moved, if it has ended well.
    pub(crate) fn moved(&self) -> usize {
        usize::try_from(self.code).unwrap_or(0)
    }

    /// For the C side.
    pub(super) fn code(self) -> isize {
        self.code
    }
}

impl<'a> Io<'a> {
    /// It ends: so many bytes were moved.
    pub(crate) fn end(self, outcome: Result<usize>) -> Ended<'a> {
        self.ended(match outcome {
            // CAST: No larger than MAX_RW_COUNT.
            Ok(moved) => moved as isize,
            Err(err) => err.to_errno() as isize,
        })
    }

    /// Ends it as `act` says.
    pub(crate) fn end_by(mut self, act: impl FnOnce(&mut Self) -> Result<usize>) -> Ended<'a> {
        let outcome = act(&mut self);
        self.end(outcome)
    }

    /// It ends, or will do so later, as the C side has said.
    pub(super) fn ended(self, code: isize) -> Ended<'a> {
        // INVARIANT: `self` goes.
        Ended {
            code,
            _call: PhantomData,
        }
    }

    /// The C pointer, to be looked at.
    pub(super) fn raw(&self) -> *mut bindings::kiocb {
        self.kiocb
    }

    /// It will end later.
    pub(super) fn queued(self) -> Ended<'a> {
        self.ended(EIOCBQUEUED.to_errno() as isize)
    }

    /// Reads through the page cache, after [`direct_read`] has read what it can if that is to be left
    /// out, and moves the position on.
    ///
    /// # Errors
    ///
    /// Those of reading a folio and of `direct_read`; `EIO` when a folio could not be read; `EAGAIN`,
    /// `EINTR`.
    ///
    /// [`direct_read`]: super::address_space::AddressSpaceOperations::direct_read
    pub(crate) fn read(self, iov: &mut IovIterDest<'_>) -> Ended<'a> {
        // SAFETY: The structure is valid for the call and ours, and so is the iterator.
        let code = unsafe { bindings::generic_file_read_iter(self.kiocb, iov.as_raw()) };
        self.ended(code)
    }
}

impl Io<'_> {
    /// The read or write that the C side asks for.
    ///
    /// # Safety
    ///
    /// `kiocb` must be valid, and nobody else's, for as long as the value is used; what
    /// [`Ended`] then says must be returned to the C side.
    pub(super) unsafe fn from_raw(kiocb: *mut bindings::kiocb) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            kiocb,
            _call: PhantomData,
        }
    }

    /// The C pointer.
    pub(super) fn as_ptr(&mut self) -> *mut bindings::kiocb {
        self.kiocb
    }

    /// The open file.
    pub(super) fn file(&self) -> *mut bindings::file {
        // SAFETY: The structure is valid for the call.
        unsafe { (*self.kiocb).ki_filp }
    }

    /// The flags that the file has now (`O_*`), and those that this call is given beside.
    pub(crate) fn flags(&self) -> u32 {
        // SAFETY: The structure and its file are valid for the call; the flags may change any time.
        unsafe {
            let mut open_flags = ptr::read_volatile(&raw const (*(*self.kiocb).ki_filp).f_flags);
            if bindings::iocb_is_dsync(self.kiocb) {
                open_flags |= flags::O_DSYNC;
            }
            if (*self.kiocb).ki_flags & bindings::IOCB_SYNC != 0 {
                open_flags |= flags::O_SYNC;
            }
            open_flags
        }
    }

    /// Whether it writes to the end of the file, wherever that is.
    pub(crate) fn is_append(&self) -> bool {
        // SAFETY: The structure is valid for the call.
        unsafe { (*self.kiocb).ki_flags & bindings::IOCB_APPEND != 0 }
    }

    /// Where in the file to begin, in bytes.
    pub(crate) fn position(&self) -> u64 {
        // SAFETY: The structure is valid for the call.
        // CAST: The VFS checks that it is not negative.
        unsafe { (*self.kiocb).ki_pos as u64 }
    }

    /// Moves the position on.
    pub(crate) fn advance(&mut self, bytes: usize) {
        // SAFETY: The structure is valid for the call and ours.
        let position = unsafe { &mut (*self.kiocb).ki_pos };
        *position = position.saturating_add_unsigned(bytes as u64);
    }

    /// Whether the page cache is to be left out (`O_DIRECT`).
    pub(crate) fn is_direct(&self) -> bool {
        // SAFETY: The structure is valid for the call.
        unsafe { (*self.kiocb).ki_flags & bindings::IOCB_DIRECT != 0 }
    }
}

/// The count or the error that a C function returned.
pub(super) fn count(ret: isize) -> Result<usize> {
    usize::try_from(ret).map_err(|_| Error::from_errno(ret as c_int))
}

/// A wish to move the position of a file.
pub(crate) struct Seek<'a> {
    file: &'a File,
    offset: i64,
    whence: c_int,
}

impl Seek<'_> {
    /// Where to look, in bytes.
    pub(crate) fn offset(&self) -> i64 {
        self.offset
    }

    /// What for: `SEEK_*`.
    pub(crate) fn whence(&self) -> u32 {
        self.whence as u32
    }

    /// Whether it is for data, or for a hole.
    pub(crate) fn is_for_contents(&self) -> bool {
        matches!(
            self.whence as u32,
            bindings::SEEK_DATA | bindings::SEEK_HOLE
        )
    }

    /// Sets the position.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there can be no such position in the file.
    pub(crate) fn set(&self, position: u64) -> Result<i64> {
        // CAST: What is too large is negative then.
        // SAFETY: The file is valid.
        let position = unsafe {
            let largest = (*(*(*self.file.as_ptr()).f_inode).i_sb).s_maxbytes;
            bindings::vfs_setpos(self.file.as_ptr(), position as i64, largest)
        };
        if position < 0 {
            return Err(Error::from_errno(position as c_int));
        }
        Ok(position)
    }

    /// Whether the new position depends on the size of the file or on what it holds.
    pub(crate) fn needs_size(&self) -> bool {
        matches!(
            self.whence as u32,
            bindings::SEEK_END | bindings::SEEK_DATA | bindings::SEEK_HOLE
        )
    }

    /// Moves the position by what the inode says of the size. Data goes to the end of the file, and
    /// there the only hole begins.
    pub(crate) fn by_inode(&self) -> Result<i64> {
        // SAFETY: The file is valid.
        let position =
            unsafe { bindings::generic_file_llseek(self.file.as_ptr(), self.offset, self.whence) };
        if position < 0 {
            return Err(Error::from_errno(position as c_int));
        }
        Ok(position)
    }
}

/// A wish to have what was written to a file reach what keeps it.
pub(crate) struct Fsync<'a> {
    file: &'a File,
    start: bindings::loff_t,
    end: bindings::loff_t,
    data_only: bool,
}

impl Fsync<'_> {
    /// Whether attributes that are not needed to read it again may be left out.
    pub(crate) fn is_data_only(&self) -> bool {
        self.data_only
    }

    /// Writes the range back that is asked for, and waits until that is done. Errors are those of
    /// writing back.
    pub(crate) fn write_back(&self) -> Result {
        // SAFETY: The file is valid.
        to_result(unsafe {
            bindings::file_write_and_wait_range(self.file.as_ptr(), self.start, self.end)
        })
    }

    /// An error that writing back came to and that who uses this open file has not been told of.
    pub(crate) fn take_error(&self) -> Result {
        // SAFETY: The file is valid.
        to_result(unsafe { bindings::file_check_and_advance_wb_err(self.file.as_ptr()) })
    }
}

/// A file that is being changed.
pub(crate) struct Modified<'a>(&'a File);

impl Modified<'_> {
    /// Takes privileges from the file, and sets its times where the VFS is to do that. The contents
    /// must be locked exclusively. Errors are those of setting attributes.
    pub(crate) fn modified(&self) -> Result {
        // SAFETY: The file is valid.
        to_result(unsafe { bindings::file_modified(self.0.as_ptr()) })
    }

    /// Sets the times, where the VFS is to do that. Errors are those of setting attributes.
    pub(crate) fn update_time(&self) -> Result {
        // SAFETY: The file is valid.
        to_result(unsafe { bindings::file_update_time(self.0.as_ptr()) })
    }
}

/// A wish to have a range of a file allocated or freed.
pub(crate) struct Allocation<'a> {
    file: Modified<'a>,
    mode: u32,
    start: u64,
    end: u64,
}

impl<'a> Allocation<'a> {
    /// The file.
    pub(crate) fn file(&self) -> &Modified<'a> {
        &self.file
    }

    /// What is to be done: `FALLOC_FL_*`.
    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    /// Whether it is nothing but allocating, punching a hole, or writing zeroes, with or without
    /// changing the size.
    pub(crate) fn is_understood(&self) -> bool {
        let known = bindings::FALLOC_FL_KEEP_SIZE
            | bindings::FALLOC_FL_PUNCH_HOLE
            | bindings::FALLOC_FL_ZERO_RANGE;
        self.mode & !known == 0
    }

    /// Whether the file's size stays as it is.
    pub(crate) fn keeps_size(&self) -> bool {
        self.mode & bindings::FALLOC_FL_KEEP_SIZE != 0
    }

    /// Whether there is nothing in the range afterwards.
    pub(crate) fn empties(&self) -> bool {
        self.mode & (bindings::FALLOC_FL_PUNCH_HOLE | bindings::FALLOC_FL_ZERO_RANGE) != 0
    }

    /// The first byte, and the one behind the last.
    pub(crate) fn range(&self) -> (u64, u64) {
        (self.start, self.end)
    }
}

/// An open file of a kind.
///
/// # Invariants
///
/// The file is open by the table of `F`.
pub(crate) struct OpenRef<'a, F: FileOperations> {
    file: &'a File,
    _kind: PhantomData<F>,
}

impl<'a, F: FileOperations> OpenRef<'a, F> {
    /// # Safety
    ///
    /// `file` must be a file that `open` of the table of `F` opened, for all of `'a`.
    unsafe fn from_raw(file: *mut bindings::file) -> Self {
        // INVARIANT: By the function's contract.
        Self {
            // SAFETY: As above.
            file: unsafe { File::from_raw_file(file) },
            _kind: PhantomData,
        }
    }

    /// The inode it is open on.
    pub(crate) fn inode(&self) -> &'a INode<F::FileSystem> {
        // SAFETY: The file keeps its inode, which is of the file system by the type invariants.
        unsafe { INode::from_raw((*self.file.as_ptr()).f_inode) }
    }

    /// The file system's part of it.
    pub(crate) fn data(&self) -> Borrowed<'a, F> {
        // SAFETY: By the type invariants.
        unsafe { F::Ptr::borrow((*self.file.as_ptr()).private_data) }
    }

    /// It is being changed.
    pub(crate) fn modify(&self) -> Modified<'a> {
        Modified(self.file)
    }

    /// It was read: sets the time, where the VFS is to do that.
    pub(crate) fn accessed(&self) {
        // SAFETY: The file is valid.
        unsafe { bindings::file_accessed(self.file.as_ptr()) };
    }
}

/// What is to be copied.
pub(crate) struct CopyRange {
    /// Where to begin in the one file, in bytes.
    pub(crate) from: u64,
    /// Where to begin in the other.
    pub(crate) to: u64,
    /// How many bytes at most.
    pub(crate) len: u64,
    /// The flags of copy_file_range(2).
    pub(crate) flags: u32,
}

/// Takes the entries of a directory to whoever reads it.
///
/// # Invariants
///
/// `dir` is the entry of the directory, which is locked for reading at least.
pub(crate) struct DirEmitter<'a, T: FileSystem> {
    context: &'a mut bindings::dir_context,
    dir: &'a DEntry<T>,
}

impl<'a, T: FileSystem> DirEmitter<'a, T> {
    /// The entry of that name in the directory: the one that is cached, or a new one, for which nobody
    /// else can look meanwhile. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn child(&self, name: &[u8]) -> Result<Child<'a, T>> {
        // SAFETY: By the type invariant.
        unsafe { dentry::child(self.dir, name) }
    }

    /// The position of the next entry; 0 at first.
    pub(crate) fn position(&self) -> i64 {
        self.context.pos
    }

    /// Sets the position of the next entry.
    pub(crate) fn set_position(&mut self, position: i64) {
        self.context.pos = position;
    }

    /// How much the reader has room for, in bytes, or 0 when it did not say.
    pub(crate) fn room(&self) -> usize {
        usize::try_from(self.context.count).unwrap_or(0)
    }

    /// Hands an entry to the reader: a name, the number of the inode, and the type (`DT_*`). Returns
    /// whether there was room for it. No signal ends this early.
    pub(crate) fn emit(&mut self, name: &[u8], number: u64, type_: u32) -> bool {
        let Ok(len) = c_int::try_from(name.len()) else {
            return false;
        };
        let type_ = type_ | bindings::FILLDIR_FLAG_NOINTR;
        // SAFETY: The context is valid and ours, and so is the name.
        unsafe { bindings::dir_emit(self.context, name.as_ptr().cast(), len, number, type_) }
    }
}

/// The table of operations of `F`.
pub(super) fn table<F: FileOperations>() -> &'static bindings::file_operations {
    &Callbacks::<F>::OPERATIONS
}

/// The data of an open file, if the operations of `F` opened it.
///
/// # Safety
///
/// `file` must be an open file for all of `'a`.
pub(super) unsafe fn data_of<'a, F: FileOperations>(
    file: *mut bindings::file,
) -> Option<Borrowed<'a, F>> {
    // SAFETY: By the function's contract; a table of `F`'s means that `open` has stored such data.
    unsafe { ptr::eq((*file).f_op, table::<F>()).then(|| F::Ptr::borrow((*file).private_data)) }
}

/// The `DT_*` value for a type of file.
impl From<FileType> for u32 {
    fn from(file_type: FileType) -> u32 {
        file_type.mode() >> 12
    }
}
