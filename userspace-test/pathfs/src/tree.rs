// SPDX-License-Identifier: GPL-2.0

//! Paths that stay what they are for as long as they are used.
//!
//! A path is a string, and what it leads to is another matter as soon as somebody renames one of
//! the directories on the way. So an operation *holds* its path: every node that it goes through.
//! Who is about to change a name *claims* the node that has it, which waits until no path goes
//! through it, and until then lets no other begin. As much is taken at once or nothing, and what is
//! waited for is always further down than what is held, so that nobody waits in a circle.

use crate::table::{Node, NodeId, Table};
use fuser::Errno;
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        Condvar, Mutex, MutexGuard, PoisonError,
    },
};

/// A table that many threads use.
pub(crate) struct Tree {
    table: Mutex<Table>,
    changed: Condvar,
    /// How many threads wait for a change; changed and read with the table locked.
    waiting: AtomicUsize,
}

/// A name in a directory.
pub type Place<'a> = (NodeId, &'a OsStr);

/// Whose path.
#[derive(Clone, Copy)]
pub(crate) enum Of<'a> {
    /// That of a node. It may have none: its name may have been removed.
    Node(NodeId),
    /// That of a name, which need not exist.
    Name(Place<'a>),
}

/// A path that stays what it is until this value goes.
pub(crate) struct Held<'a> {
    tree: &'a Tree,
    /// The last node on the way that is held.
    node: NodeId,
    /// What the path ends at, if it has a node and that is not on the way.
    last: Option<NodeId>,
    path: Option<PathBuf>,
}

impl Held<'_> {
    /// The path.
    ///
    /// # Errors
    ///
    /// ENOENT when the node has none any more.
    pub fn path(&self) -> Result<&Path, Errno> {
        self.path.as_deref().ok_or(Errno::ENOENT)
    }

    /// The path, if there is one.
    pub fn as_deref(&self) -> Option<&Path> {
        self.path.as_deref()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut table = self.tree.lock();
        table.add_holds(self.node, -1);
        if let Some(last) = self.last {
            table.add_hold(last, -1);
        }
        self.tree.tell();
    }
}

/// Names that nobody else uses until this value goes.
pub(crate) struct Claimed<'a> {
    tree: &'a Tree,
    nodes: Vec<NodeId>,
    /// The directories that they are in.
    parents: Vec<NodeId>,
    paths: Vec<PathBuf>,
}

impl Claimed<'_> {
    /// The path of the first name that was asked for.
    pub fn path(&self) -> &Path {
        self.paths.first().map_or(Path::new("/"), PathBuf::as_path)
    }

    /// The path of the second one.
    pub fn other(&self) -> &Path {
        self.paths.get(1).map_or(self.path(), PathBuf::as_path)
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        let mut table = self.tree.lock();
        for &id in &self.nodes {
            if let Some(node) = table.node_mut(id) {
                node.moving = false;
            }
            table.release(id);
        }
        for &parent in &self.parents {
            table.add_holds(parent, -1);
        }
        self.tree.tell();
    }
}

impl Table {
    /// Holds one node, or lets it go.
    fn add_hold(&mut self, id: NodeId, change: i32) {
        if let Some(node) = self.node_mut(id) {
            node.held = node.held.saturating_add_signed(change);
        }
        self.release(id);
    }

    /// Holds a node and all that its path goes through, or lets them go.
    fn add_holds(&mut self, id: NodeId, change: i32) {
        let mut at = Some(id);
        while let Some(id) = at {
            at = self.parent(id);
            self.add_hold(id, change);
        }
    }

    /// Whether any node on the way to `id`, or that one, is about to change its name.
    fn is_moving(&self, id: NodeId) -> bool {
        let mut at = Some(id);
        while let Some(id) = at {
            if self.node(id).is_some_and(|node| node.moving) {
                return true;
            }
            at = self.parent(id);
        }
        false
    }

    /// Whether a path is about to change.
    fn is_busy(&self, of: &Of<'_>) -> bool {
        match of {
            Of::Node(id) => self.is_moving(*id),
            Of::Name((parent, name)) => {
                self.is_moving(*parent) || self.is_claimed(self.find(*parent, name))
            }
        }
    }

    fn is_claimed(&self, id: Option<NodeId>) -> bool {
        let node = id.and_then(|id| self.node(id));
        node.is_some_and(|node| node.moving)
    }
}

fn child(parent: PathBuf, name: &OsStr) -> PathBuf {
    // A name that has slashes in it would be more than one; the kernel gives none.
    let mut path = parent.into_os_string();
    if path != "/" {
        path.push("/");
    }
    path.push(name);
    path.into()
}

impl Tree {
    pub fn new() -> Self {
        Self {
            table: Mutex::new(Table::new()),
            changed: Condvar::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// The table, for what needs no path. No operation of the file system is to be called
    /// meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Table> {
        // Each change of the table is whole when something panics, if it ever does.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, table: MutexGuard<'a, Table>) -> MutexGuard<'a, Table> {
        self.waiting.fetch_add(1, Relaxed);
        let result = self.changed.wait(table);
        self.waiting.fetch_sub(1, Relaxed);
        result.unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for a change. To be called with the table locked.
    fn tell(&self) {
        // It is a system call, and most often there is nobody.
        if self.waiting.load(Relaxed) > 0 {
            self.changed.notify_all();
        }
    }

    /// Holds paths, all of them at once.
    ///
    /// # Errors
    ///
    /// ENOENT for a name in a directory that has been removed, ESTALE for what there never was.
    pub fn hold<const N: usize>(&self, all: [Of<'_>; N]) -> Result<[Held<'_>; N], Errno> {
        let mut table = self.lock();
        while all.iter().any(|of| table.is_busy(of)) {
            table = self.wait(table);
        }
        let mut paths = [const { None }; N];
        for (path, of) in paths.iter_mut().zip(&all) {
            *path = match of {
                Of::Node(id) => match table.path(*id) {
                    Err(Errno::ENOENT) => None,
                    other => Some(other?),
                },
                Of::Name((parent, name)) => Some(child(table.path(*parent)?, name)),
            };
        }
        Ok(std::array::from_fn(|at| {
            let (node, last) = match all[at] {
                Of::Node(id) => (id, None),
                Of::Name((parent, name)) => (parent, table.find(parent, name)),
            };
            table.add_holds(node, 1);
            if let Some(last) = last {
                table.add_hold(last, 1);
            }
            Held {
                tree: self,
                node,
                last,
                path: paths[at].take(),
            }
        }))
    }

    /// Holds the path of a node.
    pub fn hold_node(&self, id: NodeId) -> Result<Held<'_>, Errno> {
        self.hold([Of::Node(id)]).map(|[held]| held)
    }

    /// Holds the path of a name.
    pub fn hold_name(&self, place: Place<'_>) -> Result<Held<'_>, Errno> {
        self.hold([Of::Name(place)]).map(|[held]| held)
    }

    /// The path of a node as it is now, for what may wait for hours.
    pub fn glance(&self, id: NodeId) -> Option<PathBuf> {
        self.lock().path(id).ok()
    }

    /// Claims names that are to be changed.
    ///
    /// # Errors
    ///
    /// ENOENT when a directory has been removed, ESTALE when there never was one, EINVAL when one
    /// of the names is that of a directory on the way to another one.
    pub fn claim(&self, places: &[Place<'_>]) -> Result<Claimed<'_>, Errno> {
        let mut table = self.lock();
        let nodes = loop {
            let mut nodes: Vec<_> = places
                .iter()
                .filter_map(|place| table.find(place.0, place.1))
                .collect();
            nodes.dedup();
            let busy = |place: &Place<'_>| table.is_moving(place.0);
            if !places.iter().any(busy) && !nodes.iter().any(|&id| table.is_claimed(Some(id))) {
                break nodes;
            }
            table = self.wait(table);
        };
        let mut paths = Vec::new();
        for place in places {
            if nodes.iter().any(|&id| table.is_below(place.0, id)) {
                return Err(Errno::EINVAL);
            }
            paths.push(child(table.path(place.0)?, place.1));
        }
        for place in places {
            table.add_holds(place.0, 1);
        }
        let mark = |node: Option<&mut Node>| {
            if let Some(node) = node {
                node.moving = true;
            }
        };
        for &id in &nodes {
            mark(table.node_mut(id));
        }
        let in_use = |table: &Table, id| table.node(id).is_some_and(|node| node.held > 0);
        while nodes.iter().any(|&id| in_use(&table, id)) {
            table = self.wait(table);
        }
        Ok(Claimed {
            tree: self,
            nodes,
            parents: places.iter().map(|place| place.0).collect(),
            paths,
        })
    }
}
