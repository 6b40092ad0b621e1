// SPDX-License-Identifier: GPL-2.0

//! What a request carries: who asks, for what, with which arguments, and room for the reply.
//!
//! `fs/` makes a [`Request`] of an operation and calls its [`Connection`]; `dev/` copies the
//! [`Message`] inside it to the daemon, and the reply into it. A message owns all that it carries,
//! so that its caller may go before the reply comes.

#![deny(unsafe_code)]

mod bytes;
mod caller;
mod connection;
mod endpoint;
mod operation;
mod registry;
mod reply;
mod request;

pub(crate) use caller::Caller;
pub(crate) use connection::{max_user_limit, Connection, Terms};
pub(crate) use endpoint::{Endpoint, Line};
pub(crate) use operation::{Grants, Operation};
pub(crate) use registry::Registry;
pub(crate) use reply::{Data, Reply};
pub(crate) use request::{Replied, Request};

/// The operations, one type each.
pub(crate) mod op {
    pub(crate) use super::operation::{
        Access, Destroy, Flush, Getattr, Init, Lookup, Open, Opendir, Read, Readdir, Readlink,
        Release, Releasedir, Statfs,
    };
}

use crate::{
    abi::{self, Opcode},
    queue::{self, Carried, Facts, Forget, Place, Queue},
    sys::insist,
    trace,
};
use bytes::Bytes;
use kernel::{prelude::*, sync::Arc};
use operation::Old;
use zerocopy::{FromBytes, IntoBytes};

/// What a request carries.
pub(crate) struct Message {
    connection: u32,
    opcode: Opcode,
    nodeid: u64,
    caller: Caller,
    /// The structure that the arguments begin with has this many bytes.
    fixed: usize,
    /// The arguments: that structure, and names.
    arguments: Bytes,
    old_in: Option<Old>,
    old_out: Option<Old>,
    grants: Grants,
    reply: Reply,
    /// Who is told of the end of a background request.
    completion: Option<Arc<dyn Completion>>,
}

/// Told of the end of a background request.
pub(crate) trait Completion: Send + Sync {
    /// The request has ended: `reply` holds what the daemon sent, if the outcome is good. Runs in
    /// whatever thread ended it, without locks; may sleep, but not wait for a daemon.
    fn ended(&self, reply: Reply, arguments: &[u8], outcome: Result);
}

impl Message {
    /// What is asked for.
    pub(crate) fn opcode(&self) -> Opcode {
        self.opcode
    }

    /// The header of the request, as a daemon of that minor version gets it.
    pub(crate) fn header(&self, unique: u64, minor: u32) -> abi::InHeader {
        let [fixed, names] = self.arguments(minor);
        abi::InHeader {
            // CAST: Arguments are a few pages at most.
            len: (size_of::<abi::InHeader>() + fixed.len() + names.len()) as u32,
            opcode: self.opcode.into(),
            unique,
            nodeid: self.nodeid,
            uid: self.caller.uid,
            gid: self.caller.gid,
            pid: self.caller.pid,
            ..Default::default()
        }
    }

    /// The arguments, as a daemon of that minor version gets them: the structure, and names.
    pub(crate) fn arguments(&self, minor: u32) -> [&[u8]; 2] {
        let (fixed, names) = self.arguments.as_slice().split_at(self.fixed);
        let known = Old::size(self.old_in, minor, fixed.len());
        [&fixed[..known], names]
    }

    /// How many bytes of its structure a daemon of that minor version replies with.
    pub(crate) fn reply_size(&self, minor: u32) -> usize {
        Old::size(self.old_out, minor, self.reply.fixed_size())
    }

    /// Where the reply goes.
    pub(crate) fn reply(&mut self) -> &mut Reply {
        &mut self.reply
    }

    /// Gives back what a reply grants that nobody will take.
    fn give_back(&self, queue: &Queue<Message>) {
        match self.grants {
            Grants::Nothing => {}
            Grants::Node => {
                let nodeid = self
                    .reply
                    .fixed::<abi::EntryOut>()
                    .map_or(0, |entry| entry.nodeid);
                if nodeid != 0 {
                    forget(queue, nodeid);
                }
            }
            Grants::File => self.release(queue, Opcode::Release),
            Grants::Directory => self.release(queue, Opcode::Releasedir),
        }
    }

    fn release(&self, queue: &Queue<Message>, opcode: Opcode) {
        let Some(open) = self.reply.fixed::<abi::OpenOut>() else {
            return;
        };
        let flags = abi::OpenIn::read_from_prefix(self.arguments.as_slice())
            .map_or(0, |(open, _)| open.flags);
        let release = abi::ReleaseIn {
            fh: open.fh,
            flags,
            ..Default::default()
        };
        // The arguments fit inside the message, so that this needs no memory but for the box.
        let Ok(arguments) = Bytes::new(release.as_bytes()) else {
            return;
        };
        let message = Message {
            connection: self.connection,
            opcode,
            nodeid: self.nodeid,
            caller: Caller::NOBODY,
            fixed: size_of::<abi::ReleaseIn>(),
            arguments,
            old_in: None,
            old_out: None,
            grants: Grants::Nothing,
            reply: Reply::new(0),
            completion: None,
        };
        // After an abort there is nobody to tell.
        let _ = queue.submit(boxed(message), true);
    }
}

fn forget(queue: &Queue<Message>, nodeid: u64) {
    let mut node = boxed(queue::forget_node());
    node.value = Forget { nodeid, nlookup: 1 };
    queue.forget(node);
}

/// A box around `value`, whatever it takes: for what the daemon must be told.
fn boxed<T>(value: T) -> KBox<T> {
    KBox::write(insist(|| KBox::new_uninit(GFP_KERNEL)), value)
}

impl Carried for Message {
    fn facts(&self) -> Facts {
        Facts {
            connection: self.connection,
            opcode: self.opcode.into(),
            nodeid: self.nodeid,
            pid: self.caller.global_pid,
        }
    }

    fn ended(request: KBox<Self>, queue: &Queue<Self>, outcome: Result, abandoned: bool) {
        if abandoned && outcome.is_ok() {
            request.give_back(queue);
        }
        let Message {
            completion,
            reply,
            arguments,
            ..
        } = KBox::into_inner(request);
        if let Some(completion) = completion {
            completion.ended(reply, arguments.as_slice(), outcome);
        }
    }

    fn moved(facts: &Facts, unique: u64, from: Place, to: Place, depth: usize) {
        trace::request(
            facts.connection,
            unique,
            facts.opcode,
            facts.nodeid,
            facts.pid,
            from as u8,
            to as u8,
            depth,
        );
    }
}
