// SPDX-License-Identifier: GPL-2.0

//! A file system whose daemon runs by itself: a few files, served by threads, with everything
//! that it was asked kept for the test to look at.

mod names;
pub mod plus;

use crate::{
    caller::{eventually, PATIENCE},
    fs::{Fs, Req},
};
use libc::{DT_DIR, DT_LNK, DT_REG, S_IFDIR, S_IFLNK, S_IFMT, S_IFREG};
use rawfuse::{
    abi::{self, fattr, Opcode},
    Channel, DirEntries, Errno, Operation,
};
use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard},
    thread::{self, JoinHandle},
    time::Instant,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// What a daemon answers.
pub enum Answer {
    /// What the operation gives back.
    Bytes(Vec<u8>),
    /// That it failed.
    Error(Errno),
    /// Nothing, for now or for good.
    Nothing,
}

/// An answer that is one structure.
pub fn answer<T: IntoBytes + Immutable>(out: &T) -> Answer {
    Answer::Bytes(out.as_bytes().to_vec())
}

/// One file, directory or link.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its attributes.
    pub attr: abi::Attr,
    /// What is in a file, or where a link points.
    pub data: Vec<u8>,
    /// What is in a directory.
    pub entries: BTreeMap<String, u64>,
    /// Its generation.
    pub generation: u64,
}

/// A look at what was asked.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What names it in the reply.
    pub unique: u64,
    /// The operation.
    pub opcode: Opcode,
    /// The inode.
    pub nodeid: u64,
    /// The bytes after the header.
    pub body: Vec<u8>,
}

/// Answers a request in place of the model, or leaves it to it.
pub type Hook = Box<dyn FnMut(&mut Model, &Req) -> Option<Answer> + Send>;

/// A file system: a root with the file `file` (node 2), the directory `dir` (3) with the file
/// `inner` (5) in it, and the link `link` (4) to `file`.
pub struct Model {
    /// Its inodes.
    pub nodes: BTreeMap<u64, Node>,
    /// For how many seconds names stay valid.
    pub entry_valid: u64,
    /// For how many seconds attributes stay valid.
    pub attr_valid: u64,
    /// What opening a file gives.
    pub open_flags: u32,
    /// What opening a directory gives.
    pub opendir_flags: u32,
    /// All that it was asked, in order.
    pub log: Vec<Asked>,
    /// References that the kernel has on each inode.
    pub lookups: BTreeMap<u64, i64>,
    /// What reading a directory from an offset on gives, with lookups: nothing, unless a test says.
    pub readdirplus: fn(&mut Model, u64, u64) -> Vec<u8>,
    /// Looks at each request first.
    pub hook: Option<Hook>,
}

/// The node ID of the file `file`.
pub const FILE: u64 = 2;
/// The node ID of the directory `dir`.
pub const DIR: u64 = 3;
/// The node ID of the link `link`.
pub const LINK: u64 = 4;
/// The node ID of the file `dir/inner`.
pub const INNER: u64 = 5;

/// What is in the file `file`.
pub const CONTENTS: &[u8] = b"What is in the file.\n";

impl Model {
    /// The file system, with nothing to be cached.
    pub fn new() -> Self {
        let mut model = Self {
            nodes: BTreeMap::new(),
            entry_valid: 0,
            attr_valid: 0,
            open_flags: 0,
            opendir_flags: 0,
            log: Vec::new(),
            lookups: BTreeMap::new(),
            readdirplus: |_, _, _| Vec::new(),
            hook: None,
        };
        model.add(abi::ROOT_ID, S_IFDIR | 0o755, b"");
        model.add(FILE, S_IFREG | 0o644, CONTENTS);
        model.add(DIR, S_IFDIR | 0o755, b"");
        model.add(LINK, S_IFLNK | 0o777, b"file");
        model.add(INNER, S_IFREG | 0o644, b"inner");
        model.link(abi::ROOT_ID, "file", FILE);
        model.link(abi::ROOT_ID, "dir", DIR);
        model.link(abi::ROOT_ID, "link", LINK);
        model.link(DIR, "inner", INNER);
        model
    }

    /// The same, with names and attributes that stay valid for an hour.
    pub fn cached() -> Self {
        Self {
            entry_valid: 3600,
            attr_valid: 3600,
            ..Self::new()
        }
    }

    /// Adds or replaces an inode.
    pub fn add(&mut self, nodeid: u64, mode: u32, data: &[u8]) {
        let attr = abi::Attr {
            ino: nodeid,
            mode,
            nlink: if mode & S_IFMT == S_IFDIR { 2 } else { 1 },
            size: data.len() as u64,
            blksize: 4096,
            ..Default::default()
        };
        let node = Node {
            attr,
            data: data.to_vec(),
            entries: BTreeMap::new(),
            generation: 0,
        };
        self.nodes.insert(nodeid, node);
    }

    /// Gives an inode a name.
    #[track_caller]
    pub fn link(&mut self, dir: u64, name: &str, nodeid: u64) {
        self.node(dir).entries.insert(name.into(), nodeid);
    }

    /// An inode that is there.
    #[track_caller]
    pub fn node(&mut self, nodeid: u64) -> &mut Node {
        self.nodes.get_mut(&nodeid).expect("an inode of the model")
    }

    /// How often it was asked for `opcode`.
    pub fn count(&self, opcode: Opcode) -> usize {
        self.log
            .iter()
            .filter(|asked| asked.opcode == opcode)
            .count()
    }

    /// The operations that it was asked for, in order.
    pub fn opcodes(&self) -> Vec<Opcode> {
        self.log.iter().map(|asked| asked.opcode).collect()
    }

    fn take(&mut self, req: &Req) -> Answer {
        self.log.push(Asked {
            unique: req.unique(),
            opcode: req.opcode(),
            nodeid: req.nodeid(),
            body: req.request().body().to_vec(),
        });
        if let Some(mut hook) = self.hook.take() {
            let answer = hook(self, req);
            self.hook = Some(hook);
            if let Some(answer) = answer {
                return answer;
            }
        }
        self.answer(req)
    }

    /// What the model answers.
    pub fn answer(&mut self, req: &Req) -> Answer {
        let nodeid = req.nodeid();
        match req.operation() {
            Operation::Forget(arg) => {
                self.forget(nodeid, arg.nlookup);
                return Answer::Nothing;
            }
            Operation::BatchForget(forgets) => {
                for one in forgets {
                    self.forget(one.nodeid, one.nlookup);
                }
                return Answer::Nothing;
            }
            Operation::Interrupt(_) => return Answer::Nothing,
            Operation::Destroy => return Answer::Bytes(Vec::new()),
            _ => {}
        }
        let Some(node) = self.nodes.get(&nodeid) else {
            return Answer::Error(Errno::ENOENT);
        };
        match req.operation() {
            Operation::Lookup { name } => {
                let name = name.to_string_lossy().into_owned();
                match node.entries.get(&name).copied() {
                    Some(child) => answer(&self.entry(child)),
                    None => Answer::Error(Errno::ENOENT),
                }
            }
            Operation::Getattr(_) => answer(&abi::AttrOut {
                attr_valid: self.attr_valid,
                attr: node.attr,
                ..Default::default()
            }),
            Operation::Setattr(arg) => answer(&self.setattr(nodeid, arg)),
            Operation::Readlink => Answer::Bytes(node.data.clone()),
            Operation::Access(_) => Answer::Bytes(Vec::new()),
            Operation::Open(_) => answer(&abi::OpenOut {
                fh: nodeid + 1000,
                open_flags: self.open_flags,
                ..Default::default()
            }),
            Operation::Opendir(_) => answer(&abi::OpenOut {
                fh: nodeid + 2000,
                open_flags: self.opendir_flags,
                ..Default::default()
            }),
            Operation::Read(arg) => {
                let start = usize::try_from(arg.offset).unwrap_or(usize::MAX);
                let rest = node.data.get(start..).unwrap_or_default();
                Answer::Bytes(rest[..rest.len().min(arg.size as usize)].to_vec())
            }
            Operation::Write { arg, data } => self.write(nodeid, arg, data),
            Operation::Readdirplus(arg) => {
                Answer::Bytes((self.readdirplus)(self, nodeid, arg.offset))
            }
            Operation::Readdir(arg) => Answer::Bytes(self.readdir(node, arg)),
            Operation::Statfs => answer(&abi::StatfsOut {
                st: abi::Kstatfs {
                    blocks: 1000,
                    bfree: 600,
                    bavail: 500,
                    files: 100,
                    ffree: 50,
                    bsize: 4096,
                    namelen: 255,
                    frsize: 1024,
                    ..Default::default()
                },
            }),
            Operation::Flush(_) | Operation::Release(_) | Operation::Releasedir(_) => {
                Answer::Bytes(Vec::new())
            }
            _ => self.change_names(req),
        }
    }

    /// Takes what is written, and grows the file where that is needed.
    fn write(&mut self, nodeid: u64, arg: &abi::WriteIn, data: &[u8]) -> Answer {
        let node = self.node(nodeid);
        let start = arg.offset as usize;
        let end = start + data.len();
        if node.data.len() < end {
            node.data.resize(end, 0);
        }
        node.data[start..end].copy_from_slice(data);
        node.attr.size = node.data.len() as u64;
        answer(&abi::WriteOut {
            size: arg.size,
            ..Default::default()
        })
    }

    /// The reply to a successful lookup of `nodeid`; counts the reference it gives.
    pub fn entry(&mut self, nodeid: u64) -> abi::EntryOut {
        *self.lookups.entry(nodeid).or_default() += 1;
        let node = self.node(nodeid);
        let (attr, generation) = (node.attr, node.generation);
        abi::EntryOut {
            nodeid,
            generation,
            entry_valid: self.entry_valid,
            attr_valid: self.attr_valid,
            attr,
            ..Default::default()
        }
    }

    fn setattr(&mut self, nodeid: u64, arg: &abi::SetattrIn) -> abi::AttrOut {
        let attr_valid = self.attr_valid;
        let Node { attr, data, .. } = self.node(nodeid);
        let has = |flag| arg.valid & flag != 0;
        if has(fattr::MODE) {
            attr.mode = arg.mode;
        }
        if has(fattr::UID) {
            attr.uid = arg.uid;
        }
        if has(fattr::GID) {
            attr.gid = arg.gid;
        }
        if has(fattr::SIZE) {
            attr.size = arg.size;
            // One that is too large to be had has no data.
            data.resize(
                usize::try_from(arg.size).map_or(0, |size| size.min(1 << 20)),
                0,
            );
        }
        if has(fattr::ATIME) {
            (attr.atime, attr.atimensec) = (arg.atime, arg.atimensec);
        }
        if has(fattr::MTIME) {
            (attr.mtime, attr.mtimensec) = (arg.mtime, arg.mtimensec);
        }
        if has(fattr::CTIME) {
            (attr.ctime, attr.ctimensec) = (arg.ctime, arg.ctimensec);
        }
        if has(fattr::KILL_SUIDGID) {
            attr.mode &= !0o6000;
        }
        abi::AttrOut {
            attr_valid,
            attr: *attr,
            ..Default::default()
        }
    }

    fn forget(&mut self, nodeid: u64, nlookup: u64) {
        *self.lookups.entry(nodeid).or_default() -= nlookup as i64;
    }

    fn readdir(&self, node: &Node, arg: &abi::ReadIn) -> Vec<u8> {
        let dots = [(".", node.attr.ino), ("..", abi::ROOT_ID)];
        let named = node.entries.iter().map(|(name, &ino)| (name.as_str(), ino));
        let mut entries = DirEntries::new(arg.size as usize);
        for (off, (name, nodeid)) in (1..).zip(dots.into_iter().chain(named)) {
            let kind = match self.nodes.get(&nodeid).map(|node| node.attr.mode & S_IFMT) {
                Some(S_IFDIR) => DT_DIR,
                Some(S_IFLNK) => DT_LNK,
                _ => DT_REG,
            };
            if off > arg.offset && !entries.push(nodeid, off, kind, name.as_ref()) {
                break;
            }
        }
        entries.bytes().to_vec()
    }
}

/// The arguments of each request for `opcode` so far.
pub fn args<T: FromBytes>(served: &Served, opcode: Opcode) -> Vec<T> {
    let model = served.model();
    let asked = model.log.iter().filter(|asked| asked.opcode == opcode);
    asked
        .map(|asked| T::read_from_prefix(&asked.body).expect("the argument").0)
        .collect()
}

/// A model that is mounted and served.
pub struct Served {
    fs: Fs,
    model: Arc<Mutex<Model>>,
    threads: Vec<JoinHandle<()>>,
}

impl Served {
    /// Serves `model` on `fs` by one thread.
    #[track_caller]
    pub fn new(fs: Fs, model: Model) -> Self {
        Self::with_threads(fs, model, 1)
    }

    /// Serves `model` on `fs` by `count` threads.
    #[track_caller]
    pub fn with_threads(fs: Fs, model: Model, count: usize) -> Self {
        let model = Arc::new(Mutex::new(model));
        let threads = (0..count)
            .map(|_| {
                let channel = fs.channel.try_clone().expect("dup");
                let model = model.clone();
                thread::spawn(move || serve(&channel, &model))
            })
            .collect();
        Self { fs, model, threads }
    }

    /// The model, while no request is answered.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        // A test thread that panicked while it held this is a failed test anyway.
        self.model.lock().unwrap_or_else(|error| error.into_inner())
    }

    /// Forgets what was asked so far.
    pub fn clear_log(&self) {
        self.model().log.clear();
    }

    /// How often the model was asked for `opcode`.
    pub fn count(&self, opcode: Opcode) -> usize {
        self.model().count(opcode)
    }

    /// Waits until the model was asked for `opcode` `count` times. Fails the test when it is not.
    #[track_caller]
    pub fn wait_for(&self, opcode: Opcode, count: usize) {
        eventually(opcode.name(), || self.count(opcode) >= count);
    }

    /// Makes `hook` look at each request first.
    pub fn hook(&self, mut hook: impl FnMut(&Req) -> Option<Answer> + Send + 'static) {
        self.model().hook = Some(Box::new(move |_, req| hook(req)));
    }

    /// Unmounts as `umount` does, and waits for the threads to find that out.
    #[track_caller]
    pub fn finish(&mut self) {
        self.fs.unmount();
        let end = Instant::now() + PATIENCE;
        while !self.threads.iter().all(JoinHandle::is_finished) {
            assert!(Instant::now() < end, "daemon threads go on after umount");
            thread::yield_now();
        }
        for thread in self.threads.drain(..) {
            thread.join().expect("a daemon thread");
        }
    }
}

impl Deref for Served {
    type Target = Fs;

    fn deref(&self) -> &Fs {
        &self.fs
    }
}

impl DerefMut for Served {
    fn deref_mut(&mut self) -> &mut Fs {
        &mut self.fs
    }
}

/// Answers requests until the file system is gone.
pub fn serve(channel: &Channel, model: &Mutex<Model>) {
    let mut bytes = vec![0; 2 << 20];
    loop {
        let len = match channel.read(&mut bytes) {
            Ok(len) => len,
            Err(error) => match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::EINTR | Errno::ENOENT => continue,
                Errno::ENODEV | Errno::ECONNABORTED => return,
                other => panic!("reading a request: {other}"),
            },
        };
        let req = Req::new(&bytes[..len]);
        let answer = model
            .lock()
            .unwrap_or_else(|error| error.into_inner())
            .take(&req);
        let sent = match answer {
            Answer::Bytes(bytes) => channel.reply_bytes(req.unique(), &[&bytes]),
            Answer::Error(error) => channel.reply_error(req.unique(), error),
            Answer::Nothing => continue,
        };
        match sent {
            Ok(()) => {}
            // The caller was killed, or the file system aborted.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return,
            Err(error) => panic!("answering {:?}: {error}", req.request()),
        }
    }
}
