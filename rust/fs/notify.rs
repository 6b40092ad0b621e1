// SPDX-License-Identifier: GPL-2.0

//! What the daemon says without being asked: most often that something is not as it was.
//!
//! A thread of a daemon that says so may be the one that a caller waits for, who holds the lock of a
//! directory meanwhile. INVAL_ENTRY takes no lock that could be held so: what it finds in the cache
//! it drops, and what is being looked up at that moment expires as soon as it arrives (see
//! [`Sighting`](super::lookup::Sighting)). DELETE cannot do without the lock, and waits for it until
//! the daemon is killed.

use super::{
    inode, lookup::INVAL_WQ, poll::PolledFiles, superblock::Fuse, INode, Mount, SuperBlock,
};
use crate::{
    abi::{
        notify_inval_entry_flags::EXPIRE_ONLY, NotifyCode, NotifyDeleteOut, NotifyInvalEntryOut,
        NotifyInvalInodeOut, NotifyPollWakeupOut, NotifyPruneOut, NotifyRetrieveIn,
        NotifyRetrieveOut, NotifyStoreOut,
    },
    message::{op, Notified, Payload, Request},
    vfs::{
        folio::FolioPart,
        inode::FileType,
        iov::Source,
        periodic::{Chore, Periodic},
        super_block::{Handle, MAX_FILE_SIZE, PAGE_SIZE},
    },
};
use kernel::{prelude::*, sync::Arc, time::Msecs};
use zerocopy::{FromBytes, IntoBytes};

/// Takes the notifications of a connection.
pub(super) struct Listener {
    superblock: Arc<Handle<Fuse>>,
    polled_files: Arc<PolledFiles>,
}

/// Lets all names go that nobody uses. Not for the daemon's thread: an inode that goes may have to be
/// written back.
pub(super) struct Sweep(Arc<Handle<Fuse>>);

impl Chore for Sweep {
    fn period(&self) -> Msecs {
        0
    }

    fn run(&self) -> bool {
        self.0.with(SuperBlock::shrink_dcache);
        false
    }
}

impl Listener {
    /// For a superblock, until it is unmounted. `ENOMEM`.
    pub(super) fn new(sb: &SuperBlock) -> Result<Arc<Self>> {
        // It is the mount's: whoever drops the last of a connection may not be able to wait for it.
        let sweep = KBox::pin_init(Periodic::new(Sweep(sb.handle())), GFP_KERNEL)?;
        sb.data().sweep.populate(sweep);
        let listener = Self {
            superblock: sb.handle(),
            polled_files: sb.data().polled_files.clone(),
        };
        Ok(Arc::new(listener, GFP_KERNEL)?)
    }

    /// Calls `f` with the inode of a node. `ENOENT` when the kernel does not know it.
    fn with_inode(&self, nodeid: u64, f: impl FnOnce(&INode) -> Result) -> Result {
        let called = self.superblock.with(|sb| {
            let inode = sb.find_inode(nodeid, nodeid).ok_or(ENOENT)?;
            f(&inode)
        });
        called.unwrap_or(Err(ENOENT))
    }

    /// The name of `len` bytes that is all that is left of `from`, with a zero byte after it.
    ///
    /// # Errors
    ///
    /// `ENAMETOOLONG`, `EINVAL` when there is more or less left, `EFAULT`, `ENOMEM`.
    fn name(&self, from: &mut Source<'_, '_>, len: u32) -> Result<KVVec<u8>> {
        let most = self.superblock.with(|sb| sb.data().features().name_max);
        let len = len as usize;
        if len > most.ok_or(ENOENT)? {
            return Err(ENAMETOOLONG);
        }
        if from.len() != len + 1 {
            return Err(EINVAL);
        }
        let mut name = KVVec::with_capacity(len + 1, GFP_KERNEL)?;
        from.append_to(&mut name)?;
        name.truncate(len);
        Ok(name)
    }

    fn poll(&self, from: &mut Source<'_, '_>) -> Result {
        let arg: NotifyPollWakeupOut = only(from)?;
        self.polled_files.wake(arg.kh);
        Ok(())
    }

    fn inval_inode(&self, from: &mut Source<'_, '_>) -> Result {
        let arg: NotifyInvalInodeOut = only(from)?;
        self.with_inode(arg.ino, |inode| {
            inode::attributes_changed(inode);
            if let Ok(first) = u64::try_from(arg.off) {
                let end = match u64::try_from(arg.len) {
                    Ok(len @ 1..) => first.saturating_add(len),
                    _ => u64::MAX,
                };
                // What is in use stays; nothing more can be done.
                let _ = inode.invalidate_page_cache_range(first, end);
            }
            Ok(())
        })
    }

    fn inval_entry(&self, from: &mut Source<'_, '_>) -> Result {
        let arg: NotifyInvalEntryOut = first(from)?;
        let name = self.name(from, arg.namelen)?;
        self.with_inode(arg.parent, |dir| {
            if dir.file_type() != FileType::Directory {
                return Err(ENOTDIR);
            }
            // Before the look into the cache, which may miss what arrives just now.
            dir.data().sightings_ended.advance();
            let parent = dir.find_alias().ok_or(ENOENT)?;
            let entry = parent.find_child(&name).ok_or(ENOENT)?;
            inode::directory_changed(dir);
            if arg.flags & EXPIRE_ONLY == 0 {
                entry.invalidate();
            }
            entry.expire();
            Ok(())
        })
    }

    fn delete(&self, from: &mut Source<'_, '_>) -> Result {
        let arg: NotifyDeleteOut = first(from)?;
        let name = self.name(from, arg.namelen)?;
        self.with_inode(arg.parent, |dir| {
            if dir.file_type() != FileType::Directory {
                return Err(ENOTDIR);
            }
            let locked = dir.lock_parent_contents()?;
            let parent = dir.find_alias().ok_or(ENOENT)?;
            let entry = parent.find_child(&name).ok_or(ENOENT)?;
            inode::directory_changed(dir);
            entry.invalidate();
            entry.expire();
            if arg.child == 0 || entry.inode().is_none() {
                return Ok(());
            }
            entry.was_removed(&locked, |inode| inode.data().nodeid() == arg.child)
        })
    }

    fn store(&self, from: &mut Source<'_, '_>) -> Result {
        let arg: NotifyStoreOut = first(from)?;
        if from.len() != arg.size as usize || arg.offset >= MAX_FILE_SIZE {
            return Err(EINVAL);
        }
        let len = u64::from(arg.size).min(MAX_FILE_SIZE - arg.offset);
        self.with_inode(arg.nodeid, |inode| {
            if !inode.is_regular() {
                return Err(EINVAL);
            }
            let end = arg.offset + len;
            if end > inode.size() {
                inode::written(inode, (len > 0).then_some(end));
            }
            // CAST: At most 32 bits.
            inode.store_in_page_cache(arg.offset, from, len as usize, end.max(inode.size()))
        })
    }

    fn retrieve(&self, from: &mut Source<'_, '_>) -> Result {
        let arg: NotifyRetrieveOut = only(from)?;
        if arg.offset >= MAX_FILE_SIZE {
            return Err(EINVAL);
        }
        self.with_inode(arg.nodeid, |inode| {
            if !inode.is_regular() {
                return Err(EINVAL);
            }
            send_cached(inode, &arg)
        })
    }

    fn inc_epoch(&self) -> Result {
        self.superblock.with(|sb| {
            sb.data().epoch.advance();
            if let (1.., Some(sweep)) = (INVAL_WQ.get(), sb.data().sweep.as_ref()) {
                sweep.start();
            }
        });
        Ok(())
    }

    fn prune(&self, from: &mut Source<'_, '_>) -> Result {
        const BATCH: usize = 64;

        let arg: NotifyPruneOut = first(from)?;
        let mut left = arg.count as usize;
        if from.len() != left * size_of::<u64>() {
            return Err(EINVAL);
        }
        while left > 0 {
            let mut nodeids = [0u64; BATCH];
            let nodeids = &mut nodeids[..left.min(BATCH)];
            from.copy(nodeids.as_mut_bytes())?;
            left -= nodeids.len();
            for &nodeid in nodeids.iter() {
                // What the kernel does not know, it need not forget.
                let _ = self.with_inode(nodeid, |inode| {
                    inode.prune_aliases();
                    Ok(())
                });
            }
        }
        Ok(())
    }
}

impl Notified for Listener {
    fn notify(&self, code: NotifyCode, from: &mut Source<'_, '_>) -> Result {
        match code {
            NotifyCode::Poll => self.poll(from),
            NotifyCode::InvalInode => self.inval_inode(from),
            NotifyCode::InvalEntry => self.inval_entry(from),
            NotifyCode::Delete => self.delete(from),
            NotifyCode::Store => self.store(from),
            NotifyCode::Retrieve => self.retrieve(from),
            NotifyCode::IncEpoch => self.inc_epoch(),
            NotifyCode::Prune => self.prune(from),
            _ => Err(EINVAL),
        }
    }

    fn aborted(&self) {
        self.polled_files.wake_all();
    }
}

/// Sends what RETRIEVE asks for, as far as it is in the page cache.
fn send_cached(inode: &INode, arg: &NotifyRetrieveOut) -> Result {
    let mount = Mount::of(inode);
    let connection = &mount.connection;
    let max_pages = mount.features().max_pages as usize;
    let in_file = inode.size().saturating_sub(arg.offset);
    let most = u64::from(arg.size.min(connection.terms().max_write)).min(in_file);
    // CAST: At most 32 bits; and what is left is less than the size of a page.
    let (most, offset) = (most as usize, arg.offset as usize % PAGE_SIZE);
    let pages = (most + offset).div_ceil(PAGE_SIZE).min(max_pages);
    let parts = inode.cached_parts(arg.offset, most.min(pages * PAGE_SIZE), pages)?;
    let len = parts.iter().map(FolioPart::len).sum();
    let arguments = NotifyRetrieveIn {
        offset: arg.offset,
        // CAST: No more than was asked for.
        size: len as u32,
        ..Default::default()
    };
    let nodeid = inode.data().nodeid();
    let request = Request::<op::NotifyReply>::new(connection, nodeid, &arguments)?
        .payload(Payload::Folios { parts, len });
    connection.post(request, arg.notify_unique)
}

/// The structure that a notification begins with. `EINVAL` when it is cut off; `EFAULT`.
fn first<T: FromBytes + IntoBytes>(from: &mut Source<'_, '_>) -> Result<T> {
    if from.len() < size_of::<T>() {
        return Err(EINVAL);
    }
    let mut value = T::new_zeroed();
    from.copy(value.as_mut_bytes())?;
    Ok(value)
}

/// The structure that is all of a notification. `EINVAL` when there is more or less; `EFAULT`.
fn only<T: FromBytes + IntoBytes>(from: &mut Source<'_, '_>) -> Result<T> {
    if from.len() != size_of::<T>() {
        return Err(EINVAL);
    }
    first(from)
}
