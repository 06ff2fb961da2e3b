//! What was there before: along which older content a file that is being written runs, so that what is new in it can be stored
//! as a difference to what it takes the place of.
//!
//! A file that is saved in place runs along its own committed content. One that is written anew, to be renamed over the
//! old one, has none; but as a rule most of its chunks are known, and where one was shown last, the old file goes on
//! with what the new one changed ("stream-informed", as in Shilane et al., *WAN Optimized Replication of Backup Datasets
//! Using Stream-Informed Delta Compression*, FAST 2012). Where that was is kept in memory for the chunks that were written
//! last; for any other, the chunk with the next number is taken: most likely it was written after it.
//!
//! All of it is a guess, and nothing depends on it but how small a chunk gets.

use crate::meta::{Meta, Result};
use crate::model::{ChunkId, ChunkRef, Ino};
use lru::LruCache;
use parking_lot::Mutex;
use std::num::NonZeroUsize;

/// So many chunks are remembered with where they were shown: of 2 GiB, with chunks of 64 KiB.
const SEEN_MAX: NonZeroUsize = NonZeroUsize::new(1 << 15).expect("it isn't zero");
/// After so many chunks in a row that were no difference to anything, nothing is tried before the next known one.
const MISSES_MAX: u32 = 8;

/// Where chunks were shown last: the file, and the offset of the chunk's first byte. A leaf among the locks.
pub(super) struct Seen(Mutex<LruCache<ChunkId, (Ino, u64)>>);

impl Default for Seen {
    fn default() -> Seen {
        Seen(Mutex::new(LruCache::new(SEEN_MAX)))
    }
}

/// Where the older content goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lead {
    /// At this offset of the file, as it is committed.
    File(Ino, u64),
    /// With the chunk after this one.
    Table(ChunkId),
}

/// How far a file that is being written has been followed.
#[derive(Clone, Debug)]
pub(super) struct Trail {
    ino: Ino,
    /// Where the next chunk begins.
    at: u64,
    lead: Option<Lead>,
    misses: u32,
}

impl Trail {
    /// Of the file `ino`.
    pub(super) fn of(ino: Ino) -> Trail {
        Trail { ino, at: 0, lead: None, misses: 0 }
    }

    /// The next chunk begins at `start`. Where that isn't what comes next, the file's own content leads on, if it has any. (Vain
    /// tries still count: scattered writes of what resembles nothing are soon left alone.)
    pub(super) fn go_to(&mut self, start: u64, has_content: bool) {
        if self.at != start || self.lead.is_none() {
            self.at = start;
            self.lead = has_content.then_some(Lead::File(self.ino, start));
        }
    }

    /// Whether nothing leads on.
    pub(super) fn is_lost(&self) -> bool {
        self.lead.is_none()
    }

    /// What comes next lies `bytes`, in so many chunks, before what `known` is. Leads from before where that was shown last.
    pub(super) fn lead_back(&mut self, seen: &Seen, known: &ChunkRef, bytes: u64, chunks: u64) {
        self.lead = Some(match seen.0.lock().peek(&known.id) {
            Some(&(ino, offset)) => Lead::File(ino, offset.saturating_sub(bytes)),
            None => Lead::Table(ChunkId(known.id.0.saturating_sub(chunks + 1))),
        });
    }

    /// The chunk that lay where the next `len` bytes lie.
    pub(super) fn predecessor(&self, meta: &Meta, len: u64) -> Result<Option<ChunkRef>> {
        if self.misses >= MISSES_MAX {
            return Ok(None);
        }
        match self.lead {
            None => Ok(None),
            Some(Lead::Table(after)) => {
                Ok(meta.read(|view| view.chunks_after(after, 1))?.into_iter().next())
            }
            Some(Lead::File(ino, from)) => {
                let to = from.saturating_add(len);
                let extents = meta.read(|view| view.extents(ino, from, to))?;
                let common =
                    |extent: &crate::model::Extent| extent.end().min(to) - extent.start.max(from);
                let Some(most) = extents.iter().max_by_key(|extent| common(extent)) else {
                    return Ok(None);
                };
                meta.read(|view| view.chunk(most.content.chunk))
            }
        }
    }

    /// The next chunk is one that the store has.
    pub(super) fn meet(&mut self, seen: &Seen, chunk: &ChunkRef) {
        let len = u64::from(chunk.at.plain_len);
        let was = seen.0.lock().put(chunk.id, (self.ino, self.at));
        self.lead = Some(match (was, self.lead) {
            (Some((ino, offset)), _) => Lead::File(ino, offset + len),
            (None, Some(Lead::File(ino, offset))) if ino == self.ino => {
                Lead::File(ino, offset + len)
            }
            (None, _) => Lead::Table(chunk.id),
        });
        self.at += len;
        self.misses = 0;
    }

    /// The next chunk is new.
    pub(super) fn pass(&mut self, seen: &Seen, chunk: &ChunkRef) {
        let len = u64::from(chunk.at.plain_len);
        seen.0.lock().put(chunk.id, (self.ino, self.at));
        self.lead = self.lead.map(|lead| match lead {
            Lead::File(ino, offset) => Lead::File(ino, offset + len),
            Lead::Table(after) => Lead::Table(ChunkId(after.0 + 1)),
        });
        self.at += len;
    }

    /// The next chunk has a predecessor to which it is no difference.
    pub(super) fn note_miss(&mut self) {
        self.misses = self.misses.saturating_add(1);
    }

    /// The next chunk is a difference to its predecessor after all.
    pub(super) fn note_gain(&mut self) {
        self.misses = 0;
    }
}
