// SPDX-License-Identifier: GPL-2.0

//! One connection, as far as its moves tell.

use crate::{
    check::{Broken, Options, Quote, Rule},
    trace::{Interrupt, Move, Place, Step},
};
use std::collections::{HashMap, VecDeque};

/// Set in the `unique` of a request that is sent again.
const RESEND_BIT: u64 = 1 << 63;
/// The operation that every connection begins with.
const INIT: u32 = 26;

impl Move {
    /// What names the request for all of its life.
    fn key(&self) -> u64 {
        self.unique & !RESEND_BIT
    }

    fn is_marked(&self) -> bool {
        self.unique & RESEND_BIT != 0
    }

    fn is_resend(&self) -> bool {
        (self.from, self.to) == (Place::Processing, Place::Pending)
    }

    /// Whether a reader had it before, and it waits again.
    fn is_put_back(&self) -> bool {
        self.is_resend() || (self.from, self.to) == (Place::Reading, Place::Pending)
    }

    /// Whether a connection begins with this.
    pub(crate) fn is_first_request(&self) -> bool {
        self.opcode == INIT && self.from == Place::None
    }

    /// Whether rust/queue has a way from the one place to the other.
    fn is_legal(&self) -> bool {
        use Place::*;
        matches!(
            (self.from, self.to),
            // Made.
            (None, Gate | Background | Pending | Handed)
                // Let in.
                | (Gate, Background | Pending | Handed)
                | (Background, Pending | Handed)
                // Given to a reader; to a reader that waits when it was sent again.
                | (Pending, Handed | Reading)
                | (Handed, Reading)
                // Copied, or not; put back when the reader was killed.
                | (Reading, Processing | Ended | Pending)
                // Answered, or sent again.
                | (Processing, Writing | Pending)
                // The reply is there, or its writer was killed.
                | (Writing, Ended | Processing)
                // Taken back by its caller.
                | (Gate | Pending | Handed, None)
                // Aborted, or given up.
                | (Reading | Writing, Aborting)
                | (Gate | Background | Pending | Handed | Processing, Aborting)
                | (Aborting, Ended)
                // Gone.
                | (Ended, None)
        )
    }
}

/// A request that has not ended.
pub(crate) struct Request {
    last: Move,
    /// All its lines.
    pub(crate) lines: Vec<Quote>,
    /// It was sent again.
    resent: bool,
    /// It counts against `max_background`.
    active: bool,
    /// Its length, once the daemon was to read it.
    len: Option<u32>,
    /// It has an interrupt in the queue.
    interrupted: bool,
    /// How many requests had entered the gate, and had been taken by a reader, when it did and first
    /// was.
    entered: u64,
    taken: u64,
}

/// What a trace tells about a connection.
pub(crate) struct Connection {
    /// The trace has it from its first request on.
    whole: bool,
    alive: HashMap<u64, Request>,
    /// Those that have ended, with the number of the line that says so.
    ended: HashMap<u64, u64>,
    /// How many there are in each place.
    counts: HashMap<Place, u64>,
    pending: VecDeque<u64>,
    background: VecDeque<u64>,
    active: u64,
    /// Counts what enters the gate.
    entries: u64,
    /// Which left it last: requests with a caller, and background ones.
    left_gate: [u64; 2],
    /// Counts what readers have taken.
    takings: u64,
    pub(crate) moves: u64,
    pub(crate) requests: u64,
}

impl Connection {
    pub(crate) fn new(whole: bool) -> Self {
        Self {
            whole,
            alive: HashMap::new(),
            ended: HashMap::new(),
            counts: HashMap::new(),
            pending: VecDeque::new(),
            background: VecDeque::new(),
            active: 0,
            entries: 0,
            left_gate: [0; 2],
            takings: 0,
            moves: 0,
            requests: 0,
        }
    }

    /// How many requests have not ended.
    pub(crate) fn alive(&self) -> u64 {
        self.alive.len() as u64
    }

    /// Whether no request is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.alive.is_empty()
    }

    /// Takes the next move.
    pub(crate) fn step(
        &mut self,
        step: Move,
        quote: Quote,
        options: &Options,
    ) -> Result<(), Broken> {
        self.moves += 1;
        self.own_rules(&step, &quote)?;
        if self.whole {
            self.take_out(&step)?;
            self.put_in(&step, options)?;
            self.depth(&step)?;
        }
        if step.to == Place::None {
            self.alive.remove(&step.key());
            self.ended.insert(step.key(), quote.number);
        }
        Ok(())
    }

    /// What a request's own lines show.
    fn own_rules(&mut self, step: &Move, quote: &Quote) -> Result<(), Broken> {
        let alone = |rule, what: String| {
            let lines = vec![quote.clone()];
            Err(Broken { rule, what, lines })
        };
        let key = step.key();
        let unique = step.unique;
        let Some(request) = self.alive.get_mut(&key) else {
            if unique & 1 != 0 {
                return alone(Rule::Unique, format!("{unique} is odd"));
            }
            if let Some(line) = self.ended.get(&key) {
                return alone(
                    Rule::EndsOnce,
                    format!("{unique} moves, and ended in line {line}"),
                );
            }
            if self.whole && step.from != Place::None {
                return alone(
                    Rule::OnePlace,
                    format!("{unique} leaves {}, and was never made", step.from),
                );
            }
            // Seen for the first time in the middle of its life, it may have been sent again.
            if self.whole && step.is_marked() {
                return alone(Rule::Unique, format!("{unique} is new, and has bit 63"));
            }
            if !step.is_legal() {
                return alone(
                    Rule::LegalMove,
                    format!("no way leads from {} to {}", step.from, step.to),
                );
            }
            self.requests += 1;
            self.alive.insert(
                key,
                Request {
                    last: *step,
                    lines: vec![quote.clone()],
                    resent: step.is_marked(),
                    active: false,
                    len: step.len,
                    interrupted: false,
                    entered: 0,
                    taken: 0,
                },
            );
            return Ok(());
        };
        request.lines.push(quote.clone());
        if step.from == Place::None {
            return Err(request.broken(
                Rule::EndsOnce,
                format!("{unique} is used for a request, and again for another"),
            ));
        }
        if step.from != request.last.to {
            return Err(request.broken(
                Rule::OnePlace,
                format!(
                    "{unique} leaves {}, and was in {}",
                    step.from, request.last.to
                ),
            ));
        }
        if !step.is_legal() {
            return Err(request.broken(
                Rule::LegalMove,
                format!("no way leads from {} to {}", step.from, step.to),
            ));
        }
        let facts = |step: &Move| (step.opcode, step.nodeid, step.pid);
        if facts(step) != facts(&request.last) {
            return Err(request.broken(
                Rule::SameRequest,
                format!("{unique} changes its opcode, nodeid or pid"),
            ));
        }
        let len = step.len.or(request.len);
        if request.len.is_some_and(|known| Some(known) != len) {
            return Err(request.broken(
                Rule::Told,
                format!("{unique} has another length than before"),
            ));
        }
        request.len = len;
        if let Some(error) = step.error.filter(|error| !(-4095..=0).contains(error)) {
            return Err(request.broken(Rule::Told, format!("{unique} ends with {error}")));
        }
        request.resent |= step.is_resend();
        if step.is_marked() != request.resent {
            let what = match request.resent {
                true => "was sent again, and does not have",
                false => "was not sent again, and has",
            };
            return Err(request.broken(Rule::Unique, format!("{unique} {what} bit 63")));
        }
        request.last = *step;
        Ok(())
    }

    /// Something happens to the interrupt of a request.
    pub(crate) fn interrupt(&mut self, interrupt: Interrupt, quote: Quote) -> Result<(), Broken> {
        let Some(request) = self.alive.get_mut(&(interrupt.unique & !RESEND_BIT)) else {
            // Nothing is known of one that was made before the trace.
            return match self.whole {
                false => Ok(()),
                true => Err(Broken {
                    rule: Rule::Interrupts,
                    what: format!("{} has an interrupt, and is not there", interrupt.unique),
                    lines: vec![quote],
                }),
            };
        };
        request.lines.push(quote);
        let queued = interrupt.step == Step::Queued;
        let place = request.last.to;
        // It goes with the request, before that has moved.
        let is_there = match interrupt.step {
            Step::Dropped => true,
            Step::Queued | Step::Read => place == Place::Processing,
        };
        if !is_there || (self.whole && request.interrupted == queued) {
            return Err(request.broken(
                Rule::Interrupts,
                format!(
                    "the interrupt of {} is {}, and the request in {place}",
                    interrupt.unique,
                    interrupt.step.name()
                ),
            ));
        }
        request.interrupted = queued;
        Ok(())
    }

    /// A request leaves a queue.
    fn take_out(&mut self, step: &Move) -> Result<(), Broken> {
        let key = step.key();
        if step.from != Place::None {
            *self.counts.entry(step.from).or_default() -= 1;
        }
        match step.from {
            Place::Gate if matches!(step.to, Place::Pending | Place::Handed) => {
                self.leave_gate(key, 0)?;
            }
            Place::Gate if step.to == Place::Background => self.leave_gate(key, 1)?,
            Place::Background => {
                let in_turn = step.to == Place::Aborting || self.background.front() == Some(&key);
                if !in_turn {
                    return Err(self.overtaken(key, &self.background, "background"));
                }
                self.background.retain(|&other| other != key);
            }
            Place::Pending => {
                let read = matches!(step.to, Place::Handed | Place::Reading);
                if read && self.pending.front() != Some(&key) {
                    return Err(self.overtaken(key, &self.pending, "pending"));
                }
                match read {
                    true => drop(self.pending.pop_front()),
                    false => self.pending.retain(|&other| other != key),
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn leave_gate(&mut self, key: u64, kind: usize) -> Result<(), Broken> {
        let request = self.any(key);
        if request.entered < self.left_gate[kind] {
            return Err(request.broken(
                Rule::Fifo,
                format!("{key} leaves the gate after one that came later"),
            ));
        }
        self.left_gate[kind] = request.entered;
        Ok(())
    }

    /// A request comes to a queue.
    fn put_in(&mut self, step: &Move, options: &Options) -> Result<(), Broken> {
        let key = step.key();
        if step.to != Place::None {
            *self.counts.entry(step.to).or_default() += 1;
        }
        if step.from == Place::Background && step.to != Place::Aborting {
            self.activate(key, options)?;
        }
        match step.to {
            Place::Gate => {
                self.entries += 1;
                self.request(key).entered = self.entries;
            }
            Place::Background => self.background.push_back(key),
            Place::Pending if step.is_put_back() => self.pend_again(key),
            Place::Pending => self.pending.push_back(key),
            Place::Handed if step.from != Place::Pending => {
                if let Some(first) = self.pending.front() {
                    return Err(self.both(
                        *first,
                        key,
                        Rule::HandOver,
                        format!("{key} is handed to a reader while {first} is pending"),
                    ));
                }
            }
            Place::Reading if self.any(key).taken == 0 => {
                self.takings += 1;
                self.request(key).taken = self.takings;
            }
            Place::Ended => {
                let active = std::mem::take(&mut self.request(key).active);
                self.active -= u64::from(active);
            }
            _ => {}
        }
        Ok(())
    }

    fn activate(&mut self, key: u64, options: &Options) -> Result<(), Broken> {
        self.active += 1;
        self.request(key).active = true;
        match options.max_background {
            Some(max) if self.active > max => Err(self.any(key).broken(
                Rule::MaxBackground,
                format!("{} are active, and {max} may be", self.active),
            )),
            _ => Ok(()),
        }
    }

    /// Before what no reader has taken yet, in the order of those that one had.
    fn pend_again(&mut self, key: u64) {
        let taken = self.any(key).taken;
        let goes_first = |other: &&u64| (1..taken).contains(&self.any(**other).taken);
        let place = self.pending.iter().take_while(goes_first).count();
        self.pending.insert(place, key);
    }

    fn depth(&self, step: &Move) -> Result<(), Broken> {
        let expected = match step.to {
            Place::None => 0,
            place => self.counts.get(&place).copied().unwrap_or(0),
        };
        if step.depth == expected {
            return Ok(());
        }
        Err(self.any(step.key()).broken(
            Rule::Depth,
            format!(
                "{} is said to hold {}, and holds {expected}",
                step.to, step.depth
            ),
        ))
    }

    fn overtaken(&self, key: u64, queue: &VecDeque<u64>, name: &str) -> Broken {
        // A request that leaves a queue is in it: `OnePlace` was checked.
        let first = queue.front().copied().unwrap_or(key);
        let rule = match self.any(first).taken {
            0 => Rule::Fifo,
            _ => Rule::PutBack,
        };
        self.both(
            first,
            key,
            rule,
            format!("{key} leaves {name} before {first}"),
        )
    }

    /// A broken rule that takes two requests to show.
    fn both(&self, first: u64, second: u64, rule: Rule, what: String) -> Broken {
        let mut lines = self.any(first).lines.clone();
        lines.extend(self.any(second).lines.iter().cloned());
        lines.sort_by_key(|line| line.number);
        lines.dedup();
        Broken { rule, what, lines }
    }

    /// A request that is known to be there.
    fn any(&self, key: u64) -> &Request {
        &self.alive[&key]
    }

    fn request(&mut self, key: u64) -> &mut Request {
        self.alive
            .get_mut(&key)
            .expect("a request that moves is there")
    }
}
