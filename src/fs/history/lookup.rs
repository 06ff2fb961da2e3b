//! From a name in a view to the view that it means.

use super::deleted::last_whole;
use super::moved::{is_moved_name, moved_view};
use super::table::{Identity, Instant, NewView, Past, Role, ViewNode, What};
use super::versions::{Version, versions_of};
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::{Dentry, Period, Pin, View};
use crate::model::{
    Attr, Control, FileKind, Ino, Moment, Timestamp, parse_number, parse_when, real_names,
    shown_name,
};
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// The directory of a directory's history.
pub(in crate::fs) const HISTORY_NAME: &[u8] = b".versions";

impl Volume {
    /// Whether `name` in a living directory is that of its history.
    pub(in crate::fs) fn is_history(&self, name: &[u8]) -> bool {
        self.options.history_dir && name == HISTORY_NAME
    }

    /// The history of a directory can be neither removed nor moved.
    pub(in crate::fs) fn check_no_history(&self, name: &[u8]) -> Result<()> {
        match self.is_history(name) {
            true => Err(Error::ReadOnly),
            false => Ok(()),
        }
    }

    /// The history of a living directory, looked up once more.
    pub(in crate::fs) fn look_up_history(&self, dir: Ino) -> Result<Attr> {
        if self.living_inode(dir)?.attr.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        self.enter_view(NewView {
            parent: dir,
            identity: Identity::of_name(dir, HISTORY_NAME, Moment(0)),
            what: What::Versions { dir },
            is_fixed: true,
        })
    }

    /// What a name in a view means, looked up once more.
    pub(in crate::fs) fn look_up_view(&self, parent: Ino, name: &[u8]) -> Result<Attr> {
        let node = self.views.get(parent)?;
        let found = match &node.what {
            What::Versions { dir } => self.in_versions(&node, *dir, name),
            What::Name { .. } => self.in_name(&node, name),
            What::At { dir, .. } => self.in_moments(&node, *dir, name),
            What::Deleted { dir } => {
                let period = self.meta.read(|view| self.deleted_name(view, *dir, name))?;
                Ok(deleted_view(&node, &period))
            }
            What::Pins { dir } => {
                let pin = self.meta.read(|view| view.pin(*dir, name))?;
                Ok(self.pin_view(&node, &pin.ok_or(Error::NotFound)?))
            }
            What::Moved { .. } => Err(Error::NotDirectory),
            What::Past(past) => self.in_past(&node, past, name),
        };
        self.enter_view(found?)
    }

    /// Looked up `lookups` times less: a view that nobody knows any more goes. Other inodes need no count.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        if super::is_view(ino) {
            self.views.leave(ino, lookups);
        }
    }

    /// Whether a name that leads to this inode will go on leading to it, as far as nobody moves it.
    pub fn is_fixed_name(&self, ino: Ino) -> bool {
        !super::is_view(ino) || self.views.get(ino).is_ok_and(|node| node.is_fixed)
    }

    /// Whether a name that isn't in this directory will not appear without the kernel's knowing.
    pub fn is_absence_fixed(&self, directory: Ino) -> bool {
        !super::is_view(directory)
    }

    pub(super) fn enter_view(&self, new: NewView) -> Result<Attr> {
        let node = self.views.enter(new);
        self.attr_of_view(&node).inspect_err(|_| self.views.leave(node.ino, 1))
    }

    fn in_versions(&self, node: &ViewNode, dir: Ino, name: &[u8]) -> Result<NewView> {
        match Control::of(name) {
            Some(Control::At) => Ok(at_view(node, dir)),
            Some(Control::Deleted) => Ok(all_deleted_view(node, dir)),
            Some(Control::Pins) => Ok(pins_view(node, dir)),
            Some(Control::Gmt) => self.in_moments(node, dir, name),
            None => {
                for real in real_names(name) {
                    if self.meta.read(|view| self.has_history(view, dir, real))? {
                        return Ok(name_view(node, dir, name, real));
                    }
                }
                Err(Error::NotFound)
            }
        }
    }

    fn in_name(&self, node: &ViewNode, name: &[u8]) -> Result<NewView> {
        if is_moved_name(name) {
            return self.in_moved(node, name);
        }
        // What programs look for everywhere (`.directory`, `desktop.ini`) is answered at once.
        if parse_number(name).is_none() {
            return Err(Error::NotFound);
        }
        let called = |version: &&Version| version.name == name;
        let cached = self.cached_versions(node);
        if let Some(version) = cached.iter().flat_map(|list| list.iter()).find(called) {
            // What is known of one that lived may be old.
            if version.ended.is_some() {
                return Ok(version_view(node, version));
            }
        }
        let list = self.list_versions(node)?;
        let version = list.iter().find(called).ok_or(Error::NotFound)?;
        Ok(version_view(node, version))
    }

    fn in_moved(&self, node: &ViewNode, name: &[u8]) -> Result<NewView> {
        let What::Name { dir, name: real, .. } = &node.what else {
            return Err(Error::NotDirectory);
        };
        let moved = self.moved_from(*dir, real)?.filter(|moved| moved.name == name);
        Ok(moved_view(node, *dir, moved.ok_or(Error::NotFound)?))
    }

    fn cached_versions(&self, node: &ViewNode) -> Option<Arc<Vec<Version>>> {
        match &node.what {
            What::Name { list, .. } => list.lock().clone(),
            _ => None,
        }
    }

    /// The versions of a name as they are now.
    pub(super) fn list_versions(&self, node: &ViewNode) -> Result<Arc<Vec<Version>>> {
        let What::Name { dir, name, list } = &node.what else { return Err(Error::NotDirectory) };
        // Thousands of versions take a while: not in the way of those who write.
        let found = Arc::new(self.meta.snapshot(|view| versions_of(self, view, *dir, name))?);
        *list.lock() = Some(Arc::clone(&found));
        Ok(found)
    }

    fn in_moments(&self, node: &ViewNode, dir: Ino, name: &[u8]) -> Result<NewView> {
        let text = std::str::from_utf8(name).map_err(|_| Error::NotFound)?;
        let now = Timestamp(self.now().0.max(self.meta.last_moment().0));
        let when = parse_when(text, now, &self.options.zone).map_err(|_| Error::NotFound)?;
        let kept = self.moments_of(dir)?.kept(when.moment).ok_or(Error::NotFound)?;
        Ok(self.moment_view(node, dir, name, kept, when.fixed && kept == when.moment))
    }

    /// Whether the name has versions to show, or had.
    fn has_history(&self, view: &View<'_>, dir: Ino, name: &[u8]) -> Result<bool> {
        match self.rules_in(view, dir)?.makes_versions(name, FileKind::File) {
            true => Ok(view.was_name(dir, name)?),
            false => had_folders(view, dir, name),
        }
    }

    /// The last period of a name that was deleted, as far as it is shown.
    pub(super) fn deleted_name(&self, view: &View<'_>, dir: Ino, name: &[u8]) -> Result<Period> {
        let period = view.deleted_name(dir, name)?.ok_or(Error::NotFound)?;
        match self.shows_deleted(view, dir, &period)? {
            true => Ok(period),
            false => Err(Error::NotFound),
        }
    }

    /// The directory at a moment. What is later than the last change is that: the next one may come at the
    /// very moment that was asked for.
    pub(super) fn moment_view(
        &self,
        node: &ViewNode,
        dir: Ino,
        name: &[u8],
        moment: Moment,
        is_fixed: bool,
    ) -> NewView {
        let at = moment.min(self.meta.last_moment());
        let identity = Identity::of_name(node.ino, name, at);
        let past = Past::new(dir, FileKind::Directory, Instant::At(at), identity.number());
        let past = Past { role: Role::Moment, ..past };
        NewView { parent: node.ino, identity, what: What::Past(past), is_fixed }
    }

    /// The directory at a moment that is kept. The name may be taken back, and given to another moment.
    pub(super) fn pin_view(&self, node: &ViewNode, pin: &Pin) -> NewView {
        self.moment_view(node, pin.dir, &pin.name, pin.moment, false)
    }

    fn in_past(&self, node: &ViewNode, past: &Past, name: &[u8]) -> Result<NewView> {
        if past.kind != FileKind::Directory {
            return Err(Error::NotDirectory);
        }
        let at = self.moment_of(past)?;
        let dentry = self.meta.read(|view| {
            let known = self.known_at(view, past.ino, at)?;
            match view.dentry_at(past.ino, name, at)? {
                Some(dentry) if known.shows(&dentry)? => Ok(dentry),
                // What was deleted is a state by itself, at no moment that anybody asked for.
                _ if past.is_in_deleted => Err(Error::NotFound),
                _ => Err(known.absence(name)?),
            }
        })?;
        Ok(past_view(node, past, at, &dentry))
    }

    /// The moment that a view of the past shows.
    pub(super) fn moment_of(&self, past: &Past) -> Result<Moment> {
        match &past.when {
            Instant::At(at) => Ok(*at),
            Instant::BeforeDeletion { ended, found } => {
                if let Some(at) = found.get() {
                    return Ok(*at);
                }
                let at = self.meta.snapshot(|view| last_whole(view, past.ino, *ended))?;
                Ok(*found.get_or_init(|| at))
            }
        }
    }
}

impl Past {
    fn new(ino: Ino, kind: FileKind, when: Instant, root: Ino) -> Past {
        let (content, hash) = (OnceLock::new(), OnceLock::new());
        Past { ino, kind, when, root, is_in_deleted: false, role: Role::Part, content, hash }
    }
}

/// Whether a name once held folders, whose versions it shows though its files make none.
pub(super) fn had_folders(view: &View<'_>, dir: Ino, name: &[u8]) -> Result<bool> {
    let periods = view.name_periods(dir, name)?;
    Ok(periods.iter().any(|period| period.kind == FileKind::Directory && period.until.is_some()))
}

pub(super) fn at_view(node: &ViewNode, dir: Ino) -> NewView {
    control_view(node, b"@at", What::At { dir, list: Mutex::default() })
}

pub(super) fn all_deleted_view(node: &ViewNode, dir: Ino) -> NewView {
    control_view(node, b"@deleted", What::Deleted { dir })
}

pub(super) fn pins_view(node: &ViewNode, dir: Ino) -> NewView {
    control_view(node, b"@pins", What::Pins { dir })
}

fn control_view(node: &ViewNode, name: &[u8], what: What) -> NewView {
    let identity = Identity::of_name(node.ino, name, Moment(0));
    NewView { parent: node.ino, identity, what, is_fixed: true }
}

/// `shown`: the name as it is escaped. Two ways to write one name are two views, since a directory can be
/// at one place only.
pub(super) fn name_view(node: &ViewNode, dir: Ino, shown: &[u8], real: &[u8]) -> NewView {
    let what = What::Name { dir, name: real.to_vec(), list: Mutex::default() };
    control_view(node, shown, what)
}

/// The view of a name as it is listed.
pub(super) fn listed_name_view(node: &ViewNode, dir: Ino, real: &[u8]) -> (Vec<u8>, NewView) {
    let shown = shown_name(real).into_owned();
    let view = name_view(node, dir, &shown, real);
    (shown, view)
}

pub(super) fn version_view(node: &ViewNode, version: &Version) -> NewView {
    let Version { ino, kind, content_since, ended, .. } = *version;
    let identity = match (kind, ended) {
        (FileKind::Directory, Some(ended)) => Identity::of_content(node.ino, ino, ended),
        _ => Identity::of_content(node.ino, ino, content_since),
    };
    let past = match (kind, ended) {
        (FileKind::Directory, Some(ended)) => {
            before_deletion(ino, kind, (version.began, ended), &identity)
        }
        _ => {
            let past = Past::new(ino, kind, Instant::At(content_since), identity.number());
            Past { role: Role::Version(version.clone()), ..past }
        }
    };
    NewView { parent: node.ino, identity, what: What::Past(past), is_fixed: ended.is_some() }
}

/// A name as it was before it was deleted.
pub(super) fn deleted_view(node: &ViewNode, period: &Period) -> NewView {
    let ended = period.until.unwrap_or(period.since);
    let identity = Identity::of_name(node.ino, &period.name, ended);
    let past = before_deletion(period.ino, period.kind, (period.since, ended), &identity);
    // Another deletion of the same name takes its place.
    NewView { parent: node.ino, identity, what: What::Past(past), is_fixed: false }
}

fn before_deletion(
    ino: Ino,
    kind: FileKind,
    (since, ended): (Moment, Moment),
    identity: &Identity,
) -> Past {
    let when = match kind {
        FileKind::Directory => Instant::BeforeDeletion { ended, found: Arc::default() },
        _ => Instant::At(Moment(ended.0 - 1)),
    };
    let past = Past::new(ino, kind, when, identity.number());
    Past { role: Role::Deleted { since, ended }, is_in_deleted: true, ..past }
}

/// What a directory of the past held.
pub(super) fn past_view(node: &ViewNode, past: &Past, at: Moment, dentry: &Dentry) -> NewView {
    let identity = Identity::of_inode(past.root, dentry.ino);
    let child = Past::new(dentry.ino, dentry.kind, Instant::At(at), past.root);
    let child = Past { is_in_deleted: past.is_in_deleted, ..child };
    NewView { parent: node.ino, identity, what: What::Past(child), is_fixed: true }
}
