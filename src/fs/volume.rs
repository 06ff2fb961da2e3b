//! The mounted store.

use super::commit::Saving;
use super::history::{ViewTable, is_view};
use super::ingest::Ingest;
use super::node::{HandleTable, Node, NodeTable, OpenFile};
use super::options::VolumeOptions;
use super::rules::Whereabouts;
use super::space::Space;
use super::sync::SyncState;
use super::told::Told;
use super::types::{Handle, OpenMode};
use super::upkeep::Upkeep;
use super::workers::Workers;
use super::{Error, Result};
use crate::chunks::{ChunkParams, Cutter};
use crate::crypt::Keyring;
use crate::meta::{Inode, Meta, Redo, Tx};
use crate::model::{Attr, FileKind, Ino};
use crate::sys::{Clock, StoreLock};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

/// A store that is open as a filesystem. Everything that an adapter (FUSE, a test, later HTTP) does
/// goes through here.
///
/// Order of locks: `tree`, then `Ingest::places`, then a node's state (two nodes: never at the same time), then the
/// metadata's writer. A lock is never taken while one further down is held. The node and handle tables and
/// `Ingest::pending` are leaves: taken under any other, with nothing taken under them. The turn to seal a
/// node ([`Sealing`](super::node::Sealing)) is waited for with `tree` held, so whoever has it never takes that.
pub struct Volume {
    pub(super) store: PathBuf,
    pub(super) options: VolumeOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) meta: Meta,
    pub(super) ingest: Ingest,
    pub(super) cutter: Cutter,
    pub(super) chunk_params: ChunkParams,
    /// Held by everything that changes names or attributes, and by what opens and closes inodes: so that a
    /// name's inode, and whether it is open, stay the same in the course of it.
    pub(super) tree: Mutex<()>,
    pub(super) nodes: NodeTable,
    pub(super) handles: HandleTable,
    pub(super) views: ViewTable,
    pub(super) whereabouts: Whereabouts,
    pub(super) space: Space,
    pub(super) sync_state: SyncState,
    pub(super) workers: Workers,
    pub(super) upkeep: Upkeep,
    /// The keys of an encrypted store.
    pub(super) keys: Option<Arc<Keyring>>,
    /// Pages of the metadata may still be sealed with an earlier master key.
    pub(super) old_pages: bool,
    /// Why no more writes are taken.
    pub(super) failure: OnceLock<String>,
    /// Who believes what the drive showed.
    pub(super) told: OnceLock<Arc<dyn Told>>,
    /// Dropped last: the store is ours until everything else is closed.
    pub(super) _lock: StoreLock,
}

impl Volume {
    /// Where the store is.
    pub fn store_path(&self) -> &Path {
        &self.store
    }

    /// Saves everything, makes it durable, and marks the store as stopped in order. The volume takes no
    /// more work afterwards; handles that are still open are closed as if their programs had died.
    pub fn close(&self) -> Result<()> {
        self.stop_timer();
        if self.options.read_only {
            return Ok(());
        }
        self.flush_atimes();
        let mut outcome = Ok(());
        for node in self.nodes.all() {
            outcome = outcome.and(self.guard_failure(self.save(&node, Saving::Stop)));
        }
        self.workers.stop();
        let synced = self.sync_commits();
        // A handle that outlives us must not write into a store that is marked as stopped in order.
        let _ = self.failure.set("the drive was stopped".into());
        outcome.and(synced).and_then(|()| self.finish())
    }

    /// Everything is on disk: what the next start must not doubt.
    fn finish(&self) -> Result<()> {
        let pending = self.ingest.pending();
        let durable = self.meta.last_chunk();
        // Before the metadata says so: chunks may lie in the packs that no commit names.
        self.ingest.packs().sync()?;
        let orphans_left = self.nodes.all().iter().any(|node| node.lock().inode.attr.nlink == 0);
        let recorded = self.meta.write(self.now(), |tx| -> Result<_> {
            tx.set_durable_chunk(durable)?;
            tx.set_clean(!orphans_left)?;
            self.ingest.record(tx, pending.iter())
        })?;
        self.ingest.settled(&recorded);
        self.ingest.packs().close()?;
        self.note_header();
        self.meta.sync()?;
        self.meta.close()?;
        Ok(())
    }

    /// Opens a file.
    pub fn open(&self, ino: Ino, how: OpenMode) -> Result<Handle> {
        if is_view(ino) {
            return self.open_view(ino, how);
        }
        if how.write || how.truncate {
            self.check_writable()?;
        }
        let node = {
            let _tree = self.tree.lock();
            let inode = self.living_inode(ino)?;
            match inode.attr.kind {
                FileKind::File => {}
                FileKind::Directory => return Err(Error::IsDirectory),
                _ => return Err(Error::Invalid),
            }
            self.nodes.acquire(inode)
        };
        node.enter(&how);
        if how.truncate {
            node.lock().author = how.by;
            self.truncate_node(&node, 0);
        }
        Ok(self.handles.insert(OpenFile { node, how }))
    }

    /// Closes a handle. What nobody flushed is saved: a mapping may write after `close`, and a file that is
    /// open for reading only can be cut by its path.
    pub fn release(&self, handle: Handle) -> Result<()> {
        if is_view(Ino(handle.0)) {
            return Ok(());
        }
        let file = self.handles.remove(handle)?;
        let is_last = file.node.leave(&file.how);
        // Another one may have emptied it meanwhile, to write it anew: releases come late.
        let mut outcome = self.guard_failure(self.save(&file.node, Saving::LateClose));
        if is_last {
            outcome = outcome.and_then(|()| self.guard_failure(self.cut(&file.node)));
        }
        let _tree = self.tree.lock();
        self.release_node(&file.node).and(outcome)
    }

    /// Gives back a node; the last user of one without a name ends it. `tree` is held.
    pub(super) fn release_node(&self, node: &Node) -> Result<()> {
        if !self.nodes.is_last_user(node.ino) {
            self.nodes.release(node.ino);
            return Ok(());
        }
        let mut outcome = Ok(());
        let nlink = node.lock().inode.attr.nlink;
        if nlink == 0 && !self.options.read_only {
            self.forget_overlay(node);
            outcome = self.freeing_write(|tx| {
                tx.remove_orphan(node.ino)?;
                tx.end_inode(node.ino)?;
                Ok(())
            });
        } else {
            self.save_atime(node);
            // An error was told at flush; what could not be saved is lost with its last handle.
            self.forget_overlay(node);
        }
        self.nodes.release(node.ino);
        outcome
    }

    /// Drops what is not saved of a node that nobody can read any more.
    fn forget_overlay(&self, node: &Node) {
        let mut state = node.lock_unsealing();
        self.space.dirty_shrank(state.overlay.memory_bytes());
        state.overlay = Default::default();
        state.dirty_attr = false;
    }

    /// Views that somebody looked up and did not let go of.
    #[cfg(test)]
    pub fn views_known(&self) -> usize {
        self.views.len()
    }

    /// Runs `work` on the node of a file as if it were open for its duration.
    pub(super) fn with_node<T>(
        &self,
        inode: Inode,
        work: impl FnOnce(&Node) -> Result<T>,
    ) -> Result<T> {
        let node = self.nodes.acquire(inode);
        let outcome = work(&node);
        self.release_node(&node)?;
        outcome
    }

    /// The inode, be it open, closed, or ended but still known to the kernel.
    pub(super) fn inode(&self, ino: Ino) -> Result<Inode> {
        if let Some(inode) = self.open_inode(ino) {
            return Ok(inode);
        }
        if let Some(inode) = self.meta.read(|view| view.inode(ino))? {
            return Ok(inode);
        }
        let ended = self.meta.read(|view| view.ended_inode(ino))?;
        let mut inode = ended.ok_or(Error::NotFound)?;
        inode.attr.nlink = 0;
        Ok(inode)
    }

    /// The inode as open handles show it, if there are any.
    pub(super) fn open_inode(&self, ino: Ino) -> Option<Inode> {
        self.nodes.get(ino).map(|node| node.lock().shown())
    }

    /// The inode, unless it has ended.
    pub(super) fn living_inode(&self, ino: Ino) -> Result<Inode> {
        if let Some(inode) = self.open_inode(ino) {
            return Ok(inode);
        }
        self.meta.read(|view| view.inode(ino))?.ok_or(Error::NotFound)
    }

    /// The files that somebody has open, or that are being worked on at this moment.
    pub fn open_files(&self) -> Vec<Ino> {
        self.nodes.all().iter().map(|node| node.ino).collect()
    }

    /// The attributes of an inode.
    pub fn getattr(&self, ino: Ino) -> Result<Attr> {
        match is_view(ino) {
            true => self.view_attr(ino),
            false => self.inode(ino).map(|inode| inode.attr),
        }
    }

    /// Whether the attributes of an inode stay as they are until somebody changes them. They don't while
    /// written content waits to be saved: only then it is known how much space it takes.
    pub fn is_settled(&self, ino: Ino) -> bool {
        match is_view(ino) {
            true => self.is_view_settled(ino),
            false => self.nodes.get(ino).is_none_or(|node| node.lock().overlay.is_empty()),
        }
    }

    /// A transaction that may not fail for want of room: it frees some, or saves what was accepted. The
    /// reserve is given up for it. `work` may run twice.
    pub(super) fn freeing_write<T>(&self, work: impl Fn(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.check_writable()?;
        let outcome = match self.meta.write(self.now(), &work) {
            Err(Error::NoSpace) if self.space.release_reserve() => {
                self.meta.write(self.now(), &work)
            }
            outcome => outcome,
        };
        let value = self.guard_failure(outcome)?;
        self.sync_state.note_commit();
        Ok(value)
    }

    /// A transaction that changes names or attributes.
    pub(super) fn write_meta<T>(&self, work: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.check_writable()?;
        let outcome = self.guard_failure(self.meta.write(self.now(), work))?;
        self.sync_state.note_commit();
        Ok(outcome)
    }

    /// A transaction that is committed with the next one: see [`Meta::write_deferred`].
    pub(super) fn write_meta_deferred<T>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<(T, Redo)>,
    ) -> Result<T> {
        self.check_writable()?;
        let outcome = self.guard_failure(self.meta.write_deferred(self.now(), work))?;
        self.sync_state.note_commit();
        Ok(outcome)
    }

    /// From here on a killed daemon loses nothing that was acknowledged. What was deferred was accepted:
    /// the reserve is given up for it.
    pub(super) fn commit_deferred(&self) -> Result<()> {
        let outcome = match self.meta.commit_deferred().map_err(Error::from) {
            Err(Error::NoSpace) if self.space.release_reserve() => {
                self.meta.commit_deferred().map_err(Error::from)
            }
            outcome => outcome,
        };
        self.guard_failure(outcome)
    }

    /// Nothing in a view can be changed, nor can anything be moved into one or out of it.
    pub(super) fn check_no_view(&self, inodes: &[Ino]) -> Result<()> {
        match inodes.iter().any(|ino| is_view(*ino)) {
            true => Err(Error::ReadOnly),
            false => Ok(()),
        }
    }

    pub(super) fn check_writable(&self) -> Result<()> {
        match self.options.read_only {
            true => Err(Error::ReadOnly),
            false => self.check_failure(),
        }
    }

    /// The inode for a message: its path where it has one.
    pub(super) fn describe(&self, ino: Ino) -> String {
        if self.keys.is_some() {
            return format!("inode {ino} (`verso check` names it)");
        }
        match self.meta.read(|view| view.path_of(ino)) {
            Ok(Some(path)) => format!("/{}", String::from_utf8_lossy(&path)),
            _ => format!("inode {ino}"),
        }
    }
}

impl std::fmt::Debug for Volume {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volume").field("store", &self.store).finish_non_exhaustive()
    }
}
