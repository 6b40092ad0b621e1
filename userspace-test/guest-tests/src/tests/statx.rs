// SPDX-License-Identifier: GPL-2.0

//! `statx(2)`: what only STATX can say, and daemons that do not have it.

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
use std::path::Path;
use zerocopy::{FromBytes, IntoBytes};

tests![
    only_who_wants_the_birth_asks,
    what_is_on_the_wire,
    every_field_arrives,
    answers_are_kept,
    answer_without_birth_is_kept,
    partial_answers_are_not_kept,
    sync_flags,
    enosys_is_remembered,
    other_errors_reach_the_caller,
    types_and_sizes_that_cannot_be,
    answers_of_the_wrong_length,
    late_answer_does_not_count,
];

const ALL: u32 = libc::STATX_BASIC_STATS | libc::STATX_BTIME;

fn statx(path: &Path, flags: i32, mask: u32) -> std::io::Result<libc::statx> {
    sys::statx(path, flags, mask)
}

/// An answer about a file, with fields that all differ.
fn out(mask: u32, valid: u64) -> abi::StatxOut {
    let time = |tv_sec, tv_nsec| abi::SxTime {
        tv_sec,
        tv_nsec,
        ..Default::default()
    };
    abi::StatxOut {
        attr_valid: valid,
        stat: abi::Statx {
            mask,
            blksize: 8192,
            attributes: 0,
            nlink: 3,
            uid: 4,
            gid: 5,
            mode: (libc::S_IFREG | 0o1751) as u16,
            ino: 6,
            size: 7,
            blocks: 8,
            atime: time(-9, 10),
            btime: time(11, 12),
            ctime: time(13, 14),
            mtime: time(15, 16),
            ..Default::default()
        },
        ..Default::default()
    }
}

/// Serves a file of which STATX says this.
fn serve(env: &Env, out: abi::StatxOut) -> Served {
    let served = Served::new(Fs::new(env), Model::new());
    served.model().entry_valid = 3600;
    served.hook(move |req| (req.opcode() == Opcode::Statx).then(|| answer(&out)));
    served
}

fn only_who_wants_the_birth_asks(env: &Env) {
    let mut served = serve(env, out(ALL, 0));
    let path = served.path("file");
    sys::stat(&path).unwrap();
    statx(&path, 0, libc::STATX_BASIC_STATS).unwrap();
    assert_eq!(served.count(Opcode::Statx), 0);
    assert_eq!(served.count(Opcode::Getattr), 2);
    statx(&path, 0, libc::STATX_BTIME).unwrap();
    assert_eq!(served.count(Opcode::Statx), 1);
    // Who wants nothing asks nothing.
    statx(&path, libc::AT_STATX_FORCE_SYNC, 0).unwrap();
    statx(&path, libc::AT_STATX_FORCE_SYNC, libc::STATX_MNT_ID).unwrap();
    assert_eq!(served.count(Opcode::Statx), 1);
    assert_eq!(served.count(Opcode::Getattr), 2);
    served.finish();
}

fn what_is_on_the_wire(env: &Env) {
    let mut served = serve(env, out(ALL, 0));
    // Neither the flags nor what was asked for is handed on.
    let flags = libc::AT_STATX_FORCE_SYNC;
    statx(&served.path("file"), flags, libc::STATX_BTIME).unwrap();
    let log = served.model().log.clone();
    let asked = log.iter().find(|asked| asked.opcode == Opcode::Statx);
    let asked = asked.expect("STATX");
    assert_eq!(asked.nodeid, FILE);
    let expected = abi::StatxIn {
        sx_mask: ALL,
        ..Default::default()
    };
    assert_eq!(asked.body, expected.as_bytes());
    served.finish();
}

fn every_field_arrives(env: &Env) {
    let mut served = serve(env, out(ALL, 0));
    let stat = statx(&served.path("file"), 0, ALL).unwrap();
    assert_eq!(stat.stx_mask & ALL, ALL);
    assert_eq!(u32::from(stat.stx_mode), libc::S_IFREG | 0o1751);
    assert_eq!((stat.stx_blksize, stat.stx_nlink), (8192, 3));
    assert_eq!((stat.stx_uid, stat.stx_gid), (4, 5));
    assert_eq!((stat.stx_ino, stat.stx_size, stat.stx_blocks), (6, 7, 8));
    let time = |time: libc::statx_timestamp| (time.tv_sec, time.tv_nsec);
    assert_eq!(time(stat.stx_atime), (-9, 10));
    assert_eq!(time(stat.stx_btime), (11, 12));
    assert_eq!(time(stat.stx_ctime), (13, 14));
    assert_eq!(time(stat.stx_mtime), (15, 16));
    served.finish();
}

fn answers_are_kept(env: &Env) {
    let mut served = serve(env, out(ALL, 3600));
    let path = served.path("file");
    for _ in 0..3 {
        let stat = statx(&path, 0, ALL).unwrap();
        assert_eq!(stat.stx_btime.tv_sec, 11);
        assert_eq!((stat.stx_size, stat.stx_mtime.tv_sec), (7, 15));
        assert_ne!(stat.stx_mask & libc::STATX_BTIME, 0);
        assert_eq!(sys::stat(&path).unwrap().st_size, 7);
    }
    assert_eq!(served.count(Opcode::Statx), 1);
    assert_eq!(served.count(Opcode::Getattr), 0);
    served.finish();
}

fn answer_without_birth_is_kept(env: &Env) {
    let mut served = serve(env, out(libc::STATX_BASIC_STATS, 3600));
    for _ in 0..3 {
        let stat = statx(&served.path("file"), 0, ALL).unwrap();
        assert_eq!(stat.stx_mask & ALL, libc::STATX_BASIC_STATS);
        assert_eq!(stat.stx_size, 7);
    }
    assert_eq!(served.count(Opcode::Statx), 1);
    served.finish();
}

fn partial_answers_are_not_kept(env: &Env) {
    let mask = libc::STATX_SIZE | libc::STATX_BTIME;
    let mut served = serve(env, out(mask, 3600));
    let path = served.path("file");
    for round in 1..=3 {
        let stat = statx(&path, 0, ALL).unwrap();
        assert_eq!(stat.stx_mask & ALL, mask | libc::STATX_TYPE);
        assert_eq!((stat.stx_size, stat.stx_btime.tv_sec), (7, 11));
        assert_eq!(served.count(Opcode::Statx), round);
    }
    assert_ne!(sys::stat(&path).unwrap().st_size, 7);
    served.finish();
}

fn sync_flags(env: &Env) {
    let mut served = serve(env, out(ALL, 3600));
    let path = served.path("file");
    let stat = statx(&path, libc::AT_STATX_DONT_SYNC, ALL).unwrap();
    assert_eq!(stat.stx_mask & libc::STATX_BTIME, 0);
    assert_eq!(served.count(Opcode::Statx), 0);
    for round in 1..=3 {
        statx(&path, libc::AT_STATX_FORCE_SYNC, ALL).unwrap();
        assert_eq!(served.count(Opcode::Statx), round);
    }
    let stat = statx(&path, libc::AT_STATX_DONT_SYNC, ALL).unwrap();
    assert_eq!(stat.stx_btime.tv_sec, 11);
    assert_eq!(served.count(Opcode::Statx), 3);
    served.finish();
}

fn enosys_is_remembered(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.hook(|req| (req.opcode() == Opcode::Statx).then_some(Answer::Error(Errno::ENOSYS)));
    for round in 1..=3 {
        let stat = statx(&served.dir, 0, ALL).unwrap();
        assert_eq!(stat.stx_mask & ALL, libc::STATX_BASIC_STATS);
        assert_eq!(served.count(Opcode::Statx), 1);
        assert_eq!(served.count(Opcode::Getattr), round);
    }
    // The birth alone is nothing to ask for then.
    statx(&served.dir, 0, libc::STATX_BTIME).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 3);
    served.finish();
}

fn other_errors_reach_the_caller(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.hook(|req| (req.opcode() == Opcode::Statx).then_some(Answer::Error(Errno::EDOM)));
    for round in 1..=2 {
        system::assert_errno(statx(&served.dir, 0, ALL), Errno::EDOM);
        assert_eq!(served.count(Opcode::Statx), round);
    }
    assert_eq!(served.count(Opcode::Getattr), 0);
    served.finish();
}

fn types_and_sizes_that_cannot_be(env: &Env) {
    type Change = fn(&mut abi::Statx);
    let changes: [(Change, bool); 6] = [
        (|stat| stat.mode = (libc::S_IFDIR | 0o755) as u16, true),
        (|stat| stat.mode = 0o755, true),
        (|stat| stat.size = 1 << 63, true),
        // What the daemon does not vouch for may be anything.
        (
            |stat| {
                stat.mask &= !libc::STATX_TYPE;
                stat.mode = (libc::S_IFDIR | 0o755) as u16;
            },
            false,
        ),
        (
            |stat| {
                stat.mask &= !libc::STATX_SIZE;
                stat.size = 1 << 62;
            },
            false,
        ),
        (|stat| stat.btime.tv_nsec = 2_000_000_000, false),
    ];
    for (change, is_bad) in changes {
        let mut reply = out(ALL, 0);
        change(&mut reply.stat);
        let mut served = serve(env, reply);
        let path = served.path("file");
        let file = sys::open(&path).unwrap();
        if is_bad {
            system::assert_errno(statx(&path, 0, ALL), Errno::EIO);
            system::assert_errno(sys::fstat(&file), Errno::EIO);
        } else {
            let stat = statx(&path, 0, ALL).unwrap();
            assert_eq!(u32::from(stat.stx_mode) & libc::S_IFMT, libc::S_IFREG);
            assert!(stat.stx_btime.tv_nsec < 1_000_000_000);
            sys::fstat(&file).unwrap();
        }
        drop(file);
        served.wait_for(Opcode::Release, 1);
        served.finish();
    }
}

fn answers_of_the_wrong_length(env: &Env) {
    let fs = Fs::new(env);
    let out = out(ALL, 0);
    let bytes = [out.as_bytes(), &[0; 8]].concat();
    for len in [0, 104, 287, 289, 296] {
        let dir = fs.dir.clone();
        let caller = call(move || statx(&dir, 0, ALL).map(drop));
        let request = fs.expect(Opcode::Statx);
        let result = fs.channel.reply_bytes(request.unique(), &[&bytes[..len]]);
        system::assert_errno(result, Errno::EINVAL);
        system::assert_errno(caller.result(), Errno::EIO);
    }
}

fn late_answer_does_not_count(env: &Env) {
    let fs = Fs::new(env);
    let dir = fs.dir.clone();
    let slow = call(move || statx(&dir, 0, ALL).map(|stat| stat.stx_uid));
    let request = fs.expect(Opcode::Statx);
    assert!(abi::StatxIn::read_from_bytes(request.request().body()).is_ok());
    let dir = fs.dir.clone();
    let other = call(move || sys::stat(&dir).map(|stat| stat.st_uid));
    let getattr = fs.expect(Opcode::Getattr);
    let mut attr = Model::new().node(abi::ROOT_ID).attr;
    attr.uid = 77;
    let newer = abi::AttrOut {
        attr_valid: 3600,
        attr,
        ..Default::default()
    };
    fs.reply(&getattr, &newer);
    assert_eq!(other.result().unwrap(), 77);
    let mut older = out(ALL, 3600);
    older.stat.mode = (libc::S_IFDIR | 0o755) as u16;
    fs.reply(&request, &older);
    assert_eq!(slow.result().unwrap(), 4);
    assert_eq!(sys::stat(&fs.dir).unwrap().st_uid, 77);
}
