// SPDX-License-Identifier: GPL-2.0

//! A file system whose daemon is the test itself: it takes requests one at a time, looks at them,
//! and answers what it likes.

use crate::{
    caller::{call, eventually, Caller, PATIENCE},
    env::Env,
    sys, system,
};
use rawfuse::{
    abi::{self, Opcode},
    answer_init, Buffer, Channel, Errno, InitConfig, Mount, MountOptions, Operation, Request,
};
use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A request, kept.
pub struct Req {
    buffer: Buffer,
    len: usize,
}

impl Req {
    /// Keeps a copy of a request.
    pub fn new(bytes: &[u8]) -> Self {
        let mut buffer = Buffer::new(bytes.len());
        buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        Self {
            buffer,
            len: bytes.len(),
        }
    }

    /// It, taken apart.
    pub fn request(&self) -> Request<'_> {
        Request::new(&self.buffer.bytes()[..self.len]).expect("a request that holds together")
    }

    /// Its header.
    pub fn header(&self) -> abi::InHeader {
        *self.request().header()
    }

    /// What names it in the reply.
    pub fn unique(&self) -> u64 {
        self.header().unique
    }

    /// The inode it is on.
    pub fn nodeid(&self) -> u64 {
        self.header().nodeid
    }

    /// What it asks for.
    #[track_caller]
    pub fn opcode(&self) -> Opcode {
        match self.request().opcode() {
            Some(opcode) => opcode,
            None => panic!("unknown opcode in {:?}", self.request()),
        }
    }

    /// What it asks for, with its arguments.
    #[track_caller]
    pub fn operation(&self) -> Operation<'_> {
        self.request().operation().expect("a well-formed request")
    }

    /// Its only argument, with nothing after it.
    #[track_caller]
    pub fn arg<T: FromBytes + KnownLayout + Immutable + Copy>(&self) -> T {
        *self.request().only_arg().expect("the argument")
    }

    /// Its only argument, a name.
    #[track_caller]
    pub fn name(&self) -> OsString {
        let mut args = self.request().args();
        let name = args.name().expect("a name").to_owned();
        args.end().expect("nothing after the name");
        name
    }
}

/// A mounted file system, and its channel.
pub struct Fs {
    /// The device.
    pub channel: Channel,
    /// The mount, until it is taken down.
    pub mount: Option<Mount>,
    /// Where it is mounted.
    pub dir: PathBuf,
}

/// The node ID of the file that [`Fs::open_file`] opens.
pub const OPENED: u64 = 77;

/// How to mount: a function that changes the usual options.
pub type Change = fn(MountOptions) -> MountOptions;

impl Fs {
    /// Mounts a file system, and settles `INIT` without any feature.
    #[track_caller]
    pub fn new(env: &Env) -> Self {
        Self::with(env, |options| options, &InitConfig::default())
    }

    /// Mounts a file system with an option, and settles `INIT` without any feature.
    #[track_caller]
    pub fn with_option(env: &Env, option: &str) -> Self {
        Self::with_options(env, option, &InitConfig::default())
    }

    /// Mounts a file system with options, separated by commas, and settles `INIT`.
    #[track_caller]
    pub fn with_options(env: &Env, options: &str, config: &InitConfig) -> Self {
        let (channel, mount, dir) = mount(env, &MountOptions::new(env.kind).option(options));
        Self::settle(channel, mount, dir, config)
    }

    /// Mounts a file system, and takes `flags` of those that are offered.
    #[track_caller]
    pub fn with_flags(env: &Env, flags: u64) -> Self {
        let config = InitConfig {
            flags,
            ..Default::default()
        };
        Self::with(env, |options| options, &config)
    }

    /// Mounts a file system whose daemon is of that minor version, and takes `flags`.
    #[track_caller]
    pub fn with_minor(env: &Env, minor: u32, flags: u64) -> Self {
        let (channel, mount, dir) = mount(env, &MountOptions::new(env.kind));
        let init = next(&channel);
        let out = abi::InitOut {
            major: abi::KERNEL_VERSION,
            minor,
            max_write: 65536,
            flags: flags as u32,
            ..Default::default()
        };
        channel.reply(init.unique(), &out).expect("INIT answered");
        Self {
            channel,
            mount: Some(mount),
            dir,
        }
    }

    /// Mounts a file system, and settles `INIT`.
    #[track_caller]
    pub fn with(env: &Env, change: Change, config: &InitConfig) -> Self {
        let (channel, mount, dir) = mount(env, &change(MountOptions::new(env.kind)));
        Self::settle(channel, mount, dir, config)
    }

    #[track_caller]
    fn settle(channel: Channel, mount: Mount, dir: PathBuf, config: &InitConfig) -> Self {
        settle(&channel, config);
        Self {
            channel,
            mount: Some(mount),
            dir,
        }
    }

    /// The path of `name` in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The next request. Fails the test when there is none.
    #[track_caller]
    pub fn next(&self) -> Req {
        next(&self.channel)
    }

    /// The next request, which has to be one for `opcode`.
    #[track_caller]
    pub fn expect(&self, opcode: Opcode) -> Req {
        let req = self.next();
        assert_eq!(
            req.request().opcode(),
            Some(opcode),
            "the request: {:?}",
            req.request()
        );
        req
    }

    /// Answers the next request, a lookup, with that there is no such name.
    #[track_caller]
    pub fn deny_name(&self) {
        let lookup = self.expect(Opcode::Lookup);
        self.reply_error(&lookup, Errno::ENOENT);
    }

    /// Fails the test when a request comes within `pause`.
    #[track_caller]
    pub fn expect_silence(&self, pause: Duration) {
        if self.channel.wait_readable(pause).expect("poll") {
            panic!("a request came: {:?}", self.next().request());
        }
    }

    /// Has all requests answered that come until a caller is back; gives what came out of it.
    #[track_caller]
    pub fn answer_until_back<T>(&self, caller: &Caller<T>, mut answer: impl FnMut(Req)) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if self
                .channel
                .wait_readable(Duration::from_millis(2))
                .expect("poll")
            {
                answer(self.next());
            } else if let Some(result) = caller.result_within(Duration::ZERO) {
                return result;
            }
            assert!(Instant::now() < end, "the caller does not come back");
        }
    }

    /// Answers with a structure.
    #[track_caller]
    pub fn reply<T: IntoBytes + Immutable>(&self, req: &Req, out: &T) {
        self.channel.reply(req.unique(), out).expect("the reply");
    }

    /// Answers with bytes.
    #[track_caller]
    pub fn reply_bytes(&self, req: &Req, bytes: &[u8]) {
        self.channel
            .reply_bytes(req.unique(), &[bytes])
            .expect("the reply");
    }

    /// Answers with an error.
    #[track_caller]
    pub fn reply_error(&self, req: &Req, error: Errno) {
        self.channel
            .reply_error(req.unique(), error)
            .expect("the reply");
    }

    /// Opens the file `x`, node [`OPENED`], whose handle is `handle`. Its name holds for an hour.
    #[track_caller]
    pub fn open_file(&self, flags: i32, handle: u64) -> fs::File {
        let path = self.path("x");
        let opener = call(move || sys::open_with(&path, flags));
        let mut request = self.next();
        if request.opcode() == Opcode::Lookup {
            self.reply(&request, &opened());
            request = self.next();
        }
        assert_eq!(request.opcode(), Opcode::Open);
        let out = abi::OpenOut {
            fh: handle,
            ..Default::default()
        };
        self.reply(&request, &out);
        opener.result().expect("open")
    }

    /// Closes the last descriptor of a file, and answers `FLUSH` and `RELEASE`.
    #[track_caller]
    pub fn close_file(&self, file: fs::File) -> (abi::FlushIn, abi::ReleaseIn) {
        let closer = call(move || drop(file));
        let flush = self.expect(Opcode::Flush);
        self.reply_bytes(&flush, &[]);
        closer.result();
        let release = self.expect(Opcode::Release);
        self.reply_bytes(&release, &[]);
        (flush.arg(), release.arg())
    }

    /// The directory of its connection in the control file system.
    #[track_caller]
    pub fn control(&self, env: &Env) -> PathBuf {
        control_dir(env, &self.dir)
    }

    /// Ends the connection, and the mount when it is no longer in use.
    pub fn force_unmount(&mut self) {
        self.mount = None;
    }

    /// Unmounts as `umount` does, while nothing waits for the daemon. Where a file was closed behind a
    /// test's back, RELEASE comes a moment before the mount is no longer in use.
    #[track_caller]
    pub fn unmount(&mut self) {
        eventually("umount", || match self.mount.take().map(Mount::unmount) {
            None | Some(Ok(())) => true,
            Some(Err((mount, error))) if error.kind() == io::ErrorKind::ResourceBusy => {
                self.mount = Some(mount);
                false
            }
            Some(Err((_, error))) => panic!("umount: {error}"),
        });
    }
}

/// Mounts on a directory of its own.
#[track_caller]
pub fn mount(env: &Env, options: &MountOptions) -> (Channel, Mount, PathBuf) {
    let channel = Channel::open(&env.kind).expect("the device");
    let dir = fresh_dir();
    let mount = options.mount(&channel, &dir).expect("mount");
    (channel, mount, dir)
}

/// A directory to mount on that no other part of the test uses.
#[track_caller]
pub fn fresh_dir() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    system::mountpoint(&format!("mnt{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// The directory of the connection of what is mounted on `dir`. Looking needs no daemon:
/// `/proc` knows the device's number.
#[track_caller]
pub fn control_dir(env: &Env, dir: &Path) -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mountinfo");
    let line = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(4).map(Path::new) == Some(dir))
        .expect("it is mounted");
    let (major, minor) = line
        .split(' ')
        .nth(2)
        .and_then(|device| device.split_once(':'))
        .expect("a device number");
    let (major, minor): (u32, u32) = (major.parse().unwrap(), minor.parse().unwrap());
    // The kernel's own encoding: 20 bits of minor number.
    Path::new(env.kind.control_dir).join((major << 20 | minor).to_string())
}

/// Settles `INIT`, which is the next request from `channel`.
#[track_caller]
pub fn settle(channel: &Channel, config: &InitConfig) {
    let init = next(channel);
    answer_init(channel, &init.request(), config)
        .expect("INIT answered")
        .expect("the same major version");
}

/// The next request from `channel`. Fails the test when there is none.
#[track_caller]
pub fn next(channel: &Channel) -> Req {
    assert!(
        channel.wait_readable(PATIENCE).expect("poll"),
        "no request came"
    );
    let mut bytes = vec![0; 2 << 20];
    let len = channel.read(&mut bytes).expect("reading a request");
    Req::new(&bytes[..len])
}

/// The entry of the file [`OPENED`], which holds for an hour.
pub fn opened() -> abi::EntryOut {
    abi::EntryOut {
        nodeid: OPENED,
        entry_valid: 3600,
        attr_valid: 3600,
        attr: abi::Attr {
            ino: OPENED,
            mode: libc::S_IFREG | 0o644,
            nlink: 1,
            ..Default::default()
        },
        ..Default::default()
    }
}
