// SPDX-License-Identifier: GPL-2.0

//! Tests of a FUSE kernel module, from user space: the device, the mounts, what requests carry
//! and what their callers get.
//!
//! They need root, and a machine that is nobody else's: run them in a guest. Each test is one
//! function, and runs in a process and mount namespace of its own, so that one that hangs or dies
//! takes nothing else along. What they expect is what Linux's own FUSE does; where this project's
//! module is to do something else, the test asks which of the two it runs on.
//!
//! One line a test on standard output, `test NAME ... ok|FAILED|skipped (reason) [N ms]`, what
//! went wrong in lines after it that start with two spaces, and at the end
//! `N passed, N failed, N skipped`. The exit status is 1 when any failed.

mod aio;
mod asking;
mod caller;
mod env;
mod failures;
mod filehandle;
mod fs;
mod handover;
mod idmap;
mod load;
mod loopdev;
mod model;
mod runner;
mod stacks;
mod stage;
mod sys;
mod system;
mod terminal;
mod tests;
mod trace;
mod xattrs;

use clap::Parser;
use env::{Env, ModuleName};
use std::process::ExitCode;

/// Tests a FUSE kernel module from user space
#[derive(Parser)]
struct Cli {
    /// Run the tests whose names contain one of these; all without any
    filters: Vec<String>,

    /// The module that is loaded; found out by looking when it is not given
    #[arg(long, value_name = "NAME")]
    module: Option<ModuleName>,

    /// Print the tests' names
    #[arg(long)]
    list: bool,

    /// Leave out the tests whose names contain this
    #[arg(long, value_name = "FILTER")]
    skip: Vec<String>,

    /// Let the tests that do something many times do it many times more: it takes hours
    #[arg(long)]
    long: bool,

    /// Run one test in this very process, as the others are run by this program
    #[arg(long, value_name = "TEST", hide = true)]
    exec: Option<String>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let all = tests::all();
    if cli.list {
        for test in &all {
            println!("{}", test.name);
        }
        return ExitCode::SUCCESS;
    }
    let Some(module) = cli.module.or_else(ModuleName::loaded) else {
        eprintln!("guest-tests: neither rust_fuse nor fuse is loaded");
        return ExitCode::from(2);
    };
    let env = Env {
        long: cli.long,
        ..Env::new(module)
    };
    if let Some(name) = cli.exec {
        return match tests::named(&name) {
            Some(test) => runner::exec(&test, &env),
            None => ExitCode::from(2),
        };
    }
    let selected: Vec<_> = all
        .into_iter()
        .filter(|test| cli.filters.is_empty() || cli.filters.iter().any(|f| test.name.contains(f)))
        .filter(|test| !cli.skip.iter().any(|f| test.name.contains(f)))
        .collect();
    if selected.is_empty() {
        eprintln!("guest-tests: no test has such a name");
        return ExitCode::from(2);
    }
    runner::run(&selected, &env)
}
