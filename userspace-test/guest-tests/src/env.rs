// SPDX-License-Identifier: GPL-2.0

//! What the tests run on.

use clap::ValueEnum;
use rawfuse::Kind;
use std::path::Path;

/// The module under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModuleName {
    /// This project's.
    #[value(name = "rust_fuse")]
    RustFuse,
    /// Linux's own.
    #[value(name = "fuse")]
    Fuse,
}

impl ModuleName {
    /// Its name in `/proc/modules`.
    pub fn name(self) -> &'static str {
        match self {
            ModuleName::RustFuse => "rust_fuse",
            ModuleName::Fuse => "fuse",
        }
    }

    /// The one that is loaded: this project's, if both are.
    pub fn loaded() -> Option<Self> {
        [ModuleName::RustFuse, ModuleName::Fuse]
            .into_iter()
            .find(|module| Path::new("/sys/module").join(module.name()).exists())
    }
}

/// What the tests run on.
#[derive(Clone, Copy, Debug)]
pub struct Env {
    /// The module under test.
    pub module: ModuleName,
    /// The names it goes by.
    pub kind: Kind,
    /// There is time: what is done many times is to be done many times more.
    pub long: bool,
}

impl Env {
    /// That of `module`, by the names it has now.
    pub fn new(module: ModuleName) -> Self {
        let coexists = module == ModuleName::RustFuse && Path::new(Kind::RFUSE.device).exists();
        let kind = match coexists {
            true => Kind::RFUSE,
            false => Kind::FUSE,
        };
        Self {
            module,
            kind,
            long: false,
        }
    }

    /// Whether it is this project's module.
    pub fn is_rust(&self) -> bool {
        self.module == ModuleName::RustFuse
    }
}

/// How many times slower than the ordinary kernel this one is: the debug kernel has lockdep, KASAN
/// and more, all of it under emulation.
pub fn slowness() -> u32 {
    if Path::new("/proc/lockdep").exists() {
        6
    } else {
        1
    }
}
