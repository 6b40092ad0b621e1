// SPDX-License-Identifier: GPL-2.0

//! The C interface of the kernel as this module sees it: what the kernel's own `bindings` crate
//! has, what bindgen makes of the headers that crate lacks, and `helpers.c` for inline functions
//! and macros.
//!
//! Only `vfs/`, `sys/` and the few leaf files that must may use this module.

#![allow(
    clippy::all,
    clippy::as_underscore,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    improper_ctypes,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    dead_code,
    unused_imports
)]

pub(crate) use generated::*;

mod generated {
    // What is defined below takes the place of what the kernel's crate has under the same name.
    pub(crate) use kernel::bindings::*;
    use kernel::ffi;
    use pin_init::MaybeZeroable;

    include!(env!("RUST_FUSE_BINDINGS"));
}
