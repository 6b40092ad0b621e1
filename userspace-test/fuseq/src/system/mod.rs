// SPDX-License-Identifier: GPL-2.0

//! The connections of this machine, and who is behind them: by the control file system, debugfs
//! and `/proc`.

pub mod caller;
pub mod mounts;
pub mod process;
pub mod queues;
pub mod stack;
pub mod text;

use anyhow::{bail, Context, Result};
use mounts::MountPoint;
use process::Task;
use queues::{Latency, Snapshot};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

const DEBUGFS: &str = "/sys/kernel/debug/rust_fuse";

/// What an administrator may do to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// End all that waits, and the connection with it.
    Abort,
    /// End with EIO what the daemon has read and not answered.
    Flush,
    /// Send that again.
    Resend,
}

impl Action {
    /// The file of the control file system that does it.
    pub fn file(self) -> &'static str {
        match self {
            Action::Abort => "abort",
            Action::Flush => "flush",
            Action::Resend => "resend",
        }
    }
}

/// A connection between file systems and a daemon.
#[derive(Clone, Debug, Default)]
pub struct Connection {
    /// Its number.
    pub number: u32,
    /// Where it is mounted.
    pub mounts: Vec<MountPoint>,
    /// The processes that have its device open.
    pub daemons: Vec<Task>,
    /// Its directory in the control file system.
    pub control: Option<PathBuf>,
    /// Its directory in debugfs, which rust_fuse has for root.
    pub debugfs: Option<PathBuf>,
}

/// All connections, as far as they can be seen.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// By their numbers.
    pub connections: Vec<Connection>,
    /// The control file system is mounted.
    pub has_control: bool,
    /// There are processes whose open files are not for us to see.
    pub hidden: bool,
}

impl System {
    /// Looks at the machine.
    pub fn look() -> Self {
        let mounts = MountPoint::of_process("self");
        let mut all: BTreeMap<u32, Connection> = BTreeMap::new();
        let controls = mounts.iter().filter(|mount| mount.is_control());
        for (number, dir) in controls.clone().flat_map(|mount| numbered(&mount.path)) {
            all.entry(number).or_default().control = Some(dir);
        }
        for (number, dir) in numbered(Path::new(DEBUGFS)) {
            all.entry(number).or_default().debugfs = Some(dir);
        }
        for mount in mounts.iter().filter(|mount| mount.is_fuse()) {
            let connection = all.entry(mount.device).or_default();
            connection.mounts.push(mount.clone());
        }
        let mut hidden = false;
        for pid in process::all() {
            hidden |= process::is_hidden(pid);
            for number in connections_of(pid) {
                let connection = all.entry(number).or_default();
                connection.daemons.extend(Task::of(pid));
            }
        }
        for (number, connection) in &mut all {
            connection.number = *number;
            if connection.mounts.is_empty() {
                connection.mounts = seen_by_daemon(*number, &connection.daemons);
            }
        }
        Self {
            connections: all.into_values().collect(),
            has_control: controls.count() > 0,
            hidden,
        }
    }

    /// The connection that a person calls `name`: its number, its mount point, or a path below that.
    ///
    /// # Errors
    ///
    /// There is none; the error names those that there are.
    pub fn find(&self, name: &str) -> Result<&Connection> {
        let number = name.parse().ok();
        let by_number = self.connections.iter().find(|it| Some(it.number) == number);
        let found = by_number.or_else(|| {
            // Only its text: to look at the path would ask the daemon.
            let path = std::path::absolute(name).ok()?;
            self.by_path(&path).or_else(|| {
                let parent = path.parent()?.canonicalize().ok()?;
                self.by_path(&parent.join(path.file_name()?))
            })
        });
        if let Some(connection) = found {
            return Ok(connection);
        }
        let all: Vec<_> = self.connections.iter().map(Connection::title).collect();
        match &all[..] {
            [] => bail!("{name}: no such connection; there is none at all"),
            all => bail!("{name}: no such connection; there are {}", all.join(", ")),
        }
    }

    /// Those that a person asks for: the one of that name, or all.
    ///
    /// # Errors
    ///
    /// There is none of that name.
    pub fn chosen(&self, name: Option<&str>) -> Result<Vec<&Connection>> {
        match name {
            Some(name) => Ok(vec![self.find(name)?]),
            None => Ok(self.connections.iter().collect()),
        }
    }

    fn by_path(&self, path: &Path) -> Option<&Connection> {
        let of = |connection: &Connection| {
            let mounts = connection.mounts.iter();
            let on = mounts.filter(|mount| path.starts_with(&mount.path));
            on.map(|mount| mount.path.as_os_str().len()).max()
        };
        let found = self.connections.iter().filter(|it| of(it).is_some());
        found.max_by_key(|connection| of(connection))
    }

    /// What to do to see more, if there is anything.
    pub fn hints(&self) -> Vec<String> {
        let mut hints = Vec::new();
        if !self.has_control {
            hints.push(String::from(
                "the control file system is not mounted: mount -t fusectl none \
                 /sys/fs/fuse/connections (rfusectl on /sys/fs/rfuse/connections with coexist=1)",
            ));
        }
        if self.hidden {
            hints.push(String::from(
                "not every process is ours to look at: root sees all daemons and callers",
            ));
        }
        hints
    }
}

impl Connection {
    /// Where it is mounted, and its number.
    pub fn title(&self) -> String {
        format!("{} (connection {})", self.place(), self.number)
    }

    /// Where it is mounted.
    pub fn place(&self) -> String {
        match self.mounts.first() {
            Some(mount) => text::plain(&mount.path.to_string_lossy()),
            None => String::from("(mounted elsewhere)"),
        }
    }

    /// Its type and source, where it is known.
    pub fn file_system(&self) -> String {
        self.mounts.first().map_or(String::from("?"), |mount| {
            text::plain(&match mount.source == mount.fs_type {
                true => mount.fs_type.clone(),
                false => format!("{} {}", mount.fs_type, mount.source),
            })
        })
    }

    /// Its daemons, in one word each.
    pub fn daemon(&self) -> String {
        match &self.daemons[..] {
            [] => String::from("-"),
            daemons => {
                let labels: Vec<_> = daemons.iter().map(Task::label).collect();
                labels.join(" ")
            }
        }
    }

    /// How many requests have not ended.
    ///
    /// # Errors
    ///
    /// The control file system is not mounted, or not for us to read.
    pub fn waiting(&self) -> Result<u64> {
        let dir = self.control.as_ref();
        let file = dir
            .context("the control file system is not mounted")?
            .join("waiting");
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        text.trim()
            .parse()
            .with_context(|| file.display().to_string())
    }

    /// All queues and requests; nothing on C fuse.
    ///
    /// # Errors
    ///
    /// They are there, and not for us to read.
    pub fn snapshot(&self) -> io::Result<Option<Snapshot>> {
        Ok(self.read("queues")?.map(|text| Snapshot::parse(&text)))
    }

    /// How long requests took, by opcode; nothing on C fuse.
    ///
    /// # Errors
    ///
    /// They are there, and not for us to read.
    pub fn latencies(&self) -> io::Result<Option<Vec<Latency>>> {
        Ok(self.read("latency")?.map(|text| Latency::parse_all(&text)))
    }

    /// A file that only rust_fuse has.
    fn read(&self, name: &str) -> io::Result<Option<String>> {
        for dir in [&self.control, &self.debugfs].into_iter().flatten() {
            match fs::read_to_string(dir.join(name)) {
                Ok(text) => return Ok(Some(text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// How many background requests may be active.
    pub fn max_background(&self) -> Option<u64> {
        let text = fs::read_to_string(self.control.as_ref()?.join("max_background")).ok()?;
        text.trim().parse().ok()
    }

    /// Does something to it.
    ///
    /// # Errors
    ///
    /// It cannot be done here, or not by us.
    pub fn act(&self, action: Action) -> Result<()> {
        let dir = self.control.as_ref().context(
            "the control file system is not mounted: mount -t fusectl none /sys/fs/fuse/connections",
        )?;
        let file = dir.join(action.file());
        match fs::OpenOptions::new().write(true).open(&file) {
            Ok(mut file) => Ok(io::Write::write_all(&mut file, b"1")?),
            Err(error) if error.kind() == io::ErrorKind::NotFound && action != Action::Abort => {
                bail!(
                    "C fuse has no {}: it can only be aborted (--abort)",
                    action.file()
                )
            }
            Err(error) => Err(error).with_context(|| file.display().to_string()),
        }
    }
}

/// The directories in `dir` whose names are numbers.
fn numbered(dir: &Path) -> Vec<(u32, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |entry: fs::DirEntry| {
        let number = entry.file_name().to_str()?.parse().ok()?;
        Some((number, entry.path()))
    };
    entries.filter_map(number).collect()
}

/// The connections whose device a process has open, each once.
fn connections_of(pid: u32) -> Vec<u32> {
    let devices = process::open_files(pid)
        .into_iter()
        .filter(|open| matches!(open.path.to_str(), Some("/dev/fuse" | "/dev/rfuse")));
    let mut numbers: Vec<u32> = devices
        .filter_map(|open| process::fd_info(pid, open.fd, "fuse_connection"))
        .filter_map(|number| number.try_into().ok())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Where a connection is mounted, for those who serve it: perhaps in a mount namespace of theirs.
fn seen_by_daemon(number: u32, daemons: &[Task]) -> Vec<MountPoint> {
    let mounts = daemons
        .iter()
        .map(|task| MountPoint::of_process(&task.pid.to_string()))
        .find(|mounts| mounts.iter().any(|mount| is_of(mount, number)));
    let mounts = mounts.into_iter().flatten();
    mounts.filter(|mount| is_of(mount, number)).collect()
}

fn is_of(mount: &MountPoint, number: u32) -> bool {
    mount.is_fuse() && mount.device == number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system() -> System {
        let mountinfo =
            "44 22 0:43 / /mnt/a rw - fuse.a a rw\n45 22 0:44 / /mnt/a/b rw - fuse b rw\n";
        let connections = MountPoint::parse_all(mountinfo)
            .into_iter()
            .map(|mount| Connection {
                number: mount.device,
                mounts: vec![mount],
                ..Default::default()
            });
        System {
            connections: connections.collect(),
            ..Default::default()
        }
    }

    #[test]
    fn connections_are_found_by_what_people_call_them() {
        let system = system();
        for (name, number) in [
            ("43", 43),
            ("/mnt/a", 43),
            ("/mnt/a/", 43),
            ("/mnt/a/b/c", 44),
        ] {
            assert_eq!(system.find(name).unwrap().number, number, "{name}");
        }
        let error = system.find("/mnt/c").unwrap_err().to_string();
        assert_eq!(
            error,
            "/mnt/c: no such connection; there are /mnt/a (connection 43), /mnt/a/b (connection 44)"
        );
        let none = System::default().find("1").unwrap_err().to_string();
        assert_eq!(none, "1: no such connection; there is none at all");
    }
}
