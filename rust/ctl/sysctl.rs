// SPDX-License-Identifier: GPL-2.0

//! `fs.fuse.*` of sysctl(8): limits for all connections.

use crate::{message::limits, vfs::sysctl::Registration};
use kernel::prelude::*;

/// Makes `/proc/sys/fs/fuse`, or `/proc/sys/fs/rfuse` beside another FUSE. ENOMEM; may sleep.
pub(crate) fn register(coexist: bool) -> Result<Registration> {
    let path = if coexist { c"fs/rfuse" } else { c"fs/fuse" };
    Registration::new(
        path,
        &[
            (c"max_pages_limit", &limits::MAX_PAGES_LIMIT),
            (c"default_request_timeout", &limits::DEFAULT_REQUEST_TIMEOUT),
            (c"max_request_timeout", &limits::MAX_REQUEST_TIMEOUT),
        ],
    )
}
