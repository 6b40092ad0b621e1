// SPDX-License-Identifier: GPL-2.0

//! The least of a daemon: it has the [`tree`](crate::tree), keeps nothing that is written, and
//! counts the references that the kernel holds, which `statfs(2)` shows as the number of files.

use crate::{measure::MIB, tree};
use rawfuse::{
    abi::{self, init_flags, open_flags},
    answer_init, Buffer, Channel, Errno, InitConfig, Kind, Mount, MountOptions, Operation, Request,
};
use std::{
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    thread,
};
use zerocopy::IntoBytes;

/// What of a daemon differs from measurement to measurement.
#[derive(Clone, Copy)]
pub struct Daemon {
    /// How many threads answer requests.
    pub threads: usize,
    /// Whether the kernel is to keep what is written, and send it later.
    pub writeback: bool,
}

/// The most data in one request: 1 MiB.
const MAX_DATA: usize = MIB;
/// What holds for ever does so for that many seconds.
const FOREVER: u64 = 1 << 32;

const FILE: u64 = 2;
const CACHED: u64 = 3;
const DATA: u64 = 4;
const DIRECT: u64 = 5;
const MANY: u64 = 6;
const MILLION: u64 = 7;
/// The first file of [`MANY`], of [`MILLION`], and the first that is made.
const IN_MANY: u64 = 1_000_000;
const IN_MILLION: u64 = 2_000_000;
const IN_NEW: u64 = 4_000_000;

/// Mounts the file system on `target`.
pub fn mount(kind: Kind, target: &Path) -> io::Result<(Channel, Mount)> {
    let channel = Channel::open(&kind)?;
    let mount = MountOptions::new(kind).mount(&channel, target)?;
    Ok((channel, mount))
}

impl Daemon {
    /// The simplest.
    pub const ONE: Daemon = Daemon {
        threads: 1,
        writeback: false,
    };

    /// Answers requests until the file system is gone.
    pub fn serve(&self, channel: &Channel) {
        let shared = Shared {
            channel,
            flags: self.flags(),
            held: AtomicU64::new(0),
            new: AtomicU64::new(IN_NEW),
            zeroes: vec![0; MAX_DATA],
        };
        thread::scope(|scope| {
            for _ in 0..self.threads {
                scope.spawn(|| {
                    if let Err(error) = shared.answer_all() {
                        eprintln!("bench: the daemon: {error}");
                    }
                });
            }
        });
    }

    fn flags(&self) -> u64 {
        let writeback = match self.writeback {
            true => init_flags::WRITEBACK_CACHE,
            false => 0,
        };
        writeback
            | init_flags::ASYNC_READ
            | init_flags::ATOMIC_O_TRUNC
            | init_flags::BIG_WRITES
            | init_flags::DO_READDIRPLUS
            | init_flags::MAX_PAGES
            | init_flags::PARALLEL_DIROPS
    }
}

/// What the threads have in common.
struct Shared<'a> {
    channel: &'a Channel,
    flags: u64,
    /// References to nodes, as the kernel has them.
    held: AtomicU64,
    /// The node that is made next.
    new: AtomicU64,
    zeroes: Vec<u8>,
}

impl Shared<'_> {
    fn answer_all(&self) -> io::Result<()> {
        let mut buffer = Buffer::for_max_write(MAX_DATA);
        // Where a thread puts entries of directories.
        let mut entries = Vec::new();
        while let Some(request) = self.channel.receive(&mut buffer)? {
            self.answer(&request, &mut entries)?;
        }
        Ok(())
    }

    fn answer(&self, request: &Request<'_>, entries: &mut Vec<u8>) -> io::Result<()> {
        let (unique, nodeid) = (request.unique(), request.nodeid());
        match request.operation() {
            Ok(Operation::Getattr(_) | Operation::Setattr(_)) => {
                let out = abi::AttrOut {
                    attr_valid: attr_valid(nodeid),
                    attr: attr(nodeid),
                    ..Default::default()
                };
                self.channel.reply(unique, &out)
            }
            Ok(Operation::Lookup { name }) => match named(name.as_encoded_bytes()) {
                Some(nodeid) => self.channel.reply(unique, &self.found(nodeid)),
                None => self.channel.reply_error(unique, Errno::ENOENT),
            },
            Ok(Operation::Forget(forget)) => {
                self.held.fetch_sub(forget.nlookup, Relaxed);
                Ok(())
            }
            Ok(Operation::BatchForget(forgets)) => {
                let nlookup = forgets.iter().map(|forget| forget.nlookup).sum();
                self.held.fetch_sub(nlookup, Relaxed);
                Ok(())
            }
            Ok(Operation::Open(_) | Operation::Opendir(_)) => {
                self.channel.reply(unique, &opened(nodeid))
            }
            Ok(Operation::Create { .. }) => {
                let nodeid = self.new.fetch_add(1, Relaxed);
                let (entry, open) = (self.found(nodeid), opened(nodeid));
                let parts = [entry.as_bytes(), open.as_bytes()];
                self.channel.reply_bytes(unique, &parts)
            }
            Ok(Operation::Unlink { .. } | Operation::Release(_) | Operation::Releasedir(_)) => {
                self.channel.reply_bytes(unique, &[])
            }
            Ok(Operation::Read(read)) => {
                let data = &self.zeroes[..read.size as usize];
                self.channel.reply_bytes(unique, &[data])
            }
            Ok(Operation::Write { arg, .. }) => {
                let out = abi::WriteOut {
                    size: arg.size,
                    ..Default::default()
                };
                self.channel.reply(unique, &out)
            }
            Ok(Operation::Readdirplus(read)) => {
                self.list(nodeid, read, entries);
                self.channel.reply_bytes(unique, &[entries])
            }
            Ok(Operation::Statfs) => {
                let mut out = abi::StatfsOut::default();
                out.st.files = self.held.load(Relaxed);
                self.channel.reply(unique, &out)
            }
            Ok(Operation::Init(_)) => self.init(request),
            _ if request.has_reply() => self.channel.reply_error(unique, Errno::ENOSYS),
            _ => Ok(()),
        }
    }

    fn init(&self, request: &Request<'_>) -> io::Result<()> {
        let config = InitConfig {
            flags: self.flags,
            max_write: MAX_DATA as u32,
            max_pages: (MAX_DATA / 4096) as u16,
            ..Default::default()
        };
        match answer_init(self.channel, request, &config)? {
            Some(session) if session.flags != self.flags => Err(io::Error::other(format!(
                "the kernel does not offer {:#x}",
                self.flags & !session.flags
            ))),
            _ => Ok(()),
        }
    }

    /// A node that the kernel holds one reference more to.
    fn found(&self, nodeid: u64) -> abi::EntryOut {
        self.held.fetch_add(1, Relaxed);
        abi::EntryOut {
            nodeid,
            entry_valid: FOREVER,
            attr_valid: attr_valid(nodeid),
            attr: attr(nodeid),
            ..Default::default()
        }
    }

    /// Puts as many entries as there is room for into `entries`.
    fn list(&self, dir: u64, read: &abi::ReadIn, entries: &mut Vec<u8>) {
        entries.clear();
        let (first, count) = match dir {
            MANY => (IN_MANY, tree::MANY_FILES),
            MILLION => (IN_MILLION, tree::MILLION_FILES),
            _ => (0, 0),
        };
        // A name of 8 bytes needs nothing behind it.
        let size = size_of::<abi::Direntplus>() + tree::name(0).len();
        let room = read.size as usize / size;
        for index in (read.offset..count).take(room) {
            let name = tree::name(index);
            let entry = abi::Direntplus {
                entry_out: self.found(first + index),
                dirent: abi::Dirent {
                    ino: first + index,
                    off: index + 1,
                    namelen: name.len() as u32,
                    r#type: u32::from(libc::DT_REG),
                },
            };
            entries.extend_from_slice(entry.as_bytes());
            entries.extend_from_slice(&name);
        }
    }
}

fn named(name: &[u8]) -> Option<u64> {
    let nodes = [
        (tree::FILE, FILE),
        (tree::CACHED, CACHED),
        (tree::DATA, DATA),
        (tree::DIRECT, DIRECT),
        (tree::MANY, MANY),
        (tree::MILLION, MILLION),
    ];
    nodes
        .iter()
        .find(|(known, _)| known.as_bytes() == name)
        .map(|(_, nodeid)| *nodeid)
}

fn opened(nodeid: u64) -> abi::OpenOut {
    abi::OpenOut {
        open_flags: match nodeid {
            DIRECT => open_flags::DIRECT_IO,
            _ => open_flags::KEEP_CACHE,
        },
        ..Default::default()
    }
}

fn attr_valid(nodeid: u64) -> u64 {
    match nodeid {
        FILE => 0,
        _ => FOREVER,
    }
}

fn attr(nodeid: u64) -> abi::Attr {
    let mode = match nodeid {
        abi::ROOT_ID | MANY | MILLION => libc::S_IFDIR | 0o755,
        _ => libc::S_IFREG | 0o644,
    };
    let size = match nodeid {
        DATA | DIRECT => tree::DATA_SIZE as u64,
        _ => 0,
    };
    abi::Attr {
        ino: nodeid,
        size,
        blocks: size / 512,
        mode,
        nlink: 1,
        ..Default::default()
    }
}
