// SPDX-License-Identifier: GPL-2.0

//! Looks at the request queues of rust_fuse.

use anyhow::{Context, Result};
use clap::{ArgGroup, Args, Parser, Subcommand};
use fuseq::{
    check::{check, Options, Trouble},
    life::Story,
    ls, record, report, stuck,
    system::{text::duration, Action, System},
    top,
};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

/// Looks at the request queues of rust_fuse, and at what can be seen of those of C fuse
///
/// The queues are in the control file system (mount -t fusectl none /sys/fs/fuse/connections) and,
/// for root, in debugfs; who waits and what serves is in /proc, most of which only root sees.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the connections: where they are mounted, who serves them, what is in their queues
    Ls {
        /// Only this connection: its number, its mount point, or a path below that
        connection: Option<String>,
    },

    /// Watch the queues fill and drain, with throughput and latency by opcode
    ///
    /// On C fuse, which has no files for it, root sees what its tracepoints tell from then on.
    Top {
        /// Only this connection: its number, its mount point, or a path below that
        connection: Option<String>,

        /// How often to look, in seconds
        #[arg(short, long, value_name = "SECONDS", default_value = "0.5", value_parser = seconds)]
        interval: Duration,
    },

    Stuck(Stuck),

    Record(Record),

    /// Make a page of a recording, to look at in a browser: a lane for each request
    ///
    /// The page is one file that needs nothing else, no network either. It shows when each request
    /// was in which queue, how full the queues were, and how long requests took, by opcode.
    Report {
        /// The recording; or a trace, as /sys/kernel/tracing/trace prints it; - for standard input
        #[arg(default_value = "fuseq.trace")]
        file: PathBuf,

        /// Where to write it; - for standard output
        ///
        /// [default: the recording's name with .html, or with .json]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,

        /// Write trace events as JSON instead, for https://ui.perfetto.dev or chrome://tracing
        #[arg(long)]
        chrome: bool,

        /// What the page is called [default: the recording's name]
        #[arg(long)]
        title: Option<String>,
    },

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

/// Show what waits longest: who, for what, in which queue, on what file - and what to do about it
///
/// Nothing that is done to find out asks a daemon, so it works where ls and ps hang. Exits with 0
/// when nothing is stuck, with 1 when something is, and with 2 when there is no telling.
#[derive(Args)]
#[command(group = ArgGroup::new("action"))]
struct Stuck {
    /// Only this connection: its number, its mount point, or a path below that
    connection: Option<String>,

    /// From which age on a request is stuck, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    older: Duration,

    /// How many requests of a connection to show
    #[arg(long, value_name = "N", default_value_t = 20)]
    most: usize,

    /// End everything: all requests fail, and the file system is dead until it is mounted anew
    #[arg(long, group = "action", requires = "connection")]
    abort: bool,

    /// End with EIO what the daemon has read and not answered; not on C fuse
    #[arg(long, group = "action", requires = "connection")]
    flush: bool,

    /// Send again what the daemon has read and not answered: for one that was restarted; not on C
    /// fuse
    #[arg(long, group = "action", requires = "connection")]
    resend: bool,
}

/// Record what happens to requests, for fuseq report: until a time is over, a command has ended, or
/// Ctrl-C
///
/// Takes the tracepoints of rust_fuse or, as far as they go, of C fuse, in a trace instance of its
/// own: no other tracing on this machine is disturbed. Needs root. With a command, ends with its
/// exit status.
#[derive(Args)]
struct Record {
    /// Where to write it
    #[arg(short, long, value_name = "FILE", default_value = "fuseq.trace")]
    output: PathBuf,

    /// Only this connection: its number, its mount point, or a path below that
    #[arg(short, long)]
    connection: Option<String>,

    /// For how long
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    time: Option<Duration>,

    /// How much the kernel keeps for each processor until it is read, in KiB
    #[arg(short, long, value_name = "KIB", default_value_t = 8192)]
    buffer: u32,

    /// The command to run, and its arguments
    #[arg(trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// A time that people write in seconds.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds")?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Ls { connection } => ls::table(&System::look(), connection.as_deref())
            .and_then(|table| print(&table))
            .map(|()| ExitCode::SUCCESS),
        Command::Top {
            connection,
            interval,
        } => top::run(&System::look(), connection.as_deref(), interval).map(|()| ExitCode::SUCCESS),
        Command::Stuck(arguments) => arguments.run(),
        Command::Record(arguments) => arguments.run(),
        Command::Report {
            file,
            output,
            chrome,
            title,
        } => run_report(&file, output, chrome, title).map(|()| ExitCode::SUCCESS),
        Command::Check {
            file,
            max_background,
        } => return run_check(&file, Options { max_background }),
    };
    done.unwrap_or_else(|error| {
        eprintln!("fuseq: {error:#}");
        ExitCode::from(2)
    })
}

/// Prints text. A reader that has seen enough is no error.
fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

impl Stuck {
    fn run(self) -> Result<ExitCode> {
        let system = System::look();
        let action = match () {
            () if self.abort => Action::Abort,
            () if self.flush => Action::Flush,
            () if self.resend => Action::Resend,
            () => {
                let (text, is_stuck) = stuck::report(
                    &system,
                    &stuck::Options {
                        which: self.connection,
                        older: self.older,
                        most: self.most,
                    },
                )?;
                print(&text)?;
                return Ok(ExitCode::from(u8::from(is_stuck)));
            }
        };
        let connection = system.find(&self.connection.unwrap_or_default())?;
        connection.act(action)?;
        print(&format!(
            "{}: {}\n",
            connection.title(),
            match action {
                Action::Abort => "aborted",
                Action::Flush => "what was read and not answered has ended with EIO",
                Action::Resend => "what was read and not answered is sent again",
            }
        ))?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Record {
    fn run(self) -> Result<ExitCode> {
        let output = self.output.display().to_string();
        let summary = record::record(&record::Options {
            output: self.output,
            which: self.connection,
            limit: self.time,
            command: self.command,
            buffer_kib: self.buffer,
        })?;
        eprintln!(
            "fuseq: {} lines in {}, in {output}; to look at it: fuseq report {output}",
            summary.lines,
            duration(summary.took),
        );
        if summary.lost {
            eprintln!("fuseq: the kernel dropped events: record with a larger --buffer");
        }
        Ok(match summary.status.map(|status| status.code()) {
            None => ExitCode::SUCCESS,
            // As a shell has it that the command was killed.
            Some(code) => ExitCode::from(code.map_or(1, |code| code as u8)),
        })
    }
}

fn run_report(
    file: &Path,
    output: Option<PathBuf>,
    chrome: bool,
    title: Option<String>,
) -> Result<()> {
    let name = file.display().to_string();
    let story = open(file).and_then(Story::read).context(name.clone())?;
    let suffix = if chrome { "json" } else { "html" };
    let output = output.unwrap_or_else(|| match name.as_str() {
        "-" => PathBuf::from("-"),
        _ => file.with_extension(suffix),
    });
    let title = title.unwrap_or_else(|| format!("FUSE requests: {name}"));
    let is_stdout = output.as_os_str() == "-";
    let mut out: BufWriter<Box<dyn Write>> = BufWriter::new(match is_stdout {
        true => Box::new(io::stdout().lock()),
        false => Box::new(File::create(&output).context(output.display().to_string())?),
    });
    match chrome {
        true => report::chrome(&story, &mut out)?,
        false => report::page(&story, &title, &mut out)?,
    }
    out.flush()?;
    if !is_stdout {
        println!("{}: {} requests", output.display(), story.lives.len());
    }
    Ok(())
}

fn run_check(file: &Path, options: Options) -> ExitCode {
    match open(file).and_then(|trace| check(trace, options)) {
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
