// SPDX-License-Identifier: GPL-2.0

//! Reading and writing past the page cache without waiting (`FUSE_ASYNC_DIO`).

use crate::{
    aio::{Aio, Place, Ring, Way},
    caller::{call, call_on, eventually, process_that_waits, Caller, PATIENCE},
    env::Env,
    fs::Fs,
    model::{args, Answer, Served, FILE},
    sys::{self, Map},
    system,
    tests::{
        tests,
        write::{pattern, stored, with_contents, PAGE},
    },
};
use nix::sys::signal::Signal;
use rawfuse::{
    abi::{
        fattr, init_flags, open_flags, read_flags, write_flags, Opcode, ReadIn, SetattrIn, WriteIn,
        WriteOut,
    },
    Errno, InitConfig,
};
use std::{fs::File, io, mem::forget, os::unix::fs::FileExt, sync::Arc, time::Duration};

tests![
    reads_are_under_way_at_once,
    writes_are_under_way_at_once,
    waits_without_the_flag,
    those_who_wait_ask_at_once,
    those_who_wait_ask_in_turn_without_the_flag,
    direct_io_files_ask_at_once_for_those_who_do_not_wait,
    reads_are_cut_off_at_the_end,
    nothing_is_read_behind_the_end,
    growing_writes_are_waited_for,
    failed_growth_is_taken_back,
    first_error_counts,
    shortest_read_counts,
    short_writes_fail,
    memory_that_ends_early,
    memory_that_is_not_there,
    memory_of_a_file_is_dirty_afterwards,
    no_more_than_the_background_takes,
    attributes_are_asked_for_after_a_write,
    write_drops_cached_pages_at_its_end,
    daemon_dies,
    answers_of_a_successor,
    killed_reader_leaves,
    killed_writer_leaves,
    submitter_exits,
    by_ring,
    by_ring_in_registered_memory,
    ring_goes_while_it_reads,
    many_at_once => 60,
];

/// How long nothing must happen, to be sure that it does not.
const SHORT: Duration = Duration::from_millis(300);
/// What one request takes.
const CHUNK: usize = 32 * PAGE;
/// The flag, and those that make writes large.
const FLAGS: u64 = init_flags::ASYNC_DIO | init_flags::BIG_WRITES;

/// A file system that is written to by requests for up to `max_write` bytes.
fn mounted(env: &Env, flags: u64, max_write: usize) -> Fs {
    let config = InitConfig {
        flags,
        max_write: max_write as u32,
        ..Default::default()
    };
    Fs::with(env, |options| options, &config)
}

/// A file system that nobody waits for, and its file.
fn serve(env: &Env, flags: u64, open_flags: u32, bytes: &[u8]) -> (Served, File) {
    let fs = mounted(env, flags, CHUNK);
    let served = with_contents(fs, bytes, open_flags);
    let direct = match open_flags & open_flags::DIRECT_IO {
        0 => libc::O_DIRECT,
        _ => 0,
    };
    let file = sys::open_with(&served.path("file"), libc::O_RDWR | direct).expect("open");
    served.clear_log();
    (served, file)
}

fn finish(mut served: Served, file: File) {
    served.model().hook = None;
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

/// Leaves requests for `opcode` unanswered, for now.
fn hold(served: &Served, opcode: Opcode) {
    served.hook(move |req| (req.opcode() == opcode).then_some(Answer::Nothing));
}

/// The `unique`s of the requests for `opcode` so far.
fn uniques(served: &Served, opcode: Opcode) -> Vec<u64> {
    let model = served.model();
    let asked = model.log.iter().filter(|asked| asked.opcode == opcode);
    asked.map(|asked| asked.unique).collect()
}

/// Where and how much each READ so far is to read.
fn reads(served: &Served) -> Vec<(u64, u32)> {
    let reads = args::<ReadIn>(served, Opcode::Read);
    reads.iter().map(|arg| (arg.offset, arg.size)).collect()
}

/// The same for WRITEs.
fn writes(served: &Served) -> Vec<(u64, u32)> {
    let writes = args::<WriteIn>(served, Opcode::Write);
    writes.iter().map(|arg| (arg.offset, arg.size)).collect()
}

/// Answers the READ of that number with up to `most` bytes of the file.
#[track_caller]
fn answer_read(served: &Served, number: usize, most: usize) {
    let unique = uniques(served, Opcode::Read)[number];
    let (offset, size) = reads(served)[number];
    let data = stored(served);
    let start = (offset as usize).min(data.len());
    let end = (start + (size as usize).min(most)).min(data.len());
    served
        .channel
        .reply_bytes(unique, &[&data[start..end]])
        .expect("the reply");
}

/// Answers the WRITE of that number: `size` bytes were written.
#[track_caller]
fn answer_write(served: &Served, number: usize, size: u32) {
    let unique = uniques(served, Opcode::Write)[number];
    let out = WriteOut {
        size,
        ..Default::default()
    };
    served.channel.reply(unique, &out).expect("the reply");
}

#[track_caller]
fn answer_error(served: &Served, opcode: Opcode, number: usize, error: Errno) {
    let unique = uniques(served, opcode)[number];
    served
        .channel
        .reply_error(unique, error)
        .expect("the reply");
}

/// Memory for `len` bytes.
fn memory(len: usize) -> Arc<Map> {
    Arc::new(Map::anonymous(len, 0))
}

/// Memory with these bytes, which are whole pages.
fn memory_with(bytes: &[u8]) -> Arc<Map> {
    let map = memory(bytes.len());
    map.set(0, bytes);
    map
}

/// Has `action` use `len` bytes of whole pages.
fn with_pages<R>(len: usize, action: impl FnOnce(&mut [u8]) -> R) -> R {
    let mut bytes = vec![1; len + PAGE];
    let start = bytes.as_ptr().align_offset(PAGE);
    action(&mut bytes[start..start + len])
}

#[track_caller]
fn ended(aio: &Aio) -> i64 {
    let (tag, result) = aio.ended_within(PATIENCE).expect("an end");
    assert_eq!(tag, 7);
    result
}

/// Begins to read or write all of `map`, from the start of the file.
#[track_caller]
fn submit(aio: &mut Aio, file: &File, way: Way, map: &Arc<Map>) {
    aio.submit(7, file, way, &Place::all(map), 0)
        .expect("io_submit");
}

fn reads_are_under_way_at_once(env: &Env) {
    let bytes = pattern(3 * CHUNK);
    let (served, file) = serve(env, FLAGS, 0, &bytes);
    hold(&served, Opcode::Read);
    let (mut aio, map) = (Aio::new(), memory(3 * CHUNK));
    submit(&mut aio, &file, Way::Read, &map);
    served.wait_for(Opcode::Read, 3);
    let all = args::<ReadIn>(&served, Opcode::Read);
    for (number, arg) in all.iter().enumerate() {
        assert_eq!(arg.offset, (number * CHUNK) as u64);
        assert_eq!(arg.size as usize, CHUNK);
        assert_eq!(
            (arg.fh, arg.read_flags),
            (FILE + 1000, read_flags::LOCKOWNER)
        );
        assert_ne!(arg.lock_owner, 0);
    }
    for number in [2, 0, 1] {
        assert_eq!(aio.ended_within(Duration::ZERO), None);
        answer_read(&served, number, CHUNK);
    }
    assert_eq!(ended(&aio), 3 * CHUNK as i64);
    assert!(map.get(0, 3 * CHUNK) == bytes, "the contents differ");
    finish(served, file);
}

fn writes_are_under_way_at_once(env: &Env) {
    let (served, file) = serve(env, FLAGS, 0, &[0; 3 * CHUNK]);
    hold(&served, Opcode::Write);
    let bytes = pattern(3 * CHUNK);
    let (mut aio, map) = (Aio::new(), memory_with(&bytes));
    submit(&mut aio, &file, Way::Write, &map);
    served.wait_for(Opcode::Write, 3);
    let model = served.model();
    let mut written = Vec::new();
    for asked in model
        .log
        .iter()
        .filter(|asked| asked.opcode == Opcode::Write)
    {
        let (arg, data) = asked.body.split_at(size_of::<WriteIn>());
        let arg: WriteIn = zerocopy::FromBytes::read_from_bytes(arg).expect("the argument");
        assert_eq!(arg.offset, written.len() as u64);
        assert_eq!(
            (arg.fh, arg.write_flags),
            (FILE + 1000, write_flags::LOCKOWNER)
        );
        assert_ne!(arg.lock_owner, 0);
        written.extend_from_slice(data);
    }
    drop(model);
    assert!(written == bytes, "the contents differ");
    for number in [1, 2, 0] {
        assert_eq!(aio.ended_within(Duration::ZERO), None);
        answer_write(&served, number, CHUNK as u32);
    }
    assert_eq!(ended(&aio), 3 * CHUNK as i64);
    finish(served, file);
}

/// Begins it in a thread, which has to wait for the daemon.
fn submit_elsewhere(file: &File, way: Way, map: &Arc<Map>, offset: i64) -> Caller<Aio> {
    let map = map.clone();
    call_on(file, move |file| {
        let mut aio = Aio::new();
        aio.submit(7, file, way, &Place::all(&map), offset)
            .expect("io_submit");
        aio
    })
}

fn waits_without_the_flag(env: &Env) {
    for open_flags in [0, open_flags::DIRECT_IO] {
        let bytes = pattern(3 * CHUNK);
        let flags = init_flags::BIG_WRITES;
        let (served, file) = serve(env, flags, open_flags, &bytes);
        let map = memory(3 * CHUNK);
        for (way, opcode) in [(Way::Read, Opcode::Read), (Way::Write, Opcode::Write)] {
            hold(&served, opcode);
            let submitter = submit_elsewhere(&file, way, &map, 0);
            for number in 0..3 {
                served.wait_for(opcode, number + 1);
                assert!(submitter.still_waits(SHORT));
                assert_eq!(served.count(opcode), number + 1);
                match way {
                    Way::Read => answer_read(&served, number, CHUNK),
                    Way::Write => answer_write(&served, number, CHUNK as u32),
                }
            }
            let aio = submitter.result();
            assert_eq!(ended(&aio), 3 * CHUNK as i64);
        }
        finish(served, file);
    }
}

fn those_who_wait_ask_at_once(env: &Env) {
    let bytes = pattern(3 * CHUNK);
    let (served, file) = serve(env, FLAGS, 0, &bytes);
    hold(&served, Opcode::Read);
    let reader = call_on(&file, |file| {
        with_pages(3 * CHUNK, |got| {
            file.read_at(got, 0).map(|len| (len, got.to_vec()))
        })
    });
    served.wait_for(Opcode::Read, 3);
    for number in [2, 0, 1] {
        answer_read(&served, number, CHUNK);
    }
    let (len, got) = reader.result().unwrap();
    assert_eq!(len, 3 * CHUNK);
    assert!(got == bytes, "the contents differ");

    hold(&served, Opcode::Write);
    // Behind the end as well.
    let writer = call_on(&file, |file| {
        with_pages(3 * CHUNK, |bytes| file.write_at(bytes, CHUNK as u64))
    });
    served.wait_for(Opcode::Write, 3);
    for number in [1, 2, 0] {
        answer_write(&served, number, CHUNK as u32);
    }
    assert_eq!(writer.result().unwrap(), 3 * CHUNK);
    let size = sys::fstat_cached(&file).unwrap().stx_size;
    assert_eq!(size as usize, 4 * CHUNK);
    finish(served, file);
}

fn those_who_wait_ask_in_turn_without_the_flag(env: &Env) {
    // With the flag, too, where the daemon wants nothing cached.
    for (flags, open_flags) in [(0, 0), (FLAGS, open_flags::DIRECT_IO)] {
        let bytes = pattern(2 * CHUNK);
        let (served, file) = serve(env, flags, open_flags, &bytes);
        hold(&served, Opcode::Read);
        let reader = call_on(&file, |file| {
            with_pages(2 * CHUNK, |got| file.read_at(got, 0))
        });
        served.wait_for(Opcode::Read, 1);
        assert!(reader.still_waits(SHORT));
        assert_eq!(served.count(Opcode::Read), 1);
        answer_read(&served, 0, CHUNK);
        served.wait_for(Opcode::Read, 2);
        answer_read(&served, 1, CHUNK);
        assert_eq!(reader.result().unwrap(), 2 * CHUNK);
        finish(served, file);
    }
}

fn direct_io_files_ask_at_once_for_those_who_do_not_wait(env: &Env) {
    let bytes = pattern(2 * CHUNK);
    let (served, file) = serve(env, FLAGS, open_flags::DIRECT_IO, &bytes);
    let (mut aio, map) = (Aio::new(), memory(2 * CHUNK));
    hold(&served, Opcode::Read);
    submit(&mut aio, &file, Way::Read, &map);
    served.wait_for(Opcode::Read, 2);
    answer_read(&served, 1, CHUNK);
    answer_read(&served, 0, CHUNK);
    assert_eq!(ended(&aio), 2 * CHUNK as i64);
    assert!(map.get(0, 2 * CHUNK) == bytes, "the contents differ");
    hold(&served, Opcode::Write);
    submit(&mut aio, &file, Way::Write, &map);
    served.wait_for(Opcode::Write, 2);
    answer_write(&served, 1, CHUNK as u32);
    answer_write(&served, 0, CHUNK as u32);
    assert_eq!(ended(&aio), 2 * CHUNK as i64);
    finish(served, file);
}

fn reads_are_cut_off_at_the_end(env: &Env) {
    let bytes = pattern(CHUNK + 5000);
    for open_flags in [0, open_flags::DIRECT_IO] {
        let (served, file) = serve(env, FLAGS, open_flags, &bytes);
        let (mut aio, map) = (Aio::new(), memory(8 * CHUNK));
        submit(&mut aio, &file, Way::Read, &map);
        assert_eq!(ended(&aio), bytes.len() as i64);
        // To whole requests.
        let expected = [(0, CHUNK as u32), (CHUNK as u64, CHUNK as u32)];
        assert_eq!(reads(&served), expected);
        assert!(map.get(0, bytes.len()) == bytes, "the contents differ");
        finish(served, file);
    }
}

fn nothing_is_read_behind_the_end(env: &Env) {
    for flags in [FLAGS, 0] {
        for open_flags in [0, open_flags::DIRECT_IO] {
            let (served, file) = serve(env, flags, open_flags, &pattern(PAGE));
            let (mut aio, map) = (Aio::new(), memory(PAGE));
            aio.submit(7, &file, Way::Read, &Place::all(&map), PAGE as i64)
                .expect("io_submit");
            assert_eq!(ended(&aio), 0);
            assert_eq!(served.count(Opcode::Read), 0);
            finish(served, file);
        }
    }
}

fn growing_writes_are_waited_for(env: &Env) {
    for open_flags in [0, open_flags::DIRECT_IO] {
        let (served, file) = serve(env, FLAGS, open_flags, &pattern(CHUNK));
        let bytes = pattern(2 * CHUNK);
        hold(&served, Opcode::Write);
        let submitter = submit_elsewhere(&file, Way::Write, &memory_with(&bytes), 100 * 512);
        // All at once nevertheless.
        served.wait_for(Opcode::Write, 2);
        assert!(submitter.still_waits(SHORT));
        answer_write(&served, 1, CHUNK as u32);
        assert!(submitter.still_waits(SHORT));
        answer_write(&served, 0, CHUNK as u32);
        let aio = submitter.result();
        assert_eq!(ended(&aio), 2 * CHUNK as i64);
        let size = sys::fstat_cached(&file).unwrap().stx_size;
        assert_eq!(size as usize, 100 * 512 + 2 * CHUNK);
        finish(served, file);
    }
}

fn failed_growth_is_taken_back(env: &Env) {
    for flags in [FLAGS, 0] {
        for open_flags in [0, open_flags::DIRECT_IO] {
            let (served, file) = serve(env, flags, open_flags, &pattern(CHUNK));
            served.hook(|req| {
                (req.opcode() == Opcode::Write).then_some(Answer::Error(Errno::ENOSPC))
            });
            let map = memory(2 * CHUNK);
            let aio = submit_elsewhere(&file, Way::Write, &map, 0).result();
            assert_eq!(ended(&aio), -i64::from(libc::ENOSPC));
            let asked = args::<SetattrIn>(&served, Opcode::Setattr);
            assert_eq!(asked.len(), 1);
            let valid = fattr::SIZE | fattr::LOCKOWNER | fattr::FH;
            assert_eq!((asked[0].valid, asked[0].size as usize), (valid, CHUNK));
            finish(served, file);
        }
    }
}

fn first_error_counts(env: &Env) {
    for (way, opcode) in [(Way::Read, Opcode::Read), (Way::Write, Opcode::Write)] {
        let (served, file) = serve(env, FLAGS, 0, &pattern(3 * CHUNK));
        hold(&served, opcode);
        let (mut aio, map) = (Aio::new(), memory(3 * CHUNK));
        submit(&mut aio, &file, way, &map);
        served.wait_for(opcode, 3);
        answer_error(&served, opcode, 2, Errno::EDOM);
        answer_error(&served, opcode, 0, Errno::ENOSPC);
        assert_eq!(aio.ended_within(SHORT), None);
        // Shorter than asked for, too.
        match way {
            Way::Read => answer_read(&served, 1, 10),
            Way::Write => answer_write(&served, 1, 10),
        }
        assert_eq!(ended(&aio), -i64::from(libc::EDOM));
        assert_eq!(served.count(Opcode::Setattr), 0);
        finish(served, file);
    }
}

fn shortest_read_counts(env: &Env) {
    let bytes = pattern(4 * CHUNK);
    let (served, file) = serve(env, FLAGS, 0, &bytes);
    hold(&served, Opcode::Read);
    let (mut aio, map) = (Aio::new(), memory(4 * CHUNK));
    submit(&mut aio, &file, Way::Read, &map);
    served.wait_for(Opcode::Read, 4);
    for (number, most) in [(3, 10), (1, 1000), (0, CHUNK), (2, 0)] {
        answer_read(&served, number, most);
    }
    let len = CHUNK + 1000;
    assert_eq!(ended(&aio), len as i64);
    assert!(map.get(0, len) == bytes[..len], "the contents differ");
    finish(served, file);
}

fn short_writes_fail(env: &Env) {
    let (served, file) = serve(env, FLAGS, 0, &pattern(2 * CHUNK));
    let full = CHUNK as u32;
    for (first, second) in [(full, 1000), (0, full), (full, full + 1), (u32::MAX, full)] {
        served.clear_log();
        hold(&served, Opcode::Write);
        let (mut aio, map) = (Aio::new(), memory(2 * CHUNK));
        submit(&mut aio, &file, Way::Write, &map);
        served.wait_for(Opcode::Write, 2);
        answer_write(&served, 0, first);
        answer_write(&served, 1, second);
        assert_eq!(ended(&aio), -i64::from(libc::EIO), "{first} {second}");
    }
    finish(served, file);
}

fn memory_that_ends_early(env: &Env) {
    let bytes = pattern(2 * CHUNK);
    for (way, opcode) in [(Way::Read, Opcode::Read), (Way::Write, Opcode::Write)] {
        let (served, file) = serve(env, FLAGS, 0, &bytes);
        let there = CHUNK + 2 * PAGE;
        let map = Arc::new(Map::anonymous(there, CHUNK));
        let place = Place {
            map: map.clone(),
            at: 0,
            len: 2 * CHUNK,
        };
        let mut aio = Aio::new();
        aio.submit(7, &file, way, &place, 0).expect("io_submit");
        // What is there of it, which is no error.
        assert_eq!(ended(&aio), there as i64);
        let expected = [(0, CHUNK as u32), (CHUNK as u64, 2 * PAGE as u32)];
        match way {
            Way::Read => {
                assert_eq!(reads(&served), expected);
                assert!(map.get(0, there) == bytes[..there], "the contents differ");
            }
            Way::Write => assert_eq!(writes(&served), expected),
        }
        assert_eq!(served.count(opcode), 2);
        finish(served, file);
    }
}

fn memory_that_is_not_there(env: &Env) {
    for way in [Way::Read, Way::Write] {
        let (served, file) = serve(env, FLAGS, 0, &pattern(CHUNK));
        let map = Arc::new(Map::anonymous(PAGE, CHUNK));
        let place = Place {
            map,
            at: PAGE,
            len: PAGE,
        };
        let mut aio = Aio::new();
        aio.submit(7, &file, way, &place, 0).expect("io_submit");
        assert_eq!(ended(&aio), -i64::from(libc::EFAULT));
        assert_eq!(served.count(Opcode::Read) + served.count(Opcode::Write), 0);
        finish(served, file);
    }
}

fn memory_of_a_file_is_dirty_afterwards(env: &Env) {
    let bytes = pattern(2 * PAGE);
    let (served, file) = serve(env, FLAGS, 0, &bytes);
    let inner = crate::model::INNER;
    served
        .model()
        .add(inner, libc::S_IFREG | 0o644, &[0; 2 * PAGE]);
    let other = sys::open_with(&served.path("dir/inner"), libc::O_RDWR).expect("open");
    let map = Arc::new(Map::new(&other, 2 * PAGE, true, libc::MAP_SHARED).expect("mmap"));
    let mut aio = Aio::new();
    submit(&mut aio, &file, Way::Read, &map);
    assert_eq!(ended(&aio), 2 * PAGE as i64);
    drop(aio);
    // Nobody has touched the memory, but the kernel knows that it has changed.
    map.sync().unwrap();
    let written = served.model().node(inner).data.clone();
    assert!(written == bytes, "the contents differ");
    drop((map, other));
    served.wait_for(Opcode::Release, 1);
    served.clear_log();
    finish(served, file);
}

fn no_more_than_the_background_takes(env: &Env) {
    const MOST: usize = 12;
    let (served, file) = serve(env, FLAGS, 0, &pattern(16 * CHUNK));
    hold(&served, Opcode::Read);
    let map = memory(16 * CHUNK);
    let submitter = submit_elsewhere(&file, Way::Read, &map, 0);
    served.wait_for(Opcode::Read, MOST);
    assert!(submitter.still_waits(SHORT));
    assert_eq!(served.count(Opcode::Read), MOST);
    for number in 0..16 {
        served.wait_for(Opcode::Read, number + 1);
        answer_read(&served, number, CHUNK);
    }
    assert_eq!(ended(&submitter.result()), 16 * CHUNK as i64);
    finish(served, file);
}

fn attributes_are_asked_for_after_a_write(env: &Env) {
    let (served, file) = serve(env, FLAGS, 0, &pattern(CHUNK));
    let (mut aio, map) = (Aio::new(), memory(CHUNK));
    sys::fstat(&file).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 0);
    submit(&mut aio, &file, Way::Write, &map);
    assert_eq!(ended(&aio), CHUNK as i64);
    sys::fstat(&file).unwrap();
    assert_eq!(served.count(Opcode::Getattr), 1);
    finish(served, file);
}

fn write_drops_cached_pages_at_its_end(env: &Env) {
    let (served, file) = serve(env, FLAGS, 0, &[0; 2 * PAGE]);
    served.model().open_flags = open_flags::KEEP_CACHE;
    let reader = sys::open(&served.path("file")).expect("open");
    hold(&served, Opcode::Write);
    let (mut aio, map) = (Aio::new(), memory_with(&[1; PAGE]));
    submit(&mut aio, &file, Way::Write, &map);
    served.wait_for(Opcode::Write, 1);
    // It has been read meanwhile.
    let mut got = [7; PAGE];
    assert_eq!(reader.read_at(&mut got, 0).unwrap(), PAGE);
    assert_eq!(got, [0; PAGE]);
    served.model().node(FILE).data[..PAGE].fill(1);
    answer_write(&served, 0, PAGE as u32);
    assert_eq!(ended(&aio), PAGE as i64);
    assert_eq!(reader.read_at(&mut got, 0).unwrap(), PAGE);
    assert_eq!(got, [1; PAGE]);
    drop(reader);
    served.wait_for(Opcode::Release, 1);
    served.clear_log();
    finish(served, file);
}

fn daemon_dies(env: &Env) {
    for (way, opcode) in [(Way::Read, Opcode::Read), (Way::Write, Opcode::Write)] {
        let (mut served, file) = serve(env, FLAGS, 0, &pattern(3 * CHUNK));
        hold(&served, opcode);
        let (mut aio, map) = (Aio::new(), memory(3 * CHUNK));
        submit(&mut aio, &file, way, &map);
        served.wait_for(opcode, 3);
        // One of them is answered, which makes no difference.
        match way {
            Way::Read => answer_read(&served, 1, CHUNK),
            Way::Write => answer_write(&served, 1, CHUNK as u32),
        }
        served.force_unmount();
        assert_eq!(ended(&aio), -i64::from(libc::ECONNABORTED));
        aio.submit(7, &file, way, &Place::all(&map), 0)
            .expect("io_submit");
        assert_eq!(ended(&aio), -i64::from(libc::ENOTCONN));
    }
}

/// What was read is read again by who takes the daemon's place.
fn answers_of_a_successor(env: &Env) {
    let bytes = pattern(3 * CHUNK);
    let flags = FLAGS | init_flags::HAS_RESEND;
    let (served, file) = serve(env, flags, 0, &bytes);
    hold(&served, Opcode::Read);
    let (mut aio, map) = (Aio::new(), memory(3 * CHUNK));
    submit(&mut aio, &file, Way::Read, &map);
    served.wait_for(Opcode::Read, 3);
    answer_read(&served, 1, CHUNK);
    served.model().hook = None;
    served
        .channel
        .notify(rawfuse::abi::NotifyCode::Resend, &[])
        .expect("the notification");
    assert_eq!(ended(&aio), 3 * CHUNK as i64);
    assert!(map.get(0, 3 * CHUNK) == bytes, "the contents differ");
    assert_eq!(served.count(Opcode::Read), 5);
    finish(served, file);
}

/// Somebody who waits is killed: ours lets him go, Linux keeps him until the replies.
fn killed(env: &Env, way: Way, opcode: Opcode) {
    let fs = mounted(env, FLAGS, CHUNK);
    let path = fs.path("file");
    let (caller, start) = process_that_waits(move || {
        let file = sys::open_with(&path, libc::O_RDWR | libc::O_DIRECT).expect("open");
        with_pages(2 * CHUNK, |bytes| {
            system::errno(match way {
                Way::Read => file.read_at(bytes, 0),
                Way::Write => file.write_at(bytes, 0),
            })
        })
    });
    let mut served = with_contents(fs, &pattern(2 * CHUNK), 0);
    hold(&served, opcode);
    start.now();
    served.wait_for(opcode, 2);
    caller.signal(Signal::SIGKILL);
    let limit = if env.is_rust() { PATIENCE } else { SHORT };
    assert_eq!(caller.ended_within(limit).is_some(), env.is_rust());
    // Not before what it had open is no longer in use.
    assert_eq!(served.count(Opcode::Release), 0);
    for number in 0..2 {
        match way {
            Way::Read => answer_read(&served, number, CHUNK),
            Way::Write => answer_write(&served, number, CHUNK as u32),
        }
    }
    served.wait_for(Opcode::Release, 1);
    assert_eq!(served.count(Opcode::Setattr), 0);
    drop(caller);
    served.finish();
}

fn killed_reader_leaves(env: &Env) {
    killed(env, Way::Read, Opcode::Read);
}

fn killed_writer_leaves(env: &Env) {
    killed(env, Way::Write, Opcode::Write);
}

fn submitter_exits(env: &Env) {
    for (way, opcode, signal) in [
        (Way::Read, Opcode::Read, false),
        (Way::Read, Opcode::Read, true),
        (Way::Write, Opcode::Write, false),
        (Way::Write, Opcode::Write, true),
    ] {
        let fs = mounted(env, FLAGS, CHUNK);
        let path = fs.path("file");
        let (submitter, start) = process_that_waits(move || {
            let file = sys::open_with(&path, libc::O_RDWR | libc::O_DIRECT).expect("open");
            let mut aio = Aio::new();
            submit(&mut aio, &file, way, &memory(2 * CHUNK));
            if signal {
                nix::unistd::pause();
            }
            forget(aio);
            0
        });
        let mut served = with_contents(fs, &pattern(2 * CHUNK), 0);
        hold(&served, opcode);
        start.now();
        served.wait_for(opcode, 2);
        if signal {
            submitter.signal(Signal::SIGKILL);
        }
        // The kernel waits for the end of what was begun before a process goes.
        assert!(submitter.ended_within(SHORT).is_none());
        for number in 0..2 {
            match way {
                Way::Read => answer_read(&served, number, CHUNK),
                Way::Write => answer_write(&served, number, CHUNK as u32),
            }
        }
        assert!(submitter.ended_within(PATIENCE).is_some());
        served.wait_for(Opcode::Release, 1);
        drop(submitter);
        served.finish();
    }
}

/// Reads and writes by `ring`, in the memory `place`.
fn around(env: &Env, ring: impl FnOnce(&Place) -> Ring) {
    let bytes = pattern(3 * CHUNK);
    let (served, file) = serve(env, FLAGS, 0, &bytes);
    let map = memory(2 * CHUNK + PAGE);
    let mut ring = ring(&Place::all(&map));
    // Not at the beginning of a page, but of a block.
    let place = Place {
        map: map.clone(),
        at: 512,
        len: 2 * CHUNK,
    };
    hold(&served, Opcode::Read);
    ring.submit(1, &file, Way::Read, &place, CHUNK as u64);
    let asked = || -> usize { reads(&served).iter().map(|(_, size)| *size as usize).sum() };
    eventually("all READs", || asked() == 2 * CHUNK);
    assert_eq!(ring.ended_within(Duration::ZERO), None);
    for number in (0..served.count(Opcode::Read)).rev() {
        answer_read(&served, number, CHUNK);
    }
    let len = 2 * CHUNK as i64;
    assert_eq!(ring.ended_within(PATIENCE), Some((1, len)));
    assert!(
        map.get(512, 2 * CHUNK) == bytes[CHUNK..],
        "the contents differ"
    );
    assert_eq!(map.get(0, 512), [0; 512]);

    served.model().hook = None;
    ring.submit(2, &file, Way::Write, &place, 0);
    assert_eq!(ring.ended_within(PATIENCE), Some((2, len)));
    assert!(
        stored(&served)[..2 * CHUNK] == bytes[CHUNK..],
        "the contents differ"
    );
    drop(ring);
    finish(served, file);
}

fn by_ring(env: &Env) {
    around(env, |_| Ring::new());
}

fn by_ring_in_registered_memory(env: &Env) {
    around(env, Ring::with_registered);
}

/// Who has begun to read goes at once, with the memory, and the reply comes later.
fn ring_goes_while_it_reads(env: &Env) {
    for registered in [false, true] {
        let fs = Fs::with_flags(env, FLAGS);
        let path = fs.path("file");
        let (reader, start) = process_that_waits(move || {
            let file = sys::open_with(&path, libc::O_RDONLY | libc::O_DIRECT).expect("open");
            let place = Place::all(&memory(2 * CHUNK));
            let mut ring = match registered {
                true => Ring::with_registered(&place),
                false => Ring::new(),
            };
            ring.submit(1, &file, Way::Read, &place, 0);
            nix::unistd::pause();
            0
        });
        let mut served = with_contents(fs, &pattern(2 * CHUNK), 0);
        hold(&served, Opcode::Read);
        start.now();
        served.wait_for(Opcode::Read, 2);
        reader.signal(Signal::SIGKILL);
        assert!(reader.ended_within(PATIENCE).is_some());
        for number in 0..2 {
            answer_read(&served, number, CHUNK);
        }
        served.wait_for(Opcode::Release, 1);
        drop(reader);
        served.finish();
    }
}

/// Threads that read and write blocks of their own at once, by a daemon of many threads.
fn many_at_once(env: &Env) {
    const THREADS: usize = 4;
    const SHARE: usize = 64 * PAGE;
    let fs = mounted(env, FLAGS, 4 * PAGE);
    let mut model = crate::model::Model::cached();
    model.add(FILE, libc::S_IFREG | 0o644, &[0; THREADS * SHARE]);
    let mut served = Served::with_threads(fs, model, 3);
    let path = served.path("file");
    let users: Vec<Caller<io::Result<()>>> = (0..THREADS)
        .map(|user| {
            let path = path.clone();
            call(move || {
                let file = sys::open_with(&path, libc::O_RDWR | libc::O_DIRECT)?;
                let mut aio = Aio::new();
                let start = (user * SHARE) as i64;
                for round in 0..20_usize {
                    let bytes: Vec<u8> = (0..SHARE).map(|n| (n / 7 + user + round) as u8).collect();
                    let (from, to) = (memory_with(&bytes), memory(SHARE));
                    for (way, map) in [(Way::Write, &from), (Way::Read, &to)] {
                        for block in 0..8 {
                            let len = SHARE / 8;
                            let place = Place {
                                map: map.clone(),
                                at: block * len,
                                len,
                            };
                            aio.submit(7, &file, way, &place, start + (block * len) as i64)?;
                        }
                        for _ in 0..8 {
                            assert_eq!(ended(&aio), SHARE as i64 / 8);
                        }
                    }
                    assert!(to.get(0, SHARE) == bytes, "the contents differ");
                }
                Ok(())
            })
        })
        .collect();
    for user in users {
        user.result().unwrap();
    }
    served.wait_for(Opcode::Release, THREADS);
    served.finish();
}
