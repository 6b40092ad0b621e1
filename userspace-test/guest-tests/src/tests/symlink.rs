// SPDX-License-Identifier: GPL-2.0

//! Symbolic links.

use crate::{
    caller::call,
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, CONTENTS, LINK},
    sys, system,
    tests::tests,
};
use rawfuse::{abi::Opcode, Errno};
use std::os::unix::ffi::OsStrExt;

tests![
    what_is_on_the_wire,
    is_followed,
    is_read_each_time,
    may_be_long,
    too_long_a_target,
    empty_target,
    zero_byte_ends_it,
    error_reaches_the_caller,
    loop_is_found,
    leads_out_of_the_file_system,
];

fn served(env: &Env, target: &[u8]) -> Served {
    let mut model = Model::cached();
    model.add(LINK, libc::S_IFLNK | 0o777, target);
    Served::new(Fs::new(env), model)
}

fn what_is_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("l");
    let reader = call(move || sys::readlink(&path));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(LINK));
    let readlink = fs.expect(Opcode::Readlink);
    assert_eq!((readlink.header().len, readlink.nodeid()), (40, LINK));
    fs.reply_bytes(&readlink, b"some/where");
    assert_eq!(reader.result().unwrap(), "some/where");
}

fn is_followed(env: &Env) {
    let mut served = served(env, b"file");
    assert_eq!(sys::contents(&served.path("link")).unwrap(), CONTENTS);
    assert_eq!(sys::lstat(&served.path("link")).unwrap().st_ino, LINK);
    served.finish();
}

fn is_read_each_time(env: &Env) {
    let mut served = served(env, b"file");
    for round in 1..=3 {
        sys::readlink(&served.path("link")).unwrap();
        assert_eq!(served.count(Opcode::Readlink), round);
    }
    served.finish();
}

fn may_be_long(env: &Env) {
    for len in [1, 4094, 4095] {
        let target = vec![b't'; len];
        let mut served = served(env, &target);
        let read = sys::readlink(&served.path("link")).unwrap();
        assert_eq!(read.as_bytes(), target, "{len} bytes");
        served.finish();
    }
}

fn too_long_a_target(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("l");
    let reader = call(move || sys::readlink(&path));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(LINK));
    let readlink = fs.expect(Opcode::Readlink);
    system::assert_errno(
        fs.channel.reply_bytes(readlink.unique(), &[&[b't'; 4096]]),
        Errno::EINVAL,
    );
    system::assert_errno(reader.result(), Errno::EIO);
}

fn empty_target(env: &Env) {
    let mut served = served(env, b"");
    assert_eq!(sys::readlink(&served.path("link")).unwrap(), "");
    served.finish();
}

fn zero_byte_ends_it(env: &Env) {
    let mut served = served(env, b"file\0nonsense");
    assert_eq!(sys::readlink(&served.path("link")).unwrap(), "file");
    assert_eq!(sys::contents(&served.path("link")).unwrap(), CONTENTS);
    served.finish();
}

fn error_reaches_the_caller(env: &Env) {
    let mut served = served(env, b"file");
    served.hook(|req| (req.opcode() == Opcode::Readlink).then_some(Answer::Error(Errno::EDOM)));
    system::assert_errno(sys::readlink(&served.path("link")), Errno::EDOM);
    system::assert_errno(sys::stat(&served.path("link")), Errno::EDOM);
    served.finish();
}

fn loop_is_found(env: &Env) {
    let mut served = served(env, b"link");
    system::assert_errno(sys::stat(&served.path("link")), Errno::ELOOP);
    served.finish();
}

fn leads_out_of_the_file_system(env: &Env) {
    let mut served = served(env, b"/proc/self/stat");
    assert_eq!(
        sys::stat(&served.path("link")).unwrap().st_dev,
        sys::stat("/proc".as_ref()).unwrap().st_dev
    );
    served.finish();
}
