// SPDX-License-Identifier: GPL-2.0

//! Mounting: its options, and what is refused.

use crate::{
    caller::{call, process},
    env::Env,
    fs::{self, fresh_dir, Fs},
    model::{Model, Served},
    sys, system,
    tests::tests,
};
use nix::{
    mount::{mount, umount2, MntFlags, MsFlags},
    sched::{unshare, CloneFlags},
};
use rawfuse::{
    abi::{self, Opcode},
    handshake, Buffer, Channel, Errno, InitConfig, MountOptions,
};
use std::{
    fs::File,
    os::fd::{AsFd, AsRawFd},
    path::Path,
    time::Duration,
};

tests![
    options_missing,
    options_wrong,
    descriptor_that_is_not_open,
    descriptor_of_another_file,
    descriptor_of_another_user_namespace,
    in_a_user_namespace,
    twice_on_one_descriptor,
    again_after_unmounting,
    by_the_newer_calls,
    remount_ignores_options,
    changed_by_the_newer_calls,
    shown_in_proc_mounts,
    rootmode_is_the_root_s_type,
    root_is_a_file,
    fuseblk_wants_a_block_device,
    busy_is_not_unmounted,
    thousand_times => 240,
];

/// `mount(2)` with `data` as it is.
fn try_mount(env: &Env, target: &Path, data: &str) -> nix::Result<()> {
    mount(
        Some("source"),
        target,
        Some(env.kind.fs_type),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(data),
    )
}

fn options_missing(env: &Env) {
    let channel = Channel::open(&env.kind).unwrap();
    let dir = fresh_dir();
    let all = [
        &format!("fd={}", channel.number()),
        "rootmode=40000",
        "user_id=0",
        "group_id=0",
    ];
    for missing in 0..all.len() {
        let mut some = all.to_vec();
        some.remove(missing);
        let data = some.join(",");
        assert_eq!(try_mount(env, &dir, &data), Err(Errno::EINVAL), "{data}");
    }
    assert_eq!(try_mount(env, &dir, ""), Err(Errno::EINVAL));
    let nothing: Option<&str> = None;
    assert_eq!(
        mount(
            nothing,
            &dir,
            Some(env.kind.fs_type),
            MsFlags::empty(),
            nothing
        ),
        Err(Errno::EINVAL)
    );
    // None of these has used the device up.
    assert_eq!(try_mount(env, &dir, &all.join(",")), Ok(()));
    umount2(&dir, MntFlags::empty()).expect("umount");
}

fn options_wrong(env: &Env) {
    let channel = Channel::open(&env.kind).unwrap();
    let dir = fresh_dir();
    let fd = channel.number();
    for (data, error) in [
        (
            "rootmode=40000,user_id=0,group_id=0,nonsense",
            Errno::EINVAL,
        ),
        (
            "rootmode=40000,user_id=0,group_id=0,nonsense=1",
            Errno::EINVAL,
        ),
        ("rootmode=0,user_id=0,group_id=0", Errno::EINVAL),
        ("rootmode=30000,user_id=0,group_id=0", Errno::EINVAL),
        ("rootmode=9,user_id=0,group_id=0", Errno::EINVAL),
        ("rootmode=,user_id=0,group_id=0", Errno::EINVAL),
        ("rootmode,user_id=0,group_id=0", Errno::EINVAL),
        ("rootmode=40000,user_id=x,group_id=0", Errno::EINVAL),
        ("rootmode=40000,user_id=-1,group_id=0", Errno::EINVAL),
        (
            "rootmode=40000,user_id=4294967295,group_id=0",
            Errno::EINVAL,
        ),
        (
            "rootmode=40000,user_id=0,group_id=4294967295",
            Errno::EINVAL,
        ),
        (
            "rootmode=40000,user_id=0,group_id=4294967296",
            Errno::EINVAL,
        ),
        (
            "rootmode=40000,user_id=0,group_id=0,max_read",
            Errno::EINVAL,
        ),
        (
            "rootmode=40000,user_id=0,group_id=0,max_read=x",
            Errno::EINVAL,
        ),
        (
            "rootmode=40000,user_id=0,group_id=0,max_read=4294967296",
            Errno::EINVAL,
        ),
        (
            "rootmode=40000,user_id=0,group_id=0,allow_other=1",
            Errno::EINVAL,
        ),
        (
            "rootmode=40000,user_id=0,group_id=0,blksize=4096",
            Errno::EINVAL,
        ),
        (
            "rootmode=40000,user_id=0,group_id=0,subtype=a,subtype=b",
            Errno::EINVAL,
        ),
    ] {
        let data = format!("fd={fd},{data}");
        assert_eq!(try_mount(env, &dir, &data), Err(error), "{data}");
    }
    for fd in ["x", "-1", "", "4294967296"] {
        let data = format!("fd={fd},rootmode=40000,user_id=0,group_id=0");
        assert_eq!(try_mount(env, &dir, &data), Err(Errno::EINVAL), "{data}");
    }
    let twice = format!("fd={fd},fd={fd},rootmode=40000,user_id=0,group_id=0");
    assert_eq!(try_mount(env, &dir, &twice), Err(Errno::EINVAL));
}

fn descriptor_that_is_not_open(env: &Env) {
    let data = "fd=999,rootmode=40000,user_id=0,group_id=0";
    assert_eq!(try_mount(env, &fresh_dir(), data), Err(Errno::EBADF));
}

fn descriptor_of_another_file(env: &Env) {
    let dir = fresh_dir();
    for path in ["/dev/null", "/", "/proc/self/stat"] {
        let file = File::open(path).unwrap();
        let data = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            file.as_raw_fd()
        );
        assert_eq!(try_mount(env, &dir, &data), Err(Errno::EINVAL), "{path}");
    }
}

/// Makes a user namespace with nothing but root in it.
fn enter_user_namespace() {
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).expect("unshare");
    std::fs::write("/proc/self/setgroups", "deny").expect("setgroups");
    std::fs::write("/proc/self/uid_map", "0 0 1").expect("uid_map");
    std::fs::write("/proc/self/gid_map", "0 0 1").expect("gid_map");
}

fn descriptor_of_another_user_namespace(env: &Env) {
    let channel = Channel::open(&env.kind).unwrap();
    let dir = fresh_dir();
    let other = process(|| {
        enter_user_namespace();
        let data = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            channel.number()
        );
        try_mount(env, &dir, &data).map_or_else(|error| error as i32, |()| 0)
    });
    assert_eq!(other.code(), Errno::EINVAL as i32);
}

fn in_a_user_namespace(env: &Env) {
    let dir = fresh_dir();
    let inside = process(|| {
        enter_user_namespace();
        let channel = Channel::open(&env.kind).expect("the device");
        let options = MountOptions::new(env.kind);
        // Only root is mapped there.
        let outsider = format!(
            "fd={},rootmode=40000,user_id=5,group_id=0",
            channel.number()
        );
        assert_eq!(try_mount(env, &dir, &outsider), Err(Errno::EINVAL));
        let mount = options.mount(&channel, &dir).expect("mount");
        let mut buffer = Buffer::new(Buffer::DEFAULT_SIZE);
        handshake(&channel, &mut buffer, &InitConfig::default()).expect("INIT");
        let path = dir.join("x");
        let caller = call(move || sys::stat(&path));
        let lookup = fs::next(&channel);
        assert_eq!(lookup.opcode(), Opcode::Lookup);
        assert_eq!((lookup.header().uid, lookup.header().gid), (0, 0));
        channel.reply_error(lookup.unique(), Errno::ENOENT).unwrap();
        system::assert_errno(caller.result(), Errno::ENOENT);
        drop(mount);
        0
    });
    assert_eq!(inside.code(), 0);
}

fn twice_on_one_descriptor(env: &Env) {
    // The second mount shows the same file system.
    let mut served = Served::new(Fs::new(env), Model::new());
    let second = fresh_dir();
    MountOptions::new(env.kind)
        .mount(&served.channel, &second)
        .expect("a second mount")
        .leave();
    assert_eq!(
        sys::stat(&served.dir).unwrap().st_dev,
        sys::stat(&second).unwrap().st_dev
    );
    assert_eq!(
        sys::contents(&second.join("file")).unwrap(),
        crate::model::CONTENTS
    );
    umount2(&second, MntFlags::empty()).expect("umount");
    assert_eq!(
        sys::contents(&served.path("file")).unwrap(),
        crate::model::CONTENTS
    );
    served.finish();
}

fn again_after_unmounting(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    served.finish();
    let data = MountOptions::new(env.kind).data(&served.channel);
    assert_eq!(try_mount(env, &served.dir, &data), Err(Errno::ENOTCONN));
}

fn by_the_newer_calls(env: &Env) {
    let channel = Channel::open(&env.kind).unwrap();
    let dir = fresh_dir();
    let context = sys::fsopen(env.kind.fs_type).expect("fsopen");
    sys::fsconfig_set(&context, "source", Some("new")).expect("source");
    sys::fsconfig_set_fd(&context, "fd", channel.as_fd()).expect("fd");
    system::assert_errno(
        sys::fsconfig_set(&context, "nonsense", Some("1")),
        Errno::EINVAL,
    );
    sys::fsconfig_set(&context, "rootmode", Some("40000")).expect("rootmode");
    sys::fsconfig_set(&context, "user_id", Some("0")).expect("user_id");
    sys::fsconfig_set(&context, "group_id", Some("0")).expect("group_id");
    sys::fsconfig_set(&context, "allow_other", None).expect("allow_other");
    sys::fsconfig_create(&context).expect("the superblock");
    sys::mount_context(&context, &dir).expect("move_mount");
    assert_eq!(fs::next(&channel).opcode(), Opcode::Init);
    umount2(&dir, MntFlags::empty()).expect("umount");
}

fn remount_ignores_options(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    let nothing: Option<&str> = None;
    for data in ["max_read=5000", "nonsense", "fd=999", ""] {
        mount(
            nothing,
            &served.dir,
            nothing,
            MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY,
            Some(data),
        )
        .unwrap_or_else(|error| panic!("remount with {data:?}: {error}"));
    }
    let line = mounts_line(&served.dir);
    assert!(line.contains(" ro,"), "{line}");
    assert!(!line.contains("max_read"), "{line}");
    system::assert_errno(
        sys::open_with(&served.path("file"), libc::O_WRONLY),
        Errno::EROFS,
    );
    served.finish();
}

fn changed_by_the_newer_calls(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    let context = sys::fspick(&served.dir).expect("fspick");
    system::assert_errno(
        sys::fsconfig_set(&context, "max_read", Some("8192")),
        Errno::EINVAL,
    );
    system::assert_errno(
        sys::fsconfig_set(&context, "allow_other", None),
        Errno::EINVAL,
    );
    drop(context);
    served.finish();
}

pub(super) fn mounts_line(dir: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    let dir = dir.to_str().unwrap();
    let line = mounts
        .lines()
        .rfind(|line| line.split(' ').nth(1) == Some(dir));
    line.expect("a line of /proc/mounts").to_owned()
}

fn shown_in_proc_mounts(env: &Env) {
    let fs = Fs::new(env);
    assert_eq!(
        mounts_line(&fs.dir),
        format!(
            "{0} {1} {0} rw,nosuid,nodev,relatime,user_id=0,group_id=0 0 0",
            env.kind.fs_type,
            fs.dir.display()
        )
    );
    let options = MountOptions {
        subtype: Some("sub.type".into()),
        source: "where it is from".into(),
        user_id: 1000,
        group_id: 100,
        ..MountOptions::new(env.kind)
    }
    .option("default_permissions,allow_other,max_read=8192");
    let (_channel, _mount, dir) = fs::mount(env, &options);
    assert_eq!(
        mounts_line(&dir),
        format!(
            "where\\040it\\040is\\040from {} {}.sub.type rw,nosuid,nodev,relatime,user_id=1000,\
             group_id=100,default_permissions,allow_other,max_read=8192 0 0",
            dir.display(),
            env.kind.fs_type,
        )
    );
    // The least that max_read can be.
    let options = MountOptions::new(env.kind).option("max_read=1");
    let (_channel, _mount, dir) = fs::mount(env, &options);
    let line = mounts_line(&dir);
    assert!(line.contains(",max_read=4096 "), "{line}");
}

fn rootmode_is_the_root_s_type(env: &Env) {
    // Not the permissions: these come with the attributes.
    let options = MountOptions {
        rootmode: 0o040123,
        ..MountOptions::new(env.kind)
    };
    let (channel, _mount, dir) = fs::mount(env, &options);
    let mut buffer = Buffer::new(Buffer::DEFAULT_SIZE);
    handshake(&channel, &mut buffer, &InitConfig::default()).unwrap();
    let caller = call(move || sys::stat(&dir));
    let getattr = fs::next(&channel);
    let mut model = Model::new();
    let attr = model.node(abi::ROOT_ID).attr;
    channel
        .reply(
            getattr.unique(),
            &abi::AttrOut {
                attr,
                ..Default::default()
            },
        )
        .unwrap();
    assert_eq!(caller.result().unwrap().st_mode, 0o040755);
}

fn root_is_a_file(env: &Env) {
    let options = MountOptions {
        rootmode: 0o100000,
        ..MountOptions::new(env.kind)
    };
    let channel = Channel::open(&env.kind).unwrap();
    // A file cannot be mounted on a directory.
    let dir = fresh_dir();
    system::assert_errno(options.mount(&channel, &dir), Errno::ENOTDIR);
    let channel = Channel::open(&env.kind).unwrap();
    let file = dir.join("file");
    std::fs::write(&file, "below").unwrap();
    let _mount = options.mount(&channel, &file).expect("mount");
    let mut buffer = Buffer::new(Buffer::DEFAULT_SIZE);
    handshake(&channel, &mut buffer, &InitConfig::default()).unwrap();
    let caller = call(move || sys::stat(&file));
    let getattr = fs::next(&channel);
    assert_eq!((getattr.opcode(), getattr.nodeid()), (Opcode::Getattr, 1));
    let attr = abi::Attr {
        ino: 1,
        mode: 0o100600,
        nlink: 1,
        size: 9,
        ..Default::default()
    };
    let out = abi::AttrOut {
        attr,
        ..Default::default()
    };
    channel.reply(getattr.unique(), &out).unwrap();
    assert_eq!(caller.result().unwrap().st_size, 9);
}

fn fuseblk_wants_a_block_device(env: &Env) {
    let fs_type = format!("{}blk", env.kind.fs_type);
    let channel = Channel::open(&env.kind).unwrap();
    let dir = fresh_dir();
    let data = MountOptions::new(env.kind).data(&channel);
    let nothing: Option<&str> = None;
    for (source, error) in [
        (Some("/dev/null"), Errno::ENOTBLK),
        (Some("/nonexistent"), Errno::ENOENT),
        (nothing, Errno::EINVAL),
    ] {
        let result = mount(
            source,
            &dir,
            Some(fs_type.as_str()),
            MsFlags::empty(),
            Some(data.as_str()),
        );
        assert_eq!(result, Err(error), "{source:?}");
    }
}

fn busy_is_not_unmounted(env: &Env) {
    let mut served = Served::new(Fs::new(env), Model::new());
    let file = sys::open(&served.path("file")).unwrap();
    assert_eq!(umount2(&served.dir, MntFlags::empty()), Err(Errno::EBUSY));
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn thousand_times(env: &Env) {
    let connections = || std::fs::read_dir(env.kind.control_dir).unwrap().count();
    let before = connections();
    let dir = fresh_dir();
    let mut buffer = Buffer::new(Buffer::DEFAULT_SIZE);
    for round in 0..1000 {
        let channel = Channel::open(&env.kind).unwrap();
        let mount = MountOptions::new(env.kind)
            .mount(&channel, &dir)
            .unwrap_or_else(|error| panic!("mount {round}: {error}"));
        // Every other one comes as far as INIT, and every fourth as far as a lookup.
        if round % 2 == 0 {
            handshake(&channel, &mut buffer, &InitConfig::default()).unwrap();
        }
        if round % 4 == 0 {
            let path = dir.join("x");
            let caller = call(move || sys::stat(&path));
            let lookup = fs::next(&channel);
            channel.reply_error(lookup.unique(), Errno::ENOENT).unwrap();
            system::assert_errno(caller.result(), Errno::ENOENT);
        }
        mount
            .unmount()
            .map_err(|(_, error)| error)
            .unwrap_or_else(|error| panic!("umount {round}: {error}"));
    }
    assert_eq!(connections(), before);
    assert!(!system::is_mounted(&dir));
    std::thread::sleep(Duration::from_millis(10));
}
