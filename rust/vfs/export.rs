// SPDX-License-Identifier: GPL-2.0

//! File handles: what a file is found again by after its names were forgotten, for
//! name_to_handle_at(2), open_by_handle_at(2), fanotify(7) and NFS.
//!
//! C headers: [`include/linux/exportfs.h`](srctree/include/linux/exportfs.h)

use crate::{
    bindings,
    vfs::{
        dentry::{DEntry, OwnedDEntry},
        filesystem::FileSystem,
        inode::INode,
        super_block::SuperBlock,
    },
};
use core::{marker::PhantomData, ptr};
use kernel::prelude::*;

/// How a handle is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct HandleKind(c_int);

impl HandleKind {
    /// A number of 64 bits and a generation.
    pub(crate) const NUMBER: Self = Self(bindings::fid_type_FILEID_INO64_GEN as c_int);
    /// The same, twice: for the file and for the directory that it was found in.
    pub(crate) const NUMBER_AND_PARENT: Self =
        Self(bindings::fid_type_FILEID_INO64_GEN_PARENT as c_int);
}

/// Room for a handle.
pub(crate) struct HandleRoom<'a>(&'a mut [u32]);

/// What became of [`HandleRoom::fill`].
pub(crate) struct Filled {
    kind: c_int,
    words: usize,
}

impl HandleRoom<'_> {
    /// Makes this the handle; where there is not enough room, the caller is told how much it takes.
    pub(crate) fn fill(self, kind: HandleKind, words: &[u32]) -> Filled {
        let fits = self.0.get_mut(..words.len()).map(|room| {
            room.copy_from_slice(words);
            kind.0
        });
        Filled {
            kind: fits.unwrap_or(bindings::fid_type_FILEID_INVALID as c_int),
            words: words.len(),
        }
    }
}

/// The handles of a file system. The methods run in the context of a task and may sleep.
pub(crate) trait ExportOperations: Sized + 'static {
    /// The file system.
    type FileSystem: FileSystem;

    /// Writes down what `inode` is found again by, and the directory `parent` too, where that is
    /// wanted. Must not sleep.
    fn encode_fh(
        inode: &INode<Self::FileSystem>,
        room: HandleRoom<'_>,
        parent: Option<&INode<Self::FileSystem>>,
    ) -> Filled;

    /// An entry of the file that the handle `words` is for; it may be without a name. `None` when the
    /// file system has no such handles. They come from user space: any words may be in them.
    fn fh_to_dentry(
        sb: &SuperBlock<Self::FileSystem>,
        kind: HandleKind,
        words: &[u32],
    ) -> Result<Option<OwnedDEntry<Self::FileSystem>>>;

    /// The same of the directory that the file was found in.
    fn fh_to_parent(
        sb: &SuperBlock<Self::FileSystem>,
        kind: HandleKind,
        words: &[u32],
    ) -> Result<Option<OwnedDEntry<Self::FileSystem>>>;

    /// An entry of the directory that the directory `child` is in.
    fn get_parent(child: &DEntry<Self::FileSystem>) -> Result<OwnedDEntry<Self::FileSystem>>;
}

/// The table of operations of `E`.
pub(super) fn table<E: ExportOperations>() -> *const kernel::bindings::export_operations {
    ptr::from_ref(&Callbacks::<E>::OPERATIONS).cast()
}

/// The same for a file system whose handles tell files apart, but do not lead to them.
pub(super) fn identifying_table<E: ExportOperations>() -> *const kernel::bindings::export_operations
{
    ptr::from_ref(&Callbacks::<E>::IDENTIFYING).cast()
}

/// What the C side wants of an entry that was looked for.
fn give<T: FileSystem>(found: Result<Option<OwnedDEntry<T>>>) -> *mut bindings::dentry {
    match found {
        Ok(entry) => entry.map_or(ptr::null_mut(), OwnedDEntry::into_raw),
        Err(err) => err.to_ptr(),
    }
}

/// What the C side calls.
struct Callbacks<E: ExportOperations>(PhantomData<E>);

impl<E: ExportOperations> Callbacks<E> {
    const IDENTIFYING: bindings::export_operations = bindings::export_operations {
        encode_fh: Some(Self::encode_fh),
        ..pin_init::zeroed()
    };

    const OPERATIONS: bindings::export_operations = bindings::export_operations {
        fh_to_dentry: Some(Self::fh_to_dentry),
        fh_to_parent: Some(Self::fh_to_parent),
        get_parent: Some(Self::get_parent),
        ..Self::IDENTIFYING
    };

    /// # Safety
    ///
    /// To be called as `encode_fh` of `struct export_operations`, for this type.
    unsafe extern "C" fn encode_fh(
        inode: *mut bindings::inode,
        words: *mut u32,
        max_len: *mut c_int,
        parent: *mut bindings::inode,
    ) -> c_int {
        // SAFETY: The C side gives an inode of this file system, another one or null, and room for as
        // many words as it says, whose memory is initialised.
        let (inode, parent, room) = unsafe {
            (
                INode::from_raw(inode),
                (!parent.is_null()).then(|| INode::from_raw(parent)),
                words_at(words, *max_len),
            )
        };
        let filled = E::encode_fh(inode, HandleRoom(room), parent);
        // SAFETY: It is the C side's to read.
        // CAST: Handles are short.
        unsafe { *max_len = filled.words as c_int };
        filled.kind
    }

    /// # Safety
    ///
    /// To be called as `fh_to_dentry` of `struct export_operations`, for this type.
    unsafe extern "C" fn fh_to_dentry(
        sb: *mut bindings::super_block,
        handle: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        // SAFETY: The C side gives a superblock of this type, and a handle of as many words as it says.
        let (sb, words) = unsafe { (SuperBlock::from_raw(sb), words_at(handle.cast(), len)) };
        give(E::fh_to_dentry(sb, HandleKind(kind), words))
    }

    /// # Safety
    ///
    /// To be called as `fh_to_parent` of `struct export_operations`, for this type.
    unsafe extern "C" fn fh_to_parent(
        sb: *mut bindings::super_block,
        handle: *mut bindings::fid,
        len: c_int,
        kind: c_int,
    ) -> *mut bindings::dentry {
        // SAFETY: As above.
        let (sb, words) = unsafe { (SuperBlock::from_raw(sb), words_at(handle.cast(), len)) };
        give(E::fh_to_parent(sb, HandleKind(kind), words))
    }

    /// # Safety
    ///
    /// To be called as `get_parent` of `struct export_operations`, for this type.
    unsafe extern "C" fn get_parent(child: *mut bindings::dentry) -> *mut bindings::dentry {
        // SAFETY: The C side gives an entry of this file system that is counted.
        give(E::get_parent(unsafe { DEntry::from_raw(child) }).map(Some))
    }
}

/// The words of a handle, none where `len` is not above 0.
///
/// # Safety
///
/// There must be `len` of them, for all of `'a`, and nobody else must use them.
unsafe fn words_at<'a>(words: *mut u32, len: c_int) -> &'a mut [u32] {
    match usize::try_from(len) {
        // SAFETY: By the function's contract.
        Ok(len @ 1..) => unsafe { core::slice::from_raw_parts_mut(words, len) },
        _ => &mut [],
    }
}
