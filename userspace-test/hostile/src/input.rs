// SPDX-License-Identifier: GPL-2.0

//! What is played: a mount, system calls of some processes, and what the daemon does about the
//! requests they make. As text it is a JSON object a line; what is as usual is left out.

use crate::names::{Code, Features, Hex, Opcode};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// One thing to play.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    /// How it is mounted.
    pub setup: Setup,
    /// What callers do, each its own calls one after the other.
    pub calls: Vec<Call>,
    /// What is done about requests. The first that fits a request is for it, once; the honest
    /// answer is given to all others.
    pub steps: Vec<Step>,
}

/// The most callers there are at a time.
pub const CALLERS: usize = 2;

/// The mount, and the answer to INIT.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Setup {
    /// On a block device.
    #[serde(skip_serializing_if = "is_default")]
    pub block: bool,
    /// Mount options beside the usual ones, separated by commas.
    #[serde(skip_serializing_if = "is_default")]
    pub options: String,
    /// The mode of the root.
    #[serde(skip_serializing_if = "is_usual_mode")]
    pub rootmode: u32,
    /// The answer to INIT.
    pub init: Init,
    /// For how many seconds names and attributes stay valid.
    #[serde(skip_serializing_if = "is_default")]
    pub valid: u64,
    /// What opens are answered with: flags of `fuse_open_out`.
    #[serde(skip_serializing_if = "is_default")]
    pub open: u32,
    /// How many bytes are read at a time; as many as it takes, if 0.
    #[serde(skip_serializing_if = "is_default")]
    pub read: u32,
    /// Requests are read by `splice(2)`.
    #[serde(skip_serializing_if = "is_default")]
    pub splice: bool,
    /// The daemon sleeps in `read(2)`; otherwise it polls.
    #[serde(skip_serializing_if = "is_default")]
    pub sleeps: bool,
    /// The device is cloned; every other request is read from the clone.
    #[serde(skip_serializing_if = "is_default")]
    pub clone: bool,
    /// `mount(2)` waits for the answer to INIT.
    #[serde(skip_serializing_if = "is_default")]
    pub sync_init: bool,
    /// Everything is aborted before it is unmounted.
    #[serde(skip_serializing_if = "is_default")]
    pub aborted: bool,
}

/// The usual mode of a root: a directory.
const ROOT_MODE: u32 = 0o40000;

fn is_usual_mode(mode: &u32) -> bool {
    *mode == ROOT_MODE
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            block: false,
            options: String::new(),
            rootmode: ROOT_MODE,
            init: Init::default(),
            valid: 0,
            open: 0,
            read: 0,
            splice: false,
            sleeps: false,
            clone: false,
            sync_init: false,
            aborted: false,
        }
    }
}

/// The answer to INIT, as it goes over the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[allow(missing_docs)]
pub struct Init {
    pub minor: u32,
    pub flags: Features,
    pub max_readahead: u32,
    pub max_background: u16,
    pub congestion_threshold: u16,
    pub max_write: u32,
    pub time_gran: u32,
    pub max_pages: u16,
    pub map_alignment: u16,
    pub max_stack_depth: u32,
    pub request_timeout: u16,
}

impl Default for Init {
    fn default() -> Self {
        Self {
            minor: rawfuse::abi::KERNEL_MINOR_VERSION,
            flags: Features(0),
            max_readahead: 64 << 10,
            max_background: 0,
            congestion_threshold: 0,
            max_write: 64 << 10,
            time_gran: 1,
            max_pages: 0,
            map_alignment: 0,
            max_stack_depth: 0,
            request_timeout: 0,
        }
    }
}

/// One system call. Which of the fields count depends on what it is: see `calls`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// Who does it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub caller: u8,
    /// What.
    pub what: What,
    /// Below the mount point.
    #[serde(default, skip_serializing_if = "is_default")]
    pub path: String,
    /// Another one, or another text.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to: String,
    /// Which of the caller's open files.
    #[serde(default, skip_serializing_if = "is_default")]
    pub file: u8,
    /// Flags, a mode, a command.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flags: u32,
    /// An offset.
    #[serde(default, skip_serializing_if = "is_default")]
    pub at: u64,
    /// A size in bytes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub size: u32,
}

macro_rules! whats {
    ($($what:ident,)*) => {
        /// What a call is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case")]
        #[allow(missing_docs)]
        pub enum What {
            $($what,)*
        }

        impl What {
            /// All there are.
            pub const ALL: &'static [What] = &[$(What::$what,)*];
        }
    };
}

whats! {
    Stat, Lstat, Statx, Fstat, Access, Readlink, Statfs, Mknod, Mkdir, Symlink, Link, Unlink, Rmdir,
    Rename, Chmod, Chown, Utimens, Truncate, Open, Tmpfile, Close, Read, Pread, Write, Pwrite, Lseek,
    Getdents, Fsync, Fdatasync, Syncfs, Fallocate, Ftruncate, Fadvise, CopyFileRange, Sendfile,
    SpliceRead, SpliceWrite, MapRead, MapWrite, Getxattr, Setxattr, Listxattr, Removexattr, Getlk,
    Setlk, Setlkw, Flock, Ioctl, Poll, Handle, DropCaches, Signal,
}

/// What is done about one request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Step {
    /// For requests of this kind only.
    #[serde(skip_serializing_if = "is_default")]
    pub on: Option<Opcode>,
    /// Done before it is answered.
    #[serde(skip_serializing_if = "is_default")]
    pub before: Vec<Deed>,
    /// What is in the answer.
    #[serde(skip_serializing_if = "is_default")]
    pub answer: Answer,
    /// Changes of that.
    #[serde(skip_serializing_if = "is_default")]
    pub edits: Vec<Edit>,
    /// When it is sent.
    #[serde(skip_serializing_if = "is_default")]
    pub when: When,
    /// It is sent twice.
    #[serde(skip_serializing_if = "is_default")]
    pub twice: bool,
    /// How it is sent.
    #[serde(skip_serializing_if = "is_default")]
    pub how: How,
    /// Done when it has been answered.
    #[serde(skip_serializing_if = "is_default")]
    pub after: Vec<Deed>,
}

/// What is in an answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What should be.
    #[default]
    Honest,
    /// An error, as it goes over the wire: those of Linux are negative.
    Error(i32),
    /// These bytes.
    Bytes(Hex),
    /// There is none.
    Never,
}

/// A change of a message, header and all. Where its length changes, the header says so; unless a
/// later change makes it say something else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edit {
    /// The `width` bytes at `at` become those of a number.
    #[allow(missing_docs)]
    Set { at: u32, width: u8, value: u64 },
    /// It ends there.
    Cut(u32),
    /// It is so many bytes longer.
    Grow(u32),
}

/// When an answer is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    /// At once.
    #[default]
    Now,
    /// When so many more requests have come.
    After(u32),
    /// When all else has been done.
    End,
}

/// How a message is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// By `write(2)`.
    #[default]
    Write,
    /// By `writev(2)`, the first part so long.
    Parts(u32),
    /// By `splice(2)` from a pipe with buffers of so many bytes; what is left is in the last one.
    Splice(Vec<u32>),
    /// The same, but `splice(2)` is told to take that many bytes more, or less.
    SpliceOdd(i32),
    /// On the other device, where there is one.
    Clone,
    /// From memory that nobody has touched yet, and of whose end so many bytes are not there.
    Absent(u32),
}

/// Something that a daemon does unasked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Deed {
    /// A notification.
    Notify(Notify),
    /// An answer to a request that there may not be.
    #[allow(missing_docs)]
    Invent { unique: u64, error: i32, bytes: Hex },
    /// Whatever bytes.
    Raw(Hex),
    /// By the control file system: everything ends.
    Abort,
    /// By the control file system: what was read and not answered ends.
    Flush,
    /// By the control file system: what was read and not answered is sent again.
    Resend,
    /// By the control file system.
    MaxBackground(u32),
    /// By the control file system.
    Congestion(u32),
    /// The control file system's `queues` and `latency` are read.
    Look,
    /// A device is cloned.
    Clone,
    /// The cloned device is closed.
    CloseClone,
    /// The device is read to so many bytes.
    Read(u32),
    /// The device is spliced, to a pipe that has room for so many buffers.
    SpliceRead(u32),
    /// A caller gets a signal, and goes on.
    Signal(u8),
    /// A caller is killed.
    Kill(u8),
    /// `umount -f`.
    ForceUnmount,
    /// `mount -o remount`, with these options.
    Remount(String),
    /// So many milliseconds go by.
    Sleep(u8),
}

/// A notification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notify {
    /// Its code.
    pub code: Code,
    /// What follows the header.
    pub body: Hex,
    /// And so many bytes more.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fill: u32,
    /// Changes of all that.
    #[serde(default, skip_serializing_if = "is_default")]
    pub edits: Vec<Edit>,
    /// How it is sent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub how: How,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A line of the text.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Mount(Setup),
    Call(Call),
    Step(Step),
}

impl Input {
    /// The text.
    pub fn text(&self) -> String {
        let setup = [Line::Mount(self.setup.clone())].into_iter();
        let calls = self.calls.iter().cloned().map(Line::Call);
        let steps = self.steps.iter().cloned().map(Line::Step);
        let mut text = String::new();
        for line in setup.chain(calls).chain(steps) {
            // None of these has what JSON has not.
            text += &serde_json::to_string(&line).unwrap_or_default();
            text.push('\n');
        }
        text
    }

    /// What a text says. Empty lines do not count.
    ///
    /// # Errors
    ///
    /// Says which line is wrong, and how.
    pub fn parse(text: &str) -> Result<Self> {
        let mut input = Self::default();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() {
                continue;
            }
            let line = serde_json::from_str(line);
            match line.with_context(|| format!("line {}", number + 1))? {
                Line::Mount(setup) => input.setup = setup,
                Line::Call(call) => input.calls.push(call),
                Line::Step(step) => input.steps.push(step),
            }
        }
        Ok(input)
    }
}

impl Call {
    /// One with nothing special about it.
    pub fn new(what: What) -> Self {
        Self {
            caller: 0,
            what,
            path: String::new(),
            to: String::new(),
            file: 0,
            flags: 0,
            at: 0,
            size: 0,
        }
    }
}
