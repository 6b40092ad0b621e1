// SPDX-License-Identifier: GPL-2.0

//! Where on the block device a file is: BMAP, by `ioctl(FIBMAP)`.

use super::syncfs::on_block_device;
use crate::{
    env::Env,
    fs::Fs,
    loopdev::LoopDevice,
    model::{answer, args, Answer, Served, FILE},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{BmapIn, BmapOut, Opcode},
    Errno,
};
use std::fs::File;

tests![
    what_is_on_the_wire,
    asks_in_blocks_of_the_file_system,
    error_is_no_block,
    enosys_is_remembered,
    not_without_a_block_device,
];

/// The number of the `ioctl` that asks for the block of a block.
const FIBMAP: u32 = 1;

/// What `FIBMAP` says of a block.
#[track_caller]
fn block_of(file: &File, block: u32) -> u32 {
    let mut bytes = block.to_ne_bytes();
    sys::ioctl_bytes(file, FIBMAP, &mut bytes).expect("FIBMAP");
    u32::from_ne_bytes(bytes)
}

/// A file system on a block device, with a file that is open. BMAP says block 1000 and up.
fn with_file(env: &Env, options: &str) -> (LoopDevice, Served, File) {
    let (device, served, root) = on_block_device(env, options);
    drop(root);
    served.wait_for(Opcode::Releasedir, 1);
    served.hook(|req| {
        (req.opcode() == Opcode::Bmap).then(|| {
            let block = req.arg::<BmapIn>().block + 1000;
            answer(&BmapOut { block })
        })
    });
    let file = sys::open(&served.path("file")).expect("open");
    served.clear_log();
    (device, served, file)
}

#[track_caller]
fn finish(mut served: Served, file: File) {
    drop(file);
    served.wait_for(Opcode::Release, 1);
    nix::mount::umount(&served.dir).expect("umount");
    served.finish();
}

fn what_is_on_the_wire(env: &Env) {
    let (_device, served, file) = with_file(env, "");
    assert_eq!(block_of(&file, 7), 1007);
    let asked = served.model().log[0].clone();
    assert_eq!((asked.opcode, asked.nodeid), (Opcode::Bmap, FILE));
    let mut expected = 7_u64.to_ne_bytes().to_vec();
    expected.extend_from_slice(&512_u32.to_ne_bytes());
    expected.extend_from_slice(&[0; 4]);
    assert_eq!(asked.body, expected);
    // The answer is not kept.
    assert_eq!(block_of(&file, 7), 1007);
    assert_eq!(served.count(Opcode::Bmap), 2);
    finish(served, file);
}

fn asks_in_blocks_of_the_file_system(env: &Env) {
    for size in [1024, 4096] {
        let (_device, served, file) = with_file(env, &format!(",blksize={size}"));
        assert_eq!(block_of(&file, 0), 1000);
        let asked: Vec<BmapIn> = args(&served, Opcode::Bmap);
        assert_eq!((asked[0].block, asked[0].blocksize), (0, size));
        finish(served, file);
    }
}

fn error_is_no_block(env: &Env) {
    let (_device, served, file) = with_file(env, "");
    for round in 1..=2 {
        served.hook(|req| (req.opcode() == Opcode::Bmap).then_some(Answer::Error(Errno::EDOM)));
        assert_eq!(block_of(&file, 7), 0);
        assert_eq!(served.count(Opcode::Bmap), round);
    }
    // More than an `int` can say.
    served.hook(|req| (req.opcode() == Opcode::Bmap).then(|| answer(&BmapOut { block: 1 << 31 })));
    let mut bytes = 7_u32.to_ne_bytes();
    let result = sys::ioctl_bytes(&file, FIBMAP, &mut bytes);
    assert_eq!(system::errno(result), libc::ERANGE);
    finish(served, file);
}

fn enosys_is_remembered(env: &Env) {
    let (_device, served, file) = with_file(env, "");
    served.hook(|req| (req.opcode() == Opcode::Bmap).then_some(Answer::Error(Errno::ENOSYS)));
    for _ in 0..3 {
        assert_eq!(block_of(&file, 7), 0);
        assert_eq!(served.count(Opcode::Bmap), 1);
    }
    finish(served, file);
}

fn not_without_a_block_device(env: &Env) {
    let mut served = Served::new(Fs::new(env), crate::model::Model::cached());
    let file = sys::open(&served.path("file")).expect("open");
    served.clear_log();
    assert_eq!(block_of(&file, 7), 0);
    assert_eq!(served.model().opcodes(), []);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}
