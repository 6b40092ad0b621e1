// SPDX-License-Identifier: GPL-2.0

//! Mounts that wait for the daemon's answer to `INIT` (`FUSE_DEV_IOC_SYNC_INIT`).

use crate::{
    caller::{call, process, Caller},
    env::Env,
    fs::{self, Fs, Req},
    sys, system,
    tests::pipe::{reply, Pipe},
    tests::tests,
};
use nix::sys::signal::Signal;
use rawfuse::{
    abi::{self, Opcode},
    answer_init, Channel, Errno, InitConfig, Mount, MountOptions,
};
use std::{
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};
use zerocopy::IntoBytes;

tests![
    mount_waits,
    read_waits_for_the_mount,
    splice_and_poll_wait_for_the_mount,
    signal_ends_the_wait,
    write_does_not_wait,
    only_before_mounting,
    refused,
    of_another_version,
    that_does_not_go_together,
    daemon_goes,
    mounting_task_is_killed,
    clone_is_not_asked,
    closed_before_mounting,
];

const SHORT: Duration = Duration::from_millis(150);

fn sync_init(channel: &Channel) -> io::Result<usize> {
    sys::ioctl(channel.as_fd(), abi::DEV_IOC_SYNC_INIT, &mut 0)
}

/// A device that is to be mounted so.
#[track_caller]
fn open(env: &Env) -> Channel {
    let channel = Channel::open(&env.kind).unwrap();
    sync_init(&channel).expect("SYNC_INIT");
    channel
}

fn mount(env: &Env, channel: &Channel, dir: &Path) -> Caller<io::Result<Mount>> {
    let (options, dir) = (MountOptions::new(env.kind), dir.to_owned());
    let channel = channel.try_clone().unwrap();
    call(move || options.mount(&channel, &dir))
}

/// The next request, by a read that waits.
fn read(channel: &Channel) -> Caller<io::Result<Req>> {
    let channel = channel.try_clone().unwrap();
    call(move || {
        let mut bytes = vec![0; 1 << 18];
        let len = channel.read(&mut bytes)?;
        Ok(Req::new(&bytes[..len]))
    })
}

#[track_caller]
fn answer(channel: &Channel, init: &Req) {
    answer_init(channel, &init.request(), &InitConfig::default())
        .expect("INIT answered")
        .expect("the same major version");
}

/// What mounting came to when the daemon's answer is `answer`.
#[track_caller]
fn mount_with(env: &Env, answer: impl FnOnce(&Channel, &Req)) -> (Channel, PathBuf) {
    let (channel, dir) = (open(env), fs::fresh_dir());
    let mounting = mount(env, &channel, &dir);
    let init = fs::next(&channel);
    assert_eq!(init.opcode(), Opcode::Init);
    answer(&channel, &init);
    system::assert_errno(mounting.result(), Errno::ENOTCONN);
    assert!(!system::is_mounted(&dir));
    (channel, dir)
}

fn mount_waits(env: &Env) {
    let (channel, dir) = (open(env), fs::fresh_dir());
    let mounting = mount(env, &channel, &dir);
    let init = fs::next(&channel);
    assert_eq!(init.opcode(), Opcode::Init);
    assert_eq!(init.nodeid(), 0);
    assert!(mounting.still_waits(SHORT));
    assert!(!system::is_mounted(&dir));
    answer(&channel, &init);
    let mount = Some(mounting.result().expect("mount"));
    assert!(system::is_mounted(&dir));
    let fs = Fs {
        channel,
        mount,
        dir,
    };
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    let req = fs.expect(Opcode::Lookup);
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn read_waits_for_the_mount(env: &Env) {
    let (channel, dir) = (open(env), fs::fresh_dir());
    let reader = read(&channel);
    assert!(reader.still_waits(SHORT));
    let mounting = mount(env, &channel, &dir);
    let init = reader.result().expect("INIT");
    assert_eq!(init.opcode(), Opcode::Init);
    answer(&channel, &init);
    mounting.result().expect("mount");
}

fn splice_and_poll_wait_for_the_mount(env: &Env) {
    let (channel, dir) = (open(env), fs::fresh_dir());
    let poller = channel.try_clone().unwrap();
    let poller = call(move || poller.wait_readable(Duration::from_secs(8)).unwrap());
    let (device, pipe) = (channel.try_clone().unwrap(), Pipe::new());
    let reader = call(move || {
        let len = pipe.splice_from(device.as_fd(), 1 << 18, 0)?;
        let bytes = pipe.drain();
        assert_eq!(bytes.len(), len);
        io::Result::Ok(Req::new(&bytes))
    });
    assert!(reader.still_waits(SHORT));
    assert!(poller.still_waits(Duration::ZERO));
    let mounting = mount(env, &channel, &dir);
    let init = reader.result().expect("INIT");
    answer(&channel, &init);
    let mount = mounting.result().expect("mount");
    let path = mount.target().join("x");
    let caller = call(move || sys::stat(&path));
    assert!(poller.result());
    let req = fs::next(&channel);
    channel.reply_error(req.unique(), Errno::ENOENT).unwrap();
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn signal_ends_the_wait(env: &Env) {
    let channel = open(env);
    sys::ignore_by_handler(Signal::SIGUSR1);
    let reader = process(|| system::errno(channel.read(&mut vec![0; 1 << 18])));
    assert!(reader.ended_within(SHORT).is_none());
    assert_eq!(reader.interrupted_code(Signal::SIGUSR1), libc::EINTR);
}

fn write_does_not_wait(env: &Env) {
    let channel = open(env);
    system::assert_errno(channel.reply_error(2, Errno::EIO), Errno::EPERM);
    let pipe = Pipe::new();
    pipe.put(&reply(2, -libc::EIO, &[]));
    system::assert_errno(pipe.splice_to(channel.as_fd(), 16, 0), Errno::EPERM);
}

fn only_before_mounting(env: &Env) {
    let fs = Fs::new(env);
    system::assert_errno(sync_init(&fs.channel), Errno::EINVAL);
    let channel = open(env);
    // Twice is as good as once.
    sync_init(&channel).unwrap();
}

fn refused(env: &Env) {
    let (channel, _dir) = mount_with(env, |channel, init| {
        channel.reply_error(init.unique(), Errno::EPERM).unwrap();
    });
    system::assert_errno(channel.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
    // There is nothing that it could be mounted on once more.
    let again = MountOptions::new(env.kind).mount(&channel, &fs::fresh_dir());
    system::assert_errno(again, Errno::ENOTCONN);
}

fn of_another_version(env: &Env) {
    mount_with(env, |channel, init| {
        let out = abi::InitOut {
            major: 8,
            ..Default::default()
        };
        let bytes = reply(init.unique(), 0, out.as_bytes());
        channel.write(&[&bytes]).unwrap();
    });
}

fn that_does_not_go_together(env: &Env) {
    // Ids can be mapped where the kernel judges by them only.
    mount_with(env, |channel, init| {
        let config = InitConfig {
            flags: abi::init_flags::INIT_EXT | abi::init_flags::ALLOW_IDMAP,
            ..Default::default()
        };
        answer_init(channel, &init.request(), &config).expect("INIT answered");
    });
}

fn daemon_goes(env: &Env) {
    ends_with_its_daemon(env, &[]);
}

/// That mounting, with these options beside the usual ones, ends when the daemon goes that has INIT.
#[track_caller]
pub(super) fn ends_with_its_daemon(env: &Env, options: &[&str]) {
    let channel = open(env);
    let context = sys::fsopen(env.kind.fs_type).unwrap();
    sys::fsconfig_set_fd(&context, "fd", channel.as_fd()).unwrap();
    for (key, value) in [("rootmode", "40000"), ("user_id", "0"), ("group_id", "0")] {
        sys::fsconfig_set(&context, key, Some(value)).unwrap();
    }
    for option in options {
        sys::fsconfig_set(&context, option, None).unwrap();
    }
    let mounting = call(move || sys::fsconfig_create(&context));
    let init = fs::next(&channel);
    assert_eq!(init.opcode(), Opcode::Init);
    drop(channel);
    system::assert_errno(mounting.result(), Errno::ENOTCONN);
}

fn mounting_task_is_killed(env: &Env) {
    let (channel, dir) = (open(env), fs::fresh_dir());
    let options = MountOptions::new(env.kind);
    let mounting = process(|| system::errno(options.mount(&channel, &dir)));
    let init = fs::next(&channel);
    mounting.signal(Signal::SIGKILL);
    let ended = mounting.ended_within(Duration::from_secs(8));
    assert!(ended.is_some(), "it does not end");
    let late = channel.reply_error(init.unique(), Errno::EIO);
    system::assert_errno(late, Errno::ENOENT);
    system::assert_errno(channel.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
}

fn clone_is_not_asked(env: &Env) {
    let fs = Fs::new(env);
    let channel = open(env);
    let reader = read(&channel);
    assert!(reader.still_waits(SHORT));
    let mut arg = u64::from(fs.channel.number() as u32);
    sys::ioctl(channel.as_fd(), abi::DEV_IOC_CLONE, &mut arg).expect("a clone");
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    let req = reader.result().expect("a request");
    assert_eq!(req.opcode(), Opcode::Lookup);
    channel.reply_error(req.unique(), Errno::ENOENT).unwrap();
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn closed_before_mounting(env: &Env) {
    for asked in [false, true] {
        let channel = Channel::open(&env.kind).unwrap();
        if asked {
            sync_init(&channel).unwrap();
        }
        let context = sys::fsopen(env.kind.fs_type).unwrap();
        sys::fsconfig_set_fd(&context, "fd", channel.as_fd()).unwrap();
        for (key, value) in [("rootmode", "40000"), ("user_id", "0"), ("group_id", "0")] {
            sys::fsconfig_set(&context, key, Some(value)).unwrap();
        }
        drop(channel);
        system::assert_errno(sys::fsconfig_create(&context), Errno::ENOTCONN);
    }
}
