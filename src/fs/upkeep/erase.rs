//! Erasing: the history of a file or folder goes at once, whatever retention and pins say, and its contents with it.
//!
//! What nothing else names is taken out of the metadata, which overwrites rows that are deleted; its chunks leave the table, and
//! the packs that held them are emptied and removed, however much of them is needed. What lives is not touched: who
//! wants that gone too deletes it before. It stays where the disk under the store keeps what was deleted (snapshots,
//! flash), and in backups.

use super::space::{Needs, Owned, Tree};
use super::why::find_name;
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::{ChunkRow, View};
use crate::model::{ChunkId, Ino, Moment, PackId};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::time::Duration;

/// Inodes whose rows go in one transaction.
const INODES_PER_COMMIT: usize = 256;

/// What was erased.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EraseReport {
    /// Files and folders of which nothing is left.
    pub erased: u64,
    /// Files that live on, and have no past any more.
    pub without_past: u64,
    /// Bytes that came free in the packs.
    pub bytes_freed: u64,
    /// Packs that could not be removed, since something that is being written shows a part of them: to be tried again.
    pub packs_left: u64,
}

impl Volume {
    /// Erases the history of the name at `path` (from the drive's root), and of everything that is or was below it.
    pub fn erase_history(&self, path: &[u8], stop: &dyn Fn() -> bool) -> Result<EraseReport> {
        self.check_writable()?;
        let _turn = self.upkeep.turn.lock();
        // A start after a power cut may go back to here, and reopens what ended since.
        let horizon = self.meta.last_moment();
        self.sync_all()?;
        let (tree, owned) = self.meta.snapshot(|view| what_to_erase(view, path))?;
        let going = self.chunks_that_go(&owned)?;
        self.erase_rows(&tree, &owned, horizon)?;
        // What stays must not be a difference to what goes.
        self.store_whole(&going.differences, stop)?;
        let (bytes_freed, packs_left) = self.erase_chunks(&going.packs, stop)?;
        let erased = owned.ended.len() as u64;
        self.freeing_write(|tx| Ok(tx.note_erasure(erased, bytes_freed)?))?;
        self.sync_commits()?;
        // The log still has the rows as they were.
        self.meta.checkpoint()?;
        let without_past = owned.living.len() as u64;
        Ok(EraseReport { erased, without_past, bytes_freed, packs_left })
    }
}

/// The chunks that go.
#[derive(Default)]
struct Going {
    /// The packs that hold them.
    packs: HashSet<PackId>,
    /// Chunks that stay, and are stored as differences to them.
    differences: Vec<ChunkId>,
}

fn what_to_erase(view: &View<'_>, path: &[u8]) -> Result<(Tree, Owned)> {
    let name = find_name(view, path)?.ok_or(Error::NotFound)?;
    let tree = Tree::below(view, name)?;
    let owned = tree.owned(view)?;
    Ok((tree, owned))
}

impl Volume {
    /// What nothing but the history that goes shows.
    fn chunks_that_go(&self, owned: &Owned) -> Result<Going> {
        let last = self.meta.last_chunk();
        self.meta.snapshot(|view| {
            let shown = Needs::of(view, owned, last)?;
            let needed = shown.clone().with_bases(view)?;
            let goes = |chunk| shown.goes_with_history(chunk) || needed.goes_with_history(chunk);
            let mut going = Going::default();
            view.each_difference(&mut |chunk, base| {
                let is_left = shown.goes_with_history(base) && shown.stays(chunk);
                going.differences.extend(is_left.then_some(chunk));
            })?;
            view.each_chunk(&mut |row: ChunkRow| -> Result<()> {
                going.packs.extend(row.chunk.filter(|chunk| goes(chunk.id)).map(|c| c.at.pack));
                Ok(())
            })?;
            Ok(going)
        })
    }

    fn erase_rows(&self, tree: &Tree, owned: &Owned, horizon: Moment) -> Result<()> {
        let inodes: Vec<Ino> = owned.ended.iter().chain(&owned.living).copied().collect();
        for batch in inodes.chunks(INODES_PER_COMMIT) {
            self.freeing_write(|tx| {
                for ino in batch {
                    tx.drop_history(*ino, horizon, &[])?;
                    tx.drop_lost_names_of(*ino, horizon)?;
                }
                Ok(())
            })?;
        }
        let folders: Vec<Ino> = tree.folders.iter().copied().collect();
        for batch in folders.chunks(INODES_PER_COMMIT) {
            self.freeing_write(|tx| {
                batch.iter().try_for_each(|folder| tx.drop_lost_names_in(*folder, horizon))?;
                Ok(())
            })?;
        }
        let (parent, name) = &tree.top;
        self.freeing_write(|tx| {
            for period in tx.name_periods(*parent, name)? {
                if period.until.is_some_and(|until| until <= horizon) {
                    tx.drop_period(*parent, &period)?;
                }
            }
            Ok(())
        })
    }

    /// Takes what nothing names any more off the disk. Answers how many bytes came free, and how many of the packs stay
    /// because something that is being written shows a part of them.
    fn erase_chunks(&self, packs: &HashSet<PackId>, stop: &dyn Fn() -> bool) -> Result<(u64, u64)> {
        self.collect(Duration::ZERO, stop)?;
        self.ingest.packs().begin_pack()?;
        self.empty_packs(packs, stop)?;
        let freed = self.remove_packs(stop)?;
        let left = self.ingest.packs().packs()?;
        let left = left.iter().filter(|pack| packs.contains(&pack.id)).count();
        Ok((freed.bytes, left as u64))
    }
}
