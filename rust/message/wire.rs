// SPDX-License-Identifier: GPL-2.0

//! A request as the daemon reads it.

use super::operation::Kind;
use crate::abi::InHeader;
use kernel::prelude::*;
use zerocopy::IntoBytes;
use zerocopy_derive::{Immutable, IntoBytes};

/// Room for the arguments of every operation, with a name of usual length.
const INLINE: usize = 96;

/// A header and arguments, in one piece while the arguments are few, as nearly all are.
pub(super) struct Wire {
    inline: Inline,
    /// How many bytes of arguments are inline.
    len: usize,
    /// All arguments, once they are too many.
    long: Option<KVec<u8>>,
}

/// What is copied to the daemon in one go.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Inline {
    header: InHeader,
    arguments: [u8; INLINE],
}

impl Wire {
    /// A request without arguments.
    pub(super) fn new(header: InHeader) -> impl Init<Self> {
        init!(Wire {
            inline <- init!(Inline {
                header,
                arguments <- pin_init::init_zeroed(),
            }),
            len: 0,
            long: None,
        })
    }

    /// Sets what it is called. There has to be no reply: else [`address`](Self::address) does that.
    pub(super) fn set_unique(&mut self, unique: u64) {
        self.inline.header.unique = unique;
    }

    pub(super) fn header(&self) -> &InHeader {
        &self.inline.header
    }

    /// Adds arguments at the end. ENOMEM, where they do not fit inline.
    pub(super) fn append(&mut self, more: &[u8]) -> Result {
        let Wire { inline, len, long } = self;
        if let Some(long) = long {
            return Ok(long.extend_from_slice(more, GFP_KERNEL)?);
        }
        let end = *len + more.len();
        if let Some(room) = inline.arguments.get_mut(*len..end) {
            room.copy_from_slice(more);
            *len = end;
            return Ok(());
        }
        let mut all = KVec::with_capacity(end, GFP_KERNEL)?;
        all.extend_from_slice(&inline.arguments[..*len], GFP_KERNEL)?;
        all.extend_from_slice(more, GFP_KERNEL)?;
        *long = Some(all);
        Ok(())
    }

    /// Adds an extension behind them, of a multiple of eight bytes. ENOMEM, where it does not fit inline;
    /// E2BIG when it cannot be told how long it is.
    pub(super) fn extend(&mut self, extension: &[u8]) -> Result {
        let units = u16::try_from(extension.len() / size_of::<u64>()).map_err(|_| E2BIG)?;
        let total = self.inline.header.total_extlen.checked_add(units);
        let total = total.ok_or(E2BIG)?;
        self.append(extension)?;
        self.inline.header.total_extlen = total;
        Ok(())
    }

    /// The arguments.
    pub(super) fn arguments(&self) -> &[u8] {
        match &self.long {
            None => &self.inline.arguments[..self.len],
            Some(long) => long,
        }
    }

    /// Completes the header for a daemon of that minor version, with `more` bytes behind the
    /// arguments; returns the length of it all.
    pub(super) fn address(&mut self, kind: &Kind, unique: u64, minor: u32, more: usize) -> usize {
        let (fixed, known) = kind.in_size(minor);
        let len = size_of::<InHeader>() + self.arguments().len() - (fixed - known) + more;
        self.inline.header.unique = unique;
        // CAST: Arguments are a few pages at most, and data as much as a daemon takes in one request.
        self.inline.header.len = len as u32;
        len
    }

    /// What to copy to a daemon of that minor version, one after another.
    pub(super) fn pieces(&self, kind: &Kind, minor: u32) -> [&[u8]; 3] {
        let (fixed, known) = kind.in_size(minor);
        if self.long.is_none() && fixed == known {
            let all = self.inline.as_bytes();
            return [&all[..size_of::<InHeader>() + self.len], &[], &[]];
        }
        let (fixed, names) = self.arguments().split_at(fixed);
        [self.inline.header.as_bytes(), &fixed[..known], names]
    }
}
