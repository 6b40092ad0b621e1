// SPDX-License-Identifier: GPL-2.0

//! `faultd`: each thing that it can do wrong, and what the kernel makes of it.

use crate::{
    caller::{call, eventually, process, Caller, Process, PATIENCE},
    env::Env,
    fs::{control_dir, fresh_dir},
    runner, sys, system,
    tests::{
        programs::{ours, Daemon},
        tests,
    },
};
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};
use rawfuse::{Errno, Kind};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

tests![
    serves_files,
    delay_lets_others_go_first,
    an_interrupt_ends_a_delay,
    interrupts_can_be_ignored,
    stall_keeps_everybody_waiting,
    reorder_answers_the_last_first,
    drop_leaves_callers_waiting,
    error_of_each_kind,
    garbage_is_refused,
    answers_of_any_bytes,
    twice_is_once_too_often,
    crash_before_the_answer,
    crash_in_the_answer,
    crash_after_the_answer,
    another_takes_over,
    rules_for_names_and_counts,
    notifications_of_data,
    notifications_of_names,
    notification_that_resends,
    notifications_that_make_no_sense,
];

const SHORT: Duration = Duration::from_millis(150);

/// A file system that fails by these rules, and what its daemon says.
struct Faulty {
    dir: PathBuf,
    log: PathBuf,
    daemon: Daemon,
}

fn command(env: &Env, log: &Path) -> Command {
    let mut command = Command::new(ours("faultd"));
    command.arg("-d");
    if env.kind != Kind::FUSE {
        command.arg("--coexist");
    }
    command.stderr(File::create(log).expect("a log"));
    command
}

impl Faulty {
    #[track_caller]
    fn new(env: &Env, rules: &[&str]) -> Self {
        Self::with(env, &[], rules)
    }

    #[track_caller]
    fn with(env: &Env, options: &[&str], rules: &[&str]) -> Self {
        let dir = fresh_dir();
        let log = dir.with_extension("log");
        let mut command = command(env, &log);
        for rule in rules {
            command.args(["-e", rule]);
        }
        let daemon = Daemon::start(command.args(options).arg(&dir), &dir);
        let faulty = Self { dir, log, daemon };
        // What happens before is of no interest.
        faulty.says("INIT", "answer: ok");
        faulty
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// A thread that stats a file.
    fn stat(&self, name: &str) -> Caller<io::Result<()>> {
        let path = self.path(name);
        call(move || sys::stat(&path).map(drop))
    }

    /// A process that does so, and that a `SIGUSR1` does not kill.
    fn stat_process(&self, name: &str) -> Process {
        extern "C" fn nothing(_: i32) {}
        let path = self.path(name);
        process(move || {
            let (flags, mask) = (SaFlags::empty(), SigSet::empty());
            let action = SigAction::new(SigHandler::Handler(nothing), flags, mask);
            #[allow(unsafe_code)]
            // SAFETY: The handler does nothing.
            unsafe { sigaction(Signal::SIGUSR1, &action) }.expect("sigaction");
            system::errno(sys::stat(&path))
        })
    }

    /// The lines that the daemon has printed with these words in them.
    fn lines(&self, words: &str) -> Vec<String> {
        let text = fs::read_to_string(&self.log).expect("the log");
        let lines = text.lines().filter(|line| line.contains(words));
        lines.map(str::to_string).collect()
    }

    /// Waits until the daemon has said something of a request.
    #[track_caller]
    fn says(&self, request: &str, what: &str) {
        let said = || self.lines(request).iter().any(|line| line.ends_with(what));
        eventually(&format!("{request}: {what}"), said);
    }

    /// How many requests of a kind there were: the daemon has one thread, and says what it did before
    /// it reads another.
    #[track_caller]
    fn count(&self, request: &str, what: &str) -> usize {
        system::assert_errno(sys::stat(&self.path("none")), Errno::ENOENT);
        let lines = self.lines(request);
        lines.iter().filter(|line| line.ends_with(what)).count()
    }

    #[track_caller]
    fn abort(&self, env: &Env) {
        fs::write(control_dir(env, &self.dir).join("abort"), "1").expect("abort");
    }

    /// Unmounts it, which its daemon survives.
    #[track_caller]
    fn end(self) {
        nix::mount::umount(&self.dir).expect("umount");
        self.daemon.ends();
    }
}

fn serves_files(env: &Env) {
    let faulty = Faulty::new(env, &[]);
    let names = |dir: &Path| {
        let list = sys::list(dir).expect("ls");
        let mut names: Vec<_> = list
            .into_iter()
            .map(|entry| entry.name.into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&faulty.dir), [".", "..", "big", "dir", "hello"]);
    assert_eq!(names(&faulty.path("dir")), [".", "..", "a", "b", "c"]);
    for (name, ino) in [("hello", 2), ("big", 3), ("dir", 4), ("dir/a", 5)] {
        assert_eq!(sys::stat(&faulty.path(name)).unwrap().st_ino, ino);
    }
    let hello = faulty.path("hello");
    assert_eq!(fs::read(&hello).unwrap(), b"Hello World!\n");
    let big = fs::read(faulty.path("big")).unwrap();
    assert_eq!(big.len(), 1 << 20);
    assert_eq!(&big[4096 * 16..][..16], b"          65536\n");
    fs::create_dir(faulty.path("new")).expect("mkdir");
    fs::write(faulty.path("new/file"), [7; 300_000]).expect("write");
    fs::rename(faulty.path("new/file"), &hello).expect("rename");
    assert_eq!(fs::read(&hello).unwrap(), [7; 300_000]);
    system::assert_errno(fs::remove_dir(faulty.path("dir")), Errno::ENOTEMPTY);
    fs::remove_dir(faulty.path("new")).expect("rmdir");
    let open = File::options().write(true).open(&hello).expect("open");
    fs::remove_file(&hello).expect("unlink");
    assert_eq!(open.metadata().expect("fstat").len(), 300_000);
    open.set_len(10).expect("truncate");
    assert_eq!(open.metadata().expect("fstat").len(), 10);
    drop(open);
    assert_eq!(names(&faulty.dir), [".", "..", "big", "dir"]);
    faulty.end();
}

fn delay_lets_others_go_first(env: &Env) {
    let faulty = Faulty::new(env, &["on GETATTR node 2: delay 2s"]);
    let began = Instant::now();
    let slow = faulty.stat("hello");
    faulty.says("GETATTR, node 2", "delay 2s: begins");
    sys::stat(&faulty.path("dir/a")).expect("another");
    slow.result().expect("in the end");
    assert!(began.elapsed() >= Duration::from_secs(2));
    faulty.says("GETATTR, node 2", "answer: ok");
    let lines = faulty.lines("answer: ok");
    let at = |node: &str| lines.iter().position(|line| line.contains(node));
    assert!(at("GETATTR, node 5") < at("GETATTR, node 2"), "{lines:#?}");
    faulty.end();
}

fn an_interrupt_ends_a_delay(env: &Env) {
    let faulty = Faulty::new(env, &["on GETATTR node 2: delay forever"]);
    let caller = faulty.stat_process("hello");
    faulty.says("GETATTR, node 2", "begins");
    assert!(caller.ended_within(SHORT).is_none());
    caller.signal(Signal::SIGUSR1);
    assert_eq!(caller.code(), libc::EINTR);
    faulty.says("INTERRUPT", "answer: done");
    faulty.says("GETATTR, node 2", "interrupted: ok");
    faulty.end();
}

fn interrupts_can_be_ignored(env: &Env) {
    let rules = ["on GETATTR node 2: delay 2s", "on INTERRUPT: drop"];
    let faulty = Faulty::new(env, &rules);
    let caller = faulty.stat_process("hello");
    faulty.says("GETATTR, node 2", "begins");
    caller.signal(Signal::SIGUSR1);
    faulty.says("INTERRUPT", "drop: ok");
    assert_eq!(caller.code(), 0);
    faulty.end();
}

fn stall_keeps_everybody_waiting(env: &Env) {
    let faulty = Faulty::new(env, &["on GETATTR node 2: stall 2s"]);
    let slow = faulty.stat("hello");
    faulty.says("GETATTR, node 2", "stall 2s: begins");
    let other = faulty.stat("dir/a");
    assert!(other.still_waits(SHORT));
    slow.result().expect("in the end");
    other.result().expect("after that");
    faulty.says("GETATTR, node 5", "answer: ok");
    let lines = faulty.lines("answer: ok");
    let at = |node: &str| lines.iter().position(|line| line.contains(node));
    assert!(at("GETATTR, node 2") < at("GETATTR, node 5"), "{lines:#?}");
    faulty.end();
}

fn reorder_answers_the_last_first(env: &Env) {
    let faulty = Faulty::new(env, &["on GETATTR: reorder 3 60s"]);
    let callers: Vec<_> = [("hello", 2), ("big", 3), ("dir", 4)]
        .into_iter()
        .map(|(name, node)| {
            let caller = faulty.stat(name);
            // On the pile, before the next one comes.
            let begins = |node| faulty.says(&format!("GETATTR, node {node}"), "begins");
            begins(node);
            caller
        })
        .collect();
    for caller in callers {
        caller.result().expect("all of them");
    }
    faulty.says("GETATTR, node 2", "answer: ok");
    let lines = faulty.lines("answer: ok");
    let nodes: Vec<_> = lines
        .iter()
        .filter_map(|line| line.split("GETATTR, node ").nth(1)?.split(',').next())
        .collect();
    assert_eq!(nodes, ["4", "3", "2"]);
    faulty.end();
}

fn drop_leaves_callers_waiting(env: &Env) {
    let faulty = Faulty::new(env, &["on GETATTR node 2: drop"]);
    let (killed, aborted) = (faulty.stat_process("hello"), faulty.stat_process("hello"));
    eventually("both were dropped", || faulty.lines("drop: ok").len() == 2);
    sys::stat(&faulty.path("dir/a")).expect("others are served");
    killed.signal(Signal::SIGKILL);
    match env.is_rust() {
        true => assert!(killed.ended_within(PATIENCE).is_some()),
        // Its arguments are on its stack: it waits on, though it was killed.
        false => assert!(killed.ended_within(SHORT).is_none()),
    }
    assert!(aborted.ended_within(SHORT).is_none());
    faulty.abort(env);
    assert_eq!(aborted.code(), libc::ECONNABORTED);
    assert!(env.is_rust() || killed.ended_within(PATIENCE).is_some());
    // The daemon unmounts it then.
    faulty.daemon.ends();
}

fn error_of_each_kind(env: &Env) {
    let rules = [
        "on GETATTR node 2: error EACCES",
        "on GETATTR node 5: error 512, error -1, answer",
        "on GETATTR node 6: error 511",
    ];
    let faulty = Faulty::new(env, &rules);
    system::assert_errno(sys::stat(&faulty.path("hello")), Errno::EACCES);
    faulty.says("GETATTR, node 2", "error EACCES: ok");
    // What is no errno is refused, and the request waits on.
    sys::stat(&faulty.path("dir/a")).expect("it is answered in the end");
    faulty.says("GETATTR, node 5", "error 512: refused, EINVAL");
    faulty.says("GETATTR, node 5", "error -1: refused, EINVAL");
    faulty.says("GETATTR, node 5", "answer: ok");
    let error = sys::stat(&faulty.path("dir/b")).err();
    assert_eq!(error.and_then(|error| error.raw_os_error()), Some(511));
    faulty.end();
}

fn garbage_is_refused(env: &Env) {
    let rules = [
        "on GETATTR node 2: garbage",
        "on GETATTR node 5: garbage 7",
        "on GETATTR node 6: short 8",
        "on LOOKUP name \"c\": garbage",
        "on OPENDIR: garbage 0",
    ];
    let faulty = Faulty::new(env, &rules);
    // Of the right length, it is accepted; but then the file would be of another type.
    system::assert_errno(sys::stat(&faulty.path("hello")), Errno::EIO);
    faulty.says("GETATTR, node 2", "garbage: ok");
    system::assert_errno(sys::stat(&faulty.path("dir/a")), Errno::EIO);
    faulty.says("GETATTR, node 5", "garbage 7: refused, EINVAL");
    system::assert_errno(sys::stat(&faulty.path("dir/b")), Errno::EIO);
    faulty.says("GETATTR, node 6", "short 8: refused, EINVAL");
    system::assert_errno(sys::stat(&faulty.path("dir/c")), Errno::EIO);
    faulty.says("LOOKUP", "garbage: ok");
    system::assert_errno(sys::list(&faulty.path("dir")), Errno::EIO);
    faulty.says("OPENDIR", "garbage 0: refused, EINVAL");
    faulty.end();
}

fn answers_of_any_bytes(env: &Env) {
    let rules = ["on READ node 2: bytes 6869", "on READ node 5: garbage 4097"];
    let faulty = Faulty::new(env, &rules);
    // Of data less may come than was asked for, and then the file ends there.
    assert_eq!(fs::read(faulty.path("hello")).unwrap(), b"hi");
    system::assert_errno(fs::read(faulty.path("dir/a")), Errno::EIO);
    faulty.says("READ, node 5", "garbage 4097: refused, EINVAL");
    faulty.end();
}

fn twice_is_once_too_often(env: &Env) {
    let faulty = Faulty::new(env, &["on GETATTR node 2: twice"]);
    sys::stat(&faulty.path("hello")).expect("the first answer counts");
    faulty.says("GETATTR, node 2", "twice: ok");
    faulty.says("GETATTR, node 2", "twice: refused, ENOENT");
    faulty.end();
}

/// A daemon that crashes: what the caller gets, and that it is over.
#[track_caller]
fn crashes(env: &Env, moment: &str, expected: Errno) {
    let faulty = Faulty::new(env, &[&format!("on GETATTR node 2: crash {moment}")]);
    match expected {
        Errno::UnknownErrno => sys::stat(&faulty.path("hello")).map(drop).expect("stat"),
        expected => system::assert_errno(sys::stat(&faulty.path("hello")), expected),
    }
    let mut daemon = faulty.daemon;
    eventually("it is dead", || daemon.is_dead());
    system::assert_errno(sys::stat(&faulty.dir), Errno::ENOTCONN);
}

fn crash_before_the_answer(env: &Env) {
    crashes(env, "before", Errno::ECONNABORTED);
}

fn crash_in_the_answer(env: &Env) {
    // In Linux what is in a copy fails; here it is put back first, and then ends like all the rest.
    let expected = match env.is_rust() {
        true => Errno::ECONNABORTED,
        false => Errno::EIO,
    };
    crashes(env, "in", expected);
}

fn crash_after_the_answer(env: &Env) {
    crashes(env, "after", Errno::UnknownErrno);
}

fn another_takes_over(env: &Env) {
    if !env.is_rust() {
        runner::skip("mounts do not outlive their daemons in Linux");
    }
    let rules = ["on GETATTR node 2: crash before"];
    let mut faulty = Faulty::with(env, &["-o", "recover"], &rules);
    let caller = faulty.stat("hello");
    eventually("it is dead", || faulty.daemon.is_dead());
    assert!(caller.still_waits(SHORT));
    let control = control_dir(env, &faulty.dir);
    let number = control.file_name().expect("a number");
    let mut second = command(env, &faulty.log);
    faulty.daemon = Daemon::start(second.arg("--attach").arg(number), &faulty.dir);
    caller.result().expect("it waited only");
    faulty.says("GETATTR, node 2", "answer: ok");
    faulty.end();
}

fn rules_for_names_and_counts(env: &Env) {
    let rules = [
        "on GETATTR node 2 nth 2: error EIO",
        "on LOOKUP name \"a\" from 2: error EPERM",
        "on UNLINK|RMDIR: error EROFS",
    ];
    let faulty = Faulty::new(env, &rules);
    for expected in [0, libc::EIO, 0] {
        let got = sys::stat(&faulty.path("hello"));
        assert_eq!(system::errno(got), expected);
    }
    for expected in [0, libc::EPERM, libc::EPERM] {
        let got = sys::stat(&faulty.path("dir/a"));
        assert_eq!(system::errno(got), expected);
    }
    system::assert_errno(fs::remove_file(faulty.path("dir/b")), Errno::EROFS);
    system::assert_errno(fs::remove_dir(faulty.path("dir")), Errno::EROFS);
    faulty.end();
}

/// Reads a file's first bytes.
#[track_caller]
fn start(file: &File) -> [u8; 5] {
    let mut bytes = [0; 5];
    file.read_exact_at(&mut bytes, 0).expect("read");
    bytes
}

fn notifications_of_data(env: &Env) {
    let rules = [
        "on LOOKUP name \"1\": notify STORE 2 0 \"Jello\", answer",
        "on LOOKUP name \"2\": notify RETRIEVE 2 0 13, answer",
        "on LOOKUP name \"3\": notify INVAL_INODE 2, answer",
        "on LOOKUP name \"4\": notify INVAL_INODE 77, answer",
    ];
    let faulty = Faulty::with(env, &["--valid", "3600"], &rules);
    let tell = |name| system::assert_errno(sys::stat(&faulty.path(name)), Errno::ENOENT);
    let file = File::open(faulty.path("hello")).expect("open");
    assert_eq!(&start(&file), b"Hello");
    tell("1");
    faulty.says("LOOKUP", "notify STORE 2 0 \"Jello\": ok");
    assert_eq!(&start(&file), b"Jello");
    tell("2");
    faulty.says("NOTIFY_REPLY", "answer: done");
    tell("3");
    faulty.says("LOOKUP", "notify INVAL_INODE 2: ok");
    assert_eq!(&start(&file), b"Hello");
    assert_eq!(faulty.count("READ, node 2", "answer: ok"), 2);
    tell("4");
    faulty.says("LOOKUP", "notify INVAL_INODE 77: refused, ENOENT");
    drop(file);
    faulty.end();
}

fn notifications_of_names(env: &Env) {
    let rules = [
        "on LOOKUP name \"1\": answer, notify INVAL_ENTRY 4 \"a\"",
        "on LOOKUP name \"2\": answer, notify DELETE 4 6 \"b\"",
        "on LOOKUP name \"3\": answer, notify INC_EPOCH",
        "on LOOKUP name \"4\": answer, notify INVAL_ENTRY 4 \"c\" expire",
        "on LOOKUP name \"5\": answer, notify PRUNE 5 6",
        "on LOOKUP name \"6\": answer, notify POLL 5",
    ];
    let faulty = Faulty::with(env, &["--valid", "3600"], &rules);
    let tell = |name: &str, said: &str| {
        system::assert_errno(sys::stat(&faulty.path(name)), Errno::ENOENT);
        faulty.says("LOOKUP", said);
    };
    let lookups = |name: &str| {
        sys::stat(&faulty.path(name)).expect("stat");
        faulty.count("LOOKUP, node 4", "answer: ok")
    };
    assert_eq!(
        [lookups("dir/a"), lookups("dir/b"), lookups("dir/c")],
        [1, 2, 3]
    );
    assert_eq!(
        [lookups("dir/a"), lookups("dir/b")],
        [3, 3],
        "all names hold"
    );
    tell("1", "notify INVAL_ENTRY 4 \"a\": ok");
    assert_eq!([lookups("dir/b"), lookups("dir/a")], [3, 4]);
    tell("2", "notify DELETE 4 6 \"b\": ok");
    assert_eq!([lookups("dir/a"), lookups("dir/b")], [4, 5]);
    tell("3", "notify INC_EPOCH: ok");
    assert_eq!(
        [lookups("dir/a"), lookups("dir/b"), lookups("dir/c")],
        [6, 7, 8]
    );
    tell("4", "notify INVAL_ENTRY 4 \"c\" expire: ok");
    assert_eq!([lookups("dir/a"), lookups("dir/c")], [8, 9]);
    tell("5", "notify PRUNE 5 6: ok");
    assert_eq!(
        [lookups("dir/a"), lookups("dir/b"), lookups("dir/c")],
        [10, 11, 11]
    );
    tell("6", "notify POLL 5: ok");
    faulty.end();
}

fn notification_that_resends(env: &Env) {
    let rules = [
        "on GETATTR node 2 first 1: drop",
        "on LOOKUP name \"again\": answer, notify RESEND",
    ];
    let faulty = Faulty::new(env, &rules);
    let caller = faulty.stat("hello");
    faulty.says("GETATTR, node 2", "drop: ok");
    assert!(caller.still_waits(SHORT));
    system::assert_errno(sys::stat(&faulty.path("again")), Errno::ENOENT);
    caller.result().expect("it was sent again");
    // It says so when its reply has been taken.
    faulty.says("GETATTR, node 2", "answer: ok");
    let lines = faulty.lines("GETATTR, node 2");
    let resent = |line: &String| {
        let unique = line.strip_prefix("unique ")?.split(',').next()?;
        Some(unique.parse::<u64>().ok()? >> 63)
    };
    let marks: Vec<_> = lines.iter().filter_map(resent).collect();
    assert_eq!(marks, [0, 1], "{lines:#?}");
    faulty.end();
}

fn notifications_that_make_no_sense(env: &Env) {
    let rules = [
        "on LOOKUP name \"1\": notify raw 99",
        "on LOOKUP name \"2\": notify raw 3 0102",
        "on LOOKUP name \"3\": notify raw -1",
    ];
    let faulty = Faulty::new(env, &rules);
    for name in ["1", "2", "3"] {
        system::assert_errno(sys::stat(&faulty.path(name)), Errno::ENOENT);
    }
    faulty.says("LOOKUP", "notify raw 99: refused, EINVAL");
    faulty.says("LOOKUP", "notify raw 3 0102: refused, EINVAL");
    faulty.says("LOOKUP", "notify raw -1: refused, EINVAL");
    faulty.end();
}
