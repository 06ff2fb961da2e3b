//! A tree in a store that is open in this process.

use super::history::HISTORY;
use super::tree::{Shareable, Sink, Source, Tree, attr_if_any, printable};
use crate::fs::{
    Caller, Error, Handle, OpenMode, RenameMode, Seek, SetAttr, SetTime, Volume, XattrMode,
};
use crate::model::{Attr, FileKind, Ino, Timestamp};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// Look-ups that are remembered: more than a path has, and one directory's worth of views. A drill goes through a million of them.
const HELD_MAX: usize = 20_000;

/// A store as a tree. Whoever can open the store may do everything in it.
#[derive(Debug)]
pub struct Stored<'a> {
    volume: &'a Volume,
    caller: Caller,
    /// What was looked up and may be needed again, the oldest first. A leaf.
    held: Mutex<VecDeque<Ino>>,
}

impl<'a> Stored<'a> {
    /// The tree of `volume`; what is made in it belongs to `uid` and `gid` at first.
    pub fn new(volume: &'a Volume, uid: u32, gid: u32) -> Stored<'a> {
        Stored { volume, caller: Caller { uid, gid, umask: 0 }, held: Mutex::default() }
    }

    fn tell_name(&self, dir: Ino, name: &[u8]) {
        if let Some(told) = self.volume.told() {
            told.name_changed(dir, name);
            told.attributes_changed(dir);
        }
    }

    fn tell_attributes(&self, ino: Ino) {
        if let Some(told) = self.volume.told() {
            told.attributes_changed(ino);
        }
    }

    fn find(&self, path: &Path) -> io::Result<Attr> {
        let mut attr = self.volume.getattr(Ino::ROOT).map_err(number)?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            if attr.kind != FileKind::Directory {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            attr = self.volume.lookup(attr.ino, name.as_bytes()).map_err(number)?;
            self.hold(attr.ino);
        }
        Ok(attr)
    }

    /// A view stays in memory for as long as whoever looked it up doesn't say that it is not needed any more.
    fn hold(&self, ino: Ino) {
        let mut held = self.held.lock();
        held.push_back(ino);
        if held.len() > HELD_MAX
            && let Some(oldest) = held.pop_front()
        {
            self.volume.forget(oldest, 1);
        }
    }

    /// The directory in which a path ends, and its last name.
    fn place<'p>(&self, path: &'p Path) -> io::Result<(Ino, &'p [u8])> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let dir = self.find(path.parent().unwrap_or(Path::new("")))?;
        Ok((dir.ino, name.as_bytes()))
    }
}

impl Drop for Stored<'_> {
    fn drop(&mut self) {
        self.held.get_mut().drain(..).for_each(|ino| self.volume.forget(ino, 1));
    }
}

impl Tree for Stored<'_> {
    fn shown(&self, path: &Path) -> String {
        format!("{}:/{}", printable(self.volume.store_path()), printable(path))
    }

    fn attr(&self, path: &Path) -> io::Result<Attr> {
        self.find(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<(OsString, FileKind)>> {
        let handle = self.volume.opendir(self.find(dir)?.ino).map_err(number)?;
        let mut found = Vec::new();
        let listed = self.volume.readdir(handle, 0, false, &mut |entry| {
            if !matches!(&entry.name[..], b"." | b"..") {
                found.push((OsString::from_vec(entry.name), entry.kind));
            }
            true
        });
        listed.and(self.volume.releasedir(handle)).map_err(number)?;
        Ok(found)
    }

    fn entries(&self, dir: &Path) -> io::Result<Vec<(OsString, Attr)>> {
        let handle = self.volume.opendir(self.find(dir)?.ino).map_err(number)?;
        let mut found = Vec::new();
        let mut bare = Vec::new();
        // What is listed with attributes is looked up: so not in a view, which remembers who looked something up.
        let plus = !dir.iter().any(|part| part == HISTORY);
        let listed = self.volume.readdir(handle, 0, plus, &mut |entry| {
            let name = OsString::from_vec(entry.name);
            match entry.attr {
                _ if name == "." || name == ".." || name == HISTORY => {}
                Some(attr) => found.push((name, attr)),
                None => bare.push(name),
            }
            true
        });
        listed.and(self.volume.releasedir(handle)).map_err(number)?;
        for name in bare {
            let attr = attr_if_any(self, &dir.join(&name))?;
            found.extend(attr.map(|attr| (name, attr)));
        }
        Ok(found)
    }

    fn target(&self, path: &Path) -> io::Result<PathBuf> {
        let target = self.volume.readlink(self.find(path)?.ino).map_err(number)?;
        Ok(PathBuf::from(OsString::from_vec(target)))
    }

    fn xattr(&self, path: &Path, name: &[u8]) -> io::Result<Option<Vec<u8>>> {
        match self.volume.getxattr(self.find(path)?.ino, name) {
            Ok(value) => Ok(Some(value)),
            Err(Error::NoAttribute) => Ok(None),
            Err(error) => Err(number(error)),
        }
    }

    fn xattr_names(&self, path: &Path) -> io::Result<Vec<Vec<u8>>> {
        self.volume.listxattr(self.find(path)?.ino).map_err(number)
    }

    fn is_foreign(&self, _dir: &Path) -> bool {
        false
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Source + '_>> {
        let how = OpenMode { read: true, by: self.caller.uid, ..OpenMode::default() };
        let handle = self.volume.open(self.find(path)?.ino, how).map_err(number)?;
        Ok(Box::new(Open { volume: self.volume, handle }))
    }

    fn create(&self, path: &Path, cause: &str) -> io::Result<Box<dyn Sink + '_>> {
        let (dir, name) = self.place(path)?;
        let (read, write, exclusive) = (true, true, true);
        let how = OpenMode { read, write, exclusive, by: self.caller.uid, ..OpenMode::default() };
        let made = self.volume.create(&self.caller, dir, name, 0o600, how);
        let (attr, handle) = made.map_err(number)?;
        self.tell_name(dir, name);
        if !cause.is_empty() {
            let (name, cause) = (b"user.verso.cause", cause.as_bytes());
            // Only a mark in its history.
            let _ = self.volume.setxattr(&self.caller, attr.ino, name, cause, XattrMode::Set);
        }
        Ok(Box::new(New { file: Open { volume: self.volume, handle }, ino: attr.ino }))
    }

    fn make(&self, path: &Path, like: &Attr) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let made = match like.kind {
            FileKind::Directory => self.volume.mkdir(&self.caller, dir, name, 0o700),
            kind => {
                let mode = kind.type_bits() | 0o600;
                self.volume.mknod(&self.caller, dir, name, mode, like.rdev)
            }
        };
        self.tell_name(dir, name);
        made.map(drop).map_err(number)
    }

    fn symlink(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let target = target.as_os_str().as_bytes();
        let made = self.volume.symlink(&self.caller, dir, name, target);
        self.tell_name(dir, name);
        made.map(drop).map_err(number)
    }

    fn link(&self, path: &Path, new: &Path) -> io::Result<()> {
        let (dir, name) = self.place(new)?;
        let ino = self.find(path)?.ino;
        let made = self.volume.link(ino, dir, name);
        self.tell_name(dir, name);
        self.tell_attributes(ino);
        made.map(drop).map_err(number)
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let ((dir, name), (new_dir, new_name)) = (self.place(from)?, self.place(to)?);
        let mode = if replace { RenameMode::Replace } else { RenameMode::NoReplace };
        let renamed = self.volume.rename(dir, name, new_dir, new_name, mode);
        self.tell_name(dir, name);
        self.tell_name(new_dir, new_name);
        renamed.map_err(number)
    }

    fn remove(&self, path: &Path, kind: FileKind) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let removed = match kind {
            FileKind::Directory => self.volume.rmdir(dir, name),
            _ => self.volume.unlink(dir, name),
        };
        self.tell_name(dir, name);
        removed.map_err(number)
    }

    fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> io::Result<()> {
        self.change(path, SetAttr { uid: Some(uid), gid: Some(gid), ..SetAttr::default() })
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.change(path, SetAttr { mode: Some(mode), ..SetAttr::default() })
    }

    fn set_times(&self, path: &Path, read: Timestamp, changed: Timestamp) -> io::Result<()> {
        let (atime, mtime) = (Some(SetTime::At(read)), Some(SetTime::At(changed)));
        self.change(path, SetAttr { atime, mtime, ..SetAttr::default() })
    }

    fn set_xattr(&self, path: &Path, name: &[u8], value: &[u8]) -> io::Result<()> {
        let ino = self.find(path)?.ino;
        let set = self.volume.setxattr(&self.caller, ino, name, value, XattrMode::Set);
        self.tell_attributes(ino);
        set.map_err(number)
    }

    fn remove_xattr(&self, path: &Path, name: &[u8]) -> io::Result<()> {
        let ino = self.find(path)?.ino;
        let removed = self.volume.removexattr(ino, name);
        self.tell_attributes(ino);
        removed.map_err(number)
    }

    fn sync(&self, _path: &Path) -> io::Result<()> {
        self.volume.sync_all().map_err(number)
    }
}

impl Stored<'_> {
    fn change(&self, path: &Path, change: SetAttr) -> io::Result<()> {
        let ino = self.find(path)?.ino;
        let changed = self.volume.setattr(ino, &change);
        self.tell_attributes(ino);
        changed.map(drop).map_err(number)
    }
}

/// An open file of the store.
struct Open<'a> {
    volume: &'a Volume,
    handle: Handle,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        // What was written was saved by `finish`, or is about to be removed.
        let _ = self.volume.release(self.handle);
    }
}

impl Source for Open<'_> {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut read = Vec::with_capacity(into.len());
        self.volume.read(self.handle, offset, into.len(), &mut read).map_err(number)?;
        into[..read.len()].copy_from_slice(&read);
        Ok(read.len())
    }

    fn next_data(&self, offset: u64) -> io::Result<Option<Range<u64>>> {
        match self.volume.seek(self.handle, offset, Seek::Data) {
            Ok(start) => {
                let end = self.volume.seek(self.handle, start, Seek::Hole).map_err(number)?;
                Ok(Some(start..end))
            }
            Err(Error::NoSuchRange) => Ok(None),
            Err(error) => Err(number(error)),
        }
    }

    fn shareable(&self) -> Shareable<'_> {
        Shareable::Handle(self.handle)
    }
}

struct New<'a> {
    file: Open<'a>,
    ino: Ino,
}

impl Sink for New<'_> {
    fn share(&mut self, from: &dyn Source, offset: u64, len: u64) -> io::Result<u64> {
        let Shareable::Handle(from) = from.shareable() else { return Ok(0) };
        let to = self.file.handle;
        self.file.volume.copy_range(from, offset, to, offset, len).map_err(number)
    }

    fn write_at(&mut self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.volume.write(self.file.handle, offset, data).map_err(number)
    }

    fn finish(self: Box<Self>, len: u64, is_durable: bool) -> io::Result<()> {
        let (volume, handle) = (self.file.volume, self.file.handle);
        if volume.getattr(self.ino).map_err(number)?.size != len {
            let size = SetAttr { size: Some(len), ..SetAttr::default() };
            volume.setattr(self.ino, &size).map_err(number)?;
        }
        if is_durable {
            volume.fsync(handle).map_err(number)?;
        }
        volume.flush(handle).map_err(number)
    }
}

/// The system's number; what a store alone can fail of keeps its words.
fn number(error: Error) -> io::Error {
    match error.is_fault() {
        true => io::Error::other(error),
        false => io::Error::from_raw_os_error(error.errno()),
    }
}
