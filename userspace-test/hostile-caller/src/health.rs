// SPDX-License-Identifier: GPL-2.0

//! Whether all is as it was: connections, the module, its memory, and the machine's tasks.

use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::Pid;
use rawfuse::Kind;
use std::{
    collections::BTreeSet,
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// What is to be found again after each round.
#[derive(Clone, Debug)]
pub struct Health {
    module: &'static str,
    connections: BTreeSet<String>,
    references: u64,
    /// How many inodes and requests there were.
    objects: [u64; 2],
}

/// How many times longer things take here than on the ordinary kernel.
pub fn slowness() -> u32 {
    match Path::new("/proc/lockdep").exists() {
        true => 6,
        false => 1,
    }
}

/// Tries until `condition` holds, for as long as this at the most.
pub fn within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a child has ended.
pub fn has_ended(child: Pid) -> bool {
    !matches!(
        waitpid(child, Some(WaitPidFlag::WNOHANG)),
        Ok(WaitStatus::StillAlive)
    )
}

/// The connections that there are, by their numbers.
pub fn connections() -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(Kind::FUSE.control_dir) else {
        return BTreeSet::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.into_string().ok()).collect()
}

/// The directory of a connection in the control file system.
pub fn control(connection: &str) -> PathBuf {
    Path::new(Kind::FUSE.control_dir).join(connection)
}

/// How many references to a module there are.
fn references(module: &str) -> u64 {
    let path = format!("/sys/module/{module}/refcnt");
    let text = fs::read_to_string(path).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// How many objects of a slab cache are in use, but for what is kept at hand.
fn objects(cache: &str) -> u64 {
    let shrink = Path::new("/sys/kernel/slab").join(cache).join("shrink");
    // There may be no such cache: then there are no objects of it.
    let _ = fs::write(shrink, "1");
    let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let mut lines = slabs.lines().map(|line| line.split_whitespace());
    let found = lines.find_map(|mut fields| (fields.next() == Some(cache)).then_some(fields));
    found
        .and_then(|mut fields| fields.next()?.parse().ok())
        .unwrap_or(0)
}

/// Drops what is cached and not in use.
fn drop_caches() {
    // Not a word about it in the kernel's log (4). Names that were used of late survive the first time.
    for what in ["4", "3", "3", "3"] {
        let _ = fs::write("/proc/sys/vm/drop_caches", what);
    }
}

impl Health {
    /// As it is now, before the first round.
    pub fn now(module: &'static str) -> Self {
        drop_caches();
        Self {
            module,
            connections: connections(),
            references: references(module),
            objects: Self::objects_of(module),
        }
    }

    fn objects_of(module: &str) -> [u64; 2] {
        ["inode", "request"].map(|what| objects(&format!("{module}_{what}")))
    }

    /// The connections that were not there before.
    pub fn new_connections(&self) -> Vec<String> {
        let all = connections();
        all.difference(&self.connections).cloned().collect()
    }

    /// What is not as it was, when nothing is mounted any more. Some of it takes a moment.
    pub fn check(&self) -> Result<(), String> {
        let limit = Duration::from_secs(20) * slowness();
        if !within(limit, || self.new_connections().is_empty()) {
            let left = self.new_connections().join(", ");
            return Err(format!("connections are left: {left}"));
        }
        if !within(limit, || references(self.module) == self.references) {
            return Err(format!(
                "{} has {} references, where it had {}",
                self.module,
                references(self.module),
                self.references
            ));
        }
        let mut last = self.objects;
        let freed = || {
            drop_caches();
            last = Self::objects_of(self.module);
            last[0] <= self.objects[0] && last[1] <= self.objects[1]
        };
        if !within(limit, freed) {
            return Err(format!(
                "{} inodes and {} requests are in use, where there were {} and {}",
                last[0], last[1], self.objects[0], self.objects[1]
            ));
        }
        let mut stuck = BTreeSet::new();
        let mut seen = Vec::new();
        let moves = || {
            stuck = blocked().into_iter().collect();
            seen.push(stuck.clone());
            // One that is found each time does not move.
            let always = seen.iter().fold(stuck.clone(), |all, one| &all & one);
            always.is_empty()
        };
        if !within(limit, moves) {
            return Err(format!("tasks {stuck:?} sleep, and nobody can kill them"));
        }
        Ok(())
    }
}

/// All tasks, each with its folder in `/proc`, its name, state and parent.
fn tasks() -> Vec<(PathBuf, String)> {
    let mut all = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = process.file_name();
        if !name
            .to_string_lossy()
            .starts_with(|first: char| first.is_ascii_digit())
        {
            continue;
        }
        let tasks = fs::read_dir(process.path().join("task"));
        for task in tasks.into_iter().flatten().flatten() {
            if let Ok(stat) = fs::read_to_string(task.path().join("stat")) {
                all.push((task.path(), stat));
            }
        }
    }
    all
}

/// The state of a task, which follows its name.
fn state(stat: &str) -> &str {
    let after = stat.rsplit_once(") ").map_or("", |(_, after)| after);
    after.split(' ').next().unwrap_or("")
}

/// Those that sleep and cannot be killed.
fn blocked() -> Vec<String> {
    let all = tasks().into_iter();
    let blocked = all.filter(|(_, stat)| state(stat) == "D");
    blocked
        .map(|(path, _)| path.display().to_string())
        .collect()
}

/// Where those wait who cannot be killed, a line each: the innermost functions, a few of them.
pub fn held() -> Vec<String> {
    let function = |line: &str| {
        let name = line.rsplit_once("] ").map_or(line, |(_, name)| name);
        name.split('+').next().unwrap_or(name).to_string()
    };
    let all = tasks().into_iter().filter(|(_, stat)| state(stat) == "D");
    let stacks = all.map(|(path, _)| {
        let stack = fs::read_to_string(path.join("stack")).unwrap_or_default();
        let names: Vec<_> = stack.lines().take(8).map(function).collect();
        names.join(" < ")
    });
    stacks.collect()
}

/// Where tasks wait that may have to do with it: those that cannot be killed, and all that are not
/// the kernel's own; and what is in the queues.
pub fn report(connections: &[String]) -> String {
    let mut report = String::new();
    for (path, stat) in tasks() {
        let stack = fs::read_to_string(path.join("stack")).unwrap_or_default();
        if state(&stat) != "D" && !stack.contains("fuse") {
            continue;
        }
        let head = stat.rsplit_once(") ").map_or("", |(head, _)| head);
        // Writing to a string does not fail.
        let _ = writeln!(report, "{head}) state {}", state(&stat));
        for line in stack.lines().take(20) {
            let _ = writeln!(report, "    {line}");
        }
    }
    for connection in connections {
        let queues = fs::read_to_string(control(connection).join("queues")).unwrap_or_default();
        let _ = writeln!(report, "connection {connection}");
        let waits = |line: &&str| line.starts_with("request") || !line.contains("now=0");
        for line in queues.lines().filter(waits) {
            let _ = writeln!(report, "    {line}");
        }
    }
    report
}
