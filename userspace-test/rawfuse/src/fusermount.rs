// SPDX-License-Identifier: GPL-2.0

//! Mounting as an ordinary user, through the helper program `fusermount3`.
//!
//! The helper is set-user-ID root. It opens the device and mounts, and hands the open device over
//! a Unix socket, whose number it finds in the environment: one byte, with the descriptor as its
//! ancillary data.

use crate::{Channel, Errno};
use nix::{
    cmsg_space,
    fcntl::{fcntl, FcntlArg, FdFlag},
    sys::socket::{
        recvmsg, socketpair, AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType,
    },
};
use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
    path::Path,
    process::Command,
};

/// Mounts on `target` with `options`, separated by commas (such as `subtype=hello,fsname=x`).
///
/// # Errors
///
/// `NotFound` without a `fusermount3`; `Other` when it refuses, after it said why on standard
/// error.
pub fn fusermount(target: &Path, options: &str) -> io::Result<Channel> {
    let (ours, theirs) = socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    // Only the helper's end is to outlive its start.
    fcntl(theirs.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
    let mut command = Command::new("fusermount3");
    if !options.is_empty() {
        command.arg("-o").arg(options);
    }
    let mut helper = command
        .arg("--")
        .arg(target)
        .env("_FUSE_COMMFD", theirs.as_raw_fd().to_string())
        .spawn()?;
    drop(theirs);
    let received = receive_descriptor(ours.as_raw_fd());
    let status = helper.wait()?;
    if !status.success() {
        return Err(io::Error::other(format!("fusermount3: {status}")));
    }
    Ok(received?.into())
}

/// Unmounts what [`fusermount`] mounted on `target`.
///
/// # Errors
///
/// As [`fusermount`].
pub fn fusermount_unmount(target: &Path) -> io::Result<()> {
    let status = Command::new("fusermount3")
        .args(["-u", "-q", "--"])
        .arg(target)
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("fusermount3 -u: {status}"))),
    }
}

fn receive_descriptor(socket: RawFd) -> io::Result<OwnedFd> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!(RawFd);
    let message = loop {
        match recvmsg::<()>(
            socket,
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            if let Some(&descriptor) = descriptors.first() {
                return Ok(own(descriptor));
            }
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

#[allow(unsafe_code)]
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: The kernel has just made this descriptor for us, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
