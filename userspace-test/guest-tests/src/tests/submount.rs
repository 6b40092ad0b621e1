// SPDX-License-Identifier: GPL-2.0

//! Submounts (`SUBMOUNTS`): Linux has them on virtiofs. Daemons that serve a device are not offered
//! any, and get none.

use crate::{
    env::Env,
    fs::{mount, next, Fs},
    model::{Model, Served, DIR, INNER},
    sys,
    tests::tests,
};
use rawfuse::{
    abi::{self, attr_flags, init_flags, Opcode},
    MountOptions,
};

tests![
    not_offered,
    nothing_is_mounted_by_itself,
    expired_root_of_a_submount_is_looked_up_anew,
];

/// A file system whose directory `dir` the daemon takes for a submount, as it has never heard that
/// there are none.
#[track_caller]
fn served(env: &Env, mut model: Model) -> Served {
    model.node(DIR).attr.flags = attr_flags::SUBMOUNT;
    Served::new(Fs::with_minor(env, 46, init_flags::SUBMOUNTS), model)
}

fn not_offered(env: &Env) {
    let (channel, _mount, _dir) = mount(env, &MountOptions::new(env.kind));
    let init: abi::InitIn = next(&channel).arg();
    assert_eq!(init.all_flags() & init_flags::SUBMOUNTS, 0);
}

fn nothing_is_mounted_by_itself(env: &Env) {
    let mut served = served(env, Model::cached());
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let before = mounts();
    let root = sys::stat(&served.dir).unwrap();
    let inner = sys::stat(&served.path("dir/inner")).unwrap();
    assert_eq!(inner.st_ino, INNER);
    let dir = sys::open_with(&served.path("dir"), libc::O_DIRECTORY).unwrap();
    assert_eq!(sys::fstat(&dir).unwrap().st_dev, root.st_dev);
    assert_eq!(inner.st_dev, root.st_dev);
    assert_eq!(mounts(), before);
    drop(dir);
    served.finish();
}

fn expired_root_of_a_submount_is_looked_up_anew(env: &Env) {
    let mut served = served(env, Model::new());
    served.model().attr_valid = 3600;
    sys::stat(&served.path("dir")).unwrap();
    assert_eq!(served.count(Opcode::Lookup), 1);
    // It is another inode than the one there was, each time.
    for round in 1..4 {
        sys::stat(&served.path("dir")).unwrap();
        assert_eq!(served.count(Opcode::Lookup), 1 + 2 * round);
        crate::caller::eventually("what was looked up is given back", || {
            served.model().lookups[&DIR] == 1
        });
    }
    // Without the flag, the lookup confirms what was known.
    served.model().node(DIR).attr.flags = 0;
    sys::stat(&served.path("dir")).unwrap();
    assert_eq!(served.count(Opcode::Lookup), 8);
    served.finish();
}
