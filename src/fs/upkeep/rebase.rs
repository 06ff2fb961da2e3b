//! Chunks that are stored as differences, and what they are differences to.
//!
//! A chunk stays as long as a difference to it does, whether or not a file still shows it. That is worth its room while there are
//! several; of a last one it is not: both together are larger than that one alone. And what is erased must go,
//! whatever is a difference to it. In both cases the difference is stored anew, whole.

use super::collect::IdSet;
use super::compact::{Copying, Moved, pace_moving};
use crate::fs::Result;
use crate::fs::volume::Volume;
use crate::meta::View;
use crate::model::{ChunkId, ChunkRef};
use crate::sys::Task;
use std::collections::BTreeMap;

/// Chunks that are stored anew in one transaction.
const CHUNKS_PER_COMMIT: usize = 256;

impl Volume {
    /// Stores whole what is the only difference to a chunk that nothing shows; answers how many there were.
    pub(super) fn rebase_last_ones(&self, task: &dyn Task) -> Result<Moved> {
        let last = self.meta.last_chunk();
        // Uncommitted differences: their bases are needed by more than the table knows.
        let in_memory = self.ids_in_memory();
        let mut chunks = self.meta.snapshot(|view| {
            // Each run would look through all extents for nothing.
            if !view.has_differences()? {
                return Ok(Vec::new());
            }
            let named = IdSet::named(view, last)?;
            last_differences(view, &|chunk| named.contains(chunk))
        })?;
        chunks.retain(|(base, _)| !in_memory.contains(base));
        let chunks: Vec<ChunkId> = chunks.into_iter().map(|(_, chunk)| chunk).collect();
        self.store_whole(&chunks, task)
    }

    /// Stores these chunks anew, not as differences; answers how many moved. Those that something in memory shows stay.
    pub(super) fn store_whole(&self, chunks: &[ChunkId], task: &dyn Task) -> Result<Moved> {
        let mut moved = Moved::default();
        for batch in chunks.chunks(CHUNKS_PER_COMMIT) {
            if task.is_stopped() {
                break;
            }
            let rows: Vec<ChunkRef> = self.meta.read(|view| {
                let rows = batch.iter().filter_map(|chunk| view.chunk(*chunk).transpose());
                rows.collect::<crate::meta::Result<_>>()
            })?;
            let differences: Vec<ChunkRef> =
                rows.into_iter().filter(|chunk| chunk.base.is_some()).collect();
            pace_moving(&differences, task);
            moved += self.move_chunks(&differences, Copying::Whole)?;
        }
        Ok(moved)
    }
}

/// Bases that aren't shown, and to which a single difference is; and which.
pub(super) fn last_differences(
    view: &View<'_>,
    is_shown: &dyn Fn(ChunkId) -> bool,
) -> Result<Vec<(ChunkId, ChunkId)>> {
    let mut found: BTreeMap<ChunkId, Option<ChunkId>> = BTreeMap::new();
    view.each_difference(&mut |chunk, base| {
        if is_shown(chunk) && !is_shown(base) {
            found.entry(base).and_modify(|only| *only = None).or_insert(Some(chunk));
        }
    })?;
    Ok(found.into_iter().filter_map(|(base, only)| Some((base, only?))).collect())
}
