// SPDX-License-Identifier: GPL-2.0

//! References on inodes: each that a lookup gave comes back by a forget, once.

use crate::{
    caller::{call, eventually},
    env::Env,
    fs::{Fs, Req},
    model::{Model, Served, DIR, FILE},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Errno, InitConfig, Operation,
};
use std::{collections::BTreeMap, time::Duration};

tests![
    forget_on_the_wire,
    batch_forget_on_the_wire,
    batches_fit_the_buffer,
    minor_15_has_no_batches,
    counts_add_up,
    counts_add_up_with_many_callers => 60,
    counts_add_up_when_inodes_change,
    root_is_not_forgotten,
    negative_entries_give_no_reference,
    open_files_keep_their_inode,
    forgets_and_requests_take_turns,
];

/// The forgets in a request, if it is one of that kind.
fn forgets(req: &Req) -> Option<Vec<(u64, u64)>> {
    match req.operation() {
        Operation::Forget(arg) => Some(vec![(req.nodeid(), arg.nlookup)]),
        Operation::BatchForget(all) => {
            Some(all.iter().map(|one| (one.nodeid, one.nlookup)).collect())
        }
        _ => None,
    }
}

/// Looks up `name`, and gets it `nodeid`, whose attributes and name are valid for `valid` seconds.
#[track_caller]
fn look_up(fs: &Fs, name: &str, nodeid: u64, valid: u64) {
    let path = fs.path(name);
    let caller = call(move || sys::stat(&path).map(drop));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(
        &lookup,
        &abi::EntryOut {
            nodeid,
            entry_valid: valid,
            attr_valid: 3600,
            attr: Model::new().node(FILE).attr,
            ..Default::default()
        },
    );
    caller.result().expect("stat");
}

fn forget_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    for _ in 0..3 {
        look_up(&fs, "x", 7, 0);
    }
    let dropper = call(|| system::drop_caches(2));
    let forget = fs.expect(Opcode::Forget);
    let header = forget.header();
    assert_eq!((header.len, header.nodeid), (48, 7));
    assert_eq!((header.uid, header.gid, header.pid), (0, 0, 0));
    assert_eq!(header.unique % 2, 0);
    let arg: abi::ForgetIn = forget.arg();
    assert_eq!(arg.nlookup, 3);
    dropper.result();
    fs.expect_silence(Duration::from_millis(50));
}

fn batch_forget_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    for nodeid in 10..20 {
        look_up(&fs, &nodeid.to_string(), nodeid, 3600);
    }
    call(|| system::drop_caches(2)).result();
    let forget = fs.expect(Opcode::BatchForget);
    let header = forget.header();
    assert_eq!((header.len, header.nodeid), (40 + 8 + 10 * 16, 0));
    let mut all = forgets(&forget).unwrap();
    all.sort_unstable();
    let expected: Vec<_> = (10..20).map(|nodeid| (nodeid, 1)).collect();
    assert_eq!(all, expected);
    assert_eq!(forget.request().body()[4..8], [0; 4]);
    fs.expect_silence(Duration::from_millis(50));
}

fn batches_fit_the_buffer(env: &Env) {
    let config = InitConfig {
        max_write: 4096,
        ..Default::default()
    };
    let fs = Fs::with(env, |options| options, &config);
    for nodeid in 0..700 {
        look_up(&fs, &nodeid.to_string(), nodeid + 10, 3600);
    }
    call(|| system::drop_caches(2)).result();
    let mut seen = 0;
    while seen < 700 {
        let mut bytes = vec![0; 8192];
        let len = fs.channel.read(&mut bytes).expect("a batch");
        let batch = forgets(&Req::new(&bytes[..len])).expect("forgets");
        assert!(batch.len() <= (8192 - 40 - 8) / 16);
        seen += batch.len();
    }
    assert_eq!(seen, 700);
    fs.expect_silence(Duration::from_millis(50));
}

fn minor_15_has_no_batches(env: &Env) {
    let fs = Fs::with_minor(env, 15, 0);
    for nodeid in 10..20 {
        look_up(&fs, &nodeid.to_string(), nodeid, 3600);
    }
    call(|| system::drop_caches(2)).result();
    let mut all: Vec<_> = (0..10)
        .map(|_| {
            let forget = fs.expect(Opcode::Forget);
            (forget.nodeid(), forget.arg::<abi::ForgetIn>().nlookup)
        })
        .collect();
    all.sort_unstable();
    let expected: Vec<_> = (10..20).map(|nodeid| (nodeid, 1)).collect();
    assert_eq!(all, expected);
}

/// Drops all that can be dropped, and waits until no reference is left.
#[track_caller]
fn settle(served: &Served) {
    eventually("no references are left", || {
        system::drop_caches(2);
        served.model().lookups.values().all(|&count| count <= 0)
    });
    let lookups = served.model().lookups.clone();
    let wrong: BTreeMap<_, _> = lookups
        .into_iter()
        .filter(|&(_, count)| count != 0)
        .collect();
    assert_eq!(wrong, BTreeMap::new(), "given back more often than taken");
}

fn counts_add_up(env: &Env) {
    for model in [Model::new(), Model::cached()] {
        let mut served = Served::new(Fs::new(env), model);
        for _ in 0..10 {
            sys::stat(&served.path("file")).unwrap();
            sys::stat(&served.path("dir/inner")).unwrap();
            sys::stat(&served.path("link")).unwrap();
            sys::contents(&served.path("dir/inner")).unwrap();
            sys::list(&served.path("dir")).unwrap();
            system::assert_errno(sys::stat(&served.path("dir/none")), Errno::ENOENT);
        }
        settle(&served);
        served.finish();
    }
}

fn counts_add_up_with_many_callers(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::PARALLEL_DIROPS);
    let mut served = Served::with_threads(fs, Model::new(), 3);
    let callers: Vec<_> = (0..6)
        .map(|caller| {
            let paths = ["file", "dir", "dir/inner", "link", "none"].map(|name| served.path(name));
            call(move || {
                for round in 0..100 {
                    // What is looked at goes while others look at it.
                    if round % 25 == caller {
                        system::drop_caches(2);
                    }
                    for path in &paths {
                        system::errno(sys::lstat(path));
                    }
                }
            })
        })
        .collect();
    for caller in &callers {
        caller.result();
    }
    settle(&served);
    served.finish();
}

fn counts_add_up_when_inodes_change(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    for round in 0..20 {
        sys::stat(&served.path("file")).unwrap();
        let mut model = served.model();
        match round % 3 {
            0 => model.node(FILE).generation += 1,
            1 => model.link(abi::ROOT_ID, "file", DIR),
            _ => model.link(abi::ROOT_ID, "file", FILE),
        }
    }
    settle(&served);
    served.finish();
}

fn root_is_not_forgotten(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    sys::stat(&served.path("dir/inner")).unwrap();
    settle(&served);
    served.finish();
    assert!(!served.model().lookups.contains_key(&abi::ROOT_ID));
}

fn negative_entries_give_no_reference(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("none");
    let caller = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(
        &lookup,
        &abi::EntryOut {
            entry_valid: 3600,
            ..Default::default()
        },
    );
    system::assert_errno(caller.result(), Errno::ENOENT);
    call(|| system::drop_caches(2)).result();
    fs.expect_silence(Duration::from_millis(100));
}

fn open_files_keep_their_inode(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("dir/inner")).unwrap();
    system::drop_caches(3);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(served.model().lookups[&crate::model::INNER], 1);
    // The directories above it stay, too: the open file has a name.
    assert_eq!(served.model().lookups[&DIR], 1);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    settle(&served);
    served.finish();
}

fn forgets_and_requests_take_turns(env: &Env) {
    // When both wait: at most 16 forgets, then at most 8 requests, and so on.
    let fs = Fs::with_minor(env, 15, 0);
    for nodeid in 0..100 {
        look_up(&fs, &nodeid.to_string(), nodeid + 10, 3600);
    }
    call(|| system::drop_caches(2)).result();
    // Without PARALLEL_DIROPS there is one lookup of a directory at a time; GETATTR has no such
    // limit.
    let callers: Vec<_> = (0..40)
        .map(|_| {
            let dir = fs.dir.clone();
            call(move || sys::stat(&dir).map(drop))
        })
        .collect();
    let waiting = || {
        let file = fs.control(env).join("waiting");
        std::fs::read_to_string(file)
            .unwrap()
            .trim()
            .parse::<u32>()
            .unwrap()
    };
    eventually("40 requests wait", || waiting() == 40);
    let (mut forgets, mut requests) = (0, 0);
    let (mut kind, mut run) = (Opcode::Init, 0);
    while forgets < 100 || requests < 40 {
        let req = fs.next();
        let opcode = req.opcode();
        run = if opcode == kind { run + 1 } else { 1 };
        kind = opcode;
        let both_wait = forgets < 100 && requests < 40;
        match opcode {
            Opcode::Forget => {
                forgets += 1;
                assert!(!both_wait || run <= 16, "{run} forgets in a row");
            }
            Opcode::Getattr => {
                requests += 1;
                assert!(!both_wait || run <= 8, "{run} requests in a row");
                fs.reply(
                    &req,
                    &abi::AttrOut {
                        attr: Model::new().node(abi::ROOT_ID).attr,
                        ..Default::default()
                    },
                );
            }
            other => panic!("{other:?}"),
        }
    }
    for caller in &callers {
        caller.result().unwrap();
    }
}
