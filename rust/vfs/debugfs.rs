// SPDX-License-Identifier: GPL-2.0

//! Directories and files in debugfs, for root to read.
//!
//! [`kernel::debugfs`] has them as well, but its files can be read by all, and do not keep the module
//! while they are open: what closes them would be gone.
//!
//! As everywhere in debugfs, what cannot be made is not there, and nobody is told.
//!
//! C headers: [`include/linux/debugfs.h`](srctree/include/linux/debugfs.h)

use crate::bindings;
use core::{marker::PhantomData, ptr};
use kernel::{error::from_result, prelude::*, sync::Arc};

/// A directory, until it is dropped.
///
/// # Invariants
///
/// `dentry` is what debugfs returned for the directory, and owned.
pub(crate) struct Directory {
    dentry: *mut bindings::dentry,
    // Goes later: it takes all that is in it along.
    _parent: Option<Arc<Directory>>,
}

// SAFETY: A directory entry belongs to no thread.
unsafe impl Send for Directory {}
// SAFETY: The functions of debugfs may be called by several threads at once.
unsafe impl Sync for Directory {}

impl Directory {
    /// Makes a directory in another one, or in the root. May sleep.
    pub(crate) fn new(name: &CStr, parent: Option<Arc<Directory>>) -> Self {
        let within = parent.as_ref().map_or(ptr::null_mut(), |dir| dir.dentry);
        // SAFETY: The name ends with NUL; the parent is what debugfs returned, an error at worst, which it
        // takes. INVARIANT: The directory is ours.
        let dentry = unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), within) };
        Directory {
            dentry,
            _parent: parent,
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; errors are taken, too.
        unsafe { bindings::debugfs_remove(self.dentry) };
    }
}

/// Something that can be read.
pub(crate) trait Text: Send + Sync + 'static {
    /// What there is to be read now. May sleep.
    fn text(&self) -> Result<KVVec<u8>>;
}

/// A file that shows a text, until it is dropped.
///
/// # Invariants
///
/// `dentry` is what debugfs returned for the file, and owned. The data of its inode is `text`.
pub(crate) struct File<T: Text> {
    dentry: *mut bindings::dentry,
    text: *mut T,
    _parent: Arc<Directory>,
    _text: PhantomData<T>,
}

// SAFETY: A directory entry belongs to no thread, and the text is `Send` and `Sync`.
unsafe impl<T: Text> Send for File<T> {}
// SAFETY: There are no methods.
unsafe impl<T: Text> Sync for File<T> {}

impl<T: Text> File<T> {
    const OPERATIONS: bindings::file_operations = bindings::file_operations {
        owner: &raw mut bindings::__this_module,
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    /// Makes a file in a directory. May sleep; ENOMEM.
    pub(crate) fn new(name: &CStr, parent: Arc<Directory>, text: T) -> Result<Self> {
        let text = KBox::into_raw(KBox::new(text, GFP_KERNEL)?);
        // SAFETY: The name ends with NUL, the parent is what debugfs returned. The text stays until the
        // file is removed, the operations as long as the module. INVARIANT: The file is ours.
        let dentry = unsafe {
            bindings::debugfs_create_file_full(
                name.as_char_ptr(),
                0o400,
                parent.dentry,
                text.cast(),
                ptr::null(),
                &Self::OPERATIONS,
            )
        };
        Ok(File {
            dentry,
            text,
            _parent: parent,
            _text: PhantomData,
        })
    }

    /// # Safety
    ///
    /// To be called as `open` of `struct file_operations`, for a file of this type.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: Both are valid. debugfs lets nobody read after the file was removed, so that the data
        // of the inode is there when `show` is called.
        unsafe { bindings::single_open(file, Some(Self::show), (*inode).i_private) }
    }

    /// # Safety
    ///
    /// To be called as `show` of `struct seq_operations`, for a file of this type.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, _what: *mut c_void) -> c_int {
        from_result(|| {
            // SAFETY: The data that `open` gave, of a file that is not yet removed.
            let text = unsafe { &*(*seq).private.cast::<T>() }.text()?;
            // SAFETY: The file is valid, and there are that many bytes. What does not fit is asked for
            // again, with more room.
            unsafe { bindings::seq_write(seq, text.as_ptr().cast(), text.len()) };
            Ok(0)
        })
    }
}

impl<T: Text> Drop for File<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; errors are taken, too. Waits for those who read.
        unsafe { bindings::debugfs_remove(self.dentry) };
        // SAFETY: It came from `KBox::into_raw`, and nobody reads it any more.
        drop(unsafe { KBox::from_raw(self.text) });
    }
}
