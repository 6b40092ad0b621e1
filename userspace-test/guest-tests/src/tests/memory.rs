// SPDX-License-Identifier: GPL-2.0

//! Allocations that fail: each one, in each system call, on the caller's side and on the daemon's. On
//! the debug kernel, which can make them fail.

use crate::{
    asking::{answer, Asking, ALL},
    caller::{eventually, process, Process},
    env::Env,
    failures::Failures,
    fs::{settle, Fs, Req},
    loopdev::{self, LoopDevice},
    model::{Answer, Model, FILE},
    sys, system,
    tests::{
        notify_data::{retrieve, store},
        notify_entry::{delete, inval_entry},
        notify_inode::{inval_inode, prune, three_pages},
        tests,
    },
};
use nix::{
    mount::{umount2, MntFlags},
    sys::wait::WaitStatus,
};
use rawfuse::{
    abi::{NotifyCode, Opcode, ROOT_ID},
    Channel, Errno, InitConfig,
};
use std::{fs::read_to_string, io, time::Duration};

tests![
    of_callers_fail => 1800,
    of_daemons_are_none => 600,
    of_notifications_fail => 600,
];

/// Whose allocation fails.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Caller,
    Daemon,
}

/// How a caller's process ends whose call succeeded with no allocation that failed. No errno is that
/// large.
const UNTOUCHED: i32 = 255;

/// The allocations of the daemon's thread in its calls, one of which fails.
struct Daemon<'a> {
    failures: &'a Failures,
    /// Until the one that fails; 0 for none, or when it has.
    left: u32,
    channel: Channel,
    model: Model,
    /// Files and directories that it has opened, less those that it was to close.
    open: i32,
}

impl Daemon<'_> {
    fn call<T>(&mut self, call: impl FnOnce(&Channel) -> T) -> T {
        self.failures.start(self.left);
        let result = call(&self.channel);
        self.left = self.failures.stop();
        result
    }

    /// Answers a request, if there is one within `pause`, and the file system is there.
    #[track_caller]
    fn serve(&mut self, pause: Duration) -> bool {
        if !self.channel.wait_readable(pause).expect("poll") {
            return false;
        }
        let mut bytes = vec![0; 1 << 20];
        let req = match self.call(|channel| channel.read(&mut bytes)) {
            Ok(len) => Req::new(&bytes[..len]),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return false,
            Err(error) => {
                assert_clean("a read of the device", &error);
                return true;
            }
        };
        let granted = (self.model.lookups.clone(), self.open);
        self.open += match req.opcode() {
            Opcode::Open | Opcode::Opendir | Opcode::Create | Opcode::Tmpfile => 1,
            Opcode::Release | Opcode::Releasedir => -1,
            _ => 0,
        };
        let unique = req.unique();
        let sent = match answer(&mut self.model, &req) {
            Answer::Bytes(bytes) => self.call(|channel| channel.reply_bytes(unique, &[&bytes])),
            Answer::Error(error) => self.call(|channel| channel.reply_error(unique, error)),
            Answer::Nothing => Ok(()),
        };
        match sent {
            Ok(()) => {}
            // Its caller has given up.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => {
                assert_clean("a reply", &error);
                // What did not come through grants nothing.
                (self.model.lookups, self.open) = granted;
            }
        }
        true
    }
}

#[track_caller]
fn assert_clean(what: &str, error: &io::Error) {
    assert_eq!(error.raw_os_error(), Some(libc::ENOMEM), "{what}: {error}");
}

/// Makes a call with one allocation that fails, and sees to it that all is as it should be
/// afterwards. What the call said, 0 or an errno; nothing, when there are not that many allocations.
#[track_caller]
fn play(env: &Env, asking: &Asking, failures: &Failures, whose: Whose, nth: u32) -> Option<i32> {
    let (device, mut fs) = mounted(env, asking);
    let caller = caller(asking, &fs, if whose == Whose::Caller { nth } else { 0 });
    let mut daemon = Daemon {
        failures,
        left: if whose == Whose::Daemon { nth } else { 0 },
        channel: fs.channel.try_clone().expect("dup"),
        model: asking.model(),
        open: 0,
    };
    let what = format!("{asking}, allocation {nth}");
    let code = served(&mut daemon, &caller, &what);
    let missed = match whose {
        Whose::Caller => code == UNTOUCHED,
        Whose::Daemon => daemon.left > 0,
    };
    daemon.left = 0;
    if !missed {
        nothing_is_left(env, &fs, &mut daemon, &what);
    }
    unmounted(&mut fs, daemon);
    drop(device);
    (!missed).then_some(code)
}

/// Mounts what that kind of request can be made on.
#[track_caller]
fn mounted(env: &Env, asking: &Asking) -> (Option<LoopDevice>, Fs) {
    if !asking.on_block_device {
        return (None, Fs::with_flags(env, asking.flags));
    }
    let (device, fs) = loopdev::mount(env, "").expect("mount");
    let config = InitConfig {
        flags: asking.flags,
        ..Default::default()
    };
    settle(&fs.channel, &config);
    (Some(device), fs)
}

/// A process that makes the call, in which an allocation fails.
fn caller(asking: &Asking, fs: &Fs, nth: u32) -> Process {
    process(|| {
        let failures = Failures::of_this_thread().expect("it is set up");
        failures.start(nth);
        let result = (asking.call)(&fs.dir);
        let left = failures.stop();
        match result {
            Ok(()) if left > 0 => UNTOUCHED,
            result => system::errno(result),
        }
    })
}

/// Serves until the caller has ended. Its exit status.
#[track_caller]
fn served(daemon: &mut Daemon<'_>, caller: &Process, what: &str) -> i32 {
    let mut ended = None;
    eventually("the caller's end", || {
        daemon.serve(Duration::from_millis(2));
        ended = caller.ended_within(Duration::ZERO);
        ended.is_some()
    });
    match ended {
        Some(WaitStatus::Exited(_, code)) => code,
        other => panic!("{what}: {other:?}"),
    }
}

/// All that was granted is given back, and nobody waits.
#[track_caller]
fn nothing_is_left(env: &Env, fs: &Fs, daemon: &mut Daemon<'_>, what: &str) {
    while daemon.serve(Duration::ZERO) {}
    system::drop_caches(2);
    eventually(&format!("{what}: all is given back"), || {
        while daemon.serve(Duration::from_millis(2)) {}
        let all_forgotten = daemon.model.lookups.values().all(|&count| count == 0);
        all_forgotten && daemon.open == 0
    });
    let waiting = read_to_string(fs.control(env).join("waiting")).expect("waiting");
    assert_eq!(waiting, "0\n", "{what}");
}

/// Unmounts; a file system on a block device sends a last request.
#[track_caller]
fn unmounted(fs: &mut Fs, mut daemon: Daemon<'_>) {
    match fs.mount {
        Some(_) => fs.unmount(),
        None => {
            let dir = fs.dir.clone();
            let umount =
                process(|| system::errno(umount2(&dir, MntFlags::empty()).map_err(Into::into)));
            assert_eq!(served(&mut daemon, &umount, "umount"), 0);
        }
    }
}

/// Makes each allocation of each call fail, on one side or the other. How many there were.
#[track_caller]
fn sweep(env: &Env, whose: Whose) -> usize {
    let failures = Failures::new().and_pages();
    let (mut all, mut borne) = (0, 0);
    for asking in ALL {
        let mut count = 0;
        for nth in 1.. {
            assert!(nth < MOST, "{asking}: it never comes to an end");
            let Some(code) = play(env, asking, &failures, whose, nth) else {
                break;
            };
            count += 1;
            let error = Errno::from_raw(code);
            match code {
                0 => borne += 1,
                _ => assert!(
                    is_clean(asking, error),
                    "{asking}, allocation {nth}: {error}"
                ),
            }
        }
        all += count;
        println!("{asking}: {count} allocations");
    }
    println!("{all} allocations failed one by one, {borne} of which no caller noticed");
    all
}

/// Far more than any call has allocations.
const MOST: u32 = 2_000;

/// Whether it says that there was no memory.
fn is_clean(asking: &Asking, error: Errno) -> bool {
    match (asking.opcode, error) {
        // What the VFS says when it finds none for a lock.
        (Opcode::Getlk | Opcode::Setlk | Opcode::Setlkw, Errno::ENOLCK) => true,
        // What stands for the one event that poll(2) has for all errors.
        (Opcode::Poll, Errno::EIO) => true,
        _ => error == Errno::ENOMEM,
    }
}

fn of_callers_fail(env: &Env) {
    let all = sweep(env, Whose::Caller);
    assert!(all > 5 * ALL.len(), "{all} are too few to be true");
}

/// Reading a request and answering it takes none: who has no memory can go on.
fn of_daemons_are_none(env: &Env) {
    assert_eq!(sweep(env, Whose::Daemon), 0);
}

/// What a daemon can tell, and its name.
type Telling = (&'static str, fn(&Fs) -> io::Result<()>);

const TELLINGS: &[Telling] = &[
    ("STORE", |fs| store(fs, FILE, 0, &[b'b'; 3 * PAGE])),
    ("RETRIEVE", |fs| retrieve(fs, 1, FILE, 0, 3 * PAGE as u32)),
    ("INVAL_INODE", |fs| inval_inode(fs, FILE, 0, 0)),
    ("INVAL_ENTRY", |fs| inval_entry(fs, ROOT_ID, "file", 0)),
    ("DELETE", |fs| delete(fs, ROOT_ID, FILE, "file")),
    ("PRUNE", |fs| prune(fs, &[FILE])),
    ("INC_EPOCH", |fs| {
        fs.channel.notify(NotifyCode::IncEpoch, &[])
    }),
    ("RESEND", |fs| fs.channel.notify(NotifyCode::Resend, &[])),
];

const PAGE: usize = 4096;

/// Has the daemon tell something with one allocation that fails. Nothing, when there are not that
/// many.
#[track_caller]
fn tell(env: &Env, telling: &Telling, failures: &Failures, nth: u32) -> Option<io::Result<()>> {
    let mut served = three_pages(env);
    served.hook(|req| (req.opcode() == Opcode::NotifyReply).then_some(Answer::Nothing));
    failures.start(nth);
    let told = telling.1(&served);
    let missed = failures.stop() > 0;
    // Each page is as it was, or as it was told to be.
    let contents = sys::contents(&served.path("file")).expect("the file");
    assert_eq!(contents.len(), 3 * PAGE);
    for page in contents.chunks(PAGE) {
        assert!(
            page == [b'a'; PAGE] || page == [b'b'; PAGE],
            "a page of both"
        );
    }
    if told.is_ok() && telling.0 == "STORE" {
        assert!(contents == [b'b'; 3 * PAGE], "not all was stored");
    }
    let waiting = served.control(env).join("waiting");
    served.wait_for(Opcode::Release, 2);
    eventually("nobody waits", || {
        read_to_string(&waiting).expect("waiting") == "0\n"
    });
    served.finish();
    (!missed).then_some(told)
}

fn of_notifications_fail(env: &Env) {
    let failures = Failures::new().and_pages();
    let mut all = 0;
    for telling in TELLINGS {
        let name = telling.0;
        for nth in 1.. {
            assert!(nth < MOST, "{name}: it never comes to an end");
            match tell(env, telling, &failures, nth) {
                None => break,
                Some(Ok(())) => {}
                Some(Err(error)) => assert_clean(name, &error),
            }
            all += 1;
            println!("{name}: allocation {nth} failed");
        }
    }
    assert!(all > 2, "{all} are too few to be true");
}
