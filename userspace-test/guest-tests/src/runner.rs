// SPDX-License-Identifier: GPL-2.0

//! Running tests: each in a process of its own, with a time limit.

use crate::{env::Env, stacks, system, trace::Tracer};
use nix::{
    mount::{mount, MsFlags},
    sched::{unshare, CloneFlags},
    sys::signal::{killpg, Signal},
    unistd::{setpgid, Pid},
};
use std::{
    fs,
    io::{Read, Write},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitCode, ExitStatus, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// One test.
#[derive(Clone, Debug)]
pub struct Test {
    /// `file::function`.
    pub name: String,
    /// The test itself. It fails by panicking, and is over when it returns.
    pub run: fn(&Env),
    /// How long it may take.
    pub limit: Duration,
}

/// For how long a test may run, unless it says otherwise.
pub const LIMIT: Duration = Duration::from_secs(100);

/// How many times longer long runs may take.
const LONG: u32 = 40;

/// How a test's process ends when it cannot be run here; it then says why on standard output.
const SKIPPED: u8 = 77;

/// Ends the test that calls this: it cannot be run here.
pub fn skip(reason: &str) -> ! {
    println!("{reason}");
    std::process::exit(SKIPPED.into());
}

/// How a test went.
pub enum Outcome {
    /// As it should.
    Ok,
    /// It cannot be run here, for this reason.
    Skipped(String),
    /// It failed, and this is what is known about it.
    Failed(String),
}

/// Runs `tests`, one after the other, and reports on each.
pub fn run(tests: &[Test], env: &Env) -> ExitCode {
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut tracer = Tracer::new(env);
    for test in tests {
        tracer.begin();
        let started = Instant::now();
        let outcome = run_one(test, env);
        let took = started.elapsed().as_millis();
        let outcome = match (tracer.end(&test.name), outcome) {
            (None, outcome) => outcome,
            (Some(broken), Outcome::Failed(details)) => Outcome::Failed(details + &broken),
            (Some(broken), _) => Outcome::Failed(broken),
        };
        match outcome {
            Outcome::Ok => {
                passed += 1;
                println!("test {} ... ok [{took} ms]", test.name);
            }
            Outcome::Skipped(reason) => {
                skipped += 1;
                println!("test {} ... skipped ({reason}) [{took} ms]", test.name);
            }
            Outcome::Failed(details) => {
                failed += 1;
                println!("test {} ... FAILED [{took} ms]", test.name);
                for line in details.lines() {
                    println!("  {line}");
                }
            }
        }
        // Nothing is left to do for someone who no longer listens.
        let _ = std::io::stdout().flush();
    }
    tracer.report();
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    ExitCode::from(u8::from(failed > 0))
}

/// A process group that ends with this value, whatever is in it.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        let group = Pid::from_raw(self.0.id() as i32);
        // An empty group is what is wanted.
        let _ = killpg(group, Signal::SIGKILL);
    }
}

/// Runs one test in a process of its own.
pub fn run_one(test: &Test, env: &Env) -> Outcome {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return Outcome::Failed(format!("who am I? {error}")),
    };
    let child = Command::new(program)
        .args(["--module", env.module.name(), "--exec", &test.name])
        .args(env.long.then_some("--long"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn();
    let mut group = match child {
        Ok(child) => Group(child),
        Err(error) => return Outcome::Failed(format!("cannot start: {error}")),
    };
    let out = collect(group.0.stdout.take());
    let err = collect(group.0.stderr.take());
    let mut trouble = String::new();
    let limit = match env.long {
        true => test.limit * LONG,
        false => test.limit,
    };
    let mut status = wait(&mut group.0, limit);
    if status.is_none() {
        trouble = format!(
            "still running after {} s; who waits where:\n{}",
            limit.as_secs(),
            stacks::dump(group.0.id())
        );
        let _ = killpg(Pid::from_raw(group.0.id() as i32), Signal::SIGKILL);
        status = wait(&mut group.0, Duration::from_secs(1));
        if status.is_none() {
            trouble += "and it could not be killed; aborting all connections\n";
            system::abort_all(&env.kind);
            status = wait(&mut group.0, Duration::from_secs(5));
        }
        if status.is_none() {
            trouble += &format!("and that did not help:\n{}", stacks::dump(group.0.id()));
        }
    }
    // What is left of its group holds the pipes.
    drop(group);
    let out = joined(out);
    let err = joined(err);
    match status.and_then(|status| status.code()) {
        Some(0) if trouble.is_empty() => Outcome::Ok,
        Some(code) if code == i32::from(SKIPPED) && trouble.is_empty() => {
            Outcome::Skipped(out.trim().replace('\n', " "))
        }
        _ => {
            if trouble.is_empty() {
                if let Some(status) = status {
                    trouble = format!("{status}\n");
                }
            }
            Outcome::Failed(format!("{trouble}{err}{out}"))
        }
    }
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let end = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        if Instant::now() >= end {
            return None;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Option<JoinHandle<String>> {
    let mut pipe = pipe?;
    Some(thread::spawn(move || {
        let mut bytes = Vec::new();
        // What came before an error is of use too.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

/// What was collected. A process that cannot be killed keeps its pipes open: then nothing.
fn joined(collector: Option<JoinHandle<String>>) -> String {
    let Some(collector) = collector else {
        return String::new();
    };
    let end = Instant::now() + Duration::from_secs(2);
    while !collector.is_finished() {
        if Instant::now() >= end {
            return String::from("(its output could not be read to the end)\n");
        }
        thread::sleep(Duration::from_millis(2));
    }
    collector.join().unwrap_or_default()
}

/// Runs one test in this process.
pub fn exec(test: &Test, env: &Env) -> ExitCode {
    // Without a terminal or a shell in the way, this works; else the group is there already.
    let _ = setpgid(Pid::from_raw(0), Pid::from_raw(0));
    if let Err(error) = unshare(CloneFlags::CLONE_NEWNS) {
        eprintln!("no mount namespace: {error}");
        return ExitCode::FAILURE;
    }
    let nothing: Option<&Path> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    if let Err(error) = mount(nothing, "/", nothing, private, nothing) {
        eprintln!("cannot keep mounts to myself: {error}");
        return ExitCode::FAILURE;
    }
    if let Err(error) = system::mount_control(&env.kind) {
        eprintln!("cannot mount the control file system: {error}");
        return ExitCode::FAILURE;
    }
    if let Err(error) = fs::create_dir_all(system::SCRATCH) {
        eprintln!("{}: {error}", system::SCRATCH);
        return ExitCode::FAILURE;
    }
    // A panic is on standard error by now; unwinding has taken down what the test had mounted.
    match std::panic::catch_unwind(|| (test.run)(env)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
