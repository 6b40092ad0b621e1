// SPDX-License-Identifier: GPL-2.0

//! The layer, as `fuser` calls it.

use crate::{
    filesystem::{Caller, Lock, LockCommand, PathFilesystem},
    layer::{Changes, Entry, Layer},
    Locks,
};
use fuser::{
    AccessFlags, BsdFileFlags, CopyFileRangeFlags, Errno, FileAttr, FileHandle, FileType,
    Filesystem, FopenFlags, Generation, INodeNo, InitFlags, IoctlFlags, KernelConfig, LockOwner,
    OpenFlags, PollEvents, PollFlags, PollNotifier, RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLock,
    ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request, TimeOrNow,
    WriteFlags,
};
use std::{ffi::OsStr, io, os::unix::ffi::OsStrExt, path::Path, time::SystemTime};

/// Node numbers are not used again: they all are of one generation.
const GENERATION: Generation = Generation(0);

/// What to ask of every kernel that has it.
const WANTED: InitFlags = InitFlags::FUSE_PARALLEL_DIROPS
    .union(InitFlags::FUSE_DO_READDIRPLUS)
    .union(InitFlags::FUSE_READDIRPLUS_AUTO)
    .union(InitFlags::FUSE_ATOMIC_O_TRUNC)
    .union(InitFlags::FUSE_AUTO_INVAL_DATA)
    .union(InitFlags::FUSE_ASYNC_DIO);

fn caller(request: &Request) -> Caller {
    Caller {
        uid: request.uid(),
        gid: request.gid(),
        pid: request.pid(),
    }
}

/// What the kernel is told of an entry whose attributes it does not get.
fn bare(number: u64, kind: FileType) -> FileAttr {
    let never = SystemTime::UNIX_EPOCH;
    FileAttr {
        ino: INodeNo(number),
        size: 0,
        blocks: 0,
        atime: never,
        mtime: never,
        ctime: never,
        crtime: never,
        kind,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

/// How the kernel is to treat an open file, but for passing it through: that takes more than a flag.
fn served(flags: FopenFlags) -> FopenFlags {
    flags - FopenFlags::FOPEN_PASSTHROUGH
}

/// Answers by `reply`, with what `result` is.
macro_rules! answer {
    ($reply:ident, $result:expr, $value:pat => $then:expr) => {
        match $result {
            Ok($value) => $then,
            Err(error) => $reply.error(error),
        }
    };
    ($reply:ident, $result:expr) => {
        answer!($reply, $result, () => $reply.ok())
    };
}

impl<F: PathFilesystem> Layer<F> {
    fn entry(&self, reply: ReplyEntry, result: Result<Entry, Errno>) {
        let config = &self.config;
        answer!(reply, result, (_, attr) => {
            reply.entry_with_ttls(&config.attr_timeout, &config.entry_timeout, &attr, GENERATION)
        });
    }

    fn attr(&self, reply: ReplyAttr, result: Result<FileAttr, Errno>) {
        answer!(reply, result, attr => reply.attr(&self.config.attr_timeout, &attr));
    }
}

fn xattr(reply: ReplyXattr, size: u32, result: Result<Vec<u8>, Errno>) {
    answer!(reply, result, value => match u32::try_from(value.len()) {
        Ok(length) if size == 0 => reply.size(length),
        Ok(length) if length <= size => reply.data(&value),
        _ => reply.error(Errno::ERANGE),
    });
}

impl<F: PathFilesystem> Filesystem for Layer<F> {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let locks = match self.config.locks {
            Locks::Kernel => InitFlags::empty(),
            Locks::Posix => InitFlags::FUSE_POSIX_LOCKS,
            Locks::Flock => InitFlags::FUSE_FLOCK_LOCKS,
        };
        let offered = config.capabilities();
        // What is offered is never refused.
        let _ = config.add_capabilities((WANTED | locks) & offered);
        self.fs.init(config)
    }

    fn destroy(&mut self) {
        self.fs.destroy();
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry(reply, Layer::lookup(self, (parent.0, name)));
    }

    fn forget(&self, _: &Request, ino: INodeNo, nlookup: u64) {
        Layer::forget(self, ino.0, nlookup);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        self.attr(reply, Layer::getattr(self, ino.0, fh.map(|fh| fh.0)));
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changes = Changes {
            mode,
            uid,
            gid,
            size,
            atime,
            mtime,
        };
        let fh = fh.map(|fh| fh.0);
        self.attr(reply, Layer::setattr(self, ino.0, fh, changes));
    }

    fn readlink(&self, _: &Request, ino: INodeNo, reply: ReplyData) {
        let target = self.by_path(ino.0, |fs, path| fs.readlink(path));
        answer!(reply, target, target => reply.data(target.as_os_str().as_bytes()));
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let made = self.make((parent.0, name), |fs, path| {
            fs.mknod(caller(request), path, mode, rdev)
        });
        self.entry(reply, made);
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        let made = Layer::mkdir(self, caller(request), (parent.0, name), mode);
        self.entry(reply, made);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, Layer::unlink(self, (parent.0, name)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer!(reply, Layer::rmdir(self, (parent.0, name)));
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let made = self.make((parent.0, name), |fs, path| {
            fs.symlink(caller(request), target, path)
        });
        self.entry(reply, made);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let to = (new_parent.0, new_name);
        answer!(reply, Layer::rename(self, (parent.0, name), to, flags));
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        self.entry(reply, Layer::link(self, ino.0, (new_parent.0, new_name)));
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = Layer::open(self, caller(request), ino.0, flags.0);
        answer!(reply, opened, opened => reply.opened(FileHandle(opened.fh), served(opened.flags)));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let made = Layer::create(self, caller(request), (parent.0, name), mode, flags);
        answer!(reply, made, ((_, attr), opened) => reply.created(
            &self.config.entry_timeout,
            &attr,
            GENERATION,
            FileHandle(opened.fh),
            served(opened.flags),
        ));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        Layer::read(self, ino.0, fh.0, offset, size, |data| {
            answer!(reply, data, data => reply.data(data));
        });
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = Layer::write(self, ino.0, fh.0, offset, data);
        answer!(reply, written, size => reply.written(size));
    }

    fn flush(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        let done = self.by_file(ino.0, fh.0, |fs, file| fs.flush(file, owner.0));
        answer!(reply, done);
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        flags: OpenFlags,
        owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        // It comes with an owner whose lock goes as well.
        if let Some(owner) = owner {
            // That there was none is no error.
            let _ = Layer::flock(self, ino.0, fh.0, owner.0, libc::LOCK_UN | libc::LOCK_NB);
        }
        answer!(reply, Layer::release(self, ino.0, fh.0, flags.0));
    }

    fn fsync(&self, _: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        let done = self.by_file(ino.0, fh.0, |fs, file| fs.fsync(file, datasync));
        answer!(reply, done);
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = Layer::opendir(self, caller(request), ino.0);
        answer!(reply, opened, dh => reply.opened(FileHandle(dh), FopenFlags::empty()));
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        dh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let done = Layer::readdir(self, ino.0, dh.0, offset, &mut |number, next, entry| {
            reply.add(INodeNo(number), next, entry.kind, &entry.name)
        });
        answer!(reply, done);
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        dh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let config = &self.config;
        let valid = config.entry_timeout.min(config.attr_timeout);
        let done = Layer::readdirplus(
            self,
            ino.0,
            dh.0,
            offset,
            &mut |number, attr, next, entry| {
                let attr = attr.unwrap_or_else(|| bare(number, entry.kind));
                let number = INodeNo(number);
                reply.add(number, next, &entry.name, &valid, &attr, GENERATION)
            },
        );
        answer!(reply, done);
    }

    fn releasedir(
        &self,
        _: &Request,
        ino: INodeNo,
        dh: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        answer!(reply, Layer::releasedir(self, ino.0, dh.0));
    }

    fn fsyncdir(
        &self,
        _: &Request,
        ino: INodeNo,
        dh: FileHandle,
        datasync: bool,
        reply: ReplyEmpty,
    ) {
        answer!(reply, Layer::fsyncdir(self, ino.0, dh.0, datasync));
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let full = self.by_path(ino.0, |fs, path| fs.statfs(path));
        answer!(reply, full, full => reply.statfs(
            full.blocks,
            full.bfree,
            full.bavail,
            full.files,
            full.ffree,
            full.bsize,
            full.namelen,
            full.frsize,
        ));
    }

    fn setxattr(
        &self,
        _: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let done = self.by_path(ino.0, |fs, path| fs.setxattr(path, name, value, flags));
        answer!(reply, done);
    }

    fn getxattr(&self, _: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        let value = self.by_path(ino.0, |fs, path| fs.getxattr(path, name));
        xattr(reply, size, value);
    }

    fn listxattr(&self, _: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        let names = self.by_path(ino.0, |fs, path| fs.listxattr(path));
        let ended = |name: &OsStr| [name.as_bytes(), b"\0"].concat();
        let list = names.map(|names| names.iter().flat_map(|name| ended(name)).collect());
        xattr(reply, size, list);
    }

    fn removexattr(&self, _: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.by_path(ino.0, |fs, path| fs.removexattr(path, name));
        answer!(reply, done);
    }

    fn access(&self, request: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        let done = self.by_path(ino.0, |fs, path| fs.access(caller(request), path, mask));
        answer!(reply, done);
    }

    fn getlk(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        reply: ReplyLock,
    ) {
        let lock = Lock {
            start,
            end,
            typ,
            pid,
        };
        let found = Layer::lock(self, ino.0, fh.0, owner.0, LockCommand::Get, lock);
        answer!(reply, found, lock => reply.locked(lock.start, lock.end, lock.typ, lock.pid));
    }

    fn setlk(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        owner: LockOwner,
        start: u64,
        end: u64,
        typ: i32,
        pid: u32,
        sleep: bool,
        reply: ReplyEmpty,
    ) {
        let done = match self.config.locks {
            Locks::Flock => {
                let operation = match typ {
                    libc::F_RDLCK => libc::LOCK_SH,
                    libc::F_WRLCK => libc::LOCK_EX,
                    _ => libc::LOCK_UN,
                };
                let now = if sleep { 0 } else { libc::LOCK_NB };
                Layer::flock(self, ino.0, fh.0, owner.0, operation | now)
            }
            _ => {
                let lock = Lock {
                    start,
                    end,
                    typ,
                    pid,
                };
                let command = match sleep {
                    true => LockCommand::SetWait,
                    false => LockCommand::Set,
                };
                Layer::lock(self, ino.0, fh.0, owner.0, command, lock).map(drop)
            }
        };
        answer!(reply, done);
    }

    fn bmap(&self, _: &Request, ino: INodeNo, block_size: u32, block: u64, reply: ReplyBmap) {
        let found = self.by_path(ino.0, |fs, path| fs.bmap(path, block_size, block));
        answer!(reply, found, block => reply.bmap(block));
    }

    fn ioctl(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        flags: IoctlFlags,
        command: u32,
        data: &[u8],
        out_size: u32,
        reply: ReplyIoctl,
    ) {
        let done = self.by_file(ino.0, fh.0, |fs, file| {
            fs.ioctl(file, flags, command, data, out_size)
        });
        answer!(reply, done, (result, mut out) => {
            out.truncate(out_size as usize);
            reply.ioctl(result, &out)
        });
    }

    fn poll(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        notifier: PollNotifier,
        events: PollEvents,
        flags: PollFlags,
        reply: ReplyPoll,
    ) {
        let wanted = flags.contains(PollFlags::FUSE_POLL_SCHEDULE_NOTIFY);
        let notifier = wanted.then_some(notifier);
        let ready = self.by_file(ino.0, fh.0, |fs, file| fs.poll(file, events, notifier));
        answer!(reply, ready, ready => reply.poll(ready));
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let done = self.by_file(ino.0, fh.0, |fs, file| {
            fs.fallocate(file, mode, offset, length)
        });
        answer!(reply, done);
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = self.by_file(ino.0, fh.0, |fs, file| fs.lseek(file, offset, whence));
        answer!(reply, found, offset => reply.offset(offset));
    }

    fn copy_file_range(
        &self,
        _: &Request,
        ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        length: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let from = (ino_in.0, fh_in.0, offset_in);
        let to = (ino_out.0, fh_out.0, offset_out);
        answer!(reply, Layer::copy_file_range(self, from, to, length), size => reply.written(size));
    }
}
