// SPDX-License-Identifier: GPL-2.0

//! The control file system.

use crate::{
    caller::{call, eventually, process},
    env::Env,
    fs::{fresh_dir, Fs},
    sys, system,
    tests::tests,
};
use nix::{
    mount::{mount, MsFlags},
    sys::statfs::{statfs, FsType},
    unistd::{setgid, setuid, Gid, Uid},
};
use rawfuse::{abi::Opcode, Errno, InitConfig, MountOptions};
use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

tests![
    a_directory_for_each_connection,
    permissions,
    waiting_is_a_number,
    limits_can_be_set,
    limits_that_cannot_be,
    limits_as_they_are_written,
    limits_of_an_ordinary_user,
    any_write_aborts,
    reading_by_pieces,
    nothing_can_be_made_or_removed,
    mounted_twice_is_the_same,
    open_files_outlive_their_connection,
    connections_from_before_are_there,
    sysfs_has_the_mount_point,
];

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("the directory")
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn a_directory_for_each_connection(env: &Env) {
    let root = Path::new(env.kind.control_dir);
    let before = names(root);
    let links = sys::stat(root).unwrap().st_nlink;
    let mut first = Fs::new(env);
    let second = Fs::new(env);
    assert_eq!(names(root).len(), before.len() + 2);
    assert_eq!(sys::stat(root).unwrap().st_nlink, links + 2);
    let control = first.control(env);
    // C has five names in all; a module may show more than these.
    let all = names(&control);
    for name in ["abort", "congestion_threshold", "max_background", "waiting"] {
        assert!(all.iter().any(|known| known == name), "{name}: {all:?}");
    }
    if !env.is_rust() {
        assert_eq!(all.len(), 4);
    }
    first.unmount();
    assert!(!control.exists());
    assert!(second.control(env).exists());
    drop(second);
    eventually("both are gone", || names(root) == before);
    assert_eq!(sys::stat(root).unwrap().st_nlink, links);
}

fn permissions(env: &Env) {
    for owner in [0, 1000] {
        let options = MountOptions {
            user_id: owner,
            group_id: owner + 1,
            ..MountOptions::new(env.kind)
        };
        let (_channel, _mount, dir) = crate::fs::mount(env, &options);
        let control = crate::fs::control_dir(env, &dir);
        for (name, mode) in [
            ("", libc::S_IFDIR | 0o500),
            ("waiting", libc::S_IFREG | 0o400),
            ("abort", libc::S_IFREG | 0o200),
            ("max_background", libc::S_IFREG | 0o600),
            ("congestion_threshold", libc::S_IFREG | 0o600),
        ] {
            let stat = sys::stat(&control.join(name)).unwrap();
            assert_eq!(stat.st_mode, mode, "{name}: {:o}", stat.st_mode);
            assert_eq!((stat.st_uid, stat.st_gid), (owner, owner + 1), "{name}");
        }
    }
    let root = sys::stat(env.kind.control_dir.as_ref()).unwrap();
    assert_eq!(root.st_mode, libc::S_IFDIR | 0o755);
}

fn waiting_is_a_number(env: &Env) {
    let fs = Fs::new(env);
    let waiting = || fs::read_to_string(fs.control(env).join("waiting")).unwrap();
    assert_eq!(waiting(), "0\n");
    let dir = fs.dir.clone();
    let caller = call(move || sys::stat(&dir).map(drop));
    let getattr = fs.expect(Opcode::Getattr);
    assert_eq!(waiting(), "1\n");
    fs.reply_error(&getattr, Errno::EIO);
    system::assert_errno(caller.result(), Errno::EIO);
    assert_eq!(waiting(), "0\n");
}

fn limits_can_be_set(env: &Env) {
    let fs = Fs::new(env);
    for name in ["max_background", "congestion_threshold"] {
        let file = fs.control(env).join(name);
        for (text, value) in [
            ("1", "1\n"),
            ("200\n", "200\n"),
            ("0x20", "32\n"),
            ("65535", "65535\n"),
            ("0", "0\n"),
        ] {
            fs::write(&file, text).unwrap_or_else(|error| panic!("{name} {text:?}: {error}"));
            assert_eq!(fs::read_to_string(&file).unwrap(), value);
        }
    }
}

fn limits_that_cannot_be(env: &Env) {
    let fs = Fs::new(env);
    for name in ["max_background", "congestion_threshold"] {
        let file = fs.control(env).join(name);
        let before = fs::read_to_string(&file).unwrap();
        for text in ["x", "-1", "65536", "1 2", "1x", " ", "99999999999999999999"] {
            let error = system::errno(fs::write(&file, text));
            let expected = match text {
                "99999999999999999999" => libc::ERANGE,
                _ => libc::EINVAL,
            };
            assert_eq!(error, expected, "{name} {text:?}");
        }
        let mut open = fs::OpenOptions::new().write(true).open(&file).unwrap();
        system::assert_errno(open.seek(SeekFrom::Start(1)), Errno::ESPIPE);
        system::assert_errno(
            std::os::unix::fs::FileExt::write_at(&open, b"1", 1),
            Errno::ESPIPE,
        );
        open.write_all(before.as_bytes()).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), before);
    }
}

fn limits_as_they_are_written(env: &Env) {
    let fs = Fs::new(env);
    let file = fs.control(env).join("max_background");
    // The number ends at a zero byte, and what is behind 66 bytes is not looked at.
    let long = format!("{}12", "0".repeat(66));
    let good: [(&[u8], &str); 7] = [
        (b"+5", "5\n"),
        (b"7\0junk", "7\n"),
        (b"010", "8\n"),
        (b"0X1f", "31\n"),
        (long.as_bytes(), "0\n"),
        (&long.as_bytes()[2..], "10\n"),
        (b"3\n", "3\n"),
    ];
    for (text, value) in good {
        fs::write(&file, text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(fs::read_to_string(&file).unwrap(), value, "{text:?}");
    }
    let bad: [&[u8]; 9] = [
        b"0b1", b"0o7", b"08", b"0x", b" 5", b"5 ", b"5\n\n", b"\0", b"++5",
    ];
    for text in bad {
        let error = system::errno(fs::write(&file, text));
        assert_eq!(error, libc::EINVAL, "{text:?}");
    }
    // One open file takes several, until it has been read from.
    let mut open = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(&file)
        .unwrap();
    for text in ["20", "21"] {
        assert_eq!(open.write(text.as_bytes()).unwrap(), 2);
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{text}\n"));
    }
    assert_eq!(open.read(&mut [0; 1]).unwrap(), 1);
    system::assert_errno(open.write(b"22"), Errno::EINVAL);
}

fn limits_of_an_ordinary_user(env: &Env) {
    let config = InitConfig::default();
    let options = |options| MountOptions {
        user_id: 1000,
        group_id: 1000,
        ..options
    };
    let fs = Fs::with(env, options, &config);
    let file = fs.control(env).join("max_background");
    let owner = process(|| {
        setgid(Gid::from_raw(1000)).expect("setgid");
        setuid(Uid::from_raw(1000)).expect("setuid");
        fs::write(&file, "5").expect("a small number");
        system::errno(fs::write(&file, "65535"))
    });
    // The most for users is a module parameter, that depends on the memory there is.
    assert_eq!(owner.code(), libc::EINVAL);
    assert_eq!(fs::read_to_string(&file).unwrap(), "5\n");
    let other = process(|| {
        setgid(Gid::from_raw(1001)).expect("setgid");
        setuid(Uid::from_raw(1001)).expect("setuid");
        system::errno(fs::read_to_string(&file))
    });
    assert_eq!(other.code(), libc::EACCES);
}

fn any_write_aborts(env: &Env) {
    for text in ["1", "0", "whatever"] {
        let fs = Fs::new(env);
        let file = fs.control(env).join("abort");
        system::assert_errno(fs.channel.read(&mut [0; 8]), Errno::EINVAL);
        fs::write(file, text).unwrap();
        system::assert_errno(fs.channel.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
    }
}

fn reading_by_pieces(env: &Env) {
    let fs = Fs::new(env);
    fs::write(fs.control(env).join("max_background"), "1234").unwrap();
    let mut file = fs::File::open(fs.control(env).join("max_background")).unwrap();
    let mut all = Vec::new();
    let mut byte = [0];
    while file.read(&mut byte).unwrap() == 1 {
        all.push(byte[0]);
    }
    assert_eq!(all, b"1234\n");
    system::assert_errno(file.seek(SeekFrom::Start(0)), Errno::ESPIPE);
}

fn nothing_can_be_made_or_removed(env: &Env) {
    let fs = Fs::new(env);
    let root = Path::new(env.kind.control_dir);
    let control = fs.control(env);
    for dir in [root, &control] {
        assert!(fs::File::create(dir.join("new")).is_err());
        assert!(fs::create_dir(dir.join("new")).is_err());
    }
    assert!(fs::remove_file(control.join("waiting")).is_err());
    assert!(fs::remove_dir(&control).is_err());
    assert!(control.join("waiting").exists());
}

fn mounted_twice_is_the_same(env: &Env) {
    let fs = Fs::new(env);
    let second = fresh_dir();
    let nothing: Option<&str> = None;
    mount(
        nothing,
        &second,
        Some(env.kind.control_type),
        MsFlags::empty(),
        nothing,
    )
    .expect("mount");
    assert_eq!(names(&second), names(env.kind.control_dir.as_ref()));
    assert_eq!(
        statfs(&second).unwrap().filesystem_type(),
        FsType(0x6573_5543)
    );
    let name = fs.control(env).file_name().unwrap().to_owned();
    fs::write(second.join(name).join("abort"), "1").unwrap();
    system::assert_errno(fs.channel.read(&mut vec![0; 1 << 18]), Errno::ENODEV);
    nix::mount::umount(&second).expect("umount");
}

fn open_files_outlive_their_connection(env: &Env) {
    let mut fs = Fs::new(env);
    let control = fs.control(env);
    let mut waiting = fs::File::open(control.join("waiting")).unwrap();
    let mut limit = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(control.join("max_background"))
        .unwrap();
    let mut abort = fs::OpenOptions::new()
        .write(true)
        .open(control.join("abort"))
        .unwrap();
    fs.unmount();
    drop(fs);
    assert_eq!(waiting.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(limit.read(&mut [0; 10]).unwrap(), 0);
    assert_eq!(limit.write(b"5").unwrap(), 1);
    assert_eq!(abort.write(b"1").unwrap(), 1);
}

fn connections_from_before_are_there(env: &Env) {
    // Mounted anew, it shows those that were made while it was not mounted.
    system::enter_init_namespace();
    let control = Path::new(env.kind.control_dir);
    if nix::mount::umount(control).is_err() {
        crate::runner::skip("the control file system is in use by others");
    }
    let gone = eventually_not_mounted(control);
    let fs = Fs::new(env);
    system::mount_control(&env.kind).expect("mount");
    assert!(!gone || fs.control(env).join("waiting").exists());
    assert!(fs.control(env).join("abort").exists());
}

fn eventually_not_mounted(control: &Path) -> bool {
    fs::read_dir(control).is_ok_and(|mut dir| dir.next().is_none())
}

fn sysfs_has_the_mount_point(env: &Env) {
    let dir = Path::new(env.kind.control_dir);
    let parent = dir.parent().unwrap();
    assert_eq!(
        statfs(parent).unwrap().filesystem_type(),
        FsType(0x6265_6572),
        "sysfs"
    );
    assert_eq!(names(parent), ["connections"]);
}
