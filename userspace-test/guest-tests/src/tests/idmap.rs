// SPDX-License-Identifier: GPL-2.0

//! Mounts that map ids (`ALLOW_IDMAP`): what owners look like there, and whose ids the daemon is
//! told.

use crate::{
    caller::call,
    env::Env,
    fs::{fresh_dir, Fs},
    idmap::{self, UserNamespace},
    model::{Model, Served, DIR, FILE},
    sys, system,
    tests::tests,
};
use nix::{
    mount::umount,
    unistd::{chown, setfsgid, setfsuid, setgroups, Gid, Uid},
};
use rawfuse::{
    abi::{self, init_flags, Opcode, INVALID_UIDGID},
    Errno, InitConfig,
};
use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};
use zerocopy::IntoBytes;

tests![
    refused_without_the_flag,
    refused_without_default_permissions,
    access_control_lists_will_do,
    makers_are_mapped,
    who_makes_nothing_has_no_ids,
    makers_on_the_mount_without_a_map,
    owners_are_mapped,
    new_owners_are_mapped,
    permission_is_judged_by_mapped_owners,
    who_has_no_id_makes_nothing,
    supplementary_groups_are_mapped,
];

/// What user and group 0 of the file system are on the mount.
const FIRST: u32 = 10_000;
/// A user of the file system.
const USER: u32 = 5;
/// Who has no number in the file system.
const STRANGER: u32 = 77;

const IDMAP: u64 = init_flags::INIT_EXT | init_flags::ALLOW_IDMAP;

/// Who asked for what.
type Asked = Arc<Mutex<Vec<(Opcode, u32, u32)>>>;

/// A file system that is mounted twice, the second time with a map.
struct Mapped {
    served: Served,
    asked: Asked,
    dir: PathBuf,
}

impl Mapped {
    #[track_caller]
    fn new(env: &Env) -> Self {
        Self::with(env, "default_permissions", IDMAP)
    }

    #[track_caller]
    fn with(env: &Env, options: &str, flags: u64) -> Self {
        let users = UserNamespace::new(FIRST, 1000);
        let config = InitConfig {
            flags,
            ..Default::default()
        };
        let fs = Fs::with_options(env, options, &config);
        let mut model = Model::cached();
        let root = &mut model.node(abi::ROOT_ID).attr;
        root.mode = libc::S_IFDIR | 0o777;
        let asked = Asked::default();
        let log = asked.clone();
        model.hook = Some(Box::new(move |_, req| {
            let header = req.header();
            let ids = (req.opcode(), header.uid, header.gid);
            log.lock().unwrap().push(ids);
            None
        }));
        let served = Served::new(fs, model);
        // The root's mode is asked for.
        sys::stat(&served.dir).expect("the root");
        let dir = fresh_dir();
        idmap::mount(&served.dir, &dir, &users).expect("a mount with a map");
        Self { served, asked, dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whose requests of that kind there were since the last time.
    fn take(&self, opcode: Opcode) -> Vec<(u32, u32)> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let mut of_kind = Vec::new();
        for (kind, uid, gid) in asked {
            if kind == opcode {
                of_kind.push((uid, gid));
            }
        }
        of_kind
    }

    /// Unmounts both.
    #[track_caller]
    fn finish(mut self) {
        umount(&self.dir).expect("umount");
        self.served.finish();
    }
}

/// Does something as user and group `id`, as far as files go.
fn as_user<T: Send + 'static>(id: u32, action: impl FnOnce() -> T + Send + 'static) -> T {
    call(move || {
        setfsgid(Gid::from_raw(id));
        setfsuid(Uid::from_raw(id));
        action()
    })
    .result()
}

/// The same at `path`.
fn at<T: Send + 'static>(
    id: u32,
    path: PathBuf,
    action: impl FnOnce(&Path) -> T + Send + 'static,
) -> T {
    as_user(id, move || action(&path))
}

fn refused_without_the_flag(env: &Env) {
    let users = UserNamespace::new(FIRST, 1000);
    let fs = Fs::with_options(env, "default_permissions", &InitConfig::default());
    let dir = fresh_dir();
    let mounter = call(move || idmap::mount(&fs.dir, &dir, &users));
    system::assert_errno(mounter.result(), Errno::EINVAL);
}

fn refused_without_default_permissions(env: &Env) {
    let fs = Fs::with_flags(env, IDMAP);
    let path = fs.path("x");
    let caller = call(move || sys::stat(&path));
    system::assert_errno(caller.result(), Errno::ECONNREFUSED);
}

fn access_control_lists_will_do(env: &Env) {
    // With them, it is the kernel who judges.
    let mapped = Mapped::with(env, "allow_other", IDMAP | init_flags::POSIX_ACL);
    assert_eq!(sys::stat(&mapped.path("file")).unwrap().st_uid, FIRST);
    mapped.finish();
}

/// Makes something, in the directory of that path.
type Make = fn(&Path) -> io::Result<()>;

/// What makes something, and what that asks for.
const MAKING: &[(Opcode, Make)] = &[
    (Opcode::Mknod, |dir| {
        sys::mknod(&dir.join("fifo"), libc::S_IFIFO | 0o600, 0)
    }),
    (Opcode::Mkdir, |dir| sys::mkdir(&dir.join("new dir"), 0o700)),
    (Opcode::Symlink, |dir| {
        sys::symlink("target", &dir.join("new link"))
    }),
    (Opcode::Create, |dir| {
        sys::open_with(&dir.join("new file"), libc::O_CREAT | libc::O_RDWR).map(drop)
    }),
    (Opcode::Tmpfile, |dir| {
        sys::open_with(dir, libc::O_TMPFILE | libc::O_RDWR).map(drop)
    }),
    (Opcode::Rename2, |dir| {
        sys::rename(&dir.join("fifo"), &dir.join("moved"), libc::RENAME_WHITEOUT)
    }),
];

fn makers_are_mapped(env: &Env) {
    let mapped = Mapped::new(env);
    for &(opcode, make) in MAKING {
        mapped.take(opcode);
        at(FIRST + USER, mapped.dir.clone(), make)
            .unwrap_or_else(|error| panic!("{}: {error}", opcode.name()));
        assert_eq!(mapped.take(opcode), [(USER, USER)], "{}", opcode.name());
    }
    // Without CREATE, files are made by MKNOD.
    let path = mapped.path("by mknod");
    mapped.served.hook({
        let log = mapped.asked.clone();
        move |req| {
            let header = req.header();
            let ids = (req.opcode(), header.uid, header.gid);
            log.lock().unwrap().push(ids);
            (req.opcode() == Opcode::Create).then_some(crate::model::Answer::Error(Errno::ENOSYS))
        }
    });
    let file = at(FIRST + USER, path, |path| {
        sys::open_with(path, libc::O_CREAT | libc::O_RDWR)
    });
    assert_eq!(mapped.take(Opcode::Mknod), [(USER, USER)]);
    drop(file.expect("a file"));
    mapped.finish();
}

fn who_makes_nothing_has_no_ids(env: &Env) {
    let mapped = Mapped::new(env);
    let dir = mapped.dir.clone();
    as_user(FIRST, move || {
        let path = |name: &str| dir.join(name);
        sys::stat(&path("dir/inner")).expect("stat");
        sys::statx(&path("file"), libc::AT_STATX_FORCE_SYNC, 0x7ff).expect("statx");
        sys::readlink(&path("link")).expect("readlink");
        sys::list(&dir).expect("the directory");
        let file = sys::open_with(&path("file"), libc::O_RDWR).expect("open");
        sys::read_all(&mut { &file }.try_clone().expect("dup"), 100).expect("read");
        file.set_len(3).expect("truncate");
        drop(file);
        sys::link(&path("file"), &path("again")).expect("link");
        sys::rename(&path("again"), &path("moved"), 0).expect("rename");
        sys::rename(&path("moved"), &path("file 2"), libc::RENAME_NOREPLACE).expect("rename2");
        sys::rename(&path("file"), &path("file 2"), libc::RENAME_EXCHANGE).expect("exchange");
        sys::unlink(&path("file 2")).expect("unlink");
        sys::unlink(&path("dir/inner")).expect("unlink");
        sys::rmdir(&path("dir")).expect("rmdir");
        nix::sys::statfs::statfs(&dir).expect("statfs");
    });
    mapped.served.wait_for(Opcode::Release, 1);
    mapped.served.wait_for(Opcode::Releasedir, 1);
    let asked = mapped.asked.lock().unwrap().clone();
    let seen = |opcode| asked.iter().any(|&(kind, ..)| kind == opcode);
    for opcode in [
        Opcode::Lookup,
        Opcode::Getattr,
        Opcode::Setattr,
        Opcode::Readlink,
        Opcode::Open,
        Opcode::Read,
        Opcode::Flush,
        Opcode::Opendir,
        Opcode::Readdir,
        Opcode::Link,
        Opcode::Rename,
        Opcode::Rename2,
        Opcode::Unlink,
        Opcode::Rmdir,
        Opcode::Statfs,
    ] {
        assert!(seen(opcode), "{} was not asked for", opcode.name());
    }
    for (opcode, uid, gid) in asked {
        let expected = match opcode {
            // The kernel's own.
            Opcode::Release | Opcode::Releasedir | Opcode::Forget | Opcode::BatchForget => 0,
            _ => INVALID_UIDGID,
        };
        assert_eq!((uid, gid), (expected, expected), "{}", opcode.name());
    }
    mapped.finish();
}

fn makers_on_the_mount_without_a_map(env: &Env) {
    let mapped = Mapped::new(env);
    for (id, name) in [(0, "a"), (USER, "b"), (FIRST + USER, "c")] {
        mapped.take(Opcode::Mkdir);
        at(id, mapped.served.path(name), |path| sys::mkdir(path, 0o700)).expect("mkdir");
        assert_eq!(mapped.take(Opcode::Mkdir), [(id, id)]);
        at(id, mapped.served.path(name), sys::stat).expect("stat");
    }
    // Others have no ids there either.
    let path = mapped.served.path("file");
    mapped.take(Opcode::Lookup);
    at(USER, path, sys::stat).expect("stat");
    let nobody = (INVALID_UIDGID, INVALID_UIDGID);
    assert_eq!(mapped.take(Opcode::Lookup), [nobody]);
    mapped.finish();
}

fn owners_are_mapped(env: &Env) {
    let mapped = Mapped::new(env);
    let owners = |path: PathBuf| {
        let stat = sys::stat(&path).unwrap();
        (stat.st_uid, stat.st_gid)
    };
    for (uid, gid, there) in [
        (0, 0, (FIRST, FIRST)),
        (USER, USER + 1, (FIRST + USER, FIRST + USER + 1)),
        (999, 1000, (FIRST + 999, 65534)),
        (1000, 0, (65534, FIRST)),
    ] {
        {
            let mut model = mapped.served.model();
            let attr = &mut model.node(FILE).attr;
            (attr.uid, attr.gid) = (uid, gid);
            model.attr_valid = 0;
        }
        assert_eq!(owners(mapped.path("file")), there);
        assert_eq!(owners(mapped.served.path("file")), (uid, gid));
    }
    mapped.finish();
}

fn new_owners_are_mapped(env: &Env) {
    let mapped = Mapped::new(env);
    let path = mapped.path("file");
    let give = |path: &Path, uid: u32, gid: u32| -> io::Result<()> {
        Ok(chown(
            path,
            Some(Uid::from_raw(uid)),
            Some(Gid::from_raw(gid)),
        )?)
    };
    give(&path, FIRST + USER, FIRST + USER + 1).expect("chown");
    let attr = mapped.served.model().node(FILE).attr;
    assert_eq!((attr.uid, attr.gid), (USER, USER + 1));
    mapped.take(Opcode::Setattr);
    // Who has no number in the file system cannot be given anything.
    system::assert_errno(give(&path, STRANGER, FIRST), Errno::EOVERFLOW);
    system::assert_errno(give(&path, FIRST, FIRST + 1000), Errno::EOVERFLOW);
    assert_eq!(mapped.take(Opcode::Setattr), []);
    give(&mapped.served.path("file"), STRANGER, STRANGER).expect("chown without a map");
    let attr = mapped.served.model().node(FILE).attr;
    assert_eq!((attr.uid, attr.gid), (STRANGER, STRANGER));
    mapped.finish();
}

fn permission_is_judged_by_mapped_owners(env: &Env) {
    let mapped = Mapped::new(env);
    {
        let mut model = mapped.served.model();
        let attr = &mut model.node(FILE).attr;
        attr.mode = libc::S_IFREG | 0o600;
        (attr.uid, attr.gid) = (USER, USER);
    }
    for (id, path, allowed) in [
        (FIRST + USER, mapped.path("file"), true),
        (USER, mapped.path("file"), false),
        (USER, mapped.served.path("file"), true),
        (FIRST + USER, mapped.served.path("file"), false),
    ] {
        let opened = at(id, path, sys::open);
        assert_eq!(
            system::errno(opened),
            if allowed { 0 } else { libc::EACCES }
        );
    }
    mapped.finish();
}

fn who_has_no_id_makes_nothing(env: &Env) {
    let mapped = Mapped::new(env);
    for &(opcode, make) in MAKING {
        if opcode == Opcode::Rename2 {
            continue;
        }
        mapped.take(opcode);
        let made = at(STRANGER, mapped.dir.clone(), make);
        system::assert_errno(made, Errno::EOVERFLOW);
        assert_eq!(mapped.take(opcode), [], "{}", opcode.name());
    }
    let (path, to) = (mapped.path("file"), mapped.path("moved"));
    let moved = as_user(STRANGER, move || {
        sys::rename(&path, &to, libc::RENAME_WHITEOUT)
    });
    system::assert_errno(moved, Errno::EOVERFLOW);
    assert_eq!(mapped.take(Opcode::Rename2), []);
    mapped.finish();
}

fn supplementary_groups_are_mapped(env: &Env) {
    // Before there are other threads.
    setgroups(&[Gid::from_raw(FIRST + USER)]).expect("setgroups");
    let flags = IDMAP | init_flags::CREATE_SUPP_GROUP;
    let mapped = Mapped::with(env, "default_permissions", flags);
    mapped.served.model().node(DIR).attr.gid = USER;
    let extensions = Arc::new(Mutex::new(Vec::new()));
    let log = extensions.clone();
    mapped.served.hook(move |req| {
        if req.opcode() == Opcode::Mkdir {
            let body = req.request().body();
            let len = usize::from(req.header().total_extlen) * 8;
            log.lock().unwrap().push(body[body.len() - len..].to_vec());
        }
        None
    });
    let dir = mapped.path("dir");
    sys::stat(&dir).unwrap();
    call(move || {
        setfsgid(Gid::from_raw(FIRST));
        setfsuid(Uid::from_raw(FIRST));
        sys::mkdir(&dir.join("new"), 0o700)
    })
    .result()
    .expect("mkdir");
    // The daemon is told by its own number.
    let group = [16, abi::ext_type::EXT_GROUPS, 1, USER];
    assert_eq!(*extensions.lock().unwrap(), [group.as_bytes()]);
    mapped.finish();
}
