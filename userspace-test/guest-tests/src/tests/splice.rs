// SPDX-License-Identifier: GPL-2.0

//! Requests and replies that go through pipes.

use crate::{
    caller::{call, Caller},
    env::Env,
    fs::{Fs, Req},
    model::FILE,
    sys, system,
    tests::pipe::{reply, Pipe, PAGE},
    tests::tests,
};
use libc::{SPLICE_F_MOVE, SPLICE_F_NONBLOCK, S_IFREG};
use nix::fcntl::{fcntl, FcntlArg, OFlag};
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Channel, Errno, InitConfig,
};
use std::{
    io,
    os::{fd::AsFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    time::Duration,
};
use zerocopy::IntoBytes;

tests![
    before_mounting,
    read_one_request_each,
    read_needs_room_for_any_request,
    read_after_other_data,
    read_into_a_full_pipe,
    read_into_a_small_pipe,
    read_many_pages,
    read_pages_of_the_cache,
    read_into_no_pipe,
    read_nonblocking,
    read_after_abort,
    write_one_reply,
    write_in_many_buffers,
    write_takes_no_more,
    write_needs_all_of_it,
    write_malformed,
    write_after_abort,
    write_pages,
    write_pages_that_can_move,
    write_pages_that_are_shared,
    write_pages_of_a_file,
    write_pages_unaligned,
    write_pages_and_an_end,
];

const LEN: usize = 1 << 20;
const SHORT: Duration = Duration::from_millis(150);

/// A file system whose requests fit into 8 KiB, with a daemon that takes several lookups at a time.
#[track_caller]
fn mount(env: &Env) -> Fs {
    let config = InitConfig {
        flags: init_flags::PARALLEL_DIROPS,
        max_write: 4096,
        ..Default::default()
    };
    Fs::with(env, |options| options, &config)
}

/// A request in a pipe.
#[track_caller]
fn splice_next(fs: &Fs, pipe: &Pipe) -> Req {
    assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
    let len = pipe
        .splice_from(fs.channel.as_fd(), LEN, 0)
        .expect("splice");
    let bytes = pipe.drain();
    assert_eq!(bytes.len(), len);
    let req = Req::new(&bytes);
    assert_eq!(req.header().len as usize, len, "one request, and all of it");
    req
}

fn lookup(fs: &Fs, name: &str) -> Caller<io::Result<nix::sys::stat::FileStat>> {
    let path = fs.path(name);
    call(move || sys::stat(&path))
}

fn before_mounting(env: &Env) {
    let channel = Channel::open(&env.kind).unwrap();
    let pipe = Pipe::new();
    system::assert_errno(pipe.splice_from(channel.as_fd(), LEN, 0), Errno::EPERM);
    pipe.put(&reply(2, -libc::EIO, &[]));
    system::assert_errno(pipe.splice_to(channel.as_fd(), 16, 0), Errno::EPERM);
    assert_eq!(pipe.drain().len(), 16, "it is still in the pipe");
}

fn read_one_request_each(env: &Env) {
    let fs = mount(env);
    let pipe = Pipe::new();
    let callers = ["first", "second-name"].map(|name| {
        let caller = lookup(&fs, name);
        assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        caller
    });
    // Two are pending.
    for name in ["first", "second-name"] {
        let req = splice_next(&fs, &pipe);
        assert_eq!(req.opcode(), Opcode::Lookup);
        assert_eq!(req.name(), name);
        fs.reply_error(&req, Errno::ENOENT);
    }
    for caller in callers {
        system::assert_errno(caller.result(), Errno::ENOENT);
    }
}

fn read_needs_room_for_any_request(env: &Env) {
    let config = InitConfig {
        max_write: 1 << 15,
        ..Default::default()
    };
    let fs = Fs::with(env, |options| options, &config);
    let caller = lookup(&fs, "x");
    assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
    let pipe = Pipe::new();
    for len in [1, 100, 8191, 8192, (1 << 15) + 79] {
        system::assert_errno(pipe.splice_from(fs.channel.as_fd(), len, 0), Errno::EINVAL);
    }
    // The room in the pipe counts as well.
    let small = Pipe::new().resize(8);
    let spliced = small.splice_from(fs.channel.as_fd(), LEN, 0);
    system::assert_errno(spliced, Errno::EINVAL);
    let len = pipe.splice_from(fs.channel.as_fd(), (1 << 15) + 80, 0);
    assert_eq!(len.unwrap(), 42);
    let req = Req::new(&pipe.drain());
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn read_after_other_data(env: &Env) {
    let fs = mount(env);
    let pipe = Pipe::new();
    pipe.put(b"before");
    let caller = lookup(&fs, "x");
    assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
    assert_eq!(pipe.splice_from(fs.channel.as_fd(), LEN, 0).unwrap(), 42);
    let bytes = pipe.drain();
    assert_eq!(&bytes[..6], b"before");
    let req = Req::new(&bytes[6..]);
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn read_into_a_full_pipe(env: &Env) {
    let fs = mount(env);
    let pipe = Pipe::new().resize(2);
    pipe.put(&[0; 2 * PAGE]);
    let caller = lookup(&fs, "x");
    assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
    let spliced = pipe.splice_from(fs.channel.as_fd(), LEN, SPLICE_F_NONBLOCK);
    system::assert_errno(spliced, Errno::EAGAIN);
    pipe.drain();
    let req = splice_next(&fs, &pipe);
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

/// A request of two pages: many forgets.
fn many_forgets(fs: &Fs) {
    const COUNT: u64 = 400;
    let dir = fs.dir.clone();
    let caller = call(move || {
        (0..COUNT)
            .all(|i| sys::stat(&dir.join(format!("file{i}"))).is_ok_and(|stat| stat.st_size == 0))
    });
    for i in 0..COUNT {
        let req = fs.expect(Opcode::Lookup);
        fs.reply(&req, &entry(1000 + i, 0));
    }
    assert!(caller.result());
    system::drop_caches(2);
    assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
}

fn entry(nodeid: u64, size: u64) -> abi::EntryOut {
    abi::EntryOut {
        nodeid,
        entry_valid: 3600,
        attr_valid: 3600,
        attr: abi::Attr {
            ino: nodeid,
            mode: S_IFREG | 0o644,
            nlink: 1,
            size,
            blksize: 4096,
            ..Default::default()
        },
        ..Default::default()
    }
}

fn read_into_a_small_pipe(env: &Env) {
    let fs = mount(env);
    let caller = lookup(&fs, "x");
    assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
    // 8 KiB take two slots, of which one is not free.
    for (slots, before) in [(1, 0), (2, 6)] {
        let pipe = Pipe::new().resize(slots);
        pipe.put(&vec![b'x'; before]);
        system::assert_errno(pipe.splice_from(fs.channel.as_fd(), LEN, 0), Errno::EINVAL);
        assert_eq!(pipe.drain(), vec![b'x'; before], "nothing came");
    }
    let req = splice_next(&fs, &Pipe::new().resize(2));
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn read_many_pages(env: &Env) {
    let fs = mount(env);
    many_forgets(&fs);
    // As many as there is room for.
    let req = splice_next(&fs, &Pipe::new().resize(2));
    assert_eq!(req.opcode(), Opcode::BatchForget);
    let len = req.header().len as usize;
    assert!(len > PAGE && len <= 2 * PAGE, "{len} bytes");
    let rawfuse::Operation::BatchForget(forgets) = req.operation() else {
        panic!("a request that holds together")
    };
    let nodes: std::collections::BTreeSet<_> = forgets.iter().map(|one| one.nodeid).collect();
    assert_eq!(nodes.len(), forgets.len());
    assert!(nodes.iter().all(|node| (1000..1400).contains(node)));
}

/// What is written goes to a pipe as the pages that the page cache has, not as a copy of them: who
/// takes it out of there late finds what has been written since.
fn read_pages_of_the_cache(env: &Env) {
    const SIZE: usize = 2 * PAGE + 100;
    let config = InitConfig {
        flags: init_flags::BIG_WRITES,
        max_write: 1 << 15,
        ..Default::default()
    };
    let fs = Fs::with(env, |options| options, &config);
    let path = fs.path("file");
    let writer = call(move || {
        let file = sys::open_with(&path, libc::O_WRONLY)?;
        file.write_all_at(&[b'1'; SIZE], 0)?;
        file.write_all_at(&[b'2'; SIZE], 0)?;
        // Left open, so that nothing follows.
        std::mem::forget(file);
        io::Result::Ok(())
    });
    fs.reply(&fs.expect(Opcode::Lookup), &entry(FILE, SIZE as u64));
    fs.reply(&fs.expect(Opcode::Open), &abi::OpenOut::default());
    let (kept, looked_at) = (Pipe::new(), Pipe::new());
    let next = || loop {
        assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
        let spliced = kept.splice_from(fs.channel.as_fd(), LEN, 0);
        spliced.expect("splice");
        kept.tee(&looked_at);
        let req = Req::new(&looked_at.drain());
        match req.opcode() {
            // Whether the file has capabilities.
            Opcode::Getxattr => {
                kept.drain();
                fs.reply_error(&req, Errno::ENOSYS);
            }
            _ => break req,
        }
    };
    let answer = |req: &Req| {
        let size = SIZE as u32;
        fs.reply(req, &abi::WriteOut { size, padding: 0 });
    };
    let holds = |req: &Req, byte| match req.operation() {
        rawfuse::Operation::Write { data, .. } => assert_eq!(data, [byte; SIZE]),
        other => panic!("not a WRITE: {other:?}"),
    };
    let first = next();
    holds(&first, b'1');
    answer(&first);
    answer(&fs.expect(Opcode::Write));
    writer.result().expect("writing");
    holds(&Req::new(&kept.drain()), b'2');
}

fn read_into_no_pipe(env: &Env) {
    let fs = mount(env);
    let caller = lookup(&fs, "x");
    assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
    let pipe = Pipe::new();
    drop(pipe.read);
    let pipe = Pipe {
        read: pipe.write.try_clone().unwrap(),
        write: pipe.write,
    };
    // The signal that comes with it is ignored in Rust programs.
    system::assert_errno(pipe.splice_from(fs.channel.as_fd(), LEN, 0), Errno::EPIPE);
    let req = fs.expect(Opcode::Lookup);
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn read_nonblocking(env: &Env) {
    let fs = mount(env);
    fcntl(fs.channel.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let pipe = Pipe::new();
    system::assert_errno(pipe.splice_from(fs.channel.as_fd(), LEN, 0), Errno::EAGAIN);
    system::assert_errno(pipe.splice_from(fs.channel.as_fd(), 100, 0), Errno::EINVAL);
}

fn read_after_abort(env: &Env) {
    let mut fs = mount(env);
    let (channel, pipe) = (fs.channel.try_clone().unwrap(), Pipe::new());
    let reader = call(move || pipe.splice_from(channel.as_fd(), LEN, 0));
    assert!(reader.still_waits(SHORT));
    fs.force_unmount();
    system::assert_errno(reader.result(), Errno::ENODEV);
    system::assert_errno(
        Pipe::new().splice_from(fs.channel.as_fd(), LEN, 0),
        Errno::ENODEV,
    );
}

fn write_one_reply(env: &Env) {
    let fs = mount(env);
    let caller = lookup(&fs, "x");
    let req = fs.expect(Opcode::Lookup);
    let pipe = Pipe::new();
    let bytes = reply(req.unique(), 0, entry(7, 123).as_bytes());
    pipe.put(&bytes);
    let len = pipe.splice_to(fs.channel.as_fd(), bytes.len(), 0).unwrap();
    assert_eq!(len, bytes.len());
    assert_eq!(caller.result().unwrap().st_size, 123);
    assert!(pipe.drain().is_empty());
}

fn write_in_many_buffers(env: &Env) {
    let fs = mount(env);
    for piece in [1, 7, 15, 16, 17, 100] {
        let caller = lookup(&fs, &format!("x{piece}"));
        let req = fs.expect(Opcode::Lookup);
        let pipe = Pipe::of_packets().resize(256);
        let bytes = reply(req.unique(), 0, entry(100 + piece, 123 + piece).as_bytes());
        for packet in bytes.chunks(piece as usize) {
            pipe.put(packet);
        }
        let len = pipe.splice_to(fs.channel.as_fd(), bytes.len(), SPLICE_F_MOVE);
        assert_eq!(len.unwrap(), bytes.len());
        assert_eq!(caller.result().unwrap().st_size as u64, 123 + piece);
    }
}

fn write_takes_no_more(env: &Env) {
    let fs = mount(env);
    let callers = ["a", "b"].map(|name| {
        let caller = lookup(&fs, name);
        (caller, fs.expect(Opcode::Lookup))
    });
    let pipe = Pipe::new();
    // Both replies in one page.
    let replies = callers
        .each_ref()
        .map(|(_, req)| reply(req.unique(), 0, entry(7, 123).as_bytes()));
    pipe.put(&replies.concat());
    for (reply, (caller, _)) in replies.iter().zip(&callers) {
        let len = pipe.splice_to(fs.channel.as_fd(), reply.len(), 0).unwrap();
        assert_eq!(len, reply.len());
        assert_eq!(caller.result().unwrap().st_size, 123);
    }
    assert!(pipe.drain().is_empty());
}

fn write_needs_all_of_it(env: &Env) {
    let fs = mount(env);
    let caller = lookup(&fs, "x");
    let req = fs.expect(Opcode::Lookup);
    let pipe = Pipe::new();
    system::assert_errno(pipe.splice_to(fs.channel.as_fd(), 16, 0), Errno::EINVAL);
    let bytes = reply(req.unique(), 0, entry(7, 123).as_bytes());
    let (first, last) = bytes.split_at(100);
    pipe.put(first);
    system::assert_errno(
        pipe.splice_to(fs.channel.as_fd(), bytes.len(), 0),
        Errno::EINVAL,
    );
    // What was there still is.
    pipe.put(last);
    assert!(pipe.splice_to(fs.channel.as_fd(), bytes.len(), 0).is_ok());
    assert_eq!(caller.result().unwrap().st_size, 123);
}

fn write_malformed(env: &Env) {
    let fs = mount(env);
    let caller = lookup(&fs, "x");
    let req = fs.expect(Opcode::Lookup);
    let good = reply(req.unique(), -libc::ENOENT, &[]);
    let send = |bytes: &[u8]| {
        let pipe = Pipe::new();
        pipe.put(bytes);
        let result = pipe.splice_to(fs.channel.as_fd(), bytes.len(), 0);
        assert!(pipe.drain().is_empty(), "it was taken out of the pipe");
        result
    };
    system::assert_errno(send(&good[..15]), Errno::EINVAL);
    system::assert_errno(send(&[&good[..], b"x"].concat()), Errno::EINVAL);
    system::assert_errno(send(&reply(req.unique(), 1, &[])), Errno::EINVAL);
    system::assert_errno(send(&reply(req.unique(), -512, &[])), Errno::EINVAL);
    system::assert_errno(send(&reply(req.unique() + 1000, 0, &[])), Errno::ENOENT);
    assert!(caller.still_waits(SHORT));
    system::assert_errno(send(&reply(req.unique(), 0, b"short")), Errno::EINVAL);
    system::assert_errno(caller.result(), Errno::EIO);
    system::assert_errno(send(&good), Errno::ENOENT);
}

fn write_after_abort(env: &Env) {
    let mut fs = mount(env);
    let caller = lookup(&fs, "x");
    let req = fs.expect(Opcode::Lookup);
    fs.force_unmount();
    assert!(caller.result().is_err());
    let pipe = Pipe::new();
    pipe.put(&reply(req.unique(), 0, entry(7, 123).as_bytes()));
    system::assert_errno(pipe.splice_to(fs.channel.as_fd(), 144, 0), Errno::ENOENT);
}

/// A file that is read through the page cache while the test plays the daemon.
struct Reading {
    fs: Fs,
    data: Vec<u8>,
}

impl Reading {
    /// A file of `len` bytes, none of them like those a page before or after.
    fn new(env: &Env, len: usize) -> Self {
        let flags = init_flags::ASYNC_READ | init_flags::MAX_PAGES;
        let config = InitConfig {
            flags,
            max_pages: 256,
            ..Default::default()
        };
        let fs = Fs::with(env, |options| options, &config);
        let data = (0..len)
            .map(|i| (i * 7 + i / PAGE * 13 + i / 251) as u8)
            .collect();
        Self { fs, data }
    }

    /// Has the file read; `answer` gets each READ, and the bytes that it asks for.
    fn run(&self, mut answer: impl FnMut(&Req, &[u8])) {
        let path = self.fs.path("file");
        let caller = call(move || sys::contents(&path));
        loop {
            if !self
                .fs
                .channel
                .wait_readable(Duration::from_millis(10))
                .unwrap()
            {
                if !caller.still_waits(Duration::ZERO) {
                    panic!("the result was lost");
                }
                continue;
            }
            let req = self.fs.next();
            match req.opcode() {
                Opcode::Lookup => self.fs.reply(&req, &entry(FILE, self.data.len() as u64)),
                Opcode::Open => self.fs.reply(&req, &abi::OpenOut::default()),
                Opcode::Release => self.fs.reply_bytes(&req, &[]),
                Opcode::Flush => {
                    self.fs.reply_bytes(&req, &[]);
                    break;
                }
                Opcode::Read => {
                    let arg = *match req.operation() {
                        rawfuse::Operation::Read(arg) => arg,
                        other => panic!("{other:?}"),
                    };
                    let rest = &self.data[(arg.offset as usize).min(self.data.len())..];
                    answer(&req, &rest[..rest.len().min(arg.size as usize)]);
                }
                other => panic!("a request for {other:?}"),
            }
        }
        assert!(
            caller.result().unwrap() == self.data,
            "the file reads as it should"
        );
    }

    /// Answers one READ through a pipe: the header and each piece of `data` in buffers of its own.
    fn reply(&self, req: &Req, data: &[u8], pieces: usize, flags: u32) {
        let pipe = Pipe::of_packets().resize(512);
        let bytes = reply(req.unique(), 0, data);
        pipe.put(&bytes[..16]);
        for piece in data.chunks(pieces) {
            pipe.put(piece);
        }
        let len = pipe.splice_to(self.fs.channel.as_fd(), bytes.len(), flags);
        assert_eq!(len.unwrap(), bytes.len());
    }
}

/// Counts how often the kernel exchanges a page of the page cache for another.
struct Moves;

const PROBES: &str = "/sys/kernel/tracing/kprobe_events";
const PROBE: &str = "/sys/kernel/tracing/events/kprobes/guest_moves/enable";

impl Moves {
    fn count_from_now() -> Self {
        if !Path::new(PROBES).exists() {
            let nothing: Option<&str> = None;
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(
                nothing,
                "/sys/kernel/tracing",
                Some("tracefs"),
                flags,
                nothing,
            )
            .expect("tracefs");
        }
        std::fs::write(PROBES, "p:guest_moves replace_page_cache_folio\n").expect("a probe");
        std::fs::write(PROBE, "1").expect("a probe");
        Moves
    }

    fn count(&self) -> usize {
        let profile = PathBuf::from(PROBES).with_file_name("kprobe_profile");
        let profile = std::fs::read_to_string(profile).expect("the probe's count");
        let line = profile.lines().find(|line| line.contains("guest_moves"));
        let count = line.and_then(|line| line.split_whitespace().nth(1));
        count.expect("the probe's count").parse().expect("a number")
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        // Nothing is left to be done when this fails.
        let _ = std::fs::write(PROBE, "0");
        let _ = std::fs::write(PROBES, "-:guest_moves\n");
    }
}

fn write_pages(env: &Env) {
    let moves = Moves::count_from_now();
    let file = Reading::new(env, 40 * PAGE);
    file.run(|req, data| file.reply(req, data, PAGE, 0));
    assert_eq!(moves.count(), 0, "nobody asked for it");
}

fn write_pages_that_can_move(env: &Env) {
    let moves = Moves::count_from_now();
    let file = Reading::new(env, 40 * PAGE);
    file.run(|req, data| file.reply(req, data, PAGE, SPLICE_F_MOVE));
    assert_eq!(moves.count(), 40, "each page was moved");
    // They are pages of the file now, like any.
    system::drop_caches(1);
    file.run(|req, data| file.reply(req, data, PAGE, SPLICE_F_MOVE));
    assert_eq!(moves.count(), 80, "each page was moved");
}

fn write_pages_that_are_shared(env: &Env) {
    let moves = Moves::count_from_now();
    let file = Reading::new(env, 40 * PAGE);
    file.run(|req, data| {
        let (pipe, other) = (Pipe::of_packets().resize(512), Pipe::new().resize(512));
        let bytes = reply(req.unique(), 0, data);
        pipe.put(&bytes[..16]);
        pipe.put(data);
        assert_eq!(pipe.tee(&other), bytes.len());
        let len = pipe.splice_to(file.fs.channel.as_fd(), bytes.len(), SPLICE_F_MOVE);
        assert_eq!(len.unwrap(), bytes.len());
        assert!(other.drain() == bytes);
    });
    assert_eq!(moves.count(), 0, "they are in the other pipe too");
}

fn write_pages_of_a_file(env: &Env) {
    let file = Reading::new(env, 40 * PAGE);
    let path = Path::new(system::SCRATCH).join("splice-source");
    std::fs::write(&path, &file.data).unwrap();
    file.run(|req, data| {
        let arg = match req.operation() {
            rawfuse::Operation::Read(arg) => *arg,
            other => panic!("{other:?}"),
        };
        let pipe = Pipe::new().resize(512);
        let bytes = reply(req.unique(), 0, data);
        pipe.put(&bytes[..16]);
        let mut source = std::fs::File::open(&path).unwrap();
        io::Seek::seek(&mut source, io::SeekFrom::Start(arg.offset)).unwrap();
        let mut left = data.len();
        while left > 0 {
            left -= pipe.splice_from(source.as_fd(), left, 0).unwrap();
        }
        let len = pipe.splice_to(file.fs.channel.as_fd(), bytes.len(), SPLICE_F_MOVE);
        assert_eq!(len.unwrap(), bytes.len());
    });
    assert!(
        std::fs::read(&path).unwrap() == file.data,
        "the other file is as it was"
    );
    std::fs::remove_file(&path).unwrap();
}

fn write_pages_unaligned(env: &Env) {
    let moves = Moves::count_from_now();
    let file = Reading::new(env, 20 * PAGE);
    for piece in [1000, PAGE - 1, PAGE / 2] {
        file.run(|req, data| file.reply(req, data, piece, SPLICE_F_MOVE));
        system::drop_caches(1);
    }
    assert_eq!(moves.count(), 0, "no buffer is a page of the file");
    // The second half is in place.
    file.run(|req, data| {
        let pipe = Pipe::of_packets().resize(512);
        let bytes = reply(req.unique(), 0, data);
        pipe.put(&bytes[..16]);
        pipe.put(&data[..100]);
        pipe.put(&data[100..PAGE.min(data.len())]);
        for piece in data[PAGE.min(data.len())..].chunks(PAGE) {
            pipe.put(piece);
        }
        let len = pipe.splice_to(file.fs.channel.as_fd(), bytes.len(), SPLICE_F_MOVE);
        assert_eq!(len.unwrap(), bytes.len());
    });
    assert!(
        (10..20).contains(&moves.count()),
        "{} were moved",
        moves.count()
    );
}

fn write_pages_and_an_end(env: &Env) {
    let file = Reading::new(env, 5 * PAGE + 77);
    file.run(|req, data| file.reply(req, data, PAGE, SPLICE_F_MOVE));
}
