//! What happened to a file, or below a directory.

use super::error::{Error, Result, at};
use super::history::{
    HISTORY, Version, check_history, deleted, is_not_kept, moved_to, read_moment, versions,
    versions_of_name,
};
use super::put_back::is_temporary;
use super::tree::{Progress, Tree, attr_if_any};
use crate::model::{FileKind, Moment, moment_name, real_names};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories within each other that are looked into.
const DEPTH_MAX: usize = 512;
/// What comes back within this time was not gone.
const PAUSE_NANOS: i64 = 10_000_000_000;
const DELETED: &str = "delete";
const MOVED: &str = "move";
const GONE: &str = "gone";

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// To what, as a path in the tree.
    pub path: PathBuf,
    /// `save`, `replace`, `restore`, `rewind`, `import`; or `delete`, `move`, or `gone`: one of these two.
    pub what: String,
    /// Where it is today that was moved.
    pub to: Option<PathBuf>,
    /// The version that it made, or that a deletion ended.
    pub number: Option<u64>,
    /// Size in bytes of that version.
    pub size: Option<u64>,
    /// Who did it, where that is known.
    pub author: Option<u32>,
    /// Until when the name showed it; `None` while it does.
    pub until: Option<Moment>,
    /// The BLAKE3 of the content, if it was asked for.
    pub hash: Option<String>,
    /// What it happened to.
    pub kind: FileKind,
    /// Where the version can be read.
    pub source: PathBuf,
}

impl Event {
    /// Whether the name ceased to show anything.
    pub fn is_end(&self) -> bool {
        [DELETED, MOVED, GONE].contains(&&self.what[..])
    }
}

/// What happened, the newest first.
#[derive(Clone, Debug)]
pub struct Log {
    /// Events, the newest first.
    pub events: Vec<Event>,
    /// Whether there are more than were asked for.
    pub has_more: bool,
    /// Whether this is about what is below a directory.
    pub is_directory: bool,
    /// Whether it is there today.
    pub is_living: bool,
    /// Names below it that may not be read.
    pub unreadable: u64,
}

impl Log {
    /// Finds out the hash of each version's content, which takes reading them; where the drive tells it.
    pub fn read_hashes(&mut self, tree: &dyn Tree) -> Result<()> {
        for event in self.events.iter_mut().filter(|event| event.kind == FileKind::File) {
            let told = tree.xattr(&event.source, b"user.verso.hash");
            let told = told.map_err(at(tree, "hash", &event.source))?;
            event.hash = told.map(|hash| String::from_utf8_lossy(&hash).into_owned());
        }
        Ok(())
    }
}

/// What happened to the path, or below it, since a moment: at most `limit` events.
///
/// # Errors
/// [`Error::Unknown`], if there is and was no such path.
pub fn log(
    tree: &dyn Tree,
    path: &Path,
    since: Option<Moment>,
    limit: usize,
    progress: &mut Progress<'_>,
) -> Result<Log> {
    check_history(tree)?;
    let since = since.unwrap_or(Moment(i64::MIN));
    let (events, seen, unreadable) = (Vec::new(), 0, 0);
    let mut gathered = Gathered { tree, since, limit, events, seen, unreadable, progress };
    let living = attr_if_any(tree, path).map_err(at(tree, "look at", path))?;
    let is_directory = living.is_some_and(|attr| attr.kind == FileKind::Directory);
    if is_directory {
        gathered.directory(path, 0)?;
    } else {
        gathered.name(path)?;
    }
    let known = gathered.seen > 0 || living.is_some();
    let has_more = gathered.cut();
    let (events, unreadable) = (gathered.events, gathered.unreadable);
    match known {
        true => Ok(Log { events, has_more, is_directory, is_living: living.is_some(), unreadable }),
        false => Err(Error::Unknown { path: tree.shown(path) }),
    }
}

struct Gathered<'a, 'p> {
    tree: &'a dyn Tree,
    since: Moment,
    limit: usize,
    events: Vec<Event>,
    /// All that were found, however long ago.
    seen: u64,
    unreadable: u64,
    progress: &'a mut Progress<'p>,
}

impl Gathered<'_, '_> {
    /// What happened to one path, which need not exist any more.
    fn name(&mut self, path: &Path) -> Result<()> {
        let list = versions(self.tree, path)?;
        if list.is_empty() {
            return self.last_of_deleted(path);
        }
        self.versions(path, &list, 0)
    }

    /// What a folder that was deleted held is no version of a name, but its last state is there.
    fn last_of_deleted(&mut self, path: &Path) -> Result<()> {
        let Some(past) = deleted(self.tree, path)? else { return Ok(()) };
        let ended = until(self.tree, &past.path)?;
        self.below_folder(path, &past.path, ended, 0)
    }

    /// Everything below a directory that lives.
    fn directory(&mut self, dir: &Path, depth: usize) -> Result<()> {
        if depth == DEPTH_MAX || self.tree.is_foreign(dir) {
            return Ok(());
        }
        for name in self.names_ever(dir)? {
            let list = versions_of_name(self.tree, dir, &name);
            let done = list.and_then(|list| self.versions(&dir.join(name), &list, depth));
            self.unless_closed(done)?;
        }
        for (name, kind) in self.list(dir)? {
            if kind == FileKind::Directory {
                let done = self.directory(&dir.join(name), depth + 1);
                self.unless_closed(done)?;
            }
        }
        Ok(())
    }

    /// What may not be read is counted, and left out.
    fn unless_closed(&mut self, done: Result<()>) -> Result<()> {
        match done {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                self.unreadable += 1;
                Ok(())
            }
            done => done,
        }
    }

    /// The names in a directory that have a history, living and gone, but for those of unfinished work.
    fn names_ever(&self, dir: &Path) -> Result<BTreeSet<OsString>> {
        let listed = self.list(&dir.join(HISTORY))?;
        let real = |(shown, _): (OsString, _)| {
            let real = real_names(shown.as_bytes()).next()?;
            Some(OsStr::from_bytes(real).to_owned())
        };
        Ok(listed.into_iter().filter_map(real).filter(|name| !is_temporary(name)).collect())
    }

    /// Everything in a folder as it was before it was deleted. `path`: its name then; `past`: where it can be read.
    fn below_folder(
        &mut self,
        path: &Path,
        past: &Path,
        ended: Option<Moment>,
        depth: usize,
    ) -> Result<()> {
        let attr = self.tree.attr(past).map_err(at(self.tree, "look at", past))?;
        if attr.kind != FileKind::Directory {
            let (number, author, path_of_past) = (None, attr.uid, past.to_owned());
            let (began, cause) = (Moment(attr.mtime.0), "save".to_owned());
            let version = Version { number, began, ended, author, cause, attr, path: path_of_past };
            let gone = ended.map(|at| Gone { at, what: DELETED, to: None });
            self.version(path, &version, gone);
            return Ok(());
        }
        if depth == DEPTH_MAX {
            return Ok(());
        }
        for (name, _) in self.list(past)? {
            let (path, past) = (path.join(&name), past.join(&name));
            let done = self.below_folder(&path, &past, ended, depth + 1);
            self.unless_closed(done)?;
        }
        Ok(())
    }

    /// The versions of a name, when they went, and what the last folder held that had this name.
    fn versions(&mut self, path: &Path, list: &[Version], depth: usize) -> Result<()> {
        let mut last_folder = None;
        for (index, version) in list.iter().enumerate() {
            let gone = went(self.tree, path, version, list.get(index + 1))?;
            if is_folder(version) {
                let deleted = gone.as_ref().filter(|gone| gone.what == DELETED);
                last_folder = Some((version, deleted.map(|gone| gone.at)));
            }
            self.version(path, version, gone);
        }
        let Some((folder, ended)) = last_folder else { return Ok(()) };
        self.below_folder(path, &folder.path, ended, depth + 1)
    }

    /// A version, and that it went. Of a folder, which is a version once it is gone, only that.
    fn version(&mut self, path: &Path, version: &Version, gone: Option<Gone>) {
        let event = Event {
            at: version.began,
            path: path.to_owned(),
            what: version.cause.clone(),
            to: None,
            number: version.number,
            size: (!is_folder(version)).then_some(version.attr.size),
            author: Some(version.author),
            until: version.ended,
            hash: None,
            kind: version.attr.kind,
            source: version.path.clone(),
        };
        if let Some(Gone { at, what, to }) = gone {
            self.push(Event { at, what: what.to_owned(), to, author: None, ..event.clone() });
        }
        if !is_folder(version) {
            self.push(event);
        }
    }

    fn push(&mut self, event: Event) {
        self.seen += 1;
        (self.progress)(self.seen, 0);
        if event.at >= self.since {
            self.events.push(event);
        }
        // So that a long history fits in memory.
        if self.events.len() > self.limit.saturating_mul(2).saturating_add(1000) {
            self.sort();
            self.events.truncate(self.limit.saturating_add(1));
        }
    }

    fn sort(&mut self) {
        self.events.sort_by(|a, b| {
            let newest = b.at.cmp(&a.at).then(b.is_end().cmp(&a.is_end()));
            newest.then(b.number.cmp(&a.number)).then(a.path.cmp(&b.path))
        });
    }

    /// As many as were asked for; whether there were more.
    fn cut(&mut self) -> bool {
        self.sort();
        let has_more = self.events.len() > self.limit;
        self.events.truncate(self.limit);
        has_more
    }

    fn list(&self, dir: &Path) -> Result<Vec<(OsString, FileKind)>> {
        self.tree.list(dir).map_err(at(self.tree, "list", dir))
    }
}

/// How a name ceased to show anything.
struct Gone {
    at: Moment,
    what: &'static str,
    to: Option<PathBuf>,
}

/// When and how the name ceased to show the version, if nothing took its place. Programs empty a file or move it away
/// before they write it anew: what comes back soon was not gone.
fn went(
    tree: &dyn Tree,
    path: &Path,
    version: &Version,
    next: Option<&Version>,
) -> Result<Option<Gone>> {
    let Some(ended) = version.ended else { return Ok(None) };
    match next {
        Some(next) if next.began.0.saturating_sub(ended.0) < PAUSE_NANOS => return Ok(None),
        _ if was_there(tree, path, ended)? => return Ok(None),
        _ => {}
    }
    let gone = |what, to| Ok(Some(Gone { at: ended, what, to }));
    if let Some(past) = deleted(tree, path)?
        && until(tree, &past.path)?.is_none_or(|until| until == ended)
    {
        return gone(DELETED, None);
    }
    match next {
        None => moved_to(tree, path)?.map_or(gone(GONE, None), |to| gone(MOVED, Some(to))),
        Some(_) => gone(GONE, None),
    }
}

/// Whether the name showed anything at a moment, as far as that is known.
fn was_there(tree: &dyn Tree, path: &Path, moment: Moment) -> Result<bool> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return Ok(true) };
    let then = dir.join(HISTORY).join("@at").join(moment_name(moment)).join(name);
    match attr_if_any(tree, &then) {
        Err(error) if is_not_kept(&error) => Ok(false),
        found => Ok(found.map_err(at(tree, "look at", &then))?.is_some()),
    }
}

/// Until when a name showed what was deleted.
fn until(tree: &dyn Tree, path: &Path) -> Result<Option<Moment>> {
    let told = tree.xattr(path, b"user.verso.until").map_err(at(tree, "read", path))?;
    Ok(told.and_then(|value| read_moment(String::from_utf8_lossy(&value).into_owned())))
}

fn is_folder(version: &Version) -> bool {
    version.attr.kind == FileKind::Directory
}
