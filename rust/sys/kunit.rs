// SPDX-License-Identifier: GPL-2.0

//! For KUnit tests that take more than one thread, and signals.

use crate::bindings;
use kernel::{
    current,
    prelude::*,
    sync::{aref::ARef, Arc, Completion, SetOnce},
    task::Task,
    workqueue,
};

/// A signal.
#[derive(Clone, Copy)]
pub(crate) enum Signal {
    /// One that a program would handle.
    Ordinary,
    /// SIGKILL.
    Fatal,
}

impl Signal {
    fn number(self) -> i32 {
        match self {
            Signal::Ordinary => bindings::SIGUSR1,
            Signal::Fatal => bindings::SIGKILL,
        }
    }
}

/// A thread that can be sent signals. A test's own cannot otherwise: it is the kernel's.
#[derive(Clone)]
pub(crate) struct Target(ARef<Task>);

impl Target {
    /// Does something as a thread that can be sent signals, by what it is given; and forgets those that
    /// came.
    pub(crate) fn act<R>(act: impl FnOnce(&Target) -> R) -> R {
        let signals = [Signal::Ordinary, Signal::Fatal];
        for signal in signals {
            // SAFETY: Changes what the current thread does with the signal, which is one there is.
            unsafe { bindings::allow_signal(signal.number()) };
        }
        let result = act(&Target(ARef::from(&**current!())));
        for signal in signals {
            // SAFETY: As above.
            unsafe { bindings::disallow_signal(signal.number()) };
        }
        result
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        // SAFETY: The task is valid, for `self` has a reference to it.
        unsafe { bindings::send_signal(signal.number(), self.0.as_ptr()) };
    }
}

/// Something that another thread does meanwhile.
pub(crate) struct Beside(Arc<Done>);

#[pin_data]
struct Done {
    #[pin]
    completion: Completion,
    result: SetOnce<Result>,
}

/// Lets another thread do something.
pub(crate) fn beside(act: impl FnOnce() -> Result + Send + 'static) -> Result<Beside> {
    let done = pin_init!(Done {
        completion <- Completion::new(),
        result: SetOnce::new(),
    });
    let done = Arc::pin_init(done, GFP_KERNEL)?;
    let told = done.clone();
    workqueue::system_unbound().try_spawn(GFP_KERNEL, move || {
        told.result.populate(act());
        told.completion.complete_all();
    })?;
    Ok(Beside(done))
}

impl Beside {
    /// Waits for it, and gives what came of it.
    pub(crate) fn join(self) -> Result {
        self.0.completion.wait_for_completion();
        self.0.result.copy().unwrap_or(Err(EINVAL))
    }
}
