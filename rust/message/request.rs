// SPDX-License-Identifier: GPL-2.0

//! Making a request of an operation.

use super::{operation::Operation, Caller, Completion, Connection, Data, Message, Payload, Reply};
use crate::sys::{self, RequestBox, RequestCache};
use core::marker::PhantomData;
use kernel::{alloc::AllocError, prelude::*, sync::Arc};
use zerocopy::IntoBytes;

/// The memory of requests, to be there before the first and until after the last of them. ENOMEM.
pub(crate) fn request_cache() -> Result<RequestCache> {
    RequestCache::new::<Message>(c"rust_fuse_request")
}

/// A request for the operation `O`, not sent yet.
pub(crate) struct Request<O: Operation> {
    pub(super) message: RequestBox<Message>,
    /// It is sent even when memory is short or the connection has not started, and not taken back
    /// when its caller is killed.
    pub(super) force: bool,
    operation: PhantomData<O>,
}

impl<O: Operation> Request<O> {
    /// A request on behalf of the current thread. ENOMEM; EOVERFLOW when the daemon's user
    /// namespace has no number for the caller's user or group.
    pub(crate) fn new(connection: &Connection, nodeid: u64, arguments: &O::In) -> Result<Self> {
        Self::by(connection, connection.caller()?, nodeid, arguments)
    }

    /// A request on behalf of `caller`. ENOMEM.
    pub(crate) fn by(
        connection: &Connection,
        caller: Caller,
        nodeid: u64,
        arguments: &O::In,
    ) -> Result<Self> {
        let mut message = RequestBox::init(
            Message::new(O::KIND, connection.id(), nodeid, caller),
            GFP_KERNEL,
        )?;
        message.wire.append(arguments.as_bytes())?;
        Ok(Request {
            message,
            force: false,
            operation: PhantomData,
        })
    }

    /// The same, but waits for memory rather than fail. The arguments must fit inside a request, as
    /// all do that are not names or data.
    pub(crate) fn insist(
        connection: &Connection,
        caller: Caller,
        nodeid: u64,
        arguments: &O::In,
    ) -> Self {
        sys::insist(|| Self::by(connection, caller, nodeid, arguments).map_err(|_| AllocError))
    }

    /// Adds a name to the arguments. ENOMEM. `name` holds no zero byte.
    pub(crate) fn name(mut self, name: &[u8]) -> Result<Self> {
        self.message.wire.append(name)?;
        self.message.wire.append(&[0])?;
        Ok(self)
    }

    /// Adds bytes to the arguments. ENOMEM.
    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Result<Self> {
        self.message.wire.append(bytes)?;
        Ok(self)
    }

    /// Adds an extension behind all arguments, of a multiple of eight bytes. ENOMEM; E2BIG when it is
    /// too long.
    pub(crate) fn extension(mut self, extension: &[u8]) -> Result<Self> {
        self.message.wire.extend(extension)?;
        Ok(self)
    }

    /// Adds data behind the arguments.
    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.message.payload = payload;
        self
    }

    /// Makes room for data in the reply.
    pub(crate) fn reply_into(mut self, data: Data) -> Self {
        self.message.reply.data = data;
        self
    }

    /// Makes room for up to `len` bytes of data in the reply. ENOMEM.
    pub(crate) fn reply_bytes(self, len: usize) -> Result<Self> {
        Ok(self.reply_into(Data::Bytes(KVVec::with_capacity(len, GFP_KERNEL)?)))
    }

    /// Makes room for exactly `len` bytes of data in the reply. ENOMEM.
    pub(crate) fn reply_exactly(self, len: usize) -> Result<Self> {
        Ok(self.reply_into(Data::Exactly(KVVec::with_capacity(len, GFP_KERNEL)?)))
    }

    /// Must be sent, whatever happens.
    pub(crate) fn force(mut self) -> Self {
        self.force = true;
        self
    }

    /// Says who is told of the end of the request when nobody waits for that: it is a background one,
    /// or its caller was killed.
    pub(crate) fn then(mut self, completion: Arc<dyn Completion>) -> Self {
        self.message.completion = Some(completion);
        self
    }
}

/// A request for the operation `O` that was answered.
pub(crate) struct Replied<O: Operation> {
    message: RequestBox<Message>,
    operation: PhantomData<O>,
}

impl<O: Operation> Replied<O> {
    pub(super) fn new(message: RequestBox<Message>) -> Self {
        Replied {
            message,
            operation: PhantomData,
        }
    }

    pub(super) fn into_message(self) -> RequestBox<Message> {
        self.message
    }

    /// The structure of the reply.
    pub(crate) fn out(&self) -> Result<&O::Out> {
        self.message.reply.fixed().ok_or(EIO)
    }

    /// The data of the reply, where there was room for bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.message.reply.data {
            Data::Bytes(bytes) | Data::Exactly(bytes) => bytes,
            Data::None | Data::Folios(_) | Data::Pages(_) => &[],
        }
    }

    /// The whole reply.
    pub(crate) fn reply(&mut self) -> &mut Reply {
        &mut self.message.reply
    }
}
