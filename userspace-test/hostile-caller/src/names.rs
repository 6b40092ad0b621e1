// SPDX-License-Identifier: GPL-2.0

//! Names of files, good ones and odd ones, and what is there to begin with.

use anyhow::{Context, Result};
use fastrand::Rng;
use std::{
    ffi::CString,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
};

/// A program that can be executed, and is one of many in one.
const PROGRAM: &str = "program";
/// What it is called when it is.
pub const PROGRAM_NAME: &std::ffi::CStr = c"true";

const LINK: &str = "link";
const DIRS: [&str; 4] = ["d", "e", "d/f", "e/g/h"];
const FILES: [&str; 8] = ["a", "b", "c", "i", "j", LINK, "hello", PROGRAM];

/// The names below one directory.
#[derive(Clone, Debug)]
pub struct Names {
    root: PathBuf,
}

impl Names {
    /// Those below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// A path. Most of them begin with a slash.
    pub fn path(&self, random: &mut Rng) -> CString {
        let mut path = match random.u32(0..10) {
            0 => Vec::new(),
            _ => self.root.as_os_str().as_bytes().to_vec(),
        };
        if random.bool() {
            push(&mut path, one_of(random, &DIRS).as_bytes());
        }
        match random.u32(0..100) {
            0..5 => push(&mut path, one_of(random, &DIRS).as_bytes()),
            5..90 => push(&mut path, one_of(random, &FILES).as_bytes()),
            90..95 => {}
            _ => push(&mut path, &odd(random)),
        }
        path.retain(|byte| *byte != 0);
        CString::new(path).unwrap_or_default()
    }

    /// The path of a directory.
    pub fn dir(&self, random: &mut Rng) -> CString {
        let path = self
            .root
            .join(one_of(random, &["", "d", "e", "d/f", "e/g/h"]));
        CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
    }

    /// The path of the program.
    pub fn program(&self) -> CString {
        let path = self.root.join(PROGRAM);
        CString::new(path.as_os_str().as_bytes()).unwrap_or_default()
    }
}

fn one_of<'a>(random: &mut Rng, all: &[&'a str]) -> &'a str {
    all[random.usize(0..all.len())]
}

fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

/// What a name hardly is, but may be.
fn odd(random: &mut Rng) -> Vec<u8> {
    match random.u32(0..12) {
        0 => vec![b'n'; 255],
        1 => vec![b'n'; 256],
        2 => vec![b'n'; 1023],
        3 => vec![b'n'; 1025],
        4 => vec![b'n'; 4096],
        5 => b".".to_vec(),
        6 => b"..".to_vec(),
        7 => b"a/".to_vec(),
        8 => b"d//f/../f/./k".to_vec(),
        9 => vec![0xff, b'\n', b' ', 0x80],
        10 => b"loop".to_vec(),
        _ => (0..random.usize(1..20)).map(|_| random.u8(1..)).collect(),
    }
}

/// Makes what is there to begin with, in a directory that is served.
pub fn fill(dir: &Path) -> Result<()> {
    for name in DIRS {
        fs::create_dir_all(dir.join(name)).context("a directory")?;
    }
    for (number, name) in FILES.iter().enumerate() {
        for below in ["."].iter().chain(&DIRS) {
            let path = dir.join(below).join(name);
            match *name {
                LINK => symlink("a", path).context("a symbolic link")?,
                _ => fs::write(path, vec![b'x'; number * 9_000]).context("a file")?,
            }
        }
    }
    symlink("loop", dir.join("loop")).context("a symbolic link")?;
    // It is of no use where there is none: executing it is then refused.
    if fs::copy("/bin/busybox", dir.join(PROGRAM)).is_err() {
        fs::write(dir.join(PROGRAM), "#!/nowhere\n")?;
    }
    Ok(())
}
