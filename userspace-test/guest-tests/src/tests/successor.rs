// SPDX-License-Identifier: GPL-2.0

//! Daemons that follow one another while the file system is in use, and daemons that hang.

use crate::{
    caller::{call, process, Process, PATIENCE},
    env::{slowness, Env},
    fs::{self, Fs, Req},
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
    abi::{self, NotifyCode, Opcode},
    answer_init, Channel, Errno, InitConfig, MountOptions,
};
use std::{
    io::{self, Read},
    os::{fd::AsFd, unix::net::UnixDatagram},
    path::{Path, PathBuf},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

tests![
    reads_survive_twenty_kills => 120,
    device_is_handed_over_twenty_times => 120,
    flush_gives_up_what_was_read,
    stuck_request_is_named_and_its_caller_killed => 60,
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

/// A call whose request the daemon does not answer.
struct Stuck {
    opcode: Opcode,
    nodeid: u64,
    call: fn(&Path) -> io::Result<()>,
    /// What its late answer grants, and who is told that nobody wants it.
    given_back: Option<Opcode>,
}

const STUCK: [Stuck; 5] = [
    Stuck {
        opcode: Opcode::Lookup,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::stat(&dir.join("file")).map(drop),
        given_back: Some(Opcode::Forget),
    },
    Stuck {
        opcode: Opcode::Getattr,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::stat(dir).map(drop),
        given_back: None,
    },
    Stuck {
        opcode: Opcode::Open,
        nodeid: FILE,
        call: |dir| sys::open(&dir.join("file")).map(drop),
        given_back: Some(Opcode::Release),
    },
    Stuck {
        opcode: Opcode::Opendir,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::open_with(dir, libc::O_DIRECTORY).map(drop),
        given_back: Some(Opcode::Releasedir),
    },
    Stuck {
        opcode: Opcode::Read,
        nodeid: FILE,
        call: |dir| sys::open(&dir.join("file"))?.read(&mut [0; 8]).map(drop),
        given_back: None,
    },
];

/// How long a caller may take to be gone: 100 ms are wanted, and here the machine is emulated.
const GONE: Duration = Duration::from_secs(1);

fn stuck_request_is_named_and_its_caller_killed(env: &Env) {
    if !env.is_rust() {
        skip("C FUSE keeps the caller until the reply comes");
    }
    for stuck in &STUCK {
        let fs = Fs::new(env);
        let mut model = Model::cached();
        let caller = process(|| system::errno((stuck.call)(&fs.dir)));
        let req = loop {
            let req = fs.next();
            if req.opcode() == stuck.opcode {
                break req;
            }
            answer(&fs, &mut model, &req);
        };
        is_named(env, &fs, stuck, &req, &caller);

        let killed = Instant::now();
        caller.signal(Signal::SIGKILL);
        let ended = caller.ended_within(GONE * slowness());
        let name = stuck.opcode.name();
        assert!(
            matches!(ended, Some(WaitStatus::Signaled(_, Signal::SIGKILL, _))),
            "{name}: {ended:?}"
        );
        println!("{name}: gone {:?} after SIGKILL", killed.elapsed());
        is_given_back(env, &fs, stuck, &mut model, &req);
    }
}

fn answer(fs: &Fs, model: &mut Model, req: &Req) {
    match model.answer(req) {
        Answer::Bytes(bytes) => fs.reply_bytes(req, &bytes),
        Answer::Error(error) => fs.reply_error(req, error),
        Answer::Nothing => {}
    }
}

/// `queues` says who waits for what, where and since when.
#[track_caller]
fn is_named(env: &Env, fs: &Fs, stuck: &Stuck, req: &Req, caller: &Process) {
    thread::sleep(Duration::from_millis(20));
    let text = std::fs::read_to_string(fs.control(env).join("queues")).expect("queues");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("request unique={} ", req.unique())))
        .unwrap_or_else(|| panic!("{} is missing in:\n{text}", req.unique()));
    let field = |name: &str| {
        line.split(' ')
            .filter_map(|field| field.split_once('='))
            .find_map(|(field, value)| (field == name).then_some(value))
            .unwrap_or_else(|| panic!("no {name} in {line}"))
    };
    assert_eq!(field("queue"), "processing", "{line}");
    assert_eq!(field("opcode"), stuck.opcode.name(), "{line}");
    assert_eq!(field("nodeid"), stuck.nodeid.to_string(), "{line}");
    assert_eq!(field("pid"), caller.pid().to_string(), "{line}");
    let age: u64 = field("age_us").parse().expect("a number");
    assert!((20_000..60_000_000).contains(&age), "{line}");
}

/// The daemon answers after all: what it grants is given back, once, and nothing is left.
#[track_caller]
fn is_given_back(env: &Env, fs: &Fs, stuck: &Stuck, model: &mut Model, req: &Req) {
    answer(fs, model, req);
    let mut given_back = 0;
    while fs
        .channel
        .wait_readable(Duration::from_millis(200))
        .expect("poll")
    {
        let next = fs.next();
        match next.operation() {
            rawfuse::Operation::Forget(arg) => {
                assert_eq!((next.nodeid(), arg.nlookup), (FILE, 1));
            }
            rawfuse::Operation::Release(arg) => assert_eq!(arg.fh, FILE + 1000),
            rawfuse::Operation::Releasedir(arg) => assert_eq!(arg.fh, abi::ROOT_ID + 2000),
            _ => {}
        }
        match next.opcode() {
            opcode if stuck.given_back == Some(opcode) => given_back += 1,
            // The signal; and a READ's file was open, and is closed by its caller's death.
            Opcode::Interrupt => {}
            Opcode::Flush | Opcode::Release if stuck.opcode == Opcode::Read => {}
            other => panic!("{} after a late {}", other.name(), stuck.opcode.name()),
        }
        answer(fs, model, &next);
    }
    let expected = usize::from(stuck.given_back.is_some());
    assert_eq!(given_back, expected, "{}", stuck.opcode.name());
    let waiting = fs.control(env).join("waiting");
    assert_eq!(std::fs::read_to_string(waiting).expect("waiting"), "0\n");
}
