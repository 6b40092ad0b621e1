// SPDX-License-Identifier: GPL-2.0

//! What a daemon does to a device beside reading and writing.

use super::FuseDevice;
use crate::{
    abi::{
        DEV_IOC_ATTACH, DEV_IOC_BACKING_CLOSE, DEV_IOC_BACKING_OPEN, DEV_IOC_CLONE,
        DEV_IOC_SYNC_INIT,
    },
    message::Endpoint,
    vfs::{chardev, ns::UserNamespace},
};
use kernel::{fs::File, prelude::*, uaccess::UserSlice};

/// Does what `command` says, with the argument at the user's address `arg`. All arguments have one
/// layout for programs of 32 and of 64 bits. ENOTTY when there is no such command.
pub(super) fn ioctl(endpoint: &Endpoint, file: &File, command: u32, arg: usize) -> Result<isize> {
    match command {
        DEV_IOC_CLONE => clone(endpoint, arg)?,
        DEV_IOC_ATTACH => attach(endpoint, file, arg)?,
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
/// EPERM when the other leads nowhere; EFAULT; ENOMEM. After an abort it is as dead as the
/// other.
fn clone(endpoint: &Endpoint, arg: usize) -> Result {
    let fd = number(arg)?;
    let connection = chardev::with_fd::<FuseDevice, _>(fd, |other| {
        other.wait_for_line().map(|line| line.connection.clone())
    });
    endpoint.connect(connection.ok_or(EINVAL)??)
}

/// Makes the device lead to a mount that was mounted with `recover`, and has outlived its daemon or
/// shall have another. `arg` is the address of the connection's number. There is no INIT: what the
/// first daemon agreed on holds.
///
/// ENOENT when there is no such connection; EPERM unless the device was opened in the mount's user
/// namespace, by who mounted it or with CAP_SYS_ADMIN there; EINVAL when it was not mounted with
/// `recover`, or when this device leads somewhere already; EFAULT; ENOMEM; ENOTCONN after an abort.
fn attach(endpoint: &Endpoint, file: &File, arg: usize) -> Result {
    let connection = endpoint.registry().find(number(arg)?).ok_or(ENOENT)?;
    if !connection.may_be_served_by(UserNamespace::of_opener(file)) {
        return Err(EPERM);
    }
    if !connection.queue().recovers() {
        return Err(EINVAL);
    }
    if !connection.queue().is_connected() {
        return Err(ENOTCONN);
    }
    endpoint.connect(connection)
}

/// The number at the user's address `arg`. EFAULT.
fn number(arg: usize) -> Result<u32> {
    UserSlice::new(UserPtr::from_addr(arg), size_of::<u32>())
        .reader()
        .read()
}
