// SPDX-License-Identifier: GPL-2.0

//! The threads of a run.

use super::{
    books, call, close,
    daemon::{serve, Manner},
    Probe,
};
use crate::{
    queue::{DeviceId, Queue},
    sys::{errno, Error, Result, Task},
};
use shuttle::thread::JoinHandle;
use std::sync::Arc;

pub(super) type Shared = Arc<Queue<Probe>>;

/// A thread of a run.
pub(super) struct Running<T> {
    pub(super) task: Task,
    thread: JoinHandle<T>,
}

impl<T> Running<T> {
    /// Waits for its end.
    pub(super) fn join(self) -> T {
        self.thread.join().expect("the thread does not fail")
    }
}

/// Starts a thread.
pub(super) fn go<T: Send + 'static>(
    queue: &Shared,
    run: impl FnOnce(&Queue<Probe>) -> T + Send + 'static,
) -> Running<T> {
    let queue = queue.clone();
    let (task, thread) = Task::spawn(move || run(&queue));
    Running { task, thread }
}

/// Queues that have started, and a device.
pub(super) fn started() -> (Shared, DeviceId) {
    let (queue, device) = made();
    queue.start(true);
    (queue, device)
}

/// Queues that have not started yet, and a device.
pub(super) fn made() -> (Shared, DeviceId) {
    let queue = Arc::new(Queue::new().expect("there is memory"));
    let device = queue.attach().expect("it is connected");
    (queue, device)
}

pub(super) fn servers(queue: &Shared, device: DeviceId, manners: &[Manner]) -> Vec<Running<Error>> {
    manners
        .iter()
        .map(|manner| {
            let manner = *manner;
            go(queue, move |queue| serve(queue, device, manner))
        })
        .collect()
}

pub(super) fn callers(queue: &Shared, ids: impl IntoIterator<Item = u64>) -> Vec<Running<Result>> {
    ids.into_iter()
        .map(|id| go(queue, move |queue| call(queue, id, false)))
        .collect()
}

pub(super) fn join_all<T>(threads: Vec<Running<T>>) -> Vec<T> {
    threads.into_iter().map(Running::join).collect()
}

/// The daemon ends with the connection, which is over.
pub(super) fn finish(queue: &Shared, servers: Vec<Running<Error>>) {
    queue.abort(errno::ECONNABORTED);
    for end in join_all(servers) {
        assert_eq!(end, errno::ECONNABORTED);
    }
    queue.wait_drained();
    close(queue);
}

/// Waits until the daemon has nothing left to do.
pub(super) fn settle(queue: &Shared) {
    queue.wait_drained();
    while queue.counts().forgets.1 > 0 {
        shuttle::thread::yield_now();
    }
}

pub(super) fn assert_forgets_are_read() {
    books(|books| {
        books.forgets_queued.sort_unstable();
        books.forgets_read.sort_unstable();
        assert_eq!(books.forgets_read, books.forgets_queued);
    });
}
