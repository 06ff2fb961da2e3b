//! What `.versions` says of a path.
//!
//! History is asked of the deepest directory on the way that lives today, which knows what it was under its earlier
//! names; then of those above it, for directories that were deleted and made anew under the same name.

use super::error::{Error, Result, at};
use super::tree::{Tree, attr_if_any, is_absent};
use crate::model::{Attr, FileKind, Moment, Timestamp, Zone, moment_name, parse_when, shown_name};
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// The directory of a directory's history.
pub(super) const HISTORY: &str = ".versions";
/// How the link begins that says where something went.
const MOVED: &str = "moved-";
/// What is read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// One version of a name.
#[derive(Clone, Debug)]
pub struct Version {
    /// Its number; `None` where only the folder in which it was is a version, and was deleted.
    pub number: Option<u64>,
    /// From when the name showed it.
    pub began: Moment,
    /// Until when; `None` while it does.
    pub ended: Option<Moment>,
    /// Who wrote it.
    pub author: u32,
    /// Why it was made.
    pub cause: String,
    /// Size, kind, times.
    pub attr: Attr,
    /// Where it can be read.
    pub path: PathBuf,
}

/// A state of the past: where it can be read.
#[derive(Clone, Debug)]
pub struct Past {
    /// Its path in the tree.
    pub path: PathBuf,
    /// Its attributes.
    pub attr: Attr,
    /// Its version, where it was found as one.
    pub version: Option<Version>,
}

/// Which state is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// The version with this number.
    Number(u64),
    /// What the name showed at a moment.
    At(Moment),
    /// The living one, or the last one of what was deleted.
    Newest,
    /// The last one that is not the living one.
    Earlier,
}

/// Whether the drive answers for its past.
pub(super) fn check_history(tree: &dyn Tree) -> Result<()> {
    let root = Path::new("");
    match attr_if_any(tree, Path::new(HISTORY)).map_err(at(tree, "read the history of", root))? {
        Some(_) => Ok(()),
        None => Err(Error::NoHistory { path: tree.shown(root) }),
    }
}

/// The directories on the way to `path` that live today, the deepest first (`path` itself, if it is one), each with
/// what is left of the path.
pub(super) fn living_dirs<'a>(
    tree: &dyn Tree,
    path: &'a Path,
) -> Result<Vec<(&'a Path, &'a Path)>> {
    let mut found = Vec::new();
    for dir in path.ancestors() {
        let attr = attr_if_any(tree, dir).map_err(at(tree, "look at", dir))?;
        if attr.is_some_and(|attr| attr.kind == FileKind::Directory) {
            let rest = path.strip_prefix(dir).unwrap_or(Path::new(""));
            found.push((dir, rest));
        }
    }
    Ok(found)
}

/// All versions of the path, the oldest first.
pub fn versions(tree: &dyn Tree, path: &Path) -> Result<Vec<Version>> {
    let mut found = Vec::new();
    for (dir, rest) in living_dirs(tree, path)? {
        let mut rest = rest.components();
        let Some(name) = rest.next() else { continue };
        let below = rest.as_path();
        for mut version in versions_of_name(tree, dir, name.as_os_str())? {
            if !below.as_os_str().is_empty() {
                let Some(inner) = within_folder(tree, &version, below)? else { continue };
                version = inner;
            }
            found.push(version);
        }
    }
    found.sort_by_key(|version| (version.began, version.number));
    Ok(found)
}

/// The versions of a name in a living directory.
pub(super) fn versions_of_name(tree: &dyn Tree, dir: &Path, name: &OsStr) -> Result<Vec<Version>> {
    let shown = shown_name(name.as_bytes());
    let list = dir.join(HISTORY).join(OsStr::from_bytes(&shown));
    let names = match tree.list(&list) {
        Err(error) if is_absent(&error) => return Ok(Vec::new()),
        names => names.map_err(at(tree, "list", &list))?,
    };
    let mut found = Vec::with_capacity(names.len());
    for (name, _) in names {
        // Where it was moved to is no version.
        if crate::model::parse_number(name.as_bytes()).is_none() {
            continue;
        }
        // It may have gone meanwhile.
        found.extend(read_version(tree, list.join(name))?);
    }
    found.sort_by_key(|version| version.number);
    Ok(found)
}

/// Where what the name last held is today, as a path in the tree; `None` where the drive does not say.
pub(super) fn moved_to(tree: &dyn Tree, path: &Path) -> Result<Option<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
    let list = dir.join(HISTORY).join(OsStr::from_bytes(&shown_name(name.as_bytes())));
    let names = match tree.list(&list) {
        Err(error) if is_absent(&error) => return Ok(None),
        names => names.map_err(at(tree, "list", &list))?,
    };
    let is_way = |name: &OsStr| name.as_bytes().starts_with(MOVED.as_bytes());
    let Some((way, _)) = names.into_iter().find(|(name, _)| is_way(name)) else { return Ok(None) };
    let way = list.join(way);
    let target = tree.target(&way).map_err(at(tree, "read", &way))?;
    Ok(resolved(&list, &target))
}

/// Where a relative link leads, without looking; `None` where that is out of the tree.
fn resolved(dir: &Path, target: &Path) -> Option<PathBuf> {
    let mut at = dir.to_owned();
    for component in target.components() {
        match component {
            Component::ParentDir if !at.pop() => return None,
            Component::Normal(name) => at.push(name),
            Component::ParentDir | Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(at)
}

fn read_version(tree: &dyn Tree, path: PathBuf) -> Result<Option<Version>> {
    let attr = attr_if_any(tree, &path).map_err(at(tree, "look at", &path))?;
    let Some(attr) = attr else { return Ok(None) };
    let told = |name: &str| -> Result<Option<String>> {
        let name = format!("user.verso.{name}");
        let value = tree.xattr(&path, name.as_bytes()).map_err(at(tree, "read", &path))?;
        Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
    };
    let name = path.file_name().map(OsStr::as_bytes).unwrap_or_default();
    Ok(Some(Version {
        number: crate::model::parse_number(name),
        began: told("moment")?.and_then(read_moment).unwrap_or(Moment(attr.mtime.0)),
        ended: told("until")?.and_then(read_moment),
        author: told("author")?.and_then(|uid| uid.parse().ok()).unwrap_or(attr.uid),
        cause: told("cause")?.unwrap_or_else(|| "save".to_owned()),
        attr,
        path,
    }))
}

/// What a folder that is gone held at `below`: its own past went with the folder, but its last state is there.
fn within_folder(tree: &dyn Tree, folder: &Version, below: &Path) -> Result<Option<Version>> {
    if folder.attr.kind != FileKind::Directory {
        return Ok(None);
    }
    let path = folder.path.join(below);
    let attr = attr_if_any(tree, &path).map_err(at(tree, "look at", &path))?;
    Ok(attr.map(|attr| Version {
        number: None,
        began: Moment(attr.mtime.0),
        author: attr.uid,
        attr,
        path,
        ..folder.clone()
    }))
}

/// A moment as the drive names it: exact, in UTC.
pub(super) fn read_moment(text: String) -> Option<Moment> {
    let latest = Timestamp(i64::MAX);
    parse_when(&text, latest, &Zone::UTC).ok().map(|when| when.moment)
}

/// Whether an answer means that there may have been something, of which nothing is kept any more.
pub(super) fn is_not_kept(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::StaleNetworkFileHandle
}

/// What the path showed at a moment.
///
/// # Errors
/// [`Error::NotKept`] where nobody knows any more.
pub fn state_at(tree: &dyn Tree, path: &Path, moment: Moment) -> Result<Option<Past>> {
    let when = moment_name(moment);
    let mut is_lost = false;
    for (dir, rest) in living_dirs(tree, path)? {
        let past = join(&dir.join(HISTORY).join("@at").join(&when), rest);
        match attr_if_any(tree, &past) {
            Ok(None) => {}
            Ok(Some(attr)) => return Ok(Some(Past { path: past, attr, version: None })),
            Err(error) if is_not_kept(&error) => is_lost = true,
            Err(error) => return Err(at(tree, "look at", &past)(error)),
        }
    }
    // Under another name: the list of versions goes on with what it was before it was moved here.
    let mut versions = versions(tree, path)?;
    let next = versions.partition_point(|version| version.began <= moment);
    versions.truncate(next);
    let last = versions.pop().filter(|last| last.ended.is_none_or(|ended| ended > moment));
    match last.filter(|last| last.attr.kind != FileKind::Directory).map(Past::from) {
        None if is_lost => Err(Error::NotKept { path: tree.shown(path), when }),
        found => Ok(found),
    }
}

impl From<Version> for Past {
    fn from(version: Version) -> Past {
        Past { path: version.path.clone(), attr: version.attr, version: Some(version) }
    }
}

/// Without a slash at the end, which would ask for a directory.
pub(super) fn join(dir: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { dir.to_owned() } else { dir.join(rest) }
}

/// What is in `@deleted` under the path: the last state of what was deleted there.
pub(super) fn deleted(tree: &dyn Tree, path: &Path) -> Result<Option<Past>> {
    for (dir, rest) in living_dirs(tree, path)? {
        if rest.as_os_str().is_empty() {
            continue;
        }
        let past = dir.join(HISTORY).join("@deleted").join(rest);
        let attr = attr_if_any(tree, &past).map_err(at(tree, "look at", &past))?;
        if let Some(attr) = attr {
            return Ok(Some(Past { path: past, attr, version: None }));
        }
    }
    Ok(None)
}

/// The state that is meant.
///
/// # Errors
/// [`Error::Unknown`], [`Error::NotThen`], [`Error::NotKept`], [`Error::NoVersion`] and [`Error::NoEarlier`], if there is none.
pub fn pick(tree: &dyn Tree, path: &Path, which: Pick) -> Result<Past> {
    check_history(tree)?;
    let living = attr_if_any(tree, path).map_err(at(tree, "look at", path))?;
    let shown = || tree.shown(path);
    match (which, living) {
        (Pick::At(moment), _) => match state_at(tree, path, moment)? {
            Some(past) => Ok(past),
            None if is_known(tree, path, living)? => {
                Err(Error::NotThen { path: shown(), when: moment_name(moment) })
            }
            None => Err(Error::Unknown { path: shown() }),
        },
        (Pick::Newest, Some(attr)) => Ok(Past { path: path.to_owned(), attr, version: None }),
        (Pick::Number(number), _) => {
            let list = versions(tree, path)?;
            let has_any = !list.is_empty() || living.is_some();
            let found = list.into_iter().rev().find(|version| version.number == Some(number));
            found.map(Past::from).ok_or_else(|| match has_any {
                true => Error::NoVersion { path: shown(), number },
                false => Error::Unknown { path: shown() },
            })
        }
        (Pick::Newest | Pick::Earlier, None) => last_state(tree, path),
        (Pick::Earlier, Some(attr)) => {
            let mut list = versions(tree, path)?;
            // A folder is a version once it is gone, and a file once its writer is done.
            let shows = |version: &Version| {
                (version.attr.size, version.attr.mtime) == (attr.size, attr.mtime)
            };
            if attr.kind != FileKind::Directory && list.last().is_some_and(shows) {
                list.pop();
            }
            list.pop().map(Past::from).ok_or_else(|| Error::NoEarlier { path: shown() })
        }
    }
}

/// Writes the content out.
///
/// # Errors
/// [`Error::IsDirectory`], [`Error::NoContent`]; a failing `out` is one at `standard output`.
pub fn write_content(tree: &dyn Tree, past: &Past, out: &mut dyn Write) -> Result<()> {
    let path = &past.path;
    match past.attr.kind {
        FileKind::File => {}
        FileKind::Directory => return Err(Error::IsDirectory { path: tree.shown(path) }),
        _ => return Err(Error::NoContent { path: tree.shown(path) }),
    }
    let source = tree.open(path).map_err(at(tree, "read", path))?;
    let (mut block, mut offset) = (vec![0; BLOCK_BYTES], 0);
    loop {
        let read = source.read_at(offset, &mut block).map_err(at(tree, "read", path))?;
        let written = out.write_all(&block[..read]);
        written.map_err(|source| Error::Io {
            what: "write to",
            path: "standard output".to_owned(),
            source,
        })?;
        offset += read as u64;
        if read == 0 {
            return Ok(());
        }
    }
}

/// The last state of what is not there any more.
fn last_state(tree: &dyn Tree, path: &Path) -> Result<Past> {
    if let Some(past) = deleted(tree, path)? {
        return Ok(past);
    }
    let last = versions(tree, path)?.pop();
    last.map(Past::from).ok_or_else(|| Error::Unknown { path: tree.shown(path) })
}

fn is_known(tree: &dyn Tree, path: &Path, living: Option<Attr>) -> Result<bool> {
    Ok(living.is_some() || !versions(tree, path)?.is_empty() || deleted(tree, path)?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_followed_within_the_tree() {
        let way = |target: &str| resolved(Path::new("a/.versions/f"), Path::new(target));
        assert_eq!(way("../../g"), Some(PathBuf::from("a/g")));
        assert_eq!(way("../../../b/./g"), Some(PathBuf::from("b/g")));
        assert_eq!(way("../../../../g"), None);
        assert_eq!(way("/g"), None);
    }
}
