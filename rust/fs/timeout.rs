// SPDX-License-Identifier: GPL-2.0

//! Requests that take too long: the connection is aborted when one does, as its daemon hangs.

use crate::{
    message::{limits, Connection},
    vfs::periodic::{Chore, Periodic},
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc,
    },
    time::{Msecs, NSEC_PER_SEC},
};

/// How often it is looked whether one does, and the least that there is time for, in seconds.
const INTERVAL: u32 = 15;

/// How long requests may take on a connection.
pub(super) struct Timeout {
    connection: Arc<Connection>,
    /// In nanoseconds.
    limit: Atomic<u64>,
}

impl Timeout {
    /// Looks at that connection, once it is started.
    pub(super) fn new(connection: Arc<Connection>) -> impl PinInit<Periodic<Self>> {
        let timeout = Timeout {
            connection,
            limit: Atomic::new(u64::MAX),
        };
        Periodic::new(timeout)
    }

    /// Requests may take that many seconds from now on, where the administrator has no other wish; 0
    /// for any time.
    pub(super) fn start(watch: &Periodic<Self>, asked_for: u16) {
        let Some(seconds) = agreed(asked_for) else {
            return;
        };
        let limit = u64::from(seconds) * NSEC_PER_SEC as u64;
        watch.chore().limit.store(limit, Relaxed);
        watch.start();
    }
}

impl Chore for Timeout {
    fn period(&self) -> Msecs {
        INTERVAL as Msecs * 1000
    }

    fn run(&self) -> bool {
        self.connection.queue().expire(self.limit.load(Relaxed))
    }
}

/// How many seconds a request may take, when the daemon asks for that many.
fn agreed(asked_for: u16) -> Option<u32> {
    let wanted = match u32::from(asked_for) {
        0 => limits::DEFAULT_REQUEST_TIMEOUT.get(),
        wanted => wanted,
    };
    let agreed = match (wanted, limits::MAX_REQUEST_TIMEOUT.get()) {
        (0, 0) => return None,
        (0, most) => most,
        (wanted, 0) => wanted,
        (wanted, most) => wanted.min(most),
    };
    Some(agreed.max(INTERVAL))
}
