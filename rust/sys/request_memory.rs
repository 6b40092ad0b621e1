// SPDX-License-Identifier: GPL-2.0

//! The slab cache that requests come from.
//!
//! Requests come and go with every system call, and all are of one size: from a cache of their own
//! they are had without the detours of krealloc(), which is what other boxes are made by.
//!
//! C headers: [`include/linux/slab.h`](srctree/include/linux/slab.h)

use crate::bindings;
use core::{
    alloc::Layout,
    marker::PhantomData,
    mem,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed},
};
use kernel::{
    alloc::{AllocError, Allocator, Flags, NumaNode},
    prelude::*,
    str::CStrExt,
};

/// A request on the heap.
pub(crate) type RequestBox<T> = kernel::alloc::Box<T, RequestMemory>;

/// The cache while there is one, or null.
static CACHE: AtomicPtr<bindings::kmem_cache> = AtomicPtr::new(ptr::null_mut());
/// The size of its objects, in bytes.
static SIZE: AtomicUsize = AtomicUsize::new(0);

/// The cache of requests, for as long as this is there: made before the first of them, and dropped
/// after the last.
pub(crate) struct RequestCache {
    _not_made_elsewhere: PhantomData<()>,
}

impl RequestCache {
    /// Makes the cache, of requests that are a `T` each; `/sys/kernel/slab` knows it by `name`. May
    /// sleep. EEXIST when there is one; ENOMEM.
    pub(crate) fn new<T>(name: &'static CStr) -> Result<Self> {
        if !CACHE.load(Relaxed).is_null() {
            return Err(EEXIST);
        }
        let mut args = bindings::kmem_cache_args {
            align: mem::align_of::<T>().max(RequestMemory::MIN_ALIGN) as c_uint,
            ..pin_init::zeroed()
        };
        // SAFETY: The name is there for ever, the arguments are valid.
        let cache = unsafe {
            bindings::__kmem_cache_create_args(
                name.as_char_ptr(),
                mem::size_of::<T>() as c_uint,
                &mut args,
                0,
            )
        };
        if cache.is_null() {
            return Err(ENOMEM);
        }
        // Before the cache: whoever sees that goes by this.
        SIZE.store(mem::size_of::<T>(), Relaxed);
        CACHE.store(cache, Relaxed);
        Ok(RequestCache {
            _not_made_elsewhere: PhantomData,
        })
    }
}

impl Drop for RequestCache {
    fn drop(&mut self) {
        let cache = CACHE.swap(ptr::null_mut(), Relaxed);
        // SAFETY: This is the cache that `new` has made; nobody allocates from it once it is not to be
        // seen, and of what has been, all is freed, by the contract of this type. (Were it not, the
        // kernel would say so and leave the cache alone.)
        unsafe { bindings::kmem_cache_destroy(cache) };
    }
}

/// The allocator of requests: none but such as fit into an object of the [`RequestCache`].
pub(crate) struct RequestMemory;

impl RequestMemory {
    /// An object that `layout` fits into.
    #[inline]
    fn fits(layout: Layout) -> bool {
        layout.size() <= SIZE.load(Relaxed) && layout.align() <= Self::MIN_ALIGN
    }
}

// SAFETY: An object stays where it is until it is freed, and each function takes any of them.
unsafe impl Allocator for RequestMemory {
    const MIN_ALIGN: usize = mem::align_of::<u64>();

    /// `GFP_KERNEL` is the one way in which requests are made: it fails with others.
    #[inline]
    fn alloc(layout: Layout, flags: Flags, _nid: NumaNode) -> Result<NonNull<[u8]>, AllocError> {
        let cache = CACHE.load(Relaxed);
        if cache.is_null() || flags != GFP_KERNEL || !Self::fits(layout) {
            return Err(AllocError);
        }
        // SAFETY: The cache is there, by the contract of `RequestCache`.
        let object = unsafe { bindings::kmem_cache_alloc_noprof(cache, bindings::GFP_KERNEL) };
        let object = NonNull::new(object.cast()).ok_or(AllocError)?;
        Ok(NonNull::slice_from_raw_parts(object, layout.size()))
    }

    /// Objects are as large as they will ever be: another size is not to be had.
    unsafe fn realloc(
        object: Option<NonNull<u8>>,
        layout: Layout,
        old: Layout,
        flags: Flags,
        nid: NumaNode,
    ) -> Result<NonNull<[u8]>, AllocError> {
        let Some(object) = object.filter(|_| old.size() != 0) else {
            return Self::alloc(layout, flags, nid);
        };
        if layout.size() != 0 {
            return Err(AllocError);
        }
        // SAFETY: The caller's promise is the same.
        unsafe { Self::free(object, old) };
        Ok(NonNull::slice_from_raw_parts(
            NonNull::<u64>::dangling().cast(),
            0,
        ))
    }

    #[inline]
    unsafe fn free(object: NonNull<u8>, layout: Layout) {
        if layout.size() != 0 {
            // SAFETY: It is an object of this cache, as there is no other, which is there until all
            // are freed, by the contract of `RequestCache`.
            unsafe { bindings::kmem_cache_free(CACHE.load(Relaxed), object.as_ptr().cast()) };
        }
    }
}
