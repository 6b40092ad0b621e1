// SPDX-License-Identifier: GPL-2.0

//! `rust_fuse/CONNECTION` in debugfs, with `queues` and `latency` as the control file system has them:
//! for root, wherever a connection is mounted, and whoever owns it.

use super::text;
use crate::{
    message::{Connection, Exhibit, Gallery},
    vfs::debugfs::{Directory, File, Text},
};
use kernel::{prelude::*, str::CString, sync::Arc};

/// `rust_fuse` in debugfs.
pub(crate) struct DebugFs {
    root: Arc<Directory>,
}

/// Makes the directory. ENOMEM; may sleep.
pub(crate) fn gallery() -> Result<Arc<dyn Gallery>> {
    let root = Arc::new(Directory::new(c"rust_fuse", None), GFP_KERNEL)?;
    Ok(Arc::new(DebugFs { root }, GFP_KERNEL)?)
}

/// The files of a connection.
struct Files {
    _queues: File<Queues>,
    _latency: File<Latency>,
}

impl Exhibit for Files {}

impl Gallery for DebugFs {
    fn show(&self, connection: &Arc<Connection>) -> Result<Arc<dyn Exhibit>> {
        let name = CString::try_from_fmt(fmt!("{}", connection.id()))?;
        let dir = Directory::new(&name, Some(self.root.clone()));
        let dir = Arc::new(dir, GFP_KERNEL)?;
        let files = Files {
            _queues: File::new(c"queues", dir.clone(), Queues(connection.clone()))?,
            _latency: File::new(c"latency", dir, Latency(connection.clone()))?,
        };
        Ok(Arc::new(files, GFP_KERNEL)?)
    }
}

struct Queues(Arc<Connection>);

impl Text for Queues {
    fn text(&self) -> Result<KVVec<u8>> {
        text::queues(&self.0)
    }
}

struct Latency(Arc<Connection>);

impl Text for Latency {
    fn text(&self) -> Result<KVVec<u8>> {
        text::latency(&self.0)
    }
}
