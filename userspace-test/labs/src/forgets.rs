// SPDX-License-Identifier: GPL-2.0

//! Lab 4: a million inodes, dropped at once.

use crate::stage::{control, lives, time_in, Stage};
use anyhow::{Context, Result};
use fuseq::{system::queues::Snapshot, trace::Place};
use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

const DIR: &str = "/mnt/lab";

/// How many inodes, and how many of them for a test.
const INODES: usize = 1_000_000;
const FEW: usize = 20_000;

/// How long the daemon is stopped with all of them in its queue, at least.
const PAUSE: Duration = Duration::from_millis(300);

/// How many threads look for files.
const LOOKERS: usize = 2;

pub fn run(stage: &Stage) -> Result<()> {
    let count = if stage.small { FEW } else { INODES };
    stage.mount(DIR, &format!("nullfs --valid 3600 {DIR}"))?;
    let before = slab()?;
    stage.say(&format!(
        "\n{count} files are looked for, and the kernel keeps what it finds:"
    ));
    thread::scope(|scope| {
        for looker in 0..LOOKERS {
            scope.spawn(move || {
                for number in (looker..count).step_by(LOOKERS) {
                    // Every name is there.
                    let _ = fs::metadata(Path::new(DIR).join(format!("f{number}")));
                }
            });
        }
    });
    let full = slab()?;
    let (story, ()) = stage.record(|| {
        stage.say("\nThe daemon is stopped, and the kernel drops them:");
        stage.must("kill -STOP $(pidof nullfs)")?;
        stage.must("echo 2 > /proc/sys/vm/drop_caches; echo 2 > /proc/sys/vm/drop_caches")?;
        stage.until("they are forgotten", || {
            Ok(forgets()?.0 * 10 >= count as u64 * 9)
        })?;
        stage.say("\nSomebody looks for another one, and the daemon goes on:");
        let looker = stage.start(&format!("[ -e {DIR}/other ]"))?;
        stage.until_queued(DIR, "pending", "LOOKUP")?;
        thread::sleep(PAUSE);
        stage.must("kill -CONT $(pidof nullfs)")?;
        looker.end()?;
        stage.until("the daemon has read them", || Ok(forgets()?.0 == 0))
    })?;
    let (_, passed) = forgets()?;
    let after = slab()?;
    println!(
        "\n  {passed} forgets; slabs: {before} KiB before, {full} with the inodes, {after} after\n"
    );
    stage.shows("each inode is forgotten", passed >= count as u64)?;
    let most = story.samples.iter().map(|sample| sample.now).max();
    stage.shows(
        "they were queued, all of them, while the daemon was stopped: nobody waits for a forget",
        most.unwrap_or(0) * 10 >= count as u64 * 9,
    )?;
    stage.shows(
        "most of the memory is back",
        full.saturating_sub(after) * 2 > full.saturating_sub(before),
    )?;
    let looks = lives(&story, "LOOKUP");
    stage.shows(
        "the LOOKUP waited for the daemon like them, and was answered",
        looks.iter().any(|life| {
            time_in(&story, life, Place::Pending) >= PAUSE.as_micros() as u64 && life.end.is_some()
        }),
    )?;
    stage.unmount(DIR)
}

/// How many forgets wait, and how many there were.
fn forgets() -> Result<(u64, u64)> {
    let file: PathBuf = control(DIR)?.join("queues");
    let snapshot = Snapshot::parse(&fs::read_to_string(file)?);
    let queue = snapshot
        .queues
        .into_iter()
        .find(|queue| queue.name == "forgets");
    let queue = queue.context("there is no queue of forgets")?;
    Ok((queue.now, queue.passed))
}

/// How much memory the kernel has for its objects, in KiB.
fn slab() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Slab:"));
    let size = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
    size.context("/proc/meminfo has no Slab")
}
