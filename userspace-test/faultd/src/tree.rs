// SPDX-License-Identifier: GPL-2.0

//! The files that are served, and the right answer to each request about them. They are kept in
//! memory.
//!
//! | node | path | |
//! | --- | --- | --- |
//! | 1 | `/` | |
//! | 2 | `/hello` | `Hello World!` |
//! | 3 | `/big` | 1 MiB: a line for each 16 bytes, which says where it is |
//! | 4 | `/dir` | |
//! | 5, 6, 7 | `/dir/a`, `/dir/b`, `/dir/c` | their names |
//!
//! What is made gets the numbers that follow.

use libc::{S_IFDIR, S_IFMT, S_IFREG};
use rawfuse::{
    abi::{self, fattr, ROOT_ID},
    DirEntries, Errno, Operation, Request,
};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
};
use zerocopy::{Immutable, IntoBytes};

/// The largest a file may be.
const MAX_SIZE: u64 = 64 << 20;

/// All files.
pub struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
    /// For how many seconds names and attributes stay valid.
    valid: u64,
}

#[derive(Default)]
struct Node {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
    /// Of a file.
    data: Vec<u8>,
    /// Of a directory.
    names: BTreeMap<OsString, u64>,
    /// It has a name.
    named: bool,
    /// How often the kernel has looked it up and not forgotten it.
    lookups: u64,
}

impl Node {
    fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }
}

type Answer = Result<Vec<u8>, Errno>;

fn bytes<T: IntoBytes + Immutable>(out: &T) -> Answer {
    Ok(out.as_bytes().to_vec())
}

impl Tree {
    /// The files that there are at first; names and attributes stay valid for so many seconds.
    pub fn new(valid: u64) -> Self {
        let root = Node {
            mode: S_IFDIR | 0o755,
            named: true,
            ..Default::default()
        };
        let mut tree = Self {
            nodes: HashMap::from([(ROOT_ID, root)]),
            next: ROOT_ID + 1,
            valid,
        };
        let big: String = (0..1 << 16).map(|at| format!("{:15}\n", at * 16)).collect();
        let mut add = |dir, name: &str, mode, data: &str| {
            let node = Node {
                mode,
                data: data.into(),
                named: true,
                ..Default::default()
            };
            tree.insert(dir, name.as_ref(), node)
        };
        add(ROOT_ID, "hello", S_IFREG | 0o644, "Hello World!\n");
        add(ROOT_ID, "big", S_IFREG | 0o644, &big);
        let dir = add(ROOT_ID, "dir", S_IFDIR | 0o755, "");
        for name in ["a", "b", "c"] {
            add(dir, name, S_IFREG | 0o644, &format!("{name}\n"));
        }
        tree
    }

    fn insert(&mut self, dir: u64, name: &OsStr, node: Node) -> u64 {
        let nodeid = self.next;
        self.next += 1;
        if let Some(dir) = self.nodes.get_mut(&dir) {
            dir.names.insert(name.into(), nodeid);
        }
        self.nodes.insert(nodeid, node);
        nodeid
    }

    /// Does what a request asks for, and gives what belongs into its answer.
    ///
    /// # Errors
    ///
    /// What belongs into its answer, too.
    pub fn answer(&mut self, request: &Request<'_>) -> Answer {
        let nodeid = request.nodeid();
        match request.operation().map_err(|_| Errno::EIO)? {
            Operation::Lookup { name } => {
                let found = self.child(nodeid, name)?;
                bytes(&self.entry(found)?)
            }
            Operation::Forget(arg) => {
                self.forget(nodeid, arg.nlookup);
                Ok(Vec::new())
            }
            Operation::BatchForget(all) => {
                for one in all {
                    self.forget(one.nodeid, one.nlookup);
                }
                Ok(Vec::new())
            }
            Operation::Getattr(_) => bytes(&self.attr_out(nodeid)?),
            Operation::Setattr(arg) => self.setattr(nodeid, arg),
            Operation::Open(_) | Operation::Opendir(_) => {
                self.node(nodeid)?;
                bytes(&abi::OpenOut::default())
            }
            Operation::Read(arg) => {
                let data = &self.node(nodeid)?.data;
                let start = usize::try_from(arg.offset).unwrap_or(usize::MAX);
                let rest = data.get(start..).unwrap_or_default();
                Ok(rest[..rest.len().min(arg.size as usize)].to_vec())
            }
            Operation::Write { arg, data } => self.write(nodeid, arg.offset, data),
            Operation::Readdir(arg) => self.readdir(nodeid, arg),
            Operation::Mknod { arg, name } => {
                let made = self.make(request, name, arg.mode)?;
                bytes(&self.entry(made)?)
            }
            Operation::Mkdir { arg, name } => {
                let made = self.make(request, name, S_IFDIR | arg.mode & !S_IFMT)?;
                bytes(&self.entry(made)?)
            }
            Operation::Create { arg, name } => {
                let made = self.make(request, name, arg.mode)?;
                let entry = self.entry(made)?;
                Ok([entry.as_bytes(), abi::OpenOut::default().as_bytes()].concat())
            }
            Operation::Unlink { name } | Operation::Rmdir { name } => {
                let child = self.child(nodeid, name)?;
                self.check_empty(child)?;
                self.unname(nodeid, name)?;
                Ok(Vec::new())
            }
            Operation::Rename { arg, name, newname } => {
                self.rename((nodeid, name), (arg.newdir, newname))
            }
            Operation::Rename2 { arg, name, newname } if arg.flags == 0 => {
                self.rename((nodeid, name), (arg.newdir, newname))
            }
            Operation::Rename2 { .. } => Err(Errno::EINVAL),
            Operation::Statfs => bytes(&abi::StatfsOut {
                st: abi::Kstatfs {
                    namelen: 255,
                    bsize: 4096,
                    ..Default::default()
                },
            }),
            Operation::Flush(_)
            | Operation::Release(_)
            | Operation::Releasedir(_)
            | Operation::Fsync(_)
            | Operation::Fsyncdir(_)
            | Operation::NotifyReply { .. }
            | Operation::Destroy => Ok(Vec::new()),
            _ => Err(Errno::ENOSYS),
        }
    }

    fn node(&self, nodeid: u64) -> Result<&Node, Errno> {
        self.nodes.get(&nodeid).ok_or(Errno::ESTALE)
    }

    fn node_mut(&mut self, nodeid: u64) -> Result<&mut Node, Errno> {
        self.nodes.get_mut(&nodeid).ok_or(Errno::ESTALE)
    }

    fn child(&self, dir: u64, name: &OsStr) -> Result<u64, Errno> {
        let names = &self.node(dir)?.names;
        names.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// The answer to a look-up, which counts.
    fn entry(&mut self, nodeid: u64) -> Result<abi::EntryOut, Errno> {
        self.node_mut(nodeid)?.lookups += 1;
        let attr = self.attr_out(nodeid)?;
        Ok(abi::EntryOut {
            nodeid,
            entry_valid: self.valid,
            attr_valid: self.valid,
            attr: attr.attr,
            ..Default::default()
        })
    }

    fn attr_out(&self, nodeid: u64) -> Result<abi::AttrOut, Errno> {
        let node = self.node(nodeid)?;
        let size = node.data.len() as u64;
        let attr = abi::Attr {
            ino: nodeid,
            size,
            blocks: size.div_ceil(512),
            mtime: node.mtime,
            mode: node.mode,
            nlink: match (node.named, node.is_dir()) {
                (false, _) => 0,
                (true, false) => 1,
                (true, true) => 2,
            },
            uid: node.uid,
            gid: node.gid,
            blksize: 4096,
            ..Default::default()
        };
        Ok(abi::AttrOut {
            attr_valid: self.valid,
            attr,
            ..Default::default()
        })
    }

    fn setattr(&mut self, nodeid: u64, arg: &abi::SetattrIn) -> Answer {
        let node = self.node_mut(nodeid)?;
        let set = |bit| arg.valid & bit != 0;
        if set(fattr::SIZE) {
            if arg.size > MAX_SIZE {
                return Err(Errno::EFBIG);
            }
            node.data.resize(arg.size as usize, 0);
        }
        if set(fattr::MODE) {
            node.mode = node.mode & S_IFMT | arg.mode & !S_IFMT;
        }
        if set(fattr::UID) {
            node.uid = arg.uid;
        }
        if set(fattr::GID) {
            node.gid = arg.gid;
        }
        if set(fattr::MTIME) {
            node.mtime = arg.mtime;
        }
        bytes(&self.attr_out(nodeid)?)
    }

    fn write(&mut self, nodeid: u64, offset: u64, data: &[u8]) -> Answer {
        let node = self.node_mut(nodeid)?;
        let end = offset.saturating_add(data.len() as u64);
        if end > MAX_SIZE {
            return Err(Errno::EFBIG);
        }
        let (start, end) = (offset as usize, end as usize);
        if node.data.len() < end {
            node.data.resize(end, 0);
        }
        node.data[start..end].copy_from_slice(data);
        bytes(&abi::WriteOut {
            size: data.len() as u32,
            padding: 0,
        })
    }

    fn readdir(&self, nodeid: u64, arg: &abi::ReadIn) -> Answer {
        let own = [(OsStr::new("."), nodeid), (OsStr::new(".."), ROOT_ID)];
        let names = &self.node(nodeid)?.names;
        let names = names.iter().map(|(name, nodeid)| (&name[..], *nodeid));
        let mut entries = DirEntries::new(arg.size as usize);
        for (off, (name, nodeid)) in (1..).zip(own.into_iter().chain(names)) {
            let kind = (self.node(nodeid)?.mode >> 12) as u8;
            if off > arg.offset && !entries.push(nodeid, off, kind, name) {
                break;
            }
        }
        Ok(entries.into_bytes())
    }

    fn make(&mut self, request: &Request<'_>, name: &OsStr, mode: u32) -> Result<u64, Errno> {
        match self.child(request.nodeid(), name) {
            Err(Errno::ENOENT) => {}
            Ok(_) => return Err(Errno::EEXIST),
            Err(error) => return Err(error),
        }
        let node = Node {
            mode,
            uid: request.header().uid,
            gid: request.header().gid,
            named: true,
            ..Default::default()
        };
        Ok(self.insert(request.nodeid(), name, node))
    }

    fn check_empty(&self, nodeid: u64) -> Result<(), Errno> {
        match self.node(nodeid)?.names.is_empty() {
            true => Ok(()),
            false => Err(Errno::ENOTEMPTY),
        }
    }

    /// Takes a name away.
    fn unname(&mut self, dir: u64, name: &OsStr) -> Result<(), Errno> {
        let taken = self.node_mut(dir)?.names.remove(name);
        let nodeid = taken.ok_or(Errno::ENOENT)?;
        let node = self.node_mut(nodeid)?;
        node.named = false;
        self.forget(nodeid, 0);
        Ok(())
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Answer {
        let moved = self.child(from.0, from.1)?;
        self.node(to.0)?;
        match self.child(to.0, to.1) {
            Ok(there) if there == moved => return Ok(Vec::new()),
            Ok(there) => {
                self.check_empty(there)?;
                self.unname(to.0, to.1)?;
            }
            Err(_) => {}
        }
        self.node_mut(from.0)?.names.remove(from.1);
        self.node_mut(to.0)?.names.insert(to.1.into(), moved);
        Ok(Vec::new())
    }

    /// The kernel has so many fewer references. What has none, and no name either, is gone.
    fn forget(&mut self, nodeid: u64, count: u64) {
        if let Some(node) = self.nodes.get_mut(&nodeid) {
            node.lookups = node.lookups.saturating_sub(count);
            if node.lookups == 0 && !node.named {
                self.nodes.remove(&nodeid);
            }
        }
    }
}
