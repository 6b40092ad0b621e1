// SPDX-License-Identifier: GPL-2.0

//! `READDIRPLUS`: entries that were looked up on the way, and what becomes of the references that
//! come with them.

use crate::{
    caller::{eventually, process},
    env::Env,
    fs::Fs,
    model::{
        answer,
        plus::{record, row},
        Answer, Model, Served, DIR, FILE, INNER, LINK,
    },
    sys, system,
    tests::tests,
};
use nix::sys::signal::Signal;
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Errno,
};
use std::{collections::BTreeMap, io, time::Duration};

tests![
    what_is_on_the_wire,
    entries_are_looked_up,
    attributes_come_along,
    without_a_node_it_is_readdir,
    not_without_the_flag,
    auto_begins_with_it,
    auto_goes_on_while_it_is_of_use,
    counts_add_up,
    what_does_not_fit_is_looked_up_too,
    dots_give_no_reference,
    root_is_given_back,
    bad_attributes_are_given_back,
    another_inode_takes_the_name,
    another_generation_takes_the_name,
    negative_name_is_there_now,
    malformed_entry,
    killed_caller_gives_back,
    epoch_of_an_earlier_reply,
];

const PLUS: u64 = init_flags::DO_READDIRPLUS;
const AUTO: u64 = init_flags::DO_READDIRPLUS | init_flags::READDIRPLUS_AUTO;

fn served(env: &Env, flags: u64, model: Model) -> Served {
    let served = Served::new(Fs::with_flags(env, flags), model);
    served.model().readdirplus = row;
    served
}

fn what_is_on_the_wire(env: &Env) {
    let fs = Fs::with_flags(env, PLUS);
    let dir = fs.dir.clone();
    let lister = crate::caller::call(move || sys::list(&dir));
    let out = abi::OpenOut {
        fh: 77,
        ..Default::default()
    };
    fs.reply(&fs.expect(Opcode::Opendir), &out);
    let req = fs.expect(Opcode::Readdirplus);
    assert_eq!((req.header().len, req.nodeid()), (80, 1));
    let arg: abi::ReadIn = req.arg();
    assert_eq!((arg.fh, arg.offset, arg.size), (77, 0, 32 * 1024));
    let mut model = Model::cached();
    fs.reply_bytes(&req, &record(model.entry(FILE), 5, b"file"));
    let req = fs.expect(Opcode::Readdirplus);
    assert_eq!(req.arg::<abi::ReadIn>().offset, 5);
    fs.reply_bytes(&req, &[]);
    fs.reply_bytes(&fs.expect(Opcode::Releasedir), &[]);
    let entries = lister.result().unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].ino, entries[0].off), (FILE, 5));
    assert_eq!(
        (entries[0].kind, entries[0].name.as_os_str()),
        (libc::DT_REG, "file".as_ref())
    );
}

fn entries_are_looked_up(env: &Env) {
    let mut served = served(env, PLUS, Model::cached());
    sys::list(&served.dir).unwrap();
    for path in ["file", "dir", "link"] {
        sys::lstat(&served.path(path)).unwrap();
    }
    assert_eq!(served.count(Opcode::Lookup), 0);
    assert_eq!(served.count(Opcode::Getattr), 0);
    assert_eq!(served.count(Opcode::Readdir), 0);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn attributes_come_along(env: &Env) {
    let mut served = served(env, PLUS, Model::cached());
    sys::stat(&served.path("file")).unwrap();
    served.model().node(FILE).attr.uid = 7;
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_uid, 0);
    sys::list(&served.dir).unwrap();
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_uid, 7);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn without_a_node_it_is_readdir(env: &Env) {
    let mut served = served(env, PLUS, Model::cached());
    served.hook(|req| {
        if req.opcode() != Opcode::Readdirplus {
            return None;
        }
        let at_start = req.arg::<abi::ReadIn>().offset == 0;
        let entry = abi::EntryOut {
            attr: Model::new().node(FILE).attr,
            ..Default::default()
        };
        Some(Answer::Bytes(match at_start {
            true => record(entry, 1, b"file"),
            false => Vec::new(),
        }))
    });
    assert_eq!(sys::list(&served.dir).unwrap().len(), 1);
    sys::stat(&served.path("file")).unwrap();
    assert_eq!(served.count(Opcode::Lookup), 1);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn not_without_the_flag(env: &Env) {
    for flags in [0, init_flags::READDIRPLUS_AUTO] {
        let mut served = served(env, flags, Model::cached());
        sys::list(&served.dir).unwrap();
        assert_eq!(served.count(Opcode::Readdirplus), 0);
        served.wait_for(Opcode::Releasedir, 1);
        served.finish();
    }
}

fn auto_begins_with_it(env: &Env) {
    let mut served = served(env, AUTO, Model::cached());
    sys::list(&served.dir).unwrap();
    served.wait_for(Opcode::Releasedir, 1);
    // The second, at the end of the directory, is not worth it.
    assert_eq!(served.count(Opcode::Readdirplus), 1);
    assert_eq!(served.count(Opcode::Readdir), 1);
    served.finish();
}

fn auto_goes_on_while_it_is_of_use(env: &Env) {
    let mut served = served(env, AUTO, Model::cached());
    let dir = sys::open(&served.dir).unwrap();
    sys::getdents(&dir, 4096).unwrap();
    // Somebody looks at an entry that it brought.
    sys::lstat(&served.path("file")).unwrap();
    assert_eq!(served.count(Opcode::Lookup), 0);
    served.clear_log();
    assert_eq!(sys::getdents(&dir, 4096).unwrap(), []);
    assert_eq!(served.count(Opcode::Readdirplus), 1);
    // Once.
    sys::lstat(&served.path("file")).unwrap();
    assert_eq!(sys::getdents(&dir, 4096).unwrap(), []);
    assert_eq!(served.count(Opcode::Readdir), 1);
    // Or looks up what it did not bring.
    served.model().link(abi::ROOT_ID, "other", INNER);
    sys::lstat(&served.path("other")).unwrap();
    served.clear_log();
    sys::getdents(&dir, 4096).unwrap();
    assert_eq!(served.count(Opcode::Readdirplus), 1);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
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
    for flags in [PLUS, AUTO] {
        for model in [Model::new(), Model::cached()] {
            let mut served = served(env, flags, model);
            for _ in 0..5 {
                sys::list(&served.dir).unwrap();
                sys::list(&served.path("dir")).unwrap();
                sys::lstat(&served.path("link")).unwrap();
                sys::stat(&served.path("dir/inner")).unwrap();
            }
            settle(&served);
            served.finish();
        }
    }
}

fn what_does_not_fit_is_looked_up_too(env: &Env) {
    let mut served = served(env, PLUS, Model::cached());
    let dir = sys::open(&served.dir).unwrap();
    // Room for one.
    assert_eq!(sys::getdents(&dir, 32).unwrap().len(), 1);
    let counts = served.model().lookups.clone();
    assert_eq!([FILE, DIR, LINK].map(|nodeid| counts[&nodeid]), [1; 3]);
    for path in ["file", "dir", "link"] {
        sys::lstat(&served.path(path)).unwrap();
    }
    assert_eq!(served.count(Opcode::Lookup), 0);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    settle(&served);
    served.finish();
}

/// Answers the first READDIRPLUS with `reply`, and those that follow with nothing.
fn answer_once(served: &Served, reply: Vec<u8>) {
    let mut once = Some(reply);
    served.hook(move |req| {
        (req.opcode() == Opcode::Readdirplus)
            .then(|| Answer::Bytes(once.take().unwrap_or_default()))
    });
}

fn dots_give_no_reference(env: &Env) {
    let mut served = served(env, PLUS, Model::cached());
    let mut reply = record(Model::cached().entry(DIR), 1, b".");
    reply.extend(record(Model::cached().entry(DIR), 2, b".."));
    answer_once(&served, reply);
    assert_eq!(sys::list(&served.dir).unwrap().len(), 2);
    served.wait_for(Opcode::Releasedir, 1);
    system::drop_caches(2);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(served.model().lookups.get(&DIR), None);
    served.finish();
}

fn root_is_given_back(env: &Env) {
    let mut served = served(env, PLUS, Model::cached());
    let reply = record(Model::cached().entry(abi::ROOT_ID), 1, b"root");
    answer_once(&served, reply);
    // The reader gets its name, which leads nowhere.
    assert_eq!(sys::list(&served.dir).unwrap().len(), 1);
    eventually("the reference is given back", || {
        served.model().lookups.get(&abi::ROOT_ID) == Some(&-1)
    });
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn bad_attributes_are_given_back(env: &Env) {
    for bad in [
        abi::Attr {
            mode: 0o644,
            ..Default::default()
        },
        abi::Attr {
            mode: libc::S_IFREG | 0o644,
            size: 1 << 63,
            ..Default::default()
        },
    ] {
        let mut served = served(env, PLUS, Model::cached());
        let entry = abi::EntryOut {
            attr: bad,
            ..Model::cached().entry(FILE)
        };
        let mut reply = record(entry, 1, b"bad");
        reply.extend(record(Model::cached().entry(LINK), 2, b"link"));
        answer_once(&served, reply);
        assert_eq!(sys::list(&served.dir).unwrap().len(), 2);
        eventually("the reference is given back", || {
            served.model().lookups.get(&FILE) == Some(&-1)
        });
        // What follows is taken.
        assert_eq!(served.model().lookups.get(&LINK), None);
        sys::lstat(&served.path("link")).unwrap();
        assert_eq!(served.count(Opcode::Lookup), 0);
        served.wait_for(Opcode::Releasedir, 1);
        served.finish();
    }
}

fn another_inode_takes_the_name(env: &Env) {
    let mut served = served(env, PLUS, Model::cached());
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_ino, FILE);
    served.model().link(abi::ROOT_ID, "file", INNER);
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_ino, FILE);
    sys::list(&served.dir).unwrap();
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_ino, INNER);
    assert_eq!(served.count(Opcode::Lookup), 1);
    settle(&served);
    served.finish();
}

fn another_generation_takes_the_name(env: &Env) {
    let mut served = served(env, PLUS, Model::cached());
    let file = sys::open(&served.path("file")).unwrap();
    served.model().node(FILE).generation = 9;
    sys::list(&served.dir).unwrap();
    // What was open is of a file that is no more.
    system::assert_errno(sys::fstat(&file), Errno::EIO);
    sys::stat(&served.path("file")).unwrap();
    assert_eq!(served.count(Opcode::Lookup), 1);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    settle(&served);
    served.finish();
}

fn negative_name_is_there_now(env: &Env) {
    let mut served = served(env, PLUS, Model::cached());
    served.hook(|req| {
        (req.opcode() == Opcode::Lookup).then(|| {
            answer(&abi::EntryOut {
                entry_valid: 3600,
                ..Default::default()
            })
        })
    });
    system::assert_errno(sys::stat(&served.path("file")), Errno::ENOENT);
    sys::list(&served.dir).unwrap();
    sys::stat(&served.path("file")).unwrap();
    assert_eq!(served.count(Opcode::Lookup), 1);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn malformed_entry(env: &Env) {
    let entry = || Model::cached().entry(FILE);
    let whole = record(entry(), 1, b"file");
    let expect = |reply: Vec<u8>| -> io::Result<usize> {
        let mut served = served(env, PLUS, Model::cached());
        answer_once(&served, reply);
        let entries = sys::list(&served.dir);
        served.wait_for(Opcode::Releasedir, 1);
        served.finish();
        entries.map(|entries| entries.len())
    };
    for name in [&b""[..], b"a/b", &[b'n'; 4096]] {
        system::assert_errno(expect(record(entry(), 1, name)), Errno::EIO);
    }
    for len in [1, 128, 151, 152, 155, 159] {
        assert_eq!(expect(whole[..len].to_vec()).unwrap(), 0, "{len}");
    }
    let mut endless = whole.clone();
    endless[144..148].copy_from_slice(&u32::MAX.to_ne_bytes());
    system::assert_errno(expect(endless), Errno::EIO);
    assert_eq!(expect(whole).unwrap(), 1);
}

fn killed_caller_gives_back(env: &Env) {
    if !env.is_rust() {
        crate::runner::skip("a caller whose request is with the daemon is not killed there");
    }
    let fs = Fs::with_flags(env, PLUS);
    let dir = fs.dir.clone();
    let lister = process(move || system::errno(sys::list(&dir)));
    fs.reply(&fs.expect(Opcode::Opendir), &abi::OpenOut::default());
    let req = fs.expect(Opcode::Readdirplus);
    lister.signal(Signal::SIGKILL);
    assert!(lister.ended_within(crate::caller::PATIENCE).is_some());
    let mut model = Model::cached();
    model.node(abi::ROOT_ID).entries.insert("zero".into(), LINK);
    let mut reply = row(&mut model, abi::ROOT_ID, 0);
    reply.extend(record(model.entry(DIR), 9, b"."));
    reply.extend(record(abi::EntryOut::default(), 9, b"none"));
    reply.extend(record(model.entry(INNER), 9, b"cut off").split_at(156).0);
    let mut forgotten: BTreeMap<u64, u64> = BTreeMap::new();
    let mut answered = Some(reply);
    // In whatever order they come: the interrupt, RELEASEDIR and the forgets.
    while forgotten.values().sum::<u64>() < 4 {
        let req2 = fs.next();
        match req2.operation() {
            rawfuse::Operation::Interrupt(_) => {}
            rawfuse::Operation::Releasedir(_) => fs.reply_bytes(&req2, &[]),
            rawfuse::Operation::Forget(arg) => {
                *forgotten.entry(req2.nodeid()).or_default() += arg.nlookup;
            }
            rawfuse::Operation::BatchForget(all) => {
                for one in all {
                    *forgotten.entry(one.nodeid).or_default() += one.nlookup;
                }
            }
            other => panic!("{other:?}"),
        }
        if let Some(reply) = answered.take() {
            fs.reply_bytes(&req, &reply);
        }
    }
    assert_eq!(forgotten, BTreeMap::from([(FILE, 1), (DIR, 1), (LINK, 2)]));
}

fn epoch_of_an_earlier_reply(env: &Env) {
    if !env.is_rust() {
        crate::runner::skip("it takes the epoch of the reply there");
    }
    let mut served = served(env, PLUS, Model::cached());
    let channel = served.channel.try_clone().unwrap();
    served.hook(move |req| {
        if req.opcode() == Opcode::Readdirplus {
            channel.notify(abi::NotifyCode::IncEpoch, &[]).unwrap();
        }
        None
    });
    sys::list(&served.dir).unwrap();
    sys::stat(&served.path("file")).unwrap();
    assert_eq!(served.count(Opcode::Lookup), 1);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}
