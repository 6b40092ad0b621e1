// SPDX-License-Identifier: GPL-2.0

//! Which of the kernel's code a thread has run: KCOV, on a kernel that has it, for code that was
//! compiled for it (`KCOV_INSTRUMENT := y`).
//!
//! The kernel notes the address of each point of such code that the thread comes to, in memory that
//! is shared with it. One [`Coverage`] notes what one thread does, at a time; who made it reads
//! what was noted, also when the thread is another process's, forked since:
//!
//! ```no_run
//! # fn main() -> std::io::Result<()> {
//! let coverage = kcov::Coverage::new(1 << 16)?;
//! coverage.start()?;
//! std::fs::metadata("/mnt/hello")?;
//! coverage.stop()?;
//! for address in coverage.addresses() {
//!     println!("{address:#x}");
//! }
//! # Ok(()) }
//! ```

mod area;
mod modules;

pub use modules::{sections, Section};

use area::Area;
use nix::errno::Errno;
use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsRawFd,
};

/// Where the kernel has it.
pub const PATH: &str = "/sys/kernel/debug/kcov";

mod request {
    #![allow(unsafe_code, missing_docs)]

    use nix::{ioctl_write_int_bad, request_code_none, request_code_read};

    // All take a number, whatever the commands say of their arguments.
    ioctl_write_int_bad!(
        init_trace,
        request_code_read!(b'c', 1, size_of::<libc::c_ulong>())
    );
    ioctl_write_int_bad!(enable, request_code_none!(b'c', 100));
    ioctl_write_int_bad!(disable, request_code_none!(b'c', 101));
}

/// `KCOV_TRACE_PC`: each point, as often as it is come to.
const TRACE_PC: i32 = 0;

/// Notes what one thread runs.
#[derive(Debug)]
pub struct Coverage {
    file: File,
    area: Area,
}

impl Coverage {
    /// One that notes up to `words - 1` addresses (more are dropped), and notes nothing yet.
    ///
    /// # Errors
    ///
    /// ENOENT when the kernel has no KCOV, or debugfs is not mounted; EINVAL for fewer than two
    /// words.
    pub fn new(words: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(PATH)?;
        let size = i32::try_from(words).map_err(|_| Errno::EINVAL)?;
        request(&file, request::init_trace, size)?;
        let area = Area::map(&file, words)?;
        Ok(Self { file, area })
    }

    /// From here on what the calling thread does is noted, until [`stop`](Self::stop) or its end.
    /// What was noted before is forgotten.
    ///
    /// # Errors
    ///
    /// EBUSY when this one notes what another thread does, or something else notes what this
    /// thread does.
    pub fn start(&self) -> io::Result<()> {
        self.area.clear();
        request(&self.file, request::enable, TRACE_PC)
    }

    /// Nothing is noted any more. What was stays.
    ///
    /// # Errors
    ///
    /// EINVAL when the calling thread is not the one.
    pub fn stop(&self) -> io::Result<()> {
        request(&self.file, request::disable, 0)
    }

    /// Forgets what was noted so far, while it goes on.
    pub fn clear(&self) {
        self.area.clear();
    }

    /// How many addresses have been noted.
    pub fn len(&self) -> usize {
        self.area.len()
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// No more can be noted: there may be some that are missing.
    pub fn is_full(&self) -> bool {
        self.area.is_full()
    }

    /// The addresses in the kernel's code that were come to, in their order.
    pub fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        self.area.addresses()
    }
}

/// Commands of KCOV that take a number.
type Command = unsafe fn(i32, i32) -> nix::Result<i32>;

#[allow(unsafe_code)]
fn request(file: &File, command: Command, number: i32) -> io::Result<()> {
    // SAFETY: The commands that are used here take a number, and no pointer.
    unsafe { command(file.as_raw_fd(), number) }?;
    Ok(())
}
