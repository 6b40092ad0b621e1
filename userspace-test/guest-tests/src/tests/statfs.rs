// SPDX-License-Identifier: GPL-2.0

//! The file system's size and use.

use crate::{
    caller::call,
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served},
    tests::tests,
};
use nix::sys::statfs::{statfs, FsType};
use rawfuse::{
    abi::{self, Opcode},
    Errno,
};

tests![
    every_field_arrives,
    error_reaches_the_caller,
    is_asked_on_the_inode
];

fn every_field_arrives(env: &Env) {
    let fs = Fs::new(env);
    let dir = fs.dir.clone();
    let caller = call(move || statfs(&dir));
    let request = fs.expect(Opcode::Statfs);
    assert_eq!((request.header().len, request.nodeid()), (40, 1));
    let st = abi::Kstatfs {
        blocks: 0x1_0000_0001,
        bfree: 0x1_0000_0002,
        bavail: 3,
        files: 0x1_0000_0004,
        ffree: 5,
        bsize: 65536,
        namelen: 77,
        frsize: 512,
        padding: 1,
        spare: [1; 6],
    };
    fs.reply(&request, &abi::StatfsOut { st });
    let got = caller.result().unwrap();
    assert_eq!(got.filesystem_type(), FsType(0x6573_5546));
    assert_eq!(got.blocks(), st.blocks);
    assert_eq!(got.blocks_free(), st.bfree);
    assert_eq!(got.blocks_available(), st.bavail);
    assert_eq!((got.files(), got.files_free()), (st.files, st.ffree));
    assert_eq!((got.block_size(), got.maximum_name_length()), (65536, 77));
}

fn error_reaches_the_caller(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    for error in [Errno::EDOM, Errno::ENOSYS] {
        served.hook(move |req| (req.opcode() == Opcode::Statfs).then_some(Answer::Error(error)));
        // ENOSYS is not remembered here.
        for _ in 0..2 {
            assert_eq!(statfs(&served.dir).err(), Some(error));
        }
    }
    assert_eq!(served.count(Opcode::Statfs), 4);
    served.finish();
}

fn is_asked_on_the_inode(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    statfs(&served.path("file")).unwrap();
    let asked = served.model().log.pop().unwrap();
    assert_eq!(
        (asked.opcode, asked.nodeid),
        (Opcode::Statfs, crate::model::FILE)
    );
    served.finish();
}
