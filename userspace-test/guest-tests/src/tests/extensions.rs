// SPDX-License-Identifier: GPL-2.0

//! What requests that make something say beside their arguments: the group of the directory, where
//! the caller is in that by a supplementary group, and the label that a security module wants.

use crate::{
    caller::call,
    env::Env,
    fs::{Fs, Req},
    model::{Answer, Model, Served, DIR},
    sys, system,
    tests::tests,
};
use libc::{O_CREAT, O_RDWR, O_TMPFILE, S_IFIFO};
use nix::unistd::{setfsgid, setgroups, Gid};
use rawfuse::{
    abi::{ext_type, init_flags, ExtHeader, Opcode, SecctxHeader, SuppGroups},
    Errno,
};
use std::{
    io,
    path::Path,
    sync::{Arc, Mutex},
};
use zerocopy::IntoBytes;

tests![
    supplementary_group,
    group_that_needs_no_saying,
    only_what_makes_something,
    mknod_in_place_of_create,
    labels_without_a_security_module,
    one_after_another,
    none_without_the_flags,
];

const GROUP: u32 = 500;

/// Makes something in the directory of that path.
type Make = fn(&Path) -> io::Result<()>;

const MAKING: &[(Opcode, Make)] = &[
    (Opcode::Mknod, |dir| {
        sys::mknod(&dir.join("fifo"), S_IFIFO | 0o600, 0)
    }),
    (Opcode::Mkdir, |dir| sys::mkdir(&dir.join("new dir"), 0o700)),
    (Opcode::Symlink, |dir| {
        sys::symlink("target", &dir.join("new link"))
    }),
    (Opcode::Create, |dir| {
        sys::open_with(&dir.join("new file"), O_CREAT | O_RDWR).map(drop)
    }),
    (Opcode::Tmpfile, |dir| {
        sys::open_with(dir, O_TMPFILE | O_RDWR).map(drop)
    }),
];

/// Requests, and the extensions of each.
type Asked = Vec<(Opcode, Vec<u8>)>;

/// A file system, and what it was asked.
struct Extended {
    served: Served,
    asked: Arc<Mutex<Asked>>,
}

impl Extended {
    #[track_caller]
    fn new(env: &Env, flags: u64) -> Self {
        // Before there are other threads.
        let groups = [GROUP - 1, GROUP].map(Gid::from_raw);
        setgroups(&groups).expect("setgroups");
        let mut model = Model::cached();
        model.node(DIR).attr.gid = GROUP;
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = asked.clone();
        model.hook = Some(Box::new(move |_, req| {
            log.lock().unwrap().push((req.opcode(), extensions(req)));
            None
        }));
        let served = Served::new(Fs::with_flags(env, flags), model);
        Self { served, asked }
    }

    /// The extensions of the requests of that kind since the last time.
    fn take(&self, opcode: Opcode) -> Vec<Vec<u8>> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let of_kind = asked.into_iter().filter(|(kind, _)| *kind == opcode);
        of_kind.map(|(_, extensions)| extensions).collect()
    }

    /// Makes something of each kind in `dir`; its request has these extensions.
    #[track_caller]
    fn make_all(&self, expected: &[u8]) {
        for (opcode, make) in MAKING {
            self.take(*opcode);
            let made = make(&self.served.path("dir"));
            assert!(made.is_ok(), "{}: {made:?}", opcode.name());
            assert_eq!(self.take(*opcode), [expected], "{}", opcode.name());
        }
    }
}

/// What a request says beside its arguments.
fn extensions(req: &Req) -> Vec<u8> {
    let body = req.request().body();
    let len = usize::from(req.header().total_extlen) * 8;
    body[body.len() - len..].to_vec()
}

/// An extension that says that the caller is in [`GROUP`].
fn group() -> Vec<u8> {
    let header = ExtHeader {
        size: 16,
        r#type: ext_type::EXT_GROUPS,
    };
    let groups = SuppGroups { nr_groups: 1 };
    [header.as_bytes(), groups.as_bytes(), GROUP.as_bytes()].concat()
}

/// An extension that says that there is no label.
fn no_label() -> Vec<u8> {
    let header = SecctxHeader {
        size: 8,
        nr_secctx: 0,
    };
    header.as_bytes().to_vec()
}

fn supplementary_group(env: &Env) {
    let mut extended = Extended::new(env, init_flags::CREATE_SUPP_GROUP);
    extended.make_all(&group());
    extended.served.finish();
}

fn group_that_needs_no_saying(env: &Env) {
    let mut extended = Extended::new(env, init_flags::CREATE_SUPP_GROUP);
    let make = |fsgid| {
        let dir = extended.served.path("dir");
        let make = move || {
            setfsgid(Gid::from_raw(fsgid));
            let file = dir.join(format!("of {fsgid}"));
            sys::mknod(&file, S_IFIFO | 0o600, 0)
        };
        call(make).result().expect("mknod");
        extended.take(Opcode::Mknod)
    };
    // It is in the header.
    assert_eq!(make(GROUP), [b""]);
    assert_eq!(make(GROUP + 1), [group()]);
    // The caller is not in it.
    extended.served.model().node(DIR).attr.gid = GROUP + 2;
    extended.served.model().entry_valid = 0;
    system::drop_caches(2);
    assert_eq!(make(GROUP + 3), [b""]);
    extended.served.finish();
}

fn only_what_makes_something(env: &Env) {
    let flags = init_flags::CREATE_SUPP_GROUP | init_flags::SECURITY_CTX;
    let mut extended = Extended::new(env, flags);
    let path = |name| extended.served.path(name);
    sys::link(&path("dir/inner"), &path("dir/linked")).unwrap();
    sys::rename(&path("dir/linked"), &path("dir/renamed"), 0).unwrap();
    sys::contents(&path("dir/renamed")).unwrap();
    sys::unlink(&path("dir/renamed")).unwrap();
    for (opcode, extensions) in extended.asked.lock().unwrap().iter() {
        assert_eq!(extensions, b"", "{}", opcode.name());
    }
    extended.served.finish();
}

fn mknod_in_place_of_create(env: &Env) {
    let mut extended = Extended::new(env, init_flags::CREATE_SUPP_GROUP);
    let log = extended.asked.clone();
    extended.served.hook(move |req| {
        log.lock().unwrap().push((req.opcode(), extensions(req)));
        (req.opcode() == Opcode::Create).then_some(Answer::Error(Errno::ENOSYS))
    });
    let file = extended.served.path("dir/new");
    drop(sys::open_with(&file, O_CREAT | O_RDWR).unwrap());
    assert_eq!(extended.take(Opcode::Mknod), [group()]);
    extended.served.finish();
}

fn labels_without_a_security_module(env: &Env) {
    let mut extended = Extended::new(env, init_flags::SECURITY_CTX);
    extended.make_all(&no_label());
    extended.served.finish();
}

fn one_after_another(env: &Env) {
    let flags = init_flags::CREATE_SUPP_GROUP | init_flags::SECURITY_CTX;
    let mut extended = Extended::new(env, flags);
    extended.make_all(&[no_label(), group()].concat());
    extended.served.finish();
}

fn none_without_the_flags(env: &Env) {
    let mut extended = Extended::new(env, 0);
    extended.make_all(b"");
    extended.served.finish();
}
