// SPDX-License-Identifier: GPL-2.0

//! Removing names of files and directories.

use crate::{
    caller::{call, process, PATIENCE},
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, DIR, FILE, LINK},
    sys, system,
    tests::tests,
};
use libc::S_IFDIR;
use nix::{sys::signal::Signal, unistd};
use rawfuse::{
    abi::{Opcode, ROOT_ID},
    Errno, InitConfig,
};
use std::{io, path::Path, time::Duration};

tests![
    unlink_on_the_wire,
    rmdir_on_the_wire,
    name_is_gone,
    parent_s_attributes_are_asked_for_again,
    link_count_goes_down,
    link_count_stays_above_nothing,
    open_file_stays_readable,
    directory_in_use_is_empty,
    errors_leave_the_name,
    uncertain_names_are_looked_up,
    enosys_reaches_the_caller,
    killed_callers_go,
    what_the_kernel_refuses,
    sticky_directories_with_default_permissions,
    sticky_directories_of_the_daemon_s,
];

/// Removes by an operation.
fn remove(opcode: Opcode, path: &Path) -> io::Result<()> {
    match opcode {
        Opcode::Unlink => sys::unlink(path),
        Opcode::Rmdir => sys::rmdir(path),
        other => panic!("{other:?} removes nothing"),
    }
}

/// A model with the empty directory `empty` (node 6).
fn model() -> Model {
    let mut model = Model::cached();
    model.add(EMPTY, S_IFDIR | 0o755, b"");
    model.link(ROOT_ID, "empty", EMPTY);
    model
}

const EMPTY: u64 = 6;

const BOTH: [(Opcode, &str); 2] = [(Opcode::Unlink, "file"), (Opcode::Rmdir, "empty")];

fn on_the_wire(env: &Env, opcode: Opcode, nodeid: u64) {
    let fs = Fs::new(env);
    let path = fs.path("some name");
    let caller = process(|| system::errno(remove(opcode, &path)));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &model().entry(nodeid));
    let remove = fs.expect(opcode);
    let header = remove.header();
    assert_eq!((header.len, header.nodeid), (40 + 10, ROOT_ID));
    assert_eq!((header.uid, header.gid), (0, 0));
    assert_eq!(header.pid, caller.pid().as_raw() as u32);
    assert_eq!(remove.request().body(), b"some name\0");
    fs.reply_bytes(&remove, &[]);
    let forget = fs.expect(Opcode::Forget);
    assert_eq!(forget.nodeid(), nodeid);
    assert_eq!(caller.code(), 0);
}

fn unlink_on_the_wire(env: &Env) {
    on_the_wire(env, Opcode::Unlink, FILE);
}

fn rmdir_on_the_wire(env: &Env) {
    on_the_wire(env, Opcode::Rmdir, EMPTY);
}

fn name_is_gone(env: &Env) {
    for (opcode, name) in BOTH {
        let mut served = Served::new(Fs::new(env), model());
        let path = served.path(name);
        remove(opcode, &path).unwrap();
        served.clear_log();
        // For how long there is no such name nobody has said.
        for round in 1..=2 {
            system::assert_errno(sys::stat(&path), Errno::ENOENT);
            assert_eq!(served.count(Opcode::Lookup), round);
        }
        system::assert_errno(remove(opcode, &path), Errno::ENOENT);
        assert_eq!(served.count(opcode), 0);
        served.finish();
    }
}

fn parent_s_attributes_are_asked_for_again(env: &Env) {
    for (opcode, name) in BOTH {
        let mut served = Served::new(Fs::new(env), model());
        sys::stat(&served.dir).unwrap();
        sys::stat(&served.dir).unwrap();
        assert_eq!(served.count(Opcode::Getattr), 1);
        remove(opcode, &served.path(name)).unwrap();
        sys::stat(&served.dir).unwrap();
        assert_eq!(served.count(Opcode::Getattr), 2);
        served.finish();
    }
}

fn link_count_goes_down(env: &Env) {
    let mut model = model();
    model.node(FILE).attr.nlink = 3;
    let mut served = Served::new(Fs::new(env), model);
    let file = sys::open(&served.path("file")).unwrap();
    assert_eq!(sys::fstat_cached(&file).unwrap().stx_nlink, 3);
    sys::unlink(&served.path("file")).unwrap();
    // The kernel knows by itself, and that the change was a change of the inode.
    assert_eq!(sys::fstat_cached(&file).unwrap().stx_nlink, 2);
    assert_eq!(served.count(Opcode::Getattr), 0);
    sys::fstat(&file).unwrap();
    sys::fstat(&file).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 1);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn link_count_stays_above_nothing(env: &Env) {
    let mut model = model();
    model.node(FILE).attr.nlink = 0;
    let mut served = Served::new(Fs::new(env), model);
    let file = sys::open(&served.path("file")).unwrap();
    served.hook(|req| (req.opcode() == Opcode::Unlink).then(|| Answer::Bytes(Vec::new())));
    sys::unlink(&served.path("file")).unwrap();
    assert_eq!(sys::fstat_cached(&file).unwrap().stx_nlink, 0);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn open_file_stays_readable(env: &Env) {
    let mut served = Served::new(Fs::new(env), model());
    let mut file = sys::open(&served.path("file")).unwrap();
    sys::unlink(&served.path("file")).unwrap();
    assert_eq!(
        sys::read_all(&mut file, 4096).unwrap(),
        crate::model::CONTENTS
    );
    assert_eq!(served.count(Opcode::Forget), 0);
    drop(file);
    served.wait_for(Opcode::Forget, 1);
    let opcodes = served.model().opcodes();
    let at = |opcode| opcodes.iter().position(|each| *each == opcode);
    assert!(at(Opcode::Release) < at(Opcode::Forget), "{opcodes:?}");
    served.finish();
}

fn directory_in_use_is_empty(env: &Env) {
    let mut served = Served::new(Fs::new(env), model());
    let dir = sys::open_with(&served.path("empty"), libc::O_DIRECTORY).unwrap();
    sys::rmdir(&served.path("empty")).unwrap();
    assert_eq!(sys::fstat_cached(&dir).unwrap().stx_nlink, 0);
    let name = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&dir).to_string());
    served.clear_log();
    system::assert_errno(sys::mkdir(&name.join("x"), 0o755), Errno::ENOENT);
    assert_eq!(served.count(Opcode::Mkdir), 0);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn errors_leave_the_name(env: &Env) {
    for (opcode, name) in BOTH {
        let mut served = Served::new(Fs::new(env), model());
        let path = served.path(name);
        for error in [Errno::EACCES, Errno::EDOM, Errno::ENOTEMPTY, Errno::EBUSY] {
            served.hook(move |req| (req.opcode() == opcode).then_some(Answer::Error(error)));
            system::assert_errno(remove(opcode, &path), error);
        }
        served.clear_log();
        sys::stat(&path).unwrap();
        assert_eq!(served.model().opcodes(), []);
        served.finish();
    }
}

fn uncertain_names_are_looked_up(env: &Env) {
    for (opcode, name) in BOTH {
        for error in [Errno::ENOENT, Errno::EINTR] {
            let mut served = Served::new(Fs::new(env), model());
            let path = served.path(name);
            served.hook(move |req| (req.opcode() == opcode).then_some(Answer::Error(error)));
            system::assert_errno(remove(opcode, &path), error);
            served.clear_log();
            sys::stat(&path).unwrap();
            assert_eq!(served.count(Opcode::Lookup), 1, "{error}");
            served.finish();
        }
    }
}

fn enosys_reaches_the_caller(env: &Env) {
    for (opcode, name) in BOTH {
        let mut served = Served::new(Fs::new(env), model());
        served.hook(move |req| (req.opcode() == opcode).then_some(Answer::Error(Errno::ENOSYS)));
        for round in 1..=2 {
            system::assert_errno(remove(opcode, &served.path(name)), Errno::ENOSYS);
            assert_eq!(served.count(opcode), round);
        }
        served.finish();
    }
}

fn killed_callers_go(env: &Env) {
    for (opcode, nodeid) in [(Opcode::Unlink, FILE), (Opcode::Rmdir, EMPTY)] {
        let fs = Fs::new(env);
        let path = fs.path("x");
        let caller = process(|| system::errno(remove(opcode, &path)));
        let lookup = fs.expect(Opcode::Lookup);
        fs.reply(&lookup, &model().entry(nodeid));
        let req = fs.expect(opcode);
        caller.signal(Signal::SIGKILL);
        fs.expect(Opcode::Interrupt);
        if env.is_rust() {
            // Linux keeps the caller until the reply comes. Here it goes at once, and whether there
            // is such a name only the daemon knows.
            assert!(caller.ended_within(PATIENCE).is_some());
            assert_eq!(fs.expect(Opcode::Forget).nodeid(), nodeid);
            let path = fs.path("x");
            let next = call(move || sys::stat(&path));
            let lookup = fs.expect(Opcode::Lookup);
            fs.reply_bytes(&req, &[]);
            fs.reply_error(&lookup, Errno::ENOENT);
            system::assert_errno(next.result(), Errno::ENOENT);
        } else {
            assert!(caller.ended_within(Duration::from_millis(200)).is_none());
            fs.reply_bytes(&req, &[]);
            assert!(caller.ended_within(PATIENCE).is_some());
        }
    }
}

fn what_the_kernel_refuses(env: &Env) {
    let mut served = Served::new(Fs::new(env), model());
    system::assert_errno(sys::unlink(&served.path("dir")), Errno::EISDIR);
    system::assert_errno(sys::rmdir(&served.path("file")), Errno::ENOTDIR);
    system::assert_errno(sys::rmdir(&served.path("link")), Errno::ENOTDIR);
    assert_eq!(served.count(Opcode::Unlink), 0);
    assert_eq!(served.count(Opcode::Rmdir), 0);
    // A link itself goes, not what it leads to.
    sys::unlink(&served.path("link")).unwrap();
    let model = served.model();
    assert!(model.child(ROOT_ID, "link").is_none() && model.nodes.contains_key(&LINK));
    drop(model);
    // What is in it the daemon knows.
    system::assert_errno(sys::rmdir(&served.path("dir")), Errno::ENOTEMPTY);
    assert_eq!(served.count(Opcode::Rmdir), 1);
    assert_eq!(sys::stat(&served.path("dir")).unwrap().st_ino, DIR);
    served.finish();
}

/// What user 1000 gets who removes `dir/inner`, which is another's, from the sticky directory `dir`,
/// and whether the daemon is asked.
#[track_caller]
fn sticky(env: &Env, options: &'static str) -> (i32, bool) {
    let fs = Fs::with_options(env, options, &InitConfig::default());
    let dir = fs.path("dir");
    let caller = process(|| {
        let (uid, gid) = (unistd::Uid::from_raw(1000), unistd::Gid::from_raw(1000));
        unistd::setgroups(&[]).expect("setgroups");
        unistd::setresgid(gid, gid, gid).expect("setresgid");
        unistd::setresuid(uid, uid, uid).expect("setresuid");
        system::errno(sys::unlink(&dir.join("inner")))
    });
    let mut model = Model::cached();
    model.node(ROOT_ID).attr.mode = S_IFDIR | 0o755;
    model.node(DIR).attr.mode = S_IFDIR | 0o1777;
    loop {
        if let Some(status) = caller.ended_within(Duration::from_millis(20)) {
            let nix::sys::wait::WaitStatus::Exited(_, code) = status else {
                panic!("{status:?}");
            };
            return (code, model.count(Opcode::Unlink) > 0);
        }
        if !fs.channel.wait_readable(Duration::from_millis(20)).unwrap() {
            continue;
        }
        let req = fs.next();
        model.log.push(crate::model::Asked {
            unique: req.unique(),
            opcode: req.opcode(),
            nodeid: req.nodeid(),
            body: req.request().body().to_vec(),
        });
        match model.answer(&req) {
            Answer::Bytes(bytes) => fs.reply_bytes(&req, &bytes),
            Answer::Error(error) => fs.reply_error(&req, error),
            Answer::Nothing => {}
        }
    }
}

fn sticky_directories_with_default_permissions(env: &Env) {
    let got = sticky(env, "allow_other,default_permissions");
    assert_eq!(got, (libc::EPERM, false));
}

fn sticky_directories_of_the_daemon_s(env: &Env) {
    assert_eq!(sticky(env, "allow_other"), (0, true));
}
