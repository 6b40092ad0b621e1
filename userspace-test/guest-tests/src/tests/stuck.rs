// SPDX-License-Identifier: GPL-2.0

//! Daemons that never answer: who is stuck is named, can be killed, and leaves nothing behind.

use crate::{
    caller::{eventually, process, Process},
    env::{slowness, Env},
    fs::{Fs, Req},
    model::{plus, Answer, Model, FILE, LINK},
    runner::skip,
    sys, system,
    tests::tests,
};
use nix::sys::{signal::Signal, wait::WaitStatus};
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Errno, Operation,
};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read},
    path::Path,
    thread,
    time::{Duration, Instant},
};
use zerocopy::FromBytes;

tests![
    is_named => 60,
    is_killed_and_what_it_was_granted_is_given_back => 120,
    is_killed_and_granted_nothing => 120,
    is_killed_and_aborted => 60,
    abort_frees_all => 60,
    flags_are_shown,
    names_are_one_word,
];

/// A call whose request the daemon does not answer.
struct Stuck {
    opcode: Opcode,
    nodeid: u64,
    call: fn(&Path) -> io::Result<()>,
    /// What gives back what its late answer grants, in the order in which that comes.
    given_back: &'static [Opcode],
    /// What comes besides, since the caller had something open that its death closes.
    closes: &'static [Opcode],
}

const fn stuck(opcode: Opcode, nodeid: u64, call: fn(&Path) -> io::Result<()>) -> Stuck {
    Stuck {
        opcode,
        nodeid,
        call,
        given_back: &[],
        closes: &[],
    }
}

impl Stuck {
    const fn gives_back(self, given_back: &'static [Opcode]) -> Self {
        Self { given_back, ..self }
    }

    const fn closes(self, closes: &'static [Opcode]) -> Self {
        Self { closes, ..self }
    }
}

/// What all that is in here has to be agreed on for.
const FLAGS: u64 = init_flags::DO_READDIRPLUS | init_flags::POSIX_LOCKS | init_flags::FLOCK_LOCKS;

const ROOT: u64 = abi::ROOT_ID;

/// Every operation that grants something is in here, beside some that do not.
const STUCK: &[Stuck] = &[
    stuck(Opcode::Lookup, ROOT, |dir| {
        sys::stat(&dir.join("file")).map(drop)
    })
    .gives_back(&[Opcode::Forget]),
    stuck(Opcode::Mknod, ROOT, |dir| {
        sys::mknod(&dir.join("new"), libc::S_IFREG | 0o644, 0)
    })
    .gives_back(&[Opcode::Forget]),
    stuck(Opcode::Mkdir, ROOT, |dir| {
        sys::mkdir(&dir.join("new"), 0o755)
    })
    .gives_back(&[Opcode::Forget]),
    stuck(Opcode::Symlink, ROOT, |dir| {
        sys::symlink("elsewhere", &dir.join("new"))
    })
    .gives_back(&[Opcode::Forget]),
    stuck(Opcode::Link, ROOT, |dir| {
        sys::link(&dir.join("file"), &dir.join("new"))
    })
    .gives_back(&[Opcode::Forget]),
    stuck(Opcode::Create, ROOT, |dir| {
        sys::open_with(&dir.join("new"), libc::O_CREAT | libc::O_RDWR).map(drop)
    })
    .gives_back(&[Opcode::Release, Opcode::Forget]),
    stuck(Opcode::Tmpfile, ROOT, |dir| {
        sys::open_with(dir, libc::O_TMPFILE | libc::O_RDWR).map(drop)
    })
    .gives_back(&[Opcode::Release, Opcode::Forget]),
    stuck(Opcode::Open, FILE, |dir| {
        sys::open(&dir.join("file")).map(drop)
    })
    .gives_back(&[Opcode::Release]),
    stuck(Opcode::Opendir, ROOT, |dir| {
        sys::open_with(dir, libc::O_DIRECTORY).map(drop)
    })
    .gives_back(&[Opcode::Releasedir]),
    stuck(Opcode::Readdirplus, ROOT, |dir| sys::list(dir).map(drop))
        .gives_back(&[Opcode::Forget])
        .closes(&[Opcode::Releasedir]),
    stuck(Opcode::Setlk, FILE, |dir| lock(dir, libc::F_SETLK))
        .gives_back(&[Opcode::Setlk])
        .closes(&[Opcode::Flush, Opcode::Release]),
    stuck(Opcode::Setlkw, FILE, |dir| lock(dir, libc::F_SETLKW))
        .gives_back(&[Opcode::Setlk])
        .closes(&[Opcode::Flush, Opcode::Release]),
    // A lock of an open file goes with it.
    stuck(Opcode::Setlk, FILE, |dir| lock(dir, libc::F_OFD_SETLK))
        .gives_back(&[Opcode::Release])
        .closes(&[Opcode::Flush]),
    stuck(Opcode::Setlkw, FILE, |dir| {
        sys::flock(&open(dir)?, libc::LOCK_EX)
    })
    .gives_back(&[Opcode::Release])
    .closes(&[Opcode::Flush]),
    stuck(Opcode::Setlk, FILE, |dir| {
        sys::flock(&open(dir)?, libc::LOCK_EX | libc::LOCK_NB)
    })
    .gives_back(&[Opcode::Release])
    .closes(&[Opcode::Flush]),
    stuck(Opcode::Getattr, ROOT, |dir| sys::stat(dir).map(drop)),
    stuck(Opcode::Access, ROOT, |dir| sys::access(dir, libc::R_OK)),
    stuck(Opcode::Readlink, LINK, |dir| {
        sys::readlink(&dir.join("link")).map(drop)
    }),
    stuck(Opcode::Read, FILE, |dir| {
        open(dir)?.read(&mut [0; 8]).map(drop)
    })
    .closes(&[Opcode::Flush, Opcode::Release]),
];

fn open(dir: &Path) -> io::Result<File> {
    sys::open_with(&dir.join("file"), libc::O_RDWR)
}

fn lock(dir: &Path, command: i32) -> io::Result<()> {
    let mut lock = sys::file_lock(libc::F_WRLCK, 3, 10);
    sys::fcntl_lock(&open(dir)?, command, &mut lock)
}

/// A process that is stuck, and its request, which the daemon has read.
struct Scene {
    stuck: &'static Stuck,
    fs: Fs,
    model: Model,
    caller: Process,
    req: Req,
}

impl Scene {
    #[track_caller]
    fn new(env: &Env, stuck: &'static Stuck) -> Self {
        let fs = Fs::with_flags(env, FLAGS);
        let mut model = Model::cached();
        model.readdirplus = plus::row;
        let caller = process(|| {
            fs::write("/proc/self/comm", comm(stuck)).expect("a name");
            system::errno((stuck.call)(&fs.dir))
        });
        let req = loop {
            let req = fs.next();
            if req.opcode() == stuck.opcode {
                break req;
            }
            answer(&fs, &mut model, &req);
        };
        assert_eq!(req.nodeid(), stuck.nodeid, "{}", stuck.opcode.name());
        Self {
            stuck,
            fs,
            model,
            caller,
            req,
        }
    }

    fn name(&self) -> &'static str {
        self.stuck.opcode.name()
    }

    /// Kills the caller; how long it took to be gone.
    #[track_caller]
    fn kill(&self) -> Duration {
        let killed = Instant::now();
        self.caller.signal(Signal::SIGKILL);
        let ended = self
            .caller
            .ended_within(Duration::from_secs(1) * slowness());
        let took = killed.elapsed();
        let name = self.name();
        assert!(
            matches!(ended, Some(WaitStatus::Signaled(_, Signal::SIGKILL, _))),
            "{name}: {ended:?}"
        );
        took
    }

    /// What the daemon is asked from now on, and answers.
    fn rest(&mut self) -> Vec<Req> {
        let mut rest = Vec::new();
        let pause = Duration::from_millis(200);
        while self.fs.channel.wait_readable(pause).expect("poll") {
            let req = self.fs.next();
            answer(&self.fs, &mut self.model, &req);
            rest.push(req);
        }
        rest.retain(|req| {
            let opcode = req.opcode();
            opcode != Opcode::Interrupt && !self.stuck.closes.contains(&opcode)
        });
        rest
    }

    /// No request is left.
    #[track_caller]
    fn is_over(&self, env: &Env) {
        let control = self.fs.control(env);
        let waiting = fs::read_to_string(control.join("waiting")).expect("waiting");
        assert_eq!(waiting, "0\n", "{}", self.name());
        let queues = fs::read_to_string(control.join("queues")).expect("queues");
        assert!(!queues.contains("\nrequest "), "{queues}");
    }
}

/// The name of the process that is stuck in it: no more than 15 bytes.
fn comm(stuck: &Stuck) -> String {
    format!("in-{}", stuck.opcode.name())
}

/// What a daemon answers that grants all locks.
fn granting(model: &mut Model, req: &Req) -> Answer {
    match req.opcode() {
        Opcode::Setlk | Opcode::Setlkw => Answer::Bytes(Vec::new()),
        _ => model.answer(req),
    }
}

fn answer(fs: &Fs, model: &mut Model, req: &Req) {
    match granting(model, req) {
        Answer::Bytes(bytes) => fs.reply_bytes(req, &bytes),
        Answer::Error(error) => fs.reply_error(req, error),
        Answer::Nothing => {}
    }
}

/// The fields of the line that `queues` has for a request.
#[track_caller]
fn shown(env: &Env, fs: &Fs, unique: u64) -> BTreeMap<String, String> {
    let text = fs::read_to_string(fs.control(env).join("queues")).expect("queues");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("request unique={unique} ")))
        .unwrap_or_else(|| panic!("{unique} is missing in:\n{text}"));
    line.split(' ')
        .skip(1)
        .map(|field| field.split_once('=').expect("name=value"))
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

fn needs_rust(env: &Env, why: &str) {
    if !env.is_rust() {
        skip(why);
    }
}

fn is_named(env: &Env) {
    needs_rust(env, "C FUSE has no such file");
    for stuck in STUCK {
        let scene = Scene::new(env, stuck);
        thread::sleep(Duration::from_millis(20));
        let fields = shown(env, &scene.fs, scene.req.unique());
        let field = |name: &str| fields[name].as_str();
        assert_eq!(field("queue"), "processing", "{fields:?}");
        assert_eq!(field("opcode"), scene.name(), "{fields:?}");
        assert_eq!(field("nodeid"), stuck.nodeid.to_string(), "{fields:?}");
        assert_eq!(field("pid"), scene.caller.pid().to_string(), "{fields:?}");
        assert_eq!(field("comm"), comm(stuck), "{fields:?}");
        let age: u64 = field("age_us").parse().expect("a number");
        assert!((20_000..60_000_000).contains(&age), "{fields:?}");
        for flag in ["background", "interrupted", "abandoned", "force", "resent"] {
            assert_eq!(field(flag), "0", "{flag}: {fields:?}");
        }
        scene.kill();
        scene.fs.reply_error(&scene.req, Errno::EIO);
    }
}

/// How long a caller may take to be gone, where nothing else keeps the machine busy.
const GONE: Duration = Duration::from_millis(100);

fn is_killed_and_what_it_was_granted_is_given_back(env: &Env) {
    needs_rust(env, "C FUSE keeps the caller until the reply comes");
    for stuck in STUCK {
        let name = stuck.opcode.name();
        let mut times = Vec::new();
        // The machine is emulated, and shared.
        while times.last().is_none_or(|took| *took > GONE * slowness()) {
            assert!(times.len() < 5, "{name}: gone in {times:?}");
            let mut scene = Scene::new(env, stuck);
            times.push(scene.kill());
            // It is not the caller's any more, and still there.
            let fields = shown(env, &scene.fs, scene.req.unique());
            assert_eq!(fields["abandoned"], "1", "{fields:?}");
            assert_eq!(fields["comm"], comm(stuck), "{fields:?}");
            is_given_back(env, &mut scene);
        }
    }
}

/// The daemon answers after all: what that grants is given back, once, and nothing is left.
#[track_caller]
fn is_given_back(env: &Env, scene: &mut Scene) {
    let name = scene.name();
    let before = scene.model.lookups.clone();
    let Answer::Bytes(bytes) = granting(&mut scene.model, &scene.req) else {
        panic!("{name} fails");
    };
    let granted = scene.model.lookups != before;
    assert_eq!(
        granted,
        scene.stuck.given_back.contains(&Opcode::Forget),
        "{name}"
    );
    scene.fs.reply_bytes(&scene.req, &bytes);
    let mut given_back = Vec::new();
    for req in scene.rest() {
        match req.operation() {
            Operation::Release(arg) if scene.stuck.closes.contains(&Opcode::Flush) => {
                let locked: abi::LkIn = scene.req.arg();
                // A lock of the open file needs no more than that; one by flock(2) is named.
                let owner = match locked.lk_flags & abi::lk_flags::FLOCK {
                    0 => 0,
                    _ => locked.owner,
                };
                assert_eq!((arg.fh, arg.lock_owner), (locked.fh, owner), "{name}");
            }
            Operation::Release(arg) | Operation::Releasedir(arg) => {
                assert_eq!((req.nodeid(), arg.fh), opened(scene, &bytes), "{name}");
            }
            Operation::Setlk(arg) => {
                let locked: abi::LkIn = scene.req.arg();
                assert_eq!((arg.fh, arg.owner), (locked.fh, locked.owner), "{name}");
                let (unlock, lock) = (arg.lk, locked.lk);
                assert_eq!((unlock.start, unlock.end), (lock.start, lock.end), "{name}");
                assert_eq!(unlock.r#type, libc::F_UNLCK as u32, "{name}");
            }
            // They are counted below, and may come as one.
            Operation::Forget(_) | Operation::BatchForget(_) => {
                if given_back.last() != Some(&Opcode::Forget) {
                    given_back.push(Opcode::Forget);
                }
                continue;
            }
            _ => panic!("{} after a late {name}", req.opcode().name()),
        }
        given_back.push(req.opcode());
    }
    assert_eq!(given_back, scene.stuck.given_back, "{name}");
    // The kernel has the nodes that it had, and no more.
    let mut after = scene.model.lookups.clone();
    after.retain(|node, count| *count != 0 || before.contains_key(node));
    assert_eq!(after, before, "{name}");
    scene.is_over(env);
    scene.fs.unmount();
}

/// The node and the handle of what the answer opens.
fn opened(scene: &Scene, bytes: &[u8]) -> (u64, u64) {
    let (nodeid, bytes) = match scene.stuck.opcode {
        Opcode::Create | Opcode::Tmpfile => {
            let (entry, rest) = abi::EntryOut::read_from_prefix(bytes).expect("an entry");
            (entry.nodeid, rest)
        }
        _ => (scene.stuck.nodeid, bytes),
    };
    let (open, _) = abi::OpenOut::read_from_prefix(bytes).expect("an open file");
    (nodeid, open.fh)
}

fn is_killed_and_granted_nothing(env: &Env) {
    needs_rust(env, "C FUSE keeps the caller until the reply comes");
    for stuck in STUCK {
        for nonsense in [false, true] {
            let mut scene = Scene::new(env, stuck);
            scene.kill();
            if nonsense {
                // A reply that is too short is none, whoever waits for it.
                let _ = scene.fs.channel.reply_bytes(scene.req.unique(), &[&[0; 3]]);
            } else {
                scene.fs.reply_error(&scene.req, Errno::ENOENT);
            }
            let mut rest: Vec<_> = scene.rest().iter().map(Req::opcode).collect();
            // A file that was open is closed, whatever was granted.
            rest.retain(|opcode| {
                *opcode != Opcode::Release || !stuck.closes.contains(&Opcode::Flush)
            });
            assert_eq!(rest, [], "{}", scene.name());
            scene.is_over(env);
            scene.fs.unmount();
        }
    }
}

fn is_killed_and_aborted(env: &Env) {
    needs_rust(env, "C FUSE keeps the caller until the reply comes");
    for stuck in STUCK {
        let mut scene = Scene::new(env, stuck);
        scene.kill();
        fs::write(scene.fs.control(env).join("abort"), "1").expect("abort");
        scene.is_over(env);
        scene.fs.unmount();
    }
}

fn abort_frees_all(env: &Env) {
    for stuck in STUCK {
        let mut scene = Scene::new(env, stuck);
        let control = scene.fs.control(env);
        fs::write(control.join("abort"), "1").expect("abort");
        let expected = match stuck.opcode {
            // The page cache knows no other error.
            Opcode::Read => libc::EIO,
            _ => libc::ECONNABORTED,
        };
        assert_eq!(scene.caller.code(), expected, "{}", scene.name());
        let waiting = || fs::read_to_string(control.join("waiting")).expect("waiting");
        eventually("nothing waits", || waiting() == "0\n");
        if env.is_rust() {
            scene.is_over(env);
        }
        scene.fs.unmount();
    }
}

fn flags_are_shown(env: &Env) {
    needs_rust(env, "C FUSE has no such file");
    // Killed, so that it is closed by nobody who could be asked for.
    let stuck = STUCK.iter().find(|stuck| stuck.opcode == Opcode::Getattr);
    let scene = Scene::new(env, stuck.expect("it is among them"));
    scene.kill();
    let unique = scene.req.unique();
    let fields = shown(env, &scene.fs, unique);
    assert_eq!(fields["interrupted"], "1", "{fields:?}");
    assert_eq!(fields["abandoned"], "1", "{fields:?}");
    fs::write(scene.fs.control(env).join("resend"), "1").expect("resend");
    let fields = shown(env, &scene.fs, unique | abi::UNIQUE_RESEND);
    assert_eq!(fields["resent"], "1", "{fields:?}");
    assert_eq!(fields["queue"], "pending", "{fields:?}");
    let again = scene.fs.expect(Opcode::Getattr);
    scene.fs.reply_error(&again, Errno::EIO);
    drop(scene);

    // A file that is closed: nobody waits for that, and it must not get lost.
    let fs = Fs::new(env);
    let mut model = Model::cached();
    let caller = process(|| system::errno(sys::open(&fs.path("file")).map(drop)));
    let release = loop {
        let req = fs.next();
        if req.opcode() == Opcode::Release {
            break req;
        }
        answer(&fs, &mut model, &req);
    };
    let fields = shown(env, &fs, release.unique());
    assert_eq!(fields["background"], "1", "{fields:?}");
    assert_eq!(fields["force"], "1", "{fields:?}");
    fs.reply_bytes(&release, &[]);
    assert_eq!(caller.code(), 0);
}

fn names_are_one_word(env: &Env) {
    needs_rust(env, "C FUSE has no such file");
    for (name, word) in [
        (&b"a b\nrequest c=d"[..], r"a\040b\012request\040c=d"),
        (b"back\\slash\t", r"back\134slash\011"),
        (b"\xc3\xa4\x7f", r"\303\244\177"),
    ] {
        let fs = Fs::new(env);
        let caller = process(|| {
            fs::write("/proc/self/comm", name).expect("a name");
            system::errno(sys::stat(&fs.dir).map(drop))
        });
        let getattr = fs.expect(Opcode::Getattr);
        let fields = shown(env, &fs, getattr.unique());
        assert_eq!(fields["comm"], word);
        assert_eq!(fields["nodeid"], "1");
        fs.reply_error(&getattr, Errno::EIO);
        assert_eq!(caller.code(), libc::EIO);
    }
}
