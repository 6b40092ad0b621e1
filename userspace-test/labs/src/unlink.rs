// SPDX-License-Identifier: GPL-2.0

//! Lab 1: the life of one unlink.

use crate::stage::{biography, lives, time_in, Stage};
use anyhow::{Context, Result};
use fuseq::{life::Life, trace::Place};

const DIR: &str = "/mnt/lab";

/// How long the daemon works on most of them, in microseconds.
const WORK: u64 = 100_000;

pub fn run(stage: &Stage) -> Result<()> {
    stage.say("A daemon with one thread, which takes 100 ms for an UNLINK, and a second for a big file's:");
    stage.mount(
        DIR,
        &format!("faultd {DIR} -e 'on UNLINK name \"big\": stall 1s' -e 'on UNLINK: stall 100ms'"),
    )?;
    stage
        .say("\nWhat is in its directory is known, so that nobody has to lock that to look it up:");
    stage.must(&format!("ls {DIR} {DIR}/dir"))?;
    let (story, ()) = stage.record(|| {
        stage.say("\nOne file is removed while the daemon has nothing to do,");
        stage.must(&format!("rm {DIR}/hello"))?;
        stage.say("\nand two at the same time, in different directories:");
        let other = stage.start(&format!("rm {DIR}/big"))?;
        stage.until_queued(DIR, "processing", "UNLINK")?;
        stage.must(&format!("rm {DIR}/dir/a"))?;
        other.end().map(drop)
    })?;
    let unlinks = lives(&story, "UNLINK");
    let first = unlinks.first().context("there is no UNLINK")?;
    stage.say("\nThe life of the first:\n");
    stage.say(&biography(&story, first));
    let places: Vec<Place> = first.stays.iter().map(|stay| stay.place).collect();
    let road = [
        Place::Reading,
        Place::Processing,
        Place::Writing,
        Place::Ended,
    ];
    stage.shows(
        "it was handed to a thread that waited for it, or read from pending",
        matches!(places[0], Place::Handed | Place::Pending),
    )?;
    stage.shows(
        "then it was read, worked on, answered, and fetched by its caller",
        places.ends_with(&road),
    )?;
    let worked = |life: &&Life| time_in(&story, life, Place::Processing);
    stage.mostly_shows(
        "nearly all of its time it was with the daemon",
        worked(first) >= WORK && worked(first) * 2 > first.end.unwrap_or(story.to) - first.began(),
    )?;
    let waited = |life: &&Life| time_in(&story, life, Place::Pending);
    let second = story.lives.iter().max_by_key(waited);
    let second = second.context("there are no requests")?;
    stage.shows(
        "of two at once, one waits in pending while the daemon works on the other",
        waited(&second) >= WORK,
    )?;
    stage.say("");
    stage.say(&biography(&story, second));
    stage.unmount(DIR)
}
