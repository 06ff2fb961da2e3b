//! Saving: what an overlay shows becomes extents, in one transaction.

use super::Result;
use super::node::{Node, NodeState};
use super::overlay::Replacement;
use super::volume::Volume;
use crate::meta::Tx;
use crate::model::{Extent, Ino, splice};
use crate::sys::failpoint;

/// A save seals what was written meanwhile so many times before it holds writers back.
const ROUNDS_MAX: u32 = 3;

impl Volume {
    /// Saves the node: when this returned, a killed daemon loses nothing of it.
    pub(super) fn save(&self, node: &Node) -> Result<()> {
        {
            let mut state = node.lock();
            // What could not be written out in the background is still there, and is tried again now: if that
            // succeeds, nothing was wrong, and if not, that error is told.
            state.deferred_error = None;
            if !state.is_dirty() {
                return Ok(());
            }
        }
        let mut _held = None;
        let mut round = 0;
        loop {
            // A writer that is faster than we are would keep us here, and all other files unsaved.
            if round == ROUNDS_MAX {
                _held = Some(node.hold_writers());
            }
            self.seal_all(node)?;
            let mut state = node.lock_unsealing();
            // Somebody may have written since the last byte was sealed.
            if state.overlay.memory_bytes() == 0 {
                return self.commit(node.ino, &mut state);
            }
            round += 1;
        }
    }

    /// Writes the overlay's extents and the new attributes. Everything in memory is sealed.
    fn commit(&self, ino: Ino, state: &mut NodeState) -> Result<()> {
        if !state.is_dirty() {
            return Ok(());
        }
        failpoint::hit("commit-before");
        let replacements = state.overlay.replacements();
        let outcome = self.freeing_write(|tx| {
            let recorded = self.ingest.record(tx, state.overlay.chunks())?;
            let allocated = apply(tx, ino, &replacements, state.inode.attr.allocated)?;
            let mut after = state.inode;
            after.attr.allocated = allocated;
            // A new inode whose first content this is: see `Tx::change_content`.
            let first = state.inode.since == state.inode.content_since && state.committed_size == 0;
            tx.change_content(&after.attr, first)?;
            after.content_since = tx.moment;
            if !first {
                after.since = tx.moment;
            }
            Ok((after, recorded))
        });
        let (after, recorded): (_, Vec<_>) = outcome?;
        failpoint::hit("commit-after");
        self.ingest.settled(&recorded);
        state.committed_size = after.attr.size;
        state.inode = after;
        state.overlay = Default::default();
        state.dirty_attr = false;
        state.rewriting_since = None;
        Ok(())
    }
}

/// Replaces the ranges; answers how many bytes are allocated afterwards.
fn apply(tx: &Tx<'_>, ino: Ino, replacements: &[Replacement], allocated: u64) -> Result<u64> {
    // Nothing is allocated: a new file, or an empty one.
    let is_empty = allocated == 0;
    let mut allocated = allocated;
    for Replacement { from, to, extents } in replacements {
        let old = if is_empty { Vec::new() } else { tx.extents(ino, *from, *to)? };
        let change = splice(&old, *from, *to, extents);
        allocated = allocated + bytes(&change.begun) - bytes(&change.ended);
        tx.splice_extents(ino, &change)?;
    }
    Ok(allocated)
}

fn bytes(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.len).sum()
}
