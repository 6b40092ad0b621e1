// SPDX-License-Identifier: GPL-2.0

//! What scripts mean, and what is said of those that mean nothing.

use super::*;
use rawfuse::{abi, Buffer};
use zerocopy::IntoBytes;

#[track_caller]
fn rule(text: &str) -> Rule {
    let mut script = Script::parse(text).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(script.rules.len(), 1);
    script.rules.remove(0)
}

#[track_caller]
fn actions(text: &str) -> Vec<Action> {
    let rule = rule(&format!("on READ: {text}"));
    rule.steps.into_iter().map(|step| step.action).collect()
}

/// The column of what makes no sense, what was expected there, and what was found.
#[track_caller]
fn error(text: &str) -> (usize, String, String) {
    let error = Script::parse(text).expect_err("it makes no sense");
    (error.column, error.expected, error.found)
}

fn ms(number: u64) -> Pause {
    Some(Duration::from_millis(number))
}

#[test]
fn each_step_is_understood() {
    for (text, action) in [
        ("answer", Action::Answer),
        ("twice", Action::Twice),
        ("error EIO", Action::Error(-5)),
        ("error 5000", Action::Error(-5000)),
        ("error -1", Action::Error(1)),
        ("garbage", Action::Garbage(None)),
        ("garbage 7", Action::Garbage(Some(7))),
        ("bytes 00fF12", Action::Bytes(vec![0, 255, 18])),
        ("short 8", Action::Short(8)),
        ("delay 20ms", Action::Delay(ms(20))),
        ("delay 50us", Action::Delay(Some(Duration::from_micros(50)))),
        ("stall 2s", Action::Stall(ms(2000))),
        ("stall forever", Action::Stall(None)),
        ("reorder 4", Action::Reorder(4, ms(1000))),
        ("reorder 2 5s", Action::Reorder(2, ms(5000))),
        ("drop", Action::Drop),
        ("crash before", Action::Crash(Moment::Before)),
        ("crash in", Action::Crash(Moment::In)),
        ("crash after", Action::Crash(Moment::After)),
    ] {
        assert_eq!(actions(text), [action], "{text}");
    }
}

#[test]
fn steps_follow_each_other_and_keep_their_words() {
    let rule = rule("  on READ :delay 1s,error  EIO , answer# three");
    let texts: Vec<_> = rule.steps.iter().map(|step| &step.text[..]).collect();
    assert_eq!(texts, ["delay 1s", "error  EIO", "answer"]);
}

#[test]
fn notifications_are_as_on_the_wire() {
    let notification = |text: &str| match actions(&format!("notify {text}")).remove(0) {
        Action::Notify(notification) => (notification.code, notification.body),
        other => panic!("{other:?}"),
    };
    let inval = abi::NotifyInvalInodeOut {
        ino: 2,
        off: -1,
        len: 0,
    };
    let expected = (2, inval.as_bytes().to_vec());
    assert_eq!(notification("INVAL_INODE 2 -1 0"), expected);
    let entry = abi::NotifyInvalEntryOut {
        parent: 1,
        namelen: 2,
        flags: 1,
    };
    let expected = (3, [entry.as_bytes(), b"a \0"].concat());
    assert_eq!(notification("INVAL_ENTRY 1 \"a \" expire"), expected);
    let delete = abi::NotifyDeleteOut {
        parent: 1,
        child: 2,
        namelen: 1,
        padding: 0,
    };
    let expected = (6, [delete.as_bytes(), b"x\0"].concat());
    assert_eq!(notification("DELETE 1 2 \"x\""), expected);
    let store = abi::NotifyStoreOut {
        nodeid: 3,
        offset: 4096,
        size: 3,
        padding: 0,
    };
    let expected = (4, [store.as_bytes(), b"a\"\n"].concat());
    assert_eq!(notification("STORE 3 4096 \"a\\\"\\n\""), expected);
    let (code, body) = notification("PRUNE 2 3");
    assert_eq!((code, body.len(), body[0], body[24]), (9, 32, 2, 3));
    let (code, body) = notification("RETRIEVE 3 0 4096");
    assert_eq!((code, body.len(), body[8], body[25]), (5, 32, 3, 16));
    assert_eq!(notification("POLL 5"), (1, 5_u64.as_bytes().to_vec()));
    assert_eq!(notification("RESEND"), (7, vec![]));
    assert_eq!(notification("INC_EPOCH"), (8, vec![]));
    assert_eq!(notification("raw 99"), (99, vec![]));
    assert_eq!(notification("raw -1 0a"), (-1, vec![10]));
}

#[test]
fn comments_and_empty_lines_are_no_rules() {
    let script = Script::parse("# nothing\n\n   \t\non any: drop # all\n").unwrap();
    assert_eq!(script.rules.len(), 1);
    assert_eq!(script.rules[0].matcher, Matcher::default());
}

#[test]
fn which_requests_it_is_for() {
    let matcher = rule("on LOOKUP|GETATTR every 3 name \"a#b\" node 7: drop").matcher;
    let expected = Matcher {
        opcodes: vec![Opcode::Lookup, Opcode::Getattr],
        node: Some(7),
        name: Some("a#b".into()),
        count: Count::Every(3),
    };
    assert_eq!(matcher, expected);
    for (text, count) in [
        ("nth 2", Count::Nth(2)),
        ("first 2", Count::First(2)),
        ("from 2", Count::From(2)),
    ] {
        assert_eq!(rule(&format!("on READ {text}: drop")).matcher.count, count);
    }
}

/// What a request for `opcode` looks like; all have a name here.
fn request(buffer: &mut Buffer, opcode: Opcode, nodeid: u64, body: &[u8]) -> usize {
    let len = size_of::<abi::InHeader>() + body.len();
    let header = abi::InHeader {
        len: len as u32,
        opcode: opcode as u32,
        unique: 2,
        nodeid,
        ..Default::default()
    };
    let bytes = [header.as_bytes(), body].concat();
    buffer.bytes_mut()[..len].copy_from_slice(&bytes);
    len
}

/// The rules for a row of requests.
fn rules(script: &str, requests: &[(Opcode, u64, &[u8])]) -> Vec<Option<usize>> {
    let script = Script::parse(script).unwrap_or_else(|error| panic!("{error}"));
    let mut buffer = Buffer::new(256);
    requests
        .iter()
        .map(|(opcode, nodeid, body)| {
            let len = request(&mut buffer, *opcode, *nodeid, body);
            script.rule(&Request::new(&buffer.bytes()[..len]).unwrap())
        })
        .collect()
}

#[test]
fn the_first_rule_that_is_for_a_request_counts() {
    let script = "on UNLINK name \"a\": drop\non UNLINK node 1: drop\non any: drop";
    let found = rules(
        script,
        &[
            (Opcode::Unlink, 1, b"a\0"),
            (Opcode::Unlink, 1, b"b\0"),
            (Opcode::Unlink, 4, b"b\0"),
            (Opcode::Rmdir, 1, b"a\0"),
        ],
    );
    assert_eq!(found, [Some(0), Some(1), Some(2), Some(2)]);
    let found = rules("on READ: drop", &[(Opcode::Rmdir, 1, b"a\0")]);
    assert_eq!(found, [None]);
}

#[test]
fn both_names_of_a_rename_count() {
    let body = [&8_u64.to_le_bytes()[..], b"from\0to\0"].concat();
    for (name, found) in [("from", Some(0)), ("to", Some(0)), ("no", None)] {
        let script = format!("on RENAME name \"{name}\": drop");
        assert_eq!(rules(&script, &[(Opcode::Rename, 1, &body)]), [found]);
    }
}

#[test]
fn requests_are_counted_by_each_rule() {
    let requests = [(Opcode::Rmdir, 1, &b"a\0"[..]); 6];
    for (count, expected) in [
        ("nth 2", [0, 1, 0, 0, 0, 0]),
        ("first 2", [1, 1, 0, 0, 0, 0]),
        ("from 5", [0, 0, 0, 0, 1, 1]),
        ("every 3", [0, 0, 1, 0, 0, 1]),
    ] {
        let found = rules(&format!("on any {count}: drop"), &requests);
        let found: Vec<_> = found
            .into_iter()
            .map(|rule| rule.map_or(0, |_| 1))
            .collect();
        assert_eq!(found, expected, "{count}");
    }
    // The second rule counts what goes by the first one.
    let found = rules("on RMDIR first 2: drop\non any nth 3: drop", &requests);
    assert_eq!(found[..4], [Some(0), Some(0), Some(1), None]);
}

#[test]
fn an_error_says_where_and_what_was_expected() {
    let error = Script::parse("on any: drop\n\ton READ: delay 200 # soon").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 2, column 17: expected a time, as 20ms, 2s or `forever`, found `200`\n\
         \x20 \ton READ: delay 200 # soon\n\
         \x20 \t               ^"
    );
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (text, column, expected, found) in [
        ("READ: drop", 1, "`on`, which begins a rule", "`READ`"),
        ("on read: drop", 4, "an operation in capitals", "`read`"),
        ("on READ", 8, "`node`, `name`, `nth`", "the end of the line"),
        (
            "on READ nth 1 every 2: drop",
            15,
            "`node`, `name`, or `:`",
            "`every`",
        ),
        ("on READ node x: drop", 14, "a node, a number", "`x`"),
        ("on READ nth 0: drop", 13, "a number from 1 on", "`0`"),
        ("on READ name a: drop", 14, "a name, in quotes", "`a`"),
        (
            "on READ name \"a: drop",
            14,
            "a quote that is closed",
            "the end",
        ),
        (
            "on READ name \"\\x\": drop",
            15,
            "`\\n`, `\\\"` or `\\\\`",
            "`\\x`",
        ),
        ("on READ:", 9, "what is to be done: answer,", "the end"),
        (
            "on READ: explode",
            10,
            "what is to be done: answer,",
            "`explode`",
        ),
        (
            "on READ: drop drop",
            15,
            "the end of the line, as nothing",
            "`drop`",
        ),
        (
            "on READ: crash in, answer",
            18,
            "the end of the line, as nothing",
            "`,`",
        ),
        (
            "on READ: answer answer",
            17,
            "`,` or the end of the line",
            "`answer`",
        ),
        ("on READ: error EFOO", 16, "an errno, as EIO", "`EFOO`"),
        (
            "on READ: error -2147483648",
            16,
            "an errno",
            "`-2147483648`",
        ),
        ("on READ: delay 1h", 16, "a time", "`1h`"),
        ("on READ: delay", 15, "a time", "the end"),
        ("on READ: reorder 1", 18, "how many to reorder", "`1`"),
        ("on READ: bytes 0", 16, "bytes, as 00ff12", "`0`"),
        ("on READ: short 0", 16, "how many bytes, from 1", "`0`"),
        (
            "on READ: garbage 2000000",
            18,
            "how many bytes, from 0",
            "`2000000`",
        ),
        ("on READ: crash", 15, "`before`, `in` or `after`", "the end"),
        (
            "on READ: notify",
            16,
            "a notification (POLL, INVAL_INODE",
            "the end",
        ),
        (
            "on READ: notify STORE 3 0",
            26,
            "a text to store, in quotes",
            "the end",
        ),
        (
            "on READ: notify INVAL_INODE 2 0",
            32,
            "a length, a number",
            "the end",
        ),
        ("on READ: (drop)", 10, "a word, a number or a text", "`(`"),
        (
            "on FORGET: error EIO",
            12,
            "something else, as FORGET has no answer",
            "`error`",
        ),
        (
            "on FORGET: crash in",
            18,
            "`before`, `in` or `after`",
            "`in`",
        ),
    ] {
        let (at, wanted, there) = error(text);
        assert_eq!(at, column, "{text}: {wanted}");
        assert!(wanted.starts_with(expected), "{text}: {wanted}");
        assert!(there.starts_with(found), "{text}: {there}");
    }
}
