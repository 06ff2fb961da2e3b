//! Listings of views.

use super::lookup::{
    all_deleted_view, at_view, deleted_view, had_folders, listed_name_view, past_view, pins_view,
    version_view,
};
use super::moments::{listed_name, thin};
use super::moved::moved_view;
use super::table::{NewView, Past, ViewNode, What};
use crate::fs::types::DirEntry;
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::{Pin, View};
use crate::model::{FileKind, Ino, Moment, Timestamp};
use std::sync::Arc;

/// Cookies of `.` and `..`, and of what stands before the names in `.versions`. Slots are larger.
const COOKIE_DOT: u64 = 1;
const COOKIE_DOT_DOT: u64 = 2;
const COOKIE_AT: u64 = 3;
const COOKIE_DELETED: u64 = 4;
const COOKIE_PINS: u64 = 5;
/// The cookie of where a name's file went: behind all versions.
const COOKIE_MOVED: u64 = 1 << 62;
/// Names that are asked of the metadata in one query.
const BATCH: usize = 256;
/// Rows that are looked at for the moments of a directory, of each kind. In a larger one they are a random part,
/// since names lie in the order of their hashes.
const MOMENT_ROWS_MAX: usize = 20_000;

/// A name that is listed.
struct Listed {
    cookie: u64,
    name: Vec<u8>,
    view: NewView,
}

/// A part of a listing, and the cookie after which the next one begins.
struct Batch {
    listed: Vec<Listed>,
    next: Option<u64>,
}

impl Volume {
    /// Lists a view: see [`Volume::readdir`]. With `plus`, what is listed is looked up.
    pub(in crate::fs) fn list_view(
        &self,
        ino: Ino,
        cookie: u64,
        plus: bool,
        emit: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<()> {
        let node = self.views.get(ino)?;
        let dots = [(COOKIE_DOT, b".".as_slice(), ino), (COOKIE_DOT_DOT, b"..", node.parent)];
        for (own, name, ino) in dots.into_iter().filter(|(own, ..)| *own > cookie) {
            let kind = FileKind::Directory;
            if !emit(DirEntry { cookie: own, ino, kind, name: name.to_vec(), attr: None }) {
                return Ok(());
            }
        }
        let mut after = Some(cookie.max(COOKIE_DOT_DOT));
        while let Some(from) = after {
            let batch = self.list_views(&node, from)?;
            for listed in batch.listed {
                if !self.emit_view(listed, plus, emit)? {
                    return Ok(());
                }
            }
            after = batch.next;
        }
        Ok(())
    }

    fn emit_view(
        &self,
        listed: Listed,
        plus: bool,
        emit: &mut dyn FnMut(DirEntry) -> bool,
    ) -> Result<bool> {
        let Listed { cookie, name, view } = listed;
        let kind = view.what.kind();
        if !plus {
            let ino = view.identity.number();
            return Ok(emit(DirEntry { cookie, ino, kind, name, attr: None }));
        }
        let attr = match self.enter_view(view) {
            Ok(attr) => attr,
            // It went meanwhile.
            Err(Error::NotFound) => return Ok(true),
            Err(error) => return Err(error),
        };
        let taken = emit(DirEntry { cookie, ino: attr.ino, kind, name, attr: Some(attr) });
        if !taken {
            self.views.leave(attr.ino, 1);
        }
        Ok(taken)
    }

    fn list_views(&self, node: &ViewNode, after: u64) -> Result<Batch> {
        match &node.what {
            What::Versions { dir } => self.list_names_ever(node, *dir, after),
            What::Name { .. } => self.list_name(node, after),
            What::Moved { .. } => Err(Error::NotDirectory),
            What::At { dir, .. } => self.list_moments(node, *dir, after),
            What::Deleted { dir } => self.list_deleted(node, *dir, after),
            What::Pins { dir } => self.list_pins(node, *dir, after),
            What::Past(past) => self.list_past(node, past, after),
        }
    }

    fn list_name(&self, node: &ViewNode, after: u64) -> Result<Batch> {
        let What::Name { list, dir, name } = &node.what else { return Err(Error::NotDirectory) };
        if after >= COOKIE_MOVED {
            return Ok(Batch { listed: Vec::new(), next: None });
        }
        let cached = list.lock().clone().filter(|_| after > COOKIE_DOT_DOT);
        let versions = match cached {
            Some(versions) => versions,
            None => self.list_versions(node)?,
        };
        // Numbers rise, and stay when more versions come.
        let number = after - COOKIE_DOT_DOT;
        let from = versions.partition_point(|version| version.number <= number);
        let versions = versions[from..].iter().take(BATCH).map(|version| Listed {
            cookie: version.number + COOKIE_DOT_DOT,
            name: version.name.clone(),
            view: version_view(node, version),
        });
        let mut listed: Vec<Listed> = versions.collect();
        let next = listed.last().filter(|_| listed.len() == BATCH).map(|last| last.cookie);
        if next.is_none() {
            listed.extend(self.moved_from(*dir, name)?.map(|moved| Listed {
                cookie: COOKIE_MOVED,
                name: moved.name.clone(),
                view: moved_view(node, *dir, moved),
            }));
        }
        Ok(Batch { listed, next })
    }

    fn list_names_ever(&self, node: &ViewNode, dir: Ino, after: u64) -> Result<Batch> {
        let mut listed = Vec::new();
        if after < COOKIE_AT {
            let view = at_view(node, dir);
            listed.push(Listed { cookie: COOKIE_AT, name: b"@at".to_vec(), view });
        }
        if after < COOKIE_DELETED {
            let view = all_deleted_view(node, dir);
            listed.push(Listed { cookie: COOKIE_DELETED, name: b"@deleted".to_vec(), view });
        }
        if after < COOKIE_PINS {
            let view = pins_view(node, dir);
            listed.push(Listed { cookie: COOKIE_PINS, name: b"@pins".to_vec(), view });
        }
        let (names, next) = self.meta.read(|view| self.names_ever(view, dir, after as i64))?;
        listed.extend(names.into_iter().map(|(slot, real)| {
            let (name, view) = listed_name_view(node, dir, &real);
            Listed { cookie: slot as u64, name, view }
        }));
        Ok(Batch { listed, next })
    }

    fn list_moments(&self, node: &ViewNode, dir: Ino, after: u64) -> Result<Batch> {
        let What::At { list, .. } = &node.what else { return Err(Error::NotDirectory) };
        let now = Moment(self.now().0.max(self.meta.last_moment().0));
        let mut moments = Arc::clone(&list.lock());
        if after <= COOKIE_DOT_DOT {
            let found = self.meta.snapshot(|view| view.change_moments(dir, MOMENT_ROWS_MAX))?;
            moments = Arc::new(thin(found, now));
            *list.lock() = Arc::clone(&moments);
        }
        let shown = self.moments_of(dir)?;
        let later = moments.iter().filter(|moment| moment.0 > after as i64);
        let mut listed = Vec::new();
        for moment in later {
            let name = listed_name(*moment, now);
            let asked = crate::model::parse_when(&name, Timestamp(now.0), &self.options.zone);
            let asked = asked.map_or(*moment, |when| when.moment);
            let Some(kept) = shown.kept(asked) else { continue };
            let view = self.moment_view(node, dir, name.as_bytes(), kept, kept == asked);
            listed.push(Listed { cookie: moment.0 as u64, name: name.into_bytes(), view });
        }
        Ok(Batch { listed, next: None })
    }

    fn list_deleted(&self, node: &ViewNode, dir: Ino, after: u64) -> Result<Batch> {
        let (periods, next) = self.meta.read(|view| -> Result<_> {
            let mut periods = view.deleted_names(dir, after as i64, BATCH)?;
            let next = next_after(&periods, |period| period.slot);
            retain(&mut periods, |period| self.shows_deleted(view, dir, period))?;
            Ok((periods, next))
        })?;
        let listed = periods.into_iter().map(|period| Listed {
            cookie: period.slot as u64,
            view: deleted_view(node, &period),
            name: period.name,
        });
        Ok(Batch { listed: listed.collect(), next })
    }

    fn list_pins(&self, node: &ViewNode, dir: Ino, after: u64) -> Result<Batch> {
        let from = (after - COOKIE_DOT_DOT) as i64;
        let pins = self.meta.read(|view| view.pins_of(dir, from, BATCH))?;
        let cookie = |pin: &Pin| pin.id as u64 + COOKIE_DOT_DOT;
        let next = pins.last().filter(|_| pins.len() == BATCH).map(cookie);
        let listed = pins.into_iter().map(|pin| Listed {
            cookie: cookie(&pin),
            view: self.pin_view(node, &pin),
            name: pin.name,
        });
        Ok(Batch { listed: listed.collect(), next })
    }

    fn list_past(&self, node: &ViewNode, past: &Past, after: u64) -> Result<Batch> {
        let at = self.moment_of(past)?;
        let (names, next) = self.meta.read(|view| -> Result<_> {
            let mut names = view.list_at(past.ino, at, after as i64, BATCH)?;
            let next = next_after(&names, |dentry| dentry.slot);
            let known = self.known_at(view, past.ino, at)?;
            retain(&mut names, |dentry| known.shows(dentry))?;
            Ok((names, next))
        })?;
        let listed = names.into_iter().map(|dentry| Listed {
            cookie: dentry.slot as u64,
            view: past_view(node, past, at, &dentry),
            name: dentry.name,
        });
        Ok(Batch { listed: listed.collect(), next })
    }
}

/// Where to go on after a full batch.
fn next_after<T>(found: &[T], slot: impl Fn(&T) -> i64) -> Option<u64> {
    found.last().filter(|_| found.len() == BATCH).map(|last| slot(last) as u64)
}

/// Keeps what is `wanted`.
fn retain<T>(found: &mut Vec<T>, wanted: impl Fn(&T) -> Result<bool>) -> Result<()> {
    let mut outcome = Ok(());
    found.retain(|one| match wanted(one) {
        Ok(wanted) => wanted,
        Err(error) => {
            outcome = Err(error);
            false
        }
    });
    outcome
}

/// A name and its slot.
type Place = (i64, Vec<u8>);

impl Volume {
    /// Names, living and gone, that have versions to show, in the order of their slots; and where to go on.
    fn names_ever(
        &self,
        view: &View<'_>,
        dir: Ino,
        after: i64,
    ) -> Result<(Vec<Place>, Option<u64>)> {
        let living = view.list(dir, after, BATCH)?;
        let gone = view.ended_names(dir, after, BATCH)?;
        let ends = [next_after(&living, |name| name.slot), next_after(&gone, |name| name.slot)];
        let next = ends.into_iter().flatten().min();
        let last = next.map_or(i64::MAX, |next| next as i64);
        let rules = self.rules_in(view, dir)?;
        let mut names = Vec::new();
        for name in living.into_iter().filter(|name| name.slot <= last) {
            let has_versions = match name.kind {
                _ if !rules.makes_versions(&name.name, FileKind::File) => {
                    had_folders(view, dir, &name.name)?
                }
                FileKind::File | FileKind::Symlink => true,
                // A folder is a version once it is gone.
                _ => view.name_periods(dir, &name.name)?.len() > 1,
            };
            names.extend(has_versions.then_some((name.slot, name.name)));
        }
        for name in gone.into_iter().filter(|name| name.slot <= last) {
            let has_versions = match name.kind {
                FileKind::Directory => true,
                _ if !rules.makes_versions(&name.name, FileKind::File) => {
                    had_folders(view, dir, &name.name)?
                }
                kind => matches!(kind, FileKind::File | FileKind::Symlink),
            };
            names.extend(has_versions.then_some((name.slot, name.name)));
        }
        names.sort();
        Ok((names, next))
    }
}
