// SPDX-License-Identifier: GPL-2.0

//! What an administrator sets for all mounts: module parameters, and sysctls.

use crate::{
    caller::{call, process, Caller},
    env::Env,
    fs::{self as testfs, Fs},
    model::{Model, Served, FILE},
    sys, system,
    tests::tests,
};
use nix::unistd::{setgid, setuid, Gid, Uid};
use rawfuse::{
    abi::{self, init_flags, open_flags, Opcode},
    answer_init, Errno, InitConfig, MountOptions,
};
use std::{
    fs, io,
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use zerocopy::FromBytes;

tests![
    parameters_can_be_changed,
    parameters_that_cannot_be,
    parameters_limit_daemons_without_privileges,
    parameters_limit_owners_without_privileges,
    sysctls_have_bounds,
    max_pages_limit_is_the_most,
    requests_that_take_too_long,
];

/// A file with a setting of the whole module, which this changes back.
pub struct Global {
    path: PathBuf,
    before: String,
}

impl Global {
    /// A parameter of the module.
    #[track_caller]
    pub fn parameter(env: &Env, name: &str) -> Self {
        let module = Path::new("/sys/module").join(env.module.name());
        Self::new(module.join("parameters").join(name))
    }

    /// A sysctl.
    #[track_caller]
    pub fn sysctl(env: &Env, name: &str) -> Self {
        let dir = Path::new("/proc/sys/fs").join(env.kind.fs_type);
        Self::new(dir.join(name))
    }

    /// Whatever is in a file.
    #[track_caller]
    pub fn new(path: PathBuf) -> Self {
        let before = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        Self { path, before }
    }

    /// What it is now.
    #[track_caller]
    pub fn get(&self) -> String {
        fs::read_to_string(&self.path).expect("a setting")
    }

    /// Changes it.
    #[track_caller]
    pub fn set(&self, text: &str) {
        self.try_set(text)
            .unwrap_or_else(|error| panic!("{:?} = {text:?}: {error}", self.path));
    }

    /// Changes it, if that is possible.
    pub fn try_set(&self, text: &str) -> io::Result<()> {
        fs::write(&self.path, text)
    }
}

impl Drop for Global {
    fn drop(&mut self) {
        // It has been that before.
        let _ = self.try_set(&self.before);
    }
}

const PARAMETERS: [&str; 2] = ["max_user_bgreq", "max_user_congthresh"];

/// The 8192nd part of the memory, at 392 bytes a request.
fn default_limit() -> u64 {
    let info = nix::sys::sysinfo::sysinfo().expect("sysinfo");
    (info.ram_total() / 8192 / 392).min(65535)
}

fn parameters_can_be_changed(env: &Env) {
    for name in PARAMETERS {
        let parameter = Global::parameter(env, name);
        let mode = fs::metadata(&parameter.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644, "{name}");
        assert_eq!(parameter.get(), format!("{}\n", default_limit()), "{name}");
        for (text, value) in [
            ("5", "5"),
            ("0x10\n", "16"),
            ("65535", "65535"),
            ("65536", "65535"),
            ("4294967295", "65535"),
        ] {
            parameter.set(text);
            assert_eq!(parameter.get(), format!("{value}\n"), "{name} = {text:?}");
        }
        // Nothing stands for the default.
        parameter.set("0");
        assert_eq!(parameter.get(), format!("{}\n", default_limit()), "{name}");
    }
}

fn parameters_that_cannot_be(env: &Env) {
    for name in PARAMETERS {
        let parameter = Global::parameter(env, name);
        parameter.set("7");
        for (text, error) in [
            ("x", Errno::EINVAL),
            ("-1", Errno::EINVAL),
            ("1 2", Errno::EINVAL),
            ("4294967296", Errno::ERANGE),
        ] {
            system::assert_errno(parameter.try_set(text), error);
            assert_eq!(parameter.get(), "7\n", "{name} = {text:?}");
        }
    }
}

fn become_nobody() {
    setgid(Gid::from_raw(1000)).expect("setgid");
    setuid(Uid::from_raw(1000)).expect("setuid");
}

/// Mounts; a daemon of another user answers INIT, and what holds then.
fn settled_by(env: &Env, nobody: bool) -> (String, String) {
    let change = |options| MountOptions {
        user_id: 1000,
        group_id: 1000,
        ..options
    };
    let (channel, mount, dir) = testfs::mount(env, &change(MountOptions::new(env.kind)));
    let answer = || {
        let init = testfs::next(&channel);
        let config = InitConfig {
            max_background: 50,
            congestion_threshold: 40,
            ..Default::default()
        };
        answer_init(&channel, &init.request(), &config).expect("INIT");
    };
    if nobody {
        let daemon = process(|| {
            become_nobody();
            answer();
            0
        });
        assert_eq!(daemon.code(), 0);
    } else {
        answer();
    }
    let control = testfs::control_dir(env, &dir);
    let read = |name| fs::read_to_string(control.join(name)).unwrap();
    let settled = (read("max_background"), read("congestion_threshold"));
    drop(mount);
    settled
}

fn parameters_limit_daemons_without_privileges(env: &Env) {
    let [requests, threshold] = PARAMETERS.map(|name| Global::parameter(env, name));
    requests.set("30");
    threshold.set("20");
    let text = |(a, b): (u32, u32)| (format!("{a}\n"), format!("{b}\n"));
    assert_eq!(settled_by(env, true), text((30, 20)));
    assert_eq!(settled_by(env, false), text((50, 40)), "with privileges");
    requests.set("60");
    assert_eq!(settled_by(env, true), text((50, 20)));
}

fn parameters_limit_owners_without_privileges(env: &Env) {
    let [requests, threshold] = PARAMETERS.map(|name| Global::parameter(env, name));
    requests.set("30");
    threshold.set("20");
    let change = |options| MountOptions {
        user_id: 1000,
        group_id: 1000,
        ..options
    };
    let fs = Fs::with(env, change, &InitConfig::default());
    let control = fs.control(env);
    for (name, most) in [("max_background", 30), ("congestion_threshold", 20)] {
        let file = control.join(name);
        let owner = process(|| {
            become_nobody();
            fs::write(&file, most.to_string()).expect("the most");
            system::errno(fs::write(&file, (most + 1).to_string()))
        });
        assert_eq!(owner.code(), libc::EINVAL);
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{most}\n"));
        fs::write(&file, "65535").expect("with privileges");
    }
}

fn sysctls_have_bounds(env: &Env) {
    for (name, default, least) in [
        ("max_pages_limit", "256\n", 1u32),
        ("default_request_timeout", "0\n", 0),
        ("max_request_timeout", "0\n", 0),
    ] {
        let sysctl = Global::sysctl(env, name);
        assert_eq!(sysctl.get(), default, "{name}");
        let mode = fs::metadata(&sysctl.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o644, "{name}");
        for good in [least, 17, 65535] {
            sysctl.set(&good.to_string());
            assert_eq!(sysctl.get(), format!("{good}\n"), "{name}");
        }
        let mut bad = vec!["65536", "-1", "x", "4294967297"];
        if least > 0 {
            bad.push("0");
        }
        for bad in bad {
            system::assert_errno(sysctl.try_set(bad), Errno::EINVAL);
            assert_eq!(sysctl.get(), "65535\n", "{name} = {bad:?}");
        }
    }
    let nobody = process(|| {
        become_nobody();
        let sysctl = Global::sysctl(env, "max_pages_limit");
        system::errno(sysctl.try_set("300"))
    });
    assert_eq!(nobody.code(), libc::EACCES);
}

/// The size of the largest `READ` for a `read(2)` of much, by a daemon that wants `max_pages`.
fn largest_read(fs: Fs) -> u32 {
    let mut model = Model::cached();
    model.open_flags = open_flags::DIRECT_IO;
    model.add(FILE, libc::S_IFREG | 0o644, &vec![b'x'; 4 << 20]);
    let served = Served::new(fs, model);
    let path = served.path("file");
    let len = call(move || {
        let file = sys::open(&path)?;
        file.read_at(&mut vec![0; 4 << 20], 0)
    });
    assert_eq!(len.result().expect("read"), 4 << 20);
    let model = served.model();
    let reads = model
        .log
        .iter()
        .filter(|asked| asked.opcode == Opcode::Read);
    let sizes = reads.map(|asked| abi::ReadIn::read_from_bytes(&asked.body).unwrap().size);
    sizes.max().expect("a READ")
}

fn max_pages_limit_is_the_most(env: &Env) {
    const PAGE: u32 = 4096;
    let limit = Global::sysctl(env, "max_pages_limit");
    let config = |max_pages| InitConfig {
        flags: init_flags::MAX_PAGES,
        max_pages,
        ..Default::default()
    };
    let mounted = |max_pages| Fs::with(env, |options| options, &config(max_pages));
    limit.set("10");
    assert_eq!(largest_read(mounted(100)), 10 * PAGE);
    assert_eq!(largest_read(mounted(5)), 5 * PAGE);
    limit.set("1000");
    assert_eq!(largest_read(mounted(500)), 500 * PAGE);
    // What counts is when the file system was mounted.
    let (channel, mount, dir) = testfs::mount(env, &MountOptions::new(env.kind));
    limit.set("3");
    let init = testfs::next(&channel);
    answer_init(&channel, &init.request(), &config(20)).unwrap();
    let fs = Fs {
        channel,
        mount: Some(mount),
        dir,
    };
    assert_eq!(largest_read(fs), 20 * PAGE);
}

/// How often the kernel looks whether a request takes too long, and the least that it gives one.
const INTERVAL: Duration = Duration::from_secs(15);

/// A file system with a caller that waits.
struct Hanging {
    what: &'static str,
    fs: Fs,
    caller: Caller<io::Result<()>>,
    since: Instant,
}

impl Hanging {
    /// Mounts with a daemon that asks for `timeout` seconds, if for any, and makes a request, which
    /// the daemon reads if it `reads`.
    #[track_caller]
    fn new(env: &Env, what: &'static str, timeout: Option<u16>, reads: bool) -> Self {
        let config = InitConfig {
            flags: timeout.map_or(0, |_| init_flags::REQUEST_TIMEOUT),
            request_timeout: timeout.unwrap_or(0),
            ..Default::default()
        };
        let fs = Fs::with(env, |options| options, &config);
        let path = fs.path("x");
        let since = Instant::now();
        let caller = call(move || sys::stat(&path).map(drop));
        if reads {
            fs.expect(Opcode::Lookup);
        } else {
            assert!(fs.channel.wait_readable(INTERVAL).unwrap());
        }
        Self {
            what,
            fs,
            caller,
            since,
        }
    }
}

fn requests_that_take_too_long(env: &Env) {
    let default = Global::sysctl(env, "default_request_timeout");
    let most = Global::sysctl(env, "max_request_timeout");
    let mut late = vec![
        Hanging::new(env, "read, and not answered", Some(1), true),
        Hanging::new(env, "not read", Some(1), false),
    ];
    let mut patient = vec![
        Hanging::new(env, "no time-out at all", None, true),
        Hanging::new(env, "a long time-out", Some(65535), true),
    ];
    default.set("1");
    late.push(Hanging::new(env, "the default", None, true));
    patient.push(Hanging::new(
        env,
        "other than the default",
        Some(1000),
        true,
    ));
    default.set("0");
    most.set("2");
    late.push(Hanging::new(env, "the most there is", Some(60000), true));
    late.push(Hanging::new(env, "the most, by default", None, true));
    most.set("0");
    let answers = Hanging::new(env, "answered in time", Some(1), false);
    let lookup = answers.fs.expect(Opcode::Lookup);
    answers.fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(answers.caller.result(), Errno::ENOENT);

    for Hanging {
        what,
        fs,
        caller,
        since,
    } in &late
    {
        system::assert_errno(caller.result(), Errno::ECONNABORTED);
        let took = since.elapsed();
        assert!(took >= INTERVAL, "{what}: aborted after {took:?}");
        system::assert_errno(fs.channel.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
    }
    // By now it was looked at these, too.
    for Hanging {
        what, fs, caller, ..
    } in &patient
    {
        assert!(caller.still_waits(Duration::ZERO), "{what}");
        let waiting = fs::read_to_string(fs.control(env).join("waiting")).unwrap();
        assert_eq!(waiting, "1\n", "{what}");
    }
    let path = answers.fs.path("y");
    let caller = call(move || sys::stat(&path).map(drop));
    let lookup = answers.fs.expect(Opcode::Lookup);
    answers.fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
    // What hangs has to end before its file system goes.
    for Hanging { mut fs, .. } in patient {
        fs.force_unmount();
    }
}
