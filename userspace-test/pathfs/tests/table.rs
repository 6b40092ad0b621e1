// SPDX-License-Identifier: GPL-2.0

//! The table of names and nodes against a plain one, which looks at everything each time.

mod plain;

use pathfs::{fuser::Errno, NodeId, Table, ROOT};
use plain::Plain;
use proptest::{collection::vec, prelude::*};
use std::{
    ffi::{OsStr, OsString},
    path::Path,
};

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

/// Whether every name of a node leads to it from the root. (One may be in a directory that has
/// been removed: no file system would do that.)
fn is_sound(plain: &Plain, id: NodeId) -> bool {
    let mut names = plain.names.iter().filter(|(_, &node)| node == id);
    id == ROOT || plain.names_of(id) > 0 && names.all(|(name, _)| is_sound(plain, name.0))
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
            Err(Errno::ENOENT) => assert!(!is_sound(plain, dir)),
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
        let mut plain = Plain::new();
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
        assert!(table.nodes() - 1 <= table.buckets() / 2);
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
