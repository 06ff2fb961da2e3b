//! The operations that random work is made of, and two ways to reach a real drive: the volume itself, and
//! the kernel.

use super::work::{Alloc, HANDLES, Move};
use super::{Mount, TestStore, os, wait_for_last};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use versofs::fs::{
    Allocate, Caller, Error, Handle, OpenMode, RenameMode, Seek, SetAttr, SetTime, Volume,
    XattrMode,
};
use versofs::model::{Attr, FileKind, Ino, Timestamp};

/// An errno where something failed.
pub(crate) type Result<T> = std::result::Result<T, i32>;

/// Where all symbolic links lead.
const NOWHERE: &str = "nowhere/at/all";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
}

/// What a path shows.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) nlink: u32,
    /// Empty for what isn't a file.
    pub(crate) content: Vec<u8>,
    pub(crate) xattrs: BTreeMap<String, Vec<u8>>,
    /// `None` is not compared.
    pub(crate) mtime: Option<i64>,
}

impl PartialEq for Found {
    fn eq(&self, other: &Found) -> bool {
        let same_time = match (self.mtime, other.mtime) {
            (Some(a), Some(b)) => a == b,
            _ => true,
        };
        let key = |found: &Found| (found.kind as u8, found.mode, found.nlink);
        key(self) == key(other)
            && self.content == other.content
            && self.xattrs == other.xattrs
            && same_time
    }
}

impl std::fmt::Debug for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sum = self.content.iter().fold(0_u64, |sum, b| sum.wrapping_mul(31) + u64::from(*b));
        let names: Vec<_> = self.xattrs.keys().collect();
        let (kind, mode, nlink) = (self.kind, self.mode, self.nlink);
        write!(f, "{kind:?} {mode:o} links {nlink} bytes {} (sum {sum:x}) ", self.content.len())?;
        write!(f, "xattrs {names:?} mtime {:?}", self.mtime)
    }
}

pub(crate) type Tree = BTreeMap<String, Found>;

/// A drive that random work can be done to. Paths are relative to its root; handles are numbers below
/// `HANDLES`.
pub(crate) trait Drive {
    fn create(&mut self, path: &str) -> Result<()>;
    fn mkdir(&mut self, path: &str) -> Result<()>;
    fn symlink(&mut self, path: &str) -> Result<()>;
    fn link(&mut self, old: &str, new: &str) -> Result<()>;
    fn unlink(&mut self, path: &str) -> Result<()>;
    fn rmdir(&mut self, path: &str) -> Result<()>;
    fn rename(&mut self, from: &str, to: &str, kind: Move) -> Result<()>;
    fn truncate(&mut self, path: &str, size: u64) -> Result<()>;
    fn chmod(&mut self, path: &str, mode: u32) -> Result<()>;
    fn set_mtime(&mut self, path: &str, nanos: i64) -> Result<()>;
    fn set_xattr(&mut self, path: &str, name: &str, value: &[u8]) -> Result<()>;
    fn remove_xattr(&mut self, path: &str, name: &str) -> Result<()>;
    fn open(&mut self, handle: usize, path: &str) -> Result<()>;
    fn close(&mut self, handle: usize) -> Result<()>;
    fn write(&mut self, handle: usize, offset: u64, data: &[u8]) -> Result<()>;
    fn set_len(&mut self, handle: usize, size: u64) -> Result<()>;
    fn fallocate(&mut self, handle: usize, how: Alloc, offset: u64, len: u64) -> Result<()>;
    fn copy(&mut self, from: usize, to: usize, x: u64, y: u64, len: u64) -> Result<u64>;
    fn read(&mut self, handle: usize, offset: u64, len: usize) -> Result<Vec<u8>>;
    /// Panics when what is called a hole holds anything.
    fn check_holes(&mut self, handle: usize) -> Result<()>;
    fn flush(&mut self, handle: usize) -> Result<()>;
    fn fsync(&mut self, handle: usize) -> Result<()>;
    /// Closes everything, the store too, and opens the store again.
    fn reopen(&mut self);
    /// Everything that is there, but for the directories that every store has.
    fn tree(&mut self) -> Tree;
}

/// Directories that a new store has.
const GIVEN: [&str; 3] = ["projects", "shared", "archived"];

/// The volume, without a kernel.
pub(crate) struct InProcess {
    store: TestStore,
    volume: Arc<Volume>,
    handles: [Option<(Handle, Ino)>; HANDLES],
}

impl InProcess {
    pub(crate) fn new() -> InProcess {
        let store = TestStore::new();
        let volume = store.open();
        InProcess { store, volume, handles: [None; HANDLES] }
    }

    /// The kernel walks paths, and checks what it can before it asks: here we have to.
    fn parent<'a>(&self, path: &'a str) -> Result<(Ino, &'a [u8])> {
        let (way, name) = path.rsplit_once('/').unwrap_or(("", path));
        let mut at = Ino::ROOT;
        for step in way.split('/').filter(|step| !step.is_empty()) {
            let attr = self.volume.lookup(at, step.as_bytes()).map_err(errno)?;
            match attr.kind {
                FileKind::Directory => at = attr.ino,
                FileKind::Symlink => return Err(libc::ENOENT),
                _ => return Err(libc::ENOTDIR),
            }
        }
        Ok((at, name.as_bytes()))
    }

    fn find(&self, path: &str) -> Result<Attr> {
        let (parent, name) = self.parent(path)?;
        self.volume.lookup(parent, name).map_err(errno)
    }

    fn follow(&self, path: &str) -> Result<Attr> {
        let attr = self.find(path)?;
        if attr.kind == FileKind::Symlink { Err(libc::ENOENT) } else { Ok(attr) }
    }

    fn handle(&self, handle: usize) -> Result<(Handle, Ino)> {
        self.handles[handle].ok_or(libc::EBADF)
    }

    fn change(&self, ino: Ino, change: SetAttr) -> Result<()> {
        self.volume.setattr(ino, &change).map(drop).map_err(errno)
    }

    fn list(&self, at: Ino, path: &str, tree: &mut Tree) {
        let mut names = Vec::new();
        let handle = self.volume.opendir(at).unwrap();
        let mut take = |entry: versofs::fs::DirEntry| {
            names.push((entry.name, entry.attr));
            true
        };
        self.volume.readdir(handle, 0, true, &mut take).unwrap();
        self.volume.releasedir(handle).unwrap();
        for (name, attr) in names.into_iter().filter_map(|(name, attr)| Some((name, attr?))) {
            let name = String::from_utf8(name).unwrap();
            if path.is_empty() && GIVEN.contains(&name.as_str()) {
                continue;
            }
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            tree.insert(path.clone(), self.found(&attr));
            if attr.kind == FileKind::Directory {
                self.list(attr.ino, &path, tree);
            }
        }
    }

    fn found(&self, attr: &Attr) -> Found {
        // Reading another name of it may have changed the time of the last read meanwhile.
        let asked = self.volume.getattr(attr.ino).unwrap();
        assert_eq!(Attr { atime: attr.atime, ..asked }, *attr, "as listed and as asked");
        let (kind, content) = match attr.kind {
            FileKind::Directory => (Kind::Directory, Vec::new()),
            FileKind::Symlink => (Kind::Symlink, Vec::new()),
            _ => (Kind::File, self.content(attr)),
        };
        let names = self.volume.listxattr(attr.ino).unwrap().into_iter();
        let value = |name: &[u8]| self.volume.getxattr(attr.ino, name).unwrap();
        let xattrs = names.map(|name| (String::from_utf8(name.clone()).unwrap(), value(&name)));
        Found {
            kind,
            mode: u32::from(attr.mode.bits()),
            nlink: attr.nlink,
            content,
            xattrs: xattrs.collect(),
            mtime: Some(attr.mtime.0),
        }
    }

    fn content(&self, attr: &Attr) -> Vec<u8> {
        let how = OpenMode { read: true, ..Default::default() };
        let handle = self.volume.open(attr.ino, how).unwrap();
        let mut content = Vec::new();
        self.volume.read(handle, 0, attr.size as usize + 1, &mut content).unwrap();
        self.volume.release(handle).unwrap();
        assert_eq!(content.len() as u64, attr.size);
        content
    }
}

fn errno(error: Error) -> i32 {
    assert!(!error.is_fault(), "{error}");
    error.errno()
}

/// Who works on the volume in process.
const CALLER: Caller = Caller { uid: 0, gid: 0, umask: 0o022 };

impl Drive for InProcess {
    fn create(&mut self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        let how = OpenMode { read: true, write: true, exclusive: true, ..Default::default() };
        let made = self.volume.create(&CALLER, parent, name, 0o666, how);
        let (_, handle) = made.map_err(errno)?;
        self.volume.flush(handle).map_err(errno)?;
        self.volume.release(handle).map_err(errno)
    }

    fn mkdir(&mut self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        self.volume.mkdir(&CALLER, parent, name, 0o777).map(drop).map_err(errno)
    }

    fn symlink(&mut self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        let attr = self.volume.symlink(&CALLER, parent, name, NOWHERE.as_bytes()).map_err(errno)?;
        assert_eq!(self.volume.readlink(attr.ino).unwrap(), NOWHERE.as_bytes());
        Ok(())
    }

    fn link(&mut self, old: &str, new: &str) -> Result<()> {
        let attr = self.find(old)?;
        let (parent, name) = self.parent(new)?;
        if self.volume.lookup(parent, name).is_ok() {
            return Err(libc::EEXIST);
        }
        self.volume.link(attr.ino, parent, name).map(drop).map_err(errno)
    }

    fn unlink(&mut self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        self.volume.unlink(parent, name).map_err(errno)
    }

    fn rmdir(&mut self, path: &str) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        self.volume.rmdir(parent, name).map_err(errno)
    }

    fn rename(&mut self, from: &str, to: &str, kind: Move) -> Result<()> {
        let (parent, name) = self.parent(from)?;
        let (to_parent, to_name) = self.parent(to)?;
        let mode = match kind {
            Move::Replace => RenameMode::Replace,
            Move::NoReplace => RenameMode::NoReplace,
            Move::Exchange => RenameMode::Exchange,
        };
        // The kernel's own checks (`lock_rename`, `vfs_rename`) come before ours.
        let source = self.volume.lookup(parent, name).map_err(errno)?;
        let target = self.volume.lookup(to_parent, to_name).ok();
        if kind == Move::NoReplace && target.is_some() {
            return Err(libc::EEXIST);
        }
        if kind == Move::Exchange && target.is_none() {
            return Err(libc::ENOENT);
        }
        if source.kind == FileKind::Directory
            && format!("{to}/").starts_with(&format!("{from}/"))
            && to != from
        {
            return Err(libc::EINVAL);
        }
        let above = from != to && format!("{from}/").starts_with(&format!("{to}/"));
        if above && target.is_some_and(|target| target.kind == FileKind::Directory) {
            return Err(if kind == Move::Exchange { libc::EINVAL } else { libc::ENOTEMPTY });
        }
        self.volume.rename(parent, name, to_parent, to_name, mode).map_err(errno)
    }

    fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        let attr = self.follow(path)?;
        self.change(attr.ino, SetAttr { size: Some(size), ..Default::default() })
    }

    fn chmod(&mut self, path: &str, mode: u32) -> Result<()> {
        let attr = self.follow(path)?;
        self.change(attr.ino, SetAttr { mode: Some(mode), ..Default::default() })
    }

    fn set_mtime(&mut self, path: &str, nanos: i64) -> Result<()> {
        let attr = self.find(path)?;
        let mtime = Some(SetTime::At(Timestamp(nanos)));
        self.change(attr.ino, SetAttr { mtime, ..Default::default() })
    }

    fn set_xattr(&mut self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        let attr = self.follow(path)?;
        let set = self.volume.setxattr(&CALLER, attr.ino, name.as_bytes(), value, XattrMode::Set);
        set.map_err(errno)
    }

    fn remove_xattr(&mut self, path: &str, name: &str) -> Result<()> {
        let attr = self.follow(path)?;
        self.volume.removexattr(attr.ino, name.as_bytes()).map_err(errno)
    }

    fn open(&mut self, handle: usize, path: &str) -> Result<()> {
        let _ = self.close(handle);
        let attr = self.follow(path)?;
        let how = OpenMode { read: true, write: true, ..Default::default() };
        self.handles[handle] = Some((self.volume.open(attr.ino, how).map_err(errno)?, attr.ino));
        Ok(())
    }

    fn close(&mut self, handle: usize) -> Result<()> {
        let (open, _) = self.handles[handle].take().ok_or(libc::EBADF)?;
        self.volume.flush(open).map_err(errno)?;
        self.volume.release(open).map_err(errno)
    }

    fn write(&mut self, handle: usize, offset: u64, data: &[u8]) -> Result<()> {
        let (open, _) = self.handle(handle)?;
        if data.is_empty() {
            return Ok(()); // The kernel doesn't ask.
        }
        self.volume.write(open, offset, data).map_err(errno)
    }

    fn set_len(&mut self, handle: usize, size: u64) -> Result<()> {
        let (_, ino) = self.handle(handle)?;
        self.change(ino, SetAttr { size: Some(size), ..Default::default() })
    }

    fn fallocate(&mut self, handle: usize, how: Alloc, offset: u64, len: u64) -> Result<()> {
        let (open, _) = self.handle(handle)?;
        let how = match how {
            Alloc::Reserve => Allocate::Reserve { keep_size: false },
            Alloc::ReserveKeep => Allocate::Reserve { keep_size: true },
            Alloc::Punch => Allocate::PunchHole,
            Alloc::Zero => Allocate::ZeroRange { keep_size: false },
            Alloc::ZeroKeep => Allocate::ZeroRange { keep_size: true },
        };
        self.volume.fallocate(open, offset, len, how).map_err(errno)
    }

    fn copy(&mut self, from: usize, to: usize, x: u64, y: u64, len: u64) -> Result<u64> {
        let ((source, _), (target, _)) = (self.handle(from)?, self.handle(to)?);
        self.volume.copy_range(source, x, target, y, len).map_err(errno)
    }

    fn read(&mut self, handle: usize, offset: u64, len: usize) -> Result<Vec<u8>> {
        let (open, _) = self.handle(handle)?;
        let mut data = Vec::new();
        self.volume.read(open, offset, len, &mut data).map_err(errno)?;
        Ok(data)
    }

    fn check_holes(&mut self, handle: usize) -> Result<()> {
        let (open, ino) = self.handle(handle)?;
        let size = self.volume.getattr(ino).map_err(errno)?.size;
        let content = self.read(handle, 0, size as usize)?;
        walk_holes(&content, |from, data| {
            let what = if data { Seek::Data } else { Seek::Hole };
            self.volume.seek(open, from, what).map_err(errno)
        });
        Ok(())
    }

    fn flush(&mut self, handle: usize) -> Result<()> {
        self.volume.flush(self.handle(handle)?.0).map_err(errno)
    }

    fn fsync(&mut self, handle: usize) -> Result<()> {
        self.volume.fsync(self.handle(handle)?.0).map_err(errno)
    }

    fn reopen(&mut self) {
        for handle in 0..HANDLES {
            let _ = self.close(handle);
        }
        self.volume.close().unwrap();
        let placeholder = TestStore::new();
        wait_for_last(std::mem::replace(&mut self.volume, placeholder.open()));
        self.volume = self.store.open();
    }

    fn tree(&mut self) -> Tree {
        let mut tree = Tree::new();
        self.list(Ino::ROOT, "", &mut tree);
        tree
    }
}

/// Walks from hole to data to hole as `seek` shows them, and holds that against the content.
fn walk_holes(content: &[u8], seek: impl Fn(u64, bool) -> Result<u64>) {
    let size = content.len() as u64;
    let mut at = 0;
    while at < size {
        let data = match seek(at, true) {
            Ok(data) => data,
            Err(errno) => {
                assert_eq!(errno, libc::ENXIO);
                size
            }
        };
        assert!(data >= at && data <= size, "data at {data} after {at} of {size}");
        let hole = &content[at as usize..data as usize];
        assert!(hole.iter().all(|byte| *byte == 0), "a hole at {at}..{data} holds data");
        if data == size {
            break;
        }
        at = seek(data, false).unwrap();
        assert!(at > data && at <= size, "a hole at {at} after data at {data} of {size}");
    }
    assert_eq!(seek(size, true), Err(libc::ENXIO));
}

/// A real mount.
pub(crate) struct ThroughKernel {
    /// First, so that they are dropped first: an open file keeps a mount from ending.
    handles: [Option<File>; HANDLES],
    root: PathBuf,
    /// Unless somebody else keeps it.
    mount: Option<Mount>,
}

impl ThroughKernel {
    pub(crate) fn new() -> ThroughKernel {
        let mount = Mount::new();
        let root = mount.root().to_owned();
        ThroughKernel { mount: Some(mount), root, handles: Default::default() }
    }

    /// A mount that is the caller's.
    pub(crate) fn mounted_at(root: PathBuf) -> ThroughKernel {
        ThroughKernel { mount: None, root, handles: Default::default() }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn file(&self, handle: usize) -> Result<&File> {
        self.handles[handle].as_ref().ok_or(libc::EBADF)
    }

    fn list(&self, path: &str, tree: &mut Tree) {
        for entry in fs::read_dir(self.at(path)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if path.is_empty() && GIVEN.contains(&name.as_str()) {
                continue;
            }
            let path = if path.is_empty() { name } else { format!("{path}/{name}") };
            let found = self.found(&path);
            let is_directory = found.kind == Kind::Directory;
            tree.insert(path.clone(), found);
            if is_directory {
                self.list(&path, tree);
            }
        }
    }

    fn found(&self, path: &str) -> Found {
        let at = self.at(path);
        let meta = fs::symlink_metadata(&at).unwrap();
        let (kind, content) = match meta.file_type() {
            kind if kind.is_dir() => (Kind::Directory, Vec::new()),
            kind if kind.is_symlink() => (Kind::Symlink, Vec::new()),
            _ => (Kind::File, fs::read(&at).unwrap()),
        };
        assert!(kind != Kind::File || content.len() as u64 == meta.len());
        let names = if kind == Kind::Symlink { Vec::new() } else { os::list_xattrs(&at).unwrap() };
        let value = |name: &str| os::get_xattr(&at, name).unwrap();
        Found {
            kind,
            mode: meta.mode() & 0o7777,
            nlink: meta.nlink() as u32,
            content,
            xattrs: names.into_iter().map(|name| (name.clone(), value(&name))).collect(),
            mtime: Some(meta.mtime() * 1_000_000_000 + meta.mtime_nsec()),
        }
    }
}

fn raw<T>(done: io::Result<T>) -> Result<T> {
    done.map_err(|error| error.raw_os_error().unwrap())
}

impl Drive for ThroughKernel {
    fn create(&mut self, path: &str) -> Result<()> {
        let mut how = OpenOptions::new();
        how.write(true).create_new(true).mode(0o644);
        raw(how.open(self.at(path))).map(drop)
    }

    fn mkdir(&mut self, path: &str) -> Result<()> {
        raw(fs::DirBuilder::new().mode(0o755).create(self.at(path)))
    }

    fn symlink(&mut self, path: &str) -> Result<()> {
        raw(std::os::unix::fs::symlink(NOWHERE, self.at(path)))
    }

    fn link(&mut self, old: &str, new: &str) -> Result<()> {
        raw(os::link(&self.at(old), &self.at(new)))
    }

    fn unlink(&mut self, path: &str) -> Result<()> {
        raw(fs::remove_file(self.at(path)))
    }

    fn rmdir(&mut self, path: &str) -> Result<()> {
        raw(fs::remove_dir(self.at(path)))
    }

    fn rename(&mut self, from: &str, to: &str, kind: Move) -> Result<()> {
        let flags = match kind {
            Move::Replace => 0,
            Move::NoReplace => libc::RENAME_NOREPLACE,
            Move::Exchange => libc::RENAME_EXCHANGE,
        };
        raw(os::rename(&self.at(from), &self.at(to), flags))
    }

    fn truncate(&mut self, path: &str, size: u64) -> Result<()> {
        let file = raw(OpenOptions::new().write(true).open(self.at(path)))?;
        raw(file.set_len(size))
    }

    fn chmod(&mut self, path: &str, mode: u32) -> Result<()> {
        raw(os::chmod(&self.at(path), mode))
    }

    fn set_mtime(&mut self, path: &str, nanos: i64) -> Result<()> {
        raw(os::set_times(&self.at(path), nanos, nanos))
    }

    fn set_xattr(&mut self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        raw(os::set_xattr(&self.at(path), name, value, 0))
    }

    fn remove_xattr(&mut self, path: &str, name: &str) -> Result<()> {
        raw(os::remove_xattr(&self.at(path), name))
    }

    fn open(&mut self, handle: usize, path: &str) -> Result<()> {
        self.handles[handle] = None;
        let file = raw(OpenOptions::new().read(true).write(true).open(self.at(path)))?;
        self.handles[handle] = Some(file);
        Ok(())
    }

    fn close(&mut self, handle: usize) -> Result<()> {
        self.handles[handle].take().map(drop).ok_or(libc::EBADF)
    }

    fn write(&mut self, handle: usize, offset: u64, data: &[u8]) -> Result<()> {
        raw(self.file(handle)?.write_all_at(data, offset))
    }

    fn set_len(&mut self, handle: usize, size: u64) -> Result<()> {
        raw(self.file(handle)?.set_len(size))
    }

    fn fallocate(&mut self, handle: usize, how: Alloc, offset: u64, len: u64) -> Result<()> {
        let keep = libc::FALLOC_FL_KEEP_SIZE;
        let mode = match how {
            Alloc::Reserve => 0,
            Alloc::ReserveKeep => keep,
            Alloc::Punch => libc::FALLOC_FL_PUNCH_HOLE | keep,
            Alloc::Zero => libc::FALLOC_FL_ZERO_RANGE,
            Alloc::ZeroKeep => libc::FALLOC_FL_ZERO_RANGE | keep,
        };
        raw(os::fallocate(self.file(handle)?, mode, offset, len))
    }

    fn copy(&mut self, from: usize, to: usize, x: u64, y: u64, len: u64) -> Result<u64> {
        raw(os::copy_range(self.file(from)?, x, self.file(to)?, y, len))
    }

    fn read(&mut self, handle: usize, offset: u64, len: usize) -> Result<Vec<u8>> {
        let (file, mut data) = (self.file(handle)?, vec![0; len]);
        let mut got = 0;
        while got < len {
            match raw(file.read_at(&mut data[got..], offset + got as u64))? {
                0 => break,
                more => got += more,
            }
        }
        data.truncate(got);
        Ok(data)
    }

    fn check_holes(&mut self, handle: usize) -> Result<()> {
        let size = raw(self.file(handle)?.metadata())?.len();
        let content = self.read(handle, 0, size as usize)?;
        let file = self.file(handle)?;
        walk_holes(&content, |from, data| {
            raw(os::seek(file, from, if data { libc::SEEK_DATA } else { libc::SEEK_HOLE }))
        });
        Ok(())
    }

    fn flush(&mut self, handle: usize) -> Result<()> {
        // Closing a duplicate sends the flush that a close sends.
        raw(self.file(handle)?.try_clone()).map(drop)
    }

    fn fsync(&mut self, handle: usize) -> Result<()> {
        raw(self.file(handle)?.sync_all())
    }

    fn reopen(&mut self) {
        self.handles = Default::default();
        if let Some(mount) = &mut self.mount {
            mount.reopen();
        }
    }

    fn tree(&mut self) -> Tree {
        let mut tree = Tree::new();
        self.list("", &mut tree);
        tree
    }
}
