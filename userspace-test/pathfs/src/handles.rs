// SPDX-License-Identifier: GPL-2.0

//! Numbers for what is open.

use crate::slab::Slab;
use fuser::Errno;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is open, by the number that goes over the wire: where it is kept, and above that a number that
/// is another one each time.
pub struct Handles<T> {
    all: Mutex<All<T>>,
}

struct All<T> {
    serial: u32,
    open: Slab<(u64, T)>,
}

impl<T: Clone> Default for Handles<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> Handles<T> {
    /// Nothing is.
    pub fn new() -> Self {
        Self {
            all: Mutex::new(All {
                serial: 0,
                open: Slab::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, All<T>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives something that has been opened a number.
    ///
    /// # Errors
    ///
    /// ENFILE when 2^32 are in use.
    pub fn add(&self, opened: T) -> Result<u64, Errno> {
        let mut all = self.lock();
        all.serial = all.serial.wrapping_add(1);
        let place = all.open.add((0, opened)).ok_or(Errno::ENFILE)?;
        let number = u64::from(all.serial) << 32 | u64::from(place);
        if let Some(open) = all.open.get_mut(place) {
            open.0 = number;
        }
        Ok(number)
    }

    /// What has that number: a copy of it, since it may be closed meanwhile.
    ///
    /// # Errors
    ///
    /// EBADF when nothing has.
    pub fn get(&self, number: u64) -> Result<T, Errno> {
        let all = self.lock();
        let open = all.open.get(number as u32);
        let open = open.filter(|open| open.0 == number);
        open.map(|open| open.1.clone()).ok_or(Errno::EBADF)
    }

    /// Changes what has that number, if there still is such a thing.
    pub fn change(&self, number: u64, change: impl FnOnce(&mut T)) {
        let mut all = self.lock();
        let open = all.open.get_mut(number as u32);
        if let Some(open) = open.filter(|open| open.0 == number) {
            change(&mut open.1);
        }
    }

    /// Closes what has that number, and gives it.
    pub fn remove(&self, number: u64) -> Option<T> {
        let mut all = self.lock();
        all.open
            .get(number as u32)
            .filter(|open| open.0 == number)?;
        all.open.remove(number as u32).map(|open| open.1)
    }
}
