// SPDX-License-Identifier: GPL-2.0

//! Passing an open device from one process to another over a Unix socket.

use nix::{
    cmsg_space,
    sys::socket::{recvmsg, sendmsg, ControlMessage, ControlMessageOwned, MsgFlags},
};
use rawfuse::Channel;
use std::{
    io::{self, IoSlice, IoSliceMut},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
};

/// Sends the device: a message of one byte, with the descriptor.
pub fn give(socket: &UnixDatagram, channel: &Channel) -> io::Result<()> {
    let descriptors = [channel.number()];
    sendmsg::<()>(
        socket.as_raw_fd(),
        &[IoSlice::new(&[0])],
        &[ControlMessage::ScmRights(&descriptors)],
        MsgFlags::empty(),
        None,
    )?;
    Ok(())
}

/// Waits for the device.
pub fn take(socket: &UnixDatagram) -> io::Result<Channel> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = cmsg_space!(RawFd);
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            if let Some(&descriptor) = descriptors.first() {
                return Ok(own(descriptor).into());
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
