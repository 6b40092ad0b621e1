// SPDX-License-Identifier: GPL-2.0

//! The end of a connection, by force or because the daemon is gone.

use crate::{
    caller::{call, eventually, process, Caller, PATIENCE},
    env::Env,
    fs::Fs,
    model::{Model, Served, CONTENTS, FILE, INNER},
    sys, system,
    tests::tests,
};
use nix::{
    mount::{umount2, MntFlags},
    poll::PollFlags,
    sys::signal::Signal,
};
use rawfuse::{
    abi::{self, init_flags, open_flags, NotifyCode, Opcode},
    Errno,
};
use std::{
    io::{self, Read, Write},
    time::Duration,
};
use zerocopy::IntoBytes;

tests![
    by_the_control_file,
    by_forced_unmount,
    by_closing_the_device,
    by_killing_the_daemon,
    reader_wakes_up,
    abort_error,
    abort_error_is_for_the_control_file,
    a_second_descriptor_keeps_it,
    twice,
    callers_that_wait_for_init,
    background_requests_end,
    open_files_fail,
    what_is_cached_stays,
    replies_come_too_late,
    notifications_come_too_late,
    unmounts_afterwards,
    forgets_are_dropped,
    daemon_that_uses_its_own_file_system,
    destroy_is_sent_by_fuseblk,
    destroy_is_not_sent_otherwise,
];

/// A file system with one request at the daemon and one that waits to be read.
struct Waiting {
    fs: Fs,
    sent: Caller<io::Result<()>>,
    unread: Caller<io::Result<()>>,
    unique: u64,
}

impl Waiting {
    #[track_caller]
    fn new(env: &Env, flags: u64) -> Self {
        let fs = Fs::with_flags(env, flags);
        let dir = fs.dir.clone();
        let sent = call(move || sys::stat(&dir).map(drop));
        let unique = fs.expect(Opcode::Getattr).unique();
        let dir = fs.dir.clone();
        let unread = call(move || sys::stat(&dir).map(drop));
        assert!(fs.channel.wait_readable(PATIENCE).unwrap());
        Self {
            fs,
            sent,
            unread,
            unique,
        }
    }

    /// Both have ended, and from here on all is over.
    #[track_caller]
    fn ended(&self) {
        system::assert_errno(self.sent.result(), Errno::ECONNABORTED);
        system::assert_errno(self.unread.result(), Errno::ECONNABORTED);
        for _ in 0..2 {
            let dir = self.fs.dir.clone();
            system::assert_errno(
                call(move || sys::stat(&dir).map(drop)).result(),
                Errno::ENOTCONN,
            );
        }
    }

    #[track_caller]
    fn device_is_dead(&self, error: Errno) {
        system::assert_errno(self.fs.channel.read(&mut vec![0; 1 << 18]), error);
        assert_eq!(
            self.fs.channel.poll(Duration::ZERO).unwrap(),
            PollFlags::POLLERR
        );
    }
}

fn abort(env: &Env, fs: &Fs) {
    std::fs::write(fs.control(env).join("abort"), "1").expect("abort");
}

fn by_the_control_file(env: &Env) {
    let waiting = Waiting::new(env, 0);
    abort(env, &waiting.fs);
    waiting.ended();
    waiting.device_is_dead(Errno::ENODEV);
}

fn by_forced_unmount(env: &Env) {
    let waiting = Waiting::new(env, 0);
    // It is in use by those who wait, so it stays mounted; but they are let go.
    let target = waiting.fs.dir.clone();
    let held = sys::open_with(&target, libc::O_PATH).unwrap();
    assert_eq!(umount2(&target, MntFlags::MNT_FORCE), Err(Errno::EBUSY));
    waiting.ended();
    waiting.device_is_dead(Errno::ENODEV);
    drop(held);
}

fn by_closing_the_device(env: &Env) {
    let Waiting {
        fs, sent, unread, ..
    } = Waiting::new(env, 0);
    let Fs {
        channel,
        dir,
        mount,
        ..
    } = fs;
    drop(channel);
    system::assert_errno(sent.result(), Errno::ECONNABORTED);
    system::assert_errno(unread.result(), Errno::ECONNABORTED);
    let path = dir.clone();
    system::assert_errno(call(move || sys::stat(&path)).result(), Errno::ENOTCONN);
    // It is still mounted, for someone to unmount it.
    assert!(system::is_mounted(&dir));
    drop(mount);
    assert!(!system::is_mounted(&dir));
}

fn by_killing_the_daemon(env: &Env) {
    // The daemon gets as far as reading the first request, and never answers it.
    let (channel, mount, dir) = crate::fs::mount(env, &rawfuse::MountOptions::new(env.kind));
    let (mut told, mut tell) = std::io::pipe().expect("pipe");
    let daemon = process(|| {
        let init = crate::fs::next(&channel);
        rawfuse::answer_init(&channel, &init.request(), &Default::default()).expect("INIT");
        crate::fs::next(&channel);
        tell.write_all(&[0]).expect("told");
        std::thread::sleep(Duration::from_secs(60));
        0
    });
    // It alone has the device.
    drop(channel);
    let path = dir.clone();
    let caller = process(|| system::errno(sys::stat(&path)));
    told.read_exact(&mut [0]).expect("the request is read");
    daemon.signal(Signal::SIGKILL);
    assert_eq!(caller.code(), libc::ECONNABORTED);
    system::assert_errno(sys::stat(&dir), Errno::ENOTCONN);
    drop(mount);
}

fn reader_wakes_up(env: &Env) {
    for by_force in [true, false] {
        let mut fs = Fs::new(env);
        let readers: Vec<_> = (0..5)
            .map(|_| {
                let channel = fs.channel.try_clone().unwrap();
                call(move || channel.read(&mut vec![0; 1 << 18]).map(drop))
            })
            .collect();
        assert!(readers[0].still_waits(Duration::from_millis(100)));
        match by_force {
            true => abort(env, &fs),
            false => fs.unmount(),
        }
        for reader in &readers {
            system::assert_errno(reader.result(), Errno::ENODEV);
        }
    }
}

fn abort_error(env: &Env) {
    let waiting = Waiting::new(env, init_flags::ABORT_ERROR);
    abort(env, &waiting.fs);
    waiting.ended();
    waiting.device_is_dead(Errno::ECONNABORTED);
}

fn abort_error_is_for_the_control_file(env: &Env) {
    // Unmounting is no abort to the daemon, forced or not.
    for flags in [MntFlags::empty(), MntFlags::MNT_FORCE] {
        let fs = Fs::with_flags(env, init_flags::ABORT_ERROR);
        umount2(&fs.dir, flags).expect("umount");
        system::assert_errno(fs.channel.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
    }
}

fn a_second_descriptor_keeps_it(env: &Env) {
    let mut fs = Fs::new(env);
    let other = fs.channel.try_clone().unwrap();
    drop(std::mem::replace(&mut fs.channel, other));
    let dir = fs.dir.clone();
    let caller = call(move || sys::stat(&dir).map(drop));
    let getattr = fs.expect(Opcode::Getattr);
    fs.reply_error(&getattr, Errno::EDOM);
    system::assert_errno(caller.result(), Errno::EDOM);
}

fn twice(env: &Env) {
    let waiting = Waiting::new(env, 0);
    for _ in 0..3 {
        abort(env, &waiting.fs);
    }
    waiting.ended();
    assert_eq!(umount2(&waiting.fs.dir, MntFlags::MNT_FORCE), Ok(()));
}

fn callers_that_wait_for_init(env: &Env) {
    let (channel, mount, dir) = crate::fs::mount(env, &rawfuse::MountOptions::new(env.kind));
    let control = crate::fs::control_dir(env, &dir);
    let path = dir.clone();
    let caller = call(move || sys::stat(&path).map(drop));
    assert!(caller.still_waits(Duration::from_millis(100)));
    std::fs::write(control.join("abort"), "1").unwrap();
    let error = system::errno(caller.result());
    assert!(
        [libc::ENOTCONN, libc::ECONNREFUSED].contains(&error),
        "{error}"
    );
    system::assert_errno(channel.read(&mut [0; 8192]), Errno::ENODEV);
    drop(mount);
}

fn background_requests_end(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::ASYNC_READ);
    let path = fs.path("x");
    let reader = call(move || sys::contents(&path).map(drop));
    let lookup = fs.expect(Opcode::Lookup);
    let mut entry = Model::cached().entry(FILE);
    entry.attr.size = 10 << 20;
    fs.reply(&lookup, &entry);
    let open = fs.expect(Opcode::Open);
    fs.reply(&open, &abi::OpenOut::default());
    fs.expect(Opcode::Read);
    abort(env, &fs);
    system::assert_errno(reader.result(), Errno::EIO);
    eventually("nothing waits", || {
        std::fs::read_to_string(fs.control(env).join("waiting")).unwrap() == "0\n"
    });
}

fn open_files_fail(env: &Env) {
    let mut model = Model::cached();
    model.open_flags = open_flags::DIRECT_IO;
    let served = Served::new(Fs::new(env), model);
    let file = sys::open(&served.path("file")).unwrap();
    let dir = sys::open(&served.dir).unwrap();
    abort(env, &served);
    system::assert_errno(
        std::os::unix::fs::FileExt::read_at(&file, &mut [0; 10], 0),
        Errno::ENOTCONN,
    );
    system::assert_errno(sys::getdents(&dir, 4096), Errno::ENOTCONN);
    // FLUSH is forced: it is sent, and ends as the connection has.
    assert_eq!(nix::unistd::close(file), Err(Errno::ENOTCONN));
    assert_eq!(nix::unistd::close(dir), Ok(()));
}

fn what_is_cached_stays(env: &Env) {
    let served = Served::new(Fs::new(env), Model::cached());
    sys::stat(&served.path("dir/inner")).unwrap();
    let mut file = sys::open(&served.path("file")).unwrap();
    let mut bytes = vec![0; CONTENTS.len()];
    io::Read::read_exact(&mut file, &mut bytes).unwrap();
    abort(env, &served);
    assert_eq!(sys::stat(&served.path("dir/inner")).unwrap().st_ino, INNER);
    bytes.fill(0);
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 0).unwrap();
    assert_eq!(bytes, CONTENTS);
}

fn replies_come_too_late(env: &Env) {
    let waiting = Waiting::new(env, 0);
    abort(env, &waiting.fs);
    system::assert_errno(
        waiting.fs.channel.reply_error(waiting.unique, Errno::EIO),
        Errno::ENOENT,
    );
    waiting.ended();
}

fn notifications_come_too_late(env: &Env) {
    let fs = Fs::new(env);
    abort(env, &fs);
    let out = abi::NotifyInvalInodeOut {
        ino: 1,
        off: 0,
        len: 0,
    };
    system::assert_errno(
        fs.channel.notify(NotifyCode::InvalInode, &[out.as_bytes()]),
        Errno::EINVAL,
    );
}

fn unmounts_afterwards(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::cached());
    let file = sys::open(&served.path("dir/inner")).unwrap();
    abort(env, &served);
    assert_eq!(umount2(&served.dir, MntFlags::empty()), Err(Errno::EBUSY));
    drop(file);
    served.finish();
    assert!(!system::is_mounted(&served.dir));
}

fn forgets_are_dropped(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path).map(drop));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply(&lookup, &Model::cached().entry(FILE));
    caller.result().unwrap();
    abort(env, &fs);
    call(|| system::drop_caches(2)).result();
    system::assert_errno(fs.channel.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
}

fn daemon_that_uses_its_own_file_system(env: &Env) {
    // It waits for itself. Killing it must be enough.
    let (channel, mount, dir) = crate::fs::mount(env, &rawfuse::MountOptions::new(env.kind));
    let daemon = process(|| {
        let init = crate::fs::next(&channel);
        rawfuse::answer_init(&channel, &init.request(), &Default::default()).expect("INIT");
        system::errno(sys::stat(&dir))
    });
    drop(channel);
    assert!(daemon.ended_within(Duration::from_millis(300)).is_none());
    daemon.signal(Signal::SIGKILL);
    assert!(daemon.ended_within(PATIENCE).is_some());
    system::assert_errno(sys::stat(&dir), Errno::ENOTCONN);
    drop(mount);
}

fn destroy_is_sent_by_fuseblk(env: &Env) {
    let Some(device) = crate::loopdev::LoopDevice::new() else {
        crate::runner::skip("there is no loop device to be had");
    };
    let channel = rawfuse::Channel::open(&env.kind).unwrap();
    let dir = crate::fs::fresh_dir();
    let fs_type: &'static str = match env.kind.fs_type {
        "rfuse" => "rfuseblk",
        _ => "fuseblk",
    };
    let options = rawfuse::MountOptions {
        kind: rawfuse::Kind {
            fs_type,
            ..env.kind
        },
        source: device.path.clone(),
        ..rawfuse::MountOptions::new(env.kind)
    };
    let mount = options.mount(&channel, &dir).expect("mount");
    let init = crate::fs::next(&channel);
    rawfuse::answer_init(&channel, &init.request(), &Default::default()).expect("INIT");
    let unmounter = call(move || mount.unmount().map_err(|(_, error)| error));
    // SYNCFS comes first, where it is known.
    let mut destroy = crate::fs::next(&channel);
    if destroy.opcode() == Opcode::Syncfs {
        channel.reply_bytes(destroy.unique(), &[]).unwrap();
        destroy = crate::fs::next(&channel);
    }
    assert_eq!((destroy.opcode(), destroy.nodeid()), (Opcode::Destroy, 0));
    assert_eq!(destroy.header().len, 40);
    // umount waits for the daemon to have written all.
    assert!(unmounter.still_waits(Duration::from_millis(100)));
    channel.reply_bytes(destroy.unique(), &[]).unwrap();
    unmounter.result().expect("umount");
    system::assert_errno(channel.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
}

fn destroy_is_not_sent_otherwise(env: &Env) {
    let mut fs = Fs::new(env);
    fs.unmount();
    system::assert_errno(fs.channel.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
}
