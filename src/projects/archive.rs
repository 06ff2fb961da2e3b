//! Archiving a project, and taking it back.
//!
//! What a disk can do to make a tree read-only is done: nobody but root has the right to write any more. Which rights
//! there were is in the project's `metadata.json`. Each step can be the last before a crash; the same command, or the next
//! run of the job, goes on from there:
//!
//! 1. `metadata.json` is written (again, where an earlier attempt left one: it knows what that one took away);
//! 2. the right to write goes from everything below the project's directory;
//! 3. the directory is renamed: at this instant the project is archived, with its history, since nothing below it moves;
//! 4. the right to write goes from the directory itself. Who is not root could not have moved it without.
//!
//! The way back is the same from its end: 4, a mark in the note, 3, 2, and the note goes.

use super::error::{Error, Result, at};
use super::note::{By, Modes, Note, TEMPORARY, WRITE, remove_temporary};
use super::project::{Place, Status, check_name, find, is_directory, places, tags};
use super::survey::{Survey, joined, walk};
use super::{ARCHIVED, PROJECTS};
use crate::model::{Attr, FileKind, Ino, Moment, Timestamp, Zone, local_name};
use crate::recall::{Tree, attr_if_any, printable};
use crate::sys::{Task, Unattended, failpoint};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// How many projects of one name one month can hold.
const NAMES_MAX: u32 = 1000;

/// How and why a project is archived.
pub struct Order<'a> {
    /// Why, for people.
    pub why: String,
    /// By whom.
    pub by: By,
    /// The present time.
    pub now: Timestamp,
    /// Year and month of this time, in this zone, are where it goes.
    pub at: Timestamp,
    /// See `at`.
    pub zone: Zone,
    /// Where nobody is to be disturbed: whether it is put off.
    pub unless: Option<Unless<'a>>,
}

/// What puts archiving off, besides a change after it began.
#[derive(Clone, Copy)]
pub struct Unless<'a> {
    /// It changed after this time; `None`, where archiving was begun before.
    pub changed_since: Option<Timestamp>,
    /// Whether anybody has one of these open.
    pub is_open: &'a dyn Fn(&HashSet<Ino>) -> bool,
}

/// What was archived.
#[derive(Clone, Debug)]
pub struct Archived {
    /// Where it is now.
    pub path: PathBuf,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What can still be written to, since it belongs to somebody else.
    pub refused: u64,
}

/// What is being worked on again.
#[derive(Clone, Debug)]
pub struct Unarchived {
    /// Where it is now.
    pub path: PathBuf,
    /// Whether the rights that there were are known; without that its owners may write to everything.
    pub is_exact: bool,
    /// What can still not be written to, since it belongs to somebody else.
    pub refused: u64,
}

/// Moves an active project into the archive. Where that was begun before, it goes on.
///
/// # Errors
/// [`Error::Archived`], [`Error::InUse`] (it is as it was then), [`Error::Stopped`] (it goes on next time).
pub fn archive(
    tree: &dyn Tree,
    id: &OsStr,
    order: &Order<'_>,
    task: &dyn Task,
) -> Result<Archived> {
    check_name(id)?;
    let from = Path::new(PROJECTS).join(id);
    if !is_directory(tree, &from)? {
        return finish(tree, id);
    }
    task.step(&format!("archiving {}", printable(Path::new(id))));
    let earlier = Note::of(tree, &from)?;
    let began = earlier.as_ref().map(|(_, note)| note.began);
    let note = take_note(tree, id, &from, earlier, order)?;
    if let Some(unless) = order.unless {
        match began {
            Some(began) if is_touched(tree, &from, began)? => {
                return put_off(tree, &from, &note);
            }
            None if unless.changed_since < note.survey.last_change => {
                return Err(Error::InUse { path: tree.shown(&from) });
            }
            _ => {}
        }
    }
    note.write(tree, &from)?;
    failpoint::hit("archive-noted");
    let refused = close(tree, &from, task)?;
    failpoint::hit("archive-closed");
    if let Some(unless) = order.unless
        && is_in_use(tree, &from, unless, note.began)?
    {
        return put_off(tree, &from, &note);
    }
    let to = move_to(tree, &from, &month_of(tree, order)?, id)?;
    failpoint::hit("archive-moved");
    shut(tree, &to, &note)?;
    let Survey { files, bytes, .. } = note.survey;
    Ok(Archived { path: to, files, bytes, refused })
}

fn put_off(tree: &dyn Tree, from: &Path, note: &Note) -> Result<Archived> {
    open_again(tree, from, Some(note))?;
    Err(Error::InUse { path: tree.shown(from) })
}

/// Goes on where an earlier attempt had moved it, and not closed its directory.
fn finish(tree: &dyn Tree, id: &OsStr) -> Result<Archived> {
    let place = find(tree, id)?;
    let Some((_, note)) = Note::of(tree, &place.path)? else {
        let (id, path) = (printable(Path::new(id)), tree.shown(&place.path));
        return Err(Error::Archived { id, path });
    };
    close_place(tree, &place, &note)
}

/// Closes the directory of an archived project.
///
/// # Errors
/// [`Error::Archived`] if it is closed.
pub(super) fn close_place(tree: &dyn Tree, place: &Place, note: &Note) -> Result<Archived> {
    let attr = tree.attr(&place.path).map_err(at(tree, "look at", &place.path))?;
    if attr.mode.bits() & WRITE == 0 {
        let (id, path) = (printable(Path::new(&place.id)), tree.shown(&place.path));
        return Err(Error::Archived { id, path });
    }
    if note.is_leaving {
        Note { is_leaving: false, ..note.clone() }.write(tree, &place.path)?;
    }
    close(tree, &place.path, &Unattended)?;
    shut(tree, &place.path, note)?;
    let Survey { files, bytes, .. } = note.survey;
    Ok(Archived { path: place.path.clone(), files, bytes, refused: 0 })
}

/// What is to be known of it: an earlier attempt knows what rights it took away.
fn take_note(
    tree: &dyn Tree,
    id: &OsStr,
    dir: &Path,
    earlier: Option<(&'static str, Note)>,
    order: &Order<'_>,
) -> Result<Note> {
    let (name, earlier) = earlier.unzip();
    let top = tree.attr(dir).map_err(at(tree, "look at", dir))?;
    let mut all = vec![(PathBuf::new(), FileKind::Directory, top.mode.bits())];
    let mut survey = Survey { last_change: Some(top.mtime.max(top.ctime)), ..Survey::default() };
    let mut seen = HashSet::new();
    walk(tree, dir, &mut |path, attr| {
        if is_note(name, path) {
            return Ok(());
        }
        survey.add(attr, &mut seen);
        if attr.kind != FileKind::Symlink {
            let known = earlier.as_ref().and_then(|note| note.modes.before(path, attr));
            all.push((path.to_owned(), attr.kind, known.unwrap_or(attr.mode).bits()));
        }
        Ok(())
    })?;
    let mut top_changed = top.mtime;
    if let Some(note) = &earlier {
        // Whatever was done since changed the times of what it was done to, but so did we.
        top_changed = note.top_changed;
        survey.last_change = note.survey.last_change;
    }
    Ok(Note {
        id: id.to_owned(),
        began: earlier.map_or(order.now, |note| note.began),
        why: order.why.clone(),
        by: order.by.clone(),
        survey,
        tags: tags(tree, dir)?,
        top_changed,
        modes: Modes::new(all),
        is_leaving: false,
    })
}

/// Whether this is the note, by the name that it has, and no file of the project's.
fn is_note(name: Option<&str>, path: &Path) -> bool {
    path == Path::new(TEMPORARY) || name.is_some_and(|name| path == Path::new(name))
}

/// Takes the right to write from everything below the directory; how many belong to somebody else.
fn close(tree: &dyn Tree, dir: &Path, task: &dyn Task) -> Result<u64> {
    let (mut refused, mut done) = (0, 0);
    walk(tree, dir, &mut |path, attr| {
        if task.is_stopped() {
            return Err(Error::Stopped);
        }
        if attr.kind != FileKind::Symlink && attr.mode.bits() & WRITE != 0 {
            refused += u64::from(!set_mode(tree, &dir.join(path), attr.mode.bits() & !WRITE)?);
            failpoint::hit("archive-closing");
        }
        done += 1;
        task.progress(done, 0);
        Ok(())
    })?;
    Ok(refused)
}

/// Whether it was set; not, if it belongs to somebody else.
fn set_mode(tree: &dyn Tree, path: &Path, mode: u16) -> Result<bool> {
    match tree.set_mode(path, u32::from(mode)) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(false),
        // It went meanwhile.
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        done => done.map(|()| true).map_err(at(tree, "set the permissions of", path)),
    }
}

fn is_in_use(tree: &dyn Tree, dir: &Path, unless: Unless<'_>, began: Timestamp) -> Result<bool> {
    let mut inodes = HashSet::new();
    walk(tree, dir, &mut |_, attr| {
        inodes.insert(attr.ino);
        Ok(())
    })?;
    Ok((unless.is_open)(&inodes) || is_touched(tree, dir, began)?)
}

/// Whether anything changed that archiving, begun at `began`, did not change itself.
pub(super) fn is_touched(tree: &dyn Tree, dir: &Path, began: Timestamp) -> Result<bool> {
    let name = Note::of(tree, dir)?.map(|(name, _)| name);
    let mut found = false;
    walk(tree, dir, &mut |path, attr| {
        let is_open = attr.kind != FileKind::Symlink && attr.mode.bits() & WRITE != 0;
        let changed = attr.mtime > began || (is_open && attr.ctime > began);
        found |= changed && !is_note(name, path);
        Ok(())
    })?;
    Ok(found)
}

/// The directory of the month, which is made if need be, as open as the one that it is in.
fn month_of(tree: &dyn Tree, order: &Order<'_>) -> Result<PathBuf> {
    let date = local_name(Moment(order.at.0), &order.zone);
    let mut dir = PathBuf::from(ARCHIVED);
    make_directory(tree, &dir, Path::new(""))?;
    for part in [&date[..4], &date[5..7]] {
        let inner = dir.join(part);
        make_directory(tree, &inner, &dir)?;
        dir = inner;
    }
    Ok(dir)
}

fn make_directory(tree: &dyn Tree, dir: &Path, outer: &Path) -> Result<()> {
    if is_directory(tree, dir)? {
        return Ok(());
    }
    let like = tree.attr(outer).map_err(at(tree, "look at", outer))?;
    tree.make(dir, &like).map_err(at(tree, "make", dir))?;
    let mode = u32::from(like.mode.bits());
    tree.set_mode(dir, mode).map_err(at(tree, "set the permissions of", dir))
}

/// Moves it to its name in `dir`, or where that is taken, `NAME~2` and so on.
fn move_to(tree: &dyn Tree, from: &Path, dir: &Path, id: &OsStr) -> Result<PathBuf> {
    for number in 1..=NAMES_MAX {
        let mut name = id.to_owned();
        if number > 1 {
            name.push(format!("~{number}"));
        }
        let to = dir.join(name);
        match tree.rename(from, &to, false) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            done => return done.map(|()| to).map_err(at(tree, "archive", from)),
        }
    }
    Err(Error::Exists { path: tree.shown(&dir.join(id)) })
}

/// Takes the right to write from the project's directory, and makes its way there durable.
fn shut(tree: &dyn Tree, dir: &Path, note: &Note) -> Result<()> {
    let attr = tree.attr(dir).map_err(at(tree, "look at", dir))?;
    set_mode(tree, dir, attr.mode.bits() & !WRITE)?;
    set_changed(tree, dir, &attr, note);
    tree.sync(dir.parent().unwrap_or(dir)).map_err(at(tree, "write", dir))
}

/// As if the note had never been one of its names. Whose directory it is not can't do that, and loses little.
fn set_changed(tree: &dyn Tree, dir: &Path, attr: &Attr, note: &Note) {
    let _ = tree.set_times(dir, attr.atime, note.top_changed);
}

/// Moves an archived project back to where projects are worked on, with the rights that it had.
///
/// # Errors
/// [`Error::Exists`] if there is another project by its name, [`Error::NotArchived`], [`Error::Stopped`].
pub fn unarchive(tree: &dyn Tree, id: &OsStr, task: &dyn Task) -> Result<Unarchived> {
    let archived = find_archived(tree, id)?;
    task.step(&format!("unarchiving {}", printable(Path::new(id))));
    let Some(place) = archived else {
        return go_on(tree, id);
    };
    let note = Note::of(tree, &place.path)?.map(|(_, note)| note);
    let name = note.as_ref().map_or(&place.id, |note| &note.id);
    check_name(name)?;
    let to = Path::new(PROJECTS).join(name);
    if attr_if_any(tree, &to).map_err(at(tree, "look at", &to))?.is_some() {
        return Err(Error::Exists { path: tree.shown(&to) });
    }
    let attr = tree.attr(&place.path).map_err(at(tree, "look at", &place.path))?;
    set_mode(tree, &place.path, attr.mode.bits() | 0o200)?;
    failpoint::hit("unarchive-opened");
    if let Some(note) = &note {
        Note { is_leaving: true, ..note.clone() }.write(tree, &place.path)?;
    }
    failpoint::hit("unarchive-noted");
    tree.rename(&place.path, &to, false).map_err(at(tree, "unarchive", &place.path))?;
    failpoint::hit("unarchive-moved");
    open_again(tree, &to, note.as_ref())
}

/// The archived project that is meant; `None` where only an active one has the name.
fn find_archived(tree: &dyn Tree, id: &OsStr) -> Result<Option<Place>> {
    let is_meant = |place: &Place| {
        let within = place.path.strip_prefix(ARCHIVED).unwrap_or(&place.path);
        place.status == Status::Archived && (place.id == id || within == Path::new(id))
    };
    let mut found: Vec<Place> = places(tree)?.into_iter().filter(is_meant).collect();
    match found.len() {
        0 => find(tree, id).map(|_| None),
        1 => Ok(found.pop()),
        _ => {
            let places = found.iter().map(|place| printable(&place.path)).collect();
            Err(Error::Several { id: printable(Path::new(id)), places })
        }
    }
}

/// Where an earlier attempt was interrupted, in either direction, its note is still there.
fn go_on(tree: &dyn Tree, id: &OsStr) -> Result<Unarchived> {
    let path = Path::new(PROJECTS).join(id);
    match Note::of(tree, &path)? {
        Some((_, note)) => open_again(tree, &path, Some(&note)),
        None => {
            remove_temporary(tree, &path)?;
            let (id, path) = (printable(Path::new(id)), tree.shown(&path));
            Err(Error::NotArchived { id, path })
        }
    }
}

/// Gives back what archiving took away, and takes its note. Without a note owners may write to everything.
pub(super) fn open_again(tree: &dyn Tree, dir: &Path, note: Option<&Note>) -> Result<Unarchived> {
    let name = Note::of(tree, dir)?.map(|(name, _)| name);
    let mut refused = 0;
    walk(tree, dir, &mut |path, attr| {
        if attr.kind == FileKind::Symlink || is_note(name, path) {
            return Ok(());
        }
        let before = match note {
            Some(note) => note.modes.before(path, attr).map(|mode| mode.bits()),
            None => Some(attr.mode.bits() | 0o200),
        };
        if let Some(before) = before.filter(|before| *before != attr.mode.bits()) {
            refused += u64::from(!set_mode(tree, &dir.join(path), before)?);
            failpoint::hit("unarchive-opening");
        }
        Ok(())
    })?;
    if let Some(note) = note {
        open_top(tree, dir, note)?;
    }
    tree.sync(dir.parent().unwrap_or(dir)).map_err(at(tree, "write", dir))?;
    Ok(Unarchived { path: dir.to_owned(), is_exact: note.is_some(), refused })
}

/// The project's directory becomes what it was, and the note goes; not the other way round, since only the note knows.
fn open_top(tree: &dyn Tree, dir: &Path, note: &Note) -> Result<()> {
    let attr = tree.attr(dir).map_err(at(tree, "look at", dir))?;
    let before = note.modes.of(Path::new(""), FileKind::Directory).bits();
    let is_ours = attr.mode.bits() & !WRITE == before & !WRITE;
    if is_ours {
        // Removing the note takes the right to write.
        set_mode(tree, dir, before | 0o200)?;
    }
    remove_note(tree, dir)?;
    failpoint::hit("unarchive-opened-all");
    if is_ours && before & 0o200 == 0 {
        set_mode(tree, dir, before)?;
    }
    set_changed(tree, dir, &attr, note);
    Ok(())
}

fn remove_note(tree: &dyn Tree, dir: &Path) -> Result<()> {
    let Some((name, _)) = Note::of(tree, dir)? else { return Ok(()) };
    let path = joined(dir, Path::new(name));
    tree.remove(&path, FileKind::File).map_err(at(tree, "remove", &path))
}
