// SPDX-License-Identifier: GPL-2.0

//! Attributes: asking for them, keeping them, and those that cannot be.

use crate::{
    caller::call,
    env::Env,
    fs::Fs,
    model::{answer, Answer, Model, Served, FILE},
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
    every_field_arrives,
    device_numbers_arrive,
    times_before_1970_arrive,
    valid_attributes_are_not_asked_for_again,
    expired_attributes_are_asked_for_again,
    attributes_expire_by_themselves,
    open_file_sends_its_handle,
    directory_sends_no_handle,
    wrong_type_makes_the_inode_bad,
    the_root_turns_into_a_file,
    bad_size_makes_the_inode_bad,
    error_reaches_the_caller,
    blksize_zero_is_a_page,
    inode_number_is_the_daemon_s,
    forced_sync_asks_always,
    dont_sync_does_not_ask,
];

fn getattr(
    fs: &Fs,
) -> (
    crate::fs::Req,
    crate::caller::Caller<std::io::Result<nix::sys::stat::FileStat>>,
) {
    let dir = fs.dir.clone();
    let caller = call(move || sys::stat(&dir));
    (fs.expect(Opcode::Getattr), caller)
}

fn root_attr() -> abi::Attr {
    Model::new().node(abi::ROOT_ID).attr
}

fn what_is_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let (request, caller) = getattr(&fs);
    assert_eq!(request.header().len, 56);
    assert_eq!(request.nodeid(), abi::ROOT_ID);
    let arg: abi::GetattrIn = request.arg();
    assert_eq!((arg.getattr_flags, arg.dummy, arg.fh), (0, 0, 0));
    fs.reply_error(&request, Errno::EIO);
    system::assert_errno(caller.result(), Errno::EIO);
}

fn every_field_arrives(env: &Env) {
    let fs = Fs::new(env);
    let (request, caller) = getattr(&fs);
    let attr = abi::Attr {
        ino: 0x1234_5678_9abc,
        size: 0x1_2345_6789,
        blocks: 777,
        atime: 1_111_111_111,
        mtime: 1_222_222_222,
        ctime: 1_333_333_333,
        atimensec: 111_111_111,
        mtimensec: 222_222_222,
        ctimensec: 999_999_999,
        mode: libc::S_IFDIR | 0o3751,
        nlink: 42,
        uid: 4711,
        gid: 815,
        rdev: 0,
        blksize: 65536,
        flags: 0,
    };
    let out = abi::AttrOut {
        attr,
        ..Default::default()
    };
    fs.reply(&request, &out);
    let stat = caller.result().unwrap();
    assert_eq!(stat.st_ino, attr.ino);
    assert_eq!(stat.st_size as u64, attr.size);
    assert_eq!(stat.st_blocks as u64, attr.blocks);
    assert_eq!(
        (stat.st_atime as u64, stat.st_atime_nsec as u32),
        (attr.atime, attr.atimensec)
    );
    assert_eq!(
        (stat.st_mtime as u64, stat.st_mtime_nsec as u32),
        (attr.mtime, attr.mtimensec)
    );
    assert_eq!(
        (stat.st_ctime as u64, stat.st_ctime_nsec as u32),
        (attr.ctime, attr.ctimensec)
    );
    assert_eq!(stat.st_mode, attr.mode);
    assert_eq!(stat.st_nlink as u32, attr.nlink);
    assert_eq!((stat.st_uid, stat.st_gid), (attr.uid, attr.gid));
    assert_eq!(stat.st_blksize, 65536);
}

fn device_numbers_arrive(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.model().add(50, libc::S_IFCHR | 0o600, b"");
    // 20 bits of minor number, split: that is how the kernel packs it into 32 bits.
    served.model().node(50).attr.rdev = 0x345 << 20 | 0x12 << 8 | 0x67;
    served.model().link(1, "device", 50);
    let stat = sys::stat(&served.path("device")).unwrap();
    assert_eq!(nix::sys::stat::major(stat.st_rdev), 0x12);
    assert_eq!(nix::sys::stat::minor(stat.st_rdev), 0x34567);
    served.finish();
}

fn times_before_1970_arrive(env: &Env) {
    let fs = Fs::new(env);
    let (request, caller) = getattr(&fs);
    let attr = abi::Attr {
        mtime: -86400i64 as u64,
        mtimensec: 5,
        // More nanoseconds than a second has are cut down to what it can have.
        ctime: 10,
        ctimensec: 2_000_000_000,
        ..root_attr()
    };
    let out = abi::AttrOut {
        attr,
        ..Default::default()
    };
    fs.reply(&request, &out);
    let stat = caller.result().unwrap();
    assert_eq!((stat.st_mtime, stat.st_mtime_nsec), (-86400, 5));
    assert_eq!((stat.st_ctime, stat.st_ctime_nsec), (10, 999_999_999));
}

fn valid_attributes_are_not_asked_for_again(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for _ in 0..5 {
        sys::stat(&served.dir).unwrap();
    }
    assert_eq!(served.model().opcodes(), [Opcode::Getattr]);
    served.finish();
}

fn expired_attributes_are_asked_for_again(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    for round in 1..=5 {
        sys::stat(&served.dir).unwrap();
        assert_eq!(served.count(Opcode::Getattr), round);
    }
    served.finish();
}

fn attributes_expire_by_themselves(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.model().attr_valid = 1;
    let start = Instant::now();
    sys::stat(&served.dir).unwrap();
    sys::stat(&served.dir).unwrap();
    let asked = served.count(Opcode::Getattr);
    // A machine that is busy may take a second for that.
    assert!(asked == 1 || start.elapsed() >= Duration::from_secs(1));
    sleep(Duration::from_millis(1300));
    sys::stat(&served.dir).unwrap();
    assert_eq!(served.count(Opcode::Getattr), asked + 1);
    served.finish();
}

fn open_file_sends_its_handle(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    let file = sys::open(&served.path("file")).unwrap();
    served.clear_log();
    sys::fstat(&file).unwrap();
    let asked = served.model().log[0].clone();
    assert_eq!((asked.opcode, asked.nodeid), (Opcode::Getattr, FILE));
    let arg = abi::GetattrIn {
        getattr_flags: 0,
        ..Default::default()
    };
    // fstat() goes by the path that was opened, in Linux as here: no handle.
    assert_eq!(asked.body, zerocopy::IntoBytes::as_bytes(&arg));
    // Reading past the end does have the file at hand.
    served.clear_log();
    let mut file = file;
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(1000)).unwrap();
    assert_eq!(std::io::Read::read(&mut file, &mut [0; 10]).unwrap(), 0);
    let asked = served.model().log[0].clone();
    assert_eq!(asked.opcode, Opcode::Getattr);
    let arg = abi::GetattrIn {
        getattr_flags: abi::getattr_flags::FH,
        dummy: 0,
        fh: FILE + 1000,
    };
    assert_eq!(asked.body, zerocopy::IntoBytes::as_bytes(&arg));
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn directory_sends_no_handle(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    let dir = sys::open(&served.dir).unwrap();
    served.clear_log();
    sys::fstat(&dir).unwrap();
    assert_eq!(served.model().log[0].body, [0; 16]);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn wrong_type_makes_the_inode_bad(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.model().entry_valid = 3600;
    sys::stat(&served.path("file")).unwrap();
    for mode in [libc::S_IFLNK | 0o777, libc::S_IFDIR | 0o755, 0, 0o644] {
        served.model().node(FILE).attr.mode = mode;
        system::assert_errno(sys::stat(&served.path("file")), Errno::EIO);
        // The inode is bad: the name is looked up anew from here on.
        served.model().node(FILE).attr.mode = libc::S_IFREG | 0o644;
        served.clear_log();
        sys::stat(&served.path("file")).unwrap();
        assert!(served.count(Opcode::Lookup) >= 1);
    }
    served.finish();
}

fn the_root_turns_into_a_file(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.model().node(abi::ROOT_ID).attr.mode = libc::S_IFREG | 0o644;
    system::assert_errno(sys::stat(&served.dir), Errno::EIO);
    served.model().node(abi::ROOT_ID).attr.mode = libc::S_IFDIR | 0o755;
    // There is no other name by which to come to a new inode.
    system::assert_errno(sys::stat(&served.dir), Errno::EIO);
    system::assert_errno(sys::stat(&served.path("file")), Errno::EIO);
    system::assert_errno(sys::open(&served.dir), Errno::EIO);
    served.finish();
}

fn bad_size_makes_the_inode_bad(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.model().entry_valid = 3600;
    let file = sys::open(&served.path("file")).unwrap();
    served.model().node(FILE).attr.size = 1 << 63;
    system::assert_errno(sys::fstat(&file), Errno::EIO);
    served.model().node(FILE).attr.size = 5;
    system::assert_errno(sys::fstat(&file), Errno::EIO);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn error_reaches_the_caller(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.hook(|req| (req.opcode() == Opcode::Getattr).then_some(Answer::Error(Errno::EDOM)));
    system::assert_errno(sys::stat(&served.dir), Errno::EDOM);
    // Nothing was kept of that.
    served.model().hook = None;
    sys::stat(&served.dir).unwrap();
    served.finish();
}

fn blksize_zero_is_a_page(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.model().node(1).attr.blksize = 0;
    assert_eq!(sys::stat(&served.dir).unwrap().st_blksize, 4096);
    served.finish();
}

fn inode_number_is_the_daemon_s(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.model().node(FILE).attr.ino = 0xffff_ffff_ffff_fff0;
    assert_eq!(
        sys::stat(&served.path("file")).unwrap().st_ino,
        0xffff_ffff_ffff_fff0
    );
    // From what was kept, too.
    assert_eq!(
        sys::stat(&served.path("file")).unwrap().st_ino,
        0xffff_ffff_ffff_fff0
    );
    assert_eq!(served.count(Opcode::Getattr), 0);
    served.finish();
}

fn forced_sync_asks_always(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.dir).unwrap();
    for round in 2..=4 {
        sys::statx(
            &served.dir,
            libc::AT_STATX_FORCE_SYNC,
            libc::STATX_BASIC_STATS,
        )
        .unwrap();
        assert_eq!(served.count(Opcode::Getattr), round);
    }
    served.finish();
}

fn dont_sync_does_not_ask(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.hook(|req| {
        (req.opcode() == Opcode::Getattr).then(|| {
            answer(&abi::AttrOut {
                attr: root_attr(),
                ..Default::default()
            })
        })
    });
    sys::stat(&served.dir).unwrap();
    let stat = sys::statx(
        &served.dir,
        libc::AT_STATX_DONT_SYNC,
        libc::STATX_BASIC_STATS,
    )
    .unwrap();
    assert_eq!(u32::from(stat.stx_mode), libc::S_IFDIR | 0o755);
    assert_eq!(served.count(Opcode::Getattr), 1);
    served.finish();
}
