// SPDX-License-Identifier: GPL-2.0

//! Who waits for a daemon, by kernel stacks: all there is to go by on C fuse, and for who has no request
//! of its own but sleeps on what one is to fill.

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

/// Functions of the page cache that sleep until somebody else is done with a folio.
const ON_FOLIO: &[&str] = &[
    "folio_wait_bit_common",
    "folio_wait_bit",
    "folio_wait_bit_killable",
    "folio_put_wait_locked",
    "__folio_lock",
    "__folio_lock_killable",
    "__folio_lock_or_retry",
    "folio_wait_writeback",
];

/// The one of them that sleeps until it is written.
const WRITTEN: &str = "folio_wait_writeback";
/// The one that calls them when memory was touched, and those that do to read. These sleeps a fatal
/// signal ends.
const TOUCHED: &str = "filemap_fault";
const READING: &[&str] = &[
    "filemap_get_pages",
    "filemap_update_page",
    "filemap_read",
    "filemap_splice_read",
];

/// A task that waits for a daemon, or may do so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiter {
    /// It.
    pub task: Task,
    /// What for.
    pub sleep: Sleep,
}

/// What a task sleeps for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sleep {
    /// C fuse: the answer to a request of its own: for what, if its stack tells.
    Answer(Option<&'static str>),
    /// It is in a function of rust_fuse: most likely, for the answer to a request of its own.
    Module,
    /// A folio, of whatever file system, that somebody else fills or empties.
    Folio {
        /// It is to be written.
        written: bool,
        /// It is to be read: by memory of a mapping that was touched, if that is set as well.
        read: bool,
        /// See `read`.
        touched: bool,
    },
}

/// All of them. Root sees stacks; others see of processes of their own in which function they sleep.
pub fn waiters() -> Vec<Waiter> {
    let mut all = Vec::new();
    for pid in process::all().into_iter().flat_map(process::threads) {
        // Who runs waits for nobody, and its stack is not to be had.
        let task = Task::of(pid).filter(|task| matches!(task.state, 'S' | 'D'));
        let sleep = task.as_ref().and_then(|_| {
            let read = |name| fs::read_to_string(process::dir(pid).join(name)).ok();
            match read("stack") {
                Some(stack) => Sleep::by_stack(&stack),
                None => Sleep::in_function(&read("wchan")?),
            }
        });
        all.extend(task.zip(sleep).map(|(task, sleep)| Waiter { task, sleep }));
    }
    all
}

impl Sleep {
    /// By a stack; none if its owner does not wait for a daemon.
    fn by_stack(stack: &str) -> Option<Self> {
        let functions: Vec<_> = functions(stack).collect();
        if functions.iter().any(|function| ON_FOLIO.contains(function)) {
            let touched = functions.contains(&TOUCHED);
            let reads = functions.iter().any(|function| READING.contains(function));
            return Some(Self::Folio {
                written: functions.contains(&WRITTEN),
                read: reads || touched,
                touched,
            });
        }
        let answer = opcode(&functions).map(Self::Answer);
        answer.or_else(|| stack.contains("[rust_fuse]").then_some(Self::Module))
    }

    /// By the function it sleeps in.
    fn in_function(function: &str) -> Option<Self> {
        let function = function.trim();
        ON_FOLIO.contains(&function).then_some(Self::Folio {
            written: function == WRITTEN,
            read: false,
            touched: false,
        })
    }
}

/// The functions of a stack, from its top.
fn functions(stack: &str) -> impl Iterator<Item = &str> {
    stack.lines().filter_map(|line| {
        let (_, function) = line.split_once("] ")?;
        // As in `fuse_do_getattr.isra.0+0x10b/0x260 [fuse]`.
        function.split(['+', '.']).next()
    })
}

/// What the owner of a stack of those functions asks for; none if it does not wait for a daemon.
fn opcode(functions: &[&str]) -> Option<Option<&'static str>> {
    // A daemon that waits for something to do is not it.
    let functions = functions.iter().copied();
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
    use super::Sleep;

    #[test]
    fn stacks_tell_what_is_asked_for() {
        let stat = "[<0>] request_wait_answer+0x10b/0x260 [fuse]\n\
            [<0>] __fuse_simple_request+0xd0/0x290 [fuse]\n\
            [<0>] fuse_do_getattr.isra.0+0x11a/0x2b0 [fuse]\n\
            [<0>] fuse_permission+0x11a/0x2b0 [fuse]\n\
            [<0>] vfs_statx+0x8f/0x150\n";
        assert_eq!(Sleep::by_stack(stat), Some(Sleep::Answer(Some("GETATTR"))));
        let other = "[<0>] request_wait_answer+0x10b/0x260\n[<0>] fuse_newest+0x1/0x2\n";
        assert_eq!(Sleep::by_stack(other), Some(Sleep::Answer(None)));
        let idle =
            "[<0>] fuse_dev_do_read+0x6a/0x9e0 [fuse]\n[<0>] fuse_dev_read+0x6a/0x90 [fuse]\n";
        assert_eq!(Sleep::by_stack(idle), None);
        assert_eq!(Sleep::by_stack("[<0>] pipe_read+0x1/0x2\n"), None);
        assert_eq!(Sleep::by_stack(""), None);
    }

    #[test]
    fn stacks_tell_who_sleeps_on_a_folio() {
        let folio = |written, read, touched| {
            Some(Sleep::Folio {
                written,
                read,
                touched,
            })
        };
        let read = "[<0>] folio_wait_bit_common+0x158/0x310\n\
            [<0>] filemap_get_pages+0x5a4/0x6e0\n\
            [<0>] filemap_read+0xd4/0x340\n\
            [<0>] fuse_cache_read_iter+0x30/0x40 [fuse]\n";
        assert_eq!(Sleep::by_stack(read), folio(false, true, false));
        let open = "[<0>] folio_wait_bit_common+0x134/0x210\n\
            [<0>] invalidate_inode_pages2_range+0x150/0x230\n[<0>] fuse_open+0x175/0x1b0 [fuse]\n";
        assert_eq!(Sleep::by_stack(open), folio(false, false, false));
        let touch = "[<0>] folio_wait_bit_common+0x158/0x310\n\
            [<0>] __folio_lock_or_retry+0x96/0xd0\n[<0>] filemap_fault+0x43e/0x8c0\n";
        assert_eq!(Sleep::by_stack(touch), folio(false, true, true));
        let sync =
            "[<0>] folio_wait_bit_common+0x158/0x310\n[<0>] folio_wait_writeback+0x2b/0x80\n\
            [<0>] __filemap_fdatawait_range+0x8c/0xf0\n[<0>] fuse_fsync+0x3a/0xe0 [fuse]\n";
        assert_eq!(Sleep::by_stack(sync), folio(true, false, false));
        assert_eq!(
            Sleep::in_function("__folio_lock\n"),
            folio(false, false, false)
        );
        for function in ["0", "pipe_read", ""] {
            assert_eq!(Sleep::in_function(function), None);
        }
        let ours =
            "[<0>] schedule+0x1/0x2\n[<0>] _RNvNtCsi_9rust_fuse3sys4park+0x1/0x2 [rust_fuse]\n";
        assert_eq!(Sleep::by_stack(ours), Some(Sleep::Module));
    }
}
