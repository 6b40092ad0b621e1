// SPDX-License-Identifier: GPL-2.0

//! The least of a daemon: it has the [`tree`](crate::tree), keeps nothing that is written, and
//! counts the references that the kernel holds, which `statfs(2)` shows as the number of files.

use crate::{measure::MIB, tree};
use nix::sys::memfd::MFdFlags;
use rawfuse::{
    abi::{self, init_flags, open_flags},
    answer_init, in_threads, is_large, Buffer, Channel, Errno, InitConfig, Kind, Mount,
    MountOptions, Operation, Pipes, Request, Taken,
};
use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        Mutex, MutexGuard,
    },
};
use zerocopy::{Immutable, IntoBytes};

/// What of a daemon differs from measurement to measurement.
#[derive(Clone, Copy)]
pub struct Daemon {
    /// How many threads answer requests.
    pub threads: usize,
    /// Whether the kernel is to keep what is written, and send it later.
    pub writeback: bool,
    /// Whether directories are listed with READDIR, not READDIRPLUS.
    pub plain: bool,
    /// Whether large data moves by `splice(2)`.
    pub splice: bool,
    /// Whether each thread has a device of its own.
    pub cloned: bool,
    /// How many requests that nobody waits for there may be; 0 for what the kernel thinks right.
    pub max_background: u16,
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
const HELD: u64 = 8;
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
        plain: false,
        splice: false,
        cloned: false,
        max_background: 0,
    };

    /// Answers requests until the file system is gone.
    pub fn serve(&self, kind: Kind, channel: &Channel) {
        let shared = Shared {
            flags: self.flags(),
            max_background: self.max_background,
            references: AtomicU64::new(0),
            new: AtomicU64::new(IN_NEW),
            zeroes: vec![0; MAX_DATA],
            held: Mutex::new(Some(Vec::new())),
        };
        let thread = || -> io::Result<()> {
            let own = self.cloned.then(|| clone(kind, channel)).transpose()?;
            let channel = own.as_ref().unwrap_or(channel);
            match self.splice {
                true => shared.answer_moving(channel),
                false => shared.answer_all(channel),
            }
        };
        if let Err(error) = in_threads(self.threads, thread) {
            eprintln!("bench: the daemon: {error}");
        }
    }

    fn flags(&self) -> u64 {
        let splice = init_flags::SPLICE_READ | init_flags::SPLICE_WRITE | init_flags::SPLICE_MOVE;
        let wanted = [
            (self.writeback, init_flags::WRITEBACK_CACHE),
            (!self.plain, init_flags::DO_READDIRPLUS),
            (self.splice, splice),
        ];
        let wanted = wanted.iter().filter(|(is_wanted, _)| *is_wanted);
        wanted.fold(0, |all, (_, flags)| all | flags)
            | init_flags::ASYNC_DIO
            | init_flags::ASYNC_READ
            | init_flags::ATOMIC_O_TRUNC
            | init_flags::BIG_WRITES
            | init_flags::MAX_PAGES
            | init_flags::PARALLEL_DIROPS
    }
}

/// What the threads have in common.
struct Shared {
    flags: u64,
    max_background: u16,
    /// References to nodes, as the kernel has them.
    references: AtomicU64,
    /// The node that is made next.
    new: AtomicU64,
    zeroes: Vec<u8>,
    /// READs that wait for the first STATFS; none when that was here.
    held: Mutex<Option<Vec<u64>>>,
}

impl Shared {
    fn answer_all(&self, channel: &Channel) -> io::Result<()> {
        let mut buffer = Buffer::for_max_write(MAX_DATA);
        // Where a thread puts entries of directories.
        let mut entries = Vec::new();
        while let Some(request) = channel.receive(&mut buffer)? {
            self.answer(channel, &request, &mut entries)?;
        }
        Ok(())
    }

    /// The same, with large data moved between the device and files by way of pipes.
    fn answer_moving(&self, channel: &Channel) -> io::Result<()> {
        let mut buffer = Buffer::for_max_write(MAX_DATA);
        let (pipes, mut entries) = (Pipes::new(MAX_DATA)?, Vec::new());
        let (data, nowhere) = (memory_file()?, File::create("/dev/null")?);
        while let Some(taken) = pipes.receive(channel, &mut buffer)? {
            match taken {
                Taken::Write(header, arg) => {
                    let size = pipes.write(&arg, &nowhere)? as u32;
                    let out = abi::WriteOut {
                        size,
                        ..Default::default()
                    };
                    channel.reply(header.unique, &out)?;
                }
                Taken::Whole(request) => match request.operation() {
                    Ok(Operation::Read(arg)) if is_large(arg) => {
                        let len = pipes.read(arg, &data)?;
                        pipes.reply(channel, request.unique(), len)?;
                    }
                    _ => self.answer(channel, &request, &mut entries)?,
                },
            }
        }
        Ok(())
    }

    fn answer(
        &self,
        channel: &Channel,
        request: &Request<'_>,
        entries: &mut Vec<u8>,
    ) -> io::Result<()> {
        let (unique, nodeid) = (request.unique(), request.nodeid());
        match request.operation() {
            Ok(Operation::Getattr(_) | Operation::Setattr(_)) => {
                let out = abi::AttrOut {
                    attr_valid: attr_valid(nodeid),
                    attr: attr(nodeid),
                    ..Default::default()
                };
                channel.reply(unique, &out)
            }
            Ok(Operation::Lookup { name }) => match named(name.as_encoded_bytes()) {
                Some(nodeid) => channel.reply(unique, &self.found(nodeid)),
                None => channel.reply_error(unique, Errno::ENOENT),
            },
            Ok(Operation::Forget(forget)) => {
                self.references.fetch_sub(forget.nlookup, Relaxed);
                Ok(())
            }
            Ok(Operation::BatchForget(forgets)) => {
                let nlookup = forgets.iter().map(|forget| forget.nlookup).sum();
                self.references.fetch_sub(nlookup, Relaxed);
                Ok(())
            }
            Ok(Operation::Open(_) | Operation::Opendir(_)) => {
                channel.reply(unique, &opened(nodeid))
            }
            Ok(Operation::Create { .. }) => {
                let nodeid = self.new.fetch_add(1, Relaxed);
                let (entry, open) = (self.found(nodeid), opened(nodeid));
                let parts = [entry.as_bytes(), open.as_bytes()];
                channel.reply_bytes(unique, &parts)
            }
            Ok(Operation::Unlink { .. } | Operation::Release(_) | Operation::Releasedir(_)) => {
                channel.reply_bytes(unique, &[])
            }
            Ok(Operation::Read(_)) if nodeid == HELD && self.holds(unique) => Ok(()),
            Ok(Operation::Read(read)) => {
                let data = &self.zeroes[..read.size as usize];
                channel.reply_bytes(unique, &[data])
            }
            Ok(Operation::Write { arg, .. }) => {
                let out = abi::WriteOut {
                    size: arg.size,
                    ..Default::default()
                };
                channel.reply(unique, &out)
            }
            Ok(Operation::Readdir(read)) => {
                list(nodeid, read, entries, |_| ());
                channel.reply_bytes(unique, &[entries])
            }
            Ok(Operation::Readdirplus(read)) => {
                list(nodeid, read, entries, |nodeid| self.found(nodeid));
                channel.reply_bytes(unique, &[entries])
            }
            Ok(Operation::Statfs) => {
                for read in self.held().take().unwrap_or_default() {
                    channel.reply_bytes(read, &[])?;
                }
                let mut out = abi::StatfsOut::default();
                out.st.files = self.references.load(Relaxed);
                channel.reply(unique, &out)
            }
            Ok(Operation::Init(_)) => self.init(channel, request),
            _ if request.has_reply() => channel.reply_error(unique, Errno::ENOSYS),
            _ => Ok(()),
        }
    }

    fn held(&self) -> MutexGuard<'_, Option<Vec<u64>>> {
        self.held.lock().unwrap_or_else(|error| error.into_inner())
    }

    /// Holds a READ back, if the time for that has not passed.
    fn holds(&self, unique: u64) -> bool {
        let mut held = self.held();
        held.as_mut().map(|reads| reads.push(unique)).is_some()
    }

    fn init(&self, channel: &Channel, request: &Request<'_>) -> io::Result<()> {
        let config = InitConfig {
            flags: self.flags,
            max_write: MAX_DATA as u32,
            max_pages: (MAX_DATA / 4096) as u16,
            max_background: self.max_background,
            ..Default::default()
        };
        match answer_init(channel, request, &config)? {
            Some(session) if session.flags != self.flags => Err(io::Error::other(format!(
                "the kernel does not offer {:#x}",
                self.flags & !session.flags
            ))),
            _ => Ok(()),
        }
    }

    /// A node that the kernel holds one reference more to.
    fn found(&self, nodeid: u64) -> abi::EntryOut {
        self.references.fetch_add(1, Relaxed);
        abi::EntryOut {
            nodeid,
            entry_valid: FOREVER,
            attr_valid: attr_valid(nodeid),
            attr: attr(nodeid),
            ..Default::default()
        }
    }
}

/// Puts as many entries as there is room for into `entries`, each behind what `found` says of its node:
/// nothing, for READDIR.
fn list<T: IntoBytes + Immutable>(
    dir: u64,
    read: &abi::ReadIn,
    entries: &mut Vec<u8>,
    found: impl Fn(u64) -> T,
) {
    entries.clear();
    let (first, count) = match dir {
        MANY => (IN_MANY, tree::MANY_FILES),
        MILLION => (IN_MILLION, tree::MILLION_FILES),
        _ => (0, 0),
    };
    // A name of 8 bytes needs nothing behind it.
    let size = size_of::<T>() + size_of::<abi::Dirent>() + tree::name(0).len();
    let room = read.size as usize / size;
    for index in (read.offset..count).take(room) {
        let name = tree::name(index);
        let entry = abi::Dirent {
            ino: first + index,
            off: index + 1,
            namelen: name.len() as u32,
            r#type: u32::from(libc::DT_REG),
        };
        entries.extend_from_slice(found(first + index).as_bytes());
        entries.extend_from_slice(entry.as_bytes());
        entries.extend_from_slice(&name);
    }
}

/// A file in memory with [`tree::DATA_SIZE`] bytes.
fn memory_file() -> io::Result<File> {
    let file = File::from(nix::sys::memfd::memfd_create(c"data", MFdFlags::empty())?);
    (&file).write_all(&vec![0; tree::DATA_SIZE])?;
    Ok(file)
}

/// A device of its own that leads where `channel` does.
fn clone(kind: Kind, channel: &Channel) -> io::Result<Channel> {
    let new = Channel::open(&kind)?;
    new.clone_of(channel)?;
    Ok(new)
}

fn named(name: &[u8]) -> Option<u64> {
    let nodes = [
        (tree::FILE, FILE),
        (tree::CACHED, CACHED),
        (tree::DATA, DATA),
        (tree::DIRECT, DIRECT),
        (tree::MANY, MANY),
        (tree::MILLION, MILLION),
        (tree::HELD, HELD),
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
        DATA | DIRECT | HELD => tree::DATA_SIZE as u64,
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
