//! What retention would take at some moment: the decisions of `retention.rs`, taken down instead of carried out.
//!
//! The tables stay as they are, so what an earlier decision took is kept in mind: a folder whose last name goes leads
//! nowhere any more, and what was in it goes with it, as it does when the decisions are carried out in this order.

use super::retention::{Carry, Pass, Walk, decide_all, decide_places};
use super::terms::Terms;
use crate::fs::Result;
use crate::meta::{Fate, Kept, Period, Place, Showing, View};
use crate::model::{Ino, Moment};
use crate::sys::Unattended;
use std::collections::{BTreeSet, HashMap, HashSet};

/// What goes. Some 100 bytes for each name and each inode of which something does.
pub(super) struct Foreseen<'a> {
    view: &'a View<'a>,
    /// The times of names that go: directory, slot, end.
    periods: HashSet<(Ino, i64, Moment)>,
    /// Of inodes of which rows go: which, and how many.
    fates: HashMap<Ino, (Fate, u64)>,
    /// Where something was found to go, and what was decided together with it.
    places: BTreeSet<Place>,
}

impl<'a> Foreseen<'a> {
    /// What carrying out these terms on what `view` shows would take.
    pub(super) fn by(view: &'a View<'a>, terms: &Terms<'_>) -> Result<Foreseen<'a>> {
        let (periods, fates, places) = Default::default();
        let foreseen = Foreseen { view, periods, fates, places };
        let mut looking = Looking { terms, foreseen };
        decide_all(&mut looking, terms, &Unattended)?;
        Ok(looking.foreseen)
    }

    /// How many rows go.
    pub(super) fn rows(&self) -> u64 {
        self.periods.len() as u64 + self.fates.values().map(|(_, rows)| rows).sum::<u64>()
    }

    /// Whether a state of an inode that held from `since` until `until` goes.
    pub(super) fn takes_state(&self, ino: Ino, since: Moment, until: Moment) -> bool {
        self.fates.get(&ino).is_some_and(|(fate, _)| fate.takes_state(since, until))
    }

    /// Whether an extent goes.
    pub(super) fn takes_showing(&self, showing: &Showing) -> bool {
        let Some((fate, _)) = self.fates.get(&showing.ino) else { return false };
        fate.takes(showing.since, showing.until)
    }

    /// Whether a name's time goes.
    pub(super) fn takes_period(&self, parent: Ino, period: &Period) -> bool {
        period.until.is_some_and(|until| self.periods.contains(&(parent, period.slot, until)))
    }

    /// The places of names of which something goes, in order, and some others.
    pub(super) fn places(&self) -> Result<BTreeSet<Place>> {
        let mut places = self.places.clone();
        for &ino in self.fates.keys() {
            let lost = self.view.lost_places_of(ino)?;
            places.extend(lost.iter().map(|&(parent, slot, _)| Place { parent, slot }));
        }
        Ok(places)
    }
}

impl Carry for Foreseen<'_> {
    fn is_reachable(&self, dir: Ino) -> Result<bool> {
        if self.view.inode(dir)?.is_some() {
            return Ok(true);
        }
        let names = self.view.lost_places_of(dir)?;
        Ok(names.iter().any(|name| !self.periods.contains(name)))
    }

    fn is_passed_through(&self, period: &Period) -> Result<bool> {
        let before = self.view.lost_places_of(period.ino)?;
        let stays =
            |name: &(Ino, i64, Moment)| name.2 == period.since && !self.periods.contains(name);
        Ok(before.iter().any(stays) && self.view.is_passed_through(period)?)
    }

    fn drop_period(&mut self, parent: Ino, period: &Period) -> Result<u64> {
        let Some(until) = period.until else { return Ok(0) };
        Ok(u64::from(self.periods.insert((parent, period.slot, until))))
    }

    fn drop_history(&mut self, ino: Ino, horizon: Moment, kept: &[Kept]) -> Result<u64> {
        let fate = self.view.fate(ino, horizon, kept)?;
        let rows = self.view.rows_taken(ino, &fate)?;
        let before = self.fates.get(&ino).map_or(0, |(_, rows)| *rows);
        // It may be decided several times, by each of its names; ways to it only get fewer.
        if rows > before {
            self.fates.insert(ino, (fate, rows));
        }
        Ok(rows.saturating_sub(before))
    }
}

/// Goes through one state of the tables.
struct Looking<'a, 't> {
    terms: &'t Terms<'t>,
    foreseen: Foreseen<'a>,
}

impl Walk for Looking<'_, '_> {
    fn read<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        work(self.foreseen.view)
    }

    fn decide(&mut self, pass: Pass, places: &[Place]) -> Result<u64> {
        let view = self.foreseen.view;
        let dropped = decide_places((view, self.terms), &mut self.foreseen, pass, places)?;
        if dropped > 0 {
            self.foreseen.places.extend(places);
        }
        Ok(dropped)
    }
}
