//! One run: it reads on where the last one ended.

use super::ahead::Ahead;
use super::heal::damage_of;
use super::share::share;
use super::{Budget, Healing, ScrubOptions, ScrubPlan, ScrubReport, Spare, Spares, wait_for};
use crate::chunks::{Flaw, PackInfo, Record, record_len};
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::{DamagedPack, ScrubRow, StoredAt};
use crate::model::{ChunkId, ChunkRef, PackId, Timestamp};
use crate::sys::{Task, failpoint};
use std::time::Duration;

/// Bytes that are read before it is asked again whether to go on, and how fast.
const BATCH_BYTES: u64 = 1 << 20;
/// Chunks likewise.
const BATCH_CHUNKS: usize = 64;
/// Bytes that are read again after a kill, at most.
const SAVE_BYTES: u64 = 32 << 20;
/// What finding out about a pack beside its chunks is taken to read.
const PACK_BYTES: u64 = 64 << 10;
/// How often scrubbing runs, as a rule.
const INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// The last pack there can be.
const LAST_PACK: PackId = PackId(u32::MAX);

impl Volume {
    /// Reads on through the packs, verifies each chunk, and brings back what is damaged from `spares`, which are asked in their order. The
    /// drive stays in use. Where it ends the next run goes on, also after a kill.
    ///
    /// # Errors
    /// What keeps it from going on; damage is none.
    pub fn scrub(
        &self,
        options: &ScrubOptions,
        spares: &[&dyn Spare],
        task: &dyn Task,
    ) -> Result<ScrubReport> {
        self.check_writable()?;
        let Some(_one) = wait_for(&self.upkeep.scrubbing, task) else {
            return Ok(ScrubReport::default());
        };
        let mut healing = Healing::new(self, Spares::new(spares), task, None);
        task.step("bringing back what is known to be damaged");
        self.heal_known(&mut healing, task)?;
        task.step("reading chunks");
        let mut run = Run::begin(self, options, task, healing)?;
        run.heal_found()?;
        run.read()?;
        run.finish()
    }

    /// What [`scrub`](Volume::scrub) would read now.
    pub fn scrub_plan(&self, options: &ScrubOptions, task: &dyn Task) -> Result<ScrubPlan> {
        let row = self.meta.read(|view| view.scrub())?.filter(|row| row.under_way);
        let now = self.now();
        let from = row.unwrap_or(ScrubRow::beginning(now, None));
        let left = self.places_ahead((from.pack, from.offset), LAST_PACK, task)?.bytes;
        Ok(ScrubPlan {
            bytes: goal(options, &from, left, now),
            bytes_left: left,
            bytes_total: from.bytes + left,
            begun: row.map(|row| row.begun.0),
            damaged: self.meta.read(|view| view.damage_known())?.0,
        })
    }
}

/// Bytes that a run reads at `now`.
fn goal(options: &ScrubOptions, row: &ScrubRow, left: u64, now: Timestamp) -> u64 {
    match options.budget {
        Budget::Bytes(bytes) => bytes.min(left),
        Budget::Round => left,
        Budget::Share => {
            let next = since(row.ran, now).max(INTERVAL);
            share(row.bytes + left, left, options.period, since(row.begun, now) + next)
        }
    }
}

/// How long ago that was. A clock that was set back makes it no time.
fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::from_nanos(now.0.saturating_sub(then.0).max(0) as u64)
}

/// A run under way.
struct Run<'a> {
    volume: &'a Volume,
    task: &'a dyn Task,
    healing: Healing<'a>,
    /// How far the round is.
    row: ScrubRow,
    /// The packs when it began, in order.
    packs: Vec<PackInfo>,
    /// The last of them: what comes later was written while the round ends.
    last: PackId,
    ahead: Ahead,
    /// Bytes that are to be read, as far as can be foreseen.
    goal: u64,
    /// Whether the goal is the end of the round, however much that is: what is brought back comes to lie there.
    to_end: bool,
    /// Bytes since `row` was last written down.
    unsaved: u64,
    /// Chunks that were found damaged.
    found: Vec<ChunkId>,
    /// How many of them it was tried to bring back.
    tried: usize,
    report: ScrubReport,
}

impl<'a> Run<'a> {
    fn begin(
        volume: &'a Volume,
        options: &ScrubOptions,
        task: &'a dyn Task,
        healing: Healing<'a>,
    ) -> Result<Run<'a>> {
        let now = volume.now();
        let before = volume.meta.read(|view| view.scrub())?;
        let row = match before.filter(|row| row.under_way) {
            Some(row) => row,
            None => ScrubRow::beginning(now, before.and_then(|row| row.ended)),
        };
        let packs = volume.ingest.packs().packs()?;
        let last = packs.last().map_or(PackId(0), |pack| pack.id);
        let ahead = volume.places_ahead((row.pack, row.offset), last, task)?;
        let goal = goal(options, &row, ahead.bytes, now);
        Ok(Run {
            volume,
            task,
            healing,
            row: ScrubRow { ran: now, ..row },
            packs,
            last,
            to_end: goal >= ahead.bytes,
            ahead,
            goal,
            unsaved: 0,
            found: Vec::new(),
            tried: 0,
            report: ScrubReport { begun: row.begun.0, ..ScrubReport::default() },
        })
    }

    /// Reads until the goal or the end of the round.
    fn read(&mut self) -> Result<()> {
        let in_all = self.ahead.bytes;
        while !self.task.is_stopped() {
            if self.ahead.next.is_empty() {
                self.end_round()?;
                break;
            }
            if self.is_done() {
                break;
            }
            for batch in batches(&std::mem::take(&mut self.ahead.next)) {
                if self.is_done() {
                    break;
                }
                self.enter_pack(batch[0].pack)?;
                self.read_batch(batch)?;
            }
            let from = (self.row.pack, self.row.offset);
            self.ahead = self.volume.places_ahead(from, self.last, self.task)?;
        }
        self.report.bytes_left = match self.task.is_stopped() {
            true => in_all.saturating_sub(self.report.bytes),
            false => self.ahead.bytes,
        };
        self.save(&[])?;
        self.heal_found()
    }

    fn is_done(&self) -> bool {
        (!self.to_end && self.report.bytes >= self.goal) || self.task.is_stopped()
    }

    /// Goes on to a pack: those before it are left.
    fn enter_pack(&mut self, pack: PackId) -> Result<()> {
        if pack > self.row.pack {
            self.heal_found()?;
            self.examine_packs(self.row.pack, pack)?;
            if !self.task.is_stopped() {
                (self.row.pack, self.row.offset) = (pack, 0);
            }
        }
        Ok(())
    }

    /// Reads and verifies some chunks that lie one after the other in a pack.
    fn read_batch(&mut self, batch: &[StoredAt]) -> Result<()> {
        let bytes = batch.iter().map(|place| record_len(place.stored_len)).sum();
        self.task.pace(bytes);
        if self.task.is_stopped() {
            return Ok(());
        }
        let damaged = self.volume.verify_places(batch)?;
        let last = &batch[batch.len() - 1];
        self.row.offset = last.offset + 1;
        self.row.bytes += bytes;
        self.row.chunks += batch.len() as u64;
        self.row.damaged += damaged.len() as u64;
        self.report.bytes += bytes;
        self.report.chunks += batch.len() as u64;
        self.unsaved += bytes;
        if !damaged.is_empty() || self.unsaved >= SAVE_BYTES {
            self.save(&damaged)?;
        }
        self.found.extend(damaged.into_iter().map(|(id, _)| id));
        self.task.progress(self.report.bytes, self.goal.max(self.report.bytes));
        Ok(())
    }

    /// Writes down what was found, and how far it is.
    fn save(&mut self, damaged: &[(ChunkId, String)]) -> Result<()> {
        damaged.iter().for_each(|(id, why)| log::error!("chunk {} is damaged: {why}", id.0));
        self.volume.note_damage(damaged)?;
        let row = self.row;
        match self.volume.write_meta(|tx| Ok(tx.note_scrub(&row)?)) {
            // Reading needs none: more will be read again.
            Err(Error::NoSpace) => {}
            saved => saved?,
        }
        self.unsaved = 0;
        failpoint::hit("scrub-saved");
        Ok(())
    }

    /// Brings back what was found since the last time, by this run or by whoever reads.
    fn heal_found(&mut self) -> Result<()> {
        self.found.extend(self.volume.look_at_noted(self.task)?);
        let found = &self.found[self.tried..];
        if !found.is_empty() {
            self.healing.heal(found)?;
            self.tried = self.found.len();
        }
        Ok(())
    }

    fn end_round(&mut self) -> Result<()> {
        self.heal_found()?;
        self.examine_packs(self.row.pack, LAST_PACK)?;
        if self.task.is_stopped() {
            return Ok(());
        }
        let now = self.volume.now();
        self.row = ScrubRow { under_way: false, ended: Some(now), ..self.row };
        self.report.ended = Some(now.0);
        Ok(())
    }

    /// Looks what is damaged of the packs from `from` on, and before `to`, beside their chunks.
    fn examine_packs(&mut self, from: PackId, to: PackId) -> Result<()> {
        let first = self.packs.partition_point(|pack| pack.id < from);
        let packs = self.packs[first..].iter().take_while(|pack| pack.id < to);
        for pack in packs.filter(|pack| pack.sealed) {
            self.task.pace(PACK_BYTES);
            if self.task.is_stopped() {
                break;
            }
            self.report.packs.extend(self.volume.examine_pack(pack.id)?);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<ScrubReport> {
        self.found.sort_unstable();
        self.found.dedup();
        self.report.damaged = self.found.len() as u64;
        self.volume.conclude(&mut self.healing, &self.found, &mut self.report)?;
        if self.report.repaired > 0 {
            self.row.repaired += self.report.repaired;
            self.save(&[])?;
        }
        self.report.complete = !self.task.is_stopped();
        Ok(self.report)
    }
}

impl Volume {
    /// Reads these chunks, which lie one after the other, from the disk; which of them can't be read back, and why.
    fn verify_places(&self, batch: &[StoredAt]) -> Result<Vec<(ChunkId, String)>> {
        let (first, last) = (&batch[0], &batch[batch.len() - 1]);
        let (pack, from) = (first.pack, first.offset);
        let to = last.offset + record_len(last.stored_len);
        let _places = self.ingest.hold_places();
        // Where they lie now: some may have moved, or be gone.
        let rows = batch.iter().filter_map(|place| self.chunk_row(place.chunk));
        let chunks: Vec<ChunkRef> = rows.collect();
        let packs = self.ingest.packs();
        packs.forget(pack, from, to);
        packs.prefetch(&chunks);
        let mut damaged = Vec::new();
        for chunk in &chunks {
            if let Some(why) = damage_of(self.ingest.verify_record(&self.meta, chunk))? {
                damaged.push((chunk.id, why));
            }
        }
        // What the drive is read for needs the room more.
        packs.forget(pack, from, to);
        Ok(damaged)
    }

    /// What is damaged of a pack beside its chunks, in words; what upkeep can mend is written down.
    fn examine_pack(&self, pack: PackId) -> Result<Option<String>> {
        let is_verified = |record: &Record| {
            let known = self.meta.read(|view| view.chunk_by_hash(&record.hash));
            known.is_ok_and(|chunk| chunk.is_some_and(|chunk| chunk.at == record.at))
        };
        let flaws = match self.ingest.packs().flaws(pack, &is_verified) {
            Ok(flaws) => flaws,
            // It was removed since the packs were listed, or its chunks are all that can be told of it.
            Err(error) => {
                let missing = damage_of(Err(error.into()))?;
                return Ok(missing.filter(|_| self.has_pack(pack)));
            }
        };
        let mendable = flaws.iter().any(|flaw| !matches!(flaw, Flaw::Record { .. }));
        let words: Vec<String> = flaws.iter().map(Flaw::to_string).collect();
        let why = words.join(", ");
        let known = self.meta.read(|view| view.damaged_packs())?;
        if mendable {
            log::error!("pack {pack}: {why}; upkeep will move its chunks to another");
            let damaged = DamagedPack { pack, found: self.now(), why: why.clone() };
            self.freeing_write(|tx| Ok(tx.note_damaged_pack(&damaged)?))?;
        } else if known.iter().any(|known| known.pack == pack) {
            self.freeing_write(|tx| Ok(tx.forget_damaged_pack(pack)?))?;
        }
        Ok((!flaws.is_empty()).then(|| format!("pack {pack}: {why}")))
    }

    fn has_pack(&self, pack: PackId) -> bool {
        self.ingest.packs().packs().is_ok_and(|packs| packs.iter().any(|info| info.id == pack))
    }
}

/// The places in portions that are read together: within one pack, and not too much.
fn batches(places: &[StoredAt]) -> impl Iterator<Item = &[StoredAt]> {
    let mut rest = places;
    std::iter::from_fn(move || {
        let first = rest.first()?;
        let mut bytes = 0;
        let fits = |(at, place): &(usize, &StoredAt)| {
            bytes += record_len(place.stored_len);
            *at == 0 || (*at < BATCH_CHUNKS && place.pack == first.pack && bytes <= BATCH_BYTES)
        };
        let len = rest.iter().enumerate().take_while(fits).count();
        let (batch, after) = rest.split_at(len);
        rest = after;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_of_one_pack_and_not_too_large() {
        let place = |pack, offset, stored_len| StoredAt {
            pack: PackId(pack),
            offset,
            chunk: ChunkId(offset),
            stored_len,
        };
        let large = (BATCH_BYTES * 2) as u32;
        let half = (BATCH_BYTES / 2) as u32;
        let mut places = vec![place(0, 1, large), place(0, 2, half), place(0, 3, half)];
        places.extend([place(1, 4, 10), place(1, 5, 10), place(2, 6, 10)]);
        places.extend((0..100).map(|n| place(3, 10 + n, 1)));
        let lens: Vec<usize> = batches(&places).map(<[_]>::len).collect();
        assert_eq!(lens, [1, 1, 1, 2, 1, 64, 36]);
        assert_eq!(batches(&[]).count(), 0);
    }
}
