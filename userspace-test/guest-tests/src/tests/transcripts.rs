// SPDX-License-Identifier: GPL-2.0

//! What people see who type commands, line by line.

use crate::{
    env::Env,
    runner,
    tests::{
        programs::{libfuse, ours},
        tests,
    },
};
use nix::mount::{mount, MsFlags};
use rawfuse::Kind;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

tests![our_hello, libfuse_hello, quotafs];

/// Commands, and what they print. `...` in a line stands for whatever a program of that name has
/// there.
const HELLO: &str = "\
# hello /mnt/
# ls -l /mnt
-r--r--r-- 1 root root 13 Jan  1  1970 hello
# cat /mnt/hello
Hello World!
# touch /mnt/a
touch: ... Function not implemented
# echo 0 > /mnt/hello
... Permission denied
# mkdir /mnt/x
mkdir: ... Function not implemented
";

const QUOTAFS: &str = "\
# quotafs -h
Usage: quotafs --src source_directory --size quota_size mount_point [OPTIONS]
# quotafs --src /var/ --size 1024000 /mnt/
# mount | grep quotafs
quotafs on /mnt type fuse.quotafs (rw,nosuid,nodev,relatime,user_id=0,group_id=0)
# ls /mnt
cache
lib
log
messages
total_size
used_size
# cat /mnt/total_size
1024000
# cat /mnt/used_size
492866
# dd if=/dev/zero of=/mnt/test bs=1 count=1000
# cat /mnt/used_size
493866
";

/// Whether a line is as it is to be. How far columns are apart is each program's own affair.
fn matches(line: &str, expected: &str) -> bool {
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = words(line);
    match words(expected).split_once("...") {
        None => line == words(expected),
        Some((start, end)) => line.starts_with(start.trim()) && line.ends_with(end.trim()),
    }
}

/// What a command prints: on standard output when it works, on standard error when it does not.
fn output(command: &str, path: &str) -> Vec<String> {
    let output = Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .stdin(Stdio::null())
        .output()
        .expect("sh");
    let shown = match output.status.success() {
        true => output.stdout,
        false => output.stderr,
    };
    let text = String::from_utf8(shown).expect("text");
    let is_sum = |line: &&str| command.starts_with("ls -l") && line.starts_with("total ");
    let lines = text.lines().filter(|line| !is_sum(line));
    lines.map(str::to_string).collect()
}

/// Types all the commands of a transcript, with `program` the one of that name, and compares each
/// line.
#[track_caller]
fn compare(transcript: &str, program: &Path) {
    let dir = program.parent().expect("a directory").display();
    let path = format!("{dir}:{}", std::env::var("PATH").unwrap_or_default());
    let mut lines = transcript.lines().peekable();
    while let Some(line) = lines.next() {
        let command = line.strip_prefix("# ").expect("a command");
        let mut expected = Vec::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("# ")) {
            expected.push(line);
        }
        let shown = output(command, &path);
        let same = shown.len() == expected.len()
            && shown
                .iter()
                .zip(&expected)
                .all(|(line, expected)| matches(line, expected));
        assert!(
            same,
            "{command}: {shown:#?}, where {expected:#?} was to come"
        );
    }
    nix::mount::umount("/mnt").expect("umount");
}

/// The name of the device is in the programs.
fn check_kind(env: &Env) {
    if env.kind != Kind::FUSE {
        runner::skip("these programs know /dev/fuse only");
    }
}

fn our_hello(env: &Env) {
    check_kind(env);
    compare(HELLO, &ours("hello"));
}

fn libfuse_hello(env: &Env) {
    compare(HELLO, &libfuse(env, "hello"));
}

fn quotafs(env: &Env) {
    check_kind(env);
    let program = ours("quotafs");
    let nothing: Option<&str> = None;
    let var = Path::new("/var");
    mount(Some("tmpfs"), var, Some("tmpfs"), MsFlags::empty(), nothing).expect("tmpfs");
    for dir in ["cache", "lib", "log"] {
        fs::create_dir(var.join(dir)).unwrap();
    }
    fs::write(var.join("log/kern.log"), vec![b'k'; 400_000]).unwrap();
    fs::write(var.join("lib/state"), vec![b's'; 92_000]).unwrap();
    fs::write(var.join("messages"), vec![b'm'; 866]).unwrap();
    // What has two names counts once, and a link not at all.
    fs::hard_link(var.join("lib/state"), var.join("cache/state")).unwrap();
    std::os::unix::fs::symlink("log/kern.log", var.join("cache/kern.log")).unwrap();
    compare(QUOTAFS, &program);
    assert_eq!(fs::metadata(var.join("test")).unwrap().len(), 1000);
}
