// SPDX-License-Identifier: GPL-2.0

//! `zerocopy`, without the macros that go by the names of its traits.
//!
//! The wire format's files are shared with the kernel, where `zerocopy` has the traits and
//! `zerocopy_derive` the macros. Here `zerocopy` has both as soon as any crate of the workspace turns
//! its feature `derive` on, as `fuser` does, and then a file that names both has everything twice. So
//! the macros are hidden: what this crate has of its own by a name is seen in place of what it hands
//! on, and these it keeps to itself.

#![no_std]

#[allow(hidden_glob_reexports)]
pub use zerocopy::*;

#[allow(unused_macros)]
macro_rules! hidden {
    () => {};
}
// The hiding is what it is for.
#[allow(unused_imports, hidden_glob_reexports)]
use {hidden as FromBytes, hidden as Immutable, hidden as IntoBytes, hidden as KnownLayout};
