//! What upkeep would take at this moment, name by name: nothing is changed.
//!
//! It is found with the functions that carry it out (`foresee.rs`). A chunk that several names would free is counted for
//! the first of them, in the order of the tables, so that the lines add up.

use super::collect::IdSet;
use super::forecast::Left;
use super::foresee::Foreseen;
use super::retention::{Carry, Name, NamePlan, Shown, plan_name_in};
use super::terms::Terms;
use super::why::NO_WAY;
use crate::chunks::record_len;
use crate::fs::Result;
use crate::fs::volume::Volume;
use crate::meta::{ChunkRow, Period, Place, Showing, View};
use crate::model::{ChunkId, FileKind, Ino, Moment};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

/// Numbers of versions that one line tells.
const NUMBERS_MAX: usize = 100;

/// What upkeep would take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Some of what goes, that with the most bytes first.
    pub going: Vec<Going>,
    /// Lines of this kind that are not told.
    pub left_out: u64,
    /// Names of which something goes.
    pub names: u64,
    /// Versions and folders that go.
    pub versions: u64,
    /// Rows of the past that go.
    pub rows: u64,
    /// Chunks that nothing needs any more then.
    pub chunks: u64,
    /// Their bytes in the packs.
    pub bytes: u64,
    /// Those of them that nothing shows already.
    pub unused_bytes: u64,
    /// The sums by rule, sorted by its words.
    pub by_rule: Vec<ByRule>,
}

/// What one rule takes of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Going {
    /// The path from the drive's root: as it is, or as it was last. What is not UTF-8 is replaced.
    pub path: String,
    /// The rule.
    pub rule: String,
    /// How many versions.
    pub versions: u64,
    /// The numbers of the first of them.
    pub numbers: Vec<u64>,
    /// From when on the oldest was shown, in nanoseconds since 1970.
    pub began: i64,
    /// Until when the newest was.
    pub ended: i64,
    /// What comes free with them.
    pub bytes: u64,
}

/// What a rule takes of all names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByRule {
    /// The rule.
    pub rule: String,
    /// How many versions.
    pub versions: u64,
    /// What comes free with them. Less than all, where something goes that no version shows.
    pub bytes: u64,
}

impl Volume {
    /// What [`Volume::upkeep`] with this `floor` and without a grace would take now; of the single names at most `limit`
    /// lines. What is being written at this moment is needed. Looks at everything that the store holds.
    pub fn preview(&self, floor: Option<Duration>, limit: usize) -> Result<Preview> {
        let terms = self.terms(floor);
        let last = self.meta.last_chunk();
        let (mut preview, last_ones) = self.meta.snapshot(|view| -> Result<_> {
            let foreseen = Foreseen::by(view, &terms)?;
            let Left { needed, last_ones } = self.left_by(view, &foreseen, last)?;
            let mut preview = Preview { rows: foreseen.rows(), ..Preview::default() };
            preview.count_chunks(view, &needed, last)?;
            let counted = IdSet::up_to(last);
            let looking = Looking { view, terms: &terms, foreseen: &foreseen, needed, counted };
            looking.tell(&mut preview, limit)?;
            Ok((preview, last_ones))
        })?;
        preview.chunks += last_ones.len() as u64;
        preview.bytes += self.freed_by_rebasing(&last_ones, &mut HashMap::new());
        Ok(preview)
    }
}

impl Preview {
    fn count_chunks(&mut self, view: &View<'_>, needed: &IdSet, last: ChunkId) -> Result<()> {
        let mut shown = IdSet::up_to(last);
        view.each_showing(&mut |showing| shown.insert(showing.chunk))?;
        view.each_chunk(&mut |row: ChunkRow| -> Result<()> {
            let goes = |id: ChunkId| id <= last && !needed.contains(id);
            if let Some(chunk) = row.chunk.filter(|chunk| goes(chunk.id)) {
                let bytes = record_len(chunk.at.stored_len);
                self.chunks += 1;
                self.bytes += bytes;
                self.unused_bytes += if shown.contains(chunk.id) { 0 } else { bytes };
            }
            Ok(())
        })
    }
}

/// A line before its path is found.
type Line = (Name, Going);

struct Looking<'a> {
    view: &'a View<'a>,
    terms: &'a Terms<'a>,
    foreseen: &'a Foreseen<'a>,
    needed: IdSet,
    /// What was counted for a name.
    counted: IdSet,
}

impl Looking<'_> {
    fn tell(mut self, preview: &mut Preview, limit: usize) -> Result<()> {
        let mut lines: Vec<Line> = Vec::new();
        let mut by_rule: BTreeMap<String, ByRule> = BTreeMap::new();
        let places = self.foreseen.places()?;
        for place in &places {
            for name in self.view.names_at_place(*place)? {
                let name = (place.parent, name);
                let found = self.going(&name, *place, &places)?;
                preview.names += u64::from(!found.is_empty());
                for going in found {
                    sum_up(&mut by_rule, &going);
                    preview.versions += going.versions;
                    preview.left_out += 1;
                    lines.push((name.clone(), going));
                }
            }
            if lines.len() > 2 * limit.max(1) {
                keep_largest(&mut lines, limit);
            }
        }
        keep_largest(&mut lines, limit);
        preview.left_out -= lines.len() as u64;
        preview.by_rule = by_rule.into_values().collect();
        let mut paths = HashMap::new();
        for (name, going) in lines {
            let path = path_of(self.view, &mut paths, &name)?;
            preview
                .going
                .push(Going { path: String::from_utf8_lossy(&path).into_owned(), ..going });
        }
        Ok(())
    }

    /// What goes of a name, a line for each rule. A name that had several places is told at the first of them.
    fn going(&mut self, name: &Name, place: Place, places: &BTreeSet<Place>) -> Result<Vec<Going>> {
        let is_reachable = self.foreseen.is_reachable(name.0)?;
        let plan = plan_name_in(self.view, self.terms, name, is_reachable)?;
        let slots = plan.periods.iter().map(|period| Place { slot: period.slot, ..place });
        if slots.filter(|slot| places.contains(slot)).min() != Some(place) {
            return Ok(Vec::new());
        }
        let mut going: Vec<&Shown> = Vec::new();
        for shown in &plan.shown {
            if self.goes(name.0, &plan, shown)? {
                going.push(shown);
            }
        }
        let mut lines: BTreeMap<String, Going> = BTreeMap::new();
        for shown in going.iter().filter(|shown| shown.is_version) {
            lines.entry(rule_of(shown)).or_insert_with(|| begin(shown)).add(shown);
        }
        self.add_bytes(&going, &mut lines)?;
        Ok(lines.into_values().collect())
    }

    /// Whether the name doesn't show it any more afterwards.
    fn goes(&self, parent: Ino, plan: &NamePlan, shown: &Shown) -> Result<bool> {
        let holds = |period: &&Period| {
            let is_over = period.until.is_some_and(|until| until <= shown.life.began);
            period.ino == shown.ino && period.since <= shown.life.began && !is_over
        };
        let Some(period) = plan.periods.iter().find(holds) else { return Ok(false) };
        if self.foreseen.takes_period(parent, period) {
            return Ok(true);
        }
        let is_present = |inode: crate::meta::Inode| inode.content_since == shown.content_since;
        if period.kind != FileKind::File || self.view.inode(shown.ino)?.is_some_and(is_present) {
            return Ok(false);
        }
        // As long as one state with this content is left, and the name held it then.
        let begun = shown.content_since.max(period.since);
        let stays = self.view.past_states(shown.ino)?.into_iter().any(|state| {
            state.content_since == shown.content_since
                && state.until > begun
                && !self.foreseen.takes_state(shown.ino, state.since, state.until)
        });
        Ok(!stays)
    }

    /// Counts what comes free for the newest of those that showed it.
    fn add_bytes(&mut self, going: &[&Shown], lines: &mut BTreeMap<String, Going>) -> Result<()> {
        let inodes: BTreeSet<Ino> = going.iter().map(|shown| shown.ino).collect();
        for ino in inodes {
            for showing in self.view.showings_of(ino)? {
                let goes = self.foreseen.takes_showing(&showing)
                    && !self.needed.contains(showing.chunk)
                    && !self.counted.contains(showing.chunk);
                let shown = going.iter().rev().find(|shown| shows(shown, &showing));
                let Some(shown) = shown.filter(|_| goes) else { continue };
                let Some(chunk) = self.view.chunk(showing.chunk)? else { continue };
                self.counted.insert(showing.chunk);
                let line = lines.entry(rule_of(shown)).or_insert_with(|| begin(shown));
                line.bytes += record_len(chunk.at.stored_len);
            }
        }
        Ok(())
    }
}

fn rule_of(shown: &Shown) -> String {
    match shown.is_lost() {
        true => NO_WAY.to_owned(),
        false => shown.verdict.rule().to_string(),
    }
}

fn begin(shown: &Shown) -> Going {
    Going {
        path: String::new(),
        rule: rule_of(shown),
        versions: 0,
        numbers: Vec::new(),
        began: shown.life.began.0,
        ended: shown.life.began.0,
        bytes: 0,
    }
}

impl Going {
    fn add(&mut self, shown: &Shown) {
        self.versions += 1;
        if shown.number > 0 && self.numbers.len() < NUMBERS_MAX {
            self.numbers.push(shown.number);
        }
        self.began = self.began.min(shown.life.began.0);
        self.ended = self.ended.max(shown.life.ended.map_or(i64::MAX, |ended| ended.0));
    }
}

fn shows(shown: &Shown, showing: &Showing) -> bool {
    let ended = shown.life.ended.unwrap_or(Moment(i64::MAX));
    shown.ino == showing.ino
        && showing.since < ended
        && showing.until.is_none_or(|until| shown.life.began < until)
}

fn sum_up(sums: &mut BTreeMap<String, ByRule>, going: &Going) {
    let rule = &going.rule;
    let none = || ByRule { rule: rule.clone(), versions: 0, bytes: 0 };
    let sum = sums.entry(rule.clone()).or_insert_with(none);
    sum.versions += going.versions;
    sum.bytes += going.bytes;
}

fn keep_largest(lines: &mut Vec<Line>, limit: usize) {
    lines.sort_by_key(|(_, going)| std::cmp::Reverse(going.bytes));
    lines.truncate(limit);
}

/// The path to a name, by where its folder is or was last. `known`: folders that were asked for before.
fn path_of(view: &View<'_>, known: &mut HashMap<Ino, Vec<u8>>, name: &Name) -> Result<Vec<u8>> {
    let (dir, name) = name;
    let path = match known.get(dir) {
        Some(path) => path.clone(),
        None => {
            let path = view.last_path_of(*dir)?;
            known.insert(*dir, path.clone());
            path
        }
    };
    Ok(if path.is_empty() { name.clone() } else { [path.as_slice(), name].join(&b'/') })
}
