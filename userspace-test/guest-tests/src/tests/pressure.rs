// SPDX-License-Identifier: GPL-2.0

//! Writing by way of the page cache when the daemon is slow: the writer waits.

use super::write::{open_to_write, with_contents};
use crate::{
    caller::{call_on, eventually},
    env::Env,
    fs::Fs,
    model::{Answer, Served},
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

tests![dirty_memory_has_a_strict_limit];

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
