// SPDX-License-Identifier: GPL-2.0

//! The device: reading, polling, and everything else that can be done to it.

use crate::{
    caller::call,
    env::Env,
    fs::{self, Fs},
    model::{Model, Served},
    sys, system,
    tests::tests,
};
use nix::{
    fcntl::{fcntl, FcntlArg, OFlag},
    poll::PollFlags,
    sys::stat::{major, minor},
};
use rawfuse::{
    abi::{self, Opcode},
    Channel, Errno, MountOptions,
};
use std::{
    fs::OpenOptions,
    io::{IoSliceMut, Read},
    os::fd::AsFd,
    path::Path,
    time::Duration,
};

tests![
    is_a_misc_device,
    before_mounting,
    cannot_be_seeked,
    unknown_ioctl,
    short_buffers_lose_nothing,
    nonblocking,
    poll_states,
    poll_wakes_a_waiter,
    read_in_pieces,
    read_to_nowhere,
    opened_for_reading_only,
    dup_is_the_same_device,
    readers_get_one_request_each,
    signal_ends_a_read,
];

const SHORT: Duration = Duration::from_millis(150);

fn is_a_misc_device(env: &Env) {
    let stat = sys::stat(Path::new(env.kind.device)).unwrap();
    assert_eq!(stat.st_mode & libc::S_IFMT, libc::S_IFCHR);
    assert_eq!(major(stat.st_rdev), 10);
    let name = env.kind.device.trim_start_matches("/dev/");
    if name == "fuse" {
        assert_eq!(minor(stat.st_rdev), 229);
    }
    let misc = std::fs::read_to_string("/proc/misc").unwrap();
    let line = format!("{} {name}", minor(stat.st_rdev));
    assert!(misc.lines().any(|known| known.trim() == line), "{misc}");
}

fn before_mounting(env: &Env) {
    let channel = Channel::open(&env.kind).unwrap();
    let mut bytes = vec![0; 1 << 17];
    system::assert_errno(channel.read(&mut bytes), Errno::EPERM);
    system::assert_errno(channel.read(&mut []), Errno::EPERM);
    system::assert_errno(channel.write(&[&[0; 16]]), Errno::EPERM);
    system::assert_errno(channel.reply_error(2, Errno::EIO), Errno::EPERM);
    assert_eq!(channel.poll(Duration::ZERO).unwrap(), PollFlags::POLLERR);
}

fn cannot_be_seeked(env: &Env) {
    let channel = Channel::open(&env.kind).unwrap();
    for whence in [libc::SEEK_SET, libc::SEEK_CUR, libc::SEEK_END] {
        system::assert_errno(sys::lseek(channel.as_fd(), 0, whence), Errno::ESPIPE);
    }
    let fs = Fs::new(env);
    system::assert_errno(
        sys::lseek(fs.channel.as_fd(), 0, libc::SEEK_SET),
        Errno::ESPIPE,
    );
}

fn unknown_ioctl(env: &Env) {
    let fs = Fs::new(env);
    let mut arg = 0;
    for command in [0, 0x5401, abi::DEV_IOC_MAGIC << 8 | 0x7f] {
        system::assert_errno(
            sys::ioctl(fs.channel.as_fd(), command, &mut arg),
            Errno::ENOTTY,
        );
    }
}

fn short_buffers_lose_nothing(env: &Env) {
    let (channel, _mount, _dir) = fs::mount(env, &MountOptions::new(env.kind));
    for len in [0, 1, 39, 40, 100, 104, 8191] {
        // Nothing at all to read is nothing asked for.
        let result = channel.read(&mut vec![0; len]);
        match len {
            0 => assert!(
                matches!(&result, Ok(0)) || system::errno(result) == libc::EINVAL,
                "a read of no bytes"
            ),
            _ => system::assert_errno(result, Errno::EINVAL),
        }
    }
    let (header, body) = channel.read_owned(8192).expect("INIT is still there");
    assert_eq!(header.opcode, Opcode::Init as u32);
    assert_eq!(body.len(), 64);
}

fn nonblocking(env: &Env) {
    let fs = Fs::new(env);
    fcntl(fs.channel.as_fd(), FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
    let mut bytes = vec![0; 1 << 18];
    system::assert_errno(fs.channel.read(&mut bytes), Errno::EAGAIN);
    // A buffer that is too short is so with nothing to read too.
    system::assert_errno(fs.channel.read(&mut bytes[..100]), Errno::EINVAL);
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    system::assert_errno(fs.channel.read(&mut bytes), Errno::EAGAIN);
    fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn poll_states(env: &Env) {
    let write = PollFlags::POLLOUT;
    let read = PollFlags::POLLIN | PollFlags::POLLRDNORM;
    let channel = Channel::open(&env.kind).unwrap();
    assert_eq!(channel.poll(Duration::ZERO).unwrap(), PollFlags::POLLERR);
    let mut fs = Fs::new(env);
    assert_eq!(fs.channel.poll(Duration::ZERO).unwrap(), write);
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    assert!(fs.channel.wait_readable(Duration::from_secs(5)).unwrap());
    assert_eq!(fs.channel.poll(Duration::ZERO).unwrap(), write | read);
    let lookup = fs.expect(Opcode::Lookup);
    assert_eq!(fs.channel.poll(Duration::ZERO).unwrap(), write);
    fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
    fs.force_unmount();
    assert_eq!(fs.channel.poll(Duration::ZERO).unwrap(), PollFlags::POLLERR);
}

/// Who polls is woken. At the end of its time it would look again, which this does not wait for.
fn poll_wakes_a_waiter(env: &Env) {
    const LONG: Duration = Duration::from_secs(3600);
    let mut fs = Fs::new(env);
    let channel = fs.channel.try_clone().unwrap();
    let waiter = call(move || channel.wait_readable(LONG).unwrap());
    assert!(waiter.still_waits(SHORT));
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    assert!(waiter.result());
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
    let channel = fs.channel.try_clone().unwrap();
    let waiter = call(move || channel.poll(LONG).unwrap());
    // POLLOUT is there at once: only the end of the file system is waited for here.
    assert_eq!(waiter.result(), PollFlags::POLLOUT);
    let channel = fs.channel.try_clone().unwrap();
    let waiter = call(move || channel.wait_readable(LONG).unwrap());
    assert!(waiter.still_waits(SHORT));
    fs.force_unmount();
    assert!(waiter.result());
}

fn read_in_pieces(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("a-name");
    let caller = call(move || sys::stat(&path));
    let (mut one, mut two, mut rest) = ([0; 3], [0; 39], vec![0; 1 << 18]);
    let mut parts = [
        IoSliceMut::new(&mut one),
        IoSliceMut::new(&mut two),
        IoSliceMut::new(&mut rest),
    ];
    let mut file = std::fs::File::from(fs.channel.as_fd().try_clone_to_owned().unwrap());
    let len = file.read_vectored(&mut parts).expect("readv");
    let all = [&one[..], &two[..], &rest[..]].concat();
    let lookup = fs::Req::new(&all[..len]);
    assert_eq!(lookup.opcode(), Opcode::Lookup);
    assert_eq!(lookup.name(), "a-name");
    fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn read_to_nowhere(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    assert!(fs.channel.wait_readable(Duration::from_secs(5)).unwrap());
    system::assert_errno(
        sys::read_to_nowhere(fs.channel.as_fd(), 1 << 18),
        Errno::EFAULT,
    );
    // The request was on its way, and has come to its end.
    system::assert_errno(caller.result(), Errno::EIO);
    fs.expect_silence(SHORT);
}

fn opened_for_reading_only(env: &Env) {
    let file = OpenOptions::new().read(true).open(env.kind.device).unwrap();
    let channel = Channel::from(std::os::fd::OwnedFd::from(file));
    let dir = fs::fresh_dir();
    let _mount = MountOptions::new(env.kind)
        .mount(&channel, &dir)
        .expect("mount");
    let init = fs::next(&channel);
    system::assert_errno(channel.reply_error(init.unique(), Errno::EIO), Errno::EBADF);
}

fn dup_is_the_same_device(env: &Env) {
    let fs = Fs::new(env);
    let dup = fs.channel.try_clone().unwrap();
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    dup.reply_error(lookup.unique(), Errno::ENOENT).unwrap();
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn readers_get_one_request_each(env: &Env) {
    let mut served = Served::with_threads(Fs::new(env), Model::new(), 10);
    let callers: Vec<_> = (0..16)
        .map(|_| {
            let path = served.path("dir/inner");
            call(move || (0..50).all(|_| sys::stat(&path).is_ok_and(|stat| stat.st_size == 5)))
        })
        .collect();
    assert!(callers.iter().all(|caller| caller.result()));
    assert!(served.count(Opcode::Lookup) >= 16 * 50);
    served.finish();
}

fn signal_ends_a_read(env: &Env) {
    use nix::sys::signal::Signal;

    let fs = Fs::new(env);
    sys::ignore_by_handler(Signal::SIGUSR1);
    let reader = crate::caller::process(|| {
        let mut file = std::fs::File::from(fs.channel.as_fd().try_clone_to_owned().unwrap());
        system::errno(file.read(&mut vec![0; 1 << 18]))
    });
    assert!(reader.ended_within(SHORT).is_none());
    assert_eq!(reader.interrupted_code(Signal::SIGUSR1), libc::EINTR);
}
