// SPDX-License-Identifier: GPL-2.0

//! Who may: the owner of the mount, others, and checks by the kernel or by the daemon.

use crate::{
    caller::process,
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, FILE},
    sys, system,
    tests::tests,
};
use nix::unistd::{chdir, setgid, setgroups, setuid, Gid, Uid};
use rawfuse::{
    abi::{self, Opcode},
    Errno, InitConfig,
};
use std::{io, path::Path};

tests![
    others_are_kept_out,
    owner_is_let_in,
    set_user_id_callers_are_kept_out,
    allow_other_lets_others_in,
    requests_carry_the_caller_s_ids,
    access_is_asked,
    access_is_refused,
    access_enosys_is_remembered,
    chdir_is_asked,
    opening_is_not_checked_by_the_kernel,
    default_permissions_are_checked_by_the_kernel,
    default_permissions_ask_for_attributes,
    default_permissions_send_no_access,
    execution_needs_an_x_bit,
    statfs_of_others_says_nothing,
];

/// Runs `action` as an ordinary user, and gives the errno it comes to.
#[track_caller]
fn as_user(uid: u32, action: impl FnOnce() -> i32) -> i32 {
    process(|| {
        setgroups(&[]).expect("setgroups");
        setgid(Gid::from_raw(uid)).expect("setgid");
        setuid(Uid::from_raw(uid)).expect("setuid");
        action()
    })
    .code()
}

/// A file system whose daemon is another process, so that this one can fork callers.
///
/// The daemon serves until the mount is gone; what it was asked is not to be had.
fn with_daemon(fs: Fs, model: Model) -> (Fs, crate::caller::Process) {
    let daemon = process(|| {
        let channel = fs.channel.try_clone().expect("dup");
        crate::model::serve(&channel, &std::sync::Mutex::new(model));
        0
    });
    (fs, daemon)
}

fn stat_errno(path: &Path) -> i32 {
    system::errno(sys::stat(path))
}

fn others_are_kept_out(env: &Env) {
    let (fs, _daemon) = with_daemon(Fs::new(env), Model::new());
    let path = fs.path("file");
    assert_eq!(as_user(1000, || stat_errno(&path)), libc::EACCES);
    assert_eq!(as_user(1000, || stat_errno(&fs.dir)), libc::EACCES);
    assert_eq!(
        as_user(1000, || system::errno(sys::open(&fs.dir))),
        libc::EACCES
    );
    assert_eq!(
        as_user(1000, || system::errno(sys::list(&fs.dir))),
        libc::EACCES
    );
    assert_eq!(
        as_user(1000, || system::errno(sys::access(&fs.dir, libc::F_OK))),
        libc::EACCES
    );
    assert_eq!(
        as_user(1000, || system::errno(sys::access(&fs.dir, libc::R_OK))),
        libc::EACCES
    );
    assert_eq!(
        as_user(1000, || system::errno(chdir(&fs.dir).map_err(Into::into))),
        libc::EACCES
    );
    assert_eq!(process(|| stat_errno(&path)).code(), 0);
}

fn owned_by(uid: u32) -> impl Fn(rawfuse::MountOptions) -> rawfuse::MountOptions {
    move |options| rawfuse::MountOptions {
        user_id: uid,
        group_id: uid,
        ..options
    }
}

fn mount_of_user(env: &Env) -> Fs {
    Fs::with(
        env,
        |options| owned_by(1000)(options),
        &InitConfig::default(),
    )
}

fn owner_is_let_in(env: &Env) {
    let (fs, _daemon) = with_daemon(mount_of_user(env), Model::new());
    let path = fs.path("file");
    assert_eq!(as_user(1000, || stat_errno(&path)), 0);
    assert_eq!(as_user(1001, || stat_errno(&path)), libc::EACCES);
    // Root is another user, like all others.
    assert_eq!(process(|| stat_errno(&path)).code(), libc::EACCES);
}

fn set_user_id_callers_are_kept_out(env: &Env) {
    // All of real, effective and saved ID must be the owner's: else a daemon could hold up, and
    // look into, a process that has more rights than it.
    let (fs, _daemon) = with_daemon(mount_of_user(env), Model::new());
    let path = fs.path("file");
    for (real, effective, saved) in [(1000, 0, 0), (1000, 1000, 0), (0, 1000, 1000)] {
        let caller = process(|| {
            let gid = Gid::from_raw(1000);
            nix::unistd::setresgid(gid, gid, gid).expect("setresgid");
            let uid = Uid::from_raw;
            nix::unistd::setresuid(uid(real), uid(effective), uid(saved)).expect("setresuid");
            stat_errno(&path)
        });
        assert_eq!(caller.code(), libc::EACCES, "{real} {effective} {saved}");
    }
    let caller = process(|| {
        let gid = Gid::from_raw;
        nix::unistd::setresgid(gid(1000), gid(0), gid(1000)).expect("setresgid");
        let uid = Uid::from_raw(1000);
        nix::unistd::setresuid(uid, uid, uid).expect("setresuid");
        stat_errno(&path)
    });
    assert_eq!(caller.code(), libc::EACCES);
}

fn allow_other_lets_others_in(env: &Env) {
    let fs = Fs::with_option(env, "allow_other");
    let (fs, _daemon) = with_daemon(fs, Model::new());
    let path = fs.path("file");
    assert_eq!(as_user(1000, || stat_errno(&path)), 0);
    assert_eq!(as_user(1000, || system::errno(sys::contents(&path))), 0);
    assert_eq!(process(|| stat_errno(&path)).code(), 0);
}

fn requests_carry_the_caller_s_ids(env: &Env) {
    let fs = Fs::with_option(env, "allow_other");
    let path = fs.path("x");
    let caller = process(|| {
        setgroups(&[]).expect("setgroups");
        let gid = Gid::from_raw;
        nix::unistd::setresgid(gid(3), gid(2), gid(3)).expect("setresgid");
        let uid = Uid::from_raw;
        nix::unistd::setresuid(uid(7), uid(5), uid(6)).expect("setresuid");
        stat_errno(&path)
    });
    let lookup = fs.expect(Opcode::Lookup);
    let header = lookup.header();
    // Those for the file system: the effective ones.
    assert_eq!((header.uid, header.gid), (5, 2));
    assert_eq!(header.pid, caller.pid().as_raw() as u32);
    fs.reply_error(&lookup, Errno::ENOENT);
    assert_eq!(caller.code(), libc::ENOENT);
}

fn access_is_asked(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let all = libc::R_OK | libc::W_OK | libc::X_OK;
    // Whether it is there at all is asked, too.
    for mask in [libc::F_OK, libc::R_OK, libc::W_OK, all] {
        served.clear_log();
        let path = served.path("dir");
        sys::access(&path, mask).unwrap();
        let asked = served.model().log.pop().expect("a request");
        assert_eq!(
            (asked.opcode, asked.nodeid),
            (Opcode::Access, crate::model::DIR)
        );
        let arg = abi::AccessIn {
            mask: mask as u32,
            padding: 0,
        };
        assert_eq!(asked.body, zerocopy::IntoBytes::as_bytes(&arg));
    }
    served.finish();
}

fn access_is_refused(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Access).then_some(Answer::Error(Errno::EACCES)));
    for _ in 0..2 {
        system::assert_errno(sys::access(&served.path("file"), libc::R_OK), Errno::EACCES);
    }
    assert_eq!(served.count(Opcode::Access), 2);
    served.finish();
}

fn access_enosys_is_remembered(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Access).then_some(Answer::Error(Errno::ENOSYS)));
    for path in ["file", "dir", "dir/inner"] {
        sys::access(&served.path(path), libc::R_OK | libc::W_OK).unwrap();
    }
    assert_eq!(served.count(Opcode::Access), 1);
    served.finish();
}

fn chdir_is_asked(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Access).then_some(Answer::Error(Errno::EPERM)));
    let dir = served.path("dir");
    assert_eq!(chdir(&dir), Err(Errno::EPERM));
    served.model().hook = None;
    assert_eq!(chdir(&dir), Ok(()));
    let asked = served.model().log.pop().expect("a request");
    assert_eq!(asked.opcode, Opcode::Access);
    assert_eq!(asked.body[0], libc::X_OK as u8);
    chdir("/").unwrap();
    served.finish();
}

fn opening_is_not_checked_by_the_kernel(env: &Env) {
    let mut model = Model::cached();
    model.node(FILE).attr.mode = libc::S_IFREG;
    model.node(FILE).attr.uid = 5;
    let fs = Fs::with_option(env, "allow_other");
    let (fs, _daemon) = with_daemon(fs, model);
    let path = fs.path("file");
    assert_eq!(as_user(1000, || system::errno(sys::contents(&path))), 0);
}

fn checked(env: &Env, mode: u32, uid: u32, gid: u32) -> (Fs, crate::caller::Process) {
    let mut model = Model::cached();
    let attr = &mut model.node(FILE).attr;
    attr.mode = libc::S_IFREG | mode;
    (attr.uid, attr.gid) = (uid, gid);
    let fs = Fs::with_option(env, "allow_other,default_permissions");
    with_daemon(fs, model)
}

fn default_permissions_are_checked_by_the_kernel(env: &Env) {
    let open =
        |path: &Path, flags: i32| -> io::Result<()> { sys::open_with(path, flags).map(drop) };
    let (fs, _daemon) = checked(env, 0o640, 1000, 1001);
    let path = fs.path("file");
    for (uid, flags, error) in [
        (1000, libc::O_RDONLY, 0),
        (1000, libc::O_RDWR, 0),
        (1001, libc::O_RDONLY, 0),
        (1001, libc::O_WRONLY, libc::EACCES),
        (1002, libc::O_RDONLY, libc::EACCES),
        (1002, libc::O_WRONLY, libc::EACCES),
    ] {
        let result = as_user(uid, || system::errno(open(&path, flags)));
        assert_eq!(result, error, "{uid} {flags}");
    }
    assert_eq!(as_user(1002, || stat_errno(&path)), 0);
    assert_eq!(
        as_user(1002, || system::errno(sys::access(&path, libc::R_OK))),
        libc::EACCES
    );
    assert_eq!(
        process(|| system::errno(open(&path, libc::O_RDWR))).code(),
        0
    );
}

fn default_permissions_ask_for_attributes(env: &Env) {
    let fs = Fs::with_option(env, "default_permissions");
    let mut served = Served::new(fs, Model::new());
    // The root's permissions are not known before anything else is asked.
    sys::stat(&served.path("file")).unwrap();
    assert_eq!(served.model().opcodes()[0], Opcode::Getattr);
    assert_eq!(served.model().log[0].nodeid, abi::ROOT_ID);
    served.finish();
}

fn default_permissions_send_no_access(env: &Env) {
    let fs = Fs::with_option(env, "default_permissions");
    let mut served = Served::new(fs, Model::new());
    sys::access(&served.path("file"), libc::R_OK).unwrap();
    chdir(&served.path("dir")).unwrap();
    chdir("/").unwrap();
    assert_eq!(served.count(Opcode::Access), 0);
    served.finish();
}

fn execution_needs_an_x_bit(env: &Env) {
    let fs = Fs::with_option(env, "allow_other");
    let mut model = Model::new();
    model.add(60, libc::S_IFREG | 0o755, b"#!/bin/sh\nexit 0\n");
    model.link(abi::ROOT_ID, "yes", 60);
    model.add(61, libc::S_IFREG | 0o644, b"#!/bin/sh\nexit 0\n");
    model.link(abi::ROOT_ID, "no", 61);
    let mut served = Served::new(fs, model);
    let run = |name: &str| {
        let path = served.path(name);
        std::process::Command::new(path).status()
    };
    assert!(run("yes").expect("it starts").success());
    system::assert_errno(run("no"), Errno::EACCES);
    served.finish();
}

fn statfs_of_others_says_nothing(env: &Env) {
    let (fs, _daemon) = with_daemon(Fs::new(env), Model::new());
    let blocks = as_user(1000, || match nix::sys::statfs::statfs(&fs.dir) {
        Ok(st) => (st.blocks() + st.files()) as i32,
        Err(error) => error as i32,
    });
    assert_eq!(blocks, 0);
}
