//! The chunk table against the packs: every row has its record, every record its row.

use super::{Check, Problem};
use crate::chunks::{PackInfo, Record, record_len};
use crate::fs::{Error, Result};
use crate::meta::{ChunkRow, View};
use crate::model::{ChunkHash, ChunkId, ChunkRef, PackId};
use std::collections::{BTreeMap, HashSet, VecDeque};

/// Packs whose records are in memory at a time. Chunks are numbered nearly in the order of the packs.
const PACKS_IN_MEMORY_MAX: usize = 4;

/// What is known of a pack beside its records.
#[derive(Default)]
struct Tally {
    records: u64,
    /// Records that a row of the chunk table names.
    named: u64,
}

/// The records of the packs that were asked for last.
struct Shelf {
    packs: BTreeMap<PackId, PackInfo>,
    tallies: BTreeMap<PackId, Tally>,
    records: VecDeque<(PackId, Vec<Record>)>,
}

impl Check<'_> {
    pub(super) fn places(&mut self, view: &View<'_>) -> Result<()> {
        // The packs are listed after the snapshot began (something was read already) and the chunks
        // in flight after the packs: what is in neither was there before and is known by nobody.
        let packs = self.volume.ingest.packs().packs()?;
        self.volume.ingest.await_appends();
        let mut shelf = Shelf {
            packs: packs.iter().map(|pack| (pack.id, *pack)).collect(),
            tallies: BTreeMap::new(),
            records: VecDeque::new(),
        };
        view.each_chunk(&mut |row: ChunkRow| {
            self.progress.go_on()?;
            self.place(&mut shelf, &row);
            Ok::<_, Error>(())
        })?;
        self.bases(view)?;
        for pack in packs {
            self.progress.go_on()?;
            self.leaks(view, &mut shelf, &pack)?;
        }
        Ok(())
    }

    /// Differences: what they are differences to must be there, older, stored whole, and in its place.
    fn bases(&mut self, view: &View<'_>) -> Result<()> {
        for (chunk, base) in view.bad_bases()? {
            self.bad_base(chunk, base, "which is missing, younger, or a difference itself");
        }
        let mut unreadable = Vec::new();
        view.each_difference(&mut |chunk, base| {
            if self.bad_chunks.contains_key(&base) {
                unreadable.push((chunk, base));
            }
        })?;
        for (chunk, base) in unreadable {
            self.bad_base(chunk, base, "which can't be read");
        }
        Ok(())
    }

    fn bad_base(&mut self, chunk: ChunkId, base: ChunkId, what: &str) {
        let why =
            format!("chunk {} is stored as a difference to chunk {}, {what}", chunk.0, base.0);
        self.bad_chunk(chunk, Problem::ChunkBase { chunk: chunk.0, why });
    }

    fn place(&mut self, shelf: &mut Shelf, row: &ChunkRow) {
        let Some(chunk) = row.chunk else {
            self.found(Problem::ChunkRow { chunk: row.id });
            return;
        };
        if !row.is_indexed {
            self.found(Problem::ChunkUnindexed { chunk: row.id });
        }
        let why = match self.record_at(shelf, &chunk) {
            Ok(true) => return,
            Ok(false) => "no record of the chunk lies there",
            Err(why) => why,
        };
        let at = chunk.at;
        let why = format!("chunk {} at byte {} of pack {}: {why}", row.id, at.offset, at.pack);
        self.bad_chunk(chunk.id, Problem::ChunkPlace { chunk: row.id, why });
    }

    fn record_at(
        &mut self,
        shelf: &mut Shelf,
        chunk: &ChunkRef,
    ) -> std::result::Result<bool, &'static str> {
        let pack = chunk.at.pack;
        let records = self.records(shelf, pack)?;
        let is_difference = chunk.base.is_some();
        let expected = Record { hash: chunk.hash, at: chunk.at, is_difference };
        let found = records.binary_search_by_key(&chunk.at.offset, |record| record.at.offset);
        let fits = found.is_ok_and(|at| records[at] == expected);
        if fits {
            shelf.tallies.entry(pack).or_default().named += 1;
        }
        Ok(fits)
    }

    fn records<'s>(
        &mut self,
        shelf: &'s mut Shelf,
        pack: PackId,
    ) -> std::result::Result<&'s [Record], &'static str> {
        if let Some(at) = shelf.records.iter().position(|(id, _)| *id == pack) {
            return Ok(&shelf.records[at].1);
        }
        let is_new = !shelf.tallies.contains_key(&pack);
        let records = match self.volume.ingest.packs().records(pack) {
            Ok(records) => records,
            Err(error) => {
                if is_new {
                    self.found(Problem::Pack { pack: pack.0, why: error.to_string() });
                }
                Vec::new()
            }
        };
        if is_new {
            self.leaked_bytes += gaps(&records);
        }
        shelf.tallies.entry(pack).or_default().records = records.len() as u64;
        if shelf.records.len() == PACKS_IN_MEMORY_MAX {
            shelf.records.pop_front();
        }
        shelf.records.push_back((pack, records));
        Ok(shelf.records.back().map_or(&[], |(_, records)| records))
    }

    /// Records that no row names and that are not in flight either.
    fn leaks(&mut self, view: &View<'_>, shelf: &mut Shelf, pack: &PackInfo) -> Result<()> {
        if self.records(shelf, pack.id).is_err() {
            return Ok(());
        }
        let tally = shelf.tallies.entry(pack.id).or_default();
        if tally.named >= tally.records {
            return Ok(());
        }
        let pending: HashSet<ChunkHash> =
            self.volume.ingest.pending().into_iter().map(|chunk| chunk.hash).collect();
        let end = shelf.packs.get(&pack.id).map_or(0, |pack| pack.len);
        let mut leaked = 0;
        for record in self.records(shelf, pack.id).unwrap_or_default() {
            // What came after the packs were listed is not looked at.
            if end_of(record) > end || pending.contains(&record.hash) {
                continue;
            }
            // Committed meanwhile, or named: the snapshot is asked first, then the present.
            let named = |chunk: Option<ChunkRef>| chunk.is_some_and(|chunk| chunk.at == record.at);
            let is_known = named(view.chunk_by_hash(&record.hash)?)
                || named(self.volume.meta.read(|now| now.chunk_by_hash(&record.hash))?);
            if !is_known {
                leaked += end_of(record) - record.at.offset;
            }
        }
        if leaked > 0 {
            self.leaked_bytes += leaked;
            self.leaking.push(pack.id);
        }
        Ok(())
    }
}

/// Bytes between records, which follow each other without a gap: they were records once. If a row names one of those, it
/// is found by the row; if none does, a power cut took what nobody had been promised.
fn gaps(records: &[Record]) -> u64 {
    let gap = |pair: &[Record]| pair[1].at.offset.saturating_sub(end_of(&pair[0]));
    records.windows(2).map(gap).sum()
}

fn end_of(record: &Record) -> u64 {
    record.at.offset + record_len(record.at.stored_len)
}
