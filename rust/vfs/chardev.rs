// SPDX-License-Identifier: GPL-2.0

//! Character devices of the "misc" class, with all the file operations that such a device may have.
//!
//! [`kernel::miscdevice`] has dynamic minors only, no poll, no fasync, no splice, and no way from an
//! open file back to the device's data.
//!
//! C headers: [`include/linux/miscdevice.h`](srctree/include/linux/miscdevice.h)

use crate::{
    bindings,
    vfs::{
        fasync::FasyncRequest,
        pipe::{PipeDest, PipeSource},
    },
};
use core::{marker::PhantomData, ptr};
use kernel::{
    error::{to_result, VTABLE_DEFAULT_ERROR},
    fs::{file::flags, File, LocalFile},
    iov::{IovIterDest, IovIterSource},
    module::this_module,
    prelude::*,
    seq_file::SeqFile,
    sync::{poll::PollTable, Arc},
    types::{ForeignOwnable, Opaque},
};

/// What a method of `D` gets of the open file's data.
type Borrowed<'a, D> = <<D as Device>::Ptr as ForeignOwnable>::Borrowed<'a>;

/// The operations of a device. Those that an implementation leaves out fail as the kernel has it:
/// reading and writing with `EINVAL`, ioctl with `ENOTTY`, seeking always with `ESPIPE`.
///
/// All of them run in the context of the task that makes the system call and may sleep.
#[vtable]
pub(crate) trait Device: Sized + 'static {
    /// The data of one open file.
    type Ptr: ForeignOwnable + Send + Sync;

    /// What all open files of the device share.
    type Shared: Send + Sync;

    /// The device's table: a `static` of the implementation, `FileOperations::new()`. Its address
    /// is how [`from_file`] knows the device's files.
    fn table() -> &'static FileOperations<Self>;

    /// Makes the data of a file that is being opened.
    fn open(file: &File, shared: &Arc<Self::Shared>) -> Result<Self::Ptr>;

    /// Called once, when the last reference to the open file goes.
    fn release(device: Self::Ptr, _file: &File) {
        drop(device);
    }

    /// Reads into `iov`; `nonblocking` callers get `EAGAIN` in place of a wait.
    fn read_iter(
        _device: Borrowed<'_, Self>,
        _iov: &mut IovIterDest<'_>,
        _nonblocking: bool,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes from `iov`; `nonblocking` callers get `EAGAIN` in place of a wait.
    fn write_iter(
        _device: Borrowed<'_, Self>,
        _iov: &mut IovIterSource<'_>,
        _nonblocking: bool,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Reads into a pipe, as much as [`PipeDest::len`]; returns how much. Without this, `read_iter`
    /// is given pages, as much as the pipe has room for.
    fn splice_read(
        _device: Borrowed<'_, Self>,
        _pipe: PipeDest<'_>,
        _nonblocking: bool,
    ) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Writes from a pipe; returns how much. Without this, `write_iter` is given the pipe's buffers, in
    /// as many pieces as they come.
    fn splice_write(_device: Borrowed<'_, Self>, _pipe: PipeSource<'_>) -> Result<usize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Which of the `EPOLL*` events there are, after registering for them with `table`.
    fn poll(_device: Borrowed<'_, Self>, _file: &File, _table: PollTable<'_>) -> u32 {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Turns signal-driven I/O on or off for a file: see [`FasyncRequest`].
    fn fasync(_device: Borrowed<'_, Self>, _request: FasyncRequest<'_>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An ioctl. `arg` is usually the address of something in user space.
    fn ioctl(_device: Borrowed<'_, Self>, _file: &File, _cmd: u32, _arg: usize) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// An ioctl of a 32-bit program on a 64-bit kernel. Without this, `ioctl` gets those too, with
    /// `arg` made a pointer; right where no structure differs in layout.
    #[cfg(CONFIG_COMPAT)]
    fn compat_ioctl(
        _device: Borrowed<'_, Self>,
        _file: &File,
        _cmd: u32,
        _arg: usize,
    ) -> Result<isize> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Adds lines to `/proc/<pid>/fdinfo/<fd>`.
    fn show_fdinfo(_device: Borrowed<'_, Self>, _m: &SeqFile, _file: &File) {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// The data of `file` if it is an open file of the device `D`.
pub(crate) fn from_file<D: Device>(file: &LocalFile) -> Option<Borrowed<'_, D>> {
    // SAFETY: The file is open, so its table is set and stays.
    let table = unsafe { (*file.as_ptr()).f_op };
    if !ptr::eq(table, &D::table().table) {
        return None;
    }
    // SAFETY: Only `Callbacks::<D>::open` stores the private data of a file with this table, before
    // anyone else can have the file; it is taken back in `release`, after the last reference, and
    // the borrow ends before `file` does.
    Some(unsafe { D::Ptr::borrow((*file.as_ptr()).private_data) })
}

/// Calls `f` with the data of the open file that is `fd` in the current process. None when there is no
/// such file or it is not one of the device `D`.
pub(crate) fn with_fd<D: Device, R>(fd: u32, f: impl FnOnce(Borrowed<'_, D>) -> R) -> Option<R> {
    let file = LocalFile::fget(fd).ok()?;
    from_file::<D>(&file).map(f)
}

/// The table of file operations of a device. A device has one, in a `static`.
///
/// # Invariants
///
/// The table's functions are those of [`Callbacks<D>`].
pub(crate) struct FileOperations<D: Device> {
    table: bindings::file_operations,
    _device: PhantomData<fn(D)>,
}

// SAFETY: The table is constant; the pointers in it are to code and to the module itself.
unsafe impl<D: Device> Sync for FileOperations<D> {}

impl<D: Device> FileOperations<D> {
    /// The table for `D`.
    pub(crate) const fn new() -> Self {
        // INVARIANT: By construction.
        Self {
            table: Callbacks::<D>::TABLE,
            _device: PhantomData,
        }
    }
}

/// Which minor number a device gets.
#[derive(Clone, Copy)]
pub(crate) enum Minor {
    /// This one; `EBUSY` when it is taken.
    Fixed(u8),
    /// One that is free.
    Dynamic,
}

/// A device that is there (under `/dev`, where devtmpfs or udev put it) while this lives.
///
/// # Invariants
///
/// `device` is registered.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Registration<D: Device> {
    #[pin]
    device: Opaque<bindings::miscdevice>,
    shared: Arc<D::Shared>,
    _device: PhantomData<fn(D)>,
}

// SAFETY: A device may be deregistered by another task than the one that registered it.
unsafe impl<D: Device> Send for Registration<D> {}
// SAFETY: There are no methods.
unsafe impl<D: Device> Sync for Registration<D> {}

impl<D: Device> Registration<D> {
    /// Registers the device, whose open files have `shared`. May sleep.
    ///
    /// # Errors
    ///
    /// `EBUSY` when the minor is taken; `EEXIST` when a misc device has that name.
    pub(crate) fn register(
        name: &'static CStr,
        minor: Minor,
        shared: Arc<D::Shared>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            shared,
            _device: PhantomData,
            device <- Opaque::try_ffi_init(move |slot: *mut bindings::miscdevice| {
                let mut device: bindings::miscdevice = pin_init::zeroed();
                device.minor = match minor {
                    Minor::Fixed(minor) => c_int::from(minor),
                    Minor::Dynamic => bindings::MISC_DYNAMIC_MINOR as c_int,
                };
                device.name = name.as_char_ptr();
                device.fops = &D::table().table;
                // SAFETY: `slot` is valid for writing.
                unsafe { slot.write(device) };
                // SAFETY: `slot` is pinned and initialised, and deregistered before it goes.
                // INVARIANT: On success, the device is registered.
                to_result(unsafe { bindings::misc_register(slot) })
            }),
        })
    }
}

#[pinned_drop]
impl<D: Device> PinnedDrop for Registration<D> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: Registered by the type invariant, and this is the only place that ends it.
        unsafe { bindings::misc_deregister(self.device.get()) };
    }
}

/// What the C side calls.
struct Callbacks<D: Device>(PhantomData<fn(D)>);

/// What a C callback returns for `result`.
fn to_isize(result: Result<usize>) -> isize {
    match result {
        // CAST: A count of bytes that were copied; no larger than MAX_RW_COUNT.
        Ok(count) => count as isize,
        Err(err) => err.to_errno() as isize,
    }
}

impl<D: Device> Callbacks<D> {
    /// The file and the data of an open file.
    ///
    /// # Safety
    ///
    /// `file` must be an open file of the device `D` for all of `'a`, between `open` and `release`.
    unsafe fn parts<'a>(file: *mut bindings::file) -> (&'a File, Borrowed<'a, D>) {
        // SAFETY: By the function's contract. File operations run without an `fdget_pos` that did
        // not take the lock, but for read and write, where this file has no position.
        unsafe {
            (
                File::from_raw_file(file),
                D::Ptr::borrow((*file).private_data),
            )
        }
    }

    /// # Safety
    ///
    /// To be called as `open` of `struct file_operations`, for this type.
    unsafe extern "C" fn open(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The C side gives a file that is being opened, with the device as its private data:
        // the first field of a registration, which stays while the module is in use.
        let (file_ref, registration) = unsafe {
            (
                File::from_raw_file(file),
                &*(*file).private_data.cast::<Registration<D>>(),
            )
        };
        match D::open(file_ref, &registration.shared) {
            Ok(data) => {
                // SAFETY: As above; until `release` the private data is ours.
                unsafe { (*file).private_data = data.into_foreign() };
                0
            }
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// To be called as `release` of `struct file_operations`, for this type.
    unsafe extern "C" fn release(_inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` stored the data, and nobody else has the file any more.
        let data = unsafe { D::Ptr::from_foreign((*file).private_data) };
        // SAFETY: The file is valid during the call.
        D::release(data, unsafe { File::from_raw_file(file) });
        0
    }

    /// # Safety
    ///
    /// To be called as `read_iter` of `struct file_operations`, for this type.
    unsafe extern "C" fn read_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The C side gives an open file, and an iterator to write to that is ours for the
        // duration of the call.
        let ((file, device), iov, nowait) = unsafe {
            (
                Self::parts((*kiocb).ki_filp),
                IovIterDest::from_raw(iter),
                (*kiocb).ki_flags & bindings::IOCB_NOWAIT as c_int != 0,
            )
        };
        to_isize(D::read_iter(
            device,
            iov,
            nowait || file.flags() & flags::O_NONBLOCK != 0,
        ))
    }

    /// # Safety
    ///
    /// To be called as `write_iter` of `struct file_operations`, for this type.
    unsafe extern "C" fn write_iter(
        kiocb: *mut bindings::kiocb,
        iter: *mut bindings::iov_iter,
    ) -> isize {
        // SAFETY: The C side gives an open file, and an iterator to read from that is ours for the
        // duration of the call.
        let ((file, device), iov, nowait) = unsafe {
            (
                Self::parts((*kiocb).ki_filp),
                IovIterSource::from_raw(iter),
                (*kiocb).ki_flags & bindings::IOCB_NOWAIT as c_int != 0,
            )
        };
        to_isize(D::write_iter(
            device,
            iov,
            nowait || file.flags() & flags::O_NONBLOCK != 0,
        ))
    }

    /// # Safety
    ///
    /// To be called as `splice_read` of `struct file_operations`, for this type.
    unsafe extern "C" fn splice_read(
        file: *mut bindings::file,
        _position: *mut bindings::loff_t,
        pipe: *mut bindings::pipe_inode_info,
        len: usize,
        _flags: c_uint,
    ) -> isize {
        // SAFETY: The C side gives an open file.
        let (file, device) = unsafe { Self::parts(file) };
        // SAFETY: The C side gives a pipe that is ours during the call.
        let pipe = unsafe { PipeDest::from_raw(pipe, len) };
        to_isize(
            pipe.and_then(|pipe| {
                D::splice_read(device, pipe, file.flags() & flags::O_NONBLOCK != 0)
            }),
        )
    }

    /// # Safety
    ///
    /// To be called as `splice_write` of `struct file_operations`, for this type.
    unsafe extern "C" fn splice_write(
        pipe: *mut bindings::pipe_inode_info,
        file: *mut bindings::file,
        _position: *mut bindings::loff_t,
        len: usize,
        flags: c_uint,
    ) -> isize {
        // SAFETY: The C side gives an open file.
        let (_, device) = unsafe { Self::parts(file) };
        // SAFETY: These are the arguments, and the value does not outlive the call.
        let pipe = unsafe { PipeSource::from_raw(pipe, len, flags) };
        to_isize(pipe.and_then(|pipe| D::splice_write(device, pipe)))
    }

    /// # Safety
    ///
    /// To be called as `poll` of `struct file_operations`, for this type.
    unsafe extern "C" fn poll(
        file: *mut bindings::file,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: The C side gives an open file, and a table that is null or valid during the call.
        let ((file, device), table) = unsafe { (Self::parts(file), PollTable::from_raw(table)) };
        D::poll(device, file, table)
    }

    /// # Safety
    ///
    /// To be called as `fasync` of `struct file_operations`, for this type.
    unsafe extern "C" fn fasync(fd: c_int, file: *mut bindings::file, on: c_int) -> c_int {
        // SAFETY: The C side gives an open file.
        let (file, device) = unsafe { Self::parts(file) };
        match D::fasync(device, FasyncRequest::new(fd, file, on)) {
            Ok(()) => 0,
            Err(err) => err.to_errno(),
        }
    }

    /// # Safety
    ///
    /// To be called as `unlocked_ioctl` of `struct file_operations`, for this type.
    unsafe extern "C" fn ioctl(file: *mut bindings::file, cmd: c_uint, arg: c_ulong) -> c_long {
        // SAFETY: The C side gives an open file.
        let (file, device) = unsafe { Self::parts(file) };
        match D::ioctl(device, file, cmd, arg) {
            Ok(value) => value as c_long,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// To be called as `compat_ioctl` of `struct file_operations`, for this type.
    #[cfg(CONFIG_COMPAT)]
    unsafe extern "C" fn compat_ioctl(
        file: *mut bindings::file,
        cmd: c_uint,
        arg: c_ulong,
    ) -> c_long {
        // SAFETY: The C side gives an open file.
        let (file, device) = unsafe { Self::parts(file) };
        match D::compat_ioctl(device, file, cmd, arg) {
            Ok(value) => value as c_long,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// To be called as `show_fdinfo` of `struct file_operations`, for this type.
    unsafe extern "C" fn show_fdinfo(m: *mut bindings::seq_file, file: *mut bindings::file) {
        // SAFETY: The C side gives an open file and a seq_file that is ours during the call.
        let ((file, device), m) = unsafe { (Self::parts(file), SeqFile::from_raw(m)) };
        D::show_fdinfo(device, m, file);
    }

    const TABLE: bindings::file_operations = bindings::file_operations {
        owner: this_module::<D::OwnerModule>().as_ptr(),
        open: Some(Self::open),
        release: Some(Self::release),
        read_iter: if D::HAS_READ_ITER {
            Some(Self::read_iter)
        } else {
            None
        },
        splice_read: if D::HAS_SPLICE_READ {
            Some(Self::splice_read)
        } else if D::HAS_READ_ITER {
            Some(bindings::copy_splice_read)
        } else {
            None
        },
        write_iter: if D::HAS_WRITE_ITER {
            Some(Self::write_iter)
        } else {
            None
        },
        splice_write: if D::HAS_SPLICE_WRITE {
            Some(Self::splice_write)
        } else if D::HAS_WRITE_ITER {
            Some(bindings::iter_file_splice_write)
        } else {
            None
        },
        poll: if D::HAS_POLL { Some(Self::poll) } else { None },
        fasync: if D::HAS_FASYNC {
            Some(Self::fasync)
        } else {
            None
        },
        unlocked_ioctl: if D::HAS_IOCTL {
            Some(Self::ioctl)
        } else {
            None
        },
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: if D::HAS_COMPAT_IOCTL {
            Some(Self::compat_ioctl)
        } else if D::HAS_IOCTL {
            bindings::compat_ptr_ioctl
        } else {
            None
        },
        show_fdinfo: if D::HAS_SHOW_FDINFO {
            Some(Self::show_fdinfo)
        } else {
            None
        },
        ..pin_init::zeroed()
    };
}
