// SPDX-License-Identifier: GPL-2.0

//! Lab 7: another daemon takes over, under load.

use crate::stage::{connection, time_in, Stage};
use anyhow::Result;
use fuseq::trace::Place;
use std::{thread, time::Duration};

const DIR: &str = "/mnt/lab";
const STORE: &str = "/tmp/store";

/// How many write, and how many lines each.
const WRITERS: usize = 3;
const LINES: usize = 150;

/// How often the daemon is killed, and for how long there is none then.
const UPGRADES: usize = 3;
const GAP: Duration = Duration::from_millis(100);

pub fn run(stage: &Stage) -> Result<()> {
    stage.directory(DIR)?;
    stage.directory(STORE)?;
    stage.say("A daemon that keeps all it knows in a directory, on a mount that outlives it:");
    let mut daemon = stage.start(&format!("memd {STORE} {DIR} -o recover"))?;
    stage.until("it is mounted", || Ok(connection(DIR).is_ok()))?;
    let number = connection(DIR)?;
    let (story, daemon) = stage.record(|| {
        stage.say("\nThree processes append lines to files, opening them anew for each:");
        let mut writers = Vec::new();
        for writer in 1..=WRITERS {
            writers.push(stage.start(&format!(
                "for line in $(seq {LINES}); do echo $line >> {DIR}/{writer}; done"
            ))?);
        }
        for upgrade in 1..=UPGRADES {
            let sum = LINES * upgrade / (UPGRADES + 1);
            stage.until("they have come that far", || {
                let text = std::fs::read_to_string(format!("{DIR}/1")).unwrap_or_default();
                Ok(text.lines().count() >= sum)
            })?;
            stage.say("\nThe daemon is killed, and for a while there is none:");
            stage.must("kill -9 $(pidof memd)")?;
            daemon.end()?;
            thread::sleep(GAP);
            daemon = stage.start(&format!("memd {STORE} --attach {number}"))?;
        }
        for writer in writers {
            let done = writer.end()?;
            stage.shows(
                "a writer has met no error",
                done.status == Some(0) && done.text.is_empty(),
            )?;
        }
        Ok(daemon)
    })?;
    let expected: String = (1..=LINES).map(|line| format!("{line}\n")).collect();
    for writer in 1..=WRITERS {
        let text = std::fs::read_to_string(format!("{DIR}/{writer}"))?;
        stage.shows("each of its lines is there once", text == expected)?;
    }
    let gap = GAP.as_micros() as u64;
    let waited = story
        .lives
        .iter()
        .filter(|life| time_in(&story, life, Place::Pending) >= gap / 2);
    let again = story.lives.iter().filter(|life| {
        let times = life.stays.iter();
        times.filter(|stay| stay.place == Place::Reading).count() > 1
    });
    println!(
        "\n  {} requests; {} of them waited in pending for the next daemon, {} were read twice\n",
        story.lives.len(),
        waited.clone().count(),
        again.count()
    );
    stage.shows(
        "requests waited for the next daemon each time",
        waited.count() >= UPGRADES,
    )?;
    stage.unmount(DIR)?;
    daemon.end().map(drop)
}
