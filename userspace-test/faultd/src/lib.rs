// SPDX-License-Identifier: GPL-2.0

//! A daemon that fails as a script says.

mod daemon;
mod script;
pub mod tree;
mod waits;

pub use daemon::{Daemon, Files};
pub use script::{Script, ScriptError};
pub use tree::Tree;
