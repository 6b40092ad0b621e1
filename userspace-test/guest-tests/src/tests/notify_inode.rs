// SPDX-License-Identifier: GPL-2.0

//! Notifications about inodes: `INVAL_INODE`, `PRUNE`.

use crate::{
    caller::{call, eventually},
    env::Env,
    fs::Fs,
    model::{Model, Served, DIR, FILE, INNER, LINK},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, open_flags, NotifyCode, Opcode},
    Errno,
};
use std::{io, time::Duration};
use zerocopy::IntoBytes;

tests![
    inval_inode_drops_attributes,
    inval_inode_drops_data,
    inval_inode_drops_ranges,
    inval_inode_of_a_directory,
    inval_inode_of_what_is_not_known,
    inval_inode_malformed,
    inval_inode_crosses_a_reply,
    prune_lets_go,
    prune_keeps_what_is_used,
    prune_of_many,
    prune_malformed,
];

pub(super) fn inval_inode(fs: &Fs, ino: u64, off: i64, len: i64) -> io::Result<()> {
    let out = abi::NotifyInvalInodeOut { ino, off, len };
    fs.channel.notify(NotifyCode::InvalInode, &[out.as_bytes()])
}

/// A file of three pages, kept in the page cache.
pub(super) fn three_pages(env: &Env) -> Served {
    let mut model = Model::cached();
    model.add(FILE, libc::S_IFREG | 0o644, &[b'a'; 3 * 4096]);
    model.open_flags = open_flags::KEEP_CACHE;
    let served = Served::new(Fs::new(env), model);
    assert_eq!(pages(&served), "aaa");
    served
}

/// The first byte of each page of the file.
#[track_caller]
fn pages(served: &Served) -> String {
    let bytes = sys::contents(&served.path("file")).unwrap();
    let firsts = bytes.iter().step_by(4096).copied().collect();
    String::from_utf8(firsts).unwrap()
}

fn inval_inode_drops_attributes(env: &Env) {
    let mut served = three_pages(env);
    // Reading has changed the time of the last access.
    sys::stat(&served.path("file")).unwrap();
    served.clear_log();
    sys::stat(&served.path("file")).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 0);
    served.model().node(FILE).attr.uid = 7;
    // An offset below zero is for attributes only.
    inval_inode(&served, FILE, -1, 0).unwrap();
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_uid, 7);
    assert_eq!(served.count(Opcode::Getattr), 1);
    sys::stat(&served.path("file")).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 1);
    pages(&served);
    assert_eq!(served.count(Opcode::Read), 0);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn inval_inode_drops_data(env: &Env) {
    let mut served = three_pages(env);
    served.model().node(FILE).data.fill(b'b');
    assert_eq!(pages(&served), "aaa");
    inval_inode(&served, FILE, 0, 0).unwrap();
    assert_eq!(pages(&served), "bbb");
    served.wait_for(Opcode::Release, 3);
    served.finish();
}

fn inval_inode_drops_ranges(env: &Env) {
    for (off, len, after) in [
        (4096, 4096, "aba"),
        (4096, 4097, "abb"),
        (4095, 2, "bba"),
        (4096, 1, "aba"),
        (8192, 0, "aab"),
        (4096, -1, "abb"),
        (4096, i64::MIN, "abb"),
        (4096, i64::MAX, "abb"),
        (i64::MAX, i64::MAX, "aaa"),
        (i64::MAX, 0, "aaa"),
        (i64::MIN, 4096, "aaa"),
        (3 * 4096, 4096, "aaa"),
    ] {
        let mut served = three_pages(env);
        served.model().node(FILE).data.fill(b'b');
        inval_inode(&served, FILE, off, len).unwrap();
        assert_eq!(pages(&served), after, "{off}, {len}");
        served.wait_for(Opcode::Release, 2);
        served.finish();
    }
}

fn inval_inode_of_a_directory(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.path("dir/inner")).unwrap();
    served.clear_log();
    for nodeid in [abi::ROOT_ID, DIR] {
        inval_inode(&served, nodeid, 0, 0).unwrap();
    }
    sys::stat(&served.path("dir")).unwrap();
    // Names are not attributes.
    assert_eq!(served.model().opcodes(), [Opcode::Getattr]);
    served.finish();
}

fn inval_inode_of_what_is_not_known(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for nodeid in [0, FILE, 99, u64::MAX] {
        system::assert_errno(inval_inode(&served, nodeid, 0, 0), Errno::ENOENT);
    }
    sys::stat(&served.path("file")).unwrap();
    inval_inode(&served, FILE, 0, 0).unwrap();
    served.finish();
}

fn inval_inode_malformed(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.path("file")).unwrap();
    let out = abi::NotifyInvalInodeOut {
        ino: FILE,
        ..Default::default()
    };
    let mut bytes = out.as_bytes().to_vec();
    bytes.push(0);
    for len in [0, 1, 8, 23, 25] {
        system::assert_errno(
            served
                .channel
                .notify(NotifyCode::InvalInode, &[&bytes[..len]]),
            Errno::EINVAL,
        );
    }
    served.clear_log();
    sys::stat(&served.path("file")).unwrap();
    assert_eq!(served.model().opcodes(), []);
    served.finish();
}

fn inval_inode_crosses_a_reply(env: &Env) {
    let fs = Fs::new(env);
    let stat = |path: std::path::PathBuf| call(move || sys::stat(&path).map(drop));
    let first = stat(fs.dir.clone());
    let getattr = fs.expect(Opcode::Getattr);
    // What is in the reply may be older than what the notification is about.
    inval_inode(&fs, abi::ROOT_ID, -1, 0).unwrap();
    let out = abi::AttrOut {
        attr_valid: 3600,
        attr: Model::new().node(abi::ROOT_ID).attr,
        ..Default::default()
    };
    fs.reply(&getattr, &out);
    first.result().unwrap();
    for asks in [true, false] {
        let again = stat(fs.dir.clone());
        if asks {
            fs.reply(&fs.expect(Opcode::Getattr), &out);
        }
        again.result().unwrap();
    }
    fs.expect_silence(Duration::from_millis(50));
}

pub(super) fn prune(fs: &Fs, nodeids: &[u64]) -> io::Result<()> {
    let out = abi::NotifyPruneOut {
        count: nodeids.len() as u32,
        ..Default::default()
    };
    fs.channel
        .notify(NotifyCode::Prune, &[out.as_bytes(), nodeids.as_bytes()])
}

/// Looks all up that there is.
#[track_caller]
fn look(served: &Served) {
    for path in ["file", "dir/inner", "link"] {
        sys::lstat(&served.path(path)).unwrap();
    }
}

fn prune_lets_go(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    look(&served);
    // Those that the kernel does not know are passed over; the root stays.
    prune(&served, &[99, FILE, 0, LINK, abi::ROOT_ID, u64::MAX]).unwrap();
    eventually("two are forgotten", || {
        let model = served.model();
        [FILE, LINK].iter().all(|nodeid| model.lookups[nodeid] == 0)
    });
    let counts = served.model().lookups.clone();
    assert_eq!((counts[&DIR], counts[&INNER]), (1, 1));
    served.clear_log();
    look(&served);
    assert_eq!(served.count(Opcode::Lookup), 2);
    // A directory with names below it stays, until they go.
    prune(&served, &[DIR]).unwrap();
    prune(&served, &[INNER, DIR]).unwrap();
    eventually("two more are", || {
        let model = served.model();
        [DIR, INNER].iter().all(|nodeid| model.lookups[nodeid] == 0)
    });
    prune(&served, &[]).unwrap();
    served.finish();
}

fn prune_keeps_what_is_used(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    look(&served);
    let file = sys::open(&served.path("file")).unwrap();
    served.clear_log();
    prune(&served, &[FILE, FILE]).unwrap();
    sys::fstat(&file).unwrap();
    sys::stat(&served.path("file")).unwrap();
    assert_eq!(served.model().opcodes(), []);
    assert_eq!(served.model().lookups[&FILE], 1);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn prune_of_many(env: &Env) {
    let mut model = Model::cached();
    for number in 0..700 {
        model.add(1000 + number, libc::S_IFREG | 0o644, b"");
        model.link(DIR, &number.to_string(), 1000 + number);
    }
    let mut served = Served::new(Fs::new(env), model);
    for number in 0..700 {
        sys::stat(&served.path(&format!("dir/{number}"))).unwrap();
    }
    let nodeids: Vec<u64> = (900..1800).collect();
    prune(&served, &nodeids).unwrap();
    eventually("all are forgotten", || {
        let model = served.model();
        (1000..1700).all(|nodeid| model.lookups[&nodeid] == 0)
    });
    served.finish();
}

fn prune_malformed(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    look(&served);
    let nodeids = [FILE, LINK];
    for (count, len) in [
        (2, 15),
        (2, 8),
        (1, 16),
        (3, 16),
        (0, 8),
        (u32::MAX, 16),
        (0x2000_0002, 16),
        (0, 16),
    ] {
        let out = abi::NotifyPruneOut {
            count,
            ..Default::default()
        };
        let parts = [out.as_bytes(), &nodeids.as_bytes()[..len]];
        system::assert_errno(
            served.channel.notify(NotifyCode::Prune, &parts),
            Errno::EINVAL,
        );
    }
    for len in [0, 8, 15] {
        let bytes = [0; 15];
        system::assert_errno(
            served.channel.notify(NotifyCode::Prune, &[&bytes[..len]]),
            Errno::EINVAL,
        );
    }
    served.clear_log();
    look(&served);
    assert_eq!(served.model().opcodes(), []);
    served.finish();
}
