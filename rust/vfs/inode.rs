// SPDX-License-Identifier: GPL-2.0

//! Inodes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::{
    bindings,
    vfs::{
        address_space::{self, page_index, AddressSpaceOperations},
        dentry::OwnedDEntry,
        dir_ops::{self, DirectoryOperations},
        file::{self, FileOperations},
        filesystem::FileSystem,
        inode_cache::INodeMemory,
        inode_ops::{self, INodeOperations},
        ns::{Gid, Uid},
        super_block::SuperBlock,
    },
};
use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU16, Ordering},
};
use kernel::{
    error::{from_err_ptr, to_result},
    prelude::*,
    types::{NotThreadSafe, Opaque},
};

/// What kind of file an inode is: the bits of `S_IFMT`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileType {
    /// Bytes.
    Regular,
    /// Names.
    Directory,
    /// A path.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A Unix socket.
    Socket,
}

impl FileType {
    /// The type in a mode; `None` when that has none.
    pub(crate) fn of_mode(mode: u32) -> Option<Self> {
        Some(match mode & bindings::S_IFMT {
            bindings::S_IFREG => Self::Regular,
            bindings::S_IFDIR => Self::Directory,
            bindings::S_IFLNK => Self::Symlink,
            bindings::S_IFCHR => Self::CharDevice,
            bindings::S_IFBLK => Self::BlockDevice,
            bindings::S_IFIFO => Self::Fifo,
            bindings::S_IFSOCK => Self::Socket,
            _ => return None,
        })
    }

    /// The bits in a mode.
    pub(crate) fn mode(self) -> u32 {
        match self {
            Self::Regular => bindings::S_IFREG,
            Self::Directory => bindings::S_IFDIR,
            Self::Symlink => bindings::S_IFLNK,
            Self::CharDevice => bindings::S_IFCHR,
            Self::BlockDevice => bindings::S_IFBLK,
            Self::Fifo => bindings::S_IFIFO,
            Self::Socket => bindings::S_IFSOCK,
        }
    }
}

/// A point in time.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time {
    /// Seconds since 1970.
    pub(crate) seconds: i64,
    /// Nanoseconds, below one second.
    pub(crate) nanoseconds: u32,
}

impl From<bindings::timespec64> for Time {
    fn from(time: bindings::timespec64) -> Self {
        Self {
            seconds: time.tv_sec,
            nanoseconds: time.tv_nsec as u32,
        }
    }
}

impl Time {
    pub(super) fn to_raw(self) -> bindings::timespec64 {
        bindings::timespec64 {
            tv_sec: self.seconds,
            tv_nsec: self.nanoseconds as c_long,
        }
    }
}

/// An inode.
///
/// A shared reference does not imply a reference count above zero: path walks under RCU see inodes
/// that are on their way out. What it implies is that the memory stays. [`INode::grab`] takes a
/// reference.
///
/// # Invariants
///
/// The inode is the first field of an [`INodeMemory<T>`], whose data is initialised.
#[repr(transparent)]
pub(crate) struct INode<T: FileSystem> {
    raw: Opaque<bindings::inode>,
    _file_system: PhantomData<T>,
}

// SAFETY: An inode belongs to no thread.
unsafe impl<T: FileSystem> Send for INode<T> {}
// SAFETY: The methods synchronise among themselves or leave that to the C side.
unsafe impl<T: FileSystem> Sync for INode<T> {}

impl<T: FileSystem> INode<T> {
    /// The inode behind a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be to an inode as in the type's invariants whose memory stays for all of `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::inode) -> &'a Self {
        // SAFETY: By the function's contract; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::inode {
        self.raw.get()
    }

    /// The file system's part.
    pub(crate) fn data(&self) -> &T::INodeData {
        let memory = self.as_ptr().cast::<INodeMemory<T>>();
        // SAFETY: By the type invariant.
        unsafe { (*memory).data.assume_init_ref() }
    }

    /// The superblock it belongs to.
    pub(crate) fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: Constant, and kept for as long as there are inodes, under RCU too.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).i_sb) }
    }

    /// Takes a reference; `None` when the inode is on its way out. Does not sleep.
    pub(crate) fn grab(&self) -> Option<OwnedINode<T>> {
        // SAFETY: The inode's memory is valid.
        let inode = NonNull::new(unsafe { bindings::igrab(self.as_ptr()) })?;
        // INVARIANT: `igrab` took a reference.
        Some(OwnedINode(inode.cast()))
    }

    /// The type and the permissions.
    pub(crate) fn mode(&self) -> u32 {
        // SAFETY: The field is valid and aligned; it may change at any time.
        let mode = unsafe { AtomicU16::from_ptr(&raw mut (*self.as_ptr()).i_mode) };
        mode.load(Ordering::Relaxed).into()
    }

    /// Whether a file of that mode is of the inode's type.
    pub(crate) fn is_of_type(&self, mode: u32) -> bool {
        (self.mode() ^ mode) & bindings::S_IFMT == 0
    }

    /// The type; an inode without one is taken for a regular file.
    pub(crate) fn file_type(&self) -> FileType {
        FileType::of_mode(self.mode()).unwrap_or(FileType::Regular)
    }

    /// Whether it is a regular file.
    pub(crate) fn is_regular(&self) -> bool {
        self.mode() & bindings::S_IFMT == bindings::S_IFREG
    }

    /// Whether it is a directory.
    pub(crate) fn is_directory(&self) -> bool {
        self.mode() & bindings::S_IFMT == bindings::S_IFDIR
    }

    /// Whether it is a symbolic link.
    pub(crate) fn is_symlink(&self) -> bool {
        self.mode() & bindings::S_IFMT == bindings::S_IFLNK
    }

    /// The number of links to it.
    pub(crate) fn link_count(&self) -> u32 {
        // SAFETY: The field is valid and aligned; it may change at any time.
        unsafe { ptr::read_volatile(&raw const (*self.as_ptr()).__bindgen_anon_1.i_nlink) }
    }

    /// The group that it belongs to.
    pub(crate) fn group(&self) -> Gid {
        // SAFETY: The field is valid and aligned; it may change at any time.
        Gid(unsafe { ptr::read_volatile(&raw const (*self.as_ptr()).i_gid) })
    }

    /// The size in bytes.
    pub(crate) fn size(&self) -> u64 {
        // SAFETY: The inode is valid.
        // CAST: Sizes are not negative.
        unsafe { bindings::i_size_read(self.as_ptr()) as u64 }
    }

    /// Tells this use of an inode number from earlier ones.
    pub(crate) fn generation(&self) -> u32 {
        // SAFETY: Set when the inode is made, and constant since.
        unsafe { (*self.as_ptr()).i_generation }
    }

    /// When it was last modified.
    pub(crate) fn mtime(&self) -> Time {
        // SAFETY: The inode is valid.
        unsafe { bindings::inode_get_mtime(self.as_ptr()) }.into()
    }

    /// When it was last changed.
    pub(crate) fn ctime(&self) -> Time {
        // SAFETY: The inode is valid.
        unsafe { bindings::inode_get_ctime(self.as_ptr()) }.into()
    }

    /// Writes back what of the file is dirty, contents and inode, and waits for that.
    ///
    /// # Errors
    ///
    /// Those of writing.
    pub(crate) fn write_now(&self) -> Result {
        // SAFETY: The inode is valid.
        to_result(unsafe { bindings::write_inode_now(self.as_ptr(), 1) })
    }

    /// Locks the attributes. They may be read without the lock, each by itself. Does not sleep; what
    /// is done with the lock must not either.
    pub(crate) fn lock(&self) -> Locked<'_, T> {
        // SAFETY: The lock is valid; `Locked` gives it back.
        unsafe { bindings::spin_lock(&raw mut (*self.as_ptr()).i_lock) };
        // INVARIANT: The lock has just been taken.
        Locked(self, NotThreadSafe)
    }

    /// Takes the lock that the VFS takes for changes to the file's contents or the directory's
    /// entries. Sleeps.
    pub(crate) fn lock_contents(&self) -> ContentsLocked<'_, T> {
        // SAFETY: The lock is valid; `ContentsLocked` gives it back.
        unsafe { bindings::inode_lock(self.as_ptr()) };
        // INVARIANT: The lock has just been taken.
        ContentsLocked(self, NotThreadSafe)
    }

    /// Takes the same lock together with others who do so. Sleeps.
    pub(crate) fn lock_contents_shared(&self) -> ContentsShared<'_, T> {
        // SAFETY: The lock is valid; `ContentsShared` gives it back.
        unsafe { bindings::inode_lock_shared(self.as_ptr()) };
        // INVARIANT: The lock has just been taken.
        ContentsShared(self, NotThreadSafe)
    }

    /// Takes the same lock as the outer one of two, unless a fatal signal comes: `EINTR`.
    pub(crate) fn lock_parent_contents(&self) -> Result<ContentsLocked<'_, T>> {
        // SAFETY: The lock is valid; `ContentsLocked` gives it back.
        to_result(unsafe { bindings::inode_lock_parent_killable(self.as_ptr()) })?;
        // INVARIANT: The lock has just been taken.
        Ok(ContentsLocked(self, NotThreadSafe))
    }

    /// Makes the page cache forget all beyond `size`. Sleeps, also for folios that are being read.
    pub(crate) fn truncate_page_cache(&self, size: u64) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        // SAFETY: The inode is valid.
        unsafe { bindings::truncate_pagecache(self.as_ptr(), size) };
    }

    /// Sets the time of the last change to the present one; the inode is dirty then.
    pub(crate) fn touch(&self) {
        // SAFETY: The inode is valid.
        unsafe {
            bindings::inode_set_ctime_current(self.as_ptr());
            bindings::__mark_inode_dirty(
                self.as_ptr(),
                bindings::inode_state_flags_enum_I_DIRTY_SYNC as c_int,
            );
        }
    }

    /// Writes the inode back, if it is dirty, and waits until that is done. Errors as
    /// [`write_now`](Self::write_now).
    pub(crate) fn write_metadata(&self) -> Result {
        // SAFETY: The inode is valid.
        to_result(unsafe { bindings::sync_inode_metadata(self.as_ptr(), 1) })
    }

    /// Writes back what the page cache holds dirty of the bytes from `start` on that are before
    /// `end`; waits until that is done. Errors as [`write_now`](Self::write_now).
    pub(crate) fn write_range(&self, start: u64, end: u64) -> Result {
        let (start, last) = range(start, end);
        // SAFETY: The inode and its mapping are valid.
        to_result(unsafe {
            bindings::filemap_write_and_wait_range((*self.as_ptr()).i_mapping, start, last)
        })
    }

    /// Whether any of the bytes from `start` on that are before `end` is locked, dirty or being written
    /// back in the page cache.
    pub(crate) fn is_range_busy(&self, start: u64, end: u64) -> bool {
        let (start, last) = range(start, end);
        // SAFETY: The inode and its mapping are valid.
        unsafe { bindings::filemap_range_has_writeback((*self.as_ptr()).i_mapping, start, last) }
    }

    /// An error that writing back came to since this was asked for last.
    pub(crate) fn take_write_error(&self) -> Result {
        // SAFETY: The inode and its mapping are valid.
        to_result(unsafe { bindings::filemap_check_errors((*self.as_ptr()).i_mapping) })
    }

    /// Writing back has come to this error.
    pub(crate) fn set_write_error(&self, error: Error) {
        // SAFETY: The inode and its mapping are valid.
        unsafe { bindings::mapping_set_error((*self.as_ptr()).i_mapping, error.to_errno()) };
    }

    /// Makes the page cache forget the bytes from `start` on that are before `end`, where there are
    /// any. Sleeps, also for folios that are being read.
    pub(crate) fn truncate_page_cache_range(&self, start: u64, end: u64) {
        let (Ok(start), Ok(end)) = (i64::try_from(start), i64::try_from(end)) else {
            return;
        };
        if start < end {
            // SAFETY: The inode is valid.
            unsafe { bindings::truncate_pagecache_range(self.as_ptr(), start, end - 1) };
        }
    }

    /// Makes the page cache forget the bytes from `start` on that are before `end`, but not who has
    /// them mapped. Sleeps, also for folios that are being read.
    pub(crate) fn drop_page_cache_range(&self, start: u64, end: u64) {
        let (start, last) = range(start, end);
        // SAFETY: The inode and its mapping are valid.
        unsafe {
            // CAST: It is not negative.
            bindings::truncate_inode_pages_range((*self.as_ptr()).i_mapping, start, last as u64)
        };
    }

    /// Whether the running task may make the file that large.
    ///
    /// # Errors
    ///
    /// `EFBIG`, with a signal where the task's own limit is reached; `ETXTBSY`.
    pub(crate) fn check_new_size(&self, size: u64) -> Result {
        let size = i64::try_from(size).map_err(|_| EFBIG)?;
        // SAFETY: The inode is valid.
        to_result(unsafe { bindings::inode_newsize_ok(self.as_ptr(), size) })
    }

    /// Makes the page cache forget the folios that hold any of the bytes from `start` on that are
    /// before `end`. Sleeps, also for folios that are being read.
    ///
    /// # Errors
    ///
    /// `EBUSY` when one of them is in use, and stays; those of writing back.
    pub(crate) fn invalidate_page_cache_range(&self, start: u64, end: u64) -> Result {
        if start >= end {
            return Ok(());
        }
        // SAFETY: The inode and its mapping are valid.
        to_result(unsafe {
            bindings::invalidate_inode_pages2_range(
                (*self.as_ptr()).i_mapping,
                page_index(start),
                page_index(end - 1),
            )
        })
    }

    /// Makes the page cache forget what it can. Sleeps, also for folios that are being read.
    pub(crate) fn invalidate_page_cache(&self) {
        // What is in use by then stays; nothing more can be done.
        // SAFETY: The inode and its mapping are valid.
        unsafe { bindings::invalidate_inode_pages2((*self.as_ptr()).i_mapping) };
    }

    /// An entry that leads here, if there is one; for a directory, the only one there can be.
    pub(crate) fn find_alias(&self) -> Option<OwnedDEntry<T>> {
        // SAFETY: The inode is valid.
        let dentry = unsafe { bindings::d_find_alias(self.as_ptr()) };
        // SAFETY: `d_find_alias` took a reference to an entry of the inode.
        NonNull::new(dentry).map(|dentry| unsafe { OwnedDEntry::from_raw(dentry) })
    }

    /// Lets the entries that lead here go, as far as nobody uses them. Sleeps.
    pub(crate) fn prune_aliases(&self) {
        // SAFETY: The inode is valid.
        unsafe { bindings::d_prune_aliases(self.as_ptr()) };
    }

    /// Forgets the access control lists that are cached.
    pub(crate) fn forget_acls(&self) {
        // SAFETY: The inode is valid.
        unsafe { bindings::forget_all_cached_acls(self.as_ptr()) };
    }

    /// Takes the inode out of the table of inodes, so that its key can be given to another.
    pub(crate) fn unhash(&self) {
        // SAFETY: The inode is valid.
        unsafe { bindings::remove_inode_hash(self.as_ptr()) };
    }
}

/// The first and the last byte of those from `start` on that are before `end`, as the C side has it.
fn range(start: u64, end: u64) -> (i64, i64) {
    let signed = |position: u64| i64::try_from(position).unwrap_or(i64::MAX);
    (signed(start), signed(end.saturating_sub(1)))
}

/// A reference to an inode that keeps it.
///
/// # Invariants
///
/// Owns a reference count.
pub(crate) struct OwnedINode<T: FileSystem>(NonNull<INode<T>>);

// SAFETY: An inode belongs to no thread. Dropping the last reference sleeps.
unsafe impl<T: FileSystem> Send for OwnedINode<T> {}
// SAFETY: As for `INode`.
unsafe impl<T: FileSystem> Sync for OwnedINode<T> {}

impl<T: FileSystem> OwnedINode<T> {
    /// Gives the reference to the C side.
    pub(super) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).0.as_ptr().cast()
    }

    /// An entry that leads here; where there is none, a new one without a name. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn obtain_alias(self) -> Result<OwnedDEntry<T>> {
        // SAFETY: This gives the reference to the inode away, also on failure.
        let dentry = from_err_ptr(unsafe { bindings::d_obtain_alias(self.into_raw()) })?;
        let dentry = NonNull::new(dentry).ok_or(ESTALE)?;
        // SAFETY: `d_obtain_alias` took a reference to an entry of the inode.
        Ok(unsafe { OwnedDEntry::from_raw(dentry) })
    }
}

impl<T: FileSystem> Deref for OwnedINode<T> {
    type Target = INode<T>;

    fn deref(&self) -> &INode<T> {
        // SAFETY: The reference count keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl<T: FileSystem> Clone for OwnedINode<T> {
    fn clone(&self) -> Self {
        // SAFETY: The count is above zero.
        unsafe { bindings::ihold(self.as_ptr()) };
        // INVARIANT: A reference has just been taken.
        Self(self.0)
    }
}

impl<T: FileSystem> Drop for OwnedINode<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to give up.
        unsafe { bindings::iput(self.as_ptr()) };
    }
}

/// An inode whose attributes are locked.
///
/// # Invariants
///
/// `i_lock` is held.
pub(crate) struct Locked<'a, T: FileSystem>(&'a INode<T>, NotThreadSafe);

impl<T: FileSystem> Deref for Locked<'_, T> {
    type Target = INode<T>;

    fn deref(&self) -> &INode<T> {
        self.0
    }
}

impl<T: FileSystem> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held, by the type invariant.
        unsafe { bindings::spin_unlock(&raw mut (*self.as_ptr()).i_lock) };
    }
}

impl<T: FileSystem> Locked<'_, T> {
    /// Sets the permissions; the type stays.
    pub(crate) fn set_permissions(&mut self, permissions: u32) {
        let mode = self.mode() & bindings::S_IFMT | permissions & 0o7777;
        // SAFETY: The field is valid and aligned. CAST: A mode has 16 bits.
        let field = unsafe { AtomicU16::from_ptr(&raw mut (*self.as_ptr()).i_mode) };
        field.store(mode as u16, Ordering::Relaxed);
    }

    /// Sets the owner.
    pub(crate) fn set_owner(&mut self, uid: Uid, gid: Gid) {
        // SAFETY: The fields are valid; who reads them without the lock gets old or new.
        unsafe {
            ptr::write_volatile(&raw mut (*self.as_ptr()).i_uid, uid.0);
            ptr::write_volatile(&raw mut (*self.as_ptr()).i_gid, gid.0);
        }
    }

    /// Sets the number that user space knows the file by.
    pub(crate) fn set_number(&mut self, number: u64) {
        // SAFETY: As above.
        unsafe { ptr::write_volatile(&raw mut (*self.as_ptr()).i_ino, number) };
    }

    /// Sets the number of links.
    pub(crate) fn set_link_count(&mut self, count: u32) {
        // SAFETY: The inode is valid, and the lock keeps others from changing the count.
        unsafe { bindings::set_nlink(self.as_ptr(), count) };
    }

    /// Sets the space it takes, in units of 512 bytes.
    pub(crate) fn set_blocks(&mut self, blocks: u64) {
        // SAFETY: As for `set_owner`.
        unsafe { ptr::write_volatile(&raw mut (*self.as_ptr()).i_blocks, blocks) };
    }

    /// Sets the size in bytes; the page cache stays as it is.
    pub(crate) fn set_size(&mut self, size: u64) {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        // SAFETY: The lock keeps others from changing it at the same time.
        unsafe { bindings::i_size_write(self.as_ptr(), size) };
    }

    /// Sets when it was last read.
    pub(crate) fn set_atime(&mut self, time: Time) {
        // SAFETY: The inode is valid; the lock orders writers.
        unsafe {
            bindings::inode_set_atime(self.as_ptr(), time.seconds, time.nanoseconds as c_long)
        };
    }

    /// Sets when it was last modified.
    pub(crate) fn set_mtime(&mut self, time: Time) {
        // SAFETY: As above.
        unsafe {
            bindings::inode_set_mtime(self.as_ptr(), time.seconds, time.nanoseconds as c_long)
        };
    }

    /// Sets when the inode was last changed.
    pub(crate) fn set_ctime(&mut self, time: Time) {
        // SAFETY: As above.
        unsafe {
            bindings::inode_set_ctime(self.as_ptr(), time.seconds, time.nanoseconds as c_long)
        };
    }
}

/// An inode whose contents are locked against changes that do not allow for others beside them.
///
/// # Invariants
///
/// `i_rwsem` is held for reading.
pub(crate) struct ContentsShared<'a, T: FileSystem>(&'a INode<T>, NotThreadSafe);

impl<T: FileSystem> Drop for ContentsShared<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held, by the type invariant.
        unsafe { bindings::inode_unlock_shared(self.0.as_ptr()) };
    }
}

/// An inode whose contents are locked against changes.
///
/// # Invariants
///
/// `i_rwsem` is held for writing.
pub(crate) struct ContentsLocked<'a, T: FileSystem>(&'a INode<T>, NotThreadSafe);

impl<T: FileSystem> Drop for ContentsLocked<'_, T> {
    fn drop(&mut self) {
        // SAFETY: Held, by the type invariant.
        unsafe { bindings::inode_unlock(self.0.as_ptr()) };
    }
}

/// What looking for an inode led to.
pub(crate) enum Lookup<T: FileSystem> {
    /// It is there.
    Found(OwnedINode<T>),
    /// It has been made and must be filled; who else looks for it waits.
    New(NewINode<T>),
}

/// An inode that has just been made. When dropped, it was not possible to fill it.
///
/// # Invariants
///
/// The inode has `I_NEW` set, and this owns a reference to it.
pub(crate) struct NewINode<T: FileSystem>(OwnedINode<T>);

impl<T: FileSystem> Deref for NewINode<T> {
    type Target = INode<T>;

    fn deref(&self) -> &INode<T> {
        &self.0
    }
}

impl<T: FileSystem> NewINode<T> {
    /// Sets the type of the file. What it can do is set by one of the other methods.
    fn set_type(&mut self, file_type: FileType) {
        // SAFETY: Nobody else uses a new inode.
        unsafe { (*self.as_ptr()).i_mode = file_type.mode() as u16 };
    }

    /// Sets what [`INode::generation`] returns.
    pub(crate) fn set_generation(&mut self, generation: u32) {
        // SAFETY: Nobody else uses a new inode.
        unsafe { (*self.as_ptr()).i_generation = generation };
    }

    /// Leaves the times to the file system: the VFS changes neither `atime` nor, with
    /// `modification` set, `mtime` and `ctime`.
    pub(crate) fn keep_times(&mut self, modification: bool) {
        let mut flags = bindings::S_NOATIME;
        if modification {
            flags |= bindings::S_NOCMTIME;
        }
        // SAFETY: Nobody else uses a new inode.
        unsafe { (*self.as_ptr()).i_flags |= flags };
    }

    /// Makes it a regular file.
    pub(crate) fn set_regular<O, A>(&mut self)
    where
        O: INodeOperations<FileSystem = T>,
        A: AddressSpaceOperations,
        A::File: FileOperations<FileSystem = T>,
    {
        self.set_type(FileType::Regular);
        // SAFETY: Nobody else uses a new inode; the tables are for inodes of `T`, and the pages are
        // read through files of the kind that the table opens.
        unsafe {
            (*self.as_ptr()).i_op = inode_ops::table::<O>();
            (*self.as_ptr()).__bindgen_anon_3.i_fop = file::table::<A::File>();
            (*self.as_ptr()).i_data.a_ops = address_space::table::<A>();
        }
    }

    /// Says that writing the page cache back may wait for memory to be reclaimed: then reclaiming
    /// must not wait for it.
    pub(crate) fn may_block_reclaim(&mut self) {
        // SAFETY: Nobody else uses a new inode.
        unsafe {
            bindings::mapping_set_writeback_may_deadlock_on_reclaim(
                &raw mut (*self.as_ptr()).i_data,
            )
        };
    }

    /// Makes it a regular file that has nothing in the page cache.
    pub(crate) fn set_uncached<O, F>(&mut self)
    where
        O: INodeOperations<FileSystem = T>,
        F: FileOperations<FileSystem = T>,
    {
        self.set_type(FileType::Regular);
        // SAFETY: Nobody else uses a new inode; the tables are for inodes of `T`.
        unsafe {
            (*self.as_ptr()).i_op = inode_ops::table::<O>();
            (*self.as_ptr()).__bindgen_anon_3.i_fop = file::table::<F>();
        }
    }

    /// Makes it a directory.
    pub(crate) fn set_directory<O, D, F>(&mut self)
    where
        O: INodeOperations<FileSystem = T>,
        D: DirectoryOperations<FileSystem = T>,
        F: FileOperations<FileSystem = T>,
    {
        self.set_type(FileType::Directory);
        // SAFETY: Nobody else uses a new inode; the tables are for inodes of `T`.
        unsafe {
            (*self.as_ptr()).i_op = dir_ops::table::<O, D>();
            (*self.as_ptr()).__bindgen_anon_3.i_fop = file::table::<F>();
        }
    }

    /// Makes it a symbolic link.
    pub(crate) fn set_symlink<O>(&mut self)
    where
        O: INodeOperations<FileSystem = T>,
    {
        self.set_type(FileType::Symlink);
        // SAFETY: Nobody else uses a new inode; the table is for inodes of `T`.
        unsafe {
            (*self.as_ptr()).i_op = inode_ops::table::<O>();
            // Path walks read what is in the page cache where it lies.
            bindings::inode_nohighmem(self.as_ptr());
        }
    }

    /// Makes it a special file of the given type; `device` is the number it stands for, as user
    /// space has it.
    pub(crate) fn set_special<O>(&mut self, file_type: FileType, device: u32)
    where
        O: INodeOperations<FileSystem = T>,
    {
        self.set_type(file_type);
        // SAFETY: Nobody else uses a new inode; the table is for inodes of `T`.
        unsafe {
            (*self.as_ptr()).i_op = inode_ops::table::<O>();
            bindings::init_special_inode(
                self.as_ptr(),
                (*self.as_ptr()).i_mode,
                bindings::new_decode_dev(device),
            );
        }
    }

    /// Never caches access control lists of the inode.
    pub(crate) fn dont_cache_acls(&mut self) {
        // SAFETY: Nobody else uses a new inode.
        unsafe { bindings::inode_dont_cache_acls(self.as_ptr()) };
    }

    /// Makes the inode known to all; it must have been filled.
    pub(crate) fn unlock(self) -> OwnedINode<T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: The inode is new, by the type invariant.
        unsafe { bindings::unlock_new_inode(this.as_ptr()) };
        // SAFETY: `this` is not used any more, and what is read is not dropped.
        unsafe { ptr::read(&this.0) }
    }
}

impl<T: FileSystem> Drop for NewINode<T> {
    fn drop(&mut self) {
        // SAFETY: The inode is new, by the type invariant. The field that is dropped next gives up
        // a reference, so `iget_failed` gets one of its own.
        unsafe {
            bindings::ihold(self.as_ptr());
            bindings::iget_failed(self.as_ptr());
        }
    }
}

/// # Safety
///
/// To be called as the `test` of `iget5_locked`, with a `T::Key`, for this type.
unsafe extern "C" fn test<T: FileSystem>(inode: *mut bindings::inode, key: *mut c_void) -> c_int {
    // SAFETY: The C side gives an inode of the superblock, and the key that it was given.
    let (inode, key) = unsafe { (INode::<T>::from_raw(inode), *key.cast::<T::Key>()) };
    T::has_key(inode.data(), key).into()
}

/// # Safety
///
/// To be called as the `set` of `iget5_locked`, with a `T::Key`, for this type.
unsafe extern "C" fn set<T: FileSystem>(inode: *mut bindings::inode, key: *mut c_void) -> c_int {
    // SAFETY: The C side gives an inode of the superblock, and the key that it was given.
    let (inode, key) = unsafe { (INode::<T>::from_raw(inode), *key.cast::<T::Key>()) };
    T::set_key(inode.data(), key);
    0
}

/// See [`SuperBlock::find_inode`].
pub(super) fn find<T: FileSystem>(
    sb: &SuperBlock<T>,
    hash: u64,
    mut key: T::Key,
) -> Option<OwnedINode<T>> {
    let key = (&raw mut key).cast();
    // SAFETY: The superblock is valid, and the function takes the key for what it is.
    let inode = unsafe { bindings::ilookup5(sb.as_ptr(), hash, Some(test::<T>), key) };
    // INVARIANT: `ilookup5` took a reference.
    NonNull::new(inode).map(|inode| OwnedINode(inode.cast()))
}

/// See [`SuperBlock::get_or_create_inode`].
pub(super) fn get_or_create<T: FileSystem>(
    sb: &SuperBlock<T>,
    hash: u64,
    mut key: T::Key,
) -> Result<Lookup<T>> {
    let key = (&raw mut key).cast();
    // SAFETY: The superblock is valid, and the functions take the key for what it is.
    let inode =
        unsafe { bindings::iget5_locked(sb.as_ptr(), hash, Some(test::<T>), Some(set::<T>), key) };
    let inode = NonNull::new(inode).ok_or(ENOMEM)?;
    // INVARIANT: `iget5_locked` took a reference.
    let inode = OwnedINode(inode.cast());
    // SAFETY: The inode is valid.
    let state = unsafe { bindings::inode_state_read_once(inode.as_ptr()) };
    if state & bindings::inode_state_flags_enum_I_NEW == 0 {
        return Ok(Lookup::Found(inode));
    }
    // INVARIANT: It has `I_NEW`, and who else finds it waits.
    Ok(Lookup::New(NewINode(inode)))
}
