// SPDX-License-Identifier: GPL-2.0

//! File handles, for name_to_handle_at(2), open_by_handle_at(2) and NFS: a node's number and its
//! generation.
//!
//! A node that the kernel has forgotten is looked up by the name "." in itself, and the directory
//! that one is in by "..", where the daemon has said that it knows them (`EXPORT_SUPPORT`).

use super::{lookup, superblock::Fuse, DEntry, INode, OwnedINode, SuperBlock};
use crate::{
    abi::ROOT_ID,
    vfs::{
        dentry::OwnedDEntry,
        export::{ExportOperations, Filled, HandleKind, HandleRoom},
    },
};
use kernel::prelude::*;

/// The handles of FUSE.
pub(super) struct Exports;

impl ExportOperations for Exports {
    type FileSystem = Fuse;

    fn encode_fh(inode: &INode, room: HandleRoom<'_>, parent: Option<&INode>) -> Filled {
        let [high, low, generation] = words(inode);
        match parent.map(words) {
            None => room.fill(HandleKind::NUMBER, &[high, low, generation]),
            Some([parent_high, parent_low, parent_generation]) => room.fill(
                HandleKind::NUMBER_AND_PARENT,
                &[
                    high,
                    low,
                    generation,
                    parent_high,
                    parent_low,
                    parent_generation,
                ],
            ),
        }
    }

    fn fh_to_dentry(
        sb: &SuperBlock,
        kind: HandleKind,
        words: &[u32],
    ) -> Result<Option<OwnedDEntry<Fuse>>> {
        match *words {
            [high, low, generation, ..]
                if kind == HandleKind::NUMBER || kind == HandleKind::NUMBER_AND_PARENT =>
            {
                find(sb, high, low, generation).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn fh_to_parent(
        sb: &SuperBlock,
        kind: HandleKind,
        words: &[u32],
    ) -> Result<Option<OwnedDEntry<Fuse>>> {
        match *words {
            [_, _, _, high, low, generation, ..] if kind == HandleKind::NUMBER_AND_PARENT => {
                find(sb, high, low, generation).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn get_parent(child: &DEntry) -> Result<OwnedDEntry<Fuse>> {
        let inode = child.inode().ok_or(ESTALE)?;
        entry_of(ask(child.super_block(), inode.data().nodeid(), b"..")?)
    }
}

/// A handle of `inode`.
fn words(inode: &INode) -> [u32; 3] {
    let nodeid = inode.data().nodeid();
    // CAST: Its halves.
    [(nodeid >> 32) as u32, nodeid as u32, inode.generation()]
}

/// An entry of the node that these words of a handle are for.
///
/// # Errors
///
/// `ESTALE` when there is no such node any more, or not known that there is; `EIO` when the daemon
/// contradicts itself; those of LOOKUP.
fn find(sb: &SuperBlock, high: u32, low: u32, generation: u32) -> Result<OwnedDEntry<Fuse>> {
    let nodeid = u64::from(high) << 32 | u64::from(low);
    if nodeid == 0 {
        return Err(ESTALE);
    }
    let inode = match sb.find_inode(nodeid, nodeid) {
        Some(inode) => inode,
        None => {
            let inode = ask(sb, nodeid, b".")?;
            if inode.data().nodeid() != nodeid {
                return Err(EIO);
            }
            inode
        }
    };
    if inode.generation() != generation {
        return Err(ESTALE);
    }
    entry_of(inode)
}

/// What the daemon says that `name`, which is "." or "..", leads to in the node.
fn ask(sb: &SuperBlock, nodeid: u64, name: &[u8]) -> Result<OwnedINode> {
    if !sb.data().features().export_support {
        return Err(ESTALE);
    }
    match lookup::find(sb, nodeid, name) {
        Ok((inode, _)) => inode.ok_or(ESTALE),
        Err(err) if err == ENOENT => Err(ESTALE),
        Err(err) => Err(err),
    }
}

/// An entry of the inode, with or without a name, which does not hold.
fn entry_of(inode: OwnedINode) -> Result<OwnedDEntry<Fuse>> {
    let is_root = inode.data().nodeid() == ROOT_ID;
    let entry = inode.obtain_alias()?;
    if !is_root {
        entry.expire();
    }
    Ok(entry)
}
