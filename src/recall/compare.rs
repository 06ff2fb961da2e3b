//! What differs between two states of a directory.

use super::copy::{ACCESS_LIST, own_xattrs};
use super::error::{Error, Result, at};
use super::history::{HISTORY, is_not_kept, join};
use super::put_back::is_temporary;
use super::tree::{Progress, Source, Tree, attr_if_any, is_absent};
use crate::model::{Attr, FileKind, Ino, shown_name};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// What is read at once of each of two files.
const BLOCK_BYTES: usize = 1 << 20;
/// Files whose contents are compared in search of those that were moved.
const MOVES_COMPARED_MAX: usize = 10_000;
/// Permission bits that the past shows.
const SHOWN_BITS: u16 = 0o1777;

/// What happened to a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// Its content is another one.
    Changed,
    /// Only owner, permissions, times or extended attributes are others.
    Attributes,
}

/// A name that differs.
#[derive(Clone, Debug)]
pub struct Change {
    /// Relative to the directory that was compared.
    pub path: PathBuf,
    /// How it differs.
    pub what: What,
    /// As it was; `None` if it was not.
    pub before: Option<Attr>,
    /// As it is then; `None` if it is not.
    pub after: Option<Attr>,
}

/// The differences, and what stays.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Directories before what is in them.
    pub(super) changes: Vec<Change>,
    /// Files of the later state, by where they are in the earlier one with the same content.
    pub(super) kept: HashMap<Ino, PathBuf>,
    /// What one state has, and of which history doesn't know whether the other one had it: its versions from then are
    /// not kept, or it makes none.
    pub(super) unknown: Vec<PathBuf>,
}

/// Compares the trees at `old` and `new`.
pub(super) fn compare(
    tree: &dyn Tree,
    old: &Path,
    new: &Path,
    progress: &mut Progress<'_>,
) -> Result<Compared> {
    let found = Compared::default();
    let (later, earlier) = (HashMap::new(), HashMap::new());
    let mut walk = Walk { tree, old, new, found, later, earlier, compared: 0, progress };
    walk.directory(Path::new(""))?;
    Ok(walk.found)
}

struct Walk<'a, 'p> {
    tree: &'a dyn Tree,
    old: &'a Path,
    new: &'a Path,
    found: Compared,
    /// Which file of the other state each is, and the other way round: names that are links to one file must be so in
    /// both states.
    later: HashMap<Ino, Ino>,
    earlier: HashMap<Ino, Ino>,
    compared: u64,
    progress: &'a mut Progress<'p>,
}

impl Walk<'_, '_> {
    fn directory(&mut self, path: &Path) -> Result<()> {
        let (old, new) = (self.names(&join(self.old, path))?, self.names(&join(self.new, path))?);
        let mut names: BTreeMap<&OsString, (bool, bool)> = BTreeMap::new();
        for name in old.keys() {
            names.entry(name).or_default().0 = true;
        }
        for name in new.keys() {
            names.entry(name).or_default().1 = true;
        }
        for (name, (in_old, in_new)) in names {
            let path = path.join(name);
            self.compared += 1;
            (self.progress)(self.compared, 0);
            let before = self.attr_if(in_old, self.old, &path)?;
            let after = self.attr_if(in_new, self.new, &path)?;
            let is_unknown = match (&before, &after) {
                (Some(before), None) => self.is_unknown(&path, before, (self.old, self.new))?,
                (None, Some(after)) => self.is_unknown(&path, after, (self.new, self.old))?,
                _ => false,
            };
            match is_unknown {
                true => self.found.unknown.push(path),
                false => self.name(path, before, after)?,
            }
        }
        Ok(())
    }

    fn names(&self, dir: &Path) -> Result<BTreeMap<OsString, FileKind>> {
        let mut listed = self.tree.list(dir).map_err(at(self.tree, "list", dir))?;
        // Not the rest of a restore that was interrupted.
        listed.retain(|(name, _)| !is_temporary(name));
        Ok(listed.into_iter().collect())
    }

    fn attr_if(&self, is_there: bool, root: &Path, path: &Path) -> Result<Option<Attr>> {
        let path = join(root, path);
        match is_there {
            true => self.tree.attr(&path).map(Some).map_err(at(self.tree, "look at", &path)),
            false => Ok(None),
        }
    }

    /// Whether nobody knows if what one state `has` was in the one that `lacks` it.
    fn is_unknown(&self, path: &Path, attr: &Attr, (has, lacks): (&Path, &Path)) -> Result<bool> {
        let there = join(lacks, path);
        match self.tree.attr(&there) {
            Err(error) if is_not_kept(&error) => return Ok(true),
            Err(error) if !is_absent(&error) => {
                return Err(at(self.tree, "look at", &there)(error));
            }
            _ => {}
        }
        self.makes_no_versions(&join(has, path), attr)
    }

    /// Whether what is at a path makes no versions: something living that history knows nothing of.
    fn makes_no_versions(&self, path: &Path, attr: &Attr) -> Result<bool> {
        let is_past = path.components().any(|part| part.as_os_str() == HISTORY);
        let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(false) };
        if is_past || attr.kind == FileKind::Directory {
            return Ok(false);
        }
        let versions = dir.join(HISTORY).join(OsStr::from_bytes(&shown_name(name.as_bytes())));
        let known = attr_if_any(self.tree, &versions);
        Ok(known.map_err(at(self.tree, "look at", &versions))?.is_none())
    }

    fn name(&mut self, path: PathBuf, before: Option<Attr>, after: Option<Attr>) -> Result<()> {
        match (before, after) {
            (Some(before), Some(after)) if before.kind == after.kind => {
                self.both(path, &before, &after)
            }
            (before, after) => {
                if let Some(before) = before {
                    self.only(path.clone(), before, What::Deleted)?;
                }
                if let Some(after) = after {
                    self.only(path, after, What::Added)?;
                }
                Ok(())
            }
        }
    }

    /// A name that one state has only, with everything below it.
    fn only(&mut self, path: PathBuf, attr: Attr, what: What) -> Result<()> {
        let root = if what == What::Added { self.new } else { self.old };
        let (before, after) = match what {
            What::Added => (None, Some(attr)),
            _ => (Some(attr), None),
        };
        self.found.changes.push(Change { path: path.clone(), what, before, after });
        if attr.kind != FileKind::Directory || self.tree.is_foreign(&join(root, &path)) {
            return Ok(());
        }
        for name in self.names(&join(root, &path))?.into_keys() {
            let inner = path.join(name);
            let attr = self.attr_if(true, root, &inner)?;
            self.compared += 1;
            (self.progress)(self.compared, 0);
            match attr {
                Some(attr) if self.makes_no_versions(&join(root, &inner), &attr)? => {
                    self.found.unknown.push(inner);
                }
                Some(attr) => self.only(inner, attr, what)?,
                None => {}
            }
        }
        Ok(())
    }

    fn both(&mut self, path: PathBuf, before: &Attr, after: &Attr) -> Result<()> {
        if self.tree.is_foreign(&join(self.old, &path)) {
            return Ok(());
        }
        let is_directory = before.kind == FileKind::Directory;
        let what = if !is_directory && !self.is_same(&path, before, after)? {
            Some(What::Changed)
        } else {
            let same = self.has_same_attributes(&path, before, after)?;
            (!same).then_some(What::Attributes)
        };
        if !is_directory && what != Some(What::Changed) {
            self.found.kept.insert(after.ino, join(self.old, &path));
        }
        if let Some(what) = what {
            let (before, after) = (Some(*before), Some(*after));
            self.found.changes.push(Change { path: path.clone(), what, before, after });
        }
        if is_directory { self.directory(&path) } else { Ok(()) }
    }

    /// Whether both names show the same, and are links to one file with the same other names.
    fn is_same(&mut self, path: &Path, before: &Attr, after: &Attr) -> Result<bool> {
        let later = *self.later.entry(before.ino).or_insert(after.ino);
        let earlier = *self.earlier.entry(after.ino).or_insert(before.ino);
        if (earlier, later) != (before.ino, after.ino) {
            return Ok(false);
        }
        let (old, new) = (join(self.old, path), join(self.new, path));
        has_same_content(self.tree, (&old, before), (&new, after))
    }

    /// Set-user-id and set-group-id are not shown of the past. Of a directory neither times nor the access list
    /// count: what the past shows of them is what today allows.
    fn has_same_attributes(&self, path: &Path, before: &Attr, after: &Attr) -> Result<bool> {
        let shown = |attr: &Attr| (attr.mode.bits() & SHOWN_BITS, attr.uid, attr.gid);
        let is_directory = before.kind == FileKind::Directory;
        if shown(before) != shown(after) || !is_directory && before.mtime != after.mtime {
            return Ok(false);
        }
        let xattrs = |root: &Path| -> Result<Vec<_>> {
            let mut found = own_xattrs(self.tree, &join(root, path))?;
            found.retain(|(name, _)| !(is_directory && name == ACCESS_LIST));
            Ok(found)
        };
        Ok(xattrs(self.old)? == xattrs(self.new)?)
    }
}

/// Whether two states of a file show the same.
pub(super) fn has_same_content(
    tree: &dyn Tree,
    (old, before): (&Path, &Attr),
    (new, after): (&Path, &Attr),
) -> Result<bool> {
    match before.kind {
        FileKind::File => {}
        FileKind::Symlink => {
            let target = |path| tree.target(path).map_err(at(tree, "read", path));
            return Ok(target(old)? == target(new)?);
        }
        _ => return Ok(before.rdev == after.rdev),
    }
    if before.size != after.size {
        return Ok(false);
    }
    // The time of the last change of an inode can't be set: where it is the same to the nanosecond, nothing was
    // written in between, and no two files share it.
    if (before.ctime, before.mtime) == (after.ctime, after.mtime) {
        return Ok(true);
    }
    let a = tree.open(old).map_err(at(tree, "read", old))?;
    let b = tree.open(new).map_err(at(tree, "read", new))?;
    has_same_bytes(&*a, &*b, before.size).map_err(|source| Error::Io {
        what: "compare",
        path: tree.shown(old),
        source,
    })
}

fn has_same_bytes(a: &dyn Source, b: &dyn Source, size: u64) -> io::Result<bool> {
    let mut blocks = (vec![0; BLOCK_BYTES], vec![0; BLOCK_BYTES]);
    let mut offset = 0;
    while offset < size {
        let len = BLOCK_BYTES.min((size - offset) as usize);
        let (one, other) = (&mut blocks.0[..len], &mut blocks.1[..len]);
        read_whole(a, offset, one)?;
        read_whole(b, offset, other)?;
        if one != other {
            return Ok(false);
        }
        offset += len as u64;
    }
    Ok(true)
}

fn read_whole(source: &dyn Source, offset: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        match source.read_at(offset + done as u64, &mut into[done..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(())
}

/// Which of the added files are deleted ones under another name: pairs of indices, from and to. The same inode is
/// recognised by its times, which no other has; else the same content, of which a bounded number is compared.
pub(super) fn find_moves(
    tree: &dyn Tree,
    (old, new): (&Path, &Path),
    changes: &[Change],
) -> Result<Vec<(usize, usize)>> {
    let is_file = |attr: &Attr| attr.kind == FileKind::File && attr.size > 0;
    let mut gone: HashMap<u64, VecDeque<usize>> = HashMap::new();
    for (index, change) in changes.iter().enumerate() {
        if let Some(attr) = change.before.as_ref().filter(|attr| is_file(attr))
            && change.what == What::Deleted
        {
            gone.entry(attr.size).or_default().push_back(index);
        }
    }
    let mut left = MOVES_COMPARED_MAX;
    let mut moves = Vec::new();
    for (index, change) in changes.iter().enumerate() {
        let Some(after) = change.after.as_ref().filter(|attr| is_file(attr)) else { continue };
        let Some(candidates) = gone.get_mut(&after.size) else { continue };
        if change.what != What::Added {
            continue;
        }
        let before = |at: usize| changes[at].before.as_ref().map(|attr| (attr.ctime, attr.mtime));
        let is_inode = |at: &usize| before(*at) == Some((after.ctime, after.mtime));
        let mut found = candidates.iter().position(is_inode);
        for (place, candidate) in candidates.iter().enumerate() {
            if found.is_some() || left == 0 {
                break;
            }
            left -= 1;
            let gone = &changes[*candidate];
            let Some(attr) = &gone.before else { continue };
            let (from, to) = (join(old, &gone.path), join(new, &change.path));
            if has_same_content(tree, (&from, attr), (&to, after))? {
                found = Some(place);
            }
        }
        if let Some(from) = found.and_then(|place| candidates.remove(place)) {
            moves.push((from, index));
        }
    }
    Ok(moves)
}
