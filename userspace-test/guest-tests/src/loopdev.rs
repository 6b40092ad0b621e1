// SPDX-License-Identifier: GPL-2.0

//! A block device for those who need one.

#![allow(unsafe_code)]

use crate::{
    env::Env,
    fs::{self, Fs},
    runner, system,
};
use nix::mount::MsFlags;
use rawfuse::{Channel, MountOptions};
use std::{
    fs::{File, OpenOptions},
    os::fd::AsRawFd,
};

const LOOP_CTL_GET_FREE: u64 = 0x4c82;
const LOOP_SET_FD: u64 = 0x4c00;
const LOOP_CLR_FD: u64 = 0x4c01;

/// A loop device over 1 MiB of nothing, for as long as this value is there.
pub struct LoopDevice {
    device: File,
    /// Its path.
    pub path: String,
}

impl LoopDevice {
    /// Sets one up. `None` when the kernel has none.
    pub fn new() -> Option<Self> {
        let control = File::open("/dev/loop-control").ok()?;
        // SAFETY: Has no argument.
        let number = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
        if number < 0 {
            return None;
        }
        let path = format!("/dev/loop{number}");
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let device = options.open(&path).ok()?;
        let file = system::mountpoint("loop").join("image");
        let backing = options.create(true).truncate(true).open(file).ok()?;
        backing.set_len(1 << 20).ok()?;
        // SAFETY: The argument is a descriptor, by value.
        let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_FD, backing.as_raw_fd()) };
        (result == 0).then_some(Self { device, path })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        // SAFETY: Has no argument.
        unsafe { libc::ioctl(self.device.as_raw_fd(), LOOP_CLR_FD, 0) };
    }
}

/// Mounts a block device, with `options` behind the usual ones.
pub fn mount(env: &Env, options: &str) -> Result<(LoopDevice, Fs), nix::Error> {
    let Some(device) = LoopDevice::new() else {
        runner::skip("no loop device");
    };
    let channel = Channel::open(&env.kind).expect("the device");
    let dir = fs::fresh_dir();
    let data = MountOptions::new(env.kind).data(&channel) + options;
    nix::mount::mount(
        Some(device.path.as_str()),
        &dir,
        Some(format!("{}blk", env.kind.fs_type).as_str()),
        MsFlags::empty(),
        Some(data.as_str()),
    )?;
    let fs = Fs {
        channel,
        mount: None,
        dir,
    };
    Ok((device, fs))
}
