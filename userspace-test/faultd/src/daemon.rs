// SPDX-License-Identifier: GPL-2.0

//! Answering requests, right or as the script has it.

use crate::{
    script::{Action, Moment, Script, Step},
    tree::Tree,
    waits::{Interrupts, Pile, Place},
};
use nix::{
    sys::signal::{kill, Signal},
    unistd::Pid,
};
use rawfuse::{
    abi::{Opcode, OutHeader},
    fault::Hole,
    settle, Buffer, Channel, Errno, InitConfig, Operation, Request,
};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};
use zerocopy::IntoBytes;

/// What rubbish is made of: as a mode, that of a symbolic link; as a number, an absurd one.
const RUBBISH: u8 = 0xa5;

/// What is served: it knows the right answers.
pub trait Files: Send + Sync {
    /// Does what a request asks for, and gives what belongs into its answer, behind the header. There is
    /// no `INIT` and no `INTERRUPT` among them.
    ///
    /// # Errors
    ///
    /// What belongs into its answer, too.
    fn answer(&self, request: &Request<'_>) -> Result<Vec<u8>, Errno>;
}

impl Files for Mutex<Tree> {
    fn answer(&self, request: &Request<'_>) -> Result<Vec<u8>, Errno> {
        let tree = self.lock();
        tree.unwrap_or_else(PoisonError::into_inner).answer(request)
    }
}

/// Who serves.
pub struct Daemon {
    channel: Channel,
    script: Script,
    files: Arc<dyn Files>,
    config: InitConfig,
    /// Say what happens.
    verbose: bool,
    interrupts: Interrupts,
    /// One for each rule.
    piles: Vec<Pile>,
}

/// A request that is being served.
struct Job {
    /// It, as it was read.
    buffer: Buffer,
    len: usize,
    /// The rule for it.
    rule: Option<usize>,
    /// It has a thread of its own.
    detached: bool,
    place: Option<Place>,
    /// The right answer. What is asked for is done when it is needed first.
    right: Option<Result<Vec<u8>, Errno>>,
}

impl Job {
    fn request(&self) -> Request<'_> {
        Request::new(&self.buffer.bytes()[..self.len]).expect("it held together before")
    }
}

impl Action {
    /// Whether the request needs no answer after that.
    fn settles(&self) -> bool {
        match self {
            Action::Delay(_) | Action::Stall(_) | Action::Reorder(..) | Action::Notify(_) => false,
            Action::Answer
            | Action::Twice
            | Action::Error(_)
            | Action::Garbage(_)
            | Action::Bytes(_)
            | Action::Short(_)
            | Action::Crash(_)
            | Action::Drop => true,
        }
    }
}

impl Daemon {
    /// A daemon for what is mounted with `channel`.
    pub fn new(
        channel: Channel,
        script: Script,
        files: Arc<dyn Files>,
        config: InitConfig,
        verbose: bool,
    ) -> Self {
        let piles = script.rules().iter().map(|_| Pile::default()).collect();
        Self {
            channel,
            script,
            files,
            config,
            verbose,
            interrupts: Interrupts::default(),
            piles,
        }
    }

    /// Serves until the file system is gone.
    ///
    /// # Errors
    ///
    /// What reading requests gives, other than that.
    pub fn serve(self: &Arc<Self>) -> io::Result<()> {
        let mut buffer = Buffer::for_max_write(self.config.max_write as usize);
        loop {
            match self.channel.receive(&mut buffer) {
                Ok(Some(request)) => self.begin(&request),
                Ok(None) => return Ok(()),
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn begin(self: &Arc<Self>, request: &Request<'_>) {
        let len = request.header().len as usize;
        let mut buffer = Buffer::new(len);
        let (header, body) = buffer.bytes_mut()[..len].split_at_mut(size_of_val(request.header()));
        header.copy_from_slice(request.header().as_bytes());
        body.copy_from_slice(request.body());
        let job = Job {
            buffer,
            len,
            rule: self.script.rule(request),
            detached: false,
            place: None,
            right: None,
        };
        self.go_on(job, 0);
    }

    /// Does what is to be done with a request, from one of the steps on.
    fn go_on(self: &Arc<Self>, mut job: Job, first: usize) {
        let steps = match job.rule {
            Some(rule) => &self.script.rules()[rule].steps[..],
            None => &[],
        };
        for (number, step) in steps.iter().enumerate().skip(first) {
            if !job.detached && matches!(step.action, Action::Delay(_) | Action::Reorder(..)) {
                job.detached = true;
                self.join(&mut job, &step.action);
                let daemon = self.clone();
                thread::spawn(move || daemon.go_on(job, number));
                return;
            }
            if self.step(&mut job, step).is_break() {
                break;
            }
        }
        if !steps.iter().any(|step| step.action.settles()) {
            self.answer(&mut job, "answer");
        }
        self.interrupts.remove(job.request().unique());
        if let (Some(rule), Some(place)) = (job.rule, job.place) {
            self.piles[rule].leave(place);
        }
    }

    /// What is to be reordered goes onto the pile of its rule, once, in the order of reading.
    fn join(&self, job: &mut Job, action: &Action) {
        if let (Action::Reorder(count, _), Some(rule), None) = (action, job.rule, &job.place) {
            job.place = Some(self.piles[rule].join(*count));
        }
    }

    /// One step; breaks when it was the last one.
    fn step(&self, job: &mut Job, step: &Step) -> std::ops::ControlFlow<()> {
        let text = &step.text[..];
        let unique = job.request().unique();
        match &step.action {
            Action::Delay(pause) => {
                self.say(job, text, "begins");
                if self.interrupts.wait(unique, *pause) {
                    self.send(job, "interrupted", -(Errno::EINTR as i32), &[]);
                    return std::ops::ControlFlow::Break(());
                }
            }
            Action::Stall(pause) => {
                self.say(job, text, "begins");
                match pause {
                    Some(pause) => thread::sleep(*pause),
                    None => loop {
                        thread::park();
                    },
                }
            }
            Action::Reorder(_, limit) => {
                self.say(job, text, "begins");
                self.join(job, &step.action);
                if let (Some(rule), Some(place)) = (job.rule, &job.place) {
                    self.piles[rule].wait(place, *limit);
                }
            }
            Action::Answer => self.answer(job, text),
            Action::Twice => {
                self.answer(job, text);
                self.answer(job, text);
            }
            Action::Error(error) => self.send(job, text, *error, &[]),
            Action::Garbage(size) => {
                let size = size.unwrap_or_else(|| self.right(job).map_or(0, |right| right.len()));
                self.send(job, text, 0, &vec![RUBBISH; size]);
            }
            Action::Bytes(bytes) => self.send(job, text, 0, bytes),
            Action::Short(less) => match self.right(job) {
                Ok(right) => {
                    let len = right.len().saturating_sub(*less);
                    self.send(job, text, 0, &right[..len]);
                }
                Err(error) => self.send(job, text, -(error as i32), &[]),
            },
            Action::Crash(moment) => {
                self.say(job, text, "now");
                match moment {
                    Moment::Before => {}
                    Moment::In => self.answer_for_ever(job),
                    Moment::After => self.answer(job, text),
                }
                die();
            }
            Action::Drop => self.say(job, text, "ok"),
            Action::Notify(notification) => {
                let sent = self.write(0, notification.code, &notification.body);
                self.say(job, text, &outcome(&sent));
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    /// Does what is asked for, if that was not done before, and gives the right answer.
    fn right(&self, job: &mut Job) -> Result<Vec<u8>, Errno> {
        if let Some(right) = &job.right {
            return right.clone();
        }
        let request = job.request();
        let right = match request.operation() {
            Ok(Operation::Init(offer)) => settle(offer, &self.config)
                .map(|session| session.answer.as_bytes().to_vec())
                .map_err(|_| Errno::EPROTO),
            Ok(Operation::Interrupt(arg)) => {
                self.interrupts.add(arg.unique);
                Ok(Vec::new())
            }
            _ => self.files.answer(&request),
        };
        job.right = Some(right.clone());
        right
    }

    /// Answers as one should: an interrupt, and what has no answer, by doing it.
    fn answer(&self, job: &mut Job, text: &str) {
        let right = self.right(job);
        let request = job.request();
        if !request.has_reply() || request.opcode() == Some(Opcode::Interrupt) {
            self.say(job, text, "done");
            return;
        }
        match right {
            Ok(right) => self.send(job, text, 0, &right),
            Err(error) => self.send(job, text, -(error as i32), &[]),
        }
    }

    /// Answers out of memory that is not there: it does not come back, and the kernel is in the middle
    /// of the copy when this does.
    fn answer_for_ever(&self, job: &mut Job) {
        let right = self.right(job);
        let unique = job.request().unique();
        let (error, len) = match right {
            Ok(right) => (0, right.len()),
            Err(error) => (-(error as i32), 0),
        };
        let header = header(unique, error, len);
        let waits = || {
            let hole = Hole::new((len + 16).next_multiple_of(4096))?;
            let watch = hole.watch()?;
            let channel = self.channel.try_clone()?;
            thread::spawn(move || match len {
                // Then not even the header is there.
                0 => hole.write(&channel, &[], 16),
                _ => hole.write(&channel, header.as_bytes(), len),
            });
            watch.wait()
        };
        if let Err(error) = waits() {
            eprintln!("faultd: cannot crash in an answer: {error} (it takes userfaultfd(2), and privileges)");
        }
    }

    fn send(&self, job: &Job, text: &str, error: i32, body: &[u8]) {
        let sent = self.write(job.request().unique(), error, body);
        self.say(job, text, &outcome(&sent));
    }

    fn write(&self, unique: u64, error: i32, body: &[u8]) -> io::Result<usize> {
        let header = header(unique, error, body.len());
        self.channel.write(&[header.as_bytes(), body])
    }

    fn say(&self, job: &Job, text: &str, outcome: &str) {
        if self.verbose {
            eprintln!("{:?}: {text}: {outcome}", job.request());
        }
    }
}

fn header(unique: u64, error: i32, len: usize) -> OutHeader {
    OutHeader {
        len: (size_of::<OutHeader>() + len) as u32,
        error,
        unique,
    }
}

/// What the kernel made of something.
fn outcome(sent: &io::Result<usize>) -> String {
    match sent {
        Ok(_) => "ok".into(),
        Err(error) => match error.raw_os_error() {
            Some(errno) => format!("refused, {:?}", Errno::from_raw(errno)),
            None => error.to_string(),
        },
    }
}

/// Ends this process as nobody can help: nothing is closed or unmounted by it.
fn die() -> ! {
    loop {
        // It is ours, and there.
        let _ = kill(Pid::this(), Signal::SIGKILL);
        thread::sleep(Duration::from_secs(1));
    }
}
