// SPDX-License-Identifier: GPL-2.0

//! A stage for daemons that die at a certain point of a request's life.

use crate::{
    asking::{answer, Asking},
    caller::{process, Process, PATIENCE},
    env::Env,
    fs::{self, Req},
    loopdev::{self, LoopDevice},
    model::{Answer, Model},
    system,
};
use nix::{
    mount::{umount, umount2, MntFlags},
    sys::{signal::Signal, wait::WaitStatus},
};
use rawfuse::{abi::OutHeader, fault::Hole, Channel, InitConfig, Kind, MountOptions};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    thread,
    time::Duration,
};
use zerocopy::IntoBytes;

/// How far a daemon gets with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
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

/// A mounted file system whose daemon is another process.
pub struct Stage {
    /// The device, where this process has it, too.
    pub channel: Option<Channel>,
    /// Where it is mounted.
    pub dir: PathBuf,
    /// What it is on, if it is on one.
    device: Option<LoopDevice>,
    kind: Kind,
}

impl Stage {
    /// Mounts what that kind of request can be made on, with an option.
    #[track_caller]
    pub fn new(env: &Env, asking: &Asking, option: &str) -> Self {
        let (device, channel, dir) = if asking.on_block_device {
            let (device, fs) = loopdev::mount(env, &format!(",{option}")).expect("mount");
            (Some(device), fs.channel, fs.dir)
        } else {
            let options = MountOptions::new(env.kind).option(option);
            let (channel, mount, dir) = fs::mount(env, &options);
            mount.leave();
            (None, channel, dir)
        };
        let stage = Self {
            channel: Some(channel),
            dir,
            device,
            kind: env.kind,
        };
        let channel = stage.channel.as_ref().expect("the device");
        let config = InitConfig {
            flags: asking.flags,
            ..Default::default()
        };
        fs::settle(channel, &config);
        stage
    }

    /// Its directory in the control file system.
    #[track_caller]
    pub fn control(&self, env: &Env) -> PathBuf {
        fs::control_dir(env, &self.dir)
    }

    /// Opens the device anew, for the mount, which recovers.
    #[track_caller]
    pub fn attach(&mut self, env: &Env) {
        let control = self.control(env);
        let number = control
            .file_name()
            .and_then(|name| name.to_str()?.parse().ok());
        let channel = Channel::open(&self.kind).expect("the device");
        channel.attach(number.expect("a number")).expect("attached");
        self.channel = Some(channel);
    }

    /// Unmounts as `umount` does. On a block device, the daemon would be told.
    #[track_caller]
    pub fn unmount(&self) {
        umount(&self.dir).expect("umount");
    }

    /// Starts a daemon that gets as far as `point` with a request of that kind, and who makes it;
    /// and kills the daemon when it is there. Unless `shared`, it alone has the device.
    #[track_caller]
    pub fn play(&mut self, env: &Env, asking: &Asking, point: Point, shared: bool) -> Process {
        self.play_while(env, asking, point, shared, || ()).0
    }

    /// The same, and does something between that point and the kill.
    #[track_caller]
    pub fn play_while<T>(
        &mut self,
        env: &Env,
        asking: &Asking,
        point: Point,
        shared: bool,
        meanwhile: impl FnOnce() -> T,
    ) -> (Process, T) {
        // Who does not look at a request has to know which one it is.
        let before = match point {
            Point::Unread | Point::ReadCopy => before(env, asking),
            _ => 0,
        };
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
            panic!("the daemon does not get as far as {point:?} with {asking}: {error}");
        }
        if point == Point::Replied {
            // What has been answered is the caller's.
            assert_eq!(caller.code(), 0, "{asking}");
        }
        let done = meanwhile();
        daemon.signal(Signal::SIGKILL);
        daemon.ended_within(PATIENCE).expect("the daemon's end");
        (caller, done)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Most often it is unmounted. What it is on is needed until then.
        let _ = umount2(&self.dir, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH);
        drop(self.device.take());
    }
}

/// Tells that the point has come.
fn here(tell: &mut UnixStream) {
    tell.write_all(&[1]).expect("the test listens");
}

/// How many requests come before that of the kind.
#[track_caller]
fn before(env: &Env, asking: &Asking) -> usize {
    let stage = Stage::new(env, asking, "");
    let channel = stage.channel.as_ref().expect("the device");
    let caller = process(|| system::errno((asking.call)(&stage.dir)));
    let mut model = asking.model();
    let (mut number, mut found) = (0, None);
    loop {
        if found.is_some() {
            // It may have to wait for more than this.
            if let Some(status) = caller.ended_within(Duration::ZERO) {
                assert_eq!(status, WaitStatus::Exited(caller.pid(), 0), "{asking}");
                return found.unwrap_or_default();
            }
            if !channel
                .wait_readable(Duration::from_millis(2))
                .expect("poll")
            {
                continue;
            }
        }
        let req = fs::next(channel);
        let answer = answer(&mut model, &req);
        reply(channel, &req, answer);
        if asking.is_made_by(&req) {
            found.get_or_insert(number);
        }
        number += 1;
    }
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
        answer_next(channel, &mut model);
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
            first(channel, asking, &mut model);
            here(tell);
        }
        Point::ReplyCopy => {
            let req = first(channel, asking, &mut model);
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
            let req = first(channel, asking, &mut model);
            let answer = answer(&mut model, &req);
            reply(channel, &req, answer);
            here(tell);
            // Its caller may want more.
            loop {
                answer_next(channel, &mut model);
            }
        }
    }
}

/// The first request of the kind; those before it are answered.
fn first(channel: &Channel, asking: &Asking, model: &mut Model) -> Req {
    loop {
        let req = fs::next(channel);
        if asking.is_made_by(&req) {
            return req;
        }
        let answer = answer(model, &req);
        reply(channel, &req, answer);
    }
}

fn answer_next(channel: &Channel, model: &mut Model) {
    let req = fs::next(channel);
    let answer = answer(model, &req);
    reply(channel, &req, answer);
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

/// Sends what a daemon answers.
pub fn reply(channel: &Channel, req: &Req, answer: Answer) {
    let sent = match answer {
        Answer::Bytes(bytes) => channel.reply_bytes(req.unique(), &[&bytes]),
        Answer::Error(error) => channel.reply_error(req.unique(), error),
        Answer::Nothing => Ok(()),
    };
    if let Err(error) = sent {
        panic!("the reply to {:?}: {error}", req.request());
    }
}
