// SPDX-License-Identifier: GPL-2.0

//! What `READDIRPLUS` gives.

use super::Model;
use rawfuse::abi;
use zerocopy::IntoBytes;

/// An entry, with what a lookup of it gives.
pub fn record(entry: abi::EntryOut, off: u64, name: &[u8]) -> Vec<u8> {
    let head = abi::Direntplus {
        entry_out: entry,
        dirent: abi::Dirent {
            ino: entry.attr.ino,
            off,
            namelen: name.len() as u32,
            r#type: entry.attr.mode >> 12,
        },
    };
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend_from_slice(name);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// The whole of a directory of the model, from `offset` on, but for the dots, at the offsets that it
/// has for READDIR.
pub fn row(model: &mut Model, dir: u64, offset: u64) -> Vec<u8> {
    let entries: Vec<_> = model.node(dir).entries.clone().into_iter().collect();
    let mut bytes = Vec::new();
    for (off, (name, nodeid)) in (3..).zip(entries) {
        if off > offset {
            bytes.extend(record(model.entry(nodeid), off, name.as_bytes()));
        }
    }
    bytes
}
