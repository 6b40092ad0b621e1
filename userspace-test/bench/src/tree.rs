// SPDX-License-Identifier: GPL-2.0

//! What there is in the file systems that are measured, whoever serves them.

use crate::measure::MIB;
use std::{fs, io, path::Path};

/// A file that has a daemon asked for its attributes each time.
pub const FILE: &str = "file";
/// A file of which all holds for ever.
pub const CACHED: &str = "cached";
/// Not there.
pub const MISSING: &str = "missing";
/// To be made, and removed.
pub const NEW: &str = "new";
/// A file with [`DATA_SIZE`] bytes, used through the page cache.
pub const DATA: &str = "data";
/// The same, past the page cache.
pub const DIRECT: &str = "direct";
/// A file of [`DATA_SIZE`] bytes whose daemon reads nothing until it is asked for `statfs(2)`.
pub const HELD: &str = "held";
/// A directory with [`MANY_FILES`] in it.
pub const MANY: &str = "many";
/// A directory with [`MILLION_FILES`] in it.
pub const MILLION: &str = "million";

/// The size of a file with data.
pub const DATA_SIZE: usize = 16 * MIB;
/// How many files are in [`MANY`].
pub const MANY_FILES: u64 = 10_000;
/// How many files are in [`MILLION`].
pub const MILLION_FILES: u64 = 1_000_000;

/// The name of file `index` of a directory, always of the same length.
pub fn name(index: u64) -> [u8; 8] {
    let mut name = *b"n0000000";
    let mut rest = index;
    for digit in name[1..].iter_mut().rev() {
        // CAST: A digit.
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    name
}

/// Makes all but [`HELD`] and [`MILLION`] in `dir`.
pub fn make(dir: &Path) -> io::Result<()> {
    for file in [FILE, CACHED] {
        fs::write(dir.join(file), "")?;
    }
    for file in [DATA, DIRECT] {
        fs::write(dir.join(file), vec![0; DATA_SIZE])?;
    }
    let many = dir.join(MANY);
    fs::create_dir(&many)?;
    for index in 0..MANY_FILES {
        let name = name(index);
        fs::write(many.join(String::from_utf8_lossy(&name).as_ref()), "")?;
    }
    Ok(())
}
