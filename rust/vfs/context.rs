// SPDX-License-Identifier: GPL-2.0

//! Mount contexts: the parameters of a mount, from the first `fsconfig` to the superblock.
//!
//! C headers: [`include/linux/fs_context.h`](srctree/include/linux/fs_context.h),
//! [`include/linux/fs_parser.h`](srctree/include/linux/fs_parser.h)

use crate::{
    bindings,
    vfs::{
        filesystem::{FileSystem, Registration},
        ns::{Gid, Uid, UserNamespace},
    },
};
use core::{
    ffi::CStr,
    marker::PhantomData,
    ptr::{self, NonNull},
};
use kernel::{error::to_result, fs::File, prelude::*, sync::aref::ARef, types::Opaque};

/// What a parameter takes. The number is part of what C hands back for a parameter.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Kind {
    End = 0,
    Flag,
    String,
    U32,
    Fd,
    Uid,
    Gid,
}

impl Kind {
    const ALL: [Kind; 7] = [
        Kind::End,
        Kind::Flag,
        Kind::String,
        Kind::U32,
        Kind::Fd,
        Kind::Uid,
        Kind::Gid,
    ];
}

/// How many bits of the option number say which parameter it is; the others say its kind.
const INDEX_BITS: u32 = 5;

/// A parameter that a file system takes.
///
/// # Invariants
///
/// The type function is that of the kind in the option number; [`Spec::END`] is all zeroes.
#[repr(transparent)]
pub(crate) struct Spec(bindings::fs_parameter_spec);

// SAFETY: The pointers in it are to constant strings and functions.
unsafe impl Sync for Spec {}

impl Spec {
    /// Ends a table of parameters.
    pub(crate) const END: Self = Self(pin_init::zeroed());

    const fn new(
        name: &'static CStr,
        index: u8,
        kind: Kind,
        type_: bindings::fs_param_type,
        base: usize,
    ) -> Self {
        assert!(index < 1 << INDEX_BITS, "too many parameters");
        // INVARIANT: The callers pair kinds and functions.
        Self(bindings::fs_parameter_spec {
            name: kernel::str::as_char_ptr_in_const_context(name),
            type_,
            opt: (kind as u8) << INDEX_BITS | index,
            flags: 0,
            data: ptr::without_provenance(base),
        })
    }

    /// A parameter without a value. `index` is what [`FileSystem::parse_param`] gets, below 32.
    pub(crate) const fn flag(name: &'static CStr, index: u8) -> Self {
        Self::new(name, index, Kind::Flag, None, 0)
    }

    /// A parameter that is any text but none.
    pub(crate) const fn string(name: &'static CStr, index: u8) -> Self {
        Self::new(
            name,
            index,
            Kind::String,
            Some(bindings::fs_param_is_string),
            0,
        )
    }

    /// A number of 32 bits: decimal, or as the prefix `0` or `0x` says.
    pub(crate) const fn u32(name: &'static CStr, index: u8) -> Self {
        Self::new(name, index, Kind::U32, Some(bindings::fs_param_is_u32), 0)
    }

    /// An octal number of 32 bits.
    pub(crate) const fn octal(name: &'static CStr, index: u8) -> Self {
        Self::new(name, index, Kind::U32, Some(bindings::fs_param_is_u32), 8)
    }

    /// An open file, by the number of its descriptor or, through `fsconfig`, itself.
    pub(crate) const fn fd(name: &'static CStr, index: u8) -> Self {
        Self::new(name, index, Kind::Fd, Some(bindings::fs_param_is_fd), 0)
    }

    /// A user, by a number in the namespace of the caller.
    pub(crate) const fn uid(name: &'static CStr, index: u8) -> Self {
        Self::new(name, index, Kind::Uid, Some(bindings::fs_param_is_uid), 0)
    }

    /// A group, by a number in the namespace of the caller.
    pub(crate) const fn gid(name: &'static CStr, index: u8) -> Self {
        Self::new(name, index, Kind::Gid, Some(bindings::fs_param_is_gid), 0)
    }

    /// Whether `specs` is a table that C can walk: it ends with [`Spec::END`].
    pub(super) const fn is_terminated(specs: &[Spec]) -> bool {
        match specs {
            [.., last] => last.0.name.is_null(),
            [] => false,
        }
    }
}

/// The value of a parameter.
pub(crate) enum Value {
    /// There is none.
    Flag,
    /// Text.
    String(OwnedStr),
    /// A number.
    U32(u32),
    /// An open file.
    File(ARef<File>),
    /// A user; valid.
    Uid(Uid),
    /// A group; valid.
    Gid(Gid),
}

/// Text that the C side allocated.
///
/// # Invariants
///
/// The pointer is to a string that ends with NUL, was allocated by `kmalloc`, and is owned.
pub(crate) struct OwnedStr(NonNull<c_char>);

// SAFETY: Memory belongs to no thread.
unsafe impl Send for OwnedStr {}
// SAFETY: It does not change.
unsafe impl Sync for OwnedStr {}

impl OwnedStr {
    /// Gives the text to the C side, which is to free it.
    pub(super) fn into_raw(self) -> *mut c_char {
        core::mem::ManuallyDrop::new(self).0.as_ptr()
    }
}

impl Drop for OwnedStr {
    fn drop(&mut self) {
        // SAFETY: Allocated by `kmalloc` and owned, by the type invariant.
        unsafe { bindings::kfree(self.0.as_ptr().cast()) };
    }
}

/// A mount that is being prepared, or a superblock that is being reconfigured.
#[repr(transparent)]
pub(crate) struct FsContext<T: FileSystem> {
    raw: Opaque<bindings::fs_context>,
    _file_system: PhantomData<T>,
}

impl<T: FileSystem> FsContext<T> {
    /// The context behind a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be to a context of a file system of type `T` that stays for all of `'a`, and the
    /// caller must have its `uapi_mutex`, as all operations of contexts do.
    pub(super) unsafe fn from_raw<'a>(ptr: *mut bindings::fs_context) -> &'a Self {
        // SAFETY: By the function's contract; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C pointer.
    pub(super) fn as_ptr(&self) -> *mut bindings::fs_context {
        self.raw.get()
    }

    /// What all superblocks of the type share.
    pub(crate) fn shared(&self) -> &T::Shared {
        // SAFETY: The context is valid and holds its file system type, which is one for `T`.
        unsafe { Registration::<T>::shared_of((*self.as_ptr()).fs_type.cast()) }
    }

    /// The user namespace that the mount will belong to.
    pub(crate) fn user_ns(&self) -> &UserNamespace {
        // SAFETY: The context holds a reference to its namespace.
        unsafe { UserNamespace::from_raw((*self.as_ptr()).user_ns) }
    }

    /// Whether the file system type is one that is mounted from a block device.
    pub(crate) fn requires_device(&self) -> bool {
        // SAFETY: The context is valid, and holds its file system type.
        unsafe { (*(*self.as_ptr()).fs_type).fs_flags & bindings::FS_REQUIRES_DEV as c_int != 0 }
    }

    /// Whether mandatory locking is asked for (`MS_MANDLOCK`), which Linux has not had since 5.15.
    pub(crate) fn wants_mandatory_locks(&self) -> bool {
        // SAFETY: The context is valid.
        unsafe { (*self.as_ptr()).sb_flags & bindings::SB_MANDLOCK != 0 }
    }

    /// Makes `source` the name that `/proc/mounts` shows first, and the device to mount where one is.
    ///
    /// # Errors
    ///
    /// `EINVAL` when there is one already.
    pub(crate) fn set_source(&self, source: OwnedStr) -> Result {
        // SAFETY: The context is valid, and ours by the contract of `from_raw`.
        let slot = unsafe { &mut (*self.as_ptr()).source };
        if !slot.is_null() {
            return Err(self.invalid(c"Multiple sources specified"));
        }
        *slot = source.into_raw();
        Ok(())
    }

    /// Leaves a message for whoever reads the context's file descriptor; the error to return.
    pub(crate) fn invalid(&self, message: &CStr) -> Error {
        // SAFETY: The context is valid, the message ends with NUL.
        unsafe {
            bindings::fs_context_error(self.as_ptr(), kernel::str::CStrExt::as_char_ptr(message))
        };
        EINVAL
    }
}

/// Looks up `param` in the table of `T` and hands it to the file system.
///
/// # Safety
///
/// The arguments must be those of `parse_param` for a context of a file system of type `T` whose
/// `fs_private` is a `T::Context`.
pub(super) unsafe fn parse_param<T: FileSystem>(
    fc: *mut bindings::fs_context,
    param: *mut bindings::fs_parameter,
) -> Result {
    // SAFETY: By the function's contract.
    let context = unsafe { FsContext::<T>::from_raw(fc) };
    // SAFETY: As above.
    if unsafe { (*fc).purpose() } == bindings::fs_context_purpose_FS_CONTEXT_FOR_RECONFIGURE {
        // A remount by mount(2) gives all the options again; fsconfig gives what is to change.
        // SAFETY: As above.
        return if unsafe { (*fc).oldapi() } {
            Ok(())
        } else {
            Err(context.invalid(c"No changes allowed in reconfigure"))
        };
    }
    let mut result = bindings::fs_parse_result::default();
    // SAFETY: The table ends with an empty entry, as `Registration::new` checks, and the others are
    // valid by the invariant of `Spec`; the context and the parameter are valid.
    let opt = unsafe {
        bindings::__fs_parse(
            &mut (*fc).log,
            T::PARAMETERS.as_ptr().cast(),
            param,
            &mut result,
        )
    };
    to_result(opt.min(0))?;
    let opt = opt as u8;
    let kind = Kind::ALL.get(usize::from(opt >> INDEX_BITS)).copied();
    let value = match kind.ok_or(EINVAL)? {
        Kind::End => return Err(EINVAL),
        Kind::Flag => Value::Flag,
        Kind::String => {
            // SAFETY: `fs_param_is_string` succeeded, so the value is a string that the context
            // owns and lets the file system take.
            let string =
                unsafe { ptr::replace(&mut (*param).__bindgen_anon_1.string, ptr::null_mut()) };
            // INVARIANT: It was allocated by `kmalloc` and is now ours.
            Value::String(OwnedStr(NonNull::new(string).ok_or(EINVAL)?))
        }
        // SAFETY: The type function succeeded and set this field.
        Kind::U32 => Value::U32(unsafe { *result.__bindgen_anon_1.uint_32.as_ref() }),
        Kind::Fd => {
            // SAFETY: `fs_param_is_fd` succeeded, so there is a file, or the number of one.
            let file = unsafe {
                if (*param).type_() == bindings::fs_value_type_fs_value_is_file {
                    bindings::get_file((*param).__bindgen_anon_1.file)
                } else {
                    bindings::fget(*result.__bindgen_anon_1.uint_32.as_ref())
                }
            };
            let file = NonNull::new(file).ok_or(EBADF)?;
            // SAFETY: A reference has been taken, and neither mount(2) nor fsconfig(2) run within
            // an `fdget_pos`.
            Value::File(unsafe { ARef::from_raw(file.cast()) })
        }
        // SAFETY: The type function succeeded and set this field.
        Kind::Uid => Value::Uid(Uid(unsafe { *result.__bindgen_anon_1.uid.as_ref() })),
        // SAFETY: As above.
        Kind::Gid => Value::Gid(Gid(unsafe { *result.__bindgen_anon_1.gid.as_ref() })),
    };
    // SAFETY: `fs_private` is a `T::Context`, and nobody else has the context meanwhile.
    let private = unsafe { &mut *(*fc).fs_private.cast::<T::Context>() };
    T::parse_param(context, private, opt & ((1 << INDEX_BITS) - 1), value)
}
