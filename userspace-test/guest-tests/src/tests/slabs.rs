// SPDX-License-Identifier: GPL-2.0

//! The memory that inodes and names take, and that it is given back.

use crate::{
    caller::eventually,
    env::Env,
    fs::Fs,
    model::{answer, Model, Served, FILE},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, Opcode},
    Errno,
};

tests![
    inodes_have_a_cache_of_their_own,
    names_give_their_memory_back
];

/// The bytes in use in the slab caches whose names begin so, and how many objects these are.
#[track_caller]
fn in_use(prefix: &str) -> (usize, usize) {
    let slabs = || std::fs::read_to_string("/proc/slabinfo").expect("slabinfo");
    let is_one = |line: &&str| line.starts_with(prefix);
    for name in slabs()
        .lines()
        .filter(is_one)
        .filter_map(|line| line.split(' ').next())
    {
        // What is free and kept at hand counts as in use, for KASAN for a long time. Some have no such file.
        let _ = std::fs::write(format!("/sys/kernel/slab/{name}/shrink"), "1");
    }
    let (mut bytes, mut objects) = (0, 0);
    for line in slabs().lines().filter(is_one) {
        let mut fields = line.split_whitespace().skip(1);
        let active: usize = fields.next().and_then(|n| n.parse().ok()).expect("a count");
        let size: usize = fields.nth(1).and_then(|n| n.parse().ok()).expect("a size");
        bytes += active * size;
        objects += active;
    }
    (bytes, objects)
}

fn inodes_have_a_cache_of_their_own(env: &Env) {
    const COUNT: usize = 2000;
    let mut served = Served::new(Fs::new(env), Model::cached());
    let mut next = 1000;
    served.hook(move |req| {
        (req.opcode() == Opcode::Lookup).then(|| {
            next += 1;
            answer(&abi::EntryOut {
                nodeid: next,
                entry_valid: 3600,
                attr_valid: 3600,
                attr: Model::new().node(FILE).attr,
                ..Default::default()
            })
        })
    });
    let cache = if env.is_rust() {
        "rust_fuse_inode"
    } else {
        "fuse_inode"
    };
    let count = || in_use(cache).1;
    let before = count();
    for index in 0..COUNT {
        sys::stat(&served.path(&index.to_string())).unwrap();
    }
    let most = count();
    // Some of those that were at hand, which counts as in use, have been taken.
    assert!(most >= before + COUNT * 3 / 4, "{before}, then {most}");
    eventually("inodes are freed", || {
        system::drop_caches(2);
        count() < before + COUNT / 4
    });
    served.finish();
}

fn names_give_their_memory_back(env: &Env) {
    const COUNT: usize = 8000;
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| {
        (req.opcode() == Opcode::Lookup).then(|| {
            answer(&abi::EntryOut {
                entry_valid: 3600,
                ..Default::default()
            })
        })
    });
    // Beside the name itself, which is the VFS's, there is what the file system keeps of it.
    let bytes = || in_use("kmalloc").0;
    let before = bytes();
    for index in 0..COUNT {
        system::assert_errno(sys::stat(&served.path(&index.to_string())), Errno::ENOENT);
    }
    let most = bytes();
    assert!(most >= before + COUNT * 24, "{before}, then {most}");
    // Less than half of it: what is kept at hand for the next names counts as in use.
    eventually("what is kept of names is freed", || {
        system::drop_caches(2);
        bytes() < before + (most - before) / 2
    });
    served.finish();
}
