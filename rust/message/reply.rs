// SPDX-License-Identifier: GPL-2.0

//! Room for a reply.

use crate::vfs::{folio::LockedFolio, iov::Source, pages::Pages};
use core::ops::Range;
use kernel::prelude::*;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// The most that the structure of a reply may hold, in bytes.
const FIXED: usize = 144;

/// What of a reply has no structure.
pub(crate) enum Data {
    None,
    /// As many bytes as come, up to the capacity.
    Bytes(KVVec<u8>),
    /// As many bytes as there is room for, neither more nor less: a structure that is too large to be
    /// had in every reply.
    Exactly(KVVec<u8>),
    /// What comes goes into these, in their order; what is left of them at the end is untouched.
    Folios(KVec<LockedFolio>),
    /// The same, where it goes to a caller at once.
    Pages(Pages),
}

impl Data {
    /// The most that it can take, in bytes.
    fn capacity(&self) -> usize {
        match self {
            Data::None => 0,
            Data::Bytes(bytes) | Data::Exactly(bytes) => bytes.capacity(),
            Data::Folios(folios) => folios.iter().map(LockedFolio::size).sum(),
            Data::Pages(pages) => pages.len(),
        }
    }

    /// Copies the `len` bytes that are left of `from`, or moves them. There is room for them.
    fn fill(&mut self, from: &mut Source<'_, '_>, len: usize) -> Result {
        match self {
            Data::None => {}
            Data::Bytes(bytes) | Data::Exactly(bytes) => {
                // A daemon that was killed may have begun to answer before.
                bytes.clear();
                from.append_to(bytes)?;
            }
            Data::Folios(folios) => {
                let mut left = len;
                for folio in folios.iter_mut() {
                    let part = folio.size().min(left);
                    if part == 0 {
                        break;
                    }
                    from.fill(folio, part)?;
                    left -= part;
                }
            }
            Data::Pages(pages) => from.fill_pages(pages, len)?,
        }
        Ok(())
    }
}

/// A reply: a structure, and data.
pub(crate) struct Reply {
    fixed: [u64; FIXED / size_of::<u64>()],
    /// What of the reply has no structure.
    pub(crate) data: Data,
    /// How many bytes of data came.
    pub(crate) received: usize,
}

impl Reply {
    /// Room for any structure, and no data.
    pub(super) fn new() -> impl Init<Self> {
        init!(Reply {
            fixed <- pin_init::init_zeroed(),
            data: Data::None,
            received: 0,
        })
    }

    /// The data, taken out.
    pub(crate) fn take_data(&mut self) -> Data {
        core::mem::replace(&mut self.data, Data::None)
    }

    /// The structure.
    pub(crate) fn fixed<T: FromBytes + Immutable + KnownLayout>(&self) -> Option<&T> {
        T::ref_from_prefix(self.fixed.as_bytes())
            .ok()
            .map(|(value, _)| value)
    }

    /// Moves what is at `from` in the structure to `to`, behind a gap that comes to be all zeroes.
    pub(super) fn part(&mut self, from: Range<usize>, to: usize) {
        let bytes = self.fixed.as_mut_bytes();
        let gap = from.start..to;
        bytes.copy_within(from, to);
        bytes[gap].fill(0);
    }

    /// Copies a reply of `len` bytes in, of whose structure there are `fixed`; may sleep.
    ///
    /// EINVAL when the reply is shorter than the structure, or longer than there is room; EFAULT
    /// when the daemon's memory is not there, or what a pipe says of contents that are not.
    pub(crate) fn fill(&mut self, from: &mut Source<'_, '_>, len: usize, fixed: usize) -> Result {
        let data = len.checked_sub(fixed).ok_or(EINVAL)?;
        let most = self.data.capacity();
        if data > most || matches!(self.data, Data::Exactly(_)) && data < most {
            return Err(EINVAL);
        }
        from.copy(&mut self.fixed.as_mut_bytes()[..fixed])?;
        if data > 0 {
            self.data.fill(from, data)?;
        }
        self.received = data;
        Ok(())
    }
}
