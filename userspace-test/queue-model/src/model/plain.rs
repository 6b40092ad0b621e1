// SPDX-License-Identifier: GPL-2.0

//! The rules, written down plainly: what must be where after each operation, when every thread has
//! done what it can before the next.

use crate::{
    queue::{InterruptAnswer, Place},
    sys::{errno, Error, Result, Signal},
};
use std::collections::VecDeque;

/// A request.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) background: bool,
    pub(super) forced: bool,
    pub(super) place: Place,
    pub(super) device: usize,
    /// Its caller waits for its end, or for it to pass the gate.
    pub(super) waited_for: bool,
    /// Its caller looks out for ordinary signals.
    interruptible: bool,
    pub(super) interrupted: bool,
    pub(super) abandoned: bool,
    counted: bool,
    active: bool,
    doomed: bool,
    pub(super) resent: bool,
    pub(super) returned: Option<Result>,
    pub(super) ended: Option<(Result, bool)>,
}

/// What a reader gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Request(usize),
    Interrupt(usize),
    Forgets(Vec<u64>),
    Error(Error),
}

/// How a copy to a daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    Whole,
    Failed(Error),
    /// Its thread is killed in the midst of it, or when all is there.
    Killed,
    KilledAtTheEnd,
}

/// A reader that sleeps, or has got something.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    pub(super) device: usize,
    pub(super) max_forgets: usize,
    pub(super) got: Option<Got>,
}

/// The queues.
pub(super) struct Plain {
    pub(super) requests: Vec<Request>,
    pub(super) readers: Vec<Reader>,
    /// Readers that wait, the last to come last.
    pub(super) idle: Vec<usize>,
    gate: VecDeque<usize>,
    background_gate: VecDeque<usize>,
    background: VecDeque<usize>,
    pending: VecDeque<usize>,
    processing: VecDeque<usize>,
    pub(super) interrupts: VecDeque<usize>,
    pub(super) forgets: VecDeque<u64>,
    turn: i32,
    pub(super) devices: Vec<bool>,
    pub(super) started: bool,
    pub(super) connected: bool,
    batch: bool,
    reader_error: Error,
    refusal: Option<Error>,
    no_interrupt: bool,
    recover: bool,
    pub(super) max: u32,
    pub(super) threshold: u32,
    pub(super) count: u32,
    pub(super) active: u32,
}

impl Plain {
    pub(super) fn new() -> Self {
        Plain {
            requests: Vec::new(),
            readers: Vec::new(),
            idle: Vec::new(),
            gate: VecDeque::new(),
            background_gate: VecDeque::new(),
            background: VecDeque::new(),
            pending: VecDeque::new(),
            processing: VecDeque::new(),
            interrupts: VecDeque::new(),
            forgets: VecDeque::new(),
            turn: 0,
            devices: Vec::new(),
            started: false,
            connected: true,
            batch: false,
            reader_error: errno::ENODEV,
            refusal: None,
            no_interrupt: false,
            recover: false,
            max: 12,
            threshold: 9,
            count: 0,
            active: 0,
        }
    }

    /// A request is made. Its number is the next one.
    pub(super) fn enter(&mut self, background: bool, forced: bool) {
        let id = self.requests.len();
        self.requests.push(Request {
            background,
            forced,
            place: Place::None,
            device: 0,
            waited_for: false,
            interruptible: !background && !self.no_interrupt,
            interrupted: false,
            abandoned: false,
            counted: false,
            active: false,
            doomed: false,
            resent: false,
            returned: None,
            ended: None,
        });
        if !self.connected {
            self.requests[id].returned = Some(Err(errno::ENOTCONN));
            return;
        }
        if let (Some(error), false) = (self.refusal, forced) {
            self.requests[id].returned = Some(Err(error));
            return;
        }
        if !background {
            self.requests[id].waited_for = true;
            if self.started || forced {
                self.offer(id);
            } else {
                self.put(id, Place::Gate);
                self.gate.push_back(id);
            }
        } else if forced || self.started && self.count < self.max {
            self.requests[id].returned = Some(Ok(()));
            self.enqueue(id);
        } else {
            self.requests[id].waited_for = true;
            self.put(id, Place::Gate);
            self.background_gate.push_back(id);
        }
    }

    pub(super) fn start(&mut self, batch: bool) {
        self.started = true;
        self.batch = batch;
        while let Some(id) = self.gate.pop_front() {
            self.offer(id);
        }
        self.refill();
    }

    pub(super) fn set_max(&mut self, max: u32) {
        self.max = max;
        self.refill();
    }

    pub(super) fn forget(&mut self, nodeid: u64) {
        if self.connected {
            self.forgets.push_back(nodeid);
            self.look();
        }
    }

    /// Somebody reads; none when there is nothing.
    pub(super) fn read(&mut self, device: usize, max_forgets: usize) -> Option<Got> {
        if !self.connected {
            return Some(Got::Error(self.reader_error));
        }
        let got = self.take(device, max_forgets)?;
        if !self.interrupts.is_empty() || !self.forgets.is_empty() {
            self.look();
        }
        Some(got)
    }

    /// A reader comes that waits.
    pub(super) fn read_or_wait(&mut self, device: usize, max_forgets: usize) {
        let got = self.read(device, max_forgets);
        if got.is_none() {
            self.idle.push(self.readers.len());
        }
        self.readers.push(Reader {
            device,
            max_forgets,
            got,
        });
    }

    /// A reader gets a signal.
    pub(super) fn signal_reader(&mut self, reader: usize) {
        if self.readers[reader].got.is_none() {
            self.idle.retain(|idle| *idle != reader);
            self.readers[reader].got = Some(Got::Error(errno::ERESTARTSYS));
        }
    }

    /// A request is copied to a daemon: all of it, or it ends with an error; or its reader is killed.
    /// What that gets.
    pub(super) fn copied(&mut self, id: usize, copied: Copied, taken: &[u64]) -> Result {
        if self.requests[id].doomed {
            self.end(id, Err(errno::ECONNABORTED));
            return Err(self.reader_error);
        }
        match copied {
            Copied::Whole => self.processed(id),
            Copied::Failed(error) => self.end(id, Err(error)),
            Copied::Killed | Copied::KilledAtTheEnd => {
                self.pend_again(id, taken);
                self.offer_again();
                return Err(errno::ERESTARTSYS);
            }
        }
        Ok(())
    }

    /// The daemon has the request, and no answer to it is on its way.
    fn processed(&mut self, id: usize) {
        self.put(id, Place::Processing);
        self.processing.push_back(id);
        if self.requests[id].interrupted {
            self.interrupt(id);
        }
    }

    fn processed_by(&self, id: usize, device: usize) -> bool {
        let request = &self.requests[id];
        self.connected && request.place == Place::Processing && request.device == device
    }

    /// A reply begins.
    pub(super) fn answer(&mut self, id: usize, device: usize) -> Result {
        if !self.processed_by(id, device) {
            return Err(errno::ENOENT);
        }
        self.processing.retain(|processing| *processing != id);
        self.put(id, Place::Writing);
        Ok(())
    }

    /// A reply is there, or not, for its writer was killed.
    pub(super) fn finish(&mut self, id: usize, outcome: Option<Result>) -> Result {
        if self.requests[id].doomed {
            self.end(id, Err(errno::ECONNABORTED));
            return Err(errno::ENOENT);
        }
        match outcome {
            Some(outcome) => self.end(id, outcome),
            None => self.processed(id),
        }
        Ok(())
    }

    pub(super) fn answer_interrupt(
        &mut self,
        id: usize,
        device: usize,
        answer: InterruptAnswer,
    ) -> Result {
        if !self.processed_by(id, device) {
            return Err(errno::ENOENT);
        }
        match answer {
            InterruptAnswer::Understood => Ok(()),
            InterruptAnswer::Malformed => Err(errno::EINVAL),
            InterruptAnswer::NotSupported => {
                self.no_interrupt = true;
                Ok(())
            }
            InterruptAnswer::Again if self.requests[id].interrupted => {
                self.interrupt(id);
                Ok(())
            }
            InterruptAnswer::Again => Err(errno::EINVAL),
        }
    }

    /// A caller gets a signal.
    pub(super) fn signal(&mut self, id: usize, signal: Signal) {
        if !self.requests[id].waited_for {
            return;
        }
        if self.requests[id].interruptible && !self.requests[id].interrupted {
            self.requests[id].interrupted = true;
            self.interrupt(id);
        }
        if signal != Signal::Fatal {
            return;
        }
        let Request {
            place,
            forced,
            resent,
            ..
        } = self.requests[id];
        self.requests[id].waited_for = false;
        self.requests[id].returned = Some(Err(errno::EINTR));
        // No daemon may have seen what is taken back.
        if !forced && !resent && matches!(place, Place::Gate | Place::Pending) {
            for list in [&mut self.gate, &mut self.background_gate, &mut self.pending] {
                list.retain(|other| *other != id);
            }
            self.put(id, Place::None);
        } else {
            self.requests[id].abandoned = true;
        }
    }

    /// What has been read and not answered is sent again, in the order of `taken`.
    pub(super) fn resend(&mut self, taken: &[u64]) {
        if self.connected {
            self.put_back(taken, |_| true);
        }
    }

    fn put_back(&mut self, taken: &[u64], of: impl Fn(usize) -> bool) {
        let put_back = |id: &usize| of(self.requests[*id].device);
        let back: Vec<usize> = self.processing.iter().copied().filter(put_back).collect();
        self.processing.retain(|id| !back.contains(id));
        self.interrupts
            .retain(|interrupt| !back.contains(interrupt));
        for id in back {
            self.requests[id].resent = true;
            self.pend_again(id, taken);
        }
        self.offer_again();
    }

    /// Before what no reader has taken yet, in the order in which they were taken first.
    fn pend_again(&mut self, id: usize, taken: &[u64]) {
        let order = |id: &usize| {
            let position = taken.iter().position(|taken| *taken == *id as u64);
            position.unwrap_or(usize::MAX)
        };
        let behind = self
            .pending
            .iter()
            .position(|other| order(other) > order(&id));
        self.put(id, Place::Pending);
        self.pending
            .insert(behind.unwrap_or(self.pending.len()), id);
    }

    fn offer_again(&mut self) {
        while !self.idle.is_empty() {
            let Some(id) = self.pending.pop_front() else {
                break;
            };
            self.offer(id);
        }
    }

    /// What has been read and not answered is given up.
    pub(super) fn flush(&mut self) {
        for id in std::mem::take(&mut self.processing) {
            self.end(id, Err(errno::EIO));
        }
    }

    pub(super) fn recover(&mut self) {
        self.recover = true;
    }

    pub(super) fn detach(&mut self, device: usize, taken: &[u64]) {
        self.devices[device] = false;
        if self.recover && self.connected {
            self.put_back(taken, |each| each == device);
            return;
        }
        let (ends, stay) = self
            .processing
            .drain(..)
            .partition(|id| self.requests[*id].device == device);
        self.processing = stay;
        let ends: VecDeque<usize> = ends;
        for id in ends {
            self.end(id, Err(errno::ECONNABORTED));
        }
        if !self.devices.contains(&true) {
            self.abort(errno::ENODEV);
        }
    }

    pub(super) fn abort(&mut self, reader_error: Error) {
        self.reader_error = reader_error;
        if !std::mem::replace(&mut self.connected, false) {
            return;
        }
        self.forgets.clear();
        for request in &mut self.requests {
            request.doomed = matches!(request.place, Place::Reading | Place::Writing);
        }
        for reader in std::mem::take(&mut self.idle) {
            self.readers[reader].got = Some(Got::Error(reader_error));
        }
        let mut ends = VecDeque::new();
        for list in [
            &mut self.processing,
            &mut self.pending,
            &mut self.background,
        ] {
            ends.append(list);
        }
        let refused = self.empty_gate();
        for id in ends {
            self.end(id, Err(errno::ECONNABORTED));
        }
        for id in refused {
            self.turn_away(id, errno::ENOTCONN);
        }
    }

    pub(super) fn refuse(&mut self, error: Error) {
        self.refusal = Some(error);
        for id in self.empty_gate() {
            self.turn_away(id, error);
        }
    }

    fn empty_gate(&mut self) -> VecDeque<usize> {
        let mut all = std::mem::take(&mut self.gate);
        all.append(&mut self.background_gate);
        all
    }

    fn turn_away(&mut self, id: usize, error: Error) {
        let request = &mut self.requests[id];
        if request.background {
            request.waited_for = false;
            request.returned = Some(Ok(()));
        }
        self.end(id, Err(error));
    }

    /// Whether poll says that there is something, or an error.
    pub(super) fn poll(&self) -> Result<bool> {
        if !self.connected {
            return Err(self.reader_error);
        }
        Ok(!(self.pending.is_empty() && self.interrupts.is_empty() && self.forgets.is_empty()))
    }

    fn put(&mut self, id: usize, place: Place) {
        self.requests[id].place = place;
    }

    fn offer(&mut self, id: usize) {
        match self.idle.pop() {
            Some(reader) => {
                self.put(id, Place::Reading);
                self.requests[id].device = self.readers[reader].device;
                self.readers[reader].got = Some(Got::Request(id));
            }
            None => {
                self.put(id, Place::Pending);
                self.pending.push_back(id);
            }
        }
    }

    /// The last reader that came looks what there is.
    fn look(&mut self) {
        if let Some(reader) = self.idle.pop() {
            let Reader {
                device,
                max_forgets,
                ..
            } = self.readers[reader];
            let got = self.read(device, max_forgets);
            assert!(got.is_some(), "nobody looks where there is nothing");
            self.readers[reader].got = got;
        }
    }

    fn take(&mut self, device: usize, max_forgets: usize) -> Option<Got> {
        if let Some(id) = self.interrupts.pop_front() {
            return Some(Got::Interrupt(id));
        }
        if !self.forgets.is_empty() && (self.pending.is_empty() || self.next_is_forget()) {
            let count = if self.batch { max_forgets } else { 1 };
            let count = count.min(self.forgets.len());
            return Some(Got::Forgets(self.forgets.drain(..count).collect()));
        }
        let id = self.pending.pop_front()?;
        self.put(id, Place::Reading);
        self.requests[id].device = device;
        Some(Got::Request(id))
    }

    /// Eight requests, sixteen forgets, and so on, while both wait.
    fn next_is_forget(&mut self) -> bool {
        if self.turn > 0 {
            self.turn -= 1;
            return true;
        }
        self.turn -= 1;
        if self.turn == -8 {
            self.turn = 16;
        }
        false
    }

    fn interrupt(&mut self, id: usize) {
        if self.requests[id].place == Place::Processing && !self.interrupts.contains(&id) {
            self.interrupts.push_back(id);
            self.look();
        }
    }

    fn enqueue(&mut self, id: usize) {
        self.requests[id].counted = true;
        self.count += 1;
        self.put(id, Place::Background);
        self.background.push_back(id);
        self.promote();
    }

    fn promote(&mut self) {
        while self.active < self.max {
            let Some(id) = self.background.pop_front() else {
                break;
            };
            self.requests[id].active = true;
            self.active += 1;
            self.offer(id);
        }
    }

    fn refill(&mut self) {
        self.promote();
        while self.started && self.count < self.max {
            let Some(id) = self.background_gate.pop_front() else {
                break;
            };
            self.requests[id].waited_for = false;
            self.requests[id].returned = Some(Ok(()));
            self.enqueue(id);
        }
    }

    fn end(&mut self, id: usize, outcome: Result) {
        self.interrupts.retain(|interrupt| *interrupt != id);
        self.put(id, Place::None);
        let request = &mut self.requests[id];
        let give_back = request.abandoned && outcome.is_ok();
        if request.waited_for {
            request.waited_for = false;
            request.returned = Some(outcome);
        } else {
            request.ended = Some((outcome, request.abandoned));
        }
        self.count -= u32::from(request.counted);
        self.active -= u32::from(request.active);
        if request.counted {
            self.refill();
        }
        if give_back {
            self.forget(super::reply_to(id as u64));
        }
    }
}
