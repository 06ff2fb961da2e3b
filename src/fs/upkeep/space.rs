//! What would come free: exactly, by looking at everything that names a chunk.

use super::collect::IdSet;
use super::rebase::last_differences;
use super::retention::Name;
use super::why::find_name;
use crate::chunks::{self, record_len};
use crate::fs::volume::Volume;
use crate::fs::{Error, Result};
use crate::meta::{ChunkRow, View};
use crate::model::{ChunkId, ChunkRef, FileKind, Ino, Moment};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// Names of one directory that are looked at in one query.
const NAMES_PER_QUERY: usize = 4096;

/// What a file or folder takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceReport {
    /// Bytes of the files that live there, as programs see them.
    pub logical_bytes: u64,
    /// Bytes in the packs that come free if it goes with its history.
    pub freed_bytes: u64,
    /// Bytes in the packs that come free if only its history goes: earlier versions, and what was deleted in it.
    pub history_bytes: u64,
}

impl Volume {
    /// What would come free without the file or folder at `path`, or without its history; `path` is from the drive's root,
    /// and may be one that is deleted. What is being written at this moment is not counted. Looks at all that the store
    /// holds.
    pub fn space_of(&self, path: &[u8]) -> Result<SpaceReport> {
        let last = self.meta.last_chunk();
        let (mut report, rebased) = self.meta.snapshot(|view| {
            let name = find_name(view, path)?.ok_or(Error::NotFound)?;
            let tree = Tree::below(view, name)?;
            let owned = tree.owned(view)?;
            let shown = Needs::of(view, &owned, last)?;
            let needs = shown.clone().with_bases(view)?;
            let mut report =
                SpaceReport { logical_bytes: owned.logical_bytes, ..Default::default() };
            view.each_chunk(&mut |row: ChunkRow| -> Result<()> {
                let Some(chunk) = row.chunk else { return Ok(()) };
                let bytes = record_len(chunk.at.stored_len);
                report.freed_bytes += if needs.goes_with_all(chunk.id) { bytes } else { 0 };
                report.history_bytes += if needs.goes_with_history(chunk.id) { bytes } else { 0 };
                Ok(())
            })?;
            Ok::<_, Error>((report, Rebased::of(view, &shown, &needs)?))
        })?;
        report.freed_bytes += self.freed_by_storing_whole(&rebased.with_all)?;
        report.history_bytes += self.freed_by_storing_whole(&rebased.with_history)?;
        Ok(report)
    }

    /// What comes free when nothing is left of these bases but one difference each: that one grows, and the base goes.
    pub(super) fn freed_by_storing_whole(&self, last_ones: &[(ChunkRef, ChunkRef)]) -> Result<u64> {
        let mut freed = 0;
        for (base, chunk) in last_ones {
            let _places = self.ingest.hold_places();
            let whole = match self.ingest.whole_len(&self.meta, chunk) {
                // It can't be stored anew: it stays as it is.
                Err(Error::Chunks(chunks::Error::Damaged { .. })) => continue,
                whole => whole?,
            };
            let now = record_len(base.at.stored_len) + record_len(chunk.at.stored_len);
            freed += now - record_len(whole).min(now);
        }
        Ok(freed)
    }
}

/// Bases that nothing shows any more when a tree goes, with the one difference to each that stays.
struct Rebased {
    with_all: Vec<(ChunkRef, ChunkRef)>,
    with_history: Vec<(ChunkRef, ChunkRef)>,
}

impl Rebased {
    /// `shown`: by what each chunk is shown; `needs`: by what it is needed.
    fn of(view: &View<'_>, shown: &Needs, needs: &Needs) -> Result<Rebased> {
        let is_elsewhere = |chunk| shown.elsewhere.contains(chunk);
        let all = |chunk| needs.living.contains(chunk) || needs.history.contains(chunk);
        let history = |chunk| needs.history.contains(chunk);
        let stays = |chunk| shown.stays(chunk);
        Ok(Rebased {
            with_all: last_ones(view, &is_elsewhere, &all)?,
            with_history: last_ones(view, &stays, &history)?,
        })
    }
}

fn last_ones(
    view: &View<'_>,
    stays: &dyn Fn(ChunkId) -> bool,
    is_touched: &dyn Fn(ChunkId) -> bool,
) -> Result<Vec<(ChunkRef, ChunkRef)>> {
    let mut found = Vec::new();
    for (base, chunk) in last_differences(view, stays)? {
        if is_touched(base) {
            found.extend(view.chunk(base)?.zip(view.chunk(chunk)?));
        }
    }
    Ok(found)
}

/// Everything that a name led to, today or in the past.
pub(super) struct Tree {
    pub(super) top: Name,
    pub(super) folders: HashSet<Ino>,
    /// The same, each after one through which it is found.
    pub(super) folders_found: Vec<Ino>,
    /// How many living names each inode has in it.
    inodes: HashMap<Ino, u32>,
}

impl Tree {
    pub(super) fn below(view: &View<'_>, top: Name) -> Result<Tree> {
        let (inodes, folders_found) = (HashMap::new(), Vec::new());
        let mut tree = Tree { top, folders: HashSet::new(), folders_found, inodes };
        let mut folders = Vec::new();
        for period in view.name_periods(tree.top.0, &tree.top.1)? {
            *tree.inodes.entry(period.ino).or_default() += u32::from(period.until.is_none());
            folders.extend((period.kind == FileKind::Directory).then_some(period.ino));
        }
        while let Some(folder) = folders.pop() {
            if tree.folders.insert(folder) {
                tree.folders_found.push(folder);
                tree.take_in(view, folder, &mut folders)?;
            }
        }
        Ok(tree)
    }

    fn take_in(&mut self, view: &View<'_>, folder: Ino, folders: &mut Vec<Ino>) -> Result<()> {
        let mut after = 0;
        loop {
            let living = view.list(folder, after, NAMES_PER_QUERY)?;
            let Some(last) = living.last() else { break };
            after = last.slot;
            for name in living {
                *self.inodes.entry(name.ino).or_default() += 1;
                folders.extend((name.kind == FileKind::Directory).then_some(name.ino));
            }
        }
        for lost in view.lost_names(folder, Moment(i64::MAX), i64::MAX as usize)? {
            self.inodes.entry(lost.ino).or_default();
            folders.extend((lost.kind == FileKind::Directory).then_some(lost.ino));
        }
        Ok(())
    }

    /// The inodes to which no name outside leads or led.
    pub(super) fn owned(&self, view: &View<'_>) -> Result<Owned> {
        let mut owned = Owned::default();
        for (&ino, &names) in &self.inodes {
            let is_inside = |(parent, name): &Name| {
                self.folders.contains(parent) || (*parent == self.top.0 && *name == self.top.1)
            };
            if !view.lost_names_of(ino)?.iter().all(is_inside) {
                continue;
            }
            match view.inode(ino)? {
                None => drop(owned.ended.insert(ino)),
                Some(inode) if inode.attr.kind == FileKind::Directory => {}
                Some(inode) if inode.attr.nlink == names => {
                    owned.logical_bytes += inode.attr.size;
                    owned.living.insert(ino);
                }
                Some(_) => {}
            }
        }
        Ok(owned)
    }
}

/// The inodes that go with a tree.
#[derive(Default)]
pub(super) struct Owned {
    pub(super) living: HashSet<Ino>,
    pub(super) ended: HashSet<Ino>,
    logical_bytes: u64,
}

/// By what each chunk is needed.
#[derive(Clone)]
pub(super) struct Needs {
    /// By something elsewhere.
    elsewhere: IdSet,
    /// By what lives in the tree.
    living: IdSet,
    /// By the tree's history.
    history: IdSet,
}

impl Needs {
    /// Of all chunks up to `last`.
    pub(super) fn of(view: &View<'_>, owned: &Owned, last: ChunkId) -> Result<Needs> {
        let none = || IdSet::up_to(last);
        let mut needs = Needs { elsewhere: none(), living: none(), history: none() };
        view.each_naming(&mut |ino, chunk, is_past| needs.note(owned, ino, chunk, is_past))?;
        Ok(needs)
    }

    /// Together with what is needed to read those that are stored as differences.
    pub(super) fn with_bases(mut self, view: &View<'_>) -> Result<Needs> {
        view.each_difference(&mut |chunk, base| {
            for needed in [&mut self.elsewhere, &mut self.living, &mut self.history] {
                if needed.contains(chunk) {
                    needed.insert(base);
                }
            }
        })?;
        Ok(self)
    }

    /// Whether anything shows the chunk that stays when the history goes.
    pub(super) fn stays(&self, chunk: ChunkId) -> bool {
        self.elsewhere.contains(chunk) || self.living.contains(chunk)
    }

    /// Whether nothing shows the chunk, though `needed` says that something in the tree can't be read without it: what it held
    /// went before.
    pub(super) fn is_hidden_base(&self, needed: &Needs, chunk: ChunkId) -> bool {
        let is_shown = self.stays(chunk) || self.history.contains(chunk);
        !is_shown && (needed.living.contains(chunk) || needed.history.contains(chunk))
    }

    fn note(&mut self, owned: &Owned, ino: Ino, chunk: ChunkId, is_past: bool) {
        let by = match (owned.living.contains(&ino), owned.ended.contains(&ino)) {
            (false, false) => &mut self.elsewhere,
            (true, _) if !is_past => &mut self.living,
            _ => &mut self.history,
        };
        by.insert(chunk);
    }

    fn goes_with_all(&self, chunk: ChunkId) -> bool {
        let is_here = self.living.contains(chunk) || self.history.contains(chunk);
        is_here && !self.elsewhere.contains(chunk)
    }

    pub(super) fn goes_with_history(&self, chunk: ChunkId) -> bool {
        self.history.contains(chunk) && !self.stays(chunk)
    }
}
