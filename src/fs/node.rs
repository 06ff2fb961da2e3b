//! Open inodes and the handles to them.

use super::overlay::Overlay;
use super::trail::Trail;
use super::types::{Handle, OpenMode};
use super::{Error, Result};
use crate::meta::{Inode, Saved};
use crate::model::{Cause, FileKind, Ino, Moment, Timestamp};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What is written for longer without being closed makes a version each time this has passed.
const VERSION_AGE_MAX: Duration = Duration::from_secs(300);

/// What is known of an open inode. For a file with an overlay, size and times are ahead of the
/// metadata; everything else of `inode` is a copy of the committed row.
#[derive(Debug)]
pub(super) struct NodeState {
    pub(super) inode: Inode,
    /// What is not committed yet.
    pub(super) overlay: Overlay,
    /// `inode.attr.size` as committed; `inode.attr.allocated` is the committed one already.
    pub(super) committed_size: u64,
    /// Size or times are ahead of the metadata.
    pub(super) dirty_attr: bool,
    /// The last read is newer than the metadata knows.
    pub(super) atime_changed: bool,
    /// Somebody seals a part of the overlay, or a worker is about to: see [`Sealing`].
    pub(super) sealing: bool,
    /// What was there before, where the file was sealed last; taken by who seals it.
    pub(super) trail: Option<Trail>,
    /// So many wait for writers to pause: see [`Node::hold_writers`].
    writers_held: u32,
    /// Set when the whole content was thrown away to be written anew, at the time given: until it is
    /// saved by close or fsync, the store keeps the old one.
    pub(super) rewriting_since: Option<Timestamp>,
    /// The user id of who wrote last.
    pub(super) author: u32,
    /// Why its next version is made, where somebody said so.
    pub(super) cause: Option<Cause>,
    /// Handles that may write.
    pub(super) writers: u32,
    /// Since when there is a committed content that no writer has closed.
    pub(super) uncut_since: Option<Timestamp>,
    /// An error of writing out in the background, to be told at the next write, fsync or close.
    pub(super) deferred_error: Option<i32>,
}

impl NodeState {
    /// Whether something waits to be committed.
    pub(super) fn is_dirty(&self) -> bool {
        self.dirty_attr || !self.overlay.is_empty()
    }

    /// The inode as `stat` shows it: what is not saved counts as space too, or programs that look for
    /// holes (tar) would take a file without blocks for empty. Until it is saved, parts may count twice.
    pub(super) fn shown(&self) -> Inode {
        let mut inode = self.inode;
        if !self.overlay.is_empty() {
            let attr = &mut inode.attr;
            let base = attr.allocated.min(self.overlay.base_end());
            attr.allocated = base.saturating_add(self.overlay.data_bytes()).min(attr.size);
        }
        inode
    }

    /// Whether a close of one of its handles makes a version. Not where a file was emptied and nothing has been
    /// written to it yet: a shell closes its first descriptor of `> FILE` before it starts the program. Should
    /// that have been all, the last handle's end makes it one.
    pub(super) fn is_done(&self) -> bool {
        let is_emptied = self.rewriting_since.is_some() && self.size() == 0;
        self.writers == 1 && !is_emptied
    }

    /// Whether this has been written to for so long that what is saved now is a version.
    pub(super) fn is_overdue(&self, now: Timestamp) -> bool {
        let age = |since: Timestamp| now.0.saturating_sub(since.0);
        self.uncut_since.is_some_and(|since| age(since) >= VERSION_AGE_MAX.as_nanos() as i64)
    }

    /// Whether the committed content is a version although nobody closed it: its writer died with an earlier
    /// daemon, another user writes now, or it was thrown away to be written anew.
    pub(super) fn must_cut_before(&self) -> bool {
        let saved = &self.inode.saved;
        let is_over =
            self.uncut_since.is_none() || saved.author != self.author || self.is_thrown_away();
        !saved.is_cut && is_over
    }

    /// Whether the committed content was thrown away to be written anew.
    fn is_thrown_away(&self) -> bool {
        self.rewriting_since.is_some() && self.committed_size > 0
    }

    /// What is to be recorded of the next content. `digest`: by how much it changes.
    pub(super) fn next_saved(&self, is_cut: bool, digest: u64) -> Saved {
        let saved = &self.inode.saved;
        let is_next = saved.is_cut || self.must_cut_before();
        let cause = if self.is_thrown_away() { Cause::Rewrite } else { Cause::Save };
        Saved {
            number: saved.number + u64::from(is_next),
            author: self.author,
            cause: self.cause.unwrap_or(if is_next { cause } else { saved.cause }),
            is_cut,
            digest: saved.digest.wrapping_add(digest),
        }
    }

    /// The size as the store has it, where nothing says otherwise.
    pub(super) fn size(&self) -> u64 {
        self.inode.attr.size
    }
}

/// An open inode.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) ino: Ino,
    pub(super) kind: FileKind,
    /// Held for moments only: never while chunks are read or sealed.
    state: Mutex<NodeState>,
    /// Told when `sealing` ends, and when writers are let go.
    sealed: Condvar,
}

impl Node {
    fn new(inode: Inode) -> Node {
        Node {
            ino: inode.attr.ino,
            kind: inode.attr.kind,
            state: Mutex::new(NodeState {
                inode,
                overlay: Overlay::default(),
                committed_size: inode.attr.size,
                dirty_attr: false,
                atime_changed: false,
                sealing: false,
                trail: None,
                writers_held: 0,
                rewriting_since: None,
                author: inode.attr.uid,
                cause: None,
                writers: 0,
                uncut_since: None,
                deferred_error: None,
            }),
            sealed: Condvar::new(),
        }
    }

    /// Somebody opened it.
    pub(super) fn enter(&self, how: &OpenMode) {
        self.lock().writers += u32::from(how.write);
    }

    /// Somebody closes it; whether that was the last who could write.
    pub(super) fn leave(&self, how: &OpenMode) -> bool {
        let mut state = self.lock();
        state.writers -= u32::from(how.write);
        state.writers == 0
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, NodeState> {
        self.state.lock()
    }

    /// Waits until nobody seals a part of this node.
    pub(super) fn lock_unsealing(&self) -> MutexGuard<'_, NodeState> {
        let mut state = self.state.lock();
        while state.sealing {
            self.sealed.wait(&mut state);
        }
        state
    }

    /// For those who bring new bytes: waits while writers are held.
    pub(super) fn lock_for_writing(&self) -> MutexGuard<'_, NodeState> {
        let mut state = self.state.lock();
        while state.writers_held > 0 {
            self.sealed.wait(&mut state);
        }
        state
    }

    /// Makes writers wait until the result is dropped.
    pub(super) fn hold_writers(&self) -> WritersHeld<'_> {
        self.lock().writers_held += 1;
        WritersHeld(self)
    }

    /// Takes the turn to seal, as soon as nobody else has it.
    pub(super) fn begin_sealing(&self) -> Sealing<'_> {
        self.lock_unsealing().sealing = true;
        Sealing(self)
    }
}

/// While it lives, nothing is written to the node.
pub(super) struct WritersHeld<'a>(&'a Node);

impl Drop for WritersHeld<'_> {
    fn drop(&mut self) {
        self.0.lock().writers_held -= 1;
        self.0.sealed.notify_all();
    }
}

/// The turn to seal a node. Until it is dropped nobody else seals the node, commits it, or gives it up. Only
/// one may bring what lies beside a write into memory: a second one would lay it over what the first
/// one, or whoever opens the file next, committed since.
pub(super) struct Sealing<'a>(&'a Node);

impl<'a> Sealing<'a> {
    /// The turn that was taken for a worker by setting `NodeState::sealing`.
    pub(super) fn taken(node: &'a Node) -> Sealing<'a> {
        Sealing(node)
    }
}

impl Drop for Sealing<'_> {
    fn drop(&mut self) {
        self.0.lock().sealing = false;
        self.0.sealed.notify_all();
    }
}

#[derive(Debug)]
struct Entry {
    node: Arc<Node>,
    users: u32,
}

/// The open inodes.
#[derive(Debug, Default)]
pub(super) struct NodeTable {
    /// Guards the map only. Nodes are added and removed under the volume's `tree` lock, so that
    /// whether one is open doesn't change while its names do.
    entries: Mutex<HashMap<Ino, Entry>>,
}

impl NodeTable {
    pub(super) fn get(&self, ino: Ino) -> Option<Arc<Node>> {
        self.entries.lock().get(&ino).map(|entry| Arc::clone(&entry.node))
    }

    /// The node of `inode`, which is made if it isn't open yet. `tree` is held.
    pub(super) fn acquire(&self, inode: Inode) -> Arc<Node> {
        let mut entries = self.entries.lock();
        let entry = entries
            .entry(inode.attr.ino)
            .or_insert_with(|| Entry { node: Arc::new(Node::new(inode)), users: 0 });
        entry.users += 1;
        Arc::clone(&entry.node)
    }

    /// Gives back what [`NodeTable::acquire`] gave; whether that was the last user. `tree` is held.
    pub(super) fn release(&self, ino: Ino) -> bool {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(&ino) else { return false };
        entry.users -= 1;
        let last = entry.users == 0;
        if last {
            entries.remove(&ino);
        }
        last
    }

    /// Whether [`NodeTable::release`] would give back the last one.
    pub(super) fn is_last_user(&self, ino: Ino) -> bool {
        self.entries.lock().get(&ino).is_some_and(|entry| entry.users == 1)
    }

    /// All open nodes.
    pub(super) fn all(&self) -> Vec<Arc<Node>> {
        self.entries.lock().values().map(|entry| Arc::clone(&entry.node)).collect()
    }
}

/// What a handle stands for.
#[derive(Debug)]
pub(super) struct OpenFile {
    pub(super) node: Arc<Node>,
    pub(super) how: OpenMode,
}

/// The handles that are open. Directories need no state: their handle is their inode number.
#[derive(Debug, Default)]
pub(super) struct HandleTable {
    next: AtomicU64,
    open: Mutex<HashMap<Handle, Arc<OpenFile>>>,
}

impl HandleTable {
    pub(super) fn insert(&self, file: OpenFile) -> Handle {
        let handle = Handle(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        self.open.lock().insert(handle, Arc::new(file));
        handle
    }

    pub(super) fn get(&self, handle: Handle) -> Result<Arc<OpenFile>> {
        self.open.lock().get(&handle).map(Arc::clone).ok_or(Error::BadHandle)
    }

    pub(super) fn remove(&self, handle: Handle) -> Result<Arc<OpenFile>> {
        self.open.lock().remove(&handle).ok_or(Error::BadHandle)
    }
}

/// Whether two moments lie in the same slot, within which states are coalesced.
pub(super) fn same_slot(a: Moment, b: Moment, slot_nanos: i64) -> bool {
    slot_nanos > 0 && a.0.div_euclid(slot_nanos) == b.0.div_euclid(slot_nanos)
}
