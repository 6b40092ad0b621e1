// SPDX-License-Identifier: GPL-2.0

//! Whole programs: `libfuse`'s hello, unmodified, and ours.

use crate::{
    caller::{eventually, process, PATIENCE},
    env::Env,
    fs::fresh_dir,
    runner, sys, system,
    tests::tests,
};
use rawfuse::{Errno, Kind};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

tests![
    our_hello,
    our_hello_in_the_background,
    our_hello_of_a_user,
    libfuse_hello,
    libfuse_hello_in_the_background,
    libfuse_hello_of_a_user,
    libfuse_hello_single_threaded,
    libfuse_hello_low_level,
];

/// Our program of that name, beside this one.
pub(super) fn ours(name: &str) -> PathBuf {
    let path = std::env::current_exe()
        .expect("this program")
        .with_file_name(name);
    if !path.exists() {
        runner::skip(&format!("there is no {}", path.display()));
    }
    path
}

/// The example of that name that comes with `libfuse`, as the guest has it.
pub(super) fn libfuse(env: &Env, name: &str) -> PathBuf {
    if env.kind != Kind::FUSE {
        runner::skip("libfuse knows /dev/fuse only");
    }
    let path = Path::new("/run/guest/libfuse").join(name);
    if !path.exists() {
        runner::skip(&format!("there is no {}", path.display()));
    }
    path
}

/// A program that serves in the foreground, killed when this value goes.
pub(super) struct Daemon(Child);

impl Daemon {
    /// Starts it, and waits until something is mounted on `dir`.
    #[track_caller]
    pub(super) fn start(command: &mut Command, dir: &Path) -> Self {
        let child = command.stdin(Stdio::null()).spawn().expect("it starts");
        let daemon = Daemon(child);
        eventually("it is mounted", || system::is_mounted(dir));
        daemon
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has died.
    #[track_caller]
    pub(super) fn is_dead(&mut self) -> bool {
        self.0.try_wait().expect("wait").is_some()
    }

    /// Waits for it to end by itself, which it does when it is unmounted.
    #[track_caller]
    pub(super) fn ends(mut self) {
        eventually("it ends", || self.0.try_wait().expect("wait").is_some());
        assert!(self.0.try_wait().unwrap().unwrap().success());
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended, most often.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What `ls -l`, `cat`, `touch`, `echo` and `mkdir` find.
#[track_caller]
fn transcript(dir: &Path) {
    let mut names: Vec<_> = sys::list(dir)
        .expect("ls")
        .into_iter()
        .map(|entry| entry.name.into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, [".", "..", "hello"]);
    let hello = dir.join("hello");
    let stat = sys::stat(&hello).expect("ls -l");
    assert_eq!(stat.st_mode, libc::S_IFREG | 0o444);
    assert_eq!((stat.st_nlink, stat.st_uid, stat.st_gid), (1, 0, 0));
    assert_eq!((stat.st_size, stat.st_mtime), (13, 0));
    assert_eq!(sys::contents(&hello).expect("cat"), b"Hello World!\n");
    let create = libc::O_WRONLY | libc::O_CREAT;
    system::assert_errno(sys::open_with(&dir.join("a"), create), Errno::ENOSYS);
    system::assert_errno(fs::create_dir(dir.join("x")), Errno::ENOSYS);
    system::assert_errno(sys::open_with(&hello, libc::O_WRONLY), Errno::EACCES);
    system::assert_errno(sys::open_with(&hello, libc::O_RDWR), Errno::EACCES);
    system::assert_errno(sys::stat(&dir.join("none")), Errno::ENOENT);
    let stat = sys::stat(dir).expect("stat");
    assert_eq!(stat.st_mode, libc::S_IFDIR | 0o755);
    assert_eq!(stat.st_nlink, 2);
}

#[track_caller]
fn in_the_foreground(command: &mut Command) {
    let dir = fresh_dir();
    let daemon = Daemon::start(command.arg("-f").arg(&dir), &dir);
    transcript(&dir);
    transcript(&dir);
    nix::mount::umount(&dir).expect("umount");
    daemon.ends();
}

#[track_caller]
fn in_the_background(command: &mut Command) {
    let dir = fresh_dir();
    let status = command.arg(&dir).status().expect("it starts");
    assert!(status.success());
    assert!(system::is_mounted(&dir));
    transcript(&dir);
    nix::mount::umount(&dir).expect("umount");
}

/// As an ordinary user, by `fusermount3`.
#[track_caller]
fn of_a_user(program: &Path) {
    let dir = fresh_dir();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    // In a process, as others are kept out of what it mounts.
    let user = process(|| {
        nix::unistd::setgroups(&[]).expect("setgroups");
        nix::unistd::setgid(nix::unistd::Gid::from_raw(1000)).expect("setgid");
        nix::unistd::setuid(nix::unistd::Uid::from_raw(1000)).expect("setuid");
        let daemon = Daemon::start(Command::new(program).arg("-f").arg(&dir), &dir);
        transcript(&dir);
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(mounts.contains("user_id=1000,group_id=1000"), "{mounts}");
        let unmounted = Command::new("fusermount3").arg("-u").arg(&dir).status();
        assert!(unmounted.expect("fusermount3").success());
        daemon.ends();
        0
    });
    assert!(user
        .ended_within(PATIENCE * 2)
        .is_some_and(|status| { matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0)) }));
}

fn coexisting<'a>(env: &Env, command: &'a mut Command) -> &'a mut Command {
    match env.kind {
        Kind::FUSE => command,
        _ => command.arg("--coexist"),
    }
}

fn our_hello(env: &Env) {
    in_the_foreground(coexisting(env, &mut Command::new(ours("hello"))));
}

fn our_hello_in_the_background(env: &Env) {
    in_the_background(coexisting(env, &mut Command::new(ours("hello"))));
}

fn our_hello_of_a_user(env: &Env) {
    if env.kind != Kind::FUSE {
        runner::skip("fusermount3 knows /dev/fuse only");
    }
    of_a_user(&ours("hello"));
}

fn libfuse_hello(env: &Env) {
    in_the_foreground(&mut Command::new(libfuse(env, "hello")));
}

fn libfuse_hello_in_the_background(env: &Env) {
    in_the_background(&mut Command::new(libfuse(env, "hello")));
}

fn libfuse_hello_of_a_user(env: &Env) {
    of_a_user(&libfuse(env, "hello"));
}

fn libfuse_hello_single_threaded(env: &Env) {
    in_the_foreground(Command::new(libfuse(env, "hello")).arg("-s"));
}

fn libfuse_hello_low_level(env: &Env) {
    // It has no statfs, and leaves out what the high-level library fills in.
    let dir = fresh_dir();
    let program = libfuse(env, "hello_ll");
    let daemon = Daemon::start(Command::new(program).arg("-f").arg(&dir), &dir);
    assert_eq!(
        sys::contents(&dir.join("hello")).expect("cat"),
        b"Hello World!\n"
    );
    assert_eq!(sys::stat(&dir.join("hello")).unwrap().st_size, 13);
    system::assert_errno(fs::create_dir(dir.join("x")), Errno::ENOSYS);
    nix::mount::umount(&dir).expect("umount");
    daemon.ends();
}
