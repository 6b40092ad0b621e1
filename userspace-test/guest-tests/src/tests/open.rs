// SPDX-License-Identifier: GPL-2.0

//! Opening and closing files.

use crate::{
    caller::{call, process},
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, FILE},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, init_flags, open_flags, Opcode},
    Errno,
};
use std::{io::Read, os::fd::AsFd, thread::sleep, time::Duration};

tests![
    what_is_on_the_wire,
    flags_on_the_wire,
    error_reaches_the_caller,
    enosys_is_remembered,
    enosys_without_the_flag,
    flush_comes_with_each_close,
    flush_error_is_close_s,
    flush_enosys_is_remembered,
    noflush_files_are_not_flushed,
    release_comes_once,
    release_error_is_nobody_s,
    nonseekable_files,
    streams,
    lock_owner_is_the_process_s,
    o_path_opens_nothing,
    release_after_exit,
    release_waits_for_what_a_killed_caller_asked,
];

fn what_is_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let opener = call(move || sys::open(&path));
    let lookup = fs.expect(Opcode::Lookup);
    let mut model = Model::cached();
    fs.reply(&lookup, &model.entry(FILE));
    let open = fs.expect(Opcode::Open);
    assert_eq!((open.header().len, open.nodeid()), (48, FILE));
    let arg: abi::OpenIn = open.arg();
    assert_eq!(arg.flags as i32 & libc::O_ACCMODE, libc::O_RDONLY);
    assert_eq!(arg.open_flags, 0);
    let out = abi::OpenOut {
        fh: 0xdead_beef_cafe_babe,
        ..Default::default()
    };
    fs.reply(&open, &out);
    let file = opener.result().unwrap();
    let closer = call(move || drop(file));
    let flush = fs.expect(Opcode::Flush);
    assert_eq!((flush.header().len, flush.nodeid()), (64, FILE));
    let arg: abi::FlushIn = flush.arg();
    assert_eq!((arg.fh, arg.unused, arg.padding), (out.fh, 0, 0));
    assert_ne!(arg.lock_owner, 0);
    assert!(
        closer.still_waits(Duration::from_millis(50)),
        "close() waits"
    );
    fs.reply_bytes(&flush, &[]);
    // RELEASE is nobody's to wait for.
    closer.result();
    let release = fs.expect(Opcode::Release);
    assert_eq!((release.header().len, release.nodeid()), (64, FILE));
    assert_eq!((release.header().uid, release.header().gid), (0, 0));
    let arg: abi::ReleaseIn = release.arg();
    assert_eq!((arg.fh, arg.release_flags, arg.lock_owner), (out.fh, 0, 0));
    assert_eq!(arg.flags as i32 & libc::O_ACCMODE, libc::O_RDONLY);
    fs.reply_bytes(&release, &[]);
}

fn flags_on_the_wire(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for flags in [
        libc::O_RDONLY,
        libc::O_RDONLY | libc::O_NONBLOCK,
        libc::O_RDONLY | libc::O_NOFOLLOW,
        libc::O_RDONLY | libc::O_SYNC,
        libc::O_RDONLY | libc::O_NOATIME,
    ] {
        served.clear_log();
        drop(sys::open_with(&served.path("file"), flags).unwrap());
        let asked = served
            .model()
            .log
            .iter()
            .find(|asked| asked.opcode == Opcode::Open)
            .cloned();
        let body = asked.expect("OPEN").body;
        let sent = u32::from_ne_bytes(body[..4].try_into().unwrap()) as i32;
        assert_eq!(sent & flags, flags, "{flags:o} arrives as {sent:o}");
        let never = libc::O_CREAT | libc::O_EXCL | libc::O_NOCTTY | libc::O_TRUNC | libc::O_CLOEXEC;
        assert_eq!(sent & never, 0, "{sent:o}");
    }
    served.finish();
}

fn error_reaches_the_caller(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for error in [Errno::EACCES, Errno::EDOM, Errno::ETXTBSY] {
        served.hook(move |req| (req.opcode() == Opcode::Open).then_some(Answer::Error(error)));
        system::assert_errno(sys::open(&served.path("file")), error);
    }
    assert_eq!(served.count(Opcode::Release), 0);
    assert_eq!(served.count(Opcode::Flush), 0);
    served.finish();
}

fn without_open(env: &Env, flags: u64) {
    let mut served = Served::new(Fs::with_flags(env, flags), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Open).then_some(Answer::Error(Errno::ENOSYS)));
    for path in ["file", "dir/inner", "file"] {
        assert!(!sys::contents(&served.path(path)).unwrap().is_empty());
    }
    assert_eq!(served.count(Opcode::Open), 1);
    // What is not opened is not released.
    assert_eq!(served.count(Opcode::Release), 0);
    served.finish();
}

fn enosys_is_remembered(env: &Env) {
    without_open(env, init_flags::NO_OPEN_SUPPORT);
}

fn enosys_without_the_flag(env: &Env) {
    // The kernel remembers it, whether or not the daemon took the flag.
    without_open(env, 0);
}

fn flush_comes_with_each_close(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("file")).unwrap();
    let again = file.try_clone().unwrap();
    drop(file);
    assert_eq!(served.count(Opcode::Flush), 1);
    assert_eq!(served.count(Opcode::Release), 0);
    drop(again);
    assert_eq!(served.count(Opcode::Flush), 2);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn flush_error_is_close_s(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Flush).then_some(Answer::Error(Errno::EDQUOT)));
    let file = sys::open(&served.path("file")).unwrap();
    assert_eq!(nix::unistd::close(file), Err(Errno::EDQUOT));
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn flush_enosys_is_remembered(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Flush).then_some(Answer::Error(Errno::ENOSYS)));
    for round in 1..=3 {
        let file = sys::open(&served.path("file")).unwrap();
        assert_eq!(nix::unistd::close(file), Ok(()));
        served.wait_for(Opcode::Release, round);
    }
    assert_eq!(served.count(Opcode::Flush), 1);
    served.finish();
}

fn noflush_files_are_not_flushed(env: &Env) {
    let mut model = Model::cached();
    model.open_flags = open_flags::NOFLUSH;
    let mut served = Served::new(Fs::new(env), model);
    drop(sys::open(&served.path("file")).unwrap());
    served.wait_for(Opcode::Release, 1);
    assert_eq!(served.count(Opcode::Flush), 0);
    served.finish();
}

fn release_comes_once(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for round in 1..=20 {
        drop(sys::open(&served.path("file")).unwrap());
        served.wait_for(Opcode::Release, round);
    }
    sleep(Duration::from_millis(50));
    assert_eq!(served.count(Opcode::Release), 20);
    served.finish();
}

fn release_error_is_nobody_s(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    served.hook(|req| (req.opcode() == Opcode::Release).then_some(Answer::Error(Errno::EIO)));
    let file = sys::open(&served.path("file")).unwrap();
    assert_eq!(nix::unistd::close(file), Ok(()));
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn nonseekable_files(env: &Env) {
    let mut model = Model::cached();
    model.open_flags = open_flags::NONSEEKABLE;
    let mut served = Served::new(Fs::new(env), model);
    let mut file = sys::open(&served.path("file")).unwrap();
    system::assert_errno(sys::lseek(file.as_fd(), 1, libc::SEEK_SET), Errno::ESPIPE);
    system::assert_errno(
        std::os::unix::fs::FileExt::read_at(&file, &mut [0; 4], 1),
        Errno::ESPIPE,
    );
    // It still has a position.
    let mut bytes = [0; 5];
    file.read_exact(&mut bytes).unwrap();
    file.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, &crate::model::CONTENTS[5..10]);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn streams(env: &Env) {
    let mut model = Model::cached();
    model.open_flags = open_flags::STREAM | open_flags::DIRECT_IO;
    let mut served = Served::new(Fs::new(env), model);
    let mut file = sys::open(&served.path("file")).unwrap();
    system::assert_errno(sys::lseek(file.as_fd(), 1, libc::SEEK_SET), Errno::ESPIPE);
    for _ in 0..3 {
        assert_eq!(file.read(&mut [0; 5]).unwrap(), 5);
    }
    // There is no position that could move on.
    let model = served.model();
    let reads = model
        .log
        .iter()
        .filter(|asked| asked.opcode == Opcode::Read);
    assert!(reads.into_iter().all(|asked| asked.body[8..16] == [0; 8]));
    drop(model);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn lock_owner_is_the_process_s(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    for _ in 0..2 {
        drop(sys::open(&served.path("file")).unwrap());
    }
    let owners: Vec<_> = served
        .model()
        .log
        .iter()
        .filter(|asked| asked.opcode == Opcode::Flush)
        .map(|asked| asked.body[16..24].to_vec())
        .collect();
    assert_eq!(owners.len(), 2);
    assert_eq!(owners[0], owners[1]);
    assert_ne!(owners[0], [0; 8]);
    served.finish();
}

fn o_path_opens_nothing(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open_with(&served.path("file"), libc::O_PATH).unwrap();
    assert_eq!(sys::fstat(&file).unwrap().st_ino, FILE);
    drop(file);
    assert_eq!(served.model().opcodes(), [Opcode::Lookup]);
    served.finish();
}

fn release_after_exit(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let opener = crate::caller::process(|| {
        std::mem::forget(sys::open(&path).expect("open"));
        nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL).expect("raise");
        0
    });
    let mut model = Model::cached();
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &model.entry(FILE));
    let open = fs.expect(Opcode::Open);
    fs.reply(&open, &abi::OpenOut::default());
    let flush = fs.expect(Opcode::Flush);
    fs.reply_bytes(&flush, &[]);
    let release = fs.expect(Opcode::Release);
    fs.reply_bytes(&release, &[]);
    assert!(opener.ended_within(crate::caller::PATIENCE).is_some());
}

/// Something to be done with an open file, and the request that it makes.
type Deed = (Opcode, fn(&std::fs::File) -> std::io::Result<()>);

const DEEDS: [Deed; 6] = [
    (Opcode::Read, |file| read_direct(file)),
    (Opcode::Fsync, |file| file.sync_all()),
    (Opcode::Setattr, |file| file.set_len(1)),
    (Opcode::Fallocate, |file| {
        Ok(nix::fcntl::fallocate(
            file,
            nix::fcntl::FallocateFlags::empty(),
            0,
            1,
        )?)
    }),
    (Opcode::Lseek, |file| {
        sys::lseek(file.as_fd(), 0, libc::SEEK_DATA).map(drop)
    }),
    (Opcode::CopyFileRange64, |file| {
        sys::copy_file_range((file, 0), (file, 4096), 1).map(drop)
    }),
];

fn read_direct(file: &std::fs::File) -> std::io::Result<()> {
    let mut memory = vec![0; 8192];
    let aligned = memory.as_ptr().align_offset(4096);
    (&*file)
        .read(&mut memory[aligned..aligned + 4096])
        .map(drop)
}

fn release_waits_for_what_a_killed_caller_asked(env: &Env) {
    for (opcode, act) in DEEDS {
        let fs = Fs::new(env);
        let path = fs.path("x");
        let caller = process(|| {
            let file = sys::open_with(&path, libc::O_RDWR | libc::O_DIRECT).expect("open");
            system::errno(act(&file))
        });
        let lookup = fs.expect(Opcode::Lookup);
        fs.reply(&lookup, &Model::cached().entry(FILE));
        let open = fs.expect(Opcode::Open);
        let out = abi::OpenOut {
            fh: 7,
            open_flags: open_flags::NOFLUSH,
            ..Default::default()
        };
        fs.reply(&open, &out);
        let asked = loop {
            let request = fs.next();
            if request.opcode() == opcode {
                break request;
            }
            // Whether the file has capabilities that a write takes away.
            assert_eq!(request.opcode(), Opcode::Getxattr);
            fs.reply_error(&request, Errno::ENOSYS);
        };
        caller.signal(nix::sys::signal::Signal::SIGKILL);
        fs.expect(Opcode::Interrupt);
        // The daemon may still use what it calls by that number.
        fs.expect_silence(Duration::from_millis(100));
        fs.reply_error(&asked, Errno::EIO);
        let release = fs.expect(Opcode::Release);
        assert_eq!(release.arg::<abi::ReleaseIn>().fh, 7, "{opcode:?}");
        fs.reply_bytes(&release, &[]);
        assert!(caller.ended_within(crate::caller::PATIENCE).is_some());
    }
}
