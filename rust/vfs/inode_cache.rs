// SPDX-License-Identifier: GPL-2.0

//! The memory of inodes.
//!
//! C headers: [`include/linux/slab.h`](srctree/include/linux/slab.h)

use crate::{bindings, vfs::filesystem::FileSystem};
use core::{
    marker::PhantomData,
    mem::MaybeUninit,
    ptr::{self, NonNull},
};
use kernel::{prelude::*, str::CStrExt, sync::Arc};

/// The memory of an inode.
#[repr(C)]
pub(super) struct INodeMemory<T: FileSystem> {
    inode: MaybeUninit<bindings::inode>,
    pub(super) data: MaybeUninit<T::INodeData>,
}

/// Where the inodes of a file system come from.
///
/// # Invariants
///
/// The pointer is to a cache of objects that hold an [`INodeMemory<T>`] each.
pub(crate) struct INodeCache<T: FileSystem> {
    cache: NonNull<bindings::kmem_cache>,
    _file_system: PhantomData<T>,
}

// SAFETY: A cache belongs to no thread.
unsafe impl<T: FileSystem> Send for INodeCache<T> {}
// SAFETY: The C side synchronises.
unsafe impl<T: FileSystem> Sync for INodeCache<T> {}

impl<T: FileSystem> INodeCache<T> {
    /// Makes a cache, which `/proc/slabinfo` will show under `name`. May sleep.
    pub(crate) fn new(name: &'static CStr) -> Result<Arc<Self>> {
        let mut args = bindings::kmem_cache_args {
            align: core::mem::align_of::<INodeMemory<T>>() as c_uint,
            ctor: Some(Self::construct),
            ..pin_init::zeroed()
        };
        // SAFETY: The name is there for ever, the arguments are valid.
        let cache = unsafe {
            bindings::__kmem_cache_create_args(
                name.as_char_ptr(),
                core::mem::size_of::<INodeMemory<T>>() as c_uint,
                &mut args,
                bindings::SLAB_INODE_FLAGS,
            )
        };
        let cache = NonNull::new(cache).ok_or(ENOMEM)?;
        // INVARIANT: The size is that of `INodeMemory<T>`.
        let this = Self {
            cache,
            _file_system: PhantomData,
        };
        Ok(Arc::new(this, GFP_KERNEL)?)
    }

    /// # Safety
    ///
    /// To be called as the constructor of a slab cache for this type.
    unsafe extern "C" fn construct(object: *mut c_void) {
        // SAFETY: The object begins with an inode.
        unsafe { bindings::inode_init_once(object.cast()) };
    }

    /// An inode for `sb`, or null.
    ///
    /// # Safety
    ///
    /// `sb` must be a superblock of type `T` that uses this cache.
    pub(super) unsafe fn alloc(&self, sb: *mut bindings::super_block) -> *mut bindings::inode {
        // SAFETY: The superblock and the cache are valid.
        let memory =
            unsafe { bindings::alloc_inode_sb(sb, self.cache.as_ptr(), bindings::GFP_KERNEL) };
        if memory.is_null() {
            return ptr::null_mut();
        }
        let inode = memory.cast::<INodeMemory<T>>();
        // SAFETY: The object is ours; it stays in place until it is freed.
        let done = unsafe {
            pin_init::raw_try_init(
                (&raw mut (*inode).data).cast::<T::INodeData>(),
                T::new_inode(),
            )
        };
        if done.is_err() {
            // SAFETY: The object is of this cache, and nothing in it needs dropping.
            unsafe { bindings::kmem_cache_free(self.cache.as_ptr(), memory) };
            return ptr::null_mut();
        }
        inode.cast()
    }
}

impl<T: FileSystem> Drop for INodeCache<T> {
    fn drop(&mut self) {
        // SAFETY: The last user, a registration, is gone, and with it all superblocks; inodes that
        // are still to be freed by RCU are waited for.
        unsafe {
            bindings::rcu_barrier();
            bindings::kmem_cache_destroy(self.cache.as_ptr());
        }
    }
}

/// Frees an inode.
///
/// # Safety
///
/// `inode` must have come from [`INodeCache::alloc`], with nobody knowing of it any more.
pub(super) unsafe fn free<T: FileSystem>(inode: *mut bindings::inode) {
    let memory = inode.cast::<INodeMemory<T>>();
    // SAFETY: The data is initialised, by the invariant of `INode`, and dropped once. The slab knows
    // by itself which cache an object is of; the inode's superblock may be gone already.
    unsafe {
        (*memory).data.assume_init_drop();
        bindings::kfree(memory.cast());
    }
}
