// SPDX-License-Identifier: GPL-2.0

//! Files that are read and written past the page cache (`O_DIRECT`) while that holds parts of them.

use crate::{
    caller::process_that_waits,
    env::Env,
    fs::Fs,
    model::{args, Answer, Served, CONTENTS, FILE},
    sys::{self, Map},
    system,
    tests::{
        tests,
        write::{done, open_to_write, pattern, stored, with_contents, writes, PAGE},
    },
};
use rawfuse::{
    abi::{fattr, init_flags, open_flags, Opcode, ReadIn, SetattrIn},
    Errno,
};
use std::{fs::File, os::unix::fs::FileExt};

tests![
    failed_growth_is_taken_back,
    failed_write_within_the_file_is_not,
    growth_that_failed_late_stays,
    reading_finds_what_a_mapping_has_changed,
    writing_changes_what_is_mapped,
    reading_to_a_mapping_of_the_same_file,
    writing_from_a_mapping_of_the_same_file,
    mapping_is_changed_while_it_is_written_over,
];

/// A file of these bytes that is mapped, shared, and open with `O_DIRECT`.
fn mapped(fs: Fs, bytes: &[u8]) -> (Served, File, Map) {
    let served = with_contents(fs, bytes, open_flags::KEEP_CACHE);
    let file = open_to_write(&served, libc::O_RDWR);
    let map = Map::new(&file, bytes.len(), true, libc::MAP_SHARED).expect("mmap");
    drop(file);
    let direct = open_to_write(&served, libc::O_RDWR | libc::O_DIRECT);
    (served, direct, map)
}

/// Requests of all kinds that are made in turn, and at once.
const WAYS: [u64; 4] = [
    0,
    init_flags::ASYNC_DIO,
    init_flags::WRITEBACK_CACHE,
    init_flags::ASYNC_DIO | init_flags::WRITEBACK_CACHE,
];

#[track_caller]
fn unmapped(mut served: Served, file: File, map: Map) {
    served.model().hook = None;
    drop((map, file));
    served.wait_for(Opcode::Release, 2);
    served.finish();
}

fn fail_writes(served: &Served, error: Errno) {
    served.hook(move |req| (req.opcode() == Opcode::Write).then_some(Answer::Error(error)));
}

fn failed_growth_is_taken_back(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS, 0);
    let file = open_to_write(&served, libc::O_WRONLY | libc::O_DIRECT);
    for (round, error) in [Errno::ENOSPC, Errno::EINTR].into_iter().enumerate() {
        fail_writes(&served, error);
        // The daemon may have written some before it failed.
        served.model().node(FILE).attr.size = 70;
        let written = file.write_at(&[1; 100], 10);
        assert_eq!(system::errno(written), error as i32);
        let asked: Vec<SetattrIn> = args(&served, Opcode::Setattr);
        assert_eq!(asked.len(), round + 1);
        let asked = asked[round];
        let valid = fattr::SIZE | fattr::LOCKOWNER | fattr::FH;
        assert_eq!((asked.valid, asked.fh), (valid, FILE + 1000));
        assert_eq!(asked.size, CONTENTS.len() as u64);
        assert_ne!(asked.lock_owner, 0);
        assert_eq!(served.model().node(FILE).attr.size, CONTENTS.len() as u64);
    }
    done(file, served);
}

fn failed_write_within_the_file_is_not(env: &Env) {
    let served = with_contents(Fs::new(env), CONTENTS, 0);
    let file = open_to_write(&served, libc::O_WRONLY | libc::O_DIRECT);
    fail_writes(&served, Errno::ENOSPC);
    let within = file.write_at(&[1; 10], CONTENTS.len() as u64 - 10);
    assert_eq!(system::errno(within), libc::ENOSPC);
    assert_eq!(served.count(Opcode::Setattr), 0);
    // Nor is that of a file which the daemon wants past the cache.
    served.model().open_flags = open_flags::DIRECT_IO;
    let other = open_to_write(&served, libc::O_WRONLY);
    assert_eq!(system::errno(other.write_at(&[1; 100], 10)), libc::ENOSPC);
    assert_eq!(served.count(Opcode::Setattr), 0);
    drop(other);
    done(file, served);
}

fn growth_that_failed_late_stays(env: &Env) {
    let config = rawfuse::InitConfig {
        max_write: 4096,
        ..Default::default()
    };
    let served = with_contents(Fs::with(env, |options| options, &config), CONTENTS, 0);
    let file = open_to_write(&served, libc::O_WRONLY | libc::O_DIRECT);
    let mut count = 0;
    served.hook(move |req| {
        let is_write = req.opcode() == Opcode::Write;
        count += usize::from(is_write);
        (is_write && count == 2).then_some(Answer::Error(Errno::ENOSPC))
    });
    // What is left is tried by way of the page cache, and succeeds.
    assert_eq!(file.write_at(&[1; 3 * 4096], 0).unwrap(), 3 * 4096);
    assert_eq!(served.count(Opcode::Setattr), 0);
    assert_eq!(writes(&served)[..2], [(0, 4096), (4096, 4096)]);
    let size = sys::fstat_cached(&file).unwrap().stx_size;
    assert_eq!(size, 3 * 4096);
    done(file, served);
}

fn reading_finds_what_a_mapping_has_changed(env: &Env) {
    for flags in WAYS {
        let bytes = pattern(2 * PAGE);
        let (served, file, map) = mapped(Fs::with_flags(env, flags), &bytes);
        map.set(PAGE + 5, b"by memory");
        assert_eq!(served.count(Opcode::Write), 0);
        let mut got = vec![0; 2 * PAGE];
        assert_eq!(file.read_at(&mut got, 0).unwrap(), 2 * PAGE);
        assert_eq!(&got[PAGE + 5..][..9], b"by memory");
        assert_eq!(writes(&served), [(PAGE as u64, PAGE as u32)]);
        // The daemon is asked for what the mapping has, too.
        let asked: Vec<ReadIn> = args(&served, Opcode::Read);
        let last = asked.last().expect("a READ");
        assert!(last.offset + u64::from(last.size) >= 2 * PAGE as u64);
        assert_eq!(last.flags as i32 & libc::O_DIRECT, libc::O_DIRECT);
        // Nothing is left to be written, and the mapping goes on.
        assert_eq!(map.get(PAGE + 5, 9), b"by memory");
        map.set(7, b"again");
        assert_eq!(file.read_at(&mut got[..100], 0).unwrap(), 100);
        assert_eq!(&got[7..12], b"again");
        unmapped(served, file, map);
    }
}

fn writing_changes_what_is_mapped(env: &Env) {
    for flags in WAYS {
        let (served, file, map) = mapped(Fs::with_flags(env, flags), &[0; 3 * PAGE]);
        for page in 0..3 {
            map.set(page * PAGE + 9, b"by memory");
        }
        let data = pattern(PAGE);
        assert_eq!(file.write_at(&data, PAGE as u64).unwrap(), PAGE);
        assert!(map.get(PAGE, PAGE) == data, "the contents differ");
        // What was changed beside it is as it was.
        assert_eq!(map.get(9, 9), b"by memory");
        assert_eq!(map.get(2 * PAGE + 9, 9), b"by memory");
        map.sync().expect("msync");
        let stored = stored(&served);
        assert!(stored[PAGE..2 * PAGE] == data, "the contents differ");
        assert_eq!(&stored[9..18], b"by memory");
        unmapped(served, file, map);
    }
}

fn reading_to_a_mapping_of_the_same_file(env: &Env) {
    for flags in WAYS {
        let bytes = pattern(2 * PAGE);
        let (served, file, map) = mapped(Fs::with_flags(env, flags), &bytes);
        // From one page of it to the other.
        let len = sys::read_to(&file, &map, PAGE, PAGE, 0).unwrap();
        assert_eq!(len, PAGE);
        assert!(map.get(PAGE, PAGE) == bytes[..PAGE], "the contents differ");
        map.sync().expect("msync");
        assert!(
            stored(&served)[PAGE..] == bytes[..PAGE],
            "the contents differ"
        );
        // And from one to itself.
        let len = sys::read_to(&file, &map, 0, PAGE, 0).unwrap();
        assert_eq!(len, PAGE);
        assert!(map.get(0, PAGE) == bytes[..PAGE], "the contents differ");
        unmapped(served, file, map);
    }
}

fn writing_from_a_mapping_of_the_same_file(env: &Env) {
    for flags in WAYS {
        let bytes = pattern(2 * PAGE);
        let (served, file, map) = mapped(Fs::with_flags(env, flags), &bytes);
        map.set(5, b"by memory");
        for to in [PAGE, 0] {
            let len = sys::write_from(&file, &map, 0, PAGE, to as i64).unwrap();
            assert_eq!(len, PAGE);
            let stored = stored(&served);
            assert_eq!(&stored[to + 5..][..9], b"by memory");
            assert!(
                stored[to + 14..to + PAGE] == bytes[14..PAGE],
                "the contents differ"
            );
            assert!(
                map.get(to, PAGE) == stored[to..to + PAGE],
                "the mapping differs"
            );
        }
        unmapped(served, file, map);
    }
}

/// What either of them has written may be lost, as anywhere, but nobody hangs.
///
/// Who changes the mapping is another process: a thread may wait with this one's address space locked
/// until the daemon has answered, who may need memory for that.
fn mapping_is_changed_while_it_is_written_over(env: &Env) {
    const ROUNDS: usize = 200;
    for flags in WAYS {
        let fs = Fs::with_flags(env, flags);
        let path = fs.path("file");
        let (toucher, start) = process_that_waits(|| {
            let file = sys::open_with(&path, libc::O_RDWR).expect("open");
            let map = Map::new(&file, 4 * PAGE, true, libc::MAP_SHARED).expect("mmap");
            for round in 0..ROUNDS {
                let at = round % 4 * PAGE;
                map.set(at + 100, &[round as u8]);
                map.get(at, 10);
            }
            0
        });
        let (served, file, map) = mapped(fs, &[0; 4 * PAGE]);
        start.now();
        for round in 0..ROUNDS {
            let at = (round % 4 * PAGE) as u64;
            assert_eq!(file.write_at(&[round as u8; 50], at).unwrap(), 50);
            assert_eq!(file.read_at(&mut [0; 50], at).unwrap(), 50);
        }
        assert_eq!(toucher.code(), 0);
        served.wait_for(Opcode::Release, 1);
        served.clear_log();
        // All is in order when they no longer meet.
        map.sync().expect("msync");
        assert_eq!(file.write_at(&[9; 4 * PAGE], 0).unwrap(), 4 * PAGE);
        assert!(map.get(0, 4 * PAGE) == [9; 4 * PAGE], "the mapping differs");
        unmapped(served, file, map);
    }
}
