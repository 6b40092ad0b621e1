// SPDX-License-Identifier: GPL-2.0

//! How the model makes, links, renames and removes.

use super::{answer, Answer, Model};
use crate::fs::Req;
use libc::{S_IFDIR, S_IFLNK, S_IFMT};
use rawfuse::{abi, Errno, Operation};
use std::ffi::OsStr;
use zerocopy::IntoBytes;

impl Model {
    /// What the model answers to a request that changes names in the directory it is on, which is
    /// there.
    pub(super) fn change_names(&mut self, req: &Req) -> Answer {
        let dir = req.nodeid();
        let done = match req.operation() {
            Operation::Mknod { arg, name } => self.make(req, name, arg.mode, b"", arg.rdev),
            Operation::Mkdir { arg, name } => self.make(req, name, S_IFDIR | arg.mode, b"", 0),
            Operation::Symlink { name, target } => {
                self.make(req, name, S_IFLNK | 0o777, target.as_encoded_bytes(), 0)
            }
            Operation::Create { arg, name } => match self.make(req, name, arg.mode, b"", 0) {
                Ok(Answer::Bytes(entry)) => Ok(self.opened(entry)),
                other => other,
            },
            Operation::Tmpfile { arg, .. } => {
                let nodeid = self.make_node(req, arg.mode, b"", 0);
                self.node(nodeid).attr.nlink = 0;
                let entry = self.entry(nodeid).as_bytes().to_vec();
                Ok(self.opened(entry))
            }
            Operation::Link { arg, name } => self.add_name(dir, name, arg.oldnodeid),
            Operation::Unlink { name } => self.remove(dir, name, false),
            Operation::Rmdir { name } => self.remove(dir, name, true),
            Operation::Rename { arg, name, newname } => {
                self.rename(dir, name, arg.newdir, newname, 0)
            }
            Operation::Rename2 { arg, name, newname } => {
                self.rename(dir, name, arg.newdir, newname, arg.flags)
            }
            _ => Err(Errno::ENOSYS),
        };
        done.unwrap_or_else(Answer::Error)
    }

    /// The node that `name` in `dir` leads to.
    pub fn child(&self, dir: u64, name: &str) -> Option<u64> {
        self.nodes.get(&dir)?.entries.get(name).copied()
    }

    fn make_node(&mut self, req: &Req, mode: u32, data: &[u8], rdev: u32) -> u64 {
        let nodeid = self.nodes.last_key_value().map_or(1, |(last, _)| last + 1);
        self.add(nodeid, mode, data);
        let attr = &mut self.node(nodeid).attr;
        attr.rdev = rdev;
        (attr.uid, attr.gid) = (req.header().uid, req.header().gid);
        nodeid
    }

    fn make(
        &mut self,
        req: &Req,
        name: &OsStr,
        mode: u32,
        data: &[u8],
        rdev: u32,
    ) -> Result<Answer, Errno> {
        let name = name.to_string_lossy();
        if self.child(req.nodeid(), &name).is_some() {
            return Err(Errno::EEXIST);
        }
        let nodeid = self.make_node(req, mode, data, rdev);
        self.link(req.nodeid(), &name, nodeid);
        Ok(answer(&self.entry(nodeid)))
    }

    fn opened(&self, mut entry: Vec<u8>) -> Answer {
        let nodeid = u64::from_ne_bytes(entry[..8].try_into().expect("a node ID"));
        let open = abi::OpenOut {
            fh: nodeid + 1000,
            open_flags: self.open_flags,
            ..Default::default()
        };
        entry.extend(open.as_bytes());
        Answer::Bytes(entry)
    }

    fn add_name(&mut self, dir: u64, name: &OsStr, nodeid: u64) -> Result<Answer, Errno> {
        let name = name.to_string_lossy();
        if self.child(dir, &name).is_some() {
            return Err(Errno::EEXIST);
        }
        self.link(dir, &name, nodeid);
        self.node(nodeid).attr.nlink += 1;
        Ok(answer(&self.entry(nodeid)))
    }

    fn is_directory(&self, nodeid: u64) -> bool {
        let node = self.nodes.get(&nodeid);
        node.is_some_and(|node| node.attr.mode & S_IFMT == S_IFDIR)
    }

    fn remove(&mut self, dir: u64, name: &OsStr, directory: bool) -> Result<Answer, Errno> {
        let name = name.to_string_lossy();
        let nodeid = self.child(dir, &name).ok_or(Errno::ENOENT)?;
        match (directory, self.is_directory(nodeid)) {
            (true, false) => return Err(Errno::ENOTDIR),
            (false, true) => return Err(Errno::EISDIR),
            (true, true) if !self.node(nodeid).entries.is_empty() => return Err(Errno::ENOTEMPTY),
            _ => {}
        }
        self.node(dir).entries.remove(&*name);
        let attr = &mut self.node(nodeid).attr;
        attr.nlink = if directory { 0 } else { attr.nlink - 1 };
        Ok(Answer::Bytes(Vec::new()))
    }

    fn rename(
        &mut self,
        dir: u64,
        name: &OsStr,
        newdir: u64,
        newname: &OsStr,
        flags: u32,
    ) -> Result<Answer, Errno> {
        let (from, to) = (name.to_string_lossy(), newname.to_string_lossy());
        let old = self.child(dir, &from).ok_or(Errno::ENOENT)?;
        match self.child(newdir, &to) {
            Some(_) if flags & libc::RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
            Some(new) if flags & libc::RENAME_EXCHANGE != 0 => {
                self.link(dir, &from, new);
                self.link(newdir, &to, old);
                return Ok(Answer::Bytes(Vec::new()));
            }
            Some(_) => {
                self.remove(newdir, newname, self.is_directory(old))?;
            }
            None if flags & libc::RENAME_EXCHANGE != 0 => return Err(Errno::ENOENT),
            None => {}
        }
        self.node(dir).entries.remove(&*from);
        self.link(newdir, &to, old);
        Ok(Answer::Bytes(Vec::new()))
    }
}
