// SPDX-License-Identifier: GPL-2.0

//! File system types: what a file system is to the kernel, and its registration.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::{
    bindings,
    vfs::{
        context::{self, FsContext, Spec, Value},
        dentry::{DEntry, LookupFlags},
        inode::{INode, OwnedINode},
        inode_cache::INodeCache,
        super_block::{NewSuperBlock, StatFs, SuperBlock, SuperInfo},
    },
};
use core::{ffi::CStr, marker::PhantomData, ptr};
use kernel::{
    error::{from_err_ptr, from_result, to_result, VTABLE_DEFAULT_ERROR},
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::Arc,
    types::Opaque,
};

/// A file system.
///
/// Unless said otherwise the methods run in the context of a task and may sleep.
#[vtable]
pub(crate) trait FileSystem: Sized + Send + Sync + 'static {
    /// What all superblocks of the type share.
    type Shared: Send + Sync;

    /// What a mount collects before it becomes a superblock.
    type Context: Send;

    /// The file system's part of a superblock. It is dropped an RCU grace period after the last use
    /// of the superblock.
    type SuperData: Send + Sync;

    /// The file system's part of an inode. It is dropped when RCU frees the inode, in a context that
    /// must not sleep.
    type INodeData: Send + Sync;

    /// What tells an inode from others of its superblock.
    type Key: Copy;

    /// The file system's part of a directory entry: plain data, all zeroes at first, changed in
    /// place, freed by RCU.
    type DEntryData: Send + Sync + Zeroable;

    /// The parameters of a mount; the last is [`Spec::END`].
    const PARAMETERS: &'static [Spec];

    /// Begins a mount.
    fn init_context(fc: &FsContext<Self>) -> Result<Self::Context>;

    /// Takes a parameter; `index` is the one in [`Self::PARAMETERS`]. Remounts take none: those of
    /// mount(2) are ignored, those of fsconfig(2) refused.
    fn parse_param(
        fc: &FsContext<Self>,
        context: &mut Self::Context,
        index: u8,
        value: Value,
    ) -> Result;

    /// Decides which superblock to mount, once all parameters are there.
    fn get_tree(fc: &FsContext<Self>, context: &mut Self::Context) -> Result<Tree>;

    /// For [`Tree::Existing`]: whether `data`'s superblock is the one. Must not sleep.
    fn is_same(_context: &Self::Context, _data: &Self::SuperData) -> bool {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Sets up a new superblock; returns the file system's part of it.
    fn new_super(
        sb: &mut NewSuperBlock<'_, Self>,
        context: &mut Self::Context,
    ) -> Result<Self::SuperData>;

    /// Makes the root of a superblock that has been set up.
    fn new_root(sb: &SuperBlock<Self>, context: &mut Self::Context) -> Result<OwnedINode<Self>>;

    /// The superblock is complete but not visible yet: the last chance to fail.
    fn mounted(_sb: &SuperBlock<Self>, _context: &mut Self::Context) -> Result {
        Ok(())
    }

    /// Accepts or refuses a remount.
    fn reconfigure(_sb: &SuperBlock<Self>, _fc: &FsContext<Self>) -> Result {
        Ok(())
    }

    /// The superblock goes: the first step, while all its inodes are there. Not called for one that
    /// was never filled.
    fn kill(_sb: &SuperBlock<Self>) {}

    /// Makes the file system's part of a new inode.
    fn new_inode() -> impl PinInit<Self::INodeData, Error>;

    /// Whether an inode is the one of `key`. Must not sleep.
    fn has_key(data: &Self::INodeData, key: Self::Key) -> bool;

    /// Makes `key` the inode's own. Must not sleep.
    fn set_key(data: &Self::INodeData, key: Self::Key);

    /// Writes attributes of the inode back that have been changed here, and waits for that.
    fn write_inode(_inode: &INode<Self>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// The last reference is gone; the inode has no pages any more. `active` unless the whole
    /// superblock goes.
    fn evict(_inode: &INode<Self>, _active: bool) {}

    /// The answer to statfs(2).
    fn statfs(_root: &DEntry<Self>) -> Result<StatFs> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes sure that what was written reaches what keeps it. Dirty inodes have been written.
    fn sync(_sb: &SuperBlock<Self>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Somebody wants to unmount by force; what waits should end.
    fn umount_begin(_sb: &SuperBlock<Self>) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes the options for `/proc/mounts`, each with a comma before it.
    fn show_options(_sb: &SuperBlock<Self>, _m: &SeqFile) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// How often entries are dropped that do not [hold](DEntry::holds) any more and that nobody uses,
    /// in seconds; 0 for never: they stay until memory is short.
    fn reap_period() -> u32 {
        0
    }

    /// Whether a cached entry still holds; when not, it is looked up anew. `dir` and `name` say what
    /// is being looked up.
    ///
    /// Must not sleep when `flags.in_rcu_walk()`: then what would sleep returns `ECHILD` and is
    /// called again without, and what it was given may be on its way out.
    fn d_revalidate(
        _dir: &INode<Self>,
        _name: &[u8],
        _dentry: &DEntry<Self>,
        _flags: LookupFlags,
    ) -> Result<bool> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// Which superblock to mount.
#[derive(Clone, Copy)]
pub(crate) enum Tree {
    /// A new one, on no device.
    NoDevice,
    /// The one on the block device that is the source, made if it is not there yet.
    Device,
    /// The only one there is, made if it is not there yet.
    Single,
    /// One that is there, by [`FileSystem::is_same`]; `ENOTCONN` when there is none.
    Existing,
}

/// A file system type that can be mounted while this lives.
///
/// With lockdep on, the memory must be that of a module (its `module!` type), not of the heap, since
/// the locks of its superblocks are classed by addresses in it.
///
/// # Invariants
///
/// `raw` is registered, and its superblocks are of type `T` and use `cache`.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Registration<T: FileSystem> {
    #[pin]
    raw: Opaque<bindings::file_system_type>,
    cache: Arc<INodeCache<T>>,
    shared: Arc<T::Shared>,
    _file_system: PhantomData<T>,
}

// SAFETY: A type may be unregistered by another task than the one that registered it.
unsafe impl<T: FileSystem> Send for Registration<T> {}
// SAFETY: There are no methods.
unsafe impl<T: FileSystem> Sync for Registration<T> {}

/// What a file system type is.
#[derive(Clone, Copy)]
pub(crate) struct Properties {
    /// The name to mount it by.
    pub(crate) name: &'static CStr,
    /// It is mounted from a block device.
    pub(crate) requires_device: bool,
    /// Names of the form `name.subtype` mean this type too.
    pub(crate) has_subtype: bool,
    /// Whoever is root in a user namespace may mount it there.
    pub(crate) user_ns_mount: bool,
    /// Its mounts may map ids, unless [`NO_ID_MAP`](super::super_block::InternalFlags::NO_ID_MAP) is set.
    pub(crate) id_maps: bool,
}

impl<T: FileSystem> Registration<T> {
    /// Registers a type; its inodes come from `cache`, and its superblocks have `shared`. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when there is a type of that name.
    pub(crate) fn new(
        properties: Properties,
        cache: Arc<INodeCache<T>>,
        shared: Arc<T::Shared>,
    ) -> impl PinInit<Self, Error> {
        const {
            assert!(
                Spec::is_terminated(T::PARAMETERS),
                "the parameters must end with Spec::END"
            );
            assert!(
                !core::mem::needs_drop::<T::DEntryData>(),
                "entry data must be plain"
            );
        }
        try_pin_init!(Self {
            cache,
            shared,
            _file_system: PhantomData,
            raw <- Opaque::try_ffi_init(move |slot: *mut bindings::file_system_type| {
                // SAFETY: `slot` is valid for writing, and all zeroes is a valid value.
                unsafe { slot.write_bytes(0, 1) };
                // SAFETY: `slot` is valid and ours.
                let raw = unsafe { &mut *slot };
                raw.owner = this_module::<T::OwnerModule>().as_ptr();
                raw.name = kernel::str::CStrExt::as_char_ptr(properties.name);
                raw.init_fs_context = Some(Callbacks::<T>::init_fs_context);
                raw.kill_sb = Some(Callbacks::<T>::kill_sb);
                raw.parameters = T::PARAMETERS.as_ptr().cast();
                if properties.requires_device {
                    raw.fs_flags |= bindings::FS_REQUIRES_DEV as c_int;
                }
                if properties.has_subtype {
                    raw.fs_flags |= bindings::FS_HAS_SUBTYPE as c_int;
                }
                if properties.user_ns_mount {
                    raw.fs_flags |= bindings::FS_USERNS_MOUNT as c_int;
                }
                if properties.id_maps {
                    raw.fs_flags |= bindings::FS_ALLOW_IDMAP as c_int;
                }
                // SAFETY: The type is pinned and complete, and unregistered before it goes.
                // INVARIANT: On success it is registered.
                to_result(unsafe { bindings::register_filesystem(slot) })
            }),
        })
    }

    /// The cache that the inodes of `sb` come from.
    ///
    /// # Safety
    ///
    /// `sb` must be a superblock of a type registered by a `Registration<T>`, for all of `'a`.
    pub(super) unsafe fn cache_of<'a>(sb: *mut bindings::super_block) -> &'a INodeCache<T> {
        // SAFETY: The type is the first field of its registration, which stays while there are
        // superblocks, since they keep the module.
        unsafe { &(*(*sb).s_type.cast::<Self>()).cache }
    }

    /// What the superblocks of `type_` share.
    ///
    /// # Safety
    ///
    /// `type_` must be registered by a `Registration<T>`, for all of `'a`.
    pub(super) unsafe fn shared_of<'a>(type_: *mut bindings::file_system_type) -> &'a T::Shared {
        // SAFETY: The type is the first field of its registration.
        unsafe { &(*type_.cast::<Self>()).shared }
    }
}

#[pinned_drop]
impl<T: FileSystem> PinnedDrop for Registration<T> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by the type invariant, and this is the only place that ends it. It
        // fails only for a type that is not registered.
        unsafe { bindings::unregister_filesystem(self.raw.get()) };
    }
}

/// What the C side calls for types, contexts and the life of superblocks.
struct Callbacks<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> Callbacks<T> {
    const CONTEXT_OPERATIONS: bindings::fs_context_operations = bindings::fs_context_operations {
        free: Some(Self::free),
        parse_param: Some(Self::parse_param),
        get_tree: Some(Self::get_tree),
        reconfigure: Some(Self::reconfigure),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// To be called as `init_fs_context` of `struct file_system_type`, for this type.
    unsafe extern "C" fn init_fs_context(fc: *mut kernel::bindings::fs_context) -> c_int {
        from_result(|| {
            let fc = fc.cast::<bindings::fs_context>();
            // SAFETY: The C side gives a new context of this type.
            let context = T::init_context(unsafe { FsContext::from_raw(fc) })?;
            let context = KBox::new(context, GFP_KERNEL)?;
            // SAFETY: As above; the fields are the file system's to set.
            unsafe {
                (*fc).fs_private = KBox::into_raw(context).cast();
                (*fc).ops = &Self::CONTEXT_OPERATIONS;
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called as `free` of `struct fs_context_operations`, for this type.
    unsafe extern "C" fn free(fc: *mut bindings::fs_context) {
        // SAFETY: The context is ours; `init_fs_context` set the field, unless it failed.
        let private = unsafe { ptr::replace(&mut (*fc).fs_private, ptr::null_mut()) };
        if !private.is_null() {
            // SAFETY: It came from `KBox::into_raw`, and nobody uses it any more.
            drop(unsafe { KBox::from_raw(private.cast::<T::Context>()) });
        }
    }

    /// # Safety
    ///
    /// To be called as `parse_param` of `struct fs_context_operations`, for this type.
    unsafe extern "C" fn parse_param(
        fc: *mut bindings::fs_context,
        param: *mut bindings::fs_parameter,
    ) -> c_int {
        from_result(|| {
            // SAFETY: `init_fs_context` set `fs_private`.
            unsafe { context::parse_param::<T>(fc, param) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called as `get_tree` of `struct fs_context_operations`, for this type.
    unsafe extern "C" fn get_tree(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: The context is valid, and `fs_private` was set by `init_fs_context`. Nobody
            // else uses either meanwhile.
            let tree = unsafe {
                T::get_tree(
                    FsContext::from_raw(fc),
                    &mut *(*fc).fs_private.cast::<T::Context>(),
                )
            }?;
            let get: unsafe extern "C" fn(_, _) -> _ = match tree {
                Tree::NoDevice => bindings::get_tree_nodev,
                Tree::Device => bindings::get_tree_bdev,
                Tree::Single => bindings::get_tree_single,
                // SAFETY: The context is valid.
                Tree::Existing => return unsafe { Self::get_existing(fc) }.map(|()| 0),
            };
            // SAFETY: The context is valid; `fill_super` fits this type.
            to_result(unsafe { get(fc, Some(Self::fill_super)) }).map(|()| 0)
        })
    }

    /// Mounts a superblock that is there.
    ///
    /// # Safety
    ///
    /// `fc` must be a context of this type, in `get_tree`.
    unsafe fn get_existing(fc: *mut bindings::fs_context) -> Result {
        // SAFETY: The context is valid, the functions fit this type; `refuse` keeps `sget_fc` from
        // making a superblock.
        let sb = from_err_ptr(unsafe {
            bindings::sget_fc(fc.cast(), Some(Self::is_same), Some(Self::refuse))
        })?;
        // SAFETY: `sget_fc` returned a complete superblock with a reference, which goes with the
        // root to the context.
        unsafe { (*fc).root = bindings::dget((*sb).s_root) };
        Ok(())
    }

    /// # Safety
    ///
    /// To be called as the `test` of `sget_fc`, for this type.
    unsafe extern "C" fn is_same(
        sb: *mut bindings::super_block,
        fc: *mut kernel::bindings::fs_context,
    ) -> c_int {
        let fc = fc.cast::<bindings::fs_context>();
        // SAFETY: The C side gives a superblock of this type, with its list locked by a spinlock;
        // `kill_sb` lets an RCU grace period pass between clearing the field and dropping the data.
        let info = unsafe { (*sb).s_fs_info.cast::<SuperInfo<T>>().as_ref() };
        // SAFETY: `init_fs_context` set `fs_private`; only `get_existing` has the context.
        let context = unsafe { &*(*fc).fs_private.cast::<T::Context>() };
        info.is_some_and(|info| T::is_same(context, info.data()))
            .into()
    }

    /// # Safety
    ///
    /// To be called as the `set` of `sget_fc`, for this type.
    unsafe extern "C" fn refuse(
        _sb: *mut bindings::super_block,
        _fc: *mut kernel::bindings::fs_context,
    ) -> c_int {
        ENOTCONN.to_errno()
    }

    /// # Safety
    ///
    /// To be called as the `fill_super` of `get_tree_nodev` and the like, for this type.
    unsafe extern "C" fn fill_super(
        sb: *mut bindings::super_block,
        fc: *mut bindings::fs_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives a context of this type; only this call uses its data.
            let context = unsafe { &mut *(*fc).fs_private.cast::<T::Context>() };
            // SAFETY: The C side gives a new superblock.
            let mut new = unsafe { NewSuperBlock::<T>::from_raw(sb) };
            let data = T::new_super(&mut new, context)?;
            let info = KBox::new(SuperInfo::<T>::new(data)?, GFP_KERNEL)?;
            // SAFETY: The superblock is ours until it is complete. `is_same` may be looking at it
            // already.
            unsafe { (*new.as_ptr()).s_fs_info = KBox::into_raw(info).cast() };
            // SAFETY: As above; now it has its data.
            let root = T::new_root(unsafe { SuperBlock::from_raw(sb) }, context)?;
            // SAFETY: This gives the reference to the inode to the C side, also on failure.
            let dentry = unsafe { bindings::d_make_root(root.into_raw()) };
            if dentry.is_null() {
                return Err(ENOMEM);
            }
            // SAFETY: The superblock is ours until it is complete.
            unsafe { (*sb).s_root = dentry };
            // SAFETY: As above; now it is complete.
            let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
            sb.open_handle();
            T::mounted(sb, context)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called as `reconfigure` of `struct fs_context_operations`, for this type.
    unsafe extern "C" fn reconfigure(fc: *mut bindings::fs_context) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives a context of this type with the root of a superblock.
            let (sb, fc) = unsafe {
                let sb = (*(*fc).root).d_sb;
                (SuperBlock::<T>::from_raw(sb), FsContext::from_raw(fc))
            };
            // SAFETY: The superblock is locked for this call.
            to_result(unsafe { bindings::sync_filesystem(sb.as_ptr()) })?;
            T::reconfigure(sb, fc).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// To be called as `kill_sb` of `struct file_system_type`, for this type.
    unsafe extern "C" fn kill_sb(sb: *mut bindings::super_block) {
        // SAFETY: The C side gives a superblock of this type.
        let info = unsafe { (*sb).s_fs_info.cast::<SuperInfo<T>>() };
        // SAFETY: As above.
        if unsafe { !(*sb).s_root.is_null() } {
            // SAFETY: As above; it is complete.
            let sb = unsafe { SuperBlock::<T>::from_raw(sb) };
            T::kill(sb);
            sb.close_handle();
            sb.reaper().stop();
        }
        // SAFETY: This is what is to be done with a superblock made by `get_tree_*`.
        unsafe {
            if (*(*sb).s_type).fs_flags & bindings::FS_REQUIRES_DEV as c_int != 0 {
                bindings::kill_block_super(sb);
            } else {
                bindings::kill_anon_super(sb);
            }
        }
        if info.is_null() {
            return;
        }
        // Path walks under RCU may still look at the data through inodes that are gone, ...
        // SAFETY: No lock of RCU is held.
        unsafe { bindings::synchronize_rcu_expedited() };
        // SAFETY: Nobody changes the field at the same time.
        unsafe { ptr::write_volatile(&raw mut (*sb).s_fs_info, ptr::null_mut()) };
        // ... and mounts (`is_same`) through the list of superblocks, which still has this one.
        // SAFETY: No lock of RCU is held.
        unsafe { bindings::synchronize_rcu_expedited() };
        // SAFETY: It is what `KBox::into_raw` gave in `get_tree`, and the last user is gone.
        drop(unsafe { KBox::from_raw(info) });
    }
}
