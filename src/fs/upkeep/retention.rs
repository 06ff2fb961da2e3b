//! Retention: what the contract (`model::retention`) doesn't keep any more is taken out of the past.
//!
//! A name is looked at with everything that it showed: each content that an inode had while the name held it is one
//! life of its history, and `plan` decides about each, by the rules that hold at the name's path. A row of the past goes when it
//! ended before the floor, and no life that is kept, under whatever name, needs it. So it is the same for a file that is
//! saved in place and for one that is replaced by each save, and what is kept is whole: the name, the attributes, the extents.
//!
//! Floors differ from name to name. What ended before that of one name may be needed by another one with a longer floor: there
//! it is a life that is kept. So the shortest floor of an inode's names says which of its rows are looked at, and the lives
//! that each name keeps say which of these stay. Folders are kept as long as anything may be that is below them.
//!
//! Of a name that makes no versions nothing is kept but what lives. Its rows stay where another name of the inode needs
//! them; so does the name itself while it leads from an earlier name of a file to its present one.
//!
//! Rows of the past never change. So each batch of names is decided and carried out in one transaction, between
//! those of people who work; where a run ends early, the next one begins anew and finds less to do.

use super::terms::Terms;
use crate::fs::Result;
use crate::fs::volume::Volume;
use crate::meta::{ContentState, Holding, Kept, Period, Place, Tx, View};
use crate::model::{FileKind, Ino, Life, Moment, Verdict, plan, plan_without_versions};
use crate::sys::{Task, failpoint};
use std::collections::{BTreeSet, HashMap, HashSet};

/// Rows that are looked at in one query.
const ROWS_PER_QUERY: usize = 4096;
/// Places that are decided in one transaction.
const PLACES_PER_COMMIT: usize = 64;
/// What looking at a row is taken to read, and deciding about a place to read and write: so much do they hold up others.
const ROW_BYTES: u64 = 512;
const PLACE_BYTES: u64 = 8 << 10;

/// One of the queries that list places and what they hold, from after a place on.
type ListHoldings = dyn Fn(&View<'_>, Place, usize) -> crate::meta::Result<Vec<Holding>>;

/// Whether what a place holds or held is to be looked at.
type IsWanted<'w> = dyn Fn(&View<'_>, &Holding) -> Result<bool> + 'w;

/// What is decided about a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass {
    /// What lives there: what it was. First, since the names that it had tell what of that they keep.
    Living,
    /// What is over: inodes that have ended, and names.
    Over,
}

/// Who goes through the tables: reading, and deciding about some places at once.
pub(super) trait Walk {
    fn read<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T>;

    /// Decides about some places together (see [`decide_places`]); answers how many rows go.
    fn decide(&mut self, pass: Pass, places: &[Place]) -> Result<u64>;
}

/// Where a decision goes: it is carried out, or only taken down.
pub(super) trait Carry {
    /// Whether there is a way to the directory, today or in what is left of the past.
    fn is_reachable(&self, dir: Ino) -> Result<bool>;

    /// See [`View::is_passed_through`], of what is left.
    fn is_passed_through(&self, period: &Period) -> Result<bool>;

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

    fn is_passed_through(&self, period: &Period) -> Result<bool> {
        Ok(self.tx.is_passed_through(period)?)
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
    fn read<T>(&self, work: impl FnOnce(&View<'_>) -> Result<T>) -> Result<T> {
        // Thousands of names take a while: not in the way of those who write.
        self.volume.meta.snapshot(work)
    }

    fn decide(&mut self, pass: Pass, places: &[Place]) -> Result<u64> {
        failpoint::hit("retention-before");
        let dropped = self.volume.freeing_write(|tx| {
            decide_places((tx, self.terms), &mut Carried { tx }, pass, places)
        })?;
        failpoint::hit("retention-after");
        Ok(dropped)
    }
}

impl Volume {
    /// Removes what the terms don't keep; answers how many rows went. `task` is asked between transactions.
    pub(super) fn apply_retention(&self, terms: &Terms<'_>, task: &dyn Task) -> Result<u64> {
        decide_all(&mut Working { volume: self, terms }, terms, task)
    }
}

/// Decides about everything that the terms may not keep; answers how many rows go.
pub(super) fn decide_all(walk: &mut impl Walk, terms: &Terms<'_>, task: &dyn Task) -> Result<u64> {
    let usual = terms.usual_horizon();
    let changed = inodes_with_past(walk, usual, task)?;
    let has_past = |view: &View<'_>, held: &Holding| {
        let horizon = terms.horizon_of(view, held)?;
        let is_old = match horizon == usual {
            true => changed.contains(&held.ino),
            false => view.has_past_until(held.ino, horizon)?,
        };
        Ok(is_old || had_shorter_floor(view, terms, held, horizon)?)
    };
    let list: &ListHoldings = &|view, after, limit| view.living_holdings(after, limit);
    let living = decide_each(walk, task, Pass::Living, (list, &has_past))?;
    let is_over = |view: &View<'_>, held: &Holding| {
        let horizon = terms.horizon_of(view, held)?;
        Ok(held.until.is_some_and(|until| until <= horizon))
    };
    let list: &ListHoldings = &|view, after, limit| view.past_holdings(after, limit);
    Ok(living + decide_each(walk, task, Pass::Over, (list, &is_over))?)
}

/// Whether what lives had a name before with a later horizon than that of its present one, before which it was something
/// else.
fn had_shorter_floor(
    view: &View<'_>,
    terms: &Terms<'_>,
    held: &Holding,
    horizon: Moment,
) -> Result<bool> {
    for (parent, name) in view.lost_names_of(held.ino)? {
        let rules = terms.rules_in(view, parent)?;
        let former = terms.horizon(&rules, &name, held.kind);
        if former > horizon && view.has_past_until(held.ino, former)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Decides about every place in which something is `wanted`, of those that `list` tells.
fn decide_each(
    walk: &mut impl Walk,
    task: &dyn Task,
    pass: Pass,
    (list, wanted): (&ListHoldings, &IsWanted<'_>),
) -> Result<u64> {
    let mut dropped = 0;
    let mut after = Place { parent: Ino(0), slot: i64::MIN };
    while !task.is_stopped() {
        task.pace(ROWS_PER_QUERY as u64 * ROW_BYTES);
        let (last, places) = walk.read(|view| {
            let batch = list(view, after, ROWS_PER_QUERY)?;
            let mut places = BTreeSet::new();
            for held in &batch {
                places.extend(wanted(view, held)?.then_some(held.place));
            }
            Ok((batch.last().map(|held| held.place), places))
        })?;
        let Some(last) = last else { break };
        after = last;
        for places in Vec::from_iter(places).chunks(PLACES_PER_COMMIT) {
            task.pace(places.len() as u64 * PLACE_BYTES);
            if task.is_stopped() {
                break;
            }
            dropped += walk.decide(pass, places)?;
        }
    }
    Ok(dropped)
}

/// The inodes with a state that ended before the floor.
fn inodes_with_past(walk: &impl Walk, horizon: Moment, task: &dyn Task) -> Result<HashSet<Ino>> {
    let mut found = HashSet::new();
    let mut after = Ino(0);
    while !task.is_stopped() {
        task.pace(ROWS_PER_QUERY as u64 * ROW_BYTES);
        let batch =
            walk.read(|view| Ok(view.inodes_with_past(horizon, after, ROWS_PER_QUERY)?))?;
        let Some(last) = batch.last() else { break };
        after = *last;
        found.extend(batch);
    }
    Ok(found)
}

/// Decides about some places, as of one moment, and hands each decision to `carry`; answers how many rows go.
pub(super) fn decide_places(
    (view, terms): (&View<'_>, &Terms<'_>),
    carry: &mut dyn Carry,
    pass: Pass,
    places: &[Place],
) -> Result<u64> {
    let mut retention = Retention { view, terms, carry, pass, plans: HashMap::new(), dropped: 0 };
    places.iter().try_for_each(|place| retention.decide(*place))?;
    Ok(retention.dropped)
}

/// A name in a directory.
pub(super) type Name = (Ino, Vec<u8>);

/// One content (or folder, or link) that a name showed, and what becomes of it.
pub(super) struct Shown {
    pub(super) ino: Ino,
    kind: FileKind,
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
    /// What ended later is within the floor: of folders, and of all else.
    horizons: (Moment, Moment),
    makes_versions: bool,
}

impl NamePlan {
    fn horizon(&self, kind: FileKind) -> Moment {
        match kind {
            FileKind::Directory => self.horizons.0,
            _ => self.horizons.1,
        }
    }

    /// The times of the name that are over, and that nothing that is kept needs.
    fn over(&self) -> impl Iterator<Item = &Period> {
        let is_over =
            |period: &&Period| period.until.is_some_and(|until| until <= self.horizon(period.kind));
        self.periods.iter().filter(is_over).filter(|period| !is_needed(self, period))
    }

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
    pass: Pass,
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
        let pass = self.pass;
        let plan = self.plan_of(&name)?;
        if pass == Pass::Living {
            let living = plan.periods.iter().find(|period| period.until.is_none());
            return living
                .map(|period| period.ino)
                .map_or(Ok(()), |ino| self.decide_inode(ino, &name));
        }
        let makes_versions = plan.makes_versions;
        let inodes: BTreeSet<Ino> = plan.periods.iter().map(|period| period.ino).collect();
        let over: Vec<Period> = plan.over().cloned().collect();
        for ino in inodes {
            self.decide_inode(ino, &name)?;
        }
        for period in over {
            let is_kept_as_way = !makes_versions
                && period.kind != FileKind::Directory
                && self.carry.is_passed_through(&period)?;
            if !is_kept_as_way {
                self.dropped += self.carry.drop_period(name.0, &period)?;
            }
        }
        Ok(())
    }

    /// Removes what no name of the inode keeps.
    fn decide_inode(&mut self, ino: Ino, name: &Name) -> Result<()> {
        let is_decided = match (self.pass, self.view.inode(ino)?) {
            // Where it has several names that live, all of its past is kept: each of them shows it.
            (Pass::Living, Some(living)) => {
                living.attr.nlink == 1 || living.attr.kind == FileKind::Directory
            }
            (Pass::Living, None) | (Pass::Over, Some(_)) => false,
            (Pass::Over, None) => true,
        };
        if !is_decided {
            return Ok(());
        }
        let (mut kept, mut horizon) = (Vec::new(), Moment(i64::MIN));
        let mut take = |plan: &NamePlan| {
            kept.extend(plan.kept_of(ino));
            let held = plan.periods.iter().filter(|period| period.ino == ino);
            horizon = held.map(|period| plan.horizon(period.kind)).fold(horizon, Moment::max);
        };
        take(self.plan_of(name)?);
        for other in self.view.lost_names_of(ino)? {
            if other != *name {
                take(self.plan_of(&other)?);
            }
        }
        self.dropped += self.carry.drop_history(ino, horizon, &kept)?;
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
    let lives: Vec<Life> = shown.iter().map(|shown| shown.life).collect();
    // Asked for within the transaction: who pins a moment meanwhile has it whole, or finds it thinned already.
    let pins = pins_for(view, name.0, &shown)?;
    let rules = terms.rules_in(view, name.0)?;
    let horizon = |kind| terms.horizon(&rules, &name.1, kind);
    let horizons = (horizon(FileKind::Directory), horizon(FileKind::File));
    let mut planned = NamePlan { periods, shown, horizons, makes_versions: true };
    for kind in [FileKind::Directory, FileKind::File] {
        let care = rules.of(&name.1, kind);
        let verdicts = match care.makes_versions {
            true => plan(&lives, &care.policy, &pins, terms.now),
            false => plan_without_versions(&lives),
        };
        planned.makes_versions &= care.makes_versions;
        let horizon = planned.horizon(kind);
        let is_folder = kind == FileKind::Directory;
        for (shown, verdict) in planned.shown.iter_mut().zip(verdicts) {
            if (shown.kind == FileKind::Directory) == is_folder {
                let is_recent = shown.life.ended.is_none_or(|ended| ended > horizon);
                shown.is_kept = is_recent || (is_reachable && verdict.is_kept());
                shown.verdict = verdict;
            }
        }
    }
    Ok(planned)
}

/// The moments that are kept of a name: those of pins of a directory that had it somewhere in it then, and of pins of
/// something that it led to.
fn pins_for(view: &View<'_>, dir: Ino, shown: &[Shown]) -> Result<Vec<Moment>> {
    let mut moments = Vec::new();
    for pin in view.pins()? {
        let mut is_meant = view.was_below(dir, pin.dir, pin.moment)?;
        let then = shown.iter().find(|shown| shown.life.shows(pin.moment));
        if let Some(then) = then.filter(|then| then.kind == FileKind::Directory && !is_meant) {
            is_meant = view.was_below(pin.dir, then.ino, pin.moment)?;
        }
        moments.extend(is_meant.then_some(pin.moment));
    }
    Ok(moments)
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
        let shown = shown_as(period, state.inode.saved.number, life);
        let is_version = state.inode.saved.is_cut || state.until.is_none();
        (began < ended).then_some(Shown { is_version, content_since: state.since, ..shown })
    };
    states.iter().enumerate().filter_map(shown).collect()
}

/// A folder, a link or a device is one thing as long as the name holds it.
fn whole_life(period: &Period) -> Shown {
    let life = Life { began: period.since, ended: period.until, bytes: 0 };
    shown_as(period, 0, life)
}

fn shown_as(period: &Period, number: u64, life: Life) -> Shown {
    let verdict = Verdict::Kept(Vec::new());
    let content_since = life.began;
    let (ino, kind) = (period.ino, period.kind);
    Shown { ino, kind, number, is_version: true, content_since, life, verdict, is_kept: true }
}
