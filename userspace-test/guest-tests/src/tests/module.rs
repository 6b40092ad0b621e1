// SPDX-License-Identifier: GPL-2.0

//! Loading and unloading the module: what comes up, and that nothing stays behind.

use crate::{
    caller::{call, eventually, PATIENCE},
    env::{Env, ModuleName},
    failures::Failures,
    fs::fresh_dir,
    runner, sys, system,
    tests::tests,
};
use nix::{
    errno::Errno,
    kmod::{delete_module, finit_module, DeleteModuleFlags, ModuleInitFlags},
    mount::umount,
};
use rawfuse::{abi::Opcode, handshake, Buffer, Channel, InitConfig, Kind, MountOptions};
use std::{
    ffi::CString,
    fs::{self, File},
    path::{Path, PathBuf},
    time::Instant,
};

tests![
    what_comes_up,
    loaded_twice,
    the_other_module_is_refused => 60,
    beside_the_other_module => 60,
    in_use_is_not_unloaded,
    hundred_times => 240,
    loading_with_failing_allocations => 900,
    mounting_with_failing_allocations => 600,
];

/// The file of a module. Skips the test where the guest has none.
fn file_of(module: ModuleName) -> PathBuf {
    let path = PathBuf::from(format!("/run/guest/modules/{}.ko", module.name()));
    if !path.exists() {
        runner::skip(&format!("there is no {}", path.display()));
    }
    path
}

fn load(module: ModuleName, parameters: &str) -> nix::Result<()> {
    let file = File::open(file_of(module)).expect("the module's file");
    let parameters = CString::new(parameters).expect("parameters");
    finit_module(file, &parameters, ModuleInitFlags::empty())
}

fn unload(module: ModuleName) -> nix::Result<()> {
    let name = CString::new(module.name()).expect("a name");
    delete_module(&name, DeleteModuleFlags::O_NONBLOCK)
}

/// Unloads a module that is no longer in use, or will not be in a moment.
#[track_caller]
fn unload_soon(module: ModuleName) {
    let end = Instant::now() + PATIENCE;
    loop {
        match unload(module) {
            Ok(()) => return,
            Err(Errno::EAGAIN) if Instant::now() < end => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(error) => panic!("cannot unload {}: {error}", module.name()),
        }
    }
}

/// Whether KUnit runs the tests in a module that is loaded: all of them, or none.
fn run_kunit(all: bool) {
    // A kernel without KUnit runs none.
    let pattern = if all { "*" } else { "none" };
    let _ = fs::write("/sys/module/kunit/parameters/filter_glob", pattern);
}

/// The module that was loaded, unloaded for the time of a test; and the other one with it. Nothing is left
/// of them, so that the same names can come again.
struct Unloaded {
    env: Env,
    other: bool,
}

impl Unloaded {
    #[track_caller]
    fn new(env: &Env) -> Self {
        file_of(env.module);
        system::enter_init_namespace();
        // It may not be mounted.
        let _ = umount(env.kind.control_dir);
        run_kunit(false);
        unload_soon(env.module);
        let other_module = other(env.module);
        let other = Path::new("/sys/module").join(other_module.name()).exists();
        if other {
            let _ = umount(Kind::FUSE.control_dir);
            unload_soon(other_module);
            nothing_is_left(&Kind::FUSE, other_module);
        }
        nothing_is_left(&env.kind, env.module);
        Self { env: *env, other }
    }
}

impl Drop for Unloaded {
    fn drop(&mut self) {
        let env = &self.env;
        for module in [ModuleName::RustFuse, ModuleName::Fuse] {
            // It is not loaded, when all went well.
            let _ = unload(module);
        }
        let parameters = match env.kind {
            Kind::FUSE => "",
            _ => "coexist=1",
        };
        if let Err(error) = load(env.module, parameters) {
            eprintln!("cannot load {} again: {error}", env.module.name());
            return;
        }
        if self.other && load(other(env.module), "").is_err() {
            eprintln!("cannot load {} again", other(env.module).name());
        }
        run_kunit(true);
        // As the machine was set up; what matters of it is tested elsewhere.
        let open_to_all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let _ = fs::set_permissions(env.kind.device, open_to_all);
        let _ = system::mount_control(&env.kind);
    }
}

fn lines_with(file: &str, words: &[&str]) -> Vec<String> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let is_one = |line: &&str| {
        line.split_whitespace()
            .any(|word| words.contains(&word.trim_end_matches(':')))
    };
    text.lines().filter(is_one).map(String::from).collect()
}

/// All that a module of `kind` leaves in the system while it is loaded.
fn traces(kind: &Kind, module: ModuleName) -> Vec<String> {
    let block = format!("{}blk", kind.fs_type);
    let mut found = lines_with(
        "/proc/filesystems",
        &[kind.fs_type, &block, kind.control_type],
    );
    let device = kind.device.trim_start_matches("/dev/");
    found.extend(lines_with("/proc/misc", &[device]));
    let parent = Path::new(kind.control_dir).parent().expect("/sys/fs/…");
    let module_dir = Path::new("/sys/module").join(module.name());
    let sysctl = Path::new("/proc/sys/fs").join(kind.fs_type);
    let debug = Path::new("/sys/kernel/debug").join(module.name());
    for path in [Path::new(kind.device), parent, &module_dir, &sysctl, &debug] {
        if path.exists() {
            found.push(path.display().to_string());
        }
    }
    for dir in [
        "/sys/kernel/slab",
        "/sys/class/bdi",
        "/sys/kernel/tracing/events",
    ] {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        // A link there is the name of a slab cache that was merged with another, and stays.
        let own = entries.filter(|entry| entry.file_type().is_ok_and(|kind| !kind.is_symlink()));
        let names = own.filter_map(|entry| entry.file_name().into_string().ok());
        found.extend(
            names
                .filter(|name| {
                    let name = name.trim_start_matches(':');
                    name.starts_with(&format!("{}_", kind.fs_type))
                        || name.starts_with(module.name()) && name != "fuse"
                        || name.ends_with("-fuseblk")
                })
                .map(|name| format!("{dir}/{name}")),
        );
    }
    let slabs = fs::read_to_string("/proc/slabinfo").unwrap_or_default();
    let prefix = format!("{}_", kind.fs_type);
    found.extend(
        slabs
            .lines()
            .filter(|line| line.starts_with(&prefix) || line.starts_with("rust_fuse"))
            .map(String::from),
    );
    found
}

#[track_caller]
fn nothing_is_left(kind: &Kind, module: ModuleName) {
    // What the kernel frees by workqueue, slab caches above all, takes a moment.
    let end = Instant::now() + PATIENCE;
    while !traces(kind, module).is_empty() && Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!(traces(kind, module), [""; 0]);
}

#[track_caller]
fn everything_is_there(kind: &Kind, module: ModuleName) {
    let found = traces(kind, module);
    let block = format!("{}blk", kind.fs_type);
    for word in [kind.fs_type, &block, kind.control_type, kind.device] {
        let ends = |line: &String| line.split_whitespace().any(|found| found == word);
        assert!(found.iter().any(ends), "{word}: {found:?}");
    }
    assert!(Path::new(kind.control_dir).exists());
    let sysctls = Path::new("/proc/sys/fs").join(kind.fs_type);
    assert!(sysctls.join("max_pages_limit").exists());
    let blockdev = lines_with("/proc/filesystems", &[&block]);
    assert!(blockdev.iter().all(|line| !line.starts_with("nodev")));
}

fn what_comes_up(env: &Env) {
    drop(Unloaded::new(env));
    everything_is_there(&env.kind, env.module);
}

fn loaded_twice(env: &Env) {
    let before = traces(&env.kind, env.module);
    assert_eq!(load(env.module, ""), Err(Errno::EEXIST));
    assert_eq!(traces(&env.kind, env.module), before);
}

fn other(module: ModuleName) -> ModuleName {
    match module {
        ModuleName::RustFuse => ModuleName::Fuse,
        ModuleName::Fuse => ModuleName::RustFuse,
    }
}

fn the_other_module_is_refused(env: &Env) {
    if env.kind != Kind::FUSE {
        runner::skip("it is there, by other names");
    }
    let other = other(env.module);
    file_of(other);
    let before = traces(&env.kind, env.module);
    for _ in 0..5 {
        assert_eq!(load(other, ""), Err(Errno::EBUSY));
        assert!(!Path::new("/sys/module").join(other.name()).exists());
        assert_eq!(traces(&env.kind, env.module), before);
    }
    // Nothing of the one that is there has suffered.
    let mut served = crate::model::Served::new(crate::fs::Fs::new(env), crate::model::Model::new());
    sys::contents(&served.path("file")).expect("it works");
    served.finish();
}

fn use_it(kind: Kind) {
    let channel = Channel::open(&kind).expect("the device");
    let dir = fresh_dir();
    let mount = MountOptions::new(kind)
        .mount(&channel, &dir)
        .expect("mount");
    handshake(&channel, &mut Buffer::new(1 << 20), &InitConfig::default()).expect("INIT");
    let path = dir.join("x");
    let caller = call(move || sys::stat(&path));
    let lookup = crate::fs::next(&channel);
    assert_eq!(lookup.opcode(), Opcode::Lookup);
    channel
        .reply_error(lookup.unique(), rawfuse::Errno::ENOENT)
        .expect("the reply");
    system::assert_errno(caller.result(), rawfuse::Errno::ENOENT);
    mount.unmount().map_err(|(_, error)| error).expect("umount");
}

fn beside_the_other_module(env: &Env) {
    if !env.is_rust() {
        runner::skip("C FUSE has one set of names only");
    }
    file_of(ModuleName::Fuse);
    let _unloaded = Unloaded::new(env);
    for rust_first in [false, true] {
        let load_rust = || load(ModuleName::RustFuse, "coexist=1").expect("rust_fuse beside");
        if rust_first {
            load_rust();
        }
        load(ModuleName::Fuse, "").expect("fuse");
        if !rust_first {
            load_rust();
        }
        everything_is_there(&Kind::FUSE, ModuleName::Fuse);
        everything_is_there(&Kind::RFUSE, ModuleName::RustFuse);
        use_it(Kind::FUSE);
        use_it(Kind::RFUSE);
        unload_soon(ModuleName::RustFuse);
        nothing_is_left(&Kind::RFUSE, ModuleName::RustFuse);
        use_it(Kind::FUSE);
        unload_soon(ModuleName::Fuse);
        nothing_is_left(&Kind::FUSE, ModuleName::Fuse);
    }
}

fn in_use_is_not_unloaded(env: &Env) {
    let channel = Channel::open(&env.kind).expect("the device");
    assert_eq!(unload(env.module), Err(Errno::EAGAIN));
    drop(channel);
    let mut fs = crate::fs::Fs::new(env);
    assert_eq!(unload(env.module), Err(Errno::EAGAIN));
    fs.unmount();
}

fn hundred_times(env: &Env) {
    let unloaded = Unloaded::new(env);
    let parameters = match env.kind {
        Kind::FUSE => "",
        _ => "coexist=1",
    };
    for round in 0..100 {
        nothing_is_left(&env.kind, env.module);
        load(env.module, parameters).unwrap_or_else(|error| panic!("round {round}: {error}"));
        everything_is_there(&env.kind, env.module);
        if round % 10 == 0 {
            use_it(env.kind);
        }
        unload_soon(env.module);
    }
    nothing_is_left(&env.kind, env.module);
    drop(unloaded);
    everything_is_there(&env.kind, env.module);
}

/// How many allocations loading takes before it comes to the module: its symbols, its trace
/// events, its parameters, the last of which is wrong here. That part is the kernel's, which does
/// not take every failure well.
fn allocations_before_the_module(env: &Env, failures: &Failures) -> u32 {
    const MANY: u32 = 1 << 30;
    let wrong = match env.module {
        ModuleName::RustFuse => c"coexist=what",
        ModuleName::Fuse => c"max_user_bgreq=what",
    };
    let module = File::open(file_of(env.module)).expect("the module's file");
    failures.start(MANY);
    let result = finit_module(module, wrong, ModuleInitFlags::empty());
    let left = failures.stop();
    assert_eq!(result, Err(Errno::EINVAL));
    MANY - left
}

fn loading_with_failing_allocations(env: &Env) {
    let failures = Failures::new();
    let _unloaded = Unloaded::new(env);
    let before = allocations_before_the_module(env, &failures);
    let mut refused = 0;
    for nth in before + 1.. {
        assert!(nth < before + 5_000, "it never loads");
        let module = File::open(file_of(env.module)).expect("the module's file");
        failures.start(nth);
        let result = finit_module(module, c"", ModuleInitFlags::empty());
        let left = failures.stop();
        match result {
            Ok(()) => unload_soon(env.module),
            Err(_) => refused += 1,
        }
        nothing_is_left(&env.kind, env.module);
        if left > 0 {
            assert_eq!(result, Ok(()), "with nothing in its way");
            break;
        }
    }
    assert!(refused > 10, "{refused} failures are too few to be true");
}

fn mounting_with_failing_allocations(env: &Env) {
    let failures = Failures::new();
    let connections = || {
        fs::read_dir(env.kind.control_dir)
            .map(Iterator::count)
            .unwrap_or(0)
    };
    let before = connections();
    let dir = fresh_dir();
    let mut refused = 0;
    for nth in 1.. {
        assert!(nth < 5_000, "it never mounts");
        let channel = Channel::open(&env.kind).expect("the device");
        let options = MountOptions::new(env.kind).option("max_read=8192");
        let data = options.data(&channel);
        failures.start(nth);
        let result = nix::mount::mount(
            Some("source"),
            &dir,
            Some(env.kind.fs_type),
            options.flags,
            Some(data.as_str()),
        );
        let left = failures.stop();
        match result {
            Ok(()) => umount(&dir).expect("umount"),
            Err(_) => refused += 1,
        }
        assert!(!system::is_mounted(&dir));
        drop(channel);
        eventually("its connection is gone", || connections() == before);
        if left > 0 {
            assert_eq!(result, Ok(()), "with nothing in its way");
            break;
        }
    }
    assert!(refused > 10, "{refused} failures are too few to be true");
}
