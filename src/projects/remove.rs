//! Removing a project from the live tree. Its history stays, as that of everything that is deleted.

use super::error::{Error, Result, at};
use super::survey::{joined, walk};
use crate::model::FileKind;
use crate::recall::Tree;
use crate::sys::Task;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Removes everything at `dir`, and it; how many names those were. Interrupted, the rest of it is still there.
///
/// Permissions are changed only where something could not be removed otherwise: what is brought back has those that it had.
pub fn remove(tree: &dyn Tree, dir: &Path, task: &dyn Task) -> Result<u64> {
    let mut found: Vec<(PathBuf, FileKind)> = vec![(PathBuf::new(), FileKind::Directory)];
    walk(tree, dir, &mut |path, attr| {
        found.push((path.to_owned(), attr.kind));
        Ok(())
    })?;
    let total = found.len() as u64;
    for (done, (path, kind)) in found.into_iter().rev().enumerate() {
        if task.is_stopped() {
            return Err(Error::Stopped);
        }
        let path = joined(dir, &path);
        remove_one(tree, &path, kind).map_err(at(tree, "remove", &path))?;
        task.progress(done as u64 + 1, total);
    }
    tree.sync(dir.parent().unwrap_or(dir)).map_err(at(tree, "write", dir))?;
    Ok(total)
}

fn remove_one(tree: &dyn Tree, path: &Path, kind: FileKind) -> io::Result<()> {
    match tree.remove(path, kind) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let outer = path.parent().unwrap_or(Path::new(""));
            let mode = tree.attr(outer)?.mode.bits();
            // Its owner may open it; anybody else hears the first answer.
            tree.set_mode(outer, u32::from(mode | 0o700)).map_err(|_| error)?;
            tree.remove(path, kind)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
