// SPDX-License-Identifier: GPL-2.0

//! Serving by several threads.

use std::{io, thread};

/// Has `count` threads do the same work, and waits until all have ended. Each reads and answers
/// requests of its own, of one [`Channel`](crate::Channel) or of several.
///
/// # Errors
///
/// The first that one of them gives, and when one of them panicked.
pub fn in_threads<T: Send>(
    count: usize,
    work: impl Fn() -> io::Result<T> + Sync,
) -> io::Result<()> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..count).map(|_| scope.spawn(&work)).collect();
        for worker in workers {
            worker
                .join()
                .map_err(|_| io::Error::other("a thread panicked"))??;
        }
        Ok(())
    })
}
