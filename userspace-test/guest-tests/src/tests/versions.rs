// SPDX-License-Identifier: GPL-2.0

//! Attributes that were asked for before newer ones came: they do not take their place, whatever
//! request brings them.

use crate::{
    caller::{call, call_on},
    env::Env,
    fs::{Fs, Req},
    model::{Model, FILE},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Errno,
};
use std::{fs::File, os::unix::fs::PermissionsExt, time::Duration};
use zerocopy::IntoBytes;

tests![
    late_lookup,
    late_readdirplus,
    late_attributes_of_an_open_file,
    node_that_may_have_been_known,
    node_that_was_not_known,
];

const SHORT: Duration = Duration::from_millis(150);

/// The entry of the file, with that mode.
fn entry(mode: u32) -> abi::EntryOut {
    let mut entry = Model::cached().entry(FILE);
    entry.attr.mode = libc::S_IFREG | mode;
    entry
}

fn attr_out(mode: u32) -> abi::AttrOut {
    abi::AttrOut {
        attr_valid: 3600,
        attr: entry(mode).attr,
        ..Default::default()
    }
}

/// Opens the file, whose name does not hold.
#[track_caller]
fn open(fs: &Fs) -> File {
    let path = fs.path("file");
    let opener = call(move || sys::open(&path));
    let mut found = entry(0o644);
    found.entry_valid = 0;
    fs.reply(&fs.expect(Opcode::Lookup), &found);
    fs.reply(&fs.expect(Opcode::Open), &abi::OpenOut::default());
    opener.result().expect("open")
}

/// Changes the mode of the file, while another request is under way.
#[track_caller]
fn chmod(fs: &Fs, file: &File, mode: u32) {
    let caller = call_on(file, move |file| {
        let mode = PermissionsExt::from_mode(mode);
        file.set_permissions(mode)
    });
    let setattr = fs.expect(Opcode::Setattr);
    fs.reply(&setattr, &attr_out(mode));
    caller.result().expect("fchmod");
}

/// What is known of the mode without asking.
#[track_caller]
fn known_mode(fs: &Fs, file: &File) -> u32 {
    let mode = sys::fstat(file).expect("fstat").st_mode & 0o777;
    fs.expect_silence(SHORT);
    mode
}

fn late_lookup(env: &Env) {
    let fs = Fs::new(env);
    let file = open(&fs);
    let path = fs.path("file");
    let slow = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    chmod(&fs, &file, 0o600);
    fs.reply(&lookup, &entry(0o644));
    assert_eq!(slow.result().unwrap().st_mode & 0o777, 0o600);
    assert_eq!(known_mode(&fs, &file), 0o600);
    fs.close_file(file);
}

fn late_readdirplus(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::DO_READDIRPLUS);
    let file = open(&fs);
    let dir = fs.dir.clone();
    let slow = call(move || sys::list(&dir));
    fs.reply(&fs.expect(Opcode::Opendir), &abi::OpenOut::default());
    let readdirplus = fs.expect(Opcode::Readdirplus);
    chmod(&fs, &file, 0o600);
    let row = abi::Direntplus {
        entry_out: entry(0o644),
        dirent: abi::Dirent {
            ino: FILE,
            off: 1,
            namelen: 4,
            r#type: libc::DT_REG.into(),
        },
    };
    let parts = [row.as_bytes(), b"file\0\0\0\0"];
    let replied = fs.channel.reply_bytes(readdirplus.unique(), &parts);
    replied.expect("the reply");
    fs.reply_bytes(&fs.expect(Opcode::Readdirplus), &[]);
    fs.reply_bytes(&fs.expect(Opcode::Releasedir), &[]);
    assert_eq!(slow.result().unwrap().len(), 1);
    assert_eq!(known_mode(&fs, &file), 0o600);
    fs.close_file(file);
}

fn late_attributes_of_an_open_file(env: &Env) {
    let fs = Fs::new(env);
    let file = open(&fs);
    let path = fs.path("file");
    let slow = call(move || sys::statx(&path, libc::AT_STATX_FORCE_SYNC, libc::STATX_MODE));
    fs.reply(&fs.expect(Opcode::Lookup), &entry(0o644));
    let getattr = fs.expect(Opcode::Getattr);
    chmod(&fs, &file, 0o600);
    fs.reply(&getattr, &attr_out(0o644));
    // Who asked is told what was answered.
    assert_eq!(slow.result().unwrap().stx_mode & 0o777, 0o644);
    assert_eq!(known_mode(&fs, &file), 0o600);
    fs.close_file(file);
}

/// Looks a name up, in which the answer is a node that the kernel does not have; meanwhile does
/// something else. Gives what is asked next.
#[track_caller]
fn looked_up(fs: &Fs, meanwhile: impl FnOnce()) -> Option<Req> {
    let path = fs.path("other");
    let slow = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    meanwhile();
    let mut other = entry(0o644);
    other.nodeid = 99;
    fs.reply(&lookup, &other);
    let mut asked = None;
    let stat = fs.answer_until_back(&slow, |getattr| {
        assert_eq!(getattr.opcode(), Opcode::Getattr);
        fs.reply(&getattr, &attr_out(0o600));
        asked = Some(getattr);
    });
    let mode = if asked.is_some() { 0o600 } else { 0o644 };
    assert_eq!(stat.unwrap().st_mode & 0o777, mode);
    asked
}

/// Looks up the file, and forgets it.
#[track_caller]
fn forget_another(fs: &Fs) {
    call(|| system::drop_caches(2)).result();
    assert_eq!(fs.expect(Opcode::Forget).nodeid(), FILE);
}

#[track_caller]
fn with_another(env: &Env) -> Fs {
    let fs = Fs::with_flags(env, init_flags::PARALLEL_DIROPS);
    let path = fs.path("file");
    let caller = call(move || sys::stat(&path));
    fs.reply(&fs.expect(Opcode::Lookup), &entry(0o644));
    caller.result().expect("stat");
    fs
}

fn node_that_may_have_been_known(env: &Env) {
    // A node that goes meanwhile may have been this one, and newer attributes may have gone with it.
    let fs = with_another(env);
    let asked = looked_up(&fs, || forget_another(&fs));
    assert_eq!(asked.expect("GETATTR").nodeid(), 99);
}

fn node_that_was_not_known(env: &Env) {
    let fs = with_another(env);
    assert!(looked_up(&fs, || {}).is_none());
    let path = fs.path("missing");
    let caller = call(move || sys::stat(&path));
    fs.deny_name();
    system::assert_errno(caller.result(), Errno::ENOENT);
}
