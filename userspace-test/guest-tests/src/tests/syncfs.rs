// SPDX-License-Identifier: GPL-2.0

//! `syncfs(2)`: SYNCFS goes to daemons on block devices only.

use crate::{
    env::Env,
    fs::{settle, Fs},
    loopdev::{self, LoopDevice},
    model::{Answer, Model, Served},
    sys, system,
    tests::tests,
};
use nix::unistd::syncfs;
use rawfuse::{
    abi::{self, Opcode},
    Errno, InitConfig,
};
use std::{fs::File, path::Path};

tests![
    is_sent_to_block_devices,
    enosys_is_remembered,
    error_reaches_the_caller,
    is_not_sent_to_others,
];

/// A file system on a block device, with a directory of it that is open.
pub(super) fn on_block_device(env: &Env, options: &str) -> (LoopDevice, Served, File) {
    let (device, fs) = loopdev::mount(env, options).expect("mount");
    settle(&fs.channel, &InitConfig::default());
    let served = Served::new(fs, Model::cached());
    let root = sys::open(&served.dir).expect("open");
    served.clear_log();
    (device, served, root)
}

/// Closes the directory, and unmounts.
#[track_caller]
pub(super) fn finish(served: &mut Served, root: File) {
    drop(root);
    served.wait_for(Opcode::Releasedir, 1);
    nix::mount::umount(&served.dir).expect("umount");
    served.finish();
}

fn is_sent_to_block_devices(env: &Env) {
    let (_device, mut served, root) = on_block_device(env, "");
    served.hook(|req| (req.opcode() == Opcode::Syncfs).then(|| Answer::Bytes(Vec::new())));
    for round in 1..=2 {
        syncfs(&root).unwrap();
        assert_eq!(served.count(Opcode::Syncfs), round);
    }
    let asked = served.model().log[0].clone();
    assert_eq!((asked.nodeid, asked.body), (abi::ROOT_ID, vec![0; 8]));
    finish(&mut served, root);
}

fn enosys_is_remembered(env: &Env) {
    let (_device, mut served, root) = on_block_device(env, "");
    served.hook(|req| (req.opcode() == Opcode::Syncfs).then_some(Answer::Error(Errno::ENOSYS)));
    for _ in 0..3 {
        syncfs(&root).unwrap();
        assert_eq!(served.count(Opcode::Syncfs), 1);
    }
    finish(&mut served, root);
}

fn error_reaches_the_caller(env: &Env) {
    let (_device, mut served, root) = on_block_device(env, "");
    served.hook(|req| (req.opcode() == Opcode::Syncfs).then_some(Answer::Error(Errno::EDOM)));
    for round in 1..=2 {
        assert_eq!(syncfs(&root), Err(nix::Error::EDOM));
        assert_eq!(served.count(Opcode::Syncfs), round);
    }
    finish(&mut served, root);
}

fn is_not_sent_to_others(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let root = sys::open(&served.dir).expect("open");
    served.clear_log();
    syncfs(&root).unwrap();
    system_wide_sync(&served.dir);
    assert_eq!(served.model().opcodes(), []);
    drop(root);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

/// `sync(2)`, with that file system among those that are there.
#[track_caller]
fn system_wide_sync(dir: &Path) {
    assert!(system::is_mounted(dir));
    nix::unistd::sync();
}
