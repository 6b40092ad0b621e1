// SPDX-License-Identifier: GPL-2.0

//! The calls that there are, each with arguments at random.

mod data;
mod descriptors;
mod locks;
mod maps;
mod meta;
mod names;
mod watch;

use crate::{arguments::Caller, sys::Said};

/// A call.
pub type Call = fn(&mut Caller<'_>) -> Said;

/// A kind of call.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// How often it is made, beside others.
    weight: u32,
    /// It.
    pub call: Call,
}

/// Names calls and says how often they are made.
macro_rules! kinds {
    ($($weight:literal $name:ident),* $(,)?) => {
        pub(super) const KINDS: &[$crate::calls::Kind] = &[$($crate::calls::Kind {
            name: stringify!($name),
            weight: $weight,
            call: $name,
        }),*];
    };
}
use kinds;

/// All kinds of calls.
pub struct Calls {
    kinds: Vec<Kind>,
    total: u32,
}

impl Calls {
    /// All that there are.
    pub fn new() -> Self {
        let kinds = [
            data::KINDS,
            descriptors::KINDS,
            locks::KINDS,
            maps::KINDS,
            meta::KINDS,
            names::KINDS,
            watch::KINDS,
        ]
        .concat();
        let total = kinds.iter().map(|kind| kind.weight).sum();
        Self { kinds, total }
    }

    /// They, in an order that does not change.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// One of them, and its number.
    pub fn draw(&self, random: &mut fastrand::Rng) -> (usize, Kind) {
        let mut left = random.u32(0..self.total);
        for (number, kind) in self.kinds.iter().enumerate() {
            if left < kind.weight {
                return (number, *kind);
            }
            left -= kind.weight;
        }
        unreachable!("the weights add up to the total")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_drawn() {
        let calls = Calls::new();
        let mut drawn = vec![0; calls.kinds().len()];
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..calls.total * 100 {
            drawn[calls.draw(&mut random).0] += 1;
        }
        for (kind, count) in calls.kinds().iter().zip(drawn) {
            assert!(count > kind.weight * 50, "{}: {count}", kind.name);
        }
    }
}
