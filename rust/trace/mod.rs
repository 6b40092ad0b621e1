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

/// A request has moved from one place to another, which now holds `depth` requests.
#[allow(clippy::too_many_arguments)]
pub(crate) fn request(
    connection: u32,
    unique: u64,
    opcode: u32,
    nodeid: u64,
    pid: u32,
    from: u8,
    to: u8,
    depth: u64,
) {
    // SAFETY: The tracepoint takes numbers only; whether anybody listens may change at any time.
    unsafe {
        bindings::rust_do_trace_rust_fuse_request(
            connection, unique, opcode, nodeid, pid, from, to, depth,
        );
    }
}
