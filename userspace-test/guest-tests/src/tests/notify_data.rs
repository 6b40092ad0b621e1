// SPDX-License-Identifier: GPL-2.0

//! Notifications about data: `STORE`, `RETRIEVE`.

use crate::{
    env::Env,
    fs::Fs,
    model::{Answer, Model, Served, DIR, FILE},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, open_flags, NotifyCode, Opcode},
    Errno, Operation,
};
use std::{
    io,
    sync::mpsc::{channel, Receiver},
};
use zerocopy::IntoBytes;

tests![
    store_is_read,
    store_over_what_was_there,
    store_of_a_part,
    store_grows_the_file,
    store_errors,
    store_malformed,
    store_from_nowhere,
    retrieve_on_the_wire,
    retrieve_what_is_there,
    retrieve_stops_at_the_end,
    retrieve_errors,
    retrieve_reply_takes_no_answer,
    retrieve_of_what_was_stored,
];

const PAGE: usize = 4096;

pub(super) fn store(fs: &Fs, nodeid: u64, offset: u64, data: &[u8]) -> io::Result<()> {
    let out = abi::NotifyStoreOut {
        nodeid,
        offset,
        size: data.len() as u32,
        padding: 0,
    };
    fs.channel
        .notify(NotifyCode::Store, &[out.as_bytes(), data])
}

/// A model whose file has `len` bytes, and is kept in the page cache.
fn served(env: &Env, len: usize) -> Served {
    let mut model = Model::cached();
    model.add(FILE, libc::S_IFREG | 0o644, &vec![b'a'; len]);
    model.open_flags = open_flags::KEEP_CACHE;
    let served = Served::new(Fs::new(env), model);
    sys::stat(&served.path("file")).unwrap();
    served
}

/// Fails the test unless that is what is in the file.
#[track_caller]
fn assert_contents(served: &Served, expected: &[u8]) {
    let contents = sys::contents(&served.path("file")).unwrap();
    let differs = contents
        .iter()
        .zip(expected)
        .position(|(is, was)| is != was);
    assert_eq!((contents.len(), differs), (expected.len(), None));
}

fn store_is_read(env: &Env) {
    let mut served = served(env, 3 * PAGE);
    let data: Vec<u8> = (0..3 * PAGE).map(|byte| (byte % 251) as u8).collect();
    store(&served, FILE, 0, &data).unwrap();
    assert_contents(&served, &data);
    assert_eq!(served.count(Opcode::Read), 0);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn store_over_what_was_there(env: &Env) {
    let mut served = served(env, 2 * PAGE + 10);
    sys::contents(&served.path("file")).unwrap();
    served.clear_log();
    // From the middle of a page to the middle of another, which are there.
    store(&served, FILE, 100, &vec![b'x'; 2 * PAGE - 100]).unwrap();
    let mut expected = vec![b'a'; 2 * PAGE + 10];
    expected[100..2 * PAGE].fill(b'x');
    assert_contents(&served, &expected);
    assert_eq!(served.count(Opcode::Read), 0);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn store_of_a_part(env: &Env) {
    // A page that was not there has to be filled; else it is read, and what was stored is lost.
    let mut served = served(env, 3 * PAGE);
    store(&served, FILE, 10, &vec![b'x'; 2 * PAGE]).unwrap();
    let mut expected = vec![b'a'; 3 * PAGE];
    expected[PAGE..2 * PAGE].fill(b'x');
    assert_contents(&served, &expected);
    assert!(served.count(Opcode::Read) > 0);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn store_grows_the_file(env: &Env) {
    let mut served = served(env, 10);
    store(&served, FILE, 0, &vec![b'x'; PAGE + 10]).unwrap();
    let mut kept = served.model().node(FILE).attr;
    kept.size = PAGE as u64 + 10;
    served.model().node(FILE).attr = kept;
    // The size does not hold, for the daemon knows it; the page that ends with the file does.
    assert_contents(&served, &[b'x'; PAGE + 10]);
    assert_eq!(served.count(Opcode::Read), 0);
    assert!(served.count(Opcode::Getattr) > 0);
    // Nothing at all beyond the end does not make it longer.
    store(&served, FILE, 100_000, &[]).unwrap();
    assert_eq!(
        sys::stat(&served.path("file")).unwrap().st_size as usize,
        PAGE + 10
    );
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn store_errors(env: &Env) {
    let mut served = served(env, 10);
    sys::lstat(&served.path("link")).unwrap();
    sys::stat(&served.path("dir")).unwrap();
    for (nodeid, offset, error) in [
        (0, 0, Errno::ENOENT),
        (99, 0, Errno::ENOENT),
        (DIR, 0, Errno::EINVAL),
        (crate::model::LINK, 0, Errno::EINVAL),
        (abi::ROOT_ID, 0, Errno::EINVAL),
        (FILE, i64::MAX as u64, Errno::EINVAL),
        (FILE, u64::MAX, Errno::EINVAL),
        (99, u64::MAX, Errno::EINVAL),
    ] {
        system::assert_errno(store(&served, nodeid, offset, b"data"), error);
    }
    served.finish();
}

fn store_malformed(env: &Env) {
    let mut served = served(env, 10);
    for (size, data) in [
        (3, &b"data"[..]),
        (5, b"data"),
        (0, b"data"),
        (u32::MAX, b"data"),
        (u32::MAX, b""),
    ] {
        let out = abi::NotifyStoreOut {
            nodeid: FILE,
            size,
            ..Default::default()
        };
        let parts = [out.as_bytes(), data];
        system::assert_errno(
            served.channel.notify(NotifyCode::Store, &parts),
            Errno::EINVAL,
        );
    }
    for len in [0, 8, 23] {
        let bytes = [0; 23];
        system::assert_errno(
            served.channel.notify(NotifyCode::Store, &[&bytes[..len]]),
            Errno::EINVAL,
        );
    }
    assert_contents(&served, &[b'a'; 10]);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn store_from_nowhere(env: &Env) {
    use std::os::fd::AsFd;

    let mut served = served(env, 2 * PAGE);
    let out = abi::NotifyStoreOut {
        nodeid: FILE,
        size: 2 * PAGE as u32,
        ..Default::default()
    };
    let header = abi::OutHeader {
        len: (16 + 24 + 2 * PAGE) as u32,
        error: NotifyCode::Store as i32,
        unique: 0,
    };
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(out.as_bytes());
    system::assert_errno(
        sys::writev_into_nowhere(served.channel.as_fd(), &bytes, 2 * PAGE),
        Errno::EFAULT,
    );
    assert_contents(&served, &[b'a'; 2 * PAGE]);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

pub(super) fn retrieve(fs: &Fs, name: u64, nodeid: u64, offset: u64, size: u32) -> io::Result<()> {
    let out = abi::NotifyRetrieveOut {
        notify_unique: name,
        nodeid,
        offset,
        size,
        padding: 0,
    };
    fs.channel.notify(NotifyCode::Retrieve, &[out.as_bytes()])
}

/// What the kernel sends for RETRIEVE: its name, the node, the offset and the data.
type Retrieved = (u64, u64, u64, Vec<u8>);

/// Has the model hand on what it is sent.
fn retrieved(served: &Served) -> Receiver<Retrieved> {
    let (sender, receiver) = channel();
    served.hook(move |req| {
        let Operation::NotifyReply { arg, data } = req.operation() else {
            return None;
        };
        assert_eq!(
            (arg.dummy1, arg.dummy2, arg.dummy3, arg.dummy4),
            (0, 0, 0, 0)
        );
        sender
            .send((req.unique(), req.nodeid(), arg.offset, data.to_vec()))
            .unwrap();
        Some(Answer::Nothing)
    });
    receiver
}

fn retrieve_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("file");
    let caller = crate::caller::call(move || sys::stat(&path).map(drop));
    let lookup = fs.expect(Opcode::Lookup);
    let mut model = Model::cached();
    fs.reply(&lookup, &model.entry(FILE));
    caller.result().unwrap();
    retrieve(&fs, 0x1234_5678_9abc_def1, FILE, 5, 100).unwrap();
    let req = fs.expect(Opcode::NotifyReply);
    let header = req.header();
    // Nothing is in the page cache yet.
    assert_eq!((header.len, header.nodeid), (80, FILE));
    assert_eq!(header.unique, 0x1234_5678_9abc_def1);
    assert_eq!((header.uid, header.gid), (0, 0));
    assert_eq!(header.pid, std::process::id());
    let arg: abi::NotifyRetrieveIn = req.arg();
    assert_eq!((arg.offset, arg.size), (5, 0));
}

fn retrieve_what_is_there(env: &Env) {
    let mut served = served(env, 3 * PAGE + 5);
    let data: Vec<u8> = (0..3 * PAGE + 5).map(|byte| (byte % 251) as u8).collect();
    served.model().node(FILE).data = data.clone();
    sys::contents(&served.path("file")).unwrap();
    let sent = retrieved(&served);
    for (offset, size) in [
        (0, 10),
        (0, 3 * PAGE + 5),
        (1, PAGE),
        (PAGE - 1, 2),
        (2 * PAGE, PAGE + 5),
        (3 * PAGE, 5),
        (0, 0),
    ] {
        retrieve(&served, 7, FILE, offset as u64, size as u32).unwrap();
        let (name, nodeid, from, bytes) = sent.recv().unwrap();
        assert_eq!((name, nodeid, from), (7, FILE, offset as u64));
        assert_eq!(bytes, data[offset..offset + size], "{offset}, {size}");
    }
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn retrieve_stops_at_the_end(env: &Env) {
    let mut served = served(env, PAGE + 5);
    sys::contents(&served.path("file")).unwrap();
    let sent = retrieved(&served);
    for (offset, size, len) in [
        (0, u32::MAX, PAGE + 5),
        (PAGE as u64, 100, 5),
        (PAGE as u64 + 5, 100, 0),
        (100_000, 100, 0),
        (i64::MAX as u64 - 1, u32::MAX, 0),
    ] {
        // The names that a daemon gives are its own business.
        let name = u64::MAX - offset;
        retrieve(&served, name, FILE, offset, size).unwrap();
        let (named, _, from, bytes) = sent.recv().unwrap();
        assert_eq!((named, from, bytes.len()), (name, offset, len));
    }
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn retrieve_errors(env: &Env) {
    let mut served = served(env, 10);
    sys::stat(&served.path("dir")).unwrap();
    for (nodeid, offset, error) in [
        (0, 0, Errno::ENOENT),
        (99, 0, Errno::ENOENT),
        (DIR, 0, Errno::EINVAL),
        (abi::ROOT_ID, 0, Errno::EINVAL),
        (FILE, i64::MAX as u64, Errno::EINVAL),
        (FILE, u64::MAX, Errno::EINVAL),
    ] {
        system::assert_errno(retrieve(&served, 1, nodeid, offset, 10), error);
    }
    let bytes = [0; 33];
    for len in [0, 31, 33] {
        system::assert_errno(
            served
                .channel
                .notify(NotifyCode::Retrieve, &[&bytes[..len]]),
            Errno::EINVAL,
        );
    }
    assert_eq!(served.count(Opcode::NotifyReply), 0);
    served.finish();
}

fn retrieve_reply_takes_no_answer(env: &Env) {
    let mut served = served(env, 10);
    let sent = retrieved(&served);
    retrieve(&served, 2, FILE, 0, 10).unwrap();
    let (name, ..) = sent.recv().unwrap();
    system::assert_errno(served.channel.reply_bytes(name, &[]), Errno::ENOENT);
    // Nor is it sent again.
    served.channel.notify(NotifyCode::Resend, &[]).unwrap();
    assert!(sent
        .recv_timeout(std::time::Duration::from_millis(50))
        .is_err());
    served.finish();
}

fn retrieve_of_what_was_stored(env: &Env) {
    let mut served = served(env, 2 * PAGE);
    let sent = retrieved(&served);
    store(&served, FILE, 0, &[b'x'; PAGE]).unwrap();
    retrieve(&served, 4, FILE, 0, 2 * PAGE as u32).unwrap();
    // The second page is not there.
    assert_eq!(sent.recv().unwrap().3, [b'x'; PAGE]);
    retrieve(&served, 4, FILE, PAGE as u64, 10).unwrap();
    assert_eq!(sent.recv().unwrap().3, [0_u8; 0]);
    served.finish();
}
