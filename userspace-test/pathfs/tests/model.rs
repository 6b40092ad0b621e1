// SPDX-License-Identifier: GPL-2.0

//! The whole layer, above a file system in memory, against a plain model: strings for paths, and a
//! table that looks at everything each time. Whatever is done in whatever order, names and paths and
//! counts are those of the model, an open file has what was written to it, and in the end nothing is
//! left.

mod plain;

use memfs::MemFs;
use pathfs::{
    fuser::{Errno, RenameFlags},
    Caller, Config, DirEntry, Entry, Layer, NodeId, ROOT,
};
use plain::{Name, Plain};
use proptest::{collection::vec, prelude::*};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    path::Path,
};

const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    pid: 1,
};

/// What is at a path: a directory, or the file that was made as the how manyth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Directory,
    File(u64),
}

/// A place: one of the nodes that ever were, and a name. (The last name is that of a hidden file, if
/// there is one there.)
type At = (usize, u8);

const NAMES: u8 = 4;

#[derive(Clone, Debug)]
enum Step {
    LookUp(At),
    Create(At),
    Mkdir(At),
    Link(usize, At),
    Unlink(At),
    Rmdir(At),
    Rename(At, At, u32),
    Open(usize),
    Release(usize),
    Forget(usize, u64),
    List(usize),
    ListPlus(usize),
    OpenDir(usize),
    ReadDir(usize),
    ReleaseDir(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..10_usize;
    let at = move || (node(), 0..=NAMES);
    let flags = prop_oneof![3 => Just(0), 1 => Just(libc::RENAME_NOREPLACE), 2 => Just(libc::RENAME_EXCHANGE)];
    prop_oneof![
        4 => at().prop_map(Step::LookUp),
        5 => at().prop_map(Step::Create),
        4 => at().prop_map(Step::Mkdir),
        2 => (node(), at()).prop_map(|(id, at)| Step::Link(id, at)),
        4 => at().prop_map(Step::Unlink),
        1 => at().prop_map(Step::Rmdir),
        8 => (at(), at(), flags).prop_map(|(from, to, flags)| Step::Rename(from, to, flags)),
        2 => node().prop_map(Step::Open),
        3 => node().prop_map(Step::Release),
        4 => (node(), 1..4_u64).prop_map(|(id, count)| Step::Forget(id, count)),
        1 => node().prop_map(Step::List),
        1 => node().prop_map(Step::ListPlus),
        1 => node().prop_map(Step::OpenDir),
        1 => node().prop_map(Step::ReadDir),
        1 => node().prop_map(Step::ReleaseDir),
    ]
}

fn child(directory: &str, name: &OsStr) -> String {
    format!("{}/{}", directory.trim_end_matches('/'), name.display())
}

/// A file that is open.
struct File {
    id: NodeId,
    fh: u64,
    serial: u64,
}

/// Both, and what a kernel knows of them.
struct Both {
    layer: Layer<MemFs>,
    hard_remove: bool,
    table: Plain,
    tree: BTreeMap<String, What>,
    /// Under which name a node was hidden last.
    hidden: BTreeMap<NodeId, OsString>,
    /// All nodes that ever were, with what they are.
    all: Vec<(NodeId, What)>,
    files: Vec<File>,
    dirs: Vec<(NodeId, u64)>,
    made: u64,
}

impl Both {
    fn new(hard_remove: bool) -> Self {
        let config = Config {
            hard_remove,
            ..Config::default()
        };
        Self {
            layer: Layer::new(MemFs::new(CALLER, 1 << 24), config),
            hard_remove,
            table: Plain::new(),
            tree: [("/".to_string(), What::Directory)].into(),
            hidden: BTreeMap::new(),
            all: vec![(ROOT, What::Directory)],
            files: Vec::new(),
            dirs: Vec::new(),
            made: 0,
        }
    }

    fn node(&self, at: usize) -> NodeId {
        self.all[at % self.all.len()].0
    }

    fn name(&self, (directory, name): At) -> Name {
        let directory = self.node(directory);
        let hidden = || {
            let mut names = self.table.names.keys();
            names.find(|known| known.0 == directory && is_hidden(&known.1))
        };
        match name {
            NAMES => hidden().cloned(),
            _ => None,
        }
        .unwrap_or_else(|| (directory, format!("n{name}").into()))
    }

    /// The paths that a node has.
    fn paths(&self, id: NodeId) -> BTreeSet<String> {
        if id == ROOT {
            return ["/".to_string()].into();
        }
        let names = self.table.names.iter().filter(|known| *known.1 == id);
        names.filter_map(|(name, _)| self.path_of(name)).collect()
    }

    fn path_of(&self, (directory, name): &Name) -> Option<String> {
        let directory = self.paths(*directory).pop_first()?;
        Some(child(&directory, name))
    }

    /// What is at a name.
    fn at(&self, name: &Name) -> Option<What> {
        self.tree.get(&self.path_of(name)?).copied()
    }

    fn is_directory(&self, id: NodeId) -> bool {
        let path = self.paths(id).pop_first();
        path.is_some_and(|path| self.tree.get(&path) == Some(&What::Directory))
    }

    /// Whether something can be made there.
    fn is_free(&self, name: &Name) -> bool {
        self.is_directory(name.0) && self.at(name).is_none()
    }

    fn has_entries(&self, path: &str) -> bool {
        self.tree.keys().any(|known| parent(known) == Some(path))
    }

    /// What the names in a directory are.
    fn entries(&self, id: NodeId) -> BTreeSet<String> {
        let path = self.paths(id).pop_first().unwrap();
        let known = self
            .tree
            .keys()
            .filter(|known| parent(known) == Some(&path));
        known
            .map(|known| known[known.rfind('/').unwrap() + 1..].to_string())
            .collect()
    }

    /// The kernel was told of a node.
    fn told(&mut self, name: Name, (id, attr): Entry) {
        let what = self.at(&name).expect("something to tell of");
        assert_eq!(attr.ino.0, id);
        match self.table.names.get(&name) {
            Some(&known) => assert_eq!(known, id, "{name:?}"),
            None => {
                assert!(
                    !self.all.iter().any(|known| known.0 == id),
                    "{id} is used again"
                );
                self.all.push((id, what));
                self.table.names.insert(name, id);
            }
        }
        *self.table.nlookup.entry(id).or_default() += 1;
    }

    /// Moves what is at a path, and all that is in it.
    fn transplant(&mut self, moves: &[(&str, &str)]) {
        let tree = std::mem::take(&mut self.tree);
        let moved = |path: String| {
            for (from, to) in moves {
                match path.strip_prefix(from) {
                    Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                        return format!("{to}{rest}")
                    }
                    _ => {}
                }
            }
            path
        };
        self.tree = tree
            .into_iter()
            .map(|(path, what)| (moved(path), what))
            .collect();
    }

    /// What rename(2) does with paths; says whether it does.
    fn rename_paths(&mut self, from: &str, to: &str, flags: u32) -> bool {
        let is_in = |one: &str, other: &str| one.starts_with(&format!("{other}/"));
        let Some(&source) = self.tree.get(from) else {
            return false;
        };
        let target = self.tree.get(to).copied();
        let exchange = flags == libc::RENAME_EXCHANGE;
        if is_in(to, from) || exchange && is_in(from, to) {
            return false;
        }
        match target {
            None if exchange => return false,
            Some(_) if flags == libc::RENAME_NOREPLACE => return false,
            _ if from == to => {}
            Some(target) if source == target && source != What::Directory => {}
            Some(_) if exchange => self.transplant(&[(from, to), (to, from)]),
            Some(target) => {
                let alike = (source == What::Directory) == (target == What::Directory);
                if !alike || self.has_entries(to) {
                    return false;
                }
                self.tree.remove(to);
                self.transplant(&[(from, to)]);
            }
            None => self.transplant(&[(from, to)]),
        }
        true
    }

    /// Whether a name is hidden, rather than that it goes.
    fn hides(&self, name: &Name) -> bool {
        let node = self.table.names.get(name);
        !self.hard_remove
            && node.is_some_and(|&id| self.table.is_open(id) && self.table.names_of(id) == 1)
    }

    /// Hides a file. (What its new name is, the layer says.)
    fn hide(&mut self, name: &Name) {
        let id = self.table.names[name];
        let path = self
            .layer
            .with_table(|table| table.path(id))
            .expect("a hidden path");
        let hidden: Name = (name.0, path.file_name().unwrap().into());
        assert!(
            is_hidden(&hidden.1) && hidden != *name,
            "{}",
            path.display()
        );
        let (old, new) = (self.path_of(name).unwrap(), self.path_of(&hidden).unwrap());
        assert!(!self.tree.contains_key(&new), "{new} is there");
        self.transplant(&[(&old, &new)]);
        self.table.names.remove(name);
        self.table.names.insert(hidden.clone(), id);
        self.hidden.insert(id, hidden.1);
    }

    fn rename(&mut self, from: Name, to: Name, flags: u32) {
        let same = self.table.names.get(&from) == self.table.names.get(&to);
        let hides = flags == 0 && !same && self.hides(&to);
        let done = self.layer.rename(
            (from.0, &from.1),
            (to.0, &to.1),
            RenameFlags::from_bits_retain(flags),
        );
        let is_there = self.is_directory(from.0) && self.is_directory(to.0);
        let paths = self
            .path_of(&from)
            .zip(self.path_of(&to))
            .filter(|_| is_there);
        let Some((old, new)) = paths else {
            assert!(done.is_err(), "{from:?} to {to:?}");
            return;
        };
        // Nothing of it is left when the rest fails.
        if hides && done.is_ok() {
            let hidden = self.table.names[&to];
            self.hide(&to);
            assert!(self.table.names.values().any(|&id| id == hidden));
        }
        let expected = match hides && done.is_err() {
            true => {
                let what = self.tree.remove(&new).unwrap();
                let would = self.tree.contains_key(&old) && !new.starts_with(&format!("{old}/"));
                self.tree.insert(new, what);
                would
            }
            false => self.rename_paths(&old, &new, flags),
        };
        assert_eq!(done.is_ok(), expected, "{from:?} to {to:?}: {done:?}");
        if expected {
            let moved = match flags == libc::RENAME_EXCHANGE {
                true => self.table.exchange(from, to),
                false => self.table.rename(from, to),
            };
            assert_eq!(moved, Ok(()));
        }
    }

    fn release(&mut self, at: usize) {
        let file = self.files.swap_remove(at);
        assert_eq!(self.layer.release(file.id, file.fh, 0), Ok(()));
        let opens = self.table.opens.get_mut(&file.id).unwrap();
        *opens -= 1;
        if *opens == 0 {
            if let Some(hidden) = self.hidden.get(&file.id) {
                let is_it = |(name, id): &(&Name, &NodeId)| **id == file.id && name.1 == *hidden;
                let name = self
                    .table
                    .names
                    .iter()
                    .find(is_it)
                    .map(|(name, _)| name.clone());
                if let Some(name) = name {
                    self.tree.remove(&self.path_of(&name).unwrap());
                    self.table.names.remove(&name);
                }
            }
        }
    }

    fn forget(&mut self, id: NodeId, count: u64) {
        self.layer.forget(id, count);
        if let Some(nlookup) = self.table.nlookup.get_mut(&id) {
            *nlookup = nlookup.saturating_sub(count);
        }
    }

    fn opened(&mut self, id: NodeId, fh: u64, serial: u64) {
        *self.table.opens.entry(id).or_default() += 1;
        self.files.push(File { id, fh, serial });
    }

    fn list(&self, id: NodeId, dh: u64) -> Result<BTreeSet<String>, Errno> {
        let mut names = BTreeSet::new();
        let mut add = |number: u64, _, entry: &DirEntry| {
            let name = entry.name.to_str().unwrap().to_string();
            if ![".", ".."].contains(&name.as_str()) {
                let known = self.table.names.get(&(id, entry.name.clone()));
                assert_eq!(number, known.map_or(0xffff_ffff, |&id| id), "{name}");
                assert!(names.insert(name), "a name comes twice");
            }
            false
        };
        self.layer.readdir(id, dh, 0, &mut add)?;
        Ok(names)
    }

    fn list_plus(&mut self, id: NodeId, dh: u64) {
        let mut seen = Vec::new();
        let mut add = |number, attr: Option<_>, _, entry: &DirEntry| {
            if let Some(attr) = attr {
                seen.push((entry.name.clone(), (number, attr)));
            }
            false
        };
        assert_eq!(self.layer.readdirplus(id, dh, 0, &mut add), Ok(()));
        assert_eq!(seen.len(), self.entries(id).len());
        for (name, entry) in seen {
            self.told((id, name), entry);
        }
    }

    fn run(&mut self, step: Step) {
        let layer = &self.layer;
        match step {
            Step::LookUp(at) => {
                let name = self.name(at);
                let found = layer.lookup((name.0, &name.1));
                let expected = self.is_directory(name.0) && self.at(&name).is_some();
                assert_eq!(found.is_ok(), expected, "{name:?}: {found:?}");
                if let Ok(entry) = found {
                    self.told(name, entry);
                }
            }
            Step::Create(at) => {
                let name = self.name(at);
                let made = layer.create(CALLER, (name.0, &name.1), 0o644, libc::O_RDWR);
                assert_eq!(made.is_ok(), self.is_free(&name), "{name:?}: {made:?}");
                let Ok((entry, opened)) = made else { return };
                self.made += 1;
                let text = self.made.to_string();
                let written = layer.write(entry.0, opened.fh, 0, text.as_bytes());
                assert_eq!(written, Ok(text.len() as u32));
                self.tree
                    .insert(self.path_of(&name).unwrap(), What::File(self.made));
                self.told(name, entry);
                self.opened(entry.0, opened.fh, self.made);
            }
            Step::Mkdir(at) => {
                let name = self.name(at);
                let made = layer.mkdir(CALLER, (name.0, &name.1), 0o755);
                assert_eq!(made.is_ok(), self.is_free(&name), "{name:?}: {made:?}");
                if let Ok(entry) = made {
                    self.tree
                        .insert(self.path_of(&name).unwrap(), What::Directory);
                    self.told(name, entry);
                }
            }
            Step::Link(id, at) => {
                let (id, name) = (self.node(id), self.name(at));
                let linked = layer.link(id, (name.0, &name.1));
                let path = self
                    .paths(id)
                    .pop_first()
                    .filter(|_| !self.is_directory(id));
                let expected = path.is_some() && self.is_free(&name);
                assert_eq!(linked.is_ok(), expected, "{id} as {name:?}: {linked:?}");
                if let Some(path) = path.filter(|_| expected) {
                    assert_eq!(linked.unwrap().0, id);
                    self.tree
                        .insert(self.path_of(&name).unwrap(), self.tree[&path]);
                    self.table.names.insert(name, id);
                    *self.table.nlookup.entry(id).or_default() += 1;
                }
            }
            Step::Unlink(at) => {
                let name = self.name(at);
                let hides = self.hides(&name);
                let done = layer.unlink((name.0, &name.1));
                let expected = matches!(self.at(&name), Some(What::File(_)));
                assert_eq!(done.is_ok(), expected, "{name:?}: {done:?}");
                if hides {
                    self.hide(&name);
                } else if expected {
                    self.tree.remove(&self.path_of(&name).unwrap());
                    self.table.names.remove(&name);
                }
            }
            Step::Rmdir(at) => {
                let name = self.name(at);
                let done = layer.rmdir((name.0, &name.1));
                let path = self.path_of(&name);
                let empty = path.is_some_and(|path| !self.has_entries(&path));
                let expected = empty && self.at(&name) == Some(What::Directory);
                assert_eq!(done.is_ok(), expected, "{name:?}: {done:?}");
                if expected {
                    self.tree.remove(&self.path_of(&name).unwrap());
                    self.table.names.remove(&name);
                }
            }
            Step::Rename(from, to, flags) => {
                self.rename(self.name(from), self.name(to), flags);
            }
            Step::Open(at) => {
                let (id, what) = self.all[at % self.all.len()];
                let What::File(serial) = what else { return };
                let opened = layer.open(CALLER, id, libc::O_RDWR);
                assert_eq!(opened.is_ok(), !self.paths(id).is_empty(), "{id}");
                if let Ok(opened) = opened {
                    self.opened(id, opened.fh, serial);
                }
            }
            Step::Release(at) => {
                if !self.files.is_empty() {
                    self.release(at % self.files.len());
                }
            }
            Step::Forget(id, count) => self.forget(self.node(id), count),
            Step::List(id) | Step::ListPlus(id) => {
                let id = self.node(id);
                if !self.is_directory(id) {
                    return;
                }
                let dh = layer.opendir(CALLER, id).expect("opendir");
                match step {
                    Step::List(_) => assert_eq!(self.list(id, dh), Ok(self.entries(id))),
                    _ => self.list_plus(id, dh),
                }
                assert_eq!(self.layer.releasedir(id, dh), Ok(()));
            }
            Step::OpenDir(id) => {
                let id = self.node(id);
                if self.is_directory(id) {
                    let dh = layer.opendir(CALLER, id).expect("opendir");
                    self.dirs.push((id, dh));
                }
            }
            Step::ReadDir(at) if !self.dirs.is_empty() => {
                let (id, dh) = self.dirs[at % self.dirs.len()];
                let expected = self.is_directory(id).then(|| self.entries(id));
                assert_eq!(self.list(id, dh).ok(), expected);
            }
            Step::ReleaseDir(at) if !self.dirs.is_empty() => {
                let (id, dh) = self.dirs.swap_remove(at % self.dirs.len());
                let _ = layer.releasedir(id, dh);
                assert_eq!(layer.releasedir(id, dh), Err(Errno::EBADF));
            }
            Step::ReadDir(_) | Step::ReleaseDir(_) => {}
        }
    }

    /// That both say the same of all that there ever was.
    fn compare(&self) {
        let nodes = self.layer.with_table(|table| table.nodes());
        assert_eq!(nodes, self.table.nlookup.len(), "nodes");
        for &(id, what) in &self.all {
            let paths = self.paths(id);
            let path = self.layer.with_table(|table| table.path(id));
            match &path {
                Ok(path) => assert!(
                    paths.contains(path.to_str().unwrap()),
                    "{path:?}: {paths:?}"
                ),
                Err(error) => {
                    assert_eq!(paths, BTreeSet::new(), "{error:?}");
                    let gone = !self.table.nlookup.contains_key(&id);
                    assert_eq!(*error == Errno::ESTALE, gone, "{id}");
                }
            }
            for path in &paths {
                assert_eq!(self.tree.get(path), Some(&what), "{path}");
            }
            let attr = self.layer.getattr(id, None);
            assert_eq!(attr.is_ok(), path.is_ok(), "{attr:?}");
        }
        for (name, &id) in &self.table.names {
            let found = self.layer.with_table(|table| table.find(name.0, &name.1));
            assert_eq!(found, Some(id), "{name:?}");
        }
        for file in &self.files {
            let text = |bytes: Result<&[u8], _>| bytes.map(<[u8]>::to_vec);
            let text = self.layer.read(file.id, file.fh, 0, 64, text);
            assert_eq!(text, Ok(file.serial.to_string().into_bytes()));
        }
    }

    /// Closes and forgets everything: then nothing is left, but what has names.
    fn end(mut self) {
        while !self.files.is_empty() {
            self.release(0);
        }
        self.table.collect();
        for (id, dh) in std::mem::take(&mut self.dirs) {
            let _ = self.layer.releasedir(id, dh);
        }
        for (id, _) in std::mem::take(&mut self.all) {
            self.forget(id, u64::MAX);
        }
        self.table.collect();
        assert_eq!(self.layer.with_table(|table| table.nodes()), 1);
        let dh = self.layer.opendir(CALLER, ROOT).expect("opendir");
        assert_eq!(self.list(ROOT, dh), Ok(self.entries(ROOT)));
    }
}

fn is_hidden(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".fuse_hidden")
}

fn parent(path: &str) -> Option<&str> {
    Path::new(path).parent()?.to_str()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_layer_is_as_a_plain_one(hard_remove: bool, steps in vec(step(), 1..80)) {
        let mut both = Both::new(hard_remove);
        for step in steps {
            both.run(step);
            both.table.collect();
            both.compare();
        }
        both.end();
    }
}
