// SPDX-License-Identifier: GPL-2.0

//! POSIX access control lists: judged by, cached, or passed through.

use crate::{
    caller::process,
    env::Env,
    fs::Fs,
    model::{Model, Served, DIR, FILE},
    sys, system,
    tests::tests,
    xattrs::{self, Set, Store},
};
use rawfuse::{
    abi::{init_flags, setxattr_flags, NotifyCode, NotifyInvalInodeOut, Opcode},
    Errno, InitConfig,
};
use std::{fs, os::unix::fs::PermissionsExt};
use zerocopy::IntoBytes;

tests![
    list_lets_a_user_in,
    lists_are_cached,
    change_forgets_the_cached_list,
    set_list_is_sent,
    set_group_id_goes_with_the_group,
    passed_through_without_the_flag,
    lists_that_make_no_sense,
    daemon_without_them,
    default_lists_are_others,
    invalidated_inode_has_no_cached_list,
    list_that_is_too_long,
    kernels_judgement_follows_the_list,
];

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";

/// A list: the owner, user 1000, the group and all others may do that; at most what the mask says.
fn acl(owner: u16, user: u16, group: u16, mask: u16, other: u16) -> Vec<u8> {
    let nobody = u32::MAX;
    let entries = [
        (0x01u16, owner, nobody),
        (0x02, user, 1000),
        (0x04, group, nobody),
        (0x10, mask, nobody),
        (0x20, other, nobody),
    ];
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&permissions.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

fn mounted(env: &Env, flags: u64) -> Fs {
    let config = InitConfig {
        flags,
        ..Default::default()
    };
    Fs::with(env, |options| options.option("allow_other"), &config)
}

const FLAGS: u64 = init_flags::POSIX_ACL | init_flags::SETXATTR_EXT;

/// Serves a file that only root may read, by its mode.
fn serve(fs: Fs, store: Store) -> (Served, Store) {
    let mut model = Model::cached();
    model.node(FILE).attr.mode = libc::S_IFREG | 0o640;
    let store = store.serve(&mut model);
    (Served::new(fs, model), store)
}

/// Runs `action` as user and group `uid`, and gives what it says.
fn as_user(uid: u32, action: impl FnOnce() -> i32) -> crate::caller::Process {
    process(move || {
        nix::unistd::setgroups(&[]).expect("setgroups");
        nix::unistd::setgid(nix::unistd::Gid::from_raw(uid)).expect("setgid");
        nix::unistd::setuid(nix::unistd::Uid::from_raw(uid)).expect("setuid");
        action()
    })
}

fn list_lets_a_user_in(env: &Env) {
    let fs = mounted(env, FLAGS);
    let path = fs.path("file");
    let open = |uid| as_user(uid, || system::errno(sys::open(&path)));
    let callers = [open(1000), open(1001)];
    let store = Store::long();
    store
        .values()
        .insert((FILE, ACCESS.into()), acl(6, 4, 4, 4, 0));
    let (mut served, _store) = serve(fs, store);
    let [user, other] = callers;
    assert_eq!(user.code(), 0);
    assert_eq!(other.code(), libc::EACCES);
    served.wait_for(Opcode::Release, 1);
    // The flag means that the kernel judges.
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(mounts.contains("default_permissions"), "{mounts}");
    served.finish();
}

fn lists_are_cached(env: &Env) {
    let (mut served, store) = serve(mounted(env, FLAGS), Store::long());
    let list = acl(6, 4, 4, 4, 0);
    store.values().insert((FILE, ACCESS.into()), list.clone());
    let path = served.path("file");
    for _ in 0..3 {
        assert_eq!(xattrs::get(&path, ACCESS, 1000).unwrap(), list);
        assert_eq!(served.count(Opcode::Getxattr), 1);
    }
    // So is that there is none.
    let path = served.path("dir");
    for _ in 0..3 {
        system::assert_errno(xattrs::get(&path, ACCESS, 1000), Errno::ENODATA);
        assert_eq!(served.count(Opcode::Getxattr), 2);
    }
    served.finish();
}

fn change_forgets_the_cached_list(env: &Env) {
    let (mut served, store) = serve(mounted(env, FLAGS), Store::long());
    store
        .values()
        .insert((FILE, ACCESS.into()), acl(6, 4, 4, 4, 0));
    let path = served.path("file");
    let asks = |served: &Served| {
        served.clear_log();
        xattrs::get(&path, ACCESS, 1000).unwrap();
        served.count(Opcode::Getxattr)
    };
    assert_eq!(asks(&served), 1);
    assert_eq!(asks(&served), 0);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(asks(&served), 1);
    xattrs::set(&path, ACCESS, &acl(6, 6, 4, 6, 0), 0).unwrap();
    assert_eq!(asks(&served), 1);
    sys::statx(&path, libc::AT_STATX_FORCE_SYNC, libc::STATX_MODE).unwrap();
    assert_eq!(asks(&served), 1);
    assert_eq!(asks(&served), 0);
    served.finish();
}

#[track_caller]
fn last_set(served: &Served, is_long: bool) -> Set {
    let model = served.model();
    let set = model.log.iter().rfind(|a| a.opcode == Opcode::Setxattr);
    Set::new(&set.expect("SETXATTR").body, is_long)
}

fn set_list_is_sent(env: &Env) {
    let (mut served, store) = serve(mounted(env, FLAGS), Store::long());
    let path = served.path("file");
    sys::stat(&path).unwrap();
    let list = acl(6, 6, 4, 6, 0);
    xattrs::set(&path, ACCESS, &list, 0).unwrap();
    let set = last_set(&served, true);
    assert_eq!((set.name.as_str(), &set.value), (ACCESS, &list));
    assert_eq!((set.flags, set.more), (0, 0));
    // The daemon may have changed the mode.
    served.clear_log();
    sys::stat(&path).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 1);
    xattrs::remove(&path, ACCESS).unwrap();
    assert_eq!(served.count(Opcode::Removexattr), 1);
    assert!(store.values().is_empty());
    served.finish();
}

fn set_group_id_goes_with_the_group(env: &Env) {
    let fs = mounted(env, FLAGS);
    let path = fs.path("file");
    let list = acl(6, 6, 4, 6, 0);
    let caller = as_user(1000, move || {
        system::errno(xattrs::set(&path, ACCESS, &list, 0))
    });
    let mut model = Model::cached();
    model.node(FILE).attr.uid = 1000;
    model.node(FILE).attr.gid = 5;
    Store::long().serve(&mut model);
    let mut served = Served::new(fs, model);
    assert_eq!(caller.code(), 0);
    assert_eq!(last_set(&served, true).more, setxattr_flags::ACL_KILL_SGID);
    served.finish();
}

fn passed_through_without_the_flag(env: &Env) {
    let fs = mounted(env, 0);
    let path = fs.path("file");
    // The daemon judges, and this one lets everybody in.
    let caller = as_user(1001, || system::errno(sys::open(&path)));
    let (mut served, store) = serve(fs, Store::default());
    assert_eq!(caller.code(), 0);
    served.wait_for(Opcode::Release, 1);
    let list = acl(6, 4, 4, 4, 0);
    let path = served.path("file");
    xattrs::set(&path, ACCESS, &list, 0).unwrap();
    assert_eq!(last_set(&served, false).value, list);
    assert_eq!(store.values()[&(FILE, ACCESS.into())], list);
    for round in 1..=3 {
        assert_eq!(xattrs::get(&path, ACCESS, 1000).unwrap(), list);
        assert_eq!(served.count(Opcode::Getxattr), round);
    }
    served.finish();
}

fn lists_that_make_no_sense(env: &Env) {
    let (mut served, store) = serve(mounted(env, FLAGS), Store::long());
    let path = served.path("file");
    let mut version = acl(6, 4, 4, 4, 0);
    version[0] = 3;
    let whole = acl(6, 4, 4, 4, 0);
    let cases = [
        (version, Errno::EOPNOTSUPP),
        (whole[..whole.len() - 1].to_vec(), Errno::EINVAL),
        (vec![1, 2, 3], Errno::EINVAL),
        // The daemon's whole answer must fit into a page.
        (vec![0; 5000], Errno::E2BIG),
    ];
    for (list, error) in cases {
        store.values().insert((FILE, ACCESS.into()), list);
        system::assert_errno(xattrs::get(&path, ACCESS, 10_000), error);
    }
    // None is one, too.
    store.values().insert((FILE, ACCESS.into()), Vec::new());
    system::assert_errno(xattrs::get(&path, ACCESS, 1000), Errno::ENODATA);
    served.finish();
}

fn daemon_without_them(env: &Env) {
    let mut served = Served::new(mounted(env, FLAGS), Model::cached());
    served.hook(|req| {
        matches!(req.opcode(), Opcode::Getxattr | Opcode::Setxattr)
            .then_some(crate::model::Answer::Error(Errno::ENOSYS))
    });
    let path = served.path("file");
    for _ in 0..2 {
        system::assert_errno(xattrs::get(&path, ACCESS, 1000), Errno::ENODATA);
        let result = xattrs::set(&path, ACCESS, &acl(6, 6, 4, 6, 0), 0);
        system::assert_errno(result, Errno::EOPNOTSUPP);
    }
    assert_eq!(served.count(Opcode::Getxattr), 1);
    assert_eq!(served.count(Opcode::Setxattr), 1);
    served.finish();
}

fn default_lists_are_others(env: &Env) {
    let (mut served, store) = serve(mounted(env, FLAGS), Store::long());
    let (access, default) = (acl(7, 5, 5, 5, 0), acl(7, 7, 5, 7, 5));
    store.values().insert((DIR, ACCESS.into()), access.clone());
    store
        .values()
        .insert((DIR, DEFAULT.into()), default.clone());
    let path = served.path("dir");
    for _ in 0..2 {
        assert_eq!(xattrs::get(&path, DEFAULT, 1000).unwrap(), default);
        assert_eq!(xattrs::get(&path, ACCESS, 1000).unwrap(), access);
        assert_eq!(served.count(Opcode::Getxattr), 2);
    }
    let new = acl(7, 0, 0, 0, 0);
    xattrs::set(&path, DEFAULT, &new, 0).unwrap();
    let set = last_set(&served, true);
    assert_eq!((set.name.as_str(), &set.value), (DEFAULT, &new));
    assert_eq!(xattrs::get(&path, DEFAULT, 1000).unwrap(), new);
    // Files have none.
    let path = served.path("file");
    let result = xattrs::set(&path, DEFAULT, &new, 0);
    system::assert_errno(result, Errno::EACCES);
    served.finish();
}

fn invalidated_inode_has_no_cached_list(env: &Env) {
    let (mut served, store) = serve(mounted(env, FLAGS), Store::long());
    let (old, new) = (acl(6, 4, 4, 4, 0), acl(6, 6, 4, 6, 0));
    store.values().insert((FILE, ACCESS.into()), old.clone());
    let path = served.path("file");
    assert_eq!(xattrs::get(&path, ACCESS, 1000).unwrap(), old);
    store.values().insert((FILE, ACCESS.into()), new.clone());
    assert_eq!(xattrs::get(&path, ACCESS, 1000).unwrap(), old);
    let out = NotifyInvalInodeOut {
        ino: FILE,
        off: -1,
        len: 0,
    };
    let channel = &served.channel;
    channel
        .notify(NotifyCode::InvalInode, &[out.as_bytes()])
        .unwrap();
    assert_eq!(xattrs::get(&path, ACCESS, 1000).unwrap(), new);
    served.finish();
}

fn list_that_is_too_long(env: &Env) {
    let (mut served, _store) = serve(mounted(env, FLAGS), Store::long());
    // Of users 2000, 2001, ..., as many as it takes.
    let list = |len: usize| {
        let mut list = acl(6, 4, 4, 4, 0);
        let (user, rest) = (list[12..20].to_vec(), list.split_off(20));
        for id in (2000u32..).take((len - 44) / 8) {
            list.extend_from_slice(&user[..4]);
            list.extend_from_slice(&id.to_le_bytes());
        }
        list.extend(rest);
        assert_eq!(list.len(), len);
        list
    };
    let path = served.path("file");
    xattrs::set(&path, ACCESS, &list(4092), 0).unwrap();
    assert_eq!(served.count(Opcode::Setxattr), 1);
    let result = xattrs::set(&path, ACCESS, &list(4100), 0);
    system::assert_errno(result, Errno::E2BIG);
    assert_eq!(served.count(Opcode::Setxattr), 1);
    served.finish();
}

fn kernels_judgement_follows_the_list(env: &Env) {
    let fs = mounted(env, FLAGS);
    let path = fs.path("file");
    let file = path.clone();
    let user = as_user(1000, move || {
        let open = || system::errno(sys::open(&path));
        let before = open();
        let end = std::time::Instant::now() + crate::caller::PATIENCE;
        // What is cached is what counts, until the list is set anew.
        while open() == before {
            if std::time::Instant::now() > end {
                return 255;
            }
            std::thread::yield_now();
        }
        before
    });
    let store = Store::long();
    store
        .values()
        .insert((FILE, ACCESS.into()), acl(6, 0, 4, 4, 0));
    let (mut served, _store) = serve(fs, store);
    // The list is asked for twice each time that it lets nobody in.
    served.wait_for(Opcode::Getxattr, 6);
    xattrs::set(&file, ACCESS, &acl(6, 4, 4, 4, 0), 0).unwrap();
    assert_eq!(user.code(), libc::EACCES);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}
