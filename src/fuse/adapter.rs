//! The requests of the kernel, one handler each: translate, ask the volume, answer.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyBmap, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus,
    ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite,
    ReplyXattr, Request, TimeOrNow, WriteFlags,
};

use super::closers::Closers;
use super::convert;
use super::negotiate::negotiate;
use super::op::{CACHE_TTL, GENERATION, Op, attr_ttl, name_ttl};
use super::privileges::{self, LateNotifier};
use crate::fs::{Error, Handle, OpenMode, Result, SetAttr, Volume};
use crate::model::{FileKind, Ino};

/// The longest name, in bytes.
const NAME_BYTES_MAX: u32 = 255;

/// The unit in which `statfs` counts, in bytes.
const STATFS_BLOCK_BYTES: u32 = 4096;

/// The most that one `copy_file_range` request can answer for, in bytes: its reply has 32 bits.
const COPY_BYTES_MAX: u64 = (u32::MAX - 4095) as u64;

thread_local! {
    /// What `read` answers with: kept from one request to the next, one for each loop.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A volume as fuser sees it.
pub(super) struct Adapter {
    volume: Arc<Volume>,
    /// What the kernel sees as the root: a directory of the volume, or a view of one.
    root: Ino,
    notifier: LateNotifier,
    closers: Closers,
    /// Dropped after the volume: who is told finds it released.
    _ended: Ended,
}

/// Tells, when dropped, that the last loop has ended.
struct Ended(SyncSender<()>);

impl Drop for Ended {
    fn drop(&mut self) {
        // Nobody listens any more when the mount was given up: that is fine.
        let _ = self.0.try_send(());
    }
}

impl Adapter {
    pub(super) fn new(
        volume: Arc<Volume>,
        root: Ino,
        notifier: LateNotifier,
        ended: SyncSender<()>,
    ) -> Adapter {
        Adapter { volume, root, notifier, closers: Closers::default(), _ended: Ended(ended) }
    }

    fn ino(&self, number: INodeNo) -> Ino {
        if number.0 == Ino::ROOT.0 { self.root } else { Ino(number.0) }
    }

    /// Before `request` changes the content of `node`: see [`privileges::drop_for`].
    fn drop_privileges(&self, request: &Request, node: INodeNo) -> Result<()> {
        privileges::drop_for(request, &self.volume, node, &self.notifier)
    }
}

fn handle(fh: FileHandle) -> Handle {
    Handle(fh.0)
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        negotiate(config);
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let op = Op("lookup", parent);
        op.run(|| match self.volume.lookup(self.ino(parent), name.as_bytes()) {
            Ok(attr) => {
                let (ttl, attr) = (attr_ttl(&self.volume, &attr), convert::file_attr(&attr));
                let name_ttl = name_ttl(&self.volume, self.ino(attr.ino));
                reply.entry_with_ttls(&ttl, &name_ttl, &attr, GENERATION);
            }
            // A name that isn't there is remembered too: to appear it must come through the kernel.
            Err(Error::NotFound) if self.volume.is_absence_fixed(self.ino(parent)) => {
                reply.entry(&CACHE_TTL, &convert::bare_attr(0, FileKind::File), GENERATION);
            }
            Err(error) => reply.error(op.errno(&error)),
        });
    }

    fn forget(&self, _: &Request, node: INodeNo, lookups: u64) {
        Op("forget", node).run(|| self.volume.forget(self.ino(node), lookups));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        Op("getattr", node).attr(&self.volume, reply, |volume| volume.getattr(self.ino(node)));
    }

    fn setattr(
        &self,
        req: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut change = SetAttr {
            mode: mode.map(convert::permissions),
            uid,
            gid,
            size,
            atime: atime.map(convert::set_time),
            mtime: mtime.map(convert::set_time),
            drop_privileges: false,
            by: size.map(|_| req.uid()),
        };
        change.drop_privileges = privileges::are_dropped_by(req, &change);
        if let (Some(_), Some(fh)) = (size, fh) {
            self.closers.note(req, fh);
        }
        Op("setattr", node)
            .attr(&self.volume, reply, |volume| volume.setattr(self.ino(node), &change));
    }

    fn readlink(&self, _: &Request, node: INodeNo, reply: ReplyData) {
        let op = Op("readlink", node);
        op.run(|| match self.volume.readlink(self.ino(node)) {
            Ok(target) => reply.data(&target),
            Err(error) => reply.error(op.errno(&error)),
        });
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let caller = convert::caller(req, umask);
        Op("mknod", parent).entry(&self.volume, reply, |volume| {
            volume.mknod(&caller, self.ino(parent), name.as_bytes(), mode, rdev)
        });
    }

    fn mkdir(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let caller = convert::caller(req, umask);
        Op("mkdir", parent).entry(&self.volume, reply, |volume| {
            volume.mkdir(&caller, self.ino(parent), name.as_bytes(), convert::permissions(mode))
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Op("unlink", parent)
            .empty(&self.volume, reply, |volume| volume.unlink(self.ino(parent), name.as_bytes()));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Op("rmdir", parent)
            .empty(&self.volume, reply, |volume| volume.rmdir(self.ino(parent), name.as_bytes()));
    }

    fn symlink(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        let caller = convert::caller(req, 0);
        Op("symlink", parent).entry(&self.volume, reply, |volume| {
            volume.symlink(
                &caller,
                self.ino(parent),
                name.as_bytes(),
                target.as_os_str().as_bytes(),
            )
        });
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to_parent: INodeNo,
        to_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        Op("rename", parent).empty(&self.volume, reply, |volume| {
            let mode = convert::rename_mode(flags)?;
            let (from, to) = (name.as_bytes(), to_name.as_bytes());
            volume.rename(self.ino(parent), from, self.ino(to_parent), to, mode)
        });
    }

    fn link(&self, _: &Request, node: INodeNo, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        Op("link", node).entry(&self.volume, reply, |volume| {
            volume.link(self.ino(node), self.ino(parent), name.as_bytes())
        });
    }

    fn open(&self, req: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let op = Op("open", node);
        let how = OpenMode { exclusive: false, ..convert::open_mode(req.uid(), flags.0) };
        op.run(|| match self.volume.open(self.ino(node), how) {
            Ok(opened) => {
                let opened = FileHandle(opened.0);
                if how.write {
                    self.closers.note(req, opened);
                }
                reply.opened(opened, convert::open_reply(how));
            }
            Err(error) => reply.error(op.errno(&error)),
        });
    }

    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let op = Op("create", parent);
        let (caller, how) = (convert::caller(req, umask), convert::open_mode(req.uid(), flags));
        let mode = convert::permissions(mode);
        op.run(|| {
            match self.volume.create(&caller, self.ino(parent), name.as_bytes(), mode, how) {
                Ok((attr, opened)) => {
                    let opened = FileHandle(opened.0);
                    self.closers.note(req, opened);
                    let (ttl, attr) = (attr_ttl(&self.volume, &attr), convert::file_attr(&attr));
                    reply.created(&ttl, &attr, GENERATION, opened, convert::create_reply());
                }
                Err(error) => reply.error(op.errno(&error)),
            }
        });
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let op = Op("read", node);
        op.run(|| {
            READ_BUFFER.with_borrow_mut(|buffer| {
                buffer.clear();
                match self.volume.read(handle(fh), offset, size as usize, buffer) {
                    Ok(()) => reply.data(buffer),
                    Err(error) => reply.error(op.errno(&error)),
                }
            });
        });
    }

    fn write(
        &self,
        req: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        flags: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let op = Op("write", node);
        let written = || {
            // Not so where a mapping is written back: nobody knows by then who wrote it.
            if flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
                self.drop_privileges(req, node)?;
            }
            self.closers.note(req, fh);
            self.volume.write(handle(fh), offset, data)
        };
        op.run(|| match written() {
            Ok(()) => reply.written(data.len() as u32),
            Err(error) => reply.error(op.errno(&error)),
        });
    }

    fn flush(&self, req: &Request, node: INodeNo, fh: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        Op("flush", node).empty(&self.volume, reply, |volume| {
            match self.closers.inherited(req, fh) {
                true => Ok(()),
                false => volume.flush(handle(fh)),
            }
        });
    }

    fn release(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.closers.forget(fh);
        Op("release", node).empty(&self.volume, reply, |volume| volume.release(handle(fh)));
    }

    fn fsync(&self, _: &Request, node: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        Op("fsync", node).empty(&self.volume, reply, |volume| volume.fsync(handle(fh)));
    }

    /// Listings are not cached by the kernel (`FOPEN_CACHE_DIR`): where one reader refills that cache
    /// while another one is in the middle of it, and the entry where that one stood is gone, it finds no
    /// way on and takes the listing for finished.
    fn opendir(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let op = Op("opendir", node);
        op.run(|| match self.volume.opendir(self.ino(node)) {
            Ok(opened) => reply.opened(FileHandle(opened.0), FopenFlags::empty()),
            Err(error) => reply.error(op.errno(&error)),
        });
    }

    fn readdir(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let op = Op("readdir", node);
        op.run(|| {
            let listed = self.volume.readdir(handle(fh), offset, false, &mut |entry| {
                let (name, kind) = (OsStr::from_bytes(&entry.name), convert::file_type(entry.kind));
                !reply.add(INodeNo(entry.ino.0), entry.cookie, kind, name)
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(op.errno(&error)),
            }
        });
    }

    fn readdirplus(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let op = Op("readdirplus", node);
        op.run(|| {
            let listed = self.volume.readdir(handle(fh), offset, true, &mut |entry| {
                let (attr, ttl) = match &entry.attr {
                    // One answer for both: as long as name and attributes hold.
                    Some(attr) => {
                        let ttl = name_ttl(&self.volume, attr.ino);
                        (convert::file_attr(attr), ttl.min(attr_ttl(&self.volume, attr)))
                    }
                    None => (convert::bare_attr(entry.ino.0, entry.kind), CACHE_TTL),
                };
                let name = OsStr::from_bytes(&entry.name);
                !reply.add(attr.ino, entry.cookie, name, &ttl, &attr, GENERATION)
            });
            match listed {
                Ok(()) => reply.ok(),
                Err(error) => reply.error(op.errno(&error)),
            }
        });
    }

    fn releasedir(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        Op("releasedir", node).empty(&self.volume, reply, |volume| volume.releasedir(handle(fh)));
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        Op("fsyncdir", node).empty(&self.volume, reply, |volume| volume.fsyncdir(handle(fh)));
    }

    fn statfs(&self, _: &Request, node: INodeNo, reply: ReplyStatfs) {
        let op = Op("statfs", node);
        op.run(|| match self.volume.statfs() {
            Ok(space) => {
                let blocks = |bytes: u64| bytes / u64::from(STATFS_BLOCK_BYTES);
                reply.statfs(
                    blocks(space.total),
                    blocks(space.free),
                    blocks(space.available),
                    space.files,
                    space.files_free,
                    STATFS_BLOCK_BYTES,
                    NAME_BYTES_MAX,
                    STATFS_BLOCK_BYTES,
                );
            }
            Err(error) => reply.error(op.errno(&error)),
        });
    }

    fn setxattr(
        &self,
        req: &Request,
        node: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        let caller = convert::caller(req, 0);
        Op("setxattr", node).empty(&self.volume, reply, |volume| {
            let mode = convert::xattr_mode(flags)?;
            volume.setxattr(&caller, self.ino(node), name.as_bytes(), value, mode)
        });
    }

    fn getxattr(&self, _: &Request, node: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        Op("getxattr", node).value(&self.volume, size, reply, |volume| {
            volume.getxattr(self.ino(node), name.as_bytes())
        });
    }

    fn listxattr(&self, _: &Request, node: INodeNo, size: u32, reply: ReplyXattr) {
        Op("listxattr", node).value(&self.volume, size, reply, |volume| {
            let names = volume.listxattr(self.ino(node))?;
            Ok(names.into_iter().flat_map(|name| name.into_iter().chain([0])).collect())
        });
    }

    fn removexattr(&self, _req: &Request, node: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        Op("removexattr", node).empty(&self.volume, reply, |volume| {
            volume.removexattr(self.ino(node), name.as_bytes())
        });
    }

    fn fallocate(
        &self,
        req: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        Op("fallocate", node).empty(&self.volume, reply, |volume| {
            let how = convert::allocate(mode)?;
            self.drop_privileges(req, node)?;
            self.closers.note(req, fh);
            volume.fallocate(handle(fh), offset, length, how)
        });
    }

    fn lseek(
        &self,
        _: &Request,
        node: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let op = Op("lseek", node);
        let from = u64::try_from(offset).map_err(|_| Error::NoSuchRange);
        let found = || self.volume.seek(handle(fh), from?, convert::seek(whence)?);
        op.run(|| match found() {
            Ok(at) => reply.offset(at as i64),
            Err(error) => reply.error(op.errno(&error)),
        });
    }

    fn copy_file_range(
        &self,
        req: &Request,
        node: INodeNo,
        from: FileHandle,
        from_offset: u64,
        to_node: INodeNo,
        to: FileHandle,
        to_offset: u64,
        len: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let op = Op("copy_file_range", node);
        let len = len.min(COPY_BYTES_MAX);
        let copied = || {
            self.drop_privileges(req, to_node)?;
            self.closers.note(req, to);
            self.volume.copy_range(handle(from), from_offset, handle(to), to_offset, len)
        };
        op.run(|| match copied() {
            Ok(copied) => reply.written(copied as u32),
            Err(error) => reply.error(op.errno(&error)),
        });
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS); // The kernel then answers as for any file: always ready.
    }

    fn bmap(&self, _: &Request, _: INodeNo, _: u32, _: u64, reply: ReplyBmap) {
        reply.error(Errno::ENOSYS);
    }
}
