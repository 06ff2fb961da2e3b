//! Bringing back what was deleted: moving it out of `@deleted`.
//!
//! An inode that ended keeps its number, its extents, attributes and target, so it lives again by a new row and a
//! new name, both from now on; what ended stays ended, and in between it was not there. No content is copied,
//! and the history goes on, of a folder also that of everything in it.

use super::deleted::last_whole;
use super::table::{ViewNode, What};
use crate::fs::names::{LinkChange, Place, check_replaceable};
use crate::fs::types::RenameMode;
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::{Dentry, Inode, Period, Saved, Tx, View};
use crate::model::{Cause, FileKind, Ino, Mode, Moment, Timestamp};
use std::collections::{BTreeMap, VecDeque};

/// Names that are brought back in one transaction.
const NAMES_MAX: usize = 10_000;
/// Names that are asked of the metadata in one query.
const BATCH: usize = 256;
/// Room on the disk that making a name asks for.
const NAME_ROOM_BYTES: u64 = 4096;

/// A folder or file of the past that is to live again.
struct Tree {
    /// The inodes and what they were.
    inodes: BTreeMap<Ino, Again>,
    /// All names but that of the topmost one: directory, name, inode.
    names: Vec<(Ino, Dentry)>,
}

/// An inode that is to live again.
struct Again {
    inode: Inode,
    /// Names that it gets.
    names: u32,
    subdirectories: u32,
}

impl Volume {
    /// Moves a name out of a view. Only what `@deleted` lists can be moved.
    ///
    /// # Errors
    /// [`Error::CrossDevice`] where it must be copied, which is what programs do when they are told so: what is a part of
    /// something deleted, what was changed after the moment that is shown, or is open or has another name
    /// still, and more than [`NAMES_MAX`] names.
    pub(in crate::fs) fn move_out_of_view(
        &self,
        (view, name): (Ino, &[u8]),
        to: Place<'_>,
        mode: RenameMode,
    ) -> Result<()> {
        let node = self.views.get(view)?;
        let What::Deleted { dir } = &node.what else { return Err(refusal(&node)) };
        if mode == RenameMode::Exchange {
            return Err(Error::Invalid);
        }
        self.check_writable()?;
        self.space.reserve(NAME_ROOM_BYTES)?;
        let _tree = self.tree.lock();
        let period = self.meta.read(|view| self.deleted_name(view, *dir, name))?;
        let ended = period.until.ok_or(Error::NotFound)?;
        let at = match period.kind {
            FileKind::Directory => {
                self.meta.snapshot(|view| last_whole(view, period.ino, ended))?
            }
            _ => Moment(ended.0 - 1),
        };
        let now = self.now();
        let changes = self.write_meta(|tx| {
            // Within the transaction: retention goes on meanwhile.
            let tree = Tree::of(self, tx, &period, at)?;
            let changes = replace_target(self, tx, now, (&to, period.kind), mode)?;
            tree.write(tx, now, period.ino, &to)?;
            Ok(changes)
        })?;
        self.tell_nodes(&changes);
        Ok(())
    }
}

/// What nobody can move is read-only; what was deleted with its folder can at least be copied.
fn refusal(node: &ViewNode) -> Error {
    match &node.what {
        What::Past(past) if past.is_in_deleted => Error::CrossDevice,
        _ => Error::ReadOnly,
    }
}

/// Takes away what is in the way of something new of this kind, as far as `mode` allows it.
fn replace_target(
    volume: &Volume,
    tx: &Tx<'_>,
    now: Timestamp,
    (place, kind): (&Place<'_>, FileKind),
    mode: RenameMode,
) -> Result<Vec<LinkChange>> {
    tx.inode(place.parent)?.ok_or(Error::NotFound)?;
    let Some(target) = tx.dentry(place.parent, place.name)? else { return Ok(Vec::new()) };
    if mode == RenameMode::NoReplace {
        return Err(Error::Exists);
    }
    check_replaceable(tx, kind == FileKind::Directory, &target)?;
    tx.remove_dentry(place.parent, &target)?;
    let was_directory = target.kind == FileKind::Directory;
    tx.touch_directory(place.parent, now, -i32::from(was_directory))?;
    Ok(vec![volume.drop_link(tx, target.ino, now)?])
}

impl Tree {
    fn of(volume: &Volume, view: &View<'_>, period: &Period, at: Moment) -> Result<Tree> {
        let mut tree = Tree { inodes: BTreeMap::new(), names: Vec::new() };
        tree.add(view, period.ino, at)?;
        let mut directories = VecDeque::new();
        if period.kind == FileKind::Directory {
            directories.push_back(period.ino);
        }
        while let Some(directory) = directories.pop_front() {
            for dentry in tree.add_names(volume, view, directory, at)? {
                if dentry.kind == FileKind::Directory {
                    directories.push_back(dentry.ino);
                }
                tree.add(view, dentry.ino, at)?;
                tree.names.push((directory, dentry));
            }
        }
        Ok(tree)
    }

    /// The names that a view of the directory shows.
    fn add_names(
        &mut self,
        volume: &Volume,
        view: &View<'_>,
        directory: Ino,
        at: Moment,
    ) -> Result<Vec<Dentry>> {
        let (mut found, mut after) = (Vec::new(), 0);
        let known = volume.known_at(view, directory, at)?;
        loop {
            let batch = view.list_at(directory, at, after, BATCH)?;
            let is_last = batch.len() < BATCH;
            after = batch.last().map_or(after, |dentry| dentry.slot);
            for dentry in batch {
                let is_shown = known.shows(&dentry)?;
                found.extend(is_shown.then_some(dentry));
            }
            if self.names.len() + found.len() >= NAMES_MAX {
                return Err(Error::CrossDevice);
            }
            if is_last {
                break;
            }
        }
        let is_directory = |dentry: &&Dentry| dentry.kind == FileKind::Directory;
        let subdirectories = found.iter().filter(is_directory).count() as u32;
        if let Some(again) = self.inodes.get_mut(&directory) {
            again.subdirectories = subdirectories;
        }
        Ok(found)
    }

    /// Counts a name of the inode, which must be as it was at `at` when it ended.
    fn add(&mut self, view: &View<'_>, ino: Ino, at: Moment) -> Result<()> {
        if let Some(again) = self.inodes.get_mut(&ino) {
            again.names += 1;
            return Ok(());
        }
        let inode = view.inode_at(ino, at)?.ok_or(Error::NotFound)?;
        let is_empty_yet = inode.attr.kind == FileKind::File && inode.content_since > at;
        if is_empty_yet || view.inode(ino)?.is_some() || view.has_changed_since(ino, at)? {
            return Err(Error::CrossDevice);
        }
        self.inodes.insert(ino, Again { inode, names: 1, subdirectories: 0 });
        Ok(())
    }

    fn write(&self, tx: &Tx<'_>, now: Timestamp, top: Ino, to: &Place<'_>) -> Result<()> {
        let inside = self.names.iter();
        let inside = inside.map(|(parent, dentry)| (*parent, &dentry.name[..], dentry.ino));
        let mut begun = BTreeMap::new();
        for (parent, name, ino) in [(to.parent, to.name, top)].into_iter().chain(inside) {
            let again = &self.inodes[&ino];
            let attr = match begun.get(&ino) {
                Some(attr) => *attr,
                None => {
                    let last = tx.last_number(parent, name)?;
                    let inode = again.begin(now, parent, last);
                    tx.begin_inode_again(&inode)?;
                    begun.insert(ino, inode.attr);
                    inode.attr
                }
            };
            tx.add_dentry(parent, name, &attr)?;
        }
        let is_directory = self.inodes[&top].inode.attr.kind == FileKind::Directory;
        Ok(tx.touch_directory(to.parent, now, i32::from(is_directory))?)
    }
}

impl Again {
    /// What it is from now on. `last_number`: of the last content that its name showed.
    fn begin(&self, now: Timestamp, parent: Ino, last_number: u64) -> Inode {
        let Inode { mut attr, saved, .. } = self.inode;
        attr.ctime = now;
        attr.nlink = self.names;
        match attr.kind {
            FileKind::Directory => attr.nlink = 2 + self.subdirectories,
            // As in every view: who brings a program back need not be who gave it these.
            _ => attr.mode = Mode::new(u32::from(attr.mode.bits() & 0o1777)),
        }
        let saved = match attr.kind {
            FileKind::File => Saved {
                number: saved.number.max(last_number) + 1,
                cause: Cause::Restore,
                is_cut: true,
                ..saved
            },
            _ => saved,
        };
        Inode { attr, parent, saved, ..self.inode }
    }
}
