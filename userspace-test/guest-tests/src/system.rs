// SPDX-License-Identifier: GPL-2.0

//! The machine around the tests.

use nix::{
    errno::Errno,
    mount::{mount, MsFlags},
};
use rawfuse::Kind;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// Where tests make directories to mount on.
pub const SCRATCH: &str = "/tmp/guest-tests";

/// Makes an empty directory to mount on.
#[track_caller]
pub fn mountpoint(name: &str) -> PathBuf {
    let dir = Path::new(SCRATCH).join(name);
    fs::create_dir_all(&dir).expect("a directory to mount on");
    dir
}

/// Mounts the control file system, unless it is.
pub fn mount_control(kind: &Kind) -> io::Result<()> {
    let dir = Path::new(kind.control_dir);
    if !dir.exists() {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(dir);
    if fs::metadata(dir)?.dev() != fs::metadata(parent)?.dev() {
        return Ok(());
    }
    let nothing: Option<&str> = None;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    match mount(
        Some(kind.control_type),
        dir,
        Some(kind.control_type),
        flags,
        nothing,
    ) {
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Ends all that waits, on every connection.
pub fn abort_all(kind: &Kind) {
    let Ok(connections) = fs::read_dir(kind.control_dir) else {
        return;
    };
    for connection in connections.flatten() {
        // One that is gone needs no abort.
        let _ = fs::write(connection.path().join("abort"), "1");
    }
}

/// Drops what is cached: bit 0 of `what` the pages, bit 1 inodes and names.
#[track_caller]
pub fn drop_caches(what: u8) {
    try_drop_caches(what).expect("drop_caches");
}

/// The same, where that may fail.
pub fn try_drop_caches(what: u8) -> io::Result<()> {
    // Not a word about it in the kernel's log (4). Names that were used of late survive the first time.
    for what in [4, what, what, what] {
        fs::write("/proc/sys/vm/drop_caches", what.to_string())?;
    }
    Ok(())
}

/// The errno of a failed call; 0 of one that worked.
pub fn errno<T>(result: io::Result<T>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    }
}

/// Fails the test unless `result` is the error `expected`.
#[track_caller]
pub fn assert_errno<T>(result: io::Result<T>, expected: Errno) {
    match result {
        Ok(_) => panic!("it worked, where {expected} was to come"),
        Err(error) => assert_eq!(
            Errno::from_raw(error.raw_os_error().unwrap_or(0)),
            expected,
            "{error}"
        ),
    }
}

/// Whether anything is mounted on `dir`.
#[track_caller]
pub fn is_mounted(dir: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let mut points = mounts.lines().map(|line| line.split(' ').nth(4));
    points.any(|point| point.map(Path::new) == Some(dir))
}

/// Leaves this test's mount namespace for that of the first process, where what the machine was
/// set up with is mounted. What the test mounted so far is gone.
#[track_caller]
pub fn enter_init_namespace() {
    let namespace = fs::File::open("/proc/1/ns/mnt").expect("the first process");
    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNS).expect("setns");
}
