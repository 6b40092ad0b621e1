// SPDX-License-Identifier: GPL-2.0

//! Inodes, and the way to them.

use crate::data::{Data, PAGE};
use pathfs::{
    fuser::{Errno, FileAttr, FileType, INodeNo},
    Caller, Result,
};
use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    path::{Component, Path, PathBuf},
    time::SystemTime,
};

/// The largest size of a file.
pub(crate) const MAX_SIZE: u64 = i64::MAX as u64;

/// The longest name.
pub(crate) const NAME_MAX: usize = 255;

const ROOT: u64 = 1;

/// What an inode is.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Directory(BTreeMap<OsString, u64>),
    File(Data),
    Link(PathBuf),
    Special { kind: FileType, rdev: u32 },
}

impl Content {
    /// What `mode` asks for.
    pub fn of_mode(mode: u32, rdev: u32) -> Result<Self> {
        let kind = match mode & libc::S_IFMT {
            libc::S_IFREG | 0 => return Ok(Content::File(Data::default())),
            libc::S_IFIFO => FileType::NamedPipe,
            libc::S_IFCHR => FileType::CharDevice,
            libc::S_IFBLK => FileType::BlockDevice,
            libc::S_IFSOCK => FileType::Socket,
            _ => return Err(Errno::EINVAL),
        };
        Ok(Content::Special { kind, rdev })
    }
}

#[derive(Debug)]
pub(crate) struct Inode {
    pub content: Content,
    pub perm: u16,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub opens: u32,
    pub atime: SystemTime,
    pub mtime: SystemTime,
    pub ctime: SystemTime,
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
}

impl Inode {
    fn new(content: Content, mode: u32, caller: Caller) -> Self {
        let now = SystemTime::now();
        Self {
            content,
            perm: (mode & 0o7777) as u16,
            uid: caller.uid,
            gid: caller.gid,
            nlink: 0,
            opens: 0,
            atime: now,
            mtime: now,
            ctime: now,
            xattrs: BTreeMap::new(),
        }
    }

    pub fn kind(&self) -> FileType {
        match &self.content {
            Content::Directory(_) => FileType::Directory,
            Content::File(_) => FileType::RegularFile,
            Content::Link(_) => FileType::Symlink,
            Content::Special { kind, .. } => *kind,
        }
    }

    pub fn is_dir(&self) -> bool {
        matches!(self.content, Content::Directory(_))
    }

    pub fn attr(&self) -> FileAttr {
        let (size, blocks, rdev) = match &self.content {
            Content::Directory(names) => (names.len() as u64, 0, 0),
            Content::File(data) => (data.size(), data.pages() * (PAGE / 512), 0),
            Content::Link(target) => (target.as_os_str().len() as u64, 0, 0),
            Content::Special { rdev, .. } => (0, 0, *rdev),
        };
        FileAttr {
            ino: INodeNo(0),
            size,
            blocks,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            crtime: self.ctime,
            kind: self.kind(),
            perm: self.perm,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev,
            blksize: PAGE as u32,
            flags: 0,
        }
    }

    pub fn changed(&mut self) {
        self.ctime = SystemTime::now();
    }

    pub fn modified(&mut self) {
        self.changed();
        self.mtime = self.ctime;
    }
}

/// All that is in the file system.
#[derive(Debug)]
pub(crate) struct State {
    inodes: HashMap<u64, Inode>,
    last: u64,
    /// Pages of all files.
    pub pages: u64,
    pub max_pages: u64,
}

impl State {
    pub fn new(caller: Caller, max_pages: u64) -> Self {
        let mut root = Inode::new(Content::Directory(BTreeMap::new()), 0o755, caller);
        root.nlink = 2;
        Self {
            inodes: HashMap::from([(ROOT, root)]),
            last: ROOT,
            pages: 0,
            max_pages,
        }
    }

    pub fn inodes(&self) -> u64 {
        self.inodes.len() as u64
    }

    pub fn inode(&self, number: u64) -> Result<&Inode> {
        self.inodes.get(&number).ok_or(Errno::EBADF)
    }

    pub fn inode_mut(&mut self, number: u64) -> Result<&mut Inode> {
        self.inodes.get_mut(&number).ok_or(Errno::EBADF)
    }

    pub fn find(&self, path: &Path) -> Result<u64> {
        let mut at = ROOT;
        for component in path.components() {
            if let Component::Normal(name) = component {
                at = *self.names(at)?.get(name).ok_or(Errno::ENOENT)?;
            }
        }
        Ok(at)
    }

    /// The inode at a path.
    pub fn at(&self, path: &Path) -> Result<&Inode> {
        self.inode(self.find(path)?)
    }

    /// The same, to change it.
    pub fn at_mut(&mut self, path: &Path) -> Result<&mut Inode> {
        let number = self.find(path)?;
        self.inode_mut(number)
    }

    fn names(&self, dir: u64) -> Result<&BTreeMap<OsString, u64>> {
        match &self.inode(dir)?.content {
            Content::Directory(names) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    fn names_mut(&mut self, dir: u64) -> Result<&mut BTreeMap<OsString, u64>> {
        let inode = self.inode_mut(dir)?;
        inode.modified();
        match &mut inode.content {
            Content::Directory(names) => Ok(names),
            _ => Err(Errno::ENOTDIR),
        }
    }

    /// The names in a directory, and what they are names of.
    pub fn list(&self, path: &Path) -> Result<Vec<(OsString, FileType)>> {
        let mut list = Vec::new();
        for (name, &number) in self.names(self.find(path)?)? {
            list.push((name.clone(), self.inode(number)?.kind()));
        }
        Ok(list)
    }

    /// The directory that a path's last name is in, and that name.
    fn place<'a>(&self, path: &'a Path) -> Result<(u64, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::EBUSY)?;
        if name.len() > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        let parent = path.parent().ok_or(Errno::EBUSY)?;
        Ok((self.find(parent)?, name))
    }

    /// Counts a directory's directories.
    fn count_dir(&mut self, parent: u64, number: u64, change: i32) -> Result<()> {
        if self.inode(number)?.is_dir() {
            let parent = self.inode_mut(parent)?;
            parent.nlink = parent.nlink.saturating_add_signed(change);
        }
        Ok(())
    }

    fn add(&mut self, (dir, name): (u64, &OsStr), number: u64) -> Result<()> {
        self.names_mut(dir)?.insert(name.into(), number);
        self.count_dir(dir, number, 1)
    }

    fn take(&mut self, (dir, name): (u64, &OsStr)) -> Result<u64> {
        let number = self.names_mut(dir)?.remove(name).ok_or(Errno::ENOENT)?;
        self.count_dir(dir, number, -1)?;
        Ok(number)
    }

    /// Makes an inode of that name.
    pub fn make(
        &mut self,
        caller: Caller,
        path: &Path,
        content: Content,
        mode: u32,
    ) -> Result<u64> {
        let place = self.place(path)?;
        if self.names(place.0)?.contains_key(place.1) {
            return Err(Errno::EEXIST);
        }
        let mut inode = Inode::new(content, mode, caller);
        inode.nlink = if inode.is_dir() { 2 } else { 1 };
        self.last += 1;
        self.inodes.insert(self.last, inode);
        self.add(place, self.last)?;
        Ok(self.last)
    }

    pub fn link(&mut self, from: &Path, to: &Path) -> Result<()> {
        let number = self.find(from)?;
        let place = self.place(to)?;
        if self.inode(number)?.is_dir() {
            return Err(Errno::EPERM);
        }
        if self.names(place.0)?.contains_key(place.1) {
            return Err(Errno::EEXIST);
        }
        self.add(place, number)?;
        let inode = self.inode_mut(number)?;
        inode.nlink += 1;
        inode.changed();
        Ok(())
    }

    /// Removes a name of a directory or of something else.
    pub fn remove(&mut self, path: &Path, directory: bool) -> Result<()> {
        let inode = self.at(path)?;
        match &inode.content {
            Content::Directory(_) if !directory => return Err(Errno::EISDIR),
            Content::Directory(names) if !names.is_empty() => return Err(Errno::ENOTEMPTY),
            Content::Directory(_) => {}
            _ if directory => return Err(Errno::ENOTDIR),
            _ => {}
        }
        let number = self.take(self.place(path)?)?;
        self.drop_name(number)
    }

    fn drop_name(&mut self, number: u64) -> Result<()> {
        let inode = self.inode_mut(number)?;
        inode.changed();
        inode.nlink = match inode.is_dir() {
            true => 0,
            false => inode.nlink.saturating_sub(1),
        };
        self.free(number)
    }

    /// Frees an inode that has neither a name nor is open.
    pub fn free(&mut self, number: u64) -> Result<()> {
        let inode = self.inode(number)?;
        if inode.nlink > 0 || inode.opens > 0 {
            return Ok(());
        }
        if let Content::File(data) = &inode.content {
            self.pages -= data.pages();
        }
        self.inodes.remove(&number);
        Ok(())
    }

    /// Renames; what is there is replaced, or left alone, or takes the old name.
    pub fn rename(&mut self, from: &Path, to: &Path, flags: u32) -> Result<()> {
        let (source, target) = (self.find(from)?, self.find(to).ok());
        let (old, new) = (self.place(from)?, self.place(to)?);
        // Before anything is taken away.
        self.names(new.0)?;
        let exchange = flags & libc::RENAME_EXCHANGE != 0;
        if to.starts_with(from) && to != from || exchange && from.starts_with(to) && to != from {
            return Err(Errno::EINVAL);
        }
        match target {
            None if exchange => return Err(Errno::ENOENT),
            Some(_) if flags & libc::RENAME_NOREPLACE != 0 => return Err(Errno::EEXIST),
            Some(target) if target == source => return Ok(()),
            Some(target) if exchange => {
                self.take(old)?;
                self.take(new)?;
                self.add(old, target)?;
                self.add(new, source)?;
            }
            Some(_) => {
                let directory = self.inode(source)?.is_dir();
                self.remove(to, directory)?;
                self.take(old)?;
                self.add(new, source)?;
            }
            None => {
                self.take(old)?;
                self.add(new, source)?;
            }
        }
        self.inode_mut(source)?.changed();
        Ok(())
    }

    /// Changes what is in a file, if there is room for it.
    pub fn change(
        &mut self,
        number: u64,
        new_pages: impl FnOnce(&Data) -> u64,
        change: impl FnOnce(&mut Data),
    ) -> Result<()> {
        let (pages, max) = (self.pages, self.max_pages);
        let inode = self.inode_mut(number)?;
        let data = match &mut inode.content {
            Content::File(data) => data,
            Content::Directory(_) => return Err(Errno::EISDIR),
            _ => return Err(Errno::EINVAL),
        };
        if new_pages(data) > max.saturating_sub(pages) {
            return Err(Errno::ENOSPC);
        }
        let before = data.pages();
        change(data);
        let after = data.pages();
        inode.modified();
        self.pages = pages - before + after;
        Ok(())
    }
}
