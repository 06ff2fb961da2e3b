//! The files behind what was found, by name: people know files, not inodes and chunks.
//!
//! Names are not indexed by inode, so they are looked up for all findings together: one pass over
//! the names for each level of the tree.

use super::{Check, Problem, Shown};
use crate::fs::{Error, Result};
use crate::meta::{ExtentRow, NameRow, View};
use crate::model::{ChunkId, Ino};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Names of one inode that are told.
const NAMES_MAX: usize = 16;
/// Files that are told for one chunk.
const FILES_OF_CHUNK_MAX: usize = 256;
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
        let mut shown: BTreeMap<ChunkId, BTreeSet<(u64, bool)>> = BTreeMap::new();
        let mut note = |row: &ExtentRow, is_live: bool| {
            let chunk = ChunkId(row.chunk);
            if bad.contains_key(&chunk) {
                let files = shown.entry(chunk).or_default();
                if files.len() < FILES_OF_CHUNK_MAX {
                    files.insert((row.ino, is_live));
                }
            }
        };
        view.each_extent(&mut |row: ExtentRow| {
            if bad.contains_key(&ChunkId(row.chunk)) {
                note(&row, view.inode(Ino(row.ino))?.is_some());
            }
            Ok::<_, Error>(())
        })?;
        view.each_past_extent(&mut |row: ExtentRow| {
            note(&row, false);
            Ok::<_, Error>(())
        })?;
        for (chunk, problem) in bad {
            let files: Vec<Shown> = shown
                .remove(&chunk)
                .into_iter()
                .flatten()
                .map(|(ino, is_live)| Shown::of(Ino(ino), is_live))
                .collect();
            // A save that was under way when the rows were read may have finished since.
            if let Problem::ChunkMissing { chunk } = problem
                && view.chunk(ChunkId(chunk))?.is_some()
            {
                continue;
            }
            self.found_at(problem, files);
        }
        Ok(())
    }

    fn resolve(&mut self, view: &View<'_>) -> Result<()> {
        let files = self.findings.iter().flat_map(|finding| &finding.files);
        let wanted: HashSet<u64> = files.map(|file| file.ino).collect();
        let names = names_of(view, wanted)?;
        for file in self.findings.iter_mut().flat_map(|finding| &mut finding.files) {
            let own = names.get(&file.ino).map(Vec::as_slice).unwrap_or_default();
            file.paths = match file.ino {
                ino if ino == Ino::ROOT.0 => vec!["/".into()],
                _ => own.iter().map(|(parent, name)| path(&names, *parent, name)).collect(),
            };
        }
        Ok(())
    }
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
