// SPDX-License-Identifier: GPL-2.0

//! Signals: those that come all the time, those that touching memory gives, and those that do not
//! matter.

use super::memory;
use std::{mem::MaybeUninit, ptr};

extern "C" fn nothing(_: libc::c_int) {}

extern "C" fn fault(signal: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: The kernel gives it, and these signals have an address. The thread's errno is there, and
    // is put back for who was interrupted.
    unsafe {
        let errno = *libc::__errno_location();
        if !memory::mend((*info).si_addr().expose_provenance()) {
            // It happens again then, and ends the process.
            libc::signal(signal, libc::SIG_DFL);
        }
        *libc::__errno_location() = errno;
    }
}

fn handle(signal: libc::c_int, handler: libc::sighandler_t, flags: libc::c_int) {
    // SAFETY: Zeroes are valid for all its fields, and the handlers are those of this file, which do
    // nothing that a signal must not do.
    unsafe {
        let mut action: libc::sigaction = MaybeUninit::zeroed().assume_init();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

/// Sets up the signals of a caller's process: with SIGALRM, calls go on or are interrupted as
/// `restart` says; with SIGUSR1 they are interrupted.
pub fn set_up(restart: bool) {
    let nothing = nothing as *const () as libc::sighandler_t;
    let fault = fault as *const () as libc::sighandler_t;
    handle(libc::SIGUSR1, nothing, 0);
    handle(
        libc::SIGALRM,
        nothing,
        if restart { libc::SA_RESTART } else { 0 },
    );
    for signal in [libc::SIGBUS, libc::SIGSEGV] {
        handle(signal, fault, libc::SA_SIGINFO | libc::SA_NODEFER);
    }
    for signal in [
        libc::SIGPIPE,
        libc::SIGIO,
        libc::SIGXFSZ,
        libc::SIGHUP,
        libc::SIGURG,
    ] {
        handle(signal, libc::SIG_IGN, 0);
    }
}

/// Has SIGALRM come to this process each so many microseconds, from then on.
pub fn alarm_each(micros: i64) {
    let each = libc::timeval {
        tv_sec: 0,
        tv_usec: micros,
    };
    let timer = libc::itimerval {
        it_interval: each,
        it_value: each,
    };
    // SAFETY: The structure is there.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &timer, ptr::null_mut()) };
}
