// SPDX-License-Identifier: GPL-2.0

//! A hostile caller: system calls at random over a FUSE mount, by threads of many processes, with
//! signals, while the daemon misbehaves, is stopped, killed, replaced, and the mount is aborted or taken
//! away beneath them.
//!
//! It plays rounds of some seconds. After each, all has to be as it was before: no process left, nobody
//! who cannot be killed, no connection, no reference to the module, none of its memory in use. What is
//! not is a find, with which it ends. The kernel's own complaints are for whoever reads its log.
//!
//! What is drawn follows from a seed and the number of the round, and is printed before that begins. A
//! round can be played again (`--replay`): then the same is done by the same processes, but when they
//! get to do it is up to the machine.

mod arguments;
mod calls;
mod daemon;
mod failures;
mod family;
mod files;
mod health;
mod names;
mod plan;
mod round;
mod script;
mod seen;
mod stage;
mod sys;

use anyhow::{bail, Context, Result};
use calls::Calls;
use clap::Parser;
use health::Health;
use plan::{mix, Plan, Settings};
use seen::Seen;
use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Makes system calls at random over a FUSE mount whose daemon misbehaves
#[derive(Parser)]
struct Cli {
    /// What all follows from; the time, if nothing is said
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// For how many minutes; a fraction will do
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    minutes: f64,

    /// How many seconds a round takes
    #[arg(long, value_name = "N", default_value_t = 10)]
    round: u64,

    /// Play the round of that seed, and no other; again and again for so many --minutes
    #[arg(long, value_name = "SEED")]
    replay: Option<u64>,

    /// Make no allocations fail, on a kernel that can
    #[arg(long)]
    no_failures: bool,

    /// Only print the plan of the rounds, as many as that
    #[arg(long, value_name = "COUNT")]
    plan: Option<u64>,

    /// Write the addresses of the module's code that calls have come to into that file, on a kernel
    /// with KCOV
    #[arg(long, value_name = "FILE")]
    coverage: Option<PathBuf>,
}

/// Where it all takes place.
const BASE: &str = "/tmp/hostile-caller";

/// The module that is loaded.
fn module() -> Option<&'static str> {
    let loaded = |name: &&str| Path::new("/sys/module").join(name).join("refcnt").exists();
    ["rust_fuse", "fuse"].into_iter().find(loaded)
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let time = || {
        std::time::UNIX_EPOCH
            .elapsed()
            .map_or(0, |time| time.as_secs())
    };
    let seed = cli.seed.unwrap_or_else(time);
    let module = module();
    let failures = failures::can() && !cli.no_failures;
    let settings = Settings {
        rust: module != Some("fuse"),
        length: Duration::from_secs(cli.round),
        failures,
    };
    let plan = |number| {
        Plan::new(
            cli.replay.unwrap_or_else(|| mix(&[seed, number])),
            &settings,
        )
    };
    if let Some(count) = cli.plan {
        for number in 0..count {
            print!(
                "round {number}, seed {}\n{}",
                plan(number).seed,
                plan(number)
            );
        }
        return Ok(ExitCode::SUCCESS);
    }
    let Some(module) = module else {
        bail!("neither rust_fuse nor fuse is loaded as a module");
    };
    fs::create_dir_all(BASE).context(BASE)?;
    if failures {
        failures::set_up().context("failing allocations")?;
    }
    let seen = Seen::new().context("shared memory")?;
    let health = Health::now(module);
    println!("seed {seed}, on {module}");
    let begun = Instant::now();
    let mut sums = Sums::default();
    for number in 0.. {
        if begun.elapsed().as_secs_f64() >= cli.minutes * 60.0 {
            break;
        }
        let plan = plan(number);
        print!("round {number}, seed {}\n{plan}", plan.seed);
        flush();
        let before = seen.calls();
        if failures {
            failures::one_in(plan.failures)?;
        }
        let played = round::play(&plan, Path::new(BASE), &seen, &health);
        if failures {
            failures::one_in(0)?;
        }
        match played? {
            Ok(outcome) => {
                sums.add(&outcome);
                let gone = match outcome.gone {
                    Some(gone) => format!("within {} ms", gone.as_millis()),
                    None => "after an abort".into(),
                };
                println!(
                    "  {} calls, {} mounts, {} daemons; callers gone {gone}, all over in {} ms",
                    seen.calls() - before,
                    outcome.mounts,
                    outcome.daemons,
                    outcome.end.as_millis()
                );
                for held in &outcome.held {
                    println!("  held: {held}");
                }
            }
            Err(find) => {
                println!("FIND in round {number}: --replay {}\n{find}", plan.seed);
                sums.finds += 1;
                break;
            }
        }
        if let Some(file) = &cli.coverage {
            write_coverage(file, &seen, module).context("the coverage")?;
        }
        println!("{}", sums.figures(&seen, begun.elapsed()));
        flush();
    }
    sums.print(&seen, begun.elapsed());
    Ok(ExitCode::from(u8::from(sums.finds > 0)))
}

/// Whoever does not listen does not miss it.
fn flush() {
    let _ = std::io::stdout().flush();
}

/// All rounds together.
#[derive(Default)]
struct Sums {
    rounds: u64,
    mounts: u32,
    daemons: u32,
    aborted: u64,
    finds: u32,
}

impl Sums {
    fn add(&mut self, outcome: &round::Outcome) {
        self.rounds += 1;
        self.mounts += outcome.mounts;
        self.daemons += outcome.daemons;
        self.aborted += u64::from(outcome.gone.is_none());
    }

    /// Them, in a line that programs read.
    fn figures(&self, seen: &Seen, took: Duration) -> String {
        let (seconds, calls) = (took.as_secs_f64(), seen.calls());
        format!(
            "seconds={seconds:.0} rounds={} mounts={} daemons={} calls={calls} calls_a_second={:.0} \
             points={} rounds_that_took_an_abort={} finds={}",
            self.rounds,
            self.mounts,
            self.daemons,
            calls as f64 / seconds,
            seen.addresses().len(),
            self.aborted,
            self.finds
        )
    }

    fn print(&self, seen: &Seen, took: Duration) {
        println!("{:20} {:>10} {:>10}", "call", "made", "worked");
        for (number, kind) in Calls::new().kinds().iter().enumerate() {
            let (made, worked) = seen.of(number);
            println!("{:20} {made:>10} {worked:>10}", kind.name);
        }
        let errors = seen.errors();
        let errors: Vec<_> = errors
            .iter()
            .map(|(error, count)| format!("{error:?} {count}"))
            .collect();
        println!("{}", errors.join(", "));
        println!("{}", self.figures(seen, took));
    }
}

/// Each address as its section and where in that it is, a line each.
fn write_coverage(file: &Path, seen: &Seen, module: &str) -> Result<()> {
    let sections = kcov::sections(module)?;
    let mut text = String::new();
    for address in seen.addresses() {
        let mut before = sections.iter().rev();
        if let Some(section) = before.find(|section| section.start <= address) {
            let offset = address - section.start;
            text += &format!("{} {offset:#x}\n", section.name);
        }
    }
    Ok(fs::write(file, text)?)
}
