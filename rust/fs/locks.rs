// SPDX-License-Identifier: GPL-2.0

//! Locks on files: the daemon's, or, where it leaves them to the kernel, the VFS's.
//!
//! A caller that is killed while it waits for a lock leaves its request behind, and the daemon may
//! grant the lock after all. Linux lets such a caller wait for the reply before it closes its
//! files, so that what it was granted goes with them. Here it has closed them by then:
//!
//! - RELEASE waits for the reply, and with it goes what is the open file's: a lock of flock(2) by
//!   `RELEASE_FLOCK_UNLOCK`, as if it had been granted before;
//! - the FLUSH that would have taken away a lock of the process may have come too early. Then the
//!   lock is given up as soon as it is granted, which is also what fcntl(2) does with a lock on a
//!   file that another thread has closed meanwhile.

use super::{
    mount::Mount,
    open::{Flushes, OpenFile},
    INode,
};
use crate::{
    abi::{lk_flags, FileLock as WireLock, LkIn},
    message::{op, Caller, Completion, Message, Operation, Request},
    vfs::{
        lock::{FileLock, LockType, Outcome},
        ns::global_pid,
    },
};
use kernel::{prelude::*, sync::Arc};

/// See [`FileOperations::test_lock`](crate::vfs::file::FileOperations::test_lock).
pub(super) fn test(inode: &INode, file: Arc<OpenFile>, lock: &mut FileLock<'_>) -> Result {
    let mount = Mount::of(inode);
    if !mount.features().posix_locks {
        lock.test_locally();
        return Ok(());
    }
    let connection = &mount.connection;
    let arguments = arguments(mount, &file, lock, 0);
    let nodeid = inode.data().nodeid();
    let request = Request::<op::Getlk>::new(connection, nodeid, &arguments)?.then(file);
    let found = connection.call(request)?.out()?.lk;
    match LockType::of_number(found.r#type).ok_or(EIO)? {
        LockType::Unlock => lock.set_free(),
        lock_type => {
            let start = i64::try_from(found.start).map_err(|_| EIO)?;
            let end = i64::try_from(found.end).map_err(|_| EIO)?;
            if end < start {
                return Err(EIO);
            }
            let pid = global_pid(found.pid, connection.pids());
            lock.set_conflict(lock_type, start, end, pid);
        }
    }
    Ok(())
}

/// See [`FileOperations::lock`](crate::vfs::file::FileOperations::lock).
pub(super) fn set(inode: &INode, file: Arc<OpenFile>, lock: &mut FileLock<'_>) -> Result<Outcome> {
    if !Mount::of(inode).features().posix_locks {
        return lock.set_locally();
    }
    send(inode, file, lock, 0).map(|()| Outcome::Done)
}

/// See [`FileOperations::flock`](crate::vfs::file::FileOperations::flock).
pub(super) fn flock(inode: &INode, file: Arc<OpenFile>, lock: &mut FileLock<'_>) -> Result {
    if !Mount::of(inode).features().flock_locks {
        return lock.flock_locally();
    }
    send(inode, file, lock, lk_flags::FLOCK)
}

/// Sends SETLK or SETLKW.
fn send(inode: &INode, file: Arc<OpenFile>, lock: &FileLock<'_>, flags: u32) -> Result {
    if lock.is_asynchronous() {
        return Err(ENOLCK);
    }
    let mount = Mount::of(inode);
    let mut arguments = arguments(mount, &file, lock, flags);
    if lock.lock_type() != LockType::Unlock {
        arguments.lk.pid = mount.connection.process();
    }
    let set = Arc::new(
        Setting {
            flushes: file.flushes(),
            file,
            arguments,
            flushable: lock.is_of_process() && lock.lock_type() != LockType::Unlock,
        },
        GFP_KERNEL,
    )?;
    let result = if lock.waits() {
        set.send::<op::Setlkw>(inode)
    } else {
        set.send::<op::Setlk>(inode)
    };
    match result {
        // The signal may have been one that is not for the program to see.
        Err(err) if err == EINTR => Err(ERESTARTSYS),
        Ok(()) => {
            set.granted();
            Ok(())
        }
        err => err,
    }
}

fn arguments(mount: &Mount, file: &OpenFile, lock: &FileLock<'_>, lk_flags: u32) -> LkIn {
    LkIn {
        fh: file.handle(),
        owner: mount.owner_id(lock.owner()),
        lk: WireLock {
            start: lock.start(),
            end: lock.end(),
            r#type: lock.lock_type().number(),
            pid: 0,
        },
        lk_flags,
        ..Default::default()
    }
}

/// A lock that is being taken or given up.
struct Setting {
    /// Keeps RELEASE from overtaking it.
    file: Arc<OpenFile>,
    arguments: LkIn,
    /// It is one that FLUSH takes away.
    flushable: bool,
    /// How often the file had been flushed before.
    flushes: Flushes,
}

impl Setting {
    fn send<O: Operation<In = LkIn>>(self: &Arc<Self>, inode: &INode) -> Result {
        let connection = &Mount::of(inode).connection;
        let request = Request::<O>::new(connection, inode.data().nodeid(), &self.arguments)?;
        connection.call(request.then(self.clone())).map(drop)
    }

    /// The daemon has done it.
    fn granted(&self) {
        if self.arguments.lk_flags & lk_flags::FLOCK != 0 {
            self.file.flocked(self.arguments.owner);
        }
    }

    /// Gives up the lock.
    fn give_up(&self) {
        let mut arguments = self.arguments;
        arguments.lk.r#type = LockType::Unlock.number();
        arguments.lk.pid = 0;
        let inode = self.file.inode();
        let connection = &Mount::of(inode).connection;
        let nodeid = inode.data().nodeid();
        let request = Request::<op::Setlk>::insist(connection, Caller::NOBODY, nodeid, &arguments);
        // After an abort there is nobody to tell.
        let _ = connection.submit(request.force().then(self.file.clone()));
    }
}

impl Completion for Setting {
    /// The caller was killed.
    fn ended(&self, _message: &mut Message, outcome: Result) {
        if outcome.is_err() {
            return;
        }
        self.granted();
        if self.flushable && self.flushes != self.file.flushes() {
            self.give_up();
        }
    }
}
