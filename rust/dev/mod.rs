// SPDX-License-Identifier: GPL-2.0

//! `/dev/fuse`: carries requests to daemons and replies back.
//!
//! - [`read`]: the next request, for a daemon
//! - [`mod@write`]: its reply
//! - [`mod@ioctl`]: clones of a device, and mounts that wait for INIT
//!
//! The behaviour is that of Linux's own `/dev/fuse`: see
//! [Documentation/filesystems/fuse/fuse.rst](srctree/Documentation/filesystems/fuse/fuse.rst).

#![deny(unsafe_code)]

mod ioctl;
mod read;
mod write;

use crate::{
    bindings,
    message::{Endpoint, Registry},
    vfs::{
        chardev::{self, Device, FileOperations, Minor, Registration},
        fasync::FasyncRequest,
        iov::{Dest, Source, UserBacked},
        pipe::{PipeDest, PipeSource},
    },
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
pub(crate) fn register(
    coexist: bool,
    registry: Arc<Registry>,
) -> impl PinInit<Registration<FuseDevice>, Error> {
    let (name, minor) = if coexist {
        (c"rfuse", Minor::Dynamic)
    } else {
        (c"fuse", Minor::Fixed(FUSE_MINOR))
    };
    Registration::register(name, minor, registry)
}

/// The endpoint of an open file, if it is one of this device.
pub(crate) fn endpoint(file: &File) -> Option<Arc<Endpoint>> {
    chardev::from_file::<FuseDevice>(file).map(Arc::from)
}

#[vtable]
impl Device for FuseDevice {
    type Ptr = Arc<Endpoint>;
    type Shared = Registry;

    fn table() -> &'static FileOperations<Self> {
        &TABLE
    }

    fn open(_file: &File, registry: &Arc<Registry>) -> Result<Arc<Endpoint>> {
        Arc::pin_init(Endpoint::new(registry.clone()), GFP_KERNEL)
    }

    fn release(endpoint: Arc<Endpoint>, _file: &File) {
        endpoint.close();
    }

    fn read_iter(
        endpoint: ArcBorrow<'_, Endpoint>,
        iov: &mut IovIterDest<'_>,
        nonblocking: bool,
    ) -> Result<usize> {
        let line = endpoint.wait_for_line()?;
        if !iov.is_user_backed() {
            return Err(EINVAL);
        }
        read::read(line, &mut Dest::new(iov), !nonblocking)
    }

    fn write_iter(
        endpoint: ArcBorrow<'_, Endpoint>,
        iov: &mut IovIterSource<'_>,
        _nonblocking: bool,
    ) -> Result<usize> {
        let line = endpoint.line().ok_or(EPERM)?;
        if !iov.is_user_backed() {
            return Err(EINVAL);
        }
        write::write(line, Source::new(iov))
    }

    fn splice_read(
        endpoint: ArcBorrow<'_, Endpoint>,
        mut pipe: PipeDest<'_>,
        nonblocking: bool,
    ) -> Result<usize> {
        read::read(endpoint.wait_for_line()?, &mut pipe, !nonblocking)?;
        Ok(pipe.commit())
    }

    fn splice_write(endpoint: ArcBorrow<'_, Endpoint>, pipe: PipeSource<'_>) -> Result<usize> {
        let line = endpoint.line().ok_or(EPERM)?;
        pipe.take()?.with(|from| write::write(line, from))
    }

    fn poll(endpoint: ArcBorrow<'_, Endpoint>, file: &File, table: PollTable<'_>) -> u32 {
        let Ok(line) = endpoint.wait_for_line() else {
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

    fn fasync(endpoint: ArcBorrow<'_, Endpoint>, request: FasyncRequest<'_>) -> Result {
        let line = match request.is_on() {
            true => endpoint.wait_for_line()?,
            false => endpoint.line().ok_or(EPERM)?,
        };
        line.connection.signals().apply(request)
    }

    fn ioctl(
        endpoint: ArcBorrow<'_, Endpoint>,
        file: &File,
        command: u32,
        arg: usize,
    ) -> Result<isize> {
        ioctl::ioctl(&endpoint, file, command, arg)
    }

    fn show_fdinfo(endpoint: ArcBorrow<'_, Endpoint>, m: &SeqFile, _file: &File) {
        if let Some(line) = endpoint.line() {
            seq_print!(m, "fuse_connection:\t{}\n", line.connection.id());
        }
    }
}
