// SPDX-License-Identifier: GPL-2.0

//! What outlives the guest: files in a folder of the host's.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicUsize, Ordering},
        Mutex, PoisonError,
    },
};

/// How many of the last inputs are there. What a splat is due to may have been a while ago.
const LAST: usize = 32;

/// That folder.
pub struct Share {
    dir: PathBuf,
    /// The last inputs, each with the length of its file.
    last: Mutex<Vec<(File, usize)>>,
    next: AtomicUsize,
    current: Mutex<String>,
    finds: AtomicUsize,
}

impl Share {
    /// Makes its parts.
    pub fn new(dir: &Path) -> io::Result<Self> {
        for part in ["last", "finds", "corpus"] {
            fs::create_dir_all(dir.join(part))?;
        }
        let open = |number| {
            let path = dir.join(format!("last/{number:02}.jsonl"));
            let mut options = OpenOptions::new();
            Ok((
                options.write(true).create(true).truncate(true).open(path)?,
                0,
            ))
        };
        Ok(Self {
            dir: dir.into(),
            last: Mutex::new((0..LAST).map(open).collect::<io::Result<_>>()?),
            next: AtomicUsize::new(0),
            current: Mutex::new(String::new()),
            finds: AtomicUsize::new(0),
        })
    }

    /// An input is about to be played: it is there whatever happens then.
    pub fn playing(&self, text: String) -> io::Result<()> {
        let number = self.next.fetch_add(1, Ordering::Relaxed) % LAST;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, len) = &mut last[number];
        // Empty lines mean nothing; to shorten the file as well would take another round trip.
        let mut whole = text.clone();
        let longer = len.saturating_sub(text.len());
        *len = text.len() + longer;
        whole.extend(std::iter::repeat_n('\n', longer));
        file.write_all_at(whole.as_bytes(), 0)?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = text;
        Ok(())
    }

    /// What is played led to something. The name of the find.
    pub fn find(&self, what: &str, about: &str) -> String {
        let number = self.finds.fetch_add(1, Ordering::Relaxed);
        let name = format!("{what}-{number}");
        let text = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let path = |ending| self.dir.join(format!("finds/{name}.{ending}"));
        for (ending, text) in [("jsonl", text.as_str()), ("txt", about)] {
            if let Err(error) = fs::write(path(ending), text) {
                println!("the find {name} cannot be kept: {error}");
            }
        }
        name
    }

    /// How many finds there are.
    pub fn finds(&self) -> usize {
        self.finds.load(Ordering::Relaxed)
    }

    /// Keeps a text.
    pub fn keep(&self, name: &str, text: &str) -> io::Result<()> {
        fs::write(self.dir.join(name), text)
    }
}
