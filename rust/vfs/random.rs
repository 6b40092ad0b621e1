// SPDX-License-Identifier: GPL-2.0

//! Random numbers.
//!
//! C headers: [`include/linux/random.h`](srctree/include/linux/random.h)

use crate::bindings;

/// Numbers that nobody can guess.
pub(crate) fn random<const N: usize>() -> [u32; N] {
    let mut numbers = [0; N];
    // SAFETY: The memory is ours and of that size.
    unsafe {
        bindings::get_random_bytes(
            numbers.as_mut_ptr().cast(),
            core::mem::size_of_val(&numbers),
        )
    };
    numbers
}
