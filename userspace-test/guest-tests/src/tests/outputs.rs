// SPDX-License-Identifier: GPL-2.0

//! What the module shows of its queues, held against what docs/ARCHITECTURE.md says of it.

use crate::{
    caller::{call, Caller},
    env::Env,
    fs::{Fs, Req},
    runner::skip,
    sys, system,
    tests::tests,
};
use rawfuse::{abi::Opcode, Errno};
use std::{collections::BTreeMap, fs, io};

tests![
    queues_are_as_documented,
    latency_is_as_documented,
    tracepoint_is_as_documented,
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

fn tracepoint_is_as_documented(env: &Env) {
    if !env.is_rust() {
        skip("C FUSE has others");
    }
    let path = "/sys/kernel/tracing/events/rust_fuse/rust_fuse_request/format";
    let format = fs::read_to_string(path).expect("the format");
    let printed = format
        .lines()
        .find_map(|line| line.strip_prefix("print fmt: \""));
    let printed = printed.and_then(|line| line.split('"').next());
    assert_eq!(names(printed.expect("the text")), documented("connection="));
}
