// SPDX-License-Identifier: GPL-2.0

//! Which node has which name, and the other way round.

use crate::{
    buckets::{Buckets, Pair, MIN_BUCKETS},
    slab::Slab,
};
use fuser::Errno;
use std::{
    ffi::{OsStr, OsString},
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

/// A node's number, as it goes over the wire: where it is kept, and above that a number that is
/// another one each time. (The same comes again after 2^32 others.)
pub type NodeId = u64;

/// The root.
pub const ROOT: NodeId = 1;

/// The most buckets that one change rehashes: two for a name that comes keep a table that is half full
/// half full, four for one that goes bring a table that empties back to where it began.
const GROW: usize = 2;
const SHRINK: usize = 4;

/// Names that are no longer than that need no memory of their own.
const SHORT: usize = 46;

/// What a name is.
enum Text {
    Short(u8, [u8; SHORT]),
    Long(Box<[u8]>),
}

impl Text {
    fn new(text: &OsStr) -> Self {
        let text = text.as_bytes();
        let mut short = [0; SHORT];
        match short.get_mut(..text.len()) {
            Some(part) => {
                part.copy_from_slice(text);
                Text::Short(text.len() as u8, short)
            }
            None => Text::Long(text.into()),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Text::Short(length, text) => &text[..usize::from(*length)],
            Text::Long(text) => text,
        }
    }
}

/// One name of a node: a name in a directory.
struct Name {
    parent: NodeId,
    text: Text,
    hash: u32,
    /// What else is in its bucket.
    next: u32,
}

impl Name {
    fn is(&self, hash: u32, parent: NodeId, name: &OsStr) -> bool {
        self.hash == hash && self.parent == parent && self.text.as_bytes() == name.as_bytes()
    }
}

/// What is known of a node.
pub(crate) struct Node {
    id: NodeId,
    /// The name by which its path is built.
    name: Option<Name>,
    /// Where the first of the other names is that `link` gave it, counted from 1.
    more: u32,
    /// How often the kernel was told of it, less what it forgot.
    nlookup: u64,
    /// How many names have it as their directory.
    children: u32,
    /// How many operations use a path that goes through it, or ends at it.
    pub(crate) held: u32,
    /// How many open files it has.
    pub(crate) opens: u32,
    /// Its name is about to change.
    pub(crate) moving: bool,
    /// Which name was made up for it, if one was: it goes when it is closed.
    pub(crate) hidden: Option<NonZeroU32>,
}

impl Node {
    /// Whether it has just one name.
    pub(crate) fn has_one_name(&self) -> bool {
        self.name.is_some() && self.more == 0
    }

    /// Whether anybody needs it.
    fn is_needed(&self) -> bool {
        self.id == ROOT
            || self.nlookup > 0
            || self.children > 0
            || self.held > 0
            || self.opens > 0
            || self.moving
    }
}

/// What the table keeps.
enum Item {
    Node(Node),
    /// A second name of a node, and where the next one is.
    Alias(NodeId, Name, u32),
}

impl Item {
    /// Whose name it is.
    fn id(&self) -> NodeId {
        match self {
            Item::Node(node) => node.id,
            Item::Alias(id, ..) => *id,
        }
    }

    fn name(&self) -> Option<&Name> {
        match self {
            Item::Node(node) => node.name.as_ref(),
            Item::Alias(_, name, _) => Some(name),
        }
    }

    fn name_mut(&mut self) -> Option<&mut Name> {
        match self {
            Item::Node(node) => node.name.as_mut(),
            Item::Alias(_, name, _) => Some(name),
        }
    }
}

/// The nodes that the kernel knows of, and their names.
///
/// A node is there for as long as anybody needs it: the kernel, which was told of it and has not
/// forgotten it, an operation that uses a path through it, an open file, or a node whose path goes
/// through it. A node need not have a name: it may have been removed while it was in use.
///
/// It is one table, for both ways. A node's number says where it is kept. A directory and a name are
/// hashed into one of 8192 buckets or more, which begins a list through the nodes that are kept.
/// There are twice as many buckets as names at the least, and four times as many at the most (but for
/// those that there are to begin with): each change rehashes a few buckets to that end. All of it is in
/// memory that is got and given back a page at a time.
pub struct Table {
    items: Slab<Item>,
    buckets: Buckets,
    nodes: usize,
    names: usize,
    serial: u32,
    /// How many names were looked at in order to rehash them.
    work: u64,
    hasher: RandomState,
}

impl Default for Table {
    fn default() -> Self {
        Self::new()
    }
}

/// Where a node is kept.
fn place(id: NodeId) -> u32 {
    (id as u32).wrapping_sub(1)
}

impl Table {
    /// One with nothing but the root in it.
    pub fn new() -> Self {
        let mut table = Self {
            items: Slab::new(),
            buckets: Buckets::new(),
            nodes: 0,
            names: 0,
            serial: 0,
            work: 0,
            hasher: RandomState::new(),
        };
        // The first one that is kept is number 1: nothing can be in its way.
        let _ = table.make();
        table
    }

    /// How many nodes there are, the root among them.
    pub fn nodes(&self) -> usize {
        self.nodes
    }

    /// How many buckets there are.
    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// How many names were looked at in order to rehash them, since the beginning.
    pub fn work(&self) -> u64 {
        self.work
    }

    fn make(&mut self) -> Result<NodeId, Errno> {
        let node = Node {
            id: 0,
            name: None,
            more: 0,
            nlookup: 0,
            children: 0,
            held: 0,
            opens: 0,
            moving: false,
            hidden: None,
        };
        let place = self.items.add(Item::Node(node)).ok_or(Errno::ENFILE)?;
        // One is added to it, so that none is 0.
        let low = place.checked_add(1).ok_or(Errno::ENFILE)?;
        let id = u64::from(self.serial) << 32 | u64::from(low);
        self.serial = self.serial.wrapping_add(1);
        if let Some(Item::Node(node)) = self.items.get_mut(place) {
            node.id = id;
        }
        self.nodes += 1;
        Ok(id)
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        match self.items.get(place(id))? {
            Item::Node(node) if node.id == id => Some(node),
            _ => None,
        }
    }

    pub(crate) fn node_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        match self.items.get_mut(place(id))? {
            Item::Node(node) if node.id == id => Some(node),
            _ => None,
        }
    }

    fn hash(&self, parent: NodeId, name: &OsStr) -> u32 {
        self.hasher.hash_one((parent, name.as_bytes())) as u32
    }

    /// What is kept at `place`, counted from 1, and has a name.
    fn named(&self, place: u32) -> Option<(&Item, &Name)> {
        let item = self.items.get(place.checked_sub(1)?)?;
        Some((item, item.name()?))
    }

    /// Where a name is kept, counted from 1.
    fn place_of(&self, hash: u32, parent: NodeId, name: &OsStr) -> Option<u32> {
        let mut at = self.buckets.get(self.buckets.of(hash));
        while let Some((_, known)) = self.named(at) {
            if known.is(hash, parent, name) {
                return Some(at);
            }
            at = known.next;
        }
        None
    }

    fn entry(&self, hash: u32, parent: NodeId, name: &OsStr) -> Option<NodeId> {
        let place = self.place_of(hash, parent, name)?;
        self.named(place).map(|(item, _)| item.id())
    }

    /// Puts what is kept at `place` into a bucket; gives what comes after it.
    fn push(&mut self, bucket: usize, place: u32) -> u32 {
        let first = self.buckets.get(bucket);
        let item = self.items.get_mut(place.wrapping_sub(1));
        let Some(name) = item.and_then(Item::name_mut) else {
            return 0;
        };
        let next = std::mem::replace(&mut name.next, first);
        self.buckets.set(bucket, place);
        next
    }

    /// Puts a name that is kept at `place` into its bucket, and sees to it that there are enough.
    fn enter(&mut self, hash: u32, place: u32) {
        self.names += 1;
        self.split();
        self.push(self.buckets.of(hash), place);
    }

    /// Splits a few buckets when there are too few.
    fn split(&mut self) {
        for _ in 0..GROW {
            if self.names <= self.buckets.len() / 2 {
                return;
            }
            let Pair { old, last, bit } = self.buckets.grow();
            let mut at = self.buckets.get(old);
            self.buckets.set(old, 0);
            while let Some((_, name)) = self.named(at) {
                let bucket = if name.hash & bit == 0 { old } else { last };
                at = self.push(bucket, at);
                self.work += 1;
            }
        }
    }

    /// Takes a name that is kept at `place` out of its bucket, and sees to it that there are not too
    /// many.
    fn leave(&mut self, hash: u32, place: u32) {
        let next = self.named(place).map_or(0, |(_, name)| name.next);
        let bucket = self.buckets.of(hash);
        let mut at = self.buckets.get(bucket);
        if at == place {
            self.buckets.set(bucket, next);
        }
        while let Some((_, name)) = self.named(at) {
            let after = name.next;
            if after == place {
                let item = self.items.get_mut(at - 1);
                if let Some(name) = item.and_then(Item::name_mut) {
                    name.next = next;
                }
                break;
            }
            at = after;
        }
        self.names -= 1;
        self.merge();
    }

    /// Merges a few buckets when there are too many.
    fn merge(&mut self) {
        for _ in 0..SHRINK {
            let buckets = self.buckets.len();
            if buckets <= MIN_BUCKETS || self.names >= buckets / 4 {
                return;
            }
            let Pair { old, last, .. } = self.buckets.last_pair();
            let mut at = self.buckets.get(last);
            while at != 0 {
                at = self.push(old, at);
                self.work += 1;
            }
            self.buckets.set(last, 0);
            self.buckets.shrink();
        }
    }

    /// The node of that name in the directory `parent`.
    pub fn find(&self, parent: NodeId, name: &OsStr) -> Option<NodeId> {
        self.entry(self.hash(parent, name), parent, name)
    }

    /// Sees to it that `id` may have names in it: what has several names is no directory, whatever a
    /// confused kernel says. So no path goes in a circle.
    fn check_directory(&self, id: NodeId) -> Result<(), Errno> {
        match self.node(id).ok_or(Errno::ESTALE)?.more {
            0 => Ok(()),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The node of that name, which is made if there is none. The kernel is told of it.
    ///
    /// # Errors
    ///
    /// ESTALE when there is no such directory, ENOTDIR when it is none.
    pub fn look_up(&mut self, parent: NodeId, name: &OsStr) -> Result<NodeId, Errno> {
        let hash = self.hash(parent, name);
        let node = match self.entry(hash, parent, name) {
            Some(node) => node,
            None => {
                self.check_directory(parent)?;
                let node = self.make()?;
                // A new node's first name needs no room of its own.
                let _ = self.give(node, parent, name, hash);
                node
            }
        };
        self.count(node);
        Ok(node)
    }

    fn count(&mut self, id: NodeId) {
        if let Some(node) = self.node_mut(id) {
            node.nlookup = node.nlookup.saturating_add(1);
        }
    }

    /// Gives a node one name more. The kernel is told of the node.
    ///
    /// # Errors
    ///
    /// ESTALE when there is no such node or directory, ENOTDIR when that is none, EPERM for a
    /// node that is a directory.
    pub fn link(&mut self, id: NodeId, parent: NodeId, name: &OsStr) -> Result<(), Errno> {
        let node = self.node(id).ok_or(Errno::ESTALE)?;
        if id == ROOT || node.children > 0 || id == parent {
            return Err(Errno::EPERM);
        }
        self.check_directory(parent)?;
        // First, so that the node outlives a name that was its only one.
        self.count(id);
        let done = self.replace(id, parent, name);
        if done.is_err() {
            self.forget(id, 1);
        }
        done
    }

    /// Gives a name to the node `id`, whatever had it before.
    fn replace(&mut self, id: NodeId, parent: NodeId, name: &OsStr) -> Result<(), Errno> {
        // What goes may have been all that the directory was there for.
        self.count(parent);
        self.unlink(parent, name);
        let done = self.give(id, parent, name, self.hash(parent, name));
        self.forget(parent, 1);
        done
    }

    /// Adds a name, which nothing has. Fails with ENFILE, when there is no room for a second one.
    fn give(&mut self, id: NodeId, parent: NodeId, text: &OsStr, hash: u32) -> Result<(), Errno> {
        let name = Name {
            parent,
            text: Text::new(text),
            hash,
            next: 0,
        };
        let node = self.node_mut(id).ok_or(Errno::ESTALE)?;
        let place = match node.name {
            None => {
                node.name = Some(name);
                place(id)
            }
            Some(_) => {
                let alias = Item::Alias(id, name, node.more);
                let alias = self.items.add(alias).ok_or(Errno::ENFILE)?;
                if let Some(node) = self.node_mut(id) {
                    node.more = alias + 1;
                }
                alias
            }
        };
        if let Some(directory) = self.node_mut(parent) {
            directory.children += 1;
        }
        self.enter(hash, place + 1);
        Ok(())
    }

    /// Takes a name away from whatever has it. A node that nobody needs goes with it.
    pub fn unlink(&mut self, parent: NodeId, name: &OsStr) {
        let hash = self.hash(parent, name);
        if let Some(place) = self.place_of(hash, parent, name) {
            if let Some((item, _)) = self.named(place) {
                let id = item.id();
                self.take(id, hash, place);
                self.release(parent);
                self.release(id);
            }
        }
    }

    /// Takes the name that is kept at `place` away from the node `id`.
    fn take(&mut self, id: NodeId, hash: u32, at: u32) {
        self.leave(hash, at);
        let gone = match at - 1 == place(id) {
            true => {
                let gone = self.node_mut(id).and_then(|node| node.name.take());
                self.promote(id);
                gone
            }
            false => self.remove_alias(id, at),
        };
        if let Some(directory) = gone.and_then(|gone| self.node_mut(gone.parent)) {
            directory.children -= 1;
        }
    }

    /// Takes a second name, which is in no bucket any more, out of the list that the node `id` has.
    fn remove_alias(&mut self, id: NodeId, at: u32) -> Option<Name> {
        let Some(Item::Alias(_, name, after)) = self.items.remove(at - 1) else {
            return None;
        };
        let mut next = &mut self.node_mut(id)?.more;
        while *next != at {
            let before = *next;
            next = match self.items.get_mut(before.checked_sub(1)?)? {
                Item::Alias(_, _, next) => next,
                Item::Node(_) => return None,
            };
        }
        *next = after;
        Some(name)
    }

    /// Makes a second name of the node `id` its first, if it has one.
    fn promote(&mut self, id: NodeId) {
        let Some(at) = self.node(id).map(|node| node.more) else {
            return;
        };
        let Some(hash) = self.named(at).map(|(_, name)| name.hash) else {
            return;
        };
        self.leave(hash, at);
        if let Some(name) = self.remove_alias(id, at) {
            if let Some(node) = self.node_mut(id) {
                node.name = Some(Name { next: 0, ..name });
            }
            self.enter(hash, place(id) + 1);
        }
    }

    /// Frees a node that nobody needs, and then those that were there for its path.
    pub(crate) fn release(&mut self, id: NodeId) {
        let mut next = Some(id);
        while let Some(id) = next {
            if self.node(id).is_none_or(Node::is_needed) {
                return;
            }
            next = self.parent(id);
            // Those in other directories, too: what is left of them is freed with its last name.
            while let Some(name) = self.node(id).and_then(|node| node.name.as_ref()) {
                let (parent, hash) = (name.parent, name.hash);
                self.take(id, hash, place(id) + 1);
                if Some(parent) != next {
                    self.release(parent);
                }
            }
            self.items.remove(place(id));
            self.nodes -= 1;
        }
    }

    /// The kernel forgets that it was told of a node so many times.
    pub fn forget(&mut self, id: NodeId, nlookup: u64) {
        if let Some(node) = self.node_mut(id) {
            node.nlookup = node.nlookup.saturating_sub(nlookup);
        }
        self.release(id);
    }

    /// Whether a path to `id` goes through `above`, or is its path.
    pub fn is_below(&self, id: NodeId, above: NodeId) -> bool {
        let mut at = Some(id);
        while let Some(id) = at {
            if id == above {
                return true;
            }
            at = self.parent(id);
        }
        false
    }

    /// Through which directory a node's path goes.
    pub(crate) fn parent(&self, id: NodeId) -> Option<NodeId> {
        self.node(id)?.name.as_ref().map(|name| name.parent)
    }

    /// Moves a name to another place, over what is there.
    ///
    /// # Errors
    ///
    /// EINVAL for a directory that is to be moved into itself, ESTALE when there is no directory to
    /// move it to, ENOTDIR when that is none.
    pub fn rename(&mut self, from: (NodeId, &OsStr), to: (NodeId, &OsStr)) -> Result<(), Errno> {
        self.check_directory(to.0)?;
        let moved = self.find(from.0, from.1);
        if from == to || moved.is_some() && moved == self.find(to.0, to.1) {
            return Ok(());
        }
        if moved.is_some_and(|moved| self.is_below(to.0, moved)) {
            return Err(Errno::EINVAL);
        }
        match moved {
            Some(moved) => {
                self.replace(moved, to.0, to.1)?;
                self.unlink(from.0, from.1);
            }
            None => self.unlink(to.0, to.1),
        }
        Ok(())
    }

    /// Lets two names change places.
    ///
    /// # Errors
    ///
    /// As [`rename`](Self::rename).
    pub fn exchange(
        &mut self,
        one: (NodeId, &OsStr),
        other: (NodeId, &OsStr),
    ) -> Result<(), Errno> {
        self.check_directory(one.0)?;
        self.check_directory(other.0)?;
        let first = self.find(one.0, one.1);
        let second = self.find(other.0, other.1);
        if one == other || first.is_some() && first == second {
            return Ok(());
        }
        let into = |node: Option<NodeId>, dir| node.is_some_and(|node| self.is_below(dir, node));
        if into(first, other.0) || into(second, one.0) {
            return Err(Errno::EINVAL);
        }
        let Some(second) = second else {
            return self.rename(one, other);
        };
        // Between the two it is nowhere, and what has no other use must not go.
        self.count(second);
        self.count(one.0);
        let mut done = self.rename(one, other);
        if done.is_ok() {
            done = self.give(second, one.0, one.1, self.hash(one.0, one.1));
        }
        self.forget(one.0, 1);
        self.forget(second, 1);
        done
    }

    /// A node's path, from the root.
    ///
    /// # Errors
    ///
    /// ENOENT for a node without a name, or in a directory without one; ESTALE for none at all.
    pub fn path(&self, id: NodeId) -> Result<PathBuf, Errno> {
        let mut names = Vec::new();
        let mut length = 0;
        let mut at = self.node(id).ok_or(Errno::ESTALE)?;
        while at.id != ROOT {
            let name = at.name.as_ref().ok_or(Errno::ENOENT)?;
            length += name.text.as_bytes().len() + 1;
            names.push(name.text.as_bytes());
            at = self.node(name.parent).ok_or(Errno::ENOENT)?;
        }
        let mut path = Vec::with_capacity(length.max(1));
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(OsString::from_vec(path).into())
    }
}
