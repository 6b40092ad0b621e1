// SPDX-License-Identifier: GPL-2.0

//! Where `fs/` and `dev/` meet: the queues between a mounted file system and its daemon.

use super::{op, operation::Operation, Caller, Message, Replied, Request};
use crate::{
    abi::NotifyCode,
    queue::{ForgetNode, Queue},
    sys::Listener,
    vfs::{
        fasync::FasyncList,
        inode_ops::IdMap,
        iov::Source,
        ns::{Capability, Gid, Uid, UserNamespace},
    },
};
use kernel::{
    current,
    pid_namespace::PidNamespace,
    prelude::*,
    sync::{aref::ARef, Arc, SetOnce},
};

/// What daemon and kernel have agreed on in INIT, as far as the device has to know it.
#[derive(Clone, Copy)]
pub(crate) struct Terms {
    /// The smaller minor version of the two.
    pub(crate) minor: u32,
    /// The most data in one WRITE, in bytes: a reader's buffer must hold it.
    pub(crate) max_write: u32,
    /// Readers get ECONNABORTED, not ENODEV, after an abort through the control file system.
    pub(crate) abort_error: bool,
    /// Mounts may map ids: the daemon is told the ids of those only who make something.
    pub(crate) id_maps: bool,
}

impl Terms {
    /// Until INIT is answered.
    const BEFORE_INIT: Terms = Terms {
        minor: crate::abi::KERNEL_MINOR_VERSION,
        max_write: 0,
        abort_error: false,
        id_maps: false,
    };
}

/// The mounted file system, for what its daemon tells it without being asked.
pub(crate) trait Notified: Send + Sync {
    /// Takes the notification of that code; what is left of `from` is its structure and what follows
    /// it. May sleep.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a code that it does not know and for what is too short, too long or contradicts
    /// itself; `EFAULT`; others as the notification has it.
    fn notify(&self, code: NotifyCode, from: &mut Source<'_, '_>) -> Result;

    /// All was aborted. Called without locks; does not sleep.
    fn aborted(&self);
}

/// Those who hear the bell of the queues.
struct Listeners {
    signals: FasyncList,
    notified: SetOnce<Arc<dyn Notified>>,
}

impl Listener for Listeners {
    fn rung(&self) {
        self.signals.notify_readable();
    }

    fn aborted(&self) {
        if let Some(notified) = self.notified.as_ref() {
            notified.aborted();
        }
    }
}

/// One mounted file system's line to its daemon.
pub(crate) struct Connection {
    /// The number that tells it apart: the minor of the file system's device number.
    id: u32,
    owner: (Uid, Gid),
    users: ARef<UserNamespace>,
    pids: ARef<PidNamespace>,
    terms: SetOnce<Terms>,
    queue: Queue<Message>,
    listeners: Arc<Listeners>,
}

impl Connection {
    /// A connection of that owner, for a daemon in these namespaces. ENOMEM; may sleep.
    pub(crate) fn new(
        id: u32,
        owner: (Uid, Gid),
        users: ARef<UserNamespace>,
        pids: ARef<PidNamespace>,
    ) -> Result<Self> {
        let queue = Queue::new()?;
        let listeners = Arc::new(
            Listeners {
                signals: FasyncList::new(),
                notified: SetOnce::new(),
            },
            GFP_KERNEL,
        )?;
        queue.bell().tell(listeners.clone());
        Ok(Connection {
            id,
            owner,
            users,
            pids,
            terms: SetOnce::new(),
            queue,
            listeners,
        })
    }

    /// The number that tells it apart, as in `/sys/fs/fuse/connections`.
    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    /// Who mounted it: the options `user_id` and `group_id`.
    pub(crate) fn owner(&self) -> (Uid, Gid) {
        self.owner
    }

    /// Whether the running task may serve it, by a device that was opened in that namespace: it
    /// could have mounted it.
    pub(crate) fn may_be_served_by(&self, opener: &UserNamespace) -> bool {
        let (owner, _) = self.owner;
        *opener == *self.users
            && (owner == Uid::current_fsuid() || Capability::SYS_ADMIN.held_in(&self.users))
    }

    /// The daemon's user namespace.
    pub(crate) fn users(&self) -> &UserNamespace {
        &self.users
    }

    /// The daemon's pid namespace.
    pub(crate) fn pids(&self) -> &PidNamespace {
        &self.pids
    }

    /// The queues.
    pub(crate) fn queue(&self) -> &Queue<Message> {
        &self.queue
    }

    /// The open devices that want SIGIO when there is something to read, or all is aborted.
    pub(crate) fn signals(&self) -> &FasyncList {
        &self.listeners.signals
    }

    /// Says who takes notifications: the file system, once it is mounted.
    pub(crate) fn set_notified(&self, notified: Arc<dyn Notified>) {
        self.listeners.notified.populate(notified);
    }

    /// Takes a notification; see [`Notified::notify`]. `EINVAL` before INIT is answered, and after an
    /// abort.
    pub(crate) fn notify(&self, code: NotifyCode, from: &mut Source<'_, '_>) -> Result {
        if !self.queue.is_started() {
            return Err(EINVAL);
        }
        if code == NotifyCode::Resend {
            self.queue.resend();
            return Ok(());
        }
        self.listeners
            .notified
            .as_ref()
            .ok_or(EINVAL)?
            .notify(code, from)
    }

    /// What was agreed on in INIT.
    pub(crate) fn terms(&self) -> Terms {
        self.terms.copy().unwrap_or(Terms::BEFORE_INIT)
    }

    /// INIT was answered: requests may flow.
    pub(crate) fn start(&self, terms: Terms) {
        self.terms.populate(terms);
        self.queue.start(terms.minor >= 16);
    }

    /// The current thread, as the daemon knows it. EOVERFLOW when it has no number there.
    pub(crate) fn caller(&self) -> Result<Caller> {
        if self.terms().id_maps {
            return Ok(Caller::current_without_ids(&self.pids));
        }
        Caller::current(&self.users, &self.pids)
    }

    /// The same, with the overflow numbers where there are none.
    pub(crate) fn caller_or_overflow(&self) -> Caller {
        if self.terms().id_maps {
            return Caller::current_without_ids(&self.pids);
        }
        Caller::current_or_overflow(&self.users, &self.pids)
    }

    /// The current thread, to whom belongs what it makes on a mount with that map of ids. Errors as
    /// [`caller`](Self::caller).
    pub(crate) fn maker(&self, id_map: IdMap<'_>) -> Result<Caller> {
        if self.terms().id_maps {
            return Ok(Caller::current_on(id_map, &self.users, &self.pids));
        }
        Caller::current(&self.users, &self.pids)
    }

    /// The current process, by its number in the daemon's pid namespace, 0 when it has none there.
    pub(crate) fn process(&self) -> u32 {
        // CAST: Process ids are not negative.
        current!().tgid_nr_ns(Some(&self.pids)) as u32
    }

    /// Sends a request and waits for the reply; see [`Queue::call`] for the errors.
    pub(crate) fn call<O: Operation>(&self, request: Request<O>) -> Result<Replied<O>> {
        self.queue
            .call(request.message, request.force)
            .map(Replied::new)
    }

    /// Sends a request that nobody waits for, though it may wait until there are fewer of them; see
    /// [`Queue::submit`] for the errors. Its completion is not told when it is refused.
    pub(crate) fn submit<O: Operation>(&self, request: Request<O>) -> Result {
        self.queue
            .submit(request.message, request.force)
            .map_err(|(error, _)| error)
    }

    /// Sends the request that a notification of the daemon's has asked for, under the name that it gave
    /// in place of `unique`. There is no reply. ENOTCONN after an abort, ENOMEM.
    pub(crate) fn post(&self, mut request: Request<op::NotifyReply>, name: u64) -> Result {
        request.message.wire.set_unique(name);
        self.queue.post(request.message).map_err(|(error, _)| error)
    }

    /// Gives back what a reply grants, that the file system has no memory to take. May sleep.
    pub(crate) fn give_back<O: Operation>(&self, replied: Replied<O>) {
        replied.into_message().give_back(&self.queue);
    }

    /// Gives back one reference to a node. Sleeps until there is memory for that.
    pub(crate) fn forget_one(&self, nodeid: u64) {
        self.queue.forget(super::forget(nodeid));
    }

    /// Queues a FORGET. Never sleeps, never fails.
    pub(crate) fn forget(&self, mut node: KBox<ForgetNode>, nodeid: u64, nlookup: u64) {
        node.value.nodeid = nodeid;
        node.value.nlookup = nlookup;
        self.queue.forget(node);
    }
}
