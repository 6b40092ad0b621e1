// SPDX-License-Identifier: GPL-2.0

//! What a caller is about: the system call that it is in, and the file. A daemon that hangs is not
//! asked: paths come from the call's own arguments, and from what the kernel remembers of open files.

use super::{
    mounts::{mount_of, MountPoint},
    process,
};
use libc::c_long;
use std::{
    collections::HashMap,
    fs,
    path::{Component, Path, PathBuf},
};

/// A system call that a task is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// What it is about, if that can be said.
    pub file: Option<PathBuf>,
    /// The second path of those that have two.
    pub other: Option<PathBuf>,
}

/// Where in its arguments a system call has its files.
#[derive(Clone, Copy)]
enum Shape {
    /// A descriptor, first.
    Fd,
    /// A descriptor, after another that is written to.
    FromFd,
    /// A path, first.
    Path,
    /// A directory's descriptor and a path.
    At,
    /// Two paths.
    Paths,
    /// Two directories, each with a path.
    Ats,
    /// A text, and a path.
    TextPath,
    /// A text, a directory and a path.
    TextAt,
}

macro_rules! calls {
    ($($shape:ident: $($name:ident $number:ident),*;)*) => {
        &[$($((libc::$number, stringify!($name), Shape::$shape)),*),*]
    };
}

/// The system calls that make requests, and name a file.
const CALLS: &[(c_long, &str, Shape)] = calls! {
    Fd: read SYS_read, write SYS_write, pread64 SYS_pread64, pwrite64 SYS_pwrite64, readv SYS_readv,
        writev SYS_writev, preadv SYS_preadv, pwritev SYS_pwritev, preadv2 SYS_preadv2,
        pwritev2 SYS_pwritev2, fstat SYS_fstat, fsync SYS_fsync, fdatasync SYS_fdatasync,
        getdents64 SYS_getdents64, ftruncate SYS_ftruncate, fallocate SYS_fallocate, flock SYS_flock,
        lseek SYS_lseek, ioctl SYS_ioctl, fcntl SYS_fcntl, fchmod SYS_fchmod, fchown SYS_fchown,
        fchdir SYS_fchdir, fstatfs SYS_fstatfs, fgetxattr SYS_fgetxattr, fsetxattr SYS_fsetxattr,
        flistxattr SYS_flistxattr, fremovexattr SYS_fremovexattr, syncfs SYS_syncfs,
        close SYS_close, copy_file_range SYS_copy_file_range, splice SYS_splice;
    FromFd: sendfile SYS_sendfile;
    Path: statfs SYS_statfs, truncate SYS_truncate, chdir SYS_chdir, chroot SYS_chroot,
        execve SYS_execve, getxattr SYS_getxattr, lgetxattr SYS_lgetxattr, setxattr SYS_setxattr,
        lsetxattr SYS_lsetxattr, listxattr SYS_listxattr, llistxattr SYS_llistxattr,
        removexattr SYS_removexattr, lremovexattr SYS_lremovexattr, umount2 SYS_umount2;
    At: openat SYS_openat, openat2 SYS_openat2, newfstatat SYS_newfstatat, statx SYS_statx,
        mkdirat SYS_mkdirat, mknodat SYS_mknodat, unlinkat SYS_unlinkat, readlinkat SYS_readlinkat,
        faccessat SYS_faccessat, faccessat2 SYS_faccessat2, fchmodat SYS_fchmodat,
        fchownat SYS_fchownat, utimensat SYS_utimensat, execveat SYS_execveat,
        name_to_handle_at SYS_name_to_handle_at, inotify_add_watch SYS_inotify_add_watch;
    Ats: renameat SYS_renameat, renameat2 SYS_renameat2, linkat SYS_linkat;
    TextAt: symlinkat SYS_symlinkat;
};

/// Those that newer machines do without.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[(c_long, &str, Shape)] = calls! {
    Path: open SYS_open, creat SYS_creat, stat SYS_stat, lstat SYS_lstat, access SYS_access,
        mkdir SYS_mkdir, rmdir SYS_rmdir, mknod SYS_mknod, unlink SYS_unlink, chmod SYS_chmod,
        chown SYS_chown, lchown SYS_lchown, readlink SYS_readlink, utime SYS_utime,
        utimes SYS_utimes;
    Paths: rename SYS_rename, link SYS_link;
    TextPath: symlink SYS_symlink;
    Fd: getdents SYS_getdents;
};
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[(c_long, &str, Shape)] = &[];

/// The system call that a task is in; none where it is in none, or where that is not for us to see.
pub fn call_of(pid: u32) -> Option<Call> {
    let text = fs::read_to_string(process::dir(pid).join("syscall")).ok()?;
    let (number, arguments) = parse(&text)?;
    let mut calls = CALLS.iter().chain(OLD_CALLS);
    let (_, name, shape) = *calls.find(|(found, ..)| *found == number)?;
    let at = |at: usize| path_at(pid, None, arguments[at]);
    let fd_at = |at: usize| path_at(pid, Some(arguments[at]), arguments[at + 1]);
    let (file, other) = match shape {
        Shape::Fd => (open_path(pid, arguments[0]), None),
        Shape::FromFd => (open_path(pid, arguments[1]), None),
        Shape::Path => (at(0), None),
        Shape::At => (fd_at(0), None),
        Shape::Paths => (at(0), at(1)),
        Shape::Ats => (fd_at(0), fd_at(2)),
        Shape::TextPath => (at(1), None),
        Shape::TextAt => (fd_at(1), None),
    };
    Some(Call { name, file, other })
}

/// A call's number and its six arguments, from `/proc/PID/syscall`.
fn parse(text: &str) -> Option<(c_long, [u64; 6])> {
    let mut words = text.split_ascii_whitespace();
    let number = words.next()?.parse().ok()?;
    let mut arguments = [0; 6];
    for argument in &mut arguments {
        let digits = words.next()?.strip_prefix("0x")?;
        *argument = u64::from_str_radix(digits, 16).ok()?;
    }
    Some((number, arguments))
}

/// The path in a task's memory, seen from a directory of it: that of the descriptor, or the one that
/// it works in.
fn path_at(pid: u32, dir: Option<u64>, address: u64) -> Option<PathBuf> {
    // CAST: A descriptor is 32 bits wide.
    let dir = dir.filter(|fd| *fd as i32 != libc::AT_FDCWD);
    let path = match address {
        // The descriptor itself is meant.
        0 => PathBuf::new(),
        address => process::string_at(pid, address)?,
    };
    if path.as_os_str().is_empty() {
        return open_path(pid, dir?);
    }
    let link = |name: &str| fs::read_link(process::dir(pid).join(name)).ok();
    let base = match (path.is_absolute(), dir) {
        (true, _) => link("root")?,
        (false, Some(fd)) => open_path(pid, fd)?,
        (false, None) => link("cwd")?,
    };
    Some(joined(&base, &path))
}

/// `path` below `base`, without `.` and `..`, and without asking where links lead.
fn joined(base: &Path, path: &Path) -> PathBuf {
    let mut all = base.to_owned();
    for part in path.components() {
        match part {
            Component::Normal(name) => all.push(name),
            Component::ParentDir => drop(all.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    all
}

fn open_path(pid: u32, fd: u64) -> Option<PathBuf> {
    // CAST: A descriptor is 32 bits wide.
    let open = process::open_file(pid, fd as u32)?;
    open.path.is_absolute().then_some(open.path)
}

/// The open files on FUSE file systems, of whomever, by the connection and the inode's number.
///
/// Daemons are free to give nodes other numbers than inodes, but most do not.
#[derive(Clone, Debug, Default)]
pub struct OpenFiles(HashMap<(u32, u64), PathBuf>);

impl OpenFiles {
    /// All that can be seen now.
    pub fn look() -> Self {
        let mut all = HashMap::new();
        for pid in process::all() {
            let mounts = MountPoint::of_process(&pid.to_string());
            if !mounts.iter().any(MountPoint::is_fuse) {
                continue;
            }
            for open in process::open_files(pid) {
                let on = mount_of(&mounts, &open.path).filter(|mount| mount.is_fuse());
                let inode = on.and_then(|_| process::fd_info(pid, open.fd, "ino"));
                if let (Some(mount), Some(inode)) = (on, inode) {
                    all.insert((mount.device, inode), open.path);
                }
            }
        }
        Self(all)
    }

    /// The file of that number.
    pub fn find(&self, connection: u32, nodeid: u64) -> Option<&Path> {
        self.0.get(&(connection, nodeid)).map(PathBuf::as_path)
    }

    /// The number of the file that is open by that path.
    pub fn inode(&self, connection: u32, path: &Path) -> Option<u64> {
        let mut all = self.iter();
        let found = all.find(|(of, _, open)| (*of, *open) == (connection, path));
        found.map(|(_, inode, _)| inode)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u64, &Path)> {
        let all = self.0.iter();
        all.map(|((connection, inode), path)| (*connection, *inode, path.as_path()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::fd::AsRawFd, process::Stdio, thread, time::Duration};

    #[test]
    fn arguments_are_understood() {
        let text = "257 0xffffff9c 0x7ffd10 0x0 0x0 0x0 0x0 0x7ffd00 0x7f0000\n";
        let (number, arguments) = parse(text).unwrap();
        assert_eq!(number, 257);
        assert_eq!(arguments[..2], [0xffff_ff9c, 0x7f_fd10]);
        for text in ["running\n", "-1 0x7ffd00 0x7f0000\n", "0 0x3\n", ""] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn paths_are_joined_by_their_text() {
        for (path, whole) in [
            ("a", "/mnt/dir/a"),
            ("./a/../b", "/mnt/dir/b"),
            ("../../../..", "/"),
        ] {
            assert_eq!(
                joined(Path::new("/mnt/dir"), Path::new(path)),
                Path::new(whole)
            );
        }
    }

    /// One of this test's processes waits in a call whose file is known.
    #[test]
    fn a_call_and_its_file_are_seen() {
        let dir = std::env::temp_dir().join(format!("fuseq-call-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir(&dir).unwrap();
        let fifo = dir.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut child = std::process::Command::new("cat")
            .arg("./../x/../fifo")
            .current_dir({
                std::fs::create_dir(dir.join("x")).unwrap();
                dir.join("x")
            })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let until = |wanted: &str| {
            for _ in 0..500 {
                match call_of(child.id()) {
                    Some(call) if wanted.contains(call.name) && call.file.is_some() => {
                        return call.file.unwrap();
                    }
                    _ => thread::sleep(Duration::from_millis(10)),
                }
            }
            panic!("it is never seen in {wanted}");
        };
        // It opens, and waits for a writer; then it reads, and waits for data.
        let fifo = fifo.canonicalize().unwrap();
        assert_eq!(until("openat open"), fifo);
        let writer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
        assert!(writer.as_raw_fd() > 0);
        assert_eq!(until("read"), fifo);
        drop(writer);
        let mut out = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        assert!(child.wait().unwrap().success());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
