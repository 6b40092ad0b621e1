// SPDX-License-Identifier: GPL-2.0

//! Superblocks: mounted file systems.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/backing-dev.h`](srctree/include/linux/backing-dev.h)

use crate::{
    bindings,
    vfs::{
        context::OwnedStr,
        dentry::{self, DEntry},
        export::{self, ExportOperations},
        filesystem::{FileSystem, Registration},
        inode::{self, INode, Lookup, OwnedINode},
        inode_cache,
        ns::UserNamespace,
        periodic::Periodic,
        reaper::Reaper,
        xattr::{self, XAttrOperations},
    },
};
use core::{
    marker::PhantomData,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};
use kernel::{
    error::{from_result, to_result},
    new_condvar, new_mutex,
    prelude::*,
    seq_file::SeqFile,
    sync::{Arc, CondVar, Mutex},
    types::Opaque,
};

/// The size of a page in bytes.
pub(crate) const PAGE_SIZE: usize = 1 << bindings::PAGE_SHIFT;

/// The size of the largest file that the kernel can have, in bytes.
pub(crate) const MAX_FILE_SIZE: u64 = bindings::MAX_LFS_FILESIZE as u64;

/// A superblock.
///
/// # Invariants
///
/// It is of a type registered by a `Registration<T>`, and its `s_fs_info` is a `SuperInfo<T>`.
#[repr(transparent)]
pub(crate) struct SuperBlock<T: FileSystem> {
    raw: Opaque<bindings::super_block>,
    _file_system: PhantomData<T>,
}

// SAFETY: The methods synchronise among themselves or leave that to the C side.
unsafe impl<T: FileSystem> Sync for SuperBlock<T> {}

impl<T: FileSystem> SuperBlock<T> {
    /// The superblock behind a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be to a superblock as in the type's invariants that stays for all of `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // SAFETY: By the function's contract; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.raw.get()
    }

    fn info(&self) -> &SuperInfo<T> {
        // SAFETY: By the type invariant; it is dropped after the last use of the superblock.
        unsafe { &*(*self.as_ptr()).s_fs_info.cast() }
    }

    /// The file system's part.
    pub(crate) fn data(&self) -> &T::SuperData {
        &self.info().data
    }

    /// What drops its entries that do not hold any more.
    pub(super) fn reaper(&self) -> &Periodic<Reaper<T>> {
        &self.info().reaper
    }

    /// Lets all entries go that nobody uses, and the inodes that only they led to. Sleeps, and may wait
    /// for those to be written back.
    pub(crate) fn shrink_dcache(&self) {
        // SAFETY: The superblock is valid.
        unsafe { bindings::shrink_dcache_sb(self.as_ptr()) };
    }

    /// What all superblocks of the type share.
    pub(crate) fn shared(&self) -> &T::Shared {
        // SAFETY: The superblock is valid and holds its file system type, which is one for `T`.
        unsafe { Registration::<T>::shared_of((*self.as_ptr()).s_type.cast()) }
    }

    /// Something that leads here for as long as this is mounted.
    pub(crate) fn handle(&self) -> Arc<Handle<T>> {
        self.info().handle.clone()
    }

    /// Makes the handles lead here.
    pub(super) fn open_handle(&self) {
        // INVARIANT: `kill_sb` closes the handles before the superblock goes.
        self.info().handle.target.lock().pointer = Some(Pointer(self.into()));
    }

    /// Ends what the handles lead to; waits for those who use one.
    pub(super) fn close_handle(&self) {
        let handle = &self.info().handle;
        let mut target = handle.target.lock();
        target.pointer = None;
        while target.users > 0 {
            handle.unused.wait(&mut target);
        }
    }

    /// The number of the device: a real one, or one made up for this superblock.
    pub(crate) fn device(&self) -> u32 {
        // SAFETY: Constant while the superblock is there.
        unsafe { (*self.as_ptr()).s_dev }
    }

    /// Whether it is on a block device.
    pub(crate) fn has_block_device(&self) -> bool {
        // SAFETY: Constant while the superblock is complete.
        unsafe { !(*self.as_ptr()).s_bdev.is_null() }
    }

    /// The size of a block in bytes.
    pub(crate) fn block_size(&self) -> usize {
        // SAFETY: Constant while the superblock is complete.
        unsafe { (*self.as_ptr()).s_blocksize }
    }

    /// Whether it is mounted read-only.
    pub(crate) fn is_read_only(&self) -> bool {
        // SAFETY: The field is valid; it may change at any time.
        unsafe {
            ptr::read_volatile(&raw const (*self.as_ptr()).s_flags) & bindings::SB_RDONLY as c_ulong
                != 0
        }
    }

    /// The user namespace it belongs to.
    pub(crate) fn user_ns(&self) -> &UserNamespace {
        // SAFETY: The superblock holds a reference.
        unsafe { UserNamespace::from_raw((*self.as_ptr()).s_user_ns) }
    }

    /// Whether `inode` is the root.
    pub(crate) fn is_root(&self, inode: &INode<T>) -> bool {
        // SAFETY: The root stays while the superblock is complete; before, it is null.
        let root = unsafe { (*self.as_ptr()).s_root };
        // SAFETY: As above.
        !root.is_null() && ptr::eq(unsafe { (*root).d_inode }, inode.as_ptr())
    }

    /// Never lets a new mount of the same block device find this superblock again.
    pub(crate) fn retire(&self) {
        // SAFETY: The superblock is valid; `umount_begin` runs with the mount held.
        unsafe { bindings::retire_super(self.as_ptr()) };
    }

    /// The inode of `key`, found or made; `hash` must depend on nothing but the key. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also where [`FileSystem::new_inode`] failed for another reason.
    pub(crate) fn get_or_create_inode(&self, hash: u64, key: T::Key) -> Result<Lookup<T>> {
        inode::get_or_create(self, hash, key)
    }

    /// The inode of `key`, if it is there; `hash` as above. May sleep.
    pub(crate) fn find_inode(&self, hash: u64, key: T::Key) -> Option<OwnedINode<T>> {
        inode::find(self, hash, key)
    }

    /// How far to read ahead at most, in bytes.
    pub(crate) fn readahead_limit(&self) -> usize {
        // SAFETY: A complete superblock has a valid bdi.
        unsafe {
            ptr::read_volatile(&raw const (*(*self.as_ptr()).s_bdi).ra_pages)
                << bindings::PAGE_SHIFT
        }
    }

    /// Lowers the limit for readahead to `bytes`, and sets the largest read or write that is worth
    /// having to `io_pages` pages.
    pub(crate) fn limit_io(&self, bytes: usize, io_pages: usize) {
        // SAFETY: A complete superblock has a valid bdi; the fields are read without locks.
        unsafe {
            let bdi = (*self.as_ptr()).s_bdi;
            let pages = (*bdi).ra_pages.min(bytes >> bindings::PAGE_SHIFT);
            ptr::write_volatile(&raw mut (*bdi).ra_pages, pages);
            ptr::write_volatile(&raw mut (*bdi).io_pages, io_pages);
        }
    }

    /// Takes [`InternalFlags::NO_ID_MAP`] away.
    pub(crate) fn allow_id_maps(&self) {
        let mask = !u64::from(InternalFlags::NO_ID_MAP.0);
        // SAFETY: The field is valid and aligned. CAST: It has 64 bits.
        unsafe { AtomicU64::from_ptr((&raw mut (*self.as_ptr()).s_iflags).cast()) }
            .fetch_and(mask, Ordering::Relaxed);
    }

    /// Lets handles only tell files apart from now on, not lead to them.
    pub(crate) fn end_export<E: ExportOperations<FileSystem = T>>(&self) {
        let table = export::identifying_table::<E>();
        // SAFETY: The field is valid, aligned, and read without locks; the table is for inodes of `T`.
        unsafe { ptr::write_volatile(&raw mut (*self.as_ptr()).s_export_op, table) };
    }

    /// Sets the granularity of timestamps, in nanoseconds (1 to 1,000,000,000).
    pub(crate) fn set_time_granularity(&self, nanoseconds: u32) {
        // SAFETY: The field is valid, aligned, and read without locks.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.as_ptr()).s_time_gran) }
            .store(nanoseconds.clamp(1, 1_000_000_000), Ordering::Relaxed);
    }
}

/// What `s_fs_info` points to.
pub(super) struct SuperInfo<T: FileSystem> {
    data: T::SuperData,
    handle: Arc<Handle<T>>,
    reaper: Pin<KBox<Periodic<Reaper<T>>>>,
}

impl<T: FileSystem> SuperInfo<T> {
    pub(super) fn new(data: T::SuperData) -> Result<Self> {
        let handle = Arc::pin_init(Handle::new(), GFP_KERNEL)?;
        let reaper = KBox::pin_init(Reaper::new(), GFP_KERNEL)?;
        Ok(Self {
            data,
            handle,
            reaper,
        })
    }

    pub(super) fn data(&self) -> &T::SuperData {
        &self.data
    }
}

/// A pointer to a superblock.
struct Pointer<T: FileSystem>(NonNull<SuperBlock<T>>);

impl<T: FileSystem> Clone for Pointer<T> {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

// SAFETY: A superblock belongs to no thread.
unsafe impl<T: FileSystem> Send for Pointer<T> {}

/// Leads to a superblock for as long as that is mounted, without keeping it so.
#[pin_data]
pub(crate) struct Handle<T: FileSystem> {
    #[pin]
    target: Mutex<Target<T>>,
    #[pin]
    unused: CondVar,
}

/// Where a handle leads.
///
/// # Invariants
///
/// The superblock is valid for as long as there is a pointer to it, or somebody who uses it.
struct Target<T: FileSystem> {
    pointer: Option<Pointer<T>>,
    users: usize,
}

impl<T: FileSystem> Handle<T> {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            target <- new_mutex!(
                Target {
                    pointer: None,
                    users: 0,
                },
                "vfs::Handle"
            ),
            unused <- new_condvar!("vfs::Handle"),
        })
    }

    /// Calls `f` with the superblock unless it is gone; unmounting waits for the call. Several may
    /// be under way at once. May sleep.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&SuperBlock<T>) -> R) -> Option<R> {
        let mut target = self.target.lock();
        let sb = target.pointer.clone()?;
        target.users += 1;
        drop(target);
        // SAFETY: By the invariant of `Target`: this is one who uses it.
        let result = f(unsafe { sb.0.as_ref() });
        let mut target = self.target.lock();
        target.users -= 1;
        if target.users == 0 {
            self.unused.notify_all();
        }
        Some(result)
    }
}

/// A superblock that is being set up, and has no data of the file system yet.
///
/// # Invariants
///
/// The pointer is to such a superblock of type `T`, which nobody else uses.
pub(crate) struct NewSuperBlock<'a, T: FileSystem> {
    raw: *mut bindings::super_block,
    _call: PhantomData<&'a mut SuperBlock<T>>,
}

impl<T: FileSystem> NewSuperBlock<'_, T> {
    /// Takes a superblock that the C side wants filled.
    ///
    /// # Safety
    ///
    /// `ptr` must be to a superblock of a type registered by a `Registration<T>`, and nobody else must
    /// use it meanwhile.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::super_block) -> Self {
        // SAFETY: As above. The tables are those for `T`.
        unsafe {
            (*ptr).s_op = &Callbacks::<T>::OPERATIONS;
            if let Some(operations) = dentry::operations::<T>() {
                bindings::set_default_d_op(ptr, operations);
            }
        }
        // INVARIANT: By the function's contract.
        Self {
            raw: ptr,
            _call: PhantomData,
        }
    }

    /// The C pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::super_block {
        self.raw
    }

    /// The number of the device: a real one, or one made up for this superblock.
    pub(crate) fn device(&self) -> u32 {
        // SAFETY: By the type invariant.
        unsafe { (*self.as_ptr()).s_dev }
    }

    /// The user namespace it belongs to.
    pub(crate) fn user_ns(&self) -> &UserNamespace {
        // SAFETY: The superblock holds a reference.
        unsafe { UserNamespace::from_raw((*self.as_ptr()).s_user_ns) }
    }

    /// Sets the number that statfs(2) tells this kind of file system by.
    pub(crate) fn set_magic(&mut self, magic: u32) {
        // SAFETY: The superblock is ours while it is filled.
        unsafe { (*self.as_ptr()).s_magic = magic as c_ulong };
    }

    /// Gives its inodes extended attributes.
    pub(crate) fn set_xattrs<X: XAttrOperations<FileSystem = T>>(&mut self) {
        // SAFETY: The superblock is ours while it is filled; the handlers are for inodes of `T`.
        unsafe { (*self.as_ptr()).s_xattr = xattr::handlers::<X>() };
    }

    /// Gives its files handles.
    pub(crate) fn set_export<E: ExportOperations<FileSystem = T>>(&mut self) {
        // SAFETY: The superblock is ours while it is filled; the table is for inodes of `T`.
        unsafe { (*self.as_ptr()).s_export_op = export::table::<E>() };
    }

    /// Sets the size of the largest file, in bytes: as large as the kernel can have.
    pub(crate) fn allow_largest_files(&mut self) {
        // SAFETY: The superblock is ours while it is filled.
        unsafe { (*self.as_ptr()).s_maxbytes = bindings::MAX_LFS_FILESIZE };
    }

    /// Sets flags of the inner kind (`SB_I_*`).
    pub(crate) fn add_internal_flags(&mut self, flags: InternalFlags) {
        // SAFETY: The superblock is ours while it is filled.
        unsafe { (*self.as_ptr()).s_iflags |= flags.0 as c_ulong };
    }

    /// Makes a page the size of a block.
    pub(crate) fn use_page_blocks(&mut self) {
        // SAFETY: The superblock is ours while it is filled.
        unsafe {
            (*self.as_ptr()).s_blocksize = PAGE_SIZE;
            (*self.as_ptr()).s_blocksize_bits = bindings::PAGE_SHIFT as u8;
        }
    }

    /// Sets the size of a block of the block device, in bytes. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` when it is not a power of two between 512 and what the device and the kernel can.
    pub(crate) fn set_block_size(&mut self, bytes: u32) -> Result {
        let bytes = c_int::try_from(bytes).map_err(|_| EINVAL)?;
        // SAFETY: The superblock is ours while it is filled, and on a block device.
        match unsafe { bindings::sb_set_blocksize(self.as_ptr(), bytes) } {
            0 => Err(EINVAL),
            _ => Ok(()),
        }
    }

    /// Sets what follows the type's name and a dot in `/proc/mounts`.
    pub(crate) fn set_subtype(&mut self, subtype: OwnedStr) {
        // SAFETY: The superblock is ours while it is filled; it frees the text.
        unsafe {
            let old = ptr::replace(&mut (*self.as_ptr()).s_subtype, subtype.into_raw());
            bindings::kfree(old.cast());
        }
    }

    /// Leaves it to the file system to apply the caller's umask to what is made; returns whether who
    /// mounts it wants it not to be applied at all.
    pub(crate) fn keep_umask(&mut self) -> bool {
        let posix_acl = bindings::SB_POSIXACL as c_ulong;
        // SAFETY: The superblock is ours while it is filled.
        let flags = unsafe { &mut (*self.as_ptr()).s_flags };
        let unmasked = *flags & posix_acl != 0;
        *flags |= posix_acl;
        unmasked
    }

    /// Gives the superblock a backing device of its own, which lets the file system have at most one
    /// per cent of the memory that may be dirty. Its name is the device number, and `suffix` where
    /// that of a block device would clash. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or those of sysfs.
    pub(crate) fn setup_backing_device(&mut self, suffix: &CStr) -> Result {
        let sb = self.as_ptr();
        // SAFETY: The superblock is ours while it is filled; the one it has of the block device, if
        // it is on one, is given back. The format fits the arguments.
        unsafe {
            let suffix = if (*sb).s_bdev.is_null() {
                c""
            } else {
                bindings::bdi_put((*sb).s_bdi);
                (*sb).s_bdi = &raw mut bindings::noop_backing_dev_info;
                suffix
            };
            to_result(bindings::super_setup_bdi_name(
                sb,
                c"%u:%u%s".as_char_ptr().cast_mut(),
                (*sb).s_dev >> 20,
                (*sb).s_dev & 0xfffff,
                suffix.as_char_ptr(),
            ))?;
            (*(*sb).s_bdi).capabilities |= bindings::BDI_CAP_STRICTLIMIT;
            // The limit is advice; that it could not be set is no reason not to mount.
            bindings::bdi_set_max_ratio((*sb).s_bdi, 1);
        }
        Ok(())
    }
}

/// Flags of a superblock that mount(2) does not have.
#[derive(Clone, Copy)]
pub(crate) struct InternalFlags(u32);

impl InternalFlags {
    /// Signatures of its files cannot be relied on, since contents may change unseen.
    pub(crate) const UNVERIFIABLE_SIGNATURE: Self = Self(bindings::SB_I_IMA_UNVERIFIABLE_SIGNATURE);
    /// Who mounted it need not be trusted.
    pub(crate) const UNTRUSTED_MOUNTER: Self = Self(bindings::SB_I_UNTRUSTED_MOUNTER);
    /// It does not do ID-mapped mounts.
    pub(crate) const NO_ID_MAP: Self = Self(bindings::SB_I_NOIDMAP);
    /// sync(2) need not wait for its data.
    pub(crate) const NO_DATA_INTEGRITY: Self = Self(bindings::SB_I_NO_DATA_INTEGRITY);
}

/// The answer to statfs(2).
#[derive(Default)]
pub(crate) struct StatFs {
    /// What kind of file system it is.
    pub(crate) magic: u32,
    /// The size that transfers had best have, in bytes.
    pub(crate) block_size: u32,
    /// The unit of the next three, in bytes.
    pub(crate) fragment_size: u32,
    /// How much it holds.
    pub(crate) blocks: u64,
    /// How much is free.
    pub(crate) blocks_free: u64,
    /// How much is free for users without privileges.
    pub(crate) blocks_available: u64,
    /// How many inodes it can hold.
    pub(crate) files: u64,
    /// How many of them are free.
    pub(crate) files_free: u64,
    /// The length of the longest name, in bytes.
    pub(crate) name_length: u32,
}

/// What the C side calls.
struct Callbacks<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> Callbacks<T> {
    const OPERATIONS: bindings::super_operations = bindings::super_operations {
        alloc_inode: Some(Self::alloc_inode),
        free_inode: Some(Self::free_inode),
        write_inode: if T::HAS_WRITE_INODE {
            Some(Self::write_inode)
        } else {
            None
        },
        evict_inode: Some(Self::evict_inode),
        drop_inode: Some(bindings::inode_just_drop),
        statfs: if T::HAS_STATFS {
            Some(Self::statfs)
        } else {
            Some(bindings::simple_statfs)
        },
        sync_fs: if T::HAS_SYNC {
            Some(Self::sync_fs)
        } else {
            None
        },
        umount_begin: if T::HAS_UMOUNT_BEGIN {
            Some(Self::umount_begin)
        } else {
            None
        },
        show_options: if T::HAS_SHOW_OPTIONS {
            Some(Self::show_options)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// To be called as `alloc_inode` of `struct super_operations`, for this type.
    unsafe extern "C" fn alloc_inode(sb: *mut bindings::super_block) -> *mut bindings::inode {
        // SAFETY: The C side gives a superblock of this type.
        unsafe { Registration::<T>::cache_of(sb).alloc(sb) }
    }

    /// # Safety
    ///
    /// To be called as `free_inode` of `struct super_operations`, for this type.
    unsafe extern "C" fn free_inode(inode: *mut bindings::inode) {
        // SAFETY: The C side gives an inode of this type, of which nobody knows any more; its
        // superblock is kept until all of them are freed.
        unsafe { inode_cache::free::<T>(inode) };
    }

    /// # Safety
    ///
    /// To be called as `write_inode` of `struct super_operations`, for this type.
    unsafe extern "C" fn write_inode(
        inode: *mut bindings::inode,
        _control: *mut bindings::writeback_control,
    ) -> c_int {
        // SAFETY: The C side gives an inode of this type.
        from_result(|| T::write_inode(unsafe { INode::from_raw(inode) }).map(|()| 0))
    }

    /// # Safety
    ///
    /// To be called as `evict_inode` of `struct super_operations`, for this type.
    unsafe extern "C" fn evict_inode(inode: *mut bindings::inode) {
        // SAFETY: The C side gives an inode of this type whose last reference is gone.
        let (inode, active) = unsafe {
            bindings::truncate_inode_pages_final(&raw mut (*inode).i_data);
            bindings::clear_inode(inode);
            let active = (*(*inode).i_sb).s_flags & bindings::SB_ACTIVE as c_ulong != 0;
            (INode::<T>::from_raw(inode), active)
        };
        T::evict(inode, active);
    }

    /// # Safety
    ///
    /// To be called as `statfs` of `struct super_operations`, for this type.
    unsafe extern "C" fn statfs(
        dentry: *mut bindings::dentry,
        buf: *mut kernel::bindings::kstatfs,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives a dentry of this type.
            let stat = T::statfs(unsafe { DEntry::from_raw(dentry) })?;
            // SAFETY: The C side gives a buffer that is all zeroes and ours.
            let buf = unsafe { &mut *buf.cast::<bindings::kstatfs>() };
            buf.f_type = stat.magic as c_long;
            buf.f_bsize = stat.block_size as c_long;
            buf.f_frsize = stat.fragment_size as c_long;
            buf.f_blocks = stat.blocks;
            buf.f_bfree = stat.blocks_free;
            buf.f_bavail = stat.blocks_available;
            buf.f_files = stat.files;
            buf.f_ffree = stat.files_free;
            buf.f_namelen = stat.name_length as c_long;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called as `sync_fs` of `struct super_operations`, for this type.
    unsafe extern "C" fn sync_fs(sb: *mut bindings::super_block, wait: c_int) -> c_int {
        // SAFETY: The C side gives a superblock of this type.
        if wait == 0 || unsafe { (*sb).s_root.is_null() } {
            return 0;
        }
        // SAFETY: As above; it is complete.
        from_result(|| T::sync(unsafe { SuperBlock::from_raw(sb) }).map(|()| 0))
    }

    /// # Safety
    ///
    /// To be called as `umount_begin` of `struct super_operations`, for this type.
    unsafe extern "C" fn umount_begin(sb: *mut bindings::super_block) {
        // SAFETY: The C side gives a superblock of this type.
        T::umount_begin(unsafe { SuperBlock::from_raw(sb) });
    }

    /// # Safety
    ///
    /// To be called as `show_options` of `struct super_operations`, for this type.
    unsafe extern "C" fn show_options(
        m: *mut bindings::seq_file,
        root: *mut bindings::dentry,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives a root of this type and a seq_file that is ours.
            let (sb, m) = unsafe { (SuperBlock::from_raw((*root).d_sb), SeqFile::from_raw(m)) };
            T::show_options(sb, m).map(|()| 0)
        })
    }
}
