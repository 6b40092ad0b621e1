// SPDX-License-Identifier: GPL-2.0

//! Looking at the clock.

use nix::time::{clock_gettime, ClockId};
use std::io;

/// Bytes in a MiB.
pub const MIB: usize = 1 << 20;

/// How often an operation is done.
#[derive(Clone, Copy)]
pub struct Batches {
    /// Batches that are measured, after as many that are not.
    pub count: usize,
    /// Operations between two looks at the clock, which has a price too.
    pub size: usize,
}

/// What one operation costs: the median of the batches. `prepare` is done before each batch, and
/// not measured; `operation` is told how many of the batch were before it.
pub fn cost(
    batches: Batches,
    mut prepare: impl FnMut() -> io::Result<()>,
    mut operation: impl FnMut(usize) -> io::Result<()>,
) -> io::Result<u64> {
    let mut batch = || -> io::Result<u64> {
        prepare()?;
        let start = now()?;
        for index in 0..batches.size {
            operation(index)?;
        }
        // CAST: `usize` to `u64` on a 64-bit machine.
        Ok((now()? - start) / batches.size as u64)
    };
    for _ in 0..batches.count {
        batch()?;
    }
    let mut costs = (0..batches.count)
        .map(|_| batch())
        .collect::<io::Result<Vec<_>>>()?;
    costs.sort_unstable();
    Ok(costs[costs.len() / 2])
}

fn now() -> nix::Result<u64> {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC)?;
    Ok(time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64)
}
