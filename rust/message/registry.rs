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
    connections: Mutex<KVec<Registered>>,
    gallery: Option<Arc<dyn Gallery>>,
}

/// A connection that is mounted.
struct Registered {
    connection: Arc<Connection>,
    _exhibit: Option<Arc<dyn Exhibit>>,
}

/// Where every connection is shown.
pub(crate) trait Gallery: Send + Sync {
    /// Shows a connection until what this returns is dropped. ENOMEM; may sleep.
    fn show(&self, connection: &Arc<Connection>) -> Result<Arc<dyn Exhibit>>;
}

/// A connection that is shown in a [`Gallery`].
pub(crate) trait Exhibit: Send + Sync {}

impl Registry {
    /// An empty one, whose connections are to be shown there. ENOMEM; may sleep.
    pub(crate) fn new(gallery: Option<Arc<dyn Gallery>>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Registry {
                connections <- new_mutex!(KVec::new(), "rust_fuse_registry"),
                gallery,
            }),
            GFP_KERNEL,
        )
    }

    /// Adds a connection: it is mounted. ENOMEM; may sleep.
    pub(crate) fn add(&self, connection: Arc<Connection>) -> Result {
        let show = |gallery: &Arc<dyn Gallery>| gallery.show(&connection);
        let registered = Registered {
            _exhibit: self.gallery.as_ref().map(show).transpose()?,
            connection,
        };
        Ok(self.connections.lock().push(registered, GFP_KERNEL)?)
    }

    /// Removes a connection, if it is there: it is not mounted any more. May sleep.
    pub(crate) fn remove(&self, connection: &Connection) {
        let mut connections = self.connections.lock();
        let is_it = |each: &Registered| core::ptr::eq(&raw const *each.connection, connection);
        let removed = connections
            .iter()
            .position(is_it)
            .and_then(|at| connections.remove(at).ok());
        drop(connections);
        // Waits for those who look at it, who may be at this list.
        drop(removed);
    }

    /// How many there are. May sleep.
    pub(crate) fn len(&self) -> usize {
        self.connections.lock().len()
    }

    /// The connection of that number. May sleep.
    pub(crate) fn find(&self, id: u32) -> Option<Arc<Connection>> {
        let connections = self.connections.lock();
        let found = connections.iter().find(|each| each.connection.id() == id);
        found.map(|each| each.connection.clone())
    }

    /// The `n`th connection. May sleep.
    pub(crate) fn nth(&self, n: usize) -> Option<Arc<Connection>> {
        let connections = self.connections.lock();
        connections.get(n).map(|each| each.connection.clone())
    }
}
