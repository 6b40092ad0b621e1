// SPDX-License-Identifier: GPL-2.0

//! Names: looking them up, keeping them, and finding out that they changed.

use crate::{
    caller::call,
    env::Env,
    fs::Fs,
    model::{answer, Answer, Model, Served, DIR, FILE, INNER},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, Opcode},
    Errno,
};
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

tests![
    what_is_on_the_wire,
    valid_names_are_not_asked_for_again,
    expired_names_are_asked_for_again,
    fractions_of_a_second_count,
    huge_timeouts_are_for_ever,
    missing_names_are_not_kept,
    negative_entries_are_kept,
    negative_entry_expires,
    generation_change_makes_the_old_inode_stale,
    type_change_makes_the_old_inode_stale,
    another_nodeid_is_another_inode,
    node_without_a_type,
    huge_size,
    root_under_a_name,
    directory_under_two_names,
    names_may_be_long,
    names_may_be_any_bytes,
    hard_links_are_one_inode,
    dot_and_dotdot_stay_in_the_kernel,
    failed_lookup_of_expired_name,
    revalidated_name_takes_new_attributes,
];

const SHORT: Duration = Duration::from_millis(150);

fn served(env: &Env, model: Model) -> Served {
    Served::new(Fs::new(env), model)
}

fn what_is_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("some name");
    let pid = crate::caller::process(|| system::errno(sys::stat(&path)));
    let lookup = fs.expect(Opcode::Lookup);
    let header = lookup.header();
    assert_eq!(header.len, 40 + 10);
    assert_eq!(header.nodeid, abi::ROOT_ID);
    assert_eq!((header.uid, header.gid), (0, 0));
    assert_eq!(header.pid, pid.pid().as_raw() as u32);
    assert_eq!((header.total_extlen, header.padding), (0, 0));
    assert_eq!(lookup.request().body(), b"some name\0");
    fs.reply_error(&lookup, Errno::ENOENT);
    assert_eq!(pid.code(), libc::ENOENT);
}

fn valid_names_are_not_asked_for_again(env: &Env) {
    let mut served = served(env, Model::cached());
    for _ in 0..5 {
        assert_eq!(sys::stat(&served.path("dir/inner")).unwrap().st_ino, INNER);
    }
    assert_eq!(served.model().opcodes(), [Opcode::Lookup, Opcode::Lookup]);
    served.finish();
}

fn expired_names_are_asked_for_again(env: &Env) {
    let mut served = served(env, Model::new());
    for round in 1..=3 {
        sys::stat(&served.path("file")).unwrap();
        assert_eq!(served.count(Opcode::Lookup), round);
    }
    served.finish();
}

fn fractions_of_a_second_count(env: &Env) {
    let fs = Fs::new(env);
    let entry = abi::EntryOut {
        nodeid: 9,
        entry_valid_nsec: 999_999_999,
        attr_valid: 3600,
        attr: Model::new().node(FILE).attr,
        ..Default::default()
    };
    let path = fs.path("x");
    let first = call(move || sys::stat(&path).map(drop));
    let lookup = fs.expect(Opcode::Lookup);
    let start = Instant::now();
    fs.reply(&lookup, &entry);
    first.result().unwrap();
    let path = fs.path("x");
    let second = call(move || sys::stat(&path).map(drop));
    let result = fs.answer_until_back(&second, |lookup| {
        // A machine that is busy may have taken a second.
        assert!(
            start.elapsed() >= Duration::from_secs(1),
            "{:?}",
            lookup.request()
        );
        fs.reply(&lookup, &entry);
    });
    result.unwrap();
    sleep(Duration::from_millis(1200));
    let path = fs.path("x");
    let third = call(move || sys::stat(&path).map(drop));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &entry);
    third.result().unwrap();
}

fn huge_timeouts_are_for_ever(env: &Env) {
    let mut served = served(env, Model::cached());
    served.hook(|req| {
        if req.opcode() != Opcode::Lookup {
            return None;
        }
        Some(answer(&abi::EntryOut {
            nodeid: 9,
            entry_valid: u64::MAX,
            attr_valid: u64::MAX,
            // More than a second of nanoseconds: the kernel cuts it down.
            entry_valid_nsec: u32::MAX,
            attr_valid_nsec: u32::MAX,
            attr: Model::new().node(FILE).attr,
            ..Default::default()
        }))
    });
    for _ in 0..3 {
        sys::stat(&served.path("x")).unwrap();
    }
    assert_eq!(served.model().opcodes(), [Opcode::Lookup]);
    served.finish();
}

fn missing_names_are_not_kept(env: &Env) {
    let mut served = served(env, Model::cached());
    for round in 1..=3 {
        system::assert_errno(sys::stat(&served.path("none")), Errno::ENOENT);
        assert_eq!(served.count(Opcode::Lookup), round);
    }
    served.finish();
}

fn negative(valid: u64) -> Answer {
    answer(&abi::EntryOut {
        entry_valid: valid,
        ..Default::default()
    })
}

fn negative_entries_are_kept(env: &Env) {
    let mut served = served(env, Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Lookup).then(|| negative(3600)));
    for _ in 0..4 {
        system::assert_errno(sys::stat(&served.path("none")), Errno::ENOENT);
    }
    assert_eq!(served.count(Opcode::Lookup), 1);
    served.finish();
}

fn negative_entry_expires(env: &Env) {
    let mut served = served(env, Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Lookup).then(|| negative(1)));
    let start = Instant::now();
    system::assert_errno(sys::stat(&served.path("file")), Errno::ENOENT);
    system::assert_errno(sys::stat(&served.path("file")), Errno::ENOENT);
    let asked = served.count(Opcode::Lookup);
    // A machine that is busy may take a second for that.
    assert!(asked == 1 || start.elapsed() >= Duration::from_secs(1));
    sleep(Duration::from_millis(1300));
    served.model().hook = None;
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_ino, FILE);
    assert_eq!(served.count(Opcode::Lookup), asked + 1);
    served.finish();
}

fn generation_change_makes_the_old_inode_stale(env: &Env) {
    let mut served = served(env, Model::new());
    let old = sys::open(&served.path("file")).unwrap();
    assert_eq!(sys::fstat(&old).unwrap().st_ino, FILE);
    served.model().node(FILE).generation = 1;
    // The name leads to a new inode now …
    let new = sys::open(&served.path("file")).unwrap();
    assert_eq!(sys::fstat(&new).unwrap().st_ino, FILE);
    // … and the old one is no good any more.
    system::assert_errno(sys::fstat(&old), Errno::EIO);
    let mut old = old;
    system::assert_errno(std::io::Read::read(&mut old, &mut [0; 10]), Errno::EIO);
    assert_eq!(
        sys::read_all(&mut { new }, 100).unwrap(),
        crate::model::CONTENTS
    );
    drop(old);
    served.wait_for(Opcode::Release, 2);
    served.finish();
}

fn type_change_makes_the_old_inode_stale(env: &Env) {
    let mut served = served(env, Model::new());
    let old = sys::open(&served.path("file")).unwrap();
    served.model().node(FILE).attr.mode = libc::S_IFDIR | 0o755;
    let stat = sys::stat(&served.path("file")).unwrap();
    assert_eq!(stat.st_mode, libc::S_IFDIR | 0o755);
    system::assert_errno(sys::fstat(&old), Errno::EIO);
    drop(old);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn another_nodeid_is_another_inode(env: &Env) {
    let mut served = served(env, Model::new());
    let old = sys::open(&served.path("file")).unwrap();
    served.model().add(77, libc::S_IFREG | 0o600, b"other");
    served.model().link(abi::ROOT_ID, "file", 77);
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_ino, 77);
    // The old one is still that of those who have it open.
    assert_eq!(sys::fstat(&old).unwrap().st_ino, FILE);
    drop(old);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

/// What becomes of a lookup that is answered with `entry`.
#[track_caller]
fn lookup_of(env: &Env, entry: abi::EntryOut) -> std::io::Result<()> {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = call(move || sys::lstat(&path).map(drop));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &entry);
    caller.result()
}

fn good_entry() -> abi::EntryOut {
    abi::EntryOut {
        nodeid: 9,
        attr_valid: 60,
        attr: Model::new().node(FILE).attr,
        ..Default::default()
    }
}

fn node_without_a_type(env: &Env) {
    for mode in [0, 0o644, 0o030644, 0o150000, 0o170000, 0o110644] {
        let mut entry = good_entry();
        entry.attr.mode = mode;
        system::assert_errno(lookup_of(env, entry), Errno::EIO);
    }
    for kind in [
        libc::S_IFREG,
        libc::S_IFDIR,
        libc::S_IFLNK,
        libc::S_IFCHR,
        libc::S_IFBLK,
        libc::S_IFIFO,
        libc::S_IFSOCK,
    ] {
        let mut entry = good_entry();
        entry.attr.mode = kind | 0o600;
        lookup_of(env, entry).unwrap_or_else(|error| panic!("{kind:o}: {error}"));
    }
}

fn huge_size(env: &Env) {
    let mut entry = good_entry();
    entry.attr.size = i64::MAX as u64;
    lookup_of(env, entry).expect("the largest file");
    for size in [i64::MAX as u64 + 1, u64::MAX] {
        entry.attr.size = size;
        system::assert_errno(lookup_of(env, entry), Errno::EIO);
    }
}

fn root_under_a_name(env: &Env) {
    let mut entry = good_entry();
    entry.nodeid = abi::ROOT_ID;
    entry.attr = Model::new().node(abi::ROOT_ID).attr;
    system::assert_errno(lookup_of(env, entry), Errno::EIO);
}

fn directory_under_two_names(env: &Env) {
    let mut served = served(env, Model::cached());
    served.model().link(abi::ROOT_ID, "other", DIR);
    let stat = sys::stat(&served.path("dir")).unwrap();
    assert_eq!(
        sys::stat(&served.path("other")).unwrap().st_ino,
        stat.st_ino
    );
    // It has moved, as far as the kernel can tell.
    assert_eq!(
        sys::stat(&served.path("other/inner")).unwrap().st_ino,
        INNER
    );
    // A directory inside itself cannot be.
    served.model().link(DIR, "self", DIR);
    system::assert_errno(sys::stat(&served.path("other/self")), Errno::ELOOP);
    served.finish();
}

fn names_may_be_long(env: &Env) {
    let mut served = served(env, Model::new());
    for len in [255, 256, 1000, 1024] {
        let name = "n".repeat(len);
        served.model().link(abi::ROOT_ID, &name, FILE);
        let result = sys::stat(&served.path(&name));
        assert_eq!(result.unwrap().st_ino, FILE, "{len} bytes");
    }
    served.clear_log();
    let result = sys::stat(&served.path(&"n".repeat(1025)));
    system::assert_errno(result, Errno::ENAMETOOLONG);
    assert_eq!(served.count(Opcode::Lookup), 0);
    served.finish();
}

fn names_may_be_any_bytes(env: &Env) {
    use std::os::unix::ffi::OsStrExt;

    let fs = Fs::new(env);
    let all: Vec<u8> = (1..=255).filter(|&byte| byte != b'/').collect();
    let path = fs.dir.join(std::ffi::OsStr::from_bytes(&all));
    let caller = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    assert_eq!(lookup.name().as_bytes(), all);
    fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn hard_links_are_one_inode(env: &Env) {
    let mut served = served(env, Model::cached());
    served.model().link(DIR, "again", FILE);
    served.model().node(FILE).attr.nlink = 2;
    let one = sys::stat(&served.path("file")).unwrap();
    let two = sys::stat(&served.path("dir/again")).unwrap();
    assert_eq!((one.st_ino, one.st_nlink), (two.st_ino, 2));
    assert_eq!(served.model().lookups[&FILE], 2);
    served.finish();
}

fn dot_and_dotdot_stay_in_the_kernel(env: &Env) {
    let mut served = served(env, Model::cached());
    assert_eq!(
        sys::stat(&served.path("dir/./../dir/..")).unwrap().st_ino,
        1
    );
    let model = served.model();
    assert!(
        model.log.iter().all(|asked| !asked.body.starts_with(b".")),
        "{:?}",
        model.log
    );
    drop(model);
    served.finish();
}

fn failed_lookup_of_expired_name(env: &Env) {
    let mut served = served(env, Model::new());
    sys::stat(&served.path("file")).unwrap();
    served.hook(|req| (req.opcode() == Opcode::Lookup).then_some(Answer::Error(Errno::EDOM)));
    system::assert_errno(sys::stat(&served.path("file")), Errno::EDOM);
    served.model().hook = None;
    sys::stat(&served.path("file")).unwrap();
    served.model().node(abi::ROOT_ID).entries.remove("file");
    system::assert_errno(sys::stat(&served.path("file")), Errno::ENOENT);
    served.finish();
}

fn revalidated_name_takes_new_attributes(env: &Env) {
    let mut served = served(env, Model::new());
    served.model().attr_valid = 3600;
    assert_eq!(
        sys::stat(&served.path("file")).unwrap().st_mode & 0o777,
        0o644
    );
    {
        let mut model = served.model();
        let attr = &mut model.node(FILE).attr;
        attr.mode = libc::S_IFREG | 0o600;
        attr.uid = 12;
        attr.gid = 13;
        attr.nlink = 5;
        attr.mtime = 1_000_000;
        attr.mtimensec = 17;
    }
    let stat = sys::stat(&served.path("file")).unwrap();
    assert_eq!(stat.st_mode & 0o777, 0o600);
    assert_eq!((stat.st_uid, stat.st_gid, stat.st_nlink), (12, 13, 5));
    assert_eq!((stat.st_mtime, stat.st_mtime_nsec), (1_000_000, 17));
    assert_eq!(served.model().opcodes(), [Opcode::Lookup, Opcode::Lookup]);
    sleep(SHORT);
    served.finish();
}
