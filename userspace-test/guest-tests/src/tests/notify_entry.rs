// SPDX-License-Identifier: GPL-2.0

//! Notifications about names: `INVAL_ENTRY`, `DELETE`.

use crate::{
    caller::{call, eventually, process_that_waits},
    env::Env,
    fs::Fs,
    model::{answer, Model, Served, DIR, FILE, INNER},
    sys, system,
    tests::tests,
};
use nix::sys::signal::Signal;
use rawfuse::{
    abi::{self, init_flags, notify_inval_entry_flags::EXPIRE_ONLY, NotifyCode, Opcode},
    Errno, InitConfig,
};
use std::{fs::File, io, os::fd::AsRawFd, time::Duration};
use zerocopy::IntoBytes;

tests![
    inval_entry_drops_a_name,
    inval_entry_drops_that_there_is_none,
    inval_entry_expires_only,
    inval_entry_changes_the_directory,
    inval_entry_unmounts_what_is_below,
    inval_entry_errors,
    inval_entry_longest_name,
    inval_entry_malformed,
    inval_entry_crosses_a_lookup,
    inval_entry_from_the_thread_that_is_waited_for,
    delete_removes_a_file,
    delete_removes_a_directory,
    delete_of_a_directory_in_use,
    delete_of_another,
    delete_of_any,
    delete_errors,
    delete_malformed,
    delete_waits_killably,
];

pub(super) fn inval_entry(fs: &Fs, parent: u64, name: &str, flags: u32) -> io::Result<()> {
    let out = abi::NotifyInvalEntryOut {
        parent,
        namelen: name.len() as u32,
        flags,
    };
    fs.channel.notify(
        NotifyCode::InvalEntry,
        &[out.as_bytes(), name.as_bytes(), &[0]],
    )
}

pub(super) fn delete(fs: &Fs, parent: u64, child: u64, name: &str) -> io::Result<()> {
    let out = abi::NotifyDeleteOut {
        parent,
        child,
        namelen: name.len() as u32,
        padding: 0,
    };
    fs.channel
        .notify(NotifyCode::Delete, &[out.as_bytes(), name.as_bytes(), &[0]])
}

/// Whether the kernel says that the name by which `file` was opened is gone.
#[track_caller]
fn is_gone(file: &File) -> bool {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
    link.to_string_lossy().ends_with(" (deleted)")
}

/// How many LOOKUPs a stat(2) takes.
#[track_caller]
fn lookups(served: &Served, path: &str) -> usize {
    let before = served.count(Opcode::Lookup);
    system::errno(sys::stat(&served.path(path)));
    served.count(Opcode::Lookup) - before
}

fn inval_entry_drops_a_name(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("dir/inner")).unwrap();
    assert_eq!(lookups(&served, "dir/inner"), 0);
    inval_entry(&served, DIR, "inner", 0).unwrap();
    assert!(is_gone(&file));
    assert_eq!(lookups(&served, "dir/inner"), 1);
    assert_eq!(lookups(&served, "dir/inner"), 0);
    // The directory above it takes what is below along.
    inval_entry(&served, abi::ROOT_ID, "dir", 0).unwrap();
    assert_eq!(lookups(&served, "dir/inner"), 2);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn inval_entry_drops_that_there_is_none(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| {
        (req.opcode() == Opcode::Lookup && req.name() == "none").then(|| {
            answer(&abi::EntryOut {
                entry_valid: 3600,
                ..Default::default()
            })
        })
    });
    assert_eq!(lookups(&served, "none"), 1);
    assert_eq!(lookups(&served, "none"), 0);
    inval_entry(&served, abi::ROOT_ID, "none", 0).unwrap();
    assert_eq!(lookups(&served, "none"), 1);
    inval_entry(&served, abi::ROOT_ID, "none", EXPIRE_ONLY).unwrap();
    assert_eq!(lookups(&served, "none"), 1);
    served.finish();
}

fn inval_entry_expires_only(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::HAS_EXPIRE_ONLY);
    let mut served = Served::new(fs, Model::cached());
    let file = sys::open(&served.path("dir/inner")).unwrap();
    // Flags that mean nothing do nothing.
    inval_entry(&served, DIR, "inner", EXPIRE_ONLY | 1 << 31).unwrap();
    assert!(!is_gone(&file));
    assert_eq!(lookups(&served, "dir/inner"), 1);
    assert_eq!(lookups(&served, "dir/inner"), 0);
    assert!(!is_gone(&file));
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn inval_entry_changes_the_directory(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.path("dir/inner")).unwrap();
    let getattrs = |served: &Served| {
        sys::stat(&served.path("dir")).unwrap();
        served.count(Opcode::Getattr)
    };
    assert_eq!(getattrs(&served), 0);
    inval_entry(&served, DIR, "inner", EXPIRE_ONLY).unwrap();
    assert_eq!(getattrs(&served), 1);
    // What is not there changes nothing.
    system::assert_errno(inval_entry(&served, DIR, "none", 0), Errno::ENOENT);
    assert_eq!(getattrs(&served), 1);
    served.finish();
}

fn inval_entry_unmounts_what_is_below(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let below = served.path("dir");
    let nothing: Option<&str> = None;
    let flags = nix::mount::MsFlags::empty();
    nix::mount::mount(nothing, &below, Some("tmpfs"), flags, nothing).unwrap();
    assert!(system::is_mounted(&below));
    inval_entry(&served, abi::ROOT_ID, "dir", EXPIRE_ONLY).unwrap();
    assert!(system::is_mounted(&below));
    inval_entry(&served, abi::ROOT_ID, "dir", 0).unwrap();
    assert!(!system::is_mounted(&below));
    served.finish();
}

fn inval_entry_errors(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.path("dir/inner")).unwrap();
    sys::stat(&served.path("file")).unwrap();
    for (parent, name, error) in [
        (0, "file", Errno::ENOENT),
        (99, "file", Errno::ENOENT),
        (u64::MAX, "file", Errno::ENOENT),
        (abi::ROOT_ID, "inner", Errno::ENOENT),
        (abi::ROOT_ID, "", Errno::ENOENT),
        (abi::ROOT_ID, ".", Errno::ENOENT),
        (abi::ROOT_ID, "..", Errno::ENOENT),
        (abi::ROOT_ID, "dir/inner", Errno::ENOENT),
        (abi::ROOT_ID, "file\0", Errno::ENOENT),
        (FILE, "x", Errno::ENOTDIR),
    ] {
        for flags in [0, EXPIRE_ONLY] {
            system::assert_errno(inval_entry(&served, parent, name, flags), error);
        }
    }
    served.finish();
}

fn inval_entry_longest_name(env: &Env) {
    // Names are up to a page, when requests are of more than one.
    let config = InitConfig {
        flags: init_flags::MAX_PAGES,
        max_pages: 2,
        ..Default::default()
    };
    let long = Fs::with(env, |options| options, &config);
    for (fs, most) in [(Fs::new(env), 1024), (long, 4095)] {
        for (len, error) in [
            (most, Errno::ENOENT),
            (most + 1, Errno::ENAMETOOLONG),
            (70_000, Errno::ENAMETOOLONG),
        ] {
            let name = "n".repeat(len);
            system::assert_errno(inval_entry(&fs, abi::ROOT_ID, &name, 0), error);
            system::assert_errno(delete(&fs, abi::ROOT_ID, 0, &name), error);
        }
    }
}

fn inval_entry_malformed(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.path("file")).unwrap();
    for (namelen, rest, error) in [
        (4, &b"file"[..], Errno::EINVAL),
        (4, b"file\0\0", Errno::EINVAL),
        (3, b"file\0", Errno::EINVAL),
        (5, b"file\0", Errno::EINVAL),
        (0, b"", Errno::EINVAL),
        (u32::MAX, b"file\0", Errno::ENAMETOOLONG),
        (u32::MAX - 16, b"", Errno::ENAMETOOLONG),
    ] {
        let out = abi::NotifyInvalEntryOut {
            parent: abi::ROOT_ID,
            namelen,
            flags: 0,
        };
        let parts = [out.as_bytes(), rest];
        system::assert_errno(served.channel.notify(NotifyCode::InvalEntry, &parts), error);
    }
    for len in [0, 1, 15] {
        let bytes = [0; 15];
        system::assert_errno(
            served
                .channel
                .notify(NotifyCode::InvalEntry, &[&bytes[..len]]),
            Errno::EINVAL,
        );
    }
    assert_eq!(lookups(&served, "file"), 0);
    // The byte after the name can be any.
    let out = abi::NotifyInvalEntryOut {
        parent: abi::ROOT_ID,
        namelen: 4,
        flags: 0,
    };
    let parts = [out.as_bytes(), &b"filex"[..]];
    served
        .channel
        .notify(NotifyCode::InvalEntry, &parts)
        .unwrap();
    assert_eq!(lookups(&served, "file"), 1);
    served.finish();
}

/// A name that stays valid for an hour.
fn lasting() -> abi::EntryOut {
    Model::cached().entry(FILE)
}

fn inval_entry_crosses_a_lookup(env: &Env) {
    // What a LOOKUP brings may be older than what the notification is about: it does not hold. Linux
    // has the notification wait for the LOOKUP; here it does not find the name yet, and goes on.
    for flags in [0, EXPIRE_ONLY] {
        let fs = Fs::new(env);
        let stat = |path: std::path::PathBuf| call(move || sys::stat(&path).map(drop));
        let first = stat(fs.path("file"));
        let lookup = fs.expect(Opcode::Lookup);
        let notifier = {
            let channel = fs.channel.try_clone().unwrap();
            call(move || {
                let out = abi::NotifyInvalEntryOut {
                    parent: abi::ROOT_ID,
                    namelen: 4,
                    flags,
                };
                channel.notify(NotifyCode::InvalEntry, &[out.as_bytes(), b"file\0"])
            })
        };
        if env.is_rust() {
            system::assert_errno(notifier.result(), Errno::ENOENT);
        } else {
            assert!(notifier.still_waits(Duration::from_millis(50)));
        }
        fs.reply(&lookup, &lasting());
        first.result().unwrap();
        if !env.is_rust() {
            notifier.result().unwrap();
        }
        let again = stat(fs.path("file"));
        fs.reply(&fs.expect(Opcode::Lookup), &lasting());
        again.result().unwrap();
        let cached = stat(fs.path("file"));
        cached.result().unwrap();
    }
}

fn inval_entry_from_the_thread_that_is_waited_for(env: &Env) {
    if !env.is_rust() {
        crate::runner::skip("the daemon's thread would wait for its own caller");
    }
    let mut served = Served::new(Fs::new(env), Model::cached());
    let channel = served.channel.try_clone().unwrap();
    served.hook(move |req| {
        if req.opcode() == Opcode::Lookup {
            let out = abi::NotifyInvalEntryOut {
                parent: req.nodeid(),
                namelen: 5,
                flags: 0,
            };
            let told = channel.notify(NotifyCode::InvalEntry, &[out.as_bytes(), b"inner\0"]);
            assert!(matches!(system::errno(told), 0 | libc::ENOENT));
        }
        None
    });
    for _ in 0..3 {
        sys::stat(&served.path("dir/inner")).unwrap();
    }
    served.finish();
}

fn delete_removes_a_file(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("dir/inner")).unwrap();
    assert_eq!(sys::fstat(&file).unwrap().st_nlink, 1);
    served.clear_log();
    delete(&served, DIR, INNER, "inner").unwrap();
    assert_eq!(sys::fstat(&file).unwrap().st_nlink, 0);
    assert_eq!(served.model().opcodes(), []);
    assert!(is_gone(&file));
    // The daemon knows better.
    assert_eq!(lookups(&served, "dir/inner"), 1);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn delete_removes_a_directory(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.path("dir/inner")).unwrap();
    let dir = sys::open(&served.path("dir")).unwrap();
    let inner = std::path::PathBuf::from(format!("/proc/self/fd/{}/new", dir.as_raw_fd()));
    served.clear_log();
    delete(&served, abi::ROOT_ID, DIR, "dir").unwrap();
    // Nothing is to be found in it any more.
    system::assert_errno(sys::stat(&inner), Errno::ENOENT);
    assert_eq!(served.count(Opcode::Lookup), 0);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    eventually("what was in it is forgotten", || {
        served.model().lookups[&INNER] == 0
    });
    served.finish();
}

fn delete_of_a_directory_in_use(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("dir/inner")).unwrap();
    system::assert_errno(delete(&served, abi::ROOT_ID, DIR, "dir"), Errno::ENOTEMPTY);
    // The name is dropped all the same.
    assert_eq!(lookups(&served, "dir/inner"), 1);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn delete_of_another(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("file")).unwrap();
    system::assert_errno(delete(&served, abi::ROOT_ID, 99, "file"), Errno::ENOENT);
    assert_eq!(sys::fstat(&file).unwrap().st_nlink, 1);
    assert_eq!(lookups(&served, "file"), 1);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn delete_of_any(env: &Env) {
    // Without a child it is as INVAL_ENTRY.
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("file")).unwrap();
    delete(&served, abi::ROOT_ID, 0, "file").unwrap();
    assert_eq!(sys::fstat(&file).unwrap().st_nlink, 1);
    assert_eq!(lookups(&served, "file"), 1);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn delete_errors(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.path("dir/inner")).unwrap();
    sys::stat(&served.path("file")).unwrap();
    for (parent, name, error) in [
        (0, "file", Errno::ENOENT),
        (99, "file", Errno::ENOENT),
        (abi::ROOT_ID, "inner", Errno::ENOENT),
        (abi::ROOT_ID, "", Errno::ENOENT),
        (FILE, "x", Errno::ENOTDIR),
    ] {
        system::assert_errno(delete(&served, parent, FILE, name), error);
    }
    served.finish();
}

fn delete_malformed(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.path("file")).unwrap();
    for (namelen, rest, error) in [
        (4, &b"file"[..], Errno::EINVAL),
        (3, b"file\0", Errno::EINVAL),
        (5, b"file\0", Errno::EINVAL),
        (u32::MAX, b"file\0", Errno::ENAMETOOLONG),
    ] {
        let out = abi::NotifyDeleteOut {
            parent: abi::ROOT_ID,
            child: FILE,
            namelen,
            padding: 0,
        };
        let parts = [out.as_bytes(), rest];
        system::assert_errno(served.channel.notify(NotifyCode::Delete, &parts), error);
    }
    let bytes = [0; 23];
    for len in [0, 16, 23] {
        system::assert_errno(
            served.channel.notify(NotifyCode::Delete, &[&bytes[..len]]),
            Errno::EINVAL,
        );
    }
    assert_eq!(lookups(&served, "file"), 0);
    served.finish();
}

fn delete_waits_killably(env: &Env) {
    if !env.is_rust() {
        crate::runner::skip("it cannot be killed there");
    }
    let fs = Fs::new(env);
    let channel = fs.channel.try_clone().unwrap();
    let (notifier, start) = process_that_waits(move || {
        let out = abi::NotifyDeleteOut {
            parent: abi::ROOT_ID,
            child: FILE,
            namelen: 4,
            padding: 0,
        };
        system::errno(channel.notify(NotifyCode::Delete, &[out.as_bytes(), b"file\0"]))
    });
    let path = fs.path("file");
    let caller = call(move || sys::stat(&path).map(drop));
    let lookup = fs.expect(Opcode::Lookup);
    start.now();
    assert!(notifier.ended_within(Duration::from_millis(100)).is_none());
    notifier.signal(Signal::SIGKILL);
    assert!(notifier.ended_within(crate::caller::PATIENCE).is_some());
    fs.reply(&lookup, &lasting());
    caller.result().unwrap();
}
