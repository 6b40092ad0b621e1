// SPDX-License-Identifier: GPL-2.0

//! What a daemon does to a device beside reading and writing.

use super::FuseDevice;
use crate::{
    abi::{DEV_IOC_BACKING_CLOSE, DEV_IOC_BACKING_OPEN, DEV_IOC_CLONE, DEV_IOC_SYNC_INIT},
    message::Endpoint,
    vfs::chardev,
};
use kernel::{prelude::*, uaccess::UserSlice};

/// Does what `command` says, with the argument at the user's address `arg`. All arguments have one
/// layout for programs of 32 and of 64 bits. ENOTTY when there is no such command.
pub(super) fn ioctl(endpoint: &Endpoint, command: u32, arg: usize) -> Result<isize> {
    match command {
        DEV_IOC_CLONE => clone(endpoint, arg)?,
        DEV_IOC_SYNC_INIT => endpoint.set_sync_init()?,
        DEV_IOC_BACKING_OPEN | DEV_IOC_BACKING_CLOSE => {
            // As Linux has it that is built without passthrough, which INIT does not offer.
            endpoint.wait_for_line()?;
            return Err(EOPNOTSUPP);
        }
        _ => return Err(ENOTTY),
    }
    Ok(0)
}

/// Makes the device one more of those that lead where another leads: requests are read from any of
/// them, and each is answered on the one that it was read from. `arg` is the address of the other's
/// descriptor.
///
/// EINVAL when that is not an open device of this kind, or when this one leads somewhere already;
/// EPERM when the other leads nowhere; EFAULT; ENOMEM; ENOTCONN after an abort.
fn clone(endpoint: &Endpoint, arg: usize) -> Result {
    let mut argument = UserSlice::new(UserPtr::from_addr(arg), size_of::<u32>()).reader();
    let fd = argument.read::<u32>()?;
    let connection = chardev::with_fd::<FuseDevice, _>(fd, |other| {
        other.wait_for_line().map(|line| line.connection.clone())
    });
    endpoint.connect(connection.ok_or(EINVAL)??)
}
