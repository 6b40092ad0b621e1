// SPDX-License-Identifier: GPL-2.0

//! Makes inputs of others.

use crate::{
    input::{Answer, Call, Deed, Edit, How, Input, Notify, Setup, Step, What, When, CALLERS},
    names::{Code, Features, Hex, Opcode},
    pieces,
};
use fastrand::Rng;
use rawfuse::abi::{self, NotifyCode};

/// The most calls and steps that an input has.
const MOST: usize = 40;

/// Makes inputs, with what was learned from honest sessions.
pub struct Mutator {
    /// Where chance comes from.
    pub rng: Rng,
    /// Honest answers: the operation, and the bytes.
    pub answers: Vec<(u32, Vec<u8>)>,
}

impl Mutator {
    /// Something like `input`, which led to these requests; perhaps with a part of `other`.
    pub fn mutate(&mut self, input: &Input, opcodes: &[u32], other: &Input) -> Input {
        let mut made = input.clone();
        // To mount takes as long as some dozens of requests: there is to be something in each input.
        let changes = 1 + self.rng.usize(0..10);
        let mut kinds = opcodes.to_vec();
        kinds.sort_unstable();
        kinds.dedup();
        let opcodes = &kinds;
        for _ in 0..changes {
            match self.rng.u8(0..32) {
                0..=11 => self.add_step(&mut made, opcodes),
                12..=15 => self.change_step(&mut made, opcodes),
                16 => self.remove(&mut made.steps),
                17..=19 => self.add_call(&mut made),
                20..=21 => self.change_call(&mut made),
                22 => self.remove(&mut made.calls),
                23..=26 => self.setup(&mut made.setup),
                27..=29 => self.splice(&mut made, other),
                _ => made.setup = other.setup.clone(),
            }
        }
        made.steps.truncate(MOST);
        made.calls.truncate(MOST);
        made
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.rng.u32(0..count) == 0
    }

    fn choose<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.rng.usize(0..all.len())]
    }

    /// A number that matters somewhere, or any.
    fn number(&mut self) -> u64 {
        match self.rng.u8(0..8) {
            0 => self.rng.u64(..),
            1 => self.rng.u64(0..16),
            2 => 1 << self.rng.u32(0..64),
            3 => (1_u64 << self.rng.u32(0..64)).wrapping_sub(1),
            4 => (-self.rng.i64(0..600)) as u64,
            _ => self.choose(pieces::NUMBERS),
        }
    }

    fn size(&mut self) -> u32 {
        self.choose(pieces::SIZES)
    }

    fn remove<T>(&mut self, all: &mut Vec<T>) {
        if !all.is_empty() {
            all.remove(self.rng.usize(0..all.len()));
        }
    }

    fn splice(&mut self, made: &mut Input, other: &Input) {
        if self.rng.bool() {
            let keep = self.rng.usize(0..=made.steps.len());
            let from = self.rng.usize(0..=other.steps.len());
            made.steps.truncate(keep);
            made.steps.extend_from_slice(&other.steps[from..]);
        } else {
            let from = self.rng.usize(0..=other.calls.len());
            made.calls.extend_from_slice(&other.calls[from..]);
        }
    }

    fn setup(&mut self, setup: &mut Setup) {
        let init = &mut setup.init;
        match self.rng.u8(0..24) {
            0..=6 => {
                let (_, bit) = self.choose(abi::init_flags::NAMES);
                init.flags = Features(init.flags.0 ^ bit);
            }
            7 => {
                init.minor =
                    self.choose(&[0, 1, 4, 5, 6, 8, 9, 11, 12, 13, 15, 22, 23, 28, 45, 46, 99])
            }
            8 => init.max_readahead = self.size(),
            9 => init.max_write = self.size(),
            10 => init.max_pages = self.number() as u16,
            11 => init.max_background = self.number() as u16,
            12 => init.congestion_threshold = self.number() as u16,
            13 => {
                init.time_gran =
                    self.choose(&[0, 1, 2, 7, 1000, 1_000_000_000, 1_000_000_001, u32::MAX])
            }
            14 => init.request_timeout = self.choose(&[0, 1, 15, 16, u16::MAX]),
            15 => init.max_stack_depth = self.number() as u32,
            16 => setup.valid = self.choose(&[0, 1, 3600, u64::MAX]),
            17..=18 => setup.open ^= 1 << self.rng.u32(0..10),
            19 => setup.read = self.choose(&[0, 0, 80, 4096, 8192, 8193, 70_000]),
            20 => match self.rng.u8(0..6) {
                0 => setup.splice ^= true,
                1 => setup.sleeps ^= true,
                2 => setup.clone ^= true,
                3 => setup.sync_init ^= true,
                4 => setup.aborted ^= true,
                _ => setup.block ^= true,
            },
            21 => {
                setup.rootmode = self.choose(&[0o40000, 0o40755, 0o100644, 0o120777, 0, u32::MAX])
            }
            _ => {
                setup.options = match setup.options.is_empty() {
                    true => self.choose(pieces::OPTIONS).into(),
                    false => String::new(),
                }
            }
        }
    }

    fn add_call(&mut self, made: &mut Input) {
        let what = self.choose(What::ALL);
        let call = self.call(what);
        let at = self.rng.usize(0..=made.calls.len());
        made.calls.insert(at, call);
    }

    fn change_call(&mut self, made: &mut Input) {
        if made.calls.is_empty() {
            return self.add_call(made);
        }
        let at = self.rng.usize(0..made.calls.len());
        let new = self.call(made.calls[at].what);
        let call = &mut made.calls[at];
        match self.rng.u8(0..7) {
            0 => call.caller = new.caller,
            1 => call.path = new.path,
            2 => call.to = new.to,
            3 => call.file = new.file,
            4 => call.flags = new.flags,
            5 => call.at = new.at,
            _ => call.size = new.size,
        }
    }

    /// A call of that kind.
    fn call(&mut self, what: What) -> Call {
        Call {
            caller: self.rng.u8(0..CALLERS as u8),
            path: self.choose(pieces::PATHS).into(),
            to: match what {
                What::Getxattr | What::Setxattr | What::Removexattr => {
                    self.choose(pieces::XATTRS).into()
                }
                _ => self.choose(pieces::PATHS).into(),
            },
            file: self.rng.u8(0..2),
            flags: match what {
                What::Open | What::Handle => self.choose(pieces::OPEN_FLAGS) as u32,
                What::Ioctl => self.choose(pieces::IOCTLS),
                What::Mknod => self.choose(&[0o100644, 0o10600, 0o140600, 0o20600, 0o60600]),
                What::Fallocate => self.rng.u32(0..128),
                _ => match self.rng.u8(0..3) {
                    0 => self.rng.u32(0..16),
                    1 => 1 << self.rng.u32(0..32),
                    _ => self.number() as u32,
                },
            },
            at: match self.rng.u8(0..4) {
                0 => self.number(),
                _ => self.size().into(),
            },
            size: self.size(),
            what,
        }
    }

    fn add_step(&mut self, made: &mut Input, opcodes: &[u32]) {
        let step = self.step(opcodes);
        let at = self.rng.usize(0..=made.steps.len());
        made.steps.insert(at, step);
    }

    fn step(&mut self, opcodes: &[u32]) -> Step {
        let on = match opcodes {
            [] => Opcode(26),
            _ => Opcode(self.choose(opcodes)),
        };
        let mut step = Step {
            on: (!self.one_in(16)).then_some(on),
            ..Default::default()
        };
        for _ in 0..1 + self.rng.usize(0..2) {
            self.worsen(&mut step);
        }
        step
    }

    fn change_step(&mut self, made: &mut Input, opcodes: &[u32]) {
        if made.steps.is_empty() {
            return self.add_step(made, opcodes);
        }
        let at = self.rng.usize(0..made.steps.len());
        let mut step = std::mem::take(&mut made.steps[at]);
        self.worsen(&mut step);
        made.steps[at] = step;
    }

    fn worsen(&mut self, step: &mut Step) {
        match self.rng.u8(0..24) {
            0..=8 => {
                if step.edits.len() > 4 || self.one_in(8) {
                    step.edits.clear();
                }
                let edit = self.edit();
                step.edits.push(edit);
            }
            9 => step.answer = Answer::Honest,
            10 => step.answer = Answer::Never,
            11..=12 => step.answer = Answer::Error(self.error()),
            13 => step.answer = Answer::Bytes(Hex(self.bytes())),
            14 => step.when = self.when(),
            15 => step.twice ^= true,
            16..=17 => step.how = self.how(),
            18..=20 => {
                if step.before.len() > 3 {
                    step.before.clear();
                }
                let deed = self.deed();
                step.before.push(deed);
            }
            _ => {
                if step.after.len() > 3 {
                    step.after.clear();
                }
                let deed = self.deed();
                step.after.push(deed);
            }
        }
    }

    fn error(&mut self) -> i32 {
        match self.rng.u8(0..4) {
            0 => self.number() as i32,
            1 => -self.rng.i32(0..140),
            _ => -self.choose(pieces::ERRORS),
        }
    }

    fn when(&mut self) -> When {
        match self.rng.u8(0..3) {
            0 => When::Now,
            1 => When::After(self.rng.u32(1..6)),
            _ => When::End,
        }
    }

    fn how(&mut self) -> How {
        match self.rng.u8(0..7) {
            0 => How::Write,
            1 => How::Parts(self.rng.u32(0..64)),
            2 => How::Splice(
                (0..self.rng.usize(0..4))
                    .map(|_| self.rng.u32(1..200))
                    .collect(),
            ),
            3 => How::SpliceOdd(self.choose(&[-17, -16, -1, 1, 8, 4096, 100_000])),
            4 => How::Absent(self.choose(&[0, 0, 1, 4096, 10_000])),
            5 => How::Splice(vec![16]),
            _ => How::Clone,
        }
    }

    fn edit(&mut self) -> Edit {
        match self.rng.u8(0..10) {
            0 => Edit::Cut(self.rng.u32(0..200)),
            1 => Edit::Grow(self.choose(&[1, 4, 7, 8, 16, 24, 100, 4096, 70_000])),
            2 => Edit::Set {
                at: self.choose(&[0, 4, 8, 12]),
                width: 4,
                value: self.number(),
            },
            _ => {
                let width = self.choose(&[1, 2, 4, 4, 8, 8]);
                let at = 16 + self.rng.u32(0..160) / u32::from(width) * u32::from(width);
                let value = self.number();
                Edit::Set { at, width, value }
            }
        }
    }

    /// The bytes of an honest answer to something else, or others.
    fn bytes(&mut self) -> Vec<u8> {
        if self.answers.is_empty() || self.one_in(4) {
            let len = self.choose(&[0, 1, 8, 16, 40, 104, 128, 144, 300]);
            return (0..len).map(|_| self.rng.u8(..)).collect();
        }
        let at = self.rng.usize(0..self.answers.len());
        self.answers[at].1.clone()
    }

    fn deed(&mut self) -> Deed {
        match self.rng.u8(0..40) {
            0..=19 => Deed::Notify(self.notify()),
            20..=21 => Deed::Invent {
                unique: self.number(),
                error: self.error(),
                bytes: Hex(self.bytes()),
            },
            22 => Deed::Raw(Hex(self.bytes())),
            23 => Deed::Abort,
            24 => Deed::Flush,
            25..=26 => Deed::Resend,
            27 => Deed::MaxBackground(self.number() as u32),
            28 => Deed::Congestion(self.number() as u32),
            29 => Deed::Look,
            30 => Deed::Clone,
            31 => Deed::CloseClone,
            32 => Deed::Read(self.choose(&[0, 1, 39, 40, 8191, 8192, 70_000])),
            33 => Deed::SpliceRead(self.rng.u32(1..40)),
            34..=35 => Deed::Signal(self.rng.u8(0..CALLERS as u8)),
            36 => Deed::Kill(self.rng.u8(0..CALLERS as u8)),
            37 => Deed::ForceUnmount,
            38 => Deed::Remount(self.choose(pieces::OPTIONS).into()),
            _ => Deed::Sleep(self.rng.u8(0..12)),
        }
    }

    fn notify(&mut self) -> Notify {
        let at = self.rng.usize(0..NotifyCode::ALL.len() + 1);
        let code = match NotifyCode::ALL.get(at) {
            Some(code) => Code(*code as i32),
            None => Code(self.number() as i32),
        };
        let node = self.choose(&[0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 8, 9, 99, u64::MAX]);
        let name = self.choose(pieces::NAMES);
        let offset = match self.rng.u8(0..4) {
            0 => self.number(),
            _ => self.size().into(),
        };
        let size = self.size();
        let mut notify = Notify {
            code,
            body: Hex(pieces::notification(at, node, name, offset, size)),
            // What is stored is as long as it is said to be.
            fill: if code.0 == NotifyCode::Store as i32 {
                size
            } else {
                0
            },
            edits: Vec::new(),
            how: How::Write,
        };
        while self.one_in(3) {
            let edit = self.edit();
            notify.edits.push(edit);
        }
        if self.one_in(8) {
            notify.how = self.how();
        }
        notify
    }
}
