// SPDX-License-Identifier: GPL-2.0

//! A request's arguments as bytes.

use kernel::prelude::*;

/// Bytes that are kept inside of the request while they are few, as nearly all arguments are.
pub(crate) enum Bytes {
    /// The first `len` of these.
    Inline { len: u8, bytes: [u8; INLINE] },
    /// Long names.
    Heap(KVec<u8>),
}

/// Room for the arguments of every operation, with a name of usual length.
const INLINE: usize = 96;

impl Bytes {
    /// A copy of `bytes`. ENOMEM.
    pub(crate) fn new(bytes: &[u8]) -> Result<Self> {
        let mut new = Bytes::Inline {
            len: 0,
            bytes: [0; INLINE],
        };
        new.append(bytes)?;
        Ok(new)
    }

    /// Adds `more` at the end. ENOMEM.
    pub(crate) fn append(&mut self, more: &[u8]) -> Result {
        match self {
            Bytes::Inline { len, bytes } => {
                let old = usize::from(*len);
                let new = old + more.len();
                if let Some(room) = bytes.get_mut(old..new) {
                    room.copy_from_slice(more);
                    // CAST: At most `INLINE`.
                    *len = new as u8;
                } else {
                    let mut heap = KVec::with_capacity(new, GFP_KERNEL)?;
                    heap.extend_from_slice(&bytes[..old], GFP_KERNEL)?;
                    heap.extend_from_slice(more, GFP_KERNEL)?;
                    *self = Bytes::Heap(heap);
                }
            }
            Bytes::Heap(heap) => heap.extend_from_slice(more, GFP_KERNEL)?,
        }
        Ok(())
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Bytes::Heap(heap) => heap,
        }
    }
}
