// SPDX-License-Identifier: GPL-2.0

//! Numbers that somebody writes.
//!
//! C headers: [`include/linux/kstrtox.h`](srctree/include/linux/kstrtox.h)

use crate::bindings;
use kernel::{error::to_result, prelude::*};

/// The number that a text is: decimal, or as the prefix `0` or `0x` says, after a plus sign if there is
/// one; a line end may follow. EINVAL when it is none, ERANGE when it does not fit.
pub(crate) fn parse(text: &CStr) -> Result<u64> {
    let mut number = 0;
    // SAFETY: The text ends with NUL, and there is room for the number.
    to_result(unsafe { bindings::kstrtoull(text.as_char_ptr(), 0, &mut number) })?;
    Ok(number)
}
