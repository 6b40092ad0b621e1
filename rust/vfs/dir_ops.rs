// SPDX-License-Identifier: GPL-2.0

//! Operations on the names in a directory.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h)

mod create;
mod names;

pub(crate) use create::{OpenFile, Opened};

use super::{
    dentry::{self, LookupFlags, NamedDEntry, NegativeDEntry, NewDEntry, Resolved},
    file::NewFile,
    filesystem::FileSystem,
    inode::INode,
    inode_ops::{self, INodeOperations, IdMap},
};
use crate::bindings;
use core::marker::PhantomData;
use kernel::{error::VTABLE_DEFAULT_ERROR, prelude::*};

/// What can be done in a directory. What an implementation leaves out, the VFS refuses.
///
/// Unless said otherwise the methods run in the context of a task and may sleep.
#[vtable]
pub(crate) trait DirectoryOperations: Sized + 'static {
    /// The file system.
    type FileSystem: FileSystem;

    /// Finds out what a name in a directory stands for. The directory is locked.
    fn lookup<'a>(
        _dir: &INode<Self::FileSystem>,
        _dentry: NewDEntry<'a, Self::FileSystem>,
        _flags: LookupFlags,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file. The directory is locked, as it is for the methods below; `mode` has the
    /// type and the permissions that are wanted.
    fn create<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _mode: u32,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file and opens it, where a lookup has found no such name; `flags` are those of
    /// open(2), with `O_CREAT` among them. Without this, the VFS calls [`Self::create`] and then
    /// [`FileOperations::open`](super::file::FileOperations::open).
    fn atomic_open<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _file: NewFile<'a>,
        _flags: u32,
        _mode: u32,
    ) -> Result<Opened<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a regular file without a name and opens it. The directory is not locked; the entry is
    /// to get its inode where it is.
    fn tmpfile<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _file: NewFile<'a>,
        _flags: u32,
        _mode: u32,
    ) -> Result<OpenFile<'a>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a special file, or a regular one. `device` is the number it stands for, as user space
    /// has it.
    fn mknod<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _mode: u32,
        _device: u32,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a directory.
    fn mkdir<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _mode: u32,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Makes a symbolic link to `target`.
    fn symlink<'a>(
        _id_map: IdMap<'_>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
        _target: &CStr,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Gives `inode`, which is no directory, one more name.
    fn link<'a>(
        _inode: &INode<Self::FileSystem>,
        _dir: &INode<Self::FileSystem>,
        _dentry: NegativeDEntry<'a, Self::FileSystem>,
    ) -> Result<Resolved<'a, Self::FileSystem>> {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes a name from what is not a directory.
    fn unlink(
        _dir: &INode<Self::FileSystem>,
        _dentry: NamedDEntry<'_, Self::FileSystem>,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Takes the name from an empty directory.
    fn rmdir(_dir: &INode<Self::FileSystem>, _dentry: NamedDEntry<'_, Self::FileSystem>) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }

    /// Gives what is at `from` the name `to`, each a directory and an entry in it. Both directories
    /// are locked, and no directory comes to be in itself.
    fn rename(
        _id_map: IdMap<'_>,
        _from: (&INode<Self::FileSystem>, NamedDEntry<'_, Self::FileSystem>),
        _to: (&INode<Self::FileSystem>, NamedDEntry<'_, Self::FileSystem>),
        _flags: RenameFlags,
    ) -> Result {
        build_error!(VTABLE_DEFAULT_ERROR)
    }
}

/// What renameat2(2) is to do beside renaming: `RENAME_*`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct RenameFlags(u32);

impl RenameFlags {
    const KNOWN: u32 =
        bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE | bindings::RENAME_WHITEOUT;

    /// The flags as user space has them.
    pub(crate) fn bits(self) -> u32 {
        self.0
    }

    /// Whether there are none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether there are others than those of Linux 7.3.
    pub(crate) fn has_unknown(self) -> bool {
        self.0 & !Self::KNOWN != 0
    }

    /// The two names change places.
    pub(crate) fn exchanges(self) -> bool {
        self.0 & bindings::RENAME_EXCHANGE != 0
    }

    /// Whether a device is to be made where the file was.
    pub(crate) fn leaves_whiteout(self) -> bool {
        self.0 & bindings::RENAME_WHITEOUT != 0
    }
}

/// The table of operations of directories: `O` for themselves, `D` for the names in them.
pub(super) fn table<O, D>() -> &'static bindings::inode_operations
where
    O: INodeOperations,
    D: DirectoryOperations<FileSystem = O::FileSystem>,
{
    &Callbacks::<O, D>::OPERATIONS
}

/// What the C side calls.
struct Callbacks<O, D>(PhantomData<(O, D)>);

impl<O, D> Callbacks<O, D>
where
    O: INodeOperations,
    D: DirectoryOperations<FileSystem = O::FileSystem>,
{
    const OPERATIONS: bindings::inode_operations = bindings::inode_operations {
        lookup: if D::HAS_LOOKUP {
            Some(Names::<D>::lookup)
        } else {
            None
        },
        create: if D::HAS_CREATE {
            Some(Names::<D>::create)
        } else {
            None
        },
        atomic_open: if D::HAS_ATOMIC_OPEN {
            Some(Names::<D>::atomic_open)
        } else {
            None
        },
        tmpfile: if D::HAS_TMPFILE {
            Some(Names::<D>::tmpfile)
        } else {
            None
        },
        mknod: if D::HAS_MKNOD {
            Some(Names::<D>::mknod)
        } else {
            None
        },
        mkdir: if D::HAS_MKDIR {
            Some(Names::<D>::mkdir)
        } else {
            None
        },
        symlink: if D::HAS_SYMLINK {
            Some(Names::<D>::symlink)
        } else {
            None
        },
        link: if D::HAS_LINK {
            Some(Names::<D>::link)
        } else {
            None
        },
        unlink: if D::HAS_UNLINK {
            Some(Names::<D>::unlink)
        } else {
            None
        },
        rmdir: if D::HAS_RMDIR {
            Some(Names::<D>::rmdir)
        } else {
            None
        },
        rename: if D::HAS_RENAME {
            Some(Names::<D>::rename)
        } else {
            None
        },
        ..*inode_ops::table::<O>()
    };
}

/// What of it is about names.
struct Names<D>(PhantomData<D>);

impl<D: DirectoryOperations> Names<D> {
    /// # Safety
    ///
    /// To be called as `lookup` of `struct inode_operations`, for this type.
    unsafe extern "C" fn lookup(
        dir: *mut bindings::inode,
        dentry: *mut bindings::dentry,
        flags: c_uint,
    ) -> *mut bindings::dentry {
        // SAFETY: The C side gives a directory of this file system, and an entry to look up.
        unsafe {
            let dir = INode::from_raw(dir);
            dentry::lookup(dentry, |dentry| D::lookup(dir, dentry, LookupFlags(flags)))
        }
    }
}
