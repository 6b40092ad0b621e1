// SPDX-License-Identifier: GPL-2.0

//! Reading and writing files past the page cache.
//!
//! The data is copied between the caller's memory and memory that the request owns, not between the
//! caller's memory and the daemon's at once: a request owns what it carries, so that its caller can
//! be killed, and have its memory changed, while the daemon has the request.

use super::{
    inode::{self, invalidate_atime},
    io_mode::Parallel,
    mount::Mount,
    open::OpenFile,
    read, setattr, transfer, write, writeback, INode,
};
use crate::{
    abi::{open_flags, read_flags, write_flags, ReadIn, WriteIn},
    message::{op, Payload, Request},
    vfs::{
        file::{Ended, Io, LockOwner},
        inode::{ContentsLocked, ContentsShared},
        iov::{PeekBytes, UserBacked},
        ns::Capability,
        stat::{MODIFY_STATS, SIZE_STAT},
        super_block::PAGE_SIZE,
    },
};
use kernel::{
    iov::{IovIterDest, IovIterSource},
    prelude::*,
    sync::{Arc, ArcBorrow},
};

/// Reads from a file of which the daemon wants nothing cached, and moves the position on.
pub(super) fn read<'a>(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    io: Io<'a>,
    iov: &mut IovIterDest<'_>,
) -> Ended<'a> {
    let start = io.position();
    let written = inode.write_range(start, start.saturating_add(iov.len() as u64));
    if written.is_ok() && io.may_end_later() {
        return read_past_cache(inode, file, io, iov);
    }
    io.end_by(|io| {
        written?;
        let read = read_at(inode, file, start, iov)?;
        io.advance(read);
        Ok(read)
    })
}

/// Reads from the position on, and leaves that where it is: from a file that is open with `O_DIRECT`, or
/// for somebody who does not wait. What is behind the end is not asked for.
pub(super) fn read_past_cache<'a>(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    io: Io<'a>,
    iov: &mut IovIterDest<'_>,
) -> Ended<'a> {
    let (start, size) = (io.position(), inode.size());
    if start >= size {
        return io.end(Ok(0));
    }
    let later = io.may_end_later();
    let features = Mount::of(inode).features();
    // Who is killed takes memory that is not a task's along.
    if !features.async_dio || !(later || iov.is_user_backed()) {
        return io.end_by(|_| read_at(inode, file, start, iov));
    }
    // A whole request still, where the file may be longer by now.
    let request = u64::from(features.max_pages) * PAGE_SIZE as u64;
    let left = (size - start).next_multiple_of(request);
    let len = usize::try_from(left).map_or(iov.len(), |left| left.min(iov.len()));
    finish_writing(inode, start, len);
    let ended = if later {
        transfer::read_later(file, io, iov, len)
    } else {
        io.end_by(|_| transfer::read(file, start, iov, len))
    };
    invalidate_atime(inode);
    ended
}

/// Waits until nothing of the range is being written back.
fn finish_writing(inode: &INode, start: u64, len: usize) {
    if inode.is_range_busy(start, start.saturating_add(len as u64)) {
        let _contents = inode.lock_contents();
        writeback::wait(inode);
    }
}

/// Reads from `position` on, by one READ after another until one finds less than it asks for.
fn read_at(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    mut position: u64,
    iov: &mut IovIterDest<'_>,
) -> Result<usize> {
    finish_writing(inode, position, iov.len());
    let mut total = 0;
    let result = loop {
        let want = iov.len().min(Mount::of(inode).max_read());
        if want == 0 {
            break Ok(());
        }
        match read_once(inode, file, position, iov, want) {
            Ok(got) => {
                position += got as u64;
                total += got;
                if got < want {
                    break Ok(());
                }
            }
            Err(err) => break Err(err),
        }
    };
    invalidate_atime(inode);
    match result {
        Err(err) if total == 0 => Err(err),
        _ => Ok(total),
    }
}

/// One READ of up to `want` bytes; returns how many came.
fn read_once(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    position: u64,
    iov: &mut IovIterDest<'_>,
    want: usize,
) -> Result<usize> {
    let mount = Mount::of(inode);
    let arguments = read_arguments(&file, position, want);
    let nodeid = inode.data().nodeid();
    let request = Request::<op::Read>::new(&mount.connection, nodeid, &arguments)?
        .reply_bytes(want)?
        .then(Arc::from(file));
    let reply = mount.connection.call(request)?;
    let bytes = reply.bytes();
    let copied = iov.copy_to_iter(bytes);
    if copied < bytes.len() && copied == 0 {
        return Err(EFAULT);
    }
    Ok(copied)
}

/// The arguments of a READ past the page cache, for the running task.
pub(super) fn read_arguments(file: &OpenFile, position: u64, size: usize) -> ReadIn {
    ReadIn {
        read_flags: read_flags::LOCKOWNER,
        lock_owner: Mount::of(file.inode()).owner_id(LockOwner::current()),
        ..read::arguments(file, position, size)
    }
}

/// Writes to a file of which the daemon wants nothing cached, and moves the position on.
pub(super) fn write<'a>(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    mut io: Io<'a>,
    iov: &mut IovIterSource<'_>,
) -> Ended<'a> {
    let _contents = Contents::lock(inode, file, &io, iov);
    let begun = begin_write(inode, &mut io, iov);
    if !begun.is_ok_and(|len| len > 0) {
        return io.end(begun);
    }
    let start = io.position();
    let ended = if io.may_end_later() {
        write_past_cache(inode, file, io, iov)
    } else {
        io.end_by(|io| {
            let result = write_at(inode, file, start, iov, io.flags());
            let written = result.unwrap_or(0);
            io.advance(written);
            inode::written(inode, (written > 0).then(|| io.position()));
            result
        })
    };
    if ended.moved() > 0 {
        // Somebody may have read the old contents meanwhile; what is in use by now stays.
        let _ = inode.invalidate_page_cache_range(start, start + ended.moved() as u64);
    }
    ended
}

/// Makes way for a write past the page cache; returns how many bytes are to be written.
fn begin_write(inode: &INode, io: &mut Io<'_>, iov: &mut IovIterSource<'_>) -> Result<usize> {
    let len = io.check_write(iov)?;
    if len > 0 {
        let start = io.position();
        let end = start.saturating_add(len as u64);
        inode.write_range(start, end)?;
        if inode.is_range_busy(start, end) {
            writeback::wait(inode);
        }
        inode.invalidate_page_cache_range(start, end)?;
    }
    Ok(len)
}

/// Writes from the position on, and leaves that where it is: to a file that is open with `O_DIRECT`, or
/// for somebody who does not wait. The contents are locked, and alone if the file grows by this: then
/// it has ended when they no longer are.
pub(super) fn write_past_cache<'a>(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    io: Io<'a>,
    iov: &mut IovIterSource<'_>,
) -> Ended<'a> {
    let start = io.position();
    let end = start.saturating_add(iov.len() as u64);
    if inode.is_range_busy(start, end) {
        writeback::wait(inode);
    }
    let (all_at_once, grows) = (Mount::of(inode).features().async_dio, end > inode.size());
    if all_at_once && !grows && io.may_end_later() {
        let ended = transfer::write_later(file, io, iov);
        inode.data().invalidate(MODIFY_STATS | SIZE_STAT);
        return ended;
    }
    io.end_by(|io| {
        let result = if all_at_once {
            transfer::write(file, start, iov, io.flags())
        } else {
            write_at(inode, file, start, iov, io.flags())
        };
        let written = result.unwrap_or(0);
        inode::written(inode, (written > 0).then(|| start + written as u64));
        if result.is_err() && grows {
            setattr::cut_off_rest(inode, file);
        }
        result
    })
}

/// The arguments of a WRITE past the page cache, for the running task.
pub(super) fn write_arguments(file: &OpenFile, position: u64, size: usize, flags: u32) -> WriteIn {
    let mut write_flags = write_flags::LOCKOWNER;
    if !Capability::FSETID.held() {
        write_flags |= write_flags::KILL_SUIDGID;
    }
    WriteIn {
        write_flags,
        lock_owner: Mount::of(file.inode()).owner_id(LockOwner::current()),
        ..write::arguments(file, position, size, flags)
    }
}

/// Writes from `position` on, by one WRITE after another until one is not taken whole.
fn write_at(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    mut position: u64,
    iov: &mut IovIterSource<'_>,
    flags: u32,
) -> Result<usize> {
    let mount = Mount::of(inode);
    let mut total = 0;
    let result = loop {
        if iov.is_empty() {
            break Ok(());
        }
        let bytes = match iov.peek_bytes(mount.max_write()) {
            Ok(bytes) => bytes,
            Err(err) => break Err(err),
        };
        let len = bytes.len();
        let arguments = write_arguments(&file, position, len, flags);
        match write::send(inode, file, &arguments, Payload::Bytes(bytes)) {
            Ok(written) => {
                iov.advance(written);
                position += written as u64;
                total += written;
                if written < len {
                    break Ok(());
                }
            }
            Err(err) => break Err(err),
        }
    };
    match result {
        Err(err) if total == 0 => Err(err),
        _ => Ok(total),
    }
}

/// The lock that a write past the page cache holds.
enum Contents<'a> {
    /// Nobody else writes.
    Exclusive {
        _locked: ContentsLocked<'a, super::Fuse>,
    },
    /// Others may write at the same time, as long as nobody uses the page cache.
    Shared {
        _parallel: Parallel<'a>,
        _locked: ContentsShared<'a, super::Fuse>,
    },
}

impl<'a> Contents<'a> {
    /// Locks the contents: alone, unless the daemon takes writes in parallel and this one neither
    /// changes the size nor meets the page cache.
    fn lock(
        inode: &'a INode,
        file: ArcBorrow<'_, OpenFile>,
        io: &Io<'_>,
        iov: &IovIterSource<'_>,
    ) -> Self {
        let end = io.position().saturating_add(iov.len() as u64);
        let mode = &inode.data().io_mode;
        let parallel = file.has(open_flags::PARALLEL_DIRECT_WRITES)
            && !io.is_append()
            && !mode.wants_cache()
            && end <= inode.size();
        if parallel {
            let locked = inode.lock_contents_shared();
            // The size may have changed before the lock was taken.
            if end <= inode.size() {
                if let Some(parallel) = mode.begin_parallel() {
                    return Self::Shared {
                        _parallel: parallel,
                        _locked: locked,
                    };
                }
            }
        }
        Self::Exclusive {
            _locked: inode.lock_contents(),
        }
    }
}
