// SPDX-License-Identifier: GPL-2.0

//! The next request, for a daemon.

use crate::{
    abi::{
        BatchForgetIn, ForgetIn, ForgetOne, InHeader, InterruptIn, Opcode, WriteIn, MIN_READ_BUFFER,
    },
    message::{Line, Message, Payload},
    queue::{Delivery, Forget, Work, INTERRUPT_BIT},
    sys::{fifo::Fifo, is_dying},
    trace,
    vfs::{
        folio::FolioPart,
        iov::{without_faults, Dest},
        pipe::PipeDest,
    },
};
use kernel::prelude::*;
use zerocopy::{Immutable, IntoBytes};

/// Where a request goes: the memory of a daemon, or a pipe.
pub(super) trait Sink {
    /// How many bytes it takes.
    fn len(&self) -> usize;

    /// Copies `bytes` to it, whole. EFAULT when the daemon's memory is not there, or not yet; for a pipe, as
    /// [`PipeDest::put`].
    fn put(&mut self, bytes: &[u8]) -> Result;

    /// Copies the first `len` bytes of `part` to it. Errors as [`put`](Self::put).
    fn put_folio(&mut self, part: &FolioPart, len: usize) -> Result;

    /// After EFAULT: begins again with all `len` bytes, once the daemon's memory is there. Sleeps.
    /// EFAULT when it cannot be had.
    fn again(&mut self, len: usize) -> Result;
}

impl Sink for Dest<'_, '_> {
    fn len(&self) -> usize {
        Dest::len(self)
    }

    fn put(&mut self, bytes: &[u8]) -> Result {
        Dest::put(self, bytes)
    }

    fn put_folio(&mut self, part: &FolioPart, len: usize) -> Result {
        Dest::put_folio(self, part, len)
    }

    fn again(&mut self, len: usize) -> Result {
        Dest::again(self, len)
    }
}

impl Sink for PipeDest<'_> {
    fn len(&self) -> usize {
        PipeDest::len(self)
    }

    fn put(&mut self, bytes: &[u8]) -> Result {
        PipeDest::put(self, bytes)
    }

    fn put_folio(&mut self, part: &FolioPart, len: usize) -> Result {
        PipeDest::put_folio(self, part, len)
    }

    fn again(&mut self, _len: usize) -> Result {
        // Its pages are the kernel's own.
        Err(EFAULT)
    }
}

/// Copies the next request to `to`; returns its length. Sleeps until there is one if `wait` is set.
///
/// EINVAL when there is no room for the headers of a WRITE and `max_write`, or for 8 KiB: then
/// nothing is lost. EFAULT, or what a pipe says, when `to` does not take it: then the request ends
/// with EIO. Else as
/// [`Queue::read`](crate::queue::Queue::read).
pub(super) fn read(line: &Line, to: &mut impl Sink, wait: bool) -> Result<usize> {
    let connection = &line.connection;
    let room = to.len();
    // CAST: A `max_write` fits into any address space that holds such a buffer.
    let largest =
        size_of::<InHeader>() + size_of::<WriteIn>() + connection.terms().max_write as usize;
    if room < largest.max(MIN_READ_BUFFER) {
        return Err(EINVAL);
    }
    let max_forgets =
        (room - size_of::<InHeader>() - size_of::<BatchForgetIn>()) / size_of::<ForgetOne>();
    loop {
        match connection.queue().read(line.device, wait, max_forgets)? {
            Work::Interrupt { of } => {
                let read = interrupt(to, of);
                if is_dying() {
                    connection.queue().unread_interrupt(of);
                }
                return read;
            }
            Work::Forgets { unique, forgets } => {
                let read = forget(to, unique, &forgets);
                if let Ok(len) = read {
                    let count = forgets.len() as u64;
                    // CAST: It fits into the buffer of one read.
                    trace::forgets(connection.id(), unique, count, len as u32);
                }
                if is_dying() {
                    connection.queue().unread_forgets(forgets);
                }
                return read;
            }
            Work::Request(delivery) => {
                if let Some(len) = deliver(to, delivery, connection.terms().minor)? {
                    return Ok(len);
                }
            }
        }
    }
}

/// Copies a request; none when it was too large.
fn deliver(
    to: &mut impl Sink,
    mut delivery: Delivery<'_, Message>,
    minor: u32,
) -> Result<Option<usize>> {
    let unique = delivery.unique();
    let message = delivery.request();
    let len = message.address(unique, minor);
    if len > to.len() {
        let error = match message.opcode() {
            Opcode::Setxattr => E2BIG,
            _ => EIO,
        };
        delivery.fail(error);
        return Ok(None);
    }
    while let Err(error) = without_faults(|| put_message(to, delivery.request(), minor)) {
        if error != EFAULT {
            return Err(error);
        }
        delivery = delivery.aside(|| to.again(len))?;
    }
    delivery.sent()?;
    Ok(Some(len))
}

fn put_message(to: &mut impl Sink, message: &Message, minor: u32) -> Result {
    for piece in message.pieces(minor) {
        if !piece.is_empty() {
            to.put(piece)?;
        }
    }
    put_payload(to, message.payload())
}

fn put_payload(to: &mut impl Sink, payload: &Payload) -> Result {
    match payload {
        Payload::None => Ok(()),
        Payload::Bytes(bytes) => to.put(bytes),
        Payload::Folios { parts, len } => {
            let mut left = *len;
            for part in parts {
                let size = part.len().min(left);
                to.put_folio(part, size)?;
                left -= size;
            }
            Ok(())
        }
    }
}

fn interrupt(to: &mut impl Sink, of: u64) -> Result<usize> {
    let header = InHeader {
        opcode: Opcode::Interrupt.into(),
        unique: of | INTERRUPT_BIT,
        ..header_for::<InterruptIn>(0)
    };
    copy(to, &header)?;
    copy(to, &InterruptIn { unique: of })?;
    Ok(header.len as usize)
}

/// One forget goes as FORGET, several as BATCH_FORGET.
fn forget(to: &mut impl Sink, unique: u64, forgets: &Fifo<Forget>) -> Result<usize> {
    let count = forgets.len();
    if let (1, Some(&Forget { nodeid, nlookup })) = (count, forgets.iter().next()) {
        let header = InHeader {
            opcode: Opcode::Forget.into(),
            unique,
            nodeid,
            ..header_for::<ForgetIn>(0)
        };
        copy(to, &header)?;
        copy(to, &ForgetIn { nlookup })?;
        return Ok(header.len as usize);
    }
    let header = InHeader {
        opcode: Opcode::BatchForget.into(),
        unique,
        ..header_for::<BatchForgetIn>(count * size_of::<ForgetOne>())
    };
    copy(to, &header)?;
    copy(
        to,
        &BatchForgetIn {
            // CAST: They fit into the buffer of one read.
            count: count as u32,
            dummy: 0,
        },
    )?;
    for &Forget { nodeid, nlookup } in forgets.iter() {
        copy(to, &ForgetOne { nodeid, nlookup })?;
    }
    Ok(header.len as usize)
}

/// A header with the length of a request of `T` and `more` bytes.
fn header_for<T>(more: usize) -> InHeader {
    InHeader {
        // CAST: What fits into one read.
        len: (size_of::<InHeader>() + size_of::<T>() + more) as u32,
        ..Default::default()
    }
}

/// Copies a structure.
fn copy<T: IntoBytes + Immutable>(to: &mut impl Sink, value: &T) -> Result {
    to.put(value.as_bytes())
}
