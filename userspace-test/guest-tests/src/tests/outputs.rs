// SPDX-License-Identifier: GPL-2.0

//! What the module shows of its queues, held against what docs/ARCHITECTURE.md says of it.

use crate::{
    caller::{call, eventually, process, Caller},
    env::Env,
    fs::{Fs, Req},
    model::{Model, Served},
    runner::skip,
    sys, system,
    tests::tests,
};
use nix::sys::signal::Signal;
use rawfuse::{abi::Opcode, Errno};
use std::{collections::BTreeMap, fs, io};

tests![
    queues_are_as_documented,
    latency_is_as_documented,
    tracepoints_are_as_documented,
    tracepoints_tell_all,
    forgets_are_traced,
];

const PAGE: &str = include_str!("../../../../docs/ARCHITECTURE.md");

/// The names and values of a line, which is nothing but those.
#[track_caller]
fn fields(line: &str) -> Vec<(&str, &str)> {
    line.split(' ')
        .map(|field| match field.split_once('=') {
            Some(field) => field,
            None => panic!("no field: {field:?} in {line}"),
        })
        .collect()
}

#[track_caller]
fn names(line: &str) -> Vec<&str> {
    fields(line).into_iter().map(|(name, _)| name).collect()
}

/// The names in the line of the page that begins so.
#[track_caller]
fn documented(start: &str) -> Vec<&'static str> {
    let line = PAGE.lines().find(|line| line.starts_with(start));
    names(line.expect("an example").trim_start_matches("request "))
}

/// The fields of a request that the page explains, in their order.
fn explained() -> Vec<&'static str> {
    let rows = PAGE
        .lines()
        .skip_while(|line| !line.starts_with("| field |"));
    rows.skip(2)
        .map_while(|row| row.strip_prefix("| `")?.split('`').next())
        .collect()
}

/// A file system with a request at the daemon.
fn stuck(env: &Env) -> (Fs, Req, Caller<io::Result<()>>) {
    if !env.is_rust() {
        skip("C FUSE shows nothing of the kind");
    }
    let fs = Fs::new(env);
    let dir = fs.dir.clone();
    let caller = call(move || sys::stat(&dir).map(drop));
    let getattr = fs.expect(Opcode::Getattr);
    (fs, getattr, caller)
}

fn queues_are_as_documented(env: &Env) {
    let (fs, getattr, caller) = stuck(env);
    let text = fs::read_to_string(fs.control(env).join("queues")).expect("queues");
    let (requests, queues): (Vec<_>, Vec<_>) =
        text.lines().partition(|line| line.starts_with("request "));
    for line in &queues {
        assert_eq!(names(line), documented("queue=pending"), "{line}");
        let values: Vec<_> = fields(line).into_iter().map(|(_, value)| value).collect();
        assert!(PAGE.contains(&format!("`{}`", values[0])), "{line}");
        assert!(
            values[1..].iter().all(|value| value.parse::<u64>().is_ok()),
            "{line}"
        );
    }
    assert_eq!(queues.len(), 11, "{text}");
    assert_eq!(requests.len(), 1, "{text}");
    let request = requests[0].trim_start_matches("request ");
    assert_eq!(names(request), documented("request unique="));
    assert_eq!(names(request), explained());
    for (name, value) in fields(request) {
        match name {
            "queue" => assert_eq!(value, "processing"),
            "opcode" => assert_eq!(value, "GETATTR"),
            "comm" => assert!(!value.is_empty()),
            _ => assert!(value.parse::<u64>().is_ok(), "{name}={value}"),
        }
    }
    fs.reply_error(&getattr, Errno::EIO);
    system::assert_errno(caller.result(), Errno::EIO);
}

fn latency_is_as_documented(env: &Env) {
    let (fs, getattr, caller) = stuck(env);
    fs.reply_error(&getattr, Errno::EIO);
    system::assert_errno(caller.result(), Errno::EIO);
    let text = fs::read_to_string(fs.control(env).join("latency")).expect("latency");
    let mut found = BTreeMap::new();
    for line in text.lines() {
        assert_eq!(
            names(line),
            documented("opcode=GETATTR requests="),
            "{line}"
        );
        let fields: BTreeMap<_, _> = fields(line).into_iter().collect();
        let number = |name: &str| fields[name].parse::<u64>().expect("a number");
        let buckets: Vec<u64> = fields["log2_us"]
            .split(',')
            .map(|count| count.parse().expect("a number"))
            .collect();
        assert_eq!(buckets.iter().sum::<u64>(), number("requests"), "{line}");
        assert_ne!(buckets.last(), Some(&0), "{line}");
        // The last bucket says how much the longest of them took at least.
        let least = (1_u64 << (buckets.len() - 1)) / 2;
        assert!(number("total_us") >= least, "{line}");
        found.insert(fields["opcode"], (number("requests"), number("errors")));
    }
    assert_eq!(found["GETATTR"], (1, 1), "{text}");
    assert_eq!(found["INIT"], (1, 0), "{text}");
}

fn tracepoints_are_as_documented(env: &Env) {
    if !env.is_rust() {
        skip("C FUSE has others");
    }
    for event in [
        "rust_fuse_request",
        "rust_fuse_interrupt",
        "rust_fuse_forgets",
    ] {
        let path = format!("/sys/kernel/tracing/events/rust_fuse/{event}/format");
        let format = fs::read_to_string(path).expect("the format");
        let mut lines = format.lines();
        let printed = lines.find_map(|line| line.strip_prefix("print fmt: \""));
        let printed = printed.and_then(|line| line.split('"').next());
        let start = format!("{event}: ");
        let example = PAGE.lines().find_map(|line| line.strip_prefix(&start));
        assert_eq!(
            names(printed.expect("the text")),
            names(example.expect("an example")),
            "{event}"
        );
    }
}

/// The lines of the trace about a connection, each with its event's name.
fn traced(connection: &str) -> Vec<String> {
    let trace = fs::read_to_string("/sys/kernel/tracing/trace").expect("the trace");
    let of = format!(" connection={connection} ");
    let lines = trace.lines().filter(|line| line.contains(&of));
    let events = lines.filter_map(|line| Some(line[line.find(" rust_fuse_")?..].trim().into()));
    events.collect()
}

/// What a request's length was, how it ended, who was interrupted and how many forgets came together.
fn tracepoints_tell_all(env: &Env) {
    if !env.is_rust() {
        skip("C FUSE tells other things");
    }
    let fs = Fs::new(env);
    let connection = fs.control(env);
    let connection = connection.file_name().unwrap().to_str().unwrap();
    let asks = || process(|| system::errno(sys::stat(&fs.dir)));
    let caller = asks();
    let getattr = fs.expect(Opcode::Getattr);
    let unique = getattr.unique();
    fs.reply_error(&getattr, Errno::EIO);
    assert_eq!(caller.code(), libc::EIO);
    let lines = traced(connection);
    let of = format!("rust_fuse_request: connection={connection} unique={unique} opcode=3 ");
    let moves: Vec<_> = lines.iter().filter(|line| line.starts_with(&of)).collect();
    // A header and the arguments of GETATTR.
    let told = |place: &str| {
        let to = format!(" to={place} ");
        let mut found = moves.iter().filter(|line| line.contains(&to));
        found.next().unwrap_or_else(|| panic!("{place}: {lines:?}"))
    };
    assert!(told("processing").ends_with(" len=56 error=0"), "{moves:?}");
    assert!(told("ended").ends_with(" len=56 error=-5"), "{moves:?}");
    // A signal, and who is killed.
    let signalled = asks();
    let getattr = fs.expect(Opcode::Getattr);
    signalled.signal(Signal::SIGKILL);
    let interrupt = fs.expect(Opcode::Interrupt);
    assert_eq!(interrupt.unique(), getattr.unique() | 1);
    let of = format!("unique={} ", getattr.unique());
    let steps: Vec<_> = traced(connection)
        .iter()
        .filter(|line| line.starts_with("rust_fuse_interrupt: ") && line.contains(&of))
        .map(|line| line.split(" step=").nth(1).expect("a step").to_owned())
        .collect();
    assert_eq!(steps, ["queued depth=1", "read depth=0"]);
    fs.reply_error(&getattr, Errno::EINTR);
}

fn forgets_are_traced(env: &Env) {
    if !env.is_rust() {
        skip("C FUSE has no such tracepoint");
    }
    let mut served = Served::new(Fs::new(env), Model::cached());
    let connection = served.control(env);
    let connection = connection.file_name().unwrap().to_str().unwrap().to_owned();
    for name in ["file", "dir", "dir/inner"] {
        sys::stat(&served.path(name)).expect("stat");
    }
    system::drop_caches(2);
    eventually("all is forgotten", || {
        served.model().lookups.values().sum::<i64>() == 0
    });
    let mut count = 0;
    for line in traced(&connection) {
        let Some(fields) = line.strip_prefix("rust_fuse_forgets: ") else {
            continue;
        };
        let fields: BTreeMap<_, _> = fields_of(fields);
        let one = |name: &str| fields[name].parse::<u64>().expect("a number");
        let batch = one("count");
        // FORGET, or BATCH_FORGET, as the protocol has them.
        let len = if batch == 1 { 48 } else { 48 + 16 * batch };
        assert_eq!(one("len"), len, "{line}");
        count += batch;
    }
    assert_eq!(count, 3);
    served.finish();
}

fn fields_of(line: &str) -> BTreeMap<&str, &str> {
    fields(line).into_iter().collect()
}
