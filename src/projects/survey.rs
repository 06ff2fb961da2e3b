//! What is in a project: every name below it, and what that adds up to.

use super::error::{Result, at};
use crate::model::{Attr, FileKind, Ino, Timestamp};
use crate::recall::Tree;
use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};

/// What the names below a directory add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Names of anything but directories.
    pub files: u64,
    /// Directories below it.
    pub directories: u64,
    /// The sizes of the files, as `stat` tells them; of several names for one file once.
    pub bytes: u64,
    /// The oldest content of a file; `None` without files.
    pub first_change: Option<Timestamp>,
    /// When anything changed last: a content, an attribute, or the names in a directory (so also when one was removed).
    pub last_change: Option<Timestamp>,
    /// Directories that the asker may not read.
    pub unreadable: u64,
}

impl Survey {
    pub(super) fn add(&mut self, attr: &Attr, seen: &mut HashSet<Ino>) {
        let changed = attr.mtime.max(attr.ctime);
        self.last_change = self.last_change.max(Some(changed));
        if attr.kind == FileKind::Directory {
            self.directories += 1;
            return;
        }
        self.files += 1;
        self.first_change = Some(self.first_change.map_or(attr.mtime, |old| old.min(attr.mtime)));
        if attr.kind == FileKind::File && (attr.nlink == 1 || seen.insert(attr.ino)) {
            self.bytes += attr.size;
        }
    }
}

/// Adds up what is below `dir`, itself not counted but for its last change. What may not be read is counted as such.
pub fn survey(tree: &dyn Tree, dir: &Path) -> Result<Survey> {
    let mut found = Survey::default();
    let mut seen = HashSet::new();
    let top = tree.attr(dir).map_err(at(tree, "look at", dir))?;
    found.last_change = Some(top.mtime.max(top.ctime));
    let unreadable = walk_readable(tree, dir, &mut |_, attr| {
        found.add(attr, &mut seen);
        Ok(())
    })?;
    found.unreadable = unreadable;
    Ok(found)
}

/// What is called for each name, with its path relative to where the walk began.
pub(super) type Visit<'a> = dyn FnMut(&Path, &Attr) -> Result<()> + 'a;

/// Visits everything below `top`, which is a directory: each directory, then at once what is in it, by names. Symbolic
/// links are not followed, other filesystems not entered.
pub(super) fn walk(tree: &dyn Tree, top: &Path, visit: &mut Visit<'_>) -> Result<()> {
    go(tree, top, visit, &mut |dir, error| Err(at(tree, "list", dir)(error)))
}

/// The same; directories that may not be read are left out, and counted.
fn walk_readable(tree: &dyn Tree, top: &Path, visit: &mut Visit<'_>) -> Result<u64> {
    let mut unreadable = 0;
    go(tree, top, visit, &mut |dir, error| match error.kind() {
        io::ErrorKind::PermissionDenied => {
            unreadable += 1;
            Ok(())
        }
        // It went while we looked.
        io::ErrorKind::NotFound if dir != top => Ok(()),
        _ => Err(at(tree, "list", dir)(error)),
    })?;
    Ok(unreadable)
}

fn go(
    tree: &dyn Tree,
    top: &Path,
    visit: &mut Visit<'_>,
    failed: &mut dyn FnMut(&Path, io::Error) -> Result<()>,
) -> Result<()> {
    // A stack of our own: nobody bounds how deep directories go.
    let mut open = listed(tree, top, Path::new(""), failed)?;
    while let Some((path, attr)) = open.pop() {
        visit(&path, &attr)?;
        if attr.kind == FileKind::Directory && !tree.is_foreign(&top.join(&path)) {
            open.extend(listed(tree, top, &path, failed)?);
        }
    }
    Ok(())
}

/// What is in a directory, the last name first.
fn listed(
    tree: &dyn Tree,
    top: &Path,
    dir: &Path,
    failed: &mut dyn FnMut(&Path, io::Error) -> Result<()>,
) -> Result<Vec<(PathBuf, Attr)>> {
    let here = joined(top, dir);
    let mut entries = match tree.entries(&here) {
        Ok(entries) => entries,
        Err(error) => {
            failed(&here, error)?;
            return Ok(Vec::new());
        }
    };
    entries.sort_by(|a, b| b.0.cmp(&a.0));
    Ok(entries.into_iter().map(|(name, attr)| (dir.join(name), attr)).collect())
}

/// `a` and what is below it by the relative path `b`, which may be empty.
pub(super) fn joined(a: &Path, b: &Path) -> PathBuf {
    if b.as_os_str().is_empty() { a.to_owned() } else { a.join(b) }
}
