//! What is damaged and could not be brought back, by file and version.

use super::DAMAGE_BATCH;
use crate::fs::Result;
use crate::fs::check::{Shown, files_of_chunks, name_files};
use crate::fs::volume::Volume;
use crate::meta::DamageRow;
use crate::model::ChunkId;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Damaged chunks that are told with their files.
const LISTED_MAX: usize = 10_000;

/// A chunk that can't be read, and that something needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Its number.
    pub chunk: u64,
    /// When that was found, in nanoseconds since 1970.
    pub found: i64,
    /// What is wrong with it.
    pub why: String,
    /// The files that show it, or something that is stored as a difference to it.
    pub files: Vec<Shown>,
}

impl Volume {
    /// What is damaged and could not be brought back yet, with the files and versions that show it; and how much more there is than is listed.
    pub fn damage_left(&self) -> Result<(Vec<Damage>, u64)> {
        let rows = self.damage_rows()?;
        let needed: Vec<DamageRow> = rows.into_iter().filter(|row| row.needed).collect();
        let omitted = needed.len().saturating_sub(LISTED_MAX) as u64;
        let listed = &needed[..needed.len().min(LISTED_MAX)];
        if listed.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let chunks: HashSet<ChunkId> = listed.iter().map(|row| row.chunk).collect();
        let mut files = self.meta.snapshot(|view| -> Result<_> {
            // A difference to a damaged chunk can't be read either.
            let mut behind: HashMap<ChunkId, ChunkId> = HashMap::new();
            view.each_difference(&mut |chunk, base| {
                if chunks.contains(&base) && !chunks.contains(&chunk) {
                    behind.insert(chunk, base);
                }
            })?;
            let damaged = |chunk| match chunks.contains(&chunk) {
                true => Some(chunk),
                false => behind.get(&chunk).copied(),
            };
            let mut files: BTreeMap<ChunkId, Vec<Shown>> = files_of_chunks(view, &damaged)?;
            name_files(view, files.values_mut().flatten().collect())?;
            Ok(files)
        })?;
        let told = |row: &DamageRow| Damage {
            chunk: row.chunk.0,
            found: row.found.0,
            why: row.why.clone(),
            files: files.remove(&row.chunk).unwrap_or_default(),
        };
        Ok((listed.iter().map(told).collect(), omitted))
    }

    /// How many damaged chunks are needed and not brought back, and since when the first of them is known, in nanoseconds since 1970.
    pub fn damage_known(&self) -> Result<(u64, Option<i64>)> {
        let (chunks, since) = self.meta.read(|view| view.damage_known())?;
        Ok((chunks, since.map(|since| since.0)))
    }

    /// Writes down which damaged chunks nothing needs; how many these are.
    pub(super) fn tell_garbage(&self) -> Result<u64> {
        let rows = self.damage_rows()?;
        if rows.is_empty() {
            return Ok(0);
        }
        let needed = self.needed_chunks()?;
        for batch in rows.chunks(DAMAGE_BATCH) {
            self.freeing_write(|tx| {
                for row in batch {
                    tx.note_damage_needed(row.chunk, needed.contains(row.chunk))?;
                }
                Ok(())
            })?;
        }
        Ok(rows.iter().filter(|row| !needed.contains(row.chunk)).count() as u64)
    }

    /// What was found damaged before the store was opened is healed by whoever writes its contents again.
    pub(in crate::fs) fn remember_damage(&self) -> Result<()> {
        self.ingest.know_damage(self.damage_rows()?.iter().map(|row| row.chunk));
        Ok(())
    }

    /// All chunks that are known to be damaged.
    fn damage_rows(&self) -> Result<Vec<DamageRow>> {
        Ok(self.meta.read(|view| view.damage(ChunkId(0), usize::MAX >> 1))?)
    }
}
