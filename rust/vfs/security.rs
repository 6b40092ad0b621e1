// SPDX-License-Identifier: GPL-2.0

//! What security modules have to say.
//!
//! C headers: [`include/linux/security.h`](srctree/include/linux/security.h)

use crate::{
    bindings,
    vfs::{dentry::NamedDEntry, filesystem::FileSystem},
};
use core::{ptr, slice};
use kernel::{error::to_result, prelude::*, str::CStrExt};

/// The label that a security module wants something new to have.
///
/// # Invariants
///
/// `context` is one that a security module has made, is not empty, and is released once. `name` is the
/// module's, which is there for as long as the kernel is.
pub(crate) struct SecurityContext {
    name: *const c_char,
    context: bindings::lsm_context,
}

impl SecurityContext {
    /// The name of the extended attribute that it is to be in.
    pub(crate) fn name(&self) -> &CStr {
        // SAFETY: By the type invariants.
        unsafe { CStr::from_char_ptr(self.name) }
    }

    /// The label.
    pub(crate) fn label(&self) -> &[u8] {
        // SAFETY: By the type invariants. CAST: `u32` to `usize` on a 64-bit machine.
        unsafe { slice::from_raw_parts(self.context.context.cast(), self.context.len as usize) }
    }
}

impl Drop for SecurityContext {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::security_release_secctx(&mut self.context) };
    }
}

impl<T: FileSystem> NamedDEntry<'_, T> {
    /// The label that something new of the type in `mode` is to have under this name, if there is a
    /// security module that has labels. May sleep.
    ///
    /// # Errors
    ///
    /// The security module's; `ENOMEM`.
    pub(crate) fn security_context(&self, mode: u32) -> Result<Option<SecurityContext>> {
        let mut name = ptr::null();
        let mut context = bindings::lsm_context::default();
        // SAFETY: The entry is valid, and its name does not change. CAST: A mode has 16 bits.
        let result = to_result(unsafe {
            bindings::security_dentry_init_security(
                self.as_ptr(),
                mode as c_int,
                &mut name,
                &mut context,
            )
        });
        match result {
            Err(err) if err != EOPNOTSUPP => Err(err),
            _ if context.len == 0 || name.is_null() => Ok(None),
            // INVARIANT: The security module has made it, and names are constants.
            _ => Ok(Some(SecurityContext { name, context })),
        }
    }
}
