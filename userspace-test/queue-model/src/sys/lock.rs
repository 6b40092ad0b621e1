// SPDX-License-Identifier: GPL-2.0

//! The lock of the queues.

use super::{memory, scheduled, Result, Task};
use std::{
    ops::{Deref, DerefMut},
    sync::PoisonError,
};

/// A spinlock: what is done with it held is checked.
pub(crate) struct Lock<T>(Kind<T>);

enum Kind<T> {
    Scheduled(shuttle::sync::Mutex<T>),
    Plain(std::sync::Mutex<T>),
}

/// The lock, held.
pub(crate) struct Guard<'a, T>(Held<'a, T>, #[expect(dead_code)] Hold);

enum Held<'a, T> {
    Scheduled(shuttle::sync::MutexGuard<'a, T>),
    Plain(std::sync::MutexGuard<'a, T>),
}

/// Counts the lock as held by its thread, until after it is released.
struct Hold(Task);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.lock_released();
    }
}

impl<T> Lock<T> {
    /// A lock around `value`; may sleep.
    pub(crate) fn new(value: T) -> Result<Self> {
        memory::take()?;
        Ok(Lock(if scheduled() {
            Kind::Scheduled(shuttle::sync::Mutex::new(value))
        } else {
            Kind::Plain(std::sync::Mutex::new(value))
        }))
    }

    /// Takes the lock.
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        let task = Task::current();
        task.assert_may_sleep();
        let held = match &self.0 {
            Kind::Scheduled(lock) => {
                Held::Scheduled(lock.lock().unwrap_or_else(PoisonError::into_inner))
            }
            Kind::Plain(lock) => Held::Plain(lock.lock().unwrap_or_else(PoisonError::into_inner)),
        };
        task.lock_taken();
        Guard(held, Hold(task))
    }
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Held::Scheduled(guard) => guard,
            Held::Plain(guard) => guard,
        }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        match &mut self.0 {
            Held::Scheduled(guard) => guard,
            Held::Plain(guard) => guard,
        }
    }
}
