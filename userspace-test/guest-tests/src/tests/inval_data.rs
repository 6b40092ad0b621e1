// SPDX-License-Identifier: GPL-2.0

//! When what is cached of a file goes because its attributes have changed.

use crate::{
    env::Env,
    fs::Fs,
    model::{Model, Served, FILE},
    sys,
    tests::{pipe::Pipe, tests},
};
use rawfuse::abi::{init_flags, open_flags, Opcode};
use std::{
    fs::File,
    os::{fd::AsFd, unix::fs::FileExt},
};

tests![
    changed_time_drops_data_with_the_flag,
    changed_size_drops_data_unless_told,
    spliced_from_a_file,
];

const OLD: &[u8] = b"the old contents";

/// A file whose attributes hold for no time, open and cached.
fn cached(env: &Env, flags: u64) -> (Served, File) {
    let mut model = Model::cached();
    model.attr_valid = 0;
    model.add(FILE, libc::S_IFREG | 0o644, OLD);
    let served = Served::new(Fs::with_flags(env, flags), model);
    let file = sys::open(&served.path("file")).unwrap();
    assert_eq!(read(&file), OLD);
    (served, file)
}

/// All of the file, by a size that the kernel has just asked for.
fn read(file: &File) -> Vec<u8> {
    let size = file.metadata().unwrap().len();
    let mut bytes = vec![0; usize::try_from(size).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// The daemon has other contents by now, written at that time.
fn rewrite(served: &Served, data: &[u8], mtime: u64) {
    let mut model = served.model();
    let node = model.node(FILE);
    node.data = data.to_vec();
    node.attr.size = data.len() as u64;
    node.attr.mtime = mtime;
}

fn finish(mut served: Served, file: File) {
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn changed_time_drops_data_with_the_flag(env: &Env) {
    for (flags, dropped) in [
        (0, false),
        (init_flags::AUTO_INVAL_DATA, true),
        (init_flags::EXPLICIT_INVAL_DATA, false),
    ] {
        let (served, file) = cached(env, flags);
        rewrite(&served, b"the new contents", 0);
        assert_eq!(
            read(&file),
            OLD,
            "{flags:#x}: neither size nor time changed"
        );
        rewrite(&served, b"the new contents", 7);
        let expected: &[u8] = if dropped { b"the new contents" } else { OLD };
        assert_eq!(read(&file), expected, "{flags:#x}");
        finish(served, file);
    }
}

fn changed_size_drops_data_unless_told(env: &Env) {
    let new = b"the new contents, and more";
    for (flags, dropped) in [
        (0, true),
        (init_flags::AUTO_INVAL_DATA, true),
        (init_flags::EXPLICIT_INVAL_DATA, false),
        // The one that says more wins.
        (
            init_flags::AUTO_INVAL_DATA | init_flags::EXPLICIT_INVAL_DATA,
            true,
        ),
    ] {
        let (served, file) = cached(env, flags);
        rewrite(&served, new, 0);
        let mut kept = OLD.to_vec();
        kept.resize(new.len(), 0);
        let expected = if dropped { new.to_vec() } else { kept };
        assert_eq!(read(&file), expected, "{flags:#x}");
        finish(served, file);
    }
}

fn spliced_from_a_file(env: &Env) {
    let bytes: Vec<u8> = (0..30_000_u32).map(|at| (at % 251) as u8).collect();
    for open_flags in [0, open_flags::DIRECT_IO] {
        let mut model = Model::cached();
        model.open_flags = open_flags;
        model.add(FILE, libc::S_IFREG | 0o644, &bytes);
        let served = Served::new(Fs::new(env), model);
        let file = sys::open(&served.path("file")).unwrap();
        let pipe = Pipe::new();
        let mut got = Vec::new();
        while got.len() < bytes.len() {
            let moved = pipe.splice_from(file.as_fd(), 10_000, 0).unwrap();
            assert!(moved > 0, "the file ends at {}", got.len());
            got.extend(pipe.drain());
        }
        assert!(got == bytes, "the contents differ");
        assert_eq!(pipe.splice_from(file.as_fd(), 10_000, 0).unwrap(), 0);
        finish(served, file);
    }
}
