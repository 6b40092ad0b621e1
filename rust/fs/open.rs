// SPDX-License-Identifier: GPL-2.0

//! Opening and closing files and directories.

use super::{
    attr, direct,
    inode::{self, is_ahead},
    ioctl, locks,
    mount::{Mount, Token},
    poll::{self, Polled},
    range, read,
    readdir_cache::Stream,
    superblock::Fuse,
    sync, write, writeback, INode, OwnedINode,
};
use crate::{
    abi::{self, open_flags, release_flags, OpenIn, OpenOut, ReleaseIn},
    message::{op, Caller, Completion, Message, Operation, Request},
    vfs::{
        file::{
            Allocation, CopyRange, Ended, FileOperations, Fsync, Io, LockOwner, NewFile, OpenRef,
            Seek,
        },
        ioctl::Ioctl,
        lock::{FileLock, Outcome},
        mmap::{Area, Mapping},
        ns::Capability,
        poll::{Events, Poll},
        stat::{MODIFY_STATS, SIZE_STAT},
    },
};
use core::mem::MaybeUninit;
use kernel::{
    fs::file::flags,
    iov::{IovIterDest, IovIterSource},
    prelude::*,
    sync::{
        atomic::{Atomic, Full, Relaxed},
        Arc, ArcBorrow, SetOnce, UniqueArc,
    },
};

/// An open file or directory. The daemon is told when the last reference goes: that of the file, or
/// that of a READ which is still under way.
pub(super) struct OpenFile {
    /// The daemon's number for it.
    handle: u64,
    /// What the daemon said of it: some of [`open_flags`].
    open_flags: u32,
    /// The flags it was closed with.
    flags: Atomic<u32>,
    kind: Kind,
    /// Whether the daemon has opened something that it is to close.
    opened: bool,
    /// Whether it counts as one that uses the page cache.
    cached: Atomic<bool>,
    /// Of a directory: how far it has been read from the page cache.
    pub(super) stream: Stream,
    /// How often it was flushed.
    flushes: Atomic<u32>,
    /// The number of who has locks of flock(2) on it, if they may be the daemon's.
    flock_owner: SetOnce<u64>,
    /// Set when it is polled for the first time.
    polled: SetOnce<Polled>,
    /// Told of the end of RELEASE.
    keep: Arc<Keep>,
}

/// What is open.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Directory,
}

/// Keeps the inode until RELEASE has been answered, so that no FORGET overtakes it.
struct Keep {
    // Goes before the token, which lets the superblock go.
    inode: OwnedINode,
    _token: Token,
}

impl Completion for Keep {
    fn ended(&self, _message: &mut Message, _outcome: Result) {}
}

/// Memory for an open file, to be got before the daemon is asked, so that what it has opened can be
/// closed.
pub(super) struct Room {
    file: UniqueArc<MaybeUninit<OpenFile>>,
    keep: UniqueArc<MaybeUninit<Keep>>,
}

impl Room {
    /// Room for one. `ENOMEM`.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            file: UniqueArc::new_uninit(GFP_KERNEL)?,
            keep: UniqueArc::new_uninit(GFP_KERNEL)?,
        })
    }

    /// A file that is open on `inode`, by what the daemon said; with `None`, it can do without.
    pub(super) fn fill(
        self,
        inode: OwnedINode,
        kind: Kind,
        flags: u32,
        opened: Option<OpenOut>,
    ) -> Arc<OpenFile> {
        let keep = Keep {
            _token: Mount::of(&inode).pending.token(),
            inode,
        };
        let (handle, mut open_flags) = opened
            .as_ref()
            .map_or((0, open_flags::KEEP_CACHE), |out| (out.fh, out.open_flags));
        if kind == Kind::Directory {
            open_flags &= !open_flags::DIRECT_IO;
        }
        let file = OpenFile {
            handle,
            open_flags,
            flags: Atomic::new(flags & !OPEN_ONLY),
            kind,
            opened: opened.is_some(),
            cached: Atomic::new(false),
            stream: Stream::default(),
            flushes: Atomic::new(0),
            flock_owner: SetOnce::new(),
            polled: SetOnce::new(),
            keep: self.keep.write(keep).into(),
        };
        self.file.write(file).into()
    }
}

impl OpenFile {
    /// Sends OPEN or OPENDIR.
    ///
    /// # Errors
    ///
    /// The daemon's but `ENOSYS`, which means that it can do without; `ENOMEM`.
    pub(super) fn open(inode: &INode, kind: Kind, flags: u32) -> Result<Arc<Self>> {
        let mount = Mount::of(inode);
        let room = Room::new()?;
        let inode = inode.grab().ok_or(ESTALE)?;
        let lacks = match kind {
            Kind::File => &mount.lacks.open,
            Kind::Directory => &mount.lacks.opendir,
        };
        let mut opened = None;
        if !lacks.get() {
            match send_open(mount, &inode, kind, flags) {
                Ok(out) => opened = Some(out),
                Err(err) if err == ENOSYS => lacks.set(),
                Err(err) => return Err(err),
            }
        }
        Ok(room.fill(inode, kind, flags, opened))
    }

    /// It is going to be flushed.
    pub(super) fn count_flush(&self) {
        self.flushes.add(1, Relaxed);
    }

    /// The inode that it is open on.
    pub(super) fn inode(&self) -> &INode {
        &self.keep.inode
    }

    /// The daemon's number for it.
    pub(super) fn handle(&self) -> u64 {
        self.handle
    }

    /// Whether the daemon has set that one of [`open_flags`].
    pub(super) fn has(&self, flag: u32) -> bool {
        self.open_flags & flag != 0
    }

    /// The flags it was opened with, or closed with by now.
    pub(super) fn flags(&self) -> u32 {
        self.flags.load(Relaxed)
    }

    /// How often it was flushed.
    pub(super) fn flushes(&self) -> Flushes {
        Flushes(self.flushes.load(Relaxed))
    }

    /// RELEASE is to give up all locks of flock(2) that are that owner's.
    pub(super) fn flocked(&self, owner: u64) {
        // It is the same each time: the open file.
        self.flock_owner.populate(owner);
    }

    /// What is kept of those who poll it; it is set once.
    pub(super) fn polled(&self) -> &SetOnce<Polled> {
        &self.polled
    }

    /// The file is being closed, with these flags.
    pub(super) fn closing(&self, flags: u32) {
        self.flags.store(flags, Relaxed);
    }

    /// From now on it uses the page cache. Waits for those who write past that in parallel, deaf to
    /// signals.
    pub(super) fn use_page_cache(&self) {
        let mode = &self.inode().data().io_mode;
        mode.begin_cached();
        if self.cached.xchg(true, Full) {
            // It does already.
            mode.end_cached();
        }
    }

    fn release<O: Operation<In = ReleaseIn>>(&self) {
        let mut arguments = ReleaseIn {
            fh: self.handle,
            flags: self.flags(),
            ..Default::default()
        };
        if let Some(owner) = self.flock_owner.copy() {
            arguments.release_flags = release_flags::FLOCK_UNLOCK;
            arguments.lock_owner = owner;
        }
        let inode = self.inode();
        let connection = &Mount::of(inode).connection;
        let nodeid = inode.data().nodeid();
        let request = Request::<O>::insist(connection, Caller::NOBODY, nodeid, &arguments);
        // After an abort there is nobody to tell.
        let _ = connection.submit(request.force().then(self.keep.clone()));
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        if self.cached.load(Relaxed) {
            self.inode().data().io_mode.end_cached();
        }
        match self.kind {
            _ if !self.opened => {}
            Kind::File => self.release::<op::Release>(),
            Kind::Directory => self.release::<op::Releasedir>(),
        }
    }
}

/// Keeps the file while a request on it is with the daemon: RELEASE must not overtake it.
impl Completion for OpenFile {
    /// The request has ended, and its caller was killed: what it changed is known to nobody.
    fn ended(&self, _message: &mut Message, _outcome: Result) {
        self.inode().data().invalidate(MODIFY_STATS | SIZE_STAT);
    }
}

/// A count of FLUSHes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Flushes(u32);

/// Flags that say what open(2) is to do, and are forgotten afterwards.
const OPEN_ONLY: u32 = flags::O_CREAT | flags::O_EXCL | flags::O_NOCTTY | flags::O_TRUNC;

fn send_open(mount: &Mount, inode: &INode, kind: Kind, flags: u32) -> Result<OpenOut> {
    let mut sent = flags & !(flags::O_CREAT | flags::O_EXCL | flags::O_NOCTTY);
    if !mount.features().atomic_o_trunc {
        sent &= !flags::O_TRUNC;
    }
    let arguments = OpenIn {
        flags: sent,
        open_flags: open_in_flags(mount, sent & flags::O_TRUNC != 0),
    };
    let nodeid = inode.data().nodeid();
    let connection = &mount.connection;
    match kind {
        Kind::File => connection
            .call(Request::<op::Open>::new(connection, nodeid, &arguments)?)?
            .out()
            .copied(),
        Kind::Directory => connection
            .call(Request::<op::Opendir>::new(connection, nodeid, &arguments)?)?
            .out()
            .copied(),
    }
}

/// Which of [`open_in_flags`](abi::open_in_flags) an open file is asked for with: truncating takes
/// the set-ID bits from it.
pub(super) fn open_in_flags(mount: &Mount, truncates: bool) -> u32 {
    if truncates && mount.features().handle_killpriv_v2 && !Capability::FSETID.held() {
        abi::open_in_flags::KILL_SUIDGID
    } else {
        0
    }
}

/// The operations of open regular files.
pub(super) struct RegularFile;

#[vtable]
impl FileOperations for RegularFile {
    type FileSystem = Fuse;
    type Ptr = Arc<OpenFile>;

    fn open(inode: &INode, new: &NewFile<'_>) -> Result<Arc<OpenFile>> {
        inode.data().check()?;
        let truncates =
            new.flags() & flags::O_TRUNC != 0 && Mount::of(inode).features().atomic_o_trunc;
        let contents = (truncates && is_ahead(inode)).then(|| inode.lock_contents());
        let held = contents.as_ref().map(|_| writeback::hold(inode));
        let file = OpenFile::open(inode, Kind::File, new.flags())?;
        Self::finish_open(inode, file.as_arc_borrow(), new)?;
        if truncates {
            inode::truncated(inode);
            // The times are advice here.
            let _ = new.update_time();
            drop(held);
            inode.truncate_page_cache(0);
        } else if !file.has(open_flags::KEEP_CACHE) {
            inode.invalidate_page_cache();
        }
        Ok(file)
    }

    fn finish_open(inode: &INode, file: ArcBorrow<'_, OpenFile>, new: &NewFile<'_>) -> Result {
        if file.has(open_flags::PASSTHROUGH) {
            // The daemon was not offered that.
            return Err(EIO);
        }
        if !file.has(open_flags::DIRECT_IO) {
            file.use_page_cache();
        }
        if new.is_writable() && is_ahead(inode) {
            inode.data().writes()?.join(file.into())?;
        }
        if file.has(open_flags::STREAM) {
            new.make_stream();
        } else if file.has(open_flags::NONSEEKABLE) {
            new.make_nonseekable();
        }
        Ok(())
    }

    fn release(inode: &INode, file: Arc<OpenFile>, flags: u32) {
        if is_ahead(inode) {
            // Writes may have come after the last flush. Errors are those that fsync(2) tells of.
            let _ = inode.write_now();
        }
        file.closing(flags);
        if let Some(writes) = inode.data().known_writes() {
            writes.leave(&file);
        }
    }

    fn flush(inode: &INode, file: ArcBorrow<'_, OpenFile>, owner: LockOwner) -> Result {
        sync::flush(inode, file, owner)
    }

    fn test_lock(inode: &INode, file: ArcBorrow<'_, OpenFile>, lock: &mut FileLock<'_>) -> Result {
        locks::test(inode, file.into(), lock)
    }

    fn lock(
        inode: &INode,
        file: ArcBorrow<'_, OpenFile>,
        lock: &mut FileLock<'_>,
    ) -> Result<Outcome> {
        locks::set(inode, file.into(), lock)
    }

    fn flock(inode: &INode, file: ArcBorrow<'_, OpenFile>, lock: &mut FileLock<'_>) -> Result {
        locks::flock(inode, file.into(), lock)
    }

    fn ioctl(inode: &INode, file: ArcBorrow<'_, OpenFile>, call: &Ioctl) -> Result<isize> {
        ioctl::ioctl(inode, file.into(), call)
    }

    fn poll(inode: &INode, file: ArcBorrow<'_, OpenFile>, poll: &Poll<'_>) -> Events {
        poll::poll(inode, file.into(), poll)
    }

    fn read_iter<'a>(
        inode: &INode,
        file: ArcBorrow<'_, OpenFile>,
        io: Io<'a>,
        iov: &mut IovIterDest<'_>,
    ) -> Ended<'a> {
        if let Err(err) = inode.data().check() {
            return io.end(Err(err));
        }
        if file.has(open_flags::DIRECT_IO) {
            direct::read(inode, file, io, iov)
        } else {
            read::cached(inode, file, io, iov)
        }
    }

    fn write_iter<'a>(
        inode: &INode,
        file: ArcBorrow<'_, OpenFile>,
        io: Io<'a>,
        iov: &mut IovIterSource<'_>,
    ) -> Ended<'a> {
        if let Err(err) = inode.data().check() {
            return io.end(Err(err));
        }
        if file.has(open_flags::DIRECT_IO) {
            direct::write(inode, file, io, iov)
        } else {
            write::cached(inode, file, io, iov)
        }
    }

    fn fsync(inode: &INode, file: ArcBorrow<'_, OpenFile>, sync: &Fsync<'_>) -> Result {
        sync::fsync(inode, file, sync)
    }

    fn mmap(inode: &INode, file: ArcBorrow<'_, OpenFile>, area: &Area<'_>) -> Result<Mapping> {
        if file.has(open_flags::DIRECT_IO) {
            // What others have mapped is not what the daemon has, unless it says that it is.
            if area.is_shared() && !Mount::of(inode).features().direct_io_allow_mmap {
                return Err(ENODEV);
            }
            inode.invalidate_page_cache();
            if !area.is_shared() {
                return Ok(Mapping::Private);
            }
            file.use_page_cache();
        }
        if area.may_write_file() {
            inode.data().writes()?.join(file.into())?;
        }
        Ok(Mapping::Shared)
    }

    fn fallocate(inode: &INode, file: ArcBorrow<'_, OpenFile>, what: &Allocation<'_>) -> Result {
        range::fallocate(inode, file, what)
    }

    fn copy_range(
        from: OpenRef<'_, Self>,
        to: OpenRef<'_, Self>,
        what: &CopyRange,
    ) -> Result<usize> {
        range::copy(from, to, what)
    }

    fn llseek(inode: &INode, file: ArcBorrow<'_, OpenFile>, seek: &Seek<'_>) -> Result<i64> {
        if !seek.needs_size() {
            return seek.by_inode();
        }
        if seek.is_for_contents() {
            return range::seek(inode, file, seek);
        }
        let _contents = inode.lock_contents();
        attr::update(inode, Some(file), SIZE_STAT)?;
        seek.by_inode()
    }
}
