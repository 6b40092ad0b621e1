// SPDX-License-Identifier: GPL-2.0

//! Changes of attributes.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::{
    bindings,
    vfs::{
        dentry::DEntry,
        file::{self, Borrowed, FileOperations},
        filesystem::FileSystem,
        inode::Time,
        inode_ops::IdMap,
        ns::{Gid, Uid, UserNamespace},
    },
};
use kernel::{error::to_result, prelude::*};

/// Attributes that somebody wants to be changed.
#[repr(transparent)]
pub(crate) struct Changes(bindings::iattr);

/// A time that is to be set.
#[derive(Clone, Copy)]
pub(crate) struct NewTime {
    /// The time.
    pub(crate) time: Time,
    /// Whether that is the present one, and not one that the caller chose.
    pub(crate) is_now: bool,
}

impl Changes {
    /// Takes the structure that the C side gives `setattr`.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid for all of `'a`, with all that it points to, and used by nobody else.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::iattr) -> &'a mut Self {
        // SAFETY: By the function's contract; the type is transparent.
        unsafe { &mut *ptr.cast() }
    }

    /// A new size, in bytes, and nothing else.
    pub(crate) fn to_size(size: u64) -> Self {
        let mut attr: bindings::iattr = pin_init::zeroed();
        attr.ia_valid = bindings::ATTR_SIZE;
        // CAST: What is larger than files can be is refused like a negative one.
        attr.ia_size = size as i64;
        Self(attr)
    }

    fn has(&self, flags: u32) -> bool {
        self.0.ia_valid & flags != 0
    }

    /// Whether nothing is to be changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.ia_valid == 0
    }

    /// Whether the set-user-ID and set-group-ID bits are to go, as the file changes owner or
    /// contents.
    pub(crate) fn clears_set_ids(&self) -> bool {
        self.has(bindings::ATTR_KILL_SUID | bindings::ATTR_KILL_SGID)
    }

    /// Leaves the mode, and with it the set-user-ID and set-group-ID bits, as they are.
    pub(crate) fn keep_mode(&mut self) {
        self.0.ia_valid &=
            !(bindings::ATTR_KILL_SUID | bindings::ATTR_KILL_SGID | bindings::ATTR_MODE);
    }

    /// Sets what the mode is to be.
    pub(crate) fn set_mode(&mut self, mode: u32) {
        self.0.ia_valid |= bindings::ATTR_MODE;
        // CAST: A mode has 16 bits.
        self.0.ia_mode = mode as u16;
    }

    /// Lets everybody do it, as far as the kernel is concerned: somebody else judges.
    pub(crate) fn force(&mut self) {
        self.0.ia_valid |= bindings::ATTR_FORCE;
    }

    /// Lets the file's times follow the change of its size.
    pub(crate) fn touch(&mut self) {
        self.0.ia_valid |= bindings::ATTR_MTIME | bindings::ATTR_CTIME;
    }

    /// Checks whether the running task may do that to the inode of `dentry`. A mode may lose its
    /// set-group-ID bit here.
    ///
    /// # Errors
    ///
    /// `EPERM`; `EINVAL`, `EFBIG` and `ETXTBSY` for sizes that there cannot be.
    pub(crate) fn prepare<T: FileSystem>(
        &mut self,
        id_map: IdMap<'_>,
        dentry: &DEntry<T>,
    ) -> Result {
        // SAFETY: The arguments are valid.
        to_result(unsafe {
            bindings::setattr_prepare(id_map.as_ptr(), dentry.as_ptr(), &mut self.0)
        })
    }

    /// The new mode, with the type.
    pub(crate) fn mode(&self) -> Option<u32> {
        self.has(bindings::ATTR_MODE).then(|| self.0.ia_mode.into())
    }

    /// The new owner, as the file system in `ns` has it.
    pub(crate) fn uid(&self, id_map: IdMap<'_>, ns: &UserNamespace) -> Option<Uid> {
        self.has(bindings::ATTR_UID).then(|| {
            // SAFETY: The arguments are valid.
            Uid(unsafe { bindings::iattr_kuid(id_map.as_ptr(), ns.as_ptr(), &self.0) })
        })
    }

    /// The new group, as the file system in `ns` has it.
    pub(crate) fn gid(&self, id_map: IdMap<'_>, ns: &UserNamespace) -> Option<Gid> {
        self.has(bindings::ATTR_GID).then(|| {
            // SAFETY: The arguments are valid.
            Gid(unsafe { bindings::iattr_kgid(id_map.as_ptr(), ns.as_ptr(), &self.0) })
        })
    }

    /// Whether the owner or the group changes.
    pub(crate) fn changes_owner(&self) -> bool {
        self.has(bindings::ATTR_UID | bindings::ATTR_GID)
    }

    /// The new size, in bytes.
    pub(crate) fn size(&self) -> Option<u64> {
        // CAST: `prepare` has refused negative sizes.
        self.has(bindings::ATTR_SIZE)
            .then_some(self.0.ia_size as u64)
    }

    fn time(&self, flag: u32, chosen: u32, time: bindings::timespec64) -> Option<NewTime> {
        self.has(flag).then(|| NewTime {
            time: time.into(),
            is_now: !self.has(chosen),
        })
    }

    /// The new time of the last read.
    pub(crate) fn atime(&self) -> Option<NewTime> {
        let Self(attr) = self;
        self.time(
            bindings::ATTR_ATIME,
            bindings::ATTR_ATIME_SET,
            attr.ia_atime,
        )
    }

    /// The new time of the last modification.
    pub(crate) fn mtime(&self) -> Option<NewTime> {
        let Self(attr) = self;
        self.time(
            bindings::ATTR_MTIME,
            bindings::ATTR_MTIME_SET,
            attr.ia_mtime,
        )
    }

    /// The new time of the last change of the inode.
    pub(crate) fn ctime(&self) -> Option<NewTime> {
        let Self(attr) = self;
        self.time(
            bindings::ATTR_CTIME,
            bindings::ATTR_CTIME_SET,
            attr.ia_ctime,
        )
    }

    /// Whether the caller chose a time, or may have.
    pub(crate) fn chooses_times(&self) -> bool {
        self.has(bindings::ATTR_MTIME_SET | bindings::ATTR_TIMES_SET)
    }

    /// Whether it is part of open(2) with `O_TRUNC`.
    pub(crate) fn is_open(&self) -> bool {
        self.has(bindings::ATTR_OPEN)
    }

    /// The open file that it is done through, if any, and `F` opened it.
    pub(crate) fn file<F: FileOperations>(&self) -> Option<Borrowed<'_, F>> {
        if !self.has(bindings::ATTR_FILE) {
            return None;
        }
        // SAFETY: With the flag there is an open file, which stays for the call.
        unsafe { file::data_of::<F>(self.0.ia_file) }
    }
}
