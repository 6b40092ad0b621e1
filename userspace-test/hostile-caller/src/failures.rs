// SPDX-License-Identifier: GPL-2.0

//! Allocations that fail, of callers and at random (`failslab`, `fail_page_alloc`:
//! Documentation/fault-injection/fault-injection.rst).

use std::{
    cell::{Cell, OnceCell},
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

const KINDS: [&str; 2] = ["failslab", "fail_page_alloc"];

fn dir(kind: &str) -> std::path::PathBuf {
    Path::new("/sys/kernel/debug").join(kind)
}

/// Whether this kernel can do it.
pub fn can() -> bool {
    KINDS
        .iter()
        .all(|kind| dir(kind).join("probability").exists())
}

fn set(settings: &[(&str, &str)]) -> io::Result<()> {
    for kind in KINDS {
        for (name, value) in settings {
            // Not each kind has all of them.
            let file = dir(kind).join(name);
            if file.exists() {
                fs::write(file, value)?;
            }
        }
    }
    Ok(())
}

/// From now on, one of so many allocations fails, of threads that want it; none for 0.
pub fn one_in(count: u32) -> io::Result<()> {
    let interval = count.to_string();
    set(&[
        ("verbose", "0"),
        ("task-filter", "Y"),
        ("cache-filter", "Y"),
        ("ignore-gfp-wait", "N"),
        ("ignore-gfp-highmem", "N"),
        ("min-order", "0"),
        ("times", "-1"),
        ("interval", &interval),
        ("probability", if count == 0 { "0" } else { "100" }),
    ])
}

/// Says once which caches it is about: all but those of the leak detector, which gives up for good when
/// it finds no memory.
pub fn set_up() -> io::Result<()> {
    for cache in fs::read_dir("/sys/kernel/slab")? {
        let cache = cache?;
        if !cache.file_name().to_string_lossy().starts_with("kmemleak") {
            // One that was merged with others has no such switch, which then is with them.
            let _ = fs::write(cache.path().join("failslab"), "1");
        }
    }
    one_in(0)
}

/// How often a switch is tried: it is not to fail for the lack of memory that it is to end.
const TRIES: usize = 1000;

thread_local! {
    /// Says whether the thread's allocations fail; nothing when it does not want that.
    static SWITCH: OnceCell<File> = const { OnceCell::new() };
    /// In how many things at once the thread is spared: a signal may come in the middle of one.
    static SPARED: Cell<u32> = const { Cell::new(0) };
}

fn switch(text: &str) {
    SWITCH.with(|switch| {
        let write = |file: &File| file.write_all_at(text.as_bytes(), 0);
        if let Some(file) = switch.get() {
            // Else it stays as it is.
            let _ = (0..TRIES).any(|_| write(file).is_ok());
        }
    });
}

/// The calling thread wants it.
pub fn fail_in_this_thread() {
    // Else its allocations do not fail.
    if let Ok(file) = File::options()
        .write(true)
        .open("/proc/thread-self/make-it-fail")
    {
        SWITCH.with(|switch| drop(switch.set(file)));
        switch("1");
    }
}

/// Does what has to find memory, also when the thread wants otherwise: where there is none for a new
/// mapping in place of an old one, Linux itself (7.3) warns of its maple trees.
pub fn spared<R>(act: impl FnOnce() -> R) -> R {
    SPARED.set(SPARED.get() + 1);
    switch("0");
    let done = act();
    SPARED.set(SPARED.get() - 1);
    if SPARED.get() == 0 {
        switch("1");
    }
    done
}
