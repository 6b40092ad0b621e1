// SPDX-License-Identifier: GPL-2.0

//! Extensions: what a request that makes something says beside its arguments, where the daemon wants
//! to know.

use super::{mount::Mount, superblock::Fuse, INode};
use crate::{
    abi::{ext_type, ExtHeader, Secctx, SecctxHeader, SuppGroups},
    message::{Operation, Request},
    vfs::{dentry::NamedDEntry, inode_ops::IdMap},
};
use kernel::prelude::*;
use zerocopy::IntoBytes;

/// Adds what was agreed on to a request for something of the type in `mode`, which is to be known as
/// `dentry` in `dir`.
///
/// # Errors
///
/// `ENOMEM`; those of security modules.
pub(super) fn add<O: Operation>(
    mut request: Request<O>,
    id_map: IdMap<'_>,
    dir: &INode,
    dentry: &NamedDEntry<'_, Fuse>,
    mode: u32,
) -> Result<Request<O>> {
    let features = Mount::of(dir).features();
    if features.security_ctx {
        let context = dentry.security_context(mode)?;
        let context = context
            .as_ref()
            .map(|context| (context.name(), context.label()));
        request = request.extension(&security_contexts(context)?)?;
    }
    if features.create_supp_group {
        if let Some(gid) = group_of_parent(id_map, dir) {
            request = request.extension(&groups(gid)?)?;
        }
    }
    Ok(request)
}

/// The number of the directory's group, where the running task is in that by a supplementary group: a
/// daemon that makes the file in the caller's name would not know.
fn group_of_parent(id_map: IdMap<'_>, dir: &INode) -> Option<u32> {
    let gid = dir.group().in_ns(Mount::of(dir).connection.users())?;
    id_map.in_group_as_supplementary(dir).then_some(gid)
}

/// An extension with one group.
fn groups(gid: u32) -> Result<KVec<u8>> {
    let size = record_size(size_of::<ExtHeader>() + size_of::<SuppGroups>() + size_of::<u32>());
    let header = ExtHeader {
        // CAST: It is small.
        size: size as u32,
        r#type: ext_type::EXT_GROUPS,
    };
    let groups = SuppGroups { nr_groups: 1 };
    record(
        &[header.as_bytes(), groups.as_bytes(), gid.as_bytes()],
        size,
    )
}

/// An extension with a label, the name of whose attribute stands before it; or with none.
fn security_contexts(context: Option<(&CStr, &[u8])>) -> Result<KVec<u8>> {
    let header = |nr_secctx, size: usize| SecctxHeader {
        size: u32::try_from(size).unwrap_or(u32::MAX),
        nr_secctx,
    };
    let head = size_of::<SecctxHeader>();
    let Some((name, label)) = context else {
        return record(&[header(0, head).as_bytes()], head);
    };
    let name = name.to_bytes_with_nul();
    let size = head + record_size(size_of::<Secctx>() + name.len() + label.len());
    let context = Secctx {
        // CAST: As much as fits into an extension, else the request is not sent.
        size: label.len() as u32,
        ..Default::default()
    };
    let header = header(1, size);
    record(&[header.as_bytes(), context.as_bytes(), name, label], size)
}

/// How much room records of that size take: a multiple of eight bytes.
fn record_size(size: usize) -> usize {
    size.next_multiple_of(size_of::<u64>())
}

/// The parts of a record one after another, and zeroes up to its size.
fn record(parts: &[&[u8]], size: usize) -> Result<KVec<u8>> {
    let mut bytes = KVec::with_capacity(size, GFP_KERNEL)?;
    for part in parts {
        bytes.extend_from_slice(part, GFP_KERNEL)?;
    }
    bytes.resize(size, 0, GFP_KERNEL)?;
    Ok(bytes)
}

/// No kernel that tests run on has a security module with labels: this is how one would be sent.
#[kernel::prelude::kunit_tests(rust_fuse_fs_extensions)]
mod tests {
    use super::*;

    #[test]
    fn label_follows_the_name_of_its_attribute() {
        let sent = security_contexts(Some((c"security.x", b"labels"))).unwrap();
        let (header, rest) = sent.split_at(8);
        assert_eq!(header, [40u32, 1].as_bytes());
        let (context, rest) = rest.split_at(8);
        assert_eq!(context, [6u32, 0].as_bytes());
        assert_eq!(rest, b"security.x\0labels\0\0\0\0\0\0\0");
    }

    #[test]
    fn label_that_fills_its_record() {
        let sent = security_contexts(Some((c"security", b"1234567"))).unwrap();
        assert_eq!(sent.len(), 32);
        assert_eq!(sent[..16], *[32u32, 1, 7, 0].as_bytes());
        assert_eq!(sent[16..], *b"security\x001234567");
    }
}
