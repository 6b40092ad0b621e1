// SPDX-License-Identifier: GPL-2.0

//! `/sys/fs/fuse/connections`, the place to mount the control file system.

use crate::vfs::sysfs::MountPoint;
use kernel::prelude::*;

/// Makes `/sys/fs/fuse/connections`, or `/sys/fs/rfuse/connections` beside another FUSE.
pub(crate) fn register(coexist: bool) -> Result<MountPoint> {
    let name = if coexist { c"rfuse" } else { c"fuse" };
    MountPoint::new(name, c"connections")
}
