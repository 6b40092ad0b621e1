// SPDX-License-Identifier: GPL-2.0

//! The control file system: a directory for each connection, named by its number.
//!
//! | file | mode | |
//! | --- | --- | --- |
//! | `waiting` | 0400 | how many requests have not ended |
//! | `abort` | 0200 | writing anything aborts the connection |
//! | `max_background` | 0600 | how many background requests may be active |
//! | `congestion_threshold` | 0600 | from how many of them on readahead holds back |
//! | `flush` | 0200 | writing anything ends with EIO what was read and not answered; not in Linux |
//! | `resend` | 0200 | writing anything sends that again instead; not in Linux |
//! | `latency` | 0400 | how long requests took, by opcode; not in Linux |
//! | `queues` | 0400 | every queue and every request; not in Linux |
//!
//! Directories and files belong to who mounted the file system. Nothing is kept here: a name is
//! looked up among the connections that there are, and given up when nobody uses it.

use super::text;
use crate::{
    message::{limits, Connection, Registry},
    sys::errno::ECONNABORTED,
    vfs::{
        context::{FsContext, Spec, Value},
        dentry::{DEntry, LookupFlags, NewDEntry, Resolved},
        dir_ops::DirectoryOperations,
        file::{Borrowed, DirEmitter, Ended, FileOperations, Io, NewFile},
        filesystem::{FileSystem, Properties, Registration, Tree},
        inode::{FileType, INode, Lookup, OwnedINode},
        inode_cache::INodeCache,
        inode_ops::INodeOperations,
        module_param::Parameter,
        ns::Capability,
        number,
        stat::{Stat, StatRequest},
        super_block::{NewSuperBlock, SuperBlock},
    },
};
use core::fmt::Write;
use kernel::{
    iov::{IovIterDest, IovIterSource},
    new_mutex,
    prelude::*,
    str::Formatter,
    sync::{Arc, Mutex, SetOnce},
};

/// What statfs(2) tells it by: "eseC" backwards, as Linux has it.
const MAGIC: u32 = 0x6573_5543;

/// Limits are 16 bits wide.
const MAX_LIMIT: u32 = u16::MAX as u32;

/// The control file system.
pub(crate) struct FuseCtl;

/// Registers `fusectl`, or `rfusectl` beside another FUSE. EBUSY when there is one already.
pub(crate) fn register(
    coexist: bool,
    cache: Arc<INodeCache<FuseCtl>>,
    registry: Arc<Registry>,
) -> impl PinInit<Registration<FuseCtl>, Error> {
    let properties = Properties {
        name: if coexist { c"rfusectl" } else { c"fusectl" },
        requires_device: false,
        has_subtype: false,
        user_ns_mount: false,
        id_maps: false,
    };
    Registration::new(properties, cache, registry)
}

/// Where its inodes come from. ENOMEM; may sleep.
pub(crate) fn inode_cache() -> Result<Arc<INodeCache<FuseCtl>>> {
    INodeCache::new(c"rust_fusectl_inode")
}

/// What an inode is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Kind {
    /// The root, or, with a connection, its directory.
    Directory,
    Waiting,
    Abort,
    MaxBackground,
    CongestionThreshold,
    Flush,
    Resend,
    Latency,
    Queues,
}

impl Kind {
    const FILES: [Kind; 8] = [
        Kind::Waiting,
        Kind::Abort,
        Kind::MaxBackground,
        Kind::CongestionThreshold,
        Kind::Flush,
        Kind::Resend,
        Kind::Latency,
        Kind::Queues,
    ];

    fn name(self) -> &'static str {
        match self {
            Kind::Directory => ".",
            Kind::Waiting => "waiting",
            Kind::Abort => "abort",
            Kind::MaxBackground => "max_background",
            Kind::CongestionThreshold => "congestion_threshold",
            Kind::Flush => "flush",
            Kind::Resend => "resend",
            Kind::Latency => "latency",
            Kind::Queues => "queues",
        }
    }

    fn permissions(self) -> u32 {
        match self {
            Kind::Directory => 0o500,
            Kind::Waiting | Kind::Latency | Kind::Queues => 0o400,
            Kind::Abort | Kind::Flush | Kind::Resend => 0o200,
            Kind::MaxBackground | Kind::CongestionThreshold => 0o600,
        }
    }
}

/// Tells inodes apart. A connection is told by its address: an inode keeps its connection, so the
/// address is not used again while the inode is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key {
    connection: usize,
    kind: Kind,
}

impl Key {
    const ROOT: Key = Key {
        connection: 0,
        kind: Kind::Directory,
    };

    fn new(connection: &Arc<Connection>, kind: Kind) -> Self {
        Key {
            connection: Arc::as_ptr(connection).addr(),
            kind,
        }
    }

    /// A number for the inode: the connection's, and the file in it.
    fn number(self, connection: Option<&Connection>) -> u64 {
        let connection = connection.map_or(0, |connection| u64::from(connection.id()) + 1);
        connection * 16 + self.kind as u64 + 1
    }
}

/// The file system's part of an inode.
pub(crate) struct Node {
    key: SetOnce<Key>,
    connection: SetOnce<Arc<Connection>>,
}

impl Node {
    fn kind(&self) -> Kind {
        self.key.copy().map_or(Kind::Directory, |key| key.kind)
    }
}

#[vtable]
impl FileSystem for FuseCtl {
    type Shared = Registry;
    type Context = ();
    type SuperData = ();
    type INodeData = Node;
    type Key = Key;
    type DEntryData = ();

    const PARAMETERS: &'static [Spec] = &[Spec::END];

    fn init_context(_fc: &FsContext<Self>) -> Result {
        Ok(())
    }

    fn parse_param(_fc: &FsContext<Self>, _context: &mut (), _index: u8, _value: Value) -> Result {
        Err(EINVAL)
    }

    fn get_tree(_fc: &FsContext<Self>, _context: &mut ()) -> Result<Tree> {
        Ok(Tree::Single)
    }

    fn new_super(sb: &mut NewSuperBlock<'_, Self>, _context: &mut ()) -> Result {
        sb.set_magic(MAGIC);
        sb.use_page_blocks();
        Ok(())
    }

    fn new_root(sb: &SuperBlock<Self>, _context: &mut ()) -> Result<OwnedINode<Self>> {
        inode(sb, None, Kind::Directory)
    }

    fn new_inode() -> impl PinInit<Node, Error> {
        Ok(Node {
            key: SetOnce::new(),
            connection: SetOnce::new(),
        })
    }

    fn has_key(node: &Node, key: Key) -> bool {
        node.key.copy() == Some(key)
    }

    fn set_key(node: &Node, key: Key) {
        node.key.populate(key);
    }

    fn d_revalidate(
        _dir: &INode<Self>,
        _name: &[u8],
        dentry: &DEntry<Self>,
        flags: LookupFlags,
    ) -> Result<bool> {
        if flags.in_rcu_walk() {
            return Err(ECHILD);
        }
        let Some(connection) = dentry
            .inode()
            .and_then(|inode| inode.data().connection.as_ref())
        else {
            return Ok(false);
        };
        let registered = dentry.super_block().shared().find(connection.id());
        Ok(registered.is_some_and(|registered| Arc::ptr_eq(&registered, connection)))
    }
}

/// The inode of `kind` for a connection, or of the root for none.
fn inode(
    sb: &SuperBlock<FuseCtl>,
    connection: Option<Arc<Connection>>,
    kind: Kind,
) -> Result<OwnedINode<FuseCtl>> {
    let key = connection
        .as_ref()
        .map_or(Key::ROOT, |connection| Key::new(connection, kind));
    let hash = key.number(connection.as_deref());
    let mut new = match sb.get_or_create_inode(hash, key)? {
        Lookup::Found(inode) => return Ok(inode),
        Lookup::New(new) => new,
    };
    match kind {
        Kind::Directory => new.set_directory::<Directory, Directory, Directory>(),
        _ => new.set_uncached::<Plain, Plain>(),
    }
    {
        let mut attributes = new.lock();
        attributes.set_number(hash);
        attributes.set_permissions(match &connection {
            Some(_) => kind.permissions(),
            None => 0o755,
        });
        attributes.set_link_count(if kind == Kind::Directory { LINKS } else { 1 });
        if let Some(connection) = &connection {
            let (uid, gid) = connection.owner();
            attributes.set_owner(uid, gid);
        }
    }
    if let Some(connection) = connection {
        new.data().connection.populate(connection);
    }
    Ok(new.unlock())
}

/// The root, and the directory of a connection.
struct Directory;

#[vtable]
impl DirectoryOperations for Directory {
    type FileSystem = FuseCtl;

    fn lookup<'a>(
        dir: &INode<FuseCtl>,
        dentry: NewDEntry<'a, FuseCtl>,
        _flags: LookupFlags,
    ) -> Result<Resolved<'a, FuseCtl>> {
        let sb = dir.super_block();
        let name = dentry.name();
        let found = match dir.data().connection.as_ref() {
            None => connection_named(sb.shared(), name)
                .map(|connection| inode(sb, Some(connection), Kind::Directory)),
            Some(connection) => Kind::FILES
                .into_iter()
                .find(|kind| kind.name().as_bytes() == name)
                .map(|kind| inode(sb, Some(connection.clone()), kind)),
        };
        let resolved = dentry.resolve(found.transpose()?)?;
        resolved.dont_cache();
        Ok(resolved)
    }
}

#[vtable]
impl INodeOperations for Directory {
    type FileSystem = FuseCtl;

    fn getattr(inode: &INode<FuseCtl>, request: StatRequest<'_>, stat: &mut Stat) -> Result {
        if inode.data().connection.as_ref().is_none() {
            let connections = inode.super_block().shared().len();
            let links = LINKS.saturating_add(u32::try_from(connections).unwrap_or(u32::MAX));
            inode.lock().set_link_count(links);
        }
        stat.fill_cached(request, inode);
        Ok(())
    }
}

/// Links of a directory that has no directories in it.
const LINKS: u32 = 2;

/// The connection whose number is `name`, written the one way it is listed.
fn connection_named(registry: &Registry, name: &[u8]) -> Option<Arc<Connection>> {
    let id = core::str::from_utf8(name).ok()?.parse().ok()?;
    let mut buffer = [0; DIGITS];
    (decimal(&mut buffer, id) == name)
        .then(|| registry.find(id))
        .flatten()
}

/// How many digits a number of 32 bits may have.
const DIGITS: usize = 10;

/// `number` in decimal.
fn decimal(buffer: &mut [u8; DIGITS], number: u32) -> &[u8] {
    let mut out = Formatter::new(buffer);
    // There is room for every number.
    let _ = out.write_fmt(fmt!("{number}"));
    let len = out.bytes_written();
    &buffer[..len]
}

#[vtable]
impl FileOperations for Directory {
    type FileSystem = FuseCtl;
    type Ptr = ();

    fn open(_inode: &INode<FuseCtl>, _file: &NewFile<'_>) -> Result {
        Ok(())
    }

    fn iterate(dir: &INode<FuseCtl>, _file: (), entries: &mut DirEmitter<'_, FuseCtl>) -> Result {
        let registry = dir.super_block().shared();
        let own = dir.data().connection.as_ref().map(|own| &**own);
        loop {
            let position = entries.position();
            let more = match position {
                0 => entries.emit(b".", Key::ROOT.number(own), FileType::Directory.into()),
                1 => entries.emit(b"..", Key::ROOT.number(None), FileType::Directory.into()),
                // CAST: Positions are those that were given out, or too large for what there is.
                n => match dir.data().connection.as_ref() {
                    None => {
                        let Some(connection) = registry.nth((n - 2) as usize) else {
                            return Ok(());
                        };
                        let number =
                            Key::new(&connection, Kind::Directory).number(Some(&connection));
                        let mut buffer = [0; DIGITS];
                        let name = decimal(&mut buffer, connection.id());
                        entries.emit(name, number, FileType::Directory.into())
                    }
                    Some(connection) => {
                        let Some(kind) = Kind::FILES.get((n - 2) as usize) else {
                            return Ok(());
                        };
                        let number = Key::new(connection, *kind).number(own);
                        entries.emit(kind.name().as_bytes(), number, FileType::Regular.into())
                    }
                },
            };
            if !more {
                return Ok(());
            }
            entries.set_position(position + 1);
        }
    }
}

/// A file of a connection.
struct Plain;

#[vtable]
impl INodeOperations for Plain {
    type FileSystem = FuseCtl;
}

/// The text that an open file shows: made when it is read from the beginning.
#[pin_data]
struct OpenText {
    #[pin]
    text: Mutex<KVVec<u8>>,
}

#[vtable]
impl FileOperations for Plain {
    type FileSystem = FuseCtl;
    type Ptr = Pin<KBox<OpenText>>;

    const USES_PAGE_CACHE: bool = false;

    fn open(_inode: &INode<FuseCtl>, file: &NewFile<'_>) -> Result<Pin<KBox<OpenText>>> {
        file.make_nonseekable();
        KBox::pin_init(
            pin_init!(OpenText {
                text <- new_mutex!(KVVec::new(), "rust_fusectl_text"),
            }),
            GFP_KERNEL,
        )
    }

    fn read_iter<'a>(
        inode: &INode<FuseCtl>,
        file: Borrowed<'_, Self>,
        io: Io<'a>,
        iov: &mut IovIterDest<'_>,
    ) -> Ended<'a> {
        io.end_by(|io| read(inode, &file, io, iov))
    }

    fn write_iter<'a>(
        inode: &INode<FuseCtl>,
        _file: Borrowed<'_, Self>,
        io: Io<'a>,
        iov: &mut IovIterSource<'_>,
    ) -> Ended<'a> {
        io.end_by(|io| write(inode, io, iov))
    }
}

/// Reads one of the files, all of which say what is when they are read from their start.
fn read(
    inode: &INode<FuseCtl>,
    file: &OpenText,
    io: &mut Io<'_>,
    iov: &mut IovIterDest<'_>,
) -> Result<usize> {
    let Some(connection) = live(inode) else {
        return Ok(0);
    };
    let queue = connection.queue();
    let mut text = file.text.lock();
    if io.position() == 0 {
        *text = match inode.data().kind() {
            Kind::Waiting => text::number(queue.counts().waiting)?,
            Kind::MaxBackground => text::number(queue.counts().max_background)?,
            Kind::CongestionThreshold => text::number(queue.counts().congestion_threshold)?,
            Kind::Latency => text::latency(&connection)?,
            Kind::Queues => text::queues(&connection)?,
            Kind::Directory | Kind::Abort | Kind::Flush | Kind::Resend => return Err(EINVAL),
        };
    }
    let from = usize::try_from(io.position()).unwrap_or(usize::MAX);
    let rest = text.get(from..).unwrap_or_default();
    let copied = iov.copy_to_iter(rest);
    if copied == 0 && !rest.is_empty() && !iov.is_empty() {
        return Err(EFAULT);
    }
    io.advance(copied);
    Ok(copied)
}

/// Writes to one of the files.
fn write(inode: &INode<FuseCtl>, io: &mut Io<'_>, iov: &mut IovIterSource<'_>) -> Result<usize> {
    let len = iov.len();
    let kind = inode.data().kind();
    match kind {
        Kind::Abort => {
            if let Some(connection) = live(inode) {
                let error = match connection.terms().abort_error {
                    true => ECONNABORTED,
                    false => ENODEV,
                };
                connection.queue().abort(error);
            }
        }
        Kind::Flush | Kind::Resend => {
            if let Some(connection) = live(inode) {
                match kind {
                    Kind::Flush => connection.queue().flush(),
                    _ => connection.queue().resend(),
                }
            }
        }
        Kind::MaxBackground | Kind::CongestionThreshold => {
            if io.position() != 0 {
                return Err(EINVAL);
            }
            let most = match kind {
                Kind::MaxBackground => &limits::MAX_USER_BGREQ,
                _ => &limits::MAX_USER_CONGTHRESH,
            };
            let limit = written_limit(iov, most)?;
            if let Some(connection) = live(inode) {
                let queue = connection.queue();
                match kind {
                    Kind::MaxBackground => queue.set_max_background(limit),
                    _ => queue.set_congestion_threshold(limit),
                }
            }
        }
        Kind::Directory | Kind::Waiting | Kind::Latency | Kind::Queues => return Err(EINVAL),
    }
    // The position stays: who writes once more writes another number.
    Ok(len)
}

/// The connection that a file is about, while it is mounted.
fn live(inode: &INode<FuseCtl>) -> Option<Arc<Connection>> {
    let connection = inode.data().connection.as_ref()?;
    let registered = inode.super_block().shared().find(connection.id())?;
    Arc::ptr_eq(&registered, connection).then_some(registered)
}

/// The limit that somebody writes. EINVAL, also when it is above what they may set (`most`, for those
/// without privileges); ERANGE, EFAULT.
fn written_limit(iov: &mut IovIterSource<'_>, most: &Parameter) -> Result<u32> {
    /// What comes behind so many bytes is not looked at: sign, 64 binary digits, line end.
    const LONGEST: usize = 66;

    let len = iov.len().min(LONGEST);
    let mut buffer = [0; LONGEST + 1];
    if iov.copy_from_iter(&mut buffer[..len]) != len {
        return Err(EFAULT);
    }
    let limit = number::parse(CStr::from_bytes_until_nul(&buffer).map_err(|_| EINVAL)?)?;
    let most = if Capability::SYS_ADMIN.held() {
        MAX_LIMIT
    } else {
        most.get()
    };
    match u32::try_from(limit) {
        Ok(limit) if limit <= most => Ok(limit),
        _ => Err(EINVAL),
    }
}
