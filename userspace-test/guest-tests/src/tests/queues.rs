// SPDX-License-Identifier: GPL-2.0

//! The queues: order, and what may wait for what.

use crate::{
    caller::{call, eventually, Caller},
    env::Env,
    fs::{Fs, Req},
    model::{Model, FILE},
    sys, system,
    tests::tests,
};
use nix::fcntl::{posix_fadvise, PosixFadviseAdvice};
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Errno, InitConfig,
};
use std::{fs::File, io, os::fd::AsFd, time::Duration};

tests![
    requests_come_in_order,
    waiting_counts_all_that_has_not_ended,
    background_is_limited,
    a_burst_of_reads_does_not_block_others,
    limit_can_be_raised_while_waiting,
    release_waits_for_its_reply_in_background,
    unmounting_ends_what_is_in_flight,
    one_lookup_of_a_directory_at_a_time,
    parallel_lookups_with_the_flag,
    reading_a_directory_and_looking_up_in_it,
];

const SHORT: Duration = Duration::from_millis(150);

fn waiting(env: &Env, fs: &Fs) -> u32 {
    let file = fs.control(env).join("waiting");
    std::fs::read_to_string(file)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

fn requests_come_in_order(env: &Env) {
    let fs = Fs::new(env);
    let mut callers = Vec::new();
    for number in 1..=20 {
        let path = fs.dir.clone();
        callers.push(call(move || {
            // Told apart by what access asks for, and how often it is asked.
            sys::access(
                &path,
                if number % 2 == 0 {
                    libc::R_OK
                } else {
                    libc::W_OK
                },
            )
        }));
        eventually("the request is queued", || waiting(env, &fs) == number);
    }
    let mut uniques = Vec::new();
    for number in 1..=20 {
        let access = fs.expect(Opcode::Access);
        let arg: abi::AccessIn = access.arg();
        assert_eq!(
            arg.mask,
            if number % 2 == 0 { 4 } else { 2 },
            "number {number}"
        );
        uniques.push(access.unique());
        fs.reply_bytes(&access, &[]);
    }
    for caller in &callers {
        caller.result().unwrap();
    }
}

fn waiting_counts_all_that_has_not_ended(env: &Env) {
    let fs = Fs::new(env);
    assert_eq!(waiting(env, &fs), 0);
    let callers: Vec<Caller<_>> = (0..3)
        .map(|_| {
            let dir = fs.dir.clone();
            call(move || sys::stat(&dir).map(drop))
        })
        .collect();
    eventually("3 requests wait", || waiting(env, &fs) == 3);
    let first = fs.expect(Opcode::Getattr);
    let second = fs.expect(Opcode::Getattr);
    // Having been read changes nothing.
    assert_eq!(waiting(env, &fs), 3);
    fs.reply_error(&first, Errno::EIO);
    eventually("2 requests wait", || waiting(env, &fs) == 2);
    fs.reply_error(&second, Errno::EIO);
    let third = fs.expect(Opcode::Getattr);
    fs.reply_error(&third, Errno::EIO);
    for caller in &callers {
        system::assert_errno(caller.result(), Errno::EIO);
    }
    assert_eq!(waiting(env, &fs), 0);
}

/// A large file that is open, and a process that makes the kernel read it ahead.
struct Readahead {
    fs: Fs,
    /// Gives back the open file, so that nothing is closed before the end.
    caller: Caller<io::Result<File>>,
    _file: File,
}

const SIZE: usize = 8 << 20;
const WINDOW: usize = 128 << 10;

impl Readahead {
    fn new(env: &Env) -> Self {
        let config = InitConfig {
            flags: init_flags::ASYNC_READ,
            ..Default::default()
        };
        let fs = Fs::with(env, |options| options, &config);
        let path = fs.path("x");
        let opener = call(move || sys::open(&path));
        let lookup = fs.expect(Opcode::Lookup);
        let mut entry = Model::cached().entry(FILE);
        entry.attr.size = SIZE as u64;
        fs.reply(&lookup, &entry);
        let open = fs.expect(Opcode::Open);
        fs.reply(&open, &abi::OpenOut::default());
        let file = opener.result().expect("open");
        let other = file.try_clone().unwrap();
        let caller = call(move || {
            // One request each: no call reads ahead more than the window.
            for at in (0..SIZE).step_by(WINDOW) {
                let will_need = PosixFadviseAdvice::POSIX_FADV_WILLNEED;
                posix_fadvise(other.as_fd(), at as i64, WINDOW as i64, will_need)?;
            }
            Ok(other)
        });
        Self {
            fs,
            caller,
            _file: file,
        }
    }

    /// The `READ`s that the daemon is given without answering any: `count`, and no more.
    #[track_caller]
    fn given(&self, count: usize) -> Vec<Req> {
        let all = (0..count).map(|_| self.fs.expect(Opcode::Read)).collect();
        self.fs.expect_silence(SHORT);
        all
    }

    fn answer(&self, read: &Req) {
        let arg: abi::ReadIn = read.arg();
        self.fs.reply_bytes(read, &vec![b'x'; arg.size as usize]);
    }

    /// Answers until all has been read.
    #[track_caller]
    fn finish(self) {
        let answer = |read: Req| {
            assert_eq!(read.opcode(), Opcode::Read);
            self.answer(&read);
        };
        let back = self.fs.answer_until_back(&self.caller, answer);
        let other = back.expect("posix_fadvise");
        // What it has asked for and was over the limit for background requests.
        while self.fs.channel.wait_readable(SHORT).unwrap() {
            answer(self.fs.next());
        }
        let Self { fs, .. } = self;
        // Closing asks the daemon, which is about to go.
        drop(fs);
        drop(other);
    }
}

fn background_is_limited(env: &Env) {
    let readahead = Readahead::new(env);
    // 12 of at most 128 KiB each.
    let mut given = readahead.given(12);
    assert!(given
        .iter()
        .all(|read| read.arg::<abi::ReadIn>().size as usize <= WINDOW));
    // One comes for each that is answered.
    for _ in 0..5 {
        readahead.answer(&given.remove(0));
        given.extend(readahead.given(1));
    }
    for read in &given {
        readahead.answer(read);
    }
    readahead.finish();
}

fn a_burst_of_reads_does_not_block_others(env: &Env) {
    let readahead = Readahead::new(env);
    let given = readahead.given(12);
    for _ in 0..3 {
        let dir = readahead.fs.dir.clone();
        let caller = call(move || sys::stat(&dir).map(drop));
        let getattr = readahead.fs.expect(Opcode::Getattr);
        readahead.fs.reply_error(&getattr, Errno::EDOM);
        system::assert_errno(caller.result(), Errno::EDOM);
    }
    for read in &given {
        readahead.answer(read);
    }
    readahead.finish();
}

fn limit_can_be_raised_while_waiting(env: &Env) {
    let readahead = Readahead::new(env);
    let mut given = readahead.given(12);
    std::fs::write(readahead.fs.control(env).join("max_background"), "20").unwrap();
    given.extend(readahead.given(8));
    readahead.answer(&given.remove(0));
    given.extend(readahead.given(1));
    for read in &given {
        readahead.answer(read);
    }
    readahead.finish();
}

/// The RELEASE of a file, which nobody waits for.
#[track_caller]
fn released(fs: &Fs) -> Req {
    let path = fs.path("x");
    let caller = call(move || sys::open(&path).map(drop));
    let mut model = Model::cached();
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &model.entry(FILE));
    let open = fs.expect(Opcode::Open);
    fs.reply(&open, &abi::OpenOut::default());
    let flush = fs.expect(Opcode::Flush);
    fs.reply_bytes(&flush, &[]);
    caller.result().unwrap();
    fs.expect(Opcode::Release)
}

fn release_waits_for_its_reply_in_background(env: &Env) {
    let fs = Fs::new(env);
    let release = released(&fs);
    assert_eq!(waiting(env, &fs), 1);
    fs.reply_bytes(&release, &[]);
    eventually("none waits", || waiting(env, &fs) == 0);
}

fn unmounting_ends_what_is_in_flight(env: &Env) {
    let mut fs = Fs::new(env);
    let release = released(&fs);
    // The daemon need not answer, and cannot any more: nothing of it is left when this comes back.
    fs.unmount();
    let reply = fs.channel.reply_bytes(release.unique(), &[]);
    system::assert_errno(reply, Errno::ENOENT);
    let read = fs.channel.read(&mut vec![0; 1 << 20]);
    system::assert_errno(read, Errno::ENODEV);
}

fn lookups(env: &Env, flags: u64) -> (Fs, Vec<Caller<io::Result<()>>>) {
    let fs = Fs::with_flags(env, flags);
    let callers = (0..5)
        .map(|number| {
            let path = fs.path(&number.to_string());
            call(move || sys::stat(&path).map(drop))
        })
        .collect();
    (fs, callers)
}

fn one_lookup_of_a_directory_at_a_time(env: &Env) {
    let (fs, callers) = lookups(env, 0);
    for _ in 0..5 {
        let lookup = fs.expect(Opcode::Lookup);
        fs.expect_silence(SHORT);
        fs.reply_error(&lookup, Errno::ENOENT);
    }
    for caller in &callers {
        system::assert_errno(caller.result(), Errno::ENOENT);
    }
}

fn parallel_lookups_with_the_flag(env: &Env) {
    let (fs, callers) = lookups(env, init_flags::PARALLEL_DIROPS);
    let all: Vec<_> = (0..5).map(|_| fs.expect(Opcode::Lookup)).collect();
    for lookup in &all {
        fs.reply_error(lookup, Errno::ENOENT);
    }
    for caller in &callers {
        system::assert_errno(caller.result(), Errno::ENOENT);
    }
}

fn reading_a_directory_and_looking_up_in_it(env: &Env) {
    for (flags, parallel) in [(0, false), (init_flags::PARALLEL_DIROPS, true)] {
        let fs = Fs::with_flags(env, flags);
        let (dir, path) = (fs.dir.clone(), fs.path("x"));
        let lister = call(move || sys::list(&dir));
        fs.reply(&fs.expect(Opcode::Opendir), &abi::OpenOut::default());
        let readdir = fs.expect(Opcode::Readdir);
        let other = call(move || sys::stat(&path));
        if parallel {
            fs.deny_name();
            system::assert_errno(other.result(), Errno::ENOENT);
            fs.reply_bytes(&readdir, &[]);
        } else {
            fs.expect_silence(SHORT);
            fs.reply_bytes(&readdir, &[]);
            // Which of the two comes first is nobody's business.
            let requests = [fs.next(), fs.next()];
            for request in &requests {
                match request.opcode() {
                    Opcode::Lookup => fs.reply_error(request, Errno::ENOENT),
                    Opcode::Releasedir => fs.reply_bytes(request, &[]),
                    other => panic!("{other:?}"),
                }
            }
            system::assert_errno(other.result(), Errno::ENOENT);
        }
        assert_eq!(lister.result().unwrap().len(), 0);
    }
}
