// SPDX-License-Identifier: GPL-2.0

//! Being told that there is something to read: signals, and epoll.

use crate::{
    caller::{call, Caller},
    env::Env,
    fs::{self, Fs},
    sys, system,
    tests::tests,
};
use nix::{
    fcntl::{fcntl, FcntlArg, OFlag},
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Channel, Errno,
};
use std::{io, os::fd::AsFd, os::fd::AsRawFd, time::Duration};

tests![
    signal_before_mounting,
    signal_for_a_request,
    signal_says_what_for,
    signal_for_forgets_and_interrupts,
    signal_at_the_end,
    signals_stop_when_turned_off,
    signals_stop_with_the_file,
    signals_for_each_device,
    epoll_sees_each_request_once,
    epoll_sees_the_end,
];

const LONG: Duration = Duration::from_secs(8);
/// A file system whose daemon takes several lookups at a time.
#[track_caller]
fn mount(env: &Env) -> Fs {
    Fs::with_flags(env, init_flags::PARALLEL_DIROPS)
}

const SHORT: Duration = Duration::from_millis(150);

fn lookup(fs: &Fs, name: &str) -> Caller<io::Result<nix::sys::stat::FileStat>> {
    let path = fs.path(name);
    call(move || sys::stat(&path))
}

fn set_async(channel: &Channel, on: bool) -> nix::Result<i32> {
    let flags = if on { OFlag::O_ASYNC } else { OFlag::empty() };
    fcntl(channel.as_fd(), FcntlArg::F_SETFL(flags))
}

/// Turns signals on, for this thread, which waits for them.
#[track_caller]
fn listen(channel: &Channel) {
    sys::block_sigio();
    sys::own_signals(channel.as_fd(), 0).expect("F_SETOWN_EX");
    set_async(channel, true).expect("O_ASYNC");
}

/// The descriptor for which SIGIO came, if any did.
fn signal(within: Duration) -> bool {
    sys::wait_for_signal(libc::SIGIO, within).is_some()
}

fn signal_before_mounting(env: &Env) {
    let channel = Channel::open(&env.kind).unwrap();
    assert_eq!(set_async(&channel, true), Err(Errno::EPERM));
    // A file that was opened so is not known to the device, and is closed all the same.
    drop(sys::open_with(env.kind.device.as_ref(), libc::O_RDWR | libc::O_ASYNC).unwrap());
}

fn signal_for_a_request(env: &Env) {
    let fs = mount(env);
    listen(&fs.channel);
    assert!(!signal(SHORT));
    for name in ["one", "two"] {
        let caller = lookup(&fs, name);
        assert!(signal(LONG));
        let req = fs.expect(Opcode::Lookup);
        fs.reply_error(&req, Errno::ENOENT);
        system::assert_errno(caller.result(), Errno::ENOENT);
        assert!(!signal(SHORT));
    }
}

fn signal_says_what_for(env: &Env) {
    let fs = mount(env);
    sys::block_sigio();
    sys::own_signals(fs.channel.as_fd(), libc::SIGIO).unwrap();
    set_async(&fs.channel, true).unwrap();
    let caller = lookup(&fs, "x");
    let (code, fd, band) = sys::wait_for_signal(libc::SIGIO, LONG).expect("a signal");
    assert_eq!(code, sys::POLL_IN);
    assert_eq!(fd, fs.channel.as_fd().as_raw_fd());
    assert_eq!(band, i64::from(libc::POLLIN | libc::POLLRDNORM));
    let req = fs.expect(Opcode::Lookup);
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn signal_for_forgets_and_interrupts(env: &Env) {
    use nix::sys::signal::Signal;

    let fs = mount(env);
    let path = fs.path("x");
    let process = crate::caller::process(|| {
        sys::ignore_by_handler(Signal::SIGUSR1);
        system::errno(sys::stat(&path))
    });
    let req = fs.expect(Opcode::Lookup);
    listen(&fs.channel);
    process.signal(Signal::SIGUSR1);
    assert!(signal(LONG));
    fs.expect(Opcode::Interrupt);
    assert!(!signal(SHORT));
    let attr = abi::Attr {
        mode: libc::S_IFREG | 0o644,
        ino: 7,
        nlink: 1,
        ..Default::default()
    };
    let entry = abi::EntryOut {
        nodeid: 7,
        attr_valid: 3600,
        attr,
        ..Default::default()
    };
    fs.reply(&req, &entry);
    assert_eq!(process.code(), 0);
    system::drop_caches(2);
    assert!(signal(LONG));
    fs.expect(Opcode::Forget);
}

fn signal_at_the_end(env: &Env) {
    let mut fs = mount(env);
    listen(&fs.channel);
    assert!(!signal(SHORT));
    fs.force_unmount();
    assert!(signal(LONG));
    system::assert_errno(fs.channel.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
}

fn signals_stop_when_turned_off(env: &Env) {
    let fs = mount(env);
    listen(&fs.channel);
    set_async(&fs.channel, false).unwrap();
    let caller = lookup(&fs, "x");
    assert!(!signal(SHORT));
    let req = fs.expect(Opcode::Lookup);
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
    set_async(&fs.channel, true).unwrap();
    let caller = lookup(&fs, "y");
    assert!(signal(LONG));
    let req = fs.expect(Opcode::Lookup);
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn clone(env: &Env, channel: &Channel) -> Channel {
    let new = Channel::open(&env.kind).unwrap();
    new.clone_of(channel).expect("a clone");
    new
}

fn signals_stop_with_the_file(env: &Env) {
    let fs = mount(env);
    let new = clone(env, &fs.channel);
    listen(&new);
    drop(new);
    let caller = lookup(&fs, "x");
    assert!(!signal(SHORT));
    let req = fs.expect(Opcode::Lookup);
    fs.reply_error(&req, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn signals_for_each_device(env: &Env) {
    let fs = mount(env);
    let new = clone(env, &fs.channel);
    sys::block_sigio();
    for channel in [&fs.channel, &new] {
        // A signal of one's own each: with the usual one, the second would be lost in the first.
        sys::own_signals(channel.as_fd(), libc::SIGRTMIN() + 1).unwrap();
        set_async(channel, true).unwrap();
    }
    let caller = lookup(&fs, "x");
    let mut told: Vec<i32> = (0..2)
        .map(|_| {
            sys::wait_for_signal(libc::SIGRTMIN() + 1, LONG)
                .expect("a signal")
                .1
        })
        .collect();
    told.sort();
    let mut both = [fs.channel.number(), new.number()];
    both.sort();
    assert_eq!(told, both);
    let req = fs::next(&new);
    new.reply_error(req.unique(), Errno::ENOENT).unwrap();
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn watch(channel: &Channel) -> Epoll {
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
    epoll.add(channel.as_fd(), event).unwrap();
    epoll
}

fn events(epoll: &Epoll, within: Duration) -> Option<EpollFlags> {
    let mut events = [EpollEvent::empty()];
    let timeout = EpollTimeout::try_from(within).unwrap();
    let count = epoll.wait(&mut events, timeout).unwrap();
    (count == 1).then(|| events[0].events())
}

fn epoll_sees_each_request_once(env: &Env) {
    let fs = mount(env);
    let epoll = watch(&fs.channel);
    assert_eq!(events(&epoll, SHORT), None);
    let one = lookup(&fs, "one");
    assert_eq!(events(&epoll, LONG), Some(EpollFlags::EPOLLIN));
    assert_eq!(events(&epoll, SHORT), None, "it was told of that");
    // The first has not been read yet.
    let two = lookup(&fs, "two");
    assert_eq!(events(&epoll, LONG), Some(EpollFlags::EPOLLIN));
    for _ in 0..2 {
        let req = fs.expect(Opcode::Lookup);
        fs.reply_error(&req, Errno::ENOENT);
    }
    for caller in [one, two] {
        system::assert_errno(caller.result(), Errno::ENOENT);
    }
    assert_eq!(events(&epoll, SHORT), None);
}

fn epoll_sees_the_end(env: &Env) {
    let mut fs = mount(env);
    let epoll = watch(&fs.channel);
    assert_eq!(events(&epoll, SHORT), None);
    fs.force_unmount();
    assert_eq!(events(&epoll, LONG), Some(EpollFlags::EPOLLERR));
}
