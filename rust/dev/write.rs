// SPDX-License-Identifier: GPL-2.0

//! A daemon's reply.

use crate::{
    abi::{NotifyCode, OutHeader},
    message::Line,
    queue::{InterruptAnswer, INTERRUPT_BIT},
    vfs::iov::{without_faults, Source},
};
use kernel::prelude::*;
use zerocopy::{FromZeros, IntoBytes};

/// Errors from here on are the kernel's own business (`ERESTARTSYS` is the first).
const FIRST_INTERNAL_ERRNO: i32 = 512;

/// Takes a reply, or a notification, from `from`; returns its length. May sleep.
///
/// EINVAL when it is shorter than its header or says that it has another length, when its error is
/// outside (-512, 0], or when what follows the header is not what the request asked for: then the
/// request ends with EIO. ENOENT when this device is not processing that request. EFAULT, or what a
/// pipe says, when the reply is not there.
pub(super) fn write(line: &Line, mut from: Source<'_, '_>) -> Result<usize> {
    let len = from.len();
    let mut header = OutHeader::new_zeroed();
    let header_len = size_of::<OutHeader>();
    if len < header_len {
        return Err(EINVAL);
    }
    from.copy(header.as_mut_bytes())?;
    if header.len as usize != len {
        return Err(EINVAL);
    }
    if header.unique == 0 {
        let code = u32::try_from(header.error).map_err(|_| EINVAL)?;
        let code = NotifyCode::from_u32(code).ok_or(EINVAL)?;
        line.connection.notify(code, &mut from)?;
        return Ok(len);
    }
    if header.error <= -FIRST_INTERNAL_ERRNO || header.error > 0 {
        return Err(EINVAL);
    }
    let error = (header.error != 0).then(|| Error::from_errno(header.error));
    let alone = len == header_len;

    let connection = &line.connection;
    if header.unique & INTERRUPT_BIT != 0 {
        let answer = match error {
            _ if !alone => InterruptAnswer::Malformed,
            Some(ENOSYS) => InterruptAnswer::NotSupported,
            Some(EAGAIN) => InterruptAnswer::Again,
            _ => InterruptAnswer::Understood,
        };
        connection
            .queue()
            .answer_interrupt(line.device, header.unique, answer)?;
        return Ok(len);
    }

    let mut answer = connection.queue().answer(line.device, header.unique)?;
    let (outcome, result) = match error {
        Some(error) if alone => (Err(error), Ok(len)),
        Some(_) => (Err(EIO), Err(EINVAL)),
        None => {
            let minor = connection.terms().minor;
            let left = len - header_len;
            loop {
                let request = answer.request();
                match without_faults(|| request.take_reply(&mut from, left, minor)) {
                    Ok(()) => break (Ok(()), Ok(len)),
                    Err(EINVAL) => break (Err(EIO), Err(EINVAL)),
                    Err(EFAULT) => answer = answer.aside(|| from.again(left))?,
                    // The copy has broken off, and with it the answer.
                    Err(error) => return Err(error),
                }
            }
        }
    };
    answer.finish(outcome)?;
    result
}
