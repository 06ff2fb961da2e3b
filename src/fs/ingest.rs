//! From bytes to chunks and back: hashing, deduplication, appending to packs, reading.

use super::Result;
use super::trail::{Seen, Trail};
use crate::chunks::{Base, ContentTree, PackStore};
use crate::meta::{Meta, Tx};
use crate::model::{ChunkHash, ChunkId, ChunkLocation, ChunkRef, PackId, Timestamp};
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::collections::{BTreeSet, HashMap, HashSet};

/// A base that is longer than so many times its difference is none: reading a few bytes should not take reading many.
const BASE_LEN_FACTOR_MAX: u64 = 4;

/// Shorter chunks are never stored as differences: they are the tails of logs and the pages of databases, which are saved often
/// and must be quick (with 4 KiB, appending and syncing 4 KiB took 15% longer).
const DIFFERENCE_LEN_MIN: usize = 24 << 10;

/// Damaged chunks that are remembered by number; of more it is told when they are read.
const DAMAGED_MAX: usize = 262_144;

/// The chunks of the store: those in the chunk table, and those that are appended but not in it yet.
pub(super) struct Ingest {
    packs: PackStore,
    /// Chunks that lie in a pack and are in no committed row yet. A leaf: see [`Volume`](super::Volume).
    pending: Mutex<HashMap<ChunkHash, ChunkRef>>,
    /// Chunks that can't be read back, as far as is known. A leaf.
    damaged: Mutex<Damaged>,
    /// Held for reading from an append until the chunk is pending. Taken before `pending`.
    appending: RwLock<()>,
    /// Held for reading from the moment at which a chunk's place is found out until it was read there, or an overlay
    /// shows the chunk; for writing by who takes chunks away or moves them. Taken before all other locks but `tree`.
    places: RwLock<()>,
    /// Packs to which damaged chunks were brought back, and of which no look at the table may know yet. A leaf.
    healed_to: Mutex<HashSet<PackId>>,
    /// Which chunks come into use while garbage is looked for. A leaf.
    garbage: Mutex<Garbage>,
    /// Where chunks were shown lately.
    seen: Seen,
}

/// Chunks that can't be read back.
#[derive(Debug, Default)]
struct Damaged {
    /// All, up to [`DAMAGED_MAX`]: who writes the contents of one again heals it.
    known: HashSet<ChunkId>,
    /// Those of them that nobody has tried to repair since they were met.
    noted: BTreeSet<ChunkId>,
}

/// What is known of chunks that nothing names: see `fs/upkeep/collect.rs`.
#[derive(Debug, Default)]
enum Garbage {
    /// Nobody looks.
    #[default]
    Unknown,
    /// Somebody looks: the chunks that came into use since.
    Watching(HashSet<ChunkId>),
    /// The chunks that nothing names.
    Condemned(BTreeSet<ChunkId>),
}

/// What is known of some bytes before they are stored.
pub(super) struct Contents {
    tree: ContentTree,
    /// The chunk that holds them.
    pub(super) known: Option<ChunkRef>,
}

impl Ingest {
    pub(super) fn new(packs: PackStore) -> Ingest {
        Ingest {
            packs,
            pending: Mutex::default(),
            damaged: Mutex::default(),
            appending: RwLock::default(),
            places: RwLock::default(),
            healed_to: Mutex::default(),
            garbage: Mutex::default(),
            seen: Seen::default(),
        }
    }

    pub(super) fn packs(&self) -> &PackStore {
        &self.packs
    }

    /// Looks whether the store holds these contents. If so, the caller holds [`Ingest::hold_places`] from before until an overlay
    /// shows the chunk.
    pub(super) fn find(&self, meta: &Meta, plain: &[u8]) -> Result<Contents> {
        let tree = self.packs.content_tree(plain);
        let hash = tree.hash();
        let pending = self.pending.lock().get(&hash).copied();
        let known = match pending {
            Some(chunk) => Some(chunk),
            None => meta.read(|view| view.chunk_by_hash(&hash))?,
        };
        if let Some(chunk) = &known {
            self.note_use(chunk);
        }
        Ok(Contents { tree, known })
    }

    /// The chunk with these contents, which is appended unless the store was found to hold it.
    ///
    /// Two threads that bring the same new contents at the same instant may both append them;
    /// one copy is then garbage in its pack.
    ///
    /// `trail` tells what was there before, and learns what is there now.
    ///
    /// The caller holds [`Ingest::hold_places`] until an overlay shows the chunk.
    pub(super) fn store(
        &self,
        meta: &Meta,
        plain: &[u8],
        contents: Contents,
        trail: &mut Trail,
    ) -> Result<ChunkRef> {
        let Contents { tree, known } = contents;
        let hash = tree.hash();
        // What was looked for a while ago may have come since: a file may begin with the same bytes over and over.
        let known = known.or_else(|| self.pending.lock().get(&hash).copied());
        if let Some(chunk) = known {
            self.note_use(&chunk);
            trail.meet(&self.seen, &chunk);
            return Ok(chunk);
        }
        let base = self.base_for(meta, plain, trail)?;
        let _appending = self.appending.read();
        let stored = self.packs.append(&tree, plain, base.as_ref())?;
        if stored.is_difference {
            trail.note_gain();
        }
        let base = base.filter(|_| stored.is_difference).map(|base| base.chunk.id);
        // The number is asked for after the append: see `Meta::next_chunk`.
        let chunk = ChunkRef { id: meta.next_chunk(), hash, at: stored.at, base };
        let chunk = *self.pending.lock().entry(hash).or_insert(chunk);
        self.note_use(&chunk);
        trail.pass(&self.seen, &chunk);
        Ok(chunk)
    }

    /// Leads `trail` to what was `bytes`, in so many chunks, before this one: see [`Trail::lead_back`].
    pub(super) fn lead_back(&self, known: &ChunkRef, trail: &mut Trail, bytes: u64, chunks: u64) {
        trail.lead_back(&self.seen, known, bytes, chunks);
    }

    /// The chunk that lay where the next new one lies, or, where that is a difference itself, its base: a difference is
    /// never to another difference. Noted as used, so that nobody collects it while the difference is made.
    fn base_for(&self, meta: &Meta, plain: &[u8], trail: &mut Trail) -> Result<Option<Base>> {
        if plain.len() < DIFFERENCE_LEN_MIN {
            return Ok(None);
        }
        let Some(before) = trail.predecessor(meta, plain.len() as u64)? else { return Ok(None) };
        // Until it turns out to be of use.
        trail.note_miss();
        let base = self.base_of(meta, &before)?.unwrap_or(before);
        let is_long = u64::from(base.at.plain_len) > plain.len() as u64 * BASE_LEN_FACTOR_MAX;
        if self.is_damaged(base.id) || base.base.is_some() || is_long {
            return Ok(None);
        }
        self.note_use(&base);
        match self.packs.read(&base, None) {
            Ok(plain) => Ok(Some(Base { chunk: base, plain })),
            Err(error) => {
                // Nothing is lost by it here; whoever reads the file is told.
                log::error!(
                    "chunk {} can't be read to make a difference to it: {error}",
                    base.id.0
                );
                self.note_damage(base.id);
                Ok(None)
            }
        }
    }

    /// Of a chunk that is stored as a difference, the one that is needed to read it. It is in the chunk table as
    /// long as the difference is, or in memory.
    fn base_of(&self, meta: &Meta, chunk: &ChunkRef) -> Result<Option<ChunkRef>> {
        if chunk.base.is_none() {
            return Ok(None);
        }
        Ok(meta.read(|view| view.base_of(chunk))?)
    }

    /// Reads `len` bytes of a chunk from `skip` on onto the end of `into`, verified. The caller holds
    /// [`Ingest::hold_places`].
    pub(super) fn read_range(
        &self,
        meta: &Meta,
        chunk: &ChunkRef,
        (skip, len): (usize, usize),
        into: &mut Vec<u8>,
    ) -> Result<()> {
        let base = self.base_of(meta, chunk)?;
        let outcome = self.packs.read_range(chunk, base.as_ref(), skip, len, into);
        if let (Err(_), Some(base)) = (&outcome, &base)
            && self.packs.read(base, None).is_err()
        {
            // Who brings its contents again heals it as well.
            self.note_damage(base.id);
        }
        Ok(outcome?)
    }

    fn read(&self, meta: &Meta, chunk: &ChunkRef) -> Result<Vec<u8>> {
        let base = self.base_of(meta, chunk)?;
        Ok(self.packs.read(chunk, base.as_ref())?)
    }

    /// Reads the chunk's record from the disk, and verifies it.
    pub(super) fn verify(&self, meta: &Meta, chunk: &ChunkRef) -> Result<()> {
        let base = self.base_of(meta, chunk)?;
        Ok(self.packs.verify(chunk, base.as_ref())?)
    }

    /// The same past our caches only.
    pub(super) fn verify_record(&self, meta: &Meta, chunk: &ChunkRef) -> Result<()> {
        let base = self.base_of(meta, chunk)?;
        Ok(self.packs.verify_record(chunk, base.as_ref())?)
    }

    /// Appends the chunk's record once more: see [`PackStore::copy`].
    pub(super) fn copy(&self, meta: &Meta, chunk: &ChunkRef) -> Result<ChunkLocation> {
        let base = self.base_of(meta, chunk)?;
        Ok(self.packs.copy(chunk, base.as_ref())?)
    }

    /// Bytes of the payload that a whole record of the chunk would have.
    pub(super) fn whole_len(&self, meta: &Meta, chunk: &ChunkRef) -> Result<u32> {
        let plain = self.read(meta, chunk)?;
        Ok(self.packs.stored_len(&self.packs.content_tree(&plain), &plain)?)
    }

    /// Appends a whole record of a chunk that is stored as a difference.
    pub(super) fn copy_whole(&self, meta: &Meta, chunk: &ChunkRef) -> Result<ChunkLocation> {
        let plain = self.read(meta, chunk)?;
        Ok(self.packs.append(&self.packs.content_tree(&plain), &plain, None)?.at)
    }

    /// Remembers that a chunk could not be read back.
    pub(super) fn note_damage(&self, chunk: ChunkId) {
        let mut damaged = self.damaged.lock();
        if damaged.known.len() < DAMAGED_MAX && damaged.known.insert(chunk) {
            damaged.noted.insert(chunk);
        }
    }

    /// Remembers chunks that somebody knows to be damaged, and has tried to repair.
    pub(super) fn know_damage(&self, chunks: impl Iterator<Item = ChunkId>) {
        let mut damaged = self.damaged.lock();
        for chunk in chunks {
            damaged.noted.remove(&chunk);
            if damaged.known.len() < DAMAGED_MAX {
                damaged.known.insert(chunk);
            }
        }
    }

    /// The chunk can be read back, after all or again.
    pub(super) fn forgive(&self, chunk: ChunkId) {
        let mut damaged = self.damaged.lock();
        damaged.known.remove(&chunk);
        damaged.noted.remove(&chunk);
    }

    /// Whether a chunk could not be read back.
    pub(super) fn is_damaged(&self, chunk: ChunkId) -> bool {
        self.damaged.lock().known.contains(&chunk)
    }

    /// The chunks that could not be read back, and that nobody has tried to repair since.
    pub(super) fn noted_damage(&self) -> Vec<ChunkId> {
        self.damaged.lock().noted.iter().copied().collect()
    }

    /// Brings a chunk whose record is damaged back: somebody writes its contents anew. Every file that
    /// shows it is whole again. The caller holds [`Ingest::hold_places`].
    pub(super) fn heal(
        &self,
        meta: &Meta,
        now: Timestamp,
        chunk: ChunkRef,
        plain: &[u8],
    ) -> Result<ChunkRef> {
        let at = self.append_healing(&[plain])?[0];
        meta.write(now, |tx| tx.move_chunk(chunk.id, &at))?;
        self.forgive(chunk.id);
        log::warn!("chunk {} was damaged; its contents were written again", chunk.id.0);
        Ok(ChunkRef { at, base: None, ..chunk })
    }

    /// Appends whole records with these contents, to take the place of damaged ones. They are on the disk when this returns,
    /// before a row names them: a start doesn't verify chunks with old numbers. The caller holds [`Ingest::hold_places`]
    /// until the rows name them.
    pub(super) fn append_healing(&self, contents: &[&[u8]]) -> Result<Vec<ChunkLocation>> {
        let mut places = Vec::with_capacity(contents.len());
        for plain in contents {
            let at = self.packs.append(&self.packs.content_tree(plain), plain, None)?.at;
            self.healed_to.lock().insert(at.pack);
            places.push(at);
        }
        self.packs.sync()?;
        Ok(places)
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

    /// While the result lives, chunks stay in their table and at their places.
    pub(super) fn hold_places(&self) -> RwLockReadGuard<'_, ()> {
        self.places.read()
    }

    /// While the result lives, nobody is between finding a chunk and showing or having read it.
    pub(super) fn still_places(&self) -> RwLockWriteGuard<'_, ()> {
        self.places.write()
    }

    /// From now on it is noted to which packs chunks are brought back.
    pub(super) fn watch_healing(&self) {
        let _still = self.still_places();
        self.healed_to.lock().clear();
    }

    /// Whether a chunk was brought back to the pack since [`Ingest::watch_healing`].
    pub(super) fn is_healed_to(&self, pack: PackId) -> bool {
        self.healed_to.lock().contains(&pack)
    }

    /// From now on uses are noted, all of them.
    pub(super) fn watch_uses(&self) {
        let _still = self.still_places();
        *self.garbage.lock() = Garbage::Watching(HashSet::new());
    }

    /// The chunk is shown by something that is not committed. So its base is needed as well.
    pub(super) fn note_use(&self, chunk: &ChunkRef) {
        match &mut *self.garbage.lock() {
            Garbage::Unknown => {}
            Garbage::Watching(used) => used.extend([chunk.id].into_iter().chain(chunk.base)),
            Garbage::Condemned(left) => {
                left.remove(&chunk.id);
                chunk.base.map(|base| left.remove(&base));
            }
        }
    }

    /// Nothing names these, as far as is committed. What came into use since [`Ingest::watch_uses`] is spared.
    pub(super) fn condemn(&self, mut found: BTreeSet<ChunkId>) {
        let mut garbage = self.garbage.lock();
        if let Garbage::Watching(used) = &*garbage {
            found.retain(|chunk| !used.contains(chunk));
            *garbage = Garbage::Condemned(found);
        }
    }

    /// Up to `limit` condemned chunks: the youngest first, since a difference is younger than its base, and must never be
    /// there without it. To be called under [`Ingest::still_places`], which is held until [`Ingest::note_swept`].
    pub(super) fn condemned(&self, limit: usize) -> Vec<ChunkId> {
        match &*self.garbage.lock() {
            Garbage::Condemned(left) => left.iter().rev().take(limit).copied().collect(),
            Garbage::Unknown | Garbage::Watching(_) => Vec::new(),
        }
    }

    /// These condemned chunks left the table. Those of a transaction that failed stay on the list: the next one would
    /// take away their bases alone.
    pub(super) fn note_swept(&self, chunks: &[ChunkId]) {
        if let Garbage::Condemned(left) = &mut *self.garbage.lock() {
            for chunk in chunks {
                left.remove(chunk);
            }
        }
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
        let tree = packs.content_tree(b"contents");
        let hash = tree.hash();
        let at = packs.append(&tree, b"contents", None).unwrap().at;
        let ingest = Ingest::new(packs);
        let chunk = ChunkRef { id: ChunkId(2), hash, at, base: None };
        ingest.pending.lock().insert(hash, chunk);
        ingest.settled(&[(hash, ChunkId(1))]);
        assert_eq!(ingest.pending(), [chunk]);
        ingest.settled(&[(hash, ChunkId(2))]);
        assert_eq!(ingest.pending(), []);
    }
}
