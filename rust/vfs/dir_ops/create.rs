// SPDX-License-Identifier: GPL-2.0

//! Making a file and opening it in one go.

use super::{DirectoryOperations, IdMap, Names};
use crate::{
    bindings,
    vfs::{
        dentry::{DEntry, NegativeDEntry, Resolved},
        file::{self, FileOperations, NewFile},
        filesystem::FileSystem,
        inode::INode,
    },
};
use core::{marker::PhantomData, ptr};
use kernel::{
    error::{from_result, to_result},
    fs::File,
    prelude::*,
    types::ForeignOwnable,
};

/// What [`DirectoryOperations::atomic_open`] came to.
pub(crate) enum Opened<'a, T: FileSystem> {
    /// The file is made and open.
    Open(OpenFile<'a>),
    /// It is made; the VFS opens it.
    Made(Resolved<'a, T>),
}

/// That a file is open.
pub(crate) struct OpenFile<'a>(PhantomData<&'a File>);

impl<'a> NewFile<'a> {
    /// Opens the file on the inode of `dentry`, with the file operations `F` and `data`, by
    /// [`FileOperations::finish_open`].
    ///
    /// # Errors
    ///
    /// Those of that; `EIO` for an entry without an inode; those of the VFS.
    pub(crate) fn finish_open<F: FileOperations>(
        self,
        dentry: &DEntry<F::FileSystem>,
        data: F::Ptr,
    ) -> Result<OpenFile<'a>> {
        dentry.inode().ok_or(EIO)?;
        let file = self.as_ptr();
        // SAFETY: The file is being opened, so it is ours; the entry has an inode of this file system,
        // and is counted.
        let finished = to_result(unsafe {
            (*file).private_data = data.into_foreign();
            bindings::finish_open(file, dentry.as_ptr(), Some(opened::<F>))
        });
        // SAFETY: As above.
        if unsafe { (*file).f_mode & bindings::FMODE_OPENED == 0 } {
            // SAFETY: This is what `into_foreign` gave, and there will be no `release`.
            drop(unsafe { F::Ptr::from_foreign((*file).private_data) });
            // SAFETY: The file is ours.
            unsafe { (*file).private_data = ptr::null_mut() };
        }
        finished.map(|()| OpenFile(PhantomData))
    }
}

/// # Safety
///
/// To be called by `finish_open` in place of the inode's `open`; the private data must be those of
/// `F`, and the inode one of its file system.
unsafe extern "C" fn opened<F: FileOperations>(
    inode: *mut bindings::inode,
    file: *mut bindings::file,
) -> c_int {
    from_result(|| {
        // SAFETY: The C side gives a file that is being opened.
        to_result(unsafe { bindings::generic_file_open(inode, file) })?;
        // SAFETY: By the function's contract; from here on the table is the one for the data. Neither
        // table has an owner whose references would have to be counted.
        unsafe {
            (*file).f_op = file::table::<F>();
            let (inode, data) = file::Callbacks::<F>::parts(file);
            F::finish_open(inode, data, &NewFile::from_raw(file))?;
        }
        Ok(0)
    })
}

impl<D: DirectoryOperations> Names<D> {
    /// # Safety
    ///
    /// To be called as `atomic_open` of `struct inode_operations`, for this type.
    pub(super) unsafe extern "C" fn atomic_open(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        file: *mut bindings::file,
        flags: c_uint,
        mode: bindings::umode_t,
    ) -> c_int {
        // SAFETY: The C side gives a locked directory of this file system, an entry in it that may
        // have to be looked up, and a file that is being opened.
        unsafe {
            if bindings::d_in_lookup(dentry) {
                let other = Self::lookup(dir, dentry, 0);
                if !other.is_null() || !bindings::d_inode(dentry).is_null() {
                    return bindings::finish_no_open(file, other);
                }
            }
            if flags & bindings::O_CREAT == 0 {
                return bindings::finish_no_open(file, ptr::null_mut());
            }
            (*file).f_mode |= bindings::FMODE_CREATED;
        }
        from_result(|| {
            // SAFETY: As above. With `O_CREAT` the directory is locked for writing, and there is no
            // such name; the file has its mount, whose map stays for the call.
            unsafe {
                let opened = D::atomic_open(
                    IdMap::from_raw(bindings::file_mnt_idmap(file)),
                    INode::from_raw(dir),
                    NegativeDEntry::from_raw(dentry),
                    NewFile::from_raw(file),
                    flags,
                    mode.into(),
                )?;
                if let Opened::Made(made) = opened {
                    to_result(bindings::finish_no_open(file, made.into_raw()))?;
                }
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called as `tmpfile` of `struct inode_operations`, for this type.
    pub(super) unsafe extern "C" fn tmpfile(
        idmap: *mut bindings::mnt_idmap,
        dir: *mut bindings::inode,
        file: *mut bindings::file,
        mode: bindings::umode_t,
    ) -> c_int {
        // SAFETY: The C side gives a directory of this file system, a map for the call, and a file
        // that is being opened with an entry that nobody else knows.
        from_result(|| unsafe {
            let flags = (*file).f_flags;
            D::tmpfile(
                IdMap::from_raw(idmap),
                INode::from_raw(dir),
                NegativeDEntry::from_raw(bindings::file_dentry_of(file)),
                NewFile::from_raw(file),
                flags,
                mode.into(),
            )
            .map(|_| 0)
        })
    }
}
