// SPDX-License-Identifier: GPL-2.0

//! `/dev/fuse`: carries requests to daemons and replies back.
//!
//! - [`read`]: the next request, for a daemon
//! - [`mod@write`]: its reply
//!
//! The behaviour is that of Linux's own `/dev/fuse`: see
//! [Documentation/filesystems/fuse/fuse.rst](srctree/Documentation/filesystems/fuse/fuse.rst).

#![deny(unsafe_code)]

mod read;
mod write;

use crate::{
    bindings,
    message::Endpoint,
    vfs::chardev::{self, Device, FileOperations, Minor, Registration},
};
use kernel::{
    fs::File,
    iov::{IovIterDest, IovIterSource},
    prelude::*,
    seq_file::SeqFile,
    seq_print,
    sync::{poll::PollTable, Arc, ArcBorrow},
};

/// The minor number that Linux has reserved for `/dev/fuse`.
const FUSE_MINOR: u8 = 229;

/// The device's file operations.
pub(crate) struct FuseDevice;

static TABLE: FileOperations<FuseDevice> = FileOperations::new();

/// Registers `/dev/fuse`, or `/dev/rfuse` beside another FUSE. EBUSY when there is one already.
pub(crate) fn register(coexist: bool) -> impl PinInit<Registration<FuseDevice>, Error> {
    if coexist {
        Registration::register(c"rfuse", Minor::Dynamic)
    } else {
        Registration::register(c"fuse", Minor::Fixed(FUSE_MINOR))
    }
}

/// The endpoint of an open file, if it is one of this device.
pub(crate) fn endpoint(file: &File) -> Option<Arc<Endpoint>> {
    chardev::from_file::<FuseDevice>(file).map(Arc::from)
}

#[vtable]
impl Device for FuseDevice {
    type Ptr = Arc<Endpoint>;

    fn table() -> &'static FileOperations<Self> {
        &TABLE
    }

    fn open(_file: &File) -> Result<Arc<Endpoint>> {
        Ok(Arc::new(Endpoint::new(), GFP_KERNEL)?)
    }

    fn release(endpoint: Arc<Endpoint>, _file: &File) {
        endpoint.close();
    }

    fn read_iter(
        endpoint: ArcBorrow<'_, Endpoint>,
        iov: &mut IovIterDest<'_>,
        nonblocking: bool,
    ) -> Result<usize> {
        read::read(endpoint.line().ok_or(EPERM)?, iov, !nonblocking)
    }

    fn write_iter(
        endpoint: ArcBorrow<'_, Endpoint>,
        iov: &mut IovIterSource<'_>,
        _nonblocking: bool,
    ) -> Result<usize> {
        write::write(endpoint.line().ok_or(EPERM)?, iov)
    }

    fn poll(endpoint: ArcBorrow<'_, Endpoint>, file: &File, table: PollTable<'_>) -> u32 {
        let Some(line) = endpoint.line() else {
            return bindings::POLLERR;
        };
        let queue = line.connection.queue();
        table.register_wait(file, queue.bell());
        match queue.poll() {
            Err(_) => bindings::POLLERR,
            Ok(false) => bindings::POLLOUT | bindings::POLLWRNORM,
            Ok(true) => {
                bindings::POLLOUT | bindings::POLLWRNORM | bindings::POLLIN | bindings::POLLRDNORM
            }
        }
    }

    fn show_fdinfo(endpoint: ArcBorrow<'_, Endpoint>, m: &SeqFile, _file: &File) {
        if let Some(line) = endpoint.line() {
            seq_print!(m, "fuse_connection:\t{}\n", line.connection.id());
        }
    }
}
