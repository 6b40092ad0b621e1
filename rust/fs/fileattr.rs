// SPDX-License-Identifier: GPL-2.0

//! Attributes that have no place in stat(2). There is no operation for them: the daemon gets the ioctl
//! by which user space has always asked for them, on a file that is opened for it.

use super::{
    ioctl,
    open::{Kind, OpenFile},
    permission::allow_current_process,
    INode, Mount,
};
use crate::vfs::{
    fileattr::{Extended, FileAttr},
    inode::FileType,
};
use kernel::{
    fs::file::flags::O_RDONLY,
    ioctl::{_IOR, _IOW},
    prelude::*,
    sync::Arc,
};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes};

// The argument has always been an `int`, whatever the numbers say.
const GET_FLAGS: u32 = _IOR::<c_long>(b'f' as u32, 1);
const SET_FLAGS: u32 = _IOW::<c_long>(b'f' as u32, 2);
const GET_EXTENDED: u32 = _IOR::<FsXAttr>(b'X' as u32, 31);
const SET_EXTENDED: u32 = _IOW::<FsXAttr>(b'X' as u32, 32);

/// `struct fsxattr`.
#[derive(FromBytes, IntoBytes, Immutable, Default)]
#[repr(C)]
struct FsXAttr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    padding: [u8; 8],
}

/// See [`INodeOperations::fileattr_get`](crate::vfs::inode_ops::INodeOperations::fileattr_get).
pub(super) fn get(inode: &INode, attributes: &mut FileAttr) -> Result {
    let file = open(inode)?;
    if attributes.is_flags() {
        let mut flags = 0;
        ioctl::send(inode, file, GET_FLAGS, &mut flags)?;
        attributes.set_flags(flags);
        return Ok(());
    }
    let mut found = FsXAttr::default();
    ioctl::send(inode, file, GET_EXTENDED, &mut found)?;
    attributes.set_extended(Extended {
        xflags: found.xflags,
        extsize: found.extsize,
        nextents: found.nextents,
        projid: found.projid,
        cowextsize: found.cowextsize,
    });
    Ok(())
}

/// See [`INodeOperations::fileattr_set`](crate::vfs::inode_ops::INodeOperations::fileattr_set).
pub(super) fn set(inode: &INode, attributes: &FileAttr) -> Result {
    let file = open(inode)?;
    if attributes.is_flags() {
        return ioctl::send(inode, file, SET_FLAGS, &mut attributes.flags());
    }
    let wanted = attributes.extended();
    let mut wanted = FsXAttr {
        xflags: wanted.xflags,
        extsize: wanted.extsize,
        nextents: wanted.nextents,
        projid: wanted.projid,
        cowextsize: wanted.cowextsize,
        ..Default::default()
    };
    ioctl::send(inode, file, SET_EXTENDED, &mut wanted)
}

/// A file for the ioctl, which is closed again when that has been answered. Errors as
/// [`OpenFile::open`], `EACCES`, `EIO`; `ENOTTY` where nothing can be opened.
fn open(inode: &INode) -> Result<Arc<OpenFile>> {
    if !allow_current_process(Mount::of(inode)) {
        return Err(EACCES);
    }
    inode.data().check()?;
    let kind = match inode.file_type() {
        FileType::Regular => Kind::File,
        FileType::Directory => Kind::Directory,
        _ => return Err(ENOTTY),
    };
    OpenFile::open(inode, kind, O_RDONLY)
}
