// SPDX-License-Identifier: GPL-2.0

//! Inodes: their attributes and how long these hold, and forgetting them.

use super::{
    attr::{attributes, times},
    dir::Directory,
    init::Features,
    io_mode::IoMode,
    mount::{Flag, Mount},
    permission::Common,
    read::Pages,
    readdir::DirectoryFile,
    readdir_cache::Listing,
    symlink::Symlink,
    writeback::{self, Held, Writes},
    INode, OwnedINode, SuperBlock,
};
use crate::{
    abi::{Attr, ROOT_ID},
    queue::{forget_node, ForgetNode},
    vfs::{
        inode::{FileType, Lookup, NewINode, Time},
        setattr::Changes,
        stat::{
            ATIME_STAT, BASIC_STATS, BIRTH_STAT, CTIME_STAT, DIRECTORY_STATS, MODIFY_STATS,
            MTIME_STAT, SIZE_STAT,
        },
        time::{Expiry, Ticks, Version},
    },
};
use kernel::{
    new_mutex, new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Mutex, MutexGuard, SetOnce, SpinLock, SpinLockGuard,
    },
};

/// What FUSE keeps of an inode.
#[pin_data]
pub(crate) struct Node {
    /// The daemon's number for it.
    nodeid: Atomic<u64>,
    /// Any use fails from now on: the daemon has contradicted itself.
    bad: Atomic<bool>,
    /// Which attributes (`STATX_*`) do not hold, however young they are.
    invalid: Atomic<u32>,
    /// Until when the others hold.
    pub(super) expiry: Expiry,
    /// The size is being changed: what the daemon says of it meanwhile may be old or new.
    unsettled: Atomic<bool>,
    /// Whether it is used through the page cache.
    #[pin]
    pub(super) io_mode: IoMode,
    /// Writing back what is dirty: there from when somebody may write, or keeps others from it.
    writes: SetOnce<Pin<KBox<Writes>>>,
    /// Of a directory: somebody looks up what is in it. READDIRPLUS is worth its cost.
    pub(super) looked_into: Flag,
    /// It is known by a READDIRPLUS, and nobody has looked it up since.
    pub(super) listed: Flag,
    /// Of a directory: what READDIR has put into its page cache, where the daemon wants that.
    listing: SetOnce<Pin<KBox<Listing>>>,
    /// Of a directory: grows when the daemon says that names in it have changed; what is looked up
    /// meanwhile does not hold.
    pub(super) sightings_ended: Version,
    #[pin]
    state: SpinLock<State>,
    /// Held through a LOOKUP or READDIR in a directory, unless the daemon can do several at once.
    #[pin]
    serial: Mutex<()>,
}

/// What is under a node's lock, which is taken outside of the inode's own.
struct State {
    /// How many lookups have led here since the daemon was last told to forget.
    nlookup: u64,
    /// The version of the attributes; 0 when there are none yet.
    attr_version: u64,
    /// To tell the daemon with, when the inode goes.
    forget: Option<KBox<ForgetNode>>,
    cached: Cached,
}

impl State {
    fn count_lookup(&mut self) {
        self.nlookup += 1;
    }
}

/// Attributes as the daemon sent them, where the inode's own differ or have no room.
#[derive(Clone, Copy, Default)]
pub(super) struct Cached {
    pub(super) number: u64,
    pub(super) permissions: u32,
    pub(super) block_bits: u8,
    /// When the file was made, if the daemon knows.
    pub(super) birth: Option<Time>,
}

impl Node {
    /// A node without attributes.
    pub(super) fn new() -> impl PinInit<Self, Error> {
        pin_init::pin_init_scope(|| {
            let forget = KBox::new(forget_node(), GFP_KERNEL_ACCOUNT)?;
            Ok(try_pin_init!(Self {
                nodeid: Atomic::new(0),
                bad: Atomic::new(false),
                invalid: Atomic::new(u32::MAX),
                expiry: Expiry::new(),
                unsettled: Atomic::new(false),
                io_mode <- IoMode::new(),
                writes: SetOnce::new(),
                looked_into: Flag::default(),
                listed: Flag::default(),
                listing: SetOnce::new(),
                sightings_ended: Version::first(),
                state <- new_spinlock!(
                    State {
                        nlookup: 0,
                        attr_version: 0,
                        forget: Some(forget),
                        cached: Cached::default(),
                    },
                    "fuse::Node"
                ),
                serial <- new_mutex!((), "fuse::Node::serial"),
            }? Error))
        })
    }

    /// The daemon's number for the inode.
    pub(super) fn nodeid(&self) -> u64 {
        self.nodeid.load(Relaxed)
    }

    /// Sets it, when the inode is made.
    pub(super) fn set_nodeid(&self, nodeid: u64) {
        self.nodeid.store(nodeid, Relaxed);
    }

    /// Whether the inode must not be used any more.
    pub(super) fn is_bad(&self) -> bool {
        self.bad.load(Relaxed)
    }

    /// `EIO` when the inode must not be used any more.
    pub(super) fn check(&self) -> Result {
        if self.is_bad() {
            Err(EIO)
        } else {
            Ok(())
        }
    }

    /// The inode must not be used any more.
    pub(super) fn make_bad(&self) {
        self.bad.store(true, Relaxed);
    }

    /// Whether any of the attributes in `mask` have been found not to hold.
    pub(super) fn is_invalid(&self, mask: u32) -> bool {
        self.invalid.load(Relaxed) & mask != 0
    }

    fn set_invalid(&self, clear: u32, set: u32) {
        let mut old = self.invalid.load(Relaxed);
        while let Err(now) = self.invalid.cmpxchg(old, old & !clear | set, Relaxed) {
            old = now;
        }
    }

    /// The attributes in `mask` do not hold any more.
    pub(super) fn invalidate(&self, mask: u32) {
        self.set_invalid(0, mask);
    }

    /// The size is going to be changed: until the value is dropped, attributes of the daemon's are
    /// not taken. The contents are locked exclusively.
    pub(super) fn unsettle_size(&self) -> Unsettled<'_> {
        self.unsettled.store(true, Relaxed);
        Unsettled(self)
    }

    /// The daemon has said when the file was made, or that it does not know.
    pub(super) fn set_birth(&self, birth: Option<Time>) {
        let mut state = self.state.lock();
        state.cached.birth = birth.or(state.cached.birth);
        self.set_invalid(BIRTH_STAT, 0);
    }

    /// What the inode itself cannot say.
    pub(super) fn cached(&self) -> Cached {
        self.state.lock().cached
    }

    /// One more lookup has led here.
    pub(super) fn count_lookup(&self) {
        self.state.lock().count_lookup();
    }

    /// What it has to do with writing back. ENOMEM.
    pub(super) fn writes(&self) -> Result<&Writes> {
        self.make(&self.writes, Writes::new)
    }

    /// The same, if it has.
    pub(super) fn known_writes(&self) -> Option<&Writes> {
        self.writes.as_ref().map(|writes| &**writes)
    }

    /// What READDIR puts into the page cache. ENOMEM.
    pub(super) fn listing(&self) -> Result<&Listing> {
        self.make(&self.listing, Listing::new)
    }

    /// The same, if it has.
    pub(super) fn known_listing(&self) -> Option<&Listing> {
        self.listing.as_ref().map(|listing| &**listing)
    }

    /// What few inodes have, and which therefore does not lie in all of them.
    fn make<'a, T, I: PinInit<T>>(
        &self,
        part: &'a SetOnce<Pin<KBox<T>>>,
        new: impl FnOnce() -> I,
    ) -> Result<&'a T> {
        if part.as_ref().is_none() {
            let new = KBox::pin_init(new(), GFP_KERNEL_ACCOUNT)?;
            // Under the lock it is there, or not, and never half done.
            let state = self.state.lock();
            part.populate(new);
            drop(state);
        }
        part.as_ref().map(|part| &**part).ok_or(ENOMEM)
    }

    /// Keeps others from looking up and reading in this directory, where the daemon needs that.
    pub(super) fn serialize(&self, mount: &Mount) -> Option<MutexGuard<'_, ()>> {
        (!mount.features().parallel_dirops).then(|| self.serial.lock())
    }
}

/// The size of an inode is being changed.
pub(super) struct Unsettled<'a>(&'a Node);

impl Drop for Unsettled<'_> {
    fn drop(&mut self) {
        self.0.unsettled.store(false, Relaxed);
    }
}

/// Whether the daemon may send such attributes.
pub(super) fn is_valid(attr: &Attr) -> bool {
    FileType::of_mode(attr.mode).is_some() && i64::try_from(attr.size).is_ok()
}

/// Whether the daemon may send such attributes of `inode`.
pub(super) fn is_for(inode: &INode, attr: &Attr) -> bool {
    i64::try_from(attr.size).is_ok() && !has_wrong_type(inode, attr)
}

/// The attributes that the kernel knows better than the daemon.
pub(super) fn own_stats(inode: &INode) -> u32 {
    if is_ahead(inode) {
        MTIME_STAT | CTIME_STAT | SIZE_STAT
    } else {
        0
    }
}

/// Whether the kernel knows better than the daemon what size and times of modification the file has.
pub(super) fn is_ahead(inode: &INode) -> bool {
    Mount::of(inode).features().writeback_cache && inode.is_regular()
}

/// Whether `attr` of a node of that generation is of another file than `inode`.
pub(super) fn is_stale(inode: &INode, generation: u64, attr: &Attr) -> bool {
    // The kernel keeps 32 bits of it.
    inode.generation() != generation as u32 || has_wrong_type(inode, attr)
}

/// Whether `attr` is of another type of file than `inode`.
pub(super) fn has_wrong_type(inode: &INode, attr: &Attr) -> bool {
    !inode.is_of_type(attr.mode)
}

/// The root, of which nothing is known but its mode.
pub(super) fn root(sb: &SuperBlock, mode: u32) -> Result<OwnedINode> {
    let attr = Attr {
        ino: ROOT_ID,
        mode,
        nlink: 1,
        ..Default::default()
    };
    get(sb, ROOT_ID, 0, &attr, Ticks::PAST, Asked::EXCLUSIVELY)
}

/// The inode's names or extended attributes have changed, and with them the time of its last change.
pub(super) fn ctime_changed(inode: &INode) {
    inode.data().invalidate(CTIME_STAT);
    touch(inode);
}

/// The inode has changed just now: where the kernel is ahead with its times, the daemon is told. May
/// sleep.
pub(super) fn touch(inode: &INode) {
    if is_ahead(inode) {
        inode.touch();
        writeback::send_new_times(inode);
    }
}

/// A name of the inode is gone.
pub(super) fn unlinked(inode: &INode) {
    let mut state = inode.data().state.lock();
    state.attr_version = Mount::of(inode).next_attr_version();
    let mut locked = inode.lock();
    // A daemon may have been careless with the count.
    let left = match locked.file_type() {
        FileType::Directory => 0,
        _ => locked.link_count().saturating_sub(1),
    };
    locked.set_link_count(left);
    drop(locked);
    drop(state);
    ctime_changed(inode);
}

/// When attributes were asked for.
#[derive(Clone, Copy)]
pub(super) struct Asked {
    /// The version of all attributes then; 0 when the reply can be trusted.
    attr_version: u64,
    /// How many inodes had gone then; 0 when that does not matter.
    evictions: u64,
}

impl Asked {
    /// The reply can be trusted: nobody else knows the inode.
    pub(super) const EXCLUSIVELY: Self = Self {
        attr_version: 0,
        evictions: 0,
    };

    /// Now, for an inode that is known.
    pub(super) fn known(mount: &Mount) -> Self {
        Self {
            attr_version: mount.attr_version(),
            evictions: 0,
        }
    }

    /// The same time, for an inode that is known.
    pub(super) fn of_known(self) -> Self {
        Self {
            evictions: 0,
            ..self
        }
    }

    /// Now, for one that may not be.
    pub(super) fn unknown(mount: &Mount) -> Self {
        Self {
            evictions: mount.evictions(),
            ..Self::known(mount)
        }
    }

    /// Whether newer attributes came since.
    fn is_crossed(self, state: &State) -> bool {
        self.attr_version != 0 && state.attr_version > self.attr_version
    }
}

/// The inode of a node that a lookup has led to, counted as one; `attr` is valid. May sleep.
///
/// # Errors
///
/// `ENOMEM`; then the lookup has not been counted.
pub(super) fn get(
    sb: &SuperBlock,
    nodeid: u64,
    generation: u64,
    attr: &Attr,
    until: Ticks,
    asked: Asked,
) -> Result<OwnedINode> {
    loop {
        match sb.get_or_create_inode(nodeid, nodeid)? {
            Lookup::New(mut inode) => {
                inode.set_generation(generation as u32);
                set_up(&mut inode, attr)?;
                looked_up(&inode, attr, until, asked);
                return Ok(inode.unlock());
            }
            Lookup::Found(inode) => {
                if is_stale(&inode, generation, attr) {
                    // The number has been given to another file.
                    inode.data().make_bad();
                    if !sb.is_root(&inode) {
                        inode.unhash();
                        continue;
                    }
                }
                looked_up(&inode, attr, until, asked);
                return Ok(inode);
            }
        }
    }
}

/// Gives a new inode what does not change any more, and what [`change_attributes`] compares with.
fn set_up(inode: &mut NewINode<super::Fuse>, attr: &Attr) -> Result {
    let file_type = FileType::of_mode(attr.mode).ok_or(EIO)?;
    let &Features {
        writeback_cache,
        posix_acl,
        ..
    } = Mount::of(inode).features();
    inode.keep_times(!(writeback_cache && file_type == FileType::Regular));
    match file_type {
        FileType::Regular => {
            inode.set_regular::<Common, Pages>();
            if writeback_cache {
                inode.may_block_reclaim();
            }
        }
        FileType::Directory => inode.set_directory::<Common, Directory, DirectoryFile>(),
        FileType::Symlink => inode.set_symlink::<Symlink>(),
        special => inode.set_special::<Common>(special, attr.rdev),
    }
    if !posix_acl {
        inode.dont_cache_acls();
    }
    let [_, mtime, ctime] = times(attr);
    let mut inode = inode.lock();
    inode.set_size(attr.size);
    inode.set_mtime(mtime);
    inode.set_ctime(ctime);
    Ok(())
}

/// One more lookup has led to the inode; takes the attributes that came with it, as
/// [`change_attributes`] does.
pub(super) fn looked_up(inode: &INode, attr: &Attr, until: Ticks, asked: Asked) {
    let mut state = inode.data().state.lock();
    state.count_lookup();
    change(inode, state, attr, until, asked);
}

/// Takes attributes that the daemon sent, unless newer ones came meanwhile; whether it did. `attr` is
/// valid. May sleep.
pub(super) fn change_attributes(inode: &INode, attr: &Attr, until: Ticks, asked: Asked) -> bool {
    change(inode, inode.data().state.lock(), attr, until, asked)
}

fn change(
    inode: &INode,
    mut state: SpinLockGuard<'_, State>,
    attr: &Attr,
    until: Ticks,
    asked: Asked,
) -> bool {
    if asked.is_crossed(&state) || inode.data().unsettled.load(Relaxed) {
        return false;
    }
    let (old_size, old_mtime) = (inode.size(), inode.mtime());
    let ahead = is_ahead(inode);
    let theirs = Theirs {
        size: !ahead,
        times: !ahead,
    };
    take(inode, &mut state, attr, until, asked, theirs);
    drop(state);

    if inode.is_regular() && !ahead {
        let resized = old_size != attr.size;
        if resized {
            inode.truncate_page_cache(attr.size);
        }
        let features = Mount::of(inode).features();
        let is_old = if resized {
            !features.explicit_inval_data
        } else {
            features.auto_inval_data && old_mtime != inode.mtime()
        };
        if is_old {
            inode.invalidate_page_cache();
        }
    }
    true
}

/// Takes the attributes that SETATTR, which was asked for `changes`, replied with; `attr` is valid.
/// Where they have crossed newer ones they are taken too, but do not hold. Writing back is `held` until
/// the size is known. May sleep.
pub(super) fn changed(
    inode: &INode,
    attr: &Attr,
    until: Ticks,
    asked: Asked,
    changes: &Changes,
    held: Option<Held<'_>>,
) {
    let ahead = is_ahead(inode);
    let mut state = inode.data().state.lock();
    if ahead {
        let mut locked = inode.lock();
        if let Some(mtime) = changes.mtime() {
            locked.set_mtime(mtime.time);
        }
        if let Some(ctime) = changes.ctime() {
            locked.set_ctime(ctime.time);
        }
    }
    let until = if asked.is_crossed(&state) {
        Ticks::PAST
    } else {
        until
    };
    let old_size = inode.size();
    let resizes = !ahead || changes.size().is_some();
    let theirs = Theirs {
        size: resizes,
        times: !ahead,
    };
    take(inode, &mut state, attr, until, asked, theirs);
    drop(state);
    // Folios that are to go may have to be written back first.
    drop(held);

    if inode.is_regular() && resizes && old_size != attr.size {
        // What lay behind the end was never in the file; others may have it mapped.
        inode.truncate_page_cache_range(old_size, attr.size);
        inode.truncate_page_cache(attr.size);
        inode.invalidate_page_cache();
    }
}

/// What the daemon knows better than the kernel.
#[derive(Clone, Copy)]
struct Theirs {
    size: bool,
    times: bool,
}

/// Takes attributes, but those that the kernel knows better.
fn take(inode: &INode, state: &mut State, attr: &Attr, until: Ticks, asked: Asked, theirs: Theirs) {
    let (node, mount) = (inode.data(), Mount::of(inode));
    let new = attributes(inode.super_block(), attr);
    // An inode that had gone while its attributes were asked for has lost the version that would
    // have told whether they are old: then they do not hold for long.
    if asked.evictions == 0 || state.attr_version != 0 || asked.evictions == mount.evictions() {
        node.set_invalid(BASIC_STATS, 0);
    }
    state.attr_version = mount.next_attr_version();
    state.cached = Cached {
        number: new.number,
        permissions: new.permissions,
        block_bits: new.block_bits,
        ..state.cached
    };
    node.expiry.set(until);

    let mut locked = inode.lock();
    // Without `default_permissions` it is the daemon who judges, also what a sticky bit means.
    let sticky = if mount.default_permissions() {
        0
    } else {
        0o1000
    };
    locked.set_permissions(new.permissions & !sticky);
    locked.set_number(new.number);
    locked.set_link_count(new.link_count);
    locked.set_owner(new.uid, new.gid);
    locked.set_blocks(new.blocks);
    locked.set_atime(new.atime);
    if theirs.size {
        locked.set_size(attr.size);
    }
    if theirs.times {
        locked.set_mtime(new.mtime);
        locked.set_ctime(new.ctime);
    }
}

/// A READ that was asked for at `attr_version` has found the file's end at `size`.
pub(super) fn shrink(inode: &INode, size: u64, attr_version: u64) {
    let node = inode.data();
    let mut state = node.state.lock();
    // Behind a hole may be data that has not been written back.
    let settled = !node.unsettled.load(Relaxed) && !is_ahead(inode);
    if settled && attr_version >= state.attr_version && size < inode.size() {
        state.attr_version = Mount::of(inode).next_attr_version();
        inode.lock().set_size(size);
    }
}

/// The file has been written to, up to `end` at least; `None` when that failed.
pub(super) fn written(inode: &INode, end: Option<u64>) {
    let mut state = inode.data().state.lock();
    state.attr_version = Mount::of(inode).next_attr_version();
    if let Some(end) = end {
        let mut locked = inode.lock();
        if end > locked.size() {
            locked.set_size(end);
        }
    }
    drop(state);
    inode.data().invalidate(MODIFY_STATS | SIZE_STAT);
}

/// OPEN has truncated the file.
pub(super) fn truncated(inode: &INode) {
    let mut state = inode.data().state.lock();
    state.attr_version = Mount::of(inode).next_attr_version();
    inode.lock().set_size(0);
    drop(state);
    inode.data().invalidate(MODIFY_STATS | SIZE_STAT);
}

/// The attributes have changed, or may have: neither what is cached of them holds, nor what is on its
/// way.
pub(super) fn attributes_changed(inode: &INode) {
    let node = inode.data();
    node.state.lock().attr_version = Mount::of(inode).next_attr_version();
    node.invalidate(BASIC_STATS);
    inode.forget_acls();
}

/// The entries of a directory have changed.
pub(super) fn directory_changed(dir: &INode) {
    dir.data().invalidate(DIRECTORY_STATS);
    if let Some(listing) = dir.data().known_listing() {
        listing.directory_changed();
    }
}

/// The file has been read: the time that says when does not hold any more.
pub(super) fn invalidate_atime(inode: &INode) {
    if !inode.super_block().is_read_only() {
        inode.data().invalidate(ATIME_STAT);
    }
}

/// The inode goes, and the daemon may forget it.
pub(super) fn evict(inode: &INode) {
    let (node, mount) = (inode.data(), Mount::of(inode));
    let mut state = node.state.lock();
    let (nlookup, forget) = (state.nlookup, state.forget.take());
    drop(state);
    if let (1.., Some(forget)) = (nlookup, forget) {
        mount.connection.forget(forget, node.nodeid(), nlookup);
    }
    if inode.link_count() > 0 {
        mount.count_eviction();
    }
}
