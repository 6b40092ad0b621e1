// SPDX-License-Identifier: GPL-2.0

//! Changing attributes: chmod(2), chown(2), utimensat(2), truncate(2).

use super::{
    attr,
    inode::{self, is_for, Asked},
    mount::{Mount, Token},
    open::{OpenFile, RegularFile},
    permission::allow_current_process,
    writeback, DEntry, INode, OwnedINode,
};
use crate::{
    abi::{fattr, SetattrIn},
    message::{op, Completion, Message, Request},
    sys,
    vfs::{
        file::LockOwner,
        inode_ops::IdMap,
        ns::Capability,
        setattr::{Changes, NewTime},
        time::Ticks,
    },
};
use kernel::{
    prelude::*,
    sync::{Arc, ArcBorrow},
};

const SET_UID: u32 = 0o4000;
const SET_GID: u32 = 0o2000;
const GROUP_EXECUTES: u32 = 0o010;

/// See [`INodeOperations::setattr`](crate::vfs::inode_ops::INodeOperations::setattr).
pub(super) fn setattr(id_map: IdMap<'_>, dentry: &DEntry, changes: &mut Changes) -> Result {
    let inode = dentry.inode().ok_or(ENOENT)?;
    let mount = Mount::of(inode);
    inode.data().check()?;
    if !allow_current_process(mount) {
        return Err(EACCES);
    }
    if changes.clears_set_ids() {
        changes.keep_mode();
        if !mount.features().handles_killpriv() {
            clear_set_ids(inode, changes)?;
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    change(id_map, inode, dentry, changes)?;
    if mount.features().posix_acl {
        // The daemon may have changed them with the mode.
        inode.forget_acls();
    }
    if inode.is_directory() && changes.mode().is_some() {
        // Who may look names up in it may have changed.
        dentry.expire();
    }
    Ok(())
}

/// Takes the set-user-ID and set-group-ID bits out of the mode that the daemon has.
fn clear_set_ids(inode: &INode, changes: &mut Changes) -> Result {
    attr::fetch(inode, changes.file::<RegularFile>(), |_| ())?;
    let mode = inode.mode();
    let mut cleared = mode & !SET_UID;
    if mode & GROUP_EXECUTES != 0 {
        cleared &= !SET_GID;
    }
    if cleared != mode {
        changes.set_mode(cleared);
    }
    Ok(())
}

/// Makes the changes that the running task may make.
fn change(id_map: IdMap<'_>, inode: &INode, dentry: &DEntry, changes: &mut Changes) -> Result {
    let mount = Mount::of(inode);
    if !mount.default_permissions() {
        changes.force();
    }
    changes.prepare(id_map, dentry)?;
    if changes.size().is_some() && !inode.is_regular() {
        return Err(EIO);
    }
    if changes.is_open() && mount.features().atomic_o_trunc {
        // OPEN has truncated the file.
        inode.lock().set_size(0);
        inode.truncate_page_cache(0);
        return Ok(());
    }
    let file = changes.file::<RegularFile>().map(Arc::from);
    send(id_map, inode, file, changes)
}

/// Cuts the file off where it has ended so far, as far as the kernel knows: a write behind that has
/// failed, but the daemon may have taken some of it. The contents are locked exclusively. Who is being
/// killed does not know what became of the write, which may yet succeed.
pub(super) fn cut_off_rest(inode: &INode, file: ArcBorrow<'_, OpenFile>) {
    if sys::is_dying() {
        return;
    }
    let mut changes = Changes::to_size(inode.size());
    // The write has an error of its own.
    let _ = send(IdMap::none(), inode, Some(file.into()), &mut changes);
}

/// Has the daemon make the changes, by way of `file` if there is one, and takes its attributes.
fn send(
    id_map: IdMap<'_>,
    inode: &INode,
    file: Option<Arc<OpenFile>>,
    changes: &mut Changes,
) -> Result {
    let (node, mount) = (inode.data(), Mount::of(inode));
    let size = changes.size();
    let ahead = inode::is_ahead(inode);
    if ahead && (changes.mode().is_some() || changes.changes_owner() || changes.chooses_times()) {
        // What is written later would change them again, or no longer be allowed.
        inode.write_now()?;
        writeback::wait(inode);
    }
    let held = size.map(|_| writeback::hold(inode));
    let unsettled = size.map(|_| node.unsettle_size());
    if ahead && size.is_some_and(|size| size != inode.size()) {
        changes.touch();
    }

    let arguments = arguments(id_map, inode, file.as_deref(), changes, ahead);
    let late = Arc::new(
        Late {
            _file: file,
            inode: inode.grab().ok_or(ESTALE)?,
            _token: mount.pending.token(),
        },
        GFP_KERNEL,
    )?;
    let asked = Asked::known(mount);
    let request = Request::<op::Setattr>::new(&mount.connection, node.nodeid(), &arguments)?;
    let out = match mount.connection.call(request.then(late)) {
        Err(err) if err == EINTR => {
            inode::attributes_changed(inode);
            return Err(err);
        }
        reply => *reply?.out()?,
    };
    if !is_for(inode, &out.attr) {
        node.make_bad();
        return Err(EIO);
    }
    let until = Ticks::after(out.attr_valid, out.attr_valid_nsec);
    inode::changed(inode, &out.attr, until, asked, changes, held);
    drop(unsettled);
    Ok(())
}

/// What the daemon is asked to change.
fn arguments(
    id_map: IdMap<'_>,
    inode: &INode,
    file: Option<&OpenFile>,
    changes: &Changes,
    ahead: bool,
) -> SetattrIn {
    let mount = Mount::of(inode);
    let users = mount.connection.users();
    let mut arguments = SetattrIn::default();
    let mut valid = 0;
    if let Some(mode) = changes.mode() {
        valid |= fattr::MODE;
        arguments.mode = mode;
    }
    // The VFS has refused who has no number in the daemon's user namespace.
    if let Some(uid) = changes.uid(id_map, users) {
        valid |= fattr::UID;
        arguments.uid = uid.in_ns(users).unwrap_or(u32::MAX);
    }
    if let Some(gid) = changes.gid(id_map, users) {
        valid |= fattr::GID;
        arguments.gid = gid.in_ns(users).unwrap_or(u32::MAX);
    }
    if let Some(size) = changes.size() {
        valid |= fattr::SIZE | fattr::LOCKOWNER;
        arguments.size = size;
        arguments.lock_owner = mount.owner_id(LockOwner::current());
    }
    if let Some(atime) = changes.atime() {
        valid |= fattr::ATIME | if atime.is_now { fattr::ATIME_NOW } else { 0 };
        (arguments.atime, arguments.atimensec) = parts(atime);
    }
    let file = file.filter(|_| !changes.is_open());
    let truncates_open = changes.size().is_some() && (file.is_some() || changes.is_open());
    if let Some(mtime) = changes.mtime() {
        // A daemon that truncates a file it has open sets the time by itself.
        if !mtime.is_now || ahead || !truncates_open {
            let is_now = mtime.is_now && !ahead;
            valid |= fattr::MTIME | if is_now { fattr::MTIME_NOW } else { 0 };
            (arguments.mtime, arguments.mtimensec) = parts(mtime);
        }
    }
    if let (Some(ctime), true) = (changes.ctime(), ahead) {
        valid |= fattr::CTIME;
        (arguments.ctime, arguments.ctimensec) = parts(ctime);
    }
    if let Some(file) = file {
        valid |= fattr::FH;
        arguments.fh = file.handle();
    }
    if mount.features().handle_killpriv_v2 && loses_set_ids(inode, changes) {
        valid |= fattr::KILL_SUIDGID;
    }
    arguments.valid = valid;
    arguments
}

/// Whether the changes take the set-user-ID and set-group-ID bits.
fn loses_set_ids(inode: &INode, changes: &Changes) -> bool {
    let by_owner = changes.changes_owner() && !inode.is_directory();
    by_owner || changes.size().is_some() && !Capability::FSETID.held()
}

/// A time as the wire has it.
fn parts(NewTime { time, .. }: NewTime) -> (u64, u32) {
    // CAST: The wire has it unsigned, but means signed.
    (time.seconds as u64, time.nanoseconds)
}

/// Told of the end of a SETATTR whose caller was killed.
struct Late {
    /// The daemon keeps it open until then.
    _file: Option<Arc<OpenFile>>,
    // Goes before the token, which lets the superblock go.
    inode: OwnedINode,
    _token: Token,
}

impl Completion for Late {
    fn ended(&self, _message: &mut Message, _outcome: Result) {
        inode::attributes_changed(&self.inode);
    }
}
