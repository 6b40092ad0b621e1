// SPDX-License-Identifier: GPL-2.0

//! What a request asks for, and what a notification tells.

/// Makes an enumeration of numbers on the wire, with the names they have in Linux.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident: $repr:ident {
            $($(#[$vmeta:meta])* $variant:ident = $value:literal, $text:literal;)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr($repr)]
        pub enum $name {
            $($(#[$vmeta])* $variant = $value,)*
        }

        impl $name {
            /// All there are, in the order of their numbers.
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            /// That of the number `value`, if there is one.
            pub const fn from_u32(value: u32) -> Option<Self> {
                match value {
                    $($value => Some($name::$variant),)*
                    _ => None,
                }
            }

            /// Its name in Linux, less what all of them start with.
            pub const fn name(self) -> &'static str {
                match self {
                    $($name::$variant => $text,)*
                }
            }
        }

        impl From<$name> for $repr {
            fn from(value: $name) -> $repr {
                value as $repr
            }
        }
    };
}

wire_enum! {
    /// The operation that a request asks for: the values of [`InHeader::opcode`](super::InHeader).
    pub enum Opcode: u32 {
        /// Find a name in a directory, and take a reference on the inode.
        Lookup = 1, "LOOKUP";
        /// Drop references on an inode. Has no reply.
        Forget = 2, "FORGET";
        /// Read an inode's attributes.
        Getattr = 3, "GETATTR";
        /// Change an inode's attributes.
        Setattr = 4, "SETATTR";
        /// Read where a symbolic link points.
        Readlink = 5, "READLINK";
        /// Make a symbolic link.
        Symlink = 6, "SYMLINK";
        /// Make a file of any type.
        Mknod = 8, "MKNOD";
        /// Make a directory.
        Mkdir = 9, "MKDIR";
        /// Remove a name that is not a directory.
        Unlink = 10, "UNLINK";
        /// Remove an empty directory.
        Rmdir = 11, "RMDIR";
        /// Rename, without flags.
        Rename = 12, "RENAME";
        /// Make a hard link.
        Link = 13, "LINK";
        /// Open a file.
        Open = 14, "OPEN";
        /// Read from an open file.
        Read = 15, "READ";
        /// Write to an open file.
        Write = 16, "WRITE";
        /// Ask for the file system's size and use.
        Statfs = 17, "STATFS";
        /// The last reference on an open file is gone.
        Release = 18, "RELEASE";
        /// Bring a file's contents to stable storage.
        Fsync = 20, "FSYNC";
        /// Set an extended attribute.
        Setxattr = 21, "SETXATTR";
        /// Read an extended attribute.
        Getxattr = 22, "GETXATTR";
        /// List the names of extended attributes.
        Listxattr = 23, "LISTXATTR";
        /// Remove an extended attribute.
        Removexattr = 24, "REMOVEXATTR";
        /// A descriptor of an open file is closed.
        Flush = 25, "FLUSH";
        /// The first request of all: settle the version and the features.
        Init = 26, "INIT";
        /// Open a directory.
        Opendir = 27, "OPENDIR";
        /// Read directory entries.
        Readdir = 28, "READDIR";
        /// The last reference on an open directory is gone.
        Releasedir = 29, "RELEASEDIR";
        /// Bring a directory's contents to stable storage.
        Fsyncdir = 30, "FSYNCDIR";
        /// Test for a POSIX lock.
        Getlk = 31, "GETLK";
        /// Take or drop a lock, without waiting.
        Setlk = 32, "SETLK";
        /// Take or drop a lock, waiting for it.
        Setlkw = 33, "SETLKW";
        /// Check permissions, for `access(2)` and `chdir(2)`.
        Access = 34, "ACCESS";
        /// Make a file and open it.
        Create = 35, "CREATE";
        /// The caller of an earlier request got a signal.
        Interrupt = 36, "INTERRUPT";
        /// Map a block of a file to one of the device.
        Bmap = 37, "BMAP";
        /// The file system is unmounted: the last request of all.
        Destroy = 38, "DESTROY";
        /// An `ioctl(2)` on an open file.
        Ioctl = 39, "IOCTL";
        /// Ask which events an open file is ready for.
        Poll = 40, "POLL";
        /// The data that `NOTIFY_RETRIEVE` asked for. Has no reply.
        NotifyReply = 41, "NOTIFY_REPLY";
        /// `FORGET` for many inodes. Has no reply.
        BatchForget = 42, "BATCH_FORGET";
        /// Allocate or free a range of a file.
        Fallocate = 43, "FALLOCATE";
        /// `READDIR` and a `LOOKUP` of each entry in one.
        Readdirplus = 44, "READDIRPLUS";
        /// Rename, with flags.
        Rename2 = 45, "RENAME2";
        /// Find data or holes in a file.
        Lseek = 46, "LSEEK";
        /// Copy a range from one file to another; at most 4 GiB.
        CopyFileRange = 47, "COPY_FILE_RANGE";
        /// Map a range of a file into the DAX window.
        Setupmapping = 48, "SETUPMAPPING";
        /// Unmap ranges of the DAX window.
        Removemapping = 49, "REMOVEMAPPING";
        /// Bring all of the file system to stable storage.
        Syncfs = 50, "SYNCFS";
        /// Make a file that has no name, and open it.
        Tmpfile = 51, "TMPFILE";
        /// Read attributes that only `statx(2)` gives.
        Statx = 52, "STATX";
        /// Copy a range from one file to another, of any length.
        CopyFileRange64 = 53, "COPY_FILE_RANGE_64";
        /// The first request to a character device in user space.
        CuseInit = 4096, "CUSE_INIT";
    }
}

impl Opcode {
    /// Whether the daemon owes a reply to this request.
    pub const fn has_reply(self) -> bool {
        !matches!(
            self,
            Opcode::Forget | Opcode::BatchForget | Opcode::NotifyReply
        )
    }
}

/// What `INIT` reads as on a machine of the other byte order.
pub const INIT_BSWAP_RESERVED: u32 = 436207616;

/// What `CUSE_INIT` reads as on a machine of the other byte order.
pub const CUSE_INIT_BSWAP_RESERVED: u32 = 1048576;

wire_enum! {
    /// What a notification is about: the values of [`OutHeader::error`](super::OutHeader) when
    /// its `unique` is 0.
    pub enum NotifyCode: u32 {
        /// A file that was polled is ready.
        Poll = 1, "POLL";
        /// Drop what is cached of an inode.
        InvalInode = 2, "INVAL_INODE";
        /// Drop a cached name.
        InvalEntry = 3, "INVAL_ENTRY";
        /// Put data into an inode's page cache.
        Store = 4, "STORE";
        /// Read data from an inode's page cache.
        Retrieve = 5, "RETRIEVE";
        /// A name was removed.
        Delete = 6, "DELETE";
        /// Hand out again what was read and not answered.
        Resend = 7, "RESEND";
        /// Revalidate every cached name.
        IncEpoch = 8, "INC_EPOCH";
        /// Forget inodes that are not in use.
        Prune = 9, "PRUNE";
    }
}
