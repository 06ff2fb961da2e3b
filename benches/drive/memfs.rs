//! A bare filesystem in memory: what the FUSE protocol and fuser allow when nothing is done per request.
//!
//! It is the yardstick that Verso is held against, so it is written to be fast, not to be complete: no xattrs, no ACLs,
//! no special files, names and contents in plain hash maps and vectors. It asks the kernel for what Verso asks for.

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyOpen,
    ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// How long the kernel may keep names and attributes. Safe: nobody else changes them.
const TTL: Duration = Duration::from_secs(3600);
/// The largest write the kernel may send at once.
const WRITE_BYTES_MAX: u32 = 1 << 20;
/// Requests the kernel may have under way in the background (read-ahead).
const BACKGROUND_REQUESTS_MAX: u16 = 64;
const SHARDS: u64 = 64;
/// Offsets 1 and 2 of a listing are `.` and `..`.
const FIRST_ENTRY_SEQ: u64 = 3;

type Outcome<T> = Result<T, Errno>;

/// Mounts the filesystem at `mountpoint` and serves it until it is unmounted.
pub(crate) fn serve(mountpoint: &std::path::Path) -> std::io::Result<()> {
    let mut config = Config::default();
    config.mount_options =
        vec![MountOption::FSName("memfs".into()), MountOption::DefaultPermissions];
    config.n_threads = Some(loop_threads());
    config.clone_fd = true;
    fuser::mount(MemFs::new(), mountpoint, &config)
}

fn loop_threads() -> usize {
    std::thread::available_parallelism().map_or(2, |n| n.get().max(2))
}

struct Node {
    attr: Mutex<FileAttr>,
    data: RwLock<Vec<u8>>,
    dir: RwLock<Dir>,
}

/// Entries by name for look-ups, and by a number that never changes for listings.
#[derive(Default)]
struct Dir {
    by_name: HashMap<OsString, (u64, Arc<Node>)>,
    by_seq: BTreeMap<u64, (OsString, Arc<Node>)>,
    next_seq: u64,
    parent: u64,
}

impl Dir {
    fn insert(&mut self, name: &OsStr, node: Arc<Node>) -> Option<Arc<Node>> {
        let replaced = self.remove(name);
        let seq = FIRST_ENTRY_SEQ + self.next_seq;
        self.next_seq += 1;
        self.by_seq.insert(seq, (name.to_owned(), node.clone()));
        self.by_name.insert(name.to_owned(), (seq, node));
        replaced
    }

    fn remove(&mut self, name: &OsStr) -> Option<Arc<Node>> {
        let (seq, node) = self.by_name.remove(name)?;
        self.by_seq.remove(&seq);
        Some(node)
    }
}

struct MemFs {
    /// Every inode that has a name or that the kernel still knows, by number, in shards so that loop threads rarely meet.
    nodes: Vec<RwLock<HashMap<u64, Arc<Node>>>>,
    next_ino: AtomicU64,
}

impl MemFs {
    fn new() -> MemFs {
        let fs = MemFs {
            nodes: (0..SHARDS).map(|_| RwLock::default()).collect(),
            next_ino: AtomicU64::new(1),
        };
        fs.add_node(FileType::Directory, 0o755, 0, 0);
        fs
    }

    fn add_node(&self, kind: FileType, perm: u16, uid: u32, gid: u32) -> Arc<Node> {
        let ino = self.next_ino.fetch_add(1, Ordering::Relaxed);
        let node = Arc::new(Node {
            attr: Mutex::new(new_attr(ino, kind, perm, uid, gid)),
            data: RwLock::default(),
            dir: RwLock::default(),
        });
        let shard = &self.nodes[(ino % SHARDS) as usize];
        shard.write().insert(ino, node.clone());
        node
    }

    fn node(&self, ino: INodeNo) -> Outcome<Arc<Node>> {
        let shard = self.nodes[(ino.0 % SHARDS) as usize].read();
        shard.get(&ino.0).cloned().ok_or(Errno::ENOENT)
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> Outcome<Arc<Node>> {
        let parent = self.node(parent)?;
        let dir = parent.dir.read();
        let found = dir.by_name.get(name).map(|(_, node)| node.clone());
        found.ok_or(Errno::ENOENT)
    }

    /// Makes a file or directory called `name`.
    fn make(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        kind: FileType,
        mode: u32,
    ) -> Outcome<FileAttr> {
        let holder = self.node(parent)?;
        let mut dir = holder.dir.write();
        if dir.by_name.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let node = self.add_node(kind, (mode & 0o7777) as u16, req.uid(), req.gid());
        node.dir.write().parent = parent.0;
        let attr = *node.attr.lock();
        dir.insert(name, node);
        touch(&holder);
        Ok(attr)
    }

    fn remove(&self, parent: INodeNo, name: &OsStr) -> Outcome<()> {
        let holder = self.node(parent)?;
        let node = holder.dir.write().remove(name).ok_or(Errno::ENOENT)?;
        touch(&holder);
        self.unlinked(&node);
        Ok(())
    }

    /// The only name is gone (there are no hard links here); `forget` frees the inode when no one has it open any more.
    fn unlinked(&self, node: &Arc<Node>) {
        let mut attr = node.attr.lock();
        attr.nlink = 0;
        attr.ctime = SystemTime::now();
    }

    fn rename(
        &self,
        from: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
    ) -> Outcome<()> {
        if !flags.is_empty() {
            return Err(Errno::EINVAL);
        }
        let source = self.node(from)?;
        let target = self.node(to)?;
        let node = source.dir.write().remove(name).ok_or(Errno::ENOENT)?;
        node.dir.write().parent = to.0;
        let replaced = target.dir.write().insert(new_name, node);
        touch(&source);
        touch(&target);
        if let Some(replaced) = replaced {
            self.unlinked(&replaced);
        }
        Ok(())
    }

    fn resize(&self, node: &Node, size: u64) {
        node.data.write().resize(size as usize, 0);
        set_size(&mut node.attr.lock(), size);
    }

    fn write_at(&self, ino: INodeNo, offset: u64, bytes: &[u8]) -> Outcome<u32> {
        let node = self.node(ino)?;
        let mut data = node.data.write();
        put(&mut data, offset as usize, bytes);
        let size = data.len() as u64;
        drop(data);
        set_size(&mut node.attr.lock(), size);
        Ok(bytes.len() as u32)
    }

    fn copy(&self, from: INodeNo, at: u64, to: INodeNo, to_at: u64, len: u64) -> Outcome<u32> {
        let source = self.node(from)?;
        let bytes = {
            let data = source.data.read();
            slice_at(&data, at, len.min(1 << 30) as usize).to_vec()
        };
        self.write_at(to, to_at, &bytes)
    }
}

fn new_attr(ino: u64, kind: FileType, perm: u16, uid: u32, gid: u32) -> FileAttr {
    let now = SystemTime::now();
    FileAttr {
        ino: INodeNo(ino),
        size: 0,
        blocks: 0,
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind,
        perm,
        nlink: if kind == FileType::Directory { 2 } else { 1 },
        uid,
        gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn set_size(attr: &mut FileAttr, size: u64) {
    attr.size = size;
    attr.blocks = size.div_ceil(512);
    attr.mtime = SystemTime::now();
    attr.ctime = attr.mtime;
}

fn touch(dir: &Node) {
    let mut attr = dir.attr.lock();
    attr.mtime = SystemTime::now();
    attr.ctime = attr.mtime;
}

/// Writes `bytes` at `offset`; an append copies once and fills nothing with zeros first.
fn put(data: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if offset > data.len() {
        data.resize(offset, 0);
    }
    let inside = (data.len() - offset).min(bytes.len());
    data[offset..offset + inside].copy_from_slice(&bytes[..inside]);
    data.extend_from_slice(&bytes[inside..]);
}

fn slice_at(data: &[u8], offset: u64, len: usize) -> &[u8] {
    let start = (offset as usize).min(data.len());
    &data[start..start.saturating_add(len).min(data.len())]
}

fn resolve(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(at) => at,
        TimeOrNow::Now => SystemTime::now(),
    }
}

/// Opened files keep the kernel's pages, and closing them needs no message: nothing waits to be written out.
fn open_flags() -> FopenFlags {
    FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH
}

fn answer_entry(reply: ReplyEntry, outcome: Outcome<FileAttr>) {
    match outcome {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn answer(reply: ReplyEmpty, outcome: Outcome<()>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn answer_written(reply: ReplyWrite, outcome: Outcome<u32>) {
    match outcome {
        Ok(len) => reply.written(len),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for MemFs {
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> std::io::Result<()> {
        for wanted in [
            InitFlags::FUSE_DO_READDIRPLUS | InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_ATOMIC_O_TRUNC,
            InitFlags::FUSE_ASYNC_DIO,
        ] {
            // An older kernel without one of them is still a fair peer.
            let _ = config.add_capabilities(wanted);
        }
        let _ = config.set_max_write(WRITE_BYTES_MAX);
        let _ = config.set_max_readahead(WRITE_BYTES_MAX);
        let _ = config.set_max_background(BACKGROUND_REQUESTS_MAX);
        Ok(())
    }

    fn lookup(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self.child(parent, name) {
            Ok(node) => reply.entry(&TTL, &node.attr.lock(), Generation(0)),
            // A negative entry: inode 0 with a lifetime, so that the kernel need not ask again.
            Err(_) => {
                reply.entry(&TTL, &new_attr(0, FileType::RegularFile, 0, 0, 0), Generation(0))
            }
        }
    }

    fn forget(&self, _req: &Request, ino: INodeNo, _nlookup: u64) {
        let mut shard = self.nodes[(ino.0 % SHARDS) as usize].write();
        let gone = shard.get(&ino.0).is_some_and(|node| node.attr.lock().nlink == 0);
        if gone {
            shard.remove(&ino.0);
        }
    }

    fn getattr(&self, _req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        match self.node(ino) {
            Ok(node) => reply.attr(&TTL, &node.attr.lock()),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let node = match self.node(ino) {
            Ok(node) => node,
            Err(error) => return reply.error(error),
        };
        if let Some(size) = size {
            self.resize(&node, size);
        }
        let mut attr = node.attr.lock();
        attr.perm = mode.map_or(attr.perm, |mode| (mode & 0o7777) as u16);
        attr.uid = uid.unwrap_or(attr.uid);
        attr.gid = gid.unwrap_or(attr.gid);
        attr.atime = atime.map_or(attr.atime, resolve);
        attr.mtime = mtime.map_or(attr.mtime, resolve);
        attr.ctime = SystemTime::now();
        reply.attr(&TTL, &attr);
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        reply: ReplyEntry,
    ) {
        answer_entry(reply, self.make(req, parent, name, FileType::Directory, mode));
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.make(req, parent, name, FileType::RegularFile, mode) {
            Ok(attr) => reply.created(&TTL, &attr, Generation(0), FileHandle(0), open_flags()),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.remove(parent, name));
    }

    fn rmdir(&self, _req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let empty = self.child(parent, name).map(|node| node.dir.read().by_name.is_empty());
        match empty {
            Ok(true) => answer(reply, self.remove(parent, name)),
            Ok(false) => reply.error(Errno::ENOTEMPTY),
            Err(error) => reply.error(error),
        }
    }

    fn rename(
        &self,
        _req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        answer(reply, MemFs::rename(self, parent, name, newparent, newname, flags));
    }

    fn open(&self, _req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.node(ino) {
            Ok(node) => {
                if flags.0 & libc::O_TRUNC != 0 {
                    self.resize(&node, 0);
                }
                reply.opened(FileHandle(0), open_flags());
            }
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.node(ino) {
            Ok(node) => reply.data(slice_at(&node.data.read(), offset, size as usize)),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        answer_written(reply, self.write_at(ino, offset, data));
    }

    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsync(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn fsyncdir(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _datasync: bool,
        reply: ReplyEmpty,
    ) {
        reply.ok();
    }

    fn readdir(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let Ok(node) = self.node(ino) else {
            return reply.error(Errno::ENOENT);
        };
        let dir = node.dir.read();
        for (at, name, number) in [(1, ".", ino.0), (2, "..", dir.parent.max(1))] {
            if offset < at && reply.add(INodeNo(number), at, FileType::Directory, name) {
                return reply.ok();
            }
        }
        for (seq, (name, child)) in dir.by_seq.range(offset + 1..) {
            let attr = *child.attr.lock();
            if reply.add(attr.ino, *seq, attr.kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn readdirplus(
        &self,
        _req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let Ok(node) = self.node(ino) else {
            return reply.error(Errno::ENOENT);
        };
        let dir = node.dir.read();
        for (at, name, number) in [(1, ".", ino.0), (2, "..", dir.parent.max(1))] {
            let attr = new_attr(number, FileType::Directory, 0o755, 0, 0);
            if offset < at && reply.add(attr.ino, at, name, &Duration::ZERO, &attr, Generation(0)) {
                return reply.ok();
            }
        }
        for (seq, (name, child)) in dir.by_seq.range(offset + 1..) {
            let attr = *child.attr.lock();
            if reply.add(attr.ino, *seq, name, &TTL, &attr, Generation(0)) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _req: &Request, _ino: INodeNo, reply: ReplyStatfs) {
        reply.statfs(1 << 24, 1 << 23, 1 << 23, 1 << 24, 1 << 23, 4096, 255, 4096);
    }

    fn copy_file_range(
        &self,
        _req: &Request,
        ino_in: INodeNo,
        _fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: fuser::CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        answer_written(reply, self.copy(ino_in, offset_in, ino_out, offset_out, len));
    }
}
