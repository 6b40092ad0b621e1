// SPDX-License-Identifier: GPL-2.0

//! Lab 3: signals to those who wait.

use crate::stage::{of, time_in, Job, Stage};
use anyhow::{Context, Result};
use fuseq::{life::Story, trace::Place};
use std::{fs, thread, time::Duration};

/// How long the daemon takes for an OPEN, in seconds, if nobody interrupts it.
const WORK: u64 = 2;

const HEEDS: &str = "/mnt/heeds";
const IGNORES: &str = "/mnt/ignores";
const HANGS: &str = "/mnt/hangs";
const BUSY: &str = "/mnt/busy";

pub fn run(stage: &Stage) -> Result<()> {
    stage.say(
        "Daemons that heed interrupts, ignore them, hang, and are busy; they print what they do:",
    );
    let mut daemons = Vec::new();
    for (dir, rules) in [
        (HEEDS, format!("-e 'on OPEN: delay {WORK}s'")),
        (
            IGNORES,
            format!("-e 'on OPEN: delay {WORK}s' -e 'on INTERRUPT: drop'"),
        ),
        (HANGS, "-e 'on OPEN: drop'".into()),
        (BUSY, "-e 'on GETATTR node 5: stall 1s'".into()),
    ] {
        daemons.push(daemon(stage, dir, &rules)?);
    }
    let (story, ()) = stage.record(|| {
        heeds(stage)?;
        ignores(stage)?;
        hangs(stage)?;
        busy(stage)
    })?;
    shows(stage, &story)?;
    for dir in [HEEDS, IGNORES, HANGS, BUSY] {
        stage.unmount(dir)?;
    }
    for daemon in daemons {
        daemon.end()?;
    }
    Ok(())
}

fn log(dir: &str) -> String {
    format!("{}.log", dir.replace("/mnt", "/tmp"))
}

fn daemon(stage: &Stage, dir: &str, rules: &str) -> Result<Job> {
    stage.directory(dir)?;
    let daemon = stage.start(&format!("faultd -d {dir} {rules} 2> {}", log(dir)))?;
    stage.until("it serves", || {
        Ok(fs::read_to_string(log(dir)).is_ok_and(|text| text.contains("INIT")))
    })?;
    Ok(daemon)
}

/// What a daemon has printed about requests of a kind.
fn said(dir: &str, opcode: &str) -> Result<Vec<String>> {
    let text = fs::read_to_string(log(dir))?;
    let lines = text.lines().filter(|line| line.contains(opcode));
    Ok(lines.map(str::to_string).collect())
}

/// Somebody who reads a line, and has something to say when a signal comes; its OPEN is at the daemon.
fn reader(stage: &Stage, dir: &str) -> Result<Job> {
    let reader = stage.start(&format!(
        "trap 'echo a signal has come' USR1; read line < {dir}/hello; echo \"$line\""
    ))?;
    stage.until_queued(dir, "processing", "OPEN")?;
    Ok(reader)
}

fn kill(stage: &Stage, signal: &str, job: &Job) -> Result<()> {
    stage
        .must(&format!("kill -{signal} {}", job.pid()))
        .map(drop)
}

fn heeds(stage: &Stage) -> Result<()> {
    stage.say("\n1. A signal, and a daemon that heeds interrupts:");
    let reader = reader(stage, HEEDS)?;
    kill(stage, "USR1", &reader)?;
    let read = reader.end()?;
    stage.shows(
        "the open fails with EINTR, and the signal's handler runs",
        read.text.contains("Interrupted system call") && read.text.contains("a signal has come"),
    )?;
    println!("\n  The daemon says:");
    for line in [said(HEEDS, "INTERRUPT")?, said(HEEDS, "interrupted")?].concat() {
        println!("    {line}");
    }
    Ok(())
}

fn ignores(stage: &Stage) -> Result<()> {
    stage.say("\n2. Three signals, and a daemon that ignores interrupts:");
    let reader = reader(stage, IGNORES)?;
    for _ in 0..3 {
        kill(stage, "USR1", &reader)?;
        thread::sleep(Duration::from_millis(100));
    }
    let read = reader.end()?;
    stage.shows(
        "the reader waits until it has its answer, and reads",
        read.text.contains("Hello World!"),
    )?;
    let count = said(IGNORES, "INTERRUPT")?.len();
    stage.shows(
        "the daemon was interrupted once, not three times",
        count == 1,
    )
}

fn hangs(stage: &Stage) -> Result<()> {
    stage.say("\n3. A fatal signal, and a daemon that never answers:");
    let reader = reader(stage, HANGS)?;
    kill(stage, "KILL", &reader)?;
    stage.shows("the reader is gone", reader.end()?.status.is_none())?;
    let queues = stage.must("grep abandoned=1 /sys/fs/fuse/connections/*/queues")?;
    stage.shows(
        "its request is still with the daemon, and nobody's",
        queues.contains("opcode=OPEN") && queues.contains("queue=processing"),
    )?;
    stage
        .must(&format!("fuseq stuck --flush {HANGS}"))
        .map(drop)
}

fn busy(stage: &Stage) -> Result<()> {
    stage.say(
        "\n4. A fatal signal before the daemon, which does something else, has read anything:",
    );
    let other = stage.start(&format!("stat -c %s {BUSY}/dir/a"))?;
    stage.until_queued(BUSY, "processing", "GETATTR")?;
    let reader = stage.start(&format!("exec stat -c %s {BUSY}/hello"))?;
    stage.until_queued(BUSY, "pending", "LOOKUP")?;
    kill(stage, "KILL", &reader)?;
    reader.end()?;
    other.end()?;
    let seen = said(BUSY, "LOOKUP")?;
    stage.shows(
        "the daemon never sees its LOOKUP",
        !seen.iter().any(|line| line.contains(" 6 bytes")),
    )
}

/// What the recording shows.
fn shows(stage: &Stage, story: &Story) -> Result<()> {
    println!();
    let open = |dir| {
        let lives = of(story, dir)?;
        let open = lives.into_iter().find(|life| life.opcode == "OPEN");
        open.with_context(|| format!("there is no OPEN on {dir}"))
    };
    let took = |dir| -> Result<u64> { Ok(time_in(story, open(dir)?, Place::Processing)) };
    let work = WORK * 1_000_000;
    stage.shows(
        "an interrupt that is heeded cuts processing short; one that is ignored does not",
        took(HEEDS)? < work && took(IGNORES)? >= work,
    )?;
    let lives = of(story, BUSY)?;
    stage.shows(
        "what is taken back was never read",
        lives.iter().any(|life| {
            let mut places = life.stays.iter().map(|stay| stay.place);
            life.end.is_some() && places.all(|place| place == Place::Pending)
        }),
    )
}
