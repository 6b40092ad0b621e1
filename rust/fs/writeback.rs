// SPDX-License-Identifier: GPL-2.0

//! Writing back what was written to the page cache and stayed there, by `WRITEBACK_CACHE` or by way
//! of a shared mapping.
//!
//! Folios that are being written back travel in the request, and have been written back when that
//! goes. Who changes a file otherwise, by truncating it for one, [holds](hold) writing back: requests
//! that are made meanwhile wait until that is over, and are cut to the size that the file has then.

use super::{inode::is_ahead, mount::Mount, open::OpenFile, INode};
use crate::{
    abi::{fattr, write_flags, SetattrIn, WriteIn},
    message::{op, Caller, Completion, Message, Payload, Request},
    sys::{
        fifo::{Fifo, Node as Link},
        insist,
    },
    vfs::{
        folio::FolioPart,
        iomap::{Dirty, Writeback},
        stat::MODIFY_STATS,
    },
};
use kernel::{
    alloc::AllocError,
    new_condvar, new_mutex,
    prelude::*,
    sync::{Arc, CondVar, Mutex, UniqueArc},
};

/// What an inode has to do with writing back.
#[pin_data]
pub(super) struct Writes {
    #[pin]
    state: Mutex<State>,
    #[pin]
    ended: CondVar,
}

struct State {
    /// How many WRITEs are under way.
    under_way: u32,
    /// How many say that no more may be sent.
    held: u32,
    /// Those that wait for that to be over.
    queued: Fifo<Batch>,
    /// Open files that one can write by.
    files: KVec<Arc<OpenFile>>,
}

impl Writes {
    /// Nothing to be written back.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_mutex!(
                State {
                    under_way: 0,
                    held: 0,
                    queued: Fifo::new(),
                    files: KVec::new(),
                },
                "fuse::Writes"
            ),
            ended <- new_condvar!("fuse::Writes"),
        })
    }

    /// What is written to the page cache may be written back by `file`, until [`Self::leave`]. ENOMEM.
    pub(super) fn join(&self, file: Arc<OpenFile>) -> Result {
        let mut state = self.state.lock();
        if !state.files.iter().any(|each| Arc::ptr_eq(each, &file)) {
            state.files.push(file, GFP_KERNEL)?;
        }
        Ok(())
    }

    /// The file is closed.
    pub(super) fn leave(&self, file: &Arc<OpenFile>) {
        let mut state = self.state.lock();
        let found = state.files.iter().position(|each| Arc::ptr_eq(each, file));
        let left = found.and_then(|index| state.files.remove(index).ok());
        drop(state);
        // Closing it is said to the daemon without the lock.
        drop(left);
    }
}

/// An open file that one can write by.
fn file(inode: &INode) -> Option<Arc<OpenFile>> {
    let writes = inode.data().known_writes()?;
    let state = writes.state.lock();
    state.files.first().cloned()
}

/// Keeps what is dirty in the page cache from being sent until the value is dropped; waits for what
/// has been sent, deaf to signals. The contents are locked.
pub(super) fn hold(inode: &INode) -> Held<'_> {
    let writes = insist(|| inode.data().writes().map_err(|_| AllocError));
    let mut state = writes.state.lock();
    state.held += 1;
    while state.under_way > 0 {
        writes.ended.wait(&mut state);
    }
    Held { inode, writes }
}

/// Waits until all that is being written back has been. The contents are locked.
pub(super) fn wait(inode: &INode) {
    if inode.data().known_writes().is_some() {
        drop(hold(inode));
    }
}

/// Writes back what is dirty of the file from `start` on, and waits until all of it has been written.
/// The contents are locked exclusively. Errors are those of writing back.
pub(super) fn finish_from(inode: &INode, start: u64) -> Result {
    inode.write_range(start, u64::MAX)?;
    wait(inode);
    Ok(())
}

/// Nothing is written back.
pub(super) struct Held<'a> {
    inode: &'a INode,
    writes: &'a Writes,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.writes.state.lock();
        state.held -= 1;
        if state.held > 0 {
            return;
        }
        let mut queued = core::mem::replace(&mut state.queued, Fifo::new());
        // CAST: As many as there are pages, at most.
        state.under_way += queued.len() as u32;
        drop(state);
        while let Some(batch) = queued.pop_front() {
            send(self.inode, batch);
        }
    }
}

/// See [`AddressSpaceOperations`](crate::vfs::address_space::AddressSpaceOperations).
pub(super) fn writepages(inode: &INode, what: Writeback<'_>) -> Result {
    let (node, mount) = (inode.data(), Mount::of(inode));
    node.check()?;
    if !what.is_waited_for() && mount.connection.queue().is_congested() {
        return Ok(());
    }
    let mut batch: Option<KBox<Link<Batch>>> = None;
    let result = what.for_each(|dirty| {
        if batch
            .as_ref()
            .is_some_and(|batch| !batch.value.takes(mount, &dirty))
        {
            if let Some(full) = batch.take() {
                submit(inode, full);
            }
        }
        let batch = match &mut batch {
            Some(batch) => batch,
            None => {
                let file = file(inode).ok_or(EIO)?;
                let first = Link::new(Batch::new(file, dirty.pos()));
                batch.insert(KBox::new(first, GFP_KERNEL)?)
            }
        };
        batch.value.add(dirty)
    });
    if let Some(rest) = batch {
        submit(inode, rest);
    }
    result
}

/// Sends a batch, now or when that is allowed again.
fn submit(inode: &INode, batch: KBox<Link<Batch>>) {
    // The batch has its file from there.
    let Some(writes) = inode.data().known_writes() else {
        return;
    };
    let mut state = writes.state.lock();
    if state.held > 0 {
        state.queued.push_back(batch);
        return;
    }
    state.under_way += 1;
    drop(state);
    send(inode, batch);
}

/// Sends a batch that counts as under way, as far as the file reaches: who cuts it off waits for
/// this, and sets the size only then.
fn send(inode: &INode, mut batch: KBox<Link<Batch>>) {
    let batch = &mut batch.value;
    let connection = &Mount::of(inode).connection;
    // What must reach the daemon waits for memory. Nothing is done while there is none.
    let memory = insist(|| UniqueArc::new_uninit(GFP_KERNEL));
    let file = batch.file.clone();
    let done: Arc<Done> = memory.write(Done { file }).into();
    let reaches = inode.size().saturating_sub(batch.position);
    let len = usize::try_from(reaches).map_or(batch.len, |reaches| batch.len.min(reaches));
    let parts = core::mem::take(&mut batch.parts);
    if len == 0 {
        // All of it has been cut off. It has been written back before `done` says so.
        drop(parts);
        return;
    }
    let arguments = WriteIn {
        fh: batch.file.handle(),
        offset: batch.position,
        // CAST: At most what a daemon takes in one request.
        size: len as u32,
        write_flags: write_flags::CACHE,
        ..Default::default()
    };
    let nodeid = inode.data().nodeid();
    let request = insist(|| {
        Request::<op::Write>::by(connection, Caller::NOBODY, nodeid, &arguments)
            .map_err(|_| AllocError)
    });
    let payload = Payload::Folios { parts, len };
    // After an abort there is nobody to write to, and who asks the daemon for anything is told so.
    let _ = connection.submit(request.payload(payload).force().then(done));
}

/// What is to be done when a WRITE that nobody waits for has ended. It counts as under way until this
/// goes, after the folios.
struct Done {
    file: Arc<OpenFile>,
}

impl Completion for Done {
    fn ended(&self, _message: &mut Message, outcome: Result) {
        let inode = self.file.inode();
        if let Err(error) = outcome {
            inode.set_write_error(error);
        }
        if !is_ahead(inode) {
            inode.data().invalidate(MODIFY_STATS);
        }
    }
}

impl Drop for Done {
    fn drop(&mut self) {
        let Some(writes) = self.file.inode().data().known_writes() else {
            return;
        };
        let mut state = writes.state.lock();
        state.under_way -= 1;
        if state.under_way == 0 {
            writes.ended.notify_all();
        }
    }
}

/// Tells the daemon when the file was modified, which the kernel knows better: SETATTR. Errors are the
/// daemon's.
pub(super) fn send_times(inode: &INode) -> Result {
    let (node, mount) = (inode.data(), Mount::of(inode));
    let file = file(inode);
    let (mtime, ctime) = (inode.mtime(), inode.ctime());
    let mut arguments = SetattrIn {
        valid: fattr::MTIME,
        // CAST: The wire has it unsigned, but means signed.
        mtime: mtime.seconds as u64,
        mtimensec: mtime.nanoseconds,
        ..Default::default()
    };
    if mount.connection.terms().minor >= 23 {
        arguments.valid |= fattr::CTIME;
        arguments.ctime = ctime.seconds as u64;
        arguments.ctimensec = ctime.nanoseconds;
    }
    if let Some(file) = &file {
        arguments.valid |= fattr::FH;
        arguments.fh = file.handle();
    }
    let request = Request::<op::Setattr>::new(&mount.connection, node.nodeid(), &arguments)?;
    mount.connection.call(request).map(|_| ())
}

/// The same, where somebody has just changed the file and its times: an error is kept for fsync(2).
pub(super) fn send_new_times(inode: &INode) {
    if let Err(error) = inode.write_metadata() {
        inode.set_write_error(error);
    }
}

/// Parts of folios, one after another in the file, that will be one WRITE.
struct Batch {
    file: Arc<OpenFile>,
    position: u64,
    len: usize,
    parts: KVec<FolioPart>,
}

impl Batch {
    fn new(file: Arc<OpenFile>, position: u64) -> Self {
        Self {
            file,
            position,
            len: 0,
            parts: KVec::new(),
        }
    }

    /// Whether `dirty` follows what is there, and there is room for it in one request.
    fn takes(&self, mount: &Mount, dirty: &Dirty<'_>) -> bool {
        let max_pages = mount.features().max_pages as usize;
        let len = self.len + dirty.len();
        self.parts.len() < max_pages
            && len <= mount.max_write()
            && self.position + self.len as u64 == dirty.pos()
    }

    /// Adds a part. ENOMEM; then it is not taken.
    fn add(&mut self, dirty: Dirty<'_>) -> Result {
        self.parts.reserve(1, GFP_KERNEL)?;
        self.len += dirty.len();
        // There is room for it.
        self.parts.push(dirty.take(), GFP_KERNEL)?;
        Ok(())
    }
}
