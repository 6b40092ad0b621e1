// SPDX-License-Identifier: GPL-2.0

//! Writing by way of the page cache when the daemon is slow and memory short: the writer waits, and
//! nobody hangs.

use super::write::{open_to_write, pattern, stored, with_contents, PAGE};
use crate::{
    caller::{call_on, eventually, process_that_waits, Process},
    env::Env,
    fs::Fs,
    model::{Answer, Served},
    sys::{self, Map},
    tests::tests,
};
use rawfuse::abi::{init_flags, Opcode, WriteIn, WriteOut};
use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering::SeqCst},
        Arc,
    },
    thread,
    time::Duration,
};

tests![
    dirty_memory_has_a_strict_limit,
    slow_daemon_and_little_memory,
];

/// A setting of the mount's backing device.
fn bdi(served: &Served, name: &str) -> PathBuf {
    let device = fs::metadata(&served.dir).expect("the mount").dev();
    let (major, minor) = (libc::major(device), libc::minor(device));
    Path::new("/sys/class/bdi").join(format!("{major}:{minor}/{name}"))
}

/// Lets as much of it be dirty as of any file system.
pub(super) fn allow_dirty(served: &Served) {
    fs::write(bdi(served, "strict_limit"), "0").expect("strict_limit");
    fs::write(bdi(served, "max_ratio"), "100").expect("max_ratio");
}

/// Writes so many MiB by the page cache, and counts the bytes.
fn write_much(file: &File, mib: u64, written: &AtomicU64) {
    let block = vec![7; 64 << 10];
    while written.load(SeqCst) < mib << 20 {
        let len = file.write_at(&block, written.load(SeqCst)).expect("write");
        written.fetch_add(len as u64, SeqCst);
    }
}

fn dirty_memory_has_a_strict_limit(env: &Env) {
    const MIB: u64 = 24;
    let held = || {
        let fs = Fs::with_flags(env, init_flags::WRITEBACK_CACHE);
        let served = with_contents(fs, b"", 0);
        served.hook(|req| (req.opcode() == Opcode::Write).then_some(Answer::Nothing));
        let file = open_to_write(&served, libc::O_RDWR);
        (served, file)
    };
    let read = |path| fs::read_to_string(path).expect("a setting");

    // The daemon takes nothing, and the writer is stopped long before other file systems' would be.
    let (mut served, file) = held();
    assert_eq!(read(bdi(&served, "strict_limit")), "1\n");
    assert_eq!(read(bdi(&served, "max_ratio")), "1\n");
    let written = Arc::new(AtomicU64::new(0));
    let counter = written.clone();
    let writer = call_on(&file, move |file| write_much(file, MIB, &counter));
    let mut last = u64::MAX;
    eventually("the writer stops", || {
        let stopped = written.load(SeqCst) == last;
        last = written.load(SeqCst);
        thread::sleep(Duration::from_secs(2));
        stopped
    });
    assert!((1..MIB << 19).contains(&last), "{last} bytes were written");
    // It goes on when the daemon does.
    let mut model = served.model();
    model.hook = None;
    let held_back: Vec<(u64, u32)> = (model.log.iter())
        .filter(|asked| asked.opcode == Opcode::Write)
        .map(|asked| {
            (
                asked.unique,
                (asked.body.len() - size_of::<WriteIn>()) as u32,
            )
        })
        .collect();
    drop(model);
    for (unique, size) in held_back {
        let out = WriteOut {
            size,
            ..Default::default()
        };
        served.channel.reply(unique, &out).expect("the reply");
    }
    writer.result();
    assert_eq!(written.load(SeqCst), MIB << 20);
    file.sync_all().expect("fsync");
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();

    // Without the limit there is room for all of that.
    let (mut served, file) = held();
    allow_dirty(&served);
    let written = Arc::new(AtomicU64::new(0));
    let counter = written.clone();
    call_on(&file, move |file| write_much(file, MIB, &counter)).result();
    assert_eq!(written.load(SeqCst), MIB << 20);
    served.force_unmount();
}

/// How many bytes the kernel holds that the daemon has not taken.
fn dirty(served: &Served) -> impl Fn() -> u64 {
    let dir = bdi(served, "").canonicalize().expect("the device");
    let name = dir.file_name().expect("its name");
    let path = Path::new("/sys/kernel/debug/bdi").join(name).join("stats");
    move || {
        let stats = fs::read_to_string(&path).expect("the statistics");
        let kib = |name: &str| {
            let line = stats.lines().find(|line| line.starts_with(name));
            let number = line.and_then(|line| line.split_whitespace().nth(1));
            number.and_then(|kib| kib.parse::<u64>().ok()).expect(name) << 10
        };
        kib("BdiWriteback:") + kib("BdiReclaimable:")
    }
}

/// A group of processes that may have so much memory.
struct Group(PathBuf);

impl Group {
    fn new(bytes: usize) -> Self {
        let root = Path::new("/sys/fs/cgroup");
        fs::write(root.join("cgroup.subtree_control"), "+memory").expect("the controller");
        let group = root.join(format!("pressure-{}", std::process::id()));
        fs::create_dir(&group).expect("a group");
        fs::write(group.join("memory.max"), bytes.to_string()).expect("memory.max");
        Self(group)
    }

    fn add(&self, process: &Process) {
        fs::write(self.0.join("cgroup.procs"), process.pid().to_string()).expect("cgroup.procs");
    }

    /// How often that has happened to it.
    fn events(&self, name: &str) -> u64 {
        let text = fs::read_to_string(self.0.join("memory.events")).expect("memory.events");
        let mut events = text.lines().filter_map(|line| line.split_once(' '));
        let (_, count) = events.find(|(event, _)| *event == name).expect("an event");
        count.parse().expect("a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It goes when nobody is in it.
        let _ = fs::remove_dir(&self.0);
    }
}

fn slow_daemon_and_little_memory(env: &Env) {
    const MEMORY: usize = 16 << 20;
    const LEN: usize = 32 << 20;
    let fs = Fs::with_flags(env, init_flags::WRITEBACK_CACHE);
    let path = fs.path("file");
    let bytes = pattern(LEN);
    let expected = bytes.clone();
    let (writer, start) = process_that_waits(move || {
        let file = sys::open_with(&path, libc::O_RDWR).expect("open");
        let (by_call, by_memory) = bytes.split_at(LEN - LEN / 4);
        file.write_all_at(by_call, 0).expect("write");
        let map = Map::new(&file, LEN, true, libc::MAP_SHARED).expect("mmap");
        for (at, page) in (by_call.len()..).step_by(PAGE).zip(by_memory.chunks(PAGE)) {
            map.set(at, page);
        }
        file.sync_all().expect("fsync");
        0
    });
    let group = Group::new(MEMORY);
    group.add(&writer);
    let mut served = with_contents(fs, &[0; LEN], 0);
    let dirty = dirty(&served);
    let most = Arc::new(AtomicU64::new(0));
    let seen = most.clone();
    served.hook(move |req| {
        if req.opcode() == Opcode::Write {
            thread::sleep(Duration::from_millis(5));
            seen.fetch_max(dirty(), SeqCst);
        }
        None
    });
    start.now();
    assert_eq!(writer.code(), 0);
    assert!(stored(&served) == expected, "what was written differs");
    // It had less memory than that, and most of it never was dirty.
    assert!(group.events("max") > 0, "memory never was short");
    assert_eq!(group.events("oom_kill"), 0);
    let most = most.load(SeqCst) as usize;
    assert!((1..MEMORY / 2).contains(&most), "{most} bytes were dirty");
    served.wait_for(Opcode::Release, 1);
    served.finish();
}
