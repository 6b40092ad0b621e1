// SPDX-License-Identifier: GPL-2.0

//! What is in files.

use crate::fs::Stack;
use rawfuse::abi::{self, fsync_flags};
use rustix::{
    fs::{copy_file_range, fallocate, fdatasync, fsync, seek, FallocateFlags, SeekFrom},
    io::{pread, pwrite, retry_on_intr, Errno, Result},
};
use std::os::fd::AsFd;

impl Stack {
    /// Reads to the end of `reply`. To give less than was asked for is to say that the file ends.
    pub(crate) fn read(&self, arg: &abi::ReadIn, reply: &mut Vec<u8>) -> Result<()> {
        let file = self.files.get(arg.fh)?;
        reply.resize(arg.size as usize, 0);
        let mut done = 0;
        while done < reply.len() {
            let offset = arg.offset + done as u64;
            match retry_on_intr(|| pread(&*file, &mut reply[done..], offset))? {
                0 => break,
                len => done += len,
            }
        }
        reply.truncate(done);
        Ok(())
    }

    pub(crate) fn write(&self, arg: &abi::WriteIn, data: &[u8]) -> Result<abi::WriteOut> {
        let file = self.files.get(arg.fh)?;
        let mut done = 0;
        while done < data.len() {
            let offset = arg.offset + done as u64;
            match retry_on_intr(|| pwrite(&*file, &data[done..], offset)) {
                Ok(0) => break,
                Ok(len) => done += len,
                Err(error) if done == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(written(done))
    }

    pub(crate) fn fsync(&self, arg: &abi::FsyncIn) -> Result<()> {
        sync(&*self.files.get(arg.fh)?, arg)
    }

    pub(crate) fn fsyncdir(&self, arg: &abi::FsyncIn) -> Result<()> {
        self.dirs.get(arg.fh)?.with(|dir| sync(dir, arg))
    }

    pub(crate) fn fallocate(&self, arg: &abi::FallocateIn) -> Result<()> {
        let file = self.files.get(arg.fh)?;
        let mode = FallocateFlags::from_bits_retain(arg.mode);
        retry_on_intr(|| fallocate(&*file, mode, arg.offset, arg.length))
    }

    pub(crate) fn lseek(&self, arg: &abi::LseekIn) -> Result<abi::LseekOut> {
        let file = self.files.get(arg.fh)?;
        let place = match arg.whence {
            SEEK_DATA => SeekFrom::Data(arg.offset),
            SEEK_HOLE => SeekFrom::Hole(arg.offset),
            _ => return Err(Errno::INVAL),
        };
        let offset = seek(&*file, place)?;
        Ok(abi::LseekOut { offset })
    }

    pub(crate) fn copy_file_range(&self, arg: &abi::CopyFileRangeIn) -> Result<u64> {
        let (from, to) = (self.files.get(arg.fh_in)?, self.files.get(arg.fh_out)?);
        if arg.flags != 0 {
            return Err(Errno::INVAL);
        }
        let (mut off_in, mut off_out) = (arg.off_in, arg.off_out);
        // The result has to fit the reply that older kernels take.
        let len = arg.len.min(1 << 30) as usize;
        let copied = copy_file_range(&*from, Some(&mut off_in), &*to, Some(&mut off_out), len)?;
        Ok(copied as u64)
    }
}

const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

fn sync(file: impl AsFd, arg: &abi::FsyncIn) -> Result<()> {
    match arg.fsync_flags & fsync_flags::FDATASYNC {
        0 => fsync(file),
        _ => fdatasync(file),
    }
}

/// The reply to a `WRITE`.
pub(crate) fn written(len: usize) -> abi::WriteOut {
    abi::WriteOut {
        size: len as u32,
        padding: 0,
    }
}
