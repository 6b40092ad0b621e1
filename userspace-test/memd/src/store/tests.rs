// SPDX-License-Identifier: GPL-2.0

//! A daemon is killed at each system call of what it does, and its successor does it again.

use super::*;
use nix::{
    sys::{
        ptrace,
        signal::{kill, raise, Signal},
        wait::{waitpid, WaitStatus},
    },
    unistd::{fork, ForkResult},
};
use std::collections::BTreeMap;

/// Lets a process do something up to its `count`th stop, and kills it there; there is one before
/// and one after each system call. Gives whether it got that far.
#[allow(unsafe_code)]
fn killed_at(count: usize, act: impl FnOnce()) -> bool {
    // SAFETY: The child makes system calls and allocates, which libc keeps possible, and ends
    // without whatever this process has to be done at its end.
    let child = match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => child,
        Ok(ForkResult::Child) => {
            let traced = ptrace::traceme().and_then(|()| raise(Signal::SIGSTOP));
            if traced.is_ok() {
                act();
            }
            // SAFETY: It ends.
            unsafe { libc::_exit(i32::from(traced.is_err())) }
        }
        Err(error) => panic!("cannot fork: {error}"),
    };
    let mut status = waitpid(child, None).expect("waitpid");
    for _ in 0..count {
        assert!(matches!(status, WaitStatus::Stopped(..)), "{status:?}");
        ptrace::syscall(child, None).expect("it is stopped");
        status = waitpid(child, None).expect("waitpid");
        if let WaitStatus::Exited(_, code) = status {
            assert_eq!(code, 0, "it could not be traced");
            return false;
        }
    }
    kill(child, Signal::SIGKILL).expect("it is stopped");
    waitpid(child, None).expect("waitpid");
    true
}

const ROOT: u64 = abi::ROOT_ID;
const FILE: u64 = 3;
const OTHER: u64 = 5;
const DIR: u64 = 7;
const EMPTY: u64 = 9;
const FULL: u64 = 11;
/// Of the request; what it makes has this node ID, too.
const UNIQUE: u64 = 100;

/// The names in a directory and what they lead to.
type Names = BTreeMap<String, u64>;

/// A store with some names, in a directory of its own.
struct Scene(Store);

impl Scene {
    fn new(test: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("memd-{test}-{}", std::process::id()));
        fs::create_dir(&dir).expect("a directory");
        let store = Store::create(&dir).expect("an empty one");
        store.add(FILE, "file", b"one").expect("a file");
        store.add(OTHER, "other", b"another").expect("a file");
        for (nodeid, name) in [(DIR, "dir"), (EMPTY, "empty"), (FULL, "full")] {
            store.add_dir(nodeid, name).expect("a directory");
        }
        symlink(FILE.to_string(), store.name(FULL, "inner".as_ref())).expect("a name");
        Self(store)
    }

    fn names(&self) -> Names {
        let names = self.0.names(ROOT).expect("the root");
        names
            .into_iter()
            .map(|(name, nodeid)| (name.into_string().expect("UTF-8"), nodeid))
            .collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.dir);
    }
}

/// Does the request `unique`.
type Act = fn(&Store, u64) -> io::Result<()>;

/// Wherever a daemon is killed, the request that is sent again gets the answer that the first
/// would have got, with the same names afterwards; and so does one that was done and not answered.
#[track_caller]
fn is_the_same_when_done_again(test: &str, act: Act) {
    let undisturbed = Scene::new(test);
    let error = |result: io::Result<()>| result.err().map(|error| error.raw_os_error());
    let outcome = error(act(&undisturbed.0, UNIQUE));
    let names = undisturbed.names();
    drop(undisturbed);
    for count in 1.. {
        let scene = Scene::new(test);
        let was_killed = killed_at(count, || drop(act(&scene.0, UNIQUE)));
        let again = error(act(&scene.0, UNIQUE | RESENT));
        assert_eq!(again, outcome, "{test}, after stop {count}");
        assert_eq!(scene.names(), names, "{test}, after stop {count}");
        for nodeid in names.values() {
            scene.0.attr(*nodeid).expect("what has a name");
        }
        if !was_killed {
            assert!(count > 2, "{test} makes no system call");
            return;
        }
    }
}

fn made(store: &Store, unique: u64, name: &str, mode: u32, target: &str) -> io::Result<()> {
    let new = New {
        mode,
        rdev: 0,
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
    };
    let nodeid = store.make(unique, ROOT, name.as_ref(), &new, target.as_ref())?;
    assert_eq!(nodeid, UNIQUE);
    Ok(())
}

fn renamed(store: &Store, unique: u64, old: &str, new: &str) -> io::Result<()> {
    store.rename(unique, (ROOT, old.as_ref()), (ROOT, new.as_ref()))
}

macro_rules! same_when_done_again {
    ($($name:ident: $act:expr;)*) => {$(
        #[test]
        fn $name() {
            is_the_same_when_done_again(stringify!($name), $act);
        }
    )*};
}

same_when_done_again! {
    make_a_file: |store, unique| made(store, unique, "new", libc::S_IFREG | 0o644, "");
    make_a_fifo: |store, unique| made(store, unique, "new", libc::S_IFIFO | 0o600, "");
    make_a_directory: |store, unique| made(store, unique, "new", libc::S_IFDIR | 0o755, "");
    make_a_link: |store, unique| made(store, unique, "new", libc::S_IFLNK | 0o777, "target");
    make_what_there_is: |store, unique| made(store, unique, "file", libc::S_IFREG | 0o644, "");
    unlink_a_file: |store, unique| store.unlink(unique, ROOT, "file".as_ref());
    unlink_a_directory: |store, unique| store.unlink(unique, ROOT, "dir".as_ref());
    rmdir_a_directory: |store, unique| store.rmdir(unique, ROOT, "dir".as_ref());
    rmdir_a_file: |store, unique| store.rmdir(unique, ROOT, "file".as_ref());
    rmdir_what_is_not_empty: |store, unique| store.rmdir(unique, ROOT, "full".as_ref());
    rename_to_a_new_name: |store, unique| renamed(store, unique, "file", "new");
    rename_over_a_file: |store, unique| renamed(store, unique, "file", "other");
    rename_a_directory: |store, unique| renamed(store, unique, "full", "new");
    rename_over_a_directory: |store, unique| renamed(store, unique, "full", "empty");
    rename_over_what_is_not_empty: |store, unique| renamed(store, unique, "dir", "full");
    rename_a_directory_over_a_file: |store, unique| renamed(store, unique, "dir", "file");
    rename_a_file_over_a_directory: |store, unique| renamed(store, unique, "file", "dir");
}

#[test]
fn what_is_changed_twice_is_as_if_changed_once() {
    is_the_same_when_done_again("change", |store, _| {
        let arg = abi::SetattrIn {
            valid: fattr::SIZE | fattr::MODE | fattr::MTIME,
            size: 2,
            mode: 0o600,
            mtime: 1234,
            ..Default::default()
        };
        store.set_attr(FILE, &arg)?;
        store.write(FILE, 1, b"bytes")?;
        let mut bytes = [0; 16];
        assert_eq!(store.read(FILE, 0, &mut bytes)?, 6);
        assert_eq!(&bytes[..6], b"obytes");
        let attr = store.attr(FILE)?;
        assert_eq!((attr.size, attr.mode & 0o7777), (6, 0o600));
        Ok(())
    });
}

#[test]
fn without_the_mark_what_is_not_there_is_missed() {
    let scene = Scene::new("missed");
    let name = OsStr::new("nothing");
    let error = |result: io::Result<()>| result.expect_err("it is not there").raw_os_error();
    for unlinked in [
        scene.0.unlink(UNIQUE, ROOT, name),
        scene.0.rmdir(UNIQUE, ROOT, name),
        scene.0.rename(UNIQUE, (ROOT, name), (ROOT, "new".as_ref())),
    ] {
        assert_eq!(error(unlinked), Some(libc::ENOENT));
    }
}
