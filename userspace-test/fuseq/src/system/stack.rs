// SPDX-License-Identifier: GPL-2.0

//! Who waits for a daemon, by kernel stacks: all there is to go by on C fuse, and root's to see.

use super::process::{self, Task};
use std::fs;

/// The functions of C fuse that ask for something and wait, by what they ask for. A stack is read
/// from its top: the first one that is in here tells.
const ASKING: &[(&str, &str)] = &[
    ("fuse_lookup_name", "LOOKUP"),
    ("fuse_lookup", "LOOKUP"),
    ("fuse_dentry_revalidate", "LOOKUP"),
    ("fuse_do_getattr", "GETATTR"),
    ("fuse_do_statx", "STATX"),
    ("fuse_do_setattr", "SETATTR"),
    ("fuse_setattr", "SETATTR"),
    ("fuse_flush_times", "SETATTR"),
    ("fuse_readlink_folio", "READLINK"),
    ("fuse_get_link", "READLINK"),
    ("fuse_symlink", "SYMLINK"),
    ("fuse_mknod", "MKNOD"),
    ("fuse_mkdir", "MKDIR"),
    ("fuse_create_open", "CREATE"),
    ("fuse_tmpfile", "TMPFILE"),
    ("fuse_unlink", "UNLINK"),
    ("fuse_rmdir", "RMDIR"),
    ("fuse_rename_common", "RENAME"),
    ("fuse_rename2", "RENAME"),
    ("fuse_link", "LINK"),
    ("fuse_access", "ACCESS"),
    ("fuse_dir_open", "OPENDIR"),
    ("fuse_readdir_uncached", "READDIR"),
    ("fuse_readdir", "READDIR"),
    ("fuse_dir_fsync", "FSYNCDIR"),
    ("fuse_open", "OPEN"),
    ("fuse_flush", "FLUSH"),
    ("fuse_fsync_common", "FSYNC"),
    ("fuse_fsync", "FSYNC"),
    ("fuse_direct_IO", "READ or WRITE"),
    ("fuse_send_readpages", "READ"),
    ("fuse_do_readfolio", "READ"),
    ("fuse_read_folio", "READ"),
    ("fuse_readahead", "READ"),
    ("fuse_direct_read_iter", "READ"),
    ("fuse_cache_read_iter", "READ"),
    ("fuse_file_read_iter", "READ"),
    ("fuse_send_write_pages", "WRITE"),
    ("fuse_perform_write", "WRITE"),
    ("fuse_direct_write_iter", "WRITE"),
    ("fuse_cache_write_iter", "WRITE"),
    ("fuse_file_write_iter", "WRITE"),
    ("fuse_writepages", "WRITE"),
    ("fuse_file_fallocate", "FALLOCATE"),
    ("fuse_file_llseek", "LSEEK"),
    ("__fuse_copy_file_range", "COPY_FILE_RANGE"),
    ("fuse_copy_file_range", "COPY_FILE_RANGE"),
    ("fuse_getlk", "GETLK"),
    ("fuse_setlk", "SETLK"),
    ("fuse_file_lock", "SETLK"),
    ("fuse_file_flock", "SETLK"),
    ("fuse_do_ioctl", "IOCTL"),
    ("fuse_priv_ioctl", "IOCTL"),
    ("fuse_file_poll", "POLL"),
    ("fuse_bmap", "BMAP"),
    ("fuse_statfs", "STATFS"),
    ("fuse_sync_fs", "SYNCFS"),
    ("fuse_getxattr", "GETXATTR"),
    ("fuse_setxattr", "SETXATTR"),
    ("fuse_listxattr", "LISTXATTR"),
    ("fuse_removexattr", "REMOVEXATTR"),
    ("fuse_permission", "GETATTR"),
    ("fuse_update_get_attr", "GETATTR"),
];

/// A task that waits for a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// It.
    pub task: Task,
    /// What it asks for, if its stack tells.
    pub opcode: Option<&'static str>,
}

/// All of them.
pub fn waiters() -> Vec<Waiter> {
    let mut all = Vec::new();
    for pid in process::all().into_iter().flat_map(process::threads) {
        // Who runs waits for nobody, and its stack is not to be had.
        let task = Task::of(pid).filter(|task| matches!(task.state, 'S' | 'D'));
        let stack = task.and_then(|task| {
            let stack = fs::read_to_string(process::dir(pid).join("stack")).ok()?;
            Some((task, stack))
        });
        if let Some((task, stack)) = stack {
            all.extend(opcode(&stack).map(|opcode| Waiter { task, opcode }));
        }
    }
    all
}

/// What the owner of that stack asks for; none if it does not wait for a daemon.
fn opcode(stack: &str) -> Option<Option<&'static str>> {
    let functions = stack.lines().filter_map(|line| {
        let (_, function) = line.split_once("] ")?;
        // As in `fuse_do_getattr.isra.0+0x10b/0x260 [fuse]`.
        function.split(['+', '.']).next()
    });
    // A daemon that waits for something to do is not it.
    let functions: Vec<_> = functions
        .take_while(|function| !function.starts_with("fuse_dev_"))
        .collect();
    let asked = |function: &&str| {
        let found = ASKING.iter().find(|(name, _)| name == function);
        found.map(|(_, opcode)| *opcode)
    };
    let opcode = functions.iter().find_map(asked);
    let waits =
        |function: &&str| matches!(*function, "request_wait_answer" | "__fuse_simple_request");
    (opcode.is_some() || functions.iter().any(waits)).then_some(opcode)
}

#[cfg(test)]
mod tests {
    use super::opcode;

    #[test]
    fn stacks_tell_what_is_asked_for() {
        let stat = "[<0>] request_wait_answer+0x10b/0x260 [fuse]\n\
            [<0>] __fuse_simple_request+0xd0/0x290 [fuse]\n\
            [<0>] fuse_do_getattr.isra.0+0x11a/0x2b0 [fuse]\n\
            [<0>] fuse_permission+0x11a/0x2b0 [fuse]\n\
            [<0>] vfs_statx+0x8f/0x150\n";
        assert_eq!(opcode(stat), Some(Some("GETATTR")));
        let other = "[<0>] request_wait_answer+0x10b/0x260\n[<0>] fuse_newest+0x1/0x2\n";
        assert_eq!(opcode(other), Some(None));
        let idle =
            "[<0>] fuse_dev_do_read+0x6a/0x9e0 [fuse]\n[<0>] fuse_dev_read+0x6a/0x90 [fuse]\n";
        assert_eq!(opcode(idle), None);
        assert_eq!(opcode("[<0>] pipe_read+0x1/0x2\n"), None);
        assert_eq!(opcode(""), None);
    }
}
