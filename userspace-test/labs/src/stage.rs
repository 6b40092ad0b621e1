// SPDX-License-Identifier: GPL-2.0

//! What a lab does: it says something, types a command, records, and looks at the recording.

use anyhow::{bail, ensure, Context, Result};
use fuseq::{
    life::{Life, Story},
    system::text,
    trace::Place,
};
use std::{
    fmt::{self, Write as _},
    fs::{self, File},
    io::{BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a lab is performed.
pub struct Stage {
    /// What the recording and the page are called, but for their ends.
    name: PathBuf,
    /// Take less of what there is a million of.
    pub small: bool,
}

/// A command that goes on while others are typed.
pub struct Job {
    command: String,
    child: Child,
}

/// A machine that had other things to do kept a lab from showing what it shows on most days.
#[derive(Debug)]
pub struct OutOfLuck;

impl fmt::Display for OutOfLuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("threads ran in another order than they mostly do")
    }
}

/// What a command came to.
#[derive(Debug)]
pub struct Done {
    /// All that it printed.
    pub text: String,
    /// How it ended; none if by a signal.
    pub status: Option<i32>,
}

impl Stage {
    /// The recording and the page are called `name`.
    pub fn new(name: &Path, small: bool) -> Self {
        let name = name.into();
        Self { name, small }
    }

    /// The recording of that suffix.
    pub fn trace(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}.trace", self.name.display()))
    }

    /// Says something, in lines as long as they are here.
    pub fn say(&self, text: &str) {
        println!("{text}\n");
    }

    /// Makes a directory to mount on.
    pub fn directory(&self, path: &str) -> Result<()> {
        fs::create_dir_all(path).with_context(|| path.to_string())
    }

    /// Types a command, and waits for it.
    pub fn run(&self, command: &str) -> Result<Done> {
        self.start(command)?.end()
    }

    /// Types a command that has to work, and waits for it.
    pub fn must(&self, command: &str) -> Result<String> {
        let done = self.run(command)?;
        ensure!(done.status == Some(0), "`{command}` failed: {done:?}");
        Ok(done.text)
    }

    /// Types a command that mounts a file system, and waits until its daemon serves it.
    pub fn mount(&self, dir: &str, command: &str) -> Result<()> {
        self.directory(dir)?;
        self.must(command)?;
        // That is INIT.
        self.until_passed(dir, "ended", 1)
    }

    /// Types a command that is left to itself.
    pub fn start(&self, command: &str) -> Result<Job> {
        println!("# {command}");
        let child = Command::new("sh")
            .args(["-c", &format!("exec 2>&1; {command}")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("sh")?;
        Ok(Job {
            command: command.into(),
            child,
        })
    }

    /// Unmounts a file system, whose daemon ends then.
    pub fn unmount(&self, dir: &str) -> Result<()> {
        self.must(&format!("umount {dir}")).map(drop)
    }

    /// Records what happens to requests meanwhile; gives what came of it, too.
    pub fn record<T>(&self, act: impl FnOnce() -> Result<T>) -> Result<(Story, T)> {
        self.record_to("", act)
    }

    /// The same, to a recording with a suffix.
    pub fn record_to<T>(
        &self,
        suffix: &str,
        act: impl FnOnce() -> Result<T>,
    ) -> Result<(Story, T)> {
        let trace = self.trace(suffix);
        let name = trace.file_name().unwrap_or_default();
        println!("# fuseq record -o {} &", name.display());
        // The command that is recorded tells when it begins, and ends when it is told to.
        let mut record = Command::new("fuseq")
            .arg("record")
            .arg("-o")
            .arg(&trace)
            .args(["--", "sh", "-c", "echo recording; read wait"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("fuseq")?;
        let mut began = [0; 10];
        record
            .stdout
            .take()
            .context("its output")?
            .read_exact(&mut began)
            .context("fuseq record")?;
        let acted = act();
        drop(record.stdin.take());
        let output = record.wait_with_output()?;
        let acted = acted?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        print!("{}", text.split(';').next().unwrap_or_default());
        println!();
        let file = File::open(&trace)?;
        let story = Story::read(BufReader::new(file))?;
        ensure!(story.lost == 0, "the kernel dropped {} events", story.lost);
        Ok((story, acted))
    }

    /// Makes the page.
    pub fn report(&self, title: &str) -> Result<()> {
        self.report_of("", title)
    }

    /// Makes the page of a recording with a suffix.
    pub fn report_of(&self, suffix: &str, title: &str) -> Result<()> {
        let name = self.trace(suffix);
        self.must(&format!(
            "fuseq report --title '{title}' {}",
            name.display()
        ))
        .map(drop)
    }

    /// That what the lab is to show is to be seen.
    pub fn shows(&self, what: &str, is_so: bool) -> Result<()> {
        ensure!(is_so, "it does not show that {what}");
        println!("  -> {what}");
        Ok(())
    }

    /// The same of what depends on which thread runs when, as it mostly does: otherwise the lab is
    /// [performed again](OutOfLuck).
    pub fn mostly_shows(&self, what: &str, is_so: bool) -> Result<()> {
        self.shows(what, is_so)
            .map_err(|error| error.context(OutOfLuck))
    }

    /// Waits until something is so.
    pub fn until(&self, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !is_so()? {
            ensure!(Instant::now() < end, "never happened: {what}");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Waits until a daemon is gone, and all that it had open with it.
    pub fn until_gone(&self, daemon: &str) -> Result<()> {
        self.until(&format!("{daemon} is gone"), || {
            let found = Command::new("pidof").arg(daemon).output()?;
            Ok(found.stdout.is_empty())
        })
    }

    /// Waits until a request of that kind is in one of the queues of a connection.
    pub fn until_queued(&self, dir: &str, queue: &str, opcode: &str) -> Result<()> {
        self.until_line(dir, &format!("a {opcode} in {queue}"), |line| {
            let is = |name, value| text::field(line, name) == Some(value);
            line.starts_with("request ") && is("queue", queue) && is("opcode", opcode)
        })
    }

    /// Waits until so many requests have come to one of the queues of a connection.
    pub fn until_passed(&self, dir: &str, queue: &str, count: u64) -> Result<()> {
        self.until_line(dir, &format!("{count} through {queue}"), |line| {
            let passed = text::field(line, "passed").and_then(|passed| passed.parse().ok());
            line.starts_with(&format!("queue={queue} "))
                && passed.is_some_and(|passed: u64| passed >= count)
        })
    }

    fn until_line(&self, dir: &str, what: &str, wanted: impl Fn(&str) -> bool) -> Result<()> {
        let file = control(dir)?.join("queues");
        self.until(what, || Ok(fs::read_to_string(&file)?.lines().any(&wanted)))
    }

    /// Takes down whatever is left.
    pub fn clear(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        for line in mounts.lines() {
            let mut fields = line.split(' ').skip(1);
            if let (Some(dir), Some(kind)) = (fields.next(), fields.next()) {
                if kind.starts_with("fuse.") {
                    // It is gone then, or that fails for who looks next.
                    let _ = nix::mount::umount2(dir, nix::mount::MntFlags::MNT_FORCE);
                    let _ = nix::mount::umount2(dir, nix::mount::MntFlags::MNT_DETACH);
                }
            }
        }
    }
}

impl Job {
    /// The process: a shell, or what it was replaced by.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for it, and shows what it printed.
    pub fn end(mut self) -> Result<Done> {
        let mut text = String::new();
        let mut output = self.child.stdout.take().context("its output")?;
        output
            .read_to_string(&mut text)
            .with_context(|| self.command.clone())?;
        let status = self.child.wait()?.code();
        print!("{text}");
        Ok(Done { text, status })
    }
}

/// The directory of a mounted file system in the control file system.
pub fn control(dir: &str) -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    for line in mounts.lines().rev() {
        let fields: Vec<_> = line.split(' ').collect();
        if let [_, _, device, _, mounted, ..] = fields[..] {
            if mounted == dir {
                let (_, minor) = device.split_once(':').context("a device")?;
                return Ok(Path::new("/sys/fs/fuse/connections").join(minor));
            }
        }
    }
    bail!("nothing is mounted on {dir}")
}

/// The number of a mounted file system's connection.
pub fn connection(dir: &str) -> Result<u32> {
    let control = control(dir)?;
    let name = control.file_name().and_then(|name| name.to_str());
    Ok(name.context("a number")?.parse()?)
}

/// The requests on what was mounted there.
pub fn of<'a>(story: &'a Story, dir: &str) -> Result<Vec<&'a Life>> {
    let mut all = story.connections.iter();
    let found = all.find(|(_, (mount, _))| mount == dir);
    let (number, _) = found.with_context(|| format!("no connection of {dir} in the recording"))?;
    let lives = story.lives.iter();
    Ok(lives.filter(|life| life.connection == *number).collect())
}

/// How many of some requests were at the same time in places that are wanted.
pub fn most(story: &Story, lives: &[&Life], wanted: impl Fn(Place) -> bool) -> usize {
    let mut changes = Vec::new();
    for life in lives {
        for (_, from, to) in life.spans(story.to).filter(|(place, ..)| wanted(*place)) {
            changes.extend([(from, 1), (to, -1)]);
        }
    }
    // Who goes, goes before another comes.
    changes.sort_unstable();
    let mut now = 0;
    let counts = changes.iter().map(|(_, change)| {
        now += change;
        now
    });
    // CAST: It is no less than 0.
    counts.max().unwrap_or(0) as usize
}

/// The one in the middle; 0 of none.
pub fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or(0)
}

/// The requests of one kind.
pub fn lives<'a>(story: &'a Story, opcode: &str) -> Vec<&'a Life> {
    let lives = story.lives.iter();
    lives.filter(|life| life.opcode == opcode).collect()
}

/// How long a request was in a place, in microseconds.
pub fn time_in(story: &Story, life: &Life, place: Place) -> u64 {
    let spans = life.spans(story.to);
    spans
        .filter(|(there, ..)| *there == place)
        .map(|(_, from, to)| to - from)
        .sum()
}

/// A request's life in a line for each place.
pub fn biography(story: &Story, life: &Life) -> String {
    let mut text = format!("{} of {}[{}]\n", life.opcode, life.comm, life.pid);
    for (place, from, to) in life.spans(story.to) {
        // To a string there is no error.
        let _ = writeln!(text, "  {:>8} µs  {place}", to - from);
    }
    text
}
