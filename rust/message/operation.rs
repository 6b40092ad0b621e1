// SPDX-License-Identifier: GPL-2.0

//! One type per operation: what it sends, and what comes back.

use crate::abi::{self, Opcode};
use core::{marker::PhantomData, mem::size_of};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use zerocopy_derive::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An operation of the protocol.
pub(crate) trait Operation {
    /// Its number.
    const OPCODE: Opcode;
    /// The structure that its request begins with. Names and data follow it.
    type In: IntoBytes + Immutable;
    /// The structure that its reply begins with.
    type Out: FromBytes + Immutable + KnownLayout;
    /// What old daemons know of `In`.
    const OLD_IN: Option<Old> = None;
    /// What old daemons send of `Out`.
    const OLD_OUT: Option<Old> = None;
    /// What the kernel must give back when nobody takes the reply.
    const GRANTS: Grants = Grants::Nothing;

    /// All of that, for a message that is of no type any more.
    const KIND: &'static Kind = &Kind {
        opcode: Self::OPCODE,
        in_size: size_of::<Self::In>(),
        out_size: size_of::<Self::Out>(),
        old_in: Self::OLD_IN,
        old_out: Self::OLD_OUT,
        grants: Self::GRANTS,
    };
}

/// An [`Operation`], as a value.
pub(crate) struct Kind {
    pub(super) opcode: Opcode,
    in_size: usize,
    out_size: usize,
    old_in: Option<Old>,
    old_out: Option<Old>,
    pub(super) grants: Grants,
}

impl Kind {
    /// How many bytes a request's structure has, and how many of them a daemon of that minor
    /// version knows.
    pub(super) fn in_size(&self, minor: u32) -> (usize, usize) {
        (self.in_size, Old::size(self.old_in, minor, self.in_size))
    }

    /// How many bytes of its structure a daemon of that minor version replies with.
    pub(super) fn out_size(&self, minor: u32) -> usize {
        Old::size(self.old_out, minor, self.out_size)
    }
}

/// A structure was shorter once.
#[derive(Clone, Copy)]
pub(crate) struct Old {
    /// Minor protocol versions below this one have
    pub(crate) below: u32,
    /// only that many bytes of it.
    pub(crate) size: usize,
}

impl Old {
    /// How many of `size` bytes a daemon of that minor version knows.
    fn size(old: Option<Old>, minor: u32, size: usize) -> usize {
        match old {
            Some(old) if minor < old.below => old.size,
            _ => size,
        }
    }
}

/// What a successful reply entitles the kernel to, and has to be given back.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grants {
    Nothing,
    /// A reference to a node: given back by FORGET.
    Node,
    /// One to each node of a row of entries.
    Nodes,
    /// An open file: given back by RELEASE.
    File,
    /// An open directory: given back by RELEASEDIR.
    Directory,
    /// A node, and a file that is open on it: given back by RELEASE and then FORGET.
    NodeAndFile,
}

/// How long the reply to GETXATTR or LISTXATTR would be.
pub(crate) struct SizeOf<O>(PhantomData<O>);

impl<O: Operation<In = abi::GetxattrIn>> Operation for SizeOf<O> {
    const OPCODE: Opcode = O::OPCODE;
    type In = abi::GetxattrIn;
    type Out = abi::GetxattrOut;
}

macro_rules! operations {
    ($(
        $(#[$meta:meta])*
        $name:ident: $in:ty => $out:ty $({ $($const:ident: $type:ty = $value:expr;)* })?
    )*) => {
        $(
            $(#[$meta])*
            pub(crate) struct $name;

            impl Operation for $name {
                const OPCODE: Opcode = Opcode::$name;
                type In = $in;
                type Out = $out;
                $($(const $const: $type = $value;)*)?
            }
        )*
    };
}

const OLD_ENTRY: Option<Old> = Some(Old {
    below: 9,
    size: abi::EntryOut::COMPAT_SIZE,
});

/// The reply to CREATE and TMPFILE.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct Created {
    /// What was made.
    pub(crate) entry: abi::EntryOut,
    /// What was opened.
    pub(crate) open: abi::OpenOut,
}

/// Old daemons know the flags and the mode.
const OLD_CREATE: Option<Old> = Some(Old { below: 12, size: 8 });

/// With old daemons, the first of the two structures is shorter.
const OLD_CREATED: Option<Old> = Some(Old {
    below: 9,
    size: abi::EntryOut::COMPAT_SIZE + size_of::<abi::OpenOut>(),
});

operations! {
    /// Sends what the kernel can do; the reply, of which old daemons send less, says what the daemon
    /// wants of it.
    Init: abi::InitIn => ()
    /// Says goodbye.
    Destroy: () => ()
    /// Finds a name in a directory.
    Lookup: () => abi::EntryOut {
        OLD_OUT: Option<Old> = OLD_ENTRY;
        GRANTS: Grants = Grants::Node;
    }
    /// Brings data that the daemon has asked for. There is no reply.
    NotifyReply: abi::NotifyRetrieveIn => ()
    /// Makes a file of any type.
    Mknod: abi::MknodIn => abi::EntryOut {
        OLD_IN: Option<Old> = Some(Old { below: 12, size: abi::MknodIn::COMPAT_SIZE });
        OLD_OUT: Option<Old> = OLD_ENTRY;
        GRANTS: Grants = Grants::Node;
    }
    /// Makes a file and opens it.
    Create: abi::CreateIn => Created {
        OLD_IN: Option<Old> = OLD_CREATE;
        OLD_OUT: Option<Old> = OLD_CREATED;
        GRANTS: Grants = Grants::NodeAndFile;
    }
    /// Makes a file without a name and opens it.
    Tmpfile: abi::CreateIn => Created {
        OLD_IN: Option<Old> = OLD_CREATE;
        OLD_OUT: Option<Old> = OLD_CREATED;
        GRANTS: Grants = Grants::NodeAndFile;
    }
    /// Makes a directory.
    Mkdir: abi::MkdirIn => abi::EntryOut {
        OLD_OUT: Option<Old> = OLD_ENTRY;
        GRANTS: Grants = Grants::Node;
    }
    /// Makes a symbolic link; its text follows the name.
    Symlink: () => abi::EntryOut {
        OLD_OUT: Option<Old> = OLD_ENTRY;
        GRANTS: Grants = Grants::Node;
    }
    /// Gives a node one more name.
    Link: abi::LinkIn => abi::EntryOut {
        OLD_OUT: Option<Old> = OLD_ENTRY;
        GRANTS: Grants = Grants::Node;
    }
    /// Takes a name from what is not a directory.
    Unlink: () => ()
    /// Takes the name from an empty directory.
    Rmdir: () => ()
    /// Gives what has a name another one, which follows it.
    Rename: abi::RenameIn => ()
    /// The same, with flags.
    Rename2: abi::Rename2In => ()
    /// Asks for attributes.
    Getattr: abi::GetattrIn => abi::AttrOut {
        OLD_OUT: Option<Old> = Some(Old { below: 9, size: abi::AttrOut::COMPAT_SIZE });
    }
    /// Changes attributes.
    Setattr: abi::SetattrIn => abi::AttrOut {
        OLD_OUT: Option<Old> = Some(Old { below: 9, size: abi::AttrOut::COMPAT_SIZE });
    }
    /// Asks for attributes that only statx(2) has; the reply is a
    /// [`StatxOut`](abi::StatxOut).
    Statx: abi::StatxIn => ()
    /// Makes sure that all that was written reaches what keeps it.
    Syncfs: abi::SyncfsIn => ()
    /// Gets the value of an extended attribute, whose name follows; the reply is the value.
    Getxattr: abi::GetxattrIn => ()
    /// Gets the names of all extended attributes; the reply is a row of them.
    Listxattr: abi::GetxattrIn => ()
    /// Sets the value of an extended attribute: as much of a [`SetxattrIn`](abi::SetxattrIn) as was
    /// agreed on, the name, and the value.
    Setxattr: () => ()
    /// Removes an extended attribute, whose name follows.
    Removexattr: () => ()
    /// Asks whether access would be allowed.
    Access: abi::AccessIn => ()
    /// Reads a symbolic link; the reply is its text.
    Readlink: () => ()
    /// Opens a file.
    Open: abi::OpenIn => abi::OpenOut {
        GRANTS: Grants = Grants::File;
    }
    /// Reads from an open file; the reply is data.
    Read: abi::ReadIn => ()
    /// Writes to an open file; the request carries the data.
    Write: abi::WriteIn => abi::WriteOut {
        OLD_IN: Option<Old> = Some(Old { below: 9, size: abi::WriteIn::COMPAT_SIZE });
    }
    /// A descriptor of an open file was closed.
    Flush: abi::FlushIn => ()
    /// Brings an open file to stable storage.
    Fsync: abi::FsyncIn => ()
    /// Allocates or frees a range of an open file.
    Fallocate: abi::FallocateIn => ()
    /// Finds data or a hole in an open file.
    Lseek: abi::LseekIn => abi::LseekOut
    /// Copies a range of an open file to another.
    CopyFileRange: abi::CopyFileRangeIn => abi::WriteOut
    /// The same, of any length.
    CopyFileRange64: abi::CopyFileRangeIn => abi::CopyFileRangeOut
    /// Asks where on the block device a block of a file is.
    Bmap: abi::BmapIn => abi::BmapOut
    /// An open file is no longer used.
    Release: abi::ReleaseIn => ()
    /// Asks which lock is in the way of one.
    Getlk: abi::LkIn => abi::LkOut
    /// Takes or gives up a lock.
    Setlk: abi::LkIn => ()
    /// The same, after others have given up theirs.
    Setlkw: abi::LkIn => ()
    /// Does what has no operation of its own. Data follows, and follows the reply.
    Ioctl: abi::IoctlIn => abi::IoctlOut
    /// Asks what an open file is ready for.
    Poll: abi::PollIn => abi::PollOut
    /// Opens a directory.
    Opendir: abi::OpenIn => abi::OpenOut {
        GRANTS: Grants = Grants::Directory;
    }
    /// Brings an open directory to stable storage.
    Fsyncdir: abi::FsyncIn => ()
    /// Reads entries of an open directory; the reply is a row of them.
    Readdir: abi::ReadIn => ()
    /// Reads entries of an open directory and looks them up; the reply is a row of both.
    Readdirplus: abi::ReadIn => () {
        GRANTS: Grants = Grants::Nodes;
    }
    /// An open directory is no longer used.
    Releasedir: abi::ReleaseIn => ()
    /// Asks for sizes and counts of the file system.
    Statfs: () => abi::StatfsOut {
        OLD_OUT: Option<Old> = Some(Old { below: 4, size: abi::StatfsOut::COMPAT_SIZE });
    }
}
