// SPDX-License-Identifier: GPL-2.0

//! Many requests at once: every caller gets the reply to its own request, once.

use crate::{
    caller::{eventually, process},
    env::Env,
    fs, sys, system,
    tests::tests,
    trace::Parts,
};
use rawfuse::{
    abi::{self, init_flags, open_flags, Opcode},
    answer_init, Buffer, Channel, Errno, InitConfig, MountOptions, Operation, Request,
};
use std::{
    fs::{read_to_string, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};
use zerocopy::IntoBytes;

tests![no_reply_is_lost_or_doubled => 200];

/// As many callers as daemon threads.
const THREADS: usize = 8;
/// How many requests a caller makes before the trace is read: all of it is in the buffer then.
const ROUND: u64 = 1500;

/// What stands in for contents: it follows from where it is, and from nothing else.
fn mixed(nodeid: u64, place: u64) -> u64 {
    let mut mixed = nodeid.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ place;
    mixed = (mixed ^ mixed >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    mixed ^ mixed >> 32
}

/// The node of a caller's file.
fn file_node(caller: u64) -> u64 {
    2 + caller
}

/// From here on, nodes are for names that are looked up once.
const ONCE: u64 = 1 << 40;

/// The daemon: what it answers tells which request it is for.
#[derive(Default)]
struct Teller {
    /// How often the attributes of each file were asked for.
    asked: [AtomicU64; THREADS],
    /// References that the kernel has on nodes that are looked up once.
    references: AtomicU64,
}

impl Teller {
    fn serve(&self, channel: &Channel) -> io::Result<()> {
        let mut buffer = Buffer::new(Buffer::DEFAULT_SIZE);
        while let Some(request) = channel.receive(&mut buffer)? {
            match self.answer(channel, &request) {
                // The file system is gone, and with it who closed the last file.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(()),
                other => other?,
            }
        }
        Ok(())
    }

    fn answer(&self, channel: &Channel, request: &Request<'_>) -> io::Result<()> {
        let (nodeid, unique) = (request.nodeid(), request.unique());
        let operation = request.operation().map_err(io::Error::other)?;
        match operation {
            Operation::Init(_) => {
                let config = InitConfig {
                    flags: init_flags::PARALLEL_DIROPS,
                    ..Default::default()
                };
                answer_init(channel, request, &config).map(drop)
            }
            Operation::Lookup { name } => {
                let name = name.to_str().unwrap_or_default();
                let number = u64::from_str_radix(name.get(1..).unwrap_or_default(), 16);
                let number = number.map_err(io::Error::other)?;
                let mut entry = abi::EntryOut {
                    entry_valid: 3600,
                    ..Default::default()
                };
                if name.starts_with('f') {
                    entry.nodeid = file_node(number);
                    entry.attr = attr(file_node(number), 0);
                } else {
                    self.references.fetch_add(1, Relaxed);
                    entry.nodeid = ONCE | number;
                    entry.attr_valid = 3600;
                    entry.attr = attr(ONCE | number, mixed(0, number));
                }
                channel.reply(unique, &entry)
            }
            Operation::Getattr(_) => {
                let time = match nodeid.checked_sub(file_node(0)) {
                    Some(caller) => self.asked[caller as usize].fetch_add(1, Relaxed) + 1,
                    None => 0,
                };
                let out = abi::AttrOut {
                    attr: attr(nodeid, time),
                    ..Default::default()
                };
                channel.reply(unique, &out)
            }
            Operation::Open(_) => {
                let out = abi::OpenOut {
                    open_flags: open_flags::DIRECT_IO | open_flags::NOFLUSH,
                    ..Default::default()
                };
                channel.reply(unique, &out)
            }
            Operation::Read(arg) => {
                let words = u64::from(arg.size) / 8;
                let data: Vec<u64> = (0..words)
                    .map(|at| mixed(nodeid, arg.offset + at))
                    .collect();
                channel.reply_bytes(unique, &[data.as_bytes()])
            }
            Operation::Forget(arg) => {
                self.forgotten(nodeid, arg.nlookup);
                Ok(())
            }
            Operation::BatchForget(all) => {
                for one in all {
                    self.forgotten(one.nodeid, one.nlookup);
                }
                Ok(())
            }
            // How many references there are still: asked for once, at the end.
            Operation::Statfs => {
                let mut out = abi::StatfsOut::default();
                out.st.files = self.references.load(Relaxed);
                channel.reply(unique, &out)
            }
            Operation::Release(_) => channel.reply_bytes(unique, &[]),
            _ => channel.reply_error(unique, Errno::ENOSYS),
        }
    }

    fn forgotten(&self, nodeid: u64, nlookup: u64) {
        if nodeid >= ONCE {
            self.references.fetch_sub(nlookup, Relaxed);
        }
    }
}

fn attr(nodeid: u64, time: u64) -> abi::Attr {
    let mode = match nodeid {
        abi::ROOT_ID => libc::S_IFDIR | 0o755,
        _ => libc::S_IFREG | 0o644,
    };
    abi::Attr {
        ino: nodeid,
        mode,
        nlink: 1,
        size: 1 << 60,
        mtime: time & i64::MAX as u64,
        ..Default::default()
    }
}

/// One who asks, and knows what is right.
struct Caller {
    number: u64,
    dir: PathBuf,
    file: File,
    /// How many requests it has made, in all and of each kind.
    made: u64,
    kinds: [u64; 3],
}

impl Caller {
    #[track_caller]
    fn new(dir: &Path, number: u64) -> Self {
        let file = sys::open(&dir.join(format!("f{number:x}"))).expect("open");
        Self {
            number,
            dir: dir.into(),
            file,
            made: 0,
            kinds: [0; 3],
        }
    }

    fn round(&mut self) {
        for _ in 0..ROUND {
            // No two requests are for the same.
            let place = self.number << 32 | self.made;
            self.made += 1;
            let kind = (self.made % 3) as usize;
            self.kinds[kind] += 1;
            match kind {
                0 => self.read(place),
                1 => self.attributes(),
                _ => self.look_up(place),
            }
        }
    }

    fn read(&self, place: u64) {
        let mut bytes = [0; 32];
        let len = self.file.read_at(&mut bytes, place << 16).expect("read");
        let expected = [0, 1, 2, 3].map(|at| mixed(file_node(self.number), (place << 16) + at));
        assert_eq!(
            (len, bytes.as_slice()),
            (32, expected.as_bytes()),
            "what is at {place:x}"
        );
    }

    /// Nobody else asks for those of this file, so they tell how often they were.
    fn attributes(&self) {
        let time = sys::fstat(&self.file).expect("fstat").st_mtime as u64;
        assert_eq!(time, self.kinds[1], "how often the daemon was asked");
    }

    fn look_up(&self, place: u64) {
        let found = sys::stat(&self.dir.join(format!("n{place:x}"))).expect("stat");
        assert_eq!(found.st_ino, ONCE | place);
        assert_eq!(
            found.st_mtime as u64,
            mixed(0, place) & i64::MAX as u64,
            "of {place:x}"
        );
    }
}

/// How many requests of a kind have ended, and how many with an error, as the module has it.
#[track_caller]
fn ended(control: &Path, opcode: Opcode) -> (u64, u64) {
    let text = read_to_string(control.join("latency")).expect("latency");
    let start = format!("opcode={} ", opcode.name());
    let line = text
        .lines()
        .find(|line| line.starts_with(&start))
        .expect("a line");
    let field = |name: &str| {
        let mut fields = line.split(' ').filter_map(|field| field.split_once('='));
        let found = fields.find(|(field, _)| *field == name);
        found
            .and_then(|(_, value)| value.parse().ok())
            .expect("a number")
    };
    (field("requests"), field("errors"))
}

fn no_reply_is_lost_or_doubled(env: &Env) {
    let wanted = match env.long {
        true => 1_000_000,
        false => 50_000,
    };
    let (channel, mount, dir) = fs::mount(env, &MountOptions::new(env.kind));
    let daemon = process(|| {
        let teller = Teller::default();
        let serve = || teller.serve(&channel);
        let served = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(serve)).collect();
            // All are waited for, whatever the first of them says.
            let ended: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().expect("a thread"))
                .collect();
            ended.into_iter().collect()
        });
        match served {
            Ok(()) => 0,
            Err(error) => {
                eprintln!("the daemon: {error}");
                1
            }
        }
    });
    drop(channel);
    let mut callers: Vec<_> = (0..THREADS as u64)
        .map(|number| Caller::new(&dir, number))
        .collect();
    let mut trace = Parts::new(env);
    let mut made = 0;
    while made < wanted {
        thread::scope(|scope| {
            for caller in &mut callers {
                scope.spawn(|| caller.round());
            }
        });
        made = callers.iter().map(|caller| caller.made).sum();
        trace.read();
    }
    let kind = |kind: usize| callers.iter().map(|caller| caller.kinds[kind]).sum::<u64>();
    if env.is_rust() {
        let control = fs::control_dir(env, &dir);
        assert_eq!(ended(&control, Opcode::Read), (kind(0), 0));
        assert_eq!(ended(&control, Opcode::Getattr), (kind(1), 0));
        assert_eq!(
            ended(&control, Opcode::Lookup),
            (kind(2) + THREADS as u64, 0)
        );
    }
    // What was looked up is forgotten, every reference of it.
    eventually("all references given back", || {
        system::drop_caches(2);
        nix::sys::statfs::statfs(&dir).expect("statfs").files() == 0
    });
    println!("{made} requests; {}", trace.end(made));
    drop(callers);
    drop(mount);
    assert_eq!(daemon.code(), 0, "the daemon");
}
