// SPDX-License-Identifier: GPL-2.0

//! The connections there are.

use super::Connection;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{Arc, Mutex},
};

/// The connections of all mounted file systems, for those who look in from outside.
#[pin_data]
pub(crate) struct Registry {
    #[pin]
    connections: Mutex<KVec<Arc<Connection>>>,
}

impl Registry {
    /// An empty one. ENOMEM; may sleep.
    pub(crate) fn new() -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Registry {
                connections <- new_mutex!(KVec::new(), "rust_fuse_registry"),
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a connection: it is mounted. ENOMEM; may sleep.
    pub(crate) fn add(&self, connection: Arc<Connection>) -> Result {
        Ok(self.connections.lock().push(connection, GFP_KERNEL)?)
    }

    /// Removes a connection, if it is there: it is not mounted any more. May sleep.
    pub(crate) fn remove(&self, connection: &Connection) {
        self.connections
            .lock()
            .retain(|each| !core::ptr::eq(&raw const **each, connection));
    }

    /// How many there are. May sleep.
    pub(crate) fn len(&self) -> usize {
        self.connections.lock().len()
    }

    /// The connection of that number. May sleep.
    pub(crate) fn find(&self, id: u32) -> Option<Arc<Connection>> {
        let connections = self.connections.lock();
        connections.iter().find(|each| each.id() == id).cloned()
    }

    /// The `n`th connection. May sleep.
    pub(crate) fn nth(&self, n: usize) -> Option<Arc<Connection>> {
        self.connections.lock().get(n).cloned()
    }
}
