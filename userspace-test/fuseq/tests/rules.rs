// SPDX-License-Identifier: GPL-2.0

//! Traces that keep the rules, and for each rule, traces that break it.

use fuseq::check::{check, Broken, Options, Rule, Summary, Trouble};

/// A trace: each line is `UNIQUE FROM TO DEPTH`, with more fields to change the request's facts.
fn trace(lines: &str) -> String {
    let mut text = String::from("# tracer: nop\n#\n");
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with('#') || line.starts_with("CPU") {
            text += line;
        } else {
            let mut fields = line.split(' ');
            let mut field = || fields.next();
            let unique = match field().unwrap() {
                marked if marked.ends_with('r') => {
                    marked.trim_end_matches('r').parse::<u64>().unwrap() | 1 << 63
                }
                plain => plain.parse().unwrap(),
            };
            let (from, to, depth) = (field().unwrap(), field().unwrap(), field().unwrap());
            let opcode = match unique {
                INIT => "26",
                _ => "3",
            };
            text += &format!(
                "  cat-71  [000] ...1. 12: rust_fuse_request: connection=5 unique={unique} \
                 opcode={} nodeid=1 pid=71 from={from} to={to} depth={depth}",
                field().unwrap_or(opcode),
            );
        }
        text.push('\n');
    }
    text
}

const INIT: u64 = 2;

/// The whole life of INIT, which a connection begins with.
const BEGIN: &str = "
    2 none background 1
    2 background pending 1
    2 pending reading 1
    2 reading processing 1
    2 processing writing 1
    2 writing ended 0
    2 ended none 0
";

fn run(lines: &str, options: Options) -> Result<Summary, Trouble> {
    check(trace(lines).as_bytes(), options).unwrap()
}

/// Runs a connection from its beginning.
fn whole(lines: &str) -> Result<Summary, Trouble> {
    run(&format!("{BEGIN}{lines}"), Options::default())
}

#[track_caller]
fn breaks(rule: Rule, result: Result<Summary, Trouble>) -> Broken {
    match result {
        Err(Trouble::Broken(broken)) => {
            assert_eq!(broken.rule, rule, "{broken}");
            broken
        }
        other => panic!("{other:?} where {rule:?} is broken"),
    }
}

#[test]
fn lives_that_keep_the_rules() {
    let summary = whole(
        "4 none gate 1
        6 none gate 2
        8 none gate 1
        4 gate handed 1
        6 gate pending 1
        8 gate background 1
        8 background pending 2
        4 handed reading 1
        4 reading processing 1
        6 pending none 0
        8 pending reading 1
        8 reading ended 0
        8 ended none 0
        4 processing aborting 1
        4 aborting ended 0
        4 ended none 0",
    );
    let expected = Summary {
        connections: 1,
        whole: 1,
        requests: 4,
        moves: 23,
        unfinished: 0,
    };
    assert_eq!(summary, Ok(expected));
}

#[test]
fn connections_begin_and_numbers_are_used_again() {
    let summary = whole(&format!("4 none pending 1\n4 pending none 0\n{BEGIN}")).unwrap();
    assert_eq!((summary.connections, summary.whole), (2, 2));
    assert_eq!(summary.requests, 3);
}

#[test]
fn a_trace_may_begin_in_the_middle() {
    let lines = "
        4r pending reading 7
        4r reading processing 9
        6 processing writing 4
        8 none pending 3";
    let summary = run(lines, Options::default()).unwrap();
    assert_eq!((summary.whole, summary.unfinished), (0, 3));
}

#[test]
fn only_legal_moves() {
    for lines in [
        "4 none processing 1",
        "4 none pending 1\n4 pending processing 1",
        "4 none pending 1\n4 pending ended 0",
        "4 none background 1\n4 background none 0",
    ] {
        breaks(Rule::LegalMove, whole(lines));
        breaks(Rule::LegalMove, run(lines, Options::default()));
    }
}

#[test]
fn one_place_at_a_time() {
    let lines = "4 none pending 1\n4 processing writing 1";
    let broken = breaks(Rule::OnePlace, whole(lines));
    assert_eq!(broken.lines.len(), 2, "{broken}");
    assert_eq!(broken.lines[0].number, 10);
    breaks(Rule::OnePlace, run(lines, Options::default()));
    breaks(Rule::OnePlace, whole("4 pending reading 1"));
}

#[test]
fn a_request_stays_the_same() {
    breaks(
        Rule::SameRequest,
        whole("4 none pending 1 3\n4 pending reading 1 4"),
    );
}

#[test]
fn uniques_are_even() {
    breaks(Rule::Unique, whole("5 none pending 1"));
}

const SENT_AGAIN: &str = "
    4 none pending 1
    4 pending reading 1
    4 reading processing 1
    6 none pending 1
    6 pending reading 1
    6 reading processing 2
    8 none pending 1
    6r processing pending 2
    4r processing pending 3
    4r pending reading 1
    4r reading processing 1
    6r pending handed 1
    6r handed reading 1
    6r reading processing 2
";

#[test]
fn what_is_sent_again_is_marked() {
    whole(SENT_AGAIN).unwrap();
    for (right, wrong) in [
        ("6r processing pending", "6 processing pending"),
        ("4r pending reading", "4 pending reading"),
        ("6r reading processing", "6 reading processing"),
        ("6 reading processing", "6r reading processing"),
        ("8 none", "8r none"),
    ] {
        let lines = SENT_AGAIN.replacen(right, wrong, 1);
        assert_ne!(lines, SENT_AGAIN);
        breaks(Rule::Unique, whole(&lines));
    }
}

#[test]
fn what_is_sent_again_keeps_its_order() {
    let lines = "
        4 none pending 1
        6 none pending 2
        4 pending reading 1
        4 reading processing 1
        6 pending reading 1
        6 reading processing 2
        4r processing pending 1
        6r processing pending 2
        6r pending reading 1";
    let broken = breaks(Rule::PutBack, whole(lines));
    assert!(broken.lines.len() == 9, "{broken}");
    whole(&lines.replace("6r pending", "4r pending")).unwrap();
}

#[test]
fn what_was_in_a_copy_of_a_dead_daemon_is_put_back() {
    // 6 is read in part before 4 is read to the end.
    let kept = "
        4 none pending 1
        6 none pending 2
        8 none pending 3
        4 pending reading 1
        6 pending reading 2
        6 reading pending 2
        4 reading processing 1
        4 processing writing 1
        4 writing processing 1
        4r processing pending 3
        4r pending reading 1
        6 pending reading 2
        6 reading processing 1
        8 pending handed 2";
    whole(kept).unwrap();
    for (rule, right, wrong) in [
        (Rule::Unique, "6 reading pending", "6r reading pending"),
        (Rule::PutBack, "4r pending reading", "6 pending reading"),
        (
            Rule::PutBack,
            "6 reading processing 1\n        8 pending handed 2",
            "6 reading pending 2\n        8 pending handed 2",
        ),
    ] {
        let lines = kept.replacen(right, wrong, 1);
        assert_ne!(lines, kept);
        breaks(rule, whole(&lines));
    }
}

#[test]
fn what_is_sent_again_goes_first() {
    let lines = SENT_AGAIN.replacen("4r pending reading 1", "8 pending reading 1", 1);
    breaks(Rule::PutBack, whole(&lines));
}

#[test]
fn requests_end_once() {
    let end = "4 none pending 1\n4 pending none 0\n";
    breaks(Rule::EndsOnce, whole(&format!("{end}4 ended none 0")));
    breaks(Rule::EndsOnce, whole(&format!("{end}4 none pending 1")));
    breaks(Rule::EndsOnce, whole("4 none pending 1\n4 none pending 2"));
}

#[test]
fn depths_add_up() {
    for lines in [
        "4 none pending 2",
        "4 none pending 0",
        "4 none gate 2",
        "4 none handed 1\n6 none handed 1",
        "4 none handed 1\n4 handed reading 2",
        "4 none handed 1\n4 handed reading 1\n4 reading processing 0",
        "4 none handed 1\n4 handed reading 1\n4 reading processing 2",
        "4 none pending 1\n4 pending aborting 0",
        "4 none pending 1\n4 pending none 1",
        "4 none background 2",
    ] {
        breaks(Rule::Depth, whole(lines));
    }
}

#[test]
fn first_come_first_served() {
    let broken = breaks(
        Rule::Fifo,
        whole("4 none pending 1\n6 none pending 2\n6 pending reading 1"),
    );
    assert_eq!(broken.lines.len(), 3, "{broken}");
    breaks(
        Rule::Fifo,
        whole("4 none background 1\n6 none background 2\n6 background pending 1"),
    );
    breaks(
        Rule::Fifo,
        whole("4 none gate 1\n6 none gate 2\n6 gate pending 1\n4 gate pending 2"),
    );
}

#[test]
fn handed_over_only_when_nothing_is_pending() {
    breaks(Rule::HandOver, whole("4 none pending 1\n6 none handed 1"));
}

#[test]
fn no_more_active_than_may_be() {
    let options = Options {
        max_background: Some(1),
    };
    let mut lines = format!(
        "{BEGIN}
        4 none background 1
        4 background pending 1
        6 none background 1
        4 pending reading 1
        4 reading ended 0
        6 background pending 1
        4 ended none 0
        8 none background 1\n"
    );
    run(&lines, options).unwrap();
    lines += "8 background pending 2";
    breaks(Rule::MaxBackground, run(&lines, options));
    run(&lines, Options::default()).unwrap();
}

#[test]
fn no_telling_when_events_are_lost() {
    let header = "# entries-in-buffer/entries-written: 1/4   #P:2\n4 none processing 1";
    assert_eq!(run(header, Options::default()), Err(Trouble::Lost(3)));
    let pipe = "4 none pending 1\nCPU:0 [LOST 2 EVENTS]\n";
    assert_eq!(whole(pipe), Err(Trouble::Lost(2)));
}
