// SPDX-License-Identifier: GPL-2.0

//! Reading files, through the page cache and past it.

use crate::{
    caller::call,
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, CONTENTS, FILE},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, init_flags, open_flags, Opcode},
    Errno, InitConfig,
};
use std::{io::Read, os::unix::fs::FileExt};
use zerocopy::FromBytes;

tests![
    direct_read_on_the_wire,
    direct_reads_are_not_kept,
    direct_read_at_the_end,
    direct_read_is_cut_into_requests,
    direct_read_is_short_when_a_reply_is,
    buffered_contents_arrive,
    buffered_contents_arrive_out_of_order,
    buffered_reads_are_kept,
    opening_drops_what_was_kept,
    keep_cache_keeps_it,
    readahead_asks_for_much_at_once,
    max_read_is_the_most,
    max_read_is_the_most_past_the_cache,
    file_shorter_than_it_said,
    file_longer_than_it_said,
    error_reaches_the_caller,
    reply_that_is_too_long,
    reply_that_is_short_is_the_end,
    reading_nothing,
    reading_at_odd_places,
    async_read_is_the_same,
    attributes_say_size_zero,
];

/// Bytes that are nowhere the same.
fn pattern(len: usize) -> Vec<u8> {
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

fn with_contents(fs: Fs, bytes: &[u8], open_flags: u32) -> Served {
    let mut model = Model::cached();
    model.open_flags = open_flags;
    model.add(FILE, libc::S_IFREG | 0o644, bytes);
    Served::new(fs, model)
}

/// Offset and size of each `READ` so far.
fn reads(served: &Served) -> Vec<(u64, u32)> {
    let model = served.model();
    let reads = model
        .log
        .iter()
        .filter(|asked| asked.opcode == Opcode::Read);
    reads
        .map(|asked| {
            let arg = abi::ReadIn::read_from_bytes(&asked.body).expect("READ's argument");
            (arg.offset, arg.size)
        })
        .collect()
}

fn direct_read_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let reader = call(move || {
        let mut bytes = [0; 1000];
        let file = sys::open(&path)?;
        let len = file.read_at(&mut bytes, 123)?;
        // Left open, so that nothing follows.
        std::mem::forget(file);
        Ok::<_, std::io::Error>(bytes[..len].to_vec())
    });
    let lookup = fs.expect(Opcode::Lookup);
    let mut model = Model::cached();
    model.node(FILE).attr.size = 5000;
    fs.reply(&lookup, &model.entry(FILE));
    let open = fs.expect(Opcode::Open);
    let out = abi::OpenOut {
        fh: 0x0123_4567_89ab_cdef,
        open_flags: open_flags::DIRECT_IO,
        ..Default::default()
    };
    fs.reply(&open, &out);
    let read = fs.expect(Opcode::Read);
    assert_eq!((read.header().len, read.nodeid()), (80, FILE));
    let arg: abi::ReadIn = read.arg();
    assert_eq!(arg.fh, out.fh);
    assert_eq!((arg.offset, arg.size), (123, 1000));
    assert_eq!(arg.read_flags, abi::read_flags::LOCKOWNER);
    assert_ne!(arg.lock_owner, 0);
    assert_eq!(arg.padding, 0);
    assert_eq!(arg.flags as i32 & libc::O_ACCMODE, libc::O_RDONLY);
    fs.reply_bytes(&read, b"what was read");
    assert_eq!(reader.result().unwrap(), b"what was read");
}

fn direct_reads_are_not_kept(env: &Env) {
    let mut served = with_contents(Fs::new(env), CONTENTS, open_flags::DIRECT_IO);
    let file = sys::open(&served.path("file")).unwrap();
    for round in 1..=3 {
        let mut bytes = [0; 8];
        assert_eq!(file.read_at(&mut bytes, 5).unwrap(), 8);
        assert_eq!(&bytes, &CONTENTS[5..13]);
        assert_eq!(reads(&served).len(), round);
        assert_eq!(reads(&served)[round - 1], (5, 8));
    }
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn direct_read_at_the_end(env: &Env) {
    let mut served = with_contents(Fs::new(env), CONTENTS, open_flags::DIRECT_IO);
    let file = sys::open(&served.path("file")).unwrap();
    let size = CONTENTS.len() as u64;
    let mut bytes = [0; 100];
    assert_eq!(file.read_at(&mut bytes, 0).unwrap(), CONTENTS.len());
    assert_eq!(file.read_at(&mut bytes, size - 1).unwrap(), 1);
    assert_eq!(file.read_at(&mut bytes, size).unwrap(), 0);
    assert_eq!(file.read_at(&mut bytes, size + 10_000).unwrap(), 0);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn direct_read_is_cut_into_requests(env: &Env) {
    let bytes = pattern(1 << 20);
    let mut served = with_contents(Fs::new(env), &bytes, open_flags::DIRECT_IO);
    let file = sys::open(&served.path("file")).unwrap();
    let mut got = vec![0; 1 << 20];
    assert_eq!(file.read_at(&mut got, 0).unwrap(), 1 << 20);
    assert!(got == bytes, "the contents differ");
    // At most 32 pages each, unless INIT says otherwise; less where the memory does not start
    // with a page.
    let reads = reads(&served);
    assert!(reads.iter().all(|&(_, size)| size <= 131072), "{reads:?}");
    assert!(reads.len() <= 9, "{reads:?}");
    let mut next = 0;
    for (offset, size) in reads {
        assert_eq!(offset, next);
        next += u64::from(size);
    }
    assert_eq!(next, 1 << 20);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn direct_read_is_short_when_a_reply_is(env: &Env) {
    let bytes = pattern(1 << 20);
    let mut served = with_contents(Fs::new(env), &bytes, open_flags::DIRECT_IO);
    let reply = bytes.clone();
    let mut count = 0;
    served.hook(move |req| {
        (req.opcode() == Opcode::Read).then(|| {
            let arg: abi::ReadIn = req.arg();
            let start = arg.offset as usize;
            count += 1;
            let len = if count == 2 { 1000 } else { arg.size as usize };
            Answer::Bytes(reply[start..start + len].to_vec())
        })
    });
    let file = sys::open(&served.path("file")).unwrap();
    let mut got = vec![0; 1 << 20];
    let len = file.read_at(&mut got, 0).unwrap();
    assert_eq!(reads(&served).len(), 2);
    assert_eq!(len as u64, reads(&served)[1].0 + 1000);
    assert!(got[..len] == bytes[..len], "the contents differ");
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn buffered_contents_arrive(env: &Env) {
    for len in [1, 4095, 4096, 4097, 131072, 1_000_003, 3 << 20] {
        let bytes = pattern(len);
        let mut served = with_contents(Fs::new(env), &bytes, 0);
        for piece in [1 << 20, 65536, 10_000] {
            let mut file = sys::open(&served.path("file")).unwrap();
            assert!(
                sys::read_all(&mut file, piece).unwrap() == bytes,
                "{len} by {piece}"
            );
        }
        served.wait_for(Opcode::Release, 3);
        served.finish();
    }
}

fn buffered_contents_arrive_out_of_order(env: &Env) {
    let bytes = pattern(1 << 20);
    let mut served = with_contents(Fs::new(env), &bytes, 0);
    let file = sys::open(&served.path("file")).unwrap();
    let mut got = [0; 777];
    for step in 0..500 {
        let at = step * 7919 * 131 % ((1 << 20) - 777);
        file.read_exact_at(&mut got, at as u64).unwrap();
        assert!(got == bytes[at..at + 777], "at {at}");
    }
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn buffered_reads_are_kept(env: &Env) {
    let mut served = with_contents(Fs::new(env), &pattern(20_000), 0);
    let file = sys::open(&served.path("file")).unwrap();
    let mut bytes = vec![0; 20_000];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let asked = reads(&served).len();
    assert!(asked > 0);
    for _ in 0..3 {
        file.read_exact_at(&mut bytes, 0).unwrap();
    }
    assert_eq!(reads(&served).len(), asked);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn opening_drops_what_was_kept(env: &Env) {
    let mut served = with_contents(Fs::new(env), b"the old contents", 0);
    assert_eq!(
        sys::contents(&served.path("file")).unwrap(),
        b"the old contents"
    );
    served.model().node(FILE).data = b"the new contents".to_vec();
    assert_eq!(
        sys::contents(&served.path("file")).unwrap(),
        b"the new contents"
    );
    served.wait_for(Opcode::Release, 2);
    served.finish();
}

fn keep_cache_keeps_it(env: &Env) {
    let mut served = with_contents(Fs::new(env), b"the old contents", open_flags::KEEP_CACHE);
    assert_eq!(
        sys::contents(&served.path("file")).unwrap(),
        b"the old contents"
    );
    served.model().node(FILE).data = b"the new contents".to_vec();
    let asked = reads(&served).len();
    assert_eq!(
        sys::contents(&served.path("file")).unwrap(),
        b"the old contents"
    );
    assert_eq!(reads(&served).len(), asked);
    // Until someone opens it without.
    served.model().open_flags = 0;
    assert_eq!(
        sys::contents(&served.path("file")).unwrap(),
        b"the new contents"
    );
    served.wait_for(Opcode::Release, 3);
    served.finish();
}

fn readahead_asks_for_much_at_once(env: &Env) {
    let bytes = pattern(2 << 20);
    let mut served = with_contents(Fs::new(env), &bytes, 0);
    let mut file = sys::open(&served.path("file")).unwrap();
    assert!(
        sys::read_all(&mut file, 4096).unwrap() == bytes,
        "the contents differ"
    );
    let reads = reads(&served);
    // 2 MiB by pieces of a page: that is 512 requests without.
    assert!(reads.len() < 64, "{} requests", reads.len());
    assert!(reads.iter().all(|&(_, size)| size <= 131072), "{reads:?}");
    assert!(reads.iter().any(|&(_, size)| size == 131072), "{reads:?}");
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

#[track_caller]
fn under_max_read(env: &Env, open_flags: u32) {
    for (option, limit) in [
        ("max_read=4096", 4096),
        ("max_read=20480", 20480),
        ("max_read=1", 4096),
    ] {
        let bytes = pattern(200_000);
        let mut served = with_contents(Fs::with_option(env, option), &bytes, open_flags);
        let mut file = sys::open(&served.path("file")).unwrap();
        assert!(
            sys::read_all(&mut file, 150_000).unwrap() == bytes,
            "the contents differ"
        );
        let reads = reads(&served);
        assert!(
            reads.iter().all(|&(_, size)| size <= limit),
            "{option}: {reads:?}"
        );
        assert!(
            reads.iter().any(|&(_, size)| size == limit),
            "{option}: {reads:?}"
        );
        drop(file);
        served.wait_for(Opcode::Release, 1);
        served.finish();
    }
}

fn max_read_is_the_most(env: &Env) {
    under_max_read(env, 0);
}

fn max_read_is_the_most_past_the_cache(env: &Env) {
    under_max_read(env, open_flags::DIRECT_IO);
}

fn file_shorter_than_it_said(env: &Env) {
    let bytes = pattern(5000);
    let mut served = with_contents(Fs::new(env), &bytes, 0);
    served.model().node(FILE).attr.size = 300_000;
    let mut file = sys::open(&served.path("file")).unwrap();
    let got = sys::read_all(&mut file, 100_000).unwrap();
    // A short reply is the end of the file, whatever its attributes said.
    assert_eq!(got.len(), 5000);
    assert!(got == bytes, "the contents differ");
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn file_longer_than_it_said(env: &Env) {
    // Buffered reads end where the attributes say.
    let bytes = pattern(10_000);
    let mut served = with_contents(Fs::new(env), &bytes, 0);
    served.model().node(FILE).attr.size = 6000;
    assert!(
        sys::contents(&served.path("file")).unwrap() == bytes[..6000],
        "the contents differ"
    );
    // Direct ones do not.
    served.model().open_flags = open_flags::DIRECT_IO;
    assert!(
        sys::contents(&served.path("file")).unwrap() == bytes,
        "the contents differ"
    );
    served.wait_for(Opcode::Release, 2);
    served.finish();
}

fn error_reaches_the_caller(env: &Env) {
    for flags in [0, open_flags::DIRECT_IO] {
        let mut served = with_contents(Fs::new(env), &pattern(10_000), flags);
        served.hook(|req| (req.opcode() == Opcode::Read).then_some(Answer::Error(Errno::EDOM)));
        let mut file = sys::open(&served.path("file")).unwrap();
        let error = match flags {
            // The page cache knows only that a page could not be read.
            0 => Errno::EIO,
            _ => Errno::EDOM,
        };
        system::assert_errno(file.read(&mut [0; 100]), error);
        // And nothing of it stays.
        served.model().hook = None;
        let mut bytes = vec![0; 10_000];
        file.read_exact(&mut bytes).unwrap();
        assert!(bytes == pattern(10_000), "the contents differ");
        drop(file);
        served.wait_for(Opcode::Release, 1);
        served.finish();
    }
}

fn reply_that_is_too_long(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let reader = call(move || {
        let file = sys::open(&path)?;
        let result = file.read_at(&mut [0; 100], 0);
        std::mem::forget(file);
        result
    });
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(FILE));
    let open = fs.expect(Opcode::Open);
    let out = abi::OpenOut {
        open_flags: open_flags::DIRECT_IO,
        ..Default::default()
    };
    fs.reply(&open, &out);
    let read = fs.expect(Opcode::Read);
    system::assert_errno(
        fs.channel.reply_bytes(read.unique(), &[&[0; 101]]),
        Errno::EINVAL,
    );
    system::assert_errno(reader.result(), Errno::EIO);
}

fn reply_that_is_short_is_the_end(env: &Env) {
    let mut served = with_contents(Fs::new(env), &pattern(100_000), 0);
    served.hook(|req| (req.opcode() == Opcode::Read).then(|| Answer::Bytes(Vec::new())));
    assert_eq!(sys::contents(&served.path("file")).unwrap(), b"");
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn reading_nothing(env: &Env) {
    for flags in [0, open_flags::DIRECT_IO] {
        let mut served = with_contents(Fs::new(env), CONTENTS, flags);
        let mut file = sys::open(&served.path("file")).unwrap();
        assert_eq!(file.read(&mut []).unwrap(), 0);
        assert_eq!(reads(&served), []);
        drop(file);
        served.wait_for(Opcode::Release, 1);
        served.finish();
    }
}

fn reading_at_odd_places(env: &Env) {
    let mut served = with_contents(Fs::new(env), CONTENTS, 0);
    let file = sys::open(&served.path("file")).unwrap();
    let mut bytes = [0; 10];
    for at in [1 << 20, 1 << 40, i64::MAX as u64 - 10] {
        assert_eq!(file.read_at(&mut bytes, at).unwrap(), 0);
    }
    system::assert_errno(file.read_at(&mut bytes, 1 << 63), Errno::EINVAL);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn async_read_is_the_same(env: &Env) {
    let config = InitConfig {
        flags: init_flags::ASYNC_READ,
        ..Default::default()
    };
    let fs = Fs::with(env, |options| options, &config);
    let bytes = pattern(3 << 20);
    let mut model = Model::cached();
    model.add(FILE, libc::S_IFREG | 0o644, &bytes);
    let mut served = Served::with_threads(fs, model, 4);
    for _ in 0..3 {
        assert!(
            sys::contents(&served.path("file")).unwrap() == bytes,
            "the contents differ"
        );
    }
    served.wait_for(Opcode::Release, 3);
    served.finish();
}

fn attributes_say_size_zero(env: &Env) {
    // As in /proc: such a file can be read by direct I/O only.
    let mut served = with_contents(Fs::new(env), CONTENTS, 0);
    served.model().node(FILE).attr.size = 0;
    assert_eq!(sys::contents(&served.path("file")).unwrap(), b"");
    served.model().open_flags = open_flags::DIRECT_IO;
    assert_eq!(sys::contents(&served.path("file")).unwrap(), CONTENTS);
    served.wait_for(Opcode::Release, 2);
    served.finish();
}
