// SPDX-License-Identifier: GPL-2.0

//! The mount option `recover`: a mount that outlives its daemon. Not in Linux.

use crate::{
    caller::{call, process, PATIENCE},
    env::Env,
    fs::{fresh_dir, next, Fs},
    model::{Model, FILE},
    runner, sys, system,
    tests::{sync_init::ends_with_its_daemon, tests},
};
use nix::unistd::{setgid, setuid, Gid, Uid};
use rawfuse::{
    abi::{self, Opcode},
    Channel, Errno, MountOptions,
};
use std::{io, os::fd::AsFd, time::Duration};

tests![
    a_successor_answers_what_the_dead_daemon_had,
    devices_closed_one_after_another_leave_one_order,
    a_mount_without_a_daemon_can_be_aborted,
    a_caller_can_be_killed_while_nobody_serves,
    only_who_could_have_mounted_may_attach,
    only_a_mount_that_recovers_can_be_attached,
    a_mount_goes_with_a_daemon_that_has_not_answered_init,
    mounting_ends_with_a_daemon_that_has_not_answered_init,
];

/// Marks a request that is sent again.
const RESENT: u64 = 1 << 63;

/// Skips the test where there is no such option.
fn needs_the_option(env: &Env) {
    if !env.is_rust() {
        runner::skip("Linux does not have the option");
    }
}

fn recovering(env: &Env) -> Fs {
    needs_the_option(env);
    Fs::with_option(env, "recover")
}

/// The number of a connection.
fn number(env: &Env, fs: &Fs) -> u32 {
    let name = fs.control(env);
    name.file_name().unwrap().to_str().unwrap().parse().unwrap()
}

/// Attaches a fresh device to a connection.
fn attach(env: &Env, connection: u32) -> io::Result<Channel> {
    let channel = Channel::open(&env.kind)?;
    let mut argument = u64::from(connection);
    sys::ioctl(channel.as_fd(), abi::DEV_IOC_ATTACH, &mut argument)?;
    Ok(channel)
}

/// Lets the daemon die: the last descriptor of its device goes.
fn bury(env: &Env, fs: &mut Fs) {
    fs.channel = Channel::open(&env.kind).expect("another device");
}

fn a_successor_answers_what_the_dead_daemon_had(env: &Env) {
    let mut fs = recovering(env);
    let connection = number(env, &fs);
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
    let ours = fs.dir.to_str().unwrap().to_owned();
    assert!(mounts
        .lines()
        .any(|line| line.contains(&ours) && line.contains(",recover")));

    let path = fs.path("file");
    let read_before = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    bury(env, &mut fs);
    let dir = fs.dir.clone();
    let made_after = call(move || sys::access(&dir, libc::R_OK));
    assert!(read_before.still_waits(Duration::from_millis(100)));
    assert!(made_after.still_waits(Duration::from_millis(100)));

    fs.channel = attach(env, connection).expect("a successor");
    let again = next(&fs.channel);
    assert_eq!(again.opcode(), Opcode::Lookup);
    assert_eq!(again.unique(), lookup.unique() | RESENT);
    assert_eq!(again.name(), "file");
    fs.reply(&again, &Model::cached().entry(FILE));
    assert_eq!(read_before.result().unwrap().st_ino, FILE);
    let access = fs.expect(Opcode::Access);
    assert_eq!(access.unique() & RESENT, 0);
    fs.reply_error(&access, Errno::ENOSYS);
    made_after.result().unwrap();
}

fn devices_closed_one_after_another_leave_one_order(env: &Env) {
    let mut fs = recovering(env);
    let connection = number(env, &fs);
    let clone = attach(env, connection).expect("one more device");
    let (mut callers, mut read) = (Vec::new(), Vec::new());
    for by_clone in [true, false, true, true, false, true] {
        let dir = fs.dir.clone();
        callers.push(call(move || sys::access(&dir, libc::R_OK)));
        let channel = if by_clone { &clone } else { &fs.channel };
        read.push(next(channel).unique());
    }
    bury(env, &mut fs);
    drop(clone);
    fs.channel = attach(env, connection).expect("a successor");
    for unique in read {
        let again = fs.expect(Opcode::Access);
        assert_eq!(again.unique(), unique | RESENT);
        fs.reply_bytes(&again, &[]);
    }
    for caller in &callers {
        caller.result().unwrap();
    }
}

fn a_mount_without_a_daemon_can_be_aborted(env: &Env) {
    let mut fs = recovering(env);
    let connection = number(env, &fs);
    let path = fs.path("file");
    let caller = call(move || sys::stat(&path));
    fs.expect(Opcode::Lookup);
    bury(env, &mut fs);
    assert!(caller.still_waits(Duration::from_millis(100)));
    fs.force_unmount();
    system::assert_errno(caller.result(), Errno::ECONNABORTED);
    system::assert_errno(attach(env, connection), Errno::ENOENT);
}

fn a_caller_can_be_killed_while_nobody_serves(env: &Env) {
    let mut fs = recovering(env);
    let path = fs.path("file");
    let caller = process(move || i32::from(sys::stat(&path).is_err()));
    fs.expect(Opcode::Lookup);
    bury(env, &mut fs);
    caller.signal(nix::sys::signal::Signal::SIGKILL);
    assert!(caller.ended_within(PATIENCE).is_some());
}

fn only_who_could_have_mounted_may_attach(env: &Env) {
    let fs = recovering(env);
    let connection = number(env, &fs);
    let copy = *env;
    let stranger = process(move || {
        setgid(Gid::from_raw(1000)).unwrap();
        setuid(Uid::from_raw(1000)).unwrap();
        system::errno(attach(&copy, connection))
    });
    assert_eq!(stranger.code(), libc::EPERM);
    system::assert_errno(attach(env, connection + 1000), Errno::ENOENT);
    // A device leads to one connection.
    let mut argument = u64::from(connection);
    let again = sys::ioctl(fs.channel.as_fd(), abi::DEV_IOC_ATTACH, &mut argument);
    system::assert_errno(again, Errno::EINVAL);
}

fn only_a_mount_that_recovers_can_be_attached(env: &Env) {
    needs_the_option(env);
    let fs = Fs::new(env);
    system::assert_errno(attach(env, number(env, &fs)), Errno::EINVAL);
}

fn a_mount_goes_with_a_daemon_that_has_not_answered_init(env: &Env) {
    needs_the_option(env);
    let (channel, dir) = (Channel::open(&env.kind).unwrap(), fresh_dir());
    let options = MountOptions::new(env.kind).option("recover");
    let _mount = options.mount(&channel, &dir).expect("mount");
    let path = dir.join("x");
    let caller = call(move || sys::stat(&path));
    assert_eq!(next(&channel).opcode(), Opcode::Init);
    assert!(caller.still_waits(Duration::from_millis(150)));
    drop(channel);
    system::assert_errno(caller.result(), Errno::ENOTCONN);
}

fn mounting_ends_with_a_daemon_that_has_not_answered_init(env: &Env) {
    needs_the_option(env);
    ends_with_its_daemon(env, &["recover"]);
}
