// SPDX-License-Identifier: GPL-2.0

//! What all operations need of the mount they are on.

use super::{
    init::Features, notify::Sweep, options::Options, poll::PolledFiles, timeout::Timeout, INode,
};
use crate::{
    message::{limits, Connection},
    vfs::{file::LockOwner, periodic::Periodic, random::random, time::Version},
};
use kernel::{
    new_condvar, new_mutex,
    prelude::*,
    sync::{
        atomic::{Atomic, Relaxed},
        Arc, CondVar, Mutex, SetOnce,
    },
};

/// A mounted file system.
pub(crate) struct Mount {
    /// The line to the daemon.
    pub(crate) connection: Arc<Connection>,
    /// The mount's parameters.
    pub(crate) options: Options,
    /// The most pages that could be agreed on when this was mounted.
    pub(super) max_pages_limit: u32,
    features: SetOnce<Features>,
    /// Grows with every change of attributes, so that replies that crossed one can be told.
    attr_version: Atomic<u64>,
    /// Grows when an inode that has links goes, for the same end.
    evictions: Atomic<u64>,
    /// Grows when the daemon says that no name that was looked up before holds any more.
    pub(super) epoch: Version,
    /// What the daemon turned out not to have.
    pub(super) lacks: Lacks,
    pub(super) pending: Arc<Pending>,
    pub(super) polled_files: Arc<PolledFiles>,
    pub(super) timeout: Pin<KBox<Periodic<Timeout>>>,
    pub(super) sweep: SetOnce<Pin<KBox<Periodic<Sweep>>>>,
    owner_key: [u32; 4],
}

/// Operations that the daemon has answered with ENOSYS, and is not asked for again.
#[derive(Default)]
pub(super) struct Lacks {
    pub(super) open: Flag,
    pub(super) opendir: Flag,
    pub(super) flush: Flag,
    pub(super) fsync: Flag,
    pub(super) fsyncdir: Flag,
    pub(super) fallocate: Flag,
    pub(super) lseek: Flag,
    pub(super) copy_file_range: Flag,
    pub(super) copy_file_range_64: Flag,
    pub(super) bmap: Flag,
    pub(super) access: Flag,
    pub(super) statx: Flag,
    pub(super) syncfs: Flag,
    pub(super) getxattr: Flag,
    pub(super) setxattr: Flag,
    pub(super) listxattr: Flag,
    pub(super) removexattr: Flag,
    pub(super) create: Flag,
    pub(super) tmpfile: Flag,
    pub(super) link: Flag,
    pub(super) rename2: Flag,
    pub(super) poll: Flag,
}

/// Something that becomes true, and most often stays so.
pub(super) struct Flag(Atomic<bool>);

impl Default for Flag {
    fn default() -> Self {
        Self(Atomic::new(false))
    }
}

impl Flag {
    pub(super) fn get(&self) -> bool {
        self.0.load(Relaxed)
    }

    pub(super) fn set(&self) {
        self.0.store(true, Relaxed);
    }

    /// Takes it back; whether it was true.
    pub(super) fn take(&self) -> bool {
        self.get() && self.0.xchg(false, Relaxed)
    }
}

impl Mount {
    /// A mount that has not talked to its daemon yet.
    pub(super) fn new(connection: Connection, options: Options) -> Result<Self> {
        let connection = Arc::new(connection, GFP_KERNEL)?;
        Ok(Self {
            timeout: KBox::pin_init(Timeout::new(connection.clone()), GFP_KERNEL)?,
            sweep: SetOnce::new(),
            connection,
            options,
            max_pages_limit: limits::MAX_PAGES_LIMIT.get(),
            features: SetOnce::new(),
            attr_version: Atomic::new(1),
            evictions: Atomic::new(1),
            epoch: Version::first(),
            lacks: Lacks::default(),
            pending: Arc::pin_init(Pending::new(), GFP_KERNEL)?,
            polled_files: Arc::pin_init(PolledFiles::new(), GFP_KERNEL)?,
            owner_key: random(),
        })
    }

    /// The mount of `inode`.
    pub(super) fn of(inode: &INode) -> &Self {
        inode.super_block().data()
    }

    /// What was agreed on in INIT; before, what holds for the oldest daemon.
    pub(super) fn features(&self) -> &Features {
        self.features.as_ref().unwrap_or(&Features::BEFORE_INIT)
    }

    /// Whether the umask of callers is the daemon's to apply.
    pub(super) fn dont_mask(&self) -> bool {
        self.options.dont_mask || self.features().dont_mask
    }

    /// Whether the kernel judges who may do what.
    pub(super) fn default_permissions(&self) -> bool {
        self.default_permissions_with(self.features())
    }

    /// The same once that is agreed on.
    pub(super) fn default_permissions_with(&self, features: &Features) -> bool {
        self.options.default_permissions || features.posix_acl
    }

    /// INIT has succeeded.
    pub(super) fn set_features(&self, features: Features) {
        self.features.populate(features);
    }

    /// INIT has failed: nothing will be asked any more.
    pub(super) fn refuse(&self) {
        self.connection.queue().refuse(ECONNREFUSED);
    }

    /// Whether the daemon has answered INIT well.
    pub(super) fn is_initialized(&self) -> bool {
        self.features.as_ref().is_some()
    }

    /// The version of all attributes: to be taken before they are asked for.
    pub(super) fn attr_version(&self) -> u64 {
        self.attr_version.load(Relaxed)
    }

    /// A version after all that were.
    pub(super) fn next_attr_version(&self) -> u64 {
        self.attr_version.fetch_add(1, kernel::sync::atomic::Full) + 1
    }

    /// How many inodes with links have gone.
    pub(super) fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    /// One more has.
    pub(super) fn count_eviction(&self) {
        self.evictions.add(1, Relaxed);
    }

    /// A number that stands for the owner of locks, and says nothing of the kernel's addresses: the
    /// owner enciphered with XTEA.
    pub(super) fn owner_id(&self, owner: LockOwner) -> u64 {
        const ROUNDS: u32 = 32;
        const DELTA: u32 = 0x9e37_79b9;

        let owner = owner.secret();
        let (mut low, mut high) = (owner as u32, (owner >> 32) as u32);
        let mix = |half: u32| ((half << 4) ^ (half >> 5)).wrapping_add(half);
        let key = |index: u32| self.owner_key[index as usize % self.owner_key.len()];
        let mut sum = 0u32;
        for _ in 0..ROUNDS {
            low = low.wrapping_add(mix(high) ^ sum.wrapping_add(key(sum)));
            sum = sum.wrapping_add(DELTA);
            high = high.wrapping_add(mix(low) ^ sum.wrapping_add(key(sum >> 11)));
        }
        u64::from(high) << 32 | u64::from(low)
    }
}

/// What must end before the superblock may go: requests that nobody waits for, and that hold inodes.
#[pin_data]
pub(super) struct Pending {
    #[pin]
    count: Mutex<usize>,
    #[pin]
    none: CondVar,
}

/// One of them.
pub(super) struct Token(Arc<Pending>);

impl Pending {
    fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            count <- new_mutex!(0, "fuse::Pending"),
            none <- new_condvar!("fuse::Pending"),
        })
    }

    /// Keeps the superblock until the token goes.
    pub(super) fn token(self: &Arc<Self>) -> Token {
        *self.count.lock() += 1;
        Token(self.clone())
    }

    /// Waits until there are no tokens. Sleeps, deaf to signals.
    pub(super) fn wait_for_none(&self) {
        let mut count = self.count.lock();
        while *count > 0 {
            self.none.wait(&mut count);
        }
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        let mut count = self.0.count.lock();
        *count -= 1;
        if *count == 0 {
            self.0.none.notify_all();
        }
    }
}
