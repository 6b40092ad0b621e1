// SPDX-License-Identifier: GPL-2.0

//! Requests that are kept back: until their time has come, they are interrupted, or enough others
//! are there.

use crate::script::Pause;
use std::{
    collections::HashSet,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No state here is left half-made.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The requests whose callers got a signal, by their `unique`.
#[derive(Default)]
pub struct Interrupts {
    all: Mutex<HashSet<u64>>,
    came: Condvar,
}

impl Interrupts {
    /// One came, perhaps before anybody waits.
    pub fn add(&self, unique: u64) {
        lock(&self.all).insert(unique);
        self.came.notify_all();
    }

    /// Waits for so long. Whether an interrupt came.
    pub fn wait(&self, unique: u64, pause: Pause) -> bool {
        let end = pause.and_then(|pause| Instant::now().checked_add(pause));
        let mut all = lock(&self.all);
        loop {
            if all.contains(&unique) {
                return true;
            }
            let Some(end) = end else {
                all = self.came.wait(all).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.came.wait_timeout(all, left);
            all = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// A request is done with.
    pub fn remove(&self, unique: u64) {
        lock(&self.all).remove(&unique);
    }
}

/// Where requests are kept to be reordered: the last one that came goes first.
#[derive(Default)]
pub struct Pile {
    state: Mutex<Heap>,
    changed: Condvar,
}

#[derive(Default)]
struct Heap {
    /// Which pile this is: what was there before has its own numbers.
    generation: u64,
    /// How many came to this one.
    came: usize,
    /// The piles that are taken down, with how many are left of each.
    leaving: Vec<(u64, usize)>,
}

/// A request's place in a pile.
pub struct Place {
    generation: u64,
    number: usize,
}

impl Pile {
    /// A request comes on top of it. With `full` of them it is taken down.
    pub fn join(&self, full: usize) -> Place {
        let mut heap = lock(&self.state);
        heap.came += 1;
        let place = Place {
            generation: heap.generation,
            number: heap.came,
        };
        if heap.came >= full {
            heap.take_down();
            self.changed.notify_all();
        }
        place
    }

    /// Waits until it is its turn; after so long, the pile is taken down as it is.
    pub fn wait(&self, place: &Place, limit: Pause) {
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        let mut heap = lock(&self.state);
        loop {
            if heap.generation == place.generation && end.is_some_and(|end| end <= Instant::now()) {
                heap.take_down();
                self.changed.notify_all();
            }
            if heap.leaving.contains(&(place.generation, place.number)) {
                return;
            }
            let left = end
                .filter(|_| heap.generation == place.generation)
                .map(|end| end.saturating_duration_since(Instant::now()));
            heap = match left {
                None => self.changed.wait(heap),
                Some(left) => self
                    .changed
                    .wait_timeout(heap, left)
                    .map(|(heap, _)| heap)
                    .map_err(|error| PoisonError::new(error.into_inner().0)),
            }
            .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// It is done: the turn is that of the one below.
    pub fn leave(&self, place: Place) {
        let mut heap = lock(&self.state);
        for pile in &mut heap.leaving {
            if pile.0 == place.generation {
                pile.1 = place.number - 1;
            }
        }
        heap.leaving.retain(|(_, left)| *left > 0);
        self.changed.notify_all();
    }
}

impl Heap {
    fn take_down(&mut self) {
        self.leaving.push((self.generation, self.came));
        self.generation += 1;
        self.came = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread, time::Duration};

    fn order(count: usize, full: usize, limit: Pause) -> Vec<usize> {
        let (pile, order) = (Arc::new(Pile::default()), Arc::new(Mutex::new(vec![])));
        // All have their places before the first of them waits.
        let places: Vec<_> = (1..=count).map(|_| pile.join(full)).collect();
        let threads: Vec<_> = (1..)
            .zip(places)
            .map(|(number, place)| {
                let (pile, order) = (pile.clone(), order.clone());
                thread::spawn(move || {
                    pile.wait(&place, limit);
                    lock(&order).push(number);
                    pile.leave(place);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let order = lock(&order).clone();
        order
    }

    #[test]
    fn the_last_of_a_pile_is_the_first_to_leave() {
        let order = order(3, 3, None);
        assert_eq!(order, [3, 2, 1]);
    }

    #[test]
    fn each_pile_has_its_own_order() {
        let order = order(4, 2, None);
        let at = |number| order.iter().position(|each| *each == number);
        assert!(at(2) < at(1) && at(4) < at(3), "{order:?}");
    }

    #[test]
    fn a_pile_that_stays_small_is_taken_down_in_the_end() {
        let order = order(2, 3, Some(Duration::from_millis(20)));
        assert_eq!(order, [2, 1]);
    }

    #[test]
    fn an_interrupt_ends_a_wait_even_if_it_came_before() {
        let interrupts = Interrupts::default();
        interrupts.add(4);
        assert!(interrupts.wait(4, None));
        assert!(!interrupts.wait(6, Some(Duration::from_millis(1))));
        interrupts.remove(4);
        assert!(!interrupts.wait(4, Some(Duration::from_millis(1))));
        thread::scope(|scope| {
            let waits = scope.spawn(|| interrupts.wait(8, None));
            interrupts.add(8);
            assert!(waits.join().unwrap());
        });
    }
}
