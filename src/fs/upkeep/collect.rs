//! Collection: chunks that nothing names any more go out of the chunk table.
//!
//! It never races a writer. A chunk that is in the table can come into use again in two ways only: somebody writes
//! contents that the store has (`Ingest::store` finds it), or copies a range that shows it. Both are noted
//! (`Ingest::note_use`), together with the chunk that it is stored as a difference to, and between finding the chunk and showing it in an overlay both hold `Ingest::places`. So:
//!
//! 1. *Watch*: from now on uses are noted. Chunks that overlays show at this moment count as used.
//! 2. *Mark*: in one snapshot, every chunk that existed at step 1 and that no row names, nor a chunk that is named and is
//!    stored as a difference to it. Less the used ones, they are
//!    condemned. From now on a use takes a chunk off the list.
//! 3. *Grace*: nothing happens to them for a while.
//! 4. *Sweep*: what is still on the list leaves the table, a few at a time, differences before their bases, while nobody is between finding and showing.
//!
//! A crash forgets the list; the next run begins again. Records of chunks that left the table are garbage in their packs:
//! see `compact`.

use crate::fs::Result;
use crate::fs::volume::Volume;
use crate::meta::{ChunkRow, View};
use crate::model::{ChunkId, Timestamp};
use crate::sys::{Task, failpoint};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Chunks that leave the table in one transaction: writers wait for it.
const CHUNKS_PER_COMMIT: usize = 256;
/// What removing a row is taken to read and write.
const ROW_BYTES: u64 = 512;

impl Volume {
    /// Carries on: removes what was condemned at least `grace` ago, and condemns what nothing names now. Without a grace both
    /// in one go. Answers how many chunks left the table.
    pub(super) fn collect(&self, grace: Duration, task: &dyn Task) -> Result<u64> {
        let mut condemned_at = self.upkeep.condemned_at.lock();
        let mut removed = 0;
        if condemned_at.is_some_and(|since| is_over(since, self.now(), grace)) {
            removed += self.sweep(task)?;
        }
        let begun = self.now();
        self.condemn(task)?;
        *condemned_at = Some(begun);
        if grace.is_zero() {
            removed += self.sweep(task)?;
        }
        Ok(removed)
    }

    fn condemn(&self, task: &dyn Task) -> Result<()> {
        self.ingest.watch_uses();
        let limit = self.meta.last_chunk();
        // Those that no overlay shows any more may come into use again as well, and need their bases.
        for chunk in self.chunks_in_memory() {
            self.ingest.note_use(&chunk);
        }
        let found = self.meta.snapshot(|view| -> Result<BTreeSet<ChunkId>> {
            let mut named = IdSet::named(view, limit)?;
            named.add_bases(view)?;
            let mut found = BTreeSet::new();
            view.each_chunk(&mut |row: ChunkRow| -> Result<()> {
                let id = ChunkId(row.id);
                if id <= limit && !named.contains(id) && !task.is_stopped() {
                    found.insert(id);
                }
                Ok(())
            })?;
            Ok(found)
        })?;
        self.ingest.condemn(found);
        Ok(())
    }

    fn sweep(&self, task: &dyn Task) -> Result<u64> {
        let mut removed = 0;
        while !task.is_stopped() {
            task.pace(CHUNKS_PER_COMMIT as u64 * ROW_BYTES);
            failpoint::hit("collect-before");
            let _still = self.ingest.still_places();
            let batch = self.ingest.condemned(CHUNKS_PER_COMMIT);
            if batch.is_empty() {
                break;
            }
            self.freeing_write(|tx| {
                batch.iter().try_for_each(|chunk| tx.remove_chunk(*chunk))?;
                Ok(())
            })?;
            self.ingest.note_swept(&batch);
            failpoint::hit("collect-after");
            removed += batch.len() as u64;
        }
        Ok(removed)
    }
}

fn is_over(since: Timestamp, now: Timestamp, grace: Duration) -> bool {
    // A clock that was set back must not make it last for ever, nor one that was set ahead cut it short by itself:
    // the list is only as safe as its making, which the clock has no part in.
    now < since || now.0.saturating_sub(since.0) >= grace.as_nanos() as i64
}

/// Words of 64 bits in a page of an [`IdSet`].
const PAGE_WORDS: usize = 64;

/// A set of chunk numbers: a bit for each, since most of them are in it. In pages, since a damaged number may be huge.
#[derive(Clone)]
pub(in crate::fs) struct IdSet {
    last: ChunkId,
    pages: HashMap<u64, Box<[u64; PAGE_WORDS]>>,
}

impl IdSet {
    /// Empty, for numbers up to `last`. Higher ones are not kept.
    pub(in crate::fs) fn up_to(last: ChunkId) -> IdSet {
        IdSet { last, pages: HashMap::new() }
    }

    /// The chunks that rows show, today or in the past.
    pub(in crate::fs) fn named(view: &View<'_>, last: ChunkId) -> Result<IdSet> {
        let mut named = IdSet::up_to(last);
        view.each_naming(&mut |_, chunk, _| named.insert(chunk))?;
        Ok(named)
    }

    /// Adds what is needed to read those that are stored as differences.
    pub(in crate::fs) fn add_bases(&mut self, view: &View<'_>) -> Result<()> {
        Ok(view.each_difference(&mut |chunk, base| {
            if self.contains(chunk) {
                self.insert(base);
            }
        })?)
    }

    pub(in crate::fs) fn insert(&mut self, id: ChunkId) {
        if id <= self.last {
            let (page, word, bit) = place(id);
            self.pages.entry(page).or_insert_with(|| Box::new([0; PAGE_WORDS]))[word] |= bit;
        }
    }

    pub(in crate::fs) fn contains(&self, id: ChunkId) -> bool {
        let (page, word, bit) = place(id);
        self.pages.get(&page).is_some_and(|words| words[word] & bit != 0)
    }
}

/// Page, word and bit of a number.
fn place(id: ChunkId) -> (u64, usize, u64) {
    let word = id.0 / 64;
    (word / PAGE_WORDS as u64, (word % PAGE_WORDS as u64) as usize, 1 << (id.0 % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_numbers_takes_no_more_than_what_is_in_it() {
        // As a damaged counter may say.
        let last = ChunkId(i64::MAX as u64);
        let mut set = IdSet::up_to(last);
        let numbers = [0, 1, 63, 64, 4095, 4096, 70_000, last.0].map(ChunkId);
        numbers.iter().for_each(|id| set.insert(*id));
        set.insert(ChunkId(last.0 + 1));
        assert!(numbers.iter().all(|id| set.contains(*id)));
        for other in [2, 62, 65, 4094, 4097, 70_001, last.0 - 1, last.0 + 1] {
            assert!(!set.contains(ChunkId(other)), "{other}");
        }
    }
}
