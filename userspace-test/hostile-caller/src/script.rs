// SPDX-License-Identifier: GPL-2.0

//! What a daemon does wrong in a round: a script for [`faultd`].

use fastrand::Rng;
use std::fmt::Write;

/// The operations that rules are for, most of the time all of them.
const WHICH: [&str; 12] = [
    "any",
    "any",
    "any",
    "any",
    "READ",
    "WRITE",
    "LOOKUP|GETATTR",
    "OPEN|OPENDIR|CREATE|TMPFILE",
    "READDIR|READDIRPLUS",
    "SETATTR|FALLOCATE|COPY_FILE_RANGE|COPY_FILE_RANGE_64",
    "MKNOD|MKDIR|SYMLINK|LINK|RENAME|RENAME2|UNLINK|RMDIR",
    "GETXATTR|SETXATTR|LISTXATTR|GETLK|SETLK|SETLKW|IOCTL|POLL",
];

/// Draws a script of some rules. With `rare`, less goes wrong.
pub fn draw(random: &mut Rng, rare: bool) -> String {
    let mut script = String::new();
    for _ in 0..random.usize(2..9) {
        let which = WHICH[random.usize(0..WHICH.len())];
        let (least, step) = step(random);
        let least = if rare { least * 4 } else { least };
        let every = random.u64(least..least * 4);
        // Writing to a string does not fail.
        let _ = writeln!(script, "on {which} every {every}: {step}");
    }
    if random.bool() {
        let step = ["drop", "error EAGAIN", "delay 30ms"][random.usize(0..3)];
        let every = random.u32(2..6);
        let _ = writeln!(script, "on INTERRUPT every {every}: {step}");
    }
    script
}

/// What is done, and how many requests at the least are to come between two of them.
fn step(random: &mut Rng) -> (u64, String) {
    let some = random.u32(1..60);
    match random.u32(0..24) {
        0..4 => (15, format!("delay {some}ms")),
        4 => (400, "delay 3s".into()),
        5 => (30, format!("stall {some}ms")),
        6 | 7 => (500, "drop".into()),
        8 => (20, "error EIO".into()),
        9 => {
            let error = ["ENOENT", "ESTALE", "EINTR", "ENOMEM", "ENOTDIR", "EDEADLK"];
            (25, format!("error {}", error[random.usize(0..error.len())]))
        }
        10 => (400, "error 600".into()),
        11 => (60, "garbage".into()),
        12 => (80, format!("garbage {}", random.u32(0..300))),
        13 | 14 => (40, format!("short {some}")),
        15 | 16 => (20, "twice".into()),
        17 => (20, format!("reorder {} 100ms", random.u32(2..5))),
        18 => {
            let moment = ["before", "in", "after"][random.usize(0..3)];
            (3000, format!("crash {moment}"))
        }
        _ => (
            20,
            format!("{}notify {}", answer(random), notification(random)),
        ),
    }
}

/// Most of what is told is told when there is nobody who waits.
fn answer(random: &mut Rng) -> &'static str {
    match random.u32(0..4) {
        0 => "",
        _ => "answer, ",
    }
}

fn notification(random: &mut Rng) -> String {
    let (node, dir) = (random.u32(1..40), random.u32(1..5));
    let name = ["a", "b", "d", "hello", "nothing"][random.usize(0..5)];
    match random.u32(0..11) {
        0 => format!("INVAL_INODE {node}"),
        1 => format!("INVAL_INODE {node} {} 8192", random.u32(0..8) * 4096),
        2 => format!("INVAL_ENTRY {dir} \"{name}\""),
        3 => format!("INVAL_ENTRY {dir} \"{name}\" expire"),
        4 => format!("DELETE {dir} {node} \"{name}\""),
        5 => format!("STORE {node} {} \"stored\"", random.u32(0..8) * 4096),
        6 => format!("RETRIEVE {node} 0 {}", random.u32(0..300_000)),
        7 => "INC_EPOCH".into(),
        8 => "RESEND".into(),
        9 => format!("PRUNE {node} {}", node + 1),
        _ => format!("POLL {}", random.u32(0..50)),
    }
}
