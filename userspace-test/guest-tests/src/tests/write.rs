// SPDX-License-Identifier: GPL-2.0

//! Writing files: through the page cache, where each write reaches the daemon before it returns, and
//! past it.

use crate::{
    caller::{call, eventually, process, process_that_waits, PATIENCE},
    env::Env,
    fs::{Fs, Req},
    model::{answer, Answer, Model, Served, CONTENTS, FILE},
    sys, system,
    tests::{pipe::Pipe, tests},
};
use nix::sys::{
    resource::{setrlimit, Resource},
    signal::Signal,
};
use rawfuse::{
    abi::{self, init_flags, open_flags, write_flags, Opcode},
    Errno, InitConfig, MountOptions, Operation,
};
use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::fs::FileExt},
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    thread,
    time::Duration,
};
use zerocopy::FromBytes;

tests![
    buffered_write_on_the_wire,
    direct_write_on_the_wire,
    o_direct_write_on_the_wire,
    old_daemons_get_a_short_structure,
    without_big_writes_a_page_at_a_time,
    big_writes_are_cut_where_pages_are_not_read,
    max_write_is_the_most,
    max_pages_is_the_most,
    direct_writes_are_cut_into_requests,
    whole_pages_are_kept,
    parts_of_pages_are_read_again,
    written_pages_are_seen_by_readers,
    appending_goes_to_the_end,
    appending_direct_goes_to_the_end,
    writing_behind_the_end_makes_a_hole,
    size_grows_at_once,
    size_is_the_writer_s_while_it_writes,
    attributes_are_asked_for_after_a_write,
    short_write_is_short,
    write_that_takes_nothing,
    write_that_takes_too_much,
    error_reaches_the_writer,
    error_after_some_is_a_short_write,
    direct_short_write_is_short,
    direct_write_that_takes_too_much,
    direct_write_drops_cached_pages,
    o_direct_write_drops_cached_pages,
    memory_that_is_not_there,
    limit_on_file_size,
    o_sync_is_passed_on,
    set_user_id_bits_are_the_daemon_s_past_the_cache,
    killed_writer_leaves,
    killed_direct_writer_leaves,
    writes_are_one_at_a_time,
    parallel_direct_writes,
    parallel_direct_writes_not_behind_the_end,
    parallel_direct_writes_not_beside_the_cache,
    spliced_to_a_file,
    contents_arrive_by_many_small_writes,
];

pub(super) const PAGE: usize = 4096;

/// Bytes that are nowhere the same.
pub(super) fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_ne_bytes());
    }
    bytes.truncate(len);
    bytes
}

pub(super) fn with_contents(fs: Fs, bytes: &[u8], open_flags: u32) -> Served {
    let mut model = Model::cached();
    model.open_flags = open_flags;
    model.add(FILE, libc::S_IFREG | 0o644, bytes);
    Served::new(fs, model)
}

fn big(env: &Env) -> Fs {
    Fs::with_flags(env, init_flags::BIG_WRITES)
}

/// Offset and size of each `WRITE` so far.
pub(super) fn writes(served: &Served) -> Vec<(u64, u32)> {
    let model = served.model();
    let writes = model
        .log
        .iter()
        .filter(|asked| asked.opcode == Opcode::Write);
    writes
        .map(|asked| {
            let (arg, data) = abi::WriteIn::read_from_prefix(&asked.body).expect("the argument");
            assert_eq!(data.len(), arg.size as usize);
            (arg.offset, arg.size)
        })
        .collect()
}

pub(super) fn open_to_write(served: &Served, flags: i32) -> File {
    sys::open_with(&served.path("file"), flags).expect("open")
}

#[track_caller]
pub(super) fn done(file: File, mut served: Served) {
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

/// What the daemon has in the file.
pub(super) fn stored(served: &Served) -> Vec<u8> {
    served.model().node(FILE).data.clone()
}

/// The argument of a `WRITE`, and what is written.
#[track_caller]
fn write_of(req: &Req) -> (abi::WriteIn, Vec<u8>) {
    match req.operation() {
        Operation::Write { arg, data } => (*arg, data.to_vec()),
        other => panic!("not a WRITE: {other:?}"),
    }
}

/// A file system with the file `x`, played by the test: opened, with these flags, by a thread
/// that writes `data` at `offset` and leaves the file open. Returns the `WRITE`.
#[track_caller]
fn one_write(
    fs: &Fs,
    flags: i32,
    open_flags: u32,
    data: &'static [u8],
    offset: u64,
) -> (Req, crate::caller::Caller<io::Result<usize>>) {
    let path = fs.path("x");
    let writer = call(move || {
        let file = sys::open_with(&path, flags)?;
        let len = file.write_at(data, offset)?;
        // Left open, so that nothing follows.
        std::mem::forget(file);
        Ok(len)
    });
    let lookup = fs.expect(Opcode::Lookup);
    let mut model = Model::cached();
    model.node(FILE).attr.size = 5000;
    fs.reply(&lookup, &model.entry(FILE));
    let open = fs.expect(Opcode::Open);
    let out = abi::OpenOut {
        fh: 0x0123_4567_89ab_cdef,
        open_flags,
        ..Default::default()
    };
    fs.reply(&open, &out);
    let mut req = fs.next();
    // Whether the file has capabilities, which a write would have to take from it.
    while req.opcode() == Opcode::Getxattr {
        fs.reply_error(&req, Errno::ENOSYS);
        req = fs.next();
    }
    (req, writer)
}

/// Takes all that a `WRITE` carries.
fn take(fs: &Fs, req: &Req) {
    let (arg, _) = write_of(req);
    let out = abi::WriteOut {
        size: arg.size,
        ..Default::default()
    };
    fs.reply(req, &out);
}

fn buffered_write_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let data = b"what is written";
    let (req, writer) = one_write(&fs, libc::O_WRONLY, 0, data, 123);
    assert_eq!(
        (req.header().len as usize, req.nodeid()),
        (80 + data.len(), FILE)
    );
    let (arg, written) = write_of(&req);
    assert_eq!(written, data);
    assert_eq!(arg.fh, 0x0123_4567_89ab_cdef);
    assert_eq!((arg.offset, arg.size as usize), (123, data.len()));
    assert_eq!((arg.write_flags, arg.lock_owner, arg.padding), (0, 0, 0));
    assert_eq!(arg.flags as i32 & libc::O_ACCMODE, libc::O_WRONLY);
    take(&fs, &req);
    assert_eq!(writer.result().unwrap(), data.len());
}

fn direct_write_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let data = b"what is written";
    let (req, writer) = one_write(&fs, libc::O_RDWR, open_flags::DIRECT_IO, data, 123);
    assert_eq!(
        (req.header().len as usize, req.nodeid()),
        (80 + data.len(), FILE)
    );
    let (arg, written) = write_of(&req);
    assert_eq!(written, data);
    assert_eq!(arg.fh, 0x0123_4567_89ab_cdef);
    assert_eq!((arg.offset, arg.size as usize), (123, data.len()));
    assert_eq!(arg.write_flags, write_flags::LOCKOWNER);
    assert_ne!(arg.lock_owner, 0);
    assert_eq!(arg.padding, 0);
    assert_eq!(arg.flags as i32 & libc::O_ACCMODE, libc::O_RDWR);
    take(&fs, &req);
    assert_eq!(writer.result().unwrap(), data.len());
}

fn o_direct_write_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let data = b"what is written";
    let flags = libc::O_RDWR | libc::O_DIRECT;
    let (req, writer) = one_write(&fs, flags, 0, data, 123);
    let (arg, written) = write_of(&req);
    assert_eq!(written, data);
    assert_eq!((arg.offset, arg.size as usize), (123, data.len()));
    assert_eq!(arg.write_flags, write_flags::LOCKOWNER);
    assert_ne!(arg.lock_owner, 0);
    assert_eq!(arg.flags as i32 & libc::O_DIRECT, libc::O_DIRECT);
    take(&fs, &req);
    assert_eq!(writer.result().unwrap(), data.len());
}

fn old_daemons_get_a_short_structure(env: &Env) {
    let (channel, _mount, dir) = crate::fs::mount(env, &MountOptions::new(env.kind));
    let fs = Fs {
        channel,
        mount: Some(_mount),
        dir,
    };
    let init = fs.expect(Opcode::Init);
    let out = abi::InitOut {
        major: abi::KERNEL_VERSION,
        minor: 8,
        max_write: 65536,
        ..Default::default()
    };
    fs.reply(&init, &out);
    let path = fs.path("x");
    let writer = call(move || {
        let file = sys::open_with(&path, libc::O_WRONLY)?;
        let len = file.write_at(b"old", 0)?;
        std::mem::forget(file);
        Ok::<_, io::Error>(len)
    });
    let lookup = fs.expect(Opcode::Lookup);
    let entry = Model::cached().entry(FILE);
    let entry = zerocopy::IntoBytes::as_bytes(&entry);
    fs.reply_bytes(&lookup, &entry[..abi::EntryOut::COMPAT_SIZE]);
    let open = fs.expect(Opcode::Open);
    fs.reply(&open, &abi::OpenOut::default());
    let mut req = fs.next();
    while req.opcode() == Opcode::Getxattr {
        fs.reply_error(&req, Errno::ENOSYS);
        req = fs.next();
    }
    assert_eq!(req.opcode(), Opcode::Write);
    let body = req.request().body().to_vec();
    assert_eq!(body.len(), abi::WriteIn::COMPAT_SIZE + 3);
    assert_eq!(&body[abi::WriteIn::COMPAT_SIZE..], b"old");
    let out = abi::WriteOut {
        size: 3,
        ..Default::default()
    };
    fs.reply(&req, &out);
    assert_eq!(writer.result().unwrap(), 3);
}

fn without_big_writes_a_page_at_a_time(env: &Env) {
    let bytes = pattern(3 * PAGE + 10);
    let served = with_contents(Fs::new(env), b"", 0);
    let file = open_to_write(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&bytes, 0).unwrap(), bytes.len());
    assert_eq!(
        writes(&served),
        [(0, 4096), (4096, 4096), (8192, 4096), (12288, 10)]
    );
    assert!(stored(&served) == bytes, "the contents differ");
    done(file, served);
}

fn big_writes_are_cut_where_pages_are_not_read(env: &Env) {
    let bytes = pattern(10_000);
    let served = with_contents(big(env), b"", 0);
    let file = open_to_write(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&bytes, 100).unwrap(), bytes.len());
    // What is before it in the first page is not known.
    assert_eq!(writes(&served), [(100, 3996), (4096, 6004)]);
    assert!(stored(&served)[100..] == bytes, "the contents differ");
    done(file, served);
}

fn max_write_is_the_most(env: &Env) {
    let bytes = pattern(1 << 20);
    let config = InitConfig {
        flags: init_flags::BIG_WRITES,
        max_write: 65536,
        ..Default::default()
    };
    let served = with_contents(Fs::with(env, |options| options, &config), b"", 0);
    let file = open_to_write(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&bytes, 0).unwrap(), bytes.len());
    let expected: Vec<_> = (0..16).map(|n| (n * 65536, 65536)).collect();
    assert_eq!(writes(&served), expected);
    assert!(stored(&served) == bytes, "the contents differ");
    done(file, served);
}

fn max_pages_is_the_most(env: &Env) {
    let bytes = pattern(1 << 20);
    let config = InitConfig {
        flags: init_flags::BIG_WRITES | init_flags::MAX_PAGES,
        max_write: 1 << 20,
        max_pages: 64,
        ..Default::default()
    };
    let fs = Fs::with(env, |options| options, &config);
    let mut model = Model::cached();
    model.add(FILE, libc::S_IFREG | 0o644, b"");
    let served = Served::new(fs, model);
    let file = open_to_write(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&bytes, 0).unwrap(), bytes.len());
    let expected: Vec<_> = (0..4).map(|n| (n * 262144, 262144)).collect();
    assert_eq!(writes(&served), expected);
    assert!(stored(&served) == bytes, "the contents differ");
    done(file, served);
}

fn direct_writes_are_cut_into_requests(env: &Env) {
    let bytes = pattern(1 << 20);
    let served = with_contents(Fs::new(env), b"", open_flags::DIRECT_IO);
    let file = open_to_write(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&bytes, 0).unwrap(), bytes.len());
    let writes = writes(&served);
    assert!(writes.iter().all(|&(_, size)| size <= 131072), "{writes:?}");
    assert!(writes.len() <= 9, "{writes:?}");
    let mut next = 0;
    for (offset, size) in writes {
        assert_eq!(offset, next);
        next += u64::from(size);
    }
    assert!(stored(&served) == bytes, "the contents differ");
    done(file, served);
}

fn whole_pages_are_kept(env: &Env) {
    let bytes = pattern(2 * PAGE);
    let served = with_contents(big(env), b"", 0);
    let file = open_to_write(&served, libc::O_RDWR);
    assert_eq!(file.write_at(&bytes, 0).unwrap(), bytes.len());
    // What the daemon has does not matter any more.
    served.model().node(FILE).data.fill(0);
    let mut got = vec![0; 2 * PAGE];
    assert_eq!(file.read_at(&mut got, 0).unwrap(), 2 * PAGE);
    assert!(got == bytes, "the contents differ");
    assert_eq!(served.count(Opcode::Read), 0);
    done(file, served);
}

fn parts_of_pages_are_read_again(env: &Env) {
    let served = with_contents(big(env), &pattern(PAGE), 0);
    let file = open_to_write(&served, libc::O_RDWR);
    assert_eq!(file.write_at(b"part", 100).unwrap(), 4);
    let mut got = vec![0; PAGE];
    assert_eq!(file.read_at(&mut got, 0).unwrap(), PAGE);
    assert_eq!(served.count(Opcode::Read), 1);
    assert!(got == stored(&served), "the contents differ");
    assert_eq!(&got[100..104], b"part");
    done(file, served);
}

fn written_pages_are_seen_by_readers(env: &Env) {
    let bytes = pattern(3 * PAGE);
    let mut served = with_contents(big(env), &bytes, open_flags::KEEP_CACHE);
    let reader = sys::open(&served.path("file")).unwrap();
    let mut got = vec![0; 3 * PAGE];
    assert_eq!(reader.read_at(&mut got, 0).unwrap(), 3 * PAGE);
    let writer = open_to_write(&served, libc::O_WRONLY);
    let reads = served.count(Opcode::Read);
    assert_eq!(writer.write_at(b"over two pages", 4090).unwrap(), 14);
    assert_eq!(writes(&served), [(4090, 14)]);
    assert_eq!(reader.read_at(&mut got, 0).unwrap(), 3 * PAGE);
    assert_eq!(&got[4090..4104], b"over two pages");
    assert!(got == stored(&served), "the contents differ");
    assert_eq!(served.count(Opcode::Read), reads);
    drop((reader, writer));
    served.wait_for(Opcode::Release, 2);
    served.finish();
}

fn appending_goes_to_the_end(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS, 0);
    let mut file = open_to_write(&served, libc::O_WRONLY | libc::O_APPEND);
    file.write_all(b"more").unwrap();
    file.write_all(b"and more").unwrap();
    let end = CONTENTS.len() as u64;
    assert_eq!(writes(&served), [(end, 4), (end + 4, 8)]);
    assert_eq!(stored(&served), [CONTENTS, b"more", b"and more"].concat());
    done(file, served);
}

fn appending_direct_goes_to_the_end(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS, open_flags::DIRECT_IO);
    let mut file = open_to_write(&served, libc::O_WRONLY | libc::O_APPEND);
    file.write_all(b"more").unwrap();
    file.write_all(b"and more").unwrap();
    let end = CONTENTS.len() as u64;
    assert_eq!(writes(&served), [(end, 4), (end + 4, 8)]);
    done(file, served);
}

fn writing_behind_the_end_makes_a_hole(env: &Env) {
    let served = with_contents(big(env), CONTENTS, 0);
    let file = open_to_write(&served, libc::O_RDWR);
    let mut got = [1; 100];
    assert_eq!(file.read_at(&mut got, 0).unwrap(), CONTENTS.len());
    assert_eq!(file.write_at(b"end", 9000).unwrap(), 3);
    assert_eq!(writes(&served), [(9000, 3)]);
    let mut got = vec![1; 10_000];
    assert_eq!(file.read_at(&mut got, 0).unwrap(), 9003);
    assert_eq!(&got[..CONTENTS.len()], CONTENTS);
    assert!(got[CONTENTS.len()..9000].iter().all(|&byte| byte == 0));
    assert_eq!(&got[9000..9003], b"end");
    done(file, served);
}

fn size_grows_at_once(env: &Env) {
    let served = with_contents(Fs::new(env), b"", 0);
    let file = open_to_write(&served, libc::O_WRONLY);
    assert_eq!(file.write_at(&[7; 5000], 0).unwrap(), 5000);
    let statx = sys::statx(
        &served.path("file"),
        libc::AT_STATX_DONT_SYNC,
        libc::STATX_SIZE,
    );
    assert_eq!(statx.unwrap().stx_size, 5000);
    assert_eq!(served.count(Opcode::Getattr), 0);
    done(file, served);
}

fn size_is_the_writer_s_while_it_writes(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS, 0);
    let path = served.path("file");
    served.hook(move |req| {
        // The daemon has not got so far.
        (req.opcode() == Opcode::Write).then_some(Answer::Nothing)
    });
    let writer = {
        let file = open_to_write(&served, libc::O_WRONLY);
        call(move || {
            let len = file.write_at(&[7; 1000], 0);
            (file, len)
        })
    };
    served.wait_for(Opcode::Write, 1);
    // What is asked for now is from before the write.
    let size = sys::statx(&path, libc::AT_STATX_FORCE_SYNC, libc::STATX_SIZE);
    assert_eq!(size.unwrap().stx_size, CONTENTS.len() as u64);
    let asked = served
        .model()
        .log
        .iter()
        .rposition(|asked| asked.opcode == Opcode::Write);
    assert!(asked.is_some());
    let unique = served_unique(&served);
    let out = abi::WriteOut {
        size: 1000,
        ..Default::default()
    };
    served.channel.reply(unique, &out).unwrap();
    let (file, len) = writer.result();
    assert_eq!(len.unwrap(), 1000);
    let size = sys::statx(&path, libc::AT_STATX_DONT_SYNC, libc::STATX_SIZE);
    assert_eq!(size.unwrap().stx_size, 1000);
    served.model().hook = None;
    done(file, served);
}

/// The `unique` of the `WRITE` that waits, as the control file system of ours or the log has it.
fn served_unique(served: &Served) -> u64 {
    let model = served.model();
    let write = model
        .log
        .iter()
        .rfind(|asked| asked.opcode == Opcode::Write);
    write.expect("a WRITE").unique
}

fn attributes_are_asked_for_after_a_write(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS, 0);
    let file = open_to_write(&served, libc::O_WRONLY);
    sys::fstat(&file).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 0);
    assert_eq!(file.write_at(b"x", 0).unwrap(), 1);
    sys::fstat(&file).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 1);
    sys::fstat(&file).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 1);
    done(file, served);
}

/// Answers each `WRITE` with the next of `sizes`.
fn take_sizes(served: &Served, sizes: &'static [u32]) {
    let mut sizes = sizes.iter();
    served.hook(move |req| {
        (req.opcode() == Opcode::Write).then(|| {
            answer(&abi::WriteOut {
                size: *sizes.next().expect("no more WRITEs"),
                ..Default::default()
            })
        })
    });
}

fn short_write_is_short(env: &Env) {
    let served = with_contents(Fs::new(env), b"", 0);
    let file = open_to_write(&served, libc::O_WRONLY);
    take_sizes(&served, &[4096, 1000]);
    assert_eq!(file.write_at(&[1; 3 * PAGE], 0).unwrap(), 5096);
    let size = sys::statx(
        &served.path("file"),
        libc::AT_STATX_DONT_SYNC,
        libc::STATX_SIZE,
    );
    assert_eq!(size.unwrap().stx_size, 5096);
    done(file, served);
}

fn write_that_takes_nothing(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS, 0);
    let file = open_to_write(&served, libc::O_WRONLY);
    take_sizes(&served, &[0]);
    assert_eq!(system::errno(file.write_at(b"nothing", 0)), libc::EIO);
    let size = sys::statx(
        &served.path("file"),
        libc::AT_STATX_DONT_SYNC,
        libc::STATX_SIZE,
    );
    assert_eq!(size.unwrap().stx_size, CONTENTS.len() as u64);
    done(file, served);
}

fn write_that_takes_too_much(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS, 0);
    let file = open_to_write(&served, libc::O_WRONLY);
    take_sizes(&served, &[8, u32::MAX]);
    assert_eq!(system::errno(file.write_at(b"seven..", 0)), libc::EIO);
    assert_eq!(system::errno(file.write_at(b"seven..", 0)), libc::EIO);
    let size = sys::statx(
        &served.path("file"),
        libc::AT_STATX_DONT_SYNC,
        libc::STATX_SIZE,
    );
    assert_eq!(size.unwrap().stx_size, CONTENTS.len() as u64);
    done(file, served);
}

fn error_reaches_the_writer(env: &Env) {
    for open_flags in [0, open_flags::DIRECT_IO] {
        let served = with_contents(Fs::new(env), CONTENTS, open_flags);
        let file = open_to_write(&served, libc::O_WRONLY);
        for error in [Errno::ENOSPC, Errno::EDQUOT, Errno::EPERM, Errno::ENOSYS] {
            served.hook(move |req| (req.opcode() == Opcode::Write).then_some(Answer::Error(error)));
            assert_eq!(system::errno(file.write_at(b"data", 0)), error as i32);
        }
        done(file, served);
    }
}

fn error_after_some_is_a_short_write(env: &Env) {
    for open_flags in [0, open_flags::DIRECT_IO] {
        let config = InitConfig {
            max_write: PAGE as u32,
            ..Default::default()
        };
        let fs = Fs::with(env, |options| options, &config);
        let served = with_contents(fs, b"", open_flags);
        let file = open_to_write(&served, libc::O_WRONLY);
        let mut count = 0;
        served.hook(move |req| {
            count += usize::from(req.opcode() == Opcode::Write);
            (count == 3).then_some(Answer::Error(Errno::ENOSPC))
        });
        assert_eq!(file.write_at(&[1; 5 * PAGE], 0).unwrap(), 2 * PAGE);
        assert_eq!(served.count(Opcode::Write), 3);
        done(file, served);
    }
}

fn direct_short_write_is_short(env: &Env) {
    let config = InitConfig {
        max_write: PAGE as u32,
        ..Default::default()
    };
    let fs = Fs::with(env, |options| options, &config);
    let served = with_contents(fs, b"", open_flags::DIRECT_IO);
    let mut file = open_to_write(&served, libc::O_WRONLY);
    take_sizes(&served, &[4096, 1000, 0]);
    assert_eq!(file.write(&[1; 3 * PAGE]).unwrap(), 5096);
    assert_eq!(sys::lseek(file.as_fd(), 0, libc::SEEK_CUR).unwrap(), 5096);
    assert_eq!(file.write(&[1; 10]).unwrap(), 0);
    assert_eq!(writes(&served).last(), Some(&(5096, 10)));
    done(file, served);
}

fn direct_write_that_takes_too_much(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS, open_flags::DIRECT_IO);
    let file = open_to_write(&served, libc::O_WRONLY);
    take_sizes(&served, &[8, u32::MAX]);
    assert_eq!(system::errno(file.write_at(b"seven..", 0)), libc::EIO);
    assert_eq!(system::errno(file.write_at(b"seven..", 0)), libc::EIO);
    done(file, served);
}

/// Writes through `writer` what `reader` has in the page cache; the reader asks again then.
#[track_caller]
fn drops_cached_pages(served: Served, reader: File, writer: File) {
    let mut got = vec![0; 3 * PAGE];
    assert_eq!(reader.read_at(&mut got, 0).unwrap(), 3 * PAGE);
    let reads = served.count(Opcode::Read);
    assert_eq!(reader.read_at(&mut got, 0).unwrap(), 3 * PAGE);
    assert_eq!(served.count(Opcode::Read), reads);
    assert_eq!(writer.write_at(b"new", PAGE as u64 + 5).unwrap(), 3);
    assert_eq!(reader.read_at(&mut got, 0).unwrap(), 3 * PAGE);
    assert!(served.count(Opcode::Read) > reads);
    assert_eq!(&got[PAGE + 5..][..3], b"new");
    assert!(got == stored(&served), "the contents differ");
    drop(writer);
    served.wait_for(Opcode::Release, 1);
    let mut served = served;
    drop(reader);
    served.wait_for(Opcode::Release, 2);
    served.finish();
}

fn direct_write_drops_cached_pages(env: &Env) {
    let served = with_contents(Fs::new(env), &pattern(3 * PAGE), open_flags::KEEP_CACHE);
    let reader = sys::open(&served.path("file")).unwrap();
    served.model().open_flags = open_flags::DIRECT_IO | open_flags::KEEP_CACHE;
    let writer = open_to_write(&served, libc::O_WRONLY);
    drops_cached_pages(served, reader, writer);
}

fn o_direct_write_drops_cached_pages(env: &Env) {
    let served = with_contents(Fs::new(env), &pattern(3 * PAGE), open_flags::KEEP_CACHE);
    let reader = sys::open(&served.path("file")).unwrap();
    let writer = open_to_write(&served, libc::O_WRONLY | libc::O_DIRECT);
    drops_cached_pages(served, reader, writer);
}

fn memory_that_is_not_there(env: &Env) {
    for open_flags in [0, open_flags::DIRECT_IO] {
        let served = with_contents(Fs::new(env), b"", open_flags);
        let file = open_to_write(&served, libc::O_WRONLY);
        let nowhere = sys::write_from_nowhere(file.as_fd(), 100);
        assert_eq!(system::errno(nowhere), libc::EFAULT);
        assert_eq!(served.count(Opcode::Write), 0);
        // What comes before it is written.
        let some = sys::writev_into_nowhere(file.as_fd(), b"some", 100);
        assert_eq!(some.unwrap(), 4);
        assert_eq!(writes(&served), [(0, 4)]);
        done(file, served);
    }
}

fn limit_on_file_size(env: &Env) {
    for flags in [0, open_flags::DIRECT_IO] {
        let fs = Fs::new(env);
        let path = fs.path("file");
        let writer = process(move || {
            sys::ignore(Signal::SIGXFSZ);
            setrlimit(Resource::RLIMIT_FSIZE, 1000, 1000).expect("setrlimit");
            let file = sys::open_with(&path, libc::O_WRONLY).expect("open");
            let some = file.write_at(&[1; 100], 950).expect("some of it");
            assert_eq!(some, 50);
            system::errno(file.write_at(&[1; 100], 1000))
        });
        let served = with_contents(fs, b"", flags);
        assert_eq!(writer.code(), libc::EFBIG);
        assert_eq!(writes(&served), [(950, 50)]);
        let mut served = served;
        served.wait_for(Opcode::Release, 1);
        served.finish();
    }
}

fn o_sync_is_passed_on(env: &Env) {
    for open_flags in [0, open_flags::DIRECT_IO] {
        let served = with_contents(Fs::new(env), b"", open_flags);
        let file = open_to_write(&served, libc::O_WRONLY | libc::O_DSYNC);
        assert_eq!(file.write_at(b"data", 0).unwrap(), 4);
        let model = served.model();
        let write = model.log.iter().find(|asked| asked.opcode == Opcode::Write);
        let (arg, _) = abi::WriteIn::read_from_prefix(&write.unwrap().body).unwrap();
        assert_eq!(arg.flags as i32 & libc::O_DSYNC, libc::O_DSYNC);
        drop(model);
        done(file, served);
    }
}

fn set_user_id_bits_are_the_daemon_s_past_the_cache(env: &Env) {
    let fs = Fs::with_option(env, "allow_other");
    let path = fs.path("file");
    let writer = process(move || {
        nix::unistd::setuid(nix::unistd::Uid::from_raw(1000)).expect("setuid");
        let file = sys::open_with(&path, libc::O_WRONLY).expect("open");
        i32::from(file.write_at(b"data", 0).expect("write") != 4)
    });
    let mut served = with_contents(fs, b"", open_flags::DIRECT_IO);
    assert_eq!(writer.code(), 0);
    let model = served.model();
    let write = model.log.iter().find(|asked| asked.opcode == Opcode::Write);
    let (arg, _) = abi::WriteIn::read_from_prefix(&write.unwrap().body).unwrap();
    assert_eq!(
        arg.write_flags,
        write_flags::LOCKOWNER | write_flags::KILL_SUIDGID
    );
    drop(model);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

/// A writer is killed while the daemon has its `WRITE`: ours lets it go, Linux keeps it until the
/// reply. The reply is taken in both.
fn killed(env: &Env, open_flags: u32) {
    let fs = Fs::new(env);
    let path = fs.path("file");
    let (writer, start) = process_that_waits(move || {
        let file = sys::open_with(&path, libc::O_WRONLY).expect("open");
        system::errno(file.write_at(&[1; 100], 0))
    });
    let mut served = with_contents(fs, CONTENTS, open_flags);
    served.hook(|req| (req.opcode() == Opcode::Write).then_some(Answer::Nothing));
    start.now();
    served.wait_for(Opcode::Write, 1);
    let unique = served_unique(&served);
    writer.signal(Signal::SIGKILL);
    let limit = match env.is_rust() {
        true => PATIENCE,
        false => Duration::from_millis(500),
    };
    assert_eq!(writer.ended_within(limit).is_some(), env.is_rust());
    served.model().hook = None;
    served.model().node(FILE).attr.size = 100;
    let out = abi::WriteOut {
        size: 100,
        ..Default::default()
    };
    served.channel.reply(unique, &out).unwrap();
    // What it has changed is asked for.
    eventually("the size that the write has made", || {
        sys::stat(&served.path("file")).unwrap().st_size == 100
    });
    served.wait_for(Opcode::Release, 1);
    drop(writer);
    served.finish();
}

fn killed_writer_leaves(env: &Env) {
    killed(env, 0);
}

fn killed_direct_writer_leaves(env: &Env) {
    killed(env, open_flags::DIRECT_IO);
}

/// That of three threads' writes, 100 bytes each from `offset` on, the daemon has `expected` at once.
#[track_caller]
fn assert_at_once(expected: usize, served: &Served, file: &File, offset: u64) {
    let waiting = Arc::new(AtomicUsize::new(0));
    let seen = waiting.clone();
    served.hook(move |req| {
        (req.opcode() == Opcode::Write).then(|| {
            seen.fetch_add(1, Ordering::SeqCst);
            Answer::Nothing
        })
    });
    served.clear_log();
    let writers: Vec<_> = (0..3)
        .map(|n| {
            let file = file.try_clone().unwrap();
            call(move || file.write_at(&[n; 100], offset + 100 * u64::from(n)))
        })
        .collect();
    eventually("the WRITEs", || waiting.load(Ordering::SeqCst) >= expected);
    thread::sleep(Duration::from_millis(300));
    assert_eq!(waiting.load(Ordering::SeqCst), expected);
    // They are answered one after the other now.
    for answered in 0..3 {
        eventually("a WRITE", || waiting.load(Ordering::SeqCst) > answered);
        let out = abi::WriteOut {
            size: 100,
            ..Default::default()
        };
        let model = served.model();
        let mut writes = model
            .log
            .iter()
            .filter(|asked| asked.opcode == Opcode::Write);
        let unique = writes.nth(answered).expect("a WRITE").unique;
        served.channel.reply(unique, &out).unwrap();
    }
    for writer in writers {
        assert_eq!(writer.result().unwrap(), 100);
    }
    served.model().hook = None;
}

fn writes_are_one_at_a_time(env: &Env) {
    for open_flags in [0, open_flags::DIRECT_IO, open_flags::PARALLEL_DIRECT_WRITES] {
        let served = with_contents(Fs::new(env), &[0; 1000], open_flags);
        let file = open_to_write(&served, libc::O_WRONLY);
        assert_at_once(1, &served, &file, 0);
        done(file, served);
    }
}

fn parallel_direct_writes(env: &Env) {
    let open_flags = open_flags::DIRECT_IO | open_flags::PARALLEL_DIRECT_WRITES;
    let served = with_contents(Fs::new(env), &[0; 1000], open_flags);
    let file = open_to_write(&served, libc::O_WRONLY);
    assert_at_once(3, &served, &file, 0);
    done(file, served);
}

fn parallel_direct_writes_not_behind_the_end(env: &Env) {
    let open_flags = open_flags::DIRECT_IO | open_flags::PARALLEL_DIRECT_WRITES;
    let served = with_contents(Fs::new(env), &[0; 1000], open_flags);
    let file = open_to_write(&served, libc::O_WRONLY);
    assert_at_once(1, &served, &file, 950);
    done(file, served);
}

fn parallel_direct_writes_not_beside_the_cache(env: &Env) {
    let served = with_contents(Fs::new(env), &[0; 1000], 0);
    let reader = sys::open(&served.path("file")).unwrap();
    served.model().open_flags = open_flags::DIRECT_IO | open_flags::PARALLEL_DIRECT_WRITES;
    let file = open_to_write(&served, libc::O_WRONLY);
    assert_at_once(1, &served, &file, 0);
    drop(reader);
    served.wait_for(Opcode::Release, 1);
    // Once nobody uses the cache any more they are.
    assert_at_once(3, &served, &file, 0);
    let mut served = served;
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn spliced_to_a_file(env: &Env) {
    for open_flags in [0, open_flags::DIRECT_IO] {
        let served = with_contents(big(env), b"", open_flags);
        let file = open_to_write(&served, libc::O_WRONLY);
        let bytes = pattern(30_000);
        let pipe = Pipe::new();
        pipe.put(&bytes);
        let mut left = bytes.len();
        while left > 0 {
            left -= pipe.splice_to(file.as_fd(), left, 0).unwrap();
        }
        assert!(stored(&served) == bytes, "the contents differ");
        done(file, served);
    }
}

fn contents_arrive_by_many_small_writes(env: &Env) {
    let bytes = pattern(50_000);
    let served = with_contents(big(env), b"", 0);
    let mut file = open_to_write(&served, libc::O_RDWR);
    for piece in bytes.chunks(777) {
        file.write_all(piece).unwrap();
    }
    assert!(stored(&served) == bytes, "the contents differ");
    let mut got = vec![0; 50_000];
    file.read_exact_at(&mut got, 0).unwrap();
    assert!(got == bytes, "the contents read differ");
    done(file, served);
}
