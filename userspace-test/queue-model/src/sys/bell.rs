// SPDX-License-Identifier: GPL-2.0

//! Telling those who poll.

use super::{memory, Result, Task};
use std::sync::{Mutex, PoisonError};

/// What poll(2) waits on.
pub(crate) struct Bell(Mutex<Vec<Task>>);

impl Bell {
    pub(crate) fn new() -> Result<Self> {
        memory::take()?;
        Ok(Bell(Mutex::new(Vec::new())))
    }

    /// Wakes all who poll.
    pub(crate) fn ring(&self) {
        let listeners = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for task in listeners {
            task.wake();
        }
    }

    /// Nobody here asks whether all was aborted.
    pub(crate) fn toll(&self) {}

    /// Wakes the thread that calls at each ring, from now on.
    pub(crate) fn listen(&self) {
        let mut listeners = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let task = Task::current();
        if !listeners.iter().any(|listener| listener.is(&task)) {
            listeners.push(task);
        }
    }
}
