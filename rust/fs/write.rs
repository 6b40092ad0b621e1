// SPDX-License-Identifier: GPL-2.0

//! Writing files through the page cache: what is written goes into folios, and from these to the
//! daemon before the call returns.
//!
//! The folios travel in the request. One that has not been read, and that the write does not fill,
//! stays locked meanwhile: nobody must read it before the daemon has what was written.

use super::{
    attr,
    inode::{self, is_ahead},
    mount::Mount,
    open::OpenFile,
    read, INode,
};
use crate::{
    abi::{write_flags, WriteIn},
    message::{op, Payload, Request},
    vfs::{
        file::{Ended, Io},
        folio::FolioPart,
        ns::Capability,
        stat::{MODE_STAT, SIZE_STAT},
        super_block::PAGE_SIZE,
        write::Room,
    },
};
use kernel::{
    iov::IovIterSource,
    prelude::*,
    sync::{Arc, ArcBorrow},
};

/// Writes through the page cache, or to it, where it stays until it is written back.
pub(super) fn cached<'a>(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    mut io: Io<'a>,
    iov: &mut IovIterSource<'_>,
) -> Ended<'a> {
    let stays = match may_stay(inode, file, &io) {
        Ok(stays) => stays,
        Err(err) => return io.end(Err(err)),
    };
    let contents = inode.lock_contents();
    let begun = begin(&mut io, iov);
    if !begun.is_ok_and(|len| len > 0) {
        return io.end(begun);
    }
    if io.is_direct() {
        let direct = io.write_direct(iov, |io, iov| through(inode, file, io, iov));
        drop(contents);
        return match direct {
            Ok((io, written)) => io.end_by(|io| io.sync_written(written)),
            Err(ended) => ended,
        };
    }
    io.end_by(|io| {
        let written = if stays {
            io.write_cached(iov, |position, len| {
                read::for_write(inode, &file, position, len)
            })?
        } else {
            through(inode, file, io, iov)?
        };
        drop(contents);
        io.sync_written(written)
    })
}

/// Whether what is written may stay in the page cache for now.
fn may_stay(inode: &INode, file: ArcBorrow<'_, OpenFile>, io: &Io<'_>) -> Result<bool> {
    if !is_ahead(inode) {
        return Ok(false);
    }
    attr::update(inode, Some(file), SIZE_STAT | MODE_STAT)?;
    // The daemon takes the set-user-ID bits with a WRITE, which must not be too late.
    Ok(!(Mount::of(inode).features().handle_killpriv_v2 && io.takes_set_ids()))
}

/// Does what goes before a write; returns how many bytes are to be written. The contents are locked.
fn begin(io: &mut Io<'_>, iov: &mut IovIterSource<'_>) -> Result<usize> {
    let len = io.check_write(iov)?;
    if len > 0 {
        io.modify()?;
    }
    Ok(len)
}

/// Writes to the page cache and from there to the daemon, and moves the position on. The contents
/// are locked.
fn through(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    io: &mut Io<'_>,
    iov: &mut IovIterSource<'_>,
) -> Result<usize> {
    let (start, size) = (io.position(), inode.size());
    // What lies between was never in the file; others may have it mapped.
    inode.truncate_page_cache_range(size, start);
    let end = start.saturating_add(iov.len() as u64);
    let unsettled = (end > size).then(|| inode.data().unsettle_size());
    let mut total = 0;
    let result = loop {
        match through_once(inode, file, io, iov) {
            Ok((sent, written)) => {
                io.advance(written);
                total += written;
                if written < sent {
                    break Err(EIO);
                }
            }
            Err(err) => break Err(err),
        }
        if iov.is_empty() {
            break Ok(());
        }
    };
    inode::written(inode, (total > 0).then(|| io.position()));
    drop(unsettled);
    match result {
        Err(err) if total == 0 => Err(err),
        _ => Ok(total),
    }
}

/// One WRITE; returns how many bytes were sent, and how many of them the daemon took.
fn through_once(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    io: &mut Io<'_>,
    iov: &mut IovIterSource<'_>,
) -> Result<(usize, usize)> {
    let mount = Mount::of(inode);
    let features = mount.features();
    let room = Room {
        bytes: mount.max_write(),
        folios: if features.big_writes {
            features.max_pages as usize
        } else {
            1
        },
    };
    let position = io.position();
    let parts = inode.copy_to_page_cache(position, iov, room)?;
    let len = parts.iter().map(FolioPart::len).sum();
    let mut arguments = arguments(&file, position, len, io.flags());
    if features.handle_killpriv_v2 && !Capability::FSETID.held() {
        arguments.write_flags |= write_flags::KILL_SUIDGID;
    }
    let payload = Payload::Folios { parts, len };
    Ok((len, send(inode, file, &arguments, payload)?))
}

/// The arguments of a WRITE.
pub(super) fn arguments(file: &OpenFile, offset: u64, size: usize, flags: u32) -> WriteIn {
    WriteIn {
        fh: file.handle(),
        offset,
        // CAST: At most what a daemon takes in one request.
        size: size as u32,
        flags,
        ..Default::default()
    }
}

/// Sends a WRITE, and waits until the daemon has taken what it carries; returns how many bytes it
/// took.
///
/// # Errors
///
/// The daemon's; `EIO` when it says that it took more than there was.
pub(super) fn send(
    inode: &INode,
    file: ArcBorrow<'_, OpenFile>,
    arguments: &WriteIn,
    payload: Payload,
) -> Result<usize> {
    let connection = &Mount::of(inode).connection;
    let nodeid = inode.data().nodeid();
    let request = Request::<op::Write>::new(connection, nodeid, arguments)?
        .payload(payload)
        .then(Arc::from(file));
    let written = connection.call(request)?.out()?.size;
    if written > arguments.size {
        return Err(EIO);
    }
    // CAST: `u32` to `usize` on a 64-bit machine.
    Ok(written as usize)
}

impl Mount {
    /// The most bytes of a WRITE.
    pub(super) fn max_write(&self) -> usize {
        // CAST: `u32` to `usize` on a 64-bit machine.
        let max_write = self.connection.terms().max_write as usize;
        max_write.min(self.features().max_pages as usize * PAGE_SIZE)
    }
}
