// SPDX-License-Identifier: GPL-2.0

//! What inputs are put together from.

use rawfuse::abi::{self, NotifyCode};
use zerocopy::IntoBytes;

/// Numbers at which something changes: sizes, limits, modes, nodes.
pub const NUMBERS: &[u64] = &[
    0,
    1,
    2,
    3,
    5,
    7,
    8,
    0x7f,
    0x80,
    0xff,
    0x100,
    511,
    512,
    513,
    4095,
    4096,
    4097,
    0x7fff,
    0x8000,
    0xffff,
    0x10000,
    0x20000,
    0x100000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x1_0000_0000,
    i64::MAX as u64 - 4095,
    i64::MAX as u64,
    i64::MIN as u64,
    u64::MAX - 1,
    u64::MAX,
    0o40755,
    0o100644,
    0o120777,
    0o20600,
    0o60600,
    0o10600,
    // How the first requests are named.
    2,
    3,
    0x8_0000_0002,
    0x8_0000_0003,
    1 << 63 | 0x8_0000_0002,
];

/// Sizes and offsets in bytes.
pub const SIZES: &[u32] = &[
    0, 1, 13, 100, 511, 512, 4095, 4096, 4097, 8192, 12_288, 40_000, 65_536, 131_072, 262_144,
    1_048_575, 1_048_576,
];

/// What calls are about: what the honest file system has, and what it has not.
pub const PATHS: &[&str] = &[
    "",
    "hello",
    "hello",
    "big",
    "big",
    "dir",
    "dir/a",
    "dir/b",
    "new",
    "dir/new",
    "link",
    "none",
    "dir/none/x",
];

/// What notifications are about.
pub const NAMES: &[&str] = &[
    "hello",
    "big",
    "dir",
    "a",
    "new",
    "none",
    ".",
    "",
    "with/slash",
];

/// The extended attributes that are access control lists: a file's, and what is made in a directory
/// gets.
pub const ACLS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];

/// Names of extended attributes.
pub const XATTRS: &[&str] = &[
    "user.name",
    "security.capability",
    ACLS[0],
    ACLS[1],
    "trusted.x",
    "user.",
];

/// Options of a mount.
pub const OPTIONS: &[&str] = &[
    "allow_other",
    "default_permissions",
    "allow_other,default_permissions",
    "max_read=4096",
    "max_read=0",
    "max_read=131072",
    "blksize=512",
    "blksize=4096",
    "blksize=1000",
    "recover",
    "subtype=x",
    "unknown",
    "user_id=99",
    "rootmode=100644",
];

/// Ways to open a file.
pub const OPEN_FLAGS: &[i32] = &[
    libc::O_RDONLY,
    libc::O_RDWR,
    libc::O_WRONLY,
    libc::O_RDWR | libc::O_CREAT,
    libc::O_RDWR | libc::O_CREAT | libc::O_EXCL,
    libc::O_RDWR | libc::O_TRUNC,
    libc::O_RDWR | libc::O_APPEND,
    libc::O_RDWR | libc::O_DIRECT,
    libc::O_RDWR | libc::O_DIRECT | libc::O_CREAT,
    libc::O_RDONLY | libc::O_DIRECTORY,
    libc::O_RDWR | libc::O_SYNC,
    libc::O_RDWR | libc::O_NONBLOCK,
    libc::O_PATH,
];

/// FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR.
pub const FILE_ATTRIBUTES: [u32; 4] = [0x8008_6601, 0x4008_6602, 0x801c_581f, 0x401c_5820];

/// FIONREAD, TCGETS, FIBMAP, those of a file's attributes, FIOQSIZE, FS_IOC_FIEMAP, FITRIM,
/// FS_IOC_MEASURE_VERITY, and some that are a file system's own: one without an argument, one to read,
/// one to write, one for both, of 4,000 bytes.
pub const IOCTLS: &[u32] = &[
    0x541b,
    0x5401,
    1,
    FILE_ATTRIBUTES[0],
    FILE_ATTRIBUTES[1],
    FILE_ATTRIBUTES[2],
    FILE_ATTRIBUTES[3],
    0x5460,
    0xc020_660b,
    0xc018_5879,
    0xc004_6686,
    0x6b01,
    0x8010_6b02,
    0x4010_6b03,
    0xcfa0_6b04,
];

/// Errors that are treated apart, or might be.
pub const ERRORS: &[i32] = &[
    libc::EPERM,
    libc::ENOENT,
    libc::EINTR,
    libc::EIO,
    libc::EAGAIN,
    libc::ENOMEM,
    libc::EACCES,
    libc::EEXIST,
    libc::ENOTDIR,
    libc::EINVAL,
    libc::ENOSYS,
    libc::ENODATA,
    libc::EOPNOTSUPP,
    libc::ESTALE,
    libc::ENOTCONN,
    libc::ECONNABORTED,
    libc::ERANGE,
    libc::ENOSPC,
    libc::EXDEV,
    libc::ENXIO,
    511,
    512,
    513,
    -1,
];

/// What follows the header of the notification at that place in [`NotifyCode::ALL`].
pub fn notification(at: usize, node: u64, name: &str, offset: u64, size: u32) -> Vec<u8> {
    let named = |head: &[u8]| [head, name.as_bytes(), &[0]].concat();
    let namelen = name.len() as u32;
    match NotifyCode::ALL.get(at) {
        Some(NotifyCode::Poll) => abi::NotifyPollWakeupOut { kh: node }.as_bytes().to_vec(),
        Some(NotifyCode::InvalInode) => abi::NotifyInvalInodeOut {
            ino: node,
            off: offset as i64,
            len: size.into(),
        }
        .as_bytes()
        .to_vec(),
        Some(NotifyCode::InvalEntry) => named(
            abi::NotifyInvalEntryOut {
                parent: node,
                namelen,
                flags: size & 1,
            }
            .as_bytes(),
        ),
        Some(NotifyCode::Delete) => named(
            abi::NotifyDeleteOut {
                parent: node,
                child: offset % 10,
                namelen,
                padding: 0,
            }
            .as_bytes(),
        ),
        Some(NotifyCode::Store) => abi::NotifyStoreOut {
            nodeid: node,
            offset,
            size,
            padding: 0,
        }
        .as_bytes()
        .to_vec(),
        Some(NotifyCode::Retrieve) => abi::NotifyRetrieveOut {
            notify_unique: 7,
            nodeid: node,
            offset,
            size,
            padding: 0,
        }
        .as_bytes()
        .to_vec(),
        Some(NotifyCode::Prune) => {
            let nodes = [node, 2, 3, 99];
            let head = abi::NotifyPruneOut {
                count: nodes.len() as u32,
                ..Default::default()
            };
            [head.as_bytes(), nodes.as_bytes()].concat()
        }
        Some(NotifyCode::Resend | NotifyCode::IncEpoch) => Vec::new(),
        None => node.as_bytes().to_vec(),
    }
}

/// Whether an extended attribute is an access control list.
pub fn is_acl(name: &[u8]) -> bool {
    ACLS.iter().any(|acl| acl.as_bytes() == name)
}

/// An access control list, as extended attributes have it: the owner, a user, the group, a mask, others.
pub fn acl() -> Vec<u8> {
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    let nobody = u32::MAX;
    for (tag, permissions, id) in [
        (1_u16, 6_u16, nobody),
        (2, 4, 1000),
        (4, 4, nobody),
        (16, 6, nobody),
        (32, 0, nobody),
    ] {
        bytes.extend(tag.to_le_bytes());
        bytes.extend(permissions.to_le_bytes());
        bytes.extend(id.to_le_bytes());
    }
    bytes
}
