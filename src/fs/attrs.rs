//! Attributes: mode, owner, size and times.

use super::commit::Saving;
use super::node::{Node, NodeState, same_slot};
use super::options::AtimeMode;
use super::types::{SetAttr, SetTime, StatFs};
use super::volume::Volume;
use super::{Error, Result};
use crate::meta::{Inode, Tx};
use crate::model::{ACL_ACCESS, Attr, FileKind, Ino, Mode, Timestamp};
use crate::sys;

/// The largest size of a file: the kernel's limit.
const FILE_BYTES_MAX: u64 = i64::MAX as u64;
/// With relatime, the last read is noted at least this often.
const RELATIME_NANOS: i64 = 86_400_000_000_000;
/// What `statfs` says about how many inodes there can be: as many as there is room for.
const BYTES_PER_INODE: u64 = 1024;

impl Volume {
    /// Changes attributes; a change of the size is saved at the file's next flush, or at once where nobody has it open.
    pub fn setattr(&self, ino: Ino, change: &SetAttr) -> Result<Attr> {
        self.check_no_view(&[ino])?;
        self.check_writable()?;
        let _tree = self.tree.lock();
        let inode = self.living_inode(ino)?;
        if let Some(size) = change.size {
            self.set_size(inode, size, change.by)?;
        }
        // Cutting a file stamps it already. The kernel asks for it with each open that empties one.
        let is_stamped = change.size.is_some() && change.mtime == Some(SetTime::Now);
        let mtime = if is_stamped { None } else { change.mtime };
        let mut others = SetAttr { size: None, by: None, mtime, drop_privileges: false, ..*change };
        if change.drop_privileges && inode.attr.kind != FileKind::Directory {
            others.mode = others.mode.or_else(|| unprivileged(inode.attr.mode));
        }
        if others != SetAttr::default() {
            self.set_attributes(ino, &others)?;
        }
        Ok(self.living_inode(ino)?.attr)
    }

    /// Takes from a file what it may not keep when an ordinary user changes its content: set-user-id, and
    /// set-group-id where the group may execute. Answers whether there was any. To be called before the
    /// content changes, so that nothing shows the new content with the old privileges.
    pub fn drop_privileges(&self, ino: Ino) -> Result<bool> {
        self.check_no_view(&[ino])?;
        let open = self.nodes.get(ino);
        if open.is_some_and(|node| unprivileged(node.lock().inode.attr.mode).is_none()) {
            return Ok(false);
        }
        self.check_writable()?;
        let _tree = self.tree.lock();
        let Some(mode) = unprivileged(self.living_inode(ino)?.attr.mode) else {
            return Ok(false);
        };
        self.set_attributes(ino, &SetAttr { mode: Some(mode), ..SetAttr::default() })?;
        Ok(true)
    }

    fn set_size(&self, inode: Inode, size: u64, by: Option<u32>) -> Result<()> {
        match inode.attr.kind {
            FileKind::File => {}
            FileKind::Directory => return Err(Error::IsDirectory),
            _ => return Err(Error::Invalid),
        }
        if size > FILE_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        self.with_node(inode, |node| {
            if let Some(by) = by {
                node.lock().author = by;
            }
            self.truncate_node(node, size);
            // Where somebody has it open to write, that one saves it.
            let writers = node.lock().writers;
            match writers {
                0 => self.guard_failure(self.save(node, Saving::LateClose)),
                _ => Ok(()),
            }
        })
    }

    /// Cuts or extends an open file.
    pub(super) fn truncate_node(&self, node: &Node, size: u64) {
        let mut state = node.lock();
        if size < state.size() {
            let before = state.overlay.memory_bytes();
            state.overlay.truncate(size);
            self.space.dirty_changed(before, state.overlay.memory_bytes());
            if size == 0 {
                state.rewriting_since.get_or_insert(self.now());
            }
        }
        state.inode.attr.size = size;
        self.stamp(&mut state);
    }

    /// The content of an open file changed now.
    pub(super) fn stamp(&self, state: &mut NodeState) {
        let now = self.now();
        state.inode.attr.mtime = now;
        state.inode.attr.ctime = now;
        state.dirty_attr = true;
    }

    /// `tree` is held.
    fn set_attributes(&self, ino: Ino, change: &SetAttr) -> Result<()> {
        let node = self.nodes.get(ino);
        let mut state = node.as_ref().map(|node| node.lock());
        let slot_nanos = self.options.coalesce.as_nanos() as i64;
        let after = self.write_meta(|tx| {
            let committed = tx.inode(ino)?.ok_or(Error::NotFound)?;
            let mut after = state.as_ref().map_or(committed, |state| state.inode);
            self.apply(tx, &mut after.attr, change)?;
            let is_dirty = state.as_ref().is_some_and(|state| state.is_dirty());
            let row = beside_saved_content(&after.attr, &committed.attr, is_dirty);
            // An access list changes with the mode, and each only means something with the other.
            let has_acl = change.mode.is_some() && tx.xattr(ino, ACL_ACCESS)?.is_some();
            let coalesces = !has_acl && same_slot(committed.since, tx.moment, slot_nanos);
            if changes_only_atime(change) || coalesces {
                tx.touch_inode(&row)?;
            } else {
                tx.change_inode(&row)?;
                after.since = tx.moment;
            }
            Ok(after)
        })?;
        if let Some(state) = &mut state {
            state.inode = after;
        }
        Ok(())
    }

    fn apply(&self, tx: &Tx<'_>, attr: &mut Attr, change: &SetAttr) -> Result<()> {
        let now = self.now();
        let time = |set: SetTime| match set {
            SetTime::Now => now,
            SetTime::At(time) => time,
        };
        if let Some(mode) = change.mode {
            attr.mode = Mode::new(mode);
            self.chmod_acl(tx, attr.ino, mode)?;
        }
        attr.uid = change.uid.unwrap_or(attr.uid);
        attr.gid = change.gid.unwrap_or(attr.gid);
        attr.atime = change.atime.map_or(attr.atime, time);
        attr.mtime = change.mtime.map_or(attr.mtime, time);
        attr.ctime = now;
        Ok(())
    }

    /// A file is read: its time of the last read may be due.
    pub(super) fn note_read(&self, node: &Node) {
        if self.options.read_only || self.options.atime == AtimeMode::Noatime {
            return;
        }
        let mut state = node.lock();
        let Attr { atime, mtime, ctime, .. } = state.inode.attr;
        if atime > mtime && atime > ctime {
            let now = self.now();
            if now.0.saturating_sub(atime.0) < RELATIME_NANOS {
                return;
            }
        }
        state.inode.attr.atime = self.now();
        state.atime_changed = true;
    }

    /// Writes a changed time of the last read. It is no change worth an error.
    pub(super) fn save_atime(&self, node: &Node) {
        let mut state = node.lock();
        if !std::mem::take(&mut state.atime_changed) {
            return;
        }
        let atime: Timestamp = state.inode.attr.atime;
        if let Err(error) = self.write_meta(|tx| Ok(tx.set_atime(node.ino, atime)?)) {
            log::debug!("the last read of inode {} is not noted: {error}", node.ino);
        }
    }

    /// Writes the changed times of last reads of all open files.
    pub(super) fn flush_atimes(&self) {
        for node in self.nodes.all() {
            self.save_atime(&node);
        }
    }

    /// What `statfs` tells: the disk under the store, the reserve taken off.
    pub fn statfs(&self) -> Result<StatFs> {
        let space = sys::disk_space(&self.store).map_err(|source| {
            Error::Meta(crate::meta::Error::Io { path: self.store.clone(), source })
        })?;
        let spoken_for = self.space.spoken_for();
        let files_free = space.available / BYTES_PER_INODE;
        let used = self.meta.read(|view| view.inode_estimate())?;
        Ok(StatFs {
            total: space.total,
            free: space.free.saturating_sub(spoken_for),
            available: space.available.saturating_sub(spoken_for),
            files: used + files_free,
            files_free,
        })
    }
}

/// What is written of attributes at once. The time of a content that is not saved yet is saved with it: until then
/// the metadata has the old content, which would otherwise go down in history with the time of the new one.
pub(super) fn beside_saved_content(attr: &Attr, committed: &Attr, is_dirty: bool) -> Attr {
    Attr { mtime: if is_dirty { committed.mtime } else { attr.mtime }, ..*attr }
}

/// The mode without its privileges, where it has any.
fn unprivileged(mode: Mode) -> Option<u32> {
    let without = mode.without_privileges();
    (without != mode).then_some(u32::from(without.bits()))
}

fn changes_only_atime(change: &SetAttr) -> bool {
    SetAttr { atime: None, ..*change } == SetAttr::default()
}
