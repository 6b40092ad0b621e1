// SPDX-License-Identifier: GPL-2.0

//! Allocations that fail, one at a time (Documentation/fault-injection/fault-injection.rst).

use crate::runner;
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::Path,
};

/// Makes allocations of the thread fail that has opened it.
pub struct Failures(File);

impl Failures {
    /// Sets up, for the whole kernel, what may fail. Skips the test on kernels that have nothing of
    /// the kind.
    pub fn new() -> Self {
        let Some(failures) = Self::of_this_thread() else {
            runner::skip("this kernel has no fault injection");
        };
        set(
            "failslab",
            &[("ignore-gfp-wait", "N"), ("cache-filter", "Y")],
        );
        // Whatever comes from slab caches, but for those of the leak detector: it gives up for good
        // when it finds no memory.
        for cache in fs::read_dir("/sys/kernel/slab")
            .expect("slab caches")
            .flatten()
        {
            if !cache.file_name().to_string_lossy().starts_with("kmemleak") {
                // One that was merged with others has no such switch, which then is with them.
                let _ = fs::write(cache.path().join("failslab"), "1");
            }
        }
        failures
    }

    /// Lets pages fail as well as what comes from slab caches.
    pub fn and_pages(self) -> Self {
        set(
            "fail_page_alloc",
            &[
                ("ignore-gfp-wait", "N"),
                ("ignore-gfp-highmem", "N"),
                ("min-order", "0"),
            ],
        );
        self
    }

    /// For another thread or process, once it is set up.
    pub fn of_this_thread() -> Option<Self> {
        let mut options = fs::OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .open("/proc/thread-self/fail-nth");
        file.ok().map(Self)
    }

    /// Makes the `nth` allocation from here on fail; none for 0.
    pub fn start(&self, nth: u32) {
        // This file is open already: opening it takes allocations.
        let number = nth.to_string();
        self.0.write_all_at(number.as_bytes(), 0).expect("fail-nth");
    }

    /// What is left of the number that it started with: 0 when an allocation has failed. None
    /// fails afterwards.
    pub fn stop(&self) -> u32 {
        let mut left = [0; 16];
        let len = self.0.read_at(&mut left, 0).expect("fail-nth");
        self.start(0);
        let left = String::from_utf8_lossy(&left[..len]);
        left.trim().parse().expect("a number")
    }
}

/// Sets up, beside being silent, how one kind of allocation fails.
fn set(kind: &str, settings: &[(&str, &str)]) {
    let dir = Path::new("/sys/kernel/debug").join(kind);
    for (name, value) in [("verbose", "0")].iter().chain(settings) {
        fs::write(dir.join(name), value).expect(name);
    }
}
