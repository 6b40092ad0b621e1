// SPDX-License-Identifier: GPL-2.0

//! Files that are read and written past the page cache (`O_DIRECT`) while that holds parts of them.

use crate::{
    env::Env,
    fs::Fs,
    model::{args, Answer, Served, CONTENTS, FILE},
    sys, system,
    tests::{
        tests,
        write::{done, open_to_write, with_contents, writes},
    },
};
use rawfuse::{
    abi::{fattr, open_flags, Opcode, SetattrIn},
    Errno,
};
use std::os::unix::fs::FileExt;

tests![
    failed_growth_is_taken_back,
    failed_write_within_the_file_is_not,
    growth_that_failed_late_stays,
];

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
