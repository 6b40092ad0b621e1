// SPDX-License-Identifier: GPL-2.0

//! Making files and opening them: CREATE, and TMPFILE for those without a name.
//!
//! A reply brings two things: a reference to a node, and a file that is open on it.

use super::{
    extensions,
    inode::directory_changed,
    lookup::{self, holds_until, Sighting},
    make,
    mount::Mount,
    open::{open_in_flags, Kind, OpenFile, RegularFile, Room},
    superblock::Fuse,
    INode,
};
use crate::{
    abi::{open_flags, CreateIn},
    message::{op, Created, Operation},
    vfs::{
        dentry::{NamedDEntry, NegativeDEntry},
        dir_ops::{self, Opened},
        file::{current_umask, NewFile},
        inode::FileType,
        inode_ops::IdMap,
        time::Ticks,
    },
};
use kernel::{fs::file::flags, prelude::*, sync::Arc};

/// See [`DirectoryOperations::atomic_open`](crate::vfs::dir_ops::DirectoryOperations::atomic_open).
pub(super) fn atomic_open<'a>(
    id_map: IdMap<'_>,
    dir: &INode,
    dentry: NegativeDEntry<'a, Fuse>,
    file: NewFile<'a>,
    flags: u32,
    mode: u32,
) -> Result<Opened<'a, Fuse>> {
    let lacks = &Mount::of(dir).lacks;
    if !lacks.create.get() {
        match create::<op::Create>(id_map, dir, &dentry, flags, mode) {
            Ok(new) => return Ok(Opened::Open(new.open(dir, dentry, file, flags)?)),
            Err(err) if err == ENOSYS => lacks.create.set(),
            Err(err) => {
                if err == EEXIST {
                    lookup::invalidate(&dentry);
                }
                return Err(err);
            }
        }
    }
    make::mknod(id_map, dir, dentry, mode, 0).map(Opened::Made)
}

/// See [`DirectoryOperations::tmpfile`](crate::vfs::dir_ops::DirectoryOperations::tmpfile).
pub(super) fn tmpfile<'a>(
    id_map: IdMap<'_>,
    dir: &INode,
    dentry: NegativeDEntry<'a, Fuse>,
    file: NewFile<'a>,
    flags: u32,
    mode: u32,
) -> Result<dir_ops::OpenFile<'a>> {
    let lacks = &Mount::of(dir).lacks;
    if lacks.tmpfile.get() {
        return Err(EOPNOTSUPP);
    }
    match create::<op::Tmpfile>(id_map, dir, &dentry, flags, mode) {
        Ok(new) => new.open(dir, dentry, file, flags),
        Err(err) if err == ENOSYS => {
            lacks.tmpfile.set();
            Err(EOPNOTSUPP)
        }
        Err(err) => Err(err),
    }
}

/// What the daemon has made and opened.
struct New {
    file: Arc<OpenFile>,
    /// Until when its name holds.
    until: Ticks,
    sighting: Sighting,
}

/// Sends CREATE or TMPFILE.
///
/// # Errors
///
/// The daemon's; `EIO` when it contradicts itself; `ENOMEM`.
fn create<O: Operation<In = CreateIn, Out = Created>>(
    id_map: IdMap<'_>,
    dir: &INode,
    dentry: &NamedDEntry<'_, Fuse>,
    flags: u32,
    mode: u32,
) -> Result<New> {
    dir.data().check()?;
    let connection = &Mount::of(dir).connection;
    let (room, sighting) = (Room::new()?, Sighting::of(dir));
    let arguments = CreateIn {
        flags: flags & !flags::O_NOCTTY,
        mode: make::masked(dir, mode),
        umask: current_umask(),
        open_flags: open_in_flags(
            Mount::of(dir),
            flags & (flags::O_TRUNC | flags::O_EXCL) == flags::O_TRUNC,
        ),
    };
    let request = make::request::<O>(id_map, dir, &arguments)?.name(dentry.name())?;
    let request = extensions::add(request, id_map, dir, dentry, arguments.mode)?;
    let replied = connection.call(request)?;
    let Created { entry, open } = *replied.out()?;
    if !make::is_new(&entry, FileType::Regular.mode()) {
        return Err(EIO);
    }
    match make::inode_of(dir.super_block(), &entry) {
        Ok(inode) => Ok(New {
            file: room.fill(inode, Kind::File, flags, Some(open)),
            until: holds_until(&entry),
            sighting,
        }),
        Err(err) => {
            connection.give_back(replied);
            Err(err)
        }
    }
}

impl New {
    /// Gives the entry its inode, and opens the file on it. The daemon closes it on an error.
    fn open<'a>(
        self,
        dir: &INode,
        dentry: NegativeDEntry<'a, Fuse>,
        file: NewFile<'a>,
        flags: u32,
    ) -> Result<dir_ops::OpenFile<'a>> {
        let inode = self.file.inode();
        let dentry = dentry.instantiate(inode.grab().ok_or(ESTALE)?)?;
        self.sighting.settle(dir, &dentry, self.until);
        directory_changed(dir);
        let opened = file.finish_open::<RegularFile>(&dentry, self.file.clone())?;
        if flags & flags::O_TRUNC != 0 && Mount::of(dir).features().atomic_o_trunc {
            inode.truncate_page_cache(0);
        } else if !self.file.has(open_flags::KEEP_CACHE) {
            inode.invalidate_page_cache();
        }
        Ok(opened)
    }
}
