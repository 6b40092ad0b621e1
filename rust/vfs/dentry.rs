// SPDX-License-Identifier: GPL-2.0

//! Directory entries: the names by which inodes are known, and the names that are known not to be.
//!
//! C headers: [`include/linux/dcache.h`](srctree/include/linux/dcache.h)

use crate::{
    bindings,
    vfs::{
        filesystem::FileSystem,
        inode::{ContentsLocked, FileType, INode, OwnedINode},
        reaper::Reaper,
        super_block::SuperBlock,
        time::{Holds, Ticks},
    },
};
use core::{
    marker::PhantomData,
    mem::{self, ManuallyDrop, MaybeUninit},
    ops::Deref,
    ptr::{self, NonNull},
};
use kernel::{
    error::{from_err_ptr, from_result},
    prelude::*,
    types::Opaque,
};

/// A directory entry.
///
/// As with [`INode`], a shared reference means that the memory stays, not that it is counted.
///
/// # Invariants
///
/// The entry belongs to a superblock of type `T`. Unless `T::DEntryData` has no size, `d_fsdata`
/// points to an [`EntryMemory<T>`].
#[repr(transparent)]
pub(crate) struct DEntry<T: FileSystem> {
    raw: Opaque<bindings::dentry>,
    _file_system: PhantomData<T>,
}

// SAFETY: The methods synchronise among themselves or leave that to the C side.
unsafe impl<T: FileSystem> Sync for DEntry<T> {}

/// What `d_fsdata` points to.
#[repr(C)]
struct EntryMemory<T: FileSystem> {
    holds: Holds,
    data: T::DEntryData,
    rcu: MaybeUninit<bindings::callback_head>,
}

impl<T: FileSystem> DEntry<T> {
    /// The entry behind a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be to an entry as in the type's invariants whose memory stays for all of `'a`.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::dentry) -> &'a Self {
        // SAFETY: By the function's contract; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::dentry {
        self.raw.get()
    }

    /// The file system's part.
    pub(crate) fn data(&self) -> &T::DEntryData {
        if mem::size_of::<T::DEntryData>() == 0 {
            // SAFETY: A value without a size is anywhere that is aligned; `Zeroable` says it exists.
            return unsafe { NonNull::<T::DEntryData>::dangling().as_ref() };
        }
        // SAFETY: By the type invariant; RCU keeps the memory as long as that of the entry.
        unsafe { &(*(*self.as_ptr()).d_fsdata.cast::<EntryMemory<T>>()).data }
    }

    /// Until when it holds.
    ///
    /// # Safety
    ///
    /// `T::DEntryData` must have a size.
    pub(super) unsafe fn holding(&self) -> &Holds {
        // SAFETY: By the type invariant; RCU keeps the memory as long as that of the entry.
        unsafe { &(*(*self.as_ptr()).d_fsdata.cast::<EntryMemory<T>>()).holds }
    }

    /// Whether the entry holds: nobody need be asked what the name leads to. One without data always
    /// does.
    pub(crate) fn holds(&self) -> bool {
        // SAFETY: The data has a size.
        mem::size_of::<T::DEntryData>() == 0 || !unsafe { self.holding() }.is_past()
    }

    /// Says until when the entry holds. May sleep.
    pub(crate) fn hold_until(&self, until: Ticks) {
        const {
            assert!(
                mem::size_of::<T::DEntryData>() != 0,
                "only entries with data can cease to hold"
            );
        }
        // SAFETY: The entry is valid; the lock guards its flags, which anybody may read.
        unsafe {
            // Those that hold stay when they are not in use. Letting an entry go takes longer with the flag.
            let flags = ptr::read_volatile(&raw const (*self.as_ptr()).d_flags);
            if flags & bindings::dentry_flags_DCACHE_OP_DELETE != 0 {
                let lock = bindings::d_lock_of(self.as_ptr());
                bindings::spin_lock(lock);
                (*self.as_ptr()).d_flags &= !bindings::dentry_flags_DCACHE_OP_DELETE;
                bindings::spin_unlock(lock);
            }
        }
        // SAFETY: The data has a size.
        let holds = unsafe { self.holding() };
        Reaper::hold(self.super_block().reaper(), self, holds, until);
    }

    /// The entry does not hold any more. May sleep.
    pub(crate) fn expire(&self) {
        self.hold_until(Ticks::PAST);
    }

    /// The superblock it belongs to.
    pub(crate) fn super_block(&self) -> &SuperBlock<T> {
        // SAFETY: Constant, and kept for as long as there are entries.
        unsafe { SuperBlock::from_raw((*self.as_ptr()).d_sb) }
    }

    /// The inode; `None` when the name is known not to be.
    pub(crate) fn inode(&self) -> Option<&INode<T>> {
        // SAFETY: The entry is valid.
        let inode = unsafe { bindings::d_inode_rcu(self.as_ptr()) };
        // SAFETY: Whoever has the entry counts it, and a counted entry keeps its inode; or it is seen
        // under RCU, which keeps the memory of the inode as well.
        (!inode.is_null()).then(|| unsafe { INode::from_raw(inode) })
    }

    /// The cached entry of that name in this directory, if there is one that is not being looked up.
    pub(crate) fn find_child(&self, name: &[u8]) -> Option<OwnedDEntry<T>> {
        self.find(&self.name_in(name))
    }

    /// The same, for a name that [`Self::name_in`] gave.
    fn find(&self, name: &bindings::qstr) -> Option<OwnedDEntry<T>> {
        // SAFETY: The entry is valid, and so is the name for the call.
        let child = unsafe { bindings::d_lookup(self.as_ptr(), name) };
        // SAFETY: `d_lookup` took a reference.
        NonNull::new(child).map(|child| unsafe { OwnedDEntry::from_raw(child) })
    }

    /// A name in this directory, with its hash; to be used while `name` is there.
    fn name_in(&self, name: &[u8]) -> bindings::qstr {
        let mut qstr: bindings::qstr = pin_init::zeroed();
        qstr.name = name.as_ptr();
        // SAFETY: The entry and the name are valid.
        // CAST: Of a name that is too long for this, some part is looked for, and not found.
        unsafe {
            let hash_len = &mut qstr.__bindgen_anon_1.__bindgen_anon_1;
            hash_len.len = name.len() as u32;
            hash_len.hash = bindings::full_name_hash(self.as_ptr().cast(), qstr.name, hash_len.len);
        }
        qstr
    }

    /// Lets nobody find the entry any more, nor, as far as nobody uses them, what is below it; what
    /// is mounted there is unmounted. Sleeps.
    pub(crate) fn invalidate(&self) {
        // SAFETY: The entry is valid.
        unsafe { bindings::d_invalidate(self.as_ptr()) };
    }

    /// The file that this entry of the locked directory leads to was removed where the VFS could not
    /// see it: does here what unlink(2) or rmdir(2) would have done. `is_it` says whether the file is
    /// the one that was removed. Sleeps.
    ///
    /// # Errors
    ///
    /// `ENOENT` when the entry leads nowhere or to another file, `EBUSY` when something is mounted
    /// there, `ENOTEMPTY` when the directory has entries that are in use.
    pub(crate) fn was_removed(
        &self,
        _dir: &ContentsLocked<'_, T>,
        is_it: impl FnOnce(&INode<T>) -> bool,
    ) -> Result {
        let inode = self.inode().ok_or(ENOENT)?;
        let locked = inode.lock_contents();
        if !is_it(inode) {
            return Err(ENOENT);
        }
        let dentry = self.as_ptr();
        // SAFETY: The entry is counted and has an inode, which nobody else can take from it while there
        // are two who use it; that is locked.
        unsafe {
            if bindings::d_mountpoint(dentry) {
                return Err(EBUSY);
            }
            if inode.file_type() == FileType::Directory {
                bindings::shrink_dcache_parent(dentry);
                if bindings::simple_empty(dentry) == 0 {
                    return Err(ENOTEMPTY);
                }
                (*inode.as_ptr()).i_flags |= bindings::S_DEAD;
            }
            bindings::dont_mount(dentry);
            bindings::clear_nlink(inode.as_ptr());
            drop(locked);
            bindings::d_delete(dentry);
        }
        Ok(())
    }

    /// Lets the entry go as soon as nobody uses it.
    pub(crate) fn dont_cache(&self) {
        // SAFETY: The entry is valid; the lock that is taken guards its flags.
        unsafe { bindings::d_dont_cache(self.as_ptr()) };
    }
}

/// A reference to an entry that keeps it.
///
/// # Invariants
///
/// Owns a reference count.
pub(crate) struct OwnedDEntry<T: FileSystem>(NonNull<DEntry<T>>);

impl<T: FileSystem> OwnedDEntry<T> {
    /// Takes a reference over from the C side.
    ///
    /// # Safety
    ///
    /// `ptr` must be to an entry as in the invariants of [`DEntry`]; the caller hands a reference over.
    pub(super) unsafe fn from_raw(ptr: NonNull<bindings::dentry>) -> Self {
        // INVARIANT: By the function's contract.
        Self(ptr.cast())
    }

    /// Gives the reference to the C side.
    pub(super) fn into_raw(self) -> *mut bindings::dentry {
        mem::ManuallyDrop::new(self).0.as_ptr().cast()
    }
}

impl<T: FileSystem> Deref for OwnedDEntry<T> {
    type Target = DEntry<T>;

    fn deref(&self) -> &DEntry<T> {
        // SAFETY: The reference count keeps it.
        unsafe { self.0.as_ref() }
    }
}

impl<T: FileSystem> Clone for OwnedDEntry<T> {
    fn clone(&self) -> Self {
        // SAFETY: The entry is counted.
        unsafe { bindings::dget(self.as_ptr()) };
        // INVARIANT: A reference has just been taken.
        Self(self.0)
    }
}

impl<T: FileSystem> Drop for OwnedDEntry<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant there is a reference to give up.
        unsafe { bindings::dput(self.as_ptr()) };
    }
}

/// An entry that is counted and whose name is stable: its directory is locked, or nobody knows it
/// yet.
pub(crate) struct NamedDEntry<'a, T: FileSystem>(&'a DEntry<T>);

impl<T: FileSystem> Deref for NamedDEntry<'_, T> {
    type Target = DEntry<T>;

    fn deref(&self) -> &DEntry<T> {
        self.0
    }
}

impl<'a, T: FileSystem> NamedDEntry<'a, T> {
    /// # Safety
    ///
    /// `ptr` must be to an entry as in the type's description, for all of `'a`.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::dentry) -> Self {
        // SAFETY: By the function's contract.
        Self(unsafe { DEntry::from_raw(ptr) })
    }

    /// The name.
    pub(crate) fn name(&self) -> &'a [u8] {
        // SAFETY: The name of such an entry does not change.
        unsafe { name(&raw const (*self.as_ptr()).__bindgen_anon_1.d_name) }
    }
}

/// An entry whose name is being looked up: not known to others yet.
pub(crate) struct NewDEntry<'a, T: FileSystem>(NamedDEntry<'a, T>);

impl<'a, T: FileSystem> NewDEntry<'a, T> {
    /// # Safety
    ///
    /// `ptr` must be the entry that `lookup` is called for, for all of `'a`, and passed on once.
    unsafe fn from_raw(ptr: *mut bindings::dentry) -> Self {
        // SAFETY: By the function's contract.
        Self(unsafe { NamedDEntry::from_raw(ptr) })
    }

    /// The name that is being looked up.
    pub(crate) fn name(&self) -> &'a [u8] {
        self.0.name()
    }

    /// Gives the entry its inode, or none; then it is known to all. May sleep.
    ///
    /// Where the inode is a directory that has an entry already, that one takes the place of this.
    ///
    /// # Errors
    ///
    /// `ELOOP` when a directory would become its own ancestor, `ESTALE`, `EIO`.
    pub(crate) fn resolve(self, inode: Option<OwnedINode<T>>) -> Result<Resolved<'a, T>> {
        let inode = inode.map_or(ptr::null_mut(), OwnedINode::into_raw);
        // SAFETY: The entry is being looked up; this gives the reference to the inode away.
        unsafe { splice(self.0 .0, inode) }
    }
}

/// Gives an entry an inode, or with null none, and makes it known.
///
/// # Safety
///
/// The entry must be unhashed and have no inode, and its directory be locked. A reference to the
/// inode is given away.
unsafe fn splice<T: FileSystem>(
    dentry: &DEntry<T>,
    inode: *mut bindings::inode,
) -> Result<Resolved<'_, T>> {
    // SAFETY: By the function's contract.
    let other = from_err_ptr(unsafe { bindings::d_splice_alias(inode, dentry.as_ptr()) })?;
    Ok(match NonNull::new(other) {
        None => Resolved::This(dentry),
        // INVARIANT: `d_splice_alias` took a reference.
        Some(other) => Resolved::Other(OwnedDEntry(other.cast())),
    })
}

/// An entry for a name that is known not to be, in a directory that is locked for changes: it can
/// be made. Or one that nobody knows, for a file without a name, which is to be
/// [instantiated](Self::instantiate).
pub(crate) struct NegativeDEntry<'a, T: FileSystem>(NamedDEntry<'a, T>);

impl<'a, T: FileSystem> Deref for NegativeDEntry<'a, T> {
    type Target = NamedDEntry<'a, T>;

    fn deref(&self) -> &NamedDEntry<'a, T> {
        &self.0
    }
}

impl<'a, T: FileSystem> NegativeDEntry<'a, T> {
    /// # Safety
    ///
    /// `ptr` must be an entry without an inode that is in no lookup, in a directory that is locked
    /// for writing or known to nobody else, for all of `'a`, and passed on once.
    pub(super) unsafe fn from_raw(ptr: *mut bindings::dentry) -> Self {
        // SAFETY: By the function's contract.
        Self(unsafe { NamedDEntry::from_raw(ptr) })
    }

    /// Gives the entry its inode, as [`NewDEntry::resolve`] does, which also says what the errors
    /// are. May sleep.
    pub(crate) fn resolve(self, inode: OwnedINode<T>) -> Result<Resolved<'a, T>> {
        // SAFETY: The entry has no inode and its directory is locked; here it is unhashed. This
        // gives the reference to the inode away.
        unsafe {
            bindings::d_drop(self.as_ptr());
            splice(self.0 .0, inode.into_raw())
        }
    }

    /// Gives the entry its inode where it is, known to others or not.
    ///
    /// # Errors
    ///
    /// `EIO` for a directory, which might have an entry already.
    pub(crate) fn instantiate(self, inode: OwnedINode<T>) -> Result<NamedDEntry<'a, T>> {
        if inode.file_type() == FileType::Directory {
            return Err(EIO);
        }
        // SAFETY: The entry has no inode and is in no lookup; this gives the reference to the inode
        // away.
        unsafe { bindings::d_instantiate(self.as_ptr(), inode.into_raw()) };
        Ok(self.0)
    }
}

/// Where a lookup has led.
pub(crate) enum Resolved<'a, T: FileSystem> {
    /// The entry that was given.
    This(&'a DEntry<T>),
    /// Another in its place.
    Other(OwnedDEntry<T>),
}

impl<T: FileSystem> Deref for Resolved<'_, T> {
    type Target = DEntry<T>;

    fn deref(&self) -> &DEntry<T> {
        match self {
            Self::This(dentry) => dentry,
            Self::Other(dentry) => dentry,
        }
    }
}

impl<T: FileSystem> Resolved<'_, T> {
    /// What the C side wants: null for the entry that was given, else the other one.
    pub(super) fn into_raw(self) -> *mut bindings::dentry {
        match self {
            Self::This(_) => ptr::null_mut(),
            Self::Other(other) => other.into_raw(),
        }
    }
}

/// Calls `lookup` for the entry and returns what the C side wants.
///
/// # Safety
///
/// `dentry` must be the argument of `lookup` of a directory of type `T`.
pub(super) unsafe fn lookup<T: FileSystem>(
    dentry: *mut bindings::dentry,
    lookup: impl for<'a> FnOnce(NewDEntry<'a, T>) -> Result<Resolved<'a, T>>,
) -> *mut bindings::dentry {
    // SAFETY: By the function's contract.
    lookup(unsafe { NewDEntry::from_raw(dentry) }).map_or_else(Error::to_ptr, Resolved::into_raw)
}

/// An entry of a directory that is being read.
pub(crate) enum Child<'a, T: FileSystem> {
    /// One that is cached.
    Known(OwnedDEntry<T>),
    /// A new one.
    New(InLookup<'a, T>),
}

/// An entry that this task looks up while it reads the directory: who else looks for the name waits.
///
/// # Invariants
///
/// The entry is in lookup, and its directory is locked for all of `'a`.
pub(crate) struct InLookup<'a, T: FileSystem>(OwnedDEntry<T>, PhantomData<&'a DEntry<T>>);

impl<T: FileSystem> InLookup<'_, T> {
    /// Gives the entry its inode, as [`NewDEntry::resolve`] does, which also says what the errors
    /// are. May sleep.
    pub(crate) fn resolve(self, inode: OwnedINode<T>) -> Result<OwnedDEntry<T>> {
        // SAFETY: By the type invariant; this gives the reference to the inode away.
        match unsafe { splice(&self.0, inode.into_raw()) }? {
            Resolved::This(_) => {
                let this = ManuallyDrop::new(self);
                // SAFETY: The entry was put into lookup by this task. What is moved out is not
                // dropped besides.
                unsafe {
                    bindings::d_lookup_done(this.0.as_ptr());
                    Ok(ptr::read(&this.0))
                }
            }
            Resolved::Other(other) => Ok(other),
        }
    }
}

impl<T: FileSystem> Drop for InLookup<'_, T> {
    fn drop(&mut self) {
        // SAFETY: The entry was put into lookup by this task.
        unsafe { bindings::d_lookup_done(self.0.as_ptr()) };
    }
}

/// See [`DirEmitter::child`](super::file::DirEmitter::child).
///
/// # Safety
///
/// `dir` must be an entry of a directory that is locked for all of `'a`.
pub(super) unsafe fn child<'a, T: FileSystem>(
    dir: &'a DEntry<T>,
    name: &[u8],
) -> Result<Child<'a, T>> {
    let name = dir.name_in(name);
    if let Some(known) = dir.find(&name) {
        return Ok(Child::Known(known));
    }
    // SAFETY: The entry is valid and its directory locked; the name is copied.
    let child = unsafe { bindings::d_alloc_parallel(dir.as_ptr(), &name) };
    let child = NonNull::new(from_err_ptr(child)?).ok_or(ENOMEM)?;
    // SAFETY: `d_alloc_parallel` took a reference, and says by a flag that is constant for everybody
    // else whose lookup it is.
    unsafe {
        let is_new = bindings::d_in_lookup(child.as_ptr());
        let child = OwnedDEntry::from_raw(child);
        Ok(if is_new {
            // INVARIANT: It is in lookup, and the directory is locked.
            Child::New(InLookup(child, PhantomData))
        } else {
            Child::Known(child)
        })
    }
}

/// What a path walk wants of a name.
#[derive(Clone, Copy)]
pub(crate) struct LookupFlags(pub(super) c_uint);

impl LookupFlags {
    /// The walk is under RCU: nothing may sleep.
    pub(crate) fn in_rcu_walk(self) -> bool {
        self.0 & bindings::LOOKUP_RCU != 0
    }

    /// The walk would rather ask than trust what is cached: it is to create the name, to rename to
    /// it, or has failed with `ESTALE` before.
    pub(crate) fn wants_fresh(self) -> bool {
        self.0 & (bindings::LOOKUP_EXCL | bindings::LOOKUP_REVAL | bindings::LOOKUP_RENAME_TARGET)
            != 0
    }
}

/// The bytes of a name.
///
/// # Safety
///
/// `qstr` must be valid and its name must not change for all of `'a`.
unsafe fn name<'a>(qstr: *const bindings::qstr) -> &'a [u8] {
    // SAFETY: By the function's contract.
    unsafe {
        let len = (*qstr).__bindgen_anon_1.__bindgen_anon_1.len;
        core::slice::from_raw_parts((*qstr).name, len as usize)
    }
}

/// The table of operations for the entries of `T`; `None` when it needs none.
pub(super) fn operations<T: FileSystem>() -> Option<&'static bindings::dentry_operations> {
    (T::HAS_D_REVALIDATE || mem::size_of::<T::DEntryData>() != 0)
        .then_some(&Callbacks::<T>::OPERATIONS)
}

/// What the C side calls.
struct Callbacks<T: FileSystem>(PhantomData<T>);

impl<T: FileSystem> Callbacks<T> {
    const OPERATIONS: bindings::dentry_operations = bindings::dentry_operations {
        d_revalidate: if T::HAS_D_REVALIDATE {
            Some(Self::revalidate)
        } else {
            None
        },
        d_delete: if mem::size_of::<T::DEntryData>() != 0 {
            Some(Self::delete)
        } else {
            None
        },
        d_init: if mem::size_of::<T::DEntryData>() != 0 {
            Some(Self::init)
        } else {
            None
        },
        d_release: if mem::size_of::<T::DEntryData>() != 0 {
            Some(Self::release)
        } else {
            None
        },
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// To be called as `d_revalidate` of `struct dentry_operations`, for this type.
    unsafe extern "C" fn revalidate(
        dir: *mut bindings::inode,
        qstr: *const bindings::qstr,
        dentry: *mut bindings::dentry,
        flags: c_uint,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives a directory and an entry of this type, and a name that stays
            // for the call.
            let (dir, name, dentry) = unsafe {
                (
                    INode::<T>::from_raw(dir),
                    name(qstr),
                    DEntry::from_raw(dentry),
                )
            };
            T::d_revalidate(dir, name, dentry, LookupFlags(flags)).map(c_int::from)
        })
    }

    /// # Safety
    ///
    /// To be called as `d_delete` of `struct dentry_operations`, for this type.
    unsafe extern "C" fn delete(dentry: *const bindings::dentry) -> c_int {
        // SAFETY: The C side gives an entry of this type.
        let dentry = unsafe { DEntry::<T>::from_raw(dentry.cast_mut()) };
        (!dentry.holds()).into()
    }

    /// # Safety
    ///
    /// To be called as `d_init` of `struct dentry_operations`, for this type.
    unsafe extern "C" fn init(dentry: *mut bindings::dentry) -> c_int {
        const {
            // What kmalloc() sees to.
            assert!(mem::align_of::<EntryMemory<T>>() <= mem::align_of::<u64>());
        }
        // SAFETY: Can be called with any size.
        let memory = unsafe { bindings::alloc_dentry_data(mem::size_of::<EntryMemory<T>>()) };
        if memory.is_null() {
            return ENOMEM.to_errno();
        }
        // SAFETY: The entry is new.
        // INVARIANT: The memory is large enough, and all zeroes is valid data, by `Zeroable`.
        unsafe { (*dentry).d_fsdata = memory };
        0
    }

    /// # Safety
    ///
    /// To be called as `d_release` of `struct dentry_operations`, for this type.
    unsafe extern "C" fn release(dentry: *mut bindings::dentry) {
        // SAFETY: The C side gives an entry of this type, for the last time.
        unsafe {
            let memory = (*dentry).d_fsdata.cast::<EntryMemory<T>>();
            if (*memory).holds.tracked_until().is_some() {
                let sb = SuperBlock::<T>::from_raw((*dentry).d_sb);
                let reaper = sb.reaper().chore();
                reaper.release(NonNull::new_unchecked(dentry), &(*memory).holds);
            }
            // The data needs no dropping: `Registration::new` checks that.
            bindings::kvfree_call_rcu((&raw mut (*memory).rcu).cast(), memory.cast());
        }
    }
}
