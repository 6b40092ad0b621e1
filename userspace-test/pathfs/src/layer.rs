// SPDX-License-Identifier: GPL-2.0

//! From nodes to paths: what each request about a node is for a file system that knows paths.

use crate::{
    filesystem::{Caller, DirEntry, Lock, LockCommand, Open, Opened, PathFilesystem, Result},
    handles::Handles,
    table::NodeId,
    tree::{Claimed, Held, Of, Place, Tree},
    Config, Table,
};
use fuser::{Errno, FileAttr, FileType, RenameFlags, TimeOrNow};
use std::{
    cell::RefCell,
    ffi::OsString,
    num::NonZeroU32,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU32, Ordering},
        Arc,
    },
};

/// The inode number of a directory entry whose node is not known: as `libfuse` has it.
const UNKNOWN_INO: u64 = 0xffff_ffff;

/// How many names are tried for a file that is to be hidden.
const HIDING_TRIES: usize = 10;

/// A file system that is written in paths, for a kernel that knows nodes.
pub struct Layer<F> {
    pub(crate) fs: F,
    pub(crate) config: Config,
    tree: Tree,
    dirs: Handles<OpenDir>,
    hidden: AtomicU32,
}

/// A directory that is open.
#[derive(Clone)]
struct OpenDir {
    /// The file system's number for it.
    fh: u64,
    /// What was in it when it was read from its beginning.
    entries: Option<Arc<[DirEntry]>>,
}

/// A file that was hidden.
struct Hidden {
    name: OsString,
    path: PathBuf,
    /// Which name had been made up for it before.
    before: Option<NonZeroU32>,
}

/// What is to be changed of an inode.
#[derive(Clone, Copy, Debug, Default)]
pub struct Changes {
    /// The permissions.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// The size.
    pub size: Option<u64>,
    /// The time of access.
    pub atime: Option<TimeOrNow>,
    /// The time of modification.
    pub mtime: Option<TimeOrNow>,
}

/// The attributes as the caller is to see them: with the node's number, since `fuser` takes the
/// two for one.
fn seen(id: NodeId, attr: FileAttr) -> FileAttr {
    let ino = fuser::INodeNo(id);
    FileAttr { ino, ..attr }
}

/// A node, and the attributes that it has.
pub type Entry = (NodeId, FileAttr);

/// Takes an entry of a directory: its inode number, where to go on after it, and itself. Gives
/// whether there was no room for it.
pub type AddEntry<'a> = dyn FnMut(u64, u64, &DirEntry) -> bool + 'a;

/// The same, with the number of the node and its attributes if it was looked up: `.` and `..` are
/// not, and what could not be has the number 0.
pub type AddEntryPlus<'a> = dyn FnMut(u64, Option<FileAttr>, u64, &DirEntry) -> bool + 'a;

impl<F: PathFilesystem> Layer<F> {
    /// A layer above `fs`.
    pub fn new(fs: F, config: Config) -> Self {
        Self {
            fs,
            config,
            tree: Tree::new(),
            dirs: Handles::new(),
            hidden: AtomicU32::new(1),
        }
    }

    /// The file system underneath.
    pub fn filesystem(&self) -> &F {
        &self.fs
    }

    /// Calls `look` with what is known of nodes and names.
    pub fn with_table<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.tree.lock())
    }

    /// Tells the kernel of what is at a path that has just been seen.
    fn tell(&self, held: &Held<'_>, (parent, name): Place<'_>) -> Result<Entry> {
        let attr = self.fs.getattr(held.path()?)?;
        let id = self.tree.lock().look_up(parent, name)?;
        Ok((id, seen(id, attr)))
    }

    /// Looks a name up.
    pub fn lookup(&self, place: Place<'_>) -> Result<Entry> {
        let held = self.tree.hold_name(place)?;
        self.tell(&held, place)
    }

    /// The kernel forgets a node, so many times.
    pub fn forget(&self, id: NodeId, nlookup: u64) {
        self.tree.lock().forget(id, nlookup);
    }

    /// Calls `operation` with the path of a node.
    pub(crate) fn by_path<T>(
        &self,
        id: NodeId,
        operation: impl FnOnce(&F, &Path) -> Result<T>,
    ) -> Result<T> {
        let held = self.tree.hold_node(id)?;
        operation(&self.fs, held.path()?)
    }

    /// Calls `operation` with an open file.
    pub(crate) fn by_file<T>(
        &self,
        id: NodeId,
        fh: u64,
        operation: impl FnOnce(&F, Open<'_>) -> Result<T>,
    ) -> Result<T> {
        let held = self.tree.hold_node(id)?;
        let path = held.as_deref();
        operation(&self.fs, Open { path, fh })
    }

    /// The same for what may take for ever: others may rename the file meanwhile.
    fn by_file_unheld<T>(
        &self,
        id: NodeId,
        fh: u64,
        operation: impl FnOnce(&F, Open<'_>) -> Result<T>,
    ) -> Result<T> {
        let path = self.tree.glance(id);
        let path = path.as_deref();
        operation(&self.fs, Open { path, fh })
    }

    /// The attributes of a node, or of an open file.
    pub fn getattr(&self, id: NodeId, fh: Option<u64>) -> Result<FileAttr> {
        let attr = match fh {
            Some(fh) => self.by_file(id, fh, |fs, file| fs.fgetattr(file)),
            None => self.by_path(id, |fs, path| fs.getattr(path)),
        };
        attr.map(|attr| seen(id, attr))
    }

    /// Changes attributes; gives those that it has then.
    pub fn setattr(&self, id: NodeId, fh: Option<u64>, changes: Changes) -> Result<FileAttr> {
        let held = self.tree.hold_node(id)?;
        let open = fh.map(|fh| Open {
            path: held.as_deref(),
            fh,
        });
        if let Some(mode) = changes.mode {
            self.fs.chmod(held.path()?, mode)?;
        }
        if changes.uid.is_some() || changes.gid.is_some() {
            self.fs.chown(held.path()?, changes.uid, changes.gid)?;
        }
        if let Some(size) = changes.size {
            match open {
                Some(open) => self.fs.ftruncate(open, size)?,
                None => self.fs.truncate(held.path()?, size)?,
            }
        }
        if changes.atime.is_some() || changes.mtime.is_some() {
            self.fs
                .utimens(held.path()?, changes.atime, changes.mtime)?;
        }
        let attr = match open {
            Some(open) => self.fs.fgetattr(open)?,
            None => self.fs.getattr(held.path()?)?,
        };
        Ok(seen(id, attr))
    }

    /// Makes something by `make`, and tells the kernel of it.
    pub(crate) fn make(
        &self,
        place: Place<'_>,
        make: impl FnOnce(&F, &Path) -> Result<()>,
    ) -> Result<Entry> {
        let held = self.tree.hold_name(place)?;
        make(&self.fs, held.path()?)?;
        self.tell(&held, place)
    }

    /// Makes a directory.
    pub fn mkdir(&self, caller: Caller, place: Place<'_>, mode: u32) -> Result<Entry> {
        self.make(place, |fs, path| fs.mkdir(caller, path, mode))
    }

    /// Gives a node a second name. It stays one node, so that what is read by one name is what was
    /// written by the other.
    pub fn link(&self, id: NodeId, place: Place<'_>) -> Result<Entry> {
        let [from, to] = self.tree.hold([Of::Node(id), Of::Name(place)])?;
        self.fs.link(from.path()?, to.path()?)?;
        let attr = self.fs.getattr(to.path()?)?;
        self.tree.lock().link(id, place.0, place.1)?;
        Ok((id, seen(id, attr)))
    }

    /// Whether a name must stay in some way when it is removed: it is the last one of a file that
    /// is open.
    fn is_to_be_hidden(&self, place: Place<'_>) -> bool {
        let table = self.tree.lock();
        let node = table
            .find(place.0, place.1)
            .and_then(|node| table.node(node));
        !self.config.hard_remove && node.is_some_and(|node| node.opens > 0 && node.has_one_name())
    }

    /// The name that is made up for a node.
    fn hidden_name(id: NodeId, number: NonZeroU32) -> OsString {
        format!(".fuse_hidden{id:08x}{number:08x}").into()
    }

    /// Renames a file that is claimed to what nobody will look for, until it is closed.
    fn hide(&self, path: &Path, place: Place<'_>) -> Result<Hidden> {
        for _ in 0..HIDING_TRIES {
            let id = self.tree.lock().find(place.0, place.1);
            let id = id.ok_or(Errno::ENOENT)?;
            let number = NonZeroU32::new(self.hidden.fetch_add(1, Ordering::Relaxed));
            let number = number.unwrap_or(NonZeroU32::MAX);
            let name = Self::hidden_name(id, number);
            let new = path.with_file_name(&name);
            match self.fs.getattr(&new) {
                Err(Errno::ENOENT) => {}
                _ => continue,
            }
            match self.fs.rename(path, &new, RenameFlags::empty()) {
                Err(Errno::ENOSYS) => return Err(Errno::EBUSY),
                other => other?,
            }
            let mut table = self.tree.lock();
            table.rename(place, (place.0, &name))?;
            let node = table.node_mut(id);
            let before = node.and_then(|node| node.hidden.replace(number));
            return Ok(Hidden {
                name,
                path: new,
                before,
            });
        }
        Err(Errno::EBUSY)
    }

    /// Takes back that a file was hidden.
    fn unhide(&self, hidden: &Hidden, path: &Path, place: Place<'_>) {
        // It stays hidden if that cannot be: nothing of it is lost.
        if self
            .fs
            .rename(&hidden.path, path, RenameFlags::empty())
            .is_err()
        {
            return;
        }
        let mut table = self.tree.lock();
        if let Some(id) = table.find(place.0, &hidden.name) {
            // Nothing that this could fail of has changed since it was hidden.
            let _ = table.rename((place.0, &hidden.name), place);
            if let Some(node) = table.node_mut(id) {
                node.hidden = hidden.before;
            }
        }
    }

    /// Removes a name of what is no directory. An open file stays what it is for who has it open.
    pub fn unlink(&self, place: Place<'_>) -> Result<()> {
        let claimed = self.tree.claim(&[place])?;
        if self.is_to_be_hidden(place) {
            self.hide(claimed.path(), place)?;
            return Ok(());
        }
        self.remove(&claimed, place, |fs, path| fs.unlink(path))
    }

    /// Removes a directory.
    pub fn rmdir(&self, place: Place<'_>) -> Result<()> {
        let claimed = self.tree.claim(&[place])?;
        self.remove(&claimed, place, |fs, path| fs.rmdir(path))
    }

    fn remove(
        &self,
        claimed: &Claimed<'_>,
        place: Place<'_>,
        remove: impl FnOnce(&F, &Path) -> Result<()>,
    ) -> Result<()> {
        remove(&self.fs, claimed.path())?;
        self.tree.lock().unlink(place.0, place.1);
        Ok(())
    }

    /// Renames, or lets two names change places.
    pub fn rename(&self, from: Place<'_>, to: Place<'_>, flags: RenameFlags) -> Result<()> {
        let claimed = self.tree.claim(&[from, to])?;
        let (old, new) = (claimed.path(), claimed.other());
        let replaces =
            !flags.intersects(RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_NOREPLACE);
        let same = self.with_table(|table| table.find(from.0, from.1) == table.find(to.0, to.1));
        let hidden = match replaces && !same && self.is_to_be_hidden(to) {
            true => Some(self.hide(new, to)?),
            false => None,
        };
        if let Err(error) = self.fs.rename(old, new, flags) {
            if let Some(hidden) = &hidden {
                self.unhide(hidden, new, to);
            }
            return Err(error);
        }
        let mut table = self.tree.lock();
        match flags.contains(RenameFlags::RENAME_EXCHANGE) {
            true => table.exchange(from, to),
            false => table.rename(from, to),
        }
    }

    /// Counts an open file of a node.
    fn opened(&self, id: NodeId) {
        if let Some(node) = self.tree.lock().node_mut(id) {
            node.opens = node.opens.saturating_add(1);
        }
    }

    /// Opens a file.
    pub fn open(&self, caller: Caller, id: NodeId, flags: i32) -> Result<Opened> {
        let held = self.tree.hold_node(id)?;
        let opened = self.fs.open(caller, held.path()?, flags)?;
        self.opened(id);
        Ok(opened)
    }

    /// Makes a file and opens it.
    pub fn create(
        &self,
        caller: Caller,
        place: Place<'_>,
        mode: u32,
        flags: i32,
    ) -> Result<(Entry, Opened)> {
        let held = self.tree.hold_name(place)?;
        let opened = self.fs.create(caller, held.path()?, mode, flags)?;
        match self.tell(&held, place) {
            Ok(entry) => {
                self.opened(entry.0);
                Ok((entry, opened))
            }
            Err(error) => {
                let path = held.as_deref();
                let fh = opened.fh;
                // Nobody will ever close it.
                let _ = self.fs.release(Open { path, fh }, flags);
                Err(error)
            }
        }
    }

    /// Closes a file, for good if it was removed meanwhile.
    pub fn release(&self, id: NodeId, fh: u64, flags: i32) -> Result<()> {
        let done = self.by_file(id, fh, |fs, file| fs.release(file, flags));
        self.remove_hidden(id).and(done)
    }

    /// One open file of a node is closed. If it was the last one, the name goes that was made up.
    fn remove_hidden(&self, id: NodeId) -> Result<()> {
        let Some((directory, name)) = self.closed(id, true) else {
            return Ok(());
        };
        // The node and its directory are there for as long as it is open.
        let removed = self.tree.claim(&[(directory, &name)]).and_then(|claimed| {
            // Somebody may have found it, and opened it.
            let place = (directory, name.as_os_str());
            let last = self.with_table(|table| table.node(id).is_some_and(|node| node.opens == 1));
            match last {
                true => self.remove(&claimed, place, |fs, path| fs.unlink(path)),
                false => Ok(()),
            }
        });
        self.closed(id, false);
        removed
    }

    /// Counts that an open file of a node is closed: unless it is the last one, `unless_hidden` is set,
    /// and there is a name that goes with it. Gives that name then.
    fn closed(&self, id: NodeId, unless_hidden: bool) -> Option<(NodeId, OsString)> {
        let mut table = self.tree.lock();
        let node = table.node_mut(id)?;
        let number = node.hidden.filter(|_| unless_hidden && node.opens == 1);
        if let Some(number) = number {
            let name = Self::hidden_name(id, number);
            let directory = table.parent(id);
            // Somebody may have renamed it.
            if let Some(directory) = directory.filter(|&it| table.find(it, &name) == Some(id)) {
                return Some((directory, name));
            }
        }
        if let Some(node) = table.node_mut(id) {
            node.opens = node.opens.saturating_sub(1);
        }
        table.release(id);
        None
    }

    /// Reads from an open file, and calls `take` with what there is.
    pub fn read<T>(
        &self,
        id: NodeId,
        fh: u64,
        offset: u64,
        size: u32,
        take: impl FnOnce(Result<&[u8]>) -> T,
    ) -> T {
        thread_local! {
            /// What was read last. Getting the memory anew takes as long as filling it.
            static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let data = self.by_file(id, fh, |fs, file| fs.read_buf(file, offset, size));
        let mut buffer = BUFFER.take();
        let bytes = data.as_ref().map_err(|error| *error);
        let bytes = bytes.and_then(|data| data.bytes(&mut buffer));
        // The kernel has no place for more.
        let taken = take(bytes.map(|bytes| &bytes[..bytes.len().min(size as usize)]));
        BUFFER.set(buffer);
        taken
    }

    /// Writes to an open file.
    pub fn write(&self, id: NodeId, fh: u64, offset: u64, data: &[u8]) -> Result<u32> {
        self.by_file(id, fh, |fs, file| {
            let size = u32::try_from(data.len()).map_err(|_| Errno::EINVAL)?;
            match fs.write_buf(file, offset, size)? {
                Some(target) => {
                    target.file.write_all_at(data, target.offset)?;
                    Ok(size)
                }
                None => fs.write(file, offset, data),
            }
        })
    }

    /// Opens a directory.
    pub fn opendir(&self, caller: Caller, id: NodeId) -> Result<u64> {
        let fh = self.by_path(id, |fs, path| fs.opendir(caller, path))?;
        self.dirs.add(OpenDir { fh, entries: None })
    }

    /// What is in an open directory, as it was when it was read from its beginning.
    fn entries(&self, id: NodeId, dh: u64, offset: u64) -> Result<Arc<[DirEntry]>> {
        let dir = self.dirs.get(dh)?;
        if let Some(entries) = dir.entries.filter(|_| offset > 0) {
            return Ok(entries);
        }
        let all: Arc<[_]> = self.by_file(id, dir.fh, |fs, dir| fs.readdir(dir))?.into();
        self.dirs.change(dh, |dir| dir.entries = Some(all.clone()));
        Ok(all)
    }

    /// Reads an open directory from `offset` on, until there is no room or no more.
    pub fn readdir(&self, id: NodeId, dh: u64, offset: u64, add: &mut AddEntry<'_>) -> Result<()> {
        self.each_entry(id, dh, offset, |number, next, entry| {
            let known = || self.with_table(|table| table.find(id, &entry.name));
            let number = number.or_else(known).unwrap_or(UNKNOWN_INO);
            add(number, next, entry)
        })
    }

    /// The same, and looks each entry up.
    pub fn readdirplus(
        &self,
        id: NodeId,
        dh: u64,
        offset: u64,
        add: &mut AddEntryPlus<'_>,
    ) -> Result<()> {
        self.each_entry(id, dh, offset, |number, next, entry| {
            if let Some(number) = number {
                return add(number, None, next, entry);
            }
            match self.lookup((id, &entry.name)) {
                Ok((node, attr)) => {
                    let full = add(node, Some(attr), next, entry);
                    if full {
                        self.forget(node, 1);
                    }
                    full
                }
                // It went in the meantime.
                Err(Errno::ENOENT) => false,
                Err(_) => add(0, None, next, entry),
            }
        })
    }

    fn each_entry(
        &self,
        id: NodeId,
        dh: u64,
        offset: u64,
        mut add: impl FnMut(Option<u64>, u64, &DirEntry) -> bool,
    ) -> Result<()> {
        let entries = self.entries(id, dh, offset)?;
        let parent = self.with_table(|table| table.parent(id)).unwrap_or(id);
        let dot = |name: &str| DirEntry::new(name, FileType::Directory);
        let dots = [(Some(id), &dot(".")), (Some(parent), &dot(".."))];
        let named = entries.iter().map(|entry| (None, entry));
        let all = (1..).zip(dots.into_iter().chain(named));
        let before = usize::try_from(offset).unwrap_or(usize::MAX);
        for (next, (number, entry)) in all.skip(before) {
            if add(number, next, entry) {
                break;
            }
        }
        Ok(())
    }

    /// Closes a directory.
    pub fn releasedir(&self, id: NodeId, dh: u64) -> Result<()> {
        let dir = self.dirs.remove(dh).ok_or(Errno::EBADF)?;
        self.by_file(id, dir.fh, |fs, dir| fs.releasedir(dir))
    }

    /// Waits until what was done in a directory is kept.
    pub fn fsyncdir(&self, id: NodeId, dh: u64, datasync: bool) -> Result<()> {
        let dir = self.dirs.get(dh)?;
        self.by_file(id, dir.fh, |fs, dir| fs.fsyncdir(dir, datasync))
    }

    /// Does something about a lock.
    pub fn lock(
        &self,
        id: NodeId,
        fh: u64,
        owner: u64,
        command: LockCommand,
        lock: Lock,
    ) -> Result<Lock> {
        let operation = |fs: &F, file: Open<'_>| fs.lock(file, owner, command, lock);
        match command {
            LockCommand::SetWait => self.by_file_unheld(id, fh, operation),
            _ => self.by_file(id, fh, operation),
        }
    }

    /// Does something about a lock of the whole file.
    pub fn flock(&self, id: NodeId, fh: u64, owner: u64, how: i32) -> Result<()> {
        let operation = |fs: &F, file: Open<'_>| fs.flock(file, owner, how);
        match how & libc::LOCK_NB {
            0 => self.by_file_unheld(id, fh, operation),
            _ => self.by_file(id, fh, operation),
        }
    }

    /// Copies between two open files.
    pub fn copy_file_range(
        &self,
        from: (NodeId, u64, u64),
        to: (NodeId, u64, u64),
        length: u64,
    ) -> Result<u32> {
        let [source, target] = self.tree.hold([Of::Node(from.0), Of::Node(to.0)])?;
        let source = Open {
            path: source.as_deref(),
            fh: from.1,
        };
        let target = Open {
            path: target.as_deref(),
            fh: to.1,
        };
        self.fs
            .copy_file_range((source, from.2), (target, to.2), length)
    }
}
