// SPDX-License-Identifier: GPL-2.0

//! Extended attributes: every size, every kind of answer, and daemons that do not have them.

use crate::{
    caller::{call, process},
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, DIR, FILE, LINK},
    sys, system,
    tests::tests,
    xattrs::{self, Set, Store},
};
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Errno, InitConfig,
};
use std::{io, time::Duration};
use zerocopy::IntoBytes;

tests![
    get_is_on_the_wire,
    values_of_every_size,
    get_asks_for_the_size,
    size_is_cut_down,
    size_of_a_wrong_length,
    value_longer_than_its_room,
    value_of_the_wrong_size,
    set_is_on_the_wire,
    set_in_its_long_form,
    set_too_large_for_the_reader,
    remove_is_on_the_wire,
    list_is_on_the_wire,
    lists_that_make_no_sense,
    all_kinds_of_files,
    enosys_is_remembered,
    other_errors_are_not,
    changes_of_them_change_the_inode,
    others_are_kept_out,
    bad_inode_has_none,
    killed_caller_leaves,
];

fn stored(env: &Env) -> (Served, Store) {
    let served = Served::new(Fs::new(env), Model::cached());
    let store = Store::default().serve(&mut served.model());
    (served, store)
}

#[track_caller]
fn last(served: &Served, opcode: Opcode) -> (u64, Vec<u8>) {
    let model = served.model();
    let asked = model.log.iter().rfind(|asked| asked.opcode == opcode);
    let asked = asked.unwrap_or_else(|| panic!("no {opcode:?}"));
    (asked.nodeid, asked.body.clone())
}

fn body(size: u32, name: &[u8]) -> Vec<u8> {
    let head = abi::GetxattrIn {
        size,
        ..Default::default()
    };
    [head.as_bytes(), name].concat()
}

fn get_is_on_the_wire(env: &Env) {
    let (mut served, store) = stored(env);
    let name = "user.name".to_string();
    store.values().insert((FILE, name), b"value".to_vec());
    let path = served.path("file");
    assert_eq!(xattrs::get(&path, "user.name", 100).unwrap(), b"value");
    let expected = (FILE, body(100, b"user.name\0"));
    assert_eq!(last(&served, Opcode::Getxattr), expected);
    // Nothing is cached.
    assert_eq!(xattrs::get(&path, "user.name", 5).unwrap(), b"value");
    assert_eq!(served.count(Opcode::Getxattr), 2);
    system::assert_errno(xattrs::get(&path, "user.name", 4), Errno::ERANGE);
    system::assert_errno(xattrs::get(&path, "user.other", 100), Errno::ENODATA);
    system::assert_errno(xattrs::get(&path, "user.", 100), Errno::ENODATA);
    // Those that the kernel has no meaning for are the daemon's business as well.
    system::assert_errno(xattrs::get(&path, "what.ever", 100), Errno::ENODATA);
    assert_eq!(last(&served, Opcode::Getxattr).1, body(100, b"what.ever\0"));
    served.finish();
}

fn values_of_every_size(env: &Env) {
    let (mut served, store) = stored(env);
    let path = served.path("file");
    for size in [0, 1, 7, 95, 96, 97, 4095, 4096, 4097, 65535, 65536] {
        let value: Vec<u8> = (0..size).map(|byte| byte as u8).collect();
        xattrs::set(&path, "user.x", &value, 0).unwrap();
        let kept = store.values()[&(FILE, "user.x".to_string())].clone();
        assert_eq!(kept, value);
        assert_eq!(xattrs::size(&path, "user.x").unwrap(), size);
        // One byte of room or more, as no room asks for the size.
        let room = size.max(1);
        assert_eq!(xattrs::get(&path, "user.x", room).unwrap(), value);
        assert_eq!(xattrs::get(&path, "user.x", 100_000).unwrap(), value);
        assert_eq!(last(&served, Opcode::Getxattr).1, body(65536, b"user.x\0"));
    }
    let too_large = vec![0; 65537];
    system::assert_errno(xattrs::set(&path, "user.x", &too_large, 0), Errno::E2BIG);
    served.finish();
}

fn get_asks_for_the_size(env: &Env) {
    let (mut served, store) = stored(env);
    store.values().insert((FILE, "user.a".into()), vec![1; 77]);
    let path = served.path("file");
    assert_eq!(xattrs::size(&path, "user.a").unwrap(), 77);
    assert_eq!(
        last(&served, Opcode::Getxattr),
        (FILE, body(0, b"user.a\0"))
    );
    assert_eq!(xattrs::list_size(&path).unwrap(), 7);
    assert_eq!(last(&served, Opcode::Listxattr), (FILE, body(0, b"")));
    system::assert_errno(xattrs::size(&path, "user.b"), Errno::ENODATA);
    served.finish();
}

fn size_is_cut_down(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| {
        let sized = matches!(req.opcode(), Opcode::Getxattr | Opcode::Listxattr);
        sized.then(|| {
            crate::model::answer(&abi::GetxattrOut {
                size: u32::MAX,
                ..Default::default()
            })
        })
    });
    let path = served.path("file");
    assert_eq!(xattrs::size(&path, "user.a").unwrap(), 65536);
    assert_eq!(xattrs::list_size(&path).unwrap(), 65536);
    served.finish();
}

/// Answers the one request that `action` leads to with `bytes`, which the kernel does not take.
#[track_caller]
fn refused(
    fs: &Fs,
    opcode: Opcode,
    bytes: &[u8],
    action: impl FnOnce() -> io::Error + Send + 'static,
) {
    let caller = call(action);
    let request = loop {
        let request = fs.next();
        match request.opcode() {
            Opcode::Lookup => fs.reply(&request, &Model::cached().entry(FILE)),
            other => {
                assert_eq!(other, opcode);
                break request;
            }
        }
    };
    let refused = fs.channel.reply_bytes(request.unique(), &[bytes]);
    system::assert_errno(refused, Errno::EINVAL);
    assert_eq!(caller.result().raw_os_error(), Some(libc::EIO));
}

fn size_of_a_wrong_length(env: &Env) {
    let fs = Fs::new(env);
    for len in [0, 7, 9, 16] {
        let path = fs.path("file");
        refused(&fs, Opcode::Getxattr, &vec![0; len], move || {
            xattrs::size(&path, "user.a").unwrap_err()
        });
        let path = fs.path("file");
        refused(&fs, Opcode::Listxattr, &vec![0; len], move || {
            xattrs::list_size(&path).unwrap_err()
        });
    }
}

fn value_longer_than_its_room(env: &Env) {
    let fs = Fs::new(env);
    for (room, len) in [(1, 2), (10, 11), (10, 100_000)] {
        let path = fs.path("file");
        refused(&fs, Opcode::Getxattr, &vec![b'x'; len], move || {
            xattrs::get(&path, "user.a", room).unwrap_err()
        });
        let path = fs.path("file");
        refused(&fs, Opcode::Listxattr, &vec![b'x'; len], move || {
            xattrs::list(&path, room).unwrap_err()
        });
    }
}

fn value_of_the_wrong_size(env: &Env) {
    // What does not fit is ERANGE, by the daemon; it reaches the caller as it is, also where it
    // makes no sense.
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Getxattr).then_some(Answer::Error(Errno::ERANGE)));
    let path = served.path("file");
    system::assert_errno(xattrs::get(&path, "user.a", 10), Errno::ERANGE);
    system::assert_errno(xattrs::size(&path, "user.a"), Errno::ERANGE);
    // As large as can be: then it is the size of the value that is too large.
    system::assert_errno(xattrs::get(&path, "user.a", 65536), Errno::E2BIG);
    served.finish();
}

fn set_is_on_the_wire(env: &Env) {
    let (mut served, _store) = stored(env);
    let path = served.path("file");
    xattrs::set(&path, "user.name", b"value", libc::XATTR_CREATE).unwrap();
    let (nodeid, body) = last(&served, Opcode::Setxattr);
    assert_eq!(nodeid, FILE);
    let head = [5u32, libc::XATTR_CREATE as u32];
    assert_eq!(body, [head.as_bytes(), b"user.name\0value"].concat());
    xattrs::set(&path, "user.name", b"", libc::XATTR_REPLACE).unwrap();
    let (_, body) = last(&served, Opcode::Setxattr);
    let head = [0u32, libc::XATTR_REPLACE as u32];
    assert_eq!(body, [head.as_bytes(), b"user.name\0"].concat());
    // A name and a value that do not fit where most do.
    let name = format!("user.{}", "n".repeat(250));
    xattrs::set(&path, &name, b"value", 0).unwrap();
    let set = Set::new(&last(&served, Opcode::Setxattr).1, false);
    assert_eq!((set.name, &*set.value), (name, &b"value"[..]));
    system::assert_errno(xattrs::set(&path, "user.x", b"", 4), Errno::EINVAL);
    served.finish();
}

fn set_in_its_long_form(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::SETXATTR_EXT);
    let mut served = Served::new(fs, Model::cached());
    Store::long().serve(&mut served.model());
    xattrs::set(&served.path("file"), "user.name", b"value", 0).unwrap();
    let (_, body) = last(&served, Opcode::Setxattr);
    let head = [5u32, 0, 0, 0];
    assert_eq!(body, [head.as_bytes(), b"user.name\0value"].concat());
    served.finish();
}

fn set_too_large_for_the_reader(env: &Env) {
    let config = InitConfig {
        max_write: 4096,
        ..Default::default()
    };
    let fs = Fs::with(env, |options| options, &config);
    let path = fs.path("file");
    let caller = call(move || xattrs::set(&path, "user.x", &[0; 10_000], 0));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(FILE));
    let channel = fs.channel.try_clone().unwrap();
    let reader = call(move || {
        let mut bytes = vec![0; 8192];
        let len = channel.read(&mut bytes).expect("the next request");
        crate::fs::Req::new(&bytes[..len])
    });
    // The reader is not told; it gets the next request.
    system::assert_errno(caller.result(), Errno::E2BIG);
    assert!(reader.still_waits(Duration::from_millis(50)));
    let path = fs.path("file");
    let caller = call(move || xattrs::set(&path, "user.x", &[0; 7000], 0));
    let request = reader.result();
    assert_eq!(request.opcode(), Opcode::Setxattr);
    fs.reply_bytes(&request, &[]);
    caller.result().unwrap();
}

fn remove_is_on_the_wire(env: &Env) {
    let (mut served, store) = stored(env);
    store.values().insert((FILE, "user.a".into()), vec![1]);
    let path = served.path("file");
    xattrs::remove(&path, "user.a").unwrap();
    let expected = (FILE, b"user.a\0".to_vec());
    assert_eq!(last(&served, Opcode::Removexattr), expected);
    assert!(store.values().is_empty());
    system::assert_errno(xattrs::remove(&path, "user.a"), Errno::ENODATA);
    served.finish();
}

fn list_is_on_the_wire(env: &Env) {
    let (mut served, store) = stored(env);
    let path = served.path("file");
    assert_eq!(xattrs::list(&path, 100).unwrap(), b"");
    for name in ["user.a", "user.b", "what.ever"] {
        store.values().insert((FILE, name.into()), vec![1]);
    }
    let all = b"user.a\0user.b\0what.ever\0";
    assert_eq!(xattrs::list(&path, 100).unwrap(), all);
    assert_eq!(last(&served, Opcode::Listxattr), (FILE, body(100, b"")));
    assert_eq!(xattrs::list(&path, all.len()).unwrap(), all);
    system::assert_errno(xattrs::list(&path, all.len() - 1), Errno::ERANGE);
    // Never more than a list can hold is asked for.
    assert_eq!(xattrs::list(&path, 100_000).unwrap(), all);
    assert_eq!(last(&served, Opcode::Listxattr), (FILE, body(65536, b"")));
    served.finish();
}

fn lists_that_make_no_sense(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let path = served.path("file");
    for list in [
        &b"user.a"[..],
        b"user.a\0user.b",
        b"\0",
        b"\0user.a\0",
        b"user.a\0\0",
        b"user.a\0\0user.b\0",
    ] {
        served.hook(move |req| {
            (req.opcode() == Opcode::Listxattr).then(|| Answer::Bytes(list.to_vec()))
        });
        system::assert_errno(xattrs::list(&path, 100), Errno::EIO);
    }
    served.finish();
}

fn all_kinds_of_files(env: &Env) {
    let (mut served, store) = stored(env);
    served.model().add(50, libc::S_IFIFO | 0o600, b"");
    served.model().link(1, "fifo", 50);
    for (name, nodeid) in [("file", FILE), ("dir", DIR), ("link", LINK), ("fifo", 50)] {
        let path = served.path(name);
        xattrs::set(&path, "trusted.a", b"1", 0).unwrap();
        assert_eq!(store.values()[&(nodeid, "trusted.a".into())], b"1");
        assert_eq!(xattrs::get(&path, "trusted.a", 10).unwrap(), b"1");
        assert_eq!(xattrs::list(&path, 100).unwrap(), b"trusted.a\0");
        xattrs::remove(&path, "trusted.a").unwrap();
    }
    // Users' attributes are for files and directories, as everywhere.
    system::assert_errno(
        xattrs::set(&served.path("link"), "user.a", b"", 0),
        Errno::EPERM,
    );
    served.finish();
}

fn enosys_is_remembered(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| {
        matches!(
            req.opcode(),
            Opcode::Getxattr | Opcode::Setxattr | Opcode::Listxattr | Opcode::Removexattr
        )
        .then_some(Answer::Error(Errno::ENOSYS))
    });
    let (file, dir) = (served.path("file"), served.path("dir"));
    for path in [&file, &dir, &file] {
        system::assert_errno(xattrs::get(path, "user.a", 10), Errno::EOPNOTSUPP);
        system::assert_errno(xattrs::size(path, "user.a"), Errno::EOPNOTSUPP);
        assert_eq!(served.count(Opcode::Getxattr), 1);
        system::assert_errno(xattrs::set(path, "user.a", b"", 0), Errno::EOPNOTSUPP);
        assert_eq!(served.count(Opcode::Setxattr), 1);
        system::assert_errno(xattrs::list(path, 10), Errno::EOPNOTSUPP);
        system::assert_errno(xattrs::list_size(path), Errno::EOPNOTSUPP);
        assert_eq!(served.count(Opcode::Listxattr), 1);
        system::assert_errno(xattrs::remove(path, "user.a"), Errno::EOPNOTSUPP);
        assert_eq!(served.count(Opcode::Removexattr), 1);
    }
    served.finish();
}

fn other_errors_are_not(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let path = served.path("file");
    for (round, error) in [(1, Errno::EOPNOTSUPP), (2, Errno::ENOSPC), (3, Errno::EDOM)] {
        served.hook(move |req| {
            matches!(
                req.opcode(),
                Opcode::Getxattr | Opcode::Setxattr | Opcode::Listxattr | Opcode::Removexattr
            )
            .then_some(Answer::Error(error))
        });
        system::assert_errno(xattrs::get(&path, "user.a", 10), error);
        assert_eq!(served.count(Opcode::Getxattr), round);
        system::assert_errno(xattrs::set(&path, "user.a", b"", 0), error);
        assert_eq!(served.count(Opcode::Setxattr), round);
        system::assert_errno(xattrs::list(&path, 10), error);
        assert_eq!(served.count(Opcode::Listxattr), round);
        system::assert_errno(xattrs::remove(&path, "user.a"), error);
        assert_eq!(served.count(Opcode::Removexattr), round);
    }
    served.finish();
}

fn changes_of_them_change_the_inode(env: &Env) {
    let (mut served, _store) = stored(env);
    let path = served.path("file");
    sys::stat(&path).unwrap();
    let asks = |served: &Served| {
        served.clear_log();
        sys::stat(&path).unwrap();
        served.count(Opcode::Getattr)
    };
    assert_eq!(asks(&served), 0);
    xattrs::set(&path, "user.a", b"1", 0).unwrap();
    assert_eq!(asks(&served), 1);
    xattrs::get(&path, "user.a", 10).unwrap();
    xattrs::list(&path, 10).unwrap();
    assert_eq!(asks(&served), 0);
    xattrs::remove(&path, "user.a").unwrap();
    assert_eq!(asks(&served), 1);
    system::assert_errno(xattrs::remove(&path, "user.a"), Errno::ENODATA);
    assert_eq!(asks(&served), 0);
    // It is the time of the change that does not hold; for the rest nobody asks.
    xattrs::set(&path, "user.a", b"1", 0).unwrap();
    served.clear_log();
    sys::statx(&path, 0, libc::STATX_MODE | libc::STATX_SIZE).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 0);
    served.finish();
}

fn others_are_kept_out(env: &Env) {
    let fs = Fs::new(env);
    let dir = fs.dir.clone();
    let caller = process(move || {
        nix::unistd::setgid(nix::unistd::Gid::from_raw(1000)).expect("setgid");
        nix::unistd::setuid(nix::unistd::Uid::from_raw(1000)).expect("setuid");
        let refused = [
            system::errno(xattrs::get(&dir, "user.a", 10)),
            system::errno(xattrs::list(&dir, 10)),
            system::errno(xattrs::set(&dir, "user.a", b"", 0)),
            system::errno(xattrs::remove(&dir, "user.a")),
        ];
        i32::from(!refused.iter().all(|&errno| errno == libc::EACCES))
    });
    let (mut served, _) = {
        let served = Served::new(fs, Model::cached());
        let store = Store::default().serve(&mut served.model());
        (served, store)
    };
    assert_eq!(caller.code(), 0);
    assert_eq!(served.model().opcodes(), []);
    served.finish();
}

fn bad_inode_has_none(env: &Env) {
    let (mut served, _store) = stored(env);
    served.model().attr_valid = 0;
    served.model().node(abi::ROOT_ID).attr.mode = libc::S_IFREG | 0o644;
    system::assert_errno(sys::stat(&served.dir), Errno::EIO);
    served.clear_log();
    system::assert_errno(xattrs::get(&served.dir, "trusted.a", 10), Errno::EIO);
    system::assert_errno(xattrs::list(&served.dir, 10), Errno::EIO);
    system::assert_errno(xattrs::set(&served.dir, "trusted.a", b"", 0), Errno::EIO);
    system::assert_errno(xattrs::remove(&served.dir, "trusted.a"), Errno::EIO);
    assert_eq!(served.model().opcodes(), []);
    served.finish();
}

fn killed_caller_leaves(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("file");
    let caller = process(move || {
        let _ = xattrs::set(&path, "user.x", &[7; 20_000], 0);
        0
    });
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(FILE));
    let set = fs.expect(Opcode::Setxattr);
    caller.signal(nix::sys::signal::Signal::SIGKILL);
    if env.is_rust() {
        assert!(caller.ended_within(Duration::from_secs(10)).is_some());
        fs.reply_bytes(&set, &[]);
    } else {
        // Linux keeps the dead until the daemon answers.
        fs.reply_bytes(&set, &[]);
        assert!(caller.ended_within(Duration::from_secs(10)).is_some());
    }
    assert_eq!(Set::new(set.request().body(), false).value, [7; 20_000]);
}
