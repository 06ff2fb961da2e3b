//! `verso check`: whether everything in the store agrees with everything else, and what can be put right.
//!
//! A check reads: it takes one snapshot of the metadata, walks the tables in streams, compares the chunk
//! table with the packs, and on request reads every chunk. What it finds is a list of [`Finding`]s. A
//! repair is a second step over that list, in `repair`. `docs/CHECK.md` has the table of
//! inconsistencies, causes and repairs.
//!
//! What is only in flight is no finding: dirty data is in no table, a snapshot holds whole transactions,
//! and chunks that were appended and not committed are known by number.

mod contents;
mod finding;
mod paths;
mod places;
mod repair;
mod tree;

pub use finding::{CheckReport, Finding, Problem, Shown};
pub(super) use paths::{files_of_chunks, name_files};

use super::scrub::{Healing, Spare, Spares};
use super::volume::Volume;
use super::{Error, Result};
use crate::meta::{self, View};
use crate::model::{ChunkId, ChunkRef, Ino};
use crate::sys::Task;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Findings that are kept; more are counted only. Bounds the memory of a check of a wreck.
const FINDINGS_MAX: usize = 10_000;
/// Rounds of finding and repairing: a repair may bring to light what was hidden.
const REPAIR_ROUNDS_MAX: usize = 4;
/// Chunks that are asked for at a time when all are read.
const READ_BATCH: usize = 512;

/// What a check does beyond looking at the metadata and where chunks lie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckOptions {
    /// Read and verify every chunk.
    pub read_data: bool,
    /// Put right what can be.
    pub repair: bool,
}

/// How far a check is, to be watched and ended from another thread.
#[derive(Debug, Default)]
pub struct CheckProgress {
    done: AtomicU64,
    total: AtomicU64,
    stopped: AtomicBool,
}

impl CheckProgress {
    /// Chunks read, and chunks to read; both 0 before reading begins.
    pub fn chunks(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.total.load(Ordering::Relaxed))
    }

    /// Ends the check soon: it answers with an error.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn go_on(&self) -> Result<()> {
        match self.is_stopped() {
            true => Err(Error::Failed("the check was stopped".into())),
            false => Ok(()),
        }
    }
}

/// A repair is part of a check: it ends with it.
impl Task for CheckProgress {
    fn is_stopped(&self) -> bool {
        CheckProgress::is_stopped(self)
    }

    fn pace(&self, _bytes: u64) {}

    fn progress(&self, _done: u64, _total: u64) {}

    fn step(&self, _what: &str) {}
}

/// A check under way: what it found so far.
struct Check<'a> {
    volume: &'a Volume,
    progress: &'a CheckProgress,
    findings: Vec<Finding>,
    omitted: u64,
    /// Chunks that can't be read where the table says, with the reason. Files are named afterwards.
    bad_chunks: BTreeMap<ChunkId, Problem>,
    leaked_bytes: u64,
    /// Packs with records that the chunk table doesn't know.
    leaking: Vec<crate::model::PackId>,
}

impl Volume {
    /// Checks the store, also while it is in use; with `repair`, what was found and put right is
    /// in the report's `repaired`, the rest in `findings`.
    ///
    /// # Errors
    /// What keeps the check itself from going on; damage is no error but a finding.
    pub fn check(&self, options: CheckOptions, progress: &CheckProgress) -> Result<CheckReport> {
        self.check_with(options, &[], progress)
    }

    /// Like [`check`](Volume::check); a repair also fetches chunks from `spares`, which are asked in their order.
    pub fn check_with(
        &self,
        options: CheckOptions,
        spares: &[&dyn Spare],
        progress: &CheckProgress,
    ) -> Result<CheckReport> {
        // A chunk that moves meanwhile would be missed at its old place.
        let turn = self.upkeep.turn.lock();
        let mut report = self.check_once(options.read_data, progress)?;
        if !options.repair {
            return Ok(report);
        }
        self.check_writable()?;
        self.adopt_records(&report)?;
        let mut healing = Healing::new(self, Spares::new(spares), progress, Some(&turn));
        let mut repaired = Vec::new();
        for _ in 0..REPAIR_ROUNDS_MAX {
            if !self.apply_repairs(&report, &mut healing)? {
                break;
            }
            let next = self.check_once(options.read_data, progress)?;
            let (gone, _): (Vec<_>, Vec<_>) =
                report.findings.drain(..).partition(|finding| !next.holds(&finding.problem));
            repaired.extend(gone);
            report = next;
        }
        report.repaired = repaired;
        self.sync_commits()?;
        Ok(report)
    }

    fn check_once(&self, read_data: bool, progress: &CheckProgress) -> Result<CheckReport> {
        let mut check = Check {
            volume: self,
            progress,
            findings: Vec::new(),
            omitted: 0,
            bad_chunks: BTreeMap::new(),
            leaked_bytes: 0,
            leaking: Vec::new(),
        };
        check.structure()?;
        let contents = if read_data { check.read_data() } else { check.known_damage() };
        match contents {
            Err(Error::Meta(error)) => check.metadata_error(error)?,
            outcome => outcome?,
        }
        check.name_files()?;
        Ok(CheckReport {
            store: self.store.display().to_string(),
            read_data,
            findings: check.findings,
            omitted: check.omitted,
            repaired: Vec::new(),
            leaked_bytes: check.leaked_bytes,
            leaking: check.leaking,
        })
    }
}

impl Check<'_> {
    /// Everything but contents. What SQLite says about its file is a finding, and ends this part.
    fn structure(&mut self) -> Result<()> {
        match self.volume.meta.integrity_faults() {
            Ok(faults) => {
                for why in faults {
                    self.found(Problem::Metadata { why });
                }
            }
            Err(error) => self.metadata_error(error)?,
        }
        let volume = self.volume;
        let outcome = volume.meta.snapshot(|view| -> Result<()> {
            self.tree(view)?;
            self.contents(view)?;
            self.counters(view)?;
            self.places(view)
        });
        match outcome {
            Err(Error::Meta(error)) => self.metadata_error(error),
            outcome => outcome,
        }
    }

    /// An error that SQLite gives because of what it reads is damage; any other ends the check.
    fn metadata_error(&mut self, error: meta::Error) -> Result<()> {
        match error {
            meta::Error::Damaged(why) => self.found(Problem::Metadata { why }),
            meta::Error::Sqlite(error) => self.found(Problem::Metadata { why: error.to_string() }),
            other => return Err(other.into()),
        }
        Ok(())
    }

    fn counters(&mut self, view: &View<'_>) -> Result<()> {
        let (has, needs) = (view.counter_row()?, view.counters_needed()?);
        for (counter, is, should) in [
            ("moment", has.moment, needs.moment),
            ("inode", has.ino, needs.ino),
            ("chunk", has.chunk, needs.chunk),
        ] {
            if is < should {
                self.found(Problem::Counter { counter: counter.into(), is, should });
            }
        }
        for (table, rows) in view.backward_rows()? {
            self.found(Problem::Backward { table: table.into(), rows });
        }
        for pin in view.pins_of_nobody()? {
            let name = String::from_utf8_lossy(&pin.name).into_owned();
            self.found(Problem::PinOfNobody { directory: pin.dir.0, name });
        }
        Ok(())
    }

    /// Reads every chunk from the disk. Not in a snapshot: that would keep the log from being shortened.
    fn read_data(&mut self) -> Result<()> {
        let volume = self.volume;
        let total = volume.meta.read(|view| view.totals())?.chunks;
        self.progress.done.store(0, Ordering::Relaxed);
        self.progress.total.store(total, Ordering::Relaxed);
        let mut after = ChunkId(0);
        loop {
            let batch = volume.meta.read(|view| view.chunks_after(after, READ_BATCH))?;
            let Some(last) = batch.last() else { return Ok(()) };
            after = last.id;
            for chunk in &batch {
                self.progress.go_on()?;
                self.read_chunk(chunk);
                self.progress.done.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// What scrubbing found damaged and could not repair.
    fn known_damage(&mut self) -> Result<()> {
        for row in self.volume.meta.read(|view| view.damage(ChunkId(0), FINDINGS_MAX))? {
            if row.needed {
                let (id, why) = (row.chunk.0, row.why);
                self.bad_chunk(row.chunk, Problem::ChunkDamaged { chunk: id, why });
            }
        }
        Ok(())
    }

    fn read_chunk(&mut self, chunk: &ChunkRef) {
        if self.bad_chunks.contains_key(&chunk.id) {
            return;
        }
        if let Err(error) = self.volume.ingest.verify(&self.volume.meta, chunk) {
            self.volume.ingest.note_damage(chunk.id);
            let (id, why) = (chunk.id.0, error.to_string());
            self.bad_chunk(chunk.id, Problem::ChunkDamaged { chunk: id, why });
        }
    }

    /// Remembers what is first found of a chunk; its files are looked up at the end, for all together.
    fn bad_chunk(&mut self, chunk: ChunkId, problem: Problem) {
        if self.bad_chunks.contains_key(&chunk) {
            return;
        }
        match self.bad_chunks.len() < FINDINGS_MAX {
            true => drop(self.bad_chunks.insert(chunk, problem)),
            false => self.omitted += 1,
        }
    }

    fn found(&mut self, problem: Problem) {
        self.found_at(problem, Vec::new());
    }

    fn found_at(&mut self, problem: Problem, files: Vec<Shown>) {
        match self.findings.len() < FINDINGS_MAX {
            true => self.findings.push(Finding::new(problem, files)),
            false => self.omitted += 1,
        }
    }

    /// The inode that a problem is about, for which names are looked up at the end.
    fn found_of(&mut self, problem: Problem, ino: u64) {
        self.found_at(problem, vec![Shown::of(Ino(ino), true)]);
    }
}
