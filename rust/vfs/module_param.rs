// SPDX-License-Identifier: GPL-2.0

//! Parameters of the module that can be changed while it is loaded, in
//! `/sys/module/NAME/parameters`. Those of [`kernel::module_param`] are set once, by whoever loads it.
//!
//! C headers: [`include/linux/moduleparam.h`](srctree/include/linux/moduleparam.h)

use crate::bindings;
use kernel::{
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::atomic::{Atomic, Relaxed},
};

/// A number that an administrator may change at any time, once it is registered by
/// [`register_parameter`].
pub(crate) struct Parameter {
    /// As it was written, or 0.
    written: Atomic<u32>,
    settle: fn(u32) -> u32,
    may_be: fn(u32) -> bool,
}

impl Parameter {
    /// One that is 0 until somebody writes to it. `settle` makes what was written, any number of 32
    /// bits, into the value that holds.
    pub(crate) const fn new(settle: fn(u32) -> u32) -> Self {
        Parameter {
            written: Atomic::new(0),
            settle,
            may_be: |_| true,
        }
    }

    /// The same, but nothing else may be written to it than what `may_be`.
    pub(crate) const fn restricted(self, may_be: fn(u32) -> bool) -> Self {
        Parameter { may_be, ..self }
    }

    /// The value that holds now.
    pub(crate) fn get(&self) -> u32 {
        (self.settle)(self.written.load(Relaxed))
    }
}

/// Makes a static [`Parameter`] a parameter of the module, that everybody may read and root may set:
/// name, description, and the static's path.
macro_rules! register_parameter {
    ($name:literal, $description:literal, $parameter:path) => {
        const _: () = {
            use $crate::vfs::module_param::{information, Registered};

            // What modinfo(8) shows.
            const TYPE: &str = concat!("parmtype=", $name, ":uint\0");
            const DESCRIPTION: &str = concat!("parm=", $name, ":", $description, "\0");
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static TYPE_BYTES: [u8; TYPE.len()] = information(TYPE);
            #[link_section = ".modinfo"]
            #[used(compiler)]
            static DESCRIPTION_BYTES: [u8; DESCRIPTION.len()] = information(DESCRIPTION);

            #[link_section = "__param"]
            #[used(compiler)]
            static REGISTERED: Registered = Registered::new(kernel::c_str!($name), &$parameter);
        };
    };
}
pub(crate) use register_parameter;

/// The bytes of a line for modinfo(8).
pub(crate) const fn information<const N: usize>(line: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    while at < N {
        bytes[at] = line.as_bytes()[at];
        at += 1;
    }
    bytes
}

/// What the kernel has to know of a [`Parameter`].
///
/// # Invariants
///
/// `arg` is a [`Parameter`] that is there as long as the module.
#[repr(transparent)]
pub(crate) struct Registered(bindings::kernel_param);

// SAFETY: It never changes.
unsafe impl Sync for Registered {}

impl Registered {
    pub(crate) const fn new(name: &'static CStr, parameter: &'static Parameter) -> Self {
        // INVARIANT: `parameter` is static.
        Registered(bindings::kernel_param {
            name: as_char_ptr_in_const_context(name),
            mod_: &raw mut bindings::__this_module,
            ops: &raw const OPERATIONS,
            perm: 0o644,
            level: -1,
            flags: 0,
            __bindgen_anon_1: bindings::kernel_param__bindgen_ty_1 {
                arg: core::ptr::from_ref(parameter).cast_mut().cast(),
            },
        })
    }
}

static OPERATIONS: bindings::kernel_param_ops = bindings::kernel_param_ops {
    flags: 0,
    set: Some(set),
    get: Some(get),
    free: None,
};

/// # Safety
///
/// `param` must be in a [`Registered`].
unsafe fn parameter<'a>(param: *const bindings::kernel_param) -> &'a Parameter {
    // SAFETY: By the type's invariant.
    unsafe { &*(*param).__bindgen_anon_1.arg.cast_const().cast() }
}

/// # Safety
///
/// `text` must end with NUL, `param` be in a [`Registered`].
unsafe extern "C" fn set(text: *const c_char, param: *const bindings::kernel_param) -> c_int {
    let mut number: c_uint = 0;
    // SAFETY: `param` is valid.
    let mut own = unsafe { *param };
    own.__bindgen_anon_1.arg = (&raw mut number).cast();
    // SAFETY: `text` ends with NUL, and there is an unsigned integer behind the pointer in `own`.
    let result = unsafe { bindings::param_set_uint(text, &own) };
    if result != 0 {
        return result;
    }
    // SAFETY: By the function's contract.
    let parameter = unsafe { parameter(param) };
    if !(parameter.may_be)(number) {
        return EINVAL.to_errno();
    }
    parameter.written.store(number, Relaxed);
    0
}

/// # Safety
///
/// `buffer` must have room for a page, `param` be in a [`Registered`].
unsafe extern "C" fn get(buffer: *mut c_char, param: *const bindings::kernel_param) -> c_int {
    // SAFETY: By the function's contract.
    let mut number: c_uint = unsafe { parameter(param) }.get();
    // SAFETY: `param` is valid.
    let mut own = unsafe { *param };
    own.__bindgen_anon_1.arg = (&raw mut number).cast();
    // SAFETY: There is room for a page, and an unsigned integer behind the pointer in `own`.
    unsafe { bindings::param_get_uint(buffer, &own) }
}
