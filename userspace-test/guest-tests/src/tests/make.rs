// SPDX-License-Identifier: GPL-2.0

//! Making files, directories and links.

use crate::{
    caller::{call, process, Caller, Process, PATIENCE},
    env::Env,
    fs::{Fs, Req},
    model::{answer, Answer, Model, Served, DIR, FILE, INNER},
    sys, system,
    tests::tests,
};
use libc::{S_IFCHR, S_IFDIR, S_IFIFO, S_IFLNK, S_IFMT, S_IFREG, S_IFSOCK};
use nix::sys::{signal::Signal, stat::Mode};
use rawfuse::{
    abi::{self, init_flags, Opcode, ROOT_ID},
    Errno, Operation,
};
use std::{io, path::Path, time::Duration};

tests![
    mknod_on_the_wire,
    mkdir_on_the_wire,
    symlink_on_the_wire,
    link_on_the_wire,
    minor_11_mknod_has_no_umask,
    umask_is_the_daemon_s_with_the_flag,
    mknod_makes_every_type,
    what_was_made_is_known,
    parent_s_attributes_are_asked_for_again,
    link_takes_the_new_attributes,
    errors_reach_the_caller,
    link_enosys_is_remembered,
    eexist_makes_the_kernel_look_again,
    eintr_of_link_makes_attributes_old,
    nodes_that_cannot_be,
    other_types_than_asked_for,
    directory_that_is_known_elsewhere,
    directory_in_itself,
    number_of_another_file,
    two_make_the_same_name,
    killed_callers_get_nothing,
    killed_link_is_forgotten,
    long_names_and_targets,
];

const SHORT: Duration = Duration::from_millis(150);

/// An entry that stays valid, for a new node 100 of that type.
fn entry(mode: u32) -> abi::EntryOut {
    abi::EntryOut {
        nodeid: 100,
        entry_valid: 3600,
        attr_valid: 3600,
        attr: abi::Attr {
            ino: 100,
            mode,
            nlink: 1,
            ..Default::default()
        },
        ..Default::default()
    }
}

fn errno_of<T>(result: io::Result<T>) -> i32 {
    system::errno(result)
}

fn with_umask(bits: u32) {
    nix::sys::stat::umask(Mode::from_bits_truncate(bits));
}

/// Makes `x` in the file system's root by an operation.
fn make(opcode: Opcode, path: &Path) -> io::Result<()> {
    match opcode {
        Opcode::Mknod => sys::mknod(path, S_IFIFO | 0o644, 0),
        Opcode::Mkdir => sys::mkdir(path, 0o755),
        Opcode::Symlink => sys::symlink("target", path),
        Opcode::Link => sys::link(&path.with_file_name("file"), path),
        other => panic!("{other:?} makes nothing"),
    }
}

/// What `make` makes.
fn type_of(opcode: Opcode) -> u32 {
    match opcode {
        Opcode::Mknod => S_IFIFO,
        Opcode::Mkdir => S_IFDIR,
        Opcode::Symlink => S_IFLNK,
        _ => S_IFREG,
    }
}

const ALL: [Opcode; 4] = [Opcode::Mknod, Opcode::Mkdir, Opcode::Symlink, Opcode::Link];

/// Starts making `x`, and takes the request for it.
#[track_caller]
fn making(fs: &Fs, opcode: Opcode) -> (Caller<io::Result<()>>, Req) {
    let path = fs.path("x");
    let caller = call(move || make(opcode, &path));
    (caller, request_of(fs, opcode))
}

/// Answers the lookups before the request, and takes that.
#[track_caller]
fn request_of(fs: &Fs, opcode: Opcode) -> Req {
    if opcode == Opcode::Link {
        let lookup = fs.expect(Opcode::Lookup);
        fs.reply(&lookup, &Model::cached().entry(FILE));
    }
    fs.deny_name();
    fs.expect(opcode)
}

fn mknod_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let device = libc::makedev(5, 0x12345);
    let caller = process(|| {
        with_umask(0o027);
        errno_of(sys::mknod(&path, S_IFCHR | 0o666, device))
    });
    fs.deny_name();
    let mknod = fs.expect(Opcode::Mknod);
    let header = mknod.header();
    assert_eq!((header.len, header.nodeid), (40 + 16 + 2, ROOT_ID));
    assert_eq!((header.uid, header.gid), (0, 0));
    assert_eq!(header.pid, caller.pid().as_raw() as u32);
    assert_eq!((header.total_extlen, header.padding), (0, 0));
    let mut args = mknod.request().args();
    let arg: &abi::MknodIn = args.structure().unwrap();
    assert_eq!(arg.mode, S_IFCHR | 0o640);
    assert_eq!(arg.rdev, 0x1230_0545);
    assert_eq!((arg.umask, arg.padding), (0o027, 0));
    assert_eq!(args.name().unwrap(), "x");
    let mut made = entry(S_IFCHR | 0o640);
    made.attr.rdev = 0x1230_0545;
    fs.reply(&mknod, &made);
    assert_eq!(caller.code(), 0);
    let path = fs.path("x");
    let stat = call(move || sys::stat(&path)).result().unwrap();
    assert_eq!(stat.st_rdev, device);
    fs.expect_silence(Duration::from_millis(1));
}

fn mkdir_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    with_umask(0o022);
    let path = fs.path("x");
    let caller = call(move || sys::mkdir(&path, 0o1777));
    fs.deny_name();
    let mkdir = fs.expect(Opcode::Mkdir);
    assert_eq!((mkdir.header().len, mkdir.nodeid()), (40 + 8 + 2, ROOT_ID));
    let mut args = mkdir.request().args();
    let arg: &abi::MkdirIn = args.structure().unwrap();
    // Without the type.
    assert_eq!((arg.mode, arg.umask), (0o1755, 0o022));
    assert_eq!(args.name().unwrap(), "x");
    fs.reply(&mkdir, &entry(S_IFDIR | 0o1755));
    caller.result().unwrap();
}

fn symlink_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let (caller, symlink) = making(&fs, Opcode::Symlink);
    assert_eq!(symlink.header().len, 40 + 2 + 7);
    assert_eq!(symlink.nodeid(), ROOT_ID);
    assert_eq!(symlink.request().body(), b"x\0target\0");
    fs.reply(&symlink, &entry(S_IFLNK | 0o777));
    caller.result().unwrap();
}

fn link_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let (caller, link) = making(&fs, Opcode::Link);
    assert_eq!((link.header().len, link.nodeid()), (40 + 8 + 2, ROOT_ID));
    let mut args = link.request().args();
    let arg: &abi::LinkIn = args.structure().unwrap();
    assert_eq!(arg.oldnodeid, FILE);
    assert_eq!(args.name().unwrap(), "x");
    fs.reply(&link, &Model::cached().entry(FILE));
    caller.result().unwrap();
}

fn minor_11_mknod_has_no_umask(env: &Env) {
    let fs = Fs::with_minor(env, 11, 0);
    let (caller, mknod) = making(&fs, Opcode::Mknod);
    assert_eq!(mknod.header().len, 40 + 8 + 2);
    let body = mknod.request().body();
    assert_eq!(body[..4], (S_IFIFO | 0o644).to_ne_bytes());
    assert_eq!(&body[8..], b"x\0");
    fs.reply(&mknod, &entry(S_IFIFO | 0o644));
    caller.result().unwrap();
}

fn umask_is_the_daemon_s_with_the_flag(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::DONT_MASK);
    with_umask(0o077);
    let (caller, mknod) = making(&fs, Opcode::Mknod);
    let mut args = mknod.request().args();
    let arg: &abi::MknodIn = args.structure().unwrap();
    assert_eq!((arg.mode, arg.umask), (S_IFIFO | 0o644, 0o077));
    fs.reply(&mknod, &entry(arg.mode));
    caller.result().unwrap();
    let path = fs.path("y");
    let caller = call(move || sys::mkdir(&path, 0o755));
    fs.deny_name();
    let mkdir = fs.expect(Opcode::Mkdir);
    let mut args = mkdir.request().args();
    let arg: &abi::MkdirIn = args.structure().unwrap();
    assert_eq!((arg.mode, arg.umask), (0o755, 0o077));
    let mut made = entry(S_IFDIR | 0o755);
    made.nodeid = 101;
    fs.reply(&mkdir, &made);
    caller.result().unwrap();
}

fn mknod_makes_every_type(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for (name, mode) in [
        ("regular", S_IFREG),
        ("fifo", S_IFIFO),
        ("socket", S_IFSOCK),
        ("device", S_IFCHR),
        ("disk", libc::S_IFBLK),
    ] {
        let path = served.path(name);
        sys::mknod(&path, mode | 0o600, libc::makedev(1, 3)).unwrap();
        assert_eq!(sys::stat(&path).unwrap().st_mode & S_IFMT, mode, "{name}");
    }
    assert_eq!(served.count(Opcode::Mknod), 5);
    served.finish();
}

fn what_was_made_is_known(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let path = served.path("new");
    sys::mkdir(&path, 0o755).unwrap();
    sys::symlink("inner", &path.join("link")).unwrap();
    sys::link(&served.path("dir/inner"), &path.join("inner")).unwrap();
    served.clear_log();
    assert_eq!(sys::stat(&path).unwrap().st_mode, S_IFDIR | 0o755);
    assert_eq!(sys::stat(&path.join("inner")).unwrap().st_ino, INNER);
    let link = sys::lstat(&path.join("link")).unwrap();
    assert_eq!(link.st_mode, S_IFLNK | 0o777);
    // Attributes of the directory are old by what was made in it; names are not.
    assert_eq!(served.model().opcodes(), [Opcode::Getattr]);
    assert_eq!(sys::readlink(&path.join("link")).unwrap(), "inner");
    served.finish();
}

fn parent_s_attributes_are_asked_for_again(env: &Env) {
    for opcode in ALL {
        let mut served = Served::new(Fs::new(env), Model::cached());
        sys::stat(&served.dir).unwrap();
        sys::stat(&served.dir).unwrap();
        assert_eq!(served.count(Opcode::Getattr), 1);
        make(opcode, &served.path("x")).unwrap();
        sys::stat(&served.dir).unwrap();
        assert_eq!(served.count(Opcode::Getattr), 2, "{opcode:?}");
        served.finish();
    }
}

fn link_takes_the_new_attributes(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_nlink, 1);
    sys::link(&served.path("file"), &served.path("x")).unwrap();
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_nlink, 2);
    assert_eq!(sys::stat(&served.path("x")).unwrap().st_ino, FILE);
    assert_eq!(served.count(Opcode::Getattr), 0);
    served.finish();
}

fn errors_reach_the_caller(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for opcode in ALL {
        for error in [Errno::EACCES, Errno::EDOM, Errno::ENOSPC, Errno::EINTR] {
            served.hook(move |req| (req.opcode() == opcode).then_some(Answer::Error(error)));
            system::assert_errno(make(opcode, &served.path("x")), error);
        }
        system::assert_errno(sys::lstat(&served.path("x")), Errno::ENOENT);
    }
    // ENOSYS is remembered of LINK only.
    for opcode in &ALL[..3] {
        let opcode = *opcode;
        served.hook(move |req| (req.opcode() == opcode).then_some(Answer::Error(Errno::ENOSYS)));
        served.clear_log();
        for _ in 0..2 {
            system::assert_errno(make(opcode, &served.path("x")), Errno::ENOSYS);
        }
        assert_eq!(served.count(opcode), 2);
    }
    served.finish();
}

fn link_enosys_is_remembered(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Link).then_some(Answer::Error(Errno::ENOSYS)));
    for _ in 0..3 {
        system::assert_errno(
            sys::link(&served.path("file"), &served.path("x")),
            Errno::EPERM,
        );
    }
    assert_eq!(served.count(Opcode::Link), 1);
    served.finish();
}

fn eexist_makes_the_kernel_look_again(env: &Env) {
    for opcode in ALL {
        let mut served = Served::new(Fs::new(env), Model::cached());
        served.hook(move |req| match req.operation() {
            Operation::Lookup { name } if name == "x" => Some(answer(&abi::EntryOut {
                entry_valid: 3600,
                ..Default::default()
            })),
            _ if req.opcode() == opcode => Some(Answer::Error(Errno::EEXIST)),
            _ => None,
        });
        let path = served.path("x");
        system::assert_errno(make(opcode, &path), Errno::EEXIST);
        served.clear_log();
        for _ in 0..2 {
            system::assert_errno(sys::lstat(&path), Errno::ENOENT);
        }
        assert_eq!(served.count(Opcode::Lookup), 1, "{opcode:?}");
        served.finish();
    }
}

fn eintr_of_link_makes_attributes_old(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Link).then_some(Answer::Error(Errno::EINTR)));
    system::assert_errno(
        sys::link(&served.path("file"), &served.path("x")),
        Errno::EINTR,
    );
    assert_eq!(served.count(Opcode::Getattr), 0);
    sys::stat(&served.path("file")).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 1);
    served.finish();
}

/// Answers the request that makes `x` with `change` done to a good entry, and expects EIO.
#[track_caller]
fn refused(env: &Env, opcode: Opcode, change: impl FnOnce(&mut abi::EntryOut)) {
    let fs = Fs::new(env);
    let (caller, req) = making(&fs, opcode);
    let mut made = entry(type_of(opcode) | 0o644);
    change(&mut made);
    fs.reply(&req, &made);
    system::assert_errno(caller.result(), Errno::EIO);
    // There is no such name, for all that is known.
    let path = fs.path("x");
    let caller = call(move || sys::lstat(&path));
    fs.deny_name();
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn nodes_that_cannot_be(env: &Env) {
    for opcode in ALL {
        refused(env, opcode, |made| made.nodeid = 0);
        refused(env, opcode, |made| made.nodeid = ROOT_ID);
        refused(env, opcode, |made| made.attr.size = 1 << 63);
    }
}

fn other_types_than_asked_for(env: &Env) {
    for opcode in ALL {
        refused(env, opcode, |made| made.attr.mode = 0o644);
        refused(env, opcode, |made| made.attr.mode = S_IFSOCK | 0o644);
        if opcode != Opcode::Mkdir {
            refused(env, opcode, |made| made.attr.mode = S_IFDIR | 0o755);
        }
    }
}

fn directory_that_is_known_elsewhere(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    assert_eq!(sys::stat(&served.path("dir/inner")).unwrap().st_ino, INNER);
    let entry = served.model().entry(DIR);
    served.hook(move |req| (req.opcode() == Opcode::Mkdir).then(|| answer(&entry)));
    sys::mkdir(&served.path("x"), 0o755).unwrap();
    served.clear_log();
    // A directory has one name: the new one, and what was known below it goes with it.
    assert_eq!(sys::stat(&served.path("x/inner")).unwrap().st_ino, INNER);
    assert_eq!(served.count(Opcode::Lookup), 0);
    sys::stat(&served.path("dir")).unwrap();
    assert_eq!(served.count(Opcode::Lookup), 1);
    served.finish();
}

fn directory_in_itself(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let entry = served.model().entry(DIR);
    served.hook(move |req| (req.opcode() == Opcode::Mkdir).then(|| answer(&entry)));
    let path = served.path("dir/x");
    system::assert_errno(sys::mkdir(&path, 0o755), Errno::ELOOP);
    assert_eq!(sys::stat(&served.path("dir")).unwrap().st_ino, DIR);
    served.finish();
}

fn number_of_another_file(env: &Env) {
    // What had the number before, of another type, is not used any more.
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("file")).unwrap();
    let mut made = entry(S_IFDIR | 0o755);
    made.nodeid = FILE;
    served.hook(move |req| (req.opcode() == Opcode::Mkdir).then(|| answer(&made)));
    sys::mkdir(&served.path("x"), 0o755).unwrap();
    let stat = sys::stat(&served.path("x")).unwrap();
    assert_eq!(stat.st_mode, S_IFDIR | 0o755);
    system::assert_errno(sys::fstat(&file), Errno::EIO);
    drop(file);
    served.finish();
}

fn two_make_the_same_name(env: &Env) {
    let fs = Fs::new(env);
    let (first, mkdir) = making(&fs, Opcode::Mkdir);
    let path = fs.path("x");
    let second = call(move || sys::mkdir(&path, 0o755));
    // The directory is locked: the second one comes after the first.
    fs.expect_silence(SHORT);
    fs.reply(&mkdir, &entry(S_IFDIR | 0o755));
    first.result().unwrap();
    // Whoever makes something would rather ask.
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &entry(S_IFDIR | 0o755));
    system::assert_errno(second.result(), Errno::EEXIST);
}

/// Kills a process whose request is at the daemon, answers it, and expects that what was granted
/// comes back.
#[track_caller]
fn killed(env: &Env, fs: &Fs, caller: &Process, req: &Req, out: &abi::EntryOut) {
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if env.is_rust() {
        // Linux keeps the caller until the reply comes. Here it goes at once.
        assert!(caller.ended_within(PATIENCE).is_some());
    }
    fs.reply(req, out);
    if !env.is_rust() {
        assert!(caller.ended_within(PATIENCE).is_some());
        call(|| system::drop_caches(2)).result();
    }
    let forget = fs.expect(Opcode::Forget);
    assert_eq!(forget.nodeid(), out.nodeid);
    assert_eq!(forget.arg::<abi::ForgetIn>().nlookup, 1);
}

fn killed_callers_get_nothing(env: &Env) {
    for opcode in &ALL[..3] {
        let fs = Fs::new(env);
        let path = fs.path("x");
        let caller = process(|| errno_of(make(*opcode, &path)));
        let req = request_of(&fs, *opcode);
        killed(env, &fs, &caller, &req, &entry(type_of(*opcode) | 0o755));
    }
}

fn killed_link_is_forgotten(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = process(|| errno_of(make(Opcode::Link, &path)));
    let req = request_of(&fs, Opcode::Link);
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if env.is_rust() {
        assert!(caller.ended_within(PATIENCE).is_some());
    }
    fs.reply(&req, &Model::cached().entry(FILE));
    assert!(env.is_rust() || caller.ended_within(PATIENCE).is_some());
    // One reference by the lookup, and one by the link: by themselves or together.
    call(|| system::drop_caches(2)).result();
    let mut left = 2;
    while left > 0 {
        let req = fs.next();
        left -= match req.operation() {
            Operation::Forget(arg) if req.nodeid() == FILE => arg.nlookup,
            Operation::BatchForget(forgets) => {
                assert!(forgets.iter().all(|one| one.nodeid == FILE));
                forgets.iter().map(|one| one.nlookup).sum()
            }
            other => panic!("{other:?}"),
        };
    }
}

fn long_names_and_targets(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let (name, target) = ("n".repeat(255), "t".repeat(4000));
    let path = served.path(&name);
    sys::symlink(&target, &path).unwrap();
    assert_eq!(sys::readlink(&path).unwrap().to_str(), Some(&*target));
    // That is found out by looking it up.
    let too_long = served.path(&"n".repeat(1025));
    system::assert_errno(sys::mkdir(&too_long, 0o755), Errno::ENAMETOOLONG);
    served.finish();
}
