//! Saving: what an overlay shows becomes extents, in one transaction.

use super::Result;
use super::node::{Node, NodeState};
use super::overlay::Replacement;
use super::volume::Volume;
use crate::meta::{Redo, Tx};
use crate::model::{Extent, Ino, Timestamp, splice};
use crate::sys::failpoint;
use std::time::Duration;

/// A save seals what was written meanwhile so many times before it holds writers back.
const ROUNDS_MAX: u32 = 3;
/// A file that is being written anew keeps its old content in the store for so long at most.
const REWRITE_MAX: Duration = Duration::from_secs(120);
/// … or until it has so many pieces in memory.
const REWRITE_PIECES_MAX: usize = 1 << 16;

/// Why a node is saved. What follows from it is decided under the node's lock, with what is committed: until then
/// somebody else may open the file and empty it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saving {
    /// The timer asks, or somebody who leaves the file to other writers.
    Background,
    /// Somebody wants to know it durable, however much of it is written.
    Sync,
    /// A writer closes it, and waits.
    Close,
    /// A writer closed it, and waits no longer.
    LateClose,
    /// Nobody will write to it again.
    Stop,
}

impl Saving {
    /// Whether it is left alone because somebody is in the middle of writing it anew: then the store keeps the
    /// whole old content until that writer is done, within limits.
    fn leaves(self, state: &NodeState, now: Timestamp) -> bool {
        let is_free = match self {
            Saving::Background => state.writers > 0,
            Saving::LateClose => state.writers > 0,
            Saving::Sync | Saving::Close | Saving::Stop => false,
        };
        let is_young = |since: Timestamp| {
            let age = now.0.saturating_sub(since.0);
            age < REWRITE_MAX.as_nanos() as i64 && state.overlay.piece_count() < REWRITE_PIECES_MAX
        };
        is_free && state.rewriting_since.is_some_and(is_young)
    }

    /// Whether what is saved is a version.
    fn cuts(self, state: &NodeState) -> bool {
        match self {
            Saving::Background | Saving::Sync => false,
            Saving::Close => state.is_done(),
            Saving::LateClose => state.writers == 0,
            Saving::Stop => true,
        }
    }
}

impl Volume {
    /// Saves the node, unless `why` leaves it to others: when this returned, a killed daemon loses nothing of it.
    pub(super) fn save(&self, node: &Node, why: Saving) -> Result<()> {
        {
            let mut state = node.lock();
            // What could not be written out in the background is still there, and is tried again now: if that
            // succeeds, nothing was wrong, and if not, that error is told.
            state.deferred_error = None;
            if !state.is_dirty() || why.leaves(&state, self.now()) {
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
            // Somebody may have emptied it since, or written since the last byte was sealed.
            if why.leaves(&state, self.now()) {
                return Ok(());
            }
            if state.overlay.memory_bytes() == 0 {
                let is_cut = why.cuts(&state);
                return self.commit(node.ino, &mut state, is_cut);
            }
            round += 1;
        }
    }

    /// The last writer of the node is gone: what it left is a version. What makes it one is committed with
    /// the next change; should that be lost, whoever writes next notices.
    pub(super) fn cut(&self, node: &Node) -> Result<()> {
        let mut state = node.lock();
        let ino = node.ino;
        if !state.is_dirty() && state.writers == 0 {
            // What was said of its next version is about this writer's.
            state.cause = None;
        }
        // Or somebody else writes to it by now.
        let is_nothing_to_do = state.inode.saved.is_cut || state.is_dirty() || state.writers > 0;
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
    fn commit(&self, ino: Ino, state: &mut NodeState, is_cut: bool) -> Result<()> {
        if !state.is_dirty() {
            return Ok(());
        }
        let now = self.now();
        let is_cut = is_cut || state.is_overdue(now);
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
            let is_new =
                state.inode.since == state.inode.content_since && state.committed_size == 0;
            // One that was emptied, and left so, is no new one.
            let first = is_new && !tx.has_past(ino)?;
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
        state.cause = state.cause.filter(|_| !is_cut);
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
