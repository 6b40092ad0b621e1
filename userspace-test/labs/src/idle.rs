// SPDX-License-Identifier: GPL-2.0

//! Lab 5: ten idle threads, and who of them is woken.

use crate::stage::{median, Stage};
use anyhow::{ensure, Result};
use fuseq::{
    events::{Event, What},
    life::Story,
    trace::Place,
};
use std::{collections::BTreeMap, fs, path::Path};

const DIR: &str = "/mnt/lab";

const THREADS: usize = 10;

/// How often somebody looks for a file.
const LOOKS: usize = 400;

/// What a suffix is for: the recording on the other module.
const OTHER: &str = "-c-fuse";

pub fn run(stage: &Stage) -> Result<()> {
    stage.say("On this module: ten threads, and one who asks, again and again:");
    let (ours, story) = look(stage, "")?;
    stage.say("\nThe same on Linux's own:");
    let modules = Path::new("/run/guest/modules");
    ensure!(
        modules.join("fuse.ko").exists(),
        "there is no fuse.ko beside rust_fuse.ko"
    );
    change(stage, "rust_fuse", "fuse")?;
    let looked = look(stage, OTHER);
    change(stage, "fuse", "rust_fuse")?;
    let (theirs, _) = looked?;
    println!("\n  requests read by each of the threads, the busiest first");
    println!("  last in, first out:   {ours:?}");
    println!("  first in, first out:  {theirs:?}\n");
    let sum = |some: &[usize]| some.iter().sum::<usize>();
    stage.mostly_shows(
        "here a few threads do nearly everything, and the others sleep on",
        sum(&ours[..ours.len().min(4)]) * 10 >= sum(&ours) * 9,
    )?;
    stage.mostly_shows(
        "there all of them take turns",
        theirs.len() == THREADS && theirs[0] * 2 < sum(&theirs),
    )?;
    let handed = story
        .lives
        .iter()
        .filter(|life| life.stays.iter().any(|stay| stay.place == Place::Handed));
    stage.mostly_shows(
        "here most requests were in no queue, but handed to a thread",
        handed.count() * 2 > story.lives.len(),
    )?;
    stage.report_of(OTHER, "Lab 5: ten idle threads, on C fuse")
}

fn change(stage: &Stage, from: &str, to: &str) -> Result<()> {
    // It has the device open.
    stage.until_gone("nullfs")?;
    stage
        .must(&format!(
            "umount /sys/fs/fuse/connections; rmmod {from} && insmod /run/guest/modules/{to}.ko && \
             mount -t fusectl none /sys/fs/fuse/connections"
        ))
        .map(drop)
}

/// How many requests each of the threads has read, the most first.
fn look(stage: &Stage, suffix: &str) -> Result<(Vec<usize>, Story)> {
    stage.directory(DIR)?;
    stage.must(&format!("nullfs --threads {THREADS} {DIR}"))?;
    // They are all there, and idle.
    stage.must(&format!("[ -e {DIR}/x ]; sleep 0.3"))?;
    let (story, ()) = stage.record_to(suffix, || {
        stage
            .must(&format!(
                "for n in $(seq {LOOKS}); do [ -e {DIR}/$n ]; done; true"
            ))
            .map(drop)
    })?;
    stage.unmount(DIR)?;
    let took = story
        .lives
        .iter()
        .filter_map(|life| Some(life.end? - life.began()));
    println!("  {} µs each, for the most part", median(took.collect()));
    let mut readers: BTreeMap<u32, usize> = BTreeMap::new();
    for line in fs::read_to_string(stage.trace(suffix))?.lines() {
        let Ok(Some(event)) = Event::parse(line) else {
            continue;
        };
        let reads = match &event.what {
            What::Move(step) => step.to == Place::Processing,
            What::Sent => true,
            _ => false,
        };
        if reads {
            *readers.entry(event.task.1).or_default() += 1;
        }
    }
    let mut counts: Vec<usize> = readers.into_values().collect();
    counts.sort_unstable_by(|one, other| other.cmp(one));
    Ok((counts, story))
}
