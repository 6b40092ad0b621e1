// SPDX-License-Identifier: GPL-2.0

use super::*;
use crate::system::queues::Snapshot;

fn connection(state: char) -> Connection {
    let mountinfo = "44 22 0:43 / /mnt/a rw - fuse.a a rw\n";
    Connection {
        number: 43,
        mounts: MountPoint::parse_all(mountinfo),
        daemons: vec![Task {
            pid: u32::MAX - 1,
            process: u32::MAX - 1,
            comm: "served".into(),
            state,
        }],
        ..Default::default()
    }
}

fn request(more: &str) -> String {
    format!(
        "request unique=2 nodeid=1 pid=4294967295 interrupted=0 force=0 resent=0 {more} comm=cat\n"
    )
}

fn text(state: char, lines: &str) -> String {
    let connection = connection(state);
    let requests = Snapshot::parse(lines).requests;
    let files = OpenFiles::default();
    of_rust(&connection, &requests, &files, Duration::from_secs(1)).text(2)
}

#[test]
fn the_oldest_comes_first_and_the_young_do_not_come() {
    let young = request("queue=pending opcode=READ age_us=10 background=0 abandoned=0");
    let old = request("queue=processing opcode=GETATTR age_us=2000000 background=0 abandoned=0");
    let older = request("queue=pending opcode=LOOKUP age_us=12300000 background=0 abandoned=0");
    let text = text('S', &format!("{young}{old}{older}"));
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(
        lines[0],
        "/mnt/a (connection 43), served by served[4294967294]: 3 requests wait, the longest for 12.3 s"
    );
    let words = |line: &str| {
        line.split_whitespace()
            .map(String::from)
            .collect::<Vec<_>>()
    };
    assert_eq!(words(lines[2]), ["AGE", "WHO", "OPCODE", "QUEUE", "FILE"]);
    assert!(
        lines[3].contains("12.3 s") && lines[3].contains("LOOKUP"),
        "{text}"
    );
    assert!(lines[3].contains("/mnt/a (node 1)"), "{text}");
    assert!(
        lines[4].contains("2.0 s") && lines[4].contains("GETATTR"),
        "{text}"
    );
    assert!(!text.contains("READ "), "{text}");
    for advice in [
        "has read 1 of them",
        "Nobody has read 1 of them",
        "--abort 43",
        "--flush 43",
    ] {
        assert!(text.contains(advice), "{advice}: {text}");
    }
}

#[test]
fn a_stopped_daemon_is_to_be_continued() {
    let old = request("queue=pending opcode=READ age_us=5000000 background=0 abandoned=0");
    assert!(text('T', &old).contains("kill -CONT 4294967294"));
    assert!(text('D', &old).contains("/proc/4294967294/stack"));
}

#[test]
fn nobody_is_to_be_killed_where_nobody_waits() {
    let old = request("queue=background opcode=READ age_us=5000000 background=1 abandoned=0");
    let text = text('S', &old);
    assert!(
        text.contains("No process that we can see waits") && !text.contains("kill -9"),
        "{text}"
    );
    assert!(text.contains("held back"), "{text}");
}

#[test]
fn no_more_are_shown_than_asked_for() {
    let old = request("queue=pending opcode=READ age_us=5000000 background=0 abandoned=0");
    let text = text('S', &old.repeat(5));
    assert_eq!(text.matches("READ").count(), 2, "{text}");
    assert!(text.contains("and 3 more"), "{text}");
}

#[test]
fn c_fuse_says_what_is_missing() {
    let connection = connection('S');
    let waiters = [stack::Waiter {
        task: Task {
            pid: u32::MAX,
            process: u32::MAX,
            comm: "cat".into(),
            state: 'D',
        },
        sleep: Sleep::Answer(Some("GETATTR")),
    }];
    let files = OpenFiles::default();
    let text = of_c(&connection, 3, &waiters, &files).text(9);
    assert!(
        text.contains("cat[4294967295]") && text.contains("GETATTR"),
        "{text}"
    );
    assert!(text.contains("2 more have no caller"), "{text}");
    assert!(
        text.contains("--abort 43") && !text.contains("--flush"),
        "{text}"
    );
    assert!(of_c(&connection, 0, &waiters, &files).stuck.is_empty());
}

#[test]
fn what_cannot_be_read_is_not_said_to_be_well() {
    let dir = std::env::temp_dir().join(format!("fuseq-stuck-{}", std::process::id()));
    let options = Options {
        which: None,
        older: Duration::from_secs(1),
        most: 20,
    };
    let system = System {
        connections: vec![Connection {
            control: Some(dir.clone()),
            ..connection('S')
        }],
        has_control: true,
        hidden: false,
    };
    // Nobody can read a directory like a file.
    std::fs::create_dir_all(dir.join("queues")).unwrap();
    let error = report(&system, &options).unwrap_err().to_string();
    assert!(error.starts_with("there is no telling: /mnt/a"), "{error}");
    std::fs::remove_dir(dir.join("queues")).unwrap();
    std::fs::write(dir.join("queues"), "queue=pending now=0 passed=3\n").unwrap();
    let (text, is_stuck) = report(&system, &options).unwrap();
    assert!(text.starts_with("Nothing is stuck") && !is_stuck, "{text}");
    std::fs::remove_dir_all(&dir).unwrap();
}
