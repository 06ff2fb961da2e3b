//! Retention: what the contract (`model::retention`) doesn't keep any more is taken out of the past.
//!
//! A name is looked at with everything that it showed: each content that an inode had while the name held it is one
//! life of its history, and `plan` decides about each. A row of the past goes when it ended before the floor, and no life that
//! is kept, under whatever name, needs it. So it is the same for a file that is saved in place and for one that is
//! replaced by each save, and what is kept is whole: the name, the attributes, the extents.
//!
//! Rows of the past never change. So each batch of names is decided and carried out in one transaction, between
//! those of people who work; where a run ends early, the next one begins anew and finds less to do.

use crate::fs::Result;
use crate::fs::volume::Volume;
use crate::meta::{ContentState, Holding, Kept, Period, Place, Tx, View};
use crate::model::{FileKind, Ino, Life, Moment, Policy, Timestamp, Verdict, plan};
use crate::sys::failpoint;
use std::collections::{BTreeSet, HashMap, HashSet};

/// Rows that are looked at in one query.
const ROWS_PER_QUERY: usize = 4096;
/// Places that are decided in one transaction.
const PLACES_PER_COMMIT: usize = 64;

/// One of the queries that list places and what they hold, from after a place on.
type ListHoldings = dyn Fn(&View<'_>, Place, usize) -> crate::meta::Result<Vec<Holding>>;

/// What a policy comes to at one moment.
pub(super) struct Terms<'a> {
    pub(super) policy: &'a Policy,
    pub(super) now: Timestamp,
    /// What ended after this is kept in any case.
    pub(super) horizon: Moment,
}

/// Who goes through the tables: reading, and deciding about some places at once.
pub(super) trait Walk {
    fn read<T>(
        &self,
        work: impl FnOnce(&View<'_>) -> crate::meta::Result<T>,
    ) -> crate::meta::Result<T>;

    /// Decides about some places together (see [`decide_places`]); answers how many rows go.
    fn decide(&mut self, places: &[Place]) -> Result<u64>;
}

/// Where a decision goes: it is carried out, or only taken down.
pub(super) trait Carry {
    /// Whether there is a way to the directory, today or in what is left of the past.
    fn is_reachable(&self, dir: Ino) -> Result<bool>;

    /// See [`Tx::drop_period`].
    fn drop_period(&mut self, parent: Ino, period: &Period) -> Result<u64>;

    /// See [`Tx::drop_history`].
    fn drop_history(&mut self, ino: Ino, horizon: Moment, kept: &[Kept]) -> Result<u64>;
}

/// Carries out.
struct Carried<'a> {
    tx: &'a Tx<'a>,
}

impl Carry for Carried<'_> {
    fn is_reachable(&self, dir: Ino) -> Result<bool> {
        is_reachable(self.tx, dir)
    }

    fn drop_period(&mut self, parent: Ino, period: &Period) -> Result<u64> {
        Ok(self.tx.drop_period(parent, period)?)
    }

    fn drop_history(&mut self, ino: Ino, horizon: Moment, kept: &[Kept]) -> Result<u64> {
        Ok(self.tx.drop_history(ino, horizon, kept)?)
    }
}

/// Decides between the transactions of people who work.
struct Working<'a> {
    volume: &'a Volume,
    terms: &'a Terms<'a>,
}

impl Walk for Working<'_> {
    fn read<T>(
        &self,
        work: impl FnOnce(&View<'_>) -> crate::meta::Result<T>,
    ) -> crate::meta::Result<T> {
        self.volume.meta.read(work)
    }

    fn decide(&mut self, places: &[Place]) -> Result<u64> {
        failpoint::hit("retention-before");
        let dropped = self
            .volume
            .freeing_write(|tx| decide_places(tx, self.terms, &mut Carried { tx }, places))?;
        failpoint::hit("retention-after");
        Ok(dropped)
    }
}

impl Volume {
    /// Removes what the terms don't keep; answers how many rows went. `stop` is asked between transactions.
    pub(super) fn apply_retention(
        &self,
        terms: &Terms<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<u64> {
        decide_all(&mut Working { volume: self, terms }, terms, stop)
    }
}

/// Decides about everything that the terms may not keep; answers how many rows go.
pub(super) fn decide_all(
    walk: &mut impl Walk,
    terms: &Terms<'_>,
    stop: &dyn Fn() -> bool,
) -> Result<u64> {
    let is_over = |held: &Holding| held.until.is_some_and(|until| until <= terms.horizon);
    let over =
        decide_each(walk, stop, &|view, after, limit| view.past_holdings(after, limit), &is_over)?;
    let changed = inodes_with_past(walk, terms.horizon, stop)?;
    if changed.is_empty() {
        return Ok(over);
    }
    let has_past = |held: &Holding| changed.contains(&held.ino);
    let list: &ListHoldings = &|view, after, limit| view.living_holdings(after, limit);
    Ok(over + decide_each(walk, stop, list, &has_past)?)
}

/// Decides about every place in which something is `wanted`, of those that `list` tells.
fn decide_each(
    walk: &mut impl Walk,
    stop: &dyn Fn() -> bool,
    list: &ListHoldings,
    wanted: &dyn Fn(&Holding) -> bool,
) -> Result<u64> {
    let mut dropped = 0;
    let mut after = Place { parent: Ino(0), slot: i64::MIN };
    while !stop() {
        let batch = walk.read(|view| list(view, after, ROWS_PER_QUERY))?;
        let Some(last) = batch.last() else { break };
        after = last.place;
        let places: BTreeSet<Place> =
            batch.iter().filter(|held| wanted(held)).map(|held| held.place).collect();
        for places in Vec::from_iter(places).chunks(PLACES_PER_COMMIT) {
            if stop() {
                break;
            }
            dropped += walk.decide(places)?;
        }
    }
    Ok(dropped)
}

/// The inodes with a state that ended before the floor.
fn inodes_with_past(
    walk: &impl Walk,
    horizon: Moment,
    stop: &dyn Fn() -> bool,
) -> Result<HashSet<Ino>> {
    let mut found = HashSet::new();
    let mut after = Ino(0);
    while !stop() {
        let batch = walk.read(|view| view.inodes_with_past(horizon, after, ROWS_PER_QUERY))?;
        let Some(last) = batch.last() else { break };
        after = *last;
        found.extend(batch);
    }
    Ok(found)
}

/// Decides about some places, as of one moment, and hands each decision to `carry`; answers how many rows go.
pub(super) fn decide_places(
    view: &View<'_>,
    terms: &Terms<'_>,
    carry: &mut dyn Carry,
    places: &[Place],
) -> Result<u64> {
    let mut retention = Retention { view, terms, carry, plans: HashMap::new(), dropped: 0 };
    places.iter().try_for_each(|place| retention.decide(*place))?;
    Ok(retention.dropped)
}

/// A name in a directory.
pub(super) type Name = (Ino, Vec<u8>);

/// One content (or folder, or link) that a name showed, and what becomes of it.
pub(super) struct Shown {
    pub(super) ino: Ino,
    /// The number of the content; 0 where it has none.
    pub(super) number: u64,
    /// Whether it was more than a step on the way to the next one.
    pub(super) is_version: bool,
    /// From when its inode had this content.
    pub(super) content_since: Moment,
    pub(super) life: Life,
    pub(super) verdict: Verdict,
    pub(super) is_kept: bool,
}

impl Shown {
    /// Whether no rule drops it, but nobody can get to it any more.
    pub(super) fn is_lost(&self) -> bool {
        self.verdict.is_kept() && !self.is_kept
    }
}

/// What becomes of everything that one name showed.
pub(super) struct NamePlan {
    pub(super) periods: Vec<Period>,
    pub(super) shown: Vec<Shown>,
}

impl NamePlan {
    /// The kept times of an inode under this name.
    fn kept_of(&self, ino: Ino) -> impl Iterator<Item = Kept> + '_ {
        self.shown.iter().filter(move |shown| shown.ino == ino && shown.is_kept).map(|shown| Kept {
            from: shown.life.began,
            until: shown.life.ended.unwrap_or(Moment(i64::MAX)),
        })
    }
}

/// Deciding, as of one moment.
struct Retention<'a> {
    view: &'a View<'a>,
    terms: &'a Terms<'a>,
    carry: &'a mut dyn Carry,
    plans: HashMap<Name, NamePlan>,
    dropped: u64,
}

impl Retention<'_> {
    fn decide(&mut self, place: Place) -> Result<()> {
        for name in self.view.names_at_place(place)? {
            self.decide_name((place.parent, name))?;
        }
        Ok(())
    }

    fn decide_name(&mut self, name: Name) -> Result<()> {
        let horizon = self.terms.horizon;
        let is_over = |period: &&Period| period.until.is_some_and(|until| until <= horizon);
        let plan = self.plan_of(&name)?;
        let inodes: BTreeSet<Ino> = plan.periods.iter().map(|period| period.ino).collect();
        let over: Vec<Period> = plan
            .periods
            .iter()
            .filter(is_over)
            .filter(|period| !is_needed(plan, period))
            .cloned()
            .collect();
        let living = plan.periods.iter().find(|period| period.until.is_none());
        let living = living.map(|period| period.ino);
        for ino in inodes {
            self.decide_inode(ino, living == Some(ino), &name)?;
        }
        for period in over {
            self.dropped += self.carry.drop_period(name.0, &period)?;
        }
        Ok(())
    }

    /// Removes what no name of the inode keeps. `lives_here`: the name that is looked at holds it now.
    fn decide_inode(&mut self, ino: Ino, lives_here: bool, name: &Name) -> Result<()> {
        let living = self.view.inode(ino)?;
        if let Some(living) = living
            && !(lives_here && (living.attr.nlink == 1 || living.attr.kind == FileKind::Directory))
        {
            // Decided where it lives. Where it has several names that live, all of its past is kept: each of them
            // shows it.
            return Ok(());
        }
        let mut kept: Vec<Kept> = self.plan_of(name)?.kept_of(ino).collect();
        for other in self.view.lost_names_of(ino)? {
            if other != *name {
                kept.extend(self.plan_of(&other)?.kept_of(ino));
            }
        }
        self.dropped += self.carry.drop_history(ino, self.terms.horizon, &kept)?;
        Ok(())
    }

    fn plan_of(&mut self, name: &Name) -> Result<&NamePlan> {
        if !self.plans.contains_key(name) {
            let is_reachable = self.carry.is_reachable(name.0)?;
            let plan = plan_name_in(self.view, self.terms, name, is_reachable)?;
            self.plans.insert(name.clone(), plan);
        }
        Ok(&self.plans[name])
    }
}

/// Decides about everything that a name showed.
pub(super) fn plan_name(view: &View<'_>, terms: &Terms<'_>, name: &Name) -> Result<NamePlan> {
    plan_name_in(view, terms, name, is_reachable(view, name.0)?)
}

/// The same where it is known whether there is a way to the directory.
pub(super) fn plan_name_in(
    view: &View<'_>,
    terms: &Terms<'_>,
    name: &Name,
    is_reachable: bool,
) -> Result<NamePlan> {
    let periods = view.name_periods(name.0, &name.1)?;
    let mut contents: HashMap<Ino, Vec<ContentState>> = HashMap::new();
    for state in view.content_states_of_name(name.0, &name.1)? {
        contents.entry(state.inode.attr.ino).or_default().push(state);
    }
    let mut shown: Vec<Shown> = Vec::new();
    for period in &periods {
        let states = contents.get(&period.ino).map_or(&[][..], Vec::as_slice);
        match period.kind {
            FileKind::File => shown.extend(lives_of(period, states)),
            _ => shown.push(whole_life(period)),
        }
    }
    let Terms { policy, now, horizon } = *terms;
    let lives: Vec<Life> = shown.iter().map(|shown| shown.life).collect();
    // Asked for within the transaction: who pins a moment meanwhile has it whole, or finds it thinned already.
    let verdicts = plan(&lives, policy, &view.pinned_moments()?, now);
    for (shown, verdict) in shown.iter_mut().zip(verdicts) {
        let is_recent = shown.life.ended.is_none_or(|ended| ended > horizon);
        shown.is_kept = is_recent || (is_reachable && verdict.is_kept());
        shown.verdict = verdict;
    }
    Ok(NamePlan { periods, shown })
}

/// Whether there is a way to the directory, today or in the past. What was in one that nobody can get to any more
/// goes with it.
fn is_reachable(view: &View<'_>, dir: Ino) -> Result<bool> {
    Ok(view.inode(dir)?.is_some() || !view.lost_names_of(dir)?.is_empty())
}

/// Whether a life that is kept falls into the period.
fn is_needed(plan: &NamePlan, period: &Period) -> bool {
    let until = period.until.unwrap_or(Moment(i64::MAX));
    plan.kept_of(period.ino).any(|kept| kept.needs(period.since, until))
}

/// The contents that a file had while the name held it. Before its first one it was there and empty: that belongs to the
/// first.
fn lives_of(period: &Period, states: &[ContentState]) -> Vec<Shown> {
    let end = period.until.unwrap_or(Moment(i64::MAX));
    let shown = |(at, state): (usize, &ContentState)| {
        let began = if at == 0 { period.since } else { state.since.max(period.since) };
        let ended = state.until.map_or(end, |until| until.min(end));
        let life = Life {
            began,
            ended: (ended < Moment(i64::MAX)).then_some(ended),
            bytes: state.inode.attr.size,
        };
        let shown = shown_as(period.ino, state.inode.saved.number, life);
        let is_version = state.inode.saved.is_cut || state.until.is_none();
        (began < ended).then_some(Shown { is_version, content_since: state.since, ..shown })
    };
    states.iter().enumerate().filter_map(shown).collect()
}

/// A folder, a link or a device is one thing as long as the name holds it.
fn whole_life(period: &Period) -> Shown {
    let life = Life { began: period.since, ended: period.until, bytes: 0 };
    shown_as(period.ino, 0, life)
}

fn shown_as(ino: Ino, number: u64, life: Life) -> Shown {
    let verdict = Verdict::Kept(Vec::new());
    let content_since = life.began;
    Shown { ino, number, is_version: true, content_since, life, verdict, is_kept: true }
}
