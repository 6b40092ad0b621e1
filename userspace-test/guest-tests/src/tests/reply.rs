// SPDX-License-Identifier: GPL-2.0

//! Replies: what the kernel refuses, and what then becomes of the caller.

use crate::{
    caller::{call, Caller},
    env::Env,
    fs::{Fs, Req},
    sys, system,
    tests::tests,
};
use nix::sys::stat::FileStat;
use rawfuse::{
    abi::{self, Opcode, OutHeader},
    Errno,
};
use std::{io, os::fd::AsFd, time::Duration};
use zerocopy::IntoBytes;

tests![
    shorter_than_its_header,
    length_is_not_what_is_written,
    unique_that_is_unknown,
    second_reply,
    error_out_of_range,
    error_with_data,
    shorter_than_the_structure,
    longer_than_the_structure,
    success_without_the_structure,
    error_reaches_the_caller,
    strange_errors_reach_the_caller,
    header_from_nowhere,
    data_from_nowhere,
    in_pieces,
    out_of_order,
    unknown_notification,
    notification_before_init,
    notification_that_is_short,
    reply_to_forget,
    from_another_process,
];

/// A file system with a `LOOKUP` at the daemon.
struct Waiting {
    fs: Fs,
    lookup: Req,
    caller: Caller<io::Result<FileStat>>,
}

impl Waiting {
    #[track_caller]
    fn new(env: &Env) -> Self {
        let fs = Fs::new(env);
        let path = fs.path("x");
        let caller = call(move || sys::stat(&path));
        let lookup = fs.expect(Opcode::Lookup);
        Self { fs, lookup, caller }
    }

    /// Writes a reply that is refused, after which the caller still waits.
    #[track_caller]
    fn refused(&self, parts: &[&[u8]], error: Errno) {
        system::assert_errno(self.fs.channel.write(parts), error);
    }

    /// A good reply is taken, and reaches the caller: nothing has happened to the request.
    #[track_caller]
    fn unharmed(self) {
        assert!(self.caller.still_waits(Duration::from_millis(20)));
        self.fs.reply_error(&self.lookup, Errno::ENOENT);
        system::assert_errno(self.caller.result(), Errno::ENOENT);
    }

    /// The request has come to its end with `error`: a second reply finds none.
    #[track_caller]
    fn ended(self, error: Errno) {
        system::assert_errno(self.caller.result(), error);
        let unique = self.lookup.unique();
        system::assert_errno(
            self.fs.channel.reply_error(unique, Errno::EIO),
            Errno::ENOENT,
        );
    }
}

fn header(len: u32, error: i32, unique: u64) -> OutHeader {
    OutHeader { len, error, unique }
}

fn entry() -> abi::EntryOut {
    abi::EntryOut {
        nodeid: 9,
        attr: abi::Attr {
            ino: 9,
            mode: 0o100644,
            nlink: 1,
            ..Default::default()
        },
        attr_valid: 60,
        ..Default::default()
    }
}

fn shorter_than_its_header(env: &Env) {
    let waiting = Waiting::new(env);
    let unique = waiting.lookup.unique();
    let bytes = header(16, -2, unique);
    for len in [1, 8, 15] {
        waiting.refused(&[&bytes.as_bytes()[..len]], Errno::EINVAL);
    }
    waiting.unharmed();
}

fn length_is_not_what_is_written(env: &Env) {
    let waiting = Waiting::new(env);
    let unique = waiting.lookup.unique();
    for len in [0, 15, 17, 144, u32::MAX] {
        waiting.refused(&[header(len, -2, unique).as_bytes()], Errno::EINVAL);
    }
    let head = header(16, 0, unique);
    waiting.refused(&[head.as_bytes(), entry().as_bytes()], Errno::EINVAL);
    waiting.unharmed();
}

fn unique_that_is_unknown(env: &Env) {
    let waiting = Waiting::new(env);
    let unique = waiting.lookup.unique();
    for other in [
        unique + 2,
        unique.wrapping_sub(2).max(2),
        unique | 1 << 62,
        unique | abi::UNIQUE_RESEND,
        u64::MAX - 1,
        1 << 32 | unique,
    ] {
        if other == unique {
            continue;
        }
        waiting.refused(&[header(16, -2, other).as_bytes()], Errno::ENOENT);
    }
    waiting.unharmed();
}

fn second_reply(env: &Env) {
    let waiting = Waiting::new(env);
    waiting.fs.reply(&waiting.lookup, &entry());
    assert_eq!(waiting.caller.result().unwrap().st_ino, 9);
    let unique = waiting.lookup.unique();
    for _ in 0..3 {
        system::assert_errno(waiting.fs.channel.reply(unique, &entry()), Errno::ENOENT);
    }
}

fn error_out_of_range(env: &Env) {
    let waiting = Waiting::new(env);
    let unique = waiting.lookup.unique();
    for error in [1, 2, i32::MAX, -512, -513, -1000, -4095, i32::MIN] {
        waiting.refused(&[header(16, error, unique).as_bytes()], Errno::EINVAL);
    }
    waiting.unharmed();
}

fn error_with_data(env: &Env) {
    let waiting = Waiting::new(env);
    let head = header(144, -2, waiting.lookup.unique());
    waiting.refused(&[head.as_bytes(), entry().as_bytes()], Errno::EINVAL);
    waiting.ended(Errno::EIO);
}

fn shorter_than_the_structure(env: &Env) {
    let waiting = Waiting::new(env);
    let head = header(143, 0, waiting.lookup.unique());
    let entry = entry();
    waiting.refused(&[head.as_bytes(), &entry.as_bytes()[..127]], Errno::EINVAL);
    waiting.ended(Errno::EIO);
}

fn longer_than_the_structure(env: &Env) {
    let waiting = Waiting::new(env);
    let head = header(145, 0, waiting.lookup.unique());
    waiting.refused(&[head.as_bytes(), entry().as_bytes(), &[0]], Errno::EINVAL);
    waiting.ended(Errno::EIO);
}

fn success_without_the_structure(env: &Env) {
    let waiting = Waiting::new(env);
    let head = header(16, 0, waiting.lookup.unique());
    waiting.refused(&[head.as_bytes()], Errno::EINVAL);
    waiting.ended(Errno::EIO);
}

fn error_reaches_the_caller(env: &Env) {
    let fs = Fs::new(env);
    for error in [
        Errno::EPERM,
        Errno::EIO,
        Errno::ENOTDIR,
        Errno::EXDEV,
        Errno::ESTALE,
    ] {
        let path = fs.path("x");
        let caller = call(move || sys::stat(&path));
        let mut asked = 0;
        let result = fs.answer_until_back(&caller, |lookup| {
            assert_eq!(lookup.opcode(), Opcode::Lookup);
            fs.reply_error(&lookup, error);
            asked += 1;
        });
        system::assert_errno(result, error);
        // ESTALE makes the VFS look once more.
        assert_eq!(asked > 1, error == Errno::ESTALE);
    }
}

fn strange_errors_reach_the_caller(env: &Env) {
    let fs = Fs::new(env);
    for error in [200, 300, 511] {
        let path = fs.path("x");
        let caller = call(move || sys::stat(&path));
        let lookup = fs.expect(Opcode::Lookup);
        let head = header(16, -error, lookup.unique());
        fs.channel.write(&[head.as_bytes()]).expect("the reply");
        assert_eq!(system::errno(caller.result()), error);
    }
}

fn header_from_nowhere(env: &Env) {
    let waiting = Waiting::new(env);
    system::assert_errno(
        sys::write_from_nowhere(waiting.fs.channel.as_fd(), 16),
        Errno::EFAULT,
    );
    waiting.unharmed();
}

fn data_from_nowhere(env: &Env) {
    let waiting = Waiting::new(env);
    let head = header(144, 0, waiting.lookup.unique());
    system::assert_errno(
        sys::writev_into_nowhere(waiting.fs.channel.as_fd(), head.as_bytes(), 128),
        Errno::EFAULT,
    );
    waiting.ended(Errno::EIO);
}

fn in_pieces(env: &Env) {
    let waiting = Waiting::new(env);
    let head = header(144, 0, waiting.lookup.unique());
    let entry = entry();
    let (head, entry) = (head.as_bytes(), entry.as_bytes());
    let parts = [
        &head[..5],
        &head[5..],
        &entry[..1],
        &[],
        &entry[1..77],
        &entry[77..],
    ];
    assert_eq!(waiting.fs.channel.write(&parts).expect("the reply"), 144);
    assert_eq!(waiting.caller.result().unwrap().st_ino, 9);
}

fn out_of_order(env: &Env) {
    let fs = Fs::with_flags(env, abi::init_flags::PARALLEL_DIROPS);
    let callers: Vec<_> = (0..40)
        .map(|number: u64| {
            let path = fs.path(&number.to_string());
            call(move || sys::stat(&path).map(|stat| stat.st_ino))
        })
        .collect();
    let mut lookups: Vec<_> = (0..40).map(|_| fs.expect(Opcode::Lookup)).collect();
    lookups.reverse();
    lookups.rotate_left(13);
    for lookup in &lookups {
        let number: u64 = lookup.name().to_str().unwrap().parse().unwrap();
        let mut entry = entry();
        entry.nodeid = number + 100;
        entry.attr.ino = number + 1000;
        fs.reply(lookup, &entry);
    }
    for (number, caller) in (0..).zip(&callers) {
        assert_eq!(caller.result().unwrap(), number + 1000);
    }
}

fn unknown_notification(env: &Env) {
    let waiting = Waiting::new(env);
    for code in [0, 10, 99, -1, i32::MAX, i32::MIN] {
        waiting.refused(&[header(16, code, 0).as_bytes()], Errno::EINVAL);
        waiting.refused(&[header(24, code, 0).as_bytes(), &[0; 8]], Errno::EINVAL);
    }
    waiting.unharmed();
}

fn notification_before_init(env: &Env) {
    let (channel, _mount, _dir) = crate::fs::mount(env, &rawfuse::MountOptions::new(env.kind));
    let out = abi::NotifyInvalInodeOut {
        ino: 1,
        off: 0,
        len: 0,
    };
    system::assert_errno(
        channel.notify(abi::NotifyCode::InvalInode, &[out.as_bytes()]),
        Errno::EINVAL,
    );
}

fn notification_that_is_short(env: &Env) {
    let waiting = Waiting::new(env);
    for code in 1..=6 {
        waiting.refused(&[header(20, code, 0).as_bytes(), &[0; 4]], Errno::EINVAL);
    }
    waiting.unharmed();
}

fn reply_to_forget(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path).map(|stat| stat.st_ino));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &entry());
    assert_eq!(caller.result().unwrap(), 9);
    let dropper = call(|| system::drop_caches(2));
    let forget = fs.next();
    dropper.result();
    assert!(!forget.request().has_reply());
    system::assert_errno(
        fs.channel.reply_bytes(forget.unique(), &[]),
        match forget.unique() {
            // To the kernel this is a notification without a code.
            0 => Errno::EINVAL,
            _ => Errno::ENOENT,
        },
    );
}

fn from_another_process(env: &Env) {
    let fs = Fs::new(env);
    let target = fs.path("x");
    let caller = crate::caller::process(|| system::errno(sys::stat(&target)));
    let lookup = fs.expect(Opcode::Lookup);
    assert_eq!(lookup.header().pid, caller.pid().as_raw() as u32);
    let helper = crate::caller::process(|| {
        system::errno(fs.channel.reply_error(lookup.unique(), Errno::EDOM))
    });
    assert_eq!(helper.code(), 0);
    assert_eq!(caller.code(), libc::EDOM);
}
