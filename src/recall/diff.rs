//! What differs between two states, for people.

use super::compare::{Change, compare, find_moves, has_same_content};
use super::error::{Error, Result, at};
use super::history::Past;
use super::tree::{Progress, Tree, read_up_to};
use crate::model::FileKind;
use similar::TextDiff;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Larger files are not compared line by line.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// A comparison that takes longer gives a coarser answer.
const TEXT_TIME_MAX: Duration = Duration::from_secs(5);
/// Lines around a change that are shown.
const CONTEXT_LINES: usize = 3;
/// Where the dimensions of a picture stand.
const PICTURE_HEAD_BYTES: usize = 1 << 20;

/// How two states of a file differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Not at all.
    Same,
    /// By these lines: a unified diff, without its heading.
    Text(String),
    /// Pictures: width and height of each, where they are known.
    Picture(Option<(usize, usize)>, Option<(usize, usize)>),
    /// By where the symbolic link leads; `None` for what is none.
    Target(Option<PathBuf>, Option<PathBuf>),
    /// Somehow: they are not text.
    Binary,
}

/// The difference of two states of a file; a state that is missing is one in which it was not there.
#[derive(Clone, Debug)]
pub struct FileDiff {
    /// Bytes of the earlier one.
    pub before: Option<u64>,
    /// Bytes of the later one.
    pub after: Option<u64>,
    /// What differs.
    pub body: Body,
}

/// The difference of two states of a directory.
#[derive(Clone, Debug)]
pub struct TreeDiff {
    /// Names that differ, sorted, without those that were moved.
    pub changes: Vec<Change>,
    /// Files that are the same under another name: from and to.
    pub moved: Vec<(PathBuf, PathBuf)>,
}

/// Compares two states of a file.
pub fn diff_file(tree: &dyn Tree, old: Option<&Past>, new: Option<&Past>) -> Result<FileDiff> {
    let (before, after) = (old.map(|old| old.attr.size), new.map(|new| new.attr.size));
    for state in [old, new].into_iter().flatten() {
        if state.attr.kind == FileKind::Directory {
            return Err(Error::IsDirectory { path: tree.shown(&state.path) });
        }
    }
    let body = body(tree, old, new)?;
    Ok(FileDiff { before, after, body })
}

fn body(tree: &dyn Tree, old: Option<&Past>, new: Option<&Past>) -> Result<Body> {
    if let (Some(old), Some(new)) = (old, new)
        && old.attr.kind == new.attr.kind
        && has_same_content(tree, (&old.path, &old.attr), (&new.path, &new.attr))?
    {
        return Ok(Body::Same);
    }
    let is_link = |state: &Past| state.attr.kind == FileKind::Symlink;
    if old.is_some_and(is_link) || new.is_some_and(is_link) {
        return Ok(Body::Target(target(tree, old)?, target(tree, new)?));
    }
    if let (Some(old), Some(new)) = (text(tree, old)?, text(tree, new)?) {
        return Ok(Body::Text(unified(&old, &new)));
    }
    Ok(match (dimensions(tree, old)?, dimensions(tree, new)?) {
        (None, None) => Body::Binary,
        (old, new) => Body::Picture(old, new),
    })
}

fn target(tree: &dyn Tree, state: Option<&Past>) -> Result<Option<PathBuf>> {
    let Some(state) = state.filter(|state| state.attr.kind == FileKind::Symlink) else {
        return Ok(None);
    };
    tree.target(&state.path).map(Some).map_err(at(tree, "read", &state.path))
}

/// The content as text; what is not there is empty. `None` if it is none.
fn text(tree: &dyn Tree, state: Option<&Past>) -> Result<Option<String>> {
    let Some(state) = state else { return Ok(Some(String::new())) };
    if state.attr.kind != FileKind::File || state.attr.size > TEXT_BYTES_MAX {
        return Ok(None);
    }
    let bytes = head(tree, &state.path, TEXT_BYTES_MAX as usize)?;
    Ok(String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')))
}

fn head(tree: &dyn Tree, path: &Path, max: usize) -> Result<Vec<u8>> {
    let source = tree.open(path).map_err(at(tree, "read", path))?;
    read_up_to(&*source, max).map_err(at(tree, "read", path))
}

fn unified(old: &str, new: &str) -> String {
    let diff = TextDiff::configure().timeout(TEXT_TIME_MAX).diff_lines(old, new);
    diff.unified_diff().context_radius(CONTEXT_LINES).to_string()
}

fn dimensions(tree: &dyn Tree, state: Option<&Past>) -> Result<Option<(usize, usize)>> {
    let Some(state) = state.filter(|state| state.attr.kind == FileKind::File) else {
        return Ok(None);
    };
    let head = head(tree, &state.path, PICTURE_HEAD_BYTES)?;
    // What is no picture, or a broken one, has no dimensions to tell.
    Ok(imagesize::blob_size(&head).ok().map(|size| (size.width, size.height)))
}

/// Compares two states of a directory.
pub fn diff_tree(
    tree: &dyn Tree,
    old: &Past,
    new: &Past,
    progress: &mut Progress<'_>,
) -> Result<TreeDiff> {
    for state in [old, new] {
        if state.attr.kind != FileKind::Directory {
            return Err(Error::NotDirectory { path: tree.shown(&state.path) });
        }
    }
    let mut changes = compare(tree, &old.path, &new.path, progress)?.changes;
    let pairs = find_moves(tree, (&old.path, &new.path), &changes)?;
    let path = |index: usize| changes[index].path.clone();
    let moved = pairs.iter().map(|(from, to)| (path(*from), path(*to))).collect();
    let mut is_moved = vec![false; changes.len()];
    for (from, to) in pairs {
        is_moved[from] = true;
        is_moved[to] = true;
    }
    let mut is_moved = is_moved.into_iter();
    changes.retain(|_| !is_moved.next().unwrap_or(false));
    Ok(TreeDiff { changes, moved })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_compared() {
        let text = unified("a\nb\nc\n", "a\nB\nc\n");
        assert!(text.ends_with("@@ -1,3 +1,3 @@\n a\n-b\n+B\n c\n"), "{text}");
    }
}
