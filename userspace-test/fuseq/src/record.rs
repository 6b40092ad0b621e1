// SPDX-License-Identifier: GPL-2.0

//! Recording what happens to requests, by the tracepoints of whichever module is there, in a trace
//! instance of its own: other tracing on the machine is left alone.

use crate::{
    recording::{Fact, Sample, SAMPLED},
    system::{caller::OpenFiles, System},
    tracefs::Instance,
};
use anyhow::{Context, Result};
use nix::time::{clock_gettime, ClockId};
use std::{
    collections::HashMap,
    ffi::OsString,
    fs::File,
    io::{self, BufWriter, ErrorKind, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread,
    time::{Duration, Instant},
};

/// How often the trace is read.
const PERIOD: Duration = Duration::from_millis(20);

/// What to record.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to write it.
    pub output: PathBuf,
    /// Only this connection, by a name that people have for it.
    pub which: Option<String>,
    /// For how long; without a limit, until the command ends or a signal comes.
    pub limit: Option<Duration>,
    /// The command to run, with its arguments; none if it is empty.
    pub command: Vec<OsString>,
    /// How much the kernel keeps for each processor until it is read.
    pub buffer_kib: u32,
}

/// What came of it.
#[derive(Debug)]
pub struct Summary {
    /// How many lines the trace has.
    pub lines: u64,
    /// For how long it went on.
    pub took: Duration,
    /// The kernel has dropped events.
    pub lost: bool,
    /// How the command ended.
    pub status: Option<ExitStatus>,
}

/// Records.
///
/// # Errors
///
/// There is nothing to record, we may not, or the command cannot be run.
pub fn record(options: &Options) -> Result<Summary> {
    let system = System::look();
    let only = match &options.which {
        Some(name) => Some(system.find(name)?.number),
        None => None,
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        signal_hook::flag::register(signal, stop.clone())?;
    }
    let instance = Instance::new(options.buffer_kib, only)?;
    let mut pipe = instance.pipe()?;
    let name = |path: &Path| path.display().to_string();
    let output = File::create(&options.output).with_context(|| name(&options.output))?;
    let mut recording = Recording {
        output: BufWriter::new(output),
        lines: 0,
        lost: false,
        sampled: HashMap::new(),
    };
    instance.enable(true)?;
    let began = Instant::now();
    recording.say(&Fact::Start(now()?))?;
    recording.describe(&system, only)?;
    let mut command = Running::start(&options.command)?;
    while !stop.load(Ordering::Relaxed)
        && !command.has_ended()?
        && options.limit.is_none_or(|limit| began.elapsed() < limit)
    {
        recording.copy(&mut pipe)?;
        recording.sample(&system, only)?;
        let left = options
            .limit
            .map(|limit| limit.saturating_sub(began.elapsed()));
        thread::sleep(left.unwrap_or(PERIOD).min(PERIOD));
    }
    instance.enable(false)?;
    let took = began.elapsed();
    recording.copy(&mut pipe)?;
    recording.sample(&system, only)?;
    recording.say(&Fact::End(now()?))?;
    // What was mounted meanwhile has a name now.
    recording.describe_names(&System::look(), only)?;
    recording.output.flush()?;
    Ok(Summary {
        lines: recording.lines,
        took,
        lost: recording.lost,
        status: command.status,
    })
}

/// The time by the clock of the trace, in microseconds.
fn now() -> Result<u64> {
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    Ok(u64::try_from(now.as_micros())?)
}

/// The command that is recorded.
struct Running {
    child: Option<Child>,
    status: Option<ExitStatus>,
}

impl Running {
    fn start(command: &[OsString]) -> Result<Self> {
        let child = match command {
            [] => None,
            [program, arguments @ ..] => {
                let child = Command::new(program).args(arguments).spawn();
                Some(child.with_context(|| program.to_string_lossy().into_owned())?)
            }
        };
        Ok(Self {
            child,
            status: None,
        })
    }

    fn has_ended(&mut self) -> io::Result<bool> {
        if let Some(child) = &mut self.child {
            self.status = child.try_wait()?;
        }
        Ok(self.status.is_some())
    }
}

/// The file.
struct Recording {
    output: BufWriter<File>,
    lines: u64,
    lost: bool,
    /// What was said of each queue that is in no trace.
    sampled: HashMap<(u32, &'static str), u64>,
}

impl Recording {
    fn say(&mut self, fact: &Fact) -> io::Result<()> {
        writeln!(self.output, "{fact}")
    }

    /// What there is at the beginning.
    fn describe(&mut self, system: &System, only: Option<u32>) -> io::Result<()> {
        self.describe_names(system, only)?;
        for connection in &system.connections {
            if only.is_some_and(|only| only != connection.number) {
                continue;
            }
            // Without it, what waits all the time is not seen.
            let snapshot = connection.snapshot().ok().flatten().unwrap_or_default();
            for request in snapshot.requests {
                self.say(&Fact::Waits(connection.number, request))?;
            }
        }
        Ok(())
    }

    fn describe_names(&mut self, system: &System, only: Option<u32>) -> io::Result<()> {
        let wanted = |number: u32| only.is_none_or(|only| only == number);
        for connection in &system.connections {
            if wanted(connection.number) && !connection.mounts.is_empty() {
                self.say(&Fact::Connection {
                    number: connection.number,
                    mount: connection.place(),
                    daemon: connection.daemon(),
                })?;
            }
        }
        for (connection, nodeid, path) in OpenFiles::look().iter() {
            if wanted(connection) {
                let path = path.to_string_lossy().into_owned();
                self.say(&Fact::Path {
                    connection,
                    nodeid,
                    path,
                })?;
            }
        }
        Ok(())
    }

    /// How full the queues are that are in no trace, where that has changed. What comes and goes between
    /// two looks is not seen.
    fn sample(&mut self, system: &System, only: Option<u32>) -> Result<()> {
        for connection in &system.connections {
            let number = connection.number;
            if only.is_some_and(|only| only != number) {
                continue;
            }
            // It may be gone by now, or C fuse's.
            let Ok(Some(snapshot)) = connection.snapshot() else {
                continue;
            };
            for queue in SAMPLED {
                let now = snapshot.now(queue);
                let said = self.sampled.insert((number, queue), now);
                if said.unwrap_or(0) != now {
                    self.say(&Fact::Sampled(Sample {
                        queue: queue.into(),
                        connection: number,
                        at: self::now()?,
                        now,
                    }))?;
                }
            }
        }
        Ok(())
    }

    /// Copies what has come.
    fn copy(&mut self, pipe: &mut File) -> Result<()> {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let len = match pipe.read(&mut bytes) {
                // All was read that there is, and tracing is off.
                Ok(0) => return Ok(()),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("trace_pipe"),
            };
            self.output.write_all(&bytes[..len])?;
            self.lines += bytes[..len].iter().filter(|byte| **byte == b'\n').count() as u64;
            // A read gives whole lines.
            let text = &bytes[..len];
            self.lost |= text.windows(6).any(|part| part == b" [LOST");
        }
    }
}
