// SPDX-License-Identifier: GPL-2.0

//! Several open devices on one connection (`FUSE_DEV_IOC_CLONE`), and the device's other commands.

use crate::{
    caller::{call, Caller},
    env::Env,
    fs::{self, Fs, Req},
    model::{Model, Served},
    sys, system,
    tests::tests,
};
use nix::poll::PollFlags;
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Channel, Errno,
};
use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

tests![
    takes_a_mounted_device,
    takes_an_unmounted_device_only,
    each_answers_its_own,
    both_read_the_same_queue,
    interrupts_are_anybodys,
    closed_with_requests,
    first_is_closed,
    last_is_closed,
    aborted,
    cloned_after_an_abort,
    clone_of_a_clone,
    many_at_work,
    by_a_32_bit_program,
    backing_files_need_passthrough,
    fdinfo_names_the_connection,
];

/// A file system whose daemon takes several lookups at a time.
#[track_caller]
fn mount(env: &Env) -> Fs {
    Fs::with_flags(env, init_flags::PARALLEL_DIROPS)
}

const SHORT: Duration = Duration::from_millis(150);

fn clone_into(new: &Channel, fd: i32) -> io::Result<usize> {
    let mut arg = u64::from(fd as u32);
    sys::ioctl(new.as_fd(), abi::DEV_IOC_CLONE, &mut arg)
}

/// One more device that leads where `channel` does.
#[track_caller]
fn clone(env: &Env, channel: &Channel) -> Channel {
    let new = Channel::open(&env.kind).unwrap();
    new.clone_of(channel).expect("a clone");
    new
}

fn lookup(fs: &Fs, name: &str) -> Caller<io::Result<nix::sys::stat::FileStat>> {
    let path = fs.path(name);
    call(move || sys::stat(&path))
}

/// A LOOKUP, read from `channel`, and who waits for its reply.
#[track_caller]
fn lookup_from(
    fs: &Fs,
    channel: &Channel,
    name: &str,
) -> (Req, Caller<io::Result<nix::sys::stat::FileStat>>) {
    let caller = lookup(fs, name);
    let req = fs::next(channel);
    assert_eq!(req.opcode(), Opcode::Lookup);
    assert_eq!(req.name(), name);
    (req, caller)
}

fn takes_a_mounted_device(env: &Env) {
    let new = Channel::open(&env.kind).unwrap();
    for fd in [-1, 999] {
        system::assert_errno(clone_into(&new, fd), Errno::EINVAL);
    }
    let file = std::fs::File::open("/dev/null").unwrap();
    system::assert_errno(clone_into(&new, file.as_raw_fd()), Errno::EINVAL);
    let other = Channel::open(&env.kind).unwrap();
    system::assert_errno(clone_into(&new, other.number()), Errno::EPERM);
    system::assert_errno(clone_into(&new, new.number()), Errno::EPERM);
    system::assert_errno(
        sys::ioctl_nowhere(new.as_fd(), abi::DEV_IOC_CLONE),
        Errno::EFAULT,
    );
    // None of this has changed anything.
    assert_eq!(new.poll(Duration::ZERO).unwrap(), PollFlags::POLLERR);
    let fs = mount(env);
    clone_into(&new, fs.channel.number()).expect("a clone");
    assert_eq!(new.poll(Duration::ZERO).unwrap(), PollFlags::POLLOUT);
}

fn takes_an_unmounted_device_only(env: &Env) {
    let (fs, other) = (mount(env), mount(env));
    let new = clone(env, &fs.channel);
    for fd in [fs.channel.number(), other.channel.number(), new.number()] {
        system::assert_errno(clone_into(&new, fd), Errno::EINVAL);
    }
    // One cannot be mounted over either, but for what it is mounted on already.
    let options = rawfuse::MountOptions::new(env.kind);
    let again = options.mount(&new, &fs::fresh_dir()).expect("mount");
    drop(again);
}

fn each_answers_its_own(env: &Env) {
    let fs = mount(env);
    let new = clone(env, &fs.channel);
    let (one, one_caller) = lookup_from(&fs, &fs.channel, "one");
    let (two, two_caller) = lookup_from(&fs, &new, "two");
    system::assert_errno(new.reply_error(one.unique(), Errno::EIO), Errno::ENOENT);
    let wrong = fs.channel.reply_error(two.unique(), Errno::EIO);
    system::assert_errno(wrong, Errno::ENOENT);
    assert!(one_caller.still_waits(SHORT));
    assert!(two_caller.still_waits(Duration::ZERO));
    new.reply_error(two.unique(), Errno::ENOENT).unwrap();
    system::assert_errno(two_caller.result(), Errno::ENOENT);
    fs.reply_error(&one, Errno::ENOENT);
    system::assert_errno(one_caller.result(), Errno::ENOENT);
}

fn both_read_the_same_queue(env: &Env) {
    let fs = mount(env);
    let new = clone(env, &fs.channel);
    let caller = lookup(&fs, "x");
    assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
    assert!(new.wait_readable(Duration::from_secs(8)).unwrap());
    let req = fs::next(&new);
    fs.expect_silence(SHORT);
    new.reply_error(req.unique(), Errno::ENOENT).unwrap();
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn interrupts_are_anybodys(env: &Env) {
    use nix::sys::signal::Signal;

    let fs = mount(env);
    let new = clone(env, &fs.channel);
    let path = fs.path("x");
    let caller = crate::caller::process(|| {
        sys::ignore_by_handler(Signal::SIGUSR1);
        system::errno(sys::stat(&path))
    });
    let req = fs::next(&new);
    assert_eq!(req.opcode(), Opcode::Lookup);
    caller.signal(Signal::SIGUSR1);
    let interrupt = fs.expect(Opcode::Interrupt);
    // It belongs to the request, which is on the other device.
    let wrong = fs.channel.reply_error(interrupt.unique(), Errno::EAGAIN);
    system::assert_errno(wrong, Errno::ENOENT);
    new.reply_error(interrupt.unique(), Errno::EAGAIN).unwrap();
    let again = fs.expect(Opcode::Interrupt);
    assert_eq!(again.unique(), interrupt.unique());
    new.reply_error(req.unique(), Errno::EINTR).unwrap();
    assert_eq!(caller.code(), libc::EINTR);
}

fn closed_with_requests(env: &Env) {
    let fs = mount(env);
    let new = clone(env, &fs.channel);
    let (one, one_caller) = lookup_from(&fs, &fs.channel, "one");
    let held = ["two", "three", "four"].map(|name| lookup_from(&fs, &new, name));
    drop(new);
    for (req, caller) in held {
        system::assert_errno(caller.result(), Errno::ECONNABORTED);
        let late = fs.channel.reply_error(req.unique(), Errno::EIO);
        system::assert_errno(late, Errno::ENOENT);
    }
    assert!(one_caller.still_waits(SHORT));
    fs.reply_error(&one, Errno::ENOENT);
    system::assert_errno(one_caller.result(), Errno::ENOENT);
    let (next, caller) = lookup_from(&fs, &fs.channel, "next");
    fs.reply_error(&next, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
    // What nobody has read yet is not lost with a device.
    let new = clone(env, &fs.channel);
    let caller = lookup(&fs, "pending");
    assert!(new.wait_readable(Duration::from_secs(8)).unwrap());
    drop(new);
    let req = fs.expect(Opcode::Lookup);
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn first_is_closed(env: &Env) {
    let mut fs = mount(env);
    let new = clone(env, &fs.channel);
    let (_, held) = lookup_from(&fs, &fs.channel, "held");
    // The device that was mounted goes, the clone stays.
    fs.channel = new;
    system::assert_errno(held.result(), Errno::ECONNABORTED);
    let (next, caller) = lookup_from(&fs, &fs.channel, "next");
    fs.reply_error(&next, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn last_is_closed(env: &Env) {
    let mut fs = mount(env);
    let new = clone(env, &fs.channel);
    let (_, one) = lookup_from(&fs, &new, "one");
    fs.channel = new;
    let two = lookup(&fs, "two");
    assert!(fs.channel.wait_readable(Duration::from_secs(8)).unwrap());
    fs.channel = Channel::open(&env.kind).unwrap();
    system::assert_errno(one.result(), Errno::ECONNABORTED);
    system::assert_errno(two.result(), Errno::ECONNABORTED);
    system::assert_errno(sys::stat(&fs.path("three")), Errno::ENOTCONN);
}

fn aborted(env: &Env) {
    let mut fs = mount(env);
    let new = clone(env, &fs.channel);
    let reader = new.try_clone().unwrap();
    let reader = call(move || reader.read(&mut vec![0; 1 << 18]));
    assert!(reader.still_waits(SHORT));
    fs.force_unmount();
    system::assert_errno(reader.result(), Errno::ENODEV);
    for channel in [&fs.channel, &new] {
        assert_eq!(channel.poll(Duration::ZERO).unwrap(), PollFlags::POLLERR);
        system::assert_errno(channel.reply_error(2, Errno::EIO), Errno::ENOENT);
    }
}

fn cloned_after_an_abort(env: &Env) {
    let mut fs = mount(env);
    fs.force_unmount();
    let new = clone(env, &fs.channel);
    system::assert_errno(new.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
    system::assert_errno(new.reply_error(2, Errno::EIO), Errno::ENOENT);
    assert_eq!(new.poll(Duration::ZERO).unwrap(), PollFlags::POLLERR);
    // It keeps the connection as any other does, and is as dead.
    drop(fs);
    system::assert_errno(new.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
}

fn clone_of_a_clone(env: &Env) {
    let mut fs = mount(env);
    let one = clone(env, &fs.channel);
    fs.channel = clone(env, &one);
    drop(one);
    let (req, caller) = lookup_from(&fs, &fs.channel, "x");
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn many_at_work(env: &Env) {
    let mut served = Served::new(mount(env), Model::new());
    let daemons: Vec<_> = (0..4)
        .map(|_| {
            let channel = clone(env, &served.channel);
            call(move || {
                let model = std::sync::Mutex::new(Model::new());
                crate::model::serve(&channel, &model);
                model.into_inner().unwrap().log.len()
            })
        })
        .collect();
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let path = served.path("dir/inner");
            call(move || (0..50).all(|_| sys::stat(&path).is_ok_and(|stat| stat.st_size == 5)))
        })
        .collect();
    assert!(callers.iter().all(Caller::result));
    served.finish();
    let by_clones: usize = daemons.iter().map(Caller::result).sum();
    assert!(by_clones > 0);
    assert!(by_clones + served.model().log.len() >= 8 * 50);
}

fn by_a_32_bit_program(env: &Env) {
    let fs = mount(env);
    let new = Channel::open(&env.kind).unwrap();
    let fd = fs.channel.number() as u32;
    let ioctl = |command, arg| sys::ioctl_32(new.as_fd(), command, arg);
    system::assert_errno(ioctl(abi::DEV_IOC_MAGIC << 8 | 0x7f, fd), Errno::ENOTTY);
    system::assert_errno(ioctl(abi::DEV_IOC_CLONE, 999), Errno::EINVAL);
    ioctl(abi::DEV_IOC_CLONE, fd).expect("a clone");
    let (req, caller) = lookup_from(&fs, &new, "x");
    new.reply_error(req.unique(), Errno::ENOENT).unwrap();
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn backing_files_need_passthrough(env: &Env) {
    let new = Channel::open(&env.kind).unwrap();
    for command in [abi::DEV_IOC_BACKING_OPEN, abi::DEV_IOC_BACKING_CLOSE] {
        let mut arg = [u64::MAX; 2];
        let result = sys::ioctl(new.as_fd(), command, &mut arg[0]);
        system::assert_errno(result, Errno::EPERM);
    }
    let fs = mount(env);
    let mut arg = [u64::MAX; 2];
    let result = sys::ioctl(fs.channel.as_fd(), abi::DEV_IOC_BACKING_CLOSE, &mut arg[0]);
    // C FUSE has passthrough, and refuses what was not negotiated.
    let expected = if env.is_rust() {
        Errno::EOPNOTSUPP
    } else {
        Errno::EPERM
    };
    system::assert_errno(result, expected);
}

fn fdinfo_names_the_connection(env: &Env) {
    let fs = mount(env);
    let id = fs.control(env).file_name().unwrap().to_owned();
    let line = format!("fuse_connection:\t{}", id.to_str().unwrap());
    let info = |channel: &Channel| {
        let path = format!("/proc/self/fdinfo/{}", channel.number());
        std::fs::read_to_string(path).unwrap()
    };
    let new = Channel::open(&env.kind).unwrap();
    assert!(!info(&new).contains("fuse_connection"));
    clone_into(&new, fs.channel.number()).unwrap();
    for channel in [&fs.channel, &new] {
        let info = info(channel);
        assert!(info.lines().any(|known| known == line), "{info}");
    }
}
