// SPDX-License-Identifier: GPL-2.0

//! The inodes that the kernel knows of.

use rustix::{
    fs::{fstat, Stat},
    io::{Errno, Result},
};
use std::{
    collections::HashMap,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

const ROOT: u64 = rawfuse::abi::ROOT_ID;

/// An inode of the directory below, held by a handle of the kind `O_PATH`: it needs no name, nor
/// any right to what is in it. While the handle is there, no other inode gets its number.
#[derive(Debug)]
pub struct Node {
    id: u64,
    handle: OwnedFd,
}

impl Node {
    /// The node ID.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// A path to the inode itself, whatever its names are by now; also if it is a symbolic link.
    pub fn path(&self) -> String {
        path(&self.handle)
    }

    /// Its attributes.
    pub fn stat(&self) -> Result<Stat> {
        fstat(&self.handle)
    }
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// A path to what is open as `fd`.
pub fn path(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

/// What tells two inodes apart.
type Key = (u64, u64);

fn key(stat: &Stat) -> Key {
    (stat.st_dev, stat.st_ino)
}

/// All nodes. One inode is one node, however many names it has.
#[derive(Debug)]
pub struct Nodes {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    nodes: HashMap<u64, Known>,
    ids: HashMap<Key, u64>,
    /// The ID of the next one. None is given twice, which is why all have the generation 0.
    next: u64,
}

#[derive(Debug)]
struct Known {
    node: Arc<Node>,
    key: Key,
    /// How often the kernel has been told of it, less what it has forgotten.
    lookups: u64,
}

impl Nodes {
    /// A table with nothing but the root, which `handle` is of.
    pub fn new(handle: OwnedFd) -> Result<Self> {
        let key = key(&fstat(&handle)?);
        let root = Known {
            node: Arc::new(Node { id: ROOT, handle }),
            key,
            lookups: 1,
        };
        Ok(Self {
            table: Mutex::new(Table {
                nodes: HashMap::from([(ROOT, root)]),
                ids: HashMap::from([(key, ROOT)]),
                next: ROOT + 1,
            }),
        })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node of that ID.
    pub fn get(&self, id: u64) -> Result<Arc<Node>> {
        let table = self.table();
        let known = table.nodes.get(&id).ok_or(Errno::STALE)?;
        Ok(known.node.clone())
    }

    /// The node of the inode that `handle` is of, which the kernel is about to be told of once more.
    pub fn look_up(&self, handle: OwnedFd, stat: &Stat) -> Arc<Node> {
        let key = key(stat);
        let table = &mut *self.table();
        let known = table.ids.get(&key).and_then(|id| table.nodes.get_mut(id));
        if let Some(known) = known {
            known.lookups += 1;
            return known.node.clone();
        }
        let id = table.next;
        table.next += 1;
        let node = Arc::new(Node { id, handle });
        table.ids.insert(key, id);
        table.nodes.insert(
            id,
            Known {
                node: node.clone(),
                key,
                lookups: 1,
            },
        );
        node
    }

    /// The kernel has dropped `nlookup` of its references.
    pub fn forget(&self, id: u64, nlookup: u64) {
        if id == ROOT {
            return;
        }
        let mut table = self.table();
        let Some(known) = table.nodes.get_mut(&id) else {
            return;
        };
        known.lookups = known.lookups.saturating_sub(nlookup);
        if known.lookups > 0 {
            return;
        }
        let gone = table.nodes.remove(&id);
        if let Some(known) = &gone {
            table.ids.remove(&known.key);
        }
        // The handle is closed, which may take its time, when nobody waits for the table.
        drop(table);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{open, Mode, OFlags};

    fn handle(path: &str) -> (OwnedFd, Stat) {
        let handle = open(path, OFlags::PATH, Mode::empty()).unwrap();
        let stat = fstat(&handle).unwrap();
        (handle, stat)
    }

    #[test]
    fn an_inode_is_one_node_until_it_is_forgotten() {
        let nodes = Nodes::new(handle("/").0).unwrap();
        let look_up = |path| {
            let (handle, stat) = handle(path);
            nodes.look_up(handle, &stat).id()
        };
        let first = look_up("/proc/self/exe");
        assert_ne!(first, ROOT);
        assert_eq!(look_up("/proc/self/exe"), first);
        assert_eq!(look_up("/"), ROOT);
        nodes.forget(first, 1);
        assert!(nodes.get(first).is_ok());
        nodes.forget(first, 1);
        assert_eq!(nodes.get(first).err(), Some(Errno::STALE));
        assert_ne!(look_up("/proc/self/exe"), first);
        nodes.forget(ROOT, 9);
        assert!(nodes.get(ROOT).is_ok());
    }
}
