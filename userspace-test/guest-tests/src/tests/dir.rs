// SPDX-License-Identifier: GPL-2.0

//! Directories: opening, reading, and what a daemon may get wrong about it.

use crate::{
    caller::call,
    env::Env,
    fs::Fs,
    model::{answer, Answer, Model, Served, DIR},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, init_flags, open_flags, Opcode},
    DirEntries, Errno,
};
use std::os::unix::ffi::OsStrExt;
use zerocopy::IntoBytes;

tests![
    what_is_on_the_wire,
    entries_arrive,
    reading_goes_on_where_it_stopped,
    a_small_buffer_asks_again,
    many_entries,
    seeking,
    empty_reply_is_the_end,
    error_reaches_the_caller,
    bad_names,
    record_that_is_cut_off,
    entries_before_a_bad_one_arrive,
    reply_that_is_too_long,
    opendir_error_reaches_the_caller,
    opendir_enosys_is_remembered,
    opendir_enosys_without_the_flag,
    cached_directory_is_read_once,
    releasedir_comes_once,
    not_a_directory,
];

fn what_is_on_the_wire(env: &Env) {
    let fs = Fs::new(env);
    let dir = fs.dir.clone();
    let opened = call(move || sys::open_with(&dir, libc::O_RDONLY | libc::O_DIRECTORY));
    let opendir = fs.expect(Opcode::Opendir);
    assert_eq!((opendir.header().len, opendir.nodeid()), (48, 1));
    let arg: abi::OpenIn = opendir.arg();
    assert_eq!(arg.flags as i32 & libc::O_DIRECTORY, libc::O_DIRECTORY);
    assert_eq!(arg.flags as i32 & libc::O_ACCMODE, libc::O_RDONLY);
    assert_eq!(arg.open_flags, 0);
    let out = abi::OpenOut {
        fh: 0xfeed_f00d_1234_5678,
        ..Default::default()
    };
    fs.reply(&opendir, &out);
    let file = opened.result().unwrap();
    let reader = {
        let file = file.try_clone().unwrap();
        call(move || sys::getdents(&file, 4096))
    };
    let readdir = fs.expect(Opcode::Readdir);
    assert_eq!((readdir.header().len, readdir.nodeid()), (80, 1));
    let arg: abi::ReadIn = readdir.arg();
    assert_eq!(arg.fh, out.fh);
    assert_eq!((arg.offset, arg.size), (0, 4096));
    assert_eq!((arg.read_flags, arg.lock_owner, arg.padding), (0, 0, 0));
    assert_eq!(arg.flags as i32 & libc::O_DIRECTORY, libc::O_DIRECTORY);
    fs.reply_bytes(&readdir, &[]);
    assert_eq!(reader.result().unwrap(), []);
    drop(file);
    let releasedir = fs.expect(Opcode::Releasedir);
    assert_eq!((releasedir.header().len, releasedir.nodeid()), (64, 1));
    let arg: abi::ReleaseIn = releasedir.arg();
    assert_eq!((arg.fh, arg.release_flags, arg.lock_owner), (out.fh, 0, 0));
    assert_eq!(arg.flags as i32 & libc::O_DIRECTORY, libc::O_DIRECTORY);
    fs.reply_bytes(&releasedir, &[]);
}

fn names(entries: &[sys::Entry]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| entry.name.to_str().unwrap())
        .collect()
}

fn entries_arrive(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    let entries = sys::list(&served.dir).unwrap();
    assert_eq!(names(&entries), [".", "..", "dir", "file", "link"]);
    let kinds: Vec<u8> = entries.iter().map(|entry| entry.kind).collect();
    assert_eq!(
        kinds,
        [
            libc::DT_DIR,
            libc::DT_DIR,
            libc::DT_DIR,
            libc::DT_REG,
            libc::DT_LNK
        ]
    );
    let inos: Vec<u64> = entries.iter().map(|entry| entry.ino).collect();
    assert_eq!(inos, [1, 1, 3, 2, 4]);
    let offs: Vec<i64> = entries.iter().map(|entry| entry.off).collect();
    assert_eq!(offs, [1, 2, 3, 4, 5]);
    served.wait_for(Opcode::Releasedir, 1);
    assert_eq!(served.count(Opcode::Readdir), 2);
    served.finish();
}

fn reading_goes_on_where_it_stopped(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    // One entry a reply, at offsets that are far apart.
    served.hook(|req| {
        if req.opcode() != Opcode::Readdir {
            return None;
        }
        let arg: abi::ReadIn = req.arg();
        let (off, name) = match arg.offset {
            0 => (0x1_0000_0000, "one"),
            0x1_0000_0000 => (7, "two"),
            7 => (i64::MAX as u64, "three"),
            _ => return Some(Answer::Bytes(Vec::new())),
        };
        let mut entries = DirEntries::new(arg.size as usize);
        assert!(entries.push(9, off, libc::DT_REG, name.as_ref()));
        Some(Answer::Bytes(entries.bytes().to_vec()))
    });
    assert_eq!(
        names(&sys::list(&served.dir).unwrap()),
        ["one", "two", "three"]
    );
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn a_small_buffer_asks_again(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    let dir = sys::open(&served.dir).unwrap();
    let mut all = Vec::new();
    loop {
        // Room for one or two entries at a time.
        let entries = sys::getdents(&dir, 48).unwrap();
        if entries.is_empty() {
            break;
        }
        assert!(entries.len() <= 2);
        all.extend(entries);
    }
    assert_eq!(names(&all), [".", "..", "dir", "file", "link"]);
    // Not even for one.
    let again = sys::open(&served.dir).unwrap();
    system::assert_errno(sys::getdents(&again, 10), Errno::EINVAL);
    drop((dir, again));
    served.wait_for(Opcode::Releasedir, 2);
    served.finish();
}

fn many_entries(env: &Env) {
    let mut model = Model::new();
    for number in 0..5000 {
        model.link(DIR, &format!("entry-{number:04}"), crate::model::FILE);
    }
    let mut served = Served::new(Fs::new(env), model);
    let entries = sys::list(&served.path("dir")).unwrap();
    assert_eq!(entries.len(), 5003);
    for (number, entry) in entries[2..5002].iter().enumerate() {
        assert_eq!(
            entry.name.as_bytes(),
            format!("entry-{number:04}").as_bytes()
        );
    }
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn seeking(env: &Env) {
    use std::os::fd::AsFd;

    let mut served = Served::new(Fs::new(env), Model::new());
    let dir = sys::open(&served.dir).unwrap();
    let all = sys::getdents(&dir, 4096).unwrap();
    sys::lseek(dir.as_fd(), all[2].off, libc::SEEK_SET).unwrap();
    assert_eq!(names(&sys::getdents(&dir, 4096).unwrap()), ["file", "link"]);
    sys::lseek(dir.as_fd(), 0, libc::SEEK_SET).unwrap();
    assert_eq!(sys::getdents(&dir, 4096).unwrap(), all);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn empty_reply_is_the_end(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.hook(|req| (req.opcode() == Opcode::Readdir).then_some(Answer::Bytes(Vec::new())));
    assert_eq!(sys::list(&served.dir).unwrap(), []);
    assert_eq!(served.count(Opcode::Readdir), 1);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn error_reaches_the_caller(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.hook(|req| (req.opcode() == Opcode::Readdir).then_some(Answer::Error(Errno::EDOM)));
    system::assert_errno(sys::list(&served.dir), Errno::EDOM);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

/// One entry, whatever is in it.
fn raw_entry(namelen: u32, name: &[u8]) -> Vec<u8> {
    let head = abi::Dirent {
        ino: 9,
        off: 1,
        namelen,
        r#type: libc::DT_REG.into(),
    };
    let mut bytes = head.as_bytes().to_vec();
    bytes.extend_from_slice(name);
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// What comes of reading a directory that is answered with `reply`, and then with nothing.
#[track_caller]
fn list_of(env: &Env, reply: Vec<u8>) -> std::io::Result<Vec<String>> {
    let mut served = Served::new(Fs::new(env), Model::new());
    let mut once = Some(reply);
    served.hook(move |req| {
        (req.opcode() == Opcode::Readdir).then(|| Answer::Bytes(once.take().unwrap_or_default()))
    });
    let result = sys::list(&served.dir);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
    result.map(|entries| names(&entries).into_iter().map(String::from).collect())
}

fn bad_names(env: &Env) {
    let long = vec![b'n'; 4096];
    for (namelen, name, what) in [
        (0, &b""[..], "no name"),
        (3, b"a/b", "a slash"),
        (1, b"/", "a slash only"),
        (4096, &long, "too long a name"),
        (u32::MAX, b"abc", "a length that is everything"),
        (u32::MAX - 23, b"abc", "a length that overflows"),
    ] {
        match list_of(env, raw_entry(namelen, name)) {
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EIO), "{what}"),
            Ok(entries) => panic!("{what}: {entries:?}"),
        }
    }
}

fn record_that_is_cut_off(env: &Env) {
    // What is not whole is not there, and that is the end of it.
    let whole = raw_entry(4, b"good");
    for len in [1, 23, 24, 27, 31] {
        assert_eq!(
            list_of(env, whole[..len].to_vec()).unwrap(),
            [""; 0],
            "{len}"
        );
    }
    let mut two = whole.clone();
    two.extend(raw_entry(100, b"short"));
    assert_eq!(list_of(env, two).unwrap(), ["good"]);
}

fn entries_before_a_bad_one_arrive(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.hook(|req| {
        if req.opcode() != Opcode::Readdir {
            return None;
        }
        let arg: abi::ReadIn = req.arg();
        let mut reply = Vec::new();
        if arg.offset == 0 {
            reply.extend(raw_entry(4, b"good"));
        }
        reply.extend(raw_entry(3, b"a/b"));
        Some(Answer::Bytes(reply))
    });
    let dir = sys::open(&served.dir).unwrap();
    // The call gives what it has; the error comes with the next one.
    assert_eq!(names(&sys::getdents(&dir, 4096).unwrap()), ["good"]);
    system::assert_errno(sys::getdents(&dir, 4096), Errno::EIO);
    drop(dir);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn reply_that_is_too_long(env: &Env) {
    let fs = Fs::new(env);
    let dir = fs.dir.clone();
    let lister = call(move || sys::list(&dir));
    let opendir = fs.expect(Opcode::Opendir);
    fs.reply(&opendir, &abi::OpenOut::default());
    let readdir = fs.expect(Opcode::Readdir);
    let arg: abi::ReadIn = readdir.arg();
    system::assert_errno(
        fs.channel
            .reply_bytes(readdir.unique(), &[&vec![0; arg.size as usize + 1]]),
        Errno::EINVAL,
    );
    let releasedir = fs.expect(Opcode::Releasedir);
    fs.reply_bytes(&releasedir, &[]);
    system::assert_errno(lister.result(), Errno::EIO);
}

fn opendir_error_reaches_the_caller(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.hook(|req| (req.opcode() == Opcode::Opendir).then_some(Answer::Error(Errno::EDOM)));
    system::assert_errno(sys::open(&served.dir), Errno::EDOM);
    assert_eq!(served.count(Opcode::Releasedir), 0);
    served.finish();
}

fn opendir_enosys_is_remembered(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::NO_OPENDIR_SUPPORT);
    let mut served = Served::new(fs, Model::new());
    served.hook(|req| (req.opcode() == Opcode::Opendir).then_some(Answer::Error(Errno::ENOSYS)));
    for path in ["", "dir", ""] {
        sys::list(&served.path(path)).unwrap();
    }
    assert_eq!(served.count(Opcode::Opendir), 1);
    assert_eq!(served.count(Opcode::Releasedir), 0);
    let fh = served
        .model()
        .log
        .iter()
        .find(|asked| asked.opcode == Opcode::Readdir)
        .map(|asked| asked.body[..8].to_vec());
    assert_eq!(fh, Some(vec![0; 8]));
    served.finish();
}

fn opendir_enosys_without_the_flag(env: &Env) {
    // The kernel remembers it, whether or not the daemon took the flag.
    let mut served = Served::new(Fs::new(env), Model::new());
    served.hook(|req| (req.opcode() == Opcode::Opendir).then_some(Answer::Error(Errno::ENOSYS)));
    sys::list(&served.dir).unwrap();
    sys::list(&served.dir).unwrap();
    assert_eq!(served.count(Opcode::Opendir), 1);
    served.finish();
}

fn cached_directory_is_read_once(env: &Env) {
    let mut model = Model::cached();
    model.opendir_flags = open_flags::CACHE_DIR | open_flags::KEEP_CACHE;
    let mut served = Served::new(Fs::new(env), model);
    let first = sys::list(&served.dir).unwrap();
    let asked = served.count(Opcode::Readdir);
    assert_eq!(sys::list(&served.dir).unwrap(), first);
    assert_eq!(served.count(Opcode::Readdir), asked);
    served.wait_for(Opcode::Releasedir, 2);
    served.finish();
}

fn releasedir_comes_once(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    let dir = sys::open(&served.dir).unwrap();
    let other = dir.try_clone().unwrap();
    drop(dir);
    assert_eq!(served.count(Opcode::Releasedir), 0);
    drop(other);
    served.wait_for(Opcode::Releasedir, 1);
    assert_eq!(served.count(Opcode::Flush), 0);
    served.finish();
    assert_eq!(served.count(Opcode::Releasedir), 1);
}

fn not_a_directory(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    system::assert_errno(sys::list(&served.path("file")), Errno::ENOTDIR);
    system::assert_errno(sys::stat(&served.path("file/x")), Errno::ENOTDIR);
    let file = sys::open(&served.path("file")).unwrap();
    system::assert_errno(sys::getdents(&file, 4096), Errno::ENOTDIR);
    system::assert_errno(
        std::io::Read::read(&mut sys::open(&served.dir).unwrap(), &mut [0; 8]),
        Errno::EISDIR,
    );
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.hook(|req| (req.opcode() == Opcode::Opendir).then(|| answer(&abi::OpenOut::default())));
    served.finish();
}
