// SPDX-License-Identifier: GPL-2.0

//! How much there is, and how much there may be.

use pathfs::{fuser::Errno, Result};
use std::{
    collections::HashSet,
    fs::{self, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::Path,
};

/// The sum of the sizes of all regular files. One with several names counts once; directories, links
/// and what is special do not count.
#[derive(Debug)]
pub(crate) struct Usage {
    pub total: u64,
    pub used: u64,
}

impl Usage {
    /// What is used in the directory `source`.
    ///
    /// # Errors
    ///
    /// What reading its directories gives; not that something went meanwhile.
    pub fn of(source: &Path, total: u64) -> io::Result<Self> {
        let mut usage = Self { total, used: 0 };
        let mut seen = HashSet::new();
        let mut dirs = vec![source.to_path_buf()];
        while let Some(dir) = dirs.pop() {
            let entries = match fs::read_dir(&dir) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && dir != source => continue,
                other => other?,
            };
            for entry in entries {
                let entry = entry?;
                let data = match entry.metadata() {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    other => other?,
                };
                if data.is_dir() {
                    dirs.push(entry.path());
                } else if data.nlink() < 2 || seen.insert((data.dev(), data.ino())) {
                    usage.change(0, size(&data));
                }
            }
        }
        Ok(usage)
    }

    /// Whether a file may become so large.
    ///
    /// # Errors
    ///
    /// EDQUOT when it may not. Not ENOSPC, which is what the disk says when it is full: here there is
    /// room, but not for this file system, and what helps is to remove something in it or to raise
    /// the quota. Programs have a message of its own for it: `Disk quota exceeded`.
    pub fn check(&self, before: u64, after: u64) -> Result<()> {
        match after.saturating_sub(before) {
            0 => Ok(()),
            more if more <= self.total.saturating_sub(self.used) => Ok(()),
            _ => Err(Errno::EDQUOT),
        }
    }

    /// A file has another size.
    pub fn change(&mut self, before: u64, after: u64) {
        self.used = self.used.saturating_sub(before).saturating_add(after);
    }
}

/// How much a file counts.
pub(crate) fn size(data: &Metadata) -> u64 {
    match data.is_file() {
        true => data.len(),
        false => 0,
    }
}
