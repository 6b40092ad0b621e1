// SPDX-License-Identifier: GPL-2.0

//! Files that are mapped into memory.

use crate::{
    caller::{call, process_that_waits, Process, Start},
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, FILE},
    sys::{self, Map},
    system,
    tests::tests,
};
use rawfuse::abi::{self, init_flags, open_flags, write_flags, Opcode};
use std::{fs::File, os::unix::fs::FileExt, thread, time::Duration};
use zerocopy::FromBytes;

tests![
    mapping_shows_the_file,
    shared_writes_go_out_when_unmapped,
    shared_writes_go_out_on_msync,
    shared_writes_are_seen_by_readers,
    shared_writes_end_with_the_file,
    private_writes_are_private,
    written_file_shows_in_the_mapping,
    page_is_not_changed_while_it_is_written,
    write_error_is_kept_for_fsync,
    truncation_takes_pages_from_the_mapping,
    direct_io_files_are_not_mapped_shared,
    direct_io_files_are_mapped_private,
    direct_io_allow_mmap_allows_it,
    shared_writes_with_writeback_cache,
];

const PAGE: usize = 4096;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + n / 251) as u8).collect()
}

fn with_contents(fs: Fs, bytes: &[u8], open_flags: u32) -> Served {
    let mut model = Model::cached();
    model.open_flags = open_flags;
    model.add(FILE, libc::S_IFREG | 0o644, bytes);
    Served::new(fs, model)
}

fn open(served: &Served, flags: i32) -> File {
    sys::open_with(&served.path("file"), flags).expect("open")
}

fn shared(file: &File, len: usize) -> Map {
    Map::new(file, len, true, libc::MAP_SHARED).expect("mmap")
}

fn stored(served: &Served) -> Vec<u8> {
    served.model().node(FILE).data.clone()
}

/// Offset, size and flags of each `WRITE` so far.
fn writes(served: &Served) -> Vec<(u64, u32, u32)> {
    let model = served.model();
    let writes = model
        .log
        .iter()
        .filter(|asked| asked.opcode == Opcode::Write);
    writes
        .map(|asked| {
            let (arg, _) = abi::WriteIn::read_from_prefix(&asked.body).expect("the argument");
            (arg.offset, arg.size, arg.write_flags)
        })
        .collect()
}

/// The `unique` of the last `WRITE`.
fn last_write(served: &Served) -> u64 {
    let model = served.model();
    let mut writes = model.log.iter().rev();
    let write = writes.find(|asked| asked.opcode == Opcode::Write);
    write.expect("a WRITE").unique
}

#[track_caller]
fn done(mut served: Served, releases: usize) {
    served.wait_for(Opcode::Release, releases);
    served.finish();
}

fn mapping_shows_the_file(env: &Env) {
    let bytes = pattern(5 * PAGE + 100);
    let served = with_contents(Fs::new(env), &bytes, 0);
    let file = open(&served, libc::O_RDONLY);
    let map = Map::new(&file, 6 * PAGE, false, libc::MAP_SHARED).unwrap();
    let got = map.get(0, 6 * PAGE);
    assert!(got[..bytes.len()] == bytes, "the contents differ");
    assert!(got[bytes.len()..].iter().all(|&byte| byte == 0));
    drop((map, file));
    done(served, 1);
}

/// Has another process write `bytes` at `offset` by memory, when it is told to, with no file open any
/// more, and end.
#[track_caller]
fn written_by_another(fs: &Fs, offset: usize, bytes: &'static [u8]) -> (Process, Start) {
    let path = fs.path("file");
    process_that_waits(move || {
        let file = sys::open_with(&path, libc::O_RDWR).expect("open");
        let map = shared(&file, 3 * PAGE);
        drop(file);
        map.set(offset, bytes);
        // Unmapped by the end of the process.
        std::mem::forget(map);
        0
    })
}

fn shared_writes_go_out_when_unmapped(env: &Env) {
    let fs = Fs::new(env);
    let (writer, start) = written_by_another(&fs, PAGE + 10, b"by memory");
    let served = with_contents(fs, &pattern(3 * PAGE), 0);
    start.now();
    assert_eq!(writer.code(), 0);
    assert_eq!(writes(&served), [(4096, 4096, write_flags::CACHE)]);
    assert_eq!(&stored(&served)[PAGE + 10..][..9], b"by memory");
    done(served, 1);
}

fn shared_writes_go_out_on_msync(env: &Env) {
    let served = with_contents(Fs::new(env), &pattern(3 * PAGE), 0);
    let file = open(&served, libc::O_RDWR);
    let map = shared(&file, 3 * PAGE);
    map.set(5, b"first");
    map.set(2 * PAGE + 5, b"last");
    map.sync().unwrap();
    let flags = write_flags::CACHE;
    assert_eq!(writes(&served), [(0, 4096, flags), (8192, 4096, flags)]);
    // And once more.
    map.set(5, b"again");
    map.sync().unwrap();
    assert_eq!(served.count(Opcode::Write), 3);
    assert_eq!(&stored(&served)[5..10], b"again");
    drop((map, file));
    done(served, 1);
}

fn shared_writes_are_seen_by_readers(env: &Env) {
    let served = with_contents(Fs::new(env), &pattern(PAGE), 0);
    let file = open(&served, libc::O_RDWR);
    let map = shared(&file, PAGE);
    map.set(5, b"by memory");
    let mut got = [0; 9];
    assert_eq!(file.read_at(&mut got, 5).unwrap(), 9);
    assert_eq!(&got, b"by memory");
    assert_eq!(served.count(Opcode::Write), 0);
    drop((map, file));
    done(served, 1);
}

fn shared_writes_end_with_the_file(env: &Env) {
    let served = with_contents(Fs::new(env), &pattern(PAGE + 100), 0);
    let file = open(&served, libc::O_RDWR);
    let map = shared(&file, 2 * PAGE);
    map.set(PAGE + 90, &[7; 100]);
    drop(map);
    assert_eq!(writes(&served), [(4096, 100, write_flags::CACHE)]);
    assert_eq!(stored(&served).len(), PAGE + 100);
    drop(file);
    done(served, 1);
}

fn private_writes_are_private(env: &Env) {
    let bytes = pattern(PAGE);
    let served = with_contents(Fs::new(env), &bytes, 0);
    let file = open(&served, libc::O_RDONLY);
    let map = Map::new(&file, PAGE, true, libc::MAP_PRIVATE).unwrap();
    map.set(5, b"by memory");
    assert_eq!(map.get(5, 9), b"by memory");
    drop((map, file));
    assert_eq!(served.count(Opcode::Write), 0);
    assert!(stored(&served) == bytes);
    done(served, 1);
}

fn written_file_shows_in_the_mapping(env: &Env) {
    let served = with_contents(Fs::new(env), &pattern(PAGE), 0);
    let file = open(&served, libc::O_RDWR);
    let map = shared(&file, PAGE);
    assert_eq!(map.get(5, 1), pattern(6)[5..]);
    assert_eq!(file.write_at(b"by write", 5).unwrap(), 8);
    assert_eq!(map.get(5, 8), b"by write");
    drop((map, file));
    done(served, 1);
}

fn page_is_not_changed_while_it_is_written(env: &Env) {
    let served = with_contents(Fs::new(env), &pattern(PAGE), 0);
    let file = open(&served, libc::O_RDWR);
    let map = std::sync::Arc::new(shared(&file, PAGE));
    map.set(5, b"first");
    served.hook(|req| (req.opcode() == Opcode::Write).then_some(Answer::Nothing));
    let syncer = {
        let map = map.clone();
        call(move || map.sync())
    };
    served.wait_for(Opcode::Write, 1);
    let writer = {
        let map = map.clone();
        call(move || map.set(5, b"other"))
    };
    assert!(writer.still_waits(Duration::from_millis(300)));
    served.model().hook = None;
    let unique = last_write(&served);
    let out = abi::WriteOut {
        size: PAGE as u32,
        ..Default::default()
    };
    served.channel.reply(unique, &out).unwrap();
    syncer.result().unwrap();
    writer.result();
    // The threads may keep theirs for a moment.
    let mut map = map;
    let map = loop {
        match std::sync::Arc::try_unwrap(map) {
            Ok(map) => break map,
            Err(shared) => map = shared,
        }
        thread::yield_now();
    };
    drop(map);
    assert_eq!(&stored(&served)[5..10], b"other");
    drop(file);
    done(served, 1);
}

fn write_error_is_kept_for_fsync(env: &Env) {
    let fs = Fs::new(env);
    let (writer, start) = written_by_another(&fs, 5, b"lost");
    let served = with_contents(fs, &pattern(3 * PAGE), 0);
    served.hook(|req| {
        (req.opcode() == Opcode::Write).then_some(Answer::Error(rawfuse::Errno::ENOSPC))
    });
    start.now();
    let file = open(&served, libc::O_RDWR);
    assert_eq!(writer.code(), 0);
    assert_eq!(served.count(Opcode::Write), 1);
    assert_eq!(system::errno(file.sync_all()), libc::ENOSPC);
    drop(file);
    done(served, 2);
}

fn truncation_takes_pages_from_the_mapping(env: &Env) {
    let served = with_contents(Fs::new(env), &pattern(3 * PAGE), 0);
    let file = open(&served, libc::O_RDWR);
    let map = shared(&file, 3 * PAGE);
    map.set(100, b"stays");
    map.set(PAGE, b"goes");
    nix::unistd::ftruncate(&file, 200).unwrap();
    assert_eq!(map.get(100, 5), b"stays");
    assert!(map.get(200, PAGE - 200).iter().all(|&byte| byte == 0));
    drop(map);
    let stored = stored(&served);
    assert_eq!((stored.len(), &stored[100..105]), (200, &b"stays"[..]));
    drop(file);
    done(served, 1);
}

fn direct_io_files_are_not_mapped_shared(env: &Env) {
    let served = with_contents(Fs::new(env), &pattern(PAGE), open_flags::DIRECT_IO);
    let file = open(&served, libc::O_RDWR);
    for writable in [false, true] {
        let map = Map::new(&file, PAGE, writable, libc::MAP_SHARED);
        assert_eq!(system::errno(map), libc::ENODEV);
    }
    drop(file);
    done(served, 1);
}

fn direct_io_files_are_mapped_private(env: &Env) {
    let bytes = pattern(PAGE);
    let served = with_contents(Fs::new(env), &bytes, open_flags::DIRECT_IO);
    let file = open(&served, libc::O_RDONLY);
    let map = Map::new(&file, PAGE, true, libc::MAP_PRIVATE).unwrap();
    assert!(map.get(0, PAGE) == bytes);
    map.set(5, b"private");
    drop((map, file));
    assert_eq!(served.count(Opcode::Write), 0);
    done(served, 1);
}

fn direct_io_allow_mmap_allows_it(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::DIRECT_IO_ALLOW_MMAP);
    let served = with_contents(fs, &pattern(PAGE), open_flags::DIRECT_IO);
    let file = open(&served, libc::O_RDWR);
    let map = shared(&file, PAGE);
    map.set(5, b"by memory");
    // A read past the page cache brings it to the daemon first.
    let mut got = [0; 9];
    assert_eq!(file.read_at(&mut got, 5).unwrap(), 9);
    assert_eq!(&got, b"by memory");
    assert_eq!(served.count(Opcode::Write), 1);
    drop((map, file));
    done(served, 1);
}

fn shared_writes_with_writeback_cache(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::WRITEBACK_CACHE);
    let served = with_contents(fs, &pattern(2 * PAGE), 0);
    let file = open(&served, libc::O_RDWR);
    let map = shared(&file, 2 * PAGE);
    map.set(5, b"by memory");
    assert_eq!(file.write_at(b"by write", PAGE as u64).unwrap(), 8);
    assert_eq!(served.count(Opcode::Write), 0);
    file.sync_all().unwrap();
    let stored = stored(&served);
    assert_eq!(&stored[5..14], b"by memory");
    assert_eq!(&stored[PAGE..PAGE + 8], b"by write");
    drop((map, file));
    done(served, 1);
}
