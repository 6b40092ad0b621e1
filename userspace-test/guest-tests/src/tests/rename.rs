// SPDX-License-Identifier: GPL-2.0

//! Renaming.

use crate::{
    caller::{call, process, PATIENCE},
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, DIR, FILE, INNER},
    sys, system,
    tests::tests,
};
use libc::{RENAME_EXCHANGE, RENAME_NOREPLACE, RENAME_WHITEOUT};
use nix::sys::signal::Signal;
use rawfuse::{
    abi::{self, Opcode, ROOT_ID},
    Errno, Operation,
};
use std::time::Duration;

tests![
    rename_on_the_wire,
    rename2_on_the_wire,
    rename2_enosys_is_remembered,
    minor_22_has_no_rename2,
    names_move_without_lookups,
    what_is_replaced_loses_a_name,
    exchanged_names,
    noreplace,
    whiteout,
    directories_move,
    attributes_are_asked_for_again,
    errors_leave_the_names,
    uncertain_names_are_looked_up,
    enosys_of_rename_reaches_the_caller,
    killed_callers_go,
    what_the_kernel_refuses,
];

fn rename_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let (from, to) = (fs.path("old name"), fs.path("dir/new name"));
    let caller = process(|| system::errno(sys::rename(&from, &to, 0)));
    let mut model = Model::cached();
    let mut answer_lookups = || loop {
        let req = fs.next();
        match req.operation() {
            Operation::Lookup { name } if name == "dir" => fs.reply(&req, &model.entry(DIR)),
            Operation::Lookup { name } if name == "old name" => fs.reply(&req, &model.entry(FILE)),
            Operation::Lookup { .. } => fs.reply_error(&req, Errno::ENOENT),
            _ => return req,
        }
    };
    let rename = answer_lookups();
    assert_eq!(rename.opcode(), Opcode::Rename);
    let header = rename.header();
    assert_eq!((header.len, header.nodeid), (40 + 8 + 9 + 9, ROOT_ID));
    assert_eq!((header.uid, header.gid), (0, 0));
    assert_eq!(header.pid, caller.pid().as_raw() as u32);
    let mut args = rename.request().args();
    let arg: &abi::RenameIn = args.structure().unwrap();
    assert_eq!(arg.newdir, DIR);
    assert_eq!(args.name().unwrap(), "old name");
    assert_eq!(args.name().unwrap(), "new name");
    fs.reply_bytes(&rename, &[]);
    assert_eq!(caller.code(), 0);
}

fn rename2_on_the_wire(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for (flags, to) in [
        (RENAME_NOREPLACE, "new"),
        (RENAME_EXCHANGE, "dir"),
        (RENAME_WHITEOUT, "new"),
        (RENAME_WHITEOUT | RENAME_NOREPLACE, "new"),
    ] {
        served.clear_log();
        served.hook(|req| (req.opcode() == Opcode::Rename2).then_some(Answer::Error(Errno::EDOM)));
        let result = sys::rename(&served.path("file"), &served.path(to), flags);
        system::assert_errno(result, Errno::EDOM);
        let model = served.model();
        let asked = model.log.last().unwrap();
        assert_eq!((asked.opcode, asked.nodeid), (Opcode::Rename2, ROOT_ID));
        let mut body = ROOT_ID.to_ne_bytes().to_vec();
        body.extend(flags.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(format!("file\0{to}\0").bytes());
        assert_eq!(asked.body, body);
    }
    served.finish();
}

fn rename2_enosys_is_remembered(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Rename2).then_some(Answer::Error(Errno::ENOSYS)));
    for flags in [RENAME_NOREPLACE, RENAME_EXCHANGE, RENAME_WHITEOUT] {
        let to = if flags == RENAME_EXCHANGE { "dir" } else { "x" };
        let result = sys::rename(&served.path("file"), &served.path(to), flags);
        system::assert_errno(result, Errno::EINVAL);
    }
    assert_eq!(served.count(Opcode::Rename2), 1);
    // Without flags it is another operation.
    sys::rename(&served.path("file"), &served.path("x"), 0).unwrap();
    served.finish();
}

fn minor_22_has_no_rename2(env: &Env) {
    let mut served = Served::new(Fs::with_minor(env, 22, 0), Model::cached());
    let result = sys::rename(&served.path("file"), &served.path("x"), RENAME_NOREPLACE);
    system::assert_errno(result, Errno::EINVAL);
    assert_eq!(served.count(Opcode::Rename2), 0);
    sys::rename(&served.path("file"), &served.path("x"), 0).unwrap();
    served.finish();
}

fn names_move_without_lookups(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::rename(&served.path("file"), &served.path("dir/new"), 0).unwrap();
    served.clear_log();
    assert_eq!(
        sys::fstat(&sys::open(&served.path("dir/new")).unwrap())
            .unwrap()
            .st_ino,
        FILE
    );
    assert_eq!(served.count(Opcode::Lookup), 0);
    system::assert_errno(sys::stat(&served.path("file")), Errno::ENOENT);
    assert_eq!(served.count(Opcode::Lookup), 1);
    served.finish();
}

fn what_is_replaced_loses_a_name(env: &Env) {
    let mut model = Model::cached();
    model.node(INNER).attr.nlink = 2;
    let mut served = Served::new(Fs::new(env), model);
    let replaced = sys::open(&served.path("dir/inner")).unwrap();
    sys::rename(&served.path("file"), &served.path("dir/inner"), 0).unwrap();
    assert_eq!(sys::fstat_cached(&replaced).unwrap().stx_nlink, 1);
    assert_eq!(sys::stat(&served.path("dir/inner")).unwrap().st_ino, FILE);
    drop(replaced);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn exchanged_names(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let (one, other) = (served.path("file"), served.path("dir"));
    sys::rename(&one, &other, RENAME_EXCHANGE).unwrap();
    served.clear_log();
    assert_eq!(sys::stat(&one).unwrap().st_ino, DIR);
    assert_eq!(sys::stat(&other).unwrap().st_ino, FILE);
    assert_eq!(sys::stat(&one.join("inner")).unwrap().st_ino, INNER);
    // Both inodes have changed.
    assert_eq!(
        served.model().opcodes(),
        [Opcode::Getattr, Opcode::Getattr, Opcode::Lookup]
    );
    assert_eq!(sys::stat(&other).unwrap().st_nlink, 1);
    served.finish();
}

fn noreplace(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let (one, other) = (served.path("file"), served.path("link"));
    system::assert_errno(sys::rename(&one, &other, RENAME_NOREPLACE), Errno::EEXIST);
    assert_eq!(served.count(Opcode::Rename2), 0);
    sys::rename(&one, &served.path("new"), RENAME_NOREPLACE).unwrap();
    assert_eq!(served.model().child(ROOT_ID, "new"), Some(FILE));
    served.finish();
}

fn whiteout(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let (one, other) = (served.path("file"), served.path("new"));
    sys::rename(&one, &other, RENAME_WHITEOUT).unwrap();
    assert_eq!(served.count(Opcode::Rename2), 1);
    assert_eq!(sys::stat(&other).unwrap().st_ino, FILE);
    served.finish();
}

fn directories_move(env: &Env) {
    let mut model = Model::cached();
    model.add(20, libc::S_IFDIR | 0o755, b"");
    model.link(ROOT_ID, "other", 20);
    let mut served = Served::new(Fs::new(env), model);
    sys::stat(&served.path("dir/inner")).unwrap();
    sys::rename(&served.path("dir"), &served.path("other/moved"), 0).unwrap();
    served.clear_log();
    let inner = served.path("other/moved/inner");
    assert_eq!(sys::stat(&inner).unwrap().st_ino, INNER);
    assert_eq!(served.model().opcodes(), []);
    let up = served.path("other/moved/..");
    assert_eq!(sys::stat(&up).unwrap().st_ino, 20);
    served.finish();
}

fn attributes_are_asked_for_again(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let stat = |name: &str| sys::stat(&served.path(name)).unwrap();
    let stat_all = |names: [&str; 3]| {
        for _ in 0..2 {
            for name in names {
                stat(name);
            }
        }
    };
    stat_all(["", "dir", "file"]);
    assert_eq!(served.count(Opcode::Getattr), 1);
    sys::rename(&served.path("file"), &served.path("dir/new"), 0).unwrap();
    served.clear_log();
    stat_all(["", "dir", "dir/new"]);
    assert_eq!(served.model().opcodes(), [Opcode::Getattr; 3]);
    served.finish();
}

fn errors_leave_the_names(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for error in [Errno::EACCES, Errno::EXDEV, Errno::ENOTEMPTY, Errno::EDOM] {
        served.hook(move |req| (req.opcode() == Opcode::Rename).then_some(Answer::Error(error)));
        let result = sys::rename(&served.path("file"), &served.path("dir/inner"), 0);
        system::assert_errno(result, error);
    }
    served.clear_log();
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_ino, FILE);
    assert_eq!(sys::stat(&served.path("dir/inner")).unwrap().st_ino, INNER);
    assert_eq!(served.model().opcodes(), []);
    served.finish();
}

fn uncertain_names_are_looked_up(env: &Env) {
    for error in [Errno::ENOENT, Errno::EINTR] {
        let mut served = Served::new(Fs::new(env), Model::cached());
        served.hook(move |req| (req.opcode() == Opcode::Rename).then_some(Answer::Error(error)));
        let result = sys::rename(&served.path("file"), &served.path("dir/inner"), 0);
        system::assert_errno(result, error);
        served.clear_log();
        assert_eq!(sys::stat(&served.path("file")).unwrap().st_ino, FILE);
        assert_eq!(sys::stat(&served.path("dir/inner")).unwrap().st_ino, INNER);
        assert_eq!(served.model().count(Opcode::Lookup), 2, "{error}");
        served.finish();
    }
}

fn enosys_of_rename_reaches_the_caller(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Rename).then_some(Answer::Error(Errno::ENOSYS)));
    for round in 1..=2 {
        let result = sys::rename(&served.path("file"), &served.path("x"), 0);
        system::assert_errno(result, Errno::ENOSYS);
        assert_eq!(served.count(Opcode::Rename), round);
    }
    served.finish();
}

fn killed_callers_go(env: &Env) {
    let fs = Fs::new(env);
    let (from, to) = (fs.path("old"), fs.path("new"));
    let caller = process(|| system::errno(sys::rename(&from, &to, 0)));
    let mut model = Model::cached();
    let rename = loop {
        let req = fs.next();
        match req.operation() {
            Operation::Lookup { name } if name == "old" => fs.reply(&req, &model.entry(FILE)),
            Operation::Lookup { .. } => fs.reply_error(&req, Errno::ENOENT),
            _ => break req,
        }
    };
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if !env.is_rust() {
        // Linux keeps the caller until the reply comes.
        assert!(caller.ended_within(Duration::from_millis(200)).is_none());
        fs.reply_bytes(&rename, &[]);
        assert!(caller.ended_within(PATIENCE).is_some());
        return;
    }
    assert!(caller.ended_within(PATIENCE).is_some());
    assert_eq!(fs.expect(Opcode::Forget).nodeid(), FILE);
    // The directory is not locked any more, and what is in it only the daemon knows.
    let path = fs.path("old");
    let next = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply_bytes(&rename, &[]);
    fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(next.result(), Errno::ENOENT);
}

fn what_the_kernel_refuses(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let rename =
        |from: &str, to: &str, flags| sys::rename(&served.path(from), &served.path(to), flags);
    system::assert_errno(rename("dir", "dir/below", 0), Errno::EINVAL);
    system::assert_errno(rename("dir/inner", "dir", 0), Errno::ENOTEMPTY);
    system::assert_errno(rename("dir", "file", 0), Errno::ENOTDIR);
    system::assert_errno(rename("file", "dir", 0), Errno::EISDIR);
    system::assert_errno(rename("file", "none", RENAME_EXCHANGE), Errno::ENOENT);
    let both = RENAME_EXCHANGE | RENAME_NOREPLACE;
    system::assert_errno(rename("file", "dir", both), Errno::EINVAL);
    system::assert_errno(rename("file", "dir", 1 << 3), Errno::EINVAL);
    // Two names of one file: nothing is to be done.
    rename("file", "file", 0).unwrap();
    let model = served.model();
    assert_eq!(
        model.count(Opcode::Rename) + model.count(Opcode::Rename2),
        0
    );
    drop(model);
    served.finish();
}
