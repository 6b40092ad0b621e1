// SPDX-License-Identifier: GPL-2.0

//! What a person who types `faultd` is told.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn faultd(arguments: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_faultd"))
        .args(arguments)
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("it starts");
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8(text).expect("text");
    (output, text)
}

fn script(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).expect("a script");
    path.display().to_string()
}

#[test]
fn a_mistake_is_shown_with_its_place() {
    let path = script("wrong", "on READ: drop\non LOOKUP node one: drop\n");
    let (output, text) = faultd(&["--check", "-s", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        text,
        format!(
            "Error: {path}: line 2, column 16: expected a node, a number, found `one`\n  \
             on LOOKUP node one: drop\n                 ^\n"
        )
    );
    let (output, text) = faultd(&["--check", "-e", "on READ"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.starts_with("Error: --rule: line 1, column 8: expected `node`"));
}

#[test]
fn a_script_can_be_checked_without_mounting() {
    let path = script("right", "# late\non READ: delay 1s\n\non any: answer\n");
    let (output, text) = faultd(&["--check", "-s", &path, "-e", "on INTERRUPT: drop"]);
    assert!(output.status.success());
    assert_eq!(text, "3 rules\n");
}

#[test]
fn what_cannot_be_done_is_said() {
    let (output, text) = faultd(&["/no/such/directory"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("/no/such/directory"), "{text}");
    let (output, text) = faultd(&["--check", "-s", "/no/such/file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("/no/such/file"), "{text}");
    let (output, _) = faultd(&[]);
    assert_eq!(output.status.code(), Some(2));
}

/// The manual's scripts are scripts.
#[test]
fn the_manual_is_right() {
    let manual = include_str!("../../../docs/FAULTD.md");
    let mut rules = 0;
    let lines = manual.lines().filter(|line| line.starts_with("on "));
    for line in lines.filter(|line| !line.starts_with("on WHICH")) {
        let (output, text) = faultd(&["--check", "-e", line]);
        assert!(output.status.success(), "{line}: {text}");
        rules += 1;
    }
    assert!(rules > 10, "only {rules}");
}

#[test]
fn help_tells_the_language() {
    let (output, text) = faultd(&["--help"]);
    assert!(output.status.success());
    for word in [
        "answer",
        "twice",
        "error EIO",
        "garbage",
        "reorder",
        "crash in",
        "notify",
    ] {
        assert!(text.contains(word), "{word}");
    }
}
