// SPDX-License-Identifier: GPL-2.0

//! User namespaces.
//!
//! C headers: [`include/linux/user_namespace.h`](srctree/include/linux/user_namespace.h)

use crate::bindings;
use core::ptr;
use kernel::{
    fs::File,
    pid_namespace::PidNamespace,
    prelude::*,
    sync::{aref::AlwaysRefCounted, rcu},
    task::{Kuid, Task},
    types::Opaque,
};

/// A user namespace: which user and group ids mean what, and who has which capability.
///
/// # Invariants
///
/// Instances are reference-counted by the C side.
#[repr(transparent)]
pub(crate) struct UserNamespace(Opaque<bindings::user_namespace>);

// SAFETY: A user namespace belongs to no thread; its count may be dropped anywhere.
unsafe impl Send for UserNamespace {}
// SAFETY: What the methods read is either constant or synchronised by the C side.
unsafe impl Sync for UserNamespace {}

// SAFETY: `get_user_ns` and `put_user_ns` count references, and the type invariant says that every
// instance is counted.
unsafe impl AlwaysRefCounted for UserNamespace {
    fn inc_ref(&self) {
        // SAFETY: A shared reference implies a count above zero.
        unsafe { bindings::get_user_ns(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: ptr::NonNull<Self>) {
        // SAFETY: The caller gives up a reference of its own.
        unsafe { bindings::put_user_ns(obj.cast().as_ptr()) };
    }
}

impl UserNamespace {
    /// The namespace behind a C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a user namespace that keeps a reference for all of `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::user_namespace) -> &'a Self {
        // SAFETY: By the function's contract; the type is transparent.
        unsafe { &*ptr.cast() }
    }

    /// The C pointer.
    pub(crate) fn as_ptr(&self) -> *mut bindings::user_namespace {
        self.0.get()
    }

    /// The namespace of whoever opened `file`.
    pub(crate) fn of_opener(file: &File) -> &Self {
        // SAFETY: `f_cred` is constant and lives as long as the file, its namespace as long as it.
        unsafe { Self::from_raw((*(*file.as_ptr()).f_cred).user_ns) }
    }

    /// Whether the running task is in this namespace or in one below it.
    pub(crate) fn contains_current(&self) -> bool {
        // SAFETY: The pointer is valid by the type invariant.
        unsafe { bindings::current_in_userns(self.as_ptr()) }
    }

    /// Whether this is the first namespace of the system.
    pub(crate) fn is_initial(&self) -> bool {
        ptr::eq(self.as_ptr(), &raw mut bindings::init_user_ns)
    }

    /// The user that `uid` names here; one that is nobody when none does.
    pub(crate) fn uid(&self, uid: u32) -> Uid {
        // SAFETY: The pointer is valid by the type invariant.
        Uid(unsafe { bindings::make_kuid(self.as_ptr(), uid) })
    }

    /// The group that `gid` names here; one that is nobody when none does.
    pub(crate) fn gid(&self, gid: u32) -> Gid {
        // SAFETY: The pointer is valid by the type invariant.
        Gid(unsafe { bindings::make_kgid(self.as_ptr(), gid) })
    }
}

impl PartialEq for UserNamespace {
    fn eq(&self, other: &Self) -> bool {
        ptr::eq(self, other)
    }
}

/// A user, whatever number a namespace gives it.
#[derive(Clone, Copy)]
pub(crate) struct Uid(pub(super) bindings::kuid_t);

/// A group, whatever number a namespace gives it.
#[derive(Clone, Copy)]
pub(crate) struct Gid(pub(super) bindings::kgid_t);

/// The group number that stands for no group.
const NO_ID: u32 = u32::MAX;

impl Uid {
    /// The file system user of the running task.
    pub(crate) fn current_fsuid() -> Self {
        // SAFETY: Reads the running task's credentials.
        Self(unsafe { bindings::current_fsuid() })
    }

    /// The number that `ns` gives the user, or `None` when it has none.
    pub(crate) fn in_ns(self, ns: &UserNamespace) -> Option<u32> {
        // SAFETY: The pointer is valid by the namespace's type invariant.
        let uid = unsafe { bindings::from_kuid(ns.as_ptr(), self.0) };
        (uid != NO_ID).then_some(uid)
    }

    /// The number that `ns` gives the user, or the overflow number (65534 unless set) when none.
    pub(crate) fn in_ns_munged(self, ns: &UserNamespace) -> u32 {
        // SAFETY: The pointer is valid by the namespace's type invariant.
        unsafe { bindings::from_kuid_munged(ns.as_ptr(), self.0) }
    }
}

/// Whether the running task is `uid` and `gid` in every respect: real, effective, and saved.
pub(crate) fn current_is_wholly(uid: Uid, gid: Gid) -> bool {
    // SAFETY: Reads the running task's credentials.
    unsafe { bindings::current_is_wholly(uid.0, gid.0) }
}

impl PartialEq for Uid {
    fn eq(&self, other: &Self) -> bool {
        self.0.val == other.0.val
    }
}

impl PartialEq<Kuid> for Uid {
    fn eq(&self, other: &Kuid) -> bool {
        self.0.val == other.into_raw().val
    }
}

impl Gid {
    /// The file system group of the running task.
    pub(crate) fn current_fsgid() -> Self {
        // SAFETY: Reads the running task's credentials.
        Self(unsafe { bindings::current_fsgid() })
    }

    /// The number that `ns` gives the group, or `None` when it has none.
    pub(crate) fn in_ns(self, ns: &UserNamespace) -> Option<u32> {
        // SAFETY: The pointer is valid by the namespace's type invariant.
        let gid = unsafe { bindings::from_kgid(ns.as_ptr(), self.0) };
        (gid != NO_ID).then_some(gid)
    }

    /// The number that `ns` gives the group, or the overflow number (65534 unless set) when none.
    pub(crate) fn in_ns_munged(self, ns: &UserNamespace) -> u32 {
        // SAFETY: The pointer is valid by the namespace's type invariant.
        unsafe { bindings::from_kgid_munged(ns.as_ptr(), self.0) }
    }
}

impl PartialEq for Gid {
    fn eq(&self, other: &Self) -> bool {
        self.0.val == other.0.val
    }
}

/// A capability, by its number in `uapi/linux/capability.h`.
#[derive(Clone, Copy)]
pub(crate) struct Capability(u32);

impl Capability {
    /// Most administration.
    pub(crate) const SYS_ADMIN: Self = Self(bindings::CAP_SYS_ADMIN);
    /// Keeping the set-user-ID and set-group-ID bits of files that are changed.
    pub(crate) const FSETID: Self = Self(bindings::CAP_FSETID);

    /// Whether the running task has the capability in `ns`.
    pub(crate) fn held_in(self, ns: &UserNamespace) -> bool {
        // SAFETY: The namespace is valid by its type invariant; may write an audit record.
        unsafe { bindings::ns_capable(ns.as_ptr(), self.0 as c_int) }
    }

    /// Whether the running task has the capability over the whole system.
    pub(crate) fn held(self) -> bool {
        // SAFETY: No requirements; may write an audit record.
        unsafe { bindings::capable(self.0 as c_int) }
    }
}

/// The number in the initial pid namespace of the process that has the number `pid` in `pids`; 0 when
/// there is none.
pub(crate) fn global_pid(pid: u32, pids: &PidNamespace) -> i32 {
    let _rcu = rcu::read_lock();
    // SAFETY: The namespaces are valid, and RCU keeps what is found. CAST: What is no number of a
    // process is not found.
    unsafe {
        let pid = bindings::find_pid_ns(pid as c_int, pids.as_ptr());
        bindings::pid_nr_ns(pid, &raw mut bindings::init_pid_ns)
    }
}

/// The number of `task` in the pid namespace `pids`; 0 when it is not in it.
pub(crate) fn pid_in(task: &Task, pids: &PidNamespace) -> i32 {
    // SAFETY: Both are valid by their type invariants.
    unsafe { bindings::task_pid_nr_ns(task.as_ptr(), pids.as_ptr()) }
}
