// SPDX-License-Identifier: GPL-2.0

//! The daemon: reads requests, and does about them what the input says.

use crate::{
    honest::Honest,
    input::{Deed, How, Input, Step, When},
    message::{answer, message, notification},
    pool::Process,
    sys,
    watch::Watch,
};
use nix::{
    fcntl::{fcntl, FcntlArg, OFlag},
    mount::{mount, umount2, MntFlags, MsFlags},
    poll::{poll, PollFd, PollFlags, PollTimeout},
    sys::signal::Signal,
};
use rawfuse::{abi, Buffer, Channel, Errno, Request};
use rustix::pipe::{pipe_with, splice, PipeFlags, SpliceFlags};
use std::{
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long a daemon waits for the next request before it is idle, in milliseconds.
pub const TICK: u8 = 10;
/// The most requests that are answered.
const MOST_REQUESTS: usize = 400;
/// How many buffers a pipe has for a request that is spliced.
const SLOTS: usize = 64;
/// How many ticks without a request mean that none will come.
const IDLE: u32 = 2;

/// An answer that is kept back.
struct Late {
    /// When so many requests have come; `usize::MAX` for the end.
    at: usize,
    message: Vec<u8>,
    how: How,
}

/// What became of an attempt to read.
enum Next {
    Request(usize),
    Nothing,
    Gone,
}

/// Serves one mount.
pub struct Server<'a> {
    input: &'a Input,
    watch: &'a Watch,
    buffer: &'a mut Buffer,
    channel: Channel,
    clone: Option<Channel>,
    honest: Honest,
    /// The steps that have been taken.
    taken: Vec<bool>,
    late: Vec<Late>,
    dir: PathBuf,
    /// In the control file system.
    control: Option<PathBuf>,
    /// Who makes calls.
    pub callers: &'a mut [Process],
    /// What was asked for.
    pub opcodes: Vec<u32>,
    /// The honest answers that were given, if they are wanted.
    pub record: Option<Vec<(u32, Vec<u8>)>>,
    /// The file system is gone.
    pub gone: bool,
}

impl<'a> Server<'a> {
    /// One for what is to be mounted on `dir` with `channel`.
    pub fn new(
        input: &'a Input,
        watch: &'a Watch,
        buffer: &'a mut Buffer,
        channel: Channel,
        honest: Honest,
        dir: &Path,
        callers: &'a mut [Process],
    ) -> Self {
        Self {
            input,
            watch,
            buffer,
            channel,
            clone: None,
            honest,
            taken: vec![false; input.steps.len()],
            late: Vec::new(),
            dir: dir.into(),
            control: None,
            callers,
            opcodes: Vec::new(),
            record: None,
            gone: false,
        }
    }

    /// It is mounted: finds the way to steer it. The connection's directory.
    pub fn mounted(&mut self) -> Option<PathBuf> {
        let info = format!("/proc/self/fdinfo/{}", self.channel.number());
        let info = fs::read_to_string(info).ok()?;
        let number = info
            .lines()
            .find_map(|line| line.strip_prefix("fuse_connection:"))?;
        let dir = Path::new("/sys/fs/fuse/connections").join(number.trim());
        self.watch.guard(File::create(dir.join("abort")).ok());
        self.control = Some(dir);
        if self.input.setup.clone {
            self.deed(&Deed::Clone);
        }
        self.control.clone()
    }

    /// The daemon's descriptors, for those who are not to have them.
    pub fn close(self) {
        self.watch.guard(None);
    }

    /// Serves until `done`, or until nothing comes any more, or for that long at most.
    pub fn serve(&mut self, most: Duration, mut done: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + most;
        let mut idle = 0;
        while self.opcodes.len() < MOST_REQUESTS && Instant::now() < end {
            self.watch.beat();
            match self.next() {
                Next::Request(len) => {
                    idle = 0;
                    self.request(len);
                    continue;
                }
                Next::Gone => {
                    self.gone = true;
                    return;
                }
                Next::Nothing => {}
            }
            if done(self) {
                return;
            }
            idle += 1;
            if idle > IDLE && !self.callers.iter().any(Process::runs) {
                if self.late.is_empty() {
                    return;
                }
                self.send_late(usize::MAX);
                idle = 0;
            }
        }
    }

    /// Sends all that was kept back.
    pub fn send_all(&mut self) {
        self.send_late(usize::MAX);
    }

    /// Reads a request. While there is none, waits for a moment, or for a caller's end.
    fn next(&mut self) -> Next {
        let from_clone = self.opcodes.len() % 2 == 1;
        let (first, second) = match (&self.clone, from_clone) {
            (Some(clone), true) => (clone, Some(&self.channel)),
            (clone, _) => (&self.channel, clone.as_ref()),
        };
        for channel in [Some(first), second].into_iter().flatten() {
            let read = match self.input.setup.splice {
                true => read_by_splice(channel, self.buffer, SLOTS),
                false => {
                    let all = self.buffer.bytes_mut();
                    let len = match self.input.setup.read {
                        0 => all.len(),
                        len => all.len().min(len as usize),
                    };
                    channel.read(&mut all[..len])
                }
            };
            match read.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))) {
                Ok(len) => return Next::Request(len),
                Err(Errno::ENODEV | Errno::ECONNABORTED) => return Next::Gone,
                // The alarm: it has slept.
                Err(Errno::EINTR) => return Next::Nothing,
                Err(_) => {}
            }
        }
        let mut fds = vec![PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        let done = self.callers.iter().map(Process::done);
        fds.extend(done.map(|done| PollFd::new(done, PollFlags::POLLIN)));
        // An interruption is as good as a time-out.
        let _ = poll(&mut fds, PollTimeout::from(TICK));
        Next::Nothing
    }

    fn request(&mut self, len: usize) {
        let Ok(request) = Request::new(&self.buffer.bytes()[..len]) else {
            return;
        };
        let (unique, opcode) = (request.unique(), request.header().opcode);
        let needs_answer = request.has_reply() && request.opcode() != Some(abi::Opcode::Interrupt);
        let honest = self.honest.answer(&request);
        if let (Some(record), Ok(bytes)) = (&mut self.record, &honest) {
            record.push((opcode, bytes.clone()));
        }
        self.opcodes.push(opcode);
        let fits = |step: &Step| step.on.is_none_or(|on| on.0 == opcode);
        let mut steps = self.input.steps.iter().zip(&mut self.taken);
        let usual = Step::default();
        let step = match steps.find(|(step, taken)| !**taken && fits(step)) {
            Some((step, taken)) => {
                *taken = true;
                step
            }
            None => &usual,
        };
        for deed in &step.before {
            self.deed(deed);
        }
        // What needs no answer gets one only if a step says so.
        let silent = !needs_answer && step.on.is_none();
        if let (Some(message), false) = (answer(unique, &step.answer, honest, &step.edits), silent)
        {
            let at = match step.when {
                When::Now => 0,
                When::After(count) => self.opcodes.len().saturating_add(count as usize),
                When::End => usize::MAX,
            };
            match at {
                0 => {
                    self.send(&message, &step.how);
                    if step.twice {
                        self.send(&message, &step.how);
                    }
                }
                _ => self.late.push(Late {
                    at,
                    message,
                    how: step.how.clone(),
                }),
            }
        }
        for deed in &step.after {
            self.deed(deed);
        }
        self.send_late(self.opcodes.len());
    }

    fn send_late(&mut self, now: usize) {
        let (due, later) = self.late.drain(..).partition(|late| late.at <= now);
        self.late = later;
        let due: Vec<Late> = due;
        for late in due {
            self.send(&late.message, &late.how);
        }
    }

    /// Sends a message; what the kernel says to it does not matter.
    fn send(&self, message: &[u8], how: &How) {
        self.watch.beat();
        let _ = match how {
            How::Write => self.channel.write(&[message]).map(drop),
            How::Parts(first) => {
                let (first, rest) = message.split_at((*first as usize).min(message.len()));
                self.channel.write(&[first, rest]).map(drop)
            }
            How::Splice(pieces) => self.send_by_splice(message, pieces, 0),
            How::SpliceOdd(more) => self.send_by_splice(message, &[], *more),
            How::Clone => {
                let channel = self.clone.as_ref().unwrap_or(&self.channel);
                channel.write(&[message]).map(drop)
            }
            How::Absent(missing) => sys::write_untouched(&self.channel, message, *missing as usize),
        };
    }

    fn send_by_splice(&self, message: &[u8], pieces: &[u32], more: i32) -> io::Result<()> {
        // Each write gives a buffer of its own.
        let flags = PipeFlags::NONBLOCK | PipeFlags::CLOEXEC | PipeFlags::DIRECT;
        let (read, write) = pipe_with(flags)?;
        let mut rest = message;
        for piece in pieces {
            let (piece, after) = rest.split_at((*piece as usize).min(rest.len()));
            if !piece.is_empty() {
                rustix::io::write(&write, piece)?;
            }
            rest = after;
        }
        if !rest.is_empty() {
            rustix::io::write(&write, rest)?;
        }
        let len = message.len().saturating_add_signed(more as isize);
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        splice(read, None, self.channel.as_fd(), None, len, flags)?;
        Ok(())
    }

    fn control(&self, file: &str, text: &str) {
        if let Some(dir) = &self.control {
            let _ = fs::write(dir.join(file), text);
        }
    }

    fn deed(&mut self, deed: &Deed) {
        self.watch.beat();
        match deed {
            Deed::Notify(notify) => self.send(&notification(notify), &notify.how),
            Deed::Invent {
                unique,
                error,
                bytes,
            } => self.send(&message(*unique, *error, &bytes.0), &How::Write),
            Deed::Raw(bytes) => self.send(&bytes.0, &How::Write),
            Deed::Abort => self.control("abort", "1"),
            Deed::Flush => self.control("flush", "1"),
            Deed::Resend => self.control("resend", "1"),
            Deed::MaxBackground(number) => self.control("max_background", &number.to_string()),
            Deed::Congestion(number) => {
                self.control("congestion_threshold", &number.to_string());
            }
            Deed::Look => {
                for file in ["queues", "latency", "waiting", "max_background"] {
                    let dir = self.control.as_deref().unwrap_or(Path::new(""));
                    let _ = fs::read(dir.join(file));
                }
            }
            Deed::Clone => self.clone = self.cloned().ok(),
            Deed::CloseClone => self.clone = None,
            Deed::Read(len) => {
                let mut memory = vec![0; (*len as usize).min(256 << 10)];
                let _ = self.channel.read(&mut memory);
            }
            Deed::SpliceRead(slots) => {
                let _ = read_by_splice(&self.channel, self.buffer, *slots as usize);
            }
            Deed::Signal(number) => {
                if let Some(caller) = self.callers.get_mut(usize::from(*number)) {
                    caller.signal(Signal::SIGSTOP);
                    thread::sleep(Duration::from_millis(1));
                    caller.signal(Signal::SIGCONT);
                }
            }
            Deed::Kill(number) => {
                if let Some(caller) = self.callers.get_mut(usize::from(*number)) {
                    caller.signal(Signal::SIGKILL);
                }
            }
            Deed::ForceUnmount => {
                let _ = umount2(&self.dir, MntFlags::MNT_FORCE);
            }
            Deed::Remount(options) => {
                let nothing: Option<&str> = None;
                let (flags, options) = (MsFlags::MS_REMOUNT, Some(options.as_str()));
                let _ = mount(nothing, &self.dir, nothing, flags, options);
            }
            Deed::Sleep(milliseconds) => {
                thread::sleep(Duration::from_millis((*milliseconds).min(50).into()));
            }
        }
    }

    /// Another device for the same connection.
    fn cloned(&self) -> io::Result<Channel> {
        let channel = Channel::open(&rawfuse::Kind::FUSE)?;
        dont_block(&channel)?;
        channel.clone_of(&self.channel)?;
        Ok(channel)
    }
}

/// Reading and splicing comes back at once.
pub fn dont_block(channel: &Channel) -> io::Result<()> {
    fcntl(
        channel,
        FcntlArg::F_SETFL(OFlag::O_NONBLOCK | OFlag::O_RDWR),
    )?;
    Ok(())
}

/// A request by way of a pipe with room for so many buffers.
fn read_by_splice(channel: &Channel, buffer: &mut Buffer, slots: usize) -> io::Result<usize> {
    let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
    rustix::pipe::fcntl_setpipe_size(&write, slots.clamp(1, 64) << 12)?;
    let memory = buffer.bytes_mut();
    let len = memory.len();
    let mut got = splice(
        channel.as_fd(),
        None,
        write,
        None,
        len,
        SpliceFlags::empty(),
    )?;
    let spliced = got;
    while got > 0 {
        got -= rustix::io::read(&read, &mut memory[spliced - got..])?.min(got);
    }
    Ok(spliced)
}
