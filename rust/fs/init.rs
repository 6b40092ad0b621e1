// SPDX-License-Identifier: GPL-2.0

//! INIT, in which daemon and kernel agree on what they will use.

use super::{
    export::Exports,
    mount::{Mount, Token},
    options::MIN_MAX_READ,
    superblock::Fuse,
    timeout::Timeout,
    SuperBlock,
};
use crate::{
    abi::{self, init_flags, InitIn, InitOut},
    message::{limits, op, Completion, Data, Message, Request, Terms},
    vfs::{
        module_param::Parameter,
        ns::Capability,
        super_block::{Handle, PAGE_SIZE},
    },
};
use kernel::{prelude::*, sync::Arc};
use zerocopy::IntoBytes;

/// What is offered: all that works.
const OFFERED: u64 = init_flags::ASYNC_READ
    | init_flags::ASYNC_DIO
    | init_flags::POSIX_LOCKS
    | init_flags::ATOMIC_O_TRUNC
    | init_flags::EXPORT_SUPPORT
    | init_flags::BIG_WRITES
    | init_flags::DONT_MASK
    | init_flags::WRITEBACK_CACHE
    | init_flags::DIRECT_IO_ALLOW_MMAP
    | init_flags::SPLICE_WRITE
    | init_flags::SPLICE_READ
    | init_flags::SPLICE_MOVE
    | init_flags::EXPLICIT_INVAL_DATA
    | init_flags::FLOCK_LOCKS
    | init_flags::HAS_IOCTL_DIR
    | init_flags::AUTO_INVAL_DATA
    | init_flags::DO_READDIRPLUS
    | init_flags::READDIRPLUS_AUTO
    | init_flags::NO_OPEN_SUPPORT
    | init_flags::PARALLEL_DIROPS
    | init_flags::HANDLE_KILLPRIV
    | init_flags::HANDLE_KILLPRIV_V2
    | init_flags::POSIX_ACL
    | init_flags::SETXATTR_EXT
    | init_flags::ABORT_ERROR
    | init_flags::MAX_PAGES
    | init_flags::CACHE_SYMLINKS
    | init_flags::NO_OPENDIR_SUPPORT
    | init_flags::SECURITY_CTX
    | init_flags::CREATE_SUPP_GROUP
    | init_flags::HAS_EXPIRE_ONLY
    | init_flags::NO_EXPORT_SUPPORT
    | init_flags::ALLOW_IDMAP
    | init_flags::HAS_RESEND
    | init_flags::REQUEST_TIMEOUT
    | init_flags::INIT_EXT;

/// Pages in a request, unless agreed on otherwise.
const DEFAULT_MAX_PAGES: u32 = 32;
/// The longest name that fits a request of one page with all else, in bytes.
const SHORT_NAME_MAX: usize = 1024;
/// The longest name there can be: a path without its end, in bytes.
const LONG_NAME_MAX: usize = 4095;
/// The least that every daemon can take in one WRITE, in bytes.
const MIN_MAX_WRITE: u32 = 4096;

/// When reading a directory looks its entries up.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Readdirplus {
    Always,
    /// At the beginning of the directory, and while those who read it look its entries up.
    Auto,
}

/// What was agreed on.
#[derive(Clone, Copy)]
pub(crate) struct Features {
    /// READs for readahead go out at once, many at a time.
    pub(super) async_read: bool,
    /// So do READs and WRITEs of files that are open with `O_DIRECT`.
    pub(super) async_dio: bool,
    /// The daemon keeps the locks of fcntl(2).
    pub(super) posix_locks: bool,
    /// The daemon keeps the locks of flock(2).
    pub(super) flock_locks: bool,
    /// OPEN truncates.
    pub(super) atomic_o_trunc: bool,
    /// The daemon knows "." and "..", by which nodes that were forgotten are looked up.
    pub(super) export_support: bool,
    /// A WRITE may carry more than a page.
    pub(super) big_writes: bool,
    /// The umask of callers is the daemon's to apply.
    pub(super) dont_mask: bool,
    /// What is cached of a file goes when its size or time of modification has changed.
    pub(super) auto_inval_data: bool,
    /// What is cached of a file goes only when the daemon says so, though not what is behind the end.
    pub(super) explicit_inval_data: bool,
    /// The daemon clears the set-user-ID and set-group-ID bits by itself.
    handle_killpriv: bool,
    /// It does so when it is told to.
    pub(super) handle_killpriv_v2: bool,
    /// The kernel caches access control lists, and judges by them.
    pub(super) posix_acl: bool,
    /// SETXATTR has its long form.
    pub(super) setxattr_ext: bool,
    /// What is written to the page cache goes to the daemon later: until then, the kernel knows
    /// best what size and times a regular file has.
    pub(super) writeback_cache: bool,
    /// Files that are not to be cached may be mapped shared.
    pub(super) direct_io_allow_mmap: bool,
    /// What is made comes with the label that security modules want it to have.
    pub(super) security_ctx: bool,
    /// It comes with the directory's group, where that is a supplementary one of the caller's.
    pub(super) create_supp_group: bool,
    /// What symbolic links say is cached until the daemon says that it has changed.
    pub(super) cache_symlinks: bool,
    /// Reading a directory looks its entries up, too: always, or when that seems to be of use.
    pub(super) readdirplus: Option<Readdirplus>,
    /// A directory may be looked up and read in by several at once.
    pub(super) parallel_dirops: bool,
    /// Mounts may map ids.
    id_maps: bool,
    /// The most pages in a request.
    pub(super) max_pages: u32,
    /// The longest name that can be asked for, in bytes.
    pub(super) name_max: usize,
}

impl Features {
    /// Before INIT was answered.
    pub(super) const BEFORE_INIT: Self = Self {
        async_read: false,
        async_dio: false,
        posix_locks: false,
        flock_locks: false,
        atomic_o_trunc: false,
        export_support: false,
        big_writes: false,
        dont_mask: false,
        auto_inval_data: false,
        explicit_inval_data: false,
        handle_killpriv: false,
        handle_killpriv_v2: false,
        posix_acl: false,
        setxattr_ext: false,
        writeback_cache: false,
        direct_io_allow_mmap: false,
        security_ctx: false,
        create_supp_group: false,
        cache_symlinks: false,
        readdirplus: None,
        parallel_dirops: false,
        id_maps: false,
        max_pages: DEFAULT_MAX_PAGES,
        name_max: SHORT_NAME_MAX,
    };

    fn new(reply: &InitOut, max_pages_limit: u32) -> Self {
        if reply.minor < 6 {
            return Self::BEFORE_INIT;
        }
        let flags = reply.all_flags() & OFFERED;
        let has = |flag| flags & flag != 0;
        let max_pages = if has(init_flags::MAX_PAGES) {
            u32::from(reply.max_pages).max(1).min(max_pages_limit)
        } else {
            DEFAULT_MAX_PAGES
        };
        Self {
            async_read: has(init_flags::ASYNC_READ),
            async_dio: has(init_flags::ASYNC_DIO),
            posix_locks: has(init_flags::POSIX_LOCKS),
            flock_locks: has(if reply.minor < 17 {
                init_flags::POSIX_LOCKS
            } else {
                init_flags::FLOCK_LOCKS
            }),
            atomic_o_trunc: has(init_flags::ATOMIC_O_TRUNC),
            export_support: reply.minor >= 9 && has(init_flags::EXPORT_SUPPORT),
            big_writes: has(init_flags::BIG_WRITES),
            dont_mask: has(init_flags::DONT_MASK),
            auto_inval_data: has(init_flags::AUTO_INVAL_DATA),
            explicit_inval_data: has(init_flags::EXPLICIT_INVAL_DATA)
                && !has(init_flags::AUTO_INVAL_DATA),
            handle_killpriv: has(init_flags::HANDLE_KILLPRIV),
            handle_killpriv_v2: has(init_flags::HANDLE_KILLPRIV_V2),
            posix_acl: has(init_flags::POSIX_ACL),
            setxattr_ext: has(init_flags::SETXATTR_EXT),
            writeback_cache: has(init_flags::WRITEBACK_CACHE),
            direct_io_allow_mmap: has(init_flags::DIRECT_IO_ALLOW_MMAP),
            security_ctx: has(init_flags::SECURITY_CTX),
            create_supp_group: has(init_flags::CREATE_SUPP_GROUP),
            cache_symlinks: has(init_flags::CACHE_SYMLINKS),
            readdirplus: has(init_flags::DO_READDIRPLUS).then(|| {
                if has(init_flags::READDIRPLUS_AUTO) {
                    Readdirplus::Auto
                } else {
                    Readdirplus::Always
                }
            }),
            parallel_dirops: has(init_flags::PARALLEL_DIROPS),
            id_maps: has(init_flags::ALLOW_IDMAP),
            max_pages,
            // A daemon that knows of pages has room for more than one beside a request.
            name_max: if has(init_flags::MAX_PAGES) && max_pages > 1 {
                LONG_NAME_MAX
            } else {
                SHORT_NAME_MAX
            },
        }
    }
}

impl Features {
    /// Whether the daemon clears the set-user-ID and set-group-ID bits.
    pub(super) fn handles_killpriv(&self) -> bool {
        self.handle_killpriv || self.handle_killpriv_v2
    }
}

impl Mount {
    /// The most bytes of a READ.
    pub(super) fn max_read(&self) -> usize {
        let most = self.features().max_pages as usize * PAGE_SIZE;
        self.options.max_read.map_or(most, |max_read| {
            most.min(max_read.max(MIN_MAX_READ) as usize)
        })
    }
}

/// Sends INIT. The reply is taken when it comes; until then all requests wait. With `wait`, this
/// waits for it too, until a fatal signal comes: ENOTCONN when nothing is agreed on. Other errors as
/// [`Connection::submit`](crate::message::Connection::submit).
pub(super) fn send(sb: &SuperBlock, wait: bool) -> Result {
    let mount = sb.data();
    let arguments = InitIn {
        major: abi::KERNEL_VERSION,
        minor: abi::KERNEL_MINOR_VERSION,
        max_readahead: u32::try_from(sb.readahead_limit()).unwrap_or(u32::MAX),
        flags: OFFERED as u32,
        flags2: (OFFERED >> 32) as u32,
        ..Default::default()
    };
    let request = Request::<op::Init>::new(&mount.connection, 0, &arguments)?
        .reply_bytes(size_of::<InitOut>())?
        .force();
    if wait {
        let replied = mount.connection.call(request);
        let reply = replied.and_then(|replied| read(replied.bytes()));
        return reply
            .and_then(|reply| settle(sb, &reply))
            .map_err(|_| ENOTCONN);
    }
    let answered = Arc::new(
        Answered {
            superblock: sb.handle(),
            _token: mount.pending.token(),
        },
        GFP_KERNEL,
    )?;
    mount.connection.submit(request.then(answered))
}

/// Takes the reply to INIT.
struct Answered {
    superblock: Arc<Handle<Fuse>>,
    _token: Token,
}

impl Completion for Answered {
    fn ended(&self, message: &mut Message, outcome: Result) {
        // The superblock is gone, or going: then nobody waits for the outcome either.
        self.superblock.with(|sb| {
            if outcome.is_err_and(|err| err == ECONNABORTED || err == ENOTCONN) {
                return;
            }
            let bytes = match &message.reply().data {
                Data::Bytes(bytes) => bytes.as_slice(),
                _ => &[],
            };
            let settled = outcome
                .and_then(|()| read(bytes))
                .and_then(|reply| settle(sb, &reply));
            if settled.is_err() {
                sb.data().refuse();
            }
        });
    }
}

/// The structure that the daemon sent; old ones send less of it, and the rest is zeroes.
fn read(bytes: &[u8]) -> Result<InitOut> {
    let mut out = InitOut::default();
    let len = bytes.len().min(size_of::<InitOut>());
    out.as_mut_bytes()[..len].copy_from_slice(&bytes[..len]);
    if out.major == abi::KERNEL_VERSION {
        Ok(out)
    } else {
        Err(EPROTO)
    }
}

/// Puts what was agreed on to use, and lets requests through. `EPROTO` when it does not go together.
fn settle(sb: &SuperBlock, reply: &InitOut) -> Result {
    let mount = sb.data();
    let features = Features::new(reply, mount.max_pages_limit);
    if features.id_maps {
        // A daemon cannot judge by ids that it is not told.
        if !mount.default_permissions_with(&features) {
            return Err(EPROTO);
        }
        sb.allow_id_maps();
    }
    mount.set_features(features);

    if reply.minor >= 13 {
        limit_background(mount, reply);
    }
    let asked_for = match reply.all_flags() & init_flags::REQUEST_TIMEOUT {
        0 => 0,
        _ if reply.minor < 6 => 0,
        _ => reply.request_timeout,
    };
    Timeout::start(&mount.timeout, asked_for);
    let readahead = if reply.minor < 6 {
        mount.max_read()
    } else {
        reply.max_readahead as usize
    };
    sb.limit_io(readahead, features.max_pages as usize);
    sb.set_time_granularity(match reply.time_gran {
        granularity @ 1..=1_000_000_000 if reply.minor >= 6 => granularity,
        // The VFS would keep times to the second.
        _ => 1,
    });
    if reply.minor >= 6 && reply.all_flags() & init_flags::NO_EXPORT_SUPPORT != 0 {
        sb.end_export::<Exports>();
    }
    let max_write = if reply.minor < 5 {
        MIN_MAX_WRITE
    } else {
        reply.max_write.max(MIN_MAX_WRITE)
    };
    // A daemon that dies before takes the mount with it: mount(2) may wait for this very reply.
    if mount.options.recover {
        mount.connection.queue().recover();
    }
    mount.connection.start(Terms {
        minor: reply.minor.min(abi::KERNEL_MINOR_VERSION),
        max_write,
        abort_error: reply.all_flags() & OFFERED & init_flags::ABORT_ERROR != 0,
        id_maps: features.id_maps,
    });
    Ok(())
}

/// Sets the limits that the daemon asks for; one without privileges does not get all it wants.
fn limit_background(mount: &Mount, reply: &InitOut) {
    let privileged = Capability::SYS_ADMIN.held();
    let limited = |asked_for: u16, most: &Parameter| {
        let most = if privileged { u32::MAX } else { most.get() };
        u32::from(asked_for).min(most)
    };
    let queue = mount.connection.queue();
    if reply.max_background != 0 {
        queue.set_max_background(limited(reply.max_background, &limits::MAX_USER_BGREQ));
    }
    if reply.congestion_threshold != 0 {
        let threshold = limited(reply.congestion_threshold, &limits::MAX_USER_CONGTHRESH);
        queue.set_congestion_threshold(threshold);
    }
}
