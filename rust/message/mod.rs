// SPDX-License-Identifier: GPL-2.0

//! What a request carries: who asks, for what, with which arguments, and room for the reply.
//!
//! `fs/` makes a [`Request`] of an operation and calls its [`Connection`]; `dev/` copies the
//! [`Message`] inside it to the daemon, and the reply into it. A message owns all that it carries,
//! so that its caller may go before the reply comes.

#![deny(unsafe_code)]

mod caller;
mod connection;
mod endpoint;
pub(crate) mod limits;
mod operation;
mod payload;
mod registry;
mod reply;
mod request;
mod wire;

pub(crate) use caller::Caller;
pub(crate) use connection::{Connection, Notified, Terms};
pub(crate) use endpoint::{Endpoint, Line};
pub(crate) use operation::{Created, Grants, Operation};
pub(crate) use payload::Payload;
pub(crate) use registry::{Exhibit, Gallery, Registry};
pub(crate) use reply::{Data, Reply};
pub(crate) use request::{request_cache, Replied, Request};

/// The operations, one type each.
pub(crate) mod op {
    pub(crate) use super::operation::{
        Access, Bmap, CopyFileRange, CopyFileRange64, Create, Destroy, Fallocate, Flush, Fsync,
        Fsyncdir, Getattr, Getlk, Getxattr, Init, Ioctl, Link, Listxattr, Lookup, Lseek, Mkdir,
        Mknod, NotifyReply, Open, Opendir, Poll, Read, Readdir, Readdirplus, Readlink, Release,
        Releasedir, Removexattr, Rename, Rename2, Rmdir, Setattr, Setlk, Setlkw, Setxattr, SizeOf,
        Statfs, Statx, Symlink, Syncfs, Tmpfile, Unlink, Write,
    };
}

use crate::{
    abi::{self, Direntplus, EntryHead, NextEntry, Opcode},
    queue::{self, Carried, Comm, Facts, Forget, ForgetNode, InterruptStep, Queue, Step},
    sys::{self, insist, RequestBox},
    trace,
    vfs::iov::Source,
};
use core::mem::offset_of;
use kernel::{alloc::AllocError, fs::file::flags, prelude::*, sync::Arc};
use operation::Kind;
use wire::Wire;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// What a request carries.
pub(crate) struct Message {
    kind: &'static Kind,
    connection: u32,
    /// The calling thread in the initial pid namespace.
    global_pid: u32,
    wire: Wire,
    payload: Payload,
    reply: Reply,
    /// Who is told of the end of a request that nobody waits for.
    completion: Option<Arc<dyn Completion>>,
    /// What is to be forgotten at the end of the request, and not before.
    forget: Option<KBox<ForgetNode>>,
}

/// Told of the end of a request that nobody waits for: a background one, or one whose caller was
/// killed.
pub(crate) trait Completion: Send + Sync {
    /// The request has ended: `message` has what it asked for, and, if the outcome is good, the reply.
    /// Runs in whatever thread ended it, without locks; may sleep, but not wait for a daemon.
    fn ended(&self, message: &mut Message, outcome: Result);
}

impl Message {
    /// A message without arguments.
    fn new(kind: &'static Kind, connection: u32, nodeid: u64, caller: Caller) -> impl Init<Self> {
        let header = abi::InHeader {
            opcode: kind.opcode.into(),
            nodeid,
            uid: caller.uid,
            gid: caller.gid,
            pid: caller.pid,
            ..Default::default()
        };
        init!(Message {
            kind,
            connection,
            global_pid: caller.global_pid,
            wire <- Wire::new(header),
            payload: Payload::None,
            reply <- Reply::new(),
            completion: None,
            forget: None,
        })
    }

    /// What is asked for.
    pub(crate) fn opcode(&self) -> Opcode {
        self.kind.opcode
    }

    /// The structure that its arguments begin with, or the beginning of it; `None` when they are too
    /// short for that.
    pub(crate) fn arguments<T: FromBytes + Immutable + KnownLayout>(&self) -> Option<&T> {
        let found = T::ref_from_prefix(self.wire.arguments());
        found.ok().map(|(arguments, _)| arguments)
    }

    /// The reply.
    pub(crate) fn reply(&mut self) -> &mut Reply {
        &mut self.reply
    }

    /// Completes the request for a daemon of that minor version; returns its length in bytes.
    pub(crate) fn address(&mut self, unique: u64, minor: u32) -> usize {
        let unique = match self.has_reply() {
            true => unique,
            // It is called what the daemon wants, who has asked for it.
            false => self.wire.header().unique,
        };
        self.wire
            .address(self.kind, unique, minor, self.payload.len())
    }

    /// The request as it is copied to a daemon of that minor version, one piece after another. Its
    /// [`payload`](Self::payload) follows.
    pub(crate) fn pieces(&self, minor: u32) -> [&[u8]; 3] {
        self.wire.pieces(self.kind, minor)
    }

    /// The data at the end of the request.
    pub(crate) fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Copies a reply of `len` bytes in, from a daemon of that minor version; may sleep.
    ///
    /// EINVAL when the reply is shorter than the structure, or longer than there is room; EFAULT
    /// when the daemon's memory is not there, or what a pipe says of contents that are not.
    pub(crate) fn take_reply(
        &mut self,
        from: &mut Source<'_, '_>,
        len: usize,
        minor: u32,
    ) -> Result {
        let size = self.kind.out_size(minor);
        self.reply.fill(from, len, size)?;
        let open = offset_of!(Created, open);
        if self.kind.grants == Grants::NodeAndFile && size < size_of::<Created>() {
            self.reply.part(abi::EntryOut::COMPAT_SIZE..size, open);
        }
        Ok(())
    }

    /// Gives back what a reply grants that nobody will take.
    fn give_back(&self, queue: &Queue<Message>) {
        match self.kind.grants {
            Grants::Nothing => {}
            Grants::Node => {
                let entry = self.reply.fixed::<abi::EntryOut>();
                if let Some(entry) = entry.filter(|entry| entry.nodeid != 0) {
                    queue.forget(forget(entry.nodeid));
                }
            }
            Grants::File => self.release_opened(queue, op::Release::KIND),
            Grants::Directory => self.release_opened(queue, op::Releasedir::KIND),
            Grants::NodeAndFile => {
                let created = self.reply.fixed::<Created>();
                if let Some(created) = created.filter(|created| created.entry.nodeid != 0) {
                    let nodeid = created.entry.nodeid;
                    let create = self.arguments::<abi::CreateIn>();
                    let flags = create.map_or(0, |create| create.flags & !CREATE_ONLY);
                    let mut release =
                        self.release(op::Release::KIND, nodeid, created.open.fh, flags);
                    release.forget = Some(forget(nodeid));
                    // After an abort there is nobody to tell.
                    let _ = queue.submit(release, true);
                }
            }
            Grants::Nodes => self.give_back_nodes(queue),
        }
    }

    fn give_back_nodes(&self, queue: &Queue<Message>) {
        let Data::Bytes(bytes) = &self.reply.data else {
            return;
        };
        let mut rest = &bytes[..];
        while let NextEntry::Entry(entry, name, after) = Direntplus::next(rest) {
            if let Some(nodeid) = entry.granted(name) {
                queue.forget(forget(nodeid));
            }
            rest = after;
        }
    }

    /// Releases what OPEN or OPENDIR has opened.
    fn release_opened(&self, queue: &Queue<Message>, kind: &'static Kind) {
        let Some(open) = self.reply.fixed::<abi::OpenOut>() else {
            return;
        };
        let asked = self.arguments::<abi::OpenIn>();
        let flags = asked.map_or(0, |asked| asked.flags);
        let release = self.release(kind, self.wire.header().nodeid, open.fh, flags);
        // After an abort there is nobody to tell.
        let _ = queue.submit(release, true);
    }

    /// RELEASE or RELEASEDIR.
    fn release(
        &self,
        kind: &'static Kind,
        nodeid: u64,
        fh: u64,
        flags: u32,
    ) -> RequestBox<Message> {
        let release = abi::ReleaseIn {
            fh,
            flags,
            ..Default::default()
        };
        insist(|| {
            let message = || Message::new(kind, self.connection, nodeid, Caller::NOBODY);
            let mut message = RequestBox::init(message(), GFP_KERNEL).map_err(|_| AllocError)?;
            let appended = message.wire.append(release.as_bytes());
            appended.map(|()| message).map_err(|_| AllocError)
        })
    }
}

/// Flags that say what CREATE is to do, and mean nothing afterwards.
const CREATE_ONLY: u32 = flags::O_CREAT | flags::O_EXCL | flags::O_TRUNC;

/// A FORGET of one reference.
fn forget(nodeid: u64) -> KBox<ForgetNode> {
    let mut node = insist(|| KBox::new(queue::forget_node(), GFP_KERNEL));
    node.value = Forget { nodeid, nlookup: 1 };
    node
}

impl Facts {
    fn named(&self, unique: u64) -> trace::Named {
        trace::Named {
            connection: self.connection,
            unique,
            opcode: self.opcode,
            nodeid: self.nodeid,
            pid: self.pid,
        }
    }
}

impl Carried for Message {
    /// Opcodes are told apart up to the last one that a file system sends.
    const CLASSES: usize = Opcode::CopyFileRange64 as usize + 1;

    fn class(facts: &Facts) -> usize {
        // CAST: `u32` to `usize` on a 64-bit machine.
        (facts.opcode as usize).min(Self::CLASSES - 1)
    }

    fn has_reply(&self) -> bool {
        self.kind.opcode.has_reply()
    }

    fn facts(&self) -> Facts {
        Facts {
            connection: self.connection,
            opcode: self.kind.opcode.into(),
            nodeid: self.wire.header().nodeid,
            pid: self.global_pid,
        }
    }

    fn comm(&self) -> Comm {
        match self.global_pid {
            // Nobody asks; whoever calls has nothing to do with it.
            0 => Comm::default(),
            _ => sys::comm(),
        }
    }

    fn ended(mut request: RequestBox<Self>, queue: &Queue<Self>, outcome: Result, abandoned: bool) {
        if abandoned && outcome.is_ok() {
            request.give_back(queue);
        }
        if let Some(node) = request.forget.take() {
            queue.forget(node);
        }
        if let Some(completion) = request.completion.take() {
            completion.ended(&mut request, outcome);
            // What the request carries goes before the completion does.
            drop(request);
        }
    }

    fn is_watched() -> bool {
        trace::is_request_enabled()
    }

    fn moved(facts: &Facts, step: &Step) {
        let error = step.outcome.map_or_else(Error::to_errno, |()| 0);
        let (from, to) = (step.from as u8, step.to as u8);
        let named = facts.named(step.unique);
        trace::request(named, from, to, step.depth, step.len, error);
    }

    fn len(&self) -> u32 {
        self.wire.header().len
    }

    fn are_interrupts_watched() -> bool {
        trace::is_interrupt_enabled()
    }

    fn interrupt(facts: &Facts, unique: u64, step: InterruptStep, depth: u64) {
        trace::interrupt(facts.named(unique), step as u8, depth);
    }
}
