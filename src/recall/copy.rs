//! Copying out of the past: contents by sharing where that is possible, with everything that belongs to them.

use super::error::{Error, Result, at};
use super::tree::{Progress, Sink, Source, Tree};
use crate::model::{Attr, FileKind, Ino};
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

/// What is copied at once where bytes must be moved.
const BLOCK_BYTES: usize = 1 << 20;
/// Extended attributes that tell of a version, and are not the file's.
const TOLD: &[u8] = b"user.verso.";
/// The access list of a file or directory.
pub(super) const ACCESS_LIST: &[u8] = b"system.posix_acl_access";

/// A copy from one tree into another, or within one.
pub(super) struct Copy<'a, 'p> {
    pub(super) from: &'a dyn Tree,
    pub(super) to: &'a dyn Tree,
    /// Why the copies are made, for their history.
    pub(super) cause: &'static str,
    /// Whether each file is on the disk before it is called done: what replaces another one must be.
    pub(super) is_durable: bool,
    /// Where each file was copied to, for its other names. How many those are the past does not tell.
    pub(super) linked: HashMap<Ino, PathBuf>,
    pub(super) files: u64,
    pub(super) bytes: u64,
    /// Entries whose owner or attributes could not be set, since only root, or their owner, may.
    pub(super) refused: u64,
    pub(super) progress: &'a mut Progress<'p>,
}

impl<'a, 'p> Copy<'a, 'p> {
    pub(super) fn new(
        from: &'a dyn Tree,
        to: &'a dyn Tree,
        cause: &'static str,
        progress: &'a mut Progress<'p>,
    ) -> Copy<'a, 'p> {
        let is_durable = false;
        Copy {
            from,
            to,
            cause,
            is_durable,
            linked: HashMap::new(),
            files: 0,
            bytes: 0,
            refused: 0,
            progress,
        }
    }

    /// Copies what is at `from`, with everything below it, to the free name `to`.
    pub(super) fn tree(&mut self, from: &Path, to: &Path) -> Result<()> {
        let attr = self.from.attr(from).map_err(at(self.from, "look at", from))?;
        if attr.kind != FileKind::Directory {
            return self.single(from, &attr, to);
        }
        self.directory(&attr, to)?;
        for (name, _) in self.from.list(from).map_err(at(self.from, "list", from))? {
            self.tree(&from.join(&name), &to.join(&name))?;
        }
        self.attributes(from, &attr, to)
    }

    /// Makes an empty directory. One in `projects` comes with its stages.
    pub(super) fn directory(&mut self, like: &Attr, to: &Path) -> Result<()> {
        self.to.make(to, like).map_err(at(self.to, "make", to))?;
        for (name, kind) in self.to.list(to).map_err(at(self.to, "list", to))? {
            let inner = to.join(name);
            self.to.remove(&inner, kind).map_err(at(self.to, "remove", &inner))?;
        }
        self.count(0);
        Ok(())
    }

    /// Copies what is no directory to the free name `to`.
    pub(super) fn single(&mut self, from: &Path, attr: &Attr, to: &Path) -> Result<()> {
        if self.has_linked(attr.ino, to)? {
            return Ok(());
        }
        match attr.kind {
            FileKind::File => self.content(from, attr, to)?,
            FileKind::Symlink => {
                let target = self.from.target(from).map_err(at(self.from, "read", from))?;
                self.to.symlink(to, &target).map_err(at(self.to, "make", to))?;
            }
            _ => self.to.make(to, attr).map_err(at(self.to, "make", to))?,
        }
        self.attributes(from, attr, to)?;
        self.count(attr.size);
        self.linked.insert(attr.ino, to.to_owned());
        Ok(())
    }

    fn has_linked(&mut self, ino: Ino, to: &Path) -> Result<bool> {
        let Some(first) = self.linked.get(&ino) else { return Ok(false) };
        self.to.link(first, to).map_err(at(self.to, "link", to))?;
        self.count(0);
        Ok(true)
    }

    fn count(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
        (self.progress)(self.files, self.bytes);
    }

    fn content(&mut self, from: &Path, attr: &Attr, to: &Path) -> Result<()> {
        let source = self.from.open(from).map_err(at(self.from, "read", from))?;
        let mut sink = self.to.create(to, self.cause).map_err(at(self.to, "make", to))?;
        self.ranges(&*source, &mut *sink, attr.size).map_err(|source| Error::Io {
            what: "copy",
            path: format!("{} to {}", self.from.shown(from), self.to.shown(to)),
            source,
        })?;
        sink.finish(attr.size, self.is_durable).map_err(at(self.to, "write", to))
    }

    fn ranges(&mut self, source: &dyn Source, sink: &mut dyn Sink, size: u64) -> io::Result<()> {
        let mut block = Vec::new();
        let mut offset = 0;
        while offset < size
            && let Some(data) = source.next_data(offset)?
        {
            offset = data.start;
            let end = data.end.min(size);
            while offset < end {
                let mut copied = sink.share(source, offset, end - offset)?;
                if copied == 0 {
                    block.resize(BLOCK_BYTES.min((end - offset) as usize), 0);
                    copied = source.read_at(offset, &mut block)? as u64;
                    if copied == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    sink.write_at(offset, &block[..copied as usize])?;
                }
                offset += copied;
                (self.progress)(self.files, self.bytes + offset);
            }
        }
        Ok(())
    }

    /// Owner, extended attributes, permissions, times: in this order, since each may change those before it. What only
    /// root may give away stays with whoever runs the command, as with `cp -a`.
    pub(super) fn attributes(&mut self, from: &Path, attr: &Attr, to: &Path) -> Result<()> {
        let owner = self.to.set_owner(to, attr.uid, attr.gid);
        self.refused += u64::from(owner.is_err());
        unless_refused(owner).map_err(at(self.to, "give away", to))?;
        if attr.kind != FileKind::Symlink {
            self.xattrs(from, to)?;
            let mode = u32::from(attr.mode.bits());
            self.to.set_mode(to, mode).map_err(at(self.to, "set the permissions of", to))?;
        }
        let times = self.to.set_times(to, attr.atime, attr.mtime);
        times.map_err(at(self.to, "set the times of", to))
    }

    pub(super) fn xattrs(&self, from: &Path, to: &Path) -> Result<()> {
        for (name, value) in own_xattrs(self.from, from)? {
            let set = self.to.set_xattr(to, &name, &value);
            unless_refused(set).map_err(at(self.to, "set an attribute of", to))?;
        }
        Ok(())
    }
}

/// The extended attributes that are the file's own, sorted by name.
pub fn own_xattrs(tree: &dyn Tree, path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut found = Vec::new();
    let mut names = tree.xattr_names(path).map_err(at(tree, "read the attributes of", path))?;
    names.sort();
    for name in names.into_iter().filter(|name| !name.starts_with(TOLD)) {
        let value = tree.xattr(path, &name).map_err(at(tree, "read an attribute of", path))?;
        found.extend(value.map(|value| (name, value)));
    }
    Ok(found)
}

/// What is not permitted or not known there is left out.
pub(super) fn unless_refused(outcome: io::Result<()>) -> io::Result<()> {
    use io::ErrorKind::{PermissionDenied, Unsupported};
    match outcome {
        Err(error) if matches!(error.kind(), PermissionDenied | Unsupported) => Ok(()),
        outcome => outcome,
    }
}

/// Removes everything at `path`. What is not there is no failure.
pub fn remove_all(tree: &dyn Tree, path: &Path) -> Result<()> {
    let attr = match super::tree::attr_if_any(tree, path).map_err(at(tree, "look at", path))? {
        Some(attr) => attr,
        None => return Ok(()),
    };
    if attr.kind == FileKind::Directory {
        // What was restored may be closed to writing.
        let _ = tree.set_mode(path, 0o700);
        for (name, _) in tree.list(path).map_err(at(tree, "list", path))? {
            remove_all(tree, &path.join(name))?;
        }
    }
    tree.remove(path, attr.kind).map_err(at(tree, "remove", path))
}
