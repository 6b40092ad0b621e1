// SPDX-License-Identifier: GPL-2.0

//! A plain table of names and nodes, which looks at everything each time.

use pathfs::{fuser::Errno, NodeId, ROOT};
use std::{collections::BTreeMap, ffi::OsString};

pub type Name = (NodeId, OsString);

/// Nodes, with what the kernel was told of them and what is open, and names.
pub struct Plain {
    pub nlookup: BTreeMap<NodeId, u64>,
    pub opens: BTreeMap<NodeId, u32>,
    pub names: BTreeMap<Name, NodeId>,
}

impl Plain {
    /// One with nothing but the root in it.
    pub fn new() -> Self {
        Self {
            nlookup: [(ROOT, 0)].into(),
            opens: BTreeMap::new(),
            names: BTreeMap::new(),
        }
    }

    pub fn is_open(&self, id: NodeId) -> bool {
        self.opens.get(&id).is_some_and(|&opens| opens > 0)
    }

    pub fn has_children(&self, id: NodeId) -> bool {
        self.names.keys().any(|name| name.0 == id)
    }

    pub fn names_of(&self, id: NodeId) -> usize {
        self.names.values().filter(|&&node| node == id).count()
    }

    pub fn check_directory(&self, id: NodeId) -> Result<(), Errno> {
        match self.nlookup.contains_key(&id) {
            false => Err(Errno::ESTALE),
            true if self.names_of(id) > 1 => Err(Errno::ENOTDIR),
            true => Ok(()),
        }
    }

    /// Drops what nobody needs.
    pub fn collect(&mut self) {
        while let Some(&id) = self.nlookup.iter().find_map(|(id, &nlookup)| {
            let needed = nlookup > 0 || self.is_open(*id) || self.has_children(*id);
            (*id != ROOT && !needed).then_some(id)
        }) {
            self.nlookup.remove(&id);
            self.names.retain(|_, node| *node != id);
        }
    }

    pub fn is_below(&self, id: NodeId, above: NodeId) -> bool {
        id == above
            || self
                .names
                .iter()
                .any(|(name, &node)| node == id && self.is_below(name.0, above))
    }

    pub fn rename(&mut self, from: Name, to: Name) -> Result<(), Errno> {
        self.check_directory(to.0)?;
        let moved = self.names.get(&from).copied();
        if from == to || moved.is_some() && moved == self.names.get(&to).copied() {
            return Ok(());
        }
        if moved.is_some_and(|moved| self.is_below(to.0, moved)) {
            return Err(Errno::EINVAL);
        }
        self.names.remove(&to);
        if let Some(moved) = moved {
            self.names.insert(to, moved);
            self.names.remove(&from);
        }
        self.collect();
        Ok(())
    }

    pub fn exchange(&mut self, one: Name, other: Name) -> Result<(), Errno> {
        self.check_directory(one.0)?;
        self.check_directory(other.0)?;
        let first = self.names.get(&one).copied();
        let second = self.names.get(&other).copied();
        if one == other || first.is_some() && first == second {
            return Ok(());
        }
        let into = |node: Option<NodeId>, dir| node.is_some_and(|node| self.is_below(dir, node));
        if into(first, other.0) || into(second, one.0) {
            return Err(Errno::EINVAL);
        }
        self.names.remove(&one);
        self.names.remove(&other);
        self.names.extend(first.map(|node| (other, node)));
        self.names.extend(second.map(|node| (one, node)));
        self.collect();
        Ok(())
    }
}
