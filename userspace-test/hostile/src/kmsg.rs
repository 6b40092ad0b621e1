// SPDX-License-Identifier: GPL-2.0

//! What the kernel says meanwhile.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
};

/// What a complaint has in it; the host has a longer list, and looks at all of the log.
const COMPLAINTS: &[&str] = &[
    "BUG:",
    "WARNING:",
    "INFO: task",
    "INFO: possible",
    "INFO: trying",
    "suspicious RCU",
    "inconsistent lock state",
    "KASAN:",
    "UBSAN:",
    "ODEBUG:",
    "panicked at",
    "refcount_t:",
    "list_add corruption",
    "list_del corruption",
];

/// The kernel's log, from now on.
pub struct Log(File);

impl Log {
    /// Opens it.
    pub fn open() -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let nonblocking = options.read(true).custom_flags(libc::O_NONBLOCK);
        let mut file = nonblocking.open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Self(file))
    }

    /// The first complaint in what was said since the last time.
    pub fn complaint(&mut self) -> Option<String> {
        let mut found = None;
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(len) => {
                    let text = String::from_utf8_lossy(&record[..len]);
                    // `level,number,time,flags;text`, and lines that begin with a space.
                    let text = text.lines().next().and_then(|line| line.split_once(';'));
                    let text = text.map(|(_, text)| text).unwrap_or_default();
                    if COMPLAINTS.iter().any(|each| text.contains(each)) {
                        found.get_or_insert(text.to_string());
                    }
                }
                // Some were overwritten before they were read.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => return found,
            }
        }
    }
}
