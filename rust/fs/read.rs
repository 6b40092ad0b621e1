// SPDX-License-Identifier: GPL-2.0

//! Reading files through the page cache, whose folios travel in the requests that fill them.
//!
//! A reply that is shorter than what was asked for means that the file ends there; what is left of
//! the folios is filled with zeroes, and the inode's size is set right unless it has changed since.

use super::{
    attr, direct,
    inode::{self, invalidate_atime},
    mount::Mount,
    open::{OpenFile, RegularFile},
    range, writeback, INode,
};
use crate::{
    abi::ReadIn,
    message::{op, Completion, Data, Message, Reply, Request},
    vfs::{
        address_space::AddressSpaceOperations,
        file::{Ended, Io},
        folio::LockedFolio,
        iomap::{Readahead, Unread, Writeback},
        stat::SIZE_STAT,
    },
};
use kernel::{
    iov::{IovIterDest, IovIterSource},
    prelude::*,
    sync::{Arc, ArcBorrow},
};

/// Reads through the page cache.
pub(super) fn cached<'a>(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    io: Io<'a>,
    iov: &mut IovIterDest<'_>,
) -> Ended<'a> {
    let end = io.position().saturating_add(iov.len() as u64);
    // The page cache believes in the inode's size: it must be right where that matters.
    if Mount::of(inode).features().auto_inval_data || end > inode.size() {
        if let Err(err) = attr::update(inode, Some(file), SIZE_STAT) {
            return io.end(Err(err));
        }
    }
    io.read(iov)
}

/// The arguments of a READ.
pub(super) fn arguments(file: &OpenFile, offset: u64, size: usize) -> ReadIn {
    // The last byte that a file can have is none that can be read.
    let last = (i64::MAX as u64).saturating_sub(offset);
    ReadIn {
        fh: file.handle(),
        offset,
        // CAST: At most the pages of a request.
        size: (size as u64).min(last) as u32,
        flags: file.flags(),
        ..Default::default()
    }
}

/// The page cache of regular files.
pub(super) struct Pages;

#[vtable]
impl AddressSpaceOperations for Pages {
    type File = RegularFile;

    fn read_folio(inode: &INode, file: ArcBorrow<'_, OpenFile>, part: Unread<'_>) -> Result {
        inode.data().check()?;
        let mut folios = KVec::with_capacity(1, GFP_KERNEL)?;
        folios.push(part.take(), GFP_KERNEL)?;
        let mount = Mount::of(inode);
        // Who reads the folio finds out by itself that it is not up to date.
        Reading::new(mount, file.into(), folios)?.wait(mount)
    }

    fn readahead(inode: &INode, file: ArcBorrow<'_, OpenFile>, folios: Readahead<'_>) {
        // Folios that are not read now are when somebody waits for them, who then gets the error.
        let _ = readahead(inode, file, folios);
    }

    fn writepages(inode: &INode, what: Writeback<'_>) -> Result {
        writeback::writepages(inode, what)
    }

    fn bmap(inode: &INode, block: u64) -> u64 {
        range::bmap(inode, block)
    }

    fn direct_read<'a>(
        inode: &INode,
        file: ArcBorrow<'_, OpenFile>,
        io: Io<'a>,
        iov: &mut IovIterDest<'_>,
    ) -> Ended<'a> {
        direct::read_past_cache(inode, file, io, iov)
    }

    fn direct_write<'a>(
        inode: &INode,
        file: ArcBorrow<'_, OpenFile>,
        io: Io<'a>,
        iov: &mut IovIterSource<'_>,
    ) -> Ended<'a> {
        direct::write_past_cache(inode, file, io, iov)
    }
}

fn readahead(inode: &INode, file: ArcBorrow<'_, OpenFile>, folios: Readahead<'_>) -> Result {
    inode.data().check()?;
    let mount = Mount::of(inode);
    let most = mount.max_read() as u64;
    let mut batch: KVec<LockedFolio> = KVec::new();
    // Where what is in the batch begins, and ends.
    let (mut start, mut end) = (0, 0);
    folios.for_each(|part| {
        let part_end = part.pos() + part.size() as u64;
        if !batch.is_empty() && (part_end - start > most || part.pos() != end) {
            read_ahead(mount, &file, core::mem::take(&mut batch))?;
        }
        if batch.is_empty() {
            start = part.pos();
        }
        if batch.is_empty() && part.is_speculative() && mount.connection.queue().is_congested() {
            return Err(EAGAIN);
        }
        batch.reserve(1, GFP_KERNEL)?;
        end = part_end;
        batch.push(part.take(), GFP_KERNEL)?;
        Ok(())
    });
    if batch.is_empty() {
        return Ok(());
    }
    read_ahead(mount, &file, batch)
}

/// Reads folios that nobody has to wait for, if the daemon takes that.
fn read_ahead(mount: &Mount, file: &ArcBorrow<'_, OpenFile>, folios: KVec<LockedFolio>) -> Result {
    let read = Reading::new(mount, Arc::from(*file), folios)?;
    if mount.features().async_read {
        read.submit(mount)
    } else {
        read.wait(mount)
    }
}

/// Reads what is there from `position` on, at most `len` bytes, for a write that changes only a part
/// of a block. The bytes come in memory of the request's own: the folio is unlocked when the writer
/// is killed.
pub(super) fn for_write(
    inode: &INode,
    file: &OpenFile,
    position: u64,
    len: usize,
) -> Result<KVVec<u8>> {
    let mount = Mount::of(inode);
    let arguments = arguments(file, position, len);
    let nodeid = inode.data().nodeid();
    let request =
        Request::<op::Read>::new(&mount.connection, nodeid, &arguments)?.reply_bytes(len)?;
    match mount.connection.call(request)?.reply().take_data() {
        Data::Bytes(bytes) => Ok(bytes),
        _ => Err(EIO),
    }
}

/// A READ into folios.
struct Reading {
    request: Request<op::Read>,
    done: Done,
}

/// What is to be done when a READ into folios has ended.
struct Done {
    pos: u64,
    /// How much was asked for, in bytes.
    size: usize,
    /// The version of the attributes when it was.
    attr_version: u64,
    /// Keeps the inode, and RELEASE from overtaking this.
    file: Arc<OpenFile>,
}

impl Reading {
    /// A READ that fills `folios`, of which there is one or more, one after another in the file.
    fn new(mount: &Mount, file: Arc<OpenFile>, folios: KVec<LockedFolio>) -> Result<Self> {
        let pos = folios.first().ok_or(EINVAL)?.pos();
        let arguments = arguments(&file, pos, folios.iter().map(LockedFolio::size).sum());
        let done = Done {
            pos,
            size: arguments.size as usize,
            attr_version: mount.attr_version(),
            file,
        };
        let nodeid = done.file.inode().data().nodeid();
        let request = Request::<op::Read>::new(&mount.connection, nodeid, &arguments)?;
        Ok(Self {
            request: request.reply_into(Data::Folios(folios)),
            done,
        })
    }

    /// Sends it and waits for the reply.
    fn wait(self, mount: &Mount) -> Result {
        let mut replied = mount.connection.call(self.request)?;
        self.done.take(replied.reply(), Ok(()));
        Ok(())
    }

    /// Sends it; the folios are ended when the reply comes.
    fn submit(self, mount: &Mount) -> Result {
        let done = Arc::new(self.done, GFP_KERNEL)?;
        mount.connection.submit(self.request.then(done))
    }
}

impl Done {
    /// Takes what was read.
    fn take(&self, reply: &mut Reply, outcome: Result) {
        let inode = self.file.inode();
        invalidate_atime(inode);
        let received = reply.received;
        let Data::Folios(folios) = reply.take_data() else {
            return;
        };
        if outcome.is_err() {
            // Dropping a folio ends it as one that could not be read.
            return;
        }
        if received < self.size {
            let end = self.pos.saturating_add(received as u64);
            inode::shrink(inode, end, self.attr_version);
        }
        let mut left = received;
        for mut folio in folios {
            let filled = left.min(folio.size());
            left -= filled;
            let zeroed = folio.zero_range(filled, folio.size() - filled);
            folio.end_read(zeroed.is_ok());
        }
    }
}

impl Completion for Done {
    fn ended(&self, message: &mut Message, outcome: Result) {
        self.take(message.reply(), outcome);
    }
}
