// SPDX-License-Identifier: GPL-2.0

//! Attributes that have no place in `stat(2)`: `FS_IOC_GETFLAGS`, `FS_IOC_FSGETXATTR` and what sets
//! them, `file_getattr(2)` and `file_setattr(2)`. The daemon gets ioctls of the kernel's own.

use crate::{
    caller::{call, call_on, process, Caller, PATIENCE},
    env::Env,
    fs::{opened, Fs, Req, OPENED},
    model::{Model, DIR, LINK},
    sys::{self, FileAttr},
    system,
    tests::{ioctl::answer, tests},
};
use libc::O_RDONLY;
use nix::{
    sys::signal::Signal,
    unistd::{setgid, setgroups, setuid, Gid, Uid},
};
use rawfuse::{
    abi::{self, init_flags, ioctl_flags, Opcode},
    Errno, InitConfig, Operation,
};
use std::{fs::File, io, os::fd::AsFd, time::Duration};
use zerocopy::IntoBytes;

tests![
    flags_are_asked_for,
    flags_are_set,
    extended_are_asked_for,
    extended_are_set,
    extended_that_nobody_knows,
    of_directories,
    of_a_32_bit_program,
    by_path,
    set_by_path,
    of_what_cannot_be_opened,
    files_that_cannot_be_opened,
    daemon_without_open,
    results,
    errors,
    replies_that_make_no_sense,
    owners_set_them,
    immutable_takes_a_capability,
    others_are_kept_out,
    killed,
];

const SHORT: Duration = Duration::from_millis(150);

const GET_FLAGS: u32 = 0x8008_6601;
const SET_FLAGS: u32 = 0x4008_6602;
const GET_EXTENDED: u32 = 0x801c_581f;
const SET_EXTENDED: u32 = 0x401c_5820;

const FL_IMMUTABLE: u32 = 0x10;
const FL_APPEND: u32 = 0x20;
const FL_NODUMP: u32 = 0x40;
/// One that only the smaller form has.
const FL_COMPRESSED: u32 = 0x4;
const XFLAG_IMMUTABLE: u32 = 0x8;
const XFLAG_APPEND: u32 = 0x10;
const XFLAG_NODUMP: u32 = 0x80;
const XFLAG_EXTSIZE: u32 = 0x800;
const XFLAG_HASATTR: u32 = 0x8000_0000;

/// The handle of the file that a test has open, and that of the one that the kernel opens for it.
const HANDLE: u64 = 5;
const PRIVATE: u64 = 6;

/// `struct fsxattr`: what is in it, and nothing.
fn extended(fields: [u32; 5]) -> Vec<u8> {
    [fields.as_bytes(), &[0; 8]].concat()
}

/// `ioctl(2)` on an open file; gives what is in the memory then.
fn ioctl(file: &File, command: u32, memory: &[u8]) -> Caller<io::Result<Vec<u8>>> {
    let mut memory = memory.to_vec();
    call_on(file, move |file| {
        sys::ioctl_bytes(file, command, &mut memory).map(|_| memory)
    })
}

/// Answers the `OPEN` or `OPENDIR` of the kernel's own.
#[track_caller]
fn open(fs: &Fs, opcode: Opcode) {
    let open = fs.expect(opcode);
    let arg: abi::OpenIn = open.arg();
    assert_eq!((arg.flags, arg.open_flags), (0, 0));
    let out = abi::OpenOut {
        fh: PRIVATE,
        ..Default::default()
    };
    fs.reply(&open, &out);
}

/// Answers the `RELEASE` or `RELEASEDIR` that belongs to it.
#[track_caller]
fn close(fs: &Fs, opcode: Opcode) {
    let release = fs.expect(opcode);
    let arg: abi::ReleaseIn = release.arg();
    assert_eq!((arg.fh, arg.flags, arg.release_flags), (PRIVATE, 0, 0));
    fs.reply_bytes(&release, &[]);
}

/// The request for an ioctl: its arguments, and the data.
#[track_caller]
fn expect(fs: &Fs) -> (Req, abi::IoctlIn, Vec<u8>) {
    let request = fs.expect(Opcode::Ioctl);
    let (arg, data) = match request.operation() {
        Operation::Ioctl { arg, data } => (*arg, data.to_vec()),
        other => panic!("{other:?}"),
    };
    assert_eq!((arg.fh, arg.arg), (PRIVATE, 0));
    assert_eq!(arg.in_size as usize, data.len());
    (request, arg, data)
}

/// Serves one ioctl on a file that reads `reply`.
#[track_caller]
fn serve_get(fs: &Fs, command: u32, reply: &[u8]) {
    open(fs, Opcode::Open);
    let (request, arg, data) = expect(fs);
    assert_eq!(request.nodeid(), OPENED);
    assert_eq!((arg.flags, arg.cmd), (0, command));
    assert_eq!((arg.out_size as usize, &data[..]), (reply.len(), &[][..]));
    answer(fs, &request, 0, reply);
    close(fs, Opcode::Release);
}

/// Serves one ioctl on a file that writes `written`.
#[track_caller]
fn serve_set(fs: &Fs, command: u32, written: &[u8]) {
    open(fs, Opcode::Open);
    let (request, arg, data) = expect(fs);
    assert_eq!((arg.flags, arg.cmd, arg.out_size), (0, command, 0));
    assert_eq!(data, written);
    answer(fs, &request, 0, &[]);
    close(fs, Opcode::Release);
}

fn flags_are_asked_for(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    // The number says that they take eight bytes, but they have always taken four.
    let caller = ioctl(&file, GET_FLAGS, &[0xff; 8]);
    serve_get(&fs, GET_FLAGS, &0x0102_0304u32.to_ne_bytes());
    let memory = caller.result().unwrap();
    assert_eq!(memory, [0x04, 0x03, 0x02, 0x01, 0xff, 0xff, 0xff, 0xff]);
    // Nothing is kept.
    let caller = ioctl(&file, GET_FLAGS, &[0; 8]);
    serve_get(&fs, GET_FLAGS, &5u32.to_ne_bytes());
    assert_eq!(caller.result().unwrap()[..4], 5u32.to_ne_bytes());
    fs.close_file(file);
}

fn flags_are_set(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let flags = FL_NODUMP | FL_COMPRESSED;
    let caller = ioctl(&file, SET_FLAGS, &flags.to_ne_bytes());
    // The kernel judges by what there is before, in the larger form.
    serve_get(&fs, GET_EXTENDED, &extended([0, 0, 0, 0, 0]));
    serve_set(&fs, SET_FLAGS, &flags.to_ne_bytes());
    caller.result().unwrap();
    fs.close_file(file);
}

fn extended_are_asked_for(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let caller = ioctl(&file, GET_EXTENDED, &[0xff; 28]);
    // There is no such flag as 0x4.
    let mut reply = extended([XFLAG_NODUMP | XFLAG_HASATTR | 0x4, 4096, 3, 7, 8192]);
    reply[20..].fill(9);
    serve_get(&fs, GET_EXTENDED, &reply);
    let expected = extended([XFLAG_NODUMP | XFLAG_HASATTR, 4096, 3, 7, 8192]);
    assert_eq!(caller.result().unwrap(), expected);
    fs.close_file(file);
}

fn extended_are_set(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let xflags = XFLAG_NODUMP | XFLAG_EXTSIZE;
    let wanted = extended([xflags | XFLAG_HASATTR, 4096, 3, 7, 8192]);
    let caller = ioctl(&file, SET_EXTENDED, &wanted);
    serve_get(&fs, GET_EXTENDED, &extended([0, 0, 0, 0, 0]));
    // What says what is there is not for setting.
    serve_set(&fs, SET_EXTENDED, &extended([xflags, 4096, 3, 7, 8192]));
    caller.result().unwrap();
    // An extent size of none is no extent size.
    let caller = ioctl(&file, SET_EXTENDED, &extended([xflags, 0, 0, 0, 0]));
    serve_get(&fs, GET_EXTENDED, &extended([xflags, 4096, 3, 7, 8192]));
    serve_set(&fs, SET_EXTENDED, &extended([XFLAG_NODUMP, 0, 0, 0, 0]));
    caller.result().unwrap();
    fs.close_file(file);
}

fn extended_that_nobody_knows(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let caller = ioctl(&file, SET_EXTENDED, &extended([0x4, 0, 0, 0, 0]));
    system::assert_errno(caller.result(), Errno::EOPNOTSUPP);
    system::assert_errno(
        sys::ioctl_nowhere(file.as_fd(), SET_EXTENDED),
        Errno::EFAULT,
    );
    system::assert_errno(sys::ioctl_nowhere(file.as_fd(), SET_FLAGS), Errno::EFAULT);
    fs.expect_silence(SHORT);
    fs.close_file(file);
}

fn of_directories(env: &Env) {
    // Old daemons know no ioctls on directories, but this is not one of the caller's.
    for fs in [Fs::new(env), Fs::with_minor(env, 17, 0)] {
        let dir = fs.dir.clone();
        let opener = call(move || sys::open_with(&dir, libc::O_DIRECTORY));
        let opendir = fs.expect(Opcode::Opendir);
        let out = abi::OpenOut {
            fh: HANDLE,
            ..Default::default()
        };
        fs.reply(&opendir, &out);
        let root = opener.result().unwrap();
        let caller = ioctl(&root, GET_FLAGS, &[0; 8]);
        open(&fs, Opcode::Opendir);
        let (request, arg, _) = expect(&fs);
        assert_eq!(request.nodeid(), abi::ROOT_ID);
        assert_eq!((arg.flags, arg.cmd), (ioctl_flags::DIR, GET_FLAGS));
        answer(&fs, &request, 0, &FL_APPEND.to_ne_bytes());
        close(&fs, Opcode::Releasedir);
        assert_eq!(caller.result().unwrap()[..4], FL_APPEND.to_ne_bytes());
    }
}

fn of_a_32_bit_program(env: &Env) {
    const GET_FLAGS_32: u32 = 0x8004_6601;
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let caller = call_on(&file, |file| sys::ioctl_32(file.as_fd(), GET_FLAGS_32, 0));
    serve_get(&fs, GET_FLAGS, &1u32.to_ne_bytes());
    assert_eq!(caller.result().unwrap(), 0);
    fs.close_file(file);
}

fn by_path(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = call(move || sys::file_getattr(&path, 0));
    fs.reply(&fs.expect(Opcode::Lookup), &opened());
    // The flags will do; the system call has them in the larger form.
    let flags = FL_IMMUTABLE | FL_APPEND | FL_COMPRESSED;
    serve_get(&fs, GET_FLAGS, &flags.to_ne_bytes());
    let expected = FileAttr {
        xflags: u64::from(XFLAG_IMMUTABLE | XFLAG_APPEND),
        ..FileAttr::default()
    };
    assert_eq!(caller.result().unwrap(), expected);
}

fn set_by_path(env: &Env) {
    let fs = Fs::new(env);
    let wanted = FileAttr {
        xflags: u64::from(XFLAG_NODUMP),
        projid: 12,
        ..FileAttr::default()
    };
    let path = fs.path("x");
    let caller = call(move || sys::file_setattr(&path, 0, &wanted));
    fs.reply(&fs.expect(Opcode::Lookup), &opened());
    serve_get(&fs, GET_EXTENDED, &extended([0, 0, 0, 0, 0]));
    serve_set(&fs, SET_EXTENDED, &extended([XFLAG_NODUMP, 0, 0, 12, 0]));
    caller.result().unwrap();
}

fn of_what_cannot_be_opened(env: &Env) {
    let fs = Fs::new(env);
    let mut model = Model::cached();
    model.add(DIR, libc::S_IFIFO | 0o644, b"");
    for nodeid in [DIR, LINK] {
        let path = fs.path(&nodeid.to_string());
        let caller = call(move || {
            let found = sys::file_getattr(&path, libc::AT_SYMLINK_NOFOLLOW);
            system::assert_errno(found, Errno::EOPNOTSUPP);
            let wanted = FileAttr::default();
            sys::file_setattr(&path, libc::AT_SYMLINK_NOFOLLOW, &wanted)
        });
        fs.reply(&fs.expect(Opcode::Lookup), &model.entry(nodeid));
        system::assert_errno(caller.result(), Errno::EOPNOTSUPP);
    }
    fs.expect_silence(SHORT);
}

fn files_that_cannot_be_opened(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let caller = ioctl(&file, GET_FLAGS, &[0; 8]);
    fs.reply_error(&fs.expect(Opcode::Open), Errno::EDOM);
    system::assert_errno(caller.result(), Errno::EDOM);
    fs.expect_silence(SHORT);
    fs.close_file(file);
}

fn daemon_without_open(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::NO_OPEN_SUPPORT);
    let path = fs.path("x");
    let caller = call(move || sys::file_getattr(&path, 0));
    fs.reply(&fs.expect(Opcode::Lookup), &opened());
    fs.reply_error(&fs.expect(Opcode::Open), Errno::ENOSYS);
    let request = fs.expect(Opcode::Ioctl);
    answer(&fs, &request, 0, &FL_APPEND.to_ne_bytes());
    let found = caller.result().unwrap();
    assert_eq!(found.xflags, u64::from(XFLAG_APPEND));
    // Nothing was opened that would have to be closed.
    fs.expect_silence(SHORT);
}

/// Serves an ioctl that reads flags by `reply`.
#[track_caller]
fn with_reply(fs: &Fs, file: &File, reply: impl FnOnce(&Req)) -> io::Result<Vec<u8>> {
    let caller = ioctl(file, GET_FLAGS, &[0; 8]);
    open(fs, Opcode::Open);
    let (request, ..) = expect(fs);
    reply(&request);
    close(fs, Opcode::Release);
    caller.result()
}

fn results(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    for (result, seen) in [
        (-libc::EPERM, Errno::EPERM),
        (-libc::ENOTTY, Errno::ENOTTY),
        (-libc::ENOSYS, Errno::ENOTTY),
    ] {
        let got = with_reply(&fs, &file, |request| answer(&fs, request, result, &[1; 4]));
        system::assert_errno(got, seen);
    }
    // What is above zero says nothing.
    let got = with_reply(&fs, &file, |request| answer(&fs, request, 1, &[1; 4]));
    assert_eq!(got.unwrap(), [1, 1, 1, 1, 0, 0, 0, 0]);
    fs.close_file(file);
}

fn errors(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    for (error, seen) in [
        (Errno::EPERM, Errno::EPERM),
        (Errno::ENOSYS, Errno::ENOTTY),
        // It is asked again all the same.
        (Errno::ENOSYS, Errno::ENOTTY),
    ] {
        let got = with_reply(&fs, &file, |request| fs.reply_error(request, error));
        system::assert_errno(got, seen);
    }
    fs.close_file(file);
    let path = fs.path("x");
    let caller = call(move || sys::file_getattr(&path, 0));
    open(&fs, Opcode::Open);
    fs.reply_error(&expect(&fs).0, Errno::ENOTTY);
    close(&fs, Opcode::Release);
    system::assert_errno(caller.result(), Errno::EOPNOTSUPP);
}

fn replies_that_make_no_sense(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let retry = abi::IoctlOut {
        flags: ioctl_flags::RETRY,
        ..Default::default()
    };
    let got = with_reply(&fs, &file, |request| {
        let parts = [retry.as_bytes(), &[1; 4]];
        fs.channel.reply_bytes(request.unique(), &parts).unwrap();
    });
    system::assert_errno(got, Errno::EIO);
    // Neither less nor more than was asked for, whatever the result.
    for (result, data) in [
        (0, &[1; 8][..]),
        (0, &[1; 3]),
        (0, &[]),
        (-libc::EPERM, &[]),
    ] {
        let got = with_reply(&fs, &file, |request| {
            let out = abi::IoctlOut {
                result,
                ..Default::default()
            };
            let replied = fs
                .channel
                .reply_bytes(request.unique(), &[out.as_bytes(), data]);
            system::assert_errno(replied, Errno::EINVAL);
        });
        system::assert_errno(got, Errno::EIO);
    }
    fs.close_file(file);
}

/// Becomes an ordinary user.
fn leave_root() {
    setgroups(&[]).expect("setgroups");
    setgid(Gid::from_raw(1000)).expect("setgid");
    setuid(Uid::from_raw(1000)).expect("setuid");
}

/// What an ordinary user's attempt to set `xflags` comes to, on a file that is of `owner`.
#[track_caller]
fn set_as_user(fs: &Fs, owner: u32, xflags: u32, serve: impl FnOnce()) -> i32 {
    let path = fs.path("x");
    let user = process(|| {
        leave_root();
        let wanted = FileAttr {
            xflags: u64::from(xflags),
            ..FileAttr::default()
        };
        system::errno(sys::file_setattr(&path, 0, &wanted))
    });
    let mut entry = opened();
    entry.entry_valid = 0;
    entry.attr.uid = owner;
    fs.reply(&fs.expect(Opcode::Lookup), &entry);
    serve();
    user.code()
}

fn owners_set_them(env: &Env) {
    let none = extended([0, 0, 0, 0, 0]);
    let fs = Fs::with_options(env, "allow_other", &InitConfig::default());
    assert_eq!(set_as_user(&fs, 1001, XFLAG_NODUMP, || {}), libc::EPERM);
    let serve = || {
        serve_get(&fs, GET_EXTENDED, &none);
        serve_set(&fs, SET_EXTENDED, &extended([XFLAG_NODUMP, 0, 0, 0, 0]));
    };
    assert_eq!(set_as_user(&fs, 1000, XFLAG_NODUMP, serve), 0);
}

fn immutable_takes_a_capability(env: &Env) {
    let fs = Fs::with_options(env, "allow_other", &InitConfig::default());
    // Neither to be made so,
    let serve = || serve_get(&fs, GET_EXTENDED, &extended([0, 0, 0, 0, 0]));
    let set = set_as_user(&fs, 1000, XFLAG_IMMUTABLE, serve);
    assert_eq!(set, libc::EPERM);
    // nor not to be any more.
    let serve = || serve_get(&fs, GET_EXTENDED, &extended([XFLAG_APPEND, 0, 0, 0, 0]));
    assert_eq!(set_as_user(&fs, 1000, 0, serve), libc::EPERM);
}

fn others_are_kept_out(env: &Env) {
    // An open file may be passed to others, who may not make the daemon do things all the same.
    let fs = Fs::new(env);
    let path = fs.path("x");
    let user = process(|| {
        let file = sys::open(&path).expect("open");
        leave_root();
        system::errno(sys::ioctl_bytes(&file, GET_FLAGS, &mut [0; 8]))
    });
    super::posix_locks::answer_open(&fs);
    super::posix_locks::answer_close(&fs);
    assert_eq!(user.code(), libc::EACCES);
}

fn killed(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = process(|| system::errno(sys::file_getattr(&path, 0)));
    fs.reply(&fs.expect(Opcode::Lookup), &opened());
    open(&fs, Opcode::Open);
    let (request, ..) = expect(&fs);
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if env.is_rust() {
        // Linux keeps the caller until the reply comes.
        assert!(caller.ended_within(PATIENCE).is_some());
        fs.expect_silence(SHORT);
        answer(&fs, &request, 0, &[1; 4]);
    } else {
        assert!(caller.ended_within(SHORT).is_none());
        answer(&fs, &request, 0, &[1; 4]);
        assert!(caller.ended_within(PATIENCE).is_some());
    }
    close(&fs, Opcode::Release);
}
