//! Which projects there are, and what is to be known of them.

use super::error::{Error, Result, at};
use super::note::Note;
use super::survey::{Survey, survey};
use super::{ARCHIVED, PROJECTS};
use crate::model::{FileKind, Timestamp};
use crate::recall::{Tree, attr_if_any, printable};
use std::ffi::{OsStr, OsString};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// The attribute that file managers keep tags in, separated by commas.
const TAGS: &[u8] = b"user.xdg.tags";

/// Whether a project is being worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is in `projects/`.
    Active,
    /// It is in `archived/`.
    Archived,
}

impl Status {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Status::Active => "active",
            Status::Archived => "archived",
        }
    }
}

/// A project's place on the drive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its name.
    pub id: OsString,
    /// Where it is, from the drive's root.
    pub path: PathBuf,
    /// In which of the two directories.
    pub status: Status,
}

/// A project, and what is known of it.
#[derive(Clone, Debug)]
pub struct Project {
    /// Where it is.
    pub place: Place,
    /// The tags of its directory.
    pub tags: Vec<String>,
    /// What is in it.
    pub survey: Survey,
    /// Whether an archiving, or the way back, was begun and not finished.
    pub(super) unfinished: Option<Unfinished>,
}

/// What was begun and not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfinished {
    /// It was to be archived, begun at this time.
    Archiving(Timestamp),
    /// It was to be active again.
    Unarchiving,
    /// It is at its place in the archive, and its directory can still be written to.
    Closing,
}

/// Which projects are asked for; what is not set lets all through.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// These only.
    pub status: Option<Status>,
    /// Those that have all of these tags.
    pub tags: Vec<String>,
    /// Those with more bytes.
    pub larger: Option<u64>,
    /// Those with fewer bytes.
    pub smaller: Option<u64>,
    /// Those whose last change is longer ago.
    pub older: Option<Duration>,
    /// Those whose last change is not as long ago.
    pub newer: Option<Duration>,
}

impl Filter {
    /// Whether a project is among those asked for.
    pub fn lets(&self, project: &Project, now: Timestamp) -> bool {
        let age = project.age(now);
        let bytes = project.survey.bytes;
        self.status.is_none_or(|status| status == project.place.status)
            && self.tags.iter().all(|tag| project.tags.contains(tag))
            && self.larger.is_none_or(|than| bytes > than)
            && self.smaller.is_none_or(|than| bytes < than)
            && self.older.is_none_or(|than| age.is_some_and(|age| age > than))
            && self.newer.is_none_or(|than| age.is_none_or(|age| age < than))
    }
}

impl Project {
    /// How long ago anything in it changed; nothing, for what lies in the future.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        let changed = self.survey.last_change?;
        let nanos = now.0.saturating_sub(changed.0).max(0);
        Some(Duration::from_nanos(nanos.unsigned_abs()))
    }

    /// Looks at a project.
    pub(super) fn look(tree: &dyn Tree, place: Place) -> Result<Project> {
        let tags = tags(tree, &place.path)?;
        let survey = survey(tree, &place.path)?;
        let unfinished = unfinished(tree, &place)?;
        Ok(Project { place, tags, survey, unfinished })
    }
}

pub(super) fn tags(tree: &dyn Tree, dir: &Path) -> Result<Vec<String>> {
    let value = tree.xattr(dir, TAGS).map_err(at(tree, "read the tags of", dir))?;
    let value = String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned();
    let tags = value.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    Ok(tags.map(str::to_owned).collect())
}

fn unfinished(tree: &dyn Tree, place: &Place) -> Result<Option<Unfinished>> {
    // Who may not read the note learns it from the next command that needs to.
    let Ok(Some((_, note))) = Note::of(tree, &place.path) else { return Ok(None) };
    Ok(match place.status {
        Status::Active if note.is_leaving => Some(Unfinished::Unarchiving),
        Status::Active => Some(Unfinished::Archiving(note.began)),
        Status::Archived if note.is_leaving => Some(Unfinished::Unarchiving),
        Status::Archived => {
            let attr = tree.attr(&place.path).map_err(at(tree, "look at", &place.path))?;
            let is_open = attr.mode.bits() & 0o222 != 0;
            is_open.then_some(Unfinished::Closing)
        }
    })
}

/// The projects that are archived, not those that are on their way there or back, each with the time when that began.
pub fn archived(tree: &dyn Tree) -> Result<Vec<(Place, Timestamp)>> {
    let mut found = Vec::new();
    for place in places(tree)?.into_iter().filter(|place| place.status == Status::Archived) {
        if let Some((_, note)) = Note::of(tree, &place.path)?
            && !note.is_leaving
        {
            found.push((place, note.began));
        }
    }
    Ok(found)
}

/// All projects that the filter lets through, sorted by name. `step` is called for each project that was looked at.
pub fn list(
    tree: &dyn Tree,
    filter: &Filter,
    now: Timestamp,
    step: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<Project>> {
    let mut found = Vec::new();
    for place in places(tree)? {
        if filter.status.is_some_and(|status| status != place.status) {
            continue;
        }
        step()?;
        let path = place.path.clone();
        let project = match Project::look(tree, place) {
            // It was moved or removed meanwhile.
            Err(_) if matches!(attr_if_any(tree, &path), Ok(None)) => continue,
            project => project?,
        };
        found.extend(Some(project).filter(|project| filter.lets(project, now)));
    }
    found.sort_by(|a, b| (&a.place.id, &a.place.path).cmp(&(&b.place.id, &b.place.path)));
    Ok(found)
}

/// Where the projects are, active ones first.
pub(super) fn places(tree: &dyn Tree) -> Result<Vec<Place>> {
    let mut found = Vec::new();
    for id in directories(tree, Path::new(PROJECTS))? {
        let path = Path::new(PROJECTS).join(&id);
        found.push(Place { id, path, status: Status::Active });
    }
    for year in directories(tree, Path::new(ARCHIVED))?.iter().filter(|name| is_number(name, 4)) {
        let year = Path::new(ARCHIVED).join(year);
        for month in directories(tree, &year)?.iter().filter(|name| is_number(name, 2)) {
            let month = year.join(month);
            for id in directories(tree, &month)? {
                let path = month.join(&id);
                found.push(Place { id, path, status: Status::Archived });
            }
        }
    }
    Ok(found)
}

/// The directories in a directory that are not hidden; none where it is not there or may not be read.
fn directories(tree: &dyn Tree, dir: &Path) -> Result<Vec<OsString>> {
    let listed = match tree.list(dir) {
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(Vec::new());
        }
        listed => listed.map_err(at(tree, "list", dir))?,
    };
    let is_shown = |(name, kind): &(OsString, FileKind)| {
        *kind == FileKind::Directory && !name.as_bytes().starts_with(b".")
    };
    Ok(listed.into_iter().filter(is_shown).map(|(name, _)| name).collect())
}

fn is_number(name: &OsStr, digits: usize) -> bool {
    name.len() == digits && name.as_bytes().iter().all(u8::is_ascii_digit)
}

/// Fails unless this can be the name of a project.
pub(super) fn check_name(id: &OsStr) -> Result<()> {
    let is_name = !id.is_empty() && !id.as_bytes().contains(&b'/') && !id.as_bytes().contains(&0);
    match is_name && !id.as_bytes().starts_with(b".") {
        true => Ok(()),
        false => Err(Error::BadName { id: printable(Path::new(id)) }),
    }
}

/// The project of this name: an active one before those that are archived. Archived ones also by `YEAR/MONTH/ID`.
///
/// # Errors
/// [`Error::Unknown`], and [`Error::Several`] where more than one archived project has the name.
pub fn find(tree: &dyn Tree, id: &OsStr) -> Result<Place> {
    let wanted = Path::new(id);
    let mut archived = Vec::new();
    if let [Component::Normal(_)] = wanted.components().collect::<Vec<_>>()[..] {
        check_name(id)?;
        let path = Path::new(PROJECTS).join(wanted);
        if is_directory(tree, &path)? {
            return Ok(Place { id: id.to_owned(), path, status: Status::Active });
        }
    }
    for place in places(tree)? {
        let is_meant = place.path.strip_prefix(ARCHIVED).is_ok_and(|within| within == wanted);
        if place.status == Status::Archived && (is_meant || place.id == id) {
            archived.push(place);
        }
    }
    let shown = || printable(wanted);
    match archived.len() {
        0 => Err(Error::Unknown { id: shown() }),
        1 => archived.pop().ok_or_else(|| Error::Unknown { id: shown() }),
        _ => {
            let places = archived.iter().map(|place| printable(&place.path)).collect();
            Err(Error::Several { id: shown(), places })
        }
    }
}

pub(super) fn is_directory(tree: &dyn Tree, path: &Path) -> Result<bool> {
    let attr = attr_if_any(tree, path).map_err(at(tree, "look at", path))?;
    Ok(attr.is_some_and(|attr| attr.kind == FileKind::Directory))
}
