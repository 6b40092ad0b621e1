// SPDX-License-Identifier: GPL-2.0

//! Processes, by `/proc`. Nothing that is read here waits for a daemon; what might is read by a
//! thread of its own, which is left behind when it does not come back.

use super::text;
use std::{
    fs::{self, File},
    os::unix::{ffi::OsStringExt, fs::FileExt},
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long memory of another process may take.
const PATIENCE: Duration = Duration::from_millis(300);

/// A task: a process, or one of its threads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its number.
    pub pid: u32,
    /// That of the process it is of.
    pub process: u32,
    /// Its name.
    pub comm: String,
    /// How it is: R, S, D, T, Z...
    pub state: char,
}

impl Task {
    /// The task of that number, if there is one.
    pub fn of(pid: u32) -> Option<Self> {
        let status = fs::read(dir(pid).join("status")).ok()?;
        Self::parse(pid, &String::from_utf8_lossy(&status))
    }

    fn parse(pid: u32, status: &str) -> Option<Self> {
        let value = |name: &str| {
            let mut lines = status.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"))
        };
        Some(Self {
            pid,
            process: value("Tgid")?.trim().parse().ok()?,
            comm: text::plain(value("Name")?),
            state: value("State")?.chars().next()?,
        })
    }

    /// Its name and number.
    pub fn label(&self) -> String {
        format!("{}[{}]", self.comm, self.pid)
    }

    /// How it is, in words.
    pub fn doing(&self) -> &'static str {
        match self.state {
            'R' => "running",
            'S' | 'I' => "sleeping",
            'D' => "in a sleep that signals do not end",
            'T' | 't' => "stopped",
            'Z' | 'X' => "dead",
            _ => "in a state of its own",
        }
    }
}

/// `/proc/PID`.
pub fn dir(pid: u32) -> PathBuf {
    Path::new("/proc").join(pid.to_string())
}

/// All processes.
pub fn all() -> Vec<u32> {
    numbers(Path::new("/proc"))
}

/// All threads of a process.
pub fn threads(pid: u32) -> Vec<u32> {
    numbers(&dir(pid).join("task"))
}

fn numbers(dir: &Path) -> Vec<u32> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut numbers: Vec<_> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

/// An open file of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenFile {
    /// Its descriptor.
    pub fd: u32,
    /// What it is, as the kernel names it.
    pub path: PathBuf,
}

/// The open files of a process; none if they are not for us to see.
pub fn open_files(pid: u32) -> Vec<OpenFile> {
    let files = numbers(&dir(pid).join("fd")).into_iter();
    files.filter_map(|fd| open_file(pid, fd)).collect()
}

/// One of them.
pub fn open_file(pid: u32, fd: u32) -> Option<OpenFile> {
    let path = fs::read_link(dir(pid).join("fd").join(fd.to_string())).ok()?;
    Some(OpenFile { fd, path })
}

/// The value of `NAME:\tVALUE` that the kernel says of an open file.
pub fn fd_info(pid: u32, fd: u32, name: &str) -> Option<u64> {
    let text = fs::read_to_string(dir(pid).join("fdinfo").join(fd.to_string())).ok()?;
    let mut values = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = values.find(|(found, _)| *found == name)?;
    value.trim().parse().ok()
}

/// Whether not all open files of a process are for us to see.
pub fn is_hidden(pid: u32) -> bool {
    fs::read_dir(dir(pid).join("fd"))
        .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
}

/// The text at an address of another process, up to its zero byte. None when it is not there, not
/// for us to see, or its memory is locked by somebody who waits for a daemon.
pub fn string_at(pid: u32, address: u64) -> Option<PathBuf> {
    let memory = dir(pid).join("mem");
    patiently(move || read_string(&memory, address))
}

/// What looking at another process's memory gives; none when somebody holds its lock.
fn patiently<T: Send + 'static>(look: impl FnOnce() -> Option<T> + Send + 'static) -> Option<T> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        // Nobody may listen any more.
        let _ = sender.send(look());
    });
    receiver.recv_timeout(PATIENCE).ok().flatten()
}

/// A file that a process has mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The number of its device: for FUSE, that of the connection.
    pub device: u32,
    /// Its inode.
    pub inode: u64,
    /// Its path, as the kernel names it.
    pub path: PathBuf,
}

/// The files that a process has mapped, each once; none if that is not for us to see, or its memory is
/// locked by somebody who waits for a daemon.
pub fn mapped_files(pid: u32) -> Vec<Mapped> {
    let maps = dir(pid).join("maps");
    let text = patiently(move || fs::read(maps).ok()).unwrap_or_default();
    let mut all: Vec<_> = String::from_utf8_lossy(&text)
        .lines()
        .filter_map(Mapped::parse)
        .collect();
    all.dedup();
    all
}

impl Mapped {
    /// `FROM-TO RIGHTS OFFSET MAJOR:MINOR INODE    PATH`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.splitn(6, ' ').skip(3);
        let (major, minor) = words.next()?.split_once(':')?;
        let number = |word| u32::from_str_radix(word, 16).ok();
        let device = super::mounts::device(number(major)?, number(minor)?);
        let inode = words.next()?.parse().ok()?;
        let path = Path::new(words.next()?.trim_start()).to_owned();
        path.is_absolute().then_some(Self {
            device,
            inode,
            path,
        })
    }
}

fn read_string(memory: &Path, address: u64) -> Option<PathBuf> {
    const PAGE: u64 = 4096;
    let file = File::open(memory).ok()?;
    let mut bytes = Vec::new();
    while bytes.len() < libc::PATH_MAX as usize {
        let at = address.checked_add(bytes.len() as u64)?;
        // Up to the end of a page: the next one need not be there.
        let mut piece = vec![0; (PAGE - at % PAGE) as usize];
        let len = file.read_at(&mut piece, at).ok()?;
        if let Some(end) = piece[..len].iter().position(|byte| *byte == 0) {
            bytes.extend_from_slice(&piece[..end]);
            return Some(std::ffi::OsString::from_vec(bytes).into());
        }
        (len > 0).then(|| bytes.extend_from_slice(&piece[..len]))?;
    }
    None
}

/// How long ago a task began.
pub fn lifetime(pid: u32) -> Option<Duration> {
    let stat = fs::read(dir(pid).join("stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    // The name may hold anything; behind it come fields from the third on.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u64 = fields.split(' ').nth(19)?.parse().ok()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    let began = Duration::from_secs_f64(ticks as f64 / per_second as f64);
    let up = fs::read_to_string("/proc/uptime").ok()?;
    let up = Duration::from_secs_f64(up.split(' ').next()?.parse().ok()?);
    up.checked_sub(began)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_understood() {
        let status = "Name:\tcat\nUmask:\t0022\nState:\tD (disk sleep)\nTgid:\t70\nPid:\t71\n";
        let task = Task::parse(71, status).unwrap();
        assert_eq!((task.process, task.state), (70, 'D'));
        assert_eq!(task.label(), "cat[71]");
        assert_eq!(Task::parse(71, "Name:\tcat\n"), None);
    }

    #[test]
    fn this_process_is_seen() {
        let pid = std::process::id();
        assert!(all().contains(&pid));
        assert!(!threads(pid).is_empty());
        assert_eq!(Task::of(pid).unwrap().process, pid);
        assert!(lifetime(pid).unwrap() < Duration::from_secs(3600));
        let file = tempfile();
        let found = open_files(pid).into_iter().find(|open| open.path == file.1);
        assert_eq!(fd_info(pid, found.unwrap().fd, "pos"), Some(0));
        std::fs::remove_file(&file.1).unwrap();
    }

    fn tempfile() -> (File, PathBuf) {
        let path = std::env::temp_dir().join(format!("fuseq-test-{}", std::process::id()));
        (File::create(&path).unwrap(), path)
    }

    #[test]
    fn mapped_files_are_understood() {
        let line = "7f0ca7a00000-7f0ca7a01000 r--p 00000000 00:2b 5                 /mnt/a b";
        let mapped = Mapped::parse(line).unwrap();
        assert_eq!((mapped.device, mapped.inode), (43, 5));
        assert_eq!(mapped.path, Path::new("/mnt/a b"));
        for line in [
            "",
            "7f0ca7a00000-7f0ca7a01000 rw-p 00000000 00:00 0 ",
            "7ffd3c7f7000-7ffd3c818000 rw-p 00000000 00:00 0                          [stack]",
        ] {
            assert_eq!(Mapped::parse(line), None, "{line}");
        }
        let program = std::env::current_exe().unwrap();
        let mut mapped = mapped_files(std::process::id()).into_iter();
        assert!(mapped.any(|mapped| mapped.path == program));
    }

    #[test]
    fn strings_are_read_where_they_are() {
        let text = std::ffi::CString::new("/mnt/a file").unwrap();
        let found = string_at(std::process::id(), text.as_ptr() as u64);
        assert_eq!(found, Some("/mnt/a file".into()));
        assert_eq!(string_at(std::process::id(), 16), None);
    }
}
