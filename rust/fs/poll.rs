// SPDX-License-Identifier: GPL-2.0

//! poll(2): what a file is ready for, and waiting until the daemon says that this may have changed.

use super::{mount::Mount, open::OpenFile, INode};
use crate::{
    abi::{poll_flags, PollIn},
    message::{op, Request},
    vfs::poll::{Events, Poll, WaitQueue},
};
use kernel::{
    new_spinlock,
    prelude::*,
    rbtree::{RBTree, RBTreeNodeReservation},
    sync::{Arc, SpinLock},
};

/// The open files of a mount that were polled, by the numbers that the daemon gets to know them by.
#[pin_data]
pub(super) struct PolledFiles {
    #[pin]
    files: SpinLock<Numbered>,
}

struct Numbered {
    /// The last number that was given.
    last: u64,
    queues: RBTree<u64, Arc<WaitQueue>>,
}

impl PolledFiles {
    /// None yet.
    pub(super) fn new() -> impl PinInit<Self> {
        let none = Numbered {
            last: 0,
            queues: RBTree::new(),
        };
        pin_init!(Self {
            files <- new_spinlock!(none, "fuse::PolledFiles"),
        })
    }

    /// Has those look again who wait for the file of that number, if there are any.
    pub(super) fn wake(&self, number: u64) {
        if let Some(queue) = self.files.lock().queues.get(&number) {
            queue.wake();
        }
    }

    /// Has all look again.
    pub(super) fn wake_all(&self) {
        for queue in self.files.lock().queues.values() {
            queue.wake_all();
        }
    }
}

/// One of them, for as long as it is open.
pub(super) struct Polled {
    number: u64,
    queue: Arc<WaitQueue>,
    files: Arc<PolledFiles>,
}

impl Polled {
    /// One more. ENOMEM; may sleep.
    fn new(files: Arc<PolledFiles>) -> Result<Self> {
        let queue = Arc::new(WaitQueue::new()?, GFP_KERNEL)?;
        let node = RBTreeNodeReservation::new(GFP_KERNEL)?;
        let mut numbered = files.files.lock();
        numbered.last += 1;
        let number = numbered.last;
        numbered
            .queues
            .insert(node.into_node(number, queue.clone()));
        drop(numbered);
        Ok(Self {
            number,
            queue,
            files,
        })
    }
}

impl Drop for Polled {
    fn drop(&mut self) {
        let node = self.files.files.lock().queues.remove_node(&self.number);
        drop(node);
    }
}

/// See [`FileOperations::poll`](crate::vfs::file::FileOperations::poll).
pub(super) fn poll(inode: &INode, file: Arc<OpenFile>, poll: &Poll<'_>) -> Events {
    let mount = Mount::of(inode);
    if mount.lacks.poll.get() {
        return Events::ALWAYS;
    }
    match ask(mount, inode, file, poll) {
        Ok(ready) => Events::of_user(ready),
        Err(err) if err == ENOSYS => {
            mount.lacks.poll.set();
            Events::ALWAYS
        }
        Err(_) => Events::ERROR,
    }
}

/// Asks the daemon, who says later that there may be more if anybody waits for that.
fn ask(mount: &Mount, inode: &INode, file: Arc<OpenFile>, poll: &Poll<'_>) -> Result<u32> {
    let polled = match file.polled().as_ref() {
        Some(polled) => polled,
        None => {
            // Where two come first at once, the other's is as good.
            file.polled()
                .populate(Polled::new(mount.polled_files.clone())?);
            file.polled().as_ref().ok_or(EAGAIN)?
        }
    };
    poll.wait_on(&polled.queue);
    let mut arguments = PollIn {
        fh: file.handle(),
        kh: polled.number,
        events: poll.wanted(),
        ..Default::default()
    };
    if polled.queue.is_waited_on() {
        arguments.flags = poll_flags::SCHEDULE_NOTIFY;
    }
    let nodeid = inode.data().nodeid();
    let request = Request::<op::Poll>::new(&mount.connection, nodeid, &arguments)?;
    let reply = mount.connection.call(request.then(file.clone()))?;
    Ok(reply.out()?.revents)
}
