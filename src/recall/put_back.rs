//! Putting things back. Everything is made under a temporary name beside its place, and then renamed: what was there
//! is replaced by the whole of it or not at all, and stays in the history of its name.

use super::compare::{Change, Compared, What, compare};
use super::copy::{ACCESS_LIST, Copy, own_xattrs, remove_all, unless_refused};
use super::error::{Error, Result, at};
use super::history::{Past, Pick, check_history, deleted, join, pick, state_at};
use super::tree::{Progress, Tree, attr_if_any};
use crate::model::{Attr, FileKind, Ino, Mode, Moment, moment_name};
use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// How the names of what is not finished begin and end.
const TEMPORARY: (&str, &str) = (".verso~", ".tmp");
/// Temporary names that are tried.
const NAMES_TRIED_MAX: u32 = 1000;

/// Where something is put.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// In which tree: the drive itself, or another one.
    pub tree: &'a dyn Tree,
    /// The path in it.
    pub path: &'a Path,
    /// Whether a file that is there is replaced.
    pub replaces: bool,
}

/// What was put back.
#[derive(Clone, Debug)]
pub struct Done {
    /// Which state.
    pub from: Past,
    /// Whether it is itself what was deleted, with its history, and no copy; nothing is counted then.
    pub is_moved: bool,
    /// Files, directories and links.
    pub files: u64,
    /// Their bytes, most of which take no space.
    pub bytes: u64,
    /// How many of them belong to another user than they did.
    pub refused: u64,
}

/// Whether a name is one of unfinished work.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    name.starts_with(TEMPORARY.0.as_bytes()) && name.ends_with(TEMPORARY.1.as_bytes())
}

/// Puts a state of `path` to its place.
///
/// # Errors
/// As [`pick`]'s, and [`Error::Exists`], where something is in the way: a directory is never replaced.
pub fn restore(
    tree: &dyn Tree,
    path: &Path,
    which: Pick,
    place: Place<'_>,
    progress: &mut Progress<'_>,
) -> Result<Done> {
    let past = pick(tree, path, which)?;
    put(tree, past, place, "restore", progress)
}

/// Brings back what was deleted at `path`, a whole tree too. In its own place it goes on with its history, where the
/// drive can do that; else, and elsewhere, it is a copy.
///
/// # Errors
/// [`Error::NotDeleted`], and [`Error::Exists`].
pub fn undelete(
    tree: &dyn Tree,
    path: &Path,
    place: Place<'_>,
    progress: &mut Progress<'_>,
) -> Result<Done> {
    check_history(tree)?;
    let there = attr_if_any(place.tree, place.path);
    if there.map_err(at(place.tree, "look at", place.path))?.is_some() && !place.replaces {
        return Err(Error::Exists { path: place.tree.shown(place.path) });
    }
    let past = deleted(tree, path)?;
    let past = past.ok_or_else(|| Error::NotDeleted { path: tree.shown(path) })?;
    let in_place = std::ptr::addr_eq(tree, place.tree) && path == place.path;
    if in_place && move_back(tree, &past.path, path)? {
        tree.sync(parent(path)).map_err(at(tree, "write", path))?;
        return Ok(Done { from: past, is_moved: true, files: 0, bytes: 0, refused: 0 });
    }
    put(tree, past, place, "restore", progress)
}

/// Moves out of `@deleted`; whether that was possible.
fn move_back(tree: &dyn Tree, from: &Path, to: &Path) -> Result<bool> {
    use ErrorKind::{
        AlreadyExists, CrossesDevices, PermissionDenied, ReadOnlyFilesystem, Unsupported,
    };
    match tree.rename(from, to, false) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == AlreadyExists => Err(Error::Exists { path: tree.shown(to) }),
        // What can't be moved can be copied: what says so for another reason says it again then.
        Err(error) => match error.kind() {
            CrossesDevices | PermissionDenied | ReadOnlyFilesystem | Unsupported => Ok(false),
            _ => Err(at(tree, "put in place", to)(error)),
        },
    }
}

fn put(
    tree: &dyn Tree,
    from: Past,
    place: Place<'_>,
    cause: &'static str,
    progress: &mut Progress<'_>,
) -> Result<Done> {
    let Place { tree: to, path, replaces } = place;
    let there = attr_if_any(to, path).map_err(at(to, "look at", path))?;
    let is_in_the_way = |there: &Attr| !replaces || is_directory(there) || is_directory(&from.attr);
    if there.as_ref().is_some_and(is_in_the_way) {
        return Err(Error::Exists { path: to.shown(path) });
    }
    let mut copy = Copy::new(tree, to, cause, progress);
    copy.is_durable = !is_directory(&from.attr);
    let temporary = temporary_name(to, path)?;
    let made = copy.tree(&from.path, &temporary).and_then(|()| {
        save(to, path, there.as_ref());
        to.rename(&temporary, path, there.is_some()).map_err(at(to, "put in place", path))
    });
    if let Err(error) = made {
        // The first failure is the one to tell.
        let _ = remove_all(to, &temporary);
        return Err(error);
    }
    to.sync(parent(path)).map_err(at(to, "write", path))?;
    let (files, bytes, refused) = (copy.files, copy.bytes, copy.refused);
    Ok(Done { from, is_moved: false, files, bytes, refused })
}

fn is_directory(attr: &Attr) -> bool {
    attr.kind == FileKind::Directory
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

/// A free name beside `path`.
fn temporary_name(tree: &dyn Tree, path: &Path) -> Result<PathBuf> {
    let dir = parent(path);
    let (prefix, suffix) = TEMPORARY;
    for number in 0..NAMES_TRIED_MAX {
        let name =
            join(dir, Path::new(&format!("{prefix}{}-{number}{suffix}", std::process::id())));
        if attr_if_any(tree, &name).map_err(at(tree, "look at", &name))?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::Exists { path: tree.shown(dir) })
}

/// What a rewind would change.
#[derive(Clone, Debug)]
pub struct Rewind {
    /// The directory.
    pub dir: PathBuf,
    /// Where its earlier state can be read.
    pub past: PathBuf,
    /// From what is there to what was.
    pub changes: Vec<Change>,
    /// What is left alone, since history doesn't know what it was, or could not bring back what it is: relative to the
    /// directory, as the changes are.
    pub left: Vec<PathBuf>,
    /// Files that stay, to which what is put back may be linked.
    kept: HashMap<Ino, PathBuf>,
}

/// Finds out what differs from the directory as it was.
///
/// # Errors
/// [`Error::NotThen`] if it was not there, [`Error::NotDirectory`].
pub fn plan_rewind(
    tree: &dyn Tree,
    dir: &Path,
    moment: Moment,
    progress: &mut Progress<'_>,
) -> Result<Rewind> {
    check_history(tree)?;
    let shown = || tree.shown(dir);
    let living = attr_if_any(tree, dir).map_err(at(tree, "look at", dir))?;
    match living {
        None => return Err(Error::Unknown { path: shown() }),
        Some(attr) if !is_directory(&attr) => return Err(Error::NotDirectory { path: shown() }),
        Some(_) => {}
    }
    let past = state_at(tree, dir, moment)?;
    let past = past.filter(|past| is_directory(&past.attr));
    let past =
        past.ok_or_else(|| Error::NotThen { path: shown(), when: moment_name(moment) })?.path;
    let Compared { mut changes, kept, unknown: left } = compare(tree, dir, &past, progress)?;
    leave_alone(&mut changes, &left);
    Ok(Rewind { dir: dir.to_owned(), past, changes, left, kept })
}

/// Takes back what would need something that is `left` alone to go: the end of a directory that holds it, and what else was
/// where these are.
fn leave_alone(changes: &mut Vec<Change>, left: &[PathBuf]) {
    let above = |path: &PathBuf| path.ancestors().skip(1).map(PathBuf::from).collect::<Vec<_>>();
    let holders: HashSet<PathBuf> = left.iter().flat_map(above).collect();
    let left: HashSet<&Path> = left.iter().map(PathBuf::as_path).collect();
    let stays = |change: &Change| change.what == What::Deleted && holders.contains(&change.path);
    let in_the_way: HashSet<PathBuf> =
        changes.iter().filter(|change| stays(change)).map(|change| change.path.clone()).collect();
    changes.retain(|change| {
        let is_in_the_way = |path: &Path| left.contains(path) || in_the_way.contains(path);
        match change.what {
            What::Deleted => !in_the_way.contains(&change.path),
            What::Added => !change.path.ancestors().any(is_in_the_way),
            What::Changed | What::Attributes => true,
        }
    });
}

/// What a rewind did.
#[derive(Clone, Copy, Debug)]
pub struct Rewound {
    /// A moment just before, to which the directory can be rewound again.
    pub before: Moment,
    /// Entries whose owner or attributes are not what they were, since only root, or their owner, may set them.
    pub refused: u64,
}

/// Carries the plan out. Interrupted at any point, some of it is done, each file wholly or not; it can be run again or
/// undone.
pub fn rewind(
    tree: &dyn Tree,
    plan: &Rewind,
    now: &dyn Fn() -> Moment,
    progress: &mut Progress<'_>,
) -> Result<Rewound> {
    for change in plan.changes.iter().filter(|change| change.what != What::Added) {
        save(tree, &join(&plan.dir, &change.path), change.before.as_ref());
    }
    let before = now();
    let refused = carry_out(tree, plan, progress)?;
    Ok(Rewound { before, refused })
}

/// What a program wrote and has not closed yet becomes part of history, before the file is taken away from it. Whoever
/// may not read a file leaves that to the program.
fn save(tree: &dyn Tree, path: &Path, attr: Option<&Attr>) {
    if attr.is_some_and(|attr| attr.kind == FileKind::File) {
        let _ = tree.sync(path);
    }
}

fn carry_out(tree: &dyn Tree, plan: &Rewind, progress: &mut Progress<'_>) -> Result<u64> {
    let mut copy = Copy::new(tree, tree, "rewind", progress);
    copy.linked.clone_from(&plan.kept);
    let mut work = Work { tree, plan, copy };
    // What is in the way of something else goes first, from the bottom up.
    for change in plan.changes.iter().rev() {
        if change.what == What::Deleted {
            work.remove(change)?;
        }
    }
    for change in plan.changes.iter().filter(|change| change.what != What::Deleted) {
        work.apply(change)?;
    }
    // Last, since what was put into them touched their times, and they may be closed to writing.
    for change in plan.changes.iter().rev() {
        work.finish_directory(change)?;
    }
    tree.sync(&plan.dir).map_err(at(tree, "write", &plan.dir))?;
    Ok(work.copy.refused)
}

struct Work<'a, 'p> {
    tree: &'a dyn Tree,
    plan: &'a Rewind,
    copy: Copy<'a, 'p>,
}

impl Work<'_, '_> {
    fn living(&self, change: &Change) -> PathBuf {
        join(&self.plan.dir, &change.path)
    }

    fn past(&self, change: &Change) -> PathBuf {
        join(&self.plan.past, &change.path)
    }

    fn remove(&self, change: &Change) -> Result<()> {
        let path = self.living(change);
        let Some(attr) = &change.before else { return Ok(()) };
        self.tree.remove(&path, attr.kind).map_err(at(self.tree, "remove", &path))
    }

    fn apply(&mut self, change: &Change) -> Result<()> {
        let (Some(attr), living, past) = (&change.after, self.living(change), self.past(change))
        else {
            return Ok(());
        };
        match change.what {
            What::Deleted => Ok(()),
            What::Attributes if is_directory(attr) => Ok(()),
            What::Attributes => self.try_attributes(change, &past, &living),
            What::Added if is_directory(attr) => self.copy.directory(attr, &living),
            What::Added | What::Changed => self.put(&past, attr, &living, change.before.is_some()),
        }
    }

    fn put(&mut self, past: &Path, attr: &Attr, living: &Path, replaces: bool) -> Result<()> {
        let temporary = temporary_name(self.tree, living)?;
        let made = self.copy.single(past, attr, &temporary).and_then(|()| {
            let renamed = self.tree.rename(&temporary, living, replaces);
            renamed.map_err(at(self.tree, "put in place", living))
        });
        // It is linked to by its own name, later on.
        if let Some(first) = self.copy.linked.get_mut(&attr.ino)
            && *first == temporary
        {
            living.clone_into(first);
        }
        made.inspect_err(|_| {
            let _ = remove_all(self.tree, &temporary);
        })
    }

    fn finish_directory(&mut self, change: &Change) -> Result<()> {
        let Some(attr) = change.after.as_ref().filter(|attr| is_directory(attr)) else {
            return Ok(());
        };
        let (past, living) = (self.past(change), self.living(change));
        match change.what {
            What::Added => self.copy.attributes(&past, attr, &living),
            What::Attributes => self.try_attributes(change, &past, &living),
            What::Changed | What::Deleted => Ok(()),
        }
    }

    /// What belongs to others keeps its attributes.
    fn try_attributes(&mut self, change: &Change, past: &Path, living: &Path) -> Result<()> {
        let refused = self.copy.refused;
        match self.set_attributes(change, past, living) {
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::PermissionDenied => {
                self.copy.refused = refused + 1;
                Ok(())
            }
            done => done,
        }
    }

    /// Attributes of what stays. The past shows no set-user-id and no set-group-id: those that are there now stay.
    fn set_attributes(&mut self, change: &Change, past: &Path, living: &Path) -> Result<()> {
        let (Some(before), Some(after)) = (&change.before, &change.after) else { return Ok(()) };
        for (name, _) in own_xattrs(self.tree, living)? {
            let is_kept = is_directory(after) && name == ACCESS_LIST;
            let had = self.tree.xattr(past, &name).map_err(at(self.tree, "read", past))?.is_some();
            if !is_kept && !had {
                let removed = self.tree.remove_xattr(living, &name);
                unless_refused(removed).map_err(at(self.tree, "change", living))?;
            }
        }
        let special = before.mode.bits() & 0o6000;
        let mode = Mode::new(u32::from(after.mode.bits() | special));
        self.copy.attributes(past, &Attr { mode, ..*after }, living)
    }
}
