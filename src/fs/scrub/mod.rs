//! Scrubbing: every chunk is read from the disk and verified within a set period, and what is damaged is brought back from places
//! that have it whole, before anybody needs it.
//!
//! `round.rs` one run: reading on where the last one ended · `ahead.rs` what lies ahead, in the order of the disk · `share.rs` how much a run
//! reads · `spare.rs` places that have chunks · `heal.rs` bringing chunks back · `damage.rs` what is left, by file and version.
//!
//! It holds no lock but `Ingest::places` while it reads a batch, as every reader does: a chunk that compaction moves meanwhile was
//! verified by that. What it finds is in the table `damage` before it goes on, and leaves it in the transaction in which the chunk
//! gets another record, whoever brings that. So each step can be the last one.

mod ahead;
mod damage;
mod heal;
mod round;
mod share;
mod spare;

pub use damage::Damage;
pub(super) use heal::Healing;
pub use spare::Spare;
pub(super) use spare::Spares;

use super::Result;
use super::volume::Volume;
use crate::model::{ChunkId, Ino};
use crate::sys::Task;
use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often who waits for a turn looks whether to stop.
const TURN_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// Files that are named in the log; all of them are in the report.
const LOGGED_MAX: usize = 20;
/// Damaged chunks that are looked at in one go.
const DAMAGE_BATCH: usize = 1024;

/// How a run of scrubbing goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubOptions {
    /// Every chunk is read once within this time.
    pub period: Duration,
    /// How much this run reads.
    pub budget: Budget,
}

/// How much a run of scrubbing reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Budget {
    /// The share that keeps the period; the next run is taken to come after as long as this one did, or a day.
    Share,
    /// So many bytes of the packs.
    Bytes(u64),
    /// Up to the end of the round.
    Round,
}

/// What a run of scrubbing came to. Times are nanoseconds since 1970, by the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubReport {
    /// Chunks that were read.
    pub chunks: u64,
    /// Bytes of them, as stored.
    pub bytes: u64,
    /// Bytes that the round has still to read.
    pub bytes_left: u64,
    /// Chunks that were found damaged.
    pub damaged: u64,
    /// Chunks that were put right, also of those that were found before.
    pub repaired: u64,
    /// How many of them came from which place.
    pub from: BTreeMap<String, u64>,
    /// Damaged chunks that nothing needs: not worth anybody's attention.
    pub garbage: u64,
    /// What can't be put right.
    pub left: Vec<Damage>,
    /// How many more of these there are than are listed.
    pub omitted: u64,
    /// Packs of which something else is damaged than a chunk, in words. Upkeep moves their chunks to others.
    pub packs: Vec<String>,
    /// When the round began.
    pub begun: i64,
    /// When it ended, if this run ended it.
    pub ended: Option<i64>,
    /// Whether all was read that was to be read; otherwise it was stopped, and the next run goes on there.
    pub complete: bool,
}

/// What a run of scrubbing would do. Bytes are those of the packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubPlan {
    /// What it would read.
    pub bytes: u64,
    /// What the round has still to read.
    pub bytes_left: u64,
    /// What all chunks take.
    pub bytes_total: u64,
    /// When the round began, in nanoseconds since 1970; `None`: the run would begin one.
    pub begun: Option<i64>,
    /// Chunks that are known to be damaged, which it would try to bring back first.
    pub damaged: u64,
}

impl Volume {
    /// How many chunks could not be read since somebody last tried to bring such ones back: a reason to call
    /// [`repair_noted`](Volume::repair_noted) soon.
    pub fn damage_noted(&self) -> u64 {
        self.ingest.noted_damage().len() as u64
    }

    /// Brings back, as far as it can be, what could not be read since this was last called.
    pub fn repair_noted(&self, spares: &[&dyn Spare], task: &dyn Task) -> Result<ScrubReport> {
        self.check_writable()?;
        let mut report = ScrubReport::default();
        let Some(_one) = wait_for(&self.upkeep.scrubbing, task) else { return Ok(report) };
        let found = self.look_at_noted(task)?;
        report.damaged = found.len() as u64;
        let mut healing = Healing::new(self, Spares::new(spares), task, None);
        healing.heal(&found)?;
        self.conclude(&mut healing, &found, &mut report)?;
        report.complete = !task.is_stopped();
        Ok(report)
    }

    /// Looks at what could not be read: what is damaged of it is written down, and answered.
    fn look_at_noted(&self, task: &dyn Task) -> Result<Vec<ChunkId>> {
        let mut damaged = Vec::new();
        for id in self.ingest.noted_damage() {
            if task.is_stopped() {
                break;
            }
            match self.verify_chunk(id)? {
                Some(why) => damaged.push((id, why)),
                // It could not be read for another reason, or lies elsewhere by now.
                None => self.ingest.forgive(id),
            }
        }
        self.note_damage(&damaged)?;
        Ok(damaged.into_iter().map(|(id, _)| id).collect())
    }

    /// Brings back what can be of all chunks that are known to be damaged.
    fn heal_known(&self, healing: &mut Healing<'_>, task: &dyn Task) -> Result<()> {
        let mut after = ChunkId(0);
        while !task.is_stopped() {
            let rows = self.meta.read(|view| view.damage(after, DAMAGE_BATCH))?;
            let Some(last) = rows.last() else { break };
            after = last.chunk;
            // What nothing needs is left to compaction; whoever comes to need it writes it again.
            let needed = rows.iter().filter(|row| row.needed);
            healing.heal(&needed.map(|row| row.chunk).collect::<Vec<ChunkId>>())?;
        }
        Ok(())
    }

    /// The end of a run: what could not be brought back is looked for in the packs, if it was `found` just now, and told.
    fn conclude(
        &self,
        healing: &mut Healing<'_>,
        found: &[ChunkId],
        report: &mut ScrubReport,
    ) -> Result<()> {
        let mut left = Vec::new();
        for id in found {
            if self.ingest.is_damaged(*id) {
                left.push(*id);
            }
        }
        healing.search_packs(&left)?;
        report.repaired = healing.repaired;
        report.from = std::mem::take(&mut healing.from);
        report.garbage = self.tell_garbage()?;
        (report.left, report.omitted) = self.damage_left()?;
        let files = report.left.iter().flat_map(|damage| &damage.files).map(|file| file.ino);
        for ino in files.collect::<BTreeSet<u64>>().into_iter().take(LOGGED_MAX) {
            let file = self.describe(Ino(ino));
            log::error!("{file} is damaged, and no place has it whole");
        }
        self.sync_commits()
    }
}

/// Waits for a turn; `None` when the work is to end before.
fn wait_for<'m>(turn: &'m Mutex<()>, task: &dyn Task) -> Option<MutexGuard<'m, ()>> {
    loop {
        if let Some(guard) = turn.try_lock_for(TURN_LOOK_INTERVAL) {
            return Some(guard);
        }
        if task.is_stopped() {
            return None;
        }
    }
}
