// SPDX-License-Identifier: GPL-2.0

//! File handles, by which files are found again that the kernel has forgotten.

use crate::{
    caller::{call, eventually, process, PATIENCE},
    env::Env,
    filehandle::{self, FileHandle, AT_HANDLE_CONNECTABLE, AT_HANDLE_FID},
    fs::Fs,
    model::{answer, Answer, Model, Served, CONTENTS, DIR, FILE, INNER},
    sys, system,
    tests::tests,
};
use nix::sys::signal::Signal;
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Errno,
};
use std::{
    ffi::OsString,
    fs::File,
    io,
    path::{Path, PathBuf},
};

tests![
    what_is_in_a_handle,
    room_for_a_handle,
    connectable_handles_have_the_parent,
    cached_files_need_no_lookup,
    forgotten_file_is_looked_up_by_dot,
    without_export_support,
    minor_8_has_no_export_support,
    of_another_generation,
    answers_that_are_no_use,
    handles_that_are_none,
    root_has_a_handle,
    directory_finds_its_way_to_the_root,
    directory_whose_parent_is_not_known,
    connectable_handle_finds_its_parent,
    entry_found_by_handle_does_not_hold,
    handles_that_only_tell_apart,
    killed_caller_gives_the_node_back,
];

/// How the handles of FUSE are read: without and with a parent.
const KIND: i32 = 0x81;
const KIND_WITH_PARENT: i32 = 0x82;
/// What the kernel adds to that of a connectable handle.
const IS_CONNECTABLE: i32 = 0x10000;

/// A node ID that takes more than 32 bits.
const LARGE: u64 = 0x1234_5678_9abc_def0;

/// What a handle has of a node.
fn node_bytes(nodeid: u64, generation: u32) -> Vec<u8> {
    let halves = [(nodeid >> 32) as u32, nodeid as u32, generation];
    halves.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

fn handle(nodeid: u64, generation: u32) -> FileHandle {
    FileHandle {
        kind: KIND,
        bytes: node_bytes(nodeid, generation),
    }
}

/// A mount whose daemon knows "." and "..", and a directory on it that is open but is not asked
/// for.
struct Exported {
    served: Served,
    mount: File,
}

impl Exported {
    #[track_caller]
    fn new(env: &Env) -> Self {
        Self::with(Fs::with_flags(env, init_flags::EXPORT_SUPPORT))
    }

    #[track_caller]
    fn with(fs: Fs) -> Self {
        let mut model = Model::cached();
        for (nodeid, parent) in [(abi::ROOT_ID, abi::ROOT_ID), (DIR, abi::ROOT_ID)] {
            model.link(nodeid, ".", nodeid);
            model.link(nodeid, "..", parent);
        }
        for nodeid in [FILE, INNER] {
            model.link(nodeid, ".", nodeid);
        }
        let served = Served::new(fs, model);
        let mount = sys::open_with(&served.dir, libc::O_DIRECTORY).expect("the root");
        Self { served, mount }
    }

    /// The handle of what is at `name`, of which the kernel has forgotten everything then.
    #[track_caller]
    fn forgotten(&self, name: &str, flags: i32) -> FileHandle {
        let handle = FileHandle::of(&self.served.path(name), flags).expect("a handle");
        self.forget();
        handle
    }

    /// Lets the kernel forget all but the root.
    #[track_caller]
    fn forget(&self) {
        eventually("all is forgotten", || {
            system::drop_caches(2);
            let mut counts = self.served.model().lookups.clone();
            counts.remove(&abi::ROOT_ID);
            counts.values().all(|&count| count == 0)
        });
        self.served.clear_log();
    }

    /// The lookups that there were: node and name.
    fn lookups(&self) -> Vec<(u64, String)> {
        let model = self.served.model();
        let lookups = model
            .log
            .iter()
            .filter(|asked| asked.opcode == Opcode::Lookup);
        let name = |body: &[u8]| String::from_utf8_lossy(&body[..body.len() - 1]).into_owned();
        lookups
            .map(|asked| (asked.nodeid, name(&asked.body)))
            .collect()
    }

    /// Unmounts.
    #[track_caller]
    fn finish(mut self) {
        drop(self.mount);
        self.served.finish();
    }
}

fn owned(lookups: &[(u64, &str)]) -> Vec<(u64, String)> {
    let owned = |&(nodeid, name): &(u64, &str)| (nodeid, name.to_string());
    lookups.iter().map(owned).collect()
}

/// Where an open file is, as the kernel has it.
fn path_of(file: &File) -> OsString {
    use std::os::fd::AsRawFd;
    sys::readlink(&PathBuf::from(format!(
        "/proc/self/fd/{}",
        file.as_raw_fd()
    )))
    .expect("its path")
}

/// Opens a file by its handle on what is mounted on `dir`.
fn open_in(dir: &Path, handle: &FileHandle) -> io::Result<File> {
    handle.open(&sys::open_with(dir, libc::O_DIRECTORY)?, 0)
}

/// Answers the request that opens the mount for that.
#[track_caller]
fn answer_opendir(fs: &Fs) {
    let opendir = fs.expect(Opcode::Opendir);
    fs.reply(&opendir, &abi::OpenOut::default());
}

fn what_is_in_a_handle(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.model().add(LARGE, libc::S_IFREG | 0o644, b"");
    served.model().link(abi::ROOT_ID, "large", LARGE);
    served.model().node(LARGE).generation = 0x1_0000_0042;
    let path = served.path("large");
    // The kernel keeps half of the generation.
    assert_eq!(FileHandle::of(&path, 0).unwrap(), handle(LARGE, 0x42));
    assert_eq!(
        FileHandle::of(&path, AT_HANDLE_FID).unwrap(),
        handle(LARGE, 0x42)
    );
    served.finish();
}

fn room_for_a_handle(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let path = served.path("dir/inner");
    for (flags, needed) in [(0, 12), (AT_HANDLE_CONNECTABLE, 24)] {
        for room in [0, 4, needed - 4, needed - 1] {
            assert_eq!(
                filehandle::of(&path, flags, room).unwrap(),
                Err(needed),
                "room for {room}"
            );
        }
        let handle = filehandle::of(&path, flags, needed).unwrap().unwrap();
        assert_eq!(handle.bytes.len(), needed as usize);
    }
    served.finish();
}

fn connectable_handles_have_the_parent(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.model().node(DIR).generation = 7;
    served.model().node(INNER).generation = 8;
    let handle = FileHandle::of(&served.path("dir/inner"), AT_HANDLE_CONNECTABLE).unwrap();
    assert_eq!(handle.kind, KIND_WITH_PARENT | IS_CONNECTABLE);
    assert_eq!(
        handle.bytes,
        [node_bytes(INNER, 8), node_bytes(DIR, 7)].concat()
    );
    served.finish();
}

fn cached_files_need_no_lookup(env: &Env) {
    let exported = Exported::with(Fs::new(env));
    let handle = FileHandle::of(&exported.served.path("file"), 0).unwrap();
    exported.served.clear_log();
    let mut file = handle.open(&exported.mount, libc::O_RDONLY).unwrap();
    assert_eq!(sys::read_all(&mut file, 100).unwrap(), CONTENTS);
    assert_eq!(exported.lookups(), []);
    drop(file);
    exported.finish();
}

fn forgotten_file_is_looked_up_by_dot(env: &Env) {
    let exported = Exported::new(env);
    let handle = exported.forgotten("file", 0);
    let mut file = handle.open(&exported.mount, libc::O_RDONLY).unwrap();
    assert_eq!(exported.lookups(), owned(&[(FILE, ".")]));
    assert_eq!(sys::read_all(&mut file, 100).unwrap(), CONTENTS);
    assert_eq!(exported.served.model().lookups[&FILE], 1);
    drop(file);
    // It has no name by which it could be found: nothing keeps it.
    eventually("it is forgotten", || {
        exported.served.model().lookups[&FILE] == 0
    });
    exported.finish();
}

fn without_export_support(env: &Env) {
    let exported = Exported::with(Fs::new(env));
    let handle = exported.forgotten("file", 0);
    system::assert_errno(handle.open(&exported.mount, 0), Errno::ESTALE);
    assert_eq!(exported.lookups(), []);
    exported.finish();
}

fn minor_8_has_no_export_support(env: &Env) {
    let fs = Fs::with_minor(env, 8, init_flags::EXPORT_SUPPORT);
    let dir = fs.dir.clone();
    let caller = call(move || open_in(&dir, &handle(FILE, 0)));
    answer_opendir(&fs);
    system::assert_errno(caller.result(), Errno::ESTALE);
    fs.expect(Opcode::Releasedir);
}

fn of_another_generation(env: &Env) {
    let exported = Exported::new(env);
    let old = exported.forgotten("file", 0);
    exported.served.model().node(FILE).generation = 1;
    system::assert_errno(old.open(&exported.mount, 0), Errno::ESTALE);
    assert_eq!(exported.lookups(), owned(&[(FILE, ".")]));
    drop(handle(FILE, 1).open(&exported.mount, 0).unwrap());
    // One that is cached is as stale.
    let file = sys::open(&exported.served.path("file")).unwrap();
    exported.served.clear_log();
    system::assert_errno(old.open(&exported.mount, 0), Errno::ESTALE);
    assert_eq!(exported.lookups(), []);
    drop(file);
    exported.forget();
    exported.finish();
}

fn answers_that_are_no_use(env: &Env) {
    let exported = Exported::new(env);
    let handle = exported.forgotten("file", 0);
    let none = abi::EntryOut::default();
    let mut typeless = Model::new().entry(FILE);
    typeless.attr.mode = 0;
    for entry in [none, typeless] {
        exported
            .served
            .hook(move |req| (req.opcode() == Opcode::Lookup).then(|| answer(&entry)));
        system::assert_errno(handle.open(&exported.mount, 0), Errno::ESTALE);
    }
    for error in [Errno::ENOENT, Errno::EIO, Errno::EACCES] {
        exported
            .served
            .hook(move |req| (req.opcode() == Opcode::Lookup).then_some(Answer::Error(error)));
        system::assert_errno(handle.open(&exported.mount, 0), Errno::ESTALE);
    }
    exported
        .served
        .hook(|req| (req.opcode() == Opcode::Lookup).then_some(Answer::Error(Errno::ENOMEM)));
    system::assert_errno(handle.open(&exported.mount, 0), Errno::ENOMEM);
    exported.served.model().hook = None;
    // Another node than the one that was asked for is forgotten.
    exported.served.model().link(FILE, ".", INNER);
    system::assert_errno(handle.open(&exported.mount, 0), Errno::ESTALE);
    assert!(exported.served.model().lookups.contains_key(&INNER));
    exported.forget();
    exported.finish();
}

fn handles_that_are_none(env: &Env) {
    let exported = Exported::new(env);
    let good = node_bytes(FILE, 0);
    for (kind, bytes) in [
        (KIND, vec![0; 4]),
        (KIND, good[..8].to_vec()),
        (KIND, good[..11].to_vec()),
        (KIND, node_bytes(0, 0)),
        (KIND_WITH_PARENT, good[..8].to_vec()),
        (0, good.clone()),
        (1, good.clone()),
        (0x80, good.clone()),
        (0x83, good.clone()),
        (0xff, good.clone()),
    ] {
        let handle = FileHandle { kind, bytes };
        system::assert_errno(handle.open(&exported.mount, 0), Errno::ESTALE);
    }
    assert_eq!(exported.lookups(), []);
    // Longer ones, and those whose parent is missing, are good enough.
    for (kind, len) in [(KIND, 128), (KIND_WITH_PARENT, 12), (KIND_WITH_PARENT, 23)] {
        let mut bytes = good.clone();
        bytes.resize(len, 0xee);
        drop(FileHandle { kind, bytes }.open(&exported.mount, 0).unwrap());
    }
    exported.forget();
    exported.finish();
}

fn root_has_a_handle(env: &Env) {
    let exported = Exported::with(Fs::new(env));
    let root = FileHandle::of(&exported.served.dir, 0).unwrap();
    assert_eq!(root, handle(abi::ROOT_ID, 0));
    exported.served.clear_log();
    let dir = root
        .open(&exported.mount, libc::O_DIRECTORY)
        .expect("the root");
    assert_eq!(path_of(&dir), exported.served.dir);
    assert_eq!(exported.lookups(), []);
    drop(dir);
    exported.finish();
}

fn directory_finds_its_way_to_the_root(env: &Env) {
    let exported = Exported::new(env);
    {
        let mut model = exported.served.model();
        model.add(9, libc::S_IFDIR | 0o755, b"");
        model.link(DIR, "deep", 9);
        model.link(9, ".", 9);
        model.link(9, "..", DIR);
    }
    let handle = exported.forgotten("dir/deep", 0);
    let dir = handle.open(&exported.mount, libc::O_DIRECTORY).unwrap();
    assert_eq!(path_of(&dir), exported.served.path("dir/deep"));
    assert_eq!(
        exported.lookups(),
        owned(&[
            (9, "."),
            (9, ".."),
            (DIR, "deep"),
            (DIR, ".."),
            (abi::ROOT_ID, "dir")
        ])
    );
    // From there, names lead up.
    let above = sys::stat(&exported.served.path("dir/deep/../inner")).unwrap();
    assert_eq!(above.st_ino, INNER);
    drop(dir);
    exported.forget();
    exported.finish();
}

fn directory_whose_parent_is_not_known(env: &Env) {
    let exported = Exported::new(env);
    let handle = exported.forgotten("dir", 0);
    exported.served.model().node(DIR).entries.remove("..");
    system::assert_errno(
        handle.open(&exported.mount, libc::O_DIRECTORY),
        Errno::ESTALE,
    );
    assert_eq!(exported.lookups(), owned(&[(DIR, "."), (DIR, "..")]));
    // A reply without a node says the same.
    exported.forget();
    exported.served.hook(|req| {
        (req.opcode() == Opcode::Lookup && req.name() == "..")
            .then(|| answer(&abi::EntryOut::default()))
    });
    system::assert_errno(
        handle.open(&exported.mount, libc::O_DIRECTORY),
        Errno::ESTALE,
    );
    exported.served.model().hook = None;
    // A parent in which it is not to be found.
    exported.served.model().link(DIR, "..", abi::ROOT_ID);
    exported
        .served
        .model()
        .node(abi::ROOT_ID)
        .entries
        .remove("dir");
    exported.forget();
    system::assert_errno(
        handle.open(&exported.mount, libc::O_DIRECTORY),
        Errno::ESTALE,
    );
    exported.forget();
    exported.finish();
}

fn connectable_handle_finds_its_parent(env: &Env) {
    let exported = Exported::new(env);
    let handle = exported.forgotten("dir/inner", AT_HANDLE_CONNECTABLE);
    let file = handle.open(&exported.mount, libc::O_RDONLY).unwrap();
    assert_eq!(path_of(&file), exported.served.path("dir/inner"));
    assert_eq!(
        exported.lookups(),
        owned(&[
            (INNER, "."),
            (DIR, "."),
            (DIR, ".."),
            (abi::ROOT_ID, "dir"),
            (DIR, "inner")
        ])
    );
    drop(file);
    // Without the parent in it, there is nothing to find it by.
    exported.forget();
    let mut short = handle.clone();
    short.bytes.truncate(20);
    system::assert_errno(short.open(&exported.mount, 0), Errno::ESTALE);
    exported.forget();
    exported.finish();
}

fn entry_found_by_handle_does_not_hold(env: &Env) {
    let exported = Exported::new(env);
    let path = exported.served.path("file");
    let handle = FileHandle::of(&path, 0).unwrap();
    exported.served.clear_log();
    sys::stat(&path).unwrap();
    assert_eq!(exported.lookups(), []);
    // Who opens it by its handle may know more than the kernel: the name is asked for again.
    drop(handle.open(&exported.mount, 0).unwrap());
    sys::stat(&path).unwrap();
    assert_eq!(exported.lookups(), owned(&[(abi::ROOT_ID, "file")]));
    exported.finish();
}

fn handles_that_only_tell_apart(env: &Env) {
    let flags = init_flags::EXPORT_SUPPORT | init_flags::NO_EXPORT_SUPPORT;
    let exported = Exported::with(Fs::with_flags(env, flags));
    let path = exported.served.path("file");
    sys::stat(&path).unwrap();
    for flags in [0, AT_HANDLE_CONNECTABLE] {
        system::assert_errno(FileHandle::of(&path, flags), Errno::EOPNOTSUPP);
    }
    let own = FileHandle::of(&path, AT_HANDLE_FID).unwrap();
    assert_eq!(own, handle(FILE, 0));
    system::assert_errno(own.open(&exported.mount, 0), Errno::ESTALE);
    exported.finish();
}

fn killed_caller_gives_the_node_back(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::EXPORT_SUPPORT);
    let caller = process(|| system::errno(open_in(&fs.dir, &handle(FILE, 0))));
    answer_opendir(&fs);
    let lookup = fs.expect(Opcode::Lookup);
    assert_eq!((lookup.nodeid(), lookup.name()), (FILE, ".".into()));
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    // Ours goes at once, and must have gone, not to take the reply after all.
    assert!(!env.is_rust() || caller.ended_within(PATIENCE).is_some());
    fs.reply(&lookup, &Model::cached().entry(FILE));
    // The directory that it had open is closed, sooner or later.
    let forget = loop {
        let req = fs.next();
        match req.opcode() {
            Opcode::Releasedir => fs.reply_bytes(&req, &[]),
            Opcode::Forget => break req,
            _ => panic!("{:?}", req.request()),
        }
    };
    assert_eq!(forget.nodeid(), FILE);
    assert_eq!(forget.arg::<abi::ForgetIn>().nlookup, 1);
}
