// SPDX-License-Identifier: GPL-2.0

//! A file system's place in sysfs: `/sys/fs/NAME`, and a directory there to mount something on.
//!
//! C headers: [`include/linux/kobject.h`](srctree/include/linux/kobject.h),
//! [`include/linux/sysfs.h`](srctree/include/linux/sysfs.h)

use crate::bindings;
use core::ptr::NonNull;
use kernel::{error::to_result, prelude::*};

/// The directory `/sys/fs/NAME`, with an empty one in it, while this lives.
///
/// # Invariants
///
/// `kobject` is registered and owned, and has a mount point of that name.
pub(crate) struct MountPoint {
    kobject: NonNull<bindings::kobject>,
    name: &'static CStr,
}

// SAFETY: A kobject belongs to no thread.
unsafe impl Send for MountPoint {}
// SAFETY: There are no methods.
unsafe impl Sync for MountPoint {}

impl MountPoint {
    /// Makes `/sys/fs/FILE_SYSTEM/NAME`. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also when there is a directory of that name.
    pub(crate) fn new(file_system: &'static CStr, name: &'static CStr) -> Result<Self> {
        // SAFETY: The name ends with NUL; `fs_kobj` is there from boot on.
        let kobject = unsafe {
            bindings::kobject_create_and_add(file_system.as_char_ptr(), bindings::fs_kobj)
        };
        let kobject = NonNull::new(kobject).ok_or(ENOMEM)?;
        // SAFETY: The kobject is registered, the name ends with NUL.
        let made = to_result(unsafe {
            bindings::sysfs_create_mount_point(kobject.as_ptr(), name.as_char_ptr())
        });
        if let Err(error) = made {
            // SAFETY: The reference that was made above.
            unsafe { bindings::kobject_put(kobject.as_ptr()) };
            return Err(error);
        }
        // INVARIANT: Both are there.
        Ok(MountPoint { kobject, name })
    }
}

impl Drop for MountPoint {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe {
            bindings::sysfs_remove_mount_point(self.kobject.as_ptr(), self.name.as_char_ptr());
            bindings::kobject_put(self.kobject.as_ptr());
        }
    }
}
