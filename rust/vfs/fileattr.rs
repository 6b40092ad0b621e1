// SPDX-License-Identifier: GPL-2.0

//! Attributes of files that have no place in stat(2): what lsattr(1) and xfs_io(8) show.
//!
//! C headers: [`include/linux/fileattr.h`](srctree/include/linux/fileattr.h)

use crate::bindings;

/// Such attributes of a file, in one of two forms.
#[repr(transparent)]
pub(crate) struct FileAttr(bindings::file_kattr);

/// They in the larger form, as `FS_IOC_FSGETXATTR` has them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Extended {
    /// `FS_XFLAG_*`.
    pub(crate) xflags: u32,
    /// In which pieces to allocate, in bytes.
    pub(crate) extsize: u32,
    /// How many extents there are.
    pub(crate) nextents: u32,
    /// The project that it counts for.
    pub(crate) projid: u32,
    /// In which pieces to allocate what is copied when it is written to, in bytes.
    pub(crate) cowextsize: u32,
}

impl FileAttr {
    /// Takes the structure that the C side gives.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid for all of `'a`, and used by nobody else.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut kernel::bindings::file_kattr) -> &'a mut Self {
        // SAFETY: By the function's contract; the type is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// Whether they are wanted, or given, in the smaller form: flags.
    pub(crate) fn is_flags(&self) -> bool {
        self.0.flags_valid()
    }

    /// The flags: `FS_*_FL`.
    pub(crate) fn flags(&self) -> u32 {
        self.0.flags
    }

    /// Gives the attributes in the smaller form.
    pub(crate) fn set_flags(&mut self, flags: u32) {
        // SAFETY: The structure is valid.
        unsafe { bindings::fileattr_fill_flags(&mut self.0, flags) };
    }

    /// The attributes in the larger form.
    pub(crate) fn extended(&self) -> Extended {
        Extended {
            xflags: self.0.fsx_xflags,
            extsize: self.0.fsx_extsize,
            nextents: self.0.fsx_nextents,
            projid: self.0.fsx_projid,
            cowextsize: self.0.fsx_cowextsize,
        }
    }

    /// Gives them in the larger form.
    pub(crate) fn set_extended(&mut self, extended: Extended) {
        // SAFETY: The structure is valid.
        unsafe { bindings::fileattr_fill_xflags(&mut self.0, extended.xflags) };
        self.0.fsx_extsize = extended.extsize;
        self.0.fsx_nextents = extended.nextents;
        self.0.fsx_projid = extended.projid;
        self.0.fsx_cowextsize = extended.cowextsize;
    }
}
