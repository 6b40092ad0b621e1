// SPDX-License-Identifier: GPL-2.0

//! Ranges of files: `fallocate(2)`, `SEEK_DATA` and `SEEK_HOLE`, `copy_file_range(2)`, and where a
//! block is (`FIBMAP`).

use crate::{
    env::Env,
    fs::Fs,
    model::{answer, Answer, Model, Served, CONTENTS, FILE, INNER},
    sys, system,
    tests::tests,
};
use nix::fcntl::{fallocate, FallocateFlags};
use rawfuse::{
    abi::{self, init_flags, open_flags, Opcode},
    Errno,
};
use std::{
    fs::File,
    io,
    os::{fd::AsFd, unix::fs::FileExt},
};
use zerocopy::FromBytes;

tests![
    fallocate_is_on_the_wire,
    fallocate_grows_the_file,
    fallocate_keeps_the_size_when_told,
    fallocate_enosys_is_remembered,
    fallocate_error_changes_nothing,
    fallocate_of_other_modes,
    punched_hole_is_read_again,
    punching_writes_back_first,
    seek_data_is_on_the_wire,
    seek_hole_moves_the_position,
    seek_enosys_is_remembered,
    seek_error_reaches_the_caller,
    seek_to_where_nothing_can_be,
    copy_is_on_the_wire,
    copy_falls_back_to_the_older_operation,
    copy_falls_back_to_reading_and_writing,
    copy_that_is_too_long,
    copy_error_reaches_the_caller,
    copy_writes_back_first,
    copied_pages_are_read_again,
];

const PAGE: usize = 4096;

fn with_contents(fs: Fs, bytes: &[u8]) -> Served {
    let mut model = Model::cached();
    model.open_flags = open_flags::KEEP_CACHE;
    model.add(FILE, libc::S_IFREG | 0o644, bytes);
    Served::new(fs, model)
}

fn open(served: &Served, name: &str) -> File {
    sys::open_with(&served.path(name), libc::O_RDWR).expect("open")
}

/// The arguments of each request for `opcode` so far.
fn args<T: FromBytes>(served: &Served, opcode: Opcode) -> Vec<T> {
    let model = served.model();
    let asked = model.log.iter().filter(|asked| asked.opcode == opcode);
    asked
        .map(|asked| T::read_from_bytes(&asked.body).expect("the argument"))
        .collect()
}

fn allow(served: &Served, opcode: Opcode) {
    served.hook(move |req| (req.opcode() == opcode).then(|| Answer::Bytes(Vec::new())));
}

fn fail(served: &Served, opcode: Opcode, error: Errno) {
    served.hook(move |req| (req.opcode() == opcode).then_some(Answer::Error(error)));
}

#[track_caller]
fn done(mut served: Served, releases: usize) {
    served.wait_for(Opcode::Release, releases);
    served.finish();
}

fn allocate(file: &File, mode: FallocateFlags, offset: i64, len: i64) -> i32 {
    system::errno(fallocate(file, mode, offset, len).map_err(io::Error::from))
}

fn fallocate_is_on_the_wire(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS);
    allow(&served, Opcode::Fallocate);
    let file = open(&served, "file");
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    assert_eq!(allocate(&file, mode, 5, 10), 0);
    let [arg] = args::<abi::FallocateIn>(&served, Opcode::Fallocate)[..] else {
        panic!("not one FALLOCATE");
    };
    assert_eq!((arg.fh, arg.offset, arg.length), (FILE + 1000, 5, 10));
    assert_eq!((arg.mode, arg.padding), (mode.bits() as u32, 0));
    drop(file);
    done(served, 1);
}

fn fallocate_grows_the_file(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS);
    allow(&served, Opcode::Fallocate);
    let file = open(&served, "file");
    assert_eq!(allocate(&file, FallocateFlags::empty(), 0, 10_000), 0);
    let stat = sys::fstat_cached(&file).unwrap();
    assert_eq!(stat.stx_size, 10_000);
    // Not where it is large enough.
    assert_eq!(allocate(&file, FallocateFlags::empty(), 0, 5000), 0);
    assert_eq!(sys::fstat_cached(&file).unwrap().stx_size, 10_000);
    drop(file);
    done(served, 1);
}

fn fallocate_keeps_the_size_when_told(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS);
    allow(&served, Opcode::Fallocate);
    let file = open(&served, "file");
    assert_eq!(
        allocate(&file, FallocateFlags::FALLOC_FL_KEEP_SIZE, 0, 10_000),
        0
    );
    let size = sys::fstat_cached(&file).unwrap().stx_size;
    assert_eq!(size, CONTENTS.len() as u64);
    drop(file);
    done(served, 1);
}

fn fallocate_enosys_is_remembered(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS);
    let file = open(&served, "file");
    for _ in 0..2 {
        let errno = allocate(&file, FallocateFlags::empty(), 0, 10_000);
        assert_eq!(errno, libc::EOPNOTSUPP);
    }
    assert_eq!(served.count(Opcode::Fallocate), 1);
    drop(file);
    done(served, 1);
}

fn fallocate_error_changes_nothing(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS);
    fail(&served, Opcode::Fallocate, Errno::ENOSPC);
    let file = open(&served, "file");
    assert_eq!(
        allocate(&file, FallocateFlags::empty(), 0, 10_000),
        libc::ENOSPC
    );
    let size = sys::fstat_cached(&file).unwrap().stx_size;
    assert_eq!(size, CONTENTS.len() as u64);
    drop(file);
    done(served, 1);
}

fn fallocate_of_other_modes(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 3 * PAGE]);
    allow(&served, Opcode::Fallocate);
    let file = open(&served, "file");
    for mode in [
        FallocateFlags::FALLOC_FL_COLLAPSE_RANGE,
        FallocateFlags::FALLOC_FL_INSERT_RANGE,
        FallocateFlags::FALLOC_FL_UNSHARE_RANGE,
    ] {
        assert_eq!(allocate(&file, mode, 0, PAGE as i64), libc::EOPNOTSUPP);
    }
    assert_eq!(served.count(Opcode::Fallocate), 0);
    let zero = FallocateFlags::FALLOC_FL_ZERO_RANGE;
    assert_eq!(allocate(&file, zero, 0, PAGE as i64), 0);
    assert_eq!(served.count(Opcode::Fallocate), 1);
    drop(file);
    done(served, 1);
}

fn punched_hole_is_read_again(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 3 * PAGE]);
    allow(&served, Opcode::Fallocate);
    let file = open(&served, "file");
    let mut got = vec![0; 3 * PAGE];
    file.read_exact_at(&mut got, 0).unwrap();
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    served.model().node(FILE).data[PAGE..2 * PAGE].fill(0);
    assert_eq!(allocate(&file, mode, PAGE as i64, PAGE as i64), 0);
    file.read_exact_at(&mut got, 0).unwrap();
    assert!(got == served.model().node(FILE).data, "the contents differ");
    drop(file);
    done(served, 1);
}

fn punching_writes_back_first(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::WRITEBACK_CACHE);
    let served = with_contents(fs, &[1; 3 * PAGE]);
    allow(&served, Opcode::Fallocate);
    let file = open(&served, "file");
    file.write_all_at(&[2; PAGE], 0).unwrap();
    let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
    assert_eq!(allocate(&file, mode, 0, 100), 0);
    let opcodes = served.model().opcodes();
    let position = |opcode| {
        opcodes
            .iter()
            .position(|&each| each == opcode)
            .expect("asked")
    };
    assert!(position(Opcode::Write) < position(Opcode::Fallocate));
    drop(file);
    done(served, 1);
}

fn at(offset: u64) -> Answer {
    answer(&abi::LseekOut { offset })
}

fn seek_data_is_on_the_wire(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 3 * PAGE]);
    served.hook(|req| (req.opcode() == Opcode::Lseek).then(|| at(7777)));
    let file = open(&served, "file");
    assert_eq!(sys::lseek(file.as_fd(), 5, libc::SEEK_DATA).unwrap(), 7777);
    let [arg] = args::<abi::LseekIn>(&served, Opcode::Lseek)[..] else {
        panic!("not one LSEEK");
    };
    assert_eq!((arg.fh, arg.offset), (FILE + 1000, 5));
    assert_eq!((arg.whence as i32, arg.padding), (libc::SEEK_DATA, 0));
    drop(file);
    done(served, 1);
}

fn seek_hole_moves_the_position(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 3 * PAGE]);
    served.hook(|req| (req.opcode() == Opcode::Lseek).then(|| at(5000)));
    let file = open(&served, "file");
    assert_eq!(sys::lseek(file.as_fd(), 0, libc::SEEK_HOLE).unwrap(), 5000);
    assert_eq!(sys::lseek(file.as_fd(), 0, libc::SEEK_CUR).unwrap(), 5000);
    let whence = args::<abi::LseekIn>(&served, Opcode::Lseek)[0].whence;
    assert_eq!(whence as i32, libc::SEEK_HOLE);
    drop(file);
    done(served, 1);
}

fn seek_enosys_is_remembered(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 5000]);
    let file = open(&served, "file");
    // All of it is data then.
    assert_eq!(sys::lseek(file.as_fd(), 5, libc::SEEK_DATA).unwrap(), 5);
    assert_eq!(sys::lseek(file.as_fd(), 5, libc::SEEK_HOLE).unwrap(), 5000);
    assert_eq!(
        system::errno(sys::lseek(file.as_fd(), 5000, libc::SEEK_DATA)),
        libc::ENXIO
    );
    assert_eq!(served.count(Opcode::Lseek), 1);
    drop(file);
    done(served, 1);
}

fn seek_error_reaches_the_caller(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 5000]);
    fail(&served, Opcode::Lseek, Errno::ENXIO);
    let file = open(&served, "file");
    assert_eq!(
        system::errno(sys::lseek(file.as_fd(), 5, libc::SEEK_DATA)),
        libc::ENXIO
    );
    assert_eq!(sys::lseek(file.as_fd(), 0, libc::SEEK_CUR).unwrap(), 0);
    drop(file);
    done(served, 1);
}

fn seek_to_where_nothing_can_be(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 5000]);
    served.hook(|req| (req.opcode() == Opcode::Lseek).then(|| at(u64::MAX)));
    let file = open(&served, "file");
    assert_eq!(
        system::errno(sys::lseek(file.as_fd(), 5, libc::SEEK_DATA)),
        libc::EINVAL
    );
    assert_eq!(sys::lseek(file.as_fd(), 0, libc::SEEK_CUR).unwrap(), 0);
    drop(file);
    done(served, 1);
}

/// The files `file` and `dir/inner`, open.
fn two(served: &Served) -> (File, File) {
    (open(served, "file"), open(served, "dir/inner"))
}

fn copy(from: &File, start: i64, to: &File, target: i64, len: usize) -> io::Result<usize> {
    sys::copy_file_range((from, start), (to, target), len)
}

fn copied(len: u64) -> Answer {
    answer(&abi::CopyFileRangeOut { bytes_copied: len })
}

fn copy_is_on_the_wire(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 5000]);
    let (from, to) = two(&served);
    served.hook(|req| (req.opcode() == Opcode::CopyFileRange64).then(|| copied(2000)));
    assert_eq!(copy(&from, 100, &to, 200, 3000).unwrap(), 2000);
    let model = served.model();
    let asked = model
        .log
        .iter()
        .find(|asked| asked.opcode == Opcode::CopyFileRange64);
    assert_eq!(asked.unwrap().nodeid, FILE);
    drop(model);
    let [arg] = args::<abi::CopyFileRangeIn>(&served, Opcode::CopyFileRange64)[..] else {
        panic!("not one COPY_FILE_RANGE_64");
    };
    assert_eq!((arg.fh_in, arg.off_in), (FILE + 1000, 100));
    assert_eq!(
        (arg.nodeid_out, arg.fh_out, arg.off_out),
        (INNER, INNER + 1000, 200)
    );
    assert_eq!((arg.len, arg.flags), (3000, 0));
    assert_eq!(sys::fstat_cached(&to).unwrap().stx_size, 2200);
    drop((from, to));
    done(served, 2);
}

fn copy_falls_back_to_the_older_operation(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 5000]);
    let (from, to) = two(&served);
    served.hook(|req| {
        (req.opcode() == Opcode::CopyFileRange).then(|| {
            answer(&abi::WriteOut {
                size: 100,
                ..Default::default()
            })
        })
    });
    for _ in 0..2 {
        assert_eq!(copy(&from, 0, &to, 0, 3000).unwrap(), 100);
    }
    assert_eq!(served.count(Opcode::CopyFileRange64), 1);
    assert_eq!(served.count(Opcode::CopyFileRange), 2);
    drop((from, to));
    done(served, 2);
}

fn copy_falls_back_to_reading_and_writing(env: &Env) {
    let served = with_contents(Fs::new(env), &[7; 5000]);
    let (from, to) = two(&served);
    for _ in 0..2 {
        assert_eq!(copy(&from, 0, &to, 0, 3000).unwrap(), 3000);
    }
    assert_eq!(served.count(Opcode::CopyFileRange64), 1);
    assert_eq!(served.count(Opcode::CopyFileRange), 1);
    assert_eq!(served.model().node(INNER).data, [7; 3000]);
    drop((from, to));
    done(served, 2);
}

fn copy_that_is_too_long(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 5000]);
    let (from, to) = two(&served);
    served.hook(|req| (req.opcode() == Opcode::CopyFileRange64).then(|| copied(3001)));
    assert_eq!(system::errno(copy(&from, 0, &to, 0, 3000)), libc::EIO);
    drop((from, to));
    done(served, 2);
}

fn copy_error_reaches_the_caller(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 5000]);
    let (from, to) = two(&served);
    fail(&served, Opcode::CopyFileRange64, Errno::EDQUOT);
    assert_eq!(system::errno(copy(&from, 0, &to, 0, 3000)), libc::EDQUOT);
    assert_eq!(served.count(Opcode::CopyFileRange), 0);
    drop((from, to));
    done(served, 2);
}

fn copy_writes_back_first(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::WRITEBACK_CACHE);
    let served = with_contents(fs, &[1; 5000]);
    let (from, to) = two(&served);
    from.write_all_at(&[2; 100], 0).unwrap();
    to.write_all_at(&[3; 100], 0).unwrap();
    assert_eq!(served.count(Opcode::Write), 0);
    served.hook(|req| (req.opcode() == Opcode::CopyFileRange64).then(|| copied(50)));
    assert_eq!(copy(&from, 0, &to, 0, 50).unwrap(), 50);
    let opcodes = served.model().opcodes();
    let copying = opcodes
        .iter()
        .position(|&each| each == Opcode::CopyFileRange64)
        .unwrap();
    let before = opcodes[..copying]
        .iter()
        .filter(|&&each| each == Opcode::Write);
    assert_eq!(before.count(), 2);
    drop((from, to));
    done(served, 2);
}

fn copied_pages_are_read_again(env: &Env) {
    let served = with_contents(Fs::new(env), &[1; 5000]);
    served.model().node(INNER).data = vec![3; 5000];
    served.model().node(INNER).attr.size = 5000;
    let (from, to) = two(&served);
    let mut got = vec![0; 5000];
    to.read_exact_at(&mut got, 0).unwrap();
    served.hook(|req| (req.opcode() == Opcode::CopyFileRange64).then(|| copied(100)));
    served.model().node(INNER).data[50..150].fill(1);
    assert_eq!(copy(&from, 0, &to, 50, 100).unwrap(), 100);
    to.read_exact_at(&mut got, 0).unwrap();
    assert!(
        got == served.model().node(INNER).data,
        "the contents differ"
    );
    drop((from, to));
    done(served, 2);
}
