// SPDX-License-Identifier: GPL-2.0

//! The trace of each test, proof-read: this project's module traces every move of every request,
//! and a move against the rules fails the test that was running.

use crate::env::Env;
use fuseq::check::{self, check, Checker, Trouble};
use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

const TRACING: &str = "/sys/kernel/tracing";

/// How much is kept for each processor, in KiB: enough for 100,000 moves.
const BUFFER_KIB: u32 = 8192;

/// What becomes of the traces of a run of tests.
#[derive(Default)]
pub struct Tracer {
    /// There is something to be traced.
    wanted: bool,
    /// Why nothing can be.
    obstacle: Option<String>,
    /// How many tests were proof-read, and how many moves.
    tests: u64,
    moves: u64,
    /// The tests of which there is no telling, and why.
    unclear: Vec<String>,
}

impl Tracer {
    /// Makes ready to trace, on a module that does.
    pub fn new(env: &Env) -> Self {
        let prepare = || {
            write("buffer_size_kb", &BUFFER_KIB.to_string())?;
            // The order of the lines is that of the moves, on whatever processors.
            write("trace_clock", "counter")?;
            write("tracing_on", "1")
        };
        let wanted = env.is_rust();
        let obstacle = wanted.then(prepare).and_then(|prepared| prepared.err());
        Self {
            wanted,
            obstacle,
            ..Self::default()
        }
    }

    /// A test begins.
    pub fn begin(&mut self) {
        if self.wanted && self.obstacle.is_none() {
            let begun = write("trace", "").and_then(|()| {
                // A module that is loaded anew has its events turned off; one that is not loaded
                // has none, and one that could not be loaded again is for the tests to fail on.
                match event().exists() {
                    true => write(event(), "1"),
                    false => Ok(()),
                }
            });
            self.obstacle = begun.err();
        }
    }

    /// A test is over: the rule that was broken, with the lines that show it, if one was.
    pub fn end(&mut self, test: &str) -> Option<String> {
        if !self.wanted || self.obstacle.is_some() {
            return None;
        }
        match read() {
            Ok(Ok(summary)) => {
                self.tests += 1;
                self.moves += summary.moves;
                None
            }
            Ok(Err(Trouble::Broken(broken))) => Some(format!("its trace: {broken}\n")),
            Ok(Err(trouble @ Trouble::Lost(_))) => {
                self.unclear.push(format!("{test}: {trouble}"));
                None
            }
            Ok(Err(trouble @ Trouble::Malformed(..))) => Some(format!("its trace: {trouble}\n")),
            Err(error) => {
                self.unclear.push(format!("{test}: {error}"));
                None
            }
        }
    }

    /// Says how it went.
    pub fn report(&self) {
        if !self.wanted {
            return;
        }
        match &self.obstacle {
            Some(why) => println!("traces: not checked ({why})"),
            None => println!(
                "traces: {} moves checked, in {} tests",
                self.moves, self.tests
            ),
        }
        for unclear in &self.unclear {
            println!("  {unclear}");
        }
        if event().exists() {
            // The machine ends next, most often.
            let _ = write(event(), "0");
        }
    }
}

/// The trace of a test that makes more of it than the buffer holds: read in parts, and proof-read as
/// one.
pub struct Parts(Option<Pipe>);

struct Pipe {
    file: File,
    /// The beginning of a line, whose end is yet to come.
    rest: Vec<u8>,
    checker: Checker,
}

impl Parts {
    /// Begins, before or after the first request. On a module without a trace there is nothing to it.
    #[track_caller]
    pub fn new(env: &Env) -> Self {
        Self(env.is_rust().then(|| {
            let path = Path::new(TRACING).join("trace_pipe");
            let mut options = File::options();
            let file = options.read(true).custom_flags(libc::O_NONBLOCK).open(path);
            Pipe {
                file: file.expect("trace_pipe"),
                rest: Vec::new(),
                checker: Checker::new(check::Options::default()),
            }
        }))
    }

    /// Reads what has come. The moves of several processors are in order only when nothing moves: to
    /// be called when nobody makes requests.
    #[track_caller]
    pub fn read(&mut self) {
        let Some(pipe) = &mut self.0 else {
            return;
        };
        let mut bytes = vec![0; 64 << 10];
        loop {
            let len = match pipe.file.read(&mut bytes) {
                Ok(len) => len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => panic!("trace_pipe: {error}"),
            };
            pipe.rest.extend_from_slice(&bytes[..len]);
            let whole = pipe
                .rest
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |end| end + 1);
            for line in String::from_utf8_lossy(&pipe.rest[..whole]).lines() {
                if let Err(trouble) = pipe.checker.line(line) {
                    panic!("its trace: {trouble}");
                }
            }
            pipe.rest.drain(..whole);
        }
    }

    /// What it was about. Fails the test when that is less than so many requests.
    #[track_caller]
    pub fn end(mut self, requests: u64) -> String {
        self.read();
        let Some(pipe) = self.0 else {
            return "there is no trace".into();
        };
        let summary = pipe.checker.summary();
        assert!(summary.requests >= requests, "the trace is of {summary}");
        summary.to_string()
    }
}

fn event() -> PathBuf {
    Path::new(TRACING).join("events/rust_fuse/enable")
}

fn write(file: impl AsRef<Path>, what: &str) -> Result<(), String> {
    let path = Path::new(TRACING).join(file);
    // To truncate `trace` is to clear it; for the others it is nothing.
    fs::write(&path, what).map_err(|error| format!("{}: {error}", path.display()))
}

fn read() -> io::Result<Result<check::Summary, Trouble>> {
    let trace = File::open(Path::new(TRACING).join("trace"))?;
    check(BufReader::new(trace), check::Options::default())
}
