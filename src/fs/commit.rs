//! Saving: what an overlay shows becomes extents, in one transaction.

use super::Result;
use super::node::{Node, NodeState};
use super::overlay::Replacement;
use super::volume::Volume;
use crate::meta::{Redo, Tx};
use crate::model::{Extent, Ino, splice};
use crate::sys::failpoint;

/// A save seals what was written meanwhile so many times before it holds writers back.
const ROUNDS_MAX: u32 = 3;

impl Volume {
    /// Saves the node: when this returned, a killed daemon loses nothing of it. `done`: its last writer
    /// closes it, so what is saved is a version.
    pub(super) fn save(&self, node: &Node, done: bool) -> Result<()> {
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
                return self.commit(node.ino, &mut state, done);
            }
            round += 1;
        }
    }

    /// The last writer of the node is gone: what it left is a version. What makes it one is committed with
    /// the next change; should that be lost, whoever writes next notices.
    pub(super) fn cut(&self, node: &Node) -> Result<()> {
        let mut state = node.lock();
        let ino = node.ino;
        let is_nothing_to_do = state.inode.saved.is_cut || state.is_dirty();
        if is_nothing_to_do || state.inode.attr.nlink == 0 || self.options.read_only {
            return Ok(());
        }
        self.write_meta_deferred(|tx| {
            tx.cut_version(ino)?;
            let redo: Redo = Box::new(move |tx| tx.cut_version(ino));
            Ok(((), redo))
        })?;
        state.inode.saved.is_cut = true;
        state.uncut_since = None;
        Ok(())
    }

    /// Writes the overlay's extents and the new attributes. Everything in memory is sealed.
    fn commit(&self, ino: Ino, state: &mut NodeState, done: bool) -> Result<()> {
        if !state.is_dirty() {
            return Ok(());
        }
        let now = self.now();
        let is_cut = done || state.is_overdue(now);
        failpoint::hit("commit-before");
        let replacements = state.overlay.replacements();
        let outcome = self.freeing_write(|tx| {
            let recorded = self.ingest.record(tx, state.overlay.chunks())?;
            if state.must_cut_before() {
                tx.cut_version(ino)?;
            }
            let change = apply(tx, ino, &replacements, state.inode.attr.allocated)?;
            let mut after = state.inode;
            after.attr.allocated = change.allocated;
            after.saved = state.next_saved(is_cut, change.digest);
            // A new inode whose first content this is: see `Tx::change_content`.
            let first = state.inode.since == state.inode.content_since && state.committed_size == 0;
            tx.change_content(&after.attr, &after.saved, first)?;
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
        state.uncut_since = if is_cut { None } else { state.uncut_since.or(Some(now)) };
        state.overlay = Default::default();
        state.dirty_attr = false;
        state.rewriting_since = None;
        Ok(())
    }
}

/// What replacing ranges came to.
struct Applied {
    /// Bytes that are allocated afterwards.
    allocated: u64,
    /// By how much the content's digest changed.
    digest: u64,
}

/// Replaces the ranges.
fn apply(tx: &Tx<'_>, ino: Ino, replacements: &[Replacement], allocated: u64) -> Result<Applied> {
    // Nothing is allocated: a new file, or an empty one.
    let is_empty = allocated == 0;
    let mut applied = Applied { allocated, digest: 0 };
    for Replacement { from, to, extents } in replacements {
        let old = if is_empty { Vec::new() } else { tx.extents(ino, *from, *to)? };
        let change = splice(&old, *from, *to, extents);
        applied.allocated = applied.allocated + bytes(&change.begun) - bytes(&change.ended);
        let digest = tx.splice_extents(ino, &change)?;
        applied.digest = applied.digest.wrapping_add(digest);
    }
    Ok(applied)
}

fn bytes(extents: &[Extent]) -> u64 {
    extents.iter().map(|extent| extent.len).sum()
}
