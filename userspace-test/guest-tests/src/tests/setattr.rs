// SPDX-License-Identifier: GPL-2.0

//! Changing attributes: what the daemon is asked, and what becomes of its answer.

use crate::{
    caller::{call, process},
    env::Env,
    fs::{mount, Fs, Req},
    model::{answer, Answer, Model, Served, CONTENTS, DIR, FILE, LINK},
    sys, system,
    tests::tests,
};
use nix::{
    fcntl::AT_FDCWD,
    sys::{
        signal::Signal,
        stat::{fchmod, utimensat, Mode, UtimensatFlags},
        time::TimeSpec,
    },
    unistd::{chown, fchown, fchownat, ftruncate, truncate, Gid, Uid},
};
use rawfuse::{
    abi::{self, fattr, init_flags, open_flags, Opcode, SetattrIn},
    Errno, InitConfig, MountOptions,
};
use std::{
    fs::{self, File, Permissions},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};
use zerocopy::FromBytes;

tests![
    chmod_is_on_the_wire,
    fchmod_has_no_handle,
    chmod_of_a_directory_looks_it_up_again,
    chown_is_on_the_wire,
    chown_of_a_link_is_its_own,
    times_are_on_the_wire,
    present_times_are_the_daemon_s,
    times_before_1970_are_sent,
    truncation_is_on_the_wire,
    truncation_of_an_open_file_has_its_handle,
    truncation_has_the_lock_owner,
    open_truncates,
    open_truncates_atomically,
    truncation_empties_the_page_cache,
    extension_reads_as_the_daemon_says,
    size_is_the_daemon_s,
    sizes_that_cannot_be,
    size_limit_of_the_caller,
    attributes_of_the_answer_are_kept,
    wrong_type_makes_the_inode_bad,
    bad_size_makes_the_inode_bad,
    answers_of_old_daemons,
    error_changes_nothing,
    enosys_is_not_remembered,
    others_are_kept_out,
    nobody_is_judged_without_default_permissions,
    default_permissions_are_judged,
    set_group_id_needs_the_group,
    crossed_answer_does_not_hold,
    late_attributes_do_not_count,
    attributes_during_a_truncation_do_not_count,
    killed_caller_s_change_is_found,
];

/// What the daemon was asked to change, one after another.
#[track_caller]
fn asked(served: &Served) -> Vec<SetattrIn> {
    let model = served.model();
    let bodies = model.log.iter().filter(|a| a.opcode == Opcode::Setattr);
    bodies
        .map(|asked| *SetattrIn::ref_from_bytes(&asked.body).expect("a structure and no more"))
        .collect()
}

/// The one thing that it was asked to change, on that inode.
#[track_caller]
fn asked_once(served: &Served, nodeid: u64) -> SetattrIn {
    let asked = asked(served);
    assert_eq!(asked.len(), 1);
    let model = served.model();
    let setattr = model.log.iter().find(|a| a.opcode == Opcode::Setattr);
    assert_eq!(setattr.expect("it").nodeid, nodeid);
    asked[0]
}

fn chmod(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

fn cached(env: &Env) -> Served {
    Served::new(Fs::new(env), Model::cached())
}

fn chmod_is_on_the_wire(env: &Env) {
    let mut served = cached(env);
    chmod(&served.path("file"), 0o4711).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!(arg.valid, fattr::MODE);
    assert_eq!(arg.mode, libc::S_IFREG | 0o4711);
    let expected = SetattrIn {
        valid: arg.valid,
        mode: arg.mode,
        ..Default::default()
    };
    assert_eq!(
        zerocopy::IntoBytes::as_bytes(&arg),
        zerocopy::IntoBytes::as_bytes(&expected)
    );
    let stat = sys::stat(&served.path("file")).unwrap();
    assert_eq!(stat.st_mode, libc::S_IFREG | 0o4711);
    assert_eq!(served.count(Opcode::Getattr), 0);
    served.finish();
}

fn fchmod_has_no_handle(env: &Env) {
    let mut served = cached(env);
    let file = sys::open(&served.path("file")).unwrap();
    fchmod(&file, Mode::from_bits_truncate(0o600)).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!((arg.valid, arg.fh), (fattr::MODE, 0));
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn chmod_of_a_directory_looks_it_up_again(env: &Env) {
    let mut served = cached(env);
    sys::stat(&served.path("dir")).unwrap();
    served.clear_log();
    chmod(&served.path("dir"), 0o700).unwrap();
    assert_eq!(asked_once(&served, DIR).mode, libc::S_IFDIR | 0o700);
    served.clear_log();
    // Who may look names up in it may have changed.
    sys::stat(&served.path("dir")).unwrap();
    assert_eq!(served.model().opcodes(), [Opcode::Lookup]);
    served.finish();
}

fn chown_is_on_the_wire(env: &Env) {
    let mut served = cached(env);
    let path = served.path("file");
    chown(&path, Some(Uid::from_raw(4711)), Some(Gid::from_raw(815))).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!(arg.valid, fattr::UID | fattr::GID);
    assert_eq!((arg.uid, arg.gid), (4711, 815));
    let stat = sys::stat(&path).unwrap();
    assert_eq!((stat.st_uid, stat.st_gid), (4711, 815));

    served.clear_log();
    chown(&path, Some(Uid::from_raw(1)), None).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!((arg.valid, arg.uid, arg.gid), (fattr::UID, 1, 0));

    served.clear_log();
    let file = sys::open(&path).unwrap();
    fchown(&file, None, Some(Gid::from_raw(2))).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!((arg.valid, arg.uid, arg.gid), (fattr::GID, 0, 2));
    let stat = sys::stat(&path).unwrap();
    assert_eq!((stat.st_uid, stat.st_gid), (1, 2));
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn chown_of_a_link_is_its_own(env: &Env) {
    let mut served = cached(env);
    let flags = nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(
        AT_FDCWD,
        &served.path("link"),
        Some(Uid::from_raw(7)),
        None,
        flags,
    )
    .unwrap();
    assert_eq!(asked_once(&served, LINK).uid, 7);
    assert_eq!(sys::lstat(&served.path("link")).unwrap().st_uid, 7);
    served.finish();
}

fn set_times(path: &Path, atime: TimeSpec, mtime: TimeSpec) -> nix::Result<()> {
    utimensat(
        AT_FDCWD,
        path,
        &atime,
        &mtime,
        UtimensatFlags::FollowSymlink,
    )
}

fn times_are_on_the_wire(env: &Env) {
    let mut served = cached(env);
    let path = served.path("file");
    set_times(
        &path,
        TimeSpec::new(1_111, 5),
        TimeSpec::new(2_222, 999_999_999),
    )
    .unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!(arg.valid, fattr::ATIME | fattr::MTIME);
    assert_eq!((arg.atime, arg.atimensec), (1_111, 5));
    assert_eq!((arg.mtime, arg.mtimensec), (2_222, 999_999_999));
    assert_eq!((arg.ctime, arg.ctimensec), (0, 0));
    let stat = sys::stat(&path).unwrap();
    assert_eq!((stat.st_atime, stat.st_atime_nsec), (1_111, 5));
    assert_eq!((stat.st_mtime, stat.st_mtime_nsec), (2_222, 999_999_999));

    served.clear_log();
    set_times(&path, TimeSpec::UTIME_OMIT, TimeSpec::new(3_333, 0)).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!((arg.valid, arg.mtime), (fattr::MTIME, 3_333));

    served.clear_log();
    set_times(&path, TimeSpec::UTIME_OMIT, TimeSpec::UTIME_OMIT).unwrap();
    assert_eq!(asked(&served).len(), 0);
    served.finish();
}

fn present_times_are_the_daemon_s(env: &Env) {
    let mut served = cached(env);
    let path = served.path("file");
    set_times(&path, TimeSpec::UTIME_NOW, TimeSpec::UTIME_NOW).unwrap();
    let arg = asked_once(&served, FILE);
    let both = fattr::ATIME | fattr::ATIME_NOW | fattr::MTIME | fattr::MTIME_NOW;
    assert_eq!(arg.valid, both);
    // The kernel's idea of it is sent as well.
    assert!(arg.atime > 0 && arg.mtime == arg.atime);

    served.clear_log();
    set_times(&path, TimeSpec::UTIME_NOW, TimeSpec::new(5, 0)).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!(arg.valid, fattr::ATIME | fattr::ATIME_NOW | fattr::MTIME);
    served.finish();
}

fn times_before_1970_are_sent(env: &Env) {
    let mut served = cached(env);
    let path = served.path("file");
    set_times(&path, TimeSpec::new(-1, 1), TimeSpec::new(-86400, 2)).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!((arg.atime as i64, arg.mtime as i64), (-1, -86400));
    let stat = sys::stat(&path).unwrap();
    assert_eq!((stat.st_atime, stat.st_mtime), (-1, -86400));
    served.finish();
}

fn truncation_is_on_the_wire(env: &Env) {
    let mut served = cached(env);
    truncate(&served.path("file"), 5).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!(arg.valid, fattr::SIZE | fattr::LOCKOWNER);
    assert_eq!((arg.size, arg.fh), (5, 0));
    assert_eq!(served.model().node(FILE).data, b"What ");
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_size, 5);
    served.finish();
}

fn truncation_of_an_open_file_has_its_handle(env: &Env) {
    let mut served = cached(env);
    let file = sys::open_with(&served.path("file"), libc::O_RDWR).unwrap();
    ftruncate(&file, 5).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!(arg.valid, fattr::SIZE | fattr::FH | fattr::LOCKOWNER);
    assert_eq!((arg.size, arg.fh), (5, FILE + 1000));
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn truncation_has_the_lock_owner(env: &Env) {
    let mut served = cached(env);
    let file = sys::open_with(&served.path("file"), libc::O_RDWR).unwrap();
    ftruncate(&file, 5).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!(arg.valid & fattr::LOCKOWNER, fattr::LOCKOWNER);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    let model = served.model();
    let flush = model.log.iter().find(|a| a.opcode == Opcode::Flush);
    let flush = abi::FlushIn::read_from_bytes(&flush.expect("FLUSH").body).unwrap();
    assert_eq!(arg.lock_owner, flush.lock_owner);
    drop(model);
    served.finish();
}

fn open_truncates(env: &Env) {
    let mut served = cached(env);
    let flags = libc::O_WRONLY | libc::O_TRUNC;
    let file = sys::open_with(&served.path("file"), flags).unwrap();
    let arg = asked_once(&served, FILE);
    assert_eq!(arg.valid, fattr::SIZE | fattr::LOCKOWNER);
    assert_eq!((arg.size, arg.fh), (0, 0));
    // The daemon is not told by OPEN.
    let opens: Vec<_> = served.model().log.clone();
    let open = opens.iter().find(|a| a.opcode == Opcode::Open).unwrap();
    let open = abi::OpenIn::read_from_bytes(&open.body).unwrap();
    assert_eq!(open.flags & libc::O_TRUNC as u32, 0);
    assert_eq!(sys::stat(&served.path("file")).unwrap().st_size, 0);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn open_truncates_atomically(env: &Env) {
    let fs = Fs::with_flags(env, init_flags::ATOMIC_O_TRUNC);
    let mut served = Served::new(fs, Model::cached());
    served.model().open_flags = open_flags::KEEP_CACHE;
    assert_eq!(sys::contents(&served.path("file")).unwrap(), CONTENTS);
    served.wait_for(Opcode::Release, 1);
    served.clear_log();
    served.hook(|req| {
        let Ok(rawfuse::Operation::Open(arg)) = req.request().operation() else {
            return None;
        };
        assert_ne!(arg.flags & libc::O_TRUNC as u32, 0);
        None
    });
    let flags = libc::O_RDWR | libc::O_TRUNC;
    let file = sys::open_with(&served.path("file"), flags).unwrap();
    assert_eq!(asked(&served).len(), 0);
    {
        let mut model = served.model();
        model.node(FILE).data = Vec::new();
        model.node(FILE).attr.size = 0;
    }
    assert_eq!(sys::fstat(&file).unwrap().st_size, 0);
    assert_eq!(served.count(Opcode::Getattr), 1);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn truncation_empties_the_page_cache(env: &Env) {
    let mut served = cached(env);
    served.model().open_flags = open_flags::KEEP_CACHE;
    let path = served.path("file");
    assert_eq!(sys::contents(&path).unwrap(), CONTENTS);
    truncate(&path, 4).unwrap();
    assert_eq!(sys::contents(&path).unwrap(), b"What");
    // The rest does not come back when the file grows.
    truncate(&path, 8).unwrap();
    assert_eq!(sys::contents(&path).unwrap(), b"What\0\0\0\0");
    served.wait_for(Opcode::Release, 3);
    served.finish();
}

fn extension_reads_as_the_daemon_says(env: &Env) {
    let mut served = cached(env);
    served.model().open_flags = open_flags::KEEP_CACHE;
    let path = served.path("file");
    assert_eq!(sys::contents(&path).unwrap(), CONTENTS);
    // A daemon may fill what is new with something else than zeroes.
    served.hook(|req| {
        let Ok(rawfuse::Operation::Setattr(_)) = req.request().operation() else {
            return None;
        };
        let mut attr = Model::new().node(FILE).attr;
        attr.size = 30;
        Some(answer(&abi::AttrOut {
            attr_valid: 3600,
            attr,
            ..Default::default()
        }))
    });
    served.model().node(FILE).data = vec![b'x'; 30];
    truncate(&path, 30).unwrap();
    assert_eq!(sys::contents(&path).unwrap(), [b'x'; 30]);
    served.wait_for(Opcode::Release, 2);
    served.finish();
}

fn size_is_the_daemon_s(env: &Env) {
    let mut served = cached(env);
    served.hook(|req| {
        (req.opcode() == Opcode::Setattr).then(|| {
            let mut attr = Model::new().node(FILE).attr;
            attr.size = 3;
            answer(&abi::AttrOut {
                attr_valid: 3600,
                attr,
                ..Default::default()
            })
        })
    });
    let path = served.path("file");
    truncate(&path, 10).unwrap();
    assert_eq!(sys::stat(&path).unwrap().st_size, 3);
    // So it is when it was not asked for another.
    served.model().node(FILE).attr.size = 7;
    chmod(&path, 0o600).unwrap();
    assert_eq!(sys::stat(&path).unwrap().st_size, 3);
    served.finish();
}

fn sizes_that_cannot_be(env: &Env) {
    let mut served = cached(env);
    let path = served.path("file");
    assert_eq!(truncate(&path, -1), Err(nix::Error::EINVAL));
    assert_eq!(truncate(&served.path("dir"), 1), Err(nix::Error::EISDIR));
    truncate(&path, i64::MAX).unwrap();
    assert_eq!(asked_once(&served, FILE).size, i64::MAX as u64);
    served.finish();
}

fn size_limit_of_the_caller(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("file");
    let caller = process(|| {
        use nix::sys::resource::{setrlimit, Resource};
        setrlimit(Resource::RLIMIT_FSIZE, 1000, 1000).expect("setrlimit");
        sys::ignore_by_handler(Signal::SIGXFSZ);
        match truncate(&path, 1001) {
            Err(error) => error as i32,
            Ok(()) => 0,
        }
    });
    let mut served = Served::new(fs, Model::cached());
    assert_eq!(caller.code(), libc::EFBIG);
    assert_eq!(asked(&served).len(), 0);
    served.finish();
}

fn attributes_of_the_answer_are_kept(env: &Env) {
    let mut served = cached(env);
    served.hook(|req| {
        (req.opcode() == Opcode::Setattr).then(|| {
            answer(&abi::AttrOut {
                attr_valid: 3600,
                attr: abi::Attr {
                    ino: 777,
                    size: CONTENTS.len() as u64,
                    mode: libc::S_IFREG | 0o1234,
                    nlink: 9,
                    uid: 8,
                    gid: 7,
                    mtime: 6,
                    ctime: 5,
                    atime: 4,
                    blocks: 3,
                    blksize: 8192,
                    ..Default::default()
                },
                ..Default::default()
            })
        })
    });
    let path = served.path("file");
    chmod(&path, 0o600).unwrap();
    let stat = sys::stat(&path).unwrap();
    assert_eq!((stat.st_ino, stat.st_nlink), (777, 9));
    assert_eq!(stat.st_mode, libc::S_IFREG | 0o1234);
    assert_eq!((stat.st_uid, stat.st_gid), (8, 7));
    assert_eq!((stat.st_mtime, stat.st_ctime, stat.st_atime), (6, 5, 4));
    assert_eq!((stat.st_blocks, stat.st_blksize), (3, 8192));
    assert_eq!(served.count(Opcode::Getattr), 0);
    served.finish();
}

/// Answers SETATTR of the file with attributes that there cannot be.
fn bad_answer(env: &Env, change: fn(&mut abi::Attr)) {
    let mut served = cached(env);
    let path = served.path("file");
    let file = sys::open(&path).unwrap();
    served.hook(move |req| {
        (req.opcode() == Opcode::Setattr).then(|| {
            let mut attr = Model::new().node(FILE).attr;
            change(&mut attr);
            answer(&abi::AttrOut {
                attr_valid: 3600,
                attr,
                ..Default::default()
            })
        })
    });
    system::assert_errno(chmod(&path, 0o600), Errno::EIO);
    served.model().hook = None;
    let mode = Mode::from_bits_truncate(0o600);
    assert_eq!(fchmod(&file, mode), Err(nix::Error::EIO));
    system::assert_errno(sys::fstat(&file), Errno::EIO);
    assert_eq!(asked(&served).len(), 1);
    drop(file);
    served.wait_for(Opcode::Release, 1);
    // Once nobody uses it, there is a new inode by its name.
    chmod(&path, 0o600).unwrap();
    served.finish();
}

fn wrong_type_makes_the_inode_bad(env: &Env) {
    bad_answer(env, |attr| attr.mode = libc::S_IFDIR | 0o755);
    bad_answer(env, |attr| attr.mode = 0o644);
}

fn bad_size_makes_the_inode_bad(env: &Env) {
    bad_answer(env, |attr| attr.size = 1 << 63);
}

fn answers_of_old_daemons(env: &Env) {
    let (channel, mount, dir) = mount(env, &MountOptions::new(env.kind));
    let fs = Fs {
        channel,
        mount: Some(mount),
        dir,
    };
    let init = fs.expect(Opcode::Init);
    let out = abi::InitOut {
        major: abi::KERNEL_VERSION,
        minor: 8,
        ..Default::default()
    };
    fs.reply(&init, &out);
    let dir = fs.dir.clone();
    let caller = call(move || chmod(&dir, 0o700));
    let request = fs.expect(Opcode::Setattr);
    let mut attr = Model::new().node(abi::ROOT_ID).attr;
    attr.mode = libc::S_IFDIR | 0o700;
    let out = abi::AttrOut {
        attr_valid: 3600,
        attr,
        ..Default::default()
    };
    let bytes = zerocopy::IntoBytes::as_bytes(&out);
    fs.reply_bytes(&request, &bytes[..abi::AttrOut::COMPAT_SIZE]);
    caller.result().unwrap();
    assert_eq!(sys::stat(&fs.dir).unwrap().st_mode, libc::S_IFDIR | 0o700);
}

fn error_changes_nothing(env: &Env) {
    let mut served = cached(env);
    served.model().open_flags = open_flags::KEEP_CACHE;
    let path = served.path("file");
    assert_eq!(sys::contents(&path).unwrap(), CONTENTS);
    served.hook(|req| (req.opcode() == Opcode::Setattr).then_some(Answer::Error(Errno::EDOM)));
    assert_eq!(truncate(&path, 3), Err(nix::Error::EDOM));
    system::assert_errno(chmod(&path, 0o600), Errno::EDOM);
    let flags = libc::O_WRONLY | libc::O_TRUNC;
    system::assert_errno(sys::open_with(&path, flags), Errno::EDOM);
    served.clear_log();
    let stat = sys::stat(&path).unwrap();
    assert_eq!(stat.st_mode, libc::S_IFREG | 0o644);
    assert_eq!(stat.st_size as usize, CONTENTS.len());
    assert_eq!(sys::contents(&path).unwrap(), CONTENTS);
    // What was cached still is; O_TRUNC has emptied nothing either.
    assert_eq!(served.count(Opcode::Read), 0);
    served.wait_for(Opcode::Release, 1);
    served.finish();
}

fn enosys_is_not_remembered(env: &Env) {
    let mut served = cached(env);
    served.hook(|req| (req.opcode() == Opcode::Setattr).then_some(Answer::Error(Errno::ENOSYS)));
    for round in 1..=3 {
        system::assert_errno(chmod(&served.path("file"), 0o600), Errno::ENOSYS);
        assert_eq!(asked(&served).len(), round);
    }
    served.finish();
}

/// Runs `action` as user and group `uid`, and gives what it says.
fn as_user(uid: u32, action: impl FnOnce() -> i32) -> crate::caller::Process {
    process(move || {
        nix::unistd::setgroups(&[]).expect("setgroups");
        nix::unistd::setgid(Gid::from_raw(uid)).expect("setgid");
        nix::unistd::setuid(Uid::from_raw(uid)).expect("setuid");
        action()
    })
}

fn others_are_kept_out(env: &Env) {
    let fs = Fs::new(env);
    // The inode is known before, and the caller has its descriptor.
    let dir = fs.dir.clone();
    let root = process(move || {
        let dir = File::open(&dir).expect("open");
        nix::unistd::setgid(Gid::from_raw(1000)).expect("setgid");
        nix::unistd::setuid(Uid::from_raw(1000)).expect("setuid");
        let mode = Mode::from_bits_truncate(0o700);
        fchmod(&dir, mode).err().map_or(0, |error| error as i32)
    });
    let mut served = Served::new(fs, Model::cached());
    assert_eq!(root.code(), libc::EACCES);
    assert_eq!(asked(&served).len(), 0);
    served.wait_for(Opcode::Releasedir, 1);
    served.finish();
}

fn nobody_is_judged_without_default_permissions(env: &Env) {
    let fs = Fs::with_option(env, "allow_other");
    let path = fs.path("file");
    let caller = as_user(1000, move || {
        system::errno(chmod(&path, 0o2777))
            + system::errno(chown(&path, Some(Uid::from_raw(1000)), None).map_err(Into::into))
            + system::errno(
                set_times(&path, TimeSpec::new(1, 1), TimeSpec::new(2, 2)).map_err(Into::into),
            )
    });
    let mut served = Served::new(fs, Model::cached());
    assert_eq!(caller.code(), 0);
    let asked = asked(&served);
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0].mode, libc::S_IFREG | 0o2777);
    served.finish();
}

fn strict(env: &Env) -> Fs {
    Fs::with(
        env,
        |options| options.option("allow_other").option("default_permissions"),
        &InitConfig::default(),
    )
}

fn default_permissions_are_judged(env: &Env) {
    let fs = strict(env);
    let path = fs.path("file");
    let caller = as_user(1000, move || {
        let mine = Some(Uid::from_raw(1000));
        let refused = [
            system::errno(chmod(&path, 0o777)),
            system::errno(chown(&path, mine, None).map_err(Into::into)),
            system::errno(
                set_times(&path, TimeSpec::new(1, 1), TimeSpec::new(2, 2)).map_err(Into::into),
            ),
        ];
        let not_allowed = [
            system::errno(truncate(&path, 1).map_err(Into::into)),
            system::errno(
                set_times(&path, TimeSpec::UTIME_NOW, TimeSpec::UTIME_NOW).map_err(Into::into),
            ),
        ];
        let as_expected = refused.iter().all(|&errno| errno == libc::EPERM)
            && not_allowed.iter().all(|&errno| errno == libc::EACCES);
        i32::from(!as_expected)
    });
    let mut served = Served::new(fs, Model::cached());
    assert_eq!(caller.code(), 0);
    assert_eq!(asked(&served).len(), 0);
    served.finish();
}

fn set_group_id_needs_the_group(env: &Env) {
    let fs = strict(env);
    let path = fs.path("file");
    let caller = as_user(1000, move || system::errno(chmod(&path, 0o2755)));
    let mut model = Model::cached();
    model.node(FILE).attr.uid = 1000;
    model.node(FILE).attr.gid = 5;
    let mut served = Served::new(fs, model);
    assert_eq!(caller.code(), 0);
    assert_eq!(asked_once(&served, FILE).mode, libc::S_IFREG | 0o755);
    served.finish();
}

fn attr_out(mode: u32, valid: u64) -> abi::AttrOut {
    let mut attr = Model::new().node(abi::ROOT_ID).attr;
    attr.mode = libc::S_IFDIR | mode;
    abi::AttrOut {
        attr_valid: valid,
        attr,
        ..Default::default()
    }
}

fn crossed_answer_does_not_hold(env: &Env) {
    let fs = Fs::new(env);
    let dir = fs.dir.clone();
    let caller = call(move || chmod(&dir, 0o700));
    let setattr = fs.expect(Opcode::Setattr);
    let dir = fs.dir.clone();
    let other = call(move || sys::stat(&dir));
    let getattr = fs.expect(Opcode::Getattr);
    fs.reply(&getattr, &attr_out(0o711, 3600));
    assert_eq!(other.result().unwrap().st_mode & 0o777, 0o711);
    fs.reply(&setattr, &attr_out(0o700, 3600));
    caller.result().unwrap();
    // Which is newer nobody knows: the daemon is asked.
    let dir = fs.dir.clone();
    let caller = call(move || sys::stat(&dir));
    let getattr = fs.expect(Opcode::Getattr);
    fs.reply(&getattr, &attr_out(0o722, 3600));
    assert_eq!(caller.result().unwrap().st_mode & 0o777, 0o722);
}

fn late_attributes_do_not_count(env: &Env) {
    let fs = Fs::new(env);
    let dir = fs.dir.clone();
    let slow = call(move || sys::stat(&dir));
    let getattr = fs.expect(Opcode::Getattr);
    let dir = fs.dir.clone();
    let caller = call(move || chmod(&dir, 0o700));
    let setattr = fs.expect(Opcode::Setattr);
    fs.reply(&setattr, &attr_out(0o700, 3600));
    caller.result().unwrap();
    fs.reply(&getattr, &attr_out(0o755, 3600));
    assert_eq!(slow.result().unwrap().st_mode & 0o777, 0o755);
    // What was asked for before the change came after it.
    assert_eq!(sys::stat(&fs.dir).unwrap().st_mode & 0o777, 0o700);
}

/// Answers LOOKUP of the file.
fn lookup(fs: &Fs, size: u64) {
    let request = fs.expect(Opcode::Lookup);
    let mut model = Model::cached();
    model.node(FILE).attr.size = size;
    fs.reply(&request, &model.entry(FILE));
}

fn file_out(size: u64, valid: u64) -> abi::AttrOut {
    let mut attr = Model::new().node(FILE).attr;
    attr.size = size;
    abi::AttrOut {
        attr_valid: valid,
        attr,
        ..Default::default()
    }
}

fn attributes_during_a_truncation_do_not_count(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("file");
    let caller = call(move || truncate(&path, 3));
    lookup(&fs, 21);
    let setattr = expect_truncation(&fs);
    let path = fs.path("file");
    let other = call(move || {
        sys::statx(&path, libc::AT_STATX_FORCE_SYNC, libc::STATX_BASIC_STATS)
            .map(|stat| stat.stx_size)
    });
    let getattr = fs.expect(Opcode::Getattr);
    fs.reply(&getattr, &file_out(100, 3600));
    assert_eq!(other.result().unwrap(), 100);
    fs.reply(&setattr, &file_out(3, 3600));
    caller.result().unwrap();
    // Not crossed: what came during the truncation was not taken at all.
    assert_eq!(sys::stat(&fs.path("file")).unwrap().st_size, 3);
}

/// SETATTR, before which the kernel may want to know whether the file has capabilities.
#[track_caller]
fn expect_truncation(fs: &Fs) -> Req {
    loop {
        let request = fs.next();
        match request.opcode() {
            Opcode::Getxattr => fs.reply_error(&request, Errno::ENODATA),
            Opcode::Setattr => return request,
            other => panic!("{other:?} in place of SETATTR"),
        }
    }
}

/// The next request that is not INTERRUPT.
#[track_caller]
fn next_but_interrupts(fs: &Fs) -> Req {
    loop {
        let request = fs.next();
        if request.opcode() != Opcode::Interrupt {
            return request;
        }
    }
}

fn killed_caller_s_change_is_found(env: &Env) {
    let fs = Fs::new(env);
    let path = fs.path("file");
    let caller = process(move || {
        let _ = truncate(&path, 3);
        0
    });
    lookup(&fs, 21);
    let setattr = expect_truncation(&fs);
    caller.signal(Signal::SIGKILL);
    if !env.is_rust() {
        // Linux keeps the dead until the daemon answers.
        fs.reply(&setattr, &file_out(3, 3600));
        assert!(caller.ended_within(Duration::from_secs(10)).is_some());
        return;
    }
    assert!(caller.ended_within(Duration::from_secs(10)).is_some());
    // Meanwhile, what the daemon says holds ...
    let stat = |fs: &Fs| {
        let path = fs.path("file");
        call(move || sys::stat(&path).map(|stat| stat.st_size))
    };
    let other = stat(&fs);
    let getattr = next_but_interrupts(&fs);
    assert_eq!(getattr.opcode(), Opcode::Getattr);
    fs.reply(&getattr, &file_out(21, 3600));
    assert_eq!(other.result().unwrap(), 21);
    assert_eq!(sys::stat(&fs.path("file")).unwrap().st_size, 21);
    // ... until it has made the change after all.
    fs.reply(&setattr, &file_out(3, 3600));
    let other = stat(&fs);
    let getattr = fs.expect(Opcode::Getattr);
    fs.reply(&getattr, &file_out(3, 3600));
    assert_eq!(other.result().unwrap(), 3);
}
