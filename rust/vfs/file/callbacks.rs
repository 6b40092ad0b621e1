// SPDX-License-Identifier: GPL-2.0

//! What the C side calls of the operations on open files.

use super::*;

/// The callbacks.
pub(in crate::vfs) struct Callbacks<F: FileOperations>(PhantomData<F>);

impl<F: FileOperations> Callbacks<F> {
    pub(super) const OPERATIONS: bindings::file_operations = bindings::file_operations {
        open: Some(Self::open),
        release: Some(Self::release),
        flush: if F::HAS_FLUSH {
            Some(Self::flush)
        } else {
            None
        },
        read_iter: if F::HAS_READ_ITER {
            Some(Self::read_iter)
        } else {
            None
        },
        read: if F::HAS_ITERATE {
            Some(bindings::generic_read_dir)
        } else {
            None
        },
        splice_read: if F::HAS_READ_ITER {
            if F::USES_PAGE_CACHE {
                Some(bindings::filemap_splice_read)
            } else {
                Some(bindings::copy_splice_read)
            }
        } else {
            None
        },
        mmap: if F::HAS_MMAP { Some(Self::mmap) } else { None },
        write_iter: if F::HAS_WRITE_ITER {
            Some(Self::write_iter)
        } else {
            None
        },
        splice_write: if F::HAS_WRITE_ITER {
            Some(bindings::iter_file_splice_write)
        } else {
            None
        },
        fsync: if F::HAS_FSYNC {
            Some(Self::fsync)
        } else {
            None
        },
        fallocate: if F::HAS_FALLOCATE {
            Some(Self::fallocate)
        } else {
            None
        },
        copy_file_range: if F::HAS_COPY_RANGE {
            Some(Self::copy_file_range)
        } else {
            None
        },
        llseek: if F::HAS_LLSEEK {
            Some(Self::llseek)
        } else {
            Some(bindings::generic_file_llseek)
        },
        iterate_shared: if F::HAS_ITERATE {
            Some(Self::iterate)
        } else {
            None
        },
        lock: if F::HAS_LOCK {
            Some(lock::lock::<F>)
        } else {
            None
        },
        flock: if F::HAS_FLOCK {
            Some(lock::flock::<F>)
        } else {
            None
        },
        unlocked_ioctl: if F::HAS_IOCTL {
            Some(ioctl::native::<F>)
        } else {
            None
        },
        #[cfg(CONFIG_COMPAT)]
        compat_ioctl: if F::HAS_IOCTL {
            Some(ioctl::compat::<F>)
        } else {
            None
        },
        poll: if F::HAS_POLL {
            Some(poll::poll::<F>)
        } else {
            None
        },
        setlease: if F::HAS_ITERATE {
            None
        } else {
            Some(bindings::generic_setlease)
        },
        ..pin_init::zeroed()
    };

    /// The inode and the data of an open file.
    ///
    /// # Safety
    ///
    /// `file` must be a file that `open` of this table opened, for all of `'a`.
    pub(in crate::vfs) unsafe fn parts<'a>(
        file: *mut bindings::file,
    ) -> (&'a INode<F::FileSystem>, Borrowed<'a, F>) {
        // SAFETY: By the function's contract.
        unsafe {
            (
                INode::from_raw((*file).f_inode),
                F::Ptr::borrow((*file).private_data),
            )
        }
    }

    /// # Safety
    ///
    /// To be called as `open` of `struct file_operations`, for this type.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives a file that is being opened.
            to_result(unsafe { bindings::generic_file_open(inode, file) })?;
            // SAFETY: As above, and its inode, which is of this file system.
            let (inode, new) = unsafe { (INode::from_raw(inode), NewFile::from_raw(file)) };
            let data = F::open(inode, &new)?;
            // SAFETY: As above; until `release` the private data is ours.
            unsafe { (*file).private_data = data.into_foreign() };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// To be called as `release` of `struct file_operations`, for this type.
    unsafe extern "C" fn release(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: `open` stored the data, and nobody else has the file any more.
        let (inode, data, flags) = unsafe {
            (
                INode::from_raw(inode),
                F::Ptr::from_foreign((*file).private_data),
                (*file).f_flags,
            )
        };
        F::release(inode, data, flags);
        0
    }

    /// # Safety
    ///
    /// To be called as `flush` of `struct file_operations`, for this type.
    unsafe extern "C" fn flush(file: *mut bindings::file, id: bindings::fl_owner_t) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives an open file.
            let (inode, data) = unsafe { Self::parts(file) };
            F::flush(inode, data, LockOwner(id.addr())).map(|()| 0)
        })
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
        let ((inode, data), iov) =
            unsafe { (Self::parts((*kiocb).ki_filp), IovIterDest::from_raw(iter)) };
        // SAFETY: It is ours until the C side is told that it has ended.
        let io = unsafe { Io::from_raw(kiocb) };
        F::read_iter(inode, data, io, iov).code()
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
        let ((inode, data), iov) =
            unsafe { (Self::parts((*kiocb).ki_filp), IovIterSource::from_raw(iter)) };
        // SAFETY: It is ours until the C side is told that it has ended.
        let io = unsafe { Io::from_raw(kiocb) };
        F::write_iter(inode, data, io, iov).code()
    }

    /// # Safety
    ///
    /// To be called as `fsync` of `struct file_operations`, for this type.
    unsafe extern "C" fn fsync(
        file: *mut bindings::file,
        start: bindings::loff_t,
        end: bindings::loff_t,
        datasync: c_int,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives an open file.
            let ((inode, data), file) = unsafe { (Self::parts(file), File::from_raw_file(file)) };
            let sync = Fsync {
                file,
                start,
                end,
                data_only: datasync != 0,
            };
            F::fsync(inode, data, &sync).map(|()| 0)
        })
    }

    /// # Safety
    ///
    /// To be called as `mmap` of `struct file_operations`, for this type.
    unsafe extern "C" fn mmap(
        file: *mut bindings::file,
        area: *mut bindings::vm_area_struct,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives an open file, and an area that is being made for it.
            unsafe {
                let (inode, data) = Self::parts(file);
                let area = Area::from_raw(area);
                let mapping = F::mmap(inode, data, &area)?;
                area.map(file, mapping).map(|()| 0)
            }
        })
    }

    /// # Safety
    ///
    /// To be called as `fallocate` of `struct file_operations`, for this type.
    unsafe extern "C" fn fallocate(
        file: *mut bindings::file,
        mode: c_int,
        offset: bindings::loff_t,
        len: bindings::loff_t,
    ) -> c_long {
        // SAFETY: The C side gives an open file.
        let ((inode, data), file) = unsafe { (Self::parts(file), File::from_raw_file(file)) };
        let what = Allocation {
            file: Modified(file),
            // CAST: A set of flags.
            mode: mode as u32,
            // CAST: The VFS checks that they are not negative, and do not overflow.
            start: offset as u64,
            end: offset as u64 + len as u64,
        };
        match F::fallocate(inode, data, &what) {
            Ok(()) => 0,
            Err(err) => err.to_errno() as c_long,
        }
    }

    /// # Safety
    ///
    /// To be called as `copy_file_range` of `struct file_operations`, for this type.
    unsafe extern "C" fn copy_file_range(
        from: *mut bindings::file,
        from_offset: bindings::loff_t,
        to: *mut bindings::file,
        to_offset: bindings::loff_t,
        len: usize,
        flags: c_uint,
    ) -> isize {
        // SAFETY: The C side gives two open files, of types whose tables have this operation.
        let same = unsafe {
            (*(*from).f_inode).i_sb == (*(*to).f_inode).i_sb && (*from).f_op == (*to).f_op
        };
        let result = if same {
            // CAST: The VFS checks that they are not negative.
            let range = CopyRange {
                from: from_offset as u64,
                to: to_offset as u64,
                len: len as u64,
                flags,
            };
            // SAFETY: Both are open, and by this table.
            let (from, to) = unsafe { (OpenRef::from_raw(from), OpenRef::from_raw(to)) };
            F::copy_range(from, to, &range)
        } else {
            Err(EOPNOTSUPP)
        };
        match result {
            // CAST: No larger than what was asked for, which fits.
            Ok(copied) => copied as isize,
            Err(err) if err == EOPNOTSUPP => {
                // SAFETY: The C side gives what the function needs.
                unsafe { bindings::splice_copy_file_range(from, from_offset, to, to_offset, len) }
            }
            Err(err) => err.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// To be called as `llseek` of `struct file_operations`, for this type.
    unsafe extern "C" fn llseek(
        file: *mut bindings::file,
        offset: bindings::loff_t,
        whence: c_int,
    ) -> bindings::loff_t {
        // SAFETY: The C side gives an open file, whose position is locked.
        let ((inode, data), file) = unsafe { (Self::parts(file), File::from_raw_file(file)) };
        let seek = Seek {
            file,
            offset,
            whence,
        };
        match F::llseek(inode, data, &seek) {
            Ok(position) => position,
            Err(err) => err.to_errno().into(),
        }
    }

    /// # Safety
    ///
    /// To be called as `iterate_shared` of `struct file_operations`, for this type.
    unsafe extern "C" fn iterate(
        file: *mut bindings::file,
        context: *mut bindings::dir_context,
    ) -> c_int {
        from_result(|| {
            // SAFETY: The C side gives an open directory, and a context that is ours for the call.
            let ((inode, data), context, dir) = unsafe {
                let dir = (*file).__bindgen_anon_1.f_path.dentry;
                (Self::parts(file), &mut *context, DEntry::from_raw(dir))
            };
            // INVARIANT: The C side has locked the directory.
            F::iterate(inode, data, &mut DirEmitter { context, dir }).map(|()| 0)
        })
    }
}
