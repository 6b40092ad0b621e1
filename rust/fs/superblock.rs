// SPDX-License-Identifier: GPL-2.0

//! A mounted file system, from mount(2) to umount(2).

use super::{
    export::Exports,
    init,
    inode::{self, Node},
    lookup::{self, Entry},
    notify,
    options::{Context, DEFAULT_BLOCK_SIZE, PARAMETERS},
    permission::allow_current_process,
    writeback,
    xattr::XAttrs,
    DEntry, INode, Mount, OwnedINode, Settings, SuperBlock,
};
use crate::{
    abi::{SyncfsIn, ROOT_ID},
    message::{op, Caller, Connection, Request},
    vfs::{
        context::{FsContext, Spec, Value},
        dentry::LookupFlags,
        filesystem::{FileSystem, Tree},
        ns::UserNamespace,
        super_block::{InternalFlags, NewSuperBlock, StatFs},
    },
};
use kernel::{current, prelude::*, seq_file::SeqFile, seq_print, sync::aref::ARef, task::Task};

/// The number that statfs(2) tells a FUSE file system by.
const MAGIC: u32 = 0x6573_5546;

/// The FUSE file system.
pub(crate) struct Fuse;

#[vtable]
impl FileSystem for Fuse {
    type Shared = Settings;
    type Context = Context;
    type SuperData = Mount;
    type INodeData = Node;
    type Key = u64;
    type DEntryData = Entry;

    const PARAMETERS: &'static [Spec] = PARAMETERS;

    fn init_context(fc: &FsContext<Self>) -> Result<Context> {
        Ok(Context::new(fc))
    }

    fn parse_param(fc: &FsContext<Self>, context: &mut Context, index: u8, value: Value) -> Result {
        context.set(fc, index, value)
    }

    fn get_tree(fc: &FsContext<Self>, context: &mut Context) -> Result<Tree> {
        if fc.wants_mandatory_locks() {
            return Err(EINVAL);
        }
        if context.on_block_device {
            return Ok(Tree::Device);
        }
        let endpoint = context.endpoint.as_ref().ok_or(EINVAL)?;
        Ok(match endpoint.line() {
            Some(_) => Tree::Existing,
            None => Tree::NoDevice,
        })
    }

    fn is_same(context: &Context, mount: &Mount) -> bool {
        let line = context.endpoint.as_ref().and_then(|device| device.line());
        line.is_some_and(|line| core::ptr::eq(&*line.connection, &*mount.connection))
    }

    fn new_super(sb: &mut NewSuperBlock<'_, Self>, context: &mut Context) -> Result<Mount> {
        if context.endpoint.is_none() {
            return Err(EINVAL);
        }
        let mut options = context.complete()?;
        options.dont_mask = sb.keep_umask();
        sb.set_magic(MAGIC);
        sb.set_xattrs::<XAttrs>();
        sb.set_export::<Exports>();
        sb.allow_largest_files();
        sb.add_internal_flags(InternalFlags::UNVERIFIABLE_SIGNATURE);
        sb.add_internal_flags(InternalFlags::NO_ID_MAP);
        sb.add_internal_flags(InternalFlags::NO_DATA_INTEGRITY);
        if !sb.user_ns().is_initial() {
            sb.add_internal_flags(InternalFlags::UNTRUSTED_MOUNTER);
        }
        if context.on_block_device {
            sb.set_block_size(context.block_size)?;
        } else {
            sb.use_page_blocks();
        }
        if let Some(subtype) = context.subtype.take() {
            sb.set_subtype(subtype);
        }
        sb.setup_backing_device(c"-fuseblk")?;

        let users: ARef<UserNamespace> = sb.user_ns().into();
        let pids = Task::get_pid_ns(current!()).ok_or(ESRCH)?;
        let owner = (options.user_id, options.group_id);
        let connection = Connection::new(sb.device(), owner, users, pids)?;
        Mount::new(connection, options)
    }

    fn new_root(sb: &SuperBlock, _context: &mut Context) -> Result<OwnedINode> {
        inode::root(sb, sb.data().options.rootmode)
    }

    fn mounted(sb: &SuperBlock, context: &mut Context) -> Result {
        let endpoint = context.endpoint.as_ref().ok_or(EINVAL)?;
        let connection = &sb.data().connection;
        connection.set_notified(notify::Listener::new(sb)?);
        endpoint.connect(connection.clone())?;
        sb.shared().registry.add(connection.clone())?;
        init::send(sb, endpoint.wants_sync_init())
    }

    fn reconfigure(_sb: &SuperBlock, fc: &FsContext<Self>) -> Result {
        if fc.wants_mandatory_locks() {
            return Err(EINVAL);
        }
        Ok(())
    }

    fn kill(sb: &SuperBlock) {
        let mount = sb.data();
        if mount.options.destroy && mount.is_initialized() {
            say_goodbye(mount);
        }
        mount.connection.queue().abort(ENODEV);
        mount.connection.queue().wait_drained();
        mount.pending.wait_for_none();
        sb.shared().registry.remove(&mount.connection);
    }

    fn new_inode() -> impl PinInit<Node, Error> {
        Node::new()
    }

    fn has_key(node: &Node, nodeid: u64) -> bool {
        node.nodeid() == nodeid
    }

    fn set_key(node: &Node, nodeid: u64) {
        node.set_nodeid(nodeid);
    }

    fn write_inode(inode: &INode) -> Result {
        writeback::send_times(inode)
    }

    fn evict(inode: &INode, active: bool) {
        if active {
            inode::evict(inode);
        }
    }

    fn statfs(root: &DEntry) -> Result<StatFs> {
        let sb = root.super_block();
        let mount = sb.data();
        if !allow_current_process(mount) {
            return Ok(StatFs {
                magic: MAGIC,
                ..Default::default()
            });
        }
        let nodeid = root.inode().ok_or(ENOENT)?.data().nodeid();
        let request = Request::<op::Statfs>::new(&mount.connection, nodeid, &())?;
        let st = mount.connection.call(request)?.out()?.st;
        Ok(StatFs {
            magic: MAGIC,
            block_size: st.bsize,
            fragment_size: st.frsize,
            blocks: st.blocks,
            blocks_free: st.bfree,
            blocks_available: st.bavail,
            files: st.files,
            files_free: st.ffree,
            name_length: st.namelen,
        })
    }

    fn sync(sb: &SuperBlock) -> Result {
        let mount = sb.data();
        // Other daemons could keep sync(2) of all file systems from ending.
        if !sb.has_block_device() || mount.lacks.syncfs.get() {
            return Ok(());
        }
        let arguments = SyncfsIn::default();
        let request = Request::<op::Syncfs>::new(&mount.connection, ROOT_ID, &arguments)?;
        match mount.connection.call(request) {
            Err(err) if err == ENOSYS => {
                mount.lacks.syncfs.set();
                Ok(())
            }
            reply => reply.map(drop),
        }
    }

    fn umount_begin(sb: &SuperBlock) {
        sb.data().connection.queue().abort(ENODEV);
        if sb.has_block_device() {
            sb.retire();
        }
    }

    fn show_options(sb: &SuperBlock, m: &SeqFile) -> Result {
        let Mount {
            options,
            connection,
            ..
        } = sb.data();
        let users = connection.users();
        seq_print!(m, ",user_id={}", options.user_id.in_ns_munged(users));
        seq_print!(m, ",group_id={}", options.group_id.in_ns_munged(users));
        if sb.data().default_permissions() {
            seq_print!(m, ",default_permissions");
        }
        if options.allow_other {
            seq_print!(m, ",allow_other");
        }
        if let Some(max_read) = options.shown_max_read() {
            seq_print!(m, ",max_read={}", max_read);
        }
        if options.recover {
            seq_print!(m, ",recover");
        }
        if sb.has_block_device() && sb.block_size() != DEFAULT_BLOCK_SIZE as usize {
            seq_print!(m, ",blksize={}", sb.block_size());
        }
        Ok(())
    }

    fn reap_period() -> u32 {
        lookup::INVAL_WQ.get()
    }

    fn d_revalidate(dir: &INode, name: &[u8], dentry: &DEntry, flags: LookupFlags) -> Result<bool> {
        lookup::revalidate(dir, name, dentry, flags)
    }
}

/// Sends DESTROY and waits for the daemon, which may have much to write to its block device.
fn say_goodbye(mount: &Mount) {
    let request = Request::<op::Destroy>::by(&mount.connection, Caller::NOBODY, 0, &());
    if let Ok(request) = request {
        // Nothing is left to be done when it fails.
        let _ = mount.connection.call(request.force());
    }
}
