// SPDX-License-Identifier: GPL-2.0

//! The daemon's end of a connection.

use super::Connection;
use crate::queue::DeviceId;
use kernel::{
    prelude::*,
    sync::{Arc, SetOnce},
};

/// An open device: leads nowhere until a file system is mounted over it.
pub(crate) struct Endpoint {
    line: SetOnce<Line>,
}

/// A device's place on its connection.
pub(crate) struct Line {
    pub(crate) connection: Arc<Connection>,
    pub(crate) device: DeviceId,
}

impl Endpoint {
    pub(crate) fn new() -> Self {
        Endpoint {
            line: SetOnce::new(),
        }
    }

    /// Ties the device to a connection, for good. EINVAL when it is tied to one already; ENOMEM;
    /// ENOTCONN when the connection was aborted.
    pub(crate) fn connect(&self, connection: Arc<Connection>) -> Result {
        let device = connection.queue().attach()?;
        let line = Line { connection, device };
        // Of two that try at once, one comes first.
        let connection = line.connection.clone();
        if self.line.populate(line) {
            Ok(())
        } else {
            connection.queue().detach(device);
            Err(EINVAL)
        }
    }

    /// Where the device leads, if anywhere.
    pub(crate) fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    /// The device is closed: what it was processing is aborted, and with the last device of a
    /// connection everything is.
    pub(crate) fn close(&self) {
        if let Some(line) = self.line() {
            line.connection.queue().detach(line.device);
        }
    }
}
