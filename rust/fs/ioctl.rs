// SPDX-License-Identifier: GPL-2.0

//! ioctl(2): what has no operation of its own.
//!
//! How much of the caller's memory an ioctl reads and writes is known from its number alone. A
//! daemon may not ask for more: it could look at all of the caller's memory so.

use super::{mount::Mount, open::OpenFile, permission::allow_current_process, INode};
use crate::{
    abi::{ioctl_flags, IoctlIn, IoctlOut},
    message::{op, Payload, Replied, Request},
    vfs::{
        inode::FileType,
        ioctl::{Ioctl, Layout},
        super_block::PAGE_SIZE,
    },
};
use kernel::{
    ioctl::{_IOC_DIR, _IOC_SIZE, _IOW, _IOWR},
    prelude::*,
    sync::Arc,
    uaccess::{UserPtr, UserSlice},
    uapi::{_IOC_READ, _IOC_WRITE},
};
use zerocopy::{FromBytes, IntoBytes};
use zerocopy_derive::FromBytes;

/// `FS_IOC_ENABLE_VERITY`: the argument leads to more of the caller's memory.
const ENABLE_VERITY: u32 = _IOW::<VerityEnable>(b'f' as u32, 133);
/// `FS_IOC_MEASURE_VERITY`: the argument says how long it is.
const MEASURE_VERITY: u32 = _IOWR::<VerityDigest>(b'f' as u32, 134);
/// The longest salt, and the longest signature, in bytes.
const MAX_VERITY: u32 = 256 * PAGE_SIZE as u32;

/// `struct fsverity_enable_arg`.
#[derive(FromBytes)]
#[repr(C)]
struct VerityEnable {
    version: u32,
    hash_algorithm: u32,
    block_size: u32,
    salt_size: u32,
    salt_ptr: u64,
    sig_size: u32,
    reserved1: u32,
    sig_ptr: u64,
    reserved2: [u64; 11],
}

/// `struct fsverity_digest`, which the digest follows.
#[derive(FromBytes)]
#[repr(C)]
struct VerityDigest {
    algorithm: u16,
    size: u16,
}

/// See [`FileOperations::ioctl`](crate::vfs::file::FileOperations::ioctl).
pub(super) fn ioctl(inode: &INode, file: Arc<OpenFile>, ioctl: &Ioctl) -> Result<isize> {
    let mount = Mount::of(inode);
    let is_directory = inode.file_type() == FileType::Directory;
    if is_directory && mount.connection.terms().minor < 18 {
        return Err(ENOTTY);
    }
    if !allow_current_process(mount) {
        return Err(EACCES);
    }
    inode.data().check()?;

    let ranges = Ranges::of(ioctl)?;
    let room = ranges.output.max(PAGE_SIZE);
    let most = mount.features().max_pages as usize * PAGE_SIZE;
    if ranges.input_size().max(room).next_multiple_of(PAGE_SIZE) > most {
        return Err(ENOMEM);
    }
    let arguments = IoctlIn {
        fh: file.handle(),
        flags: flags(ioctl.layout, is_directory),
        cmd: ioctl.command,
        arg: ioctl.argument as u64,
        // CAST: They are no larger than the data of a request.
        in_size: ranges.input_size() as u32,
        out_size: ranges.output as u32,
    };
    let request = Request::<op::Ioctl>::new(&mount.connection, inode.data().nodeid(), &arguments)?
        .payload(Payload::Bytes(ranges.read()?))
        .reply_bytes(room)?;
    let (out, reply) = call(mount, file, request)?;
    let bytes = reply.bytes();
    if out.flags & ioctl_flags::RETRY != 0 || bytes.len() > ranges.output {
        return Err(EIO);
    }
    let to = UserPtr::from_addr(ioctl.argument);
    UserSlice::new(to, bytes.len())
        .writer()
        .write_slice(bytes)?;
    Ok(out.result as isize)
}

/// An ioctl of the kernel's own on an open file, with `value` for its argument: what is written there
/// is by its number.
///
/// # Errors
///
/// The daemon's; `ENOTTY` when it has no such ioctl; `EIO` for a reply that makes no sense; `ENOMEM`.
pub(super) fn send<T>(inode: &INode, file: Arc<OpenFile>, command: u32, value: &mut T) -> Result
where
    T: FromBytes + IntoBytes + zerocopy::Immutable,
{
    let mount = Mount::of(inode);
    let is_directory = inode.file_type() == FileType::Directory;
    let size_if = |direction| {
        if _IOC_DIR(command) & direction == 0 {
            0
        } else {
            size_of::<T>()
        }
    };
    let (input, output) = (size_if(_IOC_WRITE), size_if(_IOC_READ));
    let arguments = IoctlIn {
        fh: file.handle(),
        flags: flags(Layout::Native, is_directory),
        cmd: command,
        // CAST: They are small structures.
        in_size: input as u32,
        out_size: output as u32,
        ..Default::default()
    };
    let mut bytes = KVVec::new();
    bytes.extend_from_slice(&value.as_bytes()[..input], GFP_KERNEL)?;
    let request = Request::<op::Ioctl>::new(&mount.connection, inode.data().nodeid(), &arguments)?
        .payload(Payload::Bytes(bytes))
        .reply_exactly(output)?;
    let (out, reply) = call(mount, file, request)?;
    if out.result < 0 {
        return Err(Error::from_errno(out.result));
    }
    if out.flags & ioctl_flags::RETRY != 0 {
        return Err(EIO);
    }
    value.as_mut_bytes()[..output].copy_from_slice(reply.bytes());
    Ok(())
}

/// Sends it. No file system gives `ENOSYS`.
fn call(
    mount: &Mount,
    file: Arc<OpenFile>,
    request: Request<op::Ioctl>,
) -> Result<(IoctlOut, Replied<op::Ioctl>)> {
    let reply = match mount.connection.call(request.then(file)) {
        Err(err) if err == ENOSYS => return Err(ENOTTY),
        reply => reply?,
    };
    let mut out = *reply.out()?;
    if out.result == ENOSYS.to_errno() {
        out.result = ENOTTY.to_errno();
    }
    Ok((out, reply))
}

fn flags(layout: Layout, is_directory: bool) -> u32 {
    let layout = match layout {
        Layout::Native if cfg!(CONFIG_64BIT) => 0,
        Layout::Native => ioctl_flags::IS_32BIT,
        Layout::Compat => ioctl_flags::COMPAT | ioctl_flags::IS_32BIT,
        Layout::X32 => ioctl_flags::COMPAT | ioctl_flags::IS_32BIT | ioctl_flags::COMPAT_X32,
    };
    if is_directory {
        layout | ioctl_flags::DIR
    } else {
        layout
    }
}

/// What an ioctl reads and writes of the caller's memory.
struct Ranges {
    /// Addresses and lengths in bytes of what it reads.
    input: [(usize, usize); 3],
    /// How many bytes it writes, where the argument points to.
    output: usize,
}

impl Ranges {
    /// Those that `ioctl` has by its number.
    ///
    /// # Errors
    ///
    /// `EFAULT`; `ENOMEM` when it is more than there can be.
    fn of(ioctl: &Ioctl) -> Result<Self> {
        let Ioctl {
            command, argument, ..
        } = *ioctl;
        let mut size = _IOC_SIZE(command);
        let mut more = [(0, 0); 2];
        match command {
            MEASURE_VERITY => {
                let digest: VerityDigest = read(argument)?;
                size += usize::from(digest.size);
            }
            ENABLE_VERITY => {
                let enable: VerityEnable = read(argument)?;
                if enable.salt_size > MAX_VERITY || enable.sig_size > MAX_VERITY {
                    return Err(ENOMEM);
                }
                // CAST: Addresses of the caller's are checked when they are used.
                more = [
                    (enable.salt_ptr as usize, enable.salt_size as usize),
                    (enable.sig_ptr as usize, enable.sig_size as usize),
                ];
            }
            _ => {}
        }
        let size_if = |direction| {
            if _IOC_DIR(command) & direction == 0 {
                0
            } else {
                size
            }
        };
        let [salt, signature] = more;
        Ok(Self {
            input: [(argument, size_if(_IOC_WRITE)), salt, signature],
            output: size_if(_IOC_READ),
        })
    }

    /// How much it reads, in bytes.
    fn input_size(&self) -> usize {
        self.input.iter().map(|(_, len)| len).sum()
    }

    /// Reads it. `EFAULT`, `ENOMEM`.
    fn read(&self) -> Result<KVVec<u8>> {
        let mut bytes = KVVec::with_capacity(self.input_size(), GFP_KERNEL)?;
        for &(address, len) in &self.input {
            UserSlice::new(UserPtr::from_addr(address), len).read_all(&mut bytes, GFP_KERNEL)?;
        }
        Ok(bytes)
    }
}

/// The structure at an address of the caller's. `EFAULT`.
fn read<T: FromBytes>(address: usize) -> Result<T> {
    let mut bytes = [0; size_of::<VerityEnable>()];
    let bytes = bytes.get_mut(..size_of::<T>()).ok_or(EFAULT)?;
    let from = UserPtr::from_addr(address);
    UserSlice::new(from, bytes.len())
        .reader()
        .read_slice(bytes)?;
    T::read_from_bytes(bytes).map_err(|_| EFAULT)
}
