//! The files behind what was found, by name: people know files, not inodes and chunks.
//!
//! Names are not indexed by inode, so they are looked up for all findings together: one pass over
//! the names for each level of the tree.

use super::{Check, Problem, Shown};
use crate::fs::{Error, Result};
use crate::meta::{NameRow, Showing, View};
use crate::model::{ChunkId, Ino};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Names of one inode that are told.
const NAMES_MAX: usize = 16;
/// Files that are told for one chunk.
const FILES_OF_CHUNK_MAX: usize = 256;
/// Versions that are told for one file.
const VERSIONS_MAX: usize = 64;
/// Levels of directories that a path is followed through.
const DEPTH_MAX: usize = 256;

/// The names of some inodes: directory and name.
type Names = HashMap<u64, Vec<(u64, Vec<u8>)>>;

impl Check<'_> {
    /// Makes findings of the bad chunks, and gives every finding its paths.
    pub(super) fn name_files(&mut self) -> Result<()> {
        let volume = self.volume;
        let outcome = volume.meta.snapshot(|view| -> Result<()> {
            self.chunk_findings(view)?;
            self.resolve(view)
        });
        match outcome {
            // Already a finding: the paths are then not to be had.
            Err(Error::Meta(error)) => self.metadata_error(error),
            outcome => outcome,
        }
    }

    fn chunk_findings(&mut self, view: &View<'_>) -> Result<()> {
        let bad = std::mem::take(&mut self.bad_chunks);
        if bad.is_empty() {
            return Ok(());
        }
        let mut shown = files_of_chunks(view, &|chunk| bad.contains_key(&chunk).then_some(chunk))?;
        for (chunk, problem) in bad {
            // A save that was under way when the rows were read may have finished since.
            if let Problem::ChunkMissing { chunk } = problem
                && view.chunk(ChunkId(chunk))?.is_some()
            {
                continue;
            }
            self.found_at(problem, shown.remove(&chunk).unwrap_or_default());
        }
        Ok(())
    }

    fn resolve(&mut self, view: &View<'_>) -> Result<()> {
        let files = self.findings.iter_mut().flat_map(|finding| &mut finding.files);
        name_files(view, files.collect())
    }
}

/// The files that show some chunks, without their paths. `damaged`: the chunk to which what shows this one is counted, if
/// to any. Goes through all extents.
pub(in crate::fs) fn files_of_chunks(
    view: &View<'_>,
    damaged: &dyn Fn(ChunkId) -> Option<ChunkId>,
) -> Result<BTreeMap<ChunkId, Vec<Shown>>> {
    // For each file, live or past, the times in which it shows it.
    let mut found: BTreeMap<ChunkId, BTreeMap<(Ino, bool), Vec<Showing>>> = BTreeMap::new();
    view.each_showing(&mut |showing: Showing| {
        let Some(chunk) = damaged(showing.chunk) else { return };
        let files = found.entry(chunk).or_default();
        let file = (showing.ino, showing.lives);
        if files.contains_key(&file) || files.len() < FILES_OF_CHUNK_MAX {
            files.entry(file).or_default().push(showing);
        }
    })?;
    let mut told = BTreeMap::new();
    for (chunk, files) in found {
        let mut shown = Vec::with_capacity(files.len());
        for ((ino, is_live), times) in files {
            shown.push(Shown {
                versions: versions_in(view, ino, &times)?,
                ..Shown::of(ino, is_live)
            });
        }
        told.insert(chunk, shown);
    }
    Ok(told)
}

/// The numbers of the contents that the inode had in these times.
fn versions_in(view: &View<'_>, ino: Ino, times: &[Showing]) -> Result<Vec<u64>> {
    let mut numbers = BTreeSet::new();
    for state in view.content_states(ino)? {
        let overlaps = |time: &Showing| {
            state.until.is_none_or(|until| time.since < until)
                && time.until.is_none_or(|until| state.since < until)
        };
        if times.iter().any(overlaps) {
            numbers.insert(state.inode.saved.number);
        }
    }
    // The newest are those that people look for.
    Ok(numbers.into_iter().rev().take(VERSIONS_MAX).collect::<BTreeSet<_>>().into_iter().collect())
}

/// Gives files their paths.
pub(in crate::fs) fn name_files(view: &View<'_>, files: Vec<&mut Shown>) -> Result<()> {
    let names = names_of(view, files.iter().map(|file| file.ino).collect())?;
    for file in files {
        let own = names.get(&file.ino).map(Vec::as_slice).unwrap_or_default();
        file.paths = match file.ino {
            ino if ino == Ino::ROOT.0 => vec!["/".into()],
            _ => own.iter().map(|(parent, name)| path(&names, *parent, name)).collect(),
        };
    }
    Ok(())
}

/// The names of the wanted inodes and of every directory on the way to them.
fn names_of(view: &View<'_>, wanted: HashSet<u64>) -> Result<Names> {
    let mut names = Names::new();
    let mut wanted = wanted;
    for _ in 0..DEPTH_MAX {
        wanted.retain(|ino| *ino != Ino::ROOT.0 && !names.contains_key(ino));
        if wanted.is_empty() {
            break;
        }
        let mut found = Names::new();
        view.each_name(&mut |row: NameRow| {
            take(&mut found, &wanted, row);
            Ok::<_, Error>(())
        })?;
        // A name of the past is told only where there is none today.
        let without: HashSet<u64> =
            wanted.iter().copied().filter(|ino| !found.contains_key(ino)).collect();
        if !without.is_empty() {
            view.each_past_name(&mut |row: NameRow| {
                take(&mut found, &without, row);
                Ok::<_, Error>(())
            })?;
        }
        wanted = found.values().flatten().map(|(parent, _)| *parent).collect();
        names.extend(found);
    }
    Ok(names)
}

fn take(found: &mut Names, wanted: &HashSet<u64>, row: NameRow) {
    if !wanted.contains(&row.ino) {
        return;
    }
    let names = found.entry(row.ino).or_default();
    let name = (row.parent, row.name);
    if names.len() < NAMES_MAX && !names.contains(&name) {
        names.push(name);
    }
}

/// The path from the root on; where the way breaks off, from the directory of which only the number is known.
fn path(names: &Names, parent: u64, name: &[u8]) -> String {
    let mut parts = vec![String::from_utf8_lossy(name).into_owned()];
    let mut at = parent;
    while at != Ino::ROOT.0 {
        match names.get(&at).and_then(|names| names.first()) {
            Some((parent, name)) if parts.len() < DEPTH_MAX => {
                parts.push(String::from_utf8_lossy(name).into_owned());
                at = *parent;
            }
            _ => {
                parts.push(format!("(inode {at})"));
                break;
            }
        }
    }
    parts.push(String::new());
    parts.reverse();
    parts.join("/")
}
