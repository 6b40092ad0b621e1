// SPDX-License-Identifier: GPL-2.0

//! Numbers below `/proc/sys`.
//!
//! C headers: [`include/linux/sysctl.h`](srctree/include/linux/sysctl.h)

use crate::bindings;
use core::{mem::size_of, ptr::NonNull};
use kernel::{
    prelude::*,
    sync::atomic::{Atomic, Relaxed},
};

/// A number that an administrator may change at any time, within its bounds, once it is registered.
pub(crate) struct Setting {
    value: Atomic<u32>,
    least: u32,
    most: u32,
}

impl Setting {
    /// One that has that value at first.
    pub(crate) const fn new(value: u32, least: u32, most: u32) -> Self {
        Setting {
            value: Atomic::new(value),
            least,
            most,
        }
    }

    /// The value that holds now.
    pub(crate) fn get(&self) -> u32 {
        self.value.load(Relaxed)
    }
}

/// Files in a directory below `/proc/sys`, that everybody may read and root may write.
///
/// # Invariants
///
/// `header` is that of `table`, which is registered.
pub(crate) struct Registration {
    header: NonNull<bindings::ctl_table_header>,
    _table: KVec<bindings::ctl_table>,
}

// SAFETY: A table belongs to no thread.
unsafe impl Send for Registration {}
// SAFETY: There are no methods.
unsafe impl Sync for Registration {}

impl Registration {
    /// Makes a file of that name for each setting, in the directory `path` below `/proc/sys`. May
    /// sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, also when there is a file of such a name.
    pub(crate) fn new(
        path: &'static CStr,
        settings: &[(&'static CStr, &'static Setting)],
    ) -> Result<Self> {
        let mut table = KVec::with_capacity(settings.len(), GFP_KERNEL)?;
        for (name, setting) in settings {
            let bound = |bound: &'static u32| core::ptr::from_ref(bound).cast_mut().cast();
            let file = bindings::ctl_table {
                procname: name.as_char_ptr(),
                data: setting.value.as_ptr().cast(),
                // CAST: 4.
                maxlen: size_of::<u32>() as c_int,
                mode: 0o644,
                proc_handler: Some(bindings::proc_douintvec_minmax),
                // The handler only reads the bounds.
                extra1: bound(&setting.least),
                extra2: bound(&setting.most),
                ..Default::default()
            };
            table.push(file, GFP_KERNEL)?;
        }
        // SAFETY: The path ends with NUL. The table has that many entries, and stays as long as it is
        // registered; it points to what is static, of which the handler writes the value only, and
        // that at once.
        let header = unsafe {
            bindings::register_sysctl_sz(path.as_char_ptr(), table.as_ptr(), table.len())
        };
        // INVARIANT: It is registered.
        Ok(Registration {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            _table: table,
        })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: By the type invariant. Waits for those who read or write.
        unsafe { bindings::unregister_sysctl_table(self.header.as_ptr()) };
    }
}
