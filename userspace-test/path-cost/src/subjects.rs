// SPDX-License-Identifier: GPL-2.0

//! What is counted: two tables, and the layer.

use pathfs::{
    fuser::{Errno, FileAttr, FileType, INodeNo, RenameFlags},
    Caller, Config, Layer, NodeId, Open, Opened, PathFilesystem, Result, Table, ROOT,
};
use std::{collections::HashMap, ffi::OsString, path::Path, time::SystemTime};

/// The names of a file: its first, its second, and what one of them is renamed to.
pub type Names = [OsString; 3];

/// What is known of a file: its node, and what it is open by.
#[derive(Clone, Copy)]
pub struct Kept {
    id: NodeId,
    fh: u64,
    dh: u64,
}

impl Kept {
    /// Of a file that there is not yet. (Memory that is all zeroes would not be there yet.)
    pub const NONE: Self = Self {
        id: NodeId::MAX,
        fh: 0,
        dh: 0,
    };
}

/// Does one thing with one file.
pub type Operation<T> = fn(&mut T, &Names, &mut Kept) -> Result<()>;

/// What can be done with files; after all of it there are none.
pub trait Subject: Default + 'static {
    const OPERATIONS: &'static [(&'static str, Operation<Self>)];
}

impl Subject for Table {
    const OPERATIONS: &'static [(&'static str, Operation<Self>)] = &[
        ("look-up", |table, names, kept| {
            kept.id = table.look_up(ROOT, &names[0])?;
            Ok(())
        }),
        ("link", |table, names, kept| {
            table.link(kept.id, ROOT, &names[1])
        }),
        ("rename", |table, names, _| {
            table.rename((ROOT, &names[1]), (ROOT, &names[2]))
        }),
        ("unlink", |table, names, _| {
            table.unlink(ROOT, &names[2]);
            Ok(())
        }),
        ("forget", |table, _, kept| {
            table.forget(kept.id, 2);
            Ok(())
        }),
    ];
}

/// The layer, above a file system which does nothing and has everything.
pub struct Whole(Layer<Everything>);

impl Default for Whole {
    fn default() -> Self {
        Self(Layer::new(Everything, Config::default()))
    }
}

const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 1,
};

impl Subject for Whole {
    const OPERATIONS: &'static [(&'static str, Operation<Self>)] = &[
        ("create", |Self(layer), names, kept| {
            let (entry, opened) = layer.create(CALLER, (ROOT, &names[0]), 0o644, 0)?;
            (kept.id, kept.fh) = (entry.0, opened.fh);
            Ok(())
        }),
        ("link", |Self(layer), names, kept| {
            layer.link(kept.id, (ROOT, &names[1])).map(drop)
        }),
        ("rename", |Self(layer), names, _| {
            layer.rename((ROOT, &names[1]), (ROOT, &names[2]), RenameFlags::empty())
        }),
        ("opendir", |Self(layer), _, kept| {
            kept.dh = layer.opendir(CALLER, kept.id)?;
            Ok(())
        }),
        ("releasedir", |Self(layer), _, kept| {
            layer.releasedir(kept.id, kept.dh)
        }),
        ("unlink", |Self(layer), names, _| {
            layer.unlink((ROOT, &names[2]))
        }),
        ("unlink-open", |Self(layer), names, _| {
            layer.unlink((ROOT, &names[0]))
        }),
        ("release", |Self(layer), _, kept| {
            layer.release(kept.id, kept.fh, 0)
        }),
        ("forget", |Self(layer), _, kept| {
            layer.forget(kept.id, 2);
            Ok(())
        }),
    ];
}

/// Every name is that of an empty file, but those that are for what is to be hidden.
pub struct Everything;

impl PathFilesystem for Everything {
    fn getattr(&self, path: &Path) -> Result<FileAttr> {
        let name = path.file_name().ok_or(Errno::ENOENT)?;
        if name.as_encoded_bytes().starts_with(b".") {
            return Err(Errno::ENOENT);
        }
        let never = SystemTime::UNIX_EPOCH;
        Ok(FileAttr {
            ino: INodeNo(0),
            size: 0,
            blocks: 0,
            atime: never,
            mtime: never,
            ctime: never,
            crtime: never,
            kind: FileType::RegularFile,
            perm: 0o644,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn create(&self, _: Caller, _: &Path, _: u32, _: i32) -> Result<Opened> {
        Ok(0.into())
    }

    fn release(&self, _: Open<'_>, _: i32) -> Result<()> {
        Ok(())
    }

    fn link(&self, _: &Path, _: &Path) -> Result<()> {
        Ok(())
    }

    fn rename(&self, _: &Path, _: &Path, _: RenameFlags) -> Result<()> {
        Ok(())
    }

    fn unlink(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn opendir(&self, _: Caller, _: &Path) -> Result<u64> {
        Ok(0)
    }

    fn releasedir(&self, _: Open<'_>) -> Result<()> {
        Ok(())
    }
}

/// The same with the hash tables that come with Rust. They double when they are full, and then
/// everything in them moves; they get no smaller, unless they are told, and then it moves again.
#[derive(Default)]
pub struct AtOnce {
    nodes: HashMap<NodeId, (NodeId, OsString)>,
    names: HashMap<(NodeId, OsString), NodeId>,
    last: NodeId,
}

impl Subject for AtOnce {
    const OPERATIONS: &'static [(&'static str, Operation<Self>)] = &[
        ("look-up", |table, names, kept| {
            kept.id = table.look_up(&names[0]);
            Ok(())
        }),
        ("forget", |table, _, kept| {
            table.forget(kept.id);
            Ok(())
        }),
    ];
}

impl AtOnce {
    fn look_up(&mut self, name: &OsString) -> NodeId {
        let key = (ROOT, name.clone());
        if let Some(&id) = self.names.get(&key) {
            return id;
        }
        self.last += 1;
        self.nodes.insert(self.last, key.clone());
        self.names.insert(key, self.last);
        self.last
    }

    fn forget(&mut self, id: NodeId) {
        if let Some(key) = self.nodes.remove(&id) {
            self.names.remove(&key);
        }
        if self.nodes.len() < self.nodes.capacity() / 8 {
            self.nodes.shrink_to(2 * self.nodes.len());
            self.names.shrink_to(2 * self.names.len());
        }
    }
}
