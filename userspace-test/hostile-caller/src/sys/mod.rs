// SPDX-License-Identifier: GPL-2.0

//! System calls as they are, with whatever arguments, and the memory and processes for them.
//!
//! What keeps this process whole while the kernel is told to read and write anywhere: an address
//! comes from [`memory`] only, and leads either into memory that no reference is ever made to, or to
//! where nothing is mapped; the calls that change mappings are not among the [`Number`]s, but are
//! made by [`memory`], which stays in its own region; and all descriptors that a call may close,
//! replace or use are those behind the first ones, which are nobody's.

#![allow(unsafe_code)]

pub mod aio;
pub mod memory;
pub mod number;
pub mod process;
pub mod shared;
pub mod signals;
pub mod socket;

pub use memory::{Address, Memory, Span};
pub use number::Number;

use std::{ffi::CStr, io::Error};

/// What a system call gives, or its errno.
pub type Said = Result<usize, i32>;

/// The words that a call has a structure in: more than any of them has.
pub type Words = [u64; 32];

/// A part of what is read or written at once (`struct iovec`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Part {
    /// Where it begins.
    pub start: Address,
    /// How many bytes it has, it is said.
    pub len: usize,
}

/// An argument.
pub enum Arg<'a> {
    /// A number.
    N(i64),
    /// Somewhere in memory.
    At(Address),
    /// A text, which is only read.
    Text(&'a CStr),
    /// Bytes, which are only read.
    Bytes(&'a [u8]),
    /// A structure, read or written.
    Words(&'a mut Words),
    /// Parts of memory.
    Parts(&'a [Part]),
}

impl Arg<'_> {
    fn word(&mut self) -> i64 {
        match self {
            Arg::N(number) => *number,
            Arg::At(address) => address.number() as i64,
            Arg::Text(text) => text.as_ptr() as i64,
            Arg::Bytes(bytes) => bytes.as_ptr() as i64,
            Arg::Words(words) => words.as_mut_ptr() as i64,
            Arg::Parts(parts) => parts.as_ptr() as i64,
        }
    }
}

macro_rules! from_number {
    ($($type:ty),*) => {
        $(impl From<$type> for Arg<'_> {
            fn from(number: $type) -> Self {
                Arg::N(number as i64)
            }
        })*
    };
}
from_number!(i32, u32, i64, u64, usize);

impl From<Address> for Arg<'_> {
    fn from(address: Address) -> Self {
        Arg::At(address)
    }
}

impl<'a> From<&'a CStr> for Arg<'a> {
    fn from(text: &'a CStr) -> Self {
        Arg::Text(text)
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Arg::Bytes(bytes)
    }
}

impl<'a> From<&'a mut Words> for Arg<'a> {
    fn from(words: &'a mut Words) -> Self {
        Arg::Words(words)
    }
}

impl<'a> From<&'a [Part]> for Arg<'a> {
    fn from(parts: &'a [Part]) -> Self {
        Arg::Parts(parts)
    }
}

/// What a system call said that gave `result`.
fn said(result: libc::c_long) -> Said {
    usize::try_from(result).map_err(|_| Error::last_os_error().raw_os_error().unwrap_or(0))
}

/// Makes a system call. Arguments that are not given are 0.
pub fn call<const COUNT: usize>(number: Number, mut args: [Arg<'_>; COUNT]) -> Said {
    let mut words = [0; 6];
    for (word, arg) in words.iter_mut().zip(&mut args) {
        *word = arg.word();
    }
    let [a, b, c, d, e, f] = words;
    // SAFETY: None of these calls changes what is mapped. They write where an argument leads: into
    // words, of which there are enough for any structure; or to an address, which leads to memory that
    // nothing in this program refers to, or nowhere. Texts, bytes and parts are only read.
    said(unsafe { libc::syscall(number.get(), a, b, c, d, e, f) })
}

/// [`call`] with arguments of all kinds.
#[macro_export]
macro_rules! call {
    ($number:ident $(, $arg:expr)* $(,)?) => {
        $crate::sys::call($crate::sys::number::$number, [$($crate::sys::Arg::from($arg)),*])
    };
}
