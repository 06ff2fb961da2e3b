//! What is known of the past at some place, where rules differ by path: which moment stands for one that is asked for, and
//! which names a directory of the past shows.
//!
//! A row of the past stays or goes as a whole, with everything that belongs to it, so what is found is what was there. What is
//! not found was not there as long as the rules at its path keep everything of that moment; else nobody knows, and
//! asking for it is an error of its own ([`Error::Gone`]). So a tree in which floors differ is shown with what is left of it: true
//! in each name, and without those that have gone.
//!
//! A name that makes no versions is shown only where it holds today what it held then.

use crate::fs::rules::RulesIn;
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::{Dentry, Period, View};
use crate::model::{FileKind, Ino, Moment, Policy, Timestamp};

/// Which moments of a directory can be shown.
pub(super) struct Moments {
    /// What holds for names in it in general, and the most that holds for anything below it.
    policies: [Policy; 2],
    pins: Vec<Moment>,
    now: Timestamp,
}

impl Moments {
    /// The moment that stands for the one that was asked for: itself, as long as everything of it is kept; later the
    /// end of the shortest period that is, as names in the directory are in general kept. Where nothing of that is,
    /// something below may be kept longer. `None` beyond all that retention keeps.
    pub(super) fn kept(&self, asked: Moment) -> Option<Moment> {
        let [general, most] = &self.policies;
        match general.whole_at(asked, self.now) {
            Some(kept) if kept == asked => Some(asked),
            _ if self.pins.contains(&asked) => Some(asked),
            Some(kept) => Some(kept),
            None => most.whole_at(asked, self.now),
        }
    }
}

impl Volume {
    /// Which moments of a directory can be shown now.
    pub(super) fn moments_of(&self, dir: Ino) -> Result<Moments> {
        let now = self.now();
        self.meta.read(|view| {
            let policies = self.rules_in(view, dir)?.in_general();
            let mut pins = Vec::new();
            for pin in view.pins()? {
                // Of what only leads to it that much is shown.
                let is_shown = view.was_below(dir, pin.dir, pin.moment)?
                    || view.was_below(pin.dir, dir, pin.moment)?;
                pins.extend(is_shown.then_some(pin.moment));
            }
            Ok(Moments { policies, pins, now })
        })
    }

    /// What is known of the names in a directory at a moment.
    pub(super) fn known_at<'v>(
        &'v self,
        view: &'v View<'v>,
        dir: Ino,
        at: Moment,
    ) -> Result<Known<'v>> {
        Ok(Known { view, dir, at, rules: self.rules_in(view, dir)?, now: self.now() })
    }

    /// Whether what was deleted is shown: its name makes versions, and its last state is kept.
    pub(super) fn shows_deleted(&self, view: &View<'_>, dir: Ino, gone: &Period) -> Result<bool> {
        if gone.kind == FileKind::Directory {
            return Ok(true);
        }
        if !self.rules_in(view, dir)?.makes_versions(&gone.name, gone.kind) {
            return Ok(false);
        }
        let last = gone.until.map_or(gone.since, |until| Moment(until.0 - 1));
        Ok(view.inode_at(gone.ino, last)?.is_some())
    }
}

/// What is known of the names in a directory at a moment.
pub(super) struct Known<'v> {
    view: &'v View<'v>,
    dir: Ino,
    at: Moment,
    rules: RulesIn<'v>,
    now: Timestamp,
}

impl Known<'_> {
    /// Whether a name that the directory had then is shown.
    pub(super) fn shows(&self, dentry: &Dentry) -> Result<bool> {
        let care = self.rules.of(&dentry.name, dentry.kind);
        if !care.makes_versions {
            return self.is_unchanged(dentry);
        }
        let is_whole = care.policy.is_whole_at(self.at, self.now);
        Ok(is_whole || self.view.inode_at(dentry.ino, self.at)?.is_some())
    }

    /// Whether name and inode have lived since then, as they are.
    fn is_unchanged(&self, dentry: &Dentry) -> Result<bool> {
        let name = self.view.dentry(self.dir, &dentry.name)?;
        let is_there = name.is_some_and(|name| name.ino == dentry.ino && name.since <= self.at);
        let inode = self.view.inode(dentry.ino)?;
        Ok(is_there && inode.is_some_and(|inode| inode.since <= self.at))
    }

    /// Whether the directory was pinned at this moment, itself or with one that it was in.
    fn is_pinned(&self) -> Result<bool> {
        for pin in self.view.pins()?.iter().filter(|pin| pin.moment == self.at) {
            if self.view.was_below(self.dir, pin.dir, pin.moment)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What to answer for a name that is not shown.
    pub(super) fn absence(&self, name: &[u8]) -> Result<Error> {
        let care = self.rules.of(name, FileKind::File);
        let is_certain = !care.makes_versions || care.policy.is_whole_at(self.at, self.now);
        Ok(if is_certain || self.is_pinned()? { Error::NotFound } else { Error::Gone })
    }
}
