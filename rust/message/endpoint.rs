// SPDX-License-Identifier: GPL-2.0

//! The daemon's end of a connection.

use super::{Connection, Registry};
use crate::queue::DeviceId;
use kernel::{
    new_condvar, new_mutex,
    prelude::*,
    sync::{Arc, CondVar, Mutex, SetOnce},
};

/// An open device: leads nowhere until a file system is mounted over it, or it is made a clone of
/// one that leads somewhere.
#[pin_data]
pub(crate) struct Endpoint {
    registry: Arc<Registry>,
    line: SetOnce<Line>,
    #[pin]
    stage: Mutex<Stage>,
    #[pin]
    connected: CondVar,
}

/// What has become of an open device so far.
#[derive(Default)]
struct Stage {
    /// The daemon wants mount(2) to wait for INIT.
    sync_init: bool,
    /// Nobody has it open any more.
    closed: bool,
}

/// A device's place on its connection.
pub(crate) struct Line {
    pub(crate) connection: Arc<Connection>,
    pub(crate) device: DeviceId,
}

impl Endpoint {
    /// An open device that leads nowhere yet.
    pub(crate) fn new(registry: Arc<Registry>) -> impl PinInit<Self> {
        pin_init!(Endpoint {
            registry,
            line: SetOnce::new(),
            stage <- new_mutex!(Stage::default(), "rust_fuse_endpoint"),
            connected <- new_condvar!("rust_fuse_endpoint"),
        })
    }

    /// Ties the device to a connection, for good. EINVAL when it is tied to one already; ENOMEM;
    /// ENOTCONN when the device is closed. May sleep.
    pub(crate) fn connect(&self, connection: Arc<Connection>) -> Result {
        let stage = self.stage.lock();
        if stage.closed {
            return Err(ENOTCONN);
        }
        if self.line().is_some() {
            return Err(EINVAL);
        }
        let device = connection.queue().attach()?;
        self.line.populate(Line { connection, device });
        self.connected.notify_all();
        Ok(())
    }

    /// The connections that it may be made to lead to.
    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Where the device leads, if anywhere.
    pub(crate) fn line(&self) -> Option<&Line> {
        self.line.as_ref()
    }

    /// Where the device leads. EPERM when that is nowhere, unless the daemon has asked for
    /// [synchronous INIT](Self::set_sync_init): then this waits for the mount. ERESTARTSYS on a
    /// signal.
    pub(crate) fn wait_for_line(&self) -> Result<&Line> {
        if let Some(line) = self.line() {
            return Ok(line);
        }
        let mut stage = self.stage.lock();
        if !stage.sync_init {
            return Err(EPERM);
        }
        loop {
            if let Some(line) = self.line() {
                return Ok(line);
            }
            if self.connected.wait_interruptible(&mut stage) {
                return Err(ERESTARTSYS);
            }
        }
    }

    /// The daemon wants mount(2) to wait until it has answered INIT, and will read from the device
    /// before. EINVAL when the device leads somewhere already. May sleep.
    pub(crate) fn set_sync_init(&self) -> Result {
        let mut stage = self.stage.lock();
        if self.line().is_some() {
            return Err(EINVAL);
        }
        stage.sync_init = true;
        Ok(())
    }

    /// Whether mount(2) is to wait until INIT is answered. May sleep.
    pub(crate) fn wants_sync_init(&self) -> bool {
        self.stage.lock().sync_init
    }

    /// The device is closed: what it was processing is aborted, and with the last device of a
    /// connection everything is.
    pub(crate) fn close(&self) {
        // A mount that has begun may come to its end only now.
        self.stage.lock().closed = true;
        if let Some(line) = self.line() {
            line.connection.queue().detach(line.device);
        }
    }
}
