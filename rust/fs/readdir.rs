// SPDX-License-Identifier: GPL-2.0

//! Reading directories: READDIR, or READDIRPLUS, which looks up what is in them on the way.
//!
//! Each entry of a READDIRPLUS counts as a lookup, whether or not the reader has room for it: all of
//! them go into the cache, and what cannot is given back.

use super::{
    init::Readdirplus,
    inode::{self, invalidate_atime, is_stale, is_valid, looked_up, Asked},
    ioctl,
    lookup::{holds_until, Sighting},
    mount::Mount,
    open::{Kind, OpenFile},
    readdir_cache,
    superblock::Fuse,
    sync, INode,
};
use crate::{
    abi::{open_flags, Dirent, Direntplus, EntryHead, EntryOut, NextEntry, ReadIn, ROOT_ID},
    message::{op, Operation, Replied, Request},
    vfs::{
        dentry::Child,
        file::{DirEmitter, FileOperations, Fsync, NewFile},
        ioctl::Ioctl,
        super_block::PAGE_SIZE,
        time::Ticks,
    },
};
use kernel::{
    prelude::*,
    sync::{Arc, ArcBorrow},
};

/// The operations of open directories.
pub(super) struct DirectoryFile;

#[vtable]
impl FileOperations for DirectoryFile {
    type FileSystem = Fuse;
    type Ptr = Arc<OpenFile>;

    fn open(inode: &INode, new: &NewFile<'_>) -> Result<Arc<OpenFile>> {
        inode.data().check()?;
        let file = OpenFile::open(inode, Kind::Directory, new.flags())?;
        if file.has(open_flags::STREAM | open_flags::NONSEEKABLE) {
            new.make_nonseekable();
        }
        if !file.has(open_flags::KEEP_CACHE) {
            inode.invalidate_page_cache();
        }
        Ok(file)
    }

    fn release(_inode: &INode, file: Arc<OpenFile>, flags: u32) {
        file.closing(flags);
    }

    fn fsync(inode: &INode, file: ArcBorrow<'_, OpenFile>, sync: &Fsync<'_>) -> Result {
        sync::fsync_directory(inode, file, sync)
    }

    fn ioctl(inode: &INode, file: ArcBorrow<'_, OpenFile>, call: &Ioctl) -> Result<isize> {
        ioctl::ioctl(inode, file.into(), call)
    }

    fn iterate(
        inode: &INode,
        file: ArcBorrow<'_, OpenFile>,
        entries: &mut DirEmitter<'_, Fuse>,
    ) -> Result {
        inode.data().check()?;
        if file.has(open_flags::CACHE_DIR) && readdir_cache::read(inode, &file.stream, entries)? {
            return Ok(());
        }
        let emitted = if wants_plus(inode, entries) {
            let (sighting, asked) = (Sighting::of(inode), Asked::unknown(Mount::of(inode)));
            ask::<op::Readdirplus>(inode, file, entries)
                .and_then(|reply| emit_plus(inode, &file, reply.bytes(), entries, sighting, asked))
        } else {
            ask::<op::Readdir>(inode, file, entries)
                .and_then(|reply| emit(inode, &file, reply.bytes(), entries))
        };
        invalidate_atime(inode);
        emitted
    }
}

/// Whether what is in the directory is to be looked up as well.
fn wants_plus(dir: &INode, entries: &DirEmitter<'_, Fuse>) -> bool {
    match Mount::of(dir).features().readdirplus {
        None => false,
        Some(Readdirplus::Always) => true,
        Some(Readdirplus::Auto) => dir.data().looked_into.take() || entries.position() == 0,
    }
}

/// Asks for entries from the position on.
fn ask<O: Operation<In = ReadIn>>(
    dir: &INode,
    file: ArcBorrow<'_, OpenFile>,
    entries: &DirEmitter<'_, Fuse>,
) -> Result<Replied<O>> {
    let (node, mount) = (dir.data(), Mount::of(dir));
    let most = mount.features().max_pages as usize * PAGE_SIZE;
    let size = entries.room().clamp(PAGE_SIZE, most);
    let arguments = ReadIn {
        fh: file.handle(),
        // CAST: Positions are the daemon's; the kernel only keeps them.
        offset: entries.position() as u64,
        // CAST: Less than 2^16 pages.
        size: size as u32,
        flags: file.flags(),
        ..Default::default()
    };
    let request = Request::<O>::new(&mount.connection, node.nodeid(), &arguments)?
        .reply_bytes(size)?
        .then(Arc::from(file));
    let _serial = node.serialize(mount);
    mount.connection.call(request)
}

/// Hands an entry on, `record` with its name; whether there was room for it.
fn emit_one(
    dir: &INode,
    file: &OpenFile,
    entry: &Dirent,
    record: &[u8],
    entries: &mut DirEmitter<'_, Fuse>,
) -> bool {
    if file.has(open_flags::CACHE_DIR) {
        readdir_cache::add(dir, record, entries.position(), entry.off);
    }
    let end = size_of::<Dirent>() + entry.namelen as usize;
    let name = record.get(size_of::<Dirent>()..end).unwrap_or_default();
    let emitted = entries.emit(name, entry.ino, entry.r#type);
    if emitted {
        // CAST: Positions are the daemon's; the kernel only keeps them.
        entries.set_position(entry.off as i64);
    }
    emitted
}

/// There are no more entries, if there are no `bytes`.
fn check_end(dir: &INode, file: &OpenFile, bytes: &[u8], entries: &DirEmitter<'_, Fuse>) {
    if bytes.is_empty() && file.has(open_flags::CACHE_DIR) {
        readdir_cache::end(dir, entries.position());
    }
}

/// Hands the entries in `bytes` on, until there is no room or what is left is no whole entry.
///
/// # Errors
///
/// `EIO` for a name that there cannot be.
fn emit(
    dir: &INode,
    file: &OpenFile,
    mut bytes: &[u8],
    entries: &mut DirEmitter<'_, Fuse>,
) -> Result {
    check_end(dir, file, bytes, entries);
    loop {
        match Dirent::next(bytes) {
            NextEntry::End => return Ok(()),
            NextEntry::Malformed => return Err(EIO),
            NextEntry::Entry(entry, _, after) => {
                let record = &bytes[..bytes.len() - after.len()];
                if !emit_one(dir, file, entry, record, entries) {
                    return Ok(());
                }
                bytes = after;
            }
        }
    }
}

/// The same for READDIRPLUS; puts all of them into the cache.
fn emit_plus(
    dir: &INode,
    file: &OpenFile,
    mut bytes: &[u8],
    entries: &mut DirEmitter<'_, Fuse>,
    sighting: Sighting,
    asked: Asked,
) -> Result {
    check_end(dir, file, bytes, entries);
    let mut is_full = false;
    loop {
        let (entry, name, after) = match Direntplus::next(bytes) {
            NextEntry::End => return Ok(()),
            NextEntry::Malformed => return Err(EIO),
            NextEntry::Entry(entry, name, after) => (entry, name, after),
        };
        if !is_full {
            let record = &bytes[size_of::<EntryOut>()..bytes.len() - after.len()];
            is_full = !emit_one(dir, file, &entry.dirent, record, entries);
        }
        bytes = after;
        if let Some(nodeid) = entry.granted(name) {
            let linked = link(dir, entries, &entry.entry_out, name, sighting, asked);
            if linked.is_err() {
                Mount::of(dir).connection.forget_one(nodeid);
            }
        }
    }
}

/// Puts an entry with its inode into the cache; on success the reference that came with it has been
/// counted.
fn link(
    dir: &INode,
    entries: &DirEmitter<'_, Fuse>,
    entry: &EntryOut,
    name: &[u8],
    sighting: Sighting,
    asked: Asked,
) -> Result {
    let EntryOut {
        nodeid,
        generation,
        attr,
        ..
    } = entry;
    if *nodeid == ROOT_ID || !is_valid(attr) {
        return Err(EIO);
    }
    let until = Ticks::after(entry.attr_valid, entry.attr_valid_nsec);
    let dentry = loop {
        match entries.child(name)? {
            Child::Known(dentry) => {
                let inode = dentry
                    .inode()
                    .filter(|inode| inode.data().nodeid() == *nodeid);
                match inode {
                    Some(inode) if !is_stale(inode, *generation, attr) => {
                        inode.data().check()?;
                        inode.forget_acls();
                        looked_up(inode, attr, until, asked.of_known());
                    }
                    stale => {
                        if let Some(inode) = stale {
                            inode.data().make_bad();
                        }
                        dentry.invalidate();
                        continue;
                    }
                }
                break dentry;
            }
            Child::New(new) => {
                let sb = dir.super_block();
                let inode = inode::get(sb, *nodeid, *generation, attr, until, asked)?;
                match new.resolve(inode) {
                    Ok(dentry) => break dentry,
                    // The reference is counted, and given back when the inode goes.
                    Err(_) => return Ok(()),
                }
            }
        }
    };
    if Mount::of(dir).features().readdirplus == Some(Readdirplus::Auto) {
        if let Some(inode) = dentry.inode() {
            inode.data().listed.set();
        }
    }
    sighting.settle(dir, &dentry, holds_until(entry));
    Ok(())
}
