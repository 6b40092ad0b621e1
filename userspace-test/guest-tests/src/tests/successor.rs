// SPDX-License-Identifier: GPL-2.0

//! Daemons that follow one another while the file system is in use.

use crate::{
    caller::{call, process, Process, PATIENCE},
    env::Env,
    fs::{self, Fs},
    handover,
    model::{self, Answer, Model, FILE},
    runner::skip,
    sys, system,
    tests::tests,
};
use nix::{
    fcntl::{posix_fadvise, PosixFadviseAdvice},
    sys::{
        signal::Signal,
        wait::{waitpid, WaitPidFlag, WaitStatus},
    },
};
use rawfuse::{
    abi::{NotifyCode, Opcode},
    answer_init, Channel, Errno, InitConfig, MountOptions,
};
use std::{
    io::{self, Read},
    os::{fd::AsFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::Duration,
};

tests![
    reads_survive_twenty_kills => 120,
    device_is_handed_over_twenty_times => 120,
    flush_gives_up_what_was_read,
];

const SIZE: usize = 4 << 20;

/// What is in the file: no two pages are the same.
fn contents() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..SIZE / 8)
        .flat_map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        })
        .collect()
}

fn large() -> Model {
    let mut model = Model::new();
    model.add(FILE, libc::S_IFREG | 0o644, &contents());
    model
}

/// A process that reads the file again and again, through the page cache, and compares what it
/// gets, until `stop` exists. It ends with 0, an errno, or `WRONG`.
fn reader(file: PathBuf, stop: PathBuf) -> Process {
    process(move || {
        let expected = contents();
        while !stop.exists() {
            match read_once(&file) {
                Ok(bytes) if bytes == expected => {}
                Ok(_) => return WRONG,
                Err(error) => return error.raw_os_error().unwrap_or(WRONG),
            }
        }
        0
    })
}

/// No errno.
const WRONG: i32 = 200;

fn read_once(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = sys::open(path)?;
    posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    let mut bytes = Vec::with_capacity(SIZE);
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Where readers look whether they are to stop.
fn stop_file(name: &str) -> PathBuf {
    let file = Path::new(system::SCRATCH).join(format!("{name}-{}", std::process::id()));
    // There is none, most often.
    let _ = std::fs::remove_file(&file);
    file
}

#[track_caller]
fn still_reads(reader: &Process) {
    let status = waitpid(reader.pid(), Some(WaitPidFlag::WNOHANG)).expect("waitpid");
    assert_eq!(status, WaitStatus::StillAlive, "the reader ended");
}

fn resend(channel: &Channel) {
    channel.notify(NotifyCode::Resend, &[]).expect("RESEND");
}

fn reads_survive_twenty_kills(env: &Env) {
    let (channel, mount, dir) = fs::mount(env, &MountOptions::new(env.kind));
    let init = fs::next(&channel);
    answer_init(&channel, &init.request(), &InitConfig::default()).expect("INIT");
    let stop = stop_file("kills");
    let control = fs::control_dir(env, &dir);
    let readers: Vec<_> = (0..2)
        .map(|_| reader(dir.join("file"), stop.clone()))
        .collect();
    let model = Mutex::new(large());
    let start = || {
        process(|| {
            model::serve(&channel, &model);
            0
        })
    };
    let mut daemon = start();
    for number in 0..20 {
        // Each is killed in the midst of it, sooner or later.
        assert!(channel.wait_readable(PATIENCE).is_ok());
        thread::sleep(Duration::from_millis(20 + number * 7 % 40));
        daemon.signal(Signal::SIGKILL);
        daemon.ended_within(PATIENCE).expect("the daemon's end");
        readers.iter().for_each(still_reads);
        match env.is_rust() && number % 2 == 1 {
            true => std::fs::write(control.join("resend"), "1").expect("resend"),
            false => resend(&channel),
        }
        daemon = start();
    }
    std::fs::write(&stop, "").expect("the sign to stop");
    for reader in &readers {
        assert_eq!(reader.code(), 0, "an errno, or {WRONG} for wrong contents");
    }
    drop(mount);
    std::fs::remove_file(&stop).expect("the sign to stop");
}

/// Serves until so many requests were answered.
fn serve_some(channel: &Channel, model: &mut Model, count: usize) {
    for _ in 0..count {
        let req = fs::next(channel);
        match model.answer(&req) {
            Answer::Bytes(bytes) => channel.reply_bytes(req.unique(), &[&bytes]),
            Answer::Error(error) => channel.reply_error(req.unique(), error),
            Answer::Nothing => Ok(()),
        }
        .expect("the reply");
    }
}

fn device_is_handed_over_twenty_times(env: &Env) {
    let (channel, mount, dir) = fs::mount(env, &MountOptions::new(env.kind));
    let init = fs::next(&channel);
    answer_init(&channel, &init.request(), &InitConfig::default()).expect("INIT");
    let stop = stop_file("upgrades");
    let (near, far) = UnixDatagram::pair().expect("a pair of sockets");
    handover::give(&near, &channel).expect("the device sent");
    // From here on it is with the socket, or with a daemon.
    drop(channel);
    let readers: Vec<_> = (0..2)
        .map(|_| reader(dir.join("file"), stop.clone()))
        .collect();
    for number in 0..20 {
        let daemon = process(|| {
            let channel = handover::take(&far).expect("the device");
            resend(&channel);
            serve_some(&channel, &mut large(), 10 + number % 7);
            // This one is read and not answered: it is for the successor to do so.
            let _unanswered = fs::next(&channel);
            handover::give(&near, &channel).expect("the device sent");
            0
        });
        assert_eq!(daemon.code(), 0, "daemon {number}");
        readers.iter().for_each(still_reads);
    }
    let last = process(|| {
        let channel = handover::take(&far).expect("the device");
        resend(&channel);
        model::serve(&channel, &Mutex::new(large()));
        0
    });
    std::fs::write(&stop, "").expect("the sign to stop");
    for reader in &readers {
        assert_eq!(reader.code(), 0, "an errno, or {WRONG} for wrong contents");
    }
    drop(mount);
    assert_eq!(last.code(), 0);
    std::fs::remove_file(&stop).expect("the sign to stop");
}

fn flush_gives_up_what_was_read(env: &Env) {
    if !env.is_rust() {
        skip("C FUSE has no such file");
    }
    let fs = Fs::new(env);
    let path = fs.dir.clone();
    let sent = call(move || sys::stat(&path).map(drop));
    let getattr = fs.expect(Opcode::Getattr);
    let path = fs.dir.clone();
    let unread = call(move || sys::access(&path, libc::R_OK));
    assert!(fs.channel.wait_readable(PATIENCE).expect("poll"));
    std::fs::write(fs.control(env).join("flush"), "1").expect("flush");
    system::assert_errno(sent.result(), Errno::EIO);
    assert!(unread.still_waits(Duration::from_millis(100)));
    system::assert_errno(
        fs.channel.reply_error(getattr.unique(), Errno::EPERM),
        Errno::ENOENT,
    );
    let access = fs.expect(Opcode::Access);
    fs.reply_bytes(&access, &[]);
    unread.result().expect("access");
}
