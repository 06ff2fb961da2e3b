//! Bringing back what is damaged, from places that have it whole.
//!
//! A chunk is fetched without any lock, since that may take minutes. It is written back under the turn of upkeep, so that nothing is
//! being erased meanwhile, and with places held: it is appended, made durable, and only then the chunk table names the new
//! record. Killed at any line, the chunk is as damaged as before, or whole; the table `damage` knows of it until its
//! row names another record.

use super::spare::Spares;
use super::wait_for;
use crate::chunks;
use crate::fs::upkeep::IdSet;
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::model::{ChunkId, ChunkRef};
use crate::sys::{Task, failpoint};
use parking_lot::MutexGuard;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes that are fetched before they are written back.
const HEAL_BYTES: usize = 4 << 20;

/// Bringing chunks back: where from, and what it came to so far.
pub(in crate::fs) struct Healing<'a> {
    volume: &'a Volume,
    spares: Spares<'a>,
    task: &'a dyn Task,
    /// Of a caller who has it already.
    turn: Option<&'a MutexGuard<'a, ()>>,
    /// There is no room for more.
    is_full: bool,
    pub(in crate::fs) repaired: u64,
    /// How many came from where.
    pub(in crate::fs) from: BTreeMap<String, u64>,
}

/// What was fetched and waits to be written back.
#[derive(Default)]
struct Batch<'a> {
    chunks: Vec<(ChunkRef, &'a str, Vec<u8>)>,
    bytes: usize,
}

impl Batch<'_> {
    fn holds(&self, id: Option<ChunkId>) -> bool {
        self.chunks.iter().any(|(chunk, ..)| Some(chunk.id) == id)
    }
}

impl<'a> Healing<'a> {
    pub(in crate::fs) fn new(
        volume: &'a Volume,
        spares: Spares<'a>,
        task: &'a dyn Task,
        turn: Option<&'a MutexGuard<'a, ()>>,
    ) -> Healing<'a> {
        let from = BTreeMap::new();
        Healing { volume, spares, task, turn, is_full: false, repaired: 0, from }
    }

    /// Brings back what can be of these chunks, which were found damaged, and of what they are stored as differences to.
    pub(in crate::fs) fn heal(&mut self, chunks: &[ChunkId]) -> Result<()> {
        let mut batch = Batch::default();
        // Bases are older than differences to them: they come first.
        for id in self.with_bases(chunks)? {
            if self.task.is_stopped() || self.is_full {
                break;
            }
            let Some(chunk) = self.volume.chunk_row(id) else { continue };
            if batch.holds(chunk.base) {
                self.write_back(std::mem::take(&mut batch))?;
            }
            if self.volume.verify_chunk(id)?.is_none() {
                self.absolve(id)?;
                continue;
            }
            let base = chunk.base.and_then(|base| self.volume.chunk_row(base));
            let packs = self.volume.ingest.packs();
            let Some((from, plain)) = self.spares.fetch(packs, &chunk, base.as_ref()) else {
                continue;
            };
            batch.bytes += plain.len();
            batch.chunks.push((chunk, from, plain));
            if batch.bytes >= HEAL_BYTES {
                self.write_back(std::mem::take(&mut batch))?;
            }
        }
        self.write_back(batch)
    }

    /// The chunks, and those that they are stored as differences to and that are damaged as well, in the order of their numbers.
    fn with_bases(&self, chunks: &[ChunkId]) -> Result<BTreeSet<ChunkId>> {
        let mut all: BTreeSet<ChunkId> = chunks.iter().copied().collect();
        for id in chunks {
            let base = self.volume.chunk_row(*id).and_then(|chunk| chunk.base);
            let Some(base) = base.filter(|base| !all.contains(base)) else { continue };
            if let Some(why) = self.volume.verify_chunk(base)? {
                self.volume.note_damage(&[(base, why)])?;
                all.insert(base);
            }
        }
        Ok(all)
    }

    /// The chunk can be read, now that its base can, or after all.
    fn absolve(&mut self, id: ChunkId) -> Result<()> {
        self.volume.freeing_write(|tx| Ok(tx.forget_damage(id)?))?;
        self.volume.ingest.forgive(id);
        self.repaired += 1;
        Ok(())
    }

    fn write_back(&mut self, mut batch: Batch<'_>) -> Result<()> {
        if batch.chunks.is_empty() {
            return Ok(());
        }
        failpoint::hit("scrub-before-heal");
        let volume = self.volume;
        let _turn = match self.turn {
            Some(_) => None,
            None => match wait_for(&volume.upkeep.turn, self.task) {
                Some(turn) => Some(turn),
                None => return Ok(()),
            },
        };
        self.leave_what_is_erased(&mut batch)?;
        let _places = volume.ingest.hold_places();
        let contents: Vec<&[u8]> = batch.chunks.iter().map(|(.., plain)| &plain[..]).collect();
        let places = match volume.guard_failure(volume.ingest.append_healing(&contents)) {
            Err(Error::NoSpace) => {
                log::error!("damaged chunks can't be written again: no space left in the store");
                self.is_full = true;
                return Ok(());
            }
            places => places?,
        };
        failpoint::hit("scrub-healed-in-pack");
        let moved = volume.freeing_write(|tx| {
            let mut moved = Vec::new();
            for ((chunk, from, _), at) in batch.chunks.iter().zip(&places) {
                // Unless it is gone, or somebody else brought it back.
                if tx.chunk(chunk.id)? == Some(*chunk) {
                    tx.move_chunk(chunk.id, at)?;
                    moved.push((chunk.id, *from));
                }
            }
            Ok(moved)
        })?;
        failpoint::hit("scrub-after-heal");
        for (id, from) in moved {
            volume.ingest.forgive(id);
            log::warn!("chunk {} was damaged; {from} had it, and it was written again", id.0);
            *self.from.entry(from.to_owned()).or_default() += 1;
            self.repaired += 1;
        }
        Ok(())
    }

    /// Takes out what lies in packs that are being erased and that nothing shows: a copy of it would outlive the erasure. The
    /// turn of upkeep is ours.
    fn leave_what_is_erased(&self, batch: &mut Batch<'_>) -> Result<()> {
        let erased = self.volume.meta.read(|view| view.erased_packs())?;
        let is_erased = |chunk: &ChunkRef| erased.contains(&chunk.at.pack);
        if batch.chunks.iter().any(|(chunk, ..)| is_erased(chunk)) {
            let needed = self.volume.needed_chunks()?;
            batch.chunks.retain(|(chunk, ..)| !is_erased(chunk) || needed.contains(chunk.id));
        }
        Ok(())
    }

    /// Looks for other records with the contents of these chunks in the packs, and reads all footers for that.
    pub(super) fn search_packs(&mut self, chunks: &[ChunkId]) -> Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        let _turn = match self.turn {
            Some(_) => None,
            None => match wait_for(&self.volume.upkeep.turn, self.task) {
                Some(turn) => Some(turn),
                None => return Ok(()),
            },
        };
        self.repaired += self.volume.point_at_others(chunks)?;
        Ok(())
    }
}

impl Volume {
    /// The chunk's row, if it is in the chunk table. One that makes no sense is for `check` to tell.
    pub(super) fn chunk_row(&self, id: ChunkId) -> Option<ChunkRef> {
        self.meta.read(|view| view.chunk(id)).ok().flatten()
    }

    /// Reads a chunk from the disk where it lies now: why it can't be read back, or `None`. So of one that is gone.
    pub(super) fn verify_chunk(&self, id: ChunkId) -> Result<Option<String>> {
        let _places = self.ingest.hold_places();
        match self.chunk_row(id) {
            Some(chunk) => damage_of(self.ingest.verify(&self.meta, &chunk)),
            None => Ok(None),
        }
    }

    /// Records that these chunks can't be read back.
    pub(super) fn note_damage(&self, damaged: &[(ChunkId, String)]) -> Result<()> {
        if damaged.is_empty() {
            return Ok(());
        }
        self.ingest.know_damage(damaged.iter().map(|(id, _)| *id));
        let now = self.now();
        self.freeing_write(|tx| {
            // Of more than can be known by number the next round will tell.
            let known = damaged.iter().filter(|(id, _)| self.ingest.is_damaged(*id));
            for (id, why) in known {
                tx.note_damage(*id, now, why)?;
            }
            Ok(())
        })
    }

    /// The chunks that something shows, in the tables or in memory, and those that they are stored as differences to.
    pub(super) fn needed_chunks(&self) -> Result<IdSet> {
        let last = self.meta.last_chunk();
        let in_memory = self.ids_in_memory();
        self.meta.snapshot(|view| {
            let mut needed = IdSet::named(view, last)?;
            in_memory.iter().for_each(|id| needed.insert(*id));
            needed.add_bases(view)?;
            Ok(needed)
        })
    }
}

/// Of reading a chunk that was there once: why it can't be read any more. Any other error says nothing about the chunk.
pub(super) fn damage_of(read: Result<()>) -> Result<Option<String>> {
    use chunks::Error as E;
    match read {
        Ok(()) => Ok(None),
        Err(Error::Chunks(error)) => match &error {
            // What its pack says of itself was understood when the store was opened.
            E::Damaged { .. }
            | E::Newer { .. }
            | E::Foreign { .. }
            | E::OtherKind { .. }
            | E::KeyMissing { .. } => Ok(Some(error.to_string())),
            E::Io { source, .. } if source.raw_os_error() == Some(libc::EIO) => {
                Ok(Some(error.to_string()))
            }
            E::Io { .. } | E::NoSpace | E::Poisoned | E::ReadOnly | E::TooLong { .. } => {
                Err(Error::Chunks(error))
            }
        },
        // The row of its base makes no sense.
        Err(Error::Meta(error)) => Ok(Some(error.to_string())),
        Err(other) => Err(other),
    }
}
