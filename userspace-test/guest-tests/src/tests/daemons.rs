// SPDX-License-Identifier: GPL-2.0

//! Daemons that other tests and measurements stand on: `nullfs`, and `stackfs` with both sets of its
//! options.

use crate::{
    env::Env,
    fs::fresh_dir,
    runner, sys, system,
    tests::{
        programs::{ours, Daemon},
        tests,
    },
};
use rawfuse::{Errno, Kind};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
};

tests![
    nullfs_answers_everything,
    nullfs_in_the_background_with_threads,
    stackfs_shows_a_directory,
    stackfs_shows_a_directory_optimised,
];

fn nullfs(env: &Env) -> Command {
    let mut command = Command::new(ours("nullfs"));
    if env.kind != Kind::FUSE {
        command.arg("--coexist");
    }
    command
}

/// What there is, what there is not, and that nothing of what is done changes it.
#[track_caller]
fn everything_works_and_nothing_changes(dir: &Path) {
    let file = dir.join("file");
    let stat = sys::stat(&file).expect("stat");
    assert_eq!(stat.st_mode, libc::S_IFREG | 0o644);
    assert_eq!((stat.st_size, stat.st_nlink), (1 << 40, 1));
    assert_eq!(sys::stat(&file).expect("stat").st_ino, stat.st_ino);
    assert_ne!(
        sys::stat(&dir.join("other")).expect("stat").st_ino,
        stat.st_ino
    );
    system::assert_errno(sys::stat(&dir.join("none")), Errno::ENOENT);

    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&file)
        .expect("open");
    assert_eq!(open.write_at(&[1; 10_000], 1 << 30).expect("write"), 10_000);
    open.sync_all().expect("fsync");
    drop(open);
    let mut bytes = [2; 300_000];
    let open = File::open(&file).expect("open");
    open.read_exact_at(&mut bytes, 1 << 30).expect("read");
    assert!(bytes.iter().all(|&byte| byte == 0), "not all are zeroes");
    assert_eq!(open.read_at(&mut bytes, 1 << 40).expect("read"), 0);

    let inner = dir.join("dir/dir");
    assert_eq!(
        sys::stat(&inner).expect("stat").st_mode,
        libc::S_IFDIR | 0o755
    );
    let names: Vec<_> = fs::read_dir(&inner).expect("ls").collect();
    assert!(names.is_empty(), "{names:?}");
    File::create(inner.join("new")).expect("create");
    fs::create_dir(inner.join("nd")).expect("mkdir");
    system::assert_errno(fs::create_dir(&inner), Errno::EEXIST);
    fs::rename(&file, inner.join("file")).expect("rename");
    fs::remove_file(&file).expect("unlink");
    fs::remove_dir(&inner).expect("rmdir");
    let path = dir.join("file-that-is-looked-up-anew");
    assert_eq!(sys::stat(&path).expect("stat").st_size, 1 << 40);
    // What it has no answer for.
    system::assert_errno(
        std::os::unix::fs::symlink("x", dir.join("nlink")),
        Errno::ENOSYS,
    );
}

fn nullfs_answers_everything(env: &Env) {
    let dir = fresh_dir();
    let daemon = Daemon::start(nullfs(env).arg("-f").arg(&dir), &dir);
    everything_works_and_nothing_changes(&dir);
    nix::mount::umount(&dir).expect("umount");
    daemon.ends();
}

fn nullfs_in_the_background_with_threads(env: &Env) {
    let dir = fresh_dir();
    let mut command = nullfs(env);
    command.args(["--threads", "3", "--valid", "10"]);
    assert!(command.arg(&dir).status().expect("it starts").success());
    assert!(system::is_mounted(&dir));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let dir = dir.join(format!("dir-{thread}"));
            scope.spawn(move || everything_works_and_nothing_changes(&dir));
        }
    });
    nix::mount::umount(&dir).expect("umount");
}

struct Stack {
    below: PathBuf,
    dir: PathBuf,
    daemon: Daemon,
}

impl Stack {
    #[track_caller]
    fn new(env: &Env, options: &[&str]) -> Self {
        if env.kind != Kind::FUSE {
            runner::skip("stackfs knows /dev/fuse only");
        }
        let (below, dir) = (fresh_dir(), fresh_dir());
        // Another test may have left something there.
        let emptied = fs::remove_dir_all(&below).and_then(|()| fs::create_dir(&below));
        emptied.expect("an empty directory");
        let mut command = Command::new(ours("stackfs"));
        command.args(options).arg(&below).arg(&dir);
        let daemon = Daemon::start(&mut command, &dir);
        Self { below, dir, daemon }
    }

    /// That both have the same there.
    #[track_caller]
    fn compare(&self, name: &str) {
        let (above, below) = (self.dir.join(name), self.below.join(name));
        let (seen, real) = (fs::symlink_metadata(above), fs::symlink_metadata(below));
        let (seen, real) = (seen.expect(name), real.expect(name));
        assert_eq!(
            (seen.mode(), seen.nlink(), seen.uid(), seen.gid()),
            (real.mode(), real.nlink(), real.uid(), real.gid()),
            "{name}"
        );
        if !seen.is_dir() {
            assert_eq!(seen.len(), real.len(), "{name}");
        }
    }
}

#[track_caller]
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("ls");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// What is done above is there below, and the other way round.
fn shows_a_directory(env: &Env, options: &[&str]) {
    let fs = Stack::new(env, options);
    let (above, below) = (
        |name: &str| fs.dir.join(name),
        |name: &str| fs.below.join(name),
    );
    fs::write(below("old"), "below").unwrap();
    assert_eq!(fs::read(above("old")).expect("read"), b"below");

    let bytes: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 7) as u8).collect();
    let file = File::create_new(above("file")).expect("create");
    file.write_all_at(&bytes, 0).expect("write");
    file.sync_all().expect("fsync");
    assert!(
        fs::read(below("file")).unwrap() == bytes,
        "below it is another"
    );
    drop(file);
    assert!(
        fs::read(above("file")).expect("read") == bytes,
        "above it is another"
    );
    fs.compare("file");

    fs::create_dir(above("dir")).expect("mkdir");
    fs::hard_link(above("file"), above("dir/link")).expect("link");
    std::os::unix::fs::symlink("dir/link", above("symlink")).expect("symlink");
    fs::rename(above("old"), above("dir/new")).expect("rename");
    for name in ["file", "dir", "dir/link", "symlink", "dir/new"] {
        fs.compare(name);
    }
    assert_eq!(names(&above("dir")), ["link", "new"]);
    assert_eq!(names(&fs.below), ["dir", "file", "symlink"]);
    assert_eq!(
        fs::read_link(above("symlink")).expect("readlink"),
        Path::new("dir/link")
    );

    let open = OpenOptions::new()
        .write(true)
        .open(above("dir/link"))
        .expect("open");
    open.set_len(10).expect("truncate");
    drop(open);
    assert_eq!(fs::read(below("file")).unwrap(), bytes[..10]);
    let gone = File::open(above("dir/new")).expect("open");
    fs::remove_file(above("dir/new")).expect("unlink");
    assert!(!below("dir/new").exists());
    let mut text = [0; 5];
    gone.read_exact_at(&mut text, 0).expect("read");
    assert_eq!(&text, b"below");
    drop(gone);
    system::assert_errno(fs::remove_dir(above("dir")), Errno::ENOTEMPTY);
    fs::remove_file(above("dir/link")).expect("unlink");
    fs::remove_dir(above("dir")).expect("rmdir");
    assert_eq!(names(&fs.below), ["file", "symlink"]);
    nix::mount::umount(&fs.dir).expect("umount");
    fs.daemon.ends();
}

fn stackfs_shows_a_directory(env: &Env) {
    shows_a_directory(env, &[]);
}

fn stackfs_shows_a_directory_optimised(env: &Env) {
    shows_a_directory(env, &["--optimised"]);
}
