// SPDX-License-Identifier: GPL-2.0

//! `ioctl(2)`.

use crate::{
    caller::{call, call_on, process, Caller, PATIENCE},
    env::Env,
    fs::{Fs, Req, OPENED},
    sys, system,
    tests::tests,
};
use libc::O_RDONLY;
use nix::sys::signal::Signal;
use rawfuse::{
    abi::{self, ioctl_flags, Opcode},
    Errno, InitConfig,
};
use std::{fs::File, io, os::fd::AsFd, time::Duration};
use zerocopy::IntoBytes;

tests![
    without_data,
    data_in,
    data_out,
    data_in_and_out,
    as_large_as_can_be,
    larger_than_a_request,
    memory_that_is_not_there,
    results,
    errors,
    replies_that_make_no_sense,
    reply_of_a_page_at_least,
    of_a_32_bit_program,
    of_directories,
    of_directories_and_old_daemons,
    what_the_kernel_does_itself,
    others_are_kept_out,
    measure_verity,
    enable_verity,
    killed,
];

const HANDLE: u64 = 0x0102_0304_0506_0708;
const SHORT: Duration = Duration::from_millis(150);

/// The number of an ioctl, of which bit 0 of `direction` says that the kernel reads what it points
/// to, and bit 1 that it writes it.
const fn number(direction: u32, size: usize) -> u32 {
    direction << 30 | (size as u32) << 16 | 0xee << 8 | 7
}

const NONE: u32 = 0;
const IN: u32 = 1;
const OUT: u32 = 2;

/// Calls `ioctl()` with memory that starts with `memory`; gives what it then is.
fn ioctl(file: &File, command: u32, memory: &[u8]) -> Caller<(io::Result<usize>, Vec<u8>)> {
    let mut memory = memory.to_vec();
    call_on(file, move |file| {
        let result = sys::ioctl_bytes(file, command, &mut memory);
        (result, memory)
    })
}

/// The request for an ioctl: its arguments, and the data.
#[track_caller]
fn expect(fs: &Fs, len: usize) -> (Req, abi::IoctlIn, Vec<u8>) {
    let request = fs.expect(Opcode::Ioctl);
    assert_eq!(request.header().len as usize, 40 + 32 + len);
    let (arg, data) = match request.operation() {
        rawfuse::Operation::Ioctl { arg, data } => (*arg, data.to_vec()),
        other => panic!("{other:?}"),
    };
    assert_eq!((arg.fh, arg.in_size as usize), (HANDLE, len));
    (request, arg, data)
}

/// Answers with a result and data.
#[track_caller]
pub(super) fn answer(fs: &Fs, request: &Req, result: i32, data: &[u8]) {
    let out = abi::IoctlOut {
        result,
        ..Default::default()
    };
    fs.channel
        .reply_bytes(request.unique(), &[out.as_bytes(), data])
        .expect("the reply");
}

fn without_data(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let caller = call_on(&file, |file| {
        sys::ioctl_number(file, number(NONE, 100), 0xdead_beef_1234)
    });
    let (request, arg, _) = expect(&fs, 0);
    assert_eq!(request.nodeid(), OPENED);
    assert_eq!((arg.flags, arg.cmd), (0, number(NONE, 100)));
    assert_eq!((arg.arg, arg.out_size), (0xdead_beef_1234, 0));
    answer(&fs, &request, 42, &[]);
    assert_eq!(caller.result().unwrap(), 42);
    fs.close_file(file);
}

fn data_in(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let caller = ioctl(&file, number(IN, 5), b"hello, there");
    let (request, arg, data) = expect(&fs, 5);
    assert_eq!((arg.flags, arg.cmd, arg.out_size), (0, number(IN, 5), 0));
    assert_ne!(arg.arg, 0);
    assert_eq!(data, b"hello");
    answer(&fs, &request, 0, &[]);
    let (result, memory) = caller.result();
    assert_eq!((result.unwrap(), &memory[..]), (0, &b"hello, there"[..]));
    fs.close_file(file);
}

fn data_out(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    // What is not filled stays.
    for (reply, after) in [
        (&b"HELLO"[..], &b"HELLO, there"[..]),
        (b"HE", b"HEllo, there"),
        (b"", b"hello, there"),
    ] {
        let caller = ioctl(&file, number(OUT, 5), b"hello, there");
        let (request, arg, _) = expect(&fs, 0);
        assert_eq!(arg.out_size, 5);
        answer(&fs, &request, 3, reply);
        let (result, memory) = caller.result();
        assert_eq!((result.unwrap(), &memory[..]), (3, after));
    }
    fs.close_file(file);
}

fn data_in_and_out(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let caller = ioctl(&file, number(IN | OUT, 8), &7u64.to_ne_bytes());
    let (request, arg, data) = expect(&fs, 8);
    assert_eq!((arg.out_size, &data[..]), (8, &7u64.to_ne_bytes()[..]));
    // The data is written whatever the result.
    answer(&fs, &request, -libc::EDOM, &8u64.to_ne_bytes());
    let (result, memory) = caller.result();
    system::assert_errno(result, Errno::EDOM);
    assert_eq!(memory, 8u64.to_ne_bytes());
    fs.close_file(file);
}

fn as_large_as_can_be(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let most = (1 << 14) - 1;
    let memory: Vec<u8> = (0..most).map(|byte| byte as u8).collect();
    let caller = ioctl(&file, number(IN | OUT, most), &memory);
    let (request, arg, data) = expect(&fs, most);
    assert_eq!(arg.out_size as usize, most);
    assert!(data == memory);
    let reply: Vec<u8> = data.iter().map(|byte| !byte).collect();
    answer(&fs, &request, 0, &reply);
    let (result, memory) = caller.result();
    result.unwrap();
    assert!(memory == reply);
    fs.close_file(file);
}

fn larger_than_a_request(env: &Env) {
    let config = InitConfig {
        flags: abi::init_flags::MAX_PAGES,
        max_pages: 2,
        ..Default::default()
    };
    let fs = Fs::with(env, |options| options, &config);
    let file = fs.open_file(O_RDONLY, HANDLE);
    for direction in [IN, OUT, IN | OUT] {
        let (result, _) = ioctl(&file, number(direction, 8193), &[0; 8193]).result();
        system::assert_errno(result, Errno::ENOMEM);
    }
    let caller = ioctl(&file, number(IN | OUT, 8192), &[5; 8192]);
    let (request, ..) = expect(&fs, 8192);
    answer(&fs, &request, 0, &[6; 8192]);
    assert!(caller.result().1 == [6; 8192]);
    fs.close_file(file);
}

fn memory_that_is_not_there(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    system::assert_errno(
        sys::ioctl_nowhere(file.as_fd(), number(IN, 4)),
        Errno::EFAULT,
    );
    fs.expect_silence(SHORT);
    let caller = call_on(&file, |file| {
        sys::ioctl_nowhere(file.as_fd(), number(OUT, 4))
    });
    let (request, ..) = expect(&fs, 0);
    answer(&fs, &request, 0, b"1234");
    system::assert_errno(caller.result(), Errno::EFAULT);
    // Where nothing is to be written, nothing has to be there.
    let caller = call_on(&file, |file| {
        sys::ioctl_nowhere(file.as_fd(), number(OUT, 4))
    });
    let (request, ..) = expect(&fs, 0);
    answer(&fs, &request, 1, b"");
    assert_eq!(caller.result().unwrap(), 1);
    fs.close_file(file);
}

fn results(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    for (result, expected) in [
        (0, Ok(0)),
        (i32::MAX, Ok(i32::MAX as usize)),
        (-libc::EPERM, Err(Errno::EPERM)),
        // These are no file system's to give.
        (-libc::ENOSYS, Err(Errno::ENOTTY)),
        (-libc::ENOTTY, Err(Errno::ENOTTY)),
    ] {
        let caller = ioctl(&file, number(NONE, 0), &[]);
        let (request, ..) = expect(&fs, 0);
        answer(&fs, &request, result, &[]);
        match (caller.result().0, expected) {
            (Ok(got), Ok(expected)) => assert_eq!(got, expected),
            (got, Err(expected)) => system::assert_errno(got, expected),
            (got, expected) => panic!("{got:?}, not {expected:?}"),
        }
    }
    fs.close_file(file);
}

fn errors(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    for (error, seen) in [
        (Errno::EPERM, Errno::EPERM),
        (Errno::ENOTTY, Errno::ENOTTY),
        // It is asked again all the same.
        (Errno::ENOSYS, Errno::ENOTTY),
        (Errno::ENOSYS, Errno::ENOTTY),
    ] {
        let caller = ioctl(&file, number(IN, 1), b"x");
        let (request, ..) = expect(&fs, 1);
        fs.reply_error(&request, error);
        system::assert_errno(caller.result().0, seen);
    }
    fs.close_file(file);
}

fn replies_that_make_no_sense(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let good = abi::IoctlOut::default();
    let retry = abi::IoctlOut {
        flags: ioctl_flags::RETRY,
        in_iovs: 1,
        out_iovs: 1,
        ..good
    };
    let range = abi::IoctlIovec {
        base: 0x1000,
        len: 8,
    };
    // Who asks for memory, and who gives more than fits.
    for parts in [
        [retry.as_bytes(), [range, range].as_bytes()],
        [retry.as_bytes(), &[]],
        [good.as_bytes(), b"12345"],
    ] {
        let caller = ioctl(&file, number(OUT, 4), b"before");
        let (request, ..) = expect(&fs, 0);
        fs.channel.reply_bytes(request.unique(), &parts).unwrap();
        let (result, memory) = caller.result();
        system::assert_errno(result, Errno::EIO);
        assert_eq!(memory, b"before");
    }
    // Who gives more than there is room for, and less than a reply.
    let more = vec![0; 4097];
    for parts in [[good.as_bytes(), &more], [&good.as_bytes()[..12], &[]]] {
        let caller = ioctl(&file, number(OUT, 4), b"before");
        let (request, ..) = expect(&fs, 0);
        let refused = fs.channel.reply_bytes(request.unique(), &parts);
        system::assert_errno(refused, Errno::EINVAL);
        let (result, memory) = caller.result();
        system::assert_errno(result, Errno::EIO);
        assert_eq!(memory, b"before");
    }
    fs.close_file(file);
}

fn reply_of_a_page_at_least(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    // There is room for it, but it is not what was asked for.
    let caller = ioctl(&file, number(NONE, 0), &[]);
    let (request, ..) = expect(&fs, 0);
    answer(&fs, &request, 0, &[0; 4096]);
    system::assert_errno(caller.result().0, Errno::EIO);
    fs.close_file(file);
}

fn of_a_32_bit_program(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let caller = call_on(&file, |file| {
        sys::ioctl_32(file.as_fd(), number(IN, 4), 0x0102_0304)
    });
    let (request, arg, data) = expect(&fs, 4);
    assert_eq!(arg.flags, ioctl_flags::COMPAT | ioctl_flags::IS_32BIT);
    assert_eq!(data, 0x0102_0304u32.to_ne_bytes());
    assert!(arg.arg <= u64::from(u32::MAX));
    answer(&fs, &request, 9, &[]);
    assert_eq!(caller.result().unwrap(), 9);
    fs.close_file(file);
}

/// The root of the file system, opened.
#[track_caller]
fn open_root(fs: &Fs) -> File {
    let root = fs.dir.clone();
    let opener = call(move || sys::open_with(&root, O_RDONLY | libc::O_DIRECTORY));
    let opendir = fs.expect(Opcode::Opendir);
    let out = abi::OpenOut {
        fh: HANDLE,
        ..Default::default()
    };
    fs.reply(&opendir, &out);
    opener.result().unwrap()
}

fn of_directories(env: &Env) {
    let fs = Fs::new(env);
    let root = open_root(&fs);
    let caller = ioctl(&root, number(IN | OUT, 2), b"ab");
    let (request, arg, data) = expect(&fs, 2);
    assert_eq!(request.nodeid(), abi::ROOT_ID);
    assert_eq!((arg.flags, &data[..]), (ioctl_flags::DIR, &b"ab"[..]));
    answer(&fs, &request, 1, b"AB");
    let (result, memory) = caller.result();
    assert_eq!((result.unwrap(), &memory[..]), (1, &b"AB"[..]));
    let caller = call_on(&root, |file| sys::ioctl_32(file.as_fd(), number(IN, 4), 5));
    let (request, arg, _) = expect(&fs, 4);
    let compat = ioctl_flags::COMPAT | ioctl_flags::IS_32BIT;
    assert_eq!(arg.flags, ioctl_flags::DIR | compat);
    answer(&fs, &request, 0, &[]);
    caller.result().unwrap();
}

fn of_directories_and_old_daemons(env: &Env) {
    let fs = Fs::with_minor(env, 17, 0);
    let root = open_root(&fs);
    system::assert_errno(ioctl(&root, number(NONE, 0), &[]).result().0, Errno::ENOTTY);
    fs.expect_silence(SHORT);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let caller = ioctl(&file, number(NONE, 0), &[]);
    let (request, ..) = expect(&fs, 0);
    answer(&fs, &request, 0, &[]);
    caller.result().0.unwrap();
    fs.close_file(file);
}

fn what_the_kernel_does_itself(env: &Env) {
    const FIGETBSZ: u32 = 2;
    const FIOCLEX: u32 = 0x5451;
    const FIONBIO: u32 = 0x5421;
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let mut size = [0; 4];
    sys::ioctl_bytes(&file, FIGETBSZ, &mut size).unwrap();
    assert_eq!(u32::from_ne_bytes(size), 4096);
    sys::ioctl_number(&file, FIOCLEX, 0).unwrap();
    sys::ioctl_bytes(&file, FIONBIO, &mut 1u32.to_ne_bytes()).unwrap();
    fs.expect_silence(SHORT);
    fs.close_file(file);
}

fn others_are_kept_out(env: &Env) {
    // An open file may be passed to others, who may not make the daemon do things all the same.
    let fs = Fs::new(env);
    let path = fs.path("x");
    let user = process(|| {
        let file = sys::open(&path).expect("open");
        nix::unistd::setgid(nix::unistd::Gid::from_raw(1000)).expect("setgid");
        nix::unistd::setuid(nix::unistd::Uid::from_raw(1000)).expect("setuid");
        system::errno(sys::ioctl_number(&file, number(NONE, 0), 0))
    });
    super::posix_locks::answer_open(&fs);
    super::posix_locks::answer_close(&fs);
    assert_eq!(user.code(), libc::EACCES);
}

fn measure_verity(env: &Env) {
    const MEASURE: u32 = 0xc004_6686;
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    // An algorithm, how much room there is for the digest, and that.
    let memory = [0, 0, 6, 0, 1, 2, 3, 4, 5, 6, 7];
    let caller = ioctl(&file, MEASURE, &memory);
    let (request, arg, data) = expect(&fs, 10);
    assert_eq!((arg.cmd, arg.out_size), (MEASURE, 10));
    assert_eq!(data, &memory[..10]);
    let reply = [1, 0, 6, 0, 9, 9, 9, 9, 9, 9];
    answer(&fs, &request, 0, &reply);
    let (result, memory) = caller.result();
    result.unwrap();
    assert_eq!(memory[..10], reply);
    assert_eq!(memory[10], 7);
    system::assert_errno(sys::ioctl_nowhere(file.as_fd(), MEASURE), Errno::EFAULT);
    fs.close_file(file);
}

fn enable_verity(env: &Env) {
    const ENABLE: u32 = 0x4080_6685;
    let fs = Fs::new(env);
    let file = fs.open_file(O_RDONLY, HANDLE);
    let (salt, signature) = (b"salt", b"signature");
    let enable = |salt_size: usize, signature_size: usize| {
        let mut arg = [0; 128];
        arg[..4].copy_from_slice(&1u32.to_ne_bytes());
        arg[12..16].copy_from_slice(&(salt_size as u32).to_ne_bytes());
        arg[16..24].copy_from_slice(&(salt.as_ptr() as u64).to_ne_bytes());
        arg[24..28].copy_from_slice(&(signature_size as u32).to_ne_bytes());
        arg[32..40].copy_from_slice(&(signature.as_ptr() as u64).to_ne_bytes());
        arg
    };
    for (salt_size, signature_size) in [(4, 9), (0, 9), (4, 0), (0, 0)] {
        let arg = enable(salt_size, signature_size);
        let caller = ioctl(&file, ENABLE, &arg);
        let (request, head, data) = expect(&fs, 128 + salt_size + signature_size);
        assert_eq!((head.cmd, head.out_size), (ENABLE, 0));
        let expected = [&arg[..], &salt[..salt_size], &signature[..signature_size]].concat();
        assert_eq!(data, expected);
        answer(&fs, &request, 0, &[]);
        caller.result().0.unwrap();
    }
    for (salt_size, signature_size) in [((1 << 20) + 1, 0), (0, 1 << 20), (0, u32::MAX as usize)] {
        let (result, _) = ioctl(&file, ENABLE, &enable(salt_size, signature_size)).result();
        system::assert_errno(result, Errno::ENOMEM);
    }
    let mut nowhere = enable(4, 9);
    nowhere[16..24].copy_from_slice(&8u64.to_ne_bytes());
    system::assert_errno(ioctl(&file, ENABLE, &nowhere).result().0, Errno::EFAULT);
    fs.close_file(file);
}

fn killed(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("x");
    let caller = process(|| {
        let file = sys::open(&path).expect("open");
        system::errno(sys::ioctl_number(&file, number(OUT, 8), 0))
    });
    super::posix_locks::answer_open(&fs);
    let request = fs.expect(Opcode::Ioctl);
    caller.signal(Signal::SIGKILL);
    fs.expect(Opcode::Interrupt);
    if env.is_rust() {
        // Linux keeps the caller until the reply comes. Here it goes at once, but the file stays
        // open for the daemon.
        let flush = fs.expect(Opcode::Flush);
        fs.reply_bytes(&flush, &[]);
        assert!(caller.ended_within(PATIENCE).is_some());
        fs.expect_silence(SHORT);
        answer(&fs, &request, 0, b"12345678");
        let release = fs.expect(Opcode::Release);
        fs.reply_bytes(&release, &[]);
    } else {
        answer(&fs, &request, 0, b"12345678");
        super::posix_locks::answer_close(&fs);
        assert!(caller.ended_within(PATIENCE).is_some());
    }
}
