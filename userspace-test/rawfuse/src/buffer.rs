// SPDX-License-Identifier: GPL-2.0

//! Where requests are read to.

use crate::abi;
use zerocopy::IntoBytes;

/// Memory for one request, aligned so that the structures in it can be used where they are.
pub struct Buffer {
    words: Vec<u64>,
}

impl Buffer {
    /// Room for 128 KiB of data in a `WRITE`, and for the headers before it.
    pub const DEFAULT_SIZE: usize = 128 * 1024 + 4096;

    /// A buffer of `size` bytes, rounded up to the next multiple of 8.
    ///
    /// The kernel refuses to read into less than [`abi::MIN_READ_BUFFER`] bytes, and into less
    /// than the headers of a `WRITE` and the `max_write` that was settled by `INIT`.
    pub fn new(size: usize) -> Self {
        Self {
            words: vec![0; size.div_ceil(size_of::<u64>())],
        }
    }

    /// A buffer for a daemon that takes up to `max_write` bytes in a `WRITE`.
    pub fn for_max_write(max_write: usize) -> Self {
        Self::new(abi::MIN_READ_BUFFER.max(max_write + 4096))
    }

    /// All of its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.words.as_bytes()
    }

    /// All of its bytes, to be written to.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.words.as_mut_bytes()
    }
}
