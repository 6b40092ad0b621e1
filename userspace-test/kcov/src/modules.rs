// SPDX-License-Identifier: GPL-2.0

//! Where a module's code is while it is loaded.

use std::{fs, io};

/// A section of a module's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section {
    /// As the module's file names it.
    pub name: String,
    /// Where it begins.
    pub start: u64,
}

/// The sections of a loaded module that hold code, by their addresses: those whose names begin with
/// `.text` or are `.exit.text` or the like. What ran when the module was loaded is gone.
///
/// # Errors
///
/// ENOENT when there is no such module; EACCES when one may not know.
pub fn sections(module: &str) -> io::Result<Vec<Section>> {
    let mut sections = Vec::new();
    for entry in fs::read_dir(format!("/sys/module/{module}/sections"))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        if name.contains("text") && !name.starts_with(".init") {
            let start = address(&fs::read_to_string(entry.path())?)?;
            sections.push(Section { name, start });
        }
    }
    sections.sort_by_key(|section| section.start);
    Ok(sections)
}

/// As the kernel writes them: `0xffffffffc0200000`, and a line feed.
fn address(text: &str) -> io::Result<u64> {
    let digits = text.trim().trim_start_matches("0x");
    u64::from_str_radix(digits, 16).map_err(|_| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_writes_them() {
        assert_eq!(address("0xffffffffc0200000\n").unwrap(), 0xffffffffc0200000);
        assert!(address("(null)").is_err());
    }
}
