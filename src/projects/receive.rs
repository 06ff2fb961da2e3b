//! What comes in, from wherever: a tree that grows under a hidden name until it is whole.
//!
//! An import that was killed is simply begun anew: a file that is there already, with the size and time that it is to have,
//! is left alone, since its time is set last of all.

use super::error::{Error, Result, at};
use super::survey::joined;
use crate::model::{Attr, FileKind, Ino, Mode, Timestamp};
use crate::recall::{Sink, Tree, attr_if_any, printable, remove_all};
use crate::sys::{Task, failpoint};
use std::collections::HashSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What was left out is told by name, up to so many.
const NAMED_MAX: usize = 20;
/// Attributes that tell of versions, and can't be set.
pub(super) const TOLD: &[u8] = b"user.verso.";

/// What was imported.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Files, links and directories.
    pub files: u64,
    /// The bytes of the files.
    pub bytes: u64,
    /// Of these, what was there already, from an import that was interrupted.
    pub files_kept: u64,
    /// Entries whose owner or attributes could not be set.
    pub refused: u64,
    /// What was left out (device nodes, what can't be named so), with the reason; the first ones.
    pub left_out: Vec<String>,
    /// How many were left out.
    pub left_out_count: u64,
}

/// What something is to be.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) kind: FileKind,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rdev: u32,
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    pub(super) atime: Timestamp,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meta {
    pub(super) fn of(attr: &Attr, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Meta {
        Meta {
            kind: attr.kind,
            mode: attr.mode.bits(),
            uid: attr.uid,
            gid: attr.gid,
            rdev: attr.rdev,
            size: attr.size,
            mtime: attr.mtime,
            atime: attr.atime,
            xattrs,
        }
    }

    /// As far as making something goes by it.
    fn attr(&self) -> Attr {
        Attr {
            ino: Ino(0),
            kind: self.kind,
            mode: Mode::new(u32::from(self.mode)),
            nlink: 1,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size: self.size,
            allocated: 0,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.mtime,
            btime: self.mtime,
        }
    }
}

/// Puts what comes in below `root`. All paths are relative to that, and have normal components only.
pub(super) struct Receiver<'a> {
    tree: &'a dyn Tree,
    root: PathBuf,
    from: String,
    task: &'a dyn Task,
    /// Directories that are known to be some: so that nothing is put through a symbolic link.
    known: HashSet<PathBuf>,
    /// What the directories are to be, once everything is in them.
    directories: Vec<(PathBuf, Meta)>,
    pub(super) done: Imported,
}

impl<'a> Receiver<'a> {
    /// Makes the root, or goes on in it. `from`: what people call the source.
    pub(super) fn new(
        tree: &'a dyn Tree,
        root: &Path,
        from: String,
        task: &'a dyn Task,
    ) -> Result<Receiver<'a>> {
        let root = root.to_owned();
        if attr_if_any(tree, &root).map_err(at(tree, "look at", &root))?.is_none() {
            let outer = root.parent().unwrap_or(Path::new(""));
            let like = tree.attr(outer).map_err(at(tree, "look at", outer))?;
            tree.make(&root, &like).map_err(at(tree, "make", &root))?;
        }
        let known = HashSet::from([PathBuf::new()]);
        let (directories, done) = (Vec::new(), Imported::default());
        let receiver = Receiver { tree, root, from, task, known, directories, done };
        receiver.remove_stages()?;
        Ok(receiver)
    }

    /// A directory that is made in `projects` may come with its stages.
    fn remove_stages(&self) -> Result<()> {
        for (name, kind) in self.tree.list(&self.root).map_err(at(self.tree, "list", &self.root))? {
            let path = self.root.join(name);
            if kind == FileKind::Directory {
                match self.tree.remove(&path, kind) {
                    Err(error) if error.kind() == ErrorKind::DirectoryNotEmpty => {}
                    done => done.map_err(at(self.tree, "remove", &path))?,
                }
            }
        }
        Ok(())
    }

    fn at(&self, path: &Path) -> PathBuf {
        joined(&self.root, path)
    }

    fn there(&self, path: &Path) -> Result<Option<Attr>> {
        let path = self.at(path);
        attr_if_any(self.tree, &path).map_err(at(self.tree, "look at", &path))
    }

    /// Why all of it is refused.
    pub(super) fn refusal(&self, why: impl Into<String>) -> Error {
        Error::Import { from: self.from.clone(), why: why.into() }
    }

    /// It can't be read now.
    pub(super) fn unread(&self, source: io::Error) -> Error {
        Error::Io { what: "read", path: self.from.clone(), source }
    }

    /// Something is not taken along.
    pub(super) fn leave_out(&mut self, path: &Path, why: &str) {
        self.done.left_out_count += 1;
        if self.done.left_out.len() < NAMED_MAX {
            self.done.left_out.push(format!("{}: {why}", printable(path)));
        }
    }

    /// Counts one more; stops if it is to.
    fn count(&mut self, bytes: u64) -> Result<()> {
        self.done.files += 1;
        self.done.bytes += bytes;
        self.task.progress(self.done.bytes, 0);
        failpoint::hit("import-entry");
        self.check_stopped()
    }

    fn check_stopped(&self) -> Result<()> {
        if self.task.is_stopped() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Makes the directories on the way to a path that are not there.
    fn make_way(&mut self, path: &Path) -> Result<()> {
        let way: Vec<&Path> = path.ancestors().skip(1).collect();
        for dir in way.into_iter().rev() {
            self.make_directory(dir)?;
        }
        Ok(())
    }

    fn make_directory(&mut self, dir: &Path) -> Result<()> {
        if self.known.contains(dir) {
            return Ok(());
        }
        match self.there(dir)?.map(|attr| attr.kind) {
            Some(FileKind::Directory) => {}
            Some(_) => {
                let why = format!("{} is a directory and is none", printable(dir));
                return Err(self.refusal(why));
            }
            None => {
                let path = self.at(dir);
                let like =
                    Meta { kind: FileKind::Directory, ..Meta::of(&self.root_attr()?, Vec::new()) };
                self.tree.make(&path, &like.attr()).map_err(at(self.tree, "make", &path))?;
            }
        }
        self.known.insert(dir.to_owned());
        Ok(())
    }

    fn root_attr(&self) -> Result<Attr> {
        self.tree.attr(&self.root).map_err(at(self.tree, "look at", &self.root))
    }

    /// A directory; what it is to be is set at the end. The empty path is the root itself.
    pub(super) fn directory(&mut self, path: &Path, meta: Meta) -> Result<()> {
        self.make_way(path)?;
        self.make_directory(path)?;
        self.directories.push((path.to_owned(), meta));
        self.count(0)
    }

    /// A file, which `write` gives its content. It is not asked to where the file is there.
    pub(super) fn file(
        &mut self,
        path: &Path,
        meta: &Meta,
        write: &mut dyn FnMut(&mut dyn Sink) -> io::Result<()>,
    ) -> Result<()> {
        self.make_way(path)?;
        if let Some(there) = self.there(path)? {
            let is_same = there.kind == FileKind::File && there.size == meta.size;
            if is_same && there.mtime == meta.mtime {
                self.done.files_kept += 1;
                return self.count(meta.size);
            }
            self.clear(path, &there)?;
        }
        let place = self.at(path);
        let made = self.tree.create(&place, "import");
        let mut sink = made.map_err(at(self.tree, "make", &place))?;
        let written = write(&mut *sink).and_then(|()| sink.finish(meta.size, false));
        self.check_stopped()?;
        match written {
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                return Err(self.refusal(error.to_string()));
            }
            done => done.map_err(at(self.tree, "write", &place))?,
        }
        failpoint::hit("import-written");
        self.attributes(&place, meta)?;
        self.count(meta.size)
    }

    /// A symbolic link.
    pub(super) fn symlink(&mut self, path: &Path, target: &Path, meta: &Meta) -> Result<()> {
        self.make_way(path)?;
        if let Some(there) = self.there(path)? {
            self.clear(path, &there)?;
        }
        let place = self.at(path);
        self.tree.symlink(&place, target).map_err(at(self.tree, "make", &place))?;
        self.attributes(&place, meta)?;
        self.count(0)
    }

    /// Another name for a file that came before.
    pub(super) fn link(&mut self, path: &Path, first: &Path) -> Result<()> {
        self.make_way(path)?;
        let is_reached = match first.parent() {
            Some(parent) => self.is_known(parent)?,
            None => false,
        };
        let original = if is_reached { self.there(first)? } else { None };
        let Some(original) = original.filter(|attr| attr.kind != FileKind::Directory) else {
            let why = format!(
                "{} is a name for {}, which is not there",
                printable(path),
                printable(first)
            );
            return Err(self.refusal(why));
        };
        match self.there(path)? {
            Some(there) if there.ino == original.ino => return self.count(0),
            Some(there) => self.clear(path, &there)?,
            None => {}
        }
        let (first, place) = (self.at(first), self.at(path));
        self.tree.link(&first, &place).map_err(at(self.tree, "link", &place))?;
        self.count(0)
    }

    /// Whether this is a directory of ours, and none that a symbolic link leads to.
    fn is_known(&mut self, dir: &Path) -> Result<bool> {
        let way: Vec<&Path> = dir.ancestors().collect();
        for dir in way.into_iter().rev() {
            if !self.known.contains(dir) {
                if self.there(dir)?.is_none_or(|attr| attr.kind != FileKind::Directory) {
                    return Ok(false);
                }
                self.known.insert(dir.to_owned());
            }
        }
        Ok(true)
    }

    /// A pipe, a socket or a device node; what only root may make is left out.
    pub(super) fn special(&mut self, path: &Path, meta: &Meta) -> Result<()> {
        self.make_way(path)?;
        if let Some(there) = self.there(path)? {
            self.clear(path, &there)?;
        }
        let place = self.at(path);
        match self.tree.make(&place, &meta.attr()) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                self.leave_out(path, "only root can make a device node");
                return Ok(());
            }
            done => done.map_err(at(self.tree, "make", &place))?,
        }
        self.attributes(&place, meta)?;
        self.count(0)
    }

    /// Makes room for what is to be at a path: from an earlier attempt, or what an archive has twice.
    fn clear(&self, path: &Path, there: &Attr) -> Result<()> {
        let place = self.at(path);
        match there.kind {
            FileKind::Directory => {
                Err(self.refusal(format!("{} is a directory and is none", printable(path))))
            }
            kind => self.tree.remove(&place, kind).map_err(at(self.tree, "remove", &place)),
        }
    }

    /// Owner, attributes, permissions, times: in this order, since each may change those before it.
    fn attributes(&mut self, place: &Path, meta: &Meta) -> Result<()> {
        let mut refused = !is_set(self.tree.set_owner(place, meta.uid, meta.gid)).map_err(at(
            self.tree,
            "give away",
            place,
        ))?;
        if meta.kind != FileKind::Symlink {
            for (name, value) in meta.xattrs.iter().filter(|(name, _)| !name.starts_with(TOLD)) {
                let set = is_set(self.tree.set_xattr(place, name, value));
                refused |= !set.map_err(at(self.tree, "set an attribute of", place))?;
            }
            let set = self.tree.set_mode(place, u32::from(meta.mode));
            set.map_err(at(self.tree, "set the permissions of", place))?;
        }
        self.done.refused += u64::from(refused);
        let set = self.tree.set_times(place, meta.atime, meta.mtime);
        set.map_err(at(self.tree, "set the times of", place))
    }

    /// Whether something is the whole of what came in: the name of the one directory at the root, unless the root itself
    /// was told of.
    pub(super) fn only_directory(&self) -> Result<Option<PathBuf>> {
        if self.directories.iter().any(|(path, _)| path.as_os_str().is_empty()) {
            return Ok(None);
        }
        let mut listed = self.tree.list(&self.root).map_err(at(self.tree, "list", &self.root))?;
        match (listed.len(), listed.pop()) {
            (1, Some((name, FileKind::Directory))) => Ok(Some(self.root.join(name))),
            _ => Ok(None),
        }
    }

    /// Makes the directories what they are to be: the deepest first, since they may be closed to writing.
    pub(super) fn finish(mut self) -> Result<Imported> {
        let told: HashSet<PathBuf> =
            self.directories.iter().map(|(path, _)| path.clone()).collect();
        let untold: Vec<PathBuf> = self.known.difference(&told).cloned().collect();
        for path in untold {
            let place = self.at(&path);
            let set = self.tree.set_mode(&place, 0o755);
            set.map_err(at(self.tree, "set the permissions of", &place))?;
        }
        let mut directories = std::mem::take(&mut self.directories);
        // Of one that was told of twice the last word holds; sorting keeps their order.
        directories.sort_by_key(|(path, _)| std::cmp::Reverse(path.components().count()));
        for (path, meta) in directories {
            let place = self.at(&path);
            self.attributes(&place, &meta)?;
        }
        Ok(self.done)
    }

    /// Takes back everything that came in.
    pub(super) fn discard(&self) {
        // Why it is, is what is to be told.
        let _ = remove_all(self.tree, &self.root);
    }
}

/// Whether it was set; not, where it is not permitted or not known.
fn is_set(outcome: io::Result<()>) -> io::Result<bool> {
    match outcome {
        Err(error)
            if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) =>
        {
            Ok(false)
        }
        outcome => outcome.map(|()| true),
    }
}
