// SPDX-License-Identifier: GPL-2.0

//! Those who use a file system all the while and know what has to come of it, whatever becomes of
//! its daemon: writers of blocks that tell where they belong and how new they are, a maker and
//! mover of names, a reader.
//!
//! The file system is one of `memd`, so what has reached the daemon can be seen in its store.

use crate::{
    caller::{process, Process},
    sys, system,
};
use memd::Store;
use nix::{
    fcntl::{posix_fadvise, PosixFadviseAdvice},
    sys::wait::{waitpid, WaitPidFlag, WaitStatus},
};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::Duration,
};

/// Numbers without rhyme or reason, the same each time.
pub struct Random(pub u64);

impl Random {
    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The low bits are the worst.
        (self.0 >> 16) % end
    }
}

/// A process that uses the file system, by several threads.
pub struct Load {
    process: Process,
    stop: PathBuf,
    progress: PathBuf,
}

const READ_ONLY: u64 = 3;
const BLOCKS: [(u64, &str, i32); 3] = [
    (5, "blocks0", 0),
    (7, "blocks1", 0),
    (9, "blocks2", libc::O_DIRECT),
];
const DIRS: [(u64, &str); 2] = [(11, "names0"), (13, "names1")];

/// Puts what there has to be into an empty store.
pub fn prepare(store: &Store) {
    let all = || {
        store.add(READ_ONLY, "file", &stream(READ_ONLY, READ_ONLY_SIZE))?;
        BLOCKS
            .iter()
            .try_for_each(|(nodeid, name, _)| store.add(*nodeid, name, b""))?;
        DIRS.iter()
            .try_for_each(|(nodeid, name)| store.add_dir(*nodeid, name))
    };
    let result: io::Result<()> = all();
    result.expect("the store");
}

impl Load {
    /// Starts it, on what is mounted on `dir` and kept in `store`. To be called while this process
    /// has one thread.
    #[track_caller]
    pub fn start(dir: &Path, store: &Store) -> Self {
        let sign = |name| Path::new(system::SCRATCH).join(format!("{name}-{}", std::process::id()));
        let (stop, progress) = (sign("stop"), sign("progress"));
        // There is none, most often.
        let _ = fs::remove_file(&stop);
        fs::write(&progress, 0_u64.to_ne_bytes()).expect("progress");
        let process = process(|| match work(dir, store, &stop, &progress) {
            Ok(()) => 0,
            Err(why) => {
                eprintln!("{why}");
                1
            }
        });
        Self {
            process,
            stop,
            progress,
        }
    }

    /// How many operations there were so far.
    pub fn made(&self) -> u64 {
        let bytes = fs::read(&self.progress).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map_or(0, u64::from_ne_bytes)
    }

    /// Fails the test when it has ended: it has seen an error then, or something wrong.
    #[track_caller]
    pub fn goes_on(&self) {
        let status = waitpid(self.process.pid(), Some(WaitPidFlag::WNOHANG)).expect("waitpid");
        assert_eq!(status, WaitStatus::StillAlive, "those who use it");
    }

    /// Ends it, after all was looked at once more.
    #[track_caller]
    pub fn finish(self) {
        println!("{} operations", self.made());
        fs::write(&self.stop, "").expect("the sign to stop");
        assert_eq!(self.process.code(), 0, "those who use it");
        for file in [&self.stop, &self.progress] {
            fs::remove_file(file).expect("a sign");
        }
    }
}

/// What is wrong, and where.
type Wrong = String;

fn at(what: &str) -> impl Fn(io::Error) -> Wrong + '_ {
    move |error| format!("{what}: {error}")
}

/// One who uses the file system.
trait User: Send {
    /// Does something.
    fn step(&mut self) -> Result<(), Wrong>;
    /// Looks at all that there should be.
    fn look(&mut self) -> Result<(), Wrong>;
}

fn work(dir: &Path, store: &Store, stop: &Path, progress: &Path) -> Result<(), Wrong> {
    let mut users: Vec<Box<dyn User>> = vec![Box::new(Reader::new(dir)?)];
    for (nodeid, name, flags) in BLOCKS {
        users.push(Box::new(Blocks::new(dir, store, nodeid, name, flags)?));
    }
    for (nodeid, name) in DIRS {
        users.push(Box::new(Names::new(dir.join(name), nodeid)));
    }
    let (made, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let one = |user: &mut dyn User| {
        while !over.load(Relaxed) {
            if let Err(wrong) = user.step() {
                over.store(true, Relaxed);
                return Err(wrong);
            }
            made.fetch_add(1, Relaxed);
        }
        user.look()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = users
            .iter_mut()
            .map(|user| scope.spawn(|| one(user.as_mut())))
            .collect();
        while !over.load(Relaxed) {
            fs::write(progress, made.load(Relaxed).to_ne_bytes()).map_err(at("progress"))?;
            over.fetch_or(stop.exists(), Relaxed);
            thread::sleep(Duration::from_millis(5));
        }
        // All are waited for, whatever the first of them says.
        let results: Vec<_> = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or(Err("a panic".into())))
            .collect();
        results.into_iter().collect()
    })
}

/// Bytes that follow from `seed`.
fn stream(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    (0..len).map(|_| random.below(256) as u8).collect()
}

fn same(what: &str, found: &[u8], expected: &[u8]) -> Result<(), Wrong> {
    if found == expected {
        return Ok(());
    }
    let place = found.iter().zip(expected).position(|(a, b)| a != b);
    let place = place.unwrap_or(found.len().min(expected.len()));
    let around = |bytes: &[u8]| {
        bytes
            .iter()
            .skip(place)
            .take(16)
            .copied()
            .collect::<Vec<_>>()
    };
    Err(format!(
        "{what}: {} bytes, expected {}; from {place} on {:?}, expected {:?}",
        found.len(),
        expected.len(),
        around(found),
        around(expected)
    ))
}

/// Drops what the page cache holds of a file.
fn forget(file: &File) -> io::Result<()> {
    Ok(posix_fadvise(
        file.as_fd(),
        0,
        0,
        PosixFadviseAdvice::POSIX_FADV_DONTNEED,
    )?)
}

const READ_ONLY_SIZE: usize = 1 << 20;

/// Reads one large file, and looks around.
struct Reader {
    dir: PathBuf,
    file: File,
    expected: Vec<u8>,
    random: Random,
}

impl Reader {
    fn new(dir: &Path) -> Result<Self, Wrong> {
        Ok(Self {
            dir: dir.into(),
            file: sys::open(&dir.join("file")).map_err(at("open"))?,
            expected: stream(READ_ONLY, READ_ONLY_SIZE),
            random: Random(1),
        })
    }
}

impl User for Reader {
    fn step(&mut self) -> Result<(), Wrong> {
        let path = self.dir.join("file");
        match self.random.below(6) {
            0 => forget(&self.file).map_err(at("fadvise")),
            1 => {
                let size = sys::stat(&path).map_err(at("stat"))?.st_size;
                match size == READ_ONLY_SIZE as i64 {
                    true => Ok(()),
                    false => Err(format!("file: size {size}")),
                }
            }
            2 => {
                let mut names: Vec<_> = sys::list(&self.dir)
                    .map_err(at("list"))?
                    .into_iter()
                    .map(|entry| entry.name.into_string().unwrap_or_default())
                    .collect();
                names.sort();
                let expected = [
                    ".", "..", "blocks0", "blocks1", "blocks2", "file", "names0", "names1",
                ];
                match names == expected {
                    true => Ok(()),
                    false => Err(format!("the root: {names:?}")),
                }
            }
            3 => {
                self.file = sys::open(&path).map_err(at("open"))?;
                Ok(())
            }
            _ => {
                let start = self.random.below(READ_ONLY_SIZE as u64) as usize;
                let end = (start + self.random.below(100_000) as usize).min(READ_ONLY_SIZE);
                let mut bytes = vec![0; end - start];
                self.file
                    .read_exact_at(&mut bytes, start as u64)
                    .map_err(at("read"))?;
                same("file", &bytes, &self.expected[start..end])
            }
        }
    }

    fn look(&mut self) -> Result<(), Wrong> {
        let found = sys::contents(&self.dir.join("file")).map_err(at("the last read"))?;
        same("file, at the end", &found, &self.expected)
    }
}

/// Bytes in a block: blocks and pages do not end together.
const BLOCK: usize = 1000;
const MOST_BLOCKS: u64 = 100;

/// Writes blocks and reads them back.
struct Blocks {
    name: &'static str,
    path: PathBuf,
    /// Where the daemon keeps the file.
    kept: PathBuf,
    file: File,
    appending: File,
    nodeid: u64,
    /// The number of each block that was written last.
    blocks: Vec<u64>,
    written: u64,
    random: Random,
}

impl Blocks {
    fn new(
        dir: &Path,
        store: &Store,
        nodeid: u64,
        name: &'static str,
        flags: i32,
    ) -> Result<Self, Wrong> {
        let path = dir.join(name);
        let open = |append| {
            let mut options = OpenOptions::new();
            options
                .read(true)
                .write(true)
                .append(append)
                .custom_flags(flags);
            options.open(&path).map_err(at(name))
        };
        Ok(Self {
            name,
            file: open(false)?,
            appending: open(true)?,
            kept: store.path(nodeid),
            path,
            nodeid,
            blocks: Vec::new(),
            written: 0,
            random: Random(nodeid),
        })
    }

    /// What is in some blocks.
    fn bytes(&self, start: usize, end: usize) -> Vec<u8> {
        let blocks = self.blocks[start..end].iter().zip(start as u64..);
        blocks
            .flat_map(|(number, index)| stream(self.nodeid << 48 ^ index << 32 ^ number, BLOCK))
            .collect()
    }

    /// New numbers for some blocks, which may be beyond the end.
    fn renew(&mut self, start: usize, end: usize) -> Vec<u8> {
        self.blocks.resize(self.blocks.len().max(end), 0);
        for index in start..end {
            self.written += 1;
            self.blocks[index] = self.written;
        }
        self.bytes(start, end)
    }

    fn size(&self) -> u64 {
        (self.blocks.len() * BLOCK) as u64
    }
}

impl User for Blocks {
    fn step(&mut self) -> Result<(), Wrong> {
        let name = self.name;
        let len = self.blocks.len() as u64;
        match self.random.below(20) {
            0..8 => {
                // At most to the end: there are no holes.
                let start = self.random.below((len + 1).min(MOST_BLOCKS)) as usize;
                let end = start + 1 + self.random.below(8) as usize;
                let bytes = self.renew(start, end);
                let write = self.file.write_all_at(&bytes, (start * BLOCK) as u64);
                write.map_err(at("write"))
            }
            8 if len < MOST_BLOCKS => {
                let bytes = self.renew(len as usize, len as usize + 1);
                io::Write::write_all(&mut self.appending, &bytes).map_err(at("append"))
            }
            9 => {
                self.blocks.truncate(self.random.below(len + 1) as usize);
                self.file.set_len(self.size()).map_err(at("truncate"))
            }
            10 => self.file.sync_all().map_err(at("fsync")),
            11 | 12 => {
                // What is dirty is not dropped.
                self.file.sync_data().map_err(at("fdatasync"))?;
                forget(&self.file).map_err(at("fadvise"))
            }
            13 => {
                let size = sys::fstat(&self.file).map_err(at("fstat"))?.st_size as u64;
                match size == self.size() {
                    true => Ok(()),
                    false => Err(format!("{name}: size {size}, expected {}", self.size())),
                }
            }
            _ => {
                let start = self.random.below(len + 1) as usize;
                let end = start + self.random.below(len - start as u64 + 1) as usize;
                let mut bytes = vec![0; (end - start) * BLOCK];
                let read = self.file.read_exact_at(&mut bytes, (start * BLOCK) as u64);
                read.map_err(at("read"))?;
                same(name, &bytes, &self.bytes(start, end))
            }
        }
    }

    fn look(&mut self) -> Result<(), Wrong> {
        self.file.sync_all().map_err(at("the last fsync"))?;
        forget(&self.file).map_err(at("fadvise"))?;
        let expected = self.bytes(0, self.blocks.len());
        let found = fs::read(&self.path).map_err(at("the last read"))?;
        same(&format!("{}, at the end", self.name), &found, &expected)?;
        let kept = fs::read(&self.kept).map_err(at("the store"))?;
        same(&format!("{}, as it is kept", self.name), &kept, &expected)
    }
}

/// What there should be of a name.
#[derive(Clone, PartialEq, Debug)]
enum Named {
    File(Vec<u8>),
    Link(String),
    Dir,
}

/// Makes files, directories and links, renames and removes them.
struct Names {
    dir: PathBuf,
    names: BTreeMap<String, Named>,
    made: u64,
    random: Random,
}

const MOST_NAMES: u64 = 12;

impl Names {
    fn new(dir: PathBuf, seed: u64) -> Self {
        Self {
            dir,
            names: BTreeMap::new(),
            made: 0,
            random: Random(seed),
        }
    }

    fn any(&mut self) -> String {
        format!("name{}", self.random.below(MOST_NAMES))
    }

    fn make(&mut self, name: String) -> Result<(), Wrong> {
        let path = self.dir.join(&name);
        self.made += 1;
        let named = match self.random.below(4) {
            0 => {
                fs::create_dir(path).map_err(at("mkdir"))?;
                Named::Dir
            }
            1 => {
                let target = format!("to{}", self.made);
                std::os::unix::fs::symlink(&target, path).map_err(at("symlink"))?;
                Named::Link(target)
            }
            _ => {
                let len = self.random.below(6000) as usize;
                let bytes = stream(self.made, len);
                let mut options = OpenOptions::new();
                let file = options
                    .write(true)
                    .create_new(true)
                    .open(path)
                    .map_err(at("create"))?;
                file.write_all_at(&bytes, 0).map_err(at("write"))?;
                Named::File(bytes)
            }
        };
        self.names.insert(name, named);
        Ok(())
    }

    fn remove(&mut self, name: &str, named: &Named) -> Result<(), Wrong> {
        let path = self.dir.join(name);
        match named {
            Named::Dir => fs::remove_dir(path).map_err(at("rmdir"))?,
            _ => fs::remove_file(path).map_err(at("unlink"))?,
        }
        self.names.remove(name);
        Ok(())
    }

    /// Renames, to what does not exist or is of the same kind.
    fn rename(&mut self, old: &str, named: Named) -> Result<(), Wrong> {
        let new = self.any();
        let dir = |named: &Named| *named == Named::Dir;
        if self
            .names
            .get(&new)
            .is_some_and(|there| dir(there) != dir(&named))
        {
            return Ok(());
        }
        fs::rename(self.dir.join(old), self.dir.join(&new)).map_err(at("rename"))?;
        self.names.remove(old);
        self.names.insert(new, named);
        Ok(())
    }

    fn check(&self, name: &str, named: &Named) -> Result<(), Wrong> {
        let path = self.dir.join(name);
        match named {
            Named::File(bytes) => {
                let found = sys::contents(&path).map_err(at("read"))?;
                same(name, &found, bytes)
            }
            Named::Link(target) => {
                let found = sys::readlink(&path).map_err(at("readlink"))?;
                same(name, found.as_encoded_bytes(), target.as_bytes())
            }
            Named::Dir => match sys::stat(&path).map_err(at("stat"))?.st_mode & libc::S_IFMT {
                libc::S_IFDIR => Ok(()),
                mode => Err(format!("{name}: {mode:o}")),
            },
        }
    }

    fn list(&self) -> Result<(), Wrong> {
        let mut found: Vec<_> = sys::list(&self.dir)
            .map_err(at("list"))?
            .into_iter()
            .map(|entry| entry.name.into_string().unwrap_or_default())
            .filter(|name| name != "." && name != "..")
            .collect();
        found.sort();
        match found.iter().eq(self.names.keys()) {
            true => Ok(()),
            false => Err(format!("{found:?}, expected {:?}", self.names.keys())),
        }
    }
}

impl User for Names {
    fn step(&mut self) -> Result<(), Wrong> {
        let name = self.any();
        let Some(named) = self.names.get(&name).cloned() else {
            return match self.random.below(3) {
                0 => match sys::stat(&self.dir.join(&name)) {
                    Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
                    other => Err(format!("{name}, which is not there: {other:?}")),
                },
                _ => self.make(name),
            };
        };
        match self.random.below(6) {
            0 => self.remove(&name, &named),
            1 => self.rename(&name, named),
            2 => self.list(),
            _ => self.check(&name, &named),
        }
    }

    fn look(&mut self) -> Result<(), Wrong> {
        self.list()?;
        let mut names = self.names.iter();
        names.try_for_each(|(name, named)| self.check(name, named))
    }
}
