// SPDX-License-Identifier: GPL-2.0

//! The program `fuseq`, as people use it: what is stuck, on both modules as far as it can be known.

use crate::{
    caller::{eventually, process, Process, PATIENCE},
    env::Env,
    fs::Fs,
    model::{Answer, Model, FILE},
    sys, system,
    terminal::Terminal,
    tests::{programs::ours, tests},
};
use fuseq::life::Story;
use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use rawfuse::abi::{init_flags, open_flags, Opcode};
use std::{
    fs,
    io::{BufReader, Read, Write},
    path::Path,
    process::{Command, Output},
    thread,
    time::Duration,
};

tests![
    ls_lists_connections,
    ls_of_none,
    stuck_names_what_hangs,
    stuck_names_files_by_their_nodes,
    stuck_names_who_sleeps_until_a_folio_is_read,
    stuck_names_who_sleeps_until_a_folio_is_written,
    stuck_names_who_reads_past_the_cache,
    stuck_finds_nothing,
    stuck_aborts,
    stuck_flushes_and_sends_again,
    stuck_needs_to_know_what_to_abort,
    top_shows_what_happens,
    top_is_pictured,
    records_and_reports,
    record_needs_a_command_that_exists,
];

/// What `fuseq` says, by standard output, and how it ended.
#[track_caller]
fn fuseq(arguments: &[&str]) -> (String, i32) {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(ours("fuseq"))
        .args(arguments)
        .output()
        .expect("fuseq");
    let text = String::from_utf8(stdout).expect("text") + &String::from_utf8_lossy(&stderr);
    println!("$ fuseq {}\n{text}", arguments.join(" "));
    (text, status.code().expect("an exit status"))
}

/// The number of its connection, as people write it.
#[track_caller]
fn number(env: &Env, fs: &Fs) -> String {
    let dir = fs.control(env);
    dir.file_name().unwrap().to_str().unwrap().into()
}

/// The words of the line that has `part` in it.
#[track_caller]
fn words<'a>(text: &'a str, part: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.contains(part));
    let line = line.unwrap_or_else(|| panic!("no {part} in:\n{text}"));
    line.split_whitespace().collect()
}

/// A process whose `stat` of the file `name` is not answered: its LOOKUP has been read.
#[track_caller]
fn hangs(fs: &Fs, name: &str) -> Process {
    let caller = process(|| {
        fs::write("/proc/self/comm", "hangs").expect("a name");
        // As people call it: from a directory of theirs.
        std::env::set_current_dir("/tmp").expect("cd");
        let path = fs.path(name);
        system::errno(sys::stat(path.strip_prefix("/tmp").expect("in /tmp")))
    });
    let lookup = fs.expect(Opcode::Lookup);
    assert_eq!(lookup.name(), name);
    caller
}

fn ls_lists_connections(env: &Env) {
    let (one, other) = (Fs::new(env), Fs::new(env));
    let caller = hangs(&one, "file");
    let (text, status) = fuseq(&["ls"]);
    assert_eq!(status, 0);
    let me = std::process::id();
    for (fs, waiting) in [(&one, "1"), (&other, "0")] {
        let line = words(&text, fs.dir.to_str().unwrap());
        let at = line
            .iter()
            .position(|word| *word == number(env, fs))
            .expect("its number");
        // This process, and the caller, which has its descriptors.
        assert!(line[at + 1].ends_with(&format!("[{me}]")), "{line:?}");
        let counts: Vec<_> = line
            .iter()
            .filter(|word| ["0", "1", "-"].contains(word))
            .collect();
        match env.is_rust() {
            true => {
                let expected = [waiting, "0", "0", "0", "0", waiting, "0", "0"];
                assert!(
                    counts.iter().map(|word| **word).take(8).eq(expected),
                    "{line:?}"
                );
            }
            false => {
                let expected = [waiting, "-", "-", "-", "-", "-", "-", "-", "-"];
                assert!(counts.iter().map(|word| **word).eq(expected), "{line:?}");
            }
        }
    }
    assert_eq!(text.contains("C fuse tells"), !env.is_rust());
    // By a name, it is one of them.
    let (text, _) = fuseq(&["ls", other.dir.to_str().unwrap()]);
    assert!(!text.contains(one.dir.to_str().unwrap()));
    let (text, status) = fuseq(&["ls", "/nowhere"]);
    assert_eq!(status, 2);
    assert!(text.contains("/nowhere: no such connection; there are "));
    drop(caller);
    drop(one);
}

fn ls_of_none(_env: &Env) {
    let (text, status) = fuseq(&["ls"]);
    assert_eq!((text.as_str(), status), ("No connections.\n", 0));
}

fn stuck_names_what_hangs(env: &Env) {
    let fs = Fs::new(env);
    let caller = hangs(&fs, "file");
    thread::sleep(Duration::from_millis(1200));
    let (text, status) = fuseq(&["stuck"]);
    assert_eq!(status, 1);
    let line = words(&text, &format!("hangs[{}]  ", caller.pid()));
    assert!(line.contains(&"LOOKUP"), "{line:?}");
    assert!(
        line.contains(&fs.path("file").to_str().unwrap()),
        "{line:?}"
    );
    assert!(text.contains(&format!(
        "{} (connection {})",
        fs.dir.display(),
        number(env, &fs)
    )));
    match env.is_rust() {
        true => {
            let age: f64 = line[0].parse().expect("an age");
            assert!((1.2..60.0).contains(&age) && line[1] == "s", "{line:?}");
            assert!(
                line.contains(&"processing") && line.contains(&"1,"),
                "{line:?}"
            );
            assert!(
                text.contains("has read 1 of them and not answered"),
                "{text}"
            );
            assert!(text.contains("--resend"), "{text}");
        }
        false => {
            assert_eq!(line[..2], ["up", "to"], "{line:?}");
            assert!(text.contains("queue and node are not to be had"), "{text}");
            assert!(!text.contains("--resend"), "{text}");
        }
    }
    assert!(
        text.contains(&format!("--abort {}", number(env, &fs))),
        "{text}"
    );
}

/// A file that another process has open is known by its inode's number where the call names none.
fn stuck_names_files_by_their_nodes(env: &Env) {
    let fs = Fs::new(env);
    let mut model = Model::cached();
    let caller = process(|| {
        let map = sys::open(&fs.path("file")).and_then(|file| {
            let kind = libc::MAP_PRIVATE;
            sys::Map::new(&file, 4096, false, kind).map(|map| (map, file))
        });
        // The fault is in no system call.
        map.map_or(1, |(map, _file)| i32::from(map.get(0, 1)[0]))
    });
    loop {
        let req = fs.next();
        match (req.opcode(), model.answer(&req)) {
            (Opcode::Read, _) => break,
            (_, Answer::Bytes(bytes)) => fs.reply_bytes(&req, &bytes),
            (_, Answer::Error(error)) => fs.reply_error(&req, error),
            (_, Answer::Nothing) => {}
        }
    }
    let (text, status) = fuseq(&["stuck", "--older", "0", &number(env, &fs)]);
    assert_eq!(status, 1);
    let line = words(&text, "READ");
    match env.is_rust() {
        true => assert!(
            line.contains(&fs.path("file").to_str().unwrap()),
            "{line:?}"
        ),
        false => assert!(line.contains(&"?"), "{line:?}"),
    }
    drop(caller);
}

/// A file system with a file of a megabyte, whose daemon answers all but `READ` and `WRITE`.
struct Unfilled {
    fs: Fs,
    model: Model,
}

impl Unfilled {
    #[track_caller]
    fn new(env: &Env, flags: u64) -> Self {
        let mut model = Model::cached();
        model.add(FILE, libc::S_IFREG | 0o644, &vec![b'x'; 1 << 20]);
        // Else who opens it sleeps on the folio as well.
        model.open_flags = open_flags::KEEP_CACHE;
        let fs = Fs::with_flags(env, flags);
        Self { fs, model }
    }

    /// A process of that name that does something with the file.
    #[track_caller]
    fn process(&self, name: &str, act: impl FnOnce(&mut fs::File) -> i32) -> Process {
        process(|| {
            fs::write("/proc/self/comm", name).expect("a name");
            let flags = libc::O_RDWR;
            let mut file = sys::open_with(&self.fs.path("file"), flags).expect("the file");
            act(&mut file)
        })
    }

    /// Serves until what `fuseq stuck` says has such a line; the text, and that line's words.
    #[track_caller]
    fn stuck(&mut self, env: &Env, parts: &[&str]) -> (String, Vec<String>) {
        let number = number(env, &self.fs);
        let mut found = None;
        eventually(&format!("a line with {parts:?}"), || {
            let pause = Duration::from_millis(100);
            while self.fs.channel.wait_readable(pause).expect("poll") {
                let req = self.fs.next();
                match (req.opcode(), self.model.answer(&req)) {
                    (Opcode::Read | Opcode::Write, _) => {}
                    (_, Answer::Bytes(bytes)) => self.fs.reply_bytes(&req, &bytes),
                    (_, Answer::Error(error)) => self.fs.reply_error(&req, error),
                    (_, Answer::Nothing) => {}
                }
            }
            let (text, _) = fuseq(&["stuck", "--older", "0", &number]);
            let has_all = |line: &&str| parts.iter().all(|part| line.contains(part));
            let words = |line: &str| line.split_whitespace().map(String::from).collect();
            let line = text.lines().find(has_all).map(words);
            found = line.map(|line| (text, line));
            found.is_some()
        });
        found.expect("it was found")
    }
}

/// Nobody waits for what is read ahead, but who reads sleeps on its folio; and so does who reads the
/// same in a mapping, and has no request at all.
fn stuck_names_who_sleeps_until_a_folio_is_read(env: &Env) {
    let mut unfilled = Unfilled::new(env, init_flags::ASYNC_READ);
    let reads = unfilled.process("reads", |file| system::errno(file.read(&mut [0; 4096])));
    let path = unfilled.fs.path("file");
    let path = path.to_str().unwrap();
    let who = format!("reads[{}]", reads.pid());
    match env.is_rust() {
        true => unfilled.stuck(env, &[&who, "until it is read", path, "(node 2, in read)"]),
        false => unfilled.stuck(env, &[&who, "READ", path, "(in read, on a folio)"]),
    };
    let maps = unfilled.process("maps", |file| {
        let map = sys::Map::new(file, 4096, false, libc::MAP_PRIVATE).expect("a mapping");
        i32::from(map.get(0, 1)[0])
    });
    let who = format!("maps[{}]", maps.pid());
    let (text, _) = match env.is_rust() {
        true => unfilled.stuck(env, &[&who, "until it is read", path, "(node 2, mapped)"]),
        false => unfilled.stuck(env, &[&who, "READ", path, "(mapped, on a folio)"]),
    };
    // What is a fact and what is not is told.
    assert!(text.contains("Known") && text.contains("guess"), "{text}");
    assert!(!text.contains("No process"), "{text}");
    let line = words(&text, "can be killed");
    for process in [&reads, &maps] {
        assert!(line.contains(&&process.pid().to_string()[..]), "{line:?}");
        process.signal(Signal::SIGKILL);
        // In C FUSE the reply to its FLUSH is waited for.
        let ends = !env.is_rust() || process.ended_within(PATIENCE).is_some();
        assert!(ends, "{} is there still", process.pid());
    }
    let (text, _) = fuseq(&["stuck", "--older", "0", &number(env, &unfilled.fs)]);
    if env.is_rust() {
        assert!(text.contains("No process that we can see waits"), "{text}");
    }
}

/// The same with a `WRITE` of writeback, and who wants it on disk.
fn stuck_names_who_sleeps_until_a_folio_is_written(env: &Env) {
    let mut unfilled = Unfilled::new(env, init_flags::WRITEBACK_CACHE);
    let syncs = unfilled.process("syncs", |file| {
        let written = file.write_all(&[b'y'; 4096]);
        system::errno(written.and_then(|()| file.sync_data()))
    });
    let path = unfilled.fs.path("file");
    let path = path.to_str().unwrap();
    let who = format!("syncs[{}]", syncs.pid());
    let (text, _) = match env.is_rust() {
        true => unfilled.stuck(
            env,
            &[&who, "until it is written", path, "(node 2, in fdatasync)"],
        ),
        false => unfilled.stuck(env, &[&who, "WRITE", path, "(in fdatasync, on a folio)"]),
    };
    assert!(text.contains("Known") && text.contains("guess"), "{text}");
    assert!(text.contains("cannot be killed"), "{text}");
    assert!(!text.contains("No process"), "{text}");
    unfilled.fs.force_unmount();
}

/// Who reads past the cache by many requests at once waits for each, though they are background ones.
fn stuck_names_who_reads_past_the_cache(env: &Env) {
    let mut unfilled = Unfilled::new(env, init_flags::ASYNC_DIO);
    let reads = unfilled.process("direct", |file| {
        let direct = sys::fcntl(file, libc::F_SETFL, libc::O_DIRECT);
        let map = sys::Map::anonymous(1 << 20, 1 << 20);
        let read = direct.and_then(|_| sys::read_to(file, &map, 0, 1 << 20, 0));
        system::errno(read)
    });
    let path = unfilled.fs.path("file");
    let path = path.to_str().unwrap();
    let who = format!("direct[{}]", reads.pid());
    let (text, _) = match env.is_rust() {
        true => unfilled.stuck(env, &[&who, "until it goes on", path]),
        false => unfilled.stuck(env, &[&who, "READ", path]),
    };
    assert!(!text.contains("No process"), "{text}");
    unfilled.fs.force_unmount();
}

fn stuck_finds_nothing(env: &Env) {
    let fs = Fs::new(env);
    let (text, status) = fuseq(&["stuck"]);
    assert_eq!(
        (text.as_str(), status),
        ("Nothing is stuck: no request has waited for 1.0 s.\n", 0)
    );
    drop(fs);
}

fn stuck_aborts(env: &Env) {
    let fs = Fs::new(env);
    let caller = hangs(&fs, "file");
    let (text, status) = fuseq(&["stuck", "--abort", fs.dir.to_str().unwrap()]);
    assert_eq!(status, 0, "{text}");
    assert!(text.ends_with("aborted\n"), "{text}");
    assert_eq!(caller.code(), libc::ECONNABORTED);
    assert!(!fs::exists(format!("/proc/{}", caller.pid())).unwrap());
}

fn stuck_flushes_and_sends_again(env: &Env) {
    let fs = Fs::new(env);
    let number = number(env, &fs);
    let caller = hangs(&fs, "file");
    for action in ["--resend", "--flush"] {
        let (text, status) = fuseq(&["stuck", action, &number]);
        if !env.is_rust() {
            assert_eq!(status, 2);
            assert!(
                text.contains("C fuse has no ") && text.contains("--abort"),
                "{text}"
            );
            continue;
        }
        assert_eq!(status, 0, "{text}");
        if action == "--resend" {
            assert_eq!(fs.expect(Opcode::Lookup).name(), "file");
        }
    }
    if env.is_rust() {
        assert_eq!(caller.code(), libc::EIO);
    }
}

fn stuck_needs_to_know_what_to_abort(env: &Env) {
    let fs = Fs::new(env);
    for arguments in [&["--abort"][..], &["--abort", "--flush", "1"]] {
        let (text, status) = fuseq(&[&["stuck"], arguments].concat());
        assert_eq!(status, 2);
        assert!(text.contains("Usage: fuseq stuck"), "{text}");
    }
    let (text, status) = fuseq(&["stuck", "--abort", "4000000000"]);
    assert_eq!(status, 2);
    assert!(text.contains("no such connection; there are "), "{text}");
    // Nothing happened to it.
    let caller = hangs(&fs, "file");
    drop(caller);
}

fn top_shows_what_happens(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.dir.to_str().unwrap();
    let mut command = Command::new(ours("fuseq"));
    let mut terminal = Terminal::start(command.args(["top", "-i", "0.2", path]), (34, 110));
    terminal.shows(&["fuseq top", path, "0 waiting"]);
    terminal.shows(&["q quit"]);
    // On C fuse, what is missing is said, and the queues appear with the first look.
    terminal.shows(&["processing", "0"]);
    let caller = hangs(&fs, "file");
    terminal.shows(&["fuseq top", "1 waiting"]);
    let who = format!("hangs[{}]", caller.pid());
    terminal.shows(&["LOOKUP", "processing", &who]);
    terminal.shows(&["processing", "1", "█"]);
    assert_eq!(
        terminal.text().contains("C fuse: by its tracepoints"),
        !env.is_rust()
    );
    terminal.press("p");
    terminal.shows(&["PAUSED"]);
    terminal.press("pq");
    assert!(terminal.ends().success());
    drop(caller);
}

/// Where pages go that pictures are taken of (`qemu-scripts/lab --pictures top`), if anywhere.
const PICTURES: &str = "/run/guest/share";

/// All queues and operations are on the screen of a person who watches a busy file system, of which this
/// makes the picture.
fn top_is_pictured(env: &Env) {
    let dir = Path::new("/tmp/guest-tests/busy");
    fs::create_dir_all(dir).expect("a directory");
    let rules = "on READ: stall 4ms\non GETATTR node 7 nth 9: drop";
    let mut daemon = Command::new(ours("faultd"));
    daemon.args(["-f", "--threads", "4", "-o", "max_read=4096", "-e", rules]);
    let mut daemon = daemon.arg(dir).spawn().expect("faultd");
    eventually("it is mounted", || {
        fs::read_to_string("/proc/self/mounts")
            .is_ok_and(|mounts| mounts.contains(" /tmp/guest-tests/busy "))
    });
    let busy = "while :; do echo 1 > /proc/sys/vm/drop_caches; cat big > /dev/null; done &\n\
        while :; do stat hello dir dir/a dir/b none > /dev/null 2>&1; ls -l dir > /dev/null; done &\n\
        while :; do echo x > dir/b; rm -f new; mkdir -p new; rmdir new; done &\n\
        stat_all() { while :; do cat dir/c; done; }; stat_all > /dev/null & wait";
    let mut work = Command::new("setsid");
    let mut work = work
        .args(["sh", "-c", busy])
        .current_dir(dir)
        .spawn()
        .expect("sh");
    let path = dir.to_str().unwrap();
    let mut command = Command::new(ours("fuseq"));
    let mut terminal = Terminal::start(command.args(["top", "-i", "0.25", path]), (38, 120));
    terminal.shows(&["fuseq top", path, "requests/s"]);
    // Rates are of two seconds.
    let queues: &[&str] = match env.is_rust() {
        true => &[
            "background",
            "pending",
            "processing",
            "interrupts",
            "forgets",
        ],
        false => &["pending", "processing"],
    };
    // A row has its name, how many there are, and how many have come.
    let row = |name: &str, line: &str| {
        let mut words = line.trim_start_matches('│').split_whitespace();
        words.next() == Some(name) && words.take(2).all(|word| word.parse::<f64>().is_ok())
    };
    let has_row = |text: &str, name: &str| text.lines().any(|line| row(name, line));
    let operations = &["LOOKUP", "GETATTR", "READ", "OPEN", "MKDIR"];
    eventually("a screen with all rows, and a bar", || {
        let text = terminal.text();
        let mut names = queues.iter().chain(operations);
        names.all(|name| has_row(&text, name)) && text.contains("█")
    });
    terminal.press("p");
    terminal.shows(&["PAUSED"]);
    if fs::exists(PICTURES).is_ok_and(|there| there) {
        let page = Path::new(PICTURES).join("fuseq-top.html");
        fs::write(page, terminal.page("fuseq top")).expect("the page");
    }
    terminal.press("q");
    assert!(terminal.ends().success());
    // All of its processes: they have a session of their own.
    let group = Pid::from_raw(work.id() as i32);
    let _ = kill(Pid::from_raw(-group.as_raw()), Signal::SIGKILL);
    let _ = work.wait();
    let (_, status) = fuseq(&["stuck", "--abort", path]);
    assert_eq!(status, 0);
    let _ = nix::mount::umount2(dir, nix::mount::MntFlags::MNT_DETACH);
    daemon.wait().expect("faultd");
}

/// Serves until a program has ended; how that was.
#[track_caller]
fn serve(fs: &Fs, command: &mut Command) -> std::process::ExitStatus {
    let mut model = Model::cached();
    let mut program = command.spawn().expect("it starts");
    loop {
        if let Some(status) = program.try_wait().expect("wait") {
            return status;
        }
        if !fs
            .channel
            .wait_readable(Duration::from_millis(20))
            .expect("poll")
        {
            continue;
        }
        let req = fs.next();
        match model.answer(&req) {
            Answer::Bytes(bytes) => fs.reply_bytes(&req, &bytes),
            Answer::Error(error) => fs.reply_error(&req, error),
            Answer::Nothing => {}
        }
    }
}

fn records_and_reports(env: &Env) {
    let fs = Fs::new(env);
    let recording = "/tmp/guest-tests/recording.trace";
    let mut command = Command::new(ours("fuseq"));
    command.args([
        "record",
        "-o",
        recording,
        "-c",
        &number(env, &fs),
        "--",
        "cat",
    ]);
    // Its status is that of the command, which finds no such file.
    let status = serve(&fs, command.arg(fs.path("file")).arg(fs.path("none")));
    assert_eq!(status.code(), Some(1));
    let story =
        Story::read(BufReader::new(fs::File::open(recording).expect("it"))).expect("a recording");
    assert_eq!(
        (story.has_rust, story.has_c),
        (env.is_rust(), !env.is_rust())
    );
    assert_eq!(story.lost, 0);
    let mount = story.connections.values().map(|(mount, _)| mount.as_str());
    assert!(mount.eq([fs.dir.to_str().unwrap()]));
    let by_cat = |opcode: &str| {
        let mut lives = story.lives.iter();
        let life = lives.find(|life| life.comm == "cat" && life.opcode == opcode);
        life.unwrap_or_else(|| panic!("no {opcode} in {story:?}"))
            .clone()
    };
    let lookup = by_cat("LOOKUP");
    assert!(lookup.end.is_some() && !lookup.began_before, "{lookup:?}");
    let read = by_cat("READ");
    let places: Vec<_> = read.stays.iter().map(|stay| stay.place.name()).collect();
    assert!(places.contains(&"processing"), "{places:?}");
    match env.is_rust() {
        true => {
            assert!(lookup.nodeid == Some(1) && lookup.error == Some(0));
            // A header, and the name.
            assert_eq!(lookup.len, Some(40 + "file".len() as u32 + 1));
        }
        false => {
            assert_eq!(places, ["pending", "processing"]);
            assert!(lookup.nodeid.is_none() && lookup.error == Some(0));
        }
    }
    // No instance is left behind.
    let instances = fs::read_dir("/sys/kernel/tracing/instances").expect("tracefs");
    assert_eq!(instances.count(), 0);
    let (text, status) = fuseq(&["report", recording]);
    assert_eq!(status, 0, "{text}");
    let page = fs::read_to_string("/tmp/guest-tests/recording.html").expect("a page");
    assert!(page.contains("<canvas") && page.contains("\"LOOKUP\""));
    let (text, status) = fuseq(&["report", "--chrome", "-o", "-", recording]);
    assert_eq!(status, 0);
    assert!(text.starts_with("{\"displayTimeUnit\""));
}

fn record_needs_a_command_that_exists(_env: &Env) {
    let output = "/tmp/guest-tests/none.trace";
    let (text, status) = fuseq(&["record", "-o", output, "/no/such/program"]);
    assert_eq!(status, 2);
    assert!(text.contains("/no/such/program: No such file"), "{text}");
    let (text, status) = fuseq(&["report", "/no/such/file"]);
    assert_eq!(status, 2);
    assert!(text.contains("/no/such/file: No such file"), "{text}");
    let instances = fs::read_dir("/sys/kernel/tracing/instances").expect("tracefs");
    assert_eq!(instances.count(), 0);
}
