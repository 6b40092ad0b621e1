// SPDX-License-Identifier: GPL-2.0

//! Where processes wait in the kernel.

use std::{fmt::Write, fs, path::Path};

/// The kernel stacks of the threads of process `pid`, of those in its group, and of all that
/// sleep uninterruptibly.
pub fn dump(pid: u32) -> String {
    let mut report = String::new();
    let Ok(processes) = fs::read_dir("/proc") else {
        return "/proc cannot be read".into();
    };
    for process in processes.flatten() {
        let Ok(tasks) = fs::read_dir(process.path().join("task")) else {
            continue;
        };
        for task in tasks.flatten() {
            dump_task(&task.path(), pid, &mut report);
        }
    }
    report
}

fn dump_task(task: &Path, pid: u32, report: &mut String) {
    let Ok(stat) = fs::read_to_string(task.join("stat")) else {
        return;
    };
    // "PID (COMM) STATE PPID PGRP …", where COMM may hold anything.
    let Some((head, tail)) = stat.rsplit_once(") ") else {
        return;
    };
    let fields: Vec<&str> = tail.split(' ').collect();
    let state = fields.first().copied().unwrap_or("?");
    let group = fields.get(2).copied().unwrap_or("?");
    if state != "D" && group != pid.to_string() {
        return;
    }
    // Writing to a string does not fail.
    let _ = writeln!(report, "{head}) state {state}");
    match fs::read_to_string(task.join("stack")) {
        Ok(stack) => stack.lines().take(16).for_each(|line| {
            let _ = writeln!(report, "    {line}");
        }),
        Err(error) => {
            let _ = writeln!(report, "    no stack: {error}");
        }
    }
}
