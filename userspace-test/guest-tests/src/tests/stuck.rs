// SPDX-License-Identifier: GPL-2.0

//! Daemons that never answer: who is stuck is named, can be killed, and leaves nothing behind.

use crate::{
    caller::{eventually, process, Process},
    env::{slowness, Env},
    fs::{Fs, Req},
    model::{Answer, Model, FILE},
    runner::skip,
    sys, system,
    tests::tests,
};
use nix::sys::{signal::Signal, wait::WaitStatus};
use rawfuse::{
    abi::{self, Opcode},
    Errno, Operation,
};
use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::Path,
    thread,
    time::{Duration, Instant},
};
use zerocopy::FromBytes;

tests![
    is_named => 60,
    is_killed_and_what_it_was_granted_is_given_back => 120,
    is_killed_and_granted_nothing => 60,
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
    /// What its late answer grants, and how that is given back.
    given_back: Option<Opcode>,
}

/// Every operation that grants something is in here, beside some that do not. (Locks have their own
/// tests: what is granted late depends on what the file system knows of them.)
const STUCK: [Stuck; 11] = [
    Stuck {
        opcode: Opcode::Lookup,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::stat(&dir.join("file")).map(drop),
        given_back: Some(Opcode::Forget),
    },
    Stuck {
        opcode: Opcode::Mknod,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::mknod(&dir.join("new"), libc::S_IFREG | 0o644, 0),
        given_back: Some(Opcode::Forget),
    },
    Stuck {
        opcode: Opcode::Mkdir,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::mkdir(&dir.join("new"), 0o755),
        given_back: Some(Opcode::Forget),
    },
    Stuck {
        opcode: Opcode::Symlink,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::symlink("elsewhere", &dir.join("new")),
        given_back: Some(Opcode::Forget),
    },
    Stuck {
        opcode: Opcode::Link,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::link(&dir.join("file"), &dir.join("new")),
        given_back: Some(Opcode::Forget),
    },
    Stuck {
        opcode: Opcode::Open,
        nodeid: FILE,
        call: |dir| sys::open(&dir.join("file")).map(drop),
        given_back: Some(Opcode::Release),
    },
    Stuck {
        opcode: Opcode::Opendir,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::open_with(dir, libc::O_DIRECTORY).map(drop),
        given_back: Some(Opcode::Releasedir),
    },
    Stuck {
        opcode: Opcode::Getattr,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::stat(dir).map(drop),
        given_back: None,
    },
    Stuck {
        opcode: Opcode::Access,
        nodeid: abi::ROOT_ID,
        call: |dir| sys::access(dir, libc::R_OK),
        given_back: None,
    },
    Stuck {
        opcode: Opcode::Readlink,
        nodeid: crate::model::LINK,
        call: |dir| sys::readlink(&dir.join("link")).map(drop),
        given_back: None,
    },
    Stuck {
        opcode: Opcode::Read,
        nodeid: FILE,
        call: |dir| sys::open(&dir.join("file"))?.read(&mut [0; 8]).map(drop),
        given_back: None,
    },
];

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
        let fs = Fs::new(env);
        let mut model = Model::cached();
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
        // The signal; and a READ's file was open, and is closed by its caller's death.
        rest.retain(|req| match req.opcode() {
            Opcode::Interrupt => false,
            Opcode::Flush | Opcode::Release => self.stuck.opcode != Opcode::Read,
            _ => true,
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

fn answer(fs: &Fs, model: &mut Model, req: &Req) {
    match model.answer(req) {
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
    for stuck in &STUCK {
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
    for stuck in &STUCK {
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
    let Answer::Bytes(bytes) = scene.model.answer(&scene.req) else {
        panic!("{name} fails");
    };
    scene.fs.reply_bytes(&scene.req, &bytes);
    let mut given_back = Vec::new();
    for req in scene.rest() {
        match req.operation() {
            Operation::Forget(arg) => {
                let (entry, _) = abi::EntryOut::read_from_prefix(&bytes).expect("an entry");
                assert_eq!((req.nodeid(), arg.nlookup), (entry.nodeid, 1), "{name}");
            }
            Operation::Release(arg) | Operation::Releasedir(arg) => {
                let (open, _) = abi::OpenOut::read_from_prefix(&bytes).expect("an open file");
                assert_eq!(
                    (req.nodeid(), arg.fh),
                    (scene.stuck.nodeid, open.fh),
                    "{name}"
                );
            }
            _ => panic!("{} after a late {name}", req.opcode().name()),
        }
        given_back.push(req.opcode());
    }
    assert_eq!(given_back, Vec::from_iter(scene.stuck.given_back), "{name}");
    // The kernel has the nodes that it had, and no more.
    let mut after = scene.model.lookups.clone();
    after.retain(|node, count| *count != 0 || before.contains_key(node));
    assert_eq!(after, before, "{name}");
    scene.is_over(env);
    scene.fs.unmount();
}

fn is_killed_and_granted_nothing(env: &Env) {
    needs_rust(env, "C FUSE keeps the caller until the reply comes");
    for stuck in &STUCK {
        for nonsense in [false, true] {
            let mut scene = Scene::new(env, stuck);
            scene.kill();
            if nonsense {
                // A reply that is too short is none, whoever waits for it.
                let _ = scene.fs.channel.reply_bytes(scene.req.unique(), &[&[0; 3]]);
            } else {
                scene.fs.reply_error(&scene.req, Errno::ENOENT);
            }
            let rest = scene.rest();
            let opcodes: Vec<_> = rest.iter().map(Req::opcode).collect();
            assert_eq!(opcodes, [], "{}", scene.name());
            scene.is_over(env);
            scene.fs.unmount();
        }
    }
}

fn is_killed_and_aborted(env: &Env) {
    needs_rust(env, "C FUSE keeps the caller until the reply comes");
    for stuck in &STUCK {
        let mut scene = Scene::new(env, stuck);
        scene.kill();
        fs::write(scene.fs.control(env).join("abort"), "1").expect("abort");
        scene.is_over(env);
        scene.fs.unmount();
    }
}

fn abort_frees_all(env: &Env) {
    for stuck in &STUCK {
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
    let scene = Scene::new(env, &STUCK[7]);
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
