// SPDX-License-Identifier: GPL-2.0

//! `poll(2)` and `epoll(7)`.

use crate::{
    caller::{call_on, Caller},
    env::Env,
    fs::{Fs, Req, OPENED},
    system,
    tests::tests,
};
use libc::{O_RDWR, POLLERR, POLLIN, POLLOUT, POLLPRI, POLLRDNORM, POLLWRNORM};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rawfuse::{
    abi::{self, poll_flags, NotifyCode, Opcode, OutHeader},
    Errno,
};
use std::{fs::File, os::fd::AsRawFd, time::Duration};
use zerocopy::IntoBytes;

tests![
    what_is_on_the_wire,
    waits_until_notified,
    each_file_has_its_number,
    every_event_is_asked_for_by_default,
    events_that_there_are_not,
    errors,
    enosys_is_remembered,
    notifications_that_make_no_sense,
    epoll,
    closing_what_epoll_watches,
    wakes_when_aborted,
    wakes_all_who_wait,
];

const HANDLE: u64 = 0x1000_2000_3000_4000;
const SHORT: Duration = Duration::from_millis(150);
/// What `poll()` sees beside what was asked for.
const ALWAYS: i16 = libc::POLLERR | libc::POLLHUP;

/// Polls for `events`; gives what was found.
#[allow(unsafe_code)]
fn poll(file: &File, events: i16, timeout: i32) -> Caller<i16> {
    call_on(file, move |file| {
        let mut fd = libc::pollfd {
            fd: file.as_raw_fd(),
            events,
            revents: 0,
        };
        // SAFETY: There is one structure.
        assert!(unsafe { libc::poll(&mut fd, 1, timeout) } >= 0);
        fd.revents
    })
}

/// The request of a poll: its arguments, and whether somebody waits.
#[track_caller]
fn expect(fs: &Fs) -> (Req, abi::PollIn, bool) {
    let request = fs.expect(Opcode::Poll);
    assert_eq!((request.header().len, request.nodeid()), (64, OPENED));
    let arg: abi::PollIn = request.arg();
    assert_eq!(arg.flags & !poll_flags::SCHEDULE_NOTIFY, 0);
    (request, arg, arg.flags != 0)
}

#[track_caller]
fn ready(fs: &Fs, request: &Req, events: i16) {
    let out = abi::PollOut {
        revents: events as u32,
        padding: 0,
    };
    fs.reply(request, &out);
}

fn notify(fs: &Fs, kh: u64, more: &[u8]) -> std::io::Result<usize> {
    let header = OutHeader {
        len: (16 + 8 + more.len()) as u32,
        error: NotifyCode::Poll as i32,
        unique: 0,
    };
    fs.channel.write(&[header.as_bytes(), kh.as_bytes(), more])
}

fn what_is_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let caller = poll(&file, POLLIN | POLLPRI, 0);
    let (request, arg, waited_for) = expect(&fs);
    assert_eq!((arg.fh, waited_for), (HANDLE, false));
    assert_eq!(arg.events as i16, POLLIN | POLLPRI | ALWAYS);
    ready(&fs, &request, POLLIN | POLLOUT);
    // What was not asked for is not said.
    assert_eq!(caller.result(), POLLIN);
    fs.close_file(file);
}

fn waits_until_notified(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let caller = poll(&file, POLLIN, -1);
    let (request, first, waited_for) = expect(&fs);
    assert!(waited_for);
    ready(&fs, &request, 0);
    assert!(caller.still_waits(SHORT));
    // It is a reason to look again, no more.
    for _ in 0..2 {
        notify(&fs, first.kh, &[]).unwrap();
        let (request, arg, _) = expect(&fs);
        assert_eq!((arg.kh, arg.events), (first.kh, first.events));
        ready(&fs, &request, POLLOUT);
        assert!(caller.still_waits(SHORT));
    }
    notify(&fs, first.kh, &[]).unwrap();
    let (request, ..) = expect(&fs);
    ready(&fs, &request, POLLIN);
    assert_eq!(caller.result(), POLLIN);
    // Nobody waits any more.
    notify(&fs, first.kh, &[]).unwrap();
    fs.expect_silence(SHORT);
    fs.close_file(file);
    notify(&fs, first.kh, &[]).unwrap();
}

fn each_file_has_its_number(env: &Env) {
    let fs = Fs::new(env);
    let (a, b) = (fs.open_file(O_RDWR, 1), fs.open_file(O_RDWR, 2));
    let ask = |file| {
        let caller = poll(file, POLLIN, 0);
        let (request, arg, _) = expect(&fs);
        ready(&fs, &request, 0);
        caller.result();
        arg.kh
    };
    let (of_a, of_b) = (ask(&a), ask(&b));
    assert_ne!(of_a, of_b);
    assert_eq!(of_a, ask(&a));
    let caller = poll(&a, POLLIN, -1);
    let (request, ..) = expect(&fs);
    ready(&fs, &request, 0);
    notify(&fs, of_b, &[]).unwrap();
    fs.expect_silence(SHORT);
    notify(&fs, of_a, &[]).unwrap();
    let (request, ..) = expect(&fs);
    ready(&fs, &request, POLLIN);
    assert_eq!(caller.result(), POLLIN);
    fs.close_file(a);
    fs.close_file(b);
}

fn every_event_is_asked_for_by_default(env: &Env) {
    // Who waits with epoll is known to wait for more than it is asked about.
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let caller = poll(&file, 0, 0);
    let (request, arg, _) = expect(&fs);
    assert_eq!(arg.events as i16, ALWAYS);
    ready(&fs, &request, POLLERR);
    assert_eq!(caller.result(), POLLERR);
    fs.close_file(file);
}

fn events_that_there_are_not(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let caller = poll(&file, POLLIN, 0);
    let (request, ..) = expect(&fs);
    let out = abi::PollOut {
        revents: 0xffff_0000 | POLLIN as u32 | 0x8000,
        padding: 0,
    };
    fs.reply(&request, &out);
    assert_eq!(caller.result(), POLLIN);
    fs.close_file(file);
}

fn errors(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    for error in [Errno::EIO, Errno::EINTR, Errno::ENOTTY] {
        let caller = poll(&file, POLLIN, -1);
        let (request, ..) = expect(&fs);
        fs.reply_error(&request, error);
        assert_eq!(caller.result(), POLLERR);
    }
    let caller = poll(&file, POLLIN, -1);
    let (request, ..) = expect(&fs);
    let short = fs.channel.reply_bytes(request.unique(), &[&[0; 4]]);
    system::assert_errno(short, Errno::EINVAL);
    assert_eq!(caller.result(), POLLERR);
    fs.close_file(file);
}

fn enosys_is_remembered(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let all = POLLIN | POLLOUT | POLLRDNORM | POLLWRNORM | POLLPRI;
    let caller = poll(&file, all, -1);
    let (request, ..) = expect(&fs);
    fs.reply_error(&request, Errno::ENOSYS);
    assert_eq!(caller.result(), all & !POLLPRI);
    // Now it is always ready.
    assert_eq!(poll(&file, POLLOUT, -1).result(), POLLOUT);
    assert_eq!(poll(&file, POLLPRI, 0).result(), 0);
    fs.expect_silence(SHORT);
    fs.close_file(file);
}

fn notifications_that_make_no_sense(env: &Env) {
    let fs = Fs::new(env);
    for kh in [0, 1, u64::MAX] {
        // Nobody has polled. That is no error.
        notify(&fs, kh, &[]).unwrap();
    }
    system::assert_errno(notify(&fs, 1, &[0; 8]), Errno::EINVAL);
    let header = OutHeader {
        len: 16,
        error: NotifyCode::Poll as i32,
        unique: 0,
    };
    system::assert_errno(fs.channel.write(&[header.as_bytes()]), Errno::EINVAL);
}

fn epoll_wait(epoll: &Epoll, timeout: u16) -> Vec<EpollFlags> {
    let mut events = [EpollEvent::empty(); 4];
    let timeout = EpollTimeout::from(timeout);
    let found = epoll.wait(&mut events, timeout).expect("epoll_wait");
    events[..found].iter().map(EpollEvent::events).collect()
}

/// Has an epoll file watch `file`, which answers that it is not ready.
#[track_caller]
fn watch(fs: &Fs, file: &File, flags: EpollFlags) -> (std::sync::Arc<Epoll>, abi::PollIn) {
    let epoll = std::sync::Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap());
    let adder = {
        let epoll = epoll.clone();
        call_on(file, move |file| epoll.add(file, EpollEvent::new(flags, 7)))
    };
    let (request, arg, waited_for) = expect(fs);
    assert!(waited_for);
    ready(fs, &request, 0);
    adder.result().unwrap();
    (epoll, arg)
}

fn epoll(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let (epoll, arg) = watch(&fs, &file, EpollFlags::EPOLLIN);
    assert_eq!(epoll_wait(&epoll, 50), []);
    notify(&fs, arg.kh, &[]).unwrap();
    // It looks when somebody asks.
    let waiter = {
        let epoll = epoll.clone();
        crate::caller::call(move || epoll_wait(&epoll, 10_000))
    };
    let (request, again, waited_for) = expect(&fs);
    assert!(waited_for);
    assert_eq!(again.kh, arg.kh);
    ready(&fs, &request, POLLIN);
    assert_eq!(waiter.result(), [EpollFlags::EPOLLIN]);
    fs.close_file(file);
}

fn closing_what_epoll_watches(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let (epoll, arg) = watch(&fs, &file, EpollFlags::EPOLLIN);
    fs.close_file(file);
    notify(&fs, arg.kh, &[]).unwrap();
    assert_eq!(epoll_wait(&epoll, 50), []);
    // And the other way round.
    let file = fs.open_file(O_RDWR, HANDLE);
    let (epoll, arg) = watch(&fs, &file, EpollFlags::EPOLLIN);
    drop(epoll);
    notify(&fs, arg.kh, &[]).unwrap();
    fs.expect_silence(SHORT);
    fs.close_file(file);
}

fn wakes_when_aborted(env: &Env) {
    let mut fs = Fs::new(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let caller = poll(&file, POLLIN, -1);
    let (request, ..) = expect(&fs);
    ready(&fs, &request, 0);
    let (epoll, _) = watch(&fs, &file, EpollFlags::EPOLLIN);
    assert!(caller.still_waits(SHORT));
    fs.force_unmount();
    assert_eq!(caller.result(), POLLERR);
    assert_eq!(epoll_wait(&epoll, 10_000), [EpollFlags::EPOLLERR]);
}

fn wakes_all_who_wait(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDWR, HANDLE);
    let mut kh = 0;
    let callers: Vec<_> = (0..3)
        .map(|_| {
            let caller = poll(&file, POLLIN, -1);
            let (request, arg, _) = expect(&fs);
            kh = arg.kh;
            ready(&fs, &request, 0);
            caller
        })
        .collect();
    notify(&fs, kh, &[]).unwrap();
    for _ in 0..3 {
        let (request, arg, _) = expect(&fs);
        assert_eq!(arg.kh, kh);
        ready(&fs, &request, POLLIN);
    }
    for caller in callers {
        assert_eq!(caller.result(), POLLIN);
    }
    fs.close_file(file);
}
