// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: the daemon keeps them, and knows which names there can be.

use super::{
    inode, mount::Flag, permission::allow_current_process, superblock::Fuse, INode, Mount,
};
use crate::{
    abi::{GetxattrIn, SetxattrIn},
    message::{op, Operation, Payload, Replied, Request},
    vfs::xattr::{Destination, XAttrOperations, MAX_LIST, MAX_VALUE},
};
use core::ffi::CStr;
use kernel::prelude::*;
use zerocopy::IntoBytes;

/// Extended attributes of all names.
pub(super) struct XAttrs;

impl XAttrOperations for XAttrs {
    type FileSystem = Fuse;

    fn get(inode: &INode, name: &CStr, to: Destination<'_>) -> Result<usize> {
        inode.data().check()?;
        get(inode, name, to)
    }

    fn set(inode: &INode, name: &CStr, value: &[u8], flags: u32) -> Result {
        inode.data().check()?;
        let mut owned = KVVec::new();
        owned.extend_from_slice(value, GFP_KERNEL)?;
        set(inode, name, owned, flags, 0)
    }

    fn remove(inode: &INode, name: &CStr) -> Result {
        inode.data().check()?;
        remove(inode, name)
    }
}

/// What came of a request that a daemon may not have; it is not asked for that again.
fn supported<T>(lacks: &Flag, result: Result<T>) -> Result<T> {
    match result {
        Err(err) if err == ENOSYS => {
            lacks.set();
            Err(EOPNOTSUPP)
        }
        other => other,
    }
}

/// Gets the value of an attribute, or how long it is.
fn get(inode: &INode, name: &CStr, to: Destination<'_>) -> Result<usize> {
    if to.len() > 0 {
        let value = value(inode, name, to.len())?;
        return to.fill(value.bytes());
    }
    let lacks = &Mount::of(inode).lacks.getxattr;
    if lacks.get() {
        return Err(EOPNOTSUPP);
    }
    let size = size::<op::Getxattr>(inode, name.to_bytes_with_nul(), MAX_VALUE);
    supported(lacks, size)
}

/// GETXATTR: the value of an attribute, of up to `size` bytes.
pub(super) fn value(inode: &INode, name: &CStr, size: usize) -> Result<Replied<op::Getxattr>> {
    let lacks = &Mount::of(inode).lacks.getxattr;
    if lacks.get() {
        return Err(EOPNOTSUPP);
    }
    supported(lacks, bytes(inode, name.to_bytes_with_nul(), size))
}

/// LISTXATTR: the names of all attributes, each with a zero byte at its end.
///
/// See [`INodeOperations::listxattr`](crate::vfs::inode_ops::INodeOperations::listxattr).
pub(super) fn list(inode: &INode, to: Destination<'_>) -> Result<usize> {
    let mount = Mount::of(inode);
    inode.data().check()?;
    if !allow_current_process(mount) {
        return Err(EACCES);
    }
    let lacks = &mount.lacks.listxattr;
    if lacks.get() {
        return Err(EOPNOTSUPP);
    }
    if to.len() == 0 {
        return supported(lacks, size::<op::Listxattr>(inode, &[], MAX_LIST));
    }
    let list = supported(lacks, bytes::<op::Listxattr>(inode, &[], to.len()))?;
    if !is_list(list.bytes()) {
        return Err(EIO);
    }
    to.fill(list.bytes())
}

/// Whether `list` is a row of names, none of them empty, each with a zero byte at its end.
fn is_list(list: &[u8]) -> bool {
    let Some((0, names)) = list.split_last() else {
        return list.is_empty();
    };
    names.split(|&byte| byte == 0).all(|name| !name.is_empty())
}

/// Asks how long a value or a list is.
fn size<O: Operation<In = GetxattrIn>>(inode: &INode, name: &[u8], most: usize) -> Result<usize> {
    let connection = &Mount::of(inode).connection;
    let nodeid = inode.data().nodeid();
    let arguments = GetxattrIn::default();
    let request = Request::<op::SizeOf<O>>::new(connection, nodeid, &arguments)?.bytes(name)?;
    let out = *connection.call(request)?.out()?;
    // CAST: `u32` to `usize` on a 64-bit machine.
    Ok((out.size as usize).min(most))
}

/// Asks for a value or a list of up to `size` bytes.
fn bytes<O: Operation<In = GetxattrIn>>(
    inode: &INode,
    name: &[u8],
    size: usize,
) -> Result<Replied<O>> {
    let connection = &Mount::of(inode).connection;
    let nodeid = inode.data().nodeid();
    let arguments = GetxattrIn {
        // CAST: At most 64 KiB.
        size: size as u32,
        ..Default::default()
    };
    let request = Request::<O>::new(connection, nodeid, &arguments)?
        .bytes(name)?
        .reply_bytes(size)?;
    connection.call(request)
}

/// SETXATTR: sets the value of an attribute. `flags` are those of setxattr(2), `more` some of
/// [`setxattr_flags`](crate::abi::setxattr_flags).
pub(super) fn set(inode: &INode, name: &CStr, value: KVVec<u8>, flags: u32, more: u32) -> Result {
    let mount = Mount::of(inode);
    let lacks = &mount.lacks.setxattr;
    if lacks.get() {
        return Err(EOPNOTSUPP);
    }
    let arguments = SetxattrIn {
        // CAST: At most 64 KiB.
        size: value.len() as u32,
        flags,
        setxattr_flags: more,
        ..Default::default()
    };
    let arguments = arguments.as_bytes();
    let known = if mount.features().setxattr_ext {
        arguments
    } else {
        &arguments[..SetxattrIn::COMPAT_SIZE]
    };
    let nodeid = inode.data().nodeid();
    let request = Request::<op::Setxattr>::new(&mount.connection, nodeid, &())?
        .bytes(known)?
        .bytes(name.to_bytes_with_nul())?
        .payload(Payload::Bytes(value));
    supported(lacks, mount.connection.call(request).map(drop))?;
    inode::ctime_changed(inode);
    Ok(())
}

/// REMOVEXATTR: removes an attribute.
pub(super) fn remove(inode: &INode, name: &CStr) -> Result {
    let mount = Mount::of(inode);
    let lacks = &mount.lacks.removexattr;
    if lacks.get() {
        return Err(EOPNOTSUPP);
    }
    let nodeid = inode.data().nodeid();
    let request = Request::<op::Removexattr>::new(&mount.connection, nodeid, &())?
        .bytes(name.to_bytes_with_nul())?;
    supported(lacks, mount.connection.call(request).map(drop))?;
    inode::ctime_changed(inode);
    Ok(())
}
