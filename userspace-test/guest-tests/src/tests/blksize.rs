// SPDX-License-Identifier: GPL-2.0

//! The mount option `blksize`, of file systems on block devices.

use super::{
    mount::mounts_line,
    syncfs::{finish, on_block_device},
};
use crate::{env::Env, loopdev, sys, tests::tests};
use nix::Error;

tests![is_the_size_of_a_block, sizes_that_cannot_be];

/// The number of the `ioctl` that asks for the size of a block.
const FIGETBSZ: u32 = 2;

fn is_the_size_of_a_block(env: &Env) {
    for (options, size) in [
        ("", 512),
        (",blksize=512", 512),
        (",blksize=1024", 1024),
        (",blksize=4096", 4096),
    ] {
        let (_device, mut served, root) = on_block_device(env, options);
        let mut bytes = [0; 4];
        sys::ioctl_bytes(&root, FIGETBSZ, &mut bytes).unwrap();
        assert_eq!(u32::from_ne_bytes(bytes), size, "{options}");
        // It is also that of a file of which the daemon says nothing.
        served.model().node(1).attr.blksize = 0;
        let stat = sys::stat(&served.dir).unwrap();
        assert_eq!(stat.st_blksize, i64::from(size), "{options}");
        let line = mounts_line(&served.dir);
        let shown = line
            .split([',', ' '])
            .find(|option| option.starts_with("blksize="));
        let expected = (size != 512).then(|| format!("blksize={size}"));
        assert_eq!(shown, expected.as_deref());
        finish(&mut served, root);
    }
}

fn sizes_that_cannot_be(env: &Env) {
    for size in ["0", "1", "256", "513", "3000", "2147483648"] {
        let mounted = loopdev::mount(env, &format!(",blksize={size}"));
        assert_eq!(mounted.err(), Some(Error::EINVAL), "{size}");
    }
    for size in ["", "-1", "4k", "4294967296"] {
        let mounted = loopdev::mount(env, &format!(",blksize={size}"));
        assert!(mounted.is_err(), "{size}");
    }
}
