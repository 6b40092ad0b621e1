// SPDX-License-Identifier: GPL-2.0

//! Traces that keep the rules, and for each rule, traces that break it.

use fuseq::check::{check, Broken, Options, Rule, Summary, Trouble};
use std::collections::HashMap;

/// A trace: each line is `UNIQUE FROM TO`, and may go on with `opcode=` and `depth=` where those are not
/// what they should be, and with what else the event has; or it is `interrupt UNIQUE STEP`.
fn trace(lines: &str) -> String {
    let mut text = String::from("# tracer: nop\n#\n");
    let mut held = HashMap::from([("none", 0u64)]);
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if line.starts_with('#') || line.starts_with("CPU") {
            text += line;
        } else if let Some(interrupt) = line.strip_prefix("interrupt ") {
            let (unique, step) = interrupt.split_once(' ').unwrap();
            text += &format!(
                "  cat-71  [000] ...1. 12: rust_fuse_interrupt: connection=5 unique={unique} opcode=3 \
                 nodeid=1 pid=71 step={step} depth=0"
            );
        } else {
            let fields: Vec<&str> = line.split(' ').collect();
            let [unique, from, to, ref others @ ..] = fields[..] else {
                panic!("{line}");
            };
            let unique = match unique.strip_suffix('r') {
                Some(marked) => marked.parse::<u64>().unwrap() | 1 << 63,
                None => unique.parse().unwrap(),
            };
            if let Some(left) = held.get_mut(from) {
                *left = left.saturating_sub(1);
            }
            let depth = held.entry(to).or_default();
            *depth += u64::from(to != "none");
            let given = |name| others.iter().find_map(|field| field.strip_prefix(name));
            let depth = given("depth=").map_or_else(|| depth.to_string(), str::to_string);
            let opcode = given("opcode=").unwrap_or(match unique {
                INIT => "26",
                _ => "3",
            });
            text += &format!(
                "  cat-71  [000] ...1. 12: rust_fuse_request: connection=5 unique={unique} \
                 opcode={opcode} nodeid=1 pid=71 from={from} to={to} depth={depth}",
            );
            for more in others.iter().filter(|field| !field.starts_with(['o', 'd'])) {
                text += &format!(" {more}");
            }
        }
        text.push('\n');
    }
    text
}

const INIT: u64 = 2;

/// The whole life of INIT, which a connection begins with.
const BEGIN: &str = "
    2 none background
    2 background pending
    2 pending reading
    2 reading processing
    2 processing writing
    2 writing ended
    2 ended none
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
        "4 none gate
        6 none gate
        8 none gate
        4 gate handed
        6 gate pending
        8 gate background
        8 background pending
        4 handed reading
        4 reading processing
        6 pending none
        8 pending reading
        8 reading ended
        8 ended none
        4 processing aborting
        4 aborting ended
        4 ended none",
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
    let summary = whole(&format!("4 none pending\n4 pending none\n{BEGIN}")).unwrap();
    assert_eq!((summary.connections, summary.whole), (2, 2));
    assert_eq!(summary.requests, 3);
}

#[test]
fn a_trace_may_begin_in_the_middle() {
    let lines = "
        4r pending reading
        4r reading processing
        6 processing writing
        8 none pending";
    let summary = run(lines, Options::default()).unwrap();
    assert_eq!((summary.whole, summary.unfinished), (0, 3));
}

#[test]
fn only_legal_moves() {
    for lines in [
        "4 none processing",
        "4 none pending\n4 pending processing",
        "4 none pending\n4 pending ended",
        "4 none background\n4 background none",
    ] {
        breaks(Rule::LegalMove, whole(lines));
        breaks(Rule::LegalMove, run(lines, Options::default()));
    }
}

#[test]
fn one_place_at_a_time() {
    let lines = "4 none pending\n4 processing writing";
    let broken = breaks(Rule::OnePlace, whole(lines));
    assert_eq!(broken.lines.len(), 2, "{broken}");
    assert_eq!(broken.lines[0].number, 10);
    breaks(Rule::OnePlace, run(lines, Options::default()));
    breaks(Rule::OnePlace, whole("4 pending reading"));
}

#[test]
fn a_request_stays_the_same() {
    breaks(
        Rule::SameRequest,
        whole("4 none pending opcode=3\n4 pending reading opcode=4"),
    );
}

#[test]
fn uniques_are_even() {
    breaks(Rule::Unique, whole("5 none pending"));
}

const SENT_AGAIN: &str = "
    4 none pending
    4 pending reading
    4 reading processing
    6 none pending
    6 pending reading
    6 reading processing
    8 none pending
    6r processing pending
    4r processing pending
    4r pending reading
    4r reading processing
    6r pending handed
    6r handed reading
    6r reading processing
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
        4 none pending
        6 none pending
        4 pending reading
        4 reading processing
        6 pending reading
        6 reading processing
        4r processing pending
        6r processing pending
        6r pending reading";
    let broken = breaks(Rule::PutBack, whole(lines));
    assert!(broken.lines.len() == 9, "{broken}");
    whole(&lines.replace("6r pending", "4r pending")).unwrap();
}

#[test]
fn what_was_in_a_copy_of_a_dead_daemon_is_put_back() {
    // 6 is read in part before 4 is read to the end.
    let kept = "
        4 none pending
        6 none pending
        8 none pending
        4 pending reading
        6 pending reading
        6 reading pending
        4 reading processing
        4 processing writing
        4 writing processing
        4r processing pending
        4r pending reading
        6 pending reading
        6 reading processing
        8 pending handed";
    whole(kept).unwrap();
    for (rule, right, wrong) in [
        (Rule::Unique, "6 reading pending", "6r reading pending"),
        (Rule::PutBack, "4r pending reading", "6 pending reading"),
        (
            Rule::PutBack,
            "6 reading processing\n        8 pending handed",
            "6 reading pending\n        8 pending handed",
        ),
    ] {
        let lines = kept.replacen(right, wrong, 1);
        assert_ne!(lines, kept);
        breaks(rule, whole(&lines));
    }
}

#[test]
fn what_is_sent_again_goes_first() {
    let lines = SENT_AGAIN.replacen("4r pending reading", "8 pending reading", 1);
    breaks(Rule::PutBack, whole(&lines));
}

#[test]
fn requests_end_once() {
    let end = "4 none pending\n4 pending none\n";
    breaks(Rule::EndsOnce, whole(&format!("{end}4 ended none")));
    breaks(Rule::EndsOnce, whole(&format!("{end}4 none pending")));
    breaks(Rule::EndsOnce, whole("4 none pending\n4 none pending"));
}

#[test]
fn depths_add_up() {
    for lines in [
        "4 none pending depth=2",
        "4 none pending depth=0",
        "4 none gate depth=2",
        "4 none handed\n6 none handed depth=1",
        "4 none handed\n4 handed reading depth=2",
        "4 none handed\n4 handed reading\n4 reading processing depth=0",
        "4 none handed\n4 handed reading\n4 reading processing depth=2",
        "4 none pending\n4 pending aborting depth=0",
        "4 none pending\n4 pending none depth=1",
        "4 none background depth=2",
    ] {
        breaks(Rule::Depth, whole(lines));
    }
}

#[test]
fn first_come_first_served() {
    let broken = breaks(
        Rule::Fifo,
        whole("4 none pending\n6 none pending\n6 pending reading"),
    );
    assert_eq!(broken.lines.len(), 3, "{broken}");
    breaks(
        Rule::Fifo,
        whole("4 none background\n6 none background\n6 background pending"),
    );
    breaks(
        Rule::Fifo,
        whole("4 none gate\n6 none gate\n6 gate pending\n4 gate pending"),
    );
}

#[test]
fn handed_over_only_when_nothing_is_pending() {
    breaks(Rule::HandOver, whole("4 none pending\n6 none handed"));
}

#[test]
fn no_more_active_than_may_be() {
    let options = Options {
        max_background: Some(1),
    };
    let mut lines = format!(
        "{BEGIN}
        4 none background
        4 background pending
        6 none background
        4 pending reading
        4 reading ended
        6 background pending
        4 ended none
        8 none background\n"
    );
    run(&lines, options).unwrap();
    lines += "8 background pending";
    breaks(Rule::MaxBackground, run(&lines, options));
    run(&lines, Options::default()).unwrap();
}

/// A request that a daemon has.
const PROCESSED: &str = "
    4 none pending len=0
    4 pending reading len=0
    4 reading processing len=56
";

#[test]
fn one_length_and_one_outcome() {
    let good = format!(
        "{PROCESSED}4 processing writing len=56\n4 writing ended len=56 error=-2\n4 ended none len=0"
    );
    whole(&good).unwrap();
    for (right, wrong) in [
        ("writing len=56", "writing len=57"),
        ("error=-2", "error=2"),
        ("error=-2", "error=-4096"),
    ] {
        breaks(Rule::Told, whole(&good.replace(right, wrong)));
    }
}

#[test]
fn interrupts_are_of_what_is_processed() {
    let told = "interrupt 4 queued\ninterrupt 4 read\n";
    whole(&format!("{PROCESSED}{told}{told}")).unwrap();
    whole(&format!(
        "{PROCESSED}interrupt 4 queued\ninterrupt 4 dropped"
    ))
    .unwrap();
    for wrong in [
        "4 none pending\ninterrupt 4 queued",
        "interrupt 4 queued",
        &format!("{PROCESSED}interrupt 4 read"),
        &format!("{PROCESSED}interrupt 4 dropped"),
        &format!("{PROCESSED}{told}interrupt 4 read"),
        &format!("{PROCESSED}interrupt 4 queued\ninterrupt 4 queued"),
    ] {
        breaks(Rule::Interrupts, whole(wrong));
    }
    // Of a connection that is not known from its beginning, there is no telling.
    run("interrupt 4 read", Options::default()).unwrap();
}

#[test]
fn no_telling_when_events_are_lost() {
    let header = "# entries-in-buffer/entries-written: 1/4   #P:2\n4 none processing";
    assert_eq!(run(header, Options::default()), Err(Trouble::Lost(3)));
    let pipe = "4 none pending\nCPU:0 [LOST 2 EVENTS]\n";
    assert_eq!(whole(pipe), Err(Trouble::Lost(2)));
}
