// SPDX-License-Identifier: GPL-2.0

//! Forgetting names that do not hold any more before memory is short: the module parameter
//! `inval_wq`.

use crate::{
    env::Env,
    fs::Fs,
    model::{Model, Served, DIR, FILE, LINK},
    sys, system,
    tests::{limits::Global, tests},
};
use rawfuse::{
    abi::{NotifyCode, Opcode},
    Errno,
};
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

tests![
    period_has_bounds,
    expired_names_are_forgotten,
    names_in_use_are_forgotten_afterwards,
    names_in_use_may_hold_again,
    invalidated_names_are_forgotten,
    names_of_an_earlier_epoch_are_forgotten,
];

/// The shortest period, in seconds.
const PERIOD: u64 = 5;

/// A file system whose names hold for a second, on a module that forgets them then.
struct Forgetful {
    served: Served,
    period: Global,
}

impl Forgetful {
    #[track_caller]
    fn new(env: &Env) -> Self {
        let period = Global::parameter(env, "inval_wq");
        period.set(&PERIOD.to_string());
        let mut model = Model::cached();
        model.entry_valid = 1;
        let served = Served::new(Fs::new(env), model);
        Self { served, period }
    }

    /// Uses a name, and no longer.
    #[track_caller]
    fn touch(&self, name: &str) {
        sys::lstat(&self.served.path(name)).expect("lstat");
    }

    fn references(&self, nodeid: u64) -> i64 {
        let model = self.served.model();
        model.lookups.get(&nodeid).copied().unwrap_or(0)
    }

    /// Waits until the node is forgotten: two periods at most, and what the machine needs.
    #[track_caller]
    fn wait_for_forget(&self, nodeid: u64) {
        let end = Instant::now() + Duration::from_secs(6 * PERIOD);
        while self.references(nodeid) != 0 {
            assert!(Instant::now() < end, "node {nodeid} is not forgotten");
            sleep(Duration::from_millis(50));
        }
    }

    #[track_caller]
    fn finish(mut self) {
        self.served.finish();
    }
}

fn period_has_bounds(env: &Env) {
    let period = Global::parameter(env, "inval_wq");
    assert_eq!(period.get(), "0\n");
    for wrong in ["1", "4", "65536", "4294967296", "-5", "often", ""] {
        let errno = system::errno(period.try_set(wrong));
        // Of a number that is too large for any it is said so.
        assert!(
            errno == libc::EINVAL || errno == libc::ERANGE || wrong.is_empty(),
            "{wrong:?}: {errno}"
        );
        assert_eq!(period.get(), "0\n", "{wrong:?}");
    }
    system::assert_errno(period.try_set("4"), Errno::EINVAL);
    for right in ["5", "65535", "0x10", "0"] {
        period.set(right);
    }
    assert_eq!(period.get(), "0\n");
}

fn expired_names_are_forgotten(env: &Env) {
    let forgetful = Forgetful::new(env);
    forgetful.touch("file");
    forgetful.served.model().entry_valid = 3600;
    forgetful.touch("link");
    // Names that were looked up while there is no period stay until memory is short.
    forgetful.period.set("0");
    forgetful.served.model().entry_valid = 1;
    forgetful.touch("dir");
    forgetful.period.set("5");
    forgetful.touch("dir/inner");
    forgetful.wait_for_forget(FILE);
    forgetful.wait_for_forget(crate::model::INNER);
    assert_eq!(forgetful.references(LINK), 1, "it holds");
    forgetful.finish();
}

fn names_in_use_are_forgotten_afterwards(env: &Env) {
    let forgetful = Forgetful::new(env);
    let file = sys::open(&forgetful.served.path("file")).expect("open");
    forgetful.touch("link");
    forgetful.wait_for_forget(LINK);
    assert_eq!(forgetful.references(FILE), 1);
    // The file's turn has come together with the link's.
    drop(file);
    forgetful.wait_for_forget(FILE);
    assert_eq!(forgetful.served.count(Opcode::Lookup), 2);
    forgetful.finish();
}

fn names_in_use_may_hold_again(env: &Env) {
    let forgetful = Forgetful::new(env);
    let file = sys::open(&forgetful.served.path("file")).expect("open");
    forgetful.touch("link");
    forgetful.wait_for_forget(LINK);
    forgetful.served.model().entry_valid = 3600;
    forgetful.touch("file");
    drop(file);
    forgetful.served.wait_for(Opcode::Release, 1);
    forgetful.served.model().entry_valid = 1;
    forgetful.touch("link");
    forgetful.wait_for_forget(LINK);
    assert_eq!(forgetful.references(FILE), 2, "it holds");
    forgetful.finish();
}

fn invalidated_names_are_forgotten(env: &Env) {
    let forgetful = Forgetful::new(env);
    forgetful.served.model().entry_valid = 3600;
    forgetful.touch("dir");
    // Who changes a directory's mode changes who may look up names in it: they do not hold any more.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(forgetful.served.path("dir"), mode).expect("chmod");
    forgetful.wait_for_forget(DIR);
    forgetful.finish();
}

fn names_of_an_earlier_epoch_are_forgotten(env: &Env) {
    let forgetful = Forgetful::new(env);
    let next_epoch = || {
        let channel = &forgetful.served.channel;
        channel.notify(NotifyCode::IncEpoch, &[]).expect("notify");
    };
    forgetful.served.model().entry_valid = 3600;
    let file = sys::open(&forgetful.served.path("file")).expect("open");
    forgetful.touch("link");
    // Without a period that waits until memory is short.
    forgetful.period.set("0");
    next_epoch();
    sleep(Duration::from_millis(150));
    assert_eq!(forgetful.references(LINK), 1);
    forgetful.period.set(&PERIOD.to_string());
    next_epoch();
    let now = Instant::now();
    forgetful.wait_for_forget(LINK);
    assert!(
        now.elapsed() < Duration::from_secs(PERIOD),
        "that is due at once"
    );
    assert_eq!(forgetful.references(FILE), 1, "it is in use");
    drop(file);
    forgetful.finish();
}
