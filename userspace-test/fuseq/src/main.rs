// SPDX-License-Identifier: GPL-2.0

//! Looks at the request queues of rust_fuse.

use clap::{Parser, Subcommand};
use fuseq::check::{check, Options, Trouble};
use std::{
    fs::File,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Looks at the request queues of rust_fuse
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a trace of the event rust_fuse:rust_fuse_request against the rules of the queues
    ///
    /// Exits with 0 when they are kept, after a line that says what the trace was about; with 1
    /// when one is broken, after the lines that show it; and with 2 when there is no telling,
    /// because events were lost or the trace cannot be read.
    ///
    /// With several processors, trace with a clock that is the same on all of them:
    /// echo counter > /sys/kernel/tracing/trace_clock
    Check {
        /// The trace, as /sys/kernel/tracing/trace prints it; - for standard input
        #[arg(default_value = "-")]
        file: PathBuf,

        /// How many background requests of a connection may be active at once
        #[arg(long, value_name = "N")]
        max_background: Option<u64>,
    },
}

fn main() -> ExitCode {
    let Cli {
        command: Command::Check {
            file,
            max_background,
        },
    } = Cli::parse();
    let checked = open(&file).and_then(|trace| check(trace, Options { max_background }));
    match checked {
        Ok(Ok(summary)) => {
            println!("{summary}");
            ExitCode::SUCCESS
        }
        Ok(Err(trouble)) => {
            println!("{trouble}");
            ExitCode::from(match trouble {
                Trouble::Broken(_) => 1,
                Trouble::Lost(_) | Trouble::Malformed(..) => 2,
            })
        }
        Err(error) => {
            eprintln!("fuseq: {}: {error}", file.display());
            ExitCode::from(2)
        }
    }
}

fn open(file: &Path) -> io::Result<Box<dyn BufRead>> {
    Ok(match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(BufReader::new(File::open(file)?)),
    })
}
