// SPDX-License-Identifier: GPL-2.0

//! File systems that are written in paths, as callers see them: `memfs`, mounted.

use crate::{
    caller::eventually,
    env::Env,
    fs::fresh_dir,
    runner, sys, system,
    tests::{
        programs::{ours, Daemon},
        tests,
    },
    xattrs,
};
use nix::{
    sys::{
        prctl::set_thp_disable,
        signal::{kill, Signal},
    },
    unistd::Pid,
};
use rawfuse::{Errno, Kind};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::{FileExt, FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

tests![
    what_is_open_moves_with_its_directory,
    an_open_file_outlives_its_name,
    an_open_file_outlives_its_name_without_another,
    an_open_file_outlives_what_replaces_it,
    two_names_change_places,
    two_names_are_one_file,
    what_is_made_is_there,
    data_has_holes,
    attributes_and_their_extensions_stay,
    memory_comes_back => 300,
];

struct Mounted {
    dir: PathBuf,
    daemon: Daemon,
}

impl Mounted {
    #[track_caller]
    fn new(env: &Env, options: &[&str]) -> Self {
        if env.kind != Kind::FUSE {
            runner::skip("memfs knows /dev/fuse only");
        }
        let dir = fresh_dir();
        let mut command = Command::new(ours("memfs"));
        let daemon = Daemon::start(command.arg("-f").args(options).arg(&dir), &dir);
        Self { dir, daemon }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    #[track_caller]
    fn end(self) {
        nix::mount::umount(&self.dir).expect("umount");
        self.daemon.ends();
    }
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = sys::list(dir)
        .expect("ls")
        .into_iter()
        .map(|entry| entry.name.into_string().unwrap())
        .filter(|name| name != "." && name != "..")
        .collect();
    names.sort();
    names
}

fn what_is_open_moves_with_its_directory(env: &Env) {
    let fs = Mounted::new(env, &[]);
    fs::create_dir_all(fs.path("a/b")).unwrap();
    fs::write(fs.path("a/b/file"), "data").unwrap();
    let mut file = File::open(fs.path("a/b/file")).unwrap();
    let dir = File::open(fs.path("a/b")).unwrap();
    fs::rename(fs.path("a"), fs.path("moved")).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "data");
    let entries = sys::getdents(&dir, 4096).unwrap();
    assert!(
        entries.iter().any(|entry| entry.name == "file"),
        "{entries:?}"
    );
    assert!(!fs.path("a").exists());
    assert_eq!(names(&fs.path("moved/b")), ["file"]);
    drop((file, dir));
    fs.end();
}

#[track_caller]
fn outlives_its_name(fs: &Mounted, is_hidden: bool) {
    let path = fs.path("file");
    fs::write(&path, "data").unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!path.exists());
    let left = names(&fs.dir);
    assert_eq!(left.len(), usize::from(is_hidden), "{left:?}");
    assert!(left.iter().all(|name| name.starts_with(".fuse_hidden")));
    file.write_all_at(b"more", 4).unwrap();
    let mut data = [0; 8];
    file.read_exact_at(&mut data, 0).unwrap();
    assert_eq!(&data, b"datamore");
    file.set_len(2).expect("ftruncate");
    system::drop_caches(1);
    assert_eq!(file.metadata().expect("fstat").len(), 2);
    // Another one of that name is another one.
    fs::write(&path, "new").unwrap();
    assert_eq!(file.read_at(&mut data, 0).unwrap(), 2);
    fs::remove_file(&path).unwrap();
    drop(file);
    eventually("it is gone", || names(&fs.dir).is_empty());
}

fn an_open_file_outlives_its_name(env: &Env) {
    let fs = Mounted::new(env, &[]);
    outlives_its_name(&fs, true);
    fs.end();
}

fn an_open_file_outlives_its_name_without_another(env: &Env) {
    let fs = Mounted::new(env, &["--hard-remove"]);
    outlives_its_name(&fs, false);
    fs.end();
}

fn an_open_file_outlives_what_replaces_it(env: &Env) {
    let fs = Mounted::new(env, &[]);
    fs::write(fs.path("old"), "old").unwrap();
    fs::write(fs.path("new"), "new").unwrap();
    let mut file = File::open(fs.path("old")).unwrap();
    fs::rename(fs.path("new"), fs.path("old")).unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    assert_eq!(fs::read(fs.path("old")).unwrap(), b"new");
    drop(file);
    eventually("it is gone", || names(&fs.dir) == ["old"]);
    fs.end();
}

fn two_names_change_places(env: &Env) {
    let fs = Mounted::new(env, &[]);
    fs::create_dir(fs.path("dir")).unwrap();
    fs::write(fs.path("dir/inner"), "inner").unwrap();
    fs::write(fs.path("file"), "file").unwrap();
    let (dir, file) = (fs.path("dir"), fs.path("file"));
    sys::rename(&dir, &file, libc::RENAME_EXCHANGE).expect("exchange");
    assert_eq!(fs::read(fs.path("file/inner")).unwrap(), b"inner");
    assert_eq!(fs::read(&dir).unwrap(), b"file");
    let again = sys::rename(&dir, &file, libc::RENAME_NOREPLACE);
    system::assert_errno(again, Errno::EEXIST);
    system::assert_errno(fs::rename(&file, fs.path("file/x")), Errno::EINVAL);
    fs.end();
}

fn two_names_are_one_file(env: &Env) {
    let fs = Mounted::new(env, &[]);
    let (one, other) = (fs.path("one"), fs.path("other"));
    fs::write(&one, "data").unwrap();
    fs::hard_link(&one, &other).unwrap();
    let stats = [sys::stat(&one).unwrap(), sys::stat(&other).unwrap()];
    assert_eq!(stats[0].st_ino, stats[1].st_ino);
    assert_eq!((stats[0].st_nlink, stats[1].st_nlink), (2, 2));
    // What is written by one name is read by the other, from the cache as well.
    let file = File::open(&other).unwrap();
    fs::write(&one, "changed").unwrap();
    let mut data = [0; 7];
    file.read_exact_at(&mut data, 0).unwrap();
    assert_eq!(&data, b"changed");
    drop(file);
    fs::remove_file(&one).unwrap();
    assert_eq!(names(&fs.dir), ["other"]);
    assert_eq!(fs::read(&other).unwrap(), b"changed");
    assert_eq!(sys::stat(&other).unwrap().st_nlink, 1);
    fs.end();
}

fn what_is_made_is_there(env: &Env) {
    let fs = Mounted::new(env, &[]);
    sys::mknod(&fs.path("pipe"), libc::S_IFIFO | 0o600, 0).unwrap();
    assert!(fs::metadata(fs.path("pipe")).unwrap().file_type().is_fifo());
    sys::symlink("pipe", &fs.path("link")).unwrap();
    assert_eq!(fs::read_link(fs.path("link")).unwrap(), Path::new("pipe"));
    sys::mkdir(&fs.path("dir"), 0o750).unwrap();
    assert_eq!(
        fs::metadata(fs.path("dir")).unwrap().mode(),
        libc::S_IFDIR | 0o750
    );
    system::assert_errno(fs::create_dir(fs.path("dir")), Errno::EEXIST);
    File::create(fs.path("dir/file")).unwrap();
    system::assert_errno(fs::remove_dir(fs.path("dir")), Errno::ENOTEMPTY);
    system::assert_errno(sys::unlink(&fs.path("dir")), Errno::EISDIR);
    system::assert_errno(fs::remove_dir(fs.path("link")), Errno::ENOTDIR);
    // More than one read, and looked up on the way.
    for number in 0..500 {
        File::create(fs.path(&format!("dir/file-{number}"))).unwrap();
    }
    system::drop_caches(2);
    let entries = fs::read_dir(fs.path("dir")).unwrap().flatten();
    assert_eq!(
        entries
            .filter(|entry| entry.metadata().unwrap().is_file())
            .count(),
        501
    );
    assert_eq!(names(&fs.path("dir")).len(), 501);
    fs::remove_dir_all(fs.path("dir")).unwrap();
    assert_eq!(names(&fs.dir), ["link", "pipe"]);
    fs.end();
}

fn data_has_holes(env: &Env) {
    let fs = Mounted::new(env, &["--size", "65536"]);
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(fs.path("file"))
        .unwrap();
    file.write_all_at(b"end", 1 << 40).expect("a page");
    let mut data = [1; 5];
    assert_eq!(file.read_at(&mut data, (1 << 40) - 2).unwrap(), 5);
    assert_eq!(&data, b"\0\0end");
    assert_eq!(file.metadata().unwrap().blocks(), 8);
    file.set_len(0).unwrap();
    file.write_all_at(&[7; 65536], 0).expect("all there is");
    system::assert_errno(file.write_at(&[8], 65536), Errno::ENOSPC);
    let punch = nix::fcntl::FallocateFlags::FALLOC_FL_PUNCH_HOLE
        | nix::fcntl::FallocateFlags::FALLOC_FL_KEEP_SIZE;
    nix::fcntl::fallocate(&file, punch, 4000, 8288).expect("punch");
    let mut all = vec![0; 65536];
    system::drop_caches(1);
    file.read_exact_at(&mut all, 0).unwrap();
    let holes = |at: usize| (4000..12288).contains(&at);
    assert!((0..65536).all(|at| (all[at] == 0) == holes(at)));
    file.write_all_at(&[8], 65536).expect("there is room again");
    drop(file);
    fs.end();
}

fn attributes_and_their_extensions_stay(env: &Env) {
    let fs = Mounted::new(env, &[]);
    let path = fs.path("file");
    File::create(&path).unwrap().write_all(b"data").unwrap();
    std::os::unix::fs::chown(&path, Some(7), Some(8)).unwrap();
    xattrs::set(&path, "user.one", b"1", libc::XATTR_CREATE).unwrap();
    let again = xattrs::set(&path, "user.one", b"2", libc::XATTR_CREATE);
    system::assert_errno(again, Errno::EEXIST);
    xattrs::set(&path, "user.two", b"two", 0).unwrap();
    assert_eq!(xattrs::get(&path, "user.two", 10).unwrap(), b"two");
    system::assert_errno(xattrs::get(&path, "user.two", 2), Errno::ERANGE);
    assert_eq!(xattrs::list(&path, 100).unwrap(), b"user.one\0user.two\0");
    xattrs::remove(&path, "user.one").unwrap();
    system::assert_errno(xattrs::get(&path, "user.one", 10), Errno::ENODATA);
    system::drop_caches(2);
    let stat = sys::stat(&path).unwrap();
    assert_eq!((stat.st_uid, stat.st_gid, stat.st_size), (7, 8, 4));
    fs.end();
}

/// How many KiB of memory a process has.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words.and_then(|kib| kib.parse().ok()).expect("VmRSS")
}

/// The kernel looks many names up, and forgets them: what the daemon keeps of them goes as well.
fn memory_comes_back(env: &Env) {
    const FILES: usize = 20_000;
    if env.kind != Kind::FUSE {
        runner::skip("quotafs knows /dev/fuse only");
    }
    let (source, dir) = (fresh_dir(), fresh_dir());
    let make = |number: usize| fs::write(source.join(format!("a-name-{number:032}")), "");
    (0..FILES).try_for_each(make).expect("files");
    // The buffer that requests are read to is not to become a huge page, whenever the kernel likes. The
    // daemon has that from us.
    set_thp_disable(true).expect("no huge pages");
    let mut command = Command::new(ours("quotafs"));
    command
        .arg("--src")
        .arg(&source)
        .args(["--size", "1M", "--threads", "1", "-f"]);
    let daemon = Daemon::start(command.arg(&dir), &dir);
    let look_up = || {
        for number in 0..FILES {
            sys::stat(&dir.join(format!("a-name-{number:032}"))).expect("stat");
        }
    };
    let forget = || {
        // The kernel may keep some for another round.
        for _ in 0..3 {
            system::drop_caches(2);
            // Eight requests pass forgets that wait. The ninth answer comes from a daemon that is done
            // with them.
            for _ in 0..9 {
                system::assert_errno(sys::stat(&dir.join("none")), Errno::ENOENT);
            }
        }
        resident(daemon.pid())
    };
    // All of them in one request are the most that it has to have room for. That it keeps.
    look_up();
    let pid = Pid::from_raw(daemon.pid() as i32);
    kill(pid, Signal::SIGSTOP).expect("stop");
    system::drop_caches(2);
    kill(pid, Signal::SIGCONT).expect("continue");
    let start = forget();
    look_up();
    let full = resident(daemon.pid());
    assert!(full > start + 1000, "{start} KiB, then {full}");
    let mut end = forget();
    eventually(&format!("{end} KiB become {start}"), || {
        end = forget();
        end <= start + start / 10
    });
    nix::mount::umount(&dir).expect("umount");
    daemon.ends();
}
