// SPDX-License-Identifier: GPL-2.0

//! `INIT`: what the kernel offers, and what it makes of the answer.

use crate::{
    caller::call,
    env::Env,
    fs::{self, mount, Fs, Req},
    sys, system,
    tests::tests,
};
use rawfuse::{
    abi::{self, init_flags, Opcode},
    Channel, Errno, InitConfig, Mount, MountOptions,
};
use std::{path::PathBuf, time::Duration};

tests![
    first_request,
    flags_offered,
    callers_wait_for_the_answer,
    answered_with_an_error,
    answered_with_another_major,
    answered_with_nothing,
    answered_with_too_much,
    minor_8_has_short_structures,
    minor_8_getattr_has_no_argument,
    minor_4_has_short_answer_and_statfs,
    minor_22_has_answer_of_24_bytes,
    limits_are_taken,
    max_write_sets_the_least_buffer,
    upper_flags_need_init_ext,
    unmounted_before_the_answer,
    uniques_are_even_and_differ,
];

const SHORT: Duration = Duration::from_millis(150);

/// A mount whose `INIT` has been read and not answered.
struct Unsettled {
    channel: Channel,
    mount: Mount,
    dir: PathBuf,
    init: Req,
}

impl Unsettled {
    #[track_caller]
    fn new(env: &Env) -> Self {
        let (channel, mount, dir) = mount(env, &MountOptions::new(env.kind));
        let init = fs::next(&channel);
        Self {
            channel,
            mount,
            dir,
            init,
        }
    }

    /// Answers `INIT` with `bytes`, after which it is a file system like others.
    #[track_caller]
    fn settle(self, bytes: &[u8]) -> Fs {
        self.channel
            .reply_bytes(self.init.unique(), &[bytes])
            .expect("the answer");
        Fs {
            channel: self.channel,
            mount: Some(self.mount),
            dir: self.dir,
        }
    }
}

fn init_out(minor: u32) -> abi::InitOut {
    abi::InitOut {
        major: 7,
        minor,
        max_readahead: 65536,
        max_write: 65536,
        ..Default::default()
    }
}

fn bytes(out: &abi::InitOut) -> &[u8] {
    zerocopy::IntoBytes::as_bytes(out)
}

fn first_request(env: &Env) {
    let unsettled = Unsettled::new(env);
    let header = unsettled.init.header();
    assert_eq!(header.opcode, Opcode::Init as u32);
    assert_eq!(header.len, 104);
    assert_eq!(header.nodeid, 0);
    assert_eq!(header.unique % 2, 0);
    assert_ne!(header.unique, 0);
    assert_eq!((header.uid, header.gid), (0, 0));
    assert_eq!(header.pid, std::process::id(), "who mounted");
    assert_eq!((header.total_extlen, header.padding), (0, 0));
    let arg: abi::InitIn = unsettled.init.arg();
    assert_eq!((arg.major, arg.minor), (7, 46));
    assert!(arg.max_readahead >= 4096, "{arg:?}");
    assert_eq!(arg.unused, [0; 11]);
}

/// Those that Linux 7.3 offers, with passthrough built in.
const LINUX: u64 = init_flags::ASYNC_READ
    | init_flags::POSIX_LOCKS
    | init_flags::ATOMIC_O_TRUNC
    | init_flags::EXPORT_SUPPORT
    | init_flags::BIG_WRITES
    | init_flags::DONT_MASK
    | init_flags::SPLICE_WRITE
    | init_flags::SPLICE_MOVE
    | init_flags::SPLICE_READ
    | init_flags::FLOCK_LOCKS
    | init_flags::HAS_IOCTL_DIR
    | init_flags::AUTO_INVAL_DATA
    | init_flags::DO_READDIRPLUS
    | init_flags::READDIRPLUS_AUTO
    | init_flags::ASYNC_DIO
    | init_flags::WRITEBACK_CACHE
    | init_flags::NO_OPEN_SUPPORT
    | init_flags::PARALLEL_DIROPS
    | init_flags::HANDLE_KILLPRIV
    | init_flags::POSIX_ACL
    | init_flags::ABORT_ERROR
    | init_flags::MAX_PAGES
    | init_flags::CACHE_SYMLINKS
    | init_flags::NO_OPENDIR_SUPPORT
    | init_flags::EXPLICIT_INVAL_DATA
    | init_flags::HANDLE_KILLPRIV_V2
    | init_flags::SETXATTR_EXT
    | init_flags::INIT_EXT
    | init_flags::SECURITY_CTX
    | init_flags::CREATE_SUPP_GROUP
    | init_flags::HAS_EXPIRE_ONLY
    | init_flags::DIRECT_IO_ALLOW_MMAP
    | init_flags::PASSTHROUGH
    | init_flags::NO_EXPORT_SUPPORT
    | init_flags::HAS_RESEND
    | init_flags::ALLOW_IDMAP
    | init_flags::REQUEST_TIMEOUT;

fn flags_offered(env: &Env) {
    let unsettled = Unsettled::new(env);
    let arg: abi::InitIn = unsettled.init.arg();
    let offered = arg.all_flags();
    let names = |flags: u64| -> Vec<&str> {
        let set = init_flags::NAMES.iter().filter(|(_, bit)| flags & bit != 0);
        set.map(|&(name, _)| name).collect()
    };
    if env.is_rust() {
        // It offers what works, which is not yet all of this.
        assert_eq!(names(offered & !LINUX), [""; 0], "not in Linux");
        let least = init_flags::INIT_EXT
            | init_flags::ASYNC_READ
            | init_flags::ASYNC_DIO
            | init_flags::PARALLEL_DIROPS
            | init_flags::NO_OPEN_SUPPORT
            | init_flags::NO_OPENDIR_SUPPORT
            | init_flags::ABORT_ERROR
            | init_flags::MAX_PAGES
            | init_flags::EXPORT_SUPPORT
            | init_flags::NO_EXPORT_SUPPORT
            | init_flags::ALLOW_IDMAP
            | init_flags::HAS_RESEND;
        assert_eq!(names(least & !offered), [""; 0], "missing");
    } else {
        assert_eq!(names(offered), names(LINUX));
    }
}

fn callers_wait_for_the_answer(env: &Env) {
    let unsettled = Unsettled::new(env);
    let path = unsettled.dir.join("x");
    let caller = call(move || sys::stat(&path));
    assert!(caller.still_waits(SHORT));
    assert!(!unsettled.channel.wait_readable(SHORT).unwrap());
    let fs = unsettled.settle(bytes(&init_out(46)));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

/// What becomes of callers when `INIT` was answered badly.
#[track_caller]
fn refuses(fs: Fs) {
    for name in ["x", "", "y"] {
        let path = fs.path(name);
        system::assert_errno(call(move || sys::stat(&path)).result(), Errno::ECONNREFUSED);
    }
    fs.expect_silence(SHORT);
}

fn answered_with_an_error(env: &Env) {
    let unsettled = Unsettled::new(env);
    let (channel, mount, dir) = (unsettled.channel, unsettled.mount, unsettled.dir);
    channel
        .reply_error(unsettled.init.unique(), Errno::EPROTO)
        .expect("the answer");
    let fs = Fs {
        channel,
        mount: Some(mount),
        dir,
    };
    refuses(fs);
}

fn answered_with_another_major(env: &Env) {
    for major in [6, 8] {
        let unsettled = Unsettled::new(env);
        let out = abi::InitOut {
            major,
            ..init_out(46)
        };
        refuses(unsettled.settle(bytes(&out)));
    }
}

fn answered_with_nothing(env: &Env) {
    // What is not there counts as zeroes, the major version too.
    refuses(Unsettled::new(env).settle(&[]));
}

fn answered_with_too_much(env: &Env) {
    let unsettled = Unsettled::new(env);
    let mut long = bytes(&init_out(46)).to_vec();
    long.extend([0; 8]);
    system::assert_errno(
        unsettled
            .channel
            .reply_bytes(unsettled.init.unique(), &[&long]),
        Errno::EINVAL,
    );
    let path = unsettled.dir.join("x");
    system::assert_errno(call(move || sys::stat(&path)).result(), Errno::ECONNREFUSED);
    system::assert_errno(
        unsettled
            .channel
            .reply_bytes(unsettled.init.unique(), &[bytes(&init_out(46))]),
        Errno::ENOENT,
    );
}

fn minor_8_has_short_structures(env: &Env) {
    let fs = Unsettled::new(env).settle(&bytes(&init_out(8))[..24]);
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    let entry = abi::EntryOut {
        nodeid: 7,
        attr_valid: 60,
        entry_valid: 60,
        attr: abi::Attr {
            ino: 7,
            mode: 0o100644,
            size: 12345,
            nlink: 3,
            ..Default::default()
        },
        ..Default::default()
    };
    // The long form does not fit.
    let long = zerocopy::IntoBytes::as_bytes(&entry);
    fs.reply_bytes(&lookup, &long[..abi::EntryOut::COMPAT_SIZE]);
    let stat = caller.result().expect("stat");
    assert_eq!((stat.st_size, stat.st_nlink, stat.st_ino), (12345, 3, 7));
    let path = fs.path("y");
    let caller = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    system::assert_errno(
        fs.channel.reply_bytes(lookup.unique(), &[long]),
        Errno::EINVAL,
    );
    system::assert_errno(caller.result(), Errno::EIO);
}

fn minor_8_getattr_has_no_argument(env: &Env) {
    let fs = Unsettled::new(env).settle(&bytes(&init_out(8))[..24]);
    let path = fs.dir.clone();
    let caller = call(move || sys::stat(&path));
    let getattr = fs.expect(Opcode::Getattr);
    // Linux sends the argument whatever the minor version.
    assert_eq!(getattr.header().len, 56);
    let out = abi::AttrOut {
        attr: abi::Attr {
            ino: 1,
            mode: 0o040755,
            nlink: 2,
            ..Default::default()
        },
        ..Default::default()
    };
    let long = zerocopy::IntoBytes::as_bytes(&out);
    fs.reply_bytes(&getattr, &long[..abi::AttrOut::COMPAT_SIZE]);
    assert_eq!(caller.result().expect("stat").st_mode, 0o040755);
}

fn minor_4_has_short_answer_and_statfs(env: &Env) {
    // Before minor 5 the answer is the two version numbers; before minor 4 STATFS is shorter.
    let fs = Unsettled::new(env).settle(&bytes(&init_out(3))[..abi::InitOut::COMPAT_SIZE]);
    let dir = fs.dir.clone();
    let caller = call(move || nix::sys::statfs::statfs(&dir).map(|st| st.blocks()));
    let statfs = fs.expect(Opcode::Statfs);
    let out = abi::StatfsOut {
        st: abi::Kstatfs {
            blocks: 77,
            bsize: 512,
            namelen: 255,
            ..Default::default()
        },
    };
    let long = zerocopy::IntoBytes::as_bytes(&out);
    fs.reply_bytes(&statfs, &long[..abi::StatfsOut::COMPAT_SIZE]);
    assert_eq!(caller.result().expect("statfs"), 77);
}

fn minor_22_has_answer_of_24_bytes(env: &Env) {
    let fs = Unsettled::new(env).settle(&bytes(&init_out(22))[..abi::InitOut::COMPAT_22_SIZE]);
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn limits_are_taken(env: &Env) {
    let read = |fs: &Fs, file: &str| {
        let text = std::fs::read_to_string(fs.control(env).join(file)).expect(file);
        text.trim().parse::<u32>().expect(file)
    };
    let fs = Fs::new(env);
    assert_eq!(read(&fs, "max_background"), 12);
    assert_eq!(read(&fs, "congestion_threshold"), 9);
    let config = InitConfig {
        max_background: 50,
        congestion_threshold: 31,
        ..Default::default()
    };
    let fs = Fs::with(env, |options| options, &config);
    assert_eq!(read(&fs, "max_background"), 50);
    assert_eq!(read(&fs, "congestion_threshold"), 31);
    // Before minor 13 these two fields do not count.
    let out = abi::InitOut {
        max_background: 50,
        congestion_threshold: 31,
        ..init_out(12)
    };
    let fs = Unsettled::new(env).settle(bytes(&out));
    assert_eq!(read(&fs, "max_background"), 12);
    assert_eq!(read(&fs, "congestion_threshold"), 9);
}

fn max_write_sets_the_least_buffer(env: &Env) {
    let least = |max_write: usize| 8192.max(40 + 40 + max_write.max(4096));
    for max_write in [0, 4096, 8192, 131072, 1 << 20] {
        let config = InitConfig {
            max_write,
            ..Default::default()
        };
        let fs = Fs::with(env, |options| options, &config);
        let path = fs.path("x");
        let caller = call(move || sys::stat(&path));
        assert!(fs.channel.wait_readable(Duration::from_secs(5)).unwrap());
        let enough = least(max_write as usize);
        system::assert_errno(fs.channel.read(&mut vec![0; enough - 1]), Errno::EINVAL);
        let (header, body) = fs.channel.read_owned(enough).expect("a request");
        assert_eq!((header.opcode, body.as_slice()), (1, &b"x\0"[..]));
        fs.channel
            .reply_error(header.unique, Errno::ENOENT)
            .unwrap();
        system::assert_errno(caller.result(), Errno::ENOENT);
    }
}

fn upper_flags_need_init_ext(env: &Env) {
    // Without INIT_EXT the upper half does not count: this one would turn the mount down, as
    // it needs default_permissions.
    let out = abi::InitOut {
        flags2: (init_flags::ALLOW_IDMAP >> 32) as u32,
        ..init_out(46)
    };
    let fs = Unsettled::new(env).settle(bytes(&out));
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    let lookup = fs.expect(Opcode::Lookup);
    fs.reply_error(&lookup, Errno::ENOENT);
    system::assert_errno(caller.result(), Errno::ENOENT);
}

fn unmounted_before_the_answer(env: &Env) {
    let unsettled = Unsettled::new(env);
    unsettled
        .mount
        .unmount()
        .map_err(|(_, error)| error)
        .expect("umount");
    system::assert_errno(unsettled.channel.read(&mut [0; 8192]), Errno::ENODEV);
    system::assert_errno(
        unsettled
            .channel
            .reply_bytes(unsettled.init.unique(), &[bytes(&init_out(46))]),
        Errno::ENOENT,
    );
}

fn uniques_are_even_and_differ(env: &Env) {
    let fs = Fs::new(env);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let path = fs.path("x");
        let caller = call(move || sys::stat(&path));
        let lookup = fs.expect(Opcode::Lookup);
        assert_eq!(lookup.unique() % 2, 0);
        assert_ne!(lookup.unique(), 0);
        assert_eq!(lookup.unique() & abi::UNIQUE_RESEND, 0);
        assert!(seen.insert(lookup.unique()), "used twice");
        fs.reply_error(&lookup, Errno::ENOENT);
        system::assert_errno(caller.result(), Errno::ENOENT);
    }
}
