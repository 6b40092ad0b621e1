// SPDX-License-Identifier: GPL-2.0

//! Names in directories, and how long these hold.
//!
//! A LOOKUP that succeeds counts as one reference to the node, which the daemon keeps until FORGET
//! gives it back. A node of 0 says for how long there is no such name.

use super::{
    inode::{self, change_attributes, is_stale, is_valid, Asked},
    mount::Mount,
    DEntry, Fuse, INode, OwnedINode, SuperBlock,
};
use crate::{
    abi::{attr_flags, EntryOut, ROOT_ID},
    message::{op, Request},
    queue::forget_node,
    vfs::{
        dentry::{LookupFlags, NamedDEntry, NewDEntry, Resolved},
        module_param::Parameter,
        time::{Ticks, Version},
    },
};
use kernel::prelude::*;

/// The module parameter `inval_wq`: how often names are forgotten that do not hold any more, in
/// seconds; 0 for never.
pub(crate) static INVAL_WQ: Parameter =
    Parameter::new(|period| period).restricted(|period| matches!(period, 0 | 5..=0xffff));

/// What FUSE keeps of a directory entry.
#[derive(Zeroable)]
pub(crate) struct Entry {
    /// The mount's epoch when the daemon was asked.
    epoch: Version,
}

/// A look at a directory of the daemon's, begun before it is asked for something: what comes of it
/// does not hold if the daemon says meanwhile that things are otherwise.
#[derive(Clone, Copy)]
pub(super) struct Sighting {
    epoch: u64,
    ended: u64,
}

impl Sighting {
    /// Begins to look at `dir`.
    pub(super) fn of(dir: &INode) -> Self {
        Self {
            epoch: Mount::of(dir).epoch.get(),
            ended: dir.data().sightings_ended.get(),
        }
    }

    /// The daemon has said that the name of `dentry` in `dir` holds until then.
    pub(super) fn settle(self, dir: &INode, dentry: &DEntry, until: Ticks) {
        dentry.data().epoch.set(self.epoch);
        dentry.hold_until(until);
        if dir.data().sightings_ended.get_after() != self.ended {
            dentry.expire();
        }
    }
}

/// Asks the daemon what `name` in the directory `parent` is. The caller owns the reference that
/// comes with it.
fn ask(mount: &Mount, parent: u64, name: &[u8]) -> Result<EntryOut> {
    let request = Request::<op::Lookup>::new(&mount.connection, parent, &())?.name(name)?;
    mount.connection.call(request)?.out().copied()
}

/// Until when the name holds that led to `entry`.
pub(super) fn holds_until(entry: &EntryOut) -> Ticks {
    Ticks::after(entry.entry_valid, entry.entry_valid_nsec)
}

/// The VFS is to forget the entry: nobody knows what has become of the name.
pub(super) fn invalidate(dentry: &NamedDEntry<'_, Fuse>) {
    dentry.invalidate();
    dentry.expire();
}

/// The inode that `name` in `parent` leads to, or none; and what the daemon said.
///
/// # Errors
///
/// The daemon's, among them `ENOENT`; `ENAMETOOLONG`; `EIO` when it contradicts itself; `ENOMEM`.
pub(super) fn find(
    sb: &SuperBlock,
    parent: u64,
    name: &[u8],
) -> Result<(Option<OwnedINode>, EntryOut)> {
    let mount = sb.data();
    if name.len() > mount.features().name_max {
        return Err(ENAMETOOLONG);
    }
    // In case that there is no memory for the inode afterwards.
    let forget = KBox::new(forget_node(), GFP_KERNEL)?;
    let asked = Asked::unknown(mount);
    let mut entry = ask(mount, parent, name)?;
    if entry.nodeid == 0 {
        return Ok((None, entry));
    }
    if !is_valid(&entry.attr) {
        return Err(EIO);
    }
    if entry.nodeid == ROOT_ID && entry.generation != 0 {
        entry.generation = 0;
    }
    let until = Ticks::after(entry.attr_valid, entry.attr_valid_nsec);
    let generation = entry.generation;
    match inode::get(sb, entry.nodeid, generation, &entry.attr, until, asked) {
        Ok(inode) => Ok((Some(inode), entry)),
        Err(err) => {
            mount.connection.forget(forget, entry.nodeid, 1);
            Err(err)
        }
    }
}

/// See [`DirectoryOperations::lookup`](crate::vfs::dir_ops::DirectoryOperations::lookup).
pub(super) fn lookup<'a>(dir: &INode, dentry: NewDEntry<'a, Fuse>) -> Result<Resolved<'a, Fuse>> {
    let node = dir.data();
    node.check()?;
    let sb = dir.super_block();
    let sighting = Sighting::of(dir);
    let serial = node.serialize(sb.data());
    let found = find(sb, node.nodeid(), dentry.name());
    drop(serial);
    let (inode, until) = match found {
        Ok((inode, entry)) => (inode, holds_until(&entry)),
        Err(err) if err == ENOENT => (None, Ticks::PAST),
        Err(err) => return Err(err),
    };
    if inode.as_ref().is_some_and(|i| i.data().nodeid() == ROOT_ID) {
        // The root is nowhere but at the top.
        return Err(EIO);
    }
    let found = inode.is_some();
    let resolved = dentry.resolve(inode)?;
    if found {
        node.looked_into.set();
    }
    sighting.settle(dir, &resolved, until);
    Ok(resolved)
}

/// See [`FileSystem::d_revalidate`](crate::vfs::filesystem::FileSystem::d_revalidate).
pub(super) fn revalidate(
    dir: &INode,
    name: &[u8],
    dentry: &DEntry,
    flags: LookupFlags,
) -> Result<bool> {
    if dentry.data().epoch.get() < Mount::of(dir).epoch.get() {
        return Ok(false);
    }
    let inode = dentry.inode();
    if inode.is_some_and(|inode| inode.data().is_bad()) {
        return Ok(false);
    }
    if dentry.holds() && !flags.wants_fresh() {
        return notice(dir, inode, flags).map(|()| true);
    }
    // That there is no such name is never confirmed, only looked up anew.
    let Some(inode) = inode else {
        return Ok(false);
    };
    if flags.in_rcu_walk() {
        return Err(ECHILD);
    }
    match confirm(dir, name, dentry, inode) {
        Ok(()) => Ok(true),
        Err(err) if err == ENOMEM || err == EINTR => Err(err),
        Err(_) => Ok(false),
    }
}

/// Somebody looks for a name that holds: READDIRPLUS was of use for it. `ECHILD` where that cannot be
/// noted now.
fn notice(dir: &INode, inode: Option<&INode>, flags: LookupFlags) -> Result {
    let Some(node) = inode.map(INode::data) else {
        return Ok(());
    };
    if flags.in_rcu_walk() {
        return if node.listed.get() {
            Err(ECHILD)
        } else {
            Ok(())
        };
    }
    if node.listed.take() {
        dir.data().looked_into.set();
    }
    Ok(())
}

/// Asks the daemon whether `name` still leads to `inode`; if so, takes the new attributes and
/// time-outs. Any error means that it does not, or that nobody knows.
fn confirm(dir: &INode, name: &[u8], dentry: &DEntry, inode: &INode) -> Result {
    let (node, mount) = (inode.data(), Mount::of(inode));
    let forget = KBox::new(forget_node(), GFP_KERNEL)?;
    let (sighting, asked) = (Sighting::of(dir), Asked::known(mount));
    let entry = ask(mount, dir.data().nodeid(), name)?;
    if entry.nodeid == 0 {
        return Err(ENOENT);
    }
    // There are no submounts here: an inode that is the root of one is another than this.
    if entry.nodeid != node.nodeid() || entry.attr.flags & attr_flags::SUBMOUNT != 0 {
        mount.connection.forget(forget, entry.nodeid, 1);
        return Err(ESTALE);
    }
    node.count_lookup();
    if !is_valid(&entry.attr) || is_stale(inode, entry.generation, &entry.attr) {
        return Err(ESTALE);
    }
    let until = Ticks::after(entry.attr_valid, entry.attr_valid_nsec);
    inode.forget_acls();
    change_attributes(inode, &entry.attr, until, asked);
    sighting.settle(dir, dentry, holds_until(&entry));
    Ok(())
}
