// SPDX-License-Identifier: GPL-2.0

//! Ranges of files that the daemon allocates, punches, finds or copies by itself.

use super::{
    attr, inode,
    mount::Mount,
    open::{OpenFile, RegularFile},
    writeback, INode,
};
use crate::{
    abi::{BmapIn, CopyFileRangeIn, FallocateIn, LseekIn},
    message::{op, Completion, Message, Request},
    vfs::{
        file::{Allocation, CopyRange, OpenRef, Seek},
        stat::{MODIFY_STATS, SIZE_STAT},
        super_block::PAGE_SIZE,
    },
};
use kernel::{
    prelude::*,
    sync::{Arc, ArcBorrow},
};

/// Allocates or frees a range. See [`FileOperations::fallocate`].
///
/// [`FileOperations::fallocate`]: crate::vfs::file::FileOperations::fallocate
pub(super) fn fallocate(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    what: &Allocation<'_>,
) -> Result {
    if !what.is_understood() || Mount::of(inode).lacks.fallocate.get() {
        return Err(EOPNOTSUPP);
    }
    let contents = inode.lock_contents();
    let result = allocate(inode, file, what);
    drop(contents);
    writeback::send_new_times(inode);
    result
}

/// The same, with the contents locked.
fn allocate(inode: &INode, file: ArcBorrow<'_, OpenFile>, what: &Allocation<'_>) -> Result {
    let (node, mount) = (inode.data(), Mount::of(inode));
    let (start, end) = what.range();
    if what.empties() {
        writeback::finish_from(inode, start)?;
    }
    if !what.keeps_size() && end > inode.size() {
        inode.check_new_size(end)?;
    }
    what.file().modified()?;
    let unsettled = (!what.keeps_size()).then(|| node.unsettle_size());
    let arguments = FallocateIn {
        fh: file.handle(),
        offset: start,
        length: end - start,
        mode: what.mode(),
        ..Default::default()
    };
    let request = Request::<op::Fallocate>::new(&mount.connection, node.nodeid(), &arguments)?;
    match mount.connection.call(request.then(Arc::from(file))) {
        Err(err) if err == ENOSYS => {
            mount.lacks.fallocate.set();
            return Err(EOPNOTSUPP);
        }
        reply => reply?,
    };
    if !what.keeps_size() {
        let size = inode.size();
        inode.truncate_page_cache_range(size, end);
        inode::written(inode, Some(end));
        if end > size {
            // The times are advice here.
            let _ = what.file().update_time();
        }
    }
    if what.empties() {
        inode.truncate_page_cache_range(start, end);
    }
    node.invalidate(MODIFY_STATS | SIZE_STAT);
    drop(unsettled);
    Ok(())
}

/// Finds data or a hole.
pub(super) fn seek(inode: &INode, file: ArcBorrow<'_, OpenFile>, seek: &Seek<'_>) -> Result<i64> {
    let mount = Mount::of(inode);
    let _contents = inode.lock_contents();
    if !mount.lacks.lseek.get() {
        let arguments = LseekIn {
            fh: file.handle(),
            // CAST: The wire has it unsigned, but means signed.
            offset: seek.offset() as u64,
            whence: seek.whence(),
            ..Default::default()
        };
        let nodeid = inode.data().nodeid();
        let request = Request::<op::Lseek>::new(&mount.connection, nodeid, &arguments)?;
        match mount.connection.call(request.then(Arc::from(file))) {
            Err(err) if err == ENOSYS => mount.lacks.lseek.set(),
            reply => return seek.set(reply?.out()?.offset),
        }
    }
    attr::update(inode, Some(file), SIZE_STAT)?;
    seek.by_inode()
}

/// Copies a range from one file of the mount to another, or to the same. See
/// [`FileOperations::copy_range`](crate::vfs::file::FileOperations::copy_range).
pub(super) fn copy(
    from: OpenRef<'_, RegularFile>,
    to: OpenRef<'_, RegularFile>,
    range: &CopyRange,
) -> Result<usize> {
    let (source, target) = (from.inode(), to.inode());
    if Mount::of(source).lacks.copy_file_range.get() {
        return Err(EOPNOTSUPP);
    }
    let contents = source.lock_contents();
    writeback::finish_from(source, range.from)?;
    drop(contents);

    let contents = target.lock_contents();
    let result = copy_locked(&from, &to, range);
    drop(contents);
    from.accessed();
    writeback::send_new_times(target);
    result
}

/// Copies, with the contents of the file that is copied to locked.
fn copy_locked(
    from: &OpenRef<'_, RegularFile>,
    to: &OpenRef<'_, RegularFile>,
    range: &CopyRange,
) -> Result<usize> {
    let target = to.inode();
    to.modify().modified()?;
    writeback::finish_from(target, range.to)?;
    let end = range.to.saturating_add(range.len);
    let grows = !inode::is_ahead(target) && end > target.size();
    let unsettled = grows.then(|| target.data().unsettle_size());
    let copied = send_copy(from, to, range)?;
    if copied > 0 {
        // What is cached of the pages is old, at their edges too.
        let page = PAGE_SIZE as u64;
        let behind = (range.to + copied).next_multiple_of(page);
        target.drop_page_cache_range(range.to / page * page, behind);
    }
    // The times are advice here.
    let _ = to.modify().update_time();
    inode::written(target, (copied > 0).then_some(range.to + copied));
    drop(unsettled);
    // CAST: At most as much as was asked for.
    Ok(copied as usize)
}

/// Has the daemon copy, by the newer operation or the older one; returns how many bytes it copied.
fn send_copy(
    from: &OpenRef<'_, RegularFile>,
    to: &OpenRef<'_, RegularFile>,
    range: &CopyRange,
) -> Result<u64> {
    /// The most that the reply of the older operation can say, in whole pages.
    const OLD_MAX: u64 = (u32::MAX as usize / PAGE_SIZE * PAGE_SIZE) as u64;

    let mount = Mount::of(from.inode());
    let nodeid = from.inode().data().nodeid();
    let mut arguments = CopyFileRangeIn {
        fh_in: from.data().handle(),
        off_in: range.from,
        nodeid_out: to.inode().data().nodeid(),
        fh_out: to.data().handle(),
        off_out: range.to,
        len: range.len,
        flags: range.flags.into(),
    };
    let files = Arc::new(
        Files {
            _source: Arc::from(from.data()),
            target: Arc::from(to.data()),
        },
        GFP_KERNEL,
    )?;
    let connection = &mount.connection;
    if !mount.lacks.copy_file_range_64.get() {
        let request = Request::<op::CopyFileRange64>::new(connection, nodeid, &arguments)?;
        match connection.call(request.then(files.clone())) {
            Err(err) if err == ENOSYS => mount.lacks.copy_file_range_64.set(),
            reply => return checked(reply?.out()?.bytes_copied, arguments.len),
        }
    }
    arguments.len = arguments.len.min(OLD_MAX);
    let request = Request::<op::CopyFileRange>::new(connection, nodeid, &arguments)?;
    match connection.call(request.then(files)) {
        Err(err) if err == ENOSYS => {
            mount.lacks.copy_file_range.set();
            Err(EOPNOTSUPP)
        }
        reply => checked(reply?.out()?.size.into(), arguments.len),
    }
}

/// What a copy needs open until it has ended.
struct Files {
    _source: Arc<OpenFile>,
    target: Arc<OpenFile>,
}

impl Completion for Files {
    fn ended(&self, message: &mut Message, outcome: Result) {
        self.target.ended(message, outcome);
    }
}

/// `EIO` when the daemon says that it copied more than it was to.
fn checked(copied: u64, asked: u64) -> Result<u64> {
    if copied > asked {
        return Err(EIO);
    }
    Ok(copied)
}

/// The block of the block device that holds a block of a file; 0 when there is none, or nobody knows.
pub(super) fn bmap(inode: &INode, block: u64) -> u64 {
    let (sb, mount) = (inode.super_block(), Mount::of(inode));
    if !sb.has_block_device() || mount.lacks.bmap.get() {
        return 0;
    }
    let arguments = BmapIn {
        block,
        // CAST: A block is not larger than a page.
        blocksize: sb.block_size() as u32,
        ..Default::default()
    };
    let nodeid = inode.data().nodeid();
    let reply = Request::<op::Bmap>::new(&mount.connection, nodeid, &arguments)
        .and_then(|request| mount.connection.call(request));
    match reply.and_then(|replied| replied.out().copied()) {
        Ok(out) => out.block,
        Err(err) => {
            if err == ENOSYS {
                mount.lacks.bmap.set();
            }
            0
        }
    }
}
