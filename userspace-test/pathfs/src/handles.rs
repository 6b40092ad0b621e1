// SPDX-License-Identifier: GPL-2.0

//! Numbers for what is open.

use fuser::Errno;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// What is open, by the number that goes over the wire.
#[derive(Debug)]
pub struct Handles<T> {
    all: Mutex<All<T>>,
}

#[derive(Debug)]
struct All<T> {
    last: u64,
    open: HashMap<u64, Arc<T>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Handles<T> {
    /// Nothing is.
    pub fn new() -> Self {
        Self {
            all: Mutex::new(All {
                last: 0,
                open: HashMap::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, All<T>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives something that has been opened a number.
    pub fn add(&self, opened: T) -> u64 {
        let mut all = self.lock();
        all.last += 1;
        let number = all.last;
        all.open.insert(number, Arc::new(opened));
        number
    }

    /// What has that number.
    ///
    /// # Errors
    ///
    /// EBADF when nothing has.
    pub fn get(&self, number: u64) -> Result<Arc<T>, Errno> {
        let all = self.lock();
        all.open.get(&number).cloned().ok_or(Errno::EBADF)
    }

    /// Closes what has that number, and gives it.
    pub fn remove(&self, number: u64) -> Option<Arc<T>> {
        self.lock().open.remove(&number)
    }
}
