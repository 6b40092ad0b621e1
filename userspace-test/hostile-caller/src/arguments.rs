// SPDX-License-Identifier: GPL-2.0

//! Arguments at random: mostly such that calls come far, now and then wild ones.

use crate::{
    names::Names,
    sys::{
        aio::{Aio, Ring},
        memory::{PAGE, SLOT, SLOTS},
        Address, Memory, Part, Said, Span,
    },
};
use fastrand::Rng;
use std::{
    ffi::CString,
    sync::{
        atomic::{AtomicI32, Ordering},
        Mutex,
    },
};

/// How many descriptors a process has that are anybody's.
pub const DESCRIPTORS: i32 = 120;

/// How many of those that were opened last are known.
const RECENT: usize = 16;

/// What the threads of a process share.
#[derive(Debug)]
pub struct Process {
    /// Memory to read to and write from.
    pub memory: Memory,
    /// The names of files.
    pub names: Names,
    /// The first descriptor that is anybody's.
    pub first: i32,
    recent: [AtomicI32; RECENT],
    /// For reading and writing without waiting.
    pub aio: Mutex<Aio>,
}

impl Process {
    /// One in which the descriptors from `first` on are anybody's.
    pub fn new(memory: Memory, names: Names, first: i32) -> Self {
        Self {
            memory,
            names,
            first,
            recent: [const { AtomicI32::new(-1) }; RECENT],
            aio: Mutex::new(Aio::new()),
        }
    }
}

/// Who makes calls: a thread.
pub struct Caller<'a> {
    /// What it draws.
    pub random: Rng,
    /// The process that it is of.
    pub process: &'a Process,
    /// Its own ring.
    pub ring: Ring,
}

impl Caller<'_> {
    /// Whether something is to be done that is done once in `count` times.
    pub fn once_in(&mut self, count: u32) -> bool {
        self.random.u32(0..count) == 0
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.random.usize(0..all.len())]
    }

    /// Some of these bits; rarely, any.
    pub fn bits(&mut self, all: &[i32]) -> i32 {
        if self.once_in(100) {
            return self.random.i32(..);
        }
        let mut bits = 0;
        for bit in all {
            if self.once_in(4) {
                bits |= bit;
            }
        }
        bits
    }

    /// A descriptor.
    pub fn fd(&mut self) -> i32 {
        if self.once_in(200) {
            return self.one_of(&[-1, libc::AT_FDCWD, i32::MAX, 100_000]);
        }
        if self.once_in(20) {
            return self.any_fd();
        }
        for _ in 0..4 {
            let place = self.random.usize(0..RECENT);
            let fd = self.process.recent[place].load(Ordering::Relaxed);
            if fd >= 0 {
                return fd;
            }
        }
        self.any_fd()
    }

    /// One that is known to be open, most of the time, and will not be from then on.
    pub fn fd_to_close(&mut self) -> i32 {
        let place = self.random.usize(0..RECENT);
        match self.process.recent[place].swap(-1, Ordering::Relaxed) {
            -1 => self.any_fd(),
            fd => fd,
        }
    }

    /// The number of a descriptor that is anybody's, open or not.
    pub fn any_fd(&mut self) -> i32 {
        self.process.first + self.random.i32(0..DESCRIPTORS)
    }

    /// A descriptor for names that do not begin with a slash.
    pub fn dir(&mut self) -> i32 {
        match self.once_in(3) {
            true => self.fd(),
            false => libc::AT_FDCWD,
        }
    }

    /// Remembers what was opened.
    pub fn keep(&mut self, said: Said) -> Said {
        if let Ok(fd) = said {
            let place = self.random.usize(0..RECENT);
            self.process.recent[place].store(fd as i32, Ordering::Relaxed);
        }
        said
    }

    /// A path.
    pub fn path(&mut self) -> CString {
        self.process.names.path(&mut self.random)
    }

    /// The path of a directory.
    pub fn dir_path(&mut self) -> CString {
        self.process.names.dir(&mut self.random)
    }

    /// Where in memory.
    pub fn at(&mut self) -> Address {
        let number = self.random.usize(0..1 << 20);
        let memory = &self.process.memory;
        match self.random.u32(0..100) {
            0..50 => memory.byte(number / PAGE * PAGE),
            50..75 => memory.byte(number),
            75..80 => memory.last(number % (2 * PAGE)),
            80..96 => memory.mapped(number % SLOTS, self.random.usize(0..SLOT)),
            _ => self.one_of(&Address::NOWHERE),
        }
    }

    /// Memory that is there, for a structure.
    pub fn room(&mut self) -> Address {
        match self.once_in(50) {
            true => self.at(),
            false => self.process.memory.byte(self.random.usize(0..1 << 19)),
        }
    }

    /// How many bytes.
    pub fn len(&mut self) -> usize {
        match self.random.u32(0..100) {
            0..20 => self.one_of(&[0, 1, 2, 511, 512, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE]),
            20..50 => self.random.usize(0..2 * PAGE),
            50..70 => self.random.usize(0..16) * PAGE,
            70..90 => self.random.usize(0..200_000),
            90..97 => self.one_of(&[128 << 10, 256 << 10, (256 << 10) + 1, 1 << 20]),
            _ => self.one_of(&[
                1 << 31,
                (1 << 31) - PAGE,
                1 << 32,
                usize::MAX >> 1,
                usize::MAX,
            ]),
        }
    }

    /// Where in a file.
    pub fn offset(&mut self) -> i64 {
        const PAGES: i64 = PAGE as i64;
        match self.random.u32(0..100) {
            0..25 => 0,
            25..45 => self.random.i64(0..20_000),
            45..70 => self.random.i64(0..64) * PAGES,
            70..90 => self.random.i64(0..1 << 20),
            90..93 => self.one_of(&[1, PAGES - 1, PAGES + 1, 1 << 31, 1 << 32, 1 << 40]),
            _ => self.one_of(&[
                -1,
                -PAGES,
                i64::MIN,
                i64::MAX,
                i64::MAX - 1,
                i64::MAX - PAGES,
                (1 << 44) - 1,
                1 << 62,
            ]),
        }
    }

    /// Several parts of memory; more than there may be, rarely.
    pub fn parts(&mut self) -> Vec<Part> {
        let count = match self.once_in(100) {
            true => 1025,
            false => self.random.usize(0..6),
        };
        let mut parts = Vec::with_capacity(count);
        for _ in 0..count {
            let (start, len) = (self.at(), self.len());
            parts.push(Part { start, len });
        }
        parts
    }

    /// Where something is mapped.
    pub fn span(&mut self) -> Span {
        let whole = self.once_in(2);
        Span {
            slot: self.random.usize(0..SLOTS),
            offset: if whole { 0 } else { self.random.usize(0..SLOT) },
            len: if whole { SLOT } else { self.len() },
        }
    }

    /// The bits of a mode.
    pub fn mode(&mut self) -> u32 {
        match self.random.u32(0..20) {
            0 => self.random.u32(..),
            1 => 0,
            _ => self.one_of(&[0o644, 0o755, 0o600, 0o4755, 0o2770, 0o1777, 0o666, 0o777]),
        }
    }

    /// An owner.
    pub fn owner(&mut self) -> u32 {
        self.one_of(&[0, 1, 1000, u32::MAX, u32::MAX - 1, 65534])
    }
}
