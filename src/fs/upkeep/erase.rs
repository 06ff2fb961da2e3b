//! Erasing: the history of a file or folder goes at once, whatever retention and pins say, and its contents with it.
//!
//! What nothing else names is taken out of the metadata, which overwrites rows that are deleted; its chunks leave the table, and
//! the packs that held them are emptied and removed, however much of them is needed. What lives is not touched: who
//! wants that gone too deletes it before. It stays where the disk under the store keeps what was deleted (snapshots,
//! flash), and in backups. And what retention took before is not known any more: its records stay until their packs are emptied.
//!
//! Interrupted anywhere, what is left of the rows is found at the same path, and the packs are known by the table
//! `erased_pack` until they are gone: erasing again, or the next upkeep, goes on.

use super::collect::IdSet;
use super::space::{Needs, Owned, Tree};
use super::why::find_name;
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::{ChunkRow, Tx, View};
use crate::model::{ChunkId, ChunkRef, Ino, Moment, PackId};
use crate::sys::{Task, failpoint};
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
    /// Bytes that came free in the packs, less what moving the rest of them took.
    pub bytes_freed: u64,
    /// Packs that could not be removed yet, since something that is being written shows a part of them, or it was stopped.
    /// Upkeep removes them.
    pub packs_left: u64,
}

impl Volume {
    /// Erases the history of the name at `path` (from the drive's root), and of everything that is or was below it. What an
    /// earlier call left when it was interrupted goes as well; an error that there is nothing at `path` is one only if
    /// there was nothing of that either.
    pub fn erase_history(&self, path: &[u8], task: &dyn Task) -> Result<EraseReport> {
        self.check_writable()?;
        let _turn = self.upkeep.turn.lock();
        let earlier = self.finish_erasing(None, task)?;
        // A start after a power cut may go back to here, and reopens what ended since.
        let horizon = self.meta.last_moment();
        self.sync_all()?;
        let (tree, owned) = match self.meta.snapshot(|view| what_to_erase(view, path)) {
            Err(Error::NotFound) => return earlier.ok_or(Error::NotFound),
            found => found?,
        };
        let packs = self.packs_that_go(&owned)?;
        // From here on they go, whatever comes between.
        self.freeing_write(|tx| {
            packs.iter().try_for_each(|pack| tx.note_erased_pack(*pack))?;
            Ok(())
        })?;
        failpoint::hit("erase-before-rows");
        self.erase_rows(&tree, &owned, horizon)?;
        let erased = owned.ended.len() as u64;
        let report = self.finish_erasing(Some(erased), task)?.unwrap_or_default();
        Ok(EraseReport { erased, without_past: owned.living.len() as u64, ..report })
    }

    /// Takes off the disk what was erased and may still be there: so many inodes just now, or what an earlier call left, if
    /// anything (`None`: there was nothing).
    pub(super) fn finish_erasing(
        &self,
        inodes: Option<u64>,
        task: &dyn Task,
    ) -> Result<Option<EraseReport>> {
        let packs: HashSet<PackId> =
            self.meta.read(|view| view.erased_packs())?.into_iter().collect();
        if packs.is_empty() && inodes.is_none() {
            return Ok(None);
        }
        failpoint::hit("erase-before-chunks");
        // What stays must not be a difference to what went.
        let whole = self.store_whole(&self.differences_to_nothing(&packs)?, task)?;
        let bytes_freed = self.erase_chunks(&packs, task)?.saturating_sub(whole.bytes);
        let kept: HashSet<PackId> =
            self.ingest.packs().packs()?.iter().map(|pack| pack.id).collect();
        self.freeing_write(|tx| Ok(tx.note_erasure(inodes.unwrap_or(0), bytes_freed)?))?;
        self.sync_commits()?;
        // The log still has the rows as they were.
        failpoint::hit("erase-before-checkpoint");
        self.meta.checkpoint()?;
        failpoint::hit("erase-after-checkpoint");
        self.freeing_write(|tx| {
            packs.difference(&kept).try_for_each(|pack| tx.forget_erased_pack(*pack))?;
            Ok(())
        })?;
        let packs_left = packs.intersection(&kept).count() as u64;
        Ok(Some(EraseReport { bytes_freed, packs_left, ..EraseReport::default() }))
    }
}

fn what_to_erase(view: &View<'_>, path: &[u8]) -> Result<(Tree, Owned)> {
    let name = find_name(view, path)?.ok_or(Error::NotFound)?;
    let tree = Tree::below(view, name)?;
    let owned = tree.owned(view)?;
    Ok((tree, owned))
}

impl Volume {
    /// The packs of what nothing but the history that goes shows or needs; also those where it lay before it was stored
    /// elsewhere, or whole.
    fn packs_that_go(&self, owned: &Owned) -> Result<HashSet<PackId>> {
        let last = self.meta.last_chunk();
        let (mut packs, mut hashes) = (HashSet::new(), HashSet::new());
        self.meta.snapshot(|view| {
            let shown = Needs::of(view, owned, last)?;
            let needed = shown.clone().with_bases(view)?;
            let goes = |chunk| {
                shown.goes_with_history(chunk)
                    || needed.goes_with_history(chunk)
                    || shown.is_hidden_base(&needed, chunk)
            };
            view.each_chunk(&mut |row: ChunkRow| -> Result<()> {
                if let Some(chunk) = row.chunk.filter(|chunk| goes(chunk.id)) {
                    packs.insert(chunk.at.pack);
                    hashes.insert(chunk.hash);
                }
                Ok(())
            })
        })?;
        for pack in self.ingest.packs().packs()? {
            if hashes.is_empty() || packs.contains(&pack.id) {
                continue;
            }
            // One that can't be read tells nothing.
            let records = self.ingest.packs().records(pack.id).unwrap_or_default();
            if records.iter().any(|record| hashes.contains(&record.hash)) {
                packs.insert(pack.id);
            }
        }
        Ok(packs)
    }

    /// The chunks that are shown and are differences to a chunk in `packs` that isn't.
    fn differences_to_nothing(&self, packs: &HashSet<PackId>) -> Result<Vec<ChunkId>> {
        self.meta.snapshot(|view| {
            let named = IdSet::named(view, self.meta.last_chunk())?;
            let mut bases = HashSet::new();
            view.each_chunk(&mut |row: ChunkRow| -> Result<()> {
                let is_there = |chunk: &ChunkRef| packs.contains(&chunk.at.pack);
                bases.extend(row.chunk.filter(is_there).map(|chunk| chunk.id));
                Ok(())
            })?;
            let mut found = Vec::new();
            view.each_difference(&mut |chunk, base| {
                if named.contains(chunk) && !named.contains(base) && bases.contains(&base) {
                    found.push(chunk);
                }
            })?;
            Ok(found)
        })
    }

    /// Removes all rows, in an order in which the path leads to what is left, should it be interrupted.
    fn erase_rows(&self, tree: &Tree, owned: &Owned, horizon: Moment) -> Result<()> {
        let inodes = owned.ended.iter().chain(&owned.living).copied();
        let files: Vec<Ino> = inodes.filter(|ino| !tree.folders.contains(ino)).collect();
        for batch in files.chunks(INODES_PER_COMMIT) {
            self.freeing_write(|tx| {
                batch.iter().try_for_each(|ino| erase_inode(tx, *ino, horizon))
            })?;
            failpoint::hit("erase-after-files");
        }
        let folders: Vec<Ino> = tree.folders_found.iter().rev().copied().collect();
        for batch in folders.chunks(INODES_PER_COMMIT) {
            self.freeing_write(|tx| {
                for folder in batch {
                    tx.drop_lost_names_in(*folder, horizon)?;
                    if owned.ended.contains(folder) {
                        erase_inode(tx, *folder, horizon)?;
                    }
                }
                Ok(())
            })?;
            failpoint::hit("erase-after-folders");
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

    /// Takes what nothing names any more off the disk. Answers how many bytes came free. Packs may stay: because something
    /// that is being written shows a part of them, or because it was stopped.
    fn erase_chunks(&self, packs: &HashSet<PackId>, task: &dyn Task) -> Result<u64> {
        self.collect(Duration::ZERO, task)?;
        failpoint::hit("erase-before-packs");
        self.ingest.packs().begin_pack()?;
        // Not what is there only because something can't be stored whole yet: the pack stays as well then.
        let last = self.meta.last_chunk();
        let named = self.meta.snapshot(|view| IdSet::named(view, last))?;
        let moved = self.empty_packs(packs, &|chunk| named.contains(chunk), task)?;
        failpoint::hit("erase-emptied-packs");
        let freed = self.remove_packs(task)?;
        failpoint::hit("erase-removed-packs");
        Ok(freed.bytes.saturating_sub(moved.bytes))
    }
}

fn erase_inode(tx: &Tx<'_>, ino: Ino, horizon: Moment) -> Result<()> {
    tx.drop_history(ino, horizon, &[])?;
    tx.drop_lost_names_of(ino, horizon)?;
    Ok(())
}
