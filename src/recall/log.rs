//! What happened to a file, or below a directory.

use super::error::{Error, Result, at};
use super::history::{
    HISTORY, Version, check_history, deleted, read_moment, versions, versions_of_name,
};
use super::put_back::is_temporary;
use super::tree::{Progress, Tree, attr_if_any};
use crate::model::{FileKind, Moment, real_names};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Directories within each other that are looked into.
const DEPTH_MAX: usize = 512;

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: Moment,
    /// To what, as a path in the tree.
    pub path: PathBuf,
    /// `save`, `replace`, `restore`, `rewind`, `import`, or `delete`.
    pub what: String,
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
    let mut gathered = Gathered { tree, since, limit, events: Vec::new(), seen: 0, progress };
    let living = attr_if_any(tree, path).map_err(at(tree, "look at", path))?;
    let is_directory = living.is_some_and(|attr| attr.kind == FileKind::Directory);
    if is_directory {
        gathered.directory(path, 0)?;
    } else {
        gathered.name(path)?;
    }
    let known = gathered.seen > 0 || living.is_some();
    let has_more = gathered.cut();
    let events = gathered.events;
    match known {
        true => Ok(Log { events, has_more, is_directory, is_living: living.is_some() }),
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
    progress: &'a mut Progress<'p>,
}

impl Gathered<'_, '_> {
    /// What happened to one path, which need not exist any more.
    fn name(&mut self, path: &Path) -> Result<()> {
        let list = versions(self.tree, path)?;
        self.versions(path, &list, None);
        if list.is_empty() {
            self.last_of_deleted(path)?;
        } else if let Some(folder) = list.iter().rev().find(|one| is_folder(one)) {
            self.below_folder(path, &folder.path, folder.ended, 0)?;
        }
        Ok(())
    }

    /// What a folder that was deleted held is no version of a name, but its last state is there.
    fn last_of_deleted(&mut self, path: &Path) -> Result<()> {
        let Some(past) = deleted(self.tree, path)? else { return Ok(()) };
        let ended = self.until_of(&past.path)?;
        self.below_folder(path, &past.path, ended, 0)
    }

    fn until_of(&self, path: &Path) -> Result<Option<Moment>> {
        let told = self.tree.xattr(path, b"user.verso.until");
        let told = told.map_err(at(self.tree, "read", path))?;
        Ok(told.and_then(|value| read_moment(String::from_utf8_lossy(&value).into_owned())))
    }

    /// Everything below a directory that lives.
    fn directory(&mut self, dir: &Path, depth: usize) -> Result<()> {
        if depth == DEPTH_MAX || self.tree.is_foreign(dir) {
            return Ok(());
        }
        for name in self.names_ever(dir)? {
            let path = dir.join(&name);
            let list = versions_of_name(self.tree, dir, &name)?;
            self.versions(&path, &list, None);
            if let Some(folder) = list.iter().rev().find(|one| is_folder(one)) {
                self.below_folder(&path, &folder.path, folder.ended, depth + 1)?;
            }
        }
        for (name, kind) in self.list(dir)? {
            if kind == FileKind::Directory {
                self.directory(&dir.join(name), depth + 1)?;
            }
        }
        Ok(())
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
            let version = Version {
                number: None,
                began: Moment(attr.mtime.0),
                ended,
                author: attr.uid,
                cause: "save".to_owned(),
                attr,
                path: past.to_owned(),
            };
            self.versions(path, &[version], ended);
            return Ok(());
        }
        if depth == DEPTH_MAX {
            return Ok(());
        }
        for (name, _) in self.list(past)? {
            self.below_folder(&path.join(&name), &past.join(&name), ended, depth + 1)?;
        }
        Ok(())
    }

    /// The versions of a name, and its deletion. Those of a folder are only its deletion.
    fn versions(&mut self, path: &Path, list: &[Version], ended: Option<Moment>) {
        for (index, version) in list.iter().enumerate() {
            let event = Event {
                at: version.began,
                path: path.to_owned(),
                what: version.cause.clone(),
                number: version.number,
                size: (!is_folder(version)).then_some(version.attr.size),
                author: Some(version.author),
                until: version.ended,
                hash: None,
                kind: version.attr.kind,
                source: version.path.clone(),
            };
            let next = list.get(index + 1).map(|next| next.began);
            let gone = version.ended.filter(|gone| next.is_none_or(|next| *gone < next));
            if let Some(gone) = gone.or(ended) {
                let what = "delete".to_owned();
                self.push(Event { at: gone, what, author: None, ..event.clone() });
            }
            if !is_folder(version) {
                self.push(event);
            }
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
            let deleted = |event: &Event| event.what == "delete";
            let newest = b.at.cmp(&a.at).then(deleted(b).cmp(&deleted(a)));
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

fn is_folder(version: &Version) -> bool {
    version.attr.kind == FileKind::Directory
}
