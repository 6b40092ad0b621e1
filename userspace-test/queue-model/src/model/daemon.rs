// SPDX-License-Identifier: GPL-2.0

//! Daemons, of all sorts.

use super::{books, reply_to, Probe};
use crate::{
    queue::{DeviceId, InterruptAnswer, Queue, Work, INTERRUPT_BIT},
    sys::{errno, is_dying, park, Error, Result, Sleep, Task},
};
use shuttle::rand::{thread_rng, Rng};

/// How a daemon thread behaves.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// It polls, and reads when there is something, rather than sleep in read.
    pub(crate) polls: bool,
    /// It answers some requests with errors, some twice, and does not copy all.
    pub(crate) careless: bool,
    /// How many forgets it takes at a time.
    pub(crate) max_forgets: usize,
    /// When it is killed, it dies in the midst of a copy.
    pub(crate) mortal: bool,
    /// Its memory is not there at once, and sometimes never.
    pub(crate) swaps: bool,
}

impl Manner {
    pub(crate) const CORRECT: Manner = Manner {
        polls: false,
        careless: false,
        max_forgets: 1,
        mortal: false,
        swaps: false,
    };
    pub(crate) const POLLING: Manner = Manner {
        polls: true,
        ..Manner::CORRECT
    };
    pub(crate) const MORTAL: Manner = Manner {
        mortal: true,
        swaps: true,
        ..Manner::CORRECT
    };
    pub(crate) const CARELESS: Manner = Manner {
        careless: true,
        swaps: true,
        max_forgets: 3,
        ..Manner::CORRECT
    };
}

impl Manner {
    /// Whether it dies here.
    fn dies(self) -> bool {
        self.mortal && is_dying() && thread_rng().gen()
    }

    /// Brings the memory for a copy in, or not.
    fn swap(self) -> Result {
        shuttle::thread::yield_now();
        match self.careless && thread_rng().gen_range(0..8) == 0 {
            true => Err(errno::EAGAIN),
            false => Ok(()),
        }
    }
}

/// Serves requests until all is aborted; what it ends with.
pub(crate) fn serve(queue: &Queue<Probe>, device: DeviceId, manner: Manner) -> Error {
    loop {
        match next(queue, device, manner) {
            Ok(work) => {
                if let Some(unique) = take(queue, work, manner) {
                    reply(queue, device, unique, manner);
                }
            }
            Err(errno::ERESTARTSYS) => {
                if Task::current().handle_signal() != Some(crate::sys::Signal::Ordinary) {
                    return errno::ERESTARTSYS;
                }
            }
            Err(error) => return error,
        }
    }
}

/// Reads, in its manner.
pub(crate) fn next(
    queue: &Queue<Probe>,
    device: DeviceId,
    manner: Manner,
) -> Result<Work<'_, Probe>> {
    if !manner.polls {
        return queue.read(device, true, manner.max_forgets);
    }
    queue.bell().listen();
    loop {
        match queue.read(device, false, manner.max_forgets) {
            Err(errno::EAGAIN) => {}
            other => return other,
        }
        let ready = || match queue.poll() {
            Ok(false) => None,
            Ok(true) | Err(_) => Some(()),
        };
        park(Sleep::Uninterruptible, ready);
    }
}

/// Copies what was read; the `unique` of a request that is to be answered.
pub(crate) fn take(queue: &Queue<Probe>, work: Work<'_, Probe>, manner: Manner) -> Option<u64> {
    match work {
        Work::Interrupt { of } => {
            assert_eq!(of & INTERRUPT_BIT, 0);
            if manner.dies() {
                queue.unread_interrupt(of);
                return None;
            }
            // The request may have ended in the meantime: that is for the daemon to find out.
            books(|books| *books.interrupts_read.entry(of).or_default() += 1);
            None
        }
        Work::Forgets {
            unique,
            mut forgets,
        } => {
            assert!(unique & 1 == 0 && unique >> 63 == 0);
            assert!((1..=manner.max_forgets).contains(&forgets.len()));
            if manner.dies() {
                queue.unread_forgets(forgets);
                return None;
            }
            while let Some(node) = forgets.pop_front() {
                assert_eq!(node.value.nlookup, 1);
                books(|books| books.forgets_read.push(node.value.nodeid));
            }
            None
        }
        Work::Request(mut delivery) => {
            let unique = delivery.unique();
            assert_eq!(unique & INTERRUPT_BIT, 0);
            let id = delivery.request().id;
            if manner.swaps {
                delivery = delivery.aside(|| manner.swap()).ok()?;
                assert_eq!(delivery.request().id, id);
            }
            if manner.dies() {
                return None;
            }
            if manner.careless {
                match thread_rng().gen_range(0..8) {
                    0 => {
                        delivery.fail(errno::EINVAL);
                        return None;
                    }
                    // The buffer is not there.
                    1 => return None,
                    _ => {}
                }
            }
            match delivery.sent() {
                Ok(()) => Some(unique),
                // Killed: another gets it.
                Err(errno::ERESTARTSYS) => None,
                Err(error) => {
                    let end = matches!(error, errno::ENODEV | errno::ECONNABORTED);
                    assert!(end, "request {id}: {error:?}");
                    None
                }
            }
        }
    }
}

/// Answers a request, in its manner: every reply is accepted once at most.
pub(crate) fn reply(queue: &Queue<Probe>, device: DeviceId, unique: u64, manner: Manner) {
    let chance = |of| manner.careless && thread_rng().gen_range(0..of) == 0;
    if chance(4) {
        let answer = match thread_rng().gen_range(0..4) {
            0 => InterruptAnswer::Again,
            1 => InterruptAnswer::NotSupported,
            2 => InterruptAnswer::Malformed,
            _ => InterruptAnswer::Understood,
        };
        match queue.answer_interrupt(device, unique | INTERRUPT_BIT, answer) {
            Ok(()) | Err(errno::EINVAL | errno::ENOENT) => {}
            Err(error) => panic!("an interrupt's answer gets {error:?}"),
        }
    }
    let outcome = if chance(4) {
        Err(errno::EAGAIN)
    } else {
        Ok(())
    };
    let dropped = chance(8);
    let mut answer = match queue.answer(device, unique) {
        Ok(answer) => answer,
        // Aborted, or sent again.
        Err(error) => return assert_eq!(error, errno::ENOENT),
    };
    let id = answer.request().id;
    if manner.swaps {
        match answer.aside(|| manner.swap()) {
            Ok(again) => answer = again,
            Err(_) => return,
        }
        assert_eq!(answer.request().id, id);
    }
    answer.request().reply = Some(reply_to(id));
    if manner.dies() {
        return drop(answer);
    }
    if dropped {
        drop(answer);
    } else if answer.finish(outcome).is_ok() {
        books(|books| books.record(id).answers.push(outcome));
    }
    let again = queue.answer(device, unique);
    assert!(
        again.is_err_and(|error| error == errno::ENOENT),
        "accepted twice"
    );
}
