// SPDX-License-Identifier: GPL-2.0

//! The parameters of a mount, and who may mount.

use super::superblock::Fuse;
use crate::{
    message::Endpoint,
    vfs::{
        context::{FsContext, OwnedStr, Spec, Value},
        inode::FileType,
        ns::{Gid, Uid, UserNamespace},
    },
};
use kernel::{fs::File, prelude::*, sync::Arc};

/// The least that every daemon can give in one READ, in bytes.
pub(super) const MIN_MAX_READ: u32 = 4096;

/// The size of a block of a block device, unless another is given.
pub(super) const DEFAULT_BLOCK_SIZE: u32 = 512;

const SOURCE: u8 = 0;
const SUBTYPE: u8 = 1;
const FD: u8 = 2;
const ROOTMODE: u8 = 3;
const USER_ID: u8 = 4;
const GROUP_ID: u8 = 5;
const DEFAULT_PERMISSIONS: u8 = 6;
const ALLOW_OTHER: u8 = 7;
const MAX_READ: u8 = 8;
const BLKSIZE: u8 = 9;
const RECOVER: u8 = 10;

/// The parameters, by their names in mount(2).
pub(super) const PARAMETERS: &[Spec] = &[
    Spec::string(c"source", SOURCE),
    Spec::string(c"subtype", SUBTYPE),
    Spec::fd(c"fd", FD),
    Spec::octal(c"rootmode", ROOTMODE),
    Spec::uid(c"user_id", USER_ID),
    Spec::gid(c"group_id", GROUP_ID),
    Spec::flag(c"default_permissions", DEFAULT_PERMISSIONS),
    Spec::flag(c"allow_other", ALLOW_OTHER),
    Spec::u32(c"max_read", MAX_READ),
    Spec::u32(c"blksize", BLKSIZE),
    // Not in Linux.
    Spec::flag(c"recover", RECOVER),
    Spec::END,
];

/// What of a mount has been given so far.
pub(crate) struct Context {
    pub(super) endpoint: Option<Arc<Endpoint>>,
    pub(super) subtype: Option<OwnedStr>,
    rootmode: Option<u32>,
    user_id: Option<Uid>,
    group_id: Option<Gid>,
    default_permissions: bool,
    allow_other: bool,
    max_read: Option<u32>,
    recover: bool,
    pub(super) block_size: u32,
    pub(super) on_block_device: bool,
    allow_sys_admin: bool,
}

/// The parameters of a mount, complete.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// The type and permissions of the root.
    pub(super) rootmode: u32,
    /// Who mounted it.
    pub(crate) user_id: Uid,
    /// The group of who did.
    pub(crate) group_id: Gid,
    /// The kernel checks permissions, by owner and mode.
    pub(super) default_permissions: bool,
    /// Others than the one who mounted it may enter.
    pub(super) allow_other: bool,
    /// The umask of callers is the daemon's to apply.
    pub(super) dont_mask: bool,
    /// The most bytes of a READ, if that was said.
    pub(super) max_read: Option<u32>,
    /// The mount outlives its daemon.
    pub(super) recover: bool,
    /// Unmounting waits for the daemon to say goodbye; closing a file waits for nothing either way.
    pub(super) destroy: bool,
    /// Administrators of the system may enter.
    pub(super) allow_sys_admin: bool,
}

impl Options {
    /// What `/proc/mounts` says of `max_read`, if anything.
    pub(super) fn shown_max_read(&self) -> Option<u32> {
        self.max_read
            .filter(|max_read| *max_read != u32::MAX)
            .map(|max_read| max_read.max(MIN_MAX_READ))
    }
}

impl Context {
    /// No parameters yet.
    pub(super) fn new(fc: &FsContext<Fuse>) -> Self {
        Self {
            endpoint: None,
            subtype: None,
            rootmode: None,
            user_id: None,
            group_id: None,
            default_permissions: false,
            allow_other: false,
            max_read: None,
            recover: false,
            block_size: DEFAULT_BLOCK_SIZE,
            on_block_device: fc.requires_device(),
            allow_sys_admin: fc.shared().allow_sys_admin_access,
        }
    }

    /// Takes a parameter.
    pub(super) fn set(&mut self, fc: &FsContext<Fuse>, index: u8, value: Value) -> Result {
        match (index, value) {
            (SOURCE, Value::String(source)) => fc.set_source(source)?,
            (SUBTYPE, Value::String(subtype)) => {
                if self.subtype.is_some() {
                    return Err(fc.invalid(c"Multiple subtypes specified"));
                }
                self.subtype = Some(subtype);
            }
            (FD, Value::File(file)) => self.set_device(fc, &file)?,
            (ROOTMODE, Value::U32(mode)) => {
                if FileType::of_mode(mode).is_none() {
                    return Err(fc.invalid(c"Invalid rootmode"));
                }
                self.rootmode = Some(mode);
            }
            (USER_ID, Value::Uid(uid)) => {
                if uid.in_ns(fc.user_ns()).is_none() {
                    return Err(fc.invalid(c"Invalid user_id"));
                }
                self.user_id = Some(uid);
            }
            (GROUP_ID, Value::Gid(gid)) => {
                if gid.in_ns(fc.user_ns()).is_none() {
                    return Err(fc.invalid(c"Invalid group_id"));
                }
                self.group_id = Some(gid);
            }
            (DEFAULT_PERMISSIONS, Value::Flag) => self.default_permissions = true,
            (ALLOW_OTHER, Value::Flag) => self.allow_other = true,
            (RECOVER, Value::Flag) => self.recover = true,
            (MAX_READ, Value::U32(max_read)) => self.max_read = Some(max_read),
            (BLKSIZE, Value::U32(block_size)) => {
                if !self.on_block_device {
                    return Err(fc.invalid(c"blksize only supported for fuseblk"));
                }
                self.block_size = block_size;
            }
            _ => return Err(EINVAL),
        }
        Ok(())
    }

    fn set_device(&mut self, fc: &FsContext<Fuse>, file: &File) -> Result {
        if self.endpoint.is_some() {
            return Err(fc.invalid(c"Multiple fd specified"));
        }
        let endpoint = (fc.shared().endpoint)(file);
        let endpoint = endpoint.ok_or_else(|| fc.invalid(c"fd is not a fuse device"))?;
        // Who is root in a namespace only must not mount over a device that was opened by someone
        // with more rights and then handed down.
        if UserNamespace::of_opener(file) != fc.user_ns() {
            return Err(fc.invalid(c"wrong user namespace for fuse device"));
        }
        self.endpoint = Some(endpoint);
        Ok(())
    }

    /// All that a mount needs. `EINVAL` when something is missing.
    pub(super) fn complete(&self) -> Result<Options> {
        Ok(Options {
            rootmode: self.rootmode.ok_or(EINVAL)?,
            user_id: self.user_id.ok_or(EINVAL)?,
            group_id: self.group_id.ok_or(EINVAL)?,
            default_permissions: self.default_permissions,
            allow_other: self.allow_other,
            dont_mask: false,
            max_read: self.max_read,
            recover: self.recover,
            destroy: self.on_block_device,
            allow_sys_admin: self.allow_sys_admin,
        })
    }
}
