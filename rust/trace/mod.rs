// SPDX-License-Identifier: GPL-2.0

//! Tracepoints, under `events/rust_fuse/` of tracefs. `bindings/trace.h` has their formats.

use crate::bindings;
use kernel::jump_label::static_branch_unlikely;

/// Whether anybody listens to [`request`]. One that does not costs a jump over it.
#[inline]
pub(crate) fn is_request_enabled() -> bool {
    // SAFETY: The tracepoint is a static of this module, and its key is part of it.
    unsafe {
        static_branch_unlikely!(
            bindings::__tracepoint_rust_fuse_request,
            bindings::tracepoint,
            key
        )
    }
}

/// Whether anybody listens to [`interrupt`].
#[inline]
pub(crate) fn is_interrupt_enabled() -> bool {
    // SAFETY: As in `is_request_enabled`.
    unsafe {
        static_branch_unlikely!(
            bindings::__tracepoint_rust_fuse_interrupt,
            bindings::tracepoint,
            key
        )
    }
}

/// What a request is called.
#[derive(Clone, Copy)]
pub(crate) struct Named {
    pub(crate) connection: u32,
    pub(crate) unique: u64,
    pub(crate) opcode: u32,
    pub(crate) nodeid: u64,
    pub(crate) pid: u32,
}

/// A request of `len` bytes has moved from one place to another, which now holds `depth` requests. To its
/// end it does so with `error`, an errno, negative, or 0.
pub(crate) fn request(named: Named, from: u8, to: u8, depth: u64, len: u32, error: i32) {
    // SAFETY: The tracepoint takes numbers only; whether anybody listens may change at any time.
    unsafe {
        bindings::rust_do_trace_rust_fuse_request(
            named.connection,
            named.unique,
            named.opcode,
            named.nodeid,
            named.pid,
            from,
            to,
            depth,
            len,
            error,
        );
    }
}

/// Something has happened to the interrupt of a request; `depth` interrupts wait now.
pub(crate) fn interrupt(named: Named, step: u8, depth: u64) {
    // SAFETY: As in `request`.
    unsafe {
        bindings::rust_do_trace_rust_fuse_interrupt(
            named.connection,
            named.unique,
            named.opcode,
            named.nodeid,
            named.pid,
            step,
            depth,
        );
    }
}

/// A daemon has read `count` forgets in one message of `len` bytes.
pub(crate) fn forgets(connection: u32, unique: u64, count: u64, len: u32) {
    // SAFETY: As in `is_request_enabled` and `request`.
    unsafe {
        if static_branch_unlikely!(
            bindings::__tracepoint_rust_fuse_forgets,
            bindings::tracepoint,
            key
        ) {
            bindings::rust_do_trace_rust_fuse_forgets(connection, unique, count, len);
        }
    }
}
