// SPDX-License-Identifier: GPL-2.0

//! A system call for each kind of request that a caller can make and wait for.

use crate::{
    fs::Req,
    model::{self, Answer, Model, DIR},
    sys,
};
use nix::fcntl::{fallocate, FallocateFlags};
use rawfuse::{
    abi::{open_flags, LseekOut, Opcode},
    Operation,
};
use std::{
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
    /// The call, with the mount point.
    pub call: fn(&Path) -> io::Result<()>,
}

const fn asking(opcode: Opcode, call: fn(&Path) -> io::Result<()>) -> Asking {
    Asking { opcode, call }
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
];

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
        model
    }

    /// Whether a reply is nothing but its header.
    pub fn has_empty_reply(&self) -> bool {
        use Opcode::*;
        matches!(
            self.opcode,
            Access | Unlink | Rmdir | Rename | Rename2 | Flush | Fsync | Fallocate | Fsyncdir
        )
    }
}

/// What a daemon answers: all goes well.
pub fn answer(model: &mut Model, req: &Req) -> Answer {
    match req.operation() {
        Operation::Fsync(_) | Operation::Fsyncdir(_) | Operation::Fallocate(_) => {
            Answer::Bytes(Vec::new())
        }
        Operation::Lseek(arg) => model::answer(&LseekOut { offset: arg.offset }),
        _ => model.answer(req),
    }
}
