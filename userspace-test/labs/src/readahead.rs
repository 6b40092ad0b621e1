// SPDX-License-Identifier: GPL-2.0

//! Lab 2: a burst of readahead against one stat.

use crate::stage::{connection, median, most, of, time_in, OutOfLuck, Stage};
use anyhow::{Context, Result};
use fuseq::{
    life::{Life, Story},
    trace::Place,
};

/// How many background requests may be active at once.
const LIMITS: [usize; 3] = [1, 12, 100];

/// How many things the daemon does at once.
const THREADS: usize = 4;

/// How far is read ahead, in KiB.
const AHEAD: u32 = 1024;

/// It is there when somebody has read enough.
const DONE: &str = "/tmp/done";

fn dir(limit: usize) -> String {
    format!("/mnt/max-{limit}")
}

/// What one of the limits came to; times in microseconds.
struct Seen {
    /// How many READs were active at once.
    active: usize,
    /// Of how many of them the daemon was at work at once.
    working: usize,
    /// From the first READ to the last one's end.
    reading: u64,
    /// How many READs were in front of a LOOKUP or GETATTR that came meanwhile: at most.
    ahead: usize,
    /// How long those waited, for the most part.
    waited: u64,
}

pub fn run(stage: &Stage) -> Result<()> {
    stage.say(
        "Three times the same file system, whose daemon does four things at a time and takes 4 ms\n\
         for each READ of 4 KiB. What differs is how many background requests may be active at once:",
    );
    for limit in LIMITS {
        stage.mount(&dir(limit), &format!(
            "faultd {} --threads {THREADS} --max-background {limit} -o max_read=4096 -e 'on READ: stall 4ms'",
            dir(limit)
        ))?;
        let device = connection(&dir(limit))?;
        stage.must(&format!(
            "echo {AHEAD} > /sys/class/bdi/0:{device}/read_ahead_kb"
        ))?;
    }
    let (story, ()) = stage.record(|| {
        stage.say("\nSomebody looks at files all the time, and somebody else reads 1 MiB:");
        for limit in LIMITS {
            let dir = dir(limit);
            let names = format!("{dir}/hello {dir}/dir/a {dir}/dir/b {dir}/dir/c");
            let looker = stage.start(&format!(
                "while [ ! -e {DONE} ]; do stat -c %i {names}; done > /dev/null"
            ))?;
            stage.until_passed(&dir, "ended", 10)?;
            stage.must(&format!("cat {dir}/big > /dev/null"))?;
            std::fs::write(DONE, "")?;
            looker.end()?;
            std::fs::remove_file(DONE)?;
        }
        Ok(())
    })?;
    println!("\n  max_background  READs active  reading took  in front of a stat  which waited");
    let mut all = Vec::new();
    for limit in LIMITS {
        let seen = look(&story, limit)?;
        println!(
            "  {limit:>14}  {:>12}  {:>9} ms  {:>18}  {:>9.1} ms",
            seen.active,
            seen.reading / 1000,
            seen.ahead,
            seen.waited as f64 / 1000.0,
        );
        all.push(seen);
    }
    println!();
    let [one, usual, many] = &all[..] else {
        anyhow::bail!("there are {} limits", all.len());
    };
    stage.shows(
        "no more READs are active than may be",
        (LIMITS.iter().zip(&all)).all(|(limit, seen)| seen.active <= *limit),
    )?;
    stage.mostly_shows(
        "with 100 most of a burst is active, and in front of whoever comes then",
        many.active > 2 * usual.active && many.ahead > usual.ahead,
    )?;
    stage.mostly_shows(
        "one at a time leaves threads of the daemon idle",
        one.working == 1 && usual.working > 1,
    )?;
    LIMITS
        .iter()
        .try_for_each(|limit| stage.unmount(&dir(*limit)))
}

fn look(story: &Story, limit: usize) -> Result<Seen> {
    let lives = of(story, &dir(limit))?;
    let (reads, others): (Vec<&Life>, Vec<&Life>) =
        lives.into_iter().partition(|life| life.opcode == "READ");
    let began = reads.iter().map(|life| life.began()).min();
    let began = began.context("nothing was read")?;
    let end = |life: &&Life| life.end.unwrap_or(story.to);
    let ended = reads.iter().map(end).max().unwrap_or(began);
    // What somebody waits for is no background request.
    let is_ahead = |life: &&Life| {
        let mut stays = life.stays.iter();
        stays.any(|stay| stay.place == Place::Background)
    };
    let background: Vec<&Life> = reads
        .iter()
        .filter(|life| is_ahead(life))
        .copied()
        .collect();
    let active = |place| !matches!(place, Place::Gate | Place::Background | Place::Ended);
    let meanwhile = |life: &&&Life| {
        let looks = ["LOOKUP", "GETATTR"].contains(&&life.opcode[..]);
        looks && (began..ended).contains(&life.began())
    };
    let looks: Vec<&Life> = others.iter().filter(meanwhile).copied().collect();
    let waits = looks
        .iter()
        .map(|life| time_in(story, life, Place::Pending));
    let pends_at = |read: &Life, at: u64| {
        let mut spans = read.spans(story.to);
        spans.any(|(place, from, to)| place == Place::Pending && (from..to).contains(&at))
    };
    let ahead = looks.iter().map(|life| {
        let reads = reads.iter();
        reads.filter(|read| pends_at(read, life.began())).count()
    });
    Ok(Seen {
        active: most(story, &background, active),
        working: most(story, &background, |place| place == Place::Processing),
        reading: ended - began,
        ahead: ahead
            .max()
            .context("nobody looked meanwhile")
            .context(OutOfLuck)?,
        waited: median(waits.collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text about it has these figures.
    #[test]
    fn the_text_says_what_the_lab_does() {
        let text = include_str!("../../../docs/labs/2-readahead.md");
        for part in [
            format!("--threads {THREADS}"),
            format!("echo {AHEAD} >"),
            dir(LIMITS[0]),
        ] {
            assert!(text.contains(&part), "{part}");
        }
    }
}
