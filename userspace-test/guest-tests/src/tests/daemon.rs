// SPDX-License-Identifier: GPL-2.0

//! A daemon that dies: at each point of a request's life, for each kind of request.

use crate::{
    asking::{answer, Asking, ALL},
    caller::{call, process, Process, PATIENCE},
    env::{slowness, Env},
    fs::{self, Req},
    model::Answer,
    sys, system,
    tests::tests,
};
use nix::sys::{signal::Signal, wait::WaitStatus};
use rawfuse::{
    abi::{NotifyCode, Opcode, OutHeader},
    answer_init,
    fault::Hole,
    Channel, Errno, InitConfig, Mount, MountOptions,
};
use std::{
    io::{Read, Write},
    os::{fd::AsFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    thread,
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
    what_breaks_off_for_another_reason_ends,
];

/// How far a daemon gets with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Point {
    /// It is there to be read.
    Unread,
    /// It is being copied to the daemon.
    ReadCopy,
    /// The daemon has it.
    Read,
    /// The reply is being copied.
    ReplyCopy,
    /// The reply has been sent.
    Replied,
}

/// How long callers may take to come back: a second, and one more, for a machine that is emulated
/// on one that is busy.
const SOON: Duration = Duration::from_secs(2);

/// A mounted file system whose daemon is another process.
struct Stage {
    channel: Option<Channel>,
    mount: Mount,
    dir: PathBuf,
}

impl Stage {
    #[track_caller]
    fn new(env: &Env) -> Self {
        let (channel, mount, dir) = fs::mount(env, &MountOptions::new(env.kind));
        let init = fs::next(&channel);
        answer_init(&channel, &init.request(), &InitConfig::default()).expect("INIT");
        Self {
            channel: Some(channel),
            mount,
            dir,
        }
    }

    /// Starts a daemon that gets as far as `point` with a request of that kind, and who makes it;
    /// and kills the daemon when it is there. Unless `shared`, it alone has the device.
    #[track_caller]
    fn play(&mut self, asking: &Asking, before: usize, point: Point, shared: bool) -> Process {
        self.play_while(asking, before, point, shared, || ()).0
    }

    /// The same, and does something between that point and the kill.
    #[track_caller]
    fn play_while<T>(
        &mut self,
        asking: &Asking,
        before: usize,
        point: Point,
        shared: bool,
        meanwhile: impl FnOnce() -> T,
    ) -> (Process, T) {
        let (mut ready, mut tell) = UnixStream::pair().expect("a pair of sockets");
        let channel = self.channel.take().expect("the device");
        let daemon = process(|| {
            get_as_far_as(&channel, asking, before, point, &mut tell);
            thread::sleep(Duration::from_secs(60));
            0
        });
        drop(tell);
        self.channel = shared.then_some(channel);
        let caller = process(|| {
            // It is no daemon.
            drop(self.channel.take());
            system::errno((asking.call)(&self.dir))
        });
        ready.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        if let Err(error) = ready.read_exact(&mut [0]) {
            panic!(
                "the daemon does not get as far as {point:?} with {}: {error}",
                asking.opcode.name()
            );
        }
        if point == Point::Replied {
            // What has been answered is the caller's.
            assert_eq!(caller.code(), 0, "{}", asking.opcode.name());
        }
        let done = meanwhile();
        daemon.signal(Signal::SIGKILL);
        daemon.ended_within(PATIENCE).expect("the daemon's end");
        (caller, done)
    }
}

/// Tells that the point has come.
fn here(tell: &mut UnixStream) {
    tell.write_all(&[1]).expect("the test listens");
}

/// How many requests come before that of the kind.
#[track_caller]
fn before(env: &Env, asking: &Asking) -> usize {
    let stage = Stage::new(env);
    let channel = stage.channel.as_ref().expect("the device");
    let caller = process(|| system::errno((asking.call)(&stage.dir)));
    let mut model = asking.model();
    for number in 0.. {
        let req = fs::next(channel);
        let answer = answer(&mut model, &req);
        reply(channel, &req, answer);
        if req.opcode() == asking.opcode {
            assert_eq!(caller.code(), 0, "{}", asking.opcode.name());
            return number;
        }
    }
    unreachable!()
}

fn get_as_far_as(
    channel: &Channel,
    asking: &Asking,
    before: usize,
    point: Point,
    tell: &mut UnixStream,
) {
    let mut model = asking.model();
    for _ in 0..before {
        let req = fs::next(channel);
        let answer = answer(&mut model, &req);
        reply(channel, &req, answer);
    }
    match point {
        Point::Unread => {
            assert!(channel.wait_readable(PATIENCE).expect("poll"));
            here(tell);
        }
        Point::ReadCopy => {
            let hole = watched(tell, 256 << 10);
            // It comes back when this process is killed only.
            let _ = hole.read(channel);
        }
        Point::Read => {
            let req = fs::next(channel);
            assert_eq!(req.opcode(), asking.opcode);
            here(tell);
        }
        Point::ReplyCopy => {
            let req = fs::next(channel);
            assert_eq!(req.opcode(), asking.opcode);
            let Answer::Bytes(bytes) = answer(&mut model, &req) else {
                panic!("the model refuses {:?}", req.request());
            };
            let header = OutHeader {
                len: (size_of::<OutHeader>() + bytes.len()) as u32,
                error: 0,
                unique: req.unique(),
            };
            let hole = watched(tell, 256 << 10);
            // What has no data is held in its header.
            let _ = match bytes.len() {
                0 => hole.write(channel, &[], size_of::<OutHeader>()),
                len => hole.write(channel, header.as_bytes(), len),
            };
        }
        Point::Replied => {
            let req = fs::next(channel);
            let answer = answer(&mut model, &req);
            reply(channel, &req, answer);
            here(tell);
        }
    }
}

/// A hole that says when it is touched.
fn watched(tell: &UnixStream, len: usize) -> Hole {
    let hole = Hole::new(len).expect("userfaultfd");
    let watch = hole.watch().expect("dup");
    let mut tell = tell.try_clone().expect("dup");
    thread::spawn(move || {
        watch.wait().expect("poll");
        here(&mut tell);
    });
    hole
}

fn reply(channel: &Channel, req: &Req, answer: Answer) {
    let sent = match answer {
        Answer::Bytes(bytes) => channel.reply_bytes(req.unique(), &[&bytes]),
        Answer::Error(error) => channel.reply_error(req.unique(), error),
        Answer::Nothing => Ok(()),
    };
    sent.expect("the reply");
}

/// Without a successor: whoever waits gets an error soon, and then it can be unmounted.
#[track_caller]
fn dies(env: &Env, point: Point, expected: impl Fn(&Asking) -> Errno) {
    for asking in ALL {
        let before = before(env, asking);
        let mut stage = Stage::new(env);
        let name = asking.opcode.name();
        let caller = stage.play(asking, before, point, false);
        let killed = Instant::now();
        if point != Point::Replied {
            match caller.ended_within(SOON * slowness()) {
                Some(WaitStatus::Exited(_, code)) => {
                    assert_eq!(Errno::from_raw(code), expected(asking), "{name}");
                }
                other => panic!("{name}: {other:?}, {:?} later", killed.elapsed()),
            }
        }
        let after = sys::stat(&stage.dir).map(drop);
        match asking.opcode {
            // Attributes that were answered are cached.
            Opcode::Getattr if point == Point::Replied => after.expect(name),
            _ => system::assert_errno(after, Errno::ENOTCONN),
        }
        stage
            .mount
            .unmount()
            .map_err(|(_, error)| error)
            .expect("umount");
    }
}

/// The error of a request that was aborted. The page cache has one error for all.
fn aborted(asking: &Asking) -> Errno {
    match asking.opcode {
        Opcode::Read => Errno::EIO,
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

/// With a successor that has the device and calls `resend`: whoever waits gets its answer.
#[track_caller]
fn succeeded(env: &Env, point: Point, resend: impl Fn(&Channel, &Path)) {
    for asking in ALL {
        let before = before(env, asking);
        let mut stage = Stage::new(env);
        let name = asking.opcode.name();
        let caller = stage.play(asking, before, point, true);
        let channel = stage.channel.as_ref().expect("the device");
        resend(channel, &stage.dir);
        if point != Point::Replied {
            let again = fs::next(channel);
            assert_eq!(again.opcode(), asking.opcode);
            let marked = again.unique() & rawfuse::abi::UNIQUE_RESEND != 0;
            let had_it = matches!(point, Point::Read | Point::ReplyCopy);
            assert_eq!(marked, had_it, "{name}");
            reply(channel, &again, answer(&mut asking.model(), &again));
            assert_eq!(caller.code(), 0, "{name}");
        }
        // There is no more than one of each, but for what files that were open and inodes that are gone leave
        // to be told.
        while channel
            .wait_readable(Duration::from_millis(50))
            .expect("poll")
        {
            let req = fs::next(channel);
            match req.opcode() {
                Opcode::Flush | Opcode::Release | Opcode::Releasedir => {
                    reply(channel, &req, Answer::Bytes(Vec::new()));
                }
                Opcode::Forget | Opcode::BatchForget => {}
                _ => panic!("{name}: {:?}", req.request()),
            }
        }
    }
}

fn by_notification(channel: &Channel) {
    channel.notify(NotifyCode::Resend, &[]).expect("RESEND");
}

fn successor_after_it_did_not_read(env: &Env) {
    succeeded(env, Point::Unread, |channel, _| by_notification(channel));
}

fn successor_after_it_had_read(env: &Env) {
    succeeded(env, Point::Read, |channel, _| by_notification(channel));
}

fn successor_after_it_had_answered(env: &Env) {
    succeeded(env, Point::Replied, |channel, _| by_notification(channel));
}

fn successor_by_the_control_file(env: &Env) {
    if !env.is_rust() {
        crate::runner::skip("C FUSE has no such file");
    }
    for point in [Point::Unread, Point::Read] {
        succeeded(env, point, |_, dir| {
            std::fs::write(fs::control_dir(env, dir).join("resend"), "1").expect("resend");
        });
    }
}

/// C FUSE ends with EIO what was in a copy.
fn skip_on_c_fuse(env: &Env) {
    if !env.is_rust() {
        crate::runner::skip("C FUSE gives up what was in a copy");
    }
}

fn successor_after_it_died_while_it_read(env: &Env) {
    skip_on_c_fuse(env);
    // It comes back by itself, and was never sent.
    succeeded(env, Point::ReadCopy, |channel, _| {
        assert!(channel.wait_readable(PATIENCE).expect("poll"));
    });
    succeeded(env, Point::ReadCopy, |channel, _| by_notification(channel));
}

fn successor_after_it_died_while_it_answered(env: &Env) {
    skip_on_c_fuse(env);
    succeeded(env, Point::ReplyCopy, |channel, _| by_notification(channel));
}

fn successor_that_waits_gets_what_it_died_reading(env: &Env) {
    skip_on_c_fuse(env);
    let mut stage = Stage::new(env);
    let successor = stage.channel.as_ref().expect("the device").try_clone();
    let successor = successor.expect("dup");
    let caller = stage.play_while(&ALL[0], 0, Point::ReadCopy, true, || {
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
    let mut stage = Stage::new(env);
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
