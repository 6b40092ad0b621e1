// SPDX-License-Identifier: GPL-2.0

//! The data of a request.

use crate::vfs::folio::FolioPart;
use kernel::prelude::*;

/// What of a request has no structure: data that follows its arguments. The request owns it until it
/// has ended, for it may be sent again.
pub(crate) enum Payload {
    None,
    Bytes(KVVec<u8>),
    /// The first `len` bytes of the parts, one after another. What is behind them is not sent.
    Folios {
        parts: KVec<FolioPart>,
        len: usize,
    },
}

impl Payload {
    /// How many bytes are sent.
    pub(crate) fn len(&self) -> usize {
        match self {
            Payload::None => 0,
            Payload::Bytes(bytes) => bytes.len(),
            Payload::Folios { len, .. } => *len,
        }
    }
}
