// SPDX-License-Identifier: GPL-2.0

//! Copies between the kernel and a daemon whose memory does not come: an abort lets everybody go who
//! waits for them.

use crate::{
    caller::{call, Caller},
    env::Env,
    fs::{Fs, Req},
    model::{Answer, Model, CONTENTS},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, Opcode, OutHeader},
    fault::{Hole, Mapped},
    Errno,
};
use std::{fs::File, io, os::unix::fs::FileExt, path::Path, time::Duration};
use zerocopy::IntoBytes;

tests![
    abort_breaks_a_request_for_memory_that_does_not_come,
    abort_breaks_a_reply_from_memory_that_does_not_come,
    abort_breaks_a_reply_from_the_page_that_it_fills,
    memory_that_comes_late_is_as_good,
];

const SHORT: Duration = Duration::from_millis(150);

fn abort(env: &Env, fs: &Fs) {
    std::fs::write(fs.control(env).join("abort"), "1").expect("abort");
}

/// There whoever waits is let go as well, but unmounting waits for the copy.
fn skip_on_c_fuse(env: &Env) {
    if !env.is_rust() {
        crate::runner::skip("C FUSE is not unmounted while a copy waits");
    }
}

fn stat(fs: &Fs) -> Caller<io::Result<()>> {
    let dir = fs.dir.clone();
    call(move || sys::stat(&dir).map(drop))
}

/// The header of a reply with so much after it.
fn header(req: &Req, len: usize) -> OutHeader {
    OutHeader {
        len: (size_of::<OutHeader>() + len) as u32,
        error: 0,
        unique: req.unique(),
    }
}

/// Nobody who waits for the copy waits on after an abort, though the copy itself does.
#[track_caller]
fn is_broken<T: Send + 'static>(
    env: &Env,
    fs: &Fs,
    copy: &Caller<io::Result<T>>,
    caller: &Caller<io::Result<()>>,
) {
    assert!(caller.still_waits(SHORT));
    abort(env, fs);
    system::assert_errno(caller.result(), Errno::ECONNABORTED);
    assert!(copy.still_waits(Duration::ZERO));
}

fn abort_breaks_a_request_for_memory_that_does_not_come(env: &Env) {
    skip_on_c_fuse(env);
    let fs = Fs::new(env);
    let hole = Hole::new(256 << 10).expect("userfaultfd");
    let watch = hole.watch().expect("dup");
    let channel = fs.channel.try_clone().expect("dup");
    let reader = call(move || hole.read(&channel));
    let caller = stat(&fs);
    watch.wait().expect("poll");
    is_broken(env, &fs, &reader, &caller);
}

fn abort_breaks_a_reply_from_memory_that_does_not_come(env: &Env) {
    skip_on_c_fuse(env);
    let fs = Fs::new(env);
    let hole = Hole::new(4096).expect("userfaultfd");
    let watch = hole.watch().expect("dup");
    let caller = stat(&fs);
    let req = fs.expect(Opcode::Getattr);
    let len = size_of::<abi::AttrOut>();
    let header = header(&req, len);
    let channel = fs.channel.try_clone().expect("dup");
    let writer = call(move || hole.write(&channel, header.as_bytes(), len));
    watch.wait().expect("poll");
    is_broken(env, &fs, &writer, &caller);
}

/// Answers what is asked for, up to the first READ.
#[track_caller]
fn up_to_read(fs: &Fs) -> Req {
    let mut model = Model::cached();
    // Whoever closes the file need not wait for the daemon.
    model.open_flags = abi::open_flags::NOFLUSH;
    loop {
        let req = fs.next();
        match req.opcode() {
            Opcode::Read => return req,
            _ => match model.answer(&req) {
                Answer::Bytes(bytes) => fs.reply_bytes(&req, &bytes),
                Answer::Error(error) => fs.reply_error(&req, error),
                Answer::Nothing => {}
            },
        }
    }
}

/// The daemon answers a READ out of a mapping of the page that the READ is to fill: it waits for
/// itself.
fn abort_breaks_a_reply_from_the_page_that_it_fills(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("file");
    let (tell, file) = std::sync::mpsc::channel::<File>();
    let caller = call(move || {
        let file = sys::open(&path)?;
        tell.send(file.try_clone()?).expect("the test listens");
        file.read_at(&mut [0; 8], 0).map(drop)
    });
    let req = up_to_read(&fs);
    let mapped = Mapped::new(&file.recv().expect("the file"), 4096).expect("mmap");
    let header = header(&req, CONTENTS.len());
    let channel = fs.channel.try_clone().expect("dup");
    let writer = call(move || mapped.write(&channel, header.as_bytes(), CONTENTS.len()));
    assert!(writer.still_waits(SHORT));
    assert!(caller.still_waits(Duration::ZERO));
    abort(env, &fs);
    // The page cache has one error for all.
    system::assert_errno(caller.result(), Errno::EIO);
    system::assert_errno(writer.result(), Errno::ENOENT);
}

/// Memory of a new file of 256 KiB that begins so, which nobody has touched.
#[track_caller]
fn untouched(name: &str, bytes: &[u8]) -> Mapped {
    let path = Path::new(system::SCRATCH).join(name);
    let mut contents = bytes.to_vec();
    contents.resize(256 << 10, 0);
    std::fs::write(&path, contents).expect("a file");
    let file = File::open(&path).expect("the file");
    Mapped::new(&file, 256 << 10).expect("mmap")
}

fn memory_that_comes_late_is_as_good(env: &Env) {
    let fs = Fs::new(env);
    let caller = stat(&fs);
    let memory = untouched("request", &[]);
    let len = memory.read(&fs.channel).expect("a request");
    let req = Req::new(&memory.bytes()[..len]);
    assert_eq!(req.opcode(), Opcode::Getattr);
    let Answer::Bytes(attr) = Model::cached().answer(&req) else {
        panic!("the root has attributes");
    };
    let header = header(&req, attr.len());
    let written = untouched("reply", &attr).write(&fs.channel, header.as_bytes(), attr.len());
    assert_eq!(written.expect("the reply"), header.len as usize);
    caller.result().expect("stat");
}
