// SPDX-License-Identifier: GPL-2.0

//! `quotafs`: what fits, what does not, and that nothing is lost.

use crate::{
    caller::eventually,
    env::Env,
    fs::fresh_dir,
    runner, sys, system,
    tests::{
        programs::{ours, Daemon},
        tests,
    },
};
use nix::mount::{mount, MsFlags};
use rawfuse::{Errno, Kind};
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::Write,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
};

tests![
    nothing_is_lost_past_the_quota,
    what_is_removed_makes_room,
    what_is_removed_while_it_is_open_counts_until_it_is_closed,
    sizes_that_are_set_count,
    its_own_files_stay,
    it_is_not_mounted_on_what_it_shows,
];

const QUOTA: u64 = 100_000;

/// A directory, and the same with a quota.
struct Quota {
    dir: PathBuf,
    source: PathBuf,
    daemon: Daemon,
}

impl Quota {
    #[track_caller]
    fn new(env: &Env) -> Self {
        if env.kind != Kind::FUSE {
            runner::skip("quotafs knows /dev/fuse only");
        }
        let (source, dir) = (fresh_dir(), fresh_dir());
        let nothing: Option<&str> = None;
        mount(
            Some("tmpfs"),
            &source,
            Some("tmpfs"),
            MsFlags::empty(),
            nothing,
        )
        .expect("tmpfs");
        fs::write(source.join("before"), vec![b'b'; 40_000]).unwrap();
        let mut command = Command::new(ours("quotafs"));
        command
            .arg("--src")
            .arg(&source)
            .args(["--size", "100000", "-f"]);
        let daemon = Daemon::start(command.arg(&dir), &dir);
        Self {
            dir,
            source,
            daemon,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    #[track_caller]
    fn used(&self) -> u64 {
        let text = fs::read_to_string(self.path("used_size")).expect("used_size");
        text.trim().parse().expect("a number")
    }

    /// Unmounts it, and checks that what it counted is what there is.
    #[track_caller]
    fn end(self) {
        let used = self.used();
        nix::mount::umount(&self.dir).expect("umount");
        self.daemon.ends();
        let files = fs::read_dir(&self.source).unwrap().flatten();
        let sizes = files.map(|file| file.metadata().unwrap());
        let sum: u64 = sizes
            .filter(|data| data.is_file())
            .map(|data| data.len())
            .sum();
        assert_eq!(used, sum);
    }
}

fn nothing_is_lost_past_the_quota(env: &Env) {
    let quota = Quota::new(env);
    let path = quota.path("file");
    let mut file = File::create(&path).unwrap();
    let data: Vec<u8> = (0..60_000_u32).map(|at| (at % 251) as u8).collect();
    file.write_all(&data).expect("it fits to the byte");
    assert_eq!(quota.used(), QUOTA);
    system::assert_errno(file.write(b"x"), Errno::EDQUOT);
    let before = quota.path("before");
    let append = OpenOptions::new().append(true).open(&before);
    system::assert_errno(append.unwrap().write(b"x"), Errno::EDQUOT);
    let far = file.write_at(b"x", 1 << 40);
    system::assert_errno(far, Errno::EDQUOT);
    // What is there may be changed.
    file.write_all_at(b"changed", 100)
        .expect("no more than before");
    // Nothing is lost, whoever looks.
    let mut expected = data;
    expected[100..107].copy_from_slice(b"changed");
    system::drop_caches(3);
    assert_eq!(sys::contents(&path).unwrap(), expected);
    assert_eq!(fs::read(quota.source.join("file")).unwrap(), expected);
    assert_eq!(sys::contents(&before).unwrap(), vec![b'b'; 40_000]);
    assert_eq!(quota.used(), QUOTA);
    // Names take no room; and the disk is full, as far as anybody can tell.
    fs::create_dir(quota.path("dir")).expect("mkdir");
    File::create(quota.path("dir/empty")).expect("create");
    let stat = nix::sys::statvfs::statvfs(&quota.dir).unwrap();
    assert_eq!(stat.blocks() * stat.fragment_size(), QUOTA / 512 * 512);
    assert_eq!(stat.blocks_available(), 0);
    drop(file);
    quota.end();
}

fn what_is_removed_makes_room(env: &Env) {
    let quota = Quota::new(env);
    let (one, other) = (quota.path("one"), quota.path("other"));
    fs::write(&one, vec![1; 30_000]).unwrap();
    fs::hard_link(&one, quota.path("again")).unwrap();
    assert_eq!(quota.used(), 70_000);
    fs::remove_file(&one).unwrap();
    assert_eq!(quota.used(), 70_000, "it has a name");
    fs::remove_file(quota.path("again")).unwrap();
    // A file that is open is only hidden, and RELEASE may come after all this.
    eventually("it is gone", || quota.used() == 40_000);
    fs::write(&one, vec![1; 30_000]).unwrap();
    fs::write(&other, vec![2; 20_000]).unwrap();
    fs::rename(&other, &one).unwrap();
    eventually("it is gone", || quota.used() == 60_000);
    File::create(&one).expect("O_TRUNC");
    assert_eq!(quota.used(), 40_000);
    quota.end();
}

fn what_is_removed_while_it_is_open_counts_until_it_is_closed(env: &Env) {
    let quota = Quota::new(env);
    let path = quota.path("file");
    fs::write(&path, vec![7; 10_000]).unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    fs::remove_file(&path).unwrap();
    assert!(!path.exists());
    assert_eq!(quota.used(), 50_000);
    file.write_all_at(&[8; 10_000], 10_000)
        .expect("it is still a file");
    assert_eq!(quota.used(), 60_000);
    let mut data = vec![0; 20_000];
    file.read_exact_at(&mut data, 0).unwrap();
    assert_eq!(data, [vec![7; 10_000], vec![8; 10_000]].concat());
    drop(file);
    eventually("it is gone", || quota.used() == 40_000);
    let names = sys::list(&quota.source).unwrap();
    assert_eq!(names.len(), 3, "nothing but dots and one file: {names:?}");
    quota.end();
}

fn sizes_that_are_set_count(env: &Env) {
    let quota = Quota::new(env);
    let file = File::create(quota.path("file")).unwrap();
    system::assert_errno(file.set_len(60_001), Errno::EDQUOT);
    assert_eq!(file.metadata().unwrap().len(), 0);
    file.set_len(60_000).expect("it fits");
    assert_eq!(quota.used(), QUOTA);
    file.set_len(10).expect("less");
    assert_eq!(quota.used(), 40_010);
    let zero = nix::fcntl::FallocateFlags::empty();
    let allocated = nix::fcntl::fallocate(&file, zero, 0, 60_001);
    assert_eq!(allocated, Err(Errno::EDQUOT));
    nix::fcntl::fallocate(&file, zero, 0, 20_000).expect("it fits");
    assert_eq!(quota.used(), 60_000);
    drop(file);
    quota.end();
}

fn its_own_files_stay(env: &Env) {
    let quota = Quota::new(env);
    let free = quota.path("free");
    fs::write(&free, "free").unwrap();
    for name in ["total_size", "used_size"] {
        let path = quota.path(name);
        let text = fs::read(&path).unwrap();
        let denied = |flags| system::assert_errno(sys::open_with(&path, flags), Errno::EACCES);
        denied(libc::O_WRONLY);
        denied(libc::O_RDWR | libc::O_APPEND);
        denied(libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC);
        denied(libc::O_RDONLY | libc::O_TRUNC);
        let forbidden = |result: std::io::Result<()>| system::assert_errno(result, Errno::EPERM);
        forbidden(fs::rename(&path, quota.path("moved")));
        forbidden(fs::rename(&free, &path));
        forbidden(sys::rename(&free, &path, libc::RENAME_EXCHANGE));
        forbidden(fs::remove_file(&path));
        forbidden(fs::hard_link(&path, quota.path("link")));
        forbidden(fs::set_permissions(&path, Permissions::from_mode(0o666)));
        forbidden(std::os::unix::fs::chown(&path, Some(1000), None));
        system::assert_errno(fs::create_dir(&path), Errno::EEXIST);
        assert_eq!(sys::stat(&path).unwrap().st_mode, libc::S_IFREG | 0o444);
        assert_eq!(fs::read(&path).unwrap(), text);
    }
    assert_eq!(fs::read(&free).unwrap(), b"free");
    // In the directory itself there is nothing of them.
    assert!(!quota.source.join("total_size").exists());
    quota.end();
}

fn it_is_not_mounted_on_what_it_shows(env: &Env) {
    if env.kind != Kind::FUSE {
        runner::skip("quotafs knows /dev/fuse only");
    }
    let source = fresh_dir();
    let inside = source.join("inside");
    fs::create_dir(&inside).unwrap();
    for target in [Path::new(&source), &inside] {
        let mut command = Command::new(ours("quotafs"));
        command.arg("--src").arg(&source).args(["--size", "1M"]);
        let output = command.arg(target).output().expect("it starts");
        assert!(!output.status.success());
        assert!(!system::is_mounted(target));
    }
}
