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

use libc::{S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use rawfuse::{
    abi::{self, fattr, ROOT_ID},
    DirEntries, Errno, Operation, Request,
};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    os::unix::ffi::OsStrExt,
    sync::Arc,
};
use zerocopy::{Immutable, IntoBytes};

/// The largest a file may be.
const MAX_SIZE: u64 = 64 << 20;

/// All files. A copy shares what is in them until one of the two is written to.
#[derive(Clone)]
pub struct Tree {
    nodes: HashMap<u64, Node>,
    next: u64,
    /// For how many seconds names and attributes stay valid.
    valid: u64,
}

#[derive(Clone, Default)]
struct Node {
    mode: u32,
    uid: u32,
    gid: u32,
    mtime: u64,
    /// Of a file; what a symbolic link says.
    data: Arc<Vec<u8>>,
    /// Of a directory.
    names: BTreeMap<OsString, u64>,
    /// How many names it has.
    links: u32,
    /// How often the kernel has looked it up and not forgotten it.
    lookups: u64,
}

impl Node {
    fn is_dir(&self) -> bool {
        self.mode & S_IFMT == S_IFDIR
    }
}

type Answer = Result<Vec<u8>, Errno>;

fn bytes<T: IntoBytes + Immutable + ?Sized>(out: &T) -> Answer {
    Ok(out.as_bytes().to_vec())
}

/// A node that a request makes. It has no name yet.
fn node_of(request: &Request<'_>, mode: u32) -> Node {
    Node {
        mode,
        uid: request.header().uid,
        gid: request.header().gid,
        ..Default::default()
    }
}

impl Tree {
    /// The files that there are at first; names and attributes stay valid for so many seconds.
    pub fn new(valid: u64) -> Self {
        let root = Node {
            mode: S_IFDIR | 0o755,
            links: 1,
            ..Default::default()
        };
        let mut tree = Self {
            nodes: HashMap::from([(ROOT_ID, root)]),
            next: ROOT_ID + 1,
            valid,
        };
        let big: String = (0..1 << 16).map(|at| format!("{:15}\n", at * 16)).collect();
        let mut add = |dir, name: &str, mode, data: &str| {
            let made = tree.insert(Node {
                mode,
                data: Arc::new(data.into()),
                ..Default::default()
            });
            // The first files have different names, and directories that are there.
            let _ = tree.name(dir, name.as_ref(), made);
            made
        };
        add(ROOT_ID, "hello", S_IFREG | 0o644, "Hello World!\n");
        add(ROOT_ID, "big", S_IFREG | 0o644, &big);
        let dir = add(ROOT_ID, "dir", S_IFDIR | 0o755, "");
        for name in ["a", "b", "c"] {
            add(dir, name, S_IFREG | 0o644, &format!("{name}\n"));
        }
        tree
    }

    /// The same files; names and attributes stay valid for so many seconds.
    pub fn valid_for(mut self, seconds: u64) -> Self {
        self.valid = seconds;
        self
    }

    fn insert(&mut self, node: Node) -> u64 {
        let nodeid = self.next;
        self.next += 1;
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
                // By these two an exported file system finds what it has a handle of.
                let found = match name.as_bytes() {
                    b"." => nodeid,
                    b".." => ROOT_ID,
                    _ => self.child(nodeid, name)?,
                };
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
            Operation::Readdirplus(arg) => self.readdirplus(nodeid, arg),
            Operation::Readlink => bytes(&self.node(nodeid)?.data[..]),
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
            Operation::Tmpfile { arg, .. } => {
                let made = self.insert(node_of(request, arg.mode));
                let entry = self.entry(made)?;
                Ok([entry.as_bytes(), abi::OpenOut::default().as_bytes()].concat())
            }
            Operation::Symlink { name, target } => {
                let made = self.make(request, name, S_IFLNK | 0o777)?;
                self.node_mut(made)?.data = Arc::new(target.as_bytes().into());
                bytes(&self.entry(made)?)
            }
            Operation::Link { arg, name } => {
                self.node(arg.oldnodeid)?;
                self.name(nodeid, name, arg.oldnodeid)?;
                bytes(&self.entry(arg.oldnodeid)?)
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

    /// The attributes of a node.
    ///
    /// # Errors
    ///
    /// ESTALE when there is none of that number.
    pub fn attr_out(&self, nodeid: u64) -> Result<abi::AttrOut, Errno> {
        let node = self.node(nodeid)?;
        let size = node.data.len() as u64;
        let attr = abi::Attr {
            ino: nodeid,
            size,
            blocks: size.div_ceil(512),
            mtime: node.mtime,
            mode: node.mode,
            // A directory's own dot is one, too.
            nlink: node.links + u32::from(node.is_dir() && node.links > 0),
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
            Arc::make_mut(&mut node.data).resize(arg.size as usize, 0);
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
        let there = Arc::make_mut(&mut node.data);
        if there.len() < end {
            there.resize(end, 0);
        }
        there[start..end].copy_from_slice(data);
        bytes(&abi::WriteOut {
            size: data.len() as u32,
            padding: 0,
        })
    }

    /// The entries of a directory: their offsets, names and nodes.
    fn entries(&self, nodeid: u64) -> Result<Vec<(u64, OsString, u64)>, Errno> {
        let own = [(OsString::from("."), nodeid), ("..".into(), ROOT_ID)];
        let names = self.node(nodeid)?.names.clone();
        let all = own.into_iter().chain(names);
        Ok((1..)
            .zip(all)
            .map(|(off, (name, nodeid))| (off, name, nodeid))
            .collect())
    }

    fn readdir(&self, nodeid: u64, arg: &abi::ReadIn) -> Answer {
        let mut entries = DirEntries::new(arg.size as usize);
        for (off, name, nodeid) in self.entries(nodeid)? {
            let kind = (self.node(nodeid)?.mode >> 12) as u8;
            if off > arg.offset && !entries.push(nodeid, off, kind, &name) {
                break;
            }
        }
        Ok(entries.into_bytes())
    }

    fn readdirplus(&mut self, nodeid: u64, arg: &abi::ReadIn) -> Answer {
        let mut entries = DirEntries::new(arg.size as usize);
        for (off, name, nodeid) in self.entries(nodeid)? {
            let kind = (self.node(nodeid)?.mode >> 12) as u8;
            // The dots count as names, not as looked up.
            let look_up = || match off {
                1 | 2 => abi::EntryOut::default(),
                _ => self.entry(nodeid).unwrap_or_default(),
            };
            if off > arg.offset && !entries.push_plus(nodeid, off, kind, &name, look_up) {
                break;
            }
        }
        Ok(entries.into_bytes())
    }

    fn make(&mut self, request: &Request<'_>, name: &OsStr, mode: u32) -> Result<u64, Errno> {
        let made = self.insert(node_of(request, mode));
        let named = self.name(request.nodeid(), name, made);
        if named.is_err() {
            self.nodes.remove(&made);
        }
        named.and(Ok(made))
    }

    /// Gives a node a name, or one more.
    fn name(&mut self, dir: u64, name: &OsStr, nodeid: u64) -> Result<(), Errno> {
        match self.child(dir, name) {
            Err(Errno::ENOENT) => {}
            Ok(_) => return Err(Errno::EEXIST),
            Err(error) => return Err(error),
        }
        self.node_mut(dir)?.names.insert(name.into(), nodeid);
        self.node_mut(nodeid)?.links += 1;
        Ok(())
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
        node.links -= 1;
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
            if node.lookups == 0 && node.links == 0 {
                self.nodes.remove(&nodeid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rawfuse::{abi::Opcode, Buffer};

    fn ask(tree: &mut Tree, opcode: Opcode, nodeid: u64, body: &[&[u8]]) -> Answer {
        let body = body.concat();
        let header = abi::InHeader {
            len: (size_of::<abi::InHeader>() + body.len()) as u32,
            opcode: opcode as u32,
            unique: 2,
            nodeid,
            ..Default::default()
        };
        let mut buffer = Buffer::new(header.len as usize);
        let len = header.len as usize;
        buffer.bytes_mut()[..len].copy_from_slice(&[header.as_bytes(), &body].concat());
        tree.answer(&Request::new(&buffer.bytes()[..len]).unwrap())
    }

    fn nodeid(answer: Answer) -> u64 {
        u64::from_ne_bytes(answer.unwrap()[..8].try_into().unwrap())
    }

    #[test]
    fn a_link_says_what_it_was_told() {
        let mut tree = Tree::new(0);
        let made = nodeid(ask(
            &mut tree,
            Opcode::Symlink,
            ROOT_ID,
            &[b"link\0", b"dir/a\0"],
        ));
        assert_eq!(
            ask(&mut tree, Opcode::Readlink, made, &[]).unwrap(),
            b"dir/a"
        );
    }

    #[test]
    fn what_has_two_names_outlives_one() {
        let mut tree = Tree::new(0);
        let hello = nodeid(ask(&mut tree, Opcode::Lookup, ROOT_ID, &[b"hello\0"]));
        let link = abi::LinkIn { oldnodeid: hello };
        let other = ask(
            &mut tree,
            Opcode::Link,
            ROOT_ID,
            &[link.as_bytes(), b"other\0"],
        );
        assert_eq!(nodeid(other), hello);
        let again = ask(
            &mut tree,
            Opcode::Link,
            ROOT_ID,
            &[link.as_bytes(), b"other\0"],
        );
        assert_eq!(again, Err(Errno::EEXIST));
        ask(&mut tree, Opcode::Unlink, ROOT_ID, &[b"hello\0"]).unwrap();
        let all = abi::ForgetIn { nlookup: 2 };
        ask(&mut tree, Opcode::Forget, hello, &[all.as_bytes()]).unwrap();
        assert_eq!(
            nodeid(ask(&mut tree, Opcode::Lookup, ROOT_ID, &[b"other\0"])),
            hello
        );
        ask(&mut tree, Opcode::Unlink, ROOT_ID, &[b"other\0"]).unwrap();
        let one = abi::ForgetIn { nlookup: 1 };
        ask(&mut tree, Opcode::Forget, hello, &[one.as_bytes()]).unwrap();
        assert_eq!(
            ask(&mut tree, Opcode::Getattr, hello, &[&[0; 16]]),
            Err(Errno::ESTALE)
        );
    }

    #[test]
    fn a_listing_with_attributes_counts_as_looked_up() {
        let mut tree = Tree::new(0);
        let arg = abi::ReadIn {
            size: 4096,
            ..Default::default()
        };
        let listed = ask(&mut tree, Opcode::Readdirplus, 4, &[arg.as_bytes()]).unwrap();
        assert_eq!(listed.len() % 8, 0);
        let counts = [4, 5, 6, 7].map(|nodeid| tree.nodes[&nodeid].lookups);
        assert_eq!(counts, [0, 1, 1, 1]);
    }
}
