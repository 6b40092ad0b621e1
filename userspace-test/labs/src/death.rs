// SPDX-License-Identifier: GPL-2.0

//! Lab 6: the daemon dies, or as good as that.

use crate::stage::{connection, lives, time_in, Stage};
use anyhow::Result;
use fuseq::trace::Place;
use std::time::Duration;

const DIR: &str = "/mnt/lab";

/// How long a caller is left waiting, so that it can be seen.
const PAUSE: Duration = Duration::from_millis(300);

pub fn run(stage: &Stage) -> Result<()> {
    let (story, ()) = stage.record(|| {
        abort(stage)?;
        flush(stage)?;
        resend(stage)?;
        recover(stage)
    })?;
    let opens = lives(&story, "OPEN");
    let [aborted, flushed, resent, recovered] = opens[..] else {
        anyhow::bail!("there are {} OPENs, not 4", opens.len());
    };
    let times = |life, place| {
        let _: &fuseq::life::Life = life;
        life.stays.iter().filter(|stay| stay.place == place).count()
    };
    let hung = |life| time_in(&story, life, Place::Processing) >= PAUSE.as_micros() as u64;
    stage.shows(
        "what hangs is in processing",
        hung(aborted) && hung(flushed) && hung(resent),
    )?;
    stage.shows(
        "what was aborted was never answered",
        times(aborted, Place::Writing) == 0 && aborted.end.is_some(),
    )?;
    stage.shows(
        "what was sent again was in processing twice, and answered once",
        times(resent, Place::Processing) == 2 && times(resent, Place::Writing) == 1,
    )?;
    stage.shows(
        "what outlived its daemon waited in pending for the next one",
        time_in(&story, recovered, Place::Pending) >= PAUSE.as_micros() as u64
            && times(recovered, Place::Writing) == 1,
    )
}

/// Mounts what hangs, and has somebody fall into it.
fn hang(stage: &Stage, options: &str) -> Result<crate::stage::Job> {
    stage.mount(DIR, &format!("faultd {DIR} {options}"))?;
    let reader = stage.start(&format!("cat {DIR}/hello"))?;
    stage.until_queued(DIR, "processing", "OPEN")?;
    std::thread::sleep(PAUSE);
    Ok(reader)
}

fn abort(stage: &Stage) -> Result<()> {
    stage.say("\n1. A daemon that never answers. Who hangs?");
    let reader = hang(stage, "-e 'on OPEN: drop'")?;
    let shown = stage.run("fuseq stuck --older 0.2")?;
    stage.shows(
        "fuseq stuck names the process, the operation and the file",
        ["cat[", "OPEN", "/mnt/lab/hello", "processing"]
            .iter()
            .all(|word| shown.text.contains(word)),
    )?;
    stage.say("\nThe end of everything on this mount:");
    stage.must(&format!("fuseq stuck --abort {DIR}"))?;
    let read = reader.end()?;
    stage.shows(
        "the reader gets an error, and goes",
        read.status == Some(1) && read.text.contains("caused connection abort"),
    )?;
    // The daemon is told as well, and unmounts it.
    stage.until("it is unmounted", || Ok(connection(DIR).is_err()))
}

fn flush(stage: &Stage) -> Result<()> {
    stage.say("\n2. The same, but only what hangs is to end:");
    let reader = hang(stage, "-e 'on OPEN nth 1: drop'")?;
    stage.must(&format!("fuseq stuck --flush {DIR}"))?;
    let read = reader.end()?;
    stage.shows(
        "the reader gets EIO",
        read.text.contains("I/O error") || read.text.contains("Input/output error"),
    )?;
    // The mount is as it was.
    stage.must(&format!("ls {DIR}"))?;
    stage.unmount(DIR)
}

fn resend(stage: &Stage) -> Result<()> {
    stage.say("\n3. The daemon has lost a request: it is to come again.");
    let reader = hang(stage, "-e 'on OPEN nth 1: drop'")?;
    stage.must(&format!("fuseq stuck --resend {DIR}"))?;
    let read = reader.end()?;
    stage.shows(
        "the reader gets its data, and knows nothing of it",
        read.status == Some(0) && read.text == "Hello World!\n",
    )?;
    stage.unmount(DIR)
}

fn recover(stage: &Stage) -> Result<()> {
    stage.say("\n4. The daemon dies, on a mount that outlives it:");
    stage.mount(
        DIR,
        &format!("faultd {DIR} -o recover -e 'on OPEN: crash before'"),
    )?;
    let number = connection(DIR)?;
    let reader = stage.start(&format!("cat {DIR}/hello"))?;
    // It dies when it has read it: then it is there again.
    stage.until_gone("faultd")?;
    stage.until_queued(DIR, "pending", "OPEN")?;
    std::thread::sleep(PAUSE);
    stage.must("fuseq ls")?;
    stage.must(&format!("faultd --attach {number}"))?;
    let read = reader.end()?;
    stage.shows(
        "the reader has waited, and gets its data",
        read.status == Some(0) && read.text == "Hello World!\n",
    )?;
    stage.unmount(DIR)
}
