// SPDX-License-Identifier: GPL-2.0

//! `WRITEBACK_CACHE`: what is written stays in the page cache until somebody wants it kept, and what
//! the kernel knows of size and times counts. And `FSYNC`, `FLUSH` and `FSYNCDIR`.

use crate::{
    caller::{call, eventually},
    env::Env,
    fs::Fs,
    model::{answer, args, Answer, Model, Served, CONTENTS, DIR, FILE},
    sys, system,
    tests::tests,
};
use nix::unistd::ftruncate;
use rawfuse::{
    abi::{self, fattr, fsync_flags, init_flags, open_flags, write_flags, Opcode},
    Errno,
};
use std::{
    fs::File,
    io::{self, Write},
    os::{fd::IntoRawFd, unix::fs::FileExt},
    thread,
    time::Duration,
};

tests![
    fsync_is_on_the_wire,
    fdatasync_says_so,
    fsync_enosys_is_remembered,
    fsync_error_reaches_the_caller,
    fsyncdir_is_on_the_wire,
    fsyncdir_enosys_is_remembered,
    written_stays_until_fsync,
    written_goes_out_when_closed,
    close_tells_of_an_error,
    noflush_files_are_flushed_all_the_same,
    fsync_tells_of_an_error_once,
    part_of_a_page_is_read_first,
    page_behind_the_end_is_not_read,
    read_that_fails_fails_the_write,
    large_writes_arrive,
    small_writes_are_gathered,
    read_back_from_the_cache,
    appending_goes_to_the_end,
    size_and_times_are_the_kernel_s,
    times_are_sent_before_fsync,
    truncation_cuts_what_is_dirty,
    truncation_waits_for_what_is_under_way,
    open_with_o_trunc_drops_what_is_dirty,
    direct_reader_sees_what_is_dirty,
    o_direct_write_goes_out_at_once,
    short_read_is_a_hole,
    writes_in_many_places,
    abort_ends_writing_back,
    unmount_after_all_was_written,
    without_it_writes_go_out_at_once,
];

const PAGE: usize = 4096;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + n / 251) as u8).collect()
}

/// With `WRITEBACK_CACHE`, and `contents` in the file.
fn with_cache(env: &Env, contents: &[u8]) -> Served {
    let flags = init_flags::WRITEBACK_CACHE | init_flags::BIG_WRITES | init_flags::ATOMIC_O_TRUNC;
    served(Fs::with_flags(env, flags), contents)
}

fn served(fs: Fs, contents: &[u8]) -> Served {
    let mut model = Model::cached();
    model.open_flags = open_flags::KEEP_CACHE;
    model.add(FILE, libc::S_IFREG | 0o644, contents);
    Served::new(fs, model)
}

fn open(served: &Served, flags: i32) -> File {
    sys::open_with(&served.path("file"), flags).expect("open")
}

/// Offset and size of each `WRITE` so far.
fn writes(served: &Served) -> Vec<(u64, u32)> {
    args::<abi::WriteIn>(served, Opcode::Write)
        .iter()
        .map(|arg| (arg.offset, arg.size))
        .collect()
}

/// The operations so far that have to do with writing.
fn order(served: &Served) -> Vec<Opcode> {
    let mut opcodes = served.model().opcodes();
    opcodes.retain(|opcode| {
        matches!(
            opcode,
            Opcode::Write | Opcode::Setattr | Opcode::Fsync | Opcode::Flush | Opcode::Release
        )
    });
    opcodes
}

/// The `unique` of the last `WRITE`.
fn last_write(served: &Served) -> u64 {
    let model = served.model();
    let mut writes = model.log.iter().rev();
    let write = writes.find(|asked| asked.opcode == Opcode::Write);
    write.expect("a WRITE").unique
}

#[track_caller]
fn done(file: File, mut served: Served) {
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn stored(served: &Served) -> Vec<u8> {
    served.model().node(FILE).data.clone()
}

/// Answers requests for `opcode` with `error`.
fn fail(served: &Served, opcode: Opcode, error: Errno) {
    served.hook(move |req| (req.opcode() == opcode).then_some(Answer::Error(error)));
}

/// Answers requests for `opcode` as done.
fn allow(served: &Served, opcode: Opcode) {
    served.hook(move |req| (req.opcode() == opcode).then(|| Answer::Bytes(Vec::new())));
}

fn fsync_is_on_the_wire(env: &Env) {
    let served = served(Fs::new(env), CONTENTS);
    allow(&served, Opcode::Fsync);
    let file = open(&served, libc::O_RDWR);
    file.sync_all().unwrap();
    let [arg] = args::<abi::FsyncIn>(&served, Opcode::Fsync)[..] else {
        panic!("not one FSYNC");
    };
    assert_eq!((arg.fh, arg.fsync_flags, arg.padding), (FILE + 1000, 0, 0));
    done(file, served);
}

fn fdatasync_says_so(env: &Env) {
    let served = served(Fs::new(env), CONTENTS);
    allow(&served, Opcode::Fsync);
    let file = open(&served, libc::O_RDWR);
    file.sync_data().unwrap();
    let [arg] = args::<abi::FsyncIn>(&served, Opcode::Fsync)[..] else {
        panic!("not one FSYNC");
    };
    assert_eq!(arg.fsync_flags, fsync_flags::FDATASYNC);
    done(file, served);
}

fn fsync_enosys_is_remembered(env: &Env) {
    let served = served(Fs::new(env), CONTENTS);
    fail(&served, Opcode::Fsync, Errno::ENOSYS);
    let file = open(&served, libc::O_RDWR);
    file.sync_all().unwrap();
    file.sync_all().unwrap();
    assert_eq!(served.count(Opcode::Fsync), 1);
    done(file, served);
}

fn fsync_error_reaches_the_caller(env: &Env) {
    let served = served(Fs::new(env), CONTENTS);
    fail(&served, Opcode::Fsync, Errno::EIO);
    let file = open(&served, libc::O_RDWR);
    assert_eq!(system::errno(file.sync_all()), libc::EIO);
    assert_eq!(system::errno(file.sync_all()), libc::EIO);
    assert_eq!(served.count(Opcode::Fsync), 2);
    done(file, served);
}

fn open_dir(served: &Served) -> File {
    sys::open_with(&served.path("dir"), libc::O_RDONLY | libc::O_DIRECTORY).expect("opendir")
}

fn fsyncdir_is_on_the_wire(env: &Env) {
    let mut served = served(Fs::new(env), CONTENTS);
    allow(&served, Opcode::Fsyncdir);
    let dir = open_dir(&served);
    dir.sync_all().unwrap();
    let [arg] = args::<abi::FsyncIn>(&served, Opcode::Fsyncdir)[..] else {
        panic!("not one FSYNCDIR");
    };
    assert_eq!((arg.fh, arg.fsync_flags), (DIR + 2000, 0));
    dir.sync_data().unwrap();
    let flags = args::<abi::FsyncIn>(&served, Opcode::Fsyncdir)[1].fsync_flags;
    assert_eq!(flags, fsync_flags::FDATASYNC);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn fsyncdir_enosys_is_remembered(env: &Env) {
    let mut served = served(Fs::new(env), CONTENTS);
    fail(&served, Opcode::Fsyncdir, Errno::ENOSYS);
    let dir = open_dir(&served);
    dir.sync_all().unwrap();
    dir.sync_all().unwrap();
    assert_eq!(served.count(Opcode::Fsyncdir), 1);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn written_stays_until_fsync(env: &Env) {
    let served = with_cache(env, b"");
    let file = open(&served, libc::O_RDWR);
    assert_eq!(file.write_at(&[7; 100], 0).unwrap(), 100);
    assert_eq!(served.count(Opcode::Write), 0);
    file.sync_all().unwrap();
    let [arg] = args::<abi::WriteIn>(&served, Opcode::Write)[..] else {
        panic!("not one WRITE");
    };
    assert_eq!((arg.fh, arg.offset, arg.size), (FILE + 1000, 0, 100));
    assert_eq!((arg.write_flags, arg.lock_owner), (write_flags::CACHE, 0));
    assert_eq!(stored(&served), [7; 100]);
    // Nothing is left to be written.
    file.sync_all().unwrap();
    assert_eq!(served.count(Opcode::Write), 1);
    done(file, served);
}

fn written_goes_out_when_closed(env: &Env) {
    let mut served = with_cache(env, b"");
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 100], 0).unwrap(), 100);
    drop(file);
    assert_eq!(stored(&served), [7; 100]);
    served.wait_for(Opcode::Release, 1);
    let expected = [
        Opcode::Write,
        Opcode::Setattr,
        Opcode::Flush,
        Opcode::Release,
    ];
    assert_eq!(order(&served), expected);
    served.finish();
}

#[track_caller]
fn close(file: File) -> io::Result<()> {
    nix::unistd::close(file.into_raw_fd()).map_err(io::Error::from)
}

fn close_tells_of_an_error(env: &Env) {
    let mut served = with_cache(env, b"");
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 100], 0).unwrap(), 100);
    fail(&served, Opcode::Write, Errno::EDQUOT);
    let errno = system::errno(close(file));
    // What has room for one of two errors keeps ENOSPC apart from the others.
    assert_eq!(errno, libc::EIO);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn noflush_files_are_flushed_all_the_same(env: &Env) {
    let mut served = with_cache(env, b"");
    served.model().open_flags = open_flags::NOFLUSH;
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 100], 0).unwrap(), 100);
    drop(file);
    assert_eq!(stored(&served), [7; 100]);
    served.wait_for(Opcode::Release, 1);
    assert_eq!(served.count(Opcode::Flush), 1);
    served.finish();
}

fn fsync_tells_of_an_error_once(env: &Env) {
    let served = with_cache(env, b"");
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 100], 0).unwrap(), 100);
    fail(&served, Opcode::Write, Errno::ENOSPC);
    assert_eq!(system::errno(file.sync_all()), libc::ENOSPC);
    allow(&served, Opcode::Fsync);
    file.sync_all().unwrap();
    assert_eq!(served.count(Opcode::Write), 1);
    done(file, served);
}

fn part_of_a_page_is_read_first(env: &Env) {
    let bytes = pattern(3 * PAGE);
    let served = with_cache(env, &bytes);
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(b"new", PAGE as u64 + 5).unwrap(), 3);
    let reads: Vec<_> = args::<abi::ReadIn>(&served, Opcode::Read)
        .iter()
        .map(|arg| (arg.offset, arg.size))
        .collect();
    assert_eq!(reads, [(4096, 4096)]);
    file.sync_all().unwrap();
    assert_eq!(writes(&served), [(4096, 4096)]);
    let mut expected = bytes;
    expected[PAGE + 5..][..3].copy_from_slice(b"new");
    assert!(stored(&served) == expected, "the contents differ");
    done(file, served);
}

fn page_behind_the_end_is_not_read(env: &Env) {
    let served = with_cache(env, CONTENTS);
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(b"far out", 9000).unwrap(), 7);
    assert_eq!(served.count(Opcode::Read), 0);
    file.sync_all().unwrap();
    assert_eq!(writes(&served), [(8192, 815)]);
    let stored = stored(&served);
    assert_eq!(&stored[..CONTENTS.len()], CONTENTS);
    assert!(stored[CONTENTS.len()..9000].iter().all(|&byte| byte == 0));
    assert_eq!(&stored[9000..], b"far out");
    done(file, served);
}

fn read_that_fails_fails_the_write(env: &Env) {
    let served = with_cache(env, &pattern(PAGE));
    let file = open(&served, libc::O_WRONLY);
    fail(&served, Opcode::Read, Errno::EPERM);
    assert_eq!(system::errno(file.write_at(b"new", 5)), libc::EPERM);
    file.sync_all().unwrap();
    assert_eq!(served.count(Opcode::Write), 0);
    done(file, served);
}

fn large_writes_arrive(env: &Env) {
    let bytes = pattern((3 << 20) + 1234);
    let served = with_cache(env, b"");
    let mut file = open(&served, libc::O_WRONLY);
    file.write_all(&bytes).unwrap();
    file.sync_all().unwrap();
    assert!(stored(&served) == bytes, "the contents differ");
    assert!(writes(&served).iter().all(|&(_, size)| size <= 131072));
    let flags = args::<abi::WriteIn>(&served, Opcode::Write);
    assert!(flags
        .iter()
        .all(|arg| arg.write_flags == write_flags::CACHE));
    done(file, served);
}

fn small_writes_are_gathered(env: &Env) {
    let bytes = pattern(64 * 1024);
    let served = with_cache(env, b"");
    let mut file = open(&served, libc::O_WRONLY);
    for piece in bytes.chunks(100) {
        file.write_all(piece).unwrap();
    }
    assert_eq!(served.count(Opcode::Write), 0);
    file.sync_all().unwrap();
    assert_eq!(writes(&served), [(0, 65536)]);
    assert!(stored(&served) == bytes, "the contents differ");
    done(file, served);
}

fn read_back_from_the_cache(env: &Env) {
    let bytes = pattern(3 * PAGE);
    let served = with_cache(env, b"");
    let file = open(&served, libc::O_RDWR);
    file.write_all_at(&bytes, 0).unwrap();
    let mut got = vec![0; 3 * PAGE];
    file.read_exact_at(&mut got, 0).unwrap();
    assert!(got == bytes, "the contents differ");
    assert_eq!(
        (served.count(Opcode::Read), served.count(Opcode::Write)),
        (0, 0)
    );
    done(file, served);
}

fn appending_goes_to_the_end(env: &Env) {
    let served = with_cache(env, CONTENTS);
    let mut file = open(&served, libc::O_WRONLY | libc::O_APPEND);
    file.write_all(b"more").unwrap();
    file.write_all(b"and more").unwrap();
    assert_eq!(served.count(Opcode::Write), 0);
    file.sync_all().unwrap();
    assert_eq!(stored(&served), [CONTENTS, b"more", b"and more"].concat());
    done(file, served);
}

fn size_and_times_are_the_kernel_s(env: &Env) {
    let served = with_cache(env, CONTENTS);
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 1000], 0).unwrap(), 1000);
    // The daemon is asked, and knows of nothing.
    let mask = libc::STATX_SIZE | libc::STATX_MTIME | libc::STATX_CTIME;
    let asked = sys::statx(&served.path("file"), libc::AT_STATX_FORCE_SYNC, mask).unwrap();
    assert_eq!(asked.stx_size, 1000);
    assert!(asked.stx_mtime.tv_sec > 1_000_000, "the time of the write");
    assert_eq!(asked.stx_mtime.tv_sec, asked.stx_ctime.tv_sec);
    assert!(served.count(Opcode::Getattr) > 0);
    assert_eq!(served.count(Opcode::Write), 0);
    done(file, served);
}

fn times_are_sent_before_fsync(env: &Env) {
    let served = with_cache(env, CONTENTS);
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 10], 0).unwrap(), 10);
    let mtime = sys::fstat(&file).unwrap().st_mtime;
    file.sync_all().unwrap();
    assert_eq!(
        order(&served),
        [Opcode::Write, Opcode::Setattr, Opcode::Fsync]
    );
    let [arg] = args::<abi::SetattrIn>(&served, Opcode::Setattr)[..] else {
        panic!("not one SETATTR");
    };
    assert_eq!(arg.valid, fattr::MTIME | fattr::CTIME | fattr::FH);
    assert_eq!(arg.fh, FILE + 1000);
    assert_eq!((arg.mtime as i64, arg.ctime as i64), (mtime, mtime));
    done(file, served);
}

fn truncation_cuts_what_is_dirty(env: &Env) {
    let served = with_cache(env, b"");
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 3 * PAGE], 0).unwrap(), 3 * PAGE);
    ftruncate(&file, 100).unwrap();
    file.sync_all().unwrap();
    assert_eq!(writes(&served), [(0, 100)]);
    assert_eq!(stored(&served), [7; 100]);
    done(file, served);
}

fn truncation_waits_for_what_is_under_way(env: &Env) {
    let served = with_cache(env, b"");
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 3 * PAGE], 0).unwrap(), 3 * PAGE);
    served.hook(|req| (req.opcode() == Opcode::Write).then_some(Answer::Nothing));
    let syncer = {
        let file = file.try_clone().unwrap();
        call(move || file.sync_data())
    };
    served.wait_for(Opcode::Write, 1);
    let truncater = {
        let path = served.path("file");
        call(move || nix::unistd::truncate(&path, 100))
    };
    thread::sleep(Duration::from_millis(300));
    assert_eq!(served.count(Opcode::Setattr), 0);
    let unique = last_write(&served);
    let out = abi::WriteOut {
        size: 3 * PAGE as u32,
        ..Default::default()
    };
    served.channel.reply(unique, &out).unwrap();
    truncater.result().unwrap();
    syncer.result().unwrap();
    assert_eq!(served.count(Opcode::Write), 1);
    assert!(served.count(Opcode::Setattr) >= 1);
    served.model().hook = None;
    done(file, served);
}

fn open_with_o_trunc_drops_what_is_dirty(env: &Env) {
    let mut served = with_cache(env, b"");
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 3 * PAGE], 0).unwrap(), 3 * PAGE);
    let other = open(&served, libc::O_WRONLY | libc::O_TRUNC);
    file.sync_all().unwrap();
    assert_eq!(served.count(Opcode::Write), 0);
    assert_eq!(sys::fstat(&file).unwrap().st_size, 0);
    drop((file, other));
    served.wait_for(Opcode::Release, 2);
    served.finish();
}

fn direct_reader_sees_what_is_dirty(env: &Env) {
    let mut served = with_cache(env, b"");
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(b"what is dirty", 0).unwrap(), 13);
    served.model().open_flags = open_flags::DIRECT_IO;
    let reader = open(&served, libc::O_RDONLY);
    let mut got = [0; 100];
    assert_eq!(reader.read_at(&mut got, 0).unwrap(), 13);
    assert_eq!(&got[..13], b"what is dirty");
    assert_eq!(writes(&served), [(0, 13)]);
    drop((file, reader));
    served.wait_for(Opcode::Release, 2);
    served.finish();
}

fn o_direct_write_goes_out_at_once(env: &Env) {
    let mut served = with_cache(env, &pattern(2 * PAGE));
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(b"dirty", 0).unwrap(), 5);
    let direct = open(&served, libc::O_WRONLY | libc::O_DIRECT);
    assert_eq!(direct.write_at(b"direct", 3).unwrap(), 6);
    // What was dirty went first.
    assert_eq!(writes(&served), [(0, 4096), (3, 6)]);
    assert_eq!(&stored(&served)[..9], b"dirdirect");
    drop((file, direct));
    served.wait_for(Opcode::Release, 2);
    served.finish();
}

fn short_read_is_a_hole(env: &Env) {
    let served = with_cache(env, CONTENTS);
    let file = open(&served, libc::O_RDWR);
    // The kernel knows of 5000 bytes, the daemon of fewer.
    assert_eq!(file.write_at(b"end", 4997).unwrap(), 3);
    let mut got = vec![1; 6000];
    assert_eq!(file.read_at(&mut got, 0).unwrap(), 5000);
    assert_eq!(&got[..CONTENTS.len()], CONTENTS);
    assert!(got[CONTENTS.len()..4997].iter().all(|&byte| byte == 0));
    assert_eq!(&got[4997..5000], b"end");
    assert_eq!(sys::fstat(&file).unwrap().st_size, 5000);
    done(file, served);
}

fn writes_in_many_places(env: &Env) {
    let mut expected = pattern(40 * PAGE);
    let served = with_cache(env, &expected);
    let file = open(&served, libc::O_RDWR);
    for n in (0..40).step_by(3) {
        let (start, len) = (n * PAGE + n * 50, 1000 + n * 10);
        file.write_all_at(&vec![n as u8; len], start as u64)
            .unwrap();
        expected[start..start + len].fill(n as u8);
    }
    file.sync_all().unwrap();
    assert!(stored(&served) == expected, "the contents differ");
    let mut got = vec![0; 40 * PAGE];
    file.read_exact_at(&mut got, 0).unwrap();
    assert!(got == expected, "the contents read differ");
    done(file, served);
}

fn abort_ends_writing_back(env: &Env) {
    let mut served = with_cache(env, b"");
    let file = open(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 3 * PAGE], 0).unwrap(), 3 * PAGE);
    served.hook(|req| (req.opcode() == Opcode::Write).then_some(Answer::Nothing));
    let syncer = {
        let file = file.try_clone().unwrap();
        call(move || file.sync_all())
    };
    served.wait_for(Opcode::Write, 1);
    std::fs::write(served.control(env).join("abort"), "1").unwrap();
    let errno = system::errno(syncer.result());
    assert!(
        matches!(errno, libc::ECONNABORTED | libc::ENOTCONN | libc::EIO),
        "{errno}"
    );
    drop(file);
    served.finish();
}

fn unmount_after_all_was_written(env: &Env) {
    let bytes = pattern(1 << 20);
    let mut served = with_cache(env, b"");
    let file = open(&served, libc::O_WRONLY);
    file.write_all_at(&bytes, 0).unwrap();
    drop(file);
    eventually("RELEASE", || served.count(Opcode::Release) == 1);
    served.finish();
    assert!(stored(&served) == bytes, "the contents differ");
}

fn without_it_writes_go_out_at_once(env: &Env) {
    let served = served(Fs::new(env), b"");
    let file = open(&served, libc::O_WRONLY);
    served.hook(|req| {
        (req.opcode() == Opcode::Write).then(|| {
            answer(&abi::WriteOut {
                size: 5,
                ..Default::default()
            })
        })
    });
    assert_eq!(file.write_at(b"bytes", 0).unwrap(), 5);
    assert_eq!(served.count(Opcode::Write), 1);
    file.sync_all().unwrap();
    assert_eq!(order(&served), [Opcode::Write, Opcode::Fsync]);
    done(file, served);
}
