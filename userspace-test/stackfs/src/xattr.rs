// SPDX-License-Identifier: GPL-2.0

//! Extended attributes.

use crate::fs::{put, Stack};
use rawfuse::abi;
use rustix::{
    fs::{getxattr, getxattr_query, listxattr, listxattr_query, removexattr, setxattr, XattrFlags},
    io::{Errno, Result},
};
use std::ffi::{CStr, OsStr};

impl Stack {
    /// `rest` is the name, its zero byte, and `size` bytes.
    pub(crate) fn setxattr(&self, nodeid: u64, size: u32, flags: u32, rest: &[u8]) -> Result<()> {
        let name = CStr::from_bytes_until_nul(rest).map_err(|_| Errno::INVAL)?;
        let value = &rest[name.count_bytes() + 1..];
        if value.len() != size as usize {
            return Err(Errno::INVAL);
        }
        let flags = XattrFlags::from_bits_retain(flags);
        setxattr(self.nodes.get(nodeid)?.path(), name, value, flags)
    }

    pub(crate) fn getxattr(
        &self,
        nodeid: u64,
        name: &OsStr,
        size: u32,
        reply: &mut Vec<u8>,
    ) -> Result<()> {
        let path = self.nodes.get(nodeid)?.path();
        answer(
            size,
            reply,
            || getxattr_query(&path, name),
            |room| getxattr(&path, name, room),
        )
    }

    pub(crate) fn listxattr(&self, nodeid: u64, size: u32, reply: &mut Vec<u8>) -> Result<()> {
        let path = self.nodes.get(nodeid)?.path();
        answer(
            size,
            reply,
            || listxattr_query(&path),
            |room| listxattr(&path, room),
        )
    }

    pub(crate) fn removexattr(&self, nodeid: u64, name: &OsStr) -> Result<()> {
        removexattr(self.nodes.get(nodeid)?.path(), name)
    }
}

/// The value, if it fits into `size` bytes, or its size, if that is 0.
fn answer(
    size: u32,
    reply: &mut Vec<u8>,
    query: impl FnOnce() -> Result<usize>,
    get: impl FnOnce(&mut [u8]) -> Result<usize>,
) -> Result<()> {
    if size == 0 {
        let size = query()? as u32;
        put(reply, &abi::GetxattrOut { size, padding: 0 });
        return Ok(());
    }
    reply.resize(size as usize, 0);
    let len = get(reply)?;
    reply.truncate(len);
    Ok(())
}
