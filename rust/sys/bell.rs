// SPDX-License-Identifier: GPL-2.0

//! Telling those who poll.

use core::ops::Deref;
use kernel::{
    c_str,
    prelude::*,
    static_lock_class,
    sync::poll::{PollCondVar, PollCondVarBox},
};

/// What poll(2) waits on.
pub(crate) struct Bell(PollCondVarBox);

impl Bell {
    pub(crate) fn new() -> Result<Self> {
        Ok(Bell(PollCondVarBox::new(
            c_str!("rust_fuse_bell"),
            static_lock_class!(),
        )?))
    }

    /// Wakes all who poll: there may be something to read, or an error to see.
    pub(crate) fn ring(&self) {
        self.0.notify_all();
    }
}

impl Deref for Bell {
    type Target = PollCondVar;

    fn deref(&self) -> &PollCondVar {
        &self.0
    }
}
