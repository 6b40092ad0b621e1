// SPDX-License-Identifier: GPL-2.0

//! The table of names and nodes against a plain one, which looks at everything each time.

use pathfs::{fuser::Errno, NodeId, Table, ROOT};
use proptest::{collection::vec, prelude::*};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    path::Path,
};

type Name = (NodeId, OsString);

/// Nodes, with what the kernel was told of them, and names.
#[derive(Default)]
struct Plain {
    nlookup: BTreeMap<NodeId, u64>,
    names: BTreeMap<Name, NodeId>,
}

impl Plain {
    fn has_children(&self, id: NodeId) -> bool {
        self.names.keys().any(|name| name.0 == id)
    }

    fn names_of(&self, id: NodeId) -> usize {
        self.names.values().filter(|&&node| node == id).count()
    }

    fn check_directory(&self, id: NodeId) -> Result<(), Errno> {
        match self.nlookup.contains_key(&id) {
            false => Err(Errno::ESTALE),
            true if self.names_of(id) > 1 => Err(Errno::ENOTDIR),
            true => Ok(()),
        }
    }

    fn collect(&mut self) {
        while let Some(&id) = self.nlookup.iter().find_map(|(id, &nlookup)| {
            (*id != ROOT && nlookup == 0 && !self.has_children(*id)).then_some(id)
        }) {
            self.nlookup.remove(&id);
            self.names.retain(|_, node| *node != id);
        }
    }

    fn is_below(&self, id: NodeId, above: NodeId) -> bool {
        id == above
            || self
                .names
                .iter()
                .any(|(name, &node)| node == id && self.is_below(name.0, above))
    }

    /// Whether every name of a node leads to it from the root. (One may be in a directory that has
    /// been removed: no file system would do that.)
    fn is_sound(&self, id: NodeId) -> bool {
        let mut names = self.names.iter().filter(|(_, &node)| node == id);
        id == ROOT || self.names_of(id) > 0 && names.all(|(name, _)| self.is_sound(name.0))
    }

    fn rename(&mut self, from: Name, to: Name) -> Result<(), Errno> {
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

    fn exchange(&mut self, one: Name, other: Name) -> Result<(), Errno> {
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

/// One change. Nodes are given by their place among all that ever were.
#[derive(Clone, Debug)]
enum Change {
    LookUp(usize, u8),
    Forget(usize, u64),
    Link(usize, usize, u8),
    Unlink(usize, u8),
    Rename((usize, u8), (usize, u8)),
    Exchange((usize, u8), (usize, u8)),
}

fn change() -> impl Strategy<Value = Change> {
    let node = || 0..12_usize;
    let name = || 0..4_u8;
    let place = move || (node(), name());
    prop_oneof![
        4 => place().prop_map(|(dir, name)| Change::LookUp(dir, name)),
        3 => (node(), 1..4_u64).prop_map(|(id, count)| Change::Forget(id, count)),
        1 => (node(), node(), name()).prop_map(|(id, dir, name)| Change::Link(id, dir, name)),
        1 => place().prop_map(|(dir, name)| Change::Unlink(dir, name)),
        2 => (place(), place()).prop_map(|(from, to)| Change::Rename(from, to)),
        1 => (place(), place()).prop_map(|(one, other)| Change::Exchange(one, other)),
    ]
}

fn named(name: u8) -> OsString {
    format!("n{name}").into()
}

/// That both say the same of all that there ever was.
fn compare(table: &Table, plain: &Plain, all: &[NodeId]) {
    assert_eq!(table.nodes(), plain.nlookup.len());
    for &dir in all {
        for name in 0..4 {
            let name = named(name);
            let expected = plain.names.get(&(dir, name.clone())).copied();
            assert_eq!(table.find(dir, &name), expected, "{name:?} in {dir}");
        }
        match table.path(dir) {
            Ok(path) => assert_eq!(walk(table, &path), Some(dir), "{}", path.display()),
            Err(Errno::ENOENT) => assert!(!plain.is_sound(dir)),
            Err(_) => assert!(!plain.nlookup.contains_key(&dir)),
        }
    }
}

/// The node that a path leads to.
fn walk(table: &Table, path: &Path) -> Option<NodeId> {
    path.iter()
        .skip(1)
        .try_fold(ROOT, |dir, name| table.find(dir, name))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_table_is_as_a_plain_one(changes in vec(change(), 1..120)) {
        let mut table = Table::new();
        let mut plain = Plain::default();
        plain.nlookup.insert(ROOT, 0);
        let mut all = vec![ROOT];
        for change in changes {
            let node = |at: usize| all[at % all.len()];
            let at = |(dir, name): (usize, u8)| (node(dir), named(name));
            match change {
                Change::LookUp(dir, name) => {
                    let (dir, name) = at((dir, name));
                    let known = plain.names.get(&(dir, name.clone())).copied();
                    let found = table.look_up(dir, &name);
                    let id = match (known, plain.check_directory(dir), found) {
                        (Some(known), _, Ok(found)) if known == found => found,
                        (None, Ok(()), Ok(new)) => {
                            prop_assert!(!all.contains(&new), "{new} is used again");
                            plain.names.insert((dir, name), new);
                            all.push(new);
                            new
                        }
                        (None, Err(expected), Err(error)) if expected == error => continue,
                        (_, _, found) => panic!("{found:?}, where there is {known:?}"),
                    };
                    *plain.nlookup.entry(id).or_default() += 1;
                }
                Change::Forget(id, count) => {
                    table.forget(node(id), count);
                    if let Some(nlookup) = plain.nlookup.get_mut(&node(id)) {
                        *nlookup = nlookup.saturating_sub(count);
                    }
                    plain.collect();
                }
                Change::Link(id, dir, name) => {
                    let (id, (dir, name)) = (node(id), at((dir, name)));
                    let expected = match () {
                        () if !plain.nlookup.contains_key(&id) => Err(Errno::ESTALE),
                        () if id == ROOT || id == dir || plain.has_children(id) => Err(Errno::EPERM),
                        () => plain.check_directory(dir),
                    };
                    prop_assert_eq!(table.link(id, dir, &name), expected);
                    if expected.is_ok() {
                        *plain.nlookup.entry(id).or_default() += 1;
                        plain.names.insert((dir, name), id);
                        plain.collect();
                    }
                }
                Change::Unlink(dir, name) => {
                    let (dir, name) = at((dir, name));
                    table.unlink(dir, &name);
                    plain.names.remove(&(dir, name));
                    plain.collect();
                }
                Change::Rename(from, to) => {
                    let (from, to) = (at(from), at(to));
                    let done = table.rename((from.0, &from.1), (to.0, &to.1));
                    prop_assert_eq!(done, plain.rename(from, to));
                }
                Change::Exchange(one, other) => {
                    let (one, other) = (at(one), at(other));
                    let done = table.exchange((one.0, &one.1), (other.0, &other.1));
                    prop_assert_eq!(done, plain.exchange(one, other));
                }
            }
            compare(&table, &plain, &all);
        }
    }
}

/// That everything is found again while the table grows, and while it shrinks.
#[test]
fn nothing_is_lost_while_it_grows_and_shrinks() {
    const COUNT: u64 = 40_000;
    let name = |number: u64| OsString::from(format!("file-{number}"));
    let mut table = Table::new();
    let buckets = table.buckets();
    let dir = table.look_up(ROOT, OsStr::new("dir")).unwrap();
    let mut ids = Vec::new();
    for number in 0..COUNT {
        ids.push(table.look_up(dir, &name(number)).unwrap());
        // A few may have to wait, for memory that was got instead.
        assert!(table.nodes() - 3 <= table.buckets() / 2);
    }
    for (number, &id) in (0..).zip(&ids) {
        assert_eq!(table.find(dir, &name(number)), Some(id));
        let path = table.path(id).unwrap();
        assert_eq!(path, Path::new("/dir").join(name(number)));
    }
    for (number, &id) in (0..).zip(&ids) {
        table.forget(id, 1);
        assert_eq!(table.find(dir, &name(number)), None);
        assert_eq!(table.path(id), Err(Errno::ESTALE));
        let kept = (number + 7919) % COUNT;
        let expected = (kept > number).then(|| ids[kept as usize]);
        assert_eq!(table.find(dir, &name(kept)), expected);
    }
    assert_eq!(table.nodes(), 2);
    assert_eq!(table.buckets(), buckets);
}
