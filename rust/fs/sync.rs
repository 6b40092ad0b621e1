// SPDX-License-Identifier: GPL-2.0

//! Bringing what was written to what keeps it: close(2), fsync(2).

use super::{
    mount::{Flag, Mount},
    open::OpenFile,
    writeback, INode,
};
use crate::{
    abi::{fsync_flags, open_flags, FlushIn, FsyncIn},
    message::{op, Operation, Request},
    vfs::{
        file::{is_being_killed, Fsync, LockOwner},
        stat::BLOCKS_STAT,
    },
};
use kernel::{
    prelude::*,
    sync::{Arc, ArcBorrow},
};

/// A descriptor of a file is closed: what is dirty is written back, and the daemon is told.
pub(super) fn flush(inode: &INode, file: ArcBorrow<'_, OpenFile>, owner: LockOwner) -> Result {
    let mount = Mount::of(inode);
    inode.data().check()?;
    if file.has(open_flags::NOFLUSH) && !mount.features().writeback_cache {
        return Ok(());
    }
    inode.write_now()?;
    inode.take_write_error()?;
    if !mount.lacks.flush.get() {
        send_flush(inode, file, owner)?;
    }
    if mount.features().writeback_cache {
        // How much room it takes only the daemon knows.
        inode.data().invalidate(BLOCKS_STAT);
    }
    Ok(())
}

fn send_flush(inode: &INode, file: ArcBorrow<'_, OpenFile>, owner: LockOwner) -> Result {
    let mount = Mount::of(inode);
    file.count_flush();
    let arguments = FlushIn {
        fh: file.handle(),
        lock_owner: mount.owner_id(owner),
        ..Default::default()
    };
    let request = Request::<op::Flush>::by(
        &mount.connection,
        mount.connection.caller_or_overflow(),
        inode.data().nodeid(),
        &arguments,
    )?
    .then(Arc::from(file));
    if is_being_killed() {
        // Nobody is left to be told how it went, and a daemon that hangs must not keep the dead.
        return mount.connection.submit(request.force());
    }
    let reply = mount.connection.call(request.force());
    unless_lacking(reply.map(|_| ()), &mount.lacks.flush)
}

/// See [`FileOperations::fsync`](crate::vfs::file::FileOperations::fsync); for a regular file.
pub(super) fn fsync(inode: &INode, file: ArcBorrow<'_, OpenFile>, sync: &Fsync<'_>) -> Result {
    inode.data().check()?;
    let _contents = inode.lock_contents();
    sync.write_back()?;
    writeback::wait(inode);
    sync.take_error()?;
    inode.write_metadata()?;
    send::<op::Fsync>(inode, file, sync, &Mount::of(inode).lacks.fsync)
}

/// The same for a directory.
pub(super) fn fsync_directory(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    sync: &Fsync<'_>,
) -> Result {
    inode.data().check()?;
    let _contents = inode.lock_contents();
    send::<op::Fsyncdir>(inode, file, sync, &Mount::of(inode).lacks.fsyncdir)
}

fn send<O: Operation<In = FsyncIn>>(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    sync: &Fsync<'_>,
    lacking: &Flag,
) -> Result {
    if lacking.get() {
        return Ok(());
    }
    let arguments = FsyncIn {
        fh: file.handle(),
        fsync_flags: if sync.is_data_only() {
            fsync_flags::FDATASYNC
        } else {
            0
        },
        ..Default::default()
    };
    let connection = &Mount::of(inode).connection;
    let request = Request::<O>::new(connection, inode.data().nodeid(), &arguments)?;
    let reply = connection.call(request.then(Arc::from(file)));
    unless_lacking(reply.map(|_| ()), lacking)
}

/// What a daemon does not have it need not be asked for again.
fn unless_lacking(reply: Result, lacking: &Flag) -> Result {
    match reply {
        Err(err) if err == ENOSYS => {
            lacking.set();
            Ok(())
        }
        reply => reply,
    }
}
