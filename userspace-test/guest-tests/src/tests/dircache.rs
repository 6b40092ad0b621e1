// SPDX-License-Identifier: GPL-2.0

//! Directories that the kernel may cache: `FOPEN_CACHE_DIR`.

use crate::{
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, DIR, FILE},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, init_flags, open_flags, NotifyCode, Opcode},
    DirEntries, Errno,
};
use std::os::fd::AsFd;
use zerocopy::IntoBytes;

tests![
    is_read_once,
    without_keep_cache_it_is_read_each_time,
    of_many_pages,
    empty_directory,
    half_read_is_not_there,
    goes_on_where_another_ends,
    seeks_within,
    seeks_elsewhere,
    small_buffers,
    changed_time_drops_it,
    changed_directory_drops_it,
    epoch_drops_it,
    reclaimed_pages_drop_it,
    inval_inode_drops_it,
    errors_are_not_kept,
    longest_names,
    with_readdirplus,
];

/// A directory `dir` of that many entries that may be cached.
fn served(env: &Env, flags: u64, entries: u32) -> Served {
    let mut model = Model::cached();
    model.opendir_flags = open_flags::CACHE_DIR | open_flags::KEEP_CACHE;
    model.node(DIR).entries.clear();
    for number in 0..entries {
        model.link(DIR, &format!("entry-{number:05}"), FILE);
    }
    Served::new(Fs::with_flags(env, flags), model)
}

#[track_caller]
fn list(served: &Served) -> Vec<sys::Entry> {
    sys::list(&served.path("dir")).unwrap()
}

/// How many READDIRs it takes to list the directory; there have to be `entries`.
#[track_caller]
fn readdirs(served: &Served, entries: usize) -> usize {
    let before = served.count(Opcode::Readdir);
    assert_eq!(list(served).len(), entries + 2);
    served.count(Opcode::Readdir) - before
}

#[track_caller]
fn finish(mut served: Served) {
    let opened = served.count(Opcode::Opendir);
    served.wait_for(Opcode::Releasedir, opened);
    served.finish();
}

fn is_read_once(env: &Env) {
    let served = served(env, 0, 3);
    let first = list(&served);
    assert_eq!(readdirs(&served, 3), 0);
    assert_eq!(list(&served), first);
    finish(served);
}

fn without_keep_cache_it_is_read_each_time(env: &Env) {
    let served = served(env, 0, 3);
    served.model().opendir_flags = open_flags::CACHE_DIR;
    assert_eq!(readdirs(&served, 3), 2);
    assert_eq!(readdirs(&served, 3), 2);
    // Those who have it open read it again from the cache.
    let dir = sys::open(&served.path("dir")).unwrap();
    let first = sys::getdents(&dir, 4096).unwrap();
    assert_eq!(sys::getdents(&dir, 4096).unwrap(), []);
    served.clear_log();
    sys::lseek(dir.as_fd(), 0, libc::SEEK_SET).unwrap();
    assert_eq!(sys::getdents(&dir, 4096).unwrap(), first);
    assert_eq!(served.count(Opcode::Readdir), 0);
    // The log that counts what was opened is gone.
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    finish(served);
}

fn of_many_pages(env: &Env) {
    let served = served(env, 0, 2000);
    let first = list(&served);
    assert_eq!(first.len(), 2002);
    assert_eq!(readdirs(&served, 2000), 0);
    assert_eq!(list(&served), first);
    finish(served);
}

fn empty_directory(env: &Env) {
    let served = served(env, 0, 0);
    served.hook(|req| (req.opcode() == Opcode::Readdir).then_some(Answer::Bytes(Vec::new())));
    assert_eq!(list(&served), []);
    assert_eq!(list(&served), []);
    assert_eq!(served.count(Opcode::Readdir), 1);
    finish(served);
}

fn half_read_is_not_there(env: &Env) {
    let served = served(env, 0, 500);
    let dir = sys::open(&served.path("dir")).unwrap();
    let some = sys::getdents(&dir, 1024).unwrap().len();
    assert!(some < 100);
    drop(dir);
    // The next one asks from the beginning.
    assert!(readdirs(&served, 500) > 1);
    assert_eq!(readdirs(&served, 500), 0);
    finish(served);
}

fn goes_on_where_another_ends(env: &Env) {
    let served = served(env, 0, 500);
    let dir = sys::open(&served.path("dir")).unwrap();
    let mut all = sys::getdents(&dir, 1024).unwrap();
    let whole = list(&served);
    served.clear_log();
    loop {
        let entries = sys::getdents(&dir, 1024).unwrap();
        if entries.is_empty() {
            break;
        }
        all.extend(entries);
    }
    // It is complete now, and its rest is there for all.
    assert_eq!(all, whole);
    assert_eq!(served.count(Opcode::Readdir), 0);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    finish(served);
}

fn seeks_within(env: &Env) {
    let served = served(env, 0, 500);
    let whole = list(&served);
    let dir = sys::open(&served.path("dir")).unwrap();
    served.clear_log();
    for at in [400, 17, 250, 499, 0, 3] {
        sys::lseek(dir.as_fd(), whole[at].off, libc::SEEK_SET).unwrap();
        let entries = sys::getdents(&dir, 256).unwrap();
        assert_eq!(entries, whole[at + 1..at + 1 + entries.len()]);
    }
    assert_eq!(served.count(Opcode::Readdir), 0);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    finish(served);
}

fn seeks_elsewhere(env: &Env) {
    // A position that the kernel has not seen is the daemon's to know.
    let served = served(env, 0, 3);
    list(&served);
    served.hook(|req| {
        if req.opcode() != Opcode::Readdir || req.arg::<abi::ReadIn>().offset != 1 << 40 {
            return None;
        }
        let mut entries = DirEntries::new(4096);
        assert!(entries.push(9, 1 << 41, libc::DT_REG, "far".as_ref()));
        Some(Answer::Bytes(entries.bytes().to_vec()))
    });
    let dir = sys::open(&served.path("dir")).unwrap();
    sys::lseek(dir.as_fd(), 1 << 40, libc::SEEK_SET).unwrap();
    assert_eq!(sys::getdents(&dir, 4096).unwrap()[0].name, "far");
    drop(dir);
    // And what is there stays as it is.
    assert_eq!(readdirs(&served, 3), 0);
    finish(served);
}

fn small_buffers(env: &Env) {
    let served = served(env, 0, 300);
    for _ in 0..2 {
        let dir = sys::open(&served.path("dir")).unwrap();
        let mut all = Vec::new();
        loop {
            let entries = sys::getdents(&dir, 48).unwrap();
            if entries.is_empty() {
                break;
            }
            all.extend(entries);
        }
        assert_eq!(all.len(), 302);
        assert_eq!(all[301].name, "entry-00299");
    }
    assert_eq!(readdirs(&served, 300), 0);
    finish(served);
}

fn changed_time_drops_it(env: &Env) {
    let served = served(env, init_flags::AUTO_INVAL_DATA, 3);
    list(&served);
    served.model().link(DIR, "more", FILE);
    assert_eq!(list(&served).len(), 5);
    // The kernel finds out when it asks for the attributes.
    served.model().node(DIR).attr.mtime = 7;
    let out = abi::NotifyInvalInodeOut {
        ino: DIR,
        off: -1,
        len: 0,
    };
    served
        .channel
        .notify(NotifyCode::InvalInode, &[out.as_bytes()])
        .unwrap();
    assert_eq!(list(&served).len(), 6);
    assert_eq!(readdirs(&served, 4), 0);
    finish(served);
}

fn changed_directory_drops_it(env: &Env) {
    let served = served(env, 0, 3);
    list(&served);
    sys::stat(&served.path("dir/entry-00001")).unwrap();
    served.model().node(DIR).entries.remove("entry-00001");
    let out = abi::NotifyInvalEntryOut {
        parent: DIR,
        namelen: 11,
        flags: 0,
    };
    served
        .channel
        .notify(NotifyCode::InvalEntry, &[out.as_bytes(), b"entry-00001\0"])
        .unwrap();
    assert_eq!(list(&served).len(), 4);
    assert_eq!(readdirs(&served, 2), 0);
    finish(served);
}

fn epoch_drops_it(env: &Env) {
    let served = served(env, 0, 3);
    list(&served);
    served.channel.notify(NotifyCode::IncEpoch, &[]).unwrap();
    assert!(readdirs(&served, 3) > 0);
    assert_eq!(readdirs(&served, 3), 0);
    finish(served);
}

fn reclaimed_pages_drop_it(env: &Env) {
    let served = served(env, 0, 500);
    let dir = sys::open(&served.path("dir")).unwrap();
    let first = list(&served);
    let some = sys::getdents(&dir, 4096).unwrap();
    system::drop_caches(1);
    let mut all = some;
    loop {
        let entries = sys::getdents(&dir, 4096).unwrap();
        if entries.is_empty() {
            break;
        }
        all.extend(entries);
    }
    assert_eq!(all, first);
    drop(dir);
    finish(served);
}

fn inval_inode_drops_it(env: &Env) {
    let served = served(env, 0, 3);
    list(&served);
    let out = abi::NotifyInvalInodeOut {
        ino: DIR,
        off: 0,
        len: 0,
    };
    served
        .channel
        .notify(NotifyCode::InvalInode, &[out.as_bytes()])
        .unwrap();
    assert!(readdirs(&served, 3) > 0);
    assert_eq!(readdirs(&served, 3), 0);
    finish(served);
}

fn errors_are_not_kept(env: &Env) {
    let served = served(env, 0, 3);
    let mut left = 2;
    served.hook(move |req| {
        if req.opcode() != Opcode::Readdir || left == 0 {
            return None;
        }
        left -= 1;
        Some(Answer::Error(Errno::EDOM))
    });
    for _ in 0..2 {
        system::assert_errno(sys::list(&served.path("dir")), Errno::EDOM);
    }
    assert!(readdirs(&served, 3) > 0);
    assert_eq!(readdirs(&served, 3), 0);
    finish(served);
}

fn longest_names(env: &Env) {
    // An entry that does not fit a page is not kept, and so nothing behind it is.
    let served = served(env, init_flags::MAX_PAGES, 3);
    for len in [255, 1000] {
        served.model().link(DIR, &"n".repeat(len), FILE);
    }
    assert_eq!(list(&served).len(), 7);
    assert_eq!(readdirs(&served, 5), 0);
    finish(served);
}

fn with_readdirplus(env: &Env) {
    let served = served(env, init_flags::DO_READDIRPLUS, 0);
    served.model().readdirplus = |model, dir, offset| {
        let mut bytes = Vec::new();
        if offset == 0 {
            let entry = model.entry(FILE);
            let head = abi::Direntplus {
                entry_out: entry,
                dirent: abi::Dirent {
                    ino: dir,
                    off: 1,
                    namelen: 4,
                    r#type: libc::DT_REG.into(),
                },
            };
            bytes.extend_from_slice(head.as_bytes());
            bytes.extend_from_slice(b"plus\0\0\0\0");
        }
        bytes
    };
    let first = list(&served);
    assert_eq!(first[0].name, "plus");
    assert_eq!(list(&served), first);
    assert_eq!(served.count(Opcode::Readdirplus), 2);
    finish(served);
}
