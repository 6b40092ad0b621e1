// SPDX-License-Identifier: GPL-2.0

//! Making files and opening them, with a name and without.

use crate::{
    caller::{call, process, Caller, PATIENCE},
    env::Env,
    fs::{Fs, Req},
    model::{Answer, Model, Served, DIR, FILE},
    sys, system,
    tests::tests,
};
use libc::{O_CREAT, O_EXCL, O_NOFOLLOW, O_RDONLY, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY, S_IFREG};
use nix::sys::{signal::Signal, stat::Mode};
use rawfuse::{
    abi::{self, init_flags, open_flags, Opcode, ROOT_ID},
    Errno, Operation,
};
use std::{fs::File, io, path::Path, time::Duration};
use zerocopy::IntoBytes;

tests![
    create_on_the_wire,
    flags_on_the_wire,
    minor_8_has_short_structures,
    umask_is_the_daemon_s_with_the_flag,
    truncation_takes_set_ids_with_the_flag,
    what_was_made_is_known,
    existing_files_are_opened,
    cached_names_are_opened,
    without_create_nothing_is_made,
    exclusive_creation_of_what_exists,
    eexist_makes_the_kernel_look_again,
    errors_reach_the_caller,
    enosys_is_remembered,
    mknod_in_its_place_may_fail,
    nodes_that_cannot_be,
    other_types_than_files,
    short_replies,
    directories_and_links_in_the_way,
    open_flags_of_the_daemon,
    passthrough_was_not_offered,
    too_large_for_small_programs,
    killed_before_the_reply,
    killed_create_without_a_node,
    release_before_forget,
    parent_s_attributes_are_asked_for_again,
    tmpfile_on_the_wire,
    tmpfile_has_no_name,
    tmpfile_can_be_linked,
    tmpfile_enosys_is_remembered,
    tmpfile_errors_reach_the_caller,
    killed_tmpfile_is_given_back,
];

const SHORT: Duration = Duration::from_millis(150);

fn with_umask(bits: u32) {
    nix::sys::stat::umask(Mode::from_bits_truncate(bits));
}

/// The reply to a `CREATE`: node 100, open as 0x1234.
fn created() -> (abi::EntryOut, abi::OpenOut) {
    let entry = abi::EntryOut {
        nodeid: 100,
        entry_valid: 3600,
        attr_valid: 3600,
        attr: abi::Attr {
            ino: 100,
            mode: S_IFREG | 0o644,
            nlink: 1,
            ..Default::default()
        },
        ..Default::default()
    };
    let open = abi::OpenOut {
        fh: 0x1234,
        ..Default::default()
    };
    (entry, open)
}

#[track_caller]
fn reply(fs: &Fs, req: &Req, (entry, open): (abi::EntryOut, abi::OpenOut)) {
    let reply = fs
        .channel
        .reply_bytes(req.unique(), &[entry.as_bytes(), open.as_bytes()]);
    reply.expect("the reply");
}

/// Starts to create `x`, and takes the request for it.
#[track_caller]
fn creating(fs: &Fs, flags: i32) -> (Caller<io::Result<File>>, Req) {
    let path = fs.path("x");
    let caller = call(move || sys::open_with(&path, flags | O_CREAT));
    fs.deny_name();
    (caller, fs.expect(Opcode::Create))
}

/// Answers what comes when a file is closed, up to `RELEASE`, which it gives.
#[track_caller]
fn closed(fs: &Fs) -> Req {
    loop {
        let req = fs.next();
        match req.opcode() {
            Opcode::Flush => fs.reply_bytes(&req, &[]),
            Opcode::Release => {
                fs.reply_bytes(&req, &[]);
                return req;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn create_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = process(|| {
        with_umask(0o026);
        system::errno(sys::open_with(&path, O_CREAT | O_RDWR))
    });
    fs.deny_name();
    let create = fs.expect(Opcode::Create);
    let header = create.header();
    assert_eq!((header.len, header.nodeid), (40 + 16 + 2, ROOT_ID));
    assert_eq!((header.uid, header.gid), (0, 0));
    assert_eq!(header.pid, caller.pid().as_raw() as u32);
    assert_eq!((header.total_extlen, header.padding), (0, 0));
    let mut args = create.request().args();
    let arg: &abi::CreateIn = args.structure().unwrap();
    assert_eq!(arg.flags as i32 & libc::O_ACCMODE, O_RDWR);
    assert_eq!((arg.mode, arg.umask), (S_IFREG | 0o640, 0o026));
    assert_eq!(arg.open_flags, 0);
    assert_eq!(args.name().unwrap(), "x");
    reply(&fs, &create, created());
    let release = closed(&fs);
    assert_eq!((release.header().len, release.nodeid()), (64, 100));
    let arg: abi::ReleaseIn = release.arg();
    assert_eq!(arg.fh, 0x1234);
    assert_eq!(arg.flags as i32 & (O_CREAT | O_EXCL | O_TRUNC), 0);
    assert_eq!(arg.flags as i32 & libc::O_ACCMODE, O_RDWR);
    assert_eq!(caller.code(), 0);
}

fn flags_on_the_wire(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for (number, flags) in [
        O_RDONLY,
        O_WRONLY,
        O_RDWR | O_EXCL,
        O_RDWR | O_TRUNC,
        O_WRONLY | libc::O_APPEND | O_NOFOLLOW,
        O_WRONLY | libc::O_NONBLOCK | libc::O_SYNC,
    ]
    .into_iter()
    .enumerate()
    {
        let path = served.path(&format!("new{number}"));
        drop(sys::open_with(&path, flags | O_CREAT | libc::O_NOCTTY).unwrap());
        let model = served.model();
        let mut log = model.log.iter();
        let body = &log
            .rfind(|asked| asked.opcode == Opcode::Create)
            .unwrap()
            .body;
        let sent = u32::from_ne_bytes(body[..4].try_into().unwrap()) as i32;
        assert_eq!(sent & (flags | O_CREAT), flags | O_CREAT, "{flags:o}");
        assert_eq!(sent & (libc::O_NOCTTY | libc::O_CLOEXEC), 0, "{sent:o}");
    }
    served.finish();
}

fn minor_8_has_short_structures(env: &Env) {
    let fs = Fs::with_minor(env, 8, 0);
    let (caller, create) = creating(&fs, O_RDWR);
    assert_eq!(create.header().len, 40 + 8 + 2);
    assert_eq!(&create.request().body()[8..], b"x\0");
    let (entry, open) = created();
    let short = &entry.as_bytes()[..abi::EntryOut::COMPAT_SIZE];
    let sent = fs
        .channel
        .reply_bytes(create.unique(), &[short, open.as_bytes()]);
    sent.expect("the reply");
    let file = caller.result().unwrap();
    let closer = call(move || drop(file));
    assert_eq!(closed(&fs).arg::<abi::ReleaseIn>().fh, 0x1234);
    closer.result();
}

fn umask_is_the_daemon_s_with_the_flag(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::DONT_MASK);
    with_umask(0o077);
    let (caller, create) = creating(&fs, O_RDWR);
    let mut args = create.request().args();
    let arg: &abi::CreateIn = args.structure().unwrap();
    assert_eq!((arg.mode, arg.umask), (S_IFREG | 0o644, 0o077));
    fs.reply_error(&create, Errno::EDOM);
    system::assert_errno(caller.result(), Errno::EDOM);
}

fn truncation_takes_set_ids_with_the_flag(env: &Env) {
    let fs = Fs::with_options(
        env,
        "allow_other",
        &rawfuse::InitConfig {
            flags: init_flags::HANDLE_KILLPRIV_V2,
            ..Default::default()
        },
    );
    for (uid, flags, expected) in [
        (1000, O_TRUNC, abi::open_in_flags::KILL_SUIDGID),
        (1000, 0, 0),
        (1000, O_TRUNC | O_EXCL, 0),
        (0, O_TRUNC, 0),
    ] {
        let path = fs.path("x");
        let caller = process(|| {
            let uid = nix::unistd::Uid::from_raw(uid);
            nix::unistd::setresuid(uid, uid, uid).expect("setresuid");
            system::errno(sys::open_with(&path, O_CREAT | O_RDWR | flags))
        });
        fs.deny_name();
        let create = fs.expect(Opcode::Create);
        let mut args = create.request().args();
        let arg: &abi::CreateIn = args.structure().unwrap();
        assert_eq!(arg.open_flags, expected, "user {uid}, {flags:o}");
        fs.reply_error(&create, Errno::EDOM);
        assert_eq!(caller.code(), libc::EDOM);
    }
}

fn what_was_made_is_known(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open_with(&served.path("new"), O_CREAT | O_RDWR).unwrap();
    let opcodes = served.model().opcodes();
    assert_eq!(opcodes, [Opcode::Lookup, Opcode::Create]);
    served.clear_log();
    let stat = sys::fstat(&file).unwrap();
    assert_eq!(sys::stat(&served.path("new")).unwrap().st_ino, stat.st_ino);
    assert_eq!(stat.st_mode, S_IFREG | 0o644);
    assert_eq!(served.model().opcodes(), []);
    // The handle is the one that the daemon gave.
    drop(file);
    served.wait_for(Opcode::Release, 1);
    let model = served.model();
    let flush = &model.log[0];
    assert_eq!((flush.opcode, flush.nodeid), (Opcode::Flush, stat.st_ino));
    assert_eq!(flush.body[..8], (stat.st_ino + 1000).to_ne_bytes());
    drop(model);
    served.finish();
}

fn existing_files_are_opened(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for flags in [O_RDONLY, O_RDWR, O_RDONLY | O_NOFOLLOW] {
        drop(sys::open_with(&served.path("file"), flags | O_CREAT).unwrap());
    }
    assert_eq!(served.count(Opcode::Create), 0);
    assert_eq!(served.count(Opcode::Open), 3);
    served.finish();
}

fn cached_names_are_opened(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.path("file")).unwrap();
    served.clear_log();
    drop(sys::open_with(&served.path("file"), O_CREAT | O_RDONLY).unwrap());
    assert_eq!(served.count(Opcode::Lookup), 0);
    assert_eq!(served.count(Opcode::Open), 1);
    served.finish();
}

fn without_create_nothing_is_made(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for _ in 0..2 {
        system::assert_errno(sys::open(&served.path("none")), Errno::ENOENT);
    }
    assert_eq!(served.model().opcodes(), [Opcode::Lookup, Opcode::Lookup]);
    served.hook(|req| {
        (req.opcode() == Opcode::Lookup).then(|| {
            crate::model::answer(&abi::EntryOut {
                entry_valid: 3600,
                ..Default::default()
            })
        })
    });
    for _ in 0..3 {
        system::assert_errno(sys::open(&served.path("other")), Errno::ENOENT);
    }
    assert_eq!(served.count(Opcode::Lookup), 3);
    // That a name is known not to be does not keep anybody from making it.
    drop(sys::open_with(&served.path("other"), O_CREAT | O_RDWR).unwrap());
    assert_eq!(served.count(Opcode::Create), 1);
    served.finish();
}

fn exclusive_creation_of_what_exists(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let result = sys::open_with(&served.path("file"), O_CREAT | O_EXCL | O_RDWR);
    system::assert_errno(result, Errno::EEXIST);
    assert_eq!(served.count(Opcode::Create) + served.count(Opcode::Open), 0);
    drop(sys::open_with(&served.path("new"), O_CREAT | O_EXCL | O_RDWR).unwrap());
    assert_eq!(served.count(Opcode::Create), 1);
    served.finish();
}

fn eexist_makes_the_kernel_look_again(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| match req.operation() {
        Operation::Lookup { name } if name == "x" => Some(crate::model::answer(&abi::EntryOut {
            entry_valid: 3600,
            ..Default::default()
        })),
        Operation::Create { .. } => Some(Answer::Error(Errno::EEXIST)),
        _ => None,
    });
    let path = served.path("x");
    system::assert_errno(sys::open_with(&path, O_CREAT | O_RDWR), Errno::EEXIST);
    served.clear_log();
    for _ in 0..2 {
        system::assert_errno(sys::stat(&path), Errno::ENOENT);
    }
    assert_eq!(served.count(Opcode::Lookup), 1);
    served.finish();
}

fn errors_reach_the_caller(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for error in [
        Errno::EACCES,
        Errno::EDOM,
        Errno::ENOSPC,
        Errno::EROFS,
        Errno::EINTR,
    ] {
        served.hook(move |req| (req.opcode() == Opcode::Create).then_some(Answer::Error(error)));
        let result = sys::open_with(&served.path("x"), O_CREAT | O_RDWR);
        system::assert_errno(result, error);
    }
    assert_eq!(
        served.count(Opcode::Mknod) + served.count(Opcode::Release),
        0
    );
    served.finish();
}

fn enosys_is_remembered(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    with_umask(0o022);
    served.hook(|req| (req.opcode() == Opcode::Create).then_some(Answer::Error(Errno::ENOSYS)));
    for name in ["one", "two"] {
        served.clear_log();
        drop(sys::open_with(&served.path(name), O_CREAT | O_RDWR).unwrap());
        served.wait_for(Opcode::Release, 1);
        let mut opcodes = served.model().opcodes();
        opcodes.retain(|opcode| *opcode != Opcode::Create);
        let expected = [
            Opcode::Lookup,
            Opcode::Mknod,
            Opcode::Open,
            Opcode::Flush,
            Opcode::Release,
        ];
        assert_eq!(opcodes, expected);
        let model = served.model();
        let mknod = model.log.iter().find(|asked| asked.opcode == Opcode::Mknod);
        let mut body = (S_IFREG | 0o644).to_ne_bytes().to_vec();
        body.extend([0; 4]);
        body.extend(0o022u32.to_ne_bytes());
        body.extend([0; 4]);
        body.extend(format!("{name}\0").bytes());
        assert_eq!(mknod.unwrap().body, body);
    }
    assert_eq!(served.count(Opcode::Create), 0);
    served.finish();
}

fn mknod_in_its_place_may_fail(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for error in [Errno::ENOSYS, Errno::EACCES] {
        served.hook(move |req| match req.opcode() {
            Opcode::Create => Some(Answer::Error(Errno::ENOSYS)),
            Opcode::Mknod => Some(Answer::Error(error)),
            _ => None,
        });
        let result = sys::open_with(&served.path("x"), O_CREAT | O_RDWR);
        system::assert_errno(result, error);
    }
    assert_eq!(served.count(Opcode::Open), 0);
    served.finish();
}

/// Answers a `CREATE` with `change` done to a good reply, and expects that error.
#[track_caller]
fn refused(env: &Env, change: impl FnOnce(&mut abi::EntryOut, &mut abi::OpenOut)) {
    let fs = Fs::new(env);
    let (caller, create) = creating(&fs, O_RDWR);
    let (mut entry, mut open) = created();
    change(&mut entry, &mut open);
    reply(&fs, &create, (entry, open));
    system::assert_errno(caller.result(), Errno::EIO);
    // Who contradicts himself gets nothing back.
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    fs.deny_name();
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn nodes_that_cannot_be(env: &Env) {
    refused(env, |entry, _| entry.nodeid = 0);
    refused(env, |entry, _| entry.nodeid = ROOT_ID);
    refused(env, |entry, _| entry.attr.size = 1 << 63);
}

fn other_types_than_files(env: &Env) {
    for mode in [0, libc::S_IFDIR, libc::S_IFLNK, libc::S_IFIFO] {
        refused(env, |entry, _| entry.attr.mode = mode | 0o644);
    }
}

fn short_replies(env: &Env) {
    let fs = Fs::new(env);
    let (caller, create) = creating(&fs, O_RDWR);
    let (entry, open) = created();
    let short = &open.as_bytes()[..8];
    let sent = fs
        .channel
        .reply_bytes(create.unique(), &[entry.as_bytes(), short]);
    system::assert_errno(sent, Errno::EINVAL);
    system::assert_errno(caller.result(), Errno::EIO);
}

fn directories_and_links_in_the_way(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let open = |name: &str, flags| sys::open_with(&served.path(name), flags | O_CREAT);
    system::assert_errno(open("dir", O_RDWR), Errno::EISDIR);
    system::assert_errno(open("dir/", O_RDWR), Errno::EISDIR);
    system::assert_errno(open("link", O_RDWR | O_NOFOLLOW), Errno::ELOOP);
    system::assert_errno(open("file/x", O_RDWR), Errno::ENOTDIR);
    system::assert_errno(open("none/x", O_RDWR), Errno::ENOENT);
    assert_eq!(
        sys::fstat(&open("link", O_RDONLY).unwrap()).unwrap().st_ino,
        FILE
    );
    assert_eq!(served.count(Opcode::Create), 0);
    served.finish();
}

fn open_flags_of_the_daemon(env: &Env) {
    let mut model = Model::cached();
    model.open_flags = open_flags::NONSEEKABLE | open_flags::NOFLUSH;
    let mut served = Served::new(Fs::new(env), model);
    let file = sys::open_with(&served.path("new"), O_CREAT | O_RDWR).unwrap();
    let seek = sys::lseek(std::os::fd::AsFd::as_fd(&file), 1, libc::SEEK_SET);
    system::assert_errno(seek, Errno::ESPIPE);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    assert_eq!(served.count(Opcode::Flush), 0);
    served.finish();
}

fn passthrough_was_not_offered(env: &Env) {
    let fs = Fs::new(env);
    let (caller, create) = creating(&fs, O_RDWR);
    let (entry, mut open) = created();
    open.open_flags = open_flags::PASSTHROUGH;
    reply(&fs, &create, (entry, open));
    // What cannot be used is closed; the file is there.
    let release = fs.expect(Opcode::Release);
    assert_eq!(release.nodeid(), 100);
    assert_eq!(release.arg::<abi::ReleaseIn>().fh, 0x1234);
    fs.reply_bytes(&release, &[]);
    system::assert_errno(caller.result(), Errno::EIO);
    let path = fs.path("x");
    assert_eq!(call(move || sys::stat(&path)).result().unwrap().st_ino, 100);
}

fn too_large_for_small_programs(env: &Env) {
    // A new file that is larger than a program can cope with which has not heard of large files.
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = call(move || sys::open_small(&path, O_CREAT | O_RDWR));
    fs.deny_name();
    let create = fs.expect(Opcode::Create);
    let (mut entry, open) = created();
    entry.attr.size = 1 << 32;
    reply(&fs, &create, (entry, open));
    let release = fs.expect(Opcode::Release);
    assert_eq!(release.arg::<abi::ReleaseIn>().fh, 0x1234);
    fs.reply_bytes(&release, &[]);
    system::assert_errno(caller.result(), Errno::EOVERFLOW);
}

/// Kills a process whose request, for `opcode`, is at the daemon, and expects that what the reply
/// grants comes back.
#[track_caller]
fn killed(env: &Env, opcode: Opcode, open: impl FnOnce(&Path) -> i32) {
    let fs = Fs::new(env);
    let dir = fs.dir.clone();
    let caller = process(|| open(&dir));
    if opcode == Opcode::Create {
        fs.deny_name();
    }
    let create = fs.expect(opcode);
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if !env.is_rust() {
        // Linux keeps the caller until the reply comes.
        assert!(caller.ended_within(SHORT).is_none());
        reply(&fs, &create, created());
        assert_eq!(closed(&fs).arg::<abi::ReleaseIn>().fh, 0x1234);
        assert!(caller.ended_within(PATIENCE).is_some());
        return;
    }
    assert!(caller.ended_within(PATIENCE).is_some());
    reply(&fs, &create, created());
    let release = fs.expect(Opcode::Release);
    assert_eq!(release.nodeid(), 100);
    let arg: abi::ReleaseIn = release.arg();
    assert_eq!(arg.fh, 0x1234);
    assert_eq!(arg.flags as i32 & libc::O_ACCMODE, O_RDWR);
    assert_eq!(arg.flags as i32 & (O_CREAT | O_EXCL | O_TRUNC), 0);
    // The node is in use until it is closed.
    fs.expect_silence(SHORT);
    fs.reply_bytes(&release, &[]);
    let forget = fs.expect(Opcode::Forget);
    assert_eq!(forget.nodeid(), 100);
    assert_eq!(forget.arg::<abi::ForgetIn>().nlookup, 1);
    fs.expect_silence(SHORT);
}

fn killed_before_the_reply(env: &Env) {
    killed(env, Opcode::Create, |dir| {
        let flags = O_CREAT | O_EXCL | O_TRUNC | O_RDWR;
        system::errno(sys::open_with(&dir.join("x"), flags))
    });
}

fn killed_tmpfile_is_given_back(env: &Env) {
    killed(env, Opcode::Tmpfile, |dir| {
        system::errno(sys::open_with(dir, O_TMPFILE | O_RDWR))
    });
}

fn killed_create_without_a_node(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = process(|| system::errno(sys::open_with(&path, O_CREAT | O_RDWR)));
    fs.deny_name();
    let create = fs.expect(Opcode::Create);
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if env.is_rust() {
        assert!(caller.ended_within(PATIENCE).is_some());
    }
    let (mut entry, open) = created();
    entry.nodeid = 0;
    reply(&fs, &create, (entry, open));
    assert!(env.is_rust() || caller.ended_within(PATIENCE).is_some());
    fs.expect_silence(SHORT);
}

fn release_before_forget(env: &Env) {
    let fs = Fs::new(env);
    let (caller, create) = creating(&fs, O_RDWR);
    reply(&fs, &create, created());
    let file = caller.result().unwrap();
    let path = fs.path("x");
    let unlinker = call(move || sys::unlink(&path));
    let unlink = fs.expect(Opcode::Unlink);
    fs.reply_bytes(&unlink, &[]);
    unlinker.result().unwrap();
    let closer = call(move || drop(file));
    let flush = fs.expect(Opcode::Flush);
    fs.reply_bytes(&flush, &[]);
    closer.result();
    let release = fs.expect(Opcode::Release);
    fs.expect_silence(SHORT);
    fs.reply_bytes(&release, &[]);
    assert_eq!(fs.expect(Opcode::Forget).nodeid(), 100);
}

fn parent_s_attributes_are_asked_for_again(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.dir).unwrap();
    sys::stat(&served.dir).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 1);
    drop(sys::open_with(&served.path("new"), O_CREAT | O_RDWR).unwrap());
    sys::stat(&served.dir).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 2);
    served.finish();
}

fn tmpfile_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    with_umask(0o022);
    let dir = fs.dir.clone();
    let caller = call(move || sys::open_with(&dir, O_TMPFILE | O_RDWR));
    let tmpfile = fs.expect(Opcode::Tmpfile);
    assert_eq!(
        (tmpfile.header().len, tmpfile.nodeid()),
        (40 + 16 + 2, ROOT_ID)
    );
    let mut args = tmpfile.request().args();
    let arg: &abi::CreateIn = args.structure().unwrap();
    assert_eq!(arg.flags as i32 & (O_TMPFILE | O_RDWR), O_TMPFILE | O_RDWR);
    assert_eq!((arg.mode, arg.umask), (S_IFREG | 0o644, 0o022));
    assert_eq!(args.name().unwrap(), "/");
    reply(&fs, &tmpfile, created());
    let file = caller.result().unwrap();
    let closer = call(move || drop(file));
    assert_eq!(closed(&fs).arg::<abi::ReleaseIn>().fh, 0x1234);
    closer.result();
    // Nothing leads there any more.
    assert_eq!(fs.expect(Opcode::Forget).nodeid(), 100);
}

fn tmpfile_has_no_name(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open_with(&served.path("dir"), O_TMPFILE | O_RDWR).unwrap();
    assert_eq!(sys::fstat(&file).unwrap().st_nlink, 0);
    assert_eq!(served.model().node(DIR).entries.len(), 1);
    let asked = served.model().log.last().cloned().unwrap();
    assert_eq!((asked.opcode, asked.nodeid), (Opcode::Tmpfile, DIR));
    drop(file);
    served.wait_for(Opcode::Forget, 1);
    served.finish();
}

fn tmpfile_can_be_linked(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open_with(&served.dir, O_TMPFILE | O_RDWR).unwrap();
    let number = sys::fstat(&file).unwrap().st_ino;
    sys::link_file(&file, &served.path("named")).unwrap();
    assert_eq!(sys::stat(&served.path("named")).unwrap().st_ino, number);
    assert_eq!(served.model().child(ROOT_ID, "named"), Some(number));
    assert_eq!(sys::fstat(&file).unwrap().st_nlink, 1);
    drop(file);
    let file = sys::open_with(&served.dir, O_TMPFILE | O_EXCL | O_RDWR).unwrap();
    let result = sys::link_file(&file, &served.path("other"));
    system::assert_errno(result, Errno::ENOENT);
    drop(file);
    served.finish();
}

fn tmpfile_enosys_is_remembered(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Tmpfile).then_some(Answer::Error(Errno::ENOSYS)));
    for _ in 0..3 {
        let result = sys::open_with(&served.dir, O_TMPFILE | O_RDWR);
        system::assert_errno(result, Errno::EOPNOTSUPP);
    }
    assert_eq!(served.count(Opcode::Tmpfile), 1);
    served.finish();
}

fn tmpfile_errors_reach_the_caller(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for error in [Errno::EACCES, Errno::EDOM, Errno::ENOSPC, Errno::EEXIST] {
        served.hook(move |req| (req.opcode() == Opcode::Tmpfile).then_some(Answer::Error(error)));
        let result = sys::open_with(&served.dir, O_TMPFILE | O_RDWR);
        system::assert_errno(result, error);
    }
    served.finish();
}
