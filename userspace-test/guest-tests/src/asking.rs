// SPDX-License-Identifier: GPL-2.0

//! A system call for each kind of request that comes from one.

use crate::{
    fs::Req,
    model::{self, plus, Answer, Model, DIR},
    sys, system, xattrs,
};
use nix::{
    fcntl::{fallocate, FallocateFlags},
    poll::{poll, PollFd, PollFlags, PollTimeout},
};
use rawfuse::{
    abi::{self, init_flags, open_flags, Opcode},
    Errno, Operation,
};
use std::{
    fmt,
    fs::File,
    io::{self, Read, Write},
    mem::forget,
    os::{
        fd::AsFd,
        unix::fs::{symlink, PermissionsExt},
    },
    path::Path,
};

/// A system call that makes one kind of request, after some others.
pub struct Asking {
    /// The kind.
    pub opcode: Opcode,
    /// What has to be agreed on in INIT: some of [`init_flags`].
    pub flags: u64,
    /// It goes to file systems on block devices only.
    pub on_block_device: bool,
    /// The call does not wait for the reply.
    pub is_left_alone: bool,
    /// The call, with the mount point.
    pub call: fn(&Path) -> io::Result<()>,
}

const fn asking(opcode: Opcode, call: fn(&Path) -> io::Result<()>) -> Asking {
    Asking {
        opcode,
        flags: 0,
        on_block_device: false,
        is_left_alone: false,
        call,
    }
}

impl Asking {
    const fn with(self, flags: u64) -> Self {
        Self { flags, ..self }
    }

    const fn on_block_device(self) -> Self {
        Self {
            on_block_device: true,
            ..self
        }
    }

    const fn left_alone(self) -> Self {
        Self {
            is_left_alone: true,
            ..self
        }
    }
}

/// Its opcode, and what makes it different from others of that opcode.
impl fmt::Display for Asking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (flags {:#x})", self.opcode.name(), self.flags)
    }
}

/// All of them, on what [`Model`] has.
pub const ALL: &[Asking] = &[
    asking(Opcode::Lookup, |dir| sys::stat(&dir.join("file")).map(drop)),
    asking(Opcode::Getattr, |dir| sys::stat(dir).map(drop)),
    asking(Opcode::Setattr, |dir| {
        std::fs::set_permissions(dir.join("file"), PermissionsExt::from_mode(0o600))
    }),
    asking(Opcode::Access, |dir| sys::access(dir, libc::R_OK)),
    asking(Opcode::Readlink, |dir| {
        sys::readlink(&dir.join("link")).map(drop)
    }),
    asking(Opcode::Mknod, |dir| {
        sys::mknod(&dir.join("new"), libc::S_IFIFO | 0o600, 0)
    }),
    asking(Opcode::Mkdir, |dir| std::fs::create_dir(dir.join("new"))),
    asking(Opcode::Symlink, |dir| symlink("target", dir.join("new"))),
    asking(Opcode::Link, |dir| {
        std::fs::hard_link(dir.join("file"), dir.join("new"))
    }),
    asking(Opcode::Unlink, |dir| std::fs::remove_file(dir.join("file"))),
    asking(Opcode::Rmdir, |dir| std::fs::remove_dir(dir.join("dir"))),
    asking(Opcode::Rename, |dir| {
        sys::rename(&dir.join("file"), &dir.join("new"), 0)
    }),
    asking(Opcode::Rename2, |dir| {
        sys::rename(&dir.join("file"), &dir.join("new"), libc::RENAME_NOREPLACE)
    }),
    asking(Opcode::Open, |dir| open(dir).map(forget)),
    asking(Opcode::Read, |dir| {
        with_file(dir, |file| file.read(&mut [0; 8]).map(drop))
    }),
    asking(Opcode::Write, |dir| {
        with_file(dir, |file| file.write_all(b"written"))
    }),
    asking(Opcode::Flush, |dir| Ok(nix::unistd::close(open(dir)?)?)),
    asking(Opcode::Fsync, |dir| with_file(dir, |file| file.sync_all())),
    asking(Opcode::Fallocate, |dir| {
        with_file(dir, |file| {
            Ok(fallocate(file, FallocateFlags::empty(), 0, 4096)?)
        })
    }),
    asking(Opcode::Lseek, |dir| {
        with_file(dir, |file| {
            sys::lseek(file.as_fd(), 0, libc::SEEK_DATA).map(drop)
        })
    }),
    asking(Opcode::Opendir, |dir| {
        sys::open_with(dir, libc::O_DIRECTORY).map(forget)
    }),
    asking(Opcode::Readdir, |dir| {
        with_dir(dir, |dir| sys::getdents(dir, 4096).map(drop))
    }),
    asking(Opcode::Fsyncdir, |dir| with_dir(dir, |dir| dir.sync_all())),
    asking(Opcode::Statfs, |dir| {
        Ok(nix::sys::statfs::statfs(dir).map(drop)?)
    }),
    asking(Opcode::Create, |dir| {
        sys::open_with(&dir.join("new"), libc::O_CREAT | libc::O_RDWR).map(forget)
    }),
    asking(Opcode::Tmpfile, |dir| {
        sys::open_with(dir, libc::O_TMPFILE | libc::O_RDWR).map(forget)
    }),
    asking(Opcode::Readdirplus, |dir| {
        with_dir(dir, |dir| sys::getdents(dir, 4096).map(drop))
    })
    .with(init_flags::DO_READDIRPLUS),
    asking(Opcode::Statx, |dir| {
        sys::statx(&dir.join("file"), 0, libc::STATX_BTIME).map(drop)
    }),
    asking(Opcode::Getxattr, |dir| {
        xattrs::get(&dir.join("file"), NAME, 100).map(drop)
    }),
    asking(Opcode::Listxattr, |dir| {
        xattrs::list(&dir.join("file"), 100).map(drop)
    }),
    asking(Opcode::Setxattr, |dir| {
        xattrs::set(&dir.join("file"), NAME, b"value", 0)
    }),
    asking(Opcode::Removexattr, |dir| {
        xattrs::remove(&dir.join("file"), NAME)
    }),
    asking(Opcode::Getlk, |dir| lock(dir, libc::F_GETLK)).with(init_flags::POSIX_LOCKS),
    asking(Opcode::Setlk, |dir| lock(dir, libc::F_SETLK)).with(init_flags::POSIX_LOCKS),
    asking(Opcode::Setlkw, |dir| lock(dir, libc::F_SETLKW)).with(init_flags::POSIX_LOCKS),
    asking(Opcode::Setlkw, |dir| {
        with_file(dir, |file| sys::flock(file, libc::LOCK_EX))
    })
    .with(init_flags::FLOCK_LOCKS),
    asking(Opcode::Ioctl, |dir| {
        with_file(dir, |file| {
            sys::ioctl_number(file, PLAIN_IOCTL, 0).map(drop)
        })
    }),
    asking(Opcode::Poll, |dir| {
        with_file(dir, |file| {
            let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::ZERO)?;
            match fds[0].revents() {
                Some(PollFlags::POLLIN) => Ok(()),
                // It has no other way to tell.
                _ => Err(Errno::EIO.into()),
            }
        })
    }),
    asking(Opcode::CopyFileRange64, |dir| {
        with_file(dir, |file| {
            sys::copy_file_range((file, 0), (file, 4096), 8).map(drop)
        })
    }),
    asking(Opcode::Read, |dir| {
        with_file(dir, |file| file.read(&mut [0; 8]).map(drop))
    })
    .with(init_flags::ASYNC_READ),
    asking(Opcode::Write, |dir| {
        with_file(dir, |file| {
            file.write_all(b"written back")?;
            file.sync_data()
        })
    })
    .with(init_flags::WRITEBACK_CACHE),
    asking(Opcode::Syncfs, |dir| {
        with_dir(dir, |dir| Ok(nix::unistd::syncfs(dir)?))
    })
    .on_block_device(),
    asking(Opcode::Bmap, |dir| {
        with_file(dir, |file| {
            let mut block = 0_u32.to_ne_bytes();
            sys::ioctl_bytes(file, FIBMAP, &mut block).map(drop)
        })
    })
    .on_block_device(),
    asking(Opcode::Release, |dir| open(dir).map(drop)).left_alone(),
    asking(Opcode::Releasedir, |dir| {
        sys::open_with(dir, libc::O_DIRECTORY).map(drop)
    })
    .left_alone(),
    asking(Opcode::Forget, |dir| {
        sys::stat(&dir.join("file"))?;
        system::try_drop_caches(2)
    })
    .left_alone(),
];

/// Of an extended attribute.
const NAME: &str = "user.name";
/// `_IO('T', 1)`: no data.
const PLAIN_IOCTL: u32 = 0x5401;
/// `_IO(0, 1)`, which has data all the same.
const FIBMAP: u32 = 1;

fn open(dir: &Path) -> io::Result<File> {
    sys::open_with(&dir.join("file"), libc::O_RDWR)
}

/// Does something with the file, and leaves it open.
fn with_file(dir: &Path, action: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = open(dir)?;
    let result = action(&mut file);
    forget(file);
    result
}

fn lock(dir: &Path, command: i32) -> io::Result<()> {
    with_file(dir, |file| {
        let mut lock = sys::file_lock(libc::F_WRLCK, 3, 10);
        sys::fcntl_lock(file, command, &mut lock)
    })
}

/// Does something with the root directory, and leaves it open.
fn with_dir(dir: &Path, action: impl FnOnce(&File) -> io::Result<()>) -> io::Result<()> {
    let dir = sys::open_with(dir, libc::O_DIRECTORY)?;
    let result = action(&dir);
    forget(dir);
    result
}

impl Asking {
    /// What a daemon serves. Who exits with an open file does not wait for it, but where this is
    /// what is asked for.
    pub fn model(&self) -> Model {
        let mut model = Model::cached();
        if self.opcode != Opcode::Flush {
            model.open_flags = open_flags::NOFLUSH;
        }
        if self.opcode == Opcode::Rmdir {
            model.node(DIR).entries.clear();
        }
        model.readdirplus = plus::row;
        model
    }

    /// Whether a reply is nothing but its header.
    pub fn has_empty_reply(&self) -> bool {
        use Opcode::*;
        matches!(
            self.opcode,
            Access
                | Unlink
                | Rmdir
                | Rename
                | Rename2
                | Flush
                | Fsync
                | Fallocate
                | Fsyncdir
                | Setxattr
                | Removexattr
                | Setlk
                | Setlkw
                | Syncfs
                | Release
                | Releasedir
        )
    }

    /// Whether this request is of that kind. Several forgets come as one.
    pub fn is_made_by(&self, req: &Req) -> bool {
        match req.opcode() {
            Opcode::BatchForget => self.opcode == Opcode::Forget,
            opcode => opcode == self.opcode,
        }
    }
}

/// What a daemon answers: all goes well.
pub fn answer(model: &mut Model, req: &Req) -> Answer {
    let nothing = Answer::Bytes(Vec::new());
    match req.operation() {
        Operation::Fsync(_)
        | Operation::Fsyncdir(_)
        | Operation::Fallocate(_)
        | Operation::Syncfs(_)
        | Operation::Setxattr { .. }
        | Operation::Removexattr { .. }
        | Operation::Setlk(_)
        | Operation::Setlkw(_) => nothing,
        Operation::Lseek(arg) => model::answer(&abi::LseekOut { offset: arg.offset }),
        Operation::Getxattr { name, .. } if name == NAME => Answer::Bytes(b"value".into()),
        // The kernel asks for a capability before it writes.
        Operation::Getxattr { .. } => Answer::Error(Errno::ENODATA),
        Operation::Listxattr(_) => Answer::Bytes(b"user.name\0".into()),
        Operation::Getlk(arg) => model::answer(&abi::LkOut {
            lk: abi::FileLock {
                r#type: libc::F_UNLCK as u32,
                ..arg.lk
            },
        }),
        Operation::Ioctl { .. } => model::answer(&abi::IoctlOut::default()),
        Operation::Poll(_) => model::answer(&abi::PollOut {
            revents: PollFlags::POLLIN.bits() as u32,
            padding: 0,
        }),
        Operation::CopyFileRange64(arg) => model::answer(&abi::CopyFileRangeOut {
            bytes_copied: arg.len,
        }),
        Operation::Bmap(arg) => model::answer(&abi::BmapOut { block: arg.block }),
        Operation::Statx(_) => {
            let attr = model.node(req.nodeid()).attr;
            model::answer(&abi::StatxOut {
                stat: abi::Statx {
                    mask: libc::STATX_BASIC_STATS | libc::STATX_BTIME,
                    mode: attr.mode as u16,
                    nlink: attr.nlink,
                    ino: attr.ino,
                    size: attr.size,
                    ..Default::default()
                },
                ..Default::default()
            })
        }
        _ => model.answer(req),
    }
}
