// SPDX-License-Identifier: GPL-2.0

//! Telling those who poll.

use core::ops::Deref;
use kernel::{
    c_str,
    prelude::*,
    static_lock_class,
    sync::{
        poll::{PollCondVar, PollCondVarBox},
        Arc, SetOnce,
    },
};

/// What poll(2) waits on.
pub(crate) struct Bell {
    pollers: PollCondVarBox,
    listener: SetOnce<Arc<dyn Listener>>,
}

/// Somebody else who is told when a bell rings.
pub(crate) trait Listener: Send + Sync {
    /// The bell rings. Called without locks, by whoever rings it; must not sleep.
    fn rung(&self);

    /// All was aborted, and the bell has rung for the last time. Called as `rung` is.
    fn aborted(&self);
}

impl Bell {
    pub(crate) fn new() -> Result<Self> {
        Ok(Bell {
            pollers: PollCondVarBox::new(c_str!("rust_fuse_bell"), static_lock_class!())?,
            listener: SetOnce::new(),
        })
    }

    /// Tells `listener` too whenever the bell rings. There can be one; false when there is another.
    pub(crate) fn tell(&self, listener: Arc<dyn Listener>) -> bool {
        self.listener.populate(listener)
    }

    /// Wakes all who poll: there may be something to read, or an error to see.
    pub(crate) fn ring(&self) {
        self.pollers.notify_all();
        if let Some(listener) = self.listener.as_ref() {
            listener.rung();
        }
    }

    /// Tells the listener that all was aborted.
    pub(crate) fn toll(&self) {
        if let Some(listener) = self.listener.as_ref() {
            listener.aborted();
        }
    }
}

impl Deref for Bell {
    type Target = PollCondVar;

    fn deref(&self) -> &PollCondVar {
        &self.pollers
    }
}
