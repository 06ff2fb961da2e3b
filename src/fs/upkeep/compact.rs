//! Compaction: packs of which nobody needs anything are removed, and those of which little is needed are emptied first.
//!
//! A record is copied, the copy is made durable, and only then the chunk table names it. A pack goes when the table
//! names nothing in it, durably, and nothing in memory does. Whatever a crash interrupts, each chunk has a whole
//! record where the table says. Packs whose key was replaced are emptied in the same way: what is copied is encrypted anew.

use crate::chunks::{self, PackInfo, record_len};
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::ChunkRow;
use crate::model::{ChunkId, ChunkLocation, ChunkRef, PackId};
use crate::sys::{Task, failpoint};
use std::collections::{BTreeMap, HashMap, HashSet};

/// A pack is emptied when less than this part of it is needed, in percent.
const NEEDED_PERCENT_MIN: u64 = 75;
/// Packs of old keys that are emptied before those are removed: room is needed for so much.
const OLD_PACKS_PER_GROUP: usize = 64;
/// Records that move in one transaction: readers wait for it.
const CHUNKS_PER_COMMIT: usize = 256;

/// How a chunk's record is stored once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copying {
    /// As it is.
    AsIs,
    /// Not as a difference.
    Whole,
}

/// What giving room back came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Freed {
    pub(super) packs: u64,
    pub(super) bytes: u64,
    pub(super) chunks_moved: u64,
}

/// Chunks that are stored once more, and what that takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Moved {
    pub(super) chunks: u64,
    pub(super) bytes: u64,
}

impl std::ops::AddAssign for Moved {
    fn add_assign(&mut self, other: Moved) {
        self.chunks += other.chunks;
        self.bytes += other.bytes;
    }
}

impl Volume {
    /// Gives the room of removed chunks back to the disk. The bytes are those that come free less those that it took.
    pub(super) fn compact(&self, task: &dyn Task) -> Result<Freed> {
        self.leave_last_pack_of_old_key()?;
        // First what costs no room.
        let mut freed = self.remove_packs(task)?;
        for packs in self.packs_to_encrypt_anew()? {
            self.empty_and_remove(&packs, &mut freed, task)?;
        }
        self.empty_and_remove(&self.sparse_packs()?, &mut freed, task)?;
        self.leave_damaged_packs(&mut freed, task)?;
        Ok(freed)
    }

    /// Moves what can be read of packs whose header or footer is damaged to others, and removes them.
    fn leave_damaged_packs(&self, freed: &mut Freed, task: &dyn Task) -> Result<()> {
        let known = self.meta.read(|view| view.damaged_packs())?;
        let mut damaged: HashSet<PackId> = known.iter().map(|known| known.pack).collect();
        let packs = self.sealed_packs()?;
        damaged.retain(|id| packs.iter().any(|pack| pack.id == *id));
        if !damaged.is_empty() {
            self.empty_and_remove(&damaged, freed, task)?;
        }
        let packs = self.ingest.packs().packs()?;
        let gone = known.iter().map(|known| known.pack);
        let gone: Vec<PackId> = gone.filter(|id| packs.iter().all(|pack| pack.id != *id)).collect();
        if !gone.is_empty() {
            self.freeing_write(|tx| {
                gone.iter().try_for_each(|pack| tx.forget_damaged_pack(*pack))?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Whether anything is still encrypted with keys that were replaced; then those must be kept. Each [`upkeep`](Volume::upkeep)
    /// works at it.
    pub fn old_keys_in_use(&self) -> Result<bool> {
        Ok(self.old_pages || !self.ingest.packs().packs_of_old_keys()?.is_empty())
    }

    /// The packs of old keys, however much of them is needed, in groups for which there should be room.
    fn packs_to_encrypt_anew(&self) -> Result<Vec<HashSet<PackId>>> {
        let mut old = self.ingest.packs().packs_of_old_keys()?;
        let erased = self.meta.read(|view| view.erased_packs())?;
        old.retain(|pack| !erased.contains(pack));
        Ok(old.chunks(OLD_PACKS_PER_GROUP).map(|group| group.iter().copied().collect()).collect())
    }

    /// The last pack is never removed: if it is one of an old key, another is begun.
    fn leave_last_pack_of_old_key(&self) -> Result<()> {
        let packs = self.ingest.packs();
        let old = packs.packs_of_old_keys()?;
        let last = packs.packs()?.last().map(|pack| pack.id);
        if old.is_empty() || old.last().copied() != last {
            return Ok(());
        }
        match packs.begin_pack() {
            // Later, when there is.
            Err(chunks::Error::NoSpace) => Ok(()),
            begun => Ok(begun?),
        }
    }

    /// Empties these packs, removes what nothing needs then, and adds it up.
    fn empty_and_remove(
        &self,
        packs: &HashSet<PackId>,
        freed: &mut Freed,
        task: &dyn Task,
    ) -> Result<()> {
        let outcome = self.empty_packs(packs, &|_| true, task);
        let moved = *outcome.as_ref().unwrap_or(&Moved::default());
        freed.chunks_moved += moved.chunks;
        // Each look is one at the whole chunk table.
        if outcome.is_err() || moved.chunks > 0 {
            let more = self.remove_packs(task)?;
            freed.packs += more.packs;
            freed.bytes = (freed.bytes + more.bytes).saturating_sub(moved.bytes);
        }
        match outcome {
            // There is no room to make room: what could be done was.
            Err(Error::NoSpace) => log::warn!("no room to empty packs that are to go"),
            outcome => drop(outcome?),
        }
        Ok(())
    }

    /// Removes the packs of which nothing is needed.
    pub(super) fn remove_packs(&self, task: &dyn Task) -> Result<Freed> {
        let mut freed = Freed::default();
        self.ingest.watch_healing();
        let packs = self.sealed_packs()?;
        let used = self.bytes_in_use()?;
        let unused: Vec<PackId> =
            packs.iter().map(|pack| pack.id).filter(|id| !used.contains_key(id)).collect();
        if unused.is_empty() {
            return Ok(freed);
        }
        // That nothing names them must outlast a power cut, before they do not.
        self.sync_commits()?;
        for pack in unused {
            if task.is_stopped() {
                break;
            }
            let _still = self.ingest.still_places();
            let is_shown = self.chunks_in_memory().any(|chunk| chunk.at.pack == pack);
            if is_shown || self.ingest.is_healed_to(pack) {
                continue;
            }
            let bytes = self.ingest.packs().remove(pack)?;
            freed.packs += u64::from(bytes > 0);
            freed.bytes += bytes;
        }
        self.ingest.packs().sync()?;
        Ok(freed)
    }

    /// The packs of which little is needed.
    fn sparse_packs(&self) -> Result<HashSet<PackId>> {
        let used = self.bytes_in_use()?;
        let is_sparse = |pack: &PackInfo| {
            let used = used.get(&pack.id).copied().unwrap_or(0);
            used > 0 && used * 100 < pack.len * NEEDED_PERCENT_MIN
        };
        // Those with what was erased are for `erase.rs`: not all that is needed of them may be carried on.
        let erased = self.meta.read(|view| view.erased_packs())?;
        let packs = self.sealed_packs()?;
        let sparse = packs.iter().filter(|pack| is_sparse(pack) && !erased.contains(&pack.id));
        Ok(sparse.map(|pack| pack.id).collect())
    }

    /// Moves what is needed of these packs to others, as far as it may.
    pub(super) fn empty_packs(
        &self,
        packs: &HashSet<PackId>,
        may_move: &dyn Fn(ChunkId) -> bool,
        task: &dyn Task,
    ) -> Result<Moved> {
        let mut moved = Moved::default();
        for (_, mut chunks) in self.chunks_of(packs)? {
            chunks.retain(|chunk| may_move(chunk.id));
            for batch in chunks.chunks(CHUNKS_PER_COMMIT) {
                pace_moving(batch, task);
                if task.is_stopped() {
                    return Ok(moved);
                }
                moved += self.move_chunks(batch, Copying::AsIs)?;
            }
        }
        Ok(moved)
    }

    /// Stores these chunks once more, and leads the chunk table there; answers how many moved. Not those that something
    /// in memory shows.
    pub(super) fn move_chunks(&self, chunks: &[ChunkRef], how: Copying) -> Result<Moved> {
        let mut copies: Vec<(ChunkRef, ChunkLocation)> = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let copied = match how {
                Copying::AsIs => self.ingest.copy(&self.meta, chunk),
                Copying::Whole => self.ingest.copy_whole(&self.meta, chunk),
            };
            match copied {
                Ok(at) => copies.push((*chunk, at)),
                // It stays where it is, for `check` to find and a backup to heal.
                Err(Error::Chunks(error @ chunks::Error::Damaged { .. })) => {
                    self.ingest.note_damage(chunk.id);
                    log::error!("chunk {} can't be moved: {error}", chunk.id.0);
                }
                Err(error) => return Err(error),
            }
        }
        failpoint::hit("compact-before-sync");
        self.ingest.packs().sync()?;
        failpoint::hit("compact-before-commit");
        let _still = self.ingest.still_places();
        // An overlay shows a chunk by its place.
        let shown: HashSet<_> = self.chunks_in_memory().map(|chunk| chunk.id).collect();
        copies.retain(|(chunk, _)| !shown.contains(&chunk.id));
        let moved = self.freeing_write(|tx| {
            let mut moved = Moved::default();
            for (chunk, to) in &copies {
                let is_moved = tx.relocate_chunk(chunk.id, &chunk.at, to)?;
                if is_moved && how == Copying::Whole {
                    tx.make_chunk_whole(chunk.id)?;
                }
                if is_moved {
                    moved += Moved { chunks: 1, bytes: record_len(to.stored_len) };
                }
            }
            Ok(moved)
        })?;
        failpoint::hit("compact-after-commit");
        Ok(moved)
    }

    /// The packs that will not change any more, as they are before the chunks in memory are asked for.
    fn sealed_packs(&self) -> Result<Vec<PackInfo>> {
        let mut packs = self.ingest.packs().packs()?;
        packs.retain(|pack| pack.sealed);
        self.ingest.await_appends();
        Ok(packs)
    }

    /// Bytes of each pack that the chunk table or something in memory names.
    fn bytes_in_use(&self) -> Result<BTreeMap<PackId, u64>> {
        let mut used: BTreeMap<PackId, u64> = BTreeMap::new();
        let mut add = |chunk: &ChunkRef| {
            *used.entry(chunk.at.pack).or_default() += record_len(chunk.at.stored_len);
        };
        // What is committed meanwhile is in one of them.
        self.chunks_in_memory().for_each(|chunk| add(&chunk));
        self.meta.snapshot(|view| {
            view.each_chunk(&mut |row: ChunkRow| -> Result<()> {
                row.chunk.iter().for_each(&mut add);
                Ok(())
            })
        })?;
        Ok(used)
    }

    /// All bytes that are needed, for tests.
    #[cfg(test)]
    pub(in crate::fs) fn bytes_in_use_of_all(&self) -> u64 {
        self.bytes_in_use().unwrap().values().sum()
    }

    /// The chunks of these packs in the order in which they lie.
    fn chunks_of(&self, packs: &HashSet<PackId>) -> Result<HashMap<PackId, Vec<ChunkRef>>> {
        let mut found: HashMap<PackId, Vec<ChunkRef>> = HashMap::new();
        if packs.is_empty() {
            return Ok(found);
        }
        self.meta.snapshot(|view| {
            view.each_chunk(&mut |row: ChunkRow| -> Result<()> {
                if let Some(chunk) = row.chunk.filter(|chunk| packs.contains(&chunk.at.pack)) {
                    found.entry(chunk.at.pack).or_default().push(chunk);
                }
                Ok(())
            })
        })?;
        found.values_mut().for_each(|chunks| chunks.sort_by_key(|chunk| chunk.at.offset));
        Ok(found)
    }

    /// What may be needed and is in no committed row: it, and what overlays show.
    pub(in crate::fs) fn chunks_in_memory(&self) -> impl Iterator<Item = ChunkRef> {
        self.ingest.pending().into_iter().chain(self.chunks_in_overlays())
    }

    /// Those, and what they are stored as differences to.
    pub(in crate::fs) fn ids_in_memory(&self) -> HashSet<ChunkId> {
        self.chunks_in_memory().flat_map(|chunk| [Some(chunk.id), chunk.base]).flatten().collect()
    }
}

/// Waits as long as reading and writing these chunks is worth.
pub(super) fn pace_moving(chunks: &[ChunkRef], task: &dyn Task) {
    let bytes: u64 = chunks.iter().map(|chunk| record_len(chunk.at.stored_len)).sum();
    task.pace(2 * bytes);
}
