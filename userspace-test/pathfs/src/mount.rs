// SPDX-License-Identifier: GPL-2.0

//! From a command line to a file system that is served.

use crate::{Config, Layer, PathFilesystem};
use anyhow::{Context, Result};
use fuser::{Session, SessionACL};
use nix::{
    mount::{umount2, MntFlags},
    sys::signal::{SigSet, Signal},
    unistd::daemon,
};
use rawfuse::{Kind, Mounted};
use std::{os::fd::AsFd, path::PathBuf, thread};

/// What to mount, where, and how.
#[derive(Clone, Debug)]
pub struct Mounting {
    /// The file system's name: what `/proc/mounts` shows as its source, and behind `fuse.` as its
    /// type.
    pub name: String,
    /// Where to mount it.
    pub mountpoint: PathBuf,
    /// Mount options, separated by commas.
    pub options: Vec<String>,
    /// Whether to stay in the foreground.
    pub foreground: bool,
    /// How many threads serve.
    pub threads: usize,
}

/// Mounts `fs` and serves it until it is unmounted, by a signal if nothing else. In the background,
/// unless that is not wanted: this returns in another process then, and the first one ends when the
/// file system is there. To be called while there is one thread.
///
/// # Errors
///
/// What mounting gives, and serving.
pub fn serve<F: PathFilesystem>(fs: F, config: Config, mounting: &Mounting) -> Result<()> {
    let cannot = || format!("cannot mount on {}", mounting.mountpoint.display());
    let target = mounting.mountpoint.canonicalize().with_context(cannot)?;
    // Not by fuser: it would leave the name out of the type.
    let mounted = Mounted::new(Kind::FUSE, &mounting.name, &mounting.options, &target);
    let mounted = mounted.with_context(cannot)?;
    let device = mounted.channel().as_fd().try_clone_to_owned()?;
    let mut options = fuser::Config::default();
    options.n_threads = Some(mounting.threads.max(1));
    // Whom to keep out, the kernel knows.
    let session = Session::from_fd(Layer::new(fs, config), device, SessionACL::All, options)?;
    if !mounting.foreground {
        daemon(false, false)?;
    }
    let end: SigSet = [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM]
        .into_iter()
        .collect();
    end.thread_block()?;
    thread::spawn(move || {
        if end.wait().is_ok() {
            // Who is not root leaves the mount to the helper, at the end.
            if umount2(&target, MntFlags::MNT_DETACH).is_err() {
                let _ = rawfuse::fusermount_unmount(&target);
            }
        }
    });
    Ok(session.run()?)
}
