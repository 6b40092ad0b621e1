// SPDX-License-Identifier: GPL-2.0

//! What the tests share: requests that tell what became of them, and how they are sent and read.

use crate::{
    queue::{forget_node, Carried, Delivery, DeviceId, Entry, Facts, Place, Queue, Step, Work},
    sys::{errno, Box, Error, RequestBox, Result},
};
use core::sync::atomic::{AtomicI32, AtomicUsize, Ordering::Relaxed};

/// The most requests in one test.
pub(super) const REQUESTS: usize = 64;

/// What became of the requests of a test.
pub(super) struct Log {
    outcomes: [AtomicI32; REQUESTS],
    ended: AtomicUsize,
    freed: AtomicUsize,
}

/// Not an errno.
pub(super) const NOT_ENDED: i32 = 1;

impl Log {
    pub(super) const fn new() -> Self {
        Log {
            outcomes: [const { AtomicI32::new(NOT_ENDED) }; REQUESTS],
            ended: AtomicUsize::new(0),
            freed: AtomicUsize::new(0),
        }
    }

    /// Whether a request has ended in this way.
    pub(super) fn ended_with(&self, id: usize, outcome: Result) -> bool {
        let errno = outcome.map_or_else(Error::to_errno, |()| 0);
        self.outcomes[id].load(Relaxed) == errno
    }

    pub(super) fn has_not_ended(&self, id: usize) -> bool {
        self.outcomes[id].load(Relaxed) == NOT_ENDED
    }

    /// Whether so many requests have ended, once each, and all of them are freed.
    pub(super) fn all_ended(&self, count: usize) -> bool {
        self.ended.load(Relaxed) == count && self.freed.load(Relaxed) == count
    }
}

/// A request.
pub(super) struct Probe<'l> {
    pub(super) id: usize,
    pub(super) log: &'l Log,
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.log.freed.fetch_add(1, Relaxed);
    }
}

impl Carried for Probe<'_> {
    const CLASSES: usize = 2;

    fn class(facts: &Facts) -> usize {
        facts.nodeid as usize % Self::CLASSES
    }

    fn facts(&self) -> Facts {
        Facts {
            nodeid: self.id as u64,
            ..Facts::default()
        }
    }

    fn ended(request: RequestBox<Self>, _queue: &Queue<Self>, outcome: Result, _abandoned: bool) {
        let errno = outcome.map_or_else(Error::to_errno, |()| 0);
        request.log.outcomes[request.id].store(errno, Relaxed);
        request.log.ended.fetch_add(1, Relaxed);
    }

    fn moved(_facts: &Facts, _step: &Step) {}
}

pub(super) type Probes<'l> = Queue<Probe<'l>>;

impl<'l> Probe<'l> {
    /// A request with that number, for a queue.
    #[cfg(not(test))]
    pub(super) fn request(id: usize, log: &'l Log) -> Result<RequestBox<Self>> {
        let probe = Probe { id, log };
        Ok(RequestBox::new(probe, kernel::alloc::flags::GFP_KERNEL)?)
    }

    #[cfg(test)]
    pub(super) fn request(id: usize, log: &'l Log) -> Result<RequestBox<Self>> {
        Ok(RequestBox::new(Probe { id, log }))
    }
}

#[cfg(not(test))]
pub(super) fn boxed<T>(value: T) -> Result<Box<T>> {
    Ok(Box::new(value, kernel::alloc::flags::GFP_KERNEL)?)
}

#[cfg(test)]
pub(super) fn boxed<T>(value: T) -> Result<Box<T>> {
    Ok(Box::new(value))
}

/// Sends requests with the numbers from `first` on that nobody waits for, and that pass the gate.
pub(super) fn submit<'l>(queue: &Probes<'l>, log: &'l Log, first: usize, count: usize) -> Result {
    for id in first..first + count {
        let request = Probe::request(id, log)?;
        queue.submit(request, true).map_err(|(error, _)| error)?;
    }
    Ok(())
}

pub(super) fn forget(queue: &Probes<'_>, nodeid: u64) -> Result {
    let mut node = boxed(forget_node())?;
    node.value.nodeid = nodeid;
    node.value.nlookup = 1;
    queue.forget(node);
    Ok(())
}

/// Reads a request; ENOENT when something else comes.
pub(super) fn read<'q, 'l>(
    queue: &'q Probes<'l>,
    device: DeviceId,
) -> Result<Delivery<'q, Probe<'l>>> {
    match queue.read(device, false, 1)? {
        Work::Request(delivery) => Ok(delivery),
        _ => Err(errno::ENOENT),
    }
}

/// Reads a request, the one of that number, to its end; its `unique`.
pub(super) fn take(queue: &Probes<'_>, device: DeviceId, id: usize) -> Result<u64> {
    let mut delivery = read(queue, device)?;
    let unique = delivery.unique();
    if delivery.request().id != id {
        return Err(errno::EINVAL);
    }
    delivery.sent()?;
    Ok(unique)
}

/// The only request there is.
pub(super) fn only(queue: &Probes<'_>) -> Result<Entry> {
    let mut entries = queue.snapshot()?.entries;
    match (entries.pop(), entries.is_empty()) {
        (Some(entry), true) => Ok(entry),
        _ => Err(errno::ENOENT),
    }
}

/// The only request at a place.
pub(super) fn only_at(queue: &Probes<'_>, place: Place) -> Result<Entry> {
    let mut found = Err(errno::ENOENT);
    for entry in queue.snapshot()?.entries {
        if entry.place == place {
            found = match found {
                Ok(_) => return Err(errno::EINVAL),
                Err(_) => Ok(entry),
            };
        }
    }
    found
}
