// SPDX-License-Identifier: GPL-2.0

//! What root sees of each connection in debugfs.

use crate::{
    caller::{call, eventually, process},
    env::Env,
    fs::Fs,
    runner::skip,
    sys, system,
    tests::tests,
};
use nix::unistd::{setgid, setuid, Gid, Uid};
use rawfuse::{
    abi::{init_flags, Opcode},
    Errno, MountOptions,
};
use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

tests![
    shows_each_connection,
    shows_many_requests,
    is_for_root,
    open_files_outlive_their_connection,
];

const ROOT: &str = "/sys/kernel/debug/rust_fuse";

/// The directory of a connection.
#[track_caller]
fn dir_of(env: &Env, fs: &Fs) -> PathBuf {
    let control = fs.control(env);
    Path::new(ROOT).join(control.file_name().expect("a number"))
}

fn needs_debugfs(env: &Env) {
    if !env.is_rust() {
        skip("C FUSE shows nothing in debugfs");
    }
    if !Path::new(ROOT).exists() {
        skip("there is no debugfs");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"))
}

fn shows_each_connection(env: &Env) {
    needs_debugfs(env);
    let mut fs = Fs::new(env);
    let other = Fs::new(env);
    let (dir, control) = (dir_of(env, &fs), fs.control(env));
    assert_ne!(dir, dir_of(env, &other));
    let path = fs.dir.clone();
    let caller = call(move || sys::stat(&path).map(drop));
    let getattr = fs.expect(Opcode::Getattr);
    let line = format!("\nrequest unique={} queue=processing", getattr.unique());
    assert!(read(&dir.join("queues")).contains(&line));
    assert!(!read(&dir_of(env, &other).join("queues")).contains("\nrequest"));
    fs.reply_error(&getattr, Errno::EIO);
    system::assert_errno(caller.result(), Errno::EIO);
    // The very text of the control file system.
    for name in ["queues", "latency"] {
        let text = read(&dir.join(name));
        assert_eq!(text, read(&control.join(name)), "{name}");
        let metadata = fs::metadata(dir.join(name)).expect("the file");
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o400, "{name}");
        assert_eq!((metadata.uid(), metadata.gid()), (0, 0), "{name}");
    }
    assert!(read(&dir.join("latency")).contains("opcode=GETATTR requests=1 errors=1 "));
    let mut names: Vec<_> = fs::read_dir(&dir)
        .expect("the directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["latency", "queues"]);
    fs.unmount();
    eventually("it is gone", || !dir.exists());
    assert!(dir_of(env, &other).exists());
}

fn shows_many_requests(env: &Env) {
    needs_debugfs(env);
    const CALLERS: usize = 60;
    let fs = Fs::with_flags(env, init_flags::PARALLEL_DIROPS);
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let path = fs.path(&number.to_string());
            call(move || sys::stat(&path).map(drop))
        })
        .collect();
    let queues = dir_of(env, &fs).join("queues");
    let count = || read(&queues).matches("opcode=LOOKUP").count();
    eventually("all of them wait", || count() == CALLERS);
    // By pieces, it is as of when it was first read.
    let mut file = fs::File::open(&queues).expect("queues");
    let mut first = [0; 1000];
    file.read_exact(&mut first).expect("a piece");
    for _ in 0..CALLERS {
        let lookup = fs.expect(Opcode::Lookup);
        fs.reply_error(&lookup, Errno::ENOENT);
    }
    for caller in &callers {
        system::assert_errno(caller.result(), Errno::ENOENT);
    }
    let mut rest = String::new();
    file.read_to_string(&mut rest).expect("the rest");
    assert!(rest.matches("opcode=LOOKUP").count() >= CALLERS / 2);
    assert_eq!(count(), 0);
}

fn is_for_root(env: &Env) {
    needs_debugfs(env);
    let change = |options| MountOptions {
        user_id: 1000,
        group_id: 1000,
        ..options
    };
    let fs = Fs::with(env, change, &Default::default());
    let queues = dir_of(env, &fs).join("queues");
    let owner = process(|| {
        setgid(Gid::from_raw(1000)).expect("setgid");
        setuid(Uid::from_raw(1000)).expect("setuid");
        system::errno(fs::read_to_string(&queues))
    });
    assert_eq!(owner.code(), libc::EACCES);
}

fn open_files_outlive_their_connection(env: &Env) {
    needs_debugfs(env);
    let mut fs = Fs::new(env);
    let dir = dir_of(env, &fs);
    let mut file = fs::File::open(dir.join("queues")).expect("queues");
    file.read_exact(&mut [0; 10]).expect("a piece");
    fs.unmount();
    drop(fs);
    eventually("it is gone", || !dir.exists());
    system::assert_errno(file.read(&mut [0; 10]), Errno::EIO);
    system::assert_errno(file.seek(SeekFrom::Start(0)), Errno::EIO);
}
