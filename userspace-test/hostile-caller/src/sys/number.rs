// SPDX-License-Identifier: GPL-2.0

//! The system calls that may be made with any arguments: none of them changes mappings, ends or makes
//! a thread, or writes to memory in any other way than by an argument.

/// The number of one.
#[derive(Clone, Copy)]
pub struct Number(libc::c_long);

impl Number {
    pub(super) fn get(self) -> libc::c_long {
        self.0
    }
}

macro_rules! numbers {
    ($($name:ident = $number:ident),* $(,)?) => {
        $(
            #[allow(missing_docs)]
            pub const $name: Number = Number(libc::$number);
        )*
    };
}

numbers! {
    ACCESS = SYS_faccessat2,
    CHDIR = SYS_chdir,
    CHMOD = SYS_fchmodat,
    CHOWN = SYS_fchownat,
    CLOSE = SYS_close,
    COPY_FILE_RANGE = SYS_copy_file_range,
    DUP = SYS_dup,
    DUP3 = SYS_dup3,
    EPOLL_CREATE = SYS_epoll_create1,
    EPOLL_CTL = SYS_epoll_ctl,
    EPOLL_WAIT = SYS_epoll_pwait,
    FADVISE = SYS_fadvise64,
    FALLOCATE = SYS_fallocate,
    FANOTIFY_INIT = SYS_fanotify_init,
    FANOTIFY_MARK = SYS_fanotify_mark,
    FCHDIR = SYS_fchdir,
    FCHMOD = SYS_fchmod,
    FCHOWN = SYS_fchown,
    FCNTL = SYS_fcntl,
    FDATASYNC = SYS_fdatasync,
    FGETXATTR = SYS_fgetxattr,
    FLISTXATTR = SYS_flistxattr,
    FLOCK = SYS_flock,
    FREMOVEXATTR = SYS_fremovexattr,
    FSETXATTR = SYS_fsetxattr,
    FSTATFS = SYS_fstatfs,
    FSYNC = SYS_fsync,
    FTRUNCATE = SYS_ftruncate,
    GETCWD = SYS_getcwd,
    GETDENTS = SYS_getdents64,
    GETXATTR = SYS_lgetxattr,
    INOTIFY_ADD = SYS_inotify_add_watch,
    INOTIFY_INIT = SYS_inotify_init1,
    IOCTL = SYS_ioctl,
    LINK = SYS_linkat,
    LISTXATTR = SYS_llistxattr,
    LSEEK = SYS_lseek,
    MKDIR = SYS_mkdirat,
    MKNOD = SYS_mknodat,
    NAME_TO_HANDLE = SYS_name_to_handle_at,
    FSTATAT = SYS_newfstatat,
    OPEN = SYS_openat,
    OPEN_BY_HANDLE = SYS_open_by_handle_at,
    PIPE = SYS_pipe2,
    POLL = SYS_ppoll,
    PREAD = SYS_pread64,
    PREADV = SYS_preadv2,
    PWRITE = SYS_pwrite64,
    PWRITEV = SYS_pwritev2,
    READ = SYS_read,
    READAHEAD = SYS_readahead,
    READLINK = SYS_readlinkat,
    READV = SYS_readv,
    REMOVEXATTR = SYS_lremovexattr,
    RENAME = SYS_renameat2,
    UNLINK = SYS_unlinkat,
    SENDFILE = SYS_sendfile,
    SETXATTR = SYS_lsetxattr,
    SPLICE = SYS_splice,
    STATFS = SYS_statfs,
    STATX = SYS_statx,
    SYMLINK = SYS_symlinkat,
    SYNC_FILE_RANGE = SYS_sync_file_range,
    SYNCFS = SYS_syncfs,
    TEE = SYS_tee,
    TRUNCATE = SYS_truncate,
    UMASK = SYS_umask,
    UTIMENSAT = SYS_utimensat,
    VMSPLICE = SYS_vmsplice,
    WRITE = SYS_write,
    WRITEV = SYS_writev,
}
