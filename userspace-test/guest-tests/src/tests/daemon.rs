// SPDX-License-Identifier: GPL-2.0

//! A daemon that dies: at each point of a request's life, for each kind of request.

use crate::{
    asking::{answer, Asking, ALL},
    caller::{call, eventually, PATIENCE},
    env::{slowness, Env},
    fs::{self, Req},
    runner::skip,
    stage::{reply, Point, Stage},
    sys, system,
    tests::tests,
};
use nix::sys::wait::WaitStatus;
use rawfuse::{
    abi::{self, NotifyCode, Opcode, OutHeader},
    Channel, Errno,
};
use std::{
    fs::read_to_string,
    os::fd::AsFd,
    time::{Duration, Instant},
};
use zerocopy::IntoBytes;

tests![
    dies_before_it_reads => 200,
    dies_while_it_reads => 200,
    dies_after_it_has_read => 200,
    dies_while_it_answers => 200,
    dies_after_it_has_answered => 200,
    successor_after_it_did_not_read => 200,
    successor_after_it_had_read => 200,
    successor_after_it_had_answered => 200,
    successor_by_the_control_file => 200,
    successor_after_it_died_while_it_read => 200,
    successor_after_it_died_while_it_answered => 200,
    successor_that_waits_gets_what_it_died_reading => 200,
    recovers_before_it_reads => 200,
    recovers_while_it_reads => 200,
    recovers_after_it_has_read => 200,
    recovers_while_it_answers => 200,
    recovers_after_it_has_answered => 200,
    what_breaks_off_for_another_reason_ends,
];

/// How long callers may take to come back: a second, and one more, for a machine that is emulated
/// on one that is busy.
const SOON: Duration = Duration::from_secs(2);

/// Whether a daemon gets that far with such a request: there is no reply to a FORGET.
fn gets_there(asking: &Asking, point: Point) -> bool {
    asking.opcode != Opcode::Forget || point != Point::ReplyCopy
}

/// Without a successor: whoever waits gets an error soon, nothing is left, and then it can be
/// unmounted.
#[track_caller]
fn dies(env: &Env, point: Point, expected: impl Fn(&Asking) -> Errno) {
    for asking in ALL.iter().filter(|asking| gets_there(asking, point)) {
        let mut stage = Stage::new(env, asking, "");
        let control = stage.control(env);
        let caller = stage.play(env, asking, point, false);
        let killed = Instant::now();
        if point != Point::Replied {
            let code = match caller.ended_within(SOON * slowness()) {
                Some(WaitStatus::Exited(_, code)) => code,
                other => panic!("{asking}: {other:?}, {:?} later", killed.elapsed()),
            };
            match asking.opcode {
                _ if asking.is_left_alone => assert_eq!(code, 0, "{asking}"),
                // It has no error: a block that is not known is the first.
                Opcode::Bmap => assert_eq!(code, 0, "{asking}"),
                _ => assert_eq!(Errno::from_raw(code), expected(asking), "{asking}"),
            }
        }
        let after = sys::stat(&stage.dir).map(drop);
        match asking.opcode {
            // Attributes that were answered are cached.
            Opcode::Getattr if point == Point::Replied => {
                after.unwrap_or_else(|error| panic!("{asking}: {error}"))
            }
            _ => system::assert_errno(after, Errno::ENOTCONN),
        }
        eventually("nothing waits", || {
            read_to_string(control.join("waiting")).is_ok_and(|waiting| waiting == "0\n")
        });
        stage.unmount();
    }
}

/// The error of a request that was aborted. The page cache has one error for all, and poll(2) one
/// event.
fn aborted(asking: &Asking) -> Errno {
    match asking.opcode {
        Opcode::Read | Opcode::Poll => Errno::EIO,
        _ => Errno::ECONNABORTED,
    }
}

fn dies_before_it_reads(env: &Env) {
    dies(env, Point::Unread, aborted);
}

/// C FUSE ends with EIO what was in the copy. Here it is put back, for another to read, and ends with
/// all the rest when there is none.
fn in_a_copy(env: &Env, asking: &Asking) -> Errno {
    if env.is_rust() {
        aborted(asking)
    } else {
        Errno::EIO
    }
}

fn dies_while_it_reads(env: &Env) {
    dies(env, Point::ReadCopy, |asking| in_a_copy(env, asking));
}

fn dies_after_it_has_read(env: &Env) {
    dies(env, Point::Read, aborted);
}

fn dies_while_it_answers(env: &Env) {
    dies(env, Point::ReplyCopy, |asking| {
        match asking.has_empty_reply() {
            // The kernel has not seen which request is answered.
            true => aborted(asking),
            false => in_a_copy(env, asking),
        }
    });
}

fn dies_after_it_has_answered(env: &Env) {
    dies(env, Point::Replied, |_| unreachable!());
}

/// How a successor comes to have what the dead daemon had.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// It has the device, and waits for what is put back by itself.
    Waits,
    /// It has the device, and sends the notification.
    Notifies,
    /// It has the device, and somebody writes to the control file.
    ControlFile,
    /// The mount recovers, and it attaches to it.
    Attaches,
}

/// With a successor: whoever waits gets its answer, to what was asked for once.
#[track_caller]
fn succeeded(env: &Env, point: Point, how: How) {
    succeeded_with(env, point, how, ALL);
}

#[track_caller]
fn succeeded_with(env: &Env, point: Point, how: How, all: &[Asking]) {
    let option = match how {
        How::Attaches => "recover",
        _ => "",
    };
    for asking in all.iter().filter(|asking| gets_there(asking, point)) {
        let mut stage = Stage::new(env, asking, option);
        let caller = stage.play(env, asking, point, how != How::Attaches);
        if how == How::Attaches {
            stage.attach(env);
        }
        let channel = stage.channel.as_ref().expect("the device");
        match how {
            How::Waits => assert!(channel.wait_readable(PATIENCE).expect("poll")),
            How::Notifies => by_notification(channel),
            How::ControlFile => {
                std::fs::write(stage.control(env).join("resend"), "1").expect("resend");
            }
            How::Attaches => {}
        }
        let mut model = asking.model();
        // A FORGET that was read has arrived.
        let is_over = match asking.opcode {
            Opcode::Forget => matches!(point, Point::Read | Point::Replied),
            _ => point == Point::Replied,
        };
        if !is_over {
            let again = fs::next(channel);
            assert!(asking.is_made_by(&again), "{asking}: {:?}", again.request());
            let marked = again.unique() & abi::UNIQUE_RESEND != 0;
            let had_it = matches!(point, Point::Read | Point::ReplyCopy);
            assert_eq!(marked, had_it, "{asking}");
            reply(channel, &again, answer(&mut model, &again));
        }
        // It comes once. There is no more, but for what files that were open, what was written back, and
        // inodes that are gone leave to be told.
        let mut has_ended = point == Point::Replied;
        let end = Instant::now() + PATIENCE;
        loop {
            let pause = Duration::from_millis(50);
            if !channel.wait_readable(pause).expect("poll") {
                if has_ended {
                    break;
                }
                if let Some(status) = caller.ended_within(Duration::ZERO) {
                    assert_eq!(status, WaitStatus::Exited(caller.pid(), 0), "{asking}");
                    has_ended = true;
                }
                assert!(Instant::now() < end, "{asking}: its caller waits");
                continue;
            }
            let req = fs::next(channel);
            match req.opcode() {
                _ if asking.is_made_by(&req) => panic!("{asking} comes twice"),
                Opcode::Flush
                | Opcode::Release
                | Opcode::Releasedir
                | Opcode::Setattr
                | Opcode::Fsync
                | Opcode::Forget
                | Opcode::BatchForget => reply(channel, &req, answer(&mut model, &req)),
                _ => panic!("{asking}: {:?}", req.request()),
            }
        }
    }
}

fn by_notification(channel: &Channel) {
    channel.notify(NotifyCode::Resend, &[]).expect("RESEND");
}

fn successor_after_it_did_not_read(env: &Env) {
    succeeded(env, Point::Unread, How::Notifies);
}

fn successor_after_it_had_read(env: &Env) {
    succeeded(env, Point::Read, How::Notifies);
}

fn successor_after_it_had_answered(env: &Env) {
    succeeded(env, Point::Replied, How::Notifies);
}

fn successor_by_the_control_file(env: &Env) {
    if !env.is_rust() {
        skip("C FUSE has no such file");
    }
    succeeded_with(env, Point::Unread, How::ControlFile, &ALL[..3]);
    succeeded(env, Point::Read, How::ControlFile);
}

/// C FUSE ends with EIO what was in a copy.
fn skip_on_c_fuse(env: &Env) {
    if !env.is_rust() {
        skip("C FUSE gives up what was in a copy");
    }
}

fn successor_after_it_died_while_it_read(env: &Env) {
    skip_on_c_fuse(env);
    // It comes back by itself, and was never sent.
    succeeded(env, Point::ReadCopy, How::Waits);
    succeeded_with(env, Point::ReadCopy, How::Notifies, &ALL[..3]);
}

fn successor_after_it_died_while_it_answered(env: &Env) {
    skip_on_c_fuse(env);
    succeeded(env, Point::ReplyCopy, How::Notifies);
}

fn recovers(env: &Env, point: Point) {
    if !env.is_rust() {
        skip("Linux does not have the option");
    }
    succeeded(env, point, How::Attaches);
}

fn recovers_before_it_reads(env: &Env) {
    recovers(env, Point::Unread);
}

fn recovers_while_it_reads(env: &Env) {
    recovers(env, Point::ReadCopy);
}

fn recovers_after_it_has_read(env: &Env) {
    recovers(env, Point::Read);
}

fn recovers_while_it_answers(env: &Env) {
    recovers(env, Point::ReplyCopy);
}

fn recovers_after_it_has_answered(env: &Env) {
    recovers(env, Point::Replied);
}

fn successor_that_waits_gets_what_it_died_reading(env: &Env) {
    skip_on_c_fuse(env);
    let mut stage = Stage::new(env, &ALL[0], "");
    let successor = stage.channel.as_ref().expect("the device").try_clone();
    let successor = successor.expect("dup");
    let caller = stage.play_while(env, &ALL[0], Point::ReadCopy, true, || {
        // Threads may be started now: no more processes are.
        call(move || {
            let mut bytes = vec![0; 256 << 10];
            let len = successor.read(&mut bytes).expect("a request");
            let req = Req::new(&bytes[..len]);
            assert_eq!(req.opcode(), Opcode::Lookup);
            reply(&successor, &req, answer(&mut ALL[0].model(), &req));
        })
    });
    let (caller, successor) = caller;
    successor.result();
    assert_eq!(caller.code(), 0);
}

/// Memory that is not there is the daemon's mistake, and no reason to try again.
fn what_breaks_off_for_another_reason_ends(env: &Env) {
    let mut stage = Stage::new(env, &ALL[0], "");
    let channel = stage.channel.take().expect("the device");
    for reads in [true, false] {
        let dir = stage.dir.clone();
        let caller = call(move || sys::stat(&dir.join("file")).map(drop));
        if reads {
            assert!(channel.wait_readable(PATIENCE).expect("poll"));
            let read = sys::read_to_nowhere(channel.as_fd(), 256 << 10);
            system::assert_errno(read, Errno::EFAULT);
        } else {
            let req = fs::next(&channel);
            let header = OutHeader {
                len: (size_of::<OutHeader>() + 128) as u32,
                error: 0,
                unique: req.unique(),
            };
            let written = sys::writev_into_nowhere(channel.as_fd(), header.as_bytes(), 128);
            system::assert_errno(written, Errno::EFAULT);
        }
        system::assert_errno(caller.result(), Errno::EIO);
        by_notification(&channel);
        assert!(!channel
            .wait_readable(Duration::from_millis(50))
            .expect("poll"));
    }
}
