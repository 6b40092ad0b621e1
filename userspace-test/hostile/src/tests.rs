// SPDX-License-Identifier: GPL-2.0

//! What can be tested without a kernel module.

use crate::{input::Input, mutate::Mutator, seeds};

#[test]
fn texts_say_all_of_an_input() {
    let mut mutator = Mutator {
        rng: fastrand::Rng::with_seed(1),
        answers: vec![(26, vec![1, 2, 3])],
    };
    let mut input = Input::default();
    for seed in seeds::all() {
        for _ in 0..20 {
            input = mutator.mutate(&input, &[1, 3, 26, 99], &seed);
            let text = input.text();
            let read = Input::parse(&text).unwrap_or_else(|error| panic!("{error:?} in {text}"));
            assert_eq!(read, input, "{text}");
        }
    }
}

#[test]
fn chance_is_the_same_from_the_same_seed() {
    let make = || {
        let mut mutator = Mutator {
            rng: fastrand::Rng::with_seed(5),
            answers: Vec::new(),
        };
        let seeds = seeds::all();
        let mut input = seeds[0].clone();
        for other in &seeds {
            input = mutator.mutate(&input, &[1, 3], other);
        }
        input.text()
    };
    assert_eq!(make(), make());
}

#[test]
fn a_mistake_in_a_text_is_told_with_its_line() {
    let error = Input::parse("{\"mount\":{}}\n\n{\"call\":{\"what\":\"fly\"}}\n").unwrap_err();
    assert_eq!(error.to_string(), "line 3");
}
