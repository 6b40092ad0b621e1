// SPDX-License-Identifier: GPL-2.0

//! Daemons that are killed or replaced a hundred times, while others write and read: nobody sees
//! an error, and no byte is lost.

use crate::{
    caller::{eventually, process, Process, PATIENCE},
    env::Env,
    fs, handover,
    load::{self, Load, Random},
    runner::skip,
    system,
    tests::tests,
};
use memd::{Config, Daemon, Store};
use nix::sys::{signal::Signal, wait::WaitStatus};
use rawfuse::{
    abi::{init_flags, NotifyCode},
    Channel, Mount, MountOptions,
};
use std::{
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::net::{UnixDatagram, UnixStream},
    },
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

tests![
    kills_with_recover => 300,
    kills_with_a_supervisor => 300,
    kills_with_writeback => 300,
    upgrades => 300,
];

/// How often a daemon ends.
fn times(env: &Env) -> u64 {
    match env.long {
        true => 1000,
        false => 100,
    }
}

/// A file system in a store of its own, mounted and not yet served.
struct Stage {
    channel: Channel,
    mount: Mount,
    dir: PathBuf,
    kept: PathBuf,
    daemon: Daemon,
    store: Store,
}

impl Stage {
    #[track_caller]
    fn new(env: &Env, options: &MountOptions, features: u64) -> Self {
        let kept = Path::new(system::SCRATCH).join(format!("store-{}", std::process::id()));
        std::fs::create_dir_all(&kept).expect("a directory");
        let store = Store::create(&kept).expect("an empty directory");
        load::prepare(&store);
        let (channel, mount, dir) = fs::mount(env, options);
        let mut config = Config::default();
        config.init_flags |= features;
        Self {
            channel,
            mount,
            dir,
            kept,
            daemon: Daemon::new(store.clone(), config),
            store,
        }
    }
}

/// How a process that served ends.
fn code(served: io::Result<()>) -> i32 {
    match served {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("the daemon: {error}");
            1
        }
    }
}

/// Some time, as long as a few requests take or a few dozen.
fn pause(random: &mut Random) {
    thread::sleep(Duration::from_micros(random.below(40_000)));
}

/// Kills one daemon after the other, at any instant, and gives the last one.
#[track_caller]
fn kill_again_and_again(env: &Env, load: &Load, mut start: impl FnMut() -> Process) -> Process {
    let mut random = Random(0x6b69_6c6c);
    for number in 0..times(env) {
        let made = load.made();
        let daemon = start();
        // Most of them get to answer something.
        if number % 4 != 0 {
            eventually("an operation", || {
                load.goes_on();
                load.made() > made
            });
        }
        pause(&mut random);
        daemon.signal(Signal::SIGKILL);
        let ended = daemon.ended_within(PATIENCE);
        let killed = matches!(ended, Some(WaitStatus::Signaled(_, Signal::SIGKILL, _)));
        assert!(killed, "daemon {number}: {ended:?}");
        load.goes_on();
    }
    start()
}

fn kills_with_recover(env: &Env) {
    if !env.is_rust() {
        skip("Linux does not have the option");
    }
    let stage = Stage::new(env, &MountOptions::new(env.kind).option("recover"), 0);
    let Stage {
        channel,
        mount,
        dir,
        kept,
        daemon,
        store,
    } = stage;
    let init = fs::next(&channel);
    daemon.init(&channel, &init.request()).expect("INIT");
    let connection = fs::control_dir(env, &dir);
    let connection = connection
        .file_name()
        .and_then(|name| name.to_str()?.parse().ok());
    let connection = connection.expect("a number");
    drop(channel);
    let load = Load::start(&dir, &store);
    let last = kill_again_and_again(env, &load, || {
        process(|| {
            let served = Channel::open(&env.kind).and_then(|channel| {
                channel.attach(connection)?;
                daemon.serve(&channel)
            });
            code(served)
        })
    });
    load.finish();
    drop(mount);
    assert_eq!(last.code(), 0, "the last daemon");
    std::fs::remove_dir_all(kept).expect("the store");
}

fn kills_with_a_supervisor(env: &Env) {
    supervised(env, 0);
}

/// What is written back has no caller that waits for it.
fn kills_with_writeback(env: &Env) {
    supervised(env, init_flags::WRITEBACK_CACHE);
}

/// The device is kept by one who does not serve.
#[track_caller]
fn supervised(env: &Env, features: u64) {
    let stage = Stage::new(env, &MountOptions::new(env.kind), features);
    let Stage {
        channel,
        mount,
        dir,
        kept,
        daemon,
        store,
    } = stage;
    let init = fs::next(&channel);
    daemon.init(&channel, &init.request()).expect("INIT");
    let load = Load::start(&dir, &store);
    let last = kill_again_and_again(env, &load, || {
        channel.notify(NotifyCode::Resend, &[]).expect("RESEND");
        process(|| code(daemon.serve(&channel)))
    });
    load.finish();
    drop(mount);
    assert_eq!(last.code(), 0, "the last daemon");
    std::fs::remove_dir_all(kept).expect("the store");
}

fn upgrades(env: &Env) {
    let stage = Stage::new(env, &MountOptions::new(env.kind), 0);
    let Stage {
        channel,
        mount,
        dir,
        kept,
        daemon,
        store,
    } = stage;
    let (near, far) = UnixDatagram::pair().expect("a pair of sockets");
    handover::give(&near, &channel).expect("the device sent");
    // From here on it is with the socket, or with a daemon.
    drop(channel);
    let start = || {
        let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
        let process = process(|| {
            let served = handover::take(&far).and_then(|channel| {
                (&theirs).write_all(&[1])?;
                daemon.serve_until(&channel, theirs.as_fd())?;
                handover::give(&near, &channel)
            });
            code(served)
        });
        (process, ours)
    };
    let load = Load::start(&dir, &store);
    let mut random = Random(0x7570);
    let (mut old, mut signs) = start();
    for number in 0..times(env) {
        signs
            .read_exact(&mut [0])
            .expect("the sign that it has the device");
        let made = load.made();
        // The new one is there before the old one is told to go.
        let new = start();
        eventually("an operation", || {
            load.goes_on();
            load.made() > made
        });
        pause(&mut random);
        signs.write_all(&[1]).expect("the sign to stop");
        assert_eq!(old.code(), 0, "daemon {number}");
        load.goes_on();
        (old, signs) = new;
    }
    load.finish();
    drop(mount);
    assert_eq!(old.code(), 0, "the last daemon");
    std::fs::remove_dir_all(kept).expect("the store");
}
