// SPDX-License-Identifier: GPL-2.0

//! The least of a daemon: one file, whose name stays valid and whose attributes do not.

use rawfuse::{
    abi::{self, init_flags},
    answer_init, Buffer, Channel, Errno, InitConfig, Kind, Mount, MountOptions, Operation, Request,
};
use std::{io, path::Path, thread};

/// Mounts the file system on `target`.
pub fn mount(kind: Kind, target: &Path) -> io::Result<(Channel, Mount)> {
    let channel = Channel::open(&kind)?;
    let mount = MountOptions::new(kind).mount(&channel, target)?;
    Ok((channel, mount))
}

/// Answers requests by so many threads, until the file system is gone.
pub fn serve(channel: &Channel, threads: usize) {
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                if let Err(error) = answer_all(channel) {
                    eprintln!("stat-cost: the daemon: {error}");
                }
            });
        }
    });
}

fn answer_all(channel: &Channel) -> io::Result<()> {
    let mut buffer = Buffer::new(Buffer::DEFAULT_SIZE);
    while let Some(request) = channel.receive(&mut buffer)? {
        answer(channel, &request)?;
    }
    Ok(())
}

fn answer(channel: &Channel, request: &Request<'_>) -> io::Result<()> {
    let unique = request.unique();
    match request.operation() {
        Ok(Operation::Getattr(_)) => {
            let out = abi::AttrOut {
                attr: attr(request.nodeid()),
                ..Default::default()
            };
            channel.reply(unique, &out)
        }
        Ok(Operation::Lookup { name }) if name == "file" => {
            let out = abi::EntryOut {
                nodeid: 2,
                entry_valid: 1 << 32,
                attr: attr(2),
                ..Default::default()
            };
            channel.reply(unique, &out)
        }
        Ok(Operation::Init(_)) => {
            let config = InitConfig {
                flags: init_flags::PARALLEL_DIROPS,
                ..Default::default()
            };
            answer_init(channel, request, &config).map(drop)
        }
        _ if request.has_reply() => channel.reply_error(unique, Errno::ENOSYS),
        _ => Ok(()),
    }
}

fn attr(nodeid: u64) -> abi::Attr {
    let mode = match nodeid {
        abi::ROOT_ID => libc::S_IFDIR | 0o755,
        _ => libc::S_IFREG | 0o644,
    };
    abi::Attr {
        ino: nodeid,
        mode,
        nlink: 1,
        ..Default::default()
    }
}
