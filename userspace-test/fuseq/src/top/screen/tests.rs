// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::system::queues::Snapshot;
use ratatui::{backend::TestBackend, Terminal};
use std::time::Instant;

fn look(at: Instant, seconds: u64, missing: Option<&str>) -> Look {
    let passed = seconds * 1000;
    let queues = format!(
        "queue=background now=0 passed=0\nqueue=pending now={} passed={passed}\n\
         queue=processing now={seconds} passed={passed}\n\
         request unique=2 queue=processing opcode=GETATTR nodeid=7 pid=71 age_us=12300000 background=0 \
         interrupted=0 abandoned=0 force=0 resent=0 comm=cat\n",
        seconds * 4,
    );
    let latencies = format!(
        "opcode=LOOKUP requests=3 errors=0 total_us=300 log2_us=0,0,0,0,0,0,0,3\n\
         opcode=GETATTR requests={passed} errors={seconds} total_us={} log2_us=0,0,0,0,0,0,0,{passed}\n",
        passed * 100,
    );
    Look {
        at: at + Duration::from_secs(seconds),
        waiting: 1,
        snapshot: Snapshot::parse(&queues),
        latencies: Latency::parse_all(&latencies),
        missing: missing.map(String::from),
    }
}

fn picture(width: u16, height: u16, missing: Option<&str>) -> Vec<String> {
    let mut watched = Watched::blind("/mnt/a (connection 43)".into(), "served[80]".into());
    let start = Instant::now();
    for seconds in 0..4 {
        watched.add(look(start, seconds, missing));
    }
    let screen = Screen {
        watched: &watched,
        chosen: (1, 2),
        period: Duration::from_millis(500),
        paused: true,
    };
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(frame)).unwrap();
    let buffer = terminal.backend().buffer();
    let cells = buffer.content.chunks(width.into());
    cells
        .map(|row| row.iter().map(|cell| cell.symbol()).collect())
        .collect()
}

#[track_caller]
fn line<'a>(picture: &'a [String], part: &str) -> &'a str {
    let found = picture.iter().find(|line| line.contains(part));
    found.unwrap_or_else(|| panic!("no {part} in\n{}", picture.join("\n")))
}

#[test]
fn all_is_on_the_screen() {
    let picture = picture(120, 30, None);
    let head = line(&picture, "fuseq top");
    assert!(
        head.contains("/mnt/a (connection 43), served by served[80] · 1 waiting · 1000 requests/s")
    );
    let words = |part: &str| line(&picture, part).split_whitespace().collect::<Vec<_>>();
    assert_eq!(words("│pending")[..3], ["│pending", "12", "1000"]);
    assert!(line(&picture, "│pending").contains("▂▅█"), "{picture:#?}");
    assert_eq!(words("│background")[1..3], ["0", "0"]);
    // Of the last two seconds; and what was quiet, of all the time.
    assert_eq!(
        words("│GETATTR")[1..9],
        ["1000", "1.0", "3000", "100", "µs", "128", "µs", "128"]
    );
    assert_eq!(words("│LOOKUP")[1..6], ["0", "0", "3", "100", "µs"]);
    assert!(line(&picture, "12.3 s").contains("cat[71]"));
    assert!(line(&picture, "q quit").contains("Tab next connection (1 of 2)"));
    assert!(line(&picture, "q quit").contains("PAUSED"));
}

#[test]
fn what_is_missing_is_said() {
    let picture = picture(100, 30, Some("C fuse tells only how many requests wait."));
    line(&picture, "C fuse tells only");
}

#[test]
fn no_terminal_is_too_small() {
    for (width, height) in [(1, 1), (20, 5), (60, 12), (300, 100)] {
        picture(width, height, Some("something"));
    }
}
