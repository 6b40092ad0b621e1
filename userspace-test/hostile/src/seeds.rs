// SPDX-License-Identifier: GPL-2.0

//! What it begins with: honest sessions, of which each has one kind of call, or one kind of daemon.

use crate::{
    input::{Call, Deed, How, Input, Notify, Setup, Step, What},
    names::{Code, Features, Hex, Opcode},
    pieces,
};
use rawfuse::abi::{self, init_flags as f, open_flags, NotifyCode};

fn call(what: What, path: &str) -> Call {
    Call {
        path: path.into(),
        size: 4096,
        ..Call::new(what)
    }
}

fn with(setup: Setup, calls: Vec<Call>) -> Input {
    Input {
        setup,
        calls,
        steps: Vec::new(),
    }
}

fn features(flags: u64) -> Setup {
    let mut setup = Setup::default();
    setup.init.flags = Features(flags);
    setup
}

/// All that a daemon can agree to.
fn all_features() -> u64 {
    f::NAMES.iter().fold(0, |all, (_, bit)| all | bit)
}

/// A call of that kind that works.
fn usual(what: What) -> Call {
    use What::*;
    let (path, to, flags) = match what {
        Readlink => ("link", "", 0),
        Mknod => ("new", "", 0o10600),
        Mkdir => ("new", "", 0o755),
        Symlink => ("new", "hello", 0),
        Link => ("hello", "new", 0),
        Rmdir => ("dir/none", "", 0),
        Rename => ("hello", "new", 0),
        Open => ("new", "", (libc::O_RDWR | libc::O_CREAT) as u32),
        Tmpfile => ("", "", 0),
        Getdents => ("", "", 0),
        Chmod => ("hello", "", 0o600),
        Access => ("", "", 4),
        CopyFileRange => ("hello", "big", 0),
        Getxattr | Setxattr | Removexattr => ("hello", "user.name", 0),
        Ioctl => ("hello", "", 0xcfa0_6b04),
        Poll => ("hello", "", 1),
        Truncate | Ftruncate => ("hello", "", 0),
        _ => ("hello", "", 0),
    };
    Call {
        to: to.into(),
        flags,
        ..call(what, path)
    }
}

/// What a busy program does.
fn busy() -> Vec<Call> {
    use What::*;
    let by = |caller, call| Call { caller, ..call };
    vec![
        call(Getdents, ""),
        by(1, call(Stat, "hello")),
        call(Read, "big"),
        Call {
            file: 1,
            ..call(Pwrite, "dir/a")
        },
        by(1, call(MapRead, "big")),
        by(1, call(Write, "hello")),
        call(Fsync, "big"),
        by(1, usual(Rename)),
        usual(Mkdir),
        by(1, call(Close, "")),
        by(1, call(Unlink, "dir/b")),
    ]
}

/// One for each of these notifications, told before the last call is answered.
fn notified(at: usize) -> Input {
    let code = NotifyCode::ALL[at];
    let (node, name) = match code {
        NotifyCode::InvalEntry | NotifyCode::Delete => (1, "hello"),
        _ => (2, "hello"),
    };
    let offset = if code == NotifyCode::Delete { 2 } else { 0 };
    let notify = Notify {
        code: Code(code as i32),
        body: Hex(pieces::notification(at, node, name, offset, 13)),
        fill: if code == NotifyCode::Store { 13 } else { 0 },
        edits: Vec::new(),
        how: How::Write,
    };
    let mut input = with(
        features(all_features()),
        vec![call(What::Read, "hello"), call(What::Statfs, "")],
    );
    input.setup.valid = 3600;
    input.steps.push(Step {
        on: Some(Opcode(abi::Opcode::Statfs as u32)),
        before: vec![Deed::Notify(notify)],
        ..Default::default()
    });
    input
}

/// Daemons that have what most have not, and who asks for it.
fn special() -> Vec<Input> {
    use What::*;
    let valid = |setup| Setup {
        valid: 3600,
        ..setup
    };
    let handle = |path, at| Call {
        at,
        ..call(Handle, path)
    };
    let ioctl = |flags| Call {
        flags,
        ..call(Ioctl, "hello")
    };
    let acl = |what, path, to: &str| Call {
        to: to.into(),
        ..call(what, path)
    };
    let [access, default] = pieces::ACLS;
    let mut looked = with(Setup::default(), busy());
    looked.steps.push(Step {
        on: Some(Opcode(abi::Opcode::Read as u32)),
        before: vec![Deed::Look],
        ..Default::default()
    });
    vec![
        with(
            features(f::EXPORT_SUPPORT),
            vec![handle("dir/a", 0), handle("dir/a", 1), handle("dir", 1)],
        ),
        with(
            Setup::default(),
            pieces::FILE_ATTRIBUTES.iter().copied().map(ioctl).collect(),
        ),
        with(
            Setup {
                options: "allow_other,default_permissions".into(),
                ..valid(features(f::POSIX_ACL | f::DONT_MASK))
            },
            vec![
                acl(Getxattr, "hello", access),
                acl(Setxattr, "hello", access),
                usual(Access),
                acl(Setxattr, "dir", default),
                call(Mkdir, "dir/new"),
                usual(Chmod),
                acl(Removexattr, "hello", access),
            ],
        ),
        with(
            valid(features(f::CACHE_SYMLINKS)),
            vec![usual(Readlink), call(Lstat, "link"), usual(Readlink)],
        ),
        looked,
    ]
}

/// All of them.
pub fn all() -> Vec<Input> {
    let mut all = Vec::new();
    for what in What::ALL {
        all.push(with(
            features(f::POSIX_LOCKS | f::FLOCK_LOCKS),
            vec![usual(*what)],
        ));
    }
    for (_, bit) in f::NAMES {
        all.push(with(features(*bit), busy()));
    }
    for bit in 0..8 {
        let setup = Setup {
            open: 1 << bit,
            ..features(f::ASYNC_READ | f::DIRECT_IO_ALLOW_MMAP)
        };
        all.push(with(setup, busy()));
    }
    all.extend((0..NotifyCode::ALL.len()).map(notified));
    all.extend(special());
    let write_back = f::WRITEBACK_CACHE | f::ASYNC_READ | f::BIG_WRITES;
    let direct = Call {
        flags: (libc::O_RDWR | libc::O_DIRECT) as u32,
        ..call(What::Open, "big")
    };
    let mut direct_calls = vec![direct, call(What::Read, "big"), call(What::Pwrite, "big")];
    direct_calls.extend(busy());
    all.push(with(
        features(write_back),
        vec![call(What::MapWrite, "big"), call(What::Fsync, "big")],
    ));
    all.push(with(features(f::ASYNC_DIO), direct_calls));
    for setup in [
        Setup {
            splice: true,
            ..Setup::default()
        },
        Setup {
            sleeps: true,
            ..Setup::default()
        },
        Setup {
            clone: true,
            ..Setup::default()
        },
        Setup {
            sync_init: true,
            ..Setup::default()
        },
        Setup {
            block: true,
            ..Setup::default()
        },
        Setup {
            valid: 3600,
            options: "allow_other,default_permissions".into(),
            ..features(write_back | f::POSIX_ACL | f::CACHE_SYMLINKS | f::PARALLEL_DIROPS)
        },
        Setup {
            valid: 3600,
            open: open_flags::CACHE_DIR | open_flags::KEEP_CACHE,
            aborted: true,
            ..features(f::DO_READDIRPLUS | f::READDIRPLUS_AUTO)
        },
    ] {
        all.push(with(setup, busy()));
    }
    for what in [What::Syncfs, What::Ioctl] {
        let setup = Setup {
            block: true,
            ..Setup::default()
        };
        let call = Call {
            flags: 1,
            ..usual(what)
        };
        all.push(with(setup, vec![call]));
    }
    for minor in [4, 5, 8, 11, 12, 15, 22, 45] {
        let mut setup = Setup::default();
        setup.init.minor = minor;
        all.push(with(setup, busy()));
    }
    all
}
