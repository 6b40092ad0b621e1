// SPDX-License-Identifier: GPL-2.0

//! What the kernel does with folios of the page cache of its own accord: writes back what is dropped
//! though it is dirty, frees what it knows of their blocks, moves them in memory.

use super::{
    limits::Global,
    pressure::allow_dirty,
    syncfs::on_block_device,
    write::{open_to_write, pattern, stored, with_contents, PAGE},
};
use crate::{
    env::Env,
    fs::Fs,
    model::{args, Served, FILE},
    sys::{self, Map},
    system,
    tests::tests,
};
use rawfuse::abi::{
    init_flags, open_flags, write_flags, NotifyCode, NotifyInvalInodeOut, Opcode, WriteIn,
};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
};
use zerocopy::IntoBytes;

tests![
    written_back_when_dropped,
    written_back_when_dropped_of_a_mapping,
    blocks_are_forgotten_with_their_folio,
    move_in_memory => 300,
    move_in_memory_while_dirty => 300,
];

#[track_caller]
fn drop_data(served: &Served, off: i64, len: i64) {
    let out = NotifyInvalInodeOut {
        ino: FILE,
        off,
        len,
    };
    served
        .channel
        .notify(NotifyCode::InvalInode, &[out.as_bytes()])
        .expect("the notification");
}

/// Offset, size and flags of each WRITE so far.
fn writes(served: &Served) -> Vec<(u64, u32, u32)> {
    let writes = args::<WriteIn>(served, Opcode::Write);
    let parts = |arg: &WriteIn| (arg.offset, arg.size, arg.write_flags);
    writes.iter().map(parts).collect()
}

fn written_back_when_dropped(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::WRITEBACK_CACHE);
    let mut served = with_contents(fs, &[0; 3 * PAGE], open_flags::KEEP_CACHE);
    let file = open_to_write(&served, libc::O_RDWR);
    assert_eq!(file.write_at(&[7; 3 * PAGE], 0).unwrap(), 3 * PAGE);
    assert_eq!(served.count(Opcode::Write), 0);
    // What the daemon says is old is what it does not have yet.
    drop_data(&served, PAGE as i64, PAGE as i64);
    let expected = (PAGE as u64, PAGE as u32, write_flags::CACHE);
    assert_eq!(writes(&served), [expected]);
    assert_eq!(stored(&served)[PAGE..2 * PAGE], [7; PAGE]);
    // It is gone then, and read again; the others are not.
    served.model().node(FILE).data[PAGE..2 * PAGE].fill(8);
    let mut got = vec![0; 3 * PAGE];
    assert_eq!(file.read_at(&mut got, 0).unwrap(), 3 * PAGE);
    let expected = [[7; PAGE], [8; PAGE], [7; PAGE]].concat();
    assert!(got == expected, "the contents differ");
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn written_back_when_dropped_of_a_mapping(env: &Env) {
    let mut served = with_contents(Fs::new(env), &[0; 2 * PAGE], open_flags::KEEP_CACHE);
    let file = open_to_write(&served, libc::O_RDWR);
    let map = Map::new(&file, 2 * PAGE, true, libc::MAP_SHARED).expect("mmap");
    map.set(5, b"by memory");
    assert_eq!(served.count(Opcode::Write), 0);
    drop_data(&served, 0, 0);
    let expected = (0, PAGE as u32, write_flags::CACHE);
    assert_eq!(writes(&served), [expected]);
    assert_eq!(&stored(&served)[5..14], b"by memory");
    served.model().node(FILE).data[5..14].copy_from_slice(b"by daemon");
    assert_eq!(map.get(5, 9), b"by daemon");
    drop((map, file));
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

/// A trace of one event.
struct Event(PathBuf);

impl Event {
    fn new(name: &str) -> Self {
        let instance = PathBuf::from("/sys/kernel/tracing/instances/folios");
        // One that a test which failed has left is as good.
        let _ = fs::create_dir(&instance);
        fs::write(instance.join("trace"), "").expect("trace");
        fs::write(instance.join("events").join(name).join("enable"), "1").expect("the event");
        Self(instance)
    }

    /// How often there was one with all of `parts`.
    fn count(&self, parts: &[&str]) -> usize {
        let trace = fs::read_to_string(self.0.join("trace")).expect("trace");
        let is_one = |line: &&str| parts.iter().all(|part| line.contains(part));
        trace.lines().filter(is_one).count()
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn blocks_are_forgotten_with_their_folio(env: &Env) {
    // Of a folio that is one block the kernel has nothing to remember.
    let (_device, mut served, root) = on_block_device(env, ",blksize=512");
    served
        .model()
        .add(FILE, libc::S_IFREG | 0o644, &pattern(3 * PAGE));
    let file = sys::open(&served.path("file")).expect("open");
    let mut got = vec![0; 3 * PAGE];
    assert_eq!(file.read_at(&mut got, 0).unwrap(), 3 * PAGE);
    let reads = served.count(Opcode::Read);
    assert_eq!(file.read_at(&mut got, 0).unwrap(), 3 * PAGE);
    assert_eq!(served.count(Opcode::Read), reads);

    let event = Event::new("iomap/iomap_release_folio");
    let ino = format!("ino 0x{FILE:x} ");
    assert_eq!(event.count(&[&ino]), 0);
    system::drop_caches(1);
    for page in 0..3 {
        let offset = format!("offset 0x{:x} ", page * PAGE);
        assert_eq!(event.count(&[&ino, &offset]), 1, "page {page}");
    }
    drop(event);
    // They are gone.
    served.model().node(FILE).data.fill(9);
    assert_eq!(file.read_at(&mut got, 0).unwrap(), 3 * PAGE);
    assert!(got == [9; 3 * PAGE], "the contents differ");
    drop(file);
    served.wait_for(Opcode::Release, 1);
    super::syncfs::finish(&mut served, root);
}

/// Where in the machine's memory each page of a mapping is; 0 for one that is not there.
fn frames(map: &Map) -> Vec<u64> {
    const IS_THERE: u64 = 1 << 63;
    const FRAME: u64 = (1 << 55) - 1;
    let pagemap = File::open("/proc/self/pagemap").expect("pagemap");
    let first = map.address(0, 0) as usize / PAGE;
    let mut bytes = vec![0; map.len() / PAGE * 8];
    pagemap
        .read_exact_at(&mut bytes, first as u64 * 8)
        .expect("pagemap");
    let entries = bytes.chunks_exact(8).map(|entry| {
        let entry = u64::from_ne_bytes(entry.try_into().expect("8 bytes"));
        (entry & IS_THERE != 0).then_some(entry & FRAME)
    });
    entries.map(|frame| frame.unwrap_or(0)).collect()
}

/// Memory that is free, in pages.
fn free_pages() -> usize {
    let info = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let line = info.lines().find(|line| line.starts_with("MemFree:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<usize>().ok())
        .expect("MemFree")
        / (PAGE / 1024)
}

/// Puts a file into memory, scattered, and has the kernel make free memory contiguous: it moves what
/// lies low into what is free above. Returns the open file and its mapping, of which all that `touch` has
/// touched has to be there still, and some of it elsewhere.
fn compacted(served: &Served, pages: usize, touch: impl Fn(&File, &Map, usize)) -> (File, Map) {
    let file = open_to_write(served, libc::O_RDWR);
    let map = Map::new(&file, pages * PAGE, true, libc::MAP_SHARED).expect("mmap");
    system::drop_caches(3);
    // Half of what is free is used, and what is given back here and there becomes the file's.
    let ballast = Map::anonymous(free_pages() / 2 * PAGE, 0);
    ballast.use_small_pages();
    let ballast_pages = ballast.len() / PAGE;
    for page in 0..ballast_pages {
        ballast.set(page * PAGE, b"x");
    }
    for page in 0..pages {
        ballast.give_back(page * ballast_pages / pages * PAGE, PAGE);
        touch(&file, &map, page);
    }
    let before = frames(&map);
    assert!(before.iter().all(|&frame| frame != 0), "all is there");
    drop(ballast);
    let reads = served.count(Opcode::Read);
    fs::write("/proc/sys/vm/compact_memory", "1").expect("compact_memory");
    let after = frames(&map);
    let moved = before.iter().zip(&after).filter(|(old, new)| old != new);
    let moved = moved.count();
    println!("{moved} of {pages} pages have moved");
    assert!(moved > 0, "nothing has moved");
    assert!(after.iter().all(|&frame| frame != 0), "all is there still");
    assert_eq!(served.count(Opcode::Read), reads);
    (file, map)
}

fn move_in_memory(env: &Env) {
    const PAGES: usize = 500;
    let bytes = pattern(PAGES * PAGE);
    let mut served = with_contents(Fs::new(env), &bytes, open_flags::KEEP_CACHE);
    let (file, map) = compacted(&served, PAGES, |_, map, page| {
        map.get(page * PAGE, 1);
    });
    assert!(map.get(0, PAGES * PAGE) == bytes, "the contents differ");
    assert_eq!(served.count(Opcode::Write), 0);
    drop((map, file));
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn move_in_memory_while_dirty(env: &Env) {
    const PAGES: usize = 200;
    let bytes = pattern(PAGES * PAGE);
    let fs = Fs::with_flags(env, init_flags::WRITEBACK_CACHE);
    let mut served = with_contents(fs, &[0; PAGES * PAGE], open_flags::KEEP_CACHE);
    // Nobody begins to write them back.
    allow_dirty(&served);
    let after_a_while = Global::new("/proc/sys/vm/dirty_writeback_centisecs".into());
    after_a_while.set("0");
    let (file, map) = compacted(&served, PAGES, |file, map, page| {
        let at = page * PAGE;
        file.write_all_at(&bytes[at..at + PAGE], at as u64)
            .expect("write");
        // This shows where it is, and leaves it as it is.
        map.get(at, 1);
    });
    assert_eq!(served.count(Opcode::Write), 0);
    assert!(map.get(0, PAGES * PAGE) == bytes, "the contents differ");
    // What was dirty is so where it is now.
    file.sync_all().expect("fsync");
    assert!(stored(&served) == bytes, "what was written differs");
    drop((map, file));
    served.wait_for(Opcode::Release, 1);
    served.finish();
}
