// SPDX-License-Identifier: GPL-2.0

//! Lab 8: from a dirty page to a WRITE.

use crate::stage::{of, Stage};
use anyhow::{Context, Result};
use fuseq::{
    life::{Life, Story},
    trace::Place,
};
use std::{
    fs::File,
    io::Write,
    thread,
    time::{Duration, Instant},
};

const THROUGH: &str = "/mnt/through";
const BACK: &str = "/mnt/back";

/// How many pages are written, one a write(2).
const PAGES: usize = 100;

/// How long nobody wants anything to be kept.
const PAUSE: Duration = Duration::from_millis(400);

pub fn run(stage: &Stage) -> Result<()> {
    stage.say("Two file systems, whose daemon takes 1 ms for each WRITE; one of them writes back:");
    for (dir, options) in [(THROUGH, ""), (BACK, " --writeback")] {
        stage.mount(
            dir,
            &format!("faultd {dir} --valid 60{options} -e 'on WRITE: stall 1ms'"),
        )?;
    }
    let (story, ()) = stage.record(|| {
        stage.say(&format!(
            "\nTo a file on both, this program writes {PAGES} pages, one by one, waits for {} ms, and calls\n\
             fsync(2):",
            PAUSE.as_millis()
        ));
        for dir in [THROUGH, BACK] {
            let took = write(&format!("{dir}/new"))?;
            println!("  {dir}/new: writing took {} ms", took.as_millis());
        }
        Ok(())
    })?;
    let (through, back) = (writes(&story, THROUGH)?, writes(&story, BACK)?);
    let background = |life: &&Life| {
        life.stays
            .iter()
            .any(|stay| stay.place == Place::Background)
    };
    println!(
        "\n  through: {} WRITEs; back: {} WRITEs\n",
        through.len(),
        back.len()
    );
    stage.shows(
        "writing through, each write(2) is a WRITE, which it waits for",
        through.len() >= PAGES && !through.iter().any(background),
    )?;
    stage.shows(
        "writing back, pages are collected, and sent by the way of background",
        !back.is_empty() && back.len() <= PAGES / 10 && back.iter().all(background),
    )?;
    let made = of(&story, BACK)?;
    let made = made.iter().find(|life| life.opcode == "CREATE");
    let made = made.context("nothing was created")?.began();
    stage.shows(
        "and that when somebody wants them kept, not before",
        back.iter()
            .all(|life| u128::from(life.began() - made) >= PAUSE.as_micros()),
    )?;
    stage.unmount(THROUGH)?;
    stage.unmount(BACK)
}

/// Writes a file, and has it kept; how long the writing took. Nothing is closed before, for that writes
/// back as well.
fn write(path: &str) -> Result<Duration> {
    let mut file = File::create(path)?;
    let began = Instant::now();
    for page in 0..PAGES {
        file.write_all(&[page as u8; 4096])?;
    }
    let took = began.elapsed();
    thread::sleep(PAUSE);
    file.sync_all()?;
    Ok(took)
}

fn writes<'a>(story: &'a Story, dir: &str) -> Result<Vec<&'a Life>> {
    let mut lives = of(story, dir)?;
    lives.retain(|life| life.opcode == "WRITE");
    Ok(lives)
}
