// SPDX-License-Identifier: GPL-2.0

//! Experiments with the queues of `rust_fuse`: each types commands, records what happens to requests,
//! and writes a page about it. `docs/labs` tells what there is to see.
//!
//! They need root and a machine that is nobody else's: `make lab-1` runs the first one in a guest.

mod death;
mod forgets;
mod idle;
mod interrupts;
mod readahead;
mod stage;
mod unlink;
mod upgrade;
mod writeback;

use anyhow::Result;
use clap::Parser;
use stage::{OutOfLuck, Stage};
use std::{path::PathBuf, process::ExitCode, time::Instant};

/// An experiment.
struct Lab {
    number: u32,
    /// What its files are called, after the number.
    name: &'static str,
    /// What its page is called.
    title: &'static str,
    run: fn(&Stage) -> Result<()>,
}

const LABS: &[Lab] = &[
    Lab {
        number: 1,
        name: "unlink",
        title: "the life of one unlink",
        run: unlink::run,
    },
    Lab {
        number: 2,
        name: "readahead",
        title: "a burst of readahead against one stat",
        run: readahead::run,
    },
    Lab {
        number: 3,
        name: "interrupts",
        title: "signals to those who wait",
        run: interrupts::run,
    },
    Lab {
        number: 4,
        name: "forgets",
        title: "a million inodes, dropped at once",
        run: forgets::run,
    },
    Lab {
        number: 5,
        name: "idle",
        title: "ten idle threads",
        run: idle::run,
    },
    Lab {
        number: 6,
        name: "death",
        title: "the daemon dies",
        run: death::run,
    },
    Lab {
        number: 7,
        name: "upgrade",
        title: "another daemon takes over, under load",
        run: upgrade::run,
    },
    Lab {
        number: 8,
        name: "writeback",
        title: "from a dirty page to a WRITE",
        run: writeback::run,
    },
];

/// Runs experiments with the queues of rust_fuse
#[derive(Parser)]
struct Cli {
    /// Which, by their numbers; all, if none is named
    labs: Vec<u32>,

    /// Where recordings and pages go
    #[arg(short, long, value_name = "DIRECTORY", default_value = ".")]
    output: PathBuf,

    /// Take less of what there is a million of: for a test
    #[arg(long)]
    small: bool,

    /// Print the numbers and names
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let wanted = |lab: &&Lab| cli.labs.is_empty() || cli.labs.contains(&lab.number);
    let labs: Vec<_> = LABS.iter().filter(wanted).collect();
    if let Some(unknown) = cli
        .labs
        .iter()
        .find(|number| labs.iter().all(|lab| lab.number != **number))
    {
        eprintln!("labs: there is no lab {unknown}");
        return ExitCode::from(2);
    }
    if cli.list {
        for lab in labs {
            println!("{} {}", lab.number, lab.name);
        }
        return ExitCode::SUCCESS;
    }
    let mut failed = 0;
    for lab in &labs {
        println!("\n=== Lab {}: {}\n", lab.number, lab.title);
        let start = Instant::now();
        let name = format!("{}-{}", lab.number, lab.name);
        let stage = Stage::new(&cli.output.join(&name), cli.small);
        let title = format!("Lab {}: {}", lab.number, lab.title);
        let ran = perform(lab, &stage).and_then(|()| stage.report(&title));
        // As the tests of guests print it.
        let took = start.elapsed().as_millis();
        match ran {
            Ok(()) => println!("\ntest {name} ... ok [{took} ms]"),
            Err(error) => {
                failed += 1;
                println!("\ntest {name} ... FAILED [{took} ms]\n  {error:#}");
            }
        }
    }
    println!("{} passed, {failed} failed, 0 skipped", labs.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}

/// How often a lab is performed whose threads run in another order than they mostly do.
const TRIES: usize = 3;

fn perform(lab: &Lab, stage: &Stage) -> Result<()> {
    for _ in 1..TRIES {
        let ran = run_once(lab, stage);
        match ran {
            Err(error) if error.is::<OutOfLuck>() => println!("\n  {error:#}; once more:\n"),
            ran => return ran,
        }
    }
    run_once(lab, stage)
}

fn run_once(lab: &Lab, stage: &Stage) -> Result<()> {
    let ran = (lab.run)(stage);
    stage.clear();
    ran
}
