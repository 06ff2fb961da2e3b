//! What the contract comes to at one moment, for each name.

use crate::fs::Result;
use crate::fs::options::VolumeOptions;
use crate::fs::rules::{RulesIn, Whereabouts};
use crate::meta::{Holding, View};
use crate::model::{FileKind, Ino, Moment, Timestamp};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// What the settings come to at one moment.
pub(super) struct Terms<'a> {
    options: &'a VolumeOptions,
    whereabouts: &'a Whereabouts,
    /// No name has a longer floor.
    floor_max: Duration,
    pub(super) now: Timestamp,
    /// What ended after this is kept in any case.
    latest: Moment,
    /// The directory that was looked at last: names come directory by directory.
    last: RefCell<Option<Known>>,
}

/// A directory, and its path where that is known.
type Known = (Ino, Option<Rc<[u8]>>);

impl<'a> Terms<'a> {
    /// Of `now`, with floors that are not longer than `floor_max`.
    pub(super) fn new(
        options: &'a VolumeOptions,
        whereabouts: &'a Whereabouts,
        floor_max: Option<Duration>,
        now: Timestamp,
    ) -> Terms<'a> {
        let floor_max = floor_max.unwrap_or(Duration::MAX);
        let (latest, last) = (Moment(i64::MAX), RefCell::default());
        Terms { options, whereabouts, floor_max, now, latest, last }
    }

    /// The same, but what ended after `latest` is kept in any case.
    pub(super) fn until(self, latest: Moment) -> Terms<'a> {
        Terms { latest, ..self }
    }

    /// The rules of names in a directory.
    pub(super) fn rules_in(&self, view: &View<'_>, dir: Ino) -> Result<RulesIn<'a>> {
        let known = self.last.borrow().as_ref().filter(|(last, _)| *last == dir).cloned();
        let path = match known {
            Some((_, path)) => path,
            None => self.whereabouts.path_for(view, dir, self.options)?,
        };
        *self.last.borrow_mut() = Some((dir, path.clone()));
        Ok(RulesIn::new(self.options, path, self.floor_max))
    }

    /// What ended after this is within the floor of a name, as long as that holds something of this kind.
    pub(super) fn horizon(&self, rules: &RulesIn<'_>, name: &[u8], kind: FileKind) -> Moment {
        let care = rules.of(name, kind);
        match care.makes_versions && !rules.is_lost() {
            true => care.policy.horizon(self.now).min(self.latest),
            false => self.latest,
        }
    }

    /// The same for what a place holds or held.
    pub(super) fn horizon_of(&self, view: &View<'_>, held: &Holding) -> Result<Moment> {
        let rules = self.rules_in(view, held.place.parent)?;
        Ok(self.horizon(&rules, &held.name, held.kind))
    }

    /// The horizon where no rule says anything else.
    pub(super) fn usual_horizon(&self) -> Moment {
        let mut policy = self.options.retention.clone();
        policy.floor = policy.floor.min(self.floor_max);
        policy.horizon(self.now).min(self.latest)
    }
}
