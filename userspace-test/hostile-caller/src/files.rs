// SPDX-License-Identifier: GPL-2.0

//! The files that are served, and what is said where nobody knows the right answer.

use faultd::Files;
use rawfuse::{abi, Errno, Operation, Request};
use stackfs::Stack;
use std::sync::atomic::{AtomicU64, Ordering};
use zerocopy::{Immutable, IntoBytes};

/// Where the right answers come from.
pub enum Source {
    /// A directory.
    Stack(Box<Stack>),
    /// A directory that holds a file system.
    Kept(memd::Daemon),
}

/// Files that can be locked, asked and waited for, or so it seems: what the source does not know is
/// answered by luck, in a form that is right.
pub struct Everything {
    source: Source,
    luck: AtomicU64,
}

type Answer = Result<Vec<u8>, Errno>;

fn bytes<T: IntoBytes + Immutable>(out: &T) -> Answer {
    Ok(out.as_bytes().to_vec())
}

impl Everything {
    /// What is in `source`, and more.
    pub fn new(source: Source, seed: u64) -> Self {
        let luck = AtomicU64::new(seed);
        Self { source, luck }
    }

    fn honest(&self, request: &Request<'_>) -> Answer {
        let mut reply = Vec::new();
        match &self.source {
            Source::Stack(stack) => stack
                .answer(request, &mut reply)
                .map_err(|error| Errno::from_raw(error.raw_os_error()))?,
            Source::Kept(daemon) => daemon
                .answer(request, &mut reply)
                .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?,
        }
        Ok(reply)
    }

    fn luck(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.luck.fetch_add(1, Ordering::Relaxed))
    }

    fn invented(&self, request: &Request<'_>) -> Answer {
        let mut random = self.luck();
        match request.operation() {
            Ok(Operation::Getlk(arg)) => {
                let mut lk = arg.lk;
                if random.bool() {
                    lk.r#type = libc::F_UNLCK as u32;
                }
                bytes(&abi::LkOut { lk })
            }
            Ok(Operation::Setlk(_) | Operation::Setlkw(_)) => match random.u32(0..6) {
                0 => Err(Errno::EAGAIN),
                1 => Err(Errno::EINTR),
                _ => Ok(Vec::new()),
            },
            Ok(Operation::Ioctl { arg, .. }) => ioctl(arg, &mut random),
            Ok(Operation::Poll(arg)) => {
                let revents = arg.events & random.u32(..);
                bytes(&abi::PollOut {
                    revents,
                    ..Default::default()
                })
            }
            Ok(Operation::Access(_) | Operation::Syncfs(_)) if random.bool() => Ok(Vec::new()),
            _ => Err(Errno::ENOSYS),
        }
    }
}

/// What an `ioctl` gives: bytes for its caller, no more than there is room for; or where to look
/// first.
fn ioctl(arg: &abi::IoctlIn, random: &mut fastrand::Rng) -> Answer {
    let mut out = abi::IoctlOut {
        result: random.i32(-40..2),
        ..Default::default()
    };
    let mut data = vec![0x5a; random.u32(0..arg.out_size.min(1 << 14) + 1) as usize];
    if random.u32(0..8) == 0 {
        out.flags = abi::ioctl_flags::RETRY;
        out.in_iovs = random.u32(0..3);
        out.out_iovs = random.u32(0..3);
        let words = (out.in_iovs + out.out_iovs) as usize * 2;
        let place = |word| if word % 2 == 0 { arg.arg } else { 64 };
        data = (0..words)
            .flat_map(|word| place(word).to_ne_bytes())
            .collect();
    }
    Ok([out.as_bytes(), &data].concat())
}

impl Files for Everything {
    fn answer(&self, request: &Request<'_>) -> Answer {
        match self.honest(request) {
            Err(Errno::ENOSYS) => self.invented(request),
            answer => answer,
        }
    }
}
