// SPDX-License-Identifier: GPL-2.0

//! Who asks.

use crate::{
    abi::INVALID_UIDGID,
    vfs::{
        inode_ops::IdMap,
        ns::{pid_in, Gid, Uid, UserNamespace},
    },
};
use kernel::{current, pid_namespace::PidNamespace, prelude::*};

/// The caller, as the request's header names it.
#[derive(Clone, Copy)]
pub(crate) struct Caller {
    /// File system user and group, by the numbers of the daemon's user namespace.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The thread, by its number in the daemon's pid namespace, 0 when it has none there.
    pub(crate) pid: u32,
    /// The same in the initial namespace, for those who look at the queues.
    pub(super) global_pid: u32,
}

impl Caller {
    /// The kernel itself.
    pub(crate) const NOBODY: Caller = Caller {
        uid: 0,
        gid: 0,
        pid: 0,
        global_pid: 0,
    };

    /// The current thread. EOVERFLOW when the daemon's user namespace has no numbers for it.
    pub(super) fn current(users: &UserNamespace, pids: &PidNamespace) -> Result<Self> {
        let uid = Uid::current_fsuid().in_ns(users).ok_or(EOVERFLOW)?;
        let gid = Gid::current_fsgid().in_ns(users).ok_or(EOVERFLOW)?;
        Ok(Self::current_as(uid, gid, pids))
    }

    /// The current thread, whose user and group are none of the daemon's business.
    pub(super) fn current_without_ids(pids: &PidNamespace) -> Self {
        Self::current_as(INVALID_UIDGID, INVALID_UIDGID, pids)
    }

    /// The current thread on a mount with that map of ids, for what is to be its own.
    pub(super) fn current_on(
        id_map: IdMap<'_>,
        users: &UserNamespace,
        pids: &PidNamespace,
    ) -> Self {
        let (uid, gid) = id_map.current(users);
        let uid = uid.in_ns(users).unwrap_or(INVALID_UIDGID);
        let gid = gid.in_ns(users).unwrap_or(INVALID_UIDGID);
        Self::current_as(uid, gid, pids)
    }

    /// The current thread, with the overflow numbers where the daemon's user namespace has none.
    pub(super) fn current_or_overflow(users: &UserNamespace, pids: &PidNamespace) -> Self {
        let uid = Uid::current_fsuid().in_ns_munged(users);
        let gid = Gid::current_fsgid().in_ns_munged(users);
        Self::current_as(uid, gid, pids)
    }

    fn current_as(uid: u32, gid: u32, pids: &PidNamespace) -> Self {
        let thread = current!();
        Caller {
            uid,
            gid,
            // CAST: Process ids are not negative.
            pid: pid_in(thread, pids) as u32,
            global_pid: thread.pid() as u32,
        }
    }
}
