//! From bytes to chunks: hashing, deduplication, appending to packs.

use super::Result;
use crate::chunks::{ContentTree, PackStore};
use crate::meta::{Meta, Tx};
use crate::model::{ChunkHash, ChunkId, ChunkRef, Timestamp};
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, HashSet};

/// The chunks of the store: those in the chunk table, and those that are appended but not in it yet.
pub(super) struct Ingest {
    packs: PackStore,
    /// Chunks that lie in a pack and are in no committed row yet. A leaf: see [`Volume`](super::Volume).
    pending: Mutex<HashMap<ChunkHash, ChunkRef>>,
    /// Chunks that could not be read back since the store was opened. A leaf.
    damaged: Mutex<HashSet<ChunkId>>,
    /// Held for reading from an append until the chunk is pending. Taken before `pending`.
    appending: RwLock<()>,
}

impl Ingest {
    pub(super) fn new(packs: PackStore) -> Ingest {
        Ingest {
            packs,
            pending: Mutex::default(),
            damaged: Mutex::default(),
            appending: RwLock::default(),
        }
    }

    pub(super) fn packs(&self) -> &PackStore {
        &self.packs
    }

    /// The chunk with these contents, which is appended unless the store holds it.
    ///
    /// Two threads that bring the same new contents at the same instant may both append them;
    /// one copy is then garbage in its pack.
    pub(super) fn store(&self, meta: &Meta, plain: &[u8]) -> Result<ChunkRef> {
        let tree = ContentTree::of(plain);
        let hash = tree.hash();
        if let Some(chunk) = self.pending.lock().get(&hash) {
            return Ok(*chunk);
        }
        if let Some(chunk) = meta.read(|view| view.chunk_by_hash(&hash))? {
            return Ok(chunk);
        }
        let _appending = self.appending.read();
        let at = self.packs.append(&tree, plain)?;
        // The number is asked for after the append: see `Meta::next_chunk`.
        let chunk = ChunkRef { id: meta.next_chunk(), hash, at };
        Ok(*self.pending.lock().entry(hash).or_insert(chunk))
    }

    /// Remembers that a chunk could not be read back.
    pub(super) fn note_damage(&self, chunk: ChunkId) {
        self.damaged.lock().insert(chunk);
    }

    /// Whether a chunk could not be read back.
    pub(super) fn is_damaged(&self, chunk: ChunkId) -> bool {
        self.damaged.lock().contains(&chunk)
    }

    /// Brings a chunk whose record is damaged back: somebody writes its contents anew. Every file that
    /// shows it is whole again.
    ///
    /// The copy is on the disk before a row names it: a start doesn't verify chunks with old numbers.
    pub(super) fn heal(
        &self,
        meta: &Meta,
        now: Timestamp,
        chunk: ChunkRef,
        plain: &[u8],
    ) -> Result<ChunkRef> {
        let at = self.packs.append(&ContentTree::of(plain), plain)?;
        self.packs.sync()?;
        meta.write(now, |tx| tx.move_chunk(chunk.id, &at))?;
        self.damaged.lock().remove(&chunk.id);
        log::warn!("chunk {} was damaged; its contents were written again", chunk.hash);
        Ok(ChunkRef { at, ..chunk })
    }

    /// Adds those of `chunks` to the chunk table that aren't in it, as part of `tx`. Tells which: once the
    /// transaction is committed, they go to [`Ingest::settled`].
    pub(super) fn record<'c>(
        &self,
        tx: &Tx<'_>,
        chunks: impl Iterator<Item = &'c ChunkRef>,
    ) -> Result<Vec<(ChunkHash, ChunkId)>> {
        let pending = self.pending.lock();
        let mut recorded = Vec::new();
        if pending.is_empty() {
            return Ok(recorded);
        }
        for chunk in chunks {
            if pending.get(&chunk.hash).is_some_and(|known| known.id == chunk.id) {
                tx.insert_chunk(chunk)?;
                recorded.push((chunk.hash, chunk.id));
            }
        }
        Ok(recorded)
    }

    /// These chunks are in the chunk table now. One with the same contents and another number stays pending.
    pub(super) fn settled(&self, recorded: &[(ChunkHash, ChunkId)]) {
        let mut pending = self.pending.lock();
        for (hash, id) in recorded {
            if pending.get(hash).is_some_and(|known| known.id == *id) {
                pending.remove(hash);
            }
        }
    }

    /// Waits until every chunk that was appended before is pending or committed.
    pub(super) fn await_appends(&self) {
        drop(self.appending.write());
    }

    /// Every chunk that is in no committed row: what was cut for files that were deleted or cut short
    /// before they were saved, and for saves that are under way.
    pub(super) fn pending(&self) -> Vec<ChunkRef> {
        self.pending.lock().values().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks::PackOptions;

    #[test]
    fn what_was_recorded_under_another_number_stays_pending() {
        let dir = tempfile::TempDir::new().unwrap();
        let packs = PackStore::open(dir.path(), [7; 16], PackOptions::default()).unwrap();
        let tree = ContentTree::of(b"contents");
        let hash = tree.hash();
        let at = packs.append(&tree, b"contents").unwrap();
        let ingest = Ingest::new(packs);
        let chunk = ChunkRef { id: ChunkId(2), hash, at };
        ingest.pending.lock().insert(hash, chunk);
        ingest.settled(&[(hash, ChunkId(1))]);
        assert_eq!(ingest.pending(), [chunk]);
        ingest.settled(&[(hash, ChunkId(2))]);
        assert_eq!(ingest.pending(), []);
    }
}
