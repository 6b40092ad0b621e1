// SPDX-License-Identifier: GPL-2.0

//! Reads and writes past the page cache whose requests are all under way at once (`FUSE_ASYNC_DIO`).
//!
//! The requests are background ones, each of which holds the [`Transfer`] it is a part of. When the last
//! of them has ended, that goes, and with this the whole has ended: who asked for it is told, or woken.
//! Replies come in the context of a daemon, so what is read goes to pages of the caller's that are
//! pinned until then. A caller who waits and is killed leaves the transfer behind.

use super::{direct, inode, mount::Mount, open::OpenFile, INode};
use crate::{
    abi::{ReadIn, WriteIn, WriteOut},
    message::{op, Completion, Data, Message, Operation, Payload, Request},
    sys::{park, Sleep, Thread},
    vfs::{
        file::{Ended, Io},
        iov::PeekBytes,
        later::Later,
        pages::Pages,
    },
};
use kernel::{
    iov::{IovIterDest, IovIterSource},
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, ArcBorrow, SpinLock,
    },
};

/// Reads up to `len` bytes; `io`, which may end later, does when they are there.
pub(super) fn read_later<'a>(
    file: ArcBorrow<'_, OpenFile>,
    io: Io<'a>,
    iov: &mut IovIterDest<'_>,
    len: usize,
) -> Ended<'a> {
    let start = io.position();
    match io.read_later() {
        Err(ended) => ended,
        Ok((later, ended)) => {
            let end = End::Later(later);
            Transfer::run(file, Kind::Read, start, end, |transfer| {
                transfer.send_reads(iov, len)
            });
            ended
        }
    }
}

/// Reads up to `len` bytes from `start` on to a task's memory; returns how many there were. Sleeps until
/// they are there, or a fatal signal comes.
pub(super) fn read(
    file: ArcBorrow<'_, OpenFile>,
    start: u64,
    iov: &mut IovIterDest<'_>,
    len: usize,
) -> Result<usize> {
    let waiter = Waiter::new()?;
    let end = End::Waiter(waiter.clone());
    Transfer::run(file, Kind::Read, start, end, |transfer| {
        transfer.send_reads(iov, len)
    });
    waiter.wait()
}

/// Writes all of `iov` within the file; `io`, which may end later, does when that is done.
pub(super) fn write_later<'a>(
    file: ArcBorrow<'_, OpenFile>,
    io: Io<'a>,
    iov: &mut IovIterSource<'_>,
) -> Ended<'a> {
    let (start, flags) = (io.position(), io.flags());
    match io.write_later() {
        Err(ended) => ended,
        Ok((later, ended)) => {
            let end = End::Later(later);
            Transfer::run(file, Kind::Write, start, end, |transfer| {
                transfer.send_writes(iov, flags)
            });
            ended
        }
    }
}

/// Writes all of `iov` from `start` on, with the flags that a WRITE is to tell; returns how many bytes
/// that were. Sleeps until it is done, or a fatal signal comes.
pub(super) fn write(
    file: ArcBorrow<'_, OpenFile>,
    start: u64,
    iov: &mut IovIterSource<'_>,
    flags: u32,
) -> Result<usize> {
    let waiter = Waiter::new()?;
    let end = End::Waiter(waiter.clone());
    Transfer::run(file, Kind::Write, start, end, |transfer| {
        transfer.send_writes(iov, flags)
    });
    waiter.wait()
}

/// A read or write that has begun. When it goes it has ended.
struct Transfer {
    kind: Kind,
    file: Arc<OpenFile>,
    /// Its first byte.
    start: u64,
    /// How many bytes were asked for.
    sent: Atomic<usize>,
    /// The first byte, counted from where it begins, that a reply has left out.
    gap: Atomic<usize>,
    /// The first error that came, by its number, or 0.
    error: Atomic<i32>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Write,
}

/// Who is told of the end.
enum End {
    Later(Arc<Later>),
    Waiter(Arc<Waiter>),
}

impl End {
    fn tell(&self, outcome: Result<usize>) {
        match self {
            End::Later(later) => later.end(outcome),
            End::Waiter(waiter) => waiter.wake(outcome),
        }
    }
}

impl Transfer {
    /// No gap has been found.
    const WHOLE: usize = usize::MAX;

    /// Begins one, whose requests are sent by `send`.
    fn run(
        file: ArcBorrow<'_, OpenFile>,
        kind: Kind,
        start: u64,
        end: End,
        send: impl FnOnce(&Arc<Self>) -> Result,
    ) {
        let transfer = Self {
            kind,
            file: file.into(),
            start,
            sent: Atomic::new(0),
            gap: Atomic::new(Self::WHOLE),
            // Unless there is memory for it.
            error: Atomic::new(ENOMEM.to_errno()),
            end,
        };
        let Ok(transfer) = Arc::new(transfer, GFP_KERNEL) else {
            return;
        };
        transfer.error.store(0, Relaxed);
        if let Err(error) = send(&transfer) {
            // What was sent is less than it could be, which is no error.
            if transfer.sent.load(Relaxed) == 0 {
                transfer.fail(error);
            }
        }
    }

    /// Sends READs for up to `len` bytes.
    fn send_reads(self: &Arc<Self>, iov: &mut IovIterDest<'_>, len: usize) -> Result {
        let mount = Mount::of(self.inode());
        let max_pages = mount.features().max_pages as usize;
        let later = match &self.end {
            End::Later(later) => Some(later),
            End::Waiter(_) => None,
        };
        let mut done = 0;
        while done < len {
            let want = (len - done).min(mount.max_read());
            let pages = Pages::next(iov, want, max_pages, later)?;
            let size = pages.len();
            let arguments = direct::read_arguments(&self.file, self.start + done as u64, size);
            self.send::<op::Read>(size, &arguments, |request| {
                request.reply_into(Data::Pages(pages))
            })?;
            done += size;
        }
        Ok(())
    }

    /// Sends WRITEs for all of `iov`.
    fn send_writes(self: &Arc<Self>, iov: &mut IovIterSource<'_>, flags: u32) -> Result {
        let mount = Mount::of(self.inode());
        let mut done = 0;
        while !iov.is_empty() {
            let bytes = iov.peek_bytes(mount.max_write())?;
            let size = bytes.len();
            let at = self.start + done as u64;
            let arguments = direct::write_arguments(&self.file, at, size, flags);
            self.send::<op::Write>(size, &arguments, |request| {
                request.payload(Payload::Bytes(bytes))
            })?;
            iov.advance(size);
            done += size;
        }
        Ok(())
    }

    /// Sends a request for `size` bytes.
    fn send<O: Operation>(
        self: &Arc<Self>,
        size: usize,
        arguments: &O::In,
        with_data: impl FnOnce(Request<O>) -> Request<O>,
    ) -> Result {
        let inode = self.inode();
        let connection = &Mount::of(inode).connection;
        let request = Request::<O>::new(connection, inode.data().nodeid(), arguments)?;
        self.sent.add(size, Relaxed);
        let sent = connection.submit(with_data(request).then(self.clone()));
        sent.inspect_err(|error| self.fail(*error))
    }

    /// What a request was for, and what became of it; `None` without the structure that a reply has.
    fn piece(&self, message: &mut Message) -> Option<Piece> {
        // CAST: `u32` to `usize` on a 64-bit machine, and less than was asked for.
        let (offset, size) = match self.kind {
            Kind::Read => message
                .arguments()
                .map(|asked: &ReadIn| (asked.offset, asked.size)),
            Kind::Write => message
                .arguments()
                .map(|asked: &WriteIn| (asked.offset, asked.size)),
        }?;
        let moved = match self.kind {
            Kind::Read => message.reply().received,
            Kind::Write => message.reply().fixed::<WriteOut>()?.size as usize,
        };
        Some(Piece {
            at: (offset - self.start) as usize,
            size: size as usize,
            moved,
        })
    }

    fn inode(&self) -> &INode {
        self.file.inode()
    }

    /// A piece of it has failed, or has not been sent.
    fn fail(&self, error: Error) {
        // Only the first one counts.
        let _ = self.error.cmpxchg(0, error.to_errno(), Relaxed);
    }

    /// A reply has left the byte at `at` out.
    fn found_gap(&self, at: usize) {
        let mut found = self.gap.load(Relaxed);
        while at < found {
            match self.gap.cmpxchg(found, at, Relaxed) {
                Ok(_) => return,
                Err(other) => found = other,
            }
        }
    }

    /// How all of it has ended.
    fn outcome(&self) -> Result<usize> {
        match (self.error.load(Relaxed), self.gap.load(Relaxed), self.kind) {
            (0, Self::WHOLE, _) => Ok(self.sent.load(Relaxed)),
            // What follows may have been read, but there is nothing before it.
            (0, gap, Kind::Read) => Ok(gap),
            // What follows may have been written.
            (0, _, Kind::Write) => Err(EIO),
            (error, _, _) => Err(Error::from_errno(error)),
        }
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if self.kind == Kind::Write {
            inode::written(self.inode(), None);
        }
        self.end.tell(self.outcome());
    }
}

impl Completion for Transfer {
    /// A piece of it has ended.
    fn ended(&self, message: &mut Message, outcome: Result) {
        // The memory is its owner's again before that is told of the end.
        drop(message.reply().take_data());
        let piece = outcome.and_then(|()| self.piece(message).ok_or(EIO));
        match piece {
            Err(error) => self.fail(error),
            Ok(Piece { size, moved, .. }) if moved > size => self.fail(EIO),
            Ok(Piece { at, size, moved }) if moved < size => self.found_gap(at + moved),
            Ok(_) => {}
        }
    }
}

/// What a request has to do with the transfer.
struct Piece {
    /// Its first byte, counted from where the transfer begins.
    at: usize,
    /// How many bytes it was to move, and how many the daemon has moved.
    size: usize,
    moved: usize,
}

/// Waits for the end of a transfer.
#[pin_data]
struct Waiter {
    #[pin]
    state: SpinLock<Waiting>,
}

struct Waiting {
    thread: Option<Thread>,
    outcome: Option<Result<usize>>,
}

impl Waiter {
    /// The running task. `ENOMEM`.
    fn new() -> Result<Arc<Self>> {
        let waiting = Waiting {
            thread: Some(Thread::current()),
            outcome: None,
        };
        let waiter = pin_init!(Self {
            state <- new_spinlock!(waiting, "fuse::Waiter"),
        });
        Arc::pin_init(waiter, GFP_KERNEL)
    }

    /// Waits for the outcome. `EINTR` when a fatal signal comes first.
    fn wait(&self) -> Result<usize> {
        park(Sleep::Killable, || self.state.lock().outcome.take()).unwrap_or(Err(EINTR))
    }

    fn wake(&self, outcome: Result<usize>) {
        let mut state = self.state.lock();
        state.outcome = Some(outcome);
        let thread = state.thread.take();
        drop(state);
        if let Some(thread) = thread {
            thread.unpark();
        }
    }
}
