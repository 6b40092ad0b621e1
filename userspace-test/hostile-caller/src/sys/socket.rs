// SPDX-License-Identifier: GPL-2.0

//! Descriptors that travel over sockets.

use super::{said, Said};
use std::{mem::MaybeUninit, ptr};

/// Two sockets that are connected, as descriptors that nothing owns.
pub fn pair() -> Result<[i32; 2], i32> {
    let mut pair = [-1; 2];
    let kind = libc::SOCK_DGRAM | libc::SOCK_NONBLOCK;
    // SAFETY: There is room for both.
    said(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) }.into())?;
    Ok(pair)
}

/// What comes with a message that has one descriptor.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    fd: i32,
    padding: i32,
}

fn message(control: &mut Control, part: &mut libc::iovec) -> libc::msghdr {
    // SAFETY: Zeroes are valid for all of its fields.
    let mut message: libc::msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    message.msg_iov = part;
    message.msg_iovlen = 1;
    message.msg_control = ptr::from_mut(control).cast();
    message.msg_controllen = size_of::<Control>();
    message
}

/// Sends a descriptor, and takes one that was sent: `to` and `from` are sockets, or not.
pub fn pass(to: i32, fd: i32, from: i32) -> Said {
    let mut byte = 0u8;
    let mut part = libc::iovec {
        iov_base: ptr::from_mut(&mut byte).cast(),
        iov_len: 1,
    };
    let mut control = Control {
        header: libc::cmsghdr {
            cmsg_len: size_of::<libc::cmsghdr>() + size_of::<i32>(),
            cmsg_level: libc::SOL_SOCKET,
            cmsg_type: libc::SCM_RIGHTS,
        },
        fd,
        padding: 0,
    };
    let sent = message(&mut control, &mut part);
    // SAFETY: All that it leads to is there.
    said(unsafe { libc::sendmsg(to, &sent, libc::MSG_DONTWAIT) } as libc::c_long)?;
    let mut taken = message(&mut control, &mut part);
    // SAFETY: As above, with the lengths of what is there.
    said(unsafe { libc::recvmsg(from, &mut taken, libc::MSG_DONTWAIT) } as libc::c_long)?;
    Ok(control.fd.max(0) as usize)
}
