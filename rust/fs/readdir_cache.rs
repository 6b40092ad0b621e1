// SPDX-License-Identifier: GPL-2.0

//! Directories that the daemon lets the kernel cache (FOPEN_CACHE_DIR): what READDIR gave is in the
//! page cache of the directory, in its order, no entry across the end of a page.
//!
//! What is there holds until the directory changes, as its time of modification says or as what is
//! done in it does, and is not read on from elsewhere than where it ends: whoever begins at the
//! beginning, with nothing there, fills it for all.

use super::{attr, superblock::Fuse, INode, Mount};
use crate::{
    abi::{Dirent, EntryHead, NextEntry},
    vfs::{file::DirEmitter, inode::Time, stat::MTIME_STAT, super_block::PAGE_SIZE, time::Version},
};
use kernel::{
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        SpinLock,
    },
};

/// What is in the page cache of a directory.
#[pin_data]
pub(super) struct Listing {
    #[pin]
    state: SpinLock<State>,
    /// Grows with the changes that are made to the directory, or told of.
    changes: Version,
}

#[derive(Default)]
struct State {
    /// All of the directory is there.
    complete: bool,
    /// Tells what is there from what was before.
    version: u64,
    /// How many bytes there are.
    size: u64,
    /// Where the daemon goes on after the last entry.
    next: u64,
    /// What the directory was when it was begun.
    mtime: Time,
    changes: u64,
    epoch: u64,
}

impl State {
    /// Nothing of it is of use any more.
    fn reset(&mut self) {
        *self = Self {
            version: self.version + 1,
            ..Default::default()
        };
    }
}

impl Listing {
    /// Nothing.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            state <- new_spinlock!(State::default(), "fuse::Listing"),
            changes: Version::first(),
        })
    }

    /// The directory is not as it was.
    pub(super) fn directory_changed(&self) {
        self.changes.advance();
    }
}

/// How far an open directory has been read from the page cache. The lock on the position of the file
/// guards it.
#[derive(Default)]
pub(super) struct Stream {
    /// The position in the directory, ...
    position: Word,
    /// ... and that in the page cache, in bytes,
    offset: Word,
    /// of that version of what is there.
    version: Word,
}

/// A number that is not changed by two at once.
struct Word(Atomic<u64>);

impl Default for Word {
    fn default() -> Self {
        Self(Atomic::new(0))
    }
}

impl Word {
    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }
}

impl Stream {
    fn rewind(&self) {
        self.position.set(0);
        self.offset.set(0);
    }
}

const PAGE: u64 = PAGE_SIZE as u64;

/// Hands entries of the page cache on, from the position of `entries`; whether that could be done:
/// else the daemon is to be asked. May sleep.
///
/// # Errors
///
/// Those of asking for the directory's attributes; `ENOMEM`.
pub(super) fn read(
    dir: &INode,
    stream: &Stream,
    entries: &mut DirEmitter<'_, Fuse>,
) -> Result<bool> {
    // CAST: Positions are the daemon's; the kernel only keeps them.
    if stream.position.get() != entries.position() as u64 {
        stream.rewind();
    }
    if entries.position() == 0 && Mount::of(dir).features().auto_inval_data {
        attr::update(dir, None, MTIME_STAT)?;
    }
    let listing = dir.data().listing()?;
    let mut bytes = KVec::from_elem(0, PAGE_SIZE, GFP_KERNEL)?;
    while let Some(size) = begin(dir, listing, stream, entries.position() == 0) {
        let offset = stream.offset.get();
        // CAST: Less than a page.
        let (index, start) = (offset / PAGE, (offset % PAGE) as usize);
        if start == size {
            return Ok(true);
        }
        let page = dir.cached_page(index).filter(|page| page.is_uptodate());
        let mut state = listing.state.lock();
        if state.version != stream.version.get() {
            continue;
        }
        let Some(page) = page else {
            // The page was given up: what is left is of no use.
            state.reset();
            continue;
        };
        drop(state);
        // As long as the page is locked, it stays as it is.
        let bytes = bytes.get_mut(start..size).ok_or(EIO)?;
        page.read(start, bytes)?;
        drop(page);
        let found = match emit(stream, bytes, entries) {
            Found::All => return Ok(true),
            found => found,
        };
        if size < PAGE_SIZE {
            return Ok(found == Found::Some);
        }
        stream.offset.set((index + 1) * PAGE);
    }
    Ok(false)
}

/// Makes sure that `stream` is one of what is there now; returns how much there is in the page that it
/// is at. None when what is there is not complete, or not of use any more: `at_start`, it can be begun
/// anew.
fn begin(dir: &INode, listing: &Listing, stream: &Stream, at_start: bool) -> Option<usize> {
    let (mtime, changes) = (dir.mtime(), listing.changes.get());
    let epoch = Mount::of(dir).epoch.get();
    let mut state = listing.state.lock();
    let is_outdated = state.mtime != mtime || state.changes != changes || state.epoch != epoch;
    if state.complete && at_start && is_outdated {
        state.reset();
    }
    if !state.complete {
        if at_start && state.size == 0 {
            state.mtime = mtime;
            state.changes = changes;
            state.epoch = epoch;
        }
        return None;
    }
    if stream.version.get() != state.version {
        stream.rewind();
    }
    if stream.position.get() == 0 {
        stream.version.set(state.version);
    }
    Some(if stream.offset.get() / PAGE == state.size / PAGE {
        // CAST: Less than a page.
        (state.size % PAGE) as usize
    } else {
        PAGE_SIZE
    })
}

/// What became of the position in a page.
#[derive(PartialEq, Eq)]
enum Found {
    /// It is not there.
    Nothing,
    /// It is, and there was room for all that follows.
    Some,
    /// It is, and there is no more room.
    All,
}

fn emit(stream: &Stream, mut bytes: &[u8], entries: &mut DirEmitter<'_, Fuse>) -> Found {
    let mut found = Found::Nothing;
    // Behind the last entry of a page there are zeroes.
    while let NextEntry::Entry(entry, name, after) = Dirent::next(bytes) {
        // CAST: Positions are the daemon's; the kernel only keeps them.
        if stream.position.get() == entries.position() as u64 {
            found = Found::Some;
            if !entries.emit(name, entry.ino, entry.r#type) {
                return Found::All;
            }
            entries.set_position(entry.off as i64);
        }
        stream.position.set(entry.off);
        let len = bytes.len() - after.len();
        stream.offset.set(stream.offset.get() + len as u64);
        bytes = after;
    }
    found
}

/// Adds an entry that the daemon gave for the position `at`, if that is where what is there ends;
/// `next` is where the daemon goes on. May sleep.
pub(super) fn add(dir: &INode, record: &[u8], at: i64, next: u64) {
    let Some(listing) = dir.data().known_listing() else {
        return;
    };
    // CAST: Positions are the daemon's; the kernel only keeps them.
    let is_next = |state: &State| !state.complete && state.next == at as u64;
    let state = listing.state.lock();
    if record.len() > PAGE_SIZE || !is_next(&state) {
        return;
    }
    let (version, size) = (state.version, state.size);
    drop(state);

    // CAST: Less than a page.
    let (mut index, mut offset) = (size / PAGE, (size % PAGE) as usize);
    if offset + record.len() > PAGE_SIZE {
        index += 1;
        offset = 0;
    }
    let page = if offset == 0 {
        dir.make_page(index).ok()
    } else {
        dir.cached_page(index).filter(|page| page.is_uptodate())
    };
    let Some(mut page) = page else {
        return;
    };
    let mut state = listing.state.lock();
    if state.version != version || state.size != size || !is_next(&state) {
        return;
    }
    if offset == 0 {
        page.clear();
    }
    if page.write(offset, record).is_ok() {
        state.size = index * PAGE + (offset + record.len()) as u64;
        state.next = next;
    }
}

/// The daemon has no more entries for the position `at`. May sleep.
pub(super) fn end(dir: &INode, at: i64) {
    let Some(listing) = dir.data().known_listing() else {
        return;
    };
    let mut state = listing.state.lock();
    // CAST: Positions are the daemon's; the kernel only keeps them.
    if state.next != at as u64 {
        return;
    }
    state.complete = true;
    let end = state.size.next_multiple_of(PAGE);
    drop(state);
    // What is behind it is from before.
    dir.truncate_page_cache(end);
}
